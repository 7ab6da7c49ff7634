//! The metrics component: how the node and its parts are, whatever processes they run in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hypermesh_id::NodeId;
use mfn_local::{BoxFuture, Call, Failure, Handler, Pool, Reply, Request};
use mfn_wire::{Service, Status, method, pb};
use prost::Message;

use crate::answer::{Answer, boxed, unsupported};
use crate::exact::Exact;
use crate::memory::Layers;
use crate::report::{Measured, Measures, Process, merged, report_method, resident_bytes};

/// How long another process may take to say how it is.
const REPORT_TIMEOUT: Duration = Duration::from_secs(2);
/// The layers in the order in which they are shown; `ifrd` is the first one for other programs.
const LAYERS: [&str; 5] = ["ifr", "ifrd", "dsr", "alm", "cpe"];

#[derive(Clone)]
pub(crate) struct MetricsService {
    pub(crate) id: NodeId,
    pub(crate) started: u64,
    /// The one that it runs in.
    pub(crate) process: Arc<Process>,
    /// The others, by the component that each of them is.
    pub(crate) others: Arc<[Other]>,
    /// Who watches over the processes.
    pub(crate) parent: Option<u32>,
}

/// A component in another process.
pub(crate) struct Other {
    pub(crate) service: Service,
    pub(crate) socket: PathBuf,
    pub(crate) pool: Pool,
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
    /// What all processes say. One that does not answer is shown as away.
    async fn reports(&self) -> Result<Vec<pb::ProcessReport>, Failure> {
        let mut asked = tokio::task::JoinSet::new();
        for number in 0..self.others.len() {
            let others = Arc::clone(&self.others);
            asked.spawn(async move {
                let other = others.get(number)?;
                Some(other.report().await)
            });
        }
        let mut reports = vec![self.process.report().await?];
        while let Some(report) = asked.join_next().await {
            reports.extend(report.ok().flatten());
        }
        Ok(reports)
    }

    async fn status(&self) -> Answer {
        let reports = self.reports().await?;
        let mut status = pb::NodeStatus {
            node_id: self.id.to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            pid: self.parent.unwrap_or_else(std::process::id).into(),
            started: self.started,
            resident_bytes: self.parent.map_or(0, resident_bytes),
            split: self.parent.is_some(),
            ..Default::default()
        };
        for report in reports {
            status.resident_bytes += report.resident_bytes;
            status.components.extend(report.components);
            status.layers.extend(report.layers);
            status.pools.extend(report.pools);
        }
        status.components.sort_by_key(|component| {
            let service = Service::ALL
                .iter()
                .position(|service| service.name() == component.name);
            service.unwrap_or(Service::ALL.len())
        });
        status.layers.sort_by_key(|layer| {
            let place = LAYERS.iter().position(|name| *name == layer.name);
            place.unwrap_or(LAYERS.len())
        });
        // Those that say nothing now are stated all the same.
        for (place, name) in LAYERS.iter().enumerate() {
            if !status.layers.iter().any(|layer| layer.name == *name) {
                let away = pb::LayerStatus {
                    name: (*name).into(),
                    state: "absent".into(),
                    detail: "the process that has it does not answer".into(),
                    ..Default::default()
                };
                status.layers.insert(place, away);
            }
        }
        Ok(Reply::message(&status))
    }

    async fn scrape(&self) -> Answer {
        self.text().await.map(Reply::text)
    }

    /// Prometheus text.
    pub(crate) async fn text(&self) -> Result<String, Failure> {
        let reports = self.reports().await?;
        let texts: Vec<String> = reports
            .into_iter()
            .map(|report| report.prometheus)
            .filter(|text| !text.is_empty())
            .collect();
        if texts.is_empty() {
            return Err(Failure::new(Status::NOT_READY, "nothing is measured yet"));
        }
        Ok(merged(&texts))
    }
}

impl Other {
    async fn report(&self) -> pb::ProcessReport {
        let asked = async {
            let method = report_method(self.service)?;
            let request = Request::empty().within(REPORT_TIMEOUT);
            let reply = self.pool.call(method, request).await.ok()?;
            pb::ProcessReport::decode(reply.body).ok()
        };
        asked.await.unwrap_or_else(|| pb::ProcessReport {
            components: vec![pb::ComponentStatus {
                name: self.service.name().into(),
                state: "away".into(),
                socket: self.socket.display().to_string(),
                ..Default::default()
            }],
            ..Default::default()
        })
    }
}

/// The layers that this process serves to other programs, and `ifrd`, which it watches.
pub(crate) struct Memory {
    pub(crate) layers: Layers,
    pub(crate) exact: Exact,
}

impl Measured for Memory {
    fn measure(&self) -> BoxFuture<Result<Measures, Failure>> {
        let (layers, exact) = (self.layers.clone(), self.exact.clone());
        Box::pin(async move {
            Ok(Measures {
                layers: vec![
                    exact.status().await,
                    layers.dsr.status("dsr"),
                    layers.cpe.status("cpe"),
                ],
                pools: exact.pool().map(Pool::stats).into_iter().collect(),
            })
        })
    }
}
