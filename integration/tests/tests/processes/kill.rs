//! SIGKILL at any moment: what was acknowledged stays, what was interrupted goes on.
//!
//! The points are spread over the whole operation: while content comes in, while it is written out,
//! and between the last byte and the answer, where the commit and the rename are.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use hypermesh_testkit::{Job, Mesh, Random, tree};

use crate::{Outcome, fsck, put, status, text};

/// Of each test. A start of several processes takes longer, and the store that they find is opened by the same code.
fn points() -> u64 {
    if hypermesh_testkit::split() { 70 } else { 200 }
}

const FILES: u64 = 20;
/// Small: every point checks all that was stored before it.
const FILE_BYTES: u64 = 40_000;

#[test]
fn a_put_that_is_killed_loses_nothing_acknowledged() -> Outcome {
    let mut mesh = Mesh::new()?;
    let mut node = mesh.node("a")?;
    let mut random = Random::new(11);
    let mut acknowledged: Vec<(String, std::path::PathBuf)> = Vec::new();
    let mut end = End::default();
    for point in 0..points() {
        let path = mesh.path().join(format!("tree-{point}"));
        // One in four is a version of one tree: what it adds is stored as deltas, in a tenth or so.
        let versions = point % 4 == 0;
        if versions {
            tree::write_version(&path, 11, point, FILES, FILE_BYTES)?;
        } else {
            tree::write(&path, &mut random, FILES, FILE_BYTES)?;
        }
        let segments = node.directory().join("blocks/segments");
        let (start, all) = (bytes_below(&segments), bytes_below(&path));
        let all = if versions { all / 10 } else { all };
        let in_the_end = point % 2 == 1;
        let after = start + if in_the_end { all } else { random.below(all) };
        let mut job = node.job(&["put", text(&path)])?;
        watch(&mut job, || bytes_below(&segments) >= after)?;
        if in_the_end {
            end.wait(&mut random);
        }
        node.kill();
        let answer = job.finish()?;
        if in_the_end {
            end.note(answer.code == 0);
        }
        node.start()?;
        if answer.code == 0 {
            let root = answer.object()?["root"]
                .as_str()
                .ok_or("no root")?
                .to_owned();
            acknowledged.push((root, path.clone()));
        }
        fsck(&node).map_err(|error| format!("point {point}: {error}"))?;
        if let Some((root, path)) =
            acknowledged.get(random.below(acknowledged.len() as u64) as usize)
        {
            let copy = mesh.path().join("copy");
            node.ok(&["get", root, text(&copy)])
                .map_err(|error| format!("point {point}: {error}"))?;
            tree::compare(path, &copy).map_err(|error| format!("point {point}: {error}"))?;
            fs::remove_dir_all(&copy).map_err(|error| error.to_string())?;
        }
        if answer.code != 0 {
            // The same put goes on and ends.
            acknowledged.push((put(&node, &path)?.0, path));
        }
    }
    for (root, path) in &acknowledged {
        let copy = mesh.path().join("copy");
        node.ok(&["get", root, text(&copy)])?;
        tree::compare(path, &copy)?;
        fs::remove_dir_all(&copy).map_err(|error| error.to_string())?;
    }
    assert_eq!(acknowledged.len() as u64, points());
    end.was_on_both_sides();
    Ok(())
}

#[test]
fn a_get_that_is_killed_does_not_fetch_again_what_is_there() -> Outcome {
    let mut mesh = Mesh::new()?;
    let a = mesh.node("a")?;
    let mut b = mesh.node("b")?;
    b.join(&a)?;
    let mut random = Random::new(12);
    let mut end = End::default();
    let (mut fetching, mut writing) = (0, 0);
    for point in 0..points() {
        let path = mesh.path().join(format!("tree-{point}"));
        tree::write(&path, &mut random, FILES, FILE_BYTES)?;
        let (root, _) = put(&a, &path)?;
        b.wait_connected(&[&a])?;
        let before = status(&b, "/store/blocks")?;
        // The copy and the hidden directory that it grows in have this place to themselves.
        let place = mesh.path().join(format!("place-{point}"));
        fs::create_dir(&place).map_err(|error| error.to_string())?;
        let copy = place.join("copy");
        let segments = b.directory().join("blocks/segments");
        let (start, all) = (bytes_below(&segments), bytes_below(&path));
        let some = random.below(all);
        let mut job = b.job(&["get", &root, text(&copy)])?;
        match point % 3 {
            0 => watch(&mut job, || bytes_below(&segments) >= start + some)?,
            1 => watch(&mut job, || bytes_below(&place) > some)?,
            _ => {
                watch(&mut job, || copy.exists() || bytes_below(&place) >= all)?;
                end.wait(&mut random);
            }
        }
        b.kill();
        let answer = job.finish()?;
        if point % 3 == 2 {
            end.note(answer.code == 0);
        }
        b.start()?;
        fsck(&b).map_err(|error| format!("point {point}: {error}"))?;
        if answer.code == 0 {
            tree::compare(&path, &copy).map_err(|error| format!("point {point}: {error}"))?;
            continue;
        }
        if copy.exists() {
            // Killed after the last step and before its answer: then the copy is whole.
            tree::compare(&path, &copy).map_err(|error| format!("point {point}: {error}"))?;
            continue;
        }
        let arrived = status(&b, "/store/blocks")? - before;
        b.wait_connected(&[&a])?;
        let got = b.json(&["get", &root, text(&copy)])?;
        tree::compare(&path, &copy).map_err(|error| format!("point {point}: {error}"))?;
        assert_eq!(unfinished(&copy)?, 0, "point {point}: half a copy stays");
        let fetched = got["fetched_blocks"].as_u64().ok_or("no fetched_blocks")?;
        let all = status(&b, "/store/blocks")? - before;
        assert_eq!(
            arrived + fetched,
            all,
            "point {point}: something was fetched twice"
        );
        // The copy is written while the rest comes; with everything here, it was all that was left to do.
        if fetched > 0 {
            fetching += 1;
        } else {
            writing += 1;
        }
    }
    assert!(
        fetching > 0 && writing > 0,
        "{fetching} gets were killed while they fetched, {writing} while they only wrote"
    );
    end.was_on_both_sides();
    Ok(())
}

/// Waits until a job has come to a point, or has ended. Looks as often as it can: the whole job takes
/// some milliseconds.
fn watch(job: &mut Job, mut reached: impl FnMut() -> bool) -> Outcome {
    let start = Instant::now();
    while !reached() && !job.ended() {
        if start.elapsed() > Duration::from_secs(60) {
            return Err("the job neither ended nor came on within 60 s".into());
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}

/// Points between the last byte and the answer. How long that takes is this machine's and this hour's
/// affair: the span that points are drawn from follows what was hit.
struct End {
    span: Duration,
    interrupted: u64,
    answered: u64,
}

impl Default for End {
    fn default() -> Self {
        Self {
            span: Duration::from_millis(4),
            interrupted: 0,
            answered: 0,
        }
    }
}

impl End {
    fn wait(&self, random: &mut Random) {
        let span = u64::try_from(self.span.as_micros()).unwrap_or(u64::MAX);
        std::thread::sleep(Duration::from_micros(random.below(span)));
    }

    fn note(&mut self, answered: bool) {
        if answered {
            self.answered += 1;
            self.span = (self.span * 3 / 4).max(Duration::from_micros(100));
        } else {
            self.interrupted += 1;
            self.span = (self.span * 4 / 3).min(Duration::from_secs(1));
        }
    }

    fn was_on_both_sides(&self) {
        assert!(
            self.interrupted > 0 && self.answered > 0,
            "{} points before the answer, {} after it",
            self.interrupted,
            self.answered
        );
    }
}

/// Bytes of the files below a path now.
fn bytes_below(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes_below(&entry.path()),
            Ok(meta) if meta.is_file() => meta.len(),
            _ => 0,
        })
        .sum()
}

/// How many hidden directories of unfinished extractions are beside a copy.
fn unfinished(copy: &Path) -> Result<usize, String> {
    let name = copy.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!(".{name}.hypermesh-");
    let directory = copy.parent().ok_or("no parent")?;
    let entries = fs::read_dir(directory).map_err(|error| error.to_string())?;
    let names = entries.flatten().map(|entry| entry.file_name());
    Ok(names
        .filter(|name| name.to_string_lossy().starts_with(&prefix))
        .count())
}
