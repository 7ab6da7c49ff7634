//! The endpoint as the scheduler asks it: who is connected, who has a block, one transfer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hypermesh_id::{BlockId, NodeId};
use mfn_local::{BoxFuture, Failure};
use mfn_wire::Status;
use stoq::{Endpoint, Fetch, FetchError, FetchReport};

use crate::adviser::Link;
use crate::doors::{Intake, Intakes, Network, Trouble};

/// The endpoint of this process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Direct {
    pub(crate) endpoint: Endpoint,
    /// Where what is fetched goes.
    pub(crate) state: Arc<dyn Intakes>,
}

impl Network for Direct {
    fn connected(
        &self,
        chosen: Vec<NodeId>,
        wait: Duration,
    ) -> BoxFuture<Result<Vec<Link>, Failure>> {
        Box::pin(connected(self.endpoint.clone(), chosen, wait))
    }

    fn holders(
        &self,
        asked: Vec<NodeId>,
        block: BlockId,
    ) -> BoxFuture<Result<Vec<NodeId>, Failure>> {
        let endpoint = self.endpoint.clone();
        Box::pin(async move {
            let answers: BTreeMap<NodeId, Vec<bool>> = endpoint
                .who_has(&asked, &[block])
                .await
                .into_iter()
                .collect();
            let has = |node: &NodeId| answers.get(node).is_some_and(|has| has.contains(&true));
            Ok(asked.into_iter().filter(has).collect())
        })
    }

    fn fetch(
        &self,
        session: u64,
        providers: Vec<NodeId>,
        observe: Arc<dyn Fn(&FetchReport) + Send + Sync>,
    ) -> BoxFuture<Result<FetchReport, Failure>> {
        let this = self.clone();
        Box::pin(async move {
            let Intake {
                wants,
                sink,
                trouble,
            } = this.state.intake(session)?;
            let fetch = Fetch {
                providers,
                wants,
                sink,
            };
            let fetched = this.endpoint.fetch(fetch, |report| observe(report)).await;
            fetched.map_err(|error| fetch_failure(error, &trouble))
        })
    }
}

async fn connected(
    endpoint: Endpoint,
    chosen: Vec<NodeId>,
    wait: Duration,
) -> Result<Vec<Link>, Failure> {
    let until = Instant::now().checked_add(wait);
    let mut changes = endpoint.changes();
    let is_chosen = |node: &NodeId| chosen.is_empty() || chosen.contains(node);
    loop {
        let peers = endpoint.peers();
        let links: Vec<Link> = peers
            .iter()
            .filter(|peer| peer.connected && is_chosen(&peer.node))
            .map(|peer| Link {
                peer: peer.node,
                round_trip: peer.rtt,
            })
            .collect();
        if !links.is_empty() {
            return Ok(links);
        }
        if !peers.iter().any(|peer| is_chosen(&peer.node)) {
            let text = "this node knows no such peer; `hypermesh join` makes it a member of a mesh";
            return Err(Failure::new(Status::UNREACHABLE, text));
        }
        let left = until.map_or(Duration::MAX, |until| {
            until.saturating_duration_since(Instant::now())
        });
        let changed = tokio::time::timeout(left, changes.changed()).await;
        if !matches!(changed, Ok(Ok(()))) {
            let text = format!(
                "no peer was connected within {}; `hypermesh peers` says why",
                crate::units::format_duration(wait)
            );
            return Err(Failure::new(Status::UNREACHABLE, text));
        }
    }
}

fn fetch_failure(error: FetchError, trouble: &Trouble) -> Failure {
    let status = match &error {
        FetchError::NoProviders { .. } => Status::UNREACHABLE,
        FetchError::Local(_) | FetchError::Wants(_) => {
            trouble.take().map_or(Status::IO, |failure| failure.status)
        }
        _ => Status::CLOSED,
    };
    if status == Status::CORRUPT {
        // Nothing of it can ever be used.
        return Failure::new(status, error.to_string());
    }
    Failure::new(status, format!("{error}; what arrived is kept"))
}
