//! Measured pairs: who says what of them, and what is believed.

use crate::random::mix;

use super::coordinates::FOLDS;

/// Values of a claim that are kept: their median is used, so that one outlier is not.
const RECENT: usize = 3;

/// Links of a node that one pass over it looks at.
pub(crate) const LINKS_SEEN: usize = 128;

/// What one end says of a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    recent: [f32; RECENT],
    count: u8,
    /// Time of the newest value, by the clock of whoever said it, in milliseconds.
    pub(crate) at: u64,
}

impl Claim {
    fn new(value: f32, at: u64) -> Self {
        Self {
            recent: [value; RECENT],
            count: 1,
            at,
        }
    }

    fn push(&mut self, value: f32, at: u64) {
        self.recent.rotate_right(1);
        self.recent[0] = value;
        self.count = (self.count + 1).min(RECENT as u8);
        self.at = at;
    }

    /// Logarithm of the round trip in milliseconds.
    pub(crate) fn value(&self) -> f32 {
        let mut recent = self.recent;
        let known = &mut recent[..usize::from(self.count)];
        known.sort_by(f32::total_cmp);
        known[known.len() / 2]
    }
}

/// A pair that somebody measured.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// The smaller index first.
    pub(crate) ends: [u32; 2],
    /// By the end that said it.
    pub(crate) claims: [Option<Claim>; 2],
    /// Replicas of this fold do not learn it.
    pub(crate) fold: u8,
    /// Logarithm of the round trip in milliseconds, by the claims that are believed.
    pub(crate) value: f32,
    /// Whether any claim is believed.
    pub(crate) used: bool,
    /// What the bases that never saw it were wrong by, when last looked at.
    pub(crate) residual: f32,
}

impl Link {
    /// Which of the two ends `node` is.
    pub(crate) fn side(&self, node: usize) -> usize {
        usize::from(self.ends[1] as usize == node)
    }

    pub(crate) fn pair(&self) -> (usize, usize) {
        (self.ends[0] as usize, self.ends[1] as usize)
    }

    pub(crate) fn rtt(&self) -> f32 {
        self.value.exp()
    }
}

/// All links, and each node's list of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    all: Vec<Link>,
    /// By node: the other end and the link, ordered by the other end.
    lists: Vec<Vec<(u32, u32)>>,
    /// Sum of the values of used links, for their mean.
    sum: f64,
    used: usize,
}

impl Links {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn add_node(&mut self) {
        self.lists.push(Vec::new());
    }

    pub(crate) fn of(&self, node: usize) -> &[(u32, u32)] {
        &self.lists[node]
    }

    /// The used links of a node, at most [`LINKS_SEEN`], spread over all of them: the other end and the link.
    pub(crate) fn seen(&self, node: usize) -> impl Iterator<Item = (usize, usize, &Link)> {
        let list = &self.lists[node];
        list.iter()
            .step_by(list.len().div_ceil(LINKS_SEEN).max(1))
            .map(|(other, at)| (*other as usize, *at as usize, &self.all[*at as usize]))
            .filter(|(_, _, link)| link.used)
    }

    pub(crate) fn get(&self, at: usize) -> &Link {
        &self.all[at]
    }

    pub(crate) fn set_residual(&mut self, at: usize, residual: f32) {
        self.all[at].residual = residual;
    }

    pub(crate) fn find(&self, a: usize, b: usize) -> Option<usize> {
        let list = self.lists.get(a)?;
        let at = list
            .binary_search_by_key(&(b as u32), |(other, _)| *other)
            .ok()?;
        Some(list[at].1 as usize)
    }

    /// Mean of the logarithms of all used round trips.
    pub(crate) fn mean(&self) -> f32 {
        (self.sum / self.used.max(1) as f64) as f32
    }

    /// Takes a claim of `reporter` on its link with `other`. Not believed yet: see [`Links::believe`].
    pub(crate) fn claim(&mut self, reporter: usize, other: usize, value: f32, at: u64) -> usize {
        let found = self
            .find(reporter, other)
            .unwrap_or_else(|| self.add(reporter, other));
        let link = &mut self.all[found];
        match &mut link.claims[usize::from(link.ends[1] as usize == reporter)] {
            Some(claim) => claim.push(value, at),
            empty => *empty = Some(Claim::new(value, at)),
        }
        found
    }

    fn add(&mut self, a: usize, b: usize) -> usize {
        let ends = [a.min(b) as u32, a.max(b) as u32];
        let at = self.all.len();
        let fold = mix(u64::from(ends[0]) << 32 | u64::from(ends[1])) % FOLDS as u64;
        self.all.push(Link {
            ends,
            claims: [None; 2],
            fold: fold as u8,
            value: 0.0,
            used: false,
            residual: 0.0,
        });
        for (node, other) in [(a, b), (b, a)] {
            let list = &mut self.lists[node];
            let place = list.partition_point(|(known, _)| *known < other as u32);
            list.insert(place, (other as u32, at as u32));
        }
        at
    }

    /// Sets the value by the claims of the ends that `trusted` says; whether any is left.
    pub(crate) fn believe(&mut self, at: usize, trusted: impl Fn(usize) -> bool) -> bool {
        let link = &mut self.all[at];
        if link.used {
            self.sum -= f64::from(link.value);
            self.used -= 1;
        }
        let (mut sum, mut count) = (0.0, 0.0);
        // What this node, with the index 0, measured needs no second opinion.
        let own = link.ends[0] == 0 && link.claims[0].is_some();
        for (end, claim) in link.ends.into_iter().zip(&link.claims) {
            if let Some(claim) =
                claim.filter(|_| if own { end == 0 } else { trusted(end as usize) })
            {
                sum += claim.value();
                count += 1.0;
            }
        }
        link.used = count > 0.0;
        if link.used {
            link.value = sum / count;
            self.sum += f64::from(link.value);
            self.used += 1;
        }
        link.used
    }

    /// Forgets all links of a node.
    pub(crate) fn clear(&mut self, node: usize) {
        while let Some((_, at)) = self.lists[node].last().copied() {
            self.remove(at as usize);
        }
    }

    fn remove(&mut self, at: usize) {
        let link = self.all.swap_remove(at);
        if link.used {
            self.sum -= f64::from(link.value);
            self.used -= 1;
        }
        let [a, b] = link.ends;
        for (node, other) in [(a, b), (b, a)] {
            self.lists[node as usize].retain(|(known, _)| *known != other);
        }
        // The last link has taken the free place.
        if let Some(moved) = self.all.get(at) {
            let [a, b] = moved.ends;
            for (node, other) in [(a, b), (b, a)] {
                if let Some(entry) = self.lists[node as usize]
                    .iter_mut()
                    .find(|(known, _)| *known == other)
                {
                    entry.1 = at as u32;
                }
            }
        }
    }
}
