//! A provider that breaks the rules.

use hypermesh_id::BlockId;
use stoq_proto::{BLOCK_BYTES_MAX, Message, Shard, StoredBlock, TokenKey};

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
}

impl Rogue {
    pub(crate) const ALL: [Self; 7] = [
        Self::Silent,
        Self::Rubbish,
        Self::WrongBytes,
        Self::OtherBlock,
        Self::TooLong,
        Self::EndsEarly,
        Self::Resets,
    ];
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
                    Some(Message::Shard(Shard::Blocks { ids, .. })) if how == Rogue::WrongBytes => {
                        let wrong = |id| {
                            let block = StoredBlock {
                                codec: 0,
                                raw_len: 9,
                                bytes: b"not this."[..].into(),
                            };
                            bytes(&Message::Shard(Shard::Block { id, block }))
                        };
                        let mut all: Vec<u8> = ids.into_iter().flat_map(wrong).collect();
                        all.extend(bytes(&Message::Done));
                        all
                    }
                    Some(Message::Shard(_)) => match how {
                        Rogue::Silent => {
                            std::mem::forget(send);
                            continue;
                        }
                        Rogue::Rubbish | Rogue::WrongBytes => vec![0xa5; 100],
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
