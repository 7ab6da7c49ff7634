//! The state of a mesh at a height: entries, and the tree whose root every block carries.

use std::collections::HashSet;
use std::ops::Bound;

use hypermesh_consensus::{MeshId, Voter, Voters, VotersError};
use hypermesh_id::{NodeId, Root};
use rpds::RedBlackTreeMapSync;

use crate::entry::{Author, Conviction, Delegation, Entry, Key, Member, Named, OpenMotion, Pin};
use crate::genesis::Genesis;
use crate::name::Name;
use crate::parameters::Parameters;
use crate::transaction::Motion;
use crate::tree::{Change, Hash, Tree, TreeProof, path, value_hash};

/// What is decided. A clone is free; a change of one is none of the other.
#[derive(Clone, Debug)]
pub struct State {
    mesh: MeshId,
    entries: RedBlackTreeMapSync<Key, Entry>,
    tree: Tree,
    /// Those of [`Key::Voters`].
    voters: Voters,
    /// Of [`Key::Parameters`].
    parameters: Parameters,
    members: usize,
    names: usize,
    /// Changed since the tree was.
    dirty: HashSet<Key>,
}

impl State {
    /// The state of which block 1 is a change.
    ///
    /// # Errors
    /// When the founder's id is no key.
    pub fn new(genesis: &Genesis) -> Result<Self, VotersError> {
        let founder = genesis.founder;
        let mut state = Self {
            mesh: genesis.mesh(),
            entries: RedBlackTreeMapSync::default(),
            tree: Tree::default(),
            voters: Voters::new([Voter::new(founder)?])?,
            parameters: genesis.parameters.clone(),
            members: 0,
            names: 0,
            dirty: HashSet::new(),
        };
        let member = Member {
            voter: true,
            inviter: founder,
            invitation: [0; 16],
            since: 0,
            description: genesis.description.clone(),
        };
        state.put(
            Key::Parameters,
            Entry::Parameters(genesis.parameters.clone()),
        );
        state.put(Key::Member(founder), Entry::Member(member));
        state.put(Key::Author(founder), Entry::Author(Author::default()));
        state.put(Key::Voters, Entry::Voters(vec![founder]));
        state.put(Key::VotersFrom(1), Entry::Voters(vec![founder]));
        state.settle();
        Ok(state)
    }

    pub fn mesh(&self) -> MeshId {
        self.mesh
    }

    /// The hash of all of it.
    pub fn root(&self) -> [u8; 32] {
        self.tree.root()
    }

    /// How many entries it has.
    pub fn entries_len(&self) -> usize {
        self.entries.size()
    }

    /// Who votes on the next height.
    pub fn voters(&self) -> &Voters {
        &self.voters
    }

    /// Who voted on a height, as long as that is kept.
    pub fn voters_of(&self, height: u64) -> Option<Voters> {
        let range = Key::VotersFrom(0)..=Key::VotersFrom(height);
        let (_, entry) = self.entries.range(range).next_back()?;
        match entry {
            Entry::Voters(nodes) => voters(nodes).ok(),
            _ => None,
        }
    }

    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    pub fn member(&self, node: &NodeId) -> Option<&Member> {
        match self.entries.get(&Key::Member(*node))? {
            Entry::Member(member) => Some(member),
            _ => None,
        }
    }

    /// All members, by node id.
    pub fn members(&self) -> impl Iterator<Item = (NodeId, &Member)> + '_ {
        self.range(Key::Member(NodeId([0; 32])))
            .map_while(|(key, entry)| match (key, entry) {
                (Key::Member(node), Entry::Member(member)) => Some((*node, member)),
                _ => None,
            })
    }

    pub fn members_len(&self) -> usize {
        self.members
    }

    pub fn names_len(&self) -> usize {
        self.names
    }

    pub fn author(&self, node: &NodeId) -> Option<&Author> {
        match self.entries.get(&Key::Author(*node))? {
            Entry::Author(author) => Some(author),
            _ => None,
        }
    }

    /// Who was a member and was removed, by node id.
    pub fn removed(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.range(Key::Author(NodeId([0; 32])))
            .map_while(|(key, entry)| match (key, entry) {
                (Key::Author(node), Entry::Author(author)) => Some((*node, author.removed)),
                _ => None,
            })
            .filter_map(|(node, removed)| removed.then_some(node))
    }

    /// Whether this key may write at all: a member, or one to whom a prefix is delegated.
    pub fn may_write(&self, node: &NodeId) -> bool {
        self.member(node).is_some()
            || self
                .author(node)
                .is_some_and(|author| author.prefixes > 0 && !author.removed)
    }

    pub fn name(&self, name: &Name) -> Option<&Named> {
        match self.entries.get(&Key::Name(name.clone()))? {
            Entry::Name(named) => Some(named),
            _ => None,
        }
    }

    /// The names below a prefix (of all, without one), after `after`, in order; take as many as you like.
    pub fn names<'a>(
        &'a self,
        prefix: Option<&'a Name>,
        after: Option<&Name>,
    ) -> impl Iterator<Item = (&'a Name, &'a Named)> + 'a {
        let first = match (prefix, after) {
            (Some(prefix), Some(after)) if after >= prefix => {
                Bound::Excluded(Key::Name(after.clone()))
            }
            (Some(prefix), _) => Bound::Included(Key::Name(prefix.clone())),
            (None, Some(after)) => Bound::Excluded(Key::Name(after.clone())),
            // The kind before that of names.
            (None, None) => Bound::Excluded(Key::Invitation([0xff; 16])),
        };
        let rows = self.entries.range((first, Bound::Unbounded));
        rows.map_while(move |(key, entry)| match (key, entry) {
            (Key::Name(name), Entry::Name(named)) => Some((name, named)),
            _ => None,
        })
        .take_while(move |(name, _)| prefix.is_none_or(|prefix| prefix.covers(name)))
    }

    /// The delegation of exactly this prefix.
    pub fn delegation(&self, prefix: &Name) -> Option<&Delegation> {
        match self.entries.get(&Key::Delegation(prefix.clone()))? {
            Entry::Delegation(delegation) => Some(delegation),
            _ => None,
        }
    }

    /// The longest delegated prefix that covers a name.
    pub fn delegation_over(&self, name: &Name) -> Option<(&Name, &Delegation)> {
        let mut within = name.clone();
        // Each turn has fewer segments than the last.
        loop {
            let (key, entry) = self
                .entries
                .range(..=Key::Delegation(within.clone()))
                .next_back()?;
            let (Key::Delegation(prefix), Entry::Delegation(delegation)) = (key, entry) else {
                return None;
            };
            if prefix.covers(&within) {
                return Some((prefix, delegation));
            }
            within = prefix.common(&within)?;
        }
    }

    pub fn delegations(&self) -> impl Iterator<Item = (&Name, &Delegation)> + '_ {
        let first = Bound::Excluded(Key::Pin(
            Root(hypermesh_id::BlockId([0; 32])),
            NodeId([0; 32]),
        ));
        // Delegations are the kind before pins.
        let rows = self.entries.range((Bound::Unbounded, first)).rev();
        let mut rows: Vec<_> = rows
            .map_while(|(key, entry)| match (key, entry) {
                (Key::Delegation(prefix), Entry::Delegation(delegation)) => {
                    Some((prefix, delegation))
                }
                _ => None,
            })
            .collect();
        rows.reverse();
        rows.into_iter()
    }

    /// Whether a name or a delegation is below this prefix, and not at it.
    pub(crate) fn occupied(&self, prefix: &Name) -> bool {
        let below = |key: Key| {
            let next = self
                .entries
                .range((Bound::Excluded(key), Bound::Unbounded))
                .next();
            matches!(next, Some((Key::Name(name) | Key::Delegation(name), _)) if prefix.covers(name))
        };
        below(Key::Name(prefix.clone())) || below(Key::Delegation(prefix.clone()))
    }

    /// Who wants how many copies of what, by root.
    pub fn pins(&self) -> impl Iterator<Item = (Root, NodeId, Pin)> + '_ {
        let first = Key::Pin(Root(hypermesh_id::BlockId([0; 32])), NodeId([0; 32]));
        self.range(first)
            .map_while(|(key, entry)| match (key, entry) {
                (Key::Pin(root, node), Entry::Pin(pin)) => Some((*root, *node, *pin)),
                _ => None,
            })
    }

    pub fn motions(&self) -> impl Iterator<Item = (&Motion, &OpenMotion)> + '_ {
        self.range(Key::Motion(Motion::Promote(NodeId([0; 32]))))
            .map_while(|(key, entry)| match (key, entry) {
                (Key::Motion(motion), Entry::Motion(open)) => Some((motion, open)),
                _ => None,
            })
    }

    pub(crate) fn motion(&self, motion: &Motion) -> Option<&OpenMotion> {
        match self.entries.get(&Key::Motion(motion.clone()))? {
            Entry::Motion(open) => Some(open),
            _ => None,
        }
    }

    pub fn conviction(&self, node: &NodeId) -> Option<&Conviction> {
        match self.entries.get(&Key::Convicted(*node))? {
            Entry::Convicted(conviction) => Some(conviction),
            _ => None,
        }
    }

    pub fn convicted(&self) -> impl Iterator<Item = (NodeId, &Conviction)> + '_ {
        self.range(Key::Convicted(NodeId([0; 32])))
            .map_while(|(key, entry)| match (key, entry) {
                (Key::Convicted(node), Entry::Convicted(conviction)) => Some((*node, conviction)),
                _ => None,
            })
    }

    /// The proof of what this state says at a key, and its bytes if there are some.
    pub fn prove(&self, key: &Key) -> (Option<Vec<u8>>, TreeProof) {
        let value = self.entries.get(key).map(Entry::to_bytes);
        (value, self.tree.prove(&path(key)))
    }

    pub(crate) fn prove_path(&self, path: &Hash) -> TreeProof {
        self.tree.prove(path)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Key, &Entry)> + '_ {
        self.entries.iter()
    }

    /// The state of these entries, whose tree this is; none without voters or parameters.
    pub(crate) fn restore(mesh: MeshId, tree: Tree, entries: Vec<(Key, Entry)>) -> Option<Self> {
        let (mut found, mut parameters) = (None, None);
        for (key, entry) in &entries {
            match (key, entry) {
                (Key::Voters, Entry::Voters(nodes)) => found = voters(nodes).ok(),
                (Key::Parameters, Entry::Parameters(all)) => parameters = Some(all.clone()),
                _ => {}
            }
        }
        let mut state = Self {
            mesh,
            entries: RedBlackTreeMapSync::default(),
            tree,
            voters: found?,
            parameters: parameters?,
            members: 0,
            names: 0,
            dirty: HashSet::new(),
        };
        for (key, entry) in entries {
            state.insert(key, entry);
        }
        Some(state)
    }

    pub(crate) fn prove_name(&self, name: &Name) -> TreeProof {
        self.prove(&Key::Name(name.clone())).1
    }

    /// The root, from nothing but the entries: what [`Self::root`] must be.
    #[doc(hidden)]
    pub fn root_anew(&self) -> [u8; 32] {
        let mut changes: Vec<Change> = self
            .entries
            .iter()
            .map(|(key, entry)| change(key, Some(entry)))
            .collect();
        changes.sort_unstable();
        Tree::default().changed(&changes).root()
    }

    fn range(&self, first: Key) -> impl Iterator<Item = (&Key, &Entry)> + '_ {
        self.entries
            .range((Bound::Included(first), Bound::Unbounded))
    }

    pub(crate) fn has(&self, key: &Key) -> bool {
        self.entries.contains_key(key)
    }

    pub(crate) fn put(&mut self, key: Key, entry: Entry) {
        self.dirty.insert(key.clone());
        self.insert(key, entry);
    }

    /// Puts what the tree knows, or will be told of.
    fn insert(&mut self, key: Key, entry: Entry) {
        let counted = match key {
            Key::Member(_) => Some(&mut self.members),
            Key::Name(_) => Some(&mut self.names),
            _ => None,
        };
        let before = self.entries.size();
        self.entries.insert_mut(key, entry);
        if let Some(counted) = counted {
            *counted += self.entries.size() - before;
        }
    }

    pub(crate) fn remove(&mut self, key: Key) {
        if self.entries.remove_mut(&key) {
            match key {
                Key::Member(_) => self.members -= 1,
                Key::Name(_) => self.names -= 1,
                _ => {}
            }
            self.dirty.insert(key);
        }
    }

    /// Changes what is counted of an author, who begins to be one if it was none.
    pub(crate) fn count(&mut self, node: NodeId, change: impl FnOnce(&mut Author)) {
        let mut author = self.author(&node).cloned().unwrap_or_default();
        change(&mut author);
        self.put(Key::Author(node), Entry::Author(author));
    }

    pub(crate) fn set_parameters(&mut self, parameters: Parameters) {
        self.put(Key::Parameters, Entry::Parameters(parameters.clone()));
        self.parameters = parameters;
    }

    /// These vote from this height on. Those of heights before `kept` are forgotten.
    pub(crate) fn set_voters(
        &mut self,
        nodes: Vec<NodeId>,
        from: u64,
        kept: u64,
    ) -> Result<(), VotersError> {
        self.voters = voters(&nodes)?;
        self.put(Key::Voters, Entry::Voters(nodes.clone()));
        self.put(Key::VotersFrom(from), Entry::Voters(nodes));
        let past: Vec<Key> = self
            .entries
            .range(Key::VotersFrom(0)..=Key::VotersFrom(kept))
            .map(|(key, _)| key.clone())
            .collect();
        // The last of them still says who voted on the first height that is kept.
        for key in past.into_iter().rev().skip(1) {
            self.remove(key);
        }
        Ok(())
    }

    /// Brings the tree up to date: once for all that changed.
    pub(crate) fn settle(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        let mut changes: Vec<Change> = dirty
            .iter()
            .map(|key| change(key, self.entries.get(key)))
            .collect();
        changes.sort_unstable();
        self.tree = self.tree.changed(&changes);
    }
}

fn voters(nodes: &[NodeId]) -> Result<Voters, VotersError> {
    let voters: Result<Vec<Voter>, _> = nodes.iter().map(|node| Voter::new(*node)).collect();
    Voters::new(voters?)
}

fn change(key: &Key, entry: Option<&Entry>) -> (Hash, Option<Hash>) {
    (path(key), entry.map(|entry| value_hash(&entry.to_bytes())))
}
