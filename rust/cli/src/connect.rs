//! Reaches the sockets of a running node, and turns its answers into errors that name cause and repair.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hypermesh_node::NodeDir;
use mfn_local::{CallError, Client, ConnectOptions, Item, LocalError, Request, Streaming};
use mfn_wire::{Service, Status};
use prost::Message;
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::Context;
use crate::error::CliError;
use crate::progress::Progress;

/// How long a short answer may take; jobs have no limit, they show their progress.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a node that starts at the same moment, as in a script, may take until its sockets are there.
const START_TIMEOUT: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What the command calls itself in HELLO.
pub(crate) fn software() -> String {
    concat!("hypermesh-cli/", env!("CARGO_PKG_VERSION")).into()
}

/// One item of a streamed answer, decoded.
pub(crate) enum Step<E, R> {
    Event(E),
    Reply(R),
}

/// A streamed answer.
pub(crate) struct Stream {
    items: Streaming,
}

impl Context {
    /// Connects to one of the node's sockets. A node that was started just before is waited for.
    pub(crate) async fn client(&self, service: Service) -> Result<Client, CliError> {
        if !self.dir.is_initialised() {
            return Err(CliError::failed(format!(
                "there is no node in {}: run `hypermesh init{}` first",
                self.dir.path().display(),
                dir_option(&self.dir)
            )));
        }
        let until = Instant::now() + START_TIMEOUT;
        loop {
            match self.connect(service).await {
                Ok(Some(client)) => return Ok(client),
                // Others have all its connections for a moment.
                Err(LocalError::Refused {
                    status: Status::BUSY,
                    ..
                }) if Instant::now() < until => tokio::time::sleep(LOOK_AGAIN).await,
                Err(error) => return Err(CliError::failed(error.to_string())),
                Ok(None) if Instant::now() < until => tokio::time::sleep(LOOK_AGAIN).await,
                Ok(None) => {
                    return Err(CliError::failed(format!(
                        "no node runs in {}: start it with `hypermesh up{}`",
                        self.dir.path().display(),
                        dir_option(&self.dir)
                    )));
                }
            }
        }
    }

    /// `None`: no node runs.
    async fn connect(&self, service: Service) -> Result<Option<Client>, LocalError> {
        // The link's target, not a path through the link: a socket's path must be short.
        let run = match std::fs::read_link(self.dir.run()) {
            Ok(run) => run,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(LocalError::Io {
                    what: "read the link",
                    path: self.dir.run(),
                    source,
                });
            }
        };
        let options = ConnectOptions {
            software: software(),
            ..ConnectOptions::default()
        };
        match Client::connect(&run.join(service.socket_name()), service, options).await {
            Ok(client) => Ok(Some(client)),
            Err(LocalError::NotRunning { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks with a message, answers with one.
    pub(crate) async fn ask<Q: Message, A: Message + Default>(
        &self,
        client: &Client,
        method: u16,
        question: &Q,
    ) -> Result<A, CliError> {
        Ok(client.ask(method, question, ANSWER_TIMEOUT).await?)
    }

    /// Asks what needs no question.
    pub(crate) async fn ask_nothing<A: Message + Default>(
        &self,
        client: &Client,
        method: u16,
    ) -> Result<A, CliError> {
        self.ask(client, method, &()).await
    }

    /// Asks for what has no answer but that it is done.
    pub(crate) async fn ask_empty<Q: Message>(
        &self,
        client: &Client,
        method: u16,
        question: &Q,
    ) -> Result<(), CliError> {
        self.ask(client, method, question).await
    }

    /// Asks for a streamed answer of which at most `ahead` items are under way.
    pub(crate) async fn stream<Q: Message>(
        &self,
        client: &Client,
        method: u16,
        question: &Q,
        ahead: u32,
    ) -> Result<Stream, CliError> {
        let items = client
            .stream(method, Request::message(question), ahead)
            .await?;
        Ok(Stream { items })
    }

    /// Runs a long job and shows how far it is. Ctrl-C cancels it; `again` says how to go on later.
    pub(crate) async fn job<Q: Message, R: Message + Default>(
        &self,
        client: &Client,
        method: u16,
        question: &Q,
        again: &str,
    ) -> Result<R, CliError> {
        let mut progress = Progress::new(&self.global);
        // One for the whole loop: a new one for each turn would miss a Ctrl-C that comes while progress is shown.
        let mut interrupts = signal(SignalKind::interrupt())
            .map_err(|error| CliError::failed(format!("cannot wait for Ctrl-C: {error}")))?;
        let mut stream = self
            .stream(client, method, question, progress.credit())
            .await?;
        let result = loop {
            let step = tokio::select! {
                step = stream.step() => step,
                _ = interrupts.recv() => break Err(CliError::failed(format!("interrupted; {again}"))),
            };
            match step {
                Ok(Step::Event(event)) => progress.update(event),
                Ok(Step::Reply(reply)) => break Ok(reply),
                Err(error) => break Err(error),
            }
        };
        progress.finish();
        result
    }
}

impl Stream {
    /// The next event, or the reply that ends the stream.
    pub(crate) async fn step<E: Message + Default, R: Message + Default>(
        &mut self,
    ) -> Result<Step<E, R>, CliError> {
        Ok(match self.step_bytes().await? {
            Step::Event(bytes) => {
                Step::Event(E::decode(bytes).map_err(|error| undecodable(&error))?)
            }
            Step::Reply(reply) => Step::Reply(reply),
        })
    }

    /// The same for events that are bytes.
    pub(crate) async fn step_bytes<R: Message + Default>(
        &mut self,
    ) -> Result<Step<Bytes, R>, CliError> {
        match self.items.next().await {
            Some(Ok(Item::Event(event))) => Ok(Step::Event(event.body)),
            Some(Ok(Item::Reply(reply))) => R::decode(reply.body)
                .map(Step::Reply)
                .map_err(|error| undecodable(&error)),
            Some(Err(error)) => Err(error.into()),
            None => Err(CliError::failed(
                "the node ended its answer early; please report this",
            )),
        }
    }
}

fn undecodable(error: &prost::DecodeError) -> CliError {
    CliError::failed(format!(
        "the node's answer does not decode ({error}): are both of the same version?"
    ))
}

impl From<CallError> for CliError {
    fn from(error: CallError) -> Self {
        let text = match &error {
            CallError::Closed(_) | CallError::NotAccepted(_) => {
                format!(
                    "{error}: the node, or its component that was asked, stopped; repeat the command when it runs again"
                )
            }
            CallError::Failed {
                status: Status::UNSUPPORTED,
                text,
            } => {
                format!("{text}: the node is of an older version; restart it with this one")
            }
            _ => error.to_string(),
        };
        Self {
            status: Some(error.status().name().into()),
            ..Self::failed(text)
        }
    }
}

/// ` --dir DIR` where the directory is not the default one, for commands in messages.
pub(crate) fn dir_option(dir: &NodeDir) -> String {
    match NodeDir::default_path(|name| std::env::var_os(name)) {
        Ok(default) if default == dir.path() => String::new(),
        _ => format!(" --dir {}", dir.path().display()),
    }
}
