//! What goes wrong, and how it ends.

use super::{Violation, World};
use crate::happened::Happened;
use crate::scenario::Trouble;

impl World<'_> {
    pub(super) fn crash(&mut self, index: usize) {
        let instance = &mut self.instances[index];
        instance.crashes = None;
        instance.replica = None;
        instance.disk.crash(&mut self.random);
        self.watch.crashed(index);
        let node = instance.node;
        self.note(b"crash", [index as u64, 0]);
        self.show(&Happened::Crashes { node });
    }

    pub(super) fn trouble(&mut self, trouble: &Trouble) -> Result<(), Violation> {
        if self.healed {
            return Ok(());
        }
        self.show(&Happened::GoesWrong(trouble));
        match trouble {
            Trouble::Crash { node, after } => {
                for instance in &mut self.instances {
                    if instance.node == *node && instance.replica.is_some() {
                        instance.crashes = Some(*after);
                    }
                }
            }
            Trouble::Restart { node } => self.restart(*node)?,
            Trouble::Cut { from, to } => {
                for from in from {
                    self.cut.extend(to.iter().map(|to| (*from, *to)));
                }
            }
            Trouble::Mend => self.cut.clear(),
        }
        Ok(())
    }

    fn restart(&mut self, node: usize) -> Result<(), Violation> {
        for index in 0..self.instances.len() {
            if self.instances[index].node == node && self.instances[index].replica.is_none() {
                self.start(index)?;
            }
        }
        Ok(())
    }

    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        self.healed = true;
        self.show(&Happened::Heals);
        self.cut.clear();
        for index in 0..self.instances.len() {
            self.instances[index].crashes = None;
        }
        for node in 0..self.scenario.nodes.len() {
            self.restart(node)?;
        }
        Ok(())
    }
}
