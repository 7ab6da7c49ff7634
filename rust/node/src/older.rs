//! Older trees of this node beside which a new one is fetched.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use hypermesh_blocks::{Closure, Store, StoreError};
use hypermesh_id::Root;
use mfn_local::Failure;
use mfn_wire::Status;

use crate::answer::{blocking, store_failure};

/// Trees that were looked into lately and are remembered: none of them need be a root of the store.
const RECENT_MAX: usize = 16;
/// Trees in which a path is looked for, and those beside which it is fetched.
const LOOKED_INTO_MAX: usize = 64;
const BESIDE_MAX: usize = 4;

/// Roots that were looked into, the latest first, as long as the node runs. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recent(Arc<Mutex<VecDeque<Root>>>);

impl Recent {
    /// Something of a tree was read.
    pub(crate) fn note(&self, root: Root) {
        let mut roots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if roots.front() == Some(&root) {
            return;
        }
        roots.retain(|other| *other != root);
        roots.push_front(root);
        roots.truncate(RECENT_MAX);
    }

    fn all(&self) -> Vec<Root> {
        let roots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        roots.iter().copied().collect()
    }
}

/// What a path needs, beside the trees in which it is here already: those that were read lately, then those that this
/// node has. A path that is in none of them may have had another name, so it is looked for beside the latest.
pub(crate) async fn path_beside(
    store: &Store,
    recent: &Recent,
    root: Root,
    path: &[u8],
) -> Result<Closure, Failure> {
    let closure = Closure::path(root, path).map_err(store_failure)?;
    let (store, read, path) = (store.clone(), recent.all(), path.to_vec());
    let older = blocking(move || {
        let mut trees = read;
        trees.retain(|other| *other != root);
        for known in latest(&store, root)? {
            if trees.len() < LOOKED_INTO_MAX && !trees.contains(&known) {
                trees.push(known);
            }
        }
        let having = trees.iter().filter(|tree| store.has_top(tree, &path));
        let having: Vec<Root> = having.take(BESIDE_MAX).copied().collect();
        if having.is_empty() {
            trees.truncate(BESIDE_MAX);
            return Ok(trees);
        }
        Ok(having)
    });
    Ok(closure.beside(older.await.map_err(store_failure)?))
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use hypermesh_id::BlockId;

    #[test]
    fn trees_that_were_read_are_few_and_the_latest_is_first() {
        let recent = Recent::default();
        let root = |number: u8| Root(BlockId([number; 32]));
        for number in 0..100 {
            recent.note(root(number));
            recent.note(root(0));
        }
        let all = recent.all();
        assert_eq!(all.len(), RECENT_MAX);
        assert_eq!(all[..2], [root(0), root(99)]);
    }
}
