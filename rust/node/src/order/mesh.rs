//! The mesh that this node takes part in: founded with its first start, or joined.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use hypermesh_consensus::{Config, Key, MeshId, Timeouts};
use hypermesh_registry::{
    Description, GENESIS_BYTES_MAX, Genesis, Ledger, MempoolLimits, Parameters,
};
use tokio::sync::{mpsc, watch};

use super::accuse::Accuser;
use super::chain::{Chain, Published};
use super::driver::{EVIDENCE, OrderError, Running, Start, start};
use super::log::Log;
use super::store::DecidedStore;
use crate::doors::{Gossip, Heard};
use crate::files;

/// A mesh at work here.
pub(crate) struct Mesh {
    pub(crate) genesis: Genesis,
    pub(crate) running: Running<Chain>,
    pub(crate) published: watch::Receiver<Published>,
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

/// Takes part: in the mesh of this directory, in `joined` when there is none yet, or in one that is founded now.
pub(crate) fn open(
    directory: &Path,
    key: &SigningKey,
    joined: Option<Genesis>,
    gossip: Arc<dyn Gossip>,
    heard: mpsc::Receiver<Heard>,
) -> Result<Mesh, MeshError> {
    let io = |source| MeshError::Io {
        path: directory.into(),
        source,
    };
    files::private_dir(directory).map_err(io)?;
    let key = Key(key.clone());
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
    let config = Config {
        mesh: genesis.mesh(),
        timeouts: Timeouts::default(),
    };
    let from = Start {
        directory,
        new,
        config,
        signer: key.clone(),
        gossip,
        heard,
    };
    let mut published = None;
    let running = start(from, |store| {
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let limits = MempoolLimits::default();
        let ledger =
            Ledger::new(genesis.clone(), limits, threads).map_err(|error| OrderError::Rules {
                height: 0,
                reason: error.to_string(),
            })?;
        let mut voters = ledger.state().voters().clone();
        let mut chain = Chain::new(ledger, key, accuser(store)?);
        for height in 1..=store.stored() {
            let wrong = |reason: String| OrderError::Rules { height, reason };
            let block = store.block(hypermesh_consensus::Height(height))?;
            let (decided, _) = block.ok_or_else(|| wrong("it is not there".into()))?;
            voters = chain.replay(&decided).map_err(wrong)?;
        }
        published = Some(chain.watch());
        if new {
            // The log is there: from now on nothing of it may be missing.
            files::keep(&genesis_path(directory), &genesis.to_bytes())
                .map_err(OrderError::Start)?;
        }
        Ok((chain, voters))
    })?;
    let Some(published) = published else {
        return Err(MeshError::Found("the ledger was not made".into()));
    };
    Ok(Mesh {
        genesis,
        running,
        published,
    })
}

/// Looks at the files of a node that does not run: its mesh, and the height up to which blocks are stored; none, when it has not
/// started yet.
///
/// # Errors
/// What a start would say.
pub(crate) fn examine(directory: &Path) -> Result<Option<(MeshId, u64)>, MeshError> {
    let Some(genesis) = read(directory)? else {
        return Ok(None);
    };
    let mesh = genesis.mesh();
    // To open one that is not there would make it.
    let store = match directory.join("decided.redb").exists() {
        true => Some(DecidedStore::open(directory, &mesh.0).map_err(OrderError::Store)?),
        false => None,
    };
    let stored = store.as_ref().map_or(0, |(store, _)| store.stored());
    Log::open(directory, stored, false).map_err(OrderError::Log)?;
    Ok(Some((mesh, stored)))
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
