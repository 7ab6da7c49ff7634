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

/// Streams as many events as the request's body says, in little pieces of news; method 2 never ends.
const Streamer = struct {
    open: std.AutoHashMapUnmanaged(u64, Stream) = .empty,
    last: u64 = 0,
    closed: usize = 0,
    /// How many events may be given before `later` is said.
    news: usize = std.math.maxInt(usize),

    const Stream = struct { left: u8, is_endless: bool };

    fn deinit(streamer: *Streamer) void {
        streamer.open.deinit(gpa);
    }

    pub fn call(streamer: *Streamer, asked: *const connections.Call, _: *connections.Reply) connections.Answer {
        streamer.last += 1;
        streamer.open.put(gpa, streamer.last, .{ .left = asked.body[0], .is_endless = asked.method == 2 }) catch unreachable;
        return .{ .streamed = streamer.last };
    }

    pub fn next(streamer: *Streamer, number: u64, reply: *connections.Reply, has_credit: bool) connections.Next {
        const stream = streamer.open.getPtr(number).?;
        if (stream.left == 0 and !stream.is_endless) return .end;
        if (!has_credit or streamer.news == 0) return .later;
        streamer.news -= 1;
        (reply.body(.bytes, 1) catch unreachable)[0] = stream.left;
        stream.left -|= 1;
        return .event;
    }

    pub fn close(streamer: *Streamer, number: u64) void {
        std.debug.assert(streamer.open.remove(number));
        streamer.closed += 1;
    }

    pub fn isReady(_: *const Streamer) bool {
        return true;
    }
};

const Streaming = connections.Connection(Streamer);

const StreamSetup = struct {
    config: connections.Config = .{ .service = .ifr, .software = "test", .limits = .{ .in_flight_max = 8 } },
    stats: connections.Stats = .{},
    streamer: Streamer = .{},

    fn greeted(setup: *StreamSetup) !Streaming {
        var connection: Streaming = .{
            .gpa = gpa,
            .config = &setup.config,
            .stats = &setup.stats,
            .handler = &setup.streamer,
            .peer = .{ .pid = 1, .uid = 0, .gid = 0 },
        };
        var in: std.ArrayList(u8) = .empty;
        defer in.deinit(gpa);
        try put(&in, .{ .kind = .hello, .service = .ifr }, &.{});
        _ = connection.receive(in.items, 0);
        return connection;
    }
};

fn takeOf(connection: *Streaming) !?wire.Frame {
    const bytes = connection.output();
    const length = try wire.frameLength(bytes) orelse return null;
    connection.sent += length;
    return try wire.decode(bytes[0..length]);
}

fn ask(out: *std.ArrayList(u8), method: u16, id: u64, deadline_ns: u64, credit: u32, events: u8) !void {
    try put(out, .{
        .kind = .request,
        .service = .ifr,
        .content_type = .bytes,
        .method = method,
        .request_id = id,
        .deadline_ns = deadline_ns,
        .credit = credit,
    }, &.{events});
}

test "a stream gives what credit allows, and ends without credit" {
    var setup: StreamSetup = .{};
    defer setup.streamer.deinit();
    var connection = try setup.greeted();
    defer connection.deinit();
    var in: std.ArrayList(u8) = .empty;
    defer in.deinit(gpa);
    try ask(&in, 1, 1, 0, 2, 3);
    _ = connection.receive(in.items, 0);
    try testing.expect(!connection.pump());
    for ([_]u8{ 3, 2 }) |expected| try testing.expectEqual(expected, (try takeOf(&connection)).?.body[0]);
    try testing.expectEqual(null, try takeOf(&connection));
    in.clearRetainingCapacity();
    try put(&in, .{ .kind = .credit, .service = .ifr, .request_id = 1, .credit = 1 }, &.{});
    _ = connection.receive(in.items, 0);
    try testing.expect(!connection.pump());
    try testing.expectEqual(.event, (try takeOf(&connection)).?.header.kind);
    const end = (try takeOf(&connection)).?;
    try testing.expectEqual(.reply, end.header.kind);
    try testing.expect(connection.isIdle() and setup.streamer.closed == 1);
    // Credit for what is over is ignored; too much of it is not.
    in.clearRetainingCapacity();
    try put(&in, .{ .kind = .credit, .service = .ifr, .request_id = 1, .credit = 1 }, &.{});
    try ask(&in, 2, 2, 0, 0, 1);
    for (0..2) |_| try put(&in, .{ .kind = .credit, .service = .ifr, .request_id = 2, .credit = protocol.limits.credit_max }, &.{});
    setup.streamer.news = 0;
    _ = connection.receive(in.items, 0);
    try testing.expect(connection.ended);
    try testing.expectEqual(@intFromEnum(protocol.Status.bad_credit), (try takeOf(&connection)).?.header.status);
}

test "events go out in portions, in turn, and other answers between them" {
    var setup: StreamSetup = .{};
    defer setup.streamer.deinit();
    var connection = try setup.greeted();
    defer connection.deinit();
    var in: std.ArrayList(u8) = .empty;
    defer in.deinit(gpa);
    try ask(&in, 2, 1, 0, protocol.limits.credit_max, 9);
    try ask(&in, 2, 2, 0, protocol.limits.credit_max, 9);
    _ = connection.receive(in.items, 0);
    connection.written(connection.output().len);
    try testing.expect(connection.pump());
    try testing.expect(connection.output().len < 33 << 10);
    try testing.expect(connection.pump());
    in.clearRetainingCapacity();
    try put(&in, .{ .kind = .ping, .service = .ifr, .request_id = 7 }, &.{});
    _ = connection.receive(in.items, 0);
    var of: [3]usize = @splat(0);
    while (try takeOf(&connection)) |frame| {
        if (frame.header.kind == .event) of[frame.header.request_id] += 1 else try testing.expectEqual(.pong, frame.header.kind);
    }
    try testing.expect(of[1] > 100 and of[1] -| of[2] <= 1);
    // What was cut off is answered, and nothing more is said.
    connection.written(0);
    connection.cutOff();
    try testing.expectEqual(2, setup.streamer.closed);
    for (0..2) |_| try testing.expectEqual(@intFromEnum(protocol.Status.deadline), (try takeOf(&connection)).?.header.status);
    try testing.expectEqual(null, try takeOf(&connection));
}

test "every stream ends exactly once, and no event comes without credit" {
    for (0..50) |seed| {
        errdefer std.debug.print("seed {d}\n", .{seed});
        try anyStreams(seed);
    }
}

fn anyStreams(seed: u64) !void {
    var prng = std.Random.DefaultPrng.init(seed);
    const random = prng.random();
    var setup: StreamSetup = .{};
    defer setup.streamer.deinit();
    var connection = try setup.greeted();
    defer connection.deinit();
    var credit: [300]i64 = @splat(0);
    var ends: [300]u8 = @splat(0);
    var in: std.ArrayList(u8) = .empty;
    defer in.deinit(gpa);
    var now: u64 = 1;
    var asked: usize = 0;
    while (asked < ends.len) {
        in.clearRetainingCapacity();
        switch (random.uintLessThan(u8, 8)) {
            0...2 => {
                const deadline = if (random.boolean()) 0 else now -| 2 + random.uintLessThan(u64, 20);
                const given = random.uintLessThan(u32, 6);
                credit[asked] = given;
                try ask(&in, random.intRangeAtMost(u16, 1, 2), asked + 1, deadline, given, random.uintLessThan(u8, 12));
                asked += 1;
            },
            3 => if (asked > 0) {
                const id = random.uintLessThan(u64, asked) + 1;
                credit[id - 1] += 3;
                try put(&in, .{ .kind = .credit, .service = .ifr, .request_id = id, .credit = 3 }, &.{});
            },
            4 => try put(&in, .{ .kind = .cancel, .service = .ifr, .request_id = random.uintLessThan(u64, asked + 1) + 1 }, &.{}),
            5 => {
                setup.streamer.news = random.uintLessThan(usize, 5);
                connection.@"resume"();
            },
            6 => {
                now += random.uintLessThan(u64, 10);
                connection.expire(now);
            },
            else => if (asked > 280 and !connection.stopping) connection.stop(),
        }
        try testing.expectEqual(in.items.len, connection.receive(in.items, now));
        try testing.expect(!connection.pump());
        try countItems(&connection, &credit, &ends);
    }
    connection.cutOff();
    try countItems(&connection, &credit, &ends);
    for (ends) |count| try testing.expectEqual(1, count);
    try testing.expectEqual(0, setup.streamer.open.count());
}

fn countItems(connection: *Streaming, credit: []i64, ends: []u8) !void {
    while (try takeOf(connection)) |frame| {
        const header = frame.header;
        if (header.request_id == 0) continue;
        switch (header.kind) {
            .event => {
                credit[header.request_id - 1] -= 1;
                try testing.expect(credit[header.request_id - 1] >= 0);
                try testing.expectEqual(0, ends[header.request_id - 1]);
            },
            .reply, .@"error" => ends[header.request_id - 1] += 1,
            else => {},
        }
    }
    connection.written(0);
}
