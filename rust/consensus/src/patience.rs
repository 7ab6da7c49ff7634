//! How long a node waits in a round, and what one height teaches the next of it.
//!
//! A round decides when its waits are longer than messages take (Dwork, Lynch, Stockmeyer, 1988). How long they take nobody
//! knows, so each round waits longer than the one before: by the same each time, as in Tendermint, and not twice as long.
//! Rounds fail for other reasons than haste: liars propose, or those propose who do not know what others are locked on, one
//! after the other. Doubled, a few of those cost more than all else.
//!
//! Where messages are slow for long, every height would fail in the same rounds anew. So a height begins with the waits that
//! the last one turned out to need: half as much again as was waited, in the round that decided, for what came.
//!
//! Liars can make rounds fail, as many as they could before. What is learned never exceeds the waits of the round that decided:
//! where no round fails, nothing grows. A round that fails for the silence of its proposer teaches nothing, since the next
//! is quick. Waits are each node's own and never touch what it votes for.

use std::time::Duration;

use malachite_types::{Round, Timeout, TimeoutKind, VoteType};

use crate::door::Timeouts;

/// Longest wait of a round, however late.
const MOST: Duration = Duration::from_secs(60);
/// What was learned is forgotten by this part of it in each height that did without.
const FORGOTTEN: u32 = 8;

/// The waits of one height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    timeouts: Timeouts,
    /// What earlier heights needed beyond what is configured.
    learned: Duration,
}

impl Patience {
    pub(crate) fn new(timeouts: Timeouts) -> Self {
        Self {
            timeouts,
            learned: Duration::ZERO,
        }
    }

    /// How long a timeout is.
    pub(crate) fn wait(&self, timeout: Timeout) -> Duration {
        let configured = match timeout.kind {
            TimeoutKind::FinalizeHeight(duration) => return duration,
            // As long as the waits of a round together: what was lost is said again about once in it.
            TimeoutKind::Rebroadcast => {
                let rounds = timeout.round.as_u32().unwrap_or(0).saturating_mul(3);
                let more = self.timeouts.more_each_round.saturating_mul(rounds);
                return self.timeouts.repeat.saturating_add(more).min(MOST);
            }
            kind => self.configured(kind),
        };
        configured
            .saturating_add(self.learned)
            .saturating_add(self.growth(timeout.round))
            .min(MOST)
    }

    /// What the next height waits, after one that is decided now, in this round, in which such were the waits for what came.
    pub(crate) fn after(&self, round: Round, waited: &Waited, now: u64) -> Self {
        let needed = [
            TimeoutKind::Propose,
            TimeoutKind::Prevote,
            TimeoutKind::Precommit,
        ]
        .map(|kind| {
            let took = waited.took(kind, now).saturating_mul(3) / 2;
            took.saturating_sub(self.configured(kind))
        });
        let needed = needed.into_iter().max().unwrap_or_default();
        let had = self.learned.saturating_add(self.growth(round)).min(MOST);
        Self {
            learned: needed.max(self.learned - self.learned / FORGOTTEN).min(had),
            ..*self
        }
    }

    fn configured(&self, kind: TimeoutKind) -> Duration {
        match kind {
            TimeoutKind::Propose => self.timeouts.propose,
            _ => self.timeouts.vote,
        }
    }

    /// What a round waits beyond the first.
    fn growth(&self, round: Round) -> Duration {
        let rounds = round.as_u32().unwrap_or(0);
        self.timeouts
            .more_each_round
            .saturating_mul(rounds)
            .min(MOST)
    }
}

/// What a node waited for in its present round, in nanoseconds of its clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waited {
    waits: [Wait; 3],
}

#[derive(Clone, Copy, Debug, Default)]
struct Wait {
    since: Option<u64>,
    took: u64,
}

impl Waited {
    /// A timer of this kind was started.
    pub(crate) fn begins(&mut self, kind: TimeoutKind, now: u64) {
        if let Some(wait) = place(kind).and_then(|place| self.waits.get_mut(place)) {
            wait.since = Some(now);
        }
    }

    /// The own vote ends the wait for what it says something of, or gives it up.
    pub(crate) fn voted(&mut self, phase: VoteType, now: u64) {
        let kind = match phase {
            VoteType::Prevote => TimeoutKind::Propose,
            VoteType::Precommit => TimeoutKind::Prevote,
        };
        if let Some(wait) = place(kind).and_then(|place| self.waits.get_mut(place))
            && let Some(since) = wait.since.take()
        {
            wait.took = now.saturating_sub(since);
        }
    }

    /// How long the wait was, or is by now.
    fn took(&self, kind: TimeoutKind, now: u64) -> Duration {
        let wait = place(kind).and_then(|place| self.waits.get(place));
        let took = wait.map(|wait| match wait.since {
            Some(since) => now.saturating_sub(since),
            None => wait.took,
        });
        Duration::from_nanos(took.unwrap_or(0))
    }
}

fn place(kind: TimeoutKind) -> Option<usize> {
    match kind {
        TimeoutKind::Propose => Some(0),
        TimeoutKind::Prevote => Some(1),
        TimeoutKind::Precommit => Some(2),
        TimeoutKind::Rebroadcast | TimeoutKind::FinalizeHeight(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn votes(patience: &Patience, round: u32) -> Duration {
        patience.wait(Timeout::prevote(Round::new(round)))
    }

    /// A height in whose round that decided votes took so long.
    fn took(ms: u64) -> Waited {
        let mut waited = Waited::default();
        waited.begins(TimeoutKind::Prevote, 5 * MS);
        waited.voted(VoteType::Precommit, (5 + ms) * MS);
        waited
    }

    /// What is waited after a height that was decided in this round.
    fn after(patience: &Patience, round: u32, waited: &Waited) -> Patience {
        patience.after(Round::new(round), waited, 0)
    }

    #[test]
    fn waits_grow_up_to_a_most() {
        let patience = Patience::new(Timeouts::default());
        let waits = [0, 1, 2, 10, 119, 120, u32::MAX].map(|round| votes(&patience, round));
        let expected = [500, 1000, 1500, 5500, 60_000, 60_000, 60_000].map(ms);
        assert_eq!(waits, expected);
        let proposal = patience.wait(Timeout::propose(Round::new(1)));
        assert_eq!(proposal, ms(1500));
        for round in [0, 1, 40, u32::MAX] {
            let again = patience.wait(Timeout::rebroadcast(Round::new(round)));
            assert!(again >= ms(2000) && again <= MOST);
        }
    }

    #[test]
    fn what_a_height_needed_the_next_begins_with() {
        let patience = Patience::new(Timeouts::default());
        let learned = after(&patience, 7, &took(2_600));
        assert_eq!(votes(&learned, 0), ms(3_900));
        // A decision of others ends a wait as well.
        let mut waited = Waited::default();
        waited.begins(TimeoutKind::Precommit, 10 * MS);
        let elsewhere = patience.after(Round::new(7), &waited, 2_610 * MS);
        assert_eq!(elsewhere, learned);
        // And forgets it when it is not needed any more.
        let (mut now, mut heights) = (learned, 0);
        while votes(&now, 0) > ms(510) {
            now = after(&now, 0, &took(1));
            heights += 1;
        }
        assert!((20..60).contains(&heights), "{heights}");
    }

    #[test]
    fn silence_teaches_nothing_and_nothing_grows_without_a_round_that_failed() {
        let patience = Patience::new(Timeouts::default());
        // The first proposers are silent, the next is quick.
        assert_eq!(after(&patience, 3, &took(50)), patience);
        // A liar whose vote comes at the last moment, in every height.
        let mut now = patience;
        for _ in 0..1000 {
            now = after(&now, 0, &took(499));
        }
        assert_eq!(now, patience);
        // One that makes rounds fail besides: never more than the round had that decided.
        for _ in 0..1000 {
            let had = votes(&now, 1);
            now = after(&now, 1, &took(59_000));
            assert!(votes(&now, 0) <= had && had <= MOST);
        }
    }
}
