//! A node that is far behind, among peers that lie, are silent, slow or gone. Virtual time; seeds are printed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::num::NonZeroUsize;
use std::sync::OnceLock;

use ed25519_dalek::SigningKey;
use hypermesh_consensus::{
    BlockHash, Certificate, Decided, Key, Machine, NilOrVal, Round, Sign, Signer, Vote, VoteType,
};
use hypermesh_id::{BlockId, NodeId, Root};
use hypermesh_registry::{
    Action, Description, Expect, Genesis, Ledger, MempoolLimits, Motion, Name, Parameters,
    SavedIndex, SavedWriter, Transaction, load, next_sequence, save,
};

use super::fetch::{Fetch, Time, WINDOW, Want};
use super::snapshot_words::{Offer, SnapshotWord};

const SEEDS: u64 = 150;
const SECOND: Time = 1_000_000_000;
/// Within which it must be done, when somebody honest is there.
const LIMIT: Time = 900 * SECOND;
const VOTERS: u8 = 4;

fn key(number: u8) -> Key {
    Key(SigningKey::from_bytes(&[number + 1; 32]))
}

fn node(number: u8) -> NodeId {
    key(number).node()
}

/// SplitMix64 (Steele, Lea, Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }
}

fn genesis() -> Genesis {
    let (parameters, description) = (Parameters::default(), Description::default());
    Genesis::found(&key(0), [7; 16], 1000, parameters, description).unwrap()
}

fn submit(ledger: &mut Ledger, author: u8, action: Action) {
    let sequence = next_sequence(ledger.state(), ledger.mempool(), &node(author));
    let until = ledger.next_height().0 + 100;
    let signed = Transaction::sign(&key(author), &ledger.mesh(), sequence, until, action);
    ledger.submit(&signed.to_bytes()).unwrap();
}

fn decide(ledger: &mut Ledger) {
    let height = ledger.next_height();
    let body = ledger.propose(height);
    let block = BlockHash::of(&body);
    let sign = |voter: NodeId| {
        let key = (0..VOTERS)
            .map(key)
            .find(|key| key.node() == voter)
            .unwrap();
        let vote = Vote {
            phase: VoteType::Precommit,
            height,
            round: Round::new(0),
            block: NilOrVal::Val(block),
            voter: Signer(voter),
        };
        (voter, key.sign(&vote.sign_bytes(&ledger.mesh())))
    };
    let certificate = Certificate {
        height,
        round: Round::new(0),
        block,
        signatures: ledger.state().voters().nodes().map(sign).collect(),
    };
    ledger.apply(&Decided { certificate, body });
    assert!(ledger.fault().is_none());
    while ledger.poll_applied().is_some() {}
}

fn saved(ledger: &Ledger) -> Vec<u8> {
    let story = (ledger.state(), ledger.links(), ledger.last().unwrap());
    save(Vec::new(), story, |_| Ok(())).unwrap()
}

/// Snapshots of two heights of a mesh of four: of a few pieces each.
fn snapshots() -> &'static [Vec<u8>; 2] {
    static FILES: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    FILES.get_or_init(|| {
        let threads = NonZeroUsize::MIN;
        let mut ledger = Ledger::new(genesis(), MempoolLimits::default(), threads).unwrap();
        for number in 1..VOTERS {
            let admit = Action::Admit {
                node: node(number),
                invitation: [number; 16],
                description: Description::default(),
            };
            submit(&mut ledger, 0, admit);
            decide(&mut ledger);
            let voters = ledger.state().voters().nodes().len() as u8;
            for voter in 0..voters {
                submit(
                    &mut ledger,
                    voter,
                    Action::Move(Motion::Promote(node(number))),
                );
                decide(&mut ledger);
                if ledger.state().voters().contains(&node(number)) {
                    break;
                }
            }
        }
        let mut name = |range: std::ops::Range<u32>| {
            for number in range {
                let text = format!("a name that is long enough to fill some parts of it/{number}");
                let action = Action::SetName {
                    name: Name::new(&text).unwrap(),
                    root: Root(BlockId([1; 32])),
                    expect: Expect::Absent,
                };
                submit(&mut ledger, (number % 4) as u8, action);
                if number % 1_000 == 999 {
                    decide(&mut ledger);
                }
            }
            saved(&ledger)
        };
        [name(0..3_000), name(3_000..4_000)]
    })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Honest,
    /// Has the older one.
    Older,
    Silent,
    /// Answers in time, hardly.
    Slow,
    /// Answers nothing after a few pieces.
    Dies,
    /// Has no snapshot any more after a few pieces.
    Forgets,
    /// Changes a bit of some pieces.
    Damages,
    /// Sends another piece than was asked for.
    Swaps,
    /// Offers what was never decided.
    Forges,
    /// Offers what was decided with votes that are none.
    Unsigns,
    /// Says that there are fewer changes of the voters, or fewer pieces, than there are.
    Shortens,
}

const KINDS: [Kind; 11] = [
    Kind::Honest,
    Kind::Older,
    Kind::Silent,
    Kind::Slow,
    Kind::Dies,
    Kind::Forgets,
    Kind::Damages,
    Kind::Swaps,
    Kind::Forges,
    Kind::Unsigns,
    Kind::Shortens,
];

struct Peer {
    kind: Kind,
    file: &'static [u8],
    index: SavedIndex,
    served: u32,
}

impl Peer {
    fn new(kind: Kind) -> Self {
        let [older, newer] = snapshots();
        let file: &'static [u8] = if kind == Kind::Older { older } else { newer };
        Self {
            kind,
            file,
            index: SavedIndex::of(Cursor::new(file)).unwrap(),
            served: 0,
        }
    }

    fn offer(&self, random: &mut Random) -> Option<SnapshotWord> {
        let mut offer = Offer {
            head: self.index.head.clone(),
            pieces: self.index.pieces(),
            bytes: self.index.bytes,
        };
        match self.kind {
            Kind::Silent => return None,
            Kind::Forges => {
                let head = &mut offer.head.sealed;
                let height = head.certificate.height.0 + random.below(3);
                head.head[2..10].copy_from_slice(&height.to_le_bytes());
                head.head[50] ^= 1;
                head.certificate.height.0 = height;
                head.certificate.block = BlockHash::of_parts(&head.head, &head.rest);
            }
            Kind::Unsigns => offer.head.sealed.certificate.signatures[1].1.0[9] ^= 1,
            Kind::Shortens if random.below(2) == 0 => offer.head.links -= 1,
            Kind::Shortens => offer.pieces -= 1,
            _ => {}
        }
        Some(SnapshotWord::Offer(Some(Box::new(offer))))
    }

    fn piece(&mut self, height: u64, number: u32, random: &mut Random) -> Option<SnapshotWord> {
        self.served += 1;
        let number_sent = match self.kind {
            Kind::Silent => return None,
            Kind::Dies if self.served > 2 => return None,
            Kind::Swaps => (number + 1) % self.index.pieces(),
            _ => number,
        };
        let read = self.index.piece(Cursor::new(self.file), number_sent);
        let mut content = read.unwrap().unwrap_or_default();
        match self.kind {
            Kind::Damages if random.below(3) == 0 && !content.is_empty() => {
                let at = random.below(content.len() as u64) as usize;
                content[at] ^= 1 << random.below(8);
            }
            Kind::Forgets if self.served > 2 => content.clear(),
            _ => {}
        }
        Some(SnapshotWord::Piece {
            height,
            number,
            content,
        })
    }
}

/// What became of one story.
struct Ended {
    at: Time,
    file: Option<Vec<u8>>,
    faulted: BTreeSet<NodeId>,
}

fn run(kinds: &[Kind], random: &mut Random) -> Ended {
    let mut peers: BTreeMap<NodeId, Peer> = (10..)
        .zip(kinds)
        .map(|(number, kind)| (node(number), Peer::new(*kind)))
        .collect();
    let height = peers.values().map(|peer| peer.index.head.height()).max();
    let height = height.unwrap() + 1;
    let mut fetch = Fetch::new(genesis(), 4, 0, 0);
    let mut queue: BTreeMap<(Time, u64), (NodeId, SnapshotWord)> = BTreeMap::new();
    let (mut now, mut count, mut told) = (0, 0, 0);
    let mut writing: Option<SavedWriter<Vec<u8>>> = None;
    let mut ended = Ended {
        at: 0,
        file: None,
        faulted: BTreeSet::new(),
    };
    let mut outstanding = 0_u32;
    while now < LIMIT {
        while let Some(want) = fetch.poll() {
            let (to, answer) = match want {
                Want::Ask { to, .. } => (to, peers[&to].offer(random)),
                Want::AskPiece { to, height, number } => {
                    outstanding += 1;
                    assert!(
                        outstanding <= 2 * WINDOW,
                        "more is asked for than the window"
                    );
                    (
                        to,
                        peers.get_mut(&to).unwrap().piece(height, number, random),
                    )
                }
                Want::Begin(offer) => {
                    outstanding = 0;
                    writing = Some(SavedWriter::begin(Vec::new(), &offer.head).unwrap());
                    continue;
                }
                Want::Piece(content) => {
                    outstanding = outstanding.saturating_sub(1);
                    writing.as_mut().unwrap().piece(&content).unwrap();
                    continue;
                }
                Want::Whole(_) => {
                    ended.at = now;
                    ended.file = Some(writing.unwrap().end().unwrap());
                    return ended;
                }
                Want::Abandon => {
                    outstanding = 0;
                    writing = None;
                    continue;
                }
                Want::Fault(node, _) => {
                    ended.faulted.insert(node);
                    continue;
                }
            };
            if let Some(answer) = answer {
                let slow = match peers[&to].kind {
                    Kind::Slow => 4 * SECOND + random.below(SECOND),
                    _ => random.below(SECOND / 5),
                };
                count += 1;
                // One in fifty gets lost.
                if random.below(50) > 0 {
                    queue.insert((now + slow, count), (to, answer));
                }
            }
        }
        let next = queue.first_key_value().map(|((time, _), _)| *time);
        let deadline = fetch.deadline().unwrap_or(Time::MAX);
        now = next.unwrap_or(Time::MAX).min(deadline).min(told).max(now);
        if told <= now {
            told = now + SECOND;
            for node in peers.keys() {
                fetch.height(now, *node, height, 0);
            }
        }
        while let Some(entry) = queue.first_entry()
            && entry.key().0 <= now
        {
            outstanding = outstanding.min(WINDOW);
            let (from, word) = entry.remove();
            match word {
                SnapshotWord::Offer(offer) => fetch.offer(now, from, offer.map(|offer| *offer)),
                SnapshotWord::Piece {
                    height,
                    number,
                    content,
                } => fetch.piece(now, from, (height, number), content),
                _ => {}
            }
        }
        fetch.elapsed(now);
    }
    ended.at = now;
    ended
}

fn check(kinds: &[Kind], seed: u64) -> Ended {
    let ended = run(kinds, &mut Random(seed));
    let place = format!("seed {seed}: {kinds:?}");
    for (number, kind) in (10..).zip(kinds) {
        let honest = matches!(
            kind,
            Kind::Honest | Kind::Older | Kind::Silent | Kind::Slow | Kind::Dies | Kind::Forgets
        );
        let faulted = ended.faulted.contains(&node(number));
        assert!(!(honest && faulted), "{place}: an honest peer is blamed");
    }
    if let Some(file) = &ended.file {
        let limits = MempoolLimits::default();
        let ledger = load(&file[..], &genesis(), limits, NonZeroUsize::MIN);
        ledger.unwrap_or_else(|error| panic!("{place}: {error}"));
    }
    ended
}

#[test]
fn a_snapshot_comes_whatever_some_peers_do() {
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let mut kinds: Vec<Kind> = (0..random.below(5))
            .map(|_| KINDS[random.below(KINDS.len() as u64) as usize])
            .collect();
        kinds.insert(random.below(kinds.len() as u64 + 1) as usize, Kind::Honest);
        let ended = check(&kinds, seed);
        assert!(ended.file.is_some(), "seed {seed}: {kinds:?}: none came");
    }
}

#[test]
fn nothing_is_made_of_lies_alone() {
    for (seed, kind) in (1_000..).zip([
        Kind::Silent,
        Kind::Swaps,
        Kind::Forges,
        Kind::Unsigns,
        Kind::Shortens,
    ]) {
        let ended = check(&[kind; 3], seed);
        assert!(ended.file.is_none(), "{kind:?}");
        let blamed = if kind == Kind::Silent { 0 } else { 3 };
        assert_eq!(ended.faulted.len(), blamed, "{kind:?}");
    }
}

#[test]
fn one_slow_peer_is_enough_and_a_quick_one_is_preferred() {
    let slow = check(&[Kind::Slow], 7);
    let both = check(&[Kind::Slow, Kind::Honest, Kind::Silent], 7);
    assert!(slow.file.is_some() && both.file.is_some());
    assert!(slow.at < 120 * SECOND, "{}", slow.at);
}

#[test]
fn blocks_that_came_first_end_it() {
    let mut fetch = Fetch::new(genesis(), 4, 0, 0);
    let peer = Peer::new(Kind::Honest);
    let height = peer.index.head.height();
    fetch.height(0, node(1), height + 1, 0);
    let ask = fetch.poll();
    assert_eq!(
        ask,
        Some(Want::Ask {
            to: node(1),
            above: 2
        })
    );
    let Some(SnapshotWord::Offer(offer)) = peer.offer(&mut Random(1)) else {
        panic!("no offer");
    };
    fetch.offer(1, node(1), offer.map(|offer| *offer));
    assert_eq!(fetch.taking(), Some(height));
    fetch.height(2, node(1), height + 2, height);
    assert_eq!(fetch.taking(), None);
    assert_eq!(
        std::iter::from_fn(|| fetch.poll()).last(),
        Some(Want::Abandon)
    );
}

#[test]
fn who_is_near_asks_only_when_nothing_moves() {
    let mut fetch = Fetch::new(genesis(), 4_096, 100, 0);
    fetch.height(0, node(1), 200, 100);
    fetch.height(10 * SECOND, node(1), 200, 101);
    fetch.height(20 * SECOND, node(1), 200, 101);
    assert_eq!(fetch.poll(), None);
    fetch.height(26 * SECOND, node(1), 200, 101);
    assert_eq!(
        fetch.poll(),
        Some(Want::Ask {
            to: node(1),
            above: 101
        })
    );
}

#[test]
fn words_are_read_as_they_were_written() {
    let mesh = genesis().mesh();
    let peer = Peer::new(Kind::Honest);
    let mut random = Random(3);
    let words = [
        SnapshotWord::Ask { above: 5 },
        SnapshotWord::Offer(None),
        peer.offer(&mut random).unwrap(),
        SnapshotWord::AskPiece {
            height: 7,
            number: 8,
        },
        Peer::new(Kind::Honest).piece(7, 1, &mut random).unwrap(),
    ];
    for word in words {
        let bytes = word.encode(&mesh);
        assert_eq!(SnapshotWord::decode(&bytes).as_ref(), Ok(&word));
        for length in 0..bytes.len().min(34 + 1_000) {
            // Of a piece any part may be one.
            if let Ok(SnapshotWord::Piece { .. }) | Ok(SnapshotWord::Offer(None)) =
                SnapshotWord::decode(&bytes[..length])
            {
                assert!(length >= 34, "{length}");
            } else {
                assert!(SnapshotWord::decode(&bytes[..length]).is_err(), "{length}");
            }
        }
    }
}
