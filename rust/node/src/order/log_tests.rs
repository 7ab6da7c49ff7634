//! Tests of the log's files: what was flushed, cut and damaged.

use super::*;
use hypermesh_consensus::{Certificate, Height, Round};
use proptest::prelude::*;

fn decided(height: u64, body: &[u8]) -> Decided {
    Decided {
        certificate: Certificate {
            height: Height(height),
            round: Round::ZERO,
            block: BlockHash::of(body),
            signatures: Vec::new(),
        },
        body: Bytes::copy_from_slice(body),
    }
}

fn record(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.write(&mut bytes);
    bytes
}

fn block(body: &[u8]) -> Record {
    Record::Block {
        round: Round::ZERO,
        valid_round: Round::Nil,
        valid: true,
        body: Bytes::copy_from_slice(body),
    }
}

/// Heights from the first on, each in two flushes; the last one is not decided.
fn write(log: &mut Log, heights: std::ops::RangeInclusive<u64>, body: &[u8]) {
    let last = *heights.end();
    for height in heights {
        log.begin();
        log.append(&record(&Record::Height(Height(height))));
        log.append(&record(&block(body)));
        assert!(log.flush().unwrap());
        assert!(!log.flush().unwrap(), "nothing new was written");
        if height < last {
            log.decided(&decided(height, body));
        }
    }
}

#[test]
fn what_was_flushed_is_found() {
    let place = tempfile::tempdir().unwrap();
    let (mut log, found) = Log::open(place.path(), 0, true).unwrap();
    assert!(found.decided.is_empty() && found.records.is_empty());
    write(&mut log, 1..=4, b"a block");
    // Not flushed: not there.
    log.decided(&decided(4, b"a block"));
    drop(log);
    let (mut log, found) = Log::open(place.path(), 0, false).unwrap();
    assert_eq!(found.decided.len(), 3);
    // Settled: there, and no part of what the next flush brings.
    log.settle().unwrap();
    log.decided(&decided(4, b"a block"));
    log.settle().unwrap();
    drop(log);
    let (mut log, found) = Log::open(place.path(), 0, false).unwrap();
    assert_eq!(found.decided.len(), 4);
    write(&mut log, 5..=5, b"a block");
    drop(log);
    let (_, found) = Log::open(place.path(), 1, false).unwrap();
    assert_eq!(found.decided.len(), 3);
    assert_eq!(found.records.len(), 2);
}

#[test]
fn what_the_store_has_is_passed_over() {
    let place = tempfile::tempdir().unwrap();
    let (mut log, _) = Log::open(place.path(), 0, true).unwrap();
    write(&mut log, 1..=4, b"a block");
    drop(log);
    let (_, found) = Log::open(place.path(), 1, false).unwrap();
    assert_eq!(
        found.decided,
        [decided(2, b"a block"), decided(3, b"a block")]
    );
    assert_eq!(
        found.records,
        [Record::Height(Height(4)), block(b"a block")]
    );
    let error = Log::open(place.path(), 0, false).map(|_| ());
    error.unwrap();
    std::fs::remove_file(place.path().join("log.odd")).unwrap();
    let error = Log::open(place.path(), 1, false).unwrap_err();
    assert!(matches!(error, LogFileError::Missing { .. }), "{error}");
}

#[test]
fn files_take_turns_and_the_newer_one_counts() {
    let place = tempfile::tempdir().unwrap();
    let (mut log, _) = Log::open(place.path(), 0, true).unwrap();
    let body = vec![7; 1 << 20];
    let mut stored = 0;
    for height in 1..=40 {
        log.begin();
        log.append(&record(&Record::Height(Height(height))));
        log.append(&record(&block(&body)));
        log.flush().unwrap();
        log.decided(&decided(height, &body));
        if log.is_long() {
            log.turn().unwrap();
            stored = height;
        }
    }
    assert!(stored > 30);
    log.flush().unwrap();
    drop(log);
    let (_, found) = Log::open(place.path(), stored, false).unwrap();
    let heights: Vec<u64> = found
        .decided
        .iter()
        .map(|one| one.certificate.height.0)
        .collect();
    assert_eq!(heights, (stored + 1..=40).collect::<Vec<_>>());
    // A store that is older than the log's beginning lacks decisions.
    let error = Log::open(place.path(), 3, false).unwrap_err();
    assert!(
        matches!(error, LogFileError::Gap { stored: 3, .. }),
        "{error}"
    );
    let size = std::fs::metadata(place.path().join("log.even"))
        .unwrap()
        .len();
    assert!(size < 2 * TURN_BYTES, "{size}");
}

#[test]
fn a_block_that_looks_like_a_log_is_a_block() {
    // A frame of an older log of this very node, as a block: its sectors lie where frames begin.
    let place = tempfile::tempdir().unwrap();
    let (mut log, _) = Log::open(place.path(), 0, true).unwrap();
    write(&mut log, 1..=3, b"a block");
    let path = place.path().join("log.odd");
    let frames = std::fs::read(&path).unwrap();
    let shift = SECTOR as usize - HEADER - 200;
    let other = tempfile::tempdir().unwrap();
    let (mut log, _) = Log::open(other.path(), 0, true).unwrap();
    for at in 0..SECTOR as usize {
        if at % 97 == 0 || at == shift {
            let body = [&vec![0; at][..], &frames[..3 * SECTOR as usize]].concat();
            log.append(&body);
        }
    }
    log.flush().unwrap();
    let region = Region::read(&std::fs::read(other.path().join("log.odd")).unwrap());
    assert_eq!((region.frames.len(), region.damage), (1, None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_cut_is_an_end_and_a_wound_is_an_error(at in 0usize..5 * 4096, bit in 0u8..8, cut: bool) {
        let place = tempfile::tempdir().unwrap();
        let (mut log, _) = Log::open(place.path(), 0, true).unwrap();
        write(&mut log, 1..=5, b"a block");
        drop(log);
        let path = place.path().join("log.odd");
        let mut bytes = std::fs::read(&path).unwrap();
        let frame = at / SECTOR as usize;
        let length = frame * SECTOR as usize + 32;
        let length = u32::from_le_bytes(bytes[length..length + 4].try_into().unwrap());
        if cut {
            // As a crash leaves it: what follows was never written.
            bytes[at..].fill(0);
        } else {
            bytes[at] ^= 1 << bit;
        }
        std::fs::write(&path, &bytes).unwrap();
        let found = Log::open(place.path(), 0, false);
        let used = at % SECTOR as usize;
        match found {
            Ok((_, found)) => {
                let heights = found.decided.len();
                prop_assert!(heights == 4 || heights + 1 >= frame, "{heights} {frame}");
                let is_padding = used >= HEADER + length as usize;
                prop_assert!(cut || frame == 4 || is_padding, "{frame} {used}");
            }
            Err(LogFileError::Damaged { offset, .. }) => {
                prop_assert!(!cut);
                prop_assert_eq!(offset, (frame as u64) * SECTOR);
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
