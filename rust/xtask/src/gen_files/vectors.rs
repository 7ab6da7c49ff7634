//! Golden vectors of the local wire: `integration/vectors/wire/*.json`, and all of them again as lines for C.
//!
//! Frames are put together here byte by byte and each case says what a decoder must find; the codecs are not used, so
//! that one that is wrong cannot make its own vectors right.

mod cases;

use std::fmt::Write;

use serde_json::{Value, json};

use super::constants::Constants;
use super::{Files, Generated};

/// A frame that is built field by field; the defaults are a valid ping.
#[derive(Clone)]
struct Raw {
    length: Option<u32>,
    version: u8,
    kind: u8,
    service: u8,
    content_type: u8,
    method: u16,
    flags: u16,
    status: i32,
    request_id: u64,
    deadline_ns: u64,
    trace_id: [u8; 16],
    span_id: [u8; 8],
    credit: u32,
    /// The TLV area as it stands on the wire, its length included.
    area: Vec<u8>,
    body: Vec<u8>,
}

const HELLO: u8 = 1;
const REQUEST: u8 = 2;
const REPLY: u8 = 3;
const ERROR: u8 = 4;
const EVENT: u8 = 5;
const CANCEL: u8 = 6;
const CREDIT: u8 = 7;
const PING: u8 = 8;
const GOAWAY: u8 = 10;
const TLV: u16 = 1;
const NONE: u8 = 0;
const BYTES: u8 = 3;
const TEXT: u8 = 4;

fn raw(kind: u8) -> Raw {
    Raw {
        length: None,
        version: 1,
        kind,
        service: 2,
        content_type: NONE,
        method: 0,
        flags: 0,
        status: if kind == ERROR { -2 } else { 0 },
        request_id: if matches!(kind, HELLO | GOAWAY) { 0 } else { 7 },
        deadline_ns: 0,
        trace_id: [0; 16],
        span_id: [0; 8],
        credit: u32::from(kind == CREDIT),
        area: Vec::new(),
        body: Vec::new(),
    }
}

impl Raw {
    fn bytes(&self) -> Vec<u8> {
        let length = (56 + self.area.len() + self.body.len()) as u32;
        let mut out = self.length.unwrap_or(length).to_le_bytes().to_vec();
        out.extend([self.version, self.kind, self.service, self.content_type]);
        out.extend(self.method.to_le_bytes());
        out.extend(self.flags.to_le_bytes());
        out.extend(self.status.to_le_bytes());
        out.extend(self.request_id.to_le_bytes());
        out.extend(self.deadline_ns.to_le_bytes());
        out.extend(self.trace_id);
        out.extend(self.span_id);
        out.extend(self.credit.to_le_bytes());
        out.extend(&self.area);
        out.extend(&self.body);
        out
    }

    /// With a TLV area of these entries.
    fn with(mut self, entries: &[(u16, &[u8])]) -> Self {
        let mut area = Vec::new();
        for (kind, value) in entries {
            area.extend(kind.to_le_bytes());
            area.extend((value.len() as u16).to_le_bytes());
            area.extend(*value);
        }
        self.flags |= TLV;
        self.area = (area.len() as u32).to_le_bytes().to_vec();
        self.area.extend(area);
        self
    }

    /// With an area that need not be right.
    fn with_area(mut self, area: &[u8]) -> Self {
        self.flags |= TLV;
        self.area = area.to_vec();
        self
    }

    fn body(mut self, content_type: u8, body: &[u8]) -> Self {
        self.content_type = content_type;
        self.body = body.to_vec();
        self
    }
}

struct Case {
    name: String,
    bytes: Vec<u8>,
    status: i32,
    /// The fields that a decoder must find, for valid frames.
    raw: Option<Raw>,
}

struct Cases<'a> {
    constants: &'a Constants,
    all: Vec<Case>,
}

impl Cases<'_> {
    fn valid(&mut self, name: impl Into<String>, raw: Raw) {
        self.all.push(Case {
            name: name.into(),
            bytes: raw.bytes(),
            status: 0,
            raw: Some(raw),
        });
    }

    fn wrong(&mut self, name: impl Into<String>, bytes: Vec<u8>, status: &str) {
        let found = self
            .constants
            .statuses
            .iter()
            .find(|one| one.name == status);
        // A name that does not exist shows up as a vector that no codec agrees with.
        let status = found.map_or(0, |one| one.value);
        self.all.push(Case {
            name: name.into(),
            bytes,
            status,
            raw: None,
        });
    }
}

/// Adds the cases of one file.
type Family = fn(&mut Cases<'_>);

pub(crate) fn files(constants: &Constants) -> Files {
    let families: [(&str, Family); 7] = [
        ("valid", cases::valid),
        ("length", cases::length),
        ("numbers", cases::numbers),
        ("rules", cases::rules),
        ("tlv", cases::tlv),
        ("text", cases::text),
        ("order", cases::order),
    ];
    let mut lines = String::from(
        "# name status hex kind service content_type method flags header_status request_id deadline_ns credit body_bytes\n",
    );
    let mut files = Vec::new();
    for (name, family) in families {
        let mut cases = Cases {
            constants,
            all: Vec::new(),
        };
        family(&mut cases);
        let values: Vec<Value> = cases.all.iter().map(value).collect();
        for case in &cases.all {
            line(&mut lines, case)?;
        }
        files.push(Generated {
            path: format!("integration/vectors/wire/{name}.json").into(),
            text: render(&values)?,
        });
    }
    // A vector that is wrong on purpose: a reader that agrees with it does not look.
    let canary = Case {
        name: "canary: this ping has id 8, not 7".into(),
        bytes: Raw {
            request_id: 8,
            ..raw(PING)
        }
        .bytes(),
        status: 0,
        raw: Some(raw(PING)),
    };
    files.push(Generated {
        path: "integration/vectors/canary.json".into(),
        text: render(&[value(&canary)])?,
    });
    files.push(Generated {
        path: "integration/vectors/wire.txt".into(),
        text: lines,
    });
    Ok(files)
}

/// One vector per line: a diff then names the vector.
fn render(values: &[Value]) -> Result<String, serde_json::Error> {
    let lines: Result<Vec<String>, _> = values.iter().map(serde_json::to_string).collect();
    Ok(format!("[\n{}\n]\n", lines?.join(",\n")))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn value(case: &Case) -> Value {
    let mut value = json!({ "name": case.name, "hex": hex(&case.bytes), "status": case.status });
    if let (Some(raw), Some(fields)) = (&case.raw, value.as_object_mut()) {
        let mut tlvs = Vec::new();
        let mut rest = raw.area.get(4..).unwrap_or_default();
        while let Some((head, after)) = rest.split_first_chunk::<4>() {
            let [a, b, c, d] = *head;
            let length = usize::from(u16::from_le_bytes([c, d]));
            let (entry, after) = after.split_at(length.min(after.len()));
            tlvs.push(json!({ "type": u16::from_le_bytes([a, b]), "value": hex(entry) }));
            rest = after;
        }
        let more = json!({
            "kind": raw.kind, "service": raw.service, "content_type": raw.content_type, "method": raw.method,
            "flags": raw.flags, "header_status": raw.status, "request_id": raw.request_id,
            "deadline_ns": raw.deadline_ns, "trace_id": hex(&raw.trace_id), "span_id": hex(&raw.span_id),
            "credit": raw.credit, "tlvs": tlvs, "body": hex(&raw.body),
        });
        if let Value::Object(more) = more {
            fields.extend(more);
        }
    }
    value
}

fn line(out: &mut String, case: &Case) -> std::fmt::Result {
    let name = case.name.replace(' ', "_");
    let bytes = if case.bytes.is_empty() {
        "-".into()
    } else {
        hex(&case.bytes)
    };
    write!(out, "{name} {} {bytes}", case.status)?;
    if let Some(raw) = &case.raw {
        let Raw {
            kind,
            service,
            content_type,
            method,
            flags,
            status,
            request_id,
            deadline_ns,
            credit,
            ..
        } = raw;
        write!(
            out,
            " {kind} {service} {content_type} {method} {flags} {status} {request_id} {deadline_ns} {credit}"
        )?;
        write!(out, " {}", raw.body.len())?;
    }
    out.push('\n');
    Ok(())
}
