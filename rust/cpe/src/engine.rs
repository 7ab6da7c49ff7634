//! Many streams and series in pools with budgets: the state that a host logs, snapshots and serves.

use std::collections::BTreeMap;

use crate::codec::{Reader, Writer};
use crate::error::CpeError;
use crate::op::{Op, PoolOptions};
use crate::series::{Sampled, Series, SeriesOptions};
use crate::stream::{Outcome, STREAM_BYTES_MIN, Stream, StreamOptions};

const VERSION: u32 = 1;
const WHAT: &str = "an engine";
/// Most pools of an engine.
pub const POOLS_MAX: usize = 1024;

/// What an operation did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Applied {
    /// How the observed event had been predicted.
    pub outcome: Option<Outcome>,
    /// What the sample did.
    pub sampled: Option<Sampled>,
    /// Streams and series that were forgotten: asked for, out of time, or to make room.
    pub forgotten: u64,
}

/// What a pool holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoolStats {
    /// Its limits.
    pub options: PoolOptions,
    /// Streams.
    pub streams: u64,
    /// Series.
    pub series: u64,
    /// Bytes of all members.
    pub bytes: u64,
    /// Members that were forgotten to make room, since the pool was made.
    pub evicted: u64,
}

#[derive(Clone, Debug)]
enum Model {
    Stream(Box<Stream>),
    Series(Box<Series>),
}

#[derive(Clone, Debug)]
struct Member {
    model: Model,
    /// Time of the last write.
    time: u64,
    /// The engine's operation number of the last write.
    used: u64,
    bytes: u64,
}

#[derive(Clone, Debug)]
struct Pool {
    options: PoolOptions,
    members: BTreeMap<u64, Member>,
    /// Members by when they were used, the longest ago first.
    by_use: BTreeMap<u64, u64>,
    bytes: u64,
    evicted: u64,
}

/// Streams and series by pool and number.
///
/// The same operations in the same order give the same engine: time comes with them, and nothing else is read.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    pools: BTreeMap<u32, Pool>,
    operations: u64,
}

impl Engine {
    /// An empty engine.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies an operation. After an error nothing has changed.
    pub fn apply(&mut self, op: &Op) -> Result<Applied, CpeError> {
        match *op {
            Op::Pool { pool, options } => self.set_pool(pool, options),
            Op::DropPool { pool } => {
                let gone = self
                    .pools
                    .remove(&pool)
                    .ok_or(absent("pool", pool.into()))?;
                Ok(Applied {
                    forgotten: gone.members.len() as u64,
                    ..Applied::default()
                })
            }
            Op::Observe {
                pool,
                stream,
                lane,
                symbol,
                time,
            } => {
                let mut applied = Applied::default();
                applied.forgotten = self.write(pool, stream, time, true, |model| {
                    if let Model::Stream(stream) = model {
                        applied.outcome = Some(stream.observe(lane, symbol, time));
                    }
                    Ok(())
                })?;
                Ok(applied)
            }
            Op::Sample {
                pool,
                series,
                lane,
                time,
                value,
            } => {
                let mut applied = Applied::default();
                applied.forgotten = self.write(pool, series, time, false, |model| {
                    if let Model::Series(series) = model {
                        applied.sampled = Some(series.sample(lane, time, value)?);
                    }
                    Ok(())
                })?;
                Ok(applied)
            }
            Op::Forget { pool, id } => {
                let pool = self
                    .pools
                    .get_mut(&pool)
                    .ok_or(absent("pool", pool.into()))?;
                if !pool.remove(id) {
                    return Err(absent("member", id));
                }
                Ok(Applied {
                    forgotten: 1,
                    ..Applied::default()
                })
            }
            Op::Expire { now } => {
                let forgotten = self.pools.values_mut().map(|pool| pool.expire(now)).sum();
                Ok(Applied {
                    forgotten,
                    ..Applied::default()
                })
            }
        }
    }

    /// A stream, to be asked. Asking leaves no trace in a snapshot.
    pub fn stream(&mut self, pool: u32, id: u64) -> Result<&mut Stream, CpeError> {
        match self.member(pool, id, "stream")? {
            Model::Stream(stream) => Ok(stream),
            Model::Series(_) => Err(CpeError::Kind {
                id,
                is: "series",
                wanted: "stream",
            }),
        }
    }

    /// A series, to be asked.
    pub fn series(&mut self, pool: u32, id: u64) -> Result<&Series, CpeError> {
        match self.member(pool, id, "series")? {
            Model::Series(series) => Ok(series),
            Model::Stream(_) => Err(CpeError::Kind {
                id,
                is: "stream",
                wanted: "series",
            }),
        }
    }

    /// Numbers of all pools.
    pub fn pools(&self) -> impl Iterator<Item = u32> + '_ {
        self.pools.keys().copied()
    }

    /// What a pool holds; `None` when it is not there.
    pub fn pool(&self, pool: u32) -> Option<PoolStats> {
        let pool = self.pools.get(&pool)?;
        let streams = pool
            .members
            .values()
            .filter(|member| matches!(member.model, Model::Stream(_)));
        let streams = streams.count() as u64;
        Some(PoolStats {
            options: pool.options,
            streams,
            series: pool.members.len() as u64 - streams,
            bytes: pool.bytes,
            evicted: pool.evicted,
        })
    }

    /// The whole state as bytes. The host adds a checksum, and checks it before `restore`.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u32(VERSION);
        writer.u64(self.operations);
        writer.u32(self.pools.len() as u32);
        for (id, pool) in &self.pools {
            writer.u32(*id);
            pool.options.write(&mut writer);
            writer.u64(pool.evicted);
            writer.u32(pool.members.len() as u32);
            for (id, member) in &pool.members {
                writer.u64(*id);
                writer.u64(member.time);
                writer.u64(member.used);
                match &member.model {
                    Model::Stream(stream) => {
                        writer.u8(1);
                        stream.write(&mut writer);
                    }
                    Model::Series(series) => {
                        writer.u8(2);
                        series.write(&mut writer);
                    }
                }
            }
        }
        writer.bytes
    }

    /// The engine that `snapshot` was taken of.
    ///
    /// Errors: [`CpeError::Version`], [`CpeError::Truncated`], [`CpeError::Invalid`]; no bytes lead to a panic, to an
    /// endless loop, or to memory far beyond their own length.
    pub fn restore(snapshot: &[u8]) -> Result<Self, CpeError> {
        let mut reader = Reader::new(snapshot, WHAT);
        let version = reader.u32()?;
        if version != VERSION {
            return Err(CpeError::Version {
                what: WHAT,
                version,
                known: VERSION,
            });
        }
        let mut engine = Self {
            pools: BTreeMap::new(),
            operations: reader.u64()?,
        };
        reader.check(engine.operations < 1 << 62)?;
        for _ in 0..reader.count(50, POOLS_MAX)? {
            reader.what = WHAT;
            let id = reader.u32()?;
            let options = PoolOptions::read(&mut reader)?;
            reader.check(options.check(id).is_ok())?;
            let mut pool = Pool {
                evicted: reader.u64()?,
                ..Pool::new(options)
            };
            reader.check(pool.evicted < 1 << 62)?;
            for _ in 0..reader.count(100, u32::MAX as usize)? {
                reader.what = WHAT;
                let (id, time, used) = (reader.u64()?, reader.u64()?, reader.u64()?);
                let model = match reader.u8()? {
                    1 => Model::Stream(Box::new(Stream::read(&mut reader)?)),
                    2 => Model::Series(Box::new(Series::read(&mut reader)?)),
                    _ => return Err(reader.invalid()),
                };
                let bytes = model.bytes();
                reader
                    .check(used <= engine.operations && pool.by_use.insert(used, id).is_none())?;
                let member = Member {
                    model,
                    time,
                    used,
                    bytes,
                };
                reader.check(pool.members.insert(id, member).is_none())?;
                pool.bytes = pool.bytes.saturating_add(bytes);
            }
            // Tables grow by doubling, so one read back may be a little smaller than it was, never larger.
            reader.check(engine.pools.insert(id, pool).is_none())?;
        }
        reader.what = WHAT;
        reader.end()?;
        Ok(engine)
    }

    fn member(&mut self, pool: u32, id: u64, what: &'static str) -> Result<&mut Model, CpeError> {
        let pool = self
            .pools
            .get_mut(&pool)
            .ok_or(absent("pool", pool.into()))?;
        pool.members
            .get_mut(&id)
            .map(|member| &mut member.model)
            .ok_or(absent(what, id))
    }

    fn set_pool(&mut self, id: u32, options: PoolOptions) -> Result<Applied, CpeError> {
        options.check(id)?;
        if self.pools.len() == POOLS_MAX && !self.pools.contains_key(&id) {
            return Err(CpeError::Pools(POOLS_MAX));
        }
        let pool = self.pools.entry(id).or_insert_with(|| Pool::new(options));
        pool.options = options;
        Ok(Applied {
            forgotten: pool.make_room(None),
            ..Applied::default()
        })
    }

    /// Writes to a member, which is made when it is not there, and makes room afterwards. Returns how many members
    /// were forgotten for that.
    fn write(
        &mut self,
        id: u32,
        member: u64,
        time: u64,
        symbols: bool,
        body: impl FnOnce(&mut Model) -> Result<(), CpeError>,
    ) -> Result<u64, CpeError> {
        let options = self
            .pools
            .get(&id)
            .map_or_else(PoolOptions::default, |pool| pool.options);
        if self.pools.len() == POOLS_MAX && !self.pools.contains_key(&id) {
            return Err(CpeError::Pools(POOLS_MAX));
        }
        let known = self
            .pools
            .get_mut(&id)
            .and_then(|pool| pool.members.get_mut(&member));
        let mut fresh = None;
        let model = match known {
            Some(known) => &mut known.model,
            None => fresh.insert(Model::new(symbols, &options)?),
        };
        if symbols != matches!(model, Model::Stream(_)) {
            let (is, wanted) = if symbols {
                ("series", "stream")
            } else {
                ("stream", "series")
            };
            return Err(CpeError::Kind {
                id: member,
                is,
                wanted,
            });
        }
        body(model)?;
        self.operations += 1;
        let operations = self.operations;
        let pool = self.pools.entry(id).or_insert_with(|| Pool::new(options));
        if let Some(model) = fresh {
            pool.members.insert(
                member,
                Member {
                    model,
                    time,
                    used: operations,
                    bytes: 0,
                },
            );
        }
        pool.touch(member, time, operations);
        Ok(pool.make_room(Some(member)))
    }
}

impl Model {
    fn new(symbols: bool, options: &PoolOptions) -> Result<Self, CpeError> {
        Ok(if symbols {
            let options = StreamOptions {
                bytes_max: options.stream_bytes_max as usize,
                lanes_max: options.lanes_max as usize,
                claim_min: options.claim_min,
            };
            Self::Stream(Box::new(Stream::new(options)?))
        } else {
            let options = SeriesOptions {
                change_min: options.change_min,
                repeats_are_stale: options.repeats_are_stale,
                lanes_max: options.lanes_max as usize,
            };
            Self::Series(Box::new(Series::new(options)?))
        })
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Stream(stream) => stream.bytes() as u64,
            Self::Series(series) => series.bytes() as u64,
        }
    }
}

impl Pool {
    fn new(options: PoolOptions) -> Self {
        Self {
            options,
            members: BTreeMap::new(),
            by_use: BTreeMap::new(),
            bytes: 0,
            evicted: 0,
        }
    }

    fn touch(&mut self, id: u64, time: u64, operation: u64) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        self.by_use.remove(&member.used);
        self.by_use.insert(operation, id);
        member.used = operation;
        member.time = member.time.max(time);
        let bytes = member.model.bytes();
        self.bytes = self.bytes - member.bytes + bytes;
        member.bytes = bytes;
    }

    fn remove(&mut self, id: u64) -> bool {
        let Some(gone) = self.members.remove(&id) else {
            return false;
        };
        self.by_use.remove(&gone.used);
        self.bytes -= gone.bytes;
        true
    }

    /// Forgets the members that were used longest ago until the rest fits; `kept` stays.
    fn make_room(&mut self, kept: Option<u64>) -> u64 {
        let mut forgotten = 0;
        while self.bytes > self.options.bytes_max {
            let oldest = self.by_use.values().copied().find(|id| Some(*id) != kept);
            let Some(oldest) = oldest else { break };
            self.remove(oldest);
            forgotten += 1;
        }
        self.evicted += forgotten;
        forgotten
    }

    fn expire(&mut self, now: u64) -> u64 {
        if self.options.ttl == 0 {
            return 0;
        }
        let late = |member: &Member| now.saturating_sub(member.time) > self.options.ttl;
        let gone: Vec<u64> = self
            .members
            .iter()
            .filter(|(_, member)| late(member))
            .map(|(id, _)| *id)
            .collect();
        for id in &gone {
            self.remove(*id);
        }
        gone.len() as u64
    }
}

impl PoolOptions {
    /// Whether members can be made with these, and one fits.
    fn check(&self, pool: u32) -> Result<(), CpeError> {
        let range = |name, value, range| CpeError::Option { name, value, range };
        let stream = usize::try_from(self.stream_bytes_max).map_err(|_| {
            range(
                "stream_bytes_max",
                self.stream_bytes_max as f64,
                "256 KiB to 4 GiB",
            )
        })?;
        Stream::new(StreamOptions {
            bytes_max: stream,
            lanes_max: self.lanes_max as usize,
            claim_min: self.claim_min,
        })?;
        Series::new(SeriesOptions {
            change_min: self.change_min,
            repeats_are_stale: self.repeats_are_stale,
            lanes_max: self.lanes_max as usize,
        })?;
        // A stream that is full must fit, or it would be forgotten at every write.
        if self.bytes_max < self.stream_bytes_max.max(STREAM_BYTES_MIN as u64) {
            return Err(CpeError::Budget {
                pool,
                budget: self.bytes_max,
                needed: self.stream_bytes_max,
            });
        }
        Ok(())
    }
}

fn absent(what: &'static str, id: u64) -> CpeError {
    CpeError::Absent { what, id }
}
