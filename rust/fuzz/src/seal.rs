//! Repairs what guards a decoder, so that what lies behind it is reached: lengths, counts, checksums, signatures.
//!
//! Bytes that are too short for the guarded thing stay as they are.
#![expect(
    clippy::ptr_arg,
    reason = "all repairs have one type; some shorten the bytes"
)]

use bech32::primitives::iter::{ByteIterExt, Fe32IterExt};
use bech32::{Bech32m, Fe32, Hrp};
use ed25519_dalek::Signer;
use hypermesh_blocks::record;
use hypermesh_id::BlockId;
use stoq_proto::{FRAME_HEADER_BYTES, TOKEN_BYTES};

use crate::seeds::{CHANGE_BYTES, key};

/// `bytes` as Bech32m text of any length, with a right checksum.
pub(crate) fn bech32_text(hrp: &str, bytes: &[u8]) -> String {
    let hrp = Hrp::parse_unchecked(hrp);
    let letters = bytes.iter().copied().bytes_to_fes();
    letters.with_checksum::<Bech32m>(&hrp).chars().collect()
}

/// The length prefix.
pub(crate) fn local_frame(data: &mut Vec<u8>) {
    let length = (data.len().saturating_sub(4) as u32).to_le_bytes();
    put(data, 0, &length);
}

/// Length and flags of the header, and the signature of an invitation inside.
pub(crate) fn stoq_frame(data: &mut Vec<u8>) {
    const JOIN: &[u8] = &[2, 0];
    let length = (data.len().saturating_sub(FRAME_HEADER_BYTES) as u32).to_le_bytes();
    put(data, 2, &[0; 2]);
    put(data, 4, &length);
    if data.starts_with(JOIN)
        && let Some(invited) = data.get(FRAME_HEADER_BYTES..).and_then(<[u8]>::first_chunk)
    {
        let start = FRAME_HEADER_BYTES + 2;
        let end = start + usize::from(u16::from_le_bytes(*invited));
        if let Some(invitation) = data.get_mut(start..end) {
            sign(invitation);
        }
    }
}

/// The length: there is no repair of a keyed hash.
pub(crate) fn token(data: &mut Vec<u8>) {
    data.truncate(TOKEN_BYTES);
}

/// Kinds and count of the addresses that are there whole, the length, issuer and signature.
pub(crate) fn invitation(data: &mut Vec<u8>) {
    const COUNT_AT: usize = 32;
    const BEHIND_BYTES: usize = 8 + 16 + 64;
    let (mut end, mut count) = (COUNT_AT + 1, 0);
    let room = data.len().saturating_sub(BEHIND_BYTES);
    while let Some(kind) = data.get_mut(end).filter(|_| end < room && count < u8::MAX) {
        let bytes = match kind {
            6 => 1 + 16 + 2,
            _ => 1 + 4 + 2,
        };
        if end + bytes > room {
            break;
        }
        *kind = if bytes == 7 { 4 } else { 6 };
        end += bytes;
        count += 1;
    }
    if end <= room {
        data.truncate(end + BEHIND_BYTES);
        put(data, COUNT_AT, &[count]);
    }
    sign(data);
}

fn sign(invitation: &mut [u8]) {
    const DOMAIN: &[u8] = b"hypermesh invitation 1\0";
    let Some((body, signature)) = invitation.split_last_chunk_mut::<64>() else {
        return;
    };
    if let Some(issuer) = body.first_chunk_mut::<32>() {
        *issuer = key().verifying_key().to_bytes();
        *signature = key().sign(&[DOMAIN, body].concat()).to_bytes();
    }
}

/// The checksum of a text; letters that no Bech32m text has are left out.
pub(crate) fn ids(data: &mut Vec<u8>) {
    const CHECKSUM_LETTERS: usize = 6;
    let text = String::from_utf8_lossy(data).into_owned();
    let Some((hrp, letters)) = text.rsplit_once('1') else {
        return;
    };
    // A block id is plain hex and has no checksum.
    if !hrp.to_ascii_lowercase().starts_with("hm") {
        return;
    }
    let Ok(hrp) = Hrp::parse(hrp) else { return };
    let mut letters: Vec<Fe32> = letters
        .chars()
        .filter_map(|letter| Fe32::from_char(letter).ok())
        .collect();
    letters.truncate(letters.len().saturating_sub(CHECKSUM_LETTERS));
    let sealed: String = letters
        .into_iter()
        .with_checksum::<Bech32m>(&hrp)
        .chars()
        .collect();
    if sealed.len() <= data.len() {
        *data = sealed.into_bytes();
    }
}

/// Magic, length and reserved fields.
pub(crate) fn manifest_root(data: &mut Vec<u8>) {
    data.truncate(88);
    put(data, 0, b"hmr\x01");
    put(data, 5, &[0]);
    put(data, 53, &[0; 3]);
}

/// Magic, and the count of the entries that are there whole.
pub(crate) fn manifest_directory(data: &mut Vec<u8>) {
    const SYMLINK: u8 = 3;
    let (mut end, mut count) = (8, 0_u16);
    while let Some(&[kind, name, _, _]) = data.get(end..).and_then(<[u8]>::first_chunk) {
        let rest = end + 4 + usize::from(name);
        let body = match (kind, data.get(rest..).and_then(<[u8]>::first_chunk)) {
            (SYMLINK, Some(length)) => 2 + usize::from(u16::from_le_bytes(*length)),
            _ => 45,
        };
        if rest + body > data.len() || count == u16::MAX {
            break;
        }
        end = rest + body;
        count += 1;
    }
    data.truncate(end);
    put(data, 0, b"hmd\x01");
    put(data, 4, &count.to_le_bytes());
    put(data, 6, &[0; 2]);
}

/// Magic, and the count of the entries that are there whole.
pub(crate) fn manifest_index(data: &mut Vec<u8>) {
    let count = data.len().saturating_sub(8) / 44;
    data.truncate(8 + count * 44);
    put(data, 0, b"hmi\x01");
    put(data, 6, &(count as u16).to_le_bytes());
}

/// Magic, stored length and both checksums; of a plain block its length and id as well.
pub(crate) fn segment_record(data: &mut Vec<u8>) {
    let Some((header, stored)) = data.split_first_chunk_mut::<{ record::HEADER_BYTES }>() else {
        return;
    };
    header[..4].copy_from_slice(&record::MAGIC);
    header[12..16].copy_from_slice(&(stored.len() as u32).to_le_bytes());
    if header[4] == record::CODEC_RAW {
        header[8..12].copy_from_slice(&(stored.len() as u32).to_le_bytes());
        header[16..48].copy_from_slice(&BlockId::of(stored).0);
    }
    header[48..52].copy_from_slice(&crc32fast::hash(stored).to_le_bytes());
    let checked = crc32fast::hash(&header[..52]);
    header[52..].copy_from_slice(&checked.to_le_bytes());
}

/// Magic, count and hash; of a list with deltas, whose count is a field of its own, the hash only.
pub(crate) fn segment_sidecar(data: &mut Vec<u8>) {
    let Some(rows) = data.len().checked_sub(16 + 32) else {
        return;
    };
    if !data.starts_with(b"hmx\x02") {
        data.truncate(16 + 32 + rows / 44 * 44);
        put(data, 0, b"hmx\x01");
        put(data, 4, &((rows / 44) as u32).to_le_bytes());
    }
    if let Some((body, hash)) = data.split_last_chunk_mut::<32>() {
        *hash = *blake3::hash(body).as_bytes();
    }
}

/// Writes where there is room.
fn put(data: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = data.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// The id and length of the block that the delta makes, and the id of the base.
pub(crate) fn delta_block(data: &mut Vec<u8>) {
    const BEFORE_BASE: usize = 32 + 4 + 2;
    let Some((_, _, base, stored)) = crate::targets::delta_parts(data) else {
        return;
    };
    let Some((_, frame)) = stored.split_first_chunk::<32>() else {
        return;
    };
    let (base_id, base_len) = (BlockId::of(base), base.len());
    let restored = zstd::bulk::Decompressor::with_dictionary(base)
        .and_then(|mut context| context.decompress(frame, 64 << 10));
    put(data, BEFORE_BASE + base_len, &base_id.0);
    if let Ok(block) = restored {
        put(data, 0, &BlockId::of(&block).0);
        put(data, 32, &(block.len() as u32).to_le_bytes());
    }
}

/// The CRC-32 at the end.
fn sum(data: &mut Vec<u8>) {
    let Some((body, _)) = data.split_last_chunk::<4>() else {
        return;
    };
    let crc = crc32fast::hash(body);
    let at = body.len();
    put(data, at, &crc.to_le_bytes());
}

/// The magic, the seed, the count of rows that are there, and the checksum.
pub(crate) fn sketches(data: &mut Vec<u8>) {
    const ROW_BYTES: usize = 128;
    const AROUND_BYTES: usize = 8 + 8 + 8 + 4;
    let Some(rows) = data.len().checked_sub(AROUND_BYTES) else {
        return;
    };
    let count = rows / ROW_BYTES;
    data.truncate(AROUND_BYTES + count * ROW_BYTES);
    put(data, 0, b"hmw\x01\0\0\0\0");
    let seed = mfn_dsr::bytes::Options::default().seed;
    put(data, 8, &seed.to_le_bytes());
    put(data, 16, &(count as u64).to_le_bytes());
    sum(data);
}

/// The magic, the version and the checksum.
pub(crate) fn dsr_operation(data: &mut Vec<u8>) {
    put(data, 0, b"DSRO\x01\0");
    sum(data);
}

pub(crate) fn dsr_well(data: &mut Vec<u8>) {
    put(data, 0, b"DSRW\x01\0");
    sum(data);
}

pub(crate) fn dsr_registry(data: &mut Vec<u8>) {
    put(data, 0, b"DSRS\x01\0");
    sum(data);
}

/// The version.
pub(crate) fn cpe_operation(data: &mut Vec<u8>) {
    put(data, 0, &[1]);
}

/// Whole changes, so that the snapshot keeps its length.
pub(crate) fn cpe_snapshot(data: &mut Vec<u8>) {
    let changes = data.len().saturating_sub(1) / CHANGE_BYTES;
    data.truncate(1 + changes * CHANGE_BYTES);
}
