//! Nodes in containers on an IPv6 network of their own: what one puts, another gets, through a network that is cut and
//! joined again.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::containers::{Fleet, image};
use crate::programs::Places;

/// The prefix of the network: unique local addresses, of this test alone.
const PREFIX: &str = "fd4d:6573:6800:c0de:";
const PORT: u16 = 4871;
/// What is waited for comes sooner, or the test has failed.
const PATIENCE: Duration = Duration::from_secs(90);
const COMMAND: &str = "/opt/hypermesh/hypermesh";

struct Node {
    name: String,
    address: String,
    directory: String,
}

struct Mesh {
    fleet: Fleet,
    network: String,
    place: PathBuf,
}

impl Mesh {
    fn node(&mut self, letter: &str, image: &str) -> Result<Node, String> {
        let address = format!("{PREFIX}:{letter}");
        let network = ["--network", &self.network, "--ip6", &address];
        let name = self.fleet.start(letter, image, &network)?;
        let directory = self.place.join(letter).display().to_string();
        let node = Node {
            name,
            address,
            directory,
        };
        let listen = format!("[{}]:{PORT}", node.address);
        let log = self.place.join(format!("{letter}.log"));
        let engine = self.fleet.engine();
        let runtime = format!("XDG_RUNTIME_DIR={}", self.place.join("run").display());
        let arguments = [
            "exec",
            "-d",
            "-e",
            &runtime,
            &node.name,
            COMMAND,
            "--dir",
            &node.directory,
            "up",
            "--init",
            "--listen",
            &listen,
        ];
        engine.run(&arguments)?;
        self.until(&format!("node {letter}, see {}", log.display()), || {
            self.command(&node, &["status"]).map(|(fine, _)| fine)
        })?;
        Ok(node)
    }

    /// Runs the command on a node: whether it succeeded, and what it printed.
    fn command(&self, node: &Node, arguments: &[&str]) -> Result<(bool, String), String> {
        let mut all = vec![COMMAND, "--quiet", "--dir", &node.directory];
        all.extend(arguments);
        self.fleet.engine().exec(&node.name, &all)
    }

    fn ok(&self, node: &Node, arguments: &[&str]) -> Result<String, String> {
        match self.command(node, arguments)? {
            (true, said) => Ok(said),
            (false, said) => Err(format!("{}: {}: {said}", node.name, arguments.join(" "))),
        }
    }

    fn until(
        &self,
        what: &str,
        mut look: impl FnMut() -> Result<bool, String>,
    ) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        while !look()? {
            if Instant::now() > end {
                return Err(format!("waited in vain for {what}"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Gets a root on a node and compares it with what was put.
    fn get(&self, node: &Node, root: &str, tree: &Path, copy: &str) -> Result<(), String> {
        let copy = self.place.join(copy);
        self.ok(node, &["get", root, &copy.display().to_string()])?;
        compare(tree, &copy)
    }
}

/// The same pseudo-random bytes for the same seed.
fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..count.div_ceil(8))
        .flat_map(|_| next())
        .take(count)
        .collect()
}

fn write(tree: &Path, seed: u64) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", tree.display());
    std::fs::create_dir_all(tree.join("below")).map_err(failed)?;
    for (number, name) in ["one", "two", "below/three"].iter().enumerate() {
        let content = bytes(seed + number as u64, 300_000 * (number + 1));
        std::fs::write(tree.join(name), content).map_err(failed)?;
    }
    Ok(())
}

fn compare(tree: &Path, copy: &Path) -> Result<(), String> {
    for name in ["one", "two", "below/three"] {
        let read = |path: PathBuf| {
            std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        if read(tree.join(name))? != read(copy.join(name))? {
            return Err(format!("{name} is another below {}", copy.display()));
        }
    }
    Ok(())
}

/// Runs the scenario; what was done, line by line.
pub(crate) fn run(fleet: Fleet, places: &Places, place: &Path) -> Result<Vec<String>, String> {
    let files = ["hypermesh", "almd"].map(|name| {
        let there = Path::new("/opt/hypermesh").join(name);
        (places.built.join(name), there)
    });
    let image = image(fleet.engine(), "node", places, &files)?;
    let mut mesh = Mesh {
        fleet,
        network: String::new(),
        place: place.to_path_buf(),
    };
    mesh.network = mesh.fleet.network(&format!("{PREFIX}:/64"))?;
    let nodes = [
        mesh.node("a", &image)?,
        mesh.node("b", &image)?,
        mesh.node("c", &image)?,
    ];
    let [a, b, c] = &nodes;
    let mut done = Vec::new();
    for node in [b, c] {
        let invitation = mesh.ok(a, &["invite"])?;
        mesh.ok(node, &["join", &invitation])?;
    }
    done.push("three nodes on an IPv6 network, joined by invitation".to_owned());
    let (first, second) = (place.join("first"), place.join("second"));
    write(&first, 11)?;
    write(&second, 12)?;
    let put = |tree: &Path| mesh.ok(a, &["put", &tree.display().to_string()]);
    let root = put(&first)?;
    mesh.get(b, &root, &first, "copy-b")?;
    mesh.get(c, &root, &first, "copy-c")?;
    done.push("put on a, got on b and c".to_owned());

    mesh.fleet
        .engine()
        .run(&["network", "disconnect", &mesh.network, &b.name])?;
    let root = put(&second)?;
    mesh.get(c, &root, &second, "second-c")?;
    let cut = place.join("second-b");
    let (fine, said) = mesh.command(b, &["get", &root, &cut.display().to_string()])?;
    if fine || cut.exists() {
        return Err(format!("b got what it could not reach: {said}"));
    }
    done.push(format!(
        "b cut off: c gets, b says: {}",
        said.lines().last().unwrap_or_default()
    ));

    mesh.fleet.engine().run(&[
        "network",
        "connect",
        "--ip6",
        &b.address,
        &mesh.network,
        &b.name,
    ])?;
    mesh.until("b to be connected again", || {
        let (fine, _) = mesh.command(b, &["get", &root, &cut.display().to_string()])?;
        Ok(fine)
    })?;
    compare(&second, &cut)?;
    done.push("healed: b gets".to_owned());
    for node in &nodes {
        mesh.ok(node, &["fsck"])?;
    }
    done.push("fsck finds nothing on any".to_owned());
    Ok(done)
}
