//! Finds out, block by block, what of a root is not in a store yet.

use std::collections::{HashMap, HashSet, VecDeque};

use hypermesh_id::{BlockId, Root};

use crate::counterpart::{Counterparts, Older};
use crate::limits::{
    CLOSURE_MANIFESTS_MAX, CLOSURE_OUTSTANDING_MAX, COUNTERPART_READS_EACH,
    COUNTERPART_READS_START, COUNTERPART_ROOTS_MAX, TREE_DEPTH_MAX,
};
use crate::manifest::{
    ContentRef, IndexKind, ManifestError, ROOT_BYTES, Target, decode_directory, decode_index,
    decode_root,
};
use crate::tree::{invalid, split, too_deep};
use crate::{Store, StoreError};

/// A block to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRef {
    pub id: BlockId,
    /// Its length in bytes, uncompressed, as its reference announces.
    pub raw_len: u32,
}

/// What a closure answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Blocks to get, none of them asked for before.
    Blocks(Vec<BlockRef>),
    /// Nothing until one of the blocks that were asked for is here.
    Waiting,
    /// Everything is here.
    Done,
}

/// Walks what a root needs, top down, and asks for the blocks that a store does not have.
///
/// Its memory does not grow with the files of a tree: it holds one path of the tree, what was asked
/// for, and a few words for each manifest block it has seen (so that a tree that repeats itself is
/// walked once).
#[derive(Debug)]
pub struct Closure {
    /// Names of the path that is wanted; empty for everything unless `shallow`.
    names: Vec<Vec<u8>>,
    /// Stop at the entry itself: a file's bytes, a directory's own listing.
    shallow: bool,
    /// Blocks to look at, the next one last.
    stack: Vec<Item>,
    /// Missing blocks that were found and not handed out.
    ready: VecDeque<BlockRef>,
    /// Blocks that were asked for, each with what to do when it is here.
    outstanding: HashMap<BlockId, Vec<Item>>,
    seen: HashSet<(u128, u32)>,
    known: (u64, u64),
    present: (u64, u64),
    /// Roots of older trees, the latest first.
    older: Vec<Root>,
    /// Their tops, the likeliest first.
    tops: Vec<ContentRef>,
    /// Blocks of them that may still be read.
    older_reads: usize,
}

/// One block of the walk.
#[derive(Clone, Copy, Debug)]
struct Item {
    id: BlockId,
    raw_len: u32,
    role: Role,
    /// What stands there in older trees.
    old: Counterparts,
}

#[derive(Clone, Copy, Debug)]
enum Role {
    Root,
    Chunk,
    /// A block of content of this kind and depth; a directory's at this nesting.
    Content {
        kind: IndexKind,
        content: ContentRef,
        nesting: u16,
    },
}

impl Item {
    fn root(root: Root) -> Self {
        Self {
            id: root.0,
            raw_len: ROOT_BYTES as u32,
            role: Role::Root,
            old: Counterparts::NONE,
        }
    }

    fn content(kind: IndexKind, content: ContentRef, nesting: u16) -> Self {
        let role = if kind == IndexKind::File && content.depth == 0 {
            Role::Chunk
        } else {
            Role::Content {
                kind,
                content,
                nesting,
            }
        };
        Self {
            id: content.id,
            raw_len: content.block_len,
            role,
            old: Counterparts::NONE,
        }
    }

    fn beside(self, old: Counterparts) -> Self {
        Self { old, ..self }
    }

    /// What tells apart the looks at a block: how it is read, and where on a path it stands.
    fn key(&self) -> (u128, u32) {
        let mut start = [0; 16];
        start.copy_from_slice(&self.id.0[..16]);
        let role = match self.role {
            Role::Chunk => 0,
            Role::Root => 1,
            Role::Content {
                kind: IndexKind::File,
                content,
                ..
            } => 0x40 | u32::from(content.depth),
            Role::Content {
                kind: IndexKind::Directory,
                content,
                ..
            } => 0x80 | u32::from(content.depth),
        };
        // Half an id is enough to tell blocks apart.
        (u128::from_le_bytes(start), role)
    }
}

impl Closure {
    /// Wants everything below a root.
    pub fn new(root: Root) -> Self {
        Self::start(Item::root(root), Vec::new(), false)
    }

    /// Wants what `list` (not recursive), `stat` and `cat` of one path need. The path may turn out
    /// not to be there; the closure is done then.
    pub fn path(root: Root, path: &[u8]) -> Result<Self, StoreError> {
        Ok(Self::start(Item::root(root), split(path)?, true))
    }

    /// Walks older trees beside this one, so that [`Closure::bases`] can name what stands in the place
    /// of a wanted block. Roots are given the latest first; the first 64 of them are looked at.
    #[must_use]
    pub fn beside(mut self, mut older: Vec<Root>) -> Self {
        older.truncate(COUNTERPART_ROOTS_MAX);
        self.older = older;
        self
    }

    /// Blocks of a store that a block that was asked for is likely to resemble: those at its place in
    /// older trees, at most four, the likeliest first.
    pub fn bases(&self, store: &Store, id: &BlockId) -> Vec<BlockId> {
        let items = self.outstanding.get(id);
        let Some(item) = items.and_then(|items| items.first()) else {
            return Vec::new();
        };
        let content = ContentRef {
            size: 0,
            depth: match item.role {
                Role::Root => return Vec::new(),
                Role::Chunk => 0,
                Role::Content { content, .. } => content.depth,
            },
            block_len: item.raw_len,
            id: item.id,
        };
        item.old.bases(store, &content)
    }

    /// Wants everything below some content.
    pub(crate) fn content(content: ContentRef, kind: IndexKind) -> Self {
        let mut closure = Self::start(Item::content(kind, content, 0), Vec::new(), false);
        if content.is_empty_file() {
            closure.stack.clear();
            closure.known = (0, 0);
        }
        closure
    }

    fn start(item: Item, names: Vec<Vec<u8>>, shallow: bool) -> Self {
        Self {
            names,
            shallow,
            known: (1, item.raw_len.into()),
            stack: vec![item],
            ready: VecDeque::new(),
            outstanding: HashMap::new(),
            seen: HashSet::new(),
            present: (0, 0),
            older: Vec::new(),
            tops: Vec::new(),
            older_reads: COUNTERPART_READS_START,
        }
    }

    /// Goes on until `max` missing blocks are found or nothing is left to look at.
    ///
    /// Fails on a manifest that breaks the rules: its root can never be complete.
    pub fn poll(&mut self, store: &Store, max: usize) -> Result<Wanted, StoreError> {
        self.poll_with(store, max, &mut |_, _| {})
    }

    /// As [`Closure::poll`]; `visit` gets every block that is here.
    pub(crate) fn poll_with(
        &mut self,
        store: &Store,
        max: usize,
        visit: &mut dyn FnMut(&BlockId, u32),
    ) -> Result<Wanted, StoreError> {
        let max = max.clamp(1, CLOSURE_OUTSTANDING_MAX);
        while self.ready.len() < max
            && self.outstanding.len() < CLOSURE_OUTSTANDING_MAX
            && let Some(item) = self.stack.pop()
        {
            self.look(store, item, visit)?;
        }
        let count = self.ready.len().min(max);
        if count > 0 {
            return Ok(Wanted::Blocks(self.ready.drain(..count).collect()));
        }
        if self.outstanding.is_empty() && self.stack.is_empty() {
            return Ok(Wanted::Done);
        }
        Ok(Wanted::Waiting)
    }

    /// Says that a block that was asked for is in the store now. Others are ignored.
    pub fn received(&mut self, id: &BlockId) {
        let Some(items) = self.outstanding.remove(id) else {
            return;
        };
        self.stack.extend(items);
    }

    /// Blocks and their uncompressed bytes that are known to be needed so far, as often as they are
    /// referred to.
    pub fn known_totals(&self) -> (u64, u64) {
        self.known
    }

    /// How much of [`Closure::known_totals`] is here.
    pub fn present(&self) -> (u64, u64) {
        self.present
    }

    /// Forgets what was asked for: missing blocks stay missing.
    pub(crate) fn give_up(&mut self) {
        self.outstanding.clear();
        self.ready.clear();
    }

    fn look(
        &mut self,
        store: &Store,
        item: Item,
        visit: &mut dyn FnMut(&BlockId, u32),
    ) -> Result<(), StoreError> {
        if let Some(waiting) = self.outstanding.get_mut(&item.id) {
            // One look in each role is enough; what repeats it is not counted.
            if waiting.iter().any(|other| other.key() == item.key()) {
                self.known.0 = self.known.0.saturating_sub(1);
                self.known.1 = self.known.1.saturating_sub(item.raw_len.into());
            } else {
                waiting.push(item);
            }
            return Ok(());
        }
        let manifest = match item.role {
            Role::Chunk if store.contains(&item.id) => None,
            Role::Chunk => {
                self.ask(item);
                return Ok(());
            }
            _ => match store.read(&item.id) {
                Ok(Some(block)) => Some(block),
                // A damaged block counts as absent: asking for it again heals it.
                Ok(None) | Err(StoreError::Corrupt { .. }) => {
                    self.ask(item);
                    return Ok(());
                }
                Err(error) => return Err(error),
            },
        };
        visit(&item.id, item.raw_len);
        self.present.0 += 1;
        self.present.1 += u64::from(item.raw_len);
        let Some(block) = manifest else { return Ok(()) };
        if block.len() != item.raw_len as usize {
            let error = ManifestError("a block has another length than its reference says");
            return Err(invalid(item.id)(error));
        }
        let (id, role) = item.key();
        let nesting = match item.role {
            // Below a path it matters which name is looked for.
            Role::Content { nesting, .. } if self.shallow => u32::from(nesting),
            _ => 0,
        };
        if !self.seen.insert((id, nesting << 8 | role)) {
            return Ok(());
        }
        if self.seen.len() > CLOSURE_MANIFESTS_MAX {
            let limit = CLOSURE_MANIFESTS_MAX as u64;
            return Err(StoreError::Limit {
                what: "the number of manifest blocks",
                limit,
            });
        }
        let mut reads = self.older_reads.saturating_add(COUNTERPART_READS_EACH);
        let mut older = Older {
            store,
            left: &mut reads,
        };
        let expanded = self.expand(&mut older, &item, &block);
        self.older_reads = reads;
        expanded.map_err(|error| match error {
            Expand::Manifest(error) => invalid(item.id)(error),
            Expand::Store(error) => error,
        })
    }

    fn ask(&mut self, item: Item) {
        self.ready.push_back(BlockRef {
            id: item.id,
            raw_len: item.raw_len,
        });
        self.outstanding.insert(item.id, vec![item]);
    }

    fn expand(&mut self, older: &mut Older<'_>, item: &Item, block: &[u8]) -> Result<(), Expand> {
        match item.role {
            Role::Chunk => Ok(()),
            Role::Root => {
                let root = decode_root(block)?;
                self.tops = Counterparts::tops(older, &self.older, &root);
                let old = Counterparts::of_tops(&self.tops);
                self.entry(older, &root.target, 0, old)
            }
            Role::Content {
                kind: IndexKind::Directory,
                content,
                nesting,
            } if content.depth == 0 => {
                let entries = decode_directory(block)?;
                if entries.len() as u64 != content.size {
                    return Err(Expand::Manifest(ManifestError(
                        "a directory has another size than its reference says",
                    )));
                }
                let wanted = self.names.get(usize::from(nesting)).cloned();
                let old = item.old.of_entries(older, &entries, &self.tops);
                for (at, entry) in entries.iter().enumerate().rev() {
                    let old = old.get(at).copied().unwrap_or(Counterparts::NONE);
                    match &wanted {
                        Some(name) if *name != entry.name => {}
                        // The listing itself is all that is wanted.
                        None if self.shallow => {}
                        _ => self.entry(older, &entry.target, nesting + 1, old)?,
                    }
                }
                Ok(())
            }
            Role::Content {
                kind,
                content,
                nesting,
            } => {
                let parts = decode_index(block, kind, &content)?;
                let old = item
                    .old
                    .of_parts(older, kind, (content.depth, &parts), &self.tops);
                for (at, part) in parts.into_iter().enumerate().rev() {
                    let old = old.get(at).copied().unwrap_or(Counterparts::NONE);
                    if part.is_hole() {
                        continue;
                    }
                    let content = ContentRef {
                        size: part.size,
                        depth: content.depth - 1,
                        block_len: part.block_len,
                        id: part.id,
                    };
                    self.add(Item::content(kind, content, nesting).beside(old));
                }
                Ok(())
            }
        }
    }

    fn entry(
        &mut self,
        older: &mut Older<'_>,
        target: &Target,
        nesting: u16,
        old: Counterparts,
    ) -> Result<(), Expand> {
        match target {
            Target::Symlink(_) => {}
            Target::File(content) => {
                let on_path = !self.shallow || usize::from(nesting) == self.names.len();
                if on_path && !content.is_empty_file() {
                    let old = old.level(older, IndexKind::File, content);
                    self.add(Item::content(IndexKind::File, *content, nesting).beside(old));
                }
            }
            Target::Directory(content) => {
                if usize::from(nesting) > TREE_DEPTH_MAX {
                    return Err(Expand::Store(too_deep()));
                }
                let old = old.level(older, IndexKind::Directory, content);
                self.add(Item::content(IndexKind::Directory, *content, nesting).beside(old));
            }
        }
        Ok(())
    }

    fn add(&mut self, item: Item) {
        self.known.0 += 1;
        self.known.1 += u64::from(item.raw_len);
        self.stack.push(item);
    }
}

enum Expand {
    Manifest(ManifestError),
    Store(StoreError),
}

impl From<ManifestError> for Expand {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(error)
    }
}
