//! A state in parts, each of which proves by itself that it belongs to a root.

use std::ops::Range;

use hypermesh_consensus::{DecodeError, MeshId, Reader, put_count, put_counted};

use crate::entry::{Entry, Key};
use crate::state::State;
use crate::tree::{Hash, Tree, TreeProof, bit, joined, path, path_of, subtree, value_hash};

/// Bytes of entries in a part, unless one entry alone is longer.
pub const PART_BYTES: usize = 128 * 1024;
/// Longest part.
pub const PART_BYTES_MAX: usize = 256 * 1024;
const ENTRY_BYTES_MAX: usize = 8 * 1024;

/// A state that is handed out part by part. Of a clone of one: the mesh goes on.
#[derive(Debug)]
pub struct Snapshot<'a> {
    state: &'a State,
    /// By path.
    rows: Vec<(Hash, &'a Key, &'a Entry)>,
    parts: Vec<(usize, Range<usize>, Hash)>,
}

/// Puts a state together from parts, in order.
#[derive(Debug)]
pub struct Restore {
    parts: Parts,
    taken: Vec<Part>,
}

/// A part that belongs to the state with a root. What was computed to see that is kept: it is a part of the state's tree.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) entries: Vec<(Key, Entry)>,
    pub(crate) depth: usize,
    pub(crate) tree: Tree,
}

/// Which part of the key space it is that a part says it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    first: Hash,
    depth: usize,
}

/// Looks whether parts, in order, are those of the state with a root. Keeps none of them.
#[derive(Debug)]
pub(crate) struct Parts {
    root: Hash,
    /// The bits of the next part's beginning; none when all is there.
    next: Option<Hash>,
}

/// Why a part is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartError {
    #[error("the part is malformed: {0}")]
    Decode(#[from] DecodeError),
    #[error("the part is not the next one")]
    Order,
    #[error("the part is none of the state with this root")]
    Root,
    #[error("parts are missing, or the state has no voters")]
    Missing,
}

impl<'a> Snapshot<'a> {
    pub fn of(state: &'a State) -> Self {
        let entries = state.entries();
        let mut rows: Vec<_> = entries
            .map(|(key, entry)| (path(key), key, entry))
            .collect();
        rows.sort_unstable_by_key(|(path, ..)| *path);
        // How many bytes there are before each.
        let mut before = vec![0];
        for (_, key, entry) in &rows {
            let size = 8 + key.to_bytes().len() + entry.to_bytes().len();
            before.push(before[before.len() - 1] + size);
        }
        let mut parts = Vec::new();
        let mut todo = vec![(0, 0..rows.len(), [0; 32])];
        while let Some((depth, range, from)) = todo.pop() {
            if before[range.end] - before[range.start] <= PART_BYTES || range.len() <= 1 {
                parts.push((depth, range, from));
                continue;
            }
            let middle =
                range.start + rows[range.clone()].partition_point(|(path, ..)| !bit(path, depth));
            let mut high = from;
            high[depth / 8] |= 0x80 >> (depth % 8);
            todo.push((depth + 1, middle..range.end, high));
            todo.push((depth + 1, range.start..middle, from));
        }
        Self { state, rows, parts }
    }

    /// How many parts there are.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    pub fn root(&self) -> [u8; 32] {
        self.state.root()
    }

    /// A part: first path 32, depth 2, hashes beside it 32 each, number of entries 4, key and value of each with their lengths 4
    /// before them, by path.
    pub fn part(&self, number: usize) -> Option<Vec<u8>> {
        let (depth, range, from) = self.parts.get(number)?;
        let mut to = from.to_vec();
        to.extend((*depth as u16).to_le_bytes());
        let proof = self.state.prove_path(from);
        proof
            .siblings
            .iter()
            .take(*depth)
            .for_each(|hash| to.extend(hash));
        put_count(&mut to, range.len());
        for (_, key, entry) in &self.rows[range.clone()] {
            put_counted(&mut to, &key.to_bytes());
            put_counted(&mut to, &entry.to_bytes());
        }
        Some(to)
    }
}

impl Restore {
    /// Of the state with this root, which a certified head has.
    pub fn new(root: [u8; 32]) -> Self {
        Self {
            parts: Parts::new(root),
            taken: Vec::new(),
        }
    }

    /// Takes the next part. What is refused changes nothing: ask somebody else for it.
    ///
    /// # Errors
    /// Says why it is none of this state, or not the next.
    pub fn add(&mut self, part: &[u8]) -> Result<(), PartError> {
        let part = self.parts.add(part)?;
        self.taken.push(part);
        Ok(())
    }

    /// Whether nothing is missing.
    pub fn is_whole(&self) -> bool {
        self.parts.is_whole()
    }

    /// The state.
    ///
    /// # Errors
    /// When parts are missing.
    pub fn finish(self, mesh: MeshId) -> Result<State, PartError> {
        if !self.is_whole() {
            return Err(PartError::Missing);
        }
        let mut trees = Vec::new();
        let mut entries = Vec::new();
        for mut part in self.taken {
            trees.push((part.depth, part.tree));
            entries.append(&mut part.entries);
        }
        assemble(mesh, self.parts.root, trees, entries)
    }
}

/// The state with a root: of the trees of its verified parts, with their depths and in order, and of all of their entries.
///
/// # Errors
/// When parts are missing, or they are not those of this state.
pub(crate) fn assemble(
    mesh: MeshId,
    root: Hash,
    trees: Vec<(usize, Tree)>,
    mut entries: Vec<(Key, Entry)>,
) -> Result<State, PartError> {
    let tree = joined(trees.into_iter()).ok_or(PartError::Missing)?;
    if tree.root() != root {
        return Err(PartError::Root);
    }
    // In the map's order each one goes beside the last one, which is at hand: in any other, each is a walk through all memory.
    // Runs that are sorted already are only merged.
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    State::restore(mesh, tree, entries).ok_or(PartError::Missing)
}

impl Parts {
    pub(crate) fn new(root: Hash) -> Self {
        Self {
            root,
            next: Some([0; 32]),
        }
    }

    /// The next part. What is refused changes nothing.
    pub(crate) fn add(&mut self, part: &[u8]) -> Result<Part, PartError> {
        let place = self.place(part)?;
        let part = verified(&self.root, place, part)?;
        self.pass(place);
        Ok(part)
    }

    /// Where a part is, if it is the next one. Its content is not looked at.
    pub(crate) fn place(&self, part: &[u8]) -> Result<Place, PartError> {
        if part.len() > PART_BYTES_MAX {
            return Err(DecodeError::Long(part.len() - PART_BYTES_MAX).into());
        }
        let mut from = Reader(part);
        let first: Hash = from.array("a path")?;
        let depth = usize::from(u16::from_le_bytes(from.array("a depth")?));
        if self.next != Some(first) || depth > 255 || (depth..256).any(|depth| bit(&first, depth)) {
            return Err(PartError::Order);
        }
        Ok(Place { first, depth })
    }

    /// Goes on after the part at this place.
    pub(crate) fn pass(&mut self, place: Place) {
        self.next = after(place.first, place.depth);
    }

    pub(crate) fn root(&self) -> Hash {
        self.root
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.next.is_none()
    }
}

/// The part at this place, if it belongs to the state with this root: whichever are before and after it.
pub(crate) fn verified(root: &Hash, place: Place, part: &[u8]) -> Result<Part, PartError> {
    let Place { first, depth } = place;
    let mut from = Reader(part);
    from.array::<32>("a path")?;
    from.array::<2>("a depth")?;
    let siblings: Vec<Hash> = (0..depth)
        .map(|_| from.array("a hash"))
        .collect::<Result<_, _>>()?;
    let count = from.count(PART_BYTES_MAX, 9, "entries")?;
    let mut entries = Vec::with_capacity(count);
    let mut leaves: Vec<(Hash, Hash)> = Vec::with_capacity(count);
    for _ in 0..count {
        // The bytes of what was decided are hashed, so that others of the same meaning would have another root.
        let bytes = from.counted(ENTRY_BYTES_MAX, "bytes of a key")?;
        let key = Key::from_bytes(bytes)?;
        let value = from.counted(ENTRY_BYTES_MAX, "bytes of an entry")?;
        let path = path_of(bytes);
        let within = (0..depth).all(|depth| bit(&path, depth) == bit(&first, depth));
        if !within || leaves.last().is_some_and(|last| last.0 >= path) {
            return Err(PartError::Root);
        }
        leaves.push((path, value_hash(value)));
        let entry = Entry::from_bytes(&key, value)?;
        entries.push((key, entry));
    }
    from.end()?;
    let proof = TreeProof {
        siblings,
        other: None,
    };
    let tree = subtree(depth, &leaves);
    if proof.up(&first, tree.root()) != *root {
        return Err(PartError::Root);
    }
    Ok(Part {
        entries,
        depth,
        tree,
    })
}

/// Where the part after the one at this path and depth begins.
fn after(mut path: Hash, depth: usize) -> Option<Hash> {
    for depth in (0..depth).rev() {
        let mask = 0x80 >> (depth % 8);
        path[depth / 8] ^= mask;
        if path[depth / 8] & mask != 0 {
            return Some(path);
        }
    }
    None
}
