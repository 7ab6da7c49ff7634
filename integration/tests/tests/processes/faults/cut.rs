//! Four whose paths are cut, one way or both, and one that is stopped for a while: a quorum goes on, less stands still, and
//! afterwards all have the same.

use hypermesh_testkit::{Links, Mesh, Node, Result, until};

use super::{Stopped, Waiting, all_decide, decided, nobody_is_blamed};
use crate::Outcome;
use crate::order::{AGREED, mesh, number, same_state, some_root, voting};

const NO_ALM: &str = "[alm]\nenabled = false\n";

/// Four that reach each other through paths that can be cut.
fn linked(place: &mut Mesh) -> Result<(Links, Vec<Node>)> {
    let links = Links::new(4)?;
    let nodes = voting(4, |number| {
        let node = place.node_with(&format!("n{number}"), NO_ALM, links.front(number))?;
        links.name(number, node.address()?);
        Ok(node)
    })?;
    Ok((links, nodes))
}

/// The number of voters that a node is connected to, itself included.
fn connected(node: &Node) -> Result<usize> {
    let said = mesh(node)?;
    Ok(said["connected"].as_array().map_or(0, Vec::len))
}

fn wait_connected(node: &Node, count: usize) -> Outcome {
    until("connections of voters", AGREED, || {
        Ok((connected(node)? == count).then_some(()))
    })
    .map_err(|error| format!("{error}\n{}", node.log_end()))
}

#[test]
fn two_and_two_stand_still_until_they_meet() -> Outcome {
    let mut place = Mesh::new()?;
    let (links, nodes) = linked(&mut place)?;
    let all: Vec<&Node> = nodes.iter().collect();
    let root = some_root(&place, all[0], 511)?;
    all_decide(&all, "before", &root)?;
    same_state(&all)?;
    links.part(&[0, 1], &[2, 3]);
    let before = decided(all[0])?;
    let waiting = [
        Waiting::start(all[0], "side/a", &root)?,
        Waiting::start(all[2], "side/b", &root)?,
    ];
    for node in &all {
        assert_eq!(decided(node)?, before, "{}", node.log_end());
    }
    links.heal();
    for one in waiting {
        one.done()?;
    }
    all_decide(&all, "after", &root)?;
    same_state(&all)?;
    nobody_is_blamed(&all)
}

#[test]
fn three_go_on_without_one_and_it_catches_up() -> Outcome {
    let mut place = Mesh::new()?;
    let (links, nodes) = linked(&mut place)?;
    let all: Vec<&Node> = nodes.iter().collect();
    let root = some_root(&place, all[0], 512)?;
    // For so long that all connections end.
    links.part(&[3], &[0, 1, 2]);
    let before = decided(all[3])?;
    all_decide(&all[..3], "three", &root)?;
    let alone = Waiting::start(all[3], "alone", &root)?;
    wait_connected(all[3], 1)?;
    wait_connected(all[0], 3)?;
    all_decide(&all[..3], "more", &root)?;
    assert_eq!(decided(all[3])?, before);
    links.heal();
    alone.done()?;
    same_state(&all)?;
    nobody_is_blamed(&all)
}

#[test]
fn what_passes_one_way_only_delays() -> Outcome {
    let mut place = Mesh::new()?;
    let (links, nodes) = linked(&mut place)?;
    let all: Vec<&Node> = nodes.iter().collect();
    let root = some_root(&place, all[0], 513)?;
    // Who is not heard, and who does not hear.
    links.cut(&[3], &[0, 1, 2]);
    all_decide(&all[..3], "unheard", &root)?;
    links.heal();
    all_decide(&all[3..], "heard", &root)?;
    links.cut(&[0, 1, 2], &[3]);
    all_decide(&all[..3], "deaf", &root)?;
    links.heal();
    all_decide(&all[3..], "hears", &root)?;
    same_state(&all)?;
    // Two that do not hear each other, and two that hear all.
    links.part(&[0], &[1]);
    all_decide(&all, "apart", &root)?;
    links.heal();
    same_state(&all)?;
    nobody_is_blamed(&all)
}

#[test]
fn one_that_is_stopped_when_it_is_to_propose_comes_back() -> Outcome {
    let mut place = Mesh::new()?;
    let nodes = crate::order::four(&mut place)?;
    let all: Vec<&Node> = nodes.iter().collect();
    let root = some_root(&place, all[0], 514)?;
    for round in 0..3 {
        let said = mesh(all[0])?;
        let voters = said["voters"].as_array().ok_or("no voters")?;
        let turn = number(&said["height"])? as usize % voters.len();
        let victim = (all.iter().position(|node| voters[turn] == node.id())).ok_or("no voter")?;
        let others: Vec<&Node> = (0..4)
            .filter(|at| *at != victim)
            .map(|at| all[at])
            .collect();
        let stopped = Stopped::new(all[victim])?;
        all_decide(&others, &format!("round/{round}"), &root)?;
        let ahead = decided(others[0])?;
        drop(stopped);
        until("one that catches up", AGREED, || {
            Ok((decided(all[victim])? >= ahead).then_some(()))
        })?;
        all_decide(&all[victim..=victim], &format!("back/{round}"), &root)?;
    }
    same_state(&all)?;
    nobody_is_blamed(&all)
}
