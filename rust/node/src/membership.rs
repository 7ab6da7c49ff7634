//! Who may do what: the node's answer to the transport's questions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use hypermesh_id::NodeId;
use stoq::{Admission, Endpoint, Refusal};
use stoq_proto::{Invitation, MemberRecord};
use tokio::sync::watch;

use crate::doors::Ordered;
use crate::gossip::OrderedView;
use crate::peers::{KnownPeer, PeerBook, PeersError, Source};

/// The peer book as the transport sees it.
#[derive(Clone)]
pub(crate) struct Membership {
    pub(crate) me: NodeId,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) book: Arc<PeerBook>,
    /// Who belongs by what the mesh has decided.
    pub(crate) ordered: OrderedView,
    /// Rings when the book, or what is decided, has changed.
    pub(crate) changed: watch::Sender<()>,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership")
            .field("me", &self.me)
            .finish_non_exhaustive()
    }
}

pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

impl Membership {
    /// Remembers peers, and has them dialled; those that were unknown before. A peer whose record cannot be kept is not
    /// used either.
    pub(crate) fn learn(
        &self,
        peers: impl IntoIterator<Item = KnownPeer>,
    ) -> Result<Vec<NodeId>, PeersError> {
        let new = self.book.learn(peers)?;
        self.changed.send_replace(());
        Ok(new)
    }

    /// Takes over what is decided about members. Answers who is to be let go: those that were removed. Waits for the disk.
    pub(crate) fn ordered_is(&self, ordered: Ordered) -> Vec<NodeId> {
        let removed = ordered.removed.clone();
        self.ordered.set(ordered);
        for node in &removed {
            // So that it is refused also while consensus does not run, and others' introductions do not bring it back.
            match self.book.forget(node, unix_seconds()) {
                Ok(()) => tracing::info!(%node, "the mesh removed a member"),
                Err(PeersError::Unknown) => {}
                Err(error) => {
                    tracing::warn!(%node, %error, "a removed member stays in the peer book")
                }
            }
        }
        self.changed.send_replace(());
        removed
    }

    /// Forgets a peer and lets go of it.
    pub(crate) fn forget(&self, node: &NodeId) -> Result<(), PeersError> {
        self.book.forget(node, unix_seconds())?;
        tracing::info!(%node, "a peer was forgotten");
        self.changed.send_replace(());
        Ok(())
    }

    /// Keeps the endpoint's peers those of the book, for ever.
    pub(crate) async fn follow(self, endpoint: Endpoint) {
        let mut changes = self.changed.subscribe();
        let mut kept: BTreeMap<NodeId, Vec<SocketAddr>> = BTreeMap::new();
        loop {
            // What is decided of a member goes before what this node heard of it.
            let mut listed = self.ordered.members();
            listed.remove(&self.me);
            for peer in self.book.all() {
                match self.ordered.says(&peer.node) {
                    Some(false) => {}
                    Some(true) => {
                        let addresses = listed.entry(peer.node).or_default();
                        let more = peer.addresses.into_iter();
                        let news: Vec<_> = more.filter(|one| !addresses.contains(one)).collect();
                        addresses.extend(news);
                    }
                    None => drop(listed.insert(peer.node, peer.addresses)),
                }
            }
            for gone in kept.keys().filter(|node| !listed.contains_key(node)) {
                endpoint.remove_peer(gone);
            }
            for (node, addresses) in &listed {
                if kept.get(node) != Some(addresses) {
                    endpoint.add_peer(*node, addresses.clone());
                }
            }
            kept = listed;
            // The sender lives in this very task.
            let _ = changes.changed().await;
        }
    }
}

impl Admission for Membership {
    fn is_member(&self, node: &NodeId) -> bool {
        let decided = self.ordered.says(node);
        decided.unwrap_or_else(|| self.book.is_member(node))
    }

    fn mesh(&self) -> Bytes {
        self.ordered.genesis()
    }

    fn redeem(
        &self,
        joiner: &NodeId,
        addresses: &[SocketAddr],
        invitation: &Invitation,
    ) -> Result<(), Refusal> {
        let now = unix_seconds();
        if invitation.issuer != self.me {
            return Err(Refusal::new("this invitation was not written by this node"));
        }
        if invitation.expires <= now {
            return Err(Refusal::new(
                "the invitation has expired: ask its issuer for a new one",
            ));
        }
        self.book
            .redeem(
                *joiner,
                addresses,
                invitation.nonce,
                invitation.expires,
                now,
            )
            .map_err(|error| Refusal::new(error.to_string()))?;
        tracing::info!(node = %joiner, "a node joined by invitation");
        self.changed.send_replace(());
        Ok(())
    }

    fn records(&self) -> Vec<MemberRecord> {
        let issued = unix_seconds();
        self.book
            .all()
            .into_iter()
            .filter(|peer| peer.source.is_direct() && !peer.addresses.is_empty())
            .map(|peer| MemberRecord::sign(&self.key, peer.node, peer.addresses, issued))
            .collect()
    }

    fn introduced(&self, from: &NodeId, records: Vec<MemberRecord>) {
        // One hop: only whom we trust ourselves may vouch, and only with its own signature.
        if !self.book.is_direct(from) {
            return;
        }
        let peers = records
            .into_iter()
            .filter(|record| record.issuer == *from)
            .map(|record| KnownPeer {
                node: record.subject,
                addresses: record.addresses,
                source: Source::Introduced,
                introduced_by: Some(*from),
            });
        match self.learn(peers) {
            Ok(new) => {
                for node in new {
                    tracing::info!(%node, by = %from, "a node was introduced");
                }
            }
            Err(error) => tracing::warn!(by = %from, %error, "introductions were not kept"),
        }
    }
}
