//! Verified ranges of one block: slices of its BLAKE3 tree, in the format of Bao.
//!
//! A slice holds the whole 1 KiB chunks around the range and the hashes that lead from them to the block's id, so that
//! whoever has only the id can check a part.

use std::io::Cursor;

use bao_tree::io::BaoContentItem;
use bao_tree::io::outboard::PreOrderMemOutboard;
use bao_tree::io::round_up_to_chunks;
use bao_tree::io::sync::{DecodeResponseIter, encode_ranges_validated};
use bao_tree::{BaoTree, BlockSize, ByteRanges, ChunkRanges};
use bytes::Bytes;
use hypermesh_id::{BlockId, NodeId};
use stoq_proto::{BLOCK_BYTES_MAX, Message, Shard};

use crate::Endpoint;
use crate::error::StoqError;
use crate::streams::ask;

fn chunks(start: u32, end: u32) -> ChunkRanges {
    round_up_to_chunks(&ByteRanges::from(u64::from(start)..u64::from(end)))
}

/// Cuts a slice out of a block.
pub(crate) fn slice(block: &[u8], start: u32, end: u32) -> Result<Vec<u8>, String> {
    let outboard = PreOrderMemOutboard::create(block, BlockSize::ZERO);
    let mut out = Vec::new();
    encode_ranges_validated(block, &outboard, &chunks(start, end), &mut out)
        .map_err(|error| error.to_string())?;
    Ok(out)
}

/// The bytes of the range, checked against the id. A range past the end of the block gives what there is.
pub(crate) fn verify(
    id: &BlockId,
    raw_len: u32,
    proof: &[u8],
    start: u32,
    end: u32,
) -> Result<Bytes, String> {
    let ranges = chunks(start, end);
    let tree = BaoTree::new(raw_len.into(), BlockSize::ZERO);
    let mut encoded = Cursor::new(proof);
    let (start, end) = (u64::from(start), u64::from(end.min(raw_len)));
    let mut out = Vec::with_capacity(end.saturating_sub(start) as usize);
    for item in DecodeResponseIter::new(id.0.into(), tree, &mut encoded, &ranges) {
        if let BaoContentItem::Leaf(leaf) = item.map_err(|error| error.to_string())? {
            let from = start
                .saturating_sub(leaf.offset)
                .min(leaf.data.len() as u64) as usize;
            let to = end.saturating_sub(leaf.offset).min(leaf.data.len() as u64) as usize;
            out.extend_from_slice(leaf.data.get(from..to).unwrap_or_default());
        }
    }
    if encoded.position() != proof.len() as u64 {
        return Err("bytes follow the slice".into());
    }
    Ok(out.into())
}

impl Endpoint {
    /// Gets a range of one block from one peer, checked against the block's id. At the end of the block the range ends.
    ///
    /// # Errors
    /// When the peer does not have the block, or its answer is not of this block.
    pub async fn fetch_range(
        &self,
        node: NodeId,
        id: BlockId,
        range: std::ops::Range<u32>,
    ) -> Result<Bytes, StoqError> {
        if range.start >= range.end || range.end > BLOCK_BYTES_MAX {
            return Err(StoqError::Broken(format!(
                "{range:?} is no range of a block"
            )));
        }
        let shared = &self.shared;
        let connection = shared.connection(&node)?;
        let token = shared.token(&node, &connection).await?;
        let request = Message::Shard(Shard::Range {
            token,
            id,
            start: range.start,
            end: range.end,
        });
        match ask(&connection, &request, shared.limits.answer_time).await? {
            Message::Shard(Shard::Slice {
                id: of,
                raw_len,
                proof,
            }) if of == id => {
                verify(&id, raw_len, &proof, range.start, range.end).map_err(|reason| {
                    StoqError::Broken(format!("the range does not verify: {reason}"))
                })
            }
            _ => Err(StoqError::Broken("an answer about something else".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 31 % 251) as u8).collect()
    }

    proptest! {
        #[test]
        fn ranges_verify_and_changes_do_not(
            length in 1usize..20_000,
            a in 0u32..20_000,
            b in 1u32..20_000,
            flip: prop::sample::Index,
        ) {
            let data = block(length);
            let id = BlockId::of(&data);
            let (start, end) = (a.min(b), a.max(b) + 1);
            let mut proof = slice(&data, start, end).unwrap();
            let expected = data.get(start as usize..(end as usize).min(length)).unwrap_or_default();
            prop_assert_eq!(&verify(&id, length as u32, &proof, start, end).unwrap()[..], expected);
            prop_assert!(verify(&BlockId([1; 32]), length as u32, &proof, start, end).is_err());
            let at = flip.index(proof.len());
            proof[at] ^= 1;
            prop_assert!(verify(&id, length as u32, &proof, start, end).is_err());
        }

        #[test]
        fn noise_is_an_error(length in 0u32..300_000, proof: Vec<u8>, start in 0u32..1_000) {
            prop_assert!(verify(&BlockId([1; 32]), length, &proof, start, start + 10).is_err());
        }
    }
}
