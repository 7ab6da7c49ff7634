//! Rows of `bench-stoq`: fetching verified blocks beside a bare QUIC upload, and a ping beside a bare echo. The far
//! side of each has its own thread and runtime.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Instant;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use hypermesh_id::{BlockId, NodeId};
use stoq::{
    Admission, BlockRef, BlockSink, BlockSource, Endpoint, EndpointConfig, Fetch, Refusal,
    SinkError, StoredBlock, Wanted, Wants,
};
use stoq_proto::{Invitation, MemberRecord};

use crate::cpu;
use crate::peers::quic::{self, Packets, RawClient};
use crate::record::{BenchError, Ctx, Must, Samples};

const BLOCK_BYTES: usize = 64 << 10;
const MB: f64 = 1e6;

/// Both nodes know each other.
struct Both([NodeId; 2]);

impl Admission for Both {
    fn is_member(&self, node: &NodeId) -> bool {
        self.0.contains(node)
    }
    fn redeem(&self, _: &NodeId, _: &[SocketAddr], _: &Invitation) -> Result<(), Refusal> {
        Err(Refusal::new("nobody joins a benchmark"))
    }
    fn records(&self) -> Vec<MemberRecord> {
        Vec::new()
    }
    fn introduced(&self, _: &NodeId, _: Vec<MemberRecord>) {}
}

/// Blocks in memory: the network is measured, not the store.
#[derive(Default)]
struct Memory(HashMap<BlockId, Bytes>);

impl BlockSource for Memory {
    fn has(&self, ids: &[BlockId]) -> Result<Vec<bool>, String> {
        Ok(ids.iter().map(|id| self.0.contains_key(id)).collect())
    }
    fn read(&self, id: &BlockId) -> Result<Option<StoredBlock>, String> {
        let block = |bytes: &Bytes| StoredBlock {
            codec: 0,
            raw_len: bytes.len() as u32,
            bytes: bytes.clone(),
        };
        Ok(self.0.get(id).map(block))
    }
    fn read_raw(&self, id: &BlockId) -> Result<Option<Bytes>, String> {
        Ok(self.0.get(id).cloned())
    }
}

/// Verifies, and lets go.
struct Verify;

impl BlockSink for Verify {
    fn accept(&self, blocks: Vec<(BlockId, StoredBlock)>) -> Vec<Result<(), SinkError>> {
        let verify = |(id, block): (BlockId, StoredBlock)| {
            if BlockId::of(&block.bytes) == id {
                Ok(())
            } else {
                Err(SinkError::Mismatch)
            }
        };
        blocks.into_iter().map(verify).collect()
    }
}

struct List(Vec<BlockRef>);

impl Wants for List {
    fn poll(&mut self, max: usize) -> Result<Wanted, String> {
        let rest = self.0.split_off(max.min(self.0.len()));
        let now = std::mem::replace(&mut self.0, rest);
        Ok(if now.is_empty() {
            Wanted::Done
        } else {
            Wanted::Blocks(now)
        })
    }
    fn received(&mut self, _id: &BlockId) {}
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn node(seed: u8) -> NodeId {
    NodeId(key(seed).verifying_key().to_bytes())
}

fn config(seed: u8) -> EndpointConfig {
    EndpointConfig {
        listen: vec![SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0))],
        ..EndpointConfig::new(key(seed))
    }
}

/// A node with blocks, on its own thread until the process ends.
fn serve(blocks: Memory, processor: usize) -> Result<SocketAddr, BenchError> {
    let (tell, told) = mpsc::channel();
    std::thread::Builder::new()
        .name("stoq-server".into())
        .spawn(move || {
            if let Err(error) = cpu::pin(processor) {
                return drop(tell.send(Err(error.into())));
            }
            let runtime = match tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
            {
                Ok(runtime) => runtime,
                Err(error) => return drop(tell.send(Err(BenchError::from(error)))),
            };
            runtime.block_on(async {
                match Endpoint::bind(
                    config(1),
                    Arc::new(Both([node(1), node(2)])),
                    Arc::new(blocks),
                ) {
                    Ok(endpoint) => {
                        if tell.send(Ok(endpoint.local_addrs())).is_ok() {
                            std::future::pending::<()>().await;
                        }
                    }
                    Err(error) => drop(tell.send(Err(error.into()))),
                }
            });
        })?;
    told.recv()??
        .first()
        .copied()
        .ok_or_else(|| BenchError::new("the server has no address"))
}

pub(crate) fn run(ctx: &mut Ctx) -> Result<(), BenchError> {
    let megabytes = if ctx.quick { 16 } else { 256 };
    let count = (megabytes << 20) / BLOCK_BYTES;
    let blocks: Vec<Bytes> = (0..count)
        .map(|at| {
            let mut block = vec![0; BLOCK_BYTES];
            blake3::Hasher::new()
                .update(&at.to_le_bytes())
                .finalize_xof()
                .fill(&mut block);
            block.into()
        })
        .collect();
    let wanted: Vec<BlockRef> = blocks
        .iter()
        .map(|block| BlockRef {
            id: BlockId::of(block),
            raw_len: BLOCK_BYTES as u32,
        })
        .collect();
    let source = Memory(wanted.iter().map(|block| block.id).zip(blocks).collect());
    let processors = cpu::allowed()?;
    // One core for each side, threads that they start included: where the system moves them is not what is measured.
    let (there, here) = match processors[..] {
        [first, second, ..] => (first, second),
        _ => return Err(BenchError::new("one core for each side: two are needed")),
    };
    let address = serve(source, there)?;
    let pkcs8 = key(3).to_pkcs8_der()?;
    let raw_server = quic::serve(pkcs8.as_bytes(), there, Packets::AsOurs, None)?;
    cpu::pin(here)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let endpoint = Endpoint::bind(
            config(2),
            Arc::new(Both([node(1), node(2)])),
            Arc::new(Memory::default()),
        )?;
        let mut changes = endpoint.changes();
        endpoint.add_peer(node(1), vec![address]);
        while !endpoint.peers().iter().any(|peer| peer.connected) {
            changes.changed().await?;
        }
        let raw = RawClient::connect(&raw_server).await?;
        let (mut ours, mut bare) = (Samples::default(), Samples::default());
        let (mut pings, mut echoes) = (Samples::default(), Samples::default());
        let total = (count * BLOCK_BYTES) as u64;
        for _ in 0..ctx.rounds() {
            let fetch = Fetch {
                providers: vec![node(1)],
                wants: Box::new(List(wanted.clone())),
                sink: Arc::new(Verify),
            };
            let start = Instant::now();
            let report = endpoint.fetch(fetch, |_| {}).await?;
            ours.push(total as f64 / start.elapsed().as_secs_f64() / MB);
            if report.content_bytes != total {
                return Err(BenchError::new("not everything arrived"));
            }
            bare.push(total as f64 / raw.upload(total).await?.as_secs_f64() / MB);
            let mut times = Vec::new();
            for _ in 0..1_000 {
                times.push(endpoint.ping(node(1)).await?.as_nanos() as f64 / 1e3);
            }
            times.sort_by(f64::total_cmp);
            pings.push(times[times.len() / 2]);
            let mut times: Vec<f64> = raw
                .echo(1_000)
                .await?
                .iter()
                .map(|time| time / 1e3)
                .collect();
            times.sort_by(f64::total_cmp);
            echoes.push(times[times.len() / 2]);
        }
        endpoint.close().await;
        let note = format!(
            "{megabytes} MiB of 64 KiB blocks on loopback, every block verified, none stored: the transport alone; what a person gets is in `node`"
        );
        let peer = Some(("raw quinn upload", &bare));
        ctx.row(
            "fetch by an endpoint, from memory to nowhere",
            "MB/s",
            &ours,
            peer,
            Must::RatioAtLeast(0.5),
            &note,
        )?;
        let note = "a stream of its own per ping; the peer echoes on one open stream";
        ctx.row(
            "ping, p50",
            "µs",
            &pings,
            Some(("raw quinn echo", &echoes)),
            Must::Report,
            note,
        )
    })
}
