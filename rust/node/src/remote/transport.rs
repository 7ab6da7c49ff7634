//! The transport in another process.

use std::sync::Arc;
use std::time::Duration;

use hypermesh_id::{BlockId, NodeId};
use mfn_local::{BoxFuture, Failure};
use mfn_wire::{method, pb};
use stoq::FetchReport;

use super::{ANSWER_TIMEOUT, Remote, accepted, messages};
use crate::adviser::Link;
use crate::answer::parse_node;
use crate::doors::Network;

/// How much longer than the wait itself its answer may take.
const BESIDE_THE_WAIT: Duration = Duration::from_secs(10);

impl Network for Remote {
    fn connected(
        &self,
        chosen: Vec<NodeId>,
        wait: Duration,
    ) -> BoxFuture<Result<Vec<Link>, Failure>> {
        let this = self.clone();
        Box::pin(async move {
            let question = pb::ConnectedRequest {
                nodes: messages::node_texts(&chosen),
                wait_ns: u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX),
            };
            let within = wait.saturating_add(BESIDE_THE_WAIT);
            let mut reply: pb::ConnectedReply = this
                .ask(method::transport::CONNECTED, &question, within)
                .await?;
            let refused = reply.refused.take();
            let links = accepted(reply, refused)?.links;
            let link = |link: pb::Link| {
                Ok(Link {
                    peer: parse_node(&link.node_id)?,
                    round_trip: (link.rtt_ns > 0).then(|| Duration::from_nanos(link.rtt_ns)),
                })
            };
            links.into_iter().map(link).collect()
        })
    }

    fn holders(
        &self,
        asked: Vec<NodeId>,
        block: BlockId,
    ) -> BoxFuture<Result<Vec<NodeId>, Failure>> {
        let this = self.clone();
        Box::pin(async move {
            let question = pb::HoldersRequest {
                nodes: messages::node_texts(&asked),
                block: block.0.to_vec(),
            };
            let reply: pb::HoldersReply = this
                .ask(method::transport::HOLDERS, &question, ANSWER_TIMEOUT)
                .await?;
            messages::nodes(&reply.nodes)
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
            let question = pb::FetchRequest {
                session,
                providers: messages::node_texts(&providers),
            };
            let event = |fetched| {
                // One that does not decode says nothing of how far it is.
                if let Ok(report) = messages::report(fetched) {
                    observe(&report);
                }
            };
            let mut reply: pb::Fetched = this
                .stream(method::transport::FETCH, &question, event)
                .await?;
            let refused = reply.refused.take();
            let report = messages::report(reply)?;
            observe(&report);
            accepted(report, refused)
        })
    }
}
