//! Who gets in: invitations, keys, users.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use hypermesh_testkit::{Mesh, until};

use crate::{Outcome, could_not};

#[test]
fn an_invitation_is_good_for_one_node_and_for_its_time() -> Outcome {
    let mut mesh = Mesh::new()?;
    let (a, b, c) = (mesh.node("a")?, mesh.node("b")?, mesh.node("c")?);
    let invitation = a.ok(&["invite"])?;
    b.ok(&["join", &invitation])?;
    let replayed = c.run(&["join", &invitation])?;
    assert_eq!(replayed.code, 1);
    assert!(replayed.stderr.contains("redeemed before"), "{replayed:?}");
    let short = a.ok(&["invite", "--valid-for", "1s"])?;
    let expired = until("an expired invitation", Duration::from_secs(30), || {
        let answer = c.run(&["join", &short])?;
        if answer.code == 0 {
            return Err("it was good, though its second had passed before the node asked".into());
        }
        Ok(answer.stderr.contains("expired").then_some(answer))
    });
    // Joining within its second is no failure of the node: then the next one is tried, after its time.
    if expired.is_err() {
        let d = mesh.node("d")?;
        let short = a.ok(&["invite", "--valid-for", "1s"])?;
        std::thread::sleep(Duration::from_secs(2));
        let answer = d.run(&["join", &short])?;
        assert!(
            answer.code == 1 && answer.stderr.contains("expired"),
            "{answer:?}"
        );
    }
    let damaged = invitation.replace('q', "p");
    assert_eq!(c.run(&["join", &damaged])?.code, 1);
    Ok(())
}

#[test]
fn another_key_at_a_known_address_is_not_believed() -> Outcome {
    let mut mesh = Mesh::new()?;
    let (a, b) = (mesh.node("a")?, mesh.node("b")?);
    // C is told that A's key answers where B does.
    let text = format!(
        "[alm]\nenabled = false\n[transport]\npeers = [\"{}@{}\"]\n",
        a.id(),
        b.address()?
    );
    let c = mesh.node_with("c", &text, None)?;
    let error = until("a refused connection", Duration::from_secs(30), || {
        let peer = c.json(&["peers"])?;
        assert_eq!(peer["connected"], false);
        let error = peer["last_error"].as_str().unwrap_or_default().to_owned();
        Ok((!error.is_empty()).then_some(error))
    })?;
    assert!(error.contains("cannot reach"), "{error}");
    Ok(())
}

/// Not a test of its own: the part of the next one that runs as another user.
#[test]
fn as_another_user() {
    let Some(socket) = std::env::var_os("HYPERMESH_TEST_SOCKET") else {
        return;
    };
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    let mut frame = [0; 60];
    stream.read_exact(&mut frame).unwrap();
    // An error frame of the connection, status DENIED.
    assert_eq!(frame[5], 4, "kind");
    assert_eq!(
        i32::from_le_bytes(frame[12..16].try_into().unwrap()),
        -12,
        "status"
    );
}

#[test]
fn another_user_is_refused_at_the_socket() -> Outcome {
    if !rustix::process::geteuid().is_root() {
        return could_not("another user at the socket: only root can become one");
    }
    let mut mesh = Mesh::new()?;
    let node = mesh.node("a")?;
    let socket = node
        .sockets()
        .join("hypermesh_state.sock")
        .canonicalize()
        .unwrap();
    // The directory keeps others out already; here it is opened, so that the kernel's word on the caller is what counts.
    let mut directory = socket.parent();
    while let Some(path) =
        directory.filter(|path| path.starts_with(mesh.path().canonicalize().unwrap()))
    {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        directory = path.parent();
    }
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    let program = mesh.path().join("another-user");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&program)
        .args(["--exact", "doors::as_another_user"])
        .env("HYPERMESH_TEST_SOCKET", &socket)
        .current_dir("/")
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => return could_not(&format!("another user at the socket: setpriv: {error}")),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    node.ok(&["status"]).map(drop)
}

#[test]
fn a_forgotten_peer_is_a_stranger_until_it_is_invited_again() -> Outcome {
    let mut mesh = Mesh::new()?;
    let (a, b, c) = (mesh.node("a")?, mesh.node("b")?, mesh.node("c")?);
    b.join(&a)?;
    c.join(&a)?;
    // A introduces them to each other; B then lets go of C, whom A still vouches for.
    b.wait_connected(&[&a, &c])?;
    b.ok(&["forget", c.id()])?;
    let lists_c = |node: &hypermesh_testkit::Node| -> hypermesh_testkit::Result<bool> {
        Ok(node.run(&["peers", "--json"])?.stdout.contains(c.id()))
    };
    assert!(!lists_c(&b)?);
    let again = b.run(&["forget", c.id()])?;
    assert_eq!(again.code, 1, "{again:?}");
    // A tells B of its members whenever one joins.
    let d = mesh.node("d")?;
    d.join(&a)?;
    b.wait_connected(&[&d])?;
    assert!(!lists_c(&b)?, "an introduction brought it back");
    c.join(&b)?;
    assert!(lists_c(&b)?);
    Ok(())
}

#[test]
fn a_nodes_own_directory_is_never_put() -> Outcome {
    let mut mesh = Mesh::new()?;
    let a = mesh.node("a")?;
    for inside in [
        a.directory().to_path_buf(),
        a.directory().join("identity.key"),
    ] {
        let refused = a.run(&["put", inside.to_str().ok_or("not UTF-8")?])?;
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains("key"), "{refused:?}");
    }
    let above = a.directory().parent().ok_or("no parent")?;
    let root = a.ok(&["put", above.to_str().ok_or("not UTF-8")?])?;
    let names = a.ok(&["ls", root.trim(), "--recursive"])?;
    assert!(!names.contains("identity.key"), "{names}");
    Ok(())
}
