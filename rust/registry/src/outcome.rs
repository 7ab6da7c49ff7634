//! What came of a transaction: decided like everything else, and the same on all nodes.

use hypermesh_consensus::{DecodeError, Reader};
use hypermesh_id::Root;

/// What a decided transaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// What it asks for is done.
    Done,
    /// The motion waits: so many of the present voters said so, and so many are needed.
    Waits { said: u16, needed: u16 },
    /// The rules forbid it. The sequence is used up, nothing else changed.
    Refused(Refusal),
}

macro_rules! refusals {
    ($($number:literal $name:ident $text:literal;)*) => {
        /// Why the rules forbid an action. The numbers are never used again for another.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
        #[non_exhaustive]
        pub enum Refusal {
            /// The name means something else than was expected.
            #[error("the name means {}, not what was expected", match .0 { Some(root) => root.to_string(), None => "nothing".into() })]
            Conflict(Option<Root>),
            $(#[error($text)] $name,)*
        }

        impl Refusal {
            fn number(self) -> u8 {
                match self { Self::Conflict(_) => 1, $(Self::$name => $number,)* }
            }
            fn plain(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

refusals! {
    2 NotVoter "only a voter may do this";
    3 NotMember "it is not a member of the mesh";
    4 NotOwner "the name belongs to somebody else";
    5 NotDelegate "the prefix is delegated to somebody else";
    6 NotAllowed "its author may not do this alone";
    7 Present "it is there already";
    8 Absent "it is not there";
    9 Spent "the invitation was spent before";
    10 Quota "its author has as many as a member may have; delete some, or have the parameter raised";
    11 Full "the mesh has as many members as it may have";
    12 Convicted "it is convicted and can never vote again";
    13 LastVoter "the last voter stays";
    14 TooManyVoters "the mesh has as many voters as it may have";
    15 Said "it has said so before";
    16 Key "it is not the key of a node";
    17 Range "the value is outside of what the parameter may be";
    18 Old "the evidence is of a height whose voters are no longer kept, or that is not decided";
    19 NoEvidence "it proves nothing";
    20 Occupied "there are names or delegations below; only a quorum of the voters can delegate it";
    21 Copies "copies are 1 to 64, and domains at most as many";
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Waits { said, needed } => write!(f, "waits: {said} of {needed} voters said so"),
            Self::Refused(why) => write!(f, "refused: {why}"),
        }
    }
}

impl Outcome {
    pub fn is_done(&self) -> bool {
        *self == Self::Done
    }

    /// As it is kept beside its transaction: 0 done; 1, said 2, needed 2; 2, number 1, and of a conflict 0 or 1 and a root.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Done => vec![0],
            Self::Waits { said, needed } => {
                let mut to = vec![1];
                to.extend(said.to_le_bytes());
                to.extend(needed.to_le_bytes());
                to
            }
            Self::Refused(why) => {
                let mut to = vec![2, why.number()];
                match why {
                    Refusal::Conflict(Some(root)) => {
                        to.push(1);
                        to.extend(root.0.0);
                    }
                    Refusal::Conflict(None) => to.push(0),
                    _ => {}
                }
                to
            }
        }
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// Names the rule that the bytes break.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let unknown = |what, value: u8| DecodeError::Unknown {
            what,
            value: value.into(),
        };
        let mut from = Reader(bytes);
        let outcome = match from.u8("an outcome")? {
            0 => Self::Done,
            1 => Self::Waits {
                said: u16::from_le_bytes(from.array("a number")?),
                needed: u16::from_le_bytes(from.array("a number")?),
            },
            2 => Self::Refused(match from.u8("a refusal")? {
                1 => Refusal::Conflict(match from.u8("a root")? {
                    0 => None,
                    1 => Some(crate::transaction::root(&mut from)?),
                    value => return Err(unknown("a root", value)),
                }),
                number => Refusal::plain(number).ok_or(unknown("a refusal", number))?,
            }),
            value => return Err(unknown("an outcome", value)),
        };
        from.end()?;
        Ok(outcome)
    }
}
