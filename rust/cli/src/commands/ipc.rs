//! `hypermesh ipc`: looks at the sockets of a running node, calls any method, watches frames.

mod bodies;
mod tap;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use mfn_local::{Client, ConnectOptions, Event, Item, LocalError, Reply, Request};
use mfn_wire::{ContentType, Service, feature, method, pb};
use serde_json::{Value, json};

use super::Context;
use crate::args::{Ipc, IpcCall, IpcCommand};
use crate::connect::software;
use crate::error::CliError;
use crate::output::table;
use bodies::{Bodies, described};

/// How long a socket may take to say HELLO before `ls` calls it silent.
const HELLO_TIMEOUT: Duration = Duration::from_secs(2);
/// Events under way of a streamed answer.
const AHEAD: u32 = 64;

pub(crate) async fn ipc(context: &Context, arguments: Ipc) -> Result<(), CliError> {
    match arguments.command {
        IpcCommand::Ls => ls(context).await,
        IpcCommand::Call(arguments) => call(context, &arguments).await,
        IpcCommand::Tap(arguments) => tap::tap(context, &arguments).await,
        IpcCommand::Stats => stats(context).await,
    }
}

/// A service by its name.
fn service(name: &str) -> Result<Service, CliError> {
    let found = Service::ALL.iter().find(|service| service.name() == name);
    found.copied().ok_or_else(|| {
        let names: Vec<&str> = Service::ALL.iter().map(|service| service.name()).collect();
        CliError::usage(format!(
            "'{name}' is not a service: write one of {}",
            names.join(", ")
        ))
    })
}

async fn connect(path: &Path, service: Service) -> Result<Client, LocalError> {
    let options = ConnectOptions {
        timeout: HELLO_TIMEOUT,
        software: software(),
    };
    Client::connect(path, service, options).await
}

/// One line for each socket that is there, whether it answers or not.
async fn ls(context: &Context) -> Result<(), CliError> {
    let run = context.run_dir()?;
    let mut rows = Vec::new();
    for service in Service::ALL {
        let path = run.join(service.socket_name());
        if !path.exists() {
            continue;
        }
        let found = match connect(&path, *service).await {
            Ok(client) => Ok((client.server(), client.server_credentials().ok())),
            Err(error) => Err(error.to_string()),
        };
        let name = service.name();
        if context.out.json {
            let mut value = json!({ "service": name, "number": service.as_u8(), "socket": path });
            match found {
                Ok((server, credentials)) => {
                    value["wire_version"] = json!(mfn_wire::VERSION);
                    value["software"] = json!(server.software);
                    value["features"] = json!(features(server.features));
                    value["frame_bytes_max"] = json!(server.frame_bytes_max);
                    value["requests_in_flight_max"] = json!(server.requests_in_flight_max);
                    value["connections_max"] = json!(server.connections_max);
                    if let Some(credentials) = credentials {
                        value["pid"] = json!(credentials.pid);
                        value["uid"] = json!(credentials.uid);
                    }
                }
                Err(error) => value["error"] = json!(error),
            }
            context.out.result(String::new, || value)?;
            continue;
        }
        rows.push(match found {
            Ok((server, credentials)) => vec![
                name.into(),
                server.software,
                features(server.features).join(" "),
                server.frame_bytes_max.to_string(),
                server.requests_in_flight_max.to_string(),
                server.connections_max.to_string(),
                credentials.map_or_else(String::new, |known| known.pid.to_string()),
                credentials.map_or_else(String::new, |known| known.uid.to_string()),
                path.display().to_string(),
            ],
            Err(error) => {
                let mut row = vec![name.to_owned(), error];
                row.resize(8, String::new());
                row.push(path.display().to_string());
                row
            }
        });
    }
    if context.out.json {
        return Ok(());
    }
    let header = [
        "service",
        "software",
        "features",
        "frame bytes",
        "in flight",
        "connections",
        "pid",
        "uid",
        "socket",
    ];
    context
        .out
        .result(|| table(&header, &[3, 4, 5, 6, 7], rows), Value::default)
}

/// Names of bits, and the bits without a name as a number.
fn features(bits: u64) -> Vec<String> {
    let mut names = Vec::new();
    if bits & feature::SHARED_MEMORY != 0 {
        names.push("shared_memory".to_owned());
    }
    let rest = bits & !feature::SHARED_MEMORY;
    if rest != 0 {
        names.push(format!("{rest:#x}"));
    }
    names
}

async fn call(context: &Context, arguments: &IpcCall) -> Result<(), CliError> {
    let service = service(&arguments.service)?;
    let Some(name) = &arguments.method else {
        return methods(context, service);
    };
    let description = described(service, name).ok_or_else(|| {
        CliError::usage(format!(
            "{} has no method '{name}': `hypermesh ipc call {0}` lists what it has",
            service.name()
        ))
    })?;
    let bodies = Bodies::new()?;
    let (content_type, body) = bodies.encode(description.request, arguments.question.as_deref())?;
    let mut request = Request::new(content_type, body);
    request.trace.sampled = arguments.trace;
    if let Some(deadline) = arguments.deadline {
        request = request.within(deadline);
    }
    let client = match &arguments.socket {
        Some(path) => connect(path, service)
            .await
            .map_err(|error| CliError::failed(error.to_string()))?,
        None => context.client(service).await?,
    };
    let print = |content_type: ContentType, message: &str, body: &Bytes| {
        let value = bodies.decode(content_type, message, body);
        let text = match &value {
            Value::String(text) => text.trim_end().to_owned(),
            value => value.to_string(),
        };
        context.out.result(|| text, || value)
    };
    if description.event.is_empty() {
        let Reply { content_type, body } = client.call(description.method, request).await?;
        return print(content_type, description.reply, &body);
    }
    let mut items = client.stream(description.method, request, AHEAD).await?;
    while let Some(item) = items.next().await {
        match item? {
            Item::Event(Event { content_type, body }) => {
                print(content_type, description.event, &body)?;
            }
            Item::Reply(Reply { content_type, body }) => {
                print(content_type, description.reply, &body)?;
            }
        }
    }
    Ok(())
}

/// What a service can be asked.
fn methods(context: &Context, service: Service) -> Result<(), CliError> {
    let known = || method::ALL.iter().filter(|one| one.service == service);
    if context.out.json {
        for one in known() {
            context.out.result(String::new, || {
                json!({
                    "service": service.name(), "method": one.name, "number": one.method,
                    "request": one.request, "event": one.event, "reply": one.reply, "text": one.text,
                })
            })?;
        }
        return Ok(());
    }
    let rows = known()
        .map(|one| {
            vec![
                one.name.into(),
                one.method.to_string(),
                one.request.into(),
                one.event.into(),
                one.reply.into(),
                one.text.into(),
            ]
        })
        .collect();
    let header = ["method", "number", "request", "events", "reply", "what"];
    context
        .out
        .result(|| table(&header, &[1], rows), Value::default)
}

/// Connections, pools, breakers and counters, as the node has them.
async fn stats(context: &Context) -> Result<(), CliError> {
    let metrics = context.client(Service::Metrics).await?;
    let node: pb::NodeStatus = context
        .ask_nothing(&metrics, method::metrics::STATUS)
        .await?;
    let component = |one: &pb::ComponentStatus| {
        json!({
            "service": one.name, "state": one.state, "connections": one.connections, "accepted": one.accepted,
            "denied": one.denied, "requests": one.requests, "errors": one.errors, "violations": one.violations,
        })
    };
    let breaker = |one: &pb::BreakerStatus| json!({ "method": one.method, "state": one.state, "retry_in_ns": one.retry_in_ns });
    let pool = |one: &pb::PoolStatus| {
        json!({
            "service": one.service, "holder": one.holder, "socket": one.socket, "connections": one.connections, "in_flight": one.in_flight,
            "waiting": one.waiting, "calls": one.calls, "repeated": one.repeated, "refused": one.refused,
            "opened": one.opened, "failed": one.failed, "retired": one.retired,
            "breakers": one.breakers.iter().map(breaker).collect::<Vec<_>>(),
        })
    };
    context.out.result(
        || stats_text(&node),
        || {
            json!({
                "sockets": node.components.iter().map(component).collect::<Vec<_>>(),
                "pools": node.pools.iter().map(pool).collect::<Vec<_>>(),
            })
        },
    )
}

/// What a pool leads to, and from which process where there are several.
fn pool_name(pool: &pb::PoolStatus) -> String {
    if pool.holder.is_empty() {
        return pool.service.clone();
    }
    format!("{} → {}", pool.holder, pool.service)
}

fn stats_text(node: &pb::NodeStatus) -> String {
    let sockets = node.components.iter().map(|one| {
        let counts = [
            one.connections,
            one.accepted,
            one.denied,
            one.requests,
            one.errors,
            one.violations,
        ];
        let mut row = vec![one.name.clone(), one.state.clone()];
        row.extend(counts.map(|count| count.to_string()));
        row
    });
    let pools = node.pools.iter().map(|one| {
        let counts = [
            one.connections,
            one.in_flight,
            one.waiting,
            one.calls,
            one.repeated,
            one.refused,
            one.opened,
            one.failed,
            one.retired,
        ];
        let mut row = vec![pool_name(one)];
        row.extend(counts.map(|count| count.to_string()));
        row
    });
    let breakers = node.pools.iter().flat_map(|pool| {
        pool.breakers.iter().map(|one| {
            let wait = Duration::from_nanos(one.retry_in_ns);
            let wait = if wait.is_zero() {
                String::new()
            } else {
                hypermesh_node::units::format_duration(wait)
            };
            vec![pool_name(pool), one.method.clone(), one.state.clone(), wait]
        })
    });
    let header = [
        "socket",
        "state",
        "connections",
        "accepted",
        "denied",
        "requests",
        "errors",
        "violations",
    ];
    let mut text = table(&header, &[2, 3, 4, 5, 6, 7], sockets.collect());
    if !node.pools.is_empty() {
        let header = [
            "pool",
            "connections",
            "in flight",
            "waiting",
            "calls",
            "repeated",
            "refused",
            "opened",
            "failed",
            "retired",
        ];
        text += "\n\n";
        text += &table(&header, &[1, 2, 3, 4, 5, 6, 7, 8, 9], pools.collect());
        text += "\n\n";
        text += &table(
            &["pool", "breaker", "state", "again in"],
            &[],
            breakers.collect(),
        );
    }
    text
}

impl Context {
    /// Where the sockets of the node are.
    pub(super) fn run_dir(&self) -> Result<PathBuf, CliError> {
        std::fs::read_link(self.dir.run()).map_err(|_| {
            CliError::failed(format!(
                "no node runs in {}: start it with `hypermesh up{}`",
                self.dir.path().display(),
                crate::connect::dir_option(&self.dir)
            ))
        })
    }
}
