//! Reads trees: lists, looks up, and streams what is below a root.

use std::ops::ControlFlow;

use bytes::Bytes;
use hypermesh_id::{BlockId, Root};

use crate::limits::{BLOCK_BYTES_MAX, DIRECTORY_ENTRIES_MAX, TREE_DEPTH_MAX};
use crate::manifest::{
    ContentRef, DirectoryEntry, IndexEntry, IndexKind, ManifestError, RootManifest, Target,
    decode_directory, decode_index, decode_root,
};
use crate::{Closure, Store, StoreError, Wanted};

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    File,
    Directory,
    Symlink,
}

impl EntryKind {
    /// The word of the local wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
        }
    }
}

/// One thing below a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Below the root, `/` between names; empty for the root itself.
    pub path: Vec<u8>,
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u16,
    /// Bytes of a file, entries of a directory, 0 of a symlink.
    pub size: u64,
    /// Text of a symlink.
    pub target: Vec<u8>,
    /// Top block of the content; zeros where there is none.
    pub id: BlockId,
}

/// An entry and how much of it is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    pub entry: Entry,
    /// Thousandths of its bytes, as far as they are known, that are in this store.
    pub local_permille: u32,
}

pub(crate) fn invalid(block: BlockId) -> impl Fn(ManifestError) -> StoreError {
    move |error| StoreError::Manifest {
        block,
        reason: error.to_string(),
    }
}

/// The names of a path below a root. An empty path is the root.
pub(crate) fn split(path: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
    let names: Vec<Vec<u8>> = path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    let bad = names
        .iter()
        .any(|name| crate::manifest::check_name(name).is_err());
    if bad || names.len() > TREE_DEPTH_MAX {
        return Err(StoreError::NotFound(path.to_vec()));
    }
    Ok(names)
}

pub(crate) fn entry(path: Vec<u8>, mode: u16, target: &Target) -> Entry {
    let (kind, size, text, id) = match target {
        Target::File(content) => (EntryKind::File, content.size, Vec::new(), content.id),
        Target::Directory(content) => (EntryKind::Directory, content.size, Vec::new(), content.id),
        Target::Symlink(text) => (EntryKind::Symlink, 0, text.clone(), BlockId([0; 32])),
    };
    Entry {
        path,
        kind,
        mode,
        size,
        target: text,
        id,
    }
}

impl Store {
    /// Reads trees whose blocks are all here.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader {
            store: self,
            arrivals: None,
        }
    }

    /// Calls `each` for every entry of the directory at `path`, in the order of names; with
    /// `recursive`, for everything below it. A file or symlink is its own only entry.
    pub fn list(
        &self,
        root: &Root,
        path: &[u8],
        recursive: bool,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let (found, below) = self.reader().find(root, path)?;
        match &found.target {
            Target::Directory(content) => {
                let depth = below.iter().filter(|byte| **byte == b'/').count();
                self.reader()
                    .list_directory(content, &below, recursive, depth, each)
                    .map(drop)
            }
            other => {
                let _ = each(entry(below, found.mode, other));
                Ok(())
            }
        }
    }

    /// The entry at `path`, and how much of it is here. A block that is missing below the entry is
    /// no error.
    pub fn stat(&self, root: &Root, path: &[u8]) -> Result<Stat, StoreError> {
        let (found, below) = self.reader().find(root, path)?;
        let local_permille = match &found.target {
            Target::File(content) => self.local_permille(*content, IndexKind::File)?,
            Target::Directory(content) => self.local_permille(*content, IndexKind::Directory)?,
            Target::Symlink(_) => 1_000,
        };
        Ok(Stat {
            entry: entry(below, found.mode, &found.target),
            local_permille,
        })
    }

    /// Whether a file is at `path` and its top block is here: its bytes, or the index of them.
    pub fn has_top(&self, root: &Root, path: &[u8]) -> bool {
        match self.reader().find(root, path) {
            Ok((found, _)) => {
                matches!(found.target, Target::File(content) if self.contains(&content.id))
            }
            Err(_) => false,
        }
    }

    /// Calls `each` with the bytes of the file at `path` from `offset`, in order; `length` 0 is to
    /// the end. Parts are at most 256 KiB.
    pub fn cat(
        &self,
        root: &Root,
        path: &[u8],
        offset: u64,
        length: u64,
        each: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let (found, below) = self.reader().find(root, path)?;
        let Target::File(content) = found.target else {
            return Err(StoreError::WrongKind {
                path: below,
                expected: "file",
            });
        };
        let length = if length == 0 { u64::MAX } else { length };
        let end = offset.saturating_add(length).min(content.size);
        let zeros = Bytes::from(vec![0; BLOCK_BYTES_MAX]);
        let _ = self
            .reader()
            .file_parts(&content, offset, end, &mut |part| {
                let flow = match part {
                    Part::Data(_, bytes) => each(bytes),
                    Part::Hole(mut size) => {
                        let mut flow = ControlFlow::Continue(());
                        while size > 0 && flow.is_continue() {
                            let count = size.min(BLOCK_BYTES_MAX as u64);
                            flow = each(zeros.slice(..count as usize));
                            size -= count;
                        }
                        flow
                    }
                };
                Ok(flow)
            })?;
        Ok(())
    }

    fn local_permille(&self, content: ContentRef, kind: IndexKind) -> Result<u32, StoreError> {
        let mut closure = Closure::content(content, kind);
        // Nothing is handed in, so what is missing stays missing: one walk.
        while let Wanted::Blocks(_) = closure.poll(self, DIRECTORY_ENTRIES_MAX)? {
            closure.give_up();
        }
        let ((_, known), (_, present)) = (closure.known_totals(), closure.present());
        if known == 0 {
            return Ok(1_000);
        }
        Ok((u128::from(present) * 1_000 / u128::from(known)) as u32)
    }
}

/// Blocks that are still on their way into a store while a tree of them is read. Called from the thread
/// that reads.
pub trait Arrivals: Sync {
    /// How many have come so far.
    fn count(&self) -> u64;
    /// The verified bytes of a block that came a moment ago, if they are still at hand: they need not
    /// be read and verified again.
    fn take(&self, id: &BlockId) -> Option<Bytes>;
    /// Waits until more than `seen` have come; `false` when no more will.
    fn wait(&self, seen: u64) -> bool;
    /// Waits for the end; whether everything came and will stay.
    fn completed(&self) -> bool;
}

/// Reads trees from a store, and from what is arriving there.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) store: &'a Store,
    pub(crate) arrivals: Option<&'a dyn Arrivals>,
}

impl Reader<'_> {
    /// The verified block, or the error that it is missing.
    fn need(&self, id: &BlockId) -> Result<Bytes, StoreError> {
        let Some(arrivals) = self.arrivals else {
            return self.store.need(id);
        };
        loop {
            // Counted before the look: what comes during it ends the wait.
            let seen = arrivals.count();
            if let Some(block) = arrivals.take(id) {
                return Ok(block);
            }
            if let Some(block) = self.store.read(id)? {
                // It may have come between the two looks.
                drop(arrivals.take(id));
                return Ok(block);
            }
            if !arrivals.wait(seen) {
                return Err(StoreError::Missing(*id));
            }
        }
    }

    /// The root's manifest.
    pub(crate) fn root_manifest(&self, root: &Root) -> Result<RootManifest, StoreError> {
        decode_root(&self.need(&root.0)?).map_err(invalid(root.0))
    }

    /// The entry at a path, and the path in its plain form.
    pub(crate) fn find(
        &self,
        root: &Root,
        path: &[u8],
    ) -> Result<(DirectoryEntry, Vec<u8>), StoreError> {
        let manifest = self.root_manifest(root)?;
        let names = split(path)?;
        let mut at = DirectoryEntry {
            name: Vec::new(),
            mode: manifest.mode,
            target: manifest.target,
        };
        for name in &names {
            let Target::Directory(content) = &at.target else {
                return Err(StoreError::NotFound(path.to_vec()));
            };
            let mut hit = None;
            let _ = self.directory_entries(content, &mut |entry| {
                // Names are in order: what comes after the place of this one cannot be it.
                Ok(match entry.name.cmp(name) {
                    std::cmp::Ordering::Less => ControlFlow::Continue(()),
                    std::cmp::Ordering::Equal => {
                        hit = Some(entry);
                        ControlFlow::Break(())
                    }
                    std::cmp::Ordering::Greater => ControlFlow::Break(()),
                })
            })?;
            at = hit.ok_or_else(|| StoreError::NotFound(path.to_vec()))?;
        }
        Ok((at, names.join(&b'/')))
    }

    fn list_directory(
        &self,
        content: &ContentRef,
        path: &[u8],
        recursive: bool,
        depth: usize,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StoreError> {
        self.directory_entries(content, &mut |found| {
            let below = join(path, &found.name);
            let target = found.target;
            if each(entry(below.clone(), found.mode, &target)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            match target {
                Target::Directory(inner) if recursive => {
                    if depth >= TREE_DEPTH_MAX {
                        return Err(too_deep());
                    }
                    self.list_directory(&inner, &below, recursive, depth + 1, each)
                }
                _ => Ok(ControlFlow::Continue(())),
            }
        })
    }

    /// Calls `each` for the entries of one directory, in order, and checks that they are.
    pub(crate) fn directory_entries(
        &self,
        content: &ContentRef,
        each: &mut dyn FnMut(DirectoryEntry) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let mut last: Option<Vec<u8>> = None;
        self.leaves(
            IndexKind::Directory,
            content,
            0,
            content.size,
            &mut |_, part| {
                let entries = self.directory_block(&part)?;
                for entry in entries {
                    if last.as_ref().is_some_and(|last| *last >= entry.name) {
                        return Err(invalid(part.id)(ManifestError(
                            "names of a directory are not in order",
                        )));
                    }
                    last = Some(entry.name.clone());
                    if each(entry)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Ok(ControlFlow::Continue(()))
            },
        )
    }

    /// Reads one directory block whose entry count its reference announced.
    fn directory_block(&self, part: &IndexEntry) -> Result<Vec<DirectoryEntry>, StoreError> {
        let entries = decode_directory(&self.need(&part.id)?).map_err(invalid(part.id))?;
        if entries.len() as u64 != part.size {
            let error = ManifestError("a directory has another size than its reference says");
            return Err(invalid(part.id)(error));
        }
        Ok(entries)
    }

    /// Calls `each` with the parts of a file between two offsets, in order.
    pub(crate) fn file_parts(
        &self,
        content: &ContentRef,
        offset: u64,
        end: u64,
        each: &mut dyn FnMut(Part) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<ControlFlow<()>, StoreError> {
        if content.is_empty_file() {
            return Ok(ControlFlow::Continue(()));
        }
        self.leaves(IndexKind::File, content, offset, end, &mut |at, part| {
            let (from, to) = (offset.max(at), end.min(at + part.size));
            if from >= to {
                return Ok(ControlFlow::Continue(()));
            }
            if part.is_hole() {
                return each(Part::Hole(to - from));
            }
            let block = self.need(&part.id)?;
            if block.len() as u64 != part.size {
                let error = ManifestError("a chunk has another size than its reference says");
                return Err(invalid(part.id)(error));
            }
            each(Part::Data(
                from,
                block.slice((from - at) as usize..(to - at) as usize),
            ))
        })
    }

    /// Calls `each` for the leaf parts that touch a range, with their offsets.
    fn leaves(
        &self,
        kind: IndexKind,
        content: &ContentRef,
        offset: u64,
        end: u64,
        each: &mut dyn FnMut(u64, IndexEntry) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<ControlFlow<()>, StoreError> {
        // At most one index block per level is held: the stack is bounded by depth times fan-out.
        let top = IndexEntry {
            size: content.size,
            block_len: content.block_len,
            id: content.id,
        };
        let mut stack = vec![(0_u64, content.depth, top)];
        while let Some((at, depth, part)) = stack.pop() {
            let empty_directory = kind == IndexKind::Directory && content.size == 0;
            let outside = at >= end || at + part.size <= offset;
            if outside && !empty_directory {
                continue;
            }
            if depth == 0 || part.is_hole() {
                if each(at, part)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                continue;
            }
            let expected = ContentRef {
                size: part.size,
                depth,
                block_len: part.block_len,
                id: part.id,
            };
            let block = self.need(&part.id)?;
            let parts = decode_index(&block, kind, &expected).map_err(invalid(part.id))?;
            let mut from = at + part.size;
            for part in parts.into_iter().rev() {
                from -= part.size;
                stack.push((from, depth - 1, part));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// A stretch of a file.
#[derive(Debug)]
pub(crate) enum Part {
    /// Offset and bytes.
    Data(u64, Bytes),
    /// Length.
    Hole(u64),
}

pub(crate) fn too_deep() -> StoreError {
    StoreError::Limit {
        what: "the nesting of directories",
        limit: TREE_DEPTH_MAX as u64,
    }
}

pub(crate) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        return name.to_vec();
    }
    [path, name].join(&b'/')
}
