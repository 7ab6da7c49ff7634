//! What happens in a run, made of its seed.

use std::time::Duration;

use hypermesh_consensus::Timeouts;

use crate::actors::{Behaviour, MS};
use crate::random::Random;

/// All that a run depends on.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    /// What each node is; none is honest.
    pub nodes: Vec<Option<Behaviour>>,
    /// Whether one node after the other rests while the others vote.
    pub changes: bool,
    /// Least delay of each way between two nodes, and the mean of what is added to each message; nanoseconds.
    pub delays: Vec<Vec<u64>>,
    pub jitter: u64,
    /// The mean of what is added besides until the network heals: more than the nodes wait for, at times.
    pub storm: u64,
    /// Part of the messages that is lost, and that comes twice, until the network heals.
    pub loss: f64,
    pub twice: f64,
    /// By how many thousandths each node's clock is fast.
    pub clocks: Vec<i64>,
    /// What goes wrong, and when; nanoseconds.
    pub faults: Vec<(u64, Trouble)>,
    /// When everything heals but the liars.
    pub heals: u64,
    /// Heights that each honest node has to decide after that, and how long it may take.
    pub more: u64,
    pub within: u64,
    pub timeouts: Timeouts,
}

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A node loses power after it has done so much more.
    Crash {
        node: usize,
        after: u64,
    },
    Restart {
        node: usize,
    },
    /// Messages from these to those are lost.
    Cut {
        from: Vec<usize>,
        to: Vec<usize>,
    },
    /// All ways are open again.
    Mend,
}

impl Scenario {
    /// The scenario of a seed: any number of the things that may go wrong at once.
    pub fn of(seed: u64) -> Self {
        let random = &mut Random::new(seed, 1);
        let changes = random.chance(0.3);
        let voters = *random.pick(&[4, 4, 4, 7, 10]);
        let mut scenario = Self::quiet(seed, voters + usize::from(changes));
        scenario.changes = changes;
        let count = scenario.nodes.len();
        // One rests: the others must do with f of their number.
        let faults = (voters - 1) / 3;
        for _ in 0..random.between(0, faults as u64) {
            let node = random.below(count as u64) as usize;
            scenario.nodes[node] = Some(*random.pick(&Behaviour::ALL));
        }
        for row in &mut scenario.delays {
            for delay in row {
                *delay = random.between(1, 40) * MS;
            }
        }
        scenario.jitter = random.between(0, 60) * MS;
        if random.chance(0.5) {
            scenario.loss = random.fraction() * 0.1;
            scenario.twice = random.fraction() * 0.1;
        }
        if random.chance(0.4) {
            scenario.storm = random.between(20, 400) * MS;
        }
        for clock in &mut scenario.clocks {
            *clock = random.between(0, 200) as i64 - 100;
        }
        for _ in 0..random.below(4) {
            scenario.partition(random);
        }
        for _ in 0..random.below(5) {
            scenario.crash(random);
        }
        for node in 0..count {
            if scenario.nodes[node] == Some(Behaviour::Amnesiac) {
                for _ in 0..3 {
                    scenario.crash_of(node, random);
                }
            }
        }
        scenario.faults.sort_by_key(|(at, _)| *at);
        scenario
    }

    /// So many honest nodes, 20 ms from each other, and nothing goes wrong.
    pub fn quiet(seed: u64, nodes: usize) -> Self {
        let ms = Duration::from_millis;
        Self {
            seed,
            nodes: vec![None; nodes],
            changes: false,
            delays: vec![vec![20 * MS; nodes]; nodes],
            jitter: 4 * MS,
            storm: 0,
            loss: 0.0,
            twice: 0.0,
            clocks: vec![0; nodes],
            faults: Vec::new(),
            heals: 4_000 * MS,
            more: 10,
            within: 120_000 * MS,
            timeouts: Timeouts {
                propose: ms(300),
                vote: ms(100),
                more_each_round: ms(100),
                repeat: ms(500),
                idle: ms(1000),
                heartbeat: ms(400),
                answer: ms(200),
            },
        }
    }

    fn partition(&mut self, random: &mut Random) {
        let side = random.number();
        let (from, to): (Vec<usize>, Vec<usize>) =
            (0..self.nodes.len()).partition(|node| side >> node & 1 == 1);
        let at = random.below(self.heals);
        // One way only, sometimes.
        if random.chance(0.6) {
            let (from, to) = (to.clone(), from.clone());
            self.faults.push((at, Trouble::Cut { from, to }));
        }
        self.faults.push((at, Trouble::Cut { from, to }));
        let until = at + random.between(50, 1500) * MS;
        self.faults.push((until, Trouble::Mend));
    }

    fn crash(&mut self, random: &mut Random) {
        let node = random.below(self.nodes.len() as u64) as usize;
        self.crash_of(node, random);
    }

    fn crash_of(&mut self, node: usize, random: &mut Random) {
        let at = random.below(self.heals);
        let after = random.below(12);
        self.faults.push((at, Trouble::Crash { node, after }));
        let until = at + random.between(1, 1000) * MS;
        self.faults.push((until, Trouble::Restart { node }));
    }
}
