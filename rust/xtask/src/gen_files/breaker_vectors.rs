//! Golden traces of circuit breakers: `integration/vectors/breaker.txt`, lines that every language can split at spaces.
//!
//! What stands behind each event comes from the dumb breaker below, which keeps every call and counts anew each time, with
//! shares as fractions of whole numbers. The breakers that ship are not used, so that one that is wrong cannot make its own
//! traces right.

use std::fmt::Write as _;

use super::constants::Constants;
use super::{Files, Generated};

/// As `BreakerOptions` of the clients; times in nanoseconds, shares as numerator and denominator.
#[derive(Clone, Copy)]
struct Options {
    window: u64,
    calls_min: u64,
    failed_share_max: (u64, u64),
    slow_from: u64,
    slow_share_max: (u64, u64),
    probes: u32,
    pause_first: u64,
    pause_max: u64,
}

const SMALL: Options = Options {
    window: 1_000,
    calls_min: 4,
    failed_share_max: (1, 2),
    slow_from: 50,
    slow_share_max: (3, 4),
    probes: 2,
    pause_first: 200,
    pause_max: 1_000,
};

/// What a pool uses for each method, unless it is told otherwise.
const METHOD: Options = Options {
    window: 10_000_000_000,
    calls_min: 20,
    failed_share_max: (1, 2),
    slow_from: 1_000_000_000,
    slow_share_max: (4, 5),
    probes: 3,
    pause_first: 100_000_000,
    pause_max: 10_000_000_000,
};

/// What a pool uses for connecting.
const CONNECTING: Options = Options {
    calls_min: 1,
    failed_share_max: (0, 1),
    slow_share_max: (1, 1),
    probes: 1,
    pause_first: 20_000_000,
    pause_max: 1_000_000_000,
    ..METHOD
};

#[derive(Clone, Copy, PartialEq)]
enum State {
    Closed,
    Open(u64),
    Half { under_way: u32, good: u32 },
}

#[derive(Clone, Copy, PartialEq)]
enum How {
    Succeeded,
    Failed,
    Unknown,
}

impl How {
    fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// Parts of the window that are forgotten at once.
const PARTS: u64 = 10;

/// One trace: a breaker, and the lines of what happened to it.
struct Trace {
    options: Options,
    state: State,
    /// Rises with each change of state.
    round: u64,
    /// The round of each permit that was given.
    permits: Vec<u64>,
    /// Part of time, failed, slow.
    calls: Vec<(u64, bool, bool)>,
    pauses: u32,
    /// Not that of the events: it never runs backwards.
    now: u64,
    lines: String,
}

impl Trace {
    fn new(name: &str, options: Options) -> Self {
        let share = |(numerator, denominator): (u64, u64)| numerator as f64 / denominator as f64;
        let lines = format!(
            "trace {name} {} {} {} {} {} {} {} {}\n",
            options.window,
            options.calls_min,
            share(options.failed_share_max),
            options.slow_from,
            share(options.slow_share_max),
            options.probes,
            options.pause_first,
            options.pause_max
        );
        Self {
            options,
            state: State::Closed,
            round: 0,
            permits: Vec::new(),
            calls: Vec::new(),
            pauses: 0,
            now: 0,
            lines,
        }
    }

    fn enter(&mut self, state: State) {
        (self.state, self.round) = (state, self.round + 1);
        self.calls.clear();
    }

    /// Asks for a permit; its number, if there is one.
    fn admit(&mut self, now: u64) -> Option<usize> {
        self.now = self.now.max(now);
        if matches!(self.state, State::Open(until) if self.now >= until) {
            self.enter(State::Half {
                under_way: 0,
                good: 0,
            });
        }
        let refused = match &mut self.state {
            State::Closed => None,
            State::Open(until) => Some(*until - self.now),
            State::Half { under_way, good } => {
                if *under_way + *good < self.options.probes.max(1) {
                    *under_way += 1;
                    None
                } else {
                    Some(self.options.pause_first)
                }
            }
        };
        let answer = refused.map_or("yes".into(), |left| left.to_string());
        self.line(&format!("admit {now} {answer}"));
        refused.is_none().then(|| {
            self.permits.push(self.round);
            self.permits.len() - 1
        })
    }

    fn record(&mut self, now: u64, permit: usize, how: How, took: u64, random: u64) {
        self.now = self.now.max(now);
        if self.permits.get(permit) == Some(&self.round) {
            self.count(how, took >= self.options.slow_from, random);
        }
        let how = how.name();
        self.line(&format!("record {now} {permit} {how} {took} {random}"));
    }

    fn count(&mut self, how: How, slow: bool, random: u64) {
        match &mut self.state {
            State::Open(_) => {}
            State::Half { under_way, .. } if how == How::Unknown => *under_way -= 1,
            State::Half { under_way, good } if how == How::Succeeded && !slow => {
                (*under_way, *good) = (*under_way - 1, *good + 1);
                if *good >= self.options.probes {
                    self.pauses = 0;
                    self.enter(State::Closed);
                }
            }
            State::Half { .. } => self.open(random),
            State::Closed if how == How::Unknown => {}
            State::Closed => {
                let part = self.now / (self.options.window / PARTS).max(1);
                self.calls.push((part, how == How::Failed, slow));
                let recent = self.calls.iter().filter(|call| call.0 + PARTS > part);
                let (mut count, mut failed, mut late) = (0, 0, 0);
                for call in recent {
                    count += 1;
                    failed += u64::from(call.1);
                    late += u64::from(call.2);
                }
                let above = |some: u64, share: (u64, u64)| some * share.1 > share.0 * count;
                if count >= self.options.calls_min
                    && (above(failed, self.options.failed_share_max)
                        || above(late, self.options.slow_share_max))
                {
                    self.open(random);
                }
            }
        }
    }

    fn open(&mut self, random: u64) {
        let doubled = u128::from(self.options.pause_first) << self.pauses.min(64);
        let longest = doubled.min(u128::from(self.options.pause_max));
        let pause = (u128::from(random) * (longest + 1)) >> 64;
        self.pauses += 1;
        self.enter(State::Open(self.now.saturating_add(pause as u64)));
    }

    fn line(&mut self, event: &str) {
        let state = match self.state {
            State::Closed => "closed".to_owned(),
            State::Open(until) => format!("open:{until}"),
            State::Half { under_way, good } => format!("half:{}:{good}", under_way + good),
        };
        // Writing to a string does not fail.
        let _ = writeln!(self.lines, "{event} {state}");
    }

    /// A call from its beginning to its end.
    fn call(&mut self, now: u64, how: How, took: u64, random: u64) {
        if let Some(permit) = self.admit(now) {
            self.record(now, permit, how, took, random);
        }
    }
}

/// SplitMix64 (Steele et al., OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// What must hold at the edges, one trace each.
fn edges() -> Vec<Trace> {
    use How::{Failed, Succeeded, Unknown};
    let mut all = Vec::new();
    let mut trace = |name: &str, options: Options, story: &dyn Fn(&mut Trace)| {
        let mut made = Trace::new(name, options);
        story(&mut made);
        all.push(made);
    };
    trace("half_of_the_calls_is_not_more_than_half", SMALL, &|t| {
        for at in 0..3 {
            t.call(at, Succeeded, 0, 0);
        }
        for at in 3..7 {
            t.call(at, Failed, 0, 1 << 63);
        }
        t.call(8, Succeeded, 0, 0);
    });
    trace("too_few_calls_prove_nothing", SMALL, &|t| {
        (0..3).for_each(|at| t.call(at, Failed, 0, 0));
        // The first of them are forgotten before the fourth comes.
        t.call(1_100, Failed, 0, 0);
        t.call(1_101, Failed, 0, 0);
    });
    trace("slow_is_as_long_as_the_limit", SMALL, &|t| {
        (0..4).for_each(|at| t.call(at, Succeeded, 49, 0));
        (4..20).for_each(|at| t.call(at, Succeeded, 50, u64::MAX));
    });
    trace("what_is_unknown_does_not_count", SMALL, &|t| {
        (0..40).for_each(|at| t.call(at, Unknown, 60, 0));
        (40..44).for_each(|at| t.call(at, Failed, 0, 0));
        // Half open: it gives its place back.
        (50..56).for_each(|at| t.call(at, Unknown, 60, 0));
        let first = t.admit(60);
        let second = t.admit(60);
        t.admit(60);
        if let (Some(first), Some(second)) = (first, second) {
            t.record(61, second, Unknown, 1, 0);
            t.record(62, first, Succeeded, 1, 0);
        }
        t.call(63, Succeeded, 1, 0);
        t.call(64, Succeeded, 1, 0);
    });
    trace("what_was_admitted_before_says_nothing", SMALL, &|t| {
        let early: Vec<usize> = (0..3).filter_map(|at| t.admit(at)).collect();
        (3..7).for_each(|at| t.call(at, Failed, 0, u64::MAX));
        // Open: late successes close nothing, late failures prolong nothing.
        for (permit, how) in early.iter().zip([Succeeded, Failed, Unknown]) {
            t.record(10, *permit, how, 0, u64::MAX);
        }
        let probe = t.admit(300);
        for permit in &early {
            t.record(301, *permit, Unknown, 0, 0);
        }
        if let Some(probe) = probe {
            t.record(302, probe, Failed, 0, u64::MAX);
            // Twice says nothing new.
            t.record(303, probe, Failed, 0, u64::MAX);
        }
    });
    trace("pauses_double_up_to_the_longest", SMALL, &|t| {
        (0..4).for_each(|at| t.call(at, Failed, 0, u64::MAX));
        let mut now = 3;
        for pause in [200, 400, 800, 1_000, 1_000] {
            t.admit(now + pause - 1);
            now += pause;
            t.call(now, Failed, 0, u64::MAX);
        }
        now += 1_000;
        // A success closes it, and the next pause is a first one again.
        t.call(now, Succeeded, 0, 0);
        t.call(now, Succeeded, 0, 0);
        (0..4).for_each(|_| t.call(now, Failed, 0, u64::MAX));
        t.admit(now);
    });
    trace("a_slow_probe_is_a_failed_one", SMALL, &|t| {
        (0..4).for_each(|at| t.call(at, Failed, 0, 0));
        t.call(10, Succeeded, 49, 0);
        t.call(11, Succeeded, 50, u64::MAX);
        t.admit(12);
    });
    trace("a_pause_may_be_nothing", SMALL, &|t| {
        (0..4).for_each(|at| t.call(at, Failed, 0, 0));
        t.call(3, Succeeded, 0, 0);
        t.call(3, Succeeded, 0, 0);
    });
    trace("time_does_not_run_backwards", SMALL, &|t| {
        (0..3).for_each(|_| t.call(5_000, Failed, 0, 0));
        t.call(10, Failed, 0, u64::MAX);
        t.admit(0);
        t.admit(5_199);
        t.call(5_200, Succeeded, 0, 0);
        t.call(1, Succeeded, 0, 0);
    });
    let no_probes = Options { probes: 0, ..SMALL };
    trace("no_probes_are_one", no_probes, &|t| {
        (0..4).for_each(|at| t.call(at, Failed, 0, 0));
        let probe = t.admit(10);
        t.admit(10);
        if let Some(probe) = probe {
            t.record(11, probe, Succeeded, 0, 0);
        }
    });
    let no_window = Options { window: 0, ..SMALL };
    trace("a_window_of_nothing_is_ten_moments", no_window, &|t| {
        (0..3).for_each(|at| t.call(at, Failed, 0, 0));
        t.call(10, Failed, 0, 0);
        (11..14).for_each(|at| t.call(at, Failed, 0, 0));
    });
    let endless = Options {
        pause_first: 1 << 62,
        pause_max: (1 << 63) - 1,
        ..SMALL
    };
    trace("long_pauses_do_not_overflow", endless, &|t| {
        (0..4).for_each(|_| t.call(1 << 63, Failed, 0, u64::MAX));
        let mut now = (1 << 63) + (1 << 62);
        for _ in 0..3 {
            t.call(now, Failed, 0, u64::MAX);
            now = u64::MAX;
        }
        t.call(u64::MAX, Succeeded, 0, 0);
    });
    let patient = Options {
        pause_first: 1,
        ..SMALL
    };
    trace("many_pauses_do_not_overflow", patient, &|t| {
        (0..4).for_each(|_| t.call(0, Failed, 0, u64::MAX));
        for at in 1..70 {
            t.call(at * 1_001, Failed, 0, u64::MAX);
        }
    });
    trace("connecting_fails_once", CONNECTING, &|t| {
        t.call(0, Succeeded, 5_000_000_000, 0);
        t.call(1, Failed, 0, 1 << 63);
        t.admit(10_000_001);
        t.call(10_000_002, Failed, 0, u64::MAX);
        t.call(50_000_002, Succeeded, 0, 0);
        t.call(50_000_003, Failed, 0, u64::MAX);
    });
    trace("of_a_pool", METHOD, &|t| {
        let second = 1_000_000_000;
        (0..19).for_each(|at| t.call(at * second / 4, Failed, 0, 0));
        t.call(20 * second, Failed, 0, 0);
        (0..16).for_each(|at| t.call(21 * second + at, Succeeded, second, 0));
        (0..4).for_each(|at| t.call(22 * second + at, Succeeded, second - 1, 0));
        (0..8).for_each(|at| t.call(23 * second + at, Succeeded, second, 1 << 62));
    });
    all
}

/// Histories of chance, over many kinds of options.
fn histories() -> Vec<Trace> {
    const HISTORIES: u64 = 32;
    const EVENTS: u64 = 60;
    let mut random = Random(22);
    let histories = (0..HISTORIES).map(|number| {
        let options = Options {
            window: [1_000, 100, 10_000, 7][(number % 4) as usize],
            calls_min: [4, 1, 0, 8][(number / 4 % 4) as usize],
            failed_share_max: [(1, 2), (0, 1), (3, 4), (4, 5)][(number / 2 % 4) as usize],
            slow_share_max: [(3, 4), (1, 1), (1, 4), (4, 5)][(number / 8 % 4) as usize],
            probes: [2, 1, 3, 5][(number / 3 % 4) as usize],
            ..SMALL
        };
        let mut trace = Trace::new(&format!("history_{number}"), options);
        let (mut now, mut open) = (0, Vec::new());
        for _ in 0..EVENTS {
            match random.below(12) {
                0..2 => now += random.below(300),
                2..7 => open.extend(trace.admit(now)),
                _ if open.is_empty() => {}
                _ => {
                    let permit = open.swap_remove(random.below(open.len() as u64) as usize);
                    let how = match random.below(6) {
                        0 => How::Unknown,
                        1 | 2 => How::Succeeded,
                        _ => How::Failed,
                    };
                    let (took, dice) = (random.below(70), random.next());
                    trace.record(now, permit, how, took, dice);
                }
            }
        }
        trace
    });
    histories.collect()
}

/// What an answer with a status says of who gave it.
fn statuses(constants: &Constants) -> String {
    let mut lines = String::new();
    for status in &constants.statuses {
        let how = match status.name.as_str() {
            "CANCELLED" | "CLOSED" => How::Unknown,
            "NOT_READY" => How::Succeeded,
            _ if status.retryable => How::Failed,
            _ if matches!(status.class.as_str(), "internal" | "peer") => How::Failed,
            _ => How::Succeeded,
        };
        lines += &format!("status {} {}\n", status.value, how.name());
    }
    // Of a later version.
    for unknown in [-29, -150] {
        lines += &format!("status {unknown} succeeded\n");
    }
    lines
}

pub(crate) fn files(constants: &Constants) -> Files {
    let mut lines = String::from(
        "\
# Breakers. Times in nanoseconds. A trace begins with a new, closed one; STATE is what it is in after the event.
# trace NAME window calls_min failed_share_max slow_from slow_share_max probes pause_first pause_max
# admit NOW yes|RETRY_IN STATE               (permits are numbered from 0, in the order in which a trace gives them)
# record NOW PERMIT succeeded|failed|unknown TOOK RANDOM STATE
# status NUMBER succeeded|failed|unknown     (what an answer with that status is to a breaker)
# STATE: closed | open:UNTIL | half:ADMITTED:SUCCEEDED
",
    );
    lines += &statuses(constants);
    for trace in edges().iter().chain(&histories()) {
        lines += &trace.lines;
    }
    // One that is wrong on purpose: a reader that agrees with it does not look.
    let mut canary = Trace::new("canary:_the_last_call_opens_it", SMALL);
    (0..4).for_each(|at| canary.call(at, How::Failed, 0, u64::MAX));
    let (start, _) = canary.lines.trim_end().rsplit_once(' ').unwrap_or_default();
    Ok(vec![
        Generated {
            path: "integration/vectors/breaker.txt".into(),
            text: lines,
        },
        Generated {
            path: "integration/vectors/breaker_canary.txt".into(),
            text: format!("{start} closed\n"),
        },
    ])
}
