//! A node's part in the agreement: height after height, with what it takes to keep up and to prove.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hypermesh_id::NodeId;
use malachite_types::Round;

use crate::door::{Config, Fault, Machine, Output};
use crate::engine::{Engine, EngineError, Event, Statement, Time};
use crate::evidence::{HEIGHTS_KEPT, Pool};
use crate::message::{BlockMessage, Decided, Message, RETOLD_MAX};
use crate::patience::Patience;
use crate::record::Record;
use crate::types::{BlockHash, Height, MeshId, VOTERS_MAX, Voters};
use crate::vote::{Certificate, Sign, Signed, Vote};

/// Messages of the next height that are held back for one peer, and how many bytes of them.
const EARLY_MAX: usize = 256;
const EARLY_BYTES_MAX: usize = 2 << 20;
/// Decisions that are sent to one question, and kept at hand for such.
const TOLD_AT_ONCE: u64 = 16;
const AT_HAND: usize = 64;

/// Why a replica stops.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaError {
    #[error("{0}")]
    Engine(#[from] EngineError),
    #[error(
        "the decided block of height {height} is refused here: {reason}; this node runs other rules than the mesh, update it"
    )]
    Rules { height: Height, reason: String },
    #[error(
        "the log is of height {log}, but the last decision here is of height {decided}: decisions are missing; restore them from a copy, or remove the log and never vote with this key again"
    )]
    Missing { log: Height, decided: u64 },
}

/// One node's part. Time is in nanoseconds of any clock that does not go back.
#[derive(Debug)]
pub struct Replica<M, S> {
    config: Config,
    signer: S,
    machine: M,
    height: Height,
    voters: Voters,
    /// Voters of the heights of which evidence is looked for.
    past: BTreeMap<Height, Voters>,
    /// None while nobody has anything to say.
    engine: Option<Engine<S>>,
    /// How long the next height waits.
    patience: Patience,
    begin_at: Time,
    outputs: VecDeque<Output>,
    pool: Pool,
    early: BTreeMap<NodeId, Early>,
    at_hand: VecDeque<Decided>,
    peers: BTreeMap<NodeId, Peer>,
    asked: Option<Asked>,
    heartbeat_at: Time,
    /// The height that was waited for before somebody was asked, and turns among those who are ahead.
    waited: Height,
    turn: usize,
    /// How often a height was without a timer and undecided.
    nudges: u64,
}

#[derive(Debug, Default)]
struct Early {
    messages: Vec<Message>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    /// The height it works on, as far as is known.
    height: Height,
    /// The last height whose decision was sent to it unasked, and when.
    helped: (Height, Time),
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    peer: Option<NodeId>,
    until: Time,
}

impl<M: Machine, S: Sign> Replica<M, S> {
    /// A replica whose machine has applied all heights before this one. `log` is what was logged, if anything.
    ///
    /// # Errors
    /// When the log says that decisions are missing, or cannot be repeated.
    pub fn new(
        config: Config,
        signer: S,
        machine: M,
        (height, voters): (Height, Voters),
        log: Vec<Record>,
        now: Time,
    ) -> Result<Self, ReplicaError> {
        let oldest = height.0.saturating_sub(HEIGHTS_KEPT).max(1);
        let past = (oldest..height.0)
            .filter_map(|past| Some((Height(past), machine.voters_of(Height(past))?)))
            .chain([(height, voters.clone())])
            .collect();
        let mut replica = Self {
            begin_at: after(now, config.timeouts.idle),
            heartbeat_at: now,
            patience: Patience::new(config.timeouts),
            config,
            signer,
            machine,
            height,
            past,
            voters,
            engine: None,
            outputs: VecDeque::new(),
            pool: Pool::default(),
            early: BTreeMap::new(),
            at_hand: VecDeque::new(),
            peers: BTreeMap::new(),
            asked: None,
            waited: Height(0),
            turn: 0,
            nudges: 0,
        };
        match log.first() {
            Some(Record::Height(logged)) if *logged > height => {
                return Err(ReplicaError::Missing {
                    log: *logged,
                    decided: height.0.saturating_sub(1),
                });
            }
            Some(Record::Height(logged)) if *logged == height => {
                let (mesh, signer) = (replica.config.mesh, replica.signer.clone());
                let patience = replica.patience;
                let here = (height, &replica.voters);
                replica.engine = Some(Engine::resume(mesh, signer, here, patience, now, log)?);
                replica.carry_on(now)?;
            }
            _ => {
                if replica.machine.has_work() {
                    replica.begin(now)?;
                }
            }
        }
        Ok(replica)
    }

    /// The height that is being decided.
    pub fn height(&self) -> Height {
        self.height
    }

    pub fn round(&self) -> Round {
        self.engine.as_ref().map_or(Round::Nil, Engine::round)
    }

    pub fn voters(&self) -> &Voters {
        &self.voters
    }

    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// For submissions. Call [`Self::wake`] after a change that makes work.
    pub fn machine_mut(&mut self) -> &mut M {
        &mut self.machine
    }

    /// How often agreement stood still without a timer and was pushed on.
    pub fn nudges(&self) -> u64 {
        self.nudges
    }

    /// Which of the things that are kept is more than it may be; none, or there is a defect. For simulators and tests.
    pub fn beyond_bounds(&self) -> Option<&'static str> {
        let kept = HEIGHTS_KEPT as usize + 1;
        let early =
            |early: &Early| early.messages.len() <= EARLY_MAX && early.bytes <= EARLY_BYTES_MAX;
        [
            ("at hand", self.at_hand.len() <= AT_HAND),
            ("past voters", self.past.len() <= kept),
            ("peers", self.peers.len() <= kept * VOTERS_MAX),
            ("early peers", self.early.len() <= kept * VOTERS_MAX),
            ("early messages", self.early.values().all(early)),
            ("statements", self.pool.within(&self.past)),
            ("a height", self.engine.as_ref().is_none_or(Engine::bounded)),
        ]
        .into_iter()
        .find_map(|(what, bounded)| (!bounded).then_some(what))
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::elapsed`] has to be called at the latest.
    pub fn deadline(&self) -> Time {
        let engine = match &self.engine {
            Some(engine) => engine.deadline(),
            None => Some(self.begin_at),
        };
        let asked = self.asked.map(|asked| asked.until);
        [engine, asked]
            .into_iter()
            .flatten()
            .fold(self.heartbeat_at, Time::min)
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// When this node cannot go on.
    pub fn elapsed(&mut self, now: Time) -> Result<(), ReplicaError> {
        match &mut self.engine {
            Some(engine) => engine.elapsed(now)?,
            None if self.begin_at <= now => self.begin(now)?,
            None => {}
        }
        self.carry_on(now)?;
        if self.asked.is_some_and(|asked| asked.until <= now) {
            self.asked = None;
            self.keep_up(now);
        }
        if self.heartbeat_at <= now {
            self.heartbeat_at = after(now, self.config.timeouts.heartbeat);
            self.outputs
                .push_back(Output::Broadcast(Message::Status(self.height)));
            if let Some(engine) = &mut self.engine
                && engine.deadline().is_none()
            {
                self.nudges += 1;
                engine.nudge(now)?;
                self.carry_on(now)?;
            }
        }
        Ok(())
    }

    /// Begins a height that waits for work, if there is some.
    ///
    /// # Errors
    /// When this node cannot go on.
    pub fn wake(&mut self, now: Time) -> Result<(), ReplicaError> {
        if self.engine.is_none() && self.machine.has_work() {
            self.begin(now)?;
        }
        Ok(())
    }

    /// A message from a peer, whose connection proves who it is.
    ///
    /// # Errors
    /// When this node cannot go on. What a peer does is never an error.
    pub fn message(
        &mut self,
        now: Time,
        from: NodeId,
        message: Message,
    ) -> Result<(), ReplicaError> {
        match message {
            Message::Status(height) => {
                self.saw(now, from, height);
                if height < self.height && self.voters.contains(&from) {
                    self.help(now, from, height);
                }
            }
            Message::Ask(height) => self.tell(from, height),
            Message::Decided(decided) => self.decided_elsewhere(now, from, decided)?,
            Message::Retold(votes) => votes.into_iter().for_each(|vote| self.retold(from, vote)),
            about => {
                let Some(height) = height_of(&about) else {
                    return Ok(());
                };
                self.saw(now, from, height);
                match height.cmp(&self.height) {
                    std::cmp::Ordering::Less => self.late(now, from, about),
                    std::cmp::Ordering::Equal => self.agree(now, from, about)?,
                    std::cmp::Ordering::Greater => self.early(from, height, about),
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, now: Time) -> Result<(), ReplicaError> {
        let here = (self.height, &self.voters);
        let (mesh, signer) = (self.config.mesh, self.signer.clone());
        self.outputs.push_back(Output::NewLog);
        let engine = Engine::start(mesh, signer, here, self.patience, now)?;
        self.engine = Some(engine);
        self.carry_on(now)?;
        for (from, early) in std::mem::take(&mut self.early) {
            for message in early.messages {
                match height_of(&message) {
                    Some(height) if height == self.height => self.agree(now, from, message)?,
                    Some(height) if height > self.height => self.early(from, height, message),
                    _ => self.late(now, from, message),
                }
            }
        }
        Ok(())
    }

    /// A message about the present height.
    fn agree(&mut self, now: Time, from: NodeId, message: Message) -> Result<(), ReplicaError> {
        if self.engine.is_none() {
            self.begin(now)?;
            // What came early may have decided it.
            if height_of(&message).is_some_and(|height| height < self.height) {
                self.late(now, from, message);
                return Ok(());
            }
        }
        let Some(engine) = &mut self.engine else {
            return Ok(());
        };
        match message {
            Message::Vote(vote) => engine.vote(now, vote)?,
            Message::Proposal(proposal) => engine.proposal(now, proposal)?,
            Message::Polka(proof) => engine.polka(now, proof)?,
            Message::RoundEnd(proof) => engine.round_end(now, proof)?,
            Message::Block(block) => {
                let hash = BlockHash::of(&block.body);
                if engine.body(&hash).is_some() {
                    engine.again(now, &hash)?;
                    return self.carry_out(now, Some(from));
                }
                let Some(round) = engine.expects(&from, block.round, &hash) else {
                    self.outputs
                        .push_back(Output::Fault(from, Fault::UnaskedBlock));
                    return Ok(());
                };
                let block = BlockMessage { round, ..block };
                let good = self.machine.check(self.height, &block.body);
                if good.is_err() {
                    self.outputs.push_back(Output::Fault(from, Fault::BadBlock));
                }
                engine.block(now, block, good.is_ok())?;
            }
            _ => {}
        }
        self.carry_out(now, Some(from))
    }

    fn carry_on(&mut self, now: Time) -> Result<(), ReplicaError> {
        self.carry_out(now, None)
    }

    /// Carries out what the engine wants, until it wants nothing.
    fn carry_out(&mut self, now: Time, from: Option<NodeId>) -> Result<(), ReplicaError> {
        let mut decision = None;
        while let Some(engine) = &mut self.engine {
            let Some(event) = engine.poll() else {
                break;
            };
            match event {
                Event::Log(record) => {
                    let mut bytes = Vec::new();
                    record.write(&mut bytes);
                    self.outputs.push_back(Output::Append(bytes));
                }
                Event::Flush => self.outputs.push_back(Output::Flush),
                Event::Tell(message) => self.outputs.push_back(Output::Broadcast(message)),
                Event::Propose(round) => {
                    let body = self.machine.propose(self.height);
                    engine.propose(now, round, body)?;
                }
                Event::Verified(statement) => self.pooled(statement),
                Event::Forged => {
                    if let Some(from) = from {
                        self.outputs.push_back(Output::Fault(from, Fault::Forged));
                    }
                }
                Event::Decided(certificate) => {
                    let body = engine.body(&certificate.block).cloned();
                    let Some(body) = body else {
                        let reason = "a block was decided that is not here".into();
                        let height = self.height;
                        return Err(EngineError { height, reason }.into());
                    };
                    // After what follows: the own vote that decided it here may decide it elsewhere.
                    decision = Some(Decided { certificate, body });
                }
            }
        }
        match decision {
            Some(decided) => self.finish(now, decided),
            None => Ok(()),
        }
    }

    fn pooled(&mut self, statement: Statement) {
        if let Some(evidence) = self.pool.add(statement) {
            self.outputs.push_back(Output::Evidence(evidence));
        }
    }

    /// The height is decided: applies it, tells what was seen in it, and goes on.
    fn finish(&mut self, now: Time, decided: Decided) -> Result<(), ReplicaError> {
        if let Some(engine) = self.engine.take() {
            self.patience = engine.patience(now, decided.certificate.round);
        }
        self.outputs.push_back(Output::Decided(decided.clone()));
        self.retell();
        let voters = self.machine.apply(&decided);
        self.at_hand.push_back(decided);
        if self.at_hand.len() > AT_HAND {
            self.at_hand.pop_front();
        }
        self.height = self.height.next();
        self.voters = voters.clone();
        self.past.insert(self.height, voters);
        self.pool.forget(self.height);
        let oldest = Height(self.height.0.saturating_sub(HEIGHTS_KEPT));
        self.past = self.past.split_off(&oldest);
        let past = &self.past;
        self.peers
            .retain(|peer, _| past.values().any(|voters| voters.contains(peer)));
        self.begin_at = after(now, self.config.timeouts.idle);
        let behind = self.surely() > self.height.next();
        let waits = self.early.values().any(|early| !early.messages.is_empty());
        if !behind && (waits || self.machine.has_work()) {
            // Not at once: a mesh of one would decide for ever within this call.
            self.begin_at = now;
        }
        if behind {
            self.asked = None;
            self.keep_up(now);
        }
        Ok(())
    }

    /// Tells what was said in this height to the next f + 1 voters in the ring: what a voter told some and not others meets
    /// at an honest one.
    fn retell(&mut self) {
        let me = self.signer.node();
        let Some(place) = self.voters.place(&me) else {
            return;
        };
        let votes = self.pool.votes(self.height, RETOLD_MAX);
        if votes.is_empty() {
            return;
        }
        let nodes: Vec<NodeId> = self.voters.nodes().collect();
        for step in 1..=(self.voters.faults() + 1).min(nodes.len() - 1) {
            let to = nodes[(usize::from(place) + step) % nodes.len()];
            self.outputs
                .push_back(Output::Send(to, Message::Retold(votes.clone())));
        }
    }

    /// A vote that somebody has seen.
    fn retold(&mut self, from: NodeId, vote: Signed<Vote>) {
        let Some(voters) = self.past.get(&vote.statement.height) else {
            return;
        };
        if !self.pool.is_news(&vote) {
            return;
        }
        if vote.verifies(&self.config.mesh, voters, &self.signer) {
            self.pooled(Statement::Vote(vote));
        } else {
            self.outputs.push_back(Output::Fault(from, Fault::Forged));
        }
    }

    /// A message about a height that is decided: evidence, perhaps, and a sign that its sender does not know.
    fn late(&mut self, now: Time, from: NodeId, message: Message) {
        let Some(height) = height_of(&message) else {
            return;
        };
        if let Message::Vote(vote) = message {
            self.retold(from, vote);
        }
        self.help(now, from, height);
    }

    fn early(&mut self, from: NodeId, height: Height, message: Message) {
        // Only voters are listened to ahead of time, and only one height ahead: the rest is asked for when it is decided.
        if height != self.height.next() || !self.voters.contains(&from) {
            return;
        }
        let early = self.early.entry(from).or_default();
        let bytes = match &message {
            Message::Block(block) => block.body.len(),
            _ => 0,
        };
        if early.messages.len() < EARLY_MAX && early.bytes + bytes <= EARLY_BYTES_MAX {
            early.bytes += bytes;
            early.messages.push(message);
        }
    }

    /// Sends a voter that is behind the decision of its height, though it did not ask; not again soon.
    fn help(&mut self, now: Time, to: NodeId, height: Height) {
        if !self.past.values().any(|voters| voters.contains(&to)) {
            // A stranger, of whom nothing is remembered, is told what it asks for and no more.
            return;
        }
        let answer = self.config.timeouts.answer;
        let peer = self.peers.entry(to).or_default();
        let (helped, when) = peer.helped;
        if helped == height && now < after(when, answer) {
            return;
        }
        peer.helped = (height, now);
        if let Some(decided) = self.at_hand(height) {
            self.outputs
                .push_back(Output::Send(to, Message::Decided(decided)));
        }
    }

    fn at_hand(&self, height: Height) -> Option<Decided> {
        let first = self.at_hand.front()?.certificate.height;
        let place = usize::try_from(height.0.checked_sub(first.0)?).ok()?;
        self.at_hand.get(place).cloned()
    }

    /// Answers a question for decisions.
    fn tell(&mut self, to: NodeId, from: Height) {
        if from >= self.height {
            return self
                .outputs
                .push_back(Output::Send(to, Message::Status(self.height)));
        }
        if self.at_hand(from).is_none() {
            return self.outputs.push_back(Output::SendDecided(to, from));
        }
        for height in from.0..from.0.saturating_add(TOLD_AT_ONCE) {
            if let Some(decided) = self.at_hand(Height(height)) {
                self.outputs
                    .push_back(Output::Send(to, Message::Decided(decided)));
            }
        }
    }

    /// Notes the height of a peer.
    fn saw(&mut self, now: Time, from: NodeId, height: Height) {
        if !self.voters.contains(&from) {
            return;
        }
        let peer = self.peers.entry(from).or_default();
        peer.height = peer.height.max(height);
        if height > self.height {
            self.keep_up(now);
        }
    }

    /// The height that an honest voter works on: more than f say that it is decided up to there, or more.
    fn surely(&self) -> Height {
        let voting = self
            .peers
            .iter()
            .filter(|(node, _)| self.voters.contains(node));
        let mut heights: Vec<Height> = voting.map(|(_, peer)| peer.height).collect();
        heights.sort_unstable_by(|a, b| b.cmp(a));
        heights
            .get(self.voters.faults())
            .copied()
            .unwrap_or_default()
    }

    /// Asks for the decision of the present height if somebody says that it has it. One height ahead is where others are
    /// while a message is on its way, so that is waited for first.
    fn keep_up(&mut self, now: Time) {
        let ahead: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.height > self.height)
            .map(|(node, _)| *node)
            .collect();
        if self.asked.is_some() || ahead.is_empty() {
            return;
        }
        let until = after(now, self.config.timeouts.answer);
        if self.surely() <= self.height.next() && self.waited != self.height {
            self.waited = self.height;
            self.asked = Some(Asked { peer: None, until });
            return;
        }
        let peer = ahead[self.turn % ahead.len()];
        self.turn = self.turn.wrapping_add(1);
        self.asked = Some(Asked {
            peer: Some(peer),
            until,
        });
        self.outputs
            .push_back(Output::Send(peer, Message::Ask(self.height)));
    }

    fn decided_elsewhere(
        &mut self,
        now: Time,
        from: NodeId,
        decided: Decided,
    ) -> Result<(), ReplicaError> {
        let height = decided.certificate.height;
        if height != self.height {
            return Ok(());
        }
        let good = proves(
            &decided.certificate,
            &self.config.mesh,
            &self.voters,
            &self.signer,
        ) && BlockHash::of(&decided.body) == decided.certificate.block;
        if !good {
            self.outputs
                .push_back(Output::Fault(from, Fault::BadDecision));
            // It answered, badly: somebody else is asked now.
            if self.asked.is_some_and(|asked| asked.peer == Some(from)) {
                self.asked = None;
                self.peers.remove(&from);
                self.keep_up(now);
            }
            return Ok(());
        }
        if let Err(reason) = self.machine.check(height, &decided.body) {
            return Err(ReplicaError::Rules { height, reason });
        }
        for vote in decided.certificate.votes() {
            self.pooled(Statement::Vote(vote));
        }
        self.asked = None;
        self.finish(now, decided)
    }
}

fn proves(certificate: &Certificate, mesh: &MeshId, voters: &Voters, by: &impl Sign) -> bool {
    certificate.round.is_defined() && certificate.verify(mesh, voters, by).is_ok()
}

fn height_of(message: &Message) -> Option<Height> {
    Some(match message {
        Message::Vote(vote) => vote.statement.height,
        Message::Proposal(proposal) => proposal.statement.height,
        Message::Block(block) => block.height,
        Message::Polka(proof) => proof.0.height,
        Message::RoundEnd(proof) => proof.0.height,
        _ => return None,
    })
}

fn after(now: Time, wait: Duration) -> Time {
    now.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX))
}
