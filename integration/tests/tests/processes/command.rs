//! What a script sees: output, exit status, repairs.

use std::process::{Command, Stdio};
use std::time::Duration;

use hypermesh_testkit::{Mesh, Programs, Random, tree, until};

use crate::{Outcome, put, text};

#[test]
fn standard_output_has_results_only() -> Outcome {
    let mut mesh = Mesh::new()?;
    let node = mesh.node("a")?;
    let path = mesh.path().join("tree");
    tree::write(&path, &mut Random::new(61), 8, 10_000)?;
    let id = node.run(&["id"])?;
    assert_eq!(id.stdout, format!("{}\n", node.id()));
    let put = node.run(&["put", text(&path)])?;
    let root = put.stdout.trim_end();
    assert!(
        root.starts_with("hmr1") && put.stdout.lines().count() == 1,
        "{put:?}"
    );
    assert_eq!(
        node.run(&["put", text(&path)])?.stdout,
        put.stdout,
        "the same content, another root"
    );
    let list = node.ok(&["ls", root, "--recursive"])?;
    for name in list.lines() {
        let stat = node.json(&["stat", &format!("{root}/{name}")])?;
        if stat["kind"] == "file" {
            let content = node.run(&["cat", &format!("{root}/{name}")])?;
            assert_eq!(
                content.stdout.len() as u64 > 0,
                stat["size"].as_u64().unwrap() > 0,
                "{name}"
            );
        }
    }
    node.ok(&["unpin", root])?;
    node.ok(&["pin", root])?;
    assert!(node.ok(&["roots"])?.contains(root));
    node.ok(&["gc"])?;
    node.ok(&["doctor"])?;
    node.ok(&["peers"])?;
    Ok(())
}

#[test]
fn failures_are_1_and_wrong_usage_is_2() -> Outcome {
    let mut mesh = Mesh::new()?;
    let node = mesh.node("a")?;
    let there = mesh.path().join("there");
    std::fs::write(&there, "mine").unwrap();
    let path = mesh.path().join("tree");
    tree::write(&path, &mut Random::new(62), 3, 1_000)?;
    let (root, _) = put(&node, &path)?;
    let taken = node.run(&["get", &root, text(&there)])?;
    assert_eq!((taken.code, taken.stdout.as_str()), (1, ""), "{taken:?}");
    assert!(taken.stderr.contains("exists already"), "{taken:?}");
    assert_eq!(std::fs::read(&there).unwrap(), b"mine");
    assert_eq!(node.run(&["put", "/nowhere/at/all"])?.code, 1);
    assert_eq!(node.run(&["cat", &format!("{root}/no such file")])?.code, 1);
    for wrong in [
        vec!["frobnicate"],
        vec!["get"],
        vec!["get", "hmr1q", "x"],
        vec!["ping", "nobody"],
    ] {
        assert_eq!(node.run(&wrong)?.code, 2, "{wrong:?}");
    }
    let unknown = format!("hmr1{}", "q".repeat(58));
    assert_ne!(node.run(&["get", &unknown, "x"])?.code, 0);
    Ok(())
}

#[test]
fn a_node_that_does_not_run_is_named_with_the_repair() -> Outcome {
    let mut mesh = Mesh::new()?;
    let mut node = mesh.node("a")?;
    node.kill();
    let answer = node.run(&["status"])?;
    assert_eq!(answer.code, 1);
    assert!(answer.stderr.contains("hypermesh up"), "{answer:?}");
    // Its directory is free again, and two nodes do not share it.
    node.start()?;
    let second = node.run(&["up"])?;
    assert_eq!(second.code, 1);
    assert!(second.stderr.contains("already runs"), "{second:?}");
    Ok(())
}

#[test]
fn ctrl_c_stops_a_node_cleanly() -> Outcome {
    let mut mesh = Mesh::new()?;
    let mut node = mesh.node_with("a", "", None)?;
    let sockets = node.sockets();
    // It comes up beside the node: without it the last line would say nothing.
    until("almd's socket", Duration::from_secs(30), || {
        Ok(sockets.join("mfn_alm.sock").exists().then_some(()))
    })?;
    let pid =
        rustix::process::Pid::from_raw(i32::try_from(node.pid().ok_or("not running")?).unwrap())
            .unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = node.wait_ended()?;
    assert!(status.success(), "{status}: {}", node.log_end());
    for name in ["hypermesh_transport.sock", "mfn_alm.sock"] {
        assert!(!sockets.join(name).exists(), "{name} stayed");
    }
    Ok(())
}

#[test]
fn programs_in_c_and_go_list_a_nodes_peers() -> Outcome {
    let mut mesh = Mesh::new()?;
    let (a, b) = (mesh.node("a")?, mesh.node("b")?);
    b.join(&a)?;
    b.wait_connected(&[&a])?;
    let socket = b
        .sockets()
        .join("hypermesh_transport.sock")
        .canonicalize()
        .unwrap();
    let built = Programs::find()?.hypermesh.parent().unwrap().to_path_buf();
    let run = |program: &std::path::Path| -> hypermesh_testkit::Result<Option<String>> {
        if !program.exists() {
            return Ok(None);
        }
        let output = Command::new(program)
            .arg(&socket)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            Ok(Some(said))
        } else {
            Err(format!("{}: {wrong}", program.display()))
        }
    };
    for program in ["peers", "ffi/ffi-examples-peers"] {
        match run(&built.join(program))? {
            Some(said) => assert!(
                said.contains(a.id()) && said.contains("connected"),
                "{program}: {said}"
            ),
            None => crate::could_not(&format!(
                "{program} is not built: ./make test-ffi and build-go build it"
            ))?,
        }
    }
    match run(&built.join("ffi/ffi-tests-client"))? {
        Some(said) => assert!(said.contains("client: ok"), "{said}"),
        None => crate::could_not("ffi/tests/client.c is not built: ./make test-ffi builds it")?,
    }
    Ok(())
}

#[test]
fn the_c_example_takes_a_list_as_a_stream() -> Outcome {
    let mut mesh = Mesh::new()?;
    let node = mesh.node("a")?;
    let path = mesh.path().join("tree");
    std::fs::create_dir(&path).unwrap();
    // More entries than the credit of the example.
    for number in 0..300 {
        std::fs::write(path.join(format!("file-{number}")), number.to_string()).unwrap();
    }
    let (root, _) = put(&node, &path)?;
    let program = Programs::find()?
        .hypermesh
        .with_file_name("ffi")
        .join("ffi-examples-list");
    if !program.exists() {
        return crate::could_not("ffi/examples/list.c is not built: ./make test-ffi builds it");
    }
    let output = Command::new(&program)
        .arg(node.sockets().join("hypermesh_state.sock"))
        .arg(&root)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    let mut lines: Vec<&str> = said.lines().collect();
    let listed = node.ok(&["ls", &root, "--recursive"])?;
    let mut names: Vec<&str> = listed.lines().collect();
    lines.sort_unstable();
    names.sort_unstable();
    assert_eq!(lines, names);
    Ok(())
}
