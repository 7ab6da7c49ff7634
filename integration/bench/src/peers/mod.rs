//! What ours is measured against, each run as its own users would run it.

pub(crate) mod bare;
pub(crate) mod borg;
pub(crate) mod quic;
pub(crate) mod restic;
pub(crate) mod sketches;
pub(crate) mod unix;
