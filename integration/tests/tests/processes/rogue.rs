//! Members and strangers that break the rules, as processes of their own.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use hypermesh_testkit::{Mesh, Node, Programs, Random, Result, tree, until};

use crate::{Outcome, fsck, put, status, text};

const KINDS: [&str; 9] = [
    "Silent",
    "Rubbish",
    "WrongBytes",
    "OtherBlock",
    "TooLong",
    "EndsEarly",
    "Resets",
    "WrongDelta",
    "OtherBase",
];
const HANDSHAKES: u32 = 10_000;
const RESIDENT_BYTES_MAX: u64 = 200 << 20;

fn rogue() -> Result<PathBuf> {
    let beside = Programs::find()?.hypermesh;
    let program = beside.with_file_name("examples").join("rogue");
    if program.is_file() {
        Ok(program)
    } else {
        Err(format!(
            "{} was not built; run ./make test-integration",
            program.display()
        ))
    }
}

fn said(arguments: &[&str]) -> Result<String> {
    let output = Command::new(rogue()?).args(arguments).output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A rogue that serves; it ends with its input.
pub(crate) struct Serving {
    child: Child,
    input: Option<ChildStdin>,
    /// Its id and its address, as a configuration names a peer.
    pub(crate) peer: String,
}

impl Serving {
    pub(crate) fn start(kind: &str) -> Result<Serving> {
        let mut command = Command::new(rogue()?);
        command
            .args(["serve", kind])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut serving = Serving {
            child: command.spawn().unwrap(),
            input: None,
            peer: String::new(),
        };
        serving.input = serving.child.stdin.take();
        let output = serving.child.stdout.take().ok_or("no output")?;
        BufReader::new(output).read_line(&mut serving.peer).unwrap();
        serving.peer.truncate(serving.peer.trim_end().len());
        Ok(serving)
    }

    pub(crate) fn id(&self) -> Result<&str> {
        let (id, _) = self.peer.split_once('@').ok_or("no address")?;
        Ok(id)
    }

    /// Waits until a node has it as a peer.
    pub(crate) fn wait_connected_to(&self, node: &Node) -> Outcome {
        let id = self.id()?;
        until("the rogue as a peer", Duration::from_secs(60), || {
            let peers = node.run(&["peers", "--json"])?.stdout;
            let connected = peers
                .lines()
                .any(|line| line.contains(id) && line.contains("\"connected\":true"));
            Ok(connected.then_some(()))
        })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.input.take());
        // It ends by itself; waiting leaves no zombie.
        let _ = self.child.wait();
    }
}

#[test]
fn peers_that_stall_send_rubbish_or_serve_wrong_bytes_are_dropped_and_others_used() -> Outcome {
    let mut mesh = Mesh::new()?;
    let a = mesh.node("a")?;
    let path = mesh.path().join("tree");
    tree::write(&path, &mut Random::new(61), 60, 200_000)?;
    let (old, _) = put(&a, &path)?;
    // Every file, so that there is enough to ask more than one for.
    tree::edit(&path, &mut Random::new(63), 1)?;
    let (root, _) = put(&a, &path)?;
    for kind in KINDS {
        let serving = Serving::start(kind)?;
        let config = format!(
            "[alm]\nenabled = false\n[transport]\npeers = [\"{}\"]\n",
            serving.peer
        );
        let c = mesh.node_with(&format!("c-{kind}"), &config, None)?;
        c.join(&a)?;
        c.wait_connected(&[&a])?;
        let id = serving.id()?;
        serving.wait_connected_to(&c)?;
        // So that it names bases when it asks for the next version.
        c.ok(&["get", &old, "--store", "--from", a.id()])?;
        let copy = mesh.path().join(format!("copy-{kind}"));
        let got = c.json(&["get", &root, text(&copy)])?;
        tree::compare(&path, &copy)?;
        let providers = got["providers"].as_array().ok_or("no providers")?;
        let state = |id: &str| {
            let one = providers.iter().find(|one| one["node_id"] == id);
            one.and_then(|one| one["state"].as_str()).map(str::to_owned)
        };
        let (rogue, honest) = (state(id), state(a.id()));
        let (rogue, honest) = (
            rogue.ok_or("it was not asked")?,
            honest.ok_or("the honest one was not asked")?,
        );
        // What the silent one owes is asked of the other before its time is up, so that it may end unblamed.
        assert!(kind == "Silent" || rogue != "active", "{kind}: {got}");
        assert!(!honest.starts_with("dropped"), "{kind}: {got}");
        fsck(&c)?;
    }
    Ok(())
}

#[test]
fn a_replayed_token_opens_nothing() -> Outcome {
    let ids = said(&["id"])?;
    let (owner, thief) = ids.split_once('\n').ok_or("two ids")?;
    let mut mesh = Mesh::new()?;
    // Both are members; nothing listens at the port.
    let config = format!(
        "[alm]\nenabled = false\n[transport]\npeers = [\"{owner}@[::1]:9\", \"{thief}@[::1]:9\"]\n"
    );
    let a = mesh.node_with("a", &config, None)?;
    let path = mesh.path().join("file");
    std::fs::write(&path, b"what a token opens").unwrap();
    let (root, _) = put(&a, &path)?;
    let block = a.json(&["stat", &root])?["id"]
        .as_str()
        .ok_or("no block")?
        .to_owned();
    let answer = said(&["replay", &a.address()?.to_string(), &block])?;
    // 12: DENIED.
    assert_eq!(answer, "served, status 12");
    Ok(())
}

#[test]
fn ten_thousand_strangers_at_the_port_stop_nobody() -> Outcome {
    let mut mesh = Mesh::new()?;
    let (a, b) = (mesh.node("a")?, mesh.node("b")?);
    b.join(&a)?;
    b.wait_connected(&[&a])?;
    let to = a.address()?.to_string();
    let knocking = {
        let to = to.clone();
        std::thread::spawn(move || said(&["knock", &to, &HANDSHAKES.to_string()]))
    };
    // A member is served meanwhile, and a new one may join.
    let path = mesh.path().join("tree");
    tree::write(&path, &mut Random::new(62), 20, 50_000)?;
    let (root, _) = put(&a, &path)?;
    let copy = mesh.path().join("copy");
    b.ok(&["get", &root, text(&copy)])?;
    tree::compare(&path, &copy)?;
    let through: u32 = knocking.join().unwrap()?.parse().unwrap();
    assert!(
        through > HANDSHAKES / 2,
        "{through} handshakes came through"
    );
    let c = mesh.node("c")?;
    c.join(&a)?;
    let resident = status(&a, "/resident_bytes")?;
    assert!(resident < RESIDENT_BYTES_MAX, "{resident} bytes resident");
    Ok(())
}
