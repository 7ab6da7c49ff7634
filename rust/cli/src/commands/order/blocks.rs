//! Decided blocks, and what can be shown to others of them: proofs of names, evidence against voters.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use mfn_wire::{Service, method, pb};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::{action_text, ago_ms, outcome_json, outcome_word, short};
use crate::args::{Evidence, EvidenceCommand, Log, Proof};
use crate::commands::Context;
use crate::connect::Step;
use crate::error::CliError;

/// Blocks of a streamed answer that are under way.
const BLOCKS_AHEAD: u32 = 16;

pub(crate) async fn log(context: &Context, arguments: Log) -> Result<(), CliError> {
    let consensus = context.client(Service::Consensus).await?;
    let request = pb::LogRequest {
        from: arguments.from.unwrap_or_default(),
        limit: arguments.limit,
        backwards: arguments.from.is_none(),
    };
    let mut stream = context
        .stream(&consensus, method::consensus::LOG, &request, BLOCKS_AHEAD)
        .await?;
    let mut blocks = Vec::new();
    while let Step::Event(block) = stream.step::<pb::DecidedBlock, ()>().await? {
        blocks.push(block);
    }
    // The last ones come first; a person reads downwards.
    if request.backwards {
        blocks.reverse();
    }
    for block in &blocks {
        show(context, block)?;
    }
    if !arguments.follow {
        return Ok(());
    }
    let next = blocks.last().map_or(0, |block| block.height + 1);
    let mut interrupts = signal(SignalKind::interrupt())
        .map_err(|error| CliError::failed(format!("cannot wait for Ctrl-C: {error}")))?;
    let request = pb::SubscribeRequest { from: next };
    let mut stream = context
        .stream(
            &consensus,
            method::consensus::SUBSCRIBE,
            &request,
            BLOCKS_AHEAD,
        )
        .await?;
    loop {
        let step = tokio::select! {
            step = stream.step::<pb::DecidedBlock, ()>() => step?,
            _ = interrupts.recv() => return Ok(()),
        };
        match step {
            Step::Event(block) => show(context, &block)?,
            Step::Reply(()) => return Ok(()),
        }
    }
}

fn show(context: &Context, block: &pb::DecidedBlock) -> Result<(), CliError> {
    context.out.result(
        || {
            let mut text = format!(
                "{:>8}  {}  round {}  {}  by {}  signed by {}",
                block.height,
                block.hash.get(..16).unwrap_or(&block.hash),
                block.round,
                ago_ms(block.time_ms),
                short(&block.proposer),
                block.signers.len(),
            );
            for one in &block.transactions {
                text += &format!(
                    "\n          {} {}: {}",
                    short(&one.author),
                    one.action.as_ref().map(action_text).unwrap_or_default(),
                    outcome_word(one.outcome.as_ref()),
                );
            }
            text
        },
        || {
            json!({
                "height": block.height,
                "time_ms": block.time_ms,
                "hash": block.hash,
                "round": block.round,
                "proposer": block.proposer,
                "signers": block.signers,
                "state_root": block.state_root,
                "bytes": block.bytes,
                "transactions": block.transactions.iter().map(|one| json!({
                    "transaction": one.transaction,
                    "author": one.author,
                    "sequence": one.sequence,
                    "action": one.action.as_ref().map(action_text),
                    "outcome": outcome_json(one.outcome.as_ref()),
                })).collect::<Vec<_>>(),
            })
        },
    )
}

pub(crate) async fn proof(context: &Context, arguments: Proof) -> Result<(), CliError> {
    let consensus = context.client(Service::Consensus).await?;
    let request = pb::NameRequest {
        name: arguments.name.clone(),
    };
    let proof: pb::NameProof = context
        .ask(&consensus, method::consensus::PROOF, &request)
        .await?;
    let path = arguments
        .output
        .unwrap_or_else(|| PathBuf::from(format!("{}.hmproof", arguments.name.replace('/', "-"))));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| file.write_all(&proof.proof));
    written.map_err(|error| {
        CliError::failed(format!("could not write {}: {error}", path.display()))
    })?;
    context.out.remark(&format!(
        "{} bytes, as of height {}: `hypermesh verify {}` checks it anywhere",
        proof.proof.len(),
        proof.height,
        path.display()
    ));
    context.out.result(
        || path.display().to_string(),
        || json!({ "file": path.display().to_string(), "height": proof.height, "bytes": proof.proof.len() }),
    )
}

pub(crate) async fn evidence(context: &Context, arguments: Evidence) -> Result<(), CliError> {
    let consensus = context.client(Service::Consensus).await?;
    let list: pb::EvidenceList = context
        .ask_nothing(&consensus, method::consensus::EVIDENCE)
        .await?;
    let (of, bytes) = match arguments.command {
        EvidenceCommand::Ls => (None, false),
        EvidenceCommand::Show(who) => (Some(who.node.to_string()), true),
    };
    let chosen: Vec<&pb::SeenEvidence> = list
        .evidence
        .iter()
        .filter(|one| of.as_ref().is_none_or(|node| *node == one.culprit))
        .collect();
    if chosen.is_empty()
        && let Some(node) = &of
    {
        return Err(CliError::failed(format!(
            "this node has seen no proof against {node}"
        )));
    }
    if chosen.is_empty() && !context.out.json {
        context.out.remark("no voter was proved to have lied");
    }
    for one in chosen {
        let hex = || {
            one.evidence
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        context.out.result(
            || {
                let decided = match one.decided_height {
                    0 => "not decided yet".to_owned(),
                    height => format!("decided at height {height}"),
                };
                let mut text = format!(
                    "{}  height {}  two {} where one may be  {decided}",
                    one.culprit, one.height, one.kind
                );
                if bytes {
                    text += &format!("\n{}", hex());
                }
                text
            },
            || {
                json!({
                    "culprit": one.culprit,
                    "height": one.height,
                    "kind": one.kind,
                    "decided_height": one.decided_height,
                    "evidence_hex": hex(),
                })
            },
        )?;
    }
    Ok(())
}
