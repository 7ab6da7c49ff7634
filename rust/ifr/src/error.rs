//! Why a registry refused.

use mfn_ifr_sys::mfn_status;

/// Why an operation on an [`Ifr`](crate::Ifr) failed. After any of these the registry holds what it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IfrError {
    /// The budget would be exceeded.
    #[error("the registry's {bytes_max} bytes are used up; remove entries or raise the limit")]
    Limit {
        /// The limit that [`Options::bytes_max`](crate::Options::bytes_max) set.
        bytes_max: u64,
    },
    /// The operating system gave no memory.
    #[error("memory for the registry could not be allocated")]
    OutOfMemory,
    /// A byte key is longer than [`KEY_BYTES_MAX`](crate::KEY_BYTES_MAX).
    #[error("a key of {bytes} bytes is longer than {max}", max = crate::KEY_BYTES_MAX)]
    KeyTooLong {
        /// The key's length.
        bytes: usize,
    },
    /// The operating system gave no random bytes for the hash key.
    #[error("no random bytes from the operating system for the hash key")]
    NoRandomness,
    /// The archive that is linked has another major version than its header.
    #[error("the linked IFR archive has ABI version {found:#x}, this crate needs {wanted:#x}")]
    Version {
        /// What the archive says.
        found: u32,
        /// What the header says.
        wanted: u32,
    },
    /// The bytes are not a [`Summary`](crate::Summary), whole and nothing else.
    #[error("the bytes are not a summary; ask the sender for another one")]
    NoSummary,
    /// There is no pool of that id.
    #[error("there is no such pool; make it first")]
    NoPool,
    /// There is a pool of that id already.
    #[error("there is such a pool already")]
    PoolExists,
    /// The archive found one of its own invariants broken, now or in an earlier call, and looks at this registry no
    /// more. Its memory is leaked when it is dropped. See [`Ifr::is_poisoned`](crate::Ifr::is_poisoned).
    #[error(
        "the registry broke an invariant and is unusable; make a new one, and please report the message it printed"
    )]
    Poisoned,
    /// A status that this call should never answer.
    #[error("the IFR archive answered the unexpected status {0}; please report it")]
    Unexpected(i32),
}

impl IfrError {
    /// The error of a status that is not `MFN_OK`.
    pub(crate) fn of(status: i32, bytes_max: u64) -> Self {
        match status {
            mfn_status::MFN_LIMIT => Self::Limit { bytes_max },
            mfn_status::MFN_OUT_OF_MEMORY => Self::OutOfMemory,
            mfn_status::MFN_PANIC => Self::Poisoned,
            other => Self::Unexpected(other),
        }
    }
}
