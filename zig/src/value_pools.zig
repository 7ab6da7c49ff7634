//! Tables of keys with values of the ifr service: that of pool 0, which is always there, and those of pools that somebody made.
//! No table evicts: a key that does not fit is refused.

const std = @import("std");
const assert = std.debug.assert;
const bodies = @import("body.zig");
const constants = @import("constants.zig");
const flowing = @import("flow.zig");
const root = @import("root.zig");

pub const Error = root.Error || error{ NoPool, PoolFull };

/// Entries of a table or of all, by the kind of their keys, and the bytes of their byte keys.
pub const Tally = struct {
    digests: u64 = 0,
    byte_keys: u64 = 0,
    key_bytes: u64 = 0,

    fn add(tally: *Tally, key: bodies.Key) void {
        switch (key) {
            .digest => tally.digests += 1,
            .bytes => |bytes| {
                tally.byte_keys += 1;
                tally.key_bytes += bytes.len;
            },
        }
    }

    fn lose(tally: *Tally, key: bodies.Key) void {
        switch (key) {
            .digest => tally.digests -= 1,
            .bytes => |bytes| {
                tally.byte_keys -= 1;
                tally.key_bytes -= bytes.len;
            },
        }
    }

    /// What these entries take at most, however their table is split.
    fn bytesMost(tally: *const Tally) u64 {
        return tally.digests * constants.value_bytes_most + tally.byte_keys * constants.key_value_bytes_most + tally.key_bytes;
    }
};

pub const Table = struct {
    pool_id: u32,
    ifr: *root.Ifr,
    held: Tally = .{},
    /// A pool keeps to what fits however its table is split, since it is split otherwise after each start, and its budget
    /// cannot be raised then. That of pool 0 can.
    bytes_most: u64,

    pub fn get(table: *const Table, key: bodies.Key) ?root.Value {
        const found = switch (key) {
            .digest => |digest| table.ifr.get(digest),
            .bytes => |bytes| table.ifr.getBytes(bytes),
        };
        return if (found) |value| value.* else null;
    }

    fn isFullFor(table: *const Table, key: bodies.Key) bool {
        var held = table.held;
        held.add(key);
        return held.bytesMost() > table.bytes_most and table.get(key) == null;
    }

    /// The number of entries is in the place of that of records; nothing is evicted and nothing expires.
    pub fn stats(table: *const Table) flowing.PoolStats {
        return .{
            .records = table.held.digests + table.held.byte_keys,
            .bytes = table.ifr.budget.bytes,
            .bytes_max = table.ifr.budget.bytes_max,
            .evictions = 0,
            .expirations = 0,
        };
    }
};

pub const Tables = struct {
    gpa: std.mem.Allocator,
    hash_key: [constants.hash_key_bytes]u8,
    first: Table,
    added: [constants.pools_max]?*Added = @splat(null),
    /// Of all tables together.
    held: Tally = .{},

    const Added = struct { table: Table, ifr: root.Ifr };

    pub fn init(gpa: std.mem.Allocator, first: *root.Ifr, hash_key: *const [constants.hash_key_bytes]u8) Tables {
        return .{
            .gpa = gpa,
            .hash_key = hash_key.*,
            .first = .{ .pool_id = 0, .ifr = first, .bytes_most = std.math.maxInt(u64) },
        };
    }

    /// Frees the tables that were added; the first one is the caller's.
    pub fn deinit(tables: *Tables) void {
        for (&tables.added) |*each| if (each.*) |added| tables.free(added);
        tables.* = undefined;
    }

    fn free(tables: *Tables, added: *Added) void {
        added.ifr.deinit();
        tables.gpa.destroy(added);
    }

    pub fn find(tables: *Tables, pool_id: u32) error{NoPool}!*Table {
        if (pool_id == 0) return &tables.first;
        for (tables.added) |each| if (each) |added| {
            if (added.table.pool_id == pool_id) return &added.table;
        };
        return error.NoPool;
    }

    /// The table that somebody added in a slot below `constants.pools_max`.
    pub fn at(tables: *Tables, slot: usize) ?*Table {
        const added = tables.added[slot] orelse return null;
        return &added.table;
    }

    /// Makes a pool. error.Limit: the budget is too small, or there are as many pools as may be.
    pub fn add(tables: *Tables, pool_id: u32, bytes_max: u64) error{ Limit, OutOfMemory }!void {
        assert(std.meta.isError(tables.find(pool_id)));
        if (bytes_max < constants.pool_bytes_min) return error.Limit;
        const slot = for (&tables.added) |*each| {
            if (each.* == null) break each;
        } else return error.Limit;
        const added = try tables.gpa.create(Added);
        errdefer tables.gpa.destroy(added);
        added.ifr = try root.Ifr.init(tables.gpa, .{ .bytes_max = bytes_max, .hash_key = tables.hash_key });
        added.table = .{ .pool_id = pool_id, .ifr = &added.ifr, .bytes_most = bytes_max - constants.pool_bytes_min / 2 };
        slot.* = added;
    }

    pub fn drop(tables: *Tables, pool_id: u32) error{NoPool}!void {
        for (&tables.added) |*each| {
            const added = each.* orelse continue;
            if (added.table.pool_id != pool_id) continue;
            inline for (std.meta.fields(Tally)) |field| @field(tables.held, field.name) -= @field(added.table.held, field.name);
            each.* = null;
            return tables.free(added);
        }
        return error.NoPool;
    }

    pub fn insert(tables: *Tables, table: *Table, key: bodies.Key, value: *const root.Value) Error!?root.Value {
        if (table.isFullFor(key)) return error.PoolFull;
        const replaced = switch (key) {
            .digest => |digest| try table.ifr.insert(digest, value),
            .bytes => |bytes| try table.ifr.insertBytes(bytes, value),
        };
        if (replaced == null) {
            table.held.add(key);
            tables.held.add(key);
        }
        return replaced;
    }

    pub fn remove(tables: *Tables, table: *Table, key: bodies.Key) ?root.Value {
        const removed = switch (key) {
            .digest => |digest| table.ifr.remove(digest),
            .bytes => |bytes| table.ifr.removeBytes(bytes),
        } orelse return null;
        table.held.lose(key);
        tables.held.lose(key);
        return removed;
    }
};

test "a pool holds what its budget says, under any secret, and loses nothing" {
    const testing = std.testing;
    for (0..12) |seed| {
        const bytes_max = constants.pool_bytes_min << @intCast(seed % 3);
        const hash_key: [constants.hash_key_bytes]u8 = @splat(@intCast(seed + 1));
        var first = try root.Ifr.init(testing.allocator, .{ .bytes_max = 1 << 20, .hash_key = hash_key });
        defer first.deinit();
        var tables: Tables = .init(testing.allocator, &first, &hash_key);
        defer tables.deinit();
        try testing.expectError(error.Limit, tables.add(7, constants.pool_bytes_min - 1));
        try testing.expectError(error.NoPool, tables.find(7));
        try tables.add(7, bytes_max);
        const table = try tables.find(7);
        var random = std.Random.DefaultPrng.init(seed);
        var digest: root.Digest = undefined;
        var text: [40]u8 = undefined;
        const value: root.Value = @splat(3);
        var count: u64 = 0;
        while (true) : (count += 1) {
            random.random().bytes(&digest);
            random.random().bytes(&text);
            const key: bodies.Key = if (seed % 4 == 3) .{ .bytes = text[0 .. 8 + count % 32] } else .{ .digest = &digest };
            // PoolFull comes before the table itself has no room, which would be Limit.
            const replaced = tables.insert(table, key, &value) catch |err| {
                try testing.expectEqual(error.PoolFull, err);
                // What is there is replaced without room.
                break;
            };
            try testing.expectEqual(null, replaced);
            if (count == 0) try testing.expectEqual(value, tables.insert(table, key, &value));
        }
        try testing.expectEqual(count, table.stats().records);
        try testing.expect(table.stats().bytes <= bytes_max);
        try testing.expect(count * 120 > bytes_max / 2);
        try testing.expectEqual(0, first.len());
        try tables.drop(7);
        try testing.expectEqual(Tally{}, tables.held);
        try testing.expectError(error.NoPool, tables.drop(7));
    }
}
