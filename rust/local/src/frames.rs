//! HELLO, and what a client says and hears: for the client of tasks and the one of threads.

use bytes::Bytes;
use mfn_wire::{ContentType, Header, Hello, Kind, Service, Status, Tlv, flag, limits, tlv};

use crate::call::Reply;
use crate::client::Event;
use crate::clock;
use crate::driver::End;
use crate::error::CallError;
use crate::input::tail;
use crate::outbox::Outbox;
use crate::request::Request;
use crate::trace::Trace;

/// Says HELLO, with the next flush; a longer name of the software is cut.
pub(crate) fn greeting(outbox: &Outbox, service: Service, hello: &Hello<'_>) {
    let (features, announced) = hello.fixed();
    let software = hello.software;
    let software = software
        .get(..software.floor_char_boundary(255))
        .unwrap_or_default();
    let entries = [
        Tlv {
            kind: tlv::FEATURES,
            value: &features,
        },
        Tlv {
            kind: tlv::LIMITS,
            value: &announced,
        },
        Tlv {
            kind: tlv::SOFTWARE,
            value: software.as_bytes(),
        },
    ];
    // It fits by construction.
    let _ = outbox.append(&Header::new(Kind::Hello, service), &entries, &[]);
}

/// What a client says in HELLO: it takes no requests.
pub(crate) fn client_hello(software: &str) -> Hello<'_> {
    Hello {
        frame_bytes_max: limits::FRAME_BYTES_MAX,
        requests_in_flight_max: 0,
        software,
        ..Hello::default()
    }
}

/// What a server says of itself in HELLO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// Bits of [`mfn_wire::feature`].
    pub features: u64,
    pub frame_bytes_max: u32,
    /// Per connection.
    pub requests_in_flight_max: u32,
    pub connections_max: u32,
    /// Name and version of the program.
    pub software: String,
}

/// What a frame means to a client.
pub(crate) enum Received {
    Greeting(Announced),
    Answer {
        request_id: u64,
        result: Result<Reply, CallError>,
    },
    Event {
        request_id: u64,
        event: Event,
    },
    Ping {
        pong: Header,
    },
    /// The server goes away: no new calls.
    Leaving {
        text: &'static str,
    },
    Nothing,
}

/// Reads a frame as a client of that service does. `greeted`: its HELLO came before.
pub(crate) fn receive(service: Service, greeted: bool, bytes: Bytes) -> Result<Received, End> {
    let frame = mfn_wire::decode(&bytes)?;
    let header = frame.header;
    let (request_id, body_bytes) = (header.request_id, frame.body.len());
    let text = || String::from_utf8_lossy(frame.body).into_owned();
    if header.kind == Kind::Error && request_id == 0 {
        return Err(End::Told(header.status, text()));
    }
    if header.service != service {
        let (served, wanted) = (header.service.name(), service.name());
        return Err(unexpected(&format!(
            "this socket serves {served}, not {wanted}; connect to the other one"
        )));
    }
    if !greeted {
        if header.kind != Kind::Hello {
            return Err(unexpected("HELLO comes first"));
        }
        let hello = Hello::of(frame.tlv);
        return Ok(Received::Greeting(Announced {
            features: hello.features,
            frame_bytes_max: hello.frame_bytes_max,
            requests_in_flight_max: match hello.requests_in_flight_max {
                // A server that says nothing of it takes what the wire allows.
                0 => limits::REQUESTS_IN_FLIGHT_MAX,
                most => most.min(limits::REQUESTS_IN_FLIGHT_MAX),
            },
            connections_max: hello.connections_max,
            software: hello.software.into(),
        }));
    }
    Ok(match header.kind {
        Kind::Reply => Received::Answer {
            request_id,
            result: Ok(Reply {
                content_type: header.content_type,
                body: tail(bytes, body_bytes),
            }),
        },
        Kind::Error => Received::Answer {
            request_id,
            result: Err(match header.status {
                Status::CLOSED => CallError::NotAccepted(text()),
                status => CallError::Failed {
                    status,
                    text: text(),
                },
            }),
        },
        Kind::Event => Received::Event {
            request_id,
            event: Event {
                content_type: header.content_type,
                body: tail(bytes, body_bytes),
            },
        },
        Kind::Ping => Received::Ping {
            pong: Header {
                request_id,
                ..Header::new(Kind::Pong, service)
            },
        },
        Kind::Goaway => Received::Leaving {
            text: "the server is stopping; connect again when it is back",
        },
        Kind::Pong => Received::Nothing,
        Kind::Hello | Kind::Request | Kind::Cancel | Kind::Credit => {
            return Err(unexpected("a client answers nothing"));
        }
    })
}

/// The header of a request.
pub(crate) fn request_header(
    service: Service,
    method: u16,
    request_id: u64,
    request: &Request,
    trace: &Trace,
    credit: u32,
) -> Header {
    Header {
        content_type: if request.body.is_empty() {
            ContentType::None
        } else {
            request.content_type
        },
        method,
        request_id,
        deadline_ns: request.deadline.map_or(0, clock::deadline_ns),
        flags: if trace.sampled { flag::SAMPLED } else { 0 },
        trace_id: trace.trace_id,
        span_id: trace.span_id,
        credit,
        ..Header::new(Kind::Request, service)
    }
}

fn unexpected(text: &str) -> End {
    End::Refused(Status::UNEXPECTED_FRAME, text.into())
}
