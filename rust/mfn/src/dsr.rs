//! Layer 2: vectors under keys, in pools.

use std::collections::BTreeMap;

use mfn_dsr::{DsrError, Op, Options, PoolOptions, Registry, Scratch, Spike, Well, WhenFull};
use mfn_local::{Failure, Reply};
use mfn_wire::{Service, Status, method, pb};

use crate::body::{
    self, decode, invalid, key, not_found, pool, reply, too_many_pools, unsupported,
};
use crate::interner::Interner;
use crate::layer::{JournalFacts, Layer};
use crate::record::{Reader, begin_snapshot, put_bytes, put_u32};
use crate::share::{self, BYTES_MAX_LEAST, POOLS_MAX};

/// Each pool has one well.
const WELL: u32 = 0;
const K_DEFAULT: u32 = 10;

/// Pools of vectors, with keys for ids.
#[derive(Debug)]
pub struct Dsr {
    bytes_max: u64,
    registry: Registry,
    /// One for each pool of the registry.
    keys: BTreeMap<u32, Interner>,
    scratch: Scratch,
}

impl Layer for Dsr {
    const SERVICE: Service = Service::Dsr;
    const CHANGES: &'static [u16] = &[method::dsr::INSERT, method::dsr::REMOVE];
    const SNAPSHOT: u16 = method::dsr::SNAPSHOT;

    fn empty() -> Self {
        Self {
            bytes_max: BYTES_MAX_LEAST,
            registry: Registry::new(),
            keys: BTreeMap::new(),
            scratch: Scratch::default(),
        }
    }

    fn change(&mut self, method: u16, time: u64, body: &[u8]) -> Result<Reply, Failure> {
        match method {
            method::dsr::INSERT => reply(&self.insert(decode(body)?, seconds(time))?),
            method::dsr::REMOVE => self.remove(&decode(body)?).map(|()| Reply::empty()),
            _ => Err(unsupported("change")),
        }
    }

    fn ask(
        &mut self,
        method: u16,
        time: u64,
        body: &[u8],
        journal: JournalFacts,
    ) -> Result<Reply, Failure> {
        match method {
            method::dsr::STATS => reply(&self.stats(journal)),
            method::dsr::SIMILAR => reply(&self.similar(decode(body)?, seconds(time))?),
            method::dsr::EXPLAIN => reply(&self.explain(&decode(body)?)?),
            method::dsr::NOVELTY => reply(&self.novelty(&decode(body)?)?),
            _ => Err(unsupported("question")),
        }
    }

    fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    fn set_bytes_max(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
        self.share();
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut out = begin_snapshot(self.bytes_max);
        put_u32(&mut out, self.keys.len() as u32);
        for (pool, keys) in &self.keys {
            put_u32(&mut out, *pool);
            keys.write(&mut out);
        }
        put_bytes(&mut out, &self.registry.snapshot());
        out
    }

    fn restore(bytes: &[u8]) -> Result<Self, String> {
        let mut from = Reader(bytes);
        let bytes_max = from.begin_snapshot()?;
        let mut keys = BTreeMap::new();
        for _ in 0..from.u32()? {
            keys.insert(from.u32()?, Interner::read(&mut from)?);
        }
        let registry = Registry::restore(from.bytes()?).map_err(|error| error.to_string())?;
        from.end()?;
        let pools = registry.pools().map(|(pool, _)| pool);
        let wells = || keys.keys().all(|pool| registry.well(*pool, WELL).is_some());
        if !pools.eq(keys.keys().copied()) || keys.len() > POOLS_MAX || !wells() {
            return Err("its keys and its vectors are of different pools".into());
        }
        Ok(Self {
            bytes_max,
            registry,
            keys,
            scratch: Scratch::default(),
        })
    }

    fn bytes(&self) -> u64 {
        let keys: u64 = self.keys.values().map(Interner::bytes).sum();
        let learnt = self
            .keys
            .keys()
            .filter_map(|pool| self.registry.stats(*pool));
        keys + learnt.map(|stats| stats.bytes).sum::<u64>()
    }

    fn entries(&self) -> u64 {
        self.keys.values().map(|keys| keys.len() as u64).sum()
    }
}

impl Dsr {
    fn insert(
        &mut self,
        request: pb::DsrInsertRequest,
        now: u32,
    ) -> Result<pb::DsrInsertReply, Failure> {
        let pool = pool(request.pool_id)?;
        let key = key("key", &request.key)?;
        let fresh = !self.keys.contains_key(&pool);
        if fresh {
            self.create(pool, request.vector.len())?;
        }
        let id = self.keys.get(&pool).map_or(0, |keys| keys.peek(key));
        let op = Op::Insert {
            pool,
            well: WELL,
            id,
            vector: request.vector,
            now,
        };
        let applied = self.registry.apply(&op).map_err(|error| {
            if fresh {
                self.drop_pool(pool);
            }
            failure(&error, pool)
        })?;
        let keys = self.keys.entry(pool).or_default();
        keys.insert(key);
        if fresh {
            // Only now: a refused insert must not have taken room from other pools.
            self.share();
        }
        let gone = if applied.evicted > 0 || applied.expired > 0 {
            self.forget_keys(pool)
        } else {
            0
        };
        Ok(pb::DsrInsertReply {
            replaced: applied.existed,
            evicted: gone + self.limit_keys(pool),
        })
    }

    /// Makes a pool with a well, with the share that it will have.
    fn create(&mut self, pool: u32, dims: usize) -> Result<(), Failure> {
        if self.keys.len() >= POOLS_MAX {
            return Err(too_many_pools());
        }
        let options = self.options(self.keys.len() + 1);
        let well = Op::CreateWell {
            pool,
            well: WELL,
            options: Options::new(dims),
        };
        let made = self
            .registry
            .apply(&Op::SetPool { pool, options })
            .and_then(|_| self.registry.apply(&well));
        made.map(drop).map_err(|error| {
            self.drop_pool(pool);
            failure(&error, pool)
        })
    }

    fn drop_pool(&mut self, pool: u32) {
        // It cannot fail: a pool that is not there is no error.
        let _ = self.registry.apply(&Op::DropPool { pool });
        self.keys.remove(&pool);
    }

    fn remove(&mut self, request: &pb::DsrRemoveRequest) -> Result<(), Failure> {
        let pool = pool(request.pool_id)?;
        let keys = self.keys.get_mut(&pool).ok_or_else(|| no_pool(pool))?;
        if request.key.is_empty() {
            self.drop_pool(pool);
            self.share();
            return Ok(());
        }
        let id = keys.get(&request.key).ok_or_else(no_key)?;
        let well = WELL;
        self.registry
            .apply(&Op::Remove { pool, well, id })
            .map_err(|error| failure(&error, pool))?;
        keys.remove(id);
        Ok(())
    }

    fn options(&self, pools: usize) -> PoolOptions {
        PoolOptions {
            bytes_max: share::learnt(self.bytes_max, pools),
            ttl: 0,
            when_full: WhenFull::Evict,
        }
    }

    /// Gives every pool its share; what does not fit any more goes.
    fn share(&mut self) {
        let options = self.options(self.keys.len());
        let pools: Vec<u32> = self.keys.keys().copied().collect();
        for pool in pools {
            // It cannot fail: the pool is there.
            let _ = self.registry.apply(&Op::SetPool { pool, options });
            self.forget_keys(pool);
            self.limit_keys(pool);
        }
    }

    /// Forgets the keys of a pool whose entries gave way; how many.
    fn forget_keys(&mut self, pool: u32) -> u64 {
        let (Some(keys), Some(well)) = (self.keys.get_mut(&pool), self.registry.well(pool, WELL))
        else {
            return 0;
        };
        let before = keys.len();
        keys.retain(|id| well.contains(id));
        (before - keys.len()) as u64
    }

    /// While the keys of a pool take more than their share, the eighth of its entries that was named first goes.
    fn limit_keys(&mut self, pool: u32) -> u64 {
        let most = share::keys(self.bytes_max, self.keys.len());
        let Some(keys) = self.keys.get_mut(&pool) else {
            return 0;
        };
        let before = keys.len();
        while keys.bytes() > most && keys.len() > 1 {
            for id in keys.oldest() {
                let well = WELL;
                // An entry that is not there is no error.
                let _ = self.registry.apply(&Op::Remove { pool, well, id });
                keys.remove(id);
            }
        }
        (before - keys.len()) as u64
    }

    fn well(&self, pool: u32) -> Result<(&Well, &Interner), Failure> {
        self.registry
            .well(pool, WELL)
            .zip(self.keys.get(&pool))
            .ok_or_else(|| no_pool(pool))
    }

    fn similar(
        &mut self,
        request: pb::DsrSimilarRequest,
        now: u32,
    ) -> Result<pb::DsrMatches, Failure> {
        let pool = pool(request.pool_id)?;
        let (well, keys) = self.well(pool)?;
        let k = body::k(request.k, K_DEFAULT)?;
        let least = if request.least == 0.0 {
            -1.0
        } else {
            request.least
        };
        let (vector, own) = match (request.vector.is_empty(), request.key.is_empty()) {
            (false, true) => (request.vector, None),
            (true, false) => {
                let id = keys.get(&request.key).ok_or_else(no_key)?;
                (well.get(id).ok_or_else(no_key)?, Some(id))
            }
            _ => return Err(invalid("name a vector or a key, one of them")),
        };
        // The entry itself is found as well, and left out.
        let wanted = k + usize::from(own.is_some());
        let name = (pool, WELL);
        let found = self
            .registry
            .search(&mut self.scratch, name, &vector, wanted, least, now)
            .map_err(|error| failure(&error, pool))?;
        let matches = found
            .into_iter()
            .filter(|found| Some(found.id) != own)
            .filter_map(|found| {
                Some(pb::DsrMatch {
                    key: keys_of(&self.keys, pool)?.key(found.id)?.to_vec(),
                    similarity: found.similarity,
                })
            });
        Ok(pb::DsrMatches {
            matches: matches.take(k).collect(),
        })
    }

    fn explain(&mut self, request: &pb::DsrExplainRequest) -> Result<pb::DsrExplanation, Failure> {
        let pool = pool(request.pool_id)?;
        let id = self.well(pool)?.1.get(&request.key).ok_or_else(no_key)?;
        let why = self
            .registry
            .explain(&mut self.scratch, (pool, WELL), &request.vector, id)
            .map_err(|error| failure(&error, pool))?;
        let spikes = |spikes: Vec<Spike>| spikes.iter().map(spike).collect();
        Ok(pb::DsrExplanation {
            similarity: why.similarity,
            fired: spikes(why.fired),
            entry_fired: spikes(why.entry_fired),
            overlap: why.overlap as u32,
            owner_fired: why.owner_fired.is_some(),
            compared: why.compared,
        })
    }

    fn novelty(&mut self, request: &pb::DsrNoveltyRequest) -> Result<pb::DsrNovelty, Failure> {
        let pool = pool(request.pool_id)?;
        let neighbours = match request.neighbours {
            0 => K_DEFAULT,
            given => given,
        };
        let well = self
            .registry
            .well(pool, WELL)
            .ok_or_else(|| no_pool(pool))?;
        let score = well
            .novelty(&mut self.scratch, &request.vector, neighbours as usize)
            .map_err(|error| failure(&error, pool))?;
        Ok(pb::DsrNovelty { score })
    }

    fn stats(&self, journal: JournalFacts) -> pb::DsrStats {
        let bytes_max = self.bytes_max / self.keys.len().max(1) as u64;
        let pools = self.keys.iter().map(|(pool, keys)| {
            let stats = self.registry.stats(*pool).unwrap_or_default();
            let well = self.registry.well(*pool, WELL);
            pb::DsrPool {
                pool_id: (*pool).into(),
                dimensions: well.map_or(0, |well| well.options().dims as u32),
                entries: stats.entries as u64,
                bytes: stats.bytes,
                key_bytes: keys.bytes(),
                bytes_max,
                evicted: stats.evicted,
                neurons: well.map_or(0, |well| well.stats().neurons as u32),
            }
        });
        pb::DsrStats {
            pools: pools.collect(),
            bytes_max: self.bytes_max,
            log_bytes: journal.log_bytes,
            snapshots: journal.snapshots,
        }
    }
}

fn keys_of(keys: &BTreeMap<u32, Interner>, pool: u32) -> Option<&Interner> {
    keys.get(&pool)
}

fn spike(spike: &Spike) -> pb::DsrSpike {
    pb::DsrSpike {
        neuron: spike.neuron.into(),
        step: spike.step.into(),
        similarity: spike.similarity,
    }
}

/// The unit of moments in the registry.
fn seconds(time: u64) -> u32 {
    u32::try_from(time / 1_000_000_000).unwrap_or(u32::MAX)
}

fn no_pool(pool: u32) -> Failure {
    not_found(format!("pool {pool} is not here; insert a vector first"))
}

fn no_key() -> Failure {
    not_found("the pool has no entry of that key")
}

fn failure(error: &DsrError, pool: u32) -> Failure {
    let status = match error {
        DsrError::UnknownWell { .. } => return no_pool(pool),
        DsrError::UnknownId { .. } => Status::NOT_FOUND,
        DsrError::Budget { .. } => Status::LIMIT,
        DsrError::TooFew { .. } => Status::NOT_READY,
        DsrError::WellExists { .. } => Status::ALREADY_EXISTS,
        DsrError::Malformed { .. } => Status::INTERNAL,
        _ => Status::INVALID_ARGUMENT,
    };
    Failure::new(status, error.to_string())
}
