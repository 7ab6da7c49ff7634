//! A circuit breaker: after too many failures it refuses calls for a while, then lets a few through to see.
//!
//! After Nygard, "Release It!" (2007): a sliding window of counts, slow calls beside failed ones, an exact number of probes,
//! and pauses with full jitter (Brooker, "Exponential Backoff And Jitter", 2015). Time and randomness are arguments. One
//! thread. What it must do is in integration/vectors/breaker.txt.

const std = @import("std");
const protocol = @import("../gen/protocol.zig");

pub const Options = struct {
    /// What happened longer ago does not count.
    window_ns: u64 = 10 * std.time.ns_per_s,
    /// Fewer calls in the window prove nothing.
    calls_min: u32 = 20,
    /// It opens when more than this share of the calls failed.
    failed_share_max: f64 = 0.5,
    /// A call that takes this long is slow.
    slow_from_ns: u64 = std.time.ns_per_s,
    /// It opens when more than this share of the calls was slow.
    slow_share_max: f64 = 0.8,
    /// Calls let through after a pause. All must succeed, none slowly; the first that does not opens it again.
    probes: u32 = 3,
    /// A pause is a random part of this, doubled for each pause in a row, up to the longest.
    pause_first_ns: u64 = 100 * std.time.ns_per_ms,
    pause_max_ns: u64 = 10 * std.time.ns_per_s,

    /// Of the breaker that guards connecting: one failure is enough, one success ends it.
    pub const connecting: Options = .{
        .calls_min = 1,
        .failed_share_max = 0,
        .slow_share_max = 1,
        .probes = 1,
        .pause_first_ns = 20 * std.time.ns_per_ms,
        .pause_max_ns = std.time.ns_per_s,
    };
};

/// What it does with calls.
pub const State = union(enum) {
    /// All go through.
    closed,
    /// None does until then.
    open: u64,
    /// Probes do: so many are under way or have succeeded.
    half_open: struct { admitted: u32 = 0, succeeded: u32 = 0 },
};

/// How a call ended. Unknown says nothing of the other side: the caller gave up, or asked for what cannot be.
pub const Outcome = enum { succeeded, failed, unknown };

/// Leave for one call, whose outcome must be recorded, unknown at least.
pub const Permit = struct { epoch: u64 };

pub const Admission = union(enum) {
    permit: Permit,
    /// No call now; nanoseconds until the next may be let through.
    retry_in: u64,
};

const parts_count = 10;

const Part = struct {
    /// Which part of time it counts.
    number: u64 = 0,
    calls: u32 = 0,
    failed: u32 = 0,
    slow: u32 = 0,
};

/// The state machine for one peer and method.
pub const Breaker = struct {
    options: Options,
    state: State = .closed,
    /// Rises with each change of state: what was admitted before says nothing of now.
    epoch: u64 = 0,
    /// Pauses since it was closed last.
    pauses: u32 = 0,
    parts: [parts_count]Part = @splat(.{}),
    /// Time does not run backwards in here.
    now: u64 = 0,

    /// Asks for leave to make a call.
    pub fn admit(breaker: *Breaker, now_ns: u64) Admission {
        breaker.now = @max(breaker.now, now_ns);
        if (breaker.state == .open and breaker.now >= breaker.state.open) breaker.change(.{ .half_open = .{} });
        switch (breaker.state) {
            .closed => {},
            .open => |until| return .{ .retry_in = until - breaker.now },
            .half_open => |*probes| {
                if (probes.admitted >= @max(breaker.options.probes, 1)) return .{ .retry_in = breaker.options.pause_first_ns };
                probes.admitted += 1;
            },
        }
        return .{ .permit = .{ .epoch = breaker.epoch } };
    }

    /// Records how a call ended and how long it took. `random` is any number, equally likely; it spreads pauses.
    pub fn record(breaker: *Breaker, permit: Permit, now_ns: u64, outcome: Outcome, took_ns: u64, random: u64) void {
        breaker.now = @max(breaker.now, now_ns);
        if (permit.epoch != breaker.epoch) return;
        const is_slow = took_ns >= breaker.options.slow_from_ns;
        switch (breaker.state) {
            .open => {},
            .half_open => |*probes| switch (outcome) {
                .unknown => probes.admitted -= 1,
                .succeeded => {
                    if (is_slow) return breaker.open(random);
                    probes.succeeded += 1;
                    if (probes.succeeded < breaker.options.probes) return;
                    breaker.pauses = 0;
                    breaker.change(.closed);
                },
                .failed => breaker.open(random),
            },
            .closed => {
                if (outcome == .unknown) return;
                breaker.count(outcome == .failed, is_slow);
                if (breaker.isTooBad()) breaker.open(random);
            },
        }
    }

    /// Which part of time it is.
    fn part(breaker: *const Breaker) u64 {
        return breaker.now / @max(breaker.options.window_ns / parts_count, 1);
    }

    fn count(breaker: *Breaker, failed: bool, slow: bool) void {
        const number = breaker.part();
        const counted = &breaker.parts[@intCast(number % parts_count)];
        if (counted.number != number) counted.* = .{ .number = number };
        counted.calls +|= 1;
        counted.failed +|= @intFromBool(failed);
        counted.slow +|= @intFromBool(slow);
    }

    fn isTooBad(breaker: *const Breaker) bool {
        const oldest = breaker.part() -| (parts_count - 1);
        var calls: u64 = 0;
        var failed: u64 = 0;
        var slow: u64 = 0;
        for (breaker.parts) |counted| if (counted.number >= oldest) {
            calls += counted.calls;
            failed += counted.failed;
            slow += counted.slow;
        };
        return calls >= breaker.options.calls_min and (isAbove(failed, breaker.options.failed_share_max, calls) or
            isAbove(slow, breaker.options.slow_share_max, calls));
    }

    fn isAbove(some: u64, share: f64, calls: u64) bool {
        return @as(f64, @floatFromInt(some)) > share * @as(f64, @floatFromInt(calls));
    }

    fn open(breaker: *Breaker, random: u64) void {
        const doubled = @as(u128, breaker.options.pause_first_ns) << @intCast(@min(breaker.pauses, 64));
        const longest = @min(doubled, breaker.options.pause_max_ns);
        breaker.pauses +|= 1;
        // Equally likely from 0 to the longest.
        const pause: u64 = @intCast(@as(u128, random) * (longest + 1) >> 64);
        breaker.change(.{ .open = breaker.now +| pause });
    }

    fn change(breaker: *Breaker, state: State) void {
        breaker.state = state;
        breaker.epoch += 1;
        breaker.parts = @splat(.{});
    }
};

/// What an answer with a status says of who gave it.
pub fn outcomeOf(status: protocol.Status) Outcome {
    return switch (status) {
        // The caller gave up; the call was not taken.
        .cancelled, .closed => .unknown,
        .out_of_memory, .deadline, .busy, .io, .@"unreachable", .circuit_open => .failed,
        .panic, .internal => .failed,
        // It broke a rule of the wire, or says that we did.
        .frame_short, .frame_too_large, .frame_length, .bad_version, .bad_kind, .bad_service, .bad_content_type => .failed,
        .bad_flags, .bad_status, .bad_request_id, .bad_credit, .bad_tlv, .bad_utf8, .bad_body, .unexpected_frame => .failed,
        else => .succeeded,
    };
}
