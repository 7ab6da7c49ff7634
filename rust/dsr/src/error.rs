//! Why an operation was refused.

/// Why an operation of this crate failed. After any of these the well or the registry holds what it held.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DsrError {
    /// The vector has another length than the well.
    #[error("a vector of {found} numbers, this well takes {wanted}")]
    Dimension {
        /// Numbers in the vector.
        found: usize,
        /// Numbers that the well takes.
        wanted: usize,
    },
    /// A number is NaN or infinite.
    #[error("number {at} of the vector is NaN or infinite; leave such vectors out")]
    NotFinite {
        /// Its place in the vector.
        at: usize,
    },
    /// A vector without a direction: its length is zero, or too small or too large to divide by.
    #[error("the vector's length is zero or out of range, so it has no direction to compare")]
    NoDirection,
    /// The least similarity of an answer is NaN.
    #[error("the least similarity is NaN; -1 takes all")]
    Threshold,
    /// A setting is outside what is accepted.
    #[error("{what} is {found}, it must be in {least}..={most}")]
    Setting {
        /// Which setting.
        what: &'static str,
        /// What was given.
        found: u64,
        /// The least accepted value.
        least: u64,
        /// The greatest accepted value.
        most: u64,
    },
    /// More results were asked for than one answer may hold.
    #[error("{found} results were asked for, at most {max} fit one answer")]
    TooMany {
        /// What was asked.
        found: usize,
        /// The limit, [`K_MAX`](crate::K_MAX).
        max: usize,
    },
    /// The budget is used up and nothing may be evicted for it.
    #[error("the budget of {bytes_max} bytes is used up; remove entries or raise it")]
    Budget {
        /// The budget.
        bytes_max: u64,
    },
    /// There is no such entry.
    #[error("id {id} is not in this well")]
    UnknownId {
        /// What was asked for.
        id: u64,
    },
    /// There is no such well, or no such pool.
    #[error("well {well} of pool {pool} does not exist; create it first")]
    UnknownWell {
        /// The pool.
        pool: u32,
        /// The well in it.
        well: u32,
    },
    /// A well of that name is there, with other settings.
    #[error("well {well} of pool {pool} exists with other settings; drop it first")]
    WellExists {
        /// The pool.
        pool: u32,
        /// The well in it.
        well: u32,
    },
    /// What an operation needs has not been learned yet: the well is too small.
    #[error("the well holds {found} entries, this needs at least {wanted}")]
    TooFew {
        /// Entries that are there.
        found: usize,
        /// Entries that are needed.
        wanted: usize,
    },
    /// Bytes that are no snapshot and no operation of a version that this crate reads, or that contradict themselves.
    #[error("not valid as {what}: {why}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
}
