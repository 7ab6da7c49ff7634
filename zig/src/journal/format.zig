//! The bytes of snapshots and logs: docs/JOURNAL.md. No I/O.

const std = @import("std");
const crc32 = @import("crc32.zig");

pub const magic = "MFNJ";
pub const version: u16 = 1;
pub const header_bytes = 24;
pub const record_head_bytes = 8;
pub const payload_bytes_max = 16 << 20;

pub const Kind = enum(u8) { log = 1, snapshot = 2 };

pub const Header = struct {
    kind: Kind,
    service: u8,
    generation: u64,

    pub fn encode(header: Header) [header_bytes]u8 {
        var bytes: [header_bytes]u8 = @splat(0);
        bytes[0..4].* = magic.*;
        std.mem.writeInt(u16, bytes[4..6], version, .little);
        bytes[6] = @intFromEnum(header.kind);
        bytes[7] = header.service;
        std.mem.writeInt(u64, bytes[8..16], header.generation, .little);
        std.mem.writeInt(u32, bytes[20..24], crc32.of(bytes[0..20]), .little);
        return bytes;
    }

    /// `Damaged`: these are not the bytes of a header that this version wrote for that kind and service.
    pub fn decode(bytes: []const u8, kind: Kind, service: u8) error{Damaged}!Header {
        if (bytes.len < header_bytes) return error.Damaged;
        const header: Header = .{
            .kind = kind,
            .service = service,
            .generation = std.mem.readInt(u64, bytes[8..16], .little),
        };
        return if (std.mem.eql(u8, &header.encode(), bytes[0..header_bytes])) header else error.Damaged;
    }
};

fn sum(length: *const [4]u8, payload: []const u8) u32 {
    return crc32.finish(crc32.update(crc32.update(crc32.start, length), payload));
}

/// The head of a record with that payload; an empty one ends a snapshot.
pub fn recordHead(payload: []const u8) [record_head_bytes]u8 {
    std.debug.assert(payload.len <= payload_bytes_max);
    var head: [record_head_bytes]u8 = undefined;
    std.mem.writeInt(u32, head[0..4], @intCast(payload.len), .little);
    std.mem.writeInt(u32, head[4..8], sum(head[0..4], payload), .little);
    return head;
}

/// Walks the records behind a header.
pub const Records = struct {
    bytes: []const u8,
    /// Where the next one starts.
    at: usize = header_bytes,

    pub const Next = union(enum) {
        payload: []const u8,
        /// The empty record.
        end,
        /// No byte is left.
        none,
        /// What stands at `at` does not verify.
        bad,
    };

    pub fn next(records: *Records) Next {
        const rest = records.bytes[records.at..];
        if (rest.len == 0) return .none;
        if (rest.len < record_head_bytes) return .bad;
        const length = std.mem.readInt(u32, rest[0..4], .little);
        if (length > payload_bytes_max or length > rest.len - record_head_bytes) return .bad;
        const payload = rest[record_head_bytes..][0..length];
        if (!std.mem.eql(u8, &recordHead(payload), rest[0..record_head_bytes])) return .bad;
        records.at += record_head_bytes + length;
        return if (length == 0) .end else .{ .payload = payload };
    }
};

/// What stands behind the last record that verifies.
pub const Tail = union(enum) {
    /// Nothing that verifies follows: a write that was cut short.
    torn,
    /// A record that verifies follows at this offset: what is before it was there once.
    damaged: usize,
    /// More than any write leaves behind.
    too_long,
};

/// Looks at the bytes from `at` on, where no record verifies, for one that does, at every offset. The work is a few steps
/// per byte.
pub fn judgeTail(gpa: std.mem.Allocator, bytes: []const u8, at: usize) error{OutOfMemory}!Tail {
    const tail = bytes[at..];
    const seen = tail[0..@min(tail.len, tail_bytes_max)];
    const prefixes = try crc32.Prefixes.init(gpa, seen);
    defer prefixes.deinit(gpa);
    if (seen.len > record_head_bytes) for (1..seen.len - record_head_bytes) |offset| {
        const head = seen[offset..][0..record_head_bytes];
        const length = std.mem.readInt(u32, head[0..4], .little);
        const from = offset + record_head_bytes;
        if (length == 0 or length > payload_bytes_max or length > seen.len - from) continue;
        const before = crc32.update(crc32.start, head[0..4]);
        const found = crc32.finish(prefixes.update(before, from, from + length));
        if (found == std.mem.readInt(u32, head[4..8], .little)) return .{ .damaged = at + offset };
    };
    return if (seen.len < tail.len) .too_long else .torn;
}

/// Four times what one write of the log may be.
const tail_bytes_max = 4 * payload_bytes_max;

test Header {
    const header: Header = .{ .kind = .log, .service = 6, .generation = 77 };
    var bytes = header.encode();
    try std.testing.expectEqual(header, try Header.decode(&bytes, .log, 6));
    try std.testing.expectError(error.Damaged, Header.decode(&bytes, .snapshot, 6));
    try std.testing.expectError(error.Damaged, Header.decode(&bytes, .log, 8));
    for (0..bytes.len) |index| {
        try std.testing.expectError(error.Damaged, Header.decode(bytes[0..index], .log, 6));
        bytes[index] ^= 1;
        try std.testing.expectError(error.Damaged, Header.decode(&bytes, .log, 6));
        bytes[index] ^= 1;
    }
}

test "cut at every byte and flipped at every bit, nothing whole is lost and nothing broken is taken" {
    const gpa = std.testing.allocator;
    var random = std.Random.DefaultPrng.init(5);
    var log: std.ArrayList(u8) = .empty;
    defer log.deinit(gpa);
    try log.appendSlice(gpa, &(Header{ .kind = .log, .service = 6, .generation = 0 }).encode());
    var ends: [9]usize = undefined;
    ends[0] = log.items.len;
    for (ends[1..]) |*end| {
        var payload: [60]u8 = undefined;
        const some = payload[0 .. 1 + random.random().uintLessThan(usize, payload.len)];
        random.random().bytes(some);
        // Small numbers, which look like lengths.
        if (some.len > 20) @memset(some[4..20], 0);
        try log.appendSlice(gpa, &recordHead(some));
        try log.appendSlice(gpa, some);
        end.* = log.items.len;
    }
    const whole = struct {
        fn count(bytes: []const u8) struct { usize, Records } {
            var records: Records = .{ .bytes = bytes };
            var taken: usize = 0;
            while (records.next() == .payload) taken += 1;
            return .{ taken, records };
        }
    };
    for (header_bytes..log.items.len + 1) |length| {
        const taken, const records = whole.count(log.items[0..length]);
        try std.testing.expectEqual(ends[taken], records.at);
        try std.testing.expect(taken + 1 == ends.len or length < ends[taken + 1]);
        try std.testing.expectEqual(.torn, try judgeTail(gpa, log.items[0..length], records.at));
    }
    for (header_bytes * 8..log.items.len * 8) |bit| {
        const index = bit / 8;
        log.items[index] ^= @as(u8, 1) << @intCast(bit % 8);
        defer log.items[index] ^= @as(u8, 1) << @intCast(bit % 8);
        const taken, const records = whole.count(log.items);
        // All before the flipped record, and never that one.
        try std.testing.expect(ends[taken] <= index and index < ends[taken + 1]);
        const tail = try judgeTail(gpa, log.items, records.at);
        if (taken + 2 == ends.len) {
            try std.testing.expectEqual(.torn, tail);
        } else try std.testing.expectEqual(Tail{ .damaged = ends[taken + 1] }, tail);
    }
}
