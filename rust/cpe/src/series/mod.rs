//! Forecasts numbers: quantiles at several horizons, levels and their changes.
//!
//! Six simple forecasters each give every quantile; the answer is their mean by weight, one set of weights per horizon
//! and quantile, shared by all lanes. Weights follow the pinball loss by exponentiated gradient with a fixed share
//! (Cesa-Bianchi and Lugosi 2006, ch. 2 and 5), so that the mean is about as good as the best of them in the long run
//! and follows when that changes.

mod levels;
mod snapshot;
mod window;

use std::collections::{BTreeMap, VecDeque};

use crate::error::CpeError;
use crate::grow::{make_room, room};
use levels::Levels;
use window::Window;

pub use levels::Change;

/// Quantiles that are forecast.
pub const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];
/// Horizons, in samples.
pub const HORIZONS: [usize; 4] = [1, 4, 16, 64];
/// Most lanes of a series.
pub const SERIES_LANES_MAX: usize = 1 << 20;

/// Forecasters: last value and moving mean, each with the errors of its past; windows of three lengths; the level.
const FORECASTERS: usize = 6;
const WINDOWS: [usize; 3] = [8, 32, 128];
/// Errors of a forecaster that are kept, per horizon.
const ERRORS: usize = 64;
/// Weight of the newest sample in the moving mean.
const NEWEST: f64 = 0.3;
/// Speed at which weights follow losses, in units of the mean loss.
const PACE: f64 = 0.05;
/// Part of all weight that is shared out after every sample.
const SHARE: f64 = 0.002;
/// A gap this many times the usual spacing ends all forecasts that are under way.
const GAP: f64 = 8.0;
/// Largest magnitude of a sample: sums and squares of such numbers stay finite.
pub const SAMPLE_MAX: f64 = 1e150;

const SCALES: usize = QUANTILES.len();
/// What all forecasters give, per quantile.
type Given = [[f64; FORECASTERS]; SCALES];

/// How to make a [`Series`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SeriesOptions {
    /// The least change of level that counts, in the unit of the samples; finite, not negative.
    pub change_min: f64,
    /// A sample equal to the one before is a stale repeat: its time counts, its value does not.
    pub repeats_are_stale: bool,
    /// Lanes that are followed at once, 1 to [`SERIES_LANES_MAX`]; the one that was silent longest makes room.
    pub lanes_max: usize,
}

impl Default for SeriesOptions {
    /// Every change counts, repeats are values, 64 lanes.
    fn default() -> Self {
        Self {
            change_min: 0.0,
            repeats_are_stale: false,
            lanes_max: 64,
        }
    }
}

/// What a lane will be at one horizon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// How many samples ahead.
    pub samples_ahead: usize,
    /// One value per quantile of [`QUANTILES`], not falling.
    pub quantiles: [f64; QUANTILES.len()],
}

/// What a sample did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sampled {
    /// It was a stale repeat and was not learned.
    pub stale: bool,
    /// It came after a gap: forecasts that were under way are not scored.
    pub gap: bool,
    /// The lane has left its level.
    pub change: Option<Change>,
}

/// The account of one horizon and quantile.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PinballScore {
    /// Forecasts that met their sample.
    pub count: u64,
    /// Sum of the pinball losses, in the unit of the samples.
    pub loss: f64,
    /// Samples that were not above the forecast; its share should be the quantile.
    pub covered: u64,
}

/// What a series has scored.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SeriesScores {
    /// Samples that were learned.
    pub samples: u64,
    /// Stale repeats.
    pub stale: u64,
    /// Gaps.
    pub gaps: u64,
    /// Changes of level.
    pub changes: u64,
    /// By horizon and quantile.
    pub pinball: [[PinballScore; QUANTILES.len()]; HORIZONS.len()],
}

/// One source of samples.
#[derive(Clone, Debug, PartialEq)]
struct Lane {
    id: u32,
    time: u64,
    last: f64,
    /// Samples so far.
    samples: u64,
    /// Number of the series' sample when it was last written to.
    used: u64,
    /// Usual time between samples; 0 before it is known.
    spacing: f64,
    mean: f64,
    windows: [Window; WINDOWS.len()],
    levels: Levels,
    /// Errors of the last value and of the mean, by horizon.
    errors: [[Window; 2]; HORIZONS.len()],
    /// Forecasts under way by horizon, the oldest first: the two bases, and what was given.
    pending: [VecDeque<([f64; 2], Given)>; HORIZONS.len()],
}

/// Learns lanes of samples and forecasts them. Lanes share the weights of the forecasters; each has its own past.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    options: SeriesOptions,
    lanes: Vec<Lane>,
    /// Where each lane is.
    places: BTreeMap<u32, usize>,
    weights: [[[f64; FORECASTERS]; SCALES]; HORIZONS.len()],
    /// Mean loss by horizon and quantile.
    scale: [[f64; SCALES]; HORIZONS.len()],
    scores: SeriesScores,
    /// Heap bytes of all lanes.
    bytes: usize,
}

impl Series {
    /// An empty series.
    pub fn new(options: SeriesOptions) -> Result<Self, CpeError> {
        if !(options.change_min.is_finite() && options.change_min >= 0.0) {
            let range = "finite and not negative";
            return Err(CpeError::Option {
                name: "change_min",
                value: options.change_min,
                range,
            });
        }
        if !(1..=SERIES_LANES_MAX).contains(&options.lanes_max) {
            let value = options.lanes_max as f64;
            return Err(CpeError::Option {
                name: "lanes_max",
                value,
                range: "1 to 1048576",
            });
        }
        Ok(Self {
            options,
            lanes: Vec::new(),
            places: BTreeMap::new(),
            weights: [[[1.0 / FORECASTERS as f64; FORECASTERS]; SCALES]; HORIZONS.len()],
            scale: [[0.0; SCALES]; HORIZONS.len()],
            scores: SeriesScores::default(),
            bytes: 0,
        })
    }

    /// The options.
    pub fn options(&self) -> &SeriesOptions {
        &self.options
    }

    /// The account of all forecasts so far.
    pub fn scores(&self) -> &SeriesScores {
        &self.scores
    }

    /// Bytes that are held: at most about 45 kB per lane.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + room(self.lanes.len(), self.options.lanes_max) * (size_of::<Lane>() + 32)
            + self.bytes
    }

    /// Takes in a sample of a lane at a time (any unit, the same for all calls).
    ///
    /// Errors: [`CpeError::NotFinite`] for NaN, infinities and magnitudes over [`SAMPLE_MAX`]; [`CpeError::Backwards`]
    /// for a time before the lane's last one. Nothing has changed then.
    pub fn sample(&mut self, lane: u32, time: u64, value: f64) -> Result<Sampled, CpeError> {
        if !value.is_finite() || value.abs() > SAMPLE_MAX {
            return Err(CpeError::NotFinite);
        }
        if let Some(known) = self.known(lane)
            && time < known.time
        {
            return Err(CpeError::Backwards {
                time,
                last: known.time,
            });
        }
        let at = self.lane(lane);
        let used = self.scores.samples;
        let lane = &mut self.lanes[at];
        lane.used = used;
        let mut sampled = Sampled::default();
        if lane.samples > 0 {
            if self.options.repeats_are_stale && value == lane.last {
                lane.time = time;
                self.scores.stale += 1;
                sampled.stale = true;
                return Ok(sampled);
            }
            sampled.gap = lane.pass(time - lane.time);
            self.scores.gaps += u64::from(sampled.gap);
        }
        let before = lane.heap_bytes();
        self.meet(at, value);
        let lane = &mut self.lanes[at];
        sampled.change = lane.push(time, value, self.options.change_min);
        lane.plan();
        self.bytes = self.bytes + lane.heap_bytes() - before;
        self.scores.samples += 1;
        self.scores.changes += u64::from(sampled.change.is_some());
        Ok(sampled)
    }

    /// What a lane will be at each horizon; `None` for a lane without samples.
    pub fn forecast(&self, lane: u32) -> Option<[Forecast; HORIZONS.len()]> {
        let lane = self.known(lane)?;
        Some(std::array::from_fn(|horizon| Forecast {
            samples_ahead: HORIZONS[horizon],
            quantiles: self.mean(horizon, &lane.given(horizon)),
        }))
    }

    /// What a lane will be `ahead` units of time after its last sample: the horizon whose usual time is nearest.
    pub fn forecast_at(&self, lane: u32, ahead: u64) -> Option<Forecast> {
        let all = self.forecast(lane)?;
        let spacing = self.known(lane).map_or(1.0, |known| known.spacing);
        let samples = if spacing > 0.0 {
            ahead as f64 / spacing
        } else {
            1.0
        };
        let away = |forecast: &Forecast| {
            (samples.max(1.0) / forecast.samples_ahead as f64)
                .ln()
                .abs()
        };
        all.into_iter().min_by(|a, b| away(a).total_cmp(&away(b)))
    }

    /// A lane that has samples.
    fn known(&self, id: u32) -> Option<&Lane> {
        let lane = &self.lanes[*self.places.get(&id)?];
        (lane.samples > 0).then_some(lane)
    }

    fn lane(&mut self, id: u32) -> usize {
        if let Some(at) = self.places.get(&id) {
            return *at;
        }
        if self.lanes.len() < self.options.lanes_max {
            self.places.insert(id, self.lanes.len());
            let lane = Lane::new(id);
            self.bytes += lane.heap_bytes();
            make_room(&mut self.lanes, self.options.lanes_max);
            self.lanes.push(lane);
            return self.lanes.len() - 1;
        }
        let oldest = (0..self.lanes.len())
            .min_by_key(|at| self.lanes[*at].used)
            .unwrap_or(0);
        self.bytes -= self.lanes[oldest].heap_bytes();
        self.places.remove(&self.lanes[oldest].id);
        self.places.insert(id, oldest);
        self.lanes[oldest] = Lane::new(id);
        self.bytes += self.lanes[oldest].heap_bytes();
        oldest
    }

    /// Scores the forecasts that were made for this sample, and learns from them.
    fn meet(&mut self, at: usize, value: f64) {
        for (horizon, ahead) in HORIZONS.into_iter().enumerate() {
            let lane = &mut self.lanes[at];
            if lane.pending[horizon].len() < ahead {
                continue;
            }
            let Some((bases, given)) = lane.pending[horizon].pop_front() else {
                continue;
            };
            for (errors, base) in lane.errors[horizon].iter_mut().zip(bases) {
                errors.push(value - base);
            }
            let mean = self.mean(horizon, &given);
            for (scale, share) in QUANTILES.into_iter().enumerate() {
                let loss = pinball(share, value, mean[scale]);
                let score = &mut self.scores.pinball[horizon][scale];
                score.count += 1;
                score.loss += loss;
                score.covered += u64::from(value <= mean[scale]);
                let losses = given[scale].map(|one| pinball(share, value, one));
                self.weigh(horizon, scale, &losses);
            }
        }
    }

    /// Moves weight away from forecasters with high losses.
    fn weigh(&mut self, horizon: usize, scale: usize, losses: &[f64; FORECASTERS]) {
        let usual = &mut self.scale[horizon][scale];
        let now = losses.iter().sum::<f64>() / FORECASTERS as f64;
        *usual += (now - *usual) / (self.scores.samples.min(200) + 1) as f64;
        if *usual <= 0.0 {
            return;
        }
        let weights = &mut self.weights[horizon][scale];
        let mut sum = 0.0;
        for (weight, loss) in weights.iter_mut().zip(losses) {
            // A single outlier must not decide: a loss counts up to ten times the usual one.
            *weight *= (-PACE * (loss / *usual).min(10.0)).exp();
            sum += *weight;
        }
        for weight in weights {
            *weight = *weight / sum * (1.0 - SHARE) + SHARE / FORECASTERS as f64;
        }
    }

    fn mean(&self, horizon: usize, given: &Given) -> [f64; SCALES] {
        let mut mean: [f64; SCALES] = std::array::from_fn(|scale| {
            let weights = &self.weights[horizon][scale];
            weights
                .iter()
                .zip(&given[scale])
                .map(|(weight, value)| weight * value)
                .sum()
        });
        // Means of separate quantiles may cross; in order, each is at least as good.
        mean.sort_by(f64::total_cmp);
        mean
    }
}

impl Lane {
    fn new(id: u32) -> Self {
        Self {
            id,
            time: 0,
            last: 0.0,
            samples: 0,
            used: 0,
            spacing: 0.0,
            mean: 0.0,
            windows: WINDOWS.map(Window::new),
            levels: Levels::new(),
            errors: std::array::from_fn(|_| [Window::new(ERRORS), Window::new(ERRORS)]),
            pending: Default::default(),
        }
    }

    fn heap_bytes(&self) -> usize {
        let windows = self.windows.iter().chain(self.errors.iter().flatten());
        let each = size_of::<([f64; 2], Given)>();
        windows.map(Window::bytes).sum::<usize>()
            + self.levels.bytes()
            + self
                .pending
                .iter()
                .map(|pending| room(pending.len(), usize::MAX) * each)
                .sum::<usize>()
    }

    /// Time passes until the next sample; whether that is a gap.
    fn pass(&mut self, time: u64) -> bool {
        let time = time as f64;
        let gap = self.samples > 8 && self.spacing > 0.0 && time > GAP * self.spacing;
        if gap {
            for pending in &mut self.pending {
                pending.clear();
            }
        } else {
            let part = 1.0 / (self.samples.min(32) + 1) as f64;
            self.spacing += (time - self.spacing) * part;
        }
        gap
    }

    fn push(&mut self, time: u64, value: f64, smallest: f64) -> Option<Change> {
        self.mean = if self.samples == 0 {
            value
        } else {
            self.mean + NEWEST * (value - self.mean)
        };
        self.samples += 1;
        self.last = value;
        self.time = time;
        for window in &mut self.windows {
            window.push(value);
        }
        let change = self.levels.push(value, smallest, self.samples);
        if change.is_some() {
            // The mean and the short windows are of the old level.
            self.mean = self.levels.current().median().unwrap_or(value);
        }
        change
    }

    /// Writes down what is forecast now, to be scored when it is due.
    fn plan(&mut self) {
        for horizon in 0..HORIZONS.len() {
            let given = self.given(horizon);
            self.pending[horizon].push_back(([self.last, self.mean], given));
        }
    }

    fn given(&self, horizon: usize) -> Given {
        std::array::from_fn(|scale| {
            let share = QUANTILES[scale];
            let error = |at: usize| self.errors[horizon][at].quantile(share).unwrap_or(0.0);
            let window = |window: &Window| window.quantile(share).unwrap_or(self.last);
            [
                self.last + error(0),
                self.mean + error(1),
                window(&self.windows[0]),
                window(&self.windows[1]),
                window(&self.windows[2]),
                window(self.levels.current()),
            ]
        })
    }
}

/// Loss of a quantile forecast (Koenker and Bassett 1978).
pub fn pinball(share: f64, value: f64, forecast: f64) -> f64 {
    let error = value - forecast;
    if error >= 0.0 {
        share * error
    } else {
        (share - 1.0) * error
    }
}
