//! What else a process with Go inside must still do: take signals on any thread, stop in order, and say where it panicked.
//!
//! Each test runs this program again, with itself as the only test and a variable that says so.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mfn_alm::{
    Alm, AlmError, AssociatesQuery, Edge, EmbeddedAlm, EmbeddedOptions, PathQuery,
    signals_on_alternate_stack,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{open, run};

/// Names the directory that the second program is to use.
const DIRECTORY: &str = "MFN_TEST_EMBEDDED_DIRECTORY";
/// Signals that each run sends to its own threads.
const STORM: u64 = 150_000;

#[test]
fn stops_in_order_when_asked_to() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return run(until_stopped(Path::new(&directory)));
    }
    for stop in [libc::SIGTERM, libc::SIGINT] {
        let place = tempfile::tempdir().unwrap();
        let mut child = again("process::stops_in_order_when_asked_to", place.path());
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("ready") {
            line.clear();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "{}", end(child));
        }
        let pid = i32::try_from(child.id()).unwrap();
        // SAFETY: sends a signal to a process that we started and have not waited for.
        assert_eq!(unsafe { libc::kill(pid, stop) }, 0);
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("stopped"), "{rest}{}", end(child));
        let status = child.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(0), None), "{rest}");
        let alm = open(&EmbeddedOptions::new(place.path())).unwrap();
        assert!(run(alm.stats()).unwrap().edges > 0, "what was told is lost");
    }
}

/// Works under a storm of signals to every thread, says `ready`, and works on until a signal says to stop.
async fn until_stopped(directory: &Path) {
    let alm = open(&EmbeddedOptions::new(directory)).unwrap();
    // The worst order: handlers without SA_ONSTACK, and Go is there already.
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let mut interrupt = signal(SignalKind::interrupt()).unwrap();
    let mut stormy = signal(SignalKind::user_defined1()).unwrap();
    assert!(signals_on_alternate_stack() >= 3, "tokio sets the flag now");
    assert_eq!(signals_on_alternate_stack(), 0);

    let ended = Arc::new(AtomicBool::new(false));
    let work: Vec<_> = (0..4)
        .map(|number| tokio::spawn(busy(alm.clone(), number, Arc::clone(&ended))))
        .collect();
    let heard = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&heard);
    let listening = tokio::spawn(async move {
        while stormy.recv().await.is_some() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    tokio::task::spawn_blocking(storm).await.unwrap();
    println!("ready");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    ended.store(true, Ordering::Relaxed);
    let mut answers = 0;
    for one in work {
        answers += one.await.unwrap();
    }
    alm.close().await;
    listening.abort();
    assert!(answers > 0, "nothing was answered meanwhile");
    assert!(heard.load(Ordering::Relaxed) > 0, "no signal was heard");
    println!("stopped");
}

/// Changes and questions that make Go allocate and grow stacks, until told to end. Answers how many rounds there were.
async fn busy(alm: EmbeddedAlm, number: usize, ended: Arc<AtomicBool>) -> u64 {
    let node = |at: u64| format!("{number}/{}", at % 500);
    let mut rounds = 0;
    let mut at = 0;
    while !ended.load(Ordering::Relaxed) {
        at += 1;
        let edges = (0..20).map(|i| Edge::new(node(at), node(at + i + 1), 0.5));
        let near = AssociatesQuery {
            node: node(at).into(),
            ..AssociatesQuery::default()
        };
        let ways = PathQuery {
            from: node(at).into(),
            to: node(at + 250).into(),
            ..PathQuery::default()
        };
        let round = async {
            alm.add(edges.collect()).await?;
            alm.associates(near).await?;
            alm.best_paths(ways, 8).await
        };
        match round.await {
            Ok(_) => rounds += 1,
            // A crowded machine may be late, which is no error of the layer.
            Err(AlmError::Away(_)) => {}
            Err(refused) => panic!("{refused}"),
        }
    }
    rounds
}

/// Sends SIGUSR1 to every other thread of this process, Go's included, over and over.
fn storm() {
    let process = i64::from(std::process::id());
    // SAFETY: asks for this thread's number.
    let own = unsafe { libc::syscall(libc::SYS_gettid) };
    let mut sent = 0;
    while sent < STORM {
        for entry in std::fs::read_dir("/proc/self/task").unwrap() {
            let name = entry.unwrap().file_name();
            let thread: i64 = name.to_str().unwrap().parse().unwrap();
            if thread != own {
                // SAFETY: signals a thread of this process, with a signal that has a handler; one that ended is an error.
                unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR1) };
                sent += 1;
            }
        }
    }
}

#[test]
fn a_panic_still_says_where() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return run(panics(Path::new(&directory)));
    }
    let place = tempfile::tempdir().unwrap();
    let child = again("process::a_panic_still_says_where", place.path());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // The test runner's own status for a test that failed, not an abort.
    assert_eq!(output.status.code(), Some(101), "{said}");
    for part in [
        "the first panic",
        "the second panic",
        "stack backtrace",
        "falls_over",
    ] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
}

/// Panics twice beside a busy layer: once in a task, which is survived, and once for good.
async fn panics(directory: &Path) {
    let alm = open(&EmbeddedOptions::new(directory)).unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let work = tokio::spawn(busy(alm.clone(), 0, Arc::clone(&ended)));
    let first = tokio::spawn(async { falls_over("the first panic") }).await;
    assert!(first.unwrap_err().is_panic());
    tokio::time::timeout(Duration::from_secs(30), alm.stats())
        .await
        .unwrap()
        .unwrap();
    ended.store(true, Ordering::Relaxed);
    work.await.unwrap();
    falls_over("the second panic");
}

#[inline(never)]
fn falls_over(why: &str) {
    panic!("{why}");
}

/// This program again, with one test.
fn again(test: &str, directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a program that failed us said.
fn end(mut child: Child) -> String {
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.read_to_string(&mut said);
    }
    let status = child.wait();
    format!("{status:?}\n{said}")
}
