//! Snapshots as files: what is not whole or not decided is an error, never another state.

use std::io::Cursor;
use std::num::NonZeroUsize;

use hypermesh_registry::{
    Description, Expect, Genesis, Ledger, MempoolLimits, Motion, Parameters, PartError, PieceError,
    Pieces, ProofError, SavedError, SavedHead, SavedIndex, SavedReader, SavedWriter, load, save,
};

use crate::*;

fn saved(ledger: &Ledger) -> Vec<u8> {
    let last = ledger.last().unwrap();
    let story = (ledger.state(), ledger.links(), last);
    save(Vec::new(), story, |_| Ok(())).unwrap()
}

/// By one thread, and by some: what comes of it is the same.
fn loaded(file: &[u8]) -> Result<Ledger, SavedError> {
    let by = |threads| {
        let threads = NonZeroUsize::new(threads).unwrap();
        load(file, &genesis(), MempoolLimits::default(), threads)
    };
    let (alone, together) = (by(1), by(3));
    match (&alone, &together) {
        (Ok(alone), Ok(together)) => {
            assert_eq!(alone.tip(), together.tip());
            let (alone, together) = (alone.state(), together.state());
            assert_eq!(alone.root(), together.root());
            assert_eq!(together.root(), together.root_anew());
            assert!(alone.names(None, None).eq(together.names(None, None)));
        }
        (Err(alone), Err(together)) => assert_eq!(alone.to_string(), together.to_string()),
        _ => panic!("by one thread {alone:?}, by three {together:?}"),
    }
    together
}

fn head_and_pieces(file: &[u8]) -> (SavedHead, Vec<Vec<u8>>) {
    let mut reader = SavedReader::begin(file).unwrap();
    let mut pieces = Vec::new();
    while let Some(piece) = reader.piece().unwrap() {
        pieces.push(piece);
    }
    (reader.head().clone(), pieces)
}

fn written(head: &SavedHead, pieces: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = SavedWriter::begin(Vec::new(), head).unwrap();
    for piece in pieces {
        writer.piece(piece).unwrap();
    }
    writer.end().unwrap()
}

/// So many names of one member, in blocks of a few hundred.
fn name_many(mesh: &mut Mesh, blocks: usize) {
    for block in 0..blocks {
        for number in 0..500 {
            let text = format!("a name that is long enough to fill some parts/{block}/{number}");
            let transaction = mesh.signed(4, set(&text, 1, Expect::Any));
            mesh.ledger.submit(&transaction.to_bytes()).unwrap();
        }
        mesh.decide();
    }
}

#[test]
fn a_ledger_goes_on_from_its_file() {
    let mut mesh = Mesh::new(4, 1);
    name_many(&mut mesh, 3);
    // Right after a change of the voters, and after a block more.
    mesh.agree(3, Motion::Demote(node(3)));
    for _ in 0..2 {
        let file = saved(&mesh.ledger);
        mesh.other = loaded(&file).unwrap();
        assert_eq!(mesh.other.tip(), mesh.ledger.tip());
        assert_eq!(mesh.other.links(), mesh.ledger.links());
        assert_eq!(mesh.other.state().root(), mesh.ledger.state().root());
        mesh.act(4, set("later", 1, Expect::Any));
        let proof = mesh.other.prove_name(&name("later")).unwrap();
        assert!(proof.verify(&mesh.ledger.mesh()).unwrap().named.is_some());
    }
    let file = saved(&mesh.ledger);
    let index = SavedIndex::of(Cursor::new(&file)).unwrap();
    let (head, pieces) = head_and_pieces(&file);
    assert_eq!(index.head, head);
    assert_eq!(index.bytes, file.len() as u64);
    assert_eq!(index.pieces() as usize, pieces.len());
    assert!(pieces.len() > 2);
    for (number, piece) in (0..).zip(&pieces) {
        let read = index.piece(Cursor::new(&file), number).unwrap();
        assert_eq!(read.as_ref(), Some(piece));
    }
    let beyond = index.piece(Cursor::new(&file), index.pieces());
    assert_eq!(beyond.unwrap(), None);
    assert_eq!(written(&head, &pieces), file);
}

/// What is restored is what was saved, in all that is asked of it, and in what becomes of it.
#[test]
fn a_restored_state_is_the_saved_one() {
    let mut mesh = Mesh::new(4, 2);
    name_many(&mut mesh, 6);
    mesh.agree(3, Motion::Promote(node(4)));
    let (file, state) = (saved(&mesh.ledger), mesh.ledger.state().clone());
    assert!(SavedIndex::of(Cursor::new(&file)).unwrap().pieces() > 4);
    let again = loaded(&file).unwrap();
    let restored = again.state();
    assert_eq!(restored.root(), state.root());
    assert_eq!(restored.root_anew(), state.root());
    assert_eq!(restored.entries_len(), state.entries_len());
    assert_eq!(restored.names_len(), state.names_len());
    assert_eq!(restored.members_len(), state.members_len());
    assert_eq!(restored.voters(), state.voters());
    assert_eq!(restored.parameters(), state.parameters());
    assert!(restored.names(None, None).eq(state.names(None, None)));
    assert!(restored.members().eq(state.members()));
    assert_eq!(saved(&again), file);
    // Changes, additions and removals go on from it as from the other.
    mesh.other = again;
    name_many(&mut mesh, 2);
    for number in (0..500).step_by(7) {
        let text = format!("a name that is long enough to fill some parts/1/{number}");
        let action = hypermesh_registry::Action::DeleteName {
            name: name(&text),
            expect: Expect::Any,
        };
        let transaction = mesh.signed(4, action);
        mesh.ledger.submit(&transaction.to_bytes()).unwrap();
    }
    mesh.decide();
    mesh.agree(4, Motion::Demote(node(4)));
    assert!(
        mesh.other
            .state()
            .names(None, None)
            .eq(mesh.ledger.state().names(None, None))
    );
}

/// One part that is none of the state, wherever it is: by any number of threads the same piece is named.
#[test]
fn a_rogue_part_is_named_by_its_number() {
    let mut mesh = Mesh::new(2, 3);
    name_many(&mut mesh, 4);
    let (head, pieces) = head_and_pieces(&saved(&mesh.ledger));
    for number in 1..pieces.len() {
        let mut rogue = pieces.clone();
        let middle = rogue[number].len() / 2;
        rogue[number][middle] ^= 1;
        // A later one is rogue as well, and the first counts.
        let last = rogue.len() - 1;
        *rogue[last].last_mut().unwrap() ^= 1;
        let error = loaded(&written(&head, &rogue)).unwrap_err();
        let named = matches!(&error, SavedError::Piece { piece, .. } if *piece as usize == number);
        assert!(named || number == last, "{number}: {error}");
    }
}

#[test]
fn a_cut_or_a_changed_bit_is_an_error() {
    let mut mesh = Mesh::new(2, 3);
    mesh.act(4, set("films/dune", 9, Expect::Absent));
    let file = saved(&mesh.ledger);
    loaded(&file).unwrap();
    for at in 0..file.len() {
        let cut = loaded(&file[..at]).unwrap_err();
        assert!(matches!(cut, SavedError::Damaged(_)), "{at}: {cut}");
        let mut changed = file.clone();
        changed[at] ^= 1 << (at % 8);
        let error = loaded(&changed).unwrap_err();
        assert!(matches!(error, SavedError::Damaged(_)), "{at}: {error}");
        if let Ok(index) = SavedIndex::of(Cursor::new(&changed)) {
            // Seen once the piece is read, if it is in one.
            for number in 0..index.pieces() {
                drop(index.piece(Cursor::new(&changed), number));
            }
        }
    }
    let longer = [&file[..], &[0]].concat();
    assert!(loaded(&longer).is_err());
    assert!(SavedIndex::of(Cursor::new(&longer)).is_err());
}

#[test]
fn what_somebody_changed_and_summed_anew_is_no_other_state() {
    let mut mesh = Mesh::new(2, 3);
    mesh.act(4, set("films/dune", 9, Expect::Absent));
    let file = saved(&mesh.ledger);
    let (head, pieces) = head_and_pieces(&file);
    assert_eq!(written(&head, &pieces), file);
    let mut refused = 0;
    for number in 0..pieces.len() {
        for at in (0..pieces[number].len()).step_by(11) {
            let mut pieces = pieces.clone();
            pieces[number][at] ^= 1 << (at % 8);
            assert!(loaded(&written(&head, &pieces)).is_err(), "{number} {at}");
            refused += 1;
        }
    }
    assert!(refused > 50, "{refused}");
    let mut bytes = Vec::new();
    head.encode(&mut bytes);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        let mut from = hypermesh_consensus::Reader(&changed);
        if let Ok(head) = SavedHead::decode(&mut from) {
            assert!(loaded(&written(&head, &pieces)).is_err(), "{at}");
        }
    }
    for change in [
        |pieces: &mut Vec<Vec<u8>>| drop(pieces.pop()),
        |pieces: &mut Vec<Vec<u8>>| pieces.push(Vec::new()),
        |pieces: &mut Vec<Vec<u8>>| pieces.reverse(),
        |pieces: &mut Vec<Vec<u8>>| drop(pieces.remove(0)),
    ] {
        let mut pieces = pieces.clone();
        change(&mut pieces);
        let error = loaded(&written(&head, &pieces)).unwrap_err();
        assert!(matches!(error, SavedError::Piece { .. }), "{error}");
    }
    let other = MempoolLimits::default();
    let stranger = Genesis::found(
        &key(1),
        [7; 16],
        1000,
        Parameters::default(),
        Description::default(),
    )
    .unwrap();
    let error = load(&file[..], &stranger, other, NonZeroUsize::MIN).unwrap_err();
    assert!(matches!(error, SavedError::OtherMesh(_)), "{error}");
}

/// From four to five voters: those of before are enough to sign for both, so that signatures do not tell that a link is missing.
#[test]
fn a_link_that_is_left_out_is_missed() {
    let mut mesh = Mesh::new(4, 1);
    mesh.agree(3, Motion::Promote(node(4)));
    mesh.act(4, set("films/dune", 9, Expect::Absent));
    let (mut head, pieces) = head_and_pieces(&saved(&mesh.ledger));
    let links = mesh.ledger.links();
    let piece = |links: &[hypermesh_registry::Link]| {
        let mut piece = Vec::new();
        links.iter().for_each(|link| link.encode(&mut piece));
        piece
    };
    head.links -= 1;
    let fewer = piece(&links[..links.len() - 1]);
    // The vote of the new one is left out as well.
    head.sealed
        .certificate
        .signatures
        .retain(|(voter, _)| *voter != node(4));
    let mut taken = Pieces::new(&genesis(), head.clone()).unwrap();
    taken.add(&fewer).unwrap();
    let errors: Vec<PieceError> = pieces[1..]
        .iter()
        .filter_map(|part| taken.add(part).err())
        .collect();
    let height = head.height();
    assert_eq!(errors, [PieceError::Proof(ProofError::Links(height))]);
    assert!(errors[0].is_of_before() && !taken.is_whole());
}

#[test]
fn links_of_another_nodes_certificates_are_as_good() {
    let mut mesh = Mesh::new(4, 1);
    mesh.agree(3, Motion::Demote(node(3)));
    let file = saved(&mesh.ledger);
    let (head, pieces) = head_and_pieces(&file);
    // The head is that of the last link, and has all votes; the link a quorum of them.
    let mut links = mesh.ledger.links().to_vec();
    let last = links.last_mut().unwrap();
    assert_eq!(last.sealed, head.sealed);
    last.sealed.certificate.signatures.pop();
    let mut piece = Vec::new();
    links.iter().for_each(|link| link.encode(&mut piece));
    let mixed = written(&head, &[&[piece][..], &pieces[1..]].concat());
    mesh.other = loaded(&mixed).unwrap();
    mesh.other
        .prove_name(&name("films"))
        .unwrap()
        .verify(&mesh.ledger.mesh())
        .unwrap();
    mesh.act(4, set("films/dune", 9, Expect::Absent));
}

#[test]
fn a_part_of_a_part_is_of_the_state_and_out_of_order() {
    let mut mesh = Mesh::new(4, 1);
    name_many(&mut mesh, 3);
    let (head, pieces) = head_and_pieces(&saved(&mesh.ledger));
    let mut taken = Pieces::new(&genesis(), head).unwrap();
    taken.add(&pieces[0]).unwrap();
    let error = taken.add(&pieces[2]).unwrap_err();
    assert_eq!(error, PieceError::Part(PartError::Order));
    assert!(error.is_of_before());
    pieces[1..]
        .iter()
        .for_each(|piece| taken.add(piece).unwrap());
    assert!(taken.is_whole());
    assert_eq!(taken.add(&pieces[1]), Err(PieceError::More));
}
