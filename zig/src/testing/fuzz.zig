//! Targets for `zig build test -Dfuzz --fuzz`, each also a run with fixed seeds: frames of the wire, and the table beside a
//! model.

const std = @import("std");
const root = @import("../root.zig");
const wire = @import("../wire.zig");

const testing = std.testing;
const Smith = testing.Smith;

/// Where choices come from: the fuzzer, or a seed.
const Source = union(enum) {
    smith: *Smith,
    random: std.Random,

    inline fn below(source: Source, limit: u16) u16 {
        return switch (source) {
            .smith => |smith| smith.valueRangeLessThan(u16, 0, limit),
            .random => |random| random.uintLessThan(u16, limit),
        };
    }

    inline fn slice(source: Source, room: []u8) usize {
        switch (source) {
            .smith => |smith| return smith.slice(room),
            .random => |random| {
                random.bytes(room);
                return random.uintAtMost(usize, room.len);
            },
        }
    }
};

/// How far a run got: one that gets nowhere shows.
const Reached = struct { good: usize = 0, bad: usize = 0, operations: usize = 0, segments_max: u64 = 0 };

/// What decodes is the same bytes when it is encoded again; what does not is an error.
fn frame(reached: *Reached, source: Source) anyerror!void {
    var bytes: [300]u8 = undefined;
    const length = source.slice(&bytes);
    if (length >= wire.head_bytes and source.below(8) > 0) {
        // Plausible starts reach deeper rules than noise does.
        std.mem.writeInt(u32, bytes[0..4], @intCast(length - 4), .little);
        bytes[4..8].* = .{ 1, bytes[5] % 12, bytes[6] % 11, bytes[7] % 6 };
        bytes[10..12].* = .{ bytes[10] & 3, 0 };
        @memset(bytes[12..16], 0);
        @memset(bytes[56..60], 0);
        if (length >= wire.head_bytes + 4) std.mem.writeInt(u32, bytes[60..64], source.below(64), .little);
    }
    const found = wire.decode(bytes[0..length]) catch {
        reached.bad += 1;
        return;
    };
    reached.good += 1;
    var again: std.ArrayList(u8) = .empty;
    defer again.deinit(testing.allocator);
    try wire.encode(testing.allocator, &again, found.header, found.tlvs.area, found.body);
    try testing.expectEqualSlices(u8, bytes[0..length], again.items);
}

/// So few keys that they meet; many operations, so that segments split and merge.
fn table(reached: *Reached, source: Source) anyerror!void {
    var ifr = try root.Ifr.init(testing.allocator, .{ .bytes_max = 1 << 22, .hash_key = @splat(7) });
    defer ifr.deinit();
    var model: std.AutoHashMapUnmanaged(u16, root.Value) = .empty;
    defer model.deinit(testing.allocator);
    // Mostly growing, or mostly shrinking, for a while each.
    var insert_share: u16 = 3;
    for (0..source.below(60_000)) |_| {
        reached.operations += 1;
        if (source.below(2_000) == 0) insert_share = source.below(5);
        const number = source.below(20_000);
        var digest: root.Digest = @splat(0);
        std.mem.writeInt(u64, digest[0..8], @as(u64, number) *% 0x9e37_79b9_7f4a_7c15, .little);
        const choice = source.below(5);
        if (choice < insert_share) {
            const value: root.Value = @splat(@truncate(source.below(256)));
            const before = try model.fetchPut(testing.allocator, number, value);
            try testing.expectEqual(if (before) |pair| pair.value else null, try ifr.insert(&digest, &value));
        } else if (choice < 4) {
            const before = model.fetchRemove(number);
            try testing.expectEqual(if (before) |pair| pair.value else null, ifr.remove(&digest));
        } else {
            try testing.expectEqual(model.get(number), ifr.read(&digest));
            if (model.contains(number)) try testing.expect(ifr.mayContain(&digest));
        }
    }
    try testing.expectEqual(model.count(), ifr.len());
    reached.segments_max = @max(reached.segments_max, ifr.stats().segments);
}

fn Target(comptime run: fn (*Reached, Source) anyerror!void) type {
    return struct {
        fn fuzzed(reached: *Reached, smith: *Smith) anyerror!void {
            return run(reached, .{ .smith = smith });
        }

        /// The same with fixed seeds, then whatever the fuzzer chooses.
        fn all(rounds: usize) !Reached {
            var reached: Reached = .{};
            for (0..rounds) |seed| {
                errdefer std.debug.print("seed {d}\n", .{seed});
                var prng = std.Random.DefaultPrng.init(seed);
                try run(&reached, .{ .random = prng.random() });
            }
            const with_seeds = reached;
            try testing.fuzz(&reached, fuzzed, .{});
            return with_seeds;
        }
    };
}

test "fuzz frames" {
    const reached = try Target(frame).all(20_000);
    try testing.expect(reached.good >= 500 and reached.bad >= 5_000);
}

test "fuzz the table" {
    const reached = try Target(table).all(30);
    try testing.expect(reached.operations >= 400_000 and reached.segments_max >= 3);
}
