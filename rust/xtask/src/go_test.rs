//! `xtask go-test`: Go tests with the race detector, counted from `go test -json`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use serde::Deserialize;

use crate::Outcome;
use crate::test::Totals;

/// Modules whose tests are run: what nodes are built of, and what checks histories of them.
const MODULES: &[&str] = &["go", "go/histories"];

/// One line of `go test -json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    action: String,
    #[serde(default, alias = "ImportPath")]
    package: String,
    test: Option<String>,
    #[serde(default)]
    output: String,
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Run {
    totals: Totals,
    /// Output of what has not ended yet, by package and test.
    pending: BTreeMap<(String, String), String>,
    /// Packages in which a test failed: their own failure is not counted again.
    failed: std::collections::BTreeSet<String>,
}

/// Runs the tests; arguments go to `go test`.
pub(crate) fn run(root: &Path, args: &[String]) -> Outcome {
    let mut run = Run::default();
    let mut failed = None;
    for module in MODULES {
        let status = run.module(&root.join(module), args)?;
        failed = failed.or((!status.success()).then_some(status));
    }
    println!("{}", run.totals.line());
    match failed {
        Some(status) => Err(format!("go test: {status}").into()),
        None if run.totals.failed > 0 => Err("go test: a test failed".into()),
        None => Ok(()),
    }
}

impl Run {
    /// Runs the tests of one module.
    fn module(
        &mut self,
        directory: &Path,
        args: &[String],
    ) -> Result<ExitStatus, Box<dyn std::error::Error>> {
        let mut child = Command::new("go")
            .current_dir(directory)
            .args(["test", "-json", "-race"])
            .args(args)
            .arg("./...")
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("go: {e}"))?;
        let stdout = child.stdout.take().ok_or("go: no output")?;
        for line in BufReader::new(stdout).lines() {
            if let Some(text) = self.line(&line?) {
                print!("{text}");
            }
        }
        Ok(child.wait()?)
    }

    /// Counts one line; what is to be shown of it.
    fn line(&mut self, line: &str) -> Option<String> {
        let Ok(event) = serde_json::from_str::<Event>(line) else {
            return Some(format!("{line}\n"));
        };
        let test = event.test.clone().unwrap_or_default();
        let key = (event.package.clone(), test.clone());
        match (event.action.as_str(), test.is_empty()) {
            ("output" | "build-output", _) => {
                // A package's own closing line, and what the compiler says, is shown at once.
                if test.is_empty() && event.output != "PASS\n" {
                    return Some(event.output);
                }
                self.pending.entry(key).or_default().push_str(&event.output);
                None
            }
            ("pass", false) => {
                self.totals.passed += 1;
                self.pending.remove(&key);
                None
            }
            ("skip", false) => {
                self.totals.skipped += 1;
                self.pending
                    .remove(&key)
                    .map(|output| format!("skipped: {output}"))
            }
            ("fail", false) => {
                self.totals.failed += 1;
                self.failed.insert(event.package);
                self.pending.remove(&key)
            }
            ("fail", true) => {
                if self.failed.insert(event.package) {
                    self.totals.failed += 1;
                }
                None
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_and_failures_shown() {
        let mut run = Run::default();
        let lines = [
            r#"{"Action":"output","Package":"p","Test":"A","Output":"quiet\n"}"#,
            r#"{"Action":"pass","Package":"p","Test":"A"}"#,
            r#"{"Action":"output","Package":"p","Test":"B","Output":"loud\n"}"#,
            r#"{"Action":"fail","Package":"p","Test":"B"}"#,
            r#"{"Action":"skip","Package":"p","Test":"C"}"#,
            r#"{"Action":"fail","Package":"p"}"#,
            r#"{"Action":"build-output","ImportPath":"q","Output":"q.go:1: no\n"}"#,
            r#"{"Action":"fail","Package":"q"}"#,
        ];
        let shown: Vec<String> = lines.iter().filter_map(|line| run.line(line)).collect();
        assert_eq!(shown, ["loud\n", "q.go:1: no\n"]);
        assert_eq!(
            (run.totals.passed, run.totals.failed, run.totals.skipped),
            (1, 2, 1)
        );
    }
}
