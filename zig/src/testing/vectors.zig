//! The golden vectors of the local wire, which all languages read.

const std = @import("std");
const testing = std.testing;
const wire = @import("../wire.zig");

const lines = @embedFile("vectors");
const canary = @embedFile("canary");

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
