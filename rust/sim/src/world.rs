//! The mesh in virtual time: nodes, their disks, and a network between them.

mod network;
mod orders;
mod troubles;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use bytes::Bytes;
use hypermesh_consensus::{
    Config, Decided, Evidence, Fault, Height, LogError, MeshId, Message, Output, Record, Replica,
    ReplicaError, Round, Sign,
};
use hypermesh_id::NodeId;

use crate::actors::{Actor, Behaviour, Desk, MS};
use crate::book::Beginning;
use crate::chain::{Chain, Membership, other_block};
use crate::disk::Disk;
use crate::happened::Happened;
use crate::invariants::{Violation, Watch, good};
use crate::keys::SimKey;
use crate::ordered::Ordered;
use crate::random::Random;
use crate::scenario::{Scenario, Trouble};

/// The mesh of all simulations of a chain.
const MESH: MeshId = MeshId(*b"the mesh of the simulator, no 01");
/// Steps of one run at most: what needs more has run wild.
const STEPS_MAX: u64 = 20_000_000;
/// Decisions that a node sends from its disk at once.
const FROM_DISK: usize = 16;

/// The time of day, by a node's clock.
fn tell_time(machine: &mut Ordered, now: u64) {
    if let Some(ledger) = machine.ledger_mut() {
        ledger.tell_time(now / MS);
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub seed: u64,
    /// Least and most heights that honest nodes decided.
    pub heights: (u64, u64),
    /// How many of the heights were decided in round 0.
    pub first_round: u64,
    /// Virtual nanoseconds, steps, messages sent.
    pub time: u64,
    pub steps: u64,
    pub messages: u64,
    /// Transactions of a registry that were decided.
    pub transactions: u64,
    /// Numbers of the nodes that were proved to have lied.
    pub proved: BTreeSet<usize>,
    /// What honest nodes held against connections.
    pub faults: u64,
    /// How often agreement stood still without a timer.
    pub nudges: u64,
    /// Rare things that happened.
    pub rare: BTreeSet<&'static str>,
    /// Of all that happened, in order.
    pub trace: [u8; 32],
}

/// One thing that happened, for those who want to follow a run.
pub type Follow<'a> = &'a mut dyn FnMut(u64, &Happened<'_>);

#[derive(Debug)]
enum Event {
    Arrive {
        to: usize,
        from: usize,
        bytes: Bytes,
    },
    Wake {
        instance: usize,
    },
    Trouble(Trouble),
    /// Somebody wants something ordered.
    Submit {
        node: usize,
    },
    /// A transaction comes to a node.
    Offer {
        to: usize,
        bytes: Bytes,
    },
    /// A node brings a proof before the others.
    Accuse {
        node: usize,
        evidence: Evidence,
    },
    Heal,
}

/// A running copy of a node: one each, two of twins.
#[derive(Debug)]
struct Instance {
    node: usize,
    replica: Option<Replica<Ordered, SimKey>>,
    disk: Disk,
    actor: Option<Box<dyn Actor>>,
    /// The earliest wake-up that is planned.
    wakes: u64,
    /// Outputs until the power goes.
    crashes: Option<u64>,
}

/// A run under way.
pub(crate) struct World<'a> {
    scenario: &'a Scenario,
    mesh: MeshId,
    /// Where the registry is ordered: how its mesh began.
    beginning: Option<&'static Beginning>,
    now: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: Vec<Option<Event>>,
    instances: Vec<Instance>,
    cut: BTreeSet<(usize, usize)>,
    healed: bool,
    random: Random,
    watch: Watch,
    report: Report,
    trace: blake3::Hasher,
    follow: Option<Follow<'a>>,
}

impl<'a> World<'a> {
    pub(crate) fn new(scenario: &'a Scenario, follow: Option<Follow<'a>>) -> Self {
        let mut random = Random::new(scenario.seed, 2);
        crate::keys::forget();
        let membership = Membership::of(scenario);
        let beginning = scenario
            .ledger
            .then(|| Beginning::of(scenario.nodes.len() - 1));
        let mesh = beginning.map_or(MESH, |beginning| beginning.genesis.mesh());
        let honest: Vec<bool> = scenario.nodes.iter().map(Option::is_none).collect();
        let mut instances = Vec::new();
        for (node, behaviour) in scenario.nodes.iter().enumerate() {
            let copies = 1 + usize::from(*behaviour == Some(Behaviour::Twins));
            for _ in 0..copies {
                instances.push(Instance {
                    node,
                    replica: None,
                    disk: Disk::begun(beginning),
                    actor: behaviour.and_then(|behaviour| behaviour.actor(&mut random)),
                    wakes: u64::MAX,
                    crashes: None,
                });
            }
        }
        let key = scenario.key(0);
        Self {
            mesh,
            beginning,
            now: 0,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            instances,
            cut: BTreeSet::new(),
            healed: false,
            random,
            watch: Watch::new((mesh, key), membership, honest),
            report: Report {
                seed: scenario.seed,
                heights: (0, 0),
                first_round: 0,
                time: 0,
                steps: 0,
                messages: 0,
                transactions: 0,
                proved: BTreeSet::new(),
                faults: 0,
                nudges: 0,
                rare: BTreeSet::new(),
                trace: [0; 32],
            },
            trace: blake3::Hasher::new(),
            scenario,
            follow,
        }
    }

    /// Runs to the end.
    pub(crate) fn run(mut self) -> Result<Report, Violation> {
        if let Some(beginning) = self.beginning {
            self.watch.begin(beginning)?;
        }
        for instance in 0..self.instances.len() {
            self.start(instance)?;
        }
        for (at, trouble) in self.scenario.faults.clone() {
            self.plan(at, Event::Trouble(trouble));
        }
        self.plan(self.scenario.heals, Event::Heal);
        for node in 0..self.scenario.nodes.len() {
            self.submissions(node);
        }
        let mut goal = u64::MAX;
        while let Some(Reverse((at, number))) = self.queue.pop() {
            self.now = at;
            self.report.steps += 1;
            if self.report.steps > STEPS_MAX {
                return Err(Violation("it has run wild: too many steps".into()));
            }
            let event = self.events.get_mut(number as usize).and_then(Option::take);
            match event {
                Some(Event::Arrive { to, from, bytes }) => self.arrive(to, from, &bytes)?,
                Some(Event::Wake { instance }) => self.wake(instance)?,
                Some(Event::Trouble(trouble)) => self.trouble(&trouble)?,
                Some(Event::Submit { node }) => self.submit(node)?,
                Some(Event::Offer { to, bytes }) => self.offered(to, &bytes)?,
                Some(Event::Accuse { node, evidence }) => self.accuse(node, evidence)?,
                Some(Event::Heal) => {
                    self.heal()?;
                    goal = self.heights().1 + self.scenario.more;
                }
                None => {}
            }
            if self.healed && self.heights().0 >= goal {
                return self.end();
            }
            if self.healed && self.now > self.scenario.heals + self.scenario.within {
                return Err(Violation(format!(
                    "not live: {:?} of {goal} heights {} ms after it healed; {}",
                    self.heights(),
                    self.scenario.within / MS,
                    self.standing()
                )));
            }
        }
        Err(Violation("nothing happens any more".into()))
    }

    fn end(mut self) -> Result<Report, Violation> {
        self.watch.end()?;
        self.same_ledgers()?;
        self.report.transactions = self.watch.transactions();
        self.report.heights = self.heights();
        self.report.time = self.now;
        let proved = self.watch.proved.iter();
        self.report.proved = proved.filter_map(|(_, node)| self.number(node)).collect();
        for proved in &self.report.proved {
            if self.scenario.nodes[*proved] == Some(Behaviour::Amnesiac) {
                self.report.rare.insert("one that forgot is proved");
            }
        }
        let honest = self
            .instances
            .iter()
            .find(|instance| self.scenario.nodes[instance.node].is_none());
        self.report.first_round = honest.map_or(0, |honest| {
            let decided = honest.disk.decided.iter();
            decided
                .filter(|decided| decided.certificate.round == Round::ZERO)
                .count() as u64
        });
        self.report.trace = *self.trace.finalize().as_bytes();
        Ok(self.report)
    }

    /// Least and most heights that honest nodes decided.
    fn heights(&self) -> (u64, u64) {
        let honest = self
            .instances
            .iter()
            .filter(|instance| self.scenario.nodes[instance.node].is_none())
            .map(|instance| instance.disk.decided.len() as u64);
        (honest.clone().min().unwrap_or(0), honest.max().unwrap_or(0))
    }

    fn standing(&self) -> String {
        let at = |instance: &Instance| match &instance.replica {
            Some(replica) => format!("{}@{}/{}", instance.node, replica.height(), replica.round()),
            None => format!("{} is down", instance.node),
        };
        self.instances.iter().map(at).collect::<Vec<_>>().join(", ")
    }

    fn plan(&mut self, at: u64, event: Event) {
        let number = self.events.len() as u64;
        self.events.push(Some(event));
        self.queue.push(Reverse((at.max(self.now), number)));
    }

    fn note(&mut self, bytes: &[u8], numbers: [u64; 2]) {
        self.trace.update(&self.now.to_le_bytes());
        for number in numbers {
            self.trace.update(&number.to_le_bytes());
        }
        self.trace.update(bytes);
    }

    fn show(&mut self, happened: &Happened<'_>) {
        if let Some(follow) = &mut self.follow {
            follow(self.now, happened);
        }
    }

    fn number(&self, node: &NodeId) -> Option<usize> {
        (0..self.scenario.nodes.len()).find(|number| SimKey::of(*number).node() == *node)
    }

    /// The clock of a node: nanoseconds since it was, by its own count.
    fn local(&self, node: usize) -> u64 {
        let fast = self.scenario.clocks[node];
        (i128::from(self.now) * i128::from(1000 + fast) / 1000) as u64
    }

    fn global(&self, node: usize, local: u64) -> u64 {
        let fast = self.scenario.clocks[node];
        let at = i128::from(local) * 1000 / i128::from(1000 + fast) + 1;
        u64::try_from(at).unwrap_or(u64::MAX)
    }

    fn start(&mut self, index: usize) -> Result<(), Violation> {
        let instance = &mut self.instances[index];
        let node = instance.node;
        if self.scenario.nodes[node] == Some(Behaviour::Amnesiac) {
            instance.disk.new_log();
        }
        let (records, whole) = Record::read(instance.disk.log()).map_err(|error: LogError| {
            Violation(format!("node {node} cannot read what it logged: {error}"))
        })?;
        if whole < instance.disk.log().len() {
            self.report.rare.insert("a torn record");
        }
        if !records.is_empty() {
            self.report.rare.insert("a replayed log");
        }
        instance.disk.cut(whole);
        let (machine, voters) = match self.beginning {
            Some(beginning) => {
                let restored = self.random.chance(0.5);
                let ledger = instance.disk.ledger(beginning, restored);
                let ledger = ledger
                    .map_err(|error| Violation(format!("node {node} starts again: {error}")))?;
                if restored && instance.disk.snapshot.is_some() {
                    self.report.rare.insert("a snapshot is restored");
                }
                let voters = ledger.state().voters().clone();
                (Ordered::Ledger(Box::new(ledger)), voters)
            }
            None => {
                let mut chain = Chain::new(Membership::of(self.scenario), node);
                // Twins are two: they propose different blocks.
                chain.proposed = index as u64 * 1000;
                chain.pending = (self.scenario.gaps > 0).then_some(0);
                chain.demotes = self.scenario.demotes;
                let mut voters = chain.membership.voters(Height(1));
                for decided in &instance.disk.decided {
                    voters = hypermesh_consensus::Machine::apply(&mut chain, decided);
                }
                (Ordered::Chain(chain), voters)
            }
        };
        let height = Height(instance.disk.decided.len() as u64 + 1);
        let config = Config {
            mesh: self.mesh,
            timeouts: self.scenario.timeouts,
        };
        let now = self.local(node);
        let key = self.scenario.key(node);
        let replica = Replica::new(config, key, machine, (height, voters), records, now);
        match replica {
            Ok(replica) => self.instances[index].replica = Some(replica),
            Err(error) => return self.stopped(index, &error),
        }
        self.note(b"start", [index as u64, height.0]);
        self.show(&Happened::Starts { node, height });
        self.drain(index)
    }

    /// A replica cannot go on: of an honest node that is a defect.
    fn stopped(&mut self, index: usize, error: &ReplicaError) -> Result<(), Violation> {
        let node = self.instances[index].node;
        self.instances[index].replica = None;
        match self.scenario.nodes[node] {
            None => Err(Violation(format!("honest node {node} stopped: {error}"))),
            Some(_) => Ok(()),
        }
    }

    fn arrive(&mut self, to: usize, from: usize, bytes: &Bytes) -> Result<(), Violation> {
        let node = self.instances[to].node;
        let now = self.local(node);
        let honest = self.scenario.nodes[node].is_none();
        let sender = SimKey::of(from).node();
        let Ok(message) = Message::decode(bytes, &self.mesh) else {
            return Err(Violation("a message that was sent cannot be read".into()));
        };
        self.note(bytes, [from as u64, to as u64]);
        self.show(&Happened::Hears {
            node,
            from,
            message: &message,
        });
        let Some(replica) = &mut self.instances[to].replica else {
            return Ok(());
        };
        if honest {
            let key = self.scenario.key(0);
            let (membership, now) = (&self.watch.membership, replica.height());
            let at = (now, replica.round());
            let heard: Vec<_> = match &message {
                Message::Vote(vote) => vec![(vote, false)],
                Message::Retold(votes) => votes.iter().map(|vote| (vote, true)).collect(),
                _ => Vec::new(),
            };
            let heard: Vec<_> = heard
                .into_iter()
                .filter(|(vote, _)| self.watch.is_news(to, &vote.statement))
                .filter(|(vote, _)| {
                    good(vote, now, replica.voters(), membership, (&self.mesh, &key))
                })
                .collect();
            for (vote, retold) in heard {
                self.watch.heard(to, at, &vote.statement, retold);
            }
            if let Message::Proposal(proposal) = &message
                && proposal.statement.height == now
                && proposal.verifies(&self.mesh, replica.voters(), &key)
            {
                let proposer = self.proposer(now, proposal.statement.round.as_i64());
                if !self.scenario.demotes && proposer == Some(from) {
                    self.watch.heard_proposal(to, at, &proposal.statement);
                }
            }
        }
        let Some(replica) = &mut self.instances[to].replica else {
            return Ok(());
        };
        tell_time(replica.machine_mut(), now);
        if let Err(error) = replica.message(now, sender, message) {
            return self.stopped(to, &error);
        }
        self.drain(to)
    }

    fn wake(&mut self, index: usize) -> Result<(), Violation> {
        let node = self.instances[index].node;
        let now = self.local(node);
        self.instances[index].wakes = u64::MAX;
        let Some(replica) = &mut self.instances[index].replica else {
            return Ok(());
        };
        tell_time(replica.machine_mut(), now);
        if replica.deadline() <= now
            && let Err(error) = replica.elapsed(now)
        {
            return self.stopped(index, &error);
        }
        self.drain(index)
    }

    /// Does what a replica wants done, and plans its next wake-up.
    fn drain(&mut self, index: usize) -> Result<(), Violation> {
        while let Some(replica) = &mut self.instances[index].replica {
            let Some(output) = replica.poll_output() else {
                if let Some(what) = replica.beyond_bounds() {
                    let node = self.instances[index].node;
                    return Err(Violation(format!("node {node} keeps too much of: {what}")));
                }
                let at = replica.deadline();
                self.report.nudges = self.report.nudges.max(replica.nudges());
                let node = self.instances[index].node;
                let at = self.global(node, at).max(self.now + 1);
                if at < self.instances[index].wakes {
                    self.instances[index].wakes = at;
                    self.plan(at, Event::Wake { instance: index });
                }
                return Ok(());
            };
            self.carry_out(index, output)?;
            if let Some(left) = &mut self.instances[index].crashes {
                match left.checked_sub(1) {
                    Some(less) => *left = less,
                    None => self.crash(index),
                }
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, index: usize, output: Output) -> Result<(), Violation> {
        let node = self.instances[index].node;
        let honest = self.scenario.nodes[node].is_none();
        let disk = &mut self.instances[index].disk;
        match output {
            Output::NewLog => disk.new_log(),
            Output::Append(bytes) => disk.append(&bytes),
            Output::Flush => disk.flush(),
            Output::Decided(decided) => {
                if honest {
                    let rare = self.watch.decided(node, disk.decided.len(), &decided)?;
                    self.report.rare.extend(rare);
                }
                disk.decided.push(decided.clone());
                if self.beginning.is_some() {
                    self.applied(index)?;
                }
                let certificate = &decided.certificate;
                let (height, round) = (certificate.height, certificate.round);
                if round.as_i64() >= 4 {
                    self.report.rare.insert("a late round");
                }
                let snared = self.scenario.snare.is_some_and(|snare| {
                    snare.only == node && snare.round == round.as_i64() && !self.healed
                });
                if snared {
                    self.report.rare.insert("a decision that nobody hears of");
                }
                self.note(&certificate.block.0, [index as u64, height.0]);
                self.show(&Happened::Decides {
                    node,
                    height,
                    round,
                    block: certificate.block,
                });
            }
            Output::Broadcast(message) => {
                if honest {
                    self.said(node, &message)?;
                }
                let others: Vec<usize> = (0..self.scenario.nodes.len())
                    .filter(|other| *other != node)
                    .collect();
                self.tell(index, &others, &message);
            }
            Output::Send(to, message) => {
                if let Some(to) = self.number(&to) {
                    self.tell(index, &[to], &message);
                }
            }
            Output::SendDecided(to, height) => {
                self.report.rare.insert("decisions from the disk");
                let from = height.0.saturating_sub(1) as usize;
                let decided: Vec<Decided> = disk
                    .decided
                    .iter()
                    .skip(from)
                    .take(FROM_DISK)
                    .cloned()
                    .collect();
                let to = self.number(&to);
                for decided in decided {
                    if let Some(to) = to {
                        self.tell(index, &[to], &Message::Decided(decided));
                    }
                }
            }
            Output::Evidence(evidence) => {
                if honest {
                    self.watch.evidence(index, &evidence)?;
                    if matches!(evidence, Evidence::Proposals(_)) {
                        self.report.rare.insert("a double proposal is proved");
                    }
                    if self.beginning.is_some() {
                        let evidence = evidence.clone();
                        self.plan(self.now, Event::Accuse { node, evidence });
                    }
                    if let Some(culprit) = self.number(&evidence.culprit()) {
                        self.show(&Happened::Proves {
                            node,
                            culprit,
                            evidence: &evidence,
                        });
                    }
                }
            }
            Output::Fault(peer, fault) => {
                self.report.faults += 1;
                let number = self.number(&peer);
                if let Some(peer) = number {
                    self.show(&Happened::Distrusts { node, peer, fault });
                }
                let honest_peer =
                    number.is_some_and(|number| self.scenario.nodes[number].is_none());
                // An honest node may pass on a block whose proposal is lost on the way to this one.
                if honest && honest_peer && fault != Fault::UnaskedBlock {
                    return Err(Violation(format!(
                        "node {node} holds against honest {number:?}: {fault}"
                    )));
                }
            }
            other => return Err(Violation(format!("the simulator does not know {other:?}"))),
        }
        Ok(())
    }

    /// What an honest node says of itself.
    fn said(&mut self, node: usize, message: &Message) -> Result<(), Violation> {
        let me = SimKey::of(node).node();
        match message {
            Message::Vote(vote) if vote.statement.voter.0 == me => {
                self.watch.voted(node, &vote.statement)
            }
            Message::Proposal(proposal) if proposal.statement.proposer.0 == me => {
                let proposal = &proposal.statement;
                self.watch.proposed(node, proposal)?;
                self.show(&Happened::Proposes {
                    node,
                    height: proposal.height,
                    round: proposal.round,
                    block: proposal.block,
                });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn tell(&mut self, index: usize, to: &[usize], message: &Message) {
        let instance = &mut self.instances[index];
        let node = instance.node;
        let sent = match &mut instance.actor {
            None => to.iter().map(|to| (*to, 0, message.clone())).collect(),
            Some(actor) => {
                let height = instance.replica.as_ref().map_or(Height(0), Replica::height);
                let key = self.scenario.key(node);
                let mut desk = Desk {
                    me: node,
                    names: &SimKey::all()[..self.scenario.nodes.len()],
                    sign: &|bytes| key.sign(bytes),
                    other: other_block,
                    mesh: self.mesh,
                    height,
                    random: &mut self.random,
                    sent: Vec::new(),
                };
                actor.tells(&mut desk, to, message);
                desk.sent
            }
        };
        let whole = instance.actor.is_none().then(|| message.encode(&self.mesh));
        for (to, later, message) in sent {
            let bytes = whole.clone().unwrap_or_else(|| message.encode(&self.mesh));
            self.send(index, to, later, (&message, bytes));
        }
    }
}
