//! Rows of a benchmark: samples, their summary, and the file they go to.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What went wrong, in words for the person at the terminal.
#[derive(Debug)]
pub(crate) struct BenchError(String);

impl BenchError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for BenchError {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Values of one metric, one per round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(pub(crate) Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    fn summary(&self) -> Option<Summary> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let median = (sorted[last / 2] + sorted[last.div_ceil(2)]) / 2.0;
        Some(Summary {
            median,
            min: sorted[0],
            max: sorted[last],
            rounds: sorted.len(),
        })
    }
}

impl From<f64> for Samples {
    fn from(value: f64) -> Self {
        Self(vec![value])
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) rounds: usize,
}

/// Which way is good, and how far ours must stand from the peer (or from a fixed figure).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Must {
    /// ours / peer ≤ this.
    RatioAtMost(f64),
    /// ours / peer ≥ this.
    RatioAtLeast(f64),
    /// ours ≤ this, in the row's unit.
    AtMost(f64),
    /// ours ≥ this, in the row's unit.
    AtLeast(f64),
    /// Reported, nothing asked yet.
    Report,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) bench: String,
    pub(crate) metric: String,
    pub(crate) unit: String,
    pub(crate) ours: Summary,
    pub(crate) peer_name: Option<String>,
    pub(crate) peer: Option<Summary>,
    /// Median of the rounds' ratios when both sides were measured round by round.
    pub(crate) ratio: Option<f64>,
    pub(crate) must: Must,
    pub(crate) note: String,
}

impl Row {
    /// Whether the must holds; `None` when nothing is asked.
    pub(crate) fn holds(&self) -> Option<bool> {
        match self.must {
            Must::RatioAtMost(limit) => self.ratio.map(|ratio| ratio <= limit),
            Must::RatioAtLeast(limit) => self.ratio.map(|ratio| ratio >= limit),
            Must::AtMost(limit) => Some(self.ours.median <= limit),
            Must::AtLeast(limit) => Some(self.ours.median >= limit),
            Must::Report => None,
        }
    }
}

/// The machine and the moment, first line of every result file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    pub(crate) load_before: String,
    pub(crate) command: String,
}

/// One run of one benchmark: collects rows, prints them as they come, writes them at the end.
#[derive(Debug)]
pub(crate) struct Ctx {
    root: PathBuf,
    name: String,
    machine: Machine,
    rows: Vec<Row>,
    /// Smoke size: proves that the benchmark runs, its numbers are not kept.
    pub(crate) quick: bool,
    /// Sizes that take minutes.
    pub(crate) large: bool,
}

impl Ctx {
    pub(crate) fn new(root: &Path, name: &str, quick: bool, large: bool) -> Self {
        Self {
            root: root.to_path_buf(),
            name: name.to_owned(),
            machine: Machine::read(name, large),
            rows: Vec::new(),
            quick,
            large,
        }
    }

    /// How many interleaved rounds: an odd number, so that the median is a measured value.
    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 1 } else { 5 }
    }

    /// The workspace's root directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Records a row. `peer` is the peer's name and its samples, round by round beside ours.
    pub(crate) fn row(
        &mut self,
        metric: &str,
        unit: &str,
        ours: &Samples,
        peer: Option<(&str, &Samples)>,
        must: Must,
        note: &str,
    ) -> Result<(), BenchError> {
        let empty = || BenchError::new(format!("{}: '{metric}' has no samples", self.name));
        let ours_summary = ours.summary().ok_or_else(empty)?;
        let peer_summary = match peer {
            Some((_, samples)) => Some(samples.summary().ok_or_else(empty)?),
            None => None,
        };
        let row = Row {
            bench: self.name.clone(),
            metric: metric.to_owned(),
            unit: unit.to_owned(),
            ours: ours_summary,
            peer_name: peer.map(|(name, _)| name.to_owned()),
            peer: peer_summary,
            ratio: peer.and_then(|(_, samples)| ratio(ours, samples)),
            must,
            note: note.to_owned(),
        };
        println!("{}", crate::render::line(&row));
        self.rows.push(row);
        Ok(())
    }

    /// Writes the rows; a quick run writes nothing.
    pub(crate) fn finish(self) -> Result<(), BenchError> {
        if self.quick {
            println!("{}: quick run, rows are not kept", self.name);
            return Ok(());
        }
        let directory = self.root.join("integration/bench/results");
        fs::create_dir_all(&directory)?;
        let mut text = serde_json::to_string(&self.machine)? + "\n";
        for row in &self.rows {
            text += &(serde_json::to_string(row)? + "\n");
        }
        let path = directory.join(format!("{}.jsonl", self.name));
        fs::write(&path, text)?;
        println!(
            "rows: {}",
            path.strip_prefix(&self.root).unwrap_or(&path).display()
        );
        Ok(())
    }
}

/// Paired rounds give the median of ratios; unequal counts the ratio of medians.
fn ratio(ours: &Samples, peer: &Samples) -> Option<f64> {
    if ours.0.len() == peer.0.len() {
        let paired = Samples(ours.0.iter().zip(&peer.0).map(|(a, b)| a / b).collect());
        return paired.summary().map(|summary| summary.median);
    }
    Some(ours.summary()?.median / peer.summary()?.median)
}

impl Machine {
    fn read(name: &str, large: bool) -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let after_colon = |text: &str, key: &str| {
            text.lines()
                .find(|line| line.starts_with(key))
                .and_then(|line| line.split_once(':'))
                .map(|(_, value)| value.trim().to_owned())
                .unwrap_or_else(|| "unknown".into())
        };
        let memory_kib = after_colon(&text("/proc/meminfo"), "MemTotal");
        let memory_kib: u64 = memory_kib
            .split(' ')
            .next()
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(0);
        Self {
            cpu: after_colon(&text("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: memory_kib >> 20,
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_before: text("/proc/loadavg")
                .split(' ')
                .take(3)
                .collect::<Vec<_>>()
                .join(" "),
            command: format!("./make bench-{name}{}", if large { " --large" } else { "" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_median_and_spread() {
        let summary = Samples(vec![3.0, 1.0, 2.0]).summary().unwrap();
        assert_eq!(
            (summary.median, summary.min, summary.max, summary.rounds),
            (2.0, 1.0, 3.0, 3)
        );
        assert!(Samples::default().summary().is_none());
    }

    #[test]
    fn ratios_are_paired_round_by_round() {
        // The machine slowed down in the second round: the ratio does not move.
        let ours = Samples(vec![2.0, 20.0, 2.0]);
        let peer = Samples(vec![1.0, 10.0, 1.0]);
        assert_eq!(ratio(&ours, &peer), Some(2.0));
    }
}
