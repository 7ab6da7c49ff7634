//! Operations as values, and as bytes for a log or a wire.

use crate::codec::{Reader, Writer};
use crate::error::DsrError;
use crate::well::{DIMS_MAX, Options};

use super::{PoolOptions, WhenFull};

const MAGIC: [u8; 4] = *b"DSRO";
const VERSION: u16 = 1;

/// Everything that changes a [`Registry`](super::Registry). Applied in the same order to equal registries, operations
/// leave equal registries.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// Makes a pool, or changes its options.
    SetPool {
        /// The pool.
        pool: u32,
        /// Its options from now on.
        options: PoolOptions,
    },
    /// Removes a pool with all its wells.
    DropPool {
        /// The pool.
        pool: u32,
    },
    /// Makes an empty well; nothing happens when it is there with the same options.
    CreateWell {
        /// The pool that pays for it.
        pool: u32,
        /// The well.
        well: u32,
        /// What it is made with.
        options: Options,
    },
    /// Removes a well with all its entries.
    DropWell {
        /// The pool.
        pool: u32,
        /// The well.
        well: u32,
    },
    /// Adds or replaces an entry.
    Insert {
        /// The pool.
        pool: u32,
        /// The well.
        well: u32,
        /// The entry.
        id: u64,
        /// Its vector.
        vector: Vec<f32>,
        /// The caller's time, in the unit of the pool's time to live.
        now: u32,
    },
    /// Says that an entry was used: it expires and is evicted later.
    Touch {
        /// The pool.
        pool: u32,
        /// The well.
        well: u32,
        /// The entry.
        id: u64,
        /// The caller's time.
        now: u32,
    },
    /// Removes an entry.
    Remove {
        /// The pool.
        pool: u32,
        /// The well.
        well: u32,
        /// The entry.
        id: u64,
    },
    /// Lets time pass: looks at up to `most` places of each well of the pool for entries that have expired.
    Expire {
        /// The pool.
        pool: u32,
        /// The caller's time.
        now: u32,
        /// Places to look at in each well.
        most: u32,
    },
}

impl Op {
    /// The operation as bytes, with a version and a checksum.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(MAGIC, VERSION);
        match self {
            Self::SetPool { pool, options } => {
                out.u8(1);
                out.u32(*pool);
                options.write(&mut out);
            }
            Self::DropPool { pool } => {
                out.u8(2);
                out.u32(*pool);
            }
            Self::CreateWell {
                pool,
                well,
                options,
            } => {
                out.u8(3);
                out.u32(*pool);
                out.u32(*well);
                options.write(&mut out);
            }
            Self::DropWell { pool, well } => {
                out.u8(4);
                out.u32(*pool);
                out.u32(*well);
            }
            Self::Insert {
                pool,
                well,
                id,
                vector,
                now,
            } => {
                out.u8(5);
                out.u32(*pool);
                out.u32(*well);
                out.u64(*id);
                out.u32(*now);
                out.u64(vector.len() as u64);
                out.floats(vector);
            }
            Self::Touch {
                pool,
                well,
                id,
                now,
            } => {
                out.u8(6);
                out.u32(*pool);
                out.u32(*well);
                out.u64(*id);
                out.u32(*now);
            }
            Self::Remove { pool, well, id } => {
                out.u8(7);
                out.u32(*pool);
                out.u32(*well);
                out.u64(*id);
            }
            Self::Expire { pool, now, most } => {
                out.u8(8);
                out.u32(*pool);
                out.u32(*now);
                out.u32(*most);
            }
        }
        out.seal()
    }

    /// The operation that the bytes say.
    ///
    /// # Errors
    /// [`DsrError::Malformed`] for bytes that are none or contradict themselves, [`DsrError::Setting`] for options
    /// out of range.
    pub fn decode(bytes: &[u8]) -> Result<Self, DsrError> {
        let mut from = Reader::open("an operation", MAGIC, VERSION, bytes)?;
        let kind = from.u8()?;
        let pool = from.u32()?;
        let op = match kind {
            1 => Self::SetPool {
                pool,
                options: PoolOptions::read(&mut from)?,
            },
            2 => Self::DropPool { pool },
            3 => Self::CreateWell {
                pool,
                well: from.u32()?,
                options: Options::read(&mut from)?,
            },
            4 => Self::DropWell {
                pool,
                well: from.u32()?,
            },
            5 => {
                let (well, id, now) = (from.u32()?, from.u64()?, from.u32()?);
                let count = from.count(4)?;
                from.ensure(count <= DIMS_MAX, "its vector is too long")?;
                Self::Insert {
                    pool,
                    well,
                    id,
                    vector: from.floats(count)?,
                    now,
                }
            }
            6 => Self::Touch {
                pool,
                well: from.u32()?,
                id: from.u64()?,
                now: from.u32()?,
            },
            7 => Self::Remove {
                pool,
                well: from.u32()?,
                id: from.u64()?,
            },
            8 => Self::Expire {
                pool,
                now: from.u32()?,
                most: from.u32()?,
            },
            _ => return Err(from.wrong("its kind is unknown")),
        };
        from.end()?;
        Ok(op)
    }
}

impl PoolOptions {
    pub(super) fn write(&self, out: &mut Writer) {
        out.u64(self.bytes_max);
        out.u32(self.ttl);
        out.u8(match self.when_full {
            WhenFull::Evict => 0,
            WhenFull::Refuse => 1,
        });
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, DsrError> {
        Ok(Self {
            bytes_max: from.u64()?,
            ttl: from.u32()?,
            when_full: match from.u8()? {
                0 => WhenFull::Evict,
                1 => WhenFull::Refuse,
                _ => return Err(from.wrong("what to do when full is unknown")),
            },
        })
    }
}
