//! The layer in this process: the Go archive of `ffi/include/mfn/alm.h`.

#![expect(
    unsafe_code,
    reason = "the border to C: two files, each block with its invariant"
)]

mod archive;
mod signals;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mfn_alm_sys as sys;
use prost::Message;
use tokio::sync::Semaphore;

use archive::{Archive, closed};

use crate::methods::{Ask, decode};
use crate::{AlmError, Answer};

pub use signals::signals_on_alternate_stack;

/// Most calls that are inside Go at once, each on a thread; more of them wait their turn. Changes mostly wait for the disk,
/// where those that come together share one sync.
const CALLS_MAX: usize = 16;

/// What to open, and how.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// Where it keeps a snapshot and a log; made if it is not there. No other process may have it open.
    pub directory: PathBuf,
    /// Bounds all that is remembered, in bytes; 0 is 1 GiB.
    pub bytes_max: u64,
    /// Whether an acknowledged change survives a power cut, or only the end of the process.
    pub durable: bool,
    /// A damaged directory gives way to an empty one, renamed beside it, instead of an error.
    pub set_aside: bool,
}

impl EmbeddedOptions {
    /// 1 GiB, durable, damage is an error.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            bytes_max: 0,
            durable: true,
            set_aside: false,
        }
    }
}

/// Layer 3 in this process, for programs that want no second one. Cheap to clone; all clones are one memory.
///
/// A call runs on a blocking thread of the tokio runtime in which its answer is awaited; at most 16 run at once. An answer
/// that is not awaited any more ends by itself at its time limit. The Go runtime adds its threads, a garbage collector and
/// about 6 MB to the program, and takes over SIGSEGV, so that Rust's words on a stack overflow may be missing. SIGTERM and all
/// other signals stay the program's own.
///
/// Dropped with its last clone, it is closed; that blocks while a snapshot is written. [`EmbeddedAlm::close`] does not.
#[derive(Clone, Debug)]
pub struct EmbeddedAlm {
    archive: Arc<Archive>,
    /// Closed when the layer is.
    turns: Arc<Semaphore>,
}

impl EmbeddedAlm {
    /// Opens the memory. Blocks while it is read.
    ///
    /// # Safety
    /// From the start of the process on, Go code may run on any thread of Go's, and a signal handler without `SA_ONSTACK`
    /// that meets it corrupts memory. Opening sets the flag on the handlers that are installed, and the caller promises that
    /// each one that is installed later has it, or that [`signals_on_alternate_stack`] is called right after. Tokio's handlers
    /// lack it, among them those of `tokio::process`. Install what you need first.
    ///
    /// The process has no other Go archive, and does not fork without exec.
    ///
    /// # Errors
    /// [`AlmError::Refused`] with INVALID_ARGUMENT (a name with a zero byte, a `bytes_max` that is too small), CORRUPT, IO
    /// (not writable, open elsewhere), or UNSUPPORTED when an archive of another version is linked.
    pub unsafe fn open(options: &EmbeddedOptions) -> Result<Self, AlmError> {
        signals_on_alternate_stack();
        let mut flags = 0;
        if !options.durable {
            flags |= sys::MFN_ALM_DURABLE_NONE;
        }
        if options.set_aside {
            flags |= sys::MFN_ALM_SET_ASIDE;
        }
        let archive = Archive::open(&options.directory, flags, options.bytes_max)?;
        Ok(Self {
            archive: Arc::new(archive),
            turns: Arc::new(Semaphore::new(CALLS_MAX)),
        })
    }

    /// Writes a snapshot and ends, after the calls that are under way; calls of any clone then say that it is away. Needs a
    /// tokio runtime.
    pub async fn close(&self) {
        self.turns.close();
        let archive = Arc::clone(&self.archive);
        // A runtime that shuts down refuses; dropping the last clone closes it then.
        let _ended = tokio::task::spawn_blocking(move || archive.close()).await;
    }
}

impl Ask for EmbeddedAlm {
    fn ask<A: Message + Default + 'static>(
        &self,
        method: u16,
        question: impl Message + 'static,
        timeout: Duration,
    ) -> Answer<A> {
        let archive = Arc::clone(&self.archive);
        let turns = Arc::clone(&self.turns);
        Box::pin(async move {
            let late = |_| AlmError::Away("no call before it ended in time".to_owned());
            let turn = tokio::time::timeout(timeout, turns.acquire_owned())
                .await
                .map_err(late)?
                .map_err(|_| closed())?;
            let body = question.encode_to_vec();
            let called = tokio::task::spawn_blocking(move || {
                // Held until Go is back, even if nobody awaits the answer any more.
                let _turn = turn;
                archive.call(method, &body, timeout)
            });
            let answer = called
                .await
                .map_err(|error| AlmError::Away(error.to_string()))??;
            decode(answer.as_slice())
        })
    }
}
