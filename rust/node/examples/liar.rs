//! A node that lies, for the tests on built processes: what an honest replica says goes through one of the simulator's liars
//! before its peers hear it. Until it is killed.
//!
//!   liar DIRECTORY ADDRESS BEHAVIOUR SEED ID...     the ids of all nodes, its own among them
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a program of tests fails by panicking"
)]

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hypermesh_consensus::{Height, Key, MeshId, Message, Sign};
use hypermesh_id::NodeId;
use hypermesh_node::voice::{self, Tell, Voice};
use hypermesh_node::{Config, NodeDir, load_identity, logs};
use hypermesh_sim::{Actor, Behaviour, Desk, Random};
use stoq::Class;

/// Where a message names its mesh.
const MESH: std::ops::Range<usize> = 2..34;
/// Where a block's head has its time: the one thing of it that is its proposer's to choose.
const TIME: usize = 78;
/// How long the one that waits looks for something to wait for.
const LONG: Duration = Duration::from_secs(3600);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, address, behaviour, seed, ids @ ..] = &arguments[..] else {
        panic!("liar DIRECTORY ADDRESS BEHAVIOUR SEED ID...");
    };
    let dir = NodeDir::new(Path::new(directory)).unwrap();
    let mut config = Config::load(&dir.config()).unwrap();
    config.listen = vec![address.parse().unwrap()];
    logs::init(config.log_format, &config.log_level).unwrap();
    let key = Key(load_identity(&dir.identity()).unwrap());
    let names: Vec<NodeId> = ids.iter().map(|id| id.parse().unwrap()).collect();
    let me = names.iter().position(|name| *name == key.node());
    let mut random = Random::new(seed.parse().unwrap(), 0);
    let named = |one: &Behaviour| one.name() == behaviour;
    let behaviour = Behaviour::ALL.into_iter().find(named);
    let actor = behaviour.and_then(|behaviour| behaviour.actor(&mut random));
    let actor = actor.expect("a behaviour that an actor plays");
    let node = voice::start(&dir, &config, |heard| {
        let (later, waits) = channel();
        let late = Arc::clone(&heard);
        std::thread::spawn(move || tell_later(&waits, &late));
        let liar = Liar {
            me: me.expect("its own id is among the ids"),
            key,
            names,
            actor,
            random,
            height: Height(0),
            heard,
            later,
        };
        let liar = Mutex::new(liar);
        Arc::new(move |tells| {
            let mut liar = liar.lock().unwrap();
            tells.into_iter().for_each(|tell| liar.tells(tell));
        })
    });
    let _node = node.unwrap();
    loop {
        std::thread::park();
    }
}

struct Liar {
    me: usize,
    key: Key,
    names: Vec<NodeId>,
    actor: Box<dyn Actor>,
    random: Random,
    /// Of which it said something last.
    height: Height,
    heard: Voice,
    later: Sender<(Instant, Tell)>,
}

/// As good a block as this one, a millisecond later.
fn other_block(body: &[u8]) -> Vec<u8> {
    let mut other = body.to_vec();
    if let Some(Ok(time)) = body.get(TIME..TIME + 8).map(<[u8; 8]>::try_from) {
        let later = u64::from_le_bytes(time) + 1;
        other[TIME..TIME + 8].copy_from_slice(&later.to_le_bytes());
    }
    other
}

impl Liar {
    fn tells(&mut self, tell: Tell) {
        let mesh = tell.content.get(MESH).and_then(|mesh| mesh.try_into().ok());
        let Some(mesh) = mesh.map(MeshId) else { return };
        // What is no message of the agreement, such as transactions, is told as it is.
        let Ok(message) = Message::decode(&tell.content, &mesh) else {
            return (self.heard)(vec![tell]);
        };
        self.height = match &message {
            Message::Vote(vote) => vote.statement.height,
            Message::Proposal(proposal) => proposal.statement.height,
            Message::Block(block) => block.height,
            _ => self.height,
        };
        let is_meant = |name: &NodeId| tell.to.is_empty() || tell.to.contains(name);
        let to: Vec<usize> = (0..self.names.len())
            .filter(|at| *at != self.me && is_meant(&self.names[*at]))
            .collect();
        let key = &self.key;
        let mut desk = Desk {
            me: self.me,
            names: &self.names,
            sign: &|bytes| key.sign(bytes),
            other: other_block,
            mesh,
            height: self.height,
            random: &mut self.random,
            sent: Vec::new(),
        };
        self.actor.tells(&mut desk, &to, &message);
        for (to, after, message) in desk.sent {
            let tell = Tell {
                to: vec![self.names[to]],
                class: match &message {
                    Message::Block(_) | Message::Decided(_) => Class::Blocks,
                    Message::Retold(_) => Class::Gossip,
                    _ => Class::Votes,
                },
                content: message.encode(&mesh),
            };
            match after {
                0 => (self.heard)(vec![tell]),
                after => {
                    let due = Instant::now() + Duration::from_nanos(after);
                    self.later.send((due, tell)).unwrap();
                }
            }
        }
    }
}

/// Tells each when it is due.
fn tell_later(waits: &Receiver<(Instant, Tell)>, heard: &Voice) {
    let mut waiting: Vec<(Instant, Tell)> = Vec::new();
    loop {
        let next = waiting.iter().map(|(due, _)| *due).min();
        let wait = next.map_or(LONG, |due| due.saturating_duration_since(Instant::now()));
        match waits.recv_timeout(wait) {
            Ok(one) => waiting.push(one),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        let (due, rest) = waiting.into_iter().partition(|(due, _)| *due <= now);
        waiting = rest;
        let due: Vec<(Instant, Tell)> = due;
        heard(due.into_iter().map(|(_, tell)| tell).collect());
    }
}
