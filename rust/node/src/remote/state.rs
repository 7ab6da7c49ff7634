//! State in another process: for the scheduler, which opens sessions, and for the transport, which brings blocks to them
//! and serves others. What the transport asks is asked by threads that block.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hypermesh_id::BlockId;
use mfn_local::{BoxFuture, Failure};
use mfn_wire::{method, pb};
use stoq::{
    BlockRef, BlockSink, BlockSource, Delta, DeltaBlock, Sent, SinkError, StoredBlock, Wanted,
    Wants,
};
use tokio::sync::{oneshot, watch};

use super::{Remote, accepted, messages};
use crate::doors::{Intake, Intakes, Opened, Order, Received, Receives, Totals, Trouble, Watcher};

/// Bytes of blocks in one frame. One more block still fits.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Blocks that are asked for at once.
const READ_MAX: usize = 32;
/// How long a word takes that has nothing to wait for.
const WORD_TIMEOUT: Duration = Duration::from_secs(10);

impl Receives for Remote {
    fn receive(
        &self,
        order: Order,
        opened: oneshot::Sender<Opened>,
        watcher: Option<Arc<dyn Watcher>>,
    ) -> BoxFuture<Result<Received, Failure>> {
        let this = self.clone();
        Box::pin(async move {
            let question = messages::receive_request(order);
            let totals = watch::channel(Totals::default()).0;
            let mut opened = Some(opened);
            let event = |event: pb::ReceiveEvent| {
                if let Some(now) = messages::event_totals(&event) {
                    totals.send_replace(now);
                }
                if event.session != 0
                    && let Some(opened) = opened.take()
                {
                    // One that does not wait for it any more drops this future as well.
                    let _ = opened.send(Opened {
                        session: event.session,
                        totals: totals.subscribe(),
                    });
                }
                if let (Some(watcher), Some(progress)) = (&watcher, event.progress) {
                    watcher.report(progress);
                }
            };
            let mut reply: pb::ReceiveReply = this
                .stream(method::state::RECEIVE, &question, event)
                .await?;
            let refused = reply.refused.take();
            Ok(messages::received(&accepted(reply, refused)?))
        })
    }

    fn received(&self, session: u64, complete: bool) -> BoxFuture<Result<(), Failure>> {
        let this = self.clone();
        Box::pin(async move {
            let question = pb::ReceivedRequest { session, complete };
            this.ask(method::state::RECEIVED, &question, WORD_TIMEOUT)
                .await
        })
    }
}

impl Intakes for Remote {
    fn source(&self) -> Arc<dyn BlockSource> {
        Arc::new(self.clone())
    }

    fn intake(&self, session: u64) -> Result<Intake, Failure> {
        let trouble = Trouble::default();
        let state = self.for_threads();
        Ok(Intake {
            wants: Box::new(Asked {
                state: state.clone(),
                session,
                received: Vec::new(),
                bases: HashMap::new(),
                trouble: trouble.clone(),
            }),
            sink: Arc::new(Brought {
                state,
                session,
                trouble: trouble.clone(),
            }),
            trouble,
        })
    }
}

/// What a session wants.
struct Asked {
    state: Remote,
    session: u64,
    /// Since the last look.
    received: Vec<BlockId>,
    /// Of blocks that were named, until they are asked for.
    bases: HashMap<BlockId, Vec<BlockId>>,
    trouble: Trouble,
}

impl Asked {
    fn ask(&mut self, max: usize) -> Result<Wanted, Failure> {
        let question = pb::WantedRequest {
            session: self.session,
            received: self.received.drain(..).map(|id| id.0.to_vec()).collect(),
            max: u32::try_from(max).unwrap_or(u32::MAX),
        };
        let mut reply: pb::WantedReply =
            self.state.ask_blocking(method::state::WANTED, &question)?;
        let refused = reply.refused.take();
        let reply = accepted(reply, refused)?;
        if reply.blocks.is_empty() {
            return Ok(if reply.done {
                Wanted::Done
            } else {
                Wanted::Waiting
            });
        }
        self.bases.clear();
        let mut blocks = Vec::with_capacity(reply.blocks.len());
        for block in reply.blocks {
            let id = messages::block_id(&block.id)?;
            if !block.bases.is_empty() {
                self.bases.insert(id, messages::block_ids(&block.bases)?);
            }
            blocks.push(BlockRef {
                id,
                raw_len: block.raw_len,
            });
        }
        Ok(Wanted::Blocks(blocks))
    }
}

impl Wants for Asked {
    fn poll(&mut self, max: usize) -> Result<Wanted, String> {
        self.ask(max).map_err(|failure| self.trouble.note(failure))
    }
    fn received(&mut self, id: &BlockId) {
        self.received.push(*id);
    }
    fn bases(&self, id: &BlockId) -> Vec<BlockId> {
        self.bases.get(id).cloned().unwrap_or_default()
    }
}

/// Where the blocks of a session go.
struct Brought {
    state: Remote,
    session: u64,
    trouble: Trouble,
}

impl Brought {
    /// In as few frames as they fit into.
    fn bring(&self, blocks: Vec<pb::ArrivedBlock>) -> Vec<Result<(), SinkError>> {
        let mut results = Vec::with_capacity(blocks.len());
        let mut batch = Vec::new();
        let mut bytes = 0;
        for block in blocks {
            bytes += block.body.len();
            batch.push(block);
            if bytes >= BATCH_BYTES_MAX {
                results.extend(self.bring_batch(std::mem::take(&mut batch)));
                bytes = 0;
            }
        }
        if !batch.is_empty() {
            results.extend(self.bring_batch(batch));
        }
        results
    }

    fn bring_batch(&self, blocks: Vec<pb::ArrivedBlock>) -> Vec<Result<(), SinkError>> {
        let count = blocks.len();
        let question = pb::AcceptRequest {
            session: self.session,
            blocks,
        };
        let asked = self
            .state
            .ask_blocking::<pb::AcceptReply>(method::state::ACCEPT, &question);
        let reply = match asked {
            Ok(reply) => reply,
            Err(failure) => return vec![Err(SinkError::Local(self.trouble.note(failure))); count],
        };
        let refused = reply.refused.map(messages::failure);
        let text = match refused {
            Some(failure) => self.trouble.note(failure),
            None => "state did not take a block and does not say why".into(),
        };
        let outcome = |outcome: u32| match outcome {
            0 => Ok(()),
            1 => Err(SinkError::Mismatch),
            2 => Err(SinkError::NoBase),
            _ => Err(SinkError::Local(text.clone())),
        };
        reply
            .outcomes
            .into_iter()
            .take(count)
            .map(outcome)
            .collect()
    }
}

impl BlockSink for Brought {
    fn accept(&self, blocks: Vec<(BlockId, StoredBlock)>) -> Vec<Result<(), SinkError>> {
        let arrived = |(id, block): (BlockId, StoredBlock)| pb::ArrivedBlock {
            id: id.0.to_vec(),
            codec: block.codec.into(),
            raw_len: block.raw_len,
            base: Vec::new(),
            body: block.bytes,
        };
        self.bring(blocks.into_iter().map(arrived).collect())
    }

    fn accept_deltas(&self, deltas: Vec<(BlockId, DeltaBlock)>) -> Vec<Result<(), SinkError>> {
        let arrived = |(id, delta): (BlockId, DeltaBlock)| pb::ArrivedBlock {
            id: id.0.to_vec(),
            codec: 0,
            raw_len: delta.raw_len,
            base: delta.base.0.to_vec(),
            body: delta.frame,
        };
        self.bring(deltas.into_iter().map(arrived).collect())
    }
}

impl Remote {
    /// As many of the first blocks as fit into an answer, and what work is left.
    fn read_some(&self, question: &pb::ReadRequest) -> Result<pb::ReadReply, String> {
        let asked = self.ask_blocking::<pb::ReadReply>(method::state::READ, question);
        let reply = asked.map_err(|failure| failure.text)?;
        if reply.blocks.is_empty() || reply.blocks.len() > question.ids.len() {
            return Err("state answered for other blocks".into());
        }
        Ok(reply)
    }

    fn read_one(&self, question: &pb::ReadRequest) -> Result<Option<pb::ReadBlock>, String> {
        let mut reply = self.read_some(question)?;
        Ok(reply.blocks.pop().filter(|block| block.here))
    }
}

fn stored(block: pb::ReadBlock) -> Result<Option<StoredBlock>, String> {
    if !block.here {
        return Ok(None);
    }
    Ok(Some(StoredBlock {
        codec: u8::try_from(block.codec).map_err(|_| "state names an unknown codec")?,
        raw_len: block.raw_len,
        bytes: block.body,
    }))
}

impl BlockSource for Remote {
    fn has(&self, ids: &[BlockId]) -> Result<Vec<bool>, String> {
        let question = pb::BlockIds {
            ids: ids.iter().map(|id| id.0.to_vec()).collect(),
        };
        let asked = self.ask_blocking::<pb::BlocksHere>(method::state::HAS, &question);
        let here = asked.map_err(|failure| failure.text)?.here;
        if here.len() == ids.len() {
            Ok(here)
        } else {
            Err("state answered for other blocks".into())
        }
    }

    fn read(&self, id: &BlockId) -> Result<Option<StoredBlock>, String> {
        let question = pb::ReadRequest {
            ids: vec![id.0.to_vec()],
            ..Default::default()
        };
        self.read_one(&question)?.map_or(Ok(None), stored)
    }

    fn read_each(
        &self,
        ids: &[BlockId],
        give: &mut dyn FnMut(Result<Option<StoredBlock>, String>) -> bool,
    ) {
        let mut left = ids;
        // The first is not held up by the others, and then each answer is worth its wake-ups.
        let mut most = 1;
        while !left.is_empty() {
            let (now, _) = left.split_at(most.min(left.len()));
            let question = pb::ReadRequest {
                ids: now.iter().map(|id| id.0.to_vec()).collect(),
                ..Default::default()
            };
            let blocks = match self.read_some(&question) {
                Ok(reply) => reply.blocks,
                Err(error) => {
                    give(Err(error));
                    return;
                }
            };
            left = left.get(blocks.len()..).unwrap_or_default();
            for block in blocks {
                if !give(stored(block)) {
                    return;
                }
            }
            most = (most * 4).min(READ_MAX);
        }
    }

    fn read_against(
        &self,
        id: &BlockId,
        bases: &[BlockId],
        work: &mut u64,
    ) -> Result<Option<Sent>, String> {
        let question = pb::ReadRequest {
            ids: vec![id.0.to_vec()],
            bases: bases.iter().map(|base| base.0.to_vec()).collect(),
            work: *work,
            raw: false,
        };
        let mut reply = self.read_some(&question)?;
        *work = reply.work.min(*work);
        let Some(block) = reply.blocks.pop().filter(|block| block.here) else {
            return Ok(None);
        };
        if !block.is_delta {
            return Ok(stored(block)?.map(Sent::Whole));
        }
        let base = usize::try_from(block.base).unwrap_or(usize::MAX);
        if base >= bases.len() {
            return Err("state names a base that was not offered".into());
        }
        Ok(Some(Sent::Delta {
            base,
            delta: Delta {
                raw_len: block.raw_len,
                frame: block.body,
            },
        }))
    }

    fn read_raw(&self, id: &BlockId) -> Result<Option<Bytes>, String> {
        let question = pb::ReadRequest {
            ids: vec![id.0.to_vec()],
            raw: true,
            ..Default::default()
        };
        Ok(self.read_one(&question)?.map(|block| block.body))
    }
}
