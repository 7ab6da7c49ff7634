//! What a transfer offers as bases, and what it counts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use hypermesh_id::BlockId;
use stoq_proto::{Against, BlockRef, Message, Shard, Token};

use crate::error::StoqError;
use crate::{DeltaBlock, FetchReport};

/// The bases of blocks that are wanted and not yet stored.
#[derive(Debug, Default)]
pub(crate) struct Offers(HashMap<BlockId, Vec<BlockId>>);

impl Offers {
    pub(crate) fn add(&mut self, offers: Vec<(BlockId, Vec<BlockId>)>) {
        self.0.extend(offers);
    }

    /// What a request for these blocks says.
    pub(crate) fn beside(&self, blocks: &[BlockRef]) -> Asked {
        let one = |block: &BlockRef| Against {
            id: block.id,
            bases: self.0.get(&block.id).cloned().unwrap_or_default(),
        };
        Asked(blocks.iter().map(one).collect())
    }

    /// The block is stored, or is to come whole.
    pub(crate) fn forget(&mut self, id: &BlockId) {
        self.0.remove(id);
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
