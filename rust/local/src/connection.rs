//! One connection of a server: what its frames mean, and the calls under way.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use mfn_wire::{ContentType, Header, Hello, Kind, Status, flag, limits};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::call::{Call, EventSink, Reply};
use crate::driver::{Drive, End, FRAMES_PER_TURN, Side, cut, drive};
use crate::error::Failure;
use crate::frames::greeting;
use crate::input::tail;
use crate::outbox::{Lane, Outbox};
use crate::server::{Answering, ServerStats, Shared};
use crate::socket::PeerCredentials;
use crate::trace::{Hex, Trace};
use crate::{BoxFuture, clock, link};

/// Counts a connection out, however its task ends.
struct Leave<'a>(&'a Shared);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.stats.connections.fetch_sub(1, Ordering::Relaxed);
        self.0.ended.notify_one();
    }
}

pub(crate) async fn connection(
    stream: UnixStream,
    peer: PeerCredentials,
    shared: Arc<Shared>,
    mut stopping: watch::Receiver<bool>,
) {
    let _leave = Leave(&shared);
    let (reading, writing) = match link::ends(stream) {
        Ok(ends) => ends,
        Err(error) => {
            tracing::warn!(socket = %shared.config.path.display(), %error, "cannot wait for a connection");
            return;
        }
    };
    let outbox = Arc::new(Outbox::new(writing));
    let limits = shared.config.limits;
    let mut side = ServerSide {
        shared: &shared,
        peer,
        outbox: Arc::clone(&outbox),
        greeted: false,
        stopping: false,
        now: Instant::now(),
        unlooked: 0,
        calls: Arc::default(),
        spare: Vec::new(),
    };
    side.hello();
    let config = Drive {
        service: shared.config.service,
        partial: Arc::clone(&shared.partial),
        hello_by: Instant::now() + limits.hello_timeout,
        drain_timeout: limits.drain_timeout,
    };
    let stop = async move {
        // The sender lives as long as the accept loop; without it, it is time to stop as well.
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    let end = drive(reading, &outbox, &mut side, config, stop).await;
    if let End::Refused(status, text) = &end {
        shared.stats.violations.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(socket = %shared.config.path.display(), pid = peer.pid, %status, text, "connection refused");
    }
}

/// A call that was not ready at once.
#[derive(Debug)]
struct Running {
    events: EventSink,
    task: AbortHandle,
}

impl Running {
    fn stop(&self) {
        self.events.cancel();
        self.task.abort();
    }
}

type Calls = Mutex<HashMap<u64, Running>>;

fn calls(calls: &Calls) -> MutexGuard<'_, HashMap<u64, Running>> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

struct ServerSide<'a> {
    shared: &'a Arc<Shared>,
    peer: PeerCredentials,
    outbox: Arc<Outbox>,
    greeted: bool,
    stopping: bool,
    /// The clock at the last look, and how many requests came since.
    now: Instant,
    unlooked: u32,
    calls: Arc<Calls>,
    /// Of calls that are over, for those to come.
    spare: Vec<EventSink>,
}

/// As many calls of one connection may be answered at once in one turn without an allocation.
const SPARE_MAX: usize = 16;
/// Requests whose deadlines one look at the clock serves, when their bytes arrived together.
const REQUESTS_PER_LOOK: u32 = 16;

impl Side for ServerSide<'_> {
    const READS_WHILE_FULL: bool = false;
    const LETS_RUN: bool = false;

    /// Most answers are ready at once, and cost less than the write that would bring a part of them earlier.
    fn frames_per_turn(&self) -> usize {
        FRAMES_PER_TURN
    }

    fn arrived(&mut self, at: Instant) {
        self.now = at;
        self.unlooked = 0;
    }

    fn frame(&mut self, bytes: Bytes) -> Result<(), End> {
        let frame = mfn_wire::decode(&bytes)?;
        let header = frame.header;
        if header.service != self.shared.config.service {
            let text = format!(
                "this socket serves {}, not {}; connect to {}",
                self.shared.config.service.name(),
                header.service.name(),
                header.service.socket_name(),
            );
            return Err(End::Refused(Status::UNEXPECTED_FRAME, text));
        }
        if !self.greeted {
            if header.kind != Kind::Hello {
                return Err(unexpected("HELLO comes first"));
            }
            self.greeted = true;
            self.outbox.announce(Hello::of(frame.tlv).frame_bytes_max);
            return Ok(());
        }
        match header.kind {
            Kind::Request => {
                let body_bytes = frame.body.len();
                self.request(header, tail(bytes, body_bytes))
            }
            Kind::Cancel => {
                self.cancel(header.request_id);
                Ok(())
            }
            Kind::Credit => match calls(&self.calls).get(&header.request_id) {
                // Its call may just have ended.
                None => Ok(()),
                Some(call) if call.events.allow(header.credit) => Ok(()),
                Some(_) => Err(End::Refused(
                    Status::BAD_CREDIT,
                    "more credit than the wire allows".into(),
                )),
            },
            Kind::Ping => {
                let pong = Header {
                    request_id: header.request_id,
                    ..Header::new(Kind::Pong, header.service)
                };
                self.outbox.append(&pong, &[], &[])?;
                Ok(())
            }
            Kind::Goaway => Ok(()),
            Kind::Error if header.request_id == 0 => Err(End::Told(
                header.status,
                String::from_utf8_lossy(frame.body).into_owned(),
            )),
            Kind::Hello => Err(unexpected("HELLO comes once")),
            Kind::Reply | Kind::Error | Kind::Event | Kind::Pong => {
                Err(unexpected("a server asks nothing"))
            }
        }
    }

    fn greeted(&self) -> bool {
        self.greeted
    }

    fn stop(&mut self) {
        self.stopping = true;
        let header = Header::new(Kind::Goaway, self.shared.config.service);
        // It fits by construction.
        let _ = self.outbox.append(&header, &[], &[]);
    }

    fn is_idle(&self) -> bool {
        calls(&self.calls).is_empty()
    }

    fn cut_off(&mut self) {
        let cut: Vec<Running> = calls(&self.calls).drain().map(|(_, call)| call).collect();
        for call in cut {
            call.stop();
            let text = "the program stopped before the answer was ready";
            let failure = Failure::new(Status::DEADLINE, text);
            answer(&self.outbox, &self.shared.stats, &call.events, Err(failure));
        }
    }

    /// The task of each call minds its own.
    fn due(&self) -> Option<Instant> {
        None
    }

    fn expire(&mut self) {}

    fn ended(&mut self, _end: &End) {
        for (_, call) in calls(&self.calls).drain() {
            call.stop();
        }
    }
}

fn unexpected(text: &str) -> End {
    End::Refused(Status::UNEXPECTED_FRAME, text.into())
}

/// Says how a call ended. What does not fit a frame becomes an error that says so. `true`: the driver must be told, if this
/// is not it.
fn answer(
    outbox: &Outbox,
    stats: &ServerStats,
    events: &EventSink,
    result: Result<Reply, Failure>,
) -> bool {
    // CLOSED says that nothing of the call was done, which a handler cannot say of its own call.
    let result = result.map_err(|failure| match failure.status {
        Status::CLOSED => Failure::new(Status::UNREACHABLE, failure.text),
        _ => failure,
    });
    answer_to(outbox, stats, events.request(), events.lane(), result)
}

fn answer_to(
    outbox: &Outbox,
    stats: &ServerStats,
    request: &Header,
    lane: Lane,
    result: Result<Reply, Failure>,
) -> bool {
    let header = Header {
        method: request.method,
        request_id: request.request_id,
        trace_id: request.trace_id,
        span_id: request.span_id,
        ..Header::new(Kind::Reply, request.service)
    };
    let failure = match result {
        Ok(Reply { content_type, body }) => {
            let content_type = if body.is_empty() {
                ContentType::None
            } else {
                content_type
            };
            let header = Header {
                content_type,
                ..header
            };
            match outbox.append_to(lane, &header, &[], &body) {
                Ok(first) => return first,
                Err(error) => {
                    // Too long is the caller's to mend; what else is wrong with an answer is not.
                    let status = match error.status() {
                        Status::FRAME_TOO_LARGE => Status::FRAME_TOO_LARGE,
                        _ => Status::INTERNAL,
                    };
                    Failure::new(status, format!("the answer cannot be sent: {error}"))
                }
            }
        }
        Err(failure) => failure,
    };
    stats.errors.fetch_add(1, Ordering::Relaxed);
    let status = if failure.status.0 < 0 {
        failure.status
    } else {
        Status::INTERNAL
    };
    let header = Header {
        kind: Kind::Error,
        content_type: ContentType::Text,
        status,
        ..header
    };
    // It fits by construction.
    let text = cut(&failure.text).as_bytes();
    outbox
        .append_to(lane, &header, &[], text)
        .unwrap_or_default()
}

impl ServerSide<'_> {
    fn hello(&self) {
        let config = &self.shared.config;
        let hello = Hello {
            features: 0,
            frame_bytes_max: limits::FRAME_BYTES_MAX,
            requests_in_flight_max: config.limits.requests_in_flight_max,
            connections_max: config.limits.connections_max,
            software: &config.software,
        };
        greeting(&self.outbox, config.service, &hello);
    }

    fn request(&mut self, header: Header, body: Bytes) -> Result<(), End> {
        let stats = &self.shared.stats;
        stats.requests.fetch_add(1, Ordering::Relaxed);
        let refuse = |status, text: &str| {
            let failure = Failure::new(status, text);
            answer_to(&self.outbox, stats, &header, Lane::Main, Err(failure));
            Ok(())
        };
        {
            let running = calls(&self.calls);
            if running.contains_key(&header.request_id) {
                return Err(End::Refused(
                    Status::BAD_REQUEST_ID,
                    "this request id is in flight already".into(),
                ));
            }
            if running.len() >= self.shared.config.limits.requests_in_flight_max as usize {
                return refuse(
                    Status::BUSY,
                    "as many requests are in flight as HELLO allowed; wait for an answer",
                );
            }
        }
        if self.stopping {
            return refuse(
                Status::CLOSED,
                "the program is stopping; connect again when it is back",
            );
        }
        self.unlooked += 1;
        if self.unlooked > REQUESTS_PER_LOOK {
            (self.now, self.unlooked) = (Instant::now(), 0);
        }
        let deadline = clock::instant(header.deadline_ns);
        if deadline.is_some_and(|deadline| deadline <= self.now) {
            return refuse(
                Status::DEADLINE,
                "the deadline had passed when the request arrived",
            );
        }
        let events = self
            .spare
            .pop()
            .and_then(|spare| spare.renewed(&header, &self.outbox))
            .unwrap_or_else(|| EventSink::new(&header, &self.outbox));
        let trace = Trace {
            trace_id: header.trace_id,
            span_id: header.span_id,
            sampled: header.flags & flag::SAMPLED != 0,
        };
        let call = Call {
            method: header.method,
            content_type: header.content_type,
            body,
            deadline,
            peer: self.peer,
            trace,
            events: events.clone(),
        };
        let span = span(&header, &trace);
        let entered = span.enter();
        let started = caught(|| self.shared.handler.answer(call));
        let begun = match started {
            None => Err(Err(panicked())),
            Some(Answering::Now(result)) => Err(result),
            // Most answers are ready at once: no task, and the reply goes out with this turn's write. What is not ready
            // is polled again by its task, so the wake-up that this waker would lose is not needed.
            Some(Answering::Later(mut future)) => {
                match poll_caught(&mut future, &mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(result) => Err(result),
                    Poll::Pending => Ok(future),
                }
            }
        };
        drop(entered);
        match begun {
            Err(result) => {
                answer(&self.outbox, stats, &events, result);
                self.keep(events);
            }
            Ok(future) => self.spawn(future, deadline, events, span),
        }
        Ok(())
    }

    /// Keeps what a call needed for the next one, unless its handler still holds it.
    fn keep(&mut self, mut events: EventSink) {
        if self.spare.len() < SPARE_MAX && events.is_alone() {
            self.spare.push(events);
        }
    }

    fn spawn(
        &self,
        mut future: BoxFuture<Result<Reply, Failure>>,
        deadline: Option<Instant>,
        events: EventSink,
        span: tracing::Span,
    ) {
        let (outbox, all, shared) = (
            Arc::clone(&self.outbox),
            Arc::clone(&self.calls),
            Arc::clone(self.shared),
        );
        let call = events.clone();
        // The map is locked until the call is in it: its task cannot end before.
        let mut running = calls(&self.calls);
        let task = tokio::spawn(async move {
            let work =
                std::future::poll_fn(|context| span.in_scope(|| poll_caught(&mut future, context)));
            let result = match deadline {
                None => work.await,
                Some(deadline) => tokio::time::timeout_at(deadline, work)
                    .await
                    .unwrap_or_else(|_| {
                        call.cancel();
                        Err(Failure::new(
                            Status::DEADLINE,
                            "the deadline passed before the answer was ready",
                        ))
                    }),
            };
            drop(future);
            outbox.room(call.lane()).await;
            // Whoever takes it out of the map answers: this task, or the one that cancels.
            if calls(&all).remove(&call.request().request_id).is_some()
                && answer(&outbox, &shared.stats, &call, result)
            {
                outbox.ring();
            }
        })
        .abort_handle();
        running.insert(events.request().request_id, Running { events, task });
    }

    fn cancel(&self, request_id: u64) {
        let Some(call) = calls(&self.calls).remove(&request_id) else {
            return;
        };
        call.stop();
        let failure = Failure::new(Status::CANCELLED, "the caller cancelled the request");
        answer(&self.outbox, &self.shared.stats, &call.events, Err(failure));
    }
}

/// What logs of a call show: always for a sampled trace, else with debug logs only.
fn span(header: &Header, trace: &Trace) -> tracing::Span {
    let service = header.service.name();
    macro_rules! span {
        ($level:expr) => {
            tracing::span!(
                $level,
                "call",
                service,
                method = mfn_wire::method::name(header.service, header.method)
                    .unwrap_or("unknown"),
                trace = %Hex(&trace.trace_id),
                span = %Hex(&trace.span_id),
            )
        };
    }
    if trace.sampled {
        span!(tracing::Level::INFO)
    } else {
        span!(tracing::Level::DEBUG)
    }
}

/// A panic of the handler is an answer, not the end of the other calls. `None`: it panicked.
fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).ok()
}

fn panicked() -> Failure {
    Failure::new(
        Status::INTERNAL,
        "the handler failed; its log says why; please report it",
    )
}

fn poll_caught(
    future: &mut BoxFuture<Result<Reply, Failure>>,
    context: &mut Context<'_>,
) -> Poll<Result<Reply, Failure>> {
    caught(|| future.as_mut().poll(context)).unwrap_or_else(|| Poll::Ready(Err(panicked())))
}
