//! The decision.

use std::fmt;

use hypermesh_id::NodeId;

use super::nodes::rank;
use super::{Affinity, Distances, Lineage, Nodes, PlacementError, Prices, Region};

/// What no forecast bends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Copies that there are at least, while enough nodes live.
    pub floor: usize,
    /// Copies that there are at most; pins may be more.
    pub most: usize,
}

impl Default for Rules {
    /// Two to nine copies.
    fn default() -> Self {
        Self { floor: 2, most: 9 }
    }
}

/// A node that has a copy now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The node.
    pub node: NodeId,
    /// Whether it served a read in the last epoch: above the floor, one that did not is not kept.
    pub served: bool,
}

/// A node that has something alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Relative {
    /// The node.
    pub node: NodeId,
    /// The share of the block's bytes that a delta against it saves, 0 to 1; anything else is brought into that.
    pub saves: f64,
}

/// What is to be placed, and what is expected of it until the next decision.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// First eight bytes of its id, or of the root's that is placed as a whole.
    pub key: u64,
    /// Its bytes; 0 counts as 1.
    pub bytes: u64,
    /// What it belongs to.
    pub lineage: Lineage<'a>,
    /// Who has it.
    pub holders: &'a [Holder],
    /// Nodes that have to have it.
    pub pins: &'a [NodeId],
    /// Regions that it may be in; `None` for all.
    pub residency: Option<&'a [Region]>,
    /// Nodes that have something alike.
    pub relatives: &'a [Relative],
    /// Reads that are expected, from all regions together.
    pub reads: f64,
}

/// Why a copy is where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is pinned there.
    Pinned,
    /// The floor asks for one more, and this is the cheapest.
    Floor,
    /// The same, in a failure domain that has one already: no other is left.
    FloorSameDomain,
    /// It saves more than it costs.
    Pays,
}

/// One copy of a decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Where.
    pub node: NodeId,
    /// The node's region.
    pub region: Region,
    /// By which rule.
    pub why: Why,
    /// Whether the node has it already.
    pub held: bool,
    /// The share of reads that are expected from this region.
    pub share: f64,
    /// What it saves less what it costs, at the stated prices, given the copies before it.
    pub gain: f64,
}

/// One line for a person.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            Why::Pinned => "pinned",
            Why::Floor => "the floor asks for one more, and this gains most",
            Why::FloorSameDomain => {
                "the floor asks for one more, and no failure domain is without one"
            }
            Why::Pays => "saves more than it costs",
        };
        let held = if self.held { "has it" } else { "new" };
        write!(
            f,
            "{} in region {}: {why}; {held}; {:.0} % of reads expected from there; gain {:.0}",
            self.node,
            self.region.0,
            self.share * 100.0,
            self.gain
        )
    }
}

/// Where copies should be.
#[derive(Clone, Debug, PartialEq)]
pub struct PlacementStrategy {
    /// The nodes, in the order in which they were chosen.
    pub primary_nodes: Vec<NodeId>,
    /// How many: below the floor when fewer nodes may hold the block, see `short`.
    pub replica_count: usize,
    /// Copies by region, in the order of regions.
    pub geographic_distribution: Vec<(Region, usize)>,
    /// Why each node, in the same order.
    pub choices: Vec<Choice>,
    /// Copies that the floor asks for and no node can take.
    pub short: usize,
    /// Pins that are not met: nodes that left, have no room, or may not hold it.
    pub unmet_pins: Vec<NodeId>,
}

/// Decides where blocks are.
#[derive(Clone, Debug)]
pub struct IntelligentBlockSharding {
    rules: Rules,
    prices: Prices,
    distances: Distances,
    /// Who asks for what: the host tells it of each request.
    pub affinity: Affinity,
    /// The members: the host keeps them as they are decided and seen.
    pub nodes: Nodes,
}

/// What one decision works with.
struct Decision<'a> {
    block: &'a Block<'a>,
    bytes: f64,
    shares: Vec<f64>,
    /// By region.
    candidates: Vec<Candidate>,
    chosen: Vec<Choice>,
    domains: Vec<u64>,
    /// Price of what is expected to be read from each region now, one region after the other.
    reads: Vec<f64>,
}

/// A node that may hold the block.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    node: NodeId,
    region: Region,
    domain: u64,
    held: bool,
    /// It has the block and nobody read it there.
    idle: bool,
    saves: f64,
    rank: u64,
}

impl IntelligentBlockSharding {
    /// With no node and nothing known of who asks; `groups_max` bounds what is known.
    pub fn new(
        rules: Rules,
        prices: Prices,
        distances: Distances,
        groups_max: usize,
    ) -> Result<Self, PlacementError> {
        let Rules { floor, most } = rules;
        if floor == 0 || most < floor {
            return Err(PlacementError::Rules { floor, most });
        }
        Ok(Self {
            rules,
            prices: prices.check()?,
            affinity: Affinity::new(distances.regions(), groups_max),
            distances,
            nodes: Nodes::new(),
        })
    }

    /// Where copies of a block should be at `now`, in seconds. Takes time in the number of nodes and the copies.
    pub fn determine_optimal_placement(
        &self,
        block: &Block<'_>,
        now: u64,
    ) -> Result<PlacementStrategy, PlacementError> {
        if !block.reads.is_finite() || block.reads < 0.0 {
            return Err(PlacementError::Forecast {
                name: "reads",
                value: block.reads,
            });
        }
        let shares = self.affinity.shares(block.lineage, now);
        let bytes = block.bytes.max(1) as f64;
        let price = self.read_price(bytes, self.distances.furthest());
        let mut decision = Decision {
            block,
            bytes,
            reads: shares
                .iter()
                .map(|share| share * block.reads * price)
                .collect(),
            shares,
            candidates: self.candidates(block),
            chosen: Vec::new(),
            domains: Vec::new(),
        };
        let unmet_pins = self.pin(&mut decision);
        while decision.chosen.len() < self.rules.floor {
            let apart = self.best(&decision, true, true);
            let best = apart.or_else(|| self.best(&decision, true, false));
            let Some(mut choice) = best else { break };
            choice.why = match apart {
                Some(_) => Why::Floor,
                None => Why::FloorSameDomain,
            };
            self.choose(&mut decision, choice);
        }
        while decision.chosen.len() < self.rules.most {
            match self.best(&decision, false, true) {
                Some(choice) if choice.gain > 0.0 => self.choose(&mut decision, choice),
                _ => break,
            }
        }
        self.reclaim(&mut decision);
        if decision.chosen.is_empty() {
            return Err(PlacementError::NoNode {
                known: self.nodes.len(),
                alive: self.alive(),
            });
        }
        Ok(self.strategy(decision.chosen, unmet_pins))
    }

    /// Where others make up the floor, the floor needs no copy that served nothing.
    fn reclaim(&self, decision: &mut Decision<'_>) {
        let holders = decision.block.holders;
        let idle = |id: &NodeId| {
            holders
                .iter()
                .any(|holder| holder.node == *id && !holder.served)
        };
        while decision.chosen.len() > self.rules.floor {
            let spare = |choice: &Choice| choice.why != Why::Pinned && idle(&choice.node);
            let Some(at) = decision.chosen.iter().rposition(spare) else {
                return;
            };
            decision.chosen.remove(at);
        }
    }

    /// Members that live.
    pub fn alive(&self) -> usize {
        let all = self.nodes.regions().flat_map(|(_, nodes)| nodes);
        all.filter(|(_, node)| node.alive).count()
    }

    fn strategy(&self, choices: Vec<Choice>, unmet_pins: Vec<NodeId>) -> PlacementStrategy {
        let mut regions: Vec<(Region, usize)> = Vec::new();
        for choice in &choices {
            match regions
                .iter_mut()
                .find(|(region, _)| *region == choice.region)
            {
                Some((_, count)) => *count += 1,
                None => regions.push((choice.region, 1)),
            }
        }
        regions.sort();
        PlacementStrategy {
            primary_nodes: choices.iter().map(|choice| choice.node).collect(),
            replica_count: choices.len(),
            geographic_distribution: regions,
            short: self.rules.floor.saturating_sub(choices.len()),
            choices,
            unmet_pins,
        }
    }

    /// Takes the pins that can be met; answers the others.
    fn pin(&self, decision: &mut Decision<'_>) -> Vec<NodeId> {
        let mut unmet = Vec::new();
        for pin in decision.block.pins {
            if decision.chosen.iter().any(|choice| choice.node == *pin) {
                continue;
            }
            let found = decision
                .candidates
                .iter()
                .find(|candidate| candidate.node == *pin);
            match found {
                Some(candidate) => {
                    let mut choice = self.weigh(decision, candidate);
                    choice.why = Why::Pinned;
                    self.choose(decision, choice);
                }
                None => unmet.push(*pin),
            }
        }
        unmet
    }

    /// The nodes that may hold the block.
    fn candidates(&self, block: &Block<'_>) -> Vec<Candidate> {
        let mut found = Vec::new();
        for (region, nodes) in self.nodes.regions() {
            if block
                .residency
                .is_some_and(|allowed| !allowed.contains(&region))
            {
                continue;
            }
            for (id, node) in nodes.iter().filter(|(_, node)| node.alive) {
                let holder = block.holders.iter().find(|holder| holder.node == *id);
                if holder.is_some() || node.room() >= block.bytes {
                    found.push(Candidate {
                        node: *id,
                        region,
                        domain: node.domain,
                        held: holder.is_some(),
                        idle: holder.is_some_and(|holder| !holder.served),
                        saves: saves(block, id),
                        rank: rank(id, block.key),
                    });
                }
            }
        }
        found
    }

    /// The copy that gains most. Of each region one node is looked at: one that has the block, else the one that has most
    /// alike, else the one that rendezvous hashing names.
    fn best(&self, decision: &Decision<'_>, floor: bool, apart: bool) -> Option<Choice> {
        let mut best: Option<Choice> = None;
        for region in decision.candidates.chunk_by(|a, b| a.region == b.region) {
            let fits = |candidate: &&Candidate| decision.fits(candidate, floor, apart);
            let preferred = region.iter().filter(fits).max_by(|a, b| {
                let held = a.held.cmp(&b.held);
                held.then(a.saves.total_cmp(&b.saves))
                    .then(a.rank.cmp(&b.rank))
            });
            let Some(candidate) = preferred else { continue };
            let choice = self.weigh(decision, candidate);
            if best.is_none_or(|best| choice.gain > best.gain) {
                best = Some(choice);
            }
        }
        best
    }

    /// What one more copy would save and cost.
    fn weigh(&self, decision: &Decision<'_>, candidate: &Candidate) -> Choice {
        let (bytes, region) = (decision.bytes, candidate.region);
        let saved: f64 = (0..decision.reads.len())
            .map(|from| (decision.reads[from] - self.read(decision, from, region)).max(0.0))
            .sum();
        let moved = if candidate.held {
            0.0
        } else {
            bytes * (1.0 - candidate.saves)
        };
        let cost = moved * self.prices.transfer * self.prices.change + bytes * self.prices.store;
        let share = decision.shares.get(usize::from(region.0));
        Choice {
            node: candidate.node,
            region,
            why: Why::Pays,
            held: candidate.held,
            share: share.copied().unwrap_or(0.0),
            gain: saved - cost,
        }
    }

    /// The price of what a region is expected to read from a copy in another.
    fn read(&self, decision: &Decision<'_>, from: usize, to: Region) -> f64 {
        if from == usize::from(to.0) {
            return 0.0;
        }
        let reads = decision.shares[from] * decision.block.reads;
        reads * self.read_price(decision.bytes, self.distances.between(from, to))
    }

    fn read_price(&self, bytes: f64, millis: f64) -> f64 {
        bytes * (self.prices.transfer + self.prices.latency * millis)
    }

    fn choose(&self, decision: &mut Decision<'_>, choice: Choice) {
        for from in 0..decision.reads.len() {
            decision.reads[from] =
                decision.reads[from].min(self.read(decision, from, choice.region));
        }
        let node = self.nodes.get(&choice.node);
        decision.domains.extend(node.map(|node| node.domain));
        decision.chosen.push(choice);
    }
}

impl Decision<'_> {
    fn fits(&self, candidate: &Candidate, floor: bool, apart: bool) -> bool {
        (floor || !candidate.idle)
            && !(apart && self.domains.contains(&candidate.domain))
            && self
                .chosen
                .iter()
                .all(|choice| choice.node != candidate.node)
    }
}

/// The share of bytes that a delta saves on the way to a node.
fn saves(block: &Block<'_>, id: &NodeId) -> f64 {
    let alike = block.relatives.iter().filter(|alike| alike.node == *id);
    // The larger of a number and NaN is the number.
    alike
        .fold(0.0_f64, |most, alike| most.max(alike.saves))
        .min(1.0)
}
