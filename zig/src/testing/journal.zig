//! The journal on a real directory: every cut of a log, and a snapshot under changes.

const std = @import("std");
const testing = std.testing;
const linux = std.os.linux;
const files = @import("../journal/files.zig");
const format = @import("../journal/format.zig");
const journaling = @import("../journal.zig");
const sys = @import("../ipc/sys.zig");
const Log = @import("../ipc/log.zig").Log;

const gpa = testing.allocator;
const service = 6;
/// Lines of expected errors go nowhere.
const silent: Log = .{ .fd = -1 };

/// A directory of its own, which goes away.
const Place = struct {
    memory: [64:0]u8,
    length: usize,

    fn make(name: []const u8) !Place {
        var place: Place = .{ .memory = @splat(0), .length = 0 };
        sys.makeDirectory(".zig-cache", 0o700) catch |err| if (err != error.Exists) return err;
        place.length = (try std.fmt.bufPrint(&place.memory, ".zig-cache/{s}-{d}", .{ name, linux.getpid() })).len;
        try sys.makeDirectory(&place.memory, 0o700);
        return place;
    }

    fn path(place: *const Place) []const u8 {
        return place.memory[0..place.length];
    }

    fn file(place: *const Place, name: []const u8, memory: *[128:0]u8) ![*:0]const u8 {
        return (try std.fmt.bufPrintZ(memory, "{s}/{s}", .{ place.path(), name })).ptr;
    }

    fn write(place: *const Place, name: []const u8, bytes: []const u8) !void {
        var memory: [128:0]u8 = undefined;
        const fd = try sys.open(try place.file(name, &memory), .{ .ACCMODE = .WRONLY, .CREAT = true, .TRUNC = true }, 0o600);
        defer sys.close(fd);
        try sys.writeAll(fd, bytes);
    }

    fn read(place: *const Place, name: []const u8) ![]u8 {
        var memory: [128:0]u8 = undefined;
        const fd = try sys.open(try place.file(name, &memory), .{}, 0);
        defer sys.close(fd);
        const bytes = try gpa.alloc(u8, @intCast((try sys.statFd(fd)).size));
        errdefer gpa.free(bytes);
        try testing.expectEqual(bytes.len, try sys.readAt(fd, bytes, 0));
        return bytes;
    }

    fn remove(place: *const Place) void {
        for ([_][]const u8{ "log", "snapshot", "lock", "log.tmp", "snapshot.tmp" }) |name| {
            var memory: [128:0]u8 = undefined;
            sys.unlink(place.file(name, &memory) catch continue) catch {};
        }
        _ = linux.rmdir(&place.memory);
    }
};

/// Sets of numbers: a change is a length and one number, which says it again when it is told twice.
const Numbers = struct {
    seen: [256]bool = @splat(false),
    last: u8 = 0,
    told: usize = 0,

    pub fn replay(numbers: *Numbers, payload: []const u8) error{BadPayload}!void {
        var rest = payload;
        while (rest.len > 0) : (rest = rest[5..]) {
            if (rest.len < 5 or std.mem.readInt(u32, rest[0..4], .little) != 1) return error.BadPayload;
            numbers.seen[rest[4]] = true;
            numbers.last = rest[4];
            numbers.told += 1;
        }
    }

    fn count(numbers: *const Numbers) usize {
        return std.mem.count(bool, &numbers.seen, &.{true});
    }

    fn writeAll(numbers: *Numbers, writer: *journaling.SnapshotWriter) sys.Error!void {
        for (numbers.seen, 0..) |is_seen, number| {
            if (is_seen) try writer.record(&.{ 1, 0, 0, 0, @intCast(number) });
        }
    }
};

test "every cut of a log opens with what is whole, and goes on" {
    const place = try Place.make("cut");
    defer place.remove();
    var whole: std.ArrayList(u8) = .empty;
    defer whole.deinit(gpa);
    try whole.appendSlice(gpa, &(format.Header{ .kind = .log, .service = service, .generation = 0 }).encode());
    var ends: [6]usize = undefined;
    ends[0] = whole.items.len;
    for (ends[1..], 1..) |*end, number| {
        // One and two changes in a record.
        const payload = [_]u8{ 1, 0, 0, 0, @intCast(number), 1, 0, 0, 0, @intCast(number) };
        const some = payload[0 .. 5 + 5 * (number % 2)];
        try whole.appendSlice(gpa, &format.recordHead(some));
        try whole.appendSlice(gpa, some);
        end.* = whole.items.len;
    }
    for (0..whole.items.len + 1) |length| {
        errdefer std.debug.print("cut to {d} bytes\n", .{length});
        try place.write("log", whole.items[0..length]);
        var numbers: Numbers = .{};
        var opened = files.Files.open(gpa, place.path(), service, silent, &numbers) catch |err| {
            // The header was whole before the file had its name.
            try testing.expect(err == error.Corrupt and length < format.header_bytes);
            continue;
        };
        defer opened.close();
        try testing.expect(length >= format.header_bytes);
        try testing.expectEqual(numbers.count(), numbers.last);
        try testing.expectEqual(ends[numbers.last], opened.log_bytes);
        try testing.expect(numbers.last == 5 or length < ends[numbers.last + 1]);
        const left = try place.read("log");
        defer gpa.free(left);
        try testing.expectEqualSlices(u8, whole.items[0..opened.log_bytes], left);
    }
}

fn waitUntilDurable(journal: *journaling.Journal, number: u64) !void {
    while (journal.durable < number or journal.snapshot != null) {
        journal.commit();
        if (journal.durable >= number and journal.snapshot == null) return;
        _ = try sys.poll(journal.bell(), .{ .read = true }, 100 * std.time.ns_per_ms);
        journal.progress();
        try testing.expect(!journal.broken);
    }
}

test "changes go on while a snapshot is written, and all are there afterwards" {
    for ([_]journaling.Durability{ .sync, .none }) |durability| {
        const place = try Place.make("snapshot");
        defer place.remove();
        const options: journaling.Options = .{ .service = service, .durability = durability, .log = silent };
        var numbers: Numbers = .{};
        var journal: journaling.Journal = undefined;
        try journal.open(gpa, place.path(), options, &numbers);
        for (0..200) |number| {
            if (number % 50 == 20) _ = try journal.startSnapshot(&numbers, Numbers.writeAll);
            try journal.reserve(1);
            numbers.seen[number] = true;
            const change = journal.append(&.{&.{@intCast(number)}});
            try testing.expectEqual(number + 1, change);
            if (number % 7 == 0) journal.commit();
            if (number % 50 == 45) try waitUntilDurable(&journal, change) else journal.progress();
        }
        try testing.expectEqual(4, journal.snapshots_ended);
        try testing.expect(!journal.snapshot_failed);
        journal.close();
        var again: Numbers = .{};
        try journal.open(gpa, place.path(), options, &again);
        defer journal.close();
        try testing.expectEqual(4, journal.files.generation);
        try testing.expectEqualSlices(bool, &numbers.seen, &again.seen);
        try testing.expectEqual(199, again.last);
    }
}

test "a directory that is used, and one with another program's files, are refused" {
    const place = try Place.make("refused");
    defer place.remove();
    try place.write("log", &(format.Header{ .kind = .log, .service = 8, .generation = 0 }).encode());
    var numbers: Numbers = .{};
    try testing.expectError(error.Corrupt, files.Files.open(gpa, place.path(), service, silent, &numbers));
    try place.write("log", &(format.Header{ .kind = .log, .service = service, .generation = 3 }).encode());
    try testing.expectError(error.Corrupt, files.Files.open(gpa, place.path(), service, silent, &numbers));
    const odd = (format.Header{ .kind = .log, .service = service, .generation = 0 }).encode() ++ format.recordHead("odd") ++ "odd";
    try place.write("log", odd);
    try testing.expectError(error.Corrupt, files.Files.open(gpa, place.path(), service, silent, &numbers));
    try testing.expectEqual(0, numbers.told);
}
