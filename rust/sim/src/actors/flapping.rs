//! Is honest for some heights and then late for as many.

use hypermesh_consensus::Message;

use super::{Actor, Desk, MS};
use crate::random::Random;

#[derive(Debug)]
pub(crate) struct Flapping {
    period: u64,
    by: u64,
}

impl Flapping {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self {
            period: random.between(1, 6),
            by: random.between(50, 600) * MS,
        }
    }
}

impl Actor for Flapping {
    fn tells(&mut self, desk: &mut Desk<'_>, to: &[usize], message: &Message) {
        let late = (desk.height.0 / self.period) % 2 == 1;
        for to in to {
            desk.send_later(*to, if late { self.by } else { 0 }, message.clone());
        }
    }
}
