//! Parts of a snapshot: a decoder whose guard is the root of a tree of hashes. The repair computes that root anew, after the tree
//! that docs/CONSENSUS.md describes and without the code that is tried.

use std::num::NonZeroUsize;

use ed25519_dalek::SigningKey;
use hypermesh_consensus::{
    BlockHash, Certificate, Decided, DecodeError, Key, Machine, MeshId, Round, Sign,
};
use hypermesh_id::{BlockId, Root};
use hypermesh_registry::{
    Action, Description, Expect, Genesis, Ledger, MempoolLimits, Motion, Name, Parameter,
    Parameters, PartError, Restore, Snapshot, Verified,
};

use crate::Depth::{self, Accepted, Entered, Refused};

type Hash = [u8; 32];
/// Bytes before the hashes of a part: a path, and its depth.
const PART_HEAD_BYTES: usize = 34;

/// A root, and a part that may be of the state that has it.
pub(crate) fn part(data: &[u8]) -> Depth {
    let Some((root, part)) = data.split_first_chunk() else {
        return Refused;
    };
    let mut restore = Restore::new(*root);
    match restore.add(part) {
        Ok(()) => {}
        Err(PartError::Order | PartError::Decode(DecodeError::Short(_) | DecodeError::Long(_))) => {
            assert!(!restore.is_whole(), "what is refused changes nothing");
            return Refused;
        }
        Err(_) => return Entered,
    }
    assert!(restore.add(part).is_err(), "a part is taken twice");
    if restore.is_whole()
        && let Ok(state) = restore.finish(MeshId([7; 32]))
    {
        assert_eq!(state.root(), *root);
        assert_eq!(state.root_anew(), *root);
        let again = Snapshot::of(&state);
        assert_eq!(
            again.part(0).as_deref(),
            Some(part),
            "a state has two forms"
        );
    }
    Accepted
}

/// The root that the part is of.
#[expect(clippy::ptr_arg, reason = "all repairs have one type")]
pub(crate) fn sealed(data: &mut Vec<u8>) {
    if let Some(root) = data.get(32..).and_then(root_of) {
        data[..32].copy_from_slice(&root);
    }
}

fn keyed(label: &str, of: &[&[u8]]) -> Hash {
    let mut key = [0; 32];
    key.copy_from_slice(format!("hypermesh/2026/state tree/{label}").as_bytes());
    let mut hasher = blake3::Hasher::new_keyed(&key);
    for bytes in of {
        hasher.update(bytes);
    }
    *hasher.finalize().as_bytes()
}

fn bit(path: &Hash, depth: usize) -> bool {
    path[depth / 8] & (0x80 >> (depth % 8)) != 0
}

/// The hash of the part of a tree with these leaves, path and value each.
fn subtree(depth: usize, leaves: &[(Hash, Hash)]) -> Hash {
    match leaves {
        [] => [0; 32],
        [(path, value)] => keyed("leaf/1", &[path, value]),
        // Two of one path: no tree has these.
        _ if depth > 255 => [0; 32],
        _ => {
            let (high, low): (Vec<_>, Vec<_>) =
                leaves.iter().partition(|(path, _)| bit(path, depth));
            match (low.len(), high.len()) {
                (0, 1) | (1, 0) => subtree(depth + 1, leaves),
                _ => keyed(
                    "branch",
                    &[&subtree(depth + 1, &low), &subtree(depth + 1, &high)],
                ),
            }
        }
    }
}

/// What a part says: where it begins, the hashes beside it, and its entries.
struct Said<'a> {
    first: Hash,
    beside: Vec<Hash>,
    entries: Vec<(&'a [u8], &'a [u8])>,
}

fn read(part: &[u8]) -> Option<Said<'_>> {
    let first: Hash = part.get(..32)?.try_into().ok()?;
    let depth = usize::from(u16::from_le_bytes(part.get(32..34)?.try_into().ok()?));
    if depth > 255 {
        return None;
    }
    let mut rest = part.get(PART_HEAD_BYTES..)?;
    let mut take = |count: usize| {
        let (taken, left) = rest.split_at_checked(count)?;
        rest = left;
        Some(taken)
    };
    let beside = (0..depth)
        .map(|_| take(32)?.try_into().ok())
        .collect::<Option<_>>()?;
    let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize);
    let count = number(take(4)?)?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let key = number(take(4)?).and_then(&mut take)?;
        let value = number(take(4)?).and_then(&mut take)?;
        entries.push((key, value));
    }
    Some(Said {
        first,
        beside,
        entries,
    })
}

fn leaves(entries: &[(&[u8], &[u8])]) -> Vec<(Hash, Hash)> {
    let leaf = |(key, value): &(&[u8], &[u8])| (keyed("path/1", &[key]), keyed("value1", &[value]));
    entries.iter().map(leaf).collect()
}

fn root_of(part: &[u8]) -> Option<Hash> {
    let said = read(part)?;
    let depth = said.beside.len();
    let end = subtree(depth, &leaves(&said.entries));
    let up = |hash: Hash, (depth, beside): (usize, &Hash)| match bit(&said.first, depth) {
        false => keyed("branch", &[&hash, beside]),
        true => keyed("branch", &[beside, &hash]),
    };
    Some(said.beside.iter().enumerate().rev().fold(end, up))
}

/// Whole states, and the first half of each.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let whole: Vec<Vec<u8>> = states();
    let halves: Vec<Vec<u8>> = whole.iter().filter_map(|part| half(part)).collect();
    let with_root = |part: Vec<u8>| {
        let mut data = root_of(&part).unwrap_or_default().to_vec();
        data.extend(part);
        data
    };
    whole.into_iter().chain(halves).map(with_root).collect()
}

fn half(part: &[u8]) -> Option<Vec<u8>> {
    let said = read(part)?;
    let here = |high: bool| {
        let entries = said.entries.iter().copied();
        entries
            .filter(|(key, _)| bit(&keyed("path/1", &[key]), 0) == high)
            .collect::<Vec<_>>()
    };
    let mut to = [0; 32].to_vec();
    to.extend(1u16.to_le_bytes());
    to.extend(subtree(1, &leaves(&here(true))));
    let low = here(false);
    to.extend((low.len() as u32).to_le_bytes());
    for bytes in low.iter().flat_map(|(key, value)| [key, value]) {
        to.extend((bytes.len() as u32).to_le_bytes());
        to.extend(*bytes);
    }
    Some(to)
}

/// The only part of each of some states: a mesh that began, and what came of it.
fn states() -> Vec<Vec<u8>> {
    let key = |number| Key(SigningKey::from_bytes(&[number; 32]));
    let parameters = Parameters::default();
    let genesis = Genesis::found(&key(1), [7; 16], 7, parameters, Description::default());
    let ledger = genesis
        .ok()
        .and_then(|genesis| Ledger::new(genesis, MempoolLimits::default(), NonZeroUsize::MIN).ok());
    let Some(mut ledger) = ledger else {
        return Vec::new();
    };
    let (other, name) = (key(2).node(), |text| Name::new(text).ok());
    let root = Root(BlockId([7; 32]));
    let set = |text| {
        Some(Action::SetName {
            name: name(text)?,
            root,
            expect: Expect::Any,
        })
    };
    let steps = [
        vec![set("a/b"), set("c")],
        vec![
            Some(Action::Admit {
                node: other,
                invitation: [3; 16],
                description: Description {
                    label: "two".into(),
                    ..Description::default()
                },
            }),
            Some(Action::Move(Motion::Promote(other))),
            Some(Action::Move(Motion::SetParameter(Parameter::Members, 9))),
        ],
        vec![
            Some(Action::Pin {
                root,
                copies: 2,
                domains: 1,
            }),
            name("c").map(|prefix| Action::Delegate {
                prefix,
                to: Some(other),
            }),
        ],
    ];
    let mut parts = Vec::new();
    for actions in steps {
        parts.extend(Snapshot::of(ledger.state()).part(0));
        for action in actions.into_iter().flatten() {
            decide(&mut ledger, &key(1), action);
        }
    }
    parts.extend(Snapshot::of(ledger.state()).part(0));
    parts
}

fn decide(ledger: &mut Ledger, key: &Key, action: Action) {
    let height = ledger.next_height();
    let signed = Verified::sign(key, &ledger.mesh(), height.0, height.0, action);
    if ledger.insert(signed).is_err() {
        return;
    }
    let body = ledger.propose(height);
    let certificate = Certificate {
        height,
        round: Round::new(0),
        block: BlockHash::of(&body),
        signatures: Vec::new(),
    };
    ledger.apply(&Decided { certificate, body });
}
