//! The floor of chunking: FastCDC and BLAKE3 called bare on bytes in memory.

use fastcdc::v2020::FastCDC;

/// Chunks and hashes `bytes`; answers how many chunks there are.
///
/// The ids are folded into one value that the caller prints, so that no work can be left out.
pub(crate) fn chunk_and_hash(bytes: &[u8], min: usize, average: usize, max: usize) -> (usize, u8) {
    let (mut chunks, mut fold) = (0, 0);
    for chunk in FastCDC::new(bytes, min, average, max) {
        let id = blake3::hash(&bytes[chunk.offset..chunk.offset + chunk.length]);
        fold ^= id.as_bytes()[0];
        chunks += 1;
    }
    (chunks, fold)
}
