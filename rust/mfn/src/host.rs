//! One thread, one layer, one journal.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use mfn_journal::{Durability, Journal, JournalError, Options, RECORD_BYTES_MAX, Record};
use mfn_local::{BoxFuture, Call, Failure, Handler, Reply};
use mfn_wire::{ContentType, Status, method};
use tokio::sync::oneshot;

use crate::layer::{JournalFacts, Layer};
use crate::record::{ENTRY_BYTES, Entry, Reader, SET_BYTES_MAX};

/// Calls that wait at most; more are answered BUSY.
const QUEUE_CALLS: usize = 1_024;
/// Bytes of bodies that wait at most; more are answered BUSY.
const QUEUE_BYTES: usize = 32 << 20;
/// Longest body of a request.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Calls that one commit serves at most.
const BATCH_CALLS: usize = 256;

const _: () = assert!(BATCH_BYTES + BODY_BYTES_MAX + ENTRY_BYTES <= RECORD_BYTES_MAX);
/// A batch is closed when its record is this long.
const BATCH_BYTES: usize = 8 << 20;

/// A log that took longer to apply is replaced by a snapshot, however short it is: reading it back takes as long.
const APPLY_MAX: Duration = Duration::from_secs(10);
/// How much the log grows before a snapshot that failed is tried again.
const RETRY_BYTES: u64 = 16 << 20;

/// Why a layer is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The journal does not open; the text names the file and the repair.
    #[error("{0}")]
    Journal(#[from] JournalError),
    /// A snapshot whose bytes are whole and say nothing that the layer knows.
    #[error("the snapshot in {} does not read: {text}; restore the directory from a copy, or move it away to start empty", directory.display())]
    Snapshot { directory: PathBuf, text: String },
    /// The system gave no thread.
    #[error("could not start the thread of a layer: {0}")]
    Thread(std::io::Error),
}

/// How a layer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryStatus {
    /// What it holds: vectors, or streams and series.
    pub entries: u64,
    /// Bytes held in memory, about.
    pub bytes: u64,
    /// Why it does not answer any more, and what to do.
    pub failed: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    entries: AtomicU64,
    bytes: AtomicU64,
    waiting_bytes: AtomicUsize,
    failed: Mutex<Option<String>>,
}

impl Shared {
    fn failed(&self) -> Option<String> {
        self.failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

pub(crate) type Answer = Result<Reply, Failure>;

/// A call on its way to the thread.
#[derive(Debug)]
struct Job {
    method: u16,
    time: u64,
    body: Bytes,
    answer: oneshot::Sender<Answer>,
}

/// A layer in its directory. Dropped, it ends its thread; what was acknowledged is on disk already.
#[derive(Debug)]
pub struct Memory {
    service: mfn_wire::Service,
    jobs: Option<SyncSender<Job>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread owns.
struct Host<L> {
    layer: L,
    journal: Journal,
    snapshots: u64,
    /// How long it took to apply what is in the log.
    applying: Duration,
    /// After a snapshot that failed: how long the log may grow before the next try.
    next_try: u64,
    shared: Arc<Shared>,
}

impl Memory {
    /// Opens the layer that is kept in a directory, which is made if it is not there. Blocking: reads all that is kept.
    /// `bytes_max` is what the layer may take in memory.
    ///
    /// # Errors
    /// A journal that is damaged is an error and never a silent empty start.
    pub fn open<L: Layer>(directory: &Path, bytes_max: u64) -> Result<Self, MemoryError> {
        let start = Instant::now();
        let (mut layer, journal) = open::<L>(directory)?;
        let applying = start.elapsed();
        let bytes_max = bytes_max.max(crate::share::BYTES_MAX_LEAST);
        let mut host = {
            let changed = layer.bytes_max() != bytes_max;
            let mut journal = journal;
            if changed {
                // Kept, because what is forgotten depends on it, and that must come out the same when it is read back.
                layer.set_bytes_max(bytes_max);
                let mut record = Vec::new();
                let body = &bytes_max.to_le_bytes()[..];
                let (method, time) = (SET_BYTES_MAX, 0);
                Entry { method, time, body }.write(&mut record);
                journal.commit(&record)?;
            }
            Host {
                layer,
                journal,
                snapshots: 0,
                applying,
                next_try: 0,
                shared: Arc::default(),
            }
        };
        host.publish();
        let shared = Arc::clone(&host.shared);
        let (sender, receiver) = sync_channel(QUEUE_CALLS);
        let thread = std::thread::Builder::new()
            .name(format!("{}-layer", L::SERVICE.name()))
            .spawn(move || host.run(&receiver))
            .map_err(MemoryError::Thread)?;
        Ok(Self {
            service: L::SERVICE,
            jobs: Some(sender),
            shared,
            thread: Some(thread),
        })
    }

    /// How it is.
    pub fn status(&self) -> MemoryStatus {
        MemoryStatus {
            entries: self.shared.entries.load(Ordering::Relaxed),
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            failed: self.shared.failed(),
        }
    }

    /// Passes a call on to the thread; the answer comes by the channel.
    pub(crate) fn send(
        &self,
        method: u16,
        time: u64,
        body: Bytes,
    ) -> Result<oneshot::Receiver<Answer>, Failure> {
        if body.len() > BODY_BYTES_MAX {
            let text = format!(
                "a body of {} bytes: {BODY_BYTES_MAX} are taken; send less per call",
                body.len()
            );
            return Err(Failure::new(Status::LIMIT, text));
        }
        let busy = || {
            let text = "as many calls wait as may; wait for an answer and try again";
            Failure::new(Status::BUSY, text)
        };
        let length = body.len();
        let waiting = self
            .shared
            .waiting_bytes
            .fetch_add(length, Ordering::Relaxed);
        let back = || {
            self.shared
                .waiting_bytes
                .fetch_sub(length, Ordering::Relaxed)
        };
        if waiting + length > QUEUE_BYTES {
            back();
            return Err(busy());
        }
        let (answer, receiver) = oneshot::channel();
        let job = Job {
            method,
            time,
            body,
            answer,
        };
        let Some(jobs) = &self.jobs else {
            back();
            return Err(ended());
        };
        match jobs.try_send(job) {
            Ok(()) => Ok(receiver),
            Err(error) => {
                back();
                Err(match error {
                    TrySendError::Full(_) => busy(),
                    TrySendError::Disconnected(_) => ended(),
                })
            }
        }
    }

    /// One call, for callers that block; `time` in Unix nanoseconds.
    ///
    /// # Errors
    /// As the method on the wire. Not from within a runtime.
    pub fn call(&self, method: u16, time: u64, body: impl Into<Bytes>) -> Result<Reply, Failure> {
        let answer = self.send(method, time, body.into())?;
        answer.blocking_recv().unwrap_or_else(|_| Err(ended()))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(layer = self.service.name(), "the layer's thread failed");
        }
    }
}

impl Handler for Memory {
    fn call(&self, call: Call) -> BoxFuture<Answer> {
        let known = method::name(self.service, call.method).is_some();
        let sent = if !known {
            let text = format!("{} has no method {}", self.service.name(), call.method);
            Err(Failure::new(Status::UNSUPPORTED, text))
        } else if call.content_type != ContentType::Protobuf && !call.body.is_empty() {
            let name = call.content_type.name();
            let text = format!("this method takes protobuf, not {name}");
            Err(Failure::new(Status::BAD_CONTENT_TYPE, text))
        } else {
            self.send(call.method, unix_ns(), call.body)
        };
        Box::pin(async move { sent?.await.unwrap_or_else(|_| Err(ended())) })
    }
}

impl<L: Layer> Host<L> {
    fn run(&mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut questions = Vec::new();
            let mut accepted = Vec::new();
            let mut record = Vec::new();
            let mut next = Some(first);
            let mut calls = 0;
            let start = Instant::now();
            while let Some(job) = next.take() {
                calls += 1;
                let length = job.body.len();
                self.shared
                    .waiting_bytes
                    .fetch_sub(length, Ordering::Relaxed);
                if !L::CHANGES.contains(&job.method) {
                    questions.push(job);
                } else if let Some(done) = self.change(job, &mut record) {
                    accepted.push(done);
                }
                if calls < BATCH_CALLS && record.len() < BATCH_BYTES {
                    next = jobs.try_recv().ok();
                }
            }
            self.applying += start.elapsed();
            self.commit(&record, accepted);
            for job in questions {
                let answer = self.ask(&job);
                // Who asked may be gone.
                let _ = job.answer.send(answer);
            }
            self.publish();
        }
    }

    /// Applies a change before it is kept: the layer itself says whether it is accepted, and a refused one changes
    /// nothing and is not written. Nobody sees the new state before it is on disk, because this thread alone reads it. A full
    /// disk is met before the change, where the file system can promise room; else, and where the commit fails, memory is
    /// ahead of the disk and is read back from it.
    fn change(
        &mut self,
        job: Job,
        record: &mut Vec<u8>,
    ) -> Option<(oneshot::Sender<Answer>, Reply)> {
        let bytes = record.len() + ENTRY_BYTES + job.body.len();
        let done = match self.shared.failed() {
            Some(text) => Err(Failure::new(Status::IO, text)),
            None if let Err(error) = self.journal.reserve(bytes as u64) => {
                Err(refused::<L>(&error))
            }
            None => self.layer.change(job.method, job.time, &job.body),
        };
        match done {
            Ok(reply) => {
                let (method, time, body) = (job.method, job.time, &job.body[..]);
                Entry { method, time, body }.write(record);
                Some((job.answer, reply))
            }
            Err(failure) => {
                // Who asked may be gone.
                let _ = job.answer.send(Err(failure));
                None
            }
        }
    }

    fn commit(&mut self, record: &[u8], accepted: Vec<(oneshot::Sender<Answer>, Reply)>) {
        if record.is_empty() {
            return;
        }
        let committed = self
            .journal
            .commit(record)
            .map_err(|error| self.go_back(&error));
        for (answer, reply) in accepted {
            // Who asked may be gone; what they asked is done or not all the same.
            let _ = answer.send(committed.clone().map(|()| reply));
        }
        if committed.is_ok()
            && self.journal.log_bytes() > self.next_try
            && self.wants_snapshot()
            && let Err(failure) = self.snapshot()
        {
            tracing::error!(layer = L::SERVICE.name(), %failure, "no snapshot was written; the log grows on");
            self.next_try = self.journal.log_bytes() + RETRY_BYTES;
        }
    }

    fn wants_snapshot(&self) -> bool {
        self.applying > APPLY_MAX || self.journal.wants_snapshot(self.layer.bytes())
    }

    fn ask(&mut self, job: &Job) -> Answer {
        if let Some(text) = self.shared.failed() {
            return Err(Failure::new(Status::IO, text));
        }
        if job.method == L::SNAPSHOT {
            return self.snapshot().map(|()| Reply::empty());
        }
        let facts = JournalFacts {
            log_bytes: self.journal.log_bytes(),
            snapshots: self.snapshots,
        };
        self.layer.ask(job.method, job.time, &job.body, facts)
    }

    /// Writes a snapshot and goes on with what reads back from it: that it reads back is sure before the log goes, and
    /// a layer that is opened from it later has the very state that this one goes on with. Nothing is answered while
    /// that lasts.
    fn snapshot(&mut self) -> Result<(), Failure> {
        let bytes = self.layer.snapshot();
        let restored = L::restore(&bytes).map_err(|text| {
            let text = format!("the snapshot does not read back, the log stays: {text}");
            Failure::new(Status::INTERNAL, text)
        })?;
        match self.journal.snapshot(bytes.chunks(RECORD_BYTES_MAX)) {
            Ok(()) => {
                self.layer = restored;
                self.applying = Duration::ZERO;
                self.snapshots += 1;
                Ok(())
            }
            Err(error) => Err(Failure::new(Status::IO, error.to_string())),
        }
    }

    /// After a commit that failed: the layer as the disk has it, so that it goes on answering. Where nobody knows what the
    /// disk has, it answers nothing more.
    fn go_back(&mut self, error: &JournalError) -> Failure {
        let start = Instant::now();
        let mut reading = Reading::default();
        let read = self.journal.read_again(|record| reading.take(record));
        let layer = read.map_err(|error| error.to_string());
        match layer.and_then(|()| reading.end()) {
            Ok(layer) => {
                self.layer = layer;
                self.applying = start.elapsed();
                refused::<L>(error)
            }
            Err(text) => {
                tracing::error!(layer = L::SERVICE.name(), text, "what is kept was not read");
                self.fail(error)
            }
        }
    }

    fn fail(&mut self, error: &JournalError) -> Failure {
        let text = format!(
            "{} does not answer since its journal could not be written: {error}; make room, then start the node again: all \
             that was acknowledged is kept",
            L::SERVICE.name()
        );
        tracing::error!(layer = L::SERVICE.name(), "{text}");
        *self
            .shared
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(text.clone());
        Failure::new(Status::IO, text)
    }

    fn publish(&mut self) {
        let (entries, bytes) = (self.layer.entries(), self.layer.bytes());
        self.shared.entries.store(entries, Ordering::Relaxed);
        self.shared.bytes.store(bytes, Ordering::Relaxed);
    }
}

/// The layer as its journal says.
fn open<L: Layer>(directory: &Path) -> Result<(L, Journal), MemoryError> {
    let options = Options {
        service: L::SERVICE,
        durability: Durability::Sync,
    };
    let unreadable = |text| MemoryError::Snapshot {
        directory: directory.to_owned(),
        text,
    };
    let mut reading = Reading::default();
    let journal = Journal::open(directory, options, |record| reading.take(record))?;
    let layer = reading.end().map_err(unreadable)?;
    Ok((layer, journal))
}

/// A layer that is being read from its journal.
struct Reading<L> {
    snapshot: Vec<u8>,
    layer: Option<L>,
}

impl<L> Default for Reading<L> {
    fn default() -> Self {
        Self {
            snapshot: Vec::new(),
            layer: None,
        }
    }
}

impl<L: Layer> Reading<L> {
    fn take(&mut self, record: Record<'_>) -> Result<(), String> {
        match record {
            Record::Snapshot(bytes) => self.snapshot.extend_from_slice(bytes),
            Record::Log(bytes) => {
                let known = match self.layer.take() {
                    Some(known) => known,
                    None => restore(&std::mem::take(&mut self.snapshot))?,
                };
                replay(self.layer.insert(known), bytes)?;
            }
        }
        Ok(())
    }

    fn end(self) -> Result<L, String> {
        match self.layer {
            Some(layer) => Ok(layer),
            None => restore(&self.snapshot),
        }
    }
}

/// A change that was not made, because it could not be kept.
fn refused<L: Layer>(error: &JournalError) -> Failure {
    let name = L::SERVICE.name();
    if error.is_full() {
        let text = format!(
            "{name} has no room for its journal: {error}; nothing was changed: make room, and try again"
        );
        return Failure::new(Status::QUOTA, text);
    }
    let text = format!("{name} could not write its journal: {error}; nothing was changed");
    Failure::new(Status::IO, text)
}

/// Nothing was ever written: an empty layer.
fn restore<L: Layer>(snapshot: &[u8]) -> Result<L, String> {
    if snapshot.is_empty() {
        Ok(L::empty())
    } else {
        L::restore(snapshot)
    }
}

fn replay<L: Layer>(layer: &mut L, record: &[u8]) -> Result<(), String> {
    let mut reader = Reader(record);
    while let Some(Entry { method, time, body }) = reader.entry()? {
        if method == SET_BYTES_MAX {
            let mut body = Reader(body);
            layer.set_bytes_max(body.u64()?.max(crate::share::BYTES_MAX_LEAST));
            body.end()?;
        } else if L::CHANGES.contains(&method) {
            // Only what was accepted is written, so what is refused now was not written by this program.
            let done = layer.change(method, time, body);
            done.map_err(|failure| format!("method {method} is refused: {failure}"))?;
        } else {
            return Err(format!("method {method} changes nothing"));
        }
    }
    Ok(())
}

fn ended() -> Failure {
    let text = "the layer's thread has ended; start the node again";
    Failure::new(Status::CLOSED, text)
}

/// Unix nanoseconds now.
pub(crate) fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}
