//! Hashes keys with a secret, so that nobody who chooses keys can choose where they land.

const std = @import("std");
const builtin = @import("builtin");
const constants = @import("constants.zig");

const Sip24 = std.crypto.auth.siphash.SipHash64(2, 4);
const Sip13 = std.crypto.auth.siphash.SipHash64(1, 3);

const Words = @Vector(8, i16);
const Sums = @Vector(4, i32);

/// The expanded secret of one handle.
pub const Seeds = struct {
    /// Added to the sixteen words of a digest.
    words: [16]u16 align(16),
    sip: [constants.hash_key_bytes]u8,

    pub fn init(key: *const [constants.hash_key_bytes]u8) Seeds {
        var drawn: [4]u64 = undefined;
        for (&drawn, 0..) |*word, index| word.* = Sip24.toInt(&.{@intCast(index)}, key);
        return .{
            .words = @bitCast(drawn),
            .sip = key.*,
        };
    }

    /// NH of UMAC over sixteen words of 16 bits gives two words of 64. One times the exclusive or of both, which is never
    /// linear in either, is folded: of the plain product of both, keys that count fill some buckets to several times the mean.
    ///
    /// What it holds against: whoever makes blocks chooses among digests, and 128 bits of each reach the product. To have
    /// two digests that agree in the secret sums takes either a collision of half a digest (2^64 hashes for one pair, and
    /// a table does not notice one pair; a line takes eight), or the secret. To grind all keys alike in some g bits costs 2^g hashes
    /// each and leaves 256 - g that nobody chose, of which the secret sums and the product make every bit of the result.
    /// Keys that are no digests, all chosen: two that differ meet with a chance of 2^-16 over the secret (NH with words of 16
    /// bits), whatever they are, which for buckets of a table is as good as none, and a table where one such guess hits is one in 65,536.
    /// Whoever fears even that has byte keys, which are hashed by SipHash.
    ///
    /// Eleven instructions, because a look-up is as fast as the reorder window holds look-ups.
    pub inline fn digest(seeds: *const Seeds, key: *const [constants.digest_bytes]u8) u64 {
        @setRuntimeSafety(false);
        const halves: [2]Words = @bitCast(key.*);
        const secrets: [2]Words = @bitCast(seeds.words);
        const left: @Vector(8, i32) = halves[0] +% secrets[0];
        const right: @Vector(8, i32) = halves[1] +% secrets[1];
        const products = left *% right;
        const even: Sums = @shuffle(i32, products, undefined, [_]i32{ 0, 2, 4, 6 });
        const odd: Sums = @shuffle(i32, products, undefined, [_]i32{ 1, 3, 5, 7 });
        // Words and pairs of sums as they lie in the register. The table runs on little-endian machines only.
        comptime std.debug.assert(builtin.cpu.arch.endian() == .little);
        const sums: [2]u64 = @bitCast(even +% odd);
        const low = sums[0];
        const high = sums[1];
        const product = @as(u128, low) * (low ^ high);
        return @as(u64, @truncate(product)) ^ @as(u64, @truncate(product >> 64));
    }

    /// SipHash-1-3: keys of any length and any form.
    pub fn bytes(seeds: *const Seeds, key: []const u8) u64 {
        return Sip13.toInt(key, &seeds.sip);
    }
};

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

test "digest: counting keys spread over the top, the middle and the low part of the hash" {
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

test "digest: keys that differ in few places spread over every part of the hash that is used" {
    // Keys that differ in few bits are the worst case of a weak fold: a counter in every word, at every height, alone and
    // in two words at once, so that the words' differences could cancel.
    const seeds = Seeds.init(&@splat(7));
    for (0..4) |word| for ([_]u6{ 0, 1, 17, 31, 32, 40, 52 }) |shift| for ([_]?usize{ null, 0, 1, 2, 3 }) |other| {
        var counts: [7][64]u32 = @splat(@splat(0));
        for (0..1 << 12) |index| {
            var key: [32]u8 = @splat(0);
            const counter = @as(u64, index) << shift;
            std.mem.writeInt(u64, key[word * 8 ..][0..8], counter, .little);
            if (other) |at| std.mem.writeInt(u64, key[at * 8 ..][0..8], 0 -% counter, .little);
            const value = seeds.digest(&key);
            for (&counts, [_]u6{ 17, 24, 32, 34, 40, 48, 58 }) |*part, low| part[@intCast((value >> low) & 63)] += 1;
        }
        // 64 expected. Counters are not random: some parts are more even than chance, and none may be much less.
        for (counts) |part| for (part) |count| try std.testing.expect(count < 64 + 10 * 8);
    };
}

test reduce {
    try std.testing.expectEqual(0, reduce(0, 7));
    try std.testing.expectEqual(6, reduce(std.math.maxInt(u32), 7));
}
