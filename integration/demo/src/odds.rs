//! What is put: the tree, and beside it a few things that a tree of sources seldom has.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use hypermesh_testkit::{Result, at};

/// What [`lay_out`] puts beside the tree, for people.
pub(crate) const WHAT: &str = "odds/: three symlinks (one of them dangling), an executable, a read-only file, a private one, an empty one, an empty directory";

/// Files, their modes and contents.
const FILES: &[(&str, u32, &[u8])] = &[
    ("run.sh", 0o755, b"#!/bin/sh\necho it ran\n"),
    ("read-only", 0o444, b"nobody writes here\n"),
    ("private", 0o600, b"only its owner reads this\n"),
    ("nothing", 0o644, b""),
];

/// Symlinks and where they lead.
const LINKS: &[(&str, &str)] = &[
    ("to-a-file", "run.sh"),
    ("to-a-directory", "empty"),
    ("to-nowhere", "../gone"),
];

/// Makes `into` with the tree at `path` and `odds`. Files are hard links where the file system allows it: the demo
/// changes none of them.
pub(crate) fn lay_out(path: &Path, into: &Path) -> Result<()> {
    fs::create_dir(into).map_err(at(into.display()))?;
    let name = path.file_name().unwrap_or("tree".as_ref());
    repeat(
        path,
        &into.join(if name == "odds" {
            "tree".as_ref()
        } else {
            name
        }),
    )?;
    let odds = into.join("odds");
    fs::create_dir(&odds).map_err(at(odds.display()))?;
    for (name, mode, content) in FILES {
        let file = odds.join(name);
        fs::write(&file, content).map_err(at(file.display()))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(*mode))
            .map_err(at(file.display()))?;
    }
    for (name, target) in LINKS {
        symlink(target, odds.join(name)).map_err(at(name))?;
    }
    fs::create_dir(odds.join("empty")).map_err(at("empty"))
}

/// Whether a copy has the odds, looked at one by one: a comparison of two trees sees what both lack as equal.
pub(crate) fn check(copy: &Path) -> Result<()> {
    let odds = copy.join("odds");
    for (name, mode, content) in FILES {
        let file = odds.join(name);
        let found = fs::metadata(&file).map_err(at(file.display()))?.mode() & 0o777;
        if found != *mode || fs::read(&file).map_err(at(file.display()))? != *content {
            return Err(format!(
                "{name}: other content or mode in the copy ({found:o})"
            ));
        }
    }
    for (name, target) in LINKS {
        let found = fs::read_link(odds.join(name)).map_err(at(name))?;
        if found != Path::new(target) {
            return Err(format!("{name} leads to {} in the copy", found.display()));
        }
    }
    let empty = odds.join("empty");
    match fs::read_dir(&empty).map_err(at(empty.display()))?.count() {
        0 => Ok(()),
        count => Err(format!(
            "the empty directory has {count} entries in the copy"
        )),
    }
}

/// The tree at `from` once more at `to`. What is neither file, directory nor symlink is left out, as `put` does.
fn repeat(from: &Path, to: &Path) -> Result<()> {
    let mut pairs = vec![(from.to_owned(), to.to_owned())];
    let mut modes = Vec::new();
    while let Some((from, to)) = pairs.pop() {
        let meta = fs::symlink_metadata(&from).map_err(at(from.display()))?;
        if meta.is_symlink() {
            let target = fs::read_link(&from).map_err(at(from.display()))?;
            symlink(target, &to).map_err(at(to.display()))?;
        } else if meta.is_file() {
            // Another file system, or another owner.
            if fs::hard_link(&from, &to).is_err() {
                fs::copy(&from, &to).map_err(at(from.display()))?;
            }
        } else if meta.is_dir() {
            let mut builder = fs::DirBuilder::new();
            builder.mode(0o700).create(&to).map_err(at(to.display()))?;
            for entry in fs::read_dir(&from).map_err(at(from.display()))? {
                let entry = entry.map_err(at(from.display()))?;
                pairs.push((entry.path(), to.join(entry.file_name())));
            }
            modes.push((to, meta.permissions()));
        }
    }
    // At the end: one of them may forbid to write.
    for (directory, mode) in modes {
        fs::set_permissions(&directory, mode).map_err(at(directory.display()))?;
    }
    Ok(())
}
