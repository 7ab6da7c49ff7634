//! The caches against what they promise, for any requests: budgets hold, what is dropped was held, and the host's view
//! and the policy's never part.

use std::collections::{BTreeMap, VecDeque};

use hypermesh_placement::cache::{
    Adaptive, Answer, CacheError, CacheOptions, Key, LOSS_MARGIN, Lru, Order, Policy,
};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Call {
    Request(Key, u64),
    PutAhead(Key, u64),
    Remove(Key),
}

fn call() -> impl Strategy<Value = Call> {
    // Sizes of nothing, of more than fits, and of more than can be added up.
    let bytes = prop_oneof![8 => 1..40_u64, 1 => Just(0), 1 => 90..120_u64, 1 => Just(u64::MAX)];
    prop_oneof![
        8 => (0..60_u64, bytes.clone()).prop_map(|(key, bytes)| Call::Request(key, bytes)),
        2 => (0..60_u64, bytes).prop_map(|(key, bytes)| Call::PutAhead(key, bytes)),
        1 => (0..60_u64).prop_map(Call::Remove),
    ]
}

fn options() -> CacheOptions {
    CacheOptions {
        bytes_max: 100,
        objects_max: 12,
        seed: 7,
    }
}

/// Plays calls on a policy and on a map of what the host holds.
fn play(cache: &mut impl Policy, calls: &[Call]) {
    let mut host: BTreeMap<Key, u64> = BTreeMap::new();
    let mut dropped = Vec::new();
    for call in calls {
        dropped.clear();
        match *call {
            Call::Request(key, bytes) => {
                let held = host.get(&key) == Some(&bytes);
                let answer = cache.request(key, bytes, &mut dropped);
                assert_eq!(answer == Answer::Hit, held, "{call:?}");
                match answer {
                    Answer::Hit => {}
                    Answer::Admitted => drop(host.insert(key, bytes)),
                    Answer::Refused => drop(host.remove(&key)),
                }
                assert!(!dropped.contains(&key));
            }
            Call::PutAhead(key, bytes) => {
                let before = host.get(&key).copied();
                if cache.put_ahead(key, bytes, &mut dropped) {
                    host.insert(key, before.unwrap_or(bytes));
                } else {
                    assert_eq!(before, None);
                }
            }
            Call::Remove(key) => assert_eq!(cache.remove(key), host.remove(&key).is_some()),
        }
        for key in &dropped {
            assert!(host.remove(key).is_some(), "{key} was not held");
        }
        assert_eq!(cache.len(), host.len());
        assert_eq!(cache.bytes(), host.values().sum::<u64>());
        assert!(cache.bytes() <= 100 && cache.len() <= 12);
        assert!((0..60).all(|key| cache.contains(key) == host.contains_key(&key)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_host_and_the_policy_agree(calls in prop::collection::vec(call(), 1..1_500)) {
        play(&mut Lru::new(options()).unwrap(), &calls);
        play(&mut Adaptive::new(options()).unwrap(), &calls);
    }

    #[test]
    fn lru_is_a_queue(keys in prop::collection::vec(0..30_u64, 1..500), room in 1..20_usize) {
        let mut cache = Lru::new(CacheOptions::for_objects(room)).unwrap();
        let mut queue: VecDeque<Key> = VecDeque::new();
        for key in keys {
            let place = queue.iter().position(|other| *other == key);
            if let Some(place) = place {
                queue.remove(place);
            }
            queue.push_back(key);
            if queue.len() > room {
                queue.pop_front();
            }
            let answer = cache.request(key, 1, &mut Vec::new());
            prop_assert_eq!(answer == Answer::Hit, place.is_some());
        }
    }

    #[test]
    fn the_same_calls_give_the_same_answers(keys in prop::collection::vec(0..400_u64, 3_000)) {
        let mut one = Adaptive::new(CacheOptions::for_objects(40)).unwrap();
        let mut other = one.clone();
        for key in keys {
            let (mut left, mut right) = (Vec::new(), Vec::new());
            prop_assert_eq!(one.request(key, 1, &mut left), other.request(key, 1, &mut right));
            prop_assert_eq!(left, right);
        }
    }
}

fn hits(cache: &mut impl Policy, keys: impl Iterator<Item = Key>) -> usize {
    let mut dropped = Vec::new();
    keys.filter(|key| cache.request(*key, 1, &mut dropped) == Answer::Hit)
        .count()
}

#[test]
fn a_loop_that_is_larger_than_the_room_is_partly_held() {
    let keys = || (0..200_000_u64).map(|at| at % 1_000);
    let room = CacheOptions::for_objects(500);
    assert_eq!(hits(&mut Lru::new(room).unwrap(), keys()), 0);
    // Half of it fits: the optimum is half of all requests.
    let ours = hits(&mut Adaptive::new(room).unwrap(), keys());
    assert!(ours > 80_000, "{ours}");
}

#[test]
fn where_recency_is_best_the_loss_is_within_the_margin() {
    // A working set that moves on for good every few thousand requests: the past says nothing but who was last.
    let keys = || (0..400_000_u64).map(|at| at / 4_000 * 90 + at * at % 97);
    let room = CacheOptions::for_objects(100);
    let lru = hits(&mut Lru::new(room).unwrap(), keys());
    let ours = hits(&mut Adaptive::new(room).unwrap(), keys());
    let loss = (lru as f64 - ours as f64) / 400_000.0;
    assert!(loss <= 2.0 * LOSS_MARGIN, "LRU {lru}, ours {ours}");
}

#[test]
fn memory_of_gone_objects_is_bounded() {
    let mut cache = Adaptive::new(CacheOptions::for_objects(100)).unwrap();
    hits(&mut cache, 0..100_000);
    assert!(cache.len() <= 100 && cache.remembered() <= 4 * 100 + 256);
    assert_eq!(cache.order(), Order::Worth);
}

#[test]
fn options_out_of_range_are_refused() {
    for options in [
        CacheOptions {
            bytes_max: 0,
            ..options()
        },
        CacheOptions {
            objects_max: 0,
            ..options()
        },
        CacheOptions {
            objects_max: usize::MAX,
            ..options()
        },
    ] {
        assert!(matches!(
            Adaptive::new(options),
            Err(CacheError::Option { .. })
        ));
        assert!(matches!(Lru::new(options), Err(CacheError::Option { .. })));
    }
}
