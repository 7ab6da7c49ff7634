//! Noise at every door.

use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hypermesh_testkit::{Mesh, Random, tree, until};

use crate::{Outcome, fsck, put, status, text};

const CONNECTIONS: usize = 10_000;
/// How many of them must have been made: the kernel's queue of a socket makes callers wait, it refuses none.
const CONNECTIONS_MIN: usize = CONNECTIONS * 99 / 100;
/// A flood goes on until others were served meanwhile, but not beyond this.
const CONNECTIONS_MAX: usize = 100 * CONNECTIONS;
/// How often another must be served during a flood.
const ANSWERS_MIN: usize = 2;
/// Connections that stay.
const HELD_MAX: usize = CONNECTIONS / 50;
const ALM_START: Duration = Duration::from_secs(60);
/// What a node may take at the end; an idle one takes less than a third.
const RESIDENT_BYTES_MAX: u64 = 200 << 20;

#[test]
fn ten_thousand_connections_of_garbage_at_each_socket() -> Outcome {
    let mut mesh = Mesh::new()?;
    let node = mesh.node_with("a", "", None)?;
    // The node starts almd, which serves its socket when it has read its graph.
    let alm = node.sockets().join("mfn_alm.sock");
    until("the socket of almd", ALM_START, || {
        Ok(UnixStream::connect(&alm).is_ok().then_some(()))
    })?;
    let mut random = Random::new(31);
    let mut sockets: Vec<_> = std::fs::read_dir(node.sockets())
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "sock")
        })
        .collect();
    sockets.sort();
    assert!(sockets.len() >= 6 && sockets.contains(&alm), "{sockets:?}");
    for socket in &sockets {
        let (flooding, answered) = (AtomicBool::new(true), AtomicUsize::new(0));
        let (made, asked) = std::thread::scope(|scope| {
            // Others are served meanwhile.
            let asking = scope.spawn(|| {
                while flooding.load(Ordering::Relaxed) {
                    node.ok(&["status"])?;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<(), String>(())
            });
            let made = flood(socket, &mut random, || {
                asking.is_finished() || answered.load(Ordering::Relaxed) >= ANSWERS_MIN
            });
            flooding.store(false, Ordering::Relaxed);
            (made, asking.join().unwrap())
        });
        let name = socket.display();
        asked.map_err(|error| format!("{name}, during the flood: {error}"))?;
        let answered = answered.into_inner();
        println!("{name}: {made} connections; status was answered {answered} times meanwhile");
        assert!(made >= CONNECTIONS_MIN, "{name}: {made} connections");
        assert!(answered >= ANSWERS_MIN, "{name}: {answered} answers");
        node.ok(&["status"])
            .map_err(|error| format!("{name}, after the flood: {error}"))?;
        assert!(UnixStream::connect(socket).is_ok(), "{name} is gone");
    }
    let resident = status(&node, "/resident_bytes")?;
    assert!(resident < RESIDENT_BYTES_MAX, "{resident} bytes resident");
    fsck(&node)
}

/// Connects and says noise, [`CONNECTIONS`] times and on until `enough` others were served; how often there was a
/// connection.
fn flood(socket: &Path, random: &mut Random, enough: impl Fn() -> bool) -> usize {
    let mut held = Vec::new();
    let mut made = 0;
    for number in 0..CONNECTIONS_MAX {
        if number >= CONNECTIONS && enough() {
            break;
        }
        let Ok(mut stream) = UnixStream::connect(socket) else {
            continue;
        };
        made += 1;
        let count = random.below(100) as usize;
        // It may be sent away before it has said all.
        let _ = stream.write_all(&random.bytes(count));
        if number % 50 == 0 && held.len() < HELD_MAX {
            // Some stay and say nothing more.
            held.push(stream);
        }
    }
    made
}

#[test]
fn garbage_at_the_port_stops_no_transfer() -> Outcome {
    let mut mesh = Mesh::new()?;
    let (a, b) = (mesh.node("a")?, mesh.node("b")?);
    let to = a.address()?;
    let mut random = Random::new(32);
    for _ in 0..CONNECTIONS / 10 {
        // A new port each: to the node, another caller.
        let socket = UdpSocket::bind("[::1]:0").unwrap();
        for _ in 0..10 {
            let count = 1 + random.below(1_300) as usize;
            let mut datagram = random.bytes(count);
            if random.below(2) == 0 {
                // Half look like the start of a handshake.
                datagram[0] = 0xc0;
            }
            // The buffers may be full.
            let _ = socket.send_to(&datagram, to);
        }
    }
    b.join(&a)?;
    let path = mesh.path().join("tree");
    tree::write(&path, &mut random, 20, 50_000)?;
    let (root, _) = put(&a, &path)?;
    b.wait_connected(&[&a])?;
    let copy = mesh.path().join("copy");
    b.ok(&["get", &root, text(&copy)])?;
    tree::compare(&path, &copy)?;
    let resident = status(&a, "/resident_bytes")?;
    assert!(resident < RESIDENT_BYTES_MAX, "{resident} bytes resident");
    Ok(())
}
