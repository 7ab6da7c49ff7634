//! Layer 2 for the facade.

use std::sync::Arc;
use std::time::Duration;

use mfn_wire::{method, pb};

use super::carrier::{Carrier, exchange};
use super::door::{Like, Reply, Similar};
use super::question::{Finding, Item, LayerError};

/// DSR, however it is reached.
#[derive(Clone)]
pub struct Vectors {
    carrier: Arc<dyn Carrier>,
    pool_id: u64,
}

impl Vectors {
    /// The vectors of one pool; all have one length.
    pub fn new(carrier: Arc<dyn Carrier>, pool_id: u32) -> Self {
        let pool_id = pool_id.into();
        Self { carrier, pool_id }
    }
}

impl std::fmt::Debug for Vectors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vectors")
            .field("pool_id", &self.pool_id)
            .finish_non_exhaustive()
    }
}

impl Similar for Vectors {
    fn insert(&self, key: Vec<u8>, vector: Vec<f32>, within: Duration) -> Reply<()> {
        let request = pb::DsrInsertRequest {
            pool_id: self.pool_id,
            key,
            vector,
        };
        let reply = exchange(&self.carrier, method::dsr::INSERT, &request, within);
        Box::pin(async move { reply.await.map(|_: pb::DsrInsertReply| ()) })
    }

    fn remove(&self, key: Vec<u8>, within: Duration) -> Reply<()> {
        let pool_id = self.pool_id;
        let request = pb::DsrRemoveRequest { pool_id, key };
        exchange(&self.carrier, method::dsr::REMOVE, &request, within)
    }

    fn similar(
        &self,
        like: Like,
        limit: u32,
        least: f32,
        within: Duration,
    ) -> Reply<Option<Finding>> {
        let (key, vector) = match like {
            Like::Key(key) => (key, Vec::new()),
            Like::Vector(vector) => (Vec::new(), vector),
        };
        let request = pb::DsrSimilarRequest {
            pool_id: self.pool_id,
            vector,
            key,
            k: limit,
            least,
        };
        let reply = exchange(&self.carrier, method::dsr::SIMILAR, &request, within);
        Box::pin(async move {
            let found: pb::DsrMatches = match reply.await {
                // No pool yet, or no entry of that key: nothing is known to be like it.
                Err(error) if error.is_not_found() => return Ok(None),
                other => other?,
            };
            let item = |one: pb::DsrMatch| Item {
                key: one.key,
                score: one.similarity,
                value: None,
                why: format!("cosine of their vectors is {:.3}", one.similarity),
            };
            Ok(Finding::of(found.matches.into_iter().map(item).collect()))
        })
    }

    fn explain(&self, key: Vec<u8>, vector: Vec<f32>, within: Duration) -> Reply<String> {
        let request = pb::DsrExplainRequest {
            pool_id: self.pool_id,
            vector,
            key,
        };
        let reply = exchange(&self.carrier, method::dsr::EXPLAIN, &request, within);
        Box::pin(async move { reply.await.map(|why| said(&why)) })
    }
}

fn said(why: &pb::DsrExplanation) -> String {
    if why.fired.is_empty() {
        return format!(
            "all entries were compared exactly; its similarity is {:.3}",
            why.similarity
        );
    }
    let (fired, owner) = (why.fired.len(), if why.owner_fired { "" } else { "not " });
    format!(
        "{fired} neurons fired for it, {} of them for both; the one that owns the entry was {owner}among them; its similarity is {:.3}",
        why.overlap, why.similarity
    )
}

/// A door's answer to what it is not told enough for.
pub(crate) fn nothing<T: Send + 'static>(value: T) -> Reply<T> {
    Box::pin(std::future::ready(Ok::<T, LayerError>(value)))
}
