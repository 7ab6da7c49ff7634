//! What a crash, or damage, at any byte leaves.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use mfn_journal::{Durability, Journal, JournalError, Options, Record};
use mfn_wire::Service;
use proptest::prelude::*;
use tempfile::tempdir;

const OPTIONS: Options = Options {
    service: Service::Dsr,
    durability: Durability::Process,
};

fn open(directory: &Path) -> Result<(Journal, Vec<Vec<u8>>), JournalError> {
    let mut seen = Vec::new();
    let journal = Journal::open(directory, OPTIONS, |record| {
        seen.push(record.bytes().to_vec());
        Ok(())
    })?;
    Ok((journal, seen))
}

/// Three committed records of different lengths, one of them with bytes of the format inside.
fn records() -> Vec<Vec<u8>> {
    vec![b"one".to_vec(), vec![0; 40], b"MFNJ and more".to_vec()]
}

fn filled(directory: &Path) -> Vec<Vec<u8>> {
    let (mut journal, seen) = open(directory).unwrap();
    assert!(seen.is_empty());
    for record in records() {
        journal.commit(&record).unwrap();
    }
    records()
}

#[test]
fn a_log_cut_at_any_byte_gives_every_whole_record_and_goes_on() {
    let place = tempdir().unwrap();
    let written = filled(place.path());
    let log = fs::read(place.path().join("log")).unwrap();
    let mut ends = vec![24];
    for record in &written {
        ends.push(ends.last().unwrap() + 8 + record.len());
    }
    assert_eq!(*ends.last().unwrap(), log.len());
    for cut in 24..=log.len() {
        let place = tempdir().unwrap();
        fs::write(place.path().join("log"), &log[..cut]).unwrap();
        let (mut journal, seen) = open(place.path()).unwrap();
        let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
        assert_eq!(seen, written[..whole], "cut at {cut}");
        assert_eq!(
            journal.recovered().torn_bytes,
            (cut - ends[whole]) as u64,
            "cut at {cut}"
        );
        journal.commit(b"after").unwrap();
        drop(journal);
        let (_, seen) = open(place.path()).unwrap();
        assert_eq!(seen.len(), whole + 1);
        assert_eq!(seen[whole], b"after");
    }
}

#[test]
fn a_byte_changed_before_the_last_record_is_named_and_nothing_is_touched() {
    let place = tempdir().unwrap();
    let written = filled(place.path());
    let log = fs::read(place.path().join("log")).unwrap();
    let last = log.len() - 8 - written[2].len();
    for at in 0..log.len() {
        let place = tempdir().unwrap();
        let mut damaged = log.clone();
        damaged[at] ^= 0x40;
        fs::write(place.path().join("log"), &damaged).unwrap();
        let found = open(place.path());
        if at >= last {
            // Cannot be told from a record that was being written.
            assert_eq!(found.unwrap().1, written[..2], "byte {at}");
            continue;
        }
        let error = found.unwrap_err();
        assert!(
            matches!(error, JournalError::Corrupt { .. }),
            "byte {at}: {error}"
        );
        assert_eq!(fs::read(place.path().join("log")).unwrap(), damaged);
    }
}

#[test]
fn a_snapshot_that_is_cut_or_changed_anywhere_is_refused() {
    let place = tempdir().unwrap();
    filled(place.path());
    let (mut journal, _) = open(place.path()).unwrap();
    journal.snapshot([b"all".as_slice(), b"of it"]).unwrap();
    drop(journal);
    let snapshot = fs::read(place.path().join("snapshot")).unwrap();
    for at in 0..snapshot.len() {
        let mut changed = snapshot.clone();
        changed[at] ^= 1;
        for bytes in [&snapshot[..at], &changed] {
            fs::write(place.path().join("snapshot"), bytes).unwrap();
            let error = open(place.path()).unwrap_err();
            assert!(
                matches!(
                    error,
                    JournalError::Corrupt { .. } | JournalError::Foreign { .. }
                ),
                "byte {at}: {error}"
            );
        }
    }
    fs::write(
        place.path().join("snapshot"),
        [&snapshot[..], b"x"].concat(),
    )
    .unwrap();
    assert!(matches!(
        open(place.path()),
        Err(JournalError::Corrupt { .. })
    ));
    fs::write(place.path().join("snapshot"), &snapshot).unwrap();
    assert_eq!(
        open(place.path()).unwrap().1,
        [b"all".to_vec(), b"of it".to_vec()]
    );
}

/// The directory as each step of a snapshot leaves it.
#[test]
fn a_crash_between_the_steps_of_a_snapshot_loses_nothing() {
    let place = tempdir().unwrap();
    let written = filled(place.path());
    let old_log = fs::read(place.path().join("log")).unwrap();
    let (mut journal, _) = open(place.path()).unwrap();
    journal.snapshot([b"all"]).unwrap();
    drop(journal);
    let new_log = fs::read(place.path().join("log")).unwrap();
    let snapshot = fs::read(place.path().join("snapshot")).unwrap();
    let try_state = |files: &[(&str, &[u8])], expected: &[Vec<u8>]| {
        let place = tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(place.path().join(name), bytes).unwrap();
        }
        let (mut journal, seen) = open(place.path()).unwrap();
        assert_eq!(seen, expected);
        journal.commit(b"after").unwrap();
        drop(journal);
        assert_eq!(open(place.path()).unwrap().1.last().unwrap(), b"after");
        let mut names: Vec<_> = fs::read_dir(place.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".tmp"))
            .collect();
        names.sort();
        assert!(names.is_empty(), "{names:?} were left");
    };
    for cut in [0, 10, snapshot.len()] {
        try_state(
            &[("log", &old_log), ("snapshot.tmp", &snapshot[..cut])],
            &written,
        );
    }
    let all = [b"all".to_vec()];
    try_state(&[("log", &old_log), ("snapshot", &snapshot)], &all);
    for cut in [0, 10, new_log.len()] {
        try_state(
            &[
                ("log", &old_log),
                ("snapshot", &snapshot),
                ("log.tmp", &new_log[..cut]),
            ],
            &all,
        );
    }
    try_state(&[("log", &new_log), ("snapshot", &snapshot)], &all);
    // The very first log, not yet renamed.
    try_state(&[("log.tmp", &new_log[..10])], &[]);
}

#[test]
fn a_log_without_its_snapshot_and_a_snapshot_without_its_log_are_refused() {
    let place = tempdir().unwrap();
    filled(place.path());
    let (mut journal, _) = open(place.path()).unwrap();
    journal.snapshot([b"all"]).unwrap();
    drop(journal);
    for (name, other) in [("snapshot", "aside"), ("log", "aside")] {
        let (name, other) = (place.path().join(name), place.path().join(other));
        fs::rename(&name, &other).unwrap();
        assert!(matches!(
            open(place.path()),
            Err(JournalError::Corrupt { .. })
        ));
        fs::rename(&other, &name).unwrap();
    }
}

#[test]
fn another_layers_journal_is_refused() {
    let place = tempdir().unwrap();
    filled(place.path());
    let other = Options {
        service: Service::Cpe,
        ..OPTIONS
    };
    assert!(matches!(
        Journal::open(place.path(), other, |_| Ok(())),
        Err(JournalError::Foreign { .. })
    ));
}

#[test]
fn only_one_has_a_journal_open() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("journal");
    let kept = filled(&directory);
    let (first, _) = open(&directory).unwrap();
    // Nothing is read or changed by who comes second.
    assert!(matches!(open(&directory), Err(JournalError::InUse { .. })));
    drop(first);
    assert_eq!(open(&directory).unwrap().1, kept);
}

#[test]
fn a_record_that_the_layer_refuses_is_named() {
    let place = tempdir().unwrap();
    filled(place.path());
    let error = Journal::open(place.path(), OPTIONS, |record| match record {
        Record::Log(bytes) if bytes.starts_with(b"MFNJ") => Err("no such operation".into()),
        _ => Ok(()),
    })
    .unwrap_err();
    let JournalError::Refused { offset, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(offset, 24 + 8 + 3 + 8 + 40);
}

#[test]
fn a_torn_record_with_a_whole_one_inside_is_damage() {
    let place = tempdir().unwrap();
    filled(place.path());
    let log = fs::read(place.path().join("log")).unwrap();
    let inner = &log[24..35];
    let (mut journal, _) = open(place.path()).unwrap();
    journal.commit(&[inner, b"more"].concat()).unwrap();
    drop(journal);
    let bytes = fs::read(place.path().join("log")).unwrap();
    fs::write(place.path().join("log"), &bytes[..bytes.len() - 1]).unwrap();
    assert!(matches!(
        open(place.path()),
        Err(JournalError::Corrupt { .. })
    ));
}

#[test]
fn records_of_no_bytes_and_of_too_many_are_refused() {
    let place = tempdir().unwrap();
    let (mut journal, _) = open(place.path()).unwrap();
    assert!(matches!(
        journal.commit(b""),
        Err(JournalError::RecordLength(0))
    ));
    let long = vec![0; mfn_journal::RECORD_BYTES_MAX + 1];
    assert!(matches!(
        journal.commit(&long),
        Err(JournalError::RecordLength(_))
    ));
    journal.commit(&long[1..]).unwrap();
    drop(journal);
    assert_eq!(open(place.path()).unwrap().1, [&long[1..]]);
}

/// What a model of the journal would do.
#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<u8>),
    Snapshot,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 1..200).prop_map(Step::Commit),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn it_gives_back_what_was_committed(steps in prop::collection::vec(step(), 0..40)) {
        let place = tempdir().unwrap();
        let mut model: Vec<Vec<u8>> = Vec::new();
        let (mut journal, _) = open(place.path()).unwrap();
        for step in steps {
            match step {
                Step::Commit(record) => {
                    journal.commit(&record).unwrap();
                    model.push(record);
                }
                Step::Snapshot => journal.snapshot(&model).unwrap(),
                Step::Reopen => {
                    drop(journal);
                    let (again, seen) = open(place.path()).unwrap();
                    prop_assert_eq!(&seen, &model);
                    journal = again;
                }
            }
        }
        drop(journal);
        prop_assert_eq!(open(place.path()).unwrap().1, model);
    }

    #[test]
    fn no_bytes_make_it_panic(log in prop::collection::vec(any::<u8>(), 0..300), snapshot in prop::collection::vec(any::<u8>(), 0..300)) {
        let place = tempdir().unwrap();
        fs::write(place.path().join("log"), &log).unwrap();
        fs::write(place.path().join("snapshot"), &snapshot).unwrap();
        let _ = open(place.path());
    }
}
