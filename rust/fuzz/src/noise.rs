//! Decoders that get noise only.

use hypermesh_blocks::record;

/// Sketches and their snapshots.
pub(crate) fn sketches(data: &[u8]) {
    use mfn_dsr::bytes::{Encoder, Options, Reservoir, SKETCH_BYTES, Sketch, explain};
    let encoder = Encoder::new(0);
    let sketch = encoder.sketch(data);
    if let Some(bytes) = data.first_chunk::<SKETCH_BYTES>() {
        drop(explain(&Sketch::from_bytes(*bytes), &sketch));
    }
    drop(Reservoir::from_bytes(data, Options::default()));
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
pub(crate) fn dsr_operation(data: &[u8]) {
    drop(mfn_dsr::Op::decode(data));
    let bytes = sealed(b"DSRO", data);
    if let Ok(op) = mfn_dsr::Op::decode(&bytes) {
        assert!(op.encode() == bytes, "an operation has two forms");
        drop(mfn_dsr::Registry::new().apply(&op));
    }
}

/// Snapshots of a well and of a registry.
pub(crate) fn dsr_snapshots(data: &[u8]) {
    drop(mfn_dsr::Well::restore(data));
    drop(mfn_dsr::Well::restore(&sealed(b"DSRW", data)));
    drop(mfn_dsr::Registry::restore(&sealed(b"DSRS", data)));
}

/// What a record says of its codec and lengths, and of the block that it is made from.
pub(crate) fn codecs(data: &[u8]) {
    for codec in 0..4 {
        let _ = record::base_of(codec, data);
        let _ = record::check_lengths(codec, 300, data.len());
    }
}
