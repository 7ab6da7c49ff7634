//! Manifests from somebody who means harm: well-named blocks with bad contents.

use std::ops::ControlFlow;

use hypermesh_blocks::manifest::{
    ContentRef, DirectoryEntry, IndexEntry, IndexKind, RootManifest, Target, Totals,
    decode_directory, decode_index, decode_root, encode_directory, encode_index, encode_root,
};
use hypermesh_blocks::{Closure, Ignore, Store, StoreError, StoredBlock, Wanted};
use hypermesh_id::{BlockId, Root};

use crate::tree::{Bench, noise};

fn add(store: &Store, bytes: &[u8]) -> BlockId {
    let id = BlockId::of(bytes);
    let block = StoredBlock {
        codec: 0,
        raw_len: bytes.len() as u32,
        bytes: bytes::Bytes::copy_from_slice(bytes),
    };
    store.ingest(&id, block).unwrap();
    id
}

fn directory(store: &Store, entries: &[DirectoryEntry]) -> ContentRef {
    let block = encode_directory(entries);
    let id = add(store, &block);
    ContentRef {
        size: entries.len() as u64,
        depth: 0,
        block_len: block.len() as u32,
        id,
    }
}

fn root_of(store: &Store, target: Target, totals: Totals) -> Root {
    let manifest = RootManifest {
        mode: 0o755,
        target,
        totals,
    };
    Root(add(store, &encode_root(&manifest).unwrap()))
}

const MANY: Totals = Totals {
    files: 1_000,
    directories: 1_000,
    symlinks: 1_000,
    content_bytes: 1 << 40,
};

fn file(store: &Store, name: &[u8]) -> DirectoryEntry {
    let bytes = b"gotcha";
    let content = ContentRef {
        size: 6,
        depth: 0,
        block_len: 6,
        id: add(store, bytes),
    };
    DirectoryEntry {
        name: name.to_vec(),
        mode: 0o644,
        target: Target::File(content),
    }
}

/// Neither extraction nor the closure accepts the root, and nothing is left behind.
fn refused(bench: &Bench, root: Root) -> String {
    let error = bench
        .store
        .extract(&root, &bench.path("out"), &Ignore)
        .unwrap_err();
    let names: Vec<_> = std::fs::read_dir(bench.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["store"]);
    error.to_string()
}

#[test]
fn names_that_lead_out_are_refused() {
    let bench = Bench::new();
    let long = vec![b'x'; 255];
    assert!(decode_directory(&encode_directory(&[file(&bench.store, &long)])).is_ok());
    let bad: [&[u8]; 7] = [b"..", b".", b"", b"a/b", b"/etc", b"a\0b", b"../x"];
    for name in bad {
        let content = directory(&bench.store, &[file(&bench.store, name)]);
        let root = root_of(&bench.store, Target::Directory(content), MANY);
        assert!(refused(&bench, root).contains("not a valid manifest"));
        assert!(matches!(
            Closure::new(root).poll(&bench.store, 10),
            Err(StoreError::Manifest { .. })
        ));
    }
}

#[test]
fn names_out_of_order_or_twice_are_refused() {
    let bench = Bench::new();
    let (a, b) = (file(&bench.store, b"a"), file(&bench.store, b"b"));
    for entries in [vec![b.clone(), a.clone()], vec![a.clone(), a.clone()]] {
        let content = directory(&bench.store, &entries);
        let root = root_of(&bench.store, Target::Directory(content), MANY);
        assert!(refused(&bench, root).contains("order"));
    }
    // Across two blocks of one directory as well.
    let block = directory(&bench.store, &[a, b]);
    let part = IndexEntry {
        size: 2,
        block_len: block.block_len,
        id: block.id,
    };
    let index = encode_index(IndexKind::Directory, 1, &[part, part]);
    let content = ContentRef {
        size: 4,
        depth: 1,
        block_len: index.len() as u32,
        id: add(&bench.store, &index),
    };
    let root = root_of(&bench.store, Target::Directory(content), MANY);
    assert!(refused(&bench, root).contains("order"));
}

#[test]
fn a_link_in_the_way_of_a_name_is_not_followed() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("store/target")).unwrap();
    let target = bench
        .path("store/target")
        .into_os_string()
        .into_encoded_bytes();
    let inner = directory(&bench.store, &[file(&bench.store, b"planted")]);
    let link = DirectoryEntry {
        name: b"x".to_vec(),
        mode: 0o777,
        target: Target::Symlink(target),
    };
    let below = DirectoryEntry {
        name: b"x".to_vec(),
        mode: 0o755,
        target: Target::Directory(inner),
    };
    let content = directory(&bench.store, &[link, below]);
    let root = root_of(&bench.store, Target::Directory(content), MANY);
    refused(&bench, root);
    assert_eq!(
        std::fs::read_dir(bench.path("store/target"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_tree_of_copies_of_itself_is_walked_once_and_not_written() {
    let bench = Bench::new();
    let mut content = directory(&bench.store, &[file(&bench.store, b"f")]);
    for _ in 0..200 {
        let entries: Vec<_> = (0..100_u8)
            .map(|number| DirectoryEntry {
                name: vec![b'0' + number / 10, b'0' + number % 10],
                mode: 0o755,
                target: Target::Directory(content),
            })
            .collect();
        content = directory(&bench.store, &entries);
    }
    let root = root_of(&bench.store, Target::Directory(content), MANY);
    let mut closure = Closure::new(root);
    assert_eq!(closure.poll(&bench.store, 100).unwrap(), Wanted::Done);
    assert!(refused(&bench, root).contains("more than the root announces"));
    // A listing of it can be stopped at any time.
    let mut count = 0;
    bench
        .store
        .list(&root, b"", true, &mut |_| {
            count += 1;
            if count == 1_000 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
    assert_eq!(count, 1_000);
}

#[test]
fn an_index_of_copies_of_itself_is_walked_once() {
    let bench = Bench::new();
    let block = directory(&bench.store, &[file(&bench.store, b"f")]);
    let mut part = IndexEntry {
        size: 1,
        block_len: block.block_len,
        id: block.id,
    };
    for depth in 1..=6_u8 {
        let index = encode_index(IndexKind::Directory, depth, &[part; 200]);
        part = IndexEntry {
            size: part.size * 200,
            block_len: index.len() as u32,
            id: add(&bench.store, &index),
        };
    }
    let content = ContentRef {
        size: part.size,
        depth: 6,
        block_len: part.block_len,
        id: part.id,
    };
    let root = root_of(&bench.store, Target::Directory(content), MANY);
    assert_eq!(
        Closure::new(root).poll(&bench.store, 9).unwrap(),
        Wanted::Done
    );
    let mut path = Closure::path(root, b"f").unwrap();
    assert_eq!(path.poll(&bench.store, 9).unwrap(), Wanted::Done);
    assert!(refused(&bench, root).contains("order"));
}

#[test]
fn nesting_has_an_end() {
    let bench = Bench::new();
    let mut content = directory(&bench.store, &[]);
    for _ in 0..300 {
        let inside = Target::Directory(content);
        let entry = DirectoryEntry {
            name: b"d".to_vec(),
            mode: 0o755,
            target: inside,
        };
        content = directory(&bench.store, &[entry]);
    }
    let root = root_of(&bench.store, Target::Directory(content), MANY);
    assert!(matches!(
        Closure::new(root).poll(&bench.store, 9),
        Err(StoreError::Limit { .. })
    ));
    assert!(refused(&bench, root).contains("nesting"));
}

#[test]
fn sizes_and_modes_that_lie_are_refused() {
    let bench = Bench::new();
    let chunk = add(&bench.store, b"gotcha");
    let index = |entries: &[IndexEntry], size, depth| {
        let block = encode_index(IndexKind::File, 1, entries);
        let id = add(&bench.store, &block);
        let content = ContentRef {
            size,
            depth,
            block_len: block.len() as u32,
            id,
        };
        root_of(&bench.store, Target::File(content), MANY)
    };
    let part = IndexEntry {
        size: 6,
        block_len: 6,
        id: chunk,
    };
    let hole = IndexEntry::hole(10);
    refused(&bench, index(&[part], 7, 1));
    refused(&bench, index(&[part], 6, 2));
    refused(&bench, index(&[IndexEntry { size: 7, ..part }], 7, 1));
    refused(&bench, index(&[hole, hole], 20, 1));
    refused(&bench, index(&[IndexEntry { size: 0, ..part }], 0, 1));
    refused(&bench, index(&[IndexEntry::hole(u64::MAX), hole], 9, 1));
    refused(
        &bench,
        index(
            &[IndexEntry {
                block_len: 1 << 20,
                size: 1 << 20,
                ..part
            }],
            1 << 20,
            1,
        ),
    );
    let wrong = ContentRef {
        size: 5,
        depth: 0,
        block_len: 5,
        id: chunk,
    };
    let root = root_of(&bench.store, Target::File(wrong), MANY);
    assert!(refused(&bench, root).contains("size"));
    let suid = DirectoryEntry {
        mode: 0o4755,
        ..file(&bench.store, b"sh")
    };
    let content = directory(&bench.store, &[suid]);
    refused(
        &bench,
        root_of(&bench.store, Target::Directory(content), MANY),
    );
}

/// Every decoder takes any bytes: random ones, and valid ones with random changes.
#[test]
fn decoders_take_anything() {
    let id = BlockId([5; 32]);
    let content = ContentRef {
        size: 9,
        depth: 0,
        block_len: 9,
        id,
    };
    let entries = [
        DirectoryEntry {
            name: b"a".to_vec(),
            mode: 0o644,
            target: Target::File(content),
        },
        DirectoryEntry {
            name: b"b".to_vec(),
            mode: 0o755,
            target: Target::Directory(content),
        },
        DirectoryEntry {
            name: b"c".to_vec(),
            mode: 0o777,
            target: Target::Symlink(b"t".to_vec()),
        },
    ];
    let parts = [
        IndexEntry {
            size: 9,
            block_len: 9,
            id,
        },
        IndexEntry::hole(70_000),
    ];
    let expected = ContentRef {
        size: 70_009,
        depth: 1,
        block_len: 96,
        id,
    };
    let root = RootManifest {
        mode: 0o644,
        target: Target::File(content),
        totals: MANY,
    };
    let valid = [
        encode_directory(&entries),
        encode_index(IndexKind::File, 1, &parts),
        encode_root(&root).unwrap(),
    ];
    assert_eq!(decode_directory(&valid[0]).unwrap(), entries);
    assert_eq!(
        decode_index(&valid[1], IndexKind::File, &expected).unwrap(),
        parts
    );
    assert_eq!(decode_root(&valid[2]).unwrap(), root);
    let mut accepted = 0;
    for round in 0..30_000_u64 {
        let dice = noise(round, 16);
        let mut bytes = valid[usize::from(dice[0]) % 3].clone();
        match dice[1] % 4 {
            0 => bytes.truncate(usize::from(dice[2]) % (bytes.len() + 1)),
            1 => bytes.extend_from_slice(&dice[3..8]),
            2 => bytes = [&bytes[..4], &noise(round, usize::from(dice[2]))].concat(),
            _ => {}
        }
        for change in dice[8..].chunks_exact(2).take(usize::from(dice[1]) % 3) {
            if !bytes.is_empty() {
                let at = usize::from(change[0]) % bytes.len();
                bytes[at] = change[1];
            }
        }
        // What is accepted encodes to the same bytes: there is one encoding of a thing.
        if let Ok(entries) = decode_directory(&bytes) {
            assert_eq!(encode_directory(&entries), bytes);
            accepted += 1;
        }
        if let Ok(parts) = decode_index(&bytes, IndexKind::File, &expected) {
            assert_eq!(encode_index(IndexKind::File, 1, &parts), bytes);
            accepted += 1;
        }
        if let Ok(root) = decode_root(&bytes) {
            assert_eq!(encode_root(&root).unwrap(), bytes);
            accepted += 1;
        }
        hypermesh_blocks::record::Header::decode(&bytes);
        assert!(hypermesh_blocks::sidecar::decode(&bytes, 0, 1 << 20).is_none());
    }
    assert!(accepted > 1_000);
}
