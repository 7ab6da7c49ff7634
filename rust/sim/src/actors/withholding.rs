//! Leaves out what it should tell: half of its votes, or the blocks that it proposes.

use hypermesh_consensus::Message;

use super::{Actor, Desk};

#[derive(Debug)]
pub(crate) struct Withholding {
    blocks: bool,
}

impl Withholding {
    pub(crate) fn votes() -> Self {
        Self { blocks: false }
    }

    pub(crate) fn blocks() -> Self {
        Self { blocks: true }
    }
}

impl Actor for Withholding {
    fn tells(&mut self, desk: &mut Desk<'_>, to: &[usize], message: &Message) {
        for to in to {
            let kept = match message {
                Message::Vote(_) => !self.blocks && desk.random.chance(0.5),
                Message::Block(_) => self.blocks && desk.random.chance(0.7),
                _ => false,
            };
            if !kept {
                desk.send(*to, message.clone());
            }
        }
    }
}
