//! What the mesh has decided and is asked to: names, members, blocks, proofs, evidence.

mod blocks;
mod members;
mod names;
mod verify;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hypermesh_node::units::format_duration;
use mfn_local::Client;
use mfn_wire::{Service, method, pb};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::Context;
use crate::error::CliError;

pub(crate) use blocks::{evidence, log, proof};
pub(crate) use members::members;
pub(crate) use names::{look_up, name, set_name};
pub(crate) use verify::verify;

/// How long a decision may take before something is said.
const PATIENCE: Duration = Duration::from_secs(2);

/// Has an action ordered, waits for what comes of it, and says so.
async fn decide(context: &Context, action: pb::Action) -> Result<(), CliError> {
    let consensus = context.client(Service::Consensus).await?;
    let reply = submit(context, &consensus, action).await?;
    let outcome = reply.outcome.unwrap_or_default();
    if !outcome.accepted {
        return Err(CliError {
            status: Some(outcome.code),
            ..CliError::failed(format!(
                "{} (decided at height {})",
                outcome.text, reply.height
            ))
        });
    }
    if outcome.code != "done" {
        context.out.remark(&outcome.text);
    }
    context
        .out
        .remark(&format!("decided at height {}", reply.height));
    if context.out.json {
        return context.out.result(String::new, || {
            json!({
                "transaction": reply.transaction,
                "height": reply.height,
                "outcome": outcome.code,
                "text": outcome.text,
            })
        });
    }
    Ok(())
}

/// Waits for the decision, and says after a moment whom it waits for: Ctrl-C ends the waiting, not the transaction.
async fn submit(
    context: &Context,
    consensus: &Client,
    action: pb::Action,
) -> Result<pb::SubmitReply, CliError> {
    let mut interrupts = signal(SignalKind::interrupt())
        .map_err(|error| CliError::failed(format!("cannot wait for Ctrl-C: {error}")))?;
    let request = pb::SubmitRequest {
        action: Some(action),
        within_heights: 0,
    };
    let reply = context.ask(consensus, method::consensus::SUBMIT, &request);
    let late = tokio::time::sleep(PATIENCE);
    tokio::pin!(reply, late);
    let mut told = false;
    loop {
        tokio::select! {
            reply = &mut reply => return reply,
            _ = interrupts.recv() => return Err(CliError::failed(
                "interrupted; it was handed over and may still be decided: `hypermesh log` shows",
            )),
            () = &mut late, if !told => {
                told = true;
                let status: pb::ConsensusStatus =
                    context.ask_nothing(consensus, method::consensus::STATUS).await?;
                context.out.remark(&format!(
                    "waiting for the voters: this node knows of connections to {} of {}, and more than two thirds decide",
                    status.connected.len(),
                    status.voters.len(),
                ));
            }
        }
    }
}

/// An action as people write it.
fn action_text(action: &pb::Action) -> String {
    if let Some(one) = &action.set_name {
        return format!("name set {} {}", one.name, one.root);
    }
    if let Some(one) = &action.delete_name {
        return format!("name rm {}", one.name);
    }
    if let Some(one) = &action.delegate {
        return match one.to.as_str() {
            "" => format!("name delegate {} --take-back", one.prefix),
            to => format!("name delegate {} {to}", one.prefix),
        };
    }
    if let Some(one) = &action.admit {
        return format!("members admit {}", one.node);
    }
    if let Some(one) = &action.describe {
        return format!("describe {} {}", one.region, one.addresses.join(" "));
    }
    if let Some(one) = &action.pin {
        return format!("pin {} in {} copies", one.root, one.copies);
    }
    if let Some(one) = &action.accuse {
        return format!(
            "accuse {} of two {} at height {}",
            one.culprit, one.kind, one.height
        );
    }
    if let Some(one) = &action.set_parameter {
        return format!("parameter {} {}", one.name, one.value);
    }
    let about = [
        ("members promote", &action.promote),
        ("members demote", &action.demote),
        ("members remove", &action.remove),
        ("unpin", &action.unpin),
    ];
    about
        .into_iter()
        .find(|(_, about)| !about.is_empty())
        .map_or_else(String::new, |(verb, about)| format!("{verb} {about}"))
}

fn outcome_word(outcome: Option<&pb::Outcome>) -> String {
    outcome
        .map(|outcome| outcome.code.clone())
        .unwrap_or_default()
}

fn outcome_json(outcome: Option<&pb::Outcome>) -> Value {
    outcome.map_or(Value::Null, |outcome| {
        json!({ "accepted": outcome.accepted, "code": outcome.code, "text": outcome.text })
    })
}

/// The first characters of an id, enough to tell members apart by eye.
fn short(id: &str) -> String {
    let head: String = id.chars().take(12).collect();
    if id.len() > head.len() {
        head + "…"
    } else {
        head
    }
}

/// How long ago a block's proposer says that it was.
fn ago_ms(unix_milliseconds: u64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let passed = now.saturating_sub(Duration::from_millis(unix_milliseconds));
    format!(
        "{} ago",
        format_duration(Duration::from_secs(passed.as_secs().max(1)))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_read_as_commands() {
        let set = pb::SetNameAction {
            name: "a/b".into(),
            root: "hmr1x".into(),
            expect: None,
        };
        let action = pb::Action {
            set_name: Some(set),
            ..pb::Action::default()
        };
        assert_eq!(action_text(&action), "name set a/b hmr1x");
        let action = pb::Action {
            promote: "hm1x".into(),
            ..pb::Action::default()
        };
        assert_eq!(action_text(&action), "members promote hm1x");
        assert_eq!(action_text(&pb::Action::default()), "");
    }
}
