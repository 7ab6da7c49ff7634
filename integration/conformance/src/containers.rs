//! The programs in containers: small images from what was built, one container for each.
//!
//! Unix sockets are for one machine, so the containers of a cell share the directory of its sockets, and nothing else:
//! they have no network. Nodes have one: `mesh.rs`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::programs::{Places, Program};

/// Where programs are in an image.
const INSIDE: &str = "/opt/hypermesh";
const BASE: &str = "hypermesh-test-base";

/// A container engine that answers.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    name: String,
}

impl Engine {
    /// The one that `CONTAINER_ENGINE` names, else docker or podman. Why there is none, if so.
    pub(crate) fn find() -> Result<Self, String> {
        let named = std::env::var("CONTAINER_ENGINE").ok();
        let names = named.map_or_else(|| vec!["docker".into(), "podman".into()], |name| vec![name]);
        let mut reasons = Vec::new();
        for name in names {
            let engine = Self { name };
            match engine.run(&["info"]) {
                Ok(_) => return Ok(engine),
                Err(reason) => reasons.push(reason.lines().last().unwrap_or_default().to_owned()),
            }
        }
        Err(reasons.join("; "))
    }

    /// What a command of the engine prints.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(&self.name)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{}: {error}", self.name))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let asked = arguments.join(" ");
        Err(format!("{} {asked}: {}\n{said}", self.name, output.status))
    }

    /// Whether a command succeeds, and what it printed, both streams.
    pub(crate) fn exec(
        &self,
        container: &str,
        arguments: &[&str],
    ) -> Result<(bool, String), String> {
        let output = Command::new(&self.name)
            .args(["exec", container])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{}: {error}", self.name))?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        Ok((output.status.success(), said))
    }
}

/// Containers, removed when dropped, with the network that they are on.
#[derive(Debug)]
pub(crate) struct Fleet {
    engine: Engine,
    /// Begins the name of each; so do those of other runs differ.
    prefix: String,
    /// Is there in each, at the same path.
    place: PathBuf,
    containers: Vec<String>,
    networks: Vec<String>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for container in &self.containers {
            // It may not have been made.
            let _ = self.engine.run(&["rm", "-f", container]);
        }
        for network in &self.networks {
            let _ = self.engine.run(&["network", "rm", network]);
        }
    }
}

impl Fleet {
    pub(crate) fn new(engine: &Engine, place: &Path) -> Self {
        Self {
            engine: engine.clone(),
            prefix: format!("hypermesh-test-{}", std::process::id()),
            place: place.to_path_buf(),
            containers: Vec::new(),
            networks: Vec::new(),
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// An IPv6 network of its own.
    pub(crate) fn network(&mut self, subnet: &str) -> Result<String, String> {
        let name = format!("{}-net", self.prefix);
        self.engine
            .run(&["network", "create", "--ipv6", "--subnet", subnet, &name])?;
        self.networks.push(name.clone());
        Ok(name)
    }

    /// Starts a container that stays; its name. It runs as we do, so that each may use the other's sockets.
    pub(crate) fn start(
        &mut self,
        what: &str,
        image: &str,
        network: &[&str],
    ) -> Result<String, String> {
        let name = format!("{}-{what}", self.prefix);
        let volume = format!("{0}:{0}", self.place.display());
        let user = format!(
            "{}:{}",
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw()
        );
        let mut arguments = vec!["run", "-d", "--name", &name, "--user", &user, "-v", &volume];
        arguments.extend(network);
        arguments.push(image);
        self.containers.push(name.clone());
        self.engine.run(&arguments)?;
        Ok(name)
    }

    /// The same programs, each in a container of its own.
    pub(crate) fn programs(
        &mut self,
        side: &str,
        places: &Places,
        of: impl Fn(&Places) -> Vec<Program>,
    ) -> Result<Vec<Program>, String> {
        let mut inside = Vec::new();
        let there = Places {
            built: INSIDE.into(),
            root: Path::new(INSIDE).join("tree"),
        };
        for (here, there) in of(places).iter().zip(of(&there)) {
            let language = here.language;
            let mut files: Vec<(PathBuf, PathBuf)> = here
                .files()
                .map(Path::to_path_buf)
                .zip(there.files().map(Path::to_path_buf))
                .collect();
            let vectors =
                ["wire.txt", "ifr_flows.txt"].map(|name| format!("integration/vectors/{name}"));
            let mut beside = vectors.to_vec();
            if language == "python" {
                for directory in [
                    "integration/conformance/python",
                    "integration/interop/python/mfn",
                ] {
                    beside.extend(modules(&places.root, directory)?);
                }
            }
            for file in beside {
                let to = Path::new(INSIDE).join("tree").join(&file);
                files.push((places.root.join(&file), to));
            }
            let image = image(&self.engine, &format!("{side}-{language}"), places, &files)?;
            let container = self.start(
                &format!("{side}-{language}"),
                &image,
                &["--network", "none"],
            )?;
            inside.push(there.inside(&[&self.engine.name, "exec", "-i", &container]));
        }
        Ok(inside)
    }
}

/// The Python modules of a directory, from the root.
fn modules(root: &Path, directory: &str) -> Result<Vec<String>, String> {
    let place = root.join(directory);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&place).map_err(at(&place))? {
        let name = entry.map_err(at(&place))?.file_name();
        if let Some(name) = name.to_str().filter(|name| name.ends_with(".py")) {
            found.push(format!("{directory}/{name}"));
        }
    }
    Ok(found)
}

/// Where the vectors are in an image.
pub(crate) fn vectors() -> PathBuf {
    Path::new(INSIDE).join("tree/integration/vectors/wire.txt")
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

/// Copies a file below a directory, as its path says.
fn copy(from: &Path, below: &Path, to: &Path) -> Result<(), String> {
    let to = below.join(to.strip_prefix("/").unwrap_or(to));
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent).map_err(at(parent))?;
    }
    std::fs::copy(from, &to).map(drop).map_err(at(from))
}

/// Shared libraries that a program names, the loader among them.
fn named_by(program: &Path) -> Result<Vec<PathBuf>, String> {
    let output = Command::new("ldd").arg(program).output();
    let output = output.map_err(|error| format!("ldd: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(words
        .map(|word| PathBuf::from(word.trim_end_matches(':')))
        .collect())
}

/// Python itself: its program and its library.
fn python() -> Result<Vec<(PathBuf, PathBuf)>, String> {
    let script = "import sys, sysconfig; print(sys.base_exec_prefix, sysconfig.get_path('stdlib'), sys.version_info[1])";
    let output = Command::new("python3").args(["-c", script]).output();
    let output = output.map_err(|error| format!("python3: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words: Vec<&str> = text.split_whitespace().collect();
    let [prefix, library, minor] = *words else {
        return Err("python3 does not say where its library is".into());
    };
    let name = format!("python3.{minor}");
    let program = Path::new(prefix).join("bin").join(&name);
    // Found by its place: beside it is its library.
    let mut files = vec![(program.clone(), PathBuf::from("/usr/bin/python3"))];
    let root = Path::new("/usr/lib").join(&name);
    let mut left = vec![PathBuf::from(library)];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).map_err(at(&directory))? {
            let path = entry.map_err(at(&directory))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let skipped = [
                "site-packages",
                "dist-packages",
                "test",
                "__pycache__",
                "idlelib",
                "ensurepip",
            ];
            if path.is_dir() {
                if !name.is_some_and(|name| skipped.contains(&name) || name.starts_with("config-"))
                {
                    left.push(path);
                }
            } else if let Ok(rest) = path.strip_prefix(library) {
                files.push((path.clone(), root.join(rest)));
            }
        }
    }
    Ok(files)
}

/// Builds an image of these files and of `conformance`.
pub(crate) fn image(
    engine: &Engine,
    what: &str,
    places: &Places,
    files: &[(PathBuf, PathBuf)],
) -> Result<String, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let own = (
        places.built.join("conformance"),
        Path::new(INSIDE).join("conformance"),
    );
    for (from, to) in files.iter().chain([&own]) {
        copy(from, directory.path(), to)?;
    }
    let tag = format!("hypermesh-test-{what}");
    build(engine, places, &tag, "program.Dockerfile", directory.path())?;
    Ok(tag)
}

fn build(
    engine: &Engine,
    places: &Places,
    tag: &str,
    recipe: &str,
    context: &Path,
) -> Result<(), String> {
    let recipe = places.root.join("integration/containers").join(recipe);
    let (recipe, context) = (recipe.display().to_string(), context.display().to_string());
    engine
        .run(&["build", "-q", "-t", tag, "-f", &recipe, &context])
        .map(drop)
}

/// Makes the base: the libraries that the programs name, and Python.
pub(crate) fn base(engine: &Engine, places: &Places) -> Result<(), String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut files = python()?;
    let sides = [places.servers(), places.ifrd(), places.clients()].concat();
    let programs = sides.iter().flat_map(Program::files).map(Path::to_path_buf);
    let nodes = ["hypermesh", "almd", "conformance"].map(|name| places.built.join(name));
    let mut libraries = BTreeSet::new();
    let pythons: Vec<PathBuf> = files.iter().map(|(from, _)| from.clone()).collect();
    for file in programs.chain(nodes).chain(pythons) {
        let mut magic = [0; 4];
        let mut opened = std::fs::File::open(&file).map_err(at(&file))?;
        // A shorter file is none.
        if std::io::Read::read_exact(&mut opened, &mut magic).is_ok() && magic == *b"\x7fELF" {
            libraries.extend(named_by(&file)?);
        }
    }
    files.extend(
        libraries
            .into_iter()
            .map(|library| (library.clone(), library)),
    );
    for (from, to) in &files {
        copy(from, directory.path(), to)?;
    }
    build(engine, places, BASE, "base.Dockerfile", directory.path())
}

/// Keeps a container there until it is told to end.
pub(crate) fn hold() {
    let signals = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    if let Ok(runtime) = signals {
        runtime.block_on(async {
            let kind = tokio::signal::unix::SignalKind::terminate();
            if let Ok(mut told) = tokio::signal::unix::signal(kind) {
                told.recv().await;
            }
        });
    }
}
