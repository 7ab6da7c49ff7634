//! Reads the bodies of requests, and says in statuses what is wrong with them.

use mfn_local::{Failure, Reply};
use mfn_wire::Status;
use prost::Message;

use crate::share::KEY_BYTES_MAX;

/// Most items of one answer: with the longest keys they fit a frame.
const K_MAX: u32 = 1_024;

/// The body as the method's message.
pub(crate) fn decode<M: Message + Default>(body: &[u8]) -> Result<M, Failure> {
    M::decode(body).map_err(|error| {
        let text = format!("the body does not decode: {error}");
        Failure::new(Status::BAD_BODY, text)
    })
}

pub(crate) fn reply(message: &impl Message) -> Result<Reply, Failure> {
    Ok(Reply::message(message))
}

pub(crate) fn invalid(text: impl Into<String>) -> Failure {
    Failure::new(Status::INVALID_ARGUMENT, text)
}

pub(crate) fn not_found(text: impl Into<String>) -> Failure {
    Failure::new(Status::NOT_FOUND, text)
}

/// The number of a pool.
pub(crate) fn pool(id: u64) -> Result<u32, Failure> {
    u32::try_from(id).map_err(|_| invalid(format!("pool {id}: pools are 0 to {}", u32::MAX)))
}

/// A key that may be kept.
pub(crate) fn key<'a>(what: &str, key: &'a [u8]) -> Result<&'a [u8], Failure> {
    if (1..=KEY_BYTES_MAX).contains(&key.len()) {
        return Ok(key);
    }
    Err(invalid(format!(
        "a {what} of {} bytes: 1 to {KEY_BYTES_MAX} are taken",
        key.len()
    )))
}

/// How many items an answer may have: what was asked for, or what is usual.
pub(crate) fn k(asked: u32, usual: u32) -> Result<usize, Failure> {
    match asked {
        0 => Ok(usual as usize),
        k if k <= K_MAX => Ok(k as usize),
        k => Err(invalid(format!("k is {k}: {K_MAX} at most"))),
    }
}

/// A method that is none of the layer's.
pub(crate) fn unsupported(what: &str) -> Failure {
    Failure::new(Status::UNSUPPORTED, format!("no such {what}"))
}

/// The answer to one pool too many.
pub(crate) fn too_many_pools() -> Failure {
    let most = crate::share::POOLS_MAX;
    Failure::new(
        Status::LIMIT,
        format!("there are {most} pools already; forget one first"),
    )
}
