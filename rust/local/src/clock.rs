//! The clock of deadlines: CLOCK_MONOTONIC, one per machine, so that a deadline means the same in every process.

use std::time::Duration;

use tokio::time::Instant;

/// Nanoseconds of CLOCK_MONOTONIC.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(now.tv_nsec).unwrap_or_default())
}

/// The deadline of a header for an instant; never 0, which would mean none.
pub(crate) fn deadline_ns(deadline: std::time::Instant) -> u64 {
    let left = deadline.saturating_duration_since(std::time::Instant::now());
    let left = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
    monotonic_ns().saturating_add(left).max(1)
}

/// The instant that a header's deadline names. A passed one is now; 0 is none.
pub(crate) fn instant(deadline_ns: u64) -> Option<Instant> {
    if deadline_ns == 0 {
        return None;
    }
    let left = Duration::from_nanos(deadline_ns.saturating_sub(monotonic_ns()));
    // A deadline beyond what the clock can represent is none.
    Instant::now().checked_add(left)
}
