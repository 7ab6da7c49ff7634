//! What one source of events has just done: the contexts of its next event.

use crate::gaps::Gaps;
use crate::symbols::NO_HANDLE;

/// Symbols that a context may reach back to.
pub(crate) const RECENT: usize = 4;
/// Different symbols kept in order of their last use.
pub(crate) const MRU: usize = 16;
/// Runs of equal steps that are followed at once.
pub(crate) const HEADS: usize = 8;
/// A value this near a head, but not its next one, gives the head a new step.
const NEAR: u64 = 64;

/// A run of values with equal steps: address, step, length of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Head {
    pub(crate) value: u64,
    pub(crate) step: i64,
    pub(crate) run: u16,
}

/// One source of events.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lane {
    pub(crate) id: u32,
    pub(crate) events: u64,
    /// The stream's event number when it was last written to: the lane that was silent longest makes room.
    pub(crate) used: u64,
    /// Handles of its last symbols, the newest first.
    pub(crate) recent: [u32; RECENT],
    pub(crate) mru: [u32; MRU],
    pub(crate) value: u64,
    /// Its last steps from value to value, the newest first; 0 before there were any.
    pub(crate) steps: [i64; 2],
    /// How often in a row the newest step came.
    pub(crate) run: u16,
    /// The newest first.
    pub(crate) heads: [Head; HEADS],
    /// Where the long match continues (1 + position in the history), 0 for nowhere, and for how long it has held.
    pub(crate) match_at: u32,
    pub(crate) match_len: u32,
    /// When its last event came, and how many came at that very time.
    pub(crate) time: u64,
    pub(crate) burst: u16,
    pub(crate) gaps: Gaps,
    /// 1 + position of its last event in the history.
    pub(crate) position: u32,
}

impl Lane {
    pub(crate) fn new(id: u32) -> Self {
        Self {
            id,
            events: 0,
            used: 0,
            recent: [NO_HANDLE; RECENT],
            mru: [NO_HANDLE; MRU],
            value: 0,
            steps: [0; 2],
            run: 0,
            heads: [Head::default(); HEADS],
            match_at: 0,
            match_len: 0,
            position: 0,
            time: 0,
            burst: 0,
            gaps: Gaps::new(),
        }
    }

    /// Takes in the next symbol.
    pub(crate) fn push(&mut self, handle: u32, value: u64, time: u64) {
        if self.events > 0
            && let Some(gap) = time.checked_sub(self.time)
        {
            self.gaps.learn(gap);
        }
        let together = self.events > 0 && time == self.time;
        self.burst = if together {
            self.burst.saturating_add(1)
        } else {
            1
        };
        self.time = time;
        self.recent.copy_within(0..RECENT - 1, 1);
        self.recent[0] = handle;
        let at = self
            .mru
            .iter()
            .position(|known| *known == handle)
            .unwrap_or(MRU - 1);
        self.mru.copy_within(0..at, 1);
        self.mru[0] = handle;
        if self.events > 0 {
            let step = value.wrapping_sub(self.value) as i64;
            self.run = if step == self.steps[0] {
                self.run.saturating_add(1)
            } else {
                1
            };
            self.steps = [step, self.steps[0]];
        }
        self.follow(value);
        self.value = value;
        self.events += 1;
    }

    /// Moves the head that expected this value to the front; else the nearest one, with a new step; else a new head
    /// takes the place of the one that was silent longest.
    fn follow(&mut self, value: u64) {
        let expected =
            |head: &Head| head.run > 0 && head.value.wrapping_add(head.step as u64) == value;
        let distance = |head: &Head| (value.wrapping_sub(head.value) as i64).unsigned_abs();
        let (at, head) = if let Some(at) = self.heads.iter().position(expected) {
            let head = self.heads[at];
            (
                at,
                Head {
                    value,
                    run: head.run.saturating_add(1),
                    ..head
                },
            )
        } else if let Some(at) = (0..HEADS)
            .filter(|at| self.heads[*at].value != 0 && distance(&self.heads[*at]) <= NEAR)
            .min_by_key(|at| distance(&self.heads[*at]))
        {
            let step = value.wrapping_sub(self.heads[at].value) as i64;
            // The same value again keeps its head as it was.
            let head = self.heads[at];
            (
                at,
                if step == 0 {
                    head
                } else {
                    Head {
                        value,
                        step,
                        run: 1,
                    }
                },
            )
        } else {
            (
                HEADS - 1,
                Head {
                    value,
                    step: 0,
                    run: 0,
                },
            )
        };
        self.heads.copy_within(0..at, 1);
        self.heads[0] = head;
    }
}
