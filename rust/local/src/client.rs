//! The calling side of a socket.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use mfn_wire::{ContentType, Header, Kind, Service, Status, limits};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::call::Reply;
use crate::driver::{Drive, End, FRAMES_PER_TURN, Partial, Side, drive};
use crate::error::{CallError, LocalError};
use crate::frames::{Announced, Received, client_hello, greeting, receive, request_header};
use crate::outbox::Outbox;
use crate::request::{ConnectOptions, Request};
use crate::slots::{Owner, Slots};
use crate::socket::PeerCredentials;
use crate::trace::Hex;
use crate::{link, socket};

/// One item of a streamed answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub content_type: ContentType,
    pub body: Bytes,
}

/// What a stream gives: events, then one reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Event(Event),
    Reply(Reply),
}

/// What came of a call.
pub(crate) struct Answer {
    pub(crate) result: Result<Reply, CallError>,
    /// When the last bytes arrived: its own, or later ones.
    pub(crate) arrived: Option<Instant>,
}

/// One connection. Cheap to clone; calls of all clones travel at once. The connection ends with the last clone.
#[derive(Clone, Debug)]
pub struct Client {
    connection: Arc<Connection>,
}

/// Ends the driver's task when the last [`Client`] is gone.
#[derive(Debug)]
struct Connection {
    shared: Arc<Shared>,
    driver: tokio::task::AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
        self.shared.end(&End::Closed);
        self.shared.outbox.close();
    }
}

#[derive(Debug)]
struct Shared {
    service: Service,
    outbox: Outbox,
    state: Mutex<State>,
    /// The descriptor, to ask the kernel whether the other side is still there.
    probe: link::Probe,
}

#[derive(Debug, Default)]
struct State {
    slots: Slots,
    /// Why no call can be made any more.
    ended: Option<CallError>,
    server: Announced,
    /// When the driver looks at deadlines next.
    due: Option<Instant>,
    /// When the last bytes arrived.
    arrived: Option<Instant>,
    /// The most calls at once since none was.
    most: usize,
}

impl State {
    /// Counts a call that was just taken in. `true`: none is under way beside it, and if calls are as they were last time,
    /// none is about to be: callers that were answered together ask again together.
    fn is_alone(&mut self) -> bool {
        let now = self.slots.in_flight();
        if now > 1 {
            self.most = self.most.max(now);
            return false;
        }
        std::mem::replace(&mut self.most, now) <= 1
    }
}

/// Deadlines are kept to this: the driver does not wake more often for them.
const TICK: Duration = Duration::from_millis(1);

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all calls; later ones fail at once.
    fn end(&self, end: &End) {
        let mut state = self.state();
        let error = end.of_call();
        state.slots.end(&error);
        if state.ended.is_none() {
            state.ended = Some(error);
        }
    }

    fn cancel(&self, request_id: u64) {
        let header = Header {
            request_id,
            ..Header::new(Kind::Cancel, self.service)
        };
        // It fits by construction.
        let _ = self.outbox.push(&header, &[], &[]);
    }
}

impl Client {
    /// Connects and exchanges HELLO. The server must run as the same user, or as root.
    pub async fn connect(
        path: &Path,
        service: Service,
        options: ConnectOptions,
    ) -> Result<Self, LocalError> {
        socket::check_path(path)?;
        let until = Instant::now() + options.timeout;
        tokio::time::timeout_at(until, connect(path, service, &options, until))
            .await
            .unwrap_or_else(|_| {
                Err(LocalError::Timeout {
                    path: path.to_path_buf(),
                })
            })
    }

    /// Asks, and waits for the reply. Dropped before, the call is cancelled.
    pub async fn call(&self, method: u16, request: Request) -> Result<Reply, CallError> {
        let answer = self.call_at(Instant::now(), method, &request).await?;
        answer.result
    }

    /// The same for who has just looked at the clock.
    pub(crate) async fn call_at(
        &self,
        now: Instant,
        method: u16,
        request: &Request,
    ) -> Result<Answer, CallError> {
        let mut flight = self.send(now, method, request, 0, Owner::call())?;
        let shared = &self.connection.shared;
        let answer = std::future::poll_fn(|context| {
            let mut state = shared.state();
            let arrived = state.arrived;
            let polled = state.slots.poll(flight.request_id, context);
            polled.map(|result| result.map(|result| Answer { result, arrived }))
        })
        .await;
        // It took its slot with it.
        flight.is_over = true;
        answer.ok_or_else(|| CallError::Closed("its task is gone".into()))
    }

    /// Asks for a streamed answer, of which at most `credit` events are under way at once.
    pub async fn stream(
        &self,
        method: u16,
        request: Request,
        credit: u32,
    ) -> Result<Streaming, CallError> {
        let credit = credit.clamp(1, limits::CREDIT_MAX);
        let (to, items) = mpsc::unbounded_channel();
        let owner = Owner::Stream {
            to,
            allowed: credit,
        };
        let flight = self.send(Instant::now(), method, &request, credit, owner)?;
        Ok(Streaming {
            flight: Some(flight),
            items,
            credit,
            taken: 0,
            method,
        })
    }

    /// Asks with a message, answers with one.
    pub async fn ask<Q: prost::Message, A: prost::Message + Default>(
        &self,
        method: u16,
        question: &Q,
        deadline: Duration,
    ) -> Result<A, CallError> {
        let reply = self
            .call(method, Request::message(question).within(deadline))
            .await?;
        A::decode(reply.body).map_err(|error| CallError::Answer(error.to_string()))
    }

    /// Name and version of the server's program.
    pub fn server_software(&self) -> String {
        self.server().software
    }

    /// What the server said of itself in HELLO.
    pub fn server(&self) -> Announced {
        self.connection.shared.state().server.clone()
    }

    /// Who serves, as the kernel knows it.
    pub fn server_credentials(&self) -> io::Result<PeerCredentials> {
        self.connection.shared.probe.credentials()
    }

    /// Calls that the server owes an answer and how many it takes at once. `None`: [`Client::is_closed`].
    pub(crate) fn load_if_open(&self) -> Option<(usize, usize)> {
        let state = self.connection.shared.state();
        let most = state.server.requests_in_flight_max as usize;
        state
            .ended
            .is_none()
            .then(|| (state.slots.in_flight(), most))
    }

    /// Whether new calls fail because the connection has ended or the server goes away.
    pub fn is_closed(&self) -> bool {
        self.connection.shared.state().ended.is_some()
    }

    /// Calls that the server owes an answer, and how many it takes at once.
    pub fn load(&self) -> (usize, usize) {
        let state = self.connection.shared.state();
        let most = state.server.requests_in_flight_max as usize;
        (state.slots.in_flight(), most)
    }

    /// Whether the kernel knows that the other side has gone, which the driver may not have heard yet. One system call.
    pub(crate) fn has_hung_up(&self) -> bool {
        self.connection.shared.probe.has_hung_up()
    }

    fn send(
        &self,
        now: Instant,
        method: u16,
        request: &Request,
        credit: u32,
        owner: Owner,
    ) -> Result<Flight, CallError> {
        let shared = &self.connection.shared;
        let deadline = request.deadline.map(Instant::from_std);
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Err(CallError::Deadline);
        }
        let (request_id, is_alone, is_earlier) = {
            let mut state = shared.state();
            if let Some(error) = &state.ended {
                return Err(error.clone().before_it_was_sent());
            }
            let most = state.server.requests_in_flight_max;
            let busy = || CallError::Busy(most);
            if state.slots.in_flight() >= most as usize {
                return Err(busy());
            }
            let request_id = state.slots.insert(owner, deadline).ok_or_else(busy)?;
            let is_earlier =
                deadline.is_some_and(|deadline| state.due.is_none_or(|due| deadline < due));
            if is_earlier {
                state.due = deadline;
            }
            (request_id, state.is_alone(), is_earlier)
        };
        let trace = request.trace.child();
        tracing::trace!(
            service = shared.service.name(),
            method,
            trace = %Hex(&trace.trace_id),
            span = %Hex(&trace.span_id),
            parent = %Hex(&request.trace.span_id),
            "call"
        );
        let header = request_header(shared.service, method, request_id, request, &trace, credit);
        let flight = Flight {
            connection: Arc::clone(&self.connection),
            request_id,
            is_over: false,
        };
        // Alone, the caller waits for nothing but this frame. Among others, one write of the driver serves many.
        let pushed = if is_alone {
            shared.outbox.push_now(&header, &request.body).map(|done| {
                if !done || is_earlier {
                    shared.outbox.ring();
                }
            })
        } else {
            shared.outbox.push(&header, &[], &request.body)
        };
        match pushed {
            Ok(()) => {
                if is_earlier && !is_alone {
                    shared.outbox.ring();
                }
                Ok(flight)
            }
            Err(error) => {
                shared.state().slots.remove(request_id);
                Err(CallError::Request(error))
            }
        }
    }
}

/// A request under way. Dropped before its answer, it tells the server to stop.
#[derive(Debug)]
struct Flight {
    connection: Arc<Connection>,
    request_id: u64,
    /// Its slot is given back already.
    is_over: bool,
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let shared = &self.connection.shared;
        let must_tell = shared.state().slots.give_up(self.request_id);
        if must_tell {
            shared.cancel(self.request_id);
        }
    }
}

/// A streamed answer. Dropped before its end, the call is cancelled.
#[derive(Debug)]
pub struct Streaming {
    flight: Option<Flight>,
    items: mpsc::UnboundedReceiver<Result<Item, CallError>>,
    credit: u32,
    taken: u32,
    method: u16,
}

impl Streaming {
    /// The next event, then the reply or an error, then `None`. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<Item, CallError>> {
        self.flight.as_ref()?;
        match self.items.recv().await {
            Some(Ok(Item::Event(event))) => {
                self.give_credit();
                Some(Ok(Item::Event(event)))
            }
            Some(end) => {
                self.close();
                Some(end)
            }
            None => {
                self.close();
                Some(Err(CallError::Closed("its task is gone".into())))
            }
        }
    }

    fn close(&mut self) {
        self.flight = None;
    }

    /// Allows as many events again as were taken, in steps of half the credit.
    fn give_credit(&mut self) {
        self.taken += 1;
        if self.taken * 2 < self.credit {
            return;
        }
        let Some(flight) = &self.flight else { return };
        let shared = &flight.connection.shared;
        let credit = std::mem::take(&mut self.taken);
        if !shared.state().slots.allow(flight.request_id, credit) {
            return;
        }
        let header = Header {
            method: self.method,
            request_id: flight.request_id,
            credit,
            ..Header::new(Kind::Credit, shared.service)
        };
        // It fits by construction.
        let _ = shared.outbox.push(&header, &[], &[]);
    }
}

/// A connection, as soon as the server's queue has room for it.
async fn open(path: &Path, until: Instant) -> io::Result<UnixStream> {
    match UnixStream::connect(path).await {
        Err(full) if full.kind() == io::ErrorKind::WouldBlock => {}
        other => return other,
    }
    // Nothing says to a socket that does not block when there is room: a thread waits in the kernel.
    let path = path.to_path_buf();
    let left = until.saturating_duration_since(Instant::now());
    let opened = tokio::task::spawn_blocking(move || socket::open(&path, left)).await;
    UnixStream::from_std(opened.map_err(io::Error::other)??)
}

impl CallError {
    /// The same of a call that was not even sent.
    pub(crate) fn before_it_was_sent(self) -> Self {
        match self {
            Self::Closed(text) => Self::NotAccepted(text),
            other => other,
        }
    }
}

async fn connect(
    path: &Path,
    service: Service,
    options: &ConnectOptions,
    until: Instant,
) -> Result<Client, LocalError> {
    let path_buf = || path.to_path_buf();
    let stream = open(path, until)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                LocalError::NotRunning { path: path_buf() }
            }
            io::ErrorKind::WouldBlock => LocalError::Timeout { path: path_buf() },
            _ => LocalError::Io {
                what: "connect to",
                path: path_buf(),
                source,
            },
        })?;
    let io = |source| LocalError::Io {
        what: "ask who serves",
        path: path_buf(),
        source,
    };
    socket::check_server(&stream, path)?;
    let (reading, writing) = stream.into_std().and_then(link::ends).map_err(io)?;
    let shared = Arc::new(Shared {
        service,
        probe: writing.probe(),
        outbox: Outbox::new(writing),
        state: Mutex::default(),
    });
    greeting(&shared.outbox, service, &client_hello(&options.software));
    let (greet, greeted) = oneshot::channel();
    let mut side = ClientSide {
        shared: Arc::clone(&shared),
        shares_processor: socket::share_processor(&shared.probe),
        greet: Some(greet),
    };
    let config = Drive {
        service,
        partial: Partial::new(usize::MAX),
        hello_by: until,
        drain_timeout: Duration::ZERO,
    };
    let driver = tokio::spawn(async move {
        let shared = Arc::clone(&side.shared);
        // However this task ends: no call waits for one that is gone.
        let _ended = EndOnDrop(Arc::clone(&shared));
        let end = drive(
            reading,
            &shared.outbox,
            &mut side,
            config,
            std::future::pending(),
        )
        .await;
        if let Some(greet) = side.greet.take() {
            // A connect that was given up needs no reason.
            let _ = greet.send(Err(end));
        }
    })
    .abort_handle();
    let client = Client {
        connection: Arc::new(Connection { shared, driver }),
    };
    match greeted.await {
        Ok(Ok(())) => Ok(client),
        Ok(Err(end)) => Err(end.of_connect(path)),
        Err(_) => Err(LocalError::NotRunning { path: path_buf() }),
    }
}

/// Who has an answer asks again, and these requests leave before more answers are handed over: the server, on another
/// processor, works on them meanwhile, instead of both sides waiting for each other in turn. It takes about as long to
/// hand over so many and to run who waits for them as to wake another processor; fewer would only be more writes, and
/// half of 128, a common number of calls at once, two more of them than this.
const FRAMES_PER_PART: usize = 72;

struct ClientSide {
    shared: Arc<Shared>,
    /// The server can only work when we do not.
    shares_processor: bool,
    greet: Option<oneshot::Sender<Result<(), End>>>,
}

impl Side for ClientSide {
    const READS_WHILE_FULL: bool = true;
    const LETS_RUN: bool = true;

    fn frames_per_turn(&self) -> usize {
        if self.shares_processor {
            FRAMES_PER_TURN
        } else {
            FRAMES_PER_PART
        }
    }

    fn arrived(&mut self, at: Instant) {
        self.shared.state().arrived = Some(at);
    }

    fn frame(&mut self, bytes: Bytes) -> Result<(), End> {
        match receive(self.shared.service, self.greet.is_none(), bytes)? {
            Received::Greeting(server) => {
                self.shared.outbox.announce(server.frame_bytes_max);
                self.shared.state().server = server;
                if let Some(greet) = self.greet.take() {
                    // A connect that was given up drops the client, which ends this connection.
                    let _ = greet.send(Ok(()));
                }
                Ok(())
            }
            Received::Answer { request_id, result } => self.finish(request_id, result),
            Received::Event { request_id, event } => self.event(request_id, event),
            Received::Ping { pong } => {
                self.shared.outbox.append(&pong, &[], &[])?;
                Ok(())
            }
            Received::Leaving { text } => {
                let mut state = self.shared.state();
                if state.ended.is_none() {
                    state.ended = Some(CallError::NotAccepted(text.into()));
                }
                Ok(())
            }
            Received::Nothing => Ok(()),
        }
    }

    fn greeted(&self) -> bool {
        self.greet.is_none()
    }

    fn stop(&mut self) {}

    fn is_idle(&self) -> bool {
        true
    }

    fn cut_off(&mut self) {}

    fn due(&self) -> Option<Instant> {
        self.shared.state().due
    }

    fn expire(&mut self) {
        let now = Instant::now();
        let mut cancelled = Vec::new();
        let mut state = self.shared.state();
        let earliest = state.slots.expire(now, |id| cancelled.push(id));
        state.due = earliest.map(|earliest| earliest.max(now + TICK));
        drop(state);
        for request_id in cancelled {
            self.shared.cancel(request_id);
        }
    }

    fn ended(&mut self, end: &End) {
        self.shared.end(end);
    }
}

impl ClientSide {
    fn finish(&self, request_id: u64, result: Result<Reply, CallError>) -> Result<(), End> {
        let mut state = self.shared.state();
        if !state.slots.was_given(request_id) {
            return Err(End::unasked(request_id));
        }
        state.slots.answered(request_id, result);
        Ok(())
    }

    fn event(&self, request_id: u64, event: Event) -> Result<(), End> {
        let mut state = self.shared.state();
        if !state.slots.was_given(request_id) {
            return Err(End::unasked(request_id));
        }
        if state.slots.event(request_id, event) {
            return Ok(());
        }
        let text = "an event without credit".into();
        Err(End::Refused(Status::BAD_CREDIT, text))
    }
}

/// Ends the calls of a connection whose driver is gone.
struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end(&End::Closed);
        self.0.outbox.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_alone_if_calls_were_not_many_the_last_time() {
        let mut state = State::default();
        let ask = |state: &mut State| {
            let id = state
                .slots
                .insert(Owner::call(), None)
                .expect("there is room");
            (id, state.is_alone())
        };
        let answer = |state: &mut State, id| {
            let result = Err(CallError::Deadline);
            state.slots.answered(id, result);
        };
        for _ in 0..3 {
            let (id, is_alone) = ask(&mut state);
            assert!(is_alone);
            answer(&mut state, id);
        }
        for _ in 0..3 {
            let asked: Vec<_> = (0..5).map(|_| ask(&mut state)).collect();
            assert!(asked.iter().skip(1).all(|(_, is_alone)| !is_alone));
            asked.iter().for_each(|(id, _)| answer(&mut state, *id));
        }
        // The first of many is no more alone than they are, and one that stays by itself is, from the second on.
        for expected in [false, true, true] {
            let (id, is_alone) = ask(&mut state);
            assert_eq!(is_alone, expected);
            answer(&mut state, id);
        }
    }
}
