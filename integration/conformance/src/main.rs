//! Every client of the local wire against every server: `conformance [--containers] [NAME…]`.
//!
//! With `--containers` each program is in one, and nodes are tried on a network; without an engine it ends with status 77.
//!
//! A cell is a client, a server and a section of `../script.txt`; each has processes of its own. Names pick languages or
//! sections. The last line is `totals: …`; what a language does not support is listed with its reason and counts as
//! skipped.
#![forbid(unsafe_code)]

mod cell;
mod containers;
mod mesh;
mod programs;
mod raw;
mod referee;
mod script;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::cell::{Outcome, Setup};
use crate::containers::{Engine, Fleet};
use crate::programs::{Places, Program};
use crate::script::Section;

/// The status of a test that could not be made, as automake has it.
const NOT_TRIED: u8 = 77;

/// Cells at a time: most of their time is waiting.
const AT_ONCE: usize = 6;

struct Cell<'a> {
    client: &'a Program,
    server: &'a Program,
    section: &'a Section,
}

fn main() -> ExitCode {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    if names.first().is_some_and(|name| name == "hold") {
        containers::hold();
        return ExitCode::SUCCESS;
    }
    let count = names.len();
    names.retain(|name| name != "--containers");
    let result = if names.len() == count {
        run(&names)
    } else {
        match Engine::find() {
            Ok(engine) => run_in_containers(&engine, &names),
            Err(reason) => {
                eprintln!("NOT TRIED: containers: {reason}");
                return ExitCode::from(NOT_TRIED);
            }
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("conformance: {problem}");
            ExitCode::from(2)
        }
    }
}

fn places() -> Result<Places, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let built = own.parent().ok_or("no directory of its own")?.to_path_buf();
    // The tree that this was built from; a copy of it elsewhere is told by the environment.
    let root = std::env::var_os("HYPERMESH_ROOT").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."),
        PathBuf::from,
    );
    let root = root
        .canonicalize()
        .map_err(|error| format!("{}: {error}", root.display()))?;
    Ok(Places { built, root })
}

/// Where cells have their sockets and logs.
fn place() -> Result<tempfile::TempDir, String> {
    let place = tempfile::Builder::new().prefix("hmc").tempdir();
    place.map_err(|error| error.to_string())
}

fn run(names: &[String]) -> Result<bool, String> {
    let (places, place) = (places()?, place()?);
    let servers = [places.servers(), places.ifrd()].concat();
    let clients = places.clients();
    check_built(&clients, &servers)?;
    let vectors = places.vectors();
    let at = (place.path(), vectors.as_path());
    matrix(&places, (&clients, &servers), at, names)
}

fn run_in_containers(engine: &Engine, names: &[String]) -> Result<bool, String> {
    let (places, place) = (places()?, place()?);
    let servers = [places.servers(), places.ifrd()].concat();
    check_built(&places.clients(), &servers)?;
    containers::base(engine, &places)?;
    let mut passed = true;
    let is_mesh = names.iter().any(|name| name == "mesh");
    if !is_mesh {
        let mut fleet = Fleet::new(engine, place.path());
        let all = |places: &Places| [places.servers(), places.ifrd()].concat();
        let servers = fleet.programs("server", &places, all)?;
        let clients = fleet.programs("client", &places, Places::clients)?;
        let vectors = containers::vectors();
        let at = (place.path(), vectors.as_path());
        passed = matrix(&places, (&clients, &servers), at, names)?;
    }
    if is_mesh || names.is_empty() {
        let fleet = Fleet::new(engine, place.path());
        let totals = match mesh::run(fleet, &places, place.path()) {
            Ok(done) => {
                done.iter().for_each(|line| println!("mesh: {line}"));
                "totals: 1 passed; 0 failed; 0 skipped"
            }
            Err(problem) => {
                passed = false;
                println!("mesh: FAILED: {problem}");
                "totals: 0 passed; 1 failed; 0 skipped"
            }
        };
        println!("{totals}");
    }
    Ok(passed)
}

fn check_built(clients: &[Program], servers: &[Program]) -> Result<(), String> {
    let mut files = clients.iter().chain(servers).flat_map(Program::files);
    match files.find(|file| !file.is_file()) {
        None => Ok(()),
        Some(file) => {
            let file = file.display();
            Err(format!(
                "{file} is not built: `./make test-matrix` builds it"
            ))
        }
    }
}

/// Runs the cells that are named; all without a name. `at`: where they have their sockets, and where the clients find the
/// vectors.
fn matrix(
    places: &Places,
    (clients, servers): (&[Program], &[Program]),
    at: (&Path, &Path),
    names: &[String],
) -> Result<bool, String> {
    let text = std::fs::read_to_string(places.root.join("integration/conformance/script.txt"));
    let sections = script::parse(&text.map_err(|error| format!("script.txt: {error}"))?)?;
    let is_wanted = |cell: &Cell<'_>| {
        let words = [
            format!("client={}", cell.client.language),
            format!("server={}", cell.server.language),
            cell.section.name.clone(),
        ];
        names.iter().all(|name| words.contains(name))
    };
    let mut cells = Vec::new();
    for client in clients {
        for server in servers {
            let of_ifrd = server.language == "ifrd";
            let sections = sections.iter().filter(|one| one.of_ifrd == of_ifrd);
            let all = sections.map(|section| Cell {
                client,
                server,
                section,
            });
            cells.extend(all.filter(is_wanted));
        }
    }
    if cells.is_empty() {
        return Err(
            "no such cell: client=LANGUAGE, server=LANGUAGE, or a section of script.txt".into(),
        );
    }
    let outcomes = play(&cells, at, &places.vectors())?;
    Ok(table(&cells, &outcomes, &sections))
}

/// Runs all cells, several at a time.
fn play(
    cells: &[Cell<'_>],
    (place, client_vectors): (&Path, &Path),
    vectors: &Path,
) -> Result<Vec<Outcome>, String> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((index, cell)) = take(cells, &next) {
                    let started = Instant::now();
                    let setup = Setup {
                        client: cell.client,
                        server: cell.server,
                        vectors,
                        client_vectors,
                        place: place.join(index.to_string()),
                    };
                    let outcome = cell::run(&setup, cell.section);
                    let (client, server) = (cell.client.language, cell.server.language);
                    let (name, ms) = (&cell.section.name, started.elapsed().as_millis());
                    let said = match &outcome {
                        Outcome::Passed => "ok".to_owned(),
                        Outcome::Gap(reason) => format!("gap: {reason}"),
                        Outcome::Failed(text) => format!("FAILED: {text}"),
                    };
                    println!("{client} -> {server} {name} ({ms} ms): {said}");
                    if let Ok(mut outcomes) = outcomes.lock() {
                        outcomes.insert(index, outcome);
                    }
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().map_err(|_| "a cell panicked")?;
    if outcomes.len() < cells.len() {
        return Err("a cell has no outcome".into());
    }
    Ok(outcomes.into_values().collect())
}

fn take<'a, 'b>(cells: &'b [Cell<'a>], next: &AtomicUsize) -> Option<(usize, &'b Cell<'a>)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    cells.get(index).map(|cell| (index, cell))
}

/// Prints who could do what with whom, and why not. Whether nothing failed.
fn table(cells: &[Cell<'_>], outcomes: &[Outcome], sections: &[Section]) -> bool {
    let mut rows: BTreeMap<(&str, &str), BTreeMap<&str, &Outcome>> = BTreeMap::new();
    for (cell, outcome) in cells.iter().zip(outcomes) {
        let row = rows
            .entry((cell.client.language, cell.server.language))
            .or_default();
        row.insert(&cell.section.name, outcome);
    }
    println!();
    let names: Vec<&str> = sections
        .iter()
        .map(|section| section.name.as_str())
        .collect();
    println!("{:<16} {}", "client -> server", names.join(" "));
    let mut gaps: BTreeMap<String, usize> = BTreeMap::new();
    let (mut passed, mut failed) = (0, 0);
    for ((client, server), row) in &rows {
        let marks = names.iter().map(|name| {
            let mark = match row.get(name) {
                None => "",
                Some(Outcome::Passed) => {
                    passed += 1;
                    "ok"
                }
                Some(Outcome::Gap(reason)) => {
                    *gaps
                        .entry(format!("{name}, {client} client: {reason}"))
                        .or_default() += 1;
                    "gap"
                }
                Some(Outcome::Failed(_)) => {
                    failed += 1;
                    "FAILED"
                }
            };
            format!("{mark:<width$}", width = name.len())
        });
        let marks: Vec<String> = marks.collect();
        println!(
            "{:<16} {}",
            format!("{client} -> {server}"),
            marks.join(" ").trim_end()
        );
    }
    for (gap, count) in &gaps {
        println!("gap in {count} cells: {gap}");
    }
    let skipped: usize = gaps.values().sum();
    println!("totals: {passed} passed; {failed} failed; {skipped} skipped");
    failed == 0
}
