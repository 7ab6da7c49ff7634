//! The methods of the layer, the same however it is reached: each is one question and one answer.

use std::time::Duration;

use mfn_wire::{Status, method, pb};
use prost::Message;

use crate::convert::{edge, edge_message, filter_message, path, pool, pool_message};
use crate::{
    Alm, AlmError, Answer, Associates, AssociatesQuery, Edge, Path, PathQuery, Pool, PoolId,
    Prediction, Ranked, Stats,
};

/// How long an answer may take. Advice that comes later is worth less than going on without it.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_millis(250);
/// A change waits for the disk.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(2);
/// A snapshot and landmarks take longer.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(10);

/// A way to the layer. Who has one has all of [`Alm`].
pub(crate) trait Ask: Send + Sync + 'static {
    /// Calls a method and decodes its answer.
    fn ask<A: Message + Default + 'static>(
        &self,
        method: u16,
        question: impl Message + 'static,
        timeout: Duration,
    ) -> Answer<A>;
}

impl<T: Ask> Alm for T {
    fn add(&self, edges: Vec<Edge>) -> Answer<()> {
        self.add_to(0, edges)
    }

    fn reinforce(&self, edges: Vec<Edge>) -> Answer<()> {
        self.reinforce_in(0, edges)
    }

    fn remove(&self, edges: Vec<Edge>) -> Answer<()> {
        self.remove_from(0, edges)
    }

    fn add_to(&self, pool: PoolId, edges: Vec<Edge>) -> Answer<()> {
        tell(self, method::alm::ADD, pool, edges)
    }

    fn reinforce_in(&self, pool: PoolId, edges: Vec<Edge>) -> Answer<()> {
        tell(self, method::alm::REINFORCE, pool, edges)
    }

    fn remove_from(&self, pool: PoolId, edges: Vec<Edge>) -> Answer<()> {
        tell(self, method::alm::REMOVE, pool, edges)
    }

    fn neighbours(&self, node: Vec<u8>, limit: u32) -> Answer<Vec<Edge>> {
        let question = pb::AlmNeighboursRequest {
            node,
            limit,
            ..Default::default()
        };
        let answer = self.ask::<pb::AlmEdges>(method::alm::NEIGHBOURS, question, ANSWER_TIMEOUT);
        then(answer, |found| found.edges.into_iter().map(edge).collect())
    }

    fn best_path(&self, from: Vec<u8>, to: Vec<u8>, hops_max: u32) -> Answer<Option<Path>> {
        self.path(PathQuery {
            from,
            to,
            hops_max,
            ..PathQuery::default()
        })
    }

    fn path(&self, query: PathQuery) -> Answer<Option<Path>> {
        let question = path_message(query, 0);
        let answer = self.ask::<pb::AlmPath>(method::alm::BEST_PATH, question, ANSWER_TIMEOUT);
        or_none(then(answer, path))
    }

    fn best_paths(&self, query: PathQuery, count: u32) -> Answer<Vec<Path>> {
        let question = path_message(query, count);
        let answer = self.ask::<pb::AlmPaths>(method::alm::BEST_PATHS, question, ANSWER_TIMEOUT);
        let paths = or_none(then(answer, |found| {
            found.paths.into_iter().map(path).collect()
        }));
        then(paths, Option::unwrap_or_default)
    }

    fn associates(&self, query: AssociatesQuery) -> Answer<Associates> {
        let question = pb::AlmAssociatesRequest {
            node: query.node,
            limit: query.limit,
            pool_id: query.pool,
            filter: filter_message(query.filter),
            spread: query.spread,
            restart: query.restart,
            error: query.error,
            work: query.work,
        };
        let answer =
            self.ask::<pb::AlmAssociates>(method::alm::ASSOCIATES, question, ANSWER_TIMEOUT);
        then(answer, |found| Associates {
            list: found
                .list
                .into_iter()
                .map(|one| (one.node, one.score))
                .collect(),
            bound: found.bound,
            looked: found.looked,
            cut: found.cut,
        })
    }

    fn observe(&self, pool_id: PoolId, keys: Vec<Vec<u8>>) -> Answer<()> {
        let group = pb::AlmGroup { keys, pool_id };
        self.ask(method::alm::OBSERVE, group, CHANGE_TIMEOUT)
    }

    fn predict(&self, pool_id: PoolId, key: Vec<u8>, limit: u32) -> Answer<Vec<Prediction>> {
        let question = pb::AlmPredictRequest {
            key,
            limit,
            pool_id,
        };
        let answer = self.ask::<pb::AlmPredictions>(method::alm::PREDICT, question, ANSWER_TIMEOUT);
        then(answer, |found| {
            let list = found.list.into_iter();
            list.map(|one| Prediction {
                key: one.key,
                share: one.share,
                together: one.together,
            })
            .collect()
        })
    }

    fn pool_set(&self, pool: Pool) -> Answer<()> {
        self.ask(method::alm::POOL_SET, pool_message(pool), CHANGE_TIMEOUT)
    }

    fn pool_drop(&self, pool: PoolId) -> Answer<()> {
        self.ask(method::alm::POOL_DROP, named(pool), CHANGE_TIMEOUT)
    }

    fn pools(&self) -> Answer<Vec<Pool>> {
        let answer = self.ask::<pb::AlmPools>(method::alm::POOLS, named(0), ANSWER_TIMEOUT);
        then(answer, |found| found.pools.into_iter().map(pool).collect())
    }

    fn prepare(&self, pool: PoolId) -> Answer<()> {
        self.ask(method::alm::PREPARE, named(pool), SNAPSHOT_TIMEOUT)
    }

    fn rank(&self, from: Vec<u8>, candidates: Vec<Vec<u8>>) -> Answer<Vec<Ranked>> {
        let question = pb::AlmRankRequest {
            from,
            candidates,
            pool_id: 0,
        };
        let answer = self.ask::<pb::AlmRanking>(method::alm::RANK, question, ANSWER_TIMEOUT);
        Box::pin(async move {
            let ranked = answer.await?.ranked.into_iter();
            Ok(ranked
                .map(|one| Ranked {
                    node: one.node,
                    known: one.known,
                    cost: one.cost,
                })
                .collect())
        })
    }

    fn stats(&self) -> Answer<Stats> {
        // The question has no fields.
        self.ask(method::alm::STATS, pb::AlmEdges::default(), ANSWER_TIMEOUT)
    }

    fn snapshot(&self) -> Answer<()> {
        self.ask(
            method::alm::SNAPSHOT,
            pb::AlmEdges::default(),
            SNAPSHOT_TIMEOUT,
        )
    }
}

fn tell(to: &impl Ask, method: u16, pool_id: PoolId, edges: Vec<Edge>) -> Answer<()> {
    let edges = edges.into_iter().map(edge_message).collect();
    to.ask(method, pb::AlmEdges { edges, pool_id }, CHANGE_TIMEOUT)
}

/// The message of an answer's body.
pub(crate) fn decode<A: Message + Default>(body: impl bytes::Buf) -> Result<A, AlmError> {
    A::decode(body).map_err(|error| AlmError::Refused {
        status: Status::BAD_BODY,
        text: error.to_string(),
    })
}

/// An answer with something done to what it holds.
fn then<A: 'static, B>(answer: Answer<A>, with: impl FnOnce(A) -> B + Send + 'static) -> Answer<B> {
    Box::pin(async move { answer.await.map(with) })
}

/// "There is none" is an answer, not an error.
fn or_none<A: 'static>(answer: Answer<A>) -> Answer<Option<A>> {
    Box::pin(async move {
        match answer.await {
            Ok(found) => Ok(Some(found)),
            Err(AlmError::Refused {
                status: Status::NOT_FOUND,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    })
}

fn named(pool_id: PoolId) -> pb::AlmPool {
    pb::AlmPool {
        pool_id,
        ..Default::default()
    }
}

fn path_message(query: PathQuery, paths: u32) -> pb::AlmPathRequest {
    pb::AlmPathRequest {
        from: query.from,
        to: query.to,
        hops_max: query.hops_max,
        pool_id: query.pool,
        filter: filter_message(query.filter),
        paths,
    }
}
