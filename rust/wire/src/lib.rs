//! Encodes and decodes frames of the local wire: what programs on one machine say over a Unix socket.
//!
//! - [`Header`], [`Frame`]: a frame's fixed fields, and a whole frame borrowed from its bytes.
//! - [`frame_length`]: how long the frame at the start of a buffer is, for readers of a stream.
//! - [`decode`], [`encode`]: bytes to frame and back; [`WireError`] names the broken rule.
//! - [`ifr`]: the fixed bodies of the ifr service.
//! - [`pb`]: the messages in bodies (`ffi/protocol/local.proto`); [`descriptor`] describes them to tools.
//! - [`Kind`], [`Service`], [`Status`], [`limits`], …: the numbers of `ffi/protocol/constants.toml`.
//!
//! The specification is `docs/PROTOCOL.md`. No I/O, no clock, no allocation when decoding.
//!
//! ```
//! use mfn_wire::{Header, Kind, Service, decode, encode};
//! # fn main() -> Result<(), mfn_wire::WireError> {
//! let header = Header { request_id: 1, ..Header::new(Kind::Ping, Service::State) };
//! let mut bytes = Vec::new();
//! encode(&header, &[], &[], &mut bytes)?;
//! assert_eq!(decode(&bytes)?.header, header);
//! # Ok(())
//! # }
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod codec;
mod constants;
#[rustfmt::skip]
// Written by a generator.
pub mod descriptor;
mod frame;
pub mod ifr;
#[rustfmt::skip]
// Written by a generator that formats in its own way.
pub mod pb;
mod tlv_area;

pub use codec::{WireError, decode, encode, frame_length};
pub use constants::{
    ContentType, Kind, Service, Status, VERSION, feature, flag, ifr_key, limits, method, tlv,
};
pub use frame::{Frame, Header};
pub use tlv_area::{Hello, Tlv, TlvArea, Tlvs};
