//! What a cache keeps: [`Lru`], and [`Adaptive`], which learns how long objects are worth their room.
//!
//! A policy knows keys and sizes; the bytes are the host's. It says what to drop, never more than that: a host that
//! finds an object gone treats it as a miss.
//!
//! ```
//! use hypermesh_placement::cache::{Adaptive, Answer, CacheOptions, Policy};
//!
//! let mut cache = Adaptive::new(CacheOptions::for_objects(2))?;
//! let mut dropped = Vec::new();
//! assert_eq!(cache.request(7, 1, &mut dropped), Answer::Admitted);
//! assert_eq!(cache.request(7, 1, &mut dropped), Answer::Hit);
//! assert!(dropped.is_empty() && cache.bytes() == 1);
//! # Ok::<(), hypermesh_placement::cache::CacheError>(())
//! ```

mod adaptive;
mod entries;
mod index;
mod lru;
mod reuse;
mod worth;

pub use adaptive::{Adaptive, LOSS_MARGIN, Order};
pub use lru::Lru;

/// An object: the first eight bytes of a block's id. Two blocks with one key share its entry, which costs hits and
/// nothing else: the host looks bytes up by the whole id.
pub type Key = u64;

/// Most objects of one cache, gone ones that are remembered included: slots have 32 bits.
pub const ENTRIES_MAX: usize = 1 << 30;

/// Largest budget of bytes: sums of two fit in 64 bits.
pub const BYTES_MAX: u64 = 1 << 62;

/// How to make a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// Bytes of all objects that are held, 1 to [`BYTES_MAX`].
    pub bytes_max: u64,
    /// Objects that are held, 1 to [`ENTRIES_MAX`] / 16: what bounds the memory of the policy itself when objects are small.
    pub objects_max: usize,
    /// Mixed into the choice of samples. The same seed and calls give the same decisions; another one on each node keeps
    /// a peer from knowing what will be looked at.
    pub seed: u64,
}

impl CacheOptions {
    /// A cache that counts objects: each is asked for with the size 1.
    pub fn for_objects(count: usize) -> Self {
        Self {
            bytes_max: count as u64,
            objects_max: count,
            seed: 0,
        }
    }

    fn check(self) -> Result<Self, CacheError> {
        let range = |name, value, range| Err(CacheError::Option { name, value, range });
        if !(1..=BYTES_MAX).contains(&self.bytes_max) {
            return range("bytes_max", self.bytes_max, "1 to 2^62");
        }
        if !(1..=ENTRIES_MAX / 16).contains(&self.objects_max) {
            return range("objects_max", self.objects_max as u64, "1 to 2^26");
        }
        Ok(self)
    }
}

/// Why a cache was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// An option is out of its range.
    #[error("{name} is {value}, and must be {range}")]
    Option {
        /// The field.
        name: &'static str,
        /// What it was.
        value: u64,
        /// What it may be.
        range: &'static str,
    },
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The object is held.
    Hit,
    /// It was not, and is from now on: the host keeps the bytes that it fetched.
    Admitted,
    /// It was not, and is not worth its room: the host serves the bytes and drops them.
    Refused,
}

/// What decides which objects a cache holds. Not for many threads at once; calls take bounded time.
pub trait Policy {
    /// An object of so many bytes is asked for. Keys that have to go are added to `dropped`; that is never `key` itself.
    /// One that was held with another size is one that was not held. An object larger than the budget is refused.
    fn request(&mut self, key: Key, bytes: u64, dropped: &mut Vec<Key>) -> Answer;

    /// An object was fetched ahead of any request: holds it, unless it is not worth its room. An object that is held
    /// already stays as it is. Answers whether it is held now.
    fn put_ahead(&mut self, key: Key, bytes: u64, dropped: &mut Vec<Key>) -> bool;

    /// Forgets an object; answers whether it was held.
    fn remove(&mut self, key: Key) -> bool;

    /// Whether an object is held; not a request.
    fn contains(&self, key: Key) -> bool;

    /// Bytes of all objects that are held.
    fn bytes(&self) -> u64;

    /// Objects that are held.
    fn len(&self) -> usize;

    /// Whether nothing is held.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The finaliser of splitmix64: a one-to-one map without order.
pub(crate) fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Whether a key is in the sample of one key in 2^`shift`.
fn samples(key: Key, seed: u64, shift: u32) -> bool {
    // Other bits than those that an index takes.
    mixed(key ^ seed) >> 32 & ((1 << shift) - 1) == 0
}
