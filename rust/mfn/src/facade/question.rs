//! What is observed, asked and answered.

use std::time::Duration;

use mfn_wire::Status;

/// What a key means exactly; the meaning of the bytes is the caller's.
pub type Value = [u8; 16];

/// One of the four layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LayerId {
    /// Layer 1: what exactly matches?
    Ifr,
    /// Layer 2: what is alike?
    Dsr,
    /// Layer 3: what goes with it?
    Alm,
    /// Layer 4: what comes next?
    Cpe,
}

impl LayerId {
    /// All, in the order in which nothing else decides.
    pub const ALL: [Self; 4] = [Self::Ifr, Self::Dsr, Self::Alm, Self::Cpe];

    /// As in the names of sockets.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ifr => "ifr",
            Self::Dsr => "dsr",
            Self::Alm => "alm",
            Self::Cpe => "cpe",
        }
    }

    /// Its place in [`LayerId::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Content by which things are compared.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// Text or other bytes; they become a vector by [`super::gist`].
    Bytes(Vec<u8>),
    /// The caller's own vector, such as an embedding. All vectors of one pool have one length.
    Vector(Vec<f32>),
}

/// Something that happened, told to all layers: each takes what is for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// What it is about; 1 to 4,096 bytes.
    pub key: Vec<u8>,
    /// For IFR: what the key means.
    pub value: Option<Value>,
    /// For IFR in the process: how long that holds; `None`: for ever. `ifrd` keeps no times and refuses this.
    pub lives: Option<Duration>,
    /// What it is, by the caller's numbers: what layers are worth is learnt for each kind by itself.
    pub kind: u16,
    /// For DSR: what it is like.
    pub probe: Option<Probe>,
    /// For ALM: keys that were used together with it.
    pub with: Vec<Vec<u8>>,
    /// For CPE: the stream in which it came; empty: in none.
    pub stream: Vec<u8>,
    /// For CPE: the lane of that stream.
    pub lane: u32,
    /// For CPE: when, in nanoseconds of the caller's clock; 0: now.
    pub time: u64,
}

/// A question to the memory. What it does not fill in is not asked of the layer in question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question {
    /// For IFR and ALM, and for DSR without a probe: what it is about. May be empty.
    pub key: Vec<u8>,
    /// What it is, by the caller's numbers.
    pub kind: u16,
    /// For DSR: what it is like.
    pub probe: Option<Probe>,
    /// For DSR: least similarity of a match.
    pub least: f32,
    /// For CPE: the stream that is to be continued.
    pub stream: Vec<u8>,
    /// For CPE: its lane.
    pub lane: u32,
    /// Most items of each layer; 0: 5.
    pub limit: u32,
}

/// In which order and how many at a time the layers are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// IFR, then where its decision leads, then the others in their order; one at a time.
    #[default]
    Sequential,
    /// All at once.
    Parallel,
    /// IFR, then the others by what they were measured to be worth for their cost. One that is slower than it was measured
    /// to be is not waited for alone.
    Adaptive,
}

/// The limits of one [`super::Mfn::ask`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AskOptions {
    pub mode: Mode,
    /// The answer comes within this time.
    pub within: Duration,
    /// The layers together work for no longer: two that work at once use it up twice as fast.
    pub budget: Duration,
    /// A layer that is so sure ends the walk.
    pub enough: f32,
}

impl Default for AskOptions {
    /// One after another, a quarter of a second, no more work than that, and half sure is enough.
    fn default() -> Self {
        Self {
            mode: Mode::Sequential,
            within: Duration::from_millis(250),
            budget: Duration::from_millis(250),
            enough: 0.5,
        }
    }
}

/// What IFR says to a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    /// It is here.
    FoundExact(Value),
    /// Something of it is here: expired, or in another pool.
    FoundPartial {
        value: Value,
        /// Where a better answer may be.
        next: LayerId,
        confidence: f32,
    },
    /// It is not here.
    RouteToLayers {
        /// Where to ask; `ifrd` leaves that to the walk.
        next: Option<LayerId>,
        /// How often that layer had an answer.
        confidence: f32,
    },
}

/// One thing that a layer names.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub key: Vec<u8>,
    /// In the layer's own measure: 1 for exact, cosine, share of belief, probability.
    pub score: f32,
    /// Of IFR.
    pub value: Option<Value>,
    /// What the score rests on.
    pub why: String,
}

/// What a layer answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// How sure it is, by its own measure: the score of its best item.
    pub confidence: f32,
    /// Best first; never empty.
    pub items: Vec<Item>,
}

impl Finding {
    /// Nothing for no items.
    pub fn of(items: Vec<Item>) -> Option<Self> {
        let confidence = items.first()?.score;
        Some(Self { confidence, items })
    }
}

/// What became of a layer in an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// It knows something.
    Found(Finding),
    /// It answered that it knows nothing.
    Nothing,
    /// It was not asked; the text says why.
    NotAsked(&'static str),
    /// There is no such layer here; the text says why.
    Absent(String),
    /// It could not answer; the text says why.
    Failed(String),
    /// Its share of the time was over first.
    Late,
    /// Others answered first, or the time of the whole was over.
    Cut,
}

/// A layer's part in an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub layer: LayerId,
    pub said: Said,
    /// How long it worked.
    pub took: Duration,
}

/// What the memory answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Who answered: the first that was sure enough, else the surest.
    pub by: Option<LayerId>,
    /// How sure one may be of it: the layer's confidence, as much as it has held ([`super::Mfn::rate`]); without ratings the
    /// confidence itself.
    pub trusted: f32,
    /// All four layers, in the order of [`LayerId::ALL`].
    pub reports: Vec<Report>,
    /// The layers that were asked, in that order.
    pub order: Vec<LayerId>,
    /// From the question to the answer.
    pub took: Duration,
    /// The work of all layers together.
    pub worked: Duration,
}

impl Answer {
    /// What the layer that answered found.
    pub fn finding(&self) -> Option<&Finding> {
        match &self.report(self.by?).said {
            Said::Found(finding) => Some(finding),
            _ => None,
        }
    }

    /// A layer's part.
    pub fn report(&self, layer: LayerId) -> &Report {
        &self.reports[layer.index()]
    }
}

/// Why a layer did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayerError {
    /// There is no such layer here.
    #[error("{0}")]
    Absent(String),
    /// It was not reached, or not asked because it failed too often.
    #[error("{0}")]
    Away(String),
    /// The time was over first.
    #[error("it did not answer in time")]
    Late,
    /// It answered with an error.
    #[error("{text}")]
    Refused { status: Status, text: String },
}

impl LayerError {
    /// A status and a text that names cause and repair.
    pub fn refused(status: Status, text: impl Into<String>) -> Self {
        let text = text.into();
        Self::Refused { status, text }
    }

    /// Whether it says that what was asked for is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: Status::NOT_FOUND,
                ..
            }
        )
    }
}
