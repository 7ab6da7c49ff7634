//! The last values of something, in order of time and in order of size.

use crate::grow::{make_room, room};

/// A ring of the last values, with a sorted copy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Window {
    /// The oldest first.
    pub(crate) values: Vec<f64>,
    sorted: Vec<f64>,
    length: usize,
}

impl Window {
    /// Room for `length` values; takes memory as they come.
    pub(crate) fn new(length: usize) -> Self {
        Self {
            values: Vec::new(),
            sorted: Vec::new(),
            length,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }

    pub(crate) fn bytes(&self) -> usize {
        2 * room(self.values.len(), self.length) * size_of::<f64>()
    }

    /// Adds a finite value; the oldest leaves a full window.
    pub(crate) fn push(&mut self, value: f64) {
        if self.values.len() == self.length {
            let oldest = self.values.remove(0);
            let at = self.sorted.partition_point(|other| *other < oldest);
            self.sorted.remove(at.min(self.sorted.len() - 1));
        }
        make_room(&mut self.values, self.length);
        make_room(&mut self.sorted, self.length);
        self.values.push(value);
        let at = self.sorted.partition_point(|other| *other < value);
        self.sorted.insert(at, value);
    }

    /// The value under which a share of all lies, between two neighbours in proportion; `None` for an empty window.
    ///
    /// The extremes of a small sample stand for less than its whole: n values divide a line into n + 1 parts that are
    /// equally likely for the next one.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let last = self.sorted.len().checked_sub(1)?;
        let at = (share * (self.sorted.len() + 1) as f64 - 1.0).clamp(0.0, last as f64);
        let below = at as usize;
        let above = (below + 1).min(last);
        let part = at - below as f64;
        Some(self.sorted[below] * (1.0 - part) + self.sorted[above] * part)
    }

    pub(crate) fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }

    /// Half of the range that the middle half of the values takes.
    pub(crate) fn spread(&self) -> f64 {
        match (self.quantile(0.25), self.quantile(0.75)) {
            (Some(low), Some(high)) => (high - low) / 2.0,
            _ => 0.0,
        }
    }
}
