//! What consensus tells and hears when the transport is another process.
//!
//! One call hears for as long as it lasts, and is made again when the transport's process was. What is told waits in a
//! bounded queue; a task sends all that waits in one call, then what has come meanwhile.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hypermesh_id::NodeId;
use mfn_local::{BoxFuture, Call, Failure, Item, Reply};
use mfn_wire::{Service, method, pb};
use prost::Message;
use stoq::Class;
use tokio::sync::{Notify, mpsc};

use super::{AHEAD, ANSWER_TIMEOUT, Remote};
use crate::address::parse_socket_address;
use crate::answer::{Answer, invalid, parse_node, unsupported};
use crate::doors::{Gossip, Heard, Joined, Ordered, Peers, Tell, Word};

/// What waits to be told, all peers together.
const TELLS_MAX: usize = 8_192;
const TELL_BYTES_MAX: usize = 16 << 20;
/// Of one call, or event; one more message still fits.
const BATCH_BYTES: usize = 2 << 20;
const BATCH_MAX: usize = 1_024;
/// What was heard and is not taken yet.
const HEARD_MAX: usize = 256;
/// After the transport was away.
const AGAIN: Duration = Duration::from_millis(50);

/// The transport in another process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RemoteGossip {
    remote: Arc<Remote>,
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<(VecDeque<Tell>, usize)>,
    more: Notify,
}

impl RemoteGossip {
    /// Tells from then on, on this runtime.
    pub(crate) fn new(remote: Arc<Remote>) -> Self {
        let queue: Arc<Queue> = Arc::default();
        let runtime = remote.runtime.clone();
        runtime.spawn(pass_on(Arc::clone(&remote), Arc::clone(&queue)));
        Self { remote, queue }
    }
}

async fn pass_on(remote: Arc<Remote>, queue: Arc<Queue>) {
    loop {
        let mut request = pb::TellRequest::default();
        {
            let mut waiting = queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let mut bytes = 0;
            while bytes < BATCH_BYTES
                && request.tells.len() < BATCH_MAX
                && let Some(tell) = waiting.0.pop_front()
            {
                waiting.1 -= tell.content.len();
                bytes += tell.content.len();
                request.tells.push(pb::Tell {
                    to: tell.to.iter().map(|node| node.0.to_vec()).collect(),
                    class: (tell.class as u8).into(),
                    content: tell.content,
                });
            }
        }
        if request.tells.is_empty() {
            queue.more.notified().await;
            continue;
        }
        let count = request.tells.len() as u64;
        let told: Result<pb::ForgetRequest, Failure> = remote
            .ask(method::transport::TELL, &request, ANSWER_TIMEOUT)
            .await;
        if let Err(failure) = told {
            metrics::counter!("hypermesh_order_not_told").increment(count);
            tracing::debug!(error = failure.text, "peers were not told");
            tokio::time::sleep(AGAIN).await;
        }
    }
}

impl Gossip for RemoteGossip {
    fn tell(&self, tells: Vec<Tell>) {
        let mut waiting = self
            .queue
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for tell in tells {
            waiting.1 += tell.content.len();
            waiting.0.push_back(tell);
        }
        while waiting.0.len() > TELLS_MAX || waiting.1 > TELL_BYTES_MAX {
            let Some(old) = waiting.0.pop_front() else {
                break;
            };
            waiting.1 -= old.content.len();
            metrics::counter!("hypermesh_order_not_told").increment(1);
        }
        drop(waiting);
        self.queue.more.notify_one();
    }

    fn hear(&self) -> BoxFuture<Result<mpsc::Receiver<Heard>, Failure>> {
        let (to, heard) = mpsc::channel(HEARD_MAX);
        let remote = Arc::clone(&self.remote);
        self.remote.runtime.spawn(async move {
            while !to.is_closed() {
                if let Err(failure) = hear(&remote, &to).await {
                    tracing::debug!(error = failure.text, "peers are not heard");
                }
                tokio::time::sleep(AGAIN).await;
            }
        });
        Box::pin(std::future::ready(Ok(heard)))
    }

    fn order(&self, ordered: Ordered) -> BoxFuture<Result<(), Failure>> {
        let remote = Arc::clone(&self.remote);
        Box::pin(async move {
            let question = pb::OrderedMembers {
                members: ordered
                    .members
                    .into_iter()
                    .map(|(node, addresses)| pb::OrderedMember {
                        node: node.0.to_vec(),
                        addresses: texts(&addresses),
                    })
                    .collect(),
                removed: ordered.removed.iter().map(|node| node.0.to_vec()).collect(),
                genesis: ordered.genesis.to_vec(),
            };
            let done: Result<pb::ForgetRequest, Failure> = remote
                .ask(method::transport::ORDER, &question, ANSWER_TIMEOUT)
                .await;
            done.map(|_| ())
        })
    }

    fn join(&self, text: String) -> BoxFuture<Result<Joined, Failure>> {
        let remote = Arc::clone(&self.remote);
        Box::pin(async move {
            let question = pb::JoinRequest {
                text,
                abandon: false,
            };
            let reply: pb::JoinReply = remote
                .ask(method::transport::JOIN, &question, ANSWER_TIMEOUT)
                .await?;
            Ok(Joined {
                issuer: parse_node(&reply.node_id)?,
                introduced: reply.introduced,
                genesis: reply.genesis.into(),
            })
        })
    }
}

fn texts(addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

fn node(bytes: &[u8]) -> Result<NodeId, Failure> {
    let id = bytes.try_into().map(NodeId);
    id.map_err(|_| invalid(format!("a node id of {} bytes", bytes.len())))
}

fn class(number: u32) -> Result<Class, Failure> {
    let class = Class::ALL
        .into_iter()
        .find(|class| u32::from(*class as u8) == number);
    class.ok_or_else(|| invalid(format!("class {number} is unknown")))
}

fn addresses(all: &[String]) -> Result<Vec<SocketAddr>, Failure> {
    let one = |text: &String| parse_socket_address(text).map_err(invalid);
    all.iter().map(one).collect()
}

/// Hears until the call ends.
async fn hear(remote: &Remote, to: &mpsc::Sender<Heard>) -> Result<(), Failure> {
    let request = remote.request(&());
    let opened = remote.pool.stream(method::transport::HEAR, request, AHEAD);
    let mut items = opened.await.map_err(|error| remote.failure(error))?;
    while let Some(item) = items.next().await {
        let Item::Event(one) = item.map_err(|error| remote.failure(error))? else {
            return Ok(());
        };
        let event = pb::HeardEvent::decode(one.body).map_err(|error| invalid(error.to_string()))?;
        let peers = event.peers.map(from_peers).transpose()?;
        let words = event.heard.into_iter().map(|heard| {
            let (from, class) = (node(&heard.from)?, class(heard.class)?);
            Ok(Heard::Told(Word::of(from, class, heard.content)))
        });
        let all = words.chain(peers.map(|peers| Ok(Heard::Peers(peers))));
        for one in all.collect::<Result<Vec<_>, Failure>>()? {
            if to.send(one).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn from_peers(peers: pb::PeersChanged) -> Result<Peers, Failure> {
    Ok(Peers {
        connected: peers
            .connected
            .iter()
            .map(|peer| node(&peer.node))
            .collect::<Result<_, _>>()?,
        invited: peers
            .invited
            .iter()
            .map(|peer| Ok((node(&peer.node)?, addresses(&peer.addresses)?)))
            .collect::<Result<_, Failure>>()?,
        own: addresses(&peers.own_addresses)?,
    })
}

fn to_peers(peers: &Peers) -> pb::PeersChanged {
    pb::PeersChanged {
        connected: peers
            .connected
            .iter()
            .map(|node| pb::ConnectedPeer {
                node: node.0.to_vec(),
            })
            .collect(),
        invited: peers
            .invited
            .iter()
            .map(|(node, addresses)| pb::InvitedPeer {
                node: node.0.to_vec(),
                addresses: texts(addresses),
            })
            .collect(),
        own_addresses: texts(&peers.own),
    }
}

/// What the transport answers to consensus.
pub(crate) async fn serve(gossip: &dyn Gossip, call: Call) -> Answer {
    match call.method {
        method::transport::HEAR => {
            let mut heard = gossip.hear().await?;
            while let Some(first) = heard.recv().await {
                let mut event = pb::HeardEvent::default();
                let mut bytes = 0;
                let mut next = Some(first);
                while let Some(one) = next.take() {
                    match one {
                        Heard::Peers(peers) => event.peers = Some(to_peers(&peers)),
                        Heard::Told(word) => {
                            bytes += word.content.len();
                            event.heard.push(pb::Heard {
                                from: word.from.0.to_vec(),
                                class: (word.class as u8).into(),
                                content: word.content,
                            });
                        }
                    }
                    if bytes < BATCH_BYTES && event.heard.len() < BATCH_MAX {
                        next = heard.try_recv().ok();
                    }
                }
                call.events.message(&event).await?;
            }
            Ok(Reply::empty())
        }
        method::transport::TELL => {
            let request: pb::TellRequest = call.decode()?;
            let tell = |tell: pb::Tell| {
                Ok(Tell {
                    to: tell
                        .to
                        .iter()
                        .map(|bytes| node(bytes))
                        .collect::<Result<_, _>>()?,
                    class: class(tell.class)?,
                    content: tell.content,
                })
            };
            let tells: Result<Vec<Tell>, Failure> = request.tells.into_iter().map(tell).collect();
            gossip.tell(tells?);
            Ok(Reply::empty())
        }
        method::transport::ORDER => {
            let request: pb::OrderedMembers = call.decode()?;
            let ordered = Ordered {
                members: request
                    .members
                    .iter()
                    .map(|member| Ok((node(&member.node)?, addresses(&member.addresses)?)))
                    .collect::<Result<_, Failure>>()?,
                removed: request
                    .removed
                    .iter()
                    .map(|bytes| node(bytes))
                    .collect::<Result<_, _>>()?,
                genesis: Bytes::from(request.genesis),
            };
            gossip.order(ordered).await?;
            Ok(Reply::empty())
        }
        _ => unsupported(Service::Transport, &call),
    }
}
