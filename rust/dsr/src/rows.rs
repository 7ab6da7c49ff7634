//! The vectors of a well, in rows: as 32-bit or 8-bit numbers, each with its id, its neuron and, where entries expire,
//! its last moment.

use crate::simd::{Level, STRIDE, dot, dot_i8, prefetch};

/// Rows of one chunk: what the store grows by.
const CHUNK: usize = 256;
/// The row holds a vector that no neuron owns.
pub(crate) const UNOWNED: u16 = u16::MAX;
/// The row is empty.
const FREE: u16 = u16::MAX - 1;
/// Most neurons: their numbers stay below the two marks above.
pub(crate) const NEURONS_MAX: usize = 1 << 15;
/// Greatest 16-bit number of a query: 4,096 products with 8-bit numbers add up within 31 bits.
const QUERY_MAX: f32 = 2047.0;

/// How a well keeps its vectors for the last, exact ranking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// One byte per number, scaled to the vector's greatest. A similarity is off by at most about
    /// `0.5 · max|x| / 127 · Σ|q|`; for 100 dense numbers about .001.
    #[default]
    Bytes,
    /// Four bytes per number: similarities to the last bit of a 32-bit float.
    Floats,
}

/// A query in the form that rows are compared with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probe {
    /// Of unit length.
    pub(crate) floats: Vec<f32>,
    shorts: Vec<i16>,
    scale: f32,
}

impl Probe {
    /// Takes a vector of unit length.
    pub(crate) fn set(&mut self, unit: &[f32]) {
        self.floats.clear();
        self.floats.extend_from_slice(unit);
        let most = unit.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let scale = QUERY_MAX / most;
        self.shorts.clear();
        self.shorts
            .extend(unit.iter().map(|x| (x * scale).round() as i16));
        self.shorts.resize(unit.len().next_multiple_of(STRIDE), 0);
        let norm: i64 = self
            .shorts
            .iter()
            .map(|x| i64::from(*x) * i64::from(*x))
            .sum();
        self.scale = 1.0 / (norm as f64).sqrt() as f32;
    }
}

#[derive(Clone, Debug)]
enum Numbers {
    /// Each chunk's vectors and then [`STRIDE`] zeros: a row may be read past its end.
    Bytes(Vec<i8>, Vec<f32>),
    Floats(Vec<f32>),
}

#[derive(Clone, Debug)]
struct Chunk {
    numbers: Numbers,
    ids: Vec<u64>,
    neurons: Vec<u16>,
    /// Empty in wells whose entries stay.
    moments: Vec<u32>,
}

/// All rows.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    dims: usize,
    precision: Precision,
    moments: bool,
    chunks: Vec<Chunk>,
    free: Vec<u32>,
    used: usize,
}

impl Rows {
    pub(crate) fn new(dims: usize, precision: Precision, moments: bool) -> Self {
        Self {
            dims,
            precision,
            moments,
            chunks: Vec::new(),
            free: Vec::new(),
            used: 0,
        }
    }

    /// Rows that hold a vector.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Rows, the empty ones included.
    pub(crate) fn places(&self) -> usize {
        self.chunks.len() * CHUNK
    }

    pub(crate) fn bytes(&self) -> usize {
        let chunk = |chunk: &Chunk| {
            let numbers = match &chunk.numbers {
                Numbers::Bytes(bytes, scales) => bytes.capacity() + scales.capacity() * 4,
                Numbers::Floats(floats) => floats.capacity() * 4,
            };
            numbers
                + chunk.ids.capacity() * 8
                + chunk.neurons.capacity() * 2
                + chunk.moments.capacity() * 4
        };
        self.chunks.iter().map(chunk).sum::<usize>()
            + self.chunks.capacity() * size_of::<Chunk>()
            + self.free.capacity() * size_of::<u32>()
    }

    /// What one more entry may cost here at most, beside its share of the index.
    pub(crate) fn growth(&self) -> usize {
        if !self.free.is_empty() {
            return 0;
        }
        let number = match self.precision {
            Precision::Bytes => 1,
            Precision::Floats => 4,
        };
        CHUNK * (self.dims * number + 18)
    }

    fn chunk(&self) -> Chunk {
        let numbers = match self.precision {
            Precision::Bytes => {
                Numbers::Bytes(vec![0; CHUNK * self.dims + STRIDE], vec![0.0; CHUNK])
            }
            Precision::Floats => Numbers::Floats(vec![0.0; CHUNK * self.dims]),
        };
        Chunk {
            numbers,
            ids: vec![0; CHUNK],
            neurons: vec![FREE; CHUNK],
            moments: if self.moments {
                vec![0; CHUNK]
            } else {
                Vec::new()
            },
        }
    }

    /// Takes an empty row, a new chunk when there is none, and writes a vector of unit length to it.
    pub(crate) fn push(&mut self, id: u64, unit: &[f32], moment: u32) -> u32 {
        let row = match self.free.pop() {
            Some(row) => row,
            None => {
                let first = self.places() as u32;
                self.chunks.push(self.chunk());
                // The lowest row comes off first.
                self.free.extend((first + 1..first + CHUNK as u32).rev());
                first
            }
        };
        self.used += 1;
        self.write(row, unit);
        let (dims, at) = (self.chunks.len(), row as usize % CHUNK);
        debug_assert!(row as usize / CHUNK < dims);
        let chunk = &mut self.chunks[row as usize / CHUNK];
        chunk.ids[at] = id;
        chunk.neurons[at] = UNOWNED;
        if let Some(place) = chunk.moments.get_mut(at) {
            *place = moment;
        }
        row
    }

    /// Replaces a row's vector.
    pub(crate) fn write(&mut self, row: u32, unit: &[f32]) {
        let at = row as usize % CHUNK;
        let place = at * self.dims..(at + 1) * self.dims;
        match &mut self.chunks[row as usize / CHUNK].numbers {
            Numbers::Bytes(bytes, scales) => {
                let most = unit.iter().fold(0.0f32, |most, x| most.max(x.abs()));
                let scale = 127.0 / most;
                let mut norm = 0i32;
                for (byte, x) in bytes[place].iter_mut().zip(unit) {
                    *byte = (x * scale).round() as i8;
                    norm += i32::from(*byte) * i32::from(*byte);
                }
                scales[at] = 1.0 / (norm as f32).sqrt();
            }
            Numbers::Floats(floats) => floats[place].copy_from_slice(unit),
        }
    }

    /// Empties a row.
    pub(crate) fn clear(&mut self, row: u32) {
        let at = row as usize % CHUNK;
        let chunk = &mut self.chunks[row as usize / CHUNK];
        chunk.neurons[at] = FREE;
        self.free.push(row);
        self.used -= 1;
    }

    /// Whether the row holds a vector.
    pub(crate) fn holds(&self, row: u32) -> bool {
        self.chunks
            .get(row as usize / CHUNK)
            .is_some_and(|chunk| chunk.neurons[row as usize % CHUNK] != FREE)
    }

    /// The rows that hold a vector.
    pub(crate) fn all(&self) -> impl Iterator<Item = u32> {
        (0..self.places() as u32).filter(|row| self.holds(*row))
    }

    pub(crate) fn id(&self, row: u32) -> u64 {
        self.chunks[row as usize / CHUNK].ids[row as usize % CHUNK]
    }

    pub(crate) fn neuron(&self, row: u32) -> u16 {
        self.chunks[row as usize / CHUNK].neurons[row as usize % CHUNK]
    }

    pub(crate) fn set_neuron(&mut self, row: u32, neuron: u16) {
        self.chunks[row as usize / CHUNK].neurons[row as usize % CHUNK] = neuron;
    }

    /// Its last moment; the greatest number where entries stay.
    pub(crate) fn moment(&self, row: u32) -> u32 {
        let chunk = &self.chunks[row as usize / CHUNK];
        chunk
            .moments
            .get(row as usize % CHUNK)
            .copied()
            .unwrap_or(u32::MAX)
    }

    pub(crate) fn set_moment(&mut self, row: u32, moment: u32) {
        if let Some(place) = self.chunks[row as usize / CHUNK]
            .moments
            .get_mut(row as usize % CHUNK)
        {
            *place = moment;
        }
    }

    /// The row's vector as it is kept, of unit length.
    pub(crate) fn read(&self, row: u32, out: &mut Vec<f32>) {
        let at = row as usize % CHUNK;
        let place = at * self.dims..(at + 1) * self.dims;
        out.clear();
        match &self.chunks[row as usize / CHUNK].numbers {
            Numbers::Bytes(bytes, scales) => {
                out.extend(
                    bytes[place]
                        .iter()
                        .map(|byte| f32::from(*byte) * scales[at]),
                );
            }
            Numbers::Floats(floats) => out.extend_from_slice(&floats[place]),
        }
    }

    /// The row's numbers as bytes for a snapshot.
    pub(crate) fn raw(&self, row: u32) -> impl Iterator<Item = u8> {
        let at = row as usize % CHUNK;
        let place = at * self.dims..(at + 1) * self.dims;
        let (bytes, floats) = match &self.chunks[row as usize / CHUNK].numbers {
            Numbers::Bytes(bytes, _) => (&bytes[place], &[][..]),
            Numbers::Floats(floats) => (&[][..], &floats[place]),
        };
        let floats = floats.iter().flat_map(|x| x.to_le_bytes());
        bytes.iter().map(|byte| *byte as u8).chain(floats)
    }

    /// Writes a snapshot's numbers to a row; whether they are a vector with a direction.
    pub(crate) fn set_raw(&mut self, row: u32, raw: &[u8]) -> bool {
        let at = row as usize % CHUNK;
        let place = at * self.dims..(at + 1) * self.dims;
        match &mut self.chunks[row as usize / CHUNK].numbers {
            Numbers::Bytes(bytes, scales) => {
                let mut norm = 0i32;
                for (byte, raw) in bytes[place].iter_mut().zip(raw) {
                    *byte = *raw as i8;
                    norm += i32::from(*byte) * i32::from(*byte);
                }
                scales[at] = 1.0 / (norm.max(1) as f32).sqrt();
                norm > 0 && !raw.contains(&0x80)
            }
            Numbers::Floats(floats) => {
                let mut norm = 0.0;
                for (x, raw) in floats[place].iter_mut().zip(raw.chunks_exact(4)) {
                    *x = f32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]);
                    norm += f64::from(*x) * f64::from(*x);
                }
                (norm - 1.0).abs() < 1e-3
            }
        }
    }

    /// Cosine of the probe and a row.
    #[inline]
    pub(crate) fn similarity(&self, level: Level, probe: &Probe, row: u32) -> f32 {
        let at = row as usize % CHUNK;
        let start = at * self.dims;
        let cosine = match &self.chunks[row as usize / CHUNK].numbers {
            Numbers::Bytes(bytes, scales) => {
                let sum = dot_i8(level, &probe.shorts, &bytes[start..][..probe.shorts.len()]);
                sum as f32 * scales[at] * probe.scale
            }
            Numbers::Floats(floats) => dot(level, &probe.floats, &floats[start..][..self.dims]),
        };
        cosine.clamp(-1.0, 1.0)
    }

    /// Brings a row closer before it is compared.
    #[inline]
    pub(crate) fn prefetch(&self, row: u32) {
        let start = row as usize % CHUNK * self.dims;
        if let Some(Chunk {
            numbers: Numbers::Bytes(bytes, _),
            ..
        }) = self.chunks.get(row as usize / CHUNK)
        {
            prefetch(&bytes[start..], self.dims);
        }
    }
}
