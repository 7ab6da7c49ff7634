//! Rows of `bench-cpe`: the next symbol beside single methods, calibration, cost; quantiles of series and change points
//! beside windows.
//!
//! Everything is prequential: each event is predicted before it is learned, from the first one on. One set of
//! parameters serves all streams.

pub(crate) mod data;
mod methods;
mod series;

use std::hint::black_box;
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};

use mfn_cpe::{Expert, Stream, StreamOptions};

use crate::record::{BenchError, Ctx, Must, Samples};

use data::{EVENTS_MAX, Trace};
use methods::{KneserNey, Method, Past, Ppm, Stride, TOP};

/// Points under the best single method that count as level with it.
const LEVEL: f64 = 0.3;

pub(crate) fn run(ctx: &mut Ctx) -> Result<(), BenchError> {
    let data = data::directory(ctx.root())?;
    streams(ctx, &data)?;
    series::run(ctx, &data)
}

/// What a method reached on one stream, in percent and bits per event.
#[derive(Clone, Copy, Debug, Default)]
struct Reached {
    first: f64,
    five: f64,
    bits: f64,
}

/// What ours reached and cost.
#[derive(Clone, Debug, Default)]
struct Ours {
    reached: Reached,
    calibration: f64,
    bytes: f64,
    micros: Samples,
    regret: f64,
    regret_bound: f64,
    experts: Vec<(Expert, f64)>,
}

fn streams(ctx: &mut Ctx, data: &Path) -> Result<(), BenchError> {
    let events_max = if ctx.quick { 5_000 } else { EVENTS_MAX };
    let mut tally = Tally::default();
    for (at, gate) in data::names() {
        let trace = data::load(data, at, events_max)?;
        let ours = ours(&trace, true, if ctx.quick { 1 } else { 3 })?;
        let singles = singles(&trace);
        report(ctx, &trace, &ours, &singles, gate)?;
        if gate {
            tally.add(&trace, &ours, &singles);
            if trace.git {
                tally
                    .timeless
                    .push(self::ours(&trace, false, 1)?.reached.five);
            }
        }
    }
    tally.report(ctx)
}

/// Time that this thread has computed, in microseconds: what others do on a shared machine is left out.
pub(crate) fn cpu_micros() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

/// Plays a stream. Accuracy is the same in every round; only the time differs.
fn ours(trace: &Trace, timed: bool, rounds: usize) -> Result<Ours, BenchError> {
    let mut result = Ours::default();
    let count = trace.events.len() as f64;
    for round in 0..rounds {
        let mut stream = Stream::new(StreamOptions::default())?;
        if round == 0 {
            accuracy(&mut stream, trace, timed, &mut result);
            continue_with(&stream, count, &mut result);
        }
        let mut stream = Stream::new(StreamOptions::default())?;
        let start = cpu_micros();
        for (position, event) in trace.events.iter().enumerate() {
            let time = if timed { event.time } else { position as u64 };
            black_box(stream.predict(event.lane, TOP, time));
            stream.observe(event.lane, event.symbol, time);
        }
        result.micros.push((cpu_micros() - start) / count);
    }
    Ok(result)
}

fn accuracy(stream: &mut Stream, trace: &Trace, timed: bool, result: &mut Ours) {
    let mut seen = vec![false; trace.alphabet as usize];
    let mut unseen = f64::from(trace.alphabet);
    let (mut first, mut five, mut bits) = (0_u32, 0_u32, 0.0);
    for (position, event) in trace.events.iter().enumerate() {
        let time = if timed { event.time } else { position as u64 };
        let given = stream.predict(event.lane, TOP, time);
        let place = given
            .items
            .iter()
            .position(|item| item.symbol == event.symbol);
        first += u32::from(place == Some(0));
        five += u32::from(place.is_some());
        let mut probability = stream.probability(event.lane, event.symbol);
        let outcome = stream.observe(event.lane, event.symbol, time);
        if !seen[event.number as usize] {
            seen[event.number as usize] = true;
            // Ours does not know the alphabet; the single methods do, so the unseen share is spread over what is left.
            if outcome.rank.is_none() {
                probability /= unseen.max(1.0);
            }
            unseen -= 1.0;
        }
        bits -= probability.max(1e-12).log2();
    }
    let count = trace.events.len() as f64;
    result.reached = Reached {
        first: f64::from(first) * 100.0 / count,
        five: f64::from(five) * 100.0 / count,
        bits: bits / count,
    };
}

fn continue_with(stream: &Stream, count: f64, result: &mut Ours) {
    result.calibration = stream.scores().calibration_error();
    result.bytes = stream.bytes() as f64 / count;
    result.experts = stream.expert_losses().to_vec();
    let best = result
        .experts
        .iter()
        .map(|(_, loss)| *loss)
        .fold(f64::MAX, f64::min);
    result.regret = stream.scores().log_loss_bits - best;
    result.regret_bound = stream.regret_bits();
}

/// The single methods: order 1, order 2, PPM-C of order 5, Kneser-Ney of order 4, stride (on addresses only).
fn singles(trace: &Trace) -> Vec<(&'static str, Reached)> {
    let alphabet = trace.alphabet;
    let mut found = vec![
        ("order 1", play(trace, &mut Ppm::new(1, alphabet))),
        ("order 2", play(trace, &mut Ppm::new(2, alphabet))),
        ("PPM-C o5", play(trace, &mut Ppm::new(5, alphabet))),
        ("Kneser-Ney o4", play(trace, &mut KneserNey::new(alphabet))),
    ];
    if !trace.git {
        let mut stride = Stride::new();
        let (mut first, mut five) = (0_u32, 0_u32);
        for event in &trace.events {
            let given = stride.step(event);
            first += u32::from(given.first() == Some(&event.value));
            five += u32::from(given.contains(&event.value));
        }
        let percent = |hits: u32| f64::from(hits) * 100.0 / trace.events.len() as f64;
        found.push((
            "stride",
            Reached {
                first: percent(first),
                five: percent(five),
                bits: f64::MAX,
            },
        ));
    }
    found
}

fn play(trace: &Trace, method: &mut impl Method) -> Reached {
    let mut past = Past::default();
    let (mut first, mut five, mut bits) = (0_u32, 0_u32, 0.0);
    for event in &trace.events {
        let (given, probability) = method.step(&past, event);
        first += u32::from(given.first() == Some(&event.number));
        five += u32::from(given.contains(&event.number));
        bits -= probability.unwrap_or(1.0).max(1e-12).log2();
        past.push(event.lane, event.number);
    }
    let count = trace.events.len() as f64;
    Reached {
        first: f64::from(first) * 100.0 / count,
        five: f64::from(five) * 100.0 / count,
        bits: bits / count,
    }
}

/// One of the figures.
type Figure = fn(&Reached) -> f64;

/// The best single method by one of its figures.
fn best(singles: &[(&'static str, Reached)], figure: Figure) -> (&'static str, f64) {
    let best = singles
        .iter()
        .max_by(|a, b| figure(&a.1).total_cmp(&figure(&b.1)));
    best.map_or(("none", 0.0), |(name, reached)| (name, figure(reached)))
}

fn report(
    ctx: &mut Ctx,
    trace: &Trace,
    ours: &Ours,
    singles: &[(&'static str, Reached)],
    gate: bool,
) -> Result<(), BenchError> {
    let figures: [(&str, &str, Figure); 3] = [
        ("hit@1", "%", |reached| reached.first),
        ("hit@5", "%", |reached| reached.five),
        ("code length", "bit/event", |reached| -reached.bits),
    ];
    for (figure, unit, value) in figures {
        let (name, theirs) = best(singles, value);
        let all: Vec<String> = singles
            .iter()
            .filter(|(_, reached)| value(reached).abs() < f64::MAX)
            .map(|(name, reached)| format!("{name} {:.2}", value(reached).abs()))
            .collect();
        let note = format!(
            "{} events{}; {}",
            trace.events.len(),
            if gate {
                ""
            } else {
                ", looked at by nobody while shaping"
            },
            all.join(", ")
        );
        ctx.row(
            &format!("{}, {figure}", trace.name),
            unit,
            &value(&ours.reached).abs().into(),
            Some((name, &theirs.abs().into())),
            Must::Report,
            &note,
        )?;
    }
    let experts = ours
        .experts
        .iter()
        .map(|(expert, loss)| format!("{expert:?} {loss:.0}"));
    let note = format!(
        "bound {:.1}; calibration error {:.3}; {:.0} B/event; bits of the experts: {}",
        ours.regret_bound,
        ours.calibration,
        ours.bytes,
        experts.collect::<Vec<_>>().join(", ")
    );
    ctx.row(
        &format!("{}, log-loss over the best expert's", trace.name),
        "bit",
        &ours.regret.into(),
        None,
        Must::AtMost(ours.regret_bound),
        &note,
    )?;
    ctx.row(
        &format!("{}, update and predict", trace.name),
        "us",
        &ours.micros,
        None,
        Must::AtMost(5.0),
        "mean of all events, top 5 asked for each; time of the thread",
    )
}

/// What the gate asks of all streams together.
#[derive(Default)]
struct Tally {
    streams: usize,
    above: [usize; 2],
    shortfall: [f64; 2],
    short: [Vec<String>; 2],
    git_five: Vec<f64>,
    timeless: Vec<f64>,
    blocks_first: Vec<f64>,
    git_bits: Vec<f64>,
    calibration: f64,
    micros: Vec<f64>,
    bytes: Vec<f64>,
}

impl Tally {
    fn add(&mut self, trace: &Trace, ours: &Ours, singles: &[(&'static str, Reached)]) {
        self.streams += 1;
        let figures: [Figure; 2] = [|reached| reached.first, |reached| reached.five];
        for (at, figure) in figures.into_iter().enumerate() {
            let (name, theirs) = best(singles, figure);
            let short = theirs - figure(&ours.reached);
            if short < 0.0 {
                self.above[at] += 1;
            } else {
                self.shortfall[at] = self.shortfall[at].max(short);
                self.short[at].push(format!("{} -{short:.2} ({name})", trace.name));
            }
        }
        if trace.git {
            self.git_five.push(ours.reached.five);
            self.git_bits.push(ours.reached.bits);
        } else {
            self.blocks_first.push(ours.reached.first);
        }
        self.calibration = self.calibration.max(ours.calibration);
        let mut sorted = ours.micros.0.clone();
        sorted.sort_by(f64::total_cmp);
        self.micros.push(sorted[sorted.len() / 2]);
        self.bytes.push(ours.bytes);
    }

    fn report(&self, ctx: &mut Ctx) -> Result<(), BenchError> {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        for (at, figure) in ["hit@1", "hit@5"].into_iter().enumerate() {
            let note = format!("of {}; level: {}", self.streams, self.short[at].join(", "));
            let metric = format!("streams above every single method, {figure}");
            ctx.row(
                &metric,
                "streams",
                &(self.above[at] as f64).into(),
                None,
                Must::AtLeast(12.0),
                &note,
            )?;
            let metric = format!("furthest below the best single method, {figure}");
            ctx.row(
                &metric,
                "points",
                &self.shortfall[at].into(),
                None,
                Must::AtMost(LEVEL),
                &note,
            )?;
        }
        let rows: [(&str, &str, f64, Must, &str); 8] = [
            (
                "mean hit@5, git",
                "%",
                mean(&self.git_five),
                Must::AtLeast(25.5),
                "times of the commits given",
            ),
            (
                "mean hit@5, git, without times",
                "%",
                mean(&self.timeless),
                Must::AtLeast(25.5),
                "the event's position as its time",
            ),
            (
                "mean hit@1, blocks",
                "%",
                mean(&self.blocks_first),
                Must::AtLeast(70.0),
                "",
            ),
            (
                "mean code length, git",
                "bit/event",
                mean(&self.git_bits),
                Must::Report,
                "",
            ),
            (
                "largest calibration error",
                "",
                self.calibration,
                Must::AtMost(0.05),
                "15 bins of the first item's probability",
            ),
            (
                "update and predict, slowest stream",
                "us",
                self.micros.iter().copied().fold(0.0, f64::max),
                Must::AtMost(5.0),
                "",
            ),
            (
                "update and predict, mean of streams",
                "us",
                mean(&self.micros),
                Must::Report,
                "",
            ),
            (
                "memory, mean of streams",
                "B/event",
                mean(&self.bytes),
                Must::Report,
                "tables double, and start at 0.1 MB",
            ),
        ];
        for (metric, unit, value, must, note) in rows {
            ctx.row(metric, unit, &value.into(), None, must, note)?;
        }
        Ok(())
    }
}
