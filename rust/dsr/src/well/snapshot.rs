//! A well as bytes, and back: the restored one goes on exactly as the old one would have.

use super::{DsrError, Effort, Index, Options, Well};
use crate::codec::{Reader, Writer};
use crate::codes::{Codebook, shape};
use crate::neurons::Neurons;
use crate::random::Random;
use crate::rows::{NEURONS_MAX, Precision, Rows};
use crate::scan::List;

const MAGIC: [u8; 4] = *b"DSRW";
const VERSION: u16 = 1;

impl Options {
    pub(crate) fn write(&self, out: &mut Writer) {
        out.u32(self.dims as u32);
        out.u8(match self.precision {
            Precision::Bytes => 0,
            Precision::Floats => 1,
        });
        out.f32(self.recall);
        out.u8(u8::from(self.exact));
        out.u8(u8::from(self.expiring));
        out.u64(self.seed);
        out.u8(u8::from(self.portable));
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, DsrError> {
        let options = Self {
            dims: from.u32()? as usize,
            precision: match from.u8()? {
                0 => Precision::Bytes,
                1 => Precision::Floats,
                _ => return Err(from.wrong("its precision is unknown")),
            },
            recall: from.f32()?,
            exact: from.flag()?,
            expiring: from.flag()?,
            seed: from.u64()?,
            portable: from.flag()?,
        };
        options.check()?;
        Ok(options)
    }
}

impl Well {
    /// All that it holds and has learned, with a checksum. Short codes are left out: they follow from the rest.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut out = Writer::new(MAGIC, VERSION);
        self.options.write(&mut out);
        out.u64(self.random.state());
        out.u32(self.cursor);
        out.u64(self.ids.places() as u64);
        self.rows.write_all(&mut out);
        out.u8(u8::from(self.index.is_some()));
        if let Some(index) = &self.index {
            index.neurons.write(&mut out);
            out.floats(index.book.centroids());
            out.u64(index.effort.winners as u64);
            out.u64(index.effort.refine as u64);
            out.u64(index.alive_then as u64);
            out.f32(index.recall);
            out.u64(index.learned as u64);
            out.u64(index.since as u64);
            out.f32(index.error);
            out.f32(index.error_now);
            for list in &index.lists {
                out.u64(list.len() as u64);
                for row in list.rows() {
                    out.u32(*row);
                }
            }
        }
        out.seal()
    }

    /// The well of a snapshot. Allocates in proportion to the bytes that are there, whatever they claim.
    ///
    /// # Errors
    /// [`DsrError::Malformed`] for bytes that are no snapshot or contradict themselves, [`DsrError::Setting`] for
    /// options out of range.
    pub fn restore(bytes: &[u8]) -> Result<Self, DsrError> {
        let mut from = Reader::open("a snapshot of a well", MAGIC, VERSION, bytes)?;
        let options = Options::read(&mut from)?;
        let mut well = Self::new(options)?;
        well.random = Random::new(from.u64()?);
        well.cursor = from.u32()?;
        let places = from.u64()?;
        well.rows = Rows::read_all(&mut from, options.dims, options.precision, options.expiring)?;
        from.ensure(
            (well.cursor as usize) < well.rows.places().max(1),
            "the cursor is outside",
        )?;
        let held: Vec<u32> = well.rows.all().collect();
        let most = (well.rows.places() * 4).max(16) as u64;
        from.ensure(
            places <= most
                && (places == 0 || places.is_power_of_two())
                && held.len() as u64 * 8 <= places * 7,
            "the size of its table of ids does not fit",
        )?;
        well.ids.reserve(places as usize);
        for row in &held {
            let id = well.rows.id(*row);
            from.ensure(!well.contains(id), "an id stands twice")?;
            well.ids.insert(id, *row, |row| well.rows.id(row));
        }
        if from.flag()? {
            well.restore_index(&mut from, held.len())?;
        } else {
            from.ensure(
                well.rows.none_owned(),
                "an entry has an owner that is not there",
            )?;
        }
        from.end()?;
        Ok(well)
    }

    fn restore_index(&mut self, from: &mut Reader<'_>, held: usize) -> Result<(), DsrError> {
        let dims = self.options.dims;
        let neurons = Neurons::read(from, dims, NEURONS_MAX)?;
        let (parts, width) = shape(dims);
        let centroids = from.floats(parts * width * crate::codes::CENTROIDS)?;
        let book = Codebook::from_parts(dims, centroids)
            .ok_or_else(|| from.wrong("its centroids do not fit"))?;
        let places = neurons.places();
        let mut index = Index {
            alive: (0..places)
                .filter(|n| !neurons.is_silent(*n as u16))
                .count(),
            neurons,
            book,
            lists: Vec::new(),
            effort: Effort {
                winners: bounded(from)?,
                refine: bounded(from)?,
            },
            alive_then: bounded(from)?,
            recall: from.f32()?,
            learned: bounded(from)?,
            since: bounded(from)?,
            error: from.f32()?,
            error_now: from.f32()?,
        };
        from.ensure(index.alive > 0, "no neuron is alive")?;
        let (mut unit, mut code) = (Vec::new(), vec![0; index.book.code_bytes()]);
        let mut owned = 0;
        let mut seen = vec![false; self.rows.places()];
        for neuron in 0..places {
            let count = from.count(4)?;
            let mut list = List::default();
            for _ in 0..count {
                let row = from.u32()?;
                let fits = self.rows.holds(row)
                    && usize::from(self.rows.neuron(row)) == neuron
                    && !index.neurons.is_silent(neuron as u16)
                    && !std::mem::replace(&mut seen[row as usize], true);
                from.ensure(fits, "a list names a row that is not its own")?;
                self.rows.read(row, &mut unit);
                index.book.encode(self.level, &unit, &mut code);
                list.push(row, &code);
            }
            owned += count;
            index.lists.push(list);
        }
        from.ensure(owned == held, "an entry is in no list")?;
        self.index = Some(index);
        Ok(())
    }
}

/// A count that later arithmetic cannot overflow.
fn bounded(from: &mut Reader<'_>) -> Result<usize, DsrError> {
    let count = from.u64()?;
    from.ensure(count <= super::ROWS_MAX as u64, "a count is out of range")?;
    Ok(count as usize)
}
