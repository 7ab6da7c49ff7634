//! Runs the benchmarks beside their peers and renders the tables.
//!
//! `hypermesh-bench <NAME> [--quick]` writes one JSON line per row to
//! `integration/bench/results/<name>.jsonl` (the newest run only);
//! `hypermesh-bench corpus` fetches the packages that `versions` and `dsr-bytes` need;
//! `hypermesh-bench render` writes `docs/PERFORMANCE.md` from those files.
//! Ours and the peer are measured in the same run, interleaved; a row holds medians and spread.
#![deny(unsafe_code)]

mod allocations;
mod alm;
mod ask;
mod blocks;
mod cache;
mod consensus;
mod corpus;
mod cpe;
mod cpu;
mod dsr;
mod files;
mod ifr;
mod ifrd;
mod local;
mod local_load;
mod node;
mod npz;
mod peers;
mod placement;
mod proof;
mod record;
mod registry;
mod render;
mod restart;
mod routing;
mod second;
mod similarity;
mod split;
mod stoq;
mod syscalls;
mod versions;
mod wan;

use std::path::PathBuf;
use std::process::ExitCode;

use record::{BenchError, Ctx};

#[global_allocator]
static ALLOCATOR: allocations::Watched = allocations::Watched;

const USAGE: &str = "\
Usage: hypermesh-bench <ifr|dsr|dsr-bytes|alm|cpe|cache|placement|ask|local|blocks|versions|stoq|node|consensus|restart|routing> [--quick] [--large]
       hypermesh-bench corpus
       hypermesh-bench render

  --quick   fewer rounds and smaller inputs: shows that a benchmark still runs
  --large   the sizes that take minutes (10^7 entries)

Rows go to integration/bench/results/, tables to docs/PERFORMANCE.md.";

fn run(arguments: &[String]) -> Result<(), BenchError> {
    let (mut name, mut quick, mut large) = (None, false, false);
    for argument in arguments {
        match argument.as_str() {
            "--quick" => quick = true,
            "--large" => large = true,
            word if !word.starts_with('-') && name.is_none() => name = Some(word),
            other => {
                return Err(BenchError::new(format!(
                    "unknown argument '{other}'\n{USAGE}"
                )));
            }
        }
    }
    let root = workspace_root()?;
    let name = name.ok_or_else(|| BenchError::new(USAGE))?;
    if name == "render" {
        return render::render(&root);
    }
    if name == "corpus" {
        return corpus::fetch();
    }
    let mut ctx = Ctx::new(&root, name, quick, large);
    match name {
        "ifr" => {
            ifr::run(&mut ctx)?;
            ifrd::run(&mut ctx)?;
        }
        "alm" => alm::run(&mut ctx)?,
        "cpe" => cpe::run(&mut ctx)?,
        "routing" => routing::run(&mut ctx)?,
        "ask" => ask::run(&mut ctx)?,
        "local" => local::run(&mut ctx)?,
        "blocks" => blocks::run(&mut ctx)?,
        "cache" => cache::run(&mut ctx)?,
        "placement" => placement::run(&mut ctx)?,
        "stoq" => stoq::run(&mut ctx)?,
        "node" => node::run(&mut ctx)?,
        "consensus" => {
            wan::run(&mut ctx)?;
            registry::run(&mut ctx)?;
            consensus::run(&mut ctx)?;
        }
        "restart" => consensus::run_restarts(&mut ctx)?,
        "dsr" => dsr::run(&mut ctx)?,
        "versions" => versions::run(&mut ctx)?,
        "dsr-bytes" => similarity::run(&mut ctx)?,
        other => {
            return Err(BenchError::new(format!(
                "unknown benchmark '{other}'\n{USAGE}"
            )));
        }
    }
    ctx.finish()
}

/// The directory that holds the workspace's `Cargo.toml`: this crate's grandparent.
fn workspace_root() -> Result<PathBuf, BenchError> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .map(PathBuf::from)
        .ok_or_else(|| BenchError::new("the workspace root was not found"))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // A benchmark that needs a second process starts this binary again with a word of its own.
    if let Some(done) = local::child(&arguments).or_else(|| blocks::child(&arguments)) {
        return done;
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hypermesh-bench: {error}");
            ExitCode::from(1)
        }
    }
}
