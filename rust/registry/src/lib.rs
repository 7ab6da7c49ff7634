//! What a mesh orders: who belongs to it, what names mean, where copies should be, and who is to blame.
//!
//! [`Genesis`] founds a mesh, a [`Transaction`] asks it for something, and an [`Outcome`] says what came of it.
#![forbid(unsafe_code)]

mod genesis;
mod name;
mod outcome;
mod parameters;
mod transaction;

pub use genesis::{
    ADDRESSES_MAX, Description, DescriptionError, GENESIS_BYTES_MAX, Genesis, GenesisError,
    TEXT_BYTES_MAX,
};
pub use name::{NAME_BYTES_MAX, NAME_SEGMENTS_MAX, Name, NameError};
pub use outcome::{Outcome, Refusal};
pub use parameters::{Parameter, Parameters};
pub use transaction::{
    Action, EVIDENCE_BYTES_MAX, Expect, LIFETIME, Motion, TRANSACTION_BYTES_MAX,
    TRANSACTION_VERSION, Transaction, TransactionId, Verified,
};
