//! Every target with seeded input: noise, and valid frames with changed bytes.

use hypermesh_fuzz::TARGETS;

const ROUNDS: usize = 20_000;

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
}

/// The golden vectors, as a start for changes.
fn corpus() -> Vec<Vec<u8>> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../integration/vectors/wire.txt"
    );
    let unhex = |text: &str| -> Option<Vec<u8>> {
        (0..text.len() / 2)
            .map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok())
            .collect()
    };
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| unhex(line.split(' ').nth(2)?))
        .filter(|bytes| bytes.len() < 4_096)
        .collect()
}

#[test]
fn no_target_panics() {
    let corpus = corpus();
    assert!(corpus.len() > 200);
    for (number, (name, target)) in TARGETS.iter().enumerate() {
        let seed = 1 + number as u64;
        println!("{name}: seed {seed}");
        let mut random = Random(seed);
        for _ in 0..ROUNDS {
            let mut data = match random.below(3) {
                0 => corpus[random.below(corpus.len())].clone(),
                _ => {
                    let length = random.below(300);
                    (0..length).map(|_| random.next() as u8).collect()
                }
            };
            // Small numbers where types and lengths stand reach deeper than noise does.
            for _ in 0..random.below(6) {
                if !data.is_empty() {
                    let at = random.below(data.len().min(80));
                    data[at] = random.below(16) as u8;
                }
            }
            target(&data);
        }
    }
}
