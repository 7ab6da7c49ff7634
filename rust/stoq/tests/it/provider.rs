//! A provider that breaks the rules.

use hypermesh_id::BlockId;
use stoq_proto::{BLOCK_BYTES_MAX, Delta, Message, Shard, StoredBlock, TokenKey};

use crate::raw::{bytes, node, read};

/// How a rogue provider answers SHARD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rogue {
    Silent,
    Rubbish,
    WrongBytes,
    OtherBlock,
    TooLong,
    EndsEarly,
    Resets,
    WrongDelta,
    OtherBase,
}

impl Rogue {
    pub(crate) const ALL: [Self; 9] = [
        Self::Silent,
        Self::Rubbish,
        Self::WrongBytes,
        Self::OtherBlock,
        Self::TooLong,
        Self::EndsEarly,
        Self::Resets,
        Self::WrongDelta,
        Self::OtherBase,
    ];

    /// What it says instead of the blocks that were asked for, if it answers by the rules of the frames.
    fn lies(self, shard: &Shard) -> Option<Vec<Shard>> {
        let ids: Vec<BlockId> = match shard {
            Shard::Blocks { ids, .. } => ids.clone(),
            Shard::Against { wanted, .. } => wanted.iter().map(|one| one.id).collect(),
            _ => return None,
        };
        let bases = match shard {
            Shard::Against { wanted, .. } => wanted.iter().map(|one| one.bases.len()).collect(),
            _ => vec![0; ids.len()],
        };
        let block = |id| Shard::Block {
            id,
            block: StoredBlock {
                codec: 0,
                raw_len: 9,
                bytes: b"not this."[..].into(),
            },
        };
        let delta = |at: usize, base: usize| Shard::Delta {
            at: at as u16,
            base: base as u8,
            delta: Delta {
                raw_len: 10_004,
                frame: b"not this."[..].into(),
            },
        };
        match self {
            Self::WrongBytes => Some(ids.into_iter().map(block).collect()),
            // One that is offered no base can only send the wrong block.
            Self::WrongDelta => {
                let wrong = |(at, id)| match bases[at] {
                    0 => block(id),
                    _ => delta(at, 0),
                };
                Some(ids.into_iter().enumerate().map(wrong).collect())
            }
            Self::OtherBase => Some(vec![delta(0, bases[0])]),
            _ => None,
        }
    }
}

/// A provider that says hello, claims to have everything, gives tokens, and then misbehaves.
pub(crate) async fn serve(socket: quinn::Endpoint, how: Rogue) {
    while let Some(incoming) = socket.accept().await {
        let Ok(connection) = incoming.await else {
            continue;
        };
        tokio::spawn(async move {
            while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                let hello = Message::Hello {
                    version: 1,
                    software: "rogue".into(),
                    addresses: Vec::new(),
                };
                let answer = match read(&mut receive).await {
                    Some(Message::Hello { .. }) => bytes(&hello),
                    Some(Message::Token(None)) => bytes(&Message::Token(Some(
                        TokenKey::new([1; 32]).issue(&node(3), u64::MAX),
                    ))),
                    Some(Message::Peers { .. }) => bytes(&Message::Done),
                    Some(Message::Seed { ids }) => bytes(&Message::Seeded {
                        has: vec![true; ids.len()],
                    }),
                    Some(Message::Shard(shard)) if how.lies(&shard).is_some() => {
                        let lies = how.lies(&shard).unwrap_or_default();
                        let frame = |shard| bytes(&Message::Shard(shard));
                        let mut all: Vec<u8> = lies.into_iter().flat_map(frame).collect();
                        all.extend(bytes(&Message::Done));
                        all
                    }
                    Some(Message::Shard(_)) => match how {
                        Rogue::Silent => {
                            std::mem::forget(send);
                            continue;
                        }
                        Rogue::Rubbish
                        | Rogue::WrongBytes
                        | Rogue::WrongDelta
                        | Rogue::OtherBase => vec![0xa5; 100],
                        Rogue::OtherBlock => {
                            let block = StoredBlock {
                                codec: 0,
                                raw_len: 1,
                                bytes: vec![1].into(),
                            };
                            bytes(&Message::Shard(Shard::Block {
                                id: BlockId([9; 32]),
                                block,
                            }))
                        }
                        Rogue::TooLong => [6, 0, 0, 0]
                            .into_iter()
                            .chain((BLOCK_BYTES_MAX * 2).to_le_bytes())
                            .collect(),
                        Rogue::EndsEarly => bytes(&Message::Done),
                        Rogue::Resets => {
                            let _ = send.reset(1u8.into());
                            continue;
                        }
                    },
                    _ => bytes(&Message::Error {
                        status: 1,
                        text: String::new(),
                    }),
                };
                let _ = send.write_all(&answer).await;
                let _ = send.finish();
            }
        });
    }
}
