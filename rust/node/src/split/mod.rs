//! One node as several processes: `up --split`.
//!
//! - [`run_split`]: the parent. Holds the directory's lock, starts one process for each component, starts again what dies,
//!   stops them in order.
//! - [`run_component`]: one such process: the same component code as in one process, with doors to the others' sockets.
//!
//! Whoever signs reads the node's key: the transport's process, for handshakes, and that of consensus, for votes. A child ends when its standard input does, in order; when its
//! parent is gone, the kernel ends it at once.

mod child;
mod parent;

use std::ffi::OsString;
use std::path::PathBuf;

use mfn_wire::Service;

pub use child::{ComponentOptions, run_component};
pub use parent::run_split;

/// How a component's process is started.
#[derive(Clone, Debug)]
pub struct ComponentCommand {
    pub program: PathBuf,
    /// Of all components: the subcommand, and what `up` was told but where to listen. The component's own follow.
    pub arguments: Vec<OsString>,
}

/// The components in the order in which they start: state first, which all others ask; metrics last, which asks all.
const ORDER: [Service; 5] = [
    Service::State,
    Service::Transport,
    Service::Scheduler,
    Service::Consensus,
    Service::Metrics,
];

/// The line by which a child says that it serves; any other line says why it does not.
const UP: &str = "up";
