//! Remembers who is a member and which invitations are spent, in one file that is always whole.
//!
//! A redeemed invitation and the peer that it admitted go to disk in the same write, before anyone is told:
//! after a crash the invitation is either unspent and nobody was admitted, or spent and its bearer is a member.
//!
//! A peer that was forgotten stays so: others' introductions do not bring it back, an invitation does.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hypermesh_id::NodeId;
use serde::{Deserialize, Serialize};

use crate::address::PeerAddress;
use crate::files;

/// Why a peer is a member. Ordered: an earlier source is the stronger one and stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The configuration or `--peer` names it.
    Config,
    /// It redeemed our invitation.
    Invited,
    /// We redeemed its invitation.
    Inviter,
    /// A direct peer vouches for it.
    Introduced,
}

impl Source {
    /// The word on the wire and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Invited => "invited",
            Self::Inviter => "inviter",
            Self::Introduced => "introduced",
        }
    }

    /// Whether this node trusts the peer itself, not only someone's word for it.
    pub fn is_direct(self) -> bool {
        self != Self::Introduced
    }
}

/// One known peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPeer {
    pub node: NodeId,
    pub addresses: Vec<SocketAddr>,
    pub source: Source,
    /// Who vouched, for [`Source::Introduced`].
    pub introduced_by: Option<NodeId>,
}

/// Why the book could not be read or written, or refuses an entry.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is damaged ({reason}): restore it from a backup, or move it away and invite the peers again", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("the invitation was redeemed before: ask its issuer for a new one")]
    Spent,
    #[error("this node knows {0} peers, which is its limit")]
    TooManyPeers(usize),
    #[error("too many redeemed invitations have not expired yet: try again later")]
    TooManySpent,
    #[error("this node knows no such peer: `hypermesh peers` lists them")]
    Unknown,
    #[error("the configuration or --peer names it: take it out there and start the node again")]
    Configured,
}

/// The known peers of a node. All methods may be called from any thread; those that change it wait for the disk, the
/// others never do.
#[derive(Debug)]
pub struct PeerBook {
    path: PathBuf,
    me: NodeId,
    /// Of this run only: a peer that leaves the configuration must not stay a member through the file.
    configured: BTreeMap<[u8; 32], KnownPeer>,
    state: Mutex<State>,
    /// Held by whoever changes the state, the write to disk included.
    writing: Mutex<()>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    peers: BTreeMap<[u8; 32], KnownPeer>,
    /// Nonces of redeemed invitations of ours, and when they may be forgotten (Unix seconds).
    spent: BTreeMap<[u8; 16], u64>,
    /// Peers that were forgotten on request, and when (Unix seconds).
    forgotten: BTreeMap<[u8; 32], u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    version: u32,
    peers: Vec<PeerForm>,
    spent: Vec<SpentForm>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    forgotten: Vec<ForgottenForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ForgottenForm {
    node: String,
    since: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerForm {
    node: String,
    addresses: Vec<SocketAddr>,
    source: Source,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    introduced_by: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpentForm {
    nonce: String,
    forget_after: u64,
}

impl PeerBook {
    /// Reads `directory/known.json`, which need not exist, and adds the configured peers of this run.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn open(
        directory: &Path,
        me: NodeId,
        configured: &[PeerAddress],
    ) -> Result<Self, PeersError> {
        let path = directory.join(FILE_NAME);
        let mut state = match files::read_bounded(&path, FILE_BYTES_MAX) {
            Ok(content) => parse(&content).map_err(|reason| PeersError::Damaged {
                path: path.clone(),
                reason,
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(source) => return Err(PeersError::Io { path, source }),
        };
        state.peers.remove(&me.0);
        let mut by_config = BTreeMap::new();
        for peer in configured.iter().filter(|peer| peer.node != me) {
            let known = by_config.entry(peer.node.0).or_insert_with(|| KnownPeer {
                node: peer.node,
                addresses: Vec::new(),
                source: Source::Config,
                introduced_by: None,
            });
            push_address(&mut known.addresses, peer.address);
        }
        Ok(Self {
            path,
            me,
            configured: by_config,
            state: Mutex::new(state),
            writing: Mutex::default(),
        })
    }

    /// All known peers, by node id.
    pub fn all(&self) -> Vec<KnownPeer> {
        let mut all = self.lock().peers.clone();
        for (node, configured) in &self.configured {
            // The configured addresses are right by definition, so they are tried first.
            let mut peer = configured.clone();
            for address in all
                .remove(node)
                .into_iter()
                .flat_map(|known| known.addresses)
            {
                push_address(&mut peer.addresses, address);
            }
            all.insert(*node, peer);
        }
        all.into_values().collect()
    }

    /// Whether the key may do more than redeem an invitation.
    pub fn is_member(&self, node: &NodeId) -> bool {
        self.configured.contains_key(&node.0) || self.lock().peers.contains_key(&node.0)
    }

    /// Whether this node trusts the peer itself.
    pub fn is_direct(&self, node: &NodeId) -> bool {
        self.configured.contains_key(&node.0)
            || self
                .lock()
                .peers
                .get(&node.0)
                .is_some_and(|peer| peer.source.is_direct())
    }

    /// Adds peers or improves what is known of them, in one write: a stronger source replaces a weaker one, new
    /// addresses come first. On disk when this returns. Returns those that were unknown before. An introduction of a
    /// peer that was forgotten is passed over.
    ///
    /// # Errors
    /// When the book cannot be written, or is full before the first of them; nothing has changed then.
    pub fn learn(
        &self,
        peers: impl IntoIterator<Item = KnownPeer>,
    ) -> Result<Vec<NodeId>, PeersError> {
        self.change(|state| {
            let mut new = Vec::new();
            let mut full = None;
            for peer in peers.into_iter().filter(|peer| peer.node != self.me) {
                if peer.source.is_direct() {
                    state.forgotten.remove(&peer.node.0);
                } else if state.forgotten.contains_key(&peer.node.0) {
                    continue;
                }
                let node = peer.node;
                match merge(state, peer) {
                    Ok(true) => new.push(node),
                    Ok(false) => {}
                    Err(error) => full = Some(error),
                }
            }
            match full {
                Some(error) if new.is_empty() => Err(error),
                _ => Ok(new),
            }
        })
    }

    /// Forgets a peer for good; only an invitation, redeemed here or there, brings it back. On disk when this returns.
    ///
    /// # Errors
    /// [`PeersError::Unknown`]; [`PeersError::Configured`] for one that the configuration names.
    pub fn forget(&self, node: &NodeId, now: u64) -> Result<(), PeersError> {
        if self.configured.contains_key(&node.0) {
            return Err(PeersError::Configured);
        }
        self.change(|state| {
            state.peers.remove(&node.0).ok_or(PeersError::Unknown)?;
            if state.forgotten.len() >= FORGOTTEN_MAX {
                let oldest = state.forgotten.iter().min_by_key(|(_, since)| **since);
                if let Some(oldest) = oldest.map(|(node, _)| *node) {
                    state.forgotten.remove(&oldest);
                }
            }
            state.forgotten.insert(node.0, now);
            Ok(())
        })
    }

    /// Spends one of our invitations and admits its bearer, in one write, on disk when this returns.
    ///
    /// `expires` and `now` are Unix seconds. The spent nonce is kept well past its expiry, so that a clock that is
    /// set back does not make it fresh again.
    ///
    /// # Errors
    /// [`PeersError::Spent`] when the invitation was redeemed before, by anyone.
    pub fn redeem(
        &self,
        joiner: NodeId,
        addresses: &[SocketAddr],
        nonce: [u8; 16],
        expires: u64,
        now: u64,
    ) -> Result<bool, PeersError> {
        self.change(|state| {
            state.spent.retain(|_, forget_after| *forget_after >= now);
            if state.spent.contains_key(&nonce) {
                return Err(PeersError::Spent);
            }
            if state.spent.len() >= SPENT_MAX {
                return Err(PeersError::TooManySpent);
            }
            state
                .spent
                .insert(nonce, expires.saturating_add(SPENT_KEPT_SECONDS));
            state.forgotten.remove(&joiner.0);
            merge(
                state,
                KnownPeer {
                    node: joiner,
                    addresses: addresses.to_vec(),
                    source: Source::Invited,
                    introduced_by: None,
                },
            )
        })
    }

    /// Applies a change to a copy, writes the copy, and only then lets others see it.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, PeersError>,
    ) -> Result<T, PeersError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.lock().clone();
        let mut next = old.clone();
        let answer = change(&mut next)?;
        if next != old {
            files::replace(&self.path, &render(&next)?).map_err(|source| PeersError::Io {
                path: self.path.clone(),
                source,
            })?;
            *self.lock() = next;
        }
        Ok(answer)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is replaced whole, so a panic elsewhere cannot have left half of a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn merge(state: &mut State, peer: KnownPeer) -> Result<bool, PeersError> {
    let count = state.peers.len();
    match state.peers.get_mut(&peer.node.0) {
        None if count >= PEERS_MAX => Err(PeersError::TooManyPeers(PEERS_MAX)),
        None => {
            let mut peer = peer;
            peer.addresses.truncate(ADDRESSES_MAX);
            state.peers.insert(peer.node.0, peer);
            Ok(true)
        }
        Some(known) => {
            if peer.source < known.source {
                known.source = peer.source;
                known.introduced_by = None;
            }
            // Someone else's word does not change where a peer answers that we know ourselves.
            if peer.source.is_direct() || !known.source.is_direct() {
                let older = std::mem::take(&mut known.addresses);
                for address in peer.addresses.into_iter().chain(older) {
                    push_address(&mut known.addresses, address);
                }
            }
            Ok(false)
        }
    }
}

fn push_address(addresses: &mut Vec<SocketAddr>, address: SocketAddr) {
    if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address) {
        addresses.push(address);
    }
}

fn render(state: &State) -> Result<Vec<u8>, PeersError> {
    let form = FileForm {
        version: FILE_VERSION,
        peers: state
            .peers
            .values()
            .map(|peer| PeerForm {
                node: peer.node.to_string(),
                addresses: peer.addresses.clone(),
                source: peer.source,
                introduced_by: peer.introduced_by.map(|node| node.to_string()),
            })
            .collect(),
        spent: state
            .spent
            .iter()
            .map(|(nonce, forget_after)| SpentForm {
                nonce: format!("{:032x}", u128::from_be_bytes(*nonce)),
                forget_after: *forget_after,
            })
            .collect(),
        forgotten: state
            .forgotten
            .iter()
            .map(|(node, since)| ForgottenForm {
                node: NodeId(*node).to_string(),
                since: *since,
            })
            .collect(),
    };
    serde_json::to_vec_pretty(&form).map_err(|error| PeersError::Damaged {
        path: FILE_NAME.into(),
        reason: error.to_string(),
    })
}

fn parse(content: &[u8]) -> Result<State, String> {
    let form: FileForm = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    if form.version != FILE_VERSION {
        return Err(format!("version {} is not {FILE_VERSION}", form.version));
    }
    if form.peers.len() > PEERS_MAX
        || form.spent.len() > SPENT_MAX
        || form.forgotten.len() > FORGOTTEN_MAX
    {
        return Err("it holds more entries than the limit".into());
    }
    let mut state = State::default();
    for peer in form.peers {
        let node: NodeId = peer.node.parse().map_err(|error| format!("{error}"))?;
        let introduced_by = peer
            .introduced_by
            .map(|text| text.parse())
            .transpose()
            .map_err(|error| format!("{error}"))?;
        let mut addresses = peer.addresses;
        addresses.truncate(ADDRESSES_MAX);
        let known = KnownPeer {
            node,
            addresses,
            source: peer.source,
            introduced_by,
        };
        state.peers.insert(node.0, known);
    }
    for spent in form.spent {
        if spent.nonce.len() != 32 {
            return Err("a nonce does not have 32 hex digits".into());
        }
        let nonce = u128::from_str_radix(&spent.nonce, 16).map_err(|error| error.to_string())?;
        state.spent.insert(nonce.to_be_bytes(), spent.forget_after);
    }
    for forgotten in form.forgotten {
        let node: NodeId = forgotten.node.parse().map_err(|error| format!("{error}"))?;
        state.forgotten.insert(node.0, forgotten.since);
    }
    Ok(state)
}

const FILE_NAME: &str = "known.json";
const FILE_VERSION: u32 = 1;
/// Room for the limits below with long addresses.
const FILE_BYTES_MAX: u64 = 32 << 20;
/// Most known peers.
const PEERS_MAX: usize = 4_096;
/// Most forgotten peers remembered; beyond, the one forgotten first may be introduced again.
const FORGOTTEN_MAX: usize = 4_096;
/// Most addresses remembered of one peer.
const ADDRESSES_MAX: usize = 8;
/// Most spent invitations remembered.
const SPENT_MAX: usize = 65_536;
/// How long after its expiry a spent invitation is remembered: clocks are set back by less.
const SPENT_KEPT_SECONDS: u64 = 30 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NodeId = NodeId([0; 32]);

    fn known(node: u8, source: Source, port: u16) -> KnownPeer {
        KnownPeer {
            node: NodeId([node; 32]),
            addresses: vec![format!("[::1]:{port}").parse().unwrap()],
            source,
            introduced_by: (source == Source::Introduced).then_some(NodeId([9; 32])),
        }
    }

    #[test]
    fn a_spent_invitation_stays_spent_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let joiner = NodeId([1; 32]);
        let book = PeerBook::open(dir.path(), ME, &[]).unwrap();
        assert!(book.redeem(joiner, &[], [7; 16], 1_000, 900).unwrap());
        assert!(matches!(
            book.redeem(joiner, &[], [7; 16], 1_000, 901),
            Err(PeersError::Spent)
        ));

        let book = PeerBook::open(dir.path(), ME, &[]).unwrap();
        assert!(book.is_direct(&joiner));
        let other = NodeId([2; 32]);
        assert!(matches!(
            book.redeem(other, &[], [7; 16], 1_000, 902),
            Err(PeersError::Spent)
        ));
        assert!(!book.is_member(&other));
    }

    #[test]
    fn old_nonces_are_forgotten_only_long_after_expiry() {
        let dir = tempfile::tempdir().unwrap();
        let book = PeerBook::open(dir.path(), ME, &[]).unwrap();
        book.redeem(NodeId([1; 32]), &[], [7; 16], 1_000, 900)
            .unwrap();
        let late = 1_000 + SPENT_KEPT_SECONDS;
        assert!(
            book.redeem(NodeId([2; 32]), &[], [7; 16], 1_000, late)
                .is_err()
        );
        assert!(
            book.redeem(NodeId([2; 32]), &[], [8; 16], late, late + 1)
                .is_ok()
        );
        assert_eq!(book.lock().spent.len(), 1);
    }

    #[test]
    fn the_stronger_source_wins_and_hearsay_moves_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let book = PeerBook::open(dir.path(), ME, &[]).unwrap();
        let one = NodeId([1; 32]);
        assert_eq!(
            book.learn([known(1, Source::Introduced, 1)]).unwrap(),
            [one]
        );
        assert!(!book.is_direct(&one));
        assert_eq!(book.learn([known(1, Source::Inviter, 2)]).unwrap(), []);
        assert!(book.is_direct(&one));
        book.learn([known(1, Source::Introduced, 3)]).unwrap();
        let peer = book.all().remove(0);
        assert_eq!(peer.source, Source::Inviter);
        assert_eq!(peer.introduced_by, None);
        let ports: Vec<u16> = peer.addresses.iter().map(SocketAddr::port).collect();
        assert_eq!(ports, [2, 1]);
    }

    #[test]
    fn configured_peers_are_of_this_run_only() {
        let dir = tempfile::tempdir().unwrap();
        let peer = PeerAddress {
            node: NodeId([1; 32]),
            address: "[::1]:5".parse().unwrap(),
        };
        let own = PeerAddress {
            node: ME,
            address: "[::1]:6".parse().unwrap(),
        };
        let book = PeerBook::open(dir.path(), ME, &[peer, own]).unwrap();
        assert_eq!(book.all().len(), 1, "a node is not its own peer");
        book.learn([known(2, Source::Introduced, 7)]).unwrap();
        let book = PeerBook::open(dir.path(), ME, &[]).unwrap();
        assert_eq!(book.all(), [known(2, Source::Introduced, 7)]);

        // A peer that is both stays what it was when it leaves the configuration.
        let book = PeerBook::open(dir.path(), ME, &[peer]).unwrap();
        book.learn([known(1, Source::Inviter, 8)]).unwrap();
        assert_eq!(book.all()[0].source, Source::Config);
        assert_eq!(book.all()[0].addresses[0].port(), 5);
        let book = PeerBook::open(dir.path(), ME, &[]).unwrap();
        assert_eq!(book.all()[0], known(1, Source::Inviter, 8));
    }

    #[test]
    fn a_forgotten_peer_comes_back_by_invitation_only() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (NodeId([1; 32]), NodeId([2; 32]));
        let book = PeerBook::open(dir.path(), ME, &[]).unwrap();
        book.learn([
            known(1, Source::Invited, 1),
            known(2, Source::Introduced, 2),
        ])
        .unwrap();
        book.forget(&one, 100).unwrap();
        book.forget(&two, 100).unwrap();
        assert!(matches!(book.forget(&two, 100), Err(PeersError::Unknown)));

        let book = PeerBook::open(dir.path(), ME, &[]).unwrap();
        assert!(!book.is_member(&one) && !book.is_member(&two));
        let again = [
            known(1, Source::Introduced, 1),
            known(2, Source::Introduced, 2),
        ];
        assert_eq!(book.learn(again).unwrap(), []);
        assert!(book.redeem(one, &[], [7; 16], 1_000, 900).unwrap());
        assert_eq!(book.learn([known(2, Source::Inviter, 2)]).unwrap(), [two]);
        assert!(book.lock().forgotten.is_empty());
    }

    #[test]
    fn the_configuration_outweighs_forgetting() {
        let dir = tempfile::tempdir().unwrap();
        let peer = PeerAddress {
            node: NodeId([1; 32]),
            address: "[::1]:5".parse().unwrap(),
        };
        let book = PeerBook::open(dir.path(), ME, &[peer]).unwrap();
        assert!(matches!(
            book.forget(&peer.node, 1),
            Err(PeersError::Configured)
        ));
    }

    #[test]
    fn a_full_book_keeps_what_it_has_and_forgetting_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let book = PeerBook::open(dir.path(), ME, &[]).unwrap();
        let numbered = |number: u32| {
            let mut node = [1; 32];
            node[..4].copy_from_slice(&number.to_le_bytes());
            KnownPeer {
                node: NodeId(node),
                ..known(1, Source::Introduced, 1)
            }
        };
        let most = PEERS_MAX as u32;
        let new = book.learn((0..most + 10).map(numbered)).unwrap();
        assert_eq!(new.len(), PEERS_MAX);
        assert!(matches!(
            book.learn([numbered(most)]),
            Err(PeersError::TooManyPeers(_))
        ));
        book.forget(&new[0], 1).unwrap();
        assert_eq!(book.learn([numbered(most)]).unwrap().len(), 1);
    }

    #[test]
    fn addresses_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let book = PeerBook::open(dir.path(), ME, &[]).unwrap();
        for port in 1..100 {
            book.learn([known(1, Source::Invited, port)]).unwrap();
        }
        let peer = book.all().remove(0);
        assert_eq!(peer.addresses.len(), ADDRESSES_MAX);
        assert_eq!(peer.addresses[0].port(), 99);
    }

    #[test]
    fn damage_is_an_error_not_an_empty_book() {
        let dir = tempfile::tempdir().unwrap();
        for content in [
            "",
            "{}",
            "{\"version\":2,\"peers\":[],\"spent\":[]}",
            "{\"version\":1,\"peers\":[],\"spent\":[{\"nonce\":\"+1\",\"forget_after\":1}]}",
        ] {
            std::fs::write(dir.path().join(FILE_NAME), content).unwrap();
            let error = PeerBook::open(dir.path(), ME, &[]).unwrap_err();
            assert!(
                matches!(error, PeersError::Damaged { .. }),
                "{content}: {error}"
            );
        }
    }
}
