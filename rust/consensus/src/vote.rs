//! What voters sign, and the certificates that their signatures make.
//!
//! A signature is over a label that no other use has, the mesh, and fixed fields: it proves one statement of one mesh.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use hypermesh_id::NodeId;
use malachite_types::{NilOrVal, Round, VoteType};

use crate::codec::{DecodeError, Reader, put_count, put_round};
use crate::types::{BlockHash, Height, MeshId, VOTERS_MAX, Voters};

const VOTE_LABEL: &[u8; 16] = b"hypermesh/vote/1";
const PROPOSAL_LABEL: &[u8; 16] = b"hypermesh/prop/1";

/// A signature of Ed25519 (RFC 8032).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sig(pub [u8; 64]);

/// A node as one who signs: the agreement core wants a type of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signer(pub NodeId);

/// A vote for a block, or for none, in one of the two phases of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    pub phase: VoteType,
    pub height: Height,
    pub round: Round,
    pub block: NilOrVal<BlockHash>,
    pub voter: Signer,
}

/// A proposal of a block. `valid_round` is the round in which a quorum voted for it before, if it comes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub height: Height,
    pub round: Round,
    pub block: BlockHash,
    pub valid_round: Round,
    pub proposer: Signer,
}

impl Vote {
    /// What is signed: 16 bytes of label, 32 of mesh, then the vote's own.
    pub fn sign_bytes(&self, mesh: &MeshId) -> Vec<u8> {
        let mut bytes = VOTE_LABEL.to_vec();
        bytes.extend(mesh.0);
        self.encode(&mut bytes);
        bytes
    }

    /// Phase (1 prevote, 2 precommit), height, round + 1, 1 and the hash or 0 for none, voter.
    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        to.push(phase_number(self.phase));
        to.extend(self.height.0.to_le_bytes());
        put_round(to, self.round);
        put_choice(to, &self.block);
        to.extend(self.voter.0.0);
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            phase: phase(from)?,
            height: from.height()?,
            round: from.round()?,
            block: choice(from)?,
            voter: Signer(from.node()?),
        })
    }
}

pub(crate) fn phase_number(phase: VoteType) -> u8 {
    match phase {
        VoteType::Prevote => 1,
        VoteType::Precommit => 2,
    }
}

pub(crate) fn phase(from: &mut Reader<'_>) -> Result<VoteType, DecodeError> {
    match from.u8("a phase")? {
        1 => Ok(VoteType::Prevote),
        2 => Ok(VoteType::Precommit),
        value => Err(DecodeError::Unknown {
            what: "a phase",
            value: value.into(),
        }),
    }
}

pub(crate) fn put_choice(to: &mut Vec<u8>, block: &NilOrVal<BlockHash>) {
    match block {
        NilOrVal::Nil => to.push(0),
        NilOrVal::Val(hash) => {
            to.push(1);
            to.extend(hash.0);
        }
    }
}

pub(crate) fn choice(from: &mut Reader<'_>) -> Result<NilOrVal<BlockHash>, DecodeError> {
    match from.u8("a choice")? {
        0 => Ok(NilOrVal::Nil),
        1 => from.hash().map(NilOrVal::Val),
        value => Err(DecodeError::Unknown {
            what: "a choice",
            value: value.into(),
        }),
    }
}

impl Proposal {
    /// What is signed: 16 bytes of label, 32 of mesh, then the proposal's own.
    pub fn sign_bytes(&self, mesh: &MeshId) -> Vec<u8> {
        let mut bytes = PROPOSAL_LABEL.to_vec();
        bytes.extend(mesh.0);
        self.encode(&mut bytes);
        bytes
    }

    /// Height, round + 1, hash, valid round + 1, proposer.
    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        to.extend(self.height.0.to_le_bytes());
        put_round(to, self.round);
        to.extend(self.block.0);
        put_round(to, self.valid_round);
        to.extend(self.proposer.0.0);
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            height: from.height()?,
            round: from.round()?,
            block: from.hash()?,
            valid_round: from.round()?,
            proposer: Signer(from.node()?),
        })
    }
}

impl Sig {
    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        from.array("a signature").map(Self)
    }
}

/// A statement with the signature of whom it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed<T> {
    pub statement: T,
    pub signature: Sig,
}

/// How signatures are verified: by [`Ed25519`], except in a simulator, whose voters are no more than a struct each.
pub trait Verify: Clone + Send + Sync + 'static {
    /// Whether this key made this signature over these bytes.
    fn verify(&self, key: &VerifyingKey, bytes: &[u8], signature: &Sig) -> bool;
}

/// How a voter signs.
pub trait Sign: Verify {
    /// This voter.
    fn node(&self) -> NodeId;
    /// Its signature over these bytes.
    fn sign(&self, bytes: &[u8]) -> Sig;
}

/// Verifies as RFC 8032 does, strictly: no signature has a second form, so that two of one statement are no evidence of two
/// statements.
#[derive(Clone, Copy, Debug)]
pub struct Ed25519;

impl Verify for Ed25519 {
    fn verify(&self, key: &VerifyingKey, bytes: &[u8], signature: &Sig) -> bool {
        let signature = Signature::from_bytes(&signature.0);
        key.verify_strict(bytes, &signature).is_ok()
    }
}

/// A voter's key.
#[derive(Clone)]
pub struct Key(pub SigningKey);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key of {}", self.node())
    }
}

impl Verify for Key {
    fn verify(&self, key: &VerifyingKey, bytes: &[u8], signature: &Sig) -> bool {
        Ed25519.verify(key, bytes, signature)
    }
}

impl Sign for Key {
    fn node(&self) -> NodeId {
        NodeId(self.0.verifying_key().to_bytes())
    }
    fn sign(&self, bytes: &[u8]) -> Sig {
        Sig(self.0.sign(bytes).to_bytes())
    }
}

impl Signed<Vote> {
    /// Whether its voter, who is one of these, signed it for this mesh.
    pub fn verifies(&self, mesh: &MeshId, voters: &Voters, by: &impl Verify) -> bool {
        voters.get(&self.statement.voter.0).is_some_and(|voter| {
            by.verify(
                &voter.key,
                &self.statement.sign_bytes(mesh),
                &self.signature,
            )
        })
    }
}

impl Signed<Proposal> {
    /// Whether its proposer, who is one of these, signed it for this mesh.
    pub fn verifies(&self, mesh: &MeshId, voters: &Voters, by: &impl Verify) -> bool {
        voters.get(&self.statement.proposer.0).is_some_and(|voter| {
            by.verify(
                &voter.key,
                &self.statement.sign_bytes(mesh),
                &self.signature,
            )
        })
    }
}

macro_rules! signed_codec {
    ($($name:ty)*) => {$(
        impl Signed<$name> {
            pub(crate) fn encode(&self, to: &mut Vec<u8>) {
                self.statement.encode(to);
                to.extend(self.signature.0);
            }
            pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self { statement: <$name>::decode(from)?, signature: Sig::decode(from)? })
            }
        }
    )*};
}
signed_codec!(Vote Proposal);

/// Precommits of a quorum for one block: the decision, provable to anyone who knows the voters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub height: Height,
    pub round: Round,
    pub block: BlockHash,
    /// By node id, ascending.
    pub signatures: Vec<(NodeId, Sig)>,
}

/// Why a certificate proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    #[error("{signers} of {voters} voters signed, and {quorum} are needed")]
    Few {
        signers: usize,
        voters: usize,
        quorum: usize,
    },
    #[error("{0} signed it, who has no vote")]
    Stranger(NodeId),
    #[error("the signature of {0} is not theirs")]
    Signature(NodeId),
    #[error("its signers are not in order, or one is there twice")]
    Order,
}

impl Certificate {
    /// Checks that a quorum of these voters decided this, for this mesh.
    ///
    /// # Errors
    /// Says what is missing or wrong.
    pub fn verify(
        &self,
        mesh: &MeshId,
        voters: &Voters,
        by: &impl Verify,
    ) -> Result<(), CertificateError> {
        let mut nodes = self.signatures.iter().map(|(node, _)| node);
        if !nodes
            .clone()
            .zip(nodes.by_ref().skip(1))
            .all(|(a, b)| a < b)
        {
            return Err(CertificateError::Order);
        }
        if self.signatures.len() < voters.quorum() {
            return Err(CertificateError::Few {
                signers: self.signatures.len(),
                voters: voters.len(),
                quorum: voters.quorum(),
            });
        }
        for vote in self.votes() {
            let node = vote.statement.voter.0;
            if !voters.contains(&node) {
                return Err(CertificateError::Stranger(node));
            }
            if !vote.verifies(mesh, voters, by) {
                return Err(CertificateError::Signature(node));
            }
        }
        Ok(())
    }

    /// The precommits that it is made of.
    pub fn votes(&self) -> impl Iterator<Item = Signed<Vote>> + '_ {
        self.signatures.iter().map(|(voter, signature)| Signed {
            statement: Vote {
                phase: VoteType::Precommit,
                height: self.height,
                round: self.round,
                block: NilOrVal::Val(self.block),
                voter: Signer(*voter),
            },
            signature: *signature,
        })
    }

    /// Its bytes: height, round + 1, hash, number of signatures, and each with its voter before it.
    pub fn encode(&self, to: &mut Vec<u8>) {
        to.extend(self.height.0.to_le_bytes());
        put_round(to, self.round);
        to.extend(self.block.0);
        put_count(to, self.signatures.len());
        for (node, signature) in &self.signatures {
            to.extend(node.0);
            to.extend(signature.0);
        }
    }

    /// Takes one off the front of bytes. Signatures are not looked at.
    ///
    /// # Errors
    /// Names the rule that the bytes break.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (height, round, block) = (from.height()?, from.round()?, from.hash()?);
        let count = from.count(VOTERS_MAX, 96, "signatures")?;
        let mut signatures: Vec<(NodeId, Sig)> = Vec::with_capacity(count);
        for _ in 0..count {
            let signature = (from.node()?, Sig::decode(from)?);
            if signatures.last().is_some_and(|last| last.0 >= signature.0) {
                return Err(DecodeError::Order("signers"));
            }
            signatures.push(signature);
        }
        Ok(Self {
            height,
            round,
            block,
            signatures,
        })
    }
}
