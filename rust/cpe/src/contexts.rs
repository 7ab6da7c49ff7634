//! What followed which context: a bounded, hashed table of successors.
//!
//! Most contexts are followed by one or two things, a few by hundreds. A context starts as a slot of 16 bytes with
//! room for two successors; when a third comes it gets a node of 128 bytes from a pool. Successors stand in the order
//! of their last occurrence and carry counts, so both recency and frequency can be read off. Slots live in buckets of
//! four, one cache line; a full bucket gives up its least used context, a full pool the one under its hand.

use crate::grow::{make_room, room};
use crate::hash::mix;

/// Most successors that one context keeps.
pub(crate) const SUCCESSORS_MAX: usize = 23;
const WAYS: usize = 4;
/// Fewest slots of a table.
pub(crate) const SLOTS_MIN: usize = 1024;
/// Counts are halved when one reaches this, which keeps them near the present.
const COUNT_MAX: u8 = 255;
const FREE: u8 = 0;
pub(crate) const INLINE: u8 = 1;
pub(crate) const POOLED: u8 = 2;

/// One context in its bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Slot {
    pub(crate) check: u32,
    /// Two successors, the later first; or the place of the node.
    pub(crate) next: [u32; 2],
    pub(crate) counts: [u8; 2],
    /// What it is worth keeping: its events, aging when its bucket is full.
    pub(crate) worth: u8,
    pub(crate) kind: u8,
}

/// A context with more than two successors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) next: [u32; SUCCESSORS_MAX],
    pub(crate) counts: [u8; SUCCESSORS_MAX],
    pub(crate) len: u8,
    /// How often something came that was not in the list: the evidence for an escape.
    pub(crate) novel: u16,
    pub(crate) total: u16,
    /// The slot that points here.
    pub(crate) owner: u32,
    /// Set when used, cleared by the hand.
    pub(crate) used: bool,
}

impl Node {
    pub(crate) const EMPTY: Node = Node {
        next: [0; SUCCESSORS_MAX],
        counts: [0; SUCCESSORS_MAX],
        len: 0,
        novel: 0,
        total: 0,
        owner: 0,
        used: false,
    };
}

/// What a context says: a copy, so that the tables are free while candidates are weighed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) next: [u32; SUCCESSORS_MAX],
    pub(crate) counts: [u8; SUCCESSORS_MAX],
    pub(crate) len: u8,
    pub(crate) novel: u16,
    pub(crate) total: u16,
}

impl View {
    pub(crate) const EMPTY: View = View {
        next: [0; SUCCESSORS_MAX],
        counts: [0; SUCCESSORS_MAX],
        len: 0,
        novel: 0,
        total: 0,
    };
}

/// All contexts of one stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Contexts {
    pub(crate) slots: Vec<Slot>,
    pub(crate) live: usize,
    pub(crate) slots_max: usize,
    pub(crate) nodes: Vec<Node>,
    pub(crate) free_nodes: Vec<u32>,
    pub(crate) nodes_max: usize,
    pub(crate) hand: usize,
}

impl Contexts {
    /// A table that holds at most so many slots (a power of two) and nodes.
    pub(crate) fn new(slots_max: usize, nodes_max: usize) -> Self {
        let slots_max = prev_power_of_two(slots_max.max(SLOTS_MIN));
        Self {
            slots: vec![Slot::default(); SLOTS_MIN],
            live: 0,
            slots_max,
            nodes: Vec::new(),
            free_nodes: Vec::new(),
            nodes_max: nodes_max.clamp(4, u32::MAX as usize / 2),
            hand: 0,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.slots.len() * size_of::<Slot>()
            + room(self.nodes.len(), self.nodes_max) * (size_of::<Node>() + size_of::<u32>())
    }

    fn bucket(&self, check: u32) -> usize {
        (check as usize & (self.slots.len() / WAYS - 1)) * WAYS
    }

    /// Whether a context with this check may stand at this place.
    pub(crate) fn belongs(&self, at: usize, check: u32) -> bool {
        at / WAYS * WAYS == self.bucket(check)
    }

    fn find(&self, key: u64) -> Option<usize> {
        let check = check_of(key);
        let bucket = self.bucket(check);
        (bucket..bucket + WAYS).find(|at| {
            let slot = &self.slots[*at];
            slot.check == check && slot.kind != FREE
        })
    }

    /// Writes down what followed this context; leaves `view` alone when it is unknown.
    #[inline]
    pub(crate) fn view(&self, key: u64, view: &mut View) {
        let Some(at) = self.find(key) else { return };
        let slot = &self.slots[at];
        if slot.kind == POOLED {
            let node = &self.nodes[slot.next[0] as usize];
            view.next = node.next;
            view.counts = node.counts;
            (view.len, view.novel, view.total) = (node.len, node.novel, node.total);
        } else {
            view.next[..2].copy_from_slice(&slot.next);
            view.counts[..2].copy_from_slice(&slot.counts);
            view.len = 1 + u8::from(slot.counts[1] > 0);
            view.novel = u16::from(view.len);
            view.total = u16::from(slot.counts[0]) + u16::from(slot.counts[1]);
        }
    }

    /// Learns that `next` followed this context. An unknown context is only made when `create`.
    pub(crate) fn learn(&mut self, key: u64, next: u32, create: bool) {
        let Some(at) = self.find(key) else {
            if create {
                self.insert(check_of(key), next);
            }
            return;
        };
        let slot = &mut self.slots[at];
        slot.worth = slot.worth.saturating_add(1);
        if slot.kind == POOLED {
            self.nodes[slot.next[0] as usize].learn(next);
            return;
        }
        if slot.next[0] == next {
            slot.counts[0] += 1;
        } else if slot.counts[1] == 0 || slot.next[1] == next {
            slot.next = [next, slot.next[0]];
            slot.counts = [slot.counts[1] + 1, slot.counts[0]];
        } else {
            self.promote(at, next);
            return;
        }
        if slot.counts[0] == COUNT_MAX {
            slot.counts = [COUNT_MAX / 2, slot.counts[1].div_ceil(2)];
        }
    }

    fn insert(&mut self, check: u32, next: u32) {
        if self.live * 4 >= self.slots.len() * 3 && self.slots.len() < self.slots_max {
            self.grow();
        }
        let bucket = self.bucket(check);
        let at = self.room(bucket);
        self.live += usize::from(self.slots[at].kind == FREE);
        self.release(at);
        self.slots[at] = Slot {
            check,
            next: [next, 0],
            counts: [1, 0],
            worth: 1,
            kind: INLINE,
        };
    }

    /// The place of a bucket to write to: a free one, or the context with the least behind it. The others age, so
    /// what is never seen again goes in the end.
    fn room(&mut self, bucket: usize) -> usize {
        let ways = &mut self.slots[bucket..bucket + WAYS];
        if let Some(free) = ways.iter().position(|slot| slot.kind == FREE) {
            return bucket + free;
        }
        let least = (0..WAYS).min_by_key(|way| ways[*way].worth).unwrap_or(0);
        for slot in ways.iter_mut() {
            slot.worth -= slot.worth.div_ceil(4);
        }
        bucket + least
    }

    fn release(&mut self, at: usize) {
        let slot = self.slots[at];
        if slot.kind == POOLED {
            self.nodes[slot.next[0] as usize].len = 0;
            make_room(&mut self.free_nodes, self.nodes_max);
            self.free_nodes.push(slot.next[0]);
        }
    }

    /// Doubles the table: each bucket's contexts go to it or to its twin, so nothing is lost.
    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![Slot::default(); old.len() * 2];
        for slot in old.into_iter().filter(|slot| slot.kind != FREE) {
            let bucket = self.bucket(slot.check);
            let Some(at) = (bucket..bucket + WAYS).find(|at| self.slots[*at].kind == FREE) else {
                continue;
            };
            self.slots[at] = slot;
            if slot.kind == POOLED {
                self.nodes[slot.next[0] as usize].owner = at as u32;
            }
        }
    }

    /// Gives a slot with two successors a node, and the third successor.
    fn promote(&mut self, at: usize, next: u32) {
        let place = match self.free_nodes.pop() {
            Some(place) => place,
            None if self.nodes.len() < self.nodes_max => {
                make_room(&mut self.nodes, self.nodes_max);
                self.nodes.push(Node::EMPTY);
                (self.nodes.len() - 1) as u32
            }
            None => self.demote(),
        };
        let slot = &mut self.slots[at];
        let mut node = Node::EMPTY;
        node.next[..2].copy_from_slice(&slot.next);
        node.counts[..2].copy_from_slice(&slot.counts);
        node.len = 2;
        node.novel = 2;
        node.total = u16::from(slot.counts[0]) + u16::from(slot.counts[1]);
        node.owner = at as u32;
        node.learn(next);
        self.nodes[place as usize] = node;
        slot.kind = POOLED;
        slot.next = [place, 0];
    }

    /// Takes the node that was not used since the hand last came by; its slot keeps the two latest successors.
    fn demote(&mut self) -> u32 {
        let mut steps = 0;
        loop {
            self.hand = (self.hand + 1) % self.nodes.len();
            steps += 1;
            let node = &mut self.nodes[self.hand];
            // A bounded search: after so many steps the next one goes, used or not.
            if node.used && steps < 64 {
                node.used = false;
                continue;
            }
            let slot = &mut self.slots[node.owner as usize];
            slot.kind = INLINE;
            slot.next = [node.next[0], node.next[1]];
            slot.counts = [node.counts[0].max(1), node.counts[1]];
            return self.hand as u32;
        }
    }
}

impl Node {
    fn learn(&mut self, next: u32) {
        self.used = true;
        self.total = self.total.saturating_add(1);
        let len = usize::from(self.len);
        let found = self.next[..len].iter().position(|symbol| *symbol == next);
        let (at, count) = match found {
            Some(at) => (at, self.counts[at] + 1),
            None => {
                self.novel = self.novel.saturating_add(1);
                (self.room(), 1)
            }
        };
        self.next.copy_within(0..at, 1);
        self.counts.copy_within(0..at, 1);
        self.next[0] = next;
        self.counts[0] = count;
        if count == COUNT_MAX {
            for count in &mut self.counts {
                *count = count.div_ceil(2);
            }
            self.total /= 2;
            self.novel = self.novel.div_ceil(2);
        }
    }

    /// Where a new successor goes: behind the last, or in place of the rarest in the older half of the list.
    fn room(&mut self) -> usize {
        let len = usize::from(self.len);
        if len < SUCCESSORS_MAX {
            self.len += 1;
            return len;
        }
        let older = SUCCESSORS_MAX / 2..SUCCESSORS_MAX;
        older
            .rev()
            .min_by_key(|at| self.counts[*at])
            .unwrap_or(SUCCESSORS_MAX - 1)
    }
}

fn check_of(key: u64) -> u32 {
    mix(key, 3) as u32
}

pub(crate) fn prev_power_of_two(number: usize) -> usize {
    if number.is_power_of_two() {
        number
    } else {
        number.next_power_of_two() / 2
    }
}
