//! What is decided, in the words of the local wire, and back.

use hypermesh_consensus::{Decided, Evidence};
use hypermesh_id::NodeId;
use hypermesh_registry::{
    Action, Description, Expect, Motion, Name, Outcome, Parameter, State, read_block,
};
use mfn_local::Failure;
use mfn_wire::{Status, pb};

use super::chain::{Published, outcomes};
use super::driver::View;
use crate::address::parse_socket_address;
use crate::answer::{invalid, parse_node, parse_root};

pub(crate) fn role(voter: Option<bool>) -> &'static str {
    match voter {
        Some(true) => "voter",
        Some(false) => "learner",
        None => "none",
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn place(at: &[u8]) -> Option<(u64, u32)> {
    let height = u64::from_be_bytes(at.get(..8)?.try_into().ok()?);
    Some((height, u32::from_be_bytes(at.get(8..12)?.try_into().ok()?)))
}

pub(crate) fn kind(evidence: &Evidence) -> &'static str {
    match evidence {
        Evidence::Votes(_) => "votes",
        Evidence::Proposals(_) => "proposals",
    }
}

pub(crate) fn entry(published: &Published, name: &Name) -> pb::NameEntry {
    let named = published.state.name(name);
    let delegate = published.state.delegation_over(name);
    pb::NameEntry {
        exists: named.is_some(),
        name: name.as_str().into(),
        root: named
            .map(|named| named.root.to_string())
            .unwrap_or_default(),
        owner: named
            .map(|named| named.owner.to_string())
            .unwrap_or_default(),
        changed_height: named.map_or(0, |named| named.changed),
        height: published.tip.height,
        time_ms: published.tip.time,
        delegate: delegate
            .map(|(_, delegation)| delegation.to.to_string())
            .unwrap_or_default(),
    }
}

/// Words of an outcome that programs may rely on.
pub(crate) fn outcome(outcome: &Outcome) -> pb::Outcome {
    use hypermesh_registry::Refusal;
    let code = match outcome {
        Outcome::Done => "done".into(),
        Outcome::Waits { .. } => "waits".into(),
        Outcome::Refused(Refusal::Conflict(_)) => "conflict".into(),
        Outcome::Refused(other) => snake(&format!("{other:?}")),
        _ => "unknown".into(),
    };
    pb::Outcome {
        accepted: !matches!(outcome, Outcome::Refused(_)),
        code,
        text: outcome.to_string(),
    }
}

pub(crate) fn snake(name: &str) -> String {
    let mut word = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.extend(letter.to_lowercase());
    }
    word
}

pub(crate) fn motion_words(motion: &Motion) -> (&'static str, String) {
    match motion {
        Motion::Promote(node) => ("promote", node.to_string()),
        Motion::Demote(node) => ("demote", node.to_string()),
        Motion::Remove(node) => ("remove", node.to_string()),
        Motion::SetParameter(parameter, value) => {
            ("set_parameter", format!("{} {value}", parameter.name()))
        }
        Motion::Delegate { prefix, to } => {
            let to = to.map(|to| to.to_string()).unwrap_or_default();
            ("delegate", format!("{} {to}", prefix.as_str()))
        }
        _ => ("unknown", String::new()),
    }
}

pub(crate) fn expect(expect: Option<pb::Expect>) -> Result<Expect, Failure> {
    let expect = expect.unwrap_or_default();
    match &expect.kind[..] {
        "" | "any" => Ok(Expect::Any),
        "absent" => Ok(Expect::Absent),
        "root" => Ok(Expect::Root(parse_root(&expect.root)?)),
        other => Err(invalid(format!(
            "'{other}' is nothing to expect: any, absent or root"
        ))),
    }
}

pub(crate) fn said(expect: &Expect) -> pb::Expect {
    let (kind, root) = match expect {
        Expect::Any => ("any", String::new()),
        Expect::Absent => ("absent", String::new()),
        Expect::Root(root) => ("root", root.to_string()),
    };
    pb::Expect {
        kind: kind.into(),
        root,
    }
}

pub(crate) fn description(
    addresses: &[String],
    region: String,
    capacity: u64,
    domain: String,
) -> Result<Description, Failure> {
    let addresses = addresses
        .iter()
        .map(|text| parse_socket_address(text).map_err(invalid));
    let description = Description {
        label: String::new(),
        addresses: addresses.collect::<Result<_, _>>()?,
        region,
        domain,
        capacity,
    };
    description.check().map_err(invalid)?;
    Ok(description)
}

/// The one of the fields of an action that is set.
enum Asked {
    SetName(pb::SetNameAction),
    DeleteName(pb::DeleteNameAction),
    Delegate(pb::DelegateAction),
    Promote(String),
    Demote(String),
    Remove(String),
    Admit(pb::AdmitAction),
    Describe(pb::DescribeAction),
    Pin(pb::PinAction),
    Unpin(String),
    Accuse(pb::AccuseAction),
    SetParameter(pb::ParameterAction),
}

impl Asked {
    /// None when none is set, or more than one.
    fn of(action: pb::Action) -> Option<Self> {
        let text = |text: String| (!text.is_empty()).then_some(text);
        let all = [
            action.set_name.map(Self::SetName),
            action.delete_name.map(Self::DeleteName),
            action.delegate.map(Self::Delegate),
            text(action.promote).map(Self::Promote),
            text(action.demote).map(Self::Demote),
            text(action.remove).map(Self::Remove),
            action.admit.map(Self::Admit),
            action.describe.map(Self::Describe),
            action.pin.map(Self::Pin),
            text(action.unpin).map(Self::Unpin),
            action.accuse.map(Self::Accuse),
            action.set_parameter.map(Self::SetParameter),
        ];
        let mut set = all.into_iter().flatten();
        let first = set.next();
        first.filter(|_| set.next().is_none())
    }

    fn told(self) -> pb::Action {
        let mut action = pb::Action::default();
        match self {
            Self::SetName(one) => action.set_name = Some(one),
            Self::DeleteName(one) => action.delete_name = Some(one),
            Self::Delegate(one) => action.delegate = Some(one),
            Self::Promote(one) => action.promote = one,
            Self::Demote(one) => action.demote = one,
            Self::Remove(one) => action.remove = one,
            Self::Admit(one) => action.admit = Some(one),
            Self::Describe(one) => action.describe = Some(one),
            Self::Pin(one) => action.pin = Some(one),
            Self::Unpin(one) => action.unpin = one,
            Self::Accuse(one) => action.accuse = Some(one),
            Self::SetParameter(one) => action.set_parameter = Some(one),
        }
        action
    }
}

/// The action that is asked for.
pub(crate) fn action(
    action: Option<pb::Action>,
    me: &NodeId,
    state: &State,
) -> Result<Action, Failure> {
    let name = |text: &str| Name::new(text).map_err(invalid);
    let asked = action.and_then(Asked::of);
    Ok(match asked.ok_or_else(|| invalid("name an action"))? {
        Asked::SetName(one) => Action::SetName {
            name: name(&one.name)?,
            root: parse_root(&one.root)?,
            expect: expect(one.expect)?,
        },
        Asked::DeleteName(one) => Action::DeleteName {
            name: name(&one.name)?,
            expect: expect(one.expect)?,
        },
        Asked::Delegate(one) => Action::Delegate {
            prefix: name(&one.prefix)?,
            to: match &one.to[..] {
                "" => None,
                text => Some(parse_node(text)?),
            },
        },
        Asked::Promote(node) => Action::Move(Motion::Promote(parse_node(&node)?)),
        Asked::Demote(node) => match parse_node(&node)? {
            node if node == *me => Action::Leave { node },
            node => Action::Move(Motion::Demote(node)),
        },
        Asked::Remove(node) => {
            let node = parse_node(&node)?;
            let is_mine = state
                .member(&node)
                .is_some_and(|member| !member.voter && member.inviter == *me);
            match node == *me || is_mine {
                true => Action::Leave { node },
                false => Action::Move(Motion::Remove(node)),
            }
        }
        Asked::Admit(one) => Action::Admit {
            node: parse_node(&one.node)?,
            invitation: one
                .nonce
                .try_into()
                .map_err(|_| invalid("an invitation's nonce has 16 bytes"))?,
            description: description(&one.addresses, one.region, one.capacity, one.failure_domain)?,
        },
        Asked::Describe(one) => Action::Describe(description(
            &one.addresses,
            one.region,
            one.capacity,
            one.failure_domain,
        )?),
        Asked::Pin(one) => {
            let small =
                |number: u32| u8::try_from(number).map_err(|_| invalid("that are too many copies"));
            Action::Pin {
                root: parse_root(&one.root)?,
                copies: small(one.copies)?,
                domains: small(one.domains)?,
            }
        }
        Asked::Unpin(root) => Action::Unpin {
            root: parse_root(&root)?,
        },
        Asked::Accuse(one) => {
            Action::Accuse(Box::new(Evidence::decode(&one.evidence).map_err(invalid)?))
        }
        Asked::SetParameter(one) => {
            let parameter: Parameter = one
                .name
                .parse()
                .map_err(|_| invalid(format!("there is no parameter '{}'", one.name)))?;
            Action::Move(Motion::SetParameter(parameter, one.value))
        }
    })
}

/// An action as it is shown.
pub(crate) fn shown(action: &Action) -> Option<pb::Action> {
    let texts = |description: &Description| -> Vec<String> {
        description
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let action = match action {
        Action::SetName { name, root, expect } => Asked::SetName(pb::SetNameAction {
            name: name.as_str().into(),
            root: root.to_string(),
            expect: Some(said(expect)),
        }),
        Action::DeleteName { name, expect } => Asked::DeleteName(pb::DeleteNameAction {
            name: name.as_str().into(),
            expect: Some(said(expect)),
        }),
        Action::Delegate { prefix, to } | Action::Move(Motion::Delegate { prefix, to }) => {
            Asked::Delegate(pb::DelegateAction {
                prefix: prefix.as_str().into(),
                to: to.map(|to| to.to_string()).unwrap_or_default(),
            })
        }
        Action::Move(Motion::Promote(node)) => Asked::Promote(node.to_string()),
        Action::Move(Motion::Demote(node)) => Asked::Demote(node.to_string()),
        Action::Move(Motion::Remove(node)) | Action::Leave { node } => {
            Asked::Remove(node.to_string())
        }
        Action::Move(Motion::SetParameter(parameter, value)) => {
            Asked::SetParameter(pb::ParameterAction {
                name: parameter.name().into(),
                value: *value,
            })
        }
        Action::Admit {
            node,
            invitation,
            description,
        } => Asked::Admit(pb::AdmitAction {
            node: node.to_string(),
            addresses: texts(description),
            region: description.region.clone(),
            capacity: description.capacity,
            failure_domain: description.domain.clone(),
            nonce: invitation.to_vec(),
        }),
        Action::Describe(description) => Asked::Describe(pb::DescribeAction {
            addresses: texts(description),
            region: description.region.clone(),
            capacity: description.capacity,
            failure_domain: description.domain.clone(),
        }),
        Action::Pin {
            root,
            copies,
            domains,
        } => Asked::Pin(pb::PinAction {
            root: root.to_string(),
            copies: (*copies).into(),
            domains: (*domains).into(),
        }),
        Action::Unpin { root } => Asked::Unpin(root.to_string()),
        Action::Accuse(evidence) => {
            let mut bytes = Vec::new();
            evidence.encode(&mut bytes);
            Asked::Accuse(pb::AccuseAction {
                evidence: bytes,
                culprit: evidence.culprit().to_string(),
                height: evidence.height().0,
                kind: kind(evidence).into(),
            })
        }
        _ => return None,
    };
    Some(action.told())
}

pub(crate) fn decided_block(decided: &Decided, stored: &[u8]) -> Result<pb::DecidedBlock, Failure> {
    let (head, items) = read_block(&decided.body)
        .map_err(|error| Failure::new(Status::CORRUPT, error.to_string()))?;
    let outcomes = outcomes(stored);
    let certificate = &decided.certificate;
    let transactions = items.iter().enumerate().map(|(place, item)| {
        let known = outcomes.get(place).copied().flatten();
        pb::DecidedTransaction {
            transaction: item.id.to_string(),
            author: item.transaction.author.to_string(),
            sequence: item.transaction.sequence,
            action: shown(&item.transaction.action),
            outcome: known.as_ref().map(outcome),
        }
    });
    Ok(pb::DecidedBlock {
        height: head.height,
        time_ms: head.time,
        hash: certificate.block.to_string(),
        round: certificate.round.as_u32().unwrap_or(0),
        proposer: String::new(),
        signers: certificate
            .signatures
            .iter()
            .map(|(node, _)| node.to_string())
            .collect(),
        state_root: hex(&head.root),
        bytes: decided.body.len() as u32,
        transactions: transactions.collect(),
    })
}

/// Who belongs, and what is under way; at most so many of each of the longer lists.
pub(crate) fn member_list(
    view: &View,
    published: &Published,
    me: &NodeId,
    most: usize,
) -> pb::MemberList {
    let state = &published.state;
    let member = |(node, member): (NodeId, &hypermesh_registry::Member)| pb::Member {
        node_id: node.to_string(),
        role: role(Some(member.voter)).into(),
        convicted: state.conviction(&node).is_some(),
        addresses: member
            .description
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect(),
        region: member.description.region.clone(),
        capacity: member.description.capacity,
        failure_domain: member.description.domain.clone(),
        inviter: member.inviter.to_string(),
        since_height: member.since,
        connected: node == *me || view.connected.contains(&node),
        height: match node == *me {
            true => view.height.0,
            false => view.heights.get(&node).map_or(0, |height| height.0),
        },
        faults: view.standings.of(&node).faults,
        mute: view.standings.of(&node).mute,
    };
    let motion = |(motion, open): (&Motion, &hypermesh_registry::OpenMotion)| {
        let (word, about) = motion_words(motion);
        pb::Motion {
            motion: word.into(),
            about,
            supporters: open.said.iter().map(ToString::to_string).collect(),
            until_height: open.until,
            needed: state.voters().quorum() as u32,
        }
    };
    pb::MemberList {
        members: state.members().map(member).collect(),
        motions: state.motions().map(motion).collect(),
        delegations: state
            .delegations()
            .map(|(prefix, delegation)| pb::Delegation {
                prefix: prefix.as_str().into(),
                to: delegation.to.to_string(),
                by: delegation.by.map(|by| by.to_string()).unwrap_or_default(),
            })
            .collect(),
        parameters: Parameter::ALL
            .iter()
            .map(|parameter| pb::Parameter {
                name: parameter.name().into(),
                value: state.parameters().get(*parameter),
            })
            .collect(),
        pins: state
            .pins()
            .take(most)
            .map(|(root, owner, pin)| pb::PinnedRoot {
                root: root.to_string(),
                copies: pin.copies.into(),
                domains: pin.domains.into(),
                owner: owner.to_string(),
            })
            .collect(),
        height: published.tip.height,
        removed: state
            .removed()
            .take(most)
            .map(|node| node.to_string())
            .collect(),
    }
}
