//! What only a client of pools of records writes and reads: docs/PROTOCOL.md, "Bodies of ifr". An answer is believed when
//! it is laid out to the last byte.

const std = @import("std");
const bodies = @import("body.zig");
const flow = @import("flow.zig");
const flow_bodies = @import("flow_body.zig");

const Digest = [bodies.digest_bytes]u8;
const read = std.mem.readInt;
const write = std.mem.writeInt;

/// IfrExpire.
pub fn encodeExpire(pool_id: u32, looks: u32) [8]u8 {
    var body: [8]u8 = undefined;
    write(u32, body[0..4], pool_id, .little);
    write(u32, body[4..8], looks, .little);
    return body;
}

/// IfrRoute.
pub fn encodeRoute(pool_id: u32, kind: u16, key: *const Digest) [8 + bodies.digest_bytes]u8 {
    var body: [8 + bodies.digest_bytes]u8 = @splat(0);
    write(u32, body[0..4], pool_id, .little);
    write(u16, body[4..6], kind, .little);
    body[8..].* = key.*;
    return body;
}

/// IfrLearn.
pub fn encodeLearn(kind: u16, layer: flow.Layer, found: bool) [8]u8 {
    var body: [8]u8 = @splat(0);
    write(u16, body[0..2], kind, .little);
    body[2] = @intCast(@intFromEnum(layer));
    body[3] = @intFromBool(found);
    return body;
}

/// A record, or null for none.
pub fn decodeRecord(body: []const u8) error{BadBody}!?flow.FlowRecord {
    if (body.len == 0) return null;
    if (body.len != flow_bodies.record_bytes) return error.BadBody;
    const record = flow_bodies.decodeRecord(body[0..flow_bodies.record_bytes]) catch return error.BadBody;
    return if (record.priority > flow.priority_max) error.BadBody else record;
}

/// IfrPoolStats. What a later version appends is skipped.
pub fn decodeStats(body: []const u8) error{BadBody}!flow.PoolStats {
    if (body.len < flow_bodies.stats_bytes) return error.BadBody;
    var stats: flow.PoolStats = undefined;
    inline for (std.meta.fields(flow.PoolStats), 0..) |field, index| {
        @field(stats, field.name) = read(u64, body[8 * index ..][0..8], .little);
    }
    return stats;
}

/// IfrPools: every pool and what it holds, in no order. What a later version appends to each is skipped.
pub const Pools = struct {
    count: u32,
    entry_bytes: usize,
    rest: []const u8,

    const known_bytes = flow_bodies.Pool.bytes + flow_bodies.stats_bytes;

    /// Borrows the answer. It has been walked once, so every pool is there.
    pub fn decode(body: []const u8) error{BadBody}!Pools {
        if (body.len < 8) return error.BadBody;
        const pools: Pools = .{
            .count = read(u32, body[0..4], .little),
            .entry_bytes = read(u32, body[4..8], .little),
            .rest = body[8..],
        };
        if (pools.entry_bytes < known_bytes) return error.BadBody;
        if (pools.rest.len != @as(u64, pools.count) * pools.entry_bytes) return error.BadBody;
        for (0..pools.count) |index| _ = try entry(pools.rest[index * pools.entry_bytes ..]);
        return pools;
    }

    pub fn next(pools: *Pools) ?struct { flow_bodies.Pool, flow.PoolStats } {
        if (pools.rest.len == 0) return null;
        defer pools.rest = pools.rest[pools.entry_bytes..];
        // It was read before.
        return entry(pools.rest) catch unreachable;
    }

    fn entry(bytes: []const u8) error{BadBody}!struct { flow_bodies.Pool, flow.PoolStats } {
        const pool = flow_bodies.Pool.decode(bytes[0..flow_bodies.Pool.bytes]) catch return error.BadBody;
        return .{ pool, try decodeStats(bytes[flow_bodies.Pool.bytes..known_bytes]) };
    }
};

/// The value of a key, or null for none.
pub fn decodeValue(body: []const u8) error{BadBody}!?[bodies.value_bytes]u8 {
    if (body.len == 0) return null;
    return if (body.len == bodies.value_bytes) body[0..bodies.value_bytes].* else error.BadBody;
}

/// How many records were looked at, and how many of them taken out.
pub const Expired = struct { looked: u32, expired: u32 };

pub fn decodeExpired(body: []const u8) error{BadBody}!Expired {
    if (body.len != bodies.Done.bytes or !std.mem.allEqual(u8, body[8..16], 0)) return error.BadBody;
    const expired: Expired = .{ .looked = read(u32, body[0..4], .little), .expired = read(u32, body[4..8], .little) };
    return if (expired.expired > expired.looked) error.BadBody else expired;
}

/// IfrDecision.
pub fn decodeDecision(body: []const u8) error{BadBody}!flow.RoutingDecision {
    if (body.len != flow_bodies.decision_bytes or !std.mem.allEqual(u8, body[12..16], 0)) return error.BadBody;
    const decision: flow.RoutingDecision = .{
        .outcome = read(u32, body[0..4], .little),
        .next_layer = read(u32, body[4..8], .little),
        .confidence = @bitCast(read(u32, body[8..12], .little)),
        .record = (try decodeRecord(body[16..])).?,
    };
    const is_layer = decision.next_layer >= @intFromEnum(flow.Layer.similarity) and
        decision.next_layer <= @intFromEnum(flow.Layer.prediction);
    const is_whole = switch (decision.outcome) {
        @intFromEnum(flow.Outcome.found_exact) => decision.next_layer == 0,
        @intFromEnum(flow.Outcome.found_partial) => is_layer,
        @intFromEnum(flow.Outcome.route_to_layers) => is_layer and std.mem.allEqual(u8, body[16..], 0),
        else => false,
    };
    // What is no number is not in between.
    if (!is_whole or !(decision.confidence >= 0 and decision.confidence <= 1)) return error.BadBody;
    return decision;
}

test "noise is an error or a whole answer, never a crash" {
    var random = std.Random.DefaultPrng.init(17);
    var memory: [120]u8 = undefined;
    for (0..100_000) |_| {
        const lengths = [_]usize{ 0, 16, 40, 48, 80, 96, random.random().uintLessThan(usize, memory.len) };
        const body = memory[0..lengths[random.random().uintLessThan(usize, lengths.len)]];
        @memset(body, 0);
        for (0..random.random().uintLessThan(usize, 12)) |_| {
            if (body.len > 0) body[random.random().uintLessThan(usize, body.len)] = random.random().int(u8);
        }
        if (decodeRecord(body)) |_| {} else |_| {}
        if (decodeStats(body)) |_| {} else |_| {}
        if (decodeExpired(body)) |_| {} else |_| {}
        if (decodeDecision(body)) |_| {} else |_| {}
        if (decodeValue(body)) |_| {} else |_| {}
        if (body.len >= 8) {
            @memset(body[0..8], 0);
            body[0] = random.random().uintLessThan(u8, 3);
            body[4] = 56;
        }
        var pools = Pools.decode(body) catch continue;
        var count: u32 = 0;
        while (pools.next()) |_| count += 1;
        try std.testing.expectEqual(pools.count, count);
    }
}
