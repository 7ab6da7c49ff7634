//! From what layers say to the parts of an answer.

use std::time::Duration;

use super::door::Reply;
use super::question::{Decision, Finding, Item, LayerError, LayerId, Report, Said};
use super::walk::Place;

/// What a layer answered, and what IFR decided.
pub(super) struct Heard {
    pub(super) finding: Option<Finding>,
    pub(super) next: Option<LayerId>,
}

impl Heard {
    pub(super) fn only(finding: Option<Finding>) -> Self {
        Self {
            finding,
            next: None,
        }
    }
}

pub(super) fn heard(finding: Reply<Option<Finding>>) -> Reply<Heard> {
    Box::pin(async move { finding.await.map(Heard::only) })
}

/// What is found besides a key itself.
pub(super) fn others(finding: Option<Finding>, own: &[u8], limit: u32) -> Option<Finding> {
    let mut items = finding?.items;
    items.retain(|item| item.key != own);
    items.truncate(limit as usize);
    Finding::of(items)
}

/// IFR's decision as an answer of the walk.
pub(super) fn decided(key: Vec<u8>, decision: Decision) -> Heard {
    let found = |value, confidence, why: &str| {
        Finding::of(vec![Item {
            key,
            score: confidence,
            value: Some(value),
            why: why.into(),
        }])
    };
    match decision {
        Decision::FoundExact(value) => Heard::only(found(value, 1.0, "this very key")),
        Decision::FoundPartial {
            value,
            next,
            confidence,
        } => Heard {
            finding: found(value, confidence, "this key, but its time is over"),
            next: Some(next),
        },
        Decision::RouteToLayers { next, .. } => Heard {
            finding: None,
            next,
        },
    }
}

pub(super) fn report(
    layer: LayerId,
    place: Place,
    not_asked: Option<Said>,
    heard: Option<Result<Heard, LayerError>>,
) -> Report {
    let (said, took_ns) = match place {
        Place::Out => (not_asked.unwrap_or(Said::NotAsked("it cannot be asked")), 0),
        Place::Waiting => (Said::NotAsked("the walk ended before"), 0),
        Place::Running { .. } => (Said::Cut, 0),
        Place::Late { took_ns } => (Said::Late, took_ns),
        Place::Ended { took_ns, .. } => {
            let said = match heard {
                Some(Ok(Heard {
                    finding: Some(finding),
                    ..
                })) => Said::Found(finding),
                Some(Ok(_)) | None => Said::Nothing,
                Some(Err(LayerError::Absent(why))) => Said::Absent(why),
                Some(Err(LayerError::Late)) => Said::Late,
                Some(Err(error)) => Said::Failed(error.to_string()),
            };
            (said, took_ns)
        }
    };
    Report {
        layer,
        said,
        took: Duration::from_nanos(took_ns),
    }
}
