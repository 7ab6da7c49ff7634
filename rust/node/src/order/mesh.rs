//! The mesh that this node takes part in: founded with its first start, or joined.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ed25519_dalek::SigningKey;
use hypermesh_consensus::{Config, Key, MeshId, Timeouts};
use hypermesh_registry::{
    Description, GENESIS_BYTES_MAX, Genesis, Ledger, MempoolLimits, Parameters,
};
use tokio::sync::{mpsc, watch};

use super::accuse::Accuser;
use super::beginning::{Beginning, Phase};
use super::chain::{Chain, Published};
use super::driver::{EVIDENCE, OrderError, Running, Start, start};
use super::log::Log;
use super::snapshots::{self, Policy, Snapshots};
use super::store::DecidedStore;
use crate::doors::{Gossip, Heard};
use crate::files;

/// A mesh at work here.
pub(crate) struct Mesh {
    pub(crate) genesis: Genesis,
    pub(crate) running: Running<Chain>,
    pub(crate) published: watch::Receiver<Published>,
    /// The height of a snapshot of others that is here: this node is to be opened again, and goes on from it.
    pub(crate) installed: watch::Receiver<u64>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MeshError {
    #[error("{}: {source}", path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is damaged ({reason}): put back any copy of it, they are all alike", path.display())]
    Genesis { path: PathBuf, reason: String },
    #[error("{} is missing, and a log or decisions are there: put back any copy of it, they are all alike", path.display())]
    NoGenesis { path: PathBuf },
    #[error(
        "{} cannot be used ({reason}), and the blocks up to height {begins_after} are not here: put the file back, or put the newest snapshot of any other member beside it; it proves itself",
        path.display()
    )]
    Snapshot {
        path: PathBuf,
        reason: String,
        begins_after: u64,
    },
    #[error("no mesh can be founded: {0}")]
    Found(String),
    #[error("{0}")]
    Order(#[from] OrderError),
}

fn genesis_path(directory: &Path) -> PathBuf {
    directory.join("genesis")
}

/// The genesis that is here.
fn read(directory: &Path) -> Result<Option<Genesis>, MeshError> {
    let path = genesis_path(directory);
    match files::read_bounded(&path, GENESIS_BYTES_MAX as u64) {
        Ok(bytes) => match Genesis::from_bytes(&bytes) {
            Ok(genesis) => Ok(Some(genesis)),
            Err(error) => Err(MeshError::Genesis {
                path,
                reason: error.to_string(),
            }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let has = |name| {
                let file = std::fs::metadata(directory.join(name));
                file.is_ok_and(|file| file.len() > 0)
            };
            match has("log.even") || has("log.odd") {
                true => Err(MeshError::NoGenesis { path }),
                false => Ok(None),
            }
        }
        Err(source) => Err(MeshError::Io { path, source }),
    }
}

/// A mesh of this node alone.
pub(crate) fn found(key: &Key) -> Result<Genesis, MeshError> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|error| MeshError::Found(error.to_string()))?;
    let time = crate::answer::unix_ns() / 1_000_000;
    let (parameters, description) = (Parameters::default(), Description::default());
    let founded = Genesis::found(key, nonce, time, parameters, description);
    founded.map_err(|error| MeshError::Found(error.to_string()))
}

/// What a mesh is opened with.
pub(crate) struct Opening<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) key: &'a SigningKey,
    /// The mesh to take part in when there is none yet.
    pub(crate) joined: Option<Genesis>,
    pub(crate) snapshots: Policy,
    /// Of this directory, when it was open before: others may still read it.
    pub(crate) store: Option<DecidedStore>,
}

/// Takes part: in the mesh of this directory, in the one that is joined when there is none yet, or in one that is founded now.
pub(crate) fn open(
    opening: Opening<'_>,
    gossip: Arc<dyn Gossip>,
    heard: mpsc::Receiver<Heard>,
) -> Result<Mesh, MeshError> {
    let Opening {
        directory, joined, ..
    } = opening;
    let io = |source| MeshError::Io {
        path: directory.into(),
        source,
    };
    let mut beginning = Beginning::now();
    files::private_dir(directory).map_err(io)?;
    let key = Key(opening.key.clone());
    let here = read(directory)?;
    let new = here.is_none();
    let genesis = match (here, joined) {
        (Some(genesis), _) | (None, Some(genesis)) => genesis,
        (None, None) => found(&key)?,
    };
    if new {
        // Left by a founding that was interrupted before anything was signed.
        match std::fs::remove_file(directory.join("decided.redb")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
    }
    snapshots::tidy(directory).map_err(io)?;
    let mesh = genesis.mesh();
    let opened = match opening.store {
        Some(store) => store.writer().map(|writer| (store, writer)),
        None => DecidedStore::open(directory, &mesh.0),
    };
    let (store, writer) = opened.map_err(OrderError::Store)?;
    beginning.ended(Phase::Store);
    let ledger = last_ledger(directory, &genesis, &store)?;
    beginning.ended(Phase::Snapshot);
    let height = ledger.tip().height;
    if height > store.stored() {
        tracing::info!(
            height,
            "this node goes on from a snapshot; older blocks are not here"
        );
        store.begin_after(height).map_err(OrderError::Store)?;
    }
    let config = Config {
        mesh,
        timeouts: Timeouts::default(),
    };
    let from = Start {
        directory,
        store: (store, writer),
        new,
        config,
        signer: key.clone(),
        gossip,
        heard,
        beginning,
    };
    let mut watched = None;
    let policy = opening.snapshots;
    let running = start(from, |store| {
        let mut voters = ledger.state().voters().clone();
        let snapshots = Snapshots::new(directory, policy, store.clone(), height);
        let mut chain = Chain::new(ledger, key, accuser(store)?, snapshots);
        store.each_after(height, |decided| {
            let height = decided.certificate.height.0;
            let wrong = |reason: String| OrderError::Rules { height, reason };
            voters = chain.replay(&decided).map_err(wrong)?;
            Ok::<(), OrderError>(())
        })?;
        watched = Some((chain.watch(), chain.installed()));
        if new {
            // The log is there: from now on nothing of it may be missing.
            files::keep(&genesis_path(directory), &genesis.to_bytes())
                .map_err(OrderError::Start)?;
        }
        Ok((chain, voters))
    })?;
    let Some((published, installed)) = watched else {
        return Err(MeshError::Found("the ledger was not made".into()));
    };
    Ok(Mesh {
        genesis,
        running,
        published,
        installed,
    })
}

/// The ledger of the newest snapshot that can be used, or that of which nothing is decided.
fn last_ledger(
    directory: &Path,
    genesis: &Genesis,
    store: &DecidedStore,
) -> Result<Ledger, MeshError> {
    let began = Instant::now();
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let found = usable(directory, genesis, store.begins_after(), threads)?;
    for (path, reason) in &found.unusable {
        metrics::counter!("hypermesh_order_snapshot_unusable").increment(1);
        tracing::warn!(path = %path.display(), reason, "a snapshot cannot be used; the blocks after an older one are applied again");
    }
    if let Some(ledger) = found.ledger {
        let height = ledger.tip().height;
        let (seconds, stored) = (began.elapsed().as_secs_f64(), store.stored());
        metrics::gauge!("hypermesh_order_snapshot_restored_height").set(height as f64);
        tracing::info!(
            height,
            stored,
            seconds,
            "the decided state is that of a snapshot"
        );
        return Ok(ledger);
    }
    let ledger = Ledger::new(genesis.clone(), MempoolLimits::default(), threads);
    ledger.map_err(|error| {
        MeshError::Order(OrderError::Rules {
            height: 0,
            reason: error.to_string(),
        })
    })
}

/// The snapshots here.
///
/// # Errors
/// When none can be used, and the blocks from the first on are not here.
fn usable(
    directory: &Path,
    genesis: &Genesis,
    begins_after: u64,
    threads: NonZeroUsize,
) -> Result<snapshots::Found, MeshError> {
    let found = snapshots::restore(directory, genesis, begins_after, threads);
    let found = found.map_err(|source| MeshError::Io {
        path: directory.into(),
        source,
    })?;
    if found.ledger.is_some() || begins_after == 0 {
        return Ok(found);
    }
    let missing = || {
        let path = snapshots::path_of(directory, begins_after);
        (path, "it is missing".to_owned())
    };
    let (path, reason) = found.unusable.into_iter().next().unwrap_or_else(missing);
    Err(MeshError::Snapshot {
        path,
        reason,
        begins_after,
    })
}

/// What is there of a node that does not run.
pub(crate) struct Examined {
    pub(crate) mesh: MeshId,
    /// Up to which height blocks are stored.
    pub(crate) stored: u64,
    /// The height of the newest snapshot that can be used; 0: none.
    pub(crate) snapshot: u64,
    /// Snapshots that cannot, and why.
    pub(crate) unusable: Vec<(PathBuf, String)>,
}

/// Looks at the files of a node that does not run; none, when it has not started yet.
///
/// # Errors
/// What a start would say.
pub(crate) fn examine(directory: &Path) -> Result<Option<Examined>, MeshError> {
    let Some(genesis) = read(directory)? else {
        return Ok(None);
    };
    let mesh = genesis.mesh();
    // To open one that is not there would make it.
    let store = match directory.join("decided.redb").exists() {
        true => Some(DecidedStore::open(directory, &mesh.0).map_err(OrderError::Store)?),
        false => None,
    };
    let (begins_after, stored) = store
        .as_ref()
        .map_or((0, 0), |(store, _)| (store.begins_after(), store.stored()));
    let found = usable(directory, &genesis, begins_after, NonZeroUsize::MIN)?;
    let snapshot = found.ledger.map_or(0, |ledger| ledger.tip().height);
    Log::open(directory, stored.max(snapshot), false).map_err(OrderError::Log)?;
    Ok(Some(Examined {
        mesh,
        stored,
        snapshot,
        unusable: found.unusable,
    }))
}

/// With what this node could prove against voters before.
fn accuser(store: &DecidedStore) -> Result<Accuser, OrderError> {
    let kept = store.kept(EVIDENCE)?.unwrap_or_default();
    let accuser = Accuser::from_bytes(&kept);
    Ok(accuser.map_err(|error| store.unusable(format!("its evidence is damaged: {error}")))?)
}

/// Moves the files of a mesh that is left out of the way. They stay.
pub(crate) fn leave(directory: &Path) -> Result<PathBuf, MeshError> {
    let seconds = crate::membership::unix_seconds();
    // More than one may be left within a second.
    let aside = (seconds..)
        .map(|number| directory.with_file_name(format!("consensus.left-{number}")))
        .find(|aside| !aside.exists())
        .unwrap_or_else(|| directory.with_file_name("consensus.left"));
    std::fs::rename(directory, &aside).map_err(|source| MeshError::Io {
        path: aside.clone(),
        source,
    })?;
    Ok(aside)
}
