//! What a simulated node has on its disk, and what a crash leaves of it.

use hypermesh_consensus::Decided;
use hypermesh_registry::Ledger;

use crate::book::{Beginning, Kept};
use crate::random::Random;

/// The log, of which a part is on the disk for certain, and the decisions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    log: Vec<u8>,
    durable: usize,
    pub(crate) decided: Vec<Decided>,
    /// The state of a registry at a height, in parts.
    pub(crate) snapshot: Option<Kept>,
}

impl Disk {
    /// Of a node that has what a mesh began with.
    pub(crate) fn begun(beginning: Option<&Beginning>) -> Self {
        Self {
            decided: beginning.map_or_else(Vec::new, |beginning| beginning.decided.clone()),
            ..Self::default()
        }
    }

    /// The ledger of what was decided: from the snapshot on, or from the beginning.
    pub(crate) fn ledger(&self, beginning: &Beginning, restored: bool) -> Result<Ledger, String> {
        let mut ledger = match &self.snapshot {
            Some(kept) if restored => kept.restored(&beginning.genesis)?,
            _ => beginning.ledger(),
        };
        let past = ledger.tip().height as usize;
        for decided in self.decided.iter().skip(past) {
            ledger.replay(decided).map_err(|error| error.to_string())?;
        }
        while ledger.poll_applied().is_some() {}
        Ok(ledger)
    }

    pub(crate) fn new_log(&mut self) {
        self.log.clear();
        self.durable = 0;
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.log.extend(bytes);
    }

    pub(crate) fn flush(&mut self) {
        self.durable = self.log.len();
    }

    /// The power goes: of what was not flushed, any number of bytes came to the disk.
    pub(crate) fn crash(&mut self, random: &mut Random) {
        let loose = (self.log.len() - self.durable) as u64;
        self.log
            .truncate(self.durable + random.between(0, loose) as usize);
    }

    pub(crate) fn log(&self) -> &[u8] {
        &self.log
    }

    /// What is not whole is cut off before anything is appended.
    pub(crate) fn cut(&mut self, whole: usize) {
        self.log.truncate(whole);
        self.durable = self.log.len();
    }
}
