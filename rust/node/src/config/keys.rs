//! The one list of what `config.toml` may have.

/// One key of the file.
#[derive(Debug)]
pub struct Key {
    pub section: &'static str,
    pub name: &'static str,
    /// The default, as it is written in the file.
    pub default: &'static str,
    pub help: &'static str,
}

const fn key(
    section: &'static str,
    name: &'static str,
    default: &'static str,
    help: &'static str,
) -> Key {
    Key {
        section,
        name,
        default,
        help,
    }
}

/// Every key that the file may have, in the order of the template.
pub const KEYS: &[Key] = &[
    key(
        "transport",
        "listen",
        "[\"[::]:4870\"]",
        "Addresses to listen on (UDP). Port 0 lets the system choose.",
    ),
    key(
        "transport",
        "advertise",
        "[]",
        "Addresses that invitations name. Empty: those listened on, or the machine's own for [::].",
    ),
    key(
        "transport",
        "peers",
        "[]",
        "Members by configuration, such as \"hm1…@[2001:db8::7]:4870\".",
    ),
    key(
        "store",
        "quota",
        "\"none\"",
        "Most bytes on disk, such as \"50 GiB\". A put or get that needs more fails.",
    ),
    key(
        "store",
        "deltas",
        "true",
        "Store new blocks as deltas against similar ones. What is stored so is read in any case.",
    ),
    key(
        "transfer",
        "deltas",
        "true",
        "Let blocks travel as deltas against those that the other side has. Without it, they go whole.",
    ),
    key(
        "get",
        "peer_wait",
        "\"10s\"",
        "How long a get waits for a first connected peer.",
    ),
    key(
        "prefetch",
        "enabled",
        "true",
        "Fetch the files that are likely to be read next before they are asked for.",
    ),
    key(
        "prefetch",
        "budget",
        "\"16 MiB\"",
        "Most bytes that are fetched ahead at once.",
    ),
    key(
        "alm",
        "enabled",
        "true",
        "Start almd and ask it to rank providers and what is read together. Without it, round-trip time decides.",
    ),
    key(
        "alm",
        "program",
        "\"\"",
        "The almd program. Empty: beside hypermesh, then on the PATH.",
    ),
    key(
        "alm",
        "half_life",
        "\"1h\"",
        "How long until a link that is not confirmed counts half.",
    ),
    key(
        "memory",
        "enabled",
        "true",
        "Serve the layers ifr, dsr and cpe on sockets of their own. What they hold is kept in memory/.",
    ),
    key(
        "memory",
        "bytes_max",
        "\"256 MiB\"",
        "What each of the three may take in memory, 64 MiB at least. A full ifr refuses; dsr and cpe forget.",
    ),
    key(
        "memory",
        "ifrd",
        "\"\"",
        "The ifrd program, which serves ifr. Empty: beside hypermesh, then on the PATH.",
    ),
    key(
        "consensus",
        "snapshot_every",
        "\"4 MiB\"",
        "After how many bytes of decided blocks the state is written, so that a restart need not apply them. More when it is large.",
    ),
    key(
        "consensus",
        "snapshot_behind",
        "4096",
        "How many heights behind others this node asks them for their snapshot instead of the blocks.",
    ),
    key(
        "run",
        "base",
        "\"\"",
        "Where the socket directory is made. Empty: $XDG_RUNTIME_DIR/hypermesh or the like.",
    ),
    key(
        "metrics",
        "http",
        "\"\"",
        "Serve Prometheus text over HTTP as well, on a loopback address such as \"[::1]:9464\". Empty: no.",
    ),
    key("log", "format", "\"human\"", "human or json."),
    key(
        "log",
        "level",
        "\"info\"",
        "error, warn, info, debug or trace; per part: \"info,stoq=debug\".",
    ),
];
