//! What this node can prove against voters, and that the mesh decides it: whoever said two things where it may say one loses
//! its vote without anybody's help.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use hypermesh_consensus::{DecodeError, Evidence, Height};
use hypermesh_id::NodeId;
use hypermesh_registry::{State, TransactionId};

/// Proofs that are kept in all, and of one culprit: an old one does not count for ever, so the last few are.
const KEPT_MAX: usize = 256;
const KEPT_OF_ONE: usize = 4;

/// Proofs against voters, and which of them this node brought forward.
#[derive(Debug, Default)]
pub(crate) struct Accuser {
    evidence: Arc<Vec<Evidence>>,
    /// Those that were brought forward since the start: one that was decided is not brought again, whatever became of it.
    brought: HashMap<(NodeId, Height), TransactionId>,
}

impl Accuser {
    /// Reads what [`Self::add`] had kept.
    ///
    /// # Errors
    /// Names the rule that the bytes break.
    pub(crate) fn from_bytes(mut bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut evidence = Vec::new();
        while let [a, b, c, d, rest @ ..] = bytes {
            let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
            let (one, others) = rest.split_at(length.min(rest.len()));
            evidence.push(Evidence::decode(one)?);
            bytes = others;
        }
        Ok(Self {
            evidence: Arc::new(evidence),
            brought: HashMap::new(),
        })
    }

    /// Each its length in 4 bytes, and itself.
    fn to_bytes(&self) -> Bytes {
        let mut all = Vec::new();
        for evidence in self.evidence.iter() {
            let start = all.len() + 4;
            all.extend([0; 4]);
            evidence.encode(&mut all);
            let length = (all.len() - start) as u32;
            all[start - 4..start].copy_from_slice(&length.to_le_bytes());
        }
        all.into()
    }

    pub(crate) fn all(&self) -> Arc<Vec<Evidence>> {
        Arc::clone(&self.evidence)
    }

    /// Takes a proof in. Answers the bytes to keep, if it is news.
    pub(crate) fn add(&mut self, evidence: Evidence, state: &State) -> Option<Bytes> {
        let culprit = evidence.culprit();
        let of_it = || self.evidence.iter().filter(|one| one.culprit() == culprit);
        let has = of_it().any(|one| one.height() == evidence.height());
        // One proof of what is decided is enough.
        let is_old = state.conviction(&culprit).is_some() && of_it().next().is_some();
        if has || is_old {
            return None;
        }
        let too_many = of_it().count() >= KEPT_OF_ONE;
        let mut all = (*self.evidence).clone();
        if too_many && let Some(oldest) = all.iter().position(|one| one.culprit() == culprit) {
            let gone = all.remove(oldest);
            self.brought.remove(&(culprit, gone.height()));
        }
        if all.len() >= KEPT_MAX {
            return None;
        }
        all.push(evidence);
        self.evidence = Arc::new(all);
        Some(self.to_bytes())
    }

    /// The proofs that `me` has to bring forward now: the newest of each culprit that is not convicted. None unless `me` votes;
    /// others would only repeat it.
    pub(crate) fn due(&self, state: &State, me: &NodeId) -> Vec<Evidence> {
        if self.evidence.is_empty() || !state.voters().contains(me) {
            return Vec::new();
        }
        let mut newest: HashMap<NodeId, &Evidence> = HashMap::new();
        for one in self.evidence.iter() {
            newest.insert(one.culprit(), one);
        }
        newest
            .into_values()
            .filter(|one| one.culprit() != *me && state.conviction(&one.culprit()).is_none())
            .filter(|one| !self.waits_or_ruled(one))
            .cloned()
            .collect()
    }

    /// Whether one that was brought forward, of this culprit, is on its way or ruled upon.
    fn waits_or_ruled(&self, evidence: &Evidence) -> bool {
        self.brought
            .contains_key(&(evidence.culprit(), evidence.height()))
    }

    /// One was brought forward.
    pub(crate) fn waits(&mut self, accused: (NodeId, Height), id: TransactionId) {
        self.brought.insert(accused, id);
    }

    /// What waited will not be decided: it has to be brought forward again.
    pub(crate) fn dropped(&mut self, id: &TransactionId) {
        self.brought.retain(|_, brought| brought != id);
    }
}
