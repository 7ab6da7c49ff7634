//! Makes trees and compares them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use hypermesh_blocks::{Closure, Ignore, PutOptions, PutReport, Store, StoreOptions, Wanted};
use tempfile::TempDir;

/// What stands at a path: kind, mode and content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    File(u32, Vec<u8>),
    Directory(u32),
    Symlink(Vec<u8>),
}

/// Bytes that look random and are the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut out);
    out
}

/// Everything below `path`, by its path.
pub(crate) fn snapshot(path: &Path) -> BTreeMap<Vec<u8>, Node> {
    fn add(path: &Path, below: &Path, into: &mut BTreeMap<Vec<u8>, Node>) {
        let meta = path.symlink_metadata().unwrap();
        let mode = meta.permissions().mode() & 0o777;
        let node = if meta.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                let entry = entry.unwrap();
                add(&entry.path(), &below.join(entry.file_name()), into);
            }
            Node::Directory(mode)
        } else if meta.is_symlink() {
            Node::Symlink(fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec())
        } else {
            assert!(meta.is_file());
            assert_eq!(meta.mode() & 0o7000, 0);
            Node::File(mode, fs::read(path).unwrap())
        };
        into.insert(below.as_os_str().as_bytes().to_vec(), node);
    }
    let mut found = BTreeMap::new();
    add(path, Path::new(""), &mut found);
    found
}

/// A directory for a test, with a store in it.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(StoreOptions::default())
    }

    pub(crate) fn with(options: StoreOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), options).unwrap();
        Self { dir, store }
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn put(&self, name: &str) -> PutReport {
        self.store
            .put(&self.path(name), PutOptions::default(), &Ignore)
            .unwrap()
    }

    /// Closes the store and opens it again.
    pub(crate) fn reopen(self, options: StoreOptions) -> Self {
        let Self { dir, store } = self;
        drop(store);
        let store = Store::open(&dir.path().join("store"), options).unwrap();
        Self { dir, store }
    }
}

/// A tree with one of everything.
pub(crate) fn make_mixed(path: &Path) {
    fs::create_dir(path).unwrap();
    fs::write(path.join("empty"), b"").unwrap();
    fs::write(path.join("small"), b"some text").unwrap();
    fs::write(path.join("large"), noise(1, 1_500_000)).unwrap();
    fs::write(path.join("text"), b"the same line again\n".repeat(20_000)).unwrap();
    fs::write(path.join("zeros"), vec![0; 300_000]).unwrap();
    let mut holed = noise(2, 200_000);
    holed.extend_from_slice(&vec![0; 400_000]);
    holed.extend_from_slice(&noise(3, 70_000));
    fs::write(path.join("holed"), &holed).unwrap();
    fs::write(
        path.join(std::ffi::OsStr::from_bytes(b"not utf-8 \xff\xfe")),
        b"x",
    )
    .unwrap();
    fs::create_dir_all(path.join("a/b/c")).unwrap();
    fs::create_dir(path.join("nothing inside")).unwrap();
    fs::write(path.join("a/b/c/deep"), b"deep").unwrap();
    fs::hard_link(path.join("small"), path.join("a/second name of small")).unwrap();
    symlink("../../etc/passwd", path.join("a/link out")).unwrap();
    symlink("nowhere", path.join("dangling")).unwrap();
    fs::set_permissions(path.join("small"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(path.join("a/b"), fs::Permissions::from_mode(0o500)).unwrap();
}

/// Moves what a root needs from one store to another, block by block; answers how many there were.
pub(crate) fn fetch(from: &Store, to: &Store, mut closure: Closure) -> u64 {
    let mut count = 0;
    loop {
        match closure.poll(to, 64).unwrap() {
            Wanted::Done => return count,
            Wanted::Waiting => unreachable!("every block was handed in, and yet it waits"),
            Wanted::Blocks(blocks) => {
                for block in blocks {
                    let stored = from.read_stored(&block.id).unwrap().unwrap();
                    assert_eq!(stored.raw_len, block.raw_len);
                    to.ingest(&block.id, stored).unwrap();
                    closure.received(&block.id);
                    count += 1;
                }
            }
        }
    }
}
