//! What is likely to be read next is here before it is asked for.

use std::fs;
use std::path::Path;

use hypermesh_testkit::{Mesh, Node, Random, Result, at};

use crate::{Outcome, counter, put};

/// Files that are read, one after the other in the same order of every version.
const FILES: u64 = 60;

/// A version of a tree: every file differs from that of any other version.
fn version(path: &Path, number: u64) -> Outcome {
    for file in 0..FILES {
        let place = path.join(format!("part{}", file % 5));
        fs::create_dir_all(&place).map_err(at(path.display()))?;
        let mut random = Random::new(1_000 * number + file);
        let content = random.bytes(20_000 + 100 * file as usize);
        fs::write(place.join(format!("file{file}")), content).map_err(at(path.display()))?;
    }
    Ok(())
}

/// Reads the files of a root in an order that no rule gives away. Of several readers each has files and an order of its
/// own; who of them reads next is as little foreseeable, and different each time.
fn tour(node: &Node, root: &str, tree: &Path, (readers, time): (u64, u64)) -> Outcome {
    let mut random = Random::new(7);
    let mut files: Vec<(u64, u64)> = (0..FILES).map(|file| (random.number(), file)).collect();
    files.sort_unstable();
    let mut left: Vec<Vec<u64>> = vec![Vec::new(); readers as usize];
    for (_, file) in files.into_iter().rev() {
        left[(file % readers) as usize].push(file);
    }
    let mut random = Random::new(100 + time);
    while left.iter().any(|files| !files.is_empty()) {
        let reader = random.below(readers);
        let Some(file) = left[reader as usize].pop() else {
            continue;
        };
        let name = format!("part{}/file{file}", file % 5);
        let reader = (1 + reader).to_string();
        let read = node
            .command(&["cat", &format!("{root}/{name}"), "--reader", &reader])
            .output();
        let read = read.map_err(at("cat"))?.stdout;
        let there = fs::read(tree.join(&name)).map_err(at(&name))?;
        assert!(read == there, "{name} of {root} is wrong");
    }
    Ok(())
}

fn foreseen(config: &str, readers: u64) -> Result<(u64, u64)> {
    let mut mesh = Mesh::new()?;
    let a = mesh.node("a")?;
    let mut b = mesh.node_with("b", config, None)?;
    b.join(&a)?;
    a.wait_connected(&[&b])?;
    for number in 0..3 {
        let tree = mesh.path().join(format!("version{number}"));
        version(&tree, number)?;
        let (root, _) = put(&a, &tree)?;
        tour(&b, &root, &tree, (readers, number))?;
        // What was learned outlives the node.
        let pid = b.pid().ok_or("it does not run")?;
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid as i32).ok_or("no process")?,
            rustix::process::Signal::TERM,
        )
        .map_err(at("SIGTERM"))?;
        b.wait_ended()?;
        b.start()?;
        b.wait_connected(&[&a])?;
    }
    let tree = mesh.path().join("version3");
    version(&tree, 3)?;
    let (root, _) = put(&a, &tree)?;
    tour(&b, &root, &tree, (readers, 3))?;
    Ok((
        counter(&b, "hypermesh_reads_foreseen")?,
        counter(&b, "hypermesh_ahead")?,
    ))
}

#[test]
fn files_of_a_new_version_are_here_before_they_are_read() -> Outcome {
    // What is learned is kept where the layers keep theirs, also when none of them is served.
    let (foreseen, ahead) = self::foreseen("[memory]\nenabled = false\n", 1)?;
    assert!(foreseen * 2 > FILES, "{foreseen} of {FILES} were foreseen");
    assert!(ahead < 2 * FILES, "{ahead} were fetched ahead");
    Ok(())
}

#[test]
fn readers_at_the_same_time_are_foreseen_each() -> Outcome {
    // Layer 4 alone: what is read together, layer 3 would find as well.
    let (foreseen, ahead) = self::foreseen("[alm]\nenabled = false\n", 3)?;
    assert!(foreseen * 2 > FILES, "{foreseen} of {FILES} were foreseen");
    assert!(ahead < 2 * FILES, "{ahead} were fetched ahead");
    Ok(())
}

#[test]
fn nothing_is_fetched_ahead_where_that_is_switched_off() -> Outcome {
    let none = foreseen("[prefetch]\nenabled = false\n", 1)?;
    assert_eq!(none, (0, 0));
    let none = foreseen("[prefetch]\nbudget = \"1 KiB\"\n", 1)?;
    assert_eq!(none, (0, 0), "no file is that small");
    Ok(())
}
