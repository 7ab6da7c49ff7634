//! A cuckoo filter (Fan et al. 2014) of fixed capacity: answers "surely not here" or "maybe here", and can forget.
//!
//! A bucket is 44 bits, four fingerprints of 11 bits, 0 for an empty one; a key may lie in two buckets.
//! At its capacity it takes 11.7 bits per key, if that is some thousands, and calls a key that is not here "maybe"
//! with a chance of 0.37 %.
//! Keys are hashes, such as `Seeds.digest` gives; a key that is inserted twice must be removed twice.

const std = @import("std");
const assert = std.debug.assert;
const constants = @import("constants.zig");
const hashing = @import("hash.zig");

const lanes = 4;
const lane_bits = 11;
const bucket_bits = lanes * lane_bits;
const lane_max: u64 = (1 << lane_bits) - 1;
const bucket_mask: u64 = (1 << bucket_bits) - 1;
const ones: u64 = blk: {
    var word: u64 = 0;
    for (0..lanes) |lane| word |= 1 << (lane * lane_bits);
    break :blk word;
};
const highs: u64 = ones << (lane_bits - 1);

pub const Filter = struct {
    bytes: []u8,
    buckets: u32,
    count: u64,
    capacity: u64,

    /// Bytes of a filter for so many keys; null if there are more than a filter takes.
    pub fn bytesFor(capacity: u64) ?u64 {
        const buckets = bucketsFor(capacity) orelse return null;
        return (@as(u64, buckets) * bucket_bits + 7) / 8 + 8;
    }

    fn bucketsFor(capacity: u64) ?u32 {
        if (capacity > constants.filter_keys_max) return null;
        // A load of 0.94, and some room for the luck of small numbers.
        return @intCast((capacity * 50 + lanes * 47 - 1) / (lanes * 47) + constants.filter_buckets_spare);
    }

    pub fn init(gpa: std.mem.Allocator, capacity: u64) error{ Limit, OutOfMemory }!Filter {
        const buckets = bucketsFor(capacity) orelse return error.Limit;
        const bytes = try gpa.alloc(u8, bytesFor(capacity).?);
        @memset(bytes, 0);
        return .{ .bytes = bytes, .buckets = buckets, .count = 0, .capacity = capacity };
    }

    pub fn deinit(filter: *Filter, gpa: std.mem.Allocator) void {
        gpa.free(filter.bytes);
        filter.* = undefined;
    }

    pub inline fn mayContain(filter: *const Filter, hash: u64) bool {
        const probe: Probe = .init(hash, filter.buckets);
        return (lanesEqual(filter.read(probe.first), probe.fingerprint) |
            lanesEqual(filter.read(probe.second), probe.fingerprint)) != 0;
    }

    /// error.Full: at its capacity, or, very seldom, shortly before. Nothing changed.
    pub fn insert(filter: *Filter, hash: u64) error{Full}!void {
        if (filter.count >= filter.capacity) return error.Full;
        const probe: Probe = .init(hash, filter.buckets);
        if (!filter.place(probe.first, probe.fingerprint) and !filter.place(probe.second, probe.fingerprint)) {
            try filter.makeWay(probe);
        }
        filter.count += 1;
    }

    /// Moves fingerprints to their other buckets until one finds room; undoes that if none does.
    fn makeWay(filter: *Filter, probe: Probe) error{Full}!void {
        var moved: [constants.filter_moves_max]struct { bucket: u32, lane: u6 } = undefined;
        var fingerprint = probe.fingerprint;
        var bucket = probe.second;
        // Which lane moves only has to vary, without a period.
        var state = (probe.fingerprint << 32 | probe.first) *% 0x9e37_79b9_7f4a_7c15 | 1;
        for (&moved) |*step| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            const lane: u6 = @intCast(state >> 62);
            step.* = .{ .bucket = bucket, .lane = lane };
            fingerprint = filter.swap(bucket, lane, fingerprint);
            bucket = other(fingerprint, bucket, filter.buckets);
            if (filter.place(bucket, fingerprint)) return;
        }
        var step = moved.len;
        while (step > 0) {
            step -= 1;
            fingerprint = filter.swap(moved[step].bucket, moved[step].lane, fingerprint);
        }
        assert(fingerprint == probe.fingerprint);
        return error.Full;
    }

    /// Takes one fingerprint of a key that was inserted. False: it has none, so it was not.
    pub fn remove(filter: *Filter, hash: u64) bool {
        const probe: Probe = .init(hash, filter.buckets);
        if (!filter.takeOut(probe.first, probe.fingerprint) and
            !filter.takeOut(probe.second, probe.fingerprint)) return false;
        filter.count -= 1;
        return true;
    }

    inline fn read(filter: *const Filter, bucket: u32) u64 {
        const bit = @as(u64, bucket) * bucket_bits;
        const word = std.mem.readInt(u64, filter.bytes[bit / 8 ..][0..8], .little);
        return (word >> @intCast(bit % 8)) & bucket_mask;
    }

    fn write(filter: *Filter, bucket: u32, value: u64) void {
        assert(value <= bucket_mask);
        const bit = @as(u64, bucket) * bucket_bits;
        const shift: u6 = @intCast(bit % 8);
        const bytes = filter.bytes[bit / 8 ..][0..8];
        const kept = std.mem.readInt(u64, bytes, .little) & ~(bucket_mask << shift);
        std.mem.writeInt(u64, bytes, kept | value << shift, .little);
    }

    fn place(filter: *Filter, bucket: u32, fingerprint: u64) bool {
        assert(fingerprint != 0);
        assert(fingerprint <= lane_max);
        const word = filter.read(bucket);
        const free = zeroLanes(word);
        if (free == 0) return false;
        filter.write(bucket, word | fingerprint << shiftOf(free));
        return true;
    }

    fn takeOut(filter: *Filter, bucket: u32, fingerprint: u64) bool {
        const word = filter.read(bucket);
        const equal = lanesEqual(word, fingerprint);
        if (equal == 0) return false;
        filter.write(bucket, word & ~(lane_max << shiftOf(equal)));
        return true;
    }

    fn swap(filter: *Filter, bucket: u32, lane: u6, fingerprint: u64) u64 {
        const word = filter.read(bucket);
        const shift = lane * lane_bits;
        const old = (word >> shift) & lane_max;
        filter.write(bucket, word ^ (old ^ fingerprint) << shift);
        return old;
    }
};

/// The two places of a key and what is kept there.
const Probe = struct {
    fingerprint: u64,
    first: u32,
    second: u32,

    inline fn init(hash: u64, buckets: u32) Probe {
        // Tables use the hash's bits as they are; a multiplication makes ours differ. The strong half comes first.
        const mixed = std.math.rotr(u64, hash, 32) *% 0x9e37_79b9_7f4a_7c15;
        const top = mixed >> (64 - lane_bits);
        const fingerprint = if (top == 0) 1 else top;
        const first = hashing.reduce(@truncate(mixed >> 12), buckets);
        return .{ .fingerprint = fingerprint, .first = first, .second = other(fingerprint, first, buckets) };
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

fn shiftOf(flags: u64) u6 {
    assert(flags != 0);
    return @intCast(@ctz(flags) - (lane_bits - 1));
}

test other {
    for ([_]u32{ 1, 2, 3, 7, 48, 384 }) |buckets| {
        for (0..buckets) |bucket| {
            for ([_]u64{ 1, 2, 77, 2047 }) |fingerprint| {
                const second = other(fingerprint, @intCast(bucket), buckets);
                try std.testing.expect(second < buckets);
                try std.testing.expectEqual(bucket, other(fingerprint, second, buckets));
            }
        }
    }
}

test "at capacity: at most 12 bits per key, no false negative, at most 0.5 % false positives, and it forgets" {
    const seed = 0x1f3;
    errdefer std.debug.print("seed {x}\n", .{seed});
    const gpa = std.testing.allocator;
    for ([_]u64{ 1_000, 30_011, 200_000 }) |capacity| {
        var filter: Filter = try .init(gpa, capacity);
        defer filter.deinit(gpa);
        if (capacity > 10_000) try std.testing.expect(filter.bytes.len * 8 <= capacity * 12);
        var random = std.Random.DefaultPrng.init(seed);
        for (0..capacity) |_| try filter.insert(random.next());
        try std.testing.expectError(error.Full, filter.insert(1));
        random = std.Random.DefaultPrng.init(seed);
        for (0..capacity) |_| try std.testing.expect(filter.mayContain(random.next()));
        var maybes: u32 = 0;
        for (0..200_000) |_| maybes += @intFromBool(filter.mayContain(random.next()));
        // 8 lanes at 0.94 of 2,047 values: 735 expected, standard deviation 27, fewer where there is more room.
        try std.testing.expect(maybes > 450);
        try std.testing.expect(maybes < 1000);
        random = std.Random.DefaultPrng.init(seed);
        for (0..capacity) |_| try std.testing.expect(filter.remove(random.next()));
        for (filter.bytes) |byte| try std.testing.expectEqual(0, byte);
        try std.testing.expect(!filter.remove(7));
    }
}

test "whatever the keys, the capacity is reached" {
    const gpa = std.testing.allocator;
    for (0..300) |seed| {
        errdefer std.debug.print("seed {d}\n", .{seed});
        const capacity: u64 = if (seed % 30 == 0) 50_000 else 1 + seed * 10;
        var filter: Filter = try .init(gpa, capacity);
        defer filter.deinit(gpa);
        var random = std.Random.DefaultPrng.init(seed);
        for (0..capacity) |_| try filter.insert(random.next());
    }
}

test "a filter that is full of one key refuses and keeps what it had" {
    const gpa = std.testing.allocator;
    var filter: Filter = try .init(gpa, 1000);
    defer filter.deinit(gpa);
    try filter.insert(99);
    // A key has room for eight of it.
    for (0..8) |_| try filter.insert(5);
    try std.testing.expectError(error.Full, filter.insert(5));
    try std.testing.expect(filter.mayContain(99));
    for (0..8) |_| try std.testing.expect(filter.remove(5));
    try std.testing.expect(filter.mayContain(99));
    try std.testing.expectError(error.Limit, Filter.init(gpa, constants.filter_keys_max + 1));
}
