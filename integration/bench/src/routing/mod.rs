//! Rows of `bench-routing`: latencies of pairs that nobody measured, liars, providers and relays.
//!
//! Every node measures `k` others, drawn by lot, once; ours sees these samples once, one after the other. All networks,
//! seeds and counts of neighbours are played with the same constants. They were chosen on azure2026, on the even nodes
//! of wonder2018 and on the even nodes of the fifth slice of planetlab490.

mod data;
mod decide;
mod liars;
mod peers;
mod predict;
mod routes;

use std::path::Path;

use crate::cpe::data::directory;
use crate::record::{BenchError, Ctx, Must, Samples};

use data::Network;

pub(crate) fn run(ctx: &mut Ctx) -> Result<(), BenchError> {
    let data = directory(ctx.root())?;
    let networks = networks(&data)?;
    for network in &networks {
        predict::rows(ctx, network)?;
    }
    for network in networks.iter().filter(|network| network.gate.is_some()) {
        liars::rows(ctx, network)?;
    }
    routes::rows(ctx, &data)?;
    decide::rows(ctx)
}

fn networks(data: &Path) -> Result<Vec<Network>, BenchError> {
    let wonder = data::wonder(data)?;
    let planetlab = data::planetlab(data, 0)?;
    Ok(vec![
        wonder.clone().gate([0.58, 0.80]),
        wonder.without_places(),
        wonder.odd(),
        planetlab.clone().gate([0.55, 0.78]),
        planetlab.odd(),
        data::azure(data)?,
    ])
}

/// A row of figures that have no peer.
fn plain(
    ctx: &mut Ctx,
    metric: &str,
    unit: &str,
    ours: &Samples,
    must: Must,
    note: &str,
) -> Result<(), BenchError> {
    ctx.row(metric, unit, ours, None, must, note)
}
