//! A mesh whose nodes order the registry: how it begins, what its authors ask for, and a ledger beside it that says what must be.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::OnceLock;

use hypermesh_consensus::{
    BlockHash, Certificate, Decided, Evidence, Height, Machine, MeshId, NilOrVal, Round, Sign,
    Signed, Signer, Vote, VoteType, Voters,
};
use hypermesh_id::{BlockId, NodeId, Root};
use hypermesh_registry::{
    Action, Description, Expect, Genesis, Ledger, Link, MempoolLimits, Motion, Name, Outcome,
    Parameter, Parameters, Refusal, Restore, Sealed, Snapshot, State, Tip, TransactionId, Verified,
};

use crate::keys::{NODES_MAX, SimKey};
use crate::random::Random;

/// Heights between two snapshots.
pub(crate) const SNAPSHOT_EVERY: u64 = 5;
/// Keys of authors that are no nodes: prefixes are delegated to them.
pub(crate) const OUTSIDE: [usize; 2] = [NODES_MAX - 1, NODES_MAX - 2];
/// The key of somebody whom nobody knows.
pub(crate) const STRANGER: usize = NODES_MAX - 3;
const NAMES: [&str; 8] = ["a", "a/b", "a/b/c", "b", "b/x", "c/d/e", "team", "team/doc"];

/// How a mesh of so many voters and one learner behind them came about.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) genesis: Genesis,
    pub(crate) decided: Vec<Decided>,
}

/// A snapshot on a disk, with what proves that it is one of this mesh.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    parts: Vec<Vec<u8>>,
    root: [u8; 32],
    links: Vec<Link>,
    last: Sealed,
}

fn limits() -> MempoolLimits {
    MempoolLimits {
        bytes: 256 << 10,
        author_bytes: 32 << 10,
        author_transactions: 24,
    }
}

impl Beginning {
    /// Node 0 founds it, admits the others, and they vote each other in. The same every time.
    #[expect(
        clippy::expect_used,
        reason = "a mesh that cannot begin is a defect of the simulator"
    )]
    pub(crate) fn of(voters: usize) -> &'static Self {
        static ALL: [OnceLock<Beginning>; NODES_MAX] = [const { OnceLock::new() }; NODES_MAX];
        ALL[voters % NODES_MAX].get_or_init(|| {
            let parameters = Parameters {
                // Small ones, so that they are met.
                names_per_author: 6,
                pins_per_author: 3,
                delegations_per_author: 3,
                motions_per_voter: 3,
                motion_heights: 40,
                ..Parameters::default()
            };
            let founder = SimKey::real(0);
            let genesis = Genesis::found(&founder, [9; 16], 1000, parameters, description(0));
            let genesis = genesis.expect("a founder's word");
            let mut ledger = ledger(&genesis);
            let mut decided = Vec::new();
            let admitted: Vec<_> = (1..=voters).map(|node| (0, admit(node))).collect();
            decided.push(decide(&mut ledger, &admitted));
            for node in 1..voters {
                let promote = Action::Move(Motion::Promote(SimKey::of(node).node()));
                // A quorum is enough, and what more say is refused.
                let quorum = node * 2 / 3 + 1;
                let said: Vec<_> = (0..quorum).map(|by| (by, promote.clone())).collect();
                decided.push(decide(&mut ledger, &said));
            }
            Self { genesis, decided }
        })
    }

    /// A ledger of which this much is decided.
    pub(crate) fn ledger(&self) -> Ledger {
        ledger(&self.genesis)
    }
}

#[expect(clippy::expect_used, reason = "the founder's key is one")]
fn ledger(genesis: &Genesis) -> Ledger {
    Ledger::new(genesis.clone(), limits(), NonZeroUsize::MIN).expect("a founder's key")
}

/// A block of these, decided by all who vote.
#[expect(
    clippy::expect_used,
    reason = "what nobody opposes is decided, or the simulator has a defect"
)]
fn decide(ledger: &mut Ledger, actions: &[(usize, Action)]) -> Decided {
    let (mesh, height) = (ledger.mesh(), ledger.next_height());
    for (by, action) in actions {
        let key = SimKey::real(*by);
        let sequence = next_sequence(ledger, &key.node());
        let signed = Verified::sign(&key, &mesh, sequence, height.0, action.clone());
        ledger.insert(signed).expect("a transaction that may wait");
    }
    let body = ledger.propose(height);
    let block = BlockHash::of(&body);
    let voters: Vec<NodeId> = ledger.state().voters().nodes().collect();
    let vote = |node: &NodeId| {
        let number = (0..NODES_MAX).find(|number| SimKey::of(*number).node() == *node)?;
        let statement = Vote {
            phase: VoteType::Precommit,
            height,
            round: Round::ZERO,
            block: NilOrVal::Val(block),
            voter: Signer(*node),
        };
        let signature = SimKey::real(number).sign(&statement.sign_bytes(&mesh));
        Some((*node, signature))
    };
    let decided = Decided {
        certificate: Certificate {
            height,
            round: Round::ZERO,
            block,
            signatures: voters.iter().filter_map(vote).collect(),
        },
        body,
    };
    ledger.replay(&decided).expect("a block of its own");
    while let Some(applied) = ledger.poll_applied() {
        assert!(
            applied
                .ruled
                .iter()
                .all(|ruled| !matches!(ruled.outcome, Outcome::Refused(_))),
            "{applied:?}"
        );
    }
    decided
}

fn next_sequence(ledger: &Ledger, author: &NodeId) -> u64 {
    hypermesh_registry::next_sequence(ledger.state(), ledger.mempool(), author)
}

fn description(number: usize) -> Description {
    Description {
        label: format!("node {number}"),
        ..Description::default()
    }
}

fn admit(node: usize) -> Action {
    Action::Admit {
        node: SimKey::of(node).node(),
        invitation: [node as u8; 16],
        description: description(node),
    }
}

/// What an author asks for, and what it signs.
pub(crate) fn signed(
    ledger: &Ledger,
    author: usize,
    action: Action,
    random: &mut Random,
) -> Verified {
    let key = SimKey::real(author);
    let sequence = next_sequence(ledger, &key.node()) + random.below(2);
    let until = ledger.next_height().0 + random.between(2, 40);
    Verified::sign(&key, &ledger.mesh(), sequence, until, action)
}

/// Something that an author may want. Of the nodes only the last, the swing, is voted in and out: with the others the mesh keeps
/// more than two thirds of honest voters whatever is carried.
pub(crate) fn wish(state: &State, author: usize, nodes: usize, random: &mut Random) -> Action {
    let swing = nodes - 1;
    let swinging = SimKey::of(swing).node();
    match random.below(20) {
        0..=7 => {
            let name = name(random);
            let expect = expect(state, &name, random);
            Action::SetName {
                name,
                root: root(random),
                expect,
            }
        }
        8 | 9 => {
            let name = name(random);
            let expect = expect(state, &name, random);
            Action::DeleteName { name, expect }
        }
        10 | 11 => Action::Delegate {
            prefix: name(random),
            to: delegate(nodes, random),
        },
        12 => Action::Pin {
            root: root(random),
            copies: random.below(5) as u8,
            domains: random.below(4) as u8,
        },
        13 => Action::Unpin { root: root(random) },
        14 if random.chance(0.5) => Action::Accuse(Box::new(slander(state, author, nodes, random))),
        14 => Action::Describe(description(random.below(100) as usize)),
        15 => Action::Move(match random.below(4) {
            0 => Motion::SetParameter(
                *random.pick(Parameter::ALL),
                *random.pick(&[0, 1, 4, 20, 1 << 40]),
            ),
            1 => Motion::Delegate {
                prefix: name(random),
                to: delegate(nodes, random),
            },
            // Nobody honest says so too.
            _ if author.is_multiple_of(2) => Motion::SetParameter(Parameter::Members, 30),
            _ => Motion::SetParameter(Parameter::NamesPerAuthor, 9),
        }),
        // Voters swing together, or they would never come to a quorum.
        _ => match state.member(&swinging) {
            None => Action::Admit {
                node: swinging,
                invitation: random
                    .number()
                    .to_le_bytes()
                    .repeat(2)
                    .try_into()
                    .unwrap_or_default(),
                description: description(swing),
            },
            Some(member) if author == swing && random.chance(0.2) => {
                let _ = member;
                Action::Leave { node: swinging }
            }
            Some(member) if member.voter => Action::Move(Motion::Demote(swinging)),
            Some(_) if random.chance(0.1) => Action::Move(Motion::Remove(swinging)),
            Some(_) => Action::Move(Motion::Promote(swinging)),
        },
    }
}

/// What looks like a proof and is none: two votes that somebody else signed, or that may both be cast.
fn slander(state: &State, author: usize, nodes: usize, random: &mut Random) -> Evidence {
    let victim = match random.below(nodes as u64) as usize {
        // Nobody brings a true one against itself.
        me if me == author => (me + 1) % nodes,
        other => other,
    };
    let height = Height(random.between(1, 12));
    let rounds = random.below(2) as u32;
    let vote = |number: u32| {
        let statement = Vote {
            phase: VoteType::Precommit,
            height,
            round: Round::new(number * rounds),
            block: NilOrVal::Val(BlockHash([number as u8; 32])),
            voter: Signer(SimKey::of(victim).node()),
        };
        let by = if rounds == 1 { victim } else { author };
        let signature = SimKey::real(by).sign(&statement.sign_bytes(&state.mesh()));
        Signed {
            statement,
            signature,
        }
    };
    Evidence::Votes(Box::new([vote(0), vote(1)]))
}

#[expect(clippy::expect_used, reason = "names of this file")]
fn name(random: &mut Random) -> Name {
    Name::new(random.pick::<&str>(&NAMES)).expect("a name")
}

fn root(random: &mut Random) -> Root {
    Root(BlockId([random.below(6) as u8; 32]))
}

fn expect(state: &State, name: &Name, random: &mut Random) -> Expect {
    match random.below(4) {
        0 => Expect::Any,
        1 => Expect::Absent,
        2 => Expect::Root(root(random)),
        _ => match state.name(name) {
            Some(named) => Expect::Root(named.root),
            None => Expect::Absent,
        },
    }
}

fn delegate(nodes: usize, random: &mut Random) -> Option<NodeId> {
    let some = match random.below(4) {
        0 => return None,
        1 => random.below(nodes as u64) as usize,
        _ => *random.pick(&OUTSIDE),
    };
    Some(SimKey::of(some).node())
}

impl Kept {
    /// Of a ledger as it is now. None before its first block.
    pub(crate) fn of(ledger: &Ledger) -> Option<Self> {
        let snapshot = Snapshot::of(ledger.state());
        let parts = (0..snapshot.parts()).map(|number| snapshot.part(number));
        Some(Self {
            parts: parts.collect::<Option<_>>()?,
            root: snapshot.root(),
            links: ledger.links().to_vec(),
            last: ledger.last()?.clone(),
        })
    }

    /// The ledger again.
    pub(crate) fn restored(&self, genesis: &Genesis) -> Result<Ledger, String> {
        let mut restore = Restore::new(self.root);
        for part in &self.parts {
            restore.add(part).map_err(|error| error.to_string())?;
        }
        let state = restore.finish(genesis.mesh());
        let state = state.map_err(|error| error.to_string())?;
        let proof = (genesis.clone(), self.links.clone(), self.last.clone());
        let ledger = Ledger::resume(proof, state, limits(), NonZeroUsize::MIN);
        ledger.map_err(|error| error.to_string())
    }
}

/// A ledger beside the mesh, which follows what honest nodes decide.
#[derive(Debug)]
pub(crate) struct Reference {
    ledger: Ledger,
    liars: BTreeSet<NodeId>,
    /// What somebody signed, and what was decided of it.
    submitted: BTreeSet<TransactionId>,
    decided: BTreeSet<TransactionId>,
    /// The last block and the root of each height.
    past: BTreeMap<u64, (Tip, [u8; 32])>,
}

/// Rare things that a decision did.
pub(crate) type Rare = Vec<&'static str>;

impl Reference {
    /// Of a mesh in which these numbers lie.
    pub(crate) fn new(
        beginning: &Beginning,
        liars: impl Iterator<Item = usize>,
    ) -> Result<Self, String> {
        let mut ledger = beginning.ledger();
        for decided in &beginning.decided {
            ledger.replay(decided).map_err(|error| error.to_string())?;
        }
        while ledger.poll_applied().is_some() {}
        Ok(Self {
            ledger,
            liars: liars.map(|number| SimKey::of(number).node()).collect(),
            submitted: BTreeSet::new(),
            decided: BTreeSet::new(),
            past: BTreeMap::new(),
        })
    }

    fn mesh(&self) -> MeshId {
        self.ledger.mesh()
    }

    pub(crate) fn voters(&self) -> Voters {
        self.ledger.state().voters().clone()
    }

    pub(crate) fn submitted(&mut self, id: TransactionId) {
        self.submitted.insert(id);
    }

    pub(crate) fn is_submitted(&self, id: &TransactionId) -> bool {
        self.submitted.contains(id)
    }

    pub(crate) fn decided_len(&self) -> u64 {
        self.decided.len() as u64
    }

    /// The first decision of a height. Answers who votes on the next.
    pub(crate) fn follows(&mut self, decided: &Decided, rare: &mut Rare) -> Result<Voters, String> {
        let before = self.ledger.state().voters().clone();
        let voters = self
            .ledger
            .replay(decided)
            .map_err(|error| format!("a block was decided that breaks the rules: {error}"))?;
        while let Some(applied) = self.ledger.poll_applied() {
            for ruled in applied.ruled {
                let id = ruled.id;
                if !self.submitted.contains(&id) {
                    return Err(format!("{id} was decided, and nobody signed it"));
                }
                if !self.decided.insert(id) {
                    return Err(format!("{id} was decided twice"));
                }
                match (&ruled.transaction.action, ruled.outcome.is_done()) {
                    (Action::Accuse(_), true) => rare.push("a conviction"),
                    (Action::Accuse(_), false)
                        if ruled.outcome == Outcome::Refused(Refusal::NoEvidence) =>
                    {
                        rare.push("a slander is refused");
                    }
                    (Action::Move(_), true) => rare.push("a motion is carried"),
                    (Action::Delegate { .. }, true) => rare.push("a prefix is delegated"),
                    _ => {}
                }
            }
        }
        let state = self.ledger.state();
        let tip = self.ledger.tip();
        self.past.insert(tip.height, (tip, state.root()));
        if before.nodes().ne(voters.nodes()) {
            rare.push("other voters");
        }
        if let Some((node, _)) = state
            .convicted()
            .find(|(node, _)| !self.liars.contains(node))
        {
            return Err(format!("{node} is convicted, which never lied"));
        }
        if state.root() != state.root_anew() {
            return Err("the root is not that of the entries".into());
        }
        if self.ledger.tip().height.is_multiple_of(SNAPSHOT_EVERY) {
            self.checked(decided)?;
        }
        Ok(voters)
    }

    /// A snapshot gives the same ledger, and a name's proof says what the state does.
    fn checked(&self, decided: &Decided) -> Result<(), String> {
        let kept = Kept::of(&self.ledger).ok_or("no snapshot can be taken")?;
        let again = kept.restored(self.ledger.genesis())?;
        self.same(&again)?;
        let name = NAMES[decided.certificate.block.0[0] as usize % NAMES.len()];
        let name = Name::new(name).map_err(|error| error.to_string())?;
        let proof = self
            .ledger
            .prove_name(&name)
            .ok_or("no name can be proved")?;
        let proven = proof
            .verify(&self.mesh())
            .map_err(|error| error.to_string())?;
        match proven.named.as_ref() == self.ledger.state().name(&name) {
            true => Ok(()),
            false => Err(format!(
                "the proof of {} says something else",
                name.as_str()
            )),
        }
    }

    /// Whether a ledger that is at the same height is the same.
    pub(crate) fn same(&self, other: &Ledger) -> Result<(), String> {
        if let Some((height, error)) = other.fault() {
            return Err(format!(
                "the block of {height} could not be applied: {error}"
            ));
        }
        let here = (other.tip(), other.state().root());
        match self.past.get(&here.0.height) {
            Some(past) if *past != here => {
                Err(format!("another state at height {}", here.0.height))
            }
            _ => Ok(()),
        }
    }
}
