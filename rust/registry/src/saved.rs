//! A state with all that it takes to believe it, as a file and on its way between nodes.
//!
//! The file is `hmstate` and 1, then frames {kind 1, length 4, sum 8, content}; a sum is the first bytes of the BLAKE3 hash of
//! kind, length and content. Kind 1 is the head: mesh 32, number of links 4, the last head with its certificate. Kind 2 are the
//! *pieces*: first the links, [`LINKS_EACH`] at a time, then the parts of the state ([`Snapshot`]). Kind 3 is the end: number of pieces
//! 4, bytes before it 8. Sums tell damage; what is right is told by signatures and the root alone, so that a file of anybody, and
//! pieces of different nodes, are as good as own ones.

use std::io::{self, Read, Seek, SeekFrom, Write};

use hypermesh_consensus::{DecodeError, MeshId, Reader};

use crate::block::Head;
use crate::entry::{Entry, Key};
use crate::genesis::Genesis;
use crate::proof::{LINKS_MAX, Link, ProofError, Sealed, Way};
use crate::snapshot::{PART_BYTES_MAX, Part, PartError, Parts, Snapshot, verified};
use crate::state::State;

/// Links in one piece: as many as always fit when as many vote as may.
pub const LINKS_EACH: usize = 8;
/// First bytes of a file, with the version of its layout.
const MAGIC: &[u8; 8] = b"hmstate\x01";
/// Kind, length, sum.
const FRAME_BYTES: usize = 1 + 4 + 8;
const HEAD: u8 = 1;
const PIECE: u8 = 2;
const END: u8 = 3;
/// Mesh, number, head and hash, and a certificate of as many as may vote.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const END_BYTES: usize = 4 + 8;

/// What a snapshot is of. Proves nothing by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedHead {
    pub mesh: MeshId,
    /// How many changes of the voters there were until then.
    pub links: u32,
    /// The block after which the state is this one.
    pub sealed: Sealed,
}

/// Why a piece is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PieceError {
    #[error("its links are malformed: {0}")]
    Decode(#[from] DecodeError),
    #[error("{0}")]
    Proof(#[from] ProofError),
    #[error("{0}")]
    Part(#[from] PartError),
    #[error("the state is whole, and this is one piece more")]
    More,
}

/// A file that is no snapshot of this mesh.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SavedError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is damaged or cut short at byte {0}")]
    Damaged(u64),
    #[error("it is of the mesh {0}")]
    OtherMesh(MeshId),
    #[error("piece {piece} is none of a state that this mesh decided: {reason}")]
    Piece { piece: u32, reason: PieceError },
}

impl PieceError {
    /// Whether a piece before this one may be what is wrong: it was proved to be of the state or of the links, but was more or less
    /// than a piece is.
    pub fn is_of_before(&self) -> bool {
        matches!(
            self,
            Self::More
                | Self::Part(PartError::Order | PartError::Missing)
                | Self::Proof(ProofError::Links(_))
        )
    }
}

impl SavedHead {
    pub fn height(&self) -> u64 {
        self.sealed.certificate.height.0
    }

    /// How many pieces the links are.
    pub fn link_pieces(&self) -> u32 {
        self.links.div_ceil(LINKS_EACH as u32)
    }

    /// Mesh 32, number of links 4, sealed.
    pub fn encode(&self, to: &mut Vec<u8>) {
        to.extend(self.mesh.0);
        to.extend(self.links.to_le_bytes());
        self.sealed.encode(to);
    }

    /// Takes one off the front of bytes. Proves nothing.
    ///
    /// # Errors
    /// Names the rule that the bytes break.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mesh = MeshId(from.array("a mesh")?);
        let links = u32::from_le_bytes(from.array("a number of links")?);
        if links as usize > LINKS_MAX {
            return Err(DecodeError::TooMany {
                what: "links",
                count: links.into(),
                most: LINKS_MAX as u64,
            });
        }
        let sealed = Sealed::decode(from)?;
        Ok(Self {
            mesh,
            links,
            sealed,
        })
    }
}

/// Takes the pieces of a snapshot in order, and believes nobody: the links lead from the founder to those who decided the head,
/// and its root to each part. Keeps nothing but where it is.
#[derive(Debug)]
pub struct Pieces {
    pub(crate) head: SavedHead,
    pub(crate) way: Way,
    links: u32,
    pub(crate) parts: Option<(Head, Parts)>,
    /// Whether the state names those to whom the links lead.
    voters: bool,
}

impl Pieces {
    /// Of a snapshot with this head.
    ///
    /// # Errors
    /// When it is of another mesh, or there are no links and it was not decided.
    pub fn new(genesis: &Genesis, head: SavedHead) -> Result<Self, ProofError> {
        if head.mesh != genesis.mesh() {
            return Err(ProofError::OtherMesh(head.mesh));
        }
        let mut pieces = Self {
            way: Way::new(genesis)?,
            head,
            links: 0,
            parts: None,
            voters: false,
        };
        pieces.reach()?;
        Ok(pieces)
    }

    /// Takes the next piece. What is refused is to be asked of somebody else.
    ///
    /// # Errors
    /// Says what is wrong with it, or, see [`PieceError::is_of_before`], with one before it.
    pub fn add(&mut self, piece: &[u8]) -> Result<(), PieceError> {
        let Some((head, parts)) = &mut self.parts else {
            return self.take_links(piece).map(drop);
        };
        if parts.is_whole() {
            return Err(PieceError::More);
        }
        let place = parts.place(piece)?;
        let part = verified(&parts.root(), place, piece)?;
        let voters = names_voters(&part, &self.way, head.height)?;
        parts.pass(place);
        self.voters |= voters;
        match parts.is_whole() && !self.voters {
            true => Err(PartError::Missing.into()),
            false => Ok(()),
        }
    }

    /// Whether nothing is missing.
    pub fn is_whole(&self) -> bool {
        self.voters
            && self
                .parts
                .as_ref()
                .is_some_and(|(_, parts)| parts.is_whole())
    }

    /// Goes on to the parts when all links are there.
    fn reach(&mut self) -> Result<(), ProofError> {
        if self.links == self.head.links {
            let head = self.way.end(&self.head.sealed)?;
            self.parts = Some((head, Parts::new(head.root)));
        }
        Ok(())
    }

    pub(crate) fn take_links(&mut self, piece: &[u8]) -> Result<Vec<Link>, PieceError> {
        if piece.len() > PART_BYTES_MAX {
            return Err(DecodeError::Long(piece.len() - PART_BYTES_MAX).into());
        }
        let count = (self.head.links - self.links).min(LINKS_EACH as u32);
        let mut from = Reader(piece);
        let links: Vec<Link> = (0..count)
            .map(|_| Link::decode(&mut from))
            .collect::<Result<_, _>>()?;
        from.end()?;
        let mut way = self.way.clone();
        links.iter().try_for_each(|link| way.link(link))?;
        // Nothing of a refused piece stays.
        let before = std::mem::replace(&mut self.way, way);
        self.links += count;
        if let Err(error) = self.reach() {
            self.way = before;
            self.links -= count;
            return Err(error.into());
        }
        Ok(links)
    }
}

/// Whether a part has the state's voters.
///
/// # Errors
/// When they are not those to whom the links lead.
pub(crate) fn names_voters(part: &Part, way: &Way, height: u64) -> Result<bool, PieceError> {
    let found = part.entries.iter().find_map(|both| match both {
        (Key::Voters, Entry::Voters(nodes)) => Some(nodes),
        _ => None,
    });
    match found {
        Some(nodes) if !way.voters.nodes().eq(nodes.iter().copied()) => {
            Err(ProofError::Links(height).into())
        }
        found => Ok(found.is_some()),
    }
}

/// Writes a file, piece by piece.
#[derive(Debug)]
pub struct SavedWriter<W> {
    to: W,
    pieces: u32,
    bytes: u64,
}

impl<W: Write> SavedWriter<W> {
    /// Begins one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(to: W, head: &SavedHead) -> io::Result<Self> {
        let mut writer = Self {
            to,
            pieces: 0,
            bytes: 0,
        };
        writer.put(MAGIC)?;
        let mut content = Vec::new();
        head.encode(&mut content);
        writer.frame(HEAD, &content)?;
        Ok(writer)
    }

    /// Adds the next piece.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn piece(&mut self, content: &[u8]) -> io::Result<()> {
        self.pieces += 1;
        self.frame(PIECE, content)
    }

    /// Ends it, and gives back where it was written. Without this it is cut short.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end(mut self) -> io::Result<W> {
        let mut content = self.pieces.to_le_bytes().to_vec();
        content.extend(self.bytes.to_le_bytes());
        self.frame(END, &content)?;
        self.to.flush()?;
        Ok(self.to)
    }

    /// What was written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where it is written.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.to
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.to.write_all(bytes)
    }

    fn frame(&mut self, kind: u8, content: &[u8]) -> io::Result<()> {
        let length = (content.len() as u32).to_le_bytes();
        self.put(&[kind])?;
        self.put(&length)?;
        self.put(&sum(kind, &length, content))?;
        self.put(content)
    }
}

/// Writes the state after a block, with the changes of the voters until then. `pause` is called after each piece with what was
/// written: what takes long can end by its error.
///
/// # Errors
/// When it cannot be written.
pub fn save<W: Write>(
    to: W,
    (state, links, sealed): (&State, &[Link], &Sealed),
    mut pause: impl FnMut(&mut W) -> io::Result<()>,
) -> io::Result<W> {
    let head = SavedHead {
        mesh: state.mesh(),
        links: links.len() as u32,
        sealed: sealed.clone(),
    };
    let mut writer = SavedWriter::begin(to, &head)?;
    for some in links.chunks(LINKS_EACH) {
        let mut piece = Vec::new();
        some.iter().for_each(|link| link.encode(&mut piece));
        writer.piece(&piece)?;
        pause(writer.get_mut())?;
    }
    let snapshot = Snapshot::of(state);
    for number in 0..snapshot.parts() {
        // None only beyond the last.
        writer.piece(&snapshot.part(number).unwrap_or_default())?;
        pause(writer.get_mut())?;
    }
    writer.end()
}

fn sum(kind: u8, length: &[u8; 4], content: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[kind]).update(length).update(content);
    let hash = hasher.finalize();
    let mut sum = [0; 8];
    sum.copy_from_slice(&hash.as_bytes()[..8]);
    sum
}

/// Reads a file, piece by piece. Lengths are looked at before anything is reserved.
#[derive(Debug)]
pub struct SavedReader<R> {
    from: R,
    at: u64,
    /// How many were read.
    pub(crate) pieces: u32,
    head: SavedHead,
}

impl<R: Read> SavedReader<R> {
    /// Begins with its head.
    ///
    /// # Errors
    /// When it is damaged, or none.
    pub fn begin(mut from: R) -> Result<Self, SavedError> {
        let mut magic = [0; MAGIC.len()];
        exact(&mut from, &mut magic, 0)?;
        if magic != *MAGIC {
            return Err(SavedError::Damaged(0));
        }
        let at = MAGIC.len() as u64;
        let (kind, content) = frame(&mut from, at)?;
        let mut bytes = Reader(&content);
        let head = SavedHead::decode(&mut bytes).and_then(|head| bytes.end().map(|()| head));
        match head {
            Ok(head) if kind == HEAD => Ok(Self {
                from,
                at: at + (FRAME_BYTES + content.len()) as u64,
                pieces: 0,
                head,
            }),
            _ => Err(SavedError::Damaged(at)),
        }
    }

    pub fn head(&self) -> &SavedHead {
        &self.head
    }

    /// The next piece; none after the last one, behind which there is nothing.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn piece(&mut self) -> Result<Option<Vec<u8>>, SavedError> {
        let (kind, content) = frame(&mut self.from, self.at)?;
        let whole = || [&self.pieces.to_le_bytes()[..], &self.at.to_le_bytes()].concat();
        match kind {
            PIECE => {
                self.at += (FRAME_BYTES + content.len()) as u64;
                self.pieces += 1;
                Ok(Some(content))
            }
            END if content == whole() && is_end(&mut self.from)? => Ok(None),
            _ => Err(SavedError::Damaged(self.at)),
        }
    }
}

fn is_end(from: &mut impl Read) -> io::Result<bool> {
    Ok(from.read(&mut [0])? == 0)
}

fn exact(from: &mut impl Read, to: &mut [u8], at: u64) -> Result<(), SavedError> {
    from.read_exact(to).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => SavedError::Damaged(at),
        _ => SavedError::Io(error),
    })
}

/// Kind and length of the frame that begins here, and its sum.
fn frame_head(from: &mut impl Read, at: u64) -> Result<(u8, u32, [u8; 8]), SavedError> {
    let mut bytes = [0; FRAME_BYTES];
    exact(from, &mut bytes, at)?;
    let [kind, a, b, c, d, sum @ ..] = bytes;
    let length = u32::from_le_bytes([a, b, c, d]);
    let most = match kind {
        HEAD => HEAD_BYTES_MAX,
        PIECE => PART_BYTES_MAX,
        END => END_BYTES,
        _ => return Err(SavedError::Damaged(at)),
    };
    match length as usize <= most {
        true => Ok((kind, length, sum)),
        false => Err(SavedError::Damaged(at)),
    }
}

fn frame(from: &mut impl Read, at: u64) -> Result<(u8, Vec<u8>), SavedError> {
    let (kind, length, expected) = frame_head(from, at)?;
    let mut content = vec![0; length as usize];
    exact(from, &mut content, at)?;
    match sum(kind, &length.to_le_bytes(), &content) == expected {
        true => Ok((kind, content)),
        false => Err(SavedError::Damaged(at)),
    }
}

/// Where the pieces of a file are: for who hands them out.
#[derive(Clone, Debug)]
pub struct SavedIndex {
    pub head: SavedHead,
    pub bytes: u64,
    /// Where each begins, and its length.
    pieces: Vec<(u64, u32)>,
}

impl SavedIndex {
    /// Looks through a file. Pieces are looked at when they are read.
    ///
    /// # Errors
    /// When its frames do not follow each other to its end.
    pub fn of<R: Read + Seek>(mut from: R) -> Result<Self, SavedError> {
        let SavedReader { head, mut at, .. } = SavedReader::begin(&mut from)?;
        let mut pieces = Vec::new();
        loop {
            from.seek(SeekFrom::Start(at))?;
            let (kind, length, _) = frame_head(&mut from, at)?;
            let next = at + FRAME_BYTES as u64 + u64::from(length);
            match kind {
                PIECE => pieces.push((at, length)),
                END if from.seek(SeekFrom::End(0))? == next => {
                    return Ok(Self {
                        head,
                        bytes: next,
                        pieces,
                    });
                }
                _ => return Err(SavedError::Damaged(at)),
            }
            at = next;
        }
    }

    /// How many pieces there are.
    pub fn pieces(&self) -> u32 {
        self.pieces.len() as u32
    }

    /// One of them, from the same file. None, if there are not so many.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn piece<R: Read + Seek>(
        &self,
        mut from: R,
        number: u32,
    ) -> Result<Option<Vec<u8>>, SavedError> {
        let Some((at, length)) = self.pieces.get(number as usize) else {
            return Ok(None);
        };
        from.seek(SeekFrom::Start(*at))?;
        match frame(&mut from, *at)? {
            (PIECE, content) if content.len() == *length as usize => Ok(Some(content)),
            _ => Err(SavedError::Damaged(*at)),
        }
    }
}
