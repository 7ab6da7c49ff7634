//! Nine regions, and histories of who edited what from where.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use hypermesh_id::NodeId;
use hypermesh_placement::place::{
    Distances, IntelligentBlockSharding, Node, Prices, Region, Rules,
};

use crate::cache::traces::unpacked;
use crate::record::BenchError;

pub(super) const REGIONS: usize = 9;

/// The histories, and whether their figures were looked at while shares were shaped.
pub(super) const HISTORIES: [(&str, bool); 5] = [
    ("tldr-pages+tldr", false),
    ("open-telemetry+opentelemetry.io", false),
    ("rust-lang+rust-analyzer", true),
    ("ohmyzsh+ohmyzsh", false),
    ("numpy+numpy", true),
];

/// One edit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edit {
    pub(super) time: u64,
    pub(super) region: usize,
    pub(super) object: usize,
    pub(super) tenant: usize,
}

/// All histories in one order of time.
#[derive(Debug)]
pub(super) struct World {
    pub(super) rtt: Vec<f64>,
    pub(super) edits: Vec<Edit>,
    /// Groups of each object, the outermost first: its repository, its directories.
    pub(super) groups: Vec<Vec<u64>>,
}

impl World {
    /// Reads the first `most` edits of each history.
    pub(super) fn load(data: &Path, most: usize) -> Result<Self, BenchError> {
        let content = data.join("content");
        let mut world = Self {
            rtt: rtt(&content.join("rtt_azure_9regions.csv"))?,
            edits: Vec::new(),
            groups: Vec::new(),
        };
        let mut numbers: HashMap<String, u64> = HashMap::new();
        for (tenant, (name, _)) in HISTORIES.into_iter().enumerate() {
            let first = world.groups.len();
            let file = |ending: &str| content.join(format!("gitregion/{name}.{ending}.zst"));
            let paths = unpacked(&file("paths"))?;
            for path in String::from_utf8_lossy(&paths).lines() {
                let path = format!("{name}/{path}");
                let ends = path.match_indices('/').map(|(at, _)| &path[..at]);
                let groups = ends.map(|group| {
                    // Objects have the numbers below.
                    let next = (numbers.len() as u64) + (1 << 32);
                    *numbers.entry(group.to_owned()).or_insert(next)
                });
                world.groups.push(groups.collect());
            }
            let edits = unpacked(&file("tsv"))?;
            for line in String::from_utf8_lossy(&edits).lines().take(most) {
                let fields: Vec<u64> = line
                    .split('\t')
                    .map_while(|word| word.parse().ok())
                    .collect();
                let [time, region, path, ..] = fields[..] else {
                    continue;
                };
                world.edits.push(Edit {
                    time,
                    region: region as usize,
                    object: first + path as usize,
                    tenant,
                });
            }
        }
        world.edits.sort_by_key(|edit| edit.time);
        let known = |edit: &Edit| edit.region < REGIONS && edit.object < world.groups.len();
        if world.edits.is_empty() || !world.edits.iter().all(known) {
            return Err(BenchError::new("the histories do not fit their paths"));
        }
        Ok(world)
    }

    pub(super) fn between(&self, from: usize, to: usize) -> f64 {
        self.rtt[from * REGIONS + to]
    }
}

fn rtt(path: &Path) -> Result<Vec<f64>, BenchError> {
    let text = fs::read_to_string(path)?;
    let rows = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.starts_with("region"));
    let values = rows.flat_map(|row| row.split(',').skip(1));
    let values: Vec<f64> = values
        .filter_map(|value| value.trim().parse().ok())
        .collect();
    if values.len() == REGIONS * REGIONS {
        return Ok(values);
    }
    Err(BenchError::new(format!(
        "{} is no matrix of nine regions",
        path.display()
    )))
}

/// A node that has room, alone in its failure domain.
pub(super) fn member(number: usize, region: usize) -> (NodeId, Node) {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&(number as u64).to_le_bytes());
    let node = Node {
        region: Region(region as u8),
        domain: number as u64,
        capacity: 1 << 60,
        proven: 1 << 50,
        alive: true,
        refused: 0,
    };
    (NodeId(id), node)
}

/// The placement under test, without nodes.
pub(super) fn sharding(
    world: &World,
    rules: Rules,
) -> Result<IntelligentBlockSharding, BenchError> {
    let distances = Distances::new(REGIONS, world.rtt.clone())?;
    Ok(IntelligentBlockSharding::new(
        rules,
        Prices::default(),
        distances,
        1 << 20,
    )?)
}

/// The same with one node in each region, whose number is the region's.
pub(super) fn sharding_of_nine(
    world: &World,
    rules: Rules,
) -> Result<IntelligentBlockSharding, BenchError> {
    let mut sharding = sharding(world, rules)?;
    for region in 0..REGIONS {
        let (id, node) = member(region, region);
        sharding.nodes.set(id, node)?;
    }
    Ok(sharding)
}

/// The finaliser of splitmix64.
pub(super) fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// The regions in the order that rendezvous hashing gives an object.
pub(super) fn by_hash(object: usize, seed: u64) -> [usize; REGIONS] {
    let mut regions: [usize; REGIONS] = std::array::from_fn(|region| region);
    regions.sort_by_key(|region| scattered(scattered(seed << 40 | object as u64) ^ *region as u64));
    regions
}

/// The `count` largest places, the largest first.
pub(super) fn largest(values: &[f64; REGIONS], count: usize) -> Vec<usize> {
    let mut regions: Vec<usize> = (0..REGIONS).collect();
    regions.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    regions.truncate(count);
    regions
}

/// A set of regions.
pub(super) type Copies = u16;

pub(super) fn set(regions: impl IntoIterator<Item = usize>) -> Copies {
    regions.into_iter().fold(0, |set, region| set | 1 << region)
}

/// The first regions of an order that make a set of `count` together with `first`.
pub(super) fn filled(first: Copies, order: impl IntoIterator<Item = usize>, count: u32) -> Copies {
    let mut copies = first;
    for region in order {
        if copies.count_ones() < count {
            copies |= 1 << region;
        }
    }
    copies
}
