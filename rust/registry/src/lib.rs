//! What a mesh orders: who belongs to it, what names mean, where copies should be, and who is to blame.
//!
//! [`Genesis`] founds a mesh. A [`Transaction`] asks it for something; it waits in the [`Mempool`], is decided as a part of a
//! block, and has an [`Outcome`] that is the same on all nodes. The [`Ledger`] is the machine that a replica orders for, and the
//! [`State`] what came of all blocks: every block carries its root. No clock, no I/O.
#![forbid(unsafe_code)]

mod block;
mod entry;
mod genesis;
mod ledger;
mod load;
mod mempool;
mod name;
mod outcome;
mod parameters;
mod proof;
mod rules;
#[cfg(test)]
mod rules_tests;
mod saved;
mod signature;
mod snapshot;
mod state;
mod transaction;
mod tree;

pub use block::{BLOCK_TRANSACTIONS_MAX, BLOCK_VERSION, Head, Item, read_block};
pub use entry::{Author, Conviction, Delegation, Key, Member, Named, OpenMotion, Pin};
pub use genesis::{
    ADDRESSES_MAX, Description, DescriptionError, GENESIS_BYTES_MAX, Genesis, GenesisError,
    TEXT_BYTES_MAX,
};
pub use ledger::{Applied, BlockError, Ledger, Ruled, Tip, decidable, next_sequence, verify_all};
pub use load::load;
pub use mempool::{Mempool, MempoolLimits, Rejected};
pub use name::{NAME_BYTES_MAX, NAME_SEGMENTS_MAX, Name, NameError};
pub use outcome::{Outcome, Refusal};
pub use parameters::{Parameter, Parameters};
pub use proof::{LINKS_MAX, Link, NameProof, PROOF_BYTES_MAX, ProofError, Proven, Sealed, follow};
pub use rules::{ACCUSED_HEIGHTS, Invalid};
pub use saved::{
    LINKS_EACH, PieceError, Pieces, SavedError, SavedHead, SavedIndex, SavedReader, SavedWriter,
    save,
};
pub use snapshot::{PART_BYTES, PART_BYTES_MAX, PartError, Restore, Snapshot};
pub use state::State;
pub use transaction::{
    Action, EVIDENCE_BYTES_MAX, Expect, LIFETIME, Motion, TRANSACTION_BYTES_MAX,
    TRANSACTION_VERSION, Transaction, TransactionId, Verified,
};
pub use tree::TreeProof;
