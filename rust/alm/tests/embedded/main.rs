//! The layer in this process: the same answers as the daemon, refusals, many threads, signals and panics.
//!
//! Behind the feature `embedded-alm`. `cargo make test-ffi` runs it and builds `almd`, beside which it is held.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod broken;
mod directories;
mod process;
mod scenario;
mod threads;

use mfn_alm::{AlmError, EmbeddedAlm, EmbeddedOptions};

/// Opens a memory. All handlers of this program are tokio's, and each test that installs one says so to the layer.
fn open(options: &EmbeddedOptions) -> Result<EmbeddedAlm, AlmError> {
    // SAFETY: handlers that come later are followed by `signals_on_alternate_stack` (process.rs); no other Go archive is
    // linked; nothing forks without exec.
    unsafe { EmbeddedAlm::open(options) }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}
