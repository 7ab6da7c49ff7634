//! What each layer of the memory is worth: the same work by nodes that have all of them, and by nodes that lack one.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};
use hypermesh_testkit::{Forwarder, Mesh, Node, Random, Result, at};

use crate::show::{Show, size};
use crate::{field, text};

/// The way to the node that has everything, in each direction: as to another region.
const DELAY: Duration = Duration::from_millis(10);
/// Files that are read one after the other.
const FILES: usize = 16;

/// Who does the work, and with what.
const CASES: &[(&str, &str)] = &[
    ("all layers", ""),
    (
        "without DSR: no deltas",
        "[store]\ndeltas = false\n[transfer]\ndeltas = false\n",
    ),
    ("without ALM: no associations", "[alm]\nenabled = false\n"),
    (
        "without CPE: nothing is foreseen",
        "[prefetch]\nenabled = false\n",
    ),
];

/// Versions of the tree: in the third, each of the files that are read one by one has changed.
struct Roots {
    first: String,
    second: String,
    third: String,
}

/// What a node took for its work.
struct Row {
    name: &'static str,
    /// Reading files of the third version, one by one.
    reads: Duration,
    foreseen: u64,
    /// Getting all of the second version.
    get: Duration,
    moved: u64,
}

/// Reads and gets versions of a tree over a long path, once for each case, and shows what it took. Edits the second of
/// these.
pub(crate) fn compare(mesh: &mut Mesh, show: &Show, versions: [&Path; 2]) -> Result<()> {
    let front = Forwarder::new()?;
    let far = mesh.node_with("far", "", Some(&front))?;
    show.say(&format!(
        "a node of another region, {} ms away, has all versions; what is each layer worth to a node here?",
        2 * DELAY.as_millis()
    ));
    let tour = tour(versions)?;
    let root = |version: &Path| field(&far.json(&["put", text(version)?])?, "root");
    let (first, second) = (root(versions[0])?, root(versions[1])?);
    // What did not change is here after the first version, whoever foresees it.
    for name in &tour {
        append(&versions[1].join(name))?;
    }
    let roots = Roots {
        first,
        second,
        third: root(versions[1])?,
    };
    let mut rows = Vec::new();
    for (number, (name, config)) in CASES.iter().enumerate() {
        // Either may dial the other, and both ways are as long.
        let own = Forwarder::new()?;
        front.set_delay(Duration::ZERO);
        let mut node = mesh.node_with(&format!("near{number}"), config, Some(&own))?;
        node.join(&far)?;
        node.wait_connected(&[&far])?;
        front.set_delay(DELAY);
        own.set_delay(DELAY);
        rows.push(work(&node, name, &roots, &tour)?);
        node.kill();
    }
    show_rows(&rows);
    Ok(())
}

/// Files that both versions have, in an order that no rule gives away, the same for every case.
fn tour(versions: [&Path; 2]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut places = vec![versions[0].to_path_buf()];
    while let Some(place) = places.pop() {
        for entry in fs::read_dir(&place).map_err(at(place.display()))? {
            let path = entry.map_err(at(place.display()))?.path();
            let meta = path.symlink_metadata().map_err(at(path.display()))?;
            if meta.is_dir() {
                places.push(path);
                continue;
            }
            let Ok(below) = path.strip_prefix(versions[0]) else {
                continue;
            };
            // What the command can be given as an argument, and what is worth a look.
            if let Some(name) = below.to_str()
                && meta.is_file()
                && meta.len() > 0
                && versions[1].join(below).is_file()
            {
                found.push(name.to_owned());
            }
        }
    }
    found.sort_unstable();
    let mut random = Random::new(11);
    let mut drawn: Vec<(u64, String)> = found
        .into_iter()
        .map(|name| (random.number(), name))
        .collect();
    drawn.sort_unstable();
    drawn.truncate(FILES);
    Ok(drawn.into_iter().map(|(_, name)| name).collect())
}

/// Another line at the end of a file; its mode may forbid writing, not to its owner.
fn append(path: &Path) -> Result<()> {
    let mode = fs::metadata(path)
        .map_err(at(path.display()))?
        .permissions();
    fs::set_permissions(path, fs::Permissions::from_mode(mode.mode() | 0o200))
        .and_then(|()| OpenOptions::new().append(true).open(path))
        .and_then(|mut file| file.write_all(b"\nanother line\n"))
        .and_then(|()| fs::set_permissions(path, mode))
        .map_err(at(path.display()))
}

fn work(node: &Node, name: &'static str, roots: &Roots, tour: &[String]) -> Result<Row> {
    read(node, &roots.first, tour)?;
    let started = Instant::now();
    read(node, &roots.third, tour)?;
    let reads = started.elapsed();
    let foreseen = foreseen(node)?;
    node.ok(&["get", &roots.first, "--store"])?;
    let started = Instant::now();
    let got = node.json(&["get", &roots.second, "--store"])?;
    Ok(Row {
        name,
        reads,
        foreseen,
        get: started.elapsed(),
        moved: ["asked_bytes", "answered_bytes"]
            .iter()
            .filter_map(|name| got[name].as_u64())
            .sum(),
    })
}

fn read(node: &Node, root: &str, tour: &[String]) -> Result<()> {
    for file in tour {
        let output = node.command(&["cat", &format!("{root}/{file}")]).output();
        let output = output.map_err(at("cat"))?;
        if !output.status.success() {
            return Err(format!(
                "cat {file}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ));
        }
    }
    Ok(())
}

/// Files that were here before they were read.
fn foreseen(node: &Node) -> Result<u64> {
    let scraped = node.ok(&["ipc", "call", "metrics", "scrape"])?;
    let value = scraped.lines().find_map(|line| {
        line.trim()
            .strip_prefix("hypermesh_reads_foreseen ")?
            .parse()
            .ok()
    });
    Ok(value.unwrap_or_default())
}

fn show_rows(rows: &[Row]) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_BORDERS_ONLY_CONDENSED);
    let reads = format!("read {FILES} files");
    table.set_header([
        "a node with",
        &reads,
        "here before",
        "get second version",
        "bytes moved",
    ]);
    for row in rows {
        table.add_row([
            row.name.to_owned(),
            format!("{:.2} s", row.reads.as_secs_f64()),
            row.foreseen.to_string(),
            format!("{:.2} s", row.get.as_secs_f64()),
            size(row.moved),
        ]);
    }
    for column in 1..5 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{table}");
}
