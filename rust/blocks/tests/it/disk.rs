//! A disk that fails: full, or losing what was written.

use std::fs;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hypermesh_blocks::disk::{Disk, DiskFile, Space, SystemDisk};
use hypermesh_blocks::{Ignore, PutOptions, StoreError, StoreOptions};

use crate::tree::{Bench, noise, snapshot};

#[derive(Debug)]
struct Faults {
    /// Bytes that may still be written.
    room: AtomicU64,
    sync_fails: AtomicBool,
}

#[derive(Clone, Debug)]
struct FaultyDisk(Arc<Faults>);

#[derive(Debug)]
struct FaultyFile(Arc<dyn DiskFile>, Arc<Faults>);

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(FaultyFile(
            SystemDisk.open(path, create)?,
            Arc::clone(&self.0),
        )))
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        SystemDisk.create_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<std::ffi::OsString>> {
        SystemDisk.list(path)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemDisk.rename(from, to)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        SystemDisk.sync_dir(path)
    }
    fn space(&self, _: &Path) -> io::Result<Space> {
        // As a thin-provisioned disk does: it promises what it has not got.
        Ok(Space {
            free: 1 << 40,
            total: 1 << 40,
        })
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let room = self.1.room.load(Ordering::SeqCst);
        let fits = (bytes.len() as u64).min(room) as usize;
        self.1.room.fetch_sub(fits as u64, Ordering::SeqCst);
        if fits > 0 {
            self.0.write_at(&[IoSlice::new(&bytes[..fits])], offset)?;
        }
        if fits < bytes.len() {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }
    fn sync(&self) -> io::Result<()> {
        if self.1.sync_fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("medium error"));
        }
        self.0.sync()
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
}

fn faulty() -> (Arc<Faults>, StoreOptions) {
    let faults = Arc::new(Faults {
        room: AtomicU64::new(u64::MAX),
        sync_fails: AtomicBool::new(false),
    });
    let disk = Arc::new(FaultyDisk(Arc::clone(&faults)));
    (
        faults,
        StoreOptions {
            disk,
            segment_bytes: Some(400_000),
            ..StoreOptions::default()
        },
    )
}

#[test]
fn a_full_disk_is_an_error_and_breaks_nothing() {
    for room in [0, 1, 55, 56, 57, 5_000, 123_456, 399_999, 400_001, 900_000] {
        let (faults, options) = faulty();
        let bench = Bench::with(options);
        fs::write(bench.path("first"), noise(1, 600_000)).unwrap();
        fs::write(bench.path("second"), noise(2, 2_000_000)).unwrap();
        let first = bench.put("first");
        faults.room.store(room, Ordering::SeqCst);
        let path = bench.path("second");
        let error = bench
            .store
            .put(&path, PutOptions::default(), &Ignore)
            .unwrap_err();
        assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
        // With room again, the same store goes on; so does one that is opened afresh.
        faults.room.store(u64::MAX, Ordering::SeqCst);
        let second = bench.put("second");
        let bench = bench.reopen(StoreOptions::default());
        for (name, root) in [("first", first.root), ("second", second.root)] {
            let copy = bench.path(&format!("copy of {name}"));
            bench.store.extract(&root, &copy, &Ignore).unwrap();
            assert_eq!(snapshot(&bench.path(name)), snapshot(&copy));
        }
        let report = bench.store.fsck(&Ignore, &mut |_| {}, None).unwrap();
        assert_eq!(report.bad_blocks, 0);
    }
}

#[test]
fn a_failed_sync_is_not_forgotten() {
    let (faults, options) = faulty();
    let bench = Bench::with(options);
    fs::write(bench.path("first"), noise(1, 50_000)).unwrap();
    fs::write(bench.path("second"), noise(2, 60_000)).unwrap();
    let first = bench.put("first");
    faults.sync_fails.store(true, Ordering::SeqCst);
    let path = bench.path("second");
    assert!(
        bench
            .store
            .put(&path, PutOptions::default(), &Ignore)
            .is_err()
    );
    // The disk seems well again, but what it dropped is unknown: nothing is acknowledged.
    faults.sync_fails.store(false, Ordering::SeqCst);
    let again = bench
        .store
        .put(&path, PutOptions::default(), &Ignore)
        .unwrap_err();
    assert!(matches!(again, StoreError::LostWrites), "{again}");
    assert_eq!(bench.store.roots().unwrap().len(), 1);
    let bench = bench.reopen(StoreOptions::default());
    bench.put("second");
    bench
        .store
        .extract(&first.root, &bench.path("copy"), &Ignore)
        .unwrap();
}

/// Wherever the disk gets full, in a segment or in the database: one clear error, and the same store
/// goes on when there is room.
#[test]
fn a_disk_that_is_full_in_a_commit_is_an_error_and_breaks_nothing() {
    let (mut in_segment, mut in_database) = (0, 0);
    let mut room = 0;
    loop {
        let (faults, options) = faulty();
        let bench = Bench::with(options);
        fs::write(bench.path("first"), noise(1, 10_000)).unwrap();
        fs::write(bench.path("second"), noise(2, 10_000)).unwrap();
        let first = bench.put("first");
        faults.room.store(room, Ordering::SeqCst);
        let path = bench.path("second");
        let put = bench.store.put(&path, PutOptions::default(), &Ignore);
        // What has no room has none a second time, and says so again.
        let again = bench.store.pin(&first.root);
        faults.room.store(u64::MAX, Ordering::SeqCst);
        match &put {
            Ok(_) => {}
            Err(StoreError::NoSpace { path, .. }) if path.ends_with("meta.redb") => {
                in_database += 1;
                assert!(
                    matches!(again, Err(StoreError::NoSpace { .. })),
                    "{again:?}"
                );
            }
            Err(StoreError::NoSpace { .. }) => in_segment += 1,
            Err(other) => unreachable!("room for {room}: {other}"),
        }
        assert!(bench.store.root(&first.root).unwrap().unwrap().pinned);
        let second = bench.put("second");
        bench.store.unpin(&first.root).unwrap();
        bench.store.gc(false, &Ignore).unwrap();
        let bench = bench.reopen(StoreOptions::default());
        assert_eq!(bench.store.roots().unwrap().len(), 1);
        bench
            .store
            .extract(&second.root, &bench.path("copy"), &Ignore)
            .unwrap();
        if put.is_ok() {
            break;
        }
        room += 2_500;
    }
    assert!(
        in_segment > 0 && in_database > 0,
        "{in_segment} in a segment, {in_database} in the database"
    );
}

#[test]
fn a_failed_sync_of_the_database_is_not_forgotten() {
    let (faults, options) = faulty();
    let bench = Bench::with(options);
    fs::write(bench.path("file"), noise(1, 10_000)).unwrap();
    let root = bench.put("file").root;
    faults.sync_fails.store(true, Ordering::SeqCst);
    assert!(bench.store.unpin(&root).is_err());
    faults.sync_fails.store(false, Ordering::SeqCst);
    let again = bench.store.unpin(&root).unwrap_err();
    assert!(matches!(again, StoreError::LostWrites), "{again}");
    let bench = bench.reopen(StoreOptions::default());
    bench.store.unpin(&root).unwrap();
}
