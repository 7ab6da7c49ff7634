//! The serving side of one connection, without I/O: bytes in, calls to a handler, bytes out. Time is an argument.
//!
//! `Handler` is any type with
//!   `call(*Handler, *const Call, *Reply) Answer` answers a request, or says what its answer waits for,
//!   `isReady(*const Handler) bool`               whether it takes another request now,
//! and, if some of its answers are streams,
//!   `next(*Handler, u64, *Reply, bool) Next`     what a stream gives next, by the number that the handler gave it; an event
//!                                                only when the last argument says that the caller allows one,
//!   `close(*Handler, u64) void`                  that stream is over, for whatever reason. Once for each.
//!
//! The order of use: `start`, then `receive` for bytes that came, `release`, `resume` and `expire` as time goes on; after
//! each, `pump` asks the streams, `output` is what to send and `written` says how much went. When `ended` is set, send what
//! is left once and close.

const std = @import("std");
const protocol = @import("../gen/protocol.zig");
const wire = @import("../wire.zig");
const Credentials = @import("sys.zig").Credentials;

pub const Status = protocol.Status;

/// What one socket allows.
pub const Limits = struct {
    /// Requests in flight per connection; more are answered BUSY.
    in_flight_max: u32 = protocol.limits.requests_in_flight_max,
    /// Connections at once; more are answered BUSY and closed.
    connections_max: u32 = 1024,
    /// Bytes of unfinished frames over all connections; who would exceed them is answered BUSY and closed.
    partial_bytes_max: u64 = 64 << 20,
    /// Unsent bytes of one connection before its requests are not read. One answer more may follow.
    outbox_bytes: usize = 1 << 20,
    /// How long a new connection may take to say HELLO.
    hello_timeout_ns: u64 = 5 * std.time.ns_per_s,
    /// How long accepted calls may take to end after a stop began.
    drain_timeout_ns: u64 = 10 * std.time.ns_per_s,
};

/// What all connections of a socket share.
pub const Config = struct {
    service: protocol.Service,
    /// Name and version of the program, told to clients.
    software: []const u8,
    limits: Limits = .{},
};

/// What happened on one socket.
pub const Stats = struct {
    connections: u64 = 0,
    accepted: u64 = 0,
    denied: u64 = 0,
    requests: u64 = 0,
    errors: u64 = 0,
    violations: u64 = 0,
};

/// One request. The body lives until `call` returns.
pub const Call = struct {
    method: u16,
    content_type: protocol.ContentType,
    body: []const u8,
    /// 0 is none.
    deadline_ns: u64,
    now_ns: u64,
    peer: Credentials,
};

/// What an answer may wait for. Each has its own rising sequence of tickets.
pub const Gate = enum { durable, snapshot };

/// A point in the sequence of a gate.
pub const Ticket = struct { gate: Gate, number: u64 };

pub const Failure = struct {
    status: Status,
    /// Cause and repair. Lives until the next call.
    text: []const u8,
};

pub const Answer = union(enum) {
    /// The reply is complete.
    now,
    /// The answer comes by `next`, under this number of the handler's.
    streamed: u64,
    /// The reply is complete, and is sent when the ticket's number has been released.
    held: Ticket,
    failed: Failure,
};

/// What a stream gives when it is asked.
pub const Next = union(enum) {
    /// The body is one event.
    event,
    /// The body is the reply, and the stream is over.
    end,
    /// Nothing now. It is asked again after `resume`, and when the caller allows more.
    later,
    /// The stream is over.
    failed: Failure,
};

/// Where a handler writes its reply: straight into the connection's outbox.
pub const Reply = struct {
    gpa: std.mem.Allocator,
    out: *std.ArrayList(u8),
    start: usize,
    /// The longest frame that the caller takes.
    frame_bytes_max: u32 = protocol.limits.frame_bytes_max,
    content_type: protocol.ContentType = .none,

    /// Makes room for a body of so many bytes, in place of one that was made before. Its content is undefined.
    pub fn body(reply: *Reply, content_type: protocol.ContentType, bytes: usize) error{ OutOfMemory, FrameTooLarge }![]u8 {
        if (bytes > reply.frame_bytes_max - protocol.limits.header_bytes) return error.FrameTooLarge;
        reply.content_type = if (bytes == 0) .none else content_type;
        reply.out.shrinkRetainingCapacity(reply.start + wire.head_bytes);
        return reply.out.addManyAsSlice(reply.gpa, bytes);
    }

    /// Takes the body back.
    pub fn noBody(reply: *Reply) void {
        reply.content_type = .none;
        reply.out.shrinkRetainingCapacity(reply.start + wire.head_bytes);
    }
};

pub fn Connection(comptime Handler: type) type {
    return struct {
        gpa: std.mem.Allocator,
        config: *const Config,
        stats: *Stats,
        handler: *Handler,
        peer: Credentials,
        out: std.ArrayList(u8) = .empty,
        /// Bytes of `out` that were sent.
        sent: usize = 0,
        held: std.ArrayList(Held) = .empty,
        /// The ids of `held`.
        ids: std.AutoHashMapUnmanaged(u64, void) = .empty,
        held_bytes: usize = 0,
        /// No held answer has a deadline before this.
        deadline_ns: u64 = never,
        streams: std.ArrayList(Streamed) = .empty,
        /// The stream that is asked first, so that each has its turn.
        turn: usize = 0,
        /// The longest frame that the caller takes.
        frame_bytes_max: u32 = protocol.limits.frame_bytes_max,
        greeted: bool = false,
        stopping: bool = false,
        ended: bool = false,

        const Self = @This();

        /// No time.
        pub const never = std.math.maxInt(u64);

        const Held = struct { header: wire.Header, deadline_ns: u64, ticket: Ticket, frame: []u8 };

        const Streamed = struct {
            header: wire.Header,
            deadline_ns: u64,
            number: u64,
            credit: u32,
            /// It had nothing, and nothing has changed since.
            is_waiting: bool = false,
        };

        const has_streams = @hasDecl(Handler, "next");

        pub fn deinit(self: *Self) void {
            for (self.streams.items) |stream| self.closeStream(stream);
            self.streams.deinit(self.gpa);
            for (self.held.items) |held| self.gpa.free(held.frame);
            self.held.deinit(self.gpa);
            self.ids.deinit(self.gpa);
            self.out.deinit(self.gpa);
            self.* = undefined;
        }

        /// Says HELLO.
        pub fn start(self: *Self) void {
            const limits = self.config.limits;
            const hello: wire.Hello = .{
                .requests_in_flight_max = limits.in_flight_max,
                .connections_max = limits.connections_max,
                .software = self.config.software,
            };
            hello.append(self.gpa, &self.out, self.config.service) catch self.end();
        }

        /// What is to be sent.
        pub fn output(self: *const Self) []const u8 {
            return self.out.items[self.sent..];
        }

        /// So many bytes of `output` were sent.
        pub fn written(self: *Self, count: usize) void {
            std.debug.assert(count <= self.out.items.len - self.sent);
            self.sent += count;
            if (self.sent < self.out.items.len) return;
            self.sent = 0;
            // A large answer should not be kept for a connection that asks for small ones.
            if (self.out.capacity > 2 * outbox_kept_bytes) {
                self.out.clearAndFree(self.gpa);
            } else self.out.clearRetainingCapacity();
        }

        /// Whether no more requests are taken until something was sent or released.
        pub fn isHeldUp(self: *const Self) bool {
            return self.output().len + self.held_bytes >= self.config.limits.outbox_bytes or !self.handler.isReady();
        }

        /// Whether all accepted work is answered and sent.
        pub fn isIdle(self: *const Self) bool {
            return self.inFlight() == 0 and self.output().len == 0;
        }

        fn inFlight(self: *const Self) usize {
            return self.held.items.len + self.streams.items.len;
        }

        /// When `expire` has something to do.
        pub fn nextDeadline(self: *const Self) u64 {
            var deadline = self.deadline_ns;
            for (self.streams.items) |stream| deadline = @min(deadline, stream.deadline_ns);
            return deadline;
        }

        /// Takes whole frames off the start of the bytes, as many as it may, and says how many bytes they were.
        pub fn receive(self: *Self, bytes: []const u8, now_ns: u64) usize {
            var at: usize = 0;
            while (!self.ended and !self.isHeldUp()) {
                const rest = bytes[at..];
                const length = wire.frameLength(rest) catch |err| {
                    self.refuse(wire.statusOf(err), wire.textOf(err));
                    break;
                } orelse break;
                if (length > rest.len) break;
                at += length;
                self.frame(rest[0..length], now_ns) catch |err| switch (err) {
                    error.OutOfMemory => self.refuse(.out_of_memory, "no memory for the answer; ask for less at once"),
                    else => |wrong| self.refuse(wire.statusOf(wrong), wire.textOf(wrong)),
                };
            }
            return at;
        }

        const FrameError = wire.Error || error{OutOfMemory};

        fn frame(self: *Self, bytes: []const u8, now_ns: u64) FrameError!void {
            const found = try wire.decode(bytes);
            const header = found.header;
            if (header.service != self.config.service) {
                return self.refuse(.unexpected_frame, "this socket serves another service; connect to that one's");
            }
            if (!self.greeted) {
                if (header.kind != .hello) return self.refuse(.unexpected_frame, "HELLO comes first");
                self.greeted = true;
                self.frame_bytes_max = wire.Hello.of(found.tlvs).frameBytesMax();
                return;
            }
            switch (header.kind) {
                .request => try self.request(header, found.body, now_ns),
                .cancel => try self.cancel(header.request_id),
                .ping => try self.append(.{ .kind = .pong, .service = header.service, .request_id = header.request_id }, &.{}),
                .credit => self.allow(header),
                // A caller may go away.
                .goaway => {},
                .@"error" => if (header.request_id == 0) self.end() else self.refuse(.unexpected_frame, "a server asks nothing"),
                .hello => self.refuse(.unexpected_frame, "HELLO comes once"),
                .reply, .event, .pong => self.refuse(.unexpected_frame, "a server asks nothing"),
            }
        }

        fn request(self: *Self, header: wire.Header, body: []const u8, now_ns: u64) FrameError!void {
            self.stats.requests += 1;
            if (self.inFlight() > 0) {
                if (self.ids.contains(header.request_id)) {
                    return self.refuse(.bad_request_id, "this request id is in flight already");
                }
                if (self.inFlight() >= self.config.limits.in_flight_max) {
                    return self.fail(header, .busy, "as many requests are in flight as HELLO allowed; wait for an answer");
                }
            }
            if (self.stopping) return self.fail(header, .closed, "the program is stopping; connect again when it is back");
            if (header.deadline_ns != 0 and header.deadline_ns <= now_ns) {
                return self.fail(header, .deadline, "the deadline had passed when the request arrived");
            }
            const call: Call = .{
                .method = header.method,
                .content_type = header.content_type,
                .body = body,
                .deadline_ns = header.deadline_ns,
                .now_ns = now_ns,
                .peer = self.peer,
            };
            const start_at = self.out.items.len;
            errdefer self.out.shrinkRetainingCapacity(start_at);
            _ = try self.out.addManyAsArray(self.gpa, wire.head_bytes);
            var reply = self.replyAt(start_at);
            const answer = self.handler.call(&call, &reply);
            switch (answer) {
                .failed => |wrong| {
                    self.out.shrinkRetainingCapacity(start_at);
                    return self.failCall(header, wrong);
                },
                .streamed => |number| {
                    self.out.shrinkRetainingCapacity(start_at);
                    return self.beginStream(header, number);
                },
                .now, .held => self.finish(.reply, header, &reply),
            }
            if (answer == .held) try self.hold(header, answer.held, start_at);
        }

        fn replyAt(self: *Self, start_at: usize) Reply {
            return .{ .gpa = self.gpa, .out = &self.out, .start = start_at, .frame_bytes_max = self.frame_bytes_max };
        }

        /// Writes the head before a body that stands at the end of the outbox.
        fn finish(self: *Self, kind: protocol.Kind, to: wire.Header, reply: *const Reply) void {
            const length: u32 = @intCast(self.out.items.len - reply.start - protocol.limits.length_bytes);
            const head = replyHeader(to, kind, reply.content_type, 0);
            wire.writeHead(self.out.items[reply.start..][0..wire.head_bytes], head, 0, length);
        }

        // Streams.

        fn beginStream(self: *Self, header: wire.Header, number: u64) FrameError!void {
            if (comptime !has_streams) unreachable;
            const stream: Streamed = .{
                .header = header,
                .deadline_ns = if (header.deadline_ns == 0) never else header.deadline_ns,
                .number = number,
                .credit = header.credit,
            };
            errdefer self.closeStream(stream);
            try self.ids.ensureUnusedCapacity(self.gpa, 1);
            try self.streams.append(self.gpa, stream);
            self.ids.putAssumeCapacity(header.request_id, {});
        }

        fn closeStream(self: *Self, stream: Streamed) void {
            if (comptime has_streams) self.handler.close(stream.number);
        }

        fn endStream(self: *Self, index: usize) void {
            const stream = self.streams.orderedRemove(index);
            _ = self.ids.remove(stream.header.request_id);
            if (self.turn > index) self.turn -= 1;
            self.closeStream(stream);
        }

        fn allow(self: *Self, header: wire.Header) void {
            for (self.streams.items) |*stream| {
                if (stream.header.request_id != header.request_id) continue;
                if (stream.credit > protocol.limits.credit_max - header.credit) {
                    return self.refuse(.bad_credit, "more credit than the wire allows");
                }
                stream.credit += header.credit;
                stream.is_waiting = false;
            }
        }

        /// Streams that had nothing may have something now.
        pub fn @"resume"(self: *Self) void {
            for (self.streams.items) |*stream| stream.is_waiting = false;
        }

        /// Asks the streams in turn until so much waits to be sent as may go out before other answers. Whether there may be
        /// more once that is sent.
        pub fn pump(self: *Self) bool {
            if (comptime !has_streams) return false;
            var in_vain: usize = 0;
            while (!self.ended and in_vain < self.streams.items.len) {
                if (self.output().len >= event_portion_bytes) return true;
                if (self.turn >= self.streams.items.len) self.turn = 0;
                const gave = self.ask(self.turn) catch {
                    self.end();
                    return false;
                };
                if (gave) in_vain = 0 else in_vain += 1;
                self.turn += 1;
            }
            return false;
        }

        /// Whether the stream gave something.
        fn ask(self: *Self, index: usize) FrameError!bool {
            const stream = &self.streams.items[index];
            if (stream.is_waiting) return false;
            const start_at = self.out.items.len;
            errdefer self.out.shrinkRetainingCapacity(start_at);
            _ = try self.out.addManyAsArray(self.gpa, wire.head_bytes);
            var reply = self.replyAt(start_at);
            switch (self.handler.next(stream.number, &reply, stream.credit > 0)) {
                .later => {
                    self.out.shrinkRetainingCapacity(start_at);
                    stream.is_waiting = true;
                    return false;
                },
                .event => {
                    std.debug.assert(stream.credit > 0);
                    stream.credit -= 1;
                    self.finish(.event, stream.header, &reply);
                },
                .end => {
                    self.finish(.reply, stream.header, &reply);
                    self.endStream(index);
                },
                .failed => |wrong| {
                    self.out.shrinkRetainingCapacity(start_at);
                    const header = stream.header;
                    defer self.endStream(index);
                    try self.failCall(header, wrong);
                },
            }
            return true;
        }

        /// Takes the reply at the end of the outbox back until its ticket is released.
        fn hold(self: *Self, header: wire.Header, ticket: Ticket, start_at: usize) FrameError!void {
            try self.held.ensureUnusedCapacity(self.gpa, 1);
            try self.ids.ensureUnusedCapacity(self.gpa, 1);
            const copy = try self.gpa.dupe(u8, self.out.items[start_at..]);
            self.out.shrinkRetainingCapacity(start_at);
            const deadline = if (header.deadline_ns == 0) never else header.deadline_ns;
            self.held.appendAssumeCapacity(.{ .header = header, .deadline_ns = deadline, .ticket = ticket, .frame = copy });
            self.ids.putAssumeCapacity(header.request_id, {});
            self.held_bytes += copy.len;
            self.deadline_ns = @min(self.deadline_ns, deadline);
        }

        /// Sends the answers that waited for that gate, up to that number; or a failure in their place.
        pub fn release(self: *Self, gate: Gate, number: u64, failure: ?Failure) void {
            self.settle(.{ .gate = gate, .number = number, .failure = failure, .now_ns = 0 });
        }

        /// Answers DEADLINE for what has waited too long.
        pub fn expire(self: *Self, now_ns: u64) void {
            if (self.ended) return;
            var index = self.streams.items.len;
            while (index > 0) {
                index -= 1;
                const stream = self.streams.items[index];
                if (stream.deadline_ns > now_ns) continue;
                self.endStream(index);
                self.fail(stream.header, .deadline, "the deadline passed before the answer was ready") catch self.end();
            }
            if (now_ns >= self.deadline_ns) self.settle(.{ .gate = .durable, .number = 0, .failure = null, .now_ns = now_ns });
        }

        const Settle = struct { gate: Gate, number: u64, failure: ?Failure, now_ns: u64 };

        fn settle(self: *Self, what: Settle) void {
            if (self.held.items.len == 0 or self.ended) return;
            var kept: usize = 0;
            self.deadline_ns = never;
            for (self.held.items) |held| {
                const is_released = held.ticket.gate == what.gate and held.ticket.number <= what.number;
                const is_late = held.deadline_ns <= what.now_ns;
                if (!is_released and !is_late) {
                    self.held.items[kept] = held;
                    kept += 1;
                    self.deadline_ns = @min(self.deadline_ns, held.deadline_ns);
                    continue;
                }
                self.answerHeld(held, if (is_released) what.failure else .{
                    .status = .deadline,
                    .text = "the deadline passed before the answer was ready; a change may still be kept",
                }) catch self.end();
                self.forget(held);
            }
            self.held.shrinkRetainingCapacity(kept);
        }

        fn answerHeld(self: *Self, held: Held, failure: ?Failure) FrameError!void {
            if (failure) |wrong| return self.failCall(held.header, wrong);
            try self.out.appendSlice(self.gpa, held.frame);
        }

        fn forget(self: *Self, held: Held) void {
            self.held_bytes -= held.frame.len;
            _ = self.ids.remove(held.header.request_id);
            self.gpa.free(held.frame);
        }

        fn cancel(self: *Self, request_id: u64) FrameError!void {
            // Its call may just have ended.
            if (!self.ids.contains(request_id)) return;
            for (self.streams.items, 0..) |stream, index| {
                if (stream.header.request_id != request_id) continue;
                self.endStream(index);
                return self.fail(stream.header, .cancelled, "the caller cancelled the request");
            }
            for (self.held.items, 0..) |held, index| {
                if (held.header.request_id != request_id) continue;
                _ = self.held.orderedRemove(index);
                defer self.forget(held);
                return self.fail(held.header, .cancelled, "the caller cancelled the request; a change may still be kept");
            }
        }

        /// Says that no new requests are taken.
        pub fn stop(self: *Self) void {
            self.stopping = true;
            self.append(.{ .kind = .goaway, .service = self.config.service }, &.{}) catch self.end();
        }

        /// All that was accepted is answered: says so and ends the connection. What else the caller has open was not taken.
        pub fn farewell(self: *Self) void {
            const header: wire.Header = .{ .kind = .@"error", .service = self.config.service };
            self.fail(header, .closed, "the program has stopped; what it accepted is answered") catch {};
            self.end();
        }

        /// The time to drain is up: what is left is answered DEADLINE, and the connection ends without a farewell.
        pub fn cutOff(self: *Self) void {
            self.expire(never);
            self.end();
        }

        /// Says why the connection ends, and ends it.
        pub fn refuse(self: *Self, status: Status, text: []const u8) void {
            self.stats.violations += 1;
            const header: wire.Header = .{ .kind = .@"error", .service = self.config.service };
            self.fail(header, status, text) catch {};
            self.end();
        }

        fn end(self: *Self) void {
            self.ended = true;
        }

        /// CLOSED says that nothing of a call was done, which a handler cannot say of its own.
        fn failCall(self: *Self, to: wire.Header, wrong: Failure) FrameError!void {
            return self.fail(to, if (wrong.status == .closed) .@"unreachable" else wrong.status, wrong.text);
        }

        fn fail(self: *Self, to: wire.Header, status: Status, text: []const u8) FrameError!void {
            self.stats.errors += 1;
            const short = text[0..@min(text.len, protocol.limits.error_text_bytes_max)];
            try self.append(replyHeader(to, .@"error", if (short.len == 0) .none else .text, @intFromEnum(status)), short);
        }

        fn append(self: *Self, header: wire.Header, body: []const u8) FrameError!void {
            try wire.encode(self.gpa, &self.out, header, &.{}, body);
        }
    };
}

fn replyHeader(to: wire.Header, kind: protocol.Kind, content_type: protocol.ContentType, status: i32) wire.Header {
    return .{
        .kind = kind,
        .service = to.service,
        .content_type = content_type,
        .method = to.method,
        .status = status,
        .request_id = to.request_id,
        .trace_id = to.trace_id,
        .span_id = to.span_id,
    };
}

/// Bytes of events that may stand before another answer; a longer event goes whole.
const event_portion_bytes = 32 << 10;
/// Room of an outbox that an idle connection may keep.
const outbox_kept_bytes = 64 << 10;
