//! Layer 4 for the facade.

use std::sync::Arc;
use std::time::Duration;

use mfn_wire::{method, pb};

use super::carrier::{Carrier, exchange};
use super::door::{At, Foreseeing, Reply};
use super::question::{Finding, Item};

/// CPE, however it is reached.
#[derive(Clone)]
pub struct Streams {
    carrier: Arc<dyn Carrier>,
    pool_id: u64,
}

impl Streams {
    /// The streams of one pool.
    pub fn new(carrier: Arc<dyn Carrier>, pool_id: u32) -> Self {
        let pool_id = pool_id.into();
        Self { carrier, pool_id }
    }
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams")
            .field("pool_id", &self.pool_id)
            .finish_non_exhaustive()
    }
}

impl Foreseeing for Streams {
    fn observe(&self, at: At, keys: Vec<Vec<u8>>, time: u64, within: Duration) -> Reply<()> {
        let request = pb::CpeObserveRequest {
            pool_id: self.pool_id,
            stream: at.stream,
            lane: at.lane,
            keys,
            time,
        };
        let reply = exchange(&self.carrier, method::cpe::OBSERVE, &request, within);
        Box::pin(async move { reply.await.map(|_: pb::CpeObserved| ()) })
    }

    fn next(&self, at: At, limit: u32, time: u64, within: Duration) -> Reply<Option<Finding>> {
        let request = pb::CpePredictRequest {
            pool_id: self.pool_id,
            stream: at.stream,
            lane: at.lane,
            k: limit,
            time,
        };
        let reply = exchange(&self.carrier, method::cpe::PREDICT, &request, within);
        Box::pin(async move {
            let next: pb::CpePrediction = match reply.await {
                Err(error) if error.is_not_found() => return Ok(None),
                other => other?,
            };
            // It claims nothing: what it lists all the same is no answer.
            if next.silent {
                return Ok(None);
            }
            let rest = format!(
                "{:.3} for all others, {:.3} for a new one",
                next.other, next.unseen
            );
            let wait = next.wait.map_or_else(String::new, |wait| {
                let wait = Duration::from_nanos(wait.median_ns.max(0.0) as u64);
                format!("; in about {wait:.1?}")
            });
            let item = |one: pb::CpeItem| Item {
                key: one.key,
                score: one.probability,
                value: None,
                why: format!("probability {:.3}; {rest}{wait}", one.probability),
            };
            Ok(Finding::of(next.items.into_iter().map(item).collect()))
        })
    }
}
