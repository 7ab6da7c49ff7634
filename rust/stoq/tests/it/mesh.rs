//! What the tests share: members, memory stores, endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use hypermesh_id::{BlockId, NodeId};
use stoq::{
    Admission, BlockSink, BlockSource, Delta, DeltaBlock, Endpoint, EndpointConfig, Fetch,
    FetchError, FetchReport, Limits, Refusal, Sent, SinkError, StoredBlock, Told, Wanted, Wants,
};
use stoq_proto::{BlockRef, Invitation, MemberRecord};
use tokio::sync::mpsc;

use crate::raw::key;

/// A mesh's members as one node knows them.
#[derive(Default)]
pub(crate) struct Members {
    pub(crate) known: Mutex<BTreeMap<NodeId, Vec<SocketAddr>>>,
    pub(crate) spent: Mutex<BTreeSet<[u8; 16]>>,
    pub(crate) introduced: Mutex<Vec<(NodeId, MemberRecord)>>,
    pub(crate) issuer: Mutex<Option<SigningKey>>,
}

impl Members {
    pub(crate) fn admit(&self, node: NodeId) {
        self.known.lock().unwrap().insert(node, Vec::new());
    }
}

impl Admission for Members {
    fn is_member(&self, node: &NodeId) -> bool {
        self.known.lock().unwrap().contains_key(node)
    }
    fn redeem(
        &self,
        joiner: &NodeId,
        addresses: &[SocketAddr],
        invitation: &Invitation,
    ) -> Result<(), Refusal> {
        if invitation.expires <= 1_000 {
            return Err(Refusal::new("expired"));
        }
        if !self.spent.lock().unwrap().insert(invitation.nonce) {
            return Err(Refusal::new("spent"));
        }
        self.known
            .lock()
            .unwrap()
            .insert(*joiner, addresses.to_vec());
        Ok(())
    }
    fn mesh(&self) -> Bytes {
        Bytes::from_static(b"a mesh")
    }
    fn records(&self) -> Vec<MemberRecord> {
        let issuer = self.issuer.lock().unwrap();
        let Some(key) = &*issuer else {
            return Vec::new();
        };
        let known = self.known.lock().unwrap();
        known
            .iter()
            .map(|(node, addresses)| MemberRecord::sign(key, *node, addresses.clone(), 5))
            .collect()
    }
    fn introduced(&self, from: &NodeId, records: Vec<MemberRecord>) {
        self.introduced
            .lock()
            .unwrap()
            .extend(records.into_iter().map(|record| (*from, record)));
    }
}

/// Blocks in memory; may lie.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) blocks: Mutex<BTreeMap<BlockId, Bytes>>,
    pub(crate) reads: AtomicU64,
    /// Every so many reads give wrong bytes; 0: none.
    pub(crate) lies: u64,
    /// Requests that named bases.
    pub(crate) offered: AtomicU64,
    /// Deltas that are still refused because their base is said to be gone.
    pub(crate) forgetful: AtomicU64,
}

impl Memory {
    pub(crate) fn of(blocks: &[Bytes], lies: u64) -> Arc<Self> {
        let blocks = blocks
            .iter()
            .map(|block| (BlockId::of(block), block.clone()))
            .collect();
        Arc::new(Self {
            blocks: Mutex::new(blocks),
            lies,
            ..Self::default()
        })
    }
}

impl BlockSource for Memory {
    fn has(&self, ids: &[BlockId]) -> Result<Vec<bool>, String> {
        let blocks = self.blocks.lock().unwrap();
        Ok(ids.iter().map(|id| blocks.contains_key(id)).collect())
    }
    fn read(&self, id: &BlockId) -> Result<Option<StoredBlock>, String> {
        let count = self.reads.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(mut bytes) = self.blocks.lock().unwrap().get(id).cloned() else {
            return Ok(None);
        };
        if self.lies > 0 && count.is_multiple_of(self.lies) {
            let mut wrong = bytes.to_vec();
            wrong[0] ^= 1;
            bytes = wrong.into();
        }
        Ok(Some(StoredBlock {
            codec: 0,
            raw_len: bytes.len() as u32,
            bytes,
        }))
    }
    fn read_raw(&self, id: &BlockId) -> Result<Option<Bytes>, String> {
        Ok(self.blocks.lock().unwrap().get(id).cloned())
    }
    /// A delta is what stands behind the base's bytes.
    fn read_against(
        &self,
        id: &BlockId,
        bases: &[BlockId],
        work: &mut u64,
    ) -> Result<Option<Sent>, String> {
        self.offered.fetch_add(1, Ordering::Relaxed);
        let block = self.blocks.lock().unwrap().get(id).cloned();
        let Some(block) = block else { return Ok(None) };
        for (base, id) in bases.iter().enumerate() {
            let below = self.blocks.lock().unwrap().get(id).cloned();
            if let Some(rest) = below.and_then(|below| block.strip_prefix(&below[..]))
                && *work >= block.len() as u64
            {
                *work -= block.len() as u64;
                let delta = Delta {
                    raw_len: block.len() as u32,
                    frame: block.slice_ref(rest),
                };
                return Ok(Some(Sent::Delta { base, delta }));
            }
        }
        Ok(self.read(id)?.map(Sent::Whole))
    }
}

impl BlockSink for Memory {
    fn accept(&self, blocks: Vec<(BlockId, StoredBlock)>) -> Vec<Result<(), SinkError>> {
        let take = |(id, block): (BlockId, StoredBlock)| {
            if BlockId::of(&block.bytes) != id {
                return Err(SinkError::Mismatch);
            }
            self.blocks.lock().unwrap().insert(id, block.bytes);
            Ok(())
        };
        blocks.into_iter().map(take).collect()
    }
    fn accept_deltas(&self, deltas: Vec<(BlockId, DeltaBlock)>) -> Vec<Result<(), SinkError>> {
        let take = |(id, delta): (BlockId, DeltaBlock)| {
            let forgets = |left: u64| left.checked_sub(1);
            let order = Ordering::Relaxed;
            if self.forgetful.fetch_update(order, order, forgets).is_ok() {
                return Err(SinkError::NoBase);
            }
            let below = self.blocks.lock().unwrap().get(&delta.base).cloned();
            let below = below.ok_or(SinkError::NoBase)?;
            let block = [&below[..], &delta.frame[..]].concat();
            if block.len() != delta.raw_len as usize || BlockId::of(&block) != id {
                return Err(SinkError::Mismatch);
            }
            self.blocks.lock().unwrap().insert(id, block.into());
            Ok(())
        };
        deltas.into_iter().map(take).collect()
    }
}

/// A list of blocks, named bit by bit.
pub(crate) struct List {
    pub(crate) blocks: Vec<BlockRef>,
    /// What is offered for each.
    pub(crate) bases: Vec<BlockId>,
}

impl Wants for List {
    fn poll(&mut self, max: usize) -> Result<Wanted, String> {
        let rest = self.blocks.split_off(max.min(self.blocks.len()));
        let now = std::mem::replace(&mut self.blocks, rest);
        Ok(if now.is_empty() {
            Wanted::Done
        } else {
            Wanted::Blocks(now)
        })
    }
    fn received(&mut self, _id: &BlockId) {}
    fn bases(&self, _id: &BlockId) -> Vec<BlockId> {
        self.bases.clone()
    }
}

pub(crate) fn list(blocks: &[Bytes]) -> Box<List> {
    list_beside(blocks, &[])
}

pub(crate) fn list_beside(blocks: &[Bytes], bases: &[Bytes]) -> Box<List> {
    let one = |block: &Bytes| BlockRef {
        id: BlockId::of(block),
        raw_len: block.len() as u32,
    };
    Box::new(List {
        blocks: blocks.iter().map(one).collect(),
        bases: bases.iter().map(|base| BlockId::of(base)).collect(),
    })
}

/// A base, and blocks that begin as it does.
pub(crate) fn versions(count: u32) -> (Bytes, Vec<Bytes>) {
    let base = vec![9; 10_000];
    let one = |at: u32| -> Bytes { [&base[..], &at.to_le_bytes()].concat().into() };
    let versions = (0..count).map(one).collect();
    (base.into(), versions)
}

/// Blocks that differ, of some sizes.
pub(crate) fn blocks(count: u32) -> Vec<Bytes> {
    let one = |at: u32| -> Bytes {
        at.to_le_bytes()
            .repeat(100 + (at as usize * 37) % 9_000)
            .into()
    };
    (0..count).map(one).collect()
}

/// Limits under which a test does not wait long for what is lost.
pub(crate) fn limits() -> Limits {
    let mut limits = Limits {
        idle_time: Duration::from_secs(2),
        answer_time: Duration::from_secs(2),
        pause_min: Duration::from_millis(10),
        pause_max: Duration::from_millis(50),
        ..Limits::default()
    };
    limits.transfer.stall_after = Duration::from_millis(400);
    limits.transfer.pause = Duration::from_millis(50);
    limits
}

pub(crate) struct TestNode {
    pub(crate) endpoint: Endpoint,
    pub(crate) members: Arc<Members>,
    pub(crate) store: Arc<Memory>,
    /// What it is told.
    pub(crate) told: tokio::sync::Mutex<mpsc::UnboundedReceiver<Told>>,
}

pub(crate) fn start_with(seed: u32, store: Arc<Memory>, limits: Limits) -> TestNode {
    let members = Arc::new(Members::default());
    *members.issuer.lock().unwrap() = Some(key(seed));
    let (hearing, told) = mpsc::unbounded_channel();
    let config = EndpointConfig {
        hearing: Some(hearing),
        listen: vec!["[::1]:0".parse().unwrap()],
        limits,
        ..EndpointConfig::new(key(seed))
    };
    let source: Arc<dyn BlockSource> = Arc::clone(&store) as _;
    let endpoint = Endpoint::bind(config, Arc::clone(&members) as _, source).unwrap();
    TestNode {
        endpoint,
        members,
        store,
        told: tokio::sync::Mutex::new(told),
    }
}

pub(crate) fn start(seed: u32, store: Arc<Memory>) -> TestNode {
    start_with(seed, store, limits())
}

impl TestNode {
    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint.local_addrs()[0]
    }

    pub(crate) fn id(&self) -> NodeId {
        self.endpoint.node_id()
    }

    /// Both know each other; this one dials.
    pub(crate) async fn befriend(&self, other: &Self) {
        other.members.admit(self.id());
        self.members.admit(other.id());
        self.endpoint.add_peer(other.id(), vec![other.address()]);
        self.until_connected(other.id()).await;
    }

    pub(crate) async fn until_connected(&self, node: NodeId) {
        let mut changes = self.endpoint.changes();
        let connected = async {
            while !self
                .endpoint
                .peers()
                .iter()
                .any(|peer| peer.node == node && peer.connected)
            {
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(Duration::from_secs(20), connected)
            .await
            .is_err()
        {
            panic!("not connected: {:?}", self.endpoint.peers());
        }
    }

    pub(crate) async fn fetch(
        &self,
        from: &[NodeId],
        wanted: &[Bytes],
    ) -> Result<FetchReport, FetchError> {
        self.fetch_beside(from, wanted, &[]).await
    }

    pub(crate) async fn fetch_beside(
        &self,
        from: &[NodeId],
        wanted: &[Bytes],
        bases: &[Bytes],
    ) -> Result<FetchReport, FetchError> {
        let fetch = Fetch {
            providers: from.to_vec(),
            wants: list_beside(wanted, bases),
            sink: Arc::clone(&self.store) as _,
        };
        tokio::time::timeout(Duration::from_secs(60), self.endpoint.fetch(fetch, |_| {}))
            .await
            .unwrap()
    }
}

pub(crate) fn empty() -> Arc<Memory> {
    Memory::of(&[], 0)
}
