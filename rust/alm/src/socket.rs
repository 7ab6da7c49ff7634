//! The layer behind its Unix socket.

use std::path::Path as FsPath;
use std::time::Duration;

use mfn_local::{BreakerOptions, CallError, ConnectOptions, Pool, PoolOptions, Request};
use mfn_wire::{Service, Status, method, pb};
use prost::Message;

use crate::{Alm, AlmError, Answer, Edge, Path, Ranked, Stats};

/// How long an answer may take. Advice that comes later is worth less than going on without it.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(250);
/// A snapshot waits for the disk.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(10);
/// Asks `almd`. Cheap to clone. Connects when first asked, and again after the connection was lost.
#[derive(Clone, Debug)]
pub struct SocketAlm {
    pool: Pool,
}

impl SocketAlm {
    /// The layer at that socket. Nothing is opened yet.
    pub fn new(path: &FsPath) -> Self {
        let options = PoolOptions {
            connect: ConnectOptions {
                timeout: ANSWER_TIMEOUT,
                ..ConnectOptions::default()
            },
            breaker: BreakerOptions {
                slow_from: ANSWER_TIMEOUT / 2,
                ..BreakerOptions::default()
            },
            ..PoolOptions::new(Service::Alm, path)
        };
        Self {
            pool: Pool::new(options),
        }
    }

    /// Its connections and breakers.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    fn ask<A: Message + Default>(
        &self,
        method: u16,
        question: impl Message + 'static,
        timeout: Duration,
    ) -> Answer<A> {
        let pool = self.pool.clone();
        Box::pin(async move {
            let request = Request::message(&question).within(timeout);
            let reply = pool
                .call(method, request)
                .await
                .map_err(|error| match error {
                    CallError::Failed { status, text } => AlmError::Refused { status, text },
                    other => AlmError::Away(other.to_string()),
                })?;
            A::decode(reply.body).map_err(|error| AlmError::Refused {
                status: Status::BAD_BODY,
                text: error.to_string(),
            })
        })
    }

    fn tell(&self, method: u16, edges: Vec<Edge>) -> Answer<()> {
        let edges = edges
            .into_iter()
            .map(|edge| pb::AlmEdge {
                from: edge.from,
                to: edge.to,
                strength: edge.strength,
            })
            .collect();
        self.ask(method, pb::AlmEdges { edges }, ANSWER_TIMEOUT)
    }
}

impl Alm for SocketAlm {
    fn add(&self, edges: Vec<Edge>) -> Answer<()> {
        self.tell(method::alm::ADD, edges)
    }

    fn reinforce(&self, edges: Vec<Edge>) -> Answer<()> {
        self.tell(method::alm::REINFORCE, edges)
    }

    fn remove(&self, edges: Vec<Edge>) -> Answer<()> {
        self.tell(method::alm::REMOVE, edges)
    }

    fn neighbours(&self, node: Vec<u8>, limit: u32) -> Answer<Vec<Edge>> {
        let question = pb::AlmNeighboursRequest { node, limit };
        let answer = self.ask::<pb::AlmEdges>(method::alm::NEIGHBOURS, question, ANSWER_TIMEOUT);
        Box::pin(async move {
            let edges = answer.await?.edges.into_iter();
            Ok(edges
                .map(|edge| Edge {
                    from: edge.from,
                    to: edge.to,
                    strength: edge.strength,
                })
                .collect())
        })
    }

    fn best_path(&self, from: Vec<u8>, to: Vec<u8>, hops_max: u32) -> Answer<Option<Path>> {
        let question = pb::AlmPathRequest { from, to, hops_max };
        let answer = self.ask::<pb::AlmPath>(method::alm::BEST_PATH, question, ANSWER_TIMEOUT);
        Box::pin(async move {
            match answer.await {
                Ok(path) => Ok(Some(Path {
                    nodes: path.nodes,
                    strength: path.strength,
                    cost: path.cost,
                })),
                Err(AlmError::Refused {
                    status: Status::NOT_FOUND,
                    ..
                }) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn rank(&self, from: Vec<u8>, candidates: Vec<Vec<u8>>) -> Answer<Vec<Ranked>> {
        let question = pb::AlmRankRequest { from, candidates };
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
