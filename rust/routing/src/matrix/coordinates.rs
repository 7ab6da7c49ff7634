//! Network coordinates with heights, many replicas at once.
//!
//! Each node is a point in four dimensions and a height, the delay of its own access; a round trip is the distance of
//! the points and both heights (Dabek, Cox, Kaashoek and Morris 2004, Vivaldi). Unlike Vivaldi, both ends move on every
//! sample, old samples are replayed, and the error is relative: a path of 10 ms counts as much as one of 200.
//!
//! A replica starts from lots of its own, and never sees the links of its fold: what it says of those is an honest
//! forecast, and the mean of all replicas is better than any of them.

use crate::random::Random;

/// Parts into which links are divided; the replicas of a fold do not learn its links.
pub(crate) const FOLDS: usize = 8;
/// Replicas that leave out the same fold.
const TWINS: usize = 3;
/// Replicas in all.
pub(crate) const REPLICAS: usize = FOLDS * TWINS;
/// More dimensions fit the measured pairs better and the unmeasured ones worse.
pub(crate) const DIMENSIONS: usize = 4;

/// Least round trip that is predicted, in milliseconds.
const LEAST: f32 = 0.3;
/// Least height in milliseconds.
const HEIGHT_MIN: f32 = 0.05;
/// Size of a node's first step, as a part of the error.
const STEP: f32 = 0.6;
/// Samples after which the size of steps has fallen by the root of two.
const STEP_SAMPLES: f32 = 10.0;
/// Steps never get smaller: nodes move to other networks.
const STEP_MIN: f32 = 0.03;
/// Relative error beyond which a sample pulls no harder.
const ERROR_MAX: f32 = 1.0;

/// One number per replica.
type Lanes = [f32; REPLICAS];

/// Where a node is, in every replica.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    at: [Lanes; DIMENSIONS],
    height: Lanes,
    samples: u32,
}

impl Point {
    pub(crate) fn new(random: &mut Random) -> Self {
        let mut lanes = || std::array::from_fn(|_| (random.unit() - 0.5) * 20.0);
        Self {
            at: std::array::from_fn(|_| lanes()),
            height: [5.0; REPLICAS],
            samples: 0,
        }
    }

    /// Means over the replicas that are comparable: the first one's position and height, in milliseconds.
    pub(crate) fn position(&self) -> [f64; DIMENSIONS + 1] {
        std::array::from_fn(|at| {
            f64::from(if at < DIMENSIONS {
                self.at[at][0]
            } else {
                self.height[0]
            })
        })
    }

    fn distances(&self, other: &Self) -> Lanes {
        let mut squares = [0.0; REPLICAS];
        for (here, there) in self.at.iter().zip(&other.at) {
            for lane in 0..REPLICAS {
                let apart = here[lane] - there[lane];
                squares[lane] += apart * apart;
            }
        }
        squares.map(f32::sqrt)
    }

    fn round_trips(&self, other: &Self) -> Lanes {
        let mut sums = self.distances(other);
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum = (*sum + self.height[lane] + other.height[lane]).max(LEAST);
        }
        sums
    }

    /// Mean round trip in milliseconds.
    pub(crate) fn mean(&self, other: &Self) -> f32 {
        self.round_trips(other).iter().sum::<f32>() / REPLICAS as f32
    }

    /// The mean of the replicas that never saw the links of a fold.
    pub(crate) fn held_out(&self, other: &Self, fold: u8) -> f32 {
        let start = usize::from(fold) * TWINS;
        let all = self.round_trips(other);
        all[start..start + TWINS].iter().sum::<f32>() / TWINS as f32
    }

    /// A cheap estimate from three replicas of three folds, for looking over all nodes.
    pub(crate) fn rough(&self, other: &Self) -> f32 {
        let mut sum = 0.0;
        for lane in [0, TWINS, 2 * TWINS] {
            let mut square = 0.0;
            for (here, there) in self.at.iter().zip(&other.at) {
                let apart = here[lane] - there[lane];
                square += apart * apart;
            }
            sum += square.sqrt() + self.height[lane] + other.height[lane];
        }
        (sum / 3.0).max(LEAST)
    }

    fn pace(&self) -> f32 {
        (STEP / (1.0 + self.samples as f32 / STEP_SAMPLES).sqrt()).max(STEP_MIN)
    }

    /// How hard a round trip pulls in each replica, and how far apart the points are.
    fn pull(&self, other: &Self, rtt: f32, fold: u8) -> (Lanes, Lanes) {
        let apart = self.distances(other);
        let mut pull = [0.0; REPLICAS];
        for (lane, pull) in pull.iter_mut().enumerate() {
            let predicted = (apart[lane] + self.height[lane] + other.height[lane]).max(LEAST);
            // The logarithm of the ratio, by its Padé approximant: it needs no call and cannot run away.
            let error = 2.0 * (predicted - rtt) / (predicted + rtt);
            *pull = error.clamp(-ERROR_MAX, ERROR_MAX) * predicted.min(2.0 * rtt);
        }
        let start = usize::from(fold) * TWINS;
        if let Some(blind) = pull.get_mut(start..start + TWINS) {
            blind.fill(0.0);
        }
        (apart, pull)
    }

    fn shift(&mut self, from: &[Lanes; DIMENSIONS], apart: &Lanes, pull: &Lanes) {
        let pace = self.pace();
        for (here, there) in self.at.iter_mut().zip(from) {
            for lane in 0..REPLICAS {
                let toward = (here[lane] - there[lane]) / apart[lane].max(1e-3) * pull[lane];
                here[lane] -= pace * toward;
            }
        }
        for (height, pull) in self.height.iter_mut().zip(pull) {
            *height = (*height - pace * pull).max(HEIGHT_MIN);
        }
        self.samples = self.samples.saturating_add(1);
    }

    /// Moves both ends so that their round trip comes nearer to `rtt`, in all replicas but those of the fold.
    pub(crate) fn learn(&mut self, other: &mut Self, rtt: f32, fold: u8) {
        let (apart, pull) = self.pull(other, rtt, fold);
        let before = self.at;
        self.shift(&other.at, &apart, &pull);
        other.shift(&before, &apart, &pull);
    }
}

/// Fits a node's point anew to round trips to others, which stay where they are: `others` says who and how far.
pub(crate) fn place(start: &Point, others: &[(&Point, f32)], rounds: usize) -> Point {
    let mut point = start.clone();
    point.samples = 0;
    for _ in 0..rounds {
        for (other, rtt) in others {
            let (apart, pull) = point.pull(other, *rtt, u8::MAX);
            point.shift(&other.at, &apart, &pull);
        }
    }
    point
}
