//! Gets blocks from peers into the store: asks who has them, and has the transport bring them to a session of state.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hypermesh_id::{BlockId, NodeId};
use mfn_local::{BoxFuture, Failure};
use mfn_wire::{Status, pb};
use stoq::{FetchReport, ProviderBytes};
use tokio::sync::oneshot;

use crate::adviser::{Adviser, Link};
use crate::doors::{Fetches, Network, Order, Part, Received, Receives, Watcher};
use crate::receive::fetch_progress;
use crate::serving::End;

/// Fetches; one for all components. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Fetcher {
    pub(crate) state: Arc<dyn Receives>,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) adviser: Adviser,
    /// How long to wait for a first connected peer.
    pub(crate) peer_wait: Duration,
    /// Whether blocks may come as deltas.
    pub(crate) deltas: bool,
}

/// Who may be asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Providers {
    /// Nobody for every connected peer.
    pub(crate) chosen: Vec<NodeId>,
    /// Only those that are connected now.
    pub(crate) at_once: bool,
}

impl Fetcher {
    /// Gets everything that an order wants. Dropped, it ends; what arrived is kept.
    pub(crate) async fn get(
        &self,
        order: Order,
        from: Providers,
        watcher: Option<Arc<dyn Watcher>>,
    ) -> Result<(FetchReport, Received), Failure> {
        let first = order.target.first();
        let (opened, session) = oneshot::channel();
        let mut receiving = self.state.receive(order, opened, watcher.clone());
        let session = tokio::select! {
            biased;
            // Everything is here, or nothing can be done.
            received = &mut receiving => return received.map(|received| (FetchReport::default(), received)),
            Ok(session) = session => session,
        };
        let fetching = async {
            let providers = self.providers(first, &from).await?;
            let totals = session.totals.clone();
            let mut learning = Learning {
                adviser: self.adviser.clone(),
                providers: Arc::default(),
                end: End::Cancelled,
            };
            let seen = Arc::clone(&learning.providers);
            let observe = move |report: &FetchReport| {
                if let Some(watcher) = &watcher {
                    watcher.report(fetch_progress(report, *totals.borrow()));
                }
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.clone_from(&report.providers);
            };
            let fetched = self
                .network
                .fetch(session.session, providers, Arc::new(observe))
                .await;
            learning.end = End::Ended;
            drop(learning);
            // At once: who asks next is not to be sent to a liar again. Without links there is nothing to tell.
            if let Ok(links) = self.network.connected(Vec::new(), Duration::ZERO).await {
                self.adviser.tell(&links).await;
            }
            fetched
        };
        let fetched = tokio::select! {
            fetched = fetching => fetched,
            early = &mut receiving => {
                let ended = || Failure::new(Status::INTERNAL, "a session ended before its fetch");
                return Err(early.err().unwrap_or_else(ended));
            }
        };
        let told = self.state.received(session.session, fetched.is_ok()).await;
        if let Err(failure) = told {
            return Err(fetched.err().unwrap_or(failure));
        }
        let received = receiving.await;
        Ok((fetched?, received?))
    }

    /// Peers that have the block, the one to prefer first.
    async fn providers(&self, first: BlockId, from: &Providers) -> Result<Vec<NodeId>, Failure> {
        let wait = if from.at_once {
            Duration::ZERO
        } else {
            self.peer_wait
        };
        let links = self.network.connected(from.chosen.clone(), wait).await?;
        let asked: Vec<NodeId> = links.iter().map(|link| link.peer).collect();
        let count = asked.len();
        let holders = self.network.holders(asked, first).await?;
        let having: Vec<Link> = links
            .into_iter()
            .filter(|link| holders.contains(&link.peer))
            .collect();
        if having.is_empty() {
            let text = format!(
                "none of the {count} connected peers has block {first}; connect the node that has it (`hypermesh peers` shows who is away)",
            );
            return Err(Failure::new(Status::UNREACHABLE, text));
        }
        Ok(self.adviser.rank(having).await)
    }
}

/// Tells the adviser what providers did when it is dropped: a fetch whose caller goes away ends without a word.
struct Learning {
    adviser: Adviser,
    providers: Arc<Mutex<Vec<ProviderBytes>>>,
    end: End,
}

impl Drop for Learning {
    fn drop(&mut self) {
        let providers = self
            .providers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.adviser.served(&providers, self.end);
    }
}

impl Fetches for Fetcher {
    fn fetch(&self, part: Part) -> BoxFuture<Result<u64, Failure>> {
        let this = self.clone();
        Box::pin(async move {
            let order = Order {
                target: part.target,
                destination: None,
                budget: part.budget,
            };
            let from = Providers {
                chosen: Vec::new(),
                at_once: part.at_once,
            };
            let (report, _) = this.get(order, from, None).await?;
            Ok(report.content_bytes)
        })
    }
}

pub(crate) fn provider_bytes(report: &FetchReport) -> Vec<pb::ProviderBytes> {
    report
        .providers
        .iter()
        .map(|provider| pb::ProviderBytes {
            node_id: provider.node.to_string(),
            bytes: provider.bytes,
            blocks: provider.blocks,
            state: provider.state.clone(),
            failures: provider.failures,
            rate: provider.rate,
            dropped: provider.dropped,
        })
        .collect()
}
