//! The primitives of what is checked by a model: tests put others in their place.

pub(crate) use std::sync::atomic::{AtomicU32, Ordering};
