//! What becomes of messages on their way.

use bytes::Bytes;
use hypermesh_consensus::{Height, Message, Replica};

use super::{Event, World};
use crate::snare::{Way, round_of};

impl World<'_> {
    /// Who proposes, where nobody is demoted.
    pub(super) fn proposer(&self, height: Height, round: i64) -> Option<usize> {
        let voters = self.watch.membership.voters(height);
        let proposer = voters.proposer(height, u32::try_from(round).ok()?);
        self.number(&proposer.node())
    }

    /// Whether a message is lost to what is aimed at it: by what it says, or else by where its sender is.
    fn is_aimed_at(&self, from: usize, to: usize, message: &Message) -> bool {
        if self.healed {
            return false;
        }
        let replica = self.instances[from].replica.as_ref();
        let stands = replica.map_or(0, |replica| replica.round().as_i64());
        let schedule = &self.scenario.schedule;
        if schedule.parts(from, to, round_of(message).unwrap_or(stands)) {
            return true;
        }
        let Some(snare) = self.scenario.snare else {
            return false;
        };
        let height = match message {
            Message::Vote(vote) => vote.statement.height,
            Message::Proposal(proposal) => proposal.statement.height,
            Message::Block(block) => block.height,
            _ => replica.map_or(Height(0), Replica::height),
        };
        let next = self.proposer(height, snare.round + 1);
        next.is_some_and(|next| {
            let (from, to) = (self.instances[from].node, self.instances[to].node);
            snare.takes(Way { from, to, next }, message)
        })
    }

    pub(super) fn send(
        &mut self,
        index: usize,
        to: usize,
        later: u64,
        (message, bytes): (&Message, Bytes),
    ) {
        let from = self.instances[index].node;
        for target in 0..self.instances.len() {
            if self.instances[target].node != to {
                continue;
            }
            self.report.messages += 1;
            let lost = self.cut.contains(&(from, to))
                || self.is_aimed_at(index, target, message)
                || (!self.healed && self.random.chance(self.scenario.loss));
            if lost {
                continue;
            }
            let copies = 1 + u64::from(!self.healed && self.random.chance(self.scenario.twice));
            for _ in 0..copies {
                let storm = if self.healed { 0 } else { self.scenario.storm };
                let spread = self.scenario.spread[from][to];
                let mean = (self.scenario.jitter + spread + storm) as f64;
                let jitter = self.random.exponential(mean) as u64;
                let at = self.now
                    + later
                    + self.scenario.delay(self.now, self.healed, (from, to))
                    + jitter;
                self.plan(
                    at,
                    Event::Arrive {
                        to: target,
                        from,
                        bytes: bytes.clone(),
                    },
                );
            }
        }
    }
}
