//! The numbers that a mesh may change by a motion.

use hypermesh_consensus::{DecodeError, Reader};

macro_rules! parameters {
    ($($(#[$doc:meta])* $number:literal $variant:ident $field:ident = $default:literal, $least:literal..=$most:literal;)*) => {
        /// Which parameter. The numbers are never used again for another.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Parameter { $($(#[$doc])* $variant = $number,)* }

        /// The limits of a mesh, the same on all its nodes.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Parameters { $($(#[$doc])* pub $field: u64,)* }

        impl Default for Parameters {
            fn default() -> Self { Self { $($field: $default,)* } }
        }

        impl Parameter {
            /// All of them, by number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name, as people write it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($field),)* }
            }

            /// What it may be.
            pub fn range(self) -> std::ops::RangeInclusive<u64> {
                match self { $(Self::$variant => $least..=$most,)* }
            }

            pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                match from.u8("a parameter")? {
                    $($number => Ok(Self::$variant),)*
                    value => Err(DecodeError::Unknown { what: "a parameter", value: value.into() }),
                }
            }
        }

        impl Parameters {
            pub fn get(&self, parameter: Parameter) -> u64 {
                match parameter { $(Parameter::$variant => self.$field,)* }
            }

            pub(crate) fn set(&mut self, parameter: Parameter, value: u64) {
                match parameter { $(Parameter::$variant => self.$field = value,)* }
            }
        }
    };
}

parameters! {
    /// Names that one member may have made, together with whom it delegated to.
    1 NamesPerAuthor names_per_author = 10_000, 1..=10_000_000;
    /// Learners that one voter may have admitted, at a time.
    2 LearnersPerInviter learners_per_inviter = 64, 1..=100_000;
    /// Members altogether.
    3 Members members = 4_096, 1..=1_000_000;
    /// Transactions of one author in one block.
    4 TransactionsPerAuthor transactions_per_author = 512, 1..=10_000;
    /// Motions of one voter that are open at a time.
    5 MotionsPerVoter motions_per_voter = 16, 1..=1_000;
    /// Heights after which a motion falls that has no quorum.
    6 MotionHeights motion_heights = 100_000, 1..=1_000_000_000;
    /// Delegations that one member may have made, together with whom it delegated to.
    7 DelegationsPerAuthor delegations_per_author = 64, 1..=100_000;
    /// Roots that one member may pin.
    8 PinsPerAuthor pins_per_author = 10_000, 1..=10_000_000;
}

impl Parameters {
    /// All numbers, 8 bytes each, by number.
    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        for parameter in Parameter::ALL {
            to.extend(self.get(*parameter).to_le_bytes());
        }
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut parameters = Self::default();
        for parameter in Parameter::ALL {
            let value = from.u64("a parameter")?;
            if !parameter.range().contains(&value) {
                return Err(DecodeError::Unknown {
                    what: parameter.name(),
                    value,
                });
            }
            parameters.set(*parameter, value);
        }
        Ok(parameters)
    }
}

impl std::str::FromStr for Parameter {
    type Err = DecodeError;
    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let found = Self::ALL.iter().find(|one| one.name() == text);
        found.copied().ok_or(DecodeError::Unknown {
            what: "a parameter of this name, byte",
            value: text.bytes().next().unwrap_or_default().into(),
        })
    }
}
