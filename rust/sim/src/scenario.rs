//! What happens in a run, made of its seed.

use std::time::Duration;

use hypermesh_consensus::Timeouts;

use crate::actors::{Behaviour, MS};
use crate::delays::{Delays, spreads};
use crate::keys::SimKey;
use crate::random::Random;
use crate::snare::Snare;
use crate::twins::{Schedule, TWIN};

/// How long one measurement of a trace holds: shorter than it did, so that a run meets many.
pub const WEATHER: u64 = 250 * MS;

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
    /// The mean of what is added to the messages of one way, besides.
    pub spread: Vec<Vec<u64>>,
    /// Delays that take the place of those above until the network heals, one after the other, a [`WEATHER`] each, and then
    /// anew; none, mostly.
    pub weather: Vec<Vec<Vec<u64>>>,
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
    /// Whether the registry is ordered, signed as nodes sign: the last node is a learner that is voted in and out.
    pub ledger: bool,
    /// What goes wrong, and when; nanoseconds.
    pub faults: Vec<(u64, Trouble)>,
    /// When everything heals but the liars.
    pub heals: u64,
    /// Heights that each honest node has to decide after that, and how long it may take. The longest way that is left when all has
    /// healed takes 1.7 s, between two of the people's devices. There and back is what a voter far away needs to be heard, so waits of
    /// 3.5 s are enough: the first height comes to those in its seventh round, after some half a minute, and the later ones
    /// begin with what it needed.
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
            _ => self = self.far_apart(random),
        }
        self
    }

    /// Distances: three in four are measured ones.
    fn far_apart(self, random: &mut Random) -> Self {
        let seed = self.seed;
        // A stream of its own: what was drawn before measurements came stays what it was.
        let measured = &mut Random::new(seed, 5);
        match measured.below(4) {
            0 => self.over(&Delays::world(), random),
            1 => self.along(Delays::devices(), measured),
            _ => self
                .over(Delays::regions(), random)
                .spread_as_measured(measured),
        }
    }

    /// The ways between nodes are those between places, which randomness chooses.
    #[must_use]
    pub fn over(self, delays: &Delays, random: &mut Random) -> Self {
        let count = delays.tables().len() as u64;
        let table = random.below(count) as usize;
        let places: Vec<usize> = (0..self.nodes.len())
            .map(|_| random.below(delays.len() as u64) as usize)
            .collect();
        self.between(delays, table, &places)
    }

    /// The ways between nodes are those between these places, one for each node, as measured the time of this number.
    #[must_use]
    pub fn between(mut self, delays: &Delays, time: usize, places: &[usize]) -> Self {
        if let Some(ways) = delays.ways(places).into_iter().nth(time) {
            self.delays = ways;
        }
        self
    }

    /// The same, as they change from one measurement to the next.
    fn along(mut self, delays: &Delays, random: &mut Random) -> Self {
        let mut places: Vec<usize> = (0..delays.len()).collect();
        for at in 0..self.nodes.len().min(places.len()) {
            let other = random.between(at as u64, places.len() as u64 - 1) as usize;
            places.swap(at, other);
        }
        let places: Vec<usize> = places.into_iter().cycle().take(self.nodes.len()).collect();
        self.weather = delays.ways(&places);
        let begin = random.below(self.weather.len() as u64) as usize;
        self.weather.rotate_left(begin);
        // What is left when all has healed: the median of each way.
        let middle = |from: usize, to: usize| {
            let mut trips: Vec<u64> = self.weather.iter().map(|ways| ways[from][to]).collect();
            trips.sort_unstable();
            trips[trips.len() / 2]
        };
        let row = |from| (0..places.len()).map(|to| middle(from, to)).collect();
        self.delays = (0..places.len()).map(row).collect();
        // Seconds: with less than what nodes wait for by themselves it takes many rounds.
        self.timeouts = Timeouts::default();
        self
    }

    /// The delays of messages spread as measured round trips do: each is the median of its way, and the 90th of 100 is as many
    /// times as long as on one of the ways that were measured.
    #[must_use]
    pub fn spread_as_measured(mut self, random: &mut Random) -> Self {
        let (half, tenth) = (2f64.ln(), 10f64.ln());
        for (row, spread) in self.delays.iter_mut().zip(&mut self.spread) {
            for (delay, spread) in row.iter_mut().zip(spread) {
                let ratio = *random.pick(spreads());
                let mean = *delay as f64 * (ratio - 1.0) / (tenth - half);
                *spread = mean as u64;
                *delay -= (mean * half) as u64;
            }
        }
        self
    }

    /// The least that a message takes that is sent now, in the way of things or when all has healed.
    pub(crate) fn delay(&self, now: u64, healed: bool, (from, to): (usize, usize)) -> u64 {
        let time = (now / WEATHER) as usize;
        let ways = match self.weather.len() {
            0 => &self.delays,
            _ if healed => &self.delays,
            count => &self.weather[time % count],
        };
        ways[from][to]
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

    /// The scenario of a seed in which the registry is ordered.
    pub fn ledger(seed: u64) -> Self {
        let random = &mut Random::new(seed, 7);
        let voters = *random.pick(&[1, 2, 3, 4, 4, 4, 4, 4, 7]);
        let mut scenario = Self::quiet(seed, voters + 1);
        scenario.ledger = true;
        scenario.gaps = random.between(60, 300) * MS;
        scenario.heals = 3_000 * MS;
        // The last never lies: it comes and goes.
        for _ in 0..random.between(0, (voters as u64 - 1) / 3) {
            let node = random.below(voters as u64) as usize;
            scenario.nodes[node] = Some(*random.pick(&Behaviour::ALL[..16]));
        }
        for row in &mut scenario.delays {
            for delay in row {
                *delay = random.between(1, 40) * MS;
            }
        }
        scenario.jitter = random.between(0, 30) * MS;
        if random.chance(0.2) {
            scenario = scenario
                .over(Delays::regions(), random)
                .spread_as_measured(random);
        }
        if random.chance(0.4) {
            scenario.loss = random.fraction() * 0.1;
            scenario.twice = random.fraction() * 0.1;
        }
        for clock in &mut scenario.clocks {
            *clock = random.between(0, 200) as i64 - 100;
        }
        for _ in 0..random.below(3) {
            scenario.partition(random);
        }
        for _ in 0..random.below(5) {
            scenario.crash(random);
        }
        scenario.faults.sort_by_key(|(at, _)| *at);
        scenario
    }

    /// The key of a node.
    pub(crate) fn key(&self, node: usize) -> SimKey {
        match self.ledger {
            true => SimKey::real(node),
            false => SimKey::of(node),
        }
    }

    /// Four nodes, one of them twins, on a [`Schedule`].
    pub fn twins(schedule: Schedule) -> Self {
        let mut scenario = Self::quiet(0, 4);
        scenario.nodes[TWIN] = Some(Behaviour::Twins);
        scenario.delays = vec![vec![5 * MS; 4]; 4];
        scenario.jitter = MS;
        let ms = Duration::from_millis;
        scenario.timeouts = Timeouts {
            propose: ms(60),
            vote: ms(20),
            more_each_round: ms(20),
            repeat: ms(100),
            idle: ms(200),
            heartbeat: ms(80),
            answer: ms(40),
        };
        // Each round that fails takes its timeouts: time for a height that fails in all of them, and a few more.
        let rounds = schedule.rounds.len() as u64;
        scenario.heals = (150 + 120 * rounds + 60 * rounds * rounds / 2) * MS;
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
            spread: vec![vec![0; nodes]; nodes],
            weather: Vec::new(),
            storm: 0,
            loss: 0.0,
            twice: 0.0,
            clocks: vec![0; nodes],
            snare: None,
            schedule: Schedule::default(),
            demotes: false,
            gaps: 0,
            ledger: false,
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
