//! The golden traces of breakers, which all languages read.

const std = @import("std");
const breakers = @import("../ipc/breaker.zig");
const testing = std.testing;

const traces = @embedFile("breaker_traces");
const canary = @embedFile("breaker_canary");

const Words = std.mem.TokenIterator(u8, .scalar);

fn number(comptime Int: type, words: *Words) !Int {
    return std.fmt.parseInt(Int, words.next().?, 10);
}

fn share(words: *Words) !f64 {
    return std.fmt.parseFloat(f64, words.next().?);
}

fn outcome(words: *Words) breakers.Outcome {
    return std.meta.stringToEnum(breakers.Outcome, words.next().?).?;
}

fn state(breaker: *const breakers.Breaker, room: []u8) ![]const u8 {
    return switch (breaker.state) {
        .closed => "closed",
        .open => |until| std.fmt.bufPrint(room, "open:{d}", .{until}),
        .half_open => |probes| std.fmt.bufPrint(room, "half:{d}:{d}", .{ probes.admitted, probes.succeeded }),
    };
}

/// The first line that says something else than the breaker; null is agreement.
fn disagreement(text: []const u8) !?[]const u8 {
    var breaker: breakers.Breaker = .{ .options = .{} };
    var permits: std.ArrayList(breakers.Permit) = .empty;
    defer permits.deinit(testing.allocator);
    var room: [64]u8 = undefined;
    var events: usize = 0;
    var lines = std.mem.tokenizeScalar(u8, text, '\n');
    while (lines.next()) |line| {
        if (line[0] == '#') continue;
        var words = std.mem.tokenizeScalar(u8, line, ' ');
        const Kind = enum { trace, status, admit, record };
        switch (std.meta.stringToEnum(Kind, words.next().?).?) {
            .trace => {
                _ = words.next();
                permits.clearRetainingCapacity();
                breaker = .{ .options = .{
                    .window_ns = try number(u64, &words),
                    .calls_min = try number(u32, &words),
                    .failed_share_max = try share(&words),
                    .slow_from_ns = try number(u64, &words),
                    .slow_share_max = try share(&words),
                    .probes = try number(u32, &words),
                    .pause_first_ns = try number(u64, &words),
                    .pause_max_ns = try number(u64, &words),
                } };
                continue;
            },
            .status => {
                const found = breakers.outcomeOf(@enumFromInt(try number(i32, &words)));
                if (found != outcome(&words)) return line;
                continue;
            },
            .admit => {
                const found = switch (breaker.admit(try number(u64, &words))) {
                    .permit => |permit| yes: {
                        try permits.append(testing.allocator, permit);
                        break :yes "yes";
                    },
                    .retry_in => |ns| try std.fmt.bufPrint(&room, "{d}", .{ns}),
                };
                if (!std.mem.eql(u8, found, words.next().?)) return line;
            },
            .record => {
                const now = try number(u64, &words);
                const permit = permits.items[try number(usize, &words)];
                const how = outcome(&words);
                const took = try number(u64, &words);
                breaker.record(permit, now, how, took, try number(u64, &words));
            },
        }
        events += 1;
        if (!std.mem.eql(u8, try state(&breaker, &room), words.next().?)) return line;
    }
    return if (events == 0) "there is nothing" else null;
}

test "breakers do what the golden traces say, and not what the canary says" {
    if (try disagreement(traces)) |line| {
        std.debug.print("not so: {s}\n", .{line});
        return error.TestUnexpectedResult;
    }
    try testing.expect(try disagreement(canary) != null);
}

test "defaults are those of the traces" {
    var room: [256]u8 = undefined;
    inline for (.{ .{ "of_a_pool", breakers.Options{} }, .{ "connecting_fails_once", breakers.Options.connecting } }) |one| {
        const o = one[1];
        const line = try std.fmt.bufPrint(&room, "trace {s} {d} {d} {d} {d} {d} {d} {d} {d}\n", .{
            one[0],           o.window_ns, o.calls_min,      o.failed_share_max, o.slow_from_ns,
            o.slow_share_max, o.probes,    o.pause_first_ns, o.pause_max_ns,
        });
        try testing.expect(std.mem.indexOf(u8, traces, line) != null);
    }
}
