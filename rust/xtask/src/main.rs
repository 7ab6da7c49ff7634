//! Generates what several languages share, checks what no compiler checks, and runs what is no cargo test.
//!
//! - `gen [--check]`: constants, messages, headers and bindings from their one source each.
//! - `tidy`: the rules of the tree, dependency directions among them.
//! - `licences`: every dependency's licence is on the list.
//! - `advisories`: no dependency has a known vulnerability, where the database can be reached.
//! - `tools`: what this machine builds with.
//! - `test [RUNNER…]`: all runners in order, and one table of their totals.
//! - `go-test [ARGUMENT…]`: Go tests, counted.
//! - `ffi build|test`: headers and C programs.
#![forbid(unsafe_code)]

mod advisories;
mod ffi;
mod gen_files;
mod go_test;
mod licences;
mod test;
mod tidy;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

/// What every task ends with.
pub(crate) type Outcome = Result<(), Box<dyn std::error::Error>>;

/// The top of the tree, whatever the current directory is.
pub(crate) fn root() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).map(PathBuf::from).unwrap_or(own)
}

/// Whether a check that cannot run is a failure.
pub(crate) fn strict() -> bool {
    std::env::var_os("STRICT").is_some_and(|value| value == "1")
}

fn run(args: &[String]) -> Outcome {
    let tasks = "gen, tidy, licences, advisories, tools, test, go-test, ffi";
    let (task, rest) = args
        .split_first()
        .ok_or_else(|| format!("name a task: {tasks}"))?;
    match task.as_str() {
        "gen" => gen_files::run(rest),
        "tidy" => Ok(tidy::run(&root())?),
        "licences" => licences::run(&root()),
        "advisories" => advisories::run(&root(), rest),
        "tools" => tools::run(&root()),
        "test" => test::run(&root(), rest),
        "go-test" => go_test::run(&root(), rest),
        "ffi" => ffi::run(&root(), rest),
        other => Err(format!("no task '{other}': {tasks}").into()),
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
