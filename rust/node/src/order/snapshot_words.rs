//! What nodes say to each other of snapshots. The bytes begin as those of all messages of a mesh do: version, kind, mesh.

use hypermesh_consensus::{DecodeError, MeshId, Reader, VERSION};
use hypermesh_registry::{PART_BYTES_MAX, SavedHead};

/// Kinds; those of the agreement are below 64, and transactions are 64.
pub(crate) const ASK: u8 = 65;
const OFFER: u8 = 66;
const ASK_PIECE: u8 = 67;
pub(crate) const PIECE: u8 = 68;
/// Version, kind, mesh.
const HEADER_BYTES: usize = 2 + 32;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotWord {
    /// Asks for a snapshot above a height.
    Ask { above: u64 },
    /// The newest one; or none that is above.
    Offer(Option<Box<Offer>>),
    /// Asks for a piece of the snapshot of a height.
    AskPiece { height: u64, number: u32 },
    /// One, or nothing when it is not there any more.
    Piece {
        height: u64,
        number: u32,
        content: Vec<u8>,
    },
}

/// A snapshot that a node has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) head: SavedHead,
    pub(crate) pieces: u32,
    pub(crate) bytes: u64,
}

impl SnapshotWord {
    pub(crate) fn encode(&self, mesh: &MeshId) -> Vec<u8> {
        let kind = match self {
            Self::Ask { .. } => ASK,
            Self::Offer(_) => OFFER,
            Self::AskPiece { .. } => ASK_PIECE,
            Self::Piece { .. } => PIECE,
        };
        let mut to = vec![VERSION, kind];
        to.extend(mesh.0);
        match self {
            Self::Ask { above } => to.extend(above.to_le_bytes()),
            Self::Offer(None) => {}
            Self::Offer(Some(offer)) => {
                offer.head.encode(&mut to);
                to.extend(offer.pieces.to_le_bytes());
                to.extend(offer.bytes.to_le_bytes());
            }
            Self::AskPiece { height, number } => {
                to.extend(height.to_le_bytes());
                to.extend(number.to_le_bytes());
            }
            Self::Piece {
                height,
                number,
                content,
            } => {
                to.extend(height.to_le_bytes());
                to.extend(number.to_le_bytes());
                to.extend(content);
            }
        }
        to
    }

    /// Reads a message, of whose mesh its receiver is known to be.
    ///
    /// # Errors
    /// Names the rule that it breaks.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let content = bytes.get(HEADER_BYTES..);
        let mut from = Reader(content.ok_or(DecodeError::Short("the mesh"))?);
        let word = match bytes.get(1).copied().unwrap_or_default() {
            ASK => Self::Ask {
                above: from.u64("a height")?,
            },
            OFFER if from.0.is_empty() => Self::Offer(None),
            OFFER => Self::Offer(Some(Box::new(Offer {
                head: SavedHead::decode(&mut from)?,
                pieces: from.u32("a number of pieces")?,
                bytes: from.u64("a number of bytes")?,
            }))),
            ASK_PIECE => Self::AskPiece {
                height: from.u64("a height")?,
                number: from.u32("a number of a piece")?,
            },
            PIECE => {
                let (height, number) = (from.u64("a height")?, from.u32("a number of a piece")?);
                if from.0.len() > PART_BYTES_MAX {
                    return Err(DecodeError::Long(from.0.len() - PART_BYTES_MAX));
                }
                let content = std::mem::take(&mut from.0).to_vec();
                Self::Piece {
                    height,
                    number,
                    content,
                }
            }
            other => {
                return Err(DecodeError::Unknown {
                    what: "kind",
                    value: other.into(),
                });
            }
        };
        from.end()?;
        Ok(word)
    }
}
