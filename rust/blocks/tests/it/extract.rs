use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hypermesh_blocks::{Ignore, Observer, Progress, StoreError};

use crate::tree::{Bench, make_mixed, noise};

/// Removes a tree whose directories may not be writable.
pub(crate) fn remove(path: &Path) {
    if path.is_dir() && !path.is_symlink() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        for entry in fs::read_dir(path).unwrap() {
            remove(&entry.unwrap().path());
        }
        fs::remove_dir(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn refuses_what_is_in_the_way_and_leaves_it() {
    let bench = Bench::new();
    make_mixed(&bench.path("tree"));
    let root = bench.put("tree").root;
    fs::write(bench.path("file"), b"mine").unwrap();
    fs::create_dir(bench.path("directory")).unwrap();
    std::os::unix::fs::symlink("nowhere", bench.path("link")).unwrap();
    for name in ["file", "directory", "link"] {
        let result = bench.store.extract(&root, &bench.path(name), &Ignore);
        assert!(matches!(result, Err(StoreError::Exists { .. })), "{name}");
    }
    assert_eq!(fs::read(bench.path("file")).unwrap(), b"mine");
    assert_eq!(
        names(bench.dir.path()),
        ["directory", "file", "link", "store", "tree"]
    );
}

#[test]
fn removes_what_a_killed_one_left_and_nothing_else() {
    use rustix::fs::{FlockOperation, flock};
    let bench = Bench::new();
    make_mixed(&bench.path("tree"));
    let root = bench.put("tree").root;
    let others = [
        // Of another destination, of a running extraction, and not named like ours.
        ".other.hypermesh-7-0",
        ".copy.hypermesh-7-1",
        ".copy.hypermesh-7",
        ".copy.hypermesh-7-1-1",
        ".copy.hypermesh-7-x",
    ];
    for name in [".copy.hypermesh-7-0", ".copy.hypermesh-7-2"]
        .iter()
        .chain(&others)
    {
        let content = bench.path(name).join("content/closed");
        fs::create_dir_all(&content).unwrap();
        fs::write(content.join("file"), b"half").unwrap();
        fs::set_permissions(&content, fs::Permissions::from_mode(0o500)).unwrap();
    }
    std::os::unix::fs::symlink("tree", bench.path(".copy.hypermesh-7-3")).unwrap();
    let running = fs::File::open(bench.path(".copy.hypermesh-7-1")).unwrap();
    flock(&running, FlockOperation::NonBlockingLockExclusive).unwrap();
    bench
        .store
        .extract(&root, &bench.path("copy"), &Ignore)
        .unwrap();
    let mut expected = others.to_vec();
    expected.extend([".copy.hypermesh-7-3", "copy", "store", "tree"]);
    expected.sort_unstable();
    assert_eq!(names(bench.dir.path()), expected);
    for name in others {
        remove(&bench.path(name));
    }
}

#[test]
fn leaves_nothing_when_it_is_stopped() {
    struct StopAt(u64);
    impl Observer for StopAt {
        fn progress(&self, _: &Progress) {}
        fn cancelled(&self) -> bool {
            self.0 == 0
        }
    }
    let bench = Bench::new();
    make_mixed(&bench.path("tree"));
    fs::write(bench.path("tree/zz"), noise(3, 9 << 20)).unwrap();
    let root = bench.put("tree").root;
    let result = bench.store.extract(&root, &bench.path("copy"), &StopAt(0));
    assert!(matches!(result, Err(StoreError::Cancelled)));
    assert_eq!(names(bench.dir.path()), ["store", "tree"]);
}

#[test]
fn something_that_comes_meanwhile_is_not_replaced() {
    struct InTheWay<'a>(&'a Path);
    impl Observer for InTheWay<'_> {
        fn progress(&self, _: &Progress) {
            fs::write(self.0, b"mine").unwrap();
        }
    }
    let bench = Bench::new();
    make_mixed(&bench.path("tree"));
    let root = bench.put("tree").root;
    let copy = bench.path("copy");
    let result = bench.store.extract(&root, &copy, &InTheWay(&copy));
    assert!(
        matches!(result, Err(StoreError::Exists { .. })),
        "{result:?}"
    );
    assert_eq!(fs::read(&copy).unwrap(), b"mine");
    assert_eq!(names(bench.dir.path()), ["copy", "store", "tree"]);
}

#[test]
fn a_parent_that_is_not_there_is_said() {
    let bench = Bench::new();
    make_mixed(&bench.path("tree"));
    let root = bench.put("tree").root;
    let result = bench
        .store
        .extract(&root, &bench.path("no/copy"), &Ignore)
        .unwrap_err();
    assert!(result.to_string().contains("cannot open"), "{result}");
}
