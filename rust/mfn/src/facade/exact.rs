//! Layer 1 for the facade: records in this process, or `ifrd` behind its socket.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use mfn_ifr::{FlowRecord, Flows, IfrError, Layer as Routed, RoutingDecision, WhenFull};
use mfn_wire::{Status, ifr, method};

use super::carrier::{Carrier, Socket};
use super::door::{Entry, Exact, Reply};
use super::question::{Decision, LayerError, LayerId, Value};

/// The pool of the records.
const POOL: u32 = 1;

/// IFR in this process: records with times and the decision where to ask next, which learns. Gone with the process.
#[derive(Debug)]
pub struct Records(RwLock<Flows>);

impl Records {
    /// An empty pool that takes at most so many bytes; the coldest records give way.
    ///
    /// # Errors
    /// As [`Flows::add_pool`].
    pub fn new(bytes_max: u64) -> Result<Self, IfrError> {
        let mut flows = Flows::new()?;
        flows.add_pool(POOL, bytes_max, WhenFull::Evict)?;
        Ok(Self(RwLock::new(flows)))
    }
}

/// A record is found by the digest of its key.
fn digest(key: &[u8]) -> [u8; 32] {
    *blake3::hash(key).as_bytes()
}

/// A value is in the two numbers of a record that are the caller's.
fn value(record: &FlowRecord) -> Value {
    let mut value = [0; 16];
    value[..8].copy_from_slice(&record.size.to_le_bytes());
    value[8..].copy_from_slice(&record.reference.to_le_bytes());
    value
}

fn numbers(value: &Value) -> (u64, u64) {
    let number = u128::from_le_bytes(*value);
    (number as u64, (number >> 64) as u64)
}

fn layer(routed: Routed) -> LayerId {
    match routed {
        Routed::Similarity => LayerId::Dsr,
        Routed::Association => LayerId::Alm,
        Routed::Prediction => LayerId::Cpe,
    }
}

fn ready<T: Send + 'static>(done: Result<T, IfrError>) -> Reply<T> {
    let done = done.map_err(|error| {
        let status = match error {
            IfrError::Limit { .. } => Status::LIMIT,
            _ => Status::INTERNAL,
        };
        LayerError::refused(status, error.to_string())
    });
    Box::pin(std::future::ready(done))
}

impl Exact for Records {
    fn route(&self, key: &[u8], kind: u16, now_ns: u64, _within: Duration) -> Reply<Decision> {
        let flows = self.0.read().unwrap_or_else(PoisonError::into_inner);
        ready(Ok(match flows.route(POOL, &digest(key), kind, now_ns) {
            RoutingDecision::FoundExact(record) => Decision::FoundExact(value(&record)),
            RoutingDecision::FoundPartial {
                record,
                next,
                confidence,
            } => Decision::FoundPartial {
                value: value(&record),
                next: layer(next),
                confidence,
            },
            RoutingDecision::RouteToLayers { next, confidence } => Decision::RouteToLayers {
                next: Some(layer(next)),
                confidence,
            },
        }))
    }

    fn put(&self, entry: Entry<'_>, now_ns: u64, _within: Duration) -> Reply<()> {
        let (size, reference) = numbers(&entry.value);
        let lives = entry.lives.map(|lives| lives.as_nanos() as u64);
        let record = FlowRecord {
            key: digest(entry.key),
            size,
            reference,
            created_ns: now_ns,
            updated_ns: now_ns,
            expires_ns: lives.map_or(0, |lives| now_ns.saturating_add(lives).max(1)),
            kind: entry.kind,
            ..FlowRecord::default()
        };
        let mut flows = self.0.write().unwrap_or_else(PoisonError::into_inner);
        ready(flows.put(POOL, &record, now_ns).map(drop))
    }

    fn remove(&self, key: &[u8], _within: Duration) -> Reply<bool> {
        let mut flows = self.0.write().unwrap_or_else(PoisonError::into_inner);
        ready(Ok(flows.remove(POOL, &digest(key)).is_some()))
    }

    fn learn(&self, kind: u16, asked: LayerId, found: bool) {
        let asked = match asked {
            LayerId::Ifr => return,
            LayerId::Dsr => Routed::Similarity,
            LayerId::Alm => Routed::Association,
            LayerId::Cpe => Routed::Prediction,
        };
        let mut flows = self.0.write().unwrap_or_else(PoisonError::into_inner);
        flows.learn(kind, asked, found);
    }
}

/// The pool of `ifrd`.
const DAEMON_POOL: u32 = 0;

impl Socket {
    fn ifr(&self, method: u16, body: Vec<u8>, within: Duration) -> Reply<Option<Value>> {
        let answer = self.call(method, body.into(), within);
        Box::pin(async move { decode(&answer.await?) })
    }
}

fn decode(body: &Bytes) -> Result<Option<Value>, LayerError> {
    ifr::decode_value(body).map_err(|error| LayerError::refused(error.status(), error.to_string()))
}

/// `ifrd` behind its socket. Where to ask next is left to the walk.
impl Exact for Socket {
    fn route(&self, key: &[u8], _kind: u16, _now_ns: u64, within: Duration) -> Reply<Decision> {
        let mut body = Vec::new();
        ifr::encode_key(DAEMON_POOL, ifr::Key::Bytes(key), &mut body);
        let found = self.ifr(method::ifr::GET, body, within);
        Box::pin(async move {
            Ok(match found.await? {
                Some(value) => Decision::FoundExact(value),
                None => Decision::RouteToLayers {
                    next: None,
                    confidence: 0.0,
                },
            })
        })
    }

    fn put(&self, entry: Entry<'_>, _now_ns: u64, within: Duration) -> Reply<()> {
        if entry.lives.is_some() {
            let text = "ifrd keeps no times: put it without one, or use records in the process";
            let refused = LayerError::refused(Status::UNSUPPORTED, text);
            return Box::pin(std::future::ready(Err(refused)));
        }
        let mut body = Vec::new();
        let key = ifr::Key::Bytes(entry.key);
        ifr::encode_put(DAEMON_POOL, key, &entry.value, &mut body);
        let done = self.ifr(method::ifr::PUT, body, within);
        Box::pin(async move { done.await.map(drop) })
    }

    fn remove(&self, key: &[u8], within: Duration) -> Reply<bool> {
        let mut body = Vec::new();
        ifr::encode_key(DAEMON_POOL, ifr::Key::Bytes(key), &mut body);
        let removed = self.ifr(method::ifr::REMOVE, body, within);
        Box::pin(async move { Ok(removed.await?.is_some()) })
    }

    fn learn(&self, _kind: u16, _layer: LayerId, _found: bool) {}
}
