//! Summaries that are given away, and filters that forget.

use std::fmt;
use std::ptr::{self, NonNull};

use mfn_ifr_sys as sys;
use mfn_ifr_sys::mfn_status;

use crate::{Digest, IfrError};

/// Which digests somebody has, at 9 bits each: an immutable filter (binary fuse, 8 bits) in its serialised form.
///
/// ```
/// use mfn_ifr::Summary;
///
/// let ours = [[1; 32], [2; 32], [3; 32]];
/// let summary = Summary::build(&ours, 7)?;
/// let sent = summary.as_bytes().to_vec();
/// let received = Summary::from_bytes(sent)?;
/// assert!(received.may_contain(&[2; 32]));
/// # Ok::<(), mfn_ifr::IfrError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Summary {
    bytes: Vec<u8>,
}

impl Summary {
    /// Summarises digests; repeated ones are allowed. Their first eight bytes stand for them, so they must be hashes.
    /// The same digests and seed give the same bytes.
    ///
    /// # Errors
    /// [`IfrError::Limit`] beyond 2³¹ digests, [`IfrError::OutOfMemory`].
    pub fn build(digests: &[Digest], seed: u64) -> Result<Self, IfrError> {
        let mut needed = 0;
        // SAFETY: the pointer is of a live variable.
        let status = unsafe { sys::mfn_ifr_summary_bytes(digests.len() as u64, &mut needed) };
        if status != mfn_status::MFN_OK {
            return Err(IfrError::of(status, u64::MAX));
        }
        let mut bytes = vec![0; needed as usize];
        let mut written = 0;
        // SAFETY: each pointer has the length that is given with it, and `written` is a live variable.
        let status = unsafe {
            sys::mfn_ifr_summary_build(
                digests.as_ptr().cast(),
                digests.len(),
                seed,
                bytes.as_mut_ptr(),
                bytes.len(),
                &mut written,
            )
        };
        if status != mfn_status::MFN_OK {
            return Err(IfrError::of(status, u64::MAX));
        }
        bytes.truncate(written);
        Ok(Self { bytes })
    }

    /// Takes what somebody sent.
    ///
    /// # Errors
    /// [`IfrError::NoSummary`] if it is not a summary, whole and nothing else.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, IfrError> {
        match Self::ask(&bytes, &[0; 32]) {
            Ok(_) => Ok(Self { bytes }),
            Err(error) => Err(error),
        }
    }

    /// The form that is sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// `false` is sure; `true` is wrong for 0.39 % of what is not in.
    pub fn may_contain(&self, key: &Digest) -> bool {
        // The bytes were checked before; were they not, "perhaps" is the answer that loses nothing.
        Self::ask(&self.bytes, key).unwrap_or(true)
    }

    fn ask(bytes: &[u8], key: &Digest) -> Result<bool, IfrError> {
        let mut maybe = 1;
        // SAFETY: pointer and length are of one slice; the key has its length; `maybe` is a live variable.
        let status = unsafe {
            sys::mfn_ifr_summary_may_contain(bytes.as_ptr(), bytes.len(), key.as_ptr(), &mut maybe)
        };
        match status {
            mfn_status::MFN_OK => Ok(maybe != 0),
            mfn_status::MFN_CORRUPT => Err(IfrError::NoSummary),
            other => Err(IfrError::of(other, u64::MAX)),
        }
    }
}

impl fmt::Debug for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Summary")
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

/// An updatable filter of fixed capacity (cuckoo): 11.7 bits per digest, wrong "perhaps" for 0.37 % of what is not in.
#[derive(Debug)]
pub struct Filter {
    handle: NonNull<sys::mfn_ifr_filter>,
    capacity: u64,
}

// SAFETY: the handle owns its memory and is tied to no thread (ifr.h, "Threads").
unsafe impl Send for Filter {}
// SAFETY: methods on `&self` call only functions that take a const handle, which may run at the same time (ifr.h).
unsafe impl Sync for Filter {}

impl Filter {
    /// Makes an empty filter for so many digests, keyed with a random secret.
    ///
    /// # Errors
    /// [`IfrError::Limit`] beyond 2³² digests, [`IfrError::OutOfMemory`], [`IfrError::NoRandomness`].
    pub fn new(capacity: u64) -> Result<Self, IfrError> {
        let hash_key = crate::random_key()?;
        let mut handle = ptr::null_mut();
        // SAFETY: the key has 16 bytes and the pointer is of a live variable.
        let status = unsafe { sys::mfn_ifr_filter_new(capacity, hash_key.as_ptr(), &mut handle) };
        if status != mfn_status::MFN_OK {
            return Err(IfrError::of(status, capacity));
        }
        let handle = NonNull::new(handle).ok_or(IfrError::Unexpected(status))?;
        Ok(Self { handle, capacity })
    }

    /// Adds a digest; one that is added twice must be removed twice.
    ///
    /// # Errors
    /// [`IfrError::Limit`] when it is full.
    pub fn insert(&mut self, key: &Digest) -> Result<(), IfrError> {
        // SAFETY: the handle is live and ours alone; the key has its length.
        let status = unsafe { sys::mfn_ifr_filter_insert(self.handle.as_ptr(), key.as_ptr()) };
        if status != mfn_status::MFN_OK {
            return Err(IfrError::of(status, self.capacity));
        }
        Ok(())
    }

    /// Removes a digest that was added; says whether there was one like it. Removing another one may make the filter
    /// deny what was added.
    pub fn remove(&mut self, key: &Digest) -> bool {
        // SAFETY: the handle is live and ours alone; the key has its length.
        let status = unsafe { sys::mfn_ifr_filter_remove(self.handle.as_ptr(), key.as_ptr()) };
        status == mfn_status::MFN_OK
    }

    /// `false` is sure, `true` is a perhaps.
    pub fn may_contain(&self, key: &Digest) -> bool {
        let mut maybe = 1;
        // SAFETY: the handle is live and may be read by many; the key has its length; `maybe` is a live variable.
        unsafe { sys::mfn_ifr_filter_may_contain(self.handle.as_ptr(), key.as_ptr(), &mut maybe) };
        maybe != 0
    }

    /// Bytes that it takes, whatever is in.
    pub fn bytes(&self) -> u64 {
        let mut bytes = 0;
        // SAFETY: the handle is live and may be read by many; the pointer is of a live variable.
        unsafe { sys::mfn_ifr_filter_bytes(self.handle.as_ptr(), &mut bytes) };
        bytes
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // SAFETY: made by mfn_ifr_filter_new, freed here only, and nobody else has a reference.
        unsafe { sys::mfn_ifr_filter_free(self.handle.as_ptr()) };
    }
}
