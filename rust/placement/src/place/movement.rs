//! From where copies are to where they should be, one step at a time and never through too few.

use hypermesh_id::NodeId;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Bring a copy to this node, and verify it there.
    Copy(NodeId),
    /// Drop the copy of this node.
    Drop(NodeId),
    /// Everything is where it should be.
    Done,
}

/// The next step towards `wanted`, given who holds a verified copy and lives. It depends on nothing else, so that a move
/// that was cut off goes on from what is there.
///
/// First all wanted copies are made; only then is one dropped that is not wanted, and only while at least `floor` others
/// remain, and as many as are wanted. Nodes of `wanted` that left are the caller's to replace, by deciding again.
pub fn next_step(
    wanted: &[NodeId],
    verified: &[NodeId],
    floor: usize,
    alive: impl Fn(&NodeId) -> bool,
) -> Step {
    let there = |id: &NodeId| verified.contains(id) && alive(id);
    if let Some(missing) = wanted.iter().find(|id| alive(id) && !there(id)) {
        return Step::Copy(*missing);
    }
    let mut live: Vec<&NodeId> = verified.iter().filter(|id| alive(id)).collect();
    live.sort();
    live.dedup();
    let extra = live.iter().find(|id| !wanted.contains(id));
    match extra {
        Some(extra) if live.len() > floor.max(1) && live.len() > wanted.len() => {
            Step::Drop(**extra)
        }
        _ => Step::Done,
    }
}
