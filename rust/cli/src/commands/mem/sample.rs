//! What `mem stats` and `mem top` look at: one sample of all layers, and rates between two.

use std::time::{Duration, Instant};

use hypermesh_node::units::format_size;
use mfn_local::{Client, ConnectOptions};
use mfn_memory::facade::LayerId;
use mfn_wire::{Service, ifr, method, pb};
use serde_json::{Value, json};

use super::{Context, absent, name_in_status};
use crate::connect::software;
use crate::error::CliError;
use crate::output::{printable, table};

/// How long a layer may take to answer; later it counts as silent in this sample.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The stream of `mem put` and `mem get`, whose scores are shown.
const STREAM: &str = "mem";

/// Connections that samples are taken over.
#[derive(Debug)]
pub(super) struct Watch {
    metrics: Client,
    layers: [Option<Client>; 4],
    /// What this view itself has asked of each layer.
    own: [u64; 4],
}

/// One look at all layers.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) layers: [LayerSample; 4],
    /// Pools of records of ifr, by number.
    pub(super) pools: Vec<(ifr::Pool, ifr::PoolStats)>,
    pub(super) node_bytes: u64,
}

/// One look at one layer. Counters are since it started.
#[derive(Clone, Debug, Default)]
pub(super) struct LayerSample {
    pub(super) state: String,
    pub(super) detail: String,
    pub(super) restarts: u64,
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// 0: not said.
    pub(super) bytes_max: u64,
    pub(super) log_bytes: u64,
    /// Calls, those of this view left out; `None`: it does not answer.
    pub(super) calls: Option<u64>,
    pub(super) errors: Option<u64>,
    /// Keys that were there or predictions that came true, and all that were asked for or made.
    pub(super) hits: Option<(u64, u64)>,
    /// How long the layer took for this view's question, there and back.
    pub(super) round_trip: Option<Duration>,
}

/// Counters of a layer that its own statistics tell.
#[derive(Default)]
struct Told {
    bytes: u64,
    bytes_max: u64,
    log_bytes: u64,
    calls: Option<u64>,
    errors: Option<u64>,
    hits: Option<(u64, u64)>,
}

impl Watch {
    pub(super) async fn open(context: &Context) -> Result<Self, CliError> {
        let metrics = context.client(Service::Metrics).await?;
        Ok(Self {
            metrics,
            layers: Default::default(),
            own: [0; 4],
        })
    }

    pub(super) async fn sample(&mut self, context: &Context) -> Result<Sample, CliError> {
        if self.metrics.is_closed() {
            self.metrics = context.client(Service::Metrics).await?;
        }
        let status: pb::NodeStatus = context
            .ask_nothing(&self.metrics, method::metrics::STATUS)
            .await?;
        // For that status the node has asked the two that are processes of their own.
        self.own[LayerId::Ifr.index()] += 1;
        self.own[LayerId::Alm.index()] += 1;
        let mut layers: [LayerSample; 4] = Default::default();
        for layer in LayerId::ALL {
            layers[layer.index()] = self.layer(context, &status, layer).await;
        }
        Ok(Sample {
            at: Instant::now(),
            layers,
            pools: self.pools().await,
            node_bytes: status.resident_bytes,
        })
    }

    /// The pools of records; none when ifr does not answer, or is too old to list them.
    async fn pools(&mut self) -> Vec<(ifr::Pool, ifr::PoolStats)> {
        let at = LayerId::Ifr.index();
        let Some(client) = self.layers.get(at).and_then(Option::as_ref) else {
            return Vec::new();
        };
        let request = mfn_local::Request::empty().within(ANSWER_TIMEOUT);
        self.own[at] += 1;
        let Ok(reply) = client.call(method::ifr::POOLS, request).await else {
            return Vec::new();
        };
        let mut pools = ifr::decode_pools(&reply.body).unwrap_or_default();
        pools.sort_by_key(|(pool, _)| pool.pool_id);
        pools
    }

    async fn layer(
        &mut self,
        context: &Context,
        status: &pb::NodeStatus,
        layer: LayerId,
    ) -> LayerSample {
        let mut sample = LayerSample::default();
        let name = name_in_status(layer);
        if let Some(known) = status.layers.iter().find(|one| one.name == name) {
            sample.state.clone_from(&known.state);
            sample.detail.clone_from(&known.detail);
            sample.restarts = known.restarts;
            sample.entries = known.entries;
        }
        if absent(status, layer).is_some() {
            self.layers[layer.index()] = None;
            self.own[layer.index()] = 0;
            return sample;
        }
        let served = status
            .components
            .iter()
            .find(|one| one.name == layer.name());
        let begun = Instant::now();
        match self.told(context, layer).await {
            Ok(told) => {
                sample.round_trip = Some(begun.elapsed());
                sample.bytes = told.bytes;
                sample.bytes_max = told.bytes_max;
                sample.log_bytes = told.log_bytes;
                sample.hits = told.hits;
                // A counter of the socket was read before our own question.
                let own = self.own[layer.index()];
                let calls = served.map(|one| one.requests).or(told.calls);
                sample.calls = calls.map(|calls| calls.saturating_sub(own));
                sample.errors = served.map(|one| one.errors).or(told.errors);
                if served.is_some() {
                    self.own[layer.index()] += 1;
                }
            }
            Err(why) => {
                sample.state = "silent".into();
                sample.detail = why;
                self.layers[layer.index()] = None;
            }
        }
        sample
    }

    /// The layer's own statistics.
    async fn told(&mut self, context: &Context, layer: LayerId) -> Result<Told, String> {
        let service = match layer {
            LayerId::Ifr => Service::Ifr,
            LayerId::Dsr => Service::Dsr,
            LayerId::Alm => Service::Alm,
            LayerId::Cpe => Service::Cpe,
        };
        let slot = &mut self.layers[layer.index()];
        if slot.as_ref().is_none_or(Client::is_closed) {
            let run = context.run_dir().map_err(|error| error.text)?;
            let options = ConnectOptions {
                timeout: ANSWER_TIMEOUT,
                software: software(),
            };
            let path = run.join(service.socket_name());
            let client = Client::connect(&path, service, options).await;
            *slot = Some(client.map_err(|error| error.to_string())?);
        }
        let Some(client) = slot else {
            return Err("it is not connected".into());
        };
        match layer {
            LayerId::Ifr => {
                self.own[layer.index()] += 1;
                let request = mfn_local::Request::empty().within(ANSWER_TIMEOUT);
                let reply = client.call(method::ifr::STATS, request).await;
                let body = reply.map_err(|error| error.to_string())?.body;
                let stats = ifr::Stats::decode(&body).map_err(|error| error.to_string())?;
                Ok(Told {
                    bytes: stats.bytes,
                    bytes_max: stats.bytes_max,
                    log_bytes: stats.log_bytes,
                    calls: Some(stats.requests),
                    errors: Some(stats.errors),
                    hits: Some((stats.found, stats.looked)),
                })
            }
            LayerId::Dsr => {
                let stats: pb::DsrStats = ask(client, method::dsr::STATS, &()).await?;
                let bytes = stats.pools.iter().map(|pool| pool.bytes + pool.key_bytes);
                Ok(Told {
                    bytes: bytes.sum(),
                    bytes_max: stats.bytes_max,
                    log_bytes: stats.log_bytes,
                    ..Told::default()
                })
            }
            LayerId::Alm => {
                self.own[layer.index()] += 1;
                let stats: pb::AlmStats = ask(client, method::alm::STATS, &()).await?;
                Ok(Told {
                    bytes: stats.bytes,
                    log_bytes: stats.log_bytes,
                    calls: Some(stats.requests),
                    hits: Some((stats.hits, stats.asked)),
                    ..Told::default()
                })
            }
            LayerId::Cpe => {
                let of_stream = pb::CpeStatsRequest {
                    pool_id: mfn_memory::facade::NODE_POOL.into(),
                    stream: STREAM.into(),
                };
                let mut asked = ask(client, method::cpe::STATS, &of_stream).await;
                if asked.is_err() {
                    // Nothing came in the stream yet.
                    self.own[layer.index()] += 1;
                    asked = ask(client, method::cpe::STATS, &()).await;
                }
                let stats: pb::CpeStats = asked?;
                let bytes = stats.pools.iter().map(|pool| pool.bytes + pool.key_bytes);
                Ok(Told {
                    bytes: bytes.sum(),
                    bytes_max: stats.bytes_max,
                    log_bytes: stats.log_bytes,
                    hits: stats.scores.map(|scores| (scores.hits_at_1, scores.events)),
                    ..Told::default()
                })
            }
        }
    }
}

async fn ask<A: prost::Message + Default>(
    client: &Client,
    method: u16,
    question: &impl prost::Message,
) -> Result<A, String> {
    let answer = client.ask(method, question, ANSWER_TIMEOUT).await;
    answer.map_err(|error| error.to_string())
}

impl Sample {
    /// Calls per second of a layer since an earlier sample.
    pub(super) fn rate(&self, before: Option<&Sample>, layer: LayerId) -> Option<f64> {
        let before = before?;
        let at = layer.index();
        let (now, then) = (self.layers[at].calls?, before.layers[at].calls?);
        let passed = self.at.duration_since(before.at).as_secs_f64();
        // A layer that was started again counts from 0.
        (passed > 0.0).then(|| now.saturating_sub(then) as f64 / passed)
    }

    /// The cells of one row per layer, below [`HEADER`].
    pub(super) fn rows(&self, before: Option<&Sample>) -> Vec<Vec<String>> {
        let none = || "–".to_owned();
        let row = |layer: LayerId| {
            let one = &self.layers[layer.index()];
            let rate = self.rate(before, layer);
            let memory = match (one.bytes, one.bytes_max) {
                (0, 0) => none(),
                (bytes, 0) => format_size(bytes),
                (bytes, most) => format!("{} of {}", format_size(bytes), format_size(most)),
            };
            vec![
                layer.name().into(),
                one.state.clone(),
                one.entries.to_string(),
                rate.map_or_else(none, |rate| format!("{rate:.1}")),
                one.calls.map_or_else(none, |calls| calls.to_string()),
                one.errors.map_or_else(none, |errors| errors.to_string()),
                one.hits.map_or_else(none, |(hits, of)| share(hits, of)),
                one.round_trip
                    .map_or_else(none, |took| format!("{} µs", took.as_micros())),
                memory,
                format_size(one.log_bytes),
            ]
        };
        LayerId::ALL.into_iter().map(row).collect()
    }

    pub(super) fn text(&self, before: Option<&Sample>) -> String {
        let mut text = table(HEADER, RIGHT, self.rows(before));
        for remark in self.remarks() {
            text.push('\n');
            text.push_str(&remark);
        }
        text
    }

    /// Of layers that do not serve: why. And what the pools of records hold.
    pub(super) fn remarks(&self) -> Vec<String> {
        let layers = LayerId::ALL.into_iter().zip(&self.layers);
        let pools = self.pools.iter().map(|(pool, held)| {
            format!(
                "ifr, pool {}: {} records in {} of {}, {} evicted, {} expired",
                pool.pool_id,
                held.records,
                format_size(held.bytes),
                format_size(held.bytes_max),
                held.evictions,
                held.expirations
            )
        });
        layers
            .filter(|(_, one)| one.state != "in use")
            .map(|(layer, one)| {
                let why = printable(one.detail.as_bytes());
                format!("{} is {}: {why}", layer.name(), one.state)
            })
            .chain(pools)
            .collect()
    }

    pub(super) fn json(&self, before: Option<&Sample>) -> Value {
        let layers = LayerId::ALL.map(|layer| {
            let one = &self.layers[layer.index()];
            json!({
                "layer": layer.name(), "state": one.state, "detail": one.detail, "restarts": one.restarts,
                "entries": one.entries, "bytes": one.bytes, "bytes_max": one.bytes_max,
                "log_bytes": one.log_bytes, "calls": one.calls, "errors": one.errors,
                "calls_per_second": self.rate(before, layer),
                "hits": one.hits.map(|(hits, _)| hits), "hits_of": one.hits.map(|(_, of)| of),
                "round_trip_ns": one.round_trip.map(|took| took.as_nanos() as u64),
            })
        });
        let pools: Vec<Value> = self
            .pools
            .iter()
            .map(|(pool, held)| {
                json!({
                    "layer": "ifr", "pool": pool.pool_id, "refuses": pool.refuses, "entries": held.records,
                    "bytes": held.bytes, "bytes_max": held.bytes_max, "evictions": held.evictions,
                    "expired": held.expirations,
                })
            })
            .collect();
        json!({ "layers": layers, "pools": pools, "node_resident_bytes": self.node_bytes })
    }
}

/// What the columns are.
pub(super) const HEADER: &[&str] = &[
    "layer", "state", "entries", "calls/s", "calls", "errors", "hit rate", "latency", "memory",
    "log",
];
/// Columns of numbers.
pub(super) const RIGHT: &[usize] = &[2, 3, 4, 5, 6, 7, 8, 9];

fn share(hits: u64, of: u64) -> String {
    if of == 0 {
        return "–".into();
    }
    format!("{:.1} %", hits as f64 * 100.0 / of as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: Instant, calls: u64) -> Sample {
        let layer = LayerSample {
            state: "in use".into(),
            calls: Some(calls),
            hits: Some((1, 4)),
            ..LayerSample::default()
        };
        Sample {
            at,
            layers: [(); 4].map(|()| layer.clone()),
            pools: Vec::new(),
            node_bytes: 0,
        }
    }

    #[test]
    fn rates_are_between_two_samples() {
        let start = Instant::now();
        let before = sample(start, 10);
        let now = sample(start + Duration::from_secs(2), 30);
        assert_eq!(now.rate(Some(&before), LayerId::Dsr), Some(10.0));
        assert_eq!(now.rate(None, LayerId::Dsr), None);
        // Started again in between.
        assert_eq!(before.rate(Some(&now), LayerId::Dsr), None);
        let text = now.text(Some(&before));
        assert!(text.contains("10.0") && text.contains("25.0 %"), "{text}");
    }

    #[test]
    fn what_does_not_serve_is_named() {
        let mut one = sample(Instant::now(), 0);
        one.layers[3] = LayerSample {
            state: "absent".into(),
            detail: "switched off".into(),
            ..LayerSample::default()
        };
        assert_eq!(one.remarks(), ["cpe is absent: switched off"]);
        assert!(one.text(None).ends_with("cpe is absent: switched off"));
        let held = ifr::PoolStats {
            records: 3,
            bytes: 1 << 20,
            bytes_max: 8 << 20,
            evictions: 4,
            expirations: 5,
        };
        one.pools = vec![(ifr::Pool::named(7), held)];
        let text = one.text(None);
        let line = "ifr, pool 7: 3 records in 1.0 MiB of 8.0 MiB, 4 evicted, 5 expired";
        assert!(text.ends_with(line), "{text}");
        assert_eq!(one.json(None)["pools"][0]["expired"], 5);
    }
}
