//! The text of a peer: who it is and where it answers, `hm1…@[::1]:4870`.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use hypermesh_id::NodeId;

use crate::units::short;

/// A node id and one socket address of it.
///
/// ```
/// use hypermesh_node::PeerAddress;
/// let node = hypermesh_id::NodeId([7; 32]);
/// let peer: PeerAddress = format!("{node}@[::1]:4870").parse().unwrap();
/// assert_eq!(peer.node, node);
/// assert_eq!(peer.to_string(), format!("{node}@[::1]:4870"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddress {
    pub node: NodeId,
    pub address: SocketAddr,
}

/// A text that is not the address of a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("'{0}' is not a peer: write the node id, '@' and the address, such as hm1…@[::1]:4870")]
    NoAt(String),
    #[error("{0}")]
    Node(#[from] hypermesh_id::ParseError),
    #[error(
        "'{0}' is not a socket address: write an IPv6 address in brackets and a port, such as \
         [2001:db8::7]:4870; host names are not looked up"
    )]
    Socket(String),
    #[error("'{0}' has port 0: a peer answers at a port that is known")]
    PortZero(String),
    #[error(
        "'{0}' is the address of no machine in particular: write the one where the peer answers"
    )]
    Unspecified(String),
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.node, self.address)
    }
}

impl FromStr for PeerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (node, address) = text
            .split_once('@')
            .ok_or_else(|| AddressError::NoAt(short(text)))?;
        let node: NodeId = node.parse()?;
        let address = parse_socket_address(address)?;
        if address.port() == 0 {
            return Err(AddressError::PortZero(short(text)));
        }
        if address.ip().is_unspecified() {
            return Err(AddressError::Unspecified(short(text)));
        }
        Ok(Self { node, address })
    }
}

/// Reads `[v6]:port` or `v4:port`; port 0 is allowed.
///
/// # Errors
/// [`AddressError::Socket`] for anything else, host names included.
pub fn parse_socket_address(text: &str) -> Result<SocketAddr, AddressError> {
    text.parse().map_err(|_| AddressError::Socket(short(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_wrong() {
        let node = NodeId([1; 32]);
        let check = |text: String, part: &str| {
            let error = text.parse::<PeerAddress>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        };
        check(node.to_string(), "'@'");
        check(format!("{node}@localhost:1"), "host names");
        check(format!("{node}@[::1]"), "socket address");
        check(format!("{node}@[::1]:0"), "port 0");
        check(format!("{node}@[::]:9"), "no machine");
        check("hmr1x@[::1]:9".into(), "node id");
        check("x".repeat(10_000), "'@'");
    }

    #[test]
    fn version_4_is_an_address_too() {
        let text = format!("{}@127.0.0.1:4870", NodeId([1; 32]));
        assert_eq!(text.parse::<PeerAddress>().unwrap().to_string(), text);
    }
}
