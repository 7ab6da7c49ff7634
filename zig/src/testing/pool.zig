//! The pool of the Zig client, against a socket whose connections do in turn what a test says.

const std = @import("std");
const testing = std.testing;
const linux = std.os.linux;
const breakers = @import("../ipc/breaker.zig");
const calling = @import("../ipc/client.zig");
const pools = @import("../ipc/pool.zig");
const protocol = @import("../gen/protocol.zig");
const sys = @import("../ipc/sys.zig");
const wire = @import("../wire.zig");

const gpa = testing.allocator;

const Does = enum {
    answers,
    /// Fails each request as unreachable.
    fails,
    /// Ends with the word that nothing that is open was taken.
    leaves,
    /// Says so of the one request.
    leaves_one,
    hangs_up,
    silent,
};

const Server = struct {
    listener: sys.Fd,
    path: [64]u8 = undefined,
    path_bytes: usize = 0,
    /// Of each connection; the last is that of all later ones too.
    does: []const Does,
    accepting: std.Thread = undefined,
    threads: [8]std.Thread = undefined,
    connected: std.atomic.Value(u32) = .init(0),
    requests: std.atomic.Value(u32) = .init(0),

    var number: std.atomic.Value(u32) = .init(0);

    fn start(server: *Server, does: []const Does) !void {
        server.* = .{ .listener = try sys.unixSocket(.{ .blocking = true }), .does = does };
        const made = number.fetchAdd(1, .monotonic);
        server.path_bytes = (try std.fmt.bufPrint(&server.path, ".zig-cache/pool-{d}-{d}", .{ linux.getpid(), made })).len;
        try sys.bindAndListen(server.listener, server.where(), 16);
        server.accepting = try std.Thread.spawn(.{}, accept, .{server});
    }

    fn where(server: *const Server) []const u8 {
        return server.path[0..server.path_bytes];
    }

    fn stop(server: *Server) void {
        _ = linux.shutdown(server.listener, linux.SHUT.RDWR);
        server.accepting.join();
        for (server.threads[0..server.connected.load(.acquire)]) |thread| thread.join();
        sys.close(server.listener);
        var path: [65:0]u8 = @splat(0);
        @memcpy(path[0..server.path_bytes], server.where());
        sys.unlink(&path) catch {};
    }

    fn accept(server: *Server) void {
        while (sys.accept(server.listener)) |fd| {
            const at = server.connected.load(.monotonic);
            const does = server.does[@min(at, server.does.len - 1)];
            server.threads[at] = std.Thread.spawn(.{}, serve, .{ server, fd, does }) catch @panic("no thread");
            server.connected.store(at + 1, .release);
        } else |_| {}
    }

    fn serve(server: *Server, fd: sys.Fd, does: Does) void {
        defer sys.close(fd);
        server.talk(fd, does) catch |err| std.debug.print("the server of the test: {s}\n", .{@errorName(err)});
    }

    fn talk(server: *Server, fd: sys.Fd, does: Does) !void {
        var in: std.ArrayList(u8) = .empty;
        defer in.deinit(gpa);
        try say(fd, .{ .kind = .hello, .service = .alm });
        while (true) {
            const length = try wire.frameLength(in.items) orelse 0;
            if (length == 0 or length > in.items.len) {
                try in.ensureUnusedCapacity(gpa, 4096);
                _ = try sys.poll(fd, .{ .read = true }, null);
                const count = sys.receive(fd, in.unusedCapacitySlice(), .{ .wait = false }) catch |err| switch (err) {
                    error.WouldBlock => continue,
                    error.Gone => return,
                    else => return err,
                };
                if (count == 0) return;
                in.items.len += count;
                continue;
            }
            const header = (try wire.decode(in.items[0..length])).header;
            in.replaceRangeAssumeCapacity(0, length, &.{});
            if (header.kind != .request) continue;
            _ = server.requests.fetchAdd(1, .monotonic);
            const id = header.request_id;
            const closed = @intFromEnum(protocol.Status.closed);
            switch (does) {
                .answers => try say(fd, .{ .kind = .reply, .service = .alm, .request_id = id }),
                .fails => try say(fd, .{
                    .kind = .@"error",
                    .service = .alm,
                    .request_id = id,
                    .status = @intFromEnum(protocol.Status.@"unreachable"),
                }),
                .leaves => return say(fd, .{ .kind = .@"error", .service = .alm, .status = closed }),
                .leaves_one => {
                    try say(fd, .{ .kind = .goaway, .service = .alm });
                    return say(fd, .{ .kind = .@"error", .service = .alm, .request_id = id, .status = closed });
                },
                .hangs_up => return,
                .silent => {},
            }
        }
    }

    fn say(fd: sys.Fd, header: wire.Header) !void {
        var out: std.ArrayList(u8) = .empty;
        defer out.deinit(gpa);
        try wire.encode(gpa, &out, header, &.{}, &.{});
        try sys.writeAll(fd, out.items);
    }
};

fn ask(pool: *pools.Pool, method: u16) anyerror!protocol.Status {
    return (try pool.call(.{ .method = method, .deadline_ns = calling.deadlineIn(20 * std.time.ns_per_s) })).status;
}

fn expectClosed(pool: *const pools.Pool, method: u16) !void {
    try testing.expectEqual(breakers.State.closed, pool.state(method).?);
}

test "a pool asks again what was not taken, and nothing else" {
    for ([_]Does{ .leaves, .leaves_one }) |leaves| {
        var server: Server = undefined;
        try server.start(&.{ leaves, leaves, .answers });
        defer server.stop();
        var pool = try pools.Pool.init(gpa, server.where(), .{ .service = .alm });
        defer pool.deinit();
        try testing.expectEqual(.ok, try ask(&pool, 1));
        try testing.expectEqual(3, server.requests.load(.monotonic));
    }
    var server: Server = undefined;
    try server.start(&.{.leaves});
    defer server.stop();
    var pool = try pools.Pool.init(gpa, server.where(), .{ .service = .alm });
    defer pool.deinit();
    try testing.expectError(error.NotTaken, ask(&pool, 1));
    try testing.expectEqual(3, server.requests.load(.monotonic));
    try expectClosed(&pool, 1);

    var rude: Server = undefined;
    try rude.start(&.{.hangs_up});
    defer rude.stop();
    var other = try pools.Pool.init(gpa, rude.where(), .{ .service = .alm });
    defer other.deinit();
    try testing.expectError(error.Closed, ask(&other, 1));
    try testing.expectEqual(1, rude.requests.load(.monotonic));
}

test "a pool's breaker opens after enough, and nothing is sent then" {
    var server: Server = undefined;
    try server.start(&.{.fails});
    defer server.stop();
    const long = 3_600 * std.time.ns_per_s;
    var pool = try pools.Pool.init(gpa, server.where(), .{
        .service = .alm,
        .breaker = .{ .pause_first_ns = long, .pause_max_ns = long },
    });
    defer pool.deinit();
    for (0..20) |_| try testing.expectEqual(.@"unreachable", try ask(&pool, 1));
    for (0..5) |_| try testing.expectError(error.CircuitOpen, ask(&pool, 1));
    try testing.expectEqual(20, server.requests.load(.monotonic));
    try testing.expect(pool.state(1).? == .open and pool.retry_in_ns > 0);
    // Another method has one of its own.
    try testing.expectEqual(.@"unreachable", try ask(&pool, 2));
}

test "a pool's calls get the least loaded of few connections, and old ones are replaced" {
    var server: Server = undefined;
    try server.start(&.{.silent});
    defer server.stop();
    var pool = try pools.Pool.init(gpa, server.where(), .{ .service = .alm, .share = 2 });
    defer pool.deinit();
    var calls: [8]pools.Call = undefined;
    for (&calls) |*call| call.* = try pool.start(.{ .method = 1 });
    try testing.expectEqual(2, pool.connections.items.len);
    for (pool.connections.items) |connection| try testing.expectEqual(4, connection.calls);
    for (pool.connections.items) |connection| connection.opened_ns = 0;
    pool.options.age_max_ns = 1;
    // They go on until their calls have ended.
    var fresh = try pool.start(.{ .method = 1 });
    try testing.expectEqual(3, pool.connections.items.len);
    pool.options.age_max_ns = std.math.maxInt(u64);
    for (&calls) |*call| try pool.cancel(call);
    var again = try pool.start(.{ .method = 1 });
    try testing.expectEqual(1, pool.connections.items.len);
    try testing.expectError(error.NoSuchCall, pool.cancel(&calls[0]));
    try pool.cancel(&fresh);
    try pool.cancel(&again);
    try expectClosed(&pool, 1);
}

test "a socket that nobody serves is said at once, and does not count against the method" {
    var pool = try pools.Pool.init(gpa, ".zig-cache/nothing", .{ .service = .alm });
    defer pool.deinit();
    try testing.expectError(error.Unreachable, ask(&pool, 1));
    for (0..3) |_| {
        const err = if (ask(&pool, 1)) |_| error.Answered else |err| err;
        try testing.expect(err == error.CircuitOpen or err == error.Unreachable);
    }
    try expectClosed(&pool, 1);
}

test "a pool's connection may end under several calls, each of which says so" {
    var server: Server = undefined;
    try server.start(&.{ .hangs_up, .answers });
    defer server.stop();
    var pool = try pools.Pool.init(gpa, server.where(), .{ .service = .alm, .connections_max = 1 });
    defer pool.deinit();
    var first = try pool.start(.{ .method = 1 });
    var second = try pool.start(.{ .method = 1 });
    try testing.expectError(error.Closed, pool.wait(&second));
    try testing.expectError(error.Closed, pool.wait(&first));
    try testing.expectError(error.NoSuchCall, pool.wait(&first));
    try testing.expectEqual(.ok, try ask(&pool, 1));
}
