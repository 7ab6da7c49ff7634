//! Bytes in and out: little-endian numbers, lengths checked before anything is allocated.

use crate::error::CpeError;

/// Collects an encoding.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes.extend(value.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes.extend(value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes.extend(value.to_le_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.bytes.extend(value.to_le_bytes());
    }

    pub(crate) fn f32(&mut self, value: f32) {
        self.bytes.extend(value.to_le_bytes());
    }

    pub(crate) fn f64(&mut self, value: f64) {
        self.bytes.extend(value.to_le_bytes());
    }
}

/// Takes an encoding apart; `what` names the part for errors.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    pub(crate) what: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, what }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], CpeError> {
        let (head, tail) = self
            .bytes
            .split_first_chunk()
            .ok_or(CpeError::Truncated(self.what))?;
        self.bytes = tail;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, CpeError> {
        Ok(self.take::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, CpeError> {
        self.take().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, CpeError> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, CpeError> {
        self.take().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, CpeError> {
        self.take().map(i64::from_le_bytes)
    }

    /// A finite number.
    pub(crate) fn f32(&mut self) -> Result<f32, CpeError> {
        let value = self.take().map(f32::from_le_bytes)?;
        if value.is_finite() {
            Ok(value)
        } else {
            Err(self.invalid())
        }
    }

    /// A finite number.
    pub(crate) fn f64(&mut self) -> Result<f64, CpeError> {
        let value = self.take().map(f64::from_le_bytes)?;
        if value.is_finite() {
            Ok(value)
        } else {
            Err(self.invalid())
        }
    }

    pub(crate) fn bool(&mut self) -> Result<bool, CpeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.invalid()),
        }
    }

    /// How many items of at least `bytes_each` follow: no more than the rest can hold, and no more than `max`.
    pub(crate) fn count(&mut self, bytes_each: usize, max: usize) -> Result<usize, CpeError> {
        let count = self.u32()? as usize;
        if count > max {
            return Err(self.invalid());
        }
        if count.saturating_mul(bytes_each) > self.bytes.len() {
            return Err(CpeError::Truncated(self.what));
        }
        Ok(count)
    }

    /// Fails unless everything was read.
    pub(crate) fn end(&self) -> Result<(), CpeError> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(self.invalid())
        }
    }

    /// Fails with this part's name unless `fine`.
    pub(crate) fn check(&self, fine: bool) -> Result<(), CpeError> {
        if fine { Ok(()) } else { Err(self.invalid()) }
    }

    pub(crate) fn invalid(&self) -> CpeError {
        CpeError::Invalid(self.what)
    }
}
