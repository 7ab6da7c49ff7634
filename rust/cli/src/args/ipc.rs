//! What the commands that look into a node's sockets take.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct Ipc {
    #[command(subcommand)]
    pub(crate) command: IpcCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IpcCommand {
    /// List the sockets: who serves them, what they announce
    Ls,
    /// Call a method with JSON arguments; without a method, list those of the service
    #[command(after_help = "\
Arguments and answers are the messages of the local wire in protobuf's JSON: names as in the specification, bytes (such as
paths) in base64. A streamed answer prints one object per event, then the reply.

Examples:
  hypermesh ipc call metrics status
  hypermesh ipc call transport ping '{\"node_id\": \"hm1…\", \"count\": 3}'
  hypermesh ipc call state list '{\"root\": \"hmr1…\", \"recursive\": true}'")]
    Call(IpcCall),
    /// Relay a service's socket and show every frame that passes, decoded
    #[command(after_help = "\
The node's own socket stays as it is: only what connects through the relay is seen. Point a program at the relay's path,
such as `hypermesh ipc call --socket PATH`, or the C or Go client. Only this user can connect to it. Ctrl-C ends it.

Examples:
  hypermesh ipc tap state
  hypermesh ipc tap alm --listen /run/user/1000/alm-tap.sock --json")]
    Tap(IpcTap),
    /// Show connections, pools, breakers and counters
    Stats,
}

#[derive(Debug, Args)]
pub(crate) struct IpcCall {
    /// Name of the service, such as state
    #[arg(value_name = "SERVICE")]
    pub(crate) service: String,
    /// Name or number of the method
    #[arg(value_name = "METHOD")]
    pub(crate) method: Option<String>,
    /// The request as JSON
    #[arg(value_name = "JSON")]
    pub(crate) question: Option<String>,
    /// Another socket than the node's, such as one of `ipc tap`
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// How long the answer may take, such as 500ms; the node stops then
    #[arg(long, value_name = "DURATION", value_parser = hypermesh_node::units::parse_duration)]
    pub(crate) deadline: Option<Duration>,
    /// Mark the trace as sampled: the node's log shows it with whatever is logged during the call
    #[arg(long)]
    pub(crate) trace: bool,
}

#[derive(Debug, Args)]
pub(crate) struct IpcTap {
    /// Name of the service, such as state
    #[arg(value_name = "SERVICE")]
    pub(crate) service: String,
    /// Path of the relay [default: tap_SERVICE.sock beside the node's sockets]
    #[arg(long, value_name = "PATH")]
    pub(crate) listen: Option<PathBuf>,
}
