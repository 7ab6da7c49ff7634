//! What a slot of each table holds. An entry type says how it is asked for, hashed and compared.

const std = @import("std");
const constants = @import("constants.zig");
const Seeds = @import("hash.zig").Seeds;

pub const Digest = [constants.digest_bytes]u8;
pub const Value = [constants.value_bytes]u8;

/// A digest and its value, nothing else.
pub const DigestEntry = extern struct {
    key: Digest,
    value: Value,

    pub const Query = *const Digest;

    comptime {
        std.debug.assert(@sizeOf(DigestEntry) == 48);
        std.debug.assert(@alignOf(DigestEntry) == 1);
    }

    pub inline fn hashQuery(seeds: *const Seeds, query: Query) u64 {
        return seeds.digest(query);
    }

    pub inline fn hashStored(entry: *const DigestEntry, seeds: *const Seeds) u64 {
        return seeds.digest(&entry.key);
    }

    pub inline fn matches(entry: *const DigestEntry, query: Query, _: u64) bool {
        const ours: @Vector(32, u8) = entry.key;
        const asked: @Vector(32, u8) = query.*;
        return @reduce(.And, ours == asked);
    }
};

/// A byte key of its own allocation. The hash is kept, so that growth does not read every key.
pub const BytesEntry = extern struct {
    hash: u64,
    key: [*]u8,
    key_bytes: u64,
    value: Value,

    pub const Query = []const u8;

    comptime {
        std.debug.assert(@sizeOf(BytesEntry) == 40);
        std.debug.assert(@alignOf(BytesEntry) == 8);
    }

    pub inline fn hashQuery(seeds: *const Seeds, query: Query) u64 {
        return seeds.bytes(query);
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
