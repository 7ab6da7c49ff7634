//! Names of what speaks for a candidate in the ranking, for explanations.

use crate::features::FEATURES;

/// One kind of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// What followed the last symbol.
    Order1,
    /// What followed the last two symbols.
    Order2,
    /// What followed the last three symbols.
    Order3,
    /// What came two events after the last symbol but one.
    Skip,
    /// The repetition under way.
    Repetition,
    /// When and how often the symbol came.
    Frequency,
    /// Its place among the recent symbols of the lane.
    Recency,
    /// The last value plus a usual step.
    Stride,
    /// A run with equal steps.
    Run,
    /// It keeps time and is due.
    Period,
    /// Several sources name it first.
    Agreement,
    /// It comes soon after what has just come.
    Near,
    /// The burst under way.
    Burst,
}

impl Source {
    /// Its name in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Order1 => "order 1",
            Self::Order2 => "order 2",
            Self::Order3 => "order 3",
            Self::Skip => "skip",
            Self::Repetition => "repetition",
            Self::Frequency => "frequency",
            Self::Recency => "recency",
            Self::Stride => "stride",
            Self::Run => "run",
            Self::Period => "period",
            Self::Agreement => "agreement",
            Self::Near => "near",
            Self::Burst => "burst",
        }
    }
}

/// The source of each feature of a row.
pub(crate) const SOURCES: [Source; FEATURES] = [
    Source::Order1,
    Source::Order2,
    Source::Order3,
    Source::Skip,
    Source::Repetition,
    Source::Frequency,
    Source::Recency,
    Source::Stride,
    Source::Stride,
    Source::Stride,
    Source::Stride,
    Source::Run,
    Source::Period,
    Source::Agreement,
    Source::Skip,
    Source::Frequency,
    Source::Near,
    Source::Near,
    Source::Burst,
];
