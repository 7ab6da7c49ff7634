//! What a simulated node orders: the chain, or the registry.

use bytes::Bytes;
use hypermesh_consensus::{Decided, Height, Machine, Voters};
use hypermesh_registry::Ledger;

use crate::chain::Chain;

#[derive(Debug)]
pub(crate) enum Ordered {
    Chain(Chain),
    Ledger(Box<Ledger>),
}

impl Ordered {
    pub(crate) fn ledger(&self) -> Option<&Ledger> {
        match self {
            Self::Chain(_) => None,
            Self::Ledger(ledger) => Some(ledger),
        }
    }

    pub(crate) fn ledger_mut(&mut self) -> Option<&mut Ledger> {
        match self {
            Self::Chain(_) => None,
            Self::Ledger(ledger) => Some(ledger),
        }
    }

    /// Somebody wants something of a chain.
    pub(crate) fn want(&mut self) {
        if let Self::Chain(chain) = self
            && let Some(pending) = &mut chain.pending
        {
            *pending += 1;
        }
    }
}

impl Machine for Ordered {
    fn has_work(&self) -> bool {
        match self {
            Self::Chain(chain) => chain.has_work(),
            Self::Ledger(ledger) => ledger.has_work(),
        }
    }

    fn propose(&mut self, height: Height) -> Bytes {
        match self {
            Self::Chain(chain) => chain.propose(height),
            Self::Ledger(ledger) => ledger.propose(height),
        }
    }

    fn check(&self, height: Height, block: &[u8]) -> Result<(), String> {
        match self {
            Self::Chain(chain) => chain.check(height, block),
            Self::Ledger(ledger) => ledger.check(height, block),
        }
    }

    fn voters_of(&self, height: Height) -> Option<Voters> {
        match self {
            Self::Chain(chain) => chain.voters_of(height),
            Self::Ledger(ledger) => ledger.voters_of(height),
        }
    }

    fn apply(&mut self, decided: &Decided) -> Voters {
        match self {
            Self::Chain(chain) => chain.apply(decided),
            Self::Ledger(ledger) => ledger.apply(decided),
        }
    }
}
