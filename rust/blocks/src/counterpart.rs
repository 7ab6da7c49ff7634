//! Says which blocks of older trees stand where a wanted block stands in its own tree.
//!
//! Two versions of a tree are walked side by side: entries of a directory by their names, parts of an
//! index by the parts that both have and by the offsets between those. What is found is advice: a bad
//! guess costs a delta that saves nothing, never a wrong block. Nothing here fails; a manifest of an
//! older tree that cannot be read has no counterparts below it.

use std::collections::HashMap;

use hypermesh_id::{BlockId, Root};

use crate::Store;
use crate::limits::{
    COUNTERPART_PARTS_MAX, COUNTERPART_READS_MAX, COUNTERPART_TOP_READS_MAX, COUNTERPARTS_MAX,
    DELTA_BASE_RATIO_MAX, DIRECTORY_ENTRIES_MAX, TRAVEL_DELTA_BYTES_MIN,
};
use crate::manifest::{
    ContentRef, DirectoryEntry, IndexEntry, IndexKind, RootManifest, Target, Totals,
    decode_directory, decode_index, decode_root,
};

/// Reads older trees, not without end: a new tree from elsewhere may be made so that ever more of its
/// small blocks stand beside the same large directory.
#[derive(Debug)]
pub(crate) struct Older<'a> {
    pub(crate) store: &'a Store,
    /// Blocks that may still be read.
    pub(crate) left: &'a mut usize,
}

impl Older<'_> {
    fn read(&mut self, id: &BlockId) -> Option<bytes::Bytes> {
        *self.left = self.left.checked_sub(1)?;
        self.store.read(id).ok().flatten()
    }
}

/// What stands at one place of older trees: at most [`COUNTERPARTS_MAX`], the likeliest first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counterparts {
    found: [ContentRef; COUNTERPARTS_MAX],
    count: usize,
    /// Of several trees, one of which is the right one, and there may be more of them than fit here;
    /// else stretches of one tree, in their order.
    alternatives: bool,
}

impl Counterparts {
    pub(crate) const NONE: Self = Self {
        found: [ContentRef::EMPTY; COUNTERPARTS_MAX],
        count: 0,
        alternatives: false,
    };

    fn one(content: ContentRef) -> Self {
        let mut one = Self::NONE;
        one.push(content);
        one
    }

    fn push(&mut self, content: ContentRef) {
        let known = self.as_slice().iter().any(|other| other.id == content.id);
        if !content.is_empty_file()
            && !known
            && let Some(place) = self.found.get_mut(self.count)
        {
            *place = content;
            self.count += 1;
        }
    }

    fn as_slice(&self) -> &[ContentRef] {
        self.found.get(..self.count).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The blocks here against which some content's top block may come as a delta.
    pub(crate) fn bases(&self, store: &Store, content: &ContentRef) -> Vec<BlockId> {
        if content.block_len < TRAVEL_DELTA_BYTES_MIN {
            return Vec::new();
        }
        let fits = |old: &&ContentRef| {
            old.depth == content.depth
                && old.block_len / DELTA_BASE_RATIO_MAX <= content.block_len
                && old.id != content.id
                && store.contains(&old.id)
        };
        self.as_slice()
            .iter()
            .filter(fits)
            .map(|old| old.id)
            .collect()
    }

    /// The tops of some roots, the latest first, in the order of their likeness to a new one by what
    /// they announce.
    pub(crate) fn tops(
        older: &mut Older<'_>,
        roots: &[Root],
        new: &RootManifest,
    ) -> Vec<ContentRef> {
        let mut found = Vec::new();
        for root in roots {
            let Some(old) = older.read(&root.0) else {
                continue;
            };
            let Ok(old) = decode_root(&old) else { continue };
            let content = match (&old.target, &new.target) {
                (Target::File(old), Target::File(_)) => *old,
                (Target::Directory(old), Target::Directory(_)) => *old,
                _ => continue,
            };
            found.push((distance(&old.totals, &new.totals), content));
        }
        // A stable sort: of two that are as near, the later one.
        found.sort_by_key(|(distance, _)| *distance);
        found.into_iter().map(|(_, content)| content).collect()
    }

    /// Tops of trees, one of which is the right one.
    pub(crate) fn of_tops(tops: &[ContentRef]) -> Self {
        let mut found = Self::NONE;
        tops.iter().for_each(|top| found.push(*top));
        found.alternatives = found.count > 1;
        found
    }

    /// Those of some content, brought to its depth.
    pub(crate) fn level(
        self,
        older: &mut Older<'_>,
        kind: IndexKind,
        content: &ContentRef,
    ) -> Self {
        let is_level = self.as_slice().iter().all(|old| old.depth <= content.depth);
        if is_level || self.alternatives {
            return self;
        }
        let part = IndexEntry {
            size: content.size,
            block_len: content.block_len,
            id: content.id,
        };
        let parts = self.of_parts(older, kind, (content.depth + 1, &[part]), &[]);
        parts.first().copied().unwrap_or(Self::NONE)
    }

    /// Those of each part of a new index block of some depth, in order; empty where there is none for
    /// any. `tops` are all trees that may be the right one, if this is where that is decided.
    pub(crate) fn of_parts(
        &self,
        older: &mut Older<'_>,
        kind: IndexKind,
        (depth, new): (u8, &[IndexEntry]),
        tops: &[ContentRef],
    ) -> Vec<Self> {
        let below = depth.saturating_sub(1);
        if !self.alternatives {
            let old = pieces(older, kind, self.as_slice(), below, COUNTERPART_READS_MAX);
            return align(new, &old);
        }
        let trees = tops.iter().map(|top| {
            let top = std::slice::from_ref(top);
            let old = pieces(older, kind, top, below, COUNTERPART_TOP_READS_MAX);
            let ids: HashMap<BlockId, u64> = old.iter().map(|p| (p.id, p.size)).collect();
            let both = new.iter().filter_map(|part| ids.get(&part.id));
            (sum(both.copied()), old)
        });
        // The first of the best: they come in the order of their likeness.
        let best = trees.reduce(|best, next| if next.0 > best.0 { next } else { best });
        best.map_or_else(Vec::new, |(_, old)| align(new, &old))
    }

    /// Those of each entry of a new directory block, in order; empty where there is none for any.
    /// `tops` as above.
    pub(crate) fn of_entries(
        &self,
        older: &mut Older<'_>,
        new: &[DirectoryEntry],
        tops: &[ContentRef],
    ) -> Vec<Self> {
        if self.is_empty() {
            return Vec::new();
        }
        let lists = if self.alternatives {
            let mut lists = listings(older, tops, COUNTERPART_TOP_READS_MAX);
            lists.sort_by_cached_key(|list| std::cmp::Reverse(likeness(list, new)));
            lists.truncate(COUNTERPARTS_MAX);
            lists
        } else {
            listings(older, self.as_slice(), COUNTERPART_READS_MAX)
        };
        let named = |list: &'_ [DirectoryEntry], name: &[u8]| {
            let at = list.binary_search_by(|old| old.name.as_slice().cmp(name));
            at.ok()
        };
        // What has a new name may be what lost an old one: a version in a name, a file that moved.
        let lost = |old: &&DirectoryEntry| named(new, &old.name).is_none();
        let gone = lists.iter().flatten().filter(lost);
        let gone: Vec<&DirectoryEntry> = gone.take(DIRECTORY_ENTRIES_MAX).collect();
        let of_entry = |entry: &DirectoryEntry| {
            let mut same_name = lists
                .iter()
                .filter_map(|list| list.get(named(list, &entry.name)?));
            same_name
                .next()
                .map_or_else(|| renamed(entry, &gone), |old| of_target(old, entry))
        };
        new.iter().map(of_entry).collect()
    }
}

/// The entries of some directories, as far as they can be read.
fn listings(
    older: &mut Older<'_>,
    tops: &[ContentRef],
    reads_max: usize,
) -> Vec<Vec<DirectoryEntry>> {
    let mut listing = |top: &ContentRef| {
        let top = std::slice::from_ref(top);
        let leaves = pieces(older, IndexKind::Directory, top, 0, reads_max);
        let mut entries = Vec::new();
        for leaf in leaves.iter().take(reads_max) {
            if let Some(block) = older.read(&leaf.id)
                && let Ok(some) = decode_directory(&block)
            {
                entries.extend(some);
            }
        }
        entries
    };
    tops.iter().map(&mut listing).collect()
}

/// How far two trees are from each other by what their roots announce, in thousandths.
fn distance(old: &Totals, new: &Totals) -> u64 {
    let part = |old: u64, new: u64| {
        let most = u128::from(old.max(new)).max(1);
        (u128::from(old.abs_diff(new)) * 1_000 / most) as u64
    };
    part(old.files, new.files)
        + part(old.directories, new.directories)
        + part(old.symlinks, new.symlinks)
        + part(old.content_bytes, new.content_bytes)
}

/// Entries that both have and that are equal, then names that both have.
fn likeness(old: &[DirectoryEntry], new: &[DirectoryEntry]) -> (usize, usize) {
    let (mut equal, mut named) = (0, 0);
    for entry in new {
        if let Ok(at) = old.binary_search_by(|old| old.name.cmp(&entry.name)) {
            named += 1;
            equal += usize::from(old.get(at).is_some_and(|old| old.target == entry.target));
        }
    }
    (equal, named)
}

fn of_target(old: &DirectoryEntry, new: &DirectoryEntry) -> Counterparts {
    match (&old.target, &new.target) {
        // Below what is the same nothing differs.
        (Target::File(old), Target::File(new)) if old.id != new.id => Counterparts::one(*old),
        (Target::Directory(old), Target::Directory(new)) if old.id != new.id => {
            Counterparts::one(*old)
        }
        _ => Counterparts::NONE,
    }
}

/// The entry of the same kind whose name shares most with a new one's at its two ends: half of it at
/// least.
fn renamed(new: &DirectoryEntry, gone: &[&DirectoryEntry]) -> Counterparts {
    let shared = |old: &DirectoryEntry| {
        let ends = old.name.iter().zip(&new.name);
        let front = ends.take_while(|(old, new)| old == new).count();
        let ends = old.name[front..]
            .iter()
            .rev()
            .zip(new.name[front..].iter().rev());
        front + ends.take_while(|(old, new)| old == new).count()
    };
    let likely = |old: &&&DirectoryEntry| 2 * shared(old) >= old.name.len().max(new.name.len());
    let same_kind = |old: &&&DirectoryEntry| !of_target(old, new).is_empty();
    let candidates = gone.iter().filter(same_kind).filter(likely);
    candidates
        .max_by_key(|old| shared(old))
        .map_or(Counterparts::NONE, |old| of_target(old, new))
}

/// A part of an older tree's content; without a block, a hole.
#[derive(Clone, Copy, Debug)]
struct Piece {
    size: u64,
    depth: u8,
    block_len: u32,
    id: BlockId,
}

/// The parts of some contents at a depth, in order; a content that is not so deep is one part.
fn pieces(
    older: &mut Older<'_>,
    kind: IndexKind,
    contents: &[ContentRef],
    depth: u8,
    reads_max: usize,
) -> Vec<Piece> {
    let piece = |content: &ContentRef| Piece {
        size: content.size,
        depth: content.depth,
        block_len: content.block_len,
        id: content.id,
    };
    let (mut found, mut reads) = (Vec::new(), 0);
    let mut open: Vec<Piece> = contents.iter().rev().map(piece).collect();
    while let Some(at) = open.pop() {
        if at.depth <= depth || at.block_len == 0 {
            if found.len() >= COUNTERPART_PARTS_MAX {
                break;
            }
            found.push(at);
            continue;
        }
        if reads >= reads_max {
            break;
        }
        reads += 1;
        let expected = ContentRef {
            size: at.size,
            depth: at.depth,
            block_len: at.block_len,
            id: at.id,
        };
        let Some(block) = older.read(&at.id) else {
            continue;
        };
        let Ok(parts) = decode_index(&block, kind, &expected) else {
            continue;
        };
        open.extend(parts.iter().rev().map(|part| Piece {
            size: part.size,
            depth: at.depth - 1,
            block_len: part.block_len,
            id: part.id,
        }));
    }
    found
}

/// For each new part, the old ones that it may have been made of.
fn align(new: &[IndexEntry], old: &[Piece]) -> Vec<Counterparts> {
    if old.is_empty() {
        return Vec::new();
    }
    let mut found = vec![Counterparts::NONE; new.len()];
    let (mut new_from, mut old_from) = (0, 0);
    let end = (new.len(), old.len());
    for (new_to, old_to) in anchors(new, old).into_iter().chain([end]) {
        if let (Some(new), Some(old), Some(found)) = (
            new.get(new_from..new_to),
            old.get(old_from..old_to),
            found.get_mut(new_from..new_to),
        ) {
            between(new, old, found);
        }
        (new_from, old_from) = (new_to + 1, old_to + 1);
    }
    found
}

/// Places of parts that both have once, in the order of both: the longest such sequence.
fn anchors(new: &[IndexEntry], old: &[Piece]) -> Vec<(usize, usize)> {
    /// Where an id stands, if it stands there only.
    fn once(ids: impl Iterator<Item = BlockId>) -> HashMap<BlockId, Option<usize>> {
        let mut places = HashMap::new();
        for (at, id) in ids.enumerate() {
            places
                .entry(id)
                .and_modify(|place| *place = None)
                .or_insert(Some(at));
        }
        places
    }
    let old_places = once(old.iter().map(|piece| piece.id));
    let new_places = once(new.iter().map(|part| part.id));
    let mut pairs: Vec<(usize, usize)> = new_places
        .iter()
        .filter_map(|(id, at)| Some(((*at)?, (*old_places.get(id)?)?)))
        .collect();
    pairs.sort_unstable();
    // Patience: the top of each pile is the end of the best sequence of its length so far.
    let mut tops: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; pairs.len()];
    for (at, (_, place)) in pairs.iter().enumerate() {
        let pile = tops.partition_point(|top| pairs.get(*top).is_some_and(|top| top.1 < *place));
        if let Some(before) = before.get_mut(at) {
            *before = pile.checked_sub(1).and_then(|pile| tops.get(pile).copied());
        }
        match tops.get_mut(pile) {
            Some(top) => *top = at,
            None => tops.push(at),
        }
    }
    let mut chain: Vec<(usize, usize)> = Vec::new();
    let mut next = tops.last().copied();
    while let Some(at) = next {
        chain.extend(pairs.get(at));
        next = before.get(at).copied().flatten();
    }
    chain.reverse();
    chain
}

/// Between two parts that both have: what stands as far from the one before, and from the one behind.
fn between(new: &[IndexEntry], old: &[Piece], found: &mut [Counterparts]) {
    // Each index block announces a sum that fits; several of them together may not.
    let ahead = sum(new.iter().map(|part| part.size));
    let whole = sum(old.iter().map(|piece| piece.size));
    let mut at = 0_u64;
    for (part, found) in new.iter().zip(found) {
        let from_front = at..at.saturating_add(part.size);
        at = from_front.end;
        // The same stretch, counted from the end of both.
        let shift = |offset: u64| offset.saturating_add(whole).saturating_sub(ahead);
        let from_back = shift(from_front.start)..shift(from_front.end);
        if part.is_hole() {
            continue;
        }
        for stretch in [from_front, from_back] {
            if let Some(piece) = most_of(old, &stretch) {
                found.push(piece);
            }
        }
        if new.len() == 1 {
            old.iter().for_each(|piece| found.push(content(piece)));
        }
    }
}

fn sum(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

/// The part that covers most of a stretch.
fn most_of(old: &[Piece], stretch: &std::ops::Range<u64>) -> Option<ContentRef> {
    let mut at = 0_u64;
    let mut best: Option<(u64, &Piece)> = None;
    for piece in old {
        let end = at.saturating_add(piece.size);
        let covered = end.min(stretch.end).saturating_sub(at.max(stretch.start));
        at = end;
        if covered > best.map_or(0, |(covered, _)| covered) && piece.block_len > 0 {
            best = Some((covered, piece));
        }
    }
    best.map(|(_, piece)| content(piece))
}

fn content(piece: &Piece) -> ContentRef {
    ContentRef {
        size: piece.size,
        depth: piece.depth,
        block_len: piece.block_len,
        id: piece.id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(number: u8) -> BlockId {
        BlockId([number; 32])
    }

    fn part(number: u8, size: u64) -> IndexEntry {
        IndexEntry {
            size,
            block_len: size as u32,
            id: id(number),
        }
    }

    fn piece(number: u8, size: u64) -> Piece {
        Piece {
            size,
            depth: 0,
            block_len: size as u32,
            id: id(number),
        }
    }

    fn found(new: &[(u8, u64)], old: &[(u8, u64)]) -> Vec<Vec<u8>> {
        let new: Vec<_> = new.iter().map(|(id, size)| part(*id, *size)).collect();
        let old: Vec<_> = old.iter().map(|(id, size)| piece(*id, *size)).collect();
        let numbers = |found: &Counterparts| found.as_slice().iter().map(|c| c.id.0[0]).collect();
        align(&new, &old).iter().map(numbers).collect()
    }

    #[test]
    fn parts_are_found_between_those_that_both_have() {
        let old = [(1, 60), (2, 70), (3, 50), (4, 80)];
        // One changed.
        let now = found(&[(1, 60), (9, 72), (3, 50), (4, 80)], &old);
        assert_eq!(now, [vec![], vec![2], vec![], vec![]]);
        // One became two: each is a part of it.
        let now = found(&[(1, 60), (8, 40), (9, 33), (3, 50), (4, 80)], &old);
        assert_eq!(now[1..3], [vec![2], vec![2]]);
        // Two became one.
        let now = found(&[(1, 60), (9, 121), (4, 80)], &old);
        assert_eq!(now[1], [2, 3]);
        // What was added at the end stands beside the last that changed, or beside nothing.
        let now = found(&[(1, 60), (2, 70), (3, 50), (4, 80), (9, 500)], &old);
        assert_eq!(now[4], [0; 0]);
        let now = found(&[(1, 60), (2, 70), (3, 50), (8, 90), (9, 500)], &old);
        assert_eq!(now[3], [4]);
        // Nothing is the same.
        let now = found(&[(5, 61), (6, 70), (7, 50), (8, 80)], &old);
        assert_eq!(now, [[1], [2], [3], [4]]);
        assert_eq!(found(&[(1, 5)], &[]), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn holes_are_no_counterparts() {
        let hole = Piece {
            block_len: 0,
            id: id(0),
            ..piece(0, 100)
        };
        let old = [piece(1, 10), hole, piece(2, 10)];
        let all = align(&[part(7, 10), IndexEntry::hole(100), part(8, 10)], &old);
        let count = |at: usize| all[at].as_slice().len();
        assert_eq!((count(0), count(1), count(2)), (1, 0, 1));
    }

    #[test]
    fn a_name_that_is_new_stands_beside_one_that_is_gone() {
        let entry = |name: &str, number: u8| DirectoryEntry {
            name: name.as_bytes().to_vec(),
            mode: 0o644,
            target: Target::File(content(&piece(number, 9))),
        };
        let gone = [entry("lib-1.2.3.so", 1), entry("notes.txt", 2)];
        let gone: Vec<&DirectoryEntry> = gone.iter().collect();
        let beside = |name: &str| {
            let found = renamed(&entry(name, 9), &gone);
            found.as_slice().first().map(|content| content.id.0[0])
        };
        assert_eq!(beside("lib-1.10.0.so"), Some(1));
        assert_eq!(beside("old-notes.txt"), Some(2));
        assert_eq!(beside("picture"), None);
        // A name may share both ends with a shorter one; nothing is counted twice.
        assert_eq!(beside("n"), None);
    }

    /// The longest sequence of pairs in the order of both, by trying all.
    fn longest(pairs: &[(usize, usize)]) -> usize {
        let Some((first, rest)) = pairs.split_first() else {
            return 0;
        };
        let behind: Vec<_> = rest.iter().filter(|p| p.1 > first.1).copied().collect();
        longest(rest).max(1 + longest(&behind))
    }

    proptest! {
        #[test]
        fn anchors_are_the_longest_sequence(
            new in prop::collection::vec(0_u8..12, 0..12),
            old in prop::collection::vec(0_u8..12, 0..12),
        ) {
            let parts: Vec<_> = new.iter().map(|id| part(*id, 1)).collect();
            let pieces: Vec<_> = old.iter().map(|id| piece(*id, 1)).collect();
            let found = anchors(&parts, &pieces);
            prop_assert!(found.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1));
            prop_assert!(found.iter().all(|(at, place)| new[*at] == old[*place]));
            let once = |ids: &[u8], id: u8| ids.iter().filter(|other| **other == id).count() == 1;
            let mut pairs = Vec::new();
            for (at, id) in new.iter().enumerate().filter(|(_, id)| once(&new, **id)) {
                let place = old.iter().position(|other| other == id);
                pairs.extend(place.filter(|_| once(&old, *id)).map(|place| (at, place)));
            }
            prop_assert_eq!(found.len(), longest(&pairs));
        }

        #[test]
        fn any_sizes_are_aligned(
            new in prop::collection::vec((any::<u8>(), any::<u64>()), 0..20),
            old in prop::collection::vec((any::<u8>(), any::<u64>()), 0..20),
        ) {
            let found = found(&new, &old);
            prop_assert!(found.is_empty() || found.len() == new.len());
        }
    }
}
