//! Layer 4: streams of keys and series of numbers, in pools.

use std::collections::BTreeMap;

use mfn_cpe::{CpeError, Engine, Op, PoolOptions, Scores, Stream};
use mfn_local::{Failure, Reply};
use mfn_wire::{Service, Status, method, pb};

use crate::body::{
    self, decode, invalid, key, not_found, pool, reply, too_many_pools, unsupported,
};
use crate::interner::Interner;
use crate::layer::{JournalFacts, Layer};
use crate::record::{Reader, begin_snapshot, put_bytes, put_u32, put_u64};
use crate::share::{self, BYTES_MAX_LEAST, POOLS_MAX};

const K_DEFAULT: u32 = 5;
/// Most keys of one observation.
const OBSERVED_MAX: usize = 4_096;
/// Most that one stream may take.
const STREAM_BYTES_MAX: u64 = 16 << 20;

/// Streams and series, with keys for symbols and for themselves.
#[derive(Debug)]
pub struct Cpe {
    bytes_max: u64,
    engine: Engine,
    /// One for each pool of the engine.
    pools: BTreeMap<u32, Names>,
}

/// The keys of one pool.
#[derive(Debug, Default)]
struct Names {
    /// Of streams and series.
    members: Interner,
    /// Of the symbols of each stream.
    symbols: BTreeMap<u64, Interner>,
}

impl Names {
    fn bytes(&self) -> u64 {
        self.members.bytes() + self.symbols.values().map(Interner::bytes).sum::<u64>()
    }

    fn remove(&mut self, member: u64) {
        self.members.remove(member);
        self.symbols.remove(&member);
    }
}

impl Layer for Cpe {
    const SERVICE: Service = Service::Cpe;
    const CHANGES: &'static [u16] = &[
        method::cpe::OBSERVE,
        method::cpe::SAMPLE,
        method::cpe::FORGET,
    ];
    const SNAPSHOT: u16 = method::cpe::SNAPSHOT;

    fn empty() -> Self {
        Self {
            bytes_max: BYTES_MAX_LEAST,
            engine: Engine::new(),
            pools: BTreeMap::new(),
        }
    }

    fn change(&mut self, method: u16, time: u64, body: &[u8]) -> Result<Reply, Failure> {
        match method {
            method::cpe::OBSERVE => reply(&self.observe(&decode(body)?, time)?),
            method::cpe::SAMPLE => reply(&self.sample(&decode(body)?, time)?),
            method::cpe::FORGET => self.forget(&decode(body)?).map(|()| Reply::empty()),
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
            method::cpe::STATS => reply(&self.stats(&decode(body)?, journal)?),
            method::cpe::PREDICT => reply(&self.predict(&decode(body)?, time)?),
            method::cpe::FORECAST => reply(&self.forecast(&decode(body)?)?),
            method::cpe::EXPLAIN => reply(&self.explain(&decode(body)?)?),
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
        put_u32(&mut out, self.pools.len() as u32);
        for (pool, names) in &self.pools {
            put_u32(&mut out, *pool);
            names.members.write(&mut out);
            put_u64(&mut out, names.symbols.len() as u64);
            for (stream, symbols) in &names.symbols {
                put_u64(&mut out, *stream);
                symbols.write(&mut out);
            }
        }
        put_bytes(&mut out, &self.engine.snapshot());
        out
    }

    fn restore(bytes: &[u8]) -> Result<Self, String> {
        let mut from = Reader(bytes);
        let bytes_max = from.begin_snapshot()?;
        let mut pools = BTreeMap::new();
        for _ in 0..from.u32()? {
            let pool = from.u32()?;
            let mut names = Names {
                members: Interner::read(&mut from)?,
                symbols: BTreeMap::new(),
            };
            for _ in 0..from.u64()? {
                let stream = from.u64()?;
                if names.members.key(stream).is_none() {
                    return Err("it has keys of a stream that has no name".into());
                }
                names.symbols.insert(stream, Interner::read(&mut from)?);
            }
            pools.insert(pool, names);
        }
        let engine = Engine::restore(from.bytes()?).map_err(|error| error.to_string())?;
        from.end()?;
        if !engine.pools().eq(pools.keys().copied()) || pools.len() > POOLS_MAX {
            return Err("its keys and its streams are of different pools".into());
        }
        Ok(Self {
            bytes_max,
            engine,
            pools,
        })
    }

    fn bytes(&self) -> u64 {
        let keys: u64 = self.pools.values().map(Names::bytes).sum();
        let learnt = self.pools.keys().filter_map(|pool| self.engine.pool(*pool));
        keys + learnt.map(|stats| stats.bytes).sum::<u64>()
    }

    fn entries(&self) -> u64 {
        let members = self.pools.values().map(|names| names.members.len() as u64);
        members.sum()
    }
}

impl Cpe {
    fn observe(
        &mut self,
        request: &pb::CpeObserveRequest,
        now: u64,
    ) -> Result<pb::CpeObserved, Failure> {
        let pool = pool(request.pool_id)?;
        let name = key("stream's key", &request.stream)?;
        if !(1..=OBSERVED_MAX).contains(&request.keys.len()) {
            let count = request.keys.len();
            return Err(invalid(format!(
                "{count} keys in one call: 1 to {OBSERVED_MAX} are taken"
            )));
        }
        for observed in &request.keys {
            key("key", observed)?;
        }
        let time = if request.time == 0 { now } else { request.time };
        let fresh = self.open(pool)?;
        let names = self.pools.entry(pool).or_default();
        let stream = names.members.peek(name);
        let mut done = pb::CpeObserved::default();
        for observed in &request.keys {
            let known = names.symbols.get(&stream);
            let symbol = known.map_or(0, |symbols| symbols.peek(observed));
            let op = Op::Observe {
                pool,
                stream,
                lane: request.lane,
                symbol,
                time,
            };
            // Only the first can be refused: for a name that is a series. After it the stream is there.
            let applied = match self.engine.apply(&op) {
                Ok(applied) => applied,
                Err(error) => {
                    self.undo(pool, fresh);
                    return Err(failure(&error));
                }
            };
            names.members.insert(name);
            names.symbols.entry(stream).or_default().insert(observed);
            done.forgotten += applied.forgotten;
            done.outcomes
                .extend(applied.outcome.map(|outcome| pb::CpeOutcome {
                    probability: outcome.probability,
                    place: outcome.rank.map_or(0, |rank| rank as u32 + 1),
                }));
        }
        self.settle(pool, fresh, done.forgotten);
        done.forgotten += self.limit_keys(pool, Some(stream));
        Ok(done)
    }

    fn sample(
        &mut self,
        request: &pb::CpeSampleRequest,
        now: u64,
    ) -> Result<pb::CpeSampled, Failure> {
        let pool = pool(request.pool_id)?;
        let name = key("series' key", &request.series)?;
        let time = if request.time == 0 { now } else { request.time };
        let fresh = self.open(pool)?;
        let names = self.pools.entry(pool).or_default();
        let series = names.members.peek(name);
        let op = Op::Sample {
            pool,
            series,
            lane: request.lane,
            time,
            value: request.value,
        };
        let applied = match self.engine.apply(&op) {
            Ok(applied) => applied,
            Err(error) => {
                self.undo(pool, fresh);
                return Err(failure(&error));
            }
        };
        names.members.insert(name);
        self.settle(pool, fresh, applied.forgotten);
        let forgotten = applied.forgotten + self.limit_keys(pool, Some(series));
        let sampled = applied.sampled.unwrap_or_default();
        Ok(pb::CpeSampled {
            gap: sampled.gap,
            change: sampled.change.map(|change| pb::CpeChange {
                before: change.from,
                after: change.to,
                samples_ago: change.samples_ago as u64,
            }),
            forgotten,
        })
    }

    fn forget(&mut self, request: &pb::CpeForgetRequest) -> Result<(), Failure> {
        let pool = pool(request.pool_id)?;
        let names = self.pools.get_mut(&pool).ok_or_else(|| no_pool(pool))?;
        if request.key.is_empty() {
            self.undo(pool, true);
            self.share();
            return Ok(());
        }
        let id = names.members.get(&request.key).ok_or_else(no_member)?;
        self.engine
            .apply(&Op::Forget { pool, id })
            .map_err(|error| failure(&error))?;
        names.remove(id);
        Ok(())
    }

    /// Makes the pool when it is not there, with the share that it will have; whether it did.
    fn open(&mut self, pool: u32) -> Result<bool, Failure> {
        if self.pools.contains_key(&pool) {
            return Ok(false);
        }
        if self.pools.len() >= POOLS_MAX {
            return Err(too_many_pools());
        }
        let options = self.options(self.pools.len() + 1);
        self.engine
            .apply(&Op::Pool { pool, options })
            .map_err(|error| failure(&error))?;
        Ok(true)
    }

    /// Takes the pool away again that a refused write had made.
    fn undo(&mut self, pool: u32, fresh: bool) {
        if fresh {
            // It is there, so this cannot fail.
            let _ = self.engine.apply(&Op::DropPool { pool });
            self.pools.remove(&pool);
        }
    }

    /// After an accepted write: a new pool takes its share from the others, and what gave way loses its name.
    fn settle(&mut self, pool: u32, fresh: bool, forgotten: u64) {
        if fresh {
            self.share();
        } else if forgotten > 0 {
            self.forget_names(pool);
        }
    }

    /// Streams are made to fit the least share that a pool can have, so that the pools together keep to the layer's
    /// bytes however many there are.
    fn options(&self, pools: usize) -> PoolOptions {
        let least = share::learnt(self.bytes_max, POOLS_MAX);
        PoolOptions {
            bytes_max: share::learnt(self.bytes_max, pools),
            stream_bytes_max: STREAM_BYTES_MAX.min(least / 2),
            ..PoolOptions::default()
        }
    }

    fn share(&mut self) {
        let options = self.options(self.pools.len());
        let pools: Vec<u32> = self.pools.keys().copied().collect();
        for pool in pools {
            // The options are in range, so this cannot fail.
            let _ = self.engine.apply(&Op::Pool { pool, options });
            self.forget_names(pool);
            self.limit_keys(pool, None);
        }
    }

    /// Forgets the keys of streams and series that gave way.
    fn forget_names(&mut self, pool: u32) {
        let Some(names) = self.pools.get_mut(&pool) else {
            return;
        };
        let engine = &mut self.engine;
        names.members.retain(|id| is_there(engine, pool, id));
        let members = &names.members;
        names.symbols.retain(|id, _| members.key(*id).is_some());
    }

    /// While the keys of a pool take more than their share: the stream with most of them loses those of symbols that it
    /// has forgotten, then the eighth that was named first (they are new when they come again). What has no symbols goes
    /// whole, named first first, but `kept`. How many streams and series went.
    fn limit_keys(&mut self, pool: u32, kept: Option<u64>) -> u64 {
        let most = share::keys(self.bytes_max, self.pools.len());
        let Some(names) = self.pools.get_mut(&pool) else {
            return 0;
        };
        let mut gone = 0;
        while names.bytes() > most {
            let largest = names.symbols.iter_mut().filter(|(_, keys)| keys.len() > 1);
            if let Some((stream, keys)) = largest.max_by_key(|(_, keys)| keys.bytes()) {
                let before = keys.len();
                if let Ok(stream) = self.engine.stream(pool, *stream) {
                    keys.retain(|symbol| stream.knows(symbol));
                }
                if keys.len() == before {
                    keys.oldest().into_iter().for_each(|symbol| {
                        keys.remove(symbol);
                    });
                }
                continue;
            }
            let Some(id) = names.members.all().find(|id| Some(*id) != kept) else {
                break;
            };
            // What is not there any more is no loss.
            let _ = self.engine.apply(&Op::Forget { pool, id });
            names.remove(id);
            gone += 1;
        }
        gone
    }

    fn named(&self, pool: u32, name: &[u8]) -> Result<(u64, &Names), Failure> {
        let names = self.pools.get(&pool).ok_or_else(|| no_pool(pool))?;
        Ok((names.members.get(name).ok_or_else(no_member)?, names))
    }

    fn predict(
        &mut self,
        request: &pb::CpePredictRequest,
        now: u64,
    ) -> Result<pb::CpePrediction, Failure> {
        let pool = pool(request.pool_id)?;
        let k = body::k(request.k, K_DEFAULT)?;
        let time = if request.time == 0 { now } else { request.time };
        let id = self.named(pool, &request.stream)?.0;
        let stream = self
            .engine
            .stream(pool, id)
            .map_err(|error| failure(&error))?;
        let next = stream.predict(request.lane, k, time);
        let items: Vec<_> = next
            .items
            .iter()
            .map(|item| (item, stream.knows(item.symbol)))
            .collect();
        let symbols = self.named(pool, &request.stream)?.1.symbols.get(&id);
        let mut answer = pb::CpePrediction {
            other: next.other,
            unseen: next.unseen,
            silent: next.silent,
            wait: next.wait.map(|wait| pb::CpeWait {
                mean_ns: wait.mean,
                median_ns: wait.median,
                p90_ns: wait.p90,
            }),
            ..Default::default()
        };
        for (item, known) in items {
            match symbols.and_then(|symbols| symbols.key(item.symbol)) {
                Some(key) => answer.items.push(pb::CpeItem {
                    key: key.to_vec(),
                    probability: item.probability,
                }),
                // Its key is forgotten, so it cannot be named.
                None if known => answer.other += item.probability,
                // Numbers of keys count up in the order in which the keys came first, so a stride may lead past the last.
                None => answer.unseen += item.probability,
            }
        }
        Ok(answer)
    }

    fn explain(&mut self, request: &pb::CpeExplainRequest) -> Result<pb::CpeExplanation, Failure> {
        let pool = pool(request.pool_id)?;
        let key = key("key", &request.key)?;
        let (id, names) = self.named(pool, &request.stream)?;
        let symbol = names.symbols.get(&id).and_then(|symbols| symbols.get(key));
        let stream = self
            .engine
            .stream(pool, id)
            .map_err(|error| failure(&error))?;
        let symbol = symbol.filter(|symbol| stream.knows(*symbol));
        let symbol = symbol.ok_or_else(|| {
            not_found("that key never came in the stream, or is forgotten".to_owned())
        })?;
        let why = stream.explain(request.lane, symbol);
        let votes = why.votes.iter().map(|vote| pb::CpeVote {
            expert: vote.expert.name().to_owned(),
            weight: vote.weight,
            probability: vote.probability,
        });
        let evidence = why.evidence.iter().map(|(source, nats)| pb::CpeEvidence {
            source: source.name().to_owned(),
            nats: *nats,
        });
        Ok(pb::CpeExplanation {
            probability: why.probability,
            proposed: why.proposed,
            votes: votes.collect(),
            evidence: evidence.collect(),
        })
    }

    fn forecast(&mut self, request: &pb::CpeForecastRequest) -> Result<pb::CpeForecast, Failure> {
        let pool = pool(request.pool_id)?;
        let id = self.named(pool, &request.series)?.0;
        let series = self
            .engine
            .series(pool, id)
            .map_err(|error| failure(&error))?;
        let lane = request.lane;
        let all = series
            .forecast(lane)
            .ok_or_else(|| not_found(format!("nothing came in lane {lane}")))?;
        let horizons = all.iter().map(|forecast| {
            let [median, p90, p99] = forecast.quantiles;
            pb::CpeHorizon {
                samples_ahead: forecast.samples_ahead as u32,
                median,
                p90,
                p99,
            }
        });
        Ok(pb::CpeForecast {
            horizons: horizons.collect(),
        })
    }

    fn stats(
        &mut self,
        request: &pb::CpeStatsRequest,
        journal: JournalFacts,
    ) -> Result<pb::CpeStats, Failure> {
        let scores = if request.stream.is_empty() {
            None
        } else {
            let pool = pool(request.pool_id)?;
            let id = self.named(pool, &request.stream)?.0;
            let stream = self.engine.stream(pool, id);
            Some(scores(stream.map_err(|error| failure(&error))?))
        };
        let bytes_max = self.bytes_max / self.pools.len().max(1) as u64;
        let pools = self.pools.iter().filter_map(|(pool, names)| {
            let stats = self.engine.pool(*pool)?;
            Some(pb::CpePool {
                pool_id: (*pool).into(),
                streams: stats.streams,
                series: stats.series,
                bytes: stats.bytes,
                key_bytes: names.bytes(),
                bytes_max,
                evicted: stats.evicted,
            })
        });
        Ok(pb::CpeStats {
            pools: pools.collect(),
            bytes_max: self.bytes_max,
            log_bytes: journal.log_bytes,
            snapshots: journal.snapshots,
            scores,
        })
    }
}

fn scores(stream: &Stream) -> pb::CpeScores {
    let scores: &Scores = stream.scores();
    pb::CpeScores {
        events: scores.events,
        hits_at_1: scores.hits_at_1,
        hits_at_5: scores.hits_at_5,
        unseen: scores.unseen,
        silent: scores.silent,
        log_loss_bits: scores.log_loss_bits,
        brier: scores.brier,
        calibration_error: scores.calibration_error(),
        symbols: stream.symbols() as u64,
    }
}

fn is_there(engine: &mut Engine, pool: u32, id: u64) -> bool {
    !matches!(engine.stream(pool, id), Err(CpeError::Absent { .. }))
}

fn no_pool(pool: u32) -> Failure {
    not_found(format!("pool {pool} is not here; write to it first"))
}

fn no_member() -> Failure {
    not_found("the pool has no stream and no series of that key")
}

fn failure(error: &CpeError) -> Failure {
    let status = match error {
        CpeError::Absent { .. } => Status::NOT_FOUND,
        CpeError::Kind { .. } => Status::CONFLICT,
        CpeError::Budget { .. } | CpeError::Pools(_) => Status::LIMIT,
        CpeError::Truncated(_) | CpeError::Version { .. } | CpeError::Invalid(_) => {
            Status::INTERNAL
        }
        _ => Status::INVALID_ARGUMENT,
    };
    // The layer speaks of numbers; the caller of keys.
    let text = match error {
        CpeError::Kind { is, wanted, .. } => {
            format!("that key is a {is}, not a {wanted}; use another")
        }
        CpeError::Absent { .. } => return no_member(),
        _ => error.to_string(),
    };
    Failure::new(status, text)
}
