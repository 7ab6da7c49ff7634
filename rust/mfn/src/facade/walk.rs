//! Decides which layer is asked next, for how long, and when the answer is good enough. No I/O and no clock: times are
//! nanoseconds of any one clock of the caller's.
//!
//! **One deadline, one budget.** A layer that is asked gets an even share of what is left, of the time and of the work: with
//! three layers to go a third, with the last one everything. So a layer that hangs costs its share and not the answers of
//! the others, and what a quick one leaves over goes to those after it.

use std::time::Duration;

use super::measure::{Estimates, Measured};
use super::question::{LayerId, Mode};

/// What bounds a walk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    pub deadline_ns: u64,
    /// Of all layers together.
    pub work_ns: u64,
    /// A layer that is so sure ends the walk.
    pub enough: f32,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask this layer; its answer counts until then. Then call again.
    Ask { layer: LayerId, until_ns: u64 },
    /// Call again when a layer has answered, at the latest then.
    Wait { until_ns: u64 },
    /// The walk is over; who has not answered is not waited for.
    Done,
}

/// How a layer ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// It found something, and is so sure.
    Found(f32),
    /// It knows nothing.
    Nothing,
    /// It could not answer.
    Failed,
}

/// Where a layer is in the walk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// It cannot be asked: it is absent, or the question has nothing for it.
    Out,
    /// It was not asked yet.
    Waiting,
    /// It was asked then, and its answer counts until then.
    Running { since_ns: u64, until_ns: u64 },
    /// It answered.
    Ended { took_ns: u64, outcome: Outcome },
    /// Its share was over first.
    Late { took_ns: u64 },
}

/// One walk.
#[derive(Clone, Debug)]
pub struct Walk {
    mode: Mode,
    kind: u16,
    limits: Limits,
    places: [Place; 4],
    /// Where the decision of IFR leads.
    hint: Option<LayerId>,
    order: Vec<LayerId>,
    enough: bool,
    done_ns: Option<u64>,
}

impl Walk {
    /// A walk through the layers that can be asked.
    pub fn new(mode: Mode, kind: u16, limits: Limits, askable: [bool; 4]) -> Self {
        Self {
            mode,
            kind,
            limits,
            places: askable.map(|can| if can { Place::Waiting } else { Place::Out }),
            hint: None,
            order: Vec::with_capacity(4),
            enough: false,
            done_ns: None,
        }
    }

    /// What is to be done at that time.
    pub fn next(&mut self, now_ns: u64, estimates: &Estimates) -> Step {
        self.expire(now_ns);
        if self.done_ns.is_some() || self.enough || now_ns >= self.limits.deadline_ns {
            return self.done(now_ns);
        }
        if self.may_start(now_ns, estimates)
            && let Some((layer, share_ns)) = self.choose(now_ns, estimates)
        {
            let (since_ns, until_ns) = (now_ns, now_ns + share_ns);
            self.places[layer.index()] = Place::Running { since_ns, until_ns };
            self.order.push(layer);
            return Step::Ask { layer, until_ns };
        }
        let untils = self.running().map(|(layer, since_ns, until_ns)| {
            let slow_at = self.slow_at(layer, since_ns, estimates);
            // When it turns slow another may start; after that only its end is waited for.
            slow_at.filter(|at| *at > now_ns).unwrap_or(until_ns)
        });
        match untils.min() {
            Some(until_ns) => Step::Wait {
                until_ns: until_ns.min(self.limits.deadline_ns),
            },
            None => self.done(now_ns),
        }
    }

    /// Where IFR's decision leads; the next one that is asked, unless measurements say otherwise.
    pub fn lead(&mut self, layer: Option<LayerId>) {
        self.hint = layer;
    }

    /// A layer ended. Whether that counts: not after its time.
    pub fn ended(&mut self, layer: LayerId, now_ns: u64, outcome: Outcome) -> bool {
        let Place::Running { since_ns, until_ns } = self.places[layer.index()] else {
            return false;
        };
        if now_ns > until_ns || self.done_ns.is_some() {
            return false;
        }
        let took_ns = now_ns.saturating_sub(since_ns);
        self.places[layer.index()] = Place::Ended { took_ns, outcome };
        if let Outcome::Found(confidence) = outcome {
            self.enough |= confidence >= self.limits.enough;
        }
        true
    }

    /// Who answered: the first that was sure enough, else the surest. Of two that are as sure the one that was asked first.
    pub fn by(&self) -> Option<LayerId> {
        let found = |layer: &LayerId| match self.places[layer.index()] {
            Place::Ended {
                outcome: Outcome::Found(confidence),
                ..
            } => Some((*layer, confidence)),
            _ => None,
        };
        let mut best: Option<(LayerId, f32)> = None;
        for (layer, confidence) in self.order.iter().filter_map(found) {
            if best.is_none_or(|(_, so_far)| confidence.total_cmp(&so_far).is_gt()) {
                best = Some((layer, confidence));
            }
        }
        best.map(|(layer, _)| layer)
    }

    /// Where a layer is.
    pub fn place(&self, layer: LayerId) -> Place {
        self.places[layer.index()]
    }

    /// Those that were asked, in that order.
    pub fn order(&self) -> &[LayerId] {
        &self.order
    }

    /// The work of all layers until that time.
    pub fn worked_ns(&self, now_ns: u64) -> u64 {
        let now_ns = self.done_ns.unwrap_or(now_ns);
        let worked = self.places.iter().map(|place| match place {
            Place::Out | Place::Waiting => 0,
            Place::Running { since_ns, until_ns } => {
                now_ns.min(*until_ns).saturating_sub(*since_ns)
            }
            Place::Ended { took_ns, .. } | Place::Late { took_ns } => *took_ns,
        });
        worked.sum()
    }

    /// What there is to learn of the layers that were asked. One that is still under way says nothing yet.
    pub fn measured(&self) -> Vec<Measured> {
        let of = |layer: &LayerId| {
            let (took_ns, value) = match self.place(*layer) {
                Place::Ended { took_ns, outcome } => match outcome {
                    Outcome::Found(confidence) => (took_ns, confidence),
                    Outcome::Nothing | Outcome::Failed => (took_ns, 0.0),
                },
                Place::Late { took_ns } => (took_ns, 0.0),
                Place::Out | Place::Waiting | Place::Running { .. } => return None,
            };
            Some(Measured {
                layer: *layer,
                took: Duration::from_nanos(took_ns),
                value,
                sure: value >= self.limits.enough,
            })
        };
        self.order.iter().filter_map(of).collect()
    }

    fn done(&mut self, now_ns: u64) -> Step {
        self.done_ns.get_or_insert(now_ns);
        Step::Done
    }

    /// Those whose share is over are late.
    fn expire(&mut self, now_ns: u64) {
        if self.done_ns.is_some() {
            return;
        }
        for place in &mut self.places {
            if let Place::Running { since_ns, until_ns } = *place
                && now_ns >= until_ns
            {
                let took_ns = until_ns.saturating_sub(since_ns);
                *place = Place::Late { took_ns };
            }
        }
    }

    fn running(&self) -> impl Iterator<Item = (LayerId, u64, u64)> {
        LayerId::ALL
            .into_iter()
            .filter_map(|layer| match self.places[layer.index()] {
                Place::Running { since_ns, until_ns } => Some((layer, since_ns, until_ns)),
                _ => None,
            })
    }

    fn waiting(&self) -> impl Iterator<Item = LayerId> {
        LayerId::ALL
            .into_iter()
            .filter(|layer| self.places[layer.index()] == Place::Waiting)
    }

    /// Whether another layer may be asked beside those that are.
    fn may_start(&self, now_ns: u64, estimates: &Estimates) -> bool {
        match self.mode {
            Mode::Parallel => true,
            Mode::Sequential => self.running().next().is_none(),
            Mode::Adaptive => self.running().all(|(layer, since_ns, _)| {
                let slow_at = self.slow_at(layer, since_ns, estimates);
                slow_at.is_some_and(|at| now_ns >= at)
            }),
        }
    }

    /// When a layer that was asked is slower than it usually is, and no longer waited for alone.
    fn slow_at(&self, layer: LayerId, since_ns: u64, estimates: &Estimates) -> Option<u64> {
        if self.mode != Mode::Adaptive || self.waiting().next().is_none() {
            return None;
        }
        let usual_ns = estimates.of(self.kind, layer).usual_ns()?;
        Some(since_ns.saturating_add(usual_ns))
    }

    /// The next layer with its share; none when there is none, or nothing left for it.
    fn choose(&self, now_ns: u64, estimates: &Estimates) -> Option<(LayerId, u64)> {
        let left = self.waiting().count() as u64;
        let layer = if self.places[0] == Place::Waiting {
            LayerId::Ifr
        } else if self.mode == Mode::Adaptive {
            estimates.best(self.kind, self.hint, self.waiting())?
        } else {
            let hinted = self.waiting().find(|layer| Some(*layer) == self.hint);
            hinted.or_else(|| self.waiting().next())?
        };
        let time_ns = self.limits.deadline_ns.saturating_sub(now_ns);
        let time_ns = match self.mode {
            // They share the time by having it at once.
            Mode::Parallel => time_ns,
            Mode::Sequential | Mode::Adaptive => time_ns / left.max(1),
        };
        let share_ns = time_ns.min(self.free_ns() / left.max(1));
        (share_ns > 0).then_some((layer, share_ns))
    }

    /// Work that is neither done nor promised to a layer that runs.
    fn free_ns(&self) -> u64 {
        let taken = self.places.iter().map(|place| match place {
            Place::Out | Place::Waiting => 0,
            Place::Running { since_ns, until_ns } => until_ns.saturating_sub(*since_ns),
            Place::Ended { took_ns, .. } | Place::Late { took_ns } => *took_ns,
        });
        self.limits.work_ns.saturating_sub(taken.sum())
    }
}
