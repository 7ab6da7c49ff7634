//! One sample in, a bounded amount of learning: the bases, the biases, the profiles, the weights of all.

use mfn_cpe::QUANTILES;

use super::factors::Sample;
use super::kernel::{self, SHRINK, Smoothed};
use super::stack::{Bases, Joined, kilometres};
use super::{Estimate, NeuralRoutingMatrix, Source};

/// Old links that are learned again by the coordinates with each new sample.
const REPLAYS: usize = 250;
/// Links whose held-out errors are looked at again with each sample.
const LOOKS: usize = 40;
/// Nodes whose factors are fitted with each sample, beside both ends.
const FITS: usize = 4;
/// Nodes whose profiles are learned anew with each sample.
const PROFILES: usize = 3;
/// Reporters whose records are looked at with each sample.
const JUDGED: usize = 2;
/// Samples between two changes of the weights.
const SETTLE_EVERY: u64 = 8;
/// Likeness of links that counts as nothing in the smoother one of the two corrections.
const SHRINK_MORE: f32 = 2.0;
/// A bias takes no more than this from one link, and is pulled to 0 by so many links.
const BIAS_MAX: f32 = 0.15;
const BIAS_SHRINK: f32 = 10.0;
/// Nodes that are looked at as alike, where there are more.
const CANDIDATES: usize = 512;
/// Bases may differ from coordinates by so much, as a logarithm.
const APART_MAX: f32 = 2.0;
/// Links from which on the bases are joined; with fewer, coordinates speak alone.
const JOINED_MIN: usize = 64;
/// Bounds by triangles count up to so much.
const BOUND_MAX: f32 = 1.5;

impl NeuralRoutingMatrix {
    /// Takes a checked sample in and learns from it.
    pub(super) fn take(&mut self, reporter: usize, other: usize, rtt_ms: f64, at: u64) {
        let value = rtt_ms.ln() as f32;
        let before = self.links.find(reporter, other).map(|link| {
            let link = self.links.get(link);
            link.claims[link.side(reporter)].is_some()
        });
        if before != Some(true) {
            self.records[reporter].pairs += 1;
        }
        let link = self.links.claim(reporter, other, value, at);
        self.believe(link);
        self.learn(link);
    }

    fn learn(&mut self, link: usize) {
        self.updates += 1;
        self.replay(link);
        let (a, b) = self.links.get(link).pair();
        for node in [a, b] {
            self.fit(node);
        }
        for _ in 0..FITS {
            let node = self.next_node();
            self.fit(node);
        }
        for _ in 0..LOOKS {
            self.link_turn = (self.link_turn + 1) % self.links.len();
            self.look(self.link_turn);
        }
        self.look(link);
        if self.updates.is_multiple_of(SETTLE_EVERY) {
            self.stack.settle();
        }
        for _ in 0..PROFILES {
            let node = self.next_node();
            self.profile(node);
        }
        for _ in 0..JUDGED {
            self.judge_turn = (self.judge_turn + 1) % self.ids.len();
            self.judge(self.judge_turn);
        }
    }

    fn next_node(&mut self) -> usize {
        self.node_turn = (self.node_turn + 1) % self.ids.len();
        self.node_turn
    }

    fn replay(&mut self, newest: usize) {
        for turn in 0..=REPLAYS {
            let at = if turn == 0 {
                newest
            } else {
                self.random.below(self.links.len())
            };
            let link = self.links.get(at);
            if !link.used {
                continue;
            }
            let (a, b) = link.pair();
            // The smaller index comes first.
            let (low, high) = self.points.split_at_mut(b);
            low[a].learn(&mut high[0], link.rtt(), link.fold);
        }
    }

    fn fit(&mut self, node: usize) {
        let mean = self.links.mean();
        let samples: Vec<Sample<'_>> = self
            .links
            .seen(node)
            .map(|(other, _, link)| Sample {
                other: &self.factors[other],
                value: link.value - mean,
                fold: link.fold,
            })
            .collect();
        if samples.is_empty() {
            return;
        }
        let fitted = self.factors[node].fitted(&samples);
        self.factors[node] = fitted;
        let (mut sum, mut count) = (0.0, BIAS_SHRINK);
        for (other, _, link) in self.links.seen(node) {
            sum += (link.residual - self.biases[other]).clamp(-BIAS_MAX, BIAS_MAX);
            count += 1.0;
        }
        self.biases[node] = sum / count;
    }

    /// Compares a link with what the bases say that never saw it.
    fn look(&mut self, at: usize) {
        let link = self.links.get(at);
        if !link.used {
            return;
        }
        let ((a, b), value, fold) = (link.pair(), link.value, link.fold);
        if let Some(kilometres) = self.kilometres(a, b) {
            self.stack.learn_geography(kilometres, value.exp());
        }
        let bases = self.bases(a, b, Some(fold));
        self.stack.learn_fused(&bases, value);
        self.links
            .set_residual(at, value - self.stack.fused(&bases));
        let (features, near) = self.features(a, b, Some(at));
        self.stack.learn_joined(&features, near.weight, value);
    }

    fn profile(&mut self, node: usize) {
        if self.links.of(node).is_empty() {
            return;
        }
        let mut profiles = std::mem::take(&mut self.profiles);
        let count = profiles.len();
        let drawn: Vec<usize> = if count <= CANDIDATES {
            (0..count).collect()
        } else {
            let alike = profiles[node].alike.iter().map(|(at, _)| *at as usize);
            let second = profiles[node].alike.iter().flat_map(|(at, _)| {
                profiles[*at as usize]
                    .alike
                    .iter()
                    .take(4)
                    .map(|(at, _)| *at as usize)
            });
            let mut drawn: Vec<usize> = alike.chain(second).collect();
            drawn.extend((drawn.len()..CANDIDATES).map(|_| self.random.below(count)));
            drawn.sort_unstable();
            drawn.dedup();
            drawn
        };
        kernel::refresh(
            &self.links,
            &mut profiles,
            &self.biases,
            node,
            drawn.into_iter(),
            |other| self.points[node].rough(&self.points[other]),
            |other| {
                self.stack.fused(&self.bases(node, other, None))
                    + self.biases[node]
                    + self.biases[other]
            },
        );
        self.profiles = profiles;
    }

    fn kilometres(&self, a: usize, b: usize) -> Option<f32> {
        Some(kilometres(
            self.places[a].as_ref()?,
            self.places[b].as_ref()?,
        ))
    }

    /// What each base says; of the replicas that did not see a fold, where one is given.
    fn bases(&self, a: usize, b: usize, fold: Option<u8>) -> Bases {
        let (points, factors) = (&self.points, &self.factors);
        let (near, low) = match fold {
            Some(fold) => (
                points[a].held_out(&points[b], fold),
                factors[a].held_out(&factors[b], fold),
            ),
            None => (points[a].mean(&points[b]), factors[a].mean(&factors[b])),
        };
        let near = near.ln();
        let low = (self.links.mean() + low).clamp(near - APART_MAX, near + APART_MAX);
        // Where geography is unknown, coordinates stand in for it.
        let far = self
            .kilometres(a, b)
            .map_or(near, |kilometres| self.stack.geography(kilometres));
        [near, low, far, 1.0]
    }

    /// What is joined, and how much is known near the pair; without one link, as if it had never been measured.
    fn features(&self, a: usize, b: usize, without: Option<usize>) -> (Joined, Smoothed) {
        let held_out = without.map(|at| self.links.get(at));
        let bases = self.bases(a, b, held_out.map(|link| link.fold));
        let biases = match held_out {
            None => self.biases[a] + self.biases[b],
            Some(link) => {
                self.bias_without(a, b, link.residual) + self.bias_without(b, a, link.residual)
            }
        };
        let fused = self.stack.fused(&bases) + biases;
        let near = kernel::smooth(&self.links, &self.profiles, &self.biases, (a, b), without);
        let smoothed = fused + near.correction(SHRINK);
        let (low, high) = self.triangles(a, b);
        let under = (high.ln() - smoothed).clamp(-BOUND_MAX, 0.0);
        let over = (low.max(0.1).ln() - smoothed).clamp(0.0, BOUND_MAX);
        let [coordinates, factors, geography, one] = bases;
        let features = [
            coordinates,
            factors,
            geography,
            fused,
            smoothed,
            fused + near.correction(SHRINK_MORE),
            under,
            over,
            one,
        ];
        (features, near)
    }

    /// A node's bias, had its link with `other` not been measured.
    fn bias_without(&self, node: usize, other: usize, residual: f32) -> f32 {
        let count = self.links.of(node).len() as f32 + BIAS_SHRINK;
        let part = (residual - self.biases[other]).clamp(-BIAS_MAX, BIAS_MAX);
        (self.biases[node] * count - part) / (count - 1.0)
    }

    /// Bounds by the nodes that both ends have measured, in milliseconds: no path is much shorter than the difference
    /// of two legs, and there is one as long as their sum.
    fn triangles(&self, a: usize, b: usize) -> (f32, f32) {
        let (mut low, mut high) = (0.0_f32, f32::MAX);
        let mut others = self.links.of(b).iter().peekable();
        for (via, first) in self.links.of(a) {
            while others.next_if(|(other, _)| other < via).is_some() {}
            let Some((_, second)) = others.next_if(|(other, _)| other == via) else {
                continue;
            };
            let legs = [first, second].map(|at| self.links.get(*at as usize));
            if legs.iter().all(|leg| leg.used) {
                let [here, there] = legs.map(|leg| leg.rtt());
                low = low.max((here - there).abs());
                high = high.min(here + there);
            }
        }
        (low, high)
    }

    /// The estimate of a pair of different nodes.
    pub(crate) fn between(&self, a: usize, b: usize) -> Estimate {
        if let Some(at) = self.links.find(a, b)
            && self.links.get(at).used
        {
            return self.of_link(a, b, at);
        }
        let (features, near) = self.features(a, b, None);
        // So few links say nothing of how the bases are to be joined.
        let value = if self.links.len() < JOINED_MIN {
            features[0]
        } else {
            self.stack.joined(&features)
        };
        let value = value.clamp(features[0] - APART_MAX, features[0] + APART_MAX);
        let spread = self.stack.spread(near.weight);
        estimate(value, spread, Source::Predicted)
    }

    fn of_link(&self, a: usize, b: usize, at: usize) -> Estimate {
        let link = self.links.get(at);
        let own = a.min(b) == 0 && link.claims[link.side(0)].is_some();
        if own && let Some([next, ..]) = self.series.forecast(a.max(b) as u32) {
            return Estimate {
                rtt_ms: next.quantiles[0].exp(),
                quantiles_ms: next.quantiles.map(f64::exp),
                source: Source::Measured,
            };
        }
        let source = if own {
            Source::Measured
        } else {
            Source::Reported
        };
        // A reported value is one sample of a path that varies; nobody here has seen how much.
        estimate(link.value, [0.0, 0.1, 0.5], source)
    }
}

fn estimate(value: f32, spread: [f32; QUANTILES.len()], source: Source) -> Estimate {
    Estimate {
        rtt_ms: f64::from(value.exp()),
        quantiles_ms: spread.map(|above| f64::from((value + above).exp())),
        source,
    }
}
