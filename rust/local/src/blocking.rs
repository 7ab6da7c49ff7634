//! The calling side without a runtime: for programs that block, and for the C interface.
//!
//! Nobody drives the connection in the background. Of the threads that wait for an answer one leads: it reads for all,
//! and when its own answer is there it wakes the next (leader and followers: Schmidt et al., "Leader/Followers", PLoP
//! 2000). A lone call is then one write, one wait and one read.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use mfn_wire::{Header, Kind, Service, Status};
use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::call::Reply;
use crate::client::{ConnectOptions, Request};
use crate::driver::{End, say_why};
use crate::error::{CallError, LocalError};
use crate::frames::{Received, client_hello, greeting, receive, request_header};
use crate::input::Input;
use crate::link::{self, Writing};
use crate::outbox::Outbox;
use crate::socket;

/// One connection. Calls of several threads travel at once.
#[derive(Debug)]
pub struct Client {
    service: Service,
    stream: Arc<UnixStream>,
    /// Rung for the thread that reads: a call was cancelled, or bytes are left to write.
    bell: OwnedFd,
    outbox: Outbox,
    next_id: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    calls: HashMap<u64, Waiting>,
    /// Absent while a thread reads.
    input: Option<Input>,
    greeted: bool,
    ended: Option<String>,
    in_flight_max: usize,
}

#[derive(Debug)]
struct Waiting {
    tag: u64,
    thread: Thread,
    result: Option<Result<Reply, CallError>>,
}

impl State {
    /// Wakes a thread that can read on, now that nobody does.
    fn hand_on(&self) {
        if self.input.is_some()
            && let Some(next) = self.calls.values().find(|call| call.result.is_none())
        {
            next.thread.unpark();
        }
    }

    fn settle(&mut self, request_id: u64, result: Result<Reply, CallError>) {
        if let Some(call) = self.calls.get_mut(&request_id)
            && call.result.is_none()
        {
            call.result = Some(result);
            call.thread.unpark();
        }
    }
}

impl Client {
    /// Connects and exchanges HELLO. The server must run as the same user, or as root.
    pub fn connect(
        path: &Path,
        service: Service,
        options: &ConnectOptions,
    ) -> Result<Self, LocalError> {
        socket::check_path(path)?;
        let path_buf = || path.to_path_buf();
        let until = Instant::now().checked_add(options.timeout);
        let io = |what| {
            move |source| LocalError::Io {
                what,
                path: path_buf(),
                source,
            }
        };
        let stream = open(path, options.timeout).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                LocalError::NotRunning { path: path_buf() }
            }
            io::ErrorKind::WouldBlock => LocalError::Timeout { path: path_buf() },
            _ => io("connect to")(source),
        })?;
        socket::check_server(&stream, path)?;
        let bell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| io("wait for")(error.into()))?;
        let stream = Arc::new(stream);
        let client = Self {
            service,
            bell,
            outbox: Outbox::new(Writing::new(Arc::clone(&stream))),
            stream,
            next_id: AtomicU64::new(1),
            state: Mutex::new(State {
                calls: HashMap::new(),
                input: None,
                greeted: false,
                ended: None,
                in_flight_max: 0,
            }),
        };
        greeting(&client.outbox, service, &client_hello(&options.software));
        // This thread reads first.
        let mut input = Input::new();
        while !client.state().greeted {
            if until.is_some_and(|until| until <= Instant::now()) {
                return Err(LocalError::Timeout { path: path_buf() });
            }
            if let Err(end) = client.turn(&mut input, until) {
                client.end(&end);
                return Err(end.of_connect(path));
            }
        }
        client.state().input = Some(input);
        Ok(client)
    }

    /// Asks, and waits for the reply, as long as the request's deadline allows. The tag is the caller's name for the call,
    /// for [`Client::cancel`]; several calls may share one.
    pub fn call(&self, tag: u64, method: u16, request: &Request) -> Result<Reply, CallError> {
        let until = request
            .deadline
            .and_then(|wait| Instant::now().checked_add(wait));
        let request_id = self.next_id.fetch_add(1, Ordering::Relaxed);
        {
            let mut state = self.state();
            if let Some(text) = &state.ended {
                return Err(CallError::Closed(text.clone()));
            }
            if state.calls.len() >= state.in_flight_max {
                let limit = u32::try_from(state.in_flight_max).unwrap_or(u32::MAX);
                return Err(CallError::Busy(limit));
            }
            let waiting = Waiting {
                tag,
                thread: std::thread::current(),
                result: None,
            };
            state.calls.insert(request_id, waiting);
        }
        let header = request_header(self.service, method, request_id, request, 0);
        match self.outbox.push_now(&header, &request.body) {
            Ok(true) => {}
            Ok(false) => self.ring(),
            Err(error) => {
                self.state().calls.remove(&request_id);
                return Err(CallError::Request(error));
            }
        }
        self.wait(request_id, until)
    }

    /// Ends the calls with that tag that are in flight, with status CANCELLED, and tells the server. Says how many.
    pub fn cancel(&self, tag: u64) -> usize {
        let ids: Vec<u64> = {
            let mut state = self.state();
            let ids: Vec<u64> = state
                .calls
                .iter()
                .filter(|(_, call)| call.tag == tag && call.result.is_none())
                .map(|(id, _)| *id)
                .collect();
            for id in &ids {
                let text = "the call was cancelled".to_owned();
                let status = Status::CANCELLED;
                state.settle(*id, Err(CallError::Failed { status, text }));
            }
            ids
        };
        for id in &ids {
            self.withdraw(*id);
        }
        if !ids.is_empty() {
            self.ring();
        }
        ids.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread that reads.
    fn ring(&self) {
        // It fails only when the counter is full: then it is rung already.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Tells the server that nobody waits for that answer.
    fn withdraw(&self, request_id: u64) {
        let header = Header {
            request_id,
            ..Header::new(Kind::Cancel, self.service)
        };
        // It fits by construction. What cannot be written now, goes with the next turn of a thread that reads.
        let _ = self.outbox.push_now(&header, &[]);
    }

    fn wait(&self, request_id: u64, until: Option<Instant>) -> Result<Reply, CallError> {
        loop {
            let input = {
                let mut state = self.state();
                let done = match state.calls.get_mut(&request_id) {
                    Some(call) => call.result.take(),
                    // Only this thread removes it.
                    None => Some(Err(CallError::Closed("the call is gone".into()))),
                };
                let is_late = || until.is_some_and(|until| until <= Instant::now());
                if done.is_some() || is_late() {
                    state.calls.remove(&request_id);
                    state.hand_on();
                    drop(state);
                    return done.unwrap_or_else(|| {
                        self.withdraw(request_id);
                        Err(CallError::Deadline)
                    });
                }
                state.input.take()
            };
            let Some(mut input) = input else {
                // Another thread reads. It wakes this one for its answer, or to read on.
                match until {
                    None => std::thread::park(),
                    Some(until) => {
                        std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
                    }
                }
                continue;
            };
            let result = self.turn(&mut input, until);
            self.state().input = Some(input);
            if let Err(end) = result {
                self.end(&end);
            }
        }
    }

    /// Ends all calls; later ones fail at once.
    fn end(&self, end: &End) {
        if let End::Refused(status, text) = end {
            say_why(&self.outbox, self.service, *status, text);
            // It is lost when the server does not read; the connection ends either way.
            let _ = self.outbox.flush();
        }
        self.outbox.close();
        let mut state = self.state();
        let text = state.ended.get_or_insert_with(|| end.text()).clone();
        for call in state.calls.values_mut() {
            if call.result.is_none() {
                call.result = Some(Err(CallError::Closed(text.clone())));
            }
            call.thread.unpark();
        }
    }

    /// Waits for the socket once, writes what is left, reads what is there.
    fn turn(&self, input: &mut Input, until: Option<Instant>) -> Result<(), End> {
        let all_out = self.outbox.is_flushed();
        let mut socket = PollFlags::IN;
        socket.set(PollFlags::OUT, !all_out);
        let mut waits = [
            PollFd::new(self.stream.as_ref(), socket),
            PollFd::new(&self.bell, PollFlags::IN),
        ];
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        // A wait beyond what the kernel can represent is one without end.
        let left = left.and_then(|left| left.try_into().ok());
        match rustix::event::poll(&mut waits, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(End::Io(error.into())),
        }
        let [socket, bell] = waits.map(|wait| wait.revents());
        if !bell.is_empty() {
            // Emptied; nobody else reads it.
            let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        }
        if !all_out {
            self.outbox.flush().map_err(End::Io)?;
        }
        if !socket.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return Ok(());
        }
        match link::try_read(&self.stream, input.room()).map_err(End::Io)? {
            None => return Ok(()),
            Some(0) => return Err(End::Closed),
            Some(count) => input.filled(count),
        }
        while let Some(frame) = input.frame()? {
            let greeted = self.state().greeted;
            self.received(receive(self.service, greeted, frame)?)?;
        }
        Ok(())
    }

    fn received(&self, received: Received) -> Result<(), End> {
        match received {
            Received::Greeting { in_flight_max, .. } => {
                let mut state = self.state();
                state.greeted = true;
                state.in_flight_max = in_flight_max;
            }
            Received::Answer { request_id, result } => {
                if request_id >= self.next_id.load(Ordering::Relaxed) {
                    return Err(End::unasked(request_id));
                }
                self.state().settle(request_id, result);
            }
            Received::Event { .. } => {
                let text = "an event without credit".into();
                return Err(End::Refused(Status::BAD_CREDIT, text));
            }
            Received::Ping { pong } => {
                self.outbox.push_now(&pong, &[])?;
            }
            Received::Leaving { text } => {
                self.state().ended.get_or_insert_with(|| text.into());
            }
            Received::Nothing => {}
        }
        Ok(())
    }
}

/// A connected socket that does not block from then on.
fn open(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // Connecting waits while the server's queue is full, as long as a send would.
    let timeout = timeout.clamp(Duration::from_millis(1), Duration::from_secs(3_600));
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(timeout))?;
    rustix::net::connect(socket.as_fd(), &SocketAddrUnix::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(true)?;
    Ok(stream)
}
