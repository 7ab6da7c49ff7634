//! What placements cost, in one unit: a byte that crosses regions.

use super::{PlacementError, REGIONS_MAX, Region};

/// Prices. All are finite and at least 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// Of a byte that crosses regions.
    pub transfer: f64,
    /// Of a byte that is held for an epoch.
    pub store: f64,
    /// Of a millisecond that a byte which is read from another region takes.
    pub latency: f64,
    /// How many times its price a new copy has to save: over 1, what saves as much as it costs does not flap.
    pub change: f64,
}

impl Default for Prices {
    /// Transfers decide; distance decides between equals: 100 ms are a fiftieth of a transfer. Holding a byte for an
    /// epoch is a tenth of moving it.
    fn default() -> Self {
        Self {
            transfer: 1.0,
            store: 0.1,
            latency: 0.0002,
            change: 1.2,
        }
    }
}

impl Prices {
    pub(super) fn check(self) -> Result<Self, PlacementError> {
        let all = [
            ("transfer", self.transfer),
            ("store", self.store),
            ("latency", self.latency),
            ("change", self.change),
        ];
        for (name, value) in all {
            if !value.is_finite() || value < 0.0 {
                return Err(PlacementError::Price { name, value });
            }
        }
        Ok(self)
    }
}

/// Round trips between regions, in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Distances {
    regions: usize,
    millis: Vec<f64>,
}

impl Distances {
    /// Row by row, `regions` of `regions` each; every value is finite and at least 0.
    pub fn new(regions: usize, millis: Vec<f64>) -> Result<Self, PlacementError> {
        if !(1..=REGIONS_MAX).contains(&regions) || millis.len() != regions * regions {
            return Err(PlacementError::Regions {
                regions,
                values: millis.len(),
            });
        }
        if let Some(at) = millis
            .iter()
            .position(|value| !value.is_finite() || *value < 0.0)
        {
            return Err(PlacementError::Distance {
                from: at / regions,
                to: at % regions,
                value: millis[at],
            });
        }
        Ok(Self { regions, millis })
    }

    /// How many regions there are.
    pub fn regions(&self) -> usize {
        self.regions
    }

    /// From one region to another; the largest of all for a region that is not known.
    pub fn between(&self, from: usize, to: Region) -> f64 {
        let to = usize::from(to.0);
        if from < self.regions && to < self.regions {
            self.millis[from * self.regions + to]
        } else {
            self.furthest()
        }
    }

    pub(super) fn furthest(&self) -> f64 {
        self.millis.iter().copied().fold(0.0, f64::max)
    }
}
