//! Hands out snapshots to peers, and gets theirs: files, time and messages for [`Fetch`], on a thread of its own.
//!
//! The order thread passes on what is heard and never waits; what does not fit is asked for again.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hypermesh_consensus::MeshId;
use hypermesh_id::NodeId;
use hypermesh_registry::{Genesis, SavedIndex, SavedWriter};
use stoq::Class;
use tokio::sync::{mpsc, watch};

use super::chain::Chain;
use super::driver::Ask;
use super::fetch::{Fetch, Time, Want};
use super::snapshot_words::{Offer, SnapshotWord};
use super::snapshots;
use crate::doors::Tell;

/// What waits for the thread: of asks and heights a few for each peer, of pieces the window and what nobody asked for.
const WAITING_MAX: usize = 64;
/// Files that are open to be handed out: one that a newer one took the place of stays readable until it is closed.
const OPEN_MAX: usize = 2;
/// Without anything to do it looks at the time so often.
const IDLE: Duration = Duration::from_secs(1);
const BUFFER_BYTES: usize = 256 << 10;
/// After so many pieces what came is put on the disk: the log's flushes wait behind no more.
const PIECES_SYNCED: u32 = 8;

enum Job {
    /// A peer works on a height, and this node has decided up to another.
    Height {
        from: NodeId,
        height: u64,
        own: u64,
    },
    Word(NodeId, SnapshotWord),
}

/// The chain's end. Dropped, it waits until the thread has ended.
pub(crate) struct Exchange {
    worker: Option<(SyncSender<Job>, JoinHandle<()>)>,
    /// The height of the snapshot of which pieces are awaited; 0: none.
    taking: Arc<AtomicU64>,
    installed: watch::Sender<u64>,
}

impl Exchange {
    pub(crate) fn new() -> Self {
        Self {
            worker: None,
            taking: Arc::default(),
            installed: watch::channel(0).0,
        }
    }

    /// The height of a snapshot that came from others and is whole and on the disk.
    pub(crate) fn installed(&self) -> watch::Receiver<u64> {
        self.installed.subscribe()
    }

    /// Starts, for a node that has decided up to `own`.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(crate) fn begin(
        &mut self,
        (genesis, directory): (Genesis, &Path),
        (behind, own): (u64, u64),
        asks: &mpsc::Sender<Ask<Chain>>,
    ) -> io::Result<()> {
        let (to, jobs) = sync_channel(WAITING_MAX);
        let work = Work {
            mesh: genesis.mesh(),
            directory: directory.into(),
            started: Instant::now(),
            fetch: Fetch::new(genesis, behind, own, 0),
            file: None,
            open: Vec::new(),
            asks: asks.clone(),
            taking: Arc::clone(&self.taking),
            installed: self.installed.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("order-fetch".into())
            .spawn(move || work.run(&jobs))?;
        self.worker = Some((to, thread));
        Ok(())
    }

    /// A peer works on a height.
    pub(crate) fn height(&self, from: NodeId, height: u64, own: u64) {
        if let Some((to, _)) = &self.worker {
            // It says so again.
            let _ = to.try_send(Job::Height { from, height, own });
        }
    }

    /// A message of a peer. The text says what is wrong with it.
    pub(crate) fn heard(&self, from: NodeId, content: &[u8]) -> Result<(), &'static str> {
        let word = SnapshotWord::decode(content).map_err(|_| "malformed")?;
        if let SnapshotWord::Piece { height, .. } = &word
            && *height != self.taking.load(Ordering::Acquire)
        {
            // It comes late, or nobody asked for it: not worth its memory.
            return Ok(());
        }
        let Some((to, _)) = &self.worker else {
            return Ok(());
        };
        let sent = to.try_send(Job::Word(from, word));
        sent.map_err(|_| "snapshot_words_dropped")
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some((to, thread)) = self.worker.take() {
            drop(to);
            // It has logged what there was to say.
            let _ = thread.join();
        }
    }
}

struct Work {
    mesh: MeshId,
    directory: PathBuf,
    started: Instant,
    fetch: Fetch,
    file: Option<Arriving>,
    /// The one that was opened last is the last.
    open: Vec<(File, SavedIndex)>,
    asks: mpsc::Sender<Ask<Chain>>,
    taking: Arc<AtomicU64>,
    installed: watch::Sender<u64>,
}

/// A snapshot that comes.
struct Arriving {
    unfinished: PathBuf,
    to: SavedWriter<BufWriter<File>>,
    pieces: u32,
}

/// The chain has gone: nothing more is to be done.
struct Gone;

impl Work {
    fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            let now = self.now();
            let deadline = self.fetch.deadline().map_or(IDLE, |deadline| {
                Duration::from_nanos(deadline.saturating_sub(now))
            });
            let done = match jobs.recv_timeout(deadline.min(IDLE)) {
                Ok(Job::Height { from, height, own }) => {
                    self.fetch.height(self.now(), from, height, own);
                    Ok(())
                }
                Ok(Job::Word(from, word)) => self.word(from, word),
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) => Err(Gone),
            };
            self.fetch.elapsed(self.now());
            if done.and_then(|()| self.carry_out()).is_err() {
                self.discard();
                return;
            }
        }
    }

    fn now(&self) -> Time {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn word(&mut self, from: NodeId, word: SnapshotWord) -> Result<(), Gone> {
        let now = self.now();
        match word {
            SnapshotWord::Ask { above } => {
                let offer = self.newest().filter(|offer| offer.head.height() > above);
                self.tell(from, &SnapshotWord::Offer(offer.map(Box::new)))?;
            }
            SnapshotWord::AskPiece { height, number } => {
                let content = self.read(height, number);
                metrics::counter!("hypermesh_order_snapshot_pieces_sent")
                    .increment(u64::from(!content.is_empty()));
                let piece = SnapshotWord::Piece {
                    height,
                    number,
                    content,
                };
                self.tell(from, &piece)?;
            }
            SnapshotWord::Offer(offer) => self.fetch.offer(now, from, offer.map(|offer| *offer)),
            SnapshotWord::Piece {
                height,
                number,
                content,
            } => self.fetch.piece(now, from, (height, number), content),
        }
        Ok(())
    }

    fn tell(&self, to: NodeId, word: &SnapshotWord) -> Result<(), Gone> {
        let tell = Tell {
            to: vec![to],
            class: Class::Blocks,
            content: word.encode(&self.mesh).into(),
        };
        self.ask(Box::new(move |chain| chain.tell_word(tell)))
    }

    fn ask(&self, ask: Ask<Chain>) -> Result<(), Gone> {
        self.asks.blocking_send(ask).map_err(|_| Gone)
    }

    /// The newest snapshot here that is whole.
    fn newest(&mut self) -> Option<Offer> {
        for height in snapshots::heights(&self.directory).unwrap_or_default() {
            if let Some(index) = self.open(height) {
                return Some(Offer {
                    head: index.head.clone(),
                    pieces: index.pieces(),
                    bytes: index.bytes,
                });
            }
        }
        None
    }

    fn open(&mut self, height: u64) -> Option<&SavedIndex> {
        let is_it = |(_, index): &(File, SavedIndex)| index.head.height() == height;
        if let Some(place) = self.open.iter().position(is_it) {
            return self.open.get(place).map(|(_, index)| index);
        }
        let file = File::open(snapshots::path_of(&self.directory, height)).ok()?;
        let index = SavedIndex::of(io::BufReader::new(&file)).ok()?;
        if index.head.height() != height || index.head.mesh != self.mesh {
            return None;
        }
        if self.open.len() >= OPEN_MAX {
            self.open.remove(0);
        }
        self.open.push((file, index));
        self.open.last().map(|(_, index)| index)
    }

    /// A piece; nothing, if it is not here or not readable.
    fn read(&mut self, height: u64, number: u32) -> Vec<u8> {
        if self.open(height).is_none() {
            return Vec::new();
        }
        let found = self
            .open
            .iter()
            .find(|(_, index)| index.head.height() == height);
        found
            .and_then(|(file, index)| index.piece(file, number).ok().flatten())
            .unwrap_or_default()
    }

    fn carry_out(&mut self) -> Result<(), Gone> {
        while let Some(want) = self.fetch.poll() {
            let done = match want {
                Want::Ask { to, above } => {
                    self.tell(to, &SnapshotWord::Ask { above })?;
                    Ok(())
                }
                Want::AskPiece { to, height, number } => {
                    self.tell(to, &SnapshotWord::AskPiece { height, number })?;
                    Ok(())
                }
                Want::Fault(node, what) => {
                    tracing::debug!(%node, what, "a peer's snapshot is none of this mesh");
                    self.ask(Box::new(move |chain| chain.fault(node, what)))?;
                    Ok(())
                }
                Want::Begin(offer) => self.arrive(&offer),
                Want::Piece(content) => self.write(&content),
                Want::Whole(height) => self.install(height),
                Want::Abandon => {
                    self.discard();
                    Ok(())
                }
            };
            if let Err(error) = done {
                metrics::counter!("hypermesh_order_snapshot_failed").increment(1);
                tracing::warn!(%error, "a snapshot of others could not be kept");
                self.discard();
                self.fetch.failed(self.now());
            }
        }
        let taking = self.fetch.taking().unwrap_or_default();
        self.taking.store(taking, Ordering::Release);
        Ok(())
    }

    fn arrive(&mut self, offer: &Offer) -> io::Result<()> {
        self.discard();
        let height = offer.head.height();
        tracing::info!(
            height,
            pieces = offer.pieces,
            bytes = offer.bytes,
            "this node is far behind and gets a snapshot"
        );
        let path = snapshots::path_of(&self.directory, height);
        // Beside one that this node may write itself meanwhile.
        let unfinished = snapshots::unfinished(&path.with_extension("fetched"));
        let to = BufWriter::with_capacity(BUFFER_BYTES, snapshots::create(&unfinished)?);
        self.file = Some(Arriving {
            to: SavedWriter::begin(to, &offer.head)?,
            unfinished,
            pieces: 0,
        });
        Ok(())
    }

    fn write(&mut self, content: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        file.to.piece(content)?;
        metrics::counter!("hypermesh_order_snapshot_pieces_taken").increment(1);
        file.pieces += 1;
        if file.pieces.is_multiple_of(PIECES_SYNCED) {
            let to = file.to.get_mut();
            to.flush()?;
            to.get_ref().sync_data()?;
        }
        Ok(())
    }

    fn install(&mut self, height: u64) -> io::Result<()> {
        let Some(Arriving { unfinished, to, .. }) = self.file.take() else {
            return Ok(());
        };
        let path = snapshots::path_of(&self.directory, height);
        let whole = || -> io::Result<()> {
            let file = to.end()?.into_inner();
            file.map_err(io::IntoInnerError::into_error)?.sync_all()?;
            snapshots::install(&unfinished, &path)
        };
        whole().inspect_err(|_| snapshots::discard(&unfinished))?;
        tracing::info!(height, "a snapshot of others is whole");
        self.installed.send_replace(height);
        Ok(())
    }

    fn discard(&mut self) {
        if let Some(file) = self.file.take() {
            snapshots::discard(&file.unfinished);
        }
    }
}
