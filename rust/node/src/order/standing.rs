//! What peers do that no honest one does, and who is not listened to because of it.
//!
//! Each such fault adds to a peer's score, by what it costs here, and time takes away from it. A peer whose score is high is
//! mute to this node until it has sunk: what it tells is dropped unread. Nothing is decided by it: a mute voter counts as one
//! that is silent, and its own votes reach this node through those of others. Faults that an honest peer may do, by
//! accident, age or haste, weigh nothing.

use std::collections::BTreeMap;

use hypermesh_id::NodeId;

/// The score at which a peer is mute, and at which it is heard again.
const MUTE_AT: u64 = 128;
const HEARD_AT: u64 = 32;
/// Nanoseconds in which one is taken from a score.
const FORGIVEN: u64 = 1_000_000_000;
/// No score is higher, so that who mends its ways is heard again within minutes.
const SCORE_MAX: u64 = 256;
/// Peers of whom something is remembered.
const PEERS_MAX: usize = 1_024;

/// What a fault weighs.
fn weight(kind: &str) -> u64 {
    match kind {
        "malformed" | "transaction_malformed" | "snapshot_offer" | "snapshot_piece" => 1,
        // A signature was verified for nothing, or a batch of them.
        "forged" | "transaction_forged" => 2,
        // Up to a megabyte was read and carried out.
        "bad_block" | "bad_decision" => 16,
        _ => 0,
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// All faults that weigh something.
    pub(crate) faults: u64,
    pub(crate) mute: bool,
    score: u64,
    /// When time was last taken from the score.
    at: u64,
}

/// The standing of all peers. Time is in nanoseconds of any clock that does not go back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standings {
    peers: BTreeMap<NodeId, Standing>,
}

impl Standing {
    fn forgive(&mut self, now: u64) {
        let seconds = now.saturating_sub(self.at) / FORGIVEN;
        self.at += seconds * FORGIVEN;
        self.score = self.score.saturating_sub(seconds);
        self.mute &= self.score > HEARD_AT;
    }
}

impl Standings {
    /// Notes a fault. Answers whether the peer is mute from now on and was not before.
    pub(crate) fn fault(&mut self, now: u64, node: NodeId, kind: &str) -> bool {
        let weight = weight(kind);
        if weight == 0 {
            return false;
        }
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&node) {
            let least = self.peers.iter().min_by_key(|(_, peer)| peer.score);
            if let Some(least) = least.map(|(node, _)| *node) {
                self.peers.remove(&least);
            }
        }
        let new = Standing {
            at: now,
            ..Standing::default()
        };
        let peer = self.peers.entry(node).or_insert(new);
        peer.forgive(now);
        peer.faults += 1;
        peer.score = (peer.score + weight).min(SCORE_MAX);
        let is_news = !peer.mute && peer.score >= MUTE_AT;
        peer.mute |= is_news;
        is_news
    }

    /// Whether what it tells is read.
    pub(crate) fn hears(&mut self, now: u64, node: &NodeId) -> bool {
        self.peers.get_mut(node).is_none_or(|peer| {
            peer.forgive(now);
            !peer.mute
        })
    }

    pub(crate) fn of(&self, node: &NodeId) -> Standing {
        self.peers.get(node).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIAR: NodeId = NodeId([1; 32]);
    const OTHER: NodeId = NodeId([2; 32]);

    #[test]
    fn who_goes_on_with_it_is_mute_for_a_while() {
        let mut all = Standings::default();
        let mut faults = 0;
        while !all.fault(0, LIAR, "forged") {
            assert!(all.hears(0, &LIAR));
            faults += 1;
        }
        assert_eq!(faults, MUTE_AT / 2 - 1);
        assert!(!all.hears(0, &LIAR) && all.hears(0, &OTHER));
        assert!(all.of(&LIAR).mute && all.of(&LIAR).faults == faults + 1);
        let forgiven = (MUTE_AT - HEARD_AT) * FORGIVEN;
        assert!(!all.hears(forgiven - 1, &LIAR));
        assert!(all.hears(forgiven, &LIAR));
        // What is not forgiven yet counts on.
        let again = (0..).find(|_| all.fault(forgiven, LIAR, "bad_block"));
        assert_eq!(again, Some((MUTE_AT - HEARD_AT) / 16 - 1));
        // However much it did, it is minutes.
        for _ in 0..1_000 {
            assert!(!all.fault(forgiven, LIAR, "bad_block"));
        }
        assert!(all.hears(forgiven + (SCORE_MAX - HEARD_AT) * FORGIVEN, &LIAR));
    }

    #[test]
    fn what_may_happen_to_anyone_makes_nobody_mute() {
        let mut all = Standings::default();
        for kind in [
            "foreign",
            "unasked_block",
            "unknown_kind",
            "transactions_not_verified",
        ] {
            for _ in 0..10_000 {
                assert!(!all.fault(0, OTHER, kind));
            }
        }
        // One now and then is forgiven.
        for second in 0..10_000 {
            assert!(!all.fault(second * FORGIVEN, OTHER, "malformed"));
        }
        assert_eq!(all.of(&OTHER).faults, 10_000);
    }

    #[test]
    fn little_is_remembered() {
        let mut all = Standings::default();
        for _ in 0..MUTE_AT {
            all.fault(0, LIAR, "forged");
        }
        for number in 0..5_000u16 {
            let mut node = [3; 32];
            node[..2].copy_from_slice(&number.to_le_bytes());
            all.fault(0, NodeId(node), "forged");
        }
        assert_eq!(all.peers.len(), PEERS_MAX);
        assert!(!all.hears(0, &LIAR));
    }
}
