//! Keeps what a layer of the memory acknowledged: a snapshot, and a checksummed log of what came after it.
//!
//! - [`Journal`]: commits records, and replaces log and snapshot by a new snapshot.
//! - [`Record`]: what is read back when a journal is opened.
//! - [`Durability`]: whether a commit waits for the disk.
//!
//! A record is bytes of the layer's own; the journal says nothing about them but that they are whole. What a layer
//! acknowledges together it commits as one record, so that a crash leaves all of it or nothing. The format is that of
//! `docs/JOURNAL.md`, the same for every language. A journal belongs to one process at a time, which holds a lock on its
//! directory. All functions block.
//!
//! ```
//! use mfn_journal::{Durability, Journal, Options};
//! use mfn_wire::Service;
//!
//! let place = tempfile::tempdir()?;
//! let options = Options { service: Service::Cpe, durability: Durability::Sync };
//! let mut journal = Journal::open(place.path(), options, |_| Ok(()))?;
//! journal.commit(b"what happened")?; // acknowledge after this
//! drop(journal);
//!
//! let mut seen = Vec::new();
//! Journal::open(place.path(), options, |record| {
//!     seen.push(record.bytes().to_vec());
//!     Ok(())
//! })?;
//! assert_eq!(seen, [b"what happened".to_vec()]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod error;
mod format;
mod journal;
mod read;

pub use error::JournalError;
pub use format::RECORD_BYTES_MAX;
pub use journal::{Durability, Journal, Options, Recovered};
pub use read::Record;
