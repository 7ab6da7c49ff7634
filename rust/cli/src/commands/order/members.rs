//! Members: who belongs to the mesh, and who votes.

use hypermesh_node::units::format_size;
use mfn_wire::{Service, method, pb};
use serde_json::{Value, json};

use super::decide;
use crate::args::{Members, MembersCommand};
use crate::commands::{Context, network};
use crate::error::CliError;
use crate::output::table;

pub(crate) async fn members(context: &Context, arguments: Members) -> Result<(), CliError> {
    let about = |set: fn(&mut pb::Action, String), node: hypermesh_id::NodeId| {
        let mut action = pb::Action::default();
        set(&mut action, node.to_string());
        action
    };
    match arguments.command {
        MembersCommand::Ls => list_members(context).await,
        MembersCommand::Invite(arguments) => network::invite(context, arguments).await,
        MembersCommand::Join(arguments) => network::join(context, arguments).await,
        MembersCommand::Promote(who) => {
            decide(
                context,
                about(|action, node| action.promote = node, who.node),
            )
            .await
        }
        MembersCommand::Demote(who) => {
            decide(
                context,
                about(|action, node| action.demote = node, who.node),
            )
            .await
        }
        MembersCommand::Remove(who) => {
            decide(
                context,
                about(|action, node| action.remove = node, who.node),
            )
            .await
        }
        MembersCommand::Set { name, value } => {
            let action = pb::Action {
                set_parameter: Some(pb::ParameterAction { name, value }),
                ..pb::Action::default()
            };
            decide(context, action).await
        }
    }
}

async fn list_members(context: &Context) -> Result<(), CliError> {
    let consensus = context.client(Service::Consensus).await?;
    let list: pb::MemberList = context
        .ask_nothing(&consensus, method::consensus::MEMBERS)
        .await?;
    if context.out.json {
        return context.out.result(String::new, || members_json(&list));
    }
    let rows = list.members.iter().map(|member| {
        vec![
            member.node_id.clone(),
            if member.convicted {
                "convicted".into()
            } else {
                member.role.clone()
            },
            (if member.mute {
                "mute"
            } else if member.connected {
                "connected"
            } else {
                "away"
            })
            .into(),
            member.region.clone(),
            member.failure_domain.clone(),
            if member.capacity == 0 {
                String::new()
            } else {
                format_size(member.capacity)
            },
            member.since_height.to_string(),
            member.addresses.first().cloned().unwrap_or_default(),
        ]
    });
    let header = [
        "node", "role", "state", "region", "domain", "capacity", "since", "address",
    ];
    context
        .out
        .result(|| table(&header, &[5, 6], rows.collect()), Value::default)?;
    for motion in &list.motions {
        context.out.result(
            || {
                format!(
                    "{} {}: {} of {} voters say so, until height {}",
                    motion.motion,
                    motion.about,
                    motion.supporters.len(),
                    motion.needed,
                    motion.until_height
                )
            },
            Value::default,
        )?;
    }
    Ok(())
}

fn members_json(list: &pb::MemberList) -> Value {
    json!({
        "height": list.height,
        "members": list.members.iter().map(|member| json!({
            "node_id": member.node_id,
            "role": member.role,
            "convicted": member.convicted,
            "connected": member.connected,
            "addresses": member.addresses,
            "region": member.region,
            "failure_domain": member.failure_domain,
            "capacity": member.capacity,
            "inviter": member.inviter,
            "since_height": member.since_height,
            "height": member.height,
            "faults": member.faults,
            "mute": member.mute,
        })).collect::<Vec<_>>(),
        "motions": list.motions.iter().map(|motion| json!({
            "motion": motion.motion,
            "about": motion.about,
            "supporters": motion.supporters,
            "needed": motion.needed,
            "until_height": motion.until_height,
        })).collect::<Vec<_>>(),
        "delegations": list.delegations.iter().map(|one| json!({
            "prefix": one.prefix, "to": one.to, "by": one.by,
        })).collect::<Vec<_>>(),
        "parameters": list.parameters.iter().map(|one| (one.name.clone(), json!(one.value)))
            .collect::<serde_json::Map<_, _>>(),
        "pins": list.pins.iter().map(|one| json!({
            "root": one.root, "copies": one.copies, "domains": one.domains, "owner": one.owner,
        })).collect::<Vec<_>>(),
        "removed": list.removed,
    })
}
