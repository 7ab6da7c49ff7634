//! Few connections to one socket for many callers, and a breaker for each method.
//!
//! Calls share connections, so a pool is small: a second one is opened only when the first is busy. Whoever calls gets the
//! least loaded. Connecting happens beside the callers, who wait for it no longer than their deadlines. A socket that does
//! not answer is told to callers at once, and tried again after pauses with jitter.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mfn_wire::{Service, Status};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::breaker::shared::Shared as SharedBreaker;
use crate::breaker::{BreakerOptions, BreakerState, Outcome, Permit};
use crate::call::Reply;
use crate::client::{Client, Item, Streaming};
use crate::error::CallError;
use crate::request::{ConnectOptions, Request};
use crate::{clock, trace};

/// The room of a call that was given up comes with the server's answer, which wakes nobody: who waits looks again.
pub(crate) const ROOM_AGAIN: Duration = Duration::from_millis(20);

/// What a pool may do.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    pub path: PathBuf,
    pub service: Service,
    pub connect: ConnectOptions,
    /// Most connections.
    pub connections_max: usize,
    /// Calls in flight on every connection before another one is opened.
    pub share: usize,
    /// An older connection takes no new calls.
    pub age_max: Duration,
    /// Most callers that wait for a connection; more are told BUSY.
    pub waiting_max: usize,
    /// Whether callers wait, as long as their deadlines allow, for a socket that is not served yet.
    pub wait_ready: bool,
    /// Of each method.
    pub breaker: BreakerOptions,
}

impl PoolOptions {
    /// The defaults for a socket.
    pub fn new(service: Service, path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            service,
            connect: ConnectOptions::default(),
            connections_max: 2,
            share: 256,
            age_max: Duration::from_secs(15 * 60),
            waiting_max: 4_096,
            wait_ready: false,
            breaker: BreakerOptions::default(),
        }
    }
}

/// Of the breaker that guards connecting: one failure is enough, one success ends it.
pub(crate) fn connecting() -> BreakerOptions {
    BreakerOptions {
        calls_min: 1,
        failed_share_max: 0.0,
        slow_share_max: 1.0,
        probes: 1,
        pause_first: Duration::from_millis(20),
        pause_max: Duration::from_secs(1),
        ..BreakerOptions::default()
    }
}

/// A connection that was not used for so long is looked at before it is used: the other side may be gone.
pub(crate) const IDLE: Duration = Duration::from_millis(10);
/// Connections to which a call goes that none took.
pub(crate) const TRIES: usize = 3;
/// Methods with a breaker of their own; the others share the last.
const BREAKERS_MAX: usize = 256;
/// Waits at least so long before it looks for a socket again.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// The connections to one socket. Cheap to clone. Needs a tokio runtime.
#[derive(Clone, Debug)]
pub struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: PoolOptions,
    state: Mutex<State>,
    /// Rung when a connection came, could not come, or has room again.
    changed: Notify,
    /// Guards connecting.
    peer: SharedBreaker,
    counters: Counters,
    /// Callers that wait; changed under the lock of the state.
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    connections: Vec<Pooled>,
    is_connecting: bool,
    /// Failed connects, and what the last one said.
    failures: u64,
    failure: String,
    breakers: Vec<(u16, Arc<SharedBreaker>)>,
}

#[derive(Debug)]
struct Pooled {
    client: Client,
    opened: Instant,
    used: Instant,
    /// Calls in flight and the most of them, at the last look.
    load: (usize, usize),
}

#[derive(Debug, Default)]
struct Counters {
    calls: AtomicU64,
    repeated: AtomicU64,
    refused: AtomicU64,
    opened: AtomicU64,
    failed: AtomicU64,
    retired: AtomicU64,
}

/// What a pool has done and holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolStats {
    pub service: Service,
    pub path: PathBuf,
    pub connections: usize,
    pub in_flight: usize,
    pub waiting: usize,
    pub calls: u64,
    /// Made again because a server that went away had not taken them.
    pub repeated: u64,
    /// Refused by a breaker.
    pub refused: u64,
    pub opened: u64,
    pub failed: u64,
    /// Taken out of use: too old, or gone.
    pub retired: u64,
    /// The breaker of connecting.
    pub peer: BreakerState,
    /// The breakers of methods.
    pub methods: Vec<(u16, BreakerState)>,
}

impl Pool {
    /// A pool without connections: the first call opens one.
    pub fn new(options: PoolOptions) -> Self {
        Self {
            inner: Arc::new(Inner {
                options,
                state: Mutex::default(),
                changed: Notify::new(),
                peer: SharedBreaker::new(connecting()),
                counters: Counters::default(),
                waiting: AtomicUsize::new(0),
            }),
        }
    }

    /// Asks, and waits for the reply. A call that a server on its way out did not take is made again; any other happens at
    /// most once.
    pub async fn call(&self, method: u16, request: Request) -> Result<Reply, CallError> {
        self.inner.counters.calls.fetch_add(1, Ordering::Relaxed);
        let mut watch = Watch::new(&self.inner, method)?;
        let mut now = watch.started;
        let mut tries = 0;
        let mut arrived = None;
        let result = loop {
            tries += 1;
            let (client, now_there) = match self.checkout(now, request.deadline).await {
                Ok(found) => found,
                Err(error) => break Err(error),
            };
            let answer = client.call_at(now_there, method, &request).await;
            let result = answer.and_then(|answer| {
                arrived = answer.arrived;
                answer.result
            });
            match result {
                Err(CallError::NotAccepted(_) | CallError::Busy(_)) if tries < TRIES => {
                    self.again();
                    now = Instant::now();
                }
                result => break result,
            }
        };
        match &result {
            Ok(_) => watch.succeeded(arrived),
            Err(error) => watch.outcome(outcome(error)),
        }
        result
    }

    /// Asks for a streamed answer, as [`Client::stream`].
    pub async fn stream(
        &self,
        method: u16,
        request: Request,
        credit: u32,
    ) -> Result<PooledStreaming, CallError> {
        self.inner.counters.calls.fetch_add(1, Ordering::Relaxed);
        let mut watch = Watch::new(&self.inner, method)?;
        // A stream lasts as long as it has something to say.
        watch.is_timed = false;
        let mut tries = 0;
        loop {
            tries += 1;
            let started = match self.checkout(watch.started, request.deadline).await {
                Ok((client, _)) => client.stream(method, request.clone(), credit).await,
                Err(error) => Err(error),
            };
            match started {
                Ok(streaming) => return Ok(PooledStreaming { streaming, watch }),
                Err(CallError::NotAccepted(_) | CallError::Busy(_)) if tries < TRIES => {
                    self.again();
                }
                Err(error) => {
                    watch.outcome(outcome(&error));
                    return Err(error);
                }
            }
        }
    }

    /// Asks with a message, answers with one.
    pub async fn ask<Q: prost::Message, A: prost::Message + Default>(
        &self,
        method: u16,
        question: &Q,
        deadline: Duration,
    ) -> Result<A, CallError> {
        let request = Request::message(question).within(deadline);
        let reply = self.call(method, request).await?;
        A::decode(reply.body).map_err(|error| CallError::Answer(error.to_string()))
    }

    /// What it has done and holds.
    pub fn stats(&self) -> PoolStats {
        let inner = &self.inner;
        let state = inner.state();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PoolStats {
            service: inner.options.service,
            path: inner.options.path.clone(),
            connections: state.connections.len(),
            in_flight: state
                .connections
                .iter()
                .map(|pooled| pooled.client.load().0)
                .sum(),
            waiting: inner.waiting.load(Ordering::Relaxed),
            calls: count(&inner.counters.calls),
            repeated: count(&inner.counters.repeated),
            refused: count(&inner.counters.refused),
            opened: count(&inner.counters.opened),
            failed: count(&inner.counters.failed),
            retired: count(&inner.counters.retired),
            peer: inner.peer.state(),
            methods: state
                .breakers
                .iter()
                .map(|(method, breaker)| (*method, breaker.state()))
                .collect(),
        }
    }

    fn again(&self) {
        self.inner.counters.repeated.fetch_add(1, Ordering::Relaxed);
    }

    /// The least loaded connection that is well, and when it was found.
    async fn checkout(
        &self,
        mut now: Instant,
        deadline: Option<std::time::Instant>,
    ) -> Result<(Client, Instant), CallError> {
        let deadline = deadline.map(Instant::from_std);
        // The common case needs no wait prepared.
        match self.inner.look(now, &mut None) {
            Look::Connection(client) => return Ok((client, now)),
            Look::Failed(error) if !self.inner.options.wait_ready => return Err(error),
            Look::Failed(_) | Look::Wait => {}
        }
        let mut seen = None;
        loop {
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that no change in between is missed.
            changed.as_mut().enable();
            match self.inner.look(now, &mut seen) {
                Look::Connection(client) => return Ok((client, now)),
                Look::Failed(error) if !self.inner.options.wait_ready => return Err(error),
                Look::Failed(error) => {
                    let retry_in = match &error {
                        CallError::Open { retry_in, .. } => *retry_in,
                        _ => Duration::ZERO,
                    };
                    let until = Instant::now() + retry_in.max(LOOK_AGAIN);
                    if deadline.is_some_and(|deadline| deadline <= until) {
                        tokio::time::sleep_until(deadline.unwrap_or(until)).await;
                        return Err(CallError::Deadline);
                    }
                    tokio::time::sleep_until(until).await;
                    seen = None;
                }
                Look::Wait => {
                    let _waits = Waits::new(&self.inner)?;
                    let again = Instant::now() + ROOM_AGAIN;
                    let until = deadline.map_or(again, |deadline| deadline.min(again));
                    let is_over = tokio::time::timeout_at(until, changed).await.is_err();
                    if is_over && deadline.is_some_and(|deadline| deadline <= until) {
                        return Err(CallError::Deadline);
                    }
                }
            }
            now = Instant::now();
        }
    }
}

/// What a look at the connections finds.
enum Look {
    Connection(Client),
    Wait,
    Failed(CallError),
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call is over: who waits for room may have it.
    fn room(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.changed.notify_one();
        }
    }

    /// Looks for a connection; opens one beside the callers where that helps. `seen`: failures before this caller came.
    fn look(self: &Arc<Self>, now: Instant, seen: &mut Option<u64>) -> Look {
        let mut state = self.state();
        let before = state.connections.len();
        state.connections.retain_mut(|pooled| {
            let is_idle = now.saturating_duration_since(pooled.used) > IDLE;
            let Some(load) = pooled.client.load_if_open() else {
                return false;
            };
            pooled.load = load;
            now.saturating_duration_since(pooled.opened) < self.options.age_max
                && !(is_idle && pooled.client.has_hung_up())
        });
        let gone = (before - state.connections.len()) as u64;
        self.counters.retired.fetch_add(gone, Ordering::Relaxed);
        let can_open =
            state.connections.len() < self.options.connections_max.max(1) && !state.is_connecting;
        let least = state
            .connections
            .iter_mut()
            .min_by_key(|pooled| pooled.load.0);
        if let Some(pooled) = least
            && let (in_flight, most) = pooled.load
            && in_flight < most
        {
            pooled.used = now;
            let client = pooled.client.clone();
            if can_open && in_flight >= self.options.share {
                // Refused by the breaker, the one there is will do.
                let _ = self.open(&mut state);
            }
            return Look::Connection(client);
        }
        let seen = *seen.get_or_insert(state.failures);
        if state.failures > seen && !state.is_connecting && state.connections.is_empty() {
            return Look::Failed(CallError::Unreachable(state.failure.clone()));
        }
        if can_open && let Err(error) = self.open(&mut state) {
            // Connections that are full do not hide behind the one that does not come.
            if state.connections.is_empty() {
                return Look::Failed(error);
            }
        }
        Look::Wait
    }

    /// Starts to connect.
    fn open(self: &Arc<Self>, state: &mut State) -> Result<(), CallError> {
        let permit = match self.peer.admit(clock::monotonic_ns) {
            Ok(permit) => permit,
            Err(refused) => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                return Err(CallError::Open {
                    reason: state.failure.clone(),
                    retry_in: refused.retry_in,
                });
            }
        };
        state.is_connecting = true;
        let connecting = Connecting {
            inner: Arc::clone(self),
            permit,
            result: None,
        };
        tokio::spawn(async move {
            let options = &connecting.inner.options;
            let made =
                Client::connect(&options.path, options.service, options.connect.clone()).await;
            connecting.over(made.map_err(|error| error.to_string()));
        });
        Ok(())
    }
}

/// Reports what came of connecting, also when its task is dropped.
struct Connecting {
    inner: Arc<Inner>,
    permit: Permit,
    result: Option<Result<Client, String>>,
}

impl Connecting {
    fn over(mut self, result: Result<Client, String>) {
        self.result = Some(result);
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        let inner = &self.inner;
        let outcome = match &self.result {
            Some(Ok(_)) => Outcome::Succeeded,
            Some(Err(_)) => Outcome::Failed,
            None => Outcome::Unknown,
        };
        let (now, dice) = (clock::monotonic_ns(), trace::random());
        inner
            .peer
            .record(self.permit, now, outcome, Duration::ZERO, dice);
        let mut state = inner.state();
        state.is_connecting = false;
        match self.result.take() {
            Some(Ok(client)) => {
                inner.counters.opened.fetch_add(1, Ordering::Relaxed);
                let now = Instant::now();
                state.connections.push(Pooled {
                    client,
                    opened: now,
                    used: now,
                    load: (0, 0),
                });
            }
            Some(Err(text)) => {
                inner.counters.failed.fetch_add(1, Ordering::Relaxed);
                state.failures += 1;
                state.failure = text;
            }
            None => {}
        }
        drop(state);
        inner.changed.notify_waiters();
    }
}

/// Counts one who waits.
struct Waits<'a>(&'a Inner);

impl<'a> Waits<'a> {
    fn new(inner: &'a Inner) -> Result<Self, CallError> {
        // Held, so that no more come in than may.
        let state = inner.state();
        if inner.waiting.load(Ordering::Relaxed) >= inner.options.waiting_max {
            let most = u32::try_from(inner.options.waiting_max).unwrap_or(u32::MAX);
            return Err(CallError::Busy(most));
        }
        inner.waiting.fetch_add(1, Ordering::Relaxed);
        drop(state);
        Ok(Self(inner))
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tells the method's breaker how a call ended, also when its caller gives up.
#[derive(Debug)]
struct Watch {
    inner: Arc<Inner>,
    breaker: Arc<SharedBreaker>,
    permit: Option<Permit>,
    started: Instant,
    is_timed: bool,
}

impl Watch {
    fn new(inner: &Arc<Inner>, method: u16) -> Result<Self, CallError> {
        let breaker = breaker_of(&mut inner.state().breakers, method, &inner.options.breaker);
        let permit = breaker.admit(clock::monotonic_ns).map_err(|refused| {
            inner.counters.refused.fetch_add(1, Ordering::Relaxed);
            let service = inner.options.service;
            let name = mfn_wire::method::name(service, method).unwrap_or("this method");
            CallError::Open {
                reason: format!("{name} of {} failed too often", service.name()),
                retry_in: refused.retry_in,
            }
        })?;
        Ok(Self {
            inner: Arc::clone(inner),
            breaker,
            permit: Some(permit),
            started: Instant::now(),
            is_timed: true,
        })
    }

    /// An answer came with the bytes that arrived then: they say the time, and not each call looks at the clock.
    fn succeeded(&mut self, arrived: Option<Instant>) {
        let now = arrived.unwrap_or_else(Instant::now);
        self.outcome_at(now, Outcome::Succeeded);
    }

    fn outcome(&mut self, outcome: Outcome) {
        if self.permit.is_some() {
            self.outcome_at(Instant::now(), outcome);
        }
    }

    fn outcome_at(&mut self, now: Instant, outcome: Outcome) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        let took = if self.is_timed {
            now.saturating_duration_since(self.started)
        } else {
            Duration::ZERO
        };
        let dice = if outcome == Outcome::Succeeded {
            0
        } else {
            trace::random()
        };
        self.breaker
            .record(permit, clock::ns_of(now.into_std()), outcome, took, dice);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.outcome(Outcome::Unknown);
        self.inner.room();
    }
}

/// What an error says of the other side. That nothing was reached is the peer's breaker's to count.
pub(crate) fn outcome(error: &CallError) -> Outcome {
    match error {
        CallError::Closed(_) | CallError::Deadline | CallError::Answer(_) => Outcome::Failed,
        CallError::Failed { status, .. }
            if status.is_retryable() || matches!(status.class(), "internal" | "peer") =>
        {
            match *status {
                // It answers; there is only nothing to serve yet, or too much to do for one caller.
                Status::NOT_READY => Outcome::Succeeded,
                _ => Outcome::Failed,
            }
        }
        CallError::Failed {
            status: Status::CANCELLED,
            ..
        } => Outcome::Unknown,
        CallError::Failed { .. } => Outcome::Succeeded,
        _ => Outcome::Unknown,
    }
}

/// The breaker of a method, made if there is none.
pub(crate) fn breaker_of(
    breakers: &mut Vec<(u16, Arc<SharedBreaker>)>,
    method: u16,
    options: &BreakerOptions,
) -> Arc<SharedBreaker> {
    if let Some((_, breaker)) = breakers.iter().find(|(known, _)| *known == method) {
        return Arc::clone(breaker);
    }
    if breakers.len() >= BREAKERS_MAX
        && let Some((_, last)) = breakers.last()
    {
        return Arc::clone(last);
    }
    let breaker = Arc::new(SharedBreaker::new(*options));
    breakers.push((method, Arc::clone(&breaker)));
    breaker
}

/// A streamed answer whose end the breaker hears of.
#[derive(Debug)]
pub struct PooledStreaming {
    streaming: Streaming,
    watch: Watch,
}

impl PooledStreaming {
    /// As [`Streaming::next`].
    pub async fn next(&mut self) -> Option<Result<Item, CallError>> {
        let item = self.streaming.next().await;
        match &item {
            Some(Ok(Item::Reply(_))) => self.watch.outcome(Outcome::Succeeded),
            Some(Err(error)) => self.watch.outcome(outcome(error)),
            Some(Ok(Item::Event(_))) | None => {}
        }
        item
    }
}
