//! Blocks that a liar leaves no place for.

use bytes::Bytes;
use hypermesh_consensus::{
    BlockHash, Height, Key, Message, NilOrVal, Output, Record, Replica, Round, Sign, VoteType,
};

use super::log::{number, proposal, proposal_again, signed_vote};
use super::small::{Numbers, replica};
use crate::{key, voters};

fn body(text: &[u8]) -> Bytes {
    [&1u64.to_le_bytes()[..], text].concat().into()
}

/// The watched voter: it proposes in neither of the first two rounds.
fn watched() -> u8 {
    let voters = voters(4);
    let proposers = [0, 1].map(|round| number(&voters, Height(1), round));
    (0..4).find(|me| !proposers.contains(me)).unwrap()
}

/// Tells a voter these at a time, and answers its prevotes.
fn tell(
    voter: &mut Replica<Numbers, Key>,
    now: u64,
    story: Vec<(u8, Message)>,
    log: &mut Vec<u8>,
) -> Vec<(Round, NilOrVal<BlockHash>)> {
    let mut prevotes = Vec::new();
    for (from, message) in story {
        voter.message(now, key(from).node(), message).unwrap();
    }
    voter.elapsed(now).unwrap();
    while let Some(output) = voter.poll_output() {
        match output {
            Output::Append(bytes) => log.extend(bytes),
            Output::Broadcast(Message::Vote(vote)) if vote.statement.phase == VoteType::Prevote => {
                prevotes.push((vote.statement.round, vote.statement.block));
            }
            _ => {}
        }
    }
    prevotes
}

/// Round 0: its liar fills the two places that the core has for a round at this voter, tells the others another block, which
/// comes here last, and all but this voter are locked on that.
fn filled(me: u8) -> Vec<(u8, Message)> {
    let liar = number(&voters(4), Height(1), 0);
    let [first, _] = proposal(liar, 0, &body(b"first"));
    let [_, second] = proposal(liar, 0, &body(b"second"));
    let [third, _] = proposal(liar, 0, &body(b"third"));
    let block = NilOrVal::Val(BlockHash::of(&body(b"third")));
    let mut story: Vec<_> = [first, second, third].map(|message| (liar, message)).into();
    for by in (0..4).filter(|by| *by != me) {
        story.push((by, signed_vote(by, VoteType::Prevote, 0, block)));
    }
    for by in (0..4).filter(|by| *by != me) {
        let none = signed_vote(by, VoteType::Precommit, 0, NilOrVal::Nil);
        story.push((by, none));
    }
    story
}

/// Such a voter had the block, took it for known when it was proposed again, and did not vote for it in any round: with the
/// liar silent the mesh stood still for ever.
#[test]
fn a_block_that_had_no_place_is_voted_for_when_it_is_proposed_again() {
    let me = watched();
    let next = number(&voters(4), Height(1), 1);
    let third = body(b"third");
    let again = proposal_again(next, 1, Round::ZERO, &third);
    let orders = [
        vec![again[0].clone(), again[1].clone()],
        vec![again[1].clone(), again[0].clone()],
        // It has the block: the proposal alone is enough.
        vec![again[1].clone()],
    ];
    for order in orders {
        let (mut voter, mut log) = (replica(me, 4, 1, Vec::new()), Vec::new());
        tell(&mut voter, 0, filled(me), &mut log);
        let mut now = 0;
        while voter.round() == Round::ZERO {
            now = voter.deadline().max(now);
            tell(&mut voter, now, Vec::new(), &mut log);
        }
        assert_eq!(voter.round(), Round::new(1));
        let order: Vec<_> = order.into_iter().map(|message| (next, message)).collect();
        let prevotes = tell(&mut voter, now, order, &mut log);
        let block = NilOrVal::Val(BlockHash::of(&third));
        assert_eq!(prevotes.first(), Some(&(Round::new(1), block)));
        // After a restart it has said the same.
        let (records, _) = Record::read(&log).unwrap();
        let mut voter = replica(me, 4, 1, records);
        let told: Vec<_> = std::iter::from_fn(|| voter.poll_output()).collect();
        let votes = told.iter().filter_map(|output| match output {
            Output::Broadcast(Message::Vote(vote)) => Some(&vote.statement),
            _ => None,
        });
        for vote in votes.filter(|vote| vote.round == Round::new(1)) {
            assert_eq!((vote.phase, vote.block), (VoteType::Prevote, block));
        }
    }
}
