//! The order in which paths are read.

use std::collections::{HashMap, HashSet, VecDeque};

use hypermesh_id::Root;
use mfn_cpe::{CpeError, Stream, StreamOptions};

/// Memory of the learned order, and of the paths behind its symbols.
const STREAM_BYTES_MAX: usize = 8 << 20;
const NAMES_BYTES_MAX: usize = 8 << 20;
/// What a name costs beside its bytes.
const NAME_BYTES: usize = 64;
/// Likeliest paths that are looked at.
const NEXT_MAX: usize = 4;
/// A path that is less likely than this is not worth its bytes.
pub(crate) const CLAIM_MIN: f32 = 0.3;
/// Paths that were got ahead and not read yet; the oldest count as wasted.
const AHEAD_MAX: usize = 1_024;
const MAGIC: &[u8; 4] = b"hmf\x01";
const HASH_BYTES: usize = 32;

/// What became of all that was got ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Files that were read.
    pub(crate) reads: u64,
    /// Files that were got ahead, and how many of them were read after that.
    pub(crate) ahead: u64,
    pub(crate) foreseen: u64,
}

/// Learns which path is read after which.
#[derive(Debug)]
pub(crate) struct Reads {
    stream: Stream,
    names: HashMap<u64, Vec<u8>>,
    /// Symbols of `names`, the oldest first.
    order: VecDeque<u64>,
    names_bytes: usize,
    ahead: HashSet<(Root, u64)>,
    ahead_order: VecDeque<(Root, u64)>,
    counts: Counts,
}

/// The names of a path, one `/` between them: the form in which paths are compared.
pub(crate) fn plain(path: &[u8]) -> Vec<u8> {
    let names: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
        .collect();
    names.join(&b'/')
}

fn symbol(path: &[u8]) -> u64 {
    let hash = blake3::hash(path);
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

impl Reads {
    pub(crate) fn new() -> Result<Self, CpeError> {
        Ok(Self::of(Stream::new(StreamOptions {
            bytes_max: STREAM_BYTES_MAX,
            lanes_max: 1,
            claim_min: CLAIM_MIN,
        })?))
    }

    fn of(stream: Stream) -> Self {
        Self {
            stream,
            names: HashMap::new(),
            order: VecDeque::new(),
            names_bytes: 0,
            ahead: HashSet::new(),
            ahead_order: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// A path (in its plain form) is read at `now`, in seconds since any fixed moment. Answers what is likely to be read
    /// next, the likeliest first; nothing while nothing is likely.
    pub(crate) fn read(&mut self, path: &[u8], now: u64) -> Vec<Vec<u8>> {
        let symbol = symbol(path);
        self.counts.reads += 1;
        self.remember(symbol, path);
        self.stream.observe(0, symbol, now);
        let next = self.stream.predict(0, NEXT_MAX, now);
        if next.silent {
            return Vec::new();
        }
        let likely = next
            .items
            .iter()
            .filter(|item| item.probability >= CLAIM_MIN && item.symbol != symbol);
        likely
            .filter_map(|item| self.names.get(&item.symbol).cloned())
            .collect()
    }

    /// A path is read: counts it if it was got ahead.
    pub(crate) fn was_ahead(&mut self, root: Root, path: &[u8]) {
        if self.ahead.remove(&(root, symbol(path))) {
            self.counts.foreseen += 1;
        }
    }

    /// A path was got ahead.
    pub(crate) fn got_ahead(&mut self, root: Root, path: &[u8]) {
        let key = (root, symbol(path));
        if !self.ahead.insert(key) {
            return;
        }
        self.counts.ahead += 1;
        self.ahead_order.push_back(key);
        // Entries that were read are here still, so this looks at more than are waiting.
        while self.ahead_order.len() > AHEAD_MAX {
            if let Some(oldest) = self.ahead_order.pop_front() {
                self.ahead.remove(&oldest);
            }
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    fn remember(&mut self, symbol: u64, path: &[u8]) {
        if self.names.contains_key(&symbol) {
            return;
        }
        self.names_bytes += path.len() + NAME_BYTES;
        self.names.insert(symbol, path.to_vec());
        self.order.push_back(symbol);
        while self.names_bytes > NAMES_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            if let Some(path) = self.names.remove(&oldest) {
                self.names_bytes -= path.len() + NAME_BYTES;
            }
        }
    }

    /// What was learned, as bytes that only this version reads.
    pub(crate) fn save(&self) -> Vec<u8> {
        let stream = self.stream.snapshot();
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&(stream.len() as u64).to_le_bytes());
        out.extend_from_slice(&stream);
        for path in self
            .order
            .iter()
            .filter_map(|symbol| self.names.get(symbol))
        {
            out.extend_from_slice(&(path.len() as u32).to_le_bytes());
            out.extend_from_slice(path);
        }
        let hash = blake3::hash(&out);
        out.extend_from_slice(hash.as_bytes());
        out
    }

    /// Most bytes that [`Reads::save`] gives.
    pub(crate) const SAVED_BYTES_MAX: u64 = 2 * (STREAM_BYTES_MAX + NAMES_BYTES_MAX) as u64;

    /// What was saved; `None` when it is damaged or of another version: then it is learned again.
    pub(crate) fn load(saved: &[u8]) -> Option<Self> {
        let (body, hash) = saved.split_last_chunk::<HASH_BYTES>()?;
        if blake3::hash(body) != *hash {
            return None;
        }
        let rest = body.strip_prefix(MAGIC)?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (stream, mut rest) = rest.split_at_checked(length)?;
        let mut reads = Self::of(Stream::restore(stream).ok()?);
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let (path, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            reads.remember(symbol(path), path);
            rest = after;
        }
        rest.is_empty().then_some(reads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOTS: [Root; 2] = [
        Root(hypermesh_id::BlockId([1; 32])),
        Root(hypermesh_id::BlockId([2; 32])),
    ];

    /// Paths in an order that a rule gives no hint of.
    fn tour() -> Vec<Vec<u8>> {
        let mut paths: Vec<_> = (0..200).map(|n: u32| format!("d{}/f{n}", n % 7)).collect();
        paths.sort_by_key(|path| *blake3::hash(path.as_bytes()).as_bytes());
        paths.into_iter().map(String::into_bytes).collect()
    }

    /// Reads a path, and gets ahead all that is likely next.
    fn visit(reads: &mut Reads, root: Root, path: &[u8]) {
        reads.was_ahead(root, path);
        for next in reads.read(path, 0) {
            reads.got_ahead(root, &next);
        }
    }

    #[test]
    fn a_tour_is_foreseen_in_the_next_version() {
        let mut reads = Reads::new().unwrap();
        for path in tour() {
            visit(&mut reads, ROOTS[0], &path);
        }
        // The first time there is nothing to go by.
        assert!(reads.counts().foreseen < 10, "{:?}", reads.counts());
        for path in tour() {
            visit(&mut reads, ROOTS[1], &path);
        }
        let Counts {
            ahead, foreseen, ..
        } = reads.counts();
        assert!(
            foreseen >= 150 && foreseen * 10 >= ahead * 8,
            "{:?}",
            reads.counts()
        );
    }

    #[test]
    fn what_has_no_order_is_not_claimed() {
        let mut reads = Reads::new().unwrap();
        let tour = tour();
        for number in 0..2_000_u64 {
            let hash = blake3::hash(&number.to_le_bytes());
            let path = &tour[usize::from(hash.as_bytes()[0]) % tour.len()];
            visit(&mut reads, ROOTS[0], path);
        }
        let Counts { reads, ahead, .. } = reads.counts();
        assert!(ahead * 20 < reads, "{ahead} of {reads}");
    }

    #[test]
    fn what_was_saved_is_known_again_and_damage_is_noticed() {
        let mut reads = Reads::new().unwrap();
        for _ in 0..3 {
            for path in tour() {
                reads.read(&path, 0);
            }
        }
        let saved = reads.save();
        assert!((saved.len() as u64) < Reads::SAVED_BYTES_MAX);
        let mut again = Reads::load(&saved).unwrap();
        for path in tour() {
            assert_eq!(again.read(&path, 0), reads.read(&path, 0));
        }
        for at in (0..saved.len()).step_by(997) {
            let mut damaged = saved.clone();
            damaged[at] ^= 1;
            assert!(Reads::load(&damaged).is_none());
            assert!(Reads::load(&saved[..at]).is_none());
        }
    }

    #[test]
    fn names_are_bounded() {
        let mut reads = Reads::new().unwrap();
        for number in 0..4_000_u32 {
            let mut path = number.to_le_bytes().to_vec();
            path.resize(4_096, b'x');
            reads.read(&path, 0);
            reads.got_ahead(ROOTS[0], &path);
        }
        assert!(reads.names_bytes <= NAMES_BYTES_MAX);
        assert!(reads.names.len() * 4_096 <= NAMES_BYTES_MAX);
        assert_eq!(reads.names.len(), reads.order.len());
        assert!(reads.ahead.len() <= AHEAD_MAX);
    }

    #[test]
    fn paths_are_compared_by_their_names() {
        assert_eq!(plain(b"//a/b///c/"), b"a/b/c");
        assert_eq!(plain(b""), b"");
    }
}
