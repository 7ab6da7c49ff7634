//! What SHARD frames carry: questions for blocks, and the parts of their answers.

use bytes::{BufMut, Bytes, BytesMut};
use hypermesh_id::BlockId;

use crate::message::{put_ids, take_ids, take_token};
use crate::reader::{Malformed, Reader};
use crate::token::Token;
use crate::{BLOCK_BYTES_MAX, IDS_MAX, StoredBlock};

/// Bases that a request names for one block.
pub const BASES_MAX: usize = 4;

/// What a SHARD frame carries: a question or a part of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shard {
    /// Asks for blocks.
    Blocks { token: Token, ids: Vec<BlockId> },
    /// Asks for blocks, each of which may come as a delta against one that the asker has.
    Against { token: Token, wanted: Vec<Against> },
    /// Asks for a verified range of one block.
    Range {
        token: Token,
        id: BlockId,
        start: u32,
        end: u32,
    },
    /// One block.
    Block { id: BlockId, block: StoredBlock },
    /// One block as a delta: the block and its base are named by their places in the request.
    Delta { at: u16, base: u8, delta: Delta },
    /// The block is not here.
    Missing { id: BlockId },
    /// A range with its proof: length of the whole block, and a BLAKE3 tree slice.
    Slice {
        id: BlockId,
        raw_len: u32,
        proof: Bytes,
    },
}

/// A block that is wanted, and blocks of whoever asks against which it may come as a delta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Against {
    pub id: BlockId,
    /// At most [`BASES_MAX`], the likeliest first.
    pub bases: Vec<BlockId>,
}

/// A block as a delta: one zstd frame that has the base's bytes as its prefix. Not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// Length of the block itself.
    pub raw_len: u32,
    pub frame: Bytes,
}

const ASK_BLOCKS: u8 = 0;
const ASK_RANGE: u8 = 1;
const BLOCK: u8 = 2;
const MISSING: u8 = 3;
const SLICE: u8 = 4;
const ASK_AGAINST: u8 = 5;
const DELTA: u8 = 6;

impl Shard {
    /// Writes all but the tail, which is answered.
    pub(crate) fn put(&self, out: &mut BytesMut) -> Bytes {
        match self {
            Self::Blocks { token, ids } => {
                out.put_u8(ASK_BLOCKS);
                out.put_slice(&token.to_bytes());
                put_ids(out, ids);
            }
            Self::Against { token, wanted } => {
                out.put_u8(ASK_AGAINST);
                out.put_slice(&token.to_bytes());
                let wanted = wanted.get(..wanted.len().min(IDS_MAX)).unwrap_or_default();
                out.put_u16_le(wanted.len() as u16);
                for Against { id, bases } in wanted {
                    out.put_slice(&id.0);
                    let bases = bases.get(..bases.len().min(BASES_MAX)).unwrap_or_default();
                    out.put_u8(bases.len() as u8);
                    bases.iter().for_each(|base| out.put_slice(&base.0));
                }
            }
            Self::Range {
                token,
                id,
                start,
                end,
            } => {
                out.put_u8(ASK_RANGE);
                out.put_slice(&token.to_bytes());
                out.put_slice(&id.0);
                out.put_u32_le(*start);
                out.put_u32_le(*end);
            }
            Self::Block { id, block } => {
                out.put_u8(BLOCK);
                out.put_slice(&id.0);
                out.put_u8(block.codec);
                out.put_u32_le(block.raw_len);
                return block.bytes.clone();
            }
            Self::Delta { at, base, delta } => {
                out.put_u8(DELTA);
                out.put_u16_le(*at);
                out.put_u8(*base);
                out.put_u32_le(delta.raw_len);
                return delta.frame.clone();
            }
            Self::Missing { id } => {
                out.put_u8(MISSING);
                out.put_slice(&id.0);
            }
            Self::Slice { id, raw_len, proof } => {
                out.put_u8(SLICE);
                out.put_slice(&id.0);
                out.put_u32_le(*raw_len);
                return proof.clone();
            }
        }
        Bytes::new()
    }

    pub(crate) fn take(reader: &mut Reader) -> Result<Self, Malformed> {
        let length_of_block = |raw_len: u32| {
            if raw_len <= BLOCK_BYTES_MAX {
                Ok(raw_len)
            } else {
                Err(Malformed)
            }
        };
        Ok(match reader.u8()? {
            ASK_BLOCKS => Self::Blocks {
                token: take_token(reader)?,
                ids: take_ids(reader)?,
            },
            ASK_AGAINST => Self::Against {
                token: take_token(reader)?,
                wanted: take_wanted(reader)?,
            },
            ASK_RANGE => {
                let (token, id, start, end) = (
                    take_token(reader)?,
                    reader.block()?,
                    reader.u32()?,
                    reader.u32()?,
                );
                if start >= end || end > BLOCK_BYTES_MAX {
                    return Err(Malformed);
                }
                Self::Range {
                    token,
                    id,
                    start,
                    end,
                }
            }
            BLOCK => {
                let (id, codec, raw_len) = (
                    reader.block()?,
                    reader.u8()?,
                    length_of_block(reader.u32()?)?,
                );
                let bytes = reader.rest();
                // Stored bytes are never longer than the block: what does not shrink is stored as it is.
                if bytes.len() > raw_len as usize {
                    return Err(Malformed);
                }
                Self::Block {
                    id,
                    block: StoredBlock {
                        codec,
                        raw_len,
                        bytes,
                    },
                }
            }
            DELTA => {
                let (at, base, raw_len) =
                    (reader.u16()?, reader.u8()?, length_of_block(reader.u32()?)?);
                let frame = reader.rest();
                let places = usize::from(at) < IDS_MAX && usize::from(base) < BASES_MAX;
                // A delta that saves nothing is not sent.
                if !places || frame.is_empty() || frame.len() >= raw_len as usize {
                    return Err(Malformed);
                }
                Self::Delta {
                    at,
                    base,
                    delta: Delta { raw_len, frame },
                }
            }
            MISSING => Self::Missing {
                id: reader.block()?,
            },
            SLICE => {
                let (id, raw_len) = (reader.block()?, length_of_block(reader.u32()?)?);
                Self::Slice {
                    id,
                    raw_len,
                    proof: reader.rest(),
                }
            }
            _ => return Err(Malformed),
        })
    }
}

/// At least one, at most [`IDS_MAX`], each with at most [`BASES_MAX`] bases.
fn take_wanted(reader: &mut Reader) -> Result<Vec<Against>, Malformed> {
    let count = usize::from(reader.u16()?);
    if count == 0 || count > IDS_MAX {
        return Err(Malformed);
    }
    let one = |_| {
        let (id, bases) = (reader.block()?, usize::from(reader.u8()?));
        if bases > BASES_MAX {
            return Err(Malformed);
        }
        let bases = (0..bases)
            .map(|_| reader.block())
            .collect::<Result<_, _>>()?;
        Ok(Against { id, bases })
    };
    (0..count).map(one).collect()
}

#[cfg(test)]
mod tests {
    use hypermesh_id::NodeId;

    use super::*;
    use crate::{FRAME_HEADER_BYTES, Frame, FrameType, Message, TokenKey};

    fn split(message: &Message) -> (Frame, Bytes) {
        let (head, tail) = message.encode();
        let frame = Frame::decode(head[..FRAME_HEADER_BYTES].try_into().unwrap()).unwrap();
        (
            frame,
            [&head[FRAME_HEADER_BYTES..], &tail[..]].concat().into(),
        )
    }

    /// What the bytes of the two frames are, for ever.
    #[test]
    fn frames_of_deltas_have_the_bytes_of_the_specification() {
        let token = TokenKey::new([1; 32]).issue(&NodeId([2; 32]), 77);
        let ask = Message::Shard(Shard::Against {
            token: token.clone(),
            wanted: vec![
                Against {
                    id: BlockId([4; 32]),
                    bases: vec![BlockId([5; 32]), BlockId([6; 32])],
                },
                Against {
                    id: BlockId([7; 32]),
                    bases: Vec::new(),
                },
            ],
        });
        let mut body = vec![5];
        body.extend_from_slice(&token.to_bytes());
        body.extend_from_slice(&[2, 0]);
        for (first, rest) in [(4, &[2_u8][..]), (7, &[0][..])] {
            body.extend_from_slice(&[first; 32]);
            body.extend_from_slice(rest);
            if first == 4 {
                body.extend_from_slice(&[5; 32]);
                body.extend_from_slice(&[6; 32]);
            }
        }
        assert_eq!(split(&ask), (frame(body.len()), body.clone().into()));
        assert_eq!(Message::decode(FrameType::Shard, body.into()), Ok(ask));
        let told = Message::Shard(Shard::Delta {
            at: 255,
            base: 1,
            delta: Delta {
                raw_len: 0x0003_0201,
                frame: Bytes::from_static(b"\x28\xb5"),
            },
        });
        // 255 is the last place of a request.
        let body = vec![6, 0xff, 0, 1, 1, 2, 3, 0, 0x28, 0xb5];
        assert_eq!(split(&told), (frame(body.len()), body.clone().into()));
        assert_eq!(Message::decode(FrameType::Shard, body.into()), Ok(told));
    }

    fn frame(length: usize) -> Frame {
        Frame {
            kind: FrameType::Shard,
            length: length as u32,
        }
    }

    #[test]
    fn deltas_keep_to_their_limits() {
        let delta = |at: u16, base: u8, raw_len: u32, frame: &[u8]| {
            let mut body = vec![6];
            body.extend_from_slice(&at.to_le_bytes());
            body.push(base);
            body.extend_from_slice(&raw_len.to_le_bytes());
            body.extend_from_slice(frame);
            Message::decode(FrameType::Shard, body.into())
        };
        assert!(delta(255, 3, 3, b"ab").is_ok());
        assert!(delta(0, 0, BLOCK_BYTES_MAX, b"a").is_ok());
        // No such place in a request, no such base, too long a block, nothing, nothing saved.
        assert!(delta(256, 0, 3, b"ab").is_err());
        assert!(delta(0, 4, 3, b"ab").is_err());
        assert!(delta(0, 0, BLOCK_BYTES_MAX + 1, b"ab").is_err());
        assert!(delta(0, 0, 3, b"").is_err());
        assert!(delta(0, 0, 2, b"ab").is_err());
        let ask = |count: u16, bases: u8, ids: usize| {
            let token = TokenKey::new([1; 32]).issue(&NodeId([2; 32]), 77);
            let mut body = vec![5];
            body.extend_from_slice(&token.to_bytes());
            body.extend_from_slice(&count.to_le_bytes());
            body.extend_from_slice(&[4; 32]);
            body.push(bases);
            body.extend_from_slice(&vec![4; 32 * ids]);
            Message::decode(FrameType::Shard, body.into())
        };
        assert!(ask(1, 4, 4).is_ok());
        assert!(ask(1, 5, 5).is_err());
        assert!(ask(1, 2, 1).is_err());
        assert!(ask(0, 0, 0).is_err());
        assert!(ask(257, 0, 0).is_err());
    }
}
