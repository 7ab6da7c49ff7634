//! One function per decoder of bytes that anyone may send; none may panic, whatever the bytes.
//!
//! `tests/fixed_seed.rs` runs each with seeded input. A coverage-guided fuzzer can call the same functions.
#![forbid(unsafe_code)]

use bytes::Bytes;
use hypermesh_id::{BlockId, NodeId, Root};
use stoq_proto::{FRAME_HEADER_BYTES, Frame, Invitation, Message, Token};

/// A decoder and its name.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("local frame", local_frame),
    ("STOQ frame", stoq_frame),
    ("invitation", invitation),
    ("token", token),
    ("texts", texts),
    ("manifests", manifests),
    ("DSR operation", dsr_operation),
    ("DSR snapshots", dsr_snapshots),
    ("records", records),
    ("sketches", sketches),
];

/// A frame of the local wire; what decodes must encode.
pub fn local_frame(data: &[u8]) {
    let Ok(frame) = mfn_wire::decode(data) else {
        return;
    };
    let entries: Vec<_> = frame.tlv.iter().collect();
    let again = mfn_wire::encode(&frame.header, &entries, frame.body, &mut Vec::new());
    assert!(again.is_ok(), "a decoded frame does not encode");
}

/// A frame of STOQ with its message.
pub fn stoq_frame(data: &[u8]) {
    let Some((header, body)) = data.split_first_chunk::<FRAME_HEADER_BYTES>() else {
        return;
    };
    if let Ok(frame) = Frame::decode(*header)
        && let Ok(message) = Message::decode(frame.kind, Bytes::copy_from_slice(body))
    {
        drop(message.encode());
    }
}

/// An invitation in both forms.
pub fn invitation(data: &[u8]) {
    drop(Invitation::from_bytes(Bytes::copy_from_slice(data)));
    if let Ok(text) = std::str::from_utf8(data) {
        drop(text.parse::<Invitation>());
    }
}

/// A token.
pub fn token(data: &[u8]) {
    drop(Token::from_bytes(data));
}

/// Ids as text.
pub fn texts(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    drop(text.parse::<NodeId>());
    drop(text.parse::<Root>());
    drop(text.parse::<BlockId>());
}

/// What a store finds on its disk.
pub fn records(data: &[u8]) {
    use hypermesh_blocks::{record, sidecar};
    if let Some(header) = record::Header::decode(data) {
        assert_eq!(header.encode()[..], data[..record::HEADER_BYTES]);
    }
    for codec in 0..4 {
        let _ = record::base_of(codec, data);
        let _ = record::check_lengths(codec, 300, data.len());
    }
    drop(sidecar::decode(data, 0, 1 << 20));
    // The same with a hash that fits, so that the rows are looked at.
    let sealed = [data, &BlockId::of(data).0].concat();
    drop(sidecar::decode(&sealed, 0, 1 << 20));
}

/// Sketches and their snapshots.
pub fn sketches(data: &[u8]) {
    use mfn_dsr::bytes::{Encoder, Options, Reservoir, SKETCH_BYTES, Sketch, explain};
    let encoder = Encoder::new(0);
    let sketch = encoder.sketch(data);
    if let Some(bytes) = data.first_chunk::<SKETCH_BYTES>() {
        drop(explain(&Sketch::from_bytes(*bytes), &sketch));
    }
    drop(Reservoir::from_bytes(data, Options::default()));
}

/// The manifests of content.
pub fn manifests(data: &[u8]) {
    use hypermesh_blocks::manifest;
    drop(manifest::decode_root(data));
    drop(manifest::decode_directory(data));
    let size = data
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes));
    for kind in [manifest::IndexKind::File, manifest::IndexKind::Directory] {
        for depth in [1, 12] {
            let block_len = u32::try_from(data.len()).unwrap_or(u32::MAX);
            let expected = manifest::ContentRef {
                size,
                depth,
                block_len,
                id: BlockId([0; 32]),
            };
            drop(manifest::decode_index(data, kind, &expected));
        }
    }
}

/// Gives a sealed message of layer 2 its frame, so that noise reaches the fields.
fn sealed(magic: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&1u16.to_le_bytes());
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// An operation of layer 2; what decodes must encode to the same, and apply.
pub fn dsr_operation(data: &[u8]) {
    drop(mfn_dsr::Op::decode(data));
    let bytes = sealed(b"DSRO", data);
    if let Ok(op) = mfn_dsr::Op::decode(&bytes) {
        assert!(op.encode() == bytes, "an operation has two forms");
        drop(mfn_dsr::Registry::new().apply(&op));
    }
}

/// Snapshots of a well and of a registry.
pub fn dsr_snapshots(data: &[u8]) {
    drop(mfn_dsr::Well::restore(data));
    drop(mfn_dsr::Well::restore(&sealed(b"DSRW", data)));
    drop(mfn_dsr::Registry::restore(&sealed(b"DSRS", data)));
}
