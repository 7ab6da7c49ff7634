//! A cuckoo filter: answers "surely not here" or "maybe here", and can forget.
//!
//! A bucket is one word of five 12-bit fingerprints, 0 for an empty lane; a key may lie in two buckets.
//! At a load of 0.9 a key that is not here is called "maybe" with a chance of about 0.2 %.
//! The filter owns no memory: a segment of the table lends it words, and rebuilds it with itself.

const std = @import("std");
const assert = std.debug.assert;
const constants = @import("constants.zig");
const hashing = @import("hash.zig");

const lanes = 5;
const lane_bits = 12;
const lane_max: u64 = (1 << lane_bits) - 1;
const ones: u64 = blk: {
    var word: u64 = 0;
    for (0..lanes) |lane| word |= 1 << (lane * lane_bits);
    break :blk word;
};
const highs: u64 = ones << (lane_bits - 1);

/// The two places of a key and what is kept there.
pub const Probe = struct {
    fingerprint: u64,
    first: u32,
    second: u32,

    pub inline fn init(hash: u64, buckets: u32) Probe {
        // The table uses the hash's bits as they are; a multiplication makes ours differ.
        const mixed = hash *% 0x9e37_79b9_7f4a_7c15;
        const top = mixed >> (64 - lane_bits);
        const fingerprint = if (top == 0) 1 else top;
        const first = hashing.reduce(@truncate(mixed >> 12), buckets);
        return .{
            .fingerprint = fingerprint,
            .first = first,
            .second = other(fingerprint, first, buckets),
        };
    }
};

/// The other bucket of a fingerprint. `other(other(b)) == b` for any number of buckets.
inline fn other(fingerprint: u64, bucket: u32, buckets: u32) u32 {
    const sum = hashing.reduce(@as(u32, @truncate(fingerprint)) *% 0x9e37_79b1, buckets);
    return if (sum >= bucket) sum - bucket else sum + buckets - bucket;
}

/// A bit at the top of lanes that are zero. The lowest set bit is exact; higher ones may be false
/// where a borrow ran through, which neither "is there one" nor "the first one" notices.
inline fn zeroLanes(word: u64) u64 {
    return (word -% ones) & ~word & highs;
}

inline fn lanesEqual(word: u64, fingerprint: u64) u64 {
    return zeroLanes(word ^ (fingerprint *% ones));
}

pub inline fn mayContain(words: []const u64, probe: Probe) bool {
    return (lanesEqual(words[probe.first], probe.fingerprint) |
        lanesEqual(words[probe.second], probe.fingerprint)) != 0;
}

/// Adds a fingerprint. False: no room was found, and one fingerprint, perhaps another key's, has no
/// place now. The caller counts those and answers "maybe" while there are any.
pub fn insert(words: []u64, probe: Probe) bool {
    if (place(words, probe.first, probe.fingerprint)) return true;
    if (place(words, probe.second, probe.fingerprint)) return true;
    const buckets: u32 = @intCast(words.len);
    var fingerprint = probe.fingerprint;
    var bucket = probe.second;
    for (0..constants.filter_moves_max) |move| {
        // Which lane moves only has to vary: the fingerprints are random enough.
        const lane: u6 = @intCast((fingerprint + move) % lanes);
        const shift = lane * lane_bits;
        const evicted = (words[bucket] >> shift) & lane_max;
        assert(evicted != 0);
        words[bucket] ^= (evicted ^ fingerprint) << shift;
        fingerprint = evicted;
        bucket = other(fingerprint, bucket, buckets);
        if (place(words, bucket, fingerprint)) return true;
    }
    return false;
}

/// Takes one fingerprint of a key that was inserted. False: it has none, so it is one of those that
/// found no room.
pub fn remove(words: []u64, probe: Probe) bool {
    return take(words, probe.first, probe.fingerprint) or
        take(words, probe.second, probe.fingerprint);
}

fn place(words: []u64, bucket: u32, fingerprint: u64) bool {
    assert(fingerprint != 0);
    assert(fingerprint <= lane_max);
    const free = zeroLanes(words[bucket]);
    if (free == 0) return false;
    words[bucket] |= fingerprint << shiftOf(free);
    return true;
}

fn take(words: []u64, bucket: u32, fingerprint: u64) bool {
    const equal = lanesEqual(words[bucket], fingerprint);
    if (equal == 0) return false;
    words[bucket] &= ~(lane_max << shiftOf(equal));
    return true;
}

fn shiftOf(flags: u64) u6 {
    assert(flags != 0);
    return @intCast(@ctz(flags) - (lane_bits - 1));
}

test other {
    for ([_]u32{ 1, 2, 3, 7, 48, 384 }) |buckets| {
        for (0..buckets) |bucket| {
            for ([_]u64{ 1, 2, 77, 4095 }) |fingerprint| {
                const second = other(fingerprint, @intCast(bucket), buckets);
                try std.testing.expect(second < buckets);
                try std.testing.expectEqual(bucket, other(fingerprint, second, buckets));
            }
        }
    }
}

test "no false negative, few false positives, forgets" {
    const seed = 0x1f3;
    errdefer std.debug.print("seed {x}\n", .{seed});
    var random = std.Random.DefaultPrng.init(seed);
    var words: [384]u64 = @splat(0);
    var hashes: [384 * lanes * 9 / 10]u64 = undefined;
    for (&hashes) |*hash| {
        hash.* = random.next();
        try std.testing.expect(insert(&words, .init(hash.*, words.len)));
    }
    for (hashes) |hash| try std.testing.expect(mayContain(&words, .init(hash, words.len)));
    var maybes: u32 = 0;
    for (0..100_000) |_| {
        maybes += @intFromBool(mayContain(&words, .init(random.next(), words.len)));
    }
    // Ten lanes at 0.9 of 4,095 values: 220 expected; the bound is ten standard deviations off.
    try std.testing.expect(maybes > 70);
    try std.testing.expect(maybes < 370);
    for (hashes) |hash| try std.testing.expect(remove(&words, .init(hash, words.len)));
    for (words) |word| try std.testing.expectEqual(0, word);
}

test "a full filter says so and forgets no key that it kept count of" {
    var random = std.Random.DefaultPrng.init(0x2f3);
    var words: [6]u64 = @splat(0);
    var hashes: [60]u64 = undefined;
    var homeless: u32 = 0;
    for (&hashes) |*hash| {
        hash.* = random.next();
        homeless += @intFromBool(!insert(&words, .init(hash.*, words.len)));
    }
    try std.testing.expect(homeless >= hashes.len - words.len * lanes);
    // Whatever the order of removal, each missing fingerprint is met exactly once.
    for (hashes) |hash| {
        if (!remove(&words, .init(hash, words.len))) homeless -= 1;
    }
    try std.testing.expectEqual(0, homeless);
    for (words) |word| try std.testing.expectEqual(0, word);
}
