//! Which nodes reach which: a path before each node, and a table of what is cut.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Forwarder, Result};

#[derive(Debug, Default)]
struct Table {
    /// Nodes by where they send from, which is where they listen.
    nodes: HashMap<SocketAddr, usize>,
    /// From whom to whom nothing passes.
    cut: BTreeSet<(usize, usize)>,
}

type Shared = Arc<Mutex<Table>>;

fn table(shared: &Shared) -> MutexGuard<'_, Table> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the path before one node asks.
#[derive(Debug)]
pub(crate) struct Gate {
    node: usize,
    table: Shared,
}

impl Gate {
    /// Whether this node gets what comes from there. Who is no node of the table is not cut off.
    pub(crate) fn lets_in(&self, from: SocketAddr) -> bool {
        let table = table(&self.table);
        let other = table.nodes.get(&from);
        other.is_none_or(|other| !table.cut.contains(&(*other, self.node)))
    }

    /// Whether what this node answers gets there.
    pub(crate) fn lets_out(&self, to: SocketAddr) -> bool {
        let table = table(&self.table);
        let other = table.nodes.get(&to);
        other.is_none_or(|other| !table.cut.contains(&(self.node, *other)))
    }
}

/// Paths before nodes, numbered from 0. All is open at first. A node that listens elsewhere after a restart has to be named
/// again.
#[derive(Debug)]
pub struct Links {
    table: Shared,
    fronts: Vec<Forwarder>,
}

impl Links {
    /// Opens a path for each of so many nodes.
    ///
    /// # Errors
    /// When there are no sockets to be had.
    pub fn new(nodes: usize) -> Result<Links> {
        let table = Shared::default();
        let front = |node| {
            let table = Arc::clone(&table);
            Forwarder::with(Some(Gate { node, table }))
        };
        let fronts = (0..nodes).map(front).collect::<Result<_>>()?;
        Ok(Links { table, fronts })
    }

    /// The path before a node: what the node tells others to reach it by.
    pub fn front(&self, node: usize) -> Option<&Forwarder> {
        self.fronts.get(node)
    }

    /// Says which node listens, and sends, there.
    pub fn name(&self, node: usize, address: SocketAddr) {
        table(&self.table).nodes.insert(address, node);
    }

    /// Drops all that these send to those, and nothing of what comes back.
    pub fn cut(&self, from: &[usize], to: &[usize]) {
        let pairs = from
            .iter()
            .flat_map(|from| to.iter().map(|to| (*from, *to)));
        table(&self.table).cut.extend(pairs);
    }

    /// Cuts these off from those, both ways.
    pub fn part(&self, some: &[usize], others: &[usize]) {
        self.cut(some, others);
        self.cut(others, some);
    }

    /// Opens all paths again.
    pub fn heal(&self) {
        table(&self.table).cut.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    /// Two sockets that reach each other through the path of the second.
    struct Pair {
        links: Links,
        sockets: [UdpSocket; 2],
    }

    impl Pair {
        fn new() -> Pair {
            let links = Links::new(2).unwrap();
            let sockets = [0, 1].map(|node| {
                let socket = UdpSocket::bind("[::1]:0").unwrap();
                let wait = Some(Duration::from_millis(200));
                socket.set_read_timeout(wait).unwrap();
                links.name(node, socket.local_addr().unwrap());
                socket
            });
            let address = sockets[1].local_addr().unwrap();
            links.front(1).unwrap().lead_to(address);
            Pair { links, sockets }
        }

        /// What the second hears of the first, and the first of the answer.
        fn passes(&self, word: &[u8]) -> (bool, bool) {
            let [first, second] = &self.sockets;
            let front = self.links.front(1).unwrap().address();
            first.send_to(word, front).unwrap();
            let mut buffer = [0; 64];
            match second.recv_from(&mut buffer) {
                Ok((length, from)) if buffer[..length] == *word => {
                    second.send_to(word, from).unwrap();
                    let answered = first.recv(&mut buffer);
                    (true, answered.is_ok_and(|length| buffer[..length] == *word))
                }
                _ => (false, false),
            }
        }
    }

    #[test]
    fn each_way_is_cut_and_opened_by_itself() {
        let pair = Pair::new();
        assert_eq!(pair.passes(b"open"), (true, true));
        pair.links.cut(&[1], &[0]);
        assert_eq!(pair.passes(b"no answers"), (true, false));
        pair.links.heal();
        pair.links.cut(&[0], &[1]);
        assert_eq!(pair.passes(b"no questions"), (false, false));
        pair.links.heal();
        assert_eq!(pair.passes(b"healed"), (true, true));
        pair.links.part(&[0], &[1]);
        assert_eq!(pair.passes(b"both"), (false, false));
    }
}
