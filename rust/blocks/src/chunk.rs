//! Cuts bytes into chunks and names them: FastCDC (2020, normalisation level 1) and BLAKE3.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use fastcdc::v2020::FastCDC;
use hypermesh_id::BlockId;

use crate::StoreError;
use crate::limits::{CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, HOLE_GRAIN_BYTES};
use crate::put::pipeline::{self, Added, BATCH_BYTES, Pipeline, Stage};

static ZEROS: [u8; HOLE_GRAIN_BYTES] = [0; HOLE_GRAIN_BYTES];

/// Length of the first chunk of `data`, which holds at least [`CHUNK_BYTES_MAX`] bytes or reaches to
/// the end of its run. 0 only for no data.
pub fn cut(data: &[u8]) -> usize {
    let reach = data.len().min(CHUNK_BYTES_MAX);
    if reach <= CHUNK_BYTES_MIN {
        return reach;
    }
    let cutter = FastCDC::new(
        &data[..reach],
        CHUNK_BYTES_MIN,
        CHUNK_BYTES_AVERAGE,
        CHUNK_BYTES_MAX,
    );
    let (_, end) = cutter.cut(0, reach);
    end.clamp(1, reach)
}

/// Whether all of `grain` is zero; at most [`HOLE_GRAIN_BYTES`] long.
pub fn is_zero(grain: &[u8]) -> bool {
    ZEROS.get(..grain.len()) == Some(grain)
}

/// Chunks and hashes a file, as `put` does but without holes and without a store. Answers the ids
/// and lengths in order.
pub fn ids(file: File) -> Result<Vec<(BlockId, u32)>, StoreError> {
    struct HashOnly;
    impl Stage for HashOnly {
        fn keep(&self, _: &[u8], _: &[Range<usize>], _: &[BlockId]) -> Result<Added, StoreError> {
            Ok(Added::default())
        }
    }
    let file = Arc::new(file);
    let failed = |error| StoreError::io("read", "the file".as_ref(), error);
    let mut found = Vec::new();
    pipeline::run(&HashOnly, |pipeline: &mut Pipeline| {
        let mut offset = 0;
        loop {
            let loaded = pipeline.load(&file, offset, BATCH_BYTES, BATCH_BYTES)?;
            let (_, got) = loaded.map_err(failed)?;
            let end = got < BATCH_BYTES;
            pipeline.cut(end)?;
            offset += got as u64;
            while let Some(piece) = pipeline.pop(end)? {
                found.push((piece.id, piece.length));
            }
            if end {
                return Ok(());
            }
        }
    })?;
    Ok(found)
}
