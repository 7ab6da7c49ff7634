//! Records of a segment: a header that is checked by itself, then the stored bytes.

use hypermesh_id::BlockId;

use crate::limits::BLOCK_BYTES_MAX;

/// Length of a record's header.
pub const HEADER_BYTES: usize = 56;
/// First bytes of a record.
pub const MAGIC: [u8; 4] = *b"hmb\x01";
/// The stored bytes are the block.
pub const CODEC_RAW: u8 = 0;
/// The stored bytes are one zstd frame (RFC 8878).
pub const CODEC_ZSTD: u8 = 1;
/// The stored bytes are the id of another block, the base, and one zstd frame that has the base's
/// bytes as its prefix.
pub const CODEC_DELTA: u8 = 2;
/// Length of the base's id in front of a delta's frame.
pub const BASE_BYTES: usize = 32;

const CHECKED_BYTES: usize = HEADER_BYTES - 4;

/// A decoded header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// [`CODEC_RAW`], [`CODEC_ZSTD`] or [`CODEC_DELTA`].
    pub codec: u8,
    /// Length of the block.
    pub raw_len: u32,
    /// Length of the bytes that follow.
    pub stored_len: u32,
    pub id: BlockId,
    /// CRC-32 of the bytes that follow.
    pub stored_crc: u32,
}

impl Header {
    /// Bytes of header and stored bytes.
    pub fn record_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.stored_len)
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..4].copy_from_slice(&MAGIC);
        out[4] = self.codec;
        out[8..12].copy_from_slice(&self.raw_len.to_le_bytes());
        out[12..16].copy_from_slice(&self.stored_len.to_le_bytes());
        out[16..48].copy_from_slice(&self.id.0);
        out[48..52].copy_from_slice(&self.stored_crc.to_le_bytes());
        let crc = crc32fast::hash(&out[..CHECKED_BYTES]);
        out[CHECKED_BYTES..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header; `None` when the bytes are not an intact one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let number = |at: usize| {
            let field = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
            u32::from_le_bytes(field)
        };
        if bytes[..4] != MAGIC || number(CHECKED_BYTES) != crc32fast::hash(&bytes[..CHECKED_BYTES])
        {
            return None;
        }
        let mut id = [0; 32];
        id.copy_from_slice(&bytes[16..48]);
        let header = Self {
            codec: bytes[4],
            raw_len: number(8),
            stored_len: number(12),
            id: BlockId(id),
            stored_crc: number(48),
        };
        check_lengths(header.codec, header.raw_len, header.stored_len as usize).ok()?;
        (bytes[5..8] == [0; 3]).then_some(header)
    }
}

/// Whether codec and lengths fit each other; the text says what does not.
pub fn check_lengths(codec: u8, raw_len: u32, stored_len: usize) -> Result<(), &'static str> {
    if raw_len == 0 || raw_len as usize > BLOCK_BYTES_MAX {
        return Err("its length is not that of a block");
    }
    match codec {
        CODEC_RAW if stored_len == raw_len as usize => Ok(()),
        CODEC_RAW => Err("its length differs from the announced one"),
        CODEC_ZSTD if stored_len > 0 && stored_len < raw_len as usize => Ok(()),
        CODEC_ZSTD => Err("its compressed length is out of range"),
        CODEC_DELTA if stored_len > BASE_BYTES && stored_len < raw_len as usize => Ok(()),
        CODEC_DELTA => Err("its length as a delta is out of range"),
        _ => Err("its codec is unknown"),
    }
}

/// The base of a record, if it is a delta. Its stored bytes may be given as far as they are known.
pub fn base_of(codec: u8, stored: &[u8]) -> Option<BlockId> {
    let base = stored.first_chunk::<BASE_BYTES>()?;
    (codec == CODEC_DELTA).then_some(BlockId(*base))
}

/// Where a block is. Fits the index's 16-byte values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    pub segment: u32,
    /// Of the record's header.
    pub offset: u32,
    pub stored_len: u32,
    pub raw_len: u32,
}

impl Location {
    /// Bytes of the record.
    pub fn record_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.stored_len)
    }

    /// As the index keeps it.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut out = [0; 16];
        for (at, number) in [self.segment, self.offset, self.stored_len, self.raw_len]
            .into_iter()
            .enumerate()
        {
            out[at * 4..at * 4 + 4].copy_from_slice(&number.to_le_bytes());
        }
        out
    }

    /// From the index.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let number = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Self {
            segment: number(0),
            offset: number(4),
            stored_len: number(8),
            raw_len: number(12),
        }
    }
}
