//! What a slot of each table holds. An entry type says how it is asked for, hashed and compared.

const std = @import("std");
const builtin = @import("builtin");
const constants = @import("constants.zig");
const Seeds = @import("hash.zig").Seeds;

pub const Digest = [constants.digest_bytes]u8;
pub const Value = [constants.value_bytes]u8;

/// A digest and its value, nothing else.
pub const DigestEntry = extern struct {
    key: Digest align(16),
    value: Value,

    pub const Query = *const Digest;
    /// What a reader beside the writer gets.
    pub const Answer = Value;

    comptime {
        std.debug.assert(@sizeOf(DigestEntry) == 48);
        std.debug.assert(@alignOf(DigestEntry) == 16);
    }

    pub inline fn hashStored(entry: *const DigestEntry, seeds: *const Seeds) u64 {
        return seeds.digest(&entry.key);
    }

    pub inline fn matches(entry: *const DigestEntry, query: Query, _: u64) bool {
        return keyEquals(&entry.key, query);
    }

    pub inline fn answer(entry: *const DigestEntry) Value {
        @setRuntimeSafety(false);
        const words: *const [2]u64 = @ptrCast(@alignCast(&entry.value));
        return @bitCast([2]u64{
            @atomicLoad(u64, &words[0], .monotonic),
            @atomicLoad(u64, &words[1], .monotonic),
        });
    }
};

/// Compares a stored key, which a writer may be changing.
pub inline fn keyEquals(stored: *align(16) const Digest, query: *const Digest) bool {
    @setRuntimeSafety(false);
    if (builtin.cpu.arch == .x86_64 and !builtin.sanitize_thread) {
        // Aligned, so that each half is read whole or is at least rubbish that the sequence tells.
        const Half = @Vector(16, u8);
        const halves: *const volatile [2]Half = @ptrCast(stored);
        const asked: [2]Half = @bitCast(query.*);
        return @reduce(.And, (halves[0] ^ asked[0]) | (halves[1] ^ asked[1]) == @as(Half, @splat(0)));
    }
    const words: *const [4]u64 = @ptrCast(stored);
    var differ: u64 = 0;
    inline for (words, 0..) |*word, index| {
        const asked: u64 = @bitCast(query[index * 8 ..][0..8].*);
        differ |= @atomicLoad(u64, word, .monotonic) ^ asked;
    }
    return differ == 0;
}

/// A byte key of its own allocation. The hash is kept, so that growth does not read every key.
/// Not for readers beside the writer: a removal frees the key.
pub const BytesEntry = extern struct {
    hash: u64,
    key: [*]u8,
    key_bytes: u64,
    value: Value,

    pub const Query = []const u8;
    pub const Answer = Value;

    comptime {
        std.debug.assert(@sizeOf(BytesEntry) == 40);
        std.debug.assert(@alignOf(BytesEntry) == 8);
    }

    pub inline fn hashStored(entry: *const BytesEntry, _: *const Seeds) u64 {
        return entry.hash;
    }

    pub inline fn matches(entry: *const BytesEntry, query: Query, hash: u64) bool {
        return entry.hash == hash and std.mem.eql(u8, entry.slice(), query);
    }

    pub inline fn slice(entry: *const BytesEntry) []u8 {
        return entry.key[0..entry.key_bytes];
    }
};
