//! What a height did stays with that height, also when several are decided at once.

use std::num::NonZeroUsize;

use ed25519_dalek::SigningKey;
use hypermesh_consensus::{BlockHash, Certificate, Decided, Height, Key, Machine, Round};
use hypermesh_registry::{
    Action, Description, Expect, Genesis, Ledger, MempoolLimits, Name, Outcome, Parameters,
    Verified,
};

use super::accuse::Accuser;
use super::chain::{Chain, outcomes};
use super::driver::Orders;
use super::snapshots::{Policy, Snapshots};
use super::store::DecidedStore;

fn ledger(genesis: &Genesis) -> Ledger {
    Ledger::new(genesis.clone(), MempoolLimits::default(), NonZeroUsize::MIN).unwrap()
}

#[test]
fn heights_that_are_decided_at_once_keep_their_own_outcomes() {
    let key = Key(SigningKey::from_bytes(&[1; 32]));
    let (parameters, description) = (Parameters::default(), Description::default());
    let genesis = Genesis::found(&key, [0; 16], 0, parameters, description).unwrap();
    let mut ahead = ledger(&genesis);
    // As many as their heights.
    let mut sequence = 0;
    let decided: Vec<Decided> = (1..=3)
        .map(|number| {
            let height = Height(number);
            for at in 0..number {
                sequence += 1;
                let name = Name::new(&format!("{number}/{at}")).unwrap();
                let root = hypermesh_id::Root(hypermesh_id::BlockId([1; 32]));
                let action = Action::SetName {
                    name,
                    root,
                    expect: Expect::Any,
                };
                let signed = Verified::sign(&key, &genesis.mesh(), sequence, 100, action);
                ahead.insert(signed).unwrap();
            }
            let body = ahead.propose(height);
            let certificate = Certificate {
                height,
                round: Round::ZERO,
                block: BlockHash::of(&body),
                signatures: Vec::new(),
            };
            let one = Decided { certificate, body };
            ahead.apply(&one);
            one
        })
        .collect();
    let place = tempfile::tempdir().unwrap();
    let (store, _writer) = DecidedStore::open(place.path(), &genesis.mesh().0).unwrap();
    // None is written: they are few.
    let policy = Policy {
        every: u64::MAX,
        behind: u64::MAX,
    };
    let snapshots = Snapshots::new(place.path(), policy, store, 0);
    let accuser = Accuser::from_bytes(&[]).unwrap();
    let mut chain = Chain::new(ledger(&genesis), key, accuser, snapshots);
    for one in &decided {
        chain.apply(one);
    }
    for number in 1..=3 {
        let applied = chain.applied(Height(number));
        let expected = vec![Some(Outcome::Done); number as usize];
        assert_eq!(outcomes(&applied.outcomes), expected, "height {number}");
    }
}
