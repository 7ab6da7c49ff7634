//! Reads `config.toml`; what it does not know, it refuses, with the line and the nearest known key.
//!
//! [`KEYS`] is the one list of keys: the reader, the template that `hypermesh init` writes and a test of
//! `docs/OPERATIONS.md` use it.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::address::{PeerAddress, parse_socket_address};
use crate::files;
use crate::units::{parse_duration, parse_size, short};

mod keys;

pub use keys::{KEYS, Key};

/// The port that nodes listen on unless told otherwise.
pub const DEFAULT_PORT: u16 = 4870;

/// Everything a node can be told, with defaults for all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen; port 0 lets the system choose.
    pub listen: Vec<SocketAddr>,
    /// Where others reach this node; empty: what it listens on.
    pub advertise: Vec<SocketAddr>,
    /// Peers that are members by configuration.
    pub peers: Vec<PeerAddress>,
    /// Most bytes that the store may take on disk.
    pub quota: Option<u64>,
    /// Whether new blocks are stored as deltas against similar ones.
    pub deltas: bool,
    /// Whether what is likely to be read next is fetched before it is asked for.
    pub prefetch_enabled: bool,
    /// Most bytes that are fetched ahead at once.
    pub prefetch_budget: u64,
    /// Whether blocks travel as deltas between this node and its peers.
    pub transfer_deltas: bool,
    /// How long a `get` waits for a first peer to be connected.
    pub peer_wait: Duration,
    /// Whether `almd` is started and asked for advice.
    pub alm_enabled: bool,
    /// The `almd` program; none: beside this program, then on the PATH.
    pub alm_program: Option<PathBuf>,
    /// How long until an unconfirmed link counts half.
    pub alm_half_life: Duration,
    /// Whether the layers ifr, dsr and cpe are served.
    pub memory_enabled: bool,
    /// What each of these three may take in memory.
    pub memory_bytes_max: u64,
    /// The `ifrd` program; none: beside this program, then on the PATH.
    pub memory_ifrd: Option<PathBuf>,
    /// After how many bytes of decided blocks the state is written.
    pub snapshot_every: u64,
    /// How many heights behind others a snapshot of them is asked for.
    pub snapshot_behind: u64,
    /// Where run directories are made; none: the machine's usual place.
    pub run_base: Option<PathBuf>,
    /// Where metrics are served over HTTP as well: a loopback address; none: nowhere.
    pub metrics_http: Option<SocketAddr>,
    pub log_format: LogFormat,
    /// A filter such as `info` or `info,stoq=debug`.
    pub log_level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Human,
    Json,
}

impl LogFormat {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Json => "json",
        }
    }
}

impl std::str::FromStr for LogFormat {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(format!(
                "'{}' is not a log format: write human or json",
                short(text)
            )),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((
                std::net::Ipv6Addr::UNSPECIFIED,
                DEFAULT_PORT,
            ))],
            advertise: Vec::new(),
            peers: Vec::new(),
            quota: None,
            deltas: true,
            prefetch_enabled: true,
            prefetch_budget: 16 << 20,
            transfer_deltas: true,
            peer_wait: Duration::from_secs(10),
            alm_enabled: true,
            alm_program: None,
            alm_half_life: Duration::from_secs(3_600),
            memory_enabled: true,
            memory_bytes_max: 256 << 20,
            memory_ifrd: None,
            snapshot_every: 4 << 20,
            snapshot_behind: 4_096,
            run_base: None,
            metrics_http: None,
            log_format: LogFormat::Human,
            log_level: "info".into(),
        }
    }
}

/// Why the file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}, line {line}: {text}", path.display())]
    Line {
        path: PathBuf,
        line: usize,
        text: String,
    },
}

impl Config {
    /// Reads the file; one that does not exist means all defaults.
    ///
    /// # Errors
    /// With the line and what to write instead.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let io = |source| ConfigError::Io {
            path: path.into(),
            source,
        };
        let content = match files::read_bounded(path, FILE_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other.map_err(io)?,
        };
        let text = String::from_utf8(content).map_err(|_| {
            io(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is not UTF-8 text",
            ))
        })?;
        Self::parse(&text).map_err(|wrong| ConfigError::Line {
            path: path.into(),
            line: line_of(&text, wrong.at),
            text: wrong.text,
        })
    }

    fn parse(text: &str) -> Result<Self, Wrong> {
        let document = DeTable::parse(text).map_err(|error| Wrong {
            at: error.span().map_or(0, |span| span.start),
            text: error.message().to_string(),
        })?;
        let mut config = Self::default();
        for (section, body) in document.get_ref() {
            let name: &str = section.get_ref();
            if !KEYS.iter().any(|key| key.section == name) {
                return Err(wrong(section, unknown_section(name, body.get_ref())));
            }
            let Some(table) = body.get_ref().as_table() else {
                return Err(wrong(
                    section,
                    format!("'{name}' is a section: write [{name}]"),
                ));
            };
            for (key, value) in table {
                config.set(name, key, value)?;
            }
        }
        Ok(config)
    }

    fn set(
        &mut self,
        section: &str,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), Wrong> {
        let name: &str = key.get_ref();
        match (section, name) {
            ("transport", "listen") => {
                self.listen = list(value, |text| {
                    parse_socket_address(text).map_err(|e| e.to_string())
                })?;
                if self.listen.is_empty() {
                    return Err(wrong(
                        value,
                        "a node listens on one address at least".into(),
                    ));
                }
            }
            ("transport", "advertise") => {
                self.advertise = list(value, parse_advertised)?;
            }
            ("transport", "peers") => {
                self.peers = list(value, |text| {
                    text.parse().map_err(|e: crate::AddressError| e.to_string())
                })?;
            }
            ("store", "quota") => {
                self.quota = match string(value)? {
                    "none" => None,
                    text => Some(
                        parse_size(text)
                            .map_err(|error| wrong(value, format!("{error}; or \"none\"")))?,
                    ),
                };
            }
            ("store", "deltas") => self.deltas = flag(value)?,
            ("prefetch", "enabled") => self.prefetch_enabled = flag(value)?,
            ("prefetch", "budget") => {
                self.prefetch_budget =
                    parse_size(string(value)?).map_err(|error| wrong(value, error.to_string()))?;
            }
            ("transfer", "deltas") => self.transfer_deltas = flag(value)?,
            ("get", "peer_wait") => self.peer_wait = duration(value)?,
            ("alm", "enabled") => self.alm_enabled = flag(value)?,
            ("alm", "program") => self.alm_program = path(value)?,
            ("alm", "half_life") => {
                self.alm_half_life = duration(value)?;
                if self.alm_half_life < Duration::from_secs(1) {
                    return Err(wrong(value, "a half-life is 1s at least".into()));
                }
            }
            ("memory", "enabled") => self.memory_enabled = flag(value)?,
            ("memory", "ifrd") => self.memory_ifrd = path(value)?,
            ("memory", "bytes_max") => {
                self.memory_bytes_max =
                    parse_size(string(value)?).map_err(|error| wrong(value, error.to_string()))?;
                if self.memory_bytes_max < mfn_memory::BYTES_MAX_LEAST {
                    return Err(wrong(value, "a layer takes 64 MiB at least".into()));
                }
            }
            ("consensus", "snapshot_every") => {
                self.snapshot_every =
                    parse_size(string(value)?).map_err(|error| wrong(value, error.to_string()))?;
            }
            ("consensus", "snapshot_behind") => self.snapshot_behind = number(value)?,
            ("run", "base") => self.run_base = path(value)?,
            ("metrics", "http") => self.metrics_http = loopback(value)?,
            ("log", "format") => {
                self.log_format = string(value)?.parse().map_err(|text| wrong(value, text))?;
            }
            ("log", "level") => {
                let text = string(value)?;
                crate::logs::check_level(text).map_err(|text| wrong(value, text))?;
                self.log_level = text.into();
            }
            _ => return Err(wrong(key, unknown_key(section, name))),
        }
        Ok(())
    }

    /// The file that `hypermesh init` writes: every key with its default, commented out.
    pub fn template() -> String {
        let mut text = String::from(
            "# Configuration of a hypermesh node. What is commented out shows the default.\n\
             # Unknown keys are refused. Options of `hypermesh up` win over this file.\n",
        );
        let mut section = "";
        for key in KEYS {
            if key.section != section {
                section = key.section;
                let _ = write!(text, "\n[{section}]\n");
            }
            let _ = writeln!(text, "# {}\n# {} = {}", key.help, key.name, key.default);
        }
        text
    }
}

/// What is wrong and the byte where it stands.
#[derive(Debug)]
struct Wrong {
    at: usize,
    text: String,
}

fn wrong<T>(at: &Spanned<T>, text: String) -> Wrong {
    Wrong {
        at: at.span().start,
        text,
    }
}

fn string<'a>(value: &'a Spanned<DeValue<'_>>) -> Result<&'a str, Wrong> {
    value
        .get_ref()
        .as_str()
        .ok_or_else(|| wrong(value, "write a text in quotes".into()))
}

fn flag(value: &Spanned<DeValue<'_>>) -> Result<bool, Wrong> {
    value
        .get_ref()
        .as_bool()
        .ok_or_else(|| wrong(value, "write true or false".into()))
}

/// A whole number from 1 on.
fn number(value: &Spanned<DeValue<'_>>) -> Result<u64, Wrong> {
    let number = value.get_ref().as_integer().and_then(|integer| {
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        number.filter(|number| *number > 0)
    });
    number.ok_or_else(|| wrong(value, "write a whole number from 1 on".into()))
}

fn duration(value: &Spanned<DeValue<'_>>) -> Result<Duration, Wrong> {
    parse_duration(string(value)?).map_err(|error| wrong(value, error.to_string()))
}

/// A path; the empty text means "the default".
fn path(value: &Spanned<DeValue<'_>>) -> Result<Option<PathBuf>, Wrong> {
    match string(value)? {
        "" => Ok(None),
        text if text.starts_with('/') => Ok(Some(text.into())),
        text => Err(wrong(
            value,
            format!("'{}' is not an absolute path", short(text)),
        )),
    }
}

/// An address that only this machine reaches; the empty text means none.
fn loopback(value: &Spanned<DeValue<'_>>) -> Result<Option<SocketAddr>, Wrong> {
    let text = string(value)?;
    if text.is_empty() {
        return Ok(None);
    }
    let address = parse_socket_address(text).map_err(|error| wrong(value, error.to_string()))?;
    if !address.ip().is_loopback() {
        return Err(wrong(
            value,
            format!(
                "{address} can be reached from other machines: write [::1]:PORT or 127.0.0.1:PORT"
            ),
        ));
    }
    Ok(Some(address))
}

fn list<T>(
    value: &Spanned<DeValue<'_>>,
    mut item: impl FnMut(&str) -> Result<T, String>,
) -> Result<Vec<T>, Wrong> {
    let array = value
        .get_ref()
        .as_array()
        .ok_or_else(|| wrong(value, "write a list of texts: [\"…\", \"…\"]".into()))?;
    if array.len() > LIST_ITEMS_MAX {
        return Err(wrong(
            value,
            format!("a list has {LIST_ITEMS_MAX} items at most"),
        ));
    }
    array
        .iter()
        .map(|entry| item(string(entry)?).map_err(|text| wrong(entry, text)))
        .collect()
}

/// An address that others can be told: one machine's, with a port.
fn parse_advertised(text: &str) -> Result<SocketAddr, String> {
    let address = parse_socket_address(text).map_err(|error| error.to_string())?;
    if address.ip().is_unspecified() || address.port() == 0 {
        return Err(format!(
            "'{text}' cannot be told to others: it names no machine or no port"
        ));
    }
    Ok(address)
}

fn unknown_section(name: &str, body: &DeValue<'_>) -> String {
    if body.as_table().is_none()
        && let Some(key) = KEYS.iter().find(|key| key.name == name)
    {
        return format!(
            "'{name}' stands outside its section: it belongs below [{}]",
            key.section
        );
    }
    let sections = KEYS.iter().map(|key| key.section);
    format!(
        "[{}] is not a section{}",
        short(name),
        did_you_mean(name, sections)
    )
}

fn unknown_key(section: &str, name: &str) -> String {
    if let Some(key) = KEYS.iter().find(|key| key.name == name) {
        return format!(
            "'{name}' is not a key of [{section}]: it belongs below [{}]",
            key.section
        );
    }
    let names = KEYS
        .iter()
        .filter(|key| key.section == section)
        .map(|key| key.name);
    format!(
        "'{}' is not a key of [{section}]{}",
        short(name),
        did_you_mean(name, names)
    )
}

/// The known word with the fewest edits; always one, so that the reader sees what exists.
fn did_you_mean(word: &str, known: impl Iterator<Item = &'static str>) -> String {
    let nearest = known.min_by_key(|candidate| edits(word, candidate));
    nearest.map_or_else(String::new, |nearest| {
        format!("; the nearest is '{nearest}'")
    })
}

/// Levenshtein distance, of short words.
fn edits(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(80).collect();
    let mut row: Vec<usize> = (0..=left.len()).collect();
    for (index, right_char) in right.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, left_char) in left.iter().enumerate() {
            let replaced = diagonal + usize::from(*left_char != right_char);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[left.len()]
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()
        .iter()
        .take(at)
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

/// Longest configuration file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Most addresses or peers in one list.
const LIST_ITEMS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path).unwrap_err().to_string()
    }

    #[test]
    fn the_template_is_valid_and_shows_the_defaults() {
        assert_eq!(
            Config::parse(&Config::template()).unwrap(),
            Config::default()
        );
        let uncommented: String = Config::template()
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest)
                    if KEYS
                        .iter()
                        .any(|key| rest.starts_with(&format!("{} = ", key.name))) =>
                {
                    rest
                }
                _ => line,
            })
            .fold(String::new(), |text, line| text + line + "\n");
        for key in KEYS {
            assert!(
                uncommented.contains(&format!("\n{} = {}\n", key.name, key.default)),
                "{key:?}"
            );
        }
        assert_eq!(Config::parse(&uncommented).unwrap(), Config::default());
    }

    #[test]
    fn metrics_stay_on_this_machine() {
        let config = Config::parse("[metrics]\nhttp = \"[::1]:9464\"\n").unwrap();
        assert_eq!(config.metrics_http, Some("[::1]:9464".parse().unwrap()));
        for open in ["[::]:9464", "0.0.0.0:9464", "192.0.2.7:80"] {
            let text = format!("[metrics]\nhttp = \"{open}\"\n");
            assert!(error_of(&text).contains("other machines"), "{open}");
        }
    }

    #[test]
    fn a_whole_file() {
        let node = hypermesh_id::NodeId([3; 32]);
        let text = format!(
            "[transport]\nlisten = [\"[::1]:0\", \"127.0.0.1:9\"]\npeers = [\"{node}@[::1]:4870\"]\n\
             [store]\nquota = \"2 GiB\"\ndeltas = false\n[transfer]\ndeltas = false\n[alm]\nenabled = false\nprogram = \"/usr/bin/almd\"\n\
             [log]\nformat = \"json\"\nlevel = \"debug\"\n"
        );
        let config = Config::parse(&text).unwrap();
        assert_eq!(config.listen.len(), 2);
        assert_eq!(config.peers[0].node, node);
        assert_eq!(config.quota, Some(2 << 30));
        assert!(!config.deltas && !config.transfer_deltas);
        assert!(!config.alm_enabled);
        assert_eq!(config.log_format, LogFormat::Json);
    }

    #[test]
    fn what_is_unknown_is_refused_with_line_and_neighbour() {
        let check = |text: &str, parts: &[&str]| {
            let error = error_of(text);
            for part in parts {
                assert!(error.contains(part), "{text:?}: {error}");
            }
        };
        check(
            "[transport]\n\nlisen = []\n",
            &["line 3", "'lisen'", "'listen'"],
        );
        check("[transprot]\n", &["line 1", "'transport'"]);
        check("[store]\nlisten = []\n", &["line 2", "[transport]"]);
        check("quota = \"1 GiB\"\n", &["line 1", "below [store]"]);
        check("[store]\nquota = 5\n", &["line 2", "quotes"]);
        check("[store]\ndeltas = 1\n", &["line 2", "true or false"]);
        check("[store]\nquota = \"5 GB\"\n", &["line 2", "50 GiB", "none"]);
        check(
            "[transport]\nlisten = [\n \"[::1]:1\",\n \"nowhere\"]\n",
            &["line 4", "nowhere"],
        );
        check("[transport]\nlisten = []\n", &["line 2", "one address"]);
        check("[alm]\nprogram = \"almd\"\n", &["line 2", "absolute"]);
        check("[log]\nlevel = \"lots=of=it\"\n", &["line 2", "lots"]);
        check("[memory]\nbytes_max = \"1 MiB\"\n", &["line 2", "64 MiB"]);
        check("[memory]\nbytes = \"1 GiB\"\n", &["line 2", "'bytes_max'"]);
        for text in ["0", "-5", "\"5\"", "1.5"] {
            let text = format!("[consensus]\nsnapshot_behind = {text}\n");
            check(&text, &["line 2", "whole number"]);
        }
        check("[log\n", &["line 1"]);
    }

    #[test]
    fn a_missing_file_means_defaults() {
        assert_eq!(
            Config::load(Path::new("/nonexistent/config.toml")).unwrap(),
            Config::default()
        );
    }

    #[test]
    fn edit_distance() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("same", "same"), 0);
    }
}
