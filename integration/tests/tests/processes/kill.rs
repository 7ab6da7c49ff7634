//! SIGKILL at any moment: what was acknowledged stays, what was interrupted goes on.

use std::fs;
use std::path::Path;
use std::time::Duration;

use hypermesh_testkit::{Mesh, Random, tree, until};

use crate::{Outcome, fsck, put, status, text};

const POINTS: u64 = 100;
const FILES: u64 = 30;
const FILE_BYTES: u64 = 120_000;

#[test]
fn a_put_that_is_killed_loses_nothing_acknowledged() -> Outcome {
    let mut mesh = Mesh::new()?;
    let mut node = mesh.node("a")?;
    let mut random = Random::new(11);
    let mut acknowledged: Vec<(String, std::path::PathBuf)> = Vec::new();
    for point in 0..POINTS {
        let path = mesh.path().join(format!("tree-{point}"));
        tree::write(&path, &mut random, FILES, FILE_BYTES)?;
        let start = node.store_bytes();
        let after = start + random.below(FILES * FILE_BYTES / 3);
        let mut job = node.job(&["put", text(&path)])?;
        until(
            "bytes in the store, or the end",
            Duration::from_secs(60),
            || Ok((job.ended() || node.store_bytes() >= after).then_some(())),
        )?;
        node.kill();
        let answer = job.finish()?;
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
    assert_eq!(acknowledged.len() as u64, POINTS);
    Ok(())
}

#[test]
fn a_get_that_is_killed_does_not_fetch_again_what_is_there() -> Outcome {
    let mut mesh = Mesh::new()?;
    let a = mesh.node("a")?;
    let mut b = mesh.node("b")?;
    b.join(&a)?;
    let mut random = Random::new(12);
    let mut interrupted = 0;
    for point in 0..POINTS {
        let path = mesh.path().join(format!("tree-{point}"));
        tree::write(&path, &mut random, FILES, FILE_BYTES)?;
        let (root, _) = put(&a, &path)?;
        b.wait_connected(&[&a])?;
        let before = status(&b, "/store/blocks")?;
        let after = b.store_bytes() + random.below(FILES * FILE_BYTES / 3);
        let copy = mesh.path().join(format!("copy-{point}"));
        let mut job = b.job(&["get", &root, text(&copy)])?;
        until(
            "bytes in the store, or the end",
            Duration::from_secs(60),
            || Ok((job.ended() || b.store_bytes() >= after).then_some(())),
        )?;
        b.kill();
        let answer = job.finish()?;
        b.start()?;
        fsck(&b).map_err(|error| format!("point {point}: {error}"))?;
        if answer.code == 0 {
            tree::compare(&path, &copy).map_err(|error| format!("point {point}: {error}"))?;
            continue;
        }
        interrupted += 1;
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
    }
    assert!(interrupted > 0, "no get was ever interrupted");
    Ok(())
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
