//! The bytes of a reservoir: 24 of header, 128 of each entry, a checksum.

use super::sketch::{SKETCH_BYTES, Sketch};

const MAGIC: [u8; 4] = *b"hmw\x01";
const HEAD_BYTES: usize = 24;
const ID_BYTES: usize = 32;
const ROW_BYTES: usize = ID_BYTES + SKETCH_BYTES;

/// Why bytes are no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("it does not begin as a snapshot of sketches does; make it again from the blocks")]
    Magic,
    #[error("its length is not that of {0} entries; make it again from the blocks")]
    Length(u64),
    #[error("its checksum is wrong; make it again from the blocks")]
    Checksum,
    #[error("its sketches were made with seed {0}; open it with that one or make it again")]
    Seed(u64),
}

pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new(seed: u64, count: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + count * ROW_BYTES + 4);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&seed.to_le_bytes());
        bytes.extend_from_slice(&(count as u64).to_le_bytes());
        Self(bytes)
    }

    pub(crate) fn row(&mut self, id: &[u8; ID_BYTES], sketch: &Sketch) {
        self.0.extend_from_slice(id);
        self.0.extend_from_slice(&sketch.to_bytes());
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let crc = crc32fast::hash(&self.0);
        self.0.extend_from_slice(&crc.to_le_bytes());
        self.0
    }
}

/// Rows of a snapshot that was checked as a whole.
pub(crate) struct Reader<'a>(std::slice::ChunksExact<'a, u8>);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], seed: u64) -> Result<Self, SnapshotError> {
        let (body, crc) = bytes.split_last_chunk().ok_or(SnapshotError::Magic)?;
        let (head, rows) = body
            .split_first_chunk::<HEAD_BYTES>()
            .ok_or(SnapshotError::Magic)?;
        if head[..4] != MAGIC || head[4..8] != [0; 4] {
            return Err(SnapshotError::Magic);
        }
        let number = |at: usize| {
            let field: [u8; 8] = std::array::from_fn(|byte| head[at + byte]);
            u64::from_le_bytes(field)
        };
        let count = number(16);
        if count.checked_mul(ROW_BYTES as u64) != Some(rows.len() as u64) {
            return Err(SnapshotError::Length(count));
        }
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(SnapshotError::Checksum);
        }
        if number(8) != seed {
            return Err(SnapshotError::Seed(number(8)));
        }
        Ok(Self(rows.chunks_exact(ROW_BYTES)))
    }
}

impl Iterator for Reader<'_> {
    type Item = ([u8; ID_BYTES], Sketch);

    fn next(&mut self) -> Option<Self::Item> {
        let (id, rest) = self.0.next()?.split_first_chunk()?;
        let (sketch, _) = rest.split_first_chunk()?;
        Some((*id, Sketch::from_bytes(*sketch)))
    }
}
