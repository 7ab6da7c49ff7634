//! What can be typed: subcommands, options, their help and examples.

mod ipc;
mod mem;
mod order;
mod sim;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use hypermesh_id::{NodeId, Root};
use hypermesh_node::{LogFormat, PeerAddress};

pub(crate) use ipc::{Ipc, IpcCall, IpcCommand, IpcTap};
pub(crate) use mem::{
    Mem, MemAsk, MemCommand, MemContent, MemExplain, MemGet, MemKeyBytes, MemMode, MemPut,
    MemSimilar, MemTop,
};
pub(crate) use order::{
    Content, Evidence, EvidenceCommand, Log, Members, MembersCommand, Name, NameCommand,
    NameDelegate, NameHistory, NameLs, NameSet, Proof, Verify,
};
pub(crate) use sim::Sim;

/// Moves directories between machines, verified, without a server in the middle.
#[derive(Debug, Parser)]
#[command(
    name = "hypermesh",
    version,
    arg_required_else_help = true,
    propagate_version = false,
    disable_help_subcommand = false,
    after_help = "\
A first mesh, two terminals on one machine:
  hypermesh --dir /tmp/a up --init --listen '[::1]:4871'
  hypermesh --dir /tmp/b up --init --listen '[::1]:4872'
then, in a third:
  hypermesh --dir /tmp/b join \"$(hypermesh --dir /tmp/a invite)\"
  root=$(hypermesh --dir /tmp/a put ~/pictures)
  hypermesh --dir /tmp/b get \"$root\" /tmp/copy

Exit status: 0 done, 1 failed, 2 wrong usage.
Standard output carries results only; progress and errors go to standard error."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every subcommand.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The node's directory [default: $HYPERMESH_DIR, else $XDG_DATA_HOME/hypermesh, else ~/.local/share/hypermesh]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Print results as JSON, one object per line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print no progress and no remarks, only results and errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// How progress is shown on standard error
    #[arg(long, global = true, value_enum, default_value_t = ProgressMode::Auto, value_name = "MODE")]
    pub(crate) progress: ProgressMode,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// A bar on a terminal, nothing elsewhere or with --json or --quiet
    Auto,
    /// A bar, also when standard error is not a terminal
    Bar,
    /// One JSON object per line, with the bytes of each provider
    Json,
    /// Nothing
    None,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a node: its directory, key and configuration
    #[command(after_help = "\
Prints the node id. Run again, it changes nothing and prints the same id.

Example:
  hypermesh init --dir /srv/mesh")]
    Init,

    /// Print the node id
    #[command(after_help = "\
Works whether or not the node runs. With an address it is what another node's --peer wants.

Examples:
  hypermesh id
  hypermesh up --peer \"$(hypermesh id --dir /tmp/a)@[::1]:4871\"")]
    Id,

    /// Run the node in the foreground
    #[command(after_help = "\
Runs until Ctrl-C or SIGTERM, then stops cleanly: running jobs end and resume next time. A second signal exits at
once. Logs go to standard error. Where it listens: `hypermesh status --json`, field transport.listen.

Examples:
  hypermesh up
  hypermesh up --dir /tmp/a --init --listen '[::1]:4871'
  hypermesh up --split
  hypermesh up --listen '[::]:4870' --peer 'hm1…@[2001:db8::7]:4870' --log-format json")]
    Up(Up),

    /// One component of a node that `up --split` runs
    #[command(hide = true)]
    Component(Component),

    /// Put a file or directory into the node; prints its root
    #[command(after_help = "\
The root names this content for ever: the same content has the same root on every node. It is pinned, so that gc
keeps it. Interrupted, run it again: what was stored is not stored twice.

Examples:
  hypermesh put ~/pictures
  root=$(hypermesh put --quiet build/)
  hypermesh put --name films/dune dune/")]
    Put(Put),

    /// Fetch a root from the mesh and write it to a new path
    #[command(after_help = "\
Every block is checked against its hash. The destination appears whole, at the end, or not at all; it must not exist
yet. Interrupted, run it again: what arrived is not fetched twice.

Examples:
  hypermesh get hmr1… ./pictures
  hypermesh get films/dune ./dune
  hypermesh get hmr1… --store --pin
  hypermesh get hmr1… ./pictures --from hm1…")]
    Get(Get),

    /// List the names below a root
    #[command(after_help = "\
Fetches what it needs to know from peers, not the files' content.

Examples:
  hypermesh ls hmr1…
  hypermesh ls hmr1…/2025 --recursive --long")]
    Ls(Ls),

    /// Write the content of one file to standard output
    #[command(after_help = "\
Examples:
  hypermesh cat hmr1…/notes.txt
  hypermesh cat hmr1…/disk.img --offset 512 --length 512 | xxd")]
    Cat(Cat),

    /// Show one file, directory or symlink below a root
    #[command(after_help = "Example:\n  hypermesh stat hmr1…/notes.txt --json")]
    Stat(Target),

    /// Keep a root through gc
    #[command(after_help = "Example:\n  hypermesh pin hmr1…")]
    Pin(RootArg),

    /// Let gc take a root
    #[command(after_help = "\
A root that is here only partly, of a get that did not end, is forgotten at once.

Example:
  hypermesh unpin hmr1… && hypermesh gc")]
    Unpin(RootArg),

    /// List the roots that this node knows
    #[command(after_help = "\
A root that is here 'partly' is a get that did not end: gc keeps what arrived until the same get ends it, or unpin
lets it go.

Example:
  hypermesh roots")]
    Roots,

    /// Remove what no pinned root needs
    #[command(after_help = "\
Unfinished gets are kept as well, until unpin lets them go. Waits for puts and gets that run; pins and new ones wait
for it.

Examples:
  hypermesh gc --dry-run
  hypermesh gc")]
    Gc(Gc),

    /// Check every stored block against its hash
    #[command(after_help = "\
With --repair, damaged blocks are fetched again from peers. Exit status 1 when damage remains.

With --rebuild, and the node stopped: when the store's database of roots (blocks/meta.redb) is lost or damaged, it is
made anew from the blocks. Which roots were pinned was in that database alone, so every root that is found is pinned;
`hypermesh unpin` lets go of those that nobody wants.

Examples:
  hypermesh fsck
  hypermesh fsck --repair
  hypermesh fsck --rebuild")]
    Fsck(Fsck),

    /// List the known peers
    #[command(after_help = "Examples:\n  hypermesh peers\n  hypermesh peers --json")]
    Peers,

    /// Measure the round trip to a peer
    #[command(after_help = "Example:\n  hypermesh ping hm1… --count 10")]
    Ping(Ping),

    /// Print an invitation that lets one node join
    #[command(after_help = "\
Whoever has the text can join, once, until it expires: send it like a password.

Examples:
  hypermesh invite
  hypermesh invite --valid-for 15m --address '[2001:db8::7]:4870'")]
    Invite(Invite),

    /// Join the mesh of the node that wrote the invitation
    #[command(after_help = "\
The node must be running. It remembers the inviter and stays a member after a restart.

Example:
  hypermesh join hmi1…")]
    Join(Join),

    /// Make a peer a stranger: it is served no more, and nothing is asked of it
    #[command(after_help = "\
For this node only; each owner decides for themselves. Others' introductions do not bring the peer back, an
invitation does. A peer that config.toml or --peer names must be taken out there.

Example:
  hypermesh forget hm1…")]
    Forget(Forget),

    /// What the mesh calls its content: names that all members agree on
    #[command(after_help = "\
The voters of the mesh decide what a name means; any node answers, and `hypermesh proof` lets anyone check the answer.

Examples:
  hypermesh name set films/dune hmr1…
  hypermesh name get films/dune
  hypermesh name ls --long")]
    Name(Name),

    /// Who belongs to the mesh: list, invite, promote to voter, demote, remove
    #[command(after_help = "\
Voters decide, learners follow. A change of voters takes the word of more than two thirds of them: run the same command at
each of their nodes.

Examples:
  hypermesh members ls
  hypermesh members promote hm1…")]
    Members(Members),

    /// Show decided blocks: who proposed, in which round, who signed, what came of each transaction
    #[command(after_help = "\
Examples:
  hypermesh log
  hypermesh log --from 1 --limit 100 --json
  hypermesh log --follow")]
    Log(Log),

    /// Write down what a name means, with all that it takes to check that anywhere
    #[command(after_help = "\
The file holds the founding of the mesh, each change of its voters with their signatures, and the path from the last decided
state to the name. Also that there is no such name can be proved.

Example:
  hypermesh proof films/dune --output dune.hmproof")]
    Proof(Proof),

    /// Check what a name means, or that it means nothing, from a proof in a file
    #[command(after_help = "\
Asks nobody and needs no node: it follows the voters of the mesh from its founder to the block that the proof is of, checks
each signature, and the path from that block's state to the name. Exit status 1, and the reason, when anything is missing.

What has to be known is the mesh's id: `hypermesh status --json` at a node that is trusted tells it. Without --mesh it is
that of this node. Where there is neither, the founder whom the file names is trusted, and the mesh's id is printed for
comparing it. A proof is of a moment: what the name means since, it cannot know.

Examples:
  hypermesh proof films/dune --output dune.hmproof
  hypermesh verify dune.hmproof --mesh 5d41402abc4b2a76b9719d911017c592ae3f17b1c1b0d9e0a4c8f1c9b7d2e6f3
  hypermesh verify dune.hmproof --json | jq -r .root")]
    Verify(Verify),

    /// Show proofs against voters that said two things where they may say one
    #[command(after_help = "Examples:\n  hypermesh evidence ls\n  hypermesh evidence show hm1…")]
    Evidence(Evidence),

    /// Show components, sockets, store, peers, jobs and layers
    #[command(after_help = "Examples:\n  hypermesh status\n  hypermesh status --json")]
    Status,

    /// The node's memory: keep values under keys, find what is like them, goes with them, comes next
    #[command(after_help = "\
Four layers answer, each of which may be absent: ifr knows exact keys, dsr what is alike, alm what goes together, cpe
what comes next. Values are kept in the node's store; what was acknowledged survives a kill.

Examples:
  hypermesh mem put greeting 'hello, world'
  hypermesh mem get greeting
  hypermesh mem similar --text 'hello world'
  hypermesh mem ask greeting
  hypermesh mem top")]
    Mem(Mem),

    /// Look into the node's sockets: what serves, call any method, watch frames, pools and breakers
    #[command(after_help = "\
Examples:
  hypermesh ipc ls
  hypermesh ipc call state
  hypermesh ipc call state stat '{\"root\": \"hmr1…\"}'
  hypermesh ipc stats")]
    Ipc(Ipc),

    /// Simulate meshes that agree while things go wrong and nodes lie, and retell what happened
    #[command(after_help = "\
Virtual time, no network, no node: a seed makes the nodes, the liars, the delays and what goes wrong, and the same seed
is the same run, on every machine, of this version. What must never be (two decisions of one height, an honest node
that says two things, a proof against one) is checked at every step. Exit status 1 when it was.

Examples:
  hypermesh sim --seed 7
  hypermesh sim --seed 7 --trace | less
  hypermesh sim --seed 7 --json | jq 'select(.event == \"decision\")'
  hypermesh sim --seed 0 --seeds 1000
  hypermesh sim --nodes 7 --behaviour split-votes --behaviour twins")]
    Sim(Sim),

    /// Find out what is wrong with this machine or the node's directory
    #[command(after_help = "\
Works whether or not the node runs. Each finding says the repair. Exit status 1 when something is broken.

Example:
  hypermesh doctor --dir /srv/mesh")]
    Doctor,

    /// Print the completion script of a shell
    #[command(after_help = "\
Examples:
  hypermesh completions bash > ~/.local/share/bash-completion/completions/hypermesh
  hypermesh completions zsh > \"${fpath[1]}/_hypermesh\"")]
    Completions(Completions),
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Address to listen on; port 0 lets the system choose. Repeatable; replaces the configured ones
    #[arg(long, value_name = "ADDRESS", value_parser = hypermesh_node::parse_socket_address)]
    pub(crate) listen: Vec<SocketAddr>,
    /// A peer that is a member from now on while it is named here. Repeatable; adds to the configured ones
    #[arg(long, value_name = "NODE@ADDRESS")]
    pub(crate) peer: Vec<PeerAddress>,
    /// Make the node first if there is none
    #[arg(long)]
    pub(crate) init: bool,
    /// Run each component as a process of its own, and start again what ends
    #[arg(long)]
    pub(crate) split: bool,
    /// Look of the log lines: human or json [default: as configured, human]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// What is logged, such as info or info,stoq=debug [default: as configured, info]
    #[arg(long, value_name = "LEVEL", value_parser = log_level)]
    pub(crate) log_level: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Component {
    /// Name of the component
    #[arg(value_name = "COMPONENT")]
    pub(crate) name: String,
    /// The node's id
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<NodeId>,
    /// When the node was started, in Unix nanoseconds
    #[arg(long, default_value_t = 0, value_name = "NANOSECONDS")]
    pub(crate) started: u64,
    /// How often this component was started again since
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    pub(crate) restarts: u64,
    #[command(flatten)]
    pub(crate) up: Up,
}

#[derive(Debug, Args)]
pub(crate) struct Put {
    /// The file or directory
    pub(crate) path: PathBuf,
    /// Do not pin the root: gc may take it
    #[arg(long)]
    pub(crate) no_pin: bool,
    /// Let this name mean it, for the whole mesh
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The root, hmr1…, or a name that the mesh has for it
    #[arg(value_name = "ROOT|NAME")]
    pub(crate) content: Content,
    /// Where to write it; must not exist yet
    #[arg(required_unless_present = "store", conflicts_with = "store")]
    pub(crate) destination: Option<PathBuf>,
    /// Fetch into the node's store only
    #[arg(long)]
    pub(crate) store: bool,
    /// Keep it through gc
    #[arg(long)]
    pub(crate) pin: bool,
    /// Fetch from this peer only. Repeatable
    #[arg(long = "from", value_name = "NODE")]
    pub(crate) providers: Vec<NodeId>,
    /// Ask for deltas against this root, which is here; else the nearest is chosen
    #[arg(long, value_name = "ROOT")]
    pub(crate) base: Option<Root>,
}

#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The root and a path below it, hmr1…[/PATH]
    #[arg(value_name = "ROOT[/PATH]", value_parser = root_path())]
    pub(crate) target: RootPath,
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Everything below, not only the next level
    #[arg(long, short)]
    pub(crate) recursive: bool,
    /// With kind, mode and size
    #[arg(long, short)]
    pub(crate) long: bool,
    /// End each name with a zero byte instead of a newline
    #[arg(long, short = '0', conflicts_with_all = ["long", "json"])]
    pub(crate) null: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Cat {
    #[command(flatten)]
    pub(crate) target: Target,
    /// First byte
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    pub(crate) offset: u64,
    /// Number of bytes [default: to the end]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) length: Option<u64>,
    /// Whose order of reads this belongs to, for fetching ahead [default: the process that runs this command]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) reader: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct RootArg {
    /// The root, hmr1…
    pub(crate) root: Root,
}

#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Fsck {
    /// Fetch damaged blocks again from peers
    #[arg(long)]
    pub(crate) repair: bool,
    /// Make a lost or damaged database anew from the blocks; the node must be stopped
    #[arg(long, conflicts_with = "repair")]
    pub(crate) rebuild: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Ping {
    /// The peer's node id, hm1…
    pub(crate) node: NodeId,
    /// Number of probes
    #[arg(long, short, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) count: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Forget {
    /// The peer's node id, hm1…
    pub(crate) node: NodeId,
}

#[derive(Debug, Args)]
pub(crate) struct Invite {
    /// How long it may be redeemed, such as 15m, 1h or 7d
    #[arg(long, default_value = "1h", value_name = "DURATION", value_parser = hypermesh_node::units::parse_duration)]
    pub(crate) valid_for: Duration,
    /// Address of this node to write into it. Repeatable [default: those it advertises]
    #[arg(long, value_name = "ADDRESS", value_parser = hypermesh_node::parse_socket_address)]
    pub(crate) address: Vec<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct Join {
    /// The invitation, hmi1…
    pub(crate) invitation: String,
    /// Leave the mesh that this node belongs to, also when it has other members or names; its files are moved aside
    #[arg(long)]
    pub(crate) abandon: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    pub(crate) shell: clap_complete::Shell,
}

/// A root and a path of bytes below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RootPath {
    pub(crate) root: Root,
    pub(crate) path: Vec<u8>,
}

fn root_path() -> impl TypedValueParser<Value = RootPath> {
    OsStringValueParser::new().try_map(|text: OsString| parse_root_path(text.as_bytes()))
}

fn parse_root_path(text: &[u8]) -> Result<RootPath, String> {
    let split = text
        .iter()
        .position(|byte| *byte == b'/')
        .unwrap_or(text.len());
    let root = std::str::from_utf8(&text[..split])
        .map_err(|_| "a root is the text hmr1… that put printed".to_string())?;
    let root = root.parse::<Root>().map_err(|error| error.to_string())?;
    let rest = text.get(split + 1..).unwrap_or_default();
    // Shell completion leaves a slash behind a directory.
    let rest = rest.strip_suffix(b"/").unwrap_or(rest);
    Ok(RootPath {
        root,
        path: rest.to_vec(),
    })
}

fn log_level(text: &str) -> Result<String, String> {
    hypermesh_node::logs::check_level(text).map(|()| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;
    use hypermesh_id::BlockId;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("hypermesh").chain(arguments.iter().copied()))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_teaches() {
        for command in Cli::command()
            .get_subcommands()
            .filter(|c| c.get_name() != "help" && !c.is_hide_set())
        {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} has no description");
            let after = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                after.contains("Example") && after.contains("hypermesh "),
                "{name} has no example"
            );
        }
    }

    #[test]
    fn global_options_stand_anywhere() {
        for arguments in [
            ["--dir", "/x", "--json", "id"],
            ["id", "--json", "--dir", "/x"],
        ] {
            let cli = parse(&arguments).unwrap();
            assert_eq!(cli.global.dir.as_deref(), Some(std::path::Path::new("/x")));
            assert!(cli.global.json);
        }
    }

    #[test]
    fn a_root_with_a_path() {
        let root = Root(BlockId([4; 32]));
        let check = |text: String, path: &[u8]| {
            let parsed = parse_root_path(text.as_bytes()).unwrap();
            assert_eq!((parsed.root, parsed.path.as_slice()), (root, path));
        };
        check(root.to_string(), b"");
        check(format!("{root}/"), b"");
        check(format!("{root}/a/b"), b"a/b");
        check(format!("{root}/a/"), b"a");
        let mut bytes = format!("{root}/").into_bytes();
        bytes.push(0xff);
        assert_eq!(parse_root_path(&bytes).unwrap().path, [0xff]);
        assert!(parse_root_path(b"hm1q/x").unwrap_err().contains("a root"));
        assert!(parse_root_path(b"\xff/x").is_err());
    }

    #[test]
    fn a_get_has_one_destination() {
        let root = Root(BlockId([4; 32])).to_string();
        let kind = |arguments: &[&str]| parse(arguments).unwrap_err().kind();
        assert_eq!(kind(&["get", &root]), ErrorKind::MissingRequiredArgument);
        assert_eq!(
            kind(&["get", &root, "x", "--store"]),
            ErrorKind::ArgumentConflict
        );
        assert!(parse(&["get", &root, "--store"]).is_ok());
        assert!(parse(&["get", &root, "x"]).is_ok());
    }

    #[test]
    fn wrong_values_are_usage_errors_that_teach() {
        let text = |arguments: &[&str]| {
            let error = parse(arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
            error.to_string()
        };
        assert!(text(&["up", "--peer", "hm1x"]).contains("hm1…@[::1]:4870"));
        assert!(text(&["up", "--listen", "localhost:1"]).contains("[2001:db8::7]:4870"));
        assert!(text(&["up", "--log-level", "a=b=c"]).contains("info,stoq=debug"));
        assert!(text(&["invite", "--valid-for", "soon"]).contains("1h30m"));
        assert!(text(&["ls", "hm1q"]).contains("a root"));
        assert!(text(&["ping", "hmr1q"]).contains("a node id"));
        assert!(text(&["frobnicate"]).contains("frobnicate"));
    }
}
