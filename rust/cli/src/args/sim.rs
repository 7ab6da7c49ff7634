//! What can be typed after `hypermesh sim`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use hypermesh_sim::{Behaviour, NODES_MAX};

#[derive(Debug, Args)]
pub(crate) struct Sim {
    /// The run to retell, or the first of many
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    pub(crate) seed: u64,
    /// Run so many seeds from there on, on all cores, and tell only which of them broke a rule
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["trace", "nodes", "behaviour"], value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) seeds: Option<u64>,
    /// Print every event: virtual time, what, who. With --json they are always printed
    #[arg(long)]
    pub(crate) trace: bool,
    /// A quiet mesh of so many nodes, 20 ms from each other, instead of what the seed makes
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=NODES_MAX as u64))]
    pub(crate) nodes: Option<u64>,
    /// What the last nodes of a quiet mesh are: one for each time that this is given
    #[arg(long, value_name = "KIND", value_parser = behaviour())]
    pub(crate) behaviour: Vec<Behaviour>,
    /// Delays of a file: square tables of round trips in milliseconds, a line for each place, an empty one between tables
    #[arg(long, value_name = "FILE")]
    pub(crate) delays: Option<PathBuf>,
}

fn behaviour() -> impl TypedValueParser<Value = Behaviour> {
    let names = Behaviour::ALL.map(Behaviour::name);
    PossibleValuesParser::new(names).try_map(|name| {
        let named = Behaviour::ALL.into_iter().find(|one| one.name() == name);
        named.ok_or("no behaviour has this name")
    })
}
