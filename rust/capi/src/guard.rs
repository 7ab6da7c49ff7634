//! What every export does: no panic crosses the border, and the thread's last error is kept as text.

use std::cell::RefCell;
use std::ffi::c_char;
use std::panic::AssertUnwindSafe;

use mfn_wire::Status;

thread_local! {
    static LAST_ERROR: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// An error with the text that goes to the caller's thread.
pub(crate) struct Problem {
    pub(crate) status: Status,
    pub(crate) text: String,
}

pub(crate) fn problem(status: Status, text: impl Into<String>) -> Problem {
    Problem {
        status,
        text: text.into(),
    }
}

/// Runs the body of an export: no panic crosses the border, and the thread's last error is kept.
pub(crate) fn guarded(body: impl FnOnce() -> Result<(), Problem>) -> i32 {
    let result = std::panic::catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        Err(problem(
            Status::PANIC,
            "a broken invariant was caught; close the handle and report this",
        ))
    });
    let (status, text) = match result {
        Ok(()) => (Status::OK, String::new()),
        Err(Problem { status, text }) => (status, text),
    };
    LAST_ERROR.with(|last| last.replace(text.into_bytes()));
    status.0
}

/// Copies the text of this thread's last error with a closing zero byte; `needed` becomes the room that it takes.
///
/// # Safety
/// `buffer` points to `capacity` bytes, or is NULL when that is 0; `needed` points to a place for a length, or is NULL.
pub(crate) unsafe fn copy_text(buffer: *mut c_char, capacity: usize, needed: *mut usize) -> i32 {
    LAST_ERROR.with(|last| {
        let text = last.borrow();
        if !needed.is_null() {
            // SAFETY: not NULL; the caller promises room for a length.
            unsafe { needed.write(text.len() + 1) };
        }
        if buffer.is_null() || capacity <= text.len() {
            return Status::NO_SPACE.0;
        }
        // SAFETY: the buffer has room for the text and its zero, and nobody else has this thread's text.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast(), text.len());
            buffer.add(text.len()).write(0);
        }
        Status::OK.0
    })
}
