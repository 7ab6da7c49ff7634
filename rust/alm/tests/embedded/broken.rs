//! What Go calls a panic is a status here, and ends one memory of the process.

use std::path::Path;
use std::ptr;

use mfn_alm::{Alm, AlmError, Edge, EmbeddedOptions};
use mfn_alm_sys as sys;
use mfn_alm_sys::mfn_status;
use mfn_wire::{Status, method};
use tempfile::tempdir;

use crate::{open, run};

/// A memory as C has it.
fn opened(directory: &Path) -> u64 {
    let path = std::ffi::CString::new(directory.to_str().unwrap()).unwrap();
    let mut handle = 0;
    // SAFETY: the path ends with a zero and lives through the call; the handle is writable.
    let status = unsafe { sys::mfn_alm_open(path.as_ptr(), 0, 0, &raw mut handle) };
    assert_eq!(status, mfn_status::MFN_OK);
    handle
}

/// The status of STATS with a body that is at this address.
fn status_of(handle: u64, body: *const u8, length: usize) -> i32 {
    let mut answer = [0; 4_096];
    let mut needed = 0;
    // SAFETY: the answer is writable. The body may not be readable, which is what is tried: it is below the addresses that a
    // process can have, so that reading it harms nothing.
    unsafe {
        sys::mfn_alm_call(
            handle,
            method::alm::STATS,
            body,
            length,
            10_000,
            answer.as_mut_ptr(),
            answer.len(),
            &raw mut needed,
        )
    }
}

#[test]
fn a_panic_of_go_ends_one_memory_and_not_the_process() {
    let (place, beside) = (tempdir().unwrap(), tempdir().unwrap());
    let other = opened(beside.path());
    let alm = open(&EmbeddedOptions::new(place.path())).unwrap();
    // Handles are counted up, and this program opens them one after another.
    let handle = other + 1;
    assert_eq!(status_of(handle, ptr::null(), 0), mfn_status::MFN_OK);
    run(alm.add(vec![Edge::new("a", "b", 0.5)])).unwrap();

    let nowhere = ptr::without_provenance(16);
    assert_eq!(status_of(handle, nowhere, 8), mfn_status::MFN_PANIC);
    // From then on, whoever calls.
    assert_eq!(status_of(handle, ptr::null(), 0), mfn_status::MFN_PANIC);
    for _ in 0..2 {
        match run(alm.stats()) {
            Err(AlmError::Refused { status, text }) => {
                assert_eq!(status, Status::PANIC);
                assert!(text.contains("close it"), "{text}");
            }
            went => panic!("{went:?}"),
        }
    }
    assert_eq!(status_of(other, ptr::null(), 0), mfn_status::MFN_OK);
    run(alm.close());
    assert!(!place.path().join("snapshot").exists(), "of what broke");
    // What was acknowledged is in the log, and the directory can be opened again by this very process.
    let again = open(&EmbeddedOptions::new(place.path())).unwrap();
    assert_eq!(run(again.stats()).unwrap().edges, 1);
    run(again.close());
    // SAFETY: any number may be closed.
    assert_eq!(unsafe { sys::mfn_alm_close(other) }, mfn_status::MFN_OK);
}
