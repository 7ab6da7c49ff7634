//! The vectors of a well, in rows: as 32-bit or 8-bit numbers, each with its id, its neuron and, where entries expire,
//! its last moment.

use crate::codec::{Reader, Writer};
use crate::error::DsrError;
use crate::simd::{Level, STRIDE, dot, dot_i8, dots, dots_i8, prefetch};

/// Rows of one chunk: what the store grows by.
const CHUNK: usize = 256;
/// The row holds a vector that no neuron owns.
pub(crate) const UNOWNED: u16 = u16::MAX;
/// The row is empty.
const FREE: u16 = u16::MAX - 1;
/// No further empty row.
const END: u32 = u32::MAX;
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
    /// The first empty row; an empty row's id names the next. [`END`] closes the chain.
    free: u32,
    used: usize,
}

impl Rows {
    pub(crate) fn new(dims: usize, precision: Precision, moments: bool) -> Self {
        Self {
            dims,
            precision,
            moments,
            chunks: Vec::new(),
            free: END,
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

    /// Bytes that it takes; a function of what happened, not of the allocator.
    pub(crate) fn bytes(&self) -> usize {
        let chunk = |chunk: &Chunk| {
            let numbers = match &chunk.numbers {
                Numbers::Bytes(bytes, scales) => bytes.len() + scales.len() * 4,
                Numbers::Floats(floats) => floats.len() * 4,
            };
            numbers + chunk.ids.len() * 8 + chunk.neurons.len() * 2 + chunk.moments.len() * 4
        };
        self.chunks
            .iter()
            .map(|one| chunk(one) + size_of::<Chunk>())
            .sum()
    }

    /// What one more entry may cost here at most, beside its share of the index.
    pub(crate) fn growth(&self) -> usize {
        if self.free != END {
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
        if self.free == END {
            self.grow();
        }
        let row = self.free;
        self.free = self.id(row) as u32;
        self.used += 1;
        self.write(row, unit);
        let at = row as usize % CHUNK;
        let chunk = &mut self.chunks[row as usize / CHUNK];
        chunk.ids[at] = id;
        chunk.neurons[at] = UNOWNED;
        if let Some(place) = chunk.moments.get_mut(at) {
            *place = moment;
        }
        row
    }

    /// A chunk of empty rows in front of the chain; the lowest comes off first.
    fn grow(&mut self) {
        let first = self.places() as u32;
        let mut chunk = self.chunk();
        let last = CHUNK as u32 - 1;
        for (id, next) in chunk.ids.iter_mut().zip(first + 1..) {
            *id = u64::from(if next > first + last { self.free } else { next });
        }
        self.chunks.push(chunk);
        self.free = first;
    }

    /// Replaces a row's vector.
    pub(crate) fn write(&mut self, row: u32, unit: &[f32]) {
        let at = row as usize % CHUNK;
        let place = at * self.dims..(at + 1) * self.dims;
        match &mut self.chunks[row as usize / CHUNK].numbers {
            Numbers::Bytes(bytes, _) => {
                let most = unit.iter().fold(0.0f32, |most, x| most.max(x.abs()));
                let scale = 127.0 / most;
                for (byte, x) in bytes[place].iter_mut().zip(unit) {
                    *byte = (x * scale).round() as i8;
                }
            }
            Numbers::Floats(floats) => floats[place].copy_from_slice(unit),
        }
        self.rescale(row);
    }

    /// Empties a row.
    pub(crate) fn clear(&mut self, row: u32) {
        let at = row as usize % CHUNK;
        let chunk = &mut self.chunks[row as usize / CHUNK];
        chunk.neurons[at] = FREE;
        chunk.ids[at] = u64::from(self.free);
        // What was removed is gone, from snapshots too.
        let place = at * self.dims..(at + 1) * self.dims;
        match &mut chunk.numbers {
            Numbers::Bytes(bytes, _) => bytes[place].fill(0),
            Numbers::Floats(floats) => floats[place].fill(0.0),
        }
        self.free = row;
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

    /// Writes every row in full, the empty ones too: what is read back is as long as what it makes.
    pub(crate) fn write_all(&self, out: &mut Writer) {
        out.u64(self.chunks.len() as u64);
        out.u32(self.free);
        for chunk in &self.chunks {
            match &chunk.numbers {
                Numbers::Bytes(bytes, _) => {
                    out.extend(bytes[..CHUNK * self.dims].iter().map(|x| *x as u8))
                }
                Numbers::Floats(floats) => out.floats(floats),
            }
            for (id, neuron) in chunk.ids.iter().zip(&chunk.neurons) {
                out.u64(*id);
                out.u16(*neuron);
            }
            for moment in &chunk.moments {
                out.u32(*moment);
            }
        }
    }

    /// Reads what [`Rows::write_all`] wrote, or says what does not fit.
    pub(crate) fn read_all(
        from: &mut Reader<'_>,
        dims: usize,
        precision: Precision,
        moments: bool,
    ) -> Result<Self, DsrError> {
        let mut rows = Self::new(dims, precision, moments);
        let chunks = from.count(CHUNK * (dims + 10))?;
        rows.free = from.u32()?;
        for _ in 0..chunks {
            let mut chunk = rows.chunk();
            match &mut chunk.numbers {
                Numbers::Bytes(bytes, _) => {
                    for (byte, raw) in bytes.iter_mut().zip(from.take(CHUNK * dims)?) {
                        *byte = *raw as i8;
                        from.ensure(*byte != i8::MIN, "a number is outside its range")?;
                    }
                }
                Numbers::Floats(floats) => *floats = from.floats(CHUNK * dims)?,
            }
            for at in 0..CHUNK {
                chunk.ids[at] = from.u64()?;
                chunk.neurons[at] = from.u16()?;
            }
            for moment in &mut chunk.moments {
                *moment = from.u32()?;
            }
            rows.used += chunk
                .neurons
                .iter()
                .filter(|neuron| **neuron != FREE)
                .count();
            rows.chunks.push(chunk);
        }
        for row in rows.all().collect::<Vec<u32>>() {
            from.ensure(rows.rescale(row), "a vector has no direction")?;
        }
        // The chain must visit every empty row once: it has as many steps as there are, and ends.
        let mut next = rows.free;
        for _ in rows.used..rows.places() {
            let empty = (next as usize) < rows.places() && !rows.holds(next);
            from.ensure(empty, "the chain of empty rows is broken")?;
            next = u32::try_from(rows.id(next))
                .map_err(|_| from.wrong("the chain of empty rows is broken"))?;
        }
        from.ensure(next == END, "the chain of empty rows is broken")?;
        Ok(rows)
    }

    /// The scale that makes a row of bytes a vector of unit length; whether there is one.
    fn rescale(&mut self, row: u32) -> bool {
        let at = row as usize % CHUNK;
        let place = at * self.dims..(at + 1) * self.dims;
        match &mut self.chunks[row as usize / CHUNK].numbers {
            Numbers::Bytes(bytes, scales) => {
                let norm: i32 = bytes[place]
                    .iter()
                    .map(|x| i32::from(*x) * i32::from(*x))
                    .sum();
                scales[at] = 1.0 / (norm.max(1) as f32).sqrt();
                norm > 0
            }
            Numbers::Floats(floats) => {
                let norm: f64 = floats[place]
                    .iter()
                    .map(|x| f64::from(*x) * f64::from(*x))
                    .sum();
                (norm - 1.0).abs() < 1e-3
            }
        }
    }

    /// Whether no neuron owns any row.
    pub(crate) fn none_owned(&self) -> bool {
        self.all().all(|row| self.neuron(row) == UNOWNED)
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

    /// Cosine of the probe and every row that is held, chunk by chunk: to the bit what [`Rows::similarity`] says.
    pub(crate) fn similarities(
        &self,
        level: Level,
        probe: &Probe,
        mut visit: impl FnMut(u32, f32),
    ) {
        let (mut sums, mut cosines) = ([0i32; CHUNK], [0f32; CHUNK]);
        for (first, chunk) in (0u32..).step_by(CHUNK).zip(&self.chunks) {
            match &chunk.numbers {
                Numbers::Bytes(bytes, scales) => {
                    dots_i8(level, &probe.shorts, bytes, self.dims, &mut sums);
                    for ((cosine, sum), scale) in cosines.iter_mut().zip(&sums).zip(scales) {
                        *cosine = *sum as f32 * scale * probe.scale;
                    }
                }
                Numbers::Floats(floats) => dots(level, &probe.floats, floats, &mut cosines),
            }
            for ((row, cosine), neuron) in (first..).zip(&cosines).zip(&chunk.neurons) {
                if *neuron != FREE {
                    visit(row, cosine.clamp(-1.0, 1.0));
                }
            }
        }
    }

    /// Brings a row closer before it is compared.
    #[inline]
    pub(crate) fn prefetch(&self, row: u32) {
        let start = row as usize % CHUNK * self.dims;
        if let Some(Chunk {
            numbers: Numbers::Bytes(bytes, scales),
            ..
        }) = self.chunks.get(row as usize / CHUNK)
        {
            prefetch(&bytes[start..], self.dims);
            prefetch(&scales[row as usize % CHUNK..], 1);
        }
    }
}
