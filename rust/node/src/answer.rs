//! Turns the errors of the parts into statuses of the local wire, and their reports into its messages.

use std::future::Future;

use hypermesh_blocks::{Entry, EntryKind, Progress, StoreError};
use hypermesh_id::{NodeId, Root};
use mfn_local::{BoxFuture, Call, Failure, Reply};
use mfn_wire::{Service, Status, method, pb};

/// What a call ends with.
pub(crate) type Answer = Result<Reply, Failure>;

/// For handlers: a future on the heap.
pub(crate) fn boxed(future: impl Future<Output = Answer> + Send + 'static) -> BoxFuture<Answer> {
    Box::pin(future)
}

/// The answer to a method that the service does not have.
pub(crate) fn unsupported(service: Service, call: &Call) -> Answer {
    let name = method::name(service, call.method).unwrap_or("unknown");
    Err(Failure::new(
        Status::UNSUPPORTED,
        format!("{} has no method {} ({name})", service.name(), call.method),
    ))
}

/// The store's error, with the status that a program can act on.
pub(crate) fn store_failure(error: StoreError) -> Failure {
    let status = match &error {
        StoreError::Locked(_) => Status::BUSY,
        StoreError::NoSpace { .. } | StoreError::Quota { .. } => Status::QUOTA,
        StoreError::Missing(_) | StoreError::UnknownRoot(_) | StoreError::NotFound(_) => {
            Status::NOT_FOUND
        }
        StoreError::Corrupt { .. }
        | StoreError::Manifest { .. }
        | StoreError::PinnedDamaged { .. } => Status::CORRUPT,
        StoreError::WrongKind { .. } | StoreError::Unsupported { .. } => Status::INVALID_ARGUMENT,
        StoreError::Exists { .. } | StoreError::Collision { .. } | StoreError::Changed { .. } => {
            Status::CONFLICT
        }
        StoreError::Index(_) | StoreError::Limit { .. } => Status::LIMIT,
        StoreError::Cancelled => Status::CANCELLED,
        StoreError::Internal(_) => Status::INTERNAL,
        _ => Status::IO,
    };
    Failure::new(status, error.to_string())
}

/// Runs blocking work off the component's thread.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(StoreError::Internal("a blocking call")),
    }
}

pub(crate) fn invalid(error: impl std::fmt::Display) -> Failure {
    Failure::new(Status::INVALID_ARGUMENT, error.to_string())
}

pub(crate) fn parse_root(text: &str) -> Result<Root, Failure> {
    text.parse().map_err(invalid)
}

pub(crate) fn parse_node(text: &str) -> Result<NodeId, Failure> {
    text.parse().map_err(invalid)
}

/// A path of the caller: absolute, since the node's current directory is not the caller's.
pub(crate) fn parse_path(bytes: Vec<u8>) -> Result<std::path::PathBuf, Failure> {
    use std::os::unix::ffi::OsStringExt;
    let path = std::path::PathBuf::from(std::ffi::OsString::from_vec(bytes));
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(invalid(format!(
            "'{}' is not an absolute path",
            path.display()
        )))
    }
}

pub(crate) fn entry_message(entry: Entry, local_permille: u32) -> pb::Entry {
    let has_content = entry.kind != EntryKind::Symlink;
    pb::Entry {
        path: entry.path,
        kind: entry.kind.name().into(),
        mode: entry.mode.into(),
        size: entry.size,
        target: entry.target,
        id: if has_content {
            entry.id.to_string()
        } else {
            String::new()
        },
        local_permille,
    }
}

pub(crate) fn progress_message(progress: &Progress) -> pb::Progress {
    pb::Progress {
        phase: progress.phase.name().into(),
        bytes_done: progress.bytes_done,
        bytes_total: progress.bytes_total,
        items_done: progress.items_done,
        items_total: progress.items_total,
        ..Default::default()
    }
}

/// Unix nanoseconds now.
pub(crate) fn unix_ns() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
