//! The store at the two ends of a transfer: what comes goes in, and other nodes are served out of it. Blocking.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hypermesh_blocks::limits::COMMIT_BYTES;
use hypermesh_blocks::{IngestError, Sent, Store, StoreError};
use hypermesh_id::BlockId;
use stoq::{BlockSink, SinkError};
use tokio::runtime::Handle;

use crate::answer::store_failure;
use crate::arriving::Arriving;
use crate::doors::Trouble;

/// The store as the transport hands it blocks.
pub(crate) struct StoreSink {
    store: Store,
    /// Who writes it out meanwhile.
    arriving: Option<Arc<Arriving>>,
    trouble: Trouble,
    /// Stored bytes since the last sync began.
    unsynced: AtomicU64,
    syncing: Arc<AtomicBool>,
    runtime: Handle,
}

impl StoreSink {
    /// Needs a runtime.
    pub(crate) fn new(store: &Store, trouble: &Trouble, arriving: Option<Arc<Arriving>>) -> Self {
        Self {
            store: store.clone(),
            arriving,
            trouble: trouble.clone(),
            unsynced: AtomicU64::new(0),
            syncing: Arc::default(),
            runtime: Handle::current(),
        }
    }

    /// Lets the disk write while the network brings more: the sync at the end then waits for the rest only.
    fn sync_behind(&self, bytes: u64) {
        let unsynced = self.unsynced.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if unsynced < COMMIT_BYTES || self.syncing.swap(true, Ordering::Relaxed) {
            return;
        }
        self.unsynced.store(0, Ordering::Relaxed);
        let (store, syncing) = (self.store.clone(), Arc::clone(&self.syncing));
        self.runtime.spawn_blocking(move || {
            // A store that lost writes says so at every later sync; the one at the end is asked.
            if let Err(error) = store.sync() {
                tracing::warn!(%error, "a sync during a transfer failed");
            }
            syncing.store(false, Ordering::Relaxed);
        });
    }
}

impl BlockSink for StoreSink {
    fn accept(&self, blocks: Vec<(BlockId, stoq::StoredBlock)>) -> Vec<Result<(), SinkError>> {
        let same = |(id, block): (BlockId, stoq::StoredBlock)| {
            let block = hypermesh_blocks::StoredBlock {
                codec: block.codec,
                raw_len: block.raw_len,
                bytes: block.bytes,
            };
            (id, block)
        };
        let blocks: Vec<_> = blocks.into_iter().map(same).collect();
        let bytes: usize = blocks.iter().map(|(_, block)| block.bytes.len()).sum();
        let offer = &mut |id: &BlockId, raw: &bytes::Bytes| {
            if let Some(arriving) = &self.arriving {
                arriving.offer(id, raw);
            }
        };
        let answers = match self.store.ingest_many(&blocks, offer) {
            Ok(answers) => answers,
            Err(error) => {
                let failed = Err(SinkError::Local(self.trouble.note(store_failure(error))));
                return vec![failed; blocks.len()];
            }
        };
        if let Some(arriving) = &self.arriving {
            arriving.stored(answers.len() as u64);
        }
        self.sync_behind(bytes as u64);
        let answer = |answer: Result<_, IngestError>| match answer {
            Ok(_) => Ok(()),
            Err(IngestError::Mismatch { .. }) => Err(SinkError::Mismatch),
            Err(IngestError::Store(error)) => {
                Err(SinkError::Local(self.trouble.note(store_failure(error))))
            }
            Err(error) => Err(SinkError::Local(error.to_string())),
        };
        answers.into_iter().map(answer).collect()
    }

    fn accept_deltas(
        &self,
        deltas: Vec<(BlockId, stoq::DeltaBlock)>,
    ) -> Vec<Result<(), SinkError>> {
        let take = |(id, delta): &(BlockId, stoq::DeltaBlock)| {
            let offer = &mut |id: &BlockId, raw: &bytes::Bytes| {
                if let Some(arriving) = &self.arriving {
                    arriving.offer(id, raw);
                }
            };
            let came = (delta.raw_len, &delta.frame[..]);
            match self.store.ingest_delta(id, &delta.base, came, offer) {
                Ok(_) => Ok(delta.frame.len()),
                Err(IngestError::Mismatch { .. }) => Err(SinkError::Mismatch),
                Err(IngestError::NoBase { .. }) => Err(SinkError::NoBase),
                Err(IngestError::Store(error)) => {
                    Err(SinkError::Local(self.trouble.note(store_failure(error))))
                }
                Err(error) => Err(SinkError::Local(error.to_string())),
            }
        };
        let taken: Vec<Result<usize, SinkError>> = deltas.iter().map(take).collect();
        if let Some(arriving) = &self.arriving {
            arriving.stored(taken.iter().flatten().count() as u64);
        }
        self.sync_behind(taken.iter().flatten().sum::<usize>() as u64);
        taken.into_iter().map(|taken| taken.map(drop)).collect()
    }
}

/// The store as other nodes read it.
pub(crate) struct Source(pub(crate) Store);

impl stoq::BlockSource for Source {
    fn has(&self, ids: &[BlockId]) -> Result<Vec<bool>, String> {
        Ok(self.0.contains_many(ids))
    }

    fn read_raw(&self, id: &BlockId) -> Result<Option<bytes::Bytes>, String> {
        match self.0.read(id) {
            Ok(block) => Ok(block),
            Err(StoreError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn read_against(
        &self,
        id: &BlockId,
        bases: &[BlockId],
        work: &mut u64,
    ) -> Result<Option<stoq::Sent>, String> {
        match self.0.read_against(id, bases, work) {
            Ok(sent) => Ok(sent.map(|sent| match sent {
                Sent::Whole(block) => stoq::Sent::Whole(travelling(block)),
                Sent::Delta {
                    base,
                    raw_len,
                    frame,
                } => stoq::Sent::Delta {
                    base,
                    delta: stoq::Delta { raw_len, frame },
                },
            })),
            Err(StoreError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn read(&self, id: &BlockId) -> Result<Option<stoq::StoredBlock>, String> {
        match self.0.read_stored(id) {
            Ok(block) => Ok(block.map(travelling)),
            // It counts as absent from now on; whoever asks gets it elsewhere.
            Err(StoreError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn travelling(block: hypermesh_blocks::StoredBlock) -> stoq::StoredBlock {
    stoq::StoredBlock {
        codec: block.codec,
        raw_len: block.raw_len,
        bytes: block.bytes,
    }
}
