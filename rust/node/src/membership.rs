//! Who may do what: the node's answer to the transport's questions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ed25519_dalek::SigningKey;
use hypermesh_id::NodeId;
use stoq::{Admission, Refusal};
use stoq_proto::{Invitation, MemberRecord};

use crate::peers::{KnownPeer, PeerBook, PeersError, Source};

/// The peer book as the transport sees it.
#[derive(Clone)]
pub(crate) struct Membership {
    pub(crate) me: NodeId,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) book: Arc<PeerBook>,
    /// Called with peers that were not known before.
    pub(crate) learned: tokio::sync::mpsc::UnboundedSender<(NodeId, Vec<SocketAddr>)>,
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
    /// Remembers a peer, and has it dialled. A peer whose record cannot be kept is not used either.
    pub(crate) fn learn(
        &self,
        node: NodeId,
        addresses: Vec<SocketAddr>,
        source: Source,
        introduced_by: Option<NodeId>,
    ) -> Result<bool, PeersError> {
        let new = self.book.learn(KnownPeer {
            node,
            addresses: addresses.clone(),
            source,
            introduced_by,
        })?;
        if node != self.me {
            // The receiver lives as long as the transport; without it nobody dials.
            let _ = self.learned.send((node, addresses));
        }
        Ok(new)
    }
}

impl Admission for Membership {
    fn is_member(&self, node: &NodeId) -> bool {
        self.book.is_member(node)
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
        // As above.
        let _ = self.learned.send((*joiner, addresses.to_vec()));
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
        for record in records
            .into_iter()
            .filter(|record| record.issuer == *from && record.subject != self.me)
        {
            match self.learn(
                record.subject,
                record.addresses,
                Source::Introduced,
                Some(*from),
            ) {
                Ok(true) => {
                    tracing::info!(node = %record.subject, by = %from, "a node was introduced")
                }
                Ok(false) => {}
                Err(error) => {
                    return tracing::warn!(by = %from, %error, "an introduction was not kept");
                }
            }
        }
    }
}
