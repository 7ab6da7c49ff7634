//! Rows of series: pinball loss beside windows, and change points beside labels.
//!
//! Round-trip times are forecast as logarithms, ours and the windows alike: an error of 0.1 is one of ten percent on
//! fast and slow paths.

use std::path::Path;

use mfn_cpe::{QUANTILES, Series, SeriesOptions, pinball};

use crate::npz;
use crate::record::{BenchError, Ctx, Must};

/// Samples of a lane before its forecasts count.
const WARM: usize = 50;
/// The same where a link has few samples in all.
const WARM_SPARSE: usize = 4;
/// A detected change belongs to a label at most so many samples away.
const TOLERANCE: usize = 5;
/// The least change that counts, as a logarithm: two percent.
const CHANGE_MIN: f64 = 0.02;
/// Nodes of the Seattle mesh; every so many of its links is played.
const NODES: usize = 99;
const LINKS_ONE_IN: usize = 7;

/// One lane: times in seconds, logarithms, positions of labelled changes.
struct Lane {
    times: Vec<u64>,
    values: Vec<f64>,
    labels: Vec<usize>,
}

pub(super) fn run(ctx: &mut Ctx, data: &Path) -> Result<(), BenchError> {
    let few = if ctx.quick { 4 } else { usize::MAX };
    let ripe = ripe(data, few)?;
    forecasts(ctx, "RIPE", &ripe, WARM)?;
    let seattle = seattle(data, if ctx.quick { 50 } else { usize::MAX })?;
    forecasts(ctx, "Seattle, fresh samples", &seattle, WARM_SPARSE)?;
    changes(ctx, &ripe)
}

fn ripe(data: &Path, few: usize) -> Result<Vec<Lane>, BenchError> {
    let arrays = npz::load(&data.join("routing/ripe50/traces.npz"))?;
    let probes = arrays.keys().filter_map(|name| name.strip_suffix("_rtt"));
    let mut lanes = Vec::new();
    for probe in probes.take(few) {
        let column = |what: &str| {
            arrays
                .get(&format!("{probe}_{what}"))
                .ok_or_else(|| BenchError::new(format!("{probe} has no {what}")))
        };
        let mut lane = Lane {
            times: Vec::new(),
            values: Vec::new(),
            labels: Vec::new(),
        };
        for ((time, value), label) in column("t")?.iter().zip(column("rtt")?).zip(column("cp")?) {
            // What is not positive was lost.
            if *value > 0.0 {
                if *label > 0.0 {
                    lane.labels.push(lane.values.len());
                }
                // Two probes' clocks were set back by seconds.
                let last = lane.times.last().copied().unwrap_or(0);
                lane.times.push(last.max(*time as u64));
                lane.values.push(value.ln());
            }
        }
        lanes.push(lane);
    }
    Ok(lanes)
}

/// Most entries repeat the slice before because they were not measured again: only those that changed are samples.
fn seattle(data: &Path, few: usize) -> Result<Vec<Lane>, BenchError> {
    let arrays = npz::load(&data.join("routing/seattle99/slices_001_344.npz"))?;
    let cube = arrays
        .get("rtt_10ms_units")
        .ok_or_else(|| BenchError::new("seattle: no rtt_10ms_units"))?;
    let links = NODES * NODES;
    let mut lanes = Vec::new();
    for link in (0..links).step_by(LINKS_ONE_IN).take(few) {
        let mut lane = Lane {
            times: Vec::new(),
            values: Vec::new(),
            labels: Vec::new(),
        };
        let column: Vec<f64> = cube.iter().skip(link).step_by(links).copied().collect();
        for (slice, pair) in column.windows(2).enumerate() {
            if pair[0] > 0.0 && pair[1] > 0.0 && pair[0] != pair[1] {
                lane.times.push(slice as u64);
                lane.values.push((pair[1] * 10.0).ln());
            }
        }
        if lane.values.len() > WARM_SPARSE {
            lanes.push(lane);
        }
    }
    Ok(lanes)
}

/// What is beside ours: each forecasts one quantile from the values before.
type Baseline = (&'static str, fn(&[f64], f64) -> f64);

const BASELINES: [Baseline; 5] = [
    ("last value", |past, _| past.last().copied().unwrap_or(0.0)),
    ("EWMA 0.3", |past, _| {
        let recent = &past[past.len().saturating_sub(40)..];
        recent
            .iter()
            .skip(1)
            .fold(recent[0], |mean, value| mean + 0.3 * (value - mean))
    }),
    ("median of 11", |past, _| quantile(past, 11, 0.5)),
    ("quantile of 21", |past, share| quantile(past, 21, share)),
    ("quantile of 100", |past, share| quantile(past, 100, share)),
];

fn quantile(past: &[f64], length: usize, share: f64) -> f64 {
    let mut window = past[past.len().saturating_sub(length)..].to_vec();
    window.sort_by(f64::total_cmp);
    let at = share * (window.len() - 1) as f64;
    let (below, part) = (at as usize, at - at.floor());
    window[below] * (1.0 - part) + window[(below + 1).min(window.len() - 1)] * part
}

/// Mean pinball loss of the next sample by quantile, in thousandths.
fn forecasts(ctx: &mut Ctx, name: &str, lanes: &[Lane], warm: usize) -> Result<(), BenchError> {
    let mut series = Series::new(SeriesOptions {
        change_min: CHANGE_MIN,
        lanes_max: lanes.len().max(1),
        ..SeriesOptions::default()
    })?;
    let mut ours = [0.0; QUANTILES.len()];
    let mut theirs = vec![[0.0; QUANTILES.len()]; BASELINES.len()];
    let (mut covered, mut count, mut near) = ([0.0; QUANTILES.len()], 0.0, 0.0);
    for (id, lane) in lanes.iter().enumerate() {
        for (at, (time, value)) in lane.times.iter().zip(&lane.values).enumerate() {
            if at >= warm
                && let Some([next, ..]) = series.forecast(id as u32)
            {
                count += 1.0;
                near += f64::from(u8::from((next.quantiles[0] - value).exp_m1().abs() < 0.1));
                for (scale, share) in QUANTILES.into_iter().enumerate() {
                    ours[scale] += pinball(share, *value, next.quantiles[scale]);
                    covered[scale] += f64::from(u8::from(*value <= next.quantiles[scale]));
                    for (sum, (_, baseline)) in theirs.iter_mut().zip(BASELINES) {
                        sum[scale] += pinball(share, *value, baseline(&lane.values[..at], share));
                    }
                }
            }
            series.sample(id as u32, *time, *value)?;
        }
    }
    for (scale, share) in QUANTILES.into_iter().enumerate() {
        let thousandths = |sum: f64| sum * 1000.0 / count;
        let best = (0..BASELINES.len())
            .min_by(|a, b| theirs[*a][scale].total_cmp(&theirs[*b][scale]))
            .unwrap_or(0);
        let all: Vec<String> = BASELINES
            .iter()
            .zip(&theirs)
            .map(|((name, _), sum)| format!("{name} {:.2}", thousandths(sum[scale])))
            .collect();
        let note = format!(
            "{count} forecasts, {:.3} covered; {}",
            covered[scale] / count,
            all.join(", ")
        );
        ctx.row(
            &format!("{name}, pinball loss of quantile {share}"),
            "1/1000",
            &thousandths(ours[scale]).into(),
            Some((BASELINES[best].0, &thousandths(theirs[best][scale]).into())),
            Must::Report,
            &note,
        )?;
    }
    let note = "share of samples whose forecast median is within 10 %";
    ctx.row(
        &format!("{name}, within 10 %"),
        "",
        &(near / count).into(),
        None,
        Must::Report,
        note,
    )
}

/// Labelled changes that were found, and found ones that are labelled.
fn changes(ctx: &mut Ctx, lanes: &[Lane]) -> Result<(), BenchError> {
    let mut series = Series::new(SeriesOptions {
        change_min: CHANGE_MIN,
        lanes_max: lanes.len().max(1),
        ..SeriesOptions::default()
    })?;
    let (mut right, mut found, mut labels, mut delays) = (0, 0, 0, Vec::new());
    let mut shift = (0, 0);
    for (id, lane) in lanes.iter().enumerate() {
        let mut detected = Vec::new();
        for (at, (time, value)) in lane.times.iter().zip(&lane.values).enumerate() {
            if let Some(change) = series.sample(id as u32, *time, *value)?.change {
                detected.push((at - change.samples_ago.min(at), at));
            }
        }
        labels += lane.labels.len();
        found += detected.len();
        let (hits, late) = matched(&lane.labels, &detected);
        right += hits;
        delays.extend(late);
        let plain = median_shift(&lane.values);
        shift.0 += matched(&lane.labels, &plain).0;
        shift.1 += plain.len();
    }
    delays.sort_unstable();
    let f1 = |right: usize, found: usize| 2.0 * right as f64 / (found + labels).max(1) as f64;
    let note = format!(
        "{labels} labels, {found} found, {right} within {TOLERANCE} samples; median delay {} samples",
        delays.get(delays.len() / 2).copied().unwrap_or(0)
    );
    ctx.row(
        "RIPE, change points, F1",
        "",
        &f1(right, found).into(),
        Some(("median shift of 5", &f1(shift.0, shift.1).into())),
        Must::Report,
        &note,
    )
}

/// How many labels have a detection near them, each detection used once, and how late these came.
fn matched(labels: &[usize], detected: &[(usize, usize)]) -> (usize, Vec<usize>) {
    let mut used = vec![false; detected.len()];
    let mut delays = Vec::new();
    for label in labels {
        let near = |at: &usize| !used[*at] && detected[*at].0.abs_diff(*label) <= TOLERANCE;
        if let Some(at) = (0..detected.len()).find(near) {
            used[at] = true;
            delays.push(detected[at].1.saturating_sub(*label));
        }
    }
    (delays.len(), delays)
}

/// The plain detector: the median of five against that of the last sixty since the change, in deviations.
fn median_shift(values: &[f64]) -> Vec<(usize, usize)> {
    const LENGTH: usize = 5;
    const START: usize = 30;
    let median = |values: &[f64]| quantile(values, values.len(), 0.5);
    let deviation = |values: &[f64], base: f64| {
        median(
            &values
                .iter()
                .map(|value| (value - base).abs())
                .collect::<Vec<_>>(),
        ) + 0.002
    };
    let mut found = Vec::new();
    if values.len() < START + LENGTH {
        return found;
    }
    let mut past = values[..START].to_vec();
    let mut base = median(&past);
    let mut spread = deviation(&past, base);
    let mut at = START;
    while at + LENGTH < values.len() {
        let window = &values[at..at + LENGTH];
        if (median(window) - base).abs() > (4.0 * spread).max(CHANGE_MIN) {
            found.push((at, at + LENGTH));
            past = window.to_vec();
            base = median(&past);
            spread = (spread * 0.5).max(0.002);
            at += LENGTH;
        } else {
            past.push(values[at]);
            if past.len() > 60 {
                past.remove(0);
            }
            base = median(&past);
            spread = deviation(&past, base);
        }
        at += 1;
    }
    found
}
