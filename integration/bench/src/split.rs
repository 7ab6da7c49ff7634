//! A node as several processes beside the same node as one: what the sockets between its components cost.

use std::fs;
use std::path::Path;
use std::time::Instant;

use hypermesh_testkit::{Mesh, Node, Random, tree};

use crate::files::noise;
use crate::record::{BenchError, Ctx, Must, Samples};

/// The file of one round, and the rounds.
const FILE_BYTES: u64 = 256 << 20;
const ROUNDS: u64 = 5;
const QUICK_FILE_BYTES: u64 = 32 << 20;
/// Files of a small tree, and their bytes on average.
const FILES: u64 = 400;
const SMALL_BYTES: u64 = 8_000;
const MB: f64 = 1e6;

/// Two nodes of one shape, and what was measured on them.
struct Shape {
    mesh: Mesh,
    a: Node,
    b: Node,
    put: Samples,
    get: Samples,
    small: Samples,
    idle: Samples,
}

impl Shape {
    fn start(mut mesh: Mesh) -> Result<Self, String> {
        let (a, b) = (mesh.node("a")?, mesh.node("b")?);
        b.join(&a)?;
        a.wait_connected(&[&b])?;
        b.wait_connected(&[&a])?;
        Ok(Self {
            mesh,
            a,
            b,
            put: Samples::default(),
            get: Samples::default(),
            small: Samples::default(),
            idle: Samples::default(),
        })
    }

    /// Puts at one node, gets at the other; the seconds of each.
    fn move_over(&self, path: &Path) -> Result<(f64, f64), BenchError> {
        let began = Instant::now();
        let put = self.a.ok(&["put", &path.to_string_lossy()]);
        let root = put.map_err(BenchError::new)?;
        let putting = began.elapsed().as_secs_f64();
        let began = Instant::now();
        let got = self.b.ok(&["get", root.trim(), "--store"]);
        got.map_err(BenchError::new)?;
        Ok((putting, began.elapsed().as_secs_f64()))
    }

    fn resident(&self) -> Result<f64, BenchError> {
        let status = self.b.json(&["status"]).map_err(BenchError::new)?;
        let bytes = status["resident_bytes"].as_f64();
        Ok(bytes.ok_or_else(|| BenchError::new("no resident_bytes"))? / MB)
    }
}

pub(crate) fn run(ctx: &mut Ctx) -> Result<(), BenchError> {
    let (bytes, rounds) = if ctx.quick {
        (QUICK_FILE_BYTES, 1)
    } else {
        (FILE_BYTES, ROUNDS)
    };
    let start = |mesh: Result<Mesh, String>| mesh.and_then(Shape::start).map_err(BenchError::new);
    let mut shapes = [start(Mesh::split())?, start(Mesh::whole())?];
    for shape in &mut shapes {
        let resident = shape.resident()?;
        shape.idle.push(resident);
    }
    let mut random = Random::new(81);
    for round in 0..rounds {
        for (number, shape) in shapes.iter_mut().enumerate() {
            let file = shape.mesh.path().join("file");
            noise(&file, bytes, 2 * round + number as u64)?;
            let (putting, getting) = shape.move_over(&file)?;
            shape.put.push(bytes as f64 / MB / putting);
            shape.get.push(bytes as f64 / MB / getting);
            fs::remove_file(&file)?;
            let small = shape.mesh.path().join(format!("small-{round}"));
            tree::write(&small, &mut random, FILES, SMALL_BYTES).map_err(BenchError::new)?;
            let (_, getting) = shape.move_over(&small)?;
            shape.small.push(getting * 1e3);
        }
    }
    let mib = bytes >> 20;
    let [split, one] = &shapes;
    let peer = |samples| Some(("the same as one process", samples));
    let note =
        format!("one file of {mib} MiB of random bytes, from the command's start to its end");
    let put = peer(&one.put);
    ctx.row("split, put", "MB/s", &split.put, put, Must::Report, &note)?;
    let note = format!(
        "`hypermesh get --store` of the same file: state to transport at one node, transport to state at the other, over their sockets; both nodes on this machine's {} cores",
        crate::cpu::allowed()?.len()
    );
    let get = peer(&one.get);
    ctx.row("split, get", "MB/s", &split.get, get, Must::Report, &note)?;
    let note = format!("`hypermesh get --store` of {FILES} files of about {SMALL_BYTES} bytes");
    let small = peer(&one.small);
    ctx.row(
        "split, get of a small tree",
        "ms",
        &split.small,
        small,
        Must::Report,
        &note,
    )?;
    let note = "resident memory of all processes of a node with one peer connected, without almd and ifrd; what processes share is counted in each";
    let idle = peer(&one.idle);
    ctx.row(
        "split, idle memory",
        "MB",
        &split.idle,
        idle,
        Must::Report,
        note,
    )
}
