//! A node that is one process for each component: each of them is killed, and so is the one that watches them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use hypermesh_testkit::{Mesh, Node, Random, Result, at, tree, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{Outcome, could_not, fsck, put, text};

const COMPONENTS: [&str; 5] = ["transport", "state", "scheduler", "consensus", "metrics"];
/// How long a component may take to be back, and a call to end whose component is gone.
const BACK: Duration = Duration::from_secs(60);
/// Kills of each component, spread over puts and gets.
const KILLS: u64 = 6;
const FILES: u64 = 40;
const FILE_BYTES: u64 = 100_000;

fn kill(pid: u32, signal: Signal) -> Outcome {
    let pid = Pid::from_raw(pid as i32).ok_or("no process")?;
    kill_process(pid, signal).map_err(at("kill"))
}

/// Whether a process runs; one that has ended and was not waited for does not.
fn runs(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status.rsplit(") ").next().unwrap_or_default();
    !matches!(state.chars().next(), None | Some('Z' | 'X'))
}

/// The five components; the layers run with one of them.
fn five(node: &Node) -> Result<BTreeMap<String, u32>> {
    let mut all = node.components()?;
    all.retain(|name, _| COMPONENTS.contains(&name.as_str()));
    if all.len() == COMPONENTS.len() {
        Ok(all)
    } else {
        Err(format!("{all:?}"))
    }
}

/// What the status says of a component.
fn component(node: &Node, name: &str) -> Result<Value> {
    let status = node.json(&["status"])?;
    let all = status["components"].as_array().ok_or("no components")?;
    let one = all.iter().find(|one| one["name"] == name);
    Ok(one.ok_or_else(|| format!("{name}: {status}"))?.clone())
}

/// Waits until all components answer, and the one that was killed as another process.
fn wait_back(node: &Node, name: &str, killed: u32) -> Outcome {
    until("a component that is back", BACK, || {
        // While it is away the command may find nobody.
        let Ok(all) = five(node) else { return Ok(None) };
        let is_back = all.values().all(|pid| *pid > 0) && all[name] != killed;
        Ok(is_back.then_some(()))
    })
    .map_err(|error| format!("{name}: {error}\n{}", node.log_end()))
}

#[test]
fn each_component_is_a_process_and_asks_through_pools() -> Outcome {
    let mut mesh = Mesh::split()?;
    let (a, b) = (mesh.node("a")?, mesh.node("b")?);
    b.join(&a)?;
    let path = mesh.path().join("tree");
    tree::write(&path, &mut Random::new(71), FILES, FILE_BYTES)?;
    let (root, _) = put(&a, &path)?;
    b.wait_connected(&[&a])?;
    b.ok(&["get", &root, text(&mesh.path().join("copy"))])?;

    let mut pids: Vec<u32> = five(&b)?.into_values().collect();
    pids.extend(b.pid());
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 6, "{pids:?}");
    let status = b.json(&["status"])?;
    assert_eq!(status["split"], true);
    assert_eq!(status["pid"].as_u64(), b.pid().map(u64::from));

    let stats = b.json(&["ipc", "stats"])?;
    let asked = |holder: &str, service: &str| {
        let pools = stats["pools"].as_array().unwrap();
        let found = pools
            .iter()
            .find(|pool| pool["holder"] == holder && pool["service"] == service);
        found.map_or(0, |pool| pool["calls"].as_u64().unwrap())
    };
    for (holder, service) in [
        ("scheduler", "state"),
        ("scheduler", "transport"),
        ("transport", "state"),
        ("metrics", "state"),
    ] {
        assert!(asked(holder, service) > 0, "{holder} → {service}: {stats}");
    }
    let scraped = b.ok(&["ipc", "call", "metrics", "scrape"])?;
    for name in COMPONENTS {
        let sample = format!("hypermesh_process_resident_bytes{{component=\"{name}\"}}");
        assert!(scraped.contains(&sample), "{scraped}");
    }
    let headers = scraped
        .lines()
        .filter(|line| line.trim() == "# TYPE hypermesh_process_resident_bytes gauge");
    assert_eq!(headers.count(), 1, "{scraped}");
    Ok(())
}

/// Kills a component again and again while puts and gets run. Each of them ends; what was acknowledged stays.
fn survives(name: &str, seed: u64) -> Outcome {
    let mut mesh = Mesh::split()?;
    let (a, b) = (mesh.node("a")?, mesh.node("b")?);
    b.join(&a)?;
    b.wait_connected(&[&a])?;
    let mut random = Random::new(seed);
    let mut acknowledged = Vec::new();
    let mut failed = 0;
    for round in 0..KILLS {
        let path = mesh.path().join(format!("tree-{round}"));
        tree::write(&path, &mut random, FILES, FILE_BYTES)?;
        // Every other time the one that serves, else the one that gets.
        let victim = if round % 2 == 0 { &b } else { &a };
        let started = Instant::now();
        let pid = five(victim)?[name];
        let address = victim.address()?;
        let putting = (round % 3 == 0).then(|| a.job(&["put", text(&path)]));
        let getting = if putting.is_none() {
            let (root, _) = put(&a, &path)?;
            acknowledged.push((root.clone(), path.clone()));
            let copy = mesh.path().join(format!("copy-{round}"));
            Some((b.job(&["get", &root, text(&copy)])?, copy))
        } else {
            None
        };
        std::thread::sleep(Duration::from_micros(random.below(30_000)));
        kill(pid, Signal::KILL)?;
        let ended = match putting {
            Some(job) => {
                let answer = job?.finish()?;
                if answer.code == 0 {
                    let root = answer.object()?["root"]
                        .as_str()
                        .ok_or("no root")?
                        .to_owned();
                    acknowledged.push((root, path.clone()));
                }
                answer
            }
            None => {
                let (job, copy) = getting.ok_or("no job")?;
                let answer = job.finish()?;
                if answer.code == 0 || copy.exists() {
                    tree::compare(&path, &copy)?;
                }
                answer
            }
        };
        assert!(
            started.elapsed() < BACK,
            "{name}: it took {:?}",
            started.elapsed()
        );
        if ended.code != 0 {
            failed += 1;
            println!("{name}, round {round}: {}", ended.complaint());
            assert!(
                !ended.complaint().is_empty(),
                "{name}: it failed without a word"
            );
        }
        wait_back(victim, name, pid)?;
        assert_eq!(victim.address()?, address, "peers know the old port");
        let restarts = &component(victim, name)?["restarts"];
        assert_eq!(*restarts, round / 2 + 1, "{name}, round {round}");
        // A transport that is new knows of no connection; the other one may hold the old one to be alive still.
        let other = if round % 2 == 0 { &a } else { &b };
        victim.wait_connected(&[other])?;
        other.wait_connected(&[victim])?;
        // All of it works again.
        let (root, _) = put(&a, &path)?;
        let again = mesh.path().join(format!("again-{round}"));
        b.ok(&["get", &root, text(&again)])
            .map_err(|error| format!("{name}, round {round}: {error}\n{}", b.log_end()))?;
        tree::compare(&path, &again)?;
    }
    println!("{name}: {failed} of {KILLS} calls ended with an error");
    for (root, path) in &acknowledged {
        let copy = mesh.path().join("all");
        a.ok(&["get", root, text(&copy)])?;
        tree::compare(path, &copy)?;
        fs::remove_dir_all(&copy).map_err(at("copy"))?;
    }
    fsck(&a)?;
    fsck(&b)
}

#[test]
fn a_transport_that_is_killed_loses_nothing() -> Outcome {
    survives("transport", 72)
}

#[test]
fn a_state_that_is_killed_loses_nothing() -> Outcome {
    survives("state", 73)
}

#[test]
fn a_scheduler_that_is_killed_loses_nothing() -> Outcome {
    survives("scheduler", 74)
}

#[test]
fn a_consensus_and_metrics_that_are_killed_stop_nothing() -> Outcome {
    survives("consensus", 75)?;
    survives("metrics", 76)
}

#[test]
fn a_node_without_a_component_says_so_and_goes_on_with_the_others() -> Outcome {
    let mut mesh = Mesh::split()?;
    let node = mesh.node("a")?;
    let path = mesh.path().join("tree");
    tree::write(&path, &mut Random::new(77), 4, 1_000)?;
    let (root, _) = put(&node, &path)?;
    // A process that stands still is there and does not answer.
    let scheduler = five(&node)?["scheduler"];
    kill(scheduler, Signal::STOP)?;
    assert_eq!(component(&node, "scheduler")?["state"], "away");
    for name in ["transport", "state", "consensus", "metrics"] {
        assert_eq!(component(&node, name)?["state"], "running", "{name}");
    }
    node.ok(&["ls", &root])?;
    put(&node, &path)?;
    kill(scheduler, Signal::CONT)?;
    wait_back(&node, "scheduler", 0)?;
    Ok(())
}

#[test]
fn with_its_parent_every_process_ends() -> Outcome {
    let mut mesh = Mesh::split()?;
    // With almd and ifrd, which are children of children.
    let mut node = mesh.node_with("a", "", None)?;
    let path = mesh.path().join("tree");
    tree::write(&path, &mut Random::new(78), FILES, FILE_BYTES)?;
    for _ in 0..5 {
        let pids = five(&node)?;
        let (root, _) = put(&node, &path)?;
        kill(node.pid().ok_or("no process")?, Signal::KILL)?;
        node.wait_ended()?;
        // At once: what is left of the others must not be in its way.
        node.start()?;
        for (name, pid) in &pids {
            assert!(!runs(*pid), "{name} outlived its parent");
        }
        let copy = mesh.path().join("copy");
        node.ok(&["get", &root, text(&copy)])?;
        tree::compare(&path, &copy)?;
        fs::remove_dir_all(&copy).map_err(at("copy"))?;
    }
    fsck(&node)?;
    // Asked to end, it ends all of them in order.
    let pids = five(&node)?;
    kill(node.pid().ok_or("no process")?, Signal::TERM)?;
    let status = node.wait_ended()?;
    assert!(status.success(), "{status}\n{}", node.log_end());
    for (name, pid) in &pids {
        assert!(!runs(*pid), "{name} outlived its parent");
    }
    Ok(())
}

#[test]
fn a_component_that_cannot_start_is_named_with_the_reason() -> Outcome {
    let mut mesh = Mesh::split()?;
    let mut node = mesh.node("a")?;
    node.kill();
    let taken = std::net::UdpSocket::bind("[::1]:0").map_err(at("port"))?;
    let port = taken.local_addr().map_err(at("port"))?.to_string();
    let fails = |arguments: &[&str]| -> Result<String> {
        let output = node
            .command(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(at("up"))?;
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(said.lines().last().unwrap_or_default().to_owned())
    };
    let said = fails(&["up", "--split", "--listen", &port])?;
    assert!(
        said.contains("the transport component does not start: cannot listen on"),
        "{said}"
    );
    let key = node.directory().join("identity.key");
    let whole = fs::read(&key).map_err(at("key"))?;
    fs::write(&key, b"nonsense").map_err(at("key"))?;
    let said = fails(&["up", "--split"])?;
    assert!(
        said.contains("transport") && said.contains("identity"),
        "{said}"
    );
    fs::write(&key, whole).map_err(at("key"))?;
    let meta = node.directory().join("blocks/meta.redb");
    let whole = fs::read(&meta).map_err(at("database"))?;
    fs::write(&meta, b"nonsense").map_err(at("database"))?;
    let said = fails(&["up", "--split"])?;
    assert!(
        said.contains("the state component does not start") && said.contains("fsck --rebuild"),
        "{said}"
    );
    fs::write(&meta, whole).map_err(at("database"))?;
    // Nothing of these tries is left.
    node.start()?;
    fsck(&node)
}

#[test]
fn only_those_who_sign_have_the_key() -> Outcome {
    let mut mesh = Mesh::split()?;
    let node = mesh.node_with("a", "", None)?;
    node.ok(&["--quiet", "invite"])?;
    let file = fs::read_to_string(node.directory().join("identity.key")).map_err(at("key"))?;
    let hex = file.split_whitespace().nth(1).ok_or("no key")?;
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let seed: Vec<u8> = hex.as_bytes().chunks(2).map(pair).collect();
    let mut pids = five(&node)?;
    pids.insert("parent".into(), node.pid().ok_or("no process")?);
    for (name, pid) in pids {
        let memory = match memory(pid) {
            Ok(memory) => memory,
            Err(error) => return could_not(&format!("memory of other processes: {error}")),
        };
        let holds = |what: &[u8]| memory.iter().any(|part| contains(part, what));
        let directory = text(node.directory());
        assert!(
            holds(directory.as_bytes()),
            "{name}: this is not its memory"
        );
        let has_key = holds(&seed) || holds(hex.as_bytes());
        let signs = ["transport", "consensus"].contains(&name.as_str());
        assert_eq!(has_key, signs, "{name}");
    }
    Ok(())
}

/// What a process may write in its memory.
fn memory(pid: u32) -> std::io::Result<Vec<Vec<u8>>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let file = fs::File::open(format!("/proc/{pid}/mem"))?;
    let mut parts = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (Some(range), Some(rights)) = (words.next(), words.next()) else {
            continue;
        };
        let Some((start, end)) = range.split_once('-') else {
            continue;
        };
        if !rights.starts_with("rw") {
            continue;
        }
        let number = |text: &str| u64::from_str_radix(text, 16).unwrap_or_default();
        let (start, end) = (number(start), number(end));
        let mut part = vec![0; usize::try_from(end - start).unwrap_or_default()];
        // A guard page, or one that is gone by now.
        if file.read_exact_at(&mut part, start).is_ok() {
            parts.push(part);
        }
    }
    Ok(parts)
}

fn contains(part: &[u8], what: &[u8]) -> bool {
    let first = what[0];
    let mut rest = part;
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        rest = &rest[at..];
        if rest.starts_with(what) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

#[test]
fn what_components_ask_each_other_belongs_to_the_callers_trace() -> Outcome {
    let mut mesh = Mesh::split()?;
    let a = mesh.node("a")?;
    let calls = "[alm]\nenabled = false\n[log]\nlevel = \"warn,mfn_local=trace\"\n";
    let b = mesh.node_with("b", calls, None)?;
    b.join(&a)?;
    b.wait_connected(&[&a])?;
    let path = mesh.path().join("tree");
    tree::write(&path, &mut Random::new(79), 2, 1_000)?;
    let (root, _) = put(&a, &path)?;
    b.ok(&["ls", &root])?;
    let log = fs::read_to_string(mesh.path().join("b.log")).map_err(at("log"))?;
    // By the trace that a call stood in: which services were asked.
    let mut asked: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in log.lines() {
        let word = |name: &str| {
            let mut words = line.split_whitespace();
            words.find_map(|word| word.strip_prefix(name).map(|word| word.trim_matches('"')))
        };
        if let (Some(service), Some(trace)) = (word("service="), word("trace=")) {
            asked
                .entry(trace.to_owned())
                .or_default()
                .insert(service.to_owned());
        }
    }
    // State asked the scheduler for the root's block, which asked state and the transport for it.
    let whole = asked.values().any(|services| {
        ["scheduler", "state", "transport"]
            .iter()
            .all(|one| services.contains(*one))
    });
    assert!(whole, "{asked:?}");
    Ok(())
}
