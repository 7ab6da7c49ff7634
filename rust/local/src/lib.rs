//! Serves and calls the local wire over Unix sockets: how programs on one machine talk.
//!
//! - [`Server`], [`Handler`], [`Call`]: one socket, its methods, one call of them.
//! - [`Client`], [`Streaming`]: many calls at once over one connection, and streamed answers.
//! - [`Pool`]: few connections for many callers, repaired as they break; a [`Breaker`] for each method.
//! - [`blocking::Client`]: the same calls from threads that block, without a runtime.
//! - [`run_dir`]: where sockets live.
//!
//! Both sides check the other's user by SO_PEERCRED. Every queue, buffer and wait is bounded: [`Limits`].
//! The specification of the frames is `docs/PROTOCOL.md`.
//!
//! ```
//! use mfn_local::{BoxFuture, Call, Client, ConnectOptions, Failure, Handler, Reply, Request, Server, ServerConfig};
//! use mfn_wire::{ContentType, Service};
//!
//! struct Echo;
//! impl Handler for Echo {
//!     fn call(&self, call: Call) -> BoxFuture<Result<Reply, Failure>> {
//!         Box::pin(async move { Ok(Reply { content_type: call.content_type, body: call.body }) })
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let place = tempfile::tempdir()?;
//! let path = place.path().join("run/echo.sock");
//! let server = Server::bind(ServerConfig::new(Service::State, &path))?;
//! tokio::spawn(server.serve(std::sync::Arc::new(Echo), std::future::pending::<()>()));
//! let client = Client::connect(&path, Service::State, ConnectOptions::default()).await?;
//! let reply = client.call(1, Request::new(ContentType::Bytes, &b"hello"[..])).await?;
//! assert_eq!(&reply.body[..], b"hello");
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]

pub mod blocking;
mod breaker;
#[cfg(test)]
mod breaker_traces;
mod call;
mod client;
mod clock;
mod connection;
mod credit;
mod driver;
mod error;
mod frames;
mod input;
mod link;
mod outbox;
mod pool;
mod request;
pub mod run_dir;
mod server;
mod slots;
mod socket;
mod sync;
mod trace;
mod wait;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

pub use breaker::{Breaker, BreakerOptions, BreakerState, Outcome, Permit, Refused};
pub use call::{Call, Cancelled, Context, EventSink, Reply};
pub use client::{Client, Event, Item, Streaming};
pub use clock::monotonic_ns;
pub use error::{CallError, Failure, LocalError};
pub use frames::Announced;
pub use pool::{Pool, PoolOptions, PoolStats, PooledStreaming};
pub use request::{ConnectOptions, Request};
pub use server::{Answering, Handler, Server, ServerConfig, ServerStats};
pub use socket::{PeerCredentials, PeerPolicy};
pub use trace::Trace;

/// A future on the heap.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Tasks that a runtime of many callers, or of many calls, may run between two looks for new bytes
/// (`tokio::runtime::Builder::event_interval`): as many as a busy connection has calls in flight, so that one look serves
/// a batch. After tokio's own 61 every second look of such a runtime finds nothing.
pub const EVENT_INTERVAL: u32 = 128;

/// What one socket allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests in flight per connection; more are answered BUSY.
    pub requests_in_flight_max: u32,
    /// Connections at once; more are answered BUSY and closed.
    pub connections_max: u32,
    /// Bytes of frames that are not complete yet, over all connections of the socket. A connection that would exceed
    /// them is answered BUSY and closed.
    pub partial_bytes_max: usize,
    /// How long a new connection may take to say HELLO.
    pub hello_timeout: Duration,
    /// How long accepted calls may take to end after a shutdown began.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_in_flight_max: mfn_wire::limits::REQUESTS_IN_FLIGHT_MAX,
            connections_max: 1_024,
            partial_bytes_max: 64 * 1024 * 1024,
            hello_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(10),
        }
    }
}
