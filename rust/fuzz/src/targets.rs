//! The decoders, and what each promises.

use std::sync::LazyLock;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};
use bytes::Bytes;
use hypermesh_blocks::manifest::{self, ContentRef, IndexKind};
use hypermesh_blocks::{codec, record, sidecar};
use hypermesh_id::{BlockId, NodeId, Root};
use stoq_proto::{FRAME_HEADER_BYTES, Frame, Invitation, Message, SignedError, Token};

use crate::Depth::{self, Accepted, Entered, Refused};
use crate::seal::bech32_text;
use crate::seeds::{self, HOLDER, token_key};

/// A frame of the local wire.
pub(crate) fn local_frame(data: &[u8]) -> Depth {
    if mfn_wire::frame_length(data) != Ok(Some(data.len())) {
        assert!(mfn_wire::decode(data).is_err(), "a wrong length decodes");
        return Refused;
    }
    let Ok(frame) = mfn_wire::decode(data) else {
        return Entered;
    };
    let entries: Vec<_> = frame.tlv.iter().collect();
    let mut again = Vec::new();
    let encoded = mfn_wire::encode(&frame.header, &entries, frame.body, &mut again);
    assert_eq!(encoded, Ok(()), "a decoded frame does not encode");
    // An empty area of entries may be there or not, so the bytes may differ; what they say may not.
    match mfn_wire::decode(&again) {
        Ok(twice) => {
            assert_eq!(twice.header, frame.header);
            assert_eq!(twice.body, frame.body);
            assert!(twice.tlv.iter().eq(entries), "an entry changed");
        }
        Err(error) => unreachable!("an encoded frame does not decode: {error}"),
    }
    Accepted
}

/// A frame of STOQ with its message.
pub(crate) fn stoq_frame(data: &[u8]) -> Depth {
    let Some((header, rest)) = data.split_first_chunk::<FRAME_HEADER_BYTES>() else {
        return Refused;
    };
    let Ok(frame) = Frame::decode(*header) else {
        return Refused;
    };
    // A stream goes on behind the frame.
    let Some(body) = rest.get(..frame.length as usize) else {
        return Refused;
    };
    let Ok(message) = Message::decode(frame.kind, Bytes::copy_from_slice(body)) else {
        return Entered;
    };
    let (head, tail) = message.encode();
    let again = [&head[..], &tail[..]].concat();
    let whole = data.get(..FRAME_HEADER_BYTES + body.len());
    assert_eq!(
        Some(&again[..]),
        whole,
        "a decoded message encodes to other bytes"
    );
    Accepted
}

/// A token: whatever was changed, only what the key gave out opens.
pub(crate) fn token(data: &[u8]) -> Depth {
    let Ok(token) = Token::from_bytes(data) else {
        return Refused;
    };
    assert_eq!(
        token.to_bytes()[..],
        *data,
        "a token encodes to other bytes"
    );
    if token_key().check(&token, &HOLDER, 0).is_err() {
        return Entered;
    }
    let given = token_key().issue(&HOLDER, token.expires);
    assert_eq!(token, given, "a forged token opens");
    Accepted
}

/// An invitation as bytes, as text with a right checksum around these bytes, and the bytes taken as text.
pub(crate) fn invitation(data: &[u8]) -> Depth {
    const TEXT_LETTERS_MAX: usize = 1_023;
    let decoded = Invitation::from_bytes(Bytes::copy_from_slice(data));
    let text = bech32_text("hmi", data);
    let parsed = text.parse::<Invitation>();
    if text.len() > TEXT_LETTERS_MAX {
        assert_eq!(parsed, Err(SignedError::Text), "a text is too long");
    } else {
        assert_eq!(parsed, decoded, "bytes and text differ");
    }
    if let Ok(text) = std::str::from_utf8(data) {
        drop(text.parse::<Invitation>());
    }
    match decoded {
        Ok(invitation) => {
            assert_eq!(
                invitation.to_bytes(),
                data,
                "an invitation encodes to other bytes"
            );
            Accepted
        }
        Err(SignedError::Signature) => Entered,
        Err(_) => Refused,
    }
}

/// Ids: the bytes taken as text, and as what a text with a right checksum holds.
pub(crate) fn ids(data: &[u8]) -> Depth {
    for hrp in ["hm", "hmr", "hmx"] {
        let text = bech32_text(hrp, data);
        let held: Option<[u8; 32]> = data.try_into().ok();
        let node = held.filter(|_| hrp == "hm").map(NodeId);
        let root = held
            .filter(|_| hrp == "hmr")
            .map(|bytes| Root(BlockId(bytes)));
        assert_eq!(text.parse().ok(), node, "a wrong node id: {text}");
        assert_eq!(text.parse().ok(), root, "a wrong root: {text}");
    }
    let text = String::from_utf8_lossy(data);
    let parsed = [
        text.parse::<NodeId>().ok().map(|id| id.to_string()),
        text.parse::<Root>().ok().map(|root| root.to_string()),
        text.parse::<BlockId>().ok().map(|id| id.to_string()),
    ];
    if let Some(again) = parsed.into_iter().flatten().next() {
        assert!(again.eq_ignore_ascii_case(&text), "{text} became {again}");
        return Accepted;
    }
    let hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(!hex, "a block id is refused: {text}");
    match CheckedHrpstring::new::<Bech32m>(&text) {
        Ok(checked) => {
            let ours = [Hrp::parse_unchecked("hm"), Hrp::parse_unchecked("hmr")];
            let bytes: Vec<u8> = checked.byte_iter().collect();
            let again = bech32_text(&checked.hrp().to_lowercase(), &bytes);
            // Bits to spare behind the last byte make another text; there is one per id.
            let whole = ours.contains(&checked.hrp())
                && bytes.len() == 32
                && again.eq_ignore_ascii_case(&text);
            assert!(!whole, "an id is refused: {text}");
            Entered
        }
        Err(_) => Refused,
    }
}

pub(crate) fn manifest_root(data: &[u8]) -> Depth {
    let decoded = manifest::decode_root(data);
    match decoded {
        Ok(root) => {
            let again = manifest::encode_root(&root);
            assert_eq!(again.as_deref(), Some(data), "another encoding of a root");
            Accepted
        }
        Err(_) if data.starts_with(b"hmr\x01") && data.len() == manifest::ROOT_BYTES => Entered,
        Err(_) => Refused,
    }
}

pub(crate) fn manifest_directory(data: &[u8]) -> Depth {
    match manifest::decode_directory(data) {
        Ok(entries) => {
            let again = manifest::encode_directory(&entries);
            assert_eq!(again, data, "another encoding of a directory");
            Accepted
        }
        Err(_) if data.starts_with(b"hmd\x01") => Entered,
        Err(_) => Refused,
    }
}

/// An index, read by a reference that says of it what it says of itself, and by one that does not.
pub(crate) fn manifest_index(data: &[u8]) -> Depth {
    let kind = match data.get(4) {
        Some(1) => IndexKind::File,
        _ => IndexKind::Directory,
    };
    let depth = data.get(5).copied().unwrap_or_default();
    let size = data
        .get(8..)
        .unwrap_or_default()
        .chunks(44)
        .filter_map(|entry| entry.first_chunk())
        .fold(0_u64, |sum, size| {
            sum.wrapping_add(u64::from_le_bytes(*size))
        });
    let expected = ContentRef {
        size,
        depth,
        block_len: u32::try_from(data.len()).unwrap_or(u32::MAX),
        id: BlockId::of(data),
    };
    let other = ContentRef {
        size: size.wrapping_add(1),
        ..expected
    };
    assert!(
        manifest::decode_index(data, kind, &other).is_err(),
        "an index of another size is accepted"
    );
    match manifest::decode_index(data, kind, &expected) {
        Ok(entries) => {
            let again = manifest::encode_index(kind, depth, &entries);
            assert_eq!(again, data, "another encoding of an index");
            Accepted
        }
        Err(_) if data.starts_with(b"hmi\x01") => Entered,
        Err(_) => Refused,
    }
}

/// A record of a segment: its header, then the block behind its stored bytes, as also a peer sends it.
pub(crate) fn segment_record(data: &[u8]) -> Depth {
    let Some(header) = record::Header::decode(data) else {
        return Refused;
    };
    assert!(
        data.starts_with(&header.encode()),
        "a header encodes to other bytes"
    );
    let stored = data.get(record::HEADER_BYTES..).unwrap_or_default();
    let restored = codec::restore_checked(&header.id, header.codec, header.raw_len, stored, None);
    match restored {
        Ok(block) => {
            assert_eq!(BlockId::of(&block), header.id, "another block is restored");
            assert_eq!(block.len(), header.raw_len as usize);
            Accepted
        }
        Err(_) => Entered,
    }
}

/// The list beside a segment, of a segment as long as it says.
pub(crate) fn segment_sidecar(data: &[u8]) -> Depth {
    const SEGMENT: u32 = 7;
    let segment_bytes = data
        .get(8..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let hashed = data
        .split_last_chunk::<32>()
        .is_some_and(|(body, hash)| blake3::hash(body) == *hash);
    match sidecar::decode(data, SEGMENT, segment_bytes) {
        Some(rows) => {
            assert!(hashed, "a damaged list is accepted");
            for sidecar::Row { location, .. } in rows {
                let end = u64::from(location.offset) + location.record_bytes();
                assert!(end <= segment_bytes, "a record lies outside its segment");
                assert_eq!(location.segment, SEGMENT);
            }
            Accepted
        }
        None if hashed => Entered,
        None => Refused,
    }
}

/// What [`delta_block`] makes of its bytes: id and length of a block, its base, and its stored bytes.
pub(crate) fn delta_parts(data: &[u8]) -> Option<(BlockId, u32, &[u8], &[u8])> {
    let (id, rest) = data.split_first_chunk::<32>()?;
    let (raw_len, rest) = rest.split_first_chunk::<4>()?;
    let (base_len, rest) = rest.split_first_chunk::<2>()?;
    let (base, stored) = rest.split_at_checked(u16::from_le_bytes(*base_len).into())?;
    Some((BlockId(*id), u32::from_le_bytes(*raw_len), base, stored))
}

/// A block that is a delta against another, as it is read from the disk and as a peer sends it.
pub(crate) fn delta_block(data: &[u8]) -> Depth {
    let Some((id, raw_len, base, stored)) = delta_parts(data) else {
        return Refused;
    };
    let without = codec::restore_checked(&id, record::CODEC_DELTA, raw_len, stored, None);
    assert!(without.is_err(), "a delta is restored without its base");
    if record::check_lengths(record::CODEC_DELTA, raw_len, stored.len()).is_err() {
        return Refused;
    }
    assert!(record::base_of(record::CODEC_DELTA, stored).is_some());
    match codec::restore_checked(&id, record::CODEC_DELTA, raw_len, stored, Some(base)) {
        Ok(block) => {
            assert_eq!(BlockId::of(&block), id, "another block is restored");
            assert_eq!(block.len(), raw_len as usize);
            Accepted
        }
        Err(_) => Entered,
    }
}

/// Whether the last four bytes are the CRC-32 of the rest.
fn is_summed(data: &[u8]) -> bool {
    data.split_last_chunk::<4>()
        .is_some_and(|(body, crc)| crc32fast::hash(body) == u32::from_le_bytes(*crc))
}

/// A snapshot of the sketches of blocks.
pub(crate) fn sketches(data: &[u8]) -> Depth {
    use mfn_dsr::bytes::{Options, Reservoir};
    let options = Options::default();
    match Reservoir::from_bytes(data, options) {
        Ok(reservoir) => {
            assert!(is_summed(data), "a damaged snapshot is accepted");
            let bytes = reservoir.to_bytes();
            let again = Reservoir::from_bytes(&bytes, options).map(|again| again.to_bytes());
            assert!(again.is_ok_and(|again| again == bytes), "it has two forms");
            Accepted
        }
        Err(_) if is_summed(data) => Entered,
        Err(_) => Refused,
    }
}

/// An operation of layer 2; what decodes must encode to the same, and may be applied.
pub(crate) fn dsr_operation(data: &[u8]) -> Depth {
    match mfn_dsr::Op::decode(data) {
        Ok(op) => {
            assert!(op.encode() == data, "an operation has two forms");
            drop(mfn_dsr::Registry::new().apply(&op));
            Accepted
        }
        Err(_) if is_summed(data) => Entered,
        Err(_) => Refused,
    }
}

/// A snapshot of a well; what is restored works.
pub(crate) fn dsr_well(data: &[u8]) -> Depth {
    match mfn_dsr::Well::restore(data) {
        Ok(mut well) => {
            assert!(is_summed(data), "a damaged snapshot is accepted");
            let vector = vec![0.5; well.options().dims];
            drop(well.insert_at(u64::MAX, &vector, 7));
            well.remove(u64::MAX);
            drop(well.snapshot());
            Accepted
        }
        Err(_) if is_summed(data) => Entered,
        Err(_) => Refused,
    }
}

/// A snapshot of all wells.
pub(crate) fn dsr_registry(data: &[u8]) -> Depth {
    match mfn_dsr::Registry::restore(data) {
        Ok(registry) => {
            assert!(is_summed(data), "a damaged snapshot is accepted");
            drop(registry.snapshot());
            Accepted
        }
        Err(_) if is_summed(data) => Entered,
        Err(_) => Refused,
    }
}

/// An operation of layer 4; what decodes must encode to the same, and may be applied.
pub(crate) fn cpe_operation(data: &[u8]) -> Depth {
    match mfn_cpe::Op::decode(data) {
        Ok(op) => {
            let mut again = Vec::new();
            op.encode(&mut again);
            assert!(again == data, "an operation has two forms");
            drop(mfn_cpe::Engine::new().apply(&op));
            Accepted
        }
        // The version, and which one it is.
        Err(_) if matches!(data, [1, 1..=6, ..]) => Entered,
        Err(_) => Refused,
    }
}

/// Of another version or cut short, which is seen first; or wrong inside.
fn cpe_depth(error: &mfn_cpe::CpeError) -> Depth {
    match error {
        mfn_cpe::CpeError::Version { .. } | mfn_cpe::CpeError::Truncated { .. } => Refused,
        _ => Entered,
    }
}

/// A changed snapshot of a stream; what is restored predicts and learns, and goes on to be itself.
pub(crate) fn cpe_stream(data: &[u8]) -> Depth {
    static SNAPSHOTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(seeds::cpe_stream);
    let snapshot = seeds::changed(&SNAPSHOTS, data);
    let mut stream = match mfn_cpe::Stream::restore(&snapshot) {
        Ok(stream) => stream,
        Err(error) => return cpe_depth(&error),
    };
    for symbol in 0..8 {
        let next = stream.predict(1, 4, symbol);
        for item in &next.items {
            assert!((0.0..=1.001).contains(&item.probability), "{next:?}");
        }
        stream.observe(1, symbol % 3, symbol);
    }
    let snapshot = stream.snapshot();
    match mfn_cpe::Stream::restore(&snapshot) {
        Ok(again) => assert!(again.snapshot() == snapshot, "a snapshot has two forms"),
        Err(error) => unreachable!("a restored stream makes a bad snapshot: {error}"),
    }
    Accepted
}

/// A changed snapshot of a series; what is restored forecasts and learns.
pub(crate) fn cpe_series(data: &[u8]) -> Depth {
    static SNAPSHOTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(seeds::cpe_series);
    let snapshot = seeds::changed(&SNAPSHOTS, data);
    let mut series = match mfn_cpe::Series::restore(&snapshot) {
        Ok(series) => series,
        Err(error) => return cpe_depth(&error),
    };
    for step in 0..8 {
        // A time that is older than the last one is an error, and no more.
        drop(series.sample(1, u64::MAX / 2 + step, step as f64));
        if let Some(forecasts) = series.forecast(1) {
            let all = forecasts.iter().flat_map(|one| one.quantiles);
            assert!(!{ all }.any(f64::is_nan), "{forecasts:?}");
        }
    }
    let snapshot = series.snapshot();
    match mfn_cpe::Series::restore(&snapshot) {
        Ok(again) => assert!(again.snapshot() == snapshot, "a snapshot has two forms"),
        Err(error) => unreachable!("a restored series makes a bad snapshot: {error}"),
    }
    Accepted
}

/// A changed snapshot of all pools of layer 4; what is restored takes operations.
pub(crate) fn cpe_engine(data: &[u8]) -> Depth {
    static SNAPSHOTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(seeds::cpe_engine);
    let snapshot = seeds::changed(&SNAPSHOTS, data);
    let mut engine = match mfn_cpe::Engine::restore(&snapshot) {
        Ok(engine) => engine,
        Err(error) => return cpe_depth(&error),
    };
    for operation in seeds::cpe_operations() {
        drop(engine.apply(&operation));
    }
    let snapshot = engine.snapshot();
    match mfn_cpe::Engine::restore(&snapshot) {
        Ok(again) => assert!(again.snapshot() == snapshot, "a snapshot has two forms"),
        Err(error) => unreachable!("a restored engine makes a bad snapshot: {error}"),
    }
    Accepted
}
