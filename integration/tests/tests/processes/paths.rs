//! Peers and network paths that stop.

use hypermesh_testkit::{Forwarder, Mesh, Random, tree};

use crate::{Outcome, fsck, put, text};

const NO_ALM: &str = "[alm]\nenabled = false\n";

#[test]
fn a_provider_that_goes_silent_is_replaced() -> Outcome {
    let mut mesh = Mesh::new()?;
    let (a, b, c) = (mesh.node("a")?, mesh.node("b")?, mesh.node("c")?);
    b.join(&a)?;
    c.join(&a)?;
    let path = mesh.path().join("tree");
    // So much that it takes many times the interval between two reports of progress.
    tree::write(&path, &mut Random::new(41), 300, 400_000)?;
    let (root, _) = put(&a, &path)?;
    b.wait_connected(&[&a])?;
    b.ok(&["get", &root, "--store"])?;
    c.wait_connected(&[&a, &b])?;
    let copy = mesh.path().join("copy");
    let mut job = c.job(&["get", &root, text(&copy)])?;
    let stopped =
        rustix::process::Pid::from_raw(i32::try_from(a.pid().ok_or("not running")?).unwrap())
            .unwrap();
    let mut missing = None;
    while let Some(progress) = job.progress() {
        let done = progress["bytes_done"].as_u64().unwrap_or_default();
        let total = progress["bytes_total"].as_u64().unwrap_or_default();
        if missing.is_none() && progress["phase"] == "fetch" && done > 0 && done < total {
            // It keeps its connections and says nothing more.
            rustix::process::kill_process(stopped, rustix::process::Signal::STOP).unwrap();
            missing = Some(total - done);
        }
    }
    assert!(
        missing.is_some(),
        "everything had arrived before the provider could be stopped: nothing was tested"
    );
    let answer = job.finish()?;
    assert_eq!(answer.code, 0, "{answer:?}");
    tree::compare(&path, &copy).map(drop)
}

#[test]
fn with_every_path_cut_the_error_is_clear_and_nothing_is_left() -> Outcome {
    let mut mesh = Mesh::new()?;
    // Either may dial the other.
    let fronts = [Forwarder::new()?, Forwarder::new()?];
    let a = mesh.node_with("a", NO_ALM, Some(&fronts[0]))?;
    let c = mesh.node_with("c", NO_ALM, Some(&fronts[1]))?;
    c.join(&a)?;
    let path = mesh.path().join("tree");
    tree::write(&path, &mut Random::new(42), 60, 400_000)?;
    let (root, _) = put(&a, &path)?;
    c.wait_connected(&[&a])?;
    fronts.iter().for_each(|front| front.cut_after(500_000));
    let copy = mesh.path().join("copy");
    let answer = c.run(&["get", &root, text(&copy)])?;
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("what arrived is kept"), "{answer:?}");
    assert!(!copy.exists());
    fsck(&c)
}
