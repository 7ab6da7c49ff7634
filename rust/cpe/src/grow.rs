//! Growth of tables that have a limit: by doubling, never past the limit, and the same on every run.

/// Fewest items that room is made for.
const LEAST: usize = 4;

/// The room that a list of `len` items of at most `max` has.
pub(crate) fn room(len: usize, max: usize) -> usize {
    match len {
        0 => 0,
        _ => len.next_power_of_two().max(LEAST).min(max.max(len)),
    }
}

/// Makes room for one more item.
pub(crate) fn make_room<T>(list: &mut Vec<T>, max: usize) {
    if list.len() == list.capacity() {
        list.reserve_exact(room(list.len() + 1, max) - list.len());
    }
}
