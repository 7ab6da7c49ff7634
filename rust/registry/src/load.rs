//! Goes on from the file of a snapshot: all of it is verified, by as many threads as there are.

use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::entry::{Entry, Key};
use crate::genesis::Genesis;
use crate::ledger::Ledger;
use crate::mempool::MempoolLimits;
use crate::saved::{PieceError, Pieces, SavedError, SavedReader, names_voters};
use crate::snapshot::{Part, PartError, Parts, Place, assemble, verified};
use crate::tree::Tree;

/// The ledger of a file: at the height of its head, with all of it proved from the founder on. Its parts are verified by so many
/// threads, this one among them, while one of them reads.
///
/// # Errors
/// When it is damaged, or not what this mesh decided.
pub fn load(
    from: impl Read + Send,
    genesis: &Genesis,
    limits: MempoolLimits,
    threads: NonZeroUsize,
) -> Result<Ledger, SavedError> {
    let mut reader = SavedReader::begin(from)?;
    let head = reader.head().clone();
    if head.mesh != genesis.mesh() {
        return Err(SavedError::OtherMesh(head.mesh));
    }
    let wrong = |piece, reason: PieceError| SavedError::Piece { piece, reason };
    let mut pieces = Pieces::new(genesis, head).map_err(|error| wrong(0, error.into()))?;
    let mut links = Vec::new();
    let (last, parts) = loop {
        if let Some(parts) = pieces.parts.take() {
            break parts;
        }
        let number = reader.pieces;
        let missing = || wrong(number, PartError::Missing.into());
        let piece = reader.piece()?.ok_or_else(missing)?;
        let some = pieces.take_links(&piece);
        links.append(&mut some.map_err(|error| wrong(number, error))?);
    };
    let Pieces { head, way, .. } = pieces;
    let row = Mutex::new(Row {
        reader,
        parts,
        ended: false,
    });
    let verify = |part: &Part| names_voters(part, &way, last.height);
    let mut all = std::thread::scope(|scope| {
        let work = || take_from(&row, &last.root, verify);
        let others: Vec<_> = (1..threads.get()).map(|_| scope.spawn(work)).collect();
        let mut all = vec![work()];
        // A thread that could not say so verified nothing.
        let lost = |_| Taken::failed(0, io::Error::other("a thread ended").into());
        all.extend(
            others
                .into_iter()
                .map(|other| other.join().unwrap_or_else(lost)),
        );
        all
    });
    // Of several failures the one that who reads alone would have met.
    let failures = all.iter_mut().filter_map(|taken| taken.failure.take());
    if let Some((_, error)) = failures.min_by_key(|(number, _)| *number) {
        return Err(error);
    }
    let row = row.into_inner().unwrap_or_else(PoisonError::into_inner);
    let missing = || wrong(row.reader.pieces, PartError::Missing.into());
    if !row.parts.is_whole() || !all.iter().any(|taken| taken.voters) {
        return Err(missing());
    }
    let (mut trees, mut entries) = (Vec::new(), Vec::new());
    for mut taken in all {
        trees.append(&mut taken.trees);
        entries.append(&mut taken.entries);
    }
    trees.sort_unstable_by_key(|(number, ..)| *number);
    let trees = trees.into_iter().map(|(_, depth, tree)| (depth, tree));
    let state = assemble(genesis.mesh(), last.root, trees.collect(), entries);
    let state = state.map_err(|error| wrong(row.reader.pieces, error.into()))?;
    let story = (genesis.clone(), links, head.sealed);
    Ok(Ledger::at(story, &last, state, limits, threads))
}

/// The parts of a file that nobody has taken yet.
struct Row<R> {
    reader: SavedReader<R>,
    parts: Parts,
    /// There is no more, or what there is is of no use any more.
    ended: bool,
}

/// What one thread took of them.
#[derive(Default)]
struct Taken {
    /// Number, depth and tree of each.
    trees: Vec<(u32, usize, Tree)>,
    /// Of all of them, sorted.
    entries: Vec<(Key, Entry)>,
    /// The state's voters are among them.
    voters: bool,
    /// Why it ended, and at which piece.
    failure: Option<(u32, SavedError)>,
}

impl Taken {
    fn failed(number: u32, error: SavedError) -> Self {
        Self {
            failure: Some((number, error)),
            ..Self::default()
        }
    }
}

impl<R: Read> Row<R> {
    /// The next part, whose place is the right one; none after the last.
    fn next(&mut self) -> Result<Option<(Place, Vec<u8>)>, SavedError> {
        let piece = self.reader.pieces;
        let Some(content) = self.reader.piece()? else {
            return Ok(None);
        };
        let wrong = |reason| SavedError::Piece { piece, reason };
        if self.parts.is_whole() {
            return Err(wrong(PieceError::More));
        }
        let place = self.parts.place(&content);
        let place = place.map_err(|error| wrong(error.into()))?;
        self.parts.pass(place);
        Ok(Some((place, content)))
    }
}

/// Takes parts until there are no more, and verifies them.
fn take_from<R: Read>(
    row: &Mutex<Row<R>>,
    root: &[u8; 32],
    verify: impl Fn(&Part) -> Result<bool, PieceError>,
) -> Taken {
    let locked =
        || -> MutexGuard<'_, Row<R>> { row.lock().unwrap_or_else(PoisonError::into_inner) };
    let mut taken = Taken::default();
    let next = || {
        let mut row = locked();
        let piece = row.reader.pieces;
        if row.ended {
            return Ok(None);
        }
        let next = row.next();
        row.ended = !matches!(next, Ok(Some(_)));
        next.map(|next| next.map(|(place, content)| (piece, place, content)))
            .map_err(|error| (piece, error))
    };
    loop {
        let (piece, place, content) = match next() {
            Ok(Some(next)) => next,
            Ok(None) => break,
            Err(failure) => {
                taken.failure = Some(failure);
                return taken;
            }
        };
        let part = verified(root, place, &content).map_err(PieceError::from);
        match part.and_then(|part| verify(&part).map(|voters| (part, voters))) {
            Ok((mut part, voters)) => {
                taken.trees.push((piece, part.depth, part.tree));
                taken.entries.append(&mut part.entries);
                taken.voters |= voters;
            }
            Err(reason) => {
                locked().ended = true;
                let error = SavedError::Piece { piece, reason };
                taken.failure = Some((piece, error));
                return taken;
            }
        }
    }
    taken
        .entries
        .sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    taken
}
