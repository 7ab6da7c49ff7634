//! A mesh of a few keys, decided without agreement: what is proposed is checked by a second ledger and applied by both.

use std::num::NonZeroUsize;

use ed25519_dalek::SigningKey;
use hypermesh_consensus::{
    BlockHash, Certificate, Decided, Height, Key, Machine, NilOrVal, Round, Sign, Signer, Vote,
    VoteType,
};
use hypermesh_id::{BlockId, NodeId, Root};
use hypermesh_registry::{
    Action, Description, Expect, Genesis, Ledger, MempoolLimits, Motion, Name, Outcome, Parameter,
    Parameters, Transaction,
};

pub(crate) struct Mesh {
    pub(crate) ledger: Ledger,
    pub(crate) other: Ledger,
}

pub(crate) fn key(number: u8) -> Key {
    Key(SigningKey::from_bytes(&[number + 1; 32]))
}

pub(crate) fn node(number: u8) -> NodeId {
    key(number).node()
}

pub(crate) fn root(number: u8) -> Root {
    Root(BlockId([number; 32]))
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn set(text: &str, to: u8, expect: Expect) -> Action {
    Action::SetName {
        name: name(text),
        root: root(to),
        expect,
    }
}

pub(crate) fn genesis() -> Genesis {
    Genesis::found(
        &key(0),
        [7; 16],
        1000,
        Parameters::default(),
        Description::default(),
    )
    .unwrap()
}

impl Mesh {
    /// A mesh of so many voters, and then so many learners of the first.
    pub(crate) fn new(voters: u8, learners: u8) -> Self {
        let ledger = || {
            Ledger::new(
                genesis(),
                MempoolLimits::default(),
                NonZeroUsize::new(2).unwrap(),
            )
            .unwrap()
        };
        let mut mesh = Self {
            ledger: ledger(),
            other: ledger(),
        };
        for number in 1..voters + learners {
            assert_eq!(mesh.act(0, admit(number)), Outcome::Done);
            if number < voters {
                mesh.agree(number, Motion::Promote(node(number)));
            }
        }
        mesh
    }

    /// The first `voters` say so, as many as are needed.
    pub(crate) fn agree(&mut self, voters: u8, motion: Motion) {
        for number in 0..voters {
            match self.act(number, Action::Move(motion.clone())) {
                Outcome::Done => return,
                Outcome::Waits { .. } => {}
                refused => panic!("{number}: {refused}"),
            }
        }
        panic!("no quorum");
    }

    pub(crate) fn signed(&self, author: u8, action: Action) -> Transaction {
        let ledger = &self.ledger;
        let sequence =
            hypermesh_registry::next_sequence(ledger.state(), ledger.mempool(), &node(author));
        let until = ledger.next_height().0 + 100;
        Transaction::sign(&key(author), &ledger.mesh(), sequence, until, action)
    }

    /// Has it decided in a block of its own.
    pub(crate) fn act(&mut self, author: u8, action: Action) -> Outcome {
        let transaction = self.signed(author, action);
        self.ledger.submit(&transaction.to_bytes()).unwrap();
        let outcomes = self.decide();
        assert_eq!(outcomes.len(), 1);
        outcomes[0]
    }

    pub(crate) fn decide(&mut self) -> Vec<Outcome> {
        let height = self.ledger.next_height();
        let body = self.ledger.propose(height);
        self.other.check(height, &body).unwrap();
        let block = BlockHash::of(&body);
        let certificate = certificate(&self.ledger, height, block);
        let decided = Decided { certificate, body };
        let voters = self.ledger.apply(&decided);
        assert_eq!(self.other.apply(&decided), voters);
        assert!(self.ledger.fault().is_none() && self.other.fault().is_none());
        let state = self.ledger.state();
        assert_eq!(state.root(), self.other.state().root());
        assert_eq!(
            state.root(),
            state.root_anew(),
            "the tree is not that of the entries"
        );
        let applied = self.ledger.poll_applied().unwrap();
        self.other.poll_applied().unwrap();
        applied.ruled.iter().map(|ruled| ruled.outcome).collect()
    }
}

pub(crate) fn admit(number: u8) -> Action {
    Action::Admit {
        node: node(number),
        invitation: [number; 16],
        description: Description::default(),
    }
}

pub(crate) fn parameter(parameter: Parameter, value: u64) -> Motion {
    Motion::SetParameter(parameter, value)
}

/// The precommits of all voters.
fn certificate(ledger: &Ledger, height: Height, block: BlockHash) -> Certificate {
    let sign = |voter: NodeId| {
        let key = (0..16).map(key).find(|key| key.node() == voter).unwrap();
        let vote = Vote {
            phase: VoteType::Precommit,
            height,
            round: Round::new(0),
            block: NilOrVal::Val(block),
            voter: Signer(voter),
        };
        (voter, key.sign(&vote.sign_bytes(&ledger.mesh())))
    };
    Certificate {
        height,
        round: Round::new(0),
        block,
        signatures: ledger.state().voters().nodes().map(sign).collect(),
    }
}
