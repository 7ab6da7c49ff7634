//! The consensus component: what the mesh has decided, and what this node wants of it.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use hypermesh_consensus::Height;
use hypermesh_id::NodeId;
use hypermesh_registry::{Action, Description, Genesis, Name, State};
use mfn_local::{BoxFuture, Call, Failure, Handler, Reply};
use mfn_wire::{Service, Status, method, pb};
use stoq_proto::Invitation;
use tokio::sync::oneshot;

use crate::answer::{Answer, boxed, invalid, unsupported};
use crate::doors::{Gossip, Ordered};
use crate::order::chain::{Published, Unsubmitted, Verdict, history_key};
use crate::order::driver::View;
use crate::order::mesh::{self, Mesh, Opening};
use crate::order::snapshots::Policy;
use crate::order::store::DecidedStore;
use crate::order::words::{
    action, decided_block, entry, hex, kind, member_list, outcome, place, role,
};

/// How often an action is signed anew whose transaction was overtaken.
const SIGNED_ANEW: u32 = 16;

const STOPPED: &str = "the agreement has stopped; its log says why";

/// Most of a list in one answer.
const LISTED_MAX: usize = 1_000;
/// Between two looks at who was invited and is not admitted yet.
const ADMIT_AGAIN: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub(crate) struct ConsensusService {
    shared: Arc<Shared>,
}

struct Shared {
    me: NodeId,
    key: Arc<SigningKey>,
    directory: PathBuf,
    snapshots: Policy,
    gossip: Arc<dyn Gossip>,
    mesh: RwLock<Result<Arc<Mesh>, String>>,
    joining: tokio::sync::Mutex<()>,
}

/// What is said of a block that is not here, because this node went on from a snapshot.
fn missing(mesh: &Mesh, height: u64) -> Option<Failure> {
    let after = mesh.running.store.begins_after();
    (height <= after).then(|| {
        let text = format!(
            "blocks up to {after} are not here, this node went on from a snapshot: ask another member"
        );
        Failure::new(Status::NOT_FOUND, text)
    })
}

/// Who belongs and who no longer does, and to what mesh, for the transport.
fn ordered(mesh: &Mesh) -> Ordered {
    let state = mesh.published.borrow().state.clone();
    let members = state.members();
    Ordered {
        members: members
            .map(|(node, member)| (node, member.description.addresses.clone()))
            .collect(),
        removed: state.removed().collect(),
        genesis: mesh.genesis.to_bytes().into(),
    }
}

impl Handler for ConsensusService {
    fn call(&self, call: Call) -> BoxFuture<Answer> {
        let this = self.clone();
        boxed(async move {
            match call.method {
                method::consensus::STATUS => Ok(Reply::message(&this.status())),
                method::consensus::SUBMIT => this.submit(&call).await,
                method::consensus::NAME => this.name(&call),
                method::consensus::NAMES => this.names(&call),
                method::consensus::MEMBERS => this.members(),
                method::consensus::LOG => this.log(&call).await,
                method::consensus::SUBSCRIBE => this.subscribe(&call).await,
                method::consensus::HISTORY => this.history(&call).await,
                method::consensus::EVIDENCE => this.evidence(),
                method::consensus::PROOF => this.proof(&call).await,
                method::consensus::JOIN => this.join(&call).await,
                _ => unsupported(Service::Consensus, &call),
            }
        })
    }
}

impl ConsensusService {
    /// Takes part in the mesh of the directory, or founds one. What stands in the way is said by every answer; the component
    /// serves all the same.
    pub(crate) async fn open(
        (me, key): (NodeId, Arc<SigningKey>),
        directory: PathBuf,
        snapshots: Policy,
        gossip: Arc<dyn Gossip>,
    ) -> Self {
        let shared = Arc::new(Shared {
            me,
            key,
            directory,
            snapshots,
            gossip,
            mesh: RwLock::new(Err("it starts".into())),
            joining: tokio::sync::Mutex::default(),
        });
        let this = Self { shared };
        this.start(None, None).await;
        this
    }

    /// Opens the mesh of the directory, or the one that is joined; with the store that is open already, if it is.
    async fn start(&self, joined: Option<Genesis>, store: Option<DecidedStore>) {
        let shared = Arc::clone(&self.shared);
        let heard = shared.gossip.hear().await;
        let opened = tokio::task::spawn_blocking(move || {
            let heard = heard.map_err(|failure| failure.text)?;
            let gossip = Arc::clone(&shared.gossip);
            let opening = Opening {
                directory: &shared.directory,
                key: &shared.key,
                joined,
                snapshots: shared.snapshots,
                store,
            };
            mesh::open(opening, gossip, heard).map_err(|error| error.to_string())
        });
        let opened = opened
            .await
            .unwrap_or_else(|_| Err("a blocking call failed".into()));
        if let Err(reason) = &opened {
            tracing::error!(reason, "this node takes no part in what is decided");
        }
        let mut mesh = self.place();
        *mesh = opened.map(Arc::new);
    }

    fn place(&self) -> std::sync::RwLockWriteGuard<'_, Result<Arc<Mesh>, String>> {
        let mesh = &self.shared.mesh;
        mesh.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn mesh(&self) -> Result<Arc<Mesh>, Failure> {
        let mesh = self.shared.mesh.read();
        let mesh = mesh.unwrap_or_else(PoisonError::into_inner);
        let stopped = |reason: String| Failure::new(Status::NOT_READY, reason);
        let mesh = mesh.as_ref().map_err(|reason| stopped(reason.clone()))?;
        let view = &mesh.running.view;
        match &view.borrow().failed {
            Some(reason) => Err(stopped(reason.clone())),
            // Its thread has ended, and said nothing.
            None if view.has_changed().is_err() => Err(stopped(STOPPED.into())),
            None => Ok(Arc::clone(mesh)),
        }
    }

    fn published(&self) -> Result<Published, Failure> {
        Ok(self.mesh()?.published.borrow().clone())
    }

    /// Keeps the transport's members those that are decided, and has whom this node invited admitted, for ever.
    pub(crate) async fn keep(self) {
        let mut last = Ordered::default();
        loop {
            let mut published = None;
            if let Ok(mesh) = self.mesh() {
                let mut news = mesh.published.clone();
                let (state, members) = {
                    let now = news.borrow_and_update();
                    (now.state.clone(), now.members)
                };
                let ordered = ordered(&mesh);
                if ordered != last && self.shared.gossip.order(ordered.clone()).await.is_ok() {
                    last = ordered;
                }
                self.admit(&mesh, &state).await;
                published = Some((news, members, mesh.installed.clone()));
            }
            let changed = async {
                match &mut published {
                    Some((news, seen, installed)) => {
                        let has_stopped = tokio::select! {
                            // Names come and go many times for each change of the members.
                            now = news.wait_for(|now| now.members != *seen) => now.is_err(),
                            height = installed.wait_for(|height| *height > 0) => height.is_err(),
                        };
                        if has_stopped {
                            std::future::pending().await
                        }
                    }
                    None => std::future::pending().await,
                }
            };
            // Whoever was invited meanwhile is seen by the next look.
            let _ = tokio::time::timeout(ADMIT_AGAIN, changed).await;
            if published.is_some_and(|(_, _, installed)| *installed.borrow() > 0) {
                self.go_on().await;
            }
        }
    }

    /// Goes on from the snapshot that came: opens the mesh of the directory again.
    async fn go_on(&self) {
        let _alone = self.shared.joining.lock().await;
        // Another mesh may have been joined meanwhile.
        let Ok(mesh) = self.mesh() else { return };
        if *mesh.installed.borrow() == 0 {
            return;
        }
        drop(mesh);
        let text = "it goes on from a snapshot, in a moment".into();
        let Ok(old) = std::mem::replace(&mut *self.place(), Err(text)) else {
            return;
        };
        let store = old.running.store.clone();
        // Waits for its files; calls under way may read the store a moment longer.
        let stopped = tokio::task::spawn_blocking(move || old.running.stop());
        if stopped.await.is_ok() {
            self.start(None, Some(store)).await;
        }
    }

    async fn admit(&self, mesh: &Mesh, state: &State) {
        if !state.member(&self.shared.me).is_some_and(|me| me.voter) {
            return;
        }
        let invited = mesh.running.view.borrow().invited.clone();
        for (node, addresses) in invited {
            let removed = state.author(&node).is_some_and(|author| author.removed);
            if state.member(&node).is_some() || removed {
                continue;
            }
            let mut invitation = [0; 16];
            if getrandom::fill(&mut invitation).is_err() {
                return;
            }
            let action = Action::Admit {
                node,
                invitation,
                description: Description {
                    addresses,
                    ..Description::default()
                },
            };
            match self.ordered(mesh, action, 0).await {
                Ok(verdict) => tracing::info!(%node, outcome = %verdict.outcome, "an invited node"),
                Err(failure) => tracing::warn!(%node, error = failure.text, "not admitted"),
            }
        }
    }

    /// Has an action decided.
    async fn ordered(&self, mesh: &Mesh, action: Action, within: u64) -> Result<Verdict, Failure> {
        let gone = |_| Failure::new(Status::NOT_READY, STOPPED);
        let mut left = SIGNED_ANEW;
        let word = loop {
            let (waiter, word) = oneshot::channel();
            let again = action.clone();
            let ask = Box::new(move |chain: &mut crate::order::chain::Chain| {
                chain.submit(again, within, waiter);
            });
            mesh.running.asks.send(ask).await.map_err(|_| gone(()))?;
            let word = word.await.map_err(|_| gone(()))?;
            // What was dropped can never be decided, so that the same may be asked for once more with a new sequence: of many
            // at once from one node, a later one may overtake. Who set a limit of heights wants to know.
            if left == 0 || within > 0 || !matches!(word, Err(Unsubmitted::Dropped)) {
                break word;
            }
            left -= 1;
        };
        match word {
            Ok(verdict) => Ok(verdict),
            Err(unsubmitted) => {
                let status = match &unsubmitted {
                    Unsubmitted::Dropped => Status::DEADLINE,
                    Unsubmitted::Busy => Status::BUSY,
                    Unsubmitted::Rejected(hypermesh_registry::Rejected::Invalid(_)) => {
                        Status::DENIED
                    }
                    Unsubmitted::Rejected(_) => Status::LIMIT,
                };
                Err(Failure::new(status, unsubmitted.to_string()))
            }
        }
    }

    fn status(&self) -> pb::ConsensusStatus {
        let mesh = match self.mesh() {
            Ok(mesh) => mesh,
            Err(failure) => {
                return pb::ConsensusStatus {
                    reason: failure.text,
                    ..Default::default()
                };
            }
        };
        let (view, published) = (mesh.running.view.borrow(), mesh.published.borrow());
        let View { voters, .. } = &*view;
        let state = &published.state;
        let me = state.member(&self.shared.me);
        let is_here = |node: &NodeId| *node == self.shared.me || view.connected.contains(node);
        pb::ConsensusStatus {
            ready: true,
            reason: String::new(),
            mesh: mesh.genesis.mesh().to_string(),
            height: view.height.0,
            round: view.round.as_u32().unwrap_or(0),
            role: role(me.map(|me| me.voter)).into(),
            voters: voters.nodes().map(|node| node.to_string()).collect(),
            connected: voters
                .nodes()
                .filter(is_here)
                .map(|node| node.to_string())
                .collect(),
            decided_height: published.tip.height,
            decided_time_ms: published.tip.time,
            decided_round: view
                .decided
                .as_ref()
                .and_then(|decided| decided.certificate.round.as_u32())
                .unwrap_or(0),
            state_root: hex(&state.root()),
            mempool_transactions: published.waiting as u32,
            mempool_bytes: published.waiting_bytes as u64,
            members: state.members_len() as u32,
            names: state.names_len() as u64,
            counted: view
                .counted
                .iter()
                .map(|(name, count)| pb::Counted {
                    name: (*name).into(),
                    count: *count,
                })
                .collect(),
            stored_height: mesh.running.store.stored(),
            founder: mesh.genesis.founder.to_string(),
            snapshot_height: published.snapshot,
            begins_after: mesh.running.store.begins_after(),
        }
    }

    async fn submit(&self, call: &Call) -> Answer {
        let request: pb::SubmitRequest = call.decode()?;
        let mesh = self.mesh()?;
        let action = {
            let published = mesh.published.borrow();
            action(request.action, &self.shared.me, &published.state)?
        };
        let cancelled = call.cancelled();
        let verdict = tokio::select! {
            verdict = self.ordered(&mesh, action, request.within_heights) => verdict?,
            () = cancelled.cancelled() => return Err(Failure::new(Status::CANCELLED, "cancelled: it may be decided all the same")),
        };
        Ok(Reply::message(&pb::SubmitReply {
            transaction: verdict.id.to_string(),
            height: verdict.height,
            place: verdict.place,
            outcome: Some(outcome(&verdict.outcome)),
        }))
    }

    fn name(&self, call: &Call) -> Answer {
        let request: pb::NameRequest = call.decode()?;
        let name = Name::new(&request.name).map_err(invalid)?;
        let published = self.published()?;
        Ok(Reply::message(&entry(&published, &name)))
    }

    fn names(&self, call: &Call) -> Answer {
        let request: pb::NamesRequest = call.decode()?;
        let some = |text: &str| match text {
            "" => Ok(None),
            text => Name::new(text).map(Some).map_err(invalid),
        };
        let (prefix, after) = (some(&request.prefix)?, some(&request.after)?);
        let published = self.published()?;
        let limit = match request.limit as usize {
            0 => LISTED_MAX,
            limit => limit.min(LISTED_MAX),
        };
        let mut names: Vec<&Name> = published
            .state
            .names(prefix.as_ref(), after.as_ref())
            .map(|(name, _)| name)
            .take(limit + 1)
            .collect();
        let more = names.len() > limit;
        names.truncate(limit);
        let last = names.last().map(|name| name.as_str().to_owned());
        Ok(Reply::message(&pb::NameList {
            names: names.iter().map(|name| entry(&published, name)).collect(),
            after: last.filter(|_| more).unwrap_or_default(),
            height: published.tip.height,
        }))
    }

    fn members(&self) -> Answer {
        let mesh = self.mesh()?;
        let (view, published) = (mesh.running.view.borrow(), mesh.published.borrow());
        let list = member_list(&view, &published, &self.shared.me, LISTED_MAX);
        Ok(Reply::message(&list))
    }

    /// One decided block, off the component's thread.
    async fn block(
        &self,
        mesh: &Arc<Mesh>,
        height: u64,
    ) -> Result<Option<pb::DecidedBlock>, Failure> {
        let store = mesh.running.store.clone();
        let read = tokio::task::spawn_blocking(move || store.block(Height(height)));
        let read = read
            .await
            .map_err(|_| Failure::new(Status::INTERNAL, "a blocking call failed"))?;
        let block = read.map_err(|error| Failure::new(Status::CORRUPT, error.to_string()))?;
        let Some((decided, stored)) = block else {
            return Ok(None);
        };
        let round = decided.certificate.round.as_u32().unwrap_or(0);
        // Kept for the last heights only; older blocks tell who signed.
        let voters = mesh.published.borrow().state.voters_of(height);
        let mut block = decided_block(&decided, &stored)?;
        block.proposer = voters.map_or_else(String::new, |voters| {
            voters.proposer(Height(height), round).node().to_string()
        });
        Ok(Some(block))
    }

    async fn log(&self, call: &Call) -> Answer {
        let request: pb::LogRequest = call.decode()?;
        let mesh = self.mesh()?;
        let last = mesh.published.borrow().tip.height;
        let count = u64::from(request.limit.max(1)).min(LISTED_MAX as u64);
        let heights: Vec<u64> = if request.backwards {
            let from = if request.from == 0 {
                last
            } else {
                request.from.min(last)
            };
            (from.saturating_sub(count - 1).max(1)..=from)
                .rev()
                .collect()
        } else {
            let from = request.from.max(1);
            (from..=last.min(from.saturating_add(count - 1))).collect()
        };
        let mut is_there = false;
        for height in &heights {
            if let Some(block) = self.block(&mesh, *height).await? {
                call.events.message(&block).await?;
                is_there = true;
            }
        }
        match heights.iter().max() {
            Some(height) if !is_there => {
                missing(&mesh, *height).map_or_else(|| Ok(Reply::empty()), Err)
            }
            _ => Ok(Reply::empty()),
        }
    }

    async fn subscribe(&self, call: &Call) -> Answer {
        let request: pb::SubscribeRequest = call.decode()?;
        let mesh = self.mesh()?;
        let mut published = mesh.published.clone();
        let mut next = match request.from {
            0 => published.borrow().tip.height + 1,
            from => from,
        };
        if let Some(failure) = missing(&mesh, next) {
            return Err(failure);
        }
        loop {
            let last = published.borrow_and_update().tip.height;
            while next <= last {
                if let Some(block) = self.block(&mesh, next).await? {
                    call.events.message(&block).await?;
                    next += 1;
                } else {
                    // Published a moment before it is at hand.
                    tokio::task::yield_now().await;
                }
            }
            let cancelled = call.cancelled();
            tokio::select! {
                changed = published.changed() => if changed.is_err() {
                    return Err(Failure::new(Status::CLOSED, "this node takes part in another mesh now, goes on from a snapshot, or stops"));
                },
                () = cancelled.cancelled() => return Err(Failure::new(Status::CANCELLED, "cancelled")),
            }
        }
    }

    async fn history(&self, call: &Call) -> Answer {
        let request: pb::HistoryRequest = call.decode()?;
        let name = Name::new(&request.name).map_err(invalid)?;
        let mesh = self.mesh()?;
        let limit = match request.limit as usize {
            0 => 100,
            limit => limit.min(LISTED_MAX),
        };
        let key = history_key(name.as_str());
        let before =
            (request.before > 0).then(|| [&key[..], &request.before.to_be_bytes()].concat());
        let store = mesh.running.store.clone();
        let prefix = key.clone();
        let found =
            tokio::task::spawn_blocking(move || store.find(&prefix, before.as_deref(), limit + 1));
        let found = found
            .await
            .map_err(|_| Failure::new(Status::INTERNAL, "a blocking call failed"))?;
        let found = found.map_err(|error| Failure::new(Status::CORRUPT, error.to_string()))?;
        let mut reply = pb::NameHistory {
            begins_after: mesh.running.store.begins_after(),
            ..pb::NameHistory::default()
        };
        for (at, _) in found.iter().take(limit) {
            let Some((height, place)) = at.get(key.len()..).and_then(place) else {
                continue;
            };
            let Some(block) = self.block(&mesh, height).await? else {
                continue;
            };
            let time_ms = block.time_ms;
            let Some(one) = block.transactions.into_iter().nth(place as usize) else {
                continue;
            };
            reply.changes.push(pb::NameChange {
                height,
                time_ms,
                author: one.author,
                action: one.action,
                outcome: one.outcome,
                transaction: one.transaction,
            });
        }
        if found.len() > limit {
            reply.before = reply.changes.last().map_or(0, |last| last.height);
        }
        Ok(Reply::message(&reply))
    }

    fn evidence(&self) -> Answer {
        let published = self.published()?;
        let seen = published.evidence.iter().map(|evidence| {
            let mut bytes = Vec::new();
            evidence.encode(&mut bytes);
            let conviction = published.state.conviction(&evidence.culprit());
            pb::SeenEvidence {
                culprit: evidence.culprit().to_string(),
                height: evidence.height().0,
                kind: kind(evidence).into(),
                evidence: bytes,
                decided_height: conviction.map_or(0, |conviction| conviction.decided),
            }
        });
        Ok(Reply::message(&pb::EvidenceList {
            evidence: seen.collect(),
        }))
    }

    async fn proof(&self, call: &Call) -> Answer {
        let request: pb::NameRequest = call.decode()?;
        let name = Name::new(&request.name).map_err(invalid)?;
        let mesh = self.mesh()?;
        let (to, proof) = oneshot::channel();
        let ask = Box::new(move |chain: &mut crate::order::chain::Chain| {
            // Who asked may be gone.
            let _ = to.send(chain.prove(&name));
        });
        let gone = || Failure::new(Status::NOT_READY, STOPPED);
        mesh.running.asks.send(ask).await.map_err(|_| gone())?;
        let proof = proof.await.map_err(|_| gone())?;
        let none = || Failure::new(Status::NOT_READY, "nothing is decided in this mesh yet");
        let proof = proof.ok_or_else(none)?;
        Ok(Reply::message(&pb::NameProof {
            height: proof.sealed.certificate.height.0,
            proof: proof.to_bytes(),
        }))
    }

    async fn join(&self, call: &Call) -> Answer {
        let request: pb::JoinRequest = call.decode()?;
        let _alone = self.shared.joining.lock().await;
        let own = self.mesh()?;
        let issuer = request.text.trim().parse::<Invitation>();
        let issuer =
            issuer.map_err(|error| Failure::new(Status::INVALID_ARGUMENT, error.to_string()))?;
        let (leaves, fellow) = {
            let state = &own.published.borrow().state;
            let (members, names) = (state.members_len(), state.names_len());
            let text = format!(
                "this node is in a mesh of {members} members and {names} names already; --abandon leaves it, and keeps its files aside"
            );
            let leaves = match (members > 1 || names > 0) && !request.abandon {
                true => Err(Failure::new(Status::CONFLICT, text)),
                false => Ok(()),
            };
            (leaves, state.member(&issuer.issuer).is_some())
        };
        // A fellow member is most likely of the same mesh still: that is known when it has answered.
        if !fellow {
            leaves.clone()?;
        }
        let joined = self.shared.gossip.join(request.text).await?;
        let mut reply = pb::JoinReply {
            node_id: joined.issuer.to_string(),
            introduced: joined.introduced,
            genesis: joined.genesis.to_vec(),
            mesh: String::new(),
        };
        if joined.genesis.is_empty() {
            // An older issuer: members to each other, and no more.
            return Ok(Reply::message(&reply));
        }
        let genesis = Genesis::from_bytes(&joined.genesis)
            .map_err(|error| Failure::new(Status::CORRUPT, error.to_string()))?;
        reply.mesh = genesis.mesh().to_string();
        if genesis.mesh() == own.genesis.mesh() {
            return Ok(Reply::message(&reply));
        }
        leaves?;
        drop(own);
        let old = std::mem::replace(&mut *self.place(), Err("it joins another mesh".into()));
        let shared = Arc::clone(&self.shared);
        let left = tokio::task::spawn_blocking(move || {
            // Stops it, and waits for its files; calls under way hold on to it a moment longer.
            if let Ok(mesh) = old {
                mesh.running.stop();
                drop(mesh);
            }
            mesh::leave(&shared.directory)
        });
        let left = left
            .await
            .map_err(|_| Failure::new(Status::INTERNAL, "a blocking call failed"))?;
        let aside = left.map_err(|error| Failure::new(Status::IO, error.to_string()))?;
        tracing::info!(mesh = reply.mesh, aside = %aside.display(), "this node joins another mesh");
        self.start(Some(genesis), None).await;
        // At once: who joins this node from now on is told of this mesh, not of the one that was left.
        if let Ok(mesh) = self.mesh() {
            let ordered = ordered(&mesh);
            self.shared.gossip.order(ordered).await?;
        }
        Ok(Reply::message(&reply))
    }
}
