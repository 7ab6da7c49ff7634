//! What can be typed after `hypermesh sim`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use hypermesh_sim::{Behaviour, NODES_MAX, ROUNDS_MAX, Schedule};

#[derive(Debug, Args)]
pub(crate) struct Sim {
    /// The run to retell, or the first of many
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    pub(crate) seed: u64,
    /// Run so many seeds from there on, on all cores, and tell only which of them broke a rule
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["trace", "nodes", "behaviour"], value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) seeds: Option<u64>,
    /// Order the registry itself (members, names, accusations), with real signatures, instead of a plain chain
    #[arg(long, conflicts_with_all = ["nodes", "behaviour", "twins", "schedule"])]
    pub(crate) ledger: bool,
    /// Print every event: virtual time, what, who. With --json they are always printed
    #[arg(long)]
    pub(crate) trace: bool,
    /// A quiet mesh of so many nodes, 20 ms from each other, instead of what the seed makes
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=NODES_MAX as u64))]
    pub(crate) nodes: Option<u64>,
    /// What the last nodes of a quiet mesh are: one for each time that this is given
    #[arg(long, value_name = "KIND", value_parser = behaviour())]
    pub(crate) behaviour: Vec<Behaviour>,
    /// Twins on schedules, on all cores: all of one and two rounds, and so many of each number of rounds up to seven
    #[arg(long, value_name = "COUNT", num_args = 0..=1, default_missing_value = "1000", conflicts_with_all = ["seed", "seeds", "trace", "nodes", "behaviour", "delays", "schedule"], value_parser = clap::value_parser!(u64).range(0..=100_000_000))]
    pub(crate) twins: Option<u64>,
    /// Retell one schedule of twins: how many rounds it has, and its number
    #[arg(long, value_name = "ROUNDS:NUMBER", conflicts_with_all = ["seed", "seeds", "nodes", "behaviour", "delays"], value_parser = schedule)]
    pub(crate) schedule: Option<Schedule>,
    /// Delays of a file: square tables of round trips in milliseconds, a line for each place, an empty one between tables
    #[arg(long, value_name = "FILE")]
    pub(crate) delays: Option<PathBuf>,
}

fn schedule(text: &str) -> Result<Schedule, String> {
    let (rounds, number) = text
        .split_once(':')
        .ok_or("rounds and number, with a colon between")?;
    let rounds = rounds
        .parse()
        .ok()
        .filter(|rounds| (1..=ROUNDS_MAX).contains(rounds))
        .ok_or_else(|| format!("rounds are 1 to {ROUNDS_MAX}"))?;
    let most = Schedule::numbers(rounds) - 1;
    let number = number.parse().ok().filter(|number| *number <= most);
    let number = number.ok_or_else(|| format!("schedules of {rounds} rounds are 0 to {most}"))?;
    Ok(Schedule::of(number, rounds))
}

fn behaviour() -> impl TypedValueParser<Value = Behaviour> {
    let names = Behaviour::ALL.map(Behaviour::name);
    PossibleValuesParser::new(names).try_map(|name| {
        let named = Behaviour::ALL.into_iter().find(|one| one.name() == name);
        named.ok_or("no behaviour has this name")
    })
}
