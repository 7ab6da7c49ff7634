//! `xtask tools`: what this machine builds with, as a table.

use std::path::Path;
use std::process::Command;

use crate::Outcome;

/// Name, program, argument that prints the version, what it is for, whether a build needs it.
const TOOLS: &[(&str, &str, &[&str], &str, bool)] = &[
    (
        "rust",
        "rustc",
        &["--version"],
        "the node and the command",
        true,
    ),
    (
        "cargo-make",
        "cargo",
        &["make", "--version"],
        "runs the tasks",
        true,
    ),
    ("zig", "zig", &["version"], "the IFR table", true),
    ("go", "go", &["version"], "almd", true),
    (
        "cc",
        "cc",
        &["--version"],
        "C examples, and ring's C parts",
        true,
    ),
    (
        "c++",
        "c++",
        &["--version"],
        "test-ffi: headers as C++",
        false,
    ),
    (
        "git",
        "git",
        &["--version"],
        "check: the list of tracked files",
        false,
    ),
    (
        "libclang",
        "clang",
        &["--version"],
        "gen: bindings of the C headers",
        false,
    ),
    (
        "restic",
        "restic",
        &["version"],
        "bench-blocks: the peer",
        false,
    ),
];

/// Prints the table; a missing tool that a build needs is an error.
pub(crate) fn run(root: &Path) -> Outcome {
    let mut missing = Vec::new();
    println!("{:<11} {:<44} for", "tool", "version");
    for (name, program, arguments, purpose, needed) in TOOLS {
        let program = if *name == "zig" {
            zig(root)
        } else {
            (*program).into()
        };
        let version = version(&program, arguments);
        if version.is_none() && *needed {
            missing.push(*name);
        }
        let shown = version.unwrap_or_else(|| {
            if *needed {
                "MISSING"
            } else {
                "not there (optional)"
            }
            .into()
        });
        println!("{name:<11} {shown:<44} {purpose}");
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "missing: {}; ./make fetches zig, go and cargo-make",
        missing.join(", ")
    )
    .into())
}

/// The Zig compiler: `$ZIG`, else `.tools/bin/zig`, else the one on the PATH.
pub(crate) fn zig(root: &Path) -> std::ffi::OsString {
    if let Some(zig) = std::env::var_os("ZIG").filter(|zig| !zig.is_empty()) {
        return zig;
    }
    let fetched = root.join(".tools/bin/zig");
    if fetched.exists() {
        fetched.into()
    } else {
        "zig".into()
    }
}

fn version(program: &std::ffi::OsStr, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Some(
        text.lines()
            .next()
            .unwrap_or_default()
            .chars()
            .take(44)
            .collect(),
    )
}
