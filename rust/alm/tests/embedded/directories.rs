//! What is kept, and what cannot be opened.

use std::fs;

use mfn_alm::{Alm, AlmError, Edge, EmbeddedOptions};
use mfn_wire::Status;

use crate::{open, run};

#[test]
fn what_was_told_is_there_again() {
    let place = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions::new(place.path().join("state"));
    run(async {
        let alm = open(&options).unwrap();
        alm.add(vec![Edge::new("a", "b", 0.5)]).await.unwrap();
        // Dropped, not closed: both write a snapshot.
        drop(alm);
        let alm = open(&options).unwrap();
        assert_eq!(alm.neighbours(b"a".to_vec(), 1).await.unwrap().len(), 1);
        let other = alm.clone();
        alm.close().await;
        alm.close().await;
        let away = other.neighbours(b"a".to_vec(), 1).await;
        assert!(matches!(away, Err(AlmError::Away(_))), "{away:?}");
    });
}

#[test]
fn what_cannot_be_opened_says_why() {
    let place = tempfile::tempdir().unwrap();
    let status = |options: &EmbeddedOptions| match open(options) {
        Err(AlmError::Refused { status, text }) => {
            assert!(!text.is_empty());
            status
        }
        other => panic!("{other:?}"),
    };
    let usual = EmbeddedOptions::new(place.path().join("state"));
    let opened = open(&usual).unwrap();
    assert_eq!(status(&usual), Status::IO, "it is open already");
    let tiny = EmbeddedOptions {
        bytes_max: 1,
        ..EmbeddedOptions::new(place.path().join("tiny"))
    };
    assert_eq!(status(&tiny), Status::INVALID_ARGUMENT);
    let zero = EmbeddedOptions::new("a\0b");
    assert_eq!(status(&zero), Status::INVALID_ARGUMENT);
    let file = place.path().join("file");
    fs::write(&file, "no directory").unwrap();
    assert_eq!(status(&EmbeddedOptions::new(file)), Status::IO);

    run(opened.add(vec![Edge::new("a", "b", 0.5)])).unwrap();
    drop(opened);
    let snapshot = usual.directory.join("snapshot");
    let mut bytes = fs::read(&snapshot).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&snapshot, bytes).unwrap();
    assert_eq!(status(&usual), Status::CORRUPT);
    let aside = EmbeddedOptions {
        set_aside: true,
        durable: false,
        ..usual
    };
    let empty = open(&aside).unwrap();
    assert_eq!(run(empty.stats()).unwrap().edges, 0);
}
