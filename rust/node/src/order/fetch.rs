//! Catching up by a snapshot of others: whom to ask for what, and whom not again. Time is an argument, and nobody is believed.
//!
//! One peer at a time is the source; others that have the same snapshot take its place when it is silent, slow or wrong. Every
//! piece is proved before the next one is taken, so that at most [`WINDOW`] of them are held. Whoever sent a piece that cannot
//! be is known at once, but for a source that took over in the middle: then all begins again with what that one says alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hypermesh_id::NodeId;
use hypermesh_registry::{Genesis, Pieces};

use super::snapshot_words::Offer;

/// Nanoseconds of any clock that does not go back.
pub(crate) type Time = u64;
const SECOND: Time = 1_000_000_000;

/// Pieces that are asked for ahead of those that are here: half a megabyte on its way fills a line of 40 Mbit/s at 100 ms.
pub(crate) const WINDOW: u32 = 4;
/// Who are asked at once for what they have.
const ASKED_AT_ONCE: usize = 4;
/// For all of their answers.
const OFFER_WAIT: Time = 5 * SECOND;
/// For the next piece, before another source is asked.
const PIECE_WAIT: Time = 5 * SECOND;
/// A source that gives fewer pieces than this in such a time is slow, if there is another.
const PACE_TIME: Time = 10 * SECOND;
const PACE_PIECES: u32 = 8;
/// Without any progress of its own, a node that is behind at all asks for a snapshot: nobody may have the blocks any more.
pub(crate) const STUCK: Time = 15 * SECOND;
/// After nobody had one, or all failed.
const REST: Time = 10 * SECOND;
/// For how long nothing is asked of who was silent, and of who was wrong.
const SILENT_SHUNNED: Time = 60 * SECOND;
const WRONG_SHUNNED: Time = 3_600 * SECOND;
/// Peers whose height is kept.
const PEERS_MAX: usize = 1_024;
/// Pieces that a snapshot may have: of a state of 128 GiB.
const PIECES_MAX: u32 = 1 << 20;

/// What is to be done, in this order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Ask {
        to: NodeId,
        above: u64,
    },
    AskPiece {
        to: NodeId,
        height: u64,
        number: u32,
    },
    /// A file begins; one that was begun before is void.
    Begin(Box<Offer>),
    /// The next piece of it.
    Piece(Vec<u8>),
    /// It is whole and proved: this node goes on from it.
    Whole(u64),
    /// It is void.
    Abandon,
    /// A peer did what no honest one does.
    Fault(NodeId, &'static str),
}

#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    height: u64,
    shunned_until: Time,
}

#[derive(Debug)]
enum Stage {
    Idle,
    Asking {
        until: Time,
        waiting: BTreeSet<NodeId>,
        offers: Vec<(NodeId, Offer)>,
    },
    Taking(Box<Taking>),
    /// All is there, and this node is about to go on from it.
    Done,
}

#[derive(Debug)]
struct Taking {
    offer: Offer,
    pieces: Pieces,
    /// The piece that is proved next, and the one that is asked for next.
    next: u32,
    asked: u32,
    early: BTreeMap<u32, Vec<u8>>,
    source: NodeId,
    /// Whom what is here came from, the offer included.
    gave: BTreeSet<NodeId>,
    others: VecDeque<(NodeId, Offer)>,
    answer_by: Time,
    pace_by: Time,
    paced: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Fetch {
    genesis: Genesis,
    behind: u64,
    own: u64,
    /// Since when others are ahead and nothing is decided here.
    own_since: Time,
    peers: BTreeMap<NodeId, Peer>,
    turn: usize,
    rest_until: Time,
    stage: Stage,
    wants: VecDeque<Want>,
}

impl Fetch {
    /// Of a node that has decided up to this height; one so many heights behind others asks them.
    pub(crate) fn new(genesis: Genesis, behind: u64, own: u64, now: Time) -> Self {
        Self {
            genesis,
            behind,
            own,
            own_since: now,
            peers: BTreeMap::new(),
            turn: 0,
            rest_until: now,
            stage: Stage::Idle,
            wants: VecDeque::new(),
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Want> {
        self.wants.pop_front()
    }

    /// The height of the snapshot of which pieces are awaited.
    pub(crate) fn taking(&self) -> Option<u64> {
        match &self.stage {
            Stage::Taking(taking) => Some(taking.offer.head.height()),
            _ => None,
        }
    }

    /// When [`Self::elapsed`] has to be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Time> {
        match &self.stage {
            Stage::Asking { until, .. } => Some(*until),
            Stage::Taking(taking) => Some(taking.answer_by.min(taking.pace_by)),
            Stage::Idle | Stage::Done => None,
        }
    }

    /// A peer said that it works on a height, while this node has decided up to `own`.
    pub(crate) fn height(&mut self, now: Time, from: NodeId, height: u64, own: u64) {
        if own > self.own {
            (self.own, self.own_since) = (own, now);
        }
        if self.peers.len() < PEERS_MAX || self.peers.contains_key(&from) {
            self.peers.entry(from).or_default().height = height.saturating_sub(1);
        }
        // One height ahead is where others are while a message is on its way.
        if !self.peers.values().any(|peer| peer.height > self.own + 1) {
            self.own_since = now;
        }
        if self.taking().is_some_and(|height| height <= self.own) {
            // The blocks came first.
            self.abandon(now);
        }
        self.consider(now);
    }

    /// Asks those who are ahead, if this node is far behind or nothing moves.
    fn consider(&mut self, now: Time) {
        if !matches!(self.stage, Stage::Idle) || now < self.rest_until {
            return;
        }
        let is_stuck = now.saturating_sub(self.own_since) >= STUCK;
        let (least, above) = match is_stuck {
            true => (self.own + 1, self.own),
            false => (self.own + self.behind, self.own + self.behind / 2),
        };
        let ahead: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.height > least && peer.shunned_until <= now)
            .map(|(node, _)| *node)
            .collect();
        if ahead.is_empty() {
            return;
        }
        let from = self.turn % ahead.len();
        self.turn = self.turn.wrapping_add(ASKED_AT_ONCE);
        let some = ahead.iter().cycle().skip(from).take(ahead.len());
        let waiting: BTreeSet<NodeId> = some.take(ASKED_AT_ONCE).copied().collect();
        for to in &waiting {
            self.wants.push_back(Want::Ask { to: *to, above });
        }
        self.stage = Stage::Asking {
            until: now + OFFER_WAIT,
            waiting,
            offers: Vec::new(),
        };
    }

    /// A peer answered what it has.
    pub(crate) fn offer(&mut self, now: Time, from: NodeId, offer: Option<Offer>) {
        let Stage::Asking {
            waiting, offers, ..
        } = &mut self.stage
        else {
            return;
        };
        if !waiting.remove(&from) {
            return;
        }
        if let Some(offer) = offer {
            let possible = offer.pieces <= PIECES_MAX && offer.pieces > offer.head.link_pieces();
            if possible && offer.head.height() > self.own {
                offers.push((from, offer));
            } else if !possible {
                self.wrong(now, from, "snapshot_offer");
            }
        }
        if let Stage::Asking { waiting, .. } = &self.stage
            && waiting.is_empty()
        {
            self.choose(now);
        }
    }

    /// Begins with the highest one that was offered.
    fn choose(&mut self, now: Time) {
        let Stage::Asking { mut offers, .. } = std::mem::replace(&mut self.stage, Stage::Idle)
        else {
            return;
        };
        offers.sort_by_key(|(_, offer)| std::cmp::Reverse(offer.head.height()));
        let offers: VecDeque<_> = offers.into();
        self.begin(now, offers);
    }

    /// Begins from the first piece with the first of these whose offer may be; the others stand by.
    fn begin(&mut self, now: Time, mut offers: VecDeque<(NodeId, Offer)>) {
        while let Some((source, offer)) = offers.pop_front() {
            if self.is_shunned(now, &source) {
                continue;
            }
            match Pieces::new(&self.genesis, offer.head.clone()) {
                Ok(pieces) => {
                    self.wants.push_back(Want::Begin(Box::new(offer.clone())));
                    self.stage = Stage::Taking(Box::new(Taking {
                        offer,
                        pieces,
                        next: 0,
                        asked: 0,
                        early: BTreeMap::new(),
                        source,
                        gave: BTreeSet::from([source]),
                        others: offers,
                        answer_by: now + PIECE_WAIT,
                        pace_by: now + PACE_TIME,
                        paced: 0,
                    }));
                    self.ask_on();
                    return;
                }
                Err(_) => self.wrong(now, source, "snapshot_offer"),
            }
        }
        self.stage = Stage::Idle;
        self.rest_until = now + REST;
    }

    /// Asks the source for what may be on its way.
    fn ask_on(&mut self) {
        let Stage::Taking(taking) = &mut self.stage else {
            return;
        };
        let end = taking.next.saturating_add(WINDOW).min(taking.offer.pieces);
        while taking.asked < end {
            self.wants.push_back(Want::AskPiece {
                to: taking.source,
                height: taking.offer.head.height(),
                number: taking.asked,
            });
            taking.asked += 1;
        }
    }

    /// A piece came; an empty one is not there any more.
    pub(crate) fn piece(
        &mut self,
        now: Time,
        from: NodeId,
        (height, number): (u64, u32),
        content: Vec<u8>,
    ) {
        let Stage::Taking(taking) = &mut self.stage else {
            return;
        };
        let is_awaited = taking.source == from
            && taking.offer.head.height() == height
            && (taking.next..taking.asked).contains(&number);
        if !is_awaited {
            return;
        }
        if content.is_empty() {
            // Newer ones have taken its place there.
            self.take_other(now);
            return;
        }
        taking.early.entry(number).or_insert(content);
        self.prove(now);
    }

    fn prove(&mut self, now: Time) {
        while let Stage::Taking(taking) = &mut self.stage
            && let Some(content) = taking.early.remove(&taking.next)
        {
            let in_links = taking.next < taking.offer.head.link_pieces();
            let source = taking.source;
            match taking.pieces.add(&content) {
                Ok(()) => {
                    taking.gave.insert(source);
                    taking.next += 1;
                    taking.paced += 1;
                    taking.answer_by = now + PIECE_WAIT;
                    self.wants.push_back(Want::Piece(content));
                    if taking.pieces.is_whole() {
                        let height = taking.offer.head.height();
                        self.wants.push_back(Want::Whole(height));
                        self.stage = Stage::Done;
                    } else if taking.next >= taking.offer.pieces {
                        // It has fewer than it takes.
                        self.blame(now, true);
                    }
                }
                // Of links also the head may be what is wrong.
                Err(error) => self.blame(now, in_links || error.is_of_before()),
            }
        }
        self.ask_on();
    }

    /// Something is wrong with the last piece, or perhaps with what was before it.
    fn blame(&mut self, now: Time, perhaps_before: bool) {
        let Stage::Taking(taking) = &mut self.stage else {
            return;
        };
        let source = taking.source;
        let alone = taking.gave.iter().all(|node| *node == source);
        if alone || !perhaps_before {
            self.wrong(now, source, "snapshot_piece");
        }
        if !perhaps_before {
            self.take_other(now);
            return;
        }
        // Once more from the beginning: with the source alone if others had a part in it, else without it.
        let Stage::Taking(taking) = std::mem::replace(&mut self.stage, Stage::Idle) else {
            return;
        };
        let Taking {
            offer,
            gave,
            mut others,
            ..
        } = *taking;
        for node in gave.iter().filter(|node| **node != source) {
            self.shun(now, *node, SILENT_SHUNNED);
        }
        if !alone {
            others.push_front((source, offer));
        }
        self.wants.push_back(Want::Abandon);
        self.begin(now, others);
    }

    /// Goes on with another source of the same snapshot; begins another one if there is none.
    fn take_other(&mut self, now: Time) {
        let Stage::Taking(taking) = &mut self.stage else {
            return;
        };
        let same = |offer: &Offer, other: &Offer| {
            offer.head.links == other.head.links
                && offer.pieces == other.pieces
                && offer.head.sealed.certificate.block == other.head.sealed.certificate.block
        };
        let peers = &self.peers;
        let place = taking.others.iter().position(|(node, other)| {
            let shunned = peers.get(node).is_some_and(|peer| peer.shunned_until > now);
            same(&taking.offer, other) && !shunned
        });
        if let Some((source, offer)) = place.and_then(|place| taking.others.remove(place)) {
            // Its own, should all begin again with it.
            taking.offer = offer;
            taking.source = source;
            taking.asked = taking.next;
            taking.early.clear();
            taking.answer_by = now + PIECE_WAIT;
            taking.pace_by = now + PACE_TIME;
            taking.paced = 0;
            self.ask_on();
            return;
        }
        let others = std::mem::take(&mut taking.others);
        self.wants.push_back(Want::Abandon);
        self.begin(now, others);
    }

    fn abandon(&mut self, now: Time) {
        self.stage = Stage::Idle;
        self.rest_until = now + REST;
        self.wants.push_back(Want::Abandon);
    }

    /// What was wanted could not be done here: the disk is full, say.
    pub(crate) fn failed(&mut self, now: Time) {
        self.wants.clear();
        self.abandon(now);
        self.rest_until = now + SILENT_SHUNNED;
    }

    /// Lets time pass.
    pub(crate) fn elapsed(&mut self, now: Time) {
        match &mut self.stage {
            Stage::Asking { until, waiting, .. } if *until <= now => {
                for node in std::mem::take(waiting) {
                    self.shun(now, node, SILENT_SHUNNED);
                }
                self.choose(now);
            }
            Stage::Taking(taking) if taking.answer_by <= now => {
                let source = taking.source;
                self.shun(now, source, SILENT_SHUNNED);
                self.take_other(now);
            }
            Stage::Taking(taking) if taking.pace_by <= now => {
                let is_slow = taking.paced < PACE_PIECES;
                (taking.pace_by, taking.paced) = (now + PACE_TIME, 0);
                if is_slow && !taking.others.is_empty() {
                    // It may have another turn.
                    let slow = (taking.source, taking.offer.clone());
                    taking.others.push_back(slow);
                    self.take_other(now);
                }
            }
            _ => {}
        }
        self.consider(now);
    }

    fn is_shunned(&self, now: Time, node: &NodeId) -> bool {
        let peer = self.peers.get(node);
        peer.is_some_and(|peer| peer.shunned_until > now)
    }

    fn shun(&mut self, now: Time, node: NodeId, time: Time) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.shunned_until = peer.shunned_until.max(now + time);
        }
    }

    fn wrong(&mut self, now: Time, node: NodeId, what: &'static str) {
        self.shun(now, node, WRONG_SHUNNED);
        self.wants.push_back(Want::Fault(node, what));
    }
}
