//! Layer 3 for the facade.

use std::sync::Arc;
use std::time::Duration;

use mfn_alm::{Alm, AlmError, AssociatesQuery, Edge, Filter, Path, PathQuery, Pool, PoolId};
use mfn_wire::Status;

use super::door::{Linked, Reply};
use super::question::{Finding, Item, LayerError};

/// Links that somebody stated.
pub const KIND_STATED: u8 = 1;
/// Links that come of use together.
pub const KIND_TOGETHER: u8 = 2;
/// What one use together adds to a link: it is as good as a coin's evidence, and the second leaves half of the doubt.
const TOGETHER: f64 = 0.5;
/// Keys of one group that get links among each other; a larger one would need their square.
const GROUP_LINKED_MAX: usize = 16;
/// How long until a link counts half: what was together last month is still of use.
const HALF_LIFE: Duration = Duration::from_secs(30 * 24 * 3_600);

/// ALM, in a pool of its own, which is made when first written to.
#[derive(Clone)]
pub struct Links {
    alm: Arc<dyn Alm>,
    pool: PoolId,
}

impl Links {
    /// The links of one pool.
    pub fn new(alm: Arc<dyn Alm>, pool: u32) -> Self {
        let pool = pool.into();
        Self { alm, pool }
    }

    /// The links of one pool of `almd` behind its socket.
    pub fn behind(socket: &std::path::Path, pool: u32) -> Self {
        Self::new(Arc::new(mfn_alm::SocketAlm::new(socket)), pool)
    }

    /// Tells the layer something; a pool that is not there is made, and it is told again.
    fn tell(
        &self,
        within: Duration,
        tell: impl Fn(&dyn Alm) -> mfn_alm::Answer<()> + Send + 'static,
    ) -> Reply<()> {
        let (alm, id) = (Arc::clone(&self.alm), self.pool);
        timed(within, async move {
            match tell(&*alm).await {
                Err(AlmError::Refused {
                    status: Status::NOT_FOUND,
                    ..
                }) => {}
                other => return Ok(other?),
            }
            let half_life = HALF_LIFE;
            let pool = Pool {
                id,
                half_life,
                ..Pool::default()
            };
            alm.pool_set(pool).await?;
            Ok(tell(&*alm).await?)
        })
    }
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

/// The layer's own limits of time are wider than what is left of ours.
fn timed<T: Send + 'static>(
    within: Duration,
    work: impl Future<Output = Result<T, LayerError>> + Send + 'static,
) -> Reply<T> {
    Box::pin(async move {
        let done = tokio::time::timeout(within, work);
        done.await.unwrap_or(Err(LayerError::Late))
    })
}

impl From<AlmError> for LayerError {
    fn from(error: AlmError) -> Self {
        match error {
            AlmError::Away(text) => Self::Away(text),
            AlmError::Refused { status, text } => Self::refused(status, text),
        }
    }
}

/// What is not there is empty, not an error.
fn or_empty<T: Default>(answer: Result<T, AlmError>) -> Result<T, LayerError> {
    match answer.map_err(LayerError::from) {
        Err(error) if error.is_not_found() => Ok(T::default()),
        other => other,
    }
}

impl Linked for Links {
    fn together(&self, keys: Vec<Vec<u8>>, within: Duration) -> Reply<()> {
        let pool = self.pool;
        let mut edges = Vec::new();
        let linked = &keys[..keys.len().min(GROUP_LINKED_MAX)];
        for from in linked {
            for to in linked.iter().filter(|to| *to != from) {
                edges.push(Edge {
                    kind: KIND_TOGETHER,
                    ..Edge::new(from.as_slice(), to.as_slice(), TOGETHER)
                });
            }
        }
        // First the one that may find no pool: what is repeated then was not done.
        let group = self.tell(within, move |alm| alm.observe(pool, keys.clone()));
        let links = self.tell(within, move |alm| alm.reinforce_in(pool, edges.clone()));
        timed(within, async move {
            group.await?;
            links.await
        })
    }

    fn link(&self, from: Vec<u8>, to: Vec<u8>, strength: f64, within: Duration) -> Reply<()> {
        let pool = self.pool;
        let edge = Edge {
            kind: KIND_STATED,
            ..Edge::new(from, to, strength)
        };
        self.tell(within, move |alm| alm.add_to(pool, vec![edge.clone()]))
    }

    fn related(&self, key: Vec<u8>, limit: u32, within: Duration) -> Reply<Option<Finding>> {
        let query = AssociatesQuery {
            node: key.clone(),
            limit,
            pool: self.pool,
            ..AssociatesQuery::default()
        };
        let together = self.alm.predict(self.pool, key, limit);
        let near = self.alm.associates(query);
        timed(within, async move {
            let (together, near) = tokio::join!(together, near);
            let mut items: Vec<Item> = Vec::new();
            for one in or_empty(together)? {
                let why = match one.together {
                    0 => "judged by its name and by what was used last".to_owned(),
                    1 => "used together once".to_owned(),
                    times => format!("used together {times} times"),
                };
                items.push(item(one.key, one.share, why));
            }
            for (key, share) in or_empty(near)?.list {
                let why = format!(
                    "{:.1} % of random walks over links end there",
                    share * 100.0
                );
                match items.iter_mut().find(|item| item.key == key) {
                    Some(known) => {
                        known.score = known.score.max(share as f32);
                        known.why = format!("{}; {why}", known.why);
                    }
                    None => items.push(item(key, share, why)),
                }
            }
            items.sort_by(|one, other| other.score.total_cmp(&one.score));
            items.truncate(limit.max(1) as usize);
            Ok(Finding::of(items))
        })
    }

    fn paths(&self, from: Vec<u8>, to: Vec<u8>, count: u32, within: Duration) -> Reply<Vec<Path>> {
        let query = PathQuery {
            from,
            to,
            hops_max: 0,
            filter: Filter::default(),
            pool: self.pool,
        };
        let answer = self.alm.best_paths(query, count);
        timed(within, async move { or_empty(answer.await) })
    }
}

fn item(key: Vec<u8>, score: f64, why: String) -> Item {
    Item {
        key,
        score: score as f32,
        value: None,
        why,
    }
}
