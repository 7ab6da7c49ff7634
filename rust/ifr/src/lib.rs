//! Answers what exactly matches a key, in memory: a safe door to the Zig table of layer 1.
//!
//! [`Ifr`] maps 32-byte digests, and byte keys up to 64 KiB, to 16-byte values within a budget of bytes
//! ([`Options`]). The index in front of the entries is an updatable filter: it answers 99.5 % of the look-ups of what is
//! not here. [`Stats`] says what it costs.
//!
//! ```
//! use mfn_ifr::{Ifr, Options};
//!
//! let mut ifr = Ifr::new(Options { bytes_max: 1 << 20, ..Options::default() })?;
//! assert_eq!(ifr.insert(&[7; 32], [1; 16])?, None);
//! assert_eq!(ifr.get(&[7; 32]), Some([1; 16]));
//! ifr.insert_bytes(b"any bytes", [2; 16])?;
//! assert_eq!(ifr.remove(&[7; 32]), Some([1; 16]));
//! assert_eq!(ifr.len(), 1);
//! # Ok::<(), mfn_ifr::IfrError>(())
//! ```

mod error;
mod flows;
mod head;
mod summary;

use std::any::Any;
use std::ffi::c_void;
use std::fmt;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{self, NonNull};

use mfn_ifr_sys as sys;
use mfn_ifr_sys::mfn_status;

use head::View;

pub use error::IfrError;
pub use flows::{
    FlowRecord, Flows, Layer, POOL_BYTES_MIN, POOLS_MAX, PoolStats, RoutingDecision, WhenFull,
};
pub use summary::{Filter, Summary};

/// A digest key, such as a BLAKE3 hash.
pub type Digest = [u8; sys::MFN_IFR_DIGEST_BYTES as usize];
/// A value; what it means is the caller's affair.
pub type Value = [u8; sys::MFN_IFR_VALUE_BYTES as usize];

/// The longest key of `insert_bytes`, in bytes.
pub const KEY_BYTES_MAX: usize = sys::MFN_IFR_KEY_BYTES_MAX as usize;
/// The smallest `bytes_max`, in bytes.
pub const BYTES_MIN: u64 = sys::MFN_IFR_BYTES_MIN as u64;

/// How to make an [`Ifr`].
#[derive(Clone)]
pub struct Options {
    /// At most so many bytes are held at any moment: tables, keys and filter. At least [`BYTES_MIN`].
    pub bytes_max: u64,
    /// Has no effect any more: the index in front of the entries is the filter, and always there.
    pub filter: bool,
    /// Secret that hashes are keyed with; `None` draws one from the operating system. Give one only for runs that
    /// must repeat. All zero is refused.
    pub hash_key: Option<[u8; sys::MFN_IFR_HASH_KEY_BYTES as usize]>,
}

impl Default for Options {
    /// 1 GiB, with a filter and a random hash key.
    fn default() -> Self {
        Self {
            bytes_max: 1 << 30,
            filter: true,
            hash_key: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The hash key is a secret.
        f.debug_struct("Options")
            .field("bytes_max", &self.bytes_max)
            .field("filter", &self.filter)
            .finish_non_exhaustive()
    }
}

/// What a registry holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Entries of both kinds.
    pub entries: u64,
    /// Entries whose key is a digest.
    pub digest_entries: u64,
    /// Entries whose key is a byte string.
    pub bytes_entries: u64,
    /// Bytes held now; the allocator's own overhead is not seen.
    pub bytes: u64,
    /// The limit.
    pub bytes_max: u64,
    /// Entries that fit before some part of a table is rebuilt or split.
    pub capacity: u64,
    /// Parts that the tables consist of.
    pub segments: u64,
    /// Bytes of `bytes` that stand in front of the entries: the index, which is the filter as well.
    pub filter_bytes: u64,
    /// Always 0.
    pub filter_homeless: u64,
}

/// A registry: exact match from keys to values, in memory, within a budget.
///
/// Shared references may be used by many threads at once.
pub struct Ifr {
    handle: NonNull<sys::mfn_ifr>,
    view: View,
    bytes_max: u64,
}

// SAFETY: the handle owns its memory and is tied to no thread (ifr.h, "Threads").
unsafe impl Send for Ifr {}
// SAFETY: methods on `&self` call only functions that take a const handle, which may run at the same time (ifr.h).
unsafe impl Sync for Ifr {}

impl Ifr {
    /// Makes an empty registry.
    ///
    /// # Errors
    /// [`IfrError::Limit`] for a `bytes_max` under [`BYTES_MIN`], [`IfrError::OutOfMemory`],
    /// [`IfrError::NoRandomness`], [`IfrError::Version`] when a foreign archive is linked.
    pub fn new(options: Options) -> Result<Self, IfrError> {
        // SAFETY: takes nothing.
        let found = unsafe { sys::mfn_ifr_abi_version() };
        if found >> 16 != sys::MFN_IFR_ABI_VERSION >> 16 {
            return Err(IfrError::Version {
                found,
                wanted: sys::MFN_IFR_ABI_VERSION,
            });
        }
        let hash_key = match options.hash_key {
            Some(given) => given,
            None => random_key()?,
        };
        let raw = sys::mfn_ifr_options {
            struct_size: size_of::<sys::mfn_ifr_options>() as u32,
            flags: if options.filter {
                0
            } else {
                sys::MFN_IFR_NO_FILTER
            },
            bytes_max: options.bytes_max,
            hash_key,
        };
        let mut handle = ptr::null_mut();
        // SAFETY: both pointers are of live, distinct variables.
        let status = unsafe { sys::mfn_ifr_new(&raw, &mut handle) };
        if status != mfn_status::MFN_OK {
            return Err(IfrError::of(status, options.bytes_max));
        }
        let handle = NonNull::new(handle).ok_or(IfrError::Unexpected(status))?;
        let Some(view) = View::of(handle) else {
            // SAFETY: made above, and nobody else knows it.
            unsafe { sys::mfn_ifr_free(handle.as_ptr()) };
            return Err(IfrError::Version {
                found,
                wanted: sys::MFN_IFR_ABI_VERSION,
            });
        };
        Ok(Self {
            handle,
            view,
            bytes_max: options.bytes_max,
        })
    }

    /// Sets the value of a digest and returns the one that it replaces.
    ///
    /// # Errors
    /// [`IfrError::Limit`] or [`IfrError::OutOfMemory`]; replacing a value never fails.
    pub fn insert(&mut self, key: &Digest, value: Value) -> Result<Option<Value>, IfrError> {
        let (mut old, mut replaced) = ([0; 16], 0);
        // SAFETY: the handle is live and ours alone; the arrays have the lengths that the header asks for.
        let status = unsafe {
            sys::mfn_ifr_insert(
                self.handle.as_ptr(),
                key.as_ptr(),
                value.as_ptr(),
                old.as_mut_ptr(),
                &mut replaced,
            )
        };
        self.view.refresh();
        self.replaced(status, replaced, old)
    }

    /// The value of a digest.
    #[inline]
    pub fn get(&self, key: &Digest) -> Option<Value> {
        self.view.look(key)
    }

    /// Looks up many digests; their waits for memory overlap. `out[i]` becomes the value of `keys[i]`.
    /// Only as many as both slices hold.
    pub fn get_many(&self, keys: &[Digest], out: &mut [Option<Value>]) {
        self.view.look_many(keys, out);
    }

    /// Forgets a digest and returns its value.
    pub fn remove(&mut self, key: &Digest) -> Option<Value> {
        let mut old = [0; 16];
        // SAFETY: the handle is live and ours alone; the arrays have the right lengths.
        let status =
            unsafe { sys::mfn_ifr_remove(self.handle.as_ptr(), key.as_ptr(), old.as_mut_ptr()) };
        self.view.refresh();
        (status == mfn_status::MFN_OK).then_some(old)
    }

    /// Asks only the index: `false` is sure, `true` is a maybe, wrong for at most 0.5 % of the keys that are not here.
    #[inline]
    pub fn may_contain(&self, key: &Digest) -> bool {
        let mut maybe = 1;
        // SAFETY: the handle is live and may be read by many; the pointers are of live variables.
        unsafe { sys::mfn_ifr_may_contain(self.handle.as_ptr(), key.as_ptr(), &mut maybe) };
        maybe != 0
    }

    /// Sets the value of a byte key, which is copied, and returns the value that it replaces.
    ///
    /// # Errors
    /// [`IfrError::KeyTooLong`], [`IfrError::Limit`] or [`IfrError::OutOfMemory`].
    pub fn insert_bytes(&mut self, key: &[u8], value: Value) -> Result<Option<Value>, IfrError> {
        if key.len() > KEY_BYTES_MAX {
            return Err(IfrError::KeyTooLong { bytes: key.len() });
        }
        let (mut old, mut replaced) = ([0; 16], 0);
        // SAFETY: the handle is live and ours alone; pointer and length are of one slice.
        let status = unsafe {
            sys::mfn_ifr_insert_bytes(
                self.handle.as_ptr(),
                key.as_ptr(),
                key.len(),
                value.as_ptr(),
                old.as_mut_ptr(),
                &mut replaced,
            )
        };
        self.replaced(status, replaced, old)
    }

    /// The value of a byte key; `None` also for a key longer than [`KEY_BYTES_MAX`].
    pub fn get_bytes(&self, key: &[u8]) -> Option<Value> {
        let mut value = [0; 16];
        // SAFETY: the handle is live and may be read by many; pointer and length are of one slice.
        let status = unsafe {
            sys::mfn_ifr_get_bytes(
                self.handle.as_ptr(),
                key.as_ptr(),
                key.len(),
                value.as_mut_ptr(),
            )
        };
        (status == mfn_status::MFN_OK).then_some(value)
    }

    /// Forgets a byte key and returns its value.
    pub fn remove_bytes(&mut self, key: &[u8]) -> Option<Value> {
        let mut old = [0; 16];
        // SAFETY: the handle is live and ours alone; pointer and length are of one slice.
        let status = unsafe {
            sys::mfn_ifr_remove_bytes(
                self.handle.as_ptr(),
                key.as_ptr(),
                key.len(),
                old.as_mut_ptr(),
            )
        };
        (status == mfn_status::MFN_OK).then_some(old)
    }

    /// Calls `visit` for every digest, in no order, until it breaks. A panic of `visit` goes on to the caller.
    pub fn for_each(&self, mut visit: impl FnMut(&Digest, &Value) -> ControlFlow<()>) {
        self.iterate(sys::mfn_ifr_for_each, &mut |key, value| {
            match key.first_chunk() {
                Some(digest) => visit(digest, value),
                // Every key of this table has its length.
                None => ControlFlow::Continue(()),
            }
        });
    }

    /// Calls `visit` for every byte key, in no order, until it breaks. A panic of `visit` goes on to the caller.
    pub fn for_each_bytes(&self, mut visit: impl FnMut(&[u8], &Value) -> ControlFlow<()>) {
        self.iterate(sys::mfn_ifr_for_each_bytes, &mut visit);
    }

    /// Entries of both kinds.
    #[inline]
    pub fn len(&self) -> u64 {
        self.length().unwrap_or(0)
    }

    /// Whether an invariant of the archive was found broken in an earlier call on this registry. It then holds nothing
    /// any more: look-ups answer `None`, changes [`IfrError::Poisoned`], and dropping it leaks its memory.
    pub fn is_poisoned(&self) -> bool {
        self.length() == Err(mfn_status::MFN_PANIC)
    }

    #[inline]
    fn length(&self) -> Result<u64, i32> {
        let mut entries = 0;
        // SAFETY: the handle is live and may be read by many; the pointer is of a live variable.
        match unsafe { sys::mfn_ifr_len(self.handle.as_ptr(), &mut entries) } {
            mfn_status::MFN_OK => Ok(entries),
            other => Err(other),
        }
    }

    /// Whether there is no entry of either kind.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the registry holds. Visits every segment: not for an inner loop.
    pub fn stats(&self) -> Stats {
        let mut raw = sys::mfn_ifr_stats {
            struct_size: size_of::<sys::mfn_ifr_stats>() as u32,
            reserved: 0,
            digest_entries: 0,
            bytes_entries: 0,
            bytes: 0,
            bytes_max: 0,
            capacity: 0,
            segments: 0,
            filter_bytes: 0,
            filter_homeless: 0,
        };
        // SAFETY: the handle is live and may be read by many; `raw` is as long as it says.
        let status = unsafe { sys::mfn_ifr_stats_read(self.handle.as_ptr(), &mut raw) };
        debug_assert!(matches!(status, mfn_status::MFN_OK | mfn_status::MFN_PANIC));
        Stats {
            entries: raw.digest_entries + raw.bytes_entries,
            digest_entries: raw.digest_entries,
            bytes_entries: raw.bytes_entries,
            bytes: raw.bytes,
            bytes_max: raw.bytes_max,
            capacity: raw.capacity,
            segments: raw.segments,
            filter_bytes: raw.filter_bytes,
            filter_homeless: raw.filter_homeless,
        }
    }

    fn replaced(&self, status: i32, replaced: u8, old: Value) -> Result<Option<Value>, IfrError> {
        if status != mfn_status::MFN_OK {
            return Err(IfrError::of(status, self.bytes_max));
        }
        Ok((replaced != 0).then_some(old))
    }

    fn iterate(&self, walk: Walk, visit: &mut dyn FnMut(&[u8], &Value) -> ControlFlow<()>) {
        let mut visitor = Visitor { visit, panic: None };
        let userdata: *mut c_void = ptr::from_mut(&mut visitor).cast();
        // SAFETY: the handle is live and may be read by many; `userdata` is what `call_visitor` expects, and outlives
        // the call, which keeps nothing.
        unsafe { walk(self.handle.as_ptr(), userdata, Some(call_visitor)) };
        if let Some(panic) = visitor.panic {
            resume_unwind(panic);
        }
    }
}

/// A secret that hashes are keyed with, from the operating system.
fn random_key() -> Result<[u8; sys::MFN_IFR_HASH_KEY_BYTES as usize], IfrError> {
    let mut drawn = [0; sys::MFN_IFR_HASH_KEY_BYTES as usize];
    getrandom::fill(&mut drawn).map_err(|_| IfrError::NoRandomness)?;
    Ok(drawn)
}

impl Drop for Ifr {
    fn drop(&mut self) {
        // SAFETY: made by mfn_ifr_new, freed here only, and nobody else has a reference.
        unsafe { sys::mfn_ifr_free(self.handle.as_ptr()) };
    }
}

impl fmt::Debug for Ifr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ifr").field("stats", &self.stats()).finish()
    }
}

/// `mfn_ifr_for_each` or `mfn_ifr_for_each_bytes`.
type Walk = unsafe extern "C" fn(*const sys::mfn_ifr, *mut c_void, sys::mfn_ifr_visit) -> i32;

struct Visitor<'a> {
    visit: &'a mut dyn FnMut(&[u8], &Value) -> ControlFlow<()>,
    panic: Option<Box<dyn Any + Send>>,
}

/// What the archive calls. No panic may cross it.
unsafe extern "C" fn call_visitor(
    userdata: *mut c_void,
    key: *const u8,
    key_bytes: usize,
    value: *const u8,
) -> i32 {
    // SAFETY: `iterate` passes a live Visitor that nobody else uses during the call.
    let visitor = unsafe { &mut *userdata.cast::<Visitor<'_>>() };
    let key = if key_bytes == 0 {
        &[]
    } else {
        // SAFETY: the archive lends `key_bytes` bytes until this function returns.
        unsafe { std::slice::from_raw_parts(key, key_bytes) }
    };
    // SAFETY: the archive lends the 16 bytes of a value until this function returns.
    let value = unsafe { &*value.cast::<Value>() };
    match catch_unwind(AssertUnwindSafe(|| (visitor.visit)(key, value))) {
        Ok(ControlFlow::Continue(())) => 0,
        Ok(ControlFlow::Break(())) => 1,
        Err(panic) => {
            visitor.panic = Some(panic);
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found in the handle's memory, as it is unlikely to lie there by chance.
    const BYTES_MAX: u64 = 0x0345_6789;

    /// Sets the limit of the budget to 0, which is less than what is held: the next allocation finds that.
    fn damage(ifr: &mut Ifr) {
        let words: *mut u64 = ifr.handle.as_ptr().cast();
        // SAFETY: a handle is as long as 896 bytes and aligned to 8, and nobody else uses it.
        let words = unsafe { std::slice::from_raw_parts_mut(words, 112) };
        for word in words.iter_mut().filter(|word| **word == BYTES_MAX) {
            *word = 0;
        }
    }

    #[test]
    fn a_broken_invariant_is_an_error_and_not_the_end() {
        let options = Options {
            bytes_max: BYTES_MAX,
            ..Options::default()
        };
        let mut ifr = Ifr::new(options.clone()).expect("a registry");
        let mut whole = Ifr::new(options).expect("a registry");
        assert!(!ifr.is_poisoned());
        damage(&mut ifr);
        let key = |number: u32| {
            *number
                .to_le_bytes()
                .repeat(8)
                .first_chunk()
                .expect("32 bytes")
        };
        let error = (0..1_000_000).find_map(|number| ifr.insert(&key(number), [0; 16]).err());
        assert_eq!(error, Some(IfrError::Poisoned));
        assert!(ifr.is_poisoned());
        assert_eq!(ifr.get(&key(0)), None);
        assert_eq!(ifr.insert(&key(0), [0; 16]), Err(IfrError::Poisoned));
        assert_eq!(ifr.len(), 0);
        assert_eq!(whole.insert(&key(0), [1; 16]), Ok(None));
        assert_eq!(whole.len(), 1);
    }
}
