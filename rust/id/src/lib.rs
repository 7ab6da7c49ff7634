//! Identities and addresses of the mesh: node ids, block ids, roots, and their text forms.
//!
//! - [`NodeId`]: an Ed25519 public key; text form `hm1…` (Bech32m, BIP-350, prefix `hm`).
//! - [`BlockId`]: the BLAKE3 hash of a block's bytes; text form is 64 hex digits.
//! - [`Root`]: the block id of a root manifest; text form `hmr1…`.
//!
//! ```
//! use hypermesh_id::{BlockId, Root};
//! let root = Root(BlockId::of(b"bytes"));
//! assert_eq!(root.to_string().parse::<Root>().unwrap(), root);
//! ```
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};

const NODE_HRP: &str = "hm";
const ROOT_HRP: &str = "hmr";

/// A node: its Ed25519 public key (RFC 8032), 32 bytes.
///
/// The bytes are not checked to be a point on the curve; whoever verifies a signature does that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 32]);

/// A block: the BLAKE3 hash of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub [u8; 32]);

/// A root: the block id of a root manifest, the name of a whole tree of content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Root(pub BlockId);

impl BlockId {
    /// The id of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

/// A text that is not an id, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("'{text}' is not {expected}: {reason}")]
    Text {
        text: String,
        expected: &'static str,
        reason: String,
    },
}

fn decode_bech32(text: &str, hrp: &str, expected: &'static str) -> Result<[u8; 32], ParseError> {
    let wrong = |reason: String| ParseError::Text {
        // A pasted file must not become an error message.
        text: text.chars().take(80).collect(),
        expected,
        reason,
    };
    let checked = CheckedHrpstring::new::<Bech32m>(text)
        .map_err(|error| wrong(format!("{error} (was it copied whole?)")))?;
    if checked.hrp() != Hrp::parse_unchecked(hrp) {
        return Err(wrong(format!(
            "it starts with '{}1', not '{hrp}1'",
            checked.hrp()
        )));
    }
    let bytes: Vec<u8> = checked.byte_iter().collect();
    let bytes: [u8; 32] = bytes
        .try_into()
        .map_err(|_| wrong("it does not hold 32 bytes".into()))?;
    // The last letter has bits to spare: an id has one text only.
    match encode_bech32(hrp, &bytes) {
        Ok(again) if again.eq_ignore_ascii_case(text) => Ok(bytes),
        _ => Err(wrong("its last letter holds more than the id".into())),
    }
}

fn encode_bech32(hrp: &str, bytes: &[u8; 32]) -> Result<String, fmt::Error> {
    bech32::encode::<Bech32m>(Hrp::parse_unchecked(hrp), bytes).map_err(|_| fmt::Error)
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode_bech32(NODE_HRP, &self.0)?)
    }
}

impl FromStr for NodeId {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        decode_bech32(text, NODE_HRP, "a node id (hm1…)").map(Self)
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode_bech32(ROOT_HRP, &self.0.0)?)
    }
}

impl FromStr for Root {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        decode_bech32(text, ROOT_HRP, "a root (hmr1…)").map(|bytes| Self(BlockId(bytes)))
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for BlockId {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = |reason: &str| ParseError::Text {
            text: text.chars().take(80).collect(),
            expected: "a block id",
            reason: reason.into(),
        };
        // Looked at one by one: the conversion below takes "+8" for a number.
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong("it does not have 64 hex digits"));
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong("it is not hex"))?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong("it is not hex"))?;
        }
        Ok(Self(bytes))
    }
}

macro_rules! debug_as_text {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )*};
}
debug_as_text!(NodeId BlockId Root);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_forms_round_trip(bytes: [u8; 32]) {
            let (node, block, root) = (NodeId(bytes), BlockId(bytes), Root(BlockId(bytes)));
            prop_assert_eq!(node.to_string().parse::<NodeId>().unwrap(), node);
            prop_assert_eq!(block.to_string().parse::<BlockId>().unwrap(), block);
            prop_assert_eq!(root.to_string().parse::<Root>().unwrap(), root);
        }

        #[test]
        fn one_wrong_letter_is_noticed(bytes: [u8; 32], at in 3usize..60) {
            let mut text = NodeId(bytes).to_string().into_bytes();
            text[at] = if text[at] == b'q' { b'p' } else { b'q' };
            prop_assert!(String::from_utf8(text).unwrap().parse::<NodeId>().is_err());
        }

        #[test]
        fn hostile_text_is_an_error(text in ".{0,200}") {
            prop_assert!(text.parse::<NodeId>().is_err());
            prop_assert!(text.parse::<Root>().is_err());
            prop_assert!(text.len() == 64 || text.parse::<BlockId>().is_err());
        }
    }

    #[test]
    fn an_id_has_one_text() {
        // Found by rust/fuzz: right checksum, other bits behind the last byte.
        let other = "hmr14e6nqveaadpe0acmpn4fydf3m9yyaehzda3xkxv9pku00tv2089cpv7g8w";
        let error = other.parse::<Root>().unwrap_err().to_string();
        assert!(error.contains("last letter"), "{error}");
        let signed = format!("+8{}", "0".repeat(62));
        assert!(signed.parse::<BlockId>().is_err());
    }

    #[test]
    fn a_root_is_not_a_node() {
        let root = Root(BlockId([7; 32])).to_string();
        assert!(root.starts_with("hmr1"));
        let error = root.parse::<NodeId>().unwrap_err().to_string();
        assert!(error.contains("'hmr1', not 'hm1'"), "{error}");
    }
}
