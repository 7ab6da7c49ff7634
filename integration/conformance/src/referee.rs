//! Stands between client and server, passes frames on, and knows the rules: docs/PROTOCOL.md, "Session".
//!
//! It sees whether each request ends exactly once, whether events have credit, whether limits are kept, whatever the two
//! sides say of themselves. It can change what they say in HELLO, and put frames in between.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mfn_local::monotonic_ns;
use mfn_wire::{Frame, Header, Hello, Kind, Status, Tlv, limits, tlv};

use crate::script::Profile;

/// Where a frame comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum From {
    Client,
    Server,
}

/// A request as it passed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) request_id: u64,
    /// What was left of its time; `None`: it has no deadline.
    pub(crate) left_ns: Option<u64>,
}

/// A request that is not answered.
#[derive(Debug)]
struct Flight {
    method: u16,
    trace_id: [u8; 16],
    credit: u64,
}

/// What one connection has said.
#[derive(Debug, Default)]
struct Session {
    greeted: HashSet<From>,
    flights: HashMap<u64, Flight>,
    /// What the server takes, and what each side takes as a frame.
    in_flight_max: usize,
    frame_bytes_max: HashMap<From, u32>,
    going_away: bool,
    /// What was put in between is nobody's fault.
    tampered: bool,
}

#[derive(Debug, Default)]
struct State {
    counts: HashMap<(From, Kind), u64>,
    requests: Vec<Seen>,
    /// Errors that end a connection, with their text.
    refusals: Vec<(From, Status, String)>,
    problems: Vec<String>,
    /// Of the connection that was made last.
    client: Option<UnixStream>,
    tampered: Option<Arc<Mutex<Session>>>,
}

#[derive(Debug)]
struct Shared {
    profile: Profile,
    server: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

/// One place where clients connect.
#[derive(Debug)]
pub(crate) struct Referee {
    shared: Arc<Shared>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Referee {
    /// Listens at `path` for clients of the server at `server`. The thread that listens ends with the process.
    pub(crate) fn start(path: &Path, server: &Path, profile: Profile) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        let shared = Arc::new(Shared {
            profile,
            server: server.to_path_buf(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                // Without a server there is nobody to talk to: the client sees the connection end.
                if let Ok(server) = UnixStream::connect(&own.server) {
                    // What cannot be copied cannot be passed on; the connection ends.
                    let _ = join(&own, client, server);
                }
            }
        });
        Ok(Self { shared })
    }

    /// How many frames of that kind came from there.
    pub(crate) fn count(&self, from: From, kind: Kind) -> u64 {
        let state = lock(&self.shared.state);
        state.counts.get(&(from, kind)).copied().unwrap_or_default()
    }

    /// Waits until so many have come, at most so long.
    pub(crate) fn wait(&self, from: From, kind: Kind, count: u64, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        let mut state = lock(&self.shared.state);
        while state.counts.get(&(from, kind)).copied().unwrap_or_default() < count {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// The text with which that side ended a connection with that status.
    pub(crate) fn refusal(&self, from: From, status: Status) -> Option<String> {
        let state = lock(&self.shared.state);
        let mut all = state.refusals.iter();
        all.find(|refusal| refusal.0 == from && refusal.1 == status)
            .map(|refusal| refusal.2.clone())
    }

    /// The newest request.
    pub(crate) fn newest(&self) -> Option<Seen> {
        lock(&self.shared.state).requests.last().copied()
    }

    /// Sends bytes to the newest client as if they were the server's.
    pub(crate) fn inject(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = lock(&self.shared.state);
        if let Some(session) = &state.tampered {
            lock(session).tampered = true;
        }
        let client = state.client.as_mut();
        client.ok_or(io::ErrorKind::NotConnected)?.write_all(bytes)
    }

    /// What was against the rules so far.
    pub(crate) fn problems(&self) -> Vec<String> {
        lock(&self.shared.state).problems.clone()
    }
}

fn join(shared: &Arc<Shared>, client: UnixStream, server: UnixStream) -> io::Result<()> {
    let session = Arc::new(Mutex::new(Session::default()));
    let (client_out, server_out) = (client.try_clone()?, server.try_clone()?);
    {
        let mut state = lock(&shared.state);
        state.client = Some(client.try_clone()?);
        state.tampered = Some(Arc::clone(&session));
    }
    for (from, read, write) in [
        (From::Client, client, server_out),
        (From::Server, server, client_out),
    ] {
        let (shared, session) = (Arc::clone(shared), Arc::clone(&session));
        std::thread::spawn(move || {
            pass(&shared, &session, from, &read, &write);
            // The other side hears that this one is gone, after all that it said. It may be gone itself.
            let _ = write.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

/// Passes frames on until one side is gone. What is no frame is passed on as it is.
fn pass(
    shared: &Shared,
    session: &Mutex<Session>,
    from: From,
    mut read: &UnixStream,
    mut write: &UnixStream,
) {
    let mut bytes = Vec::new();
    let mut room = vec![0; 64 << 10];
    while let Ok(count @ 1..) = read.read(&mut room) {
        bytes.extend_from_slice(room.get(..count).unwrap_or_default());
        let mut at = 0;
        while let Some(rest @ [_, ..]) = bytes.get(at..) {
            let length = match mfn_wire::frame_length(rest) {
                Ok(Some(length)) => length,
                Ok(None) => break,
                Err(error) => {
                    shared.problem(session, format!("{from:?} sent no frame: {error}"));
                    rest.len()
                }
            };
            let Some(frame) = rest.get(..length) else {
                break;
            };
            let out = shared.look(session, from, frame);
            if write.write_all(&out).is_err() {
                return;
            }
            at += length;
        }
        bytes.drain(..at);
    }
}

impl Shared {
    fn problem(&self, session: &Mutex<Session>, text: String) {
        if !lock(session).tampered {
            lock(&self.state).problems.push(text);
        }
    }

    /// Looks at a frame; what to pass on in its place.
    fn look(&self, session: &Mutex<Session>, from: From, bytes: &[u8]) -> Vec<u8> {
        let frame = match mfn_wire::decode(bytes) {
            Ok(frame) => frame,
            Err(error) => {
                self.problem(session, format!("{from:?} broke a rule: {error}"));
                return bytes.to_vec();
            }
        };
        let is_first = lock(session).greeted.insert(from);
        let mut out = bytes.to_vec();
        if is_first && frame.header.kind == Kind::Hello {
            out = self.hello(from, &frame, bytes);
            let said = mfn_wire::decode(&out).map(|frame| Hello::of(frame.tlv));
            let said = said.unwrap_or_default();
            let mut session = lock(session);
            let most = match said.frame_bytes_max {
                0 => limits::FRAME_BYTES_MAX,
                most => most.max(8 << 10),
            };
            session.frame_bytes_max.insert(from, most);
            if from == From::Server {
                session.in_flight_max = match said.requests_in_flight_max {
                    0 => limits::REQUESTS_IN_FLIGHT_MAX as usize,
                    most => most as usize,
                };
            }
        } else {
            let problem = lock(session).rule(from, is_first, &frame, bytes.len());
            if let Some(problem) = problem {
                self.problem(session, format!("{from:?}: {problem}"));
            }
        }
        let mut state = lock(&self.state);
        *state.counts.entry((from, frame.header.kind)).or_default() += 1;
        if frame.header.kind == Kind::Request {
            let deadline = frame.header.deadline_ns;
            let left_ns = (deadline > 0).then(|| deadline.saturating_sub(monotonic_ns()));
            state.requests.push(Seen {
                request_id: frame.header.request_id,
                left_ns,
            });
        }
        if frame.header.kind == Kind::Error && frame.header.request_id == 0 {
            let text = String::from_utf8_lossy(frame.body).into_owned();
            state.refusals.push((from, frame.header.status, text));
        }
        drop(state);
        self.changed.notify_all();
        out
    }

    /// The HELLO that the other side hears.
    fn hello(&self, from: From, frame: &Frame<'_>, bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        let mut entries: Vec<Tlv<'_>> = frame.tlv.iter().collect();
        let said = Hello::of(frame.tlv);
        let small = Hello {
            frame_bytes_max: 8 << 10,
            requests_in_flight_max: if from == From::Server { 2 } else { 0 },
            ..said
        };
        let small_limits = small.fixed().1;
        match (self.profile, from) {
            (Profile::OldClient, From::Client) | (Profile::OldServer, From::Server) => {
                if let Some(version) = out.get_mut(4) {
                    *version = 0;
                }
                return out;
            }
            (Profile::Fewer, _) => entries.clear(),
            (Profile::Small, _) => {
                entries.retain(|entry| entry.kind != tlv::LIMITS);
                entries.push(Tlv {
                    kind: tlv::LIMITS,
                    value: &small_limits,
                });
            }
            (Profile::More, _) => {
                entries.retain(|entry| entry.kind != tlv::FEATURES);
                entries.push(Tlv {
                    kind: tlv::FEATURES,
                    value: &[0xff; 8],
                });
                entries.push(Tlv {
                    kind: 0x7fff,
                    value: b"of a later version",
                });
            }
            _ => return out,
        }
        out.clear();
        // It is a HELLO of a few entries: it fits.
        let _ = mfn_wire::encode(&frame.header, &entries, &[], &mut out);
        out
    }
}

impl Session {
    /// Which rule of the session a frame breaks, if any.
    fn rule(
        &mut self,
        from: From,
        is_first: bool,
        frame: &Frame<'_>,
        bytes: usize,
    ) -> Option<String> {
        let header = &frame.header;
        let id = header.request_id;
        if header.kind == Kind::Error && id == 0 {
            return None;
        }
        if is_first {
            return Some(format!("{} came before HELLO", header.kind.name()));
        }
        let to = match from {
            From::Client => From::Server,
            From::Server => From::Client,
        };
        let most = self.frame_bytes_max.get(&to).copied();
        if most.is_some_and(|most| bytes > most as usize + limits::LENGTH_BYTES as usize) {
            return Some(format!(
                "a frame of {bytes} bytes is longer than the other side takes"
            ));
        }
        match (from, header.kind) {
            (_, Kind::Ping | Kind::Pong) | (_, Kind::Goaway) if from == From::Client => None,
            (From::Server, Kind::Ping | Kind::Pong) => None,
            (From::Server, Kind::Goaway) => {
                self.going_away = true;
                None
            }
            (From::Client, Kind::Request) => self.request(header),
            (From::Client, Kind::Cancel) => None,
            (From::Client, Kind::Credit) => {
                let flight = self.flights.get_mut(&id)?;
                flight.credit += u64::from(header.credit);
                (flight.credit > u64::from(limits::CREDIT_MAX))
                    .then(|| "more credit than may be".into())
            }
            (From::Server, Kind::Event) => match self.flights.get_mut(&id) {
                None => Some(format!(
                    "an event of request {id}, which is over or never was"
                )),
                Some(flight) if flight.credit == 0 => Some("an event without credit".into()),
                Some(flight) => {
                    flight.credit -= 1;
                    (flight.method != header.method).then(|| "an event of another method".into())
                }
            },
            (From::Server, Kind::Reply | Kind::Error) => self.end(header),
            (_, kind) => Some(format!("{} is not its to say", kind.name())),
        }
    }

    fn request(&mut self, header: &Header) -> Option<String> {
        let flight = Flight {
            method: header.method,
            trace_id: header.trace_id,
            credit: header.credit.into(),
        };
        if self.flights.insert(header.request_id, flight).is_some() {
            return Some("a request id that is in flight".into());
        }
        let (count, most) = (self.flights.len(), self.in_flight_max);
        if !self.greeted.contains(&From::Server) {
            return Some("a request before the server's HELLO".into());
        }
        (count > most).then(|| format!("{count} requests in flight, the server takes {most}"))
    }

    fn end(&mut self, header: &Header) -> Option<String> {
        let id = header.request_id;
        let Some(flight) = self.flights.remove(&id) else {
            return Some(format!(
                "an answer to request {id}, which is over or never was"
            ));
        };
        if flight.method != header.method || flight.trace_id != header.trace_id {
            return Some("an answer without its request's method or trace".into());
        }
        if header.status == Status::CLOSED && !self.going_away {
            return Some("CLOSED by a server that does not go away".into());
        }
        None
    }
}
