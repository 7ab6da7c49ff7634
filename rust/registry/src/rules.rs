//! Who may do what. Each rule looks at all of its conditions before it changes anything.

use std::collections::BTreeMap;

use hypermesh_consensus::{Ed25519, Evidence, Height, VOTERS_MAX, Voter};
use hypermesh_id::{NodeId, Root};

use crate::entry::{Conviction, Delegation, Entry, Key, Member, Named, OpenMotion, Pin};
use crate::genesis::Description;
use crate::name::Name;
use crate::outcome::{Outcome, Refusal};
use crate::parameters::Parameter;
use crate::state::State;
use crate::transaction::{Action, Expect, LIFETIME, Motion, Transaction};

/// Heights of which voters can be accused: far more than evidence is looked for, so that a busy mesh loses none.
pub const ACCUSED_HEIGHTS: u64 = 1024;
/// Most copies that may be wanted of a root.
const COPIES_MAX: u8 = 64;

/// Why a transaction may not be in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    #[error("{0} is neither a member nor a key to whom something is delegated")]
    Stranger(NodeId),
    #[error("sequence {sequence} is not after {last}, the last of this author that was decided")]
    Sequence { sequence: u64, last: u64 },
    #[error("it could be decided until height {0}, which has passed")]
    Late(u64),
    #[error("it could be decided until height {0}, which is more than {LIFETIME} heights ahead")]
    Ahead(u64),
    #[error("its author has {0} transactions in the block already, as many as may be")]
    Many(u64),
}

/// A state on its way to the next height.
#[derive(Debug)]
pub(crate) struct Work {
    state: State,
    height: u64,
    /// Transactions of each author in this block.
    counts: BTreeMap<NodeId, u64>,
}

type Ruling = Result<Outcome, Refusal>;

/// Whether a transaction may be in the block of this height, as far as its author goes.
pub(crate) fn admissible(
    state: &State,
    height: u64,
    transaction: &Transaction,
) -> Result<(), Invalid> {
    let Transaction {
        author,
        sequence,
        until,
        ..
    } = transaction;
    if !state.may_write(author) {
        return Err(Invalid::Stranger(*author));
    }
    let last = state.author(author).map_or(0, |author| author.sequence);
    if *sequence <= last {
        return Err(Invalid::Sequence {
            sequence: *sequence,
            last,
        });
    }
    if *until < height {
        return Err(Invalid::Late(*until));
    }
    if *until > height.saturating_add(LIFETIME) {
        return Err(Invalid::Ahead(*until));
    }
    Ok(())
}

impl Work {
    pub(crate) fn new(state: &State, height: u64) -> Self {
        Self {
            state: state.clone(),
            height,
            counts: BTreeMap::new(),
        }
    }

    pub(crate) fn finish(mut self) -> State {
        self.state.settle();
        self.state
    }

    /// Carries out a transaction whose signature is good.
    pub(crate) fn execute(&mut self, transaction: &Transaction) -> Result<Outcome, Invalid> {
        admissible(&self.state, self.height, transaction)?;
        let author = transaction.author;
        let most = self.state.parameters().transactions_per_author;
        let count = self.counts.entry(author).or_default();
        if *count >= most {
            return Err(Invalid::Many(most));
        }
        *count += 1;
        self.state
            .count(author, |counted| counted.sequence = transaction.sequence);
        Ok(self
            .act(author, &transaction.action)
            .unwrap_or_else(Outcome::Refused))
    }

    fn act(&mut self, author: NodeId, action: &Action) -> Ruling {
        match action {
            Action::Admit {
                node,
                invitation,
                description,
            } => self.admit(author, *node, *invitation, description),
            Action::Describe(description) => self.describe(author, description),
            Action::Move(motion) => self.say(author, motion),
            Action::Leave { node } => self.leave(author, *node),
            Action::SetName { name, root, expect } => self.set_name(author, name, *root, expect),
            Action::DeleteName { name, expect } => self.delete_name(author, name, expect),
            Action::Delegate { prefix, to } => self.delegate(author, prefix, *to),
            Action::Pin {
                root,
                copies,
                domains,
            } => {
                let pin = Pin {
                    copies: *copies,
                    domains: *domains,
                };
                self.pin(author, *root, pin)
            }
            Action::Unpin { root } => self.unpin(author, *root),
            Action::Accuse(evidence) => self.accuse(evidence),
        }
    }

    fn member(&self, node: &NodeId) -> Result<&Member, Refusal> {
        self.state.member(node).ok_or(Refusal::NotMember)
    }

    fn voter(&self, node: &NodeId) -> Result<(), Refusal> {
        match self.state.voters().contains(node) {
            true => Ok(()),
            false => Err(Refusal::NotVoter),
        }
    }

    fn counted(&self, node: &NodeId) -> crate::entry::Author {
        self.state.author(node).cloned().unwrap_or_default()
    }

    fn admit(
        &mut self,
        author: NodeId,
        node: NodeId,
        invitation: [u8; 16],
        description: &Description,
    ) -> Ruling {
        self.voter(&author)?;
        if Voter::new(node).is_err() {
            return Err(Refusal::Key);
        }
        if self.state.member(&node).is_some() {
            return Err(Refusal::Present);
        }
        if self.state.has(&Key::Invitation(invitation)) {
            return Err(Refusal::Spent);
        }
        let parameters = self.state.parameters();
        if self.counted(&author).learners >= parameters.learners_per_inviter {
            return Err(Refusal::Quota);
        }
        if self.state.members_len() as u64 >= parameters.members {
            return Err(Refusal::Full);
        }
        let member = Member {
            voter: false,
            inviter: author,
            invitation,
            since: self.height,
            description: description.clone(),
        };
        self.state.put(Key::Member(node), Entry::Member(member));
        self.state
            .put(Key::Invitation(invitation), Entry::Invitation(node));
        self.state.count(author, |counted| counted.learners += 1);
        self.state.count(node, |counted| counted.removed = false);
        Ok(Outcome::Done)
    }

    fn describe(&mut self, author: NodeId, description: &Description) -> Ruling {
        let mut member = self.member(&author)?.clone();
        member.description = description.clone();
        self.state.put(Key::Member(author), Entry::Member(member));
        Ok(Outcome::Done)
    }

    fn leave(&mut self, author: NodeId, node: NodeId) -> Ruling {
        let member = self.member(&node)?;
        match (member.voter, author == node, member.inviter == author) {
            (true, true, _) => self.demote(node),
            (false, true, _) => self.expel(node),
            (false, false, true) if self.state.member(&author).is_some() => self.expel(node),
            _ => Err(Refusal::NotAllowed),
        }
    }

    /// A voter says that it is for a motion. It is carried when a quorum of those who vote now has said so.
    fn say(&mut self, author: NodeId, motion: &Motion) -> Ruling {
        self.voter(&author)?;
        self.possible(motion)?;
        let open = self
            .state
            .motion(motion)
            .filter(|open| open.until >= self.height)
            .cloned();
        let mut said = open
            .as_ref()
            .map(|open| open.said.clone())
            .unwrap_or_default();
        said.retain(|node| self.state.voters().contains(node));
        let place = said.binary_search(&author);
        if let Err(place) = place {
            said.insert(place, author);
        }
        let needed = self.state.voters().quorum();
        if said.len() >= needed {
            self.close(motion);
            return self.carry(motion);
        }
        if place.is_ok() {
            return Err(Refusal::Said);
        }
        let outcome = Outcome::Waits {
            said: said.len() as u16,
            needed: needed as u16,
        };
        let (by, until) = match open {
            Some(open) => (open.by, open.until),
            None => {
                self.close(motion);
                self.close_old();
                if self.counted(&author).motions >= self.state.parameters().motions_per_voter {
                    return Err(Refusal::Quota);
                }
                self.state.count(author, |counted| counted.motions += 1);
                (
                    author,
                    self.height
                        .saturating_add(self.state.parameters().motion_heights),
                )
            }
        };
        self.state.put(
            Key::Motion(motion.clone()),
            Entry::Motion(OpenMotion { by, until, said }),
        );
        Ok(outcome)
    }

    fn close(&mut self, motion: &Motion) {
        if let Some(by) = self.state.motion(motion).map(|open| open.by) {
            self.state.remove(Key::Motion(motion.clone()));
            self.state.count(by, |counted| {
                counted.motions = counted.motions.saturating_sub(1)
            });
        }
    }

    /// Closes what can no longer be carried. Motions are few: only voters open them, and so many each.
    fn close_old(&mut self) {
        let height = self.height;
        let old: Vec<Motion> = self
            .state
            .motions()
            .filter(|(_, open)| open.until < height)
            .map(|(motion, _)| motion.clone())
            .collect();
        old.iter().for_each(|motion| self.close(motion));
    }

    /// Takes a node's word out of all motions: if it votes again, it has said nothing.
    fn unsay(&mut self, node: NodeId) {
        let said: Vec<(Motion, OpenMotion)> = self
            .state
            .motions()
            .filter(|(_, open)| open.said.contains(&node) || open.by == node)
            .map(|(motion, open)| (motion.clone(), open.clone()))
            .collect();
        for (motion, mut open) in said {
            open.said.retain(|other| *other != node);
            if open.said.is_empty() {
                self.close(&motion);
            } else {
                self.state.put(Key::Motion(motion), Entry::Motion(open));
            }
        }
    }

    /// Whether a motion could be carried now.
    fn possible(&self, motion: &Motion) -> Result<(), Refusal> {
        let last = self.state.voters().len() == 1;
        match motion {
            Motion::Promote(node) => {
                if self.member(node)?.voter {
                    return Err(Refusal::Present);
                }
                if self.state.conviction(node).is_some() {
                    return Err(Refusal::Convicted);
                }
                if self.state.voters().len() >= VOTERS_MAX {
                    return Err(Refusal::TooManyVoters);
                }
                Ok(())
            }
            Motion::Demote(node) => match self.member(node)?.voter {
                true if last => Err(Refusal::LastVoter),
                true => Ok(()),
                false => Err(Refusal::NotVoter),
            },
            Motion::Remove(node) => match self.member(node)?.voter {
                true if last => Err(Refusal::LastVoter),
                _ => Ok(()),
            },
            Motion::SetParameter(parameter, value) => match parameter.range().contains(value) {
                true => Ok(()),
                false => Err(Refusal::Range),
            },
            Motion::Delegate { prefix, to } => self.delegable(prefix, *to),
        }
    }

    fn carry(&mut self, motion: &Motion) -> Ruling {
        match motion {
            Motion::Promote(node) => self.promote(*node),
            Motion::Demote(node) => self.demote(*node),
            Motion::Remove(node) => self.expel(*node),
            Motion::SetParameter(parameter, value) => self.set_parameter(*parameter, *value),
            Motion::Delegate { prefix, to } => {
                let to = to.map(|to| Delegation {
                    to,
                    by: None,
                    payer: to,
                    since: self.height,
                });
                self.redelegate(prefix, to);
                Ok(Outcome::Done)
            }
        }
    }

    fn set_parameter(&mut self, parameter: Parameter, value: u64) -> Ruling {
        let mut parameters = self.state.parameters().clone();
        parameters.set(parameter, value);
        self.state.set_parameters(parameters);
        Ok(Outcome::Done)
    }

    fn promote(&mut self, node: NodeId) -> Ruling {
        let mut nodes: Vec<NodeId> = self.state.voters().nodes().collect();
        nodes.push(node);
        self.vote(node, nodes)?;
        let inviter = self.member(&node)?.inviter;
        self.state.count(inviter, |counted| {
            counted.learners = counted.learners.saturating_sub(1)
        });
        Ok(Outcome::Done)
    }

    fn demote(&mut self, node: NodeId) -> Ruling {
        let nodes: Vec<NodeId> = self
            .state
            .voters()
            .nodes()
            .filter(|other| *other != node)
            .collect();
        if nodes.is_empty() {
            return Err(Refusal::LastVoter);
        }
        self.vote(node, nodes)?;
        let inviter = self.member(&node)?.inviter;
        self.state.count(inviter, |counted| counted.learners += 1);
        self.unsay(node);
        Ok(Outcome::Done)
    }

    /// These vote from the next height on, and this node has its vote won or lost by it.
    fn vote(&mut self, node: NodeId, mut nodes: Vec<NodeId>) -> Result<(), Refusal> {
        let mut member = self.member(&node)?.clone();
        nodes.sort_unstable();
        member.voter = nodes.contains(&node);
        let kept = self.height.saturating_sub(ACCUSED_HEIGHTS);
        let next = self.height.saturating_add(1);
        self.state
            .set_voters(nodes, next, kept)
            .map_err(|_| Refusal::Key)?;
        self.state.put(Key::Member(node), Entry::Member(member));
        Ok(())
    }

    fn expel(&mut self, node: NodeId) -> Ruling {
        if self.member(&node)?.voter {
            self.demote(node)?;
        }
        let member = self.member(&node)?;
        let (inviter, invitation) = (member.inviter, member.invitation);
        self.state.remove(Key::Member(node));
        self.state.remove(Key::Invitation(invitation));
        self.state.count(inviter, |counted| {
            counted.learners = counted.learners.saturating_sub(1)
        });
        self.state.count(node, |counted| counted.removed = true);
        Ok(Outcome::Done)
    }

    /// On whose account an author changes a name, if it may. Under a delegated prefix only the delegate may.
    fn authority(&self, author: &NodeId, name: &Name) -> Result<NodeId, Refusal> {
        let member = self.state.member(author).is_some();
        match self.state.delegation_over(name) {
            Some((_, delegation)) if delegation.to != *author => Err(Refusal::NotDelegate),
            Some((_, delegation)) if !member => Ok(delegation.payer),
            Some(_) => Ok(*author),
            None if !member => Err(Refusal::NotMember),
            None => match self.state.name(name) {
                Some(named) if named.owner != *author => Err(Refusal::NotOwner),
                _ => Ok(*author),
            },
        }
    }

    fn set_name(&mut self, author: NodeId, name: &Name, root: Root, expect: &Expect) -> Ruling {
        let account = self.authority(&author, name)?;
        let found = self.state.name(name).cloned();
        let meant = found.as_ref().map(|named| named.root);
        if !expect.met(meant) {
            return Err(Refusal::Conflict(meant));
        }
        let named = match found {
            Some(named) => Named {
                root,
                changed: self.height,
                ..named
            },
            None => {
                if self.counted(&account).names >= self.state.parameters().names_per_author {
                    return Err(Refusal::Quota);
                }
                self.state.count(account, |counted| counted.names += 1);
                Named {
                    root,
                    owner: author,
                    payer: account,
                    changed: self.height,
                }
            }
        };
        self.state.put(Key::Name(name.clone()), Entry::Name(named));
        Ok(Outcome::Done)
    }

    fn delete_name(&mut self, author: NodeId, name: &Name, expect: &Expect) -> Ruling {
        self.authority(&author, name)?;
        let found = self.state.name(name).cloned();
        let meant = found.as_ref().map(|named| named.root);
        if !expect.met(meant) {
            return Err(Refusal::Conflict(meant));
        }
        let named = found.ok_or(Refusal::Absent)?;
        self.state.remove(Key::Name(name.clone()));
        self.state.count(named.payer, |counted| {
            counted.names = counted.names.saturating_sub(1)
        });
        Ok(Outcome::Done)
    }

    fn delegable(&self, prefix: &Name, to: Option<NodeId>) -> Result<(), Refusal> {
        match to {
            Some(to) if Voter::new(to).is_err() => Err(Refusal::Key),
            None if self.state.delegation(prefix).is_none() => Err(Refusal::Absent),
            _ => Ok(()),
        }
    }

    /// A delegate passes on what it has, or a part of it; who gave it takes it back; the owner of a name gives what is below
    /// it while nothing is. The rest is for the voters.
    fn delegate(&mut self, author: NodeId, prefix: &Name, to: Option<NodeId>) -> Ruling {
        let here = self.state.delegation(prefix).cloned();
        let above = prefix
            .parent()
            .and_then(|parent| self.state.delegation_over(&parent))
            .map(|(_, over)| over.clone());
        let member = self.state.member(&author).is_some();
        let (by, account) = match (&here, &above) {
            // What it gets or keeps stays revocable by who gave it first.
            (Some(here), _) if here.to == author => (here.by, here.payer),
            (_, Some(above)) if above.to == author => {
                (Some(author), if member { author } else { above.payer })
            }
            (Some(here), _) if here.by == Some(author) => (Some(author), here.payer),
            (None, None)
                if member
                    && self
                        .state
                        .name(prefix)
                        .is_some_and(|named| named.owner == author) =>
            {
                if self.state.occupied(prefix) {
                    return Err(Refusal::Occupied);
                }
                (Some(author), author)
            }
            _ => return Err(Refusal::NotAllowed),
        };
        self.delegable(prefix, to)?;
        let new = to.map(|to| Delegation {
            to,
            by,
            payer: account,
            since: self.height,
        });
        if new.is_some()
            && here.is_none()
            && self.counted(&account).delegations >= self.state.parameters().delegations_per_author
        {
            return Err(Refusal::Quota);
        }
        self.redelegate(prefix, new);
        Ok(Outcome::Done)
    }

    fn redelegate(&mut self, prefix: &Name, to: Option<Delegation>) {
        if let Some(old) = self.state.delegation(prefix).cloned() {
            self.state.count(old.to, |counted| {
                counted.prefixes = counted.prefixes.saturating_sub(1)
            });
            self.state.count(old.payer, |counted| {
                counted.delegations = counted.delegations.saturating_sub(1)
            });
            self.state.remove(Key::Delegation(prefix.clone()));
        }
        if let Some(new) = to {
            self.state.count(new.to, |counted| counted.prefixes += 1);
            self.state
                .count(new.payer, |counted| counted.delegations += 1);
            self.state
                .put(Key::Delegation(prefix.clone()), Entry::Delegation(new));
        }
    }

    fn pin(&mut self, author: NodeId, root: Root, pin: Pin) -> Ruling {
        self.member(&author)?;
        if pin.copies == 0 || pin.copies > COPIES_MAX || pin.domains > pin.copies {
            return Err(Refusal::Copies);
        }
        let key = Key::Pin(root, author);
        if !self.state.has(&key) {
            if self.counted(&author).pins >= self.state.parameters().pins_per_author {
                return Err(Refusal::Quota);
            }
            self.state.count(author, |counted| counted.pins += 1);
        }
        self.state.put(key, Entry::Pin(pin));
        Ok(Outcome::Done)
    }

    fn unpin(&mut self, author: NodeId, root: Root) -> Ruling {
        let key = Key::Pin(root, author);
        if !self.state.has(&key) {
            return Err(Refusal::Absent);
        }
        self.state.remove(key);
        self.state.count(author, |counted| {
            counted.pins = counted.pins.saturating_sub(1)
        });
        Ok(Outcome::Done)
    }

    /// A proof against a voter of its height, whatever it is now. Anyone may bring it, its culprit too.
    fn accuse(&mut self, evidence: &Evidence) -> Ruling {
        let (culprit, Height(offence)) = (evidence.culprit(), evidence.height());
        if self.state.conviction(&culprit).is_some() {
            return Err(Refusal::Present);
        }
        if offence > self.height || offence.saturating_add(ACCUSED_HEIGHTS) < self.height {
            return Err(Refusal::Old);
        }
        let voters = self.state.voters_of(offence).ok_or(Refusal::Old)?;
        evidence
            .verify(&self.state.mesh(), &voters, &Ed25519)
            .map_err(|_| Refusal::NoEvidence)?;
        let mut bytes = Vec::new();
        evidence.encode(&mut bytes);
        let conviction = Conviction {
            offence,
            decided: self.height,
            evidence: *blake3::hash(&bytes).as_bytes(),
        };
        self.state
            .put(Key::Convicted(culprit), Entry::Convicted(conviction));
        // The last voter keeps its vote, and the mark: without it nothing would be decided again.
        if self.state.voters().contains(&culprit) && self.state.voters().len() > 1 {
            self.demote(culprit)?;
        }
        Ok(Outcome::Done)
    }
}
