//! A UDP path between nodes that can break.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::links::Gate;
use crate::{Result, at};

/// How often a thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// Clients at once; more than any test has nodes.
const CLIENTS_MAX: usize = 64;

/// Largest UDP payload.
const DATAGRAM: usize = 65_535;

/// What the path does with datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Passes them.
    Open = 0,
    /// Drops them all.
    Closed = 1,
    /// Passes them with a byte changed.
    Garbling = 2,
}

#[derive(Debug)]
struct State {
    target: Mutex<Option<SocketAddr>>,
    path: AtomicU8,
    /// Bytes passed, both ways.
    passed: AtomicU64,
    /// The path closes when this many bytes have passed.
    budget: AtomicU64,
    /// Nanoseconds that a datagram takes.
    delay: AtomicU64,
    late: Mutex<Sender<Late>>,
    /// Who may send to whom.
    gate: Option<Gate>,
    end: AtomicBool,
}

/// A datagram on its way.
struct Late {
    due: Instant,
    datagram: Vec<u8>,
    by: Arc<UdpSocket>,
    /// Nobody: to whom the socket is connected.
    to: Option<SocketAddr>,
}

/// A UDP socket in front of a node; both directions go through it.
#[derive(Debug)]
pub struct Forwarder {
    state: Arc<State>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Forwarder {
    /// Opens the path; nothing passes before [`Forwarder::lead_to`].
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub fn new() -> Result<Forwarder> {
        Forwarder::with(None)
    }

    /// The same, behind a gate.
    pub(crate) fn with(gate: Option<Gate>) -> Result<Forwarder> {
        let socket = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).map_err(at("forwarder"))?;
        socket
            .set_read_timeout(Some(LOOK))
            .map_err(at("forwarder"))?;
        let address = socket.local_addr().map_err(at("forwarder"))?;
        let (late, due) = mpsc::channel();
        std::thread::spawn(move || deliver(&due));
        let state = Arc::new(State {
            delay: AtomicU64::new(0),
            late: Mutex::new(late),
            target: Mutex::new(None),
            path: AtomicU8::new(Path::Open as u8),
            passed: AtomicU64::new(0),
            budget: AtomicU64::new(u64::MAX),
            gate,
            end: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        let socket = Arc::new(socket);
        let thread = std::thread::spawn(move || inward(&socket, &shared));
        Ok(Forwarder {
            state,
            address,
            thread: Some(thread),
        })
    }

    /// Where clients send to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The node behind; clients that come from now on reach this one.
    pub fn lead_to(&self, target: SocketAddr) {
        *self
            .state
            .target
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(target);
    }

    /// Changes what happens to datagrams.
    pub fn set(&self, path: Path) {
        self.state.path.store(path as u8, Ordering::SeqCst);
    }

    /// Closes the path after `bytes` more.
    pub fn cut_after(&self, bytes: u64) {
        let passed = self.state.passed.load(Ordering::SeqCst);
        self.state
            .budget
            .store(passed.saturating_add(bytes), Ordering::SeqCst);
    }

    /// Makes the path that long, in each direction.
    pub fn set_delay(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.state.delay.store(delay, Ordering::SeqCst);
    }

    /// Bytes that passed, both ways.
    pub fn passed(&self) -> u64 {
        self.state.passed.load(Ordering::SeqCst)
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.state.end.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    /// Whether the datagram goes on; it may be changed.
    fn passes(&self, datagram: &mut [u8]) -> bool {
        if self.path.load(Ordering::SeqCst) == Path::Closed as u8 {
            return false;
        }
        let length = datagram.len() as u64;
        let passed = self.passed.fetch_add(length, Ordering::SeqCst) + length;
        if passed > self.budget.load(Ordering::SeqCst) {
            self.path.store(Path::Closed as u8, Ordering::SeqCst);
            return false;
        }
        if self.path.load(Ordering::SeqCst) == Path::Garbling as u8 {
            let middle = datagram.len() / 2;
            if let Some(byte) = datagram.get_mut(middle) {
                *byte ^= 0x55;
            }
        }
        true
    }
}

impl State {
    /// Hands a datagram on, when it has been under way for as long as the path takes.
    fn send(&self, by: &Arc<UdpSocket>, datagram: &[u8], to: Option<SocketAddr>) {
        let delay = Duration::from_nanos(self.delay.load(Ordering::SeqCst));
        if delay.is_zero() {
            return hand_on(by, datagram, to);
        }
        let late = Late {
            due: Instant::now() + delay,
            datagram: datagram.to_vec(),
            by: Arc::clone(by),
            to,
        };
        let sender = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody delivers any more when the forwarder ends.
        let _ = sender.send(late);
    }
}

fn hand_on(by: &UdpSocket, datagram: &[u8], to: Option<SocketAddr>) {
    // A node that is down refuses; QUIC sees it as loss.
    let _ = match to {
        Some(to) => by.send_to(datagram, to),
        None => by.send(datagram),
    };
}

/// Hands on datagrams when they are due; all take as long, so the first that came is the first to go.
fn deliver(due: &Receiver<Late>) {
    for late in due {
        std::thread::sleep(late.due.saturating_duration_since(Instant::now()));
        hand_on(&late.by, &late.datagram, late.to);
    }
}

/// Takes datagrams of clients to the node; one socket per client brings the answers.
fn inward(socket: &Arc<UdpSocket>, state: &Arc<State>) {
    let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut threads = Vec::new();
    let mut buffer = vec![0; DATAGRAM];
    while !state.end.load(Ordering::SeqCst) {
        let (length, client) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if timed_out(error.kind()) => continue,
            // A client that went away is reported here; the others go on.
            Err(_) => continue,
        };
        let Some(datagram) = buffer.get_mut(..length) else {
            continue;
        };
        let is_cut = (state.gate.as_ref()).is_some_and(|gate| !gate.lets_in(client));
        if is_cut || !state.passes(datagram) {
            continue;
        }
        let target = *state.target.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(target) = target else { continue };
        if !clients.contains_key(&client) && clients.len() < CLIENTS_MAX {
            let Ok(up) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) else {
                continue;
            };
            let ready = up.connect(target).and(up.set_read_timeout(Some(LOOK)));
            if ready.is_err() {
                continue;
            }
            let back = Arc::clone(socket);
            let up = Arc::new(up);
            clients.insert(client, Arc::clone(&up));
            let state = Arc::clone(state);
            threads.push(std::thread::spawn(move || {
                outward(&up, &back, client, &state)
            }));
        }
        if let Some(up) = clients.get(&client) {
            state.send(up, datagram, None);
        }
    }
    for thread in threads {
        let _ = thread.join();
    }
}

/// Takes the node's answers to one client.
fn outward(up: &UdpSocket, back: &Arc<UdpSocket>, client: SocketAddr, state: &State) {
    let mut buffer = vec![0; DATAGRAM];
    while !state.end.load(Ordering::SeqCst) {
        let Ok(length) = up.recv(&mut buffer) else {
            continue;
        };
        let is_cut = (state.gate.as_ref()).is_some_and(|gate| !gate.lets_out(client));
        if let Some(datagram) = buffer.get_mut(..length)
            && !is_cut
            && state.passes(datagram)
        {
            state.send(back, datagram, Some(client));
        }
    }
}

fn timed_out(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
