//! Seven that vote: two may fail. They are restarted one after the other, and one is replaced, while clients change names.

use hypermesh_testkit::{Mesh, Node, until};
use rustix::process::{Signal, kill_process};

use super::history::{Load, outcomes};
use super::{Waiting, all_decide, decided, nobody_is_blamed, processes, seed};
use crate::Outcome;
use crate::order::{
    AGREED, gone, join, mesh, promote, quorum, role, same_state, some_root, voting,
};

/// Changes that are decided between two steps.
const BETWEEN: u64 = 10;

#[test]
fn seven_go_on_without_two_and_stand_still_without_three() -> Outcome {
    let mut place = Mesh::new()?;
    let mut nodes = voting(7, |number| place.node(&format!("n{number}")))?;
    let root = some_root(&place, &nodes[0], 521)?;
    for node in &mut nodes[5..] {
        node.kill();
    }
    let five: Vec<&Node> = nodes[..5].iter().collect();
    all_decide(&five, "five", &root)?;
    same_state(&five)?;
    nodes[4].kill();
    let before = decided(&nodes[0])?;
    let waiting = Waiting::start(&nodes[0], "four", &root)?;
    // It says who is there, once it knows.
    until("four connected voters", AGREED, || {
        let said = mesh(&nodes[0])?;
        Ok((said["connected"].as_array().map(Vec::len) == Some(4)).then_some(()))
    })?;
    assert_eq!(decided(&nodes[0])?, before);
    nodes[4].start()?;
    waiting.done()?;
    for node in &mut nodes[5..] {
        node.start()?;
    }
    let all: Vec<&Node> = nodes.iter().collect();
    all_decide(&all, "seven", &root)?;
    same_state(&all)?;
    nobody_is_blamed(&all)
}

#[test]
fn seven_are_restarted_and_one_is_replaced_under_load() -> Outcome {
    let (seed, _) = seed(522);
    let mut place = Mesh::new()?;
    let mut nodes = voting(7, |number| place.node(&format!("n{number}")))?;
    let all: Vec<&Node> = nodes.iter().collect();
    let mut load = Load::start(&place, &all, 7, seed)?;
    for node in &mut nodes {
        load.wait(BETWEEN)?;
        // As a service manager does it.
        kill_process(processes(node)?[0], Signal::TERM).map_err(|error| error.to_string())?;
        let status = node.wait_ended()?;
        assert!(status.success(), "{status}");
        node.start()?;
    }
    load.wait(BETWEEN)?;
    let new = place.node("new")?;
    let all: Vec<&Node> = nodes.iter().collect();
    join(&new, &all)?;
    load.wait(BETWEEN)?;
    promote(&new, &all)?;
    load.wait(BETWEEN)?;
    let eight: Vec<&Node> = nodes[..6].iter().chain([&new, &nodes[6]]).collect();
    for voter in &eight[..quorum(8)] {
        voter.ok(&["--quiet", "members", "remove", nodes[6].id()])?;
    }
    let seven = &eight[..7];
    gone(seven, &nodes[6])?;
    load.wait(BETWEEN)?;
    for of in seven {
        assert_eq!(role(seven[0], of)?, "voter");
    }
    let counts = load.check()?;
    assert!(outcomes(&counts, "done") > 5, "{counts}");
    same_state(seven)?;
    nobody_is_blamed(seven)
}
