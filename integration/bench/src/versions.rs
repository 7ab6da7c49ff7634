//! Rows of `bench-versions`: four trees, one after the other, into one store.
//!
//! The n-th tree holds the n-th oldest version of each package of `corpus.txt` that has four of them
//! and takes at most 32 MB. Every system gets the trees in the same order and compresses with zstd 3 or
//! its own default.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hypermesh_blocks::{EntryKind, Ignore, PutOptions, PutReport, Store, StoreOptions};

use crate::corpus::{self, TREES};
use crate::files::disk_bytes;
use crate::peers::{borg, restic};
use crate::record::{BenchError, Ctx, Must, Samples};
use crate::second;

/// Packages that take more in all their versions are left out.
const PACKAGE_BYTES_MAX: u64 = 32_000_000;
const QUICK_BYTES_MAX: u64 = 2_000_000;
/// Files that are read out of their place.
const READS: usize = 2_000;
/// A round is half a minute, most of it the peers'.
const ROUNDS_MAX: usize = 3;
const MB: f64 = 1e6;

/// What one store made of the trees.
struct Put {
    store: Store,
    reports: Vec<PutReport>,
    bytes: u64,
    wall: f64,
    processor: f64,
}

pub(crate) fn run(ctx: &mut Ctx) -> Result<(), BenchError> {
    if let Err(reason) = corpus::check() {
        println!("versions: no rows on versions: {reason}");
        return Ok(());
    }
    let place = tempfile::tempdir()?;
    let trees = place.path().join("trees");
    let bytes_max = if ctx.quick {
        QUICK_BYTES_MAX
    } else {
        PACKAGE_BYTES_MAX
    };
    let packages = corpus::version_trees(&trees, bytes_max)?;
    let content = disk_bytes(&trees)? as f64;
    let trees: Vec<PathBuf> = (0..TREES)
        .map(|number| trees.join(format!("T{number}")))
        .collect();
    let what = format!(
        "{TREES} versions of {packages} packages, {:.0} MB, put one after the other",
        content / MB
    );
    let mut measured = Measured::default();
    for round in 0..ctx.rounds().min(ROUNDS_MAX) {
        let dir = |name: &str| place.path().join(format!("{name}-{round}"));
        let with = put(&dir("with"), &trees, true)?;
        let without = put(&dir("without"), &trees, false)?;
        measured.add(&with, &without, content);
        if round == 0 {
            read_back(ctx, &with, &without, &trees, &place.path().join("copy"))?;
        }
        measured
            .restic
            .push(restic_all(&dir("restic"), &trees, content)?);
        match borg::version() {
            Ok(name) => {
                let ratio = borg_all(&dir("borg"), &trees, content)?;
                measured.borg.push((name, ratio));
            }
            Err(error) => println!("versions: no row beside borg: {error}"),
        }
        drop((with, without));
        for name in ["with", "without", "restic", "borg"] {
            let _ = fs::remove_dir_all(dir(name));
        }
    }
    measured.rows(ctx, &what)?;
    second::later_versions(ctx, &trees, &what)
}

#[derive(Default)]
struct Measured {
    ratio: Samples,
    ratio_off: Samples,
    speed: Samples,
    speed_off: Samples,
    wall: Samples,
    restic: Vec<(f64, Duration)>,
    borg: Vec<(String, f64)>,
}

impl Measured {
    fn add(&mut self, with: &Put, without: &Put, content: f64) {
        self.ratio.push(content / with.bytes as f64);
        self.ratio_off.push(content / without.bytes as f64);
        self.speed.push(content / with.processor / MB);
        self.speed_off.push(content / without.processor / MB);
        self.wall.push(with.wall);
    }

    fn rows(&self, ctx: &mut Ctx, what: &str) -> Result<(), BenchError> {
        let must = Must::AtLeast(6.0);
        let restic = restic::version()?;
        let peer = Samples(self.restic.iter().map(|(ratio, _)| *ratio).collect());
        let note = format!("{what}; content over everything in the store's directory");
        ctx.row(
            "versions, reduction",
            "x",
            &self.ratio,
            Some((&restic, &peer)),
            must,
            &note,
        )?;
        if let Some((name, _)) = self.borg.first() {
            let peer = Samples(self.borg.iter().map(|(_, ratio)| *ratio).collect());
            ctx.row(
                "versions, reduction",
                "x",
                &self.ratio,
                Some((name, &peer)),
                must,
                &note,
            )?;
        }
        let peer = Some(("ours, store.deltas = false", &self.ratio_off));
        ctx.row(
            "versions, reduction",
            "x",
            &self.ratio,
            peer,
            Must::Report,
            &note,
        )?;
        let peer = Some(("ours, store.deltas = false", &self.speed_off));
        let note = format!("{what}; content over the processor time of all threads");
        let must = Must::AtLeast(100.0);
        ctx.row(
            "versions, put per core",
            "MB/s",
            &self.speed,
            peer,
            must,
            &note,
        )?;
        let peer = Samples(
            self.restic
                .iter()
                .map(|(_, wall)| wall.as_secs_f64())
                .collect(),
        );
        let peer = Some((restic.as_str(), &peer));
        ctx.row(
            "versions, put, wall time",
            "s",
            &self.wall,
            peer,
            Must::RatioAtMost(1.5),
            what,
        )
    }
}

fn put(dir: &Path, trees: &[PathBuf], deltas: bool) -> Result<Put, BenchError> {
    let options = StoreOptions {
        deltas,
        ..StoreOptions::default()
    };
    let (start, processor) = (Instant::now(), crate::cpu::process_time());
    let store = Store::open(dir, options)?;
    let reports = trees
        .iter()
        .map(|tree| store.put(tree, PutOptions::default(), &Ignore))
        .collect::<Result<Vec<_>, _>>()?;
    let wall = start.elapsed().as_secs_f64();
    let processor = crate::cpu::process_time() - processor;
    Ok(Put {
        bytes: disk_bytes(dir)?,
        store,
        reports,
        wall,
        processor,
    })
}

/// Reads the newest tree back and compares it; then single files, from anywhere in any version.
fn read_back(
    ctx: &mut Ctx,
    with: &Put,
    without: &Put,
    trees: &[PathBuf],
    copy: &Path,
) -> Result<(), BenchError> {
    let (Some(newest), Some(tree)) = (with.reports.last(), trees.last()) else {
        return Ok(());
    };
    with.store.extract(&newest.root, copy, &Ignore)?;
    let same = std::process::Command::new("diff")
        .args(["-r", "-q"])
        .args([tree, &copy.to_path_buf()])
        .status()?;
    if !same.success() {
        return Err(BenchError::new("what came out is not what was put"));
    }
    let (ours, peer) = (random_reads(with)?, random_reads(without)?);
    let note =
        format!("{READS} files by path, from all versions, in no order; every block verified");
    let peer = Some(("ours, store.deltas = false", &peer));
    ctx.row(
        "versions, read one file",
        "µs",
        &ours,
        peer,
        Must::Report,
        &note,
    )
}

fn random_reads(put: &Put) -> Result<Samples, BenchError> {
    let mut files = Vec::new();
    for report in &put.reports {
        put.store.list(&report.root, b"", true, &mut |entry| {
            if entry.kind == EntryKind::File && entry.size > 0 {
                files.push((report.root, entry.path));
            }
            std::ops::ControlFlow::Continue(())
        })?;
    }
    // The order of their hashes is an order in which nothing that belongs together is together.
    files.sort_by_cached_key(|(root, path)| {
        *blake3::hash(&[&root.0.0[..], path].concat()).as_bytes()
    });
    let mut micros = Samples::default();
    for (root, path) in files.iter().take(READS) {
        let start = Instant::now();
        put.store.cat(root, path, 0, 0, &mut |_| {
            std::ops::ControlFlow::Continue(())
        })?;
        micros.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(micros)
}

fn restic_all(dir: &Path, trees: &[PathBuf], content: f64) -> Result<(f64, Duration), BenchError> {
    restic::init(dir)?;
    let mut wall = Duration::ZERO;
    for tree in trees {
        wall += restic::add(dir, tree)?;
    }
    Ok((content / disk_bytes(dir)? as f64, wall))
}

fn borg_all(dir: &Path, trees: &[PathBuf], content: f64) -> Result<f64, BenchError> {
    fs::create_dir_all(dir)?;
    borg::init(dir)?;
    for (number, tree) in trees.iter().enumerate() {
        borg::create(dir, &format!("t{number}"), tree)?;
    }
    Ok(content / borg::bytes(dir)? as f64)
}
