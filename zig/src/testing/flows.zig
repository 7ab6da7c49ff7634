//! Records in pools: beside a model, under budgets, with time as an argument, and beside readers.

const std = @import("std");
const constants = @import("../constants.zig");
const flow = @import("../flow.zig");

const testing = std.testing;
const Flows = flow.Flows;
const FlowRecord = flow.FlowRecord;

fn recordOf(number: u64, priority: u8, expires_ns: u64) FlowRecord {
    var record: FlowRecord = std.mem.zeroes(FlowRecord);
    std.mem.writeInt(u64, record.key[0..8], number *% 0x9e37_79b9_7f4a_7c15, .little);
    std.mem.writeInt(u64, record.key[8..16], number, .little);
    record.size = number;
    record.reference = ~number;
    record.priority = priority;
    record.expires_ns = expires_ns;
    record.kind = 3;
    return record;
}

fn make() Flows {
    return .init(testing.allocator, &@splat(7));
}

test "a pool that evicts takes every record, keeps its budget, and keeps what is warm" {
    var flows = make();
    defer flows.deinit();
    try flows.addPool(1, .{ .bytes_max = constants.pool_bytes_min, .evicts = true });
    for (0..60_000) |number| {
        try testing.expectEqual(null, try flows.put(1, &recordOf(number, if (number % 100 == 0) 7 else 0, 0), number));
        // A hundred records are read all the time.
        const warm = recordOf(number % 100, 0, 0);
        _ = flows.get(1, &warm.key, number);
        const stats = try flows.stats(1);
        errdefer std.debug.print("at {d}: {any}\n", .{ number, stats });
        try testing.expect(stats.bytes <= stats.bytes_max);
        try testing.expect(number < 100 or flows.get(1, &warm.key, number) != null);
    }
    const stats = try flows.stats(1);
    errdefer std.debug.print("{any}\n", .{stats});
    try testing.expectEqual(60_000, stats.records + stats.evictions);
    try testing.expect(stats.records > 4_000);
    for (0..100) |number| {
        const warm = recordOf(number, 0, 0);
        try testing.expectEqual(number, flows.get(1, &warm.key, 0).?.size);
    }
    // Of the last ones, high priorities stayed more often than low ones.
    var high: u32 = 0;
    var low: u32 = 0;
    for (0..20_000) |back| {
        const number = 59_999 - back;
        const there = flows.get(1, &recordOf(number, 0, 0).key, 0) != null;
        if (number % 100 == 0) high += @intFromBool(there) else low += @intFromBool(there);
    }
    errdefer std.debug.print("high {d} of 200, low {d} of 19,800\n", .{ high, low });
    try testing.expect(high * 99 > low * 2);
}

test "a pool that does not evict refuses, and what is here stays" {
    var flows = make();
    defer flows.deinit();
    try flows.addPool(9, .{ .bytes_max = constants.pool_bytes_min, .evicts = false });
    var count: u64 = 0;
    while (flows.put(9, &recordOf(count, 0, 0), 0)) |_| : (count += 1) {} else |err| try testing.expectEqual(error.Limit, err);
    try testing.expect(count > 8_000);
    for (0..count) |number| try testing.expectEqual(number, flows.get(9, &recordOf(number, 0, 0).key, 0).?.size);
    try testing.expectEqual(0, (try flows.stats(9)).evictions);
    for (0..count) |number| try testing.expect(flows.remove(9, &recordOf(number, 0, 0).key) != null);
    try testing.expectEqual(null, try flows.put(9, &recordOf(count, 0, 0), 0));
}

test "pools agree with maps, with time running on" {
    const seed = 0xf10;
    errdefer std.debug.print("seed {x}\n", .{seed});
    var flows = make();
    defer flows.deinit();
    var models: [2]std.AutoHashMapUnmanaged(u64, FlowRecord) = .{ .empty, .empty };
    defer for (&models) |*model| model.deinit(testing.allocator);
    for (0..2) |id| try flows.addPool(@intCast(id), .{ .bytes_max = 1 << 24, .evicts = true });
    var prng = std.Random.DefaultPrng.init(seed);
    const random = prng.random();
    for (1..60_000) |now| {
        const id = random.uintLessThan(u32, 2);
        const model = &models[id];
        const number = random.uintLessThan(u64, 3_000);
        const key = recordOf(number, 0, 0).key;
        switch (random.uintLessThan(u8, 4)) {
            0, 1 => {
                const expires: u64 = if (random.boolean()) 0 else now + random.uintLessThan(u64, 2_000);
                const record = recordOf(number, random.uintLessThan(u8, 8), expires);
                const old = try model.fetchPut(testing.allocator, number, record);
                try testing.expectEqual(if (old) |kv| kv.value else null, try flows.put(id, &record, now));
            },
            2 => {
                const old = model.fetchRemove(number);
                try testing.expectEqual(if (old) |kv| kv.value else null, flows.remove(id, &key));
            },
            else => {
                const there = model.get(number);
                const live = if (there) |record| !record.isExpired(now) else false;
                try testing.expectEqual(if (live) there else null, flows.get(id, &key, now));
                const decision = flows.route(id, &key, 3, now);
                if (live) {
                    try testing.expectEqual(@intFromEnum(flow.Outcome.found_exact), decision.outcome);
                    try testing.expectEqual(there.?, decision.record);
                } else if (there != null or models[1 - id].contains(number)) {
                    try testing.expectEqual(@intFromEnum(flow.Outcome.found_partial), decision.outcome);
                    try testing.expect(decision.confidence >= 0 and decision.confidence <= 1);
                } else {
                    try testing.expectEqual(@intFromEnum(flow.Outcome.route_to_layers), decision.outcome);
                    try testing.expect(decision.next_layer >= 2 and decision.next_layer <= 4);
                }
            },
        }
        try testing.expectEqual(model.count(), (try flows.stats(id)).records);
    }
    // All that has a time to live goes, in bounded steps.
    for (0..2) |id| {
        var gone: u64 = 0;
        for (0..200) |_| gone += try flows.expire(@intCast(id), 1 << 40, 100);
        var expected: u64 = 0;
        var each = models[id].valueIterator();
        while (each.next()) |record| expected += @intFromBool(record.expires_ns != 0);
        try testing.expectEqual(expected, gone);
    }
}

test "the next layer is the one that had answers for such keys" {
    var flows = make();
    defer flows.deinit();
    try flows.addPool(1, .{ .bytes_max = constants.pool_bytes_min, .evicts = true });
    const key = recordOf(1, 0, 0).key;
    try testing.expectEqual(@intFromEnum(flow.Layer.similarity), flows.route(1, &key, 3, 0).next_layer);
    try testing.expectEqual(0.5, flows.route(1, &key, 3, 0).confidence);
    for (0..10_000) |number| {
        flows.learn(3, .association, number % 10 != 0);
        flows.learn(3, .similarity, number % 10 == 0);
    }
    const decision = flows.route(1, &key, 3, 0);
    try testing.expectEqual(@intFromEnum(flow.Layer.association), decision.next_layer);
    try testing.expect(@abs(decision.confidence - 0.9) < 0.02);
    try testing.expectEqual(@intFromEnum(flow.Layer.similarity), flows.route(1, &key, 4, 0).next_layer);
}

test "what makes no sense is refused" {
    var flows = make();
    defer flows.deinit();
    try testing.expectError(error.Limit, flows.addPool(1, .{ .bytes_max = constants.pool_bytes_min - 1, .evicts = true }));
    for (0..constants.pools_max) |id| try flows.addPool(@intCast(id), .{ .bytes_max = constants.pool_bytes_min, .evicts = true });
    try testing.expectError(error.PoolExists, flows.addPool(5, .{ .bytes_max = 1 << 20, .evicts = true }));
    try testing.expectError(error.Limit, flows.addPool(1000, .{ .bytes_max = 1 << 20, .evicts = true }));
    try testing.expectError(error.NoPool, flows.put(1000, &recordOf(1, 0, 0), 0));
    try testing.expectError(error.BadRecord, flows.put(5, &recordOf(1, 8, 0), 0));
    try flows.dropPool(5);
    try testing.expectError(error.NoPool, flows.dropPool(5));
    try testing.expectEqual(null, flows.get(5, &recordOf(1, 0, 0).key, 0));
}

test "a sweep takes out what is due in bounded steps, beside puts that split segments, and sleeps until the next is" {
    const seed = 65;
    var random = std.Random.DefaultPrng.init(seed);
    errdefer std.debug.print("seed {d}\n", .{seed});
    for ([_]bool{ false, true }) |evicts| {
        var flows = make();
        defer flows.deinit();
        try flows.addPool(1, .{ .bytes_max = 64 << 20, .evicts = evicts });
        var next: u64 = 0;
        var now: u64 = 1_000;
        var swept: u64 = 0;
        for (0..200) |_| {
            // Puts between the steps, of records that live for a while or for ever.
            for (0..random.random().uintLessThan(u64, 200)) |_| {
                next += 1;
                var record = recordOf(next, 3, if (next % 4 == 0) 0 else now + random.random().uintLessThan(u64, 4_000));
                record.updated_ns = now;
                try testing.expectEqual(null, try flows.put(1, &record, now));
            }
            now += random.random().uintLessThan(u64, 300);
            const gone = flows.sweep(0, now);
            try testing.expect(gone <= Flows.gone_max);
            swept += gone;
        }
        // As many steps as it takes, with the clock at rest: nothing that is due stays, all else does.
        for (0..10_000) |_| {
            if (flows.dueNs(0) > now) break;
            swept += flows.sweep(0, now);
        }
        var earliest: u64 = flow.never;
        var held: u64 = 0;
        var records = flows.iterate(0).?;
        while (records.next()) |record| : (held += 1) {
            if (record.expires_ns == 0) continue;
            const life = if (evicts) record.expires_ns - record.updated_ns else 0;
            try testing.expect(record.expires_ns + life > now);
            earliest = @min(earliest, record.expires_ns + life);
        }
        const stats = try flows.stats(1);
        try testing.expectEqual(next - swept, held);
        try testing.expectEqual(swept, stats.expirations);
        try testing.expectEqual(0, stats.evictions);
        try testing.expect(swept > 1_000 and flows.dueNs(0) <= earliest);
        // One more circle and the bound is exact; once nothing can expire there is nothing to wait for.
        now = earliest;
        while (flows.dueNs(0) <= now) _ = flows.sweep(0, now);
        now = flow.never - 1;
        while (flows.dueNs(0) <= now) _ = flows.sweep(0, now);
        try testing.expectEqual(flow.never, flows.dueNs(0));
        try testing.expectEqual(next / 4, (try flows.stats(1)).records);
    }
}
