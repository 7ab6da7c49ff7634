//! The metrics component: how the node and its parts are.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hypermesh_blocks::Store;
use hypermesh_id::NodeId;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use mfn_local::{
    BoxFuture, BreakerState, Call, Failure, Handler, Pool, PoolStats, Reply, monotonic_ns,
};
use mfn_wire::{Service, Status, method, pb};

use crate::adviser::Adviser;
use crate::answer::{Answer, blocking, boxed, store_failure, unsupported};
use crate::component::View;
use crate::exact::Exact;
use crate::memory::Layers;

/// The components in the order in which they started; this one adds itself last.
pub(crate) type Views = Arc<Mutex<Vec<View>>>;

#[derive(Clone)]
pub(crate) struct MetricsService {
    pub(crate) id: NodeId,
    pub(crate) started: u64,
    pub(crate) views: Views,
    pub(crate) store: Store,
    pub(crate) endpoint: stoq::Endpoint,
    pub(crate) adviser: Adviser,
    pub(crate) memory: Layers,
    pub(crate) exact: Exact,
    pub(crate) recorder: PrometheusHandle,
}

/// The process's one recorder; a second node in one process (a test) shares it.
pub(crate) fn recorder() -> PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER
        .get_or_init(|| {
            let recorder = PrometheusBuilder::new().build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!(
                    "another recorder is installed; counters of the transport stay empty"
                );
            }
            handle
        })
        .clone()
}

impl Handler for MetricsService {
    fn call(&self, call: Call) -> BoxFuture<Answer> {
        let this = self.clone();
        boxed(async move {
            match call.method {
                method::metrics::STATUS => this.status().await,
                method::metrics::SCRAPE => this.scrape().await,
                _ => unsupported(Service::Metrics, &call),
            }
        })
    }
}

impl MetricsService {
    fn views(&self) -> Vec<View> {
        self.views
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn status(&self) -> Answer {
        let components = self
            .views()
            .iter()
            .map(|view| pb::ComponentStatus {
                name: view.service.name().into(),
                state: (if view.is_running() {
                    "running"
                } else {
                    "ended"
                })
                .into(),
                socket: view.socket.display().to_string(),
                connections: view.connections(),
                requests: view.requests(),
                errors: view.errors(),
                accepted: view.accepted(),
                denied: view.denied(),
                violations: view.violations(),
            })
            .collect();
        let (alm, restarts, running) = self.adviser.state();
        let layer = |name: &str, state: &str, detail: &str| pb::LayerStatus {
            name: name.into(),
            state: state.into(),
            detail: detail.into(),
            ..Default::default()
        };
        let store = self.store.clone();
        let blocks = blocking(move || store.stats())
            .await
            .map_err(store_failure)?
            .blocks;
        let layers = vec![
            pb::LayerStatus {
                entries: blocks,
                ..layer("ifr", "in use", "in-process: the index of the store")
            },
            self.exact.status().await,
            self.memory.dsr.status("dsr"),
            pb::LayerStatus {
                restarts,
                entries: self.adviser.links().await.unwrap_or_default(),
                ..layer("alm", if running { "in use" } else { "absent" }, &alm)
            },
            self.memory.cpe.status("cpe"),
        ];
        Ok(Reply::message(&pb::NodeStatus {
            node_id: self.id.to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id().into(),
            started: self.started,
            resident_bytes: resident_bytes(),
            components,
            layers,
            pools: self.pools().map(|stats| pool_status(&stats)).collect(),
        }))
    }

    /// Of the sockets that this node asks.
    fn pools(&self) -> impl Iterator<Item = PoolStats> {
        let pools = [self.exact.pool(), self.adviser.pool()];
        pools.into_iter().flatten().map(Pool::stats)
    }

    async fn scrape(&self) -> Answer {
        self.text().await.map(Reply::text)
    }

    /// Prometheus text.
    pub(crate) async fn text(&self) -> Result<String, Failure> {
        let store = self.store.clone();
        let stats = blocking(move || store.stats())
            .await
            .map_err(store_failure)?;
        let gauges = [
            ("hypermesh_store_blocks", stats.blocks),
            ("hypermesh_store_stored_bytes", stats.stored_bytes),
            ("hypermesh_store_live_bytes", stats.live_bytes),
            ("hypermesh_store_content_bytes", stats.content_bytes),
            ("hypermesh_store_index_bytes", stats.index_bytes),
            ("hypermesh_store_disk_free_bytes", stats.disk_free_bytes),
            ("hypermesh_process_resident_bytes", resident_bytes()),
            ("hypermesh_alm_restarts", self.adviser.state().1),
        ];
        for (name, value) in gauges {
            metrics::gauge!(name).set(value as f64);
        }
        let peers = self.endpoint.peers();
        let connected = peers.iter().filter(|peer| peer.connected).count();
        metrics::gauge!("hypermesh_peers_known").set(peers.len() as f64);
        metrics::gauge!("hypermesh_peers_connected").set(connected as f64);
        for view in self.views() {
            let service = view.service.name();
            metrics::gauge!("hypermesh_socket_connections", "service" => service)
                .set(view.connections() as f64);
            metrics::counter!("hypermesh_socket_requests", "service" => service)
                .absolute(view.requests());
            metrics::counter!("hypermesh_socket_errors", "service" => service)
                .absolute(view.errors());
            metrics::counter!("hypermesh_socket_accepted", "service" => service)
                .absolute(view.accepted());
            metrics::counter!("hypermesh_socket_denied", "service" => service)
                .absolute(view.denied());
            metrics::counter!("hypermesh_socket_violations", "service" => service)
                .absolute(view.violations());
        }
        self.pools().for_each(|stats| measure(&stats));
        self.recorder.run_upkeep();
        let text = self.recorder.render();
        if text.is_empty() {
            return Err(Failure::new(Status::NOT_READY, "nothing is measured yet"));
        }
        Ok(text)
    }
}

fn measure(stats: &PoolStats) {
    let service = stats.service.name();
    let gauges = [
        ("hypermesh_pool_connections", stats.connections),
        ("hypermesh_pool_in_flight", stats.in_flight),
        ("hypermesh_pool_waiting", stats.waiting),
    ];
    for (name, value) in gauges {
        metrics::gauge!(name, "service" => service).set(value as f64);
    }
    let counters = [
        ("hypermesh_pool_calls", stats.calls),
        ("hypermesh_pool_repeated", stats.repeated),
        ("hypermesh_pool_refused", stats.refused),
        ("hypermesh_pool_opened", stats.opened),
        ("hypermesh_pool_failed", stats.failed),
        ("hypermesh_pool_retired", stats.retired),
    ];
    for (name, value) in counters {
        metrics::counter!(name, "service" => service).absolute(value);
    }
    for breaker in pool_status(stats).breakers {
        let open = f64::from(u8::from(breaker.state != "closed"));
        metrics::gauge!("hypermesh_breaker_open", "service" => service, "method" => breaker.method)
            .set(open);
    }
}

fn pool_status(stats: &PoolStats) -> pb::PoolStatus {
    let now = monotonic_ns();
    let breaker = |method: String, state: BreakerState| {
        let (state, until_ns) = match state {
            BreakerState::Closed => ("closed", 0),
            BreakerState::Open { until_ns } => ("open", until_ns),
            BreakerState::HalfOpen { .. } => ("half-open", 0),
        };
        pb::BreakerStatus {
            method,
            state: state.into(),
            retry_in_ns: until_ns.saturating_sub(now),
        }
    };
    let methods = stats.methods.iter().map(|(method, state)| {
        let name = method::name(stats.service, *method);
        breaker(name.map_or_else(|| method.to_string(), Into::into), *state)
    });
    pb::PoolStatus {
        service: stats.service.name().into(),
        socket: stats.path.display().to_string(),
        connections: stats.connections as u64,
        in_flight: stats.in_flight as u64,
        waiting: stats.waiting as u64,
        calls: stats.calls,
        repeated: stats.repeated,
        refused: stats.refused,
        opened: stats.opened,
        failed: stats.failed,
        retired: stats.retired,
        breakers: std::iter::once(breaker("connect".into(), stats.peer))
            .chain(methods)
            .collect(),
    }
}

/// Memory of this process that is in RAM; 0 when the system does not say.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok())
        .unwrap_or_default();
    pages.saturating_mul(rustix::param::page_size() as u64)
}
