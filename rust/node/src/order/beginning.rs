//! Where the time of a start goes, until this node votes again.

use std::time::{Duration, Instant};

/// A start under way: what it did one after the other, and how long each took.
#[derive(Debug)]
pub(crate) struct Beginning {
    last: Instant,
    phases: Vec<(Phase, Duration)>,
}

/// What a start is made of, in this order. Each lasts from the end of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The database of decisions is open.
    Store,
    /// The state of a snapshot is there.
    Snapshot,
    /// The log is read.
    Log,
    /// The blocks after the snapshot are applied.
    Blocks,
    /// A peer is connected.
    Peers,
    /// A peer sent a decision that was not here.
    Decision,
    /// This node votes on a height of which it knew nothing.
    Vote,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Snapshot => "snapshot",
            Self::Log => "log",
            Self::Blocks => "blocks",
            Self::Peers => "peers",
            Self::Decision => "decision",
            Self::Vote => "vote",
        }
    }
}

impl Beginning {
    pub(crate) fn now() -> Self {
        Self {
            last: Instant::now(),
            phases: Vec::new(),
        }
    }

    /// A phase has ended. One that ended already, or was left out, stays so.
    pub(crate) fn ended(&mut self, phase: Phase) {
        if self.phases.last().is_some_and(|(last, _)| *last >= phase) {
            return;
        }
        let took = self.last.elapsed();
        self.last += took;
        self.phases.push((phase, took));
        metrics::gauge!("hypermesh_order_start_seconds", "phase" => phase.name())
            .set(took.as_secs_f64());
    }

    /// All phases, for the log.
    pub(crate) fn story(&self) -> String {
        let told = |(phase, took): &(Phase, Duration)| {
            format!("{} {:.3} s", phase.name(), took.as_secs_f64())
        };
        let all: Vec<String> = self.phases.iter().map(told).collect();
        all.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_told_once_and_in_order() {
        let mut start = Beginning::now();
        for phase in [
            Phase::Store,
            Phase::Peers,
            Phase::Peers,
            Phase::Log,
            Phase::Vote,
        ] {
            start.ended(phase);
        }
        let names: Vec<&str> = start.phases.iter().map(|(phase, _)| phase.name()).collect();
        assert_eq!(names, ["store", "peers", "vote"]);
        assert!(start.story().starts_with("store 0.0"), "{}", start.story());
    }
}
