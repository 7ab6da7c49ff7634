//! The demo: three nodes on this machine move a real directory, and the origin is killed in the middle.
//!
//! - `hypermesh-demo [PATH]`: put into A, get at B, get at C while A dies, a second version; then both versions over a
//!   long path, with and without each layer of the memory.
//! - `--broken`: every network path stops in the middle; the get must fail and leave nothing behind.
//! - `--split`: each component of a node is a process of its own.
//! - `--keep`: leaves the nodes' directories, and says where.
#![forbid(unsafe_code)]

mod layers;
mod odds;
mod show;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use hypermesh_testkit::{Forwarder, Mesh, Node, Random, Result, at, tree, until};
use serde_json::Value;

use crate::show::{Show, size};

const USAGE: &str = "\
usage: hypermesh-demo [PATH] [--broken] [--split] [--keep]

Three nodes on this machine move the directory at PATH, or the Zig library when none is given.
  --broken  cut every network path in the middle: the get must fail and leave nothing behind
  --split   run each component of a node as a process of its own
  --keep    leave the nodes' directories in place";

struct Options {
    path: Option<PathBuf>,
    broken: bool,
    split: bool,
    keep: bool,
}

fn options() -> Result<Options> {
    let mut options = Options {
        path: None,
        broken: false,
        split: false,
        keep: false,
    };
    for argument in std::env::args_os().skip(1) {
        match argument.to_str() {
            Some("--broken") => options.broken = true,
            Some("--split") => options.split = true,
            Some("--keep") => options.keep = true,
            Some(text) if text.starts_with('-') => return Err(USAGE.into()),
            _ if options.path.is_none() => options.path = Some(argument.into()),
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(usage) => {
            eprintln!("{usage}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let path = match &options.path {
        Some(path) => path.clone(),
        None => zig_library()?,
    };
    let path = fs::canonicalize(&path).map_err(at(path.display()))?;
    if !path.is_dir() {
        return Err(format!("{} is no directory", path.display()));
    }
    let mut mesh = if options.split {
        Mesh::split()?
    } else {
        Mesh::new()?
    };
    if options.keep {
        println!("everything stays in {}", mesh.keep().display());
    }
    println!(
        "{} moves between three nodes on this machine",
        path.display()
    );
    let tree = mesh.path().join("put");
    odds::lay_out(&path, &tree)?;
    println!("beside it, in {}", odds::WHAT);
    if options.broken {
        broken(&mut mesh, &tree)
    } else {
        whole(&mut mesh, &tree)
    }
}

/// The library beside the Zig compiler: thousands of real files that every build has.
fn zig_library() -> Result<PathBuf> {
    let mut programs = vec![];
    programs.extend(std::env::var_os("ZIG").filter(|zig| !zig.is_empty()));
    programs.push(".tools/bin/zig".into());
    programs.push("zig".into());
    for zig in programs {
        let Ok(output) = Command::new(zig).arg("env").output() else {
            continue;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        // `.lib_dir = "…",` or, before version 0.15, `"lib_dir": "…",`.
        let found = text
            .lines()
            .find(|line| line.contains("lib_dir"))
            .and_then(|line| line.rsplit('"').nth(1));
        if let Some(path) = found {
            return Ok(path.into());
        }
    }
    Err("no zig to take its library from: name a directory, `./make demo PATH`".into())
}

/// The configuration of the demo's nodes: all defaults.
const DEFAULTS: &str = "";

fn whole(mesh: &mut Mesh, path: &Path) -> Result<()> {
    let mut show = Show::new();
    let mut a = mesh.node_with("a", DEFAULTS, None)?;
    let b = mesh.node_with("b", DEFAULTS, None)?;
    let c = mesh.node_with("c", DEFAULTS, None)?;
    show.say("three nodes are up; B and C join A by invitation");
    b.join(&a)?;
    c.join(&a)?;
    b.wait_connected(&[&a, &c])?;
    c.wait_connected(&[&a, &b])?;
    show.say("each is connected to both others, over QUIC, by their keys");

    let start = Instant::now();
    let put = show.run(&a, "put into A", &["put", text(path)?], |_| Ok(()))?;
    let root = field(&put, "root")?;
    show.put("put into A", &put, start);

    let copy = mesh.path().join("copy-b");
    let start = Instant::now();
    let got = show.run(&b, "get at B", &["get", &root, text(&copy)?], |_| Ok(()))?;
    show.got("get at B, from A", &got, &[(&a, "A")], start);
    let counts = tree::compare(path, &copy)?;
    show.say(&format!(
        "B's copy is the same: {} files, {} directories, {} symlinks, {}",
        counts.files,
        counts.directories,
        counts.symlinks,
        size(counts.bytes)
    ));

    let copy_c = mesh.path().join("copy-c");
    let origin = a.id().to_owned();
    let threshold = (counts.bytes / 50).max(1);
    let mut killed = None;
    let start = Instant::now();
    let got = show.run(
        &c,
        "get at C",
        &["get", &root, text(&copy_c)?],
        |progress| {
            let served = served(progress, &origin);
            let total = progress["bytes_total"].as_u64().unwrap_or_default();
            let done = progress["bytes_done"].as_u64().unwrap_or_default();
            if killed.is_none()
                && served >= threshold
                && progress["phase"] == "fetch"
                && done < total
            {
                a.kill();
                killed = Some(done);
            }
            Ok(())
        },
    )?;
    match killed {
        Some(done) => show.say(&format!(
            "A, the origin, was killed with SIGKILL when C had {}; C went on with B",
            size(done)
        )),
        None => {
            return Err(format!(
                "C had everything before A could be killed: {} is too small, name a larger directory",
                size(counts.bytes)
            ));
        }
    }
    show.got("get at C, A killed", &got, &[(&a, "A"), (&b, "B")], start);
    tree::compare(path, &copy_c)?;
    odds::check(&copy_c)?;
    show.say("C's copy is the same, modes and symlinks included");

    let changed = tree::edit(&copy, &mut Random::new(1), 200)?;
    show.say(&format!(
        "second version: {changed} files of B's copy are edited"
    ));
    let start = Instant::now();
    let put = show.run(&b, "put into B", &["put", text(&copy)?], |_| Ok(()))?;
    let second = field(&put, "root")?;
    show.put("put second version into B", &put, start);
    let copy_2 = mesh.path().join("copy-c-2");
    let start = Instant::now();
    let got = show.run(
        &c,
        "get at C",
        &["get", &second, text(&copy_2)?],
        |_| Ok(()),
    )?;
    show.got(
        "get second version at C",
        &got,
        &[(&a, "A"), (&b, "B")],
        start,
    );
    tree::compare(&copy, &copy_2)?;
    show.say("C's second copy is the same as B's");
    show.table();
    layers::compare(mesh, &show, [path, &copy])
}

fn broken(mesh: &mut Mesh, path: &Path) -> Result<()> {
    let show = Show::new();
    let fronts = [Forwarder::new()?, Forwarder::new()?, Forwarder::new()?];
    let [front_a, front_b, front_c] = &fronts;
    let a = mesh.node_with("a", DEFAULTS, Some(front_a))?;
    let b = mesh.node_with("b", DEFAULTS, Some(front_b))?;
    let c = mesh.node_with("c", DEFAULTS, Some(front_c))?;
    b.join(&a)?;
    c.join(&a)?;
    c.wait_connected(&[&a, &b])?;
    show.say("three nodes are up; every network path leads through a forwarder");
    let put = show.run(&a, "put into A", &["put", text(path)?], |_| Ok(()))?;
    let root = field(&put, "root")?;
    let bytes = put["content_bytes"].as_u64().unwrap_or_default();

    let cut = (bytes / 20).clamp(20_000, 8 << 20);
    for front in &fronts {
        front.cut_after(cut);
    }
    show.say(&format!("each path will stop after {}", size(cut)));
    let before = names(mesh.path())?;
    let copy = mesh.path().join("copy-c");
    let mut job = c.job(&["get", &root, text(&copy)?])?;
    while let Some(progress) = job.progress() {
        show.progress("get at C", &progress);
    }
    show.clear();
    let answer = job.finish()?;
    if answer.code == 0 {
        return Err(
            "the get succeeded although every path was cut: name a larger directory".into(),
        );
    }
    let said = answer.complaint();
    if answer.code != 1 || said.is_empty() {
        return Err(format!(
            "exit status {} and no clear error: {said:?}",
            answer.code
        ));
    }
    println!("the get failed, as it must, with exit status 1:");
    println!("  hypermesh: {said}");
    let left: Vec<String> = names(mesh.path())?.difference(&before).cloned().collect();
    if !left.is_empty() {
        return Err(format!("left behind: {}", left.join(", ")));
    }
    println!("nothing was left behind: no copy, whole or half, and no temporary file beside it");
    // The blocks that did arrive are kept, and whole.
    until("a node that still answers", Duration::from_secs(60), || {
        Ok((c.run(&["status"])?.code == 0).then_some(()))
    })?;
    c.ok(&["fsck"])?;
    println!("what had arrived in C's store is undamaged; the next get goes on from there");
    Ok(())
}

/// What lies in a directory.
fn names(directory: &Path) -> Result<BTreeSet<String>> {
    fs::read_dir(directory)
        .map_err(at(directory.display()))?
        .map(|entry| {
            let entry = entry.map_err(at(directory.display()))?;
            Ok(entry.file_name().to_string_lossy().into_owned())
        })
        .collect()
}

/// Bytes that this provider has sent for the job so far.
fn served(progress: &Value, node: &str) -> u64 {
    progress["providers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|provider| provider["node_id"] == node)
        .filter_map(|provider| provider["bytes"].as_u64())
        .sum()
}

fn field(value: &Value, name: &str) -> Result<String> {
    value[name]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("no {name} in {value}"))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .ok_or_else(|| format!("{} is not UTF-8", path.display()))
}

// What a row needs of a node.
pub(crate) type Named<'a> = (&'a Node, &'static str);
