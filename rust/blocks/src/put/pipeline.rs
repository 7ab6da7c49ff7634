//! Cuts on the caller's thread, hashes and stores on the others, and gives the chunks back in order.
//!
//! A thread reads large files ahead: cutting is the slowest single step, and shall not wait.
//!
//! Memory is bounded by the number of batches in flight. One batch holds the chunks of a stretch of
//! one file, or of many small files.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use hypermesh_id::BlockId;

use crate::StoreError;
use crate::chunk;
use crate::limits::CHUNK_BYTES_MAX;

/// Bytes of one batch.
pub(crate) const BATCH_BYTES: usize = 1 << 20;
/// Batches that are worked on or wait to be.
const BATCHES_MAX: usize = 8;
/// Chunks of one batch: small files must not make a batch of a million.
const BATCH_CHUNKS_MAX: usize = 1_024;
/// Hashing threads; more only wait for the thread that reads.
const WORKERS_MAX: usize = 8;

/// What the workers do with a batch of chunks besides naming them.
pub(crate) trait Stage: Sync {
    fn keep(
        &self,
        buffer: &[u8],
        cuts: &[Range<usize>],
        ids: &[BlockId],
    ) -> Result<Added, StoreError>;
}

/// What a batch added to a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Added {
    pub(crate) blocks: u64,
    pub(crate) raw_bytes: u64,
    pub(crate) record_bytes: u64,
}

/// A chunk with its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) id: BlockId,
    pub(crate) length: u32,
}

#[derive(Debug)]
struct Batch {
    number: u64,
    /// Used up to `filled`. The rest keeps old bytes: clearing a buffer costs as much as a copy.
    buffer: Vec<u8>,
    filled: usize,
    cuts: Vec<Range<usize>>,
    ids: Vec<BlockId>,
    added: Added,
}

type Finished = Result<Batch, StoreError>;

/// A stretch of a file to read into a buffer, behind room for an uncut rest.
#[derive(Debug)]
struct Ahead {
    file: Arc<File>,
    offset: u64,
    want: usize,
    buffer: Vec<u8>,
    got: io::Result<usize>,
}

/// The caller's end.
#[derive(Debug)]
pub(crate) struct Pipeline {
    jobs: SyncSender<Batch>,
    finished: Receiver<Finished>,
    current: Batch,
    /// Start of the bytes of `current` that are not cut yet.
    uncut: usize,
    /// Batches handed out; the slot is filled when one comes back.
    flying: VecDeque<Option<Batch>>,
    /// Number of the batch at the front of `flying`.
    front: u64,
    /// Chunks of the front batch that were given to the caller.
    given: usize,
    spare: Vec<Vec<u8>>,
    added: Added,
    reads: SyncSender<Ahead>,
    read: Receiver<Ahead>,
    /// Whether a stretch was asked for and not taken.
    reading: bool,
}

fn ended() -> StoreError {
    StoreError::Internal("a thread of the pipeline ended")
}

/// Runs `work` with a pipeline whose batches go through `stage`.
pub(crate) fn run<T>(
    stage: &dyn Stage,
    work: impl FnOnce(&mut Pipeline) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let (jobs, queue) = sync_channel::<Batch>(BATCHES_MAX);
    let (results, finished) = channel::<Finished>();
    let queue = Mutex::new(queue);
    let workers = thread::available_parallelism()
        .map_or(1, usize::from)
        .clamp(1, WORKERS_MAX);
    thread::scope(|scope| {
        for number in 0..workers {
            let (queue, results) = (&queue, results.clone());
            thread::Builder::new()
                .name(format!("blocks-{number}"))
                .spawn_scoped(scope, move || serve(stage, queue, &results))
                .map_err(|error| StoreError::io("start a thread for", "put".as_ref(), error))?;
        }
        drop(results);
        let (reads, wanted) = sync_channel::<Ahead>(1);
        let (done, read) = sync_channel::<Ahead>(1);
        thread::Builder::new()
            .name("blocks-read".into())
            .spawn_scoped(scope, move || read_ahead(&wanted, &done))
            .map_err(|error| StoreError::io("start a thread for", "put".as_ref(), error))?;
        let mut pipeline = Pipeline {
            jobs,
            finished,
            current: Batch::new(0, Vec::new()),
            uncut: 0,
            flying: VecDeque::new(),
            front: 0,
            given: 0,
            spare: Vec::new(),
            added: Added::default(),
            reads,
            read,
            reading: false,
        };
        work(&mut pipeline)
    })
}

fn serve(stage: &dyn Stage, queue: &Mutex<Receiver<Batch>>, results: &Sender<Finished>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut batch) = next else { return };
        // A batch that never comes back would be waited for without end, since the other workers live.
        let result = catch_unwind(AssertUnwindSafe(|| {
            batch.ids.extend(
                batch
                    .cuts
                    .iter()
                    .map(|cut| BlockId::of(&batch.buffer[cut.clone()])),
            );
            let kept = stage.keep(&batch.buffer, &batch.cuts, &batch.ids);
            kept.map(|added| Batch { added, ..batch })
        }));
        let result = result.unwrap_or(Err(StoreError::Internal("a worker of a put panicked")));
        if results.send(result).is_err() {
            return;
        }
    }
}

fn read_ahead(wanted: &Receiver<Ahead>, done: &SyncSender<Ahead>) {
    while let Ok(mut ahead) = wanted.recv() {
        let end = CHUNK_BYTES_MAX + ahead.want;
        if ahead.buffer.len() < end {
            ahead.buffer.resize(end, 0);
        }
        let into = &mut ahead.buffer[CHUNK_BYTES_MAX..end];
        ahead.got = read_full(&ahead.file, into, ahead.offset);
        if done.send(ahead).is_err() {
            return;
        }
    }
}

/// Reads until the buffer is full or the file ends.
pub(crate) fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

impl Batch {
    fn new(number: u64, buffer: Vec<u8>) -> Self {
        Self {
            number,
            buffer,
            filled: 0,
            cuts: Vec::new(),
            ids: Vec::new(),
            added: Added::default(),
        }
    }
}

impl Pipeline {
    /// Reads a stretch of a large file behind the open run, and has the `next` bytes after it read
    /// meanwhile. Answers where the stretch starts and how many bytes of it there are.
    pub(crate) fn load(
        &mut self,
        file: &Arc<File>,
        offset: u64,
        want: usize,
        next: usize,
    ) -> Result<io::Result<(usize, usize)>, StoreError> {
        self.dispatch()?;
        let mut ahead = None;
        if std::mem::take(&mut self.reading) {
            let read = self.read.recv().map_err(|_| ended())?;
            let fits = Arc::ptr_eq(&read.file, file) && read.offset == offset && read.want == want;
            if fits {
                ahead = Some(read);
            } else {
                self.spare.push(read.buffer);
            }
        }
        let ahead = match ahead {
            Some(ahead) => ahead,
            None => {
                self.ask(file, offset, want)?;
                self.read.recv().map_err(|_| ended())?
            }
        };
        if next > 0 {
            self.ask(file, offset + want as u64, next)?;
            self.reading = true;
        }
        let got = match ahead.got {
            Ok(got) => got,
            Err(error) => return Ok(Err(error)),
        };
        // The rest of the run before it goes right in front.
        let open = &self.current.buffer[self.uncut..self.current.filled];
        let start = CHUNK_BYTES_MAX
            .checked_sub(open.len())
            .ok_or(StoreError::Internal("a run was not cut"))?;
        let mut buffer = ahead.buffer;
        buffer[start..CHUNK_BYTES_MAX].copy_from_slice(open);
        self.spare
            .push(std::mem::replace(&mut self.current.buffer, buffer));
        self.uncut = start;
        self.current.filled = CHUNK_BYTES_MAX + got;
        Ok(Ok((CHUNK_BYTES_MAX, got)))
    }

    fn ask(&mut self, file: &Arc<File>, offset: u64, want: usize) -> Result<(), StoreError> {
        let (file, buffer) = (Arc::clone(file), self.spare.pop().unwrap_or_default());
        let ahead = Ahead {
            file,
            offset,
            want,
            buffer,
            got: Ok(0),
        };
        self.reads.send(ahead).map_err(|_| ended())
    }

    /// Room left in the current batch, in bytes. At least one longest chunk's.
    pub(crate) fn room(&self) -> usize {
        BATCH_BYTES
            .saturating_sub(self.current.filled)
            .max(CHUNK_BYTES_MAX)
    }

    /// Makes room for `count` bytes at the end of the open run; answers where it starts.
    pub(crate) fn grow(&mut self, count: usize) -> usize {
        let from = self.current.filled;
        self.current.filled += count;
        if self.current.buffer.len() < self.current.filled {
            self.current.buffer.resize(self.current.filled, 0);
        }
        from
    }

    /// The bytes from a position that [`Pipeline::grow`] answered to the end.
    pub(crate) fn tail(&mut self, from: usize) -> &mut [u8] {
        &mut self.current.buffer[from..self.current.filled]
    }

    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.current.buffer[range]
    }

    /// Ends the run at a position: cuts everything before it. Positions stay as they are.
    pub(crate) fn cut_to(&mut self, end: usize) -> usize {
        let mut count = 0;
        while self.uncut < end {
            let length = chunk::cut(&self.current.buffer[self.uncut..end]);
            self.current.cuts.push(self.uncut..self.uncut + length);
            self.uncut += length;
            count += 1;
        }
        count
    }

    /// Leaves the bytes before a position out; a run starts there.
    pub(crate) fn skip_to(&mut self, end: usize) {
        self.uncut = end;
    }

    /// Cuts what can be cut. With `end`, the run ends here: everything is cut.
    pub(crate) fn cut(&mut self, end: bool) -> Result<usize, StoreError> {
        let mut count = 0;
        loop {
            let open = &self.current.buffer[self.uncut..self.current.filled];
            if open.is_empty() || (!end && open.len() < CHUNK_BYTES_MAX) {
                break;
            }
            let length = chunk::cut(open);
            self.current.cuts.push(self.uncut..self.uncut + length);
            self.uncut += length;
            count += 1;
        }
        // Holes fill the buffer too, and leave nothing to hand out.
        if self.current.cuts.is_empty() && self.uncut > 0 {
            let open = self.uncut..self.current.filled;
            self.current.filled = open.len();
            self.current.buffer.copy_within(open, 0);
            self.uncut = 0;
        }
        if self.current.filled >= BATCH_BYTES - CHUNK_BYTES_MAX
            || self.current.cuts.len() >= BATCH_CHUNKS_MAX
        {
            self.dispatch()?;
        }
        Ok(count)
    }

    /// Drops the bytes of the open run; what was cut of it is still given.
    pub(crate) fn abandon(&mut self) {
        self.current.filled = self.uncut;
    }

    /// The next chunk, in the order of cutting. `None` when there is none yet; with `wait`, only
    /// when every chunk that was cut has been given.
    pub(crate) fn pop(&mut self, wait: bool) -> Result<Option<Piece>, StoreError> {
        loop {
            self.collect(false)?;
            if let Some(Some(batch)) = self.flying.front() {
                if let (Some(id), Some(cut)) =
                    (batch.ids.get(self.given), batch.cuts.get(self.given))
                {
                    self.given += 1;
                    return Ok(Some(Piece {
                        id: *id,
                        length: cut.len() as u32,
                    }));
                }
                self.retire();
                continue;
            }
            if !wait {
                return Ok(None);
            }
            if self.flying.is_empty() {
                if self.current.cuts.is_empty() {
                    return Ok(None);
                }
                self.dispatch()?;
            }
            self.collect(true)?;
        }
    }

    /// What the batches given back so far added.
    pub(crate) fn added(&self) -> Added {
        self.added
    }

    fn retire(&mut self) {
        if let Some(Some(batch)) = self.flying.pop_front() {
            self.spare.push(batch.buffer);
            self.front += 1;
            self.given = 0;
        }
    }

    /// Hands the cut part of the current batch to the workers.
    fn dispatch(&mut self) -> Result<(), StoreError> {
        if self.current.cuts.is_empty() {
            return Ok(());
        }
        let number = self.current.number;
        let next = Batch::new(number + 1, self.spare.pop().unwrap_or_default());
        let full = std::mem::replace(&mut self.current, next);
        let open = &full.buffer[self.uncut..full.filled];
        let to = self.grow(open.len());
        self.tail(to).copy_from_slice(open);
        self.uncut = 0;
        self.flying.push_back(None);
        // What is finished behind a slow batch waits as well: the whole queue is bounded.
        while self.flying.len() > BATCHES_MAX && matches!(self.flying.front(), Some(None)) {
            self.collect(true)?;
        }
        self.jobs.send(full).map_err(|_| ended())
    }

    /// Takes back what the workers finished. With `wait`, at least one.
    fn collect(&mut self, mut wait: bool) -> Result<(), StoreError> {
        loop {
            let batch = if std::mem::take(&mut wait) {
                let batch = self.finished.recv();
                batch.map_err(|_| ended())??
            } else {
                match self.finished.try_recv() {
                    Ok(batch) => batch?,
                    Err(_) => return Ok(()),
                }
            };
            self.added.blocks += batch.added.blocks;
            self.added.raw_bytes += batch.added.raw_bytes;
            self.added.record_bytes += batch.added.record_bytes;
            let slot = batch.number.saturating_sub(self.front) as usize;
            if let Some(slot) = self.flying.get_mut(slot) {
                *slot = Some(batch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Panics;

    impl Stage for Panics {
        fn keep(&self, _: &[u8], _: &[Range<usize>], _: &[BlockId]) -> Result<Added, StoreError> {
            panic!("a worker's own fault");
        }
    }

    #[test]
    fn a_worker_that_panics_ends_the_put() {
        let ended = run(&Panics, |pipeline| {
            for _ in 0..2 * BATCHES_MAX {
                let from = pipeline.grow(BATCH_BYTES);
                pipeline.tail(from).fill(7);
                pipeline.cut(true)?;
            }
            while pipeline.pop(true)?.is_some() {}
            Ok(())
        });
        assert!(matches!(ended, Err(StoreError::Internal(_))), "{ended:?}");
    }
}
