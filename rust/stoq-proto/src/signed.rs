//! Invitations and member records: statements with an Ed25519 signature (RFC 8032) over domain-separated bytes.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Checksum, Hrp};
use bytes::{BufMut, Bytes, BytesMut};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hypermesh_id::NodeId;

use crate::reader::{Malformed, Reader, put_addresses};

/// Addresses in one statement.
pub const ADDRESSES_MAX: usize = 8;

const INVITATION_HRP: &str = "hmi";
const INVITATION_DOMAIN: &[u8] = b"hypermesh invitation 1\0";
const RECORD_DOMAIN: &[u8] = b"hypermesh member record 1\0";

/// A statement that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignedError {
    #[error("this is not an invitation (hmi1…); was it copied whole?")]
    Text,
    #[error("the statement is cut short or has a field that cannot be")]
    Malformed,
    #[error("the signature is not its issuer's")]
    Signature,
    #[error("it names {0} addresses; 1 to {ADDRESSES_MAX} are possible")]
    Addresses(usize),
}

impl From<Malformed> for SignedError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Lets one node join, once. Its text form starts with `hmi1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    pub issuer: NodeId,
    /// Where the issuer is reached.
    pub addresses: Vec<SocketAddr>,
    /// Unix seconds from which on it is refused.
    pub expires: u64,
    /// Makes it one of a kind, so that it can be spent.
    pub nonce: [u8; 16],
    signature: [u8; 64],
}

impl Invitation {
    /// Writes an invitation; the key's owner is the issuer.
    pub fn sign(
        key: &SigningKey,
        addresses: Vec<SocketAddr>,
        expires: u64,
        nonce: [u8; 16],
    ) -> Result<Self, SignedError> {
        if addresses.is_empty() || addresses.len() > ADDRESSES_MAX {
            return Err(SignedError::Addresses(addresses.len()));
        }
        let issuer = NodeId(key.verifying_key().to_bytes());
        let mut invitation = Self {
            issuer,
            addresses,
            expires,
            nonce,
            signature: [0; 64],
        };
        invitation.signature = sign(key, INVITATION_DOMAIN, &invitation.body());
        Ok(invitation)
    }

    fn body(&self) -> BytesMut {
        let mut out = BytesMut::new();
        out.put_slice(&self.issuer.0);
        put_addresses(&mut out, &self.addresses);
        out.put_u64_le(self.expires);
        out.put_slice(&self.nonce);
        out
    }

    /// Its bytes, signature last.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = self.body();
        out.put_slice(&self.signature);
        out.freeze()
    }

    /// Reads and verifies; expiry is the issuer's to judge.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, SignedError> {
        let mut reader = Reader::new(bytes);
        let issuer = reader.node()?;
        let addresses = reader.addresses(ADDRESSES_MAX)?;
        let expires = reader.u64()?;
        let nonce = reader.array()?;
        let signature = reader.array()?;
        reader.end()?;
        if addresses.is_empty() {
            return Err(SignedError::Addresses(0));
        }
        let invitation = Self {
            issuer,
            addresses,
            expires,
            nonce,
            signature,
        };
        verify(&issuer, INVITATION_DOMAIN, &invitation.body(), &signature)?;
        Ok(invitation)
    }
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hrp = Hrp::parse_unchecked(INVITATION_HRP);
        f.write_str(&bech32::encode::<LongBech32m>(hrp, &self.to_bytes()).map_err(|_| fmt::Error)?)
    }
}

/// Longest text that is looked at; the longest invitation has about 600 letters.
const TEXT_LETTERS_MAX: usize = 1_023;

/// Bech32m (BIP-350) for texts that are longer than an address. Its checksum still finds any up to three wrong letters
/// of a text of this length with certainty; a signature follows it anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LongBech32m {}

impl Checksum for LongBech32m {
    type MidstateRepr = u32;
    type CorrectionField = <Bech32m as Checksum>::CorrectionField;
    const ROOT_GENERATOR: Self::CorrectionField = Bech32m::ROOT_GENERATOR;
    const ROOT_EXPONENTS: std::ops::RangeInclusive<usize> = Bech32m::ROOT_EXPONENTS;
    const CODE_LENGTH: usize = TEXT_LETTERS_MAX;
    const CHECKSUM_LENGTH: usize = Bech32m::CHECKSUM_LENGTH;
    const GENERATOR_SH: [u32; 5] = Bech32m::GENERATOR_SH;
    const TARGET_RESIDUE: u32 = Bech32m::TARGET_RESIDUE;
}

impl FromStr for Invitation {
    type Err = SignedError;
    fn from_str(text: &str) -> Result<Self, SignedError> {
        if text.len() > TEXT_LETTERS_MAX {
            return Err(SignedError::Text);
        }
        let checked = CheckedHrpstring::new::<LongBech32m>(text).map_err(|_| SignedError::Text)?;
        if checked.hrp() != Hrp::parse_unchecked(INVITATION_HRP) {
            return Err(SignedError::Text);
        }
        let invitation = Self::from_bytes(checked.byte_iter().collect::<Vec<u8>>().into())?;
        // The last letter has bits to spare: an invitation has one text only.
        if invitation.to_string().eq_ignore_ascii_case(text) {
            Ok(invitation)
        } else {
            Err(SignedError::Text)
        }
    }
}

/// A node vouches for another: who it is and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRecord {
    pub subject: NodeId,
    /// Where the subject is reached, as the issuer knows it.
    pub addresses: Vec<SocketAddr>,
    pub issuer: NodeId,
    /// Unix seconds.
    pub issued: u64,
    signature: [u8; 64],
}

impl MemberRecord {
    /// Vouches for a node; addresses beyond [`ADDRESSES_MAX`] are left out.
    pub fn sign(
        key: &SigningKey,
        subject: NodeId,
        mut addresses: Vec<SocketAddr>,
        issued: u64,
    ) -> Self {
        addresses.truncate(ADDRESSES_MAX);
        let issuer = NodeId(key.verifying_key().to_bytes());
        let mut record = Self {
            subject,
            addresses,
            issuer,
            issued,
            signature: [0; 64],
        };
        record.signature = sign(key, RECORD_DOMAIN, &record.body());
        record
    }

    fn body(&self) -> BytesMut {
        let mut out = BytesMut::new();
        out.put_slice(&self.subject.0);
        put_addresses(&mut out, &self.addresses);
        out.put_slice(&self.issuer.0);
        out.put_u64_le(self.issued);
        out
    }

    pub(crate) fn put(&self, out: &mut BytesMut) {
        out.put_slice(&self.body());
        out.put_slice(&self.signature);
    }

    /// Takes one off; the signature is checked by [`MemberRecord::verify`].
    pub(crate) fn take(reader: &mut Reader) -> Result<Self, Malformed> {
        let subject = reader.node()?;
        let addresses = reader.addresses(ADDRESSES_MAX)?;
        let issuer = reader.node()?;
        let issued = reader.u64()?;
        Ok(Self {
            subject,
            addresses,
            issuer,
            issued,
            signature: reader.array()?,
        })
    }

    /// Whether its issuer signed it.
    pub fn verify(&self) -> Result<(), SignedError> {
        verify(&self.issuer, RECORD_DOMAIN, &self.body(), &self.signature)
    }
}

fn message(domain: &[u8], body: &[u8]) -> Vec<u8> {
    [domain, body].concat()
}

fn sign(key: &SigningKey, domain: &[u8], body: &[u8]) -> [u8; 64] {
    key.sign(&message(domain, body)).to_bytes()
}

fn verify(
    issuer: &NodeId,
    domain: &[u8],
    body: &[u8],
    signature: &[u8; 64],
) -> Result<(), SignedError> {
    let key = VerifyingKey::from_bytes(&issuer.0).map_err(|_| SignedError::Signature)?;
    // Strict: no weak keys and one signature per message, so that a statement cannot be changed in transit.
    key.verify_strict(&message(domain, body), &Signature::from_bytes(signature))
        .map_err(|_| SignedError::Signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn addresses(count: usize) -> Vec<SocketAddr> {
        let some = ["[2001:db8::7]:4870", "192.0.2.1:1", "[::1]:65535"];
        (0..count)
            .map(|at| some[at % some.len()].parse().unwrap())
            .collect()
    }

    #[test]
    fn invitations_round_trip_as_text() {
        for count in 1..=ADDRESSES_MAX {
            let invitation = Invitation::sign(&key(1), addresses(count), 1_000, [7; 16]).unwrap();
            let text = invitation.to_string();
            assert!(text.starts_with("hmi1"));
            assert_eq!(text.parse::<Invitation>().unwrap(), invitation);
        }
        assert!(Invitation::sign(&key(1), Vec::new(), 1_000, [7; 16]).is_err());
        assert!(Invitation::sign(&key(1), addresses(9), 1_000, [7; 16]).is_err());
    }

    #[test]
    fn another_signature_is_refused() {
        let invitation = Invitation::sign(&key(1), addresses(1), 1_000, [7; 16]).unwrap();
        let forged = Invitation {
            issuer: NodeId(key(2).verifying_key().to_bytes()),
            ..invitation.clone()
        };
        assert_eq!(
            Invitation::from_bytes(forged.to_bytes()),
            Err(SignedError::Signature)
        );
        let later = Invitation {
            expires: 2_000,
            ..invitation
        };
        assert_eq!(
            Invitation::from_bytes(later.to_bytes()),
            Err(SignedError::Signature)
        );
    }

    #[test]
    fn a_record_is_no_invitation() {
        // The same bytes signed for another purpose do not pass.
        let record = MemberRecord::sign(&key(1), NodeId([3; 32]), addresses(2), 5);
        record.verify().unwrap();
        let body = record.body();
        assert!(verify(&record.issuer, INVITATION_DOMAIN, &body, &record.signature).is_err());
        assert!(
            MemberRecord {
                issued: 6,
                ..record
            }
            .verify()
            .is_err()
        );
    }

    proptest! {
        #[test]
        fn every_flipped_bit_is_noticed(at in 0usize..200, bit in 0u8..8) {
            let invitation = Invitation::sign(&key(1), addresses(2), 1_000, [7; 16]).unwrap();
            let mut bytes = invitation.to_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert!(Invitation::from_bytes(bytes.into()).is_err());
        }

        #[test]
        fn noise_is_an_error(bytes: Vec<u8>, text in ".{0,80}") {
            prop_assert!(Invitation::from_bytes(bytes.into()).is_err());
            prop_assert!(text.parse::<Invitation>().is_err());
            let prefixed = format!("hmi1{text}");
            prop_assert!(prefixed.parse::<Invitation>().is_err());
        }
    }
}
