//! Lays out a node's directory: where each file is, who may read it, and who is using it now.
//!
//! ```text
//! D/config.toml    configuration, written by init as a documented template
//! D/identity.key   the node's key, mode 0600
//! D/blocks/        the block store
//! D/alm/           snapshots of the association graph
//! D/peers/         known peers and spent invitations
//! D/lock           held by the process that runs the node
//! D/members        held by each process of a node that is several
//! D/run            symlink to the run directory with the sockets
//! ```

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hypermesh_id::NodeId;
use rustix::fs::FlockOperation;

use crate::config::Config;
use crate::files;
use crate::identity::{self, IdentityError};

/// A node's directory; only names, nothing is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeDir {
    path: PathBuf,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    #[error("there is no home directory to put a node in: set HYPERMESH_DIR, or pass --dir")]
    NoHome,
    #[error("there is no node in {}: run `hypermesh init --dir {}` first", .0.display(), .0.display())]
    Missing(PathBuf),
    #[error("{} is not a directory: choose another with --dir", .0.display())]
    NotADirectory(PathBuf),
    #[error("{} belongs to user {owner}, not to you ({me}): run as that user, or `chown -R` it", path.display())]
    Owner { path: PathBuf, owner: u32, me: u32 },
    #[error("others may write to {} (mode {mode:04o}): run `chmod go-w {}`", path.display(), path.display())]
    Mode { path: PathBuf, mode: u32 },
    #[error("a node already runs in {} (process {pid}): stop it first, or use another --dir", path.display())]
    Locked { path: PathBuf, pid: String },
    #[error("processes of a node that ran in {} before have not ended: `fuser {}/members` names them", .0.display(), .0.display())]
    Members(PathBuf),
    #[error("{} is in the way: a symlink to the run directory belongs there; move it away", .0.display())]
    RunInTheWay(PathBuf),
    #[error("{action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{0}")]
    Identity(#[from] IdentityError),
}

impl NodeDir {
    /// The directory at `path`, made absolute.
    ///
    /// # Errors
    /// When the current directory is gone.
    pub fn new(path: &Path) -> Result<Self, DirError> {
        let path = std::path::absolute(path).map_err(|source| DirError::Io {
            action: "could not make absolute",
            path: path.into(),
            source,
        })?;
        Ok(Self { path })
    }

    /// `$HYPERMESH_DIR`, else `$XDG_DATA_HOME/hypermesh`, else `~/.local/share/hypermesh`.
    ///
    /// # Errors
    /// [`DirError::NoHome`] when none of them is set.
    pub fn default_path(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, DirError> {
        let set = |name| {
            variable(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        set("HYPERMESH_DIR")
            .or_else(|| set("XDG_DATA_HOME").map(|base| base.join("hypermesh")))
            .or_else(|| set("HOME").map(|home| home.join(".local/share/hypermesh")))
            .ok_or(DirError::NoHome)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }
    pub fn identity(&self) -> PathBuf {
        self.path.join("identity.key")
    }
    pub fn blocks(&self) -> PathBuf {
        self.path.join("blocks")
    }
    pub fn alm(&self) -> PathBuf {
        self.path.join("alm")
    }
    /// Of the layers dsr and cpe, a directory for each.
    pub fn memory(&self) -> PathBuf {
        self.path.join("memory")
    }
    pub fn consensus(&self) -> PathBuf {
        self.path.join("consensus")
    }
    pub fn peers(&self) -> PathBuf {
        self.path.join("peers")
    }
    pub fn lock(&self) -> PathBuf {
        self.path.join("lock")
    }
    pub fn members(&self) -> PathBuf {
        self.path.join("members")
    }
    /// The symlink through which the sockets are found.
    pub fn run(&self) -> PathBuf {
        self.path.join("run")
    }

    /// Whether `init` finished here once.
    pub fn is_initialised(&self) -> bool {
        self.identity().exists()
    }

    /// Makes the directory and what belongs in it. What is there already stays: a second call changes nothing.
    ///
    /// Returns the node id and whether it is new.
    ///
    /// # Errors
    /// When the directory is not ours, or cannot be written.
    pub fn init(&self) -> Result<(NodeId, bool), DirError> {
        make_private(&self.path)?;
        self.check()?;
        for sub in [self.blocks(), self.alm(), self.peers()] {
            make_private(&sub)?;
        }
        match files::create(&self.config(), Config::template().as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io_error("could not write", &self.config(), error));
            }
            _ => {}
        }
        // The key comes last: its presence says that the rest is complete.
        match identity::create(&self.identity()) {
            Ok(id) => Ok((id, true)),
            Err(IdentityError::Exists(_)) => {
                Ok((identity::node_id(&identity::load(&self.identity())?), false))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Checks that the directory is ours and that nobody else may write to it.
    ///
    /// # Errors
    /// Each says the repair.
    pub fn check(&self) -> Result<(), DirError> {
        let metadata = match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DirError::Missing(self.path.clone()));
            }
            other => other.map_err(|error| io_error("could not look at", &self.path, error))?,
        };
        if !metadata.is_dir() {
            return Err(DirError::NotADirectory(self.path.clone()));
        }
        let me = rustix::process::geteuid().as_raw();
        if metadata.uid() != me {
            return Err(DirError::Owner {
                path: self.path.clone(),
                owner: metadata.uid(),
                me,
            });
        }
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(DirError::Mode {
                path: self.path.clone(),
                mode,
            });
        }
        Ok(())
    }

    /// Takes the lock that says "this process runs the node", until the guard is dropped.
    ///
    /// # Errors
    /// [`DirError::Locked`] names the process that has it.
    pub fn acquire(&self) -> Result<DirLock, DirError> {
        let path = self.lock();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| io_error("could not open", &path, error))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                let _ = (&mut file).take(20).read_to_string(&mut pid);
                return Err(DirError::Locked {
                    path: self.path.clone(),
                    pid: match pid.trim() {
                        // It has the lock, and has not yet written who it is.
                        "" => "just starting".into(),
                        pid => pid.into(),
                    },
                });
            }
            Err(error) => return Err(io_error("could not lock", &path, error.into())),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(|error| io_error("could not write", &path, error))?;
        self.wait_for_members()?;
        Ok(DirLock { _file: file })
    }

    /// Says that this process belongs to the node, until the guard is dropped.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub(crate) fn join_members(&self) -> Result<DirLock, DirError> {
        let (path, file) = self.open_members()?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared)
            .map_err(|error| io_error("could not lock", &path, error.into()))?;
        Ok(DirLock { _file: file })
    }

    /// Waits until the processes of an earlier run have ended: when the one that watched them was killed, the kernel ends
    /// them a moment later.
    fn wait_for_members(&self) -> Result<(), DirError> {
        let (path, file) = self.open_members()?;
        let until = Instant::now() + MEMBERS_TIMEOUT;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => {
                    std::thread::sleep(MEMBERS_PAUSE);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(DirError::Members(self.path.clone()));
                }
                Err(error) => return Err(io_error("could not lock", &path, error.into())),
            }
        }
    }

    fn open_members(&self) -> Result<(PathBuf, File), DirError> {
        let path = self.members();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| io_error("could not open", &path, error))?;
        Ok((path, file))
    }

    /// Where this directory's sockets go below `base`: 16 hex digits of the BLAKE3 hash of its canonical path.
    ///
    /// # Errors
    /// When the directory does not exist.
    pub fn run_dir_below(&self, base: &Path) -> Result<PathBuf, DirError> {
        use std::os::unix::ffi::OsStrExt;
        let canonical = fs::canonicalize(&self.path)
            .map_err(|error| io_error("could not resolve", &self.path, error))?;
        let hash = blake3::hash(canonical.as_os_str().as_bytes()).to_hex();
        Ok(base.join(&hash.as_str()[..16]))
    }

    /// Points `D/run` at the run directory, replacing an older symlink in one step.
    ///
    /// # Errors
    /// [`DirError::RunInTheWay`] when something else has that name.
    pub fn link_run(&self, target: &Path) -> Result<(), DirError> {
        let link = self.run();
        match fs::symlink_metadata(&link) {
            Ok(metadata) if !metadata.is_symlink() => return Err(DirError::RunInTheWay(link)),
            _ => {}
        }
        let temporary = self.path.join(format!("run.{}.new", std::process::id()));
        let io = |error| io_error("could not link", &link, error);
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        std::os::unix::fs::symlink(target, &temporary).map_err(io)?;
        fs::rename(&temporary, &link).map_err(io)
    }
}

/// How long processes of an earlier run may take to end, and how often that is looked at.
const MEMBERS_TIMEOUT: Duration = Duration::from_secs(10);
const MEMBERS_PAUSE: Duration = Duration::from_millis(2);

/// Held while a node runs; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> DirError {
    DirError::Io {
        action,
        path: path.into(),
        source,
    }
}

fn make_private(path: &Path) -> Result<(), DirError> {
    let made = match path.parent() {
        Some(parent) if !parent.exists() => {
            DirBuilder::new().recursive(true).mode(0o755).create(parent)
        }
        _ => Ok(()),
    };
    let made = made.and_then(|()| DirBuilder::new().mode(0o700).create(path));
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(io_error("could not make", path, error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node_dir() -> (tempfile::TempDir, NodeDir) {
        let base = tempfile::tempdir().unwrap();
        let dir = NodeDir::new(&base.path().join("a/b")).unwrap();
        (base, dir)
    }

    #[test]
    fn init_twice_is_one_node() {
        let (_base, dir) = node_dir();
        assert!(!dir.is_initialised());
        let (id, new) = dir.init().unwrap();
        assert!(new && dir.is_initialised());
        fs::write(dir.config(), "[alm]\nenabled = false\n").unwrap();
        assert_eq!(dir.init().unwrap(), (id, false));
        assert!(
            !Config::load(&dir.config()).unwrap().alm_enabled,
            "the configuration was replaced"
        );
        assert_eq!(
            fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        let (_base, dir) = node_dir();
        dir.init().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(
            dir.check(),
            Err(DirError::Mode { mode: 0o777, .. })
        ));
        assert!(matches!(dir.init(), Err(DirError::Mode { .. })));
    }

    #[test]
    fn one_process_at_a_time() {
        let (_base, dir) = node_dir();
        dir.init().unwrap();
        let lock = dir.acquire().unwrap();
        let error = dir.acquire().unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(lock);
        dir.acquire().unwrap();
    }

    #[test]
    fn the_run_link_is_replaced_but_nothing_else_is() {
        let (base, dir) = node_dir();
        dir.init().unwrap();
        let first = dir.run_dir_below(base.path()).unwrap();
        assert_eq!(first.file_name().unwrap().len(), 16);
        dir.link_run(&first).unwrap();
        dir.link_run(Path::new("/elsewhere")).unwrap();
        assert_eq!(fs::read_link(dir.run()).unwrap(), Path::new("/elsewhere"));
        fs::remove_file(dir.run()).unwrap();
        fs::write(dir.run(), "mine").unwrap();
        assert!(matches!(
            dir.link_run(&first),
            Err(DirError::RunInTheWay(_))
        ));
        assert_eq!(fs::read(dir.run()).unwrap(), b"mine");
    }

    #[test]
    fn default_place() {
        let with = |pairs: &'static [(&str, &str)]| {
            NodeDir::default_path(move |name| {
                pairs
                    .iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| OsString::from(value))
            })
        };
        assert_eq!(
            with(&[("HYPERMESH_DIR", "/x"), ("HOME", "/h")]).unwrap(),
            Path::new("/x")
        );
        assert_eq!(
            with(&[("XDG_DATA_HOME", "/d"), ("HOME", "/h")]).unwrap(),
            Path::new("/d/hypermesh")
        );
        let home = with(&[("HYPERMESH_DIR", ""), ("HOME", "/h")]).unwrap();
        assert_eq!(home, Path::new("/h/.local/share/hypermesh"));
        assert!(matches!(with(&[]), Err(DirError::NoHome)));
    }
}
