use std::fs;
use std::path::PathBuf;

use hypermesh_blocks::record::{HEADER_BYTES, Header};
use hypermesh_blocks::{Ingested, Store, StoreError, StoreOptions, StoredBlock};
use hypermesh_id::BlockId;

use crate::tree::{Bench, noise};

fn block(seed: u64, length: usize) -> (BlockId, StoredBlock) {
    let bytes = noise(seed, length);
    let id = BlockId::of(&bytes);
    (
        id,
        StoredBlock {
            codec: 0,
            raw_len: length as u32,
            bytes: bytes.into(),
        },
    )
}

fn segment(bench: &Bench) -> PathBuf {
    bench.path("store/segments/00000000.seg")
}

#[test]
fn a_record_torn_at_any_byte_is_cut_off() {
    let bench = Bench::new();
    let (first, one) = block(1, 500);
    let (second, two) = block(2, 300);
    bench.store.ingest(&first, one).unwrap();
    bench.store.sync().unwrap();
    let before = fs::metadata(segment(&bench)).unwrap().len();
    bench.store.ingest(&second, two.clone()).unwrap();
    bench.store.sync().unwrap();
    let whole = fs::read(segment(&bench)).unwrap();
    let mut bench = bench;
    for length in before..whole.len() as u64 {
        fs::write(segment(&bench), &whole[..length as usize]).unwrap();
        bench = bench.reopen(StoreOptions::default());
        assert!(bench.store.contains(&first));
        assert!(!bench.store.contains(&second), "torn at {length}");
        assert_eq!(fs::metadata(segment(&bench)).unwrap().len(), before);
    }
    assert_eq!(bench.store.ingest(&second, two).unwrap(), Ingested::New);
    let bench = bench.reopen(StoreOptions::default());
    assert_eq!(bench.store.read(&second).unwrap().unwrap(), noise(2, 300));
}

#[test]
fn damage_in_the_middle_costs_no_other_record() {
    let bench = Bench::new();
    let blocks: Vec<_> = (0..5).map(|seed| block(seed, 1_000)).collect();
    for (id, stored) in &blocks {
        bench.store.ingest(id, stored.clone()).unwrap();
    }
    bench.store.sync().unwrap();
    let whole = fs::read(segment(&bench)).unwrap();
    let record = HEADER_BYTES + 1_000;
    let mut bench = bench;
    // In the header of the third record, then in its bytes.
    for at in [2 * record + 9, 2 * record + HEADER_BYTES + 77] {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        fs::write(segment(&bench), bytes).unwrap();
        bench = bench.reopen(StoreOptions::default());
        for (number, (id, _)) in blocks.iter().enumerate() {
            let read = bench.store.read(id);
            if number == 2 {
                assert!(
                    matches!(read, Ok(None) | Err(StoreError::Corrupt { .. })),
                    "{read:?}"
                );
                assert!(!bench.store.contains(id));
            } else {
                assert!(read.unwrap().is_some());
            }
        }
        // The good copy goes to the end.
        let (id, stored) = blocks[2].clone();
        assert_eq!(bench.store.ingest(&id, stored).unwrap(), Ingested::New);
        assert!(bench.store.read(&id).unwrap().is_some());
    }
}

#[test]
fn sealed_segments_open_from_their_lists_and_without_them() {
    let options = || StoreOptions {
        segment_bytes: Some(10_000),
        ..StoreOptions::default()
    };
    let bench = Bench::with(options());
    let blocks: Vec<_> = (0..40).map(|seed| block(seed, 900)).collect();
    for (id, stored) in &blocks {
        bench.store.ingest(id, stored.clone()).unwrap();
    }
    bench.store.sync().unwrap();
    let stats = bench.store.stats().unwrap();
    assert!(stats.segments >= 4);
    let mut bench = bench.reopen(options());
    let again = bench.store.stats().unwrap();
    assert_eq!(
        (again.blocks, again.live_bytes),
        (stats.blocks, stats.live_bytes)
    );
    let list = bench.path("store/segments/00000001.idx");
    let mut bytes = fs::read(&list).unwrap();
    bytes[20] ^= 1;
    fs::write(&list, bytes).unwrap();
    fs::remove_file(bench.path("store/segments/00000000.idx")).unwrap();
    fs::write(bench.path("store/segments/00000007.tmp"), b"left over").unwrap();
    bench = bench.reopen(options());
    assert_eq!(bench.store.stats().unwrap().blocks, stats.blocks);
    assert!(
        blocks
            .iter()
            .all(|(id, _)| bench.store.read(id).unwrap().is_some())
    );
    assert!(!bench.path("store/segments/00000007.tmp").exists());
}

#[test]
fn a_store_is_open_once() {
    let bench = Bench::new();
    let second = Store::open(&bench.path("store"), StoreOptions::default());
    assert!(matches!(second, Err(StoreError::Locked(_))));
}

#[test]
fn a_header_is_read_as_it_was_written_and_not_otherwise() {
    let header = Header {
        codec: 1,
        raw_len: 70_000,
        stored_len: 1_234,
        id: BlockId([9; 32]),
        stored_crc: 77,
    };
    let bytes = header.encode();
    assert_eq!(Header::decode(&bytes), Some(header));
    for bit in 0..bytes.len() * 8 {
        let mut wrong = bytes;
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Header::decode(&wrong), None);
    }
    assert_eq!(Header::decode(&bytes[..HEADER_BYTES - 1]), None);
}
