//! Some of those that vote lie, as the simulator's liars do, over real connections: the others agree and go on, and who is
//! proved to have said two things loses its vote.

use std::path::PathBuf;

use hypermesh_testkit::{Mesh, Node, Programs, Result, until};
use serde_json::Value;

use super::{nobody_is_blamed, seed};
use crate::order::{AGREED, four, join, objects, promote, role, same_state, some_root, voting};
use crate::{Outcome, counter};

/// How often something is decided until a lie has to show.
const TURNS: u64 = 60;

fn liar() -> Result<PathBuf> {
    let beside = Programs::find()?.hypermesh;
    let program = beside.with_file_name("examples").join("liar");
    match program.is_file() {
        true => Ok(program),
        false => Err(format!(
            "{} was not built; run ./make test-integration",
            program.display()
        )),
    }
}

/// Makes a node a liar that knows all the others.
fn lies(nodes: &mut [Node], which: usize, behaviour: &str, seed: u64) -> Outcome {
    let ids: Vec<String> = nodes.iter().map(|node| node.id().to_owned()).collect();
    let seed = seed.to_string();
    let mut arguments = vec![behaviour, &seed];
    arguments.extend(ids.iter().map(String::as_str));
    nodes[which].kill();
    nodes[which].start_as(&liar()?, &arguments)
}

/// Each has a change decided, all at once.
fn together(nodes: &[&Node], names: &str, root: &str) -> Outcome {
    let jobs: Vec<_> = nodes
        .iter()
        .enumerate()
        .map(|(at, node)| node.job(&["name", "set", &format!("{names}/{at}"), root]))
        .collect::<Result<_>>()?;
    for job in jobs {
        let answer = job.finish()?;
        if answer.code != 0 {
            return Err(format!("{names}: {answer:?}\n{}", nodes[0].log_end()));
        }
    }
    Ok(())
}

/// How much of a kind was refused by these.
fn refused(nodes: &[&Node], kind: &str) -> Result<u64> {
    let name = format!("hypermesh_order_refused{{kind=\"{kind}\"}}");
    let counts = nodes.iter().map(|node| counter(node, &name));
    counts.sum()
}

/// Has something decided until a condition is met.
fn decide_until(
    nodes: &[&Node],
    (names, root): (&str, &str),
    is_so: impl Fn() -> Result<bool>,
) -> Outcome {
    for turn in 0..TURNS {
        together(nodes, &format!("{names}/{turn}"), root)?;
        if is_so()? {
            return Ok(());
        }
    }
    Err(format!("{names}: not after {TURNS} turns"))
}

fn is_convicted(node: &Node, of: &str) -> Result<bool> {
    let list = node.json(&["members", "ls"])?;
    let members = list["members"].as_array().ok_or("no members")?;
    let is_it = |one: &Value| one["node_id"] == of && one["convicted"] == true;
    Ok(members
        .iter()
        .any(|one| is_it(one) && one["role"] == "learner"))
}

/// Has something decided until all of these know by a decision that the culprits said two things, and have no vote any more;
/// nobody else is blamed.
fn all_convict(nodes: &[&Node], culprits: &[String], (names, root): (&str, &str)) -> Outcome {
    let convicts = |node: &Node| -> Result<bool> {
        let all: Result<Vec<bool>> = culprits.iter().map(|id| is_convicted(node, id)).collect();
        Ok(all?.iter().all(|one| *one))
    };
    decide_until(nodes, (names, root), || convicts(nodes[0]))?;
    for node in nodes {
        until("a conviction", AGREED, || Ok(convicts(node)?.then_some(())))?;
        for one in objects(node, &["evidence", "ls"])? {
            let blamed = one["culprit"].as_str().ok_or("nobody is blamed")?;
            assert!(culprits.iter().any(|id| id == blamed), "{one}");
        }
    }
    together(nodes, &format!("{names}/last"), root)?;
    same_state(nodes)
}

#[test]
fn three_go_on_beside_one_that_withholds_and_forges() -> Outcome {
    let (seed, _) = seed(531);
    let mut place = Mesh::whole()?;
    let mut nodes = four(&mut place)?;
    let root = some_root(&place, &nodes[0], seed)?;
    // How each shows, where it does: what it leaves out shows in nothing.
    for (behaviour, kind) in [
        ("silent", None),
        ("withholding", None),
        ("withholding-blocks", None),
        ("lying", None),
        ("forging", Some("forged")),
        ("invalid", Some("bad_block")),
        ("flooding", Some("unasked_block")),
    ] {
        lies(&mut nodes, 3, behaviour, seed)?;
        let honest: Vec<&Node> = nodes[..3].iter().collect();
        let count = || kind.map_or(Ok(0), |kind| refused(&honest, kind));
        let before = count()?;
        let shows = || Ok(kind.is_none() || count()? > before);
        decide_until(&honest, (behaviour, &root), shows)?;
        together(&honest, &format!("{behaviour}/last"), &root)?;
        same_state(&honest)?;
        nobody_is_blamed(&honest)?;
    }
    // Honest again, it has what the others have.
    nodes[3].kill();
    nodes[3].start()?;
    let all: Vec<&Node> = nodes.iter().collect();
    together(&all, "honest", &root)?;
    for of in &all {
        assert_eq!(role(all[0], of)?, "voter");
    }
    same_state(&all)
}

#[test]
fn whoever_says_two_things_loses_its_vote() -> Outcome {
    let (seed, _) = seed(532);
    let mut place = Mesh::whole()?;
    let mut nodes = four(&mut place)?;
    let root = some_root(&place, &nodes[0], seed)?;
    let mut culprits = Vec::new();
    for (number, behaviour) in ["double-votes", "split-votes", "double-proposals"]
        .into_iter()
        .enumerate()
    {
        if number > 0 {
            // Another one in the place of who was convicted.
            let new = place.node(&format!("new{number}"))?;
            let voters: Vec<&Node> = nodes[..3].iter().collect();
            join(&new, &voters)?;
            promote(&new, &voters)?;
            nodes[3] = new;
        }
        lies(&mut nodes, 3, behaviour, seed)?;
        culprits.push(nodes[3].id().to_owned());
        let honest: Vec<&Node> = nodes[..3].iter().collect();
        all_convict(&honest, &culprits, (behaviour, &root))?;
    }
    Ok(())
}

#[test]
fn five_go_on_beside_two_that_lie_together() -> Outcome {
    let (seed, _) = seed(533);
    let mut place = Mesh::whole()?;
    let mut nodes = voting(7, |number| place.node(&format!("n{number}")))?;
    let root = some_root(&place, &nodes[0], seed)?;
    lies(&mut nodes, 5, "split-votes", seed)?;
    lies(&mut nodes, 6, "double-proposals", seed)?;
    let honest: Vec<&Node> = nodes[..5].iter().collect();
    let culprits = [nodes[5].id().to_owned(), nodes[6].id().to_owned()];
    all_convict(&honest, &culprits, ("two", &root))
}
