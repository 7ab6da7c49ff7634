//! The server of the conformance tests in Zig: conformance-zig-server SOCKET. Its methods are in
//! integration/conformance/README.md.

const std = @import("std");
const linux = std.os.linux;
const local = @import("local");
const connections = local.connections;
const sys = local.sys;

const gpa = std.heap.smp_allocator;

pub fn main(init: std.process.Init.Minimal) !u8 {
    var arguments = std.process.Args.Iterator.init(init.args);
    _ = arguments.skip();
    const path = arguments.next() orelse {
        std.debug.print("usage: conformance-zig-server SOCKET\n", .{});
        return 2;
    };
    const signals = try sys.signals(&.{ .TERM, .INT });
    defer sys.close(signals);
    var bound = try local.sockets.bind(path, 128);
    defer bound.close();
    var methods: Methods = .{ .timer = try timer() };
    const config: local.serving.Config = .{ .service = .state, .software = "conformance-zig" };
    var server: local.serving.Server(Methods) = try .init(gpa, config, &bound, signals, &methods, .{});
    defer server.deinit();
    try server.watch(methods.timer);
    try server.run();
    return 0;
}

/// A descriptor that is readable at a time.
fn timer() !sys.Fd {
    const result = linux.timerfd_create(.MONOTONIC, .{ .CLOEXEC = true, .NONBLOCK = true });
    return if (linux.errno(result) == .SUCCESS) @intCast(result) else error.NoTimer;
}

/// What is under way.
const Work = union(enum) {
    /// Ends at that time.
    wait: u64,
    stream: struct { count: u32, next: u32 = 0, length: usize },
};

const Methods = struct {
    timer: sys.Fd,
    works: std.AutoHashMapUnmanaged(u64, Work) = .empty,
    last: u64 = 0,
    begun: u64 = 0,
    finished: u64 = 0,
    dropped: u64 = 0,
    has_news: bool = false,

    pub fn call(methods: *Methods, asked: *const connections.Call, reply: *connections.Reply) connections.Answer {
        return methods.answer(asked, reply) catch |err| .{ .failed = switch (err) {
            error.OutOfMemory => .{ .status = .out_of_memory, .text = "no memory" },
            error.FrameTooLarge => .{ .status = .frame_too_large, .text = "the answer is too long; ask for less at once" },
            error.Short => .{ .status = .bad_body, .text = "the body is too short for this method" },
        } };
    }

    const Error = error{ OutOfMemory, FrameTooLarge, Short };

    fn answer(methods: *Methods, asked: *const connections.Call, reply: *connections.Reply) Error!connections.Answer {
        switch (asked.method) {
            1 => @memcpy(try reply.body(asked.content_type, asked.body.len), asked.body),
            2 => {
                const ms = try word(asked.body, 0);
                const at = if (ms == 0) never else asked.now_ns + ms * @as(u64, std.time.ns_per_ms);
                const number = try methods.begin(.{ .wait = at });
                methods.setTimer();
                return .{ .streamed = number };
            },
            3 => return .{ .streamed = try methods.begin(.{ .stream = .{
                .count = try word(asked.body, 0),
                .length = @max(4, try word(asked.body, 4)),
            } }) },
            4 => {
                const status: i32 = @bitCast(try word(asked.body, 0));
                if (status != 0) return .{ .failed = .{ .status = @enumFromInt(status), .text = asked.body[4..] } };
            },
            5 => try numbers(reply, &.{if (asked.deadline_ns == 0) 0 else asked.deadline_ns -| asked.now_ns}),
            6 => try numbers(reply, &.{ methods.begun, methods.finished, methods.dropped }),
            7 => raise(.TERM),
            8 => raise(.KILL),
            9 => @memset(try reply.body(.bytes, try word(asked.body, 0)), 0),
            else => return .{ .failed = .{ .status = .unsupported, .text = "there is no such method" } },
        }
        return .now;
    }

    fn begin(methods: *Methods, work: Work) Error!u64 {
        methods.last += 1;
        try methods.works.put(gpa, methods.last, work);
        methods.begun += 1;
        return methods.last;
    }

    pub fn next(methods: *Methods, number: u64, reply: *connections.Reply, has_credit: bool) connections.Next {
        const work = methods.works.getPtr(number).?;
        return methods.give(work, reply, has_credit) catch |err| .{ .failed = switch (err) {
            error.OutOfMemory => .{ .status = .out_of_memory, .text = "no memory" },
            error.FrameTooLarge => .{ .status = .frame_too_large, .text = "an event is too long; ask for shorter ones" },
        } };
    }

    fn give(methods: *Methods, work: *Work, reply: *connections.Reply, has_credit: bool) error{ OutOfMemory, FrameTooLarge }!connections.Next {
        switch (work.*) {
            .wait => |at| {
                if (sys.monotonicNs() < at) return .later;
                const waited = "waited";
                @memcpy(try reply.body(.bytes, waited.len), waited);
            },
            .stream => |*stream| {
                const is_event = stream.next < stream.count;
                if (is_event and !has_credit) return .later;
                const body = try reply.body(.bytes, if (is_event) stream.length else 4);
                @memset(body, 0);
                std.mem.writeInt(u32, body[0..4], stream.next, .little);
                stream.next += @intFromBool(is_event);
                if (is_event) return .event;
            },
        }
        methods.finished += 1;
        methods.dropped -%= 1;
        return .end;
    }

    pub fn close(methods: *Methods, number: u64) void {
        // Of one that has finished it was taken back already.
        methods.dropped +%= 1;
        _ = methods.works.remove(number);
    }

    /// At the end of the wait that ends next.
    fn setTimer(methods: *Methods) void {
        var first: u64 = never;
        var works = methods.works.valueIterator();
        while (works.next()) |work| if (work.* == .wait) {
            first = @min(first, work.wait);
        };
        if (first == never) return;
        const at: linux.itimerspec = .{
            .it_interval = .{ .sec = 0, .nsec = 0 },
            .it_value = .{ .sec = @intCast(first / std.time.ns_per_s), .nsec = @intCast(first % std.time.ns_per_s) },
        };
        _ = linux.timerfd_settime(methods.timer, .{ .ABSTIME = true }, &at, null);
    }

    pub fn woken(methods: *Methods, fd: sys.Fd) void {
        var count: u64 = 0;
        _ = sys.read(fd, std.mem.asBytes(&count)) catch {};
        methods.has_news = true;
    }

    pub fn resumed(methods: *Methods) bool {
        defer methods.has_news = false;
        return methods.has_news;
    }

    pub fn endTurn(methods: *Methods) void {
        // One that is due and was not asked yet rings again at once.
        methods.setTimer();
    }

    pub fn isReady(_: *const Methods) bool {
        return true;
    }

    pub fn isBroken(_: *const Methods) bool {
        return false;
    }

    pub fn released(_: *Methods, _: connections.Gate) local.serving.Released {
        return .{ .number = 0 };
    }
};

fn word(body: []const u8, at: usize) error{Short}!u32 {
    if (body.len < at + 4) return error.Short;
    return std.mem.readInt(u32, body[at..][0..4], .little);
}

fn numbers(reply: *connections.Reply, values: []const u64) error{ OutOfMemory, FrameTooLarge }!void {
    const body = try reply.body(.bytes, 8 * values.len);
    for (values, 0..) |value, at| std.mem.writeInt(u64, body[8 * at ..][0..8], value, .little);
}

/// A signal to this process itself.
fn raise(signal: linux.SIG) void {
    _ = linux.kill(linux.getpid(), signal);
}

const never = std.math.maxInt(u64);
