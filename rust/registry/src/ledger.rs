//! The state with what leads to the next one: what a replica asks of the machine that it orders for.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use hypermesh_consensus::{
    BLOCK_BYTES_MAX, BlockHash, Certificate, Decided, DecodeError, Height, Machine, MeshId, Voters,
    VotersError,
};
use hypermesh_id::NodeId;

use crate::block::{EMPTY_BLOCK_BYTES, Head, Item, read_block, write_block};
use crate::genesis::Genesis;
use crate::mempool::{Mempool, MempoolLimits, Rejected};
use crate::name::Name;
use crate::outcome::Outcome;
use crate::proof::{Link, NameProof, ProofError, Sealed, Way};
use crate::rules::{Invalid, Work, admissible};
use crate::signature;
use crate::state::State;
use crate::transaction::{Transaction, TransactionId, Verified};

/// Executed blocks that are kept until one of them is decided: those of the last few rounds.
const EXECUTED_MAX: usize = 4;
/// Signatures from which on it is worth to begin a thread.
const BULK: usize = 32;

/// Why a block may not follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    #[error("the block is malformed: {0}")]
    Decode(#[from] DecodeError),
    #[error("it is of height {found}, where {expected} is next")]
    Height { found: u64, expected: u64 },
    #[error("it does not follow the last block")]
    Parent,
    #[error("its time is before that of the block before")]
    Time,
    #[error("the signature of its transaction {0} is not by its author for this mesh")]
    Signature(usize),
    #[error("its transaction {place} may not be in it: {reason}")]
    Transaction { place: usize, reason: Invalid },
    #[error("the state after it has another root than it says")]
    Root,
}

/// One decided transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruled {
    pub id: TransactionId,
    pub transaction: Transaction,
    pub outcome: Outcome,
}

/// What a decided block did.
#[derive(Clone, Debug)]
pub struct Applied {
    pub hash: BlockHash,
    pub head: Head,
    pub ruled: Vec<Ruled>,
    /// What waited and can no longer be decided: a definite failure, unless it is among the ruled.
    pub dropped: Vec<TransactionId>,
    /// When other nodes vote on the next height: the proof that they do.
    pub link: Option<Link>,
}

/// The last decided block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    pub height: u64,
    pub hash: BlockHash,
    pub time: u64,
}

#[derive(Debug)]
struct Executed {
    hash: BlockHash,
    head: Head,
    state: State,
    ruled: Vec<Ruled>,
}

/// State, what waits, and the block in between.
#[derive(Debug)]
pub struct Ledger {
    genesis: Genesis,
    state: State,
    tip: Tip,
    mempool: Mempool,
    /// Unix milliseconds, as last told.
    now: u64,
    threads: NonZeroUsize,
    executed: Mutex<VecDeque<Executed>>,
    applied: VecDeque<Applied>,
    /// One for each change of the voters so far.
    links: Vec<Link>,
    last: Option<Sealed>,
    fault: Option<(u64, BlockError)>,
}

impl Ledger {
    /// The ledger of a mesh of which nothing is decided. Signatures are verified by so many threads.
    ///
    /// # Errors
    /// When the founder's id is no key.
    pub fn new(
        genesis: Genesis,
        limits: MempoolLimits,
        threads: NonZeroUsize,
    ) -> Result<Self, VotersError> {
        let state = State::new(&genesis)?;
        Ok(Self {
            tip: Tip {
                height: 0,
                hash: BlockHash(genesis.mesh().0),
                time: genesis.time,
            },
            genesis,
            state,
            mempool: Mempool::new(limits),
            now: 0,
            threads,
            executed: Mutex::default(),
            applied: VecDeque::new(),
            links: Vec::new(),
            last: None,
            fault: None,
        })
    }

    /// The ledger at a later height: a state that [`crate::Restore`] put together, the changes of the voters until then, and the
    /// last head with its certificate.
    ///
    /// # Errors
    /// When the links do not lead from the founder to the voters of that head, some are missing, or its root is not the state's.
    pub fn resume(
        (genesis, links, last): (Genesis, Vec<Link>, Sealed),
        state: State,
        limits: MempoolLimits,
        threads: NonZeroUsize,
    ) -> Result<Self, ProofError> {
        let mut way = Way::new(&genesis)?;
        links.iter().try_for_each(|link| way.link(link))?;
        let head = way.end(&last)?;
        if head.root != state.root() || state.mesh() != genesis.mesh() {
            return Err(ProofError::Root(head.height));
        }
        if !way.voters.nodes().eq(state.voters().nodes()) {
            return Err(ProofError::Links(head.height));
        }
        Ok(Self::at(
            (genesis, links, last),
            &head,
            state,
            limits,
            threads,
        ))
    }

    /// What [`Self::resume`] makes of what was verified.
    pub(crate) fn at(
        (genesis, links, last): (Genesis, Vec<Link>, Sealed),
        head: &Head,
        state: State,
        limits: MempoolLimits,
        threads: NonZeroUsize,
    ) -> Self {
        Self {
            tip: Tip {
                height: head.height,
                hash: last.certificate.block,
                time: head.time,
            },
            genesis,
            state,
            mempool: Mempool::new(limits),
            now: 0,
            threads,
            executed: Mutex::default(),
            applied: VecDeque::new(),
            links,
            last: Some(last),
            fault: None,
        }
    }

    /// The last head with its certificate.
    pub fn last(&self) -> Option<&Sealed> {
        self.last.as_ref()
    }

    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    pub fn mesh(&self) -> MeshId {
        self.state.mesh()
    }

    /// After the last decided block.
    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn tip(&self) -> Tip {
        self.tip
    }

    /// The height that is decided next.
    pub fn next_height(&self) -> Height {
        Height(self.tip.height.saturating_add(1))
    }

    pub fn mempool(&self) -> &Mempool {
        &self.mempool
    }

    /// Tells the time, in Unix milliseconds: of the next block that is proposed here.
    pub fn tell_time(&mut self, now: u64) {
        self.now = now;
    }

    /// The cheap part of [`Self::submit`]: whether a transaction could wait here, but for its signature. A stranger's is
    /// refused by this, before a signature is verified or a byte is kept.
    ///
    /// # Errors
    /// Says why not.
    pub fn screen(&self, bytes: &[u8]) -> Result<Transaction, Rejected> {
        let transaction = Transaction::from_bytes(bytes).map_err(|_| Rejected::Malformed)?;
        admissible(&self.state, self.next_height().0, &transaction)?;
        Ok(transaction)
    }

    /// Lets a transaction wait whose signature was verified elsewhere. Answers whether it is new.
    ///
    /// # Errors
    /// Says why it does not wait.
    pub fn insert(&mut self, verified: Verified) -> Result<bool, Rejected> {
        let height = self.next_height().0;
        self.mempool.insert(&self.state, height, verified)
    }

    /// Screens, verifies and inserts.
    ///
    /// # Errors
    /// Says why it does not wait.
    pub fn submit(&mut self, bytes: &[u8]) -> Result<TransactionId, Rejected> {
        let id = TransactionId::of(bytes);
        if !self.mempool.contains(&id) {
            let verified = self
                .screen(bytes)?
                .verified(&self.mesh())
                .ok_or(Rejected::Signature)?;
            self.insert(verified)?;
        }
        Ok(id)
    }

    /// The changes of the voters so far.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The proof of what a name means, or that it means nothing, at the last decided height. None before the first.
    pub fn prove_name(&self, name: &Name) -> Option<NameProof> {
        // The block of the last link was decided by those who voted before it.
        let last = self.last.as_ref()?;
        let links = match self.links.split_last() {
            Some((link, before)) if link.sealed.certificate.block == last.certificate.block => {
                before
            }
            _ => &self.links,
        };
        Some(NameProof {
            genesis: self.genesis.clone(),
            links: links.to_vec(),
            sealed: last.clone(),
            name: name.clone(),
            named: self.state.name(name).cloned(),
            proof: self.state.prove_name(name),
        })
    }

    /// What was applied, oldest first: take it after each call of the replica.
    pub fn poll_applied(&mut self) -> Option<Applied> {
        self.applied.pop_front()
    }

    /// A decided block that could not be applied: never, if every block was checked before. The node has to stop.
    pub fn fault(&self) -> Option<&(u64, BlockError)> {
        self.fault.as_ref()
    }

    /// Checks a decision that comes from the disk, whose certificate was verified before it got there, and applies it.
    /// Signatures of its transactions are not verified again.
    ///
    /// # Errors
    /// Says which rule it breaks. Nothing is applied then.
    pub fn replay(&mut self, decided: &Decided) -> Result<Voters, BlockError> {
        let executed = self.execute(&decided.body, false)?;
        Ok(self.take(executed, decided))
    }

    /// Executes a block on the present state.
    fn execute(&self, body: &[u8], verify: bool) -> Result<Executed, BlockError> {
        let (head, items) = read_block(body)?;
        let expected = self.next_height().0;
        if head.height != expected {
            return Err(BlockError::Height {
                found: head.height,
                expected,
            });
        }
        if head.parent != self.tip.hash {
            return Err(BlockError::Parent);
        }
        if head.time < self.tip.time {
            return Err(BlockError::Time);
        }
        if verify {
            let unknown: Vec<(usize, &Transaction)> = items
                .iter()
                .enumerate()
                .filter(|(_, item)| !self.mempool.contains(&item.id))
                .map(|(place, item)| (place, &item.transaction))
                .collect();
            verify_all(&self.mesh(), &unknown, self.threads).map_err(BlockError::Signature)?;
        }
        let mut work = Work::new(&self.state, head.height);
        let mut ruled = Vec::with_capacity(items.len());
        for (place, Item { id, transaction }) in items.into_iter().enumerate() {
            let outcome = work
                .execute(&transaction)
                .map_err(|reason| BlockError::Transaction { place, reason })?;
            ruled.push(Ruled {
                id,
                transaction,
                outcome,
            });
        }
        let state = work.finish();
        if state.root() != head.root {
            return Err(BlockError::Root);
        }
        Ok(Executed {
            hash: BlockHash::of(body),
            head,
            state,
            ruled,
        })
    }

    fn keep(&self, executed: Executed) {
        let mut kept = self.executed.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= EXECUTED_MAX {
            kept.pop_front();
        }
        kept.push_back(executed);
    }

    fn is_kept(&self, hash: &BlockHash) -> bool {
        let kept = self.executed.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().any(|executed| executed.hash == *hash)
    }

    /// The executed block that was decided; the others are nothing any more.
    fn take_kept(&mut self, hash: &BlockHash) -> Option<Executed> {
        let kept = self
            .executed
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(kept)
            .into_iter()
            .find(|executed| executed.hash == *hash)
    }

    fn take(&mut self, executed: Executed, decided: &Decided) -> Voters {
        let Executed {
            hash,
            head,
            state,
            ruled,
        } = executed;
        let before = self.state.voters().clone();
        self.state = state;
        self.tip = Tip {
            height: head.height,
            hash,
            time: head.time,
        };
        let dropped = self
            .mempool
            .prune(&self.state, head.height.saturating_add(1));
        let voters = self.state.voters().clone();
        // Nodes, not the order in which they propose.
        let changed = !before.nodes().eq(voters.nodes());
        let link = changed.then(|| Link::of(decided, &self.state)).flatten();
        self.links.extend(link.clone());
        self.last = Sealed::of(decided);
        self.applied.push_back(Applied {
            hash,
            head,
            ruled,
            dropped,
            link,
        });
        voters
    }
}

impl Machine for Ledger {
    fn has_work(&self) -> bool {
        !self.mempool.is_empty()
    }

    fn propose(&mut self, height: Height) -> Bytes {
        let mut work = Work::new(&self.state, height.0);
        let (mut bytes, mut taken, mut ruled) = (EMPTY_BLOCK_BYTES, Vec::new(), Vec::new());
        for one in self.mempool.turns(height.0) {
            let more = 4 + one.bytes.len();
            if bytes + more > BLOCK_BYTES_MAX {
                break;
            }
            // What may not be in this block may be in another, or is dropped once this one is decided.
            if let Ok(outcome) = work.execute(&one.transaction) {
                bytes += more;
                taken.push(one.bytes.clone());
                ruled.push(Ruled {
                    id: one.id,
                    transaction: one.transaction.clone(),
                    outcome,
                });
            }
        }
        let state = work.finish();
        let head = Head {
            height: height.0,
            parent: self.tip.hash,
            root: state.root(),
            transactions: taken.len() as u32,
            time: self.now.max(self.tip.time),
        };
        let block = write_block(&head, &taken);
        let hash = BlockHash::of(&block);
        self.keep(Executed {
            hash,
            head,
            state,
            ruled,
        });
        block
    }

    fn check(&self, height: Height, block: &[u8]) -> Result<(), String> {
        if height != self.next_height() {
            return Err(format!("height {height} is not next"));
        }
        if self.is_kept(&BlockHash::of(block)) {
            return Ok(());
        }
        let executed = self
            .execute(block, true)
            .map_err(|error| error.to_string())?;
        self.keep(executed);
        Ok(())
    }

    fn voters_of(&self, height: Height) -> Option<Voters> {
        self.state.voters_of(height.0)
    }

    fn apply(&mut self, decided: &Decided) -> Voters {
        let Certificate { block, height, .. } = decided.certificate;
        let executed = self
            .take_kept(&block)
            .map_or_else(|| self.execute(&decided.body, false), Ok);
        match executed {
            Ok(executed) => self.take(executed, decided),
            Err(error) => {
                self.fault = Some((height.0, error));
                self.state.voters().clone()
            }
        }
    }
}

/// Verifies the signatures of transactions, with so many threads.
///
/// # Errors
/// The number of one that is not its author's.
pub fn verify_all(
    mesh: &MeshId,
    transactions: &[(usize, &Transaction)],
    threads: NonZeroUsize,
) -> Result<(), usize> {
    let verify = |some: &[(usize, &Transaction)]| {
        if signature::verify(mesh, some.iter().map(|(_, transaction)| *transaction)) {
            return Ok(());
        }
        let bad = some
            .iter()
            .find(|(_, transaction)| !transaction.verifies(mesh));
        bad.map_or(Ok(()), |(place, _)| Err(*place))
    };
    let share = transactions.len().div_ceil(threads.get()).max(BULK);
    let mut shares = transactions.chunks(share);
    let mine = shares.next().unwrap_or_default();
    std::thread::scope(|scope| {
        let others: Vec<_> = shares
            .map(|some| scope.spawn(move || verify(some)))
            .collect();
        let mut result = verify(mine);
        for other in others {
            // A thread that could not say so verified nothing.
            let theirs = other
                .join()
                .unwrap_or(Err(transactions.first().map_or(0, |first| first.0)));
            result = result.and(theirs);
        }
        result
    })
}

/// Whether an author's transaction may wait for its turn still: for who submits.
pub fn decidable(state: &State, height: Height, transaction: &Transaction) -> Result<(), Invalid> {
    admissible(state, height.0, transaction)
}

impl Tip {
    /// Whether this node is at the beginning.
    pub fn is_genesis(&self) -> bool {
        self.height == 0
    }
}

/// The sequence that an author's next transaction may have, when nothing else of it waits.
pub fn next_sequence(state: &State, mempool: &Mempool, author: &NodeId) -> u64 {
    let decided = state.author(author).map_or(0, |author| author.sequence);
    let waiting = mempool.last_sequence(author).unwrap_or(0);
    decided.max(waiting).saturating_add(1)
}
