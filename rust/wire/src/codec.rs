//! Bytes to frames and back. The order of the checks is part of the specification.

use alloc::vec::Vec;
use core::fmt;

use crate::frame::{Frame, Header};
use crate::tlv_area::{self, Tlv, TlvArea};
use crate::{ContentType, Kind, Service, Status, VERSION, flag, limits};

const LENGTH_BYTES: usize = limits::LENGTH_BYTES as usize;
const HEADER_BYTES: usize = limits::HEADER_BYTES as usize;
const KNOWN_FLAGS: u16 = flag::TLV | flag::SAMPLED;

/// The first rule of the wire that some bytes break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    Short,
    TooLarge,
    Length,
    BadVersion(u8),
    BadKind(u8),
    BadService(u8),
    BadContentType,
    BadFlags(u16),
    BadStatus,
    BadRequestId,
    BadCredit,
    BadTlv,
    BadUtf8,
}

impl WireError {
    /// The status that says the same on the wire.
    pub fn status(self) -> Status {
        match self {
            Self::Short => Status::FRAME_SHORT,
            Self::TooLarge => Status::FRAME_TOO_LARGE,
            Self::Length => Status::FRAME_LENGTH,
            Self::BadVersion(_) => Status::BAD_VERSION,
            Self::BadKind(_) => Status::BAD_KIND,
            Self::BadService(_) => Status::BAD_SERVICE,
            Self::BadContentType => Status::BAD_CONTENT_TYPE,
            Self::BadFlags(_) => Status::BAD_FLAGS,
            Self::BadStatus => Status::BAD_STATUS,
            Self::BadRequestId => Status::BAD_REQUEST_ID,
            Self::BadCredit => Status::BAD_CREDIT,
            Self::BadTlv => Status::BAD_TLV,
            Self::BadUtf8 => Status::BAD_UTF8,
        }
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.status().text())?;
        match self {
            Self::BadVersion(found) => write!(
                f,
                " It is {found}, ours is {VERSION}: update the older program."
            ),
            Self::BadKind(found) | Self::BadService(found) => write!(f, " It is {found}."),
            Self::BadFlags(found) => write!(f, " They are {found:#06x}."),
            _ => Ok(()),
        }
    }
}

impl core::error::Error for WireError {}

/// How many bytes the frame at the start of the buffer takes, its length prefix included.
///
/// `None`: fewer than four bytes are there, read on. An error: close the connection, no later byte can be trusted.
pub fn frame_length(bytes: &[u8]) -> Result<Option<usize>, WireError> {
    let Some(prefix) = bytes.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*prefix);
    if length > limits::FRAME_BYTES_MAX {
        return Err(WireError::TooLarge);
    }
    if length < limits::HEADER_BYTES {
        return Err(WireError::Short);
    }
    Ok(Some(LENGTH_BYTES + length as usize))
}

/// Reads the fields of a fixed header in their order.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(*field)
    }
    fn u8(&mut self) -> Result<u8, WireError> {
        self.take().map(u8::from_le_bytes)
    }
    fn u16(&mut self) -> Result<u16, WireError> {
        self.take().map(u16::from_le_bytes)
    }
    fn u32(&mut self) -> Result<u32, WireError> {
        self.take().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Result<u64, WireError> {
        self.take().map(u64::from_le_bytes)
    }
}

/// Decodes one whole frame, its length prefix included; nothing may follow it.
pub fn decode(bytes: &[u8]) -> Result<Frame<'_>, WireError> {
    let total = frame_length(bytes)?.ok_or(WireError::Short)?;
    if bytes.len() != total {
        return Err(WireError::Length);
    }
    let (fixed, rest) = bytes
        .split_at_checked(LENGTH_BYTES + HEADER_BYTES)
        .ok_or(WireError::Short)?;
    let (header, has_tlv) = decode_header(fixed.get(LENGTH_BYTES..).ok_or(WireError::Short)?)?;
    let (tlv, body) = if has_tlv {
        split_tlv(rest)?
    } else {
        (TlvArea::default(), rest)
    };
    check_body(&header, body)?;
    if !tlv.texts_are_utf8() {
        return Err(WireError::BadUtf8);
    }
    Ok(Frame { header, tlv, body })
}

fn decode_header(fixed: &[u8]) -> Result<(Header, bool), WireError> {
    let mut fields = Fields(fixed);
    let (version, kind, service, content_type) =
        (fields.u8()?, fields.u8()?, fields.u8()?, fields.u8()?);
    if version != VERSION {
        return Err(WireError::BadVersion(version));
    }
    let kind = Kind::try_from(kind).map_err(WireError::BadKind)?;
    let service = Service::try_from(service).map_err(WireError::BadService)?;
    let content_type =
        ContentType::try_from(content_type).map_err(|_| WireError::BadContentType)?;
    let method = fields.u16()?;
    let flags = fields.u16()?;
    if flags & !KNOWN_FLAGS != 0 {
        return Err(WireError::BadFlags(flags));
    }
    let header = Header {
        kind,
        service,
        content_type,
        method,
        flags: flags & !flag::TLV,
        status: Status(i32::from_le_bytes(fields.take()?)),
        request_id: fields.u64()?,
        deadline_ns: fields.u64()?,
        trace_id: fields.take()?,
        span_id: fields.take()?,
        credit: fields.u32()?,
    };
    check_header(&header)?;
    Ok((header, flags & flag::TLV != 0))
}

/// The rules between fields.
fn check_header(header: &Header) -> Result<(), WireError> {
    let is_error = header.kind == Kind::Error;
    if is_error != (header.status.0 < 0) || header.status.0 > 0 {
        return Err(WireError::BadStatus);
    }
    let id_fits = match header.kind {
        Kind::Hello | Kind::Goaway => header.request_id == 0,
        Kind::Error => true,
        _ => header.request_id != 0,
    };
    if !id_fits {
        return Err(WireError::BadRequestId);
    }
    let credit_fits = match header.kind {
        Kind::Request => header.credit <= limits::CREDIT_MAX,
        Kind::Credit => (1..=limits::CREDIT_MAX).contains(&header.credit),
        _ => header.credit == 0,
    };
    if credit_fits {
        Ok(())
    } else {
        Err(WireError::BadCredit)
    }
}

fn split_tlv(rest: &[u8]) -> Result<(TlvArea<'_>, &[u8]), WireError> {
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(WireError::BadTlv)?;
    let length = u32::from_le_bytes(*length);
    if length > limits::TLV_AREA_BYTES_MAX {
        return Err(WireError::BadTlv);
    }
    let (area, body) = rest
        .split_at_checked(length as usize)
        .ok_or(WireError::BadTlv)?;
    Ok((TlvArea::check(area)?, body))
}

fn check_body(header: &Header, body: &[u8]) -> Result<(), WireError> {
    match header.content_type {
        ContentType::None if !body.is_empty() => Err(WireError::BadContentType),
        ContentType::Text if core::str::from_utf8(body).is_err() => Err(WireError::BadUtf8),
        _ => Ok(()),
    }
}

/// Appends a whole frame. What [`decode`] would refuse is refused here, and nothing is appended then.
pub fn encode(
    header: &Header,
    tlv: &[Tlv<'_>],
    body: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    if header.flags & !flag::SAMPLED != 0 {
        return Err(WireError::BadFlags(header.flags));
    }
    check_header(header)?;
    check_body(header, body)?;
    let start = out.len();
    let appended = append(header, tlv, body, out);
    if appended.is_err() {
        out.truncate(start);
    }
    appended
}

fn append(
    header: &Header,
    tlv: &[Tlv<'_>],
    body: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    let flags = header.flags | if tlv.is_empty() { 0 } else { flag::TLV };
    out.extend_from_slice(&[
        VERSION,
        header.kind.as_u8(),
        header.service.as_u8(),
        header.content_type.as_u8(),
    ]);
    out.extend_from_slice(&header.method.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&header.status.0.to_le_bytes());
    out.extend_from_slice(&header.request_id.to_le_bytes());
    out.extend_from_slice(&header.deadline_ns.to_le_bytes());
    out.extend_from_slice(&header.trace_id);
    out.extend_from_slice(&header.span_id);
    out.extend_from_slice(&header.credit.to_le_bytes());
    tlv_area::encode(tlv, out)?;
    let length = out.len() - start - LENGTH_BYTES + body.len();
    let length = u32::try_from(length).map_err(|_| WireError::TooLarge)?;
    if length > limits::FRAME_BYTES_MAX {
        return Err(WireError::TooLarge);
    }
    if let Some(prefix) = out.get_mut(start..start + LENGTH_BYTES) {
        prefix.copy_from_slice(&length.to_le_bytes());
    }
    out.extend_from_slice(body);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn kinds() -> impl Strategy<Value = Kind> {
        (0..Kind::ALL.len()).prop_map(|at| Kind::ALL[at])
    }

    fn headers() -> impl Strategy<Value = Header> {
        let numbers = (
            any::<u16>(),
            1u64..,
            any::<u64>(),
            any::<[u8; 16]>(),
            any::<[u8; 8]>(),
            1u32..65_536,
        );
        (
            kinds(),
            0..Service::ALL.len(),
            any::<bool>(),
            -200i32..0,
            numbers,
        )
            .prop_map(
                |(
                    kind,
                    service,
                    sampled,
                    status,
                    (method, id, deadline_ns, trace_id, span_id, credit),
                )| Header {
                    kind,
                    service: Service::ALL[service],
                    content_type: ContentType::Bytes,
                    method,
                    flags: if sampled { flag::SAMPLED } else { 0 },
                    status: if kind == Kind::Error {
                        Status(status)
                    } else {
                        Status::OK
                    },
                    request_id: if matches!(kind, Kind::Hello | Kind::Goaway) {
                        0
                    } else {
                        id
                    },
                    deadline_ns,
                    trace_id,
                    span_id,
                    credit: if matches!(kind, Kind::Request | Kind::Credit) {
                        credit
                    } else {
                        0
                    },
                },
            )
    }

    proptest! {
        #[test]
        fn frames_round_trip(header in headers(), body: Vec<u8>, value: Vec<u8>, tlv in 4u16..) {
            let entries = [Tlv { kind: tlv, value: &value }];
            let entries = if value.is_empty() { &entries[..0] } else { &entries[..] };
            let mut bytes = vec![1, 2, 3];
            encode(&header, entries, &body, &mut bytes).unwrap();
            let frame = decode(&bytes[3..]).unwrap();
            prop_assert_eq!(frame.header, header);
            prop_assert_eq!(frame.body, &body[..]);
            prop_assert_eq!(frame.tlv.iter().collect::<Vec<_>>(), entries);
            prop_assert_eq!(frame_length(&bytes[3..]).unwrap(), Some(bytes.len() - 3));
        }

        #[test]
        fn what_decodes_encodes_to_the_same(mut bytes in proptest::collection::vec(any::<u8>(), 60..140), head in headers()) {
            // Plausible starts reach deeper rules than noise does.
            let mut start = Vec::new();
            encode(&Header { content_type: ContentType::None, ..head }, &[], &[], &mut start).unwrap();
            let flip = usize::from(bytes[0]) % 60;
            start[flip] ^= bytes[1] & bytes[2] & bytes[3];
            bytes[..60].copy_from_slice(&start);
            let length = (bytes.len() - 4) as u32;
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            if let Ok(frame) = decode(&bytes) {
                let entries: Vec<_> = frame.tlv.iter().collect();
                let mut again = Vec::new();
                encode(&frame.header, &entries, frame.body, &mut again).unwrap();
                // An empty area with the flag set is the one form that encoding does not give back.
                prop_assert!(again == bytes || entries.is_empty());
            }
        }

        #[test]
        fn noise_never_panics(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }

        #[test]
        fn a_frame_cut_short_is_not_a_frame(header in headers(), body: Vec<u8>, at: prop::sample::Index) {
            let mut bytes = Vec::new();
            encode(&header, &[], &body, &mut bytes).unwrap();
            prop_assert!(decode(&bytes[..at.index(bytes.len())]).is_err());
        }
    }

    #[test]
    fn a_refused_frame_leaves_the_buffer_alone() {
        let mut out = vec![9];
        let header = Header {
            request_id: 1,
            ..Header::new(Kind::Request, Service::State)
        };
        assert_eq!(
            encode(&header, &[], b"body", &mut out),
            Err(WireError::BadContentType)
        );
        let value = vec![0; 65_535];
        let entries = [
            Tlv {
                kind: 9,
                value: &value,
            },
            Tlv {
                kind: 9,
                value: &value,
            },
        ];
        assert_eq!(
            encode(&header, &entries, &[], &mut out),
            Err(WireError::BadTlv)
        );
        assert_eq!(out, [9]);
    }
}
