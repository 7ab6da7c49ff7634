//! The write-ahead log of the height that is being decided: what a node must not forget, or it might vote twice.
//!
//! A record is its length (4 bytes), the CRC-32 of its content (4), and the content: a kind, then what the kind says. The
//! log is begun anew with every height. A log that was cut off in the middle of a record ends before it: what was not whole
//! was not told to anyone.

use bytes::Bytes;
use malachite_types::{Round, Timeout, TimeoutKind};

use crate::codec::{DecodeError, Reader, put_counted, put_round};
use crate::message::{PolkaProof, polka, put_polka};
use crate::types::{BLOCK_BYTES_MAX, Height};
use crate::vote::{Proposal, Signed, Vote};

/// Longest content of a record.
const CONTENT_BYTES_MAX: usize = BLOCK_BYTES_MAX + 1024;

/// One thing that happened in a height.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Record {
    /// The height begins: the first record of a log.
    Height(Height),
    Vote(Signed<Vote>),
    Proposal(Signed<Proposal>),
    Polka(PolkaProof),
    Timeout(Timeout),
    /// A block that came or was made, and whether it was found good.
    Block {
        round: Round,
        valid_round: Round,
        valid: bool,
        body: Bytes,
    },
}

/// Why a log cannot be used. Starting without it might make the node vote twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    #[error("the record at byte {offset} is damaged, and others follow it")]
    Damaged { offset: usize },
    #[error("the record at byte {offset} cannot be read: {error}")]
    Content { offset: usize, error: DecodeError },
    #[error("it does not begin with a height")]
    NoHeight,
}

impl Record {
    /// Appends it to a log.
    pub fn write(&self, log: &mut Vec<u8>) {
        let start = log.len();
        log.extend([0; 8]);
        self.encode(log);
        let content = &log[start + 8..];
        let (length, sum) = (content.len() as u32, crc32fast::hash(content));
        log[start..start + 4].copy_from_slice(&length.to_le_bytes());
        log[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
    }

    /// Reads a log. Answers its records, and how many of its bytes they are: what follows was cut off.
    ///
    /// # Errors
    /// A record in the middle that is damaged, or whose checksum is right and whose content is not a record.
    pub fn read(log: &[u8]) -> Result<(Vec<Self>, usize), LogError> {
        let (mut records, mut offset) = (Vec::new(), 0);
        while let Some(content) = content_at(log, offset)? {
            let record =
                Self::decode(content).map_err(|error| LogError::Content { offset, error })?;
            if records.is_empty() && !matches!(record, Self::Height(_)) {
                return Err(LogError::NoHeight);
            }
            records.push(record);
            offset += 8 + content.len();
        }
        Ok((records, offset))
    }

    fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::Height(height) => {
                to.push(1);
                to.extend(height.0.to_le_bytes());
            }
            Self::Vote(vote) => {
                to.push(2);
                vote.encode(to);
            }
            Self::Proposal(proposal) => {
                to.push(3);
                proposal.encode(to);
            }
            Self::Polka(proof) => {
                to.push(4);
                put_polka(to, &proof.0);
            }
            Self::Timeout(timeout) => {
                to.push(5);
                to.push(timeout_number(timeout.kind));
                put_round(to, timeout.round);
            }
            Self::Block {
                round,
                valid_round,
                valid,
                body,
            } => {
                to.push(6);
                put_round(to, *round);
                put_round(to, *valid_round);
                to.push(u8::from(*valid));
                put_counted(to, body);
            }
        }
    }

    fn decode(content: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader(content);
        let record = match from.u8("the kind")? {
            1 => Self::Height(from.height()?),
            2 => Self::Vote(Signed::<Vote>::decode(&mut from)?),
            3 => Self::Proposal(Signed::<Proposal>::decode(&mut from)?),
            4 => Self::Polka(PolkaProof(polka(&mut from)?)),
            5 => {
                let kind = timeout_kind(from.u8("a timeout")?)?;
                Self::Timeout(Timeout::new(from.round()?, kind))
            }
            6 => Self::Block {
                round: from.round()?,
                valid_round: from.round()?,
                valid: match from.u8("a verdict")? {
                    0 => false,
                    1 => true,
                    value => {
                        return Err(DecodeError::Unknown {
                            what: "a verdict",
                            value: value.into(),
                        });
                    }
                },
                body: Bytes::copy_from_slice(from.counted(BLOCK_BYTES_MAX, "bytes of a block")?),
            },
            kind => {
                return Err(DecodeError::Unknown {
                    what: "kind",
                    value: kind.into(),
                });
            }
        };
        from.end()?;
        Ok(record)
    }
}

/// The content of the record at a place, or none at the end of the log: there, or where its last record was cut off.
fn content_at(log: &[u8], offset: usize) -> Result<Option<&[u8]>, LogError> {
    let mut from = Reader(&log[offset..]);
    let (Ok(length), Ok(sum)) = (from.u32("length"), from.u32("sum")) else {
        return Ok(None);
    };
    let length = length as usize;
    if length == 0 || length > CONTENT_BYTES_MAX {
        // Zeroes are what a file system leaves of a tail that did not come to the disk.
        return match log[offset..].iter().all(|byte| *byte == 0) {
            true => Ok(None),
            false => Err(LogError::Damaged { offset }),
        };
    }
    let Ok(content) = from.bytes(length, "content") else {
        return Ok(None);
    };
    match (crc32fast::hash(content) == sum, from.0.is_empty()) {
        (true, _) => Ok(Some(content)),
        // The last one may have come to the disk in part, whatever its length says.
        (false, true) => Ok(None),
        (false, false) => Err(LogError::Damaged { offset }),
    }
}

fn timeout_number(kind: TimeoutKind) -> u8 {
    match kind {
        TimeoutKind::Propose => 1,
        TimeoutKind::Prevote => 2,
        TimeoutKind::Precommit => 3,
        TimeoutKind::Rebroadcast => 4,
        TimeoutKind::FinalizeHeight(_) => 5,
    }
}

fn timeout_kind(number: u8) -> Result<TimeoutKind, DecodeError> {
    Ok(match number {
        1 => TimeoutKind::Propose,
        2 => TimeoutKind::Prevote,
        3 => TimeoutKind::Precommit,
        4 => TimeoutKind::Rebroadcast,
        value => {
            return Err(DecodeError::Unknown {
                what: "a timeout",
                value: value.into(),
            });
        }
    })
}
