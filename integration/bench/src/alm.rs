//! Rows of `bench-alm`: the association mesh, measured in Go by `alm-bench`, which sits beside this program.
//!
//! Co-changed files of real repositories and WordNet are read from data that is not in the tree; what is missing is named.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::record::{BenchError, Ctx, Must, Samples};

/// One line of `alm-bench`.
#[derive(Debug, Deserialize)]
struct Line {
    metric: String,
    unit: String,
    ours: Vec<f64>,
    peer_name: Option<String>,
    peer: Option<Vec<f64>>,
    must: Option<Must>,
    note: String,
}

pub(crate) fn run(ctx: &mut Ctx) -> Result<(), BenchError> {
    let program = std::env::current_exe()?.with_file_name("alm-bench");
    if !program.is_file() {
        return Err(BenchError::new(format!(
            "{} is not there; run cargo make bench-alm",
            program.display()
        )));
    }
    match histories(ctx.root()) {
        Some(directory) => rows(ctx, &program, &["cochange".as_ref(), directory.as_ref()])?,
        None => println!(
            "alm: no histories of repositories; put gitregion/*.zst below $MFN_DATA/content to measure co-change"
        ),
    }
    match wordnet() {
        Some(directory) => rows(ctx, &program, &["wordnet".as_ref(), directory.as_ref()])?,
        None => println!(
            "alm: no WordNet; install the package wordnet-base, or name its directory in WORDNET, to measure associates"
        ),
    }
    rows(ctx, &program, &["paths".as_ref()])?;
    rows(ctx, &program, &["mixed".as_ref()])
}

fn histories(root: &Path) -> Option<PathBuf> {
    let data =
        std::env::var_os("MFN_DATA").map_or_else(|| root.join("../shared/data"), PathBuf::from);
    Some(data.join("content/gitregion")).filter(|path| path.is_dir())
}

fn wordnet() -> Option<PathBuf> {
    let directory =
        std::env::var_os("WORDNET").map_or_else(|| "/usr/share/wordnet".into(), PathBuf::from);
    Some(directory).filter(|path| path.join("data.noun").is_file())
}

/// Runs one part and records its rows.
fn rows(ctx: &mut Ctx, program: &Path, arguments: &[&Path]) -> Result<(), BenchError> {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::piped());
    if ctx.quick {
        command.arg("--quick");
    }
    let mut child = command.spawn()?;
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| BenchError::new("alm-bench: no output"))?;
    for line in BufReader::new(stdout).lines() {
        let line: Line = serde_json::from_str(&line?)?;
        let peer = line.peer.map(Samples);
        ctx.row(
            &line.metric,
            &line.unit,
            &Samples(line.ours),
            line.peer_name.as_deref().zip(peer.as_ref()),
            line.must.unwrap_or(Must::Report),
            &line.note,
        )?;
    }
    let status = child.wait()?;
    if !status.success() {
        return Err(BenchError::new(format!("alm-bench: {status}")));
    }
    Ok(())
}
