//! The commands about pools of records: the words of integration/conformance/README.md.

const std = @import("std");
const local = @import("local");
const answers = local.flow_answers;
const bodies = local.flow_bodies;
const flows = local.flows;
const sys = local.sys;

const Out = struct {
    gpa: std.mem.Allocator,
    list: *std.ArrayList(u8),

    fn say(out: Out, comptime format: []const u8, values: anytype) !void {
        try out.list.print(out.gpa, format, values);
    }

    fn record(out: Out, one: *const flows.FlowRecord) !void {
        try out.say("{x} {d} {d} {d} {d} {d} {d} {d} {d}", .{
            &one.key,      one.size,      one.created_ns, one.updated_ns, one.expires_ns,
            one.reference, one.component, one.kind,       one.priority,
        });
    }

    fn found(out: Out, one: ?flows.FlowRecord) !void {
        if (one) |*record_found| {
            try out.say("record ", .{});
            return out.record(record_found);
        }
        try out.say("none", .{});
    }

    fn valued(out: Out, one: ?flows.Value) !void {
        if (one) |value| return out.say("value {x}", .{&value});
        try out.say("none", .{});
    }

    /// In the order of their numbers.
    fn pools(out: Out, all: flows.Pools) !void {
        var below: u64 = 0;
        for (0..all.count) |at| {
            var lowest: ?flows.Pool = null;
            var stats_of: flows.PoolStats = undefined;
            var rest = all;
            while (rest.next()) |entry| {
                const pool, const held = entry;
                if (pool.pool_id < below or (lowest != null and pool.pool_id > lowest.?.pool_id)) continue;
                lowest = pool;
                stats_of = held;
            }
            const pool = lowest orelse return;
            below = @as(u64, pool.pool_id) + 1;
            try out.say("{s}{d} {d} {d} ", .{ if (at > 0) " " else "", pool.pool_id, pool.encodedFlags(), pool.bytes_max });
            try out.stats(stats_of);
        }
    }

    fn stats(out: Out, held: flows.PoolStats) !void {
        try out.say("{d} {d} {d} {d} {d}", .{ held.records, held.bytes, held.bytes_max, held.evictions, held.expirations });
    }
};

const Words = std.mem.TokenIterator(u8, .scalar);
const Verb = enum { vectors, pool_add, pool_drop, pool_stats, pools, value_put, value_get, value_remove, put, get, remove, expire, route, learn, fill, raw };

/// Obeys one command; what fails is an answer as well.
pub fn obey(gpa: std.mem.Allocator, list: *std.ArrayList(u8), client: ?*flows.FlowClient, words: *Words) !void {
    const out: Out = .{ .gpa = gpa, .list = list };
    const verb = std.meta.stringToEnum(Verb, words.next().?) orelse return error.NoSuchCommand;
    if (verb == .vectors) return vectors(out, words.next().?);
    const asked = client orelse return error.NotConnected;
    call(out, asked, verb, words) catch |err| {
        const status: local.protocol.Status = switch (err) {
            error.Failed => asked.status,
            error.BadBody => .bad_body,
            error.Deadline => .deadline,
            error.Unreachable => .@"unreachable",
            error.CircuitOpen => .circuit_open,
            else => return err,
        };
        try out.say("failed {d} {s}", .{ @intFromEnum(status), asked.text });
    };
}

fn call(out: Out, client: *flows.FlowClient, verb: Verb, words: *Words) !void {
    switch (verb) {
        .vectors => unreachable,
        .pool_add => {
            try client.poolAdd(try poolOf(words));
            try out.say("done", .{});
        },
        .pool_drop => {
            try client.poolDrop(try number(u32, words));
            try out.say("done", .{});
        },
        .pool_stats => {
            const held = try client.poolStats(try number(u32, words));
            try out.say("stats ", .{});
            try out.stats(held);
        },
        .pools => {
            const all = try client.allPools();
            try out.say("pools {d} ", .{all.count});
            try out.pools(all);
        },
        .value_put, .value_get, .value_remove => {
            const pool_id, const kind = .{ try number(u32, words), try number(u8, words) };
            const bytes = try unhex(out.gpa, words.next() orelse return error.NoKey);
            defer out.gpa.free(bytes);
            const key: flows.Key = if (kind == 1) .{ .digest = bytes[0..32] } else .{ .bytes = bytes };
            try out.valued(switch (verb) {
                .value_put => put: {
                    var value: flows.Value = undefined;
                    _ = try std.fmt.hexToBytes(&value, words.next() orelse return error.NoValue);
                    break :put try client.valuePut(pool_id, key, &value);
                },
                .value_get => try client.valueGet(pool_id, key),
                else => try client.valueRemove(pool_id, key),
            });
        },
        .put => {
            const pool_id, const ttl_ns = .{ try number(u32, words), try number(u64, words) };
            try out.found(try client.flowPut(pool_id, &try recordOf(words), ttl_ns));
        },
        .get => {
            const pool_id = try number(u32, words);
            try out.found(try client.flowGet(pool_id, &try digest(words)));
        },
        .remove => {
            const pool_id = try number(u32, words);
            try out.found(try client.flowRemove(pool_id, &try digest(words)));
        },
        .expire => {
            const pool_id = try number(u32, words);
            try out.say("expired {d}", .{try client.flowExpire(pool_id, try number(u32, words))});
        },
        .route => {
            const pool_id = try number(u32, words);
            const key = try digest(words);
            try decided(out, try client.flowRoute(pool_id, &key, try number(u16, words)));
        },
        .learn => {
            const kind = try number(u16, words);
            const layer: flows.Layer = @enumFromInt(try number(u32, words));
            try client.flowLearn(kind, layer, try number(u8, words) == 1);
            try out.say("done", .{});
        },
        .fill => {
            const pool_id = try number(u32, words);
            try fill(out, client, pool_id, try number(u64, words));
        },
        .raw => {
            const method = try number(u16, words);
            const body = try unhex(out.gpa, words.next().?);
            defer out.gpa.free(body);
            const answer = try client.call(method, body);
            try out.say("body {s}{x}", .{ if (answer.len == 0) "-" else "", answer });
        },
    }
}

fn decided(out: Out, decision: flows.RoutingDecision) !void {
    const confidence: u32 = @bitCast(decision.confidence);
    switch (@as(flows.Outcome, @enumFromInt(decision.outcome))) {
        .found_exact => {
            try out.say("exact ", .{});
            try out.record(&decision.record);
        },
        .found_partial => {
            try out.say("partial {d} {d} ", .{ decision.next_layer, confidence });
            try out.record(&decision.record);
        },
        .route_to_layers => try out.say("route {d} {d}", .{ decision.next_layer, confidence }),
    }
}

fn fill(out: Out, client: *flows.FlowClient, pool_id: u32, count: u64) !void {
    for (0..count) |at| {
        var record = std.mem.zeroes(flows.FlowRecord);
        std.mem.writeInt(u64, record.key[0..8], at, .little);
        _ = client.flowPut(pool_id, &record, 0) catch |err| {
            if (err != error.Failed) return err;
            return out.say("filled {d} {d}", .{ at, @intFromEnum(client.status) });
        };
    }
    try out.say("filled {d} 0", .{count});
}

fn number(comptime Int: type, words: *Words) !Int {
    return std.fmt.parseInt(Int, words.next() orelse return error.NoNumber, 10);
}

fn unhex(gpa: std.mem.Allocator, text: []const u8) ![]u8 {
    const digits = std.mem.trim(u8, text, "-");
    const bytes = try gpa.alloc(u8, digits.len / 2);
    errdefer gpa.free(bytes);
    return std.fmt.hexToBytes(bytes, digits);
}

fn digest(words: *Words) !flows.Digest {
    var key: flows.Digest = undefined;
    _ = try std.fmt.hexToBytes(&key, words.next() orelse return error.NoKey);
    return key;
}

fn poolOf(words: *Words) !flows.Pool {
    return poolWith(try number(u32, words), words);
}

fn poolWith(pool_id: u32, words: *Words) !flows.Pool {
    const flags = try number(u8, words);
    return .{ .pool_id = pool_id, .evicts = flags & 1 == 0, .values = flags & 2 != 0, .bytes_max = try number(u64, words) };
}

fn recordOf(words: *Words) !flows.FlowRecord {
    return .{
        .key = try digest(words),
        .size = try number(u64, words),
        .created_ns = try number(u64, words),
        .updated_ns = try number(u64, words),
        .expires_ns = try number(u64, words),
        .reference = try number(u64, words),
        .component = try number(u16, words),
        .kind = try number(u16, words),
        .priority = try number(u8, words),
    };
}

/// Writes the requests of the golden vectors and reads the answers.
fn vectors(out: Out, path: []const u8) !void {
    const place = try out.gpa.dupeZ(u8, path);
    defer out.gpa.free(place);
    const fd = try sys.open(place, .{ .CLOEXEC = true }, 0);
    defer sys.close(fd);
    const lines = try sys.map(fd, (try sys.statFd(fd)).size);
    defer sys.unmap(lines);
    var good: usize = 0;
    var bad: usize = 0;
    var rest = std.mem.tokenizeScalar(u8, lines, '\n');
    while (rest.next()) |line| {
        if (line[0] == '#') continue;
        var words = std.mem.tokenizeScalar(u8, line, ' ');
        const kind, const name = .{ words.next().?, words.next().? };
        const is_good = try number(i32, &words) == 0;
        const bytes = try unhex(out.gpa, words.next().?);
        defer out.gpa.free(bytes);
        const is_right = try agrees(out.gpa, kind, is_good, bytes, &words);
        if (!is_right) return out.say("failed {s} {s}", .{ kind, name });
        if (is_good) good += 1 else bad += 1;
    }
    try out.say("vectors {d} {d}", .{ good, bad });
}

fn agrees(gpa: std.mem.Allocator, kind: []const u8, is_good: bool, bytes: []const u8, words: *Words) !bool {
    const Kind = enum { pool, flow_put, flow_key, expire, flow_route, learn, decision, record, pool_stats, pools, expired };
    const body = std.meta.stringToEnum(Kind, kind) orelse return false;
    var text: std.ArrayList(u8) = .empty;
    defer text.deinit(gpa);
    const said: Out = .{ .gpa = gpa, .list = &text };
    switch (body) {
        .decision, .record, .pool_stats, .pools, .expired => {
            const is_read = if (readAnswer(said, body, bytes)) true else |err| if (err == error.BadBody) false else return err;
            return is_read == is_good and (!is_good or std.mem.eql(u8, text.items, words.rest()));
        },
        else => {},
    }
    // A bad request is the daemon's to refuse.
    if (!is_good) return true;
    const first = try number(u32, words);
    switch (body) {
        .pool => {
            const pool = try poolWith(first, words);
            return std.mem.eql(u8, &pool.encode(), bytes);
        },
        .flow_put => {
            const put: bodies.Put = .{ .pool_id = first, .ttl_ns = try number(u64, words), .record = try recordOf(words) };
            return std.mem.eql(u8, &put.encode(), bytes);
        },
        .flow_key => return std.mem.eql(u8, &(bodies.Key{ .pool_id = first, .key = &try digest(words) }).encode(), bytes),
        .expire => return std.mem.eql(u8, &answers.encodeExpire(first, try number(u32, words)), bytes),
        .flow_route => {
            const of_kind = try number(u16, words);
            return std.mem.eql(u8, &answers.encodeRoute(first, of_kind, &try digest(words)), bytes);
        },
        .learn => {
            const layer: flows.Layer = @enumFromInt(try number(u32, words));
            return std.mem.eql(u8, &answers.encodeLearn(@intCast(first), layer, try number(u8, words) == 1), bytes);
        },
        else => unreachable,
    }
}

fn readAnswer(out: Out, body: anytype, bytes: []const u8) !void {
    switch (body) {
        .decision => {
            const decision = try answers.decodeDecision(bytes);
            try out.say("{d} {d} {d} ", .{ decision.outcome, decision.next_layer, @as(u32, @bitCast(decision.confidence)) });
            try out.record(&decision.record);
        },
        .record => try out.record(&(try answers.decodeRecord(bytes) orelse return error.BadBody)),
        .pool_stats => try out.stats(try answers.decodeStats(bytes)),
        .pools => try out.pools(try answers.Pools.decode(bytes)),
        else => {
            const expired = try answers.decodeExpired(bytes);
            try out.say("{d} {d}", .{ expired.looked, expired.expired });
        },
    }
}
