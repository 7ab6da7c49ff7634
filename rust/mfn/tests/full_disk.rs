//! A full disk: a typed refusal, nothing acknowledged is lost, questions are answered, and it goes on when there is room.
//!
//! The limits are those of a process of its own, which is this program again: a file size that the shell's `ulimit` stands
//! for, which the file system does not know of before the write, and a small tmpfs, which refuses to promise room.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use mfn_local::{Failure, Reply};
use mfn_memory::{Cpe, Dsr, Layer, Memory};
use mfn_wire::{Status, method, pb};
use prost::Message;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const BYTES_MAX: u64 = 64 << 20;
/// Where the process of a test is to work, and what limits it.
const PLACE: &str = "MFN_TEST_FULL_DISK";

/// What a layer is told and asked.
trait Told: Layer {
    fn told(number: u64) -> (u16, Vec<u8>);
    fn question() -> (u16, Vec<u8>);
}

fn vector(number: u64) -> Vec<f32> {
    let one = |at: u64| ((number + 1) * (at + 3) * 7_919 % 1_009) as f32 - 500.0;
    (0..64).map(one).collect()
}

impl Told for Dsr {
    fn told(number: u64) -> (u16, Vec<u8>) {
        let message = pb::DsrInsertRequest {
            pool_id: 1,
            key: number.to_le_bytes().to_vec(),
            vector: vector(number),
        };
        (method::dsr::INSERT, message.encode_to_vec())
    }
    fn question() -> (u16, Vec<u8>) {
        let message = pb::DsrSimilarRequest {
            pool_id: 1,
            vector: vector(1_000_007),
            k: 5,
            ..pb::DsrSimilarRequest::default()
        };
        (method::dsr::SIMILAR, message.encode_to_vec())
    }
}

impl Told for Cpe {
    fn told(number: u64) -> (u16, Vec<u8>) {
        let message = pb::CpeObserveRequest {
            pool_id: 1,
            stream: b"stream".to_vec(),
            keys: vec![vec![(number % 7) as u8; 300]],
            time: number,
            ..pb::CpeObserveRequest::default()
        };
        (method::cpe::OBSERVE, message.encode_to_vec())
    }
    fn question() -> (u16, Vec<u8>) {
        let message = pb::CpePredictRequest {
            pool_id: 1,
            stream: b"stream".to_vec(),
            k: 5,
            time: 1_000_000,
            ..pb::CpePredictRequest::default()
        };
        (method::cpe::PREDICT, message.encode_to_vec())
    }
}

fn open<L: Layer>(directory: &Path) -> Memory {
    Memory::open::<L>(directory, BYTES_MAX).unwrap()
}

fn tell<L: Told>(memory: &Memory, number: u64) -> Result<Reply, Failure> {
    let (method, body) = L::told(number);
    memory.call(method, number, body)
}

fn ask<L: Told>(memory: &Memory) -> bytes::Bytes {
    let (method, body) = L::question();
    memory.call(method, 1_000_000, body).unwrap().body
}

/// How room is taken and given back.
#[derive(Clone, Copy, Debug)]
enum Limit {
    FileSize,
    Disk,
}

impl Limit {
    fn set(self, directory: &Path, full: bool) {
        match self {
            Self::FileSize => {
                let log = fs::metadata(directory.join("log")).unwrap().len();
                let all = getrlimit(Resource::Fsize).maximum;
                let limit = Rlimit {
                    // Less than a record more.
                    current: if full { Some(log + 100) } else { all },
                    maximum: all,
                };
                setrlimit(Resource::Fsize, limit).unwrap();
            }
            Self::Disk => {
                let filler = directory.with_file_name("filler");
                if !full {
                    return fs::remove_file(filler).unwrap();
                }
                let mut filler = fs::File::create(filler).unwrap();
                while filler.write_all(&[1; 4_096]).is_ok() {}
            }
        }
    }
}

fn fills<L: Told>(place: &Path, limit: Limit) {
    let directory = place.join(L::SERVICE.name());
    let memory = open::<L>(&directory);
    let mut told = 0;
    for round in 0..3 {
        for _ in 0..50 {
            tell::<L>(&memory, told).unwrap();
            told += 1;
        }
        if round == 1 {
            // What is kept comes from a snapshot too.
            memory.call(L::SNAPSHOT, 0, Vec::new()).unwrap();
            tell::<L>(&memory, told).unwrap();
            told += 1;
        }
        limit.set(&directory, true);
        // What was promised before may still be used.
        let mut refused = None;
        for _ in 0..10_000 {
            match tell::<L>(&memory, told) {
                Ok(_) => told += 1,
                Err(failure) => {
                    refused = Some(failure);
                    break;
                }
            }
        }
        let refused = refused.unwrap();
        assert_eq!(refused.status, Status::QUOTA, "{limit:?}: {refused}");
        let before = ask::<L>(&memory);
        for _ in 0..20 {
            let again = tell::<L>(&memory, told).unwrap_err();
            assert_eq!(again.status, Status::QUOTA, "{limit:?}: {again}");
        }
        let snapshot = memory.call(L::SNAPSHOT, 0, Vec::new());
        assert!(snapshot.is_err(), "{limit:?}");
        assert_eq!(memory.status().failed, None);
        assert_eq!(
            ask::<L>(&memory),
            before,
            "{limit:?}: a refused change was seen"
        );
        limit.set(&directory, false);
        tell::<L>(&memory, told).unwrap();
        told += 1;
        memory.call(L::SNAPSHOT, 0, Vec::new()).unwrap();
    }
    tell::<L>(&memory, told).unwrap();
    let before = ask::<L>(&memory);
    drop(memory);
    assert_eq!(ask::<L>(&open::<L>(&directory)), before, "{limit:?}");
}

/// Does nothing unless it was started for it.
#[test]
fn in_a_process_of_its_own() {
    let Some(place) = std::env::var_os(PLACE) else {
        return;
    };
    let place = PathBuf::from(place);
    let limit = if place.join("disk").exists() {
        Limit::Disk
    } else {
        Limit::FileSize
    };
    fills::<Dsr>(&place, limit);
    fills::<Cpe>(&place, limit);
    println!("it went well");
}

/// Whether the process ended well; with what it said.
fn run(command: &mut Command, place: &Path) -> (bool, String) {
    let output = command
        .args(["in_a_process_of_its_own", "--exact", "--nocapture"])
        .env(PLACE, place)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let went_well = output.status.success() && said.contains("it went well");
    (went_well, said + &String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_file_that_may_not_grow() {
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    // The signal would end the process before it could say anything.
    command
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap());
    let (went_well, said) = run(&mut command, place.path());
    assert!(went_well, "{said}");
}

#[test]
fn a_disk_that_is_full() {
    let place = tempfile::tempdir().unwrap();
    let mount =
        "mount -t tmpfs -o size=3m none \"$1\" && touch \"$1/disk\" && shift && exec \"$0\" \"$@\"";
    let unshared = |script: &str| {
        let mut command = Command::new("unshare");
        command
            .args(["-Urm", "sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .arg(place.path());
        command
    };
    let can = unshared("mount -t tmpfs -o size=3m none \"$1\"").output();
    if !can.is_ok_and(|output| output.status.success()) {
        // Past the test runner, which shows nothing of a test that passes.
        let line = b"NOT TRIED: a small disk, for want of user namespaces\n";
        std::io::stderr().write_all(line).unwrap();
        let strict = std::env::var_os("STRICT").is_some_and(|value| value == "1");
        assert!(!strict, "no user namespaces");
        return;
    }
    let (went_well, said) = run(&mut unshared(mount), place.path());
    assert!(went_well, "{said}");
}
