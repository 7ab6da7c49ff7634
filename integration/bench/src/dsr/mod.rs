//! Rows of `bench-dsr`: similar vectors beside hnswlib and faiss, novelty beside scikit-learn.

mod data;
mod novelty;
mod python;
mod simhash;
mod vectors;

use crate::record::{BenchError, Ctx};

pub(crate) fn run(ctx: &mut Ctx) -> Result<(), BenchError> {
    let data = data::Data::load(ctx)?;
    let directory = tempfile::tempdir()?;
    data.write(directory.path())?;
    let mut peers = python::Peers::start(ctx.root(), directory.path(), data.dims);
    if let Err(reason) = &peers {
        println!("no Python peers: {reason}");
    }
    vectors::run(ctx, &data, peers.as_mut().ok())?;
    novelty::run(ctx, &data, peers.as_mut().ok(), directory.path())
}
