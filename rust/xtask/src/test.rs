//! `xtask test [RUNNER…]`: every runner in order, its output as it comes, its own totals added up.
//!
//! A runner that fails, or that prints no totals, makes the whole fail: silence is no success. The last line on
//! standard output is `N passed, M failed`; the same line is left in `test-totals.txt` in the target directory, for who
//! must show it after the task runner's own last words.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use crate::Outcome;

/// Name and task of each runner, the quick ones first.
const RUNNERS: &[(&str, &str)] = &[
    ("zig", "test-zig"),
    ("go", "test-go"),
    ("rust", "test-rust"),
    ("ffi", "test-ffi"),
    ("python", "test-python"),
    ("sim", "sim"),
    ("matrix", "test-matrix"),
    ("integration", "test-integration"),
    ("split", "test-split"),
];

/// What a test prints that cannot be made on this machine.
const UNTRIED: &str = "NOT TRIED: ";

/// Counts of one runner.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Totals {
    /// The line that this module reads back.
    pub(crate) fn line(self) -> String {
        format!(
            "totals: {} passed; {} failed; {} skipped",
            self.passed, self.failed, self.skipped
        )
    }

    fn add(&mut self, other: Totals) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// What became of one runner.
#[derive(Debug)]
struct Report {
    name: &'static str,
    totals: Totals,
    /// Why it counts as failed although no test did.
    problem: Option<String>,
    seconds: u64,
}

/// Runs all runners, or those named.
pub(crate) fn run(root: &Path, args: &[String]) -> Outcome {
    for name in args {
        if !RUNNERS.iter().any(|(known, _)| known == name) {
            let known: Vec<&str> = RUNNERS.iter().map(|(name, _)| *name).collect();
            return Err(format!("test: no runner '{name}': {}", known.join(", ")).into());
        }
    }
    let mut reports = Vec::new();
    for (name, task) in RUNNERS {
        if args.is_empty() || args.iter().any(|arg| arg == name) {
            reports.push(runner(root, name, task));
        }
    }
    let mut all = Totals::default();
    println!(
        "\n{:<12} {:>7} {:>7} {:>8} {:>8}",
        "runner", "passed", "failed", "skipped", "seconds"
    );
    for report in &reports {
        let Totals {
            passed,
            failed,
            skipped,
        } = report.totals;
        let note = report.problem.as_deref().unwrap_or_default();
        println!(
            "{:<12} {passed:>7} {failed:>7} {skipped:>8} {:>8}  {note}",
            report.name, report.seconds
        );
        all.add(report.totals);
        // A runner that broke is one failure, when it could not name any itself.
        all.failed += u64::from(report.problem.is_some() && failed == 0);
    }
    let closing = format!("{} passed, {} failed", all.passed, all.failed);
    println!("{closing}");
    std::io::stdout().flush()?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    std::fs::write(target.join("test-totals.txt"), closing + "\n")?;
    if all.failed > 0 {
        return Err("tests failed".into());
    }
    Ok(())
}

fn runner(root: &Path, name: &'static str, task: &str) -> Report {
    println!("\n== {name} ({task})");
    let start = Instant::now();
    let (totals, ended) = stream(root, task);
    let problem = match (totals, ended) {
        (_, Err(problem)) => Some(problem),
        (None, Ok(())) => Some("printed no totals".to_owned()),
        (Some(_), Ok(())) => None,
    };
    Report {
        name,
        totals: totals.unwrap_or_default(),
        problem,
        seconds: start.elapsed().as_secs(),
    }
}

/// Runs one task, shows its output, and adds up the totals that it prints.
fn stream(root: &Path, task: &str) -> (Option<Totals>, Result<(), String>) {
    let child = Command::new("cargo")
        .current_dir(root)
        // A quieter log level of cargo-make would silence the runners as well.
        .args(["make", task])
        // Colours would hide the totals.
        .env("CARGO_TERM_COLOR", "never")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return (None, Err(format!("cargo make: {error}"))),
    };
    let (sender, lines) = mpsc::sync_channel(1_024);
    if let Some(stdout) = child.stdout.take() {
        forward(stdout, sender.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        forward(stderr, sender.clone());
    }
    drop(sender);
    let mut totals: Option<Totals> = None;
    let mut untried = 0;
    for line in lines {
        println!("{line}");
        if let Some(found) = parse(&line) {
            totals.get_or_insert_default().add(found);
        }
        untried += u64::from(line.starts_with(UNTRIED));
    }
    // The runner counted such a test as passed; that it was not made must show.
    if let Some(totals) = &mut totals {
        totals.passed = totals.passed.saturating_sub(untried);
        totals.skipped += untried;
    }
    let ended = match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(error.to_string()),
    };
    (totals, ended)
}

fn forward(from: impl Read + Send + 'static, to: mpsc::SyncSender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n') {
            let Ok(line) = line else { return };
            if to
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                return;
            }
        }
    });
}

/// The totals that a line of any runner states.
fn parse(line: &str) -> Option<Totals> {
    let line = line.trim();
    if let Some(rest) = line.strip_prefix("test result: ") {
        return counts(rest.split_once(". ")?.1);
    }
    if let Some(rest) = line.strip_prefix("totals: ") {
        return counts(rest);
    }
    if let Some(rest) = line.strip_prefix("Build Summary: ") {
        return zig(rest);
    }
    None
}

/// `12 passed; 0 failed; 1 ignored; …`
fn counts(text: &str) -> Option<Totals> {
    let mut totals = Totals::default();
    for part in text.split(';') {
        let Some((number, word)) = part.trim().split_once(' ') else {
            continue;
        };
        let Ok(number) = number.parse() else { continue };
        match word {
            "passed" => totals.passed = number,
            "failed" => totals.failed = number,
            "ignored" | "skipped" => totals.skipped = number,
            _ => {}
        }
    }
    text.contains(" passed").then_some(totals)
}

/// `5/5 steps succeeded; 40/42 tests passed; 1 skipped; 1 failed`
fn zig(text: &str) -> Option<Totals> {
    let (before, after) = text.split_once(" tests passed")?;
    let (passed, all) = before.rsplit(' ').next()?.split_once('/')?;
    let (passed, all): (u64, u64) = (passed.parse().ok()?, all.parse().ok()?);
    let skipped = after
        .split(';')
        .filter_map(|part| part.trim().strip_suffix(" skipped")?.parse::<u64>().ok())
        .sum();
    Some(Totals {
        passed,
        failed: all.saturating_sub(passed).saturating_sub(skipped),
        skipped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(passed: u64, failed: u64, skipped: u64) -> Option<Totals> {
        Some(Totals {
            passed,
            failed,
            skipped,
        })
    }

    #[test]
    fn every_runner_is_understood() {
        let rust = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(parse(rust), totals(3, 1, 2));
        assert_eq!(parse(&totals(7, 2, 1).unwrap().line()), totals(7, 2, 1));
        assert_eq!(
            parse("Build Summary: 5/5 steps succeeded; 41/41 tests passed"),
            totals(41, 0, 0)
        );
        let broken =
            "Build Summary: 3/5 steps succeeded; 1 failed; 38/41 tests passed; 1 skipped; 2 failed";
        assert_eq!(parse(broken), totals(38, 2, 1));
    }

    #[test]
    fn other_lines_are_no_totals() {
        for line in [
            "",
            "running 3 tests",
            "Build Summary: 3/5 steps succeeded",
            "test result: ok",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
