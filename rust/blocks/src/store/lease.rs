//! Keeps `gc` away while blocks are stored that no root names yet.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::{Observer, StoreError};

/// How often a waiting `gc` looks whether it shall stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    leases: usize,
    sweeping: bool,
}

/// While one lives, `gc` waits. Holders may take more of them; `gc` starts when all are dropped.
#[derive(Debug)]
pub struct Lease(Arc<Gate>);

pub(crate) struct Sweeping<'a>(&'a Gate);

impl Gate {
    /// Waits for a running `gc` to end.
    pub(crate) fn lease(self: &Arc<Self>) -> Lease {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.sweeping {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.leases += 1;
        Lease(Arc::clone(self))
    }

    /// Waits until no lease is held.
    pub(crate) fn sweep(&self, observer: &dyn Observer) -> Result<Sweeping<'_>, StoreError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.leases > 0 || state.sweeping {
            if observer.cancelled() {
                return Err(StoreError::Cancelled);
            }
            let waited = self.changed.wait_timeout(state, LOOK_EVERY);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.sweeping = true;
        Ok(Sweeping(self))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.leases = state.leases.saturating_sub(1);
        self.0.changed.notify_all();
    }
}

impl Drop for Sweeping<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sweeping = false;
        self.0.changed.notify_all();
    }
}
