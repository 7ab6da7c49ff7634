//! Lies to those who are behind: heights that it does not have, decisions that nobody took.

use hypermesh_consensus::{Decided, Height, Message};

use super::{Actor, Desk};

#[derive(Debug)]
pub(crate) struct Lying;

impl Actor for Lying {
    fn tells(&mut self, desk: &mut Desk<'_>, to: &[usize], message: &Message) {
        let lie = match message.clone() {
            Message::Status(_) => Message::Status(Height(desk.random.number() >> 8)),
            Message::Decided(decided) => Message::Decided(changed(desk, decided)),
            other => other,
        };
        desk.pass(to, &lie);
    }
}

fn changed(desk: &mut Desk<'_>, mut decided: Decided) -> Decided {
    match desk.random.below(4) {
        0 => decided.certificate.signatures.truncate(1),
        1 => decided.body = b"another block".as_slice().into(),
        2 => decided.certificate.block.0[0] ^= 1,
        _ => {
            if let Some((_, signature)) = decided.certificate.signatures.first_mut() {
                signature.0[0] ^= 1;
            }
        }
    }
    decided
}
