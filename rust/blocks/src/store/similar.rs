//! Finds the base of a delta: sketches of the blocks that are here (layer 2, DSR).

use std::sync::{Mutex, PoisonError, RwLock};

use hypermesh_id::BlockId;
use mfn_dsr::bytes::{Encoder, Hit, Options, Reservoir, SKETCH_BYTES, Sketch};

use super::Inner;
use super::codec::compressible;
use crate::StoreError;
use crate::limits::{
    DELTA_BLOCK_BYTES_MIN, DELTA_DEPTH_MAX, SKETCHES_PER_ROW, SKETCHES_UNSAVED_MAX,
};

/// Sketches are kept on disk: another seed makes all of them worthless.
const SEED: u64 = 0x6d66_6e2d_6473_7231;
/// Least gain that is expected of a delta before one is tried.
const GAIN_MIN: f32 = 0.25;
/// Candidates that are looked at when the best ones cannot be bases.
const CANDIDATES: usize = 4;
const ID_BYTES: usize = 32;
const ROW_BYTES: usize = ID_BYTES + SKETCH_BYTES;

#[derive(Debug)]
pub(crate) struct Similar {
    encoder: Encoder,
    reservoir: RwLock<Reservoir>,
    /// What the metadata does not have yet.
    unsaved: Mutex<Vec<(BlockId, Sketch)>>,
}

impl Similar {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let options = Options {
            bytes_max,
            seed: SEED,
        };
        Self {
            encoder: Encoder::new(SEED),
            reservoir: RwLock::new(Reservoir::new(options)),
            unsaved: Mutex::default(),
        }
    }

    /// The sketch of a block that may have relatives. Media and archives have none worth a look.
    pub(crate) fn sketch(&self, raw: &[u8]) -> Option<Sketch> {
        (raw.len() >= DELTA_BLOCK_BYTES_MIN && compressible(raw)).then(|| self.encoder.sketch(raw))
    }

    /// The blocks against which a delta promises most, the best first.
    pub(crate) fn bases(&self, sketch: &Sketch) -> Vec<Hit> {
        let reservoir = self
            .reservoir
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        reservoir.bases(sketch, GAIN_MIN, CANDIDATES)
    }

    pub(crate) fn contains(&self, id: &BlockId) -> bool {
        let reservoir = self
            .reservoir
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        reservoir.get(&id.0).is_some()
    }

    /// Adds blocks that may be bases, and says which ones were of use.
    pub(crate) fn add(&self, fresh: &[(BlockId, Sketch)], used: &[BlockId]) {
        if fresh.is_empty() && used.is_empty() {
            return;
        }
        let mut reservoir = self
            .reservoir
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        used.iter().for_each(|id| reservoir.touch(&id.0));
        for (id, sketch) in fresh {
            reservoir.insert(id.0, *sketch);
        }
        drop(reservoir);
        let mut unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
        unsaved.extend_from_slice(fresh);
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        let reservoir = self
            .reservoir
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        reservoir.stats().bytes
    }

    fn take_unsaved(&self, at_least: usize) -> Vec<(BlockId, Sketch)> {
        let mut unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
        if unsaved.len() < at_least {
            return Vec::new();
        }
        std::mem::take(&mut *unsaved)
    }
}

impl Inner {
    /// Hands sketches to the metadata, if so many wait.
    pub(crate) fn save_sketches(&self, at_least: usize) -> Result<(), StoreError> {
        let Some(similar) = &self.similar else {
            return Ok(());
        };
        let unsaved = similar.take_unsaved(at_least.max(1));
        if unsaved.is_empty() {
            return Ok(());
        }
        self.meta.add_sketches(&rows(unsaved), false)
    }

    /// As [`Inner::save_sketches`], when enough wait to be worth a commit.
    pub(crate) fn save_many_sketches(&self) -> Result<(), StoreError> {
        self.save_sketches(SKETCHES_UNSAVED_MAX)
    }

    /// Fills the reservoir from the metadata: a restart reads no content.
    pub(crate) fn load_sketches(&self) -> Result<(), StoreError> {
        let Some(similar) = &self.similar else {
            return Ok(());
        };
        let mut reservoir = similar
            .reservoir
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let mut read = 0;
        self.meta.sketches(&mut |row| {
            for part in row.chunks_exact(ROW_BYTES) {
                read += 1;
                if let Some((id, sketch)) = part.split_first_chunk::<ID_BYTES>()
                    && let Some(sketch) = sketch.first_chunk::<SKETCH_BYTES>()
                    && index.get(&BlockId(*id)).is_some()
                    && index.depth(&BlockId(*id)) < DELTA_DEPTH_MAX
                {
                    reservoir.insert(*id, Sketch::from_bytes(*sketch));
                }
            }
        })?;
        let kept = reservoir.len();
        drop((reservoir, index));
        // What gave way or was removed is left out when it is the larger part.
        if read > 2 * kept + SKETCHES_UNSAVED_MAX {
            self.rewrite_sketches()?;
        }
        Ok(())
    }

    /// Forgets the sketches of blocks that are gone.
    pub(crate) fn forget_sketches(&self, gone: &[BlockId]) -> Result<(), StoreError> {
        let Some(similar) = &self.similar else {
            return Ok(());
        };
        {
            let mut reservoir = similar
                .reservoir
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            for id in gone {
                reservoir.remove(&id.0);
            }
        }
        self.rewrite_sketches()
    }

    fn rewrite_sketches(&self) -> Result<(), StoreError> {
        let Some(similar) = &self.similar else {
            return Ok(());
        };
        let mut all = Vec::new();
        {
            let reservoir = similar
                .reservoir
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            reservoir.for_each(&mut |id, sketch| all.push((BlockId(*id), *sketch)));
        }
        drop(similar.take_unsaved(0));
        self.meta.add_sketches(&rows(all), true)
    }
}

fn rows(sketches: Vec<(BlockId, Sketch)>) -> Vec<Vec<u8>> {
    let row = |part: &[(BlockId, Sketch)]| {
        let mut row = Vec::with_capacity(part.len() * ROW_BYTES);
        for (id, sketch) in part {
            row.extend_from_slice(&id.0);
            row.extend_from_slice(&sketch.to_bytes());
        }
        row
    };
    sketches.chunks(SKETCHES_PER_ROW).map(row).collect()
}
