//! The golden vectors of the fixed bodies of ifr, which all languages read: requests are decoded, answers written.

const std = @import("std");
const testing = std.testing;
const bodies = @import("../body.zig");

const lines = @embedFile("ifr_vectors");

const Words = std.ArrayList(u8);

fn hex(out: *Words, bytes: []const u8) !void {
    if (bytes.len == 0) return out.append(testing.allocator, '~');
    for (bytes) |byte| try out.print(testing.allocator, "{x:0>2}", .{byte});
}

fn unhex(text: []const u8) ![]u8 {
    const digits = std.mem.trim(u8, text, "~");
    const bytes = try testing.allocator.alloc(u8, digits.len / 2);
    errdefer testing.allocator.free(bytes);
    return std.fmt.hexToBytes(bytes, digits);
}

fn writeKey(out: *Words, key: bodies.Key) !void {
    try hex(out, switch (key) {
        .digest => |digest| digest,
        .bytes => |bytes| bytes,
    });
}

fn number(kind: bodies.KeyKind) u8 {
    return if (kind == .digest) 1 else 2;
}

/// A request in words.
fn request(out: *Words, body: []const u8, bytes: []const u8) !void {
    const gpa = testing.allocator;
    if (is(body, "key") or is(body, "put")) {
        const one = if (is(body, "key")) try bodies.decodeKey(bytes) else try bodies.decodePut(bytes);
        try out.print(gpa, "{d} {d} ", .{ one.pool_id, number(one.key) });
        try writeKey(out, one.key);
        if (one.value) |value| {
            try out.append(gpa, ' ');
            try hex(out, value);
        }
        return;
    }
    const batch = try bodies.Batch.decode(bytes, .{ .with_values = is(body, "entries") });
    try out.print(gpa, "{d} {d} {d} ", .{ batch.pool_id, number(batch.kind), batch.count });
    var items = batch.iterate();
    var is_first = true;
    while (items.next()) |item| {
        if (!is_first) try out.append(gpa, ',');
        is_first = false;
        try writeKey(out, item.key);
        if (item.value) |value| {
            try out.append(gpa, '=');
            try hex(out, value);
        }
    }
}

/// An answer of these words.
fn answer(body: []const u8, fields: []const u8) ![]u8 {
    const gpa = testing.allocator;
    var words = std.mem.tokenizeAny(u8, fields, " ,");
    if (is(body, "stats")) {
        const made = try gpa.alloc(u8, bodies.Stats.body_bytes);
        errdefer gpa.free(made);
        var stats: bodies.Stats = undefined;
        inline for (std.meta.fields(bodies.Stats)) |field| {
            @field(stats, field.name) = try std.fmt.parseInt(u64, words.next().?, 10);
        }
        stats.write(made[0..bodies.Stats.body_bytes]);
        return made;
    }
    const first = try std.fmt.parseInt(u32, words.next().?, 10);
    const second = try std.fmt.parseInt(u32, words.next().?, 10);
    if (is(body, "done")) {
        const made = try gpa.alloc(u8, bodies.Done.bytes);
        errdefer gpa.free(made);
        const done: bodies.Done = .{ .done = first, .replaced = second, .status = try std.fmt.parseInt(i32, words.next().?, 10) };
        done.write(made[0..bodies.Done.bytes]);
        return made;
    }
    const with_values = is(body, "values");
    const made = try gpa.alloc(u8, bodies.Found.bytes(first, .{ .with_values = with_values }));
    errdefer gpa.free(made);
    var found: bodies.Found = .init(made, first);
    if (with_values) @memset(std.mem.sliceAsBytes(found.values()), 0);
    while (words.next()) |word| {
        if (is(word, "~")) continue;
        var parts = std.mem.splitScalar(u8, word, '=');
        const index = try std.fmt.parseInt(usize, parts.next().?, 10);
        found.set(index);
        if (parts.next()) |value| _ = try std.fmt.hexToBytes(&found.values()[index], value);
    }
    try testing.expectEqual(second, found.found);
    found.finish();
    return made;
}

fn is(a: []const u8, b: []const u8) bool {
    return std.mem.eql(u8, a, b);
}

fn statusOf(err: anyerror) i32 {
    return switch (err) {
        error.BadBody => -113,
        error.BatchSize, error.KeyTooLong => -5,
        else => 0,
    };
}

test "all bodies agree" {
    var seen: usize = 0;
    var rest = std.mem.tokenizeScalar(u8, lines, '\n');
    while (rest.next()) |line| {
        if (line[0] == '#') continue;
        seen += 1;
        var words = std.mem.splitScalar(u8, line, ' ');
        const body = words.next().?;
        const name = words.next().?;
        errdefer std.debug.print("body {s} {s}\n", .{ body, name });
        const status = try std.fmt.parseInt(i32, words.next().?, 10);
        const bytes = try unhex(words.next().?);
        defer testing.allocator.free(bytes);
        const is_request = for ([_][]const u8{ "key", "put", "keys", "entries" }) |one| {
            if (is(one, body)) break true;
        } else false;
        if (is_request) {
            var found: Words = .empty;
            defer found.deinit(testing.allocator);
            request(&found, body, bytes) catch |err| {
                try testing.expectEqual(status, statusOf(err));
                continue;
            };
            try testing.expectEqual(0, status);
            try testing.expectEqualStrings(words.rest(), found.items);
        } else {
            const made = try answer(body, words.rest());
            defer testing.allocator.free(made);
            try testing.expectEqualSlices(u8, bytes, made);
        }
    }
    try testing.expect(seen >= 45);
}
