//! Hashes keys with a secret, so that nobody who chooses keys can choose where they land.

const std = @import("std");
const constants = @import("constants.zig");

const Sip24 = std.crypto.auth.siphash.SipHash64(2, 4);
const Sip13 = std.crypto.auth.siphash.SipHash64(1, 3);

/// The expanded secret of one handle.
pub const Seeds = struct {
    sip: [constants.hash_key_bytes]u8,
    words: [6]u64,

    pub fn init(key: *const [constants.hash_key_bytes]u8) Seeds {
        var seeds: Seeds = .{ .sip = key.*, .words = undefined };
        for (&seeds.words, 0..) |*word, index| {
            word.* = Sip24.toInt(&.{@intCast(index)}, key);
        }
        return seeds;
    }

    /// NH of UMAC over the four words: two different digests meet in its 128 bits with a chance of
    /// 2^-64 over the seeds, however they were chosen. A keyed multiplication folds it to 64 bits.
    /// Two multiplications in parallel cost a third of SipHash.
    pub inline fn digest(seeds: *const Seeds, key: *const [constants.digest_bytes]u8) u64 {
        @setRuntimeSafety(false);
        const words = seeds.words;
        const left = product(load(key[0..8]) +% words[0], load(key[8..16]) +% words[1]);
        const right = product(load(key[16..24]) +% words[2], load(key[24..32]) +% words[3]);
        const sum = left +% right;
        const low: u64 = @truncate(sum);
        const high: u64 = @truncate(sum >> 64);
        const folded = product(low ^ words[4], high ^ words[5]);
        return @as(u64, @truncate(folded)) ^ @as(u64, @truncate(folded >> 64));
    }

    /// SipHash-1-3: keys of any length and any form.
    pub fn bytes(seeds: *const Seeds, key: []const u8) u64 {
        return Sip13.toInt(key, &seeds.sip);
    }
};

inline fn load(bytes: *const [8]u8) u64 {
    return std.mem.readInt(u64, bytes, .little);
}

inline fn product(a: u64, b: u64) u128 {
    return @as(u128, a) * @as(u128, b);
}

/// Maps a hash to 0..count without a division: bits high in `hash` decide.
pub inline fn reduce(hash: u32, count: u32) u32 {
    return @intCast((@as(u64, hash) * count) >> 32);
}

test "digest: every bit of the key and of the secret counts" {
    const seeds = Seeds.init(&@splat(1));
    var key: [32]u8 = @splat(0);
    const before = seeds.digest(&key);
    for (0..256) |bit| {
        key[bit / 8] ^= @as(u8, 1) << @intCast(bit % 8);
        try std.testing.expect(seeds.digest(&key) != before);
        key[bit / 8] ^= @as(u8, 1) << @intCast(bit % 8);
    }
    const other = Seeds.init(&@splat(2));
    try std.testing.expect(other.digest(&key) != before);
    try std.testing.expect(other.bytes("key") != seeds.bytes("key"));
}

test "digest: counting keys spread over every part of the hash" {
    // Keys that differ in few bits are the worst case of a weak fold.
    const seeds = Seeds.init(&@splat(7));
    var high: [64]u32 = @splat(0);
    var middle: [64]u32 = @splat(0);
    var low: [64]u32 = @splat(0);
    for (0..64 * 1024) |index| {
        var key: [32]u8 = @splat(0);
        std.mem.writeInt(u64, key[8..16], index, .little);
        const value = seeds.digest(&key);
        high[@intCast(value >> 58)] += 1;
        middle[@intCast((value >> 33) & 63)] += 1;
        low[@intCast(value & 63)] += 1;
    }
    // 1,024 expected, standard deviation 32: six of them either way.
    for (high ++ middle ++ low) |count| try std.testing.expect(count > 832 and count < 1216);
}

test reduce {
    try std.testing.expectEqual(0, reduce(0, 7));
    try std.testing.expectEqual(6, reduce(std.math.maxInt(u32), 7));
}
