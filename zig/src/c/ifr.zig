//! The functions of `ffi/include/mfn/ifr.h`: checks of arguments, casts, statuses. Logic lives in `root.zig`.

const std = @import("std");
const root = @import("../root.zig");
const Status = @import("../gen/protocol.zig").Status;

const Digest = root.Digest;
const Value = root.Value;

/// MFN_IFR_ABI_VERSION: major in the high half, minor in the low one.
pub const version: u32 = 1 << 16 | 2;
/// MFN_IFR_NO_FILTER.
pub const flag_no_filter: u32 = 1;
/// MFN_IFR_OPTIONS_SIZE_1_0 and MFN_IFR_STATS_SIZE_1_0: never smaller than the first release.
pub const options_size_min: u32 = 32;
pub const stats_size_min: u32 = 72;

/// C: struct mfn_ifr_options
pub const Options = extern struct {
    struct_size: u32,
    flags: u32,
    bytes_max: u64,
    hash_key: [root.constants.hash_key_bytes]u8,

    comptime {
        std.debug.assert(@sizeOf(Options) == options_size_min);
    }
};

/// C: struct mfn_ifr_stats
pub const Stats = extern struct {
    struct_size: u32,
    reserved: u32,
    digest_entries: u64,
    bytes_entries: u64,
    bytes: u64,
    bytes_max: u64,
    capacity: u64,
    segments: u64,
    filter_bytes: u64,
    filter_homeless: u64,

    comptime {
        std.debug.assert(@sizeOf(Stats) == stats_size_min);
    }
};

/// C: struct mfn_ifr_view
pub const View = extern struct {
    struct_size: u32,
    layout: u32,
    head: ?*const root.Head,
    hash_words: [16]u16,
};

pub const Handle = @import("handle.zig").Ifr;

/// C: mfn_ifr_visit
pub const Visit = *const fn (
    userdata: ?*anyopaque,
    key: [*]const u8,
    key_bytes: usize,
    value: *const Value,
) callconv(.c) i32;

pub fn abiVersion() callconv(.c) u32 {
    return version;
}

pub fn new(options: ?*align(1) const Options, out: ?*?*Handle) callconv(.c) i32 {
    const target = out orelse return status(.invalid_argument);
    const asked = checkOptions(options) orelse return status(.invalid_argument);
    var ifr = root.Ifr.init(std.heap.c_allocator, asked) catch |err| return statusOf(err);
    target.* = Handle.create(ifr) orelse {
        ifr.deinit();
        return status(.out_of_memory);
    };
    return status(.ok);
}

fn checkOptions(options: ?*align(1) const Options) ?root.Options {
    const given = options orelse return null;
    if (given.struct_size < options_size_min) return null;
    // A newer caller's fields are zero, or ask for what this version does not know.
    const extra = given.struct_size - options_size_min;
    if (extra > 4096) return null;
    const bytes: [*]const u8 = @ptrCast(given);
    for (bytes[options_size_min..][0..extra]) |byte| if (byte != 0) return null;
    if (given.flags & ~flag_no_filter != 0) return null;
    // Forgotten, and then everybody knows it.
    if (std.mem.allEqual(u8, &given.hash_key, 0)) return null;
    return .{
        .bytes_max = given.bytes_max,
        .hash_key = given.hash_key,
    };
}

pub fn free(handle: ?*Handle) callconv(.c) void {
    Handle.free(handle);
}

pub fn insert(
    handle: ?*Handle,
    key: ?*const Digest,
    value: ?*const Value,
    old: ?*Value,
    replaced: ?*u8,
) callconv(.c) i32 {
    const ifr = Handle.open(handle) orelse return Handle.refusal(handle);
    const digest = key orelse return status(.invalid_argument);
    const put = value orelse return status(.invalid_argument);
    const was = ifr.insert(digest, put) catch |err| return statusOf(err);
    return finishInsert(was, old, replaced);
}

pub fn insertBytes(
    handle: ?*Handle,
    key: ?[*]const u8,
    key_bytes: usize,
    value: ?*const Value,
    old: ?*Value,
    replaced: ?*u8,
) callconv(.c) i32 {
    const ifr = Handle.open(handle) orelse return Handle.refusal(handle);
    const bytes = slice(key, key_bytes) orelse return status(.invalid_argument);
    const put = value orelse return status(.invalid_argument);
    const was = ifr.insertBytes(bytes, put) catch |err| return statusOf(err);
    return finishInsert(was, old, replaced);
}

fn finishInsert(was: ?Value, old: ?*Value, replaced: ?*u8) i32 {
    if (replaced) |flag| flag.* = @intFromBool(was != null);
    if (was) |value| if (old) |target| {
        target.* = value;
    };
    return status(.ok);
}

/// Exported without a recovery point: neither this nor what it calls contains a check that can fail.
pub fn get(handle: ?*const Handle, key: ?*const Digest, value: ?*Value) callconv(.c) i32 {
    @setRuntimeSafety(false);
    const ifr = Handle.read(handle) orelse return getSlowly(handle, key, value);
    if (key == null or value == null) return getSlowly(handle, key, value);
    return switch (ifr.glance(key.?, value.?)) {
        .found => status(.ok),
        .missing => status(.not_found),
        .unsure => getSlowly(handle, key, value),
    };
}

noinline fn getSlowly(handle: ?*const Handle, key: ?*const Digest, value: ?*Value) i32 {
    @branchHint(.cold);
    @setRuntimeSafety(false);
    const ifr = Handle.read(handle) orelse return Handle.refusal(handle);
    const digest = key orelse return status(.invalid_argument);
    const target = value orelse return status(.invalid_argument);
    target.* = ifr.digests.readSlowly(ifr.seeds.digest(digest), digest) orelse return missing(handle);
    return status(.ok);
}

pub fn view(handle: ?*const Handle, out: ?*align(1) View) callconv(.c) i32 {
    const ifr = Handle.read(handle) orelse return Handle.refusal(handle);
    const target = out orelse return status(.invalid_argument);
    if (target.struct_size < @sizeOf(View)) return status(.invalid_argument);
    target.* = .{
        .struct_size = target.struct_size,
        .layout = root.head_layout,
        .head = &ifr.digests.head,
        .hash_words = ifr.seeds.words,
    };
    return status(.ok);
}

pub fn getBytes(
    handle: ?*const Handle,
    key: ?[*]const u8,
    key_bytes: usize,
    value: ?*Value,
) callconv(.c) i32 {
    const ifr = Handle.read(handle) orelse return Handle.refusal(handle);
    const bytes = slice(key, key_bytes) orelse return status(.invalid_argument);
    const target = value orelse return status(.invalid_argument);
    const found = ifr.getBytes(bytes) orelse return status(.not_found);
    target.* = found.*;
    return status(.ok);
}

pub fn getMany(
    handle: ?*const Handle,
    keys: ?[*]const Digest,
    count: usize,
    values: ?[*]Value,
    found: ?[*]u8,
    hits: ?*usize,
) callconv(.c) i32 {
    const ifr = Handle.read(handle) orelse return Handle.refusal(handle);
    if (count == 0) {
        if (hits) |target| target.* = 0;
        return status(.ok);
    }
    const asked = keys orelse return status(.invalid_argument);
    const answers = values orelse return status(.invalid_argument);
    const flags = found orelse return status(.invalid_argument);
    // No array of the host is longer; a longer one would wrap around.
    if (count > std.math.maxInt(isize) / @sizeOf(Digest)) return status(.invalid_argument);
    const sum = ifr.getMany(asked[0..count], answers[0..count], flags[0..count]);
    if (hits) |target| target.* = sum;
    return status(.ok);
}

pub fn remove(handle: ?*Handle, key: ?*const Digest, old: ?*Value) callconv(.c) i32 {
    const ifr = Handle.open(handle) orelse return Handle.refusal(handle);
    const digest = key orelse return status(.invalid_argument);
    const value = ifr.remove(digest) orelse return status(.not_found);
    if (old) |target| target.* = value;
    return status(.ok);
}

pub fn removeBytes(
    handle: ?*Handle,
    key: ?[*]const u8,
    key_bytes: usize,
    old: ?*Value,
) callconv(.c) i32 {
    const ifr = Handle.open(handle) orelse return Handle.refusal(handle);
    const bytes = slice(key, key_bytes) orelse return status(.invalid_argument);
    const value = ifr.removeBytes(bytes) orelse return status(.not_found);
    if (old) |target| target.* = value;
    return status(.ok);
}

pub fn mayContain(handle: ?*const Handle, key: ?*const Digest, maybe: ?*u8) callconv(.c) i32 {
    @setRuntimeSafety(false);
    const ifr = Handle.read(handle) orelse return Handle.refusal(handle);
    const digest = key orelse return status(.invalid_argument);
    const target = maybe orelse return status(.invalid_argument);
    target.* = @intFromBool(ifr.mayContain(digest));
    return status(.ok);
}

pub fn forEach(
    handle: ?*const Handle,
    userdata: ?*anyopaque,
    visit: ?Visit,
) callconv(.c) i32 {
    const ifr = Handle.read(handle) orelse return Handle.refusal(handle);
    const call = visit orelse return status(.invalid_argument);
    var entries = ifr.iterate();
    while (entries.next()) |entry| {
        const stop = call(userdata, &entry.key, entry.key.len, &entry.value) != 0;
        // What the visitor called may have panicked.
        if (Handle.read(handle) == null) return Handle.refusal(handle);
        if (stop) return status(.cancelled);
    }
    return status(.ok);
}

pub fn forEachBytes(
    handle: ?*const Handle,
    userdata: ?*anyopaque,
    visit: ?Visit,
) callconv(.c) i32 {
    const ifr = Handle.read(handle) orelse return Handle.refusal(handle);
    const call = visit orelse return status(.invalid_argument);
    var entries = ifr.iterateBytes();
    while (entries.next()) |entry| {
        const key = entry.slice();
        const stop = call(userdata, key.ptr, key.len, &entry.value) != 0;
        if (Handle.read(handle) == null) return Handle.refusal(handle);
        if (stop) return status(.cancelled);
    }
    return status(.ok);
}

pub fn len(handle: ?*const Handle, entries: ?*u64) callconv(.c) i32 {
    @setRuntimeSafety(false);
    const ifr = Handle.read(handle) orelse return Handle.refusal(handle);
    const target = entries orelse return status(.invalid_argument);
    target.* = ifr.len();
    return status(.ok);
}

pub fn stats(handle: ?*const Handle, out: ?*align(1) Stats) callconv(.c) i32 {
    const ifr = Handle.read(handle) orelse return Handle.refusal(handle);
    const target = out orelse return status(.invalid_argument);
    const size = target.struct_size;
    if (size < stats_size_min) return status(.invalid_argument);
    const now = ifr.stats();
    // A newer caller's fields beyond ours stay as they are.
    target.* = .{
        .struct_size = size,
        .reserved = 0,
        .digest_entries = now.digest_entries,
        .bytes_entries = now.bytes_entries,
        .bytes = now.bytes,
        .bytes_max = now.bytes_max,
        .capacity = now.capacity,
        .segments = now.segments,
        .filter_bytes = now.filter_bytes,
        .filter_homeless = now.filter_homeless,
    };
    return status(.ok);
}

/// A key of length 0 may be NULL. Longer than any key is refused before it is read.
fn slice(key: ?[*]const u8, key_bytes: usize) ?[]const u8 {
    if (key_bytes == 0) return &.{};
    if (key_bytes > root.constants.key_bytes_max) return null;
    return (key orelse return null)[0..key_bytes];
}

/// Nothing was found, or nothing could be looked at any more.
fn missing(handle: ?*const Handle) i32 {
    @setRuntimeSafety(false);
    if (Handle.read(handle) == null) return Handle.refusal(handle);
    return status(.not_found);
}

inline fn status(value: Status) i32 {
    return @intFromEnum(value);
}

fn statusOf(err: root.Error) i32 {
    return status(switch (err) {
        error.Limit => .limit,
        error.OutOfMemory => .out_of_memory,
        error.KeyTooLong => .invalid_argument,
    });
}
