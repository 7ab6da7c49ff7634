//! Matrices for those who draw, cluster or slice: copies of what is measured and of where nodes are.

use hypermesh_id::NodeId;
use mfn_cpe::{Forecast, HORIZONS, QUANTILES};
use ndarray::{Array2, Array3};

use super::coordinates::DIMENSIONS;
use super::{NeuralRoutingMatrix, Source};
use crate::error::RoutingError;

/// A square matrix and the nodes of its rows and columns.
#[derive(Clone, Debug)]
pub struct Square {
    /// The nodes, in order.
    pub nodes: Vec<NodeId>,
    /// Round trips in milliseconds; NaN where nothing is known, and from a node to itself.
    pub rtt_ms: Array2<f32>,
}

/// Forecasts of the links that this node measures.
#[derive(Clone, Debug)]
pub struct Forecasts {
    /// The other ends, in order.
    pub nodes: Vec<NodeId>,
    /// Link × horizon ([`HORIZONS`]) × quantile ([`QUANTILES`]), in milliseconds.
    pub rtt_ms: Array3<f32>,
}

impl NeuralRoutingMatrix {
    /// Nodes and their network coordinates: one row per node; four columns of position and one of height, in
    /// milliseconds; then latitude and longitude in degrees, NaN where unknown. One replica of many: for drawing and
    /// clustering, not for prediction.
    pub fn node_positions(&self) -> (Vec<NodeId>, Array2<f64>) {
        let live: Vec<usize> = self.live().collect();
        let mut rows = Array2::from_elem((live.len(), DIMENSIONS + 3), f64::NAN);
        for (row, node) in live.iter().enumerate() {
            let position = self.points[*node].position();
            for (column, value) in position.into_iter().enumerate() {
                rows[[row, column]] = value;
            }
            if let Some([x, y, z]) = self.places[*node].map(|place| place.map(f64::from)) {
                rows[[row, DIMENSIONS + 1]] = z.clamp(-1.0, 1.0).asin().to_degrees();
                rows[[row, DIMENSIONS + 2]] = y.atan2(x).to_degrees();
            }
        }
        (self.names(&live), rows)
    }

    /// Groups of nodes that are near each other: each node follows the first of those before it, ordered by how many
    /// links they have, that is within `radius_ms` by estimate. One number per node of [`Self::node_positions`], from 0.
    ///
    /// Work: nodes times groups.
    pub fn geographic_clusters(&self, radius_ms: f64) -> Vec<usize> {
        let live: Vec<usize> = self.live().collect();
        let mut order: Vec<usize> = (0..live.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(self.links.of(live[*at]).len()));
        let mut heads: Vec<usize> = Vec::new();
        let mut groups = vec![0; live.len()];
        for at in order {
            let near = heads.iter().position(|head| {
                f64::from(self.points[live[at]].mean(&self.points[*head])) <= radius_ms
            });
            groups[at] = near.unwrap_or_else(|| {
                heads.push(live[at]);
                heads.len() - 1
            });
        }
        groups
    }

    /// What is measured or believed, between the nodes asked for; NaN elsewhere. Cells are the square of the nodes
    /// asked for, so ask for few.
    ///
    /// Errors: [`RoutingError::Stranger`].
    pub fn connection_matrix(&self, nodes: &[NodeId]) -> Result<Square, RoutingError> {
        self.square(nodes, true)
    }

    /// The same with predictions where nothing is measured.
    ///
    /// Errors: [`RoutingError::Stranger`].
    pub fn latency_matrix(&self, nodes: &[NodeId]) -> Result<Square, RoutingError> {
        self.square(nodes, false)
    }

    fn square(&self, nodes: &[NodeId], measured_only: bool) -> Result<Square, RoutingError> {
        let at: Vec<usize> = nodes
            .iter()
            .map(|node| self.known(*node))
            .collect::<Result<_, _>>()?;
        let mut rtt_ms = Array2::from_elem((at.len(), at.len()), f32::NAN);
        for (row, a) in at.iter().enumerate() {
            for (column, b) in at.iter().enumerate() {
                let measured = self
                    .links
                    .find(*a, *b)
                    .is_some_and(|link| self.links.get(link).used);
                if a != b && (measured || !measured_only) {
                    rtt_ms[[row, column]] = self.between(*a, *b).rtt_ms as f32;
                }
            }
        }
        Ok(Square {
            nodes: nodes.to_vec(),
            rtt_ms,
        })
    }

    /// Quantiles of the links that this node measures, at several horizons.
    pub fn prediction_matrix(&self) -> Forecasts {
        let own: Vec<(usize, [Forecast; HORIZONS.len()])> = self
            .links
            .of(0)
            .iter()
            .filter_map(|(other, _)| Some((*other as usize, self.series.forecast(*other)?)))
            .collect();
        let shape = (own.len(), HORIZONS.len(), QUANTILES.len());
        let rtt_ms = Array3::from_shape_fn(shape, |(link, horizon, quantile)| {
            own[link].1[horizon].quantiles[quantile].exp() as f32
        });
        let nodes: Vec<usize> = own.iter().map(|(node, _)| *node).collect();
        Forecasts {
            nodes: self.names(&nodes),
            rtt_ms,
        }
    }

    /// What this node's link with `to` will be at each horizon, as logarithms of milliseconds; `None` if it has none.
    ///
    /// Errors: [`RoutingError::Stranger`].
    pub fn latency_pattern(
        &self,
        to: NodeId,
    ) -> Result<Option<[Forecast; HORIZONS.len()]>, RoutingError> {
        Ok(self.series.forecast(self.known(to)? as u32))
    }

    /// Pairs by what they rest on: measured here, reported by others, and reported by nodes that are not believed.
    pub fn counts(&self) -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        for at in 0..self.links.len() {
            let (a, b) = self.links.get(at).pair();
            if !self.links.get(at).used {
                counts.2 += 1;
            } else if self.between(a, b).source == Source::Measured {
                counts.0 += 1;
            } else {
                counts.1 += 1;
            }
        }
        counts
    }

    /// Indices of admitted nodes.
    pub(crate) fn live(&self) -> impl Iterator<Item = usize> {
        (0..self.ids.len()).filter(|at| self.ids[*at].is_some())
    }

    fn names(&self, nodes: &[usize]) -> Vec<NodeId> {
        nodes.iter().filter_map(|at| self.ids[*at]).collect()
    }
}
