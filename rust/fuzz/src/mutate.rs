//! Changes bytes the way that reaches decoders: few changes of something valid.

/// SplitMix64: the same seed gives the same bytes everywhere.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 when that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next_u64() % end.max(1) as u64) as usize
    }
}

/// No input grows beyond this.
const BYTES_MAX: usize = 8 << 10;
/// Most bytes that one insertion or deletion takes.
const RUN_BYTES_MAX: usize = 48;

/// Makes one change to `data`. `other` is what a splice takes its end from.
pub fn mutate(data: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(data.len());
    let run = 1 + random.below(RUN_BYTES_MAX);
    match random.below(8) {
        0 | 1 => {
            if let Some(byte) = data.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        2 => {
            if let Some(byte) = data.get_mut(at) {
                *byte = random.next_u64() as u8;
            }
        }
        3 => number(data, random),
        4 => data.truncate(at),
        5 => {
            let fresh: Vec<u8> = (0..run).map(|_| random.next_u64() as u8).collect();
            data.splice(at..at, fresh);
        }
        6 => {
            // A stretch once more: entries that repeat, lists that are longer than they say.
            let end = (at + run).min(data.len());
            let again = data[at..end].to_vec();
            if random.below(2) == 0 {
                data.splice(at..at, again);
            } else {
                data.drain(at..end);
            }
        }
        _ => {
            let from = random.below(other.len());
            data.truncate(at);
            data.extend_from_slice(other.get(from..).unwrap_or_default());
        }
    }
    data.truncate(BYTES_MAX);
}

/// Changes a little-endian number somewhere, as lengths and counts are written.
fn number(data: &mut [u8], random: &mut Random) {
    let width = [1, 2, 4, 8][random.below(4)];
    // Most lengths and types stand near the front.
    let reach = if random.below(2) == 0 { 80 } else { data.len() };
    let at = random.below(data.len().min(reach));
    let length = data.len() as u64;
    let Some(field) = data.get_mut(at..at + width) else {
        return;
    };
    let mut bytes = [0; 8];
    bytes[..width].copy_from_slice(field);
    let old = u64::from_le_bytes(bytes);
    let new = match random.below(7) {
        0 => old.wrapping_add(1),
        1 => old.wrapping_sub(1),
        2 => 0,
        3 => u64::MAX,
        4 => length,
        5 => random.below(16) as u64,
        _ => old.wrapping_mul(2),
    };
    field.copy_from_slice(&new.to_le_bytes()[..width]);
}
