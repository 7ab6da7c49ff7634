//! What the consensus component tells peers and hears of them: the transport's end of that door, in its process.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hypermesh_id::NodeId;
use mfn_local::{BoxFuture, Failure};
use mfn_wire::Status;
use stoq::{Endpoint, StoqError, Told};
use stoq_proto::Invitation;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use crate::answer::invalid;
use crate::doors::{Gossip, Heard, Joined, Ordered, Peers, Tell};
use crate::membership::Membership;
use crate::peers::{KnownPeer, PeersError, Source};

/// What was heard and waits to be taken by the consensus component. What is told beyond that stays with its teller.
const HEARD_MAX: usize = 256;

/// The transport as consensus sees it.
pub(crate) struct Direct {
    pub(crate) me: NodeId,
    pub(crate) endpoint: Endpoint,
    pub(crate) membership: Membership,
    /// Where others reach this node.
    pub(crate) advertised: Vec<SocketAddr>,
    told: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Told>>>,
    /// Counts who wanted to hear: a newer one takes the older one's place.
    listeners: watch::Sender<u64>,
    runtime: Handle,
}

impl Direct {
    /// To be made on the transport's runtime.
    pub(crate) fn new(
        me: NodeId,
        endpoint: Endpoint,
        membership: Membership,
        advertised: Vec<SocketAddr>,
        told: mpsc::UnboundedReceiver<Told>,
    ) -> Self {
        Self {
            me,
            endpoint,
            membership,
            advertised,
            told: Arc::new(tokio::sync::Mutex::new(told)),
            listeners: watch::channel(0).0,
            runtime: Handle::current(),
        }
    }

    /// Redeems an invitation and remembers whom its issuer introduces.
    pub(crate) async fn redeem(&self, text: &str) -> Result<Joined, Failure> {
        let invitation: Invitation = text.trim().parse().map_err(invalid)?;
        if invitation.issuer == self.me {
            return Err(invalid(
                "this node wrote the invitation itself: run join on the other machine",
            ));
        }
        let joined = self.endpoint.join(&invitation, &self.advertised).await;
        let joined = joined.map_err(|error| {
            let status = match &error {
                StoqError::Refused { .. } => Status::DENIED,
                _ => Status::UNREACHABLE,
            };
            Failure::new(status, error.to_string())
        })?;
        let issuer = invitation.issuer;
        let inviter = KnownPeer {
            node: issuer,
            addresses: invitation.addresses,
            source: Source::Inviter,
            introduced_by: None,
        };
        let others: Vec<KnownPeer> = joined
            .records
            .into_iter()
            .filter(|record| record.issuer == issuer && record.subject != self.me)
            .map(|record| KnownPeer {
                node: record.subject,
                addresses: record.addresses,
                source: Source::Introduced,
                introduced_by: Some(issuer),
            })
            .collect();
        let introduced = u32::try_from(others.len()).unwrap_or(u32::MAX);
        let membership = self.membership.clone();
        let learned = tokio::task::spawn_blocking(move || {
            membership.learn(std::iter::once(inviter).chain(others))
        });
        kept(learned.await)?;
        Ok(Joined {
            issuer,
            introduced,
            genesis: joined.mesh,
        })
    }
}

fn peers(endpoint: &Endpoint, membership: &Membership, advertised: &[SocketAddr]) -> Peers {
    let connected = endpoint.peers().into_iter().filter(|peer| peer.connected);
    let book = membership.book.all().into_iter();
    Peers {
        connected: connected.map(|peer| peer.node).collect(),
        invited: book
            .filter(|peer| peer.source == Source::Invited)
            .map(|peer| (peer.node, peer.addresses))
            .collect(),
        own: advertised.to_vec(),
    }
}

impl Gossip for Direct {
    fn tell(&self, tells: Vec<Tell>) {
        for tell in tells {
            if tell.to.is_empty() {
                self.endpoint.tell_all(tell.class, &tell.content);
            }
            for node in &tell.to {
                self.endpoint.tell(node, tell.class, tell.content.clone());
            }
        }
    }

    fn hear(&self) -> BoxFuture<Result<mpsc::Receiver<Heard>, Failure>> {
        let (to, heard) = mpsc::channel(HEARD_MAX);
        self.listeners.send_modify(|count| *count += 1);
        let mut listeners = self.listeners.subscribe();
        let told = Arc::clone(&self.told);
        let (endpoint, membership) = (self.endpoint.clone(), self.membership.clone());
        let advertised = self.advertised.clone();
        let pump = async move {
            let mut changes = endpoint.changes();
            let mut book = membership.changed.subscribe();
            let mut last = None;
            let mut told = told.lock().await;
            loop {
                let now = peers(&endpoint, &membership, &advertised);
                if last.as_ref() != Some(&now) {
                    last = Some(now.clone());
                    if to.send(Heard::Peers(now)).await.is_err() {
                        return;
                    }
                }
                loop {
                    tokio::select! {
                        biased;
                        _ = listeners.changed() => return,
                        () = to.closed() => return,
                        _ = changes.changed() => break,
                        _ = book.changed() => break,
                        one = told.recv() => {
                            let Some(one) = one else { return };
                            if to.send(Heard::Told(one.into())).await.is_err() {
                                return;
                            }
                        }
                    }
                }
            }
        };
        self.runtime.spawn(pump);
        Box::pin(std::future::ready(Ok(heard)))
    }

    fn order(&self, ordered: Ordered) -> BoxFuture<Result<(), Failure>> {
        let membership = self.membership.clone();
        let endpoint = self.endpoint.clone();
        Box::pin(async move {
            let removed = tokio::task::spawn_blocking(move || membership.ordered_is(ordered));
            let removed = removed
                .await
                .map_err(|_| Failure::new(Status::INTERNAL, "a blocking call failed"))?;
            for node in removed {
                endpoint.remove_peer(&node);
            }
            Ok(())
        })
    }

    fn join(&self, text: String) -> BoxFuture<Result<Joined, Failure>> {
        let this = Self {
            told: Arc::clone(&self.told),
            endpoint: self.endpoint.clone(),
            membership: self.membership.clone(),
            advertised: self.advertised.clone(),
            listeners: self.listeners.clone(),
            runtime: self.runtime.clone(),
            me: self.me,
        };
        // On the transport's runtime, whose disk and sockets it uses.
        let joining = self.runtime.spawn(async move { this.redeem(&text).await });
        Box::pin(async move {
            let joined = joining.await;
            joined.unwrap_or_else(|_| Err(Failure::new(Status::INTERNAL, "joining failed")))
        })
    }
}

/// What became of a change of the peer book that was made off the component's thread.
pub(crate) fn kept<T>(
    changed: Result<Result<T, PeersError>, tokio::task::JoinError>,
) -> Result<T, Failure> {
    let changed = changed.map_err(|_| Failure::new(Status::INTERNAL, "a blocking call failed"))?;
    changed.map_err(|error| {
        let status = match &error {
            PeersError::Unknown => Status::NOT_FOUND,
            PeersError::Configured => Status::CONFLICT,
            PeersError::TooManyPeers(_) | PeersError::TooManySpent => Status::LIMIT,
            _ => Status::IO,
        };
        Failure::new(status, error.to_string())
    })
}

/// Who belongs by what is decided, as the transport keeps it.
#[derive(Debug, Default)]
pub(crate) struct OrderedMembers {
    members: BTreeMap<NodeId, Vec<SocketAddr>>,
    removed: BTreeSet<NodeId>,
    genesis: Bytes,
}

/// Shared between the admission and the door.
#[derive(Clone, Debug, Default)]
pub(crate) struct OrderedView(Arc<Mutex<OrderedMembers>>);

impl OrderedView {
    fn with<T>(&self, look: impl FnOnce(&mut OrderedMembers) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set(&self, ordered: Ordered) {
        self.with(|view| {
            *view = OrderedMembers {
                members: ordered.members.into_iter().collect(),
                removed: ordered.removed.into_iter().collect(),
                genesis: ordered.genesis,
            }
        });
    }

    /// Whether it belongs; none: nothing is decided about it.
    pub(crate) fn says(&self, node: &NodeId) -> Option<bool> {
        self.with(|view| match view.removed.contains(node) {
            true => Some(false),
            false => view.members.contains_key(node).then_some(true),
        })
    }

    pub(crate) fn members(&self) -> BTreeMap<NodeId, Vec<SocketAddr>> {
        self.with(|view| view.members.clone())
    }

    pub(crate) fn genesis(&self) -> Bytes {
        self.with(|view| view.genesis.clone())
    }
}
