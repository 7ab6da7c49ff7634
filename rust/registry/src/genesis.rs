//! How a mesh begins, and how its members describe themselves.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ed25519_dalek::{Signature, VerifyingKey};
use hypermesh_consensus::{DecodeError, MeshId, Reader, Sig, Sign, Voter, put_counted};
use hypermesh_id::NodeId;

use crate::name::unprintable;
use crate::parameters::Parameters;

/// Most addresses of a member.
pub const ADDRESSES_MAX: usize = 8;
/// Longest text of a description, in bytes.
pub const TEXT_BYTES_MAX: usize = 64;
/// Longest genesis.
pub const GENESIS_BYTES_MAX: usize = 2048;

const LABEL: &[u8; 16] = b"hypermesh/mesh/1";
const GENESIS_VERSION: u16 = 1;

/// What a member says of itself. Nobody checks it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// What its owner calls it.
    pub label: String,
    /// Where it is reached.
    pub addresses: Vec<SocketAddr>,
    /// Where it stands, such as `eu-west`.
    pub region: String,
    /// What fails together with it, such as a rack or an owner.
    pub domain: String,
    /// Bytes that it offers for others' copies.
    pub capacity: u64,
}

/// Why a description is refused before it is signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptionError {
    #[error(
        "the {0} is longer than {TEXT_BYTES_MAX} bytes, or has characters that cannot be shown"
    )]
    Text(&'static str),
    #[error("{0} addresses are more than {ADDRESSES_MAX}")]
    Addresses(usize),
}

impl Description {
    /// Checks its limits.
    ///
    /// # Errors
    /// Names what breaks them.
    pub fn check(&self) -> Result<(), DescriptionError> {
        let good = |text: &str| text.len() <= TEXT_BYTES_MAX && !text.chars().any(unprintable);
        for (what, text) in [
            ("label", &self.label),
            ("region", &self.region),
            ("domain", &self.domain),
        ] {
            if !good(text) {
                return Err(DescriptionError::Text(what));
            }
        }
        match self.addresses.len() {
            0..=ADDRESSES_MAX => Ok(()),
            more => Err(DescriptionError::Addresses(more)),
        }
    }

    /// Label, region, domain (each length 4, bytes), capacity 8, number of addresses 1, each IPv6 or mapped IPv4 16 and port 2.
    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        for text in [&self.label, &self.region, &self.domain] {
            put_counted(to, text.as_bytes());
        }
        to.extend(self.capacity.to_le_bytes());
        to.push(self.addresses.len() as u8);
        for address in &self.addresses {
            let ip = match address.ip() {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            to.extend(ip.octets());
            to.extend(address.port().to_le_bytes());
        }
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bad = |what| DecodeError::Unknown { what, value: 0 };
        let mut text = |what| -> Result<String, DecodeError> {
            let bytes = from.counted(TEXT_BYTES_MAX, what)?;
            let text = std::str::from_utf8(bytes).map_err(|_| bad("a text that is not UTF-8"))?;
            match text.chars().any(unprintable) {
                true => Err(bad("a text with characters that cannot be shown")),
                false => Ok(text.to_owned()),
            }
        };
        let (label, region, domain) = (text("a label")?, text("a region")?, text("a domain")?);
        let capacity = from.u64("a capacity")?;
        let count = usize::from(from.u8("addresses")?);
        if count > ADDRESSES_MAX {
            return Err(DecodeError::TooMany {
                what: "addresses",
                count: count as u64,
                most: ADDRESSES_MAX as u64,
            });
        }
        let mut addresses = Vec::with_capacity(count);
        for _ in 0..count {
            let ip = Ipv6Addr::from(from.array::<16>("an address")?);
            let port = u16::from_le_bytes(from.array("a port")?);
            addresses.push(SocketAddr::new(IpAddr::V6(ip).to_canonical(), port));
        }
        Ok(Self {
            label,
            addresses,
            region,
            domain,
            capacity,
        })
    }
}

/// What the founder of a mesh signs. Its hash is the mesh's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    pub founder: NodeId,
    /// Makes the mesh one of a kind.
    pub nonce: [u8; 16],
    /// Unix milliseconds.
    pub time: u64,
    pub parameters: Parameters,
    pub description: Description,
    pub signature: Sig,
}

/// Why bytes found no mesh.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GenesisError {
    #[error("the genesis is malformed: {0}")]
    Decode(#[from] DecodeError),
    #[error("the genesis is not signed by the founder whom it names")]
    Signature,
    #[error("the founder's description: {0}")]
    Description(#[from] DescriptionError),
}

impl Genesis {
    /// Founds a mesh of one.
    ///
    /// # Errors
    /// When the description breaks its limits.
    pub fn found(
        key: &impl Sign,
        nonce: [u8; 16],
        time: u64,
        parameters: Parameters,
        description: Description,
    ) -> Result<Self, GenesisError> {
        description.check()?;
        let mut genesis = Self {
            founder: key.node(),
            nonce,
            time,
            parameters,
            description,
            signature: Sig([0; 64]),
        };
        genesis.signature = key.sign(&genesis.sign_bytes());
        Ok(genesis)
    }

    pub fn mesh(&self) -> MeshId {
        let hash = blake3::derive_key("hypermesh 2026 mesh genesis", &self.sign_bytes());
        MeshId(hash)
    }

    /// What is signed: 16 bytes of label, version 2, founder 32, nonce 16, time 8, parameters, description.
    fn sign_bytes(&self) -> Vec<u8> {
        let mut to = LABEL.to_vec();
        to.extend(GENESIS_VERSION.to_le_bytes());
        to.extend(self.founder.0);
        to.extend(self.nonce);
        to.extend(self.time.to_le_bytes());
        self.parameters.encode(&mut to);
        self.description.encode(&mut to);
        to
    }

    /// What is signed, and the signature.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = self.sign_bytes();
        to.extend(self.signature.0);
        to
    }

    /// Reads what [`Self::to_bytes`] wrote, and verifies the signature.
    ///
    /// # Errors
    /// Names the rule that the bytes break.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, GenesisError> {
        if bytes.len() > GENESIS_BYTES_MAX {
            return Err(DecodeError::Long(bytes.len() - GENESIS_BYTES_MAX).into());
        }
        let mut from = Reader(bytes);
        if from.array("a label")? != *LABEL {
            return Err(DecodeError::Unknown {
                what: "a label",
                value: 0,
            }
            .into());
        }
        let version = u16::from_le_bytes(from.array("a version")?);
        if version != GENESIS_VERSION {
            return Err(DecodeError::Unknown {
                what: "version",
                value: version.into(),
            }
            .into());
        }
        let genesis = Self {
            founder: from.node()?,
            nonce: from.array("a nonce")?,
            time: from.u64("a time")?,
            parameters: Parameters::decode(&mut from)?,
            description: Description::decode(&mut from)?,
            signature: Sig(from.array("a signature")?),
        };
        from.end()?;
        match signed_by(&genesis.founder, &genesis.sign_bytes(), &genesis.signature) {
            true => Ok(genesis),
            false => Err(GenesisError::Signature),
        }
    }
}

/// Whether this node signed these bytes, strictly.
fn signed_by(node: &NodeId, bytes: &[u8], signature: &Sig) -> bool {
    // A key of small order, or another text of a key, is nobody's.
    Voter::new(*node).is_ok()
        && VerifyingKey::from_bytes(&node.0).is_ok_and(|key| {
            key.verify_strict(bytes, &Signature::from_bytes(&signature.0))
                .is_ok()
        })
}
