//! The registry beside a hash map of the standard library, under random operations, churn, a tight budget and
//! failing allocations. Seeds are fixed; a failure prints its seed.

const std = @import("std");
const root = @import("../root.zig");

const testing = std.testing;
const Digest = root.Digest;
const Ifr = root.Ifr;
const Value = root.Value;

const hash_key: [16]u8 = @splat(0x5a);

fn make(gpa: std.mem.Allocator, bytes_max: u64, filter: bool) !Ifr {
    return .init(gpa, .{ .bytes_max = bytes_max, .hash_key = hash_key, .filter = filter });
}

fn digestOf(number: u64) Digest {
    var digest: Digest = @splat(0);
    std.mem.writeInt(u64, digest[0..8], number, .little);
    return digest;
}

fn valueOf(number: u64) Value {
    var value: Value = @splat(0xa5);
    std.mem.writeInt(u64, value[0..8], number, .little);
    return value;
}

fn expectValue(expected: ?Value, actual: ?*const Value) !void {
    try testing.expectEqual(expected == null, actual == null);
    if (expected) |value| try testing.expectEqual(value, actual.?.*);
}

/// Random inserts, removes and look-ups of `keys` distinct keys, each answer compared.
fn checkAgainstMap(seed: u64, keys: u64, operations: u32, filter: bool) !void {
    errdefer std.debug.print("seed {x}, {d} keys, filter {}\n", .{ seed, keys, filter });
    const gpa = testing.allocator;
    var ifr = try make(gpa, 1 << 26, filter);
    defer ifr.deinit();
    var model: std.AutoHashMapUnmanaged(Digest, Value) = .empty;
    defer model.deinit(gpa);
    var prng = std.Random.DefaultPrng.init(seed);
    const random = prng.random();

    for (0..operations) |operation| {
        // Phases of growth and of shrinking.
        const inserts: u8 = if (operation / (operations / 8) % 2 == 0) 70 else 25;
        const key = digestOf(random.uintLessThan(u64, keys));
        const choice = random.uintLessThan(u8, 100);
        if (choice < inserts) {
            const value = valueOf(random.int(u64));
            const old = try model.fetchPut(gpa, key, value);
            try testing.expectEqual(if (old) |kv| kv.value else null, try ifr.insert(&key, &value));
        } else if (choice < 90) {
            const old = model.fetchRemove(key);
            try testing.expectEqual(if (old) |kv| kv.value else null, ifr.remove(&key));
        } else {
            try expectValue(model.get(key), ifr.get(&key));
        }
    }
    try expectSame(&ifr, &model, keys);
}

fn expectSame(ifr: *const Ifr, model: *std.AutoHashMapUnmanaged(Digest, Value), keys: u64) !void {
    try testing.expectEqual(model.count(), ifr.stats().digest_entries);
    var seen: u64 = 0;
    var entries = ifr.iterate();
    while (entries.next()) |entry| {
        seen += 1;
        try testing.expectEqual(model.get(entry.key), entry.value);
        try testing.expect(ifr.mayContain(&entry.key));
    }
    try testing.expectEqual(null, entries.next());
    try testing.expectEqual(model.count(), seen);

    // The same by batches, of keys that are here and keys that are not.
    var batch: [100]Digest = undefined;
    var values: [100]Value = undefined;
    var found: [100]u8 = undefined;
    var start: u64 = 0;
    while (start < keys) : (start += batch.len) {
        for (&batch, start..) |*key, number| key.* = digestOf(number);
        const hits = ifr.getMany(&batch, &values, &found);
        var expected_hits: usize = 0;
        for (batch, values, found) |key, value, flag| {
            const expected = model.get(key);
            try testing.expectEqual(expected != null, flag != 0);
            if (expected) |there| try testing.expectEqual(there, value);
            expected_hits += flag;
        }
        try testing.expectEqual(expected_hits, hits);
    }
}

test "digests agree with a hash map" {
    // One segment, a few, and many with splits.
    inline for (.{ true, false }) |filter| {
        try checkAgainstMap(0x101, 10, 4_000, filter);
        try checkAgainstMap(0x102, 300, 20_000, filter);
        try checkAgainstMap(0x103, 3_000, 60_000, filter);
        try checkAgainstMap(0x104, 60_000, 400_000, filter);
    }
}

test "byte keys agree with a hash map" {
    const seed = 0x201;
    errdefer std.debug.print("seed {x}\n", .{seed});
    const gpa = testing.allocator;
    var ifr = try make(gpa, 1 << 26, true);
    defer ifr.deinit();
    var model: std.StringHashMapUnmanaged(Value) = .empty;
    defer model.deinit(gpa);
    var arena_state: std.heap.ArenaAllocator = .init(gpa);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    var prng = std.Random.DefaultPrng.init(seed);
    const random = prng.random();

    var buffer: [root.constants.key_bytes_max]u8 = undefined;
    for (0..30_000) |_| {
        // Mostly short keys of few letters, which meet; some as long as may be.
        const length: usize = if (random.uintLessThan(u8, 200) == 0)
            root.constants.key_bytes_max - random.uintLessThan(u8, 2)
        else
            random.uintLessThan(usize, 9);
        const key = buffer[0..length];
        @memset(key, 'x');
        for (key[0..@min(length, 8)]) |*byte| byte.* = 'a' + random.uintLessThan(u8, 3);
        const value = valueOf(random.int(u64));
        switch (random.uintLessThan(u8, 5)) {
            0, 1 => {
                const old = try ifr.insertBytes(key, &value);
                try testing.expectEqual(model.get(key), old);
                if (model.getPtr(key)) |there| {
                    there.* = value;
                } else {
                    try model.put(gpa, try arena.dupe(u8, key), value);
                }
            },
            2 => {
                const old = model.fetchRemove(key);
                const expected = if (old) |kv| kv.value else null;
                try testing.expectEqual(expected, ifr.removeBytes(key));
            },
            else => try expectValue(model.get(key), ifr.getBytes(key)),
        }
    }
    var seen: u64 = 0;
    var entries = ifr.iterateBytes();
    while (entries.next()) |entry| {
        seen += 1;
        try testing.expectEqual(model.get(entry.slice()), entry.value);
    }
    try testing.expectEqual(model.count(), seen);
    var too_long: [root.constants.key_bytes_max + 1]u8 = @splat(0);
    try testing.expectError(error.KeyTooLong, ifr.insertBytes(&too_long, &valueOf(0)));
    try testing.expectEqual(null, ifr.getBytes(&too_long));
    try testing.expectEqual(null, ifr.removeBytes(&too_long));
}

test "the filter never denies what is here and seldom affirms what is not" {
    var ifr = try make(testing.allocator, 1 << 26, true);
    defer ifr.deinit();
    const count = 100_000;
    for (0..count) |number| {
        _ = try ifr.insert(&digestOf(number), &valueOf(number));
    }
    for (0..count) |number| try testing.expect(ifr.mayContain(&digestOf(number)));
    var maybes: u32 = 0;
    for (count..3 * count) |number| maybes += @intFromBool(ifr.mayContain(&digestOf(number)));
    // At most 8 slots of 2^15 values in a line, and more where a line overflows: 0.01 % to 0.05 %.
    errdefer std.debug.print("maybes {d}, {any}\n", .{ maybes, ifr.stats() });
    try testing.expect(maybes > 0);
    try testing.expect(maybes < 200);
    // It forgets, too: half goes, and is denied as any other.
    for (0..count / 2) |number| _ = ifr.remove(&digestOf(number)).?;
    for (count / 2..count) |number| try testing.expect(ifr.mayContain(&digestOf(number)));
    maybes = 0;
    for (0..count / 2) |number| maybes += @intFromBool(ifr.mayContain(&digestOf(number)));
    try testing.expect(maybes < 50);
}

test "churn neither grows the table nor slows its probes" {
    inline for (.{ true, false }) |filter| {
        var ifr = try make(testing.allocator, 1 << 26, filter);
        defer ifr.deinit();
        const window = 10_000;
        for (0..window) |number| _ = try ifr.insert(&digestOf(number), &valueOf(number));
        const before = ifr.stats();
        for (window..window * 50) |number| {
            _ = ifr.remove(&digestOf(number - window)).?;
            _ = try ifr.insert(&digestOf(number), &valueOf(number));
        }
        const after = ifr.stats();
        try testing.expectEqual(window, after.digest_entries);
        try testing.expect(after.bytes < before.bytes * 3 / 2);
        // All gone: the memory is, too, but for a smallest segment each and the directory.
        for (window * 49..window * 50) |number| _ = ifr.remove(&digestOf(number)).?;
        try testing.expectEqual(0, ifr.stats().digest_entries);
        try testing.expect(ifr.stats().bytes < before.bytes / 8);
    }
}

test "bytes per entry follow the entries" {
    var ifr = try make(testing.allocator, 1 << 28, false);
    defer ifr.deinit();
    var most: u64 = 0;
    for (0..200_000) |number| {
        _ = try ifr.insert(&digestOf(number), &valueOf(number));
        if (number >= 20_000) most = @max(most, ifr.budget.bytes * 100 / (number + 1));
    }
    errdefer std.debug.print("{d} hundredths of a byte\n", .{most});
    // 48, an index slot at a load between 0.4 and 0.81, a page that is not full, a spare window.
    try testing.expect(most < 66_00);
}

test "a tight budget refuses, and what is here stays" {
    inline for (.{ root.constants.bytes_min, 40_000, 100_000, 1_000_000 }) |bytes_max| {
        var ifr = try make(testing.allocator, bytes_max, true);
        defer ifr.deinit();
        var count: u64 = 0;
        while (ifr.insert(&digestOf(count), &valueOf(count))) |_| : (count += 1) {
            try testing.expect(ifr.stats().bytes <= bytes_max);
        } else |err| try testing.expectEqual(error.Limit, err);
        try testing.expectError(error.Limit, ifr.insert(&digestOf(count), &valueOf(count)));
        try testing.expectEqual(null, ifr.get(&digestOf(count)));
        for (0..count) |number| try expectValue(valueOf(number), ifr.get(&digestOf(number)));
        // A long key alone may not fit, and takes nothing.
        const bytes = ifr.stats().bytes;
        var key: [root.constants.key_bytes_max]u8 = @splat(1);
        if (bytes_max < key.len) {
            try testing.expectError(error.Limit, ifr.insertBytes(&key, &valueOf(0)));
            try testing.expectEqual(bytes, ifr.stats().bytes);
        }
        // Room that is given back serves again.
        for (0..count) |number| _ = ifr.remove(&digestOf(number)).?;
        _ = try ifr.insert(&digestOf(count), &valueOf(count));
    }
    try testing.expectError(error.Limit, make(testing.allocator, root.constants.bytes_min - 1, true));
}

fn growAndShrink(gpa: std.mem.Allocator) !void {
    var ifr = try make(gpa, 1 << 24, true);
    defer ifr.deinit();
    for (0..5_000) |number| {
        _ = ifr.insert(&digestOf(number), &valueOf(number)) catch |err| {
            // Nothing that was here is lost.
            try testing.expectEqual(number, ifr.stats().digest_entries);
            for (0..number) |earlier| {
                try testing.expect(ifr.get(&digestOf(earlier)) != null);
            }
            return err;
        };
    }
    for (0..40) |number| {
        const key = digestOf(number);
        _ = try ifr.insertBytes(key[0 .. number % 33], &valueOf(number));
    }
    // A removal never fails, whatever the allocator does.
    for (0..5_000) |number| try testing.expect(ifr.remove(&digestOf(number)) != null);
}

test "every allocation may fail" {
    // A removal swallows the failure of a rebuild that only saves memory, by design.
    testing.checkAllAllocationFailures(testing.allocator, growAndShrink, .{}) catch |err| switch (err) {
        error.SwallowedOutOfMemoryError => {},
        else => return err,
    };
}

test "inserts go on after an allocation failed" {
    var failing = testing.FailingAllocator.init(testing.allocator, .{});
    var ifr = try make(failing.allocator(), 1 << 26, true);
    defer ifr.deinit();
    var failures: u32 = 0;
    var tries: u32 = 0;
    var number: u64 = 0;
    while (number < 200_000) {
        // Every allocation of every insert fails once: the first one at the first try, the next one at the next.
        failing.fail_index = failing.alloc_index + tries;
        if (ifr.insert(&digestOf(number), &valueOf(number))) |_| {
            number += 1;
            tries = 0;
        } else |err| {
            try testing.expectEqual(error.OutOfMemory, err);
            failures += 1;
            tries += 1;
        }
    }
    try testing.expect(failures > 30);
    for (0..number) |there| try expectValue(valueOf(there), ifr.get(&digestOf(there)));
}

test "keys under one secret spread, whatever their form" {
    // Counting keys, keys that differ in one byte, keys of high bits: no segment may stay behind or swell.
    for (0..3) |form| {
        var ifr = try make(testing.allocator, 1 << 26, false);
        defer ifr.deinit();
        for (0..50_000) |number| {
            var key: Digest = @splat(0);
            switch (form) {
                0 => std.mem.writeInt(u64, key[24..32], number, .little),
                1 => std.mem.writeInt(u64, key[8..16], number << 40, .big),
                else => std.mem.writeInt(u128, key[4..20], number * 0x1_0001_0001, .big),
            }
            _ = try ifr.insert(&key, &valueOf(number));
        }
        const stats = ifr.stats();
        errdefer std.debug.print("form {d}: {any}\n", .{ form, stats });
        // 832 to 1,664 entries each.
        try testing.expect(stats.segments >= 30);
        try testing.expect(stats.segments <= 72);
    }
}
