//! The panel's bound on adversarial sequences, bounded memory, and that the same events give the same stream.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot make its stream fails"
)]

use mfn_cpe::{CpeError, ITEMS_MAX, STREAM_BYTES_MIN, Stream, StreamOptions};
use proptest::prelude::*;

/// A small generator: tests print its seed through proptest or fix it.
struct Lots(u64);

impl Lots {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn small() -> Stream {
    Stream::new(StreamOptions {
        bytes_max: 1 << 20,
        ..StreamOptions::default()
    })
    .unwrap()
}

/// The panel's loss is within its stated bound of every expert's.
fn check_regret(stream: &mut Stream) {
    let loss = stream.scores().log_loss_bits;
    let bound = stream.regret_bits();
    for (expert, other) in stream.expert_losses() {
        // Probabilities are rounded to 24 bits: a millionth of a bit per event.
        let rounding = 1e-5 * stream.scores().events as f64 + 1e-3;
        assert!(
            loss <= other + bound + rounding,
            "{expert:?}: {loss} against {other} + {bound}"
        );
    }
}

/// What makes an adversary: pieces of different nature, one after the other.
#[derive(Clone, Debug)]
enum Piece {
    Cycle(u64),
    Run(u64, i32),
    Noise(u64),
    Fresh,
    Same(u64),
    /// The symbol that the stream thinks least likely of its first items.
    Worst,
    /// Anything but what is expected.
    Contrary,
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        (1_u64..40).prop_map(Piece::Cycle),
        (any::<u64>(), -70_i32..70).prop_map(|(from, step)| Piece::Run(from, step)),
        (1_u64..300).prop_map(Piece::Noise),
        Just(Piece::Fresh),
        any::<u64>().prop_map(Piece::Same),
        Just(Piece::Worst),
        Just(Piece::Contrary),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn regret_is_within_its_bound(
        pieces in prop::collection::vec((piece(), 1_usize..200), 1..10),
        seed in 1_u64..,
    ) {
        let mut stream = small();
        let mut lots = Lots(seed);
        let mut time = 0;
        for (piece, length) in pieces {
            for at in 0..length as u64 {
                time += lots.next() % 3;
                let symbol = match &piece {
                    Piece::Cycle(period) => at % period,
                    Piece::Run(from, step) => from.wrapping_add((i64::from(*step) as u64).wrapping_mul(at)),
                    Piece::Noise(many) => lots.next() % many,
                    Piece::Fresh => lots.next(),
                    Piece::Same(symbol) => *symbol,
                    Piece::Worst => stream.predict(0, ITEMS_MAX, time).items.last().map_or(0, |item| item.symbol),
                    Piece::Contrary => {
                        let first = stream.predict(0, 1, time).items.first().map_or(0, |item| item.symbol);
                        first.wrapping_add(1 + lots.next() % 5)
                    }
                };
                stream.observe((lots.next() % 2) as u32, symbol, time);
            }
            check_regret(&mut stream);
        }
    }

    #[test]
    fn probabilities_add_up(symbols in prop::collection::vec(0_u64..12, 0..200), count in 0_usize..70) {
        let mut stream = small();
        for (time, symbol) in symbols.iter().enumerate() {
            stream.observe(0, *symbol, time as u64);
            let given = stream.predict(0, count, time as u64);
            prop_assert!(given.items.len() <= count.min(ITEMS_MAX));
            prop_assert!(given.items.windows(2).all(|two| two[0].probability >= two[1].probability));
            let listed: f32 = given.items.iter().map(|item| item.probability).sum();
            prop_assert!((listed + given.other + given.unseen - 1.0).abs() < 1e-4);
            // A symbol that was never seen gets what all such symbols get together.
            let seen = (0..12).filter(|symbol| symbols[..=time].contains(symbol));
            let all: f64 = seen.map(|symbol| stream.probability(0, symbol)).sum();
            prop_assert!(all < 1.0 + 1e-4, "{all}");
        }
    }

    #[test]
    fn asking_changes_nothing(symbols in prop::collection::vec((0_u32..3, 0_u64..30), 1..300)) {
        let (mut asked, mut silent) = (small(), small());
        for (time, (lane, symbol)) in symbols.iter().enumerate() {
            asked.predict(lane ^ 1, 5, 7);
            asked.explain(9, *symbol);
            asked.predict(*lane, ITEMS_MAX, time as u64);
            prop_assert_eq!(
                asked.observe(*lane, *symbol, time as u64),
                silent.observe(*lane, *symbol, time as u64)
            );
        }
        prop_assert_eq!(asked.scores(), silent.scores());
        prop_assert_eq!(asked.predict(0, 9, 0), silent.predict(0, 9, 0));
    }
}

#[test]
fn endless_unique_symbols_stay_within_the_budget_and_learning_goes_on() {
    let bytes_max = STREAM_BYTES_MIN;
    let mut stream = Stream::new(StreamOptions {
        bytes_max,
        ..StreamOptions::default()
    })
    .unwrap();
    let mut lots = Lots(11);
    for time in 0..200_000 {
        stream.observe((lots.next() % 100) as u32, lots.next(), time);
        if time % 1000 == 0 {
            assert!(stream.bytes() <= bytes_max, "{} bytes", stream.bytes());
        }
    }
    assert!(stream.bytes() <= bytes_max, "{} bytes", stream.bytes());
    for time in 0..3000 {
        stream.observe(0, time % 7, time);
    }
    let given = stream.predict(0, 1, 3000);
    assert_eq!(given.items[0].symbol, 3000 % 7);
    assert!(given.items[0].probability > 0.9, "{given:?}");
}

#[test]
fn every_kind_of_order_is_found() {
    let mut last = [0.0; 5];
    for (kind, rate) in last.iter_mut().enumerate() {
        let mut stream = small();
        let mut lots = Lots(5);
        let mut hits = 0;
        for time in 0..4000_u64 {
            let symbol = match kind {
                // A cycle; a run; two runs in turns; a text of order 3; a beat in noise.
                0 => time % 50,
                1 => 1000 + time * 8,
                2 if time % 2 == 0 => 5_000_000 + time / 2,
                2 => 9_000_000 - time / 2 * 3,
                3 => [1, 2, 3, 1, 2, 4, 1, 3, 2, 2][(time % 10) as usize],
                _ if time % 16 == 0 => 77,
                _ => lots.next(),
            };
            let given = stream.predict(0, 1, time);
            let due = kind < 4 || time % 16 == 0;
            if time >= 2000
                && due
                && given
                    .items
                    .first()
                    .is_some_and(|item| item.symbol == symbol)
            {
                hits += 1;
            }
            stream.observe(0, symbol, time);
        }
        *rate = f64::from(hits) / if kind < 4 { 2000.0 } else { 125.0 };
    }
    assert!(last.iter().all(|rate| *rate > 0.95), "{last:?}");
}

#[test]
fn silence_is_kept_under_the_threshold() {
    let options = StreamOptions {
        claim_min: 0.5,
        ..StreamOptions::default()
    };
    let mut stream = Stream::new(options).unwrap();
    assert!(stream.predict(0, 5, 0).silent);
    for time in 0..500 {
        stream.observe(0, time % 3, time);
    }
    assert!(!stream.predict(0, 5, 500).silent);
    let mut lots = Lots(3);
    for time in 500..1500 {
        stream.observe(0, lots.next(), time);
    }
    assert!(stream.predict(0, 5, 1500).silent);
}

#[test]
fn time_may_run_backwards_and_waits_follow_the_beat() {
    let mut stream = small();
    for time in 0..1000 {
        stream.observe(0, time % 3, time * 50);
    }
    let wait = stream.predict(0, 1, 999 * 50).wait.unwrap();
    assert!((wait.median - 50.0).abs() < 1.0, "{wait:?}");
    stream.observe(0, 1, 3);
    stream.observe(0, 1, 0);
    assert_eq!(stream.scores().backwards, 2);
    assert!(stream.predict(0, 1, u64::MAX).wait.is_none());
}

#[test]
fn options_outside_their_range_are_refused() {
    let with = |options| matches!(Stream::new(options), Err(CpeError::Option { .. }));
    let fine = StreamOptions::default();
    assert!(with(StreamOptions {
        bytes_max: 0,
        ..fine
    }));
    assert!(with(StreamOptions {
        bytes_max: usize::MAX,
        ..fine
    }));
    assert!(with(StreamOptions {
        lanes_max: 0,
        ..fine
    }));
    assert!(with(StreamOptions {
        claim_min: f32::NAN,
        ..fine
    }));
}

#[test]
fn an_explanation_adds_up_to_the_probability() {
    let mut stream = small();
    for time in 0..900 {
        stream.observe(0, [5, 6, 7, 5, 6, 8][(time % 6) as usize], time);
    }
    let first = stream.predict(0, 1, 900).items[0];
    let why = stream.explain(0, first.symbol);
    assert!(why.proposed && !why.evidence.is_empty());
    let mean: f64 = why
        .votes
        .iter()
        .map(|vote| vote.weight * f64::from(vote.probability))
        .sum();
    assert!(
        (mean - f64::from(first.probability)).abs() < 1e-4,
        "{why:?}"
    );
    assert!(!stream.explain(0, 1 << 60).proposed);
}
