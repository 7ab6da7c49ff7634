//! Older trees of this node beside which a new one is fetched.

use hypermesh_blocks::{Closure, Store, StoreError};
use hypermesh_id::Root;
use mfn_local::Failure;
use mfn_wire::Status;

use crate::answer::{blocking, store_failure};

/// The closure of a root beside one older tree, or beside those that this node has: which of them the new one is most
/// like, it finds out as it goes.
pub(crate) async fn closure_beside(
    store: &Store,
    root: Root,
    base: Option<Root>,
) -> Result<Closure, Failure> {
    let store = store.clone();
    let older = blocking(move || match base {
        None => latest(&store, root),
        Some(base) if store.contains(&base.0) => Ok(vec![base]),
        Some(base) => Err(StoreError::Missing(base.0)),
    });
    let older = older.await.map_err(|error| match (&error, base) {
        (StoreError::Missing(_), Some(base)) => {
            let text = format!(
                "the base {base} is not here; leave it out, or name one of `hypermesh roots`"
            );
            Failure::new(Status::NOT_FOUND, text)
        }
        _ => store_failure(error),
    })?;
    Ok(Closure::new(root).beside(older))
}

/// The roots of a store but one, the latest first: whole ones, then those that a get left unfinished.
fn latest(store: &Store, except: Root) -> Result<Vec<Root>, StoreError> {
    let mut roots = store.roots()?;
    roots.retain(|record| record.root != except);
    roots.sort_by_key(|record| std::cmp::Reverse((record.complete, record.added)));
    Ok(roots.into_iter().map(|record| record.root).collect())
}
