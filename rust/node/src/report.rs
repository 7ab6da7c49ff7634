//! What one process of a node says of itself: its components, layers, pools and counters. The metrics component adds up
//! what all processes say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hypermesh_blocks::Store;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use mfn_local::{
    Answering, BoxFuture, BreakerState, Call, Failure, Handler, Pool, PoolStats, Reply,
    monotonic_ns,
};
use mfn_wire::{Service, method, pb};
use stoq::Endpoint;

use crate::adviser::Adviser;
use crate::answer::{Answer, blocking, boxed, store_failure, unix_ns};
use crate::component::View;
use crate::remote::on_behalf_of;

/// A part of a process that has numbers.
pub(crate) trait Measured: Send + Sync {
    /// Sets its gauges, and answers what a status shows of it.
    fn measure(&self) -> BoxFuture<Result<Measures, Failure>>;
}

/// What a status shows of a part.
#[derive(Debug, Default)]
pub(crate) struct Measures {
    pub(crate) layers: Vec<pb::LayerStatus>,
    pub(crate) pools: Vec<PoolStats>,
}

/// This process.
pub(crate) struct Process {
    /// The component that it is; none: all of them.
    only: Option<Service>,
    started: u64,
    /// How often it was started again.
    restarts: u64,
    recorder: PrometheusHandle,
    views: Mutex<Vec<View>>,
    parts: Mutex<Vec<Arc<dyn Measured>>>,
}

impl Process {
    pub(crate) fn new(only: Option<Service>, restarts: u64) -> Self {
        Self {
            only,
            started: unix_ns(),
            restarts,
            recorder: recorder(),
            views: Mutex::default(),
            parts: Mutex::default(),
        }
    }

    /// The components in the order in which they started.
    fn views(&self) -> MutexGuard<'_, Vec<View>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parts(&self) -> MutexGuard<'_, Vec<Arc<dyn Measured>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn serves(&self, view: View) {
        self.views().push(view);
    }

    pub(crate) fn has(&self, part: impl Measured + 'static) {
        self.parts().push(Arc::new(part));
    }

    /// All that it has to say.
    pub(crate) async fn report(&self) -> Result<pb::ProcessReport, Failure> {
        let pid = std::process::id().into();
        let views = self.views().clone();
        let parts = self.parts().clone();
        let mut report = pb::ProcessReport {
            pid,
            started: self.started,
            resident_bytes: resident_bytes(std::process::id()),
            ..Default::default()
        };
        for view in &views {
            count(view);
            report.components.push(pb::ComponentStatus {
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
                pid,
                started: self.started,
                restarts: self.restarts,
            });
        }
        let holder = self.only.map_or("", Service::name);
        for part in parts {
            let Measures { layers, pools } = part.measure().await?;
            report.layers.extend(layers);
            pools.iter().for_each(|stats| count_pool(stats, holder));
            let pools = pools.iter().map(|stats| pool_status(stats, holder));
            report.pools.extend(pools);
        }
        if self.only.is_some() {
            metrics::gauge!("hypermesh_process_restarts", &of(holder)).set(self.restarts as f64);
        }
        metrics::gauge!("hypermesh_process_resident_bytes", &of(holder))
            .set(report.resident_bytes as f64);
        self.recorder.run_upkeep();
        report.prometheus = self.recorder.render();
        Ok(report)
    }
}

/// A label for what several processes have under the same name; none where there is one process.
fn of(holder: &str) -> Vec<(&'static str, String)> {
    let label = || ("component", holder.to_owned());
    (!holder.is_empty()).then(label).into_iter().collect()
}

/// The process's one recorder; a second node in one process (a test) shares it.
fn recorder() -> PrometheusHandle {
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

/// A component that also answers for its process.
pub(crate) struct Reporting {
    pub(crate) service: Service,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) process: Arc<Process>,
}

impl Handler for Reporting {
    fn call(&self, call: Call) -> BoxFuture<Answer> {
        if Some(call.method) != report_method(self.service) {
            return self.handler.call(call);
        }
        let process = Arc::clone(&self.process);
        boxed(async move { process.report().await.map(|report| Reply::message(&report)) })
    }

    fn answer(&self, call: Call) -> Answering {
        if Some(call.method) != report_method(self.service) {
            let context = call.context();
            return match self.handler.answer(call) {
                // Where there is one process, nothing is asked over sockets.
                Answering::Later(answer) if self.process.only.is_some() => {
                    Answering::Later(on_behalf_of(context, answer))
                }
                answering => answering,
            };
        }
        Answering::Later(self.call(call))
    }
}

/// The method by which a component answers for its process.
pub(crate) fn report_method(service: Service) -> Option<u16> {
    match service {
        Service::Transport => Some(method::transport::REPORT),
        Service::State => Some(method::state::REPORT),
        Service::Scheduler => Some(method::scheduler::REPORT),
        Service::Consensus => Some(method::consensus::REPORT),
        _ => None,
    }
}

impl Measured for Store {
    fn measure(&self) -> BoxFuture<Result<Measures, Failure>> {
        let store = self.clone();
        Box::pin(async move {
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
            ];
            for (name, value) in gauges {
                metrics::gauge!(name).set(value as f64);
            }
            let index = pb::LayerStatus {
                name: "ifr".into(),
                state: "in use".into(),
                detail: "in-process: the index of the store".into(),
                entries: stats.blocks,
                restarts: 0,
            };
            Ok(Measures {
                layers: vec![index],
                pools: Vec::new(),
            })
        })
    }
}

impl Measured for Endpoint {
    fn measure(&self) -> BoxFuture<Result<Measures, Failure>> {
        let peers = self.peers();
        let connected = peers.iter().filter(|peer| peer.connected).count();
        metrics::gauge!("hypermesh_peers_known").set(peers.len() as f64);
        metrics::gauge!("hypermesh_peers_connected").set(connected as f64);
        Box::pin(std::future::ready(Ok(Measures::default())))
    }
}

impl Measured for Adviser {
    fn measure(&self) -> BoxFuture<Result<Measures, Failure>> {
        let this = self.clone();
        Box::pin(async move {
            let (detail, restarts, running) = this.state();
            metrics::gauge!("hypermesh_alm_restarts").set(restarts as f64);
            let layer = pb::LayerStatus {
                name: "alm".into(),
                state: (if running { "in use" } else { "absent" }).into(),
                detail,
                restarts,
                entries: this.links().await.unwrap_or_default(),
            };
            Ok(Measures {
                layers: vec![layer],
                pools: this.pool().map(Pool::stats).into_iter().collect(),
            })
        })
    }
}

/// Connections to other components.
pub(crate) struct Held(pub(crate) Vec<Pool>);

impl Measured for Held {
    fn measure(&self) -> BoxFuture<Result<Measures, Failure>> {
        let pools = self.0.iter().map(Pool::stats).collect();
        Box::pin(std::future::ready(Ok(Measures {
            layers: Vec::new(),
            pools,
        })))
    }
}

fn count(view: &View) {
    let service = view.service.name();
    metrics::gauge!("hypermesh_socket_connections", "service" => service)
        .set(view.connections() as f64);
    let counters = [
        ("hypermesh_socket_requests", view.requests()),
        ("hypermesh_socket_errors", view.errors()),
        ("hypermesh_socket_accepted", view.accepted()),
        ("hypermesh_socket_denied", view.denied()),
        ("hypermesh_socket_violations", view.violations()),
    ];
    for (name, value) in counters {
        metrics::counter!(name, "service" => service).absolute(value);
    }
}

fn count_pool(stats: &PoolStats, holder: &str) {
    let mut labels = of(holder);
    labels.push(("service", stats.service.name().to_owned()));
    let gauges = [
        ("hypermesh_pool_connections", stats.connections),
        ("hypermesh_pool_in_flight", stats.in_flight),
        ("hypermesh_pool_waiting", stats.waiting),
    ];
    for (name, value) in gauges {
        metrics::gauge!(name, &labels).set(value as f64);
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
        metrics::counter!(name, &labels).absolute(value);
    }
    for breaker in pool_status(stats, "").breakers {
        let open = f64::from(u8::from(breaker.state != "closed"));
        let mut labels = labels.clone();
        labels.push(("method", breaker.method));
        metrics::gauge!("hypermesh_breaker_open", &labels).set(open);
    }
}

fn pool_status(stats: &PoolStats, holder: &str) -> pb::PoolStatus {
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
        holder: holder.into(),
    }
}

/// Memory of a process that is in RAM; 0 when the system does not say.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm"))
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok())
        .unwrap_or_default();
    pages.saturating_mul(rustix::param::page_size() as u64)
}

/// One Prometheus text of several: the samples of one metric stand together below one header, as the format wants it.
pub(crate) fn merged(texts: &[String]) -> String {
    if let [one] = texts {
        return one.clone();
    }
    #[derive(Default)]
    struct Family<'a> {
        header: Vec<&'a str>,
        samples: Vec<&'a str>,
    }
    let mut families: BTreeMap<&str, Family<'_>> = BTreeMap::new();
    for text in texts {
        // Of a text: the metric whose samples come now.
        let mut name = "";
        let mut is_new = false;
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# ") {
                let of = rest.split_whitespace().nth(1).unwrap_or_default();
                if of != name {
                    name = of;
                    is_new = !families.contains_key(name);
                }
                if is_new {
                    families.entry(name).or_default().header.push(line);
                }
            } else {
                families.entry(name).or_default().samples.push(line);
            }
        }
    }
    let mut merged = String::new();
    for Family { header, samples } in families.into_values() {
        for line in header.into_iter().chain(samples) {
            merged.push_str(line);
            merged.push('\n');
        }
        merged.push('\n');
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_metric_of_two_processes_has_one_header() {
        let one =
            "# TYPE a counter\na{component=\"x\"} 1\n\n# TYPE b gauge\nb{component=\"x\"} 2\n\n";
        let two = "# HELP b of both\n# TYPE b gauge\nb{component=\"y\"} 3\n\n# TYPE c gauge\nc{component=\"y\"} 4\n";
        let merged = merged(&[one.into(), two.into()]);
        assert_eq!(
            merged,
            "# TYPE a counter\na{component=\"x\"} 1\n\n\
             # TYPE b gauge\nb{component=\"x\"} 2\nb{component=\"y\"} 3\n\n\
             # TYPE c gauge\nc{component=\"y\"} 4\n\n"
        );
        assert_eq!(super::merged(&[one.into()]), one);
    }
}
