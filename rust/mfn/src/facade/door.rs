//! What the facade needs of each layer, wherever it is: four traits, one per layer.
//!
//! Every method takes `within`, the time that is left for it, and answers with [`LayerError::Late`] after that. What is
//! found is a [`Finding`] in the layer's own measure; `None` says that it knows nothing.

use std::sync::Arc;
use std::time::Duration;

use mfn_local::BoxFuture;

use super::question::{Decision, Finding, LayerError, LayerId, Probe, Value};

/// An answer that is on its way.
pub type Reply<T> = BoxFuture<Result<T, LayerError>>;

/// Layer 1.
pub trait Exact: Send + Sync + 'static {
    /// What is here for a key, or where to ask.
    fn route(&self, key: &[u8], kind: u16, now_ns: u64, within: Duration) -> Reply<Decision>;
    /// Sets what a key means.
    fn put(&self, entry: Entry<'_>, now_ns: u64, within: Duration) -> Reply<()>;
    /// Forgets a key; whether it was here.
    fn remove(&self, key: &[u8], within: Duration) -> Reply<bool>;
    /// Whether a layer that was asked for a key of some kind had an answer.
    fn learn(&self, kind: u16, layer: LayerId, found: bool);
}

/// What IFR is told.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub key: &'a [u8],
    pub value: Value,
    pub kind: u16,
    /// How long it holds; `None`: for ever.
    pub lives: Option<Duration>,
}

/// Layer 2.
pub trait Similar: Send + Sync + 'static {
    /// Keeps a vector under a key.
    fn insert(&self, key: Vec<u8>, vector: Vec<f32>, within: Duration) -> Reply<()>;
    /// Forgets a key.
    fn remove(&self, key: Vec<u8>, within: Duration) -> Reply<()>;
    /// Keys whose vectors are like this one.
    fn similar(
        &self,
        like: Like,
        limit: u32,
        least: f32,
        within: Duration,
    ) -> Reply<Option<Finding>>;
    /// Why a key is found for a vector, or is not.
    fn explain(&self, key: Vec<u8>, vector: Vec<f32>, within: Duration) -> Reply<String>;
}

/// What is compared.
#[derive(Clone, Debug, PartialEq)]
pub enum Like {
    /// The vector that is kept under a key.
    Key(Vec<u8>),
    Vector(Vec<f32>),
}

/// Layer 3.
pub trait Linked: Send + Sync + 'static {
    /// These keys were used together.
    fn together(&self, keys: Vec<Vec<u8>>, within: Duration) -> Reply<()>;
    /// States a link; strength in (0, 1].
    fn link(&self, from: Vec<u8>, to: Vec<u8>, strength: f64, within: Duration) -> Reply<()>;
    /// What goes with a key.
    fn related(&self, key: Vec<u8>, limit: u32, within: Duration) -> Reply<Option<Finding>>;
    /// The best ways from one key to another, best first.
    fn paths(
        &self,
        from: Vec<u8>,
        to: Vec<u8>,
        count: u32,
        within: Duration,
    ) -> Reply<Vec<mfn_alm::Path>>;
}

/// Layer 4.
pub trait Foreseeing: Send + Sync + 'static {
    /// Keys came in a stream, in this order; time in nanoseconds, 0: now.
    fn observe(&self, at: At, keys: Vec<Vec<u8>>, time: u64, within: Duration) -> Reply<()>;
    /// What comes next.
    fn next(&self, at: At, limit: u32, time: u64, within: Duration) -> Reply<Option<Finding>>;
}

/// A place in a stream of CPE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    pub stream: Vec<u8>,
    pub lane: u32,
}

/// A layer, or why it is not there.
pub enum Door<T: ?Sized> {
    Here(Arc<T>),
    Absent(String),
}

impl<T: ?Sized> std::fmt::Debug for Door<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Here(_) => f.write_str("Here"),
            Self::Absent(why) => f.debug_tuple("Absent").field(why).finish(),
        }
    }
}

impl<T: ?Sized> Clone for Door<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Here(layer) => Self::Here(Arc::clone(layer)),
            Self::Absent(why) => Self::Absent(why.clone()),
        }
    }
}

impl<T: ?Sized> Default for Door<T> {
    fn default() -> Self {
        Self::Absent("this memory was made without it".into())
    }
}

impl<T: ?Sized> Door<T> {
    pub(crate) fn absent(&self) -> Option<&str> {
        match self {
            Self::Here(_) => None,
            Self::Absent(why) => Some(why),
        }
    }

    /// The layer.
    ///
    /// # Errors
    /// Why it is not there.
    pub fn open(&self) -> Result<Arc<T>, LayerError> {
        match self {
            Self::Here(layer) => Ok(Arc::clone(layer)),
            Self::Absent(why) => Err(LayerError::Absent(why.clone())),
        }
    }
}

/// What a probe is for DSR: its vector; none for content without any features.
pub(crate) fn vector(probe: &Probe) -> Option<Vec<f32>> {
    match probe {
        Probe::Bytes(bytes) => super::gist::gist(bytes),
        Probe::Vector(vector) => Some(vector.clone()),
    }
}
