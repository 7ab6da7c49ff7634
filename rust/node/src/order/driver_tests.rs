//! Nodes in one process, with real files and a network of channels.

use std::sync::Mutex;

use hypermesh_consensus::{BlockHash, Key, Timeouts, Voter};
use mfn_local::{BoxFuture, Failure};
use mfn_wire::Status;

use super::beginning::Beginning;
use super::driver::*;
use super::store::DecidedStore;
use crate::doors::{Gossip, Heard, Joined, Ordered, Peers, Tell, Word};

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hypermesh_consensus::{Config, Decided, Evidence, Height, Machine, MeshId, Voters};
use hypermesh_id::NodeId;
use tokio::sync::mpsc;

/// Orders words; the state is the hash of all blocks. A stand-in for the registry.
struct Words {
    voters: Voters,
    waiting: Vec<Bytes>,
    state: [u8; 32],
    height: u64,
}

impl Words {
    fn new(voters: Voters) -> Self {
        Self {
            voters,
            waiting: Vec::new(),
            state: [0; 32],
            height: 0,
        }
    }
}

impl Machine for Words {
    fn has_work(&self) -> bool {
        !self.waiting.is_empty()
    }
    fn propose(&mut self, _: Height) -> Bytes {
        let word = self.waiting.first().cloned().unwrap_or_default();
        [&self.state[..], &word[..]].concat().into()
    }
    fn check(&self, height: Height, block: &[u8]) -> Result<(), String> {
        match height.0 == self.height + 1 && block.starts_with(&self.state) {
            true => Ok(()),
            false => Err("it does not follow".into()),
        }
    }
    fn apply(&mut self, decided: &Decided) -> Voters {
        let word = decided.body.slice(32..);
        self.waiting.retain(|waiting| *waiting != word);
        self.state = BlockHash::of(&decided.body).0;
        self.height += 1;
        self.voters.clone()
    }
}

impl Orders for Words {
    fn begin(&mut self, _: &mpsc::Sender<Ask<Self>>) -> std::io::Result<()> {
        Ok(())
    }
    fn applied(&mut self, _: Height) -> Applied {
        Applied::default()
    }
    fn heard(&mut self, _: NodeId, _: &[u8]) -> Result<(), &'static str> {
        Err("unknown")
    }
    fn works_on(&mut self, _: NodeId, _: Height) {}
    fn evidence(&mut self, _: Evidence) -> Option<Bytes> {
        None
    }
    fn poll_tell(&mut self) -> Option<Tell> {
        None
    }
    fn poll_fault(&mut self) -> Option<(NodeId, &'static str)> {
        None
    }
}

/// By the number of a wire: two may have one key.
pub(super) type Ears = Arc<Mutex<BTreeMap<u8, (NodeId, mpsc::Sender<Heard>)>>>;

/// One node's end of a network that loses nothing while both ends are there.
pub(super) struct Wire {
    pub(super) number: u8,
    pub(super) me: NodeId,
    pub(super) ears: Ears,
}

impl Gossip for Wire {
    fn tell(&self, tells: Vec<Tell>) {
        let ears = self.ears.lock().unwrap();
        for tell in tells {
            for (number, (node, ear)) in ears.iter() {
                if *number != self.number && (tell.to.is_empty() || tell.to.contains(node)) {
                    let word = Word::of(self.me, tell.class, tell.content.clone());
                    // One that is gone or slow hears nothing.
                    let _ = ear.try_send(Heard::Told(word));
                }
            }
        }
    }
    fn hear(&self) -> BoxFuture<Result<mpsc::Receiver<Heard>, Failure>> {
        let (to, heard) = mpsc::channel(4_096);
        let mut ears = self.ears.lock().unwrap();
        let connected = ears.values().map(|(node, _)| *node).collect();
        for (_, ear) in ears.values() {
            let _ = ear.try_send(Heard::Peers(Peers {
                connected: vec![self.me],
                ..Peers::default()
            }));
        }
        let _ = to.try_send(Heard::Peers(Peers {
            connected,
            ..Peers::default()
        }));
        ears.insert(self.number, (self.me, to));
        Box::pin(std::future::ready(Ok(heard)))
    }
    fn order(&self, _: Ordered) -> BoxFuture<Result<(), Failure>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn join(&self, _: String) -> BoxFuture<Result<Joined, Failure>> {
        let no = Failure::new(Status::UNSUPPORTED, "a wire of a test");
        Box::pin(std::future::ready(Err(no)))
    }
}

const MESH: MeshId = MeshId([7; 32]);

fn key(seed: u8) -> Key {
    Key(ed25519_dalek::SigningKey::from_bytes(&[seed; 32]))
}

fn voters(count: u8) -> Voters {
    let voter = |seed| Voter::new(hypermesh_consensus::Sign::node(&key(seed))).unwrap();
    Voters::new((1..=count).map(voter)).unwrap()
}

fn replayed(store: &DecidedStore, count: u8) -> Result<(Words, Voters), OrderError> {
    let mut words = Words::new(voters(count));
    for height in 1..=store.stored() {
        let (decided, _) = store.block(Height(height))?.unwrap();
        words.apply(&decided);
    }
    Ok((words, voters(count)))
}

async fn run(
    directory: &Path,
    seed: u8,
    count: u8,
    ears: &Ears,
    new: bool,
) -> Result<Running<Words>, OrderError> {
    let me = hypermesh_consensus::Sign::node(&key(seed));
    let gossip = Arc::new(Wire {
        number: seed,
        me,
        ears: Arc::clone(ears),
    });
    let heard = gossip.hear().await.unwrap();
    let from = Start {
        directory,
        store: DecidedStore::open(directory, &MESH.0)?,
        new,
        config: Config {
            mesh: MESH,
            timeouts: Timeouts {
                // A round whose proposer is away costs this much.
                propose: Duration::from_millis(150),
                vote: Duration::from_millis(100),
                more_each_round: Duration::from_millis(100),
                repeat: Duration::from_millis(300),
                heartbeat: Duration::from_millis(100),
                answer: Duration::from_millis(100),
                ..Timeouts::default()
            },
        },
        signer: key(seed),
        gossip,
        heard,
        beginning: Beginning::now(),
    };
    start(from, |store| replayed(store, count))
}

async fn say(running: &Running<Words>, word: String) {
    let ask: Ask<Words> = Box::new(move |words| words.waiting.push(word.into()));
    assert!(running.asks.send(ask).await.is_ok());
}

async fn until(running: &Running<Words>, height: u64) {
    let mut view = running.view.clone();
    let reached = view.wait_for(|view| view.height.0 > height || view.failed.is_some());
    let reached = tokio::time::timeout(Duration::from_secs(60), reached).await;
    let view = reached.unwrap().unwrap();
    assert_eq!(view.failed, None);
}

#[tokio::test]
async fn one_alone_decides_and_remembers() {
    let place = tempfile::tempdir().unwrap();
    let ears = Ears::default();
    let node = run(place.path(), 1, 1, &ears, true).await.unwrap();
    for at in 0..20 {
        say(&node, format!("word {at}")).await;
    }
    until(&node, 20).await;
    drop(node);
    let node = run(place.path(), 1, 1, &ears, false).await.unwrap();
    assert_eq!(node.view.borrow().height, Height(21));
    say(&node, "more".into()).await;
    until(&node, 21).await;
    let (decided, _) = node.store.block(Height(21)).unwrap().unwrap();
    assert!(decided.body.ends_with(b"more"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_agree_and_one_that_was_away_catches_up() {
    let places: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let ears = Ears::default();
    let mut nodes = Vec::new();
    for (seed, place) in (1..).zip(&places) {
        nodes.push(run(place.path(), seed, 4, &ears, true).await.unwrap());
    }
    for at in 0..40 {
        for node in &nodes {
            say(node, format!("word {at}")).await;
        }
    }
    for node in &nodes {
        until(node, 20).await;
    }
    // One goes away, three go on, and it comes back to what it has missed.
    drop(nodes.pop());
    for node in &nodes {
        until(node, 40).await;
    }
    for at in 40..140 {
        for node in &nodes {
            say(node, format!("word {at}")).await;
        }
    }
    for node in &nodes {
        until(node, 140).await;
    }
    nodes.push(run(places[3].path(), 4, 4, &ears, false).await.unwrap());
    until(&nodes[3], 140).await;
    for height in 1..=140 {
        let block = |node: &Running<Words>| node.store.block(Height(height)).unwrap().unwrap().0;
        let first = block(&nodes[0]).certificate.block;
        for node in &nodes[1..] {
            assert_eq!(block(node).certificate.block, first, "height {height}");
        }
    }
}

#[tokio::test]
async fn a_lost_or_damaged_file_stops_it_with_its_name() {
    let place = tempfile::tempdir().unwrap();
    let ears = Ears::default();
    let node = run(place.path(), 1, 1, &ears, true).await.unwrap();
    for at in 0..9 {
        say(&node, format!("word {at}")).await;
    }
    until(&node, 9).await;
    drop(node);
    let log = place.path().join("log.odd");
    let whole = std::fs::read(&log).unwrap();
    let failure = |ears: &Ears| {
        let (place, ears) = (place.path().to_path_buf(), Arc::clone(ears));
        async move {
            let started = run(&place, 1, 1, &ears, false).await;
            started.map(|_| ()).unwrap_err().to_string()
        }
    };
    let mut damaged = whole.clone();
    damaged[4096 + 60] ^= 1;
    std::fs::write(&log, &damaged).unwrap();
    let text = failure(&ears).await;
    assert!(text.contains("log.odd is damaged at byte 4096"), "{text}");
    std::fs::write(&log, &whole).unwrap();
    std::fs::remove_file(place.path().join("log.even")).unwrap();
    let text = failure(&ears).await;
    assert!(text.contains("log.even is missing"), "{text}");
    std::fs::write(place.path().join("log.even"), b"").unwrap();
    let store = place.path().join("decided.redb");
    let kept = std::fs::read(&store).unwrap();
    std::fs::write(&store, vec![1; kept.len()]).unwrap();
    let text = failure(&ears).await;
    assert!(text.contains("decided.redb cannot be used"), "{text}");
    std::fs::write(&store, &kept).unwrap();
    run(place.path(), 1, 1, &ears, false)
        .await
        .map(|_| ())
        .unwrap();
}
