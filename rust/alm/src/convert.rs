//! Between the types of this crate and the messages of the wire.

use std::time::Duration;

use mfn_wire::pb;

use crate::{Edge, Filter, Path, Pool};

pub(crate) fn edge_message(edge: Edge) -> pb::AlmEdge {
    pb::AlmEdge {
        from: edge.from,
        to: edge.to,
        strength: edge.strength,
        kind: edge.kind.into(),
        bandwidth: edge.bandwidth,
        expires_unix_ns: edge.expires_unix_ns,
        evidence: 0,
    }
}

pub(crate) fn edge(edge: pb::AlmEdge) -> Edge {
    Edge {
        from: edge.from,
        to: edge.to,
        strength: edge.strength,
        // The service never says more than 255.
        kind: u8::try_from(edge.kind).unwrap_or(u8::MAX),
        bandwidth: edge.bandwidth,
        expires_unix_ns: edge.expires_unix_ns,
        evidence: edge.evidence,
    }
}

pub(crate) fn filter_message(filter: Filter) -> Option<pb::AlmFilter> {
    Some(pb::AlmFilter {
        kinds: filter.kinds.into_iter().map(u32::from).collect(),
        bandwidth_min: filter.bandwidth_min,
    })
}

pub(crate) fn path(path: pb::AlmPath) -> Path {
    Path {
        nodes: path.nodes,
        links: path.links.into_iter().map(edge).collect(),
        strength: path.strength,
        cost: path.cost,
    }
}

pub(crate) fn pool_message(pool: Pool) -> pb::AlmPool {
    pb::AlmPool {
        pool_id: pool.id,
        links_bytes_max: pool.links_bytes_max,
        predict_bytes_max: pool.predict_bytes_max,
        half_life_ns: u64::try_from(pool.half_life.as_nanos()).unwrap_or(u64::MAX),
    }
}

pub(crate) fn pool(pool: pb::AlmPool) -> Pool {
    Pool {
        id: pool.pool_id,
        links_bytes_max: pool.links_bytes_max,
        predict_bytes_max: pool.predict_bytes_max,
        half_life: Duration::from_nanos(pool.half_life_ns),
    }
}
