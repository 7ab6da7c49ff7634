//! The golden vectors of the local wire, which all languages read.

const std = @import("std");
const testing = std.testing;
const wire = @import("../wire.zig");

const lines = @embedFile("vectors");
const canary = @embedFile("canary");
const summaries = @embedFile("summaries");

fn unhex(text: []const u8) ![]u8 {
    const bytes = try testing.allocator.alloc(u8, text.len / 2);
    errdefer testing.allocator.free(bytes);
    return std.fmt.hexToBytes(bytes, text);
}

/// Kind, service, content type, method, flags, status, id, deadline, credit, bytes of the body.
fn fields(frame: wire.Frame) [10]i128 {
    const header = frame.header;
    return .{
        @intFromEnum(header.kind), @intFromEnum(header.service), @intFromEnum(header.content_type), header.method,
        header.flags,              header.status,                header.request_id,                 header.deadline_ns,
        header.credit,             @intCast(frame.body.len),
    };
}

test "all vectors agree" {
    var good: usize = 0;
    var bad: usize = 0;
    var rest = std.mem.tokenizeScalar(u8, lines, '\n');
    while (rest.next()) |line| {
        if (line[0] == '#') continue;
        var words = std.mem.tokenizeScalar(u8, line, ' ');
        const name = words.next().?;
        errdefer std.debug.print("vector {s}\n", .{name});
        const status = try std.fmt.parseInt(i32, words.next().?, 10);
        const text = words.next().?;
        const bytes = try unhex(if (std.mem.eql(u8, text, "-")) "" else text);
        defer testing.allocator.free(bytes);
        const frame = wire.decode(bytes) catch |err| {
            try testing.expectEqual(status, @intFromEnum(wire.statusOf(err)));
            bad += 1;
            continue;
        };
        try testing.expectEqual(0, status);
        for (fields(frame)) |found| try testing.expectEqual(try std.fmt.parseInt(i128, words.next().?, 10), found);
        var again: std.ArrayList(u8) = .empty;
        defer again.deinit(testing.allocator);
        try wire.encode(testing.allocator, &again, frame.header, frame.tlvs.area, frame.body);
        try testing.expectEqualSlices(u8, bytes, again.items);
        good += 1;
    }
    try testing.expect(good >= 50 and bad >= 100 and good + bad >= 200);
}

test "summaries are those of the vectors, byte for byte, and what is none is refused" {
    const summary = @import("../summary.zig");
    const Vector = struct {
        name: []const u8,
        expect: []const u8,
        seed: u64,
        keys: []const []const u8,
        absent: []const []const u8,
        false_positive: []const []const u8,
        hex: []const u8,
    };
    const parsed = try std.json.parseFromSlice([]const Vector, testing.allocator, summaries, .{ .ignore_unknown_fields = true });
    defer parsed.deinit();
    try testing.expect(parsed.value.len >= 17);
    for (parsed.value) |vector| {
        errdefer std.debug.print("vector {s}\n", .{vector.name});
        const bytes = try unhex(vector.hex);
        defer testing.allocator.free(bytes);
        const view = summary.Summary.view(bytes);
        if (!std.mem.eql(u8, vector.expect, "ok")) {
            try testing.expectEqual(null, view);
            continue;
        }
        var keys: [16][32]u8 = undefined;
        for (vector.keys, keys[0..vector.keys.len]) |text, *key| _ = try std.fmt.hexToBytes(key, text);
        var out: [256]u8 = undefined;
        const used = try summary.build(testing.allocator, keys[0..vector.keys.len], vector.seed, &out);
        try testing.expectEqualSlices(u8, bytes, out[0..used]);
        for (keys[0..vector.keys.len]) |*key| try testing.expect(view.?.mayContain(key));
        for ([_][]const []const u8{ vector.absent, vector.false_positive }, 0..) |list, maybe| for (list) |text| {
            var key: [32]u8 = undefined;
            _ = try std.fmt.hexToBytes(&key, text);
            try testing.expectEqual(maybe == 1, view.?.mayContain(&key));
        };
    }
}

test "the canary does not agree" {
    const parsed = try std.json.parseFromSlice([]const struct { hex: []const u8, request_id: u64 }, testing.allocator, canary, .{
        .ignore_unknown_fields = true,
    });
    defer parsed.deinit();
    const bytes = try unhex(parsed.value[0].hex);
    defer testing.allocator.free(bytes);
    const frame = try wire.decode(bytes);
    try testing.expect(frame.header.request_id != parsed.value[0].request_id);
}

test "noise is an error, never a crash" {
    var random = std.Random.DefaultPrng.init(7);
    var bytes: [200]u8 = undefined;
    for (0..50_000) |_| {
        const length = random.random().uintLessThan(usize, bytes.len);
        random.random().bytes(bytes[0..length]);
        if (length >= 60) {
            // Plausible starts reach deeper rules than noise does.
            std.mem.writeInt(u32, bytes[0..4], @intCast(length - 4), .little);
            bytes[4..8].* = .{ 1, bytes[5] % 12, bytes[6] % 11, bytes[7] % 6 };
            bytes[11] = 0;
            bytes[10] &= 3;
            @memset(bytes[12..16], 0);
        }
        _ = wire.decode(bytes[0..length]) catch continue;
    }
}
