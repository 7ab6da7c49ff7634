//! What the two forms of the layer have in common: an input becomes a sparse winner code, and codes are compared.

use crate::error::DsrError;
use crate::well::{Scratch, Well};

/// Turns inputs into codes whose overlap says how alike the inputs are.
///
/// One implementation takes vectors (a [`Well`]: neurons with learned prototypes), the other blocks of bytes.
pub trait Encoder {
    /// What is encoded.
    type Input: ?Sized;
    /// Who won.
    type Code;

    /// The code of an input.
    ///
    /// # Errors
    /// When the input has no code; the implementation says when.
    fn encode(&self, input: &Self::Input) -> Result<Self::Code, DsrError>;

    /// How alike the inputs of two codes seem, 0 to 1.
    fn resemblance(&self, a: &Self::Code, b: &Self::Code) -> f32;
}

/// The neurons that fired first for a vector, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WinnerCode(Vec<u16>);

impl WinnerCode {
    /// The neurons, ascending.
    pub fn neurons(&self) -> &[u16] {
        &self.0
    }

    /// Neurons in both codes.
    pub fn overlap(&self, other: &Self) -> usize {
        self.0
            .iter()
            .filter(|neuron| other.0.binary_search(neuron).is_ok())
            .count()
    }
}

impl Encoder for Well {
    type Input = [f32];
    type Code = WinnerCode;

    /// As many winners as a search has; none while answers are exact.
    fn encode(&self, input: &[f32]) -> Result<WinnerCode, DsrError> {
        let spikes = self.fire(&mut Scratch::default(), input, self.stats().winners)?;
        let mut neurons: Vec<u16> = spikes.iter().map(|spike| spike.neuron).collect();
        neurons.sort_unstable();
        Ok(WinnerCode(neurons))
    }

    /// Shared winners over all winners (Jaccard).
    fn resemblance(&self, a: &WinnerCode, b: &WinnerCode) -> f32 {
        let shared = a.overlap(b);
        let all = a.0.len() + b.0.len() - shared;
        if all == 0 {
            0.0
        } else {
            shared as f32 / all as f32
        }
    }
}
