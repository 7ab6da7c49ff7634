//! `xtask advisories [DIRECTORY]`: no dependency has a known vulnerability.
//!
//! The database is RustSec's, a git repository of one text file per advisory. Without a directory it is cloned into
//! `.tools/advisory-db` and brought up to date. A machine without a network says that nothing was checked; `STRICT=1`
//! makes that a failure.

use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::MetadataCommand;
use cargo_metadata::semver::{Version, VersionReq};

use crate::Outcome;

const DATABASE: &str = "https://github.com/rustsec/advisory-db";

/// The part of an advisory that decides.
#[derive(Debug)]
struct Advisory {
    id: String,
    informational: bool,
    patched: Vec<VersionReq>,
    unaffected: Vec<VersionReq>,
}

/// Checks the packages of `Cargo.lock`.
pub(crate) fn run(root: &Path, args: &[String]) -> Outcome {
    let database = match args {
        [] => match update(root) {
            Ok(path) => path,
            Err(problem) => {
                let text = format!("nothing was checked: {problem}");
                if crate::strict() {
                    return Err(text.into());
                }
                eprintln!("advisories: {text}");
                return Ok(());
            }
        },
        [directory] => PathBuf::from(directory),
        _ => return Err("advisories: at most one directory".into()),
    };
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .other_options(vec!["--locked".to_owned()])
        .exec()?;
    let mut read = 0;
    let mut found = 0;
    for package in &metadata.packages {
        let directory = database.join("crates").join(package.name.as_str());
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries {
            let path = entry?.path();
            let text = std::fs::read_to_string(&path)?;
            let advisory = parse(&text).map_err(|e| format!("{}: {e}", path.display()))?;
            read += 1;
            if let Some(advisory) = advisory
                && concerns(&advisory, &package.version)
            {
                let (kind, counted) = if advisory.informational {
                    ("note", 0)
                } else {
                    ("vulnerable", 1)
                };
                found += counted;
                eprintln!(
                    "advisories: {kind}: {} {}: {}",
                    package.name, package.version, advisory.id
                );
            }
        }
    }
    if !database.join("crates").is_dir() {
        return Err(format!("{}: no advisory database", database.display()).into());
    }
    if found > 0 {
        return Err(
            format!("{found} advisories concern us: cargo update, or use another crate").into(),
        );
    }
    println!(
        "advisories: {} packages, {read} advisories on them, none concerns the versions used",
        metadata.packages.len()
    );
    Ok(())
}

/// Clones the database, or brings the clone up to date.
fn update(root: &Path) -> Result<PathBuf, String> {
    let path = root.join(".tools/advisory-db");
    let mut git = Command::new("git");
    // Never a question for a password: a closed network is an error, not a wait.
    git.env("GIT_TERMINAL_PROMPT", "0");
    git.args([
        "-c",
        "http.lowSpeedLimit=1000",
        "-c",
        "http.lowSpeedTime=20",
    ]);
    if path.join(".git").is_dir() {
        git.arg("-C").arg(&path);
        git.args(["pull", "--quiet", "--ff-only", "--depth", "1"]);
    } else {
        git.args(["clone", "--quiet", "--depth", "1", DATABASE])
            .arg(&path);
    }
    let output = git.output().map_err(|e| format!("git: {e}"))?;
    if output.status.success() {
        return Ok(path);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().last().unwrap_or("no message");
    Err(format!("the database cannot be reached: {line}"))
}

/// Reads an advisory; none where it was withdrawn.
fn parse(text: &str) -> Result<Option<Advisory>, String> {
    let front = text
        .split_once("```toml")
        .and_then(|(_, rest)| rest.split_once("```"))
        .map(|(front, _)| front)
        .ok_or("no ```toml block")?;
    let table: toml::Table = toml::from_str(front).map_err(|e| e.to_string())?;
    let advisory = table.get("advisory").ok_or("no [advisory]")?;
    if advisory.get("withdrawn").is_some() {
        return Ok(None);
    }
    let versions = |name: &str| -> Result<Vec<VersionReq>, String> {
        table
            .get("versions")
            .and_then(|versions| versions.get(name))
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten()
            .map(|value| {
                let text = value.as_str().unwrap_or_default();
                VersionReq::parse(text).map_err(|e| format!("'{text}': {e}"))
            })
            .collect()
    };
    Ok(Some(Advisory {
        id: advisory
            .get("id")
            .and_then(toml::Value::as_str)
            .ok_or("no id")?
            .to_owned(),
        informational: advisory.get("informational").is_some(),
        patched: versions("patched")?,
        unaffected: versions("unaffected")?,
    }))
}

fn concerns(advisory: &Advisory, version: &Version) -> bool {
    !advisory
        .patched
        .iter()
        .chain(&advisory.unaffected)
        .any(|range| range.matches(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "```toml\n[advisory]\nid = \"RUSTSEC-2020-0001\"\n[versions]\npatched = [\">= 1.2.3\"]\nunaffected = [\"< 1.0.0\"]\n```\n# Title\n";

    #[test]
    fn versions_decide() {
        let advisory = parse(TEXT).unwrap().unwrap();
        for (version, expected) in [
            ("0.9.0", false),
            ("1.0.0", true),
            ("1.2.2", true),
            ("1.2.3", false),
        ] {
            assert_eq!(
                concerns(&advisory, &version.parse().unwrap()),
                expected,
                "{version}"
            );
        }
    }

    #[test]
    fn withdrawn_and_broken_ones() {
        let withdrawn = TEXT.replace("[versions]", "withdrawn = \"2021-01-01\"\n[versions]");
        assert!(parse(&withdrawn).unwrap().is_none());
        assert!(parse("# no block").is_err());
        assert!(parse("```toml\n[advisory\n```").is_err());
    }
}
