//! CRC-32 (IEEE 802.3), sixteen bytes at a time (Kounavis and Berry, "Novel Table Lookup-Based Algorithms for
//! High-Performance CRC Generation", 2008), and the sum of any part of a text from sums of its starts.

const std = @import("std");

/// The polynomial, lowest power first.
const polynomial: u32 = 0xedb8_8320;

const tables: [16][256]u32 = tables: {
    @setEvalBranchQuota(100_000);
    var made: [16][256]u32 = undefined;
    for (&made[0], 0..) |*entry, index| {
        var sum: u32 = index;
        for (0..8) |_| sum = (sum >> 1) ^ (polynomial & (0 -% (sum & 1)));
        entry.* = sum;
    }
    for (1..16) |step| {
        for (&made[step], made[step - 1]) |*entry, before| entry.* = (before >> 8) ^ made[0][before & 0xff];
    }
    break :tables made;
};

/// A sum under way; `start` and `finish` invert it, as the standard says.
pub const start: u32 = 0xffff_ffff;

pub fn finish(sum: u32) u32 {
    return ~sum;
}

pub fn update(before: u32, bytes: []const u8) u32 {
    var sum = before;
    var rest = bytes;
    while (rest.len >= 16) : (rest = rest[16..]) {
        const first = std.mem.readInt(u32, rest[0..4], .little) ^ sum;
        sum = 0;
        inline for (0..4) |index| sum ^= tables[15 - index][@as(u8, @truncate(first >> 8 * index))];
        inline for (4..16) |index| sum ^= tables[15 - index][rest[index]];
    }
    for (rest) |byte| sum = (sum >> 8) ^ tables[0][@as(u8, @truncate(sum)) ^ byte];
    return sum;
}

pub fn of(bytes: []const u8) u32 {
    return finish(update(start, bytes));
}

/// The product of two polynomials, modulo the polynomial.
fn multiply(a: u32, b: u32) u32 {
    var product: u32 = 0;
    var shifted = b;
    var bit: u32 = 1 << 31;
    while (bit != 0) : (bit >>= 1) {
        if (a & bit != 0) product ^= shifted;
        shifted = (shifted >> 1) ^ (polynomial & (0 -% (shifted & 1)));
    }
    return product;
}

/// x to the power of 8 * 2^k.
const powers: [32]u32 = powers: {
    @setEvalBranchQuota(100_000);
    var made: [32]u32 = undefined;
    made[0] = 1 << 23;
    for (1..32) |k| made[k] = multiply(made[k - 1], made[k - 1]);
    break :powers made;
};

/// What becomes of a sum when so many zero bytes follow.
fn shift(sum: u32, count: usize) u32 {
    var shifted = sum;
    var rest = count;
    var k: u5 = 0;
    while (rest != 0) : ({
        rest >>= 1;
        k +%= 1;
    }) {
        if (rest & 1 != 0) shifted = multiply(powers[k], shifted);
    }
    return shifted;
}

/// Sums of all starts of a text, from which the sum of any part follows in a few steps.
pub const Prefixes = struct {
    sums: []u32,

    pub fn init(gpa: std.mem.Allocator, bytes: []const u8) error{OutOfMemory}!Prefixes {
        const sums = try gpa.alloc(u32, bytes.len + 1);
        var sum: u32 = 0;
        sums[0] = 0;
        for (bytes, sums[1..]) |byte, *place| {
            sum = (sum >> 8) ^ tables[0][@as(u8, @truncate(sum)) ^ byte];
            place.* = sum;
        }
        return .{ .sums = sums };
    }

    pub fn deinit(prefixes: Prefixes, gpa: std.mem.Allocator) void {
        gpa.free(prefixes.sums);
    }

    /// `update(before, bytes[from..to])`.
    pub fn update(prefixes: Prefixes, before: u32, from: usize, to: usize) u32 {
        return prefixes.sums[to] ^ shift(prefixes.sums[from] ^ before, to - from);
    }
};

test of {
    try std.testing.expectEqual(0xcbf4_3926, of("123456789"));
    try std.testing.expectEqual(0, of(""));
    var random = std.Random.DefaultPrng.init(3);
    var bytes: [1000]u8 = undefined;
    random.random().bytes(&bytes);
    for (0..bytes.len) |length| {
        try std.testing.expectEqual(std.hash.crc.Crc32.hash(bytes[0..length]), of(bytes[0..length]));
    }
}

test Prefixes {
    var random = std.Random.DefaultPrng.init(4);
    var bytes: [3000]u8 = undefined;
    random.random().bytes(&bytes);
    const prefixes = try Prefixes.init(std.testing.allocator, &bytes);
    defer prefixes.deinit(std.testing.allocator);
    for (0..2000) |_| {
        const to = random.random().uintAtMost(usize, bytes.len);
        const from = random.random().uintAtMost(usize, to);
        const before = random.random().int(u32);
        try std.testing.expectEqual(update(before, bytes[from..to]), prefixes.update(before, from, to));
    }
}
