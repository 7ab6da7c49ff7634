//! Tells peers what has no answer: on streams of one direction, one for each class, before everything else.
//!
//! Nobody waits for a peer: what it does not take in time is dropped, the oldest first, and counted. Whoever tells says it
//! again if it matters. The other way round, a peer whose words nobody takes is not read any further.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hypermesh_id::NodeId;
use quinn::{Connection, SendStream};
use stoq_proto::{Class, Message, TOLD_BYTES_MAX};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;

use crate::endpoint::Shared;
use crate::error::StoqError;
use crate::streams;

/// What waits for one peer, of one class.
const WAITING_MAX: usize = 4_096;
const WAITING_BYTES_MAX: usize = 8 << 20;
/// What is heard of one peer, and of all, until it is taken.
pub(crate) const HEARD_BYTES_PER_PEER: usize = 4 << 20;
pub(crate) const HEARD_BYTES: usize = 128 << 20;
/// What each told message counts beside its content.
const HEARD_BYTES_EACH: usize = 256;
/// Streams of one direction that a peer may have open: one for each class, twice while one takes another's place.
pub(crate) const STREAMS_MAX: u8 = 2 * Class::ALL.len() as u8;

/// What a peer told. Until it is dropped it counts against what may be heard of that peer.
#[derive(Debug)]
pub struct Told {
    pub from: NodeId,
    pub class: Class,
    pub content: Bytes,
    _permits: [OwnedSemaphorePermit; 2],
}

/// Where what peers tell goes; dropped, nothing is heard any more.
pub type Hearing = mpsc::UnboundedSender<Told>;

/// What waits to be told to one peer.
#[derive(Debug, Default)]
pub(crate) struct Teller {
    queues: [Queue; Class::ALL.len()],
    tasks: Mutex<Vec<AbortHandle>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Bytes>,
    bytes: usize,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Takes it in; answers how many older ones had to go.
    fn push(&mut self, content: Bytes) -> u64 {
        self.bytes += content.len();
        self.messages.push_back(content);
        let mut dropped = 0;
        while self.messages.len() > WAITING_MAX || self.bytes > WAITING_BYTES_MAX {
            if self.pop().is_none() {
                break;
            }
            dropped += 1;
        }
        dropped
    }

    fn pop(&mut self) -> Option<Bytes> {
        let content = self.messages.pop_front()?;
        self.bytes -= content.len();
        Some(content)
    }
}

impl Teller {
    fn queue(&self, class: Class) -> &Queue {
        &self.queues[class as usize - 1]
    }

    pub(crate) fn stop(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.drain(..).for_each(|task| task.abort());
    }

    /// Begins to write, once.
    fn start(self: &Arc<Self>, shared: &Arc<Shared>, node: NodeId) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.is_empty() {
            for class in Class::ALL {
                let task = write(Arc::clone(shared), node, Arc::clone(self), class);
                tasks.push(shared.runtime.spawn(task).abort_handle());
            }
        }
    }
}

fn dropped(class: Class, why: &'static str, count: u64) {
    if count > 0 {
        metrics::counter!("stoq_told_dropped", "class" => class.name(), "why" => why)
            .increment(count);
    }
}

/// Tells a peer. `false`: it is not connected, or does not listen.
pub(crate) fn tell(shared: &Arc<Shared>, to: &NodeId, class: Class, content: Bytes) -> bool {
    if content.len() > TOLD_BYTES_MAX {
        dropped(class, "too_long", 1);
        return false;
    }
    let teller = shared.peers().get(to).and_then(|peer| {
        let connected = peer.connection().is_some();
        connected.then(|| Arc::clone(&peer.teller))
    });
    let Some(teller) = teller else {
        dropped(class, "not_connected", 1);
        return false;
    };
    teller.start(shared, *to);
    let queue = teller.queue(class);
    let late = queue.waiting().push(content);
    dropped(class, "slow_peer", late);
    queue.more.notify_one();
    true
}

/// Writes what is told in one class to one peer, until it is no peer any more.
async fn write(shared: Arc<Shared>, node: NodeId, teller: Arc<Teller>, class: Class) {
    let queue = teller.queue(class);
    let mut stream: Option<(usize, SendStream)> = None;
    loop {
        let next = queue.waiting().pop();
        let Some(content) = next else {
            queue.more.notified().await;
            continue;
        };
        let Ok(connection) = shared.connection(&node) else {
            dropped(class, "not_connected", 1);
            continue;
        };
        let bytes = content.len() as u64;
        // A peer that is back is reached by a newer connection.
        let fresh = stream
            .take()
            .filter(|(id, _)| *id == connection.stable_id());
        let told = async {
            let mut open = match fresh {
                Some((_, open)) => open,
                None => open(&connection, class).await?,
            };
            streams::write(&mut open, &Message::Tell { class, content }).await?;
            Ok::<_, StoqError>(open)
        };
        // Ends with the connection: one to an older process must not keep what is for the newer one.
        let mut changes = shared.changes.subscribe();
        let changed = async {
            let other = |shared: &Shared| {
                let current = shared.connection(&node);
                current.map_or(true, |current| {
                    current.stable_id() != connection.stable_id()
                })
            };
            while !other(&shared) && changes.changed().await.is_ok() {}
        };
        let outcome = tokio::select! {
            told = told => told,
            () = changed => Err(StoqError::NotConnected(node)),
        };
        match outcome {
            Ok(open) => {
                metrics::counter!("stoq_told", "class" => class.name()).increment(1);
                metrics::counter!("stoq_told_bytes", "class" => class.name()).increment(bytes);
                stream = Some((connection.stable_id(), open));
            }
            Err(error) => {
                dropped(class, "lost", 1);
                tracing::debug!(%node, %error, "it was not told");
            }
        }
    }
}

/// A peer that allows no streams of this kind is one that does not listen: this waits until the connection ends.
async fn open(connection: &Connection, class: Class) -> Result<SendStream, StoqError> {
    let stream = connection.open_uni().await?;
    let priority = Class::ALL.len() as i32 + 1 - class as i32;
    // It can only be closed already, which writing to it says as well.
    let _ = stream.set_priority(priority);
    Ok(stream)
}

/// Hears a member until the connection ends.
pub(crate) async fn hear(shared: Arc<Shared>, connection: Connection, node: NodeId) {
    let Some(hearing) = shared.hearing.clone() else {
        return;
    };
    let own = match shared.peers().get(&node) {
        Some(peer) => Arc::clone(&peer.heard),
        None => return,
    };
    while let Ok(mut stream) = connection.accept_uni().await {
        let (shared, connection) = (Arc::clone(&shared), connection.clone());
        let (hearing, own) = (hearing.clone(), Arc::clone(&own));
        tokio::spawn(async move {
            loop {
                match streams::read(&mut stream).await {
                    Ok(Some(Message::Tell { class, content })) => {
                        let cost = (content.len() + HEARD_BYTES_EACH) as u32;
                        // Its own share first: whoever waits for that holds up nobody else.
                        let Ok(first) = Arc::clone(&own).acquire_many_owned(cost).await else {
                            return;
                        };
                        let all = Arc::clone(&shared.heard).acquire_many_owned(cost).await;
                        let Ok(second) = all else { return };
                        let told = Told {
                            from: node,
                            class,
                            content,
                            _permits: [first, second],
                        };
                        if hearing.send(told).is_err() {
                            return;
                        }
                    }
                    Ok(None) | Err(StoqError::Lost(_)) => return,
                    Ok(Some(_)) => return broken(&connection, &node, "it tells a request"),
                    Err(error) => return broken(&connection, &node, &error.to_string()),
                }
            }
        });
    }
}

fn broken(connection: &Connection, node: &NodeId, error: &str) {
    metrics::counter!("stoq_told_refused").increment(1);
    tracing::warn!(%node, error, "what a peer told breaks the protocol; its connection is closed");
    connection.close(1u8.into(), b"what you told breaks the protocol");
}

pub(crate) fn heard_of_one() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(HEARD_BYTES_PER_PEER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_when_too_many_wait() {
        let mut waiting = Waiting::default();
        for at in 0..WAITING_MAX {
            assert_eq!(waiting.push(vec![at as u8; 2].into()), 0);
        }
        assert_eq!(waiting.push(Bytes::from_static(b"more")), 1);
        assert_eq!(waiting.pop().unwrap()[..], [1, 1]);
        assert_eq!(
            waiting.push(vec![0; WAITING_BYTES_MAX].into()),
            (WAITING_MAX - 1) as u64
        );
        assert_eq!(waiting.messages.len(), 1);
        assert_eq!(waiting.bytes, WAITING_BYTES_MAX);
    }
}
