//! One target: what was probed, what is used, what it may still cost.

use hypermesh_id::NodeId;

use crate::matrix::{Candidate, Estimate};

const HOUR_MS: u64 = 3_600_000;
/// A relay that carried nothing for so long is verified again before it is used.
const FRESH_MS: u64 = 1_000;
/// Samples in a row that are worse than the direct path before a relay is left.
const BAD_IN_A_ROW: u32 = 2;
/// A sample that is worse by this factor is enough alone.
const BAD_AT_ONCE: f64 = 1.5;
/// Share of the newest sample in what is known of the direct path.
const NEWEST: f64 = 0.3;

/// The answer: where to send, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The nodes after this one: the target alone, or a relay and the target.
    pub path: Vec<NodeId>,
    /// Predicted round trip in milliseconds.
    pub rtt_ms: f64,
    /// The round trip is below this with the probability of [`QUANTILES`](crate::QUANTILES), in milliseconds.
    pub quantiles_ms: [f64; crate::QUANTILES.len()],
    /// Bytes per second that the first link delivered, where that was measured.
    pub bandwidth: Option<f64>,
    /// What decided.
    pub why: Why,
}

/// Why a path is the one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    /// Nothing was probed yet, or nothing may be: direct.
    Unprobed,
    /// Relays were probed, and none was better: direct.
    DirectIsBest {
        /// Relays that answered.
        relays: usize,
    },
    /// A probe through this relay was faster.
    RelayIsFaster {
        /// Round trip of the direct path when both were probed, in milliseconds.
        direct_ms: f64,
    },
    /// The relay carried nothing for a while: direct until a probe has verified it.
    RelayIsStale,
    /// The relay had turned bad and was left: direct.
    RelayTurnedBad,
}

/// A path that was probed or used.
#[derive(Clone, Copy, Debug)]
struct Known {
    rtt_ms: f64,
    at: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) asked: u64,
    planned: Option<u64>,
    /// Start of the hour that is counted, and probes in it.
    hour: u64,
    spent: usize,
    direct: Option<Known>,
    relays: Vec<(NodeId, Option<Known>)>,
    used: Option<NodeId>,
    bad: u32,
    turned_bad: bool,
    checking: u64,
}

impl Flow {
    pub(super) fn new(now: u64) -> Self {
        Self {
            asked: now,
            planned: None,
            hour: now,
            spent: 0,
            direct: None,
            relays: Vec::new(),
            used: None,
            bad: 0,
            turned_bad: false,
            checking: 0,
        }
    }

    /// Whether relays are to be looked for.
    pub(super) fn is_due(&self, now: u64) -> bool {
        self.planned
            .is_none_or(|planned| now.saturating_sub(planned) >= HOUR_MS)
    }

    /// Probes that may be sent now.
    pub(super) fn budget(&mut self, now: u64, per_hour: usize) -> usize {
        if now.saturating_sub(self.hour) >= HOUR_MS {
            self.hour = now;
            self.spent = 0;
        }
        per_hour.saturating_sub(self.spent)
    }

    /// Starts anew with these relays: each is to be probed, and the direct path where its round trip was not measured.
    pub(super) fn plan(
        &mut self,
        now: u64,
        relays: &[Candidate],
        measured_ms: Option<f64>,
    ) -> Vec<Option<NodeId>> {
        if relays.is_empty() {
            return Vec::new();
        }
        self.planned = Some(now);
        self.turned_bad = false;
        self.relays = relays.iter().map(|relay| (relay.node, None)).collect();
        self.used = None;
        self.direct = measured_ms.map(|rtt_ms| Known { rtt_ms, at: now });
        let direct = self.direct.is_none().then_some(None);
        let wants: Vec<_> = direct
            .into_iter()
            .chain(relays.iter().map(|relay| Some(relay.node)))
            .collect();
        self.spent += wants.len();
        wants
    }

    /// Whether the relay in use has to be verified.
    pub(super) fn needs_check(&self, now: u64) -> bool {
        self.is_stale(now) && now.saturating_sub(self.checking) >= super::PROBE_WAIT_MS
    }

    pub(super) fn check(&mut self, now: u64) -> Option<NodeId> {
        self.checking = now;
        self.spent += 1;
        self.used
    }

    /// Takes a probe's answer in.
    pub(super) fn learn(&mut self, via: Option<NodeId>, rtt_ms: f64, now: u64) {
        let known = Some(Known { rtt_ms, at: now });
        match via {
            None => self.direct = known,
            Some(via) => {
                if let Some(relay) = self.relays.iter_mut().find(|(node, _)| *node == via) {
                    relay.1 = known;
                }
            }
        }
    }

    /// Chooses by what was probed.
    pub(super) fn decide(&mut self, saving_min_percent: usize) {
        // Nothing is compared with a direct path that nobody measured.
        let Some(direct) = self.direct else {
            return;
        };
        if self.turned_bad {
            return;
        }
        let limit = direct.rtt_ms * (1.0 - saving_min_percent as f64 / 100.0);
        let answered = self
            .relays
            .iter()
            .filter_map(|(node, known)| Some((*node, (*known)?.rtt_ms)));
        let best = answered.min_by(|a, b| a.1.total_cmp(&b.1));
        self.used = best
            .filter(|(_, rtt_ms)| *rtt_ms <= limit)
            .map(|(node, _)| node);
        self.bad = 0;
    }

    /// Takes in what the traffic itself measured.
    pub(super) fn observe(&mut self, rtt_ms: f64, now: u64) {
        let Some(used) = self.used else {
            let before = self.direct.map_or(rtt_ms, |direct| direct.rtt_ms);
            self.direct = Some(Known {
                rtt_ms: before + NEWEST * (rtt_ms - before),
                at: now,
            });
            return;
        };
        if self.is_stale(now) {
            // The traffic went direct: see `route`.
            return;
        }
        let direct_ms = self.direct.map_or(0.0, |direct| direct.rtt_ms);
        self.learn(Some(used), rtt_ms, now);
        self.bad = if rtt_ms > direct_ms { self.bad + 1 } else { 0 };
        if self.bad >= BAD_IN_A_ROW || rtt_ms > BAD_AT_ONCE * direct_ms {
            self.leave();
        }
    }

    /// Takes in what the direct path is while a relay is in use.
    pub(super) fn observe_direct(&mut self, rtt_ms: f64, now: u64) {
        self.direct = Some(Known { rtt_ms, at: now });
        if self
            .used_known()
            .is_some_and(|(_, known)| known.rtt_ms > rtt_ms)
        {
            self.leave();
        }
    }

    /// Gives the relay up until relays are looked for again.
    pub(super) fn leave(&mut self) {
        self.turned_bad |= self.used.is_some();
        self.used = None;
        self.bad = 0;
    }

    /// Forgets a relay.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.relays.retain(|(relay, _)| *relay != node);
        if self.used == Some(node) {
            self.leave();
        }
    }

    fn used_known(&self) -> Option<(NodeId, Known)> {
        let used = self.used?;
        let (_, known) = self.relays.iter().find(|(node, _)| *node == used)?;
        Some((used, (*known)?))
    }

    fn is_stale(&self, now: u64) -> bool {
        self.used_known()
            .is_some_and(|(_, known)| now.saturating_sub(known.at) > FRESH_MS)
    }

    /// The path by what is known at this moment.
    pub(super) fn route(&self, to: NodeId, direct: &Estimate, now: u64) -> Route {
        let stale = self.is_stale(now);
        if let Some((via, known)) = self.used_known().filter(|_| !stale) {
            let direct_ms = self.direct.map_or(direct.rtt_ms, |direct| direct.rtt_ms);
            return Route {
                path: vec![via, to],
                rtt_ms: known.rtt_ms,
                // One sample of this path: as uncertain, in proportion, as the direct one.
                quantiles_ms: direct
                    .quantiles_ms
                    .map(|quantile| known.rtt_ms * (quantile / direct.rtt_ms).max(1.0)),
                bandwidth: None,
                why: Why::RelayIsFaster { direct_ms },
            };
        }
        let relays = self.relays.iter().filter(|(_, known)| known.is_some());
        let why = if stale {
            Why::RelayIsStale
        } else if self.turned_bad {
            Why::RelayTurnedBad
        } else if self.direct.is_some() && self.planned.is_some() {
            Why::DirectIsBest {
                relays: relays.count(),
            }
        } else {
            Why::Unprobed
        };
        Route {
            path: vec![to],
            rtt_ms: direct.rtt_ms,
            quantiles_ms: direct.quantiles_ms,
            bandwidth: None,
            why,
        }
    }
}
