//! Reads every block again, names what is damaged or missing, and heals it from elsewhere.

use std::collections::HashSet;
use std::sync::PoisonError;

use hypermesh_id::BlockId;

use crate::gc::report;
use crate::limits::SEGMENTS_AT_ONCE;
use crate::store::record::{Location, base_of};
use crate::{Closure, Observer, Phase, Store, StoreError, StoredBlock, Wanted};

const BLOCKS_PER_REPORT: u64 = 256;
/// Missing blocks that are named at a time.
const MISSING_MAX: usize = 1_024;

/// What is wrong with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Its stored bytes are not what was stored; the text says how.
    Damaged(&'static str),
    /// A complete root needs it and it is not here.
    Missing,
}

/// What was done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Only named.
    Found,
    /// A good copy was stored.
    Healed,
    /// No good copy was to be had.
    Lost,
}

/// One bad block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    pub block: BlockId,
    /// Segment and offset, if it stands somewhere.
    pub place: Option<(u32, u32)>,
    pub problem: Problem,
    pub outcome: Outcome,
}

/// Totals of a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FsckReport {
    pub checked_blocks: u64,
    /// On disk.
    pub checked_bytes: u64,
    pub bad_blocks: u64,
    pub healed_blocks: u64,
}

/// Gets a good copy of a block from elsewhere.
pub type Repair<'a> = dyn Fn(&BlockId) -> Option<StoredBlock> + 'a;

impl Store {
    /// Verifies every block against its id, makes the sketches of those that have none, then that every block of the complete roots is here.
    ///
    /// A damaged block counts as absent from then on. With `repair`, a copy is asked for at once.
    pub fn fsck(
        &self,
        observer: &dyn Observer,
        on_finding: &mut dyn FnMut(Finding),
        repair: Option<&Repair<'_>>,
    ) -> Result<FsckReport, StoreError> {
        let mut check = Check {
            store: self,
            repair,
            on_finding,
            report: FsckReport::default(),
            named: HashSet::new(),
        };
        check.stored(observer)?;
        check.roots(observer)?;
        self.sync()?;
        self.inner.save_sketches(1)?;
        Ok(check.report)
    }
}

struct Check<'a, 'b> {
    store: &'a Store,
    repair: Option<&'a Repair<'b>>,
    on_finding: &'a mut dyn FnMut(Finding),
    report: FsckReport,
    named: HashSet<BlockId>,
}

impl Check<'_, '_> {
    fn stored(&mut self, observer: &dyn Observer) -> Result<(), StoreError> {
        let numbers: Vec<u32> = {
            let index = self
                .store
                .inner
                .index
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            index.segments.keys().copied().collect()
        };
        for group in numbers.chunks(SEGMENTS_AT_ONCE) {
            for (id, location) in self.store.inner.blocks_in(group) {
                self.block(&id, &location)?;
                self.report.checked_blocks += 1;
                self.report.checked_bytes += location.record_bytes();
                if self.report.checked_blocks.is_multiple_of(BLOCKS_PER_REPORT) {
                    self.tell(observer)?;
                }
            }
        }
        self.tell(observer)
    }

    fn block(&mut self, id: &BlockId, location: &Location) -> Result<(), StoreError> {
        let inner = &self.store.inner;
        let error = match inner.fetch_at(id, location) {
            Ok((header, stored)) => match inner.unpack(id, &header, &stored)? {
                Ok(unpacked) => {
                    inner.adopt(id, location, base_of(header.codec, &stored))?;
                    inner.sketch_again(id, &unpacked.raw);
                    return Ok(());
                }
                Err(reason) => inner.condemn(id, location, reason),
            },
            // Compacted away while the check ran: its new place is checked when its turn comes, or
            // was verified when it moved.
            Err(_) if inner.locate(id).is_some_and(|now| now != *location) => return Ok(()),
            Err(error) => error,
        };
        match error {
            StoreError::Corrupt { reason, .. } => {
                let place = Some((location.segment, location.offset));
                self.finding(id, place, Problem::Damaged(reason))
            }
            other => Err(other),
        }
    }

    fn roots(&mut self, observer: &dyn Observer) -> Result<(), StoreError> {
        for record in self
            .store
            .roots()?
            .into_iter()
            .filter(|record| record.complete)
        {
            let mut closure = Closure::new(record.root);
            loop {
                match closure.poll(self.store, MISSING_MAX)? {
                    Wanted::Done => break,
                    Wanted::Waiting => closure.give_up(),
                    Wanted::Blocks(missing) => {
                        for block in missing {
                            self.finding(&block.id, None, Problem::Missing)?;
                            if self.store.contains(&block.id) {
                                closure.received(&block.id);
                            }
                        }
                    }
                }
                self.tell(observer)?;
            }
        }
        Ok(())
    }

    fn finding(
        &mut self,
        block: &BlockId,
        place: Option<(u32, u32)>,
        problem: Problem,
    ) -> Result<(), StoreError> {
        // Damaged and not healed, it is missing as well: named once.
        if !self.named.insert(*block) {
            return Ok(());
        }
        self.report.bad_blocks += 1;
        let outcome = match self.repair {
            None => Outcome::Found,
            Some(repair) => match repair(block).map(|copy| self.store.ingest(block, copy)) {
                Some(Ok(_)) => Outcome::Healed,
                Some(Err(crate::IngestError::Store(error))) => return Err(error),
                Some(Err(_)) | None => Outcome::Lost,
            },
        };
        if outcome == Outcome::Healed {
            self.report.healed_blocks += 1;
        }
        (self.on_finding)(Finding {
            block: *block,
            place,
            problem,
            outcome,
        });
        Ok(())
    }

    fn tell(&self, observer: &dyn Observer) -> Result<(), StoreError> {
        let FsckReport {
            checked_blocks,
            checked_bytes,
            ..
        } = self.report;
        report(observer, Phase::Check, checked_blocks, checked_bytes)
    }
}
