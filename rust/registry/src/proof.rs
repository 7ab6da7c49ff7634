//! What a name means, for anyone who knows the mesh's id: nobody who answers has to be trusted.

use hypermesh_consensus::{
    BlockHash, Certificate, CertificateError, Decided, DecodeError, Ed25519, HEAD_BYTES, MeshId,
    Reader, VOTERS_MAX, Voter, Voters, VotersError, put_count, put_counted,
};
use hypermesh_id::NodeId;

use crate::block::Head;
use crate::entry::{Entry, Key, Named};
use crate::genesis::{GENESIS_BYTES_MAX, Genesis, GenesisError};
use crate::name::Name;
use crate::state::State;
use crate::transaction::{name, root};
use crate::tree::TreeProof;

/// Longest proof.
pub const PROOF_BYTES_MAX: usize = 16 << 20;
/// Most links: as often as the voters of a mesh may have changed.
pub const LINKS_MAX: usize = 1 << 16;
/// First bytes of a proof, with the version of its layout.
const MAGIC: &[u8; 8] = b"hmproof\x01";
const VALUE_BYTES_MAX: usize = 104;

/// A head, and the certificate that it was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub head: [u8; HEAD_BYTES],
    /// The plain BLAKE3 hash of the rest of the block.
    pub rest: [u8; 32],
    pub certificate: Certificate,
}

/// A block after which others vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub sealed: Sealed,
    /// Who votes on the next height, ascending.
    pub voters: Vec<NodeId>,
    pub proof: TreeProof,
}

/// What a name means at a height, or that it means nothing, with all that it takes to believe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameProof {
    pub genesis: Genesis,
    pub links: Vec<Link>,
    pub sealed: Sealed,
    pub name: Name,
    pub named: Option<Named>,
    pub proof: TreeProof,
}

/// What a proof proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    pub name: Name,
    pub named: Option<Named>,
    /// The height at which it was so, and the time of its block by its proposer's clock, in Unix milliseconds.
    pub height: u64,
    pub time: u64,
    /// Who voted on that height, ascending.
    pub voters: Vec<NodeId>,
}

/// Why a proof proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    #[error("the proof is malformed: {0}")]
    Decode(#[from] DecodeError),
    #[error("{0}")]
    Genesis(#[from] GenesisError),
    #[error("it is of the mesh {0}")]
    OtherMesh(MeshId),
    #[error("the voters of height {height}: {reason}")]
    Voters { height: u64, reason: VotersError },
    #[error("the certificate of height {height}: {reason}")]
    Certificate {
        height: u64,
        reason: CertificateError,
    },
    #[error("the certificate of height {0} is of another block, or its blocks are not in order")]
    Block(u64),
    #[error("the root of height {0} says something else")]
    Root(u64),
    #[error("changes of the voters are missing before height {0}")]
    Links(u64),
}

impl Sealed {
    /// Of a decided block.
    pub fn of(decided: &Decided) -> Option<Self> {
        let (head, rest) = decided.body.split_first_chunk()?;
        Some(Self {
            head: *head,
            rest: *blake3::hash(rest).as_bytes(),
            certificate: decided.certificate.clone(),
        })
    }

    /// Checks that these voters decided it, after this height.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn verify(&self, mesh: &MeshId, voters: &Voters, after: u64) -> Result<Head, ProofError> {
        let height = self.certificate.height.0;
        let head = Head::from_bytes(&self.head)?;
        let block = BlockHash::of_parts(&self.head, &self.rest);
        let same = head.height == height && block == self.certificate.block;
        if !same || height <= after || !self.certificate.round.is_defined() {
            return Err(ProofError::Block(height));
        }
        let certified = self.certificate.verify(mesh, voters, &Ed25519);
        certified.map_err(|reason| ProofError::Certificate { height, reason })?;
        Ok(head)
    }

    /// Head 128, hash 32, certificate.
    pub fn encode(&self, to: &mut Vec<u8>) {
        to.extend(self.head);
        to.extend(self.rest);
        self.certificate.encode(to);
    }

    /// Takes one off the front of bytes. Proves nothing.
    ///
    /// # Errors
    /// Names the rule that the bytes break.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            head: from.array("a head")?,
            rest: from.array("a hash")?,
            certificate: Certificate::decode(from)?,
        })
    }
}

impl Link {
    /// Of a decided block and the state after it.
    pub(crate) fn of(decided: &Decided, state: &State) -> Option<Self> {
        Some(Self {
            sealed: Sealed::of(decided)?,
            voters: state.voters().nodes().collect(),
            proof: state.prove(&Key::Voters).1,
        })
    }

    /// Sealed, number of voters 4, each 32, tree proof.
    pub fn encode(&self, to: &mut Vec<u8>) {
        self.sealed.encode(to);
        put_count(to, self.voters.len());
        self.voters.iter().for_each(|node| to.extend(node.0));
        self.proof.encode(to);
    }

    /// Takes one off the front of bytes. Proves nothing.
    ///
    /// # Errors
    /// Names the rule that the bytes break.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let sealed = Sealed::decode(from)?;
        let count = from.count(VOTERS_MAX, 32, "voters")?;
        let voters = (0..count).map(|_| from.node()).collect::<Result<_, _>>()?;
        Ok(Self {
            sealed,
            voters,
            proof: TreeProof::decode(from)?,
        })
    }
}

/// Follows the changes of a mesh's voters from its founder on. Answers the height of the last and who votes since.
///
/// # Errors
/// Says at which height what is wrong.
pub fn follow(genesis: &Genesis, links: &[Link]) -> Result<(u64, Voters), ProofError> {
    let mut way = Way::new(genesis)?;
    links.iter().try_for_each(|link| way.link(link))?;
    Ok((way.height, way.voters))
}

/// A way along the changes of the voters, link by link.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    mesh: MeshId,
    /// Of the last change, and who votes since.
    height: u64,
    pub(crate) voters: Voters,
    /// Who decided the block of the last change, and after which height.
    before: Option<(BlockHash, u64, Voters)>,
}

impl Way {
    pub(crate) fn new(genesis: &Genesis) -> Result<Self, ProofError> {
        Ok(Self {
            mesh: genesis.mesh(),
            height: 0,
            voters: voters(&[genesis.founder], 0)?,
            before: None,
        })
    }

    /// Goes on to the next change. What is refused changes nothing.
    pub(crate) fn link(&mut self, link: &Link) -> Result<(), ProofError> {
        let head = link.sealed.verify(&self.mesh, &self.voters, self.height)?;
        let value = Entry::Voters(link.voters.clone()).to_bytes();
        if !link.proof.shows(&head.root, &Key::Voters, Some(&value)) {
            return Err(ProofError::Root(head.height));
        }
        let next = voters(&link.voters, head.height)?;
        let voters = std::mem::replace(&mut self.voters, next);
        let after = std::mem::replace(&mut self.height, head.height);
        self.before = Some((link.sealed.certificate.block, after, voters));
        Ok(())
    }

    /// Checks the head at its end, which may be that of the last change itself.
    pub(crate) fn end(&self, sealed: &Sealed) -> Result<Head, ProofError> {
        match &self.before {
            // Its certificate may be of other voters than the one in the link.
            Some((block, after, voters)) if *block == sealed.certificate.block => {
                sealed.verify(&self.mesh, voters, *after)
            }
            _ => sealed.verify(&self.mesh, &self.voters, self.height),
        }
    }
}

fn voters(nodes: &[NodeId], height: u64) -> Result<Voters, ProofError> {
    let voters: Result<Vec<_>, _> = nodes.iter().map(|node| Voter::new(*node)).collect();
    let voters = voters.and_then(Voters::new);
    voters.map_err(|reason| ProofError::Voters { height, reason })
}

fn sorted(voters: &Voters) -> Vec<NodeId> {
    // Kept in the order in which they propose.
    let mut nodes: Vec<NodeId> = voters.nodes().collect();
    nodes.sort_unstable();
    nodes
}

impl NameProof {
    /// Believes nobody: follows the voters from the founder of this mesh to the last block, and its root to the name.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn verify(&self, mesh: &MeshId) -> Result<Proven, ProofError> {
        if self.genesis.mesh() != *mesh {
            return Err(ProofError::OtherMesh(self.genesis.mesh()));
        }
        let (after, voters) = follow(&self.genesis, &self.links)?;
        let head = self.sealed.verify(mesh, &voters, after)?;
        let (height, value) = (
            head.height,
            self.named
                .clone()
                .map(|named| Entry::Name(named).to_bytes()),
        );
        let key = Key::Name(self.name.clone());
        if !self.proof.shows(&head.root, &key, value.as_deref()) {
            return Err(ProofError::Root(height));
        }
        Ok(Proven {
            name: self.name.clone(),
            named: self.named.clone(),
            height,
            time: head.time,
            voters: sorted(&voters),
        })
    }

    /// Magic 8, genesis and its length 4, number of links 4, links, sealed, name and its length 4, 0 or 1 and its entry, tree
    /// proof.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = MAGIC.to_vec();
        put_counted(&mut to, &self.genesis.to_bytes());
        put_count(&mut to, self.links.len());
        self.links.iter().for_each(|link| link.encode(&mut to));
        self.sealed.encode(&mut to);
        put_counted(&mut to, self.name.as_str().as_bytes());
        let value = self
            .named
            .clone()
            .map(|named| Entry::Name(named).to_bytes());
        put_counted(&mut to, value.as_deref().unwrap_or_default());
        self.proof.encode(&mut to);
        to
    }

    /// Reads what [`Self::to_bytes`] wrote. Nothing is proved but that the founder signed the genesis.
    ///
    /// # Errors
    /// Names the rule that the bytes break.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > PROOF_BYTES_MAX {
            return Err(DecodeError::Long(bytes.len() - PROOF_BYTES_MAX).into());
        }
        let mut from = Reader(bytes);
        if from.array("the beginning of a proof")? != *MAGIC {
            let what = "a beginning of a proof";
            return Err(DecodeError::Unknown { what, value: 0 }.into());
        }
        let genesis = Genesis::from_bytes(from.counted(GENESIS_BYTES_MAX, "bytes of a genesis")?)?;
        // Head, hash, an empty certificate, no voters, no siblings.
        let count = from.count(LINKS_MAX, 160 + 48 + 4 + 3, "links")?;
        let links = (0..count)
            .map(|_| Link::decode(&mut from))
            .collect::<Result<_, _>>()?;
        let sealed = Sealed::decode(&mut from)?;
        let name = name(&mut from)?;
        let value = from.counted(VALUE_BYTES_MAX, "bytes of an entry")?;
        let named = match value {
            [] => None,
            value => {
                let mut from = Reader(value);
                let named = Named {
                    root: root(&mut from)?,
                    owner: from.node()?,
                    payer: from.node()?,
                    changed: from.u64("a height")?,
                };
                from.end()?;
                Some(named)
            }
        };
        let proof = TreeProof::decode(&mut from)?;
        from.end()?;
        Ok(Self {
            genesis,
            links,
            sealed,
            name,
            named,
            proof,
        })
    }
}
