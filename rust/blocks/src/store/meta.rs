//! The metadata database: format, roots and pins, sealed segments.

use std::path::Path;
use std::sync::Arc;

use hypermesh_id::{BlockId, Root};
use redb::{Durability, ReadableTable, ReadableTableMetadata, TableDefinition};

use super::database::Database;
use crate::StoreError;
use crate::disk::Disk;
use crate::limits::{ROOTS_MAX, SOURCE_BYTES_MAX};

/// Blocks are whole.
const FORMAT_WHOLE: u64 = 1;
/// Blocks may be deltas: an older program would take their records for damage.
const FORMAT_DELTAS: u64 = 2;
const FORMAT: TableDefinition<'_, &str, u64> = TableDefinition::new("format");
const ROOTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("roots");
const SEALED: TableDefinition<'_, u32, u64> = TableDefinition::new("sealed");
/// Rows of ids and sketches. Named after the code of the sketches: another code, another table.
const SKETCHES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("sketches-1");

/// What the store remembers of a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootRecord {
    pub root: Root,
    /// `gc` keeps all its blocks, and they are all here unless `complete` says otherwise.
    pub pinned: bool,
    /// All blocks were here once. `gc` keeps what is here of a root that is not complete.
    pub complete: bool,
    /// Seconds since 1970 when it was first recorded.
    pub added: u64,
    /// Sum of its files' sizes; 0 while its root block is not here.
    pub content_bytes: u64,
    /// Where it came from: a path, or any note.
    pub source: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Meta {
    database: Database,
}

impl Meta {
    /// Opens the database at a path where one is.
    pub(crate) fn open(disk: &Arc<dyn Disk>, path: &Path) -> Result<Self, StoreError> {
        Self::prepare(Database::open(disk, path)?)
    }

    /// Makes an empty one at a path. What an earlier attempt left there is removed.
    pub(crate) fn create_at(disk: &Arc<dyn Disk>, path: &Path) -> Result<Self, StoreError> {
        match disk.remove(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io("remove", path, error));
            }
            _ => {}
        }
        Self::prepare(Database::create(disk, path)?)
    }

    fn prepare(database: Database) -> Result<Self, StoreError> {
        let meta = Self { database };
        let found = meta.write(|transaction| {
            transaction.open_table(ROOTS)?;
            transaction.open_table(SEALED)?;
            transaction.open_table(SKETCHES)?;
            let mut format = transaction.open_table(FORMAT)?;
            let found = format.get("format")?.map(|value| value.value());
            if found.is_none() {
                format.insert("format", FORMAT_WHOLE)?;
            }
            Ok(found)
        })?;
        match found {
            Some(found) if found > FORMAT_DELTAS => {
                let path = meta.database.path();
                let dir = path.parent().unwrap_or(path).to_path_buf();
                Err(StoreError::Format {
                    dir,
                    found,
                    known: FORMAT_DELTAS,
                })
            }
            _ => Ok(meta),
        }
    }

    pub(crate) fn root(&self, root: &Root) -> Result<Option<RootRecord>, StoreError> {
        self.read(|transaction| {
            let table = transaction.open_table(ROOTS)?;
            Ok(table
                .get(&root.0.0[..])?
                .and_then(|value| decode(&root.0.0, value.value())))
        })
    }

    pub(crate) fn roots(&self) -> Result<Vec<RootRecord>, StoreError> {
        self.read(|transaction| {
            let mut found = Vec::new();
            for row in transaction.open_table(ROOTS)?.iter()? {
                let (key, value) = row?;
                found.extend(decode(key.value(), value.value()));
            }
            Ok(found)
        })
    }

    /// Changes one root's record, durably. `change` gets what is there and answers what shall be.
    pub(crate) fn update_root(
        &self,
        root: &Root,
        change: &mut dyn FnMut(Option<RootRecord>) -> Option<RootRecord>,
    ) -> Result<(), StoreError> {
        let full = self.write(|transaction| {
            let mut table = transaction.open_table(ROOTS)?;
            let key = &root.0.0[..];
            let old = table.get(key)?.and_then(|value| decode(key, value.value()));
            let was_there = old.is_some();
            match change(old) {
                Some(_) if !was_there && table.len()? >= ROOTS_MAX as u64 => return Ok(true),
                Some(record) => drop(table.insert(key, &encode(&record)[..])?),
                None => drop(table.remove(key)?),
            }
            Ok(false)
        })?;
        if full {
            return Err(StoreError::Limit {
                what: "the number of roots",
                limit: ROOTS_MAX as u64,
            });
        }
        Ok(())
    }

    /// Sealed segments and their lengths.
    pub(crate) fn sealed(&self) -> Result<Vec<(u32, u64)>, StoreError> {
        self.read(|transaction| {
            let mut found = Vec::new();
            for row in transaction.open_table(SEALED)?.iter()? {
                let (key, value) = row?;
                found.push((key.value(), value.value()));
            }
            Ok(found)
        })
    }

    /// Records that a segment is sealed at a length, or (with `None`) that it is gone.
    pub(crate) fn set_sealed(&self, segment: u32, length: Option<u64>) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(SEALED)?;
            match length {
                Some(length) => drop(table.insert(segment, length)?),
                None => drop(table.remove(segment)?),
            }
            Ok(())
        })
    }

    /// Adds the records of many roots at once.
    pub(crate) fn add_roots(&self, records: &[RootRecord]) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(ROOTS)?;
            for record in records {
                table.insert(&record.root.0.0[..], &encode(record)[..])?;
            }
            Ok(())
        })
    }

    /// Says durably that records may be deltas: programs that do not know them refuse the store.
    pub(crate) fn allow_deltas(&self) -> Result<(), StoreError> {
        let found = self.read(|transaction| {
            let format = transaction.open_table(FORMAT)?;
            Ok(format.get("format")?.map(|value| value.value()))
        })?;
        if found.is_some_and(|found| found >= FORMAT_DELTAS) {
            return Ok(());
        }
        self.write(|transaction| {
            let mut format = transaction.open_table(FORMAT)?;
            format.insert("format", FORMAT_DELTAS)?;
            Ok(())
        })
    }

    /// Calls `each` with every row of sketches, the oldest first.
    pub(crate) fn sketches(&self, each: &mut dyn FnMut(&[u8])) -> Result<(), StoreError> {
        self.read(|transaction| {
            for row in transaction.open_table(SKETCHES)?.iter()? {
                each(row?.1.value());
            }
            Ok(())
        })
    }

    /// Adds rows of sketches, or puts them in the place of all that are there. Durable with the next
    /// change that is: sketches can be made again.
    pub(crate) fn add_sketches(&self, rows: &[Vec<u8>], instead: bool) -> Result<(), StoreError> {
        self.database.write(Durability::None, |transaction| {
            let mut table = transaction.open_table(SKETCHES)?;
            if instead {
                table.retain(|_, _| false)?;
            }
            let last = table.last()?.map(|(key, _)| key.value());
            for (number, row) in (last.map_or(0, |last| last + 1)..).zip(rows) {
                table.insert(number, &row[..])?;
            }
            Ok(())
        })
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        self.database.read(work)
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&redb::WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        self.database.write(Durability::Immediate, work)
    }
}

fn encode(record: &RootRecord) -> Vec<u8> {
    let mut out = vec![u8::from(record.pinned), u8::from(record.complete)];
    out.extend_from_slice(&record.added.to_le_bytes());
    out.extend_from_slice(&record.content_bytes.to_le_bytes());
    let kept = record.source.len().min(SOURCE_BYTES_MAX);
    out.extend_from_slice(&record.source[..kept]);
    out
}

fn decode(key: &[u8], value: &[u8]) -> Option<RootRecord> {
    let (flags, rest) = value.split_first_chunk::<2>()?;
    let (added, rest) = rest.split_first_chunk::<8>()?;
    let (content_bytes, source) = rest.split_first_chunk::<8>()?;
    Some(RootRecord {
        root: Root(BlockId(key.try_into().ok()?)),
        pinned: flags[0] != 0,
        complete: flags[1] != 0,
        added: u64::from_le_bytes(*added),
        content_bytes: u64::from_le_bytes(*content_bytes),
        source: source.to_vec(),
    })
}
