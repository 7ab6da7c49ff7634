//! Few connections to one socket for many threads that block, and a breaker for each method: what [`crate::Pool`] is for
//! tasks. There is no thread of its own: the caller that needs a connection makes it, and others wait for it no longer than
//! their deadlines.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Client, Streaming};
use crate::breaker::shared::Shared as SharedBreaker;
use crate::breaker::{Outcome, Permit};
use crate::call::Reply;
use crate::client::Item;
use crate::error::{CallError, LocalError};
use crate::pool::{IDLE, PoolOptions, ROOM_AGAIN, TRIES, breaker_of, connecting, outcome};
use crate::request::{ConnectOptions, Request};
use crate::{clock, trace};

/// The connections to one socket.
#[derive(Debug)]
pub struct Pool {
    options: PoolOptions,
    state: Mutex<State>,
    /// A connection came, could not come, or has room again.
    changed: Condvar,
    /// Guards connecting.
    peer: SharedBreaker,
}

#[derive(Debug, Default)]
struct State {
    connections: Vec<Pooled>,
    is_connecting: bool,
    waiting: usize,
    /// What the last connect that failed said.
    failure: String,
    breakers: Vec<(u16, Arc<SharedBreaker>)>,
}

#[derive(Debug)]
struct Pooled {
    client: Arc<Client>,
    opened: Instant,
    used: Instant,
}

/// What a look at the connections finds.
enum Look {
    Connection(Arc<Client>),
    /// This caller connects.
    Connect(Permit),
    /// At most so long; then it looks again.
    Wait(Duration),
    Failed(CallError),
}

impl Pool {
    /// A pool without connections: the first call opens one.
    pub fn new(options: PoolOptions) -> Self {
        Self {
            options,
            state: Mutex::default(),
            changed: Condvar::new(),
            peer: SharedBreaker::new(connecting()),
        }
    }

    /// Asks, and waits for the reply, as [`Client::call`]. A call that a server on its way out did not take is made again;
    /// any other happens at most once.
    pub fn call(&self, tag: u64, method: u16, request: &Request) -> Result<Reply, CallError> {
        let mut watch = self.watch(method)?;
        let result = self.with(request, |client| client.call(tag, method, request));
        watch.over(match &result {
            Ok(_) => Outcome::Succeeded,
            Err(error) => outcome(error),
        });
        self.room();
        result
    }

    /// Asks for a streamed answer, as [`Client::stream`].
    pub fn stream(
        &self,
        tag: u64,
        method: u16,
        request: &Request,
        credit: u32,
    ) -> Result<PooledStreaming, CallError> {
        let mut watch = self.watch(method)?;
        // A stream lasts as long as it has something to say.
        watch.is_timed = false;
        match self.with(request, |client| {
            client.stream(tag, method, request, credit)
        }) {
            Ok(streaming) => Ok(PooledStreaming { streaming, watch }),
            Err(error) => {
                watch.over(outcome(&error));
                Err(error)
            }
        }
    }

    /// Ends the calls with that tag that are in flight, as [`Client::cancel`]. Says how many.
    pub fn cancel(&self, tag: u64) -> usize {
        let clients: Vec<Arc<Client>> = {
            let state = self.state();
            let all = state.connections.iter();
            all.map(|pooled| Arc::clone(&pooled.client)).collect()
        };
        clients.iter().map(|client| client.cancel(tag)).sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(
        &self,
        request: &Request,
        ask: impl Fn(&Arc<Client>) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match ask(&self.checkout(request.deadline)?) {
                Err(CallError::NotAccepted(_) | CallError::Busy(_)) if tries < TRIES => {}
                result => return result,
            }
        }
    }

    /// The least loaded connection that is well.
    fn checkout(&self, deadline: Option<Instant>) -> Result<Arc<Client>, CallError> {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Err(CallError::Deadline);
            }
            match self.look(&mut state, now) {
                Look::Connection(client) => return Ok(client),
                Look::Failed(error) => return Err(error),
                Look::Connect(permit) => {
                    drop(state);
                    let made = self.connect(permit, deadline);
                    state = self.state();
                    if let Err(error) = made
                        && state.connections.is_empty()
                        && !self.options.wait_ready
                    {
                        return Err(error);
                    }
                }
                Look::Wait(most) => {
                    if state.waiting >= self.options.waiting_max {
                        let most = u32::try_from(self.options.waiting_max).unwrap_or(u32::MAX);
                        return Err(CallError::Busy(most));
                    }
                    state.waiting += 1;
                    let left = deadline.map_or(most, |deadline| {
                        most.min(deadline.saturating_duration_since(now))
                    });
                    let waited = self.changed.wait_timeout(state, left);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                    state.waiting -= 1;
                }
            }
        }
    }

    fn look(&self, state: &mut State, now: Instant) -> Look {
        state.connections.retain(|pooled| {
            let is_idle = now.saturating_duration_since(pooled.used) > IDLE;
            now.saturating_duration_since(pooled.opened) < self.options.age_max
                && pooled.client.is_open()
                && !(is_idle && pooled.client.has_hung_up())
        });
        let can_open =
            state.connections.len() < self.options.connections_max.max(1) && !state.is_connecting;
        let is_empty = state.connections.is_empty();
        let loads = state.connections.iter_mut().map(|pooled| {
            let (in_flight, most) = pooled.client.load();
            (in_flight, most, pooled)
        });
        let least = loads.min_by_key(|(in_flight, ..)| *in_flight);
        let mut free = None;
        if let Some((in_flight, most, pooled)) = least
            && in_flight < most
        {
            pooled.used = now;
            let client = Arc::clone(&pooled.client);
            if !can_open || in_flight < self.options.share {
                return Look::Connection(client);
            }
            free = Some(client);
        }
        if !can_open {
            return Look::Wait(ROOM_AGAIN);
        }
        match (self.peer.admit(clock::monotonic_ns), free) {
            (Ok(permit), _) => {
                state.is_connecting = true;
                Look::Connect(permit)
            }
            // Refused by the breaker, the one there is will do.
            (Err(_), Some(client)) => Look::Connection(client),
            (Err(refused), None) if self.options.wait_ready || !is_empty => {
                Look::Wait(refused.retry_in.clamp(Duration::from_millis(1), ROOM_AGAIN))
            }
            (Err(refused), None) => Look::Failed(CallError::Open {
                reason: state.failure.clone(),
                retry_in: refused.retry_in,
            }),
        }
    }

    fn connect(&self, permit: Permit, deadline: Option<Instant>) -> Result<(), CallError> {
        let mut connecting = Connecting {
            pool: self,
            permit,
            result: None,
        };
        let own = &self.options.connect;
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let options = ConnectOptions {
            timeout: left.map_or(own.timeout, |left| left.min(own.timeout)),
            ..own.clone()
        };
        let made = Client::connect(&self.options.path, self.options.service, &options);
        let result = match &made {
            Ok(_) => Ok(()),
            // It was this caller's time that was too short, which says nothing of the other side.
            Err(LocalError::Timeout { .. }) if options.timeout < own.timeout => {
                return Err(CallError::Deadline);
            }
            Err(error) => Err(CallError::Unreachable(error.to_string())),
        };
        connecting.result = Some(made);
        drop(connecting);
        result
    }

    /// A call is over: who waits for room may have it.
    fn room(&self) {
        if self.state().waiting > 0 {
            self.changed.notify_one();
        }
    }

    fn watch(&self, method: u16) -> Result<Watch, CallError> {
        let breaker = breaker_of(&mut self.state().breakers, method, &self.options.breaker);
        let permit = breaker.admit(clock::monotonic_ns).map_err(|refused| {
            let service = self.options.service;
            let name = mfn_wire::method::name(service, method).unwrap_or("this method");
            CallError::Open {
                reason: format!("{name} of {} failed too often", service.name()),
                retry_in: refused.retry_in,
            }
        })?;
        Ok(Watch {
            breaker,
            permit: Some(permit),
            started: Instant::now(),
            is_timed: true,
        })
    }
}

/// Reports what came of connecting, however it ends.
struct Connecting<'a> {
    pool: &'a Pool,
    permit: Permit,
    result: Option<Result<Client, LocalError>>,
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        let outcome = match &self.result {
            Some(Ok(_)) => Outcome::Succeeded,
            Some(Err(_)) => Outcome::Failed,
            None => Outcome::Unknown,
        };
        let (now, dice) = (clock::monotonic_ns(), trace::random());
        let peer = &self.pool.peer;
        peer.record(self.permit, now, outcome, Duration::ZERO, dice);
        let mut state = self.pool.state();
        state.is_connecting = false;
        match self.result.take() {
            Some(Ok(client)) => {
                let now = Instant::now();
                state.connections.push(Pooled {
                    client: Arc::new(client),
                    opened: now,
                    used: now,
                });
            }
            Some(Err(error)) => state.failure = error.to_string(),
            None => {}
        }
        drop(state);
        self.pool.changed.notify_all();
    }
}

/// Tells the method's breaker how a call ended, also when its caller gives up.
#[derive(Debug)]
struct Watch {
    breaker: Arc<SharedBreaker>,
    permit: Option<Permit>,
    started: Instant,
    is_timed: bool,
}

impl Watch {
    fn over(&mut self, outcome: Outcome) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        let now = Instant::now();
        let took = if self.is_timed {
            now.saturating_duration_since(self.started)
        } else {
            Duration::ZERO
        };
        let dice = trace::random();
        self.breaker
            .record(permit, clock::ns_of(now), outcome, took, dice);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over(Outcome::Unknown);
    }
}

/// A streamed answer over a connection of a pool. Dropped before its end, the call is cancelled.
#[derive(Debug)]
pub struct PooledStreaming {
    streaming: Streaming,
    watch: Watch,
}

impl PooledStreaming {
    /// As [`Streaming::next`].
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would go on after an error"
    )]
    pub fn next(&mut self) -> Option<Result<Item, CallError>> {
        let next = self.streaming.next();
        match &next {
            Some(Ok(Item::Event(_))) | None => {}
            Some(Ok(Item::Reply(_))) => self.watch.over(Outcome::Succeeded),
            Some(Err(error)) => self.watch.over(outcome(error)),
        }
        next
    }
}
