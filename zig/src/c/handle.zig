//! Handles of the C border: memory that says what it is, and whether it may still be used.

const std = @import("std");
const root = @import("../root.zig");
const Status = @import("../gen/protocol.zig").Status;

const gpa = std.heap.c_allocator;
const mark_freed: u64 = 0x6672_6565_6672_6565;
/// The mark lies before the value, alone on its lines.
const value_at = 2 * std.atomic.cache_line;
const alignment: std.mem.Alignment = .fromByteUnits(std.atomic.cache_line);

/// A `struct` that C sees by pointer only. Eight letters say which.
fn Handle(comptime T: type, comptime name: *const [8]u8) type {
    comptime std.debug.assert(@alignOf(T) <= std.atomic.cache_line);
    return opaque {
        const Self = @This();
        const mark_live = std.mem.readInt(u64, name, .little);
        const mark_poisoned = ~mark_live;
        const bytes = value_at + @sizeOf(T);

        pub fn create(value: T) ?*Self {
            const memory = gpa.alignedAlloc(u8, alignment, bytes) catch return null;
            const self: *Self = @ptrCast(memory.ptr);
            self.item().* = value;
            self.mark().store(mark_live, .monotonic);
            return self;
        }

        /// What `handle` is, if it is one and alive.
        pub inline fn open(handle: ?*Self) ?*T {
            @setRuntimeSafety(false);
            return if (has(handle, mark_live)) handle.?.item() else null;
        }

        pub inline fn read(handle: ?*const Self) ?*const T {
            return open(@constCast(handle));
        }

        /// Why `open` gave nothing.
        pub fn refusal(handle: ?*const Self) i32 {
            @branchHint(.cold);
            const poisoned = has(@constCast(handle), mark_poisoned);
            return @intFromEnum(if (poisoned) Status.panic else Status.invalid_argument);
        }

        /// Frees what is alive. A poisoned handle keeps its memory: nobody can say what of it is whole.
        pub fn free(handle: ?*Self) void {
            if (!has(handle, mark_live)) return;
            const self = handle.?;
            self.mark().store(mark_freed, .monotonic);
            self.item().deinit();
            const start: [*]align(alignment.toByteUnits()) u8 = @ptrCast(@alignCast(self));
            const memory: []align(alignment.toByteUnits()) u8 = start[0..bytes];
            gpa.free(memory);
        }

        /// For tests that know what they broke: frees a handle whose contents are whole although it is poisoned.
        pub fn reclaim(handle: *Self) void {
            if (!has(handle, mark_poisoned)) return;
            handle.mark().store(mark_live, .monotonic);
            free(handle);
        }

        fn poisonIf(handle: *Self) void {
            if (!has(handle, mark_live)) return;
            handle.mark().store(mark_poisoned, .monotonic);
            // Readers that wait for the thread that panicked go on.
            if (@hasDecl(T, "abandon")) handle.item().abandon();
        }

        inline fn has(handle: ?*Self, wanted: u64) bool {
            @setRuntimeSafety(false);
            const address = @intFromPtr(handle orelse return false);
            if (address % alignment.toByteUnits() != 0) return false;
            return handle.?.mark().load(.monotonic) == wanted;
        }

        /// Atomic, because a panic on one thread poisons it beside readers on others.
        inline fn mark(self: *Self) *std.atomic.Value(u64) {
            return @ptrCast(@alignCast(self));
        }

        inline fn item(self: *Self) *T {
            const start: [*]u8 = @ptrCast(self);
            return @ptrCast(@alignCast(start + value_at));
        }
    };
}

/// C: struct mfn_ifr
pub const Ifr = Handle(root.Ifr, "mfn_ifr1");
/// C: struct mfn_ifr_flows
pub const Flows = Handle(root.Flows, "mfn_flo1");
/// C: struct mfn_ifr_filter
pub const Filter = Handle(OwnedFilter, "mfn_fil1");

pub const OwnedFilter = struct {
    filter: root.Filter,
    seeds: root.Seeds,

    pub fn deinit(owned: *OwnedFilter) void {
        owned.filter.deinit(gpa);
    }
};

/// What a broken invariant left is not looked at again. Memory that is no live handle stays as it is.
pub fn poison(handle: *anyopaque) void {
    Ifr.poisonIf(@ptrCast(handle));
    Flows.poisonIf(@ptrCast(handle));
    Filter.poisonIf(@ptrCast(handle));
}
