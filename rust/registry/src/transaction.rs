//! What an author asks of a mesh.

use bytes::Bytes;
use hypermesh_consensus::{DecodeError, Evidence, MeshId, Reader, Sig, Sign, put_counted};
use hypermesh_id::{BlockId, NodeId, Root};

use crate::genesis::Description;
use crate::name::{NAME_BYTES_MAX, Name};
use crate::parameters::Parameter;
use crate::signature;

/// Longest transaction.
pub const TRANSACTION_BYTES_MAX: usize = 2048;
/// Longest evidence in a transaction.
pub const EVIDENCE_BYTES_MAX: usize = 1024;
/// How many heights ahead `until` may be: what was decided is forgotten so long after, and can come again no more.
pub const LIFETIME: u64 = 1 << 16;
/// Version of the layout.
pub const TRANSACTION_VERSION: u8 = 1;

const LABEL: &[u8; 16] = b"hypermesh/trans1";

/// An action with who asks for it and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    pub author: NodeId,
    /// Greater than that of the author's last decided transaction.
    pub sequence: u64,
    /// The last height at which it may be decided.
    pub until: u64,
    pub action: Action,
    pub signature: Sig,
}

/// The BLAKE3 hash of a transaction's bytes, signature included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub [u8; 32]);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// A voter lets a node in, as a learner.
    Admit {
        node: NodeId,
        /// Spent by it.
        invitation: [u8; 16],
        description: Description,
    },
    /// A member describes itself anew.
    Describe(Description),
    /// A voter says that it is for this; a quorum's word carries it.
    Move(Motion),
    /// A voter steps down to learner, or a learner leaves; an inviter removes its own learner.
    Leave {
        node: NodeId,
    },
    SetName {
        name: Name,
        root: Root,
        expect: Expect,
    },
    DeleteName {
        name: Name,
        expect: Expect,
    },
    /// Gives a prefix to a key, or takes it back. A voter who may not do so alone moves [`Motion::Delegate`].
    Delegate {
        prefix: Name,
        to: Option<NodeId>,
    },
    /// Wants so many copies of a root, in so many failure domains.
    Pin {
        root: Root,
        copies: u8,
        domains: u8,
    },
    Unpin {
        root: Root,
    },
    /// A proof against a voter.
    Accuse(Box<Evidence>),
}

/// What takes the word of a quorum of the voters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Motion {
    Promote(NodeId),
    Demote(NodeId),
    Remove(NodeId),
    SetParameter(Parameter, u64),
    Delegate { prefix: Name, to: Option<NodeId> },
}

/// What a name must mean for a change of it to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Any,
    Absent,
    Root(Root),
}

/// A transaction whose signature was verified, with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub(crate) transaction: Transaction,
    pub(crate) bytes: Bytes,
    pub(crate) id: TransactionId,
}

impl Transaction {
    /// Signs an action for this mesh.
    pub fn sign(key: &impl Sign, mesh: &MeshId, sequence: u64, until: u64, action: Action) -> Self {
        let mut transaction = Self {
            author: key.node(),
            sequence,
            until,
            action,
            signature: Sig([0; 64]),
        };
        let mut said = Vec::new();
        transaction.put_sign_bytes(mesh, &mut said);
        transaction.signature = key.sign(&said);
        transaction
    }

    /// What is signed: 16 bytes of label, mesh 32, and all but the signature.
    pub(crate) fn put_sign_bytes(&self, mesh: &MeshId, to: &mut Vec<u8>) {
        to.extend(LABEL);
        to.extend(mesh.0);
        self.encode_unsigned(to);
    }

    /// Version 1, author 32, sequence 8, until 8, action.
    fn encode_unsigned(&self, to: &mut Vec<u8>) {
        to.push(TRANSACTION_VERSION);
        to.extend(self.author.0);
        to.extend(self.sequence.to_le_bytes());
        to.extend(self.until.to_le_bytes());
        self.action.encode(to);
    }

    /// Its bytes: all that is signed but label and mesh, and the signature.
    pub fn to_bytes(&self) -> Bytes {
        let mut to = Vec::new();
        self.encode_unsigned(&mut to);
        to.extend(self.signature.0);
        to.into()
    }

    /// Reads what [`Self::to_bytes`] wrote. The signature is not looked at.
    ///
    /// # Errors
    /// Names the rule that the bytes break.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > TRANSACTION_BYTES_MAX {
            return Err(DecodeError::Long(bytes.len() - TRANSACTION_BYTES_MAX));
        }
        let mut from = Reader(bytes);
        let version = from.u8("a version")?;
        if version != TRANSACTION_VERSION {
            return Err(DecodeError::Unknown {
                what: "version",
                value: version.into(),
            });
        }
        let transaction = Self {
            author: from.node()?,
            sequence: from.u64("a sequence")?,
            until: from.u64("a last height")?,
            action: Action::decode(&mut from)?,
            signature: Sig(from.array("a signature")?),
        };
        from.end()?;
        Ok(transaction)
    }

    /// Whether its author signed it for this mesh.
    pub fn verifies(&self, mesh: &MeshId) -> bool {
        signature::verify(mesh, [self])
    }

    /// Verifies it, so that a ledger need not. None when it is not its author's, or of another mesh.
    pub fn verified(self, mesh: &MeshId) -> Option<Verified> {
        self.verifies(mesh).then(|| Verified::unchecked(self))
    }

    /// As [`Self::verified`], of many, which is several times as fast as each by itself.
    ///
    /// # Errors
    /// When one of them is not its author's: they come back.
    pub fn all_verified(all: Vec<Self>, mesh: &MeshId) -> Result<Vec<Verified>, Vec<Self>> {
        match signature::verify(mesh, &all) {
            true => Ok(all.into_iter().map(Verified::unchecked).collect()),
            false => Err(all),
        }
    }
}

impl Verified {
    fn unchecked(transaction: Transaction) -> Self {
        let bytes = transaction.to_bytes();
        Self {
            id: TransactionId::of(&bytes),
            transaction,
            bytes,
        }
    }

    /// Signs an action for this mesh; what was signed here need not be verified.
    pub fn sign(key: &impl Sign, mesh: &MeshId, sequence: u64, until: u64, action: Action) -> Self {
        Self::unchecked(Transaction::sign(key, mesh, sequence, until, action))
    }

    pub fn id(&self) -> TransactionId {
        self.id
    }
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }
    /// As it travels.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl TransactionId {
    /// The id of a transaction's bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl std::fmt::Display for TransactionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        BlockId(self.0).fmt(f)
    }
}

impl std::fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TransactionId({self})")
    }
}

impl Action {
    fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::Admit {
                node,
                invitation,
                description,
            } => {
                to.push(1);
                to.extend(node.0);
                to.extend(invitation);
                description.encode(to);
            }
            Self::Describe(description) => {
                to.push(2);
                description.encode(to);
            }
            Self::Move(motion) => {
                to.push(3);
                motion.encode(to);
            }
            Self::Leave { node } => {
                to.push(4);
                to.extend(node.0);
            }
            Self::SetName { name, root, expect } => {
                to.push(5);
                put_counted(to, name.as_str().as_bytes());
                to.extend(root.0.0);
                expect.encode(to);
            }
            Self::DeleteName { name, expect } => {
                to.push(6);
                put_counted(to, name.as_str().as_bytes());
                expect.encode(to);
            }
            Self::Delegate { prefix, to: key } => {
                to.push(7);
                put_counted(to, prefix.as_str().as_bytes());
                put_key(to, key.as_ref());
            }
            Self::Pin {
                root,
                copies,
                domains,
            } => {
                to.push(8);
                to.extend(root.0.0);
                to.extend([*copies, *domains]);
            }
            Self::Unpin { root } => {
                to.push(9);
                to.extend(root.0.0);
            }
            Self::Accuse(evidence) => {
                to.push(10);
                let mut bytes = Vec::new();
                evidence.encode(&mut bytes);
                put_counted(to, &bytes);
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match from.u8("an action")? {
            1 => Self::Admit {
                node: from.node()?,
                invitation: from.array("an invitation")?,
                description: Description::decode(from)?,
            },
            2 => Self::Describe(Description::decode(from)?),
            3 => Self::Move(Motion::decode(from)?),
            4 => Self::Leave { node: from.node()? },
            5 => Self::SetName {
                name: name(from)?,
                root: root(from)?,
                expect: Expect::decode(from)?,
            },
            6 => Self::DeleteName {
                name: name(from)?,
                expect: Expect::decode(from)?,
            },
            7 => Self::Delegate {
                prefix: name(from)?,
                to: key(from)?,
            },
            8 => Self::Pin {
                root: root(from)?,
                copies: from.u8("copies")?,
                domains: from.u8("domains")?,
            },
            9 => Self::Unpin { root: root(from)? },
            10 => {
                let bytes = from.counted(EVIDENCE_BYTES_MAX, "bytes of evidence")?;
                Self::Accuse(Box::new(Evidence::decode(bytes)?))
            }
            value => return Err(unknown("an action", value)),
        })
    }
}

impl Motion {
    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::Promote(node) | Self::Demote(node) | Self::Remove(node) => {
                to.push(match self {
                    Self::Promote(_) => 1,
                    Self::Demote(_) => 2,
                    _ => 3,
                });
                to.extend(node.0);
            }
            Self::SetParameter(parameter, value) => {
                to.extend([4, *parameter as u8]);
                to.extend(value.to_le_bytes());
            }
            Self::Delegate { prefix, to: key } => {
                to.push(5);
                put_counted(to, prefix.as_str().as_bytes());
                put_key(to, key.as_ref());
            }
        }
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match from.u8("a motion")? {
            1 => Self::Promote(from.node()?),
            2 => Self::Demote(from.node()?),
            3 => Self::Remove(from.node()?),
            4 => Self::SetParameter(Parameter::decode(from)?, from.u64("a value")?),
            5 => Self::Delegate {
                prefix: name(from)?,
                to: key(from)?,
            },
            value => return Err(unknown("a motion", value)),
        })
    }
}

impl Expect {
    /// 0 any, 1 absent, 2 and a root.
    fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::Any => to.push(0),
            Self::Absent => to.push(1),
            Self::Root(root) => {
                to.push(2);
                to.extend(root.0.0);
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match from.u8("an expectation")? {
            0 => Ok(Self::Any),
            1 => Ok(Self::Absent),
            2 => root(from).map(Self::Root),
            value => Err(unknown("an expectation", value)),
        }
    }

    pub(crate) fn met(&self, found: Option<Root>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => found.is_none(),
            Self::Root(root) => found == Some(*root),
        }
    }
}

fn unknown(what: &'static str, value: u8) -> DecodeError {
    DecodeError::Unknown {
        what,
        value: value.into(),
    }
}

pub(crate) fn name(from: &mut Reader<'_>) -> Result<Name, DecodeError> {
    let bytes = from.counted(NAME_BYTES_MAX, "bytes of a name")?;
    Name::from_bytes(bytes).map_err(|_| {
        unknown(
            "a name that breaks the rules of names, of length",
            bytes.len() as u8,
        )
    })
}

pub(crate) fn root(from: &mut Reader<'_>) -> Result<Root, DecodeError> {
    from.array("a root").map(|bytes| Root(BlockId(bytes)))
}

pub(crate) fn put_key(to: &mut Vec<u8>, key: Option<&NodeId>) {
    match key {
        None => to.push(0),
        Some(node) => {
            to.push(1);
            to.extend(node.0);
        }
    }
}

pub(crate) fn key(from: &mut Reader<'_>) -> Result<Option<NodeId>, DecodeError> {
    match from.u8("a key")? {
        0 => Ok(None),
        1 => from.node().map(Some),
        value => Err(unknown("a key", value)),
    }
}
