//! What `hypermesh mem` takes.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct Mem {
    #[command(subcommand)]
    pub(crate) command: MemCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MemCommand {
    /// Keep a value under a key; prints the root of the value
    #[command(after_help = "\
The value goes into the node's store, its root under the key into ifr, what it is like into dsr. Keys that are named with
--with are from now on associated with it, and the order of keys in a stream is learnt. Done (status 0) means that the value
and its key survive a kill of the node; a layer that only advises and did not take it is named on standard error.

Examples:
  hypermesh mem put greeting 'hello, world'
  hypermesh mem put notes --file notes.txt --with greeting
  date | hypermesh mem put now --file -")]
    Put(MemPut),
    /// Print the value of a key
    #[command(after_help = "\
Exactly this key: what is only like it is found by `mem ask` and `mem similar`. Several keys that are asked for at once are
from now on associated. Status 1 when a key is not there.

Examples:
  hypermesh mem get greeting
  hypermesh mem get greeting notes --no-learn")]
    Get(MemGet),
    /// Forget a key: its value and what it is like
    #[command(after_help = "\
Links and streams fade by themselves. The value stays in the store while its root is pinned; the root is printed for that.

Example:
  hypermesh unpin \"$(hypermesh mem forget greeting)\"")]
    Forget(MemKey),
    /// List keys whose values are like a text, a file or the value of a key
    #[command(after_help = "\
Compared are words and pieces of words, by the cosine of their vectors: 1 is the same, 0 has nothing in common. Status 1 when
nothing is so similar.

Examples:
  hypermesh mem similar greeting
  hypermesh mem similar --text 'hello word' --least 0.3
  hypermesh mem similar --file notes.txt --json")]
    Similar(MemSimilar),
    /// State that one key leads to another
    #[command(after_help = "\
Strengths multiply along a path, and fade by half in 30 days unless they are stated again.

Example:
  hypermesh mem link home office --strength 0.9")]
    Link(MemLink),
    /// Print the best ways from one key to another
    #[command(
        after_help = "Examples:\n  hypermesh mem path home shop\n  hypermesh mem path home shop --count 3 --json"
    )]
    Path(MemPath),
    /// List what goes with a key
    #[command(after_help = "Example:\n  hypermesh mem related greeting")]
    Related(MemRelated),
    /// List what comes next, with its probability
    #[command(after_help = "\
Streams are what `mem put` and `mem get` say: 'mem', unless --stream names another. Status 1 when nothing is claimed.

Examples:
  hypermesh mem next
  hypermesh mem next --stream builds --limit 3")]
    Next(MemNext),
    /// Ask all layers, until one is sure enough
    #[command(after_help = "\
Says which layer answered, how sure it is by its own measure, and why; and of the others what became of them. Within one
deadline and one budget of work; what a layer does not use, the next ones have.

Examples:
  hypermesh mem ask greeting
  hypermesh mem ask --text 'hello word' --mode parallel
  hypermesh mem ask greeting --next --mode adaptive --within 50ms --enough 0.8")]
    Ask(MemAsk),
    /// Say what every layer knows of a key, and why
    #[command(
        after_help = "Examples:\n  hypermesh mem explain greeting\n  hypermesh mem explain greeting --text 'hello word'"
    )]
    Explain(MemExplain),
    /// Show what the layers hold and how they are
    #[command(after_help = "Example:\n  hypermesh mem stats --json")]
    Stats,
    /// Watch the layers: calls, hit rates, latencies, memory
    #[command(after_help = "\
On a terminal a live view, until q, Esc or Ctrl-C. Otherwise, or with --once, one frame as text, measured over one
interval. The view's own questions are not counted among the calls; its latency is that of one of them.

Examples:
  hypermesh mem top
  hypermesh mem top --once --every 5s")]
    Top(MemTop),
}

/// What content is compared.
#[derive(Debug, Clone, Args)]
pub(crate) struct MemContent {
    /// This text
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    pub(crate) text: Option<String>,
    /// The content of this file; '-' is standard input
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct MemPut {
    /// The key, at most 4,096 bytes
    #[arg(value_name = "KEY", value_parser = mem_key())]
    pub(crate) key: MemKeyBytes,
    /// The value
    #[arg(
        value_name = "VALUE",
        required_unless_present = "file",
        conflicts_with = "file"
    )]
    pub(crate) value: Option<OsString>,
    /// Take the value from this file; '-' is standard input
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,
    /// A key that is used together with this one. Repeatable
    #[arg(long, value_name = "KEY", value_parser = mem_key())]
    pub(crate) with: Vec<MemKeyBytes>,
    #[command(flatten)]
    pub(crate) stream: MemStream,
}

#[derive(Debug, Args)]
pub(crate) struct MemGet {
    /// The keys
    #[arg(value_name = "KEY", required = true, value_parser = mem_key())]
    pub(crate) keys: Vec<MemKeyBytes>,
    /// Learn nothing from it: neither what was asked for together nor in which order
    #[arg(long)]
    pub(crate) no_learn: bool,
    #[command(flatten)]
    pub(crate) stream: MemStream,
}

#[derive(Debug, Args)]
pub(crate) struct MemStream {
    /// The stream whose order of keys is learnt or continued
    #[arg(long, value_name = "NAME", default_value = "mem")]
    pub(crate) stream: String,
}

#[derive(Debug, Args)]
pub(crate) struct MemKey {
    /// The key
    #[arg(value_name = "KEY", value_parser = mem_key())]
    pub(crate) key: MemKeyBytes,
}

#[derive(Debug, Args)]
pub(crate) struct MemSimilar {
    /// A key whose value is compared
    #[arg(value_name = "KEY", value_parser = mem_key(), required_unless_present_any = ["text", "file"], conflicts_with_all = ["text", "file"])]
    pub(crate) key: Option<MemKeyBytes>,
    #[command(flatten)]
    pub(crate) content: MemContent,
    #[command(flatten)]
    pub(crate) limit: MemLimit,
    /// Least similarity
    #[arg(long, default_value_t = 0.2, value_name = "COSINE", value_parser = share)]
    pub(crate) least: f32,
}

#[derive(Debug, Args)]
pub(crate) struct MemLimit {
    /// Most lines
    #[arg(long, short = 'n', default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct MemLink {
    /// From this key
    #[arg(value_name = "FROM", value_parser = mem_key())]
    pub(crate) from: MemKeyBytes,
    /// To this key
    #[arg(value_name = "TO", value_parser = mem_key())]
    pub(crate) to: MemKeyBytes,
    /// How strong, above 0 to 1
    #[arg(long, default_value_t = 0.9, value_name = "STRENGTH", value_parser = strength)]
    pub(crate) strength: f64,
}

#[derive(Debug, Args)]
pub(crate) struct MemPath {
    /// From this key
    #[arg(value_name = "FROM", value_parser = mem_key())]
    pub(crate) from: MemKeyBytes,
    /// To this key
    #[arg(value_name = "TO", value_parser = mem_key())]
    pub(crate) to: MemKeyBytes,
    /// So many ways, best first
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) count: u32,
}

#[derive(Debug, Args)]
pub(crate) struct MemRelated {
    #[command(flatten)]
    pub(crate) key: MemKey,
    #[command(flatten)]
    pub(crate) limit: MemLimit,
}

#[derive(Debug, Args)]
pub(crate) struct MemNext {
    #[command(flatten)]
    pub(crate) stream: MemStream,
    #[command(flatten)]
    pub(crate) limit: MemLimit,
}

#[derive(Debug, Args)]
pub(crate) struct MemAsk {
    /// The key that is asked for
    #[arg(value_name = "KEY", value_parser = mem_key(), required_unless_present_any = ["text", "file", "next"])]
    pub(crate) key: Option<MemKeyBytes>,
    #[command(flatten)]
    pub(crate) content: MemContent,
    /// Ask cpe as well: what comes next in the stream
    #[arg(long)]
    pub(crate) next: bool,
    #[command(flatten)]
    pub(crate) stream: MemStream,
    #[command(flatten)]
    pub(crate) limit: MemLimit,
    /// In which order and how many at a time the layers are asked
    #[arg(long, value_enum, default_value_t = MemMode::Sequential, value_name = "MODE")]
    pub(crate) mode: MemMode,
    /// How long the answer may take
    #[arg(long, default_value = "250ms", value_name = "DURATION", value_parser = hypermesh_node::units::parse_duration)]
    pub(crate) within: Duration,
    /// How long the layers may work together [default: as --within]
    #[arg(long, value_name = "DURATION", value_parser = hypermesh_node::units::parse_duration)]
    pub(crate) budget: Option<Duration>,
    /// A layer that is so sure ends the walk
    #[arg(long, default_value_t = 0.5, value_name = "CONFIDENCE", value_parser = share)]
    pub(crate) enough: f32,
}

/// In which order and how many at a time the layers are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MemMode {
    /// ifr, dsr, alm, cpe, one at a time
    Sequential,
    /// All at once
    Parallel,
    /// By value and cost, as earlier calls of this command have measured them
    Adaptive,
}

#[derive(Debug, Args)]
pub(crate) struct MemExplain {
    #[command(flatten)]
    pub(crate) key: MemKey,
    #[command(flatten)]
    pub(crate) content: MemContent,
    #[command(flatten)]
    pub(crate) stream: MemStream,
    #[command(flatten)]
    pub(crate) limit: MemLimit,
}

#[derive(Debug, Args)]
pub(crate) struct MemTop {
    /// One frame as text
    #[arg(long)]
    pub(crate) once: bool,
    /// How often it looks
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = interval)]
    pub(crate) every: Duration,
}

/// The bytes of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemKeyBytes(pub(crate) Vec<u8>);

fn mem_key() -> impl TypedValueParser<Value = MemKeyBytes> {
    OsStringValueParser::new().try_map(|text: OsString| {
        let length = text.as_bytes().len();
        if (1..=MEM_KEY_BYTES_MAX).contains(&length) {
            return Ok(MemKeyBytes(text.into_encoded_bytes()));
        }
        Err(format!(
            "a key has 1 to {MEM_KEY_BYTES_MAX} bytes, not {length}"
        ))
    })
}

/// Longest key of a layer.
const MEM_KEY_BYTES_MAX: usize = mfn_memory::KEY_BYTES_MAX;

fn share(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
        _ => Err("write a number from 0 to 1, such as 0.5".into()),
    }
}

fn strength(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number <= 1.0 => Ok(number),
        _ => Err("write a number above 0, at most 1, such as 0.9".into()),
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval =
        hypermesh_node::units::parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_millis(100)..=Duration::from_secs(60)).contains(&interval) {
        return Ok(interval);
    }
    Err("write 100ms to 60s".into())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use crate::args::Cli;

    #[test]
    fn every_subcommand_of_the_memory_teaches() {
        let mut cli = Cli::command();
        let mem = cli.find_subcommand_mut("mem").unwrap();
        for command in mem.get_subcommands().filter(|c| c.get_name() != "help") {
            let name = command.get_name();
            let after = command.get_after_help().map(ToString::to_string);
            let after = after.unwrap_or_default();
            let example = format!("hypermesh mem {name}");
            assert!(after.contains("Example"), "{name}");
            assert!(after.contains(&example), "{name}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        for wrong in [
            "hypermesh mem put key",
            "hypermesh mem put key value --file x",
            "hypermesh mem similar",
            "hypermesh mem similar key --text x",
            "hypermesh mem link a b --strength 0",
            "hypermesh mem link a b --strength NaN",
            "hypermesh mem ask",
            "hypermesh mem ask key --enough 2",
            "hypermesh mem top --every 1ms",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let long = format!("hypermesh mem get {}", "k".repeat(4_097));
        assert!(parse(&long).is_err());
        for right in [
            "hypermesh mem put key --file -",
            "hypermesh mem get a b --no-learn",
            "hypermesh mem similar --text x",
            "hypermesh mem ask --next",
        ] {
            assert!(parse(right).is_ok(), "{right}");
        }
    }
}
