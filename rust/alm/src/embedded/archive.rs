//! The Go archive behind a handle: the only calls of its functions.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mfn_alm_sys as sys;
use mfn_alm_sys::mfn_status;
use mfn_wire::{Status, limits};

use super::signals::{Held, usual_on_alternate_stack};
use crate::AlmError;

/// What most answers fit into, in bytes; a longer one is asked for again.
const ANSWER_BYTES: usize = 4 << 10;
/// How often a longer answer is asked for: it may have grown meanwhile.
const ATTEMPTS_MAX: usize = 4;

/// One open memory. Dropped, it is closed, which writes a snapshot and waits for it.
#[derive(Debug)]
pub(super) struct Archive {
    handle: u64,
    /// Go found an invariant of its own broken.
    poisoned: AtomicBool,
}

impl Archive {
    pub(super) fn open(directory: &Path, flags: u32, bytes_max: u64) -> Result<Self, AlmError> {
        // SAFETY: takes and keeps nothing.
        let found = unsafe { sys::mfn_alm_abi_version() };
        if found >> 16 != sys::MFN_ALM_ABI_VERSION >> 16 {
            return Err(refused(
                Status::UNSUPPORTED,
                format!(
                    "the linked archive has ABI version {found:#x}, this crate needs {:#x}: build both from one tree",
                    sys::MFN_ALM_ABI_VERSION
                ),
            ));
        }
        let path = CString::new(directory.as_os_str().as_bytes()).map_err(|_| {
            refused(
                Status::INVALID_ARGUMENT,
                "a directory's name has no zero byte".to_owned(),
            )
        })?;
        let mut handle = 0;
        let held = Held::new();
        // SAFETY: the path ends with a zero and lives through the call, which copies it; `handle` is writable.
        let status = unsafe { sys::mfn_alm_open(path.as_ptr(), flags, bytes_max, &raw mut handle) };
        drop(held);
        if status == mfn_status::MFN_OK {
            return Ok(Self {
                handle,
                poisoned: AtomicBool::new(false),
            });
        }
        let text = match status {
            mfn_status::MFN_INVALID_ARGUMENT => {
                format!("{bytes_max} bytes are too few for a memory: allow more")
            }
            mfn_status::MFN_CORRUPT => format!(
                "{} is damaged; standard error says where: set it aside, or let `set_aside` do it",
                directory.display()
            ),
            mfn_status::MFN_IO => format!(
                "{} cannot be used; standard error says why: is it open elsewhere?",
                directory.display()
            ),
            _ => Status(status).name().to_owned(),
        };
        Err(refused(Status(status), text))
    }

    /// Calls a method and waits for its answer, at most that long.
    pub(super) fn call(
        &self,
        method: u16,
        body: &[u8],
        timeout: Duration,
    ) -> Result<Vec<u8>, AlmError> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(poisoned());
        }
        usual_on_alternate_stack();
        // 0 would be no limit at all.
        let timeout_ms = u64::try_from(timeout.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let mut answer = vec![0; ANSWER_BYTES];
        for _ in 0..ATTEMPTS_MAX {
            let mut needed = 0;
            let held = Held::new();
            // SAFETY: body and answer are readable and writable for the lengths that are given with them, and live through
            // the call, which keeps neither; any number is a handle that can be asked for.
            let status = unsafe {
                sys::mfn_alm_call(
                    self.handle,
                    method,
                    body.as_ptr(),
                    body.len(),
                    timeout_ms,
                    answer.as_mut_ptr(),
                    answer.len(),
                    &raw mut needed,
                )
            };
            drop(held);
            if status == mfn_status::MFN_NO_SPACE && needed > answer.len() {
                // Longer than that does not come over a socket either.
                if needed > limits::FRAME_BYTES_MAX as usize {
                    let text = format!("an answer of {needed} bytes is too long: ask for less");
                    return Err(refused(Status::LIMIT, text));
                }
                answer = vec![0; needed];
                continue;
            }
            answer.truncate(needed);
            return self.outcome(status, answer);
        }
        let text = "the answer grew faster than it could be fetched: ask again, or for less";
        Err(refused(Status::BUSY, text.to_owned()))
    }

    /// What a status and what came with it mean.
    fn outcome(&self, status: i32, answer: Vec<u8>) -> Result<Vec<u8>, AlmError> {
        match status {
            mfn_status::MFN_OK => Ok(answer),
            mfn_status::MFN_PANIC => {
                self.poisoned.store(true, Ordering::Release);
                Err(poisoned())
            }
            // As over a socket: it did not answer in time.
            mfn_status::MFN_DEADLINE => Err(AlmError::Away("it did not answer in time".to_owned())),
            mfn_status::MFN_CLOSED => Err(closed()),
            other => Err(refused(
                Status(other),
                String::from_utf8_lossy(&answer).into_owned(),
            )),
        }
    }

    /// Writes a snapshot and ends, after the calls that are under way. Again, it does nothing.
    pub(super) fn close(&self) {
        let _held = Held::new();
        // SAFETY: any number may be closed: the archive knows which are open, and numbers are never used again.
        let _closed_before = unsafe { sys::mfn_alm_close(self.handle) };
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        self.close();
    }
}

pub(super) fn closed() -> AlmError {
    AlmError::Away("it is closed".to_owned())
}

fn poisoned() -> AlmError {
    refused(
        Status::PANIC,
        "it broke an invariant and is unusable: close it, and please report what it printed"
            .to_owned(),
    )
}

fn refused(status: Status, text: String) -> AlmError {
    AlmError::Refused { status, text }
}
