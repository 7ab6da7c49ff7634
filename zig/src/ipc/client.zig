//! Calls one socket from one thread that blocks. Many calls may be in flight: `start` them, then `wait` for each or take
//! them with `next` as they come. What streams is started with credit and taken with `item`. Not for several threads at
//! once; one client each.

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
    /// The server broke a rule, or ended the connection with an error of its own: `refusal`.
    Refused,
    /// No call of that id is in flight.
    NoSuchCall,
};

pub const Options = struct {
    service: protocol.Service,
    /// For the connect and the exchange of HELLO together.
    timeout_ns: u64 = 5 * std.time.ns_per_s,
    software: []const u8 = "mfn-zig/0.1.0",
    /// Where a connect that is refused leaves why.
    refusal: ?*Refusal = null,
};

/// Why a connection ended: what the server said of it, or what the server did wrong.
pub const Refusal = struct {
    status: protocol.Status = .ok,
    /// Cut where it is longer.
    text: [256]u8 = undefined,
    text_bytes: usize = 0,

    fn set(refusal: *Refusal, status: protocol.Status, text: []const u8) void {
        refusal.status = status;
        refusal.text_bytes = @min(text.len, refusal.text.len);
        @memcpy(refusal.text[0..refusal.text_bytes], text[0..refusal.text_bytes]);
    }
};

pub const Request = struct {
    method: u16,
    content_type: protocol.ContentType = .none,
    body: []const u8 = &.{},
    /// CLOCK_MONOTONIC nanoseconds (`deadlineIn`); 0 is none. It goes to the server as well.
    deadline_ns: u64 = 0,
    /// Events that may be under way at once; 0: none come.
    credit: u32 = 0,
};

/// One item of a streamed answer. The body lives until the next use of the client.
pub const Event = struct { content_type: protocol.ContentType, body: []const u8 };

pub const Item = union(enum) { event: Event, end: Answer };

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
    /// Calls that nobody waits for, and whose answers have not come.
    withdrawn: std.AutoHashMapUnmanaged(u64, void) = .empty,
    /// Calls with credit, until their end is taken.
    streams: std.AutoHashMapUnmanaged(u64, Stream) = .empty,
    /// Answers that came while another one was waited for.
    early: std.AutoHashMapUnmanaged(u64, Early) = .empty,
    /// The body of the early answer or event that was given out last.
    given: []u8 = &.{},
    in_flight_max: u32 = 0,
    /// The longest frame that the server takes.
    frame_bytes_max: u32 = protocol.limits.frame_bytes_max,
    greeted: bool = false,
    /// The server takes no new calls.
    leaving: bool = false,
    refusal: Refusal = .{},

    const Stream = struct {
        credit: u32,
        /// Events that the server may still send.
        allowed: u32,
        /// Events taken whose credit is not given back yet.
        taken: u32 = 0,
        /// Events that came before they were asked for; never more than the credit.
        early: std.ArrayList(EarlyEvent) = .empty,

        fn deinit(stream: *Stream, gpa: std.mem.Allocator) void {
            for (stream.early.items) |event| gpa.free(event.body);
            stream.early.deinit(gpa);
        }
    };

    const EarlyEvent = struct { content_type: protocol.ContentType, body: []u8 };

    /// What a frame is to a caller.
    const Arrived = union(enum) { answer: Answer, event: struct { id: u64, event: Event } };

    const Early = struct { status: protocol.Status, content_type: protocol.ContentType, body: []u8 };

    /// Connects and exchanges HELLO. The server must run as our user or as root.
    pub fn connect(gpa: std.mem.Allocator, path: []const u8, options: Options) Error!Client {
        const until = deadlineIn(options.timeout_ns);
        const fd = sockets.connect(path, options.timeout_ns) catch |err|
            return if (err == error.WouldBlock) error.Deadline else err;
        var client: Client = .{ .gpa = gpa, .service = options.service, .fd = fd };
        errdefer {
            if (options.refusal) |why| why.* = client.refusal;
            client.close();
        }
        try sys.setTimeouts(fd, tick_ns);
        const hello: wire.Hello = .{ .software = options.software };
        try hello.append(gpa, &client.out, options.service);
        while (!client.greeted) {
            // HELLO alone leaves no answer behind.
            if (try client.frame() == null) {
                if (!client.greeted) try client.exchange(until);
            }
        }
        return client;
    }

    pub fn close(client: *Client) void {
        sys.close(client.fd);
        var early = client.early.valueIterator();
        while (early.next()) |answer| client.gpa.free(answer.body);
        client.early.deinit(client.gpa);
        var streams = client.streams.valueIterator();
        while (streams.next()) |stream| stream.deinit(client.gpa);
        client.streams.deinit(client.gpa);
        client.withdrawn.deinit(client.gpa);
        client.calls.deinit(client.gpa);
        client.gpa.free(client.given);
        client.out.deinit(client.gpa);
        client.in.deinit(client.gpa);
        client.* = undefined;
    }

    /// The text of `refusal`.
    pub fn lastText(client: *const Client) []const u8 {
        return client.refusal.text[0..client.refusal.text_bytes];
    }

    /// Calls and waits. A failed call is an answer; an error is one of the connection, or the deadline.
    pub fn call(client: *Client, request: Request) Error!Answer {
        return client.wait(try client.start(request));
    }

    /// Puts a call into the outbox; `wait`, `next` and `flush` send it.
    pub fn start(client: *Client, request: Request) Error!u64 {
        if (client.leaving) return error.Closed;
        // What was cancelled takes a place until its answer is read, which only this thread does.
        if (client.isFull() and client.withdrawn.count() > 0) try client.catchUp();
        if (client.isFull()) return error.Busy;
        if (request.body.len + protocol.limits.header_bytes > client.frame_bytes_max) return error.FrameTooLarge;
        try client.calls.ensureUnusedCapacity(client.gpa, 1);
        try client.withdrawn.ensureTotalCapacity(client.gpa, client.calls.count() + client.withdrawn.count() + 1);
        if (request.credit > 0) try client.streams.ensureUnusedCapacity(client.gpa, 1);
        const id = client.next_id;
        try wire.encode(client.gpa, &client.out, .{
            .kind = .request,
            .service = client.service,
            .content_type = if (request.body.len == 0) .none else request.content_type,
            .method = request.method,
            .request_id = id,
            .deadline_ns = request.deadline_ns,
            .credit = request.credit,
        }, &.{}, request.body);
        client.next_id += 1;
        if (request.credit > 0) client.streams.putAssumeCapacity(id, .{ .credit = request.credit, .allowed = request.credit });
        client.calls.putAssumeCapacity(id, if (request.deadline_ns == 0) never else request.deadline_ns);
        return id;
    }

    /// Waits for that call, at most to its deadline. Answers to others are kept for theirs; its events are dropped.
    pub fn wait(client: *Client, id: u64) Error!Answer {
        while (true) switch (try client.item(id)) {
            .event => {},
            .end => |answer| return answer,
        };
    }

    /// The next event of a call, or its end; waits at most to its deadline. Taking events allows the server more of them.
    pub fn item(client: *Client, id: u64) Error!Item {
        if (try client.kept(id)) |found| return found;
        const until = client.calls.get(id) orelse return error.NoSuchCall;
        while (true) {
            while (try client.frame()) |arrived| switch (arrived) {
                .answer => |answer| {
                    if (answer.id == id) {
                        client.endStream(id);
                        return .{ .end = answer };
                    }
                    try client.keepArrived(arrived);
                },
                .event => |of| {
                    const stream = client.streams.getPtr(of.id) orelse continue;
                    if (of.id == id) {
                        try client.taken(id, stream);
                        return .{ .event = of.event };
                    }
                    try client.keepArrived(arrived);
                },
            };
            client.exchange(until) catch |err| {
                if (err == error.Deadline) try client.cancel(id);
                return err;
            };
        }
    }

    /// The next event of a call, or its end, if it came while something else was waited for. Asks nobody.
    pub fn kept(client: *Client, id: u64) Error!?Item {
        if (client.streams.getPtr(id)) |stream| if (stream.early.items.len > 0) {
            const event = stream.early.orderedRemove(0);
            client.give(event.body);
            try client.taken(id, stream);
            return .{ .event = .{ .content_type = event.content_type, .body = event.body } };
        };
        if (client.calls.contains(id)) return null;
        return .{ .end = try client.takeEarly(id) };
    }

    /// The next answer, in the order of arrival, if one comes before the deadline. It cancels nothing. Events that come
    /// meanwhile are kept for `item`; the end of a stream is left to it.
    pub fn next(client: *Client, until: u64) Error!Answer {
        var ids = client.early.keyIterator();
        while (ids.next()) |id| {
            if (!client.streams.contains(id.*)) return client.takeEarly(id.*);
        }
        while (true) {
            while (try client.frame()) |arrived| switch (arrived) {
                .answer => |answer| {
                    if (!client.streams.contains(answer.id)) return answer;
                    try client.keepArrived(arrived);
                },
                .event => try client.keepArrived(arrived),
            };
            try client.exchange(until);
        }
    }

    /// Forgets a call and tells the server that nobody waits for its answer.
    pub fn cancel(client: *Client, id: u64) Error!void {
        client.endStream(id);
        if (!client.calls.remove(id)) {
            const answered = client.early.fetchRemove(id) orelse return error.NoSuchCall;
            return client.gpa.free(answered.value.body);
        }
        client.withdrawn.putAssumeCapacity(id, {});
        try wire.encode(client.gpa, &client.out, .{ .kind = .cancel, .service = client.service, .request_id = id }, &.{}, &.{});
        // The server reads on whether or not it can be sent at once.
        try client.sendSome();
    }

    fn endStream(client: *Client, id: u64) void {
        var stream = client.streams.fetchRemove(id) orelse return;
        stream.value.deinit(client.gpa);
    }

    /// An event was taken: half of the credit at a time goes back.
    fn taken(client: *Client, id: u64, stream: *Stream) Error!void {
        stream.taken += 1;
        if (@as(u64, stream.taken) * 2 < stream.credit or !client.calls.contains(id)) return;
        const header: wire.Header = .{ .kind = .credit, .service = client.service, .request_id = id, .credit = stream.taken };
        try wire.encode(client.gpa, &client.out, header, &.{}, &.{});
        stream.allowed += stream.taken;
        stream.taken = 0;
    }

    /// Sends what is in the outbox, and takes what comes meanwhile: the server may wait for us to read.
    pub fn flush(client: *Client, until: u64) Error!void {
        try client.sendSome();
        while (client.sent < client.out.items.len) try client.exchange(until);
    }

    fn takeEarly(client: *Client, id: u64) Error!Answer {
        const found = client.early.fetchRemove(id) orelse return error.NoSuchCall;
        client.endStream(id);
        client.give(found.value.body);
        return .{ .id = id, .status = found.value.status, .content_type = found.value.content_type, .body = client.given };
    }

    /// Calls in flight, and those that were cancelled and are not answered yet.
    pub fn load(client: *const Client) u32 {
        return client.calls.count() + client.withdrawn.count();
    }

    /// Whether as many calls are in flight as the server takes.
    pub fn isFull(client: *const Client) bool {
        return client.load() >= client.in_flight_max;
    }

    /// Takes what is here already, without a wait. An error says that the connection has ended.
    pub fn catchUp(client: *Client) Error!void {
        try client.sendSome();
        while (true) {
            while (try client.frame()) |arrived| try client.keepArrived(arrived);
            if (!try sys.poll(client.fd, .{ .read = true }, 0)) return;
            try client.receiveSome(false);
        }
    }

    fn give(client: *Client, body: []u8) void {
        client.gpa.free(client.given);
        client.given = body;
    }

    /// Keeps what is not waited for now.
    fn keepArrived(client: *Client, arrived: Arrived) Error!void {
        switch (arrived) {
            .answer => |answer| {
                try client.early.ensureUnusedCapacity(client.gpa, 1);
                const body = try client.gpa.dupe(u8, answer.body);
                client.early.putAssumeCapacity(answer.id, .{ .status = answer.status, .content_type = answer.content_type, .body = body });
            },
            .event => |of| {
                const stream = client.streams.getPtr(of.id) orelse return;
                try stream.early.ensureUnusedCapacity(client.gpa, 1);
                const body = try client.gpa.dupe(u8, of.event.body);
                stream.early.appendAssumeCapacity(.{ .content_type = of.event.content_type, .body = body });
            },
        }
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
        try client.receiveSome(!is_blocked and !is_short);
    }

    fn receiveSome(client: *Client, may_wait: bool) Error!void {
        try client.makeRoom();
        const count = sys.receive(client.fd, client.in.unusedCapacitySlice(), .{ .wait = may_wait }) catch |err| switch (err) {
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

    /// Takes frames that are here up to the first that is a caller's.
    fn frame(client: *Client) Error!?Arrived {
        while (true) {
            const rest = client.in.items[client.used..];
            const length = (wire.frameLength(rest) catch |err| return client.refuse(wire.statusOf(err), wire.textOf(err))) orelse return null;
            if (length > rest.len) return null;
            client.used += length;
            const found = wire.decode(rest[0..length]) catch |err| return client.refuse(wire.statusOf(err), wire.textOf(err));
            if (try client.take(found)) |arrived| return arrived;
        }
    }

    fn take(client: *Client, found: wire.Frame) Error!?Arrived {
        const header = found.header;
        if (header.kind == .@"error" and header.request_id == 0) {
            client.refusal.set(@enumFromInt(header.status), found.body);
            return error.Refused;
        }
        if (header.service != client.service) return client.refuse(.unexpected_frame, "this is another service");
        if (!client.greeted) {
            if (header.kind != .hello) return client.refuse(.unexpected_frame, "HELLO comes first");
            const hello = wire.Hello.of(found.tlvs);
            client.in_flight_max = hello.inFlightMax();
            client.frame_bytes_max = hello.frameBytesMax();
            client.greeted = true;
            return null;
        }
        switch (header.kind) {
            .reply, .@"error" => {
                if (!client.calls.remove(header.request_id)) {
                    // One that was cancelled is nobody's; any other was never asked, or is answered already.
                    return if (client.withdrawn.remove(header.request_id)) null else client.refuse(.bad_request_id, "an answer to nothing");
                }
                return .{ .answer = .{
                    .id = header.request_id,
                    .status = @enumFromInt(header.status),
                    .content_type = header.content_type,
                    .body = found.body,
                } };
            },
            .event => {
                if (client.withdrawn.contains(header.request_id)) return null;
                if (!client.calls.contains(header.request_id)) return client.refuse(.bad_request_id, "an event of nothing");
                const stream = client.streams.getPtr(header.request_id);
                if (stream == null or stream.?.allowed == 0) return client.refuse(.bad_credit, "an event without credit");
                stream.?.allowed -= 1;
                return .{ .event = .{
                    .id = header.request_id,
                    .event = .{ .content_type = header.content_type, .body = found.body },
                } };
            },
            .ping => {
                const pong: wire.Header = .{ .kind = .pong, .service = client.service, .request_id = header.request_id };
                try wire.encode(client.gpa, &client.out, pong, &.{}, &.{});
            },
            .goaway => client.leaving = true,
            .pong => {},
            .hello, .request, .cancel, .credit => return client.refuse(.unexpected_frame, "a client answers nothing"),
        }
        return null;
    }

    /// Says why the connection ends, as far as the socket takes it at once.
    fn refuse(client: *Client, status: protocol.Status, text: []const u8) Error {
        client.refusal.set(status, text);
        const header: wire.Header = .{
            .kind = .@"error",
            .service = client.service,
            .content_type = .text,
            .status = @intFromEnum(status),
        };
        wire.encode(client.gpa, &client.out, header, &.{}, text) catch return error.OutOfMemory;
        client.sendSome() catch {};
        return error.Refused;
    }
};

const never = std.math.maxInt(u64);
const room_bytes = 64 << 10;
/// How long one wait inside a read may be.
const tick_ns = 100 * std.time.ns_per_ms;
