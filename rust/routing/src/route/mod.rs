//! Decisions: direct or through one relay, by estimate, verified by a probe at the time of use.
//!
//! Without a probe a path is direct: an estimate alone makes one pair in five worse. A relay is used from the moment
//! that a probe through it was faster than one of the direct path, and only while what is sent over it is. RON (Andersen
//! et al. 2001) showed that one relay is enough, and probes all of them all the time; here the matrix says which few are
//! worth a probe.

mod flow;

use std::collections::{BTreeMap, BTreeSet};

use hypermesh_id::NodeId;

use crate::error::RoutingError;
use crate::matrix::{NeuralRoutingMatrix, RTT_MS, Source};

use flow::Flow;
pub use flow::{Route, Why};

/// Limits of the router.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RouterOptions {
    /// Probes that one target may cost within an hour: 0 to 1,000. The direct path costs one where no connection measures
    /// it.
    pub probes_per_hour: usize,
    /// Targets that are remembered, 1 to 65,536; the one that was not asked for longest makes room.
    pub targets_max: usize,
    /// Least part of the round trip that a relay must save to be used, in percent: 0 to 90.
    pub saving_min_percent: usize,
}

impl Default for RouterOptions {
    fn default() -> Self {
        Self {
            probes_per_hour: 6,
            targets_max: 1024,
            saving_min_percent: 2,
        }
    }
}

/// A round trip that the router wants to know. The caller sends it along the path and gives the answer back.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// Its number, for [`StoqRouter::answered`].
    pub number: u64,
    /// The nodes after this one: the target alone, or a relay and the target.
    pub path: Vec<NodeId>,
}

/// A probe under way.
#[derive(Clone, Copy, Debug)]
struct Sent {
    to: NodeId,
    via: Option<NodeId>,
    at: u64,
}

/// Chooses paths from this node. Times are milliseconds of the caller's clock.
#[derive(Debug)]
pub struct StoqRouter {
    options: RouterOptions,
    flows: BTreeMap<NodeId, Flow>,
    sent: BTreeMap<u64, Sent>,
    /// Targets that relays are to be looked for.
    due: BTreeSet<NodeId>,
    /// Bytes per second that were delivered on own links.
    rates: BTreeMap<NodeId, f64>,
    next: u64,
}

/// A probe without an answer for so long is lost.
pub(crate) const PROBE_WAIT_MS: u64 = 1_000;
/// Targets that relays are looked for in one call of [`StoqRouter::probes`].
pub const SEARCHES_MAX: usize = 8;
/// Probes under way in all.
const SENT_MAX: usize = 4_096;

impl StoqRouter {
    /// A router that knows no path.
    ///
    /// Errors: [`RoutingError::Option`].
    pub fn new(options: RouterOptions) -> Result<Self, RoutingError> {
        let limits = [
            (
                "probes_per_hour",
                options.probes_per_hour,
                0..=1_000,
                "0 to 1000",
            ),
            ("targets_max", options.targets_max, 1..=65_536, "1 to 65536"),
            (
                "saving_min_percent",
                options.saving_min_percent,
                0..=90,
                "0 to 90",
            ),
        ];
        for (name, value, allowed, range) in limits {
            if !allowed.contains(&value) {
                let value = value as u64;
                return Err(RoutingError::Option { name, value, range });
            }
        }
        Ok(Self {
            options,
            flows: BTreeMap::new(),
            sent: BTreeMap::new(),
            due: BTreeSet::new(),
            rates: BTreeMap::new(),
            next: 0,
        })
    }

    /// The path to use now, by what is known now. The search for relays is not on this path: it is made by
    /// [`probes`](Self::probes), to be called soon after, and the answer may be another one when those have come back.
    ///
    /// Errors: [`RoutingError::Stranger`], [`RoutingError::Itself`].
    pub fn find_optimal_route(
        &mut self,
        matrix: &NeuralRoutingMatrix,
        to: NodeId,
        now: u64,
    ) -> Result<Route, RoutingError> {
        let me = matrix.me().ok_or(RoutingError::Stranger(to))?;
        let direct = matrix.estimate(me, to)?;
        if !self.flows.contains_key(&to) {
            self.make_room();
        }
        let flow = self.flows.entry(to).or_insert_with(|| Flow::new(now));
        flow.asked = now;
        if flow.is_due(now) || flow.needs_check(now) {
            self.due.insert(to);
        }
        let mut route = flow.route(to, &direct, now);
        route.bandwidth = self.rate(&route.path);
        Ok(route)
    }

    /// Looks for relays where it is due, and gives the probes that are to be sent now. Each is given once.
    ///
    /// Work: one search over all nodes per target; at most [`SEARCHES_MAX`] targets per call.
    pub fn probes(&mut self, matrix: &NeuralRoutingMatrix, now: u64) -> Vec<Probe> {
        self.sent
            .retain(|_, sent| now.saturating_sub(sent.at) <= PROBE_WAIT_MS);
        let mut probes = Vec::new();
        for _ in 0..SEARCHES_MAX {
            let Some(to) = self.due.pop_first() else {
                break;
            };
            for via in self.wants(matrix, to, now) {
                self.next += 1;
                let number = self.next;
                self.sent.insert(number, Sent { to, via, at: now });
                let path = via.into_iter().chain([to]).collect();
                probes.push(Probe { number, path });
            }
        }
        probes
    }

    /// What is to be probed for a target: relays, and `None` for the direct path.
    fn wants(&mut self, matrix: &NeuralRoutingMatrix, to: NodeId, now: u64) -> Vec<Option<NodeId>> {
        let room = SENT_MAX.saturating_sub(self.sent.len());
        let (Some(me), Some(flow)) = (matrix.me(), self.flows.get_mut(&to)) else {
            return Vec::new();
        };
        // A target that left meanwhile has no estimate.
        let Ok(direct) = matrix.estimate(me, to) else {
            return Vec::new();
        };
        let spend = flow.budget(now, self.options.probes_per_hour).min(room);
        if !flow.is_due(now) {
            return if flow.needs_check(now) && spend > 0 {
                vec![flow.check(now)]
            } else {
                Vec::new()
            };
        }
        // A connection measures the direct path for nothing.
        let measured = (direct.source == Source::Measured).then_some(direct.rtt_ms);
        let relays = spend.saturating_sub(usize::from(measured.is_none()));
        match matrix.relays(me, to, relays) {
            Ok(relays) => flow.plan(now, &relays, measured),
            Err(_) => Vec::new(),
        }
    }

    /// A probe came back. The path is decided anew.
    ///
    /// Errors: [`RoutingError::Latency`], [`RoutingError::Probe`] for one that is not under way any more.
    pub fn answered(&mut self, number: u64, rtt_ms: f64, now: u64) -> Result<(), RoutingError> {
        if !RTT_MS.contains(&rtt_ms) {
            return Err(RoutingError::Latency(rtt_ms));
        }
        let sent = self
            .sent
            .remove(&number)
            .filter(|sent| now.saturating_sub(sent.at) <= PROBE_WAIT_MS)
            .ok_or(RoutingError::Probe(number))?;
        if let Some(flow) = self.flows.get_mut(&sent.to) {
            flow.learn(sent.via, rtt_ms, now);
            flow.decide(self.options.saving_min_percent);
        }
        Ok(())
    }

    /// The round trip that the traffic to `to` itself has now, on the path that was given last. A relay that turned bad
    /// is left in this call.
    ///
    /// Errors: [`RoutingError::Latency`], [`RoutingError::Stranger`] for a target without a path.
    pub fn observed(&mut self, to: NodeId, rtt_ms: f64, now: u64) -> Result<(), RoutingError> {
        if !RTT_MS.contains(&rtt_ms) {
            return Err(RoutingError::Latency(rtt_ms));
        }
        let flow = self.flows.get_mut(&to).ok_or(RoutingError::Stranger(to))?;
        flow.observe(rtt_ms, now);
        Ok(())
    }

    /// The round trip of the direct path while a relay is in use: what its connection measures to stay open. A relay that is
    /// not better any more is left in this call.
    ///
    /// Errors: [`RoutingError::Latency`], [`RoutingError::Stranger`] for a target without a path.
    pub fn observed_direct(
        &mut self,
        to: NodeId,
        rtt_ms: f64,
        now: u64,
    ) -> Result<(), RoutingError> {
        if !RTT_MS.contains(&rtt_ms) {
            return Err(RoutingError::Latency(rtt_ms));
        }
        let flow = self.flows.get_mut(&to).ok_or(RoutingError::Stranger(to))?;
        flow.observe_direct(rtt_ms, now);
        Ok(())
    }

    /// Traffic to `to` has waited for an answer for longer than its path takes: a relay is left at once.
    pub fn silent(&mut self, to: NodeId) {
        if let Some(flow) = self.flows.get_mut(&to) {
            flow.leave();
        }
    }

    /// A link of this node delivered so many bytes per second. What is not a positive number is ignored.
    pub fn delivered(&mut self, to: NodeId, bytes_per_second: f64) {
        if bytes_per_second.is_finite()
            && bytes_per_second > 0.0
            && (self.rates.contains_key(&to) || self.rates.len() < self.options.targets_max)
        {
            self.rates.insert(to, bytes_per_second);
        }
    }

    /// Forgets a node: as a target, and as a relay.
    pub fn remove(&mut self, node: NodeId) {
        self.flows.remove(&node);
        self.rates.remove(&node);
        self.sent
            .retain(|_, sent| sent.to != node && sent.via != Some(node));
        self.due.remove(&node);
        for flow in self.flows.values_mut() {
            flow.forget(node);
        }
    }

    /// The first link bounds the path; what lies behind it is the relay's to know.
    fn rate(&self, path: &[NodeId]) -> Option<f64> {
        self.rates.get(path.first()?).copied()
    }

    fn make_room(&mut self) {
        if self.flows.len() < self.options.targets_max {
            return;
        }
        let oldest = self.flows.iter().min_by_key(|(_, flow)| flow.asked);
        if let Some(oldest) = oldest.map(|(to, _)| *to) {
            self.flows.remove(&oldest);
            self.due.remove(&oldest);
        }
    }
}
