//! Twins (Bano and others, "Twins: BFT systems made robust", 2020): two copies of one of four nodes, and for each round who leads
//! and who hears whom. All schedules of few rounds are tried, and of many rounds a part that is spread evenly.

use std::sync::OnceLock;

/// Nodes; of one there are two copies.
const NODES: usize = 4;
/// Which node is two.
pub(crate) const TWIN: usize = 1;
/// Running copies, in the order of the nodes: those of the twin are 1 and 2.
const COPIES: usize = NODES + 1;
/// Most sides that the copies are on.
const SIDES_MAX: u8 = 3;
/// Longest schedule.
pub const ROUNDS_MAX: u32 = 7;

/// One round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    /// On which side each copy is: those of different sides do not hear each other.
    pub sides: [u8; COPIES],
    /// The node that proposes. If it is the twin, both copies do.
    pub leader: usize,
}

/// Rounds that each height goes through until all heals. After the last all hear all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    pub rounds: Vec<Turn>,
}

/// All that one round may be, and what becomes of it when nodes that are alike change places.
#[derive(Debug)]
struct Choices {
    turns: Vec<Turn>,
    /// For each change of places the number that each turn becomes. The first changes nothing.
    changes: Vec<Vec<usize>>,
}

fn choices() -> &'static Choices {
    static CHOICES: OnceLock<Choices> = OnceLock::new();
    CHOICES.get_or_init(|| {
        let mut turns = Vec::new();
        for number in 0..usize::from(SIDES_MAX).pow(COPIES as u32) {
            let mut left = number;
            let sides = [(); COPIES].map(|()| {
                let side = left % usize::from(SIDES_MAX);
                left /= usize::from(SIDES_MAX);
                side as u8
            });
            // Sides have no names: of all namings one.
            if named(sides) == sides {
                turns.extend((0..NODES).map(|leader| Turn { sides, leader }));
            }
        }
        turns.sort_unstable();
        let place = |turn: Turn| turns.binary_search(&turn).unwrap_or_default();
        let changes = exchanges()
            .iter()
            .map(|places| {
                let change = |turn: &Turn| place(turn.exchanged(places));
                turns.iter().map(change).collect()
            })
            .collect();
        Choices { turns, changes }
    })
}

/// The sides by the order in which they come first.
fn named(sides: [u8; COPIES]) -> [u8; COPIES] {
    let mut seen = Vec::new();
    sides.map(|side| match seen.iter().position(|other| *other == side) {
        Some(place) => place as u8,
        None => {
            seen.push(side);
            seen.len() as u8 - 1
        }
    })
}

/// Copies that are alike: the three honest ones, and the two of the twin. The new place of each copy.
fn exchanges() -> Vec<[usize; COPIES]> {
    const HONEST: [[usize; 3]; 6] = [
        [0, 3, 4],
        [0, 4, 3],
        [3, 0, 4],
        [3, 4, 0],
        [4, 0, 3],
        [4, 3, 0],
    ];
    let with = |[a, b, c]: [usize; 3]| [[a, 1, 2, b, c], [a, 2, 1, b, c]];
    HONEST.into_iter().flat_map(with).collect()
}

impl Turn {
    fn exchanged(&self, places: &[usize; COPIES]) -> Self {
        let mut sides = [0; COPIES];
        for (side, place) in self.sides.iter().zip(places) {
            sides[*place] = *side;
        }
        // Node 0 runs in place 0, the twin in 1 and 2, the others behind.
        let first = self.leader + usize::from(self.leader > TWIN);
        let place = places[first];
        Self {
            sides: named(sides),
            leader: place - usize::from(place > TWIN),
        }
    }
}

impl Schedule {
    /// Schedules of so many rounds, of which each number is one.
    pub fn numbers(rounds: u32) -> u64 {
        (choices().turns.len() as u64).saturating_pow(rounds)
    }

    /// How many of them differ in more than which of the nodes that are alike is which (Burnside).
    pub fn different(rounds: u32) -> u64 {
        let changes = &choices().changes;
        let same = |change: &Vec<usize>| {
            let stays = change.iter().enumerate().filter(|(from, to)| from == *to);
            (stays.count() as u128).pow(rounds)
        };
        (changes.iter().map(same).sum::<u128>() / changes.len() as u128) as u64
    }

    /// One of them.
    pub fn of(number: u64, rounds: u32) -> Self {
        let turns = &choices().turns;
        let turn = |digit: usize| turns[digit];
        Self {
            rounds: digits(number, rounds).into_iter().map(turn).collect(),
        }
    }

    /// The number of the first of those that differ from this one in nothing else.
    pub fn first_like(number: u64, rounds: u32) -> u64 {
        let Choices { turns, changes } = choices();
        let digits = digits(number, rounds);
        let changed = |change: &Vec<usize>| {
            let digits = digits.iter().rev();
            digits.fold(0, |number, digit| {
                number * turns.len() as u64 + change[*digit] as u64
            })
        };
        changes.iter().map(changed).min().unwrap_or(number)
    }

    /// The numbers of all that differ, of so many rounds.
    pub fn all(rounds: u32) -> impl Iterator<Item = u64> {
        (0..Self::numbers(rounds))
            .filter(move |number| Self::first_like(*number, rounds) == *number)
    }

    /// So many numbers of schedules of so many rounds, spread evenly. The same every time.
    pub fn some(rounds: u32, count: u64) -> impl Iterator<Item = u64> {
        let all = Self::numbers(rounds);
        // An odd number near the golden part of all: it meets all of them before one again, wherever it has no part in common
        // with their number, whose parts are 2 and 41.
        let mut stride = (all as f64 * 0.618_033_988_75) as u64 | 1;
        if stride.is_multiple_of(41) {
            stride += 2;
        }
        (1..=count).map(move |at| {
            let number = (u128::from(at) * u128::from(stride) % u128::from(all)) as u64;
            Self::first_like(number, rounds)
        })
    }

    /// Whether a message from one copy does not come to another. `round` is what it is about, or its sender is in.
    pub(crate) fn parts(&self, from: usize, to: usize, round: i64) -> bool {
        let turn = usize::try_from(round.max(0))
            .ok()
            .and_then(|round| self.rounds.get(round));
        turn.is_some_and(|turn| turn.sides[from] != turn.sides[to])
    }
}

/// The turns of a schedule's rounds, first round first.
fn digits(mut number: u64, rounds: u32) -> Vec<usize> {
    let base = choices().turns.len() as u64;
    let next = |_| {
        let digit = number % base;
        number /= base;
        digit as usize
    };
    (0..rounds).map(next).collect()
}
