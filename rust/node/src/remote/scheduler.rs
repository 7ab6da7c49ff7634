//! The scheduler in another process.

use mfn_local::{BoxFuture, Failure};
use mfn_wire::{method, pb};

use super::{Remote, accepted, messages};
use crate::doors::{Fetches, Part};

impl Fetches for Remote {
    fn fetch(&self, part: Part) -> BoxFuture<Result<u64, Failure>> {
        let this = self.clone();
        Box::pin(async move {
            // As long as the mesh takes; whoever asked state may have a deadline.
            let request = this.request(&messages::part_request(part));
            let mut reply: pb::FetchPartReply =
                this.call(method::scheduler::FETCH, request).await?;
            let refused = reply.refused.take();
            Ok(accepted(reply, refused)?.content_bytes)
        })
    }
}
