//! The prediction core: what is measured, what others say, and what follows for the pairs that nobody measured.

mod candidates;
mod coordinates;
mod factors;
mod kernel;
mod learn;
mod links;
mod regression;
mod stack;
mod trust;
mod views;

use std::collections::BTreeMap;

use hypermesh_id::NodeId;
use mfn_cpe::{QUANTILES, Series, SeriesOptions};

use crate::error::RoutingError;
use crate::random::Random;

use coordinates::Point;
use factors::Factors;
use kernel::Profile;
use links::Links;
use stack::Stack;
use trust::Record;

pub use candidates::{Candidate, choose};
pub use views::{Forecasts, Square};

/// Round trips outside of this are refused, in milliseconds.
pub const RTT_MS: std::ops::RangeInclusive<f64> = 0.01..=60_000.0;

/// Limits and the seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Nodes that may be admitted, this one among them: 2 to 1,000,000. A node takes about 5 kB.
    pub nodes_max: usize,
    /// Pairs that one reporter may report on, 1 to 65,536. A pair takes about 100 bytes.
    pub pairs_per_reporter: usize,
    /// Own links whose latency is forecast (45 kB each), 1 to 65,536; the one that was silent longest makes room.
    pub forecasts_max: usize,
    /// Seed of all lots: the same calls give the same matrix. Secret ones cannot be played against.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes_max: 10_000,
            pairs_per_reporter: 256,
            forecasts_max: 256,
            seed: 0,
        }
    }
}

/// What another node says of its own link. Whoever takes it in has checked the signature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Who says so: one end of the pair.
    pub reporter: NodeId,
    /// The other end.
    pub to: NodeId,
    /// Round trip in milliseconds.
    pub rtt_ms: f64,
    /// When, by the reporter's own clock, in milliseconds. It orders the reports of a pair and means nothing else.
    pub at: u64,
}

/// What an estimate rests on; what is less sure is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// This node measured it.
    Measured,
    /// An end of the pair reported it.
    Reported,
    /// Nobody measured it.
    Predicted,
}

/// A latency, and how sure that is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Round trip in milliseconds.
    pub rtt_ms: f64,
    /// The round trip is below this with the probability of [`QUANTILES`], in milliseconds; not falling.
    pub quantiles_ms: [f64; QUANTILES.len()],
    /// What it rests on.
    pub source: Source,
}

/// Latencies between all admitted nodes, from what some of them measured. See the crate's documentation.
#[derive(Debug)]
pub struct NeuralRoutingMatrix {
    options: Options,
    random: Random,
    /// By index; `None` where a node left. This node has the index 0.
    ids: Vec<Option<NodeId>>,
    index: BTreeMap<NodeId, u32>,
    free: Vec<u32>,
    points: Vec<Point>,
    factors: Vec<Factors>,
    biases: Vec<f32>,
    places: Vec<Option<[f32; 3]>>,
    profiles: Vec<Profile>,
    records: Vec<Record>,
    links: Links,
    stack: Stack,
    /// Logarithms of own round trips, by index of the other end.
    series: Series,
    /// Updates so far; turns of what is looked at one after another.
    updates: u64,
    node_turn: usize,
    link_turn: usize,
    judge_turn: usize,
    /// What an honest reporter's claims are usually wrong by.
    usual_error: f32,
}

impl NeuralRoutingMatrix {
    /// The matrix of the node `me`, with nothing known.
    ///
    /// Errors: [`RoutingError::Option`].
    pub fn new(me: NodeId, options: Options) -> Result<Self, RoutingError> {
        let limits = [
            (
                "nodes_max",
                options.nodes_max,
                2..=1_000_000,
                "2 to 1000000",
            ),
            (
                "pairs_per_reporter",
                options.pairs_per_reporter,
                1..=65_536,
                "1 to 65536",
            ),
            (
                "forecasts_max",
                options.forecasts_max,
                1..=65_536,
                "1 to 65536",
            ),
        ];
        for (name, value, allowed, range) in limits {
            if !allowed.contains(&value) {
                let value = value as u64;
                return Err(RoutingError::Option { name, value, range });
            }
        }
        let mut matrix = Self {
            options,
            random: Random::new(options.seed),
            ids: Vec::new(),
            index: BTreeMap::new(),
            free: Vec::new(),
            points: Vec::new(),
            factors: Vec::new(),
            biases: Vec::new(),
            places: Vec::new(),
            profiles: Vec::new(),
            records: Vec::new(),
            links: Links::default(),
            stack: Stack::new(),
            series: Series::new(SeriesOptions {
                change_min: 0.02,
                lanes_max: options.forecasts_max,
                ..SeriesOptions::default()
            })?,
            updates: 0,
            node_turn: 0,
            link_turn: 0,
            judge_turn: 0,
            usual_error: trust::USUAL_ERROR,
        };
        matrix.admit(me, None)?;
        Ok(matrix)
    }

    /// Lets a node take part: a member, by whatever decides that. `place` is degrees of latitude and longitude where
    /// they are known. A node that is admitted already gets the new place.
    ///
    /// Errors: [`RoutingError::Full`], [`RoutingError::Place`].
    pub fn admit(&mut self, node: NodeId, place: Option<[f64; 2]>) -> Result<(), RoutingError> {
        let place = match place {
            Some([latitude, longitude]) => {
                for (value, limit) in [(latitude, 90.0), (longitude, 180.0)] {
                    if !(-limit..=limit).contains(&value) {
                        return Err(RoutingError::Place(value));
                    }
                }
                Some(stack::on_sphere(latitude, longitude))
            }
            None => None,
        };
        if let Some(at) = self.index.get(&node) {
            self.places[*at as usize] = place;
            return Ok(());
        }
        if self.index.len() >= self.options.nodes_max {
            return Err(RoutingError::Full(self.options.nodes_max));
        }
        let at = match self.free.pop() {
            Some(at) => at as usize,
            None => {
                self.ids.push(None);
                self.points.push(Point::new(&mut self.random));
                self.factors.push(Factors::new(&mut self.random));
                self.biases.push(0.0);
                self.places.push(None);
                self.profiles.push(Profile::default());
                self.records.push(Record::default());
                self.links.add_node();
                self.ids.len() - 1
            }
        };
        self.ids[at] = Some(node);
        self.index.insert(node, at as u32);
        self.places[at] = place;
        Ok(())
    }

    /// Forgets a node and all of its links. This node itself cannot leave.
    pub fn remove(&mut self, node: NodeId) {
        let Some(at) = self.index.get(&node).map(|at| *at as usize) else {
            return;
        };
        if at == 0 {
            return;
        }
        self.index.remove(&node);
        self.ids[at] = None;
        self.links.clear(at);
        self.points[at] = Point::new(&mut self.random);
        self.factors[at] = Factors::new(&mut self.random);
        self.biases[at] = 0.0;
        self.places[at] = None;
        self.profiles[at] = Profile::default();
        self.records[at] = Record::default();
        for profile in &mut self.profiles {
            profile.alike.retain(|(alike, _)| *alike as usize != at);
        }
        self.free.push(at as u32);
    }

    /// This node measured its round trip to `to` at a time of its own clock, in milliseconds.
    ///
    /// Errors: [`RoutingError::Latency`], [`RoutingError::Stranger`], [`RoutingError::Itself`],
    /// [`RoutingError::Backwards`].
    pub fn measured(&mut self, to: NodeId, rtt_ms: f64, at: u64) -> Result<(), RoutingError> {
        let to = self.check(0, to, rtt_ms, at)?;
        self.series.sample(to as u32, at, rtt_ms.ln())?;
        self.take(0, to, rtt_ms, at);
        Ok(())
    }

    /// Takes in what another node reports of its own link. Reports of this node itself are refused: it knows better.
    ///
    /// Errors: those of [`measured`](Self::measured), and [`RoutingError::Quota`].
    pub fn reported(&mut self, report: &Report) -> Result<(), RoutingError> {
        let reporter = self.known(report.reporter)?;
        if reporter == 0 {
            return Err(RoutingError::Itself(report.reporter));
        }
        let to = self.check(reporter, report.to, report.rtt_ms, report.at)?;
        self.take(reporter, to, report.rtt_ms, report.at);
        Ok(())
    }

    fn known(&self, node: NodeId) -> Result<usize, RoutingError> {
        match self.index.get(&node) {
            Some(at) => Ok(*at as usize),
            None => Err(RoutingError::Stranger(node)),
        }
    }

    /// The index of the other end, if the sample can be one.
    fn check(
        &self,
        reporter: usize,
        to: NodeId,
        rtt_ms: f64,
        at: u64,
    ) -> Result<usize, RoutingError> {
        if !RTT_MS.contains(&rtt_ms) {
            return Err(RoutingError::Latency(rtt_ms));
        }
        let other = self.known(to)?;
        if other == reporter {
            return Err(RoutingError::Itself(to));
        }
        let claim = self.links.find(reporter, other).and_then(|link| {
            let link = self.links.get(link);
            link.claims[link.side(reporter)]
        });
        match claim {
            Some(claim) if at < claim.at => Err(RoutingError::Backwards { at, last: claim.at }),
            None if self.records[reporter].pairs >= self.options.pairs_per_reporter
                && reporter != 0 =>
            {
                Err(RoutingError::Quota {
                    reporter: self.ids[reporter].unwrap_or(to),
                    limit: self.options.pairs_per_reporter,
                })
            }
            _ => Ok(other),
        }
    }

    /// What is known of a path between two nodes.
    ///
    /// Errors: [`RoutingError::Stranger`], [`RoutingError::Itself`].
    pub fn estimate(&self, from: NodeId, to: NodeId) -> Result<Estimate, RoutingError> {
        let (a, b) = (self.known(from)?, self.known(to)?);
        if a == b {
            return Err(RoutingError::Itself(from));
        }
        Ok(self.between(a, b))
    }

    /// Whether the claims of a node are believed at present, and what they are usually wrong by, as a logarithm.
    pub fn trust(&self, node: NodeId) -> Result<(bool, f32), RoutingError> {
        let record = &self.records[self.known(node)?];
        Ok((record.trusted(), record.error))
    }

    /// This node.
    pub fn me(&self) -> Option<NodeId> {
        self.ids.first().copied().flatten()
    }

    /// Nodes that are admitted.
    pub fn nodes(&self) -> usize {
        self.index.len()
    }

    /// Pairs of which at least one claim is held.
    pub fn pairs(&self) -> usize {
        self.links.len()
    }
}
