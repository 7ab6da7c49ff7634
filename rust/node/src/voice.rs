//! A node whose agreement speaks through something else than its transport: how a test makes one that lies, of the same code as
//! an honest one. No command, option or setting leads here.

use std::sync::Arc;

use mfn_local::{BoxFuture, Failure};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::dir::NodeDir;
use crate::doors::{Gossip, Heard, Joined, Ordered};
use crate::node::{Node, NodeError};

pub use crate::doors::Tell;

/// Takes what is to be told. Never waits.
pub type Voice = Arc<dyn Fn(Vec<Tell>) + Send + Sync>;

/// Starts a node that tells its peers what `changed` makes of it; `changed` gets the voice that the peers hear.
///
/// # Errors
/// As [`Node::start`].
pub fn start(
    dir: &NodeDir,
    config: &Config,
    changed: impl FnOnce(Voice) -> Voice,
) -> Result<Node, NodeError> {
    Node::start_through(dir, config, |inner| {
        let heard = Arc::clone(&inner);
        let voice = changed(Arc::new(move |tells| heard.tell(tells)));
        Arc::new(Through { inner, voice })
    })
}

struct Through {
    inner: Arc<dyn Gossip>,
    voice: Voice,
}

impl Gossip for Through {
    fn tell(&self, tells: Vec<Tell>) {
        (self.voice)(tells);
    }

    fn hear(&self) -> BoxFuture<Result<mpsc::Receiver<Heard>, Failure>> {
        self.inner.hear()
    }

    fn order(&self, ordered: Ordered) -> BoxFuture<Result<(), Failure>> {
        self.inner.order(ordered)
    }

    fn join(&self, text: String) -> BoxFuture<Result<Joined, Failure>> {
        self.inner.join(text)
    }
}
