//! Runs a node: wires the components, owns their sockets, config, shutdown, metrics.
//!
//! - [`NodeDir`]: the files of a node, and who may use them.
//! - [`Config`]: what a node can be told.
#![forbid(unsafe_code)]

mod address;
mod config;
mod dir;
mod files;
mod identity;
pub mod logs;
mod peers;
pub mod units;

pub use address::{AddressError, PeerAddress, parse_socket_address};
pub use config::{Config, ConfigError, DEFAULT_PORT, KEYS, Key, LogFormat};
pub use dir::{DirError, DirLock, NodeDir};
pub use identity::{IdentityError, load as load_identity, node_id};
pub use peers::{PeerBook, PeersError, Source};
