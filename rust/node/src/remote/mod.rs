//! The doors between processes: what a component asks of another goes through a pool of connections to its socket.
//!
//! - [`Remote`]: another component, its connections, and how its errors become ours.
//! - [`state`], [`transport`], [`scheduler`]: that component's door, for who asks it.
//! - [`serve`]: the other ends, methods of the component's own socket.
//!
//! A refusal that says something of the mesh or of the disk, such as that nobody has a block, stands in the reply: the
//! breaker of its method opens when the component fails, and not when the answer is no.

pub(crate) mod gossip;
mod messages;
mod scheduler;
pub(crate) mod serve;
mod state;
mod transport;

use std::path::{Path, PathBuf};
use std::time::Duration;

use mfn_local::{
    BoxFuture, BreakerOptions, CallError, Context, Failure, Pool, PoolOptions, Request,
};
use mfn_wire::{Service, pb};
use prost::Message;
use tokio::runtime::Handle;

/// How long a question may take that moves or looks up a bounded number of blocks.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Events under way of a streamed answer.
const AHEAD: u32 = 64;

/// A component in another process. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    service: Service,
    pool: Pool,
    /// For threads that block.
    runtime: Handle,
    /// The call on whose behalf such threads ask.
    context: Context,
}

tokio::task_local! {
    /// The call that is being answered: what is asked meanwhile inherits its trace and the rest of its time.
    static ANSWERING: Context;
}

/// Answers a call; what is asked of other components meanwhile is asked on its behalf.
pub(crate) fn on_behalf_of<T: 'static>(context: Context, answer: BoxFuture<T>) -> BoxFuture<T> {
    Box::pin(ANSWERING.scope(context, answer))
}

impl Remote {
    /// Nothing is opened yet. Connections are driven by the runtimes that ask; for threads that block, by this one.
    pub(crate) fn new(service: Service, run_dir: &Path, runtime: Handle) -> Self {
        let options = PoolOptions {
            breaker: BreakerOptions {
                // How long an answer takes is the disk's and the mesh's affair.
                slow_share_max: 1.0,
                ..BreakerOptions::default()
            },
            ..PoolOptions::new(service, socket(service, run_dir))
        };
        Self {
            service,
            pool: Pool::new(options),
            runtime,
            context: Context::default(),
        }
    }

    /// For threads that block and work on the call that is being answered here.
    fn for_threads(&self) -> Self {
        Self {
            context: self.context(),
            ..self.clone()
        }
    }

    fn context(&self) -> Context {
        ANSWERING.try_get().unwrap_or(self.context)
    }

    fn request(&self, question: &impl Message) -> Request {
        Request::message(question).on_behalf_of(&self.context())
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A failed call in the words of the component that asked.
    fn failure(&self, error: CallError) -> Failure {
        let text = match &error {
            // Its own words.
            CallError::Failed { .. } => error.to_string(),
            other => format!(
                "the {} component does not answer now ({other}); it is started again by itself: repeat this then",
                self.service.name()
            ),
        };
        Failure::new(error.status(), text)
    }

    async fn ask<A: Message + Default>(
        &self,
        method: u16,
        question: &impl Message,
        within: Duration,
    ) -> Result<A, Failure> {
        let request = self.request(question).within(within);
        self.call(method, request).await
    }

    async fn call<A: Message + Default>(
        &self,
        method: u16,
        request: Request,
    ) -> Result<A, Failure> {
        let called = self.pool.call(method, request).await;
        let reply = called.map_err(|error| self.failure(error))?;
        A::decode(reply.body).map_err(|error| self.failure(CallError::Answer(error.to_string())))
    }

    /// The same for a thread that blocks.
    fn ask_blocking<A: Message + Default>(
        &self,
        method: u16,
        question: &impl Message,
    ) -> Result<A, Failure> {
        self.runtime
            .block_on(self.ask(method, question, ANSWER_TIMEOUT))
    }

    /// Asks for a streamed answer, and gives its events; the reply in the end. Dropped, the call is cancelled.
    async fn stream<E: Message + Default, A: Message + Default>(
        &self,
        method: u16,
        question: &impl Message,
        mut event: impl FnMut(E),
    ) -> Result<A, Failure> {
        let request = self.request(question);
        let opened = self.pool.stream(method, request, AHEAD).await;
        let mut items = opened.map_err(|error| self.failure(error))?;
        let wrong = |error: prost::DecodeError| self.failure(CallError::Answer(error.to_string()));
        while let Some(item) = items.next().await {
            match item.map_err(|error| self.failure(error))? {
                mfn_local::Item::Event(one) => event(E::decode(one.body).map_err(wrong)?),
                mfn_local::Item::Reply(reply) => return A::decode(reply.body).map_err(wrong),
            }
        }
        Err(self.failure(CallError::Closed("it said nothing last".into())))
    }
}

/// Where a component serves.
pub(crate) fn socket(service: Service, run_dir: &Path) -> PathBuf {
    run_dir.join(service.socket_name())
}

/// A reply, or what it refuses.
fn accepted<T>(reply: T, refused: Option<pb::Refusal>) -> Result<T, Failure> {
    match refused {
        None => Ok(reply),
        Some(refusal) => Err(messages::failure(refusal)),
    }
}
