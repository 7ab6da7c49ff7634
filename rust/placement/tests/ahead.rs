//! Fetching ahead: what is predictable is fetched, what is not is left alone, whatever the host answers.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use hypermesh_placement::ahead::{Ahead, AheadCounts, AheadOptions};
use hypermesh_placement::cache::{Adaptive, Answer, CacheOptions, Policy};
use proptest::prelude::*;

fn ahead() -> Ahead {
    let options = AheadOptions {
        stream_bytes_max: 4 << 20,
        ..AheadOptions::default()
    };
    Ahead::new(options).unwrap()
}

/// Plays keys on a cache; answers its hits and what was fetched ahead.
fn play(ahead: &mut Ahead, room: usize, keys: impl Iterator<Item = u64>) -> (u64, AheadCounts) {
    let mut cache = Adaptive::new(CacheOptions::for_objects(room)).unwrap();
    let mut dropped = Vec::new();
    let mut hits = 0;
    for (now, key) in keys.enumerate() {
        dropped.clear();
        let hit = cache.request(key, 1, &mut dropped) == Answer::Hit;
        hits += u64::from(hit);
        dropped.iter().for_each(|key| ahead.dropped(*key));
        ahead.asked(0, key, 1, hit, now as u64);
        for want in ahead.next(0, now as u64, cache.len(), |key| cache.contains(key)) {
            dropped.clear();
            let held = cache.put_ahead(want.key, 1, &mut dropped);
            ahead.fetched(want, 1, held);
            dropped.iter().for_each(|key| ahead.dropped(*key));
        }
    }
    (hits, ahead.counts())
}

/// Numbers without an order.
fn scattered(number: u64) -> u64 {
    let mixed = (number ^ 0x5851_F42D).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 8
}

#[test]
fn a_tour_through_more_than_fits_is_fetched_ahead() {
    let (hits, counts) = play(&mut ahead(), 50, (0..20_000).map(|at| scattered(at % 500)));
    assert!(hits > 15_000, "{hits} {counts:?}");
    assert!(counts.used * 10 >= counts.fetched * 9, "{counts:?}");
}

#[test]
fn noise_is_not_fetched() {
    let keys = (0..20_000).map(|at| scattered(at) % 5_000);
    let (_, counts) = play(&mut ahead(), 50, keys);
    assert!(counts.fetched < 20, "{counts:?}");
}

#[test]
fn when_the_order_ends_fetching_ends() {
    let mut ahead = ahead();
    let (_, before) = play(&mut ahead, 50, (0..10_000).map(|at| scattered(at % 500)));
    assert!(before.fetched > 1_000, "{before:?}");
    // The same objects in an order that never repeats: what was proven is not so any more.
    let keys = (0..20_000).map(|at| scattered(scattered(at) % 500));
    let (_, after) = play(&mut ahead, 50, keys);
    let in_vain = after.vain - before.vain;
    assert!(in_vain < 20_000 / 20, "{in_vain} of 20000 in vain");
}

#[test]
fn shares_that_are_no_shares_are_refused() {
    for wrong in [f64::NAN, -0.1, 1.5, f64::INFINITY] {
        let used = AheadOptions {
            used_min: wrong,
            ..AheadOptions::default()
        };
        let vain = AheadOptions {
            vain_max: wrong,
            ..AheadOptions::default()
        };
        assert!(
            Ahead::new(used).is_err() && Ahead::new(vain).is_err(),
            "{wrong}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A host that drops what it likes, answers what it likes and calls in any order.
    #[test]
    fn counts_add_up_whatever_the_host_does(
        calls in prop::collection::vec((0..40_u64, 0..5_u8, any::<u64>()), 1..600)
    ) {
        let mut ahead = ahead();
        for (key, what, number) in calls {
            match what {
                0 => ahead.dropped(key),
                _ => ahead.asked(0, key % 7, number, number % 2 == 0, number),
            }
            for want in ahead.next(0, number, number as usize, |key| key % 3 == 0) {
                ahead.fetched(want, number, what % 2 == 0);
            }
            let counts = ahead.counts();
            prop_assert!(counts.used + counts.vain <= counts.fetched);
            let (least, most) = ahead.used_share();
            prop_assert!((0.0..=1.0).contains(&least) && least <= most && most <= 1.0 + 1e-9);
        }
    }
}
