//! Our types as the agreement core wants them: nothing here decides anything.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use ed25519_dalek::{SigningKey, VerifyingKey};
use malachite_signing::{Error, VerificationResult, Verifier};
use malachite_types::{
    Context, LinearTimeouts, NilOrVal, Round, SignedExtension, SigningScheme, ValidatorProof,
    VoteExtensionScope, VoteType,
};

use crate::types::{BlockHash, Height, MeshId, Voter, Voters};
use crate::vote::{Proposal, Sig, Signer, Verify, Vote};

/// The core's types, chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bft;

/// The core knows of parts of blocks, and hands none on: blocks are told whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoPart;

impl malachite_types::ProposalPart<Bft> for NoPart {
    fn is_first(&self) -> bool {
        true
    }
    fn is_last(&self) -> bool {
        true
    }
}

impl malachite_types::Height for Height {
    const ZERO: Self = Height(0);
    const INITIAL: Self = Height(1);
    fn increment_by(&self, count: u64) -> Self {
        Height(self.0.saturating_add(count))
    }
    fn decrement_by(&self, count: u64) -> Option<Self> {
        self.0.checked_sub(count).map(Height)
    }
    fn as_u64(&self) -> u64 {
        self.0
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl malachite_types::Address for Signer {}

impl malachite_types::Value for BlockHash {
    type Id = BlockHash;
    fn id(&self) -> BlockHash {
        *self
    }
}

impl malachite_types::Validator<Bft> for Voter {
    fn address(&self) -> &Signer {
        &self.node
    }
    fn public_key(&self) -> &VerifyingKey {
        &self.key
    }
    fn voting_power(&self) -> u64 {
        1
    }
}

impl malachite_types::ValidatorSet<Bft> for Voters {
    fn count(&self) -> usize {
        self.len()
    }
    fn total_voting_power(&self) -> u64 {
        self.len() as u64
    }
    fn get_by_address(&self, node: &Signer) -> Option<&Voter> {
        self.get(&node.0)
    }
    fn get_by_index(&self, place: usize) -> Option<&Voter> {
        self.at(place)
    }
}

impl malachite_types::Proposal<Bft> for Proposal {
    fn height(&self) -> Height {
        self.height
    }
    fn round(&self) -> Round {
        self.round
    }
    fn value(&self) -> &BlockHash {
        &self.block
    }
    fn take_value(self) -> BlockHash {
        self.block
    }
    fn pol_round(&self) -> Round {
        self.valid_round
    }
    fn validator_address(&self) -> &Signer {
        &self.proposer
    }
}

impl malachite_types::Vote<Bft> for Vote {
    fn height(&self) -> Height {
        self.height
    }
    fn round(&self) -> Round {
        self.round
    }
    fn value(&self) -> &NilOrVal<BlockHash> {
        &self.block
    }
    fn take_value(self) -> NilOrVal<BlockHash> {
        self.block
    }
    fn vote_type(&self) -> VoteType {
        self.phase
    }
    fn validator_address(&self) -> &Signer {
        &self.voter
    }
    // Extensions are off for good: with them a node can end without a timer.
    fn extension(&self) -> Option<&SignedExtension<Bft>> {
        None
    }
    fn take_extension(&mut self) -> Option<SignedExtension<Bft>> {
        None
    }
    fn extend(self, _extension: SignedExtension<Bft>) -> Self {
        self
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scheme;

/// Bytes that are no key or signature.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not a key or signature of Ed25519")]
pub(crate) struct NotEd25519;

impl SigningScheme for Scheme {
    type DecodingError = NotEd25519;
    type Signature = Sig;
    type PublicKey = VerifyingKey;
    type PrivateKey = SigningKey;
    fn decode_signature(bytes: &[u8]) -> Result<Sig, NotEd25519> {
        bytes.try_into().map(Sig).map_err(|_| NotEd25519)
    }
    fn encode_signature(signature: &Sig) -> Vec<u8> {
        signature.0.to_vec()
    }
    fn decode_public_key(bytes: &[u8]) -> Result<VerifyingKey, NotEd25519> {
        let bytes = bytes.try_into().map_err(|_| NotEd25519)?;
        VerifyingKey::from_bytes(bytes).map_err(|_| NotEd25519)
    }
    fn encode_public_key(key: &VerifyingKey) -> Vec<u8> {
        key.to_bytes().to_vec()
    }
}

impl Context for Bft {
    type Address = Signer;
    type Height = Height;
    type ProposalPart = NoPart;
    type Proposal = Proposal;
    type Validator = Voter;
    type ValidatorSet = Voters;
    type Timeouts = LinearTimeouts;
    type Value = BlockHash;
    type Vote = Vote;
    type Extension = Bytes;
    type SigningScheme = Scheme;

    fn select_proposer<'a>(&self, voters: &'a Voters, height: Height, round: Round) -> &'a Voter {
        voters.proposer(height, round.as_u32().unwrap_or(0))
    }

    fn new_proposal(
        &self,
        height: Height,
        round: Round,
        block: BlockHash,
        valid_round: Round,
        proposer: Signer,
    ) -> Proposal {
        Proposal {
            height,
            round,
            block,
            valid_round,
            proposer,
        }
    }

    fn new_prevote(
        &self,
        height: Height,
        round: Round,
        block: NilOrVal<BlockHash>,
        voter: Signer,
    ) -> Vote {
        Vote {
            phase: VoteType::Prevote,
            height,
            round,
            block,
            voter,
        }
    }

    fn new_precommit(
        &self,
        height: Height,
        round: Round,
        block: NilOrVal<BlockHash>,
        voter: Signer,
    ) -> Vote {
        Vote {
            phase: VoteType::Precommit,
            height,
            round,
            block,
            voter,
        }
    }
}

/// Verifies for one mesh.
#[derive(Debug)]
pub(crate) struct ForMesh<'a, V>(pub(crate) &'a MeshId, pub(crate) &'a V);

#[async_trait]
impl<V: Verify> Verifier<Bft> for ForMesh<'_, V> {
    async fn verify_signed_vote(
        &self,
        vote: &Vote,
        signature: &Sig,
        key: &VerifyingKey,
    ) -> Result<VerificationResult, Error> {
        let valid = self.1.verify(key, &vote.sign_bytes(self.0), signature);
        Ok(VerificationResult::from_bool(valid))
    }

    async fn verify_signed_proposal(
        &self,
        proposal: &Proposal,
        signature: &Sig,
        key: &VerifyingKey,
    ) -> Result<VerificationResult, Error> {
        let valid = self.1.verify(key, &proposal.sign_bytes(self.0), signature);
        Ok(VerificationResult::from_bool(valid))
    }

    async fn verify_signed_vote_extension(
        &self,
        _scope: &VoteExtensionScope<Bft>,
        _extension: &Bytes,
        _signature: &Sig,
        _key: &VerifyingKey,
    ) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::Invalid)
    }

    async fn verify_validator_proof(
        &self,
        _proof: &ValidatorProof<Bft>,
    ) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::Invalid)
    }
}
