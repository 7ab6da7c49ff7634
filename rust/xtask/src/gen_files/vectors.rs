//! Golden vectors of the local wire: `integration/vectors/wire/*.json`, and all of them again as lines for C.
//!
//! Frames are put together here byte by byte and each case says what a decoder must find; the codecs are not used, so
//! that one that is wrong cannot make its own vectors right.

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
        ("valid", valid),
        ("length", length),
        ("numbers", numbers),
        ("rules", rules),
        ("tlv", tlv),
        ("text", text),
        ("order", order),
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

fn valid(cases: &mut Cases<'_>) {
    for kind in &cases.constants.kinds {
        cases.valid(format!("{} with little", kind.name), raw(kind.value as u8));
    }
    for service in &cases.constants.services {
        cases.valid(
            format!("service {}", service.name),
            Raw {
                service: service.value as u8,
                ..raw(PING)
            },
        );
    }
    for content_type in &cases.constants.content_types {
        let body: &[u8] = if content_type.value == 0 {
            b""
        } else {
            b"body"
        };
        cases.valid(
            format!("content type {}", content_type.name),
            raw(REPLY).body(content_type.value as u8, body),
        );
        cases.valid(
            format!("content type {} without a body", content_type.name),
            raw(EVENT).body(content_type.value as u8, b""),
        );
    }
    for status in cases
        .constants
        .statuses
        .iter()
        .filter(|status| status.value < 0)
        .step_by(4)
    {
        cases.valid(
            format!("error {}", status.name),
            Raw {
                status: status.value,
                ..raw(ERROR)
            }
            .body(TEXT, b"why"),
        );
    }
    let full = Raw {
        method: 0xfffe,
        flags: 2,
        request_id: u64::MAX,
        deadline_ns: u64::MAX,
        trace_id: std::array::from_fn(|at| at as u8),
        span_id: std::array::from_fn(|at| 0xf0 + at as u8),
        credit: 65_536,
        ..raw(REQUEST)
    };
    cases.valid("every field", full.clone().body(BYTES, &[0, 0xff, 0x80]));
    cases.valid(
        "every field and entries",
        full.with(&[(9, b"later")]).body(BYTES, b"x"),
    );
    cases.valid(
        "an unknown negative status",
        Raw {
            status: i32::MIN,
            ..raw(ERROR)
        },
    );
    cases.valid(
        "an error of the connection",
        Raw {
            request_id: 0,
            ..raw(ERROR)
        }
        .body(TEXT, b"the end"),
    );
    cases.valid(
        "an unknown method",
        Raw {
            method: 4_242,
            ..raw(REQUEST)
        },
    );
    cases.valid(
        "credit of one",
        Raw {
            credit: 1,
            ..raw(REQUEST)
        },
    );
    cases.valid(
        "most credit",
        Raw {
            credit: 65_536,
            ..raw(CREDIT)
        },
    );
    cases.valid(
        "a deadline",
        Raw {
            deadline_ns: 1,
            ..raw(REQUEST)
        },
    );
    cases.valid(
        "the smallest id",
        Raw {
            request_id: 1,
            ..raw(CANCEL)
        },
    );
    cases.valid("a longer body", raw(REPLY).body(BYTES, &[0xa5; 1_000]));
}

fn length(cases: &mut Cases<'_>) {
    let whole = raw(REPLY).body(BYTES, b"body").bytes();
    for at in 0..4 {
        cases.wrong(
            format!("{at} bytes of a length"),
            whole[..at].to_vec(),
            "FRAME_SHORT",
        );
    }
    for at in [4, 5, 8, 12, 16, 24, 32, 48, 56, 59, 60, 63] {
        cases.wrong(
            format!("cut after {at} bytes"),
            whole[..at].to_vec(),
            "FRAME_LENGTH",
        );
    }
    for length in [0, 1, 4, 55] {
        cases.wrong(
            format!("length {length}"),
            Raw {
                length: Some(length),
                ..raw(PING)
            }
            .bytes(),
            "FRAME_SHORT",
        );
        let mut alone = length.to_le_bytes().to_vec();
        cases.wrong(
            format!("length {length} and nothing"),
            alone.clone(),
            "FRAME_SHORT",
        );
        alone.extend(vec![0; length as usize]);
        cases.wrong(
            format!("length {length} and as many bytes"),
            alone,
            "FRAME_SHORT",
        );
    }
    for length in [16_777_217, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        cases.wrong(
            format!("length {length}"),
            Raw {
                length: Some(length),
                ..raw(PING)
            }
            .bytes(),
            "FRAME_TOO_LARGE",
        );
    }
    cases.wrong(
        "the longest length without its bytes",
        Raw {
            length: Some(16_777_216),
            ..raw(PING)
        }
        .bytes(),
        "FRAME_LENGTH",
    );
    cases.wrong(
        "a byte too many",
        [whole.clone(), vec![0]].concat(),
        "FRAME_LENGTH",
    );
    cases.wrong(
        "two frames",
        [whole.clone(), whole].concat(),
        "FRAME_LENGTH",
    );
    cases.wrong(
        "a length one too small",
        Raw {
            length: Some(59),
            ..raw(REPLY)
        }
        .body(BYTES, b"body")
        .bytes(),
        "FRAME_LENGTH",
    );
}

fn numbers(cases: &mut Cases<'_>) {
    for version in [0, 2, 255] {
        cases.wrong(
            format!("version {version}"),
            Raw {
                version,
                ..raw(PING)
            }
            .bytes(),
            "BAD_VERSION",
        );
    }
    for kind in [0, 11, 128, 255] {
        cases.wrong(
            format!("kind {kind}"),
            Raw { kind, ..raw(PING) }.bytes(),
            "BAD_KIND",
        );
    }
    for service in [0, 10, 128, 255] {
        cases.wrong(
            format!("service {service}"),
            Raw {
                service,
                ..raw(PING)
            }
            .bytes(),
            "BAD_SERVICE",
        );
    }
    for content_type in [5, 128, 255] {
        cases.wrong(
            format!("content type {content_type}"),
            Raw {
                content_type,
                ..raw(PING)
            }
            .bytes(),
            "BAD_CONTENT_TYPE",
        );
    }
    for bit in 2..16 {
        cases.wrong(
            format!("flag bit {bit}"),
            Raw {
                flags: 1 << bit,
                ..raw(PING)
            }
            .bytes(),
            "BAD_FLAGS",
        );
    }
}

fn rules(cases: &mut Cases<'_>) {
    for kind in cases
        .constants
        .kinds
        .iter()
        .map(|kind| (kind.name.clone(), kind.value as u8))
        .collect::<Vec<_>>()
    {
        let (name, kind) = kind;
        let wrong_status: &[i32] = if kind == ERROR {
            &[0, 1, i32::MAX]
        } else {
            &[1, -1]
        };
        for status in wrong_status {
            cases.wrong(
                format!("{name} with status {status}"),
                Raw {
                    status: *status,
                    ..raw(kind)
                }
                .bytes(),
                "BAD_STATUS",
            );
        }
        let request_id = u64::from(matches!(kind, HELLO | GOAWAY));
        if kind != ERROR {
            cases.wrong(
                format!("{name} with id {request_id}"),
                Raw {
                    request_id,
                    ..raw(kind)
                }
                .bytes(),
                "BAD_REQUEST_ID",
            );
        }
        match kind {
            REQUEST | CREDIT => {
                for credit in [65_537, u32::MAX] {
                    cases.wrong(
                        format!("{name} with credit {credit}"),
                        Raw {
                            credit,
                            ..raw(kind)
                        }
                        .bytes(),
                        "BAD_CREDIT",
                    );
                }
            }
            _ => cases.wrong(
                format!("{name} with credit"),
                Raw {
                    credit: 1,
                    ..raw(kind)
                }
                .bytes(),
                "BAD_CREDIT",
            ),
        }
    }
    cases.wrong(
        "credit of nothing",
        Raw {
            credit: 0,
            ..raw(CREDIT)
        }
        .bytes(),
        "BAD_CREDIT",
    );
    for kind in [HELLO, REQUEST, REPLY, ERROR, EVENT] {
        cases.wrong(
            format!("kind {kind} with a body of no type"),
            raw(kind).body(NONE, b"x").bytes(),
            "BAD_CONTENT_TYPE",
        );
    }
}

fn tlv(cases: &mut Cases<'_>) {
    let hello = raw(HELLO);
    let (features, limits) = (
        [1, 2, 3, 4, 5, 6, 7, 8],
        [0, 0, 0, 1, 0, 16, 0, 0, 0, 4, 0, 0],
    );
    cases.valid("an empty area", hello.clone().with(&[]));
    cases.valid("features", hello.clone().with(&[(1, &features)]));
    cases.valid("limits", hello.clone().with(&[(2, &limits)]));
    cases.valid("software", hello.clone().with(&[(3, b"almd/0.1")]));
    cases.valid("software of no letters", hello.clone().with(&[(3, b"")]));
    cases.valid(
        "software beyond ASCII",
        hello.clone().with(&[(3, "grün/1".as_bytes())]),
    );
    cases.valid(
        "a whole HELLO",
        hello
            .clone()
            .with(&[(1, &features), (2, &limits), (3, b"node/0.1")]),
    );
    cases.valid(
        "the same entry twice",
        hello.clone().with(&[(3, b"a"), (3, b"b")]),
    );
    for kind in [0, 4, 0x7fff, 0xffff] {
        cases.valid(
            format!("unknown entry {kind}"),
            hello.clone().with(&[(kind, &[0xff, 0xfe])]),
        );
    }
    cases.valid(
        "unknown entries between known ones",
        hello
            .clone()
            .with(&[(9, b""), (1, &features), (77, b"x"), (3, b"s")]),
    );
    cases.valid(
        "entries before a body",
        raw(REQUEST).with(&[(9, b"t")]).body(TEXT, b"text"),
    );
    let long = vec![0x5a; 65_532];
    cases.valid("the longest area", hello.clone().with(&[(9, &long)]));
    for at in 0..4 {
        cases.wrong(
            format!("{at} bytes of an area length"),
            hello.clone().with_area(&[4, 0, 0, 0][..at]).bytes(),
            "BAD_TLV",
        );
    }
    for length in [1u32, 8, 65_536, 65_537, u32::MAX] {
        cases.wrong(
            format!("area of {length} without its bytes"),
            hello.clone().with_area(&length.to_le_bytes()).bytes(),
            "BAD_TLV",
        );
    }
    for at in 1..4 {
        let area = [&[at as u8, 0, 0, 0][..], &[9, 0, 0, 0][..at]].concat();
        cases.wrong(
            format!("{at} bytes of an entry"),
            hello.clone().with_area(&area).bytes(),
            "BAD_TLV",
        );
    }
    cases.wrong(
        "an entry past its area",
        hello
            .clone()
            .with_area(&[4, 0, 0, 0, 9, 0, 1, 0, 0xff])
            .bytes(),
        "BAD_TLV",
    );
    cases.wrong(
        "an entry far past its area",
        hello
            .clone()
            .with_area(&[4, 0, 0, 0, 9, 0, 0xff, 0xff])
            .bytes(),
        "BAD_TLV",
    );
    cases.wrong(
        "a second entry past its area",
        hello
            .clone()
            .with_area(&[9, 0, 0, 0, 9, 0, 1, 0, 7, 9, 0, 1, 0])
            .bytes(),
        "BAD_TLV",
    );
    for length in [0, 7, 9] {
        cases.wrong(
            format!("features of {length} bytes"),
            hello.clone().with(&[(1, &vec![0; length])]).bytes(),
            "BAD_TLV",
        );
    }
    for length in [0, 11, 13] {
        cases.wrong(
            format!("limits of {length} bytes"),
            hello.clone().with(&[(2, &vec![0; length])]).bytes(),
            "BAD_TLV",
        );
    }
    cases.wrong(
        "software that is not UTF-8",
        hello.with(&[(3, &[0xff])]).bytes(),
        "BAD_UTF8",
    );
}

fn text(cases: &mut Cases<'_>) {
    let good = [
        "",
        "a",
        "grün",
        "\u{7ff}\u{800}\u{ffff}",
        "\u{10000}\u{10ffff}",
        "zero \0 inside",
        "\u{d7ff}\u{e000}",
    ];
    for (at, body) in good.iter().enumerate() {
        cases.valid(format!("text {at}"), raw(REPLY).body(TEXT, body.as_bytes()));
        cases.valid(
            format!("the same as bytes {at}"),
            raw(REPLY).body(BYTES, body.as_bytes()),
        );
    }
    let bad: [(&str, &[u8]); 12] = [
        ("a lone continuation", &[0x80]),
        ("a start without its end", &[0xc3]),
        ("three bytes cut to two", &[0xe2, 0x82]),
        ("four bytes cut to three", &[0xf0, 0x9f, 0x98]),
        ("an overlong slash", &[0xc0, 0xaf]),
        ("an overlong slash in three", &[0xe0, 0x80, 0xaf]),
        ("an overlong slash in four", &[0xf0, 0x80, 0x80, 0xaf]),
        ("a surrogate", &[0xed, 0xa0, 0x80]),
        ("beyond the last code point", &[0xf4, 0x90, 0x80, 0x80]),
        ("a start of five bytes", &[0xf8, 0x88, 0x80, 0x80, 0x80]),
        ("0xff", &[0xff]),
        ("good, then bad", &[b'a', b'b', 0xc3, 0x28]),
    ];
    for (name, body) in bad {
        cases.wrong(
            format!("text: {name}"),
            raw(EVENT).body(TEXT, body).bytes(),
            "BAD_UTF8",
        );
        cases.valid(format!("as bytes: {name}"), raw(EVENT).body(BYTES, body));
    }
}

/// Two rules broken at once: the earlier one is named.
fn order(cases: &mut Cases<'_>) {
    let all = Raw {
        version: 9,
        kind: 99,
        service: 99,
        content_type: 99,
        flags: 0xfffe,
        status: 5,
        request_id: 0,
        credit: u32::MAX,
        ..raw(REQUEST)
    };
    cases.wrong(
        "length before all",
        [all.bytes(), vec![0]].concat(),
        "FRAME_LENGTH",
    );
    cases.wrong(
        "too long before all",
        Raw {
            length: Some(u32::MAX),
            ..all.clone()
        }
        .bytes(),
        "FRAME_TOO_LARGE",
    );
    cases.wrong("version before kind", all.bytes(), "BAD_VERSION");
    let all = Raw { version: 1, ..all };
    cases.wrong("kind before service", all.bytes(), "BAD_KIND");
    let all = Raw {
        kind: REQUEST,
        ..all
    };
    cases.wrong("service before content type", all.bytes(), "BAD_SERVICE");
    let all = Raw { service: 2, ..all };
    cases.wrong("content type before flags", all.bytes(), "BAD_CONTENT_TYPE");
    let all = Raw {
        content_type: TEXT,
        ..all
    };
    cases.wrong("flags before status", all.bytes(), "BAD_FLAGS");
    let all = Raw { flags: 0, ..all };
    cases.wrong("status before id", all.bytes(), "BAD_STATUS");
    let all = Raw { status: 0, ..all };
    cases.wrong("id before credit", all.bytes(), "BAD_REQUEST_ID");
    let all = Raw {
        request_id: 7,
        ..all
    }
    .with_area(&[1, 0, 0, 0, 9])
    .body(TEXT, &[0xff]);
    cases.wrong("credit before entries", all.bytes(), "BAD_CREDIT");
    let all = Raw { credit: 0, ..all };
    cases.wrong("entries before text", all.bytes(), "BAD_TLV");
    let untyped = raw(REQUEST).with(&[(3, &[0xff])]).body(NONE, b"x");
    cases.wrong(
        "a body of no type before text",
        untyped.bytes(),
        "BAD_CONTENT_TYPE",
    );
    let structure = raw(REQUEST).with(&[(3, &[0xff]), (1, b"")]);
    cases.wrong(
        "the form of entries before their text",
        structure.bytes(),
        "BAD_TLV",
    );
}
