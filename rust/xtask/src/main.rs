//! Generates what several languages share, and checks what no compiler checks.
//!
//! - `gen [--check]`: constants, messages, headers and bindings from their one source each.
#![forbid(unsafe_code)]

mod gen_files;

use std::path::PathBuf;
use std::process::ExitCode;

/// What every task ends with.
pub(crate) type Outcome = Result<(), Box<dyn std::error::Error>>;

/// The top of the tree, whatever the current directory is.
pub(crate) fn root() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).map(PathBuf::from).unwrap_or(own)
}

fn run(args: &[String]) -> Outcome {
    let (task, rest) = args.split_first().ok_or("name a task: gen")?;
    match task.as_str() {
        "gen" => gen_files::run(rest),
        other => Err(format!("no task '{other}'").into()),
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
