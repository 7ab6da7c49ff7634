//! One height of agreement: Malachite's core, which is Tendermint, which is of the family of PBFT.
//!
//! The core is a coroutine that asks for effects. Here they become events that the caller carries out in order, and a table
//! of timers. A new engine is made for every height: what a height leaves behind cannot reach the next.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::task::{Context as TaskContext, Poll, Waker};

use bytes::Bytes;
use hypermesh_id::NodeId;
use malachite::{
    ConsensusMsg, Effect, Error, Input, LivenessMsg, LocallyProposedValue, Params, ProposedValue,
    Resumable, Resume, SignedConsensusMsg, State, process,
};
use malachite_signing::VerifierExt;
use malachite_types::{
    Round, SignedMessage, ThresholdParams, Timeout, TimeoutKind, Validity, ValueOrigin,
    ValuePayload, VoteExtensionPolicy,
};

use crate::blocks::Blocks;
use crate::context::{Bft, ForMesh};
use crate::message::{BlockMessage, Message, PolkaProof, RoundProof};
use crate::patience::{Patience, Waited};
use crate::record::Record;
use crate::types::{BlockHash, Height, MeshId, Voters};
use crate::vote::{Certificate, Proposal, Sign, Signed, Signer, Vote};

/// Rounds ahead of the present one that are looked at, as in the core.
const ROUNDS_AHEAD: i64 = 10;
/// What the core may hold back; later heights are held back by the caller, so this is for votes before the height begins.
const QUEUE_MAX: usize = 1024;

/// Nanoseconds of the caller's clock.
pub type Time = u64;

/// What the caller has to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// Append to the log.
    Log(Record),
    /// The log must be on the disk before anything that follows is done.
    Flush,
    /// Tell all voters.
    Tell(Message),
    /// This node may propose in this round: make a block.
    Propose(Round),
    /// A vote or proposal was verified: evidence is looked for in it.
    Verified(Statement),
    /// A signature was not by whom it names.
    Forged,
    Decided(Certificate),
}

/// What a voter signed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Statement {
    Vote(Signed<Vote>),
    Proposal(Signed<Proposal>),
}

/// The core failed, or asked for what it should not: a defect, which stops the node rather than its safety.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("agreement on height {height} cannot go on: {reason}")]
pub struct EngineError {
    pub height: Height,
    pub reason: String,
}

/// Agreement on one height.
pub(crate) struct Engine<S> {
    state: State<Bft>,
    host: Host<S>,
}

impl<S: std::fmt::Debug> std::fmt::Debug for Engine<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.host.fmt(f)
    }
}

#[derive(Debug)]
struct Host<S> {
    mesh: MeshId,
    signer: S,
    height: Height,
    patience: Patience,
    /// In the present round.
    waited: Waited,
    now: Time,
    timers: BTreeMap<(u8, Round), (Time, Timeout)>,
    events: VecDeque<Event>,
    blocks: Blocks,
    /// What the log holds already, while it is replayed.
    replayed: Vec<Record>,
    round: Round,
    decided: bool,
    /// The block that was proposed last.
    #[cfg(feature = "planted-bug")]
    newest: Option<(Round, BlockHash)>,
}

impl<S: Sign> Engine<S> {
    /// Begins a height. Events follow.
    pub(crate) fn start(
        mesh: MeshId,
        signer: S,
        (height, voters): (Height, &Voters),
        patience: Patience,
        now: Time,
    ) -> Result<Self, EngineError> {
        let mut engine = Self::new(mesh, signer, (height, voters), patience, now);
        engine
            .host
            .events
            .push_back(Event::Log(Record::Height(height)));
        engine.begin(voters, false)?;
        Ok(engine)
    }

    /// Begins a height again, of which this was logged. What had been signed is not signed otherwise.
    pub(crate) fn resume(
        mesh: MeshId,
        signer: S,
        (height, voters): (Height, &Voters),
        patience: Patience,
        now: Time,
        records: Vec<Record>,
    ) -> Result<Self, EngineError> {
        let mut engine = Self::new(mesh, signer, (height, voters), patience, now);
        let mut inputs = Vec::with_capacity(records.len());
        for record in &records {
            inputs.extend(engine.host.input(record, voters));
        }
        engine.host.replayed = records;
        engine.state.index_wal_entries(inputs.iter());
        engine.begin(voters, true)?;
        for input in inputs {
            engine.feed(input)?;
        }
        engine.state.reset_entries_index();
        engine.host.replayed = Vec::new();
        Ok(engine)
    }

    fn new(
        mesh: MeshId,
        signer: S,
        (height, voters): (Height, &Voters),
        patience: Patience,
        now: Time,
    ) -> Self {
        let params = Params {
            address: Signer(signer.node()),
            threshold_params: ThresholdParams::default(),
            // With proposals alone the core takes every block for valid.
            value_payload: ValuePayload::ProposalAndParts,
            enabled: true,
        };
        let state = State::new(Bft, height, voters.clone(), params, 1, QUEUE_MAX);
        let host = Host {
            mesh,
            signer,
            height,
            patience,
            waited: Waited::default(),
            now,
            timers: BTreeMap::new(),
            events: VecDeque::new(),
            blocks: Blocks::default(),
            replayed: Vec::new(),
            round: Round::Nil,
            decided: false,
            #[cfg(feature = "planted-bug")]
            newest: None,
        };
        Self { state, host }
    }

    fn begin(&mut self, voters: &Voters, again: bool) -> Result<(), EngineError> {
        // Without a target time: the core would measure it with the machine's clock.
        let policy = VoteExtensionPolicy::Disabled;
        let height = self.host.height;
        self.feed(Input::StartHeight(
            height,
            voters.clone(),
            again,
            None,
            policy,
        ))
    }

    pub(crate) fn vote(&mut self, now: Time, vote: Signed<Vote>) -> Result<(), EngineError> {
        self.host.now = now;
        self.feed(Input::Vote(SignedMessage::new(
            vote.statement,
            vote.signature,
        )))
    }

    pub(crate) fn proposal(
        &mut self,
        now: Time,
        proposal: Signed<Proposal>,
    ) -> Result<(), EngineError> {
        self.host.now = now;
        #[cfg(feature = "planted-bug")]
        {
            self.host.newest = Some((proposal.statement.round, proposal.statement.block));
        }
        let block = proposal.statement.block;
        self.feed(Input::Proposal(SignedMessage::new(
            proposal.statement,
            proposal.signature,
        )))?;
        self.offer(&block)
    }

    pub(crate) fn polka(&mut self, now: Time, proof: PolkaProof) -> Result<(), EngineError> {
        self.host.now = now;
        self.feed(Input::PolkaCertificate(proof.0))
    }

    pub(crate) fn round_end(&mut self, now: Time, proof: RoundProof) -> Result<(), EngineError> {
        self.host.now = now;
        self.feed(Input::RoundCertificate(proof.0))
    }

    /// The round for which a block may come from this node, if it may: its proposer tells it, or somebody a block whose
    /// proposal is known.
    pub(crate) fn expects(
        &mut self,
        from: &NodeId,
        round: Round,
        block: &BlockHash,
    ) -> Option<Round> {
        if let Some(named) = self.host.blocks.named(block) {
            return Some(named);
        }
        let ahead = round.as_i64() - self.host.round.as_i64().max(0);
        let proposes = round.is_defined()
            && ahead <= ROUNDS_AHEAD
            && self.state.get_proposer(self.host.height, round).0 == *from;
        (proposes && self.host.blocks.reserve(round)).then_some(round)
    }

    /// Whether what is kept of this height is within its bounds. The core's own votes and proposals are not looked into.
    pub(crate) fn bounded(&self) -> bool {
        let rounds = (self.host.round.as_i64().max(0) + ROUNDS_AHEAD + 1) as usize;
        // Each round has at most one timer of a kind.
        self.host.timers.len() <= 4 * rounds
            && self.host.events.is_empty()
            && self.host.blocks.within(rounds)
    }

    /// A block that came, and whether it is good.
    pub(crate) fn block(
        &mut self,
        now: Time,
        block: BlockMessage,
        valid: bool,
    ) -> Result<(), EngineError> {
        self.host.now = now;
        let hash = BlockHash::of(&block.body);
        self.host.blocks.put(hash, block.body, valid);
        self.judged(block.round, block.valid_round, hash, valid)
    }

    /// A block came that is here already.
    pub(crate) fn again(&mut self, now: Time, block: &BlockHash) -> Result<(), EngineError> {
        self.host.now = now;
        self.offer(block)
    }

    /// Gives the core a block that it had no place for when it came. Who proposes in a round may fill the core's two places of it
    /// with others for some voters; those have to have the block when a later round's proposal names it, or they could never
    /// vote for what the rest is locked on, and the height would never end.
    fn offer(&mut self, block: &BlockHash) -> Result<(), EngineError> {
        let core = &self.state.full_proposal_keeper;
        if core.get_value_by_id(&self.host.height, block).is_some() {
            return Ok(());
        }
        let blocks = &self.host.blocks;
        match (blocks.good(block), blocks.named(block)) {
            (Some(valid), Some(round)) => self.judged(round, Round::Nil, *block, valid),
            _ => Ok(()),
        }
    }

    fn judged(
        &mut self,
        round: Round,
        valid_round: Round,
        block: BlockHash,
        valid: bool,
    ) -> Result<(), EngineError> {
        let value = ProposedValue {
            height: self.host.height,
            round,
            valid_round,
            proposer: *self.state.get_proposer(self.host.height, round),
            value: block,
            validity: validity(valid),
        };
        self.feed(Input::ProposedValue(value, ValueOrigin::Consensus))
    }

    /// The block that this node proposes, after [`Event::Propose`].
    pub(crate) fn propose(
        &mut self,
        now: Time,
        round: Round,
        body: Bytes,
    ) -> Result<(), EngineError> {
        self.host.now = now;
        let hash = BlockHash::of(&body);
        self.host.blocks.put(hash, body.clone(), true);
        self.host
            .events
            .push_back(Event::Tell(Message::Block(BlockMessage {
                height: self.host.height,
                round,
                valid_round: Round::Nil,
                body,
            })));
        let value = LocallyProposedValue::new(self.host.height, round, hash);
        self.feed(Input::Propose(value))
    }

    /// The next time that [`Self::elapsed`] has something to do; none when no timer runs.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.host.timers.values().map(|(at, _)| *at).min()
    }

    /// Lets time pass.
    pub(crate) fn elapsed(&mut self, now: Time) -> Result<(), EngineError> {
        self.host.now = now;
        loop {
            let due = self.host.timers.iter().filter(|(_, (at, _))| *at <= now);
            let Some(key) = due
                .min_by_key(|(key, (at, _))| (*at, **key))
                .map(|(key, _)| *key)
            else {
                return Ok(());
            };
            if let Some((_, timeout)) = self.host.timers.remove(&key) {
                self.feed(Input::TimeoutElapsed(timeout))?;
            }
        }
    }

    /// Says everything again that this node said in this round: for when no timer runs and nothing is decided.
    pub(crate) fn nudge(&mut self, now: Time) -> Result<(), EngineError> {
        self.host.now = now;
        if self.host.decided || self.host.round.is_nil() {
            return Ok(());
        }
        self.feed(Input::TimeoutElapsed(Timeout::rebroadcast(self.host.round)))
    }

    pub(crate) fn poll(&mut self) -> Option<Event> {
        self.host.events.pop_front()
    }

    pub(crate) fn round(&self) -> Round {
        self.host.round
    }

    /// What the next height waits, now that this one is decided in a round, here or elsewhere.
    pub(crate) fn patience(&self, now: Time, round: Round) -> Patience {
        let host = &self.host;
        match round > host.round {
            // Of that round nothing was seen here.
            true => host.patience,
            false => host.patience.after(host.round, &host.waited, now),
        }
    }

    pub(crate) fn body(&self, block: &BlockHash) -> Option<&Bytes> {
        self.host.blocks.get(block)
    }

    fn feed(&mut self, input: Input<Bft>) -> Result<(), EngineError> {
        let Self { state, host } = self;
        if host.decided {
            return Ok(());
        }
        let height = host.height;
        let result: Result<(), Error<Bft>> = process!(input: input, state: state, metrics: &(), with: effect => host.carry_out(effect));
        result.map_err(|error| EngineError {
            height,
            reason: error.to_string(),
        })
    }
}

impl<S: Sign> Host<S> {
    fn log(&mut self, record: Record) {
        if !self.replayed.contains(&record) {
            self.events.push_back(Event::Log(record));
        }
    }

    fn tell(&mut self, message: Message) {
        self.events.push_back(Event::Tell(message));
    }

    fn carry_out(&mut self, effect: Effect<Bft>) -> Result<Resume<Bft>, NotAtOnce> {
        Ok(match effect {
            Effect::CancelAllTimeouts(then) => {
                self.timers.clear();
                then.resume_with(())
            }
            Effect::CancelTimeout(timeout, then) => {
                self.timers.remove(&timer_key(&timeout));
                then.resume_with(())
            }
            Effect::ScheduleTimeout(timeout, then) => {
                self.waited.begins(timeout.kind, self.now);
                let after = self.patience.wait(timeout).as_nanos();
                let at = self.now.saturating_add(u64::try_from(after).unwrap_or(u64::MAX));
                self.timers.insert(timer_key(&timeout), (at, timeout));
                then.resume_with(())
            }
            Effect::StartRound(_, round, _, _, then) => {
                self.round = round;
                self.waited = Waited::default();
                then.resume_with(())
            }
            Effect::PublishConsensusMsg(message, then) => {
                // What was logged of it must outlive this node before anyone can have seen it.
                self.events.push_back(Event::Flush);
                if let SignedConsensusMsg::Vote(vote) = &message {
                    self.waited.voted(vote.phase, self.now);
                }
                self.tell(match message {
                    SignedConsensusMsg::Vote(vote) => Message::Vote(signed(vote)),
                    SignedConsensusMsg::Proposal(proposal) => Message::Proposal(signed(proposal)),
                });
                then.resume_with(())
            }
            Effect::PublishLivenessMsg(message, then) => {
                self.tell(match message {
                    LivenessMsg::Vote(vote) => Message::Vote(signed(vote)),
                    LivenessMsg::PolkaCertificate(polka) => Message::Polka(PolkaProof(polka)),
                    LivenessMsg::SkipRoundCertificate(end) => Message::RoundEnd(RoundProof(end)),
                });
                then.resume_with(())
            }
            Effect::RepublishVote(vote, then) => {
                self.tell(Message::Vote(signed(vote)));
                then.resume_with(())
            }
            Effect::RepublishRoundCertificate(end, then) => {
                self.tell(Message::RoundEnd(RoundProof(end)));
                then.resume_with(())
            }
            Effect::GetValue(_, round, _, then) => {
                self.events.push_back(Event::Propose(round));
                then.resume_with(())
            }
            Effect::RestreamProposal(height, round, valid_round, _, block, then) => {
                if let Some(body) = self.blocks.get(&block).cloned() {
                    self.tell(Message::Block(BlockMessage {
                        height,
                        round,
                        valid_round,
                        body,
                    }));
                }
                then.resume_with(())
            }
            Effect::SignVote(vote, then) => {
                #[cfg(feature = "planted-bug")]
                let vote = self.unlocked(vote);
                let signature = self.signer.sign(&vote.sign_bytes(&self.mesh));
                then.resume_with(SignedMessage::new(vote, signature))
            }
            Effect::SignProposal(proposal, then) => {
                let signature = self.signer.sign(&proposal.sign_bytes(&self.mesh));
                then.resume_with(SignedMessage::new(proposal, signature))
            }
            Effect::VerifySignature(message, key, then) => {
                let bytes = match &message.message {
                    ConsensusMsg::Vote(vote) => vote.sign_bytes(&self.mesh),
                    ConsensusMsg::Proposal(proposal) => proposal.sign_bytes(&self.mesh),
                };
                let valid = self.signer.verify(&key, &bytes, &message.signature);
                self.events.push_back(match (valid, message.message) {
                    (false, _) => Event::Forged,
                    (true, ConsensusMsg::Vote(statement)) => Event::Verified(Statement::Vote(Signed {
                        statement,
                        signature: message.signature,
                    })),
                    (true, ConsensusMsg::Proposal(statement)) => {
                        self.blocks.name(statement.round, statement.block);
                        Event::Verified(Statement::Proposal(Signed {
                            statement,
                            signature: message.signature,
                        }))
                    }
                });
                then.resume_with(valid)
            }
            Effect::VerifyCommitCertificate(certificate, voters, thresholds, then) => {
                let verifier = ForMesh(&self.mesh, &self.signer);
                let verdict = verifier.verify_commit_certificate(&Bft, &certificate, &voters, thresholds);
                then.resume_with(at_once(verdict)?)
            }
            Effect::VerifyPolkaCertificate(certificate, voters, thresholds, then) => {
                let verifier = ForMesh(&self.mesh, &self.signer);
                let verdict = verifier.verify_polka_certificate(&Bft, &certificate, &voters, thresholds);
                let verdict = at_once(verdict)?;
                if verdict.is_ok() {
                    self.verified(certificate.votes(&Bft));
                }
                then.resume_with(verdict)
            }
            Effect::VerifyRoundCertificate(certificate, voters, thresholds, then) => {
                let verifier = ForMesh(&self.mesh, &self.signer);
                let verdict = verifier.verify_round_certificate(&Bft, &certificate, &voters, thresholds);
                let verdict = at_once(verdict)?;
                if verdict.is_ok() {
                    self.verified(certificate.votes(&Bft));
                }
                then.resume_with(verdict)
            }
            Effect::VerifyExtendedCommitCertificate(certificate, voters, thresholds, policy, then) => {
                let verifier = ForMesh(&self.mesh, &self.signer);
                let verdict = verifier.verify_extended_commit_certificate(
                    &Bft,
                    &certificate,
                    &voters,
                    thresholds,
                    policy,
                );
                then.resume_with(at_once(verdict)?)
            }
            Effect::WalAppend(_, input, then) => {
                if let Some(record) = self.record(input) {
                    self.log(record);
                }
                then.resume_with(())
            }
            Effect::Finalize(certificate, _, _, then) => {
                let mut signatures: Vec<_> = certificate
                    .commit_signatures
                    .into_iter()
                    .map(|signature| (signature.address.0, signature.signature))
                    .collect();
                signatures.sort_unstable();
                self.decided = true;
                self.timers.clear();
                self.events.push_back(Event::Decided(Certificate {
                    height: certificate.height,
                    round: certificate.round,
                    block: certificate.value_id,
                    signatures,
                }));
                then.resume_with(())
            }
            Effect::Decide(_, _, then)
            // Decisions of others come beside the core, which is not told of them.
            | Effect::CertVerifiedSyncValue(_, _, then)
            | Effect::CertRejectedSyncValue(_, _, _, then) => then.resume_with(()),
            // Extensions are off.
            Effect::ExtendVote(_, _, _, _, then) => then.resume_with(None),
            Effect::VerifyVoteExtension(_, _, _, _, _, _, then) => {
                then.resume_with(Err(malachite::VoteExtensionError::InvalidVoteExtension))
            }
        })
    }

    /// Votes of a certificate that holds. The core has them from now on, and does not look at the same ones again when they come
    /// by themselves.
    fn verified(&mut self, votes: impl Iterator<Item = SignedMessage<Bft, Vote>>) {
        for vote in votes {
            self.events
                .push_back(Event::Verified(Statement::Vote(Signed {
                    statement: vote.message,
                    signature: vote.signature,
                })));
        }
    }

    /// Votes for the block of this round though it is locked on another.
    #[cfg(feature = "planted-bug")]
    fn unlocked(&self, vote: Vote) -> Vote {
        let newest = self.newest.filter(|(round, _)| *round == vote.round);
        match (vote.phase, &vote.block, newest) {
            (
                malachite_types::VoteType::Prevote,
                malachite_types::NilOrVal::Nil,
                Some((_, block)),
            ) => Vote {
                block: malachite_types::NilOrVal::Val(block),
                ..vote
            },
            _ => vote,
        }
    }

    /// What the log keeps of an input of the core; the rest is made again.
    fn record(&self, input: Input<Bft>) -> Option<Record> {
        Some(match input {
            Input::Vote(vote) => Record::Vote(signed(vote)),
            Input::Proposal(proposal) => Record::Proposal(signed(proposal)),
            Input::PolkaCertificate(polka) => Record::Polka(PolkaProof(polka)),
            Input::TimeoutElapsed(timeout) => Record::Timeout(timeout),
            Input::ProposedValue(value, _) => Record::Block {
                round: value.round,
                valid_round: value.valid_round,
                valid: value.validity == Validity::Valid,
                body: self.blocks.get(&value.value)?.clone(),
            },
            _ => return None,
        })
    }

    /// The input that a record was made of.
    fn input(&mut self, record: &Record, voters: &Voters) -> Option<Input<Bft>> {
        Some(match record.clone() {
            Record::Height(_) => return None,
            Record::Vote(vote) => Input::Vote(SignedMessage::new(vote.statement, vote.signature)),
            Record::Proposal(proposal) => {
                Input::Proposal(SignedMessage::new(proposal.statement, proposal.signature))
            }
            Record::Polka(proof) => Input::PolkaCertificate(proof.0),
            Record::Timeout(timeout) => Input::TimeoutElapsed(timeout),
            Record::Block {
                round,
                valid_round,
                valid,
                body,
            } => {
                let hash = BlockHash::of(&body);
                self.blocks.put(hash, body, valid);
                let value = ProposedValue {
                    height: self.height,
                    round,
                    valid_round,
                    proposer: voters
                        .proposer(self.height, round.as_u32().unwrap_or(0))
                        .node,
                    value: hash,
                    validity: validity(valid),
                };
                Input::ProposedValue(value, ValueOrigin::Consensus)
            }
        })
    }
}

fn validity(valid: bool) -> Validity {
    match valid {
        true => Validity::Valid,
        false => Validity::Invalid,
    }
}

fn signed<T>(message: SignedMessage<Bft, T>) -> Signed<T> {
    Signed {
        statement: message.message,
        signature: message.signature,
    }
}

fn timer_key(timeout: &Timeout) -> (u8, Round) {
    let kind = match timeout.kind {
        TimeoutKind::Propose => 1,
        TimeoutKind::Prevote => 2,
        TimeoutKind::Precommit => 3,
        TimeoutKind::Rebroadcast => 4,
        TimeoutKind::FinalizeHeight(_) => 5,
    };
    (kind, timeout.round)
}

/// A verdict that did not come at once, as all of ours do.
#[derive(Debug)]
struct NotAtOnce;

/// The end of a future that waits for nothing: the verifier's functions are asynchronous in form alone.
fn at_once<T>(future: impl Future<Output = T>) -> Result<T, NotAtOnce> {
    match pin!(future).poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(value) => Ok(value),
        Poll::Pending => Err(NotAtOnce),
    }
}
