//! Operations on an engine, and their encoding: what a host writes to its log before it applies it.
//!
//! ```text
//! version u8 = 1 | kind u8 | fields, little-endian, in the order of the variant
//! ```
//! An encoding has no length and no checksum of its own; whoever frames it has both.

use crate::codec::{Reader, Writer};
use crate::error::CpeError;

const VERSION: u8 = 1;
const WHAT: &str = "an operation";

/// Limits of a pool, and what its members are made with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoolOptions {
    /// All members together hold at most so many bytes; the one that was used longest ago is forgotten whole.
    pub bytes_max: u64,
    /// A member that was not written to for longer than this is forgotten by [`Op::Expire`]; 0 keeps it.
    pub ttl: u64,
    /// Byte budget of each stream.
    pub stream_bytes_max: u64,
    /// Lanes of each stream and series.
    pub lanes_max: u32,
    /// A prediction whose first item is less likely is silent.
    pub claim_min: f32,
    /// The least change of level of a series that counts.
    pub change_min: f64,
    /// Whether a sample that repeats the last one is stale.
    pub repeats_are_stale: bool,
}

impl Default for PoolOptions {
    /// 256 MiB in all, 16 MiB per stream, 64 lanes, no time limit.
    fn default() -> Self {
        Self {
            bytes_max: 256 << 20,
            ttl: 0,
            stream_bytes_max: 16 << 20,
            lanes_max: 64,
            claim_min: 0.0,
            change_min: 0.0,
            repeats_are_stale: false,
        }
    }
}

/// A change of an engine. Streams and series are made by the first write to them, with their pool's options.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// Makes a pool, or gives one new limits; members that are there keep what they were made with.
    Pool {
        /// The pool.
        pool: u32,
        /// Its limits.
        options: PoolOptions,
    },
    /// Forgets a pool and all its members.
    DropPool {
        /// The pool.
        pool: u32,
    },
    /// A symbol came.
    Observe {
        /// The pool; made with default limits when it is not there.
        pool: u32,
        /// The stream.
        stream: u64,
        /// Who of those that share the stream.
        lane: u32,
        /// What came.
        symbol: u64,
        /// When, in the host's unit.
        time: u64,
    },
    /// A sample of a series came.
    Sample {
        /// The pool; made with default limits when it is not there.
        pool: u32,
        /// The series.
        series: u64,
        /// Who of those that share the series.
        lane: u32,
        /// When, in the host's unit.
        time: u64,
        /// What it was; finite.
        value: f64,
    },
    /// Forgets a stream or series.
    Forget {
        /// The pool.
        pool: u32,
        /// The stream or series.
        id: u64,
    },
    /// Forgets all members whose pool's time limit has passed.
    Expire {
        /// The time now, in the host's unit.
        now: u64,
    },
}

impl Op {
    /// Longest encoding.
    pub const BYTES_MAX: usize = 64;

    /// The operation as bytes, behind what is in `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer {
            bytes: std::mem::take(out),
        };
        writer.u8(VERSION);
        match *self {
            Self::Pool { pool, options } => {
                writer.u8(1);
                writer.u32(pool);
                options.write(&mut writer);
            }
            Self::DropPool { pool } => {
                writer.u8(2);
                writer.u32(pool);
            }
            Self::Observe {
                pool,
                stream,
                lane,
                symbol,
                time,
            } => {
                writer.u8(3);
                writer.u32(pool);
                writer.u64(stream);
                writer.u32(lane);
                writer.u64(symbol);
                writer.u64(time);
            }
            Self::Sample {
                pool,
                series,
                lane,
                time,
                value,
            } => {
                writer.u8(4);
                writer.u32(pool);
                writer.u64(series);
                writer.u32(lane);
                writer.u64(time);
                writer.f64(value);
            }
            Self::Forget { pool, id } => {
                writer.u8(5);
                writer.u32(pool);
                writer.u64(id);
            }
            Self::Expire { now } => {
                writer.u8(6);
                writer.u64(now);
            }
        }
        *out = writer.bytes;
    }

    /// The operation that these bytes, and no others, are the encoding of.
    ///
    /// Errors: [`CpeError::Version`], [`CpeError::Truncated`], [`CpeError::Invalid`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CpeError> {
        let mut reader = Reader::new(bytes, WHAT);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(CpeError::Version {
                what: WHAT,
                version: version.into(),
                known: VERSION.into(),
            });
        }
        let op = match reader.u8()? {
            1 => Self::Pool {
                pool: reader.u32()?,
                options: PoolOptions::read(&mut reader)?,
            },
            2 => Self::DropPool {
                pool: reader.u32()?,
            },
            3 => Self::Observe {
                pool: reader.u32()?,
                stream: reader.u64()?,
                lane: reader.u32()?,
                symbol: reader.u64()?,
                time: reader.u64()?,
            },
            4 => Self::Sample {
                pool: reader.u32()?,
                series: reader.u64()?,
                lane: reader.u32()?,
                time: reader.u64()?,
                value: reader.f64()?,
            },
            5 => Self::Forget {
                pool: reader.u32()?,
                id: reader.u64()?,
            },
            6 => Self::Expire { now: reader.u64()? },
            _ => return Err(reader.invalid()),
        };
        reader.end()?;
        Ok(op)
    }
}

impl PoolOptions {
    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.u64(self.bytes_max);
        writer.u64(self.ttl);
        writer.u64(self.stream_bytes_max);
        writer.u32(self.lanes_max);
        writer.f32(self.claim_min);
        writer.f64(self.change_min);
        writer.u8(u8::from(self.repeats_are_stale));
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, CpeError> {
        Ok(Self {
            bytes_max: reader.u64()?,
            ttl: reader.u64()?,
            stream_bytes_max: reader.u64()?,
            lanes_max: reader.u32()?,
            claim_min: reader.f32()?,
            change_min: reader.f64()?,
            repeats_are_stale: reader.bool()?,
        })
    }
}
