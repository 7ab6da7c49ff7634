//! The anomaly mode: whether its rate of false alarms holds, and what it finds beside LOF and isolation forest.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use mfn_dsr::{Detector, Options, Scratch, Well};
use serde::Deserialize;

use super::data::Data;
use super::python::Peers;
use crate::record::{BenchError, Ctx, Must, Samples};

/// Neighbours whose similarity makes the score.
const NEIGHBOURS: usize = 5;

/// One digit left out: what is known, what is asked, and which of that is the digit left out.
#[derive(Debug, Deserialize)]
struct Split {
    train: Vec<Vec<f32>>,
    test: Vec<Vec<f32>>,
    strange: Vec<u8>,
}

pub(crate) fn run(
    ctx: &mut Ctx,
    data: &Data,
    peers: Option<&mut Peers>,
    directory: &Path,
) -> Result<(), BenchError> {
    rate(ctx, data)?;
    let Some(peers) = peers else { return Ok(()) };
    let theirs: BTreeMap<String, f64> = peers.ask("digits")?;
    let splits: Vec<Split> = serde_json::from_slice(&fs::read(directory.join("digits.json"))?)?;
    let mut sum = 0.0;
    for split in &splits {
        let mut well = Well::new(Options::new(64))?;
        for (id, vector) in (0..).zip(&split.train) {
            well.insert(id, vector)?;
        }
        let mut scratch = Scratch::default();
        let mut scored = Vec::new();
        for (vector, strange) in split.test.iter().zip(&split.strange) {
            scored.push((
                well.novelty(&mut scratch, vector, NEIGHBOURS)?,
                *strange == 1,
            ));
        }
        sum += auc(scored);
    }
    let ours = Samples::from(sum / splits.len() as f64);
    for (name, auc) in theirs {
        let note = "handwritten digits of scikit-learn, each of the ten left out once: mean area under the curve";
        let metric = format!("novelty, beside {name}");
        ctx.row(
            &metric,
            "AUC",
            &ours,
            Some((&name, &Samples::from(auc))),
            Must::RatioAtLeast(1.0),
            note,
        )?;
    }
    Ok(())
}

/// Half of the entries known, a tenth to calibrate on, the rest asked: all of one stream.
fn rate(ctx: &mut Ctx, data: &Data) -> Result<(), BenchError> {
    const ASKED: f64 = 0.05;
    let count = data.base.len() / data.dims;
    let (known, calibration) = (count / 2, count / 10);
    let mut well = Well::new(Options::new(data.dims))?;
    for (id, vector) in data.entries().take(known) {
        well.insert(id, vector)?;
    }
    let mut scratch = Scratch::default();
    let held_out = data
        .entries()
        .skip(known)
        .take(calibration)
        .map(|(_, vector)| vector);
    let detector = Detector::calibrate(&well, &mut scratch, held_out, NEIGHBOURS, ASKED)?;
    let (mut alarms, mut asked) = (0, 0);
    for (_, vector) in data.entries().skip(known + calibration) {
        alarms += usize::from(detector.judge(&well, &mut scratch, vector)?.novel);
        asked += 1;
    }
    let measured = alarms as f64 / f64::from(asked);
    let (low, high) = detector.band();
    let note = format!(
        "asked {ASKED}, measured {measured:.4} on {asked} held-out vectors; the band of {calibration} calibration vectors is {low:.4}..{high:.4}"
    );
    let off = Samples::from((measured / ASKED - 1.0).abs());
    ctx.row(
        "false alarms, off the stated rate by",
        "",
        &off,
        None,
        Must::AtMost(0.2),
        &note,
    )
}

/// The share of pairs of one strange and one normal that are in the right order; equals count half.
fn auc(mut scored: Vec<(f32, bool)>) -> f64 {
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    let strange = scored.iter().filter(|(_, strange)| *strange).count() as f64;
    let normal = scored.len() as f64 - strange;
    let (mut below, mut right) = (0.0, 0.0);
    for equals in scored.chunk_by(|a, b| a.0 == b.0) {
        let here = equals.iter().filter(|(_, strange)| !strange).count() as f64;
        right += (equals.len() as f64 - here) * (below + here / 2.0);
        below += here;
    }
    right / (strange * normal)
}

#[cfg(test)]
mod tests {
    use super::auc;

    #[test]
    fn the_area_counts_pairs() {
        assert_eq!(auc(vec![(0.1, false), (0.2, false), (0.3, true)]), 1.0);
        assert_eq!(auc(vec![(0.3, false), (0.2, true), (0.1, true)]), 0.0);
        assert_eq!(auc(vec![(0.5, false), (0.5, true), (0.5, true)]), 0.5);
    }
}
