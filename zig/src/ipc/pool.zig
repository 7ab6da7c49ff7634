//! Few connections to one socket, repaired as they break, with a circuit breaker for each method. It blocks; one thread.
//!
//! Calls share connections: a second one is opened only when the first is busy, and each call gets the least loaded. One
//! that was idle is looked at before it is used; one that is old takes no new calls and ends with its last one. Connecting
//! has a breaker of its own, which one failure opens, so that a socket that is not served costs no system call until its
//! pause is over.

const std = @import("std");
const breakers = @import("breaker.zig");
const calling = @import("client.zig");
const protocol = @import("../gen/protocol.zig");
const sys = @import("sys.zig");

pub const Error = calling.Error || error{
    /// Nothing answered at the path: `failure`.
    Unreachable,
    /// Calls like this one failed too often; none is made for `retry_in_ns`.
    CircuitOpen,
    /// The server went away and had not taken the call: repeating it is safe.
    NotTaken,
};

pub const Options = struct {
    service: protocol.Service,
    software: []const u8 = "mfn-zig/0.1.0",
    /// For a connect and the exchange of HELLO together.
    timeout_ns: u64 = 5 * std.time.ns_per_s,
    connections_max: u32 = 2,
    /// Calls in flight on every connection before another one is opened.
    share: u32 = 256,
    /// An older connection takes no new calls.
    age_max_ns: u64 = 15 * std.time.ns_per_min,
    /// Of each method.
    breaker: breakers.Options = .{},
};

/// A connection that was not used for so long is looked at first: the other side may be gone.
const idle_from_ns = 10 * std.time.ns_per_ms;
/// Connections to which a call goes that none took.
const tries_max = 3;
/// Methods with a breaker of their own; all others share one.
const breakers_max = 256;

const Connection = struct {
    client: calling.Client,
    opened_ns: u64,
    used_ns: u64,
    /// Calls whose ends have not been taken.
    calls: u32 = 0,
    /// It takes no new calls.
    is_retired: bool = false,
    /// How it ended for the calls that were open then.
    ended: ?error{ Closed, NotTaken } = null,

    fn end(connection: *Connection, err: calling.Error) void {
        // The last word of a server that went away: what is open was never taken.
        const has_left = err == error.Refused and connection.client.refusal.status == .closed;
        connection.ended = if (has_left) error.NotTaken else error.Closed;
        connection.is_retired = true;
    }
};

/// One under way: take it to its end with `item` or `wait`, or cancel it. Its breaker waits for that.
pub const Call = struct {
    method: u16,
    permit: breakers.Permit,
    started_ns: u64,
    /// A stream lasts as long as it has something to say.
    is_timed: bool,
    connection: ?*Connection = null,
    id: u64 = 0,
};

pub const Pool = struct {
    gpa: std.mem.Allocator,
    options: Options,
    path: []const u8,
    connections: std.ArrayList(*Connection) = .empty,
    peer: breakers.Breaker = .{ .options = .connecting },
    methods: std.AutoHashMapUnmanaged(u16, breakers.Breaker) = .empty,
    others: breakers.Breaker,
    dice: std.Random.DefaultPrng,
    /// Why the last connect failed, and what the server said of it.
    failure: ?anyerror = null,
    refusal: calling.Refusal = .{},
    /// After CircuitOpen: how long until the next call may be made.
    retry_in_ns: u64 = 0,

    /// A pool without connections: the first call opens one.
    pub fn init(gpa: std.mem.Allocator, path: []const u8, options: Options) Error!Pool {
        var seed: u64 = undefined;
        try sys.random(std.mem.asBytes(&seed));
        return .{
            .gpa = gpa,
            .options = options,
            .path = try gpa.dupe(u8, path),
            .others = .{ .options = options.breaker },
            .dice = .init(seed),
        };
    }

    /// Ends all connections; calls under way are over.
    pub fn deinit(pool: *Pool) void {
        for (pool.connections.items) |connection| pool.destroy(connection);
        pool.connections.deinit(pool.gpa);
        pool.methods.deinit(pool.gpa);
        pool.gpa.free(pool.path);
        pool.* = undefined;
    }

    /// Calls and waits. What a server on its way out did not take is asked again; any other call happens at most once. A
    /// failed call is an answer, whose body lives until the next use of the pool.
    pub fn call(pool: *Pool, request: calling.Request) Error!calling.Answer {
        var one = try pool.admit(request);
        var tries: u32 = 0;
        while (true) {
            tries += 1;
            const result = pool.attempt(&one, request);
            const is_taken = if (result) |answer| answer.status != .closed else |err| err != error.NotTaken;
            if (!is_taken and tries < tries_max) continue;
            pool.over(&one, if (result) |answer| breakers.outcomeOf(answer.status) else |err| outcomeOf(err));
            return result;
        }
    }

    fn attempt(pool: *Pool, one: *Call, request: calling.Request) Error!calling.Answer {
        try pool.send(one, request);
        while (true) switch (try pool.take(one)) {
            .event => {},
            .end => |answer| {
                release(one);
                return answer;
            },
        };
    }

    /// Starts a call on the least loaded connection. It goes out with `flush`, or while something is waited for.
    pub fn start(pool: *Pool, request: calling.Request) Error!Call {
        var one = try pool.admit(request);
        errdefer |err| pool.over(&one, outcomeOf(err));
        try pool.send(&one, request);
        return one;
    }

    /// The next event of a call, or its end; waits at most to its deadline. An error ends the call. Bodies live until the
    /// next use of the pool.
    pub fn item(pool: *Pool, one: *Call) Error!calling.Item {
        const found = pool.take(one) catch |err| {
            pool.over(one, outcomeOf(err));
            return err;
        };
        if (found == .end) pool.over(one, breakers.outcomeOf(found.end.status));
        return found;
    }

    /// The end of a call; its events are dropped.
    pub fn wait(pool: *Pool, one: *Call) Error!calling.Answer {
        while (true) switch (try pool.item(one)) {
            .event => {},
            .end => |answer| return answer,
        };
    }

    /// Ends a call and tells the server that nobody waits for its answer.
    pub fn cancel(pool: *Pool, one: *Call) Error!void {
        const connection = one.connection orelse return error.NoSuchCall;
        defer pool.over(one, .unknown);
        if (connection.ended != null) return;
        connection.client.cancel(one.id) catch |err| switch (err) {
            error.OutOfMemory, error.NoSuchCall => return err,
            // It is over with its connection.
            else => connection.end(err),
        };
    }

    /// Sends what was started.
    pub fn flush(pool: *Pool, until: u64) Error!void {
        for (pool.connections.items) |connection| if (connection.ended == null) {
            connection.client.flush(until) catch |err| switch (err) {
                error.OutOfMemory, error.Deadline => return err,
                // Its calls say so.
                else => connection.end(err),
            };
        };
    }

    /// What the breaker of a method does; null: the method was never called.
    pub fn state(pool: *const Pool, method: u16) ?breakers.State {
        return (pool.methods.get(method) orelse return null).state;
    }

    fn admit(pool: *Pool, request: calling.Request) Error!Call {
        const now = sys.monotonicNs();
        return switch ((try pool.breakerOf(request.method)).admit(now)) {
            .permit => |permit| .{
                .method = request.method,
                .permit = permit,
                .started_ns = now,
                .is_timed = request.credit == 0,
            },
            .retry_in => |ns| pool.refused(ns),
        };
    }

    fn refused(pool: *Pool, retry_in_ns: u64) error{CircuitOpen} {
        pool.retry_in_ns = retry_in_ns;
        return error.CircuitOpen;
    }

    fn breakerOf(pool: *Pool, method: u16) Error!*breakers.Breaker {
        if (pool.methods.getPtr(method)) |known| return known;
        if (pool.methods.count() >= breakers_max) return &pool.others;
        const made = try pool.methods.getOrPut(pool.gpa, method);
        made.value_ptr.* = .{ .options = pool.options.breaker };
        return made.value_ptr;
    }

    /// Tells the breaker how a call ended.
    fn over(pool: *Pool, one: *Call, outcome: breakers.Outcome) void {
        release(one);
        const now = sys.monotonicNs();
        const took = if (one.is_timed) now -| one.started_ns else 0;
        const breaker = pool.methods.getPtr(one.method) orelse &pool.others;
        breaker.record(one.permit, now, outcome, took, pool.dice.next());
    }

    fn release(one: *Call) void {
        if (one.connection) |connection| connection.calls -= 1;
        one.connection = null;
    }

    fn send(pool: *Pool, one: *Call, request: calling.Request) Error!void {
        const connection = try pool.checkout(request.deadline_ns);
        one.id = try connection.client.start(request);
        one.connection = connection;
        connection.calls += 1;
    }

    fn take(_: *Pool, one: *Call) Error!calling.Item {
        const connection = one.connection orelse return error.NoSuchCall;
        errdefer release(one);
        // What had come before the end is here.
        if (connection.ended) |how| return try connection.client.kept(one.id) orelse how;
        return connection.client.item(one.id) catch |err| switch (err) {
            error.Deadline, error.OutOfMemory, error.NoSuchCall => err,
            else => {
                connection.end(err);
                return connection.ended.?;
            },
        };
    }

    /// The least loaded connection that is well.
    fn checkout(pool: *Pool, deadline_ns: u64) Error!*Connection {
        const now = sys.monotonicNs();
        if (deadline_ns != 0 and deadline_ns <= now) return error.Deadline;
        pool.sweep(now);
        var count: u32 = 0;
        var least: ?*Connection = null;
        for (pool.connections.items) |connection| {
            if (connection.is_retired) continue;
            count += 1;
            if (connection.client.isFull()) continue;
            if (least == null or connection.client.load() < least.?.client.load()) least = connection;
        }
        const can_open = count < @max(pool.options.connections_max, 1);
        const is_busy = if (least) |connection| connection.client.load() >= pool.options.share else true;
        if (is_busy and can_open) {
            if (pool.connect(now, deadline_ns)) |made| return made else |err| {
                // The one there is will do; those that are full do not hide behind the one that does not come.
                if (count == 0) return err;
            }
        }
        const connection = least orelse return error.Busy;
        connection.used_ns = now;
        return connection;
    }

    /// Connections that are gone or too old take no new calls, and go with their last one.
    fn sweep(pool: *Pool, now: u64) void {
        var at: usize = 0;
        while (at < pool.connections.items.len) {
            const connection = pool.connections.items[at];
            const client = &connection.client;
            // What was cancelled takes a place until its answer is read.
            const is_looked_at = now -| connection.used_ns > idle_from_ns or client.isFull();
            if (connection.ended == null and is_looked_at) client.catchUp() catch |err| connection.end(err);
            if (client.leaving or now -| connection.opened_ns >= pool.options.age_max_ns) connection.is_retired = true;
            if (connection.is_retired and connection.calls == 0) {
                _ = pool.connections.swapRemove(at);
                pool.destroy(connection);
            } else at += 1;
        }
    }

    fn destroy(pool: *Pool, connection: *Connection) void {
        connection.client.close();
        pool.gpa.destroy(connection);
    }

    fn connect(pool: *Pool, now: u64, deadline_ns: u64) Error!*Connection {
        try pool.connections.ensureUnusedCapacity(pool.gpa, 1);
        const permit = switch (pool.peer.admit(now)) {
            .permit => |permit| permit,
            .retry_in => |ns| return pool.refused(ns),
        };
        const left = if (deadline_ns == 0) pool.options.timeout_ns else @min(deadline_ns - now, pool.options.timeout_ns);
        const made = pool.open(left);
        const outcome: breakers.Outcome = if (made) |_| .succeeded else |err| switch (err) {
            error.OutOfMemory => .unknown,
            // When it was this call's time that was too short, that says nothing of the other side.
            error.Deadline => if (left < pool.options.timeout_ns) .unknown else .failed,
            else => .failed,
        };
        pool.peer.record(permit, sys.monotonicNs(), outcome, 0, pool.dice.next());
        const connection = made catch |err| {
            if (outcome == .unknown) return err;
            pool.failure = err;
            return error.Unreachable;
        };
        pool.connections.appendAssumeCapacity(connection);
        return connection;
    }

    fn open(pool: *Pool, timeout_ns: u64) Error!*Connection {
        const connection = try pool.gpa.create(Connection);
        errdefer pool.gpa.destroy(connection);
        const client = try calling.Client.connect(pool.gpa, pool.path, .{
            .service = pool.options.service,
            .timeout_ns = timeout_ns,
            .software = pool.options.software,
            .refusal = &pool.refusal,
        });
        const now = sys.monotonicNs();
        connection.* = .{ .client = client, .opened_ns = now, .used_ns = now };
        return connection;
    }
};

/// What an error says of the other side. That nothing was reached is the connecting breaker's to count.
fn outcomeOf(err: Error) breakers.Outcome {
    return switch (err) {
        error.Closed, error.Deadline => .failed,
        else => .unknown,
    };
}
