//! Looks digests up without a call: reads the index and the entries that the archive has written.
//!
//! A call across the border costs as much as a look-up, and a processor overlaps only as many look-ups as fit its reorder
//! window. The layout is that of `mfn/ifr_inline.h`: a head leads by a way to places, a place to the lines of an index, a
//! line's tags and links to entries. `MFN_IFR_LAYOUT` is its version.
//!
//! What orders these reads: [`crate::Ifr`] changes a registry through `&mut self` and looks things up through `&self`, so no
//! writer runs beside them, and what a writer did before was ordered by whatever handed the reference on. So there
//! is no sequence to look at, as a C reader beside a writer has to; and the way is remembered here and read anew after each
//! change ([`View::refresh`]), so that a loop of look-ups does not load it each time. One thing does change under a shared
//! reference: a broken invariant, found by another call that reads, turns the way and each place that it leads to to an index
//! without a key. So a place is loaded with acquire, and what it led to before, what it leads to then and the places themselves
//! stay readable as long as the handle lives.

use std::num::NonZero;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use mfn_ifr_sys as sys;

use crate::{Digest, Value};

/// Slots of a line: tags first, then links.
const SLOTS: usize = 8;
const LINE_BYTES: u64 = 32;
/// An entry: the key, then the value.
const ENTRY_BYTES: u64 = 48;
/// Entries begin so far behind the beginning of a segment; the index lies before them.
const ENTRIES_AT: u64 = 8192;
/// Bits of the offset of a line.
const OFFSETS: u64 = ENTRIES_AT - LINE_BYTES;
/// What links count.
const LINK_UNIT: u64 = 8;
/// Bits of the hash, from the top: directory, tag, line.
const TAG_SHIFT: u32 = 16;
const TAG_FULL: u16 = 0x8000;

/// Keys of a batch between the one whose line is asked for and the one whose line is read,
const LINES_AHEAD: usize = 24;
/// and between that and the one whose entry is compared.
const ENTRIES_AHEAD: usize = 36;
/// Keys that are on their way at once: a power of two.
const RING: usize = 64;
const _: () = assert!(LINES_AHEAD + ENTRIES_AHEAD < RING);

/// Where a registry's head is, what it said after the last change, and the secret of the hash.
pub(crate) struct View {
    words: Words,
    head: NonNull<sys::mfn_ifr_head>,
    places: NonNull<AtomicU64>,
    /// Makes an index of the places of a hash.
    shift: u32,
    /// Where in a segment the index begins.
    floor: u64,
}

/// Added to the sixteen words of a digest.
#[repr(C, align(16))]
struct Words([u16; 16]);

#[repr(C, align(16))]
struct Line {
    tags: [u16; SLOTS],
    links: [u16; SLOTS],
}

const _: () = assert!(size_of::<Line>() as u64 == LINE_BYTES);

/// A set of slots, two bits each.
#[derive(Clone, Copy)]
struct Slots(u32);

impl Slots {
    #[inline(always)]
    fn any(self) -> bool {
        self.0 != 0
    }

    #[inline(always)]
    fn without_first(self) -> Self {
        // Both bits of the lowest slot.
        let rest = self.0 & self.0.wrapping_sub(1);
        Self(rest & rest.wrapping_sub(1))
    }
}

/// What a line's tags are compared with: the tag of a hash, once for each slot.
#[derive(Clone, Copy)]
struct Wanted {
    #[cfg(target_arch = "x86_64")]
    tags: std::arch::x86_64::__m128i,
    #[cfg(not(target_arch = "x86_64"))]
    tag: u16,
}

#[cfg(target_arch = "x86_64")]
impl Wanted {
    #[inline(always)]
    fn of(hash: u64) -> Self {
        use std::arch::x86_64::{
            _mm_cvtsi64_si128, _mm_or_si128, _mm_set1_epi16, _mm_shuffle_epi32, _mm_shufflelo_epi16,
        };
        // SAFETY: SSE2 is part of x86-64.
        let tags = unsafe {
            const { assert!(TAG_SHIFT == 16) };
            let words = _mm_shufflelo_epi16::<0x55>(_mm_cvtsi64_si128(hash as i64));
            _mm_or_si128(
                _mm_shuffle_epi32::<0>(words),
                _mm_set1_epi16(TAG_FULL as i16),
            )
        };
        Self { tags }
    }

    #[inline(always)]
    fn empty() -> Self {
        // SAFETY: as above.
        let tags = unsafe { std::arch::x86_64::_mm_setzero_si128() };
        Self { tags }
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Wanted {
    #[inline(always)]
    fn of(hash: u64) -> Self {
        Self {
            tag: (hash >> TAG_SHIFT) as u16 | TAG_FULL,
        }
    }

    #[inline(always)]
    fn empty() -> Self {
        Self { tag: 0 }
    }
}

impl Line {
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn with(&self, wanted: Wanted) -> Slots {
        use std::arch::x86_64::{__m128i, _mm_cmpeq_epi16, _mm_load_si128, _mm_movemask_epi8};
        // SAFETY: 16 aligned bytes of a live reference; SSE2 is part of x86-64.
        unsafe {
            let tags = _mm_load_si128(self.tags.as_ptr().cast::<__m128i>());
            Slots(_mm_movemask_epi8(_mm_cmpeq_epi16(tags, wanted.tags)) as u32)
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    #[inline(always)]
    fn with(&self, wanted: Wanted) -> Slots {
        let mut slots = 0;
        for (number, found) in self.tags.iter().enumerate() {
            slots |= u32::from(*found == wanted.tag) * 3 << (2 * number);
        }
        Slots(slots)
    }

    /// The link of the first of some slots.
    ///
    /// # Safety
    /// There is one.
    #[inline(always)]
    unsafe fn link(&self, slots: Slots) -> u64 {
        // Two bits a slot, two bytes a link.
        let at = slots.0.trailing_zeros() as usize;
        // SAFETY: a slot's number is less than their count, and its bits begin at twice that.
        u64::from(unsafe { self.links.as_ptr().byte_add(at).read() })
    }

    /// No key of the line goes on elsewhere.
    #[inline(always)]
    fn ends(&self) -> bool {
        self.with(Wanted::empty()).any()
    }
}

#[repr(C, align(16))]
struct Entry {
    key: Digest,
    value: Value,
}

const _: () = assert!(size_of::<Entry>() as u64 == ENTRY_BYTES);

impl Entry {
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn has(&self, key: &Digest) -> bool {
        use std::arch::x86_64::{
            __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_load_si128, _mm_loadu_si128,
            _mm_movemask_epi8,
        };
        // SAFETY: 32 bytes of live references each, ours aligned; SSE2 is part of x86-64.
        unsafe {
            let ours = self.key.as_ptr().cast::<__m128i>();
            let asked = key.as_ptr().cast::<__m128i>();
            // What is aligned is compared where it lies.
            let low = _mm_cmpeq_epi8(_mm_loadu_si128(asked), _mm_load_si128(ours));
            let high = _mm_cmpeq_epi8(_mm_loadu_si128(asked.add(1)), _mm_load_si128(ours.add(1)));
            _mm_movemask_epi8(_mm_and_si128(low, high)) == 0xffff
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    #[inline(always)]
    fn has(&self, key: &Digest) -> bool {
        self.key == *key
    }
}

/// A key of a batch on its way.
#[derive(Clone, Copy)]
struct Aim {
    place: u64,
    line: u64,
    hash: u64,
    named: Named,
}

/// What the first cache line of a probe says.
#[derive(Clone, Copy)]
enum Named {
    Nothing,
    /// What `View::entry` takes.
    Entry(u64),
    /// The probe goes on.
    Unsure,
}

impl View {
    /// The view of a registry that lives at least as long. `None`: the archive has another layout.
    pub(crate) fn of(handle: NonNull<sys::mfn_ifr>) -> Option<Self> {
        let mut raw = sys::mfn_ifr_view {
            struct_size: size_of::<sys::mfn_ifr_view>() as u32,
            layout: 0,
            head: std::ptr::null(),
            hash_words: [0; 16],
        };
        // SAFETY: the handle is live, and `raw` is as long as it says.
        let status = unsafe { sys::mfn_ifr_view_read(handle.as_ptr(), &mut raw) };
        if status != sys::mfn_status::MFN_OK || raw.layout != sys::MFN_IFR_LAYOUT {
            return None;
        }
        let mut view = Self {
            words: Words(raw.hash_words),
            head: NonNull::new(raw.head.cast_mut())?,
            places: NonNull::dangling(),
            shift: 0,
            floor: 0,
        };
        view.refresh();
        Some(view)
    }

    /// Reads the way anew: after every change of the registry.
    #[inline(always)]
    pub(crate) fn refresh(&mut self) {
        let head = self.head.as_ptr();
        // SAFETY: the head lives as long as the registry, and its words are aligned and changed by atomic stores only.
        let (way, floor) = unsafe {
            (
                AtomicU64::from_ptr(&raw mut (*head).way).load(Ordering::Acquire),
                AtomicU64::from_ptr(&raw mut (*head).floor).load(Ordering::Relaxed),
            )
        };
        if let Some(places) = NonNull::new((way & !63) as *mut AtomicU64) {
            self.places = places;
        }
        self.shift = way as u32 & 63;
        self.floor = floor;
    }

    /// `Seeds.digest` of `zig/src/hash.zig`.
    #[inline(always)]
    fn hash(&self, key: &Digest) -> u64 {
        let (low, high) = sums(key, &self.words);
        let product = u128::from(low) * u128::from(low ^ high);
        product as u64 ^ (product >> 64) as u64
    }

    /// Where the segment of a hash lies.
    #[inline(always)]
    fn place(&self, hash: u64) -> u64 {
        let index = hash.wrapping_shr(self.shift) as usize;
        // SAFETY: a way leads to as many places as that many bits of a hash can number, and they live as long as the
        // registry. They are changed by atomic stores only.
        unsafe { self.places.add(index).as_ref() }.load(Ordering::Acquire)
    }

    /// The address of the first line of a hash's probe. Its neighbour is in the same cache line.
    #[inline(always)]
    fn line(&self, place: u64, hash: u64) -> u64 {
        place + ((hash << LINE_BYTES.ilog2()) & OFFSETS | self.floor)
    }

    /// The entry at an address that `target` gave.
    ///
    /// # Safety
    /// The link is of a full slot of the segment, and nobody changes the segment while the entry is looked at.
    #[inline(always)]
    unsafe fn entry<'a>(at: u64) -> &'a Entry {
        // SAFETY: entries are aligned, and live as long as the registry.
        unsafe { &*((at + ENTRIES_AT) as *const Entry) }
    }

    /// The value of the entry at an address that `target` gave. One address and a constant, where by way of `entry` the
    /// compiler adds in two steps.
    ///
    /// # Safety
    /// As for `entry`.
    #[inline(always)]
    unsafe fn value(at: u64) -> Value {
        const VALUE_AT: u64 = ENTRIES_AT + std::mem::offset_of!(Entry, value) as u64;
        // SAFETY: inside an entry, which lives as long as the registry.
        unsafe { *((at + VALUE_AT) as *const Value) }
    }

    /// Where a link leads, counted from before the index: so all of an entry is one address and a constant away.
    #[inline(always)]
    fn target(place: u64, link: u64) -> u64 {
        place + link * LINK_UNIT
    }

    /// Looks a digest up. Nobody changes the registry meanwhile.
    #[inline(always)]
    pub(crate) fn look(&self, key: &Digest) -> Option<Value> {
        let hash = self.hash(key);
        let place = self.place(hash);
        let address = self.line(place, hash);
        // SAFETY: a line of the index, which nobody changes.
        let line = unsafe { &*(address as *const Line) };
        let slots = line.with(Wanted::of(hash));
        // SAFETY: a slot with a tag is full, and nobody changes the segment.
        let at = if slots.any()
            && let at = Self::target(place, unsafe { line.link(slots) })
            && unsafe { Self::entry(at) }.has(key)
        {
            at
        } else {
            self.look_on(place, hash, key)?.get()
        };
        // SAFETY: as above.
        Some(unsafe { Self::value(at) })
    }

    /// As `look`, for what is not the first entry with its tag in the first line. Answers what `entry` takes.
    #[cold]
    #[inline(never)]
    fn look_on(&self, place: u64, hash: u64, key: &Digest) -> Option<NonZero<u64>> {
        let floor = self.floor;
        let mut address = self.line(place, hash);
        for step in 0..(ENTRIES_AT - floor) / LINE_BYTES {
            // SAFETY: a line of the index, which nobody changes.
            let line = unsafe { &*(address as *const Line) };
            let mut slots = line.with(Wanted::of(hash));
            while slots.any() {
                // SAFETY: as in `look`.
                let at = Self::target(place, unsafe { line.link(slots) });
                // SAFETY: as in `look`.
                if unsafe { Self::entry(at) }.has(key) {
                    return NonZero::new(at);
                }
                slots = slots.without_first();
            }
            if line.ends() {
                return None;
            }
            // The neighbour in the same cache line, then the next pair.
            address ^= LINE_BYTES;
            if step % 2 == 1 {
                address = place + ((address - place + 2 * LINE_BYTES) & OFFSETS | floor);
            }
        }
        None
    }

    /// Looks many digests up, in a pipeline: while one key's entry is compared, the next ones' entries and the lines of those
    /// after them are on their way from memory. Only as many as both slices hold. Nobody changes the registry meanwhile.
    pub(crate) fn look_many(&self, keys: &[Digest], out: &mut [Option<Value>]) {
        let count = keys.len().min(out.len());
        let mut ring = [Aim {
            place: 0,
            line: 0,
            hash: 0,
            named: Named::Nothing,
        }; RING];
        for step in 0..count + LINES_AHEAD + ENTRIES_AHEAD {
            if let Some(key) = keys[..count].get(step) {
                let hash = self.hash(key);
                let place = self.place(hash);
                let line = self.line(place, hash);
                prefetch(line);
                ring[step % RING] = Aim {
                    place,
                    line,
                    hash,
                    named: Named::Nothing,
                };
            }
            let second = step.wrapping_sub(LINES_AHEAD);
            if second < count {
                let aim = &mut ring[second % RING];
                aim.named = aim.find();
            }
            let third = second.wrapping_sub(ENTRIES_AHEAD);
            if third < count {
                let aim = &ring[third % RING];
                let key = &keys[third];
                let at = match aim.named {
                    // SAFETY: `find` had it of a full slot, and nobody changes the segment.
                    Named::Entry(at) if unsafe { Self::entry(at) }.has(key) => Some(at),
                    Named::Nothing => None,
                    _ => self.look_on(aim.place, aim.hash, key).map(NonZero::get),
                };
                // SAFETY: as above.
                out[third] = at.map(|at| unsafe { Self::entry(at) }.value);
            }
        }
    }
}

impl Aim {
    /// Finds the entry that the key's line or its neighbour names, and brings it closer.
    #[inline(always)]
    fn find(&self) -> Named {
        let wanted = Wanted::of(self.hash);
        for address in [self.line, self.line ^ LINE_BYTES] {
            // SAFETY: a line of the index, which nobody changes.
            let line = unsafe { &*(address as *const Line) };
            let slots = line.with(wanted);
            if slots.any() {
                // SAFETY: there is a slot.
                let at = View::target(self.place, unsafe { line.link(slots) });
                prefetch(at + ENTRIES_AT);
                // Entries straddle cache lines.
                prefetch(at + ENTRIES_AT + ENTRY_BYTES - 1);
                return Named::Entry(at);
            }
            if line.ends() {
                return Named::Nothing;
            }
        }
        Named::Unsure
    }
}

#[inline(always)]
fn prefetch(address: u64) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address as *const i8);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// The words of one half of the key, each plus its secret, times those of the other, neighbours added: two words of 64 bits.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn sums(key: &Digest, secret: &Words) -> (u64, u64) {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi16, _mm_cvtsi128_si64, _mm_load_si128, _mm_loadu_si128, _mm_madd_epi16,
        _mm_unpackhi_epi64,
    };
    // SAFETY: 32 bytes of live references each, the secret's aligned; SSE2 is part of x86-64.
    unsafe {
        let key = key.as_ptr().cast::<__m128i>();
        let secret = secret.0.as_ptr().cast::<__m128i>();
        let left = _mm_add_epi16(_mm_loadu_si128(key), _mm_load_si128(secret));
        let right = _mm_add_epi16(_mm_loadu_si128(key.add(1)), _mm_load_si128(secret.add(1)));
        let sums = _mm_madd_epi16(left, right);
        (
            _mm_cvtsi128_si64(sums) as u64,
            _mm_cvtsi128_si64(_mm_unpackhi_epi64(sums, sums)) as u64,
        )
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn sums(key: &Digest, secret: &Words) -> (u64, u64) {
    sums_by_words(key, secret)
}

/// As `sums`, word by word.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn sums_by_words(key: &Digest, secret: &Words) -> (u64, u64) {
    let word = |at: usize| {
        let read = u16::from_le_bytes([key[at * 2], key[at * 2 + 1]]);
        i32::from(read.wrapping_add(secret.0[at]) as i16)
    };
    let sum = |pair: usize| {
        let product = |at: usize| word(at).wrapping_mul(word(at + 8));
        u64::from(product(pair * 2).wrapping_add(product(pair * 2 + 1)) as u32)
    };
    (sum(1) << 32 | sum(0), sum(3) << 32 | sum(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_side_by_side_are_those_word_by_word() {
        let mut state = 1_u64;
        for round in 0..10_000 {
            let mut bytes = [0_u8; 64];
            for byte in &mut bytes {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                // Carries at every place, and all ones.
                *byte = if round % 3 == 0 {
                    0xff
                } else {
                    (state >> 56) as u8
                };
            }
            let (key, rest) = bytes.split_at(32);
            let mut digest = [0; 32];
            digest.copy_from_slice(key);
            let mut secret = Words([0; 16]);
            for (word, bytes) in secret.0.iter_mut().zip(rest.chunks_exact(2)) {
                *word = bytes
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | u16::from(*byte));
            }
            // The one sum that wraps: four times the lowest word.
            if round % 5 == 0 {
                for (at, word) in secret.0.iter_mut().enumerate() {
                    let read = u16::from_le_bytes([digest[at * 2], digest[at * 2 + 1]]);
                    *word = 0x8000_u16.wrapping_sub(read);
                }
            }
            assert_eq!(sums(&digest, &secret), sums_by_words(&digest, &secret));
        }
    }
}
