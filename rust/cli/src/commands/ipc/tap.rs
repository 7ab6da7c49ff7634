//! A relay in front of a socket that prints the frames that pass. It changes nothing, and stands in nobody's way who does
//! not connect through it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use mfn_local::{monotonic_ns, run_dir};
use mfn_wire::{Frame, Header, Hello, Kind, Service, Status, flag};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};

use super::bodies::{Bodies, described};
use super::{Context, service};
use crate::args::IpcTap;
use crate::error::CliError;
use crate::output::Output;

/// Requests whose answers are still to come, to name the message of an answer; older ones are forgotten.
const KNOWN_MAX: usize = 10_000;
/// Longest body in a line for people.
const BODY_CHARS: usize = 400;

/// Removes the relay's socket.
struct Remove(PathBuf);

impl Drop for Remove {
    fn drop(&mut self) {
        // Nothing depends on its being gone.
        let _ = fs::remove_file(&self.0);
    }
}

pub(super) async fn tap(context: &Context, arguments: &IpcTap) -> Result<(), CliError> {
    let service = service(&arguments.service)?;
    let run = context.run_dir()?;
    let to = run.join(service.socket_name());
    let path = match &arguments.listen {
        Some(path) => path.clone(),
        None => run.join(format!("tap_{}.sock", service.name())),
    };
    let failed = |error: io::Error| CliError::failed(format!("{}: {error}", path.display()));
    if path.exists() {
        return Err(CliError::failed(format!(
            "{} is there already: is another tap running? Remove it or name another with --listen",
            path.display()
        )));
    }
    // Closed to others before it is there: what passes is for this user's eyes.
    run_dir::ensure(path.parent().unwrap_or(Path::new("/")))
        .map_err(|error| CliError::failed(error.to_string()))?;
    // From before there is something to leave behind. One for the whole loop: a new one for each turn would miss a signal that
    // comes while another turn ends.
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    let listener = UnixListener::bind(&path).map_err(failed)?;
    let _remove = Remove(path.clone());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    context.out.remark(&format!(
        "connect through {}; frames to and from {} are shown; Ctrl-C ends it",
        path.display(),
        service.name()
    ));
    let printer = Arc::new(Printer {
        bodies: Bodies::new()?,
        out: context.out,
        service,
    });
    let mut connections = tokio::task::JoinSet::new();
    let mut count = 0u64;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (from, _) = accepted.map_err(failed)?;
                count += 1;
                connections.spawn(relay(from, to.clone(), count, Arc::clone(&printer)));
            }
            Some(over) = connections.join_next() => over.unwrap_or(Ok(()))?,
            _ = interrupts.recv() => return Ok(()),
        }
    }
}

async fn relay(
    from: UnixStream,
    to: PathBuf,
    connection: u64,
    printer: Arc<Printer>,
) -> Result<(), CliError> {
    let own = rustix::process::geteuid().as_raw();
    let uid = from.peer_cred().map(|peer| peer.uid());
    if !uid.is_ok_and(|uid| uid == own || uid == 0) {
        return Ok(());
    }
    let server = match UnixStream::connect(&to).await {
        Ok(server) => server,
        Err(error) => {
            return printer.note(connection, &format!("{}: {error}", to.display()));
        }
    };
    let methods = Mutex::default();
    let (from_client, to_client) = from.into_split();
    let (from_server, to_server) = server.into_split();
    let side = |is_request| Side {
        connection,
        is_request,
        printer: &printer,
        methods: &methods,
    };
    let (asked, answered) = (side(true), side(false));
    // Each direction ends by itself; the other may have more to say.
    let (there, back) = tokio::join!(
        asked.pass(from_client, to_server),
        answered.pass(from_server, to_client)
    );
    printer.note(connection, "closed")?;
    there.and(back)
}

/// One direction of one connection.
struct Side<'a> {
    connection: u64,
    is_request: bool,
    printer: &'a Printer,
    /// Methods by request id; answers have theirs too, but errors of old servers need not.
    methods: &'a Mutex<HashMap<u64, u16>>,
}

impl Side<'_> {
    async fn pass(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> Result<(), CliError> {
        let mut bytes = Vec::with_capacity(64 * 1024);
        let mut is_sound = true;
        loop {
            let start = bytes.len();
            let Ok(count @ 1..) = from.read_buf(&mut bytes).await else {
                return Ok(());
            };
            // First passed on, then looked at: the relay may not slow down more than it must, nor change anything.
            let fresh = bytes.get(start..start + count).unwrap_or_default();
            if to.write_all(fresh).await.is_err() {
                return Ok(());
            }
            while is_sound {
                match mfn_wire::frame_length(&bytes) {
                    Ok(Some(length)) if length <= bytes.len() => {
                        let frame: Vec<u8> = bytes.drain(..length).collect();
                        self.show(&frame.into())?;
                    }
                    Ok(_) => break,
                    Err(error) => {
                        is_sound = false;
                        self.printer.note(self.connection, &error.to_string())?;
                    }
                }
            }
            if !is_sound {
                bytes.clear();
            }
        }
    }

    fn show(&self, bytes: &Bytes) -> Result<(), CliError> {
        let frame = match mfn_wire::decode(bytes) {
            Ok(frame) => frame,
            Err(error) => return self.printer.note(self.connection, &error.to_string()),
        };
        let header = frame.header;
        let mut methods = self.methods.lock().unwrap_or_else(PoisonError::into_inner);
        if header.kind == Kind::Request {
            if methods.len() >= KNOWN_MAX {
                methods.clear();
            }
            methods.insert(header.request_id, header.method);
        }
        let method = methods.get(&header.request_id).copied();
        if matches!(header.kind, Kind::Reply | Kind::Error) {
            methods.remove(&header.request_id);
        }
        drop(methods);
        let method = method.unwrap_or(header.method);
        let body = Bytes::copy_from_slice(frame.body);
        self.printer.frame(self, &frame, method, &body)
    }
}

struct Printer {
    bodies: Bodies,
    out: Output,
    service: Service,
}

impl Printer {
    fn note(&self, connection: u64, text: &str) -> Result<(), CliError> {
        self.out.result(
            || format!("{connection} * {text}"),
            || json!({ "connection": connection, "note": text }),
        )
    }

    fn frame(
        &self,
        side: &Side<'_>,
        frame: &Frame<'_>,
        method: u16,
        body: &Bytes,
    ) -> Result<(), CliError> {
        let header = &frame.header;
        let description = described(self.service, &method.to_string());
        let message = description.map_or("", |known| match header.kind {
            Kind::Request => known.request,
            Kind::Event => known.event,
            Kind::Reply => known.reply,
            _ => "",
        });
        let value = self.bodies.decode(header.content_type, message, body);
        let facts = facts(header, frame, description.map(|known| known.name));
        self.out.result(
            || {
                let mut line = format!(
                    "{} {} {}",
                    side.connection,
                    if side.is_request { '>' } else { '<' },
                    header.kind.name()
                );
                for (name, value) in &facts {
                    match value {
                        Value::String(text) => line += &format!(" {name}={text}"),
                        value => line += &format!(" {name}={value}"),
                    }
                }
                if !body.is_empty() {
                    let text = value.to_string();
                    let end = text.floor_char_boundary(BODY_CHARS);
                    let cut = if end < text.len() { "…" } else { "" };
                    line += &format!(" {}{cut}", text.get(..end).unwrap_or_default());
                }
                line
            },
            || {
                let mut object = json!({
                    "connection": side.connection, "from": if side.is_request { "client" } else { "server" },
                    "kind": header.kind.name(), "body_bytes": body.len(), "body": value,
                });
                for (name, value) in &facts {
                    object[*name] = value.clone();
                }
                object
            },
        )
    }
}

/// The fields that say something.
fn facts(
    header: &Header,
    frame: &Frame<'_>,
    method: Option<&'static str>,
) -> Vec<(&'static str, Value)> {
    let mut facts = Vec::new();
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    if header.request_id != 0 {
        facts.push(("id", json!(header.request_id)));
        if let Some(method) = method {
            facts.push(("method", json!(method)));
        }
    }
    if header.status != Status::OK {
        facts.push(("status", json!(header.status.name())));
    }
    if header.deadline_ns != 0 {
        let left = i128::from(header.deadline_ns) - i128::from(monotonic_ns());
        facts.push(("deadline_in_ms", json!((left / 1_000_000) as i64)));
    }
    if header.credit != 0 {
        facts.push(("credit", json!(header.credit)));
    }
    if header.trace_id != [0; 16] {
        facts.push(("trace", json!(hex(&header.trace_id))));
        facts.push(("span", json!(hex(&header.span_id))));
    }
    if header.flags & flag::SAMPLED != 0 {
        facts.push(("sampled", json!(true)));
    }
    if header.kind == Kind::Hello {
        let hello = Hello::of(frame.tlv);
        facts.push(("software", json!(hello.software)));
        facts.push(("features", json!(hello.features)));
        facts.push(("frame_bytes_max", json!(hello.frame_bytes_max)));
        facts.push((
            "requests_in_flight_max",
            json!(hello.requests_in_flight_max),
        ));
    }
    facts
}
