//! The registry beside `HashMap`, and what its Rust door alone promises.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot make a registry fails"
)]

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mfn_ifr::{Digest, Ifr, IfrError, KEY_BYTES_MAX, Options, Value};
use proptest::prelude::*;

fn registry(bytes_max: u64, filter: bool) -> Ifr {
    Ifr::new(Options {
        bytes_max,
        filter,
        ..Options::default()
    })
    .unwrap()
}

fn digest(number: u64) -> Digest {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&number.to_le_bytes());
    key
}

fn value(number: u64) -> Value {
    let mut value = [0; 16];
    value[8..].copy_from_slice(&number.to_le_bytes());
    value
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u16, u64),
    Remove(u16),
    Get(u16),
    InsertBytes(Vec<u8>, u64),
    RemoveBytes(Vec<u8>),
    GetBytes(Vec<u8>),
    Batch(u16, u8),
}

fn op() -> impl Strategy<Value = Op> {
    // Few distinct keys, so that operations meet.
    let key = 0..600_u16;
    let bytes = prop::collection::vec(0..3_u8, 0..6);
    prop_oneof![
        4 => (key.clone(), any::<u64>()).prop_map(|(key, value)| Op::Insert(key, value)),
        3 => key.clone().prop_map(Op::Remove),
        1 => key.clone().prop_map(Op::Get),
        4 => (bytes.clone(), any::<u64>()).prop_map(|(key, value)| Op::InsertBytes(key, value)),
        3 => bytes.clone().prop_map(Op::RemoveBytes),
        1 => bytes.prop_map(Op::GetBytes),
        1 => (key, any::<u8>()).prop_map(|(start, count)| Op::Batch(start, count)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_hash_map(ops in prop::collection::vec(op(), 1..2_000), filter: bool) {
        let mut ifr = registry(1 << 24, filter);
        let mut digests = HashMap::new();
        let mut bytes = HashMap::new();
        for op in ops {
            match op {
                Op::Insert(key, new) => {
                    let old = digests.insert(digest(key.into()), value(new));
                    prop_assert_eq!(ifr.insert(&digest(key.into()), value(new)).unwrap(), old);
                }
                Op::Remove(key) => {
                    let old = digests.remove(&digest(key.into()));
                    prop_assert_eq!(ifr.remove(&digest(key.into())), old);
                }
                Op::Get(key) => {
                    let here = digests.get(&digest(key.into())).copied();
                    prop_assert_eq!(ifr.get(&digest(key.into())), here);
                    prop_assert!(here.is_none() || ifr.may_contain(&digest(key.into())));
                }
                Op::InsertBytes(key, new) => {
                    let old = bytes.insert(key.clone(), value(new));
                    prop_assert_eq!(ifr.insert_bytes(&key, value(new)).unwrap(), old);
                }
                Op::RemoveBytes(key) => {
                    prop_assert_eq!(ifr.remove_bytes(&key), bytes.remove(&key));
                }
                Op::GetBytes(key) => {
                    prop_assert_eq!(ifr.get_bytes(&key), bytes.get(&key).copied());
                }
                Op::Batch(start, count) => {
                    let keys: Vec<_> = (0..u64::from(count)).map(|i| digest(u64::from(start) + i)).collect();
                    let mut out = vec![Some([9; 16]); keys.len()];
                    ifr.get_many(&keys, &mut out);
                    let expected: Vec<_> = keys.iter().map(|key| digests.get(key).copied()).collect();
                    prop_assert_eq!(out, expected);
                }
            }
        }
        prop_assert_eq!(ifr.len(), (digests.len() + bytes.len()) as u64);
        let stats = ifr.stats();
        prop_assert_eq!(stats.entries, ifr.len());
        prop_assert_eq!(stats.digest_entries, digests.len() as u64);
        let mut seen = HashMap::new();
        ifr.for_each(|key, value| {
            assert!(seen.insert(*key, *value).is_none());
            ControlFlow::Continue(())
        });
        prop_assert_eq!(seen, digests);
        let mut seen = HashMap::new();
        ifr.for_each_bytes(|key, value| {
            assert!(seen.insert(key.to_vec(), *value).is_none());
            ControlFlow::Continue(())
        });
        prop_assert_eq!(seen, bytes);
    }
}

#[test]
fn the_budget_holds_and_room_comes_back() {
    let mut ifr = registry(1 << 20, true);
    let mut count = 0;
    let error = loop {
        match ifr.insert(&digest(count), value(count)) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, IfrError::Limit { bytes_max: 1 << 20 });
    assert!(ifr.stats().bytes <= 1 << 20);
    // 1 MiB at about 64 bytes each; the last rebuild needed room beside what it replaces.
    assert!(count > 10_000, "{count}");
    assert_eq!(ifr.len(), count);
    for number in 0..count {
        assert_eq!(ifr.get(&digest(number)), Some(value(number)));
        // Replacing takes no memory.
        assert_eq!(
            ifr.insert(&digest(number), value(1)),
            Ok(Some(value(number)))
        );
    }
    for number in 0..count {
        assert!(ifr.remove(&digest(number)).is_some());
    }
    assert!(ifr.is_empty());
    assert!(ifr.stats().bytes < 1 << 16, "{:?}", ifr.stats());
    assert_eq!(ifr.insert(&digest(count), value(count)), Ok(None));
}

#[test]
fn arguments_outside_their_range_are_errors() {
    let small = Options {
        bytes_max: 1,
        ..Options::default()
    };
    assert!(matches!(Ifr::new(small), Err(IfrError::Limit { .. })));
    let zero_key = Options {
        hash_key: Some([0; 16]),
        ..Options::default()
    };
    assert!(matches!(Ifr::new(zero_key), Err(IfrError::Unexpected(_))));
    let mut ifr = registry(1 << 20, true);
    let long = vec![0; KEY_BYTES_MAX + 1];
    assert!(matches!(
        ifr.insert_bytes(&long, [0; 16]),
        Err(IfrError::KeyTooLong { .. })
    ));
    assert_eq!(ifr.get_bytes(&long), None);
    assert_eq!(ifr.remove_bytes(&long), None);
    assert_eq!(ifr.insert_bytes(&long[1..], [3; 16]), Ok(None));
    assert_eq!(ifr.get_bytes(&long[1..]), Some([3; 16]));
}

#[test]
fn an_iteration_ends_when_it_is_told_to_or_panics() {
    let mut ifr = registry(1 << 20, false);
    for number in 0..100 {
        ifr.insert(&digest(number), value(number)).unwrap();
    }
    let mut visits = 0;
    ifr.for_each(|key, _| {
        // Looking up during an iteration is allowed.
        assert!(ifr.get(key).is_some());
        visits += 1;
        if visits == 10 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert_eq!(visits, 10);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        ifr.for_each(|_, _| panic!("of the visitor"));
    }));
    assert!(caught.is_err());
    assert_eq!(ifr.len(), 100);
}

#[test]
fn a_slice_that_is_shorter_bounds_a_batch() {
    let mut ifr = registry(1 << 20, true);
    for number in 0..200 {
        ifr.insert(&digest(number), value(number)).unwrap();
    }
    let keys: Vec<_> = (0..200).map(digest).collect();
    let mut out = vec![None; 130];
    ifr.get_many(&keys, &mut out);
    for (number, found) in out.iter().enumerate() {
        assert_eq!(*found, Some(value(number as u64)));
    }
    ifr.get_many(&[], &mut out);
    ifr.get_many(&keys, &mut []);
}

#[test]
fn readers_share_a_registry() {
    let mut ifr = registry(1 << 24, true);
    for number in 0..20_000 {
        ifr.insert(&digest(number), value(number)).unwrap();
    }
    let ifr = &ifr;
    std::thread::scope(|scope| {
        for reader in 0..4_u64 {
            scope.spawn(move || {
                for step in 0..20_000 {
                    let number = (step * 7 + reader * 5_003) % 40_000;
                    let expected = (number < 20_000).then(|| value(number));
                    assert_eq!(ifr.get(&digest(number)), expected);
                }
                let keys: Vec<_> = (0..1_000).map(|i| digest(i * 40 + reader)).collect();
                let mut out = vec![None; keys.len()];
                ifr.get_many(&keys, &mut out);
                assert_eq!(out.iter().flatten().count(), 500);
            });
        }
    });
    // And a registry moves between threads.
    let mut moved = registry(1 << 20, false);
    let moved = std::thread::spawn(move || {
        moved.insert(&digest(1), value(1)).unwrap();
        moved
    })
    .join()
    .unwrap();
    assert_eq!(moved.get(&digest(1)), Some(value(1)));
}

/// Look-ups read the archive's memory themselves: they find what it finds at every size, where lines overflow, where entries
/// moved into holes, and after segments were split and merged.
#[test]
fn look_ups_without_a_call_agree_at_every_size() {
    const MOST: u64 = 60_000;
    let mut ifr = registry(1 << 26, true);
    let mut out = vec![None; 2 * MOST as usize];
    let keys: Vec<_> = (0..2 * MOST).map(digest).collect();
    let check = |ifr: &Ifr, out: &mut Vec<Option<Value>>, there: &dyn Fn(u64) -> bool| {
        ifr.get_many(&keys, out);
        for (number, (key, found)) in (0..).zip(keys.iter().zip(&*out)) {
            let wanted = there(number).then(|| value(number));
            assert_eq!(*found, wanted, "key {number} in a batch");
            assert_eq!(ifr.get(key), wanted, "key {number}");
        }
    };
    let mut next = 1;
    for number in 0..MOST {
        ifr.insert(&digest(number), value(number)).unwrap();
        if number == next {
            check(&ifr, &mut out, &|other| other <= number);
            next += next / 2 + 1;
        }
    }
    for number in (0..MOST).filter(|number| number % 3 != 0) {
        assert_eq!(ifr.remove(&digest(number)), Some(value(number)));
    }
    check(&ifr, &mut out, &|other| other < MOST && other % 3 == 0);
}
