//! The C functions with arguments that a caller should not give.

const std = @import("std");
const ifr = @import("../c/ifr.zig");
const Status = @import("../gen/protocol.zig").Status;

fn expect(status: Status, actual: i32) !void {
    try std.testing.expectEqual(@intFromEnum(status), actual);
}

fn options() ifr.Options {
    return .{
        .struct_size = @sizeOf(ifr.Options),
        .flags = 0,
        .bytes_max = 1 << 20,
        .hash_key = @splat(3),
    };
}

test "options that are not understood are refused" {
    var handle: ?*ifr.Handle = null;
    const good = options();
    try expect(.invalid_argument, ifr.new(null, &handle));
    try expect(.invalid_argument, ifr.new(&good, null));
    for ([_]u32{ 0, 1, 31, 1 << 20, std.math.maxInt(u32) }) |size| {
        var bad = options();
        bad.struct_size = size;
        try expect(.invalid_argument, ifr.new(&bad, &handle));
    }
    var bad = options();
    bad.flags = 2;
    try expect(.invalid_argument, ifr.new(&bad, &handle));
    bad = options();
    bad.hash_key = @splat(0);
    try expect(.invalid_argument, ifr.new(&bad, &handle));
    bad = options();
    bad.bytes_max = 100;
    try expect(.limit, ifr.new(&bad, &handle));
    try std.testing.expectEqual(null, handle);
}

test "a newer caller's options are taken while what is new in them is zero" {
    const Newer = extern struct { known: ifr.Options, more: u64 };
    var handle: ?*ifr.Handle = null;
    var newer: Newer = .{ .known = options(), .more = 0 };
    newer.known.struct_size = @sizeOf(Newer);
    try expect(.ok, ifr.new(&newer.known, &handle));
    ifr.free(handle);
    newer.more = 1;
    try expect(.invalid_argument, ifr.new(&newer.known, &handle));
}

test "NULL and foreign memory are refused by every function" {
    var handle: ?*ifr.Handle = null;
    const good = options();
    try expect(.ok, ifr.new(&good, &handle));
    defer ifr.free(handle);
    var foreign: [64]u64 = @splat(0);
    const wrong: *ifr.Handle = @ptrCast(&foreign);
    const crooked: *ifr.Handle = @ptrFromInt(@intFromPtr(&foreign) + 1);
    const key: [32]u8 = @splat(1);
    var value: [16]u8 = @splat(2);
    var byte: u8 = 0;
    var stats: ifr.Stats = undefined;
    stats.struct_size = @sizeOf(ifr.Stats);
    for ([_]?*ifr.Handle{ null, wrong, crooked }) |bad| {
        try expect(.invalid_argument, ifr.insert(bad, &key, &value, null, null));
        try expect(.invalid_argument, ifr.insertBytes(bad, &key, 3, &value, null, null));
        try expect(.invalid_argument, ifr.get(bad, &key, &value));
        try expect(.invalid_argument, ifr.getBytes(bad, &key, 3, &value));
        try expect(.invalid_argument, ifr.getMany(bad, null, 0, null, null, null));
        try expect(.invalid_argument, ifr.remove(bad, &key, null));
        try expect(.invalid_argument, ifr.removeBytes(bad, &key, 3, null));
        try expect(.invalid_argument, ifr.mayContain(bad, &key, &byte));
        try expect(.invalid_argument, ifr.forEach(bad, null, stop));
        try expect(.invalid_argument, ifr.forEachBytes(bad, null, stop));
        try expect(.invalid_argument, ifr.stats(bad, &stats));
        ifr.free(bad);
    }
    try expect(.invalid_argument, ifr.insert(handle, null, &value, null, null));
    try expect(.invalid_argument, ifr.insert(handle, &key, null, null, null));
    try expect(.invalid_argument, ifr.get(handle, null, &value));
    try expect(.invalid_argument, ifr.get(handle, &key, null));
    try expect(.invalid_argument, ifr.remove(handle, null, null));
    try expect(.invalid_argument, ifr.mayContain(handle, &key, null));
    try expect(.invalid_argument, ifr.forEach(handle, null, null));
    try expect(.invalid_argument, ifr.stats(handle, null));
    stats.struct_size = ifr.stats_size_min - 1;
    try expect(.invalid_argument, ifr.stats(handle, &stats));
    try expect(.invalid_argument, ifr.insertBytes(handle, null, 1, &value, null, null));
    try expect(.invalid_argument, ifr.getBytes(handle, &key, 65_537, &value));
    try expect(.invalid_argument, ifr.getBytes(handle, &key, std.math.maxInt(usize), &value));
    const many = std.math.maxInt(usize) / 8;
    try expect(.invalid_argument, ifr.getMany(handle, @ptrCast(&key), many, @ptrCast(&value), @ptrCast(&byte), null));
    try expect(.invalid_argument, ifr.getMany(handle, null, 1, @ptrCast(&value), @ptrCast(&byte), null));
}

fn stop(_: ?*anyopaque, _: [*]const u8, _: usize, _: *const [16]u8) callconv(.c) i32 {
    return 1;
}

test "outputs are written on success only, and a key may be empty" {
    var handle: ?*ifr.Handle = null;
    const good = options();
    try expect(.ok, ifr.new(&good, &handle));
    defer ifr.free(handle);
    const key: [32]u8 = @splat(1);
    const first: [16]u8 = @splat(2);
    const second: [16]u8 = @splat(3);
    var out: [16]u8 = @splat(9);
    var replaced: u8 = 9;
    try expect(.not_found, ifr.get(handle, &key, &out));
    try expect(.not_found, ifr.remove(handle, &key, &out));
    try expect(.ok, ifr.insert(handle, &key, &first, &out, &replaced));
    try std.testing.expectEqual(0, replaced);
    try std.testing.expectEqual(@as([16]u8, @splat(9)), out);
    try expect(.ok, ifr.insert(handle, &key, &second, &out, &replaced));
    try std.testing.expectEqual(1, replaced);
    try std.testing.expectEqual(first, out);
    try expect(.ok, ifr.insertBytes(handle, null, 0, &first, null, null));
    try expect(.ok, ifr.getBytes(handle, null, 0, &out));
    try std.testing.expectEqual(first, out);
    try expect(.cancelled, ifr.forEach(handle, null, stop));
    try expect(.cancelled, ifr.forEachBytes(handle, null, stop));
    try expect(.ok, ifr.removeBytes(handle, null, 0, &out));
    try expect(.ok, ifr.forEachBytes(handle, null, stop));
}
