//! What a mesh decides: names, members, blocks; with nodes that are killed, removed and damaged.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use hypermesh_testkit::{Mesh, Node, Random, Result, at, tree, until};
use serde_json::Value;

use crate::{Outcome, put, text};

/// How long a mesh may take to agree, on a machine that is busy with other tests.
pub(crate) const AGREED: Duration = Duration::from_secs(60);
/// Who ask for the same name at once.
const RACING: usize = 12;
/// How long a node is left alone.
const IDLE: Duration = Duration::from_secs(3);
/// Kills under load, and what each node is asked meanwhile.
const ROUNDS: u64 = 4;
const NAMES_EACH: usize = 3;

/// What the node says of the mesh, once it takes part.
pub(crate) fn mesh(node: &Node) -> Result<Value> {
    Ok(node.json(&["status"])?["consensus"].clone())
}

pub(crate) fn number(value: &Value) -> Result<u64> {
    value.as_u64().ok_or(format!("no number: {value}"))
}

/// Waits until what is decided there is so.
pub(crate) fn wait_mesh(node: &Node, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut last = Value::Null;
    until(what, AGREED, || {
        last = mesh(node)?;
        Ok(is_so(&last).then(|| last.clone()))
    })
    .map_err(|error| format!("{error}\n{last}\n{}", node.log_end()))
}

/// Each object that a command printed.
pub(crate) fn objects(node: &Node, arguments: &[&str]) -> Result<Vec<Value>> {
    let mut all = vec!["--json"];
    all.extend(arguments);
    let said = node.ok(&all)?;
    said.lines()
        .map(|line| serde_json::from_str(line).map_err(at(line)))
        .collect()
}

/// A member as this node has it.
pub(crate) fn member(node: &Node, of: &Node) -> Result<Option<Value>> {
    let list = node.json(&["members", "ls"])?;
    let members = list["members"].as_array().ok_or("no members")?;
    Ok(members
        .iter()
        .find(|one| one["node_id"] == of.id())
        .cloned())
}

pub(crate) fn role(node: &Node, of: &Node) -> Result<String> {
    let found = member(node, of)?;
    Ok(found
        .and_then(|one| one["role"].as_str().map(str::to_owned))
        .unwrap_or_default())
}

pub(crate) fn wait_role(node: &Node, of: &Node, wanted: &str) -> Outcome {
    until(wanted, AGREED, || {
        Ok((role(node, of)? == wanted).then_some(()))
    })
    .map_err(|error| format!("{error}\n{}", node.log_end()))
}

/// Joins it to the mesh of the first, as a learner that all of these know.
pub(crate) fn join(node: &Node, others: &[&Node]) -> Outcome {
    node.join(others[0])?;
    for other in others {
        wait_role(other, node, "learner")?;
    }
    wait_role(node, node, "learner")
}

/// How many of so many voters decide.
pub(crate) fn quorum(voters: usize) -> usize {
    voters * 2 / 3 + 1
}

/// Makes a learner vote: as many voters say so as are needed.
pub(crate) fn promote(node: &Node, voters: &[&Node]) -> Outcome {
    for voter in &voters[..quorum(voters.len())] {
        voter.ok(&["--quiet", "members", "promote", node.id()])?;
    }
    for one in voters.iter().chain([&node]) {
        wait_role(one, node, "voter")?;
    }
    Ok(())
}

/// So many that vote; each motion on the way takes a quorum of those who vote by then.
pub(crate) fn voting(
    count: usize,
    mut make: impl FnMut(usize) -> Result<Node>,
) -> Result<Vec<Node>> {
    let mut nodes: Vec<Node> = Vec::new();
    for number in 0..count {
        let node = make(number)?;
        let voters: Vec<&Node> = nodes.iter().collect();
        if !voters.is_empty() {
            join(&node, &voters)?;
            promote(&node, &voters)?;
        }
        nodes.push(node);
    }
    Ok(nodes)
}

/// Four that vote.
pub(crate) fn four(mesh: &mut Mesh) -> Result<Vec<Node>> {
    voting(4, |number| mesh.node(["a", "b", "c", "d"][number]))
}

/// Waits until all have decided as much as the one that is ahead, and the same.
pub(crate) fn same_state(nodes: &[&Node]) -> Outcome {
    until("one state", AGREED, || {
        let mut states = BTreeSet::new();
        for node in nodes {
            let said = mesh(node)?;
            let (height, root) = (&said["decided_height"], &said["state_root"]);
            states.insert(format!("{height} {root}"));
        }
        Ok((states.len() == 1).then_some(()))
    })
}

/// A root that is stored there.
pub(crate) fn some_root(mesh: &Mesh, node: &Node, seed: u64) -> Result<String> {
    let path = mesh.path().join(format!("tree-{seed}"));
    tree::write(&path, &mut Random::new(seed), 2, 1_000)?;
    Ok(put(node, &path)?.0)
}

#[test]
fn one_alone_names_its_content() -> Outcome {
    let mut place = Mesh::new()?;
    let mut node = place.node("a")?;
    let path = place.path().join("tree");
    tree::write(&path, &mut Random::new(91), 3, 2_000)?;
    let said = node.json(&["put", text(&path), "--name", "films/dune"])?;
    let root = node.ok(&["name", "get", "films/dune"])?;
    assert!(root.starts_with("hmr1"), "{root} {said}");
    let copy = place.path().join("copy");
    node.ok(&["get", "films/dune", text(&copy)])?;
    tree::compare(&path, &copy)?;

    let other = some_root(&place, &node, 92)?;
    // What was expected is not so: refused, decided, and said.
    let taken = node.run(&["--json", "name", "set", "films/dune", &other, "--if-new"])?;
    assert_eq!(taken.code, 1, "{taken:?}");
    assert!(taken.stderr.contains("conflict"), "{taken:?}");
    let set = ["name", "set", "films/dune", &other, "--if", &root];
    node.ok(&set)?;
    let late = node.run(&set)?;
    assert_eq!(late.code, 1, "{late:?}");
    node.ok(&["name", "set", "songs/one", &root])?;
    let names = |prefix: &[&str]| -> Result<Vec<String>> {
        let listed = objects(&node, &[&["name", "ls"], prefix].concat())?;
        let name = |one: &Value| one["name"].as_str().unwrap().to_owned();
        Ok(listed.iter().map(name).collect())
    };
    assert_eq!(names(&[])?, ["films/dune", "songs/one"]);
    assert_eq!(names(&["films"])?, ["films/dune"]);
    node.ok(&["name", "rm", "songs/one"])?;
    let gone = node.run(&["name", "get", "songs/one"])?;
    assert_eq!(gone.code, 1, "{gone:?}");

    let history = objects(&node, &["name", "history", "films/dune"])?;
    let codes: Vec<&Value> = history.iter().map(|one| &one["outcome"]["code"]).collect();
    assert_eq!(
        codes,
        ["conflict", "done", "conflict", "done"],
        "{history:?}"
    );
    let blocks = objects(&node, &["log"])?;
    let heights: Vec<u64> = blocks
        .iter()
        .map(|one| number(&one["height"]))
        .collect::<Result<_>>()?;
    assert_eq!(heights, (1..=heights.len() as u64).collect::<Vec<_>>());
    for block in &blocks {
        assert_eq!(block["proposer"], node.id(), "{block}");
        assert_eq!(block["signers"][0], node.id(), "{block}");
    }
    let file = place.path().join("dune.hmproof");
    let proof = node.json(&["proof", "films/dune", "--output", text(&file)])?;
    assert_eq!(proof["height"], blocks.last().ok_or("no block")?["height"]);
    // Checked without the node, against its mesh and against no other.
    let here = mesh(&node)?["mesh"].as_str().ok_or("no mesh")?.to_owned();
    let proven = node.json(&["verify", text(&file), "--mesh", &here])?;
    assert_eq!(proven["root"], other, "{proven}");
    let wrong = node.run(&["verify", text(&file), "--mesh", &"0".repeat(64)])?;
    assert_eq!(wrong.code, 1, "{}", wrong.stdout);

    // A limit of the mesh is changed by whoever votes, which is one.
    node.ok(&["members", "set", "names_per_author", "20000"])?;
    let limits = node.json(&["members", "ls"])?["parameters"].clone();
    assert_eq!(limits["names_per_author"], 20_000, "{limits}");
    let unknown = node.run(&["members", "set", "names_for_all", "1"])?;
    assert_eq!(unknown.code, 1, "{unknown:?}");

    // All of it is there after the node was killed.
    let before = mesh(&node)?;
    node.kill();
    node.start()?;
    let after = wait_mesh(&node, "a mesh", |mesh| mesh["ready"] == true)?;
    assert_eq!(after["state_root"], before["state_root"]);
    assert_eq!(after["decided_height"], before["decided_height"]);
    assert_eq!(node.ok(&["name", "get", "films/dune"])?, other);
    Ok(())
}

/// From one to five: motions, names of all, a race, one that comes late, one that is removed.
#[test]
fn four_agree_on_names_and_members() -> Outcome {
    let mut place = Mesh::new()?;
    let nodes = four(&mut place)?;
    let all: Vec<&Node> = nodes.iter().collect();
    let root = some_root(&place, all[0], 93)?;
    for (at, node) in all.iter().enumerate() {
        node.ok(&["name", "set", &format!("by/{at}"), &root])?;
    }
    // Many want a name, at all nodes at once: one has it.
    let jobs: Vec<_> = (0..RACING)
        .map(|at| all[at % 4].job(&["name", "set", "race", &root, "--if-new"]))
        .collect::<Result<_>>()?;
    let mut won = 0;
    for job in jobs {
        let answer = job.finish()?;
        match answer.code {
            0 => won += 1,
            // Its own name is what it did not expect; somebody else's is not its to change.
            _ => assert!(
                ["conflict", "not_owner"]
                    .iter()
                    .any(|code| answer.stderr.contains(code)),
                "{answer:?}"
            ),
        }
    }
    assert_eq!(won, 1);
    same_state(&all)?;
    for node in &all {
        let said = mesh(node)?;
        assert_eq!(said["voters"].as_array().map(Vec::len), Some(4), "{said}");
        assert_eq!(objects(node, &["name", "ls"])?.len(), 5);
        for of in &all {
            assert_eq!(role(node, of)?, "voter");
        }
    }
    // Whoever created a name owns it.
    let foreign = all[1].run(&["--json", "name", "set", "by/0", &root])?;
    assert_eq!(foreign.code, 1, "{foreign:?}");

    // One that comes late has all of it, and may name.
    let late = place.node_with(
        "e",
        "[alm]\nenabled = false\n[get]\npeer_wait = \"1s\"\n",
        None,
    )?;
    join(&late, &all)?;
    assert_eq!(late.ok(&["name", "get", "race"])?, root);
    late.ok(&["name", "set", "by/late", &root])?;
    same_state(&[all[0], all[3], &late])?;

    // One that is removed is nobody to the others. Its inviter may say so alone of a learner; of a voter a quorum.
    all[0].ok(&["--quiet", "members", "remove", late.id()])?;
    gone(&all, &late)?;
    for voter in &all[..3] {
        voter.ok(&["--quiet", "members", "remove", all[3].id()])?;
    }
    gone(&all[..3], all[3])?;
    let refused = late.run(&["ls", &root])?;
    assert_ne!(refused.code, 0, "{refused:?}");
    all[1].ok(&["name", "set", "by/three", &root])?;
    same_state(&all[..3])
}

/// Waits until these neither count a node as a member nor are connected to it.
pub(crate) fn gone(others: &[&Node], removed: &Node) -> Outcome {
    for node in others {
        until("a removed member", AGREED, || {
            Ok(member(node, removed)?.is_none().then_some(()))
        })?;
        until("a closed connection", AGREED, || {
            let peers = objects(node, &["peers"])?;
            let is_there =
                |peer: &Value| peer["node_id"] == removed.id() && peer["connected"] == true;
            Ok((!peers.iter().any(is_there)).then_some(()))
        })?;
        let listed = node.json(&["members", "ls"])?;
        let all = listed["removed"].as_array().ok_or("no list")?;
        assert!(all.iter().any(|one| one == removed.id()), "{listed}");
    }
    Ok(())
}

/// What was acknowledged is decided, whoever is killed while it is: a voter, or the one whose turn it is.
#[test]
fn killed_voters_lose_nothing_acknowledged() -> Outcome {
    let mut place = Mesh::new()?;
    let mut nodes = four(&mut place)?;
    let root = some_root(&place, &nodes[0], 94)?;
    let mut random = Random::new(94);
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let said = mesh(&nodes[0])?;
        let voters = said["voters"].as_array().ok_or("no voters")?;
        let turn = (number(&said["height"])? + random.below(3)) as usize % voters.len();
        // Every other time whoever proposes next or soon, else anyone.
        let victim = match round % 2 {
            0 => nodes.iter().position(|node| voters[turn] == node.id()),
            _ => Some(random.below(4) as usize),
        };
        let victim = victim.ok_or("no such voter")?;
        let mut jobs = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            for one in 0..NAMES_EACH {
                let name = format!("load/{round}/{at}/{one}");
                jobs.push((at, node.job(&["name", "set", &name, &root])?, name));
            }
        }
        std::thread::sleep(Duration::from_micros(random.below(150_000)));
        nodes[victim].kill();
        for (at, job, name) in jobs {
            let answer = job.finish()?;
            if answer.code == 0 {
                acknowledged.push(name);
            } else {
                // The three that are left are a quorum.
                assert_eq!(at, victim, "round {round}: {name}: {answer:?}");
            }
        }
        nodes[victim].start()?;
    }
    let all: Vec<&Node> = nodes.iter().collect();
    same_state(&all)?;
    let logs: Vec<Vec<Value>> = all
        .iter()
        .map(|node| objects(node, &["log", "--from", "1", "--limit", "10000"]))
        .collect::<Result<_>>()?;
    let hashes = |log: &[Value]| {
        log.iter()
            .map(|one| one["hash"].clone())
            .collect::<Vec<_>>()
    };
    for log in &logs {
        assert_eq!(hashes(log), hashes(&logs[0]));
    }
    // Each is decided once.
    let mut times = std::collections::BTreeMap::<String, u32>::new();
    for one in logs[0]
        .iter()
        .filter_map(|block| block["transactions"].as_array())
    {
        for action in one.iter().filter_map(|one| one["action"].as_str()) {
            *times.entry(action.to_owned()).or_default() += 1;
        }
    }
    for name in &acknowledged {
        assert_eq!(
            times.get(&format!("name set {name} {root}")),
            Some(&1),
            "{name}"
        );
    }
    // All at once, as when the power goes.
    for node in &mut nodes {
        node.kill();
    }
    for node in &mut nodes {
        node.start()?;
    }
    for node in &nodes {
        let names: BTreeSet<String> = objects(node, &["name", "ls", "load"])?
            .iter()
            .filter_map(|one| one["name"].as_str().map(str::to_owned))
            .collect();
        for name in &acknowledged {
            assert!(names.contains(name), "{name} is not at {}", node.id());
        }
    }
    nodes[1].ok(&["name", "set", "after", &root])?;
    Ok(())
}

/// A damaged file stops what needs it, and nothing else; nothing is made anew.
#[test]
fn a_damaged_file_stops_the_agreement_alone() -> Outcome {
    let mut place = Mesh::new()?;
    let mut node = place.node("a")?;
    let root = some_root(&place, &node, 95)?;
    for at in 0..6 {
        node.ok(&["name", "set", &format!("name/{at}"), &root])?;
    }
    let directory = node.directory().join("consensus");
    for (file, found) in [
        ("log.odd", "log.odd is damaged at byte 4096"),
        ("decided.redb", "decided.redb cannot be used"),
        ("genesis", "genesis is damaged"),
    ] {
        node.kill();
        let path = directory.join(file);
        let whole = fs::read(&path).map_err(at(file))?;
        let mut damaged = whole.clone();
        match file {
            "log.odd" => damaged[4096 + 60] ^= 1,
            "genesis" => damaged[40] ^= 1,
            _ => damaged.fill(1),
        }
        fs::write(&path, &damaged).map_err(at(file))?;
        let doctor = node.run(&["doctor"])?;
        assert_eq!(doctor.code, 1, "{file}: {doctor:?}");
        assert!(doctor.stdout.contains(found), "{file}: {doctor:?}");
        node.start()?;
        let said = wait_mesh(&node, "a reason", |mesh| {
            mesh["reason"]
                .as_str()
                .is_some_and(|text| text.contains(found))
        })?;
        assert_eq!(said["ready"], false, "{file}");
        let refused = node.run(&["--json", "name", "set", "name/0", &root])?;
        assert_eq!(refused.code, 1, "{file}: {refused:?}");
        assert!(refused.stderr.contains("NOT_READY"), "{file}: {refused:?}");
        // The rest of the node is there.
        node.ok(&["ls", &root])?;
        some_root(&place, &node, 96)?;
        node.kill();
        assert!(
            fs::read(&path).map_err(at(file))? == damaged,
            "{file} was written"
        );
        fs::write(&path, &whole).map_err(at(file))?;
        let doctor = node.run(&["doctor"])?;
        assert!(!doctor.stdout.contains(found), "{file}: {doctor:?}");
        node.start()?;
        assert_eq!(objects(&node, &["name", "ls"])?.len(), 6, "{file}");
        fs::remove_dir_all(place.path().join("tree-96")).map_err(at("tree"))?;
    }
    node.ok(&["name", "set", "name/6", &root])?;
    Ok(())
}

/// Who has names of its own is asked before it leaves them.
#[test]
fn a_mesh_with_names_is_left_only_when_told_to() -> Outcome {
    let mut place = Mesh::new()?;
    let a = place.node("a")?;
    let mut b = place.node("b")?;
    let root = some_root(&place, &b, 97)?;
    b.ok(&["name", "set", "mine", &root])?;
    let own = mesh(&b)?["mesh"].clone();
    let invitation = a.ok(&["--quiet", "invite"])?;
    let refused = b.run(&["--json", "join", &invitation])?;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("--abandon"), "{refused:?}");
    assert_eq!(b.ok(&["name", "get", "mine"])?, root);
    // The invitation was not spent on that.
    b.ok(&["--quiet", "join", "--abandon", &invitation])?;
    wait_role(&b, &b, "learner")?;
    let theirs = mesh(&a)?["mesh"].clone();
    assert_eq!(mesh(&b)?["mesh"], theirs);
    assert_ne!(theirs, own);
    assert_eq!(b.run(&["name", "get", "mine"])?.code, 1);
    let left = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with("consensus.left-")
    };
    let entries = fs::read_dir(b.directory()).map_err(at("directory"))?;
    let aside = entries.flatten().find(left).ok_or("nothing is aside")?;
    for file in ["genesis", "decided.redb", "log.even", "log.odd"] {
        assert!(aside.path().join(file).is_file(), "{file}");
    }
    b.kill();
    b.start()?;
    assert_eq!(mesh(&b)?["mesh"], theirs);
    b.ok(&["name", "set", "ours", &root]).map(drop)
}

/// A node that has decided something and has nothing to do does nothing: time of the processor, not of the clock.
#[test]
fn an_idle_node_rests() -> Outcome {
    let mut place = Mesh::new()?;
    let node = place.node("a")?;
    let root = some_root(&place, &node, 98)?;
    node.ok(&["name", "set", "idle", &root])?;
    let pid = node.pid().ok_or("no process")?;
    let spent = || -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(at("stat"))?;
        // The name of the program, in parentheses, may have anything in it.
        let fields = stat.rsplit_once(')').ok_or("no stat")?.1;
        let ticks = fields.split_whitespace().skip(11).take(2);
        Ok(ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum())
    };
    let before = spent()?;
    std::thread::sleep(IDLE);
    // Hundredths of a second; a loop that does not wait takes them all.
    let ticks = spent()? - before;
    assert!(ticks < IDLE.as_secs_f64() * 100.0 / 3.0, "{ticks} ticks");
    Ok(())
}
