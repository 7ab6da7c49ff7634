//! A frame and its header.

use core::fmt;

use crate::tlv_area::TlvArea;
use crate::{ContentType, Kind, Service, Status};

/// The fixed fields of a frame. The TLV flag is not among [`Header::flags`] that a caller sets:
/// [`crate::encode`] sets it when there are entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    pub service: Service,
    pub content_type: ContentType,
    pub method: u16,
    /// Bits of [`crate::flag`].
    pub flags: u16,
    /// Negative in an error, else [`Status::OK`].
    pub status: Status,
    /// Names the request that the frame is about; 0 where it is about the connection.
    pub request_id: u64,
    /// CLOCK_MONOTONIC nanoseconds of this machine; 0 is none.
    pub deadline_ns: u64,
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    /// Event frames that the caller allows: in a request, or on top in a credit frame.
    pub credit: u32,
}

impl Header {
    /// A header of that kind whose other fields are empty.
    pub fn new(kind: Kind, service: Service) -> Self {
        Self {
            kind,
            service,
            content_type: ContentType::None,
            method: 0,
            flags: 0,
            status: Status::OK,
            request_id: 0,
            deadline_ns: 0,
            trace_id: [0; 16],
            span_id: [0; 8],
            credit: 0,
        }
    }
}

/// A whole frame, borrowed from the bytes it was decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub header: Header,
    pub tlv: TlvArea<'a>,
    pub body: &'a [u8],
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
