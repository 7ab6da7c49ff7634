//! Fields to bytes and back. Little-endian; what is read may have been written by anyone.
//!
//! A sealed message is a magic number, a version, the fields, and a CRC-32 of all that stands before it.

use crate::error::DsrError;

/// Bytes of magic, version and checksum.
const FRAME: usize = 4 + 2 + 4;

/// Puts fields one after the other.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new(magic: [u8; 4], version: u16) -> Self {
        let mut writer = Self(Vec::new());
        writer.bytes(&magic);
        writer.u16(version);
        writer
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn extend(&mut self, bytes: impl Iterator<Item = u8>) {
        self.0.extend(bytes);
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    pub(crate) fn f32(&mut self, value: f32) {
        self.u32(value.to_bits());
    }

    pub(crate) fn floats(&mut self, values: &[f32]) {
        for value in values {
            self.f32(*value);
        }
    }

    /// A part with its length before it.
    pub(crate) fn part(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.bytes(bytes);
    }

    /// Closes with the checksum.
    pub(crate) fn seal(mut self) -> Vec<u8> {
        self.u32(crc32fast::hash(&self.0));
        self.0
    }
}

/// Takes fields off, and names what was being read when one does not fit.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

type Field<T> = Result<T, DsrError>;

impl<'a> Reader<'a> {
    /// Opens a sealed message: magic, version and checksum must fit.
    pub(crate) fn open(
        what: &'static str,
        magic: [u8; 4],
        version: u16,
        bytes: &'a [u8],
    ) -> Field<Self> {
        let mut reader = Self { what, rest: bytes };
        if bytes.len() < FRAME {
            return Err(reader.wrong("it is too short"));
        }
        let (sealed, checksum) = bytes.split_at(bytes.len() - 4);
        reader.rest = sealed;
        if reader.take(4)? != magic {
            return Err(reader.wrong("it begins otherwise"));
        }
        if reader.u16()? != version {
            return Err(reader.wrong("its version is unknown to this release"));
        }
        if checksum != crc32fast::hash(sealed).to_le_bytes() {
            return Err(reader.wrong("its checksum differs"));
        }
        Ok(reader)
    }

    pub(crate) fn wrong(&self, why: &'static str) -> DsrError {
        DsrError::Malformed {
            what: self.what,
            why,
        }
    }

    /// An error unless the condition holds.
    pub(crate) fn ensure(&self, holds: bool, why: &'static str) -> Field<()> {
        if holds { Ok(()) } else { Err(self.wrong(why)) }
    }

    pub(crate) fn take(&mut self, count: usize) -> Field<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.wrong("it ends too early"));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Field<[u8; N]> {
        let taken = self.take(N)?;
        taken
            .try_into()
            .map_err(|_| self.wrong("it ends too early"))
    }

    pub(crate) fn u8(&mut self) -> Field<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Field<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Field<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Field<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A yes or no: nothing but 1 and 0.
    pub(crate) fn flag(&mut self) -> Field<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.wrong("a flag is neither 0 nor 1")),
        }
    }

    /// A number that is one.
    pub(crate) fn f32(&mut self) -> Field<f32> {
        let value = f32::from_bits(self.u32()?);
        self.ensure(value.is_finite(), "a number is NaN or infinite")?;
        Ok(value)
    }

    /// So many numbers. Nothing is allocated before all of them are there.
    pub(crate) fn floats(&mut self, count: usize) -> Field<Vec<f32>> {
        let bytes = count
            .checked_mul(4)
            .ok_or_else(|| self.wrong("a count overflows"))?;
        let raw = self.take(bytes)?;
        let floats: Vec<f32> = raw
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        self.ensure(
            floats.iter().all(|x| x.is_finite()),
            "a number is NaN or infinite",
        )?;
        Ok(floats)
    }

    /// A count of things that take at least `bytes` each: more than the rest can hold is refused.
    pub(crate) fn count(&mut self, bytes: usize) -> Field<usize> {
        let count = self.u64()?;
        self.ensure(
            count <= (self.rest.len() / bytes.max(1)) as u64,
            "a count is larger than what follows",
        )?;
        Ok(count as usize)
    }

    /// A part with its length before it.
    pub(crate) fn part(&mut self) -> Field<&'a [u8]> {
        let length = self.count(1)?;
        self.take(length)
    }

    /// Nothing may follow.
    pub(crate) fn end(&self) -> Field<()> {
        self.ensure(self.rest.is_empty(), "something follows its end")
    }
}
