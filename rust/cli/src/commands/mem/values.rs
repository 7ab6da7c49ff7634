//! Values: their bytes are in the node's store, under a root of 32 bytes; ifr holds the root under the key, in two halves.
//!
//! An entry of ifr has 16 bytes. The key leads to the first half of the root; the first half, behind a prefix that no key of a
//! command line can have, leads to the second. The second half is written first and is always the same for its first half,
//! so that a key means its old value or its new one at any moment, killed or not.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hypermesh_id::{BlockId, Root};
use mfn_memory::Mfn;
use mfn_memory::facade::{LayerError, Noted, Observation, Value};
use mfn_wire::{Service, method, pb};

use super::{COMPARED_BYTES, Context};
use crate::connect::Step;
use crate::error::CliError;

/// Pieces of content that the node may send before one is written.
const CAT_AHEAD: u32 = 16;
const SECOND_HALF: &[u8] = b"\0root\0";

/// A file that goes away with this.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // It is in a directory of ours that does not outlive the node for long.
        let _ = fs::remove_file(&self.0);
    }
}

/// Puts bytes into the store; their root, pinned, and as many of them as are compared. Never are more than these in memory.
pub(super) async fn store(
    context: &Context,
    mut from: impl Read,
) -> Result<(Root, Vec<u8>), CliError> {
    // Beside the node's sockets: a directory that is ours alone and that the node can read.
    let path = context
        .run_dir()?
        .join(format!("value-{}", std::process::id()));
    let failed = |error| CliError::failed(format!("{}: {error}", path.display()));
    let temporary = Temporary(path.clone());
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    let mut begin = Vec::new();
    let mut first = (&mut from).take(COMPARED_BYTES);
    first.read_to_end(&mut begin).map_err(failed)?;
    file.write_all(&begin).map_err(failed)?;
    std::io::copy(&mut from, &mut file).map_err(failed)?;
    drop(file);
    let root = store_file(context, &temporary.0).await?;
    Ok((root, begin))
}

/// Puts a file into the store; its root, pinned.
pub(super) async fn store_file(context: &Context, path: &Path) -> Result<Root, CliError> {
    let failed = |error| CliError::failed(format!("{}: {error}", path.display()));
    // A link leads to what is to be kept.
    let path = fs::canonicalize(path).map_err(failed)?;
    if !path.is_file() {
        return Err(CliError::failed(format!(
            "{} is no file: `hypermesh put` keeps directories",
            path.display()
        )));
    }
    let request = pb::PutRequest {
        path: path.as_os_str().as_bytes().to_vec(),
        no_pin: false,
    };
    let state = context.client(Service::State).await?;
    let again = "run the same command again to go on";
    let reply: pb::PutReply = context
        .job(&state, method::state::PUT, &request, again)
        .await?;
    reply
        .root
        .parse()
        .map_err(|error| CliError::failed(format!("the node answers no root: {error}")))
}

/// Makes a key mean a root.
pub(super) async fn name(
    mfn: &Mfn,
    key: &[u8],
    root: Root,
    within: Duration,
) -> Result<(), LayerError> {
    let (first, second) = halves(root);
    tell(mfn, &second_key(&first), second, within).await?;
    tell(mfn, key, first, within).await
}

/// The root that a key means.
pub(super) async fn find(
    mfn: &Mfn,
    key: &[u8],
    within: Duration,
) -> Result<Option<Root>, LayerError> {
    let Some(first) = mfn.recall(key, within).await? else {
        return Ok(None);
    };
    // An entry that another program made has none: then it is no value of ours.
    let second = mfn.recall(&second_key(&first), within).await?;
    Ok(second.map(|second| {
        let mut id = [0; 32];
        id[..16].copy_from_slice(&first);
        id[16..].copy_from_slice(&second);
        Root(BlockId(id))
    }))
}

/// The bytes of a root.
pub(super) async fn load(context: &Context, root: Root) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    each(context, root, |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })
    .await?;
    Ok(bytes)
}

/// Writes them to standard output.
pub(super) async fn print(context: &Context, root: Root) -> Result<(), CliError> {
    each(context, root, |piece| context.out.bytes(piece)).await
}

async fn each(
    context: &Context,
    root: Root,
    mut take: impl FnMut(&[u8]) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let request = pb::CatRequest {
        root: root.to_string(),
        ..pb::CatRequest::default()
    };
    let state = context.client(Service::State).await?;
    let mut stream = context
        .stream(&state, method::state::CAT, &request, CAT_AHEAD)
        .await?;
    loop {
        match stream.step_bytes::<pb::CatReply>().await? {
            Step::Event(bytes) => take(&bytes)?,
            Step::Reply(_) => return Ok(()),
        }
    }
}

async fn tell(mfn: &Mfn, key: &[u8], value: Value, within: Duration) -> Result<(), LayerError> {
    let seen = Observation {
        key: key.to_vec(),
        value: Some(value),
        ..Observation::default()
    };
    match mfn.observe(&seen, within).await {
        [Noted::Not(error), ..] => Err(error),
        _ => Ok(()),
    }
}

fn halves(root: Root) -> (Value, Value) {
    let (mut first, mut second) = ([0; 16], [0; 16]);
    let id = root.0.0;
    first.copy_from_slice(&id[..16]);
    second.copy_from_slice(&id[16..]);
    (first, second)
}

fn second_key(first: &Value) -> Vec<u8> {
    [SECOND_HALF, first].concat()
}
