//! The whole node at a glance.

use hypermesh_node::units::format_size;
use mfn_wire::{Service, method, pb};
use serde_json::{Value, json};

use super::Context;
use super::network::{peer_json, peer_table};
use crate::error::CliError;
use crate::output::{ago, table};
use crate::progress::provider_json;

struct Snapshot {
    node: pb::NodeStatus,
    transport: pb::TransportStatus,
    peers: pb::PeerList,
    store: pb::StateStatus,
    scheduler: pb::SchedulerStatus,
    consensus: pb::ConsensusStatus,
}

pub(crate) async fn status(context: &Context) -> Result<(), CliError> {
    let metrics = context.client(Service::Metrics).await?;
    let node: pb::NodeStatus = context
        .ask_nothing(&metrics, method::metrics::STATUS)
        .await?;
    let mut all = Components {
        context,
        away: node
            .components
            .iter()
            .filter(|component| component.state == "away")
            .map(|component| component.name.clone())
            .collect(),
    };
    let mut snapshot = Snapshot {
        transport: all
            .ask(Service::Transport, method::transport::STATUS)
            .await?,
        peers: all
            .ask(Service::Transport, method::transport::PEERS)
            .await?,
        store: all.ask(Service::State, method::state::STATUS).await?,
        scheduler: all
            .ask(Service::Scheduler, method::scheduler::STATUS)
            .await?,
        consensus: all
            .ask(Service::Consensus, method::consensus::STATUS)
            .await?,
        node,
    };
    for component in &mut snapshot.node.components {
        if all.away.contains(&component.name) {
            component.state = "away".into();
        }
    }
    context.out.result(|| snapshot.text(), || snapshot.json())
}

/// The components of a node, of which some may be away.
struct Components<'a> {
    context: &'a Context,
    away: Vec<String>,
}

impl Components<'_> {
    /// Nothing, of one that is away, or just went: the table of components says that it is.
    async fn ask<A: prost::Message + Default>(
        &mut self,
        service: Service,
        method: u16,
    ) -> Result<A, CliError> {
        if self.away.iter().any(|name| name == service.name()) {
            return Ok(A::default());
        }
        let asked = async {
            let client = self.context.client(service).await?;
            self.context.ask_nothing(&client, method).await
        };
        match asked.await {
            // It was there a moment ago, when the node was asked for all of them.
            Err(CliError { status: None, .. }) => {
                self.away.push(service.name().into());
                Ok(A::default())
            }
            asked => asked,
        }
    }
}

impl Snapshot {
    fn text(&self) -> String {
        let node = &self.node;
        let mut parts = vec![facts(&[
            ("node", node.node_id.clone()),
            ("version", node.version.clone()),
            (
                "process",
                format!(
                    "{}{}, up {}, {} resident",
                    node.pid,
                    if node.split {
                        " and one for each component"
                    } else {
                        ""
                    },
                    ago(node.started),
                    format_size(node.resident_bytes)
                ),
            ),
            ("listen", self.transport.listen.join(", ")),
            (
                "peers",
                format!(
                    "{} of {} connected; {} sent, {} received",
                    self.transport.connected,
                    self.transport.known,
                    format_size(self.transport.bytes_sent),
                    format_size(self.transport.bytes_received)
                ),
            ),
            ("store", self.store_text()),
            ("mesh", self.mesh_text()),
        ])];
        let components = node
            .components
            .iter()
            .map(|component| {
                vec![
                    component.name.clone(),
                    match component.restarts {
                        0 => component.state.clone(),
                        1 => format!("{}, 1 restart", component.state),
                        many => format!("{}, {many} restarts", component.state),
                    },
                    component.pid.to_string(),
                    component.connections.to_string(),
                    component.requests.to_string(),
                    component.errors.to_string(),
                    component.socket.clone(),
                ]
            })
            .collect();
        parts.push(table(
            &[
                "component",
                "state",
                "process",
                "connections",
                "requests",
                "errors",
                "socket",
            ],
            &[2, 3, 4, 5],
            components,
        ));
        let layers = node
            .layers
            .iter()
            .map(|layer| {
                vec![
                    layer.name.clone(),
                    layer.state.clone(),
                    layer.entries.to_string(),
                    layer.restarts.to_string(),
                    layer.detail.clone(),
                ]
            })
            .collect();
        parts.push(table(
            &["layer", "state", "entries", "restarts", "detail"],
            &[2, 3],
            layers,
        ));
        if !self.peers.peers.is_empty() {
            parts.push(peer_table(&self.peers.peers));
        }
        if !self.scheduler.jobs.is_empty() {
            parts.push(self.jobs_table());
        }
        parts.join("\n\n")
    }

    fn store_text(&self) -> String {
        let store = &self.store;
        let quota = match store.quota_bytes {
            0 => String::new(),
            quota => format!(" of {} allowed", format_size(quota)),
        };
        format!(
            "{} blocks, {} in {}{quota}; {} roots, {} pinned; {} free on disk",
            store.blocks,
            format_size(store.content_bytes),
            format_size(store.stored_bytes),
            store.roots,
            store.pins,
            format_size(store.disk_free_bytes)
        )
    }

    /// What is decided and by whom, or why this node cannot tell.
    fn mesh_text(&self) -> String {
        let mesh = &self.consensus;
        if !mesh.ready {
            return match mesh.reason.as_str() {
                "" => "away".into(),
                reason => format!("NOT READY: {reason}"),
            };
        }
        let round = match mesh.round {
            0 => String::new(),
            round => format!(", round {round}"),
        };
        format!(
            "{}; {} here, {} of {} voters connected, {} members, {} names; height {} decided{}{round}{}",
            mesh.mesh,
            mesh.role,
            mesh.connected.len(),
            mesh.voters.len(),
            mesh.members,
            mesh.names,
            mesh.decided_height,
            match mesh.decided_height {
                0 => String::new(),
                _ => format!(
                    " {} ago",
                    ago(mesh.decided_time_ms.saturating_mul(1_000_000))
                ),
            },
            match mesh.mempool_transactions {
                0 => String::new(),
                waiting => format!(", {waiting} transactions wait"),
            },
        )
    }

    fn mesh_json(&self) -> Value {
        let mesh = &self.consensus;
        let counted = mesh.counted.iter();
        json!({
            "ready": mesh.ready,
            "reason": mesh.reason,
            "mesh": mesh.mesh,
            "founder": mesh.founder,
            "role": mesh.role,
            "height": mesh.height,
            "round": mesh.round,
            "voters": mesh.voters,
            "connected": mesh.connected,
            "members": mesh.members,
            "names": mesh.names,
            "decided_height": mesh.decided_height,
            "decided_time_ms": mesh.decided_time_ms,
            "decided_round": mesh.decided_round,
            "stored_height": mesh.stored_height,
            "snapshot_height": mesh.snapshot_height,
            "begins_after": mesh.begins_after,
            "state_root": mesh.state_root,
            "mempool_transactions": mesh.mempool_transactions,
            "mempool_bytes": mesh.mempool_bytes,
            "refused": counted.map(|one| (one.name.clone(), json!(one.count)))
                .collect::<serde_json::Map<_, _>>(),
        })
    }

    fn jobs_table(&self) -> String {
        let rows = self
            .scheduler
            .jobs
            .iter()
            .map(|job| {
                let progress = job.progress.clone().unwrap_or_default();
                let done = match progress.bytes_total {
                    0 => format_size(progress.bytes_done),
                    total => format!(
                        "{} of {}",
                        format_size(progress.bytes_done),
                        format_size(total)
                    ),
                };
                vec![
                    job.id.to_string(),
                    job.kind.clone(),
                    job.state.clone(),
                    done,
                    ago(job.started),
                    job.root.clone(),
                    job.error.clone(),
                ]
            })
            .collect();
        table(
            &["job", "kind", "state", "done", "age", "root", "error"],
            &[0, 3, 4],
            rows,
        )
    }

    fn json(&self) -> Value {
        let node = &self.node;
        json!({
            "node_id": node.node_id,
            "version": node.version,
            "pid": node.pid,
            "started": node.started,
            "resident_bytes": node.resident_bytes,
            "split": node.split,
            "components": node.components.iter().map(|component| json!({
                "name": component.name,
                "state": component.state,
                "socket": component.socket,
                "connections": component.connections,
                "requests": component.requests,
                "errors": component.errors,
                "pid": component.pid,
                "started": component.started,
                "restarts": component.restarts,
            })).collect::<Vec<_>>(),
            "layers": node.layers.iter().map(|layer| json!({
                "name": layer.name,
                "state": layer.state,
                "detail": layer.detail,
                "restarts": layer.restarts,
                "entries": layer.entries,
            })).collect::<Vec<_>>(),
            "transport": {
                "node_id": self.transport.node_id,
                "listen": self.transport.listen,
                "connected": self.transport.connected,
                "known": self.transport.known,
                "bytes_sent": self.transport.bytes_sent,
                "bytes_received": self.transport.bytes_received,
            },
            "peers": self.peers.peers.iter().map(peer_json).collect::<Vec<_>>(),
            "store": {
                "blocks": self.store.blocks,
                "stored_bytes": self.store.stored_bytes,
                "live_bytes": self.store.live_bytes,
                "content_bytes": self.store.content_bytes,
                "quota_bytes": self.store.quota_bytes,
                "disk_free_bytes": self.store.disk_free_bytes,
                "segments": self.store.segments,
                "roots": self.store.roots,
                "pins": self.store.pins,
                "index_bytes": self.store.index_bytes,
            },
            "scheduler": {
                "adviser_available": self.scheduler.adviser_available,
                "adviser_state": self.scheduler.adviser_state,
                "jobs": self.scheduler.jobs.iter().map(job_json).collect::<Vec<_>>(),
            },
            "consensus": self.mesh_json(),
        })
    }
}

fn job_json(job: &pb::Job) -> Value {
    let progress = job.progress.clone().unwrap_or_default();
    json!({
        "id": job.id,
        "kind": job.kind,
        "root": job.root,
        "state": job.state,
        "error": job.error,
        "started": job.started,
        "phase": progress.phase,
        "bytes_done": progress.bytes_done,
        "bytes_total": progress.bytes_total,
        "items_done": progress.items_done,
        "items_total": progress.items_total,
        "providers": progress.providers.iter().map(provider_json).collect::<Vec<_>>(),
    })
}

fn facts(rows: &[(&str, String)]) -> String {
    rows.iter()
        .map(|(name, value)| format!("{name:<9}{value}"))
        .collect::<Vec<_>>()
        .join("\n")
}
