//! Bytes: what is written is read, what is not a message is refused, and nothing panics.

use bytes::Bytes;
use hypermesh_consensus::{
    BlockHash, BlockMessage, Certificate, Decided, DecodeError, Evidence, Height, MeshId, Message,
    NilOrVal, Proposal, Record, Round, Sig, Signed, Signer, Vote, VoteType,
};
use hypermesh_id::NodeId;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::MESH;

fn hash() -> impl Strategy<Value = BlockHash> {
    any::<[u8; 32]>().prop_map(BlockHash)
}

fn sig() -> impl Strategy<Value = Sig> {
    any::<[u8; 32]>().prop_map(|half| {
        let mut whole = [0; 64];
        whole[..32].copy_from_slice(&half);
        whole[32..].copy_from_slice(&half);
        Sig(whole)
    })
}

fn node() -> impl Strategy<Value = NodeId> {
    any::<[u8; 32]>().prop_map(NodeId)
}

fn round() -> impl Strategy<Value = Round> {
    prop_oneof![Just(Round::Nil), (0..u32::MAX).prop_map(Round::new)]
}

fn vote() -> impl Strategy<Value = Signed<Vote>> {
    let block = prop_oneof![Just(NilOrVal::Nil), hash().prop_map(NilOrVal::Val)];
    let phase = prop_oneof![Just(VoteType::Prevote), Just(VoteType::Precommit)];
    (phase, any::<u64>(), round(), block, node(), sig()).prop_map(
        |(phase, height, round, block, voter, signature)| Signed {
            statement: Vote {
                phase,
                height: Height(height),
                round,
                block,
                voter: Signer(voter),
            },
            signature,
        },
    )
}

fn proposal() -> impl Strategy<Value = Signed<Proposal>> {
    (any::<u64>(), round(), hash(), round(), node(), sig()).prop_map(
        |(height, round, block, valid_round, proposer, signature)| Signed {
            statement: Proposal {
                height: Height(height),
                round,
                block,
                valid_round,
                proposer: Signer(proposer),
            },
            signature,
        },
    )
}

fn decided() -> impl Strategy<Value = Decided> {
    let signatures = proptest::collection::btree_map(any::<[u8; 32]>(), sig(), 0..9);
    (
        any::<u64>(),
        round(),
        hash(),
        signatures,
        vec(any::<u8>(), 0..99),
    )
        .prop_map(|(height, round, block, signatures, body)| Decided {
            certificate: Certificate {
                height: Height(height),
                round,
                block,
                signatures: signatures
                    .into_iter()
                    .map(|(node, sig)| (NodeId(node), sig))
                    .collect(),
            },
            body: body.into(),
        })
}

fn message() -> impl Strategy<Value = Message> {
    let block = (any::<u64>(), round(), round(), vec(any::<u8>(), 0..99));
    let block = block.prop_map(|(height, round, valid_round, body)| BlockMessage {
        height: Height(height),
        round,
        valid_round,
        body: body.into(),
    });
    prop_oneof![
        vote().prop_map(Message::Vote),
        proposal().prop_map(Message::Proposal),
        block.prop_map(Message::Block),
        vec(vote(), 0..9).prop_map(Message::Retold),
        any::<u64>().prop_map(|height| Message::Status(Height(height))),
        any::<u64>().prop_map(|height| Message::Ask(Height(height))),
        decided().prop_map(Message::Decided),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let block = (round(), round(), any::<bool>(), vec(any::<u8>(), 0..99));
    let block = block.prop_map(|(round, valid_round, valid, body)| Record::Block {
        round,
        valid_round,
        valid,
        body: Bytes::from(body),
    });
    prop_oneof![
        vote().prop_map(Record::Vote),
        proposal().prop_map(Record::Proposal),
        block,
    ]
}

proptest! {
    #[test]
    fn a_message_comes_as_it_went(message in message()) {
        let bytes = message.encode(&MESH);
        prop_assert_eq!(Message::decode(&bytes, &MESH).unwrap(), message);
    }

    #[test]
    fn a_cut_or_longer_message_is_refused(message in message(), cut in any::<prop::sample::Index>()) {
        let bytes = message.encode(&MESH);
        prop_assert!(Message::decode(&bytes[..cut.index(bytes.len())], &MESH).is_err());
        let longer = [&bytes[..], b"x"].concat();
        prop_assert!(Message::decode(&longer, &MESH).is_err());
    }

    #[test]
    fn a_message_of_another_mesh_is_refused(message in message()) {
        let other = MeshId([9; 32]);
        let refused = Message::decode(&message.encode(&other), &MESH);
        prop_assert_eq!(refused, Err(DecodeError::OtherMesh(other)));
    }

    #[test]
    fn noise_is_refused(noise in vec(any::<u8>(), 0..400)) {
        // Mostly; never with a panic.
        let _ = Message::decode(&noise, &MESH);
        let _ = Record::read(&noise);
        let _ = Evidence::decode(&noise);
        let _ = Decided::from_bytes(&noise);
    }

    #[test]
    fn a_changed_message_is_read_as_another_or_not(message in message(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut bytes = message.encode(&MESH).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(other) = Message::decode(&bytes, &MESH) {
            prop_assert_ne!(&other, &message);
            prop_assert_eq!(other.encode(&MESH), bytes, "two texts of one message");
        }
    }

    #[test]
    fn a_log_is_read_to_its_last_whole_record(records in vec(record(), 0..9), cut in any::<prop::sample::Index>()) {
        let mut log = Vec::new();
        let mut ends = vec![0];
        let records: Vec<Record> = std::iter::once(Record::Height(Height(7))).chain(records).collect();
        for record in &records {
            record.write(&mut log);
            ends.push(log.len());
        }
        prop_assert_eq!(Record::read(&log), Ok((records.clone(), log.len())));
        let cut = cut.index(log.len());
        let whole = ends.iter().rposition(|end| *end <= cut).unwrap();
        let (read, bytes) = Record::read(&log[..cut]).unwrap();
        prop_assert_eq!(&read[..], &records[..whole]);
        prop_assert_eq!(bytes, ends[whole]);
        // A tail of zeroes is what some file systems leave of what did not come to the disk.
        let mut zeroes = log[..ends[whole]].to_vec();
        zeroes.extend([0; 70]);
        prop_assert_eq!(Record::read(&zeroes), Ok((read, bytes)));
    }

    #[test]
    fn damage_in_the_middle_of_a_log_is_named(records in vec(record(), 2..9), at in any::<prop::sample::Index>()) {
        let mut log = Vec::new();
        Record::Height(Height(7)).write(&mut log);
        records[1..].iter().for_each(|record| record.write(&mut log));
        let last = log.len();
        records[0].write(&mut log);
        let at = at.index(last);
        // Not in a length: a length that is too long looks like a record that was cut off.
        let mut offset = 0;
        while offset < last {
            let length = u32::from_le_bytes(log[offset..offset + 4].try_into().unwrap()) as usize;
            if (offset..offset + 4).contains(&at) {
                return Ok(());
            }
            offset += 8 + length;
        }
        log[at] ^= 0x10;
        prop_assert!(Record::read(&log).is_err());
    }

    #[test]
    fn a_decision_comes_as_it_went(decided in decided()) {
        prop_assert_eq!(Decided::from_bytes(&decided.to_bytes()).unwrap(), decided);
    }

    #[test]
    fn evidence_comes_as_it_went(a in vote(), b in vote(), c in proposal(), d in proposal()) {
        for evidence in [Evidence::Votes(Box::new([a, b])), Evidence::Proposals(Box::new([c, d]))] {
            let mut bytes = Vec::new();
            evidence.encode(&mut bytes);
            prop_assert_eq!(Evidence::decode(&bytes).unwrap(), evidence);
        }
    }
}

#[test]
fn counts_that_lie_reserve_nothing() {
    // A retelling that says it has a thousand votes and has none.
    let mut bytes = Message::Retold(Vec::new()).encode(&MESH).to_vec();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&1000u32.to_le_bytes());
    assert_eq!(
        Message::decode(&bytes, &MESH),
        Err(DecodeError::Short("votes"))
    );
    bytes[end - 4..].copy_from_slice(&u32::MAX.to_le_bytes());
    let refused = Message::decode(&bytes, &MESH);
    assert!(
        matches!(refused, Err(DecodeError::TooMany { what: "votes", .. })),
        "{refused:?}"
    );
}
