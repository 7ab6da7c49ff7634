//! Many readers beside one writer. Each key's value says which key it belongs to, so a torn or misplaced read shows.

const std = @import("std");
const root = @import("../root.zig");

const testing = std.testing;
const Digest = root.Digest;
const Ifr = root.Ifr;
const Value = root.Value;

/// Keys below are here from the beginning to the end, with changing values.
const constant_keys = 500;
/// Keys above come and go; enough of them to split and merge segments.
const keys_max = 12_000;

fn digestOf(number: u64) Digest {
    var digest: Digest = @splat(0);
    std.mem.writeInt(u64, digest[0..8], number *% 0x9e37_79b9_7f4a_7c15, .little);
    std.mem.writeInt(u64, digest[8..16], number, .little);
    return digest;
}

/// Both halves tell the key, the low bits of each which version.
fn valueOf(number: u64, version: u16) Value {
    var value: Value = undefined;
    std.mem.writeInt(u64, value[0..8], number << 16 | version, .little);
    std.mem.writeInt(u64, value[8..16], ~(number << 16 | version), .little);
    return value;
}

fn check(number: u64, value: Value) !void {
    const low = std.mem.readInt(u64, value[0..8], .little);
    const high = std.mem.readInt(u64, value[8..16], .little);
    try testing.expectEqual(low, ~high);
    try testing.expectEqual(number, low >> 16);
}

const Shared = struct {
    ifr: *Ifr,
    stop: std.atomic.Value(bool) = .init(false),
    reads: std.atomic.Value(u64) = .init(0),
    failed: std.atomic.Value(bool) = .init(false),

    fn reader(shared: *Shared, seed: u64) void {
        shared.readAll(seed) catch {
            shared.failed.store(true, .monotonic);
        };
    }

    fn readAll(shared: *Shared, seed: u64) !void {
        var prng = std.Random.DefaultPrng.init(seed);
        const random = prng.random();
        var keys: [64]Digest = undefined;
        var numbers: [64]u64 = undefined;
        var values: [64]Value = undefined;
        var found: [64]u8 = undefined;
        var reads: u64 = 0;
        while (!shared.stop.load(.monotonic)) {
            const constant = random.uintLessThan(u64, constant_keys);
            try check(constant, shared.ifr.read(&digestOf(constant)) orelse return error.Lost);
            try testing.expect(shared.ifr.mayContain(&digestOf(constant)));
            const other = random.uintLessThan(u64, keys_max);
            if (shared.ifr.read(&digestOf(other))) |value| try check(other, value);
            for (&keys, &numbers, 0..) |*key, *number, index| {
                number.* = random.uintLessThan(u64, if (index % 4 == 0) constant_keys else keys_max);
                key.* = digestOf(number.*);
            }
            const hits = shared.ifr.readMany(&keys, &values, &found);
            var counted: usize = 0;
            for (numbers, values, found) |number, value, flag| {
                counted += flag;
                if (flag == 0 and number < constant_keys) return error.Lost;
                if (flag != 0) try check(number, value);
            }
            try testing.expectEqual(counted, hits);
            try testing.expect(shared.ifr.len() >= constant_keys);
            reads += 2 + keys.len;
        }
        _ = shared.reads.fetchAdd(reads, .monotonic);
    }
};

test "readers beside a writer see whole entries, and lose none" {
    const seed = 0x5ead;
    errdefer std.debug.print("seed {x}\n", .{seed});
    var ifr = try Ifr.init(testing.allocator, .{ .bytes_max = 1 << 26, .hash_key = @splat(0x5a) });
    defer ifr.deinit();
    for (0..constant_keys) |number| _ = try ifr.insert(&digestOf(number), &valueOf(number, 0));
    var shared: Shared = .{ .ifr = &ifr };
    var threads: [3]std.Thread = undefined;
    for (&threads, 0..) |*thread, index| thread.* = try std.Thread.spawn(.{}, Shared.reader, .{ &shared, seed + index });
    var prng = std.Random.DefaultPrng.init(seed);
    const random = prng.random();
    for (0..12) |round| {
        // Grow with splits, change, shrink with merges.
        for (constant_keys..keys_max) |number| _ = try ifr.insert(&digestOf(number), &valueOf(number, @truncate(round)));
        for (0..20_000) |version| {
            const number = random.uintLessThan(u64, constant_keys);
            _ = try ifr.insert(&digestOf(number), &valueOf(number, @truncate(version)));
        }
        for (constant_keys..keys_max) |number| _ = ifr.remove(&digestOf(number)).?;
    }
    shared.stop.store(true, .monotonic);
    for (threads) |thread| thread.join();
    try testing.expect(!shared.failed.load(.monotonic));
    try testing.expect(shared.reads.load(.monotonic) > 0);
    try testing.expectEqual(constant_keys, ifr.len());
}

test "readers do not wait for a writer that broke off" {
    var ifr = try Ifr.init(testing.allocator, .{ .bytes_max = 1 << 20, .hash_key = @splat(0x5a) });
    defer ifr.deinit();
    _ = try ifr.insert(&digestOf(1), &valueOf(1, 0));
    const window = ifr.digests.newest.raw.windows[0];
    ifr.digests.head.sequence.begin();
    window.sequence.begin();
    ifr.abandon();
    try testing.expectEqual(null, ifr.read(&digestOf(1)));
    try testing.expect(ifr.mayContain(&digestOf(1)));
    window.sequence.end();
    ifr.digests.head.sequence.end();
    // What the writer left is not looked at again, even where it looks whole.
    try testing.expectEqual(null, ifr.read(&digestOf(1)));
    try testing.expectEqual(null, ifr.get(&digestOf(1)));
}
