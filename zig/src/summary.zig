//! An immutable filter to give away: which digests do I have, at 9 bits each and 0.39 % false positives?
//!
//! A binary fuse filter of 8-bit fingerprints (Graf and Lemire 2022): a key is in if three bytes, chosen by
//! its hash, xor to its fingerprint. The serialised form is the filter; nothing is decoded, so a summary
//! from a stranger costs a look at its header and can lie only about what it contains.
//!
//! Form, little-endian: "mfs1"; log2 of the segment length u8, at most 18; three zero bytes; number of
//! segments u32; number of keys u32; seed u64; then (segments + 2) << log2 fingerprints. Without keys:
//! no segments and no fingerprints.

const std = @import("std");
const assert = std.debug.assert;
const constants = @import("constants.zig");
const Digest = @import("entry.zig").Digest;

pub const Error = error{ Limit, OutOfMemory };

const magic = "mfs1".*;
pub const header_bytes = 24;
const segment_log2_max = 18;

/// A look into the serialised form.
pub const Summary = struct {
    seed: u64,
    keys: u32,
    segment_log2: u6,
    /// Hashes are spread over so many places; the second and third lie up to two segments further.
    places: u64,
    fingerprints: []const u8,

    /// Null if this is not a summary, whole and nothing else.
    pub fn view(bytes: []const u8) ?Summary {
        if (bytes.len < header_bytes) return null;
        if (!std.mem.eql(u8, bytes[0..4], &magic)) return null;
        const log2 = bytes[4];
        if (log2 > segment_log2_max) return null;
        if (!std.mem.allEqual(u8, bytes[5..8], 0)) return null;
        const segments: u64 = std.mem.readInt(u32, bytes[8..12], .little);
        const keys = std.mem.readInt(u32, bytes[12..16], .little);
        const body = bytes[header_bytes..];
        if (segments == 0) {
            if (keys != 0 or body.len != 0 or log2 != 0) return null;
        } else if (body.len != (segments + 2) << @intCast(log2) or keys == 0) return null;
        return .{
            .seed = std.mem.readInt(u64, bytes[16..24], .little),
            .keys = keys,
            .segment_log2 = @intCast(log2),
            .places = segments << @intCast(log2),
            .fingerprints = body,
        };
    }

    pub inline fn mayContain(summary: *const Summary, digest: *const Digest) bool {
        if (summary.places == 0) return false;
        const hash = mix(keyOf(digest) +% summary.seed);
        const at = summary.placesOf(hash);
        const body = summary.fingerprints;
        return body[at[0]] ^ body[at[1]] ^ body[at[2]] == fingerprintOf(hash);
    }

    inline fn placesOf(summary: *const Summary, hash: u64) [3]usize {
        const mask = (@as(u64, 1) << summary.segment_log2) - 1;
        const first: u64 = @intCast((@as(u128, hash) * summary.places) >> 64);
        const length = mask + 1;
        return .{
            @intCast(first),
            @intCast((first + length) ^ ((hash >> 18) & mask)),
            @intCast((first + 2 * length) ^ (hash & mask)),
        };
    }
};

/// Digests are uniform: their first eight bytes are a key.
inline fn keyOf(digest: *const Digest) u64 {
    return std.mem.readInt(u64, digest[0..8], .little);
}

inline fn fingerprintOf(hash: u64) u8 {
    return @truncate(hash ^ (hash >> 32));
}

/// The finaliser of MurmurHash3.
inline fn mix(value: u64) u64 {
    var hash = value;
    hash = (hash ^ (hash >> 33)) *% 0xff51_afd7_ed55_8ccd;
    hash = (hash ^ (hash >> 33)) *% 0xc4ce_b9fe_1a85_ec53;
    return hash ^ (hash >> 33);
}

/// Log2 of the segment length and the number of segments for so many distinct keys.
fn shape(keys: u64) struct { log2: u6, segments: u64 } {
    const count: f64 = @floatFromInt(@max(keys, 2));
    const exact = @floor(@log(count) / @log(3.33) + 2.25);
    const log2: u6 = @intFromFloat(@min(exact, segment_log2_max));
    const factor = @max(1.125, 0.875 + 0.25 * @log(1e6) / @log(count));
    const capacity: u64 = @intFromFloat(@round(count * factor));
    const length = @as(u64, 1) << log2;
    const segments = (capacity + length - 1) / length;
    return .{ .log2 = log2, .segments = @max(1, segments -| 2) };
}

/// Bytes of a summary of at most so many keys.
pub fn bytesFor(keys: u64) error{Limit}!u64 {
    if (keys > constants.summary_keys_max) return error.Limit;
    if (keys == 0) return header_bytes;
    const form = shape(keys);
    return header_bytes + ((form.segments + 2) << form.log2);
}

/// Writes the summary of some digests; the same one may come twice. `out` has the bytes that
/// `bytesFor` says; gives how many are used. The seed only has to vary: it is tried first.
pub fn build(gpa: std.mem.Allocator, digests: []const Digest, seed: u64, out: []u8) Error!usize {
    assert(out.len >= try bytesFor(digests.len));
    const keys = try gpa.alloc(u64, digests.len);
    defer gpa.free(keys);
    for (keys, digests) |*key, *digest| key.* = keyOf(digest);
    std.mem.sortUnstable(u64, keys, {}, std.sort.asc(u64));
    var distinct: usize = 0;
    for (keys, 0..) |key, index| {
        if (index > 0 and key == keys[distinct - 1]) continue;
        keys[distinct] = key;
        distinct += 1;
    }
    const header = out[0..header_bytes];
    @memset(header, 0);
    header[0..4].* = magic;
    std.mem.writeInt(u64, header[16..24], seed, .little);
    if (distinct == 0) return header_bytes;
    const form = shape(distinct);
    header[4] = form.log2;
    std.mem.writeInt(u32, header[8..12], @intCast(form.segments), .little);
    std.mem.writeInt(u32, header[12..16], @intCast(distinct), .little);
    const body = out[header_bytes..][0..@intCast((form.segments + 2) << form.log2)];
    var builder: Builder = try .init(gpa, body.len, distinct);
    defer builder.deinit(gpa);
    var tried = seed;
    for (0..constants.summary_tries_max) |_| {
        std.mem.writeInt(u64, header[16..24], tried, .little);
        const summary = Summary.view(out[0 .. header_bytes + body.len]).?;
        if (builder.peel(&summary, keys[0..distinct])) {
            builder.assign(&summary, body);
            return header_bytes + body.len;
        }
        tried = mix(tried +% 0x9e37_79b9_7f4a_7c15);
    }
    // Each try fails on its own with a chance of a few in a hundred.
    return error.Limit;
}

const Builder = struct {
    /// Of each place: how many keys it serves, which of the three it is to them (xor), their hashes (xor).
    counts: []u32,
    turns: []u8,
    hashes: []u64,
    /// Places that serve one key and may be taken.
    alone: []u32,
    /// Keys in the order of their taking, and which of their three places took them.
    order: []u64,
    order_turns: []u8,
    taken: usize,

    fn init(gpa: std.mem.Allocator, places: usize, keys: usize) Error!Builder {
        const counts = try gpa.alloc(u32, places);
        errdefer gpa.free(counts);
        const turns = try gpa.alloc(u8, places);
        errdefer gpa.free(turns);
        const hashes = try gpa.alloc(u64, places);
        errdefer gpa.free(hashes);
        const alone = try gpa.alloc(u32, places);
        errdefer gpa.free(alone);
        const order = try gpa.alloc(u64, keys);
        errdefer gpa.free(order);
        const order_turns = try gpa.alloc(u8, keys);
        return .{
            .counts = counts,
            .turns = turns,
            .hashes = hashes,
            .alone = alone,
            .order = order,
            .order_turns = order_turns,
            .taken = 0,
        };
    }

    fn deinit(builder: *Builder, gpa: std.mem.Allocator) void {
        gpa.free(builder.counts);
        gpa.free(builder.turns);
        gpa.free(builder.hashes);
        gpa.free(builder.alone);
        gpa.free(builder.order);
        gpa.free(builder.order_turns);
    }

    /// Takes keys that have a place to themselves until none is left. False: some remain.
    fn peel(builder: *Builder, summary: *const Summary, keys: []const u64) bool {
        @memset(builder.counts, 0);
        @memset(builder.turns, 0);
        @memset(builder.hashes, 0);
        for (keys) |key| {
            const hash = mix(key +% summary.seed);
            for (summary.placesOf(hash), 0..) |place, turn| builder.toggle(place, turn, hash, 1);
        }
        var waiting: usize = 0;
        for (builder.counts, 0..) |count, place| {
            if (count != 1) continue;
            builder.alone[waiting] = @intCast(place);
            waiting += 1;
        }
        builder.taken = 0;
        while (waiting > 0) {
            waiting -= 1;
            const place = builder.alone[waiting];
            if (builder.counts[place] != 1) continue;
            const hash = builder.hashes[place];
            builder.order[builder.taken] = hash;
            builder.order_turns[builder.taken] = builder.turns[place];
            builder.taken += 1;
            for (summary.placesOf(hash), 0..) |each, turn| {
                builder.toggle(each, turn, hash, std.math.maxInt(u32));
                if (each == place or builder.counts[each] != 1) continue;
                builder.alone[waiting] = @intCast(each);
                waiting += 1;
            }
        }
        return builder.taken == keys.len;
    }

    fn toggle(builder: *Builder, place: usize, turn: usize, hash: u64, by: u32) void {
        builder.counts[place] +%= by;
        builder.turns[place] ^= @intCast(turn);
        builder.hashes[place] ^= hash;
    }

    /// In the reverse order each key's own place is not yet written, and makes the sum come out.
    fn assign(builder: *const Builder, summary: *const Summary, body: []u8) void {
        @memset(body, 0);
        var index = builder.taken;
        while (index > 0) {
            index -= 1;
            const hash = builder.order[index];
            const at = summary.placesOf(hash);
            const own = at[builder.order_turns[index]];
            body[own] = 0;
            body[own] = fingerprintOf(hash) ^ body[at[0]] ^ body[at[1]] ^ body[at[2]];
        }
    }
};

test "what was given is in, little else is, and the form is checked" {
    const gpa = std.testing.allocator;
    var random = std.Random.DefaultPrng.init(0x5a17);
    for ([_]usize{ 0, 1, 2, 3, 10, 100, 999, 20_000, 100_000 }) |count| {
        const digests = try gpa.alloc(Digest, count + count / 10);
        defer gpa.free(digests);
        for (digests[0..count]) |*digest| random.random().bytes(digest);
        // Some twice.
        for (digests[count..], 0..) |*digest, index| digest.* = digests[index];
        const out = try gpa.alloc(u8, try bytesFor(digests.len));
        defer gpa.free(out);
        const used = try build(gpa, digests, 7, out);
        const summary = Summary.view(out[0..used]).?;
        try std.testing.expectEqual(count, summary.keys);
        for (digests) |*digest| try std.testing.expect(summary.mayContain(digest));
        var maybes: u32 = 0;
        for (0..100_000) |_| {
            var digest: Digest = undefined;
            random.random().bytes(&digest);
            maybes += @intFromBool(summary.mayContain(&digest));
        }
        // 1 in 256 is 390, standard deviation 20.
        try std.testing.expect(maybes < 510);
        if (count >= 20_000) try std.testing.expect(used * 8 < count * 10);
        // No shorter or longer one is taken.
        try std.testing.expectEqual(null, Summary.view(out[0 .. used - 1]));
        const longer = try gpa.alloc(u8, used + 1);
        defer gpa.free(longer);
        @memcpy(longer[0..used], out[0..used]);
        longer[used] = 0;
        try std.testing.expectEqual(null, Summary.view(longer));
    }
    try std.testing.expectError(error.Limit, bytesFor(constants.summary_keys_max + 1));
}

test "rubbish is refused or answers, and never crashes" {
    var random = std.Random.DefaultPrng.init(0xbad);
    var bytes: [600]u8 = undefined;
    var taken: u32 = 0;
    for (0..50_000) |_| {
        const length = random.random().uintLessThan(usize, bytes.len);
        random.random().bytes(bytes[0..length]);
        if (length >= header_bytes) {
            bytes[0..4].* = magic;
            bytes[4] %= 7;
            @memset(bytes[5..8], 0);
            std.mem.writeInt(u32, bytes[8..12], random.random().uintLessThan(u32, 12), .little);
        }
        const summary = Summary.view(bytes[0..length]) orelse continue;
        taken += 1;
        var digest: Digest = undefined;
        random.random().bytes(&digest);
        std.mem.doNotOptimizeAway(summary.mayContain(&digest));
    }
    // Too few of the plausible ones would test nothing.
    try std.testing.expect(taken > 10);
}
