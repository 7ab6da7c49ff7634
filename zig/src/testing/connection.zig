//! The serving side of a connection without a socket: order of frames, limits, and that every request ends exactly once.

const std = @import("std");
const testing = std.testing;
const connections = @import("../ipc/connection.zig");
const protocol = @import("../gen/protocol.zig");
const wire = @import("../wire.zig");

const gpa = testing.allocator;

/// Answers with the request's body: at once (method 1), when released (2), with a failure (3).
const Echo = struct {
    tickets: u64 = 0,
    is_ready: bool = true,

    pub fn call(echo: *Echo, call_: *const connections.Call, reply: *connections.Reply) connections.Answer {
        if (call_.method == 3) return .{ .failed = .{ .status = .not_found, .text = "as asked" } };
        const room = reply.body(.bytes, call_.body.len) catch return .{ .failed = .{ .status = .out_of_memory, .text = "" } };
        @memcpy(room, call_.body);
        if (call_.method == 1) return .now;
        echo.tickets += 1;
        return .{ .held = .{ .gate = .durable, .number = echo.tickets } };
    }

    pub fn isReady(echo: *const Echo) bool {
        return echo.is_ready;
    }
};

const Connection = connections.Connection(Echo);

const Setup = struct {
    config: connections.Config,
    stats: connections.Stats = .{},
    echo: Echo = .{},

    fn connection(setup: *Setup) Connection {
        return .{
            .gpa = gpa,
            .config = &setup.config,
            .stats = &setup.stats,
            .handler = &setup.echo,
            .peer = .{ .pid = 1, .uid = 0, .gid = 0 },
        };
    }
};

fn put(out: *std.ArrayList(u8), header: wire.Header, body: []const u8) !void {
    try wire.encode(gpa, out, header, &.{}, body);
}

fn request(out: *std.ArrayList(u8), method: u16, id: u64, deadline_ns: u64, body: []const u8) !void {
    try put(out, .{
        .kind = .request,
        .service = .ifr,
        .content_type = if (body.len == 0) .none else .bytes,
        .method = method,
        .request_id = id,
        .deadline_ns = deadline_ns,
    }, body);
}

/// Takes the next frame off what the connection sends.
fn take(connection: *Connection) !?wire.Frame {
    const bytes = connection.output();
    const length = try wire.frameLength(bytes) orelse return null;
    // What is sent is kept until more is written.
    connection.sent += length;
    return try wire.decode(bytes[0..length]);
}

fn greeted(setup: *Setup) !Connection {
    var connection = setup.connection();
    connection.start();
    try testing.expectEqual(.hello, (try take(&connection)).?.header.kind);
    var in: std.ArrayList(u8) = .empty;
    defer in.deinit(gpa);
    try put(&in, .{ .kind = .hello, .service = .ifr }, &.{});
    try testing.expectEqual(in.items.len, connection.receive(in.items, 0));
    return connection;
}

test "the same answers come, however the bytes are cut" {
    var in: std.ArrayList(u8) = .empty;
    defer in.deinit(gpa);
    try put(&in, .{ .kind = .hello, .service = .ifr }, &.{});
    try request(&in, 1, 1, 0, "one");
    try put(&in, .{ .kind = .ping, .service = .ifr, .request_id = 9 }, &.{});
    try request(&in, 3, 2, 0, "two");
    try request(&in, 1, 3, 0, &.{});
    var expected: std.ArrayList(u8) = .empty;
    defer expected.deinit(gpa);
    for (0..in.items.len + 1) |cut| {
        var setup: Setup = .{ .config = .{ .service = .ifr, .software = "test" } };
        var connection = setup.connection();
        defer connection.deinit();
        const used = connection.receive(in.items[0..cut], 0);
        try testing.expect(used <= cut);
        _ = connection.receive(in.items[used..], 0);
        try testing.expect(!connection.ended);
        if (cut == 0) try expected.appendSlice(gpa, connection.output());
        try testing.expectEqualSlices(u8, expected.items, connection.output());
    }
}

test "rules of the session" {
    const cases = [_]struct { wire.Header, protocol.Status }{
        .{ .{ .kind = .hello, .service = .ifr }, .unexpected_frame },
        .{ .{ .kind = .hello, .service = .alm }, .unexpected_frame },
        .{ .{ .kind = .reply, .service = .ifr, .request_id = 1 }, .unexpected_frame },
        .{ .{ .kind = .event, .service = .ifr, .request_id = 1 }, .unexpected_frame },
    };
    for (cases) |case| {
        var setup: Setup = .{ .config = .{ .service = .ifr, .software = "test" } };
        var connection = try greeted(&setup);
        defer connection.deinit();
        var in: std.ArrayList(u8) = .empty;
        defer in.deinit(gpa);
        try put(&in, case[0], &.{});
        _ = connection.receive(in.items, 0);
        try testing.expect(connection.ended);
        const last = (try take(&connection)).?;
        try testing.expectEqual(@intFromEnum(case[1]), last.header.status);
        try testing.expectEqual(0, last.header.request_id);
    }
    var setup: Setup = .{ .config = .{ .service = .ifr, .software = "test" } };
    var early = setup.connection();
    defer early.deinit();
    var in: std.ArrayList(u8) = .empty;
    defer in.deinit(gpa);
    try request(&in, 1, 1, 0, &.{});
    _ = early.receive(in.items, 0);
    try testing.expect(early.ended);
}

test "who does not read, or asks what cannot be taken now, is held up" {
    var setup: Setup = .{ .config = .{ .service = .ifr, .software = "test", .limits = .{ .outbox_bytes = 1000 } } };
    var connection = try greeted(&setup);
    defer connection.deinit();
    var in: std.ArrayList(u8) = .empty;
    defer in.deinit(gpa);
    for (1..101) |id| try request(&in, if (id % 2 == 0) 1 else 2, id, 0, "some bytes");
    const used = connection.receive(in.items, 0);
    try testing.expect(used < in.items.len / 4);
    try testing.expect(connection.output().len + connection.held_bytes < 1100);
    try testing.expectEqual(0, connection.receive(in.items[used..], 0));
    connection.written(connection.output().len);
    connection.release(.durable, setup.echo.tickets, null);
    connection.written(connection.output().len);
    setup.echo.is_ready = false;
    try testing.expectEqual(0, connection.receive(in.items[used..], 0));
    setup.echo.is_ready = true;
    try testing.expect(connection.receive(in.items[used..], 0) > 0);
}

test "every request ends exactly once" {
    for (0..50) |seed| {
        errdefer std.debug.print("seed {d}\n", .{seed});
        try anySession(seed);
    }
}

/// Requests of all kinds, cancels, releases, passing time and a stop, in any order.
fn anySession(seed: u64) !void {
    var prng = std.Random.DefaultPrng.init(seed);
    const random = prng.random();
    var setup: Setup = .{ .config = .{ .service = .ifr, .software = "test", .limits = .{ .in_flight_max = 8 } } };
    var connection = try greeted(&setup);
    defer connection.deinit();
    var answers: [400]u8 = @splat(0);
    var now: u64 = 1;
    var next: usize = 0;
    var in: std.ArrayList(u8) = .empty;
    defer in.deinit(gpa);
    while (next < answers.len) {
        in.clearRetainingCapacity();
        switch (random.uintLessThan(u8, 8)) {
            0...3 => {
                const deadline = if (random.boolean()) 0 else now -| 2 + random.uintLessThan(u64, 20);
                try request(&in, random.intRangeAtMost(u16, 1, 3), next + 1, deadline, "body");
                next += 1;
            },
            4 => try put(&in, .{ .kind = .cancel, .service = .ifr, .request_id = random.uintLessThan(u64, next + 1) + 1 }, &.{}),
            5 => {
                const failure: ?connections.Failure = if (random.boolean()) null else .{ .status = .io, .text = "" };
                connection.release(.durable, random.uintAtMost(u64, setup.echo.tickets), failure);
            },
            6 => {
                now += random.uintLessThan(u64, 10);
                connection.expire(now);
            },
            else => if (next > 350 and !connection.stopping) connection.stop(),
        }
        try testing.expectEqual(in.items.len, connection.receive(in.items, now));
        try testing.expect(!connection.ended);
        try testing.expect(connection.held.items.len <= 8);
        try countAnswers(&connection, &answers);
    }
    connection.release(.durable, setup.echo.tickets, null);
    try countAnswers(&connection, &answers);
    try testing.expect(connection.isIdle());
    try testing.expectEqual(0, connection.held_bytes);
    for (answers) |count| try testing.expectEqual(1, count);
}

fn countAnswers(connection: *Connection, answers: []u8) !void {
    while (try take(connection)) |frame| {
        if (frame.header.kind != .goaway) answers[frame.header.request_id - 1] += 1;
    }
    connection.written(0);
}

test "an id in flight may not come again" {
    var setup: Setup = .{ .config = .{ .service = .ifr, .software = "test" } };
    var connection = try greeted(&setup);
    defer connection.deinit();
    var in: std.ArrayList(u8) = .empty;
    defer in.deinit(gpa);
    try request(&in, 2, 5, 0, "a");
    try request(&in, 2, 5, 0, "b");
    _ = connection.receive(in.items, 0);
    try testing.expect(connection.ended);
    try testing.expectEqual(@intFromEnum(protocol.Status.bad_request_id), (try take(&connection)).?.header.status);
}
