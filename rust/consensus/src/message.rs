//! What the voters tell each other, and its bytes.
//!
//! Version (1 byte), kind (1), mesh (32), then what the kind says. A message of another mesh is refused before anything else
//! of it is looked at.

use bytes::Bytes;
use hypermesh_id::NodeId;
use malachite_types::{
    PolkaCertificate, PolkaSignature, Round, RoundCertificate, RoundCertificateType, RoundSignature,
};

use crate::codec::{DecodeError, Reader, put_count, put_counted, put_round};
use crate::context::Bft;
use crate::types::{BLOCK_BYTES_MAX, BlockHash, Height, MeshId, VOTERS_MAX};
use crate::vote::{
    Certificate, Proposal, Sig, Signed, Signer, Vote, choice, phase, phase_number, put_choice,
};

/// Version of these layouts.
pub const VERSION: u8 = 1;
/// Most votes that are retold in one message: both phases of a few rounds of every voter.
pub const RETOLD_MAX: usize = 8 * VOTERS_MAX;
/// Longest message.
pub const MESSAGE_BYTES_MAX: usize = BLOCK_BYTES_MAX + 64 * 1024;

/// One message from a voter or a learner to another.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Message {
    Vote(Signed<Vote>),
    Proposal(Signed<Proposal>),
    /// A block whose proposal comes with it, or came before.
    Block(BlockMessage),
    /// A quorum's prevotes for one block: why a proposer offers it again.
    Polka(PolkaProof),
    /// Votes that end a round: why a node is in the next.
    RoundEnd(RoundProof),
    /// Votes that the sender has seen, whoever they came from: what is told to some and not to others comes together.
    Retold(Vec<Signed<Vote>>),
    /// The height that the sender works on.
    Status(Height),
    /// Asks for the decision of a height, and of those after it.
    Ask(Height),
    /// A decision and its block.
    Decided(Decided),
}

/// See [`Message::Block`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockMessage {
    pub height: Height,
    pub round: Round,
    pub valid_round: Round,
    pub body: Bytes,
}

/// A decided block with the proof that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    pub certificate: Certificate,
    pub body: Bytes,
}

/// See [`Message::Polka`].
#[derive(Clone, Debug, PartialEq)]
pub struct PolkaProof(pub(crate) PolkaCertificate<Bft>);

/// See [`Message::RoundEnd`].
#[derive(Clone, Debug, PartialEq)]
pub struct RoundProof(pub(crate) RoundCertificate<Bft>);

impl Message {
    /// Its bytes, for this mesh.
    pub fn encode(&self, mesh: &MeshId) -> Bytes {
        let mut to = vec![VERSION, self.number()];
        to.extend(mesh.0);
        match self {
            Self::Vote(vote) => vote.encode(&mut to),
            Self::Proposal(proposal) => proposal.encode(&mut to),
            Self::Block(block) => {
                to.extend(block.height.0.to_le_bytes());
                put_round(&mut to, block.round);
                put_round(&mut to, block.valid_round);
                put_counted(&mut to, &block.body);
            }
            Self::Polka(polka) => put_polka(&mut to, &polka.0),
            Self::RoundEnd(end) => put_round_end(&mut to, &end.0),
            Self::Retold(votes) => {
                put_count(&mut to, votes.len());
                votes.iter().for_each(|vote| vote.encode(&mut to));
            }
            Self::Status(height) | Self::Ask(height) => to.extend(height.0.to_le_bytes()),
            Self::Decided(decided) => decided.encode(&mut to),
        }
        to.into()
    }

    /// Reads a message for this mesh. Signatures are not looked at.
    ///
    /// # Errors
    /// Names the rule that it breaks.
    pub fn decode(bytes: &[u8], mesh: &MeshId) -> Result<Self, DecodeError> {
        let mut from = Reader(bytes);
        let unknown = |what, value: u8| DecodeError::Unknown {
            what,
            value: value.into(),
        };
        match from.u8("the version")? {
            VERSION => {}
            other => return Err(unknown("version", other)),
        }
        let kind = from.u8("the kind")?;
        let other = MeshId(from.array("the mesh")?);
        if other != *mesh {
            return Err(DecodeError::OtherMesh(other));
        }
        let message = match kind {
            1 => Self::Vote(Signed::<Vote>::decode(&mut from)?),
            2 => Self::Proposal(Signed::<Proposal>::decode(&mut from)?),
            3 => Self::Block(BlockMessage {
                height: from.height()?,
                round: from.round()?,
                valid_round: from.round()?,
                body: Bytes::copy_from_slice(from.counted(BLOCK_BYTES_MAX, "bytes of a block")?),
            }),
            4 => Self::Polka(PolkaProof(polka(&mut from)?)),
            5 => Self::RoundEnd(RoundProof(round_end(&mut from)?)),
            6 => {
                let count = from.count(RETOLD_MAX, VOTE_BYTES_MIN, "votes")?;
                let votes = (0..count).map(|_| Signed::<Vote>::decode(&mut from));
                Self::Retold(votes.collect::<Result<_, _>>()?)
            }
            7 => Self::Status(from.height()?),
            8 => Self::Ask(from.height()?),
            9 => Self::Decided(Decided::decode(&mut from)?),
            other => return Err(unknown("kind", other)),
        };
        from.end()?;
        Ok(message)
    }

    fn number(&self) -> u8 {
        match self {
            Self::Vote(_) => 1,
            Self::Proposal(_) => 2,
            Self::Block(_) => 3,
            Self::Polka(_) => 4,
            Self::RoundEnd(_) => 5,
            Self::Retold(_) => 6,
            Self::Status(_) => 7,
            Self::Ask(_) => 8,
            Self::Decided(_) => 9,
        }
    }
}

/// Phase, height, round, none, voter, signature.
const VOTE_BYTES_MIN: usize = 1 + 8 + 4 + 1 + 32 + 64;

impl Decided {
    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        self.certificate.encode(to);
        put_counted(to, &self.body);
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            certificate: Certificate::decode(from)?,
            body: Bytes::copy_from_slice(from.counted(BLOCK_BYTES_MAX, "bytes of a block")?),
        })
    }

    /// As it is kept: its certificate, then its block.
    pub fn to_bytes(&self) -> Bytes {
        let mut to = Vec::new();
        self.encode(&mut to);
        to.into()
    }

    /// Reads what [`Self::to_bytes`] gave. Signatures are not looked at.
    ///
    /// # Errors
    /// Names the rule that it breaks.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader(bytes);
        let decided = Self::decode(&mut from)?;
        from.end()?;
        Ok(decided)
    }
}

pub(crate) fn put_polka(to: &mut Vec<u8>, polka: &PolkaCertificate<Bft>) {
    to.extend(polka.height.0.to_le_bytes());
    put_round(to, polka.round);
    to.extend(polka.value_id.0);
    put_count(to, polka.polka_signatures.len());
    for signature in &polka.polka_signatures {
        to.extend(signature.address.0.0);
        to.extend(signature.signature.0);
    }
}

pub(crate) fn polka(from: &mut Reader<'_>) -> Result<PolkaCertificate<Bft>, DecodeError> {
    let (height, round, value_id): (Height, Round, BlockHash) =
        (from.height()?, from.round()?, from.hash()?);
    let count = from.count(VOTERS_MAX, 96, "signatures")?;
    let signature = |_| -> Result<_, DecodeError> {
        let (node, signature) = (from.node()?, Sig::decode(from)?);
        Ok(PolkaSignature::new(Signer(node), signature))
    };
    Ok(PolkaCertificate {
        height,
        round,
        value_id,
        polka_signatures: (0..count).map(signature).collect::<Result<_, _>>()?,
    })
}

fn put_round_end(to: &mut Vec<u8>, end: &RoundCertificate<Bft>) {
    to.extend(end.height.0.to_le_bytes());
    put_round(to, end.round);
    to.push(match end.cert_type {
        RoundCertificateType::Precommit => 1,
        RoundCertificateType::Skip => 2,
    });
    put_count(to, end.round_signatures.len());
    for signature in &end.round_signatures {
        to.push(phase_number(signature.vote_type));
        put_choice(to, &signature.value_id);
        to.extend(signature.address.0.0);
        to.extend(signature.signature.0);
    }
}

fn round_end(from: &mut Reader<'_>) -> Result<RoundCertificate<Bft>, DecodeError> {
    let (height, round) = (from.height()?, from.round()?);
    let cert_type = match from.u8("the end of a round")? {
        1 => RoundCertificateType::Precommit,
        2 => RoundCertificateType::Skip,
        value => {
            return Err(DecodeError::Unknown {
                what: "the end of a round",
                value: value.into(),
            });
        }
    };
    // A voter may stand in it with either phase.
    let count = from.count(2 * VOTERS_MAX, 98, "signatures")?;
    let signature = |_| -> Result<_, DecodeError> {
        let (phase, block) = (phase(from)?, choice(from)?);
        let node: NodeId = from.node()?;
        let signature = Sig::decode(from)?;
        Ok(RoundSignature::new(phase, block, Signer(node), signature))
    };
    Ok(RoundCertificate {
        height,
        round,
        cert_type,
        round_signatures: (0..count).map(signature).collect::<Result<_, _>>()?,
    })
}
