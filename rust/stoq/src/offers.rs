//! What a transfer offers as bases, and what it counts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use hypermesh_id::BlockId;
use stoq_proto::{Against, BlockRef, Message, Shard, Token};

use crate::error::StoqError;
use crate::{DeltaBlock, FetchReport};

/// Offers that may fail in a row, and what one that was used is worth.
const CREDIT_MAX: u32 = 32;
const CREDIT_USED: u32 = 8;
/// Offers that are left out between two once the credit is used up, at first and at most; doubles.
const PAUSE_MIN: u32 = 16;
const PAUSE_MAX: u32 = 4_096;

/// The bases of blocks that are wanted and not yet stored.
///
/// A tree may only look like an older one. An offer that comes to nothing costs the other side's processor, so after
/// many of them only a few more are made, in growing distances, until one is used again.
#[derive(Debug)]
pub(crate) struct Offers {
    bases: HashMap<BlockId, Vec<BlockId>>,
    credit: u32,
    pause: u32,
    /// Offers that are still to be left out.
    skip: u32,
}

impl Default for Offers {
    fn default() -> Self {
        Self {
            bases: HashMap::new(),
            credit: CREDIT_MAX,
            pause: PAUSE_MIN,
            skip: 0,
        }
    }
}

impl Offers {
    pub(crate) fn add(&mut self, offers: Vec<(BlockId, Vec<BlockId>)>) {
        self.bases.extend(offers);
    }

    /// What a request for these blocks says.
    pub(crate) fn beside(&mut self, blocks: &[BlockRef]) -> Asked {
        let one = |block: &BlockRef| Against {
            id: block.id,
            bases: self.offer(&block.id),
        };
        Asked(blocks.iter().map(one).collect())
    }

    fn offer(&mut self, id: &BlockId) -> Vec<BlockId> {
        let Some(bases) = self.bases.get(id) else {
            return Vec::new();
        };
        if self.credit > 0 {
            return bases.clone();
        }
        if self.skip > 0 {
            self.skip -= 1;
            return Vec::new();
        }
        self.skip = self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        bases.clone()
    }

    /// A block for which bases were named came, as a delta or whole.
    pub(crate) fn answered(&mut self, used: bool) {
        if used {
            self.credit = (self.credit + CREDIT_USED).min(CREDIT_MAX);
            (self.pause, self.skip) = (PAUSE_MIN, 0);
        } else {
            self.credit = self.credit.saturating_sub(1);
        }
    }

    /// The block is stored, or is to come whole.
    pub(crate) fn forget(&mut self, id: &BlockId) {
        self.bases.remove(id);
    }
}

/// The blocks of one request with their bases, in its order.
#[derive(Debug)]
pub(crate) struct Asked(Vec<Against>);

impl Asked {
    /// The request. A peer that knows of no deltas is not told of bases, and may not use them.
    pub(crate) fn question(&mut self, token: Token, deltas: bool) -> Message {
        if !deltas {
            self.0.iter_mut().for_each(|one| one.bases.clear());
        }
        Message::Shard(if self.0.iter().any(|one| !one.bases.is_empty()) {
            let wanted = self.0.clone();
            Shard::Against { token, wanted }
        } else {
            let ids = self.0.iter().map(|one| one.id).collect();
            Shard::Blocks { token, ids }
        })
    }

    /// Whether bases were named for a block.
    pub(crate) fn offers(&self, id: &BlockId) -> bool {
        let named = |one: &Against| one.id == *id && !one.bases.is_empty();
        self.0.iter().any(named)
    }

    /// What a delta in the answer is of.
    pub(crate) fn delta(
        &self,
        at: u16,
        base: u8,
        delta: stoq_proto::Delta,
    ) -> Result<(BlockId, DeltaBlock), StoqError> {
        let wanted = self.0.get(usize::from(at));
        let base = wanted.and_then(|wanted| wanted.bases.get(usize::from(base)));
        match (wanted, base) {
            (Some(wanted), Some(base)) => Ok((
                wanted.id,
                DeltaBlock {
                    base: *base,
                    raw_len: delta.raw_len,
                    frame: delta.frame,
                },
            )),
            _ => Err(StoqError::Broken(
                "a delta against a base that was not offered".into(),
            )),
        }
    }
}

/// Bytes of the frames of a transfer, its failed requests included.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    asked: AtomicU64,
    answered: AtomicU64,
}

impl Traffic {
    pub(crate) fn asked(&self, message: &Message) {
        let (head, tail) = message.encode();
        let bytes = (head.len() + tail.len()) as u64;
        self.asked.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, bytes: u64) {
        self.answered.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn note(&self, report: &mut FetchReport) {
        report.asked_bytes = self.asked.load(Ordering::Relaxed);
        report.answered_bytes = self.answered.load(Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of some blocks are offered bases if each answer comes before the next request.
    fn offered(offers: &mut Offers, blocks: u32, used: impl Fn(u32) -> bool) -> u32 {
        let mut count = 0;
        for at in 0..blocks {
            let mut id = BlockId([0; 32]);
            id.0[..4].copy_from_slice(&at.to_le_bytes());
            offers.add(vec![(id, vec![BlockId([1; 32])])]);
            let asked = offers.beside(&[BlockRef { id, raw_len: 1 }]);
            if asked.offers(&id) {
                count += 1;
                offers.answered(used(at));
            }
            offers.forget(&id);
        }
        count
    }

    #[test]
    fn what_comes_to_nothing_is_offered_seldom() {
        let mut offers = Offers::default();
        let count = offered(&mut offers, 16_384, |_| false);
        assert!((CREDIT_MAX..CREDIT_MAX + 20).contains(&count), "{count}");
        assert!(offers.bases.is_empty());
        // One that is used brings the others back.
        let count = offered(&mut offers, 16_384, |_| true);
        assert!(count > 16_384 - 2 * PAUSE_MAX, "{count}");
    }

    #[test]
    fn what_is_used_now_and_then_is_always_offered() {
        let count = offered(&mut Offers::default(), 10_000, |at| at % 8 == 0);
        assert_eq!(count, 10_000);
    }
}
