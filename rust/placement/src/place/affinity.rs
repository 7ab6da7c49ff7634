//! Who asks for what: shares of the regions, from a tenant down to an object.
//!
//! Each group (a tenant, a directory and those above it, an object) has counts of the regions that asked for something
//! in it, which fade with half-lives. An object's shares begin as equal ones; each group on the way down mixes its counts
//! with what the groups above say, which counts as so many requests itself (Bayes with a Dirichlet prior, level by level).
//! A group is heard twice: with a long memory, and with a short one that knows who works there these days.

use std::collections::BTreeMap;

use super::Region;

/// Most regions.
pub const REGIONS_MAX: usize = 64;
/// Most groups above one object that are looked at; the outermost are kept.
const GROUPS_MAX: usize = 32;
/// Requests that the groups above count as, for a group and for an object.
const ABOVE_GROUP: f64 = 40.0;
const ABOVE_OBJECT: f64 = 16.0;
/// Half-lives of the two memories, in seconds.
const LONG: f64 = 365.0 * 86_400.0;
const SHORT: f64 = 20.0 * 86_400.0;

/// What an object belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Lineage<'a> {
    /// The object: a name, or a block where there is none.
    pub object: u64,
    /// Its groups, the outermost first: tenant, directory, directory in it. May be empty. No number is both an
    /// object's and a group's.
    pub groups: &'a [u64],
}

/// Counts of one group.
#[derive(Clone, Debug)]
struct Counts {
    /// Of each region: with the long memory, then with the short one.
    by_region: Box<[[f32; 2]]>,
    at: u64,
}

/// The counts of all groups, within a bound.
#[derive(Clone, Debug)]
pub struct Affinity {
    regions: usize,
    groups_max: usize,
    groups: BTreeMap<u64, Counts>,
}

impl Affinity {
    /// Nothing known, of `regions` (1 to [`REGIONS_MAX`], others are brought into it), for so many groups and objects at
    /// most: when there are more, those that faded most are forgotten.
    pub fn new(regions: usize, groups_max: usize) -> Self {
        Self {
            regions: regions.clamp(1, REGIONS_MAX),
            groups_max: groups_max.max(2 * GROUPS_MAX),
            groups: BTreeMap::new(),
        }
    }

    /// Regions that are told apart.
    pub fn regions(&self) -> usize {
        self.regions
    }

    /// Groups and objects that are known.
    pub fn known(&self) -> usize {
        self.groups.len()
    }

    /// A region asked for an object at `now`, in seconds. A time before the last one is taken as that; an unknown region
    /// is not counted.
    pub fn observe(&mut self, lineage: Lineage<'_>, region: Region, now: u64) {
        let place = usize::from(region.0);
        if place >= self.regions {
            return;
        }
        let groups = &lineage.groups[..lineage.groups.len().min(GROUPS_MAX)];
        for group in groups.iter().chain([&lineage.object]) {
            let counts = self.groups.entry(*group).or_insert_with(|| Counts {
                by_region: vec![[0.0; 2]; self.regions].into(),
                at: now,
            });
            let faded = counts.faded(now);
            for count in &mut counts.by_region {
                *count = [count[0] * faded[0] as f32, count[1] * faded[1] as f32];
            }
            counts.at = counts.at.max(now);
            counts.by_region[place] = counts.by_region[place].map(|count| count + 1.0);
        }
        if self.groups.len() > self.groups_max {
            self.forget(now);
        }
    }

    /// Shares of the regions in what will be asked for next: they add up to 1.
    pub fn shares(&self, lineage: Lineage<'_>, now: u64) -> Vec<f64> {
        let mut shares = vec![1.0 / self.regions as f64; self.regions];
        let groups = &lineage.groups[..lineage.groups.len().min(GROUPS_MAX)];
        for group in groups {
            if let Some(counts) = self.groups.get(group) {
                counts.mix(&mut shares, 0, ABOVE_GROUP, now);
                counts.mix(&mut shares, 1, ABOVE_GROUP, now);
            }
        }
        if let Some(counts) = self.groups.get(&lineage.object) {
            counts.mix(&mut shares, 0, ABOVE_OBJECT, now);
        }
        shares
    }

    /// Forgets the half with the least left.
    fn forget(&mut self, now: u64) {
        let left = |counts: &Counts| {
            let sum: f32 = counts.by_region.iter().map(|count| count[0]).sum();
            f64::from(sum) * counts.faded(now)[0]
        };
        let mut all: Vec<(f64, u64)> = self
            .groups
            .iter()
            .map(|(group, counts)| (left(counts), *group))
            .collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (_, group) in all.iter().take(all.len() / 2) {
            self.groups.remove(group);
        }
    }
}

impl Counts {
    /// What is left of the two memories at `now`.
    fn faded(&self, now: u64) -> [f64; 2] {
        let age = now.saturating_sub(self.at) as f64;
        [LONG, SHORT].map(|half_life| (-age / half_life).exp2())
    }

    /// Mixes the counts of a memory into shares that count as `above` requests.
    fn mix(&self, shares: &mut [f64], memory: usize, above: f64, now: u64) {
        let faded = self.faded(now)[memory];
        let mut sum = 0.0;
        for (share, count) in shares.iter_mut().zip(&self.by_region) {
            *share = *share * above + f64::from(count[memory]) * faded;
            sum += *share;
        }
        shares.iter_mut().for_each(|share| *share /= sum);
    }
}
