//! A cache that chooses its order of eviction by what sampled shadows of each order would have hit.

use super::worth::Worth;
use super::{Answer, CacheError, CacheOptions, Key, Lru, Policy, samples};

/// Objects that a cache has to hold before its shadows are samples of it.
const SHADOW_OBJECTS: u64 = 1_024;
/// At most one key in 2^6 is in the shadows.
const SHADOW_SHIFT_MAX: u32 = 6;
/// Hit rate that the cache may lose to LRU before it changes to LRU.
pub const LOSS_MARGIN: f64 = 0.005;
/// A difference counts from so many standard deviations on.
const SIGMAS: f64 = 3.0;
/// Requests over which differences are averaged: so many for each object that the shadow holds, and these.
const WINDOW: f64 = 16.0;
const WINDOW_MIN: f64 = 1_000.0;

/// By what a cache chooses what to drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The least worth of its room, by learned hazards of reuse.
    Worth,
    /// The least recently used.
    Recency,
}

/// Learns which objects are worth their room, and is watched by a shadow of an LRU cache.
///
/// Shadows are caches of keys alone, on a sample of the keys and with the same share of the room.
/// Where LRU has hit more than this cache on the same keys, by more than [`LOSS_MARGIN`] and by more than chance
/// explains, the order changes to recency; where a shadow of the
/// first order has hit more than LRU since then, it changes back.
#[derive(Clone, Debug)]
pub struct Adaptive {
    cache: Worth,
    order: Order,
    seed: u64,
    shift: u32,
    lru: Lru,
    /// There while LRU is followed: what the other order would do.
    worth: Option<Worth>,
    part: CacheOptions,
    /// What the order that is not taken has hit more than the one that is.
    ahead: Difference,
    /// What shadows drop is nobody's.
    scratch: Vec<Key>,
}

/// Hits of one cache less those of another on the same requests, the older ones less.
#[derive(Clone, Copy, Debug, Default)]
struct Difference {
    requests: f64,
    more: f64,
    apart: f64,
}

impl Difference {
    fn add(&mut self, one: bool, other: bool, window: f64) {
        let kept = 1.0 - 1.0 / window;
        self.requests = self.requests * kept + 1.0;
        self.more = self.more * kept + f64::from(u8::from(one)) - f64::from(u8::from(other));
        self.apart = self.apart * kept + f64::from(u8::from(one != other));
    }

    /// Whether the first one hits more, by at least `margin` of its requests. Each request on which they differ is a
    /// coin that would be fair if neither were better.
    fn is_more(&self, margin: f64) -> bool {
        self.more > margin * self.requests && self.more > SIGMAS * self.apart.sqrt()
    }
}

impl Adaptive {
    /// An empty cache.
    pub fn new(options: CacheOptions) -> Result<Self, CacheError> {
        let options = options.check()?;
        let objects = options.objects_max as u64;
        let shift = (objects / SHADOW_OBJECTS).max(1).ilog2();
        let shift = shift.min(SHADOW_SHIFT_MAX);
        let part = CacheOptions {
            bytes_max: (options.bytes_max >> shift).max(1),
            objects_max: (options.objects_max >> shift).max(1),
            seed: options.seed,
        };
        Ok(Self {
            cache: Worth::new(options),
            order: Order::Worth,
            seed: options.seed,
            shift,
            lru: Lru::new(part)?,
            worth: None,
            part,
            ahead: Difference::default(),
            scratch: Vec::new(),
        })
    }

    /// By what is chosen now.
    pub fn order(&self) -> Order {
        self.order
    }

    /// Gone objects that are remembered; at most four for each that is held, and 256.
    pub fn remembered(&self) -> usize {
        self.cache.remembered()
    }

    /// The shadows see a request that this cache has answered.
    fn compare(&mut self, key: Key, bytes: u64, hit: bool) {
        self.scratch.clear();
        let lru = self.lru.request(key, bytes, &mut self.scratch) == Answer::Hit;
        let window = WINDOW * self.lru.len() as f64 + WINDOW_MIN;
        let (order, margin) = match &mut self.worth {
            None => {
                self.ahead.add(lru, hit, window);
                (Order::Recency, LOSS_MARGIN)
            }
            Some(worth) => {
                let worth = worth.request(key, bytes, &mut self.scratch) == Answer::Hit;
                self.ahead.add(worth, lru, window);
                (Order::Worth, 0.0)
            }
        };
        if self.ahead.is_more(margin) {
            self.worth = match order {
                Order::Worth => None,
                // A shadow of all keys goes on from where the cache is; a sample starts empty.
                Order::Recency if self.shift == 0 => Some(self.cache.clone()),
                Order::Recency => Some(Worth::new(self.part)),
            };
            self.order = order;
            self.cache.set_order(order);
            self.ahead = Difference::default();
        }
    }
}

impl Policy for Adaptive {
    fn request(&mut self, key: Key, bytes: u64, dropped: &mut Vec<Key>) -> Answer {
        let answer = self.cache.request(key, bytes, dropped);
        if samples(key, self.seed, self.shift) {
            self.compare(key, bytes, answer == Answer::Hit);
        }
        answer
    }

    fn put_ahead(&mut self, key: Key, bytes: u64, dropped: &mut Vec<Key>) -> bool {
        self.cache.put_ahead(key, bytes, dropped)
    }

    fn remove(&mut self, key: Key) -> bool {
        self.cache.remove(key)
    }

    fn contains(&self, key: Key) -> bool {
        self.cache.contains(key)
    }

    fn bytes(&self) -> u64 {
        self.cache.bytes()
    }

    fn len(&self) -> usize {
        self.cache.len()
    }
}
