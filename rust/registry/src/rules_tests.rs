//! Limits that take many heights or many keys to reach: on a state of their own, without blocks or signatures.

use ed25519_dalek::SigningKey;
use hypermesh_consensus::{
    BlockHash, Evidence, Height, Key as Secret, NilOrVal, Round, Sig, Sign, Signed, Signer,
    VOTERS_MAX, Vote, VoteType,
};
use hypermesh_id::{BlockId, NodeId, Root};

use crate::entry::{Entry, Key, Member};
use crate::genesis::{Description, Genesis};
use crate::mempool::{Mempool, MempoolLimits, Rejected};
use crate::name::Name;
use crate::outcome::{Outcome, Refusal};
use crate::parameters::{Parameter, Parameters};
use crate::rules::{ACCUSED_HEIGHTS, Work};
use crate::state::State;
use crate::transaction::{Action, Expect, Motion, Transaction, TransactionId, Verified};

const REFUSED: fn(Refusal) -> Outcome = Outcome::Refused;

fn secret(number: u8) -> Secret {
    let mut seed = [1; 32];
    seed[0] = number;
    Secret(SigningKey::from_bytes(&seed))
}

fn node(number: u8) -> NodeId {
    secret(number).node()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn root(number: u8) -> Root {
    Root(BlockId([number; 32]))
}

/// So many voters, and then so many learners of the first.
fn state(voters: u8, learners: u8) -> State {
    let parameters = Parameters::default();
    let genesis = Genesis::found(&secret(0), [0; 16], 0, parameters, Description::default());
    let mut state = State::new(&genesis.unwrap()).unwrap();
    for number in 1..voters + learners {
        let member = Member {
            voter: number < voters,
            inviter: node(0),
            invitation: [number; 16],
            since: 0,
            description: Description::default(),
        };
        state.put(Key::Member(node(number)), Entry::Member(member));
    }
    state.count(node(0), |counted| counted.learners = learners.into());
    let mut nodes: Vec<NodeId> = (0..voters).map(node).collect();
    nodes.sort_unstable();
    state.set_voters(nodes, 1, 0).unwrap();
    state.settle();
    state
}

fn transaction(author: u8, sequence: u64, action: Action) -> Transaction {
    Transaction {
        author: node(author),
        sequence,
        until: 10_000,
        action,
        signature: Sig([0; 64]),
    }
}

/// In a block of its own.
fn act(state: &mut State, height: u64, author: u8, action: Action) -> Outcome {
    let sequence = state.author(&node(author)).map_or(0, |one| one.sequence) + 1;
    let mut work = Work::new(state, height);
    let outcome = work
        .execute(&transaction(author, sequence, action))
        .unwrap();
    *state = work.finish();
    assert_eq!(state.root(), state.root_anew());
    outcome
}

fn limit(state: &mut State, parameter: Parameter, value: u64) {
    let mut parameters = state.parameters().clone();
    parameters.set(parameter, value);
    state.set_parameters(parameters);
}

fn set(text: &str) -> Action {
    Action::SetName {
        name: name(text),
        root: root(1),
        expect: Expect::Any,
    }
}

fn give(text: &str, to: Option<u8>) -> Action {
    Action::Delegate {
        prefix: name(text),
        to: to.map(node),
    }
}

fn admit(number: u8) -> Action {
    Action::Admit {
        node: node(number),
        invitation: [number; 16],
        description: Description::default(),
    }
}

#[test]
fn a_mesh_has_so_many_voters_and_no_more() {
    let most = VOTERS_MAX as u8;
    let mut full = state(most, 1);
    let promote = Action::Move(Motion::Promote(node(most)));
    assert_eq!(
        act(&mut full, 1, 3, promote.clone()),
        REFUSED(Refusal::TooManyVoters)
    );
    // One steps down, and all but a third of the others agree on who comes instead.
    assert_eq!(
        act(&mut full, 2, 7, Action::Leave { node: node(7) }),
        Outcome::Done
    );
    let needed = full.voters().quorum();
    assert_eq!(needed, 85);
    let mut said = 0;
    for number in (0..most).filter(|number| *number != 7) {
        said += 1;
        let outcome = act(&mut full, 3, number, promote.clone());
        if said == needed {
            assert_eq!(outcome, Outcome::Done);
            break;
        }
        let (said, needed) = (said as u16, needed as u16);
        assert_eq!(outcome, Outcome::Waits { said, needed });
    }
    assert_eq!(full.voters().len(), VOTERS_MAX);
    assert_eq!(
        act(&mut full, 4, 3, Action::Move(Motion::Promote(node(7)))),
        REFUSED(Refusal::TooManyVoters)
    );
}

#[test]
fn a_motion_falls_in_time() {
    let mut mesh = state(4, 1);
    limit(&mut mesh, Parameter::MotionHeights, 10);
    limit(&mut mesh, Parameter::MotionsPerVoter, 1);
    let promote = || Action::Move(Motion::Promote(node(4)));
    let waits = |said| Outcome::Waits { said, needed: 3 };
    assert_eq!(act(&mut mesh, 1, 0, promote()), waits(1));
    // Until height 11 it counts, after it what was said is not.
    assert_eq!(act(&mut mesh, 11, 1, promote()), waits(2));
    assert_eq!(act(&mut mesh, 12, 2, promote()), waits(1));
    assert_eq!(mesh.motions().count(), 1);
    assert_eq!(mesh.author(&node(0)).unwrap().motions, 0);
    // One that fell keeps nobody from another.
    let other = Action::Move(Motion::Demote(node(3)));
    assert_eq!(
        act(&mut mesh, 13, 2, other.clone()),
        REFUSED(Refusal::Quota)
    );
    assert_eq!(act(&mut mesh, 23, 2, other), waits(1));
    let open: Vec<Motion> = mesh.motions().map(|(motion, _)| motion.clone()).collect();
    assert_eq!(open, [Motion::Demote(node(3))]);
    // Anew, and carried by those who say it now.
    assert_eq!(act(&mut mesh, 24, 0, promote()), waits(1));
    assert_eq!(act(&mut mesh, 24, 0, promote()), REFUSED(Refusal::Said));
    assert_eq!(act(&mut mesh, 34, 1, promote()), waits(2));
    assert_eq!(act(&mut mesh, 34, 3, promote()), Outcome::Done);
}

#[test]
fn the_last_voter_keeps_its_vote_and_the_mark() {
    let mut mesh = state(1, 1);
    let vote = |block: u8| {
        let statement = Vote {
            phase: VoteType::Prevote,
            height: Height(3),
            round: Round::new(0),
            block: NilOrVal::Val(BlockHash([block; 32])),
            voter: Signer(node(0)),
        };
        let signature = secret(0).sign(&statement.sign_bytes(&mesh.mesh()));
        Signed {
            statement,
            signature,
        }
    };
    let evidence = Evidence::Votes(Box::new([vote(1), vote(2)]));
    let accuse = Action::Accuse(Box::new(evidence));
    assert_eq!(act(&mut mesh, 4, 1, accuse.clone()), Outcome::Done);
    assert_eq!(act(&mut mesh, 4, 1, accuse), REFUSED(Refusal::Present));
    assert!(mesh.conviction(&node(0)).is_some() && mesh.voters().contains(&node(0)));
    // Once another votes it can be demoted, and never comes back.
    let promote = |number| Action::Move(Motion::Promote(node(number)));
    assert_eq!(act(&mut mesh, 5, 0, promote(1)), Outcome::Done);
    let leave = Action::Leave { node: node(0) };
    assert_eq!(act(&mut mesh, 6, 0, leave), Outcome::Done);
    assert_eq!(
        act(&mut mesh, 7, 1, promote(0)),
        REFUSED(Refusal::Convicted)
    );
}

#[test]
fn members_pins_and_delegations_have_a_most() {
    let mut mesh = state(1, 1);
    limit(&mut mesh, Parameter::Members, 3);
    assert_eq!(act(&mut mesh, 1, 0, admit(2)), Outcome::Done);
    assert_eq!(act(&mut mesh, 1, 0, admit(3)), REFUSED(Refusal::Full));
    let leave = Action::Leave { node: node(2) };
    assert_eq!(act(&mut mesh, 2, 2, leave), Outcome::Done);
    assert_eq!(act(&mut mesh, 3, 0, admit(3)), Outcome::Done);

    limit(&mut mesh, Parameter::PinsPerAuthor, 2);
    let pin = |number, copies| Action::Pin {
        root: root(number),
        copies,
        domains: 1,
    };
    assert_eq!(act(&mut mesh, 4, 1, pin(1, 1)), Outcome::Done);
    assert_eq!(act(&mut mesh, 4, 1, pin(2, 1)), Outcome::Done);
    assert_eq!(act(&mut mesh, 4, 1, pin(3, 1)), REFUSED(Refusal::Quota));
    // What is there may be changed, and another's account is another.
    assert_eq!(act(&mut mesh, 4, 1, pin(2, 9)), Outcome::Done);
    assert_eq!(act(&mut mesh, 4, 0, pin(3, 1)), Outcome::Done);
    let unpin = Action::Unpin { root: root(1) };
    assert_eq!(act(&mut mesh, 5, 1, unpin), Outcome::Done);
    assert_eq!(act(&mut mesh, 5, 1, pin(3, 1)), Outcome::Done);

    limit(&mut mesh, Parameter::DelegationsPerAuthor, 2);
    for text in ["a", "b", "c"] {
        assert_eq!(act(&mut mesh, 6, 1, set(text)), Outcome::Done);
    }
    assert_eq!(act(&mut mesh, 7, 1, give("a", Some(8))), Outcome::Done);
    assert_eq!(act(&mut mesh, 7, 1, give("b", Some(8))), Outcome::Done);
    assert_eq!(
        act(&mut mesh, 7, 1, give("c", Some(8))),
        REFUSED(Refusal::Quota)
    );
    // A stranger's are on the account of the member that let it in.
    assert_eq!(
        act(&mut mesh, 8, 8, give("a/x", Some(9))),
        REFUSED(Refusal::Quota)
    );
    assert_eq!(act(&mut mesh, 8, 1, give("b", None)), Outcome::Done);
    assert_eq!(act(&mut mesh, 9, 8, give("a/x", Some(9))), Outcome::Done);
    assert_eq!(
        act(&mut mesh, 9, 1, give("c", Some(8))),
        REFUSED(Refusal::Quota)
    );
    // Passing on what one has takes no more of them.
    assert_eq!(act(&mut mesh, 9, 9, give("a/x", Some(7))), Outcome::Done);
    assert_eq!(mesh.author(&node(1)).unwrap().delegations, 2);
}

#[test]
fn voters_of_long_ago_are_forgotten_and_no_others() {
    let mut mesh = state(2, 0);
    let mut at = Vec::new();
    for change in 0..60_u64 {
        let height = 1 + change * 100;
        let nodes = if change % 2 == 0 {
            vec![node(0)]
        } else {
            let mut both = vec![node(0), node(1)];
            both.sort_unstable();
            both
        };
        let kept = height.saturating_sub(ACCUSED_HEIGHTS);
        mesh.set_voters(nodes.clone(), height + 1, kept).unwrap();
        mesh.settle();
        at.push((height + 1, nodes.len()));
        for back in [0, 1, 99, 100, 101, 550, ACCUSED_HEIGHTS] {
            let Some(asked) = (height + 1).checked_sub(back).filter(|asked| *asked > 1) else {
                continue;
            };
            let then = at.iter().rev().find(|(from, _)| *from <= asked);
            let voters = mesh.voters_of(asked).map(|voters| voters.len());
            assert_eq!(voters, then.map(|(_, count)| *count), "{asked} at {height}");
        }
        let sets = mesh
            .entries()
            .filter(|(key, _)| matches!(key, Key::VotersFrom(_)));
        assert!(sets.count() <= ACCUSED_HEIGHTS as usize / 100 + 3);
    }
    assert!(mesh.voters_of(1).is_none());
}

fn waiting(author: u8, sequence: u64) -> Verified {
    let transaction = transaction(author, sequence, set("a"));
    let bytes = transaction.to_bytes();
    Verified {
        id: TransactionId::of(&bytes),
        transaction,
        bytes,
    }
}

#[test]
fn who_has_most_waiting_gives_way() {
    let state = state(1, 3);
    let cost = waiting(0, 1).bytes.len() + 512;
    let mut pool = Mempool::new(MempoolLimits {
        bytes: 6 * cost,
        author_bytes: usize::MAX / 2,
        author_transactions: usize::MAX,
    });
    let count = |pool: &Mempool, author| pool.of(&node(author)).count();
    for sequence in 1..=6 {
        assert_eq!(pool.insert(&state, 1, waiting(0, sequence)), Ok(true));
    }
    assert_eq!(pool.insert(&state, 1, waiting(0, 7)), Err(Rejected::Full));
    // Each of another takes the last of the one with the most, until both have as much.
    for sequence in 1..=3 {
        assert_eq!(pool.insert(&state, 1, waiting(1, sequence)), Ok(true));
        assert_eq!(count(&pool, 0), 6 - sequence as usize);
    }
    assert_eq!(pool.insert(&state, 1, waiting(1, 4)), Err(Rejected::Full));
    for author in [2, 3] {
        assert_eq!(pool.insert(&state, 1, waiting(author, 1)), Ok(true));
    }
    assert_eq!(
        [0, 1, 2, 3].map(|author| count(&pool, author)),
        [2, 2, 1, 1]
    );
    assert!(pool.bytes() <= 6 * cost && pool.len() == 6);
    // What is there is there once, and its sequence is taken.
    assert_eq!(pool.insert(&state, 1, waiting(2, 1)), Ok(false));
    let mut other = waiting(2, 1);
    other.id = TransactionId([0; 32]);
    assert_eq!(pool.insert(&state, 1, other), Err(Rejected::Taken(1)));
    // One of each in turn, and each by sequence.
    for height in 0..20 {
        let turns: Vec<(NodeId, u64)> = pool
            .turns(height)
            .map(|one| (one.transaction.author, one.transaction.sequence))
            .collect();
        assert_eq!(turns.len(), 6);
        let mut first: Vec<NodeId> = turns[..4].iter().map(|one| one.0).collect();
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), 4, "at height {height}");
        assert!(turns[..4].iter().all(|one| one.1 == 1));
        assert!(turns[4..].iter().all(|one| one.1 == 2));
    }
}

#[test]
fn one_author_fills_its_part_only() {
    let state = state(1, 1);
    let cost = waiting(0, 1).bytes.len() + 512;
    let limits = |author_bytes, author_transactions| MempoolLimits {
        bytes: 100 * cost,
        author_bytes,
        author_transactions,
    };
    for limits in [limits(3 * cost, 50), limits(50 * cost, 3)] {
        let mut pool = Mempool::new(limits);
        for sequence in 1..=3 {
            assert_eq!(pool.insert(&state, 1, waiting(0, sequence)), Ok(true));
        }
        assert_eq!(pool.insert(&state, 1, waiting(0, 4)), Err(Rejected::Quota));
        assert_eq!(pool.insert(&state, 1, waiting(1, 1)), Ok(true));
        // Past their last height they can be decided no more.
        assert_eq!(pool.prune(&state, 10_000).len(), 0);
        assert_eq!(pool.prune(&state, 10_001).len(), 4);
        assert!(pool.is_empty() && pool.bytes() == 0);
    }
}
