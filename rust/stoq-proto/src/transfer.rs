//! Spreads the blocks of one transfer over providers.
//!
//! Each provider has a window of bytes that may be under way, half a second at the rate that it has shown, so a faster
//! one gets more. The preferred one is filled first. A provider that makes no progress is left alone for a while and its
//! blocks are asked for elsewhere; after several failures in a row, after wrong bytes, or after an answer to a question
//! that nobody asked, it is out for good. When nothing is left to ask for, an idle provider repeats what a slow one owes
//! (end game, as in BitTorrent).
//!
//! Sans-IO: the caller passes the time (a [`Duration`] since any fixed moment), carries out requests and reports back.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use hypermesh_id::{BlockId, NodeId};

use crate::BlockRef;

mod types;

pub use types::{
    Cause, ProviderReport, ProviderState, Request, RequestId, TransferLimits, Verdict,
};

#[derive(Debug)]
struct Provider {
    node: NodeId,
    state: ProviderState,
    /// Failures in a row, and all of them.
    strikes: u32,
    failures: u32,
    /// Blocks that it says it does not have.
    lacks: HashSet<BlockId>,
    /// Bytes and requests under way.
    under_way: u64,
    requests: usize,
    last_progress: Duration,
    /// Bytes per second that it has shown; 0 while unknown.
    rate: f64,
    metered_since: Duration,
    metered: u64,
    bytes: u64,
    blocks: u64,
}

#[derive(Debug)]
struct Open {
    provider: usize,
    started: Duration,
    left: HashMap<BlockId, u32>,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    raw_len: u32,
    /// Requests under way that name it.
    asked: u32,
    /// It arrived and is being verified.
    arrived: bool,
    queued: bool,
}

/// One transfer. See the module.
#[derive(Debug)]
pub struct Transfer {
    limits: TransferLimits,
    providers: Vec<Provider>,
    wanted: HashMap<BlockId, Wanted>,
    queue: VecDeque<BlockId>,
    queued_bytes: u64,
    open: BTreeMap<RequestId, Open>,
    last_id: u64,
    cancelled: Vec<RequestId>,
    /// When [`Transfer::timeout`] was called last.
    last_look: Duration,
}

/// Rates are measured over stretches of at least this.
const METER: Duration = Duration::from_millis(100);
/// Share of a new measurement in the rate.
const METER_WEIGHT: f64 = 0.3;
/// Queued blocks that are looked at for one request: those that a provider lacks are passed over.
const LOOK_MAX: usize = 1_024;

impl Transfer {
    /// Providers in the order in which to prefer them; a repeated one counts once.
    pub fn new(limits: TransferLimits, providers: &[NodeId], now: Duration) -> Self {
        let mut seen = HashSet::new();
        let providers = providers
            .iter()
            .filter(|node| seen.insert(**node))
            .map(|node| Provider {
                node: *node,
                state: ProviderState::Active,
                strikes: 0,
                failures: 0,
                lacks: HashSet::new(),
                under_way: 0,
                requests: 0,
                last_progress: now,
                rate: 0.0,
                metered_since: now,
                metered: 0,
                bytes: 0,
                blocks: 0,
            })
            .collect();
        Self {
            limits,
            providers,
            wanted: HashMap::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            open: BTreeMap::new(),
            last_id: 0,
            cancelled: Vec::new(),
            last_look: now,
        }
    }

    /// How many more blocks are worth adding now.
    pub fn room(&self) -> usize {
        let mut usable = self
            .providers
            .iter()
            .filter(|provider| !matches!(provider.state, ProviderState::Out(_)))
            .peekable();
        if usable.peek().is_none() {
            // One, so that [`Transfer::lost`] has something to name.
            return usize::from(self.queue.is_empty());
        }
        let bytes: u64 = usable.map(|provider| self.window(provider)).sum();
        if self.queued_bytes >= bytes {
            0
        } else {
            self.limits.queue_max.saturating_sub(self.queue.len())
        }
    }

    /// Adds blocks to get. One that is wanted already stays as it is.
    pub fn add(&mut self, blocks: impl IntoIterator<Item = BlockRef>) {
        for block in blocks {
            // One that is under way keeps its books: they are balanced when its request ends.
            if let Entry::Vacant(place) = self.wanted.entry(block.id) {
                place.insert(Wanted {
                    raw_len: block.raw_len,
                    asked: 0,
                    arrived: false,
                    queued: false,
                });
                self.enqueue(block.id, false);
            }
        }
    }

    fn enqueue(&mut self, id: BlockId, first: bool) {
        let Some(wanted) = self.wanted.get_mut(&id) else {
            return;
        };
        if wanted.queued || wanted.arrived || wanted.asked > 0 {
            return;
        }
        wanted.queued = true;
        self.queued_bytes += u64::from(wanted.raw_len);
        if first {
            self.queue.push_front(id);
        } else {
            self.queue.push_back(id);
        }
    }

    /// Whether everything that was added is stored.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The next request to carry out, if any provider may be asked now.
    pub fn next_request(&mut self, now: Duration) -> Option<Request> {
        for at in 0..self.providers.len() {
            self.wake(at, now);
            let blocks = match self.providers.get(at) {
                Some(provider) if self.may_be_asked(provider) => self.pick(at, now),
                _ => continue,
            };
            if !blocks.is_empty() {
                return Some(self.start(at, blocks, now));
            }
        }
        None
    }

    /// Ends a pause that is over.
    fn wake(&mut self, at: usize, now: Duration) {
        if let Some(provider) = self.providers.get_mut(at)
            && matches!(provider.state, ProviderState::Paused { until, .. } if until <= now)
        {
            provider.state = ProviderState::Active;
        }
    }

    fn window(&self, provider: &Provider) -> u64 {
        let wanted = (provider.rate * self.limits.window_time.as_secs_f64()) as u64;
        wanted.clamp(self.limits.window_min, self.limits.window_max)
    }

    fn may_be_asked(&self, provider: &Provider) -> bool {
        // Small requests cost a round trip each, so room for less than half a request waits for more.
        let least = self.limits.request_bytes.min(self.limits.window_min) / 2;
        provider.state == ProviderState::Active
            && provider.requests < self.limits.requests_max
            && provider.under_way + least <= self.window(provider)
    }

    fn pick(&mut self, at: usize, now: Duration) -> Vec<BlockRef> {
        let Some(provider) = self.providers.get(at) else {
            return Vec::new();
        };
        let room = (self.window(provider) - provider.under_way).min(self.limits.request_bytes);
        let mut blocks = Vec::new();
        let mut bytes = 0u64;
        let mut passed = Vec::new();
        for _ in 0..LOOK_MAX.min(self.queue.len()) {
            let Some(id) = self.queue.pop_front() else {
                break;
            };
            let Some(wanted) = self.wanted.get_mut(&id) else {
                continue;
            };
            let raw_len = wanted.raw_len;
            if provider.lacks.contains(&id) {
                passed.push(id);
                continue;
            }
            if !blocks.is_empty() && bytes + u64::from(raw_len) > room {
                passed.push(id);
                break;
            }
            wanted.queued = false;
            bytes += u64::from(raw_len);
            self.queued_bytes -= u64::from(raw_len);
            blocks.push(BlockRef { id, raw_len });
            if blocks.len() >= self.limits.request_blocks {
                break;
            }
        }
        for id in passed.into_iter().rev() {
            self.queue.push_front(id);
        }
        if blocks.is_empty() && self.queue.is_empty() && provider.requests == 0 {
            return self.repeat(at, now);
        }
        blocks
    }

    /// What others owe for too long.
    fn repeat(&self, at: usize, now: Duration) -> Vec<BlockRef> {
        let Some(idle) = self.providers.get(at) else {
            return Vec::new();
        };
        let slow = |open: &&Open| open.provider != at && self.is_slow(open, now);
        let owed = self
            .open
            .values()
            .filter(slow)
            .flat_map(|open| open.left.iter());
        let mut blocks: Vec<BlockRef> = owed
            .filter(|(id, _)| {
                !idle.lacks.contains(id)
                    && self
                        .wanted
                        .get(id)
                        .is_some_and(|wanted| wanted.asked == 1 && !wanted.arrived)
            })
            .map(|(id, raw_len)| BlockRef {
                id: *id,
                raw_len: *raw_len,
            })
            .collect();
        // Whatever order the maps have.
        blocks.sort_by_key(|block| block.id);
        blocks.truncate(self.limits.request_blocks);
        blocks
    }

    fn is_slow(&self, open: &Open, now: Duration) -> bool {
        let Some(owner) = self.providers.get(open.provider) else {
            return false;
        };
        let since = owner.last_progress.max(open.started);
        let left: u64 = open.left.values().map(|raw_len| u64::from(*raw_len)).sum();
        let needs = left as f64 > owner.rate * self.limits.slow_after.as_secs_f64();
        let waited = now.saturating_sub(open.started) >= self.limits.slow_after;
        now.saturating_sub(since) >= self.limits.slow_after || (needs && waited)
    }

    fn start(&mut self, at: usize, blocks: Vec<BlockRef>, now: Duration) -> Request {
        self.last_id += 1;
        let id = RequestId(self.last_id);
        let mut left = HashMap::with_capacity(blocks.len());
        for block in &blocks {
            if let Some(wanted) = self.wanted.get_mut(&block.id) {
                wanted.asked += 1;
            }
            left.insert(block.id, block.raw_len);
        }
        let bytes: u64 = blocks.iter().map(|block| u64::from(block.raw_len)).sum();
        let mut node = NodeId([0; 32]);
        if let Some(provider) = self.providers.get_mut(at) {
            if provider.requests == 0 {
                // An idle provider owed nothing: its clock starts now.
                provider.last_progress = now;
                provider.metered_since = now;
                provider.metered = 0;
            }
            provider.requests += 1;
            provider.under_way += bytes;
            node = provider.node;
        }
        self.open.insert(
            id,
            Open {
                provider: at,
                started: now,
                left,
            },
        );
        Request {
            id,
            provider: node,
            blocks,
        }
    }

    /// A block arrived, `bytes` long as it travelled.
    pub fn block(
        &mut self,
        request: RequestId,
        id: &BlockId,
        bytes: u64,
        now: Duration,
    ) -> Verdict {
        let Some(open) = self.open.get_mut(&request) else {
            return Verdict::Duplicate;
        };
        let at = open.provider;
        let Some(raw_len) = open.left.remove(id) else {
            self.out(at, Cause::Broken("a block that nobody asked for".into()));
            return Verdict::Unasked;
        };
        if let Some(provider) = self.providers.get_mut(at) {
            provider.under_way -= u64::from(raw_len);
            provider.last_progress = now;
            provider.strikes = 0;
            provider.bytes += bytes;
            provider.blocks += 1;
            // In the unit of the window: blocks as they are, however short they travelled.
            provider.metered += u64::from(raw_len).max(bytes);
            let passed = now.saturating_sub(provider.metered_since);
            if passed >= METER {
                let rate = provider.metered as f64 / passed.as_secs_f64();
                let old = if provider.rate == 0.0 {
                    rate
                } else {
                    provider.rate
                };
                provider.rate = old + METER_WEIGHT * (rate - old);
                provider.metered_since = now;
                provider.metered = 0;
            }
        }
        match self.wanted.get_mut(id) {
            Some(wanted) => {
                // A repeat of a block that was stored and is wanted anew was counted under the old want.
                wanted.asked = wanted.asked.saturating_sub(1);
                if wanted.arrived {
                    return Verdict::Duplicate;
                }
                wanted.arrived = true;
                Verdict::Take
            }
            None => Verdict::Duplicate,
        }
    }

    /// A block that was taken is stored.
    pub fn stored(&mut self, id: &BlockId) {
        self.wanted.remove(id);
    }

    /// A block that was taken is not what its id says: its provider is out, and it is asked for elsewhere.
    pub fn wrong(&mut self, id: &BlockId, provider: &NodeId) {
        if let Some(at) = self.index(provider) {
            self.out(at, Cause::WrongBytes);
        }
        if let Some(wanted) = self.wanted.get_mut(id) {
            wanted.arrived = false;
        }
        self.enqueue(*id, true);
    }

    /// A block that was taken cannot be used for a reason of this side's: it is asked for again, and nobody is blamed.
    pub fn again(&mut self, id: &BlockId) {
        if let Some(wanted) = self.wanted.get_mut(id) {
            wanted.arrived = false;
        }
        self.enqueue(*id, true);
    }

    /// The provider says that it does not have the block.
    pub fn missing(&mut self, request: RequestId, id: &BlockId, now: Duration) {
        let Some(open) = self.open.get_mut(&request) else {
            return;
        };
        let at = open.provider;
        let Some(raw_len) = open.left.remove(id) else {
            return self.out(at, Cause::Broken("an answer that nobody asked for".into()));
        };
        if let Some(provider) = self.providers.get_mut(at) {
            provider.under_way -= u64::from(raw_len);
            provider.last_progress = now;
            provider.lacks.insert(*id);
        }
        self.unask(*id);
    }

    fn unask(&mut self, id: BlockId) {
        if let Some(wanted) = self.wanted.get_mut(&id) {
            wanted.asked = wanted.asked.saturating_sub(1);
        }
        self.enqueue(id, true);
    }

    /// The provider says that it has answered everything.
    pub fn done(&mut self, request: RequestId) {
        let Some(open) = self.open.get(&request) else {
            return;
        };
        let at = open.provider;
        let owes = !open.left.is_empty();
        self.close(request);
        if owes {
            self.out(at, Cause::Broken("it ended an answer early".into()));
        }
    }

    /// The request could not be carried out. A provider that is merely away is tried again later.
    pub fn failed(&mut self, request: RequestId, why: &str, now: Duration) {
        let Some(at) = self.open.get(&request).map(|open| open.provider) else {
            return;
        };
        self.close(request);
        self.strike(at, why, now);
    }

    /// The provider broke the protocol.
    pub fn broke(&mut self, provider: &NodeId, why: String) {
        if let Some(at) = self.index(provider) {
            self.out(at, Cause::Broken(why));
        }
    }

    fn index(&self, node: &NodeId) -> Option<usize> {
        self.providers
            .iter()
            .position(|provider| provider.node == *node)
    }

    /// Takes the request off the books and its blocks back into the queue.
    fn close(&mut self, request: RequestId) {
        let Some(open) = self.open.remove(&request) else {
            return;
        };
        if let Some(provider) = self.providers.get_mut(open.provider) {
            provider.requests -= 1;
            provider.under_way -= open
                .left
                .values()
                .map(|raw_len| u64::from(*raw_len))
                .sum::<u64>();
        }
        let mut left: Vec<BlockId> = open.left.into_keys().collect();
        // Whatever order the map has.
        left.sort_unstable();
        for id in left {
            self.unask(id);
        }
    }

    fn close_all(&mut self, at: usize) {
        let of_provider: Vec<RequestId> = self
            .open
            .iter()
            .filter(|(_, open)| open.provider == at)
            .map(|(id, _)| *id)
            .collect();
        for id in of_provider {
            self.close(id);
            self.cancelled.push(id);
        }
    }

    fn strike(&mut self, at: usize, why: &str, now: Duration) {
        let limits = self.limits;
        let Some(provider) = self.providers.get_mut(at) else {
            return;
        };
        if provider.state != ProviderState::Active {
            return;
        }
        provider.strikes += 1;
        provider.failures = provider.failures.saturating_add(1);
        provider.rate /= 2.0;
        if provider.strikes > limits.strikes_max {
            return self.out(at, Cause::Failed(why.into()));
        }
        let until = now + limits.pause * 2u32.saturating_pow(provider.strikes - 1);
        provider.state = ProviderState::Paused {
            until,
            why: why.into(),
        };
        self.close_all(at);
    }

    fn out(&mut self, at: usize, cause: Cause) {
        if let Some(provider) = self.providers.get_mut(at)
            && !matches!(provider.state, ProviderState::Out(_))
        {
            provider.state = ProviderState::Out(cause);
        }
        self.close_all(at);
    }

    /// Requests that are to be ended: their answers are not wanted any more.
    pub fn take_cancelled(&mut self) -> Vec<RequestId> {
        std::mem::take(&mut self.cancelled)
    }

    /// When to call [`Transfer::timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let stalls = self.open.values().filter_map(|open| {
            let since = self
                .providers
                .get(open.provider)?
                .last_progress
                .max(open.started);
            Some(since + self.limits.stall_after)
        });
        let pauses = self
            .providers
            .iter()
            .filter_map(|provider| match provider.state {
                ProviderState::Paused { until, .. } => Some(until),
                _ => None,
            });
        let idle = self
            .providers
            .iter()
            .any(|provider| provider.state == ProviderState::Active && provider.requests == 0);
        // While someone is idle, what others owe is looked at now and then.
        let slow = self
            .open
            .values()
            .filter(|_| idle && self.queue.is_empty())
            .filter_map(|open| {
                let since = self
                    .providers
                    .get(open.provider)?
                    .last_progress
                    .max(open.started);
                // Not before the last look: what nobody may repeat would keep the caller awake until it arrives.
                Some(since.max(self.last_look) + self.limits.slow_after)
            });
        stalls.chain(pauses).chain(slow).min()
    }

    /// Time has passed: notices stalls.
    pub fn timeout(&mut self, now: Duration) {
        self.last_look = now;
        let mut stalled: Vec<usize> = self
            .open
            .values()
            .filter(|open| {
                let last = self
                    .providers
                    .get(open.provider)
                    .map(|provider| provider.last_progress.max(open.started));
                last.is_some_and(|last| now.saturating_sub(last) >= self.limits.stall_after)
            })
            .map(|open| open.provider)
            .collect();
        stalled.dedup();
        for at in stalled {
            self.strike(at, "it stalled", now);
        }
    }

    /// The caller did not read for a while: what providers did not deliver meanwhile is not their fault.
    pub fn resumed(&mut self, now: Duration) {
        for provider in &mut self.providers {
            provider.last_progress = now;
        }
    }

    /// A block that no provider can give any more, if the transfer cannot end. Others may still be under way.
    pub fn lost(&self) -> Option<BlockId> {
        let usable: Vec<&Provider> = self
            .providers
            .iter()
            .filter(|provider| !matches!(provider.state, ProviderState::Out(_)))
            .collect();
        self.queue
            .iter()
            .take(LOOK_MAX)
            .find(|id| usable.iter().all(|provider| provider.lacks.contains(id)))
            .copied()
    }

    /// What each provider gave, in the order of preference.
    pub fn report(&self) -> Vec<ProviderReport> {
        self.providers
            .iter()
            .map(|provider| ProviderReport {
                node: provider.node,
                bytes: provider.bytes,
                blocks: provider.blocks,
                failures: provider.failures,
                rate: provider.rate as u64,
                state: provider.state.clone(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
