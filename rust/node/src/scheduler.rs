//! The scheduler component: gets whole roots, and remembers its jobs.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hypermesh_blocks::{Closure, RootInfo, Store, Wanted};
use hypermesh_id::{NodeId, Root};
use mfn_local::{BoxFuture, Call, Failure, Handler, Reply};
use mfn_wire::{Service, Status, method, pb};
use stoq::FetchReport;

use crate::adviser::Adviser;
use crate::answer::{
    Answer, blocking, boxed, invalid, parse_node, parse_path, parse_root, store_failure, unix_ns,
    unsupported,
};
use crate::fetch::{Fetcher, Totals, provider_bytes};
use crate::progress::ProgressSink;

/// Ended jobs that are remembered.
const ENDED_JOBS_MAX: usize = 32;
/// Jobs that run at once.
const RUNNING_JOBS_MAX: usize = 64;

#[derive(Clone)]
pub(crate) struct SchedulerService {
    pub(crate) store: Store,
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) adviser: Adviser,
    pub(crate) jobs: Arc<Jobs>,
    /// The node's own directory: nothing is written out there.
    pub(crate) own: std::path::PathBuf,
}

/// The jobs of this run, the latest last.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    state: Mutex<JobsState>,
}

#[derive(Debug, Default)]
struct JobsState {
    last_id: u64,
    jobs: VecDeque<Job>,
}

#[derive(Debug)]
struct Job {
    id: u64,
    root: Root,
    started: u64,
    progress: ProgressSink,
    /// How it ended, if it did.
    end: Option<Result<(), String>>,
}

/// Marks its job as ended when dropped: a cancelled future says no more.
struct Running {
    jobs: Arc<Jobs>,
    id: u64,
    end: Option<Result<(), String>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let end = self.end.take().unwrap_or_else(|| Err("cancelled".into()));
        let mut state = self.jobs.state();
        if let Some(job) = state.jobs.iter_mut().find(|job| job.id == self.id) {
            job.end = Some(end);
        }
    }
}

impl Jobs {
    fn state(&self) -> MutexGuard<'_, JobsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(self: &Arc<Self>, root: Root, progress: &ProgressSink) -> Result<Running, Failure> {
        let mut state = self.state();
        let running = state.jobs.iter().filter(|job| job.end.is_none()).count();
        if running >= RUNNING_JOBS_MAX {
            return Err(Failure::new(
                Status::BUSY,
                format!("{running} jobs run already; wait for one to end"),
            ));
        }
        if state.jobs.len() - running >= ENDED_JOBS_MAX
            && let Some(oldest) = state.jobs.iter().position(|job| job.end.is_some())
        {
            state.jobs.remove(oldest);
        }
        state.last_id += 1;
        let id = state.last_id;
        state.jobs.push_back(Job {
            id,
            root,
            started: unix_ns(),
            progress: progress.clone(),
            end: None,
        });
        Ok(Running {
            jobs: Arc::clone(self),
            id,
            end: None,
        })
    }

    fn list(&self) -> Vec<pb::Job> {
        let message = |job: &Job| {
            let (state, error) = match &job.end {
                None => ("running", String::new()),
                Some(Ok(())) => ("done", String::new()),
                Some(Err(error)) => ("failed", error.clone()),
            };
            pb::Job {
                id: job.id,
                kind: "get".into(),
                root: job.root.to_string(),
                state: state.into(),
                progress: Some(job.progress.latest()),
                error,
                started: job.started,
            }
        };
        self.state().jobs.iter().map(message).collect()
    }
}

impl Handler for SchedulerService {
    fn call(&self, call: Call) -> BoxFuture<Answer> {
        let this = self.clone();
        boxed(async move {
            match call.method {
                method::scheduler::STATUS => {
                    let (adviser_state, _, adviser_available) = this.adviser.state();
                    let jobs = this.jobs.list();
                    Ok(Reply::message(&pb::SchedulerStatus {
                        jobs,
                        adviser_available,
                        adviser_state,
                    }))
                }
                method::scheduler::GET => this.get(call).await,
                _ => unsupported(Service::Scheduler, &call),
            }
        })
    }
}

/// Whether a path that does not exist yet would come to stand below a directory, links followed.
fn is_inside(path: &Path, directory: &Path) -> bool {
    let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
    let directory = directory.canonicalize();
    matches!((parent, directory), (Some(parent), Ok(directory)) if parent.starts_with(&directory))
}

impl SchedulerService {
    async fn get(&self, call: Call) -> Answer {
        let request: pb::GetRequest = call.decode()?;
        let root = parse_root(&request.root)?;
        let providers = request
            .providers
            .iter()
            .map(|text| parse_node(text))
            .collect::<Result<Vec<_>, _>>()?;
        let destination = match request.destination {
            empty if empty.is_empty() => None,
            bytes => Some(parse_path(bytes)?),
        };
        if let Some(path) = &destination
            && path.symlink_metadata().is_ok()
        {
            let text = format!(
                "{} exists already: choose a new path, or move it away",
                path.display()
            );
            return Err(Failure::new(Status::CONFLICT, text));
        }
        if let Some(path) = &destination
            && is_inside(path, &self.own)
        {
            return Err(invalid(format!(
                "{} is inside the node's own directory: choose a path outside of it",
                path.display()
            )));
        }
        let progress = ProgressSink::new(call.events.clone());
        let mut running = self.jobs.start(root, &progress)?;
        let result = self
            .run(root, request.pin, &providers, destination, &progress, &call)
            .await;
        running.end = Some(
            result
                .as_ref()
                .map(drop)
                .map_err(|failure| failure.text.clone()),
        );
        Ok(Reply::message(&result?))
    }

    async fn run(
        &self,
        root: Root,
        pin: bool,
        providers: &[NodeId],
        destination: Option<std::path::PathBuf>,
        progress: &ProgressSink,
        call: &Call,
    ) -> Result<pb::GetReply, Failure> {
        let started = Instant::now();
        progress.report(pb::Progress {
            phase: "plan".into(),
            ..Default::default()
        });
        // What the look finds here is to be here until the end, whether or not anything pins it.
        let _lease = self.fetcher.lease().await?;
        let (report, totals) = match self.local(root).await? {
            Some(totals) => (FetchReport::default(), totals),
            None => {
                // Remembered before it is whole, so that gc keeps what arrives until the next try.
                let unfinished = RootInfo {
                    complete: false,
                    pin,
                    source: Vec::new(),
                };
                self.fetcher
                    .fetch(
                        Closure::new(root),
                        root.0,
                        Some((root, unfinished)),
                        providers,
                        Some(progress),
                        call.cancelled(),
                    )
                    .await?
            }
        };
        self.record(
            root,
            RootInfo {
                complete: true,
                pin,
                source: Vec::new(),
            },
        )
        .await?;
        let mut reply = pb::GetReply {
            fetched_blocks: report.blocks,
            fetched_content_bytes: report.content_bytes,
            wire_bytes: report.wire_bytes,
            present_blocks: totals.present.0.saturating_sub(report.blocks),
            providers: provider_bytes(&report),
            ..Default::default()
        };
        if let Some(path) = destination {
            let (store, sink) = (self.store.clone(), progress.clone());
            let extracted = blocking(move || store.extract(&root, &path, &sink))
                .await
                .map_err(store_failure)?;
            reply.files = extracted.files;
            reply.directories = extracted.directories;
            reply.symlinks = extracted.symlinks;
            reply.content_bytes = extracted.content_bytes;
        }
        reply.elapsed_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Ok(reply)
    }

    /// Whether everything is here already.
    async fn local(&self, root: Root) -> Result<Option<Totals>, Failure> {
        let store = self.store.clone();
        let walked = blocking(move || {
            let mut closure = Closure::new(root);
            let wanted = closure.poll(&store, 1)?;
            let totals = Totals {
                known: closure.known_totals(),
                present: closure.present(),
            };
            Ok(matches!(wanted, Wanted::Done).then_some(totals))
        });
        walked.await.map_err(store_failure)
    }

    async fn record(&self, root: Root, info: RootInfo) -> Result<(), Failure> {
        let store = self.store.clone();
        blocking(move || store.record_root(&root, info))
            .await
            .map_err(store_failure)
    }
}
