//! Rules on what files are.

use super::{Problem, Tree};

/// Largest file, in bytes, but for data.
const BYTES_MAX: usize = 512 << 10;

/// Largest file of data, in bytes.
const DATA_BYTES_MAX: usize = 20 << 20;

/// Where data and vectors live.
const DATA: &[&str] = &["integration/data/", "integration/vectors/"];

/// Kinds of files that belong here.
const EXTENSIONS: &[&str] = &[
    "rs",
    "zig",
    "zon",
    "go",
    "mod",
    "sum",
    "c",
    "h",
    "proto",
    "toml",
    "lock",
    "md",
    "json",
    "jsonl",
    "txt",
    "sh",
    "yml",
    "py",
    "Dockerfile",
];

/// Names without an extension that belong here.
const NAMES: &[&str] = &[
    "make",
    "run",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    ".gitignore",
    ".gitattributes",
    ".editorconfig",
    "pre-commit",
    "commit-msg",
    ".zigversion",
];

/// What stands at the top of the tree; a new name is a decision.
const TOP: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "Makefile.toml",
    "make",
    "rust",
    "zig",
    "go",
    "ffi",
    "integration",
    "docs",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "clippy.toml",
    "deny.toml",
    ".ci",
    ".githooks",
    ".github",
    ".gitignore",
    ".gitattributes",
    ".editorconfig",
];

pub(super) fn executable_bits(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in &tree.files {
        let script = file.bytes.starts_with(b"#!") && !file.bytes.starts_with(b"#![");
        if script && !file.executable {
            let text = format!("a script that cannot run: chmod +x {}", file.path);
            problems.push(Problem::at(&file.path, 0, text));
        }
        if file.executable && !script {
            let text = format!("executable, but no script: chmod -x {}", file.path);
            problems.push(Problem::at(&file.path, 0, text));
        }
    }
    problems
}

pub(super) fn foreign(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in &tree.files {
        let data = DATA.iter().any(|start| file.path.starts_with(start));
        let max = if data { DATA_BYTES_MAX } else { BYTES_MAX };
        if file.bytes.len() > max {
            let text = format!("{} bytes, more than {max}", file.bytes.len());
            problems.push(Problem::at(&file.path, 0, text));
        }
        if data {
            continue;
        }
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let known = NAMES.contains(&name) || EXTENSIONS.contains(&file.extension());
        if !known {
            let text = "a kind of file that has no place here yet; see tidy/files.rs";
            problems.push(Problem::at(&file.path, 0, text));
        } else if file.text().is_none() {
            let text = "not text; data belongs below integration/data/";
            problems.push(Problem::at(&file.path, 0, text));
        }
    }
    problems
}

pub(super) fn top_names(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in &tree.files {
        let top = file.path.split('/').next().unwrap_or_default();
        if !TOP.contains(&top) {
            let text = format!("{top} is new at the top of the tree; put it where it belongs");
            problems.push(Problem::at(&file.path, 0, text));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rule: super::super::Rule, files: &[(&str, &str)]) -> Vec<String> {
        rule(&Tree::of(files))
            .into_iter()
            .map(|p| p.place)
            .collect()
    }

    #[test]
    fn executable_bits_follow_the_first_line() {
        let files = [
            ("*make", "#!/bin/sh\n"),
            (".ci/run", "#!/usr/bin/env bash\n"),
            ("*a.rs", "fn main() {}"),
            ("rust/a/src/lib.rs", "#![forbid(unsafe_code)]"),
        ];
        assert_eq!(found(executable_bits, &files), [".ci/run", "a.rs"]);
    }

    #[test]
    fn foreign_files_are_named() {
        let large = "x".repeat(BYTES_MAX + 1);
        let files = [
            ("a.rs", large.as_str()),
            ("integration/data/b.bin", &large),
            ("c.exe", ""),
            ("docs/d.md", "a\0b"),
            ("make", ""),
        ];
        assert_eq!(found(foreign, &files), ["a.rs", "c.exe", "docs/d.md"]);
    }

    #[test]
    fn the_top_is_a_closed_list() {
        assert_eq!(
            found(top_names, &[("rust/a.rs", ""), ("notes/b.md", "")]),
            ["notes/b.md"]
        );
    }
}
