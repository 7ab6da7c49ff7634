//! The four layers as one memory: told things once, asked once, under one deadline and one budget.
//!
//! - [`Mfn`]: [`observe`](Mfn::observe), [`recall`](Mfn::recall), [`resemble`](Mfn::resemble), [`relate`](Mfn::relate),
//!   [`foresee`](Mfn::foresee), and [`ask`](Mfn::ask), which walks the layers.
//! - [`Exact`], [`Similar`], [`Linked`], [`Foreseeing`]: what it needs of each layer; [`Records`], [`Vectors`], [`Links`],
//!   [`Streams`] have it in this process or behind a socket ([`Carrier`]).
//! - [`Walk`], [`Estimates`]: who is asked next, and what was measured; neither does I/O.
//!
//! Every layer may be absent, fail or be late. The answer says so, and the others answer all the same.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use mfn_memory::facade::{
//!     AskOptions, Door, InProcess, LayerId, Layers, Mfn, Observation, Probe, Question, Records, Streams, Vectors,
//! };
//! use mfn_memory::{Cpe, Dsr};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mfn = Mfn::new(Layers {
//!     ifr: Door::Here(Arc::new(Records::new(1 << 20)?)),
//!     dsr: Door::Here(Arc::new(Vectors::new(Arc::new(InProcess::<Dsr>::new(64 << 20)), 1))),
//!     cpe: Door::Here(Arc::new(Streams::new(Arc::new(InProcess::<Cpe>::new(64 << 20)), 1))),
//!     ..Layers::default() // ALM is a daemon; without it, it is named as absent.
//! });
//! let seen = Observation {
//!     key: b"fox".to_vec(),
//!     value: Some(*b"sixteen bytes ok"),
//!     probe: Some(Probe::Bytes(b"the quick brown fox".to_vec())),
//!     stream: b"seen".to_vec(),
//!     ..Observation::default()
//! };
//! mfn.observe(&seen, Duration::from_secs(1)).await;
//! let question = Question {
//!     key: b"foxes".to_vec(),
//!     probe: Some(Probe::Bytes(b"quick brown foxes".to_vec())),
//!     ..Question::default()
//! };
//! let answer = mfn.ask(&question, AskOptions::default()).await;
//! assert_eq!(answer.by, Some(LayerId::Dsr));
//! let finding = answer.finding().ok_or("no answer")?;
//! println!("{:?}, {:.2} sure: {}", answer.by, finding.confidence, finding.items[0].why);
//! # Ok(())
//! # }
//! ```

mod carrier;
mod door;
mod exact;
mod foreseeing;
mod gist;
mod linked;
mod measure;
mod node;
mod question;
mod report;
mod similar;
mod walk;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

pub use carrier::{Carrier, InProcess, Socket};
pub use door::{At, Door, Entry, Exact, Foreseeing, Like, Linked, Reply, Similar};
pub use exact::Records;
pub use foreseeing::Streams;
pub use gist::{DIMENSIONS as GIST_DIMENSIONS, gist};
pub use linked::{KIND_STATED, KIND_TOGETHER, Links};
pub use measure::{AT_STAKE_MAX, Estimate, Estimates, FADE, KINDS_MAX, Measured};
pub use node::NODE_POOL;
pub use question::{
    Answer, AskOptions, Decision, Finding, Item, LayerError, LayerId, Mode, Observation, Probe,
    Question, Report, Said, Value,
};
pub use similar::Vectors;
pub use walk::{Limits, Outcome, Place, Step, Walk};

use crate::host::unix_ns;
use report::{Heard, decided, heard, others, report};

/// Items of a layer when a question does not say how many.
const LIMIT_DEFAULT: u32 = 5;
/// Confidence that no layer has: all are asked.
const NEVER_ENOUGH: f32 = f32::INFINITY;

/// The layers that a memory has.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    pub ifr: Door<dyn Exact>,
    pub dsr: Door<dyn Similar>,
    pub alm: Door<dyn Linked>,
    pub cpe: Door<dyn Foreseeing>,
}

/// What became of an observation at one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It has it: acknowledged, and kept as that layer keeps things.
    Kept,
    /// There was nothing in it for that layer.
    NothingForIt,
    /// It does not have it.
    Not(LayerError),
}

/// The four layers as one memory. Safe to use from many tasks at once; needs a tokio runtime.
#[derive(Debug)]
pub struct Mfn {
    layers: Layers,
    estimates: Mutex<Estimates>,
    /// Where its times begin.
    epoch: Instant,
}

/// What a layer's task brings back.
type Found = (LayerId, Result<Heard, LayerError>);

impl Mfn {
    /// A memory of these layers. Inside a runtime.
    pub fn new(layers: Layers) -> Self {
        Self {
            layers,
            estimates: Mutex::default(),
            epoch: Instant::now(),
        }
    }

    /// A memory that goes on with what another one has measured.
    pub fn with_estimates(layers: Layers, estimates: Estimates) -> Self {
        Self {
            estimates: Mutex::new(estimates),
            ..Self::new(layers)
        }
    }

    /// All that it has measured so far.
    pub fn all_measured(&self) -> Estimates {
        self.estimates().clone()
    }

    /// Tells all layers that something happened; they take it at the same time. In the order of [`LayerId::ALL`]: what
    /// became of it.
    pub async fn observe(&self, seen: &Observation, within: Duration) -> [Noted; 4] {
        let ifr = async {
            let Some(value) = seen.value else {
                return Noted::NothingForIt;
            };
            let entry = Entry {
                key: &seen.key,
                value,
                kind: seen.kind,
                lives: seen.lives,
            };
            match self.layers.ifr.open() {
                Ok(ifr) => noted(ifr.put(entry, unix_ns(), within).await),
                Err(absent) => Noted::Not(absent),
            }
        };
        let dsr = async {
            let Some(vector) = seen.probe.as_ref().and_then(door::vector) else {
                return Noted::NothingForIt;
            };
            match self.layers.dsr.open() {
                Ok(dsr) => noted(dsr.insert(seen.key.clone(), vector, within).await),
                Err(absent) => Noted::Not(absent),
            }
        };
        let alm = async {
            if seen.with.is_empty() {
                return Noted::NothingForIt;
            }
            let mut keys = vec![seen.key.clone()];
            keys.extend(seen.with.iter().cloned());
            match self.layers.alm.open() {
                Ok(alm) => noted(alm.together(keys, within).await),
                Err(absent) => Noted::Not(absent),
            }
        };
        let cpe = async {
            if seen.stream.is_empty() {
                return Noted::NothingForIt;
            }
            let (stream, lane) = (seen.stream.clone(), seen.lane);
            let keys = vec![seen.key.clone()];
            match self.layers.cpe.open() {
                Ok(cpe) => noted(
                    cpe.observe(At { stream, lane }, keys, seen.time, within)
                        .await,
                ),
                Err(absent) => Noted::Not(absent),
            }
        };
        let (ifr, dsr, alm, cpe) = tokio::join!(ifr, dsr, alm, cpe);
        [ifr, dsr, alm, cpe]
    }

    /// What a key means exactly; `None`: it is not here.
    ///
    /// # Errors
    /// Why layer 1 does not say.
    pub async fn recall(&self, key: &[u8], within: Duration) -> Result<Option<Value>, LayerError> {
        let ifr = self.layers.ifr.open()?;
        match ifr.route(key, 0, unix_ns(), within).await? {
            Decision::FoundExact(value) => Ok(Some(value)),
            Decision::FoundPartial { .. } | Decision::RouteToLayers { .. } => Ok(None),
        }
    }

    /// Forgets what a key means, and what it is like. Whether its meaning was here. Links and streams fade by themselves.
    ///
    /// # Errors
    /// Why layer 1 does not; whatever layer 2 says.
    pub async fn forget(&self, key: &[u8], within: Duration) -> Result<bool, LayerError> {
        let was_here = self.layers.ifr.open()?.remove(key, within).await?;
        if let Ok(dsr) = self.layers.dsr.open() {
            match dsr.remove(key.to_vec(), within).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Ok(was_here)
    }

    /// Keys whose content is like something, most alike first.
    ///
    /// # Errors
    /// Why layer 2 does not say.
    pub async fn resemble(
        &self,
        like: Like,
        limit: u32,
        least: f32,
        within: Duration,
    ) -> Result<Vec<Item>, LayerError> {
        let dsr = self.layers.dsr.open()?;
        items(dsr.similar(like, limit, least, within).await)
    }

    /// What goes with a key.
    ///
    /// # Errors
    /// Why layer 3 does not say.
    pub async fn relate(
        &self,
        key: &[u8],
        limit: u32,
        within: Duration,
    ) -> Result<Vec<Item>, LayerError> {
        let alm = self.layers.alm.open()?;
        items(alm.related(key.to_vec(), limit, within).await)
    }

    /// States that one key leads to another; strength in (0, 1].
    ///
    /// # Errors
    /// Why layer 3 did not take it.
    pub async fn link(
        &self,
        from: &[u8],
        to: &[u8],
        strength: f64,
        within: Duration,
    ) -> Result<(), LayerError> {
        let alm = self.layers.alm.open()?;
        alm.link(from.to_vec(), to.to_vec(), strength, within).await
    }

    /// The best ways from one key to another, best first; empty when there is none.
    ///
    /// # Errors
    /// Why layer 3 does not say.
    pub async fn paths(
        &self,
        from: &[u8],
        to: &[u8],
        count: u32,
        within: Duration,
    ) -> Result<Vec<mfn_alm::Path>, LayerError> {
        let alm = self.layers.alm.open()?;
        alm.paths(from.to_vec(), to.to_vec(), count, within).await
    }

    /// What comes next in a stream; empty when nothing is claimed.
    ///
    /// # Errors
    /// Why layer 4 does not say.
    pub async fn foresee(
        &self,
        at: At,
        limit: u32,
        within: Duration,
    ) -> Result<Vec<Item>, LayerError> {
        let cpe = self.layers.cpe.open()?;
        items(cpe.next(at, limit, 0, within).await)
    }

    /// Walks the layers until one is sure enough, or time, budget or layers are at their end.
    pub async fn ask(&self, question: &Question, options: AskOptions) -> Answer {
        let begin_ns = self.now_ns();
        let limits = Limits {
            deadline_ns: begin_ns.saturating_add(nanos(options.within)),
            work_ns: nanos(options.budget),
            enough: options.enough,
        };
        let asked = self.askable(question);
        let askable = [0, 1, 2, 3].map(|at| asked[at].is_none());
        let mut walk = Walk::new(options.mode, question.kind, limits, askable);
        let mut heard: [Option<Result<Heard, LayerError>>; 4] = Default::default();
        let mut tasks: JoinSet<Found> = JoinSet::new();
        loop {
            let now_ns = self.now_ns();
            let step = walk.next(now_ns, &self.estimates());
            match step {
                Step::Done => break,
                Step::Ask { layer, until_ns } => {
                    let within = Duration::from_nanos(until_ns.saturating_sub(now_ns));
                    let answer = self.put_to(layer, question, within);
                    tasks.spawn(async move { (layer, answer.await) });
                }
                Step::Wait { until_ns } => {
                    let until = self.epoch + Duration::from_nanos(until_ns);
                    let ended = tokio::time::timeout_at(until, tasks.join_next());
                    let Ok(Some(Ok((layer, result)))) = ended.await else {
                        continue;
                    };
                    let outcome = match &result {
                        Ok(Heard {
                            finding: Some(finding),
                            ..
                        }) => {
                            Outcome::Found(self.trusted(question.kind, layer, finding.confidence))
                        }
                        Ok(_) => Outcome::Nothing,
                        Err(_) => Outcome::Failed,
                    };
                    if walk.ended(layer, self.now_ns(), outcome) {
                        if layer == LayerId::Ifr
                            && let Ok(heard) = &result
                        {
                            walk.lead(heard.next);
                        }
                        heard[layer.index()] = Some(result);
                    }
                }
            }
        }
        let end_ns = self.now_ns();
        self.learn(question.kind, &walk);
        let reports = LayerId::ALL.map(|layer| {
            let at = layer.index();
            report(
                layer,
                walk.place(layer),
                asked[at].clone(),
                heard[at].take(),
            )
        });
        let by = walk.by();
        let trusted = by.map_or(0.0, |layer| match walk.place(layer) {
            Place::Ended {
                outcome: Outcome::Found(trusted),
                ..
            } => trusted,
            _ => 0.0,
        });
        Answer {
            by,
            trusted,
            reports: reports.into(),
            order: walk.order().to_vec(),
            took: Duration::from_nanos(end_ns.saturating_sub(begin_ns)),
            worked: Duration::from_nanos(walk.worked_ns(end_ns)),
        }
    }

    /// Says whether an answer was of use. A layer is as sure as it is, and only who asked knows whether it was right. From then
    /// on a layer's confidence in answers of this kind counts as much as it has held.
    pub fn rate(&self, kind: u16, answer: &Answer, useful: bool) {
        if let (Some(layer), Some(finding)) = (answer.by, answer.finding()) {
            let (sure, value) = (finding.confidence, answer.trusted);
            self.estimates().rate(kind, layer, sure, value, useful);
        }
    }

    /// How much a layer's confidence counts. What IFR has exactly is a fact, and needs no trust.
    fn trusted(&self, kind: u16, layer: LayerId, confidence: f32) -> f32 {
        match layer {
            LayerId::Ifr => confidence,
            _ => self.estimates().of(kind, layer).trusted(confidence),
        }
    }

    /// What every layer has to say to a question, whoever could answer it, and for the best match of DSR why it is one.
    pub async fn explain(&self, question: &Question, within: Duration) -> Answer {
        let options = AskOptions {
            mode: Mode::Parallel,
            within,
            // Each may have all of the time.
            budget: within.saturating_mul(4),
            enough: NEVER_ENOUGH,
        };
        let mut answer = self.ask(question, options).await;
        let left = within.saturating_sub(answer.took);
        let report = &mut answer.reports[LayerId::Dsr.index()];
        if let Said::Found(finding) = &mut report.said
            && let Some(best) = finding.items.first_mut()
            && let Some(vector) = question.probe.as_ref().and_then(door::vector)
            && let Ok(dsr) = self.layers.dsr.open()
            && let Ok(why) = dsr.explain(best.key.clone(), vector, left).await
        {
            best.why = why;
        }
        answer
    }

    /// What was measured of a layer for a kind of question.
    pub fn measured(&self, kind: u16, layer: LayerId) -> Estimate {
        self.estimates().of(kind, layer)
    }

    /// Why a layer is not asked this question; `None` where it is.
    fn askable(&self, question: &Question) -> [Option<Said>; 4] {
        let layers = &self.layers;
        let nothing = |why| Some(Said::NotAsked(why));
        let absent = |why: Option<&str>| why.map(|why| Said::Absent(why.to_owned()));
        let keyless = question.key.is_empty();
        let no_key = || {
            keyless
                .then_some("the question names no key")
                .and_then(nothing)
        };
        let no_probe = || {
            (keyless && question.probe.is_none())
                .then_some("the question has nothing that could be like something")
                .and_then(nothing)
        };
        let no_stream = || {
            question
                .stream
                .is_empty()
                .then_some("the question names no stream")
                .and_then(nothing)
        };
        [
            absent(layers.ifr.absent()).or_else(no_key),
            absent(layers.dsr.absent()).or_else(no_probe),
            absent(layers.alm.absent()).or_else(no_key),
            absent(layers.cpe.absent()).or_else(no_stream),
        ]
    }

    /// The question, as that layer understands it.
    fn put_to(&self, layer: LayerId, question: &Question, within: Duration) -> Reply<Heard> {
        let key = question.key.clone();
        let limit = match question.limit {
            0 => LIMIT_DEFAULT,
            limit => limit,
        };
        let asked = || -> Result<Reply<Heard>, LayerError> {
            Ok(match layer {
                LayerId::Ifr => {
                    let ifr = self.layers.ifr.open()?;
                    let decision = ifr.route(&key, question.kind, unix_ns(), within);
                    Box::pin(async move { Ok(decided(key, decision.await?)) })
                }
                LayerId::Dsr => {
                    let vector = question.probe.as_ref().map(door::vector);
                    let like = match vector {
                        None => Like::Key(key),
                        Some(Some(vector)) => Like::Vector(vector),
                        Some(None) => return Ok(similar::nothing(Heard::only(None))),
                    };
                    let dsr = self.layers.dsr.open()?;
                    let own = question.key.clone();
                    // That a key is like itself is no news: one more is asked for, and it is left out.
                    let found = dsr.similar(like, limit + 1, question.least, within);
                    Box::pin(async move { Ok(Heard::only(others(found.await?, &own, limit))) })
                }
                LayerId::Alm => {
                    let alm = self.layers.alm.open()?;
                    heard(alm.related(key, limit, within))
                }
                LayerId::Cpe => {
                    let (stream, lane) = (question.stream.clone(), question.lane);
                    let cpe = self.layers.cpe.open()?;
                    heard(cpe.next(At { stream, lane }, limit, 0, within))
                }
            })
        };
        match asked() {
            Ok(reply) => reply,
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    /// Takes the walk's measurements in. A layer that was cut off tells nothing: its answer might have come next.
    fn learn(&self, kind: u16, walk: &Walk) {
        let measured = walk.measured();
        if let Ok(ifr) = self.layers.ifr.open() {
            for one in &measured {
                ifr.learn(kind, one.layer, one.value > 0.0);
            }
        }
        self.estimates().record(kind, &measured);
    }

    fn estimates(&self) -> MutexGuard<'_, Estimates> {
        self.estimates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ns(&self) -> u64 {
        nanos(self.epoch.elapsed())
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn noted(done: Result<(), LayerError>) -> Noted {
    match done {
        Ok(()) => Noted::Kept,
        Err(error) => Noted::Not(error),
    }
}

fn items(found: Result<Option<Finding>, LayerError>) -> Result<Vec<Item>, LayerError> {
    Ok(found?.map_or_else(Vec::new, |finding| finding.items))
}
