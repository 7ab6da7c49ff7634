//! What a process with a Go runtime owes its signal handlers.
//!
//! Go code runs on small stacks of its own. The kernel runs a handler on the stack that the signal finds, unless the handler
//! was installed with `SA_ONSTACK`: then on the thread's alternate stack, of which Go gives each of its threads one. A handler
//! without the flag overruns a goroutine's stack. So a signal must find either the flag, or no Go code:
//!
//! - [`signals_on_alternate_stack`] sets the flag where it is missing, which is all that Go's own threads need.
//! - [`Held`] keeps signals from a thread of ours while it is inside Go; another thread takes them meanwhile. Go lets a few
//!   through nonetheless, SIGCHLD among them, so that those need the flag on every thread.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;

/// The signals that programs handle, for a look before each call; [`signals_on_alternate_stack`] takes all.
const USUAL: [i32; 11] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGCHLD,
    libc::SIGWINCH,
    libc::SIGIO,
    libc::SIGPIPE,
];

/// Signals that a thread inside Go must take itself: faults of its own instructions, Go's preemption, and profilers.
const TAKEN: [i32; 9] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGSYS,
    libc::SIGURG,
    libc::SIGPROF,
];

/// Sets `SA_ONSTACK` on every handler of this process that lacks it, and answers how many those were.
///
/// [`EmbeddedAlm::open`](crate::EmbeddedAlm::open) does it for the handlers that are there. Call it after installing one
/// later, tokio's included; each call of the layer looks after the usual ones again.
pub fn signals_on_alternate_stack() -> usize {
    // The C library keeps two signals above the standard ones for itself and refuses to show them.
    repair(1..=libc::SIGRTMAX())
}

/// The same for the usual signals: about a microsecond.
pub(super) fn usual_on_alternate_stack() -> usize {
    repair(USUAL.into_iter())
}

fn repair(signals: impl Iterator<Item = i32>) -> usize {
    signals.filter(|signal| set_flag(*signal)).count()
}

/// Whether the signal has a handler that lacked the flag and has it now.
fn set_flag(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: reads the action of a signal into memory that is large enough; an unknown signal is an error.
    if unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: the call succeeded, so that it wrote the action.
    let mut action = unsafe { action.assume_init() };
    let handled = action.sa_sigaction != libc::SIG_DFL && action.sa_sigaction != libc::SIG_IGN;
    if !handled || action.sa_flags & libc::SA_ONSTACK != 0 {
        return false;
    }
    action.sa_flags |= libc::SA_ONSTACK;
    // SAFETY: the handler is the one that is installed, with its mask and its other flags; on which stack it runs is
    // nothing that a handler may rely on, and a thread without an alternate stack goes on using its own.
    unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) == 0 }
}

/// While it lives, this thread takes no signal but [`TAKEN`].
#[derive(Debug)]
pub(super) struct Held {
    before: libc::sigset_t,
    /// The mask is the thread's: it must be given back where it was taken.
    _thread: PhantomData<*const ()>,
}

impl Held {
    pub(super) fn new() -> Self {
        let mut held = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigfillset writes the whole set before the others read it, and pthread_sigmask writes `before`; with a
        // valid operation and signals that exist none of them fails.
        let before = unsafe {
            libc::sigfillset(held.as_mut_ptr());
            for signal in TAKEN {
                libc::sigdelset(held.as_mut_ptr(), signal);
            }
            libc::sigemptyset(before.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_BLOCK, held.as_ptr(), before.as_mut_ptr());
            before.assume_init()
        };
        Self {
            before,
            _thread: PhantomData,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: `before` is this thread's own earlier mask: the type cannot leave its thread.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut());
        }
    }
}
