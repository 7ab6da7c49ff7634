//! The TLV area: entries of {type u16, length u16, value} between header and body.

use alloc::vec::Vec;

use crate::codec::WireError;
use crate::{limits, tlv};

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// One of [`crate::tlv`], or a type that this version does not know.
    pub kind: u16,
    /// At most 65,535 bytes.
    pub value: &'a [u8],
}

/// All entries of a frame; the area was checked when the frame was decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlvArea<'a>(&'a [u8]);

impl<'a> TlvArea<'a> {
    /// Checks that entries fill the area exactly and that known ones have the right form.
    pub(crate) fn check(area: &'a [u8]) -> Result<Self, WireError> {
        let mut rest = area;
        while !rest.is_empty() {
            let (entry, after) = split_entry(rest).ok_or(WireError::BadTlv)?;
            let fits = match entry.kind {
                tlv::FEATURES => entry.value.len() == 8,
                tlv::LIMITS => entry.value.len() == 12,
                _ => true,
            };
            if !fits {
                return Err(WireError::BadTlv);
            }
            rest = after;
        }
        Ok(Self(area))
    }

    /// Whether its texts are UTF-8; a later check than the form of the area.
    pub(crate) fn texts_are_utf8(&self) -> bool {
        self.iter()
            .all(|entry| entry.kind != tlv::SOFTWARE || core::str::from_utf8(entry.value).is_ok())
    }

    /// The entries, in their order.
    pub fn iter(&self) -> Tlvs<'a> {
        Tlvs(self.0)
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for TlvArea<'a> {
    type Item = Tlv<'a>;
    type IntoIter = Tlvs<'a>;
    fn into_iter(self) -> Tlvs<'a> {
        self.iter()
    }
}

/// Iterates over entries.
#[derive(Clone, Debug)]
pub struct Tlvs<'a>(&'a [u8]);

impl<'a> Iterator for Tlvs<'a> {
    type Item = Tlv<'a>;
    fn next(&mut self) -> Option<Tlv<'a>> {
        let (entry, rest) = split_entry(self.0)?;
        self.0 = rest;
        Some(entry)
    }
}

fn split_entry(area: &[u8]) -> Option<(Tlv<'_>, &[u8])> {
    let (kind, rest) = area.split_first_chunk::<2>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    Some((
        Tlv {
            kind: u16::from_le_bytes(*kind),
            value,
        },
        rest,
    ))
}

/// Appends the entries with their area length. Nothing is appended when there are none.
pub(crate) fn encode(entries: &[Tlv<'_>], out: &mut Vec<u8>) -> Result<(), WireError> {
    if entries.is_empty() {
        return Ok(());
    }
    let area: usize = entries.iter().map(|entry| 4 + entry.value.len()).sum();
    if area > limits::TLV_AREA_BYTES_MAX as usize {
        return Err(WireError::BadTlv);
    }
    out.extend_from_slice(&(area as u32).to_le_bytes());
    let start = out.len();
    for entry in entries {
        let length = u16::try_from(entry.value.len()).map_err(|_| WireError::BadTlv)?;
        out.extend_from_slice(&entry.kind.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(entry.value);
    }
    let area = TlvArea::check(out.get(start..).unwrap_or_default())?;
    if area.texts_are_utf8() {
        Ok(())
    } else {
        Err(WireError::BadUtf8)
    }
}

/// What a HELLO announces. What is absent is 0 or empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Bit set; no bit is defined yet.
    pub features: u64,
    /// Longest frame that the sender takes, in bytes.
    pub frame_bytes_max: u32,
    /// Requests that the sender takes at once on this connection.
    pub requests_in_flight_max: u32,
    /// Connections that the sender takes on this socket.
    pub connections_max: u32,
    /// Name and version of the program.
    pub software: &'a str,
}

impl<'a> Hello<'a> {
    /// Reads the known entries of a HELLO; the last of a type counts.
    pub fn of(area: TlvArea<'a>) -> Self {
        let mut hello = Self::default();
        for entry in area {
            match (entry.kind, entry.value) {
                (tlv::FEATURES, value) => {
                    hello.features = value
                        .first_chunk()
                        .map_or(0, |bytes| u64::from_le_bytes(*bytes));
                }
                (tlv::LIMITS, &[a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3]) => {
                    hello.frame_bytes_max = u32::from_le_bytes([a0, a1, a2, a3]);
                    hello.requests_in_flight_max = u32::from_le_bytes([b0, b1, b2, b3]);
                    hello.connections_max = u32::from_le_bytes([c0, c1, c2, c3]);
                }
                (tlv::SOFTWARE, value) => {
                    hello.software = core::str::from_utf8(value).unwrap_or_default();
                }
                _ => {}
            }
        }
        hello
    }

    /// The values of the features and limits entries, for [`crate::encode`].
    pub fn fixed(&self) -> ([u8; 8], [u8; 12]) {
        let mut limits = [0; 12];
        let words = [
            self.frame_bytes_max,
            self.requests_in_flight_max,
            self.connections_max,
        ];
        for (to, word) in limits.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        (self.features.to_le_bytes(), limits)
    }
}
