//! What the commands of a mesh take: names, members, decided blocks, proofs.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hypermesh_id::{BlockId, NodeId, Root};

use super::{Invite, Join};

#[derive(Debug, Args)]
pub(crate) struct Name {
    #[command(subcommand)]
    pub(crate) command: NameCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NameCommand {
    /// Let a name mean a root, for the whole mesh
    #[command(after_help = "\
Whoever creates a name owns it and alone may change it, unless a prefix of it is delegated. Done when the voters have decided
it. With --if or --if-new it is refused when somebody was quicker (status 1, code conflict; not_owner when the name is
another's by now).

Examples:
  hypermesh name set films/dune hmr1…
  hypermesh name set films/dune hmr1… --if-new
  hypermesh name set films/dune hmr1NEW… --if hmr1OLD…")]
    Set(NameSet),
    /// Print the root that a name means
    #[command(after_help = "\
As of the last block that this node has. `hypermesh proof` gives the same with what it takes to check it elsewhere. Status 1
when there is no such name.

Examples:
  hypermesh name get films/dune
  hypermesh get \"$(hypermesh name get films/dune)\" ./dune")]
    Get(NameGet),
    /// List names
    #[command(after_help = "\
Examples:
  hypermesh name ls
  hypermesh name ls films --long")]
    Ls(NameLs),
    /// Remove a name
    #[command(after_help = "\
The content stays where it is; only the name goes.

Examples:
  hypermesh name rm films/dune
  hypermesh name rm films/dune --if hmr1…")]
    Rm(NameRm),
    /// Give a prefix to a key, or take it back
    #[command(after_help = "\
From then on only that key may change names at and below the prefix.

Examples:
  hypermesh name delegate films hm1…
  hypermesh name delegate films --take-back")]
    Delegate(NameDelegate),
    /// Show the changes of a name, the last first
    #[command(after_help = "Example:\n  hypermesh name history films/dune")]
    History(NameHistory),
}

#[derive(Debug, Args)]
pub(crate) struct NameSet {
    /// The name, a path of segments such as films/dune
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What it shall mean, hmr1…
    pub(crate) root: Root,
    #[command(flatten)]
    pub(crate) expect: Expect,
    /// Only if there is no such name yet
    #[arg(long, conflicts_with = "unless_changed")]
    pub(crate) if_new: bool,
}

/// What a name has to mean for a change to be made.
#[derive(Debug, Args)]
pub(crate) struct Expect {
    /// Only if it means this root
    #[arg(long = "if", id = "unless_changed", value_name = "ROOT")]
    pub(crate) root: Option<Root>,
}

#[derive(Debug, Args)]
pub(crate) struct NameGet {
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct NameLs {
    /// Only names at and below this one
    #[arg(value_name = "PREFIX", default_value = "")]
    pub(crate) prefix: String,
    /// With owner, height of the last change, and who alone may change it
    #[arg(long, short)]
    pub(crate) long: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NameRm {
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) expect: Expect,
}

#[derive(Debug, Args)]
pub(crate) struct NameDelegate {
    #[arg(value_name = "PREFIX")]
    pub(crate) prefix: String,
    /// The key that may change names below it, hm1…
    #[arg(required_unless_present = "take_back", conflicts_with = "take_back")]
    pub(crate) to: Option<NodeId>,
    /// Let it be nobody's again
    #[arg(long)]
    pub(crate) take_back: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NameHistory {
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Most changes to show
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Members {
    #[command(subcommand)]
    pub(crate) command: MembersCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MembersCommand {
    /// List who belongs to the mesh, and what its voters have begun to agree on
    #[command(after_help = "Examples:\n  hypermesh members ls\n  hypermesh members ls --json")]
    Ls,
    /// Print an invitation that lets one node join (the same as `hypermesh invite`)
    #[command(after_help = "Example:\n  hypermesh members invite --valid-for 15m")]
    Invite(Invite),
    /// Join the mesh of the node that wrote the invitation (the same as `hypermesh join`)
    #[command(after_help = "Example:\n  hypermesh members join hmi1…")]
    Join(Join),
    /// Say that a learner shall vote
    #[command(after_help = "\
Takes effect when more than two thirds of the voters have said the same, each at a node of theirs; of a mesh of one, at once.

Example:
  hypermesh members promote hm1…")]
    Promote(Who),
    /// Say that a voter shall only learn; one may step down alone
    #[command(after_help = "Example:\n  hypermesh members demote hm1…")]
    Demote(Who),
    /// Say that a member shall belong to the mesh no more
    #[command(after_help = "\
A learner may be removed by its inviter alone, and may leave; anyone else takes more than two thirds of the voters.

Example:
  hypermesh members remove hm1…")]
    Remove(Who),
    /// Say that a limit of the mesh shall have another value
    #[command(after_help = "\
The limits and their values: `hypermesh members ls --json`, under \"parameters\". Takes effect when more than two thirds of the voters
have said the same.

Example:
  hypermesh members set names_per_author 50000")]
    Set {
        /// Which limit
        #[arg(value_name = "LIMIT")]
        name: String,
        /// What it shall be
        value: u64,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Who {
    /// The member's node id, hm1…
    pub(crate) node: NodeId,
}

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// Begin at this height [default: the last blocks]
    #[arg(long, value_name = "HEIGHT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) from: Option<u64>,
    /// Most blocks to show
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) limit: u32,
    /// Go on with blocks as they are decided, until Ctrl-C
    #[arg(long, short)]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Proof {
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Where to write it; must not exist yet [default: NAME.hmproof, with '-' for each '/']
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// What `hypermesh proof` wrote
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The mesh that it has to be of, 64 hex digits [default: that of the node's directory, if there is one]
    #[arg(long, value_name = "ID")]
    pub(crate) mesh: Option<BlockId>,
}

#[derive(Debug, Args)]
pub(crate) struct Evidence {
    #[command(subcommand)]
    pub(crate) command: EvidenceCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EvidenceCommand {
    /// List proofs against voters that this node has seen
    #[command(after_help = "Example:\n  hypermesh evidence ls")]
    Ls,
    /// Print the proofs against one node, with the signed bytes in hex
    #[command(after_help = "Example:\n  hypermesh evidence show hm1…")]
    Show(Who),
}

/// Content by its hash or by what the mesh calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Root(Root),
    Name(String),
}

impl std::str::FromStr for Content {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        // A root that was cut short is no name: names do not begin so.
        if text.starts_with("hmr1") {
            return text
                .parse()
                .map(Self::Root)
                .map_err(|error: hypermesh_id::ParseError| error.to_string());
        }
        Ok(Self::Name(text.into()))
    }
}
