//! The ledger of the mesh as this node runs it: who waits for what, what is told, and what is to be found later.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hypermesh_consensus::{Decided, Evidence, Height, Key, Machine, MeshId, Sign, VERSION, Voters};
use hypermesh_id::NodeId;
use hypermesh_registry::{
    Action, LIFETIME, Ledger, NameProof, Outcome, Rejected, Ruled, State, TRANSACTION_BYTES_MAX,
    Tip, Transaction, TransactionId, Verified, decidable, next_sequence,
};
use stoq::Class;
use tokio::sync::{mpsc, oneshot, watch};

use super::accuse::Accuser;
use super::driver::{Applied, Ask, Orders};
use super::exchange::Exchange;
use super::snapshot_words::{ASK, PIECE};
use super::snapshots::Snapshots;
use crate::doors::Tell;

/// The kind of a message that carries transactions; those of the agreement are below.
const TRANSACTIONS: u8 = 64;
/// Bytes of transactions that are told in one message.
const TOLD_BYTES: usize = 256 << 10;
const HEADER_BYTES: usize = 2 + 32;
/// After which what waits here is told again: a peer may have been away.
const TELL_AGAIN: Duration = Duration::from_secs(2);
/// Heights in which a transaction may be decided when nobody says otherwise.
const HEIGHTS: u64 = 1_024;
/// Messages whose transactions wait to be verified; more are told again.
const UNVERIFIED_MAX: usize = 64;
/// Signatures from which on a batch gains little by more.
const VERIFIED_AT_ONCE: usize = 512;
/// Submissions that wait for their decision.
const WAITING_MAX: usize = 65_536;

/// Where a transaction was decided, and what the rules made of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    pub(crate) id: TransactionId,
    pub(crate) height: u64,
    pub(crate) place: u32,
    pub(crate) outcome: Outcome,
}

/// Why a transaction has no verdict.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsubmitted {
    #[error("{0}")]
    Rejected(#[from] Rejected),
    #[error(
        "it can no longer be decided: its last height has passed, or a later one of this node was decided before it"
    )]
    Dropped,
    #[error("too many submissions wait for their decision; try again later")]
    Busy,
}

type Waiter = oneshot::Sender<Result<Verdict, Unsubmitted>>;

/// What everyone may look at: the state after the last decided block.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) state: State,
    pub(crate) tip: Tip,
    /// Goes up with each height that may have changed who belongs.
    pub(crate) members: u64,
    pub(crate) waiting: usize,
    pub(crate) waiting_bytes: usize,
    pub(crate) evidence: Arc<Vec<Evidence>>,
    /// The height of the newest snapshot here; 0: none.
    pub(crate) snapshot: u64,
}

/// Who told, and transactions whose signatures nobody has looked at.
type Told = (NodeId, Vec<Transaction>);

pub(crate) struct Chain {
    ledger: Ledger,
    key: Key,
    waiters: HashMap<TransactionId, Waiter>,
    /// Of this node, to be told at once.
    fresh: Vec<Bytes>,
    tells: VecDeque<Tell>,
    told_at: Instant,
    accuser: Accuser,
    /// Where signatures of others are verified, once it runs.
    verifier: Option<SyncSender<Told>>,
    /// What others told and later turned out to be wrong.
    faults: Vec<(NodeId, &'static str)>,
    /// See [`Published::members`].
    members: u64,
    /// What is published is older than what is here.
    stale: bool,
    published: watch::Sender<Published>,
    snapshots: Snapshots,
    exchange: Exchange,
}

impl Chain {
    /// The chain of a ledger, with what was proved against voters before a restart.
    pub(crate) fn new(ledger: Ledger, key: Key, accuser: Accuser, snapshots: Snapshots) -> Self {
        let first = Published {
            state: ledger.state().clone(),
            tip: ledger.tip(),
            members: 0,
            waiting: 0,
            waiting_bytes: 0,
            evidence: accuser.all(),
            snapshot: snapshots.last(),
        };
        Self {
            ledger,
            key,
            waiters: HashMap::new(),
            fresh: Vec::new(),
            tells: VecDeque::new(),
            told_at: Instant::now(),
            accuser,
            verifier: None,
            faults: Vec::new(),
            members: 0,
            stale: false,
            published: watch::channel(first).0,
            snapshots,
            exchange: Exchange::new(),
        }
    }

    /// See [`Exchange::installed`].
    pub(crate) fn installed(&self) -> watch::Receiver<u64> {
        self.exchange.installed()
    }

    /// Has a message told.
    pub(crate) fn tell_word(&mut self, tell: Tell) {
        self.tells.push_back(tell);
    }

    /// Has it counted that a peer was wrong.
    pub(crate) fn fault(&mut self, node: NodeId, what: &'static str) {
        self.faults.push((node, what));
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Published> {
        self.published.subscribe()
    }

    /// Applies a decision of the disk.
    pub(crate) fn replay(&mut self, decided: &Decided) -> Result<Voters, String> {
        let voters = self.ledger.replay(decided);
        while self.ledger.poll_applied().is_some() {}
        self.members += 1;
        self.snapshots.decided(&self.ledger, decided.body.len());
        self.publish();
        voters.map_err(|error| error.to_string())
    }

    /// Signs an action of this node and has it wait; the word on it comes to `waiter`.
    pub(crate) fn submit(&mut self, action: Action, within: u64, waiter: Waiter) {
        if self.waiters.len() >= WAITING_MAX {
            // Who asked may be gone.
            let _ = waiter.send(Err(Unsubmitted::Busy));
            return;
        }
        match self.enter(action, within) {
            Ok(id) => {
                self.waiters.insert(id, waiter);
            }
            Err(rejected) => drop(waiter.send(Err(rejected.into()))),
        }
        self.stale = true;
    }

    /// Signs an action of this node, and has it wait and told.
    fn enter(&mut self, action: Action, within: u64) -> Result<TransactionId, Rejected> {
        let (state, me) = (self.ledger.state(), self.key.node());
        let sequence = next_sequence(state, self.ledger.mempool(), &me);
        let heights = match within {
            0 => HEIGHTS,
            some => some.min(LIFETIME - 1),
        };
        let until = self.ledger.next_height().0.saturating_add(heights - 1);
        let mesh = self.ledger.mesh();
        let signed = Verified::sign(&self.key, &mesh, sequence, until, action);
        let (id, bytes) = (signed.id(), signed.bytes().clone());
        self.ledger.insert(signed)?;
        self.fresh.push(bytes);
        Ok(id)
    }

    /// Has transactions wait whose signatures were verified.
    fn verified(&mut self, all: Vec<Verified>, forgers: Vec<NodeId>) {
        for node in forgers {
            self.fault(node, "transaction_forged");
        }
        for one in all {
            // What was decided meanwhile, or is too much now, was worth no more than that.
            let _ = self.ledger.insert(one);
        }
        self.stale = true;
    }

    /// Accuses whom a proof of this node convicts and no decision has yet.
    fn accuse(&mut self) {
        let me = self.key.node();
        for evidence in self.accuser.due(self.ledger.state(), &me) {
            let accused = (evidence.culprit(), evidence.height());
            match self.enter(Action::Accuse(Box::new(evidence)), 0) {
                Ok(id) => self.accuser.waits(accused, id),
                // The next height sees it again.
                Err(error) => tracing::debug!(%error, "a voter is not accused yet"),
            }
        }
    }

    pub(crate) fn prove(&self, name: &hypermesh_registry::Name) -> Option<NameProof> {
        self.ledger.prove_name(name)
    }

    fn publish(&mut self) {
        self.stale = false;
        let mempool = self.ledger.mempool();
        let next = Published {
            state: self.ledger.state().clone(),
            tip: self.ledger.tip(),
            members: self.members,
            waiting: mempool.len(),
            waiting_bytes: mempool.bytes(),
            evidence: self.accuser.all(),
            snapshot: self.snapshots.last(),
        };
        metrics::gauge!("hypermesh_order_waiting").set(next.waiting as f64);
        metrics::gauge!("hypermesh_order_waiting_bytes").set(next.waiting_bytes as f64);
        self.published.send_replace(next);
    }

    /// Version, kind, mesh, then each transaction's length and bytes.
    fn tell(&mut self, transactions: &[Bytes]) {
        let mut rest = transactions.iter().peekable();
        while rest.peek().is_some() {
            let mut content = vec![VERSION, TRANSACTIONS];
            content.extend(self.ledger.mesh().0);
            while let Some(next) = rest.peek()
                && content.len() < TOLD_BYTES
            {
                content.extend((next.len() as u32).to_le_bytes());
                content.extend(&next[..]);
                rest.next();
            }
            self.tells.push_back(Tell {
                to: Vec::new(),
                class: Class::Gossip,
                content: content.into(),
            });
        }
    }
}

impl Machine for Chain {
    fn has_work(&self) -> bool {
        self.ledger.has_work()
    }
    fn propose(&mut self, height: Height) -> Bytes {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let millis = now.map_or(0, |now| now.as_millis());
        self.ledger
            .tell_time(u64::try_from(millis).unwrap_or(u64::MAX));
        self.ledger.propose(height)
    }
    fn check(&self, height: Height, block: &[u8]) -> Result<(), String> {
        self.ledger.check(height, block)
    }
    fn voters_of(&self, height: Height) -> Option<Voters> {
        self.ledger.voters_of(height)
    }
    fn apply(&mut self, decided: &Decided) -> Voters {
        let voters = self.ledger.apply(decided);
        self.snapshots.decided(&self.ledger, decided.body.len());
        voters
    }
}

impl Orders for Chain {
    fn begin(&mut self, asks: &mpsc::Sender<Ask<Self>>) -> std::io::Result<()> {
        let (to, all) = sync_channel(UNVERIFIED_MAX);
        let (mesh, published, verified) = (self.ledger.mesh(), self.watch(), asks.clone());
        std::thread::Builder::new()
            .name("order-verify".into())
            .spawn(move || verify(&all, mesh, &published, &verified))?;
        self.verifier = Some(to);
        self.snapshots.begin()?;
        let (genesis, own) = (self.ledger.genesis().clone(), self.ledger.tip().height);
        let (directory, behind) = (self.snapshots.directory(), self.snapshots.policy().behind);
        let exchange = &mut self.exchange;
        exchange.begin((genesis, directory), (behind, own), asks)
    }

    fn applied(&mut self, height: Height) -> Applied {
        let mut all = Applied::default();
        let mut outcomes = Vec::new();
        let mut words = Vec::new();
        // One for each height: of several that are decided at once, the others come with their own.
        if let Some(applied) = self.ledger.poll_applied() {
            self.members += u64::from(applied.ruled.iter().any(changes_members));
            for (place, ruled) in applied.ruled.iter().enumerate() {
                let place = place as u32;
                let outcome = ruled.outcome.to_bytes();
                outcomes.push(outcome.len() as u8);
                outcomes.extend(outcome);
                let at = [height.0.to_be_bytes().as_slice(), &place.to_be_bytes()].concat();
                if let Some(name) = name_of(&ruled.transaction.action) {
                    all.finds
                        .push(([&history_key(name)[..], &at].concat(), Vec::new()));
                }
                if let Some(waiter) = self.waiters.remove(&ruled.id) {
                    let verdict = Verdict {
                        id: ruled.id,
                        height: height.0,
                        place,
                        outcome: ruled.outcome,
                    };
                    words.push((waiter, Ok(verdict)));
                }
            }
            metrics::counter!("hypermesh_order_transactions").increment(applied.ruled.len() as u64);
            for id in &applied.dropped {
                self.accuser.dropped(id);
                if let Some(waiter) = self.waiters.remove(id) {
                    words.push((waiter, Err(Unsubmitted::Dropped)));
                }
            }
        }
        all.outcomes = outcomes.into();
        self.accuse();
        self.publish();
        // Whoever hears it and looks sees a state with it.
        for (waiter, word) in words {
            // Who asked may be gone.
            let _ = waiter.send(word);
        }
        all
    }

    fn works_on(&mut self, from: NodeId, height: Height) {
        let own = self.ledger.tip().height;
        if height.0 > own {
            self.exchange.height(from, height.0, own);
        }
    }

    fn heard(&mut self, from: NodeId, content: &[u8]) -> Result<(), &'static str> {
        if matches!(content.get(1), Some(ASK..=PIECE)) {
            return self.exchange.heard(from, content);
        }
        if content.get(1) != Some(&TRANSACTIONS) {
            return Err("unknown_kind");
        }
        let mut rest = content.get(HEADER_BYTES..).unwrap_or_default();
        let (mut wrong, mut unverified) = (None, Vec::new());
        while let [a, b, c, d, after @ ..] = rest {
            let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
            if length > TRANSACTION_BYTES_MAX || length > after.len() {
                return Err("malformed");
            }
            let (one, others) = after.split_at(length);
            rest = others;
            if self.ledger.mempool().contains(&TransactionId::of(one)) {
                continue;
            }
            match self.ledger.screen(one) {
                Ok(transaction) => unverified.push(transaction),
                // What was decided meanwhile comes late, and is no fault.
                Err(Rejected::Invalid(_)) => {}
                Err(_) => wrong = Some("transaction_malformed"),
            }
        }
        if let Some(verifier) = &self.verifier
            && !unverified.is_empty()
            && verifier.try_send((from, unverified)).is_err()
        {
            // They are told again as long as they wait.
            wrong = Some("transactions_not_verified");
        }
        match wrong {
            None if rest.is_empty() => Ok(()),
            None => Err("malformed"),
            Some(kind) => Err(kind),
        }
    }

    fn evidence(&mut self, evidence: Evidence) -> Option<Bytes> {
        let kept = self.accuser.add(evidence, self.ledger.state())?;
        self.accuse();
        self.stale = true;
        Some(kept)
    }

    fn poll_tell(&mut self) -> Option<Tell> {
        self.snapshots.poll();
        self.stale |= self.snapshots.last() != self.published.borrow().snapshot;
        if self.stale {
            self.publish();
        }
        if !self.fresh.is_empty() {
            let fresh = std::mem::take(&mut self.fresh);
            self.tell(&fresh);
        } else if self.tells.is_empty() && self.told_at.elapsed() > TELL_AGAIN {
            self.told_at = Instant::now();
            let mine = self.ledger.mempool().of(&self.key.node());
            let waiting: Vec<Bytes> = mine.map(|one| one.bytes().clone()).collect();
            self.tell(&waiting);
        }
        self.tells.pop_front()
    }

    fn poll_fault(&mut self) -> Option<(NodeId, &'static str)> {
        self.faults.pop()
    }
}

/// The thread that verifies what others tell, so that votes need not wait for it. All that waits is verified at once.
fn verify(
    all: &Receiver<Told>,
    mesh: MeshId,
    published: &watch::Receiver<Published>,
    asks: &mpsc::Sender<Ask<Chain>>,
) {
    while let Ok((teller, first)) = all.recv() {
        let (state, next) = {
            let now = published.borrow();
            (now.state.clone(), Height(now.tip.height.saturating_add(1)))
        };
        // What a block had brought before this came to it need not be verified again.
        let news = |some: Vec<Transaction>| -> Vec<Transaction> {
            some.into_iter()
                .filter(|one| decidable(&state, next, one).is_ok())
                .collect()
        };
        let mut together = news(first);
        let mut tellers = vec![(teller, together.len())];
        while together.len() < VERIFIED_AT_ONCE
            && let Ok((teller, more)) = all.try_recv()
        {
            let mut more = news(more);
            tellers.push((teller, more.len()));
            together.append(&mut more);
        }
        let (verified, forgers) = match Transaction::all_verified(together, &mesh) {
            Ok(verified) => (verified, Vec::new()),
            Err(together) => one_by_one(together, &tellers, &mesh),
        };
        let ask: Ask<Chain> = Box::new(move |chain| chain.verified(verified, forgers));
        if asks.blocking_send(ask).is_err() {
            return;
        }
    }
}

/// Those of some messages that are their authors', and who told a message with one that is not: nothing more of such a message
/// is worth the work.
fn one_by_one(
    together: Vec<Transaction>,
    tellers: &[(NodeId, usize)],
    mesh: &MeshId,
) -> (Vec<Verified>, Vec<NodeId>) {
    let (mut verified, mut forgers) = (Vec::new(), Vec::new());
    let mut rest = together.into_iter();
    for (teller, length) in tellers {
        let message: Vec<Transaction> = rest.by_ref().take(*length).collect();
        match Transaction::all_verified(message, mesh) {
            Ok(mut good) => verified.append(&mut good),
            Err(message) => {
                forgers.push(*teller);
                verified.extend(message.into_iter().map_while(|one| one.verified(mesh)));
            }
        }
    }
    (verified, forgers)
}

/// Whether it may change who belongs, or where they are reached.
fn changes_members(ruled: &Ruled) -> bool {
    matches!(
        ruled.transaction.action,
        Action::Admit { .. }
            | Action::Describe(_)
            | Action::Move(_)
            | Action::Leave { .. }
            | Action::Accuse(_)
    )
}

/// The name that an action changes.
fn name_of(action: &Action) -> Option<&str> {
    match action {
        Action::SetName { name, .. } | Action::DeleteName { name, .. } => Some(name.as_str()),
        _ => None,
    }
}

/// What the changes of a name are found by; height and place follow, most significant byte first.
pub(crate) fn history_key(name: &str) -> Vec<u8> {
    // No name has this byte.
    [b"n", name.as_bytes(), &[0]].concat()
}

/// The outcomes of a block, as they are stored: length 1, bytes.
pub(crate) fn outcomes(mut stored: &[u8]) -> Vec<Option<Outcome>> {
    let mut all = Vec::new();
    while let [length, rest @ ..] = stored {
        let (one, others) = rest.split_at(usize::from(*length).min(rest.len()));
        all.push(Outcome::from_bytes(one).ok());
        stored = others;
    }
    all
}
