//! The layers dsr and cpe of a running node: any program reaches them, and they survive SIGKILL.

use hypermesh_testkit::{Mesh, Node, Result};
use serde_json::{Value, json};

use crate::Outcome;

fn call(node: &Node, service: &str, method: &str, body: &Value) -> Result<Value> {
    node.json(&["ipc", "call", service, method, &body.to_string()])
}

fn layer(node: &Node, name: &str) -> Result<(String, u64)> {
    let status = node.json(&["status"])?;
    let layers = status["layers"].as_array().ok_or("no layers")?;
    let layer = layers.iter().find(|layer| layer["name"] == name);
    let layer = layer.ok_or("no such layer")?;
    Ok((
        layer["state"].as_str().unwrap_or_default().to_owned(),
        layer["entries"].as_u64().unwrap_or_default(),
    ))
}

/// Questions whose answers must not change.
fn ask(node: &Node) -> Result<[Value; 3]> {
    Ok([
        call(
            node,
            "dsr",
            "similar",
            &json!({"poolId": 1, "vector": [1.0, 0.2, 0.0], "k": 2}),
        )?,
        call(
            node,
            "cpe",
            "predict",
            &json!({"stream": "czE=", "k": 2, "time": 900}),
        )?,
        call(node, "cpe", "forecast", &json!({"series": "cnR0"}))?,
    ])
}

#[test]
fn what_the_layers_acknowledged_survives_a_kill() -> Outcome {
    let mut mesh = Mesh::new()?;
    let mut node = mesh.node("a")?;
    assert_eq!(layer(&node, "dsr")?, ("in use".into(), 0));
    for (key, vector) in [
        ("YQ==", [1.0, 0.0, 0.0]),
        ("Yg==", [0.9, 0.3, 0.0]),
        ("Yw==", [0.0, 0.0, 1.0]),
    ] {
        let body = json!({"poolId": 1, "key": key, "vector": vector});
        node.ok(&["ipc", "call", "dsr", "insert", &body.to_string()])?;
    }
    for round in 0..8 {
        let body =
            json!({"stream": "czE=", "keys": ["eA==", "eQ==", "eg=="], "time": 100 + round * 100});
        node.ok(&["ipc", "call", "cpe", "observe", &body.to_string()])?;
        let body = json!({"series": "cnR0", "value": 20 + round % 2, "time": 100 + round * 100});
        node.ok(&["ipc", "call", "cpe", "sample", &body.to_string()])?;
    }
    let before = ask(&node)?;
    assert_eq!(before[0]["matches"][0]["key"], "Yg==");
    assert_eq!(before[1]["items"][0]["key"], "eA==");
    node.kill();
    node.start()?;
    assert_eq!(ask(&node)?, before);
    // Again from a snapshot, with a little log after it.
    node.ok(&["ipc", "call", "dsr", "snapshot"])?;
    node.ok(&["ipc", "call", "cpe", "snapshot"])?;
    let body = json!({"poolId": 2, "key": "YQ==", "vector": [1.0]});
    node.ok(&["ipc", "call", "dsr", "insert", &body.to_string()])?;
    node.kill();
    node.start()?;
    assert_eq!(ask(&node)?, before);
    assert_eq!(layer(&node, "dsr")?, ("in use".into(), 4));
    assert_eq!(layer(&node, "cpe")?, ("in use".into(), 2));

    let wrong = json!({"poolId": 1, "key": "ZA==", "vector": [1.0]});
    let refused = node.run(&["ipc", "call", "dsr", "insert", &wrong.to_string()])?;
    assert_eq!(refused.code, 1, "{refused:?}");
    Ok(())
}

#[test]
fn a_damaged_journal_leaves_its_layer_out_and_the_node_up() -> Outcome {
    let mut mesh = Mesh::new()?;
    let mut node = mesh.node("a")?;
    for key in ["YQ==", "Yg=="] {
        let body = json!({"key": key, "vector": [1.0, 2.0]});
        node.ok(&["ipc", "call", "dsr", "insert", &body.to_string()])?;
    }
    node.kill();
    let log = node.directory().join("memory/dsr/log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[30] ^= 1;
    std::fs::write(&log, &bytes).unwrap();
    node.start()?;
    assert_eq!(layer(&node, "dsr")?, ("absent".into(), 0));
    assert_eq!(layer(&node, "cpe")?.0, "in use");
    assert_ne!(node.run(&["ipc", "call", "dsr", "stats"])?.code, 0);
    assert_eq!(std::fs::read(&log).unwrap(), bytes);
    Ok(())
}
