//! One malicious voter of four, and any number of malicious learners.

use hypermesh_consensus::{
    BlockHash, Evidence, Height, Machine, MeshId, NilOrVal, Round, Sign, Signed, Signer, Vote,
    VoteType,
};
use hypermesh_registry::{
    Action, Expect, Key as StateKey, LIFETIME, Motion, Outcome, Parameter, Refusal, Rejected,
    Transaction, read_block,
};

use crate::*;

fn refused(why: Refusal) -> Outcome {
    Outcome::Refused(why)
}

#[test]
fn names_are_compared_and_owned() {
    let mut mesh = Mesh::new(1, 2);
    assert_eq!(mesh.act(1, set("a/b", 1, Expect::Absent)), Outcome::Done);
    assert_eq!(
        mesh.act(1, set("a/b", 2, Expect::Absent)),
        refused(Refusal::Conflict(Some(root(1))))
    );
    assert_eq!(
        mesh.act(1, set("a/b", 2, Expect::Root(root(1)))),
        Outcome::Done
    );
    assert_eq!(
        mesh.act(2, set("a/b", 3, Expect::Any)),
        refused(Refusal::NotOwner)
    );
    let delete = Action::DeleteName {
        name: name("a/b"),
        expect: Expect::Any,
    };
    assert_eq!(mesh.act(2, delete.clone()), refused(Refusal::NotOwner));
    assert_eq!(mesh.act(1, delete.clone()), Outcome::Done);
    assert_eq!(mesh.act(1, delete), refused(Refusal::Absent));
    assert_eq!(mesh.act(2, set("a/b", 3, Expect::Absent)), Outcome::Done);
    let (value, proof) = mesh.ledger.state().prove(&StateKey::Name(name("a/b")));
    let at = mesh.ledger.state().root();
    assert!(proof.shows(&at, &StateKey::Name(name("a/b")), value.as_deref()));
    assert!(!proof.shows(&at, &StateKey::Name(name("a/b")), None));
    let (none, proof) = mesh.ledger.state().prove(&StateKey::Name(name("a/c")));
    assert!(none.is_none() && proof.shows(&at, &StateKey::Name(name("a/c")), None));
    assert!(!proof.shows(&at, &StateKey::Name(name("a/b")), None));
}

#[test]
fn strangers_replays_and_other_meshes_are_refused() {
    let mut mesh = Mesh::new(1, 1);
    let stranger = mesh.signed(9, set("a", 1, Expect::Any));
    assert!(matches!(
        mesh.ledger.submit(&stranger.to_bytes()),
        Err(Rejected::Invalid(_))
    ));
    let foreign = Transaction::sign(&key(1), &MeshId([1; 32]), 1, 50, set("a", 1, Expect::Any));
    assert_eq!(
        mesh.ledger.submit(&foreign.to_bytes()),
        Err(Rejected::Signature)
    );
    let once = mesh.signed(1, set("a", 1, Expect::Any));
    mesh.ledger.submit(&once.to_bytes()).unwrap();
    assert_eq!(mesh.decide(), [Outcome::Done]);
    assert!(mesh.ledger.submit(&once.to_bytes()).is_err());
    let far = Transaction::sign(
        &key(1),
        &mesh.ledger.mesh(),
        9,
        LIFETIME * 2,
        set("a", 1, Expect::Any),
    );
    assert!(mesh.ledger.submit(&far.to_bytes()).is_err());
    assert_eq!(mesh.ledger.mempool().len(), 0);
}

#[test]
fn the_last_sequence_hurts_its_author_only() {
    let mut mesh = Mesh::new(1, 2);
    let height = mesh.ledger.next_height().0;
    let last = Transaction::sign(
        &key(1),
        &mesh.ledger.mesh(),
        u64::MAX,
        height,
        set("a", 1, Expect::Any),
    );
    mesh.ledger.submit(&last.to_bytes()).unwrap();
    assert_eq!(mesh.decide(), [Outcome::Done]);
    let next = mesh.signed(1, set("a", 2, Expect::Any));
    assert!(mesh.ledger.submit(&next.to_bytes()).is_err());
    assert_eq!(mesh.act(2, set("b", 2, Expect::Any)), Outcome::Done);
}

#[test]
fn a_block_that_lies_is_refused() {
    let mut mesh = Mesh::new(1, 1);
    let transaction = mesh.signed(1, set("a", 1, Expect::Any));
    mesh.ledger.submit(&transaction.to_bytes()).unwrap();
    let height = mesh.ledger.next_height();
    let block = mesh.ledger.propose(height);
    assert_eq!(read_block(&block).unwrap().1.len(), 1);
    // Head fields, the reserved bytes, the transaction, its signature: no byte may be another.
    for place in 0..block.len() {
        let mut changed = block.to_vec();
        changed[place] ^= 1;
        let free = (78..86).contains(&place)
            && u64::from_le_bytes(changed[78..86].try_into().unwrap()) >= 1000;
        assert_eq!(
            mesh.other.check(height, &changed).is_ok(),
            free,
            "byte {place}"
        );
    }
    mesh.other.check(height, &block).unwrap();
    assert!(mesh.other.check(Height(height.0 + 1), &block).is_err());
}

#[test]
fn one_voter_of_four_decides_nothing() {
    let mut mesh = Mesh::new(4, 2);
    for motion in [
        Motion::Promote(node(4)),
        Motion::Demote(node(0)),
        Motion::Remove(node(1)),
        parameter(Parameter::Members, 1),
    ] {
        assert_eq!(
            mesh.act(3, Action::Move(motion.clone())),
            Outcome::Waits { said: 1, needed: 3 }
        );
        assert_eq!(
            mesh.act(3, Action::Move(motion.clone())),
            refused(Refusal::Said)
        );
        assert_eq!(
            mesh.act(4, Action::Move(motion)),
            refused(Refusal::NotVoter)
        );
    }
    assert_eq!(mesh.act(4, admit(9)), refused(Refusal::NotVoter));
    assert_eq!(
        mesh.act(3, Action::Leave { node: node(4) }),
        refused(Refusal::NotAllowed)
    );
    assert_eq!(mesh.act(0, Action::Leave { node: node(4) }), Outcome::Done);
    assert_eq!(mesh.ledger.state().voters().len(), 4);
    mesh.agree(3, parameter(Parameter::MotionsPerVoter, 4));
    assert_eq!(
        mesh.act(3, Action::Move(Motion::Demote(node(2)))),
        refused(Refusal::Quota)
    );
}

#[test]
fn what_a_lost_voter_said_is_gone() {
    let mut mesh = Mesh::new(4, 1);
    let promote = Action::Move(Motion::Promote(node(4)));
    assert_eq!(
        mesh.act(3, promote.clone()),
        Outcome::Waits { said: 1, needed: 3 }
    );
    mesh.agree(3, Motion::Demote(node(3)));
    assert_eq!(mesh.ledger.state().voters().len(), 3);
    assert_eq!(
        mesh.act(0, promote.clone()),
        Outcome::Waits { said: 1, needed: 3 }
    );
    mesh.agree(3, Motion::Promote(node(3)));
    // It votes again, and has not said so.
    assert_eq!(
        mesh.act(1, promote.clone()),
        Outcome::Waits { said: 2, needed: 3 }
    );
    assert_eq!(mesh.act(3, promote), Outcome::Done);
}

#[test]
fn the_last_voter_stays() {
    let mut mesh = Mesh::new(1, 1);
    assert_eq!(
        mesh.act(0, Action::Leave { node: node(0) }),
        refused(Refusal::LastVoter)
    );
    assert_eq!(
        mesh.act(0, Action::Move(Motion::Remove(node(0)))),
        refused(Refusal::LastVoter)
    );
    mesh.agree(1, Motion::Promote(node(1)));
    assert_eq!(mesh.act(0, Action::Leave { node: node(0) }), Outcome::Done);
    assert_eq!(
        mesh.act(1, Action::Leave { node: node(1) }),
        refused(Refusal::LastVoter)
    );
}

pub(crate) fn double_vote(mesh: MeshId, number: u8, height: u64) -> Evidence {
    let vote = |block: u8| {
        let statement = Vote {
            phase: VoteType::Precommit,
            height: Height(height),
            round: Round::new(0),
            block: NilOrVal::Val(BlockHash([block; 32])),
            voter: Signer(node(number)),
        };
        let signature = key(number).sign(&statement.sign_bytes(&mesh));
        Signed {
            statement,
            signature,
        }
    };
    Evidence::Votes(Box::new([vote(1), vote(2)]))
}

#[test]
fn a_proven_liar_never_votes_again() {
    let mut mesh = Mesh::new(4, 1);
    let (id, height) = (mesh.ledger.mesh(), mesh.ledger.tip().height);
    let accuse = |evidence| Action::Accuse(Box::new(evidence));
    assert_eq!(
        mesh.act(4, accuse(double_vote(id, 4, height))),
        refused(Refusal::NoEvidence)
    );
    assert_eq!(
        mesh.act(4, accuse(double_vote(MeshId([1; 32]), 3, height))),
        refused(Refusal::NoEvidence)
    );
    assert_eq!(
        mesh.act(4, accuse(double_vote(id, 3, height + 1000))),
        refused(Refusal::Old)
    );
    // Of a height at which it did not vote yet.
    assert_eq!(
        mesh.act(4, accuse(double_vote(id, 3, 1))),
        refused(Refusal::NoEvidence)
    );
    // It was removed since, and brings it itself: that helps nobody.
    mesh.agree(3, Motion::Demote(node(3)));
    assert_eq!(
        mesh.act(3, accuse(double_vote(id, 3, height))),
        Outcome::Done
    );
    assert_eq!(
        mesh.act(0, accuse(double_vote(id, 3, height))),
        refused(Refusal::Present)
    );
    assert_eq!(
        mesh.act(0, Action::Move(Motion::Promote(node(3)))),
        refused(Refusal::Convicted)
    );
    mesh.agree(3, Motion::Remove(node(3)));
    assert_eq!(mesh.act(0, admit(3)), Outcome::Done);
    assert_eq!(
        mesh.act(0, Action::Move(Motion::Promote(node(3)))),
        refused(Refusal::Convicted)
    );
    // One that votes loses its vote at once.
    let height = mesh.ledger.tip().height;
    assert_eq!(
        mesh.act(4, accuse(double_vote(id, 2, height))),
        Outcome::Done
    );
    assert!(!mesh.ledger.state().voters().contains(&node(2)));
}

#[test]
fn delegates_rule_below_and_nowhere_else() {
    let mut mesh = Mesh::new(1, 2);
    let give = |prefix: &str, to: Option<u8>| Action::Delegate {
        prefix: name(prefix),
        to: to.map(node),
    };
    assert_eq!(
        mesh.act(1, give("a", Some(1))),
        refused(Refusal::NotAllowed)
    );
    assert_eq!(mesh.act(1, set("a", 1, Expect::Any)), Outcome::Done);
    assert_eq!(
        mesh.act(2, give("a", Some(2))),
        refused(Refusal::NotAllowed)
    );
    // To a key that is no member.
    assert_eq!(mesh.act(1, give("a", Some(8))), Outcome::Done);
    assert_eq!(mesh.act(8, set("a/x", 1, Expect::Any)), Outcome::Done);
    assert_eq!(
        mesh.act(1, set("a", 2, Expect::Any)),
        refused(Refusal::NotDelegate)
    );
    assert_eq!(
        mesh.act(8, set("b", 1, Expect::Any)),
        refused(Refusal::NotMember)
    );
    assert_eq!(
        mesh.act(8, set("a-x", 1, Expect::Any)),
        refused(Refusal::NotMember)
    );
    // The name is on the account of who delegated.
    assert_eq!(mesh.ledger.state().author(&node(1)).unwrap().names, 2);
    // A part of it to another, who gives it back, and so on: there is no loop, the longest prefix wins.
    assert_eq!(mesh.act(8, give("a/b", Some(2))), Outcome::Done);
    assert_eq!(mesh.act(2, give("a/b/c", Some(8))), Outcome::Done);
    assert_eq!(mesh.act(8, set("a/b/c/d", 1, Expect::Any)), Outcome::Done);
    assert_eq!(
        mesh.act(8, set("a/b/d", 1, Expect::Any)),
        refused(Refusal::NotDelegate)
    );
    // Taken back by who gave it; what was made stays, and is nobody's to change who has no part in the mesh.
    assert_eq!(mesh.act(1, give("a", None)), Outcome::Done);
    assert_eq!(
        mesh.act(8, set("a/x", 2, Expect::Any)),
        refused(Refusal::NotMember)
    );
    assert_eq!(
        mesh.act(2, set("a/x", 2, Expect::Any)),
        refused(Refusal::NotOwner)
    );
    // The voters can give anything to anyone.
    mesh.agree(
        1,
        Motion::Delegate {
            prefix: name("a"),
            to: Some(node(0)),
        },
    );
    assert_eq!(mesh.act(0, set("a/x", 2, Expect::Any)), Outcome::Done);
    // A removed key writes nothing, whatever is delegated to it.
    mesh.agree(1, Motion::Remove(node(2)));
    let late = mesh.signed(2, set("a/b/d", 1, Expect::Any));
    assert!(mesh.ledger.submit(&late.to_bytes()).is_err());
}

#[test]
fn quotas_hold() {
    let mut mesh = Mesh::new(1, 2);
    mesh.agree(1, parameter(Parameter::NamesPerAuthor, 1));
    assert_eq!(mesh.act(1, set("a", 1, Expect::Any)), Outcome::Done);
    assert_eq!(
        mesh.act(1, set("b", 1, Expect::Any)),
        refused(Refusal::Quota)
    );
    assert_eq!(mesh.act(1, set("a", 2, Expect::Any)), Outcome::Done);
    mesh.agree(1, parameter(Parameter::LearnersPerInviter, 2));
    assert_eq!(mesh.act(0, admit(7)), refused(Refusal::Quota));
    mesh.agree(1, Motion::Promote(node(1)));
    assert_eq!(mesh.act(0, admit(7)), Outcome::Done);
    mesh.agree(2, parameter(Parameter::TransactionsPerAuthor, 1));
    for number in 0..3 {
        let transaction = mesh.signed(2, set("c", number, Expect::Any));
        mesh.ledger.submit(&transaction.to_bytes()).unwrap();
    }
    for _ in 0..3 {
        assert_eq!(mesh.decide(), [Outcome::Done]);
    }
    assert!(!mesh.ledger.has_work());
}
