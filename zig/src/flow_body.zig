//! The fixed bodies of pools of records: docs/PROTOCOL.md, "Bodies of ifr". Read in place; the log and the snapshot hold the
//! same bodies.

const std = @import("std");
const answers = @import("flow_answer.zig");
const bodies = @import("body.zig");
const flow = @import("flow.zig");
const protocol = @import("gen/protocol.zig");
const root = @import("root.zig");

const Digest = root.Digest;
const Error = bodies.Error;
const FlowRecord = flow.FlowRecord;
const read = std.mem.readInt;
const write = std.mem.writeInt;

/// IfrPool: a pool, its flags, its budget.
pub const Pool = struct {
    pool_id: u32,
    evicts: bool = true,
    /// Holds keys with values in place of records, and evicts none.
    values: bool = false,
    bytes_max: u64 = 0,

    pub const bytes = 16;
    const flag_refuses: u32 = 1;
    const flag_values: u32 = 2;

    pub fn decode(body: []const u8) Error!Pool {
        if (body.len != bytes) return error.BadBody;
        const flags = read(u32, body[4..8], .little);
        const values = flags & flag_values != 0;
        if (flags & ~(flag_refuses | flag_values) != 0 or (values and flags & flag_refuses == 0)) return error.BadBody;
        return .{
            .pool_id = read(u32, body[0..4], .little),
            .evicts = flags & flag_refuses == 0,
            .values = values,
            .bytes_max = read(u64, body[8..16], .little),
        };
    }

    /// Of a method that takes no budget.
    pub fn decodeId(body: []const u8) Error!u32 {
        const pool = try decode(body);
        if (!pool.evicts or pool.bytes_max != 0) return error.BadBody;
        return pool.pool_id;
    }

    /// As they travel.
    pub fn encodedFlags(pool: Pool) u32 {
        if (pool.values) return flag_refuses | flag_values;
        return if (pool.evicts) 0 else flag_refuses;
    }

    pub fn encode(pool: Pool) [bytes]u8 {
        var body: [bytes]u8 = undefined;
        write(u32, body[0..4], pool.pool_id, .little);
        write(u32, body[4..8], pool.encodedFlags(), .little);
        write(u64, body[8..16], pool.bytes_max, .little);
        return body;
    }
};

/// IfrPoolStats: numbers of 64 bits, in this order. Later versions append.
pub fn encodeStats(stats: flow.PoolStats) [stats_bytes]u8 {
    var body: [stats_bytes]u8 = undefined;
    inline for (std.meta.fields(flow.PoolStats), 0..) |field, index| {
        write(u64, body[8 * index ..][0..8], @field(stats, field.name), .little);
    }
    return body;
}

pub const stats_bytes = 8 * std.meta.fields(flow.PoolStats).len;

/// IfrRecord: as `FlowRecord` lies in memory on a little-endian machine, heat and reserved zero.
pub const record_bytes = 80;

pub fn encodeRecord(record: *const FlowRecord, body: *[record_bytes]u8) void {
    body[0..32].* = record.key;
    inline for (.{ "size", "created_ns", "updated_ns", "expires_ns", "reference" }, 0..) |name, index| {
        write(u64, body[32 + 8 * index ..][0..8], @field(record, name), .little);
    }
    write(u16, body[72..74], record.component, .little);
    write(u16, body[74..76], record.kind, .little);
    body[76] = record.priority;
    @memset(body[77..80], 0);
}

pub fn decodeRecord(body: *const [record_bytes]u8) Error!FlowRecord {
    if (!std.mem.allEqual(u8, body[77..80], 0)) return error.BadBody;
    var record: FlowRecord = std.mem.zeroes(FlowRecord);
    record.key = body[0..32].*;
    inline for (.{ "size", "created_ns", "updated_ns", "expires_ns", "reference" }, 0..) |name, index| {
        @field(record, name) = read(u64, body[32 + 8 * index ..][0..8], .little);
    }
    record.component = read(u16, body[72..74], .little);
    record.kind = read(u16, body[74..76], .little);
    record.priority = body[76];
    return record;
}

/// IfrFlowPut: a record for a pool, and how long it lives from now on; 0 leaves `expires_ns` as it is.
pub const Put = struct {
    pool_id: u32,
    ttl_ns: u64,
    record: FlowRecord,

    pub const bytes = 16 + record_bytes;

    pub fn decode(body: []const u8) Error!Put {
        if (body.len != bytes or !std.mem.allEqual(u8, body[4..8], 0)) return error.BadBody;
        return .{
            .pool_id = read(u32, body[0..4], .little),
            .ttl_ns = read(u64, body[8..16], .little),
            .record = try decodeRecord(body[16..][0..record_bytes]),
        };
    }

    pub fn encode(put: *const Put) [bytes]u8 {
        var body: [bytes]u8 = @splat(0);
        write(u32, body[0..4], put.pool_id, .little);
        write(u64, body[8..16], put.ttl_ns, .little);
        encodeRecord(&put.record, body[16..]);
        return body;
    }

    /// The times that were left to the daemon: what is 0 of `created_ns` and `updated_ns`, and the end of the life.
    pub fn settle(put: *Put, old: ?*const FlowRecord, now_ns: u64) void {
        const record = &put.record;
        if (record.updated_ns == 0) record.updated_ns = now_ns;
        if (record.created_ns == 0) record.created_ns = if (old) |before| before.created_ns else now_ns;
        if (put.ttl_ns == 0) return;
        record.expires_ns = now_ns +| put.ttl_ns;
        put.ttl_ns = 0;
    }
};

/// An IfrKey of a digest, in any pool.
pub const Key = struct {
    pool_id: u32,
    key: *const Digest,

    pub const bytes = bodies.head_bytes + bodies.digest_bytes;

    pub fn decode(body: []const u8) Error!Key {
        if (body.len != bytes or !std.mem.allEqual(u8, body[5..8], 0)) return error.BadBody;
        if (body[4] != protocol.ifr_key.digest) return error.BadBody;
        return .{ .pool_id = read(u32, body[0..4], .little), .key = body[8..][0..bodies.digest_bytes] };
    }

    pub fn encode(one: Key) [bytes]u8 {
        var body: [bytes]u8 = @splat(0);
        write(u32, body[0..4], one.pool_id, .little);
        body[4] = protocol.ifr_key.digest;
        body[8..].* = one.key.*;
        return body;
    }
};

/// IfrExpire: how many records of a pool are looked at.
pub const Expire = struct {
    pool_id: u32,
    looks: u32,

    pub fn decode(body: []const u8) Error!Expire {
        if (body.len != 8) return error.BadBody;
        const looks = read(u32, body[4..8], .little);
        if (looks == 0 or looks > bodies.batch_keys_max) return error.BatchSize;
        return .{ .pool_id = read(u32, body[0..4], .little), .looks = looks };
    }
};

/// IfrRoute: a key of some kind, and the pool where it is looked for first.
pub const Route = struct {
    pool_id: u32,
    kind: u16,
    key: *const Digest,

    pub fn decode(body: []const u8) Error!Route {
        if (body.len != 8 + bodies.digest_bytes or !std.mem.allEqual(u8, body[6..8], 0)) return error.BadBody;
        return .{
            .pool_id = read(u32, body[0..4], .little),
            .kind = read(u16, body[4..6], .little),
            .key = body[8..][0..bodies.digest_bytes],
        };
    }
};

/// IfrDecision: outcome, next layer, confidence, four zeros, the record.
pub const decision_bytes = 16 + record_bytes;

pub fn encodeDecision(decision: *const flow.RoutingDecision, body: *[decision_bytes]u8) void {
    write(u32, body[0..4], decision.outcome, .little);
    write(u32, body[4..8], decision.next_layer, .little);
    write(u32, body[8..12], @bitCast(decision.confidence), .little);
    @memset(body[12..16], 0);
    encodeRecord(&decision.record, body[16..]);
}

/// IfrLearn: kind, layer, whether it had an answer.
pub const Learn = struct {
    kind: u16,
    layer: flow.Layer,
    found: bool,

    pub fn decode(body: []const u8) Error!Learn {
        if (body.len != 8 or !std.mem.allEqual(u8, body[4..8], 0) or body[3] > 1) return error.BadBody;
        const layer: flow.Layer = switch (body[2]) {
            2 => .similarity,
            3 => .association,
            4 => .prediction,
            else => return error.BadBody,
        };
        return .{ .kind = read(u16, body[0..2], .little), .layer = layer, .found = body[3] == 1 };
    }
};

/// What all layers were asked and answered, in snapshots only: found and asked, by kind and layer.
pub const outcomes_bytes = root.constants.kinds_learned * 3 * 8;

pub fn encodeOutcomes(flows: *const flow.Flows, body: *[outcomes_bytes]u8) void {
    var at: usize = 0;
    for (&flows.outcomes) |*layers| for (layers) |tally| {
        write(u32, body[at..][0..4], tally.found, .little);
        write(u32, body[at + 4 ..][0..4], tally.asked, .little);
        at += 8;
    };
}

pub fn decodeOutcomes(flows: *flow.Flows, body: []const u8) Error!void {
    if (body.len != outcomes_bytes) return error.BadBody;
    var at: usize = 0;
    for (&flows.outcomes) |*layers| for (layers) |*tally| {
        const found = read(u32, body[at..][0..4], .little);
        const asked = read(u32, body[at + 4 ..][0..4], .little);
        if (found > asked or asked >= root.constants.outcomes_remembered) return error.BadBody;
        tally.* = .{ .found = found, .asked = asked };
        at += 8;
    };
}

test "what is encoded is decoded, and anything else is refused" {
    const testing = std.testing;
    const put: Put = .{ .pool_id = 7, .ttl_ns = 9, .record = .{
        .key = @splat(3),
        .size = 1,
        .created_ns = 2,
        .updated_ns = 3,
        .expires_ns = 4,
        .reference = 5,
        .component = 6,
        .kind = 0x1234,
        .priority = 7,
    } };
    var body = put.encode();
    try testing.expectEqual(put, try Put.decode(&body));
    for (0..body.len) |length| try testing.expectError(error.BadBody, Put.decode(body[0..length]));
    // The heat of a record is the pool's.
    for ([_]usize{ 4, 7, 16 + 77, 16 + 79 }) |index| {
        body[index] = 1;
        try testing.expectError(error.BadBody, Put.decode(&body));
        body[index] = 0;
    }
    const pool: Pool = .{ .pool_id = 1, .evicts = false, .bytes_max = 1 << 20 };
    var made = pool.encode();
    try testing.expectEqual(pool, try Pool.decode(&made));
    try testing.expectError(error.BadBody, Pool.decodeId(&made));
    // What holds values evicts none, and has a flag for either.
    for ([_]u8{ 2, 4 }) |flags| {
        made[4] = flags;
        try testing.expectError(error.BadBody, Pool.decode(&made));
    }
    made[4] = 3;
    try testing.expect((try Pool.decode(&made)).values);
}

test "noise is an error or a body, never a crash" {
    var random = std.Random.DefaultPrng.init(13);
    var memory: [200]u8 = undefined;
    for (0..100_000) |_| {
        const lengths = [_]usize{ 8, 16, 40, 96, random.random().uintLessThan(usize, memory.len) };
        const body = memory[0..lengths[random.random().uintLessThan(usize, lengths.len)]];
        random.random().bytes(body);
        if (body.len >= 8) @memset(body[4..8], random.random().uintLessThan(u8, 2));
        inline for (.{ Put, Pool, Key, Expire, Route, Learn }) |Body| {
            if (Body.decode(body)) |_| {} else |_| {}
        }
    }
}

test "the vectors of all languages" {
    const testing = std.testing;
    const Case = struct { body: []const u8, status: i32, hex: []const u8, fields: []const u8 };
    var lines = std.mem.tokenizeScalar(u8, @embedFile("ifr_flow_vectors"), '\n');
    var seen: u32 = 0;
    while (lines.next()) |line| {
        if (line[0] == '#') continue;
        var words = std.mem.splitScalar(u8, line, ' ');
        const body = words.next().?;
        _ = words.next().?;
        const case: Case = .{
            .body = body,
            .status = try std.fmt.parseInt(i32, words.next().?, 10),
            .hex = words.next().?,
            .fields = words.rest(),
        };
        var memory: [200]u8 = undefined;
        const bytes = try std.fmt.hexToBytes(&memory, case.hex);
        var text: [400]u8 = undefined;
        seen += 1;
        if (std.mem.eql(u8, body, "pool")) {
            const pool = Pool.decode(bytes) catch |err| {
                try expectRefused(err, case.status);
                continue;
            };
            try testing.expectEqualSlices(u8, bytes, &pool.encode());
            const found = try std.fmt.bufPrint(&text, "{d} {d} {d}", .{ pool.pool_id, pool.encodedFlags(), pool.bytes_max });
            try testing.expectEqualStrings(case.fields, found);
        } else if (std.mem.eql(u8, body, "flow_put")) {
            const put = Put.decode(bytes) catch |err| {
                try expectRefused(err, case.status);
                continue;
            };
            try testing.expectEqualSlices(u8, bytes, &put.encode());
            var record: [300]u8 = undefined;
            const found = try std.fmt.bufPrint(&text, "{d} {d} {s}", .{ put.pool_id, put.ttl_ns, try recordText(&put.record, &record) });
            try testing.expectEqualStrings(case.fields, found);
        } else if (std.mem.eql(u8, body, "decision")) {
            const decision = answers.decodeDecision(bytes) catch |err| {
                try expectRefused(err, case.status);
                continue;
            };
            var again: [decision_bytes]u8 = undefined;
            encodeDecision(&decision, &again);
            try testing.expectEqualSlices(u8, bytes, &again);
        } else if (std.mem.eql(u8, body, "record")) {
            const found = answers.decodeRecord(bytes) catch |err| {
                try expectRefused(err, case.status);
                continue;
            };
            var again: [record_bytes]u8 = undefined;
            encodeRecord(&found.?, &again);
            try testing.expectEqualSlices(u8, bytes, &again);
        } else if (std.mem.eql(u8, body, "pool_stats")) {
            const found = answers.decodeStats(bytes) catch |err| {
                try expectRefused(err, case.status);
                continue;
            };
            try testing.expectEqualSlices(u8, bytes[0..stats_bytes], &encodeStats(found));
        } else if (std.mem.eql(u8, body, "pools")) {
            var pools = answers.Pools.decode(bytes) catch |err| {
                try expectRefused(err, case.status);
                continue;
            };
            var found: std.Io.Writer = .fixed(&text);
            for (0..pools.count) |index| {
                const pool, const held = pools.next().?;
                if (index > 0) try found.writeByte(' ');
                try found.print("{d} {d} {d} ", .{ pool.pool_id, pool.encodedFlags(), pool.bytes_max });
                try found.print("{d} {d} {d} {d} {d}", .{ held.records, held.bytes, held.bytes_max, held.evictions, held.expirations });
            }
            try testing.expectEqual(null, pools.next());
            try testing.expectEqualStrings(case.fields, found.buffered());
        } else if (std.mem.eql(u8, body, "expired")) {
            const found = answers.decodeExpired(bytes) catch |err| {
                try expectRefused(err, case.status);
                continue;
            };
            try testing.expectEqualStrings(case.fields, try std.fmt.bufPrint(&text, "{d} {d}", .{ found.looked, found.expired }));
        } else if (std.mem.eql(u8, body, "flow_key")) {
            const one = try Key.decode(bytes);
            try testing.expectEqualStrings(case.fields, try std.fmt.bufPrint(&text, "{d} {x}", .{ one.pool_id, one.key }));
        } else if (std.mem.eql(u8, body, "flow_route")) {
            const one = try Route.decode(bytes);
            try testing.expectEqualSlices(u8, bytes, &answers.encodeRoute(one.pool_id, one.kind, one.key));
            try testing.expectEqualStrings(case.fields, try std.fmt.bufPrint(&text, "{d} {d} {x}", .{ one.pool_id, one.kind, one.key }));
        } else if (std.mem.eql(u8, body, "expire")) {
            const one = try Expire.decode(bytes);
            try testing.expectEqualSlices(u8, bytes, &answers.encodeExpire(one.pool_id, one.looks));
            try testing.expectEqualStrings(case.fields, try std.fmt.bufPrint(&text, "{d} {d}", .{ one.pool_id, one.looks }));
        } else if (std.mem.eql(u8, body, "learn")) {
            const one = try Learn.decode(bytes);
            try testing.expectEqualSlices(u8, bytes, &answers.encodeLearn(one.kind, one.layer, one.found));
            const found = .{ one.kind, @intFromEnum(one.layer), @intFromBool(one.found) };
            try testing.expectEqualStrings(case.fields, try std.fmt.bufPrint(&text, "{d} {d} {d}", found));
        } else return error.UnknownBody;
        try testing.expectEqual(0, case.status);
    }
    try testing.expectEqual(44, seen);
}

fn expectRefused(err: anyerror, status: i32) !void {
    try std.testing.expectEqual(error.BadBody, err);
    try std.testing.expectEqual(@intFromEnum(protocol.Status.bad_body), status);
}

fn recordText(record: *const FlowRecord, memory: []u8) ![]const u8 {
    return std.fmt.bufPrint(memory, "{x} {d} {d} {d} {d} {d} {d} {d} {d}", .{
        &record.key,      record.size,      record.created_ns, record.updated_ns, record.expires_ns,
        record.reference, record.component, record.kind,       record.priority,
    });
}
