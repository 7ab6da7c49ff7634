//! Names: what the mesh calls its content.

use mfn_wire::{Service, method, pb};
use serde_json::{Value, json};

use super::{action_text, ago_ms, decide, outcome_json, outcome_word};
use crate::args::{Name, NameCommand, NameDelegate, NameHistory, NameLs, NameSet};
use crate::commands::Context;
use crate::error::CliError;
use crate::output::table;

/// Names that are asked for at once.
const NAMES_AT_ONCE: u32 = 1_000;

pub(crate) async fn name(context: &Context, arguments: Name) -> Result<(), CliError> {
    match arguments.command {
        NameCommand::Set(arguments) => set(context, arguments).await,
        NameCommand::Get(arguments) => {
            let entry = look_up(context, &arguments.name).await?;
            context
                .out
                .result(|| entry.root.clone(), || entry_json(&entry))
        }
        NameCommand::Ls(arguments) => ls(context, &arguments).await,
        NameCommand::Rm(arguments) => {
            let change = pb::DeleteNameAction {
                name: arguments.name,
                expect: Some(expect(false, arguments.expect.root.as_ref())),
            };
            decide(
                context,
                pb::Action {
                    delete_name: Some(change),
                    ..pb::Action::default()
                },
            )
            .await
        }
        NameCommand::Delegate(NameDelegate { prefix, to, .. }) => {
            let to = to.map_or_else(String::new, |node| node.to_string());
            let change = pb::DelegateAction { prefix, to };
            decide(
                context,
                pb::Action {
                    delegate: Some(change),
                    ..pb::Action::default()
                },
            )
            .await
        }
        NameCommand::History(arguments) => history(context, arguments).await,
    }
}

async fn set(context: &Context, arguments: NameSet) -> Result<(), CliError> {
    let expect = expect(arguments.if_new, arguments.expect.root.as_ref());
    set_name(context, arguments.name, arguments.root.to_string(), expect).await
}

/// Lets a name mean a root.
pub(crate) async fn set_name(
    context: &Context,
    name: String,
    root: String,
    expect: pb::Expect,
) -> Result<(), CliError> {
    let change = pb::SetNameAction {
        name,
        root,
        expect: Some(expect),
    };
    decide(
        context,
        pb::Action {
            set_name: Some(change),
            ..pb::Action::default()
        },
    )
    .await
}

fn expect(absent: bool, root: Option<&hypermesh_id::Root>) -> pb::Expect {
    let kind = match (absent, root) {
        (true, _) => "absent",
        (false, Some(_)) => "root",
        (false, None) => "any",
    };
    pb::Expect {
        kind: kind.into(),
        root: root.map_or_else(String::new, ToString::to_string),
    }
}

/// What a name means as of the last block here.
pub(crate) async fn look_up(context: &Context, name: &str) -> Result<pb::NameEntry, CliError> {
    let consensus = context.client(Service::Consensus).await?;
    let request = pb::NameRequest {
        name: name.to_owned(),
    };
    let entry: pb::NameEntry = context
        .ask(&consensus, method::consensus::NAME, &request)
        .await?;
    if entry.exists {
        return Ok(entry);
    }
    Err(CliError::failed(format!(
        "there is no name '{name}' as of height {}: `hypermesh name ls` lists those that are",
        entry.height
    )))
}

async fn ls(context: &Context, arguments: &NameLs) -> Result<(), CliError> {
    let consensus = context.client(Service::Consensus).await?;
    let mut request = pb::NamesRequest {
        prefix: arguments.prefix.clone(),
        after: String::new(),
        limit: NAMES_AT_ONCE,
    };
    let mut rows = Vec::new();
    loop {
        let list: pb::NameList = context
            .ask(&consensus, method::consensus::NAMES, &request)
            .await?;
        for entry in &list.names {
            if context.out.json {
                context.out.result(String::new, || entry_json(entry))?;
            } else if arguments.long {
                rows.push(vec![
                    entry.name.clone(),
                    entry.root.clone(),
                    entry.changed_height.to_string(),
                    entry.owner.clone(),
                    entry.delegate.clone(),
                ]);
            } else {
                rows.push(vec![entry.name.clone(), entry.root.clone()]);
            }
        }
        if list.after.is_empty() {
            break;
        }
        request.after = list.after;
    }
    if context.out.json {
        return Ok(());
    }
    if rows.is_empty() {
        context.out.remark("no names: `hypermesh name set NAME ROOT` or `hypermesh put --name NAME PATH` makes one");
        return Ok(());
    }
    let all = ["name", "root", "changed", "owner", "delegate"];
    let header = if arguments.long { &all[..] } else { &all[..2] };
    context
        .out
        .result(|| table(header, &[2], rows), Value::default)
}

fn entry_json(entry: &pb::NameEntry) -> Value {
    json!({
        "name": entry.name,
        "root": entry.root,
        "owner": entry.owner,
        "delegate": entry.delegate,
        "changed_height": entry.changed_height,
        "height": entry.height,
        "time_ms": entry.time_ms,
    })
}

async fn history(context: &Context, arguments: NameHistory) -> Result<(), CliError> {
    let consensus = context.client(Service::Consensus).await?;
    let request = pb::HistoryRequest {
        name: arguments.name,
        before: 0,
        limit: arguments.limit,
    };
    let history: pb::NameHistory = context
        .ask(&consensus, method::consensus::HISTORY, &request)
        .await?;
    if history.begins_after > 0 {
        context.out.remark(&format!(
            "blocks up to {} are not here: this node went on from a snapshot; ask another member for older changes",
            history.begins_after
        ));
    }
    if context.out.json {
        for change in &history.changes {
            context.out.result(String::new, || {
                json!({
                    "height": change.height,
                    "time_ms": change.time_ms,
                    "author": change.author,
                    "transaction": change.transaction,
                    "action": change.action.as_ref().map(action_text),
                    "outcome": outcome_json(change.outcome.as_ref()),
                })
            })?;
        }
        return Ok(());
    }
    let rows = history.changes.iter().map(|change| {
        vec![
            change.height.to_string(),
            ago_ms(change.time_ms),
            change.action.as_ref().map(action_text).unwrap_or_default(),
            outcome_word(change.outcome.as_ref()),
            change.author.clone(),
        ]
    });
    let header = ["height", "ago", "change", "outcome", "author"];
    context
        .out
        .result(|| table(&header, &[0], rows.collect()), Value::default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_has_one_form() {
        assert_eq!(expect(true, None).kind, "absent");
        assert_eq!(expect(false, None).kind, "any");
        let root = hypermesh_id::Root(hypermesh_id::BlockId([4; 32]));
        let expected = expect(false, Some(&root));
        assert_eq!(
            (expected.kind.as_str(), expected.root),
            ("root", root.to_string())
        );
    }
}
