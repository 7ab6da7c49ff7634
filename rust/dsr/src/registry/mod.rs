//! Many wells: pools with a budget of bytes, a time to live, and eviction.

mod op;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use op::Op;

use crate::codec::{Reader, Writer};
use crate::error::DsrError;
use crate::well::{Explanation, Match, Options, Scratch, Well};

const MAGIC: [u8; 4] = *b"DSRS";
const VERSION: u16 = 1;

/// The most pools.
pub const POOLS_MAX: usize = 65_536;
/// Of a well that must give way, the share that goes at a time: one in so many entries.
const SHED: usize = 8;
/// Places of the well that an insert or a touch looks at for expired entries.
const SWEEP: usize = 8;

/// What happens to an insert that a pool has no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The longest unused eighth of the pool's largest well goes.
    #[default]
    Evict,
    /// The insert is refused.
    Refuse,
}

/// What a pool may hold, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Bytes of all its wells together.
    pub bytes_max: u64,
    /// How long an unused entry stays, in the caller's unit of time; 0: for ever.
    pub ttl: u32,
    /// What an insert does that finds no room.
    pub when_full: WhenFull,
}

impl Default for PoolOptions {
    /// 64 MiB, entries stay until they are evicted.
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            ttl: 0,
            when_full: WhenFull::Evict,
        }
    }
}

/// What an operation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// Whether what it named was there before: the entry, the well, the pool.
    pub existed: bool,
    /// Entries that gave way to it.
    pub evicted: usize,
    /// Entries that had expired and went.
    pub expired: usize,
}

/// What a pool holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Its wells.
    pub wells: usize,
    /// Entries of all its wells.
    pub entries: usize,
    /// Bytes of all its wells.
    pub bytes: u64,
    /// Entries that ever gave way.
    pub evicted: u64,
    /// Entries that ever expired.
    pub expired: u64,
}

#[derive(Clone, Debug)]
struct Pool {
    options: PoolOptions,
    /// The greatest time that was ever named: time does not run backwards here.
    now: u32,
    evicted: u64,
    expired: u64,
    wells: BTreeMap<u32, Well>,
}

/// Pools of wells. Changed by [`Op`]s only, so that a log of them is its history.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    pools: BTreeMap<u32, Pool>,
}

impl Registry {
    /// Without any pool.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies an operation; on an error nothing has changed.
    ///
    /// # Errors
    /// [`DsrError::UnknownWell`] for what is not there, [`DsrError::WellExists`], [`DsrError::Budget`], and what
    /// [`Well::insert`] says of vectors.
    pub fn apply(&mut self, op: &Op) -> Result<Applied, DsrError> {
        match op {
            Op::SetPool { pool, options } => self.set_pool(*pool, *options),
            Op::DropPool { pool } => Ok(existed(self.pools.remove(pool).is_some())),
            Op::CreateWell {
                pool,
                well,
                options,
            } => self.create_well(*pool, *well, *options),
            Op::DropWell { pool, well } => {
                let wells = &mut self.pool(*pool, *well)?.wells;
                Ok(existed(wells.remove(well).is_some()))
            }
            Op::Insert {
                pool,
                well,
                id,
                vector,
                now,
            } => self
                .pool(*pool, *well)?
                .insert((*pool, *well), *id, vector, *now),
            Op::Touch {
                pool,
                well,
                id,
                now,
            } => {
                let unknown = DsrError::UnknownWell {
                    pool: *pool,
                    well: *well,
                };
                let pool = self.pool(*pool, *well)?;
                let moment = pool.now.max(*now);
                let since = pool.since(moment);
                let well = pool.wells.get_mut(well).ok_or(unknown)?;
                pool.now = moment;
                // What has expired cannot be called back.
                let alive = well.moment(*id).is_none_or(|moment| moment >= since);
                Ok(existed(alive && well.touch(*id, moment)))
            }
            Op::Remove { pool, well, id } => {
                let unknown = DsrError::UnknownWell {
                    pool: *pool,
                    well: *well,
                };
                let well = self
                    .pool(*pool, *well)?
                    .wells
                    .get_mut(well)
                    .ok_or(unknown)?;
                Ok(existed(well.remove(*id)))
            }
            Op::Expire { pool, now, most } => {
                let pool = self.pool(*pool, 0)?;
                pool.now = pool.now.max(*now);
                let since = pool.since(pool.now);
                let gone = pool
                    .wells
                    .values_mut()
                    .map(|well| well.expire(since, *most as usize))
                    .sum();
                pool.expired += gone as u64;
                Ok(Applied {
                    existed: true,
                    expired: gone,
                    ..Applied::default()
                })
            }
        }
    }

    fn pool(&mut self, pool: u32, well: u32) -> Result<&mut Pool, DsrError> {
        self.pools
            .get_mut(&pool)
            .ok_or(DsrError::UnknownWell { pool, well })
    }

    fn set_pool(&mut self, id: u32, options: PoolOptions) -> Result<Applied, DsrError> {
        if let Some(pool) = self.pools.get_mut(&id) {
            pool.options = options;
            let evicted = pool.shed_all();
            return Ok(Applied {
                existed: true,
                evicted,
                ..Applied::default()
            });
        }
        if self.pools.len() >= POOLS_MAX {
            return Err(DsrError::Setting {
                what: "the number of pools",
                found: self.pools.len() as u64 + 1,
                least: 0,
                most: POOLS_MAX as u64,
            });
        }
        let pool = Pool {
            options,
            now: 0,
            evicted: 0,
            expired: 0,
            wells: BTreeMap::new(),
        };
        self.pools.insert(id, pool);
        Ok(existed(false))
    }

    /// Wells of pools keep moments: they decide who expires and who is evicted.
    fn create_well(
        &mut self,
        pool_id: u32,
        id: u32,
        mut options: Options,
    ) -> Result<Applied, DsrError> {
        options.expiring = true;
        let pool = self.pool(pool_id, id)?;
        if let Some(well) = pool.wells.get(&id) {
            if *well.options() == options {
                return Ok(existed(true));
            }
            return Err(DsrError::WellExists {
                pool: pool_id,
                well: id,
            });
        }
        let well = Well::new(options)?;
        let bytes_max = pool.options.bytes_max;
        // A well that cannot hold its first rows within the budget would evict each entry as it comes.
        if (well.bytes() + well.growth()) as u64 > bytes_max {
            return Err(DsrError::Budget { bytes_max });
        }
        let room = pool.bytes() + well.bytes() as u64 <= bytes_max;
        if !room && pool.options.when_full == WhenFull::Refuse {
            return Err(DsrError::Budget { bytes_max });
        }
        pool.wells.insert(id, well);
        let evicted = pool.shed_all();
        Ok(Applied {
            evicted,
            ..Applied::default()
        })
    }

    fn look(&self, pool: u32, well: u32) -> Result<(&Pool, &Well), DsrError> {
        let unknown = DsrError::UnknownWell { pool, well };
        let pool = self.pools.get(&pool).ok_or(unknown.clone())?;
        Ok((pool, pool.wells.get(&well).ok_or(unknown)?))
    }

    /// The entries of a well most like the vector that have not expired at `now`: see [`Well::search`].
    ///
    /// # Errors
    /// [`DsrError::UnknownWell`], and as [`Well::search`].
    pub fn search(
        &self,
        scratch: &mut Scratch,
        (pool, well): (u32, u32),
        vector: &[f32],
        k: usize,
        least: f32,
        now: u32,
    ) -> Result<Vec<Match>, DsrError> {
        let (pool, well) = self.look(pool, well)?;
        well.search_since(scratch, vector, k, least, pool.since(pool.now.max(now)))
    }

    /// Why an entry is, or is not, among what a search finds: see [`Well::explain`].
    ///
    /// # Errors
    /// [`DsrError::UnknownWell`], and as [`Well::explain`].
    pub fn explain(
        &self,
        scratch: &mut Scratch,
        (pool, well): (u32, u32),
        vector: &[f32],
        id: u64,
    ) -> Result<Explanation, DsrError> {
        self.look(pool, well)?.1.explain(scratch, vector, id)
    }

    /// A well, to be asked.
    pub fn well(&self, pool: u32, well: u32) -> Option<&Well> {
        self.pools.get(&pool)?.wells.get(&well)
    }

    /// Its pools with their options, ascending.
    pub fn pools(&self) -> impl Iterator<Item = (u32, &PoolOptions)> {
        self.pools.iter().map(|(id, pool)| (*id, &pool.options))
    }

    /// The wells of a pool, ascending.
    pub fn wells(&self, pool: u32) -> impl Iterator<Item = (u32, &Well)> {
        let wells = self.pools.get(&pool).map(|pool| pool.wells.iter());
        wells.into_iter().flatten().map(|(id, well)| (*id, well))
    }

    /// What a pool holds.
    pub fn stats(&self, pool: u32) -> Option<PoolStats> {
        let pool = self.pools.get(&pool)?;
        Some(PoolStats {
            wells: pool.wells.len(),
            entries: pool.wells.values().map(Well::len).sum(),
            bytes: pool.bytes(),
            evicted: pool.evicted,
            expired: pool.expired,
        })
    }

    /// All pools and wells as bytes, with a checksum.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut out = Writer::new(MAGIC, VERSION);
        out.u64(self.pools.len() as u64);
        for (id, pool) in &self.pools {
            out.u32(*id);
            pool.options.write(&mut out);
            out.u32(pool.now);
            out.u64(pool.evicted);
            out.u64(pool.expired);
            out.u64(pool.wells.len() as u64);
            for (id, well) in &pool.wells {
                out.u32(*id);
                out.part(&well.snapshot());
            }
        }
        out.seal()
    }

    /// The registry of a snapshot. Allocates in proportion to the bytes that are there.
    ///
    /// # Errors
    /// As [`Well::restore`].
    pub fn restore(bytes: &[u8]) -> Result<Self, DsrError> {
        let mut from = Reader::open("a snapshot of a registry", MAGIC, VERSION, bytes)?;
        let mut registry = Self::new();
        let count = from.count(4 + 13 + 4 + 8 + 8 + 8)?;
        from.ensure(count <= POOLS_MAX, "it has too many pools")?;
        for _ in 0..count {
            let id = from.u32()?;
            let mut pool = Pool {
                options: PoolOptions::read(&mut from)?,
                now: from.u32()?,
                evicted: from.u64()?,
                expired: from.u64()?,
                wells: BTreeMap::new(),
            };
            for _ in 0..from.count(4 + 8)? {
                let id = from.u32()?;
                let well = Well::restore(from.part()?)?;
                from.ensure(well.options().expiring, "a well keeps no moments")?;
                from.ensure(pool.wells.insert(id, well).is_none(), "a well stands twice")?;
            }
            from.ensure(
                registry.pools.insert(id, pool).is_none(),
                "a pool stands twice",
            )?;
        }
        from.end()?;
        Ok(registry)
    }
}

impl Pool {
    fn bytes(&self) -> u64 {
        self.wells.values().map(|well| well.bytes() as u64).sum()
    }

    /// The least moment of an entry that has not expired at `now`.
    fn since(&self, now: u32) -> u32 {
        match self.options.ttl {
            0 => 0,
            ttl => now.saturating_sub(ttl),
        }
    }

    fn insert(
        &mut self,
        (pool, name): (u32, u32),
        id: u64,
        vector: &[f32],
        now: u32,
    ) -> Result<Applied, DsrError> {
        let bytes = self.bytes();
        let moment = self.now.max(now);
        let since = self.since(moment);
        let unknown = DsrError::UnknownWell { pool, well: name };
        let well = self.wells.get_mut(&name).ok_or(unknown)?;
        let bytes_max = self.options.bytes_max;
        if self.options.when_full == WhenFull::Refuse
            && !well.contains(id)
            && bytes + well.growth() as u64 > bytes_max
        {
            return Err(DsrError::Budget { bytes_max });
        }
        let existed = well.insert_at(id, vector, moment)?;
        self.now = moment;
        let expired = well.expire(since, SWEEP);
        self.expired += expired as u64;
        let evicted = self.shed_all();
        Ok(Applied {
            existed,
            evicted,
            expired,
        })
    }

    /// Evicts until the pool is within its budget, or empty; how many entries went.
    fn shed_all(&mut self) -> usize {
        let mut gone = 0;
        while self.bytes() > self.options.bytes_max {
            let largest = self.wells.values_mut().filter(|well| !well.is_empty());
            let Some(well) = largest.max_by_key(|well| well.bytes()) else {
                break;
            };
            gone += well.shed(well.len().div_ceil(SHED));
        }
        self.evicted += gone as u64;
        gone
    }
}

fn existed(existed: bool) -> Applied {
    Applied {
        existed,
        ..Applied::default()
    }
}
