//! The order in which paths are read.

use std::collections::{HashMap, HashSet, VecDeque};

use hypermesh_id::Root;
use mfn_cpe::{CpeError, Stream, StreamOptions};
use mfn_local::PeerCredentials;

/// Readers whose place in their order is known; the one that was silent longest makes room.
pub(crate) const READERS_MAX: usize = 64;
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
const MAGIC: &[u8; 4] = b"hmf\x02";
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

/// One that reads: paths of different readers that come after each other have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reader(u32);

impl Reader {
    /// The one that a caller names, among all callers of its user; without a name it is the process.
    pub(crate) fn of(named: u64, peer: PeerCredentials) -> Self {
        let (kind, number) = match named {
            0 => (0, peer.pid.into()),
            named => (1, named),
        };
        let mut bytes = [0; 13];
        bytes[..4].copy_from_slice(&peer.uid.to_le_bytes());
        bytes[4] = kind;
        bytes[5..].copy_from_slice(&number.to_le_bytes());
        let [a, b, c, d, ..] = *blake3::hash(&bytes).as_bytes();
        Self(u32::from_le_bytes([a, b, c, d]))
    }
}

/// Learns which path is read after which. What one reader does all profit from; where each of them is, is its own.
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
            lanes_max: READERS_MAX,
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

    /// A path (in its plain form) is read at `now`, in seconds since any fixed moment. Answers what this reader is likely
    /// to read next, the likeliest first; nothing while nothing is likely.
    pub(crate) fn read(&mut self, reader: Reader, path: &[u8], now: u64) -> Vec<Vec<u8>> {
        let symbol = symbol(path);
        self.counts.reads += 1;
        self.remember(symbol, path);
        self.stream.observe(reader.0, symbol, now);
        let next = self.stream.predict(reader.0, NEXT_MAX, now);
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

    const ALICE: Reader = Reader(1);
    const BOB: Reader = Reader(2);

    /// Reads a path, and gets ahead all that is likely next. Answers whether it was ahead itself.
    fn visit(reads: &mut Reads, reader: Reader, root: Root, path: &[u8]) -> bool {
        let before = reads.counts().foreseen;
        reads.was_ahead(root, path);
        for next in reads.read(reader, path, 0) {
            reads.got_ahead(root, &next);
        }
        reads.counts().foreseen > before
    }

    /// The next number of a sequence that has no order.
    fn noise(number: u64) -> usize {
        usize::from(blake3::hash(&number.to_le_bytes()).as_bytes()[0])
    }

    /// How many of its paths each of some readers finds here in the second version, when they read both in steps that
    /// have no order.
    fn foreseen(tours: &[(Reader, Vec<Vec<u8>>)]) -> Vec<usize> {
        let mut reads = Reads::new().unwrap();
        let mut found = vec![0; tours.len()];
        let mut steps = 0;
        for root in ROOTS {
            let mut places = vec![0; tours.len()];
            found.fill(0);
            while let open = (0..tours.len())
                .filter(|at| places[*at] < tours[*at].1.len())
                .collect::<Vec<_>>()
                && !open.is_empty()
            {
                steps += 1;
                let at = open[noise(steps) % open.len()];
                let (reader, tour) = &tours[at];
                found[at] += usize::from(visit(&mut reads, *reader, root, &tour[places[at]]));
                places[at] += 1;
            }
        }
        found
    }

    #[test]
    fn readers_that_interleave_are_foreseen_as_well_as_alone() {
        let (odd, even): (Vec<_>, Vec<_>) = tour()
            .into_iter()
            .partition(|path| path.ends_with(b"1") || path.ends_with(b"3") || path.ends_with(b"5"));
        let alone = [
            foreseen(&[(ALICE, odd.clone())])[0],
            foreseen(&[(BOB, even.clone())])[0],
        ];
        let both = foreseen(&[(ALICE, odd.clone()), (BOB, even.clone())]);
        let mixed = foreseen(&[(ALICE, odd.clone()), (ALICE, even.clone())]);
        println!(
            "alone {alone:?}, both {both:?}, as one {mixed:?} of {:?}",
            [odd.len(), even.len()]
        );
        for at in 0..2 {
            assert!(both[at] * 20 >= alone[at] * 19, "{both:?}, alone {alone:?}");
            assert!(
                mixed[at] * 3 < both[at] * 2,
                "{mixed:?} as one reader, {both:?}"
            );
        }
    }

    #[test]
    fn what_one_reader_did_helps_another() {
        let mut reads = Reads::new().unwrap();
        for path in tour() {
            visit(&mut reads, ALICE, ROOTS[0], &path);
        }
        let found = tour();
        let found = found
            .iter()
            .filter(|path| visit(&mut reads, BOB, ROOTS[1], path));
        assert!(found.count() >= 150);
    }

    #[test]
    fn a_reader_is_who_the_caller_says_or_the_process() {
        let peer = |uid, pid| PeerCredentials { uid, gid: 0, pid };
        let readers = [
            Reader::of(0, peer(1, 7)),
            Reader::of(0, peer(1, 8)),
            Reader::of(0, peer(2, 7)),
            Reader::of(7, peer(1, 7)),
            Reader::of(7, peer(2, 7)),
        ];
        for (at, reader) in readers.iter().enumerate() {
            assert!(!readers[..at].contains(reader));
        }
        assert_eq!(Reader::of(7, peer(1, 7)), Reader::of(7, peer(1, 8)));
    }

    #[test]
    fn the_budget_has_room_for_all_readers() {
        let reads = Reads::new().unwrap();
        assert_eq!(reads.stream.options().lanes_max, READERS_MAX);
    }

    #[test]
    fn a_tour_is_foreseen_in_the_next_version() {
        let mut reads = Reads::new().unwrap();
        for path in tour() {
            visit(&mut reads, ALICE, ROOTS[0], &path);
        }
        // The first time there is nothing to go by.
        assert!(reads.counts().foreseen < 10, "{:?}", reads.counts());
        for path in tour() {
            visit(&mut reads, ALICE, ROOTS[1], &path);
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
            let path = &tour[noise(number) % tour.len()];
            visit(&mut reads, ALICE, ROOTS[0], path);
        }
        let Counts { reads, ahead, .. } = reads.counts();
        assert!(ahead * 20 < reads, "{ahead} of {reads}");
    }

    #[test]
    fn what_was_saved_is_known_again_and_damage_is_noticed() {
        let mut reads = Reads::new().unwrap();
        for _ in 0..3 {
            for path in tour() {
                reads.read(ALICE, &path, 0);
            }
        }
        let saved = reads.save();
        assert!((saved.len() as u64) < Reads::SAVED_BYTES_MAX);
        let mut again = Reads::load(&saved).unwrap();
        for path in tour() {
            assert_eq!(again.read(ALICE, &path, 0), reads.read(ALICE, &path, 0));
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
            reads.read(ALICE, &path, 0);
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
