//! Noise at every door.

use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;

use hypermesh_testkit::{Mesh, Random, tree};

use crate::{Outcome, fsck, put, status, text};

const CONNECTIONS: usize = 10_000;
/// What a node may take at the end; an idle one takes less than a third.
const RESIDENT_BYTES_MAX: u64 = 200 << 20;

#[test]
fn ten_thousand_connections_of_garbage_at_each_socket() -> Outcome {
    let mut mesh = Mesh::new()?;
    let node = mesh.node_with("a", "", None)?;
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
    assert!(sockets.len() >= 5, "{sockets:?}");
    for socket in &sockets {
        let mut held = Vec::new();
        for number in 0..CONNECTIONS {
            let Ok(mut stream) = UnixStream::connect(socket) else {
                continue;
            };
            let count = random.below(100) as usize;
            // It may be sent away before it has said all.
            let _ = stream.write_all(&random.bytes(count));
            if number % 50 == 0 {
                // Some stay and say nothing more.
                held.push(stream);
            }
        }
        // Others are served meanwhile, and afterwards.
        node.ok(&["status"])
            .map_err(|error| format!("{}: {error}", socket.display()))?;
    }
    let resident = status(&node, "/resident_bytes")?;
    assert!(resident < RESIDENT_BYTES_MAX, "{resident} bytes resident");
    fsck(&node)
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
