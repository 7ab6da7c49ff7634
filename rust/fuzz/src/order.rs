//! What voters tell, keep and order: decoders, what each promises, and encodings to start from. Signatures are looked at after
//! decoding, so that nothing but an enclosed genesis guards what is inside.

use std::io::Cursor;
use std::num::NonZeroUsize;

use ed25519_dalek::SigningKey;
use hypermesh_consensus::{
    BlockHash, BlockMessage, Certificate, Decided, DecodeError, Evidence, Height, Key, Machine,
    MeshId, Message, NilOrVal, Proposal, Record, Round, Sig, Sign, Signed, Signer, VERSION, Vote,
    VoteType,
};
use hypermesh_id::{BlockId, NodeId, Root};
use hypermesh_registry::{
    Action, Description, Expect, Genesis, Ledger, MempoolLimits, Name, NameProof, Parameters,
    ProofError, Restore, SavedIndex, SavedReader, SavedWriter, Transaction, load, read_block, save,
};

use crate::Depth::{self, Accepted, Entered, Refused};

const MESH: MeshId = MeshId([7; 32]);

/// Of the wrong length, or wrong inside.
fn depth(error: &DecodeError) -> Depth {
    match error {
        DecodeError::Short(_) | DecodeError::Long(_) => Refused,
        _ => Entered,
    }
}

/// What decoded is written as it came.
fn same(data: &[u8], again: &[u8]) -> Depth {
    assert!(again == data, "what decodes has two forms");
    Accepted
}

pub(crate) fn transaction(data: &[u8]) -> Depth {
    match Transaction::from_bytes(data) {
        Ok(transaction) => same(data, &transaction.to_bytes()),
        Err(error) => depth(&error),
    }
}

pub(crate) fn block(data: &[u8]) -> Depth {
    match read_block(data) {
        Ok((head, items)) => {
            assert_eq!(head.transactions as usize, items.len());
            same(&data[..head.to_bytes().len()], &head.to_bytes())
        }
        Err(error) => depth(&error),
    }
}

/// Also verified, for the mesh that it names.
pub(crate) fn proof(data: &[u8]) -> Depth {
    match NameProof::from_bytes(data) {
        Ok(proof) => {
            drop(proof.verify(&proof.genesis.mesh()));
            same(data, &proof.to_bytes())
        }
        Err(ProofError::Decode(error)) => depth(&error),
        Err(_) => Entered,
    }
}

/// The file of a state. What it proves is looked at as well: if it is a ledger, it is that of its root; and each piece as a part
/// of the state of the seeds.
pub(crate) fn snapshot(data: &[u8]) -> Depth {
    if let Ok(ledger) = load(
        data,
        &genesis(),
        MempoolLimits::default(),
        NonZeroUsize::MIN,
    ) {
        assert_eq!(ledger.state().root(), ledger.state().root_anew());
    }
    if let Ok(index) = SavedIndex::of(Cursor::new(data)) {
        for number in 0..index.pieces().min(8) {
            drop(index.piece(Cursor::new(data), number));
        }
    }
    let Ok(mut reader) = SavedReader::begin(data) else {
        return Refused;
    };
    let mut pieces = Vec::new();
    loop {
        match reader.piece() {
            Ok(Some(piece)) => pieces.push(piece),
            Ok(None) => break,
            Err(_) => return Entered,
        }
    }
    let head = &reader.head().sealed.head;
    let mut root = [0; 32];
    root.copy_from_slice(&head[42..74]);
    let mut restore = Restore::new(root);
    for piece in &pieces {
        drop(restore.add(piece));
    }
    let written = || -> std::io::Result<Vec<u8>> {
        let mut writer = SavedWriter::begin(Vec::new(), reader.head())?;
        pieces.iter().try_for_each(|piece| writer.piece(piece))?;
        writer.end()
    };
    written().map_or(Entered, |again| same(data, &again))
}

pub(crate) fn message(data: &[u8]) -> Depth {
    match Message::decode(data, &MESH) {
        Ok(message) => same(data, &message.encode(&MESH)),
        Err(error) => depth(&error),
    }
}

pub(crate) fn decided(data: &[u8]) -> Depth {
    match Decided::from_bytes(data) {
        Ok(decided) => same(data, &decided.to_bytes()),
        Err(error) => depth(&error),
    }
}

pub(crate) fn evidence(data: &[u8]) -> Depth {
    match Evidence::decode(data) {
        Ok(evidence) => {
            let mut again = Vec::new();
            evidence.encode(&mut again);
            same(data, &again)
        }
        Err(error) => depth(&error),
    }
}

/// Records of a log, the last of which may be cut off.
pub(crate) fn log(data: &[u8]) -> Depth {
    match Record::read(data) {
        Ok((records, whole)) => {
            let mut again = Vec::new();
            records.iter().for_each(|record| record.write(&mut again));
            match whole {
                0 => Refused,
                _ => same(&data[..whole], &again),
            }
        }
        Err(hypermesh_consensus::LogError::Content { .. }) => Entered,
        Err(_) => Refused,
    }
}

/// Nothing: lengths are seen at once, and what is behind them is reached without a repair.
pub(crate) fn unsealed(_: &mut Vec<u8>) {}

/// The sums of all frames.
#[expect(clippy::ptr_arg, reason = "all repairs have one type")]
pub(crate) fn sealed_snapshot(data: &mut Vec<u8>) {
    let mut at = 8;
    while let Some(frame) = data.get_mut(at..)
        && let Some((&mut [kind, a, b, c, d], rest)) = frame.split_first_chunk_mut::<5>()
        && let Some((sum, rest)) = rest.split_first_chunk_mut::<8>()
        && let Some(content) = rest.get(..u32::from_le_bytes([a, b, c, d]) as usize)
    {
        let mut hasher = blake3::Hasher::new();
        let hash = hasher
            .update(&[kind, a, b, c, d])
            .update(content)
            .finalize();
        sum.copy_from_slice(&hash.as_bytes()[..8]);
        at += 13 + content.len();
    }
}

/// The checksum of the first record.
#[expect(clippy::ptr_arg, reason = "all repairs have one type")]
pub(crate) fn sealed_log(data: &mut Vec<u8>) {
    let Some((length, rest)) = data.split_first_chunk::<4>() else {
        return;
    };
    let length = u32::from_le_bytes(*length) as usize;
    if let Some(content) = rest.get(4..).and_then(|rest| rest.get(..length)) {
        let sum = crc32fast::hash(content).to_le_bytes();
        data[4..8].copy_from_slice(&sum);
    }
}

/// Golden vectors of a kind.
fn vectors(kind: &str) -> Vec<Vec<u8>> {
    const VECTORS: &str = include_str!("../../../integration/vectors/registry.txt");
    let unhex = |text: &str| -> Option<Vec<u8>> {
        (0..text.len() / 2)
            .map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok())
            .collect()
    };
    VECTORS
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            (fields.next()? == kind).then(|| unhex(fields.next()?))?
        })
        .collect()
}

pub(crate) fn transactions() -> Vec<Vec<u8>> {
    vectors("transaction")
}

/// Those of the vectors, and others in which one byte of a hash is another.
pub(crate) fn blocks() -> Vec<Vec<u8>> {
    changed(vectors("block"), 20)
}

pub(crate) fn proofs() -> Vec<Vec<u8>> {
    let seeds = vectors("proof");
    let genesis = seeds.first().and_then(|seed| seed.get(8..12));
    let length = genesis.map_or(0, |length| {
        usize::from(length[0]) + 256 * usize::from(length[1])
    });
    changed(seeds, 8 + 4 + length + 4 + 20)
}

fn founder() -> Key {
    Key(SigningKey::from_bytes(&[5; 32]))
}

fn genesis() -> Genesis {
    let (parameters, description) = (Parameters::default(), Description::default());
    let founded = Genesis::found(&founder(), [7; 16], 1_000, parameters, description);
    founded.unwrap_or_else(|error| unreachable!("a default mesh is founded: {error}"))
}

/// Files of a mesh of one, after the first few blocks.
pub(crate) fn snapshots() -> Vec<Vec<u8>> {
    let threads = NonZeroUsize::MIN;
    let Ok(mut ledger) = Ledger::new(genesis(), MempoolLimits::default(), threads) else {
        return Vec::new();
    };
    let decide = |number: u64| -> Option<Vec<u8>> {
        let action = Action::SetName {
            name: Name::new(&format!("a/name/{number}")).ok()?,
            root: Root(BlockId([7; 32])),
            expect: Expect::Any,
        };
        let mesh = ledger.mesh();
        let signed = Transaction::sign(&founder(), &mesh, number, 100, action);
        ledger.submit(&signed.to_bytes()).ok()?;
        let height = ledger.next_height();
        let body = ledger.propose(height);
        let vote = Vote {
            phase: VoteType::Precommit,
            height,
            round: Round::new(0),
            block: NilOrVal::Val(BlockHash::of(&body)),
            voter: Signer(founder().node()),
        };
        let signature = founder().sign(&vote.sign_bytes(&mesh));
        let certificate = Certificate {
            height,
            round: vote.round,
            block: BlockHash::of(&body),
            signatures: vec![(founder().node(), signature)],
        };
        ledger.apply(&Decided { certificate, body });
        let story = (ledger.state(), ledger.links(), ledger.last()?);
        save(Vec::new(), story, |_| Ok(())).ok()
    };
    (1..=5).filter_map(decide).collect()
}

fn changed(seeds: Vec<Vec<u8>>, at: usize) -> Vec<Vec<u8>> {
    let mut all = seeds.clone();
    for over in [1, 2] {
        for mut seed in seeds.clone() {
            if let Some(byte) = seed.get_mut(at) {
                *byte ^= over;
            }
            all.push(seed);
        }
    }
    all
}

fn vote(phase: VoteType, block: u8) -> Signed<Vote> {
    Signed {
        statement: Vote {
            phase,
            height: Height(3),
            round: Round::new(1),
            block: match block {
                0 => NilOrVal::Nil,
                other => NilOrVal::Val(BlockHash([other; 32])),
            },
            voter: Signer(NodeId([5; 32])),
        },
        signature: Sig([6; 64]),
    }
}

fn proposal(block: u8, valid_round: Round) -> Signed<Proposal> {
    Signed {
        statement: Proposal {
            height: Height(3),
            round: Round::new(2),
            block: BlockHash([block; 32]),
            valid_round,
            proposer: Signer(NodeId([5; 32])),
        },
        signature: Sig([6; 64]),
    }
}

/// A message of this kind about round 1 of height 3, with this in it, and so many signatures of votes, each with this before its
/// voter: its type has no parts that others can make.
fn certificate(kind: u8, inside: &[u8], signatures: u8, before: &[u8]) -> Vec<u8> {
    let mut bytes = vec![VERSION, kind];
    bytes.extend(MESH.0);
    bytes.extend(3u64.to_le_bytes());
    bytes.extend(2u32.to_le_bytes());
    bytes.extend(inside);
    bytes.extend(u32::from(signatures).to_le_bytes());
    for number in 0..signatures {
        bytes.extend(before);
        bytes.extend([number; 32]);
        bytes.extend([6; 64]);
    }
    bytes
}

/// Why a block is proposed again: a quorum's prevotes.
fn polka() -> Vec<u8> {
    certificate(4, &[1; 32], 3, &[])
}

/// Precommits that ended a round, and votes of both kinds because of which one is left.
fn round_ends() -> [Vec<u8>; 2] {
    let mut prevote = vec![1, 1];
    prevote.extend([1; 32]);
    [
        certificate(5, &[1], 3, &[2, 0]),
        certificate(5, &[2], 2, &prevote),
    ]
}

fn decision(signatures: u8) -> Decided {
    Decided {
        certificate: Certificate {
            height: Height(3),
            round: Round::new(0),
            block: BlockHash([1; 32]),
            signatures: (0..signatures)
                .map(|number| (NodeId([number; 32]), Sig([6; 64])))
                .collect(),
        },
        body: vec![9; 200].into(),
    }
}

pub(crate) fn messages() -> Vec<Vec<u8>> {
    let block = |valid_round| {
        Message::Block(BlockMessage {
            height: Height(3),
            round: Round::new(2),
            valid_round,
            body: vec![9; 200].into(),
        })
    };
    let mut messages: Vec<Vec<u8>> = [
        Message::Vote(vote(VoteType::Prevote, 0)),
        Message::Vote(vote(VoteType::Precommit, 1)),
        Message::Retold(vec![vote(VoteType::Prevote, 1); 3]),
        Message::Status(Height(4)),
        Message::Ask(Height(4)),
        Message::Decided(decision(3)),
        Message::Proposal(proposal(1, Round::Nil)),
        Message::Proposal(proposal(1, Round::new(1))),
        block(Round::Nil),
        block(Round::new(1)),
    ]
    .iter()
    .map(|message| message.encode(&MESH).to_vec())
    .collect();
    messages.push(polka());
    messages.extend(round_ends());
    messages
}

pub(crate) fn decisions() -> Vec<Vec<u8>> {
    (1..5)
        .map(|count| decision(count).to_bytes().to_vec())
        .collect()
}

pub(crate) fn proofs_of_blame() -> Vec<Vec<u8>> {
    let pair = |phase, one, other| {
        let mut bytes = Vec::new();
        Evidence::Votes(Box::new([vote(phase, one), vote(phase, other)])).encode(&mut bytes);
        bytes
    };
    let mut proposals = Vec::new();
    let pair_of = [proposal(1, Round::Nil), proposal(2, Round::new(1))];
    Evidence::Proposals(Box::new(pair_of)).encode(&mut proposals);
    vec![
        pair(VoteType::Prevote, 1, 2),
        pair(VoteType::Precommit, 0, 2),
        pair(VoteType::Precommit, 1, 0),
        proposals,
    ]
}

pub(crate) fn logs() -> Vec<Vec<u8>> {
    let block = |valid| Record::Block {
        round: Round::new(0),
        valid_round: Round::Nil,
        valid,
        body: vec![9; 100].into(),
    };
    let mut records = vec![
        Record::Height(Height(3)),
        block(true),
        Record::Vote(vote(VoteType::Prevote, 1)),
        block(false),
        Record::Proposal(proposal(1, Round::new(1))),
    ];
    if let Ok(Message::Polka(proof)) = Message::decode(&polka(), &MESH) {
        records.push(Record::Polka(proof));
    }
    (1..=records.len())
        .map(|count| {
            let mut log = Vec::new();
            records[..count]
                .iter()
                .for_each(|record| record.write(&mut log));
            log
        })
        .collect()
}
