//! The clock of deadlines: CLOCK_MONOTONIC, one per machine, so that a deadline means the same in every process.

use std::sync::OnceLock;
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

/// One moment on both clocks. `Instant` is CLOCK_MONOTONIC here: their difference stays as it is, so that one is turned into
/// the other without a look at either.
fn anchor() -> &'static (std::time::Instant, u64) {
    static ANCHOR: OnceLock<(std::time::Instant, u64)> = OnceLock::new();
    ANCHOR.get_or_init(|| {
        // A thread that is preempted between the two looks would shift every deadline of the process: the closest pair
        // of several counts, and no deadline is later than it was meant.
        let looks = (0..ANCHOR_LOOKS).map(|_| {
            let before = monotonic_ns();
            let now = std::time::Instant::now();
            (monotonic_ns() - before, now, before)
        });
        let closest = looks.min_by_key(|(apart, ..)| *apart);
        closest.map_or_else(
            || (std::time::Instant::now(), monotonic_ns()),
            |(_, now, before)| (now, before),
        )
    })
}

/// Pairs of looks at both clocks.
const ANCHOR_LOOKS: usize = 16;

/// An instant as nanoseconds of CLOCK_MONOTONIC.
pub(crate) fn ns_of(instant: std::time::Instant) -> u64 {
    let (start, start_ns) = anchor();
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    match instant.checked_duration_since(*start) {
        Some(after) => start_ns.saturating_add(nanos(after)),
        None => start_ns.saturating_sub(nanos(start.saturating_duration_since(instant))),
    }
}

/// The deadline of a header for an instant; never 0, which would mean none.
pub(crate) fn deadline_ns(deadline: std::time::Instant) -> u64 {
    ns_of(deadline).max(1)
}

/// The instant that a header's deadline names; 0 is none.
pub(crate) fn instant(deadline_ns: u64) -> Option<Instant> {
    if deadline_ns == 0 {
        return None;
    }
    let (start, start_ns) = anchor();
    let instant = match deadline_ns.checked_sub(*start_ns) {
        // A deadline beyond what the clock can represent is none.
        Some(after) => start.checked_add(Duration::from_nanos(after))?,
        // What was before this process looked at the clock has passed.
        None => *start,
    };
    Some(Instant::from_std(instant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_are_one() {
        // Instants from before it count as it.
        anchor();
        let (before, now, after) = (monotonic_ns(), std::time::Instant::now(), monotonic_ns());
        // The anchor was read on two clocks one after the other.
        let slack = 100_000_000;
        let ns = ns_of(now);
        assert!(
            (before - slack..=after + slack).contains(&ns),
            "{before} {ns} {after}"
        );
        let back = instant(ns).map(Instant::into_std);
        assert_eq!(back, Some(now));
        assert_eq!(instant(0), None);
        assert!(instant(1).is_some_and(|passed| passed <= Instant::now()));
        assert!(instant(u64::MAX).is_none_or(|far| far > Instant::now()));
    }
}
