//! Random authors ask for random things, beside the plain model: outcomes, roots, proofs and snapshots agree.

use std::num::NonZeroUsize;

use hypermesh_consensus::{Height, Machine, MeshId};
use hypermesh_registry::{
    Action, Description, Expect, Ledger, MempoolLimits, Motion, NameProof, Outcome, Parameter,
    Restore, Snapshot, Transaction, read_block,
};

use crate::attacks::double_vote;
use crate::model::Model;
use crate::*;

const SEEDS: u64 = 8;
const HEIGHTS: u64 = 150;
const KEYS: u64 = 12;
const NAMES: [&str; 9] = ["a", "a/b", "a/b/c", "a-b", "a/c", "b", "b/c", "b/c/d", "c"];

struct Random(u64);

impl Random {
    /// SplitMix64 (Steele, Lea, Flood, 2014).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    fn key(&mut self) -> u8 {
        self.below(KEYS) as u8
    }

    fn name(&mut self) -> hypermesh_registry::Name {
        name(NAMES[self.below(NAMES.len() as u64) as usize])
    }

    fn root(&mut self) -> hypermesh_id::Root {
        root(self.below(3) as u8)
    }

    fn expect(&mut self) -> Expect {
        match self.below(4) {
            0 => Expect::Absent,
            1 => Expect::Root(self.root()),
            _ => Expect::Any,
        }
    }

    fn to(&mut self) -> Option<hypermesh_id::NodeId> {
        (self.below(3) > 0).then(|| node(self.key()))
    }

    fn description(&mut self) -> Description {
        Description {
            label: "x".repeat(self.below(4) as usize),
            capacity: self.below(9),
            ..Description::default()
        }
    }

    /// Some motions come often, so that voters say the same.
    fn motion(&mut self) -> Motion {
        match self.below(16) {
            0..=8 => Motion::Promote(node(self.below(6) as u8)),
            9 => Motion::Demote(node(self.below(6) as u8)),
            10 => Motion::Remove(node(self.below(8) as u8)),
            11 | 12 => {
                let all = Parameter::ALL;
                let parameter = all[self.below(all.len() as u64) as usize];
                let values = [0, 2, 2, 3, 4, 5, 1_000, u64::MAX];
                Motion::SetParameter(parameter, values[self.below(8) as usize])
            }
            _ => Motion::Delegate {
                prefix: self.name(),
                to: self.to(),
            },
        }
    }

    /// Something to ask for, and whether evidence in it is good.
    fn action(&mut self, mesh: MeshId, height: u64) -> (Action, bool) {
        let action = match self.below(20) {
            0..=2 => Action::Admit {
                node: node(self.key()),
                invitation: [self.below(20) as u8; 16],
                description: self.description(),
            },
            3 => Action::Describe(self.description()),
            4..=7 => Action::Move(self.motion()),
            8 if self.below(3) == 0 => Action::Leave {
                node: node(self.key()),
            },
            8..=12 => Action::SetName {
                name: self.name(),
                root: self.root(),
                expect: self.expect(),
            },
            13 => Action::DeleteName {
                name: self.name(),
                expect: self.expect(),
            },
            14 | 15 => Action::Delegate {
                prefix: self.name(),
                to: self.to(),
            },
            16 => Action::Pin {
                root: self.root(),
                copies: self.below(70) as u8,
                domains: self.below(4) as u8,
            },
            17 => Action::Unpin { root: self.root() },
            // Few have to be bad: those who never voted are proved nothing.
            _ if self.below(3) > 0 => Action::Move(self.motion()),
            _ => {
                let good = self.below(4) > 0;
                let of = if good { mesh } else { MeshId([1; 32]) };
                // Up to two heights ahead of what can be.
                let offence = self.below(height + 3);
                let evidence = double_vote(of, self.below(16) as u8, offence);
                return (Action::Accuse(Box::new(evidence)), good);
            }
        };
        (action, false)
    }
}

/// One transaction; sometimes of a sequence or for a height that cannot be.
fn ask(mesh: &mut Mesh, model: &Model, random: &mut Random, good: &mut Vec<Transaction>) {
    let (action, evidence) = random.action(mesh.ledger.mesh(), model.height);
    // Mostly one who may, or most of it would be strangers' noise.
    let voters_only = matches!(action, Action::Admit { .. } | Action::Move(_));
    let fit: Vec<u8> = (0..KEYS as u8)
        .filter(|number| match voters_only {
            true => model.voters.contains(&node(*number)),
            false => model.members.contains_key(&node(*number)),
        })
        .collect();
    let author = match random.below(6) {
        0 => random.key(),
        _ => fit
            .get(random.below(fit.len().max(1) as u64) as usize)
            .copied()
            .unwrap_or_default(),
    };
    let waits = mesh.ledger.mempool().of(&node(author)).last();
    let last = waits.map_or(model.sequence(&node(author)), |one| {
        one.transaction().sequence
    });
    let sequence = match random.below(12) {
        0 => last,
        1 => last + 5,
        _ => last + 1,
    };
    let until = match random.below(12) {
        0 => model.height - 1,
        1 => model.height + hypermesh_registry::LIFETIME + 1,
        _ => model.height + random.below(4),
    };
    let transaction = Transaction::sign(&key(author), &mesh.ledger.mesh(), sequence, until, action);
    let bytes = transaction.to_bytes();
    assert_eq!(
        mesh.ledger.screen(&bytes).is_ok(),
        model.may(&transaction),
        "{transaction:?}"
    );
    if mesh.ledger.submit(&bytes).is_ok() && evidence {
        good.push(transaction);
    }
}

fn prove(mesh: &Mesh, model: &Model, random: &mut Random) {
    let id = mesh.ledger.mesh();
    for _ in 0..2 {
        let name = random.name();
        let proof = mesh.ledger.prove_name(&name).unwrap();
        let proven = proof.verify(&id).unwrap();
        assert_eq!(proven.named.as_ref(), model.names.get(&name));
        assert_eq!(proven.height + 1, model.height);
        let bytes = proof.to_bytes();
        assert_eq!(NameProof::from_bytes(&bytes).unwrap(), proof);
        for _ in 0..4 {
            let (place, bit) = (random.below(bytes.len() as u64), random.below(8));
            let mut changed = bytes.clone();
            changed[place as usize] ^= 1 << bit;
            let proven = NameProof::from_bytes(&changed).and_then(|proof| proof.verify(&id));
            assert!(proven.is_err(), "byte {place}, bit {bit}");
        }
    }
}

/// The second ledger becomes one that has seen nothing but a snapshot.
fn restart(mesh: &mut Mesh) {
    let snapshot = Snapshot::of(mesh.ledger.state());
    let mut restore = Restore::new(mesh.ledger.state().root());
    for number in 0..snapshot.parts() {
        restore.add(&snapshot.part(number).unwrap()).unwrap();
    }
    let state = restore.finish(mesh.ledger.mesh()).unwrap();
    assert_eq!(state.root(), mesh.ledger.state().root());
    let last = mesh.ledger.last().unwrap().clone();
    let story = (genesis(), mesh.ledger.links().to_vec(), last);
    let limits = MempoolLimits::default();
    mesh.other = Ledger::resume(story, state, limits, NonZeroUsize::MIN).unwrap();
}

#[test]
fn the_ledger_is_the_plain_model() {
    let mut seen = std::collections::BTreeMap::<String, u64>::new();
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut random = Random(seed);
        let mut mesh = Mesh::new(1, 0);
        let mut model = Model::new(&genesis());
        let mut good = Vec::new();
        for height in 1..=HEIGHTS {
            for _ in 0..random.below(9) {
                ask(&mut mesh, &model, &mut random, &mut good);
            }
            let body = mesh.ledger.propose(Height(height));
            let items = read_block(&body).unwrap().1;
            let outcomes = mesh.decide();
            assert_eq!(items.len(), outcomes.len());
            for (item, outcome) in items.iter().zip(outcomes) {
                model.good_evidence = good.contains(&item.transaction);
                let ours = model.execute(&item.transaction);
                assert_eq!(outcome, ours, "{:?} at height {height}", item.transaction);
                let text = match ours {
                    Outcome::Refused(why) => format!("{why:?}"),
                    Outcome::Waits { .. } => "Waits".into(),
                    _ => "Done".into(),
                };
                let kind = text.split('(').next().unwrap_or_default();
                *seen.entry(kind.into()).or_default() += 1;
            }
            model.height += 1;
            let state = mesh.ledger.state();
            assert_eq!(state.root(), model.root(), "after height {height}");
            assert_eq!(state.members_len(), model.members.len());
            assert!(
                state
                    .voters()
                    .nodes()
                    .all(|one| model.voters.contains(&one))
            );
            assert_eq!(state.convicted().count(), model.convicted.len());
            // Whatever the outcome: the mesh can go on.
            assert!(!model.voters.is_empty());
            if random.below(12) == 0 {
                prove(&mesh, &model, &mut random);
            }
            if random.below(12) == 0 {
                restart(&mut mesh);
            }
        }
    }
    println!("{seen:?}");
    for kind in [
        "Done",
        "Waits",
        "NotVoter",
        "NotMember",
        "NotOwner",
        "NotDelegate",
        "NotAllowed",
        "Present",
        "Absent",
        "Conflict",
        "Spent",
        "Quota",
        "Convicted",
        "LastVoter",
        "Said",
        "Range",
        "Old",
        "NoEvidence",
        "Occupied",
        "Copies",
    ] {
        assert!(seen.contains_key(kind), "{kind} never came: {seen:?}");
    }
}
