//! The rules once more, written plainly: everything is counted anew each time, and the root is built from nothing.

use std::collections::{BTreeMap, BTreeSet};

use hypermesh_consensus::{Evidence, Height, VOTERS_MAX};
use hypermesh_id::{NodeId, Root};
use hypermesh_registry::{
    ACCUSED_HEIGHTS, Action, Conviction, Delegation, Description, Expect, Genesis, Key, LIFETIME,
    Member, Motion, Name, Named, OpenMotion, Outcome, Parameter, Pin, Refusal, Transaction,
};

type Ruling = Result<(), Refusal>;

/// What a mesh is made of, without a tree, and without anything counted.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) height: u64,
    parameters: BTreeMap<Parameter, u64>,
    pub(crate) voters: BTreeSet<NodeId>,
    since: BTreeMap<u64, BTreeSet<NodeId>>,
    pub(crate) members: BTreeMap<NodeId, Member>,
    /// Last sequence, and whether it was removed, of everyone who ever was an author or an account.
    authors: BTreeMap<NodeId, (u64, bool)>,
    spent: BTreeMap<[u8; 16], NodeId>,
    pub(crate) names: BTreeMap<Name, Named>,
    delegations: BTreeMap<Name, Delegation>,
    pins: BTreeMap<(Root, NodeId), Pin>,
    motions: BTreeMap<Motion, OpenMotion>,
    pub(crate) convicted: BTreeMap<NodeId, Conviction>,
    /// Whether evidence is good is known to whoever made it.
    pub(crate) good_evidence: bool,
}

impl Model {
    pub(crate) fn new(genesis: &Genesis) -> Self {
        let founder = genesis.founder;
        let member = Member {
            voter: true,
            inviter: founder,
            invitation: [0; 16],
            since: 0,
            description: genesis.description.clone(),
        };
        let voters = BTreeSet::from([founder]);
        let parameters = Parameter::ALL.iter();
        Self {
            height: 1,
            parameters: parameters
                .map(|one| (*one, genesis.parameters.get(*one)))
                .collect(),
            since: BTreeMap::from([(1, voters.clone())]),
            voters,
            members: BTreeMap::from([(founder, member)]),
            authors: BTreeMap::from([(founder, (0, false))]),
            spent: BTreeMap::new(),
            names: BTreeMap::new(),
            delegations: BTreeMap::new(),
            pins: BTreeMap::new(),
            motions: BTreeMap::new(),
            convicted: BTreeMap::new(),
            good_evidence: false,
        }
    }

    pub(crate) fn may(&self, transaction: &Transaction) -> bool {
        let author = transaction.author;
        let (last, removed) = self.authors.get(&author).copied().unwrap_or_default();
        let delegate = !removed && self.delegations.values().any(|one| one.to == author);
        (self.members.contains_key(&author) || delegate)
            && transaction.sequence > last
            && (self.height..=self.height + LIFETIME).contains(&transaction.until)
    }

    pub(crate) fn parameter(&self, parameter: Parameter) -> u64 {
        self.parameters[&parameter]
    }

    pub(crate) fn sequence(&self, author: &NodeId) -> u64 {
        self.authors.get(author).map_or(0, |one| one.0)
    }

    pub(crate) fn execute(&mut self, transaction: &Transaction) -> Outcome {
        assert!(self.may(transaction), "{transaction:?}");
        let author = transaction.author;
        self.authors.entry(author).or_default().0 = transaction.sequence;
        if let Action::Move(motion) = &transaction.action {
            return self.say(author, motion).unwrap_or_else(Outcome::Refused);
        }
        let ruling = match &transaction.action {
            Action::Admit {
                node,
                invitation,
                description,
            } => self.admit(author, *node, *invitation, description),
            Action::Describe(description) => match self.members.get_mut(&author) {
                Some(member) => {
                    member.description = description.clone();
                    Ok(())
                }
                None => Err(Refusal::NotMember),
            },
            Action::Leave { node } => self.leave(author, *node),
            Action::SetName { name, root, expect } => self.name(author, name, Some(*root), expect),
            Action::DeleteName { name, expect } => self.name(author, name, None, expect),
            Action::Delegate { prefix, to } => self.delegate(author, prefix, *to),
            Action::Pin {
                root,
                copies,
                domains,
            } => self.pin(author, *root, *copies, *domains),
            Action::Unpin { root } => match self.pins.remove(&(*root, author)) {
                Some(_) => Ok(()),
                None => Err(Refusal::Absent),
            },
            Action::Accuse(evidence) => self.accuse(evidence),
            other => panic!("no rule for {other:?}"),
        };
        ruling.map_or_else(Outcome::Refused, |()| Outcome::Done)
    }

    fn admit(
        &mut self,
        author: NodeId,
        node: NodeId,
        spend: [u8; 16],
        text: &Description,
    ) -> Ruling {
        if !self.voters.contains(&author) {
            return Err(Refusal::NotVoter);
        }
        if self.members.contains_key(&node) {
            return Err(Refusal::Present);
        }
        if self.spent.contains_key(&spend) {
            return Err(Refusal::Spent);
        }
        if self.learners(author) >= self.parameter(Parameter::LearnersPerInviter) {
            return Err(Refusal::Quota);
        }
        if self.members.len() as u64 >= self.parameter(Parameter::Members) {
            return Err(Refusal::Full);
        }
        let member = Member {
            voter: false,
            inviter: author,
            invitation: spend,
            since: self.height,
            description: text.clone(),
        };
        self.members.insert(node, member);
        self.spent.insert(spend, node);
        self.authors.entry(node).or_default().1 = false;
        Ok(())
    }

    fn leave(&mut self, author: NodeId, node: NodeId) -> Ruling {
        let member = self.members.get(&node).ok_or(Refusal::NotMember)?;
        let mine = member.inviter == author && self.members.contains_key(&author);
        if author == node && member.voter {
            return self.demote(node);
        }
        if !member.voter && (author == node || mine) {
            self.expel(node);
            return Ok(());
        }
        Err(Refusal::NotAllowed)
    }

    fn say(&mut self, author: NodeId, motion: &Motion) -> Result<Outcome, Refusal> {
        if !self.voters.contains(&author) {
            return Err(Refusal::NotVoter);
        }
        let member = |node| self.members.get(node).ok_or(Refusal::NotMember);
        let alone = self.voters.len() == 1;
        match motion {
            Motion::Promote(node) => {
                if member(node)?.voter {
                    return Err(Refusal::Present);
                }
                if self.convicted.contains_key(node) {
                    return Err(Refusal::Convicted);
                }
                if self.voters.len() >= VOTERS_MAX {
                    return Err(Refusal::TooManyVoters);
                }
            }
            Motion::Demote(node) => {
                if !member(node)?.voter {
                    return Err(Refusal::NotVoter);
                }
                if alone {
                    return Err(Refusal::LastVoter);
                }
            }
            Motion::Remove(node) => {
                if member(node)?.voter && alone {
                    return Err(Refusal::LastVoter);
                }
            }
            Motion::SetParameter(parameter, value) => {
                if !parameter.range().contains(value) {
                    return Err(Refusal::Range);
                }
            }
            Motion::Delegate { prefix, to } => {
                if to.is_none() && !self.delegations.contains_key(prefix) {
                    return Err(Refusal::Absent);
                }
            }
            other => panic!("no rule for {other:?}"),
        }
        let height = self.height;
        let open = self.motions.get(motion);
        let open = open.filter(|open| open.until >= height).cloned();
        let mut said: BTreeSet<NodeId> = open.iter().flat_map(|open| open.said.clone()).collect();
        said.retain(|node| self.voters.contains(node));
        let new = said.insert(author);
        let needed = self.voters.len() * 2 / 3 + 1;
        if said.len() >= needed {
            self.motions.remove(motion);
            self.carry(motion);
            return Ok(Outcome::Done);
        }
        if !new {
            return Err(Refusal::Said);
        }
        let (by, until) = match open {
            Some(open) => (open.by, open.until),
            None => {
                self.motions.retain(|_, open| open.until >= height);
                let mine = self.motions.values().filter(|open| open.by == author);
                if mine.count() as u64 >= self.parameter(Parameter::MotionsPerVoter) {
                    return Err(Refusal::Quota);
                }
                (author, height + self.parameter(Parameter::MotionHeights))
            }
        };
        let outcome = Outcome::Waits {
            said: said.len() as u16,
            needed: needed as u16,
        };
        let said = said.into_iter().collect();
        let open = OpenMotion { by, until, said };
        self.motions.insert(motion.clone(), open);
        Ok(outcome)
    }

    fn carry(&mut self, motion: &Motion) {
        match motion {
            Motion::Promote(node) => {
                self.voters.insert(*node);
                self.vote_changed(*node);
            }
            Motion::Demote(node) => self.demote(*node).unwrap(),
            Motion::Remove(node) => self.expel(*node),
            Motion::SetParameter(parameter, value) => {
                self.parameters.insert(*parameter, *value);
            }
            Motion::Delegate { prefix, to } => {
                self.delegations.remove(prefix);
                if let Some(to) = *to {
                    let (by, payer, since) = (None, to, self.height);
                    let given = Delegation {
                        to,
                        by,
                        payer,
                        since,
                    };
                    self.delegations.insert(prefix.clone(), given);
                    self.authors.entry(to).or_default();
                }
            }
            other => panic!("no rule for {other:?}"),
        }
    }

    fn vote_changed(&mut self, node: NodeId) {
        if let Some(member) = self.members.get_mut(&node) {
            member.voter = self.voters.contains(&node);
        }
        self.since.insert(self.height + 1, self.voters.clone());
        // Whoever voted on the first height that can be accused is known still.
        let first = self.height.saturating_sub(ACCUSED_HEIGHTS);
        let past: Vec<u64> = self.since.range(..=first).map(|(at, _)| *at).collect();
        for at in past.iter().rev().skip(1) {
            self.since.remove(at);
        }
    }

    fn demote(&mut self, node: NodeId) -> Ruling {
        if self.voters.len() == 1 {
            return Err(Refusal::LastVoter);
        }
        self.voters.remove(&node);
        self.vote_changed(node);
        for open in self.motions.values_mut() {
            open.said.retain(|other| *other != node);
        }
        self.motions.retain(|_, open| !open.said.is_empty());
        Ok(())
    }

    fn expel(&mut self, node: NodeId) {
        if self.voters.contains(&node) {
            self.demote(node).unwrap();
        }
        if let Some(member) = self.members.remove(&node) {
            self.spent.remove(&member.invitation);
        }
        self.authors.entry(node).or_default().1 = true;
    }

    /// The delegation with the longest prefix at or above a name.
    fn over(&self, name: &Name) -> Option<&Delegation> {
        let over = self.delegations.iter().filter(|one| one.0.covers(name));
        over.max_by_key(|one| one.0.as_str().len())
            .map(|(_, one)| one)
    }

    fn name(&mut self, author: NodeId, name: &Name, root: Option<Root>, expect: &Expect) -> Ruling {
        let member = self.members.contains_key(&author);
        let found = self.names.get(name).cloned();
        let payer = match self.over(name) {
            Some(over) if over.to != author => return Err(Refusal::NotDelegate),
            Some(over) if !member => over.payer,
            Some(_) => author,
            None if !member => return Err(Refusal::NotMember),
            None if found.as_ref().is_some_and(|found| found.owner != author) => {
                return Err(Refusal::NotOwner);
            }
            None => author,
        };
        let meant = found.as_ref().map(|found| found.root);
        let met = match expect {
            Expect::Any => true,
            Expect::Absent => meant.is_none(),
            Expect::Root(root) => meant == Some(*root),
        };
        if !met {
            return Err(Refusal::Conflict(meant));
        }
        let Some(root) = root else {
            return match self.names.remove(name) {
                Some(_) => Ok(()),
                None => Err(Refusal::Absent),
            };
        };
        let changed = self.height;
        let named = match found {
            Some(found) => Named {
                root,
                changed,
                ..found
            },
            None if self.names_of(payer) >= self.parameter(Parameter::NamesPerAuthor) => {
                return Err(Refusal::Quota);
            }
            None => Named {
                root,
                owner: author,
                payer,
                changed,
            },
        };
        self.names.insert(name.clone(), named);
        Ok(())
    }

    fn delegate(&mut self, author: NodeId, prefix: &Name, to: Option<NodeId>) -> Ruling {
        let member = self.members.contains_key(&author);
        let here = self.delegations.get(prefix).cloned();
        let above = prefix.parent().and_then(|above| self.over(&above).cloned());
        let owned = self
            .names
            .get(prefix)
            .is_some_and(|one| one.owner == author);
        let (by, payer) = if let Some(here) = here.as_ref().filter(|here| here.to == author) {
            (here.by, here.payer)
        } else if let Some(above) = above.as_ref().filter(|above| above.to == author) {
            (Some(author), if member { author } else { above.payer })
        } else if let Some(here) = here.as_ref().filter(|here| here.by == Some(author)) {
            (Some(author), here.payer)
        } else if here.is_none() && above.is_none() && member && owned {
            let below = |other: &Name| other != prefix && prefix.covers(other);
            if self.names.keys().any(below) || self.delegations.keys().any(below) {
                return Err(Refusal::Occupied);
            }
            (Some(author), author)
        } else {
            return Err(Refusal::NotAllowed);
        };
        if to.is_none() && here.is_none() {
            return Err(Refusal::Absent);
        }
        if to.is_some() && here.is_none() {
            let most = self.parameter(Parameter::DelegationsPerAuthor);
            if self.delegations_of(payer) >= most {
                return Err(Refusal::Quota);
            }
        }
        self.delegations.remove(prefix);
        if let Some(to) = to {
            let since = self.height;
            let given = Delegation {
                to,
                by,
                payer,
                since,
            };
            self.delegations.insert(prefix.clone(), given);
            self.authors.entry(to).or_default();
        }
        Ok(())
    }

    fn pin(&mut self, author: NodeId, root: Root, copies: u8, domains: u8) -> Ruling {
        if !self.members.contains_key(&author) {
            return Err(Refusal::NotMember);
        }
        if copies == 0 || copies > 64 || domains > copies {
            return Err(Refusal::Copies);
        }
        let new = !self.pins.contains_key(&(root, author));
        if new && self.pins_of(author) >= self.parameter(Parameter::PinsPerAuthor) {
            return Err(Refusal::Quota);
        }
        self.pins.insert((root, author), Pin { copies, domains });
        Ok(())
    }

    fn accuse(&mut self, evidence: &Evidence) -> Ruling {
        let (culprit, Height(offence)) = (evidence.culprit(), evidence.height());
        if self.convicted.contains_key(&culprit) {
            return Err(Refusal::Present);
        }
        if offence > self.height || offence + ACCUSED_HEIGHTS < self.height {
            return Err(Refusal::Old);
        }
        let voted = self.since.range(..=offence).next_back();
        let (_, voted) = voted.ok_or(Refusal::Old)?;
        if !voted.contains(&culprit) || !self.good_evidence {
            return Err(Refusal::NoEvidence);
        }
        let mut bytes = Vec::new();
        evidence.encode(&mut bytes);
        let conviction = Conviction {
            offence,
            decided: self.height,
            evidence: *blake3::hash(&bytes).as_bytes(),
        };
        self.convicted.insert(culprit, conviction);
        if self.voters.contains(&culprit) && self.voters.len() > 1 {
            self.demote(culprit)?;
        }
        Ok(())
    }

    fn names_of(&self, node: NodeId) -> u64 {
        self.names.values().filter(|one| one.payer == node).count() as u64
    }
    fn delegations_of(&self, node: NodeId) -> u64 {
        let all = self.delegations.values();
        all.filter(|one| one.payer == node).count() as u64
    }
    fn pins_of(&self, node: NodeId) -> u64 {
        self.pins.keys().filter(|one| one.1 == node).count() as u64
    }
    fn learners(&self, node: NodeId) -> u64 {
        let all = self.members.values();
        all.filter(|one| one.inviter == node && !one.voter).count() as u64
    }

    /// All entries, their bytes as docs/CONSENSUS.md says.
    fn entries(&self) -> Vec<(Key, Vec<u8>)> {
        let nodes =
            |nodes: &BTreeSet<NodeId>| nodes.iter().flat_map(|one| one.0).collect::<Vec<u8>>();
        let numbers = |numbers: &[u64]| -> Vec<u8> {
            numbers.iter().flat_map(|one| one.to_le_bytes()).collect()
        };
        let parameters: Vec<u64> = self.parameters.values().copied().collect();
        let mut all = vec![
            (Key::Parameters, numbers(&parameters)),
            (Key::Voters, nodes(&self.voters)),
        ];
        for (height, voters) in &self.since {
            all.push((Key::VotersFrom(*height), nodes(voters)));
        }
        for (node, member) in &self.members {
            let mut to = vec![u8::from(member.voter)];
            to.extend(member.inviter.0);
            to.extend(member.invitation);
            to.extend(member.since.to_le_bytes());
            let Description {
                label,
                region,
                domain,
                capacity,
                addresses,
            } = &member.description;
            for text in [label, region, domain] {
                to.extend((text.len() as u32).to_le_bytes());
                to.extend(text.as_bytes());
            }
            to.extend(capacity.to_le_bytes());
            assert!(addresses.is_empty());
            to.push(0);
            all.push((Key::Member(*node), to));
        }
        for (node, (sequence, removed)) in &self.authors {
            let motions = self.motions.values().filter(|one| one.by == *node).count();
            let prefixes = self.delegations.values().filter(|one| one.to == *node);
            let mut to = numbers(&[
                *sequence,
                self.names_of(*node),
                self.delegations_of(*node),
                self.pins_of(*node),
                self.learners(*node),
                motions as u64,
                prefixes.count() as u64,
            ]);
            to.push(u8::from(*removed));
            all.push((Key::Author(*node), to));
        }
        for (nonce, node) in &self.spent {
            all.push((Key::Invitation(*nonce), node.0.to_vec()));
        }
        for (name, named) in &self.names {
            let mut to = [named.root.0.0, named.owner.0, named.payer.0].concat();
            to.extend(named.changed.to_le_bytes());
            all.push((Key::Name(name.clone()), to));
        }
        for (prefix, given) in &self.delegations {
            let mut to = given.to.0.to_vec();
            to.push(u8::from(given.by.is_some()));
            to.extend(given.by.iter().flat_map(|by| by.0));
            to.extend(given.payer.0);
            to.extend(given.since.to_le_bytes());
            all.push((Key::Delegation(prefix.clone()), to));
        }
        for ((root, node), pin) in &self.pins {
            all.push((Key::Pin(*root, *node), vec![pin.copies, pin.domains]));
        }
        for (motion, open) in &self.motions {
            let mut to = open.by.0.to_vec();
            to.extend(open.until.to_le_bytes());
            to.extend((32 * open.said.len() as u32).to_le_bytes());
            to.extend(open.said.iter().flat_map(|one| one.0));
            all.push((Key::Motion(motion.clone()), to));
        }
        for (node, conviction) in &self.convicted {
            let mut to = numbers(&[conviction.offence, conviction.decided]);
            to.extend(conviction.evidence);
            all.push((Key::Convicted(*node), to));
        }
        all
    }

    /// The root, from the definition: the hash of a part of the key space is nothing, its only leaf's, or that of its halves.
    pub(crate) fn root(&self) -> [u8; 32] {
        let hash = |label: &[u8; 32], bytes: &[u8]| *blake3::keyed_hash(label, bytes).as_bytes();
        let leaf = |(key, value): (Key, Vec<u8>)| {
            let path = hash(b"hypermesh/2026/state tree/path/1", &key.to_bytes());
            let value = hash(b"hypermesh/2026/state tree/value1", &value);
            let both = [path, value].concat();
            (path, hash(b"hypermesh/2026/state tree/leaf/1", &both))
        };
        part(self.entries().into_iter().map(leaf).collect(), 0)
    }
}

fn part(leaves: Vec<([u8; 32], [u8; 32])>, depth: usize) -> [u8; 32] {
    match leaves.as_slice() {
        [] => [0; 32],
        [(_, only)] => *only,
        _ => {
            let high = |path: &[u8; 32]| path[depth / 8] & (0x80 >> (depth % 8)) != 0;
            let (right, left): (Vec<_>, Vec<_>) = leaves.into_iter().partition(|one| high(&one.0));
            let both = [part(left, depth + 1), part(right, depth + 1)].concat();
            *blake3::keyed_hash(b"hypermesh/2026/state tree/branch", &both).as_bytes()
        }
    }
}
