//! The cases, family by family.

use super::*;

pub(super) fn valid(cases: &mut Cases<'_>) {
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

pub(super) fn length(cases: &mut Cases<'_>) {
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

pub(super) fn numbers(cases: &mut Cases<'_>) {
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

pub(super) fn rules(cases: &mut Cases<'_>) {
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

pub(super) fn tlv(cases: &mut Cases<'_>) {
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

pub(super) fn text(cases: &mut Cases<'_>) {
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
pub(super) fn order(cases: &mut Cases<'_>) {
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
