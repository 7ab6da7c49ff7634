//! Blocks: a head, and transactions.

use bytes::Bytes;
use hypermesh_consensus::{
    BLOCK_BYTES_MAX, BlockHash, DecodeError, HEAD_BYTES, Reader, put_count, put_counted,
};

use crate::transaction::{TRANSACTION_BYTES_MAX, Transaction, TransactionId};

/// Version of what is ordered: of the layouts, and of the rules.
pub const BLOCK_VERSION: u16 = 1;
/// Shortest transaction, with its length: nothing shorter decodes.
const TRANSACTION_BYTES_MIN: usize = 4 + 1 + 32 + 8 + 8 + 1 + 64;
/// Most transactions of a block.
pub const BLOCK_TRANSACTIONS_MAX: usize = BLOCK_BYTES_MAX / TRANSACTION_BYTES_MIN;

/// The first 128 bytes of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub height: u64,
    /// The hash of the block before; of the first, the mesh.
    pub parent: BlockHash,
    /// Of the state after this block.
    pub root: [u8; 32],
    /// How many transactions follow.
    pub transactions: u32,
    /// Unix milliseconds by the proposer's clock. No block's is before its parent's; more is not checked.
    pub time: u64,
}

/// One transaction of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub id: TransactionId,
    pub transaction: Transaction,
}

impl Head {
    /// Version 2, height 8, parent 32, root 32, number of transactions 4, time 8, zeros 42.
    pub fn to_bytes(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..2].copy_from_slice(&BLOCK_VERSION.to_le_bytes());
        bytes[2..10].copy_from_slice(&self.height.to_le_bytes());
        bytes[10..42].copy_from_slice(&self.parent.0);
        bytes[42..74].copy_from_slice(&self.root);
        bytes[74..78].copy_from_slice(&self.transactions.to_le_bytes());
        bytes[78..86].copy_from_slice(&self.time.to_le_bytes());
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote off the front of a block.
    ///
    /// # Errors
    /// Names the rule that the bytes break.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader(bytes);
        let version = u16::from_le_bytes(from.array("a version")?);
        if version != BLOCK_VERSION {
            return Err(DecodeError::Unknown {
                what: "version",
                value: version.into(),
            });
        }
        let head = Self {
            height: from.u64("a height")?,
            parent: BlockHash(from.array("a block's hash")?),
            root: from.array("a root")?,
            transactions: from.u32("a number of transactions")?,
            time: from.u64("a time")?,
        };
        match from.array::<42>("a head")? {
            zeros if zeros == [0; 42] => Ok(head),
            _ => Err(DecodeError::Unknown {
                what: "a use of the reserved bytes",
                value: 1,
            }),
        }
    }
}

/// Head and transactions of a block. Signatures are not looked at.
///
/// # Errors
/// Names the rule that the bytes break.
pub fn read_block(block: &[u8]) -> Result<(Head, Vec<Item>), DecodeError> {
    if block.len() > BLOCK_BYTES_MAX {
        return Err(DecodeError::Long(block.len() - BLOCK_BYTES_MAX));
    }
    let head = Head::from_bytes(block)?;
    let mut from = Reader(block.get(HEAD_BYTES..).unwrap_or_default());
    let count = from.count(
        BLOCK_TRANSACTIONS_MAX,
        TRANSACTION_BYTES_MIN,
        "transactions",
    )?;
    if count != head.transactions as usize {
        return Err(DecodeError::Unknown {
            what: "another number of transactions than the head's,",
            value: count as u64,
        });
    }
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        let bytes = from.counted(TRANSACTION_BYTES_MAX, "bytes of a transaction")?;
        items.push(Item {
            id: TransactionId::of(bytes),
            transaction: Transaction::from_bytes(bytes)?,
        });
    }
    from.end()?;
    Ok((head, items))
}

/// The bytes of a block: its head; the number of transactions 4; each with its length 4 before it.
pub(crate) fn write_block(head: &Head, transactions: &[Bytes]) -> Bytes {
    let mut to = head.to_bytes().to_vec();
    put_count(&mut to, transactions.len());
    transactions
        .iter()
        .for_each(|bytes| put_counted(&mut to, bytes));
    to.into()
}

/// Bytes of a block without transactions.
pub(crate) const EMPTY_BLOCK_BYTES: usize = HEAD_BYTES + 4;
