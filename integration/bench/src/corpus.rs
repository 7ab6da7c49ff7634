//! Real versions of real packages, fetched once from the registries into a cache directory.
//!
//! `corpus.txt` names them. What is fetched stays outside the source tree: `$MFN_CORPUS`, else
//! `hypermesh-bench/corpus` in the user's cache directory.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::record::BenchError;

const LIST: &str = include_str!("../corpus.txt");
/// Empty file that says that a version is whole.
const WHOLE: &str = ".ok";

/// One line of the list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version {
    /// The half of the packages it belongs to: true for the second.
    pub(crate) second_half: bool,
    pub(crate) registry: &'static str,
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
}

/// Every version of the list: by registry and name, oldest first.
pub(crate) fn versions() -> Vec<Version> {
    let mut all: Vec<Version> = LIST
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (half, rest) = line.split_once(' ')?;
            let mut parts = rest.split('/');
            Some(Version {
                second_half: half == "b",
                registry: parts.next()?,
                name: parts.next()?,
                version: parts.next()?,
            })
        })
        .collect();
    all.sort_by_key(|one| (one.registry, one.name, numbers(one.version)));
    all
}

fn numbers(version: &str) -> Vec<u64> {
    let parts = version.split(|c: char| !c.is_ascii_digit());
    parts.filter_map(|part| part.parse().ok()).collect()
}

impl Version {
    pub(crate) fn directory(&self) -> Result<PathBuf, BenchError> {
        let below = [self.registry, self.name, self.version];
        Ok(below.iter().fold(home()?, |path, part| path.join(part)))
    }
}

fn home() -> Result<PathBuf, BenchError> {
    if let Some(path) = std::env::var_os("MFN_CORPUS") {
        return Ok(path.into());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let cache = cache.ok_or_else(|| BenchError::new("name a directory in MFN_CORPUS"))?;
    Ok(cache.join("hypermesh-bench/corpus"))
}

/// Whether every version is there; where not, the command that fetches them.
pub(crate) fn check() -> Result<(), String> {
    let missing = versions()
        .iter()
        .filter(|one| one.directory().is_ok_and(|path| !path.join(WHOLE).exists()))
        .count();
    if missing == 0 {
        return Ok(());
    }
    Err(format!(
        "{missing} versions of packages are not here: cargo make bench-corpus fetches them"
    ))
}

/// Fetches what is not there, through the registries' own clients.
pub(crate) fn fetch() -> Result<(), BenchError> {
    let mut failed = 0;
    for one in versions() {
        let into = one.directory()?;
        if into.join(WHOLE).exists() {
            continue;
        }
        println!("{}/{}/{}", one.registry, one.name, one.version);
        let _ = fs::remove_dir_all(&into);
        fs::create_dir_all(&into)?;
        match fetch_one(&one, &into) {
            Ok(()) => fs::write(into.join(WHOLE), b"")?,
            Err(error) => {
                failed += 1;
                eprintln!("  {error}");
            }
        }
    }
    if failed > 0 {
        return Err(BenchError::new(format!(
            "{failed} versions were not fetched"
        )));
    }
    Ok(())
}

fn fetch_one(one: &Version, into: &Path) -> Result<(), BenchError> {
    let place = tempfile::tempdir()?;
    let dir = place.path();
    let Version { name, version, .. } = one;
    match one.registry {
        "pypi" => {
            let wanted = format!("{name}=={version}");
            let wheel = [
                "download",
                "-q",
                "--no-deps",
                "--only-binary=:all:",
                "--dest",
                ".",
            ];
            run(dir, "pip", &[&wheel[..], &[&wanted]].concat())?;
            for file in files(dir, "whl")? {
                run(into, "unzip", &["-q", "-o", &file])?;
            }
        }
        "npm" => {
            run(
                dir,
                "npm",
                &["pack", "--silent", &format!("{name}@{version}")],
            )?;
            for file in files(dir, "tgz")? {
                run(into, "tar", &["xzf", &file])?;
            }
        }
        _ => {
            // Asking for a crate's details brings its archive into cargo's own cache.
            let wanted = format!("{name}@{version}");
            run(
                dir,
                "cargo",
                &["info", "-q", "--registry", "crates-io", &wanted],
            )?;
            let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
            let home =
                home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
            let cache = home.unwrap_or_default().join("registry/cache");
            let archive = format!("{name}-{version}.crate");
            let found = fs::read_dir(cache)?
                .flatten()
                .map(|registry| registry.path().join(&archive))
                .find(|path| path.exists())
                .ok_or_else(|| BenchError::new(format!("{archive} is not in cargo's cache")))?;
            run(into, "tar", &["xzf", &found.to_string_lossy()])?;
        }
    }
    Ok(())
}

fn files(dir: &Path, extension: &str) -> Result<Vec<String>, BenchError> {
    let entries = fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    let paths = entries.into_iter().map(|entry| entry.path());
    Ok(paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| path.to_string_lossy().into_owned())
        .collect())
}

fn run(dir: &Path, program: &str, arguments: &[&str]) -> Result<(), BenchError> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| BenchError::new(format!("{program}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(BenchError::new(format!("{program}: {}", text.trim())))
}

/// Makes trees out of packages that have four versions and at most so many bytes in them: the n-th
/// oldest version of each goes into the n-th tree. Answers the number of packages.
pub(crate) fn version_trees(into: &Path, bytes_max: u64) -> Result<usize, BenchError> {
    let all = versions();
    let names: BTreeSet<(&str, &str)> = all.iter().map(|one| (one.registry, one.name)).collect();
    let mut taken = 0;
    for (registry, name) in names {
        let of_name = all
            .iter()
            .filter(|one| one.registry == registry && one.name == name);
        let directories = of_name
            .map(Version::directory)
            .collect::<Result<Vec<_>, _>>()?;
        if directories.len() < TREES {
            continue;
        }
        let mut bytes = 0;
        for directory in &directories {
            bytes += crate::files::disk_bytes(directory)?;
        }
        if bytes > bytes_max {
            continue;
        }
        taken += 1;
        for (number, directory) in directories.iter().take(TREES).enumerate() {
            let target = into.join(format!("T{number}")).join(registry).join(name);
            copy(directory, &target)?;
        }
    }
    Ok(taken)
}

/// How many trees [`version_trees`] makes.
pub(crate) const TREES: usize = 4;

fn copy(from: &Path, to: &Path) -> Result<(), BenchError> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() && entry.file_name() != WHOLE {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
