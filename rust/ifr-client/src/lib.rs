//! Asks `ifrd`, the daemon of layer 1, for exact keys over its Unix socket.
//!
//! - [`IfrClient`]: get, put and remove, one key or up to 4,096 at once. It blocks; threads may share one, and their calls
//!   travel together.
//! - [`FlowRecord`] in [`Pool`]s with budgets, with a time to live; [`RoutingDecision`] says where to ask next. Pools of values
//!   have budgets as well.
//! - [`Key`], [`Value`], [`Stats`]: the same nouns as on the wire (`mfn_wire::ifr`).
//!
//! In one process with the table, without a daemon: the crate `mfn-ifr`.
//!
//! ```no_run
//! use mfn_ifr_client::{IfrClient, Key, Options};
//!
//! # fn main() -> Result<(), mfn_ifr_client::IfrError> {
//! let ifr = IfrClient::connect("/run/user/1000/hypermesh/mfn_ifr.sock".as_ref(), Options::default())?;
//! ifr.put(Key::Bytes(b"route/7"), b"by way of node 4")?;
//! assert_eq!(ifr.get(Key::Bytes(b"route/7"))?, Some(*b"by way of node 4"));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use mfn_local::{CallError, ConnectOptions, LocalError, Request, blocking};
use mfn_wire::{ContentType, Service, ifr, method};

pub use mfn_wire::ifr::{
    BATCH_KEYS_MAX, BodyError, DIGEST_BYTES, Done, FlowRecord, Key, Layer, Pool, PoolStats,
    RoutingDecision, Stats, Value,
};

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IfrError {
    /// The daemon was not reached.
    #[error(transparent)]
    Connect(#[from] LocalError),
    /// It did not answer, or with an error.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The request or the answer is not laid out as it must be.
    #[error(transparent)]
    Body(#[from] BodyError),
}

/// How to connect and how long to wait.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// For connecting, HELLO included.
    pub connect_timeout: Duration,
    /// For each call; the daemon learns it. `None`: without end.
    pub call_timeout: Option<Duration>,
    /// Of the keys with values: 0, which is always there, or a pool of values that somebody made.
    pub pool_id: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            call_timeout: Some(Duration::from_secs(5)),
            pool_id: 0,
        }
    }
}

/// One connection to `ifrd`.
#[derive(Debug)]
pub struct IfrClient {
    client: blocking::Client,
    options: Options,
}

impl IfrClient {
    /// Connects to the socket at that path. The daemon must run as the same user, or as root.
    pub fn connect(path: &Path, options: Options) -> Result<Self, IfrError> {
        let connect = ConnectOptions {
            timeout: options.connect_timeout,
            ..ConnectOptions::default()
        };
        let client = blocking::Client::connect(path, Service::Ifr, &connect)?;
        Ok(Self { client, options })
    }

    /// The value of a key.
    pub fn get(&self, key: Key<'_>) -> Result<Option<Value>, IfrError> {
        self.value_get(self.options.pool_id, key)
    }

    /// The value of a key in a pool of values.
    pub fn value_get(&self, pool_id: u32, key: Key<'_>) -> Result<Option<Value>, IfrError> {
        let mut body = Vec::with_capacity(8 + key.bytes().len());
        ifr::encode_key(pool_id, key, &mut body);
        let reply = self.call(method::ifr::GET, body)?;
        Ok(ifr::decode_value(&reply)?)
    }

    /// Sets a value and answers the one that it replaced. When this returns, the daemon's log has it, as its durability
    /// says.
    pub fn put(&self, key: Key<'_>, value: &Value) -> Result<Option<Value>, IfrError> {
        self.value_put(self.options.pool_id, key, value)
    }

    /// As `put`, in a pool of values.
    pub fn value_put(
        &self,
        pool_id: u32,
        key: Key<'_>,
        value: &Value,
    ) -> Result<Option<Value>, IfrError> {
        let mut body = Vec::with_capacity(24 + key.bytes().len());
        ifr::encode_put(pool_id, key, value, &mut body);
        let reply = self.call(method::ifr::PUT, body)?;
        Ok(ifr::decode_value(&reply)?)
    }

    /// Removes a key and answers its value.
    pub fn remove(&self, key: Key<'_>) -> Result<Option<Value>, IfrError> {
        self.value_remove(self.options.pool_id, key)
    }

    /// As `remove`, in a pool of values.
    pub fn value_remove(&self, pool_id: u32, key: Key<'_>) -> Result<Option<Value>, IfrError> {
        let mut body = Vec::with_capacity(8 + key.bytes().len());
        ifr::encode_key(pool_id, key, &mut body);
        let reply = self.call(method::ifr::REMOVE, body)?;
        Ok(ifr::decode_value(&reply)?)
    }

    /// The values of up to [`BATCH_KEYS_MAX`] keys of one kind, in their order.
    pub fn get_many<'a>(
        &self,
        keys: impl IntoIterator<Item = Key<'a>>,
    ) -> Result<Vec<Option<Value>>, IfrError> {
        let reply = self.batch(method::ifr::GET_MANY, keys)?;
        let found = ifr::Found::decode(&reply, true)?;
        Ok((0..found.len())
            .map(|index| found.value(index).copied())
            .collect())
    }

    /// Puts up to [`BATCH_KEYS_MAX`] entries of one kind, in their order, up to the first that does not fit: see
    /// [`Done::status`].
    pub fn put_many<'a>(
        &self,
        entries: impl IntoIterator<Item = (Key<'a>, &'a Value)>,
    ) -> Result<Done, IfrError> {
        let mut body = Vec::new();
        ifr::encode_entries(self.options.pool_id, entries, &mut body)?;
        let reply = self.call(method::ifr::PUT_MANY, body)?;
        Ok(Done::decode(&reply)?)
    }

    /// Removes up to [`BATCH_KEYS_MAX`] keys of one kind and says which were there.
    pub fn remove_many<'a>(
        &self,
        keys: impl IntoIterator<Item = Key<'a>>,
    ) -> Result<Vec<bool>, IfrError> {
        let reply = self.batch(method::ifr::REMOVE_MANY, keys)?;
        Ok(flags(&ifr::Found::decode(&reply, false)?))
    }

    /// What the filter says of up to [`BATCH_KEYS_MAX`] digests: `false` is sure, `true` is a maybe.
    pub fn may_contain<'a>(
        &self,
        digests: impl IntoIterator<Item = &'a [u8; DIGEST_BYTES]>,
    ) -> Result<Vec<bool>, IfrError> {
        let keys = digests.into_iter().map(Key::Digest);
        let reply = self.batch(method::ifr::MAY_CONTAIN, keys)?;
        Ok(flags(&ifr::Found::decode(&reply, false)?))
    }

    /// What the daemon holds and has done.
    pub fn stats(&self) -> Result<Stats, IfrError> {
        Ok(Stats::decode(&self.call(method::ifr::STATS, Vec::new())?)?)
    }

    /// Writes a snapshot and begins a new log; returns when it is on disk.
    pub fn snapshot(&self) -> Result<(), IfrError> {
        self.call(method::ifr::SNAPSHOT, Vec::new()).map(drop)
    }

    /// Makes a pool: of records, or of values.
    pub fn pool_add(&self, pool: &Pool) -> Result<(), IfrError> {
        let mut body = Vec::with_capacity(16);
        pool.encode(&mut body);
        self.call(method::ifr::POOL_ADD, body).map(drop)
    }

    /// Forgets a pool with all that it holds.
    pub fn pool_drop(&self, pool_id: u32) -> Result<(), IfrError> {
        let mut body = Vec::with_capacity(16);
        Pool::named(pool_id).encode(&mut body);
        self.call(method::ifr::POOL_DROP, body).map(drop)
    }

    /// What a pool holds.
    pub fn pool_stats(&self, pool_id: u32) -> Result<PoolStats, IfrError> {
        let mut body = Vec::with_capacity(16);
        Pool::named(pool_id).encode(&mut body);
        Ok(PoolStats::decode(
            &self.call(method::ifr::POOL_STATS, body)?,
        )?)
    }

    /// Every pool and what it holds, in no order.
    pub fn pools(&self) -> Result<Vec<(Pool, PoolStats)>, IfrError> {
        let reply = self.call(method::ifr::POOLS, Vec::new())?;
        Ok(ifr::decode_pools(&reply)?)
    }

    /// Sets the record of a digest and answers the one that it replaced. It lives for `ttl` from now on; `None`: until its
    /// `expires_ns`.
    pub fn flow_put(
        &self,
        pool_id: u32,
        record: &FlowRecord,
        ttl: Option<Duration>,
    ) -> Result<Option<FlowRecord>, IfrError> {
        // What is longer than 584 years is for ever long; a life of nothing is a moment.
        let ttl_ns = ttl.map_or(0, |life| {
            u64::try_from(life.as_nanos()).unwrap_or(u64::MAX).max(1)
        });
        let mut body = Vec::with_capacity(96);
        ifr::encode_flow_put(pool_id, ttl_ns, record, &mut body);
        let reply = self.call(method::ifr::FLOW_PUT, body)?;
        Ok(FlowRecord::decode_answer(&reply)?)
    }

    /// The live record of a digest; that it was read keeps it longer.
    pub fn flow_get(
        &self,
        pool_id: u32,
        key: &[u8; DIGEST_BYTES],
    ) -> Result<Option<FlowRecord>, IfrError> {
        self.about(method::ifr::FLOW_GET, pool_id, key)
    }

    /// Forgets a digest and answers its record, expired or not.
    pub fn flow_remove(
        &self,
        pool_id: u32,
        key: &[u8; DIGEST_BYTES],
    ) -> Result<Option<FlowRecord>, IfrError> {
        self.about(method::ifr::FLOW_REMOVE, pool_id, key)
    }

    fn about(
        &self,
        method: u16,
        pool_id: u32,
        key: &[u8; DIGEST_BYTES],
    ) -> Result<Option<FlowRecord>, IfrError> {
        let mut body = Vec::with_capacity(8 + DIGEST_BYTES);
        ifr::encode_key(pool_id, Key::Digest(key), &mut body);
        Ok(FlowRecord::decode_answer(&self.call(method, body)?)?)
    }

    /// Takes out what has expired among the next `looks` records of a pool, at most [`BATCH_KEYS_MAX`], and says how many.
    /// The next call goes on from there. What has expired is not answered either way; this gives its memory back.
    pub fn flow_expire(&self, pool_id: u32, looks: u32) -> Result<u32, IfrError> {
        let mut body = Vec::with_capacity(8);
        ifr::encode_expire(pool_id, looks, &mut body);
        let reply = self.call(method::ifr::FLOW_EXPIRE, body)?;
        Ok(ifr::decode_expired(&reply)?.1)
    }

    /// What to do about a key of some kind: use the record that is here, or ask a layer.
    pub fn flow_route(
        &self,
        pool_id: u32,
        key: &[u8; DIGEST_BYTES],
        kind: u16,
    ) -> Result<RoutingDecision, IfrError> {
        let mut body = Vec::with_capacity(8 + DIGEST_BYTES);
        ifr::encode_route(pool_id, kind, key, &mut body);
        Ok(RoutingDecision::decode(
            &self.call(method::ifr::FLOW_ROUTE, body)?,
        )?)
    }

    /// Tells whether a layer that was asked for a key of some kind had an answer.
    pub fn flow_learn(&self, kind: u16, layer: Layer, found: bool) -> Result<(), IfrError> {
        let mut body = Vec::with_capacity(8);
        ifr::encode_learn(kind, layer, found, &mut body);
        self.call(method::ifr::FLOW_LEARN, body).map(drop)
    }

    fn batch<'a>(
        &self,
        method: u16,
        keys: impl IntoIterator<Item = Key<'a>>,
    ) -> Result<Bytes, IfrError> {
        let mut body = Vec::new();
        ifr::encode_keys(self.options.pool_id, keys, &mut body)?;
        self.call(method, body)
    }

    /// Asks any method with a body of one's own making (`mfn_wire::ifr`).
    pub fn call(&self, method: u16, body: Vec<u8>) -> Result<Bytes, IfrError> {
        let request = Request::new(ContentType::Fixed, body);
        let request = match self.options.call_timeout {
            Some(timeout) => request.within(timeout),
            None => request,
        };
        Ok(self.client.call(0, method, &request)?.body)
    }
}

fn flags(found: &ifr::Found<'_>) -> Vec<bool> {
    (0..found.len())
        .map(|index| found.is_found(index))
        .collect()
}
