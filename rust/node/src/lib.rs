//! Runs a node: wires the components, owns their sockets, config, shutdown, metrics.
//!
//! - [`NodeDir`]: the files of a node, and who may use them.
//! - [`Config`]: what a node can be told.
//! - [`Node`], [`run`]: five components, each a thread with its own runtime and socket.
//! - [`voice`]: a node whose agreement speaks through something else, for programs that test what liars can do.
//! - [`examine`]: finds what is wrong, without a running node.
#![forbid(unsafe_code)]

mod address;
mod adviser;
mod answer;
mod arriving;
mod component;
mod components;
mod config;
mod consensus;
mod dir;
mod doctor;
mod doors;
mod exact;
mod fetch;
mod files;
mod foresight;
mod gossip;
mod http;
mod identity;
mod intake;
pub mod logs;
mod membership;
mod memory;
mod metrics;
mod network;
mod node;
mod older;
mod order;
mod peers;
mod programs;
mod progress;
mod receive;
mod remote;
mod report;
mod scheduler;
mod serving;
mod split;
mod state;
mod store;
mod transport;
pub mod units;
pub mod voice;

pub use hypermesh_blocks::RebuildReport;

pub use address::{AddressError, PeerAddress, parse_socket_address};
pub use adviser::find_almd;
pub use config::{Config, ConfigError, DEFAULT_PORT, KEYS, Key, LogFormat};
pub use dir::{DirError, DirLock, NodeDir};
pub use doctor::{Finding, Level, examine};
pub use identity::{IdentityError, load as load_identity, node_id};
pub use node::{Node, NodeError, run};
pub use peers::{KnownPeer, PeerBook, PeersError, Source};
pub use split::{ComponentCommand, ComponentOptions, run_component, run_split};
pub use store::rebuild_store;
