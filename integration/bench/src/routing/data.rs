//! Networks whose every latency is known, and who measures whom.

use std::path::Path;

use crate::npz;
use crate::record::BenchError;

/// Symmetric round trips in milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Network {
    pub(super) name: String,
    pub(super) nodes: usize,
    /// Row by row; NaN where it is missing and on the diagonal.
    rtt: Vec<f64>,
    /// Degrees of latitude and longitude.
    pub(super) places: Vec<Option<[f64; 2]>>,
    /// Shares within 10 and 20 percent that are asked of ours at 16 neighbours.
    pub(super) gate: Option<[f64; 2]>,
}

impl Network {
    fn new(name: &str, nodes: usize, at: impl Fn(usize, usize) -> f64) -> Self {
        let known = |value: f64| (value.is_finite() && value > 0.0).then_some(value);
        let mut rtt = vec![f64::NAN; nodes * nodes];
        for a in 0..nodes {
            for b in (0..nodes).filter(|b| *b != a) {
                // Where both directions are known, their mean.
                rtt[a * nodes + b] = match (known(at(a, b)), known(at(b, a))) {
                    (Some(out), Some(back)) => (out + back) / 2.0,
                    (Some(one), None) | (None, Some(one)) => one,
                    (None, None) => f64::NAN,
                };
            }
        }
        Self {
            name: name.to_owned(),
            nodes,
            rtt,
            places: vec![None; nodes],
            gate: None,
        }
    }

    /// NaN where it is missing.
    pub(super) fn rtt(&self, a: usize, b: usize) -> f64 {
        self.rtt[a * self.nodes + b]
    }

    pub(super) fn gate(mut self, shares: [f64; 2]) -> Self {
        self.gate = Some(shares);
        self
    }

    pub(super) fn without_places(&self) -> Self {
        Self {
            name: format!("{} without places", self.name),
            places: vec![None; self.nodes],
            ..self.clone()
        }
    }

    /// The nodes with odd numbers: those that no constant was chosen on.
    pub(super) fn odd(&self) -> Self {
        let nodes = self.nodes / 2;
        let mut half = Self::new("", nodes, |a, b| self.rtt(2 * a + 1, 2 * b + 1));
        half.name = format!("{}, odd nodes", self.name);
        half.places = (0..nodes).map(|at| self.places[2 * at + 1]).collect();
        half
    }

    /// The same network with other numbers: who had the number `shift` has 0.
    pub(super) fn renumbered(&self, shift: usize) -> Self {
        let old = |node: usize| (node + shift) % self.nodes;
        let mut network = Self::new(&self.name, self.nodes, |a, b| self.rtt(old(a), old(b)));
        network.places = (0..self.nodes).map(|node| self.places[old(node)]).collect();
        network
    }

    /// Who measures whom: each node `k` others, in the order of a lot.
    pub(super) fn samples(&self, k: usize, lots: &mut Lots) -> Vec<(usize, usize)> {
        let mut samples = Vec::new();
        for node in 0..self.nodes {
            let mut others: Vec<usize> = (0..self.nodes)
                .filter(|other| self.rtt(node, *other).is_finite())
                .collect();
            for place in 0..k.min(others.len()) {
                let drawn = place + lots.below(others.len() - place);
                others.swap(place, drawn);
                samples.push((node, others[place]));
            }
        }
        lots.shuffle(&mut samples);
        samples
    }
}

/// A fixed sequence of numbers by seed (SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Lots(u64);

impl Lots {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^= value >> 31;
        (((value >> 32) * limit as u64) >> 32) as usize
    }

    pub(super) fn unit(&mut self) -> f64 {
        self.below(1 << 30) as f64 / (1_u64 << 30) as f64
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

fn array(data: &Path, file: &str, name: &str) -> Result<Vec<f64>, BenchError> {
    npz::load(&data.join("routing").join(file))?
        .remove(name)
        .ok_or_else(|| BenchError::new(format!("{file} has no {name}")))
}

/// Pings between cities, mean of a day, with the cities' coordinates.
pub(super) fn wonder(data: &Path) -> Result<Network, BenchError> {
    const NODES: usize = 242;
    let file = "wonder2018/wonder2018.npz";
    let stats = array(data, file, "stats_ms")?;
    let mut network = Network::new("wonder2018", NODES, |a, b| stats[(a * NODES + b) * 4 + 1]);
    let degrees = array(data, file, "latlon")?;
    network.places = degrees
        .chunks(2)
        .map(|pair| (pair[0].is_finite() && pair[1].is_finite()).then(|| [pair[0], pair[1]]))
        .collect();
    Ok(network)
}

/// Nodes of universities; slices are about 15 hours apart.
pub(super) fn planetlab(data: &Path, slice: usize) -> Result<Network, BenchError> {
    const NODES: usize = 490;
    const PAIRS: usize = NODES * (NODES - 1) / 2;
    let all = array(data, "planetlab490/slices_01_09.npz", "rtt_ms_upper")?;
    let upper = &all[slice * PAIRS..(slice + 1) * PAIRS];
    let name = if slice == 0 {
        "planetlab490".to_owned()
    } else {
        format!("planetlab490, slice {}", slice + 1)
    };
    Ok(Network::new(&name, NODES, |a, b| {
        let (low, high) = (a.min(b), a.max(b));
        upper[low * (2 * NODES - low - 1) / 2 + high - low - 1]
    }))
}

/// Regions of one provider.
pub(super) fn azure(data: &Path) -> Result<Network, BenchError> {
    const NODES: usize = 51;
    let rtt = array(data, "azure2026/azure2026.npz", "rtt_ms")?;
    Ok(Network::new("azure2026", NODES, |a, b| rtt[a * NODES + b]))
}
