//! Permission to read blocks: a keyed hash (BLAKE3) over who holds it and when it ends.
//!
//! The key lives as long as the process that gives tokens out, so a restart ends them all. A token that someone else
//! shows is refused: it names its holder, and the connection's key says who shows it.

use bytes::{BufMut, Bytes, BytesMut};
use hypermesh_id::NodeId;

use crate::reader::Reader;

/// Bytes of a token.
pub const TOKEN_BYTES: usize = 8 + 32;

/// What tokens are made with. Never leaves the process.
#[derive(Clone)]
pub struct TokenKey([u8; 32]);

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey")
    }
}

/// A token, as its holder keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Unix seconds from which on it is refused.
    pub expires: u64,
    mac: [u8; 32],
}

/// Why a token opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token is not {TOKEN_BYTES} bytes long")]
    Malformed,
    #[error("the token has expired; ask for a new one")]
    Expired,
    #[error("the token is not one of this node's for this peer; ask for a new one")]
    Forged,
}

impl Token {
    pub fn to_bytes(&self) -> [u8; TOKEN_BYTES] {
        let mut out = [0; TOKEN_BYTES];
        let (expires, mac) = out.split_at_mut(8);
        expires.copy_from_slice(&self.expires.to_le_bytes());
        mac.copy_from_slice(&self.mac);
        out
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TokenError> {
        let mut reader = Reader::new(Bytes::copy_from_slice(bytes));
        let token = reader.u64().and_then(|expires| {
            Ok(Self {
                expires,
                mac: reader.array()?,
            })
        });
        match (token, reader.end()) {
            (Ok(token), Ok(())) => Ok(token),
            _ => Err(TokenError::Malformed),
        }
    }
}

impl TokenKey {
    /// A key from 32 random bytes.
    pub fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    fn mac(&self, holder: &NodeId, expires: u64) -> blake3::Hash {
        let mut message = BytesMut::with_capacity(64);
        message.put_slice(b"stoq token 1\0");
        message.put_slice(&holder.0);
        message.put_u64_le(expires);
        blake3::keyed_hash(&self.0, &message)
    }

    /// Permits the holder to read until that Unix second.
    pub fn issue(&self, holder: &NodeId, expires: u64) -> Token {
        Token {
            expires,
            mac: *self.mac(holder, expires).as_bytes(),
        }
    }

    /// Whether the token permits that peer to read now.
    pub fn check(&self, token: &Token, holder: &NodeId, now: u64) -> Result<(), TokenError> {
        // The comparison of hashes takes the same time wherever they differ.
        if self.mac(holder, token.expires) != blake3::Hash::from_bytes(token.mac) {
            return Err(TokenError::Forged);
        }
        if token.expires <= now {
            Err(TokenError::Expired)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_for_its_holder_until_it_ends() {
        let (alice, bob) = (NodeId([1; 32]), NodeId([2; 32]));
        let key = TokenKey::new([9; 32]);
        let token = Token::from_bytes(&key.issue(&alice, 100).to_bytes()).unwrap();
        assert_eq!(key.check(&token, &alice, 99), Ok(()));
        assert_eq!(key.check(&token, &alice, 100), Err(TokenError::Expired));
        assert_eq!(key.check(&token, &bob, 99), Err(TokenError::Forged));
        assert_eq!(
            TokenKey::new([8; 32]).check(&token, &alice, 99),
            Err(TokenError::Forged)
        );
        let longer = Token {
            expires: 200,
            ..token
        };
        assert_eq!(key.check(&longer, &alice, 99), Err(TokenError::Forged));
        assert_eq!(Token::from_bytes(&[0; 39]), Err(TokenError::Malformed));
        assert_eq!(Token::from_bytes(&[0; 41]), Err(TokenError::Malformed));
    }
}
