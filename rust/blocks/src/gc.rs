//! Removes blocks that no kept root needs.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::PoisonError;

use hypermesh_id::BlockId;

use crate::limits::{COMMIT_BYTES, SEGMENTS_AT_ONCE};
use crate::store::record::{Location, base_of};
use crate::store::{Base, Pending};
use crate::{Closure, Observer, Phase, Progress, RootRecord, Store, StoreError, Wanted};

/// A segment is rewritten when at least this share of it is dead, in percent.
const DEAD_PERCENT: u64 = 25;
/// Missing blocks of an unfinished get that are passed over at a time.
const MISSING_MAX: usize = 1_024;
const BLOCKS_PER_REPORT: u64 = 1_024;

/// What a collection did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    pub removed_blocks: u64,
    /// Bytes given back to the disk; of a dry run, bytes of the blocks that nothing needs.
    pub freed_bytes: u64,
    pub kept_blocks: u64,
}

impl Store {
    /// Removes the blocks that neither a pinned root nor an unfinished get needs, and no delta of a
    /// block that one of them needs, and forgets the roots that nothing keeps. Segments with little dead space keep it until there is more.
    ///
    /// Waits for puts and leases to end; they wait for it, and so does whoever pins or records a root.
    pub fn gc(&self, dry_run: bool, observer: &dyn Observer) -> Result<GcReport, StoreError> {
        let _sweeping = self.inner.gate.sweep(observer)?;
        let roots = self.roots()?;
        let (kept, dropped): (Vec<_>, Vec<_>) = roots
            .into_iter()
            .partition(|root| root.pinned || !root.complete);
        let marked = self.mark(&kept, observer)?;
        let dead = self.unmarked(&marked);
        let mut report = GcReport {
            removed_blocks: dead.len() as u64,
            freed_bytes: dead
                .iter()
                .map(|(_, location)| location.record_bytes())
                .sum(),
            kept_blocks: marked.len() as u64,
        };
        if dry_run {
            return Ok(report);
        }
        let before = self.stored_bytes();
        // First the records: a crash later leaves blocks without a root, never the reverse.
        for root in &dropped {
            self.inner.meta.update_root(&root.root, &mut |now| {
                now.filter(|record| record.pinned || !record.complete)
            })?;
        }
        {
            let mut index = self
                .inner
                .index
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            index.remove_dead(&dead);
        }
        let gone: Vec<BlockId> = dead.iter().map(|(id, _)| *id).collect();
        self.inner.forget_sketches(&gone)?;
        self.compact(observer)?;
        report.freed_bytes = before.saturating_sub(self.stored_bytes());
        Ok(report)
    }

    /// Every block that the roots need and that is here.
    fn mark(
        &self,
        roots: &[RootRecord],
        observer: &dyn Observer,
    ) -> Result<HashSet<BlockId>, StoreError> {
        let mut marked = HashSet::new();
        let mut bytes = 0;
        for record in roots {
            let mut closure = Closure::new(record.root);
            loop {
                let wanted = closure.poll_with(self, MISSING_MAX, &mut |id, length| {
                    if marked.insert(*id) {
                        bytes += u64::from(length);
                    }
                });
                report(observer, Phase::Mark, marked.len() as u64, bytes)?;
                let wanted = match wanted {
                    // It can never become whole, and shall not keep the rest from being collected.
                    Err(error @ (StoreError::Manifest { .. } | StoreError::Limit { .. }))
                        if !record.complete =>
                    {
                        tracing::warn!(root = %record.root, %error,
                            "an unfinished get cannot be followed; unpin its root");
                        break;
                    }
                    wanted => wanted?,
                };
                match wanted {
                    Wanted::Done => break,
                    // What hangs below a block that is not here cannot be told from garbage.
                    Wanted::Blocks(missing) if record.complete => {
                        let block = missing.first().map_or(record.root.0, |missing| missing.id);
                        return Err(StoreError::PinnedDamaged {
                            root: record.root,
                            block,
                        });
                    }
                    Wanted::Blocks(_) | Wanted::Waiting => closure.give_up(),
                }
            }
        }
        let index = self
            .inner
            .index
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        index.add_bases(&mut marked);
        Ok(marked)
    }

    fn unmarked(&self, marked: &HashSet<BlockId>) -> Vec<(BlockId, Location)> {
        let index = self
            .inner
            .index
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let mut dead = Vec::new();
        index.for_each(&mut |id, location| {
            if !marked.contains(&id) {
                dead.push((id, location));
            }
        });
        dead
    }

    /// Moves the live blocks out of segments with much dead space, and removes those.
    fn compact(&self, observer: &dyn Observer) -> Result<(), StoreError> {
        let worth: Vec<u32> = {
            let mut active = self
                .inner
                .active
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let index = self
                .inner
                .index
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            let worth = index.segments.iter().filter(|(_, used)| {
                let dead = used.length.saturating_sub(used.live_bytes);
                dead > 0 && dead * 100 >= used.length * DEAD_PERCENT
            });
            let worth: Vec<u32> = worth.map(|(number, _)| *number).collect();
            drop(index);
            // The newest segment takes no more writes while it is read out.
            if active
                .segment
                .as_ref()
                .is_some_and(|(number, _)| worth.contains(number))
            {
                self.inner.seal(&mut active)?;
            }
            worth
        };
        let mut moved = 0;
        for group in worth.chunks(SEGMENTS_AT_ONCE) {
            self.evacuate(group, &mut moved, observer)?;
        }
        Ok(())
    }

    fn evacuate(
        &self,
        segments: &[u32],
        moved: &mut u64,
        observer: &dyn Observer,
    ) -> Result<(), StoreError> {
        let mut unsynced = 0;
        for (id, location) in self.inner.blocks_in(segments) {
            let (header, stored) = match self.inner.fetch_at(&id, &location) {
                Ok(found) => found,
                // Taken out of the index and gone with the segment: its root's next get brings it.
                Err(StoreError::Corrupt { .. }) => continue,
                Err(error) => return Err(error),
            };
            if let Err(reason) = self.inner.unpack(&id, &header, &stored)? {
                let error = self.inner.condemn(&id, &location, reason);
                tracing::warn!(%error, "a damaged block is left out of the rewritten segment");
                continue;
            }
            let block = Pending {
                id,
                codec: header.codec,
                raw_len: header.raw_len,
                base: base_of(header.codec, &stored).map(|id| Base { id, made: None }),
                stored: Cow::Borrowed(&stored),
                moved_from: Some(location),
            };
            let done = self.inner.append(&[block])?;
            unsynced += done.record_bytes;
            if unsynced >= COMMIT_BYTES {
                self.sync()?;
                unsynced = 0;
            }
            *moved += 1;
            if moved.is_multiple_of(BLOCKS_PER_REPORT) {
                report(observer, Phase::Sweep, *moved, 0)?;
            }
        }
        // The copies are durable before the originals go.
        self.sync()?;
        for number in segments {
            self.inner.files.remove(*number)?;
            self.inner.meta.set_sealed(*number, None)?;
            let mut index = self
                .inner
                .index
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            index.segments.remove(number);
        }
        Ok(())
    }

    fn stored_bytes(&self) -> u64 {
        self.inner
            .index
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .stored_bytes()
    }
}

pub(crate) fn report(
    observer: &dyn Observer,
    phase: Phase,
    items_done: u64,
    bytes_done: u64,
) -> Result<(), StoreError> {
    if observer.cancelled() {
        return Err(StoreError::Cancelled);
    }
    observer.progress(&Progress {
        phase,
        bytes_done,
        bytes_total: 0,
        items_done,
        items_total: 0,
    });
    Ok(())
}
