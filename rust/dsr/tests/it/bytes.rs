//! Sketches against exact sets of shingles, the reservoir against a scan, and hostile snapshots.

use std::collections::HashSet;

use mfn_dsr::bytes::{
    Encoder, NEURONS, Options, Reservoir, SKETCH_BYTES, Sketch, SnapshotError, expected_gain,
    explain, resemblance,
};
use proptest::prelude::*;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// The block with some of its stretches written anew.
    fn edited(&mut self, block: &[u8], edits: usize) -> Vec<u8> {
        let mut out = block.to_vec();
        for _ in 0..edits {
            let length = 1 + self.below(60);
            let at = self.below(out.len().saturating_sub(length));
            let (cut, fresh) = (self.below(length), self.bytes(length));
            out.splice(at..at + cut, fresh);
        }
        out
    }
}

/// The dumb version: all shingles of both.
fn exact(a: &[u8], b: &[u8], size: usize) -> f32 {
    let a: HashSet<&[u8]> = a.windows(size).collect();
    let b: HashSet<&[u8]> = b.windows(size).collect();
    let common = a.intersection(&b).count();
    common as f32 / (a.len() + b.len() - common).max(1) as f32
}

/// Families: a first member, and edited ones. Answers (family, block).
fn families(random: &mut Random, count: usize, members: usize) -> Vec<(usize, Vec<u8>)> {
    let mut out = Vec::new();
    for family in 0..count {
        let length = 8_000 + random.below(20_000);
        let first = random.bytes(length);
        for _ in 0..members {
            let edits = 1 + random.below(30);
            out.push((family, random.edited(&first, edits)));
        }
    }
    out
}

fn id(number: usize) -> [u8; 32] {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&Random(number as u64).next().to_le_bytes());
    id[8..16].copy_from_slice(&(number as u64).to_le_bytes());
    id
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_estimate_follows_the_exact_windows(seed: u64, length in 400..30_000_usize, edits in 0..80_usize) {
        let mut random = Random(seed);
        let a = random.bytes(length);
        let b = random.edited(&a, edits);
        let encoder = Encoder::new(seed);
        let (x, y) = (encoder.sketch(&a), encoder.sketch(&b));
        // What the neurons see, before it is stated in shorter windows.
        let said = explain(&x, &y);
        let fired = (NEURONS - said.silent.len()).max(1) as f32;
        let (seen, truth) = (said.agreed.len() as f32 / fired, exact(&a, &b, 32));
        let error = (truth * (1.0 - truth) / fired).sqrt();
        prop_assert!((seen - truth).abs() <= 5.0 * error + 0.02, "{seen} instead of {truth}");
        prop_assert_eq!(resemblance(&x, &x), 1.0);
        prop_assert_eq!(resemblance(&x, &y), resemblance(&y, &x));
        prop_assert!(expected_gain(&x, &x) > 0.95);
    }

    #[test]
    fn any_bytes_are_a_sketch(a: [[u8; 32]; 3], b: [[u8; 32]; 3]) {
        let make = |parts: [[u8; 32]; 3]| {
            let mut bytes = [0; SKETCH_BYTES];
            bytes.copy_from_slice(parts.as_flattened());
            Sketch::from_bytes(bytes)
        };
        let (a, b) = (make(a), make(b));
        for value in [resemblance(&a, &b), expected_gain(&a, &b), explain(&a, &b).resemblance] {
            prop_assert!((0.0..=1.0).contains(&value));
        }
        let mut reservoir = Reservoir::new(Options::default());
        reservoir.insert([1; 32], a);
        prop_assert!(reservoir.similar(&b, 0.0).len() <= 1);
    }

    #[test]
    fn damaged_snapshots_are_refused(bytes: Vec<u8>, at: prop::sample::Index, bit in 0..8_u8) {
        let options = Options::default();
        prop_assert!(Reservoir::from_bytes(&bytes, options).is_err());
        let mut reservoir = Reservoir::new(options);
        let encoder = Encoder::new(0);
        for number in 0..3 {
            reservoir.insert(id(number), encoder.sketch(&id(number)));
        }
        let mut whole = reservoir.to_bytes();
        let at = at.index(whole.len());
        prop_assert!(Reservoir::from_bytes(&whole[..at], options).is_err());
        whole[at] ^= 1 << bit;
        prop_assert!(Reservoir::from_bytes(&whole, options).is_err());
    }
}

#[test]
fn relatives_are_found_and_strangers_are_not() {
    let mut random = Random(11);
    let encoder = Encoder::new(5);
    let blocks = families(&mut random, 60, 4);
    let mut reservoir = Reservoir::new(Options {
        seed: 5,
        ..Options::default()
    });
    for (number, (_, block)) in blocks.iter().enumerate() {
        reservoir.insert(id(number), encoder.sketch(block));
    }
    for (number, (family, block)) in blocks.iter().enumerate() {
        let sketch = encoder.sketch(block);
        let top = reservoir.top(&sketch, 4);
        // A sibling with few edits may have the very same sketch.
        let itself = top.iter().find(|hit| hit.id == id(number));
        assert_eq!(itself.map(|hit| hit.resemblance), Some(1.0));
        assert_eq!(top.len(), 4, "block {number}");
        let kin: HashSet<_> = (0..4).map(|member| id(family * 4 + member)).collect();
        assert!(
            top.iter().all(|hit| kin.contains(&hit.id)),
            "block {number}"
        );
        // The same by a scan: the buckets lose nothing that is near.
        let scan = (0..blocks.len())
            .filter(|other| resemblance(&encoder.sketch(&blocks[*other].1), &sketch) >= 0.85);
        assert_eq!(reservoir.similar(&sketch, 0.85).len(), scan.count());
        assert!(reservoir.bases(&sketch, 0.5, 2).len() == 2);
    }
}

/// Recall of the right family at the first place, with one encoder to insert and one to ask.
fn recall(insert: &Encoder, ask: &Encoder) -> f64 {
    let mut random = Random(21);
    let blocks = families(&mut random, 100, 2);
    let mut reservoir = Reservoir::new(Options::default());
    for (number, (_, block)) in blocks.iter().enumerate().step_by(2) {
        reservoir.insert(id(number), insert.sketch(block));
    }
    let found = blocks
        .iter()
        .enumerate()
        .skip(1)
        .step_by(2)
        .filter(|(number, (_, block))| {
            let top = reservoir.top(&ask.sketch(block), 1);
            top.first().is_some_and(|hit| hit.id == id(number - 1))
        });
    found.count() as f64 / 100.0
}

#[test]
fn the_code_carries_the_answer() {
    let (one, other) = (Encoder::new(1), Encoder::new(2));
    assert!(recall(&one, &one) >= 0.99);
    // With other weights on one side there is nothing left: chance is one in a hundred.
    let chance = recall(&one, &other);
    assert!(
        chance <= 0.05,
        "{chance}: something besides the code answers"
    );
}

#[test]
fn the_neurons_that_agree_are_the_reason() {
    let mut random = Random(31);
    let encoder = Encoder::new(1);
    let block = random.bytes(20_000);
    let (a, b) = (
        encoder.sketch(&block),
        encoder.sketch(&random.edited(&block, 40)),
    );
    let said = explain(&a, &b);
    assert!(!said.agreed.is_empty() && !said.differed.is_empty());
    assert_eq!(
        said.agreed.len() + said.differed.len() + said.silent.len(),
        NEURONS
    );
    // Silenced one after the other, they take the resemblance with them.
    let (mut bytes, mut last) = (b.to_bytes(), said.resemblance);
    for neuron in said.agreed {
        let neuron = usize::from(neuron);
        let place = if neuron < 12 {
            4 + 2 * neuron..6 + 2 * neuron
        } else {
            16 + neuron..17 + neuron
        };
        bytes[place].fill(0);
        let now = resemblance(&a, &Sketch::from_bytes(bytes));
        assert!(now <= last);
        last = now;
    }
    assert_eq!(last, 0.0);
}

#[test]
fn a_budget_holds_and_what_is_used_stays() {
    let options = Options {
        bytes_max: 400_000,
        seed: 3,
    };
    let encoder = Encoder::new(3);
    let mut reservoir = Reservoir::new(options);
    let sketch = |number: usize| encoder.sketch(&Random(number as u64).bytes(500));
    let most = reservoir.stats().entries_max as usize;
    assert!(most > 500 && most < 4_000, "{most}");
    for number in 0..3 * most {
        reservoir.insert(id(number), sketch(number));
        reservoir.touch(&id(7));
        assert!(reservoir.stats().bytes <= options.bytes_max);
    }
    assert_eq!(reservoir.len(), most);
    assert_eq!(reservoir.stats().evicted as usize, 2 * most);
    assert!(
        reservoir.get(&id(7)).is_some(),
        "what is used outlives what is not"
    );
    assert!(reservoir.get(&id(8)).is_none());
    // Everything that is left is found, nothing that is gone is.
    for number in 0..3 * most {
        let here = reservoir.get(&id(number)).is_some();
        let found = reservoir.similar(&sketch(number), 0.99);
        assert_eq!(
            found.iter().any(|hit| hit.id == id(number)),
            here,
            "{number}"
        );
        assert!(found.iter().all(|hit| reservoir.get(&hit.id).is_some()));
    }
}

#[test]
fn inserting_and_removing_is_as_a_map_would() {
    let mut random = Random(41);
    let encoder = Encoder::new(3);
    let mut reservoir = Reservoir::new(Options::default());
    let mut model = std::collections::BTreeMap::new();
    for _ in 0..4_000 {
        let key = id(random.below(300));
        if random.below(3) == 0 {
            assert_eq!(reservoir.remove(&key), model.remove(&key).is_some());
        } else {
            let (start, length) = (random.below(40), 40 + random.below(400));
            let sketch = encoder.sketch(&Random(start as u64).bytes(length));
            assert_eq!(reservoir.insert(key, sketch), None);
            model.insert(key, sketch);
        }
    }
    assert_eq!(reservoir.len(), model.len());
    let mut seen = 0;
    reservoir.for_each(&mut |id, sketch| {
        assert_eq!(model.get(id), Some(sketch));
        seen += 1;
    });
    assert_eq!(seen, model.len());
    for (key, sketch) in &model {
        let near = reservoir.similar(sketch, 0.999);
        // More than 64 equal codes share a chain here: then the newest are found.
        assert!(near.iter().any(|hit| hit.id == *key) || near.len() >= 10);
    }
}

#[test]
fn a_snapshot_is_the_same_reservoir() {
    let encoder = Encoder::new(3);
    let options = Options {
        seed: 3,
        ..Options::default()
    };
    let fill = || {
        let mut reservoir = Reservoir::new(options);
        for number in 0..500 {
            reservoir.insert(
                id(number),
                encoder.sketch(&Random(number as u64 / 5).bytes(900)),
            );
        }
        reservoir.remove(&id(100));
        reservoir
    };
    let reservoir = fill();
    let bytes = reservoir.to_bytes();
    assert_eq!(bytes, fill().to_bytes(), "the same calls, the same bytes");
    let again = Reservoir::from_bytes(&bytes, options).unwrap();
    assert_eq!(again.len(), 499);
    assert_eq!(again.to_bytes(), bytes);
    let sketch = encoder.sketch(&Random(3).bytes(900));
    assert_eq!(again.top(&sketch, 3).len(), 3);
    let other = Reservoir::from_bytes(&bytes, Options { seed: 4, ..options });
    assert_eq!(other.unwrap_err(), SnapshotError::Seed(3));
}

#[test]
fn one_crowded_bucket_bounds_the_work() {
    // Ten thousand equal blocks: a query looks at the newest of them only.
    let encoder = Encoder::new(3);
    let mut reservoir = Reservoir::new(Options::default());
    let sketch = encoder.sketch(&Random(1).bytes(5_000));
    for number in 0..10_000 {
        reservoir.insert(id(number), sketch);
    }
    let hits = reservoir.similar(&sketch, 0.85);
    assert!(hits.len() >= 64 && hits.len() <= 64 * 12, "{}", hits.len());
    (0..10_000).for_each(|number| assert!(reservoir.remove(&id(number))));
    assert!(reservoir.similar(&sketch, 0.0).is_empty());
}
