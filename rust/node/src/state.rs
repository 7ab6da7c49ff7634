//! The state component: what is in the store.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use hypermesh_blocks::{DirectoryId, Finding, Outcome, Problem, PutOptions, Store, StoreError};
use mfn_local::{BoxFuture, Call, EventSink, Failure, Handler, Reply};
use mfn_wire::{ContentType, Status, method, pb};
use prost::Message;
use tokio::sync::mpsc;

use crate::answer::{
    Answer, blocking, boxed, entry_message, parse_path, parse_root, store_failure,
};
use crate::doors::{Fetches, Part, Target};
use crate::foresight::{Foresight, Reader};
use crate::progress::ProgressSink;
use crate::receive::{Receiver, is_here};
use crate::remote;

/// Items that blocking work may be ahead of the caller.
const AHEAD: usize = 64;
/// Blocks that one look at a tree may fetch one by one.
const SINGLE_FETCHES_MAX: usize = 100_000;

#[derive(Clone)]
pub(crate) struct StateService {
    pub(crate) store: Store,
    pub(crate) receiver: Receiver,
    /// Gets what is missing.
    pub(crate) scheduler: Arc<dyn Fetches>,
    pub(crate) foresight: Foresight,
    /// The node's directory, which is never put.
    pub(crate) dir: PathBuf,
}

impl Handler for StateService {
    fn call(&self, call: Call) -> BoxFuture<Answer> {
        let this = self.clone();
        boxed(async move {
            match call.method {
                method::state::STATUS => this.status().await,
                method::state::PUT => this.put(call).await,
                method::state::LIST => this.list(call).await,
                method::state::CAT => this.cat(call).await,
                method::state::STAT => this.stat(call).await,
                method::state::PIN => this.pin(call, true).await,
                method::state::UNPIN => this.pin(call, false).await,
                method::state::ROOTS => this.roots().await,
                method::state::GC => this.gc(call).await,
                method::state::FSCK => this.fsck(call).await,
                _ => remote::serve::state(&this.receiver, call).await,
            }
        })
    }
}

impl StateService {
    async fn status(&self) -> Answer {
        let store = self.store.clone();
        let stats = blocking(move || store.stats())
            .await
            .map_err(store_failure)?;
        Ok(Reply::message(&pb::StateStatus {
            blocks: stats.blocks,
            stored_bytes: stats.stored_bytes,
            live_bytes: stats.live_bytes,
            content_bytes: stats.content_bytes,
            quota_bytes: stats.quota_bytes,
            disk_free_bytes: stats.disk_free_bytes,
            segments: stats.segments,
            roots: stats.roots,
            pins: stats.pins,
            index_bytes: stats.index_bytes,
        }))
    }

    async fn put(&self, call: Call) -> Answer {
        use std::os::unix::ffi::OsStrExt;
        let request: pb::PutRequest = call.decode()?;
        let path = parse_path(request.path)?;
        let (pin, own) = (!request.no_pin, self.dir.clone());
        let sink = ProgressSink::new(call.events);
        let store = self.store.clone();
        let report = blocking(move || {
            if is_inside(&path, &own) {
                return Err(StoreError::Unsupported {
                    path,
                    reason: "it belongs to this node, whose key must not leave it".into(),
                });
            }
            let options = PutOptions {
                pin,
                leave_out: Some(DirectoryId::of(&own)?),
            };
            store.put(&path, options, &sink)
        })
        .await
        .map_err(store_failure)?;
        Ok(Reply::message(&pb::PutReply {
            root: report.root.to_string(),
            files: report.files,
            directories: report.directories,
            symlinks: report.symlinks,
            content_bytes: report.content_bytes,
            new_blocks: report.new_blocks,
            new_content_bytes: report.new_content_bytes,
            new_stored_bytes: report.new_stored_bytes,
            skipped: report
                .skipped
                .iter()
                .map(|path| path.as_os_str().as_bytes().to_vec())
                .collect(),
            special_modes: report.special_modes,
        }))
    }

    async fn list(&self, call: Call) -> Answer {
        let request: pb::ListRequest = call.decode()?;
        let root = parse_root(&request.root)?;
        let path = request.path;
        let mut sent = 0u64;
        loop {
            let (store, path) = (self.store.clone(), path.clone());
            let result = self
                .forward(&call.events, ContentType::Protobuf, move |give| {
                    // What was sent before a block was missing is not sent again.
                    let mut skip = sent;
                    store.list(&root, &path, request.recursive, &mut |entry| {
                        if skip > 0 {
                            skip -= 1;
                            return ControlFlow::Continue(());
                        }
                        give(entry_message(entry, 0).encode_to_vec().into())
                    })
                })
                .await;
            sent += result.items;
            match self.go_on(result.end).await? {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(()) => {
                    self.receiver.note(root);
                    return Ok(Reply::message(&pb::ListReply { entries: sent }));
                }
            }
        }
    }

    async fn cat(&self, call: Call) -> Answer {
        let request: pb::CatRequest = call.decode()?;
        let root = parse_root(&request.root)?;
        let mut sent = 0u64;
        if request.offset == 0 {
            let reader = Reader::of(request.reader, call.peer);
            self.foresight.read(reader, root, &request.path).await;
        }
        if request.offset == 0
            && request.length == 0
            && !is_here(&self.store, root, &request.path).await?
        {
            // The whole file is wanted: many blocks at once, not one after the other.
            let part = Part {
                target: Target::Path {
                    root,
                    path: request.path.clone(),
                },
                budget: None,
                at_once: true,
            };
            match self.scheduler.fetch(part).await {
                Ok(_) => {}
                // What is missing is named when it is reached.
                Err(failure) => tracing::debug!(%failure, "could not fetch ahead"),
            }
        }
        loop {
            let (store, path) = (self.store.clone(), request.path.clone());
            let offset = request.offset.saturating_add(sent);
            let length = match request.length {
                0 => 0,
                length if length <= sent => {
                    return Ok(Reply::message(&pb::CatReply { bytes: sent }));
                }
                length => length - sent,
            };
            let result = self
                .forward(&call.events, ContentType::Bytes, move |give| {
                    store.cat(&root, &path, offset, length, &mut |bytes| give(bytes))
                })
                .await;
            sent += result.bytes;
            match self.go_on(result.end).await? {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(()) => {
                    self.receiver.note(root);
                    return Ok(Reply::message(&pb::CatReply { bytes: sent }));
                }
            }
        }
    }

    async fn stat(&self, call: Call) -> Answer {
        let request: pb::StatRequest = call.decode()?;
        let root = parse_root(&request.root)?;
        for _ in 0..SINGLE_FETCHES_MAX {
            let (store, path) = (self.store.clone(), request.path.clone());
            match blocking(move || store.stat(&root, &path)).await {
                Ok(stat) => {
                    return Ok(Reply::message(&entry_message(
                        stat.entry,
                        stat.local_permille,
                    )));
                }
                Err(error) => drop(self.go_on::<()>(Err(error)).await?),
            }
        }
        Err(Failure::new(
            Status::LIMIT,
            "this path needs more blocks than one look may fetch; get the root",
        ))
    }

    async fn pin(&self, call: Call, pinned: bool) -> Answer {
        let request: pb::PinRequest = call.decode()?;
        let root = parse_root(&request.root)?;
        let store = self.store.clone();
        blocking(move || {
            if pinned {
                store.pin(&root)
            } else {
                store.unpin(&root)
            }
        })
        .await
        .map_err(store_failure)?;
        Ok(Reply::empty())
    }

    async fn roots(&self) -> Answer {
        let store = self.store.clone();
        let mut roots = blocking(move || store.roots())
            .await
            .map_err(store_failure)?;
        roots.sort_by_key(|record| (record.added, record.root));
        let roots = roots
            .into_iter()
            .map(|record| pb::RootRecord {
                root: record.root.to_string(),
                pinned: record.pinned,
                complete: record.complete,
                added: record.added.saturating_mul(1_000_000_000),
                content_bytes: record.content_bytes,
                source: record.source,
            })
            .collect();
        Ok(Reply::message(&pb::RootList { roots }))
    }

    async fn gc(&self, call: Call) -> Answer {
        let request: pb::GcRequest = call.decode()?;
        let sink = ProgressSink::new(call.events);
        let store = self.store.clone();
        let report = blocking(move || store.gc(request.dry_run, &sink))
            .await
            .map_err(store_failure)?;
        Ok(Reply::message(&pb::GcReply {
            removed_blocks: report.removed_blocks,
            freed_bytes: report.freed_bytes,
            kept_blocks: report.kept_blocks,
        }))
    }

    async fn fsck(&self, call: Call) -> Answer {
        let request: pb::FsckRequest = call.decode()?;
        let (store, scheduler) = (self.store.clone(), Arc::clone(&self.scheduler));
        let cancelled = call.cancelled();
        let runtime = tokio::runtime::Handle::current();
        let result = self
            .forward(&call.events, ContentType::Protobuf, move |give| {
                let watch = CancelledOnly(cancelled.clone());
                // Fetched into the store, which verifies it and names a peer that lies.
                let repair = |id: &hypermesh_id::BlockId| {
                    let fetched = runtime.block_on(async {
                        tokio::select! {
                            fetched = scheduler.fetch(block(*id)) => fetched,
                            () = cancelled.cancelled() => {
                                Err(Failure::new(Status::CANCELLED, "cancelled"))
                            }
                        }
                    });
                    if let Err(failure) = fetched {
                        tracing::warn!(block = %id, %failure, "no good copy of a damaged block");
                    }
                    store.read_stored(id).ok().flatten()
                };
                let repair: Option<&dyn Fn(&_) -> _> =
                    if request.repair { Some(&repair) } else { None };
                store.fsck(
                    &watch,
                    &mut |finding| {
                        // The findings are the answer: a caller that is gone cancels the check.
                        let _ = give(finding_message(&finding).encode_to_vec().into());
                    },
                    repair,
                )
            })
            .await;
        let report = result.end.map_err(store_failure)?;
        Ok(Reply::message(&pb::FsckReply {
            checked_blocks: report.checked_blocks,
            checked_bytes: report.checked_bytes,
            bad_blocks: report.bad_blocks,
            healed_blocks: report.healed_blocks,
        }))
    }

    /// Runs blocking work that gives items, and sends them as events as fast as the caller takes them.
    async fn forward<T: Send + 'static>(
        &self,
        events: &EventSink,
        content_type: ContentType,
        work: impl FnOnce(&mut dyn FnMut(Bytes) -> ControlFlow<()>) -> Result<T, StoreError>
        + Send
        + 'static,
    ) -> Forwarded<T> {
        let (to, mut from) = mpsc::channel::<Bytes>(AHEAD);
        let work = tokio::task::spawn_blocking(move || {
            work(&mut |item| match to.blocking_send(item) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            })
        });
        let (mut items, mut bytes) = (0, 0);
        let mut gone = false;
        while let Some(item) = from.recv().await {
            bytes += item.len() as u64;
            items += 1;
            if events.send(content_type, item).await.is_err() {
                gone = true;
                break;
            }
        }
        drop(from);
        let end = work
            .await
            .unwrap_or(Err(StoreError::Internal("a blocking call")));
        Forwarded {
            items,
            bytes,
            end: if gone {
                Err(StoreError::Cancelled)
            } else {
                end
            },
        }
    }

    /// After a look that ended: break when it is done, continue when a block was missing and has been fetched.
    async fn go_on<T>(&self, end: Result<T, StoreError>) -> Result<ControlFlow<()>, Failure> {
        match end {
            Ok(_) => Ok(ControlFlow::Break(())),
            Err(StoreError::Missing(id)) => {
                self.scheduler.fetch(block(id)).await?;
                Ok(ControlFlow::Continue(()))
            }
            Err(error) => Err(store_failure(error)),
        }
    }
}

/// A block that is missing.
fn block(id: hypermesh_id::BlockId) -> Part {
    Part {
        target: Target::Block(id),
        budget: None,
        at_once: false,
    }
}

/// Whether a path leads to a directory or something in it. One that leads nowhere does not; whoever opens it says so.
fn is_inside(path: &Path, directory: &Path) -> bool {
    match (path.canonicalize(), directory.canonicalize()) {
        (Ok(path), Ok(directory)) => path.starts_with(directory),
        _ => false,
    }
}

struct Forwarded<T> {
    items: u64,
    bytes: u64,
    end: Result<T, StoreError>,
}

/// Watches only whether the caller still waits.
struct CancelledOnly(mfn_local::Cancelled);

impl hypermesh_blocks::Observer for CancelledOnly {
    fn progress(&self, _progress: &hypermesh_blocks::Progress) {}
    fn cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

fn finding_message(finding: &Finding) -> pb::FsckFinding {
    let (segment, offset) = finding
        .place
        .map_or((String::new(), 0), |(segment, offset)| {
            (segment.to_string(), offset)
        });
    let problem = match finding.problem {
        Problem::Damaged(reason) => format!("damaged: {reason}"),
        Problem::Missing => "missing, though a complete root needs it".into(),
    };
    let outcome = match finding.outcome {
        Outcome::Found => "found",
        Outcome::Healed => "healed",
        Outcome::Lost => "lost",
    };
    pb::FsckFinding {
        block: finding.block.to_string(),
        segment,
        offset: offset.into(),
        problem,
        outcome: outcome.into(),
    }
}
