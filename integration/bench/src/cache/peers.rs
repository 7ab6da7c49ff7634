//! Other policies, for objects of one size, over numbers from 0: written from their papers, for comparison only.

use std::collections::BinaryHeap;

use hypermesh_placement::cache::{Answer, CacheOptions, Lru, Policy};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::record::BenchError;

use super::traces::Trace;

const NONE: u32 = u32::MAX;

/// Hits of a policy of this tree.
pub(super) fn played(policy: &mut impl Policy, trace: &Trace) -> usize {
    let mut dropped = Vec::new();
    let mut hits = 0;
    for value in &trace.values {
        dropped.clear();
        hits += usize::from(policy.request(*value, 1, &mut dropped) == Answer::Hit);
    }
    hits
}

/// Hits of least recently used.
pub(super) fn lru(trace: &Trace, room: usize) -> Result<usize, BenchError> {
    Ok(played(
        &mut Lru::new(CacheOptions::for_objects(room))?,
        trace,
    ))
}

/// Hits of moka's TinyLFU admission before LRU. Its housekeeping is run every 64 requests, as its own queues would.
pub(super) fn moka(trace: &Trace, room: usize) -> usize {
    let cache = Cache::builder()
        .max_capacity(room as u64)
        .eviction_policy(EvictionPolicy::tiny_lfu())
        .build();
    let mut hits = 0;
    for (at, value) in trace.values.iter().enumerate() {
        if cache.get(value).is_some() {
            hits += 1;
        } else {
            cache.insert(*value, ());
        }
        if at % 64 == 0 || room < 4_096 {
            cache.run_pending_tasks();
        }
    }
    hits
}

/// When each request's object is asked for again; `NONE` for never.
pub(super) fn next_requests(numbers: &[u32], objects: usize) -> Vec<u32> {
    let mut last = vec![NONE; objects];
    let mut next = vec![NONE; numbers.len()];
    for (at, number) in numbers.iter().enumerate().rev() {
        next[at] = std::mem::replace(&mut last[*number as usize], at as u32);
    }
    next
}

/// Belady's optimum: drops what is asked for last again. With `bypass` an object may also not be held at all. Counts the
/// hits from request `from` on.
pub(super) fn opt(
    numbers: &[u32],
    objects: usize,
    room: usize,
    bypass: bool,
    from: usize,
) -> usize {
    let next = next_requests(numbers, objects);
    let mut furthest: BinaryHeap<(u32, u32)> = BinaryHeap::new();
    let mut due = vec![NONE; objects];
    let mut held = vec![false; objects];
    let (mut count, mut hits) = (0, 0);
    for (at, number) in numbers.iter().enumerate() {
        let object = *number as usize;
        due[object] = next[at];
        if held[object] {
            hits += usize::from(at >= from);
        } else if bypass && next[at] == NONE {
            continue;
        } else {
            if !bypass && count == room {
                drop_furthest(&mut furthest, &mut held, &due);
                count -= 1;
            }
            held[object] = true;
            count += 1;
        }
        furthest.push((next[at], *number));
        if count > room {
            drop_furthest(&mut furthest, &mut held, &due);
            count -= 1;
        }
        if furthest.len() > 4 * room + 4_096 {
            furthest
                .retain(|(when, number)| held[*number as usize] && due[*number as usize] == *when);
        }
    }
    hits
}

fn drop_furthest(furthest: &mut BinaryHeap<(u32, u32)>, held: &mut [bool], due: &[u32]) {
    while let Some((when, number)) = furthest.pop() {
        let object = number as usize;
        // Entries from before the last request of their object are still there.
        if held[object] && due[object] == when {
            held[object] = false;
            return;
        }
    }
}

/// A list of numbers, the newest first; each number is in one list at most.
#[derive(Debug)]
struct List {
    before: Vec<u32>,
    after: Vec<u32>,
    first: u32,
    last: u32,
    len: usize,
}

impl List {
    fn new(objects: usize) -> Self {
        Self {
            before: vec![NONE; objects],
            after: vec![NONE; objects],
            first: NONE,
            last: NONE,
            len: 0,
        }
    }

    fn push(&mut self, number: u32) {
        let at = number as usize;
        (self.before[at], self.after[at]) = (NONE, self.first);
        match self.first {
            NONE => self.last = number,
            first => self.before[first as usize] = number,
        }
        self.first = number;
        self.len += 1;
    }

    fn take(&mut self, number: u32) {
        let (before, after) = (self.before[number as usize], self.after[number as usize]);
        match before {
            NONE => self.first = after,
            before => self.after[before as usize] = after,
        }
        match after {
            NONE => self.last = before,
            after => self.before[after as usize] = before,
        }
        self.len -= 1;
    }

    fn pop(&mut self) -> Option<u32> {
        let last = (self.last != NONE).then_some(self.last)?;
        self.take(last);
        Some(last)
    }
}

/// Where a number is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Nowhere,
    New,
    Main,
    GoneNew,
    GoneMain,
}

/// Adaptive replacement (Megiddo and Modha, FAST 2003): T1 is `New`, T2 is `Main`, B1 and B2 are the gone.
pub(super) fn arc(numbers: &[u32], objects: usize, room: usize) -> usize {
    let mut arc = Arc {
        places: vec![Place::Nowhere; objects],
        lists: std::array::from_fn(|_| List::new(objects)),
        target: 0,
        room,
    };
    numbers
        .iter()
        .filter(|number| arc.request(**number))
        .count()
}

#[derive(Debug)]
struct Arc {
    places: Vec<Place>,
    lists: [List; 4],
    target: usize,
    room: usize,
}

impl Arc {
    fn len(&self, place: Place) -> usize {
        self.lists[place as usize - 1].len
    }

    fn put(&mut self, number: u32, place: Place) {
        self.places[number as usize] = place;
        self.lists[place as usize - 1].push(number);
    }

    fn take(&mut self, number: u32) {
        self.lists[self.places[number as usize] as usize - 1].take(number);
    }

    fn pop(&mut self, place: Place) -> Option<u32> {
        let number = self.lists[place as usize - 1].pop()?;
        self.places[number as usize] = Place::Nowhere;
        Some(number)
    }

    fn replace(&mut self, in_gone_main: bool) {
        let new = self.len(Place::New);
        let take_new = new > 0 && (new > self.target || (in_gone_main && new == self.target));
        let (from, to) = if take_new {
            (Place::New, Place::GoneNew)
        } else {
            (Place::Main, Place::GoneMain)
        };
        if let Some(number) = self.pop(from) {
            self.put(number, to);
        }
    }

    fn request(&mut self, number: u32) -> bool {
        let (gone_new, gone_main) = (self.len(Place::GoneNew), self.len(Place::GoneMain));
        match self.places[number as usize] {
            Place::New | Place::Main => {
                self.take(number);
                self.put(number, Place::Main);
                return true;
            }
            Place::GoneNew => {
                self.target = (self.target + (gone_main / gone_new).max(1)).min(self.room);
                self.replace(false);
                self.take(number);
                self.put(number, Place::Main);
            }
            Place::GoneMain => {
                self.target = self.target.saturating_sub((gone_new / gone_main).max(1));
                self.replace(true);
                self.take(number);
                self.put(number, Place::Main);
            }
            Place::Nowhere => {
                let new = self.len(Place::New);
                let all = new + self.len(Place::Main) + gone_new + gone_main;
                if new + gone_new == self.room {
                    if new < self.room {
                        self.pop(Place::GoneNew);
                        self.replace(false);
                    } else {
                        self.pop(Place::New);
                    }
                } else if all >= self.room {
                    if all == 2 * self.room {
                        self.pop(Place::GoneMain);
                    }
                    self.replace(false);
                }
                self.put(number, Place::New);
            }
        }
        false
    }
}

/// S3-FIFO (Yang and others, SOSP 2023): a small queue of a tenth, a main one, and the small one's gone objects.
pub(super) fn s3_fifo(numbers: &[u32], objects: usize, room: usize) -> usize {
    let small_room = (room / 10).max(1);
    let main_room = room - small_room;
    let mut places = vec![Place::Nowhere; objects];
    let mut often = vec![0_u8; objects];
    let [mut small, mut main, mut gone] = std::array::from_fn(|_| List::new(objects));
    let mut hits = 0;
    for number in numbers {
        let at = *number as usize;
        if matches!(places[at], Place::New | Place::Main) {
            hits += 1;
            often[at] = (often[at] + 1).min(3);
            continue;
        }
        while small.len + main.len >= room {
            let from_small = small.len >= small_room || main.len == 0;
            let Some(old) = (if from_small { small.pop() } else { main.pop() }) else {
                break;
            };
            let old_at = old as usize;
            match (from_small, often[old_at]) {
                (true, 2..) => {
                    main.push(old);
                    (places[old_at], often[old_at]) = (Place::Main, 0);
                    while main.len > main_room {
                        drop_main(&mut main, &mut places, &mut often);
                    }
                }
                (true, _) => {
                    (places[old_at], often[old_at]) = (Place::GoneNew, 0);
                    gone.push(old);
                    if gone.len > main_room
                        && let Some(oldest) = gone.pop()
                    {
                        places[oldest as usize] = Place::Nowhere;
                    }
                }
                (false, 0) => places[old_at] = Place::Nowhere,
                (false, _) => {
                    often[old_at] -= 1;
                    main.push(old);
                }
            }
        }
        if places[at] == Place::GoneNew {
            gone.take(*number);
            places[at] = Place::Main;
            main.push(*number);
        } else {
            places[at] = Place::New;
            small.push(*number);
        }
        often[at] = 0;
    }
    hits
}

/// One turn of the main queue: its oldest is dropped, or goes round once more for each time that it was asked for.
fn drop_main(main: &mut List, places: &mut [Place], often: &mut [u8]) {
    if let Some(old) = main.pop() {
        let at = old as usize;
        if often[at] > 0 {
            often[at] -= 1;
            main.push(old);
        } else {
            places[at] = Place::Nowhere;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(seed: u64, count: usize, objects: u64) -> Vec<u32> {
        let mut state = seed;
        let mut draw = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % objects
        };
        // The lower of two draws: some are asked for more often.
        (0..count).map(|_| draw().min(draw()) as u32).collect()
    }

    /// Belady by looking ahead at each step.
    fn opt_slowly(numbers: &[u32], room: usize, bypass: bool) -> usize {
        let mut held: Vec<u32> = Vec::new();
        let mut hits = 0;
        for (at, number) in numbers.iter().enumerate() {
            if held.contains(number) {
                hits += 1;
                continue;
            }
            let due = |number: &u32| {
                let rest = &numbers[at + 1..];
                rest.iter()
                    .position(|other| other == number)
                    .unwrap_or(usize::MAX)
            };
            if held.len() == room {
                let (place, furthest) = held
                    .iter()
                    .map(due)
                    .enumerate()
                    .max_by_key(|(_, due)| *due)
                    .unwrap();
                if bypass && due(number) >= furthest {
                    continue;
                }
                held.remove(place);
            }
            held.push(*number);
        }
        hits
    }

    #[test]
    fn the_optimum_is_what_looking_ahead_gives_and_nobody_is_above_it() {
        for seed in 0..20 {
            let numbers = numbers(seed, 400, 40);
            for room in [1, 2, 5, 10, 30] {
                for bypass in [false, true] {
                    let best = opt(&numbers, 40, room, bypass, 0);
                    assert_eq!(
                        best,
                        opt_slowly(&numbers, room, bypass),
                        "seed {seed}, {room}"
                    );
                }
                let best = opt(&numbers, 40, room, true, 0);
                for hits in [arc(&numbers, 40, room), s3_fifo(&numbers, 40, room)] {
                    assert!(hits <= best, "seed {seed}, room {room}: {hits} of {best}");
                }
            }
        }
    }

    #[test]
    fn with_room_for_all_only_first_requests_miss() {
        let numbers = numbers(1, 1_000, 50);
        let mut known = numbers.clone();
        known.sort_unstable();
        known.dedup();
        let most = numbers.len() - known.len();
        // S3-FIFO has no more room for a new object than its small queue while the main one is empty, so give it that.
        assert_eq!(arc(&numbers, 50, 60), most);
        assert_eq!(s3_fifo(&numbers, 50, 60), most);
        assert_eq!(opt(&numbers, 50, 60, false, 0), most);
    }

    #[test]
    fn a_scan_does_not_wash_out_what_is_asked_for_often() {
        // Eight objects in turn, and a scan of new ones between: LRU with room for ten loses all, these do not.
        let mut numbers = Vec::new();
        let mut fresh = 8;
        for round in 0..200_u32 {
            numbers.extend(0..8);
            numbers.extend(0..8);
            if round % 2 == 1 {
                numbers.extend(fresh..fresh + 20);
                fresh += 20;
            }
        }
        let objects = fresh as usize;
        let lru = 200 * 8 + 100 * 8;
        assert!(arc(&numbers, objects, 10) > lru + 300);
        assert!(s3_fifo(&numbers, objects, 10) > lru + 300);
    }
}
