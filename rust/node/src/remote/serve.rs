//! The other ends of the doors: methods that lead to a component's own objects.

use std::sync::Arc;
use std::time::Duration;

use mfn_local::{Call, Failure, Reply};
use mfn_wire::{Service, Status, method, pb};
use prost::Message;
use stoq::{BlockSink, DeltaBlock, FetchReport, Sent, SinkError, StoredBlock, Wanted};
use tokio::sync::oneshot;

use super::messages::{self, settled};
use crate::answer::{Answer, invalid, unsupported};
use crate::doors::{Fetches, Intakes, Network, Receives};
use crate::fetch::Fetcher;
use crate::network::Direct;
use crate::progress::{EVERY, ProgressSink};
use crate::receive::{Receiver, Session};

/// Blocks named in one answer.
const WANTED_MAX: usize = 4_096;
/// Longest wait for a first peer.
const WAIT_MAX: Duration = Duration::from_secs(3_600);
/// Bytes of blocks in one answer to a read. One more block still fits.
const READ_BYTES_MAX: usize = 4 << 20;
/// Most work that one read may be given.
const WORK_MAX: u64 = 1 << 30;

/// What state answers to the transport and the scheduler.
pub(crate) async fn state(receiver: &Receiver, call: Call) -> Answer {
    match call.method {
        method::state::HAS => has(receiver, &call).await,
        method::state::READ => read(receiver, &call).await,
        method::state::RECEIVE => receive(receiver, call).await,
        method::state::WANTED => wanted(receiver, &call).await,
        method::state::ACCEPT => accept(receiver, call).await,
        method::state::RECEIVED => {
            let request: pb::ReceivedRequest = call.decode()?;
            receiver.received(request.session, request.complete).await?;
            Ok(Reply::empty())
        }
        _ => unsupported(Service::State, &call),
    }
}

/// What the transport answers to the scheduler.
pub(crate) async fn transport(network: &Direct, call: Call) -> Answer {
    match call.method {
        method::transport::CONNECTED => connected(network, &call).await,
        method::transport::HOLDERS => {
            let request: pb::HoldersRequest = call.decode()?;
            let asked = messages::nodes(&request.nodes)?;
            let block = messages::block_id(&request.block)?;
            let holders = network.holders(asked, block).await?;
            Ok(Reply::message(&pb::HoldersReply {
                nodes: messages::node_texts(&holders),
            }))
        }
        method::transport::FETCH => fetch(network, call).await,
        _ => unsupported(Service::Transport, &call),
    }
}

/// What the scheduler answers to state.
pub(crate) async fn scheduler(fetcher: &Fetcher, call: Call) -> Answer {
    match call.method {
        method::scheduler::FETCH => {
            let part = messages::part(call.decode()?)?;
            let fetched = fetcher.fetch(part).await;
            let reply = fetched.map(|content_bytes| pb::FetchPartReply {
                refused: None,
                content_bytes,
            });
            Ok(Reply::message(&settled(reply, |reply| &mut reply.refused)))
        }
        _ => unsupported(Service::Scheduler, &call),
    }
}

/// Runs work that waits for the disk off the component's thread.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Failure::new(Status::INTERNAL, "a blocking call failed")))
}

fn unreadable(text: String) -> Failure {
    Failure::new(Status::IO, text)
}

async fn has(receiver: &Receiver, call: &Call) -> Answer {
    let request: pb::BlockIds = call.decode()?;
    let ids = messages::block_ids(&request.ids)?;
    let source = receiver.source();
    let here = off_thread(move || source.has(&ids).map_err(unreadable)).await?;
    Ok(Reply::message(&pb::BlocksHere { here }))
}

async fn read(receiver: &Receiver, call: &Call) -> Answer {
    let request: pb::ReadRequest = call.decode()?;
    let ids = messages::block_ids(&request.ids)?;
    let bases = messages::block_ids(&request.bases)?;
    let Some(first) = ids.first().copied() else {
        return Err(invalid("name at least one block"));
    };
    let source = receiver.source();
    let reply = off_thread(move || {
        if !bases.is_empty() {
            let mut work = request.work.min(WORK_MAX);
            let sent = source.read_against(&first, &bases, &mut work);
            let block = sent.map_err(unreadable)?.map(|sent| match sent {
                Sent::Whole(block) => whole(block),
                Sent::Delta { base, delta } => pb::ReadBlock {
                    here: true,
                    raw_len: delta.raw_len,
                    body: delta.frame,
                    is_delta: true,
                    // A place in the request.
                    base: u32::try_from(base).unwrap_or(u32::MAX),
                    ..Default::default()
                },
            });
            let blocks = vec![block.unwrap_or_default()];
            return Ok(pb::ReadReply { blocks, work });
        }
        let mut blocks = Vec::new();
        let mut bytes = 0;
        for id in &ids {
            let block = if request.raw {
                source.read_raw(id).map(|raw| raw.map(plain))
            } else {
                source.read(id).map(|block| block.map(whole))
            };
            let block = match block {
                Ok(block) => block.unwrap_or_default(),
                // Those before it are good; it is asked for again, and is the first then.
                Err(_) if !blocks.is_empty() => break,
                Err(error) => return Err(unreadable(error)),
            };
            bytes += block.body.len();
            blocks.push(block);
            if bytes >= READ_BYTES_MAX {
                break;
            }
        }
        Ok(pb::ReadReply { blocks, work: 0 })
    });
    Ok(Reply::message(&reply.await?))
}

fn whole(block: StoredBlock) -> pb::ReadBlock {
    pb::ReadBlock {
        here: true,
        codec: block.codec.into(),
        raw_len: block.raw_len,
        body: block.bytes,
        ..Default::default()
    }
}

fn plain(raw: bytes::Bytes) -> pb::ReadBlock {
    pb::ReadBlock {
        here: true,
        raw_len: u32::try_from(raw.len()).unwrap_or(u32::MAX),
        body: raw,
        ..Default::default()
    }
}

/// A session lives as long as this call: who opened it and is gone leaves none behind.
async fn receive(receiver: &Receiver, call: Call) -> Answer {
    let order = messages::order(call.decode()?)?;
    let events = call.events;
    let watcher = ProgressSink::within(events.clone(), |progress| {
        let event = pb::ReceiveEvent {
            progress: Some(progress.clone()),
            ..Default::default()
        };
        event.encode_to_vec()
    });
    let (opened, session) = oneshot::channel();
    let mut receiving = receiver.receive(order, opened, Some(Arc::new(watcher)));
    let answer = |received| {
        let reply = Result::map(received, messages::receive_reply);
        Ok(Reply::message(&settled(reply, |reply| &mut reply.refused)))
    };
    let mut opened = tokio::select! {
        biased;
        received = &mut receiving => return answer(received),
        Ok(opened) = session => opened,
    };
    events
        .message(&pb::ReceiveEvent {
            session: opened.session,
            ..Default::default()
        })
        .await?;
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            received = &mut receiving => return answer(received),
            _ = tick.tick() => {
                // Its sender lives in the session.
                if opened.totals.has_changed().unwrap_or(false) {
                    let totals = *opened.totals.borrow_and_update();
                    events.message(&messages::totals_event(totals)).await?;
                }
            }
        }
    }
}

async fn wanted(receiver: &Receiver, call: &Call) -> Answer {
    let request: pb::WantedRequest = call.decode()?;
    let received = messages::block_ids(&request.received)?;
    let max = usize::try_from(request.max).unwrap_or(WANTED_MAX);
    let session = receiver.session(request.session);
    let reply = match session {
        Err(failure) => Err(failure),
        Ok(session) => {
            off_thread(move || {
                received.iter().for_each(|id| session.note(id));
                let blocks = match session.poll(max.clamp(1, WANTED_MAX))? {
                    Wanted::Blocks(blocks) => blocks,
                    Wanted::Waiting => return Ok(pb::WantedReply::default()),
                    Wanted::Done => {
                        return Ok(pb::WantedReply {
                            done: true,
                            ..Default::default()
                        });
                    }
                };
                let named = |block: stoq::BlockRef| pb::WantedBlock {
                    id: block.id.0.to_vec(),
                    raw_len: block.raw_len,
                    bases: session
                        .bases(&block.id)
                        .iter()
                        .map(|base| base.0.to_vec())
                        .collect(),
                };
                Ok(pb::WantedReply {
                    blocks: blocks.into_iter().map(named).collect(),
                    ..Default::default()
                })
            })
            .await
        }
    };
    Ok(Reply::message(&settled(reply, |reply| &mut reply.refused)))
}

async fn accept(receiver: &Receiver, call: Call) -> Answer {
    let receiver = receiver.clone();
    // Decoded off the thread as well: it is the longest message of all.
    let reply = off_thread(move || {
        let request: pb::AcceptRequest = call.decode()?;
        let session = match receiver.session(request.session) {
            Ok(session) => session,
            Err(failure) => {
                return Ok(pb::AcceptReply {
                    refused: Some(messages::refusal(failure)),
                    outcomes: vec![REFUSED; request.blocks.len()],
                });
            }
        };
        take_in(&session, request.blocks)
    });
    Ok(Reply::message(&reply.await?))
}

const REFUSED: u32 = 3;

fn take_in(session: &Session, blocks: Vec<pb::ArrivedBlock>) -> Result<pb::AcceptReply, Failure> {
    let mut outcomes = vec![REFUSED; blocks.len()];
    let (mut wholes, mut deltas) = (Vec::new(), Vec::new());
    // Where each of them stands in the request.
    let (mut of_wholes, mut of_deltas) = (Vec::new(), Vec::new());
    for (at, block) in blocks.into_iter().enumerate() {
        let id = messages::block_id(&block.id)?;
        if block.base.is_empty() {
            let stored = StoredBlock {
                // Unknown ones are refused where the block is verified.
                codec: u8::try_from(block.codec).unwrap_or(u8::MAX),
                raw_len: block.raw_len,
                bytes: block.body,
            };
            wholes.push((id, stored));
            of_wholes.push(at);
        } else {
            let delta = DeltaBlock {
                base: messages::block_id(&block.base)?,
                raw_len: block.raw_len,
                frame: block.body,
            };
            deltas.push((id, delta));
            of_deltas.push(at);
        }
    }
    let mut text = None;
    let accepted = |these: Vec<_>| (!these.is_empty()).then(|| session.accept(these));
    let results = accepted(wholes).unwrap_or_default();
    let of_results = of_wholes.into_iter().zip(results);
    let more = if deltas.is_empty() {
        Vec::new()
    } else {
        session.accept_deltas(deltas)
    };
    for (at, result) in of_results.chain(of_deltas.into_iter().zip(more)) {
        let outcome = match result {
            Ok(()) => 0,
            Err(SinkError::Mismatch) => 1,
            Err(SinkError::NoBase) => 2,
            Err(SinkError::Local(reason)) => {
                text.get_or_insert(reason);
                REFUSED
            }
        };
        if let Some(place) = outcomes.get_mut(at) {
            *place = outcome;
        }
    }
    let refused = text.map(|text| {
        let failure = session.trouble().take();
        messages::refusal(failure.unwrap_or_else(|| unreadable(text)))
    });
    Ok(pb::AcceptReply { refused, outcomes })
}

async fn connected(network: &Direct, call: &Call) -> Answer {
    let request: pb::ConnectedRequest = call.decode()?;
    let chosen = messages::nodes(&request.nodes)?;
    let wait = Duration::from_nanos(request.wait_ns).min(WAIT_MAX);
    let links = network.connected(chosen, wait).await;
    let link = |link: crate::adviser::Link| pb::Link {
        node_id: link.peer.to_string(),
        rtt_ns: link
            .round_trip
            .map_or(0, |trip| u64::try_from(trip.as_nanos()).unwrap_or(u64::MAX)),
    };
    let reply = links.map(|links| pb::ConnectedReply {
        refused: None,
        links: links.into_iter().map(link).collect(),
    });
    Ok(Reply::message(&settled(reply, |reply| &mut reply.refused)))
}

async fn fetch(network: &Direct, call: Call) -> Answer {
    let request: pb::FetchRequest = call.decode()?;
    let providers = messages::nodes(&request.providers)?;
    let latest = tokio::sync::watch::channel(FetchReport::default()).0;
    let latest = Arc::new(latest);
    let mut changed = latest.subscribe();
    let observe = move |report: &FetchReport| {
        latest.send_replace(report.clone());
    };
    let mut fetching = network.fetch(request.session, providers, Arc::new(observe));
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            fetched = &mut fetching => {
                // What the providers did is known however it ended.
                let reply = match fetched {
                    Ok(report) => messages::fetched(&report),
                    Err(failure) => pb::Fetched {
                        refused: Some(messages::refusal(failure)),
                        ..messages::fetched(&changed.borrow())
                    },
                };
                return Ok(Reply::message(&reply));
            }
            _ = tick.tick() => {
                // Its sender lives in the fetch.
                if changed.has_changed().unwrap_or(false) {
                    let event = messages::fetched(&changed.borrow_and_update());
                    call.events.message(&event).await?;
                }
            }
        }
    }
}
