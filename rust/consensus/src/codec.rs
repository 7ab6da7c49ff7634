//! Reads and writes the fixed layouts of this crate: little-endian, lengths before contents, nothing left over.

use crate::types::{BlockHash, Height, MeshId};
use hypermesh_id::NodeId;
use malachite_types::Round;

/// What is wrong with bytes that should be a message, a block or a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    #[error("it ends in the middle of {0}")]
    Short(&'static str),
    #[error("{0} bytes follow its end")]
    Long(usize),
    #[error("{what} {value} is not known")]
    Unknown { what: &'static str, value: u64 },
    #[error("{what} are {count}, more than {most}")]
    TooMany {
        what: &'static str,
        count: u64,
        most: u64,
    },
    #[error("it is of another mesh ({0})")]
    OtherMesh(MeshId),
    #[error("{0} are not in order, or twice")]
    Order(&'static str),
}

/// Takes values off the front of bytes.
#[derive(Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// So many bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn bytes(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(DecodeError::Short(what))?;
        self.0 = rest;
        Ok(taken)
    }

    /// So many bytes, as an array.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(DecodeError::Short(what))?;
        self.0 = rest;
        Ok(*taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    /// A number of four bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// A number of eight bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A height.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn height(&mut self) -> Result<Height, DecodeError> {
        self.u64("a height").map(Height)
    }

    /// A node id.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn node(&mut self) -> Result<NodeId, DecodeError> {
        self.array("a node id").map(NodeId)
    }

    pub(crate) fn hash(&mut self) -> Result<BlockHash, DecodeError> {
        self.array("a block's hash").map(BlockHash)
    }

    /// A round, or none: one more than the round, 0 for none.
    pub(crate) fn round(&mut self) -> Result<Round, DecodeError> {
        Ok(self
            .u32("a round")?
            .checked_sub(1)
            .map_or(Round::Nil, Round::new))
    }

    /// A number of things that follow, each of at least `least` bytes, so that nothing is reserved for what cannot be there.
    ///
    /// # Errors
    /// When they are more than `most`, or cannot be there.
    pub fn count(
        &mut self,
        most: usize,
        least: usize,
        what: &'static str,
    ) -> Result<usize, DecodeError> {
        let count = self.u32(what)? as usize;
        if count > most {
            return Err(DecodeError::TooMany {
                what,
                count: count as u64,
                most: most as u64,
            });
        }
        if count.saturating_mul(least) > self.0.len() {
            return Err(DecodeError::Short(what));
        }
        Ok(count)
    }

    /// Bytes with their length before them.
    ///
    /// # Errors
    /// When they are more than `most`, or fewer are left.
    pub fn counted(&mut self, most: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let count = self.count(most, 1, what)?;
        self.bytes(count, what)
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// When something is.
    pub fn end(self) -> Result<(), DecodeError> {
        match self.0.len() {
            0 => Ok(()),
            left => Err(DecodeError::Long(left)),
        }
    }
}

pub(crate) fn put_round(to: &mut Vec<u8>, round: Round) {
    let number = round.as_u32().map_or(0, |round| round.saturating_add(1));
    to.extend(number.to_le_bytes());
}

/// Writes a number of things that follow, in four bytes.
pub fn put_count(to: &mut Vec<u8>, count: usize) {
    // Whoever writes has kept the limits of whoever reads, which are far below.
    to.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

/// Writes bytes with their length before them.
pub fn put_counted(to: &mut Vec<u8>, bytes: &[u8]) {
    put_count(to, bytes.len());
    to.extend(bytes);
}
