//! What ours is measured against, each run as its own users would run it.

pub(crate) mod bare;
pub(crate) mod borg;
#[cfg(feature = "http-peers")]
pub(crate) mod http;
pub(crate) mod order;
pub(crate) mod quic;
pub(crate) mod redis;
pub(crate) mod restic;
pub(crate) mod sketches;
pub(crate) mod unix;
