//! Keeps trees of files as verified blocks: puts them in, finds what is missing, writes them out.
//!
//! - [`Store`]: the blocks of one node on one disk; `put`, `extract`, `list`, `cat`, `gc`, `fsck`.
//! - [`Closure`]: finds out, block by block, what of a root is not here yet.
//! - [`manifest`]: the formats of roots, directories and indexes, and their decoders.
//!
//! Every call blocks; a [`Store`] is cheap to clone and may be used from many threads.
//! The formats and the durability argument are in `docs/CONTENT.md`.
//!
//! ```
//! use hypermesh_blocks::{Ignore, PutOptions, Store, StoreOptions};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let place = tempfile::tempdir()?;
//! std::fs::create_dir(place.path().join("tree"))?;
//! std::fs::write(place.path().join("tree/hello"), b"hello")?;
//! let store = Store::open(&place.path().join("store"), StoreOptions::default())?;
//! let report = store.put(&place.path().join("tree"), PutOptions::default(), &Ignore)?;
//! store.extract(&report.root, &place.path().join("copy"), &Ignore)?;
//! assert_eq!(std::fs::read(place.path().join("copy/hello"))?, b"hello");
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod chunk;
mod closure;
mod counterpart;
pub mod disk;
mod error;
mod extract;
mod fsck;
mod gc;
pub mod limits;
pub mod manifest;
mod observe;
mod put;
mod store;
mod tree;

pub use closure::{BlockRef, Closure, Wanted};
pub use error::{IngestError, StoreError};
pub use extract::ExtractReport;
pub use fsck::{Finding, FsckReport, Outcome, Problem, Repair};
pub use gc::GcReport;
pub use observe::{Ignore, Observer, Phase, Progress};
pub use put::{DirectoryId, PutOptions, PutReport};
pub use store::{
    Ingested, RootInfo, RootRecord, Sent, Store, StoreOptions, StoreStats, StoredBlock,
};
pub use store::{Lease, RebuildReport, is_store};
pub use store::{codec, record, sidecar};
pub use tree::{Arrivals, Entry, EntryKind, Stat};
