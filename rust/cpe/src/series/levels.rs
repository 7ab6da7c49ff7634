//! Levels of a series: where it has stayed before, when it leaves, and whether it comes back.

use super::window::Window;

/// Levels that are remembered; the one that was left longest ago makes room.
pub(crate) const LEVELS: usize = 6;
/// Values of a level that are kept.
const KEPT: usize = 48;
/// So many values in a row, or all but one of one more, away from the level make a change.
const AWAY: usize = 4;
/// Values that are waiting to be told apart never are as many as this.
pub(crate) const RECENT_MAX: u8 = 8;
/// How many spreads away is away.
const SPREADS: f64 = 4.0;
/// A level is the same as a known one within this many spreads.
const SAME: f64 = 3.0;

/// The series has left its level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Median of the level that was left.
    pub from: f64,
    /// Median of the values since.
    pub to: f64,
    /// How many samples ago it happened; the newest is 0 samples ago.
    pub samples_ago: usize,
    /// The level was known: its old values are remembered and count again.
    pub returned: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Level {
    pub(crate) window: Window,
    /// Number of the sample at which it was left.
    pub(crate) left: u64,
}

/// The levels of one lane; the current one is the first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Levels {
    pub(crate) known: Vec<Level>,
    /// Latest values that may be away, the oldest first.
    pub(crate) recent: Vec<f64>,
}

impl Levels {
    pub(crate) fn new() -> Self {
        Self {
            known: vec![Level::new()],
            recent: Vec::new(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        let windows: usize = self.known.iter().map(|level| level.window.bytes()).sum();
        windows + LEVELS * size_of::<Level>() + usize::from(RECENT_MAX) * size_of::<f64>()
    }

    /// Values of the current level.
    pub(crate) fn current(&self) -> &Window {
        &self.known[0].window
    }

    /// Takes in sample number `now`; `smallest` is the least change that counts.
    pub(crate) fn push(&mut self, value: f64, smallest: f64, now: u64) -> Option<Change> {
        self.recent.push(value);
        let window = &self.known[0].window;
        if window.len() < AWAY {
            self.settle_all();
            return None;
        }
        let from = window.median().unwrap_or(value);
        let reach = (SPREADS * window.spread()).max(smallest);
        let side = |value: &f64| {
            if (value - from).abs() <= reach {
                0
            } else if *value > from {
                1
            } else {
                -1
            }
        };
        // What was away and is not followed by others away was an outlier: it belongs to the level's spread.
        while let Some(first) = self.recent.first() {
            let direction = side(first);
            let others = self
                .recent
                .iter()
                .filter(|value| side(value) == direction)
                .count();
            if direction != 0 && others + 1 >= self.recent.len() {
                break;
            }
            let value = self.recent.remove(0);
            self.known[0].window.push(value);
        }
        let direction = self.recent.first().map_or(0, side);
        let away = self
            .recent
            .iter()
            .filter(|value| side(value) == direction)
            .count();
        if away < AWAY {
            return None;
        }
        Some(self.change(from, smallest, now))
    }

    fn settle_all(&mut self) {
        for value in self.recent.drain(..) {
            self.known[0].window.push(value);
        }
    }

    fn change(&mut self, from: f64, smallest: f64, now: u64) -> Change {
        let mut fresh = Level::new();
        for value in &self.recent {
            fresh.window.push(*value);
        }
        let to = fresh.window.median().unwrap_or(from);
        self.known[0].left = now;
        let near = |level: &Level| {
            let reach = (SAME * level.window.spread()).max(smallest);
            level.window.median().map_or(f64::INFINITY, |median| {
                (median - to).abs() / reach.max(f64::MIN_POSITIVE)
            })
        };
        let back = (1..self.known.len())
            .filter(|at| near(&self.known[*at]) <= 1.0)
            .min_by(|a, b| near(&self.known[*a]).total_cmp(&near(&self.known[*b])));
        let samples_ago = self.recent.len() - 1;
        if let Some(at) = back {
            self.known[..=at].rotate_right(1);
            self.settle_all();
        } else {
            if self.known.len() == LEVELS {
                let oldest = (1..LEVELS)
                    .min_by_key(|at| self.known[*at].left)
                    .unwrap_or(LEVELS - 1);
                self.known.remove(oldest);
            }
            self.recent.clear();
            self.known.insert(0, fresh);
        }
        Change {
            from,
            to,
            samples_ago,
            returned: back.is_some(),
        }
    }
}

impl Level {
    pub(crate) fn new() -> Self {
        Self {
            window: Window::new(KEPT),
            left: 0,
        }
    }
}
