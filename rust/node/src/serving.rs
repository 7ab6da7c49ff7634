//! What providers have done: who is fast, who stalls, who lies. No I/O; the caller passes the time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hypermesh_id::NodeId;
use stoq::ProviderBytes;

/// What a stall, a failure or a refusal costs at first, as if it were round trip, and when it is half forgiven.
const TROUBLE: f64 = 1.0;
const TROUBLE_HALF_LIFE: Duration = Duration::from_secs(300);
/// Wrong bytes count as so many.
const DROPPED_TROUBLES: f64 = 32.0;
/// Most that is held against a provider: it may be the only one that has a block.
const TROUBLES_MAX: f64 = 64.0;
/// What is asked for at once; less than this says nothing of a provider's rate.
const REQUEST_BYTES: u64 = 1 << 20;
/// Slowest rate that is told from another: 1 KiB in a second.
const REQUEST_TIME_MAX: f64 = 1_024.0;
/// Share of a new measurement in what is known of a provider's rate.
const RATE_WEIGHT: f64 = 0.5;
/// Providers that are remembered; the one that served longest ago makes room.
const SERVICES_MAX: usize = 4_096;

const MAGIC: &[u8; 4] = b"hms\x01";
const HASH_BYTES: usize = 32;
const ENTRY_BYTES: usize = 32 + 8 + 8;

/// How a fetch ended, as far as its providers are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It got everything, or could not.
    Ended,
    /// Nobody waited any more. Who was slow until then may have been about to answer: only what is proven counts, rates
    /// and wrong bytes.
    Cancelled,
}

/// How a provider has served.
#[derive(Clone, Copy, Debug)]
struct Service {
    /// Seconds that it takes over [`REQUEST_BYTES`]; 0 while unknown.
    request_time: f64,
    /// Troubles as they count at `at`.
    troubles: f64,
    at: Instant,
}

impl Service {
    fn troubles(&self, now: Instant) -> f64 {
        faded(self.troubles, now.saturating_duration_since(self.at))
    }
}

fn faded(troubles: f64, since: Duration) -> f64 {
    troubles * (-since.as_secs_f64() / TROUBLE_HALF_LIFE.as_secs_f64()).exp2()
}

/// What all providers have done.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    services: BTreeMap<NodeId, Service>,
    /// Whether something was learned since this was asked last.
    news: bool,
}

impl Serving {
    /// Learns from a transfer what each provider did in it.
    pub(crate) fn learn(&mut self, providers: &[ProviderBytes], end: End, now: Instant) {
        for provider in providers {
            let failures = match end {
                End::Ended => f64::from(provider.failures),
                End::Cancelled => 0.0,
            };
            let lies = if provider.dropped {
                DROPPED_TROUBLES
            } else {
                0.0
            };
            let troubles = failures + lies;
            if provider.bytes < REQUEST_BYTES && troubles == 0.0 {
                continue;
            }
            self.news = true;
            let service = self.services.entry(provider.node).or_insert(Service {
                request_time: 0.0,
                troubles: 0.0,
                at: now,
            });
            service.troubles = (service.troubles(now) + troubles).min(TROUBLES_MAX);
            service.at = now;
            if provider.bytes >= REQUEST_BYTES && provider.rate > 0 {
                let time = (REQUEST_BYTES as f64 / provider.rate as f64).min(REQUEST_TIME_MAX);
                let known = service.request_time > 0.0;
                let old = if known { service.request_time } else { time };
                service.request_time = old + RATE_WEIGHT * (time - old);
            }
        }
        self.make_room();
    }

    fn make_room(&mut self) {
        while self.services.len() > SERVICES_MAX {
            let oldest = self.services.iter().min_by_key(|(_, service)| service.at);
            let Some(oldest) = oldest.map(|(node, _)| *node) else {
                return;
            };
            self.services.remove(&oldest);
        }
    }

    /// Seconds beside the round trip that a request to a provider is expected to take.
    pub(crate) fn cost(&self, node: &NodeId, now: Instant) -> f64 {
        self.services.get(node).map_or(0.0, |service| {
            service.request_time + TROUBLE * service.troubles(now)
        })
    }

    /// Whether something was learned since the last call.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// All of it as bytes that only this version reads. `unix` is now on the clock that outlives the process.
    pub(crate) fn save(&self, now: Instant, unix: Duration) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&unix.as_secs().to_le_bytes());
        for (node, service) in &self.services {
            out.extend_from_slice(&node.0);
            out.extend_from_slice(&service.request_time.to_le_bytes());
            out.extend_from_slice(&service.troubles(now).to_le_bytes());
        }
        let hash = blake3::hash(&out);
        out.extend_from_slice(hash.as_bytes());
        out
    }

    /// Most bytes that [`Serving::save`] gives.
    pub(crate) const SAVED_BYTES_MAX: u64 =
        (MAGIC.len() + 8 + SERVICES_MAX * ENTRY_BYTES + HASH_BYTES) as u64;

    /// What was saved, faded by the time since then; `None` when it is damaged or of another version.
    pub(crate) fn load(saved: &[u8], now: Instant, unix: Duration) -> Option<Self> {
        let (body, hash) = saved.split_last_chunk::<HASH_BYTES>()?;
        if blake3::hash(body) != *hash {
            return None;
        }
        let (then, mut rest) = body.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
        // A clock that was put back forgives nothing.
        let since = unix.saturating_sub(Duration::from_secs(u64::from_le_bytes(*then)));
        let sound = |number: &f64| (0.0..=REQUEST_TIME_MAX).contains(number);
        let mut services = BTreeMap::new();
        while let Some((entry, after)) = rest.split_first_chunk::<ENTRY_BYTES>() {
            let (node, numbers) = entry.split_first_chunk::<32>()?;
            let (request_time, troubles) = numbers.split_first_chunk::<8>()?;
            let troubles: [u8; 8] = troubles.try_into().ok()?;
            let request_time = Some(f64::from_le_bytes(*request_time)).filter(sound)?;
            let troubles = Some(f64::from_le_bytes(troubles)).filter(sound)?;
            let service = Service {
                request_time,
                troubles: faded(troubles.min(TROUBLES_MAX), since),
                at: now,
            };
            services.insert(NodeId(*node), service);
            rest = after;
        }
        let mut serving = Self {
            services,
            news: false,
        };
        serving.make_room();
        rest.is_empty().then_some(serving)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIX: Duration = Duration::from_secs(1_700_000_000);

    fn did(node: u8, bytes: u64, rate: u64, failures: u32, dropped: bool) -> ProviderBytes {
        ProviderBytes {
            node: NodeId([node; 32]),
            bytes,
            blocks: 1,
            failures,
            rate,
            dropped,
            state: String::new(),
        }
    }

    fn cost(serving: &Serving, node: u8, now: Instant) -> f64 {
        serving.cost(&NodeId([node; 32]), now)
    }

    #[test]
    fn who_lies_costs_more_than_who_stalls_than_who_is_slow() {
        let (mut serving, now) = (Serving::default(), Instant::now());
        serving.learn(
            &[
                did(1, 0, 0, 0, true),
                did(2, 0, 0, 2, false),
                did(3, 4 << 20, 4 << 20, 0, false),
                did(4, 400, 1, 0, false),
            ],
            End::Ended,
            now,
        );
        let costs: Vec<f64> = (1..=5).map(|node| cost(&serving, node, now)).collect();
        // A quarter of a second for 1 MiB; 400 bytes say nothing.
        assert_eq!(costs, [32.0, 2.0, 0.25, 0.0, 0.0]);
        assert!(serving.take_news() && !serving.take_news());
        let later = now + TROUBLE_HALF_LIFE;
        assert_eq!(cost(&serving, 1, later), 16.0);
        assert_eq!(cost(&serving, 3, later), 0.25, "a rate does not fade");
    }

    #[test]
    fn a_cancelled_fetch_holds_only_lies_against_a_provider() {
        let (mut serving, now) = (Serving::default(), Instant::now());
        let did = [
            did(1, 0, 0, 3, false),
            did(2, 8 << 20, 1 << 20, 1, false),
            did(3, 0, 0, 0, true),
        ];
        serving.learn(&did, End::Cancelled, now);
        let costs: Vec<f64> = (1..=3).map(|node| cost(&serving, node, now)).collect();
        assert_eq!(costs, [0.0, 1.0, 32.0]);
    }

    #[test]
    fn what_was_saved_fades_meanwhile_and_damage_is_noticed() {
        let (mut serving, now) = (Serving::default(), Instant::now());
        serving.learn(
            &[did(1, 0, 0, 0, true), did(2, 2 << 20, 2 << 20, 1, false)],
            End::Ended,
            now,
        );
        let saved = serving.save(now, UNIX);
        assert!(saved.len() as u64 <= Serving::SAVED_BYTES_MAX);
        let later = UNIX + 2 * TROUBLE_HALF_LIFE;
        let again = Serving::load(&saved, now, later).unwrap();
        assert_eq!([cost(&again, 1, now), cost(&again, 2, now)], [8.0, 0.75]);
        // The clock was put back.
        let again = Serving::load(&saved, now, Duration::ZERO).unwrap();
        assert_eq!(cost(&again, 1, now), 32.0);
        for at in 0..saved.len() {
            let mut damaged = saved.clone();
            damaged[at] ^= 1;
            assert!(Serving::load(&damaged, now, UNIX).is_none());
            assert!(Serving::load(&saved[..at], now, UNIX).is_none());
        }
    }

    #[test]
    fn providers_are_bounded() {
        let (mut serving, now) = (Serving::default(), Instant::now());
        for number in 0..SERVICES_MAX as u32 + 100 {
            let mut provider = did(0, 0, 0, 1, false);
            provider.node.0[..4].copy_from_slice(&number.to_le_bytes());
            let now = now + Duration::from_millis(number.into());
            serving.learn(&[provider], End::Ended, now);
        }
        assert_eq!(serving.services.len(), SERVICES_MAX);
        assert_eq!(cost(&serving, 0, now), 0.0, "the first made room");
        let saved = serving.save(now, UNIX);
        assert_eq!(saved.len() as u64, Serving::SAVED_BYTES_MAX);
    }
}
