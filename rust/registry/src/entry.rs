//! What the state is made of: entries, each with a key, and the bytes of both that are hashed.

use hypermesh_consensus::{DecodeError, Reader, VOTERS_MAX, put_counted};
use hypermesh_id::{NodeId, Root};

use crate::genesis::Description;
use crate::name::Name;
use crate::parameters::Parameters;
use crate::transaction::{Motion, key, put_key, root};

/// The key of an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Key {
    Parameters,
    /// Who votes on the next height.
    Voters,
    /// Who votes from this height on, until the next such entry.
    VotersFrom(u64),
    Member(NodeId),
    Author(NodeId),
    Invitation([u8; 16]),
    Name(Name),
    Delegation(Name),
    Pin(Root, NodeId),
    Motion(Motion),
    Convicted(NodeId),
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Parameters(Parameters),
    Voters(Vec<NodeId>),
    Member(Member),
    Author(Author),
    Invitation(NodeId),
    Name(Named),
    Delegation(Delegation),
    Pin(Pin),
    Motion(OpenMotion),
    Convicted(Conviction),
}

/// A member of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub voter: bool,
    /// Who let it in; the founder itself.
    pub inviter: NodeId,
    pub invitation: [u8; 16],
    /// The height at which it was let in.
    pub since: u64,
    pub description: Description,
}

/// What is counted of one who may write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Author {
    /// Of its last decided transaction.
    pub sequence: u64,
    /// What it has made, or others on its account, that is still there.
    pub names: u64,
    pub delegations: u64,
    pub pins: u64,
    pub learners: u64,
    pub motions: u64,
    /// Prefixes that are delegated to it.
    pub prefixes: u64,
    /// It was removed: what is delegated to it counts for nothing.
    pub removed: bool,
}

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub root: Root,
    /// Who made it.
    pub owner: NodeId,
    /// On whose account it is.
    pub payer: NodeId,
    /// The height of its last change.
    pub changed: u64,
}

/// Who alone changes names under a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    pub to: NodeId,
    /// Who gave it and can take it back; none for the voters.
    pub by: Option<NodeId>,
    /// On whose account names are that its delegate makes while it is no member.
    pub payer: NodeId,
    pub since: u64,
}

/// How many copies are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    pub copies: u8,
    pub domains: u8,
}

/// A motion without a quorum yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenMotion {
    pub by: NodeId,
    /// The last height at which it can be carried.
    pub until: u64,
    /// Who said so, ascending. Those who lost their vote are taken out.
    pub said: Vec<NodeId>,
}

/// That a voter said two things where it may say one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conviction {
    /// Of which height the evidence is, and at which it was decided.
    pub offence: u64,
    pub decided: u64,
    /// The BLAKE3 hash of the evidence.
    pub evidence: [u8; 32],
}

impl Key {
    /// Kind 1, and what it says.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = Vec::with_capacity(65);
        match self {
            Self::Parameters => to.push(1),
            Self::Voters => to.push(2),
            Self::VotersFrom(height) => {
                to.push(3);
                to.extend(height.to_le_bytes());
            }
            Self::Member(node) | Self::Author(node) | Self::Convicted(node) => {
                to.push(match self {
                    Self::Member(_) => 4,
                    Self::Author(_) => 5,
                    _ => 11,
                });
                to.extend(node.0);
            }
            Self::Invitation(nonce) => {
                to.push(6);
                to.extend(nonce);
            }
            Self::Name(name) => {
                to.push(7);
                to.extend(name.as_str().as_bytes());
            }
            Self::Delegation(prefix) => {
                to.push(8);
                to.extend(prefix.as_str().as_bytes());
            }
            Self::Pin(root, node) => {
                to.push(9);
                to.extend(root.0.0);
                to.extend(node.0);
            }
            Self::Motion(motion) => {
                to.push(10);
                motion.encode(&mut to);
            }
        }
        to
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// Names the rule that the bytes break.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let unknown = |what, value: u8| DecodeError::Unknown {
            what,
            value: value.into(),
        };
        let mut from = Reader(bytes);
        let name = |from: &mut Reader<'_>| {
            let rest = std::mem::take(&mut from.0);
            Name::from_bytes(rest).map_err(|_| unknown("a name of the length", rest.len() as u8))
        };
        let key = match from.u8("a kind of key")? {
            1 => Self::Parameters,
            2 => Self::Voters,
            3 => Self::VotersFrom(from.u64("a height")?),
            4 => Self::Member(from.node()?),
            5 => Self::Author(from.node()?),
            6 => Self::Invitation(from.array("an invitation")?),
            7 => Self::Name(name(&mut from)?),
            8 => Self::Delegation(name(&mut from)?),
            9 => Self::Pin(root(&mut from)?, from.node()?),
            10 => Self::Motion(Motion::decode(&mut from)?),
            11 => Self::Convicted(from.node()?),
            value => return Err(unknown("a kind of key", value)),
        };
        from.end()?;
        Ok(key)
    }
}

impl Entry {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut to = Vec::new();
        match self {
            Self::Parameters(parameters) => parameters.encode(&mut to),
            Self::Voters(nodes) => nodes.iter().for_each(|node| to.extend(node.0)),
            Self::Member(member) => {
                to.push(member.voter.into());
                to.extend(member.inviter.0);
                to.extend(member.invitation);
                to.extend(member.since.to_le_bytes());
                member.description.encode(&mut to);
            }
            Self::Author(author) => {
                let counts = [
                    author.sequence,
                    author.names,
                    author.delegations,
                    author.pins,
                    author.learners,
                    author.motions,
                    author.prefixes,
                ];
                counts
                    .iter()
                    .for_each(|count| to.extend(count.to_le_bytes()));
                to.push(author.removed.into());
            }
            Self::Invitation(node) => to.extend(node.0),
            Self::Name(named) => {
                to.extend(named.root.0.0);
                to.extend(named.owner.0);
                to.extend(named.payer.0);
                to.extend(named.changed.to_le_bytes());
            }
            Self::Delegation(delegation) => {
                to.extend(delegation.to.0);
                put_key(&mut to, delegation.by.as_ref());
                to.extend(delegation.payer.0);
                to.extend(delegation.since.to_le_bytes());
            }
            Self::Pin(pin) => to.extend([pin.copies, pin.domains]),
            Self::Motion(motion) => {
                to.extend(motion.by.0);
                to.extend(motion.until.to_le_bytes());
                let said: Vec<u8> = motion.said.iter().flat_map(|node| node.0).collect();
                put_counted(&mut to, &said);
            }
            Self::Convicted(conviction) => {
                to.extend(conviction.offence.to_le_bytes());
                to.extend(conviction.decided.to_le_bytes());
                to.extend(conviction.evidence);
            }
        }
        to
    }

    /// Reads what [`Self::to_bytes`] wrote of the entry at a key.
    pub(crate) fn from_bytes(at: &Key, bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader(bytes);
        let flag = |from: &mut Reader<'_>| match from.u8("a flag")? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(DecodeError::Unknown {
                what: "a flag",
                value: value.into(),
            }),
        };
        let nodes = |from: &mut Reader<'_>, count: usize| -> Result<Vec<NodeId>, DecodeError> {
            match count {
                0..=VOTERS_MAX => (0..count).map(|_| from.node()).collect(),
                _ => Err(DecodeError::TooMany {
                    what: "voters",
                    count: count as u64,
                    most: VOTERS_MAX as u64,
                }),
            }
        };
        let entry = match at {
            Key::Parameters => Self::Parameters(Parameters::decode(&mut from)?),
            Key::Voters | Key::VotersFrom(_) => Self::Voters(nodes(&mut from, bytes.len() / 32)?),
            Key::Member(_) => Self::Member(Member {
                voter: flag(&mut from)?,
                inviter: from.node()?,
                invitation: from.array("an invitation")?,
                since: from.u64("a height")?,
                description: Description::decode(&mut from)?,
            }),
            Key::Author(_) => Self::Author(Author {
                sequence: from.u64("a sequence")?,
                names: from.u64("a count")?,
                delegations: from.u64("a count")?,
                pins: from.u64("a count")?,
                learners: from.u64("a count")?,
                motions: from.u64("a count")?,
                prefixes: from.u64("a count")?,
                removed: flag(&mut from)?,
            }),
            Key::Invitation(_) => Self::Invitation(from.node()?),
            Key::Name(_) => Self::Name(Named {
                root: root(&mut from)?,
                owner: from.node()?,
                payer: from.node()?,
                changed: from.u64("a height")?,
            }),
            Key::Delegation(_) => Self::Delegation(Delegation {
                to: from.node()?,
                by: key(&mut from)?,
                payer: from.node()?,
                since: from.u64("a height")?,
            }),
            Key::Pin(..) => Self::Pin(Pin {
                copies: from.u8("copies")?,
                domains: from.u8("domains")?,
            }),
            Key::Motion(_) => Self::Motion(OpenMotion {
                by: from.node()?,
                until: from.u64("a height")?,
                said: {
                    let count = from.count(32 * VOTERS_MAX, 1, "bytes of voters")? / 32;
                    nodes(&mut from, count)?
                },
            }),
            Key::Convicted(_) => Self::Convicted(Conviction {
                offence: from.u64("a height")?,
                decided: from.u64("a height")?,
                evidence: from.array("a hash")?,
            }),
        };
        from.end()?;
        Ok(entry)
    }
}
