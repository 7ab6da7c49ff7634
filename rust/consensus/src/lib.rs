//! Byzantine fault-tolerant order: a mesh of owners who do not trust each other decides one block after the other.
#![forbid(unsafe_code)]

mod blocks;
mod codec;
mod context;
mod door;
mod engine;
mod evidence;
mod message;
mod patience;
mod record;
mod replica;
mod types;
mod vote;

pub use codec::{DecodeError, Reader, put_count, put_counted};
pub use door::{Config, Fault, Machine, Output, Timeouts};
pub use engine::{EngineError, Time};
pub use evidence::{Evidence, EvidenceError, HEIGHTS_KEPT};
pub use malachite_types::{NilOrVal, Round, VoteType};
pub use message::{
    BlockMessage, Decided, MESSAGE_BYTES_MAX, Message, PolkaProof, RETOLD_MAX, RoundProof, VERSION,
};
pub use record::{LogError, Record};
pub use replica::{Replica, ReplicaError};
pub use types::{
    BLOCK_BYTES_MAX, BlockHash, HEAD_BYTES, Height, MeshId, VOTERS_MAX, Voter, Voters, VotersError,
};
pub use vote::{
    Certificate, CertificateError, Ed25519, Key, Proposal, Sig, Sign, Signed, Signer, Verify, Vote,
};
