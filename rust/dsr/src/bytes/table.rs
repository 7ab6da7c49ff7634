//! Buckets of entries that share a winner: chains through arrays, nothing allocated per entry.

use super::{LONG, mix};

const NONE: u32 = u32::MAX;

/// For each long neuron, the entries by their code. An entry is a number below the capacity.
#[derive(Clone, Debug)]
pub(crate) struct Buckets {
    seed: u64,
    /// First entry of each chain; a power of two of them.
    heads: Vec<u32>,
    /// Neighbours of an entry in the chain of each of its codes.
    links: Vec<[Link; LONG]>,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    after: u32,
}

const UNLINKED: [Link; LONG] = [Link {
    before: NONE,
    after: NONE,
}; LONG];

impl Buckets {
    /// Bytes that one entry takes, its share of the heads included.
    pub(crate) const ENTRY_BYTES: usize = size_of::<[Link; LONG]>() + HEADS_PER_ENTRY * 4;

    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            heads: vec![NONE; HEADS_PER_ENTRY],
            links: Vec::new(),
        }
    }

    /// Makes room for so many entries. `codes` gives those of the entries that are linked.
    pub(crate) fn grow(&mut self, capacity: usize, codes: impl Fn(u32) -> Option<[u16; LONG]>) {
        let count = self.links.len();
        self.links.reserve_exact(capacity.saturating_sub(count));
        self.links.resize(capacity, UNLINKED);
        // Rounded down, so that the budget holds.
        let heads = 1 << (capacity.max(1) * HEADS_PER_ENTRY).ilog2();
        self.heads = vec![NONE; heads];
        for entry in 0..count as u32 {
            if let Some(codes) = codes(entry) {
                self.link(entry, &codes);
            }
        }
    }

    /// Adds an entry in front of the chains of its codes. Silent neurons have no chain.
    pub(crate) fn link(&mut self, entry: u32, codes: &[u16; LONG]) {
        for (neuron, code) in codes.iter().enumerate().filter(|(_, code)| **code != 0) {
            let head = self.head(neuron, *code);
            let after = std::mem::replace(&mut self.heads[head], entry);
            self.links[entry as usize][neuron] = Link {
                before: NONE,
                after,
            };
            if after != NONE {
                self.links[after as usize][neuron].before = entry;
            }
        }
    }

    /// Takes an entry out of its chains.
    pub(crate) fn unlink(&mut self, entry: u32, codes: &[u16; LONG]) {
        for (neuron, code) in codes.iter().enumerate().filter(|(_, code)| **code != 0) {
            let Link { before, after } = self.links[entry as usize][neuron];
            match before {
                NONE => {
                    let head = self.head(neuron, *code);
                    self.heads[head] = after;
                }
                before => self.links[before as usize][neuron].after = after,
            }
            if after != NONE {
                self.links[after as usize][neuron].before = before;
            }
            self.links[entry as usize][neuron] = UNLINKED[neuron];
        }
    }

    /// Calls `visit` with the newest entries of each code's chain, at most `most` of a chain.
    pub(crate) fn visit(&self, codes: &[u16; LONG], most: usize, visit: &mut dyn FnMut(u32)) {
        for (neuron, code) in codes.iter().enumerate().filter(|(_, code)| **code != 0) {
            let mut entry = self.heads[self.head(neuron, *code)];
            for _ in 0..most {
                if entry == NONE {
                    break;
                }
                visit(entry);
                entry = self.links[entry as usize][neuron].after;
            }
        }
    }

    /// A chain belongs to one neuron, so that an entry has one link in it; codes may share one.
    fn head(&self, neuron: usize, code: u16) -> usize {
        let each = self.heads.len() / LONG.next_power_of_two();
        let at = mix(self.seed ^ u64::from(code) << 8 ^ neuron as u64) as usize % each.max(1);
        neuron * each + at
    }
}

/// About as many heads as links: most chains hold entries of one code only.
const HEADS_PER_ENTRY: usize = LONG.next_power_of_two();
