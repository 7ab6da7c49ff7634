//! Is quick to some and slow, or silent, to others.

use hypermesh_consensus::Message;

use super::{Actor, Desk, MS};
use crate::random::Random;

#[derive(Debug)]
pub(crate) struct Selective {
    victims: u64,
    by: Option<u64>,
}

impl Selective {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self {
            victims: random.number(),
            by: random.chance(0.5).then(|| random.between(50, 500) * MS),
        }
    }
}

impl Actor for Selective {
    fn tells(&mut self, desk: &mut Desk<'_>, to: &[usize], message: &Message) {
        for to in to {
            match (self.victims >> (to % 64) & 1 == 1, self.by) {
                (false, _) => desk.send(*to, message.clone()),
                (true, Some(by)) => desk.send_later(*to, by, message.clone()),
                (true, None) => {}
            }
        }
    }
}
