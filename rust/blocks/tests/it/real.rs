use std::path::Path;

use hypermesh_blocks::{Ignore, StoreOptions};

use crate::tree::{Bench, snapshot};

/// This repository's documents, and the system's C headers where there are some: whatever people
/// keep in directories.
#[test]
fn real_trees_come_back_as_they_were() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    for tree in [docs.as_path(), Path::new("/usr/include")] {
        if !tree.is_dir() {
            println!("not on this machine: {}", tree.display());
            continue;
        }
        let bench = Bench::new();
        let put = |bench: &Bench| {
            bench
                .store
                .put(tree, hypermesh_blocks::PutOptions::default(), &Ignore)
                .unwrap()
        };
        let report = put(&bench);
        let bench = bench.reopen(StoreOptions::default());
        let done = bench
            .store
            .extract(&report.root, &bench.path("copy"), &Ignore)
            .unwrap();
        assert_eq!(done.content_bytes, report.content_bytes);
        assert_eq!(snapshot(tree), snapshot(&bench.path("copy")));
        assert_eq!(put(&bench).new_blocks, 0);
    }
}
