//! Who is there: peers, ping, invite, join.

use hypermesh_node::units::{format_duration, format_size};
use mfn_wire::{Service, method, pb};
use serde_json::{Value, json};
use std::time::Duration;

use super::Context;
use crate::args::{Forget, Invite, Join, Ping};
use crate::connect::Step;
use crate::error::CliError;
use crate::output::{ago, round_trip, table};

pub(crate) async fn peers(context: &Context) -> Result<(), CliError> {
    let transport = context.client(Service::Transport).await?;
    let list: pb::PeerList = context
        .ask_nothing(&transport, method::transport::PEERS)
        .await?;
    if context.out.json {
        for peer in &list.peers {
            context.out.result(String::new, || peer_json(peer))?;
        }
        return Ok(());
    }
    if list.peers.is_empty() {
        context.out.remark("no peers yet: `hypermesh invite` here and `hypermesh join` there, or `hypermesh up --peer`");
        return Ok(());
    }
    context
        .out
        .result(|| peer_table(&list.peers), Value::default)
}

/// The peers as a table.
pub(crate) fn peer_table(peers: &[pb::Peer]) -> String {
    let rows = peers
        .iter()
        .map(|peer| {
            vec![
                peer.node_id.clone(),
                (if peer.connected { "connected" } else { "away" }).into(),
                peer.source.clone(),
                peer.addresses.first().cloned().unwrap_or_default(),
                round_trip(peer.rtt_ns),
                format_size(peer.bytes_sent),
                format_size(peer.bytes_received),
                if peer.connected {
                    ago(peer.connected_since)
                } else {
                    peer.last_error.clone()
                },
            ]
        })
        .collect();
    table(
        &[
            "node", "state", "source", "address", "rtt", "sent", "received", "since",
        ],
        &[4, 5, 6],
        rows,
    )
}

/// One peer as JSON.
pub(crate) fn peer_json(peer: &pb::Peer) -> Value {
    json!({
        "node_id": peer.node_id,
        "addresses": peer.addresses,
        "connected": peer.connected,
        "source": peer.source,
        "rtt_ns": peer.rtt_ns,
        "bytes_sent": peer.bytes_sent,
        "bytes_received": peer.bytes_received,
        "lost_packets": peer.lost_packets,
        "connected_since": peer.connected_since,
        "last_error": peer.last_error,
    })
}

pub(crate) async fn ping(context: &Context, arguments: Ping) -> Result<(), CliError> {
    let request = pb::PingRequest {
        node_id: arguments.node.to_string(),
        count: arguments.count,
    };
    let transport = context.client(Service::Transport).await?;
    let mut stream = context
        .stream(&transport, method::transport::PING, &request, 64)
        .await?;
    let reply = loop {
        match stream.step::<pb::PingEvent, pb::PingReply>().await? {
            Step::Event(probe) => context.out.result(
                || {
                    format!(
                        "{:>4}  {}",
                        probe.sequence,
                        format_duration(Duration::from_nanos(probe.rtt_ns))
                    )
                },
                || json!({ "event": "probe", "sequence": probe.sequence, "rtt_ns": probe.rtt_ns }),
            )?,
            Step::Reply(reply) => break reply,
        }
    };
    context.out.result(
        || {
            format!(
                "{} of {} answered; min {}, median {}, max {}",
                reply.received,
                reply.sent,
                round_trip(reply.min_ns),
                round_trip(reply.median_ns),
                round_trip(reply.max_ns)
            )
        },
        || {
            json!({
                "event": "summary",
                "sent": reply.sent,
                "received": reply.received,
                "min_ns": reply.min_ns,
                "median_ns": reply.median_ns,
                "max_ns": reply.max_ns,
            })
        },
    )?;
    if reply.received == 0 {
        return Err(CliError::failed("the peer did not answer"));
    }
    Ok(())
}

pub(crate) async fn invite(context: &Context, arguments: Invite) -> Result<(), CliError> {
    let valid_for_ns = u64::try_from(arguments.valid_for.as_nanos())
        .map_err(|_| CliError::usage("--valid-for is too long"))?;
    let request = pb::InviteRequest {
        valid_for_ns,
        addresses: arguments.address.iter().map(ToString::to_string).collect(),
    };
    let transport = context.client(Service::Transport).await?;
    let invitation: pb::Invitation = context
        .ask(&transport, method::transport::INVITE, &request)
        .await?;
    context.out.remark(&format!(
        "valid once, for {}: on the other machine, run `hypermesh join` with it",
        format_duration(arguments.valid_for)
    ));
    context.out.result(
        || invitation.text.clone(),
        || json!({ "invitation": invitation.text, "expires": invitation.expires }),
    )
}

pub(crate) async fn join(context: &Context, arguments: Join) -> Result<(), CliError> {
    let request = pb::JoinRequest {
        text: arguments.invitation.trim().to_string(),
        abandon: arguments.abandon,
    };
    let consensus = context.client(Service::Consensus).await?;
    let reply: pb::JoinReply = context
        .ask(&consensus, method::consensus::JOIN, &request)
        .await?;
    context.out.remark(&format!(
        "joined; the inviter introduced {} more",
        reply.introduced
    ));
    context.out.result(
        || reply.node_id.clone(),
        || json!({ "node_id": reply.node_id, "introduced": reply.introduced }),
    )
}

pub(crate) async fn forget(context: &Context, arguments: &Forget) -> Result<(), CliError> {
    let node_id = arguments.node.to_string();
    let request = pb::ForgetRequest {
        node_id: node_id.clone(),
    };
    let transport = context.client(Service::Transport).await?;
    context
        .ask_empty(&transport, method::transport::FORGET, &request)
        .await?;
    context
        .out
        .remark("forgotten here; other members of the mesh still know it");
    if context.out.json {
        return context
            .out
            .result(String::new, || json!({ "forgotten": node_id }));
    }
    Ok(())
}
