//! The functions of `ffi/include/mfn/ifr.h` on records, summaries and filters: arguments, casts, statuses.

const std = @import("std");
const root = @import("../root.zig");
const handles = @import("handle.zig");
const Status = @import("../gen/protocol.zig").Status;

const Digest = root.Digest;
const Record = root.FlowRecord;
const Decision = root.RoutingDecision;
const Flows = handles.Flows;
const Filter = handles.Filter;
const gpa = std.heap.c_allocator;

/// MFN_IFR_POOL_REFUSES.
pub const flag_refuses: u32 = 1;

/// C: struct mfn_ifr_pool_stats
pub const PoolStats = extern struct {
    struct_size: u32,
    reserved: u32,
    records: u64,
    bytes: u64,
    bytes_max: u64,
    evictions: u64,
    expirations: u64,

    comptime {
        std.debug.assert(@sizeOf(PoolStats) == 48);
    }
};

pub fn new(hash_key: ?*const [root.constants.hash_key_bytes]u8, out: ?*?*Flows) callconv(.c) i32 {
    const target = out orelse return status(.invalid_argument);
    const key = secret(hash_key) orelse return status(.invalid_argument);
    target.* = Flows.create(.init(gpa, key)) orelse return status(.out_of_memory);
    return status(.ok);
}

/// Forgotten, and then everybody knows it: all zero is refused.
fn secret(hash_key: ?*const [root.constants.hash_key_bytes]u8) ?*const [root.constants.hash_key_bytes]u8 {
    const key = hash_key orelse return null;
    return if (std.mem.allEqual(u8, key, 0)) null else key;
}

pub fn free(handle: ?*Flows) callconv(.c) void {
    Flows.free(handle);
}

pub fn addPool(handle: ?*Flows, pool_id: u32, bytes_max: u64, flags: u32) callconv(.c) i32 {
    const flows = Flows.open(handle) orelse return Flows.refusal(handle);
    if (flags & ~flag_refuses != 0) return status(.invalid_argument);
    const options: root.flow.PoolOptions = .{ .bytes_max = bytes_max, .evicts = flags & flag_refuses == 0 };
    flows.addPool(pool_id, options) catch |err| return statusOf(err);
    return status(.ok);
}

pub fn dropPool(handle: ?*Flows, pool_id: u32) callconv(.c) i32 {
    const flows = Flows.open(handle) orelse return Flows.refusal(handle);
    flows.dropPool(pool_id) catch |err| return statusOf(err);
    return status(.ok);
}

pub fn put(
    handle: ?*Flows,
    pool_id: u32,
    record: ?*align(1) const Record,
    now_ns: u64,
    old: ?*align(1) Record,
    replaced: ?*u8,
) callconv(.c) i32 {
    const flows = Flows.open(handle) orelse return Flows.refusal(handle);
    const given: Record = (record orelse return status(.invalid_argument)).*;
    const was = flows.put(pool_id, &given, now_ns) catch |err| return statusOf(err);
    if (replaced) |flag| flag.* = @intFromBool(was != null);
    if (was) |there| if (old) |target| {
        target.* = there;
    };
    return status(.ok);
}

pub fn get(handle: ?*const Flows, pool_id: u32, key: ?*const Digest, now_ns: u64, out: ?*align(1) Record) callconv(.c) i32 {
    const flows = Flows.read(handle) orelse return Flows.refusal(handle);
    const digest = key orelse return status(.invalid_argument);
    const target = out orelse return status(.invalid_argument);
    const record = flows.get(pool_id, digest, now_ns) orelse {
        return if (Flows.read(handle) == null) Flows.refusal(handle) else status(.not_found);
    };
    target.* = record;
    return status(.ok);
}

pub fn remove(handle: ?*Flows, pool_id: u32, key: ?*const Digest, old: ?*align(1) Record) callconv(.c) i32 {
    const flows = Flows.open(handle) orelse return Flows.refusal(handle);
    const digest = key orelse return status(.invalid_argument);
    const record = flows.remove(pool_id, digest) orelse return status(.not_found);
    if (old) |target| target.* = record;
    return status(.ok);
}

pub fn expire(handle: ?*Flows, pool_id: u32, now_ns: u64, looks: u64, removed: ?*u64) callconv(.c) i32 {
    const flows = Flows.open(handle) orelse return Flows.refusal(handle);
    const gone = flows.expire(pool_id, now_ns, looks) catch |err| return statusOf(err);
    if (removed) |target| target.* = gone;
    return status(.ok);
}

pub fn route(
    handle: ?*const Flows,
    pool_id: u32,
    key: ?*const Digest,
    kind: u32,
    now_ns: u64,
    out: ?*align(1) Decision,
) callconv(.c) i32 {
    const flows = Flows.read(handle) orelse return Flows.refusal(handle);
    const digest = key orelse return status(.invalid_argument);
    const target = out orelse return status(.invalid_argument);
    const narrow = std.math.cast(u16, kind) orelse return status(.invalid_argument);
    const decision = flows.route(pool_id, digest, narrow, now_ns);
    if (Flows.read(handle) == null) return Flows.refusal(handle);
    target.* = decision;
    return status(.ok);
}

pub fn learn(handle: ?*Flows, kind: u32, layer: u32, found: u32) callconv(.c) i32 {
    const flows = Flows.open(handle) orelse return Flows.refusal(handle);
    const narrow = std.math.cast(u16, kind) orelse return status(.invalid_argument);
    const asked = std.enums.fromInt(root.flow.Layer, layer) orelse return status(.invalid_argument);
    if (asked == .none) return status(.invalid_argument);
    flows.learn(narrow, asked, found != 0);
    return status(.ok);
}

pub fn poolStats(handle: ?*const Flows, pool_id: u32, out: ?*align(1) PoolStats) callconv(.c) i32 {
    const flows = Flows.read(handle) orelse return Flows.refusal(handle);
    const target = out orelse return status(.invalid_argument);
    if (target.struct_size < @sizeOf(PoolStats)) return status(.invalid_argument);
    const now = flows.stats(pool_id) catch |err| return statusOf(err);
    target.* = .{
        .struct_size = target.struct_size,
        .reserved = 0,
        .records = now.records,
        .bytes = now.bytes,
        .bytes_max = now.bytes_max,
        .evictions = now.evictions,
        .expirations = now.expirations,
    };
    return status(.ok);
}

pub fn summaryBytes(count: u64, bytes: ?*u64) callconv(.c) i32 {
    const target = bytes orelse return status(.invalid_argument);
    target.* = root.summary.bytesFor(count) catch return status(.limit);
    return status(.ok);
}

pub fn summaryBuild(
    keys: ?[*]const Digest,
    count: usize,
    seed: u64,
    out: ?[*]u8,
    capacity: usize,
    written: ?*usize,
) callconv(.c) i32 {
    const used = written orelse return status(.invalid_argument);
    const needed = root.summary.bytesFor(count) catch return status(.limit);
    if (capacity < needed) {
        used.* = @intCast(needed);
        return status(.no_space);
    }
    const target = out orelse return status(.invalid_argument);
    const digests: []const Digest = if (count == 0) &.{} else (keys orelse return status(.invalid_argument))[0..count];
    used.* = root.summary.build(gpa, digests, seed, target[0..capacity]) catch |err| return statusOf(err);
    return status(.ok);
}

pub fn summaryMayContain(bytes: ?[*]const u8, length: usize, key: ?*const Digest, maybe: ?*u8) callconv(.c) i32 {
    const start = bytes orelse return status(.invalid_argument);
    const digest = key orelse return status(.invalid_argument);
    const target = maybe orelse return status(.invalid_argument);
    const view = root.summary.Summary.view(start[0..length]) orelse return status(.corrupt);
    target.* = @intFromBool(view.mayContain(digest));
    return status(.ok);
}

pub fn filterNew(
    capacity: u64,
    hash_key: ?*const [root.constants.hash_key_bytes]u8,
    out: ?*?*Filter,
) callconv(.c) i32 {
    const target = out orelse return status(.invalid_argument);
    const key = secret(hash_key) orelse return status(.invalid_argument);
    var filter = root.Filter.init(gpa, capacity) catch |err| return statusOf(err);
    target.* = Filter.create(.{ .filter = filter, .seeds = .init(key) }) orelse {
        filter.deinit(gpa);
        return status(.out_of_memory);
    };
    return status(.ok);
}

pub fn filterFree(handle: ?*Filter) callconv(.c) void {
    Filter.free(handle);
}

pub fn filterInsert(handle: ?*Filter, key: ?*const Digest) callconv(.c) i32 {
    const owned = Filter.open(handle) orelse return Filter.refusal(handle);
    const digest = key orelse return status(.invalid_argument);
    owned.filter.insert(owned.seeds.digest(digest)) catch return status(.limit);
    return status(.ok);
}

pub fn filterRemove(handle: ?*Filter, key: ?*const Digest) callconv(.c) i32 {
    const owned = Filter.open(handle) orelse return Filter.refusal(handle);
    const digest = key orelse return status(.invalid_argument);
    return status(if (owned.filter.remove(owned.seeds.digest(digest))) .ok else .not_found);
}

pub fn filterMayContain(handle: ?*const Filter, key: ?*const Digest, maybe: ?*u8) callconv(.c) i32 {
    const owned = Filter.read(handle) orelse return Filter.refusal(handle);
    const digest = key orelse return status(.invalid_argument);
    const target = maybe orelse return status(.invalid_argument);
    target.* = @intFromBool(owned.filter.mayContain(owned.seeds.digest(digest)));
    return status(.ok);
}

pub fn filterBytes(handle: ?*const Filter, bytes: ?*u64) callconv(.c) i32 {
    const owned = Filter.read(handle) orelse return Filter.refusal(handle);
    const target = bytes orelse return status(.invalid_argument);
    target.* = owned.filter.bytes.len;
    return status(.ok);
}

inline fn status(value: Status) i32 {
    return @intFromEnum(value);
}

fn statusOf(err: anyerror) i32 {
    return status(switch (err) {
        error.Limit => .limit,
        error.OutOfMemory => .out_of_memory,
        error.NoPool => .not_found,
        error.PoolExists => .already_exists,
        error.BadRecord => .invalid_argument,
        else => .internal,
    });
}
