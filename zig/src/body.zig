//! The fixed bodies of the ifr service: docs/PROTOCOL.md, "Bodies of ifr". Requests are read in place; replies are written
//! into the memory that carries them. The log and the snapshot hold the same bodies.

const std = @import("std");
const protocol = @import("gen/protocol.zig");
const root = @import("root.zig");

const Value = root.Value;
const Digest = root.Digest;

pub const Error = error{
    /// It is not laid out as the method's body.
    BadBody,
    /// More keys than a batch may have, or none.
    BatchSize,
    /// A byte key is too long.
    KeyTooLong,
};

pub const value_bytes = root.constants.value_bytes;
pub const digest_bytes = root.constants.digest_bytes;
pub const batch_keys_max = protocol.limits.ifr_batch_keys_max;

comptime {
    std.debug.assert(protocol.limits.ifr_key_bytes_max == root.constants.key_bytes_max);
}

/// Pool, kind of keys, three zeros.
pub const head_bytes = 8;
/// The same, the count of keys, four zeros.
pub const batch_head_bytes = 16;

pub const KeyKind = enum { digest, bytes };

/// A key where it stands.
pub const Key = union(KeyKind) { digest: *const Digest, bytes: []const u8 };

const Head = struct { pool_id: u32, kind: KeyKind };

fn head(body: []const u8) Error!Head {
    if (body.len < head_bytes) return error.BadBody;
    if (!std.mem.allEqual(u8, body[5..8], 0)) return error.BadBody;
    const kind: KeyKind = switch (body[4]) {
        protocol.ifr_key.digest => .digest,
        protocol.ifr_key.bytes => .bytes,
        else => return error.BadBody,
    };
    return .{ .pool_id = std.mem.readInt(u32, body[0..4], .little), .kind = kind };
}

/// IfrKey: one key. `value` is there in an IfrPut.
pub const One = struct { pool_id: u32, key: Key, value: ?*const Value };

pub fn decodeKey(body: []const u8) Error!One {
    return decodeOne(body, head_bytes, null);
}

pub fn decodePut(body: []const u8) Error!One {
    if (body.len < head_bytes + value_bytes) return error.BadBody;
    return decodeOne(body, head_bytes + value_bytes, body[head_bytes..][0..value_bytes]);
}

fn decodeOne(body: []const u8, at: usize, value: ?*const Value) Error!One {
    const found = try head(body);
    const key = body[at..];
    return .{ .pool_id = found.pool_id, .value = value, .key = switch (found.kind) {
        .digest => if (key.len == digest_bytes) .{ .digest = key[0..digest_bytes] } else return error.BadBody,
        .bytes => if (key.len <= root.constants.key_bytes_max) .{ .bytes = key } else return error.KeyTooLong,
    } };
}

/// IfrKeys, or IfrEntries with a value before each key. It has been walked once, so every key is there.
pub const Batch = struct {
    pool_id: u32,
    kind: KeyKind,
    count: u32,
    with_values: bool,
    items: []const u8,

    pub fn decode(body: []const u8, options: struct { with_values: bool }) Error!Batch {
        const found = try head(body);
        if (body.len < batch_head_bytes or !std.mem.allEqual(u8, body[12..16], 0)) return error.BadBody;
        const batch: Batch = .{
            .pool_id = found.pool_id,
            .kind = found.kind,
            .count = std.mem.readInt(u32, body[8..12], .little),
            .with_values = options.with_values,
            .items = body[batch_head_bytes..],
        };
        if (batch.count == 0 or batch.count > batch_keys_max) return error.BatchSize;
        if (batch.kind == .digest) {
            if (batch.items.len != batch.count * batch.digestStride()) return error.BadBody;
            return batch;
        }
        var rest = batch.items;
        for (0..batch.count) |_| {
            _ = try batch.take(&rest);
        }
        if (rest.len != 0) return error.BadBody;
        return batch;
    }

    pub const Item = struct { key: Key, value: ?*const Value };

    pub fn iterate(batch: *const Batch) Iterator {
        return .{ .batch = batch, .rest = batch.items };
    }

    pub const Iterator = struct {
        batch: *const Batch,
        rest: []const u8,

        pub fn next(iterator: *Iterator) ?Item {
            if (iterator.rest.len == 0) return null;
            // It was walked before.
            return iterator.batch.take(&iterator.rest) catch unreachable;
        }
    };

    /// Digests that stand one behind the other.
    pub fn digests(batch: *const Batch) []const Digest {
        std.debug.assert(batch.kind == .digest and !batch.with_values);
        return std.mem.bytesAsSlice(Digest, batch.items);
    }

    fn digestStride(batch: *const Batch) usize {
        return digest_bytes + batch.valueBytes();
    }

    fn valueBytes(batch: *const Batch) usize {
        return if (batch.with_values) value_bytes else 0;
    }

    fn take(batch: *const Batch, rest: *[]const u8) Error!Item {
        const before = batch.valueBytes();
        const lengths: usize = if (batch.kind == .bytes) 4 else 0;
        if (rest.len < before + lengths) return error.BadBody;
        const value: ?*const Value = if (batch.with_values) rest.*[0..value_bytes] else null;
        const at = before + lengths;
        if (batch.kind == .digest) {
            if (rest.len - at < digest_bytes) return error.BadBody;
            defer rest.* = rest.*[at + digest_bytes ..];
            return .{ .key = .{ .digest = rest.*[at..][0..digest_bytes] }, .value = value };
        }
        const length = std.mem.readInt(u32, rest.*[before..][0..4], .little);
        if (length > root.constants.key_bytes_max) return error.KeyTooLong;
        if (rest.len - at < length) return error.BadBody;
        defer rest.* = rest.*[at + length ..];
        return .{ .key = .{ .bytes = rest.*[at..][0..length] }, .value = value };
    }
};

/// IfrFound, and IfrValues when values follow: counts, one bit per key, then 16 bytes per key, zeros where it is absent.
pub const Found = struct {
    body: []u8,
    count: u32,
    found: u32 = 0,

    /// Bytes of the reply to so many keys.
    pub fn bytes(count: u32, options: struct { with_values: bool }) usize {
        const after: usize = if (options.with_values) @as(usize, count) * value_bytes else 0;
        return head_bytes + bitsBytes(count) + after;
    }

    fn bitsBytes(count: u32) usize {
        return std.mem.alignForward(usize, count, 64) / 8;
    }

    /// Over undefined memory of that length.
    pub fn init(memory: []u8, count: u32) Found {
        @memset(memory[0 .. head_bytes + bitsBytes(count)], 0);
        return .{ .body = memory, .count = count };
    }

    pub fn set(found: *Found, index: usize) void {
        found.body[head_bytes + index / 8] |= @as(u8, 1) << @intCast(index % 8);
        found.found += 1;
    }

    pub fn values(found: *const Found) []Value {
        return std.mem.bytesAsSlice(Value, found.body[head_bytes + bitsBytes(found.count) ..]);
    }

    pub fn finish(found: *const Found) void {
        std.mem.writeInt(u32, found.body[0..4], found.count, .little);
        std.mem.writeInt(u32, found.body[4..8], found.found, .little);
    }
};

/// IfrDone: how far a batch of puts came.
pub const Done = struct {
    /// Entries that were put, from the first on.
    done: u32,
    /// How many of them replaced a value.
    replaced: u32,
    /// Why the next one was not; 0 when all were.
    status: i32,

    pub const bytes = 16;

    pub fn write(done: Done, body: *[bytes]u8) void {
        std.mem.writeInt(u32, body[0..4], done.done, .little);
        std.mem.writeInt(u32, body[4..8], done.replaced, .little);
        std.mem.writeInt(i32, body[8..12], done.status, .little);
        @memset(body[12..16], 0);
    }
};

/// IfrStats: numbers of 64 bits, in this order. Later versions append; readers take what they know.
pub const Stats = struct {
    digest_entries: u64,
    bytes_entries: u64,
    bytes: u64,
    bytes_max: u64,
    capacity: u64,
    segments: u64,
    filter_bytes: u64,
    filter_homeless: u64,
    requests: u64,
    errors: u64,
    connections: u64,
    /// 0 without a journal.
    generation: u64,
    log_bytes: u64,
    snapshot_bytes: u64,
    syncs: u64,
    /// Keys that get and get_many looked up, and how many of them were here.
    looked: u64,
    found: u64,
    /// Of all pools of records together.
    pools: u64,
    records: u64,
    pools_bytes: u64,
    pools_bytes_max: u64,
    evictions: u64,
    expirations: u64,

    pub const body_bytes = 8 * std.meta.fields(Stats).len;

    pub fn write(stats: Stats, body: *[body_bytes]u8) void {
        inline for (std.meta.fields(Stats), 0..) |field, index| {
            std.mem.writeInt(u64, body[8 * index ..][0..8], @field(stats, field.name), .little);
        }
    }
};

// What clients, the journal and tests write.

/// Writes the head of an IfrKey or IfrPut.
pub fn writeHead(body: *[head_bytes]u8, pool_id: u32, kind: KeyKind) void {
    @memset(body, 0);
    std.mem.writeInt(u32, body[0..4], pool_id, .little);
    body[4] = switch (kind) {
        .digest => protocol.ifr_key.digest,
        .bytes => protocol.ifr_key.bytes,
    };
}

/// Writes the head of an IfrKeys or IfrEntries.
pub fn writeBatchHead(body: *[batch_head_bytes]u8, pool_id: u32, kind: KeyKind, count: u32) void {
    writeHead(body[0..head_bytes], pool_id, kind);
    std.mem.writeInt(u32, body[8..12], count, .little);
    @memset(body[12..16], 0);
}

test "bodies that lie are refused" {
    var body: [head_bytes + digest_bytes]u8 = undefined;
    writeHead(body[0..head_bytes], 0, .digest);
    _ = try decodeKey(&body);
    try std.testing.expectError(error.BadBody, decodeKey(body[0 .. body.len - 1]));
    try std.testing.expectError(error.BadBody, decodePut(body[0..10]));
    body[0] = 1;
    try std.testing.expectEqual(1, (try decodeKey(&body)).pool_id);
    body[0] = 0;
    body[4] = 9;
    try std.testing.expectError(error.BadBody, decodeKey(&body));
    body[4] = 1;
    body[7] = 1;
    try std.testing.expectError(error.BadBody, decodeKey(&body));

    var batch: [batch_head_bytes + 3 * digest_bytes]u8 = undefined;
    writeBatchHead(batch[0..batch_head_bytes], 0, .digest, 3);
    const found = try Batch.decode(&batch, .{ .with_values = false });
    try std.testing.expectEqual(3, found.digests().len);
    try std.testing.expectError(error.BadBody, Batch.decode(&batch, .{ .with_values = true }));
    writeBatchHead(batch[0..batch_head_bytes], 0, .digest, 0);
    try std.testing.expectError(error.BatchSize, Batch.decode(&batch, .{ .with_values = false }));
    writeBatchHead(batch[0..batch_head_bytes], 0, .digest, std.math.maxInt(u32));
    try std.testing.expectError(error.BatchSize, Batch.decode(&batch, .{ .with_values = false }));
    writeBatchHead(batch[0..batch_head_bytes], 0, .bytes, 2);
    std.mem.writeInt(u32, batch[16..20], std.math.maxInt(u32), .little);
    try std.testing.expectError(error.KeyTooLong, Batch.decode(&batch, .{ .with_values = false }));
    std.mem.writeInt(u32, batch[16..20], 60_000, .little);
    try std.testing.expectError(error.BadBody, Batch.decode(&batch, .{ .with_values = false }));
}

test "noise is an error or a whole body, never a crash" {
    var random = std.Random.DefaultPrng.init(11);
    var memory: [400]u8 = undefined;
    for (0..100_000) |_| {
        const body = memory[0..random.random().uintLessThan(usize, memory.len)];
        random.random().bytes(body);
        if (body.len >= batch_head_bytes) {
            @memset(body[0..16], 0);
            body[4] = random.random().uintLessThan(u8, 4);
            body[8] = random.random().uintLessThan(u8, 12);
            // Short lengths reach further.
            if (body.len >= 20) @memset(body[17..20], 0);
        }
        if (decodeKey(body)) |_| {} else |_| {}
        if (decodePut(body)) |_| {} else |_| {}
        for ([_]bool{ false, true }) |with_values| {
            const batch = Batch.decode(body, .{ .with_values = with_values }) catch continue;
            var items = batch.iterate();
            var count: u32 = 0;
            while (items.next()) |_| count += 1;
            try std.testing.expectEqual(batch.count, count);
        }
    }
}
