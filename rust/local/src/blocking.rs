//! The calling side without a runtime: for programs that block, and for the C interface.
//!
//! Nobody drives the connection in the background. Of the threads that wait for an answer one leads: it reads for all,
//! and when its own answer is there it wakes the next (leader and followers: Schmidt et al., "Leader/Followers", PLoP
//! 2000). A lone call is then one write, one wait and one read.

mod pool;
mod streaming;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Instant;

use mfn_wire::{Header, Kind, Service, Status, WireError};

pub use pool::{Pool, PooledStreaming};
pub use streaming::Streaming;

use crate::blocking::streaming::Flow;
use crate::call::Reply;
use crate::driver::{End, say_why};
use crate::error::{CallError, LocalError};
use crate::frames::{Received, client_hello, greeting, receive, request_header};
use crate::input::Input;
use crate::link::{self, Writing};
use crate::outbox::{Flushed, Outbox};
use crate::request::{ConnectOptions, Request};
use crate::socket;
use crate::wait::Wait;

/// One connection. Calls of several threads travel at once.
#[derive(Debug)]
pub struct Client {
    service: Service,
    stream: Arc<UnixStream>,
    /// Rung for the thread that leads: a call was cancelled, or bytes are left to write.
    wait: Wait,
    outbox: Outbox,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// By id, which rises. Few: looking a call up by halves costs less than hashing.
    calls: Vec<Waiting>,
    /// Calls that nobody waits for, and whose answers have not come.
    withdrawn: Vec<u64>,
    next_id: u64,
    /// Absent while a thread leads.
    lead: Option<Lead>,
    greeted: bool,
    ended: Option<CallError>,
    in_flight_max: usize,
}

/// What the thread that reads for all holds.
#[derive(Debug)]
struct Lead {
    input: Input,
    /// More bytes may be there, of which no wait tells again.
    more: bool,
    /// The other side has gone: what it said last, and the end, are read without another wait.
    is_last: bool,
    /// The wait is also for room to write.
    for_room: bool,
}

#[derive(Debug)]
struct Waiting {
    request_id: u64,
    tag: u64,
    thread: Thread,
    /// The thread is in here, and may lead. The reader of a stream comes and goes.
    waits: bool,
    result: Option<Result<Reply, CallError>>,
    /// Of a call that allows events.
    flow: Option<Flow>,
}

impl State {
    fn find(&self, request_id: u64) -> Option<usize> {
        let found = self
            .calls
            .binary_search_by_key(&request_id, |call| call.request_id);
        found.ok()
    }

    fn remove(&mut self, request_id: u64) {
        if let Some(at) = self.find(request_id) {
            self.calls.remove(at);
        }
    }

    /// What came of a call, which is over then. `None`: nothing yet.
    fn take_result(&mut self, request_id: u64) -> Option<Result<Reply, CallError>> {
        let at = self.find(request_id)?;
        let result = self.calls.get_mut(at)?.result.take()?;
        self.calls.remove(at);
        Some(result)
    }

    fn call(&mut self, request_id: u64) -> Option<&mut Waiting> {
        let at = self.find(request_id)?;
        self.calls.get_mut(at)
    }

    /// Wakes a thread that can lead on, now that nobody does.
    fn hand_on(&self) {
        if self.lead.is_some()
            && let Some(next) = self
                .calls
                .iter()
                .find(|call| call.waits && call.result.is_none())
        {
            next.thread.unpark();
        }
    }

    fn settle(&mut self, request_id: u64, result: Result<Reply, CallError>) {
        if let Some(call) = self.call(request_id)
            && call.result.is_none()
        {
            call.result = Some(result);
            call.thread.unpark();
        }
    }

    /// The server owes that call no answer any more.
    fn answered(&mut self, request_id: u64) {
        if let Some(at) = self.withdrawn.iter().position(|id| *id == request_id) {
            self.withdrawn.swap_remove(at);
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
        let stream = socket::open(path, options.timeout).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                LocalError::NotRunning { path: path_buf() }
            }
            io::ErrorKind::WouldBlock => LocalError::Timeout { path: path_buf() },
            _ => io("connect to")(source),
        })?;
        socket::check_server(&stream, path)?;
        let wait = Wait::new(&stream).map_err(io("wait for"))?;
        let stream = Arc::new(stream);
        let client = Self {
            service,
            wait,
            outbox: Outbox::new(Writing::new(Arc::clone(&stream))),
            stream,
            state: Mutex::new(State {
                calls: Vec::new(),
                withdrawn: Vec::new(),
                next_id: 1,
                lead: None,
                greeted: false,
                ended: None,
                in_flight_max: 0,
            }),
        };
        greeting(&client.outbox, service, &client_hello(&options.software));
        client.wait.ring();
        // This thread leads first.
        let mut lead = Lead {
            input: Input::new(),
            more: false,
            is_last: false,
            for_room: false,
        };
        while !client.state().greeted {
            if until.is_some_and(|until| until <= Instant::now()) {
                return Err(LocalError::Timeout { path: path_buf() });
            }
            let arrived = client.turn(&mut lead, until);
            let taken = arrived.and_then(|()| client.take_in(&mut client.state(), &mut lead.input));
            if let Err(end) = taken {
                client.end(&end);
                return Err(end.of_connect(path));
            }
        }
        client.state().lead = Some(lead);
        Ok(client)
    }

    /// Asks, and waits for the reply, as long as the request's deadline allows. The tag is the caller's name for the call,
    /// for [`Client::cancel`]; several calls may share one.
    pub fn call(&self, tag: u64, method: u16, request: &Request) -> Result<Reply, CallError> {
        let request_id = self.begin(tag, method, request, 0)?;
        self.wait_for(request_id, request.deadline, |state| {
            state.take_result(request_id)
        })
        .unwrap_or_else(|| Err(self.give_up(request_id)))
    }

    /// Whether calls can still be made.
    pub fn is_open(&self) -> bool {
        self.state().ended.is_none()
    }

    /// Calls that the server owes an answer, and how many it takes at once.
    pub fn load(&self) -> (usize, usize) {
        let state = self.state();
        let in_flight = state.calls.len() + state.withdrawn.len();
        (in_flight, state.in_flight_max)
    }

    /// Whether the kernel knows that the other side has gone, which nobody may have read yet. One system call.
    pub(crate) fn has_hung_up(&self) -> bool {
        Writing::new(Arc::clone(&self.stream)).probe().has_hung_up()
    }

    /// Sends a request. Its caller is this thread.
    fn begin(
        &self,
        tag: u64,
        method: u16,
        request: &Request,
        credit: u32,
    ) -> Result<u64, CallError> {
        if request
            .deadline
            .is_some_and(|until| until <= Instant::now())
        {
            return Err(CallError::Deadline);
        }
        self.make_room();
        let request_id = {
            let mut state = self.state();
            if let Some(error) = &state.ended {
                return Err(error.clone().before_it_was_sent());
            }
            if state.calls.len() + state.withdrawn.len() >= state.in_flight_max {
                let limit = u32::try_from(state.in_flight_max).unwrap_or(u32::MAX);
                return Err(CallError::Busy(limit));
            }
            let request_id = state.next_id;
            state.next_id += 1;
            state.calls.push(Waiting {
                request_id,
                tag,
                thread: std::thread::current(),
                waits: false,
                result: None,
                flow: (credit > 0).then(|| Flow::new(credit)),
            });
            request_id
        };
        let trace = request.trace.child();
        let header = request_header(self.service, method, request_id, request, &trace, credit);
        if let Err(error) = self.say(&header, &request.body) {
            self.state().remove(request_id);
            return Err(CallError::Request(error));
        }
        Ok(request_id)
    }

    /// Reads what is there already when calls that were given up take the place of others: nobody else may.
    fn make_room(&self) {
        let mut state = self.state();
        let in_flight = state.calls.len() + state.withdrawn.len();
        if in_flight < state.in_flight_max || state.withdrawn.is_empty() {
            return;
        }
        let Some(mut lead) = state.lead.take() else {
            // Who leads reads.
            return;
        };
        loop {
            drop(state);
            let arrived = self.turn(&mut lead, Some(Instant::now()));
            state = self.state();
            let taken = arrived.and_then(|()| self.take_in(&mut state, &mut lead.input));
            let goes_on = taken.is_ok() && lead.more;
            if let Err(end) = taken {
                state.lead = Some(lead);
                drop(state);
                self.end(&end);
                return;
            }
            if !goes_on {
                state.lead = Some(lead);
                state.hand_on();
                return;
            }
        }
    }

    /// The deadline of a call has passed: tells the server.
    fn give_up(&self, request_id: u64) -> CallError {
        self.abandon(request_id);
        CallError::Deadline
    }

    /// Nobody waits for that call any more.
    fn abandon(&self, request_id: u64) {
        let mut state = self.state();
        let is_owed = state
            .call(request_id)
            .is_some_and(|call| call.result.is_none());
        state.remove(request_id);
        if is_owed && state.ended.is_none() {
            state.withdrawn.push(request_id);
        }
        drop(state);
        if is_owed {
            self.withdraw(request_id);
        }
    }

    /// Ends the calls with that tag that are in flight, with status CANCELLED, and tells the server. Says how many.
    pub fn cancel(&self, tag: u64) -> usize {
        let ids: Vec<u64> = {
            let mut state = self.state();
            let ids: Vec<u64> = state
                .calls
                .iter()
                .filter(|call| call.tag == tag && call.result.is_none())
                .map(|call| call.request_id)
                .collect();
            for id in &ids {
                let text = "the call was cancelled".to_owned();
                let status = Status::CANCELLED;
                if let Some(flow) = state.call(*id).and_then(|call| call.flow.as_mut()) {
                    flow.clear();
                }
                state.settle(*id, Err(CallError::Failed { status, text }));
                state.withdrawn.push(*id);
            }
            ids
        };
        for id in &ids {
            self.withdraw(*id);
        }
        if !ids.is_empty() {
            self.wait.ring();
        }
        ids.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the server that nobody waits for that answer.
    fn withdraw(&self, request_id: u64) {
        let header = Header {
            request_id,
            ..Header::new(Kind::Cancel, self.service)
        };
        self.say_alone(&header);
    }

    /// Writes a frame of a header alone when perhaps nobody leads: the thread that writes now may be the last that does, and
    /// what it does not see would lie there until the next call.
    fn say_alone(&self, header: &Header) {
        // It fits by construction. An error is for who leads next to find and to report.
        let appended = self.outbox.append(header, &[], &[]);
        if appended.is_ok() && !matches!(self.outbox.flush(), Ok(Flushed::All)) {
            self.wait.ring();
        }
    }

    /// Writes a frame at once; what cannot be written now, the thread that leads writes.
    fn say(&self, header: &Header, body: &[u8]) -> Result<(), WireError> {
        if !self.outbox.push_now(header, body)? {
            self.wait.ring();
        }
        Ok(())
    }

    /// Waits until there is something to take for a call, leading if nobody does. `None`: the time is up.
    fn wait_for<T>(
        &self,
        request_id: u64,
        until: Option<Instant>,
        mut take: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let mut state = self.state();
        if let Some(call) = state.call(request_id) {
            call.thread = std::thread::current();
            call.waits = true;
        }
        loop {
            let taken = take(&mut state);
            if taken.is_some() || until.is_some_and(|until| until <= Instant::now()) {
                if let Some(call) = state.call(request_id) {
                    call.waits = false;
                }
                state.hand_on();
                return taken;
            }
            let Some(mut lead) = state.lead.take() else {
                drop(state);
                // Another thread leads. It wakes this one for its answer, or to lead on.
                match until {
                    None => std::thread::park(),
                    Some(until) => {
                        std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
                    }
                }
                state = self.state();
                continue;
            };
            drop(state);
            let arrived = self.turn(&mut lead, until);
            state = self.state();
            let parsed = arrived.and_then(|()| self.take_in(&mut state, &mut lead.input));
            state.lead = Some(lead);
            if let Err(end) = parsed {
                drop(state);
                self.end(&end);
                state = self.state();
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
        let error = end.of_call();
        if state.ended.is_none() {
            state.ended = Some(error.clone());
        }
        for call in &mut state.calls {
            if call.result.is_none() {
                call.result = Some(Err(error.clone()));
            }
            call.thread.unpark();
        }
    }

    /// Waits once, writes what is left, reads what is there.
    fn turn(&self, lead: &mut Lead, until: Option<Instant>) -> Result<(), End> {
        let mut to_write = lead.for_room;
        if !lead.more {
            let woken = self.wait.wait(until).map_err(End::Io)?;
            lead.more = woken.readable;
            lead.is_last |= woken.is_last;
            to_write |= woken.rung;
        }
        if to_write {
            let is_blocked = self.outbox.flush().map_err(End::Io)? == Flushed::Blocked;
            if is_blocked != lead.for_room {
                let watched = self.wait.watch_room(&self.stream, is_blocked);
                watched.map_err(End::Io)?;
                lead.for_room = is_blocked;
            }
        }
        if !lead.more {
            return Ok(());
        }
        let room = lead.input.room();
        let length = room.len();
        match link::try_read(&self.stream, room).map_err(End::Io)? {
            None => lead.more = false,
            Some(0) => return Err(End::Closed),
            Some(count) => {
                // Not filled: all that was there is taken, and what comes next tells again.
                lead.more = count == length || lead.is_last;
                lead.input.filled(count);
            }
        }
        Ok(())
    }

    /// Gives the frames that arrived to whom they are for.
    fn take_in(&self, state: &mut State, input: &mut Input) -> Result<(), End> {
        while let Some(frame) = input.frame()? {
            match receive(self.service, state.greeted, frame)? {
                Received::Greeting(server) => {
                    self.outbox.announce(server.frame_bytes_max);
                    state.greeted = true;
                    state.in_flight_max = server.requests_in_flight_max as usize;
                }
                Received::Answer { request_id, result } => {
                    if request_id >= state.next_id {
                        return Err(End::unasked(request_id));
                    }
                    state.answered(request_id);
                    state.settle(request_id, result);
                }
                Received::Event { request_id, event } => state.event(request_id, event)?,
                Received::Ping { pong } => self.say(&pong, &[])?,
                Received::Leaving { text } => {
                    if state.ended.is_none() {
                        state.ended = Some(CallError::NotAccepted(text.into()));
                    }
                }
                Received::Nothing => {}
            }
        }
        Ok(())
    }
}
