//! Says nothing.

use hypermesh_consensus::Message;

use super::{Actor, Desk};

#[derive(Debug)]
pub(crate) struct Silent;

impl Actor for Silent {
    fn tells(&mut self, _desk: &mut Desk<'_>, _to: &[usize], _message: &Message) {}
}
