//! The log at every byte: whatever of it came to the disk, a node that starts again never says another thing than before.

use std::collections::BTreeMap;

use bytes::Bytes;
use hypermesh_consensus::{
    BlockHash, BlockMessage, Height, Message, NilOrVal, Output, Proposal, Record, ReplicaError,
    Round, Sign, Signed, Signer, Vote, VoteType, Voters,
};

use super::small::replica;
use crate::{MESH, key, voters};

/// Number of the voter that is watched; the others are played by the test, with their keys.
const ME: u8 = 1;

pub(super) fn number(voters: &Voters, height: Height, round: u32) -> u8 {
    let turn = (height.0 + u64::from(round)) as usize % voters.len();
    let node = voters.nodes().nth(turn).unwrap();
    (0..4).find(|number| key(*number).node() == node).unwrap()
}

pub(super) fn signed_vote(
    by: u8,
    phase: VoteType,
    round: u32,
    block: NilOrVal<BlockHash>,
) -> Message {
    let statement = Vote {
        phase,
        height: Height(1),
        round: Round::new(round),
        block,
        voter: Signer(key(by).node()),
    };
    let signature = key(by).sign(&statement.sign_bytes(&MESH));
    Message::Vote(Signed {
        statement,
        signature,
    })
}

pub(super) fn proposal(by: u8, round: u32, body: &Bytes) -> [Message; 2] {
    proposal_again(by, round, Round::Nil, body)
}

/// A proposal of a block that had a quorum of prevotes in an earlier round.
pub(super) fn proposal_again(by: u8, round: u32, valid_round: Round, body: &Bytes) -> [Message; 2] {
    let statement = Proposal {
        height: Height(1),
        round: Round::new(round),
        block: BlockHash::of(body),
        valid_round,
        proposer: Signer(key(by).node()),
    };
    let signature = key(by).sign(&statement.sign_bytes(&MESH));
    let block = BlockMessage {
        height: Height(1),
        round: Round::new(round),
        valid_round,
        body: body.clone(),
    };
    [
        Message::Block(block),
        Message::Proposal(Signed {
            statement,
            signature,
        }),
    ]
}

type Said = BTreeMap<(Round, VoteType), NilOrVal<BlockHash>>;

/// The runtime: what is on the disk, and what was said.
#[derive(Default)]
struct Runtime {
    log: Vec<u8>,
    durable: usize,
    said: Said,
    twice: bool,
}

impl Runtime {
    fn carry_out(&mut self, output: Output) {
        match output {
            Output::NewLog => self.log.clear(),
            Output::Append(bytes) => self.log.extend(bytes),
            Output::Flush => self.durable = self.log.len(),
            Output::Broadcast(Message::Vote(vote)) => {
                let vote = vote.statement;
                assert_eq!(vote.voter.0, key(ME).node());
                let first = self
                    .said
                    .entry((vote.round, vote.phase))
                    .or_insert(vote.block);
                self.twice |= *first != vote.block;
            }
            _ => {}
        }
    }
}

/// What the others say so that the watched voter votes, locks a block in round 0, and sees another in round 1.
fn first_story() -> Vec<(u8, Message)> {
    let voters = voters(4);
    let body = Bytes::from([&1u64.to_le_bytes()[..], b"first"].concat());
    let block = NilOrVal::Val(BlockHash::of(&body));
    let proposer = number(&voters, Height(1), 0);
    let mut story: Vec<(u8, Message)> = proposal(proposer, 0, &body)
        .map(|message| (proposer, message))
        .into();
    for by in [0, 2, 3] {
        story.push((by, signed_vote(by, VoteType::Prevote, 0, block)));
    }
    // The round ends without a decision.
    for by in [0, 2, 3] {
        story.push((by, signed_vote(by, VoteType::Precommit, 0, NilOrVal::Nil)));
    }
    story
}

/// Another story of the same rounds, in which the others push for another block and for none.
fn second_story() -> Vec<(u8, Message)> {
    let voters = voters(4);
    let mut story = Vec::new();
    for round in [0, 1] {
        let body = Bytes::from([&1u64.to_le_bytes()[..], b"second"].concat());
        let block = NilOrVal::Val(BlockHash::of(&body));
        let proposer = number(&voters, Height(1), round);
        story.extend(proposal(proposer, round, &body).map(|message| (proposer, message)));
        for phase in [VoteType::Prevote, VoteType::Precommit] {
            for by in [0, 2] {
                story.push((by, signed_vote(by, phase, round, block)));
            }
            story.push((3, signed_vote(3, phase, round, NilOrVal::Nil)));
        }
    }
    story
}

/// After each thing that the watched voter does in the first story: what is durable of its log, the log, what it said.
fn points() -> Vec<(usize, Vec<u8>, Said)> {
    let mut points = Vec::new();
    let mut runtime = Runtime::default();
    let mut voter = replica(ME, 4, 1, Vec::new());
    let mut drain = |voter: &mut hypermesh_consensus::Replica<_, _>| {
        while let Some(output) = voter.poll_output() {
            runtime.carry_out(output);
            let point = (runtime.durable, runtime.log.clone(), runtime.said.clone());
            if points.last() != Some(&point) {
                points.push(point);
            }
        }
    };
    let mut now = 0;
    for (from, message) in first_story() {
        now += 1_000_000;
        voter.message(now, key(from).node(), message).unwrap();
        drain(&mut voter);
    }
    // The rest of the round, and the next without a proposal.
    for _ in 0..4 {
        now += 2_000_000_000;
        voter.elapsed(now).unwrap();
        drain(&mut voter);
    }
    points
}

/// Starts again with this log, after having said this, and lives through the second story. Whether it said something twice.
fn twice(log: &[u8], said: &Said) -> bool {
    let (records, whole) = Record::read(log).unwrap();
    let mut runtime = Runtime {
        log: log[..whole].to_vec(),
        durable: whole,
        said: said.clone(),
        twice: false,
    };
    let mut voter = replica(ME, 4, 1, records);
    let mut now = 0;
    for (from, message) in second_story() {
        while let Some(output) = voter.poll_output() {
            runtime.carry_out(output);
        }
        now += 1_000_000;
        voter.message(now, key(from).node(), message).unwrap();
    }
    voter.elapsed(now + 3_000_000_000).unwrap();
    while let Some(output) = voter.poll_output() {
        runtime.carry_out(output);
    }
    runtime.twice
}

#[test]
fn cut_anywhere_it_never_votes_twice() {
    // The watched voter is not the first proposer, so that it votes on what others propose.
    assert_ne!(number(&voters(4), Height(1), 0), ME);
    let points = points();
    let said = &points.last().unwrap().2;
    assert!(said.len() >= 3, "the story makes it vote: {said:?}");
    let mut tried = 0;
    for (durable, log, said) in &points {
        for cut in *durable..=log.len() {
            assert!(!twice(&log[..cut], said), "cut at {cut} of {}", log.len());
            tried += 1;
        }
    }
    println!("{tried} restarts at {} points", points.len());
    assert!(tried > 1000);
}

#[test]
fn without_its_log_it_would() {
    // The control: the same test finds a node that forgets.
    let points = points();
    assert!(twice(&[], &points.last().unwrap().2));
}

#[test]
fn a_log_ahead_of_the_decisions_stops_the_node() {
    let mut log = Vec::new();
    Record::Height(Height(9)).write(&mut log);
    let (records, _) = Record::read(&log).unwrap();
    let config = hypermesh_consensus::Config {
        mesh: MESH,
        timeouts: hypermesh_consensus::Timeouts::default(),
    };
    let machine = super::small::Numbers {
        work: 0,
        voters: voters(4),
        tag: 0,
    };
    let refused = hypermesh_consensus::Replica::new(
        config,
        key(0),
        machine,
        (Height(3), voters(4)),
        records,
        0,
    );
    let expected = ReplicaError::Missing {
        log: Height(9),
        decided: 2,
    };
    assert_eq!(refused.err(), Some(expected));
}
