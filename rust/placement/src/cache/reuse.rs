//! How long objects are worth their room: hazards of reuse by class and age, and the index that Gittins found.
//!
//! Every object is in a class: how often it was asked for, and how long it had waited for its last request. For each
//! class and age (requests since the last one) two sums are kept: how many objects were asked for at that age, and how
//! much time objects spent at it. Their quotient is the hazard, the chance per request that one is asked for now. It
//! needs no object to be held, and objects that are still waiting count with the time that they have waited, so nothing
//! is learned from what the cache itself decided.
//!
//! An object of a class at an age is then worth the best rate of hits per time that holding it can bring:
//! the maximum over all moments to give it up of P(asked for until then) / E(time held until then). For objects that
//! are independent of each other this index orders them optimally (Gittins 1979; for caches it is what hit density by
//! age, Beckmann, Chen and Cidon 2018, comes near to). On the curve of time held against requests met, it is the
//! steepest line from an age to a later one: one pass with a convex hull for each class.

/// Age buckets for each doubling.
const PER_DOUBLING: u32 = 4;
/// Ages of 2^28 requests and more are one.
const DOUBLINGS: u32 = 28;
const AGES: usize = (DOUBLINGS * PER_DOUBLING) as usize;
/// Classes by waiting time: each is two doublings of it.
const WAITS: usize = 13;
/// Classes by requests so far: 2, 3, 4 to 6, 7 to 15, more.
const COUNTS: usize = 5;
/// Asked for once.
pub(super) const ONCE: u8 = 0;
/// Fetched ahead and not asked for yet.
pub(super) const AHEAD: u8 = 1;
const CLASSES: usize = 2 + COUNTS * WAITS;
/// What a fold of the sums leaves of the older ones.
const KEPT: f32 = 0.97;
/// A class is believed over all classes together when it was watched for so many objects' time at an age.
const BORROWED: f32 = 5.0;

/// The class of an object that was asked for `count` times, the last time after waiting for `wait` requests.
pub(super) fn class(count: u8, wait: u64) -> u8 {
    let often = match count {
        0 | 1 => return ONCE,
        2 => 0,
        3 => 1,
        4..=6 => 2,
        7..=15 => 3,
        _ => 4,
    };
    let wait = (wait.max(1).ilog2() as usize / 2).min(WAITS - 1);
    (2 + often * WAITS + wait) as u8
}

fn bucket(age: u64) -> usize {
    let age = age.max(1);
    let whole = age.ilog2();
    if whole >= DOUBLINGS {
        return AGES - 1;
    }
    let part = if whole >= 2 {
        age >> (whole - 2) & 3
    } else {
        age << (2 - whole) & 3
    };
    (whole * PER_DOUBLING) as usize + part as usize
}

/// The first age of a bucket. Below 4 requests some buckets are parts of one request and stay empty.
fn start(bucket: usize) -> f32 {
    let whole = (bucket as u32 / PER_DOUBLING) as i32;
    let part = (bucket as u32 % PER_DOUBLING) as f32 / PER_DOUBLING as f32;
    2_f32.powi(whole) * (1.0 + part)
}

/// Sums of one class.
#[derive(Clone, Debug)]
struct Sums {
    /// Requests at each age, and the time spent at it, the older ones less.
    asked: [f32; AGES],
    time: [f32; AGES],
    /// Whether anything was ever counted.
    used: bool,
    /// Of the current period: requests; ends less starts of waiting, and how far into their buckets these were.
    fresh: [f32; AGES],
    ends: [f32; AGES],
    into: [f32; AGES],
}

impl Sums {
    const EMPTY: Self = Self {
        used: false,
        asked: [0.0; AGES],
        time: [0.0; AGES],
        fresh: [0.0; AGES],
        ends: [0.0; AGES],
        into: [0.0; AGES],
    };

    /// Whether nobody was in this class ever.
    fn is_empty(&self) -> bool {
        !self.used
    }

    fn end(&mut self, age: u64, sign: f32) {
        self.used = true;
        let at = bucket(age);
        self.ends[at] += sign;
        // Of the last bucket only a part is known.
        self.into[at] += sign * (age as f32 - start(at)).clamp(0.0, start(at));
    }

    fn fold(&mut self) {
        let mut later = 0.0;
        for at in (0..AGES).rev() {
            let width = start(at + 1) - start(at);
            let time = (width * later + self.into[at]).max(0.0);
            self.time[at] = self.time[at] * KEPT + time;
            self.asked[at] = self.asked[at] * KEPT + self.fresh[at];
            later += self.ends[at];
        }
        (self.fresh, self.ends, self.into) = ([0.0; AGES], [0.0; AGES], [0.0; AGES]);
    }
}

/// The hazards, and what follows from them.
#[derive(Clone, Debug)]
pub(super) struct Reuse {
    classes: Vec<Sums>,
    worth: Vec<[f32; AGES]>,
    /// Number of the request that the current period began with.
    begun: u64,
}

impl Reuse {
    pub(super) fn new() -> Self {
        // Until something is learned the younger is worth more: that is LRU.
        let young = std::array::from_fn(|at| 1.0 / start(at));
        Self {
            classes: vec![Sums::EMPTY; CLASSES],
            worth: vec![young; CLASSES],
            begun: 0,
        }
    }

    /// Hits per request that an object can bring.
    pub(super) fn worth(&self, class: u8, age: u64) -> f32 {
        self.worth[usize::from(class)][bucket(age)]
    }

    /// An object has waited since `last` and is asked for at `now`.
    pub(super) fn asked(&mut self, class: u8, last: u64, now: u64) {
        self.classes[usize::from(class)].fresh[bucket(now - last)] += 1.0;
        self.waited(class, last, now);
    }

    /// An object has waited since `last` and is not watched after `now`, or not in this period.
    pub(super) fn waited(&mut self, class: u8, last: u64, now: u64) {
        let sums = &mut self.classes[usize::from(class)];
        sums.end(now - last, 1.0);
        if self.begun > last {
            sums.end(self.begun - last, -1.0);
        }
    }

    /// Ends a period at `now`, after [`Reuse::waited`] was called for every watched object: works out what objects are
    /// worth from now on.
    pub(super) fn learn(&mut self, now: u64) {
        self.begun = now;
        let mut all = ([0.0; AGES], [0.0; AGES]);
        for sums in self.classes.iter_mut().filter(|sums| !sums.is_empty()) {
            sums.fold();
            for at in 0..AGES {
                all.0[at] += sums.asked[at];
                all.1[at] += sums.time[at];
            }
        }
        for (sums, worth) in self.classes.iter().zip(&mut self.worth) {
            if sums.is_empty() {
                continue;
            }
            let hazards: [f32; AGES] = std::array::from_fn(|at| {
                let width = start(at + 1) - start(at);
                let common = (all.0[at] + 0.01) / (all.1[at] + start(at));
                (sums.asked[at] + BORROWED * common * width) / (sums.time[at] + BORROWED * width)
            });
            index(&hazards, worth);
        }
    }
}

/// The index of each age, from the hazards.
fn index(hazards: &[f32; AGES], worth: &mut [f32; AGES]) {
    // The curve: time held and requests met when an object is held from age 0 up to the start of each bucket.
    let mut curve = [(0.0_f64, 0.0_f64); AGES + 1];
    let mut waiting = 1.0;
    for at in 0..AGES {
        let width = f64::from(start(at + 1) - start(at));
        let still = waiting * (-f64::from(hazards[at]) * width).exp();
        let (time, met) = curve[at];
        curve[at + 1] = (
            time + (waiting + still) / 2.0 * width,
            met + waiting - still,
        );
        waiting = still;
    }
    let slope = |from: usize, to: usize| {
        let time = curve[to].0 - curve[from].0;
        if time > 0.0 {
            (curve[to].1 - curve[from].1) / time
        } else {
            0.0
        }
    };
    // From the last age back: the hull of the later part of the curve, its next corner on top.
    let mut hull = [0_usize; AGES + 1];
    let mut top = 0;
    hull[0] = AGES;
    for at in (0..AGES).rev() {
        while top > 0 && slope(at, hull[top]) <= slope(at, hull[top - 1]) {
            top -= 1;
        }
        worth[at] = slope(at, hull[top]) as f32;
        top += 1;
        hull[top] = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The index by trying every moment to give up.
    fn slowly(hazards: &[f32; AGES]) -> Vec<f64> {
        let width = |at: usize| f64::from(start(at + 1) - start(at));
        let from = |first: usize| {
            let (mut waiting, mut time, mut best) = (1.0_f64, 0.0, 0.0_f64);
            for (at, hazard) in hazards.iter().enumerate().skip(first) {
                let still = waiting * (-f64::from(*hazard) * width(at)).exp();
                time += (waiting + still) / 2.0 * width(at);
                waiting = still;
                best = best.max((1.0 - waiting) / time);
            }
            best
        };
        (0..AGES).map(from).collect()
    }

    #[test]
    fn the_hull_finds_what_trying_everything_finds() {
        let mut state = 1_u64;
        for round in 0..200 {
            let hazards: [f32; AGES] = std::array::from_fn(|at| {
                state = super::super::mixed(state);
                // Some fall with age, some rise, some have a peak; none is so high that nobody is left to wait.
                let noise = (state >> 40) as f32 / (1 << 24) as f32;
                let slope = [-1.0, -0.5, 0.0][round % 3];
                0.01 * noise * start(at).powf(slope) / (1.0 + start(at) / 1e4)
            });
            let mut worth = [0.0; AGES];
            index(&hazards, &mut worth);
            for (at, (ours, dumb)) in worth.iter().zip(slowly(&hazards)).enumerate() {
                let ours = f64::from(*ours);
                // Where next to nobody is left the curve has no digits to tell slopes by.
                let left: f64 = (0..at)
                    .map(|at| f64::from(hazards[at] * (start(at + 1) - start(at))))
                    .sum();
                if left < 15.0 {
                    assert!(
                        (ours - dumb).abs() <= 1e-3 * dumb,
                        "round {round}, age {at}: {ours}, {dumb}"
                    );
                }
            }
        }
    }

    #[test]
    fn an_age_is_in_its_bucket() {
        for age in (1..5_000).chain((0..40).map(|bits| 1 << bits)) {
            let at = bucket(age);
            assert!(start(at) <= age as f32);
            assert!(at == AGES - 1 || (age as f32) < start(at + 1), "{age}");
        }
        assert_eq!(bucket(0), bucket(1));
        assert_eq!(bucket(u64::MAX), AGES - 1);
    }

    #[test]
    fn hazards_are_requests_by_time_and_do_not_depend_on_when_periods_end() {
        // Each of 50 objects is asked for every 100 requests; periods end in the middle of their waits.
        let mut reuse = Reuse::new();
        let mut last = [0_u64; 50];
        for now in 1..20_000_u64 {
            if now % 37 == 0 {
                last.iter().for_each(|last| reuse.waited(ONCE, *last, now));
                reuse.learn(now);
            }
            let object = (now % 100) as usize;
            if object < 50 {
                reuse.asked(ONCE, last[object], now);
                last[object] = now;
            }
        }
        let sums = &reuse.classes[usize::from(ONCE)];
        // Nobody is asked for before, everybody by then.
        assert!(sums.asked[bucket(50)] < 0.5 && sums.asked[bucket(100)] > 100.0);
        // An object about to be asked for is worth more than one that has just been.
        assert!(reuse.worth(ONCE, 90) > 3.0 * reuse.worth(ONCE, 10));
        assert!(reuse.worth(ONCE, 10) > 3.0 * reuse.worth(ONCE, 200));
    }
}
