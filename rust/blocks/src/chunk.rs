//! Cuts bytes into chunks and names them: FastCDC (2020, normalisation level 1) and BLAKE3.

use std::io::{self, Read};

use fastcdc::v2020::FastCDC;
use hypermesh_id::BlockId;

use crate::StoreError;
use crate::limits::{CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, HOLE_GRAIN_BYTES};
use crate::put::pipeline::{self, Added, Pipeline, Stage};

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

/// Chunks and hashes everything that `source` yields, as `put` does but without a store: reading
/// and cutting on this thread, hashing on the others. Answers the ids and lengths in order.
pub fn ids(source: &mut dyn Read) -> Result<Vec<(BlockId, u32)>, StoreError> {
    struct HashOnly;
    impl Stage for HashOnly {
        fn keep(
            &self,
            _: &[u8],
            _: &[std::ops::Range<usize>],
            _: &[BlockId],
        ) -> Result<Added, StoreError> {
            Ok(Added::default())
        }
    }
    let mut found = Vec::new();
    pipeline::run(&HashOnly, |pipeline: &mut Pipeline| {
        let mut fill = |buffer: &mut [u8]| read_full(source, buffer);
        loop {
            let more = pipeline
                .feed(&mut fill)
                .map_err(|error| StoreError::io("read", "source".as_ref(), error))?;
            pipeline.cut(!more)?;
            while let Some(piece) = pipeline.pop(!more)? {
                found.push((piece.id, piece.length));
            }
            if !more {
                return Ok(());
            }
        }
    })?;
    Ok(found)
}

fn read_full(source: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match source.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
