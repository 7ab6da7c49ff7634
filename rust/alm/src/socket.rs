//! The layer behind its Unix socket.

use std::path::Path as FsPath;
use std::time::Duration;

use mfn_local::{
    BreakerOptions, CallError, ConnectOptions, Pool as Connections, PoolOptions, Request,
};
use mfn_wire::Service;
use prost::Message;

use crate::methods::{ANSWER_TIMEOUT, Ask, decode};
use crate::{AlmError, Answer};

/// Asks `almd`. Cheap to clone. Connects when first asked, and again after the connection was lost.
#[derive(Clone, Debug)]
pub struct SocketAlm {
    pool: Connections,
}

impl SocketAlm {
    /// The layer at that socket. Nothing is opened yet.
    pub fn new(path: &FsPath) -> Self {
        let options = PoolOptions {
            connect: ConnectOptions {
                timeout: ANSWER_TIMEOUT,
                ..ConnectOptions::default()
            },
            breaker: BreakerOptions {
                slow_from: ANSWER_TIMEOUT / 2,
                ..BreakerOptions::default()
            },
            ..PoolOptions::new(Service::Alm, path)
        };
        Self {
            pool: Connections::new(options),
        }
    }

    /// Its connections and breakers.
    pub fn pool(&self) -> &Connections {
        &self.pool
    }
}

impl Ask for SocketAlm {
    fn ask<A: Message + Default + 'static>(
        &self,
        method: u16,
        question: impl Message + 'static,
        timeout: Duration,
    ) -> Answer<A> {
        let pool = self.pool.clone();
        Box::pin(async move {
            let request = Request::message(&question).within(timeout);
            let reply = pool
                .call(method, request)
                .await
                .map_err(|error| match error {
                    CallError::Failed { status, text } => AlmError::Refused { status, text },
                    other => AlmError::Away(other.to_string()),
                })?;
            decode(reply.body)
        })
    }
}
