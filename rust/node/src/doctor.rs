//! Finds what is wrong with a machine or a node's directory, without a running node.

use std::fs::{self, File};
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;
use rustix::process::Resource;

use crate::adviser::find_almd;
use crate::config::Config;
use crate::dir::{DirError, NodeDir};
use crate::exact::find_ifrd;
use crate::identity::{self, IdentityError};
use crate::order::mesh::{self, MeshError};
use crate::peers::{PeerBook, PeersError};
use crate::units::format_size;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Fine,
    /// Works, but worse than it could.
    Warning,
    /// The node will not start, or not do what it is for.
    Broken,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Warning => "warning",
            Self::Broken => "broken",
        }
    }
}

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub check: &'static str,
    pub level: Level,
    pub text: String,
    /// What to do; empty when nothing is to be done.
    pub repair: String,
}

fn fine(check: &'static str, text: impl Into<String>) -> Finding {
    Finding {
        check,
        level: Level::Fine,
        text: text.into(),
        repair: String::new(),
    }
}

fn warning(check: &'static str, text: impl Into<String>, repair: impl Into<String>) -> Finding {
    Finding {
        check,
        level: Level::Warning,
        text: text.into(),
        repair: repair.into(),
    }
}

fn broken(check: &'static str, text: impl Into<String>, repair: impl Into<String>) -> Finding {
    Finding {
        check,
        level: Level::Broken,
        text: text.into(),
        repair: repair.into(),
    }
}

/// Errors of this crate end in their repair after a colon; those of the system do not.
fn broken_error(check: &'static str, error: &dyn std::fmt::Display, of_system: bool) -> Finding {
    let text = error.to_string();
    match text.rsplit_once(": ") {
        Some((cause, repair)) if !of_system => broken(check, cause, repair),
        _ => broken(
            check,
            text,
            "check the permissions there and the health of the disk",
        ),
    }
}

/// Runs every check. Blocking; changes nothing that lasts.
pub fn examine(dir: &NodeDir) -> Vec<Finding> {
    let mut findings = Vec::new();
    let config = match Config::load(&dir.config()) {
        Ok(config) => {
            let text = if dir.config().exists() {
                "config.toml is valid"
            } else {
                "there is no config.toml: the defaults hold"
            };
            findings.push(fine("config", text));
            config
        }
        Err(error) => {
            findings.push(broken(
                "config",
                error.to_string(),
                "correct the line, or delete it",
            ));
            Config::default()
        }
    };
    let usable = match dir.check() {
        Ok(()) => {
            findings.insert(
                0,
                fine(
                    "directory",
                    format!("{} is yours alone to write", dir.path().display()),
                ),
            );
            true
        }
        Err(error) => {
            findings.insert(
                0,
                broken_error("directory", &error, matches!(error, DirError::Io { .. })),
            );
            false
        }
    };
    let mut running = false;
    if usable {
        findings.push(key(dir));
        findings.push(peers(dir));
        let (finding, is_running) = lock(dir);
        running = is_running;
        findings.push(finding);
        findings.extend(run_dir(dir, &config, running));
        findings.push(store(dir, running));
        findings.push(consensus(dir, running));
        findings.push(disk(dir.path(), config.quota));
    }
    findings.push(if running {
        open_files_of_node(dir)
    } else {
        open_files()
    });
    findings.push(loopback());
    if !running {
        findings.extend(config.listen.iter().map(|address| listen(*address)));
    }
    findings.extend(udp_buffers(Path::new("/proc/sys/net/core")));
    findings.push(clock(dir));
    findings.push(almd(&config));
    findings.push(ifrd(&config));
    findings
}

fn key(dir: &NodeDir) -> Finding {
    match identity::load(&dir.identity()) {
        Ok(key) => fine("identity", identity::node_id(&key).to_string()),
        Err(error) => broken_error(
            "identity",
            &error,
            matches!(error, IdentityError::Io { .. }),
        ),
    }
}

fn peers(dir: &NodeDir) -> Finding {
    match PeerBook::open(&dir.peers(), hypermesh_id::NodeId([0; 32]), &[]) {
        Ok(book) => fine(
            "peers",
            format!("{} peers are remembered", book.all().len()),
        ),
        Err(error) => broken_error("peers", &error, matches!(error, PeersError::Io { .. })),
    }
}

/// Whether a node runs here, by the lock that the kernel would have released.
fn lock(dir: &NodeDir) -> (Finding, bool) {
    let Ok(file) = File::open(dir.lock()) else {
        return (fine("lock", "no node runs here"), false);
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => (fine("lock", "no node runs here"), false),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let pid = fs::read_to_string(dir.lock()).unwrap_or_default();
            (
                fine("lock", format!("a node runs here (process {})", pid.trim())),
                true,
            )
        }
        Err(error) => {
            let text = format!("locks do not work here ({error})");
            (
                broken("lock", text, "put the directory on a local file system"),
                false,
            )
        }
    }
}

/// The files of what the mesh decides.
fn consensus(dir: &NodeDir, running: bool) -> Finding {
    const CHECK: &str = "consensus";
    let directory = dir.consensus();
    if running {
        return fine(CHECK, "the running node has it: `hypermesh status` tells");
    }
    if !directory.exists() {
        return fine(CHECK, "the first start founds a mesh of this node alone");
    }
    match mesh::examine(&directory) {
        Ok(Some(found)) => {
            let (mesh, stored, snapshot) = (found.mesh, found.stored, found.snapshot);
            let text = format!("mesh {mesh}, blocks stored up to {stored}, snapshot of {snapshot}");
            match found.unusable.first() {
                None => fine(CHECK, text),
                Some((path, reason)) => {
                    let path = path.display();
                    let text = format!("{text}; {path} cannot be used ({reason})");
                    let fix = "nothing: the blocks since an older one are applied again at the next start, and later ones replace it";
                    warning(CHECK, text, fix)
                }
            }
        }
        Ok(None) => fine(CHECK, "the next start founds a mesh of this node alone"),
        Err(error) => broken_error(CHECK, &error, matches!(error, MeshError::Io { .. })),
    }
}

fn run_dir(dir: &NodeDir, config: &Config, running: bool) -> Vec<Finding> {
    const CHECK: &str = "run directory";
    let base = config
        .run_base
        .clone()
        .unwrap_or_else(mfn_local::run_dir::default_base);
    let run = match dir.run_dir_below(&base) {
        Ok(run) => run,
        Err(error) => return vec![broken_error(CHECK, &error, true)],
    };
    let longest = run.join("hypermesh_transport.sock").as_os_str().len();
    if longest > SOCKET_PATH_MAX {
        return vec![broken(
            CHECK,
            format!(
                "socket paths below {} have {longest} bytes, {SOCKET_PATH_MAX} are possible",
                run.display()
            ),
            "set run.base in config.toml to a shorter path",
        )];
    }
    if !running && let Err(error) = can_be_made(&run) {
        return vec![broken(
            CHECK,
            format!("{} cannot be made ({error})", run.display()),
            "set run.base in config.toml to a directory that you may write to",
        )];
    }
    let target = match fs::read_link(dir.run()) {
        Ok(target) => target,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return vec![fine(CHECK, format!("{} will be made", run.display()))];
        }
        Err(_) => {
            let text = format!("{} is not a symlink", dir.run().display());
            return vec![broken(CHECK, text, "move it away")];
        }
    };
    let sockets = sockets_in(&target);
    match (running, sockets) {
        (true, 0) => vec![broken(
            CHECK,
            format!(
                "the node runs, but there are no sockets in {}",
                target.display()
            ),
            "restart the node; keep clean-up jobs away from its run directory",
        )],
        (true, count) => vec![fine(
            CHECK,
            format!("{count} sockets in {}", target.display()),
        )],
        (false, 0) => vec![fine(CHECK, format!("{} is free", run.display()))],
        (false, count) => vec![fine(
            CHECK,
            format!("{count} sockets of an earlier run; the next one replaces them"),
        )],
    }
}

/// Whether a directory can be made, tried on one beside it that is removed again: some file systems refuse whatever
/// their permissions say.
fn can_be_made(path: &Path) -> std::io::Result<()> {
    let Some(there) = path.ancestors().find(|above| above.exists()) else {
        return Err(std::io::ErrorKind::NotFound.into());
    };
    let trial = there.join(format!(".hypermesh-doctor-{}", std::process::id()));
    fs::create_dir(&trial)?;
    fs::remove_dir(&trial)
}

fn sockets_in(directory: &Path) -> usize {
    use std::os::unix::fs::FileTypeExt;
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    entries
        .take(256)
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()))
        .count()
}

fn store(dir: &NodeDir, running: bool) -> Finding {
    const CHECK: &str = "store";
    if running {
        return fine(
            CHECK,
            "in use by the running node; `hypermesh status` shows it",
        );
    }
    match crate::store::examine(&dir.blocks()) {
        Ok(text) => fine(CHECK, text),
        Err((text, repair)) => broken(CHECK, text, repair),
    }
}

fn disk(path: &Path, quota: Option<u64>) -> Finding {
    const CHECK: &str = "disk";
    let free = match rustix::fs::statvfs(path) {
        Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
        Err(error) => return warning(CHECK, format!("free space is not known ({error})"), ""),
    };
    let text = format!("{} free", format_size(free));
    if free < DISK_BROKEN {
        broken(
            CHECK,
            text,
            "free some space, or move the directory to a larger disk",
        )
    } else if free < DISK_LOW {
        warning(
            CHECK,
            text,
            "free some space; `hypermesh gc` removes what nothing pins",
        )
    } else if let Some(quota) = quota.filter(|quota| *quota > free) {
        warning(
            CHECK,
            format!("{text}, less than the quota of {}", format_size(quota)),
            "lower store.quota, so that the disk does not fill up",
        )
    } else {
        fine(CHECK, text)
    }
}

fn open_files() -> Finding {
    let limit = rustix::process::getrlimit(Resource::Nofile).current;
    judge_open_files("this shell", limit)
}

/// Of the process that runs here, which may have been started with other limits than this one.
fn open_files_of_node(dir: &NodeDir) -> Finding {
    let pid = fs::read_to_string(dir.lock()).unwrap_or_default();
    let limits = fs::read_to_string(format!("/proc/{}/limits", pid.trim())).unwrap_or_default();
    match open_files_in(&limits) {
        Some(limit) => judge_open_files("the running node", limit),
        None => fine(OPEN_FILES, "the limit of the running node is not known"),
    }
}

/// The soft limit in the words of proc_pid_limits(5); `None` in it is unlimited.
fn open_files_in(limits: &str) -> Option<Option<u64>> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    }
}

fn judge_open_files(who: &str, limit: Option<u64>) -> Finding {
    match limit {
        Some(limit) if limit < FILES_MIN => broken(
            OPEN_FILES,
            format!("{who} allows {limit} open files; a node needs {FILES_MIN}"),
            format!("run `ulimit -n {FILES_GOOD}` before `hypermesh up`"),
        ),
        Some(limit) if limit < FILES_GOOD => warning(
            OPEN_FILES,
            format!("{who} allows {limit} open files"),
            format!("run `ulimit -n {FILES_GOOD}` before `hypermesh up` to serve many clients"),
        ),
        Some(limit) => fine(OPEN_FILES, format!("{limit} allowed")),
        None => fine(OPEN_FILES, "not limited"),
    }
}

fn loopback() -> Finding {
    const CHECK: &str = "IPv6";
    let here = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let echo = || -> std::io::Result<()> {
        let receiver = UdpSocket::bind(here)?;
        receiver.set_read_timeout(Some(Duration::from_secs(1)))?;
        let sender = UdpSocket::bind(here)?;
        sender.send_to(b"hypermesh doctor", receiver.local_addr()?)?;
        receiver.recv_from(&mut [0; 32]).map(|_| ())
    };
    match echo() {
        Ok(()) => fine(CHECK, "UDP datagrams pass over [::1]"),
        Err(error) => broken(
            CHECK,
            format!("UDP over [::1] does not work ({error})"),
            "enable IPv6: `sysctl net.ipv6.conf.all.disable_ipv6=0`, and let the firewall pass loopback",
        ),
    }
}

fn listen(address: SocketAddr) -> Finding {
    const CHECK: &str = "listen";
    match UdpSocket::bind(address) {
        Ok(_) => fine(CHECK, format!("UDP {address} is free")),
        Err(error) => broken(
            CHECK,
            format!("UDP {address} cannot be used ({error})"),
            "choose another with transport.listen in config.toml or --listen; port 0 lets the system choose",
        ),
    }
}

fn udp_buffers(sysctl: &Path) -> Vec<Finding> {
    const CHECK: &str = "UDP buffers";
    ["rmem_max", "wmem_max"]
        .into_iter()
        .filter_map(|name| {
            // Not every container shows these; then there is nothing to say.
            let bytes: u64 = fs::read_to_string(sysctl.join(name))
                .ok()?
                .trim()
                .parse()
                .ok()?;
            let text = format!("net.core.{name} is {}", format_size(bytes));
            Some(if bytes < UDP_BUFFER_GOOD {
                warning(
                    CHECK,
                    text,
                    format!("for fast transfers: `sysctl -w net.core.{name}={UDP_BUFFER_GOOD}`"),
                )
            } else {
                fine(CHECK, text)
            })
        })
        .collect()
}

/// Invitations expire by the clock, so a clock that is far off admits nobody, or too late.
fn clock(dir: &NodeDir) -> Finding {
    const CHECK: &str = "clock";
    const REPAIR: &str = "set the clock, for example with `timedatectl set-ntp true`";
    let now = SystemTime::now();
    if now < SystemTime::UNIX_EPOCH + Duration::from_secs(BUILT_AFTER) {
        return broken(
            CHECK,
            "the clock shows a time before this program was written",
            REPAIR,
        );
    }
    let newest = [dir.identity(), dir.lock(), dir.peers()]
        .iter()
        .filter_map(|path| fs::metadata(path).ok()?.modified().ok())
        .max();
    match newest.and_then(|time| time.duration_since(now).ok()) {
        Some(ahead) if ahead > Duration::from_secs(120) => warning(
            CHECK,
            format!(
                "files here are {} in the future",
                crate::units::format_duration(ahead)
            ),
            REPAIR,
        ),
        _ => fine(CHECK, "plausible"),
    }
}

fn almd(config: &Config) -> Finding {
    const CHECK: &str = "almd";
    if !config.alm_enabled {
        return fine(CHECK, "switched off in config.toml");
    }
    let Some(program) = find_almd(config) else {
        return warning(
            CHECK,
            "almd was not found; round-trip time alone ranks providers",
            "put almd beside hypermesh or on the PATH, or set alm.program; alm.enabled = false silences this",
        );
    };
    match version_of(&program) {
        Ok(version) => fine(CHECK, format!("{} ({version})", program.display())),
        Err(reason) => warning(
            CHECK,
            format!(
                "{} does not answer to --version ({reason})",
                program.display()
            ),
            "build it again, or set alm.program to a working one",
        ),
    }
}

fn ifrd(config: &Config) -> Finding {
    const CHECK: &str = "ifrd";
    if !config.memory_enabled {
        return fine(CHECK, "switched off in config.toml");
    }
    let Some(program) = find_ifrd(config) else {
        return warning(
            CHECK,
            "ifrd was not found; `hypermesh mem` keeps no values",
            "put ifrd beside hypermesh or on the PATH, or set memory.ifrd; memory.enabled = false silences this",
        );
    };
    match version_of(&program) {
        Ok(version) => fine(CHECK, format!("{} ({version})", program.display())),
        Err(reason) => warning(
            CHECK,
            format!(
                "{} does not answer to --version ({reason})",
                program.display()
            ),
            "build it again, or set memory.ifrd to a working one",
        ),
    }
}

fn version_of(program: &PathBuf) -> Result<String, String> {
    let output = std::process::Command::new(program)
        .arg("--version")
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(output.status.to_string());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(80)
        .collect())
}

const OPEN_FILES: &str = "open files";
/// Longest path of a Unix socket: 108 bytes with the closing zero.
const SOCKET_PATH_MAX: usize = 107;
/// Below this, not even metadata can be committed safely.
const DISK_BROKEN: u64 = 64 << 20;
/// Below this, one large put fills the disk.
const DISK_LOW: u64 = 1 << 30;
/// Five sockets with some clients, the store's segments, QUIC.
const FILES_MIN: u64 = 256;
/// Room for many clients.
const FILES_GOOD: u64 = 4_096;
/// Two flights of a fast transfer.
const UDP_BUFFER_GOOD: u64 = 4 << 20;
/// 2025-01-01, Unix seconds.
const BUILT_AFTER: u64 = 1_735_689_600;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn levels(findings: &[Finding], check: &str) -> Vec<Level> {
        findings
            .iter()
            .filter(|finding| finding.check == check)
            .map(|finding| finding.level)
            .collect()
    }

    #[test]
    fn a_fresh_node_is_well() {
        let base = tempfile::tempdir().unwrap();
        let dir = NodeDir::new(&base.path().join("d")).unwrap();
        dir.init().unwrap();
        let findings = examine(&dir);
        for check in [
            "directory",
            "config",
            "identity",
            "peers",
            "lock",
            "run directory",
            "store",
        ] {
            assert_eq!(levels(&findings, check), [Level::Fine], "{findings:#?}");
        }
    }

    #[test]
    fn a_run_directory_that_cannot_be_made_is_found() {
        let base = tempfile::tempdir().unwrap();
        let dir = NodeDir::new(&base.path().join("d")).unwrap();
        dir.init().unwrap();
        // No permission helps there.
        fs::write(dir.config(), "[run]\nbase = \"/proc/none\"\n").unwrap();
        let findings = examine(&dir);
        assert_eq!(levels(&findings, "run directory"), [Level::Broken]);
    }

    #[test]
    fn the_limit_of_another_process_is_read() {
        let limits = fs::read_to_string("/proc/self/limits").unwrap();
        let own = rustix::process::getrlimit(Resource::Nofile).current;
        assert_eq!(open_files_in(&limits), Some(own));
        let text = "Max open files            unlimited            unlimited            files\n";
        assert_eq!(open_files_in(text), Some(None));
        assert_eq!(open_files_in(""), None);
    }

    #[test]
    fn each_fault_is_named_with_its_repair() {
        let base = tempfile::tempdir().unwrap();
        let dir = NodeDir::new(&base.path().join("d")).unwrap();
        assert_eq!(levels(&examine(&dir), "directory"), [Level::Broken]);
        dir.init().unwrap();
        fs::set_permissions(dir.identity(), fs::Permissions::from_mode(0o644)).unwrap();
        let long = "x".repeat(120);
        fs::write(
            dir.config(),
            format!("[run]\nbase = \"/{long}\"\n[alm]\nenabled = false\n"),
        )
        .unwrap();
        fs::write(dir.peers().join("known.json"), "nonsense").unwrap();
        let findings = examine(&dir);
        for check in ["identity", "run directory", "peers"] {
            assert_eq!(levels(&findings, check), [Level::Broken], "{findings:#?}");
        }
        for finding in findings
            .iter()
            .filter(|finding| finding.level == Level::Broken)
        {
            assert!(!finding.repair.is_empty(), "{finding:?}");
        }
        fs::write(dir.config(), "[alm]\nenable = false\n").unwrap();
        let findings = examine(&dir);
        let config = findings
            .iter()
            .find(|finding| finding.check == "config")
            .unwrap();
        assert!(
            config.level == Level::Broken && config.text.contains("'enabled'"),
            "{config:?}"
        );
    }

    #[test]
    fn a_running_node_is_recognised() {
        let base = tempfile::tempdir().unwrap();
        let dir = NodeDir::new(&base.path().join("d")).unwrap();
        dir.init().unwrap();
        let _lock = dir.acquire().unwrap();
        let (finding, running) = lock(&dir);
        assert!(
            running && finding.text.contains(&std::process::id().to_string()),
            "{finding:?}"
        );
    }

    #[test]
    fn small_buffers_are_a_warning() {
        let sysctl = tempfile::tempdir().unwrap();
        fs::write(sysctl.path().join("rmem_max"), "212992\n").unwrap();
        let findings = udp_buffers(sysctl.path());
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].level, Level::Warning);
        assert!(findings[0].repair.contains("sysctl -w net.core.rmem_max="));
    }
}
