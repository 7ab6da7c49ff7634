//! The calling side of a socket.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use mfn_wire::{ContentType, Header, Kind, Service, Status, limits};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::call::Reply;
use crate::driver::{Drive, End, Partial, Side, drive};
use crate::error::{CallError, LocalError};
use crate::frames::{Received, client_hello, greeting, receive, request_header};
use crate::outbox::Outbox;
use crate::{link, socket};

/// How to connect.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// How long connecting, HELLO included, may take.
    pub timeout: Duration,
    /// Name and version of the program, told to the server.
    pub software: String,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            software: concat!("mfn-local/", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub content_type: ContentType,
    pub body: Bytes,
    /// How long to wait; the server learns it and stops then. `None`: without end.
    pub deadline: Option<Duration>,
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
}

impl Request {
    /// A body of that type, no deadline.
    pub fn new(content_type: ContentType, body: impl Into<Bytes>) -> Self {
        Self {
            content_type,
            body: body.into(),
            deadline: None,
            trace_id: [0; 16],
            span_id: [0; 8],
        }
    }

    /// A message as body.
    pub fn message(message: &impl prost::Message) -> Self {
        Self::new(ContentType::Protobuf, message.encode_to_vec())
    }

    /// No body.
    pub fn empty() -> Self {
        Self::new(ContentType::None, Bytes::new())
    }

    /// The same with a deadline.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

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
    }
}

#[derive(Debug)]
struct Shared {
    service: Service,
    outbox: Outbox,
    next_id: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pending: HashMap<u64, Pending>,
    /// Why no call can be made any more.
    ended: Option<String>,
    /// Calls that the server takes at once.
    in_flight_max: usize,
    server_software: String,
}

#[derive(Debug)]
enum Pending {
    Call(oneshot::Sender<Result<Reply, CallError>>),
    /// Unbounded, but the server may send only what `allowed` counts.
    Stream {
        to: mpsc::UnboundedSender<Result<Item, CallError>>,
        allowed: u32,
    },
}

impl Pending {
    fn finish(self, result: Result<Reply, CallError>) {
        // A receiver that is gone wanted no answer.
        match self {
            Self::Call(to) => drop(to.send(result)),
            Self::Stream { to, .. } => drop(to.send(result.map(Item::Reply))),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all calls; later ones fail at once.
    fn end(&self, end: &End) {
        self.outbox.close();
        let mut state = self.state();
        let text = state.ended.get_or_insert_with(|| end.text()).clone();
        let pending = std::mem::take(&mut state.pending);
        drop(state);
        for (_, pending) in pending {
            pending.finish(Err(CallError::Closed(text.clone())));
        }
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
        let (to, answer) = oneshot::channel();
        let deadline = request.deadline;
        let flight = self.send(method, request, 0, Pending::Call(to))?;
        let result = within(deadline, answer).await;
        flight.over(&result);
        match result {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(CallError::Closed("its task is gone".into())),
            None => Err(CallError::Deadline),
        }
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
        let until = request
            .deadline
            .and_then(|wait| Instant::now().checked_add(wait));
        let flight = self.send(
            method,
            request,
            credit,
            Pending::Stream {
                to,
                allowed: credit,
            },
        )?;
        Ok(Streaming {
            flight: Some(flight),
            items,
            credit,
            taken: 0,
            until,
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
        self.connection.shared.state().server_software.clone()
    }

    /// Whether new calls fail because the connection has ended or the server goes away.
    pub fn is_closed(&self) -> bool {
        self.connection.shared.state().ended.is_some()
    }

    fn send(
        &self,
        method: u16,
        request: Request,
        credit: u32,
        pending: Pending,
    ) -> Result<Flight, CallError> {
        let shared = &self.connection.shared;
        let request_id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let is_alone = {
            let mut state = shared.state();
            if let Some(text) = &state.ended {
                return Err(CallError::Closed(text.clone()));
            }
            if state.pending.len() >= state.in_flight_max {
                return Err(CallError::Busy(
                    u32::try_from(state.in_flight_max).unwrap_or(u32::MAX),
                ));
            }
            state.pending.insert(request_id, pending);
            state.pending.len() == 1
        };
        let header = request_header(shared.service, method, request_id, &request, credit);
        let flight = Flight {
            connection: Arc::clone(&self.connection),
            request_id,
            is_over: false,
        };
        // Alone, the caller waits for nothing but this frame. Among others, one write of the driver serves many.
        let pushed = if is_alone {
            shared.outbox.push_now(&header, &request.body).map(|done| {
                if !done {
                    shared.outbox.ring();
                }
            })
        } else {
            shared.outbox.push(&header, &[], &request.body)
        };
        match pushed {
            Ok(()) => Ok(flight),
            Err(error) => {
                shared.state().pending.remove(&request_id);
                flight.over(&Some(()));
                Err(CallError::Request(error))
            }
        }
    }
}

/// Waits, if there is a deadline not longer than that.
async fn within<F: Future>(deadline: Option<Duration>, future: F) -> Option<F::Output> {
    match deadline {
        None => Some(future.await),
        Some(deadline) => tokio::time::timeout(deadline, future).await.ok(),
    }
}

/// A request under way. Dropped before its answer, it tells the server to stop.
#[derive(Debug)]
struct Flight {
    connection: Arc<Connection>,
    request_id: u64,
    is_over: bool,
}

impl Flight {
    /// An answer came: there is nothing to cancel.
    fn over<T>(mut self, answer: &Option<T>) {
        self.is_over = answer.is_some();
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let shared = &self.connection.shared;
        if shared.state().pending.remove(&self.request_id).is_some() {
            let header = Header {
                request_id: self.request_id,
                ..Header::new(Kind::Cancel, shared.service)
            };
            // It fits by construction.
            let _ = shared.outbox.push(&header, &[], &[]);
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
    until: Option<Instant>,
    method: u16,
}

impl Streaming {
    /// The next event, then the reply or an error, then `None`. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<Item, CallError>> {
        self.flight.as_ref()?;
        let received = match self.until {
            None => self.items.recv().await,
            Some(until) => match tokio::time::timeout_at(until, self.items.recv()).await {
                Ok(received) => received,
                Err(_) => {
                    // Dropped, it tells the server.
                    self.flight = None;
                    return Some(Err(CallError::Deadline));
                }
            },
        };
        match received {
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
        if let Some(flight) = self.flight.take() {
            flight.over(&Some(()));
        }
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
        if let Some(Pending::Stream { allowed, .. }) =
            shared.state().pending.get_mut(&flight.request_id)
        {
            *allowed += credit;
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
        outbox: Outbox::new(writing),
        next_id: AtomicU64::new(1),
        state: Mutex::default(),
    });
    greeting(&shared.outbox, service, &client_hello(&options.software));
    let (greet, greeted) = oneshot::channel();
    let mut side = ClientSide {
        shared: Arc::clone(&shared),
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
        let end = drive(
            reading,
            &shared.outbox,
            &mut side,
            config,
            std::future::pending(),
        )
        .await;
        shared.end(&end);
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

struct ClientSide {
    shared: Arc<Shared>,
    greet: Option<oneshot::Sender<Result<(), End>>>,
}

impl Side for ClientSide {
    const READS_WHILE_FULL: bool = true;

    fn frame(&mut self, bytes: Bytes) -> Result<(), End> {
        match receive(self.shared.service, self.greet.is_none(), bytes)? {
            Received::Greeting {
                in_flight_max,
                software,
            } => {
                let mut state = self.shared.state();
                state.in_flight_max = in_flight_max;
                state.server_software = software;
                drop(state);
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
                self.shared.state().ended.get_or_insert_with(|| text.into());
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
}

impl ClientSide {
    /// An id that was never given out breaks the wire; one whose call was dropped is let go.
    fn check_id(&self, request_id: u64) -> Result<(), End> {
        if request_id < self.shared.next_id.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(End::unasked(request_id))
    }

    fn finish(&self, request_id: u64, result: Result<Reply, CallError>) -> Result<(), End> {
        self.check_id(request_id)?;
        let pending = self.shared.state().pending.remove(&request_id);
        if let Some(pending) = pending {
            pending.finish(result);
        }
        Ok(())
    }

    fn event(&self, request_id: u64, event: Event) -> Result<(), End> {
        self.check_id(request_id)?;
        match self.shared.state().pending.get_mut(&request_id) {
            None => Ok(()),
            Some(Pending::Stream { to, allowed }) if *allowed > 0 => {
                *allowed -= 1;
                // A receiver that is gone has cancelled.
                let _ = to.send(Ok(Item::Event(event)));
                Ok(())
            }
            Some(_) => Err(End::Refused(
                Status::BAD_CREDIT,
                "an event without credit".into(),
            )),
        }
    }
}
