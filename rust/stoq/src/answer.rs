//! Answers requests.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use hypermesh_id::{BlockId, NodeId};
use quinn::{Connection, RecvStream, SendStream};
use stoq_proto::{Against, Invitation, MemberRecord, Message, Shard, Token, TokenError};
use tokio::sync::mpsc;

use crate::budget::Budget;
use crate::dial::tell_records;
use crate::endpoint::{Shared, unix_seconds};
use crate::error::StoqError;
use crate::streams::{read, write};
use crate::tls::speaks_mesh;
use crate::{BlockSource, Sent, range};

/// Statuses of the local wire, their sign dropped: one table for both planes.
mod status {
    pub(super) const INVALID_ARGUMENT: u16 = 1;
    pub(super) const NOT_FOUND: u16 = 2;
    pub(super) const DEADLINE: u16 = 9;
    pub(super) const BUSY: u16 = 10;
    pub(super) const DENIED: u16 = 12;
    pub(super) const INTERNAL: u16 = 99;
    pub(super) const BAD_BODY: u16 = 113;
}

/// Blocks that are read ahead of the network.
const READ_AHEAD: usize = 16;

fn error(status: u16, text: impl Into<String>) -> Message {
    Message::Error {
        status,
        text: text.into(),
    }
}

/// Writes a frame of an answer; a peer that makes no room for it in time gets nothing more.
async fn tell(shared: &Shared, send: &mut SendStream, message: &Message) -> Result<(), StoqError> {
    let written = tokio::time::timeout(shared.limits.write_time, write(send, message)).await;
    written.unwrap_or_else(|_| {
        metrics::counter!("stoq_answers_abandoned").increment(1);
        // A reset, so that it is not taken for the answer's end. It can only be closed already.
        let _ = send.reset(status::DEADLINE.into());
        Err(StoqError::Timeout)
    })
}

/// Writes the last frame of an answer.
async fn tell_last(
    shared: &Shared,
    send: &mut SendStream,
    message: &Message,
) -> Result<(), StoqError> {
    tell(shared, send, message).await?;
    // As above.
    let _ = send.finish();
    Ok(())
}

async fn request(shared: &Shared, receive: &mut RecvStream) -> Result<Message, StoqError> {
    match tokio::time::timeout(shared.limits.answer_time, read(receive)).await {
        Ok(Ok(Some(message))) => Ok(message),
        Ok(Ok(None)) => Err(StoqError::Broken("a stream without a request".into())),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(StoqError::Timeout),
    }
}

/// One request of a key that is no member: a join, or nothing.
pub(crate) async fn stranger(
    shared: &Arc<Shared>,
    connection: &Connection,
    node: NodeId,
    mut send: SendStream,
    mut receive: RecvStream,
) {
    let answer = match request(shared, &mut receive).await {
        Ok(Message::Join {
            invitation,
            addresses,
        }) => join(shared, connection, node, addresses, invitation).await,
        Ok(_) => error(
            status::DENIED,
            "you are not a member here: join with an invitation",
        ),
        Err(wrong) => error(status::BAD_BODY, wrong.to_string()),
    };
    // One that is gone needs no answer; one that is there gets it before the connection is closed.
    if tell_last(shared, &mut send, &answer).await.is_ok() {
        let _ = send.stopped().await;
    }
}

/// One request of a member.
pub(crate) async fn member(
    shared: &Arc<Shared>,
    connection: &Connection,
    node: NodeId,
    mut send: SendStream,
    mut receive: RecvStream,
) {
    metrics::counter!("stoq_requests").increment(1);
    let answered = match request(shared, &mut receive).await {
        Ok(Message::Shard(Shard::Blocks { token, ids })) => {
            let whole = |id| Against {
                id,
                bases: Vec::new(),
            };
            let wanted = ids.into_iter().map(whole).collect();
            blocks(shared, node, &token, wanted, &mut send).await
        }
        Ok(Message::Shard(Shard::Against { token, wanted })) => {
            blocks(shared, node, &token, wanted, &mut send).await
        }
        Ok(message) => {
            let answer = short(shared, connection, node, message).await;
            tell_last(shared, &mut send, &answer).await
        }
        Err(StoqError::Lost(_)) => return,
        Err(wrong) => {
            metrics::counter!("stoq_requests_refused").increment(1);
            tracing::debug!(%node, error = %wrong, "a request was refused");
            tell_last(
                shared,
                &mut send,
                &error(status::BAD_BODY, wrong.to_string()),
            )
            .await
        }
    };
    if let Err(lost) = answered {
        tracing::debug!(%node, error = %lost, "an answer was not taken");
    }
}

/// Requests whose answer is one frame.
async fn short(
    shared: &Arc<Shared>,
    connection: &Connection,
    node: NodeId,
    message: Message,
) -> Message {
    match message {
        Message::Hello {
            version, addresses, ..
        } => {
            if version != stoq_proto::VERSION {
                return error(
                    status::INVALID_ARGUMENT,
                    format!("version {version} is not spoken here"),
                );
            }
            shared.learn_addresses(&node, addresses);
            shared.hello()
        }
        Message::Token(None) => {
            let expires = unix_seconds() + shared.limits.token_time.as_secs();
            Message::Token(Some(shared.token_key.issue(&node, expires)))
        }
        Message::Seed { ids } => {
            let source = Arc::clone(&shared.source);
            match tokio::task::spawn_blocking(move || source.has(&ids)).await {
                Ok(Ok(has)) => Message::Seeded { has },
                Ok(Err(reason)) => {
                    tracing::warn!(reason, "blocks could not be looked up for a peer");
                    error(status::INTERNAL, "the store failed")
                }
                Err(_) => error(status::INTERNAL, "the store failed"),
            }
        }
        Message::Shard(Shard::Range {
            token,
            id,
            start,
            end,
        }) => match permitted(shared, &node, &token) {
            Ok(()) => slice(shared, id, start, end).await,
            Err(refusal) => error(status::DENIED, refusal.to_string()),
        },
        Message::Peers { records } => {
            introduced(shared, node, records).await;
            Message::Done
        }
        Message::Ping(number) => Message::Pong(number),
        // A member may lose its book and join again.
        Message::Join {
            invitation,
            addresses,
        } => {
            let answer = join(shared, connection, node, addresses, invitation).await;
            if matches!(answer, Message::Joined { .. }) {
                tell_records(shared, connection, &node).await;
            }
            answer
        }
        _ => error(status::INVALID_ARGUMENT, "this frame asks nothing"),
    }
}

async fn join(
    shared: &Arc<Shared>,
    connection: &Connection,
    joiner: NodeId,
    addresses: Vec<std::net::SocketAddr>,
    invitation: Invitation,
) -> Message {
    let admission = Arc::clone(&shared.admission);
    let redeemed = tokio::task::spawn_blocking(move || {
        admission
            .redeem(&joiner, &addresses, &invitation)
            .map(|()| (admission.records(), admission.mesh()))
    });
    match redeemed.await {
        Ok(Ok((mut records, mesh))) => {
            records.retain(|record| record.subject != joiner);
            records.truncate(stoq_proto::RECORDS_MAX);
            tokio::spawn(tell_all(Arc::clone(shared), joiner));
            let mesh = if speaks_mesh(connection) {
                mesh
            } else {
                Bytes::new()
            };
            Message::Joined { records, mesh }
        }
        Ok(Err(refusal)) => {
            tracing::info!(node = %joiner, %refusal, "a join was refused");
            error(status::DENIED, refusal.to_string())
        }
        Err(_) => error(status::INTERNAL, "the admission failed"),
    }
}

/// Introduces a new member to all others.
async fn tell_all(shared: Arc<Shared>, joiner: NodeId) {
    let connected: Vec<(NodeId, Connection)> = shared
        .peers()
        .iter()
        .filter(|(node, _)| **node != joiner)
        .filter_map(|(node, peer)| Some((*node, peer.connection()?.clone())))
        .collect();
    for (node, connection) in connected {
        tell_records(&shared, &connection, &node).await;
    }
}

async fn introduced(shared: &Arc<Shared>, from: NodeId, mut records: Vec<MemberRecord>) {
    let admission = Arc::clone(&shared.admission);
    let told = tokio::task::spawn_blocking(move || {
        // Signatures cost time, so they are checked here and not on the runtime's thread.
        records.retain(|record| record.verify().is_ok());
        admission.introduced(&from, records);
    });
    if told.await.is_err() {
        tracing::error!("the admission failed on introductions");
    }
}

fn permitted(shared: &Shared, node: &NodeId, token: &Token) -> Result<(), TokenError> {
    let checked = shared.token_key.check(token, node, unix_seconds());
    if checked.is_err() {
        metrics::counter!("stoq_tokens_refused").increment(1);
    }
    checked
}

/// Streams blocks: a blocking thread reads ahead, this task writes.
async fn blocks(
    shared: &Arc<Shared>,
    node: NodeId,
    token: &Token,
    wanted: Vec<Against>,
    send: &mut SendStream,
) -> Result<(), StoqError> {
    if let Err(refusal) = permitted(shared, &node, token) {
        return tell_last(shared, send, &error(status::DENIED, refusal.to_string())).await;
    }
    let own = shared
        .peers()
        .get(&node)
        .map(|peer| (Arc::clone(&peer.serving), Arc::clone(&peer.deltas)));
    let Some((own, of_peer)) = own else {
        return tell_last(shared, send, &error(status::DENIED, "no longer a peer")).await;
    };
    // Its own share first: whoever waits for that holds up nobody else.
    let permits = async { (own.acquire().await, shared.serving.acquire().await) };
    let Ok(_permits) = tokio::time::timeout(shared.limits.answer_time, permits).await else {
        let busy = "too many answers are under way; try again later";
        return tell_last(shared, send, &error(status::BUSY, busy)).await;
    };
    let (to, mut from) = mpsc::channel(READ_AHEAD);
    let source = Arc::clone(&shared.source);
    let budgets = [of_peer, Arc::clone(&shared.deltas)];
    let deltas = shared.limits.deltas;
    tokio::task::spawn_blocking(move || {
        // `false`: it failed, or nobody writes any more, since the connection is gone.
        let send = |at, id, block: Result<Option<Sent>, String>| {
            let failed = block.is_err();
            to.blocking_send((at, id, block)).is_ok() && !failed
        };
        let is_whole = |one: &Against| !deltas || one.bases.is_empty();
        let mut at = 0;
        for run in wanted.chunk_by(|one, next| is_whole(one) && is_whole(next)) {
            let mut goes_on = true;
            match run {
                [one] if !is_whole(one) => {
                    let read = |work: &mut u64| source.read_against(&one.id, &one.bases, work);
                    goes_on = send(at, one.id, within(&budgets, read));
                    at += 1;
                }
                run => {
                    let ids: Vec<BlockId> = run.iter().map(|one| one.id).collect();
                    let mut left = ids.iter();
                    source.read_each(&ids, &mut |block| {
                        let Some(id) = left.next() else { return false };
                        goes_on = send(at, *id, block.map(|block| block.map(Sent::Whole)));
                        at += 1;
                        goes_on
                    });
                    goes_on &= left.next().is_none();
                }
            }
            if !goes_on {
                return;
            }
        }
    });
    while let Some((at, id, block)) = from.recv().await {
        match block {
            Ok(Some(Sent::Whole(block))) => {
                let bytes = block.bytes.len() as u64;
                tell(shared, send, &Message::Shard(Shard::Block { id, block })).await?;
                metrics::counter!("stoq_blocks_sent").increment(1);
                metrics::counter!("stoq_block_bytes_sent").increment(bytes);
            }
            Ok(Some(Sent::Delta { base, delta })) => {
                let bytes = delta.frame.len() as u64;
                // Both are places in the request, which has few.
                let (at, base) = (at as u16, base as u8);
                let delta = Message::Shard(Shard::Delta { at, base, delta });
                tell(shared, send, &delta).await?;
                metrics::counter!("stoq_blocks_sent").increment(1);
                metrics::counter!("stoq_block_bytes_sent").increment(bytes);
                metrics::counter!("stoq_deltas_sent").increment(1);
            }
            Ok(None) => tell(shared, send, &Message::Shard(Shard::Missing { id })).await?,
            Err(reason) => {
                tracing::warn!(block = %id, reason, "a block could not be read for a peer");
                return tell_last(shared, send, &error(status::INTERNAL, "the store failed")).await;
            }
        }
    }
    tell_last(shared, send, &Message::Done).await
}

/// Does work of which each budget has some left, and takes what it used from all.
fn within<T>(budgets: &[Arc<Mutex<Budget>>], work: impl FnOnce(&mut u64) -> T) -> T {
    let each = |budget: &Arc<Mutex<Budget>>| {
        let mut budget = budget.lock().unwrap_or_else(PoisonError::into_inner);
        budget.left(Instant::now())
    };
    let there = budgets.iter().map(each).min().unwrap_or_default();
    let mut left = there;
    let done = work(&mut left);
    for budget in budgets {
        let mut budget = budget.lock().unwrap_or_else(PoisonError::into_inner);
        budget.spend(there.saturating_sub(left));
    }
    done
}

async fn slice(shared: &Shared, id: BlockId, start: u32, end: u32) -> Message {
    let source: Arc<dyn BlockSource> = Arc::clone(&shared.source);
    let cut = tokio::task::spawn_blocking(move || {
        let Some(raw) = source.read_raw(&id)? else {
            return Ok(None);
        };
        let raw_len = u32::try_from(raw.len()).map_err(|_| "the block is too long".to_string())?;
        range::slice(&raw, start, end).map(|proof| Some((raw_len, Bytes::from(proof))))
    });
    match cut.await {
        Ok(Ok(Some((raw_len, proof)))) => Message::Shard(Shard::Slice { id, raw_len, proof }),
        Ok(Ok(None)) => error(status::NOT_FOUND, "the block is not here"),
        Ok(Err(reason)) => error(status::INTERNAL, reason),
        Err(_) => error(status::INTERNAL, "the store failed"),
    }
}
