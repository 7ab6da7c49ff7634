//! What authors want ordered, and how it comes to the nodes.

use bytes::Bytes;
use hypermesh_consensus::Evidence;
use hypermesh_registry::{Action, Verified};

use super::{Event, Violation, World};
use crate::book::{Kept, OUTSIDE, SNAPSHOT_EVERY, STRANGER, signed, wish};
use crate::happened::Happened;

/// Transactions that are told again at a time.
const AGAIN: usize = 3;

impl World<'_> {
    /// Plans the next time that somebody wants something ordered at a node.
    pub(super) fn submissions(&mut self, node: usize) {
        if self.scenario.gaps > 0 {
            let gap = self.random.exponential(self.scenario.gaps as f64) as u64;
            self.plan(self.now + gap, Event::Submit { node });
        }
    }

    pub(super) fn submit(&mut self, node: usize) -> Result<(), Violation> {
        if self.beginning.is_some() {
            self.want(node)?;
            self.submissions(node);
            return Ok(());
        }
        for index in 0..self.instances.len() {
            let instance = &mut self.instances[index];
            if instance.node != node {
                continue;
            }
            if let Some(replica) = &mut instance.replica {
                replica.machine_mut().want();
                self.woken(index)?;
            }
        }
        self.submissions(node);
        Ok(())
    }

    /// There may be work at a node.
    fn woken(&mut self, index: usize) -> Result<(), Violation> {
        let now = self.local(self.instances[index].node);
        let Some(replica) = &mut self.instances[index].replica else {
            return Ok(());
        };
        if replica.round().is_nil() {
            self.report.rare.insert("a rest is ended");
        }
        if let Err(error) = replica.wake(now) {
            self.stopped(index, &error)?;
        }
        self.drain(index)
    }

    /// Somebody wants something of the registry: mostly the node's owner.
    fn want(&mut self, node: usize) -> Result<(), Violation> {
        let random = &mut self.random;
        let author = match random.below(8) {
            0 => *random.pick(&OUTSIDE),
            _ => node,
        };
        let nodes = self.scenario.nodes.len();
        let running = self.instances.iter().find(|one| one.node == node);
        let ledger = running
            .and_then(|one| one.replica.as_ref())
            .and_then(|replica| replica.machine().ledger());
        let Some(ledger) = ledger else {
            return Ok(());
        };
        let forged = random.chance(0.05);
        let action = wish(ledger.state(), author, nodes, random);
        let by = if forged && random.chance(0.5) {
            STRANGER
        } else {
            author
        };
        let transaction = signed(ledger, by, action, random);
        // What of this node's waits is told again: it may have been lost.
        let key = self.scenario.key(author);
        let me = hypermesh_consensus::Sign::node(&key);
        let waits = ledger.mempool().of(&me).take(AGAIN);
        let again: Vec<Bytes> = waits.map(|one| one.bytes().clone()).collect();
        for bytes in again {
            self.offer(node, &bytes);
        }
        if forged {
            let mut bytes = transaction.bytes().to_vec();
            if by == author
                && let Some(last) = bytes.len().checked_sub(40)
            {
                bytes[last] ^= 1;
            }
            self.offer(node, &bytes.into());
            return Ok(());
        }
        self.put(node, transaction)
    }

    /// A node takes a transaction of its owner, and tells all.
    fn put(&mut self, node: usize, transaction: Verified) -> Result<(), Violation> {
        self.watch.submitted(transaction.id());
        self.note(&transaction.id().0, [node as u64, 0]);
        self.show(&Happened::Submits {
            node,
            transaction: transaction.transaction(),
        });
        self.offer(node, transaction.bytes());
        for index in 0..self.instances.len() {
            let instance = &mut self.instances[index];
            if instance.node != node {
                continue;
            }
            if let Some(replica) = &mut instance.replica
                && let Some(ledger) = replica.machine_mut().ledger_mut()
            {
                // Too much waits, or its author may not write.
                if ledger.insert(transaction.clone()).is_err() {
                    self.report.rare.insert("an owner is refused");
                }
            }
            self.woken(index)?;
        }
        Ok(())
    }

    /// Tells all others of a transaction, over the network as it is.
    fn offer(&mut self, from: usize, bytes: &Bytes) {
        for to in 0..self.instances.len() {
            let node = self.instances[to].node;
            let lost = self.cut.contains(&(from, node))
                || (!self.healed && self.random.chance(self.scenario.loss));
            if node == from || lost {
                continue;
            }
            let least = self.scenario.delay(self.now, self.healed, (from, node));
            let jitter = self.random.exponential(self.scenario.jitter as f64) as u64;
            let bytes = bytes.clone();
            self.plan(self.now + least + jitter, Event::Offer { to, bytes });
        }
    }

    /// A transaction comes to a node, which verifies it.
    pub(super) fn offered(&mut self, to: usize, bytes: &Bytes) -> Result<(), Violation> {
        let Some(replica) = &mut self.instances[to].replica else {
            return Ok(());
        };
        let Some(ledger) = replica.machine_mut().ledger_mut() else {
            return Ok(());
        };
        let taken = ledger.submit(bytes);
        self.note(bytes, [to as u64, u64::from(taken.is_ok())]);
        match taken {
            Ok(id) if !self.watch.is_submitted(&id) => Err(Violation(format!(
                "instance {to} takes {id}, which nobody signed"
            ))),
            Ok(_) => self.woken(to),
            Err(_) => {
                self.report.rare.insert("a transaction is refused unread");
                Ok(())
            }
        }
    }

    /// An honest node that holds a proof has its owner accuse.
    pub(super) fn accuse(&mut self, node: usize, evidence: Evidence) -> Result<(), Violation> {
        let running = self.instances.iter().find(|one| one.node == node);
        let ledger = running
            .and_then(|one| one.replica.as_ref())
            .and_then(|replica| replica.machine().ledger());
        let Some(ledger) = ledger else {
            return Ok(());
        };
        if ledger.state().conviction(&evidence.culprit()).is_some() {
            return Ok(());
        }
        let action = Action::Accuse(Box::new(evidence));
        let transaction = signed(ledger, node, action, &mut self.random);
        self.put(node, transaction)
    }

    /// A node applied a block: its state is that of all, and it puts a snapshot by now and then.
    pub(super) fn applied(&mut self, index: usize) -> Result<(), Violation> {
        let instance = &mut self.instances[index];
        let node = instance.node;
        let Some(replica) = &mut instance.replica else {
            return Ok(());
        };
        let Some(ledger) = replica.machine_mut().ledger_mut() else {
            return Ok(());
        };
        while ledger.poll_applied().is_some() {}
        if ledger.tip().height.is_multiple_of(SNAPSHOT_EVERY) {
            instance.disk.snapshot = Kept::of(ledger);
        }
        let (honest, ledger) = (self.scenario.nodes[node].is_none(), &*ledger);
        match honest {
            true => self.watch.same(node, ledger),
            false => Ok(()),
        }
    }

    /// At the end: the states of nodes that stand at one height are one.
    pub(super) fn same_ledgers(&self) -> Result<(), Violation> {
        for instance in &self.instances {
            let honest = self.scenario.nodes[instance.node].is_none();
            let ledger = instance
                .replica
                .as_ref()
                .and_then(|replica| replica.machine().ledger());
            if let Some(ledger) = ledger.filter(|_| honest) {
                self.watch.same(instance.node, ledger)?;
            }
        }
        Ok(())
    }
}
