//! A compact Merkle tree over hashed keys. A part of the key space that holds one entry is that entry's leaf, one that holds
//! none is nothing, any other is a branch. So the tree of some entries is one, however they came and went.

use std::sync::Arc;

use hypermesh_consensus::{DecodeError, Reader};

use crate::entry::Key;

/// The hash of nothing.
pub(crate) const EMPTY: Hash = [0; 32];
pub(crate) type Hash = [u8; 32];

#[derive(Clone, Debug, Default)]
pub(crate) struct Tree(Option<Arc<Node>>);

#[derive(Debug)]
enum Node {
    Leaf { path: Hash, value: Hash, hash: Hash },
    Branch { hash: Hash, left: Tree, right: Tree },
}

/// What an entry becomes: the hash of its value, or nothing.
pub(crate) type Change = (Hash, Option<Hash>);

/// What stands at the end of a key's path, and the hashes beside the path, root first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeProof {
    pub(crate) siblings: Vec<Hash>,
    /// Another entry, path and value, in whose part of the space the key would be.
    pub(crate) other: Option<(Hash, Hash)>,
}

pub(crate) fn path(key: &Key) -> Hash {
    path_of(&key.to_bytes())
}

/// The path of a key that has these bytes.
pub(crate) fn path_of(key: &[u8]) -> Hash {
    *blake3::keyed_hash(b"hypermesh/2026/state tree/path/1", key).as_bytes()
}

pub(crate) fn value_hash(value: &[u8]) -> Hash {
    *blake3::keyed_hash(b"hypermesh/2026/state tree/value1", value).as_bytes()
}

fn pair(label: &[u8; 32], left: &Hash, right: &Hash) -> Hash {
    let mut both = [0; 64];
    both[..32].copy_from_slice(left);
    both[32..].copy_from_slice(right);
    *blake3::keyed_hash(label, &both).as_bytes()
}

fn leaf_hash(path: &Hash, value: &Hash) -> Hash {
    pair(b"hypermesh/2026/state tree/leaf/1", path, value)
}

fn branch_hash(left: &Hash, right: &Hash) -> Hash {
    pair(b"hypermesh/2026/state tree/branch", left, right)
}

/// A bit of a path, the first being that of the root.
pub(crate) fn bit(path: &Hash, depth: usize) -> bool {
    path[depth / 8] >> (7 - depth % 8) & 1 == 1
}

/// The part of a tree at this depth that has these leaves, path and hash of the value of each, sorted by path.
pub(crate) fn subtree(depth: usize, leaves: &[(Hash, Hash)]) -> Tree {
    let set = |(path, value): &(Hash, Hash)| Tree::leaf(*path, *value);
    let leaves: Vec<_> = leaves.iter().map(set).collect();
    Tree::build(depth, &leaves)
}

/// The tree of parts, each with its depth, sorted by path. None, if they are not all parts of one tree.
pub(crate) fn joined(parts: impl Iterator<Item = (usize, Tree)>) -> Option<Tree> {
    fn at(
        depth: usize,
        parts: &mut std::iter::Peekable<impl Iterator<Item = (usize, Tree)>>,
    ) -> Option<Tree> {
        let deep = parts.peek()?.0;
        match deep.cmp(&depth) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => parts.next().map(|(_, tree)| tree),
            std::cmp::Ordering::Greater => {
                let left = at(depth + 1, parts)?;
                Some(Tree::join(left, at(depth + 1, parts)?))
            }
        }
    }
    let mut parts = parts.peekable();
    let tree = at(0, &mut parts)?;
    parts.next().is_none().then_some(tree)
}

impl Tree {
    pub(crate) fn root(&self) -> Hash {
        match self.0.as_deref() {
            None => EMPTY,
            Some(Node::Leaf { hash, .. } | Node::Branch { hash, .. }) => *hash,
        }
    }

    /// The tree after these changes, sorted by path, each path once.
    #[must_use]
    pub(crate) fn changed(&self, changes: &[Change]) -> Self {
        self.update(0, changes)
    }

    fn update(&self, depth: usize, changes: &[Change]) -> Self {
        if changes.is_empty() {
            return self.clone();
        }
        let leaves = || {
            let set = |(path, value): &Change| value.map(|value| Self::leaf(*path, value));
            changes.iter().filter_map(set).collect::<Vec<_>>()
        };
        match self.0.as_deref() {
            None => Self::build(depth, &leaves()),
            Some(Node::Leaf { path, .. }) => {
                let mut leaves = leaves();
                if changes
                    .binary_search_by_key(path, |change| change.0)
                    .is_err()
                {
                    let at = leaves.partition_point(|(other, _)| other < path);
                    leaves.insert(at, (*path, self.clone()));
                }
                Self::build(depth, &leaves)
            }
            Some(Node::Branch { left, right, .. }) => {
                let (low, high) =
                    changes.split_at(changes.partition_point(|(path, _)| !bit(path, depth)));
                Self::join(left.update(depth + 1, low), right.update(depth + 1, high))
            }
        }
    }

    fn leaf(path: Hash, value: Hash) -> (Hash, Self) {
        let hash = leaf_hash(&path, &value);
        (path, Self(Some(Arc::new(Node::Leaf { path, value, hash }))))
    }

    fn build(depth: usize, leaves: &[(Hash, Self)]) -> Self {
        match leaves {
            [] => Self(None),
            [(_, only)] => only.clone(),
            _ => {
                let (low, high) =
                    leaves.split_at(leaves.partition_point(|(path, _)| !bit(path, depth)));
                Self::join(Self::build(depth + 1, low), Self::build(depth + 1, high))
            }
        }
    }

    fn join(left: Self, right: Self) -> Self {
        match (left.0.as_deref(), right.0.as_deref()) {
            (None, None | Some(Node::Leaf { .. })) => right,
            (Some(Node::Leaf { .. }), None) => left,
            _ => {
                let hash = branch_hash(&left.root(), &right.root());
                Self(Some(Arc::new(Node::Branch { hash, left, right })))
            }
        }
    }

    /// The proof of what is, or is not, at this path.
    pub(crate) fn prove(&self, path: &Hash) -> TreeProof {
        let (mut siblings, mut at) = (Vec::new(), self);
        while let Some(Node::Branch { left, right, .. }) = at.0.as_deref() {
            let (next, beside) = match bit(path, siblings.len()) {
                false => (left, right),
                true => (right, left),
            };
            siblings.push(beside.root());
            at = next;
        }
        let other = match at.0.as_deref() {
            Some(Node::Leaf {
                path: here, value, ..
            }) if here != path => Some((*here, *value)),
            _ => None,
        };
        TreeProof { siblings, other }
    }
}

impl TreeProof {
    /// Whether it shows that, under this root, the key has this value; or none.
    pub fn shows(&self, root: &Hash, key: &Key, value: Option<&[u8]>) -> bool {
        let path = path(key);
        let depth = self.siblings.len();
        if depth > 256 {
            return false;
        }
        let end = match (value, &self.other) {
            (Some(value), None) => leaf_hash(&path, &value_hash(value)),
            (None, None) => EMPTY,
            (None, Some((other, value))) => {
                let apart = *other != path
                    && (0..depth).all(|depth| bit(other, depth) == bit(&path, depth));
                if !apart {
                    return false;
                }
                leaf_hash(other, value)
            }
            (Some(_), Some(_)) => return false,
        };
        self.up(&path, end) == *root
    }

    /// The root, from what is at the end of this path.
    pub(crate) fn up(&self, path: &Hash, end: Hash) -> Hash {
        let up = |hash: Hash, (depth, beside): (usize, &Hash)| match bit(path, depth) {
            false => branch_hash(&hash, beside),
            true => branch_hash(beside, &hash),
        };
        self.siblings.iter().enumerate().rev().fold(end, up)
    }

    /// Number of siblings 2, each 32, root first; 0, or 1 and path and value of another leaf.
    pub fn encode(&self, to: &mut Vec<u8>) {
        to.extend((self.siblings.len() as u16).to_le_bytes());
        self.siblings.iter().for_each(|hash| to.extend(hash));
        match &self.other {
            None => to.push(0),
            Some((path, value)) => {
                to.push(1);
                to.extend(path);
                to.extend(value);
            }
        }
    }

    /// Takes one off the front of bytes.
    ///
    /// # Errors
    /// Names the rule that the bytes break.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = u16::from_le_bytes(from.array("a number of hashes")?);
        if count > 256 {
            let what = "hashes";
            return Err(DecodeError::TooMany {
                what,
                count: count.into(),
                most: 256,
            });
        }
        let siblings = (0..count)
            .map(|_| from.array("a hash"))
            .collect::<Result<_, _>>()?;
        let other = match from.u8("another leaf")? {
            0 => None,
            1 => Some((from.array("a path")?, from.array("a value")?)),
            value => {
                let what = "another leaf";
                return Err(DecodeError::Unknown {
                    what,
                    value: value.into(),
                });
            }
        };
        Ok(Self { siblings, other })
    }
}
