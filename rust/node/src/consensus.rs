//! The consensus component. It serves its socket and says that it orders nothing yet.

use mfn_local::{BoxFuture, Call, Failure, Handler, Reply};
use mfn_wire::{Service, Status, method, pb};

use crate::answer::{Answer, boxed};

const REASON: &str =
    "this version orders nothing: membership is by invitation and introduction between peers";

pub(crate) struct ConsensusService;

impl Handler for ConsensusService {
    fn call(&self, call: Call) -> BoxFuture<Answer> {
        boxed(std::future::ready(match call.method {
            method::consensus::STATUS => Ok(Reply::message(&pb::ConsensusStatus {
                ready: false,
                reason: REASON.into(),
                ..Default::default()
            })),
            other => {
                let service = Service::Consensus.name();
                Err(Failure::new(
                    Status::NOT_READY,
                    format!("{service} does not answer method {other}: {REASON}"),
                ))
            }
        }))
    }
}
