//! The golden vectors of `integration/vectors/wire`, which all languages read.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use mfn_wire::{Header, Tlv, decode, encode, flag};
use serde_json::Value;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../integration/vectors")
}

fn read(path: &Path) -> Vec<Value> {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// What is different from what the vector says.
fn disagreement(vector: &Value) -> Option<String> {
    let bytes = unhex(&vector["hex"]);
    let status = vector["status"].as_i64().unwrap();
    let frame = match decode(&bytes) {
        Ok(frame) if status == 0 => frame,
        Ok(_) => return Some(format!("decoded, but {status} was expected")),
        Err(error) if i64::from(error.status().0) == status => return None,
        Err(error) => return Some(format!("{} instead of {status}", error.status())),
    };
    let Header {
        kind,
        service,
        content_type,
        method,
        flags,
        status,
        request_id,
        ..
    } = frame.header;
    let number = |name: &str| vector[name].as_u64().unwrap();
    let entries: Vec<Tlv<'_>> = frame.tlv.iter().collect();
    let fields = [
        ("kind", kind.as_u8().into()),
        ("service", service.as_u8().into()),
        ("content_type", content_type.as_u8().into()),
        ("method", method.into()),
        ("request_id", request_id),
        ("deadline_ns", frame.header.deadline_ns),
        ("credit", frame.header.credit.into()),
    ];
    for (name, found) in fields {
        if found != number(name) {
            return Some(format!("{name} is {found}"));
        }
    }
    let same = u64::from(flags) == number("flags") & !u64::from(flag::TLV)
        && i64::from(status.0) == vector["header_status"].as_i64().unwrap()
        && frame.header.trace_id[..] == unhex(&vector["trace_id"])
        && frame.header.span_id[..] == unhex(&vector["span_id"])
        && frame.body == unhex(&vector["body"]);
    let expected = vector["tlvs"].as_array().unwrap();
    let same_entries = entries.len() == expected.len()
        && entries.iter().zip(expected).all(|(entry, expected)| {
            u64::from(entry.kind) == expected["type"].as_u64().unwrap()
                && entry.value == unhex(&expected["value"])
        });
    if !same || !same_entries {
        return Some(format!("another frame: {frame:?}"));
    }
    // The one form that is not given back: a flag with an empty area.
    let mut again = Vec::new();
    encode(&frame.header, &entries, frame.body, &mut again).unwrap();
    let empty_area = number("flags") & u64::from(flag::TLV) != 0 && entries.is_empty();
    (again != bytes && !empty_area).then(|| "it encodes to other bytes".into())
}

#[test]
fn all_vectors_agree() {
    let (mut good, mut bad) = (0, 0);
    for entry in std::fs::read_dir(directory().join("wire")).unwrap() {
        for vector in read(&entry.unwrap().path()) {
            if let Some(text) = disagreement(&vector) {
                panic!("{}: {text}", vector["name"]);
            }
            *(if vector["status"] == 0 {
                &mut good
            } else {
                &mut bad
            }) += 1;
        }
    }
    assert!(good + bad >= 200 && bad >= 100, "{good} good, {bad} bad");
}

#[test]
fn the_canary_does_not_agree() {
    assert!(disagreement(&read(&directory().join("canary.json"))[0]).is_some());
}

/// Who writes a client from the specification alone needs every number of it.
#[test]
fn the_specification_lists_every_status() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/PROTOCOL.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut listed = 0;
    for status in (-255..=0).map(mfn_wire::Status) {
        let row = format!("| {} | {} |", status.0, status.name());
        let is_known = status.name() != mfn_wire::Status(-200).name();
        assert!(!is_known || text.contains(&row), "{row}");
        listed += usize::from(is_known);
    }
    assert!(listed > 30, "{listed}");
}
