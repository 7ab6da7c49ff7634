//! Builds index and directory blocks from parts that come one after the other.
//!
//! Both end a block after an entry whose name or id says so, so an edit changes the blocks it
//! touches and those above them, and no others.

use hypermesh_id::BlockId;

use crate::StoreError;
use crate::limits::{
    DIRECTORY_BYTES_TARGET_MAX, DIRECTORY_ENTRIES_AVERAGE, DIRECTORY_ENTRIES_MAX,
    DIRECTORY_ENTRIES_MIN, INDEX_DEPTH_MAX, INDEX_ENTRIES_AVERAGE, INDEX_ENTRIES_MAX,
    INDEX_ENTRIES_MIN,
};
use crate::manifest::{
    ContentRef, DirectoryEntry, IndexEntry, IndexKind, encode_directory, encode_index, encoded_len,
};

/// Takes finished blocks.
pub(crate) type Emit<'a> = dyn FnMut(BlockId, Vec<u8>) -> Result<(), StoreError> + 'a;

/// The parts of one file, or the blocks of one directory.
#[derive(Debug)]
pub(crate) struct IndexBuilder {
    kind: IndexKind,
    /// Open blocks; the block of `levels[n]` stands at depth `n + 1`.
    levels: Vec<Vec<IndexEntry>>,
}

impl IndexBuilder {
    pub(crate) fn new(kind: IndexKind) -> Self {
        Self {
            kind,
            levels: vec![Vec::new()],
        }
    }

    /// Adds the next part; holes that follow each other become one.
    pub(crate) fn push(&mut self, part: IndexEntry, emit: &mut Emit<'_>) -> Result<(), StoreError> {
        if part.is_hole()
            && let Some(last) = self.levels[0].last_mut()
            && last.is_hole()
        {
            last.size += part.size;
            return Ok(());
        }
        self.push_at(0, part, emit)
    }

    /// Ends the content. `None` when nothing was pushed.
    pub(crate) fn finish(mut self, emit: &mut Emit<'_>) -> Result<Option<ContentRef>, StoreError> {
        let mut level = 0;
        loop {
            let top = level + 1 == self.levels.len();
            match &self.levels[level][..] {
                [] if top => return Ok(None),
                [only] if top && !only.is_hole() => {
                    let IndexEntry {
                        size,
                        block_len,
                        id,
                    } = *only;
                    return Ok(Some(ContentRef {
                        size,
                        depth: level as u8,
                        block_len,
                        id,
                    }));
                }
                [] => {}
                _ => self.close(level, emit)?,
            }
            level += 1;
        }
    }

    fn push_at(
        &mut self,
        level: usize,
        part: IndexEntry,
        emit: &mut Emit<'_>,
    ) -> Result<(), StoreError> {
        if level == self.levels.len() {
            self.levels.push(Vec::new());
        }
        let open = &mut self.levels[level];
        open.push(part);
        let picked = !part.is_hole() && picks(&part.id.0, INDEX_ENTRIES_AVERAGE);
        let count = open.len();
        if count >= INDEX_ENTRIES_MAX || (count >= INDEX_ENTRIES_MIN && picked) {
            self.close(level, emit)?;
        }
        Ok(())
    }

    fn close(&mut self, level: usize, emit: &mut Emit<'_>) -> Result<(), StoreError> {
        let depth = level as u8 + 1;
        if depth > INDEX_DEPTH_MAX {
            let limit = INDEX_DEPTH_MAX.into();
            return Err(StoreError::Limit {
                what: "the size of a file",
                limit,
            });
        }
        let entries = std::mem::take(&mut self.levels[level]);
        let block = encode_index(self.kind, depth, &entries);
        let id = BlockId::of(&block);
        let part = IndexEntry {
            size: entries.iter().map(|entry| entry.size).sum(),
            block_len: block.len() as u32,
            id,
        };
        emit(id, block)?;
        self.push_at(level + 1, part, emit)
    }
}

/// The entries of one directory.
#[derive(Debug)]
pub(crate) struct DirectoryBuilder {
    open: Vec<DirectoryEntry>,
    bytes: usize,
    blocks: IndexBuilder,
    any: bool,
}

impl DirectoryBuilder {
    pub(crate) fn new() -> Self {
        Self {
            open: Vec::new(),
            bytes: 0,
            blocks: IndexBuilder::new(IndexKind::Directory),
            any: false,
        }
    }

    /// Adds the next entry, in the order of names.
    pub(crate) fn push(
        &mut self,
        entry: DirectoryEntry,
        emit: &mut Emit<'_>,
    ) -> Result<(), StoreError> {
        let length = encoded_len(&entry);
        if !self.open.is_empty() && self.bytes + length > DIRECTORY_BYTES_TARGET_MAX {
            self.close(emit)?;
        }
        let hash = blake3::hash(&entry.name);
        self.bytes += length;
        self.open.push(entry);
        let picked = picks(hash.as_bytes(), DIRECTORY_ENTRIES_AVERAGE);
        let count = self.open.len();
        if count >= DIRECTORY_ENTRIES_MAX || (count >= DIRECTORY_ENTRIES_MIN && picked) {
            self.close(emit)?;
        }
        Ok(())
    }

    /// Ends the directory.
    pub(crate) fn finish(mut self, emit: &mut Emit<'_>) -> Result<ContentRef, StoreError> {
        if self.any {
            if !self.open.is_empty() {
                self.close(emit)?;
            }
            let content = self.blocks.finish(emit)?;
            return content.ok_or(StoreError::Internal("a directory lost its blocks"));
        }
        // One block: also for no entries, since a directory always has a block.
        let block = encode_directory(&self.open);
        let id = BlockId::of(&block);
        let content = ContentRef {
            size: self.open.len() as u64,
            depth: 0,
            block_len: block.len() as u32,
            id,
        };
        emit(id, block)?;
        Ok(content)
    }

    fn close(&mut self, emit: &mut Emit<'_>) -> Result<(), StoreError> {
        let block = encode_directory(&self.open);
        let id = BlockId::of(&block);
        let (size, block_len) = (self.open.len() as u64, block.len() as u32);
        self.open.clear();
        self.bytes = 0;
        self.any = true;
        emit(id, block)?;
        self.blocks.push(
            IndexEntry {
                size,
                block_len,
                id,
            },
            emit,
        )
    }
}

/// Whether bytes that look random pick themselves, once in `average`.
fn picks(bytes: &[u8; 32], average: u64) -> bool {
    let (head, _) = bytes.split_at(8);
    head.iter()
        .fold(0, |number: u64, byte| number << 8 | u64::from(*byte))
        .is_multiple_of(average)
}
