//! Frames and what they say.
//!
//! A frame is {type u16, flags u16, length u32} little-endian and that many bytes. A request is one frame on a stream of
//! its own; its answer is one frame, or SHARD frames and a DONE. TELL frames come on streams of one direction and have no
//! answer. HOP is reserved.

use bytes::{BufMut, Bytes, BytesMut};
use hypermesh_id::BlockId;

use crate::reader::{Malformed, Reader, put_addresses, put_text};
use crate::signed::{ADDRESSES_MAX, Invitation, MemberRecord, SignedError};
use crate::token::{TOKEN_BYTES, Token};
use crate::{BLOCK_BYTES_MAX, Shard};

/// Version of the protocol, in HELLO; the ALPN identifier carries it as well.
pub const VERSION: u16 = 1;
/// Bytes before a frame's body.
pub const FRAME_HEADER_BYTES: usize = 8;
/// Blocks in one request.
pub const IDS_MAX: usize = 256;
/// Member records in one frame.
pub const RECORDS_MAX: usize = 1_024;

/// Longest content of a TELL frame.
pub const TOLD_BYTES_MAX: usize = (1 << 20) + (64 << 10);
/// Longest MESH in a JOINED frame.
pub const MESH_BYTES_MAX: usize = 2_048;

/// What is told, and how urgent it is: each class has a stream of its own, so that none waits for a longer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Short statements on which others wait.
    Votes = 1,
    /// What they are about.
    Blocks = 2,
    /// What nobody waits for.
    Gossip = 3,
}

impl Class {
    pub const ALL: [Self; 3] = [Self::Votes, Self::Blocks, Self::Gossip];

    fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|class| *class as u8 == number)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Votes => "votes",
            Self::Blocks => "blocks",
            Self::Gossip => "gossip",
        }
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum FrameType {
    Hello = 1,
    Join = 2,
    Joined = 3,
    Token = 4,
    Seed = 5,
    Shard = 6,
    // 7 is HOP, reserved for relays.
    Peers = 8,
    Ping = 9,
    Pong = 10,
    Error = 11,
    Done = 12,
    Tell = 13,
}

impl FrameType {
    const ALL: [Self; 12] = [
        Self::Hello,
        Self::Join,
        Self::Joined,
        Self::Token,
        Self::Seed,
        Self::Shard,
        Self::Peers,
        Self::Ping,
        Self::Pong,
        Self::Error,
        Self::Done,
        Self::Tell,
    ];

    fn of(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == number)
    }

    /// Longest body of such a frame.
    pub fn body_bytes_max(self) -> u32 {
        match self {
            Self::Hello => 1_024,
            Self::Join => 2_048,
            Self::Peers => (2 + RECORDS_MAX * 384) as u32,
            Self::Joined => (4 + RECORDS_MAX * 384 + MESH_BYTES_MAX) as u32,
            Self::Token => TOKEN_BYTES as u32,
            Self::Seed => (3 + IDS_MAX * 32) as u32,
            // A request, a block, or a slice of one with its proof.
            Self::Shard => 64 + BLOCK_BYTES_MAX + BLOCK_BYTES_MAX / 8,
            Self::Ping | Self::Pong => 8,
            Self::Error => 2 + 1_024,
            Self::Done => 0,
            Self::Tell => (1 + TOLD_BYTES_MAX) as u32,
        }
    }
}

/// A frame's header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: FrameType,
    /// Bytes of the body.
    pub length: u32,
}

impl Frame {
    /// Reads the header; the length is within what such a frame may have.
    pub fn decode(header: [u8; FRAME_HEADER_BYTES]) -> Result<Self, MessageError> {
        let [k0, k1, f0, f1, l0, l1, l2, l3] = header;
        let number = u16::from_le_bytes([k0, k1]);
        let kind = FrameType::of(number).ok_or(MessageError::Type(number))?;
        let flags = u16::from_le_bytes([f0, f1]);
        if flags != 0 {
            return Err(MessageError::Flags(flags));
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        if length > kind.body_bytes_max() {
            return Err(MessageError::Length { kind, length });
        }
        Ok(Self { kind, length })
    }

    fn encode(self) -> [u8; FRAME_HEADER_BYTES] {
        let ([k0, k1], [l0, l1, l2, l3]) =
            ((self.kind as u16).to_le_bytes(), self.length.to_le_bytes());
        [k0, k1, 0, 0, l0, l1, l2, l3]
    }
}

/// The first rule that some bytes break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    #[error("frame type {0} is unknown")]
    Type(u16),
    #[error("frame flags {0:#06x} are unknown")]
    Flags(u16),
    #[error("a {kind:?} frame of {length} bytes is too long")]
    Length { kind: FrameType, length: u32 },
    #[error("a {0:?} frame is malformed")]
    Malformed(FrameType),
    #[error("{0}")]
    Signed(#[from] SignedError),
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// First on a connection, from either side: who speaks, and where it is reached.
    Hello {
        version: u16,
        software: String,
        addresses: Vec<std::net::SocketAddr>,
    },
    /// Asks to become a member.
    Join {
        invitation: Invitation,
        addresses: Vec<std::net::SocketAddr>,
    },
    /// Admits, and introduces.
    Joined {
        records: Vec<MemberRecord>,
        /// What the issuer's mesh was founded with; opaque here. Empty in `stoq/1` and `stoq/1.1`, which end before it.
        mesh: Bytes,
    },
    /// Asks for a token (none), or gives it.
    Token(Option<Token>),
    /// Asks who has these blocks.
    Seed {
        ids: Vec<BlockId>,
    },
    /// Says which of them, in their order.
    Seeded {
        has: Vec<bool>,
    },
    Shard(Shard),
    /// Introduces.
    Peers {
        records: Vec<MemberRecord>,
    },
    Ping(u64),
    Pong(u64),
    /// Ends a request that failed. The number is a status of the local wire, its sign dropped.
    Error {
        status: u16,
        text: String,
    },
    /// Ends an answer of several frames.
    Done,
    /// Says something that has no answer.
    Tell {
        class: Class,
        content: Bytes,
    },
}

const ASK: u8 = 0;
const ANSWER: u8 = 1;

impl Message {
    fn kind(&self) -> FrameType {
        match self {
            Self::Hello { .. } => FrameType::Hello,
            Self::Join { .. } => FrameType::Join,
            Self::Joined { .. } => FrameType::Joined,
            Self::Token(_) => FrameType::Token,
            Self::Seed { .. } | Self::Seeded { .. } => FrameType::Seed,
            Self::Shard(_) => FrameType::Shard,
            Self::Peers { .. } => FrameType::Peers,
            Self::Ping(_) => FrameType::Ping,
            Self::Pong(_) => FrameType::Pong,
            Self::Error { .. } => FrameType::Error,
            Self::Done => FrameType::Done,
            Self::Tell { .. } => FrameType::Tell,
        }
    }

    /// The frame in two parts, header and fields first; the second is a block's bytes, which are not copied.
    pub fn encode(&self) -> (Bytes, Bytes) {
        let mut out = BytesMut::with_capacity(64);
        out.put_slice(&[0; FRAME_HEADER_BYTES]);
        let tail = self.put(&mut out);
        let length = (out.len() - FRAME_HEADER_BYTES + tail.len()) as u32;
        let header = Frame {
            kind: self.kind(),
            length,
        }
        .encode();
        if let Some(place) = out.get_mut(..FRAME_HEADER_BYTES) {
            place.copy_from_slice(&header);
        }
        (out.freeze(), tail)
    }

    fn put(&self, out: &mut BytesMut) -> Bytes {
        match self {
            Self::Hello {
                version,
                software,
                addresses,
            } => {
                out.put_u16_le(*version);
                put_text(out, software);
                put_addresses(
                    out,
                    addresses
                        .get(..addresses.len().min(ADDRESSES_MAX))
                        .unwrap_or_default(),
                );
            }
            Self::Join {
                invitation,
                addresses,
            } => {
                let invitation = invitation.to_bytes();
                out.put_u16_le(invitation.len() as u16);
                out.put_slice(&invitation);
                put_addresses(
                    out,
                    addresses
                        .get(..addresses.len().min(ADDRESSES_MAX))
                        .unwrap_or_default(),
                );
            }
            Self::Joined { records, mesh } => {
                put_records(out, records);
                if !mesh.is_empty() {
                    let mesh = mesh.get(..mesh.len().min(MESH_BYTES_MAX));
                    let mesh = mesh.unwrap_or_default();
                    out.put_u16_le(mesh.len() as u16);
                    out.put_slice(mesh);
                }
            }
            Self::Peers { records } => put_records(out, records),
            Self::Token(None) | Self::Done => {}
            Self::Token(Some(token)) => out.put_slice(&token.to_bytes()),
            Self::Seed { ids } => {
                out.put_u8(ASK);
                put_ids(out, ids);
            }
            Self::Seeded { has } => {
                out.put_u8(ANSWER);
                let has = has.get(..has.len().min(IDS_MAX)).unwrap_or_default();
                out.put_u16_le(has.len() as u16);
                has.iter().for_each(|one| out.put_u8(u8::from(*one)));
            }
            Self::Shard(shard) => return shard.put(out),
            Self::Tell { class, content } => {
                out.put_u8(*class as u8);
                return content.slice(..content.len().min(TOLD_BYTES_MAX));
            }
            Self::Ping(number) | Self::Pong(number) => out.put_u64_le(*number),
            Self::Error { status, text } => {
                out.put_u16_le(*status);
                out.put_slice(
                    text.get(..text.floor_char_boundary(1_024))
                        .unwrap_or_default()
                        .as_bytes(),
                );
            }
        }
        Bytes::new()
    }

    /// Reads the body of a frame of that type.
    pub fn decode(kind: FrameType, body: Bytes) -> Result<Self, MessageError> {
        let mut reader = Reader::new(body);
        let message = match kind {
            FrameType::Join => take_join(&mut reader)?,
            _ => take(kind, &mut reader).map_err(|Malformed| MessageError::Malformed(kind))?,
        };
        reader
            .end()
            .map_err(|Malformed| MessageError::Malformed(kind))?;
        Ok(message)
    }
}

fn put_records(out: &mut BytesMut, records: &[MemberRecord]) {
    let records = records
        .get(..records.len().min(RECORDS_MAX))
        .unwrap_or_default();
    out.put_u16_le(records.len() as u16);
    records.iter().for_each(|record| record.put(out));
}

pub(crate) fn put_ids(out: &mut BytesMut, ids: &[BlockId]) {
    let ids = ids.get(..ids.len().min(IDS_MAX)).unwrap_or_default();
    out.put_u16_le(ids.len() as u16);
    ids.iter().for_each(|id| out.put_slice(&id.0));
}

fn take_join(reader: &mut Reader) -> Result<Message, MessageError> {
    let malformed = |Malformed| MessageError::Malformed(FrameType::Join);
    let length = reader.u16().map_err(malformed)?;
    let invitation = Invitation::from_bytes(reader.take(length.into()).map_err(malformed)?)?;
    let addresses = reader.addresses(ADDRESSES_MAX).map_err(malformed)?;
    Ok(Message::Join {
        invitation,
        addresses,
    })
}

fn take(kind: FrameType, reader: &mut Reader) -> Result<Message, Malformed> {
    Ok(match kind {
        FrameType::Hello => Message::Hello {
            version: reader.u16()?,
            software: reader.text()?,
            addresses: reader.addresses(ADDRESSES_MAX)?,
        },
        FrameType::Joined => Message::Joined {
            records: take_records(reader)?,
            mesh: match reader.is_empty() {
                true => Bytes::new(),
                false => take_mesh(reader)?,
            },
        },
        FrameType::Peers => Message::Peers {
            records: take_records(reader)?,
        },
        FrameType::Token if reader.is_empty() => Message::Token(None),
        FrameType::Token => Message::Token(Some(take_token(reader)?)),
        FrameType::Seed => match reader.u8()? {
            ASK => Message::Seed {
                ids: take_ids(reader)?,
            },
            ANSWER => {
                let count = reader.u16()?;
                if usize::from(count) > IDS_MAX {
                    return Err(Malformed);
                }
                let has = reader.take(count.into())?;
                if has.iter().any(|one| *one > 1) {
                    return Err(Malformed);
                }
                Message::Seeded {
                    has: has.iter().map(|one| *one == 1).collect(),
                }
            }
            _ => return Err(Malformed),
        },
        FrameType::Shard => Message::Shard(Shard::take(reader)?),
        FrameType::Ping => Message::Ping(reader.u64()?),
        FrameType::Pong => Message::Pong(reader.u64()?),
        FrameType::Error => Message::Error {
            status: reader.u16()?,
            text: String::from_utf8(reader.rest().to_vec()).map_err(|_| Malformed)?,
        },
        FrameType::Done => Message::Done,
        FrameType::Tell => Message::Tell {
            class: Class::of(reader.u8()?).ok_or(Malformed)?,
            content: reader.rest(),
        },
        // Read elsewhere, since its error may be another.
        FrameType::Join => return Err(Malformed),
    })
}

fn take_records(reader: &mut Reader) -> Result<Vec<MemberRecord>, Malformed> {
    let count = usize::from(reader.u16()?);
    if count > RECORDS_MAX {
        return Err(Malformed);
    }
    (0..count).map(|_| MemberRecord::take(reader)).collect()
}

/// At least one byte: that there is none has one form.
fn take_mesh(reader: &mut Reader) -> Result<Bytes, Malformed> {
    match usize::from(reader.u16()?) {
        length @ 1..=MESH_BYTES_MAX => reader.take(length),
        _ => Err(Malformed),
    }
}

pub(crate) fn take_token(reader: &mut Reader) -> Result<Token, Malformed> {
    Token::from_bytes(&reader.take(TOKEN_BYTES)?).map_err(|_| Malformed)
}

/// At least one, at most [`IDS_MAX`].
pub(crate) fn take_ids(reader: &mut Reader) -> Result<Vec<BlockId>, Malformed> {
    let count = usize::from(reader.u16()?);
    if count == 0 || count > IDS_MAX {
        return Err(Malformed);
    }
    (0..count).map(|_| reader.block()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use hypermesh_id::NodeId;
    use proptest::prelude::*;

    use crate::{Against, BASES_MAX, Delta, StoredBlock, TokenKey};

    fn examples() -> Vec<Message> {
        let key = SigningKey::from_bytes(&[5; 32]);
        let addresses = vec!["[::1]:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()];
        let invitation = Invitation::sign(&key, addresses.clone(), 9, [1; 16]).unwrap();
        let record = MemberRecord::sign(&key, NodeId([2; 32]), addresses.clone(), 3);
        let token = TokenKey::new([1; 32]).issue(&NodeId([2; 32]), 77);
        let id = BlockId([4; 32]);
        let block = StoredBlock {
            codec: 1,
            raw_len: 10,
            bytes: Bytes::from_static(b"stored"),
        };
        vec![
            Message::Hello {
                version: VERSION,
                software: "x/1".into(),
                addresses: addresses.clone(),
            },
            Message::Join {
                invitation,
                addresses,
            },
            Message::Joined {
                records: vec![record.clone(); 3],
                mesh: Bytes::from_static(b"mesh"),
            },
            Message::Joined {
                records: vec![record.clone()],
                mesh: Bytes::new(),
            },
            Message::Peers {
                records: vec![record],
            },
            Message::Token(None),
            Message::Token(Some(token.clone())),
            Message::Seed {
                ids: vec![id; IDS_MAX],
            },
            Message::Seeded {
                has: vec![true, false, true],
            },
            Message::Shard(Shard::Blocks {
                token: token.clone(),
                ids: vec![id, id],
            }),
            Message::Shard(Shard::Against {
                token: token.clone(),
                wanted: (0..=BASES_MAX)
                    .map(|count| Against {
                        id,
                        bases: vec![id; count],
                    })
                    .collect(),
            }),
            Message::Shard(Shard::Range {
                token,
                id,
                start: 1,
                end: 5,
            }),
            Message::Shard(Shard::Block { id, block }),
            Message::Shard(Shard::Delta {
                at: 255,
                base: 3,
                delta: Delta {
                    raw_len: 10,
                    frame: Bytes::from_static(b"delta"),
                },
            }),
            Message::Shard(Shard::Missing { id }),
            Message::Shard(Shard::Slice {
                id,
                raw_len: 100,
                proof: Bytes::from_static(b"proof"),
            }),
            Message::Ping(u64::MAX),
            Message::Pong(1),
            Message::Error {
                status: 12,
                text: "why".into(),
            },
            Message::Done,
            Message::Tell {
                class: Class::Votes,
                content: Bytes::from_static(b"told"),
            },
        ]
    }

    fn split(message: &Message) -> (Frame, Bytes) {
        let (head, tail) = message.encode();
        let frame = Frame::decode(head[..FRAME_HEADER_BYTES].try_into().unwrap()).unwrap();
        let body = [&head[FRAME_HEADER_BYTES..], &tail[..]].concat();
        assert_eq!(frame.length as usize, body.len());
        (frame, body.into())
    }

    #[test]
    fn messages_round_trip() {
        for message in examples() {
            let (frame, body) = split(&message);
            assert_eq!(Message::decode(frame.kind, body).unwrap(), message);
        }
    }

    #[test]
    fn a_body_cut_short_or_too_long_is_refused() {
        for message in examples() {
            let (frame, body) = split(&message);
            let open_ended = matches!(
                message,
                Message::Error { .. }
                    | Message::Tell { .. }
                    | Message::Shard(
                        Shard::Block { .. } | Shard::Slice { .. } | Shard::Delta { .. }
                    )
            );
            for at in 0..body.len() {
                let cut = Message::decode(frame.kind, body.slice(..at));
                assert!(
                    cut.is_err()
                        || open_ended
                        || matches!(&cut, Ok(Message::Token(None)))
                        || matches!(&cut, Ok(Message::Joined { mesh, .. }) if mesh.is_empty()),
                    "{message:?} at {at}"
                );
            }
            let longer = [&body[..], b"x"].concat();
            assert!(
                Message::decode(frame.kind, longer.into()).is_err() || open_ended,
                "{message:?}"
            );
        }
    }

    #[test]
    fn headers_keep_to_their_limits() {
        let header = |kind: u16, flags: u16, length: u32| {
            let mut bytes = [0; 8];
            bytes[..2].copy_from_slice(&kind.to_le_bytes());
            bytes[2..4].copy_from_slice(&flags.to_le_bytes());
            bytes[4..].copy_from_slice(&length.to_le_bytes());
            Frame::decode(bytes)
        };
        assert!(matches!(header(7, 0, 0), Err(MessageError::Type(7))));
        assert!(matches!(header(0, 0, 0), Err(MessageError::Type(0))));
        assert!(matches!(header(9, 1, 8), Err(MessageError::Flags(1))));
        assert!(matches!(header(9, 0, 9), Err(MessageError::Length { .. })));
        assert!(matches!(
            header(6, 0, u32::MAX),
            Err(MessageError::Length { .. })
        ));
        assert!(header(6, 0, 256 * 1024).is_ok());
    }

    proptest! {
        #[test]
        fn noise_never_panics(at in 0usize..12, body: Vec<u8>) {
            let _ = Message::decode(FrameType::ALL[at], body.into());
        }

        #[test]
        fn flipped_bits_never_panic(which in 0usize..21, at: prop::sample::Index, bit in 0u8..8) {
            let (frame, body) = split(&examples()[which]);
            if !body.is_empty() {
                let mut body = body.to_vec();
                let at = at.index(body.len());
                body[at] ^= 1 << bit;
                let _ = Message::decode(frame.kind, body.into());
            }
        }
    }
}
