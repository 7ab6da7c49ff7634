//! What happens in a run, made of its seed.

use std::time::Duration;

use hypermesh_consensus::Timeouts;

use crate::actors::{Behaviour, MS};
use crate::delays::Delays;
use crate::random::Random;
use crate::snare::{Schedule, Snare};

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
    /// Losses that are aimed at what messages say, until the network heals.
    pub snare: Option<Snare>,
    pub schedule: Schedule,
    /// Whether decided blocks say, at times, who does not propose first.
    pub demotes: bool,
    /// Mean time between two submissions to each node; 0 when there is always something to order.
    pub gaps: u64,
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
            scenario.nodes[node] = Some(*random.pick(&Behaviour::ALL[..16]));
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
        // A stream of its own: these came later, and half of the seeds stay what they were.
        let random = &mut Random::new(seed, 3);
        if random.chance(0.5) {
            scenario = scenario.with_more(random);
        }
        scenario.faults.sort_by_key(|(at, _)| *at);
        scenario
    }

    /// What comes to a scenario of the first kind, in half of the seeds.
    fn with_more(mut self, random: &mut Random) -> Self {
        match random.below(8) {
            0 | 1 => return Self::snared(self.seed, random),
            2 => return Self::small(self.seed, random),
            3 => self.gaps = random.between(100, 600) * MS,
            4 => {
                for behaviour in self.nodes.iter_mut().flatten() {
                    *behaviour = Behaviour::Stuffing;
                }
            }
            5 => self.demotes = true,
            _ => {
                self = self.over(&Delays::world(), random);
            }
        }
        self
    }

    /// The ways between nodes are those between places, which randomness chooses.
    #[must_use]
    pub fn over(mut self, delays: &Delays, random: &mut Random) -> Self {
        let table = random.pick(delays.tables());
        let mut places: Vec<usize> = Vec::new();
        for _ in &self.nodes {
            let place = random.below(table.len() as u64) as usize;
            // Two in one place are neighbours.
            places.push(place);
        }
        for (row, from) in self.delays.iter_mut().zip(&places) {
            for (delay, to) in row.iter_mut().zip(&places) {
                *delay = if from == to {
                    MS
                } else {
                    table[*from][*to] / 2
                };
            }
        }
        self
    }

    /// Four honest nodes in a [`Snare`].
    fn snared(seed: u64, random: &mut Random) -> Self {
        let mut scenario = Self::quiet(seed, 4);
        scenario.snare = Some(Snare {
            round: 0,
            only: random.below(4) as usize,
        });
        scenario.jitter = random.between(0, 10) * MS;
        for clock in &mut scenario.clocks {
            *clock = random.between(0, 40) as i64 - 20;
        }
        for _ in 0..random.below(3) {
            scenario.crash(random);
        }
        scenario
    }

    /// One to three nodes, none of whom may lie, that have something to order now and then.
    fn small(seed: u64, random: &mut Random) -> Self {
        let mut scenario = Self::quiet(seed, random.between(1, 3) as usize);
        scenario.gaps = random.between(20, 300) * MS;
        for _ in 0..random.below(4) {
            scenario.crash(random);
        }
        for _ in 0..random.below(2) {
            scenario.partition(random);
        }
        scenario
    }

    /// Four nodes, one of them twins, on a [`Schedule`].
    pub fn twins(schedule: Schedule) -> Self {
        let mut scenario = Self::quiet(0, 4);
        scenario.nodes[1] = Some(Behaviour::Twins);
        scenario.delays = vec![vec![5 * MS; 4]; 4];
        scenario.jitter = MS;
        // Each round that fails takes its timeouts.
        scenario.heals = (1 + schedule.rounds.len() as u64) * 1500 * MS;
        scenario.more = 2;
        scenario.schedule = schedule;
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
            snare: None,
            schedule: Schedule::default(),
            demotes: false,
            gaps: 0,
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
