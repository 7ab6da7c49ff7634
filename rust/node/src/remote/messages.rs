//! What travels between components, as messages of the local wire and back. Everything that comes is checked.

use hypermesh_blocks::ExtractReport;
use hypermesh_id::{BlockId, NodeId};
use mfn_local::Failure;
use mfn_wire::{Status, pb};
use stoq::{FetchReport, ProviderBytes};

use crate::answer::{invalid, parse_node, parse_path, parse_root};
use crate::doors::{Order, Part, Received, Target, Totals};

pub(super) fn refusal(failure: Failure) -> pb::Refusal {
    pb::Refusal {
        status: failure.status.0,
        text: failure.text,
    }
}

pub(super) fn failure(refusal: pb::Refusal) -> Failure {
    let status = Status(refusal.status);
    // Success is no reason to refuse.
    let status = if status == Status::OK {
        Status::INTERNAL
    } else {
        status
    };
    Failure::new(status, refusal.text)
}

/// A result as a reply, which has a place for what it refuses.
pub(super) fn settled<T: Default>(
    result: Result<T, Failure>,
    place: impl FnOnce(&mut T) -> &mut Option<pb::Refusal>,
) -> T {
    match result {
        Ok(reply) => reply,
        Err(failure) => {
            let mut reply = T::default();
            *place(&mut reply) = Some(refusal(failure));
            reply
        }
    }
}

pub(super) fn block_id(bytes: &[u8]) -> Result<BlockId, Failure> {
    match bytes.try_into() {
        Ok(bytes) => Ok(BlockId(bytes)),
        Err(_) => Err(invalid(format!("a block id of {} bytes", bytes.len()))),
    }
}

pub(super) fn block_ids(all: &[Vec<u8>]) -> Result<Vec<BlockId>, Failure> {
    all.iter().map(|bytes| block_id(bytes)).collect()
}

pub(super) fn nodes(all: &[String]) -> Result<Vec<NodeId>, Failure> {
    all.iter().map(|text| parse_node(text)).collect()
}

pub(super) fn node_texts(all: &[NodeId]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

pub(super) fn receive_request(order: Order) -> pb::ReceiveRequest {
    use std::os::unix::ffi::OsStringExt;
    let mut request = pb::ReceiveRequest {
        budget: order.budget.unwrap_or_default(),
        destination: order
            .destination
            .map(|path| path.into_os_string().into_vec())
            .unwrap_or_default(),
        ..Default::default()
    };
    match order.target {
        Target::Tree { root, base, pin } => {
            request.root = root.to_string();
            request.base = base.map(|base| base.to_string()).unwrap_or_default();
            request.pin = pin;
        }
        Target::Path { root, path } => {
            request.root = root.to_string();
            request.in_part = true;
            request.path = path;
        }
        Target::Block(id) => request.block = id.0.to_vec(),
    }
    request
}

pub(super) fn order(request: pb::ReceiveRequest) -> Result<Order, Failure> {
    let target = if !request.block.is_empty() {
        Target::Block(block_id(&request.block)?)
    } else {
        let root = parse_root(&request.root)?;
        if request.in_part {
            Target::Path {
                root,
                path: request.path,
            }
        } else {
            let base = match &request.base[..] {
                "" => None,
                text => Some(parse_root(text)?),
            };
            Target::Tree {
                root,
                base,
                pin: request.pin,
            }
        }
    };
    let destination = match request.destination {
        empty if empty.is_empty() => None,
        bytes => Some(parse_path(bytes)?),
    };
    Ok(Order {
        target,
        destination,
        budget: (request.budget > 0).then_some(request.budget),
    })
}

pub(super) fn part_request(part: Part) -> pb::FetchPartRequest {
    let mut request = pb::FetchPartRequest {
        budget: part.budget.unwrap_or_default(),
        at_once: part.at_once,
        ..Default::default()
    };
    match part.target {
        Target::Tree { root, .. } => request.root = root.to_string(),
        Target::Path { root, path } => {
            request.root = root.to_string();
            request.path = path;
        }
        Target::Block(id) => request.block = id.0.to_vec(),
    }
    request
}

pub(super) fn part(request: pb::FetchPartRequest) -> Result<Part, Failure> {
    let target = if request.block.is_empty() {
        Target::Path {
            root: parse_root(&request.root)?,
            path: request.path,
        }
    } else {
        Target::Block(block_id(&request.block)?)
    };
    Ok(Part {
        target,
        budget: (request.budget > 0).then_some(request.budget),
        at_once: request.at_once,
    })
}

pub(super) fn totals_event(totals: Totals) -> pb::ReceiveEvent {
    pb::ReceiveEvent {
        known_blocks: totals.known.0,
        known_bytes: totals.known.1,
        present_blocks: totals.present.0,
        present_bytes: totals.present.1,
        ..Default::default()
    }
}

/// `None` in an event that is about something else.
pub(super) fn event_totals(event: &pb::ReceiveEvent) -> Option<Totals> {
    event.progress.is_none().then_some(Totals {
        known: (event.known_blocks, event.known_bytes),
        present: (event.present_blocks, event.present_bytes),
    })
}

pub(super) fn receive_reply(received: Received) -> pb::ReceiveReply {
    let Received { totals, extracted } = received;
    pb::ReceiveReply {
        refused: None,
        known_blocks: totals.known.0,
        known_bytes: totals.known.1,
        present_blocks: totals.present.0,
        present_bytes: totals.present.1,
        files: extracted.files,
        directories: extracted.directories,
        symlinks: extracted.symlinks,
        content_bytes: extracted.content_bytes,
    }
}

pub(super) fn received(reply: &pb::ReceiveReply) -> Received {
    Received {
        totals: Totals {
            known: (reply.known_blocks, reply.known_bytes),
            present: (reply.present_blocks, reply.present_bytes),
        },
        extracted: ExtractReport {
            files: reply.files,
            directories: reply.directories,
            symlinks: reply.symlinks,
            content_bytes: reply.content_bytes,
        },
    }
}

pub(super) fn fetched(report: &FetchReport) -> pb::Fetched {
    pb::Fetched {
        refused: None,
        blocks: report.blocks,
        content_bytes: report.content_bytes,
        wire_bytes: report.wire_bytes,
        asked_bytes: report.asked_bytes,
        answered_bytes: report.answered_bytes,
        delta_blocks: report.delta_blocks,
        delta_bytes: report.delta_bytes,
        delta_content_bytes: report.delta_content_bytes,
        providers: crate::fetch::provider_bytes(report),
    }
}

pub(super) fn report(fetched: pb::Fetched) -> Result<FetchReport, Failure> {
    let provider = |one: pb::ProviderBytes| {
        Ok(ProviderBytes {
            node: parse_node(&one.node_id)?,
            bytes: one.bytes,
            blocks: one.blocks,
            failures: one.failures,
            rate: one.rate,
            dropped: one.dropped,
            state: one.state,
        })
    };
    Ok(FetchReport {
        blocks: fetched.blocks,
        content_bytes: fetched.content_bytes,
        wire_bytes: fetched.wire_bytes,
        asked_bytes: fetched.asked_bytes,
        answered_bytes: fetched.answered_bytes,
        delta_blocks: fetched.delta_blocks,
        delta_bytes: fetched.delta_bytes,
        delta_content_bytes: fetched.delta_content_bytes,
        providers: fetched
            .providers
            .into_iter()
            .map(provider)
            .collect::<Result<_, Failure>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypermesh_id::Root;

    #[test]
    fn what_is_ordered_arrives_as_it_was_ordered() {
        let root = Root(BlockId([7; 32]));
        let targets = [
            Target::Tree {
                root,
                base: None,
                pin: true,
            },
            Target::Tree {
                root,
                base: Some(Root(BlockId([8; 32]))),
                pin: false,
            },
            Target::Path {
                root,
                path: Vec::new(),
            },
            Target::Path {
                root,
                path: b"a/\xff".to_vec(),
            },
            Target::Block(BlockId([9; 32])),
        ];
        for target in targets {
            for destination in [None, Some("/tmp/copy".into())] {
                for budget in [None, Some(1)] {
                    let sent = Order {
                        target: target.clone(),
                        destination: destination.clone(),
                        budget,
                    };
                    assert_eq!(order(receive_request(sent.clone())).unwrap(), sent);
                }
            }
        }
    }

    #[test]
    fn what_is_no_order_is_refused() {
        for request in [
            pb::ReceiveRequest::default(),
            pb::ReceiveRequest {
                block: vec![1; 31],
                ..Default::default()
            },
            pb::ReceiveRequest {
                root: Root(BlockId([1; 32])).to_string(),
                destination: b"relative".to_vec(),
                ..Default::default()
            },
        ] {
            let failure = order(request).unwrap_err();
            assert_eq!(failure.status, Status::INVALID_ARGUMENT);
        }
    }

    #[test]
    fn a_refusal_is_never_a_success() {
        for status in [Status::OK, Status::QUOTA] {
            let back = failure(refusal(Failure::new(status, "why")));
            assert_ne!(back.status, Status::OK);
            assert_eq!(back.text, "why");
        }
    }
}
