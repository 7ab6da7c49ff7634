//! The scheduler component: gets whole roots, and remembers its jobs.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hypermesh_id::{NodeId, Root};
use mfn_local::{BoxFuture, Call, Failure, Handler, Reply};
use mfn_wire::{Status, method, pb};

use crate::adviser::Adviser;
use crate::answer::{Answer, boxed, invalid, parse_node, parse_path, parse_root, unix_ns};
use crate::doors::{Order, Received, Target};
use crate::fetch::{Fetcher, Providers, provider_bytes};
use crate::progress::ProgressSink;
use crate::remote;

/// Ended jobs that are remembered.
const ENDED_JOBS_MAX: usize = 32;
/// Jobs that run at once.
const RUNNING_JOBS_MAX: usize = 64;

#[derive(Clone)]
pub(crate) struct SchedulerService {
    pub(crate) fetcher: Fetcher,
    pub(crate) adviser: Adviser,
    pub(crate) jobs: Arc<Jobs>,
    /// The node's own directory: nothing is written out there.
    pub(crate) own: PathBuf,
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
                _ => remote::serve::scheduler(&this.fetcher, call).await,
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
        let base = match &request.base[..] {
            "" => None,
            text => Some(parse_root(text)?),
        };
        if base.is_some() && !self.fetcher.deltas {
            let text = "this node fetches no deltas: leave the base out, or set transfer.deltas in config.toml";
            return Err(invalid(text));
        }
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
        let target = Target::Tree {
            root,
            base,
            pin: request.pin,
        };
        let result = self.run(target, providers, destination, &progress).await;
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
        target: Target,
        chosen: Vec<NodeId>,
        destination: Option<PathBuf>,
        progress: &ProgressSink,
    ) -> Result<pb::GetReply, Failure> {
        let started = Instant::now();
        progress.report(pb::Progress {
            phase: "plan".into(),
            ..Default::default()
        });
        let order = Order {
            target,
            destination,
            budget: None,
        };
        let from = Providers {
            chosen,
            at_once: false,
        };
        let watcher = Arc::new(progress.clone());
        let (report, received) = self.fetcher.get(order, from, Some(watcher)).await?;
        let Received { totals, extracted } = received;
        Ok(pb::GetReply {
            fetched_blocks: report.blocks,
            fetched_content_bytes: report.content_bytes,
            wire_bytes: report.wire_bytes,
            present_blocks: totals.present.0.saturating_sub(report.blocks),
            providers: provider_bytes(&report),
            asked_bytes: report.asked_bytes,
            answered_bytes: report.answered_bytes,
            delta_blocks: report.delta_blocks,
            delta_bytes: report.delta_bytes,
            delta_content_bytes: report.delta_content_bytes,
            files: extracted.files,
            directories: extracted.directories,
            symlinks: extracted.symlinks,
            content_bytes: extracted.content_bytes,
            elapsed_ns: u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX),
        })
    }
}
