//! How many events a caller allows: counted down by who sends, up by who receives.
//!
//! Built against the primitives of [`super::sync`], so that a model checker can run it with its own.

use super::sync::{AtomicU32, Ordering};

/// Most credit that may be there at once.
pub(crate) const MOST: u32 = mfn_wire::limits::CREDIT_MAX;

#[derive(Debug)]
pub(crate) struct Credit(AtomicU32);

impl Credit {
    pub(crate) fn new(credit: u32) -> Self {
        Self(AtomicU32::new(credit))
    }

    /// Takes one. `false`: there is none. Several threads may send the events of one call.
    pub(crate) fn take(&self) -> bool {
        let less = |credit: u32| credit.checked_sub(1);
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less)
            .is_ok()
    }

    /// Adds some. `false`: there would be more than the wire allows, and nothing is added.
    pub(crate) fn allow(&self, credit: u32) -> bool {
        let more = |there: u32| there.checked_add(credit).filter(|sum| *sum <= MOST);
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
            .is_ok()
    }
}
