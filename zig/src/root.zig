//! Layer 1 of the memory, the Immediate Flow Registry: what exactly matches this key?
//!
//! `Ifr` maps 32-byte digests, and byte keys of any form up to 64 KiB, to 16-byte values, within a
//! budget of bytes. `read`, `readMany`, `mayContain` and `len` may run on any number of threads beside
//! one thread that changes the table; everything else wants the table to itself.

const std = @import("std");
const assert = std.debug.assert;
const entries = @import("entry.zig");
const hashing = @import("hash.zig");
const tables = @import("table.zig");

pub const constants = @import("constants.zig");
pub const Filter = @import("filter.zig").Filter;
pub const flow = @import("flow.zig");
pub const Flows = flow.Flows;
pub const FlowRecord = flow.FlowRecord;
pub const RoutingDecision = flow.RoutingDecision;
pub const summary = @import("summary.zig");
pub const Seeds = hashing.Seeds;
pub const Budget = @import("budget.zig").Budget;
pub const Digest = entries.Digest;
pub const Value = entries.Value;
pub const Head = tables.Head;
pub const head_layout = tables.head_layout;
pub const Error = tables.Error || error{KeyTooLong};

pub const Options = struct {
    /// At most so many bytes, tables, keys and filter together.
    bytes_max: u64,
    /// Random and secret: who knows it can choose keys that collide.
    hash_key: [constants.hash_key_bytes]u8,
    /// Kept for callers of before: the index is the filter now, and always there.
    filter: bool = true,
};

pub const Stats = struct {
    digest_entries: u64,
    bytes_entries: u64,
    /// Held now.
    bytes: u64,
    bytes_max: u64,
    /// Entries that fit before some segment is rebuilt or split.
    capacity: u64,
    segments: u64,
    /// Of `bytes`, what stands in front of the entries: the index, whose 15 bits per key are the filter.
    filter_bytes: u64,
    /// Always 0: every key is in the index.
    filter_homeless: u64,
};

pub const Ifr = struct {
    budget: Budget,
    seeds: hashing.Seeds,
    digests: Digests,
    byte_keys: ByteKeys,

    pub const Digests = tables.Table(entries.DigestEntry);
    const ByteKeys = tables.Table(entries.BytesEntry);

    pub fn init(gpa: std.mem.Allocator, options: Options) tables.Error!Ifr {
        if (options.bytes_max < constants.bytes_min) return error.Limit;
        var budget: Budget = .{ .gpa = gpa, .bytes_max = options.bytes_max, .bytes = @sizeOf(Ifr) };
        var digests = try Digests.init(&budget);
        errdefer digests.deinit(&budget);
        const byte_keys = try ByteKeys.init(&budget);
        return .{
            .budget = budget,
            .seeds = .init(&options.hash_key),
            .digests = digests,
            .byte_keys = byte_keys,
        };
    }

    pub fn deinit(ifr: *Ifr) void {
        var keys = ifr.byte_keys.iterate();
        while (keys.next()) |entry| ifr.budget.free(entry.slice());
        ifr.byte_keys.deinit(&ifr.budget);
        ifr.digests.deinit(&ifr.budget);
        assert(ifr.budget.bytes == @sizeOf(Ifr));
        ifr.* = undefined;
    }

    /// Sets a value and answers the one that it replaced. On an error nothing changed.
    pub fn insert(ifr: *Ifr, key: *const Digest, value: *const Value) Error!?Value {
        const hash = ifr.seeds.digest(key);
        const new: entries.DigestEntry = .{ .key = key.*, .value = value.* };
        const entry = try ifr.digests.addUnlessThere(&ifr.budget, &ifr.seeds, hash, key, &new) orelse return null;
        const old = entry.value;
        ifr.digests.replace(hash, entry, &new);
        return old;
    }

    /// Valid until the next change.
    pub inline fn get(ifr: *const Ifr, key: *const Digest) ?*const Value {
        const entry = ifr.digests.get(ifr.seeds.digest(key), key) orelse return null;
        return &entry.value;
    }

    /// As `read`, but may be unsure, and is small and cannot panic.
    pub inline fn glance(ifr: *const Ifr, key: *const Digest, value: *Value) Digests.Glance {
        return ifr.digests.glance(ifr.seeds.digest(key), key, value);
    }

    /// Beside the writer.
    pub inline fn read(ifr: *const Ifr, key: *const Digest) ?Value {
        return ifr.digests.read(ifr.seeds.digest(key), key);
    }

    /// Looks up many keys beside the writer; their memory latencies overlap. Answers how many were
    /// found. Values of keys that are not here are left as they are.
    pub fn readMany(ifr: *const Ifr, keys: []const Digest, values: []Value, found: []u8) usize {
        assert(values.len == keys.len);
        assert(found.len == keys.len);
        return ifr.digests.readMany(&ifr.seeds, keys, values.ptr, found.ptr);
    }

    /// As `readMany`.
    pub fn getMany(ifr: *const Ifr, keys: []const Digest, values: []Value, found: []u8) usize {
        return ifr.readMany(keys, values, found);
    }

    pub fn remove(ifr: *Ifr, key: *const Digest) ?Value {
        const hash = ifr.seeds.digest(key);
        const entry = ifr.digests.remove(&ifr.budget, &ifr.seeds, hash, key) orelse return null;
        return entry.value;
    }

    /// The index's answer alone: false is sure, true is a maybe. Beside the writer.
    pub fn mayContain(ifr: *const Ifr, key: *const Digest) bool {
        return ifr.digests.mayContain(ifr.seeds.digest(key));
    }

    /// As `insert`, for a byte key, which is copied.
    pub fn insertBytes(ifr: *Ifr, key: []const u8, value: *const Value) Error!?Value {
        if (key.len > constants.key_bytes_max) return error.KeyTooLong;
        const hash = ifr.seeds.bytes(key);
        if (ifr.byte_keys.get(hash, key)) |entry| {
            const old = entry.value;
            entry.value = value.*;
            return old;
        }
        const copy = try ifr.budget.alloc(u8, .@"1", key.len);
        errdefer ifr.budget.free(copy);
        @memcpy(copy, key);
        _ = try ifr.byte_keys.add(&ifr.budget, &ifr.seeds, hash, &.{
            .hash = hash,
            .key = copy.ptr,
            .key_bytes = copy.len,
            .value = value.*,
        });
        return null;
    }

    pub fn getBytes(ifr: *const Ifr, key: []const u8) ?*const Value {
        if (key.len > constants.key_bytes_max) return null;
        const entry = ifr.byte_keys.get(ifr.seeds.bytes(key), key) orelse return null;
        return &entry.value;
    }

    pub fn removeBytes(ifr: *Ifr, key: []const u8) ?Value {
        if (key.len > constants.key_bytes_max) return null;
        const hash = ifr.seeds.bytes(key);
        const entry = ifr.byte_keys.remove(&ifr.budget, &ifr.seeds, hash, key) orelse return null;
        ifr.budget.free(entry.slice());
        return entry.value;
    }

    pub fn iterate(ifr: *const Ifr) Digests.Iterator {
        return ifr.digests.iterate();
    }

    pub fn iterateBytes(ifr: *const Ifr) ByteKeys.Iterator {
        return ifr.byte_keys.iterate();
    }

    /// Entries of both kinds. Beside the writer.
    pub inline fn len(ifr: *const Ifr) u64 {
        return ifr.digests.live.load(.monotonic) + ifr.byte_keys.live.load(.monotonic);
    }

    /// After a panic: readers that wait for the writer go on and find nothing.
    pub fn abandon(ifr: *Ifr) void {
        ifr.digests.abandon();
        ifr.byte_keys.abandon();
    }

    pub fn stats(ifr: *const Ifr) Stats {
        const digests = ifr.digests.stats();
        const byte_keys = ifr.byte_keys.stats();
        return .{
            .digest_entries = ifr.digests.live.raw,
            .bytes_entries = ifr.byte_keys.live.raw,
            .bytes = ifr.budget.bytes,
            .bytes_max = ifr.budget.bytes_max,
            .capacity = digests.capacity + byte_keys.capacity,
            .segments = ifr.digests.segment_count + ifr.byte_keys.segment_count,
            .filter_bytes = digests.index_bytes + byte_keys.index_bytes,
            .filter_homeless = 0,
        };
    }
};
