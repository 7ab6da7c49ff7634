//! Bytes of records and snapshots: little-endian numbers, lengths before bytes.
//!
//! A record of the log is a sequence of accepted requests, each `u32` length, then `u16` method, `u64` time, the body.
//! Method 0 is the host's own: its body is the `u64` budget from then on.

/// The method number of a change of budget in the log; no service has a method 0.
pub(crate) const SET_BYTES_MAX: u16 = 0;
/// What an entry takes besides its body.
pub(crate) const ENTRY_BYTES: usize = 4 + 2 + 8;

/// One request of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) method: u16,
    pub(crate) time: u64,
    pub(crate) body: &'a [u8],
}

impl Entry<'_> {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        // Bodies are far shorter than 4 GiB: the host refuses long ones.
        out.extend_from_slice(&((2 + 8 + self.body.len()) as u32).to_le_bytes());
        out.extend_from_slice(&self.method.to_le_bytes());
        out.extend_from_slice(&self.time.to_le_bytes());
        out.extend_from_slice(self.body);
    }
}

/// Version of the snapshots of all layers here.
const SNAPSHOT_VERSION: u32 = 1;

/// How every layer's snapshot begins: version and budget.
pub(crate) fn begin_snapshot(bytes_max: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_u32(&mut out, SNAPSHOT_VERSION);
    put_u64(&mut out, bytes_max);
    out
}

pub(crate) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes bytes from the front. Checks lengths against what is there; allocates nothing.
#[derive(Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self
            .0
            .split_at_checked(count)
            .ok_or("it ends inside a field")?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = self.u64()?;
        self.take(usize::try_from(length).map_err(|_| "a length is impossible")?)
    }

    /// The beginning of a snapshot: its budget.
    pub(crate) fn begin_snapshot(&mut self) -> Result<u64, String> {
        let version = self.u32()?;
        if version != SNAPSHOT_VERSION {
            return Err(format!(
                "it has version {version}, this program reads {SNAPSHOT_VERSION}"
            ));
        }
        self.u64()
    }

    /// The next request of a record; none at its end.
    pub(crate) fn entry(&mut self) -> Result<Option<Entry<'a>>, String> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let length = self.u32()?;
        let mut entry = Reader(self.take(length as usize)?);
        Ok(Some(Entry {
            method: u16::from_le_bytes(entry.array()?),
            time: entry.u64()?,
            body: entry.0,
        }))
    }

    pub(crate) fn end(&self) -> Result<(), String> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err("it goes on behind its end".into())
        }
    }
}
