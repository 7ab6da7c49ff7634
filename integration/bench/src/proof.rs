//! What it costs to check what a name means without trusting who said so.

use std::time::Duration;

use hypermesh_consensus::MeshId;
use hypermesh_registry::NameProof;
use hypermesh_testkit::Node;
use mfn_local::{Client, ConnectOptions};
use mfn_wire::{Service, method, pb};

use crate::cpu;
use crate::record::BenchError;

const TIMES: u32 = 200;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Processor time of one check of a name's proof, from its bytes on, in milliseconds; and the proof's length.
pub(crate) async fn check(node: &Node, name: &str) -> Result<(f64, usize), BenchError> {
    let socket = node.sockets().join(Service::Consensus.socket_name());
    let client = Client::connect(&socket, Service::Consensus, ConnectOptions::default()).await?;
    let status: pb::ConsensusStatus = client
        .ask(method::consensus::STATUS, &(), ANSWER_TIMEOUT)
        .await?;
    let mesh = mesh(&status.mesh)?;
    let request = pb::NameRequest { name: name.into() };
    let proof: pb::NameProof = client
        .ask(method::consensus::PROOF, &request, ANSWER_TIMEOUT)
        .await?;
    let began = cpu::thread_time();
    for _ in 0..TIMES {
        let proven = NameProof::from_bytes(&proof.proof)?.verify(&mesh)?;
        if proven.named.is_none() || proven.voters.len() != 4 {
            return Err(BenchError::new("the proof is of something else"));
        }
    }
    let each = (cpu::thread_time() - began) * 1e3 / f64::from(TIMES);
    Ok((each, proof.proof.len()))
}

fn mesh(hex: &str) -> Result<MeshId, BenchError> {
    let mut id = [0; 32];
    if hex.len() != 64 {
        return Err(BenchError::new("a mesh has 64 hex digits"));
    }
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16)?;
    }
    Ok(MeshId(id))
}
