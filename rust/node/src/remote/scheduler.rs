//! The scheduler in another process.

use mfn_local::{BoxFuture, Failure, Request};
use mfn_wire::{method, pb};
use prost::Message;

use super::{Remote, accepted, messages};
use crate::doors::{Fetches, Part};

impl Fetches for Remote {
    fn fetch(&self, part: Part) -> BoxFuture<Result<u64, Failure>> {
        let this = self.clone();
        Box::pin(async move {
            // As long as the mesh takes; whoever asked state may have a deadline.
            let request = Request::message(&messages::part_request(part));
            let called = this.pool.call(method::scheduler::FETCH, request).await;
            let reply = called.map_err(|error| this.failure(error))?;
            let mut reply = pb::FetchPartReply::decode(reply.body)
                .map_err(|error| this.failure(mfn_local::CallError::Answer(error.to_string())))?;
            let refused = reply.refused.take();
            Ok(accepted(reply, refused)?.content_bytes)
        })
    }
}
