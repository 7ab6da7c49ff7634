//! What is ordered: processor time of its transactions, of the root after them, and of snapshots.

use std::num::NonZeroUsize;

use ed25519_dalek::SigningKey;
use hypermesh_consensus::{BlockHash, Certificate, Decided, Key, Machine, Round};
use hypermesh_id::{BlockId, Root};
use hypermesh_registry::{
    Action, Description, Expect, Genesis, Ledger, MempoolLimits, Name, Parameters, Restore,
    Snapshot, Verified,
};

use crate::cpu;
use crate::record::{BenchError, Ctx, Must, Samples};

/// Transactions of a full block.
const FULL: u64 = 2_000;

pub(crate) fn run(ctx: &mut Ctx) -> Result<(), BenchError> {
    let sizes: &[u64] = match (ctx.quick, ctx.large) {
        (true, _) => &[10_000],
        (false, false) => &[100_000],
        (false, true) => &[100_000, 1_000_000],
    };
    let mut mesh = Mesh::new()?;
    for names in sizes {
        mesh.grow(*names)?;
        let (mut checked, mut executed, mut single) =
            (Samples::default(), Samples::default(), Samples::default());
        for _ in 0..ctx.rounds() {
            let block = mesh.block(FULL)?;
            checked.push(mesh.check(&block)? * 1e6 / FULL as f64);
            executed.push(mesh.replay(&block)? * 1e6 / FULL as f64);
            let one = mesh.block(1)?;
            single.push(mesh.replay(&one)? * 1e6);
        }
        let of = format!("of {names} names");
        let full = format!("in a block of {FULL} new names, its part of the root included");
        let rows = [
            (
                "a transaction checked",
                &checked,
                format!("{full}, its signature verified"),
            ),
            ("a transaction executed", &executed, full),
            (
                "a block of one transaction and its root",
                &single,
                "read, executed, root compared, applied".into(),
            ),
        ];
        for (metric, samples, note) in rows {
            let metric = format!("{metric}, {of}");
            ctx.row(&metric, "µs", samples, None, Must::Report, &note)?;
        }
        snapshots(ctx, &mesh, &of)?;
    }
    Ok(())
}

fn snapshots(ctx: &mut Ctx, mesh: &Mesh, of: &str) -> Result<(), BenchError> {
    let state = mesh.ledger.state();
    let (mut taken, mut restored, mut length) = (Samples::default(), Samples::default(), 0);
    for _ in 0..ctx.rounds() {
        let began = cpu::thread_time();
        let snapshot = Snapshot::of(state);
        let parts: Vec<Vec<u8>> = (0..snapshot.parts())
            .filter_map(|number| snapshot.part(number))
            .collect();
        taken.push((cpu::thread_time() - began) * 1e3);
        length = parts.iter().map(Vec::len).sum();
        let began = cpu::thread_time();
        let mut restore = Restore::new(snapshot.root());
        for part in &parts {
            restore.add(part)?;
        }
        let again = restore.finish(state.mesh())?;
        restored.push((cpu::thread_time() - began) * 1e3);
        if again.root() != state.root() {
            return Err(BenchError::new("another state was restored"));
        }
    }
    let note = format!("{length} bytes, in parts that each prove that they belong to the root");
    let metric = format!("a snapshot taken, {of}");
    ctx.row(&metric, "ms", &taken, None, Must::Report, &note)?;
    let note = "each part verified, and the root of the whole";
    let metric = format!("a snapshot restored, {of}");
    ctx.row(&metric, "ms", &restored, None, Must::Report, note)
}

/// A mesh of one whose blocks are made by one ledger and taken by another.
struct Mesh {
    key: Key,
    proposer: Ledger,
    ledger: Ledger,
    names: u64,
    sequence: u64,
}

impl Mesh {
    fn new() -> Result<Self, BenchError> {
        let key = Key(SigningKey::from_bytes(&[7; 32]));
        let parameters = Parameters {
            names_per_author: 10_000_000,
            transactions_per_author: 10_000,
            ..Parameters::default()
        };
        let genesis = Genesis::found(&key, [7; 16], 0, parameters, Description::default())?;
        let limits = MempoolLimits {
            author_transactions: 10_000,
            author_bytes: 32 << 20,
            ..MempoolLimits::default()
        };
        let ledger = || Ledger::new(genesis.clone(), limits, NonZeroUsize::MIN);
        Ok(Self {
            proposer: ledger()?,
            ledger: ledger()?,
            key,
            names: 0,
            sequence: 0,
        })
    }

    /// A decided block of so many transactions, each of which makes a name.
    fn block(&mut self, transactions: u64) -> Result<Decided, BenchError> {
        let mesh = self.proposer.mesh();
        for _ in 0..transactions {
            self.names += 1;
            self.sequence += 1;
            let action = Action::SetName {
                name: Name::new(&format!("a/{}/{}", self.names % 1000, self.names))?,
                root: Root(BlockId([7; 32])),
                expect: Expect::Absent,
            };
            let until = self.proposer.next_height().0 + 10;
            let signed = Verified::sign(&self.key, &mesh, self.sequence, until, action);
            self.proposer.insert(signed)?;
        }
        let height = self.proposer.next_height();
        let body = self.proposer.propose(height);
        let decided = Decided {
            // Who decided is not looked at where blocks come from the own disk.
            certificate: Certificate {
                height,
                round: Round::new(0),
                block: BlockHash::of(&body),
                signatures: Vec::new(),
            },
            body,
        };
        self.proposer.apply(&decided);
        match (self.proposer.fault(), self.proposer.mempool().is_empty()) {
            (None, true) => Ok(decided),
            _ => Err(BenchError::new("a block does not have all that waited")),
        }
    }

    fn grow(&mut self, names: u64) -> Result<(), BenchError> {
        while self.names < names {
            let block = self.block(FULL.min(names - self.names))?;
            self.replay(&block)?;
        }
        Ok(())
    }

    /// Seconds that it takes who did not see the transactions before.
    fn check(&self, decided: &Decided) -> Result<f64, BenchError> {
        let height = decided.certificate.height;
        let began = cpu::thread_time();
        self.ledger
            .check(height, &decided.body)
            .map_err(BenchError::new)?;
        Ok(cpu::thread_time() - began)
    }

    /// Seconds that it takes without signatures. What was applied is let go.
    fn replay(&mut self, decided: &Decided) -> Result<f64, BenchError> {
        let began = cpu::thread_time();
        self.ledger.replay(decided)?;
        let spent = cpu::thread_time() - began;
        while self.ledger.poll_applied().is_some() || self.proposer.poll_applied().is_some() {}
        Ok(spent)
    }
}
