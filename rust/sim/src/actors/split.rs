//! Votes one way to some and the other way to the rest: nobody sees both from it.

use hypermesh_consensus::Message;

use super::double_votes::contrary;
use super::{Actor, Desk};

#[derive(Debug)]
pub(crate) struct Split;

impl Actor for Split {
    fn tells(&mut self, desk: &mut Desk<'_>, to: &[usize], message: &Message) {
        match message {
            Message::Vote(vote) => {
                let contrary = Message::Vote(contrary(desk, vote));
                for to in to {
                    let even = to % 2 == 0;
                    desk.send(
                        *to,
                        if even {
                            message.clone()
                        } else {
                            contrary.clone()
                        },
                    );
                }
            }
            // Would retell the own double vote.
            Message::Retold(_) => {}
            _ => desk.pass(to, message),
        }
    }
}
