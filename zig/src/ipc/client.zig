//! Calls one socket from one thread that blocks. Many calls may be in flight: `start` them, then `wait` for each or take
//! them with `next` as they come. Not for several threads at once; one client each.

const std = @import("std");
const protocol = @import("../gen/protocol.zig");
const sockets = @import("socket.zig");
const sys = @import("sys.zig");
const wire = @import("../wire.zig");

pub const Error = sockets.Error || wire.Error || error{
    OutOfMemory,
    /// The other side closed the connection; connect again.
    Closed,
    /// The deadline passed. The call was cancelled.
    Deadline,
    /// As many calls are in flight as the server allows; wait for one.
    Busy,
    /// The server broke a rule, or ended the connection with an error of its own: `lastText`.
    Refused,
    /// No call of that id is in flight.
    NoSuchCall,
};

pub const Options = struct {
    service: protocol.Service,
    /// For the connect and the exchange of HELLO together.
    timeout_ns: u64 = 5 * std.time.ns_per_s,
    software: []const u8 = "mfn-zig/0.1.0",
};

pub const Request = struct {
    method: u16,
    content_type: protocol.ContentType = .none,
    body: []const u8 = &.{},
    /// CLOCK_MONOTONIC nanoseconds (`deadlineIn`); 0 is none. It goes to the server as well.
    deadline_ns: u64 = 0,
};

/// How a call ended. The body lives until the next use of the client.
pub const Answer = struct {
    id: u64,
    /// `ok`, or what went wrong; the body is then its text.
    status: protocol.Status,
    content_type: protocol.ContentType,
    body: []const u8,
};

/// The moment so long from now.
pub fn deadlineIn(ns: u64) u64 {
    return sys.monotonicNs() +| ns;
}

pub const Client = struct {
    gpa: std.mem.Allocator,
    service: protocol.Service,
    fd: sys.Fd,
    out: std.ArrayList(u8) = .empty,
    sent: usize = 0,
    in: std.ArrayList(u8) = .empty,
    /// Bytes at the start of `in` that were handed out.
    used: usize = 0,
    next_id: u64 = 1,
    /// Calls in flight, and when they end.
    calls: std.AutoHashMapUnmanaged(u64, u64) = .empty,
    /// Answers that came while another one was waited for.
    early: std.AutoHashMapUnmanaged(u64, Early) = .empty,
    /// The body of the early answer that was given out last.
    given: []u8 = &.{},
    in_flight_max: u32 = 0,
    greeted: bool = false,
    /// The server takes no new calls.
    leaving: bool = false,
    text: std.ArrayList(u8) = .empty,

    const Early = struct { status: protocol.Status, content_type: protocol.ContentType, body: []u8 };

    /// Connects and exchanges HELLO. The server must run as our user or as root.
    pub fn connect(gpa: std.mem.Allocator, path: []const u8, options: Options) Error!Client {
        const until = deadlineIn(options.timeout_ns);
        const fd = sockets.connect(path, options.timeout_ns) catch |err|
            return if (err == error.WouldBlock) error.Deadline else err;
        var client: Client = .{ .gpa = gpa, .service = options.service, .fd = fd };
        errdefer client.close();
        try sys.setTimeouts(fd, tick_ns);
        const hello: wire.Hello = .{ .software = options.software };
        try hello.append(gpa, &client.out, options.service);
        while (!client.greeted) {
            // HELLO alone leaves no answer behind.
            _ = try client.frame() orelse try client.exchange(until);
        }
        return client;
    }

    pub fn close(client: *Client) void {
        sys.close(client.fd);
        var early = client.early.valueIterator();
        while (early.next()) |answer| client.gpa.free(answer.body);
        client.early.deinit(client.gpa);
        client.calls.deinit(client.gpa);
        client.gpa.free(client.given);
        client.out.deinit(client.gpa);
        client.in.deinit(client.gpa);
        client.text.deinit(client.gpa);
        client.* = undefined;
    }

    /// What the server said last of an error that ended the connection.
    pub fn lastText(client: *const Client) []const u8 {
        return client.text.items;
    }

    /// Calls and waits. A failed call is an answer; an error is one of the connection, or the deadline.
    pub fn call(client: *Client, request: Request) Error!Answer {
        return client.wait(try client.start(request));
    }

    /// Puts a call into the outbox; `wait`, `next` and `flush` send it.
    pub fn start(client: *Client, request: Request) Error!u64 {
        if (client.leaving) return error.Closed;
        if (client.calls.count() >= client.in_flight_max) return error.Busy;
        try client.calls.ensureUnusedCapacity(client.gpa, 1);
        const id = client.next_id;
        try wire.encode(client.gpa, &client.out, .{
            .kind = .request,
            .service = client.service,
            .content_type = if (request.body.len == 0) .none else request.content_type,
            .method = request.method,
            .request_id = id,
            .deadline_ns = request.deadline_ns,
        }, &.{}, request.body);
        client.next_id += 1;
        client.calls.putAssumeCapacity(id, if (request.deadline_ns == 0) never else request.deadline_ns);
        return id;
    }

    /// Waits for that call, at most to its deadline. Answers to others are kept for theirs.
    pub fn wait(client: *Client, id: u64) Error!Answer {
        const until = client.calls.get(id) orelse return client.takeEarly(id);
        while (true) {
            while (try client.frame()) |answer| {
                if (answer.id == id) return answer;
                try client.keep(answer);
            }
            client.exchange(until) catch |err| {
                if (err == error.Deadline) try client.cancel(id);
                return err;
            };
        }
    }

    /// The next answer, in the order of arrival, if one comes before the deadline. It cancels nothing.
    pub fn next(client: *Client, until: u64) Error!Answer {
        if (client.early.count() > 0) {
            var ids = client.early.keyIterator();
            return client.takeEarly(ids.next().?.*);
        }
        while (true) {
            if (try client.frame()) |answer| return answer;
            try client.exchange(until);
        }
    }

    /// Forgets a call and tells the server that nobody waits for its answer.
    pub fn cancel(client: *Client, id: u64) Error!void {
        if (!client.calls.remove(id)) return error.NoSuchCall;
        try wire.encode(client.gpa, &client.out, .{ .kind = .cancel, .service = client.service, .request_id = id }, &.{}, &.{});
        // The server reads on whether or not it can be sent at once.
        try client.sendSome();
    }

    /// Sends what is in the outbox, and takes what comes meanwhile: the server may wait for us to read.
    pub fn flush(client: *Client, until: u64) Error!void {
        try client.sendSome();
        while (client.sent < client.out.items.len) try client.exchange(until);
    }

    fn takeEarly(client: *Client, id: u64) Error!Answer {
        const found = client.early.fetchRemove(id) orelse return error.NoSuchCall;
        client.gpa.free(client.given);
        client.given = found.value.body;
        return .{ .id = id, .status = found.value.status, .content_type = found.value.content_type, .body = client.given };
    }

    fn keep(client: *Client, answer: Answer) Error!void {
        try client.early.ensureUnusedCapacity(client.gpa, 1);
        const body = try client.gpa.dupe(u8, answer.body);
        client.early.putAssumeCapacity(answer.id, .{ .status = answer.status, .content_type = answer.content_type, .body = body });
    }

    /// Sends what the socket takes now.
    fn sendSome(client: *Client) Error!void {
        const rest = client.out.items[client.sent..];
        if (rest.len == 0) return;
        client.sent += sys.send(client.fd, rest) catch |err| switch (err) {
            error.WouldBlock => return,
            // It may have said why before.
            error.Gone => return,
            else => return err,
        };
        if (client.sent < client.out.items.len) return;
        client.out.clearRetainingCapacity();
        client.sent = 0;
    }

    /// Sends, then waits until something arrives or more can be sent.
    fn exchange(client: *Client, until: u64) Error!void {
        try client.sendSome();
        const is_blocked = client.sent < client.out.items.len;
        const left = if (until == never) null else until -| sys.monotonicNs();
        if (left == 0) return error.Deadline;
        // Waiting inside the read saves a system call; its time limit is one tick.
        const is_short = left != null and left.? < tick_ns;
        if (is_blocked or is_short) {
            if (!try sys.poll(client.fd, .{ .read = true, .write = is_blocked }, left)) return;
        }
        try client.makeRoom();
        const count = sys.receive(client.fd, client.in.unusedCapacitySlice(), .{ .wait = !is_blocked and !is_short }) catch |err| switch (err) {
            error.WouldBlock => return,
            error.Gone => return error.Closed,
            else => return err,
        };
        if (count == 0) return error.Closed;
        client.in.items.len += count;
    }

    /// Room for more bytes, which grows with what arrived and not with what a length promises.
    fn makeRoom(client: *Client) Error!void {
        if (client.used > 0) {
            client.in.replaceRangeAssumeCapacity(0, client.used, &.{});
            client.used = 0;
        }
        if (client.in.capacity - client.in.items.len < room_bytes / 2) {
            try client.in.ensureTotalCapacity(client.gpa, @max(room_bytes, 2 * client.in.items.len));
        }
    }

    /// Takes frames that are here up to the first that answers a call in flight.
    fn frame(client: *Client) Error!?Answer {
        while (true) {
            const rest = client.in.items[client.used..];
            const length = try wire.frameLength(rest) orelse return null;
            if (length > rest.len) return null;
            client.used += length;
            const found = try wire.decode(rest[0..length]);
            if (try client.take(found)) |answer| return answer;
        }
    }

    fn take(client: *Client, found: wire.Frame) Error!?Answer {
        const header = found.header;
        if (header.kind == .@"error" and header.request_id == 0) {
            client.text.clearRetainingCapacity();
            try client.text.appendSlice(client.gpa, found.body);
            return error.Refused;
        }
        if (header.service != client.service) return error.Refused;
        if (!client.greeted) {
            if (header.kind != .hello) return error.Refused;
            client.in_flight_max = wire.Hello.of(found.tlvs).requests_in_flight_max;
            client.greeted = true;
            return null;
        }
        switch (header.kind) {
            .reply, .@"error" => {
                if (header.request_id >= client.next_id) return error.Refused;
                // One that was cancelled is nobody's.
                if (!client.calls.remove(header.request_id)) return null;
                return .{
                    .id = header.request_id,
                    .status = @enumFromInt(header.status),
                    .content_type = header.content_type,
                    .body = found.body,
                };
            },
            .ping => {
                const pong: wire.Header = .{ .kind = .pong, .service = client.service, .request_id = header.request_id };
                try wire.encode(client.gpa, &client.out, pong, &.{}, &.{});
            },
            .goaway => client.leaving = true,
            .pong => {},
            // No credit was given, so no event may come; the rest is not a server's to say.
            .hello, .request, .event, .cancel, .credit => return error.Refused,
        }
        return null;
    }
};

const never = std.math.maxInt(u64);
const room_bytes = 64 << 10;
/// How long one wait inside a read may be.
const tick_ns = 100 * std.time.ns_per_ms;
