//! The record of reporters: does what a node says of its links agree with what others say of it?
//!
//! A node's point is fitted anew to what others, who are believed, claim of their links with it; that fit has seen none
//! of the node's own claims. Their median error is its record. A node that adds to, takes from or varies its claims, or
//! that claims to be elsewhere, is wrong by much in most of them, whoever agrees with it. The claims of a node whose
//! record is bad are not learned from until it is better again.

use super::NeuralRoutingMatrix;
use super::coordinates::{Point, place};

/// Error of an honest reporter's claims before any was looked at, as a logarithm.
pub(super) const USUAL_ERROR: f32 = 0.2;
/// Links of which others must have spoken before a node is judged, and own claims.
const OTHERS_MIN: usize = 5;
const CLAIMS_MIN: usize = 3;
/// Passes over the others' claims.
const ROUNDS: usize = 12;
/// Claims that are looked at.
const CLAIMS_SEEN: usize = 32;
/// Share of the newest look in the record.
const NEWEST: f32 = 0.5;
/// A record is bad from this error on, and from this many times the usual one.
const BAD: f32 = 0.45;
const BAD_TIMES: f32 = 2.5;
/// Looks after which a record counts.
const LOOKS_MIN: u32 = 2;

#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    /// Pairs it has claimed.
    pub(super) pairs: usize,
    /// Mean of the median errors.
    pub(super) error: f32,
    looks: u32,
    bad: bool,
}

impl Record {
    pub(super) fn trusted(&self) -> bool {
        !self.bad
    }
}

impl NeuralRoutingMatrix {
    /// Looks at one reporter; its links are believed anew when the verdict changes.
    pub(super) fn judge(&mut self, node: usize) {
        // What this node measured is no claim.
        let Some(error) = self.claims_error(node).filter(|_| node != 0) else {
            return;
        };
        let usual = self.usual_error;
        let record = &mut self.records[node];
        record.looks = record.looks.saturating_add(1);
        record.error += (error - record.error) * if record.looks == 1 { 1.0 } else { NEWEST };
        let bad = record.looks >= LOOKS_MIN && record.error > BAD.max(BAD_TIMES * usual);
        // Half of the reporters are below the usual error: it follows the median, which a minority cannot move far.
        self.usual_error += 0.002 * (error - usual).signum();
        self.usual_error = self.usual_error.clamp(0.02, BAD);
        if bad != record.bad {
            record.bad = bad;
            let links: Vec<usize> = self
                .links
                .of(node)
                .iter()
                .map(|(_, at)| *at as usize)
                .collect();
            for link in links {
                self.believe(link);
            }
        }
    }

    /// Median error of a node's claims by a point that others' claims gave; `None` where too little is said.
    fn claims_error(&self, node: usize) -> Option<f32> {
        let mut others: Vec<(&Point, f32)> = Vec::new();
        let mut own: Vec<(usize, f32)> = Vec::new();
        for (other, at) in self.links.of(node) {
            let link = self.links.get(*at as usize);
            let (other, side) = (*other as usize, link.side(node));
            if let Some(claim) = link.claims[1 - side]
                && self.records[other].trusted()
                && others.len() < CLAIMS_SEEN
            {
                others.push((&self.points[other], claim.value().exp()));
            }
            if let Some(claim) = link.claims[side]
                && own.len() < CLAIMS_SEEN
            {
                own.push((other, claim.value()));
            }
        }
        if others.len() < OTHERS_MIN || own.len() < CLAIMS_MIN {
            return None;
        }
        let point = place(&self.points[node], &others, ROUNDS);
        let mut errors: Vec<f32> = own
            .iter()
            .map(|(other, value)| (point.mean(&self.points[*other]).ln() - value).abs())
            .collect();
        errors.sort_by(f32::total_cmp);
        Some(errors[errors.len() / 2])
    }

    pub(super) fn believe(&mut self, link: usize) {
        let records = &self.records;
        self.links
            .believe(link, |end| end == 0 || records[end].trusted());
    }
}
