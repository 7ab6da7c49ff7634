//! Takes fields off bytes that anyone may have sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};
use hypermesh_id::{BlockId, NodeId};

/// The bytes ended before the field did, or the field has no valid form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

pub(crate) struct Reader {
    rest: Bytes,
}

type Field<T> = Result<T, Malformed>;

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn take(&mut self, count: usize) -> Field<Bytes> {
        if count > self.rest.len() {
            return Err(Malformed);
        }
        Ok(self.rest.split_to(count))
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Field<[u8; N]> {
        let bytes = self.take(N)?;
        bytes.as_ref().try_into().map_err(|_| Malformed)
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

    pub(crate) fn node(&mut self) -> Field<NodeId> {
        self.array().map(NodeId)
    }

    pub(crate) fn block(&mut self) -> Field<BlockId> {
        self.array().map(BlockId)
    }

    /// A text of at most 255 bytes.
    pub(crate) fn text(&mut self) -> Field<String> {
        let length = self.u8()?;
        String::from_utf8(self.take(length.into())?.to_vec()).map_err(|_| Malformed)
    }

    /// At most `max` addresses.
    pub(crate) fn addresses(&mut self, max: usize) -> Field<Vec<SocketAddr>> {
        let count = usize::from(self.u8()?);
        if count > max {
            return Err(Malformed);
        }
        (0..count).map(|_| self.address()).collect()
    }

    fn address(&mut self) -> Field<SocketAddr> {
        let ip = match self.u8()? {
            4 => IpAddr::V4(Ipv4Addr::from(self.array::<4>()?)),
            6 => IpAddr::V6(Ipv6Addr::from(self.array::<16>()?)),
            _ => return Err(Malformed),
        };
        Ok(SocketAddr::new(ip, self.u16()?))
    }

    pub(crate) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may follow.
    pub(crate) fn end(&self) -> Field<()> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

pub(crate) fn put_addresses(out: &mut BytesMut, addresses: &[SocketAddr]) {
    let addresses = addresses
        .get(..addresses.len().min(255))
        .unwrap_or_default();
    out.put_u8(addresses.len() as u8);
    for address in addresses {
        match address.ip() {
            IpAddr::V4(ip) => {
                out.put_u8(4);
                out.put_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                out.put_u8(6);
                out.put_slice(&ip.octets());
            }
        }
        out.put_u16_le(address.port());
    }
}

pub(crate) fn put_text(out: &mut BytesMut, text: &str) {
    let text = text
        .get(..text.floor_char_boundary(255))
        .unwrap_or_default();
    out.put_u8(text.len() as u8);
    out.put_slice(text.as_bytes());
}
