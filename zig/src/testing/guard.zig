//! A panic behind a recovery point, injected by functions that exist only here.

const std = @import("std");
const guard = @import("../c/guard.zig");
const ifr = @import("../c/ifr.zig");
const Status = @import("../gen/protocol.zig").Status;

const testing = std.testing;

fn make() !*ifr.Handle {
    var handle: ?*ifr.Handle = null;
    const options: ifr.Options = .{
        .struct_size = @sizeOf(ifr.Options),
        .flags = 0,
        .bytes_max = 1 << 20,
        .hash_key = @splat(3),
    };
    try testing.expectEqual(@intFromEnum(Status.ok), ifr.new(&options, &handle));
    return handle.?;
}

var heard: [64]u8 = undefined;
var heard_bytes: usize = 0;

fn listen(message: [*]const u8, message_bytes: usize) callconv(.c) void {
    heard_bytes = @min(message_bytes, heard.len);
    @memcpy(heard[0..heard_bytes], message[0..heard_bytes]);
}

/// Frames, locals in registers and a float are under way when it breaks.
noinline fn dive(depth: u64, sum: f64) u64 {
    if (depth == 0) guard.panicked("injected", null);
    var local: [3]u64 = .{ depth, depth * 3, depth * 7 };
    std.mem.doNotOptimizeAway(&local);
    return dive(depth - 1, sum + 1.5) + local[depth % 3];
}

fn breaks(_: ?*ifr.Handle, depth: u64) callconv(.c) i32 {
    return @truncate(@as(i64, @bitCast(dive(depth, 0.5))));
}

const Breaks = *const fn (?*ifr.Handle, u64) callconv(.c) i32;

test "a panic becomes a status and poisons its handle only" {
    if (!guard.recovers) return error.SkipZigTest;
    guard.setReporter(listen);
    defer guard.setReporter(null);
    const call: Breaks = @ptrCast(guard.of(breaks, .first_argument));
    const get: *const @TypeOf(ifr.get) = @ptrCast(guard.of(ifr.get, .first_argument));
    const handle = try make();
    const other = try make();
    defer ifr.free(other);
    // Its memory leaks by design; the test gives it back.
    defer ifr.Handle.reclaim(handle);
    const key: [32]u8 = @splat(1);
    var value: [16]u8 = @splat(2);
    try testing.expectEqual(@intFromEnum(Status.ok), ifr.insert(handle, &key, &value, null, null));
    try testing.expectEqual(@intFromEnum(Status.ok), get(handle, &key, &value));

    for (0..1000) |depth| {
        heard_bytes = 0;
        var kept: [6]u64 = undefined;
        for (&kept, depth..) |*word, number| word.* = number *% 0x9e37_79b9;
        std.mem.doNotOptimizeAway(&kept);
        try testing.expectEqual(@intFromEnum(Status.panic), call(handle, depth % 40));
        for (kept, depth..) |word, number| try testing.expectEqual(number *% 0x9e37_79b9, word);
        try testing.expectEqualStrings("injected", heard[0..heard_bytes]);
    }
    var entries: u64 = 9;
    try testing.expectEqual(@intFromEnum(Status.panic), get(handle, &key, &value));
    try testing.expectEqual(@intFromEnum(Status.panic), ifr.insert(handle, &key, &value, null, null));
    try testing.expectEqual(@intFromEnum(Status.panic), ifr.len(handle, &entries));
    try testing.expectEqual(9, entries);
    ifr.free(handle);
    try testing.expectEqual(@intFromEnum(Status.panic), get(handle, &key, &value));
    try testing.expectEqual(@intFromEnum(Status.not_found), get(other, &key, &value));
}

const Nested = struct { handle: *ifr.Handle, visits: u32 = 0, status: i32 = 0 };

fn visitAndBreak(userdata: ?*anyopaque, _: [*]const u8, _: usize, _: *const [16]u8) callconv(.c) i32 {
    const nested: *Nested = @ptrCast(@alignCast(userdata.?));
    nested.visits += 1;
    const call: Breaks = @ptrCast(guard.of(breaks, .first_argument));
    nested.status = call(nested.handle, 3);
    return 0;
}

test "a panic in what a visitor calls ends there, and ends the iteration" {
    if (!guard.recovers) return error.SkipZigTest;
    guard.setReporter(listen);
    defer guard.setReporter(null);
    const each: *const @TypeOf(ifr.forEach) = @ptrCast(guard.of(ifr.forEach, .first_argument));
    // Once the visitor breaks the handle that is walked, once another one.
    for ([_]bool{ true, false }) |same| {
        const handle = try make();
        const other = try make();
        defer ifr.free(handle);
        defer ifr.free(other);
        defer ifr.Handle.reclaim(if (same) handle else other);
        for (0..10) |number| {
            const key: [32]u8 = @splat(@intCast(number));
            try testing.expectEqual(0, ifr.insert(handle, &key, &@splat(0), null, null));
        }
        var nested: Nested = .{ .handle = if (same) handle else other };
        const answer = each(handle, &nested, visitAndBreak);
        try testing.expectEqual(@intFromEnum(Status.panic), nested.status);
        try testing.expectEqual(@intFromEnum(if (same) Status.panic else Status.ok), answer);
        try testing.expectEqual(@as(u32, if (same) 1 else 10), nested.visits);
    }
}

fn breakOften(handle: *ifr.Handle, failures: *std.atomic.Value(u32)) void {
    const call: Breaks = @ptrCast(guard.of(breaks, .first_argument));
    for (0..2000) |depth| {
        if (call(handle, depth % 20) != @intFromEnum(Status.panic)) _ = failures.fetchAdd(1, .monotonic);
    }
}

test "threads have recovery points of their own" {
    if (!guard.recovers) return error.SkipZigTest;
    guard.setReporter(ignore);
    defer guard.setReporter(null);
    const handle = try make();
    defer ifr.Handle.reclaim(handle);
    var failures: std.atomic.Value(u32) = .init(0);
    var threads: [4]std.Thread = undefined;
    for (&threads) |*thread| thread.* = try std.Thread.spawn(.{}, breakOften, .{ handle, &failures });
    for (threads) |thread| thread.join();
    try testing.expectEqual(0, failures.load(.monotonic));
}

fn ignore(_: [*]const u8, _: usize) callconv(.c) void {}
