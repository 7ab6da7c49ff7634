//! Quantiles that cover what they say, levels that are left and found again, and bad samples.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot make its series fails"
)]

use mfn_cpe::{CpeError, HORIZONS, QUANTILES, Series, SeriesOptions};
use proptest::prelude::*;

struct Lots(u64);

impl Lots {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn series() -> Series {
    Series::new(SeriesOptions::default()).unwrap()
}

#[test]
fn quantiles_cover_their_share_at_every_horizon() {
    let mut series = series();
    let mut lots = Lots(9);
    for time in 0..6000 {
        // Skewed, as delays are.
        series
            .sample(0, time * 10, 20.0 - 5.0 * lots.unit().max(1e-9).ln())
            .unwrap();
    }
    for horizon in 0..HORIZONS.len() {
        for (scale, share) in QUANTILES.into_iter().enumerate() {
            let score = series.scores().pinball[horizon][scale];
            let covered = score.covered as f64 / score.count as f64;
            assert!(
                (covered - share).abs() < 0.04,
                "{horizon} {share}: {covered}"
            );
        }
    }
    let far = series.forecast_at(0, 170).unwrap();
    assert_eq!(far.samples_ahead, 16);
}

#[test]
fn a_level_is_left_once_and_known_when_it_comes_back() {
    let mut series = Series::new(SeriesOptions {
        change_min: 0.5,
        ..SeriesOptions::default()
    })
    .unwrap();
    let mut lots = Lots(4);
    let mut changes = Vec::new();
    for time in 0..600_u64 {
        let level = if (time / 100) % 2 == 0 { 10.0 } else { 30.0 };
        // One in fifty is an outlier, which is no change.
        let outlier = if lots.unit() < 0.02 { 90.0 } else { 0.0 };
        let sampled = series
            .sample(0, time, level + lots.unit() + outlier)
            .unwrap();
        if let Some(change) = sampled.change {
            changes.push((time as usize - change.samples_ago, change.returned));
        }
    }
    assert_eq!(changes.len(), 5, "{changes:?}");
    for (number, (at, returned)) in changes.iter().enumerate() {
        assert!(at.abs_diff((number + 1) * 100) <= 2, "{changes:?}");
        assert_eq!(*returned, number > 0, "{changes:?}");
    }
}

#[test]
fn bad_samples_are_refused_and_change_nothing() {
    let mut series = series();
    series.sample(0, 100, 1.0).unwrap();
    let before = series.snapshot();
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX] {
        assert_eq!(series.sample(0, 200, value), Err(CpeError::NotFinite));
    }
    assert_eq!(
        series.sample(0, 99, 1.0),
        Err(CpeError::Backwards {
            time: 99,
            last: 100
        })
    );
    assert!(series.snapshot() == before);
    assert!(series.forecast(1).is_none());
    let options = SeriesOptions {
        change_min: f64::NAN,
        ..SeriesOptions::default()
    };
    assert!(matches!(Series::new(options), Err(CpeError::Option { .. })));
}

#[test]
fn stale_repeats_are_not_learned_and_gaps_end_forecasts() {
    let options = SeriesOptions {
        repeats_are_stale: true,
        ..SeriesOptions::default()
    };
    let mut series = Series::new(options).unwrap();
    let mut lots = Lots(2);
    for time in 0..200 {
        let value = lots.unit();
        assert!(!series.sample(0, time * 10, value).unwrap().stale);
        assert!(series.sample(0, time * 10 + 5, value).unwrap().stale);
    }
    assert_eq!(series.scores().stale, 200);
    assert!(series.sample(0, 100_000, 0.5).unwrap().gap);
    assert_eq!(series.scores().gaps, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_finite_samples_give_ordered_finite_quantiles_in_bounded_memory(
        samples in prop::collection::vec((0_u32..40, 0_u64..50, prop_oneof![-1e150..1e150, -1.0..1.0, Just(0.0)]), 1..400),
    ) {
        let mut series = Series::new(SeriesOptions { lanes_max: 8, ..SeriesOptions::default() }).unwrap();
        let mut time = 0;
        for (lane, step, value) in samples {
            time += step;
            series.sample(lane, time, value).unwrap();
            for forecast in series.forecast(lane).unwrap() {
                prop_assert!(forecast.quantiles.windows(2).all(|two| two[0] <= two[1]));
                prop_assert!(forecast.quantiles.iter().all(|value| value.is_finite()));
            }
        }
        prop_assert!(series.bytes() < 8 * 50_000 + 4096, "{}", series.bytes());
        let snapshot = series.snapshot();
        let restored = Series::restore(&snapshot).unwrap();
        prop_assert!(restored.snapshot() == snapshot && restored.bytes() == series.bytes());
    }
}
