//! Who could help on a path: relays between two nodes, providers for one.

use hypermesh_id::NodeId;

use super::{Estimate, NeuralRoutingMatrix};
use crate::error::RoutingError;

/// Relays that are estimated with care, after a rough look over all nodes.
const CAREFUL: usize = 512;
/// What a relay loses by one before it that is wholly like it, as a part of its round trip.
const ALIKE_COST: f64 = 0.05;

/// A node that was estimated for a purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The relay or provider.
    pub node: NodeId,
    /// Round trip to the target through it, or to it.
    pub estimate: Estimate,
}

impl NeuralRoutingMatrix {
    /// The nodes through which the round trip from `from` to `to` is least by estimate, the best first, at most `count`.
    ///
    /// All admitted nodes are looked at: roughly, then the best of them with care. Relays that are like one before them
    /// come later, since they are wrong together.
    ///
    /// Errors: [`RoutingError::Stranger`], [`RoutingError::Itself`].
    pub fn relays(
        &self,
        from: NodeId,
        to: NodeId,
        count: usize,
    ) -> Result<Vec<Candidate>, RoutingError> {
        let (a, b) = (self.known(from)?, self.known(to)?);
        if a == b {
            return Err(RoutingError::Itself(from));
        }
        let (here, there) = (self.legs(a), self.legs(b));
        let mut sums: Vec<(f32, usize)> = self
            .live()
            .filter(|via| *via != a && *via != b)
            .map(|via| (here[via] + there[via], via))
            .collect();
        if sums.len() > CAREFUL {
            sums.select_nth_unstable_by(CAREFUL, |one, other| one.0.total_cmp(&other.0));
            sums.truncate(CAREFUL);
        }
        let mut hopes: Vec<(f64, usize, Estimate)> = sums
            .into_iter()
            .map(|(_, via)| {
                let estimate = through(&self.between(a, via), &self.between(via, b));
                (estimate.rtt_ms, via, estimate)
            })
            .collect();
        let mut candidates = Vec::new();
        while candidates.len() < count && !hopes.is_empty() {
            let best = (0..hopes.len()).min_by(|x, y| hopes[*x].0.total_cmp(&hopes[*y].0));
            let (_, via, estimate) = hopes.swap_remove(best.unwrap_or(0));
            // What is alike errs alike: the next probe is better spent elsewhere.
            for (alike, likeness) in &self.profiles[via].alike {
                if let Some(hope) = hopes.iter_mut().find(|hope| hope.1 == *alike as usize) {
                    hope.0 *= 1.0 + ALIKE_COST * f64::from(*likeness);
                }
            }
            candidates.extend(self.ids[via].map(|node| Candidate { node, estimate }));
        }
        Ok(candidates)
    }

    /// Providers by estimated round trip from `from`, the best first. Strangers and `from` itself are left out.
    ///
    /// Errors: [`RoutingError::Stranger`] for `from`.
    pub fn providers(
        &self,
        from: NodeId,
        providers: &[NodeId],
    ) -> Result<Vec<Candidate>, RoutingError> {
        let a = self.known(from)?;
        let known = providers.iter().filter_map(|node| {
            let at = self.known(*node).ok().filter(|at| *at != a)?;
            Some(Candidate {
                node: *node,
                estimate: self.between(a, at),
            })
        });
        let mut candidates: Vec<Candidate> = known.collect();
        sort(&mut candidates);
        Ok(candidates)
    }

    /// Round trips from a node to all others in milliseconds: what is measured, else roughly.
    fn legs(&self, node: usize) -> Vec<f32> {
        let point = &self.points[node];
        let mut legs: Vec<f32> = self.points.iter().map(|other| point.rough(other)).collect();
        for (other, at) in self.links.of(node) {
            let link = self.links.get(*at as usize);
            if link.used {
                legs[*other as usize] = link.rtt();
            }
        }
        legs
    }
}

/// The choice among providers after some were probed (`rtt_ms` by provider): the least of what was measured, unless one
/// that was not is estimated below it. `None` where there is no candidate.
pub fn choose(candidates: &[Candidate], probed: &[(NodeId, f64)]) -> Option<NodeId> {
    let value = |candidate: &Candidate| {
        let answer = probed.iter().find(|(node, _)| *node == candidate.node);
        answer.map_or(candidate.estimate.rtt_ms, |(_, rtt_ms)| *rtt_ms)
    };
    let least = candidates
        .iter()
        .min_by(|a, b| value(a).total_cmp(&value(b)))?;
    Some(least.node)
}

fn sort(candidates: &mut [Candidate]) {
    candidates.sort_by(|a, b| a.estimate.rtt_ms.total_cmp(&b.estimate.rtt_ms));
}

/// Two legs one after the other. Their quantiles are added, which is too careful where they vary independently.
fn through(first: &Estimate, second: &Estimate) -> Estimate {
    Estimate {
        rtt_ms: first.rtt_ms + second.rtt_ms,
        quantiles_ms: std::array::from_fn(|at| first.quantiles_ms[at] + second.quantiles_ms[at]),
        source: first.source.max(second.source),
    }
}
