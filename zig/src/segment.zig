//! One segment of a table: groups of slots with control bytes, and the filter's words beside them.
//!
//! A segment is one allocation: header, control bytes, filter, entries. A control byte is the low 7
//! bits of the entry's hash, or says that the slot is empty or a tombstone. A probe starts at a group
//! that the hash chooses and goes on until a group has an empty slot.

const std = @import("std");
const assert = std.debug.assert;
const budgeting = @import("budget.zig");
const constants = @import("constants.zig");
const filtering = @import("filter.zig");
const hashing = @import("hash.zig");

const group_slots = constants.group_slots;
const line_bytes = 64;
const Memory = []align(line_bytes) u8;
const Control = @Vector(group_slots, u8);
const Mask = std.meta.Int(.unsigned, group_slots);

const empty: u8 = 0xff;
const tombstone: u8 = 0x80;

const Header = extern struct {
    live: u32,
    tombstones: u32,
    /// Fingerprints that the filter had no room for.
    homeless: u32,
    groups: u32,
    /// Bits of the hash that all keys of this segment share.
    depth: u32,
    reserved: [44]u8,

    comptime {
        assert(@sizeOf(Header) == line_bytes);
    }
};

/// Groups that hold `live` entries at the load of a fresh segment.
pub fn groupsFor(live: u32) u32 {
    return live * 10 / constants.group_live_tenths + 1;
}

pub fn Segment(comptime Entry: type) type {
    comptime assert(@sizeOf(Entry) * group_slots % @alignOf(Entry) == 0);
    return struct {
        /// What a look-up needs. Lies in the directory, so that the first memory it reaches for is
        /// already the control bytes.
        base: [*]align(line_bytes) u8,
        entries_at: u32,
        groups: u16,
        /// The filter may be asked: there is one, and every fingerprint has a place.
        filtered: bool,

        const Self = @This();

        comptime {
            assert(@sizeOf(Self) == 16);
        }

        const Found = struct { entry: *Entry, slot: u32 };

        pub fn create(
            budget: *budgeting.Budget,
            options: struct { groups: u32, depth: u32, filter: bool },
        ) budgeting.Error!Self {
            assert(options.groups > 0);
            assert(options.groups <= constants.segment_groups_max);
            const entries_at = entriesAt(options.groups, options.filter);
            const bytes = entries_at + options.groups * group_slots * @sizeOf(Entry);
            const whole: Memory = try budget.alloc(u8, .@"64", bytes);
            const self: Self = .{
                .base = whole.ptr,
                .entries_at = entries_at,
                .groups = @intCast(options.groups),
                .filtered = options.filter,
            };
            self.header().* = .{
                .live = 0,
                .tombstones = 0,
                .homeless = 0,
                .groups = options.groups,
                .depth = options.depth,
                .reserved = @splat(0),
            };
            const controls = options.groups * group_slots;
            @memset(whole[line_bytes..][0..controls], empty);
            @memset(whole[line_bytes + controls .. entries_at], 0);
            return self;
        }

        pub fn destroy(self: Self, budget: *budgeting.Budget) void {
            budget.free(self.memory());
        }

        pub inline fn header(self: Self) *Header {
            return @ptrCast(self.base);
        }

        /// Bytes of the filter, whether or not it may be asked now.
        pub fn filterBytes(self: Self) u32 {
            return self.entries_at - line_bytes - self.slots();
        }

        pub inline fn slots(self: Self) u32 {
            return @as(u32, self.groups) * group_slots;
        }

        /// Entries and tombstones that fit before a rebuild.
        pub fn usedMax(self: Self) u32 {
            return @as(u32, self.groups) * constants.group_used_max;
        }

        pub fn isFull(self: Self) bool {
            return self.header().live + self.header().tombstones >= self.usedMax();
        }

        /// So few entries are left that a rebuild gives memory back.
        pub fn isSparse(self: Self) bool {
            return self.groups > 1 and self.header().live < self.usedMax() / 4;
        }

        pub inline fn mayContain(self: Self, hash: u64) bool {
            if (!self.filtered) return true;
            return filtering.mayContain(self.filter(), .init(hash, self.buckets()));
        }

        pub inline fn find(self: Self, hash: u64, query: Entry.Query) ?Found {
            var group = self.firstGroup(hash);
            // A group with an empty slot exists, because at most 14 of 16 slots are used; the bound
            // holds even if that is broken.
            for (0..self.groups) |_| {
                const word = self.control(group);
                var candidates = equal(word, tag(hash));
                while (candidates != 0) : (candidates &= candidates - 1) {
                    const slot = group * group_slots + @ctz(candidates);
                    const entry = self.at(slot);
                    if (entry.matches(query, hash)) return .{ .entry = entry, .slot = slot };
                }
                if (equal(word, empty) != 0) return null;
                group = self.next(group);
            }
            return null;
        }

        /// Takes a slot for a key that is not here. The caller fills the entry.
        pub fn claim(self: *Self, hash: u64) *Entry {
            assert(!self.isFull());
            const head = self.header();
            var group = self.firstGroup(hash);
            const slot = for (0..self.groups) |_| {
                const word = self.control(group);
                const free = equal(word, empty) | equal(word, tombstone);
                if (free != 0) break group * group_slots + @ctz(free);
                group = self.next(group);
            } else unreachable; // Not full: fewer than 7/8 of the slots are used.
            const byte = &self.base[line_bytes + slot];
            if (byte.* == tombstone) head.tombstones -= 1;
            byte.* = tag(hash);
            head.live += 1;
            if (self.hasFilter() and !filtering.insert(self.filter(), .init(hash, self.buckets()))) {
                head.homeless += 1;
                self.filtered = false;
            }
            return self.at(slot);
        }

        pub fn release(self: *Self, hash: u64, slot: u32) void {
            assert(slot < self.slots());
            const head = self.header();
            const byte = &self.base[line_bytes + slot];
            assert(byte.* == tag(hash));
            // Probes stop at a group that has an empty slot, so one more in it changes no probe.
            if (equal(self.control(slot / group_slots), empty) != 0) {
                byte.* = empty;
            } else {
                byte.* = tombstone;
                head.tombstones += 1;
            }
            head.live -= 1;
            if (self.hasFilter() and !filtering.remove(self.filter(), .init(hash, self.buckets()))) {
                head.homeless -= 1;
                self.filtered = head.homeless == 0;
            }
        }

        /// Brings the lines closer that `mayContain` or, if the filter cannot be asked, `find` reads.
        pub inline fn prefetchFirst(self: Self, hash: u64) void {
            if (!self.filtered) return self.prefetchControl(hash);
            const probe = filtering.Probe.init(hash, self.buckets());
            const words = self.filter();
            @prefetch(&words[probe.first], .{});
            @prefetch(&words[probe.second], .{});
        }

        pub inline fn prefetchControl(self: Self, hash: u64) void {
            @prefetch(self.base + line_bytes + self.firstGroup(hash) * group_slots, .{});
        }

        /// Brings the first entry closer whose control byte agrees. False: no entry of the first
        /// group does, and no other group needs a look.
        pub inline fn prefetchEntry(self: Self, hash: u64) bool {
            const group = self.firstGroup(hash);
            const word = self.control(group);
            const candidates = equal(word, tag(hash));
            if (candidates == 0) return equal(word, empty) == 0;
            const entry: [*]const u8 = @ptrCast(self.at(group * group_slots + @ctz(candidates)));
            @prefetch(entry, .{});
            // Entries straddle lines.
            @prefetch(entry + (@sizeOf(Entry) - 1), .{});
            return true;
        }

        pub const Iterator = struct {
            segment: Self,
            group: u32 = 0,
            full: Mask = 0,

            pub fn next(iterator: *Iterator) ?Found {
                while (iterator.full == 0) {
                    if (iterator.group == iterator.segment.groups) return null;
                    const high = iterator.segment.control(iterator.group) & @as(Control, @splat(0x80));
                    iterator.full = equal(high, 0);
                    iterator.group += 1;
                }
                const slot = (iterator.group - 1) * group_slots + @ctz(iterator.full);
                iterator.full &= iterator.full - 1;
                return .{ .entry = iterator.segment.at(slot), .slot = slot };
            }
        };

        pub fn iterate(self: Self) Iterator {
            return .{ .segment = self };
        }

        fn entriesAt(groups: u32, has_filter: bool) u32 {
            const filter_bytes = if (has_filter) groups * constants.filter_group_buckets * 8 else 0;
            const end = line_bytes + groups * group_slots + filter_bytes;
            return std.mem.alignForward(u32, end, 16);
        }

        fn memory(self: Self) Memory {
            return self.base[0 .. self.entries_at + self.slots() * @sizeOf(Entry)];
        }

        fn hasFilter(self: Self) bool {
            return self.entries_at != entriesAt(self.groups, false);
        }

        inline fn buckets(self: Self) u32 {
            return @as(u32, self.groups) * constants.filter_group_buckets;
        }

        inline fn filter(self: Self) []u64 {
            const words: [*]u64 = @ptrCast(@alignCast(self.base + line_bytes + self.slots()));
            return words[0..self.buckets()];
        }

        inline fn control(self: Self, group: u32) Control {
            return self.base[line_bytes + group * group_slots ..][0..group_slots].*;
        }

        inline fn at(self: Self, slot: u32) *Entry {
            const entries: [*]Entry = @ptrCast(@alignCast(self.base + self.entries_at));
            return &entries[slot];
        }

        inline fn firstGroup(self: Self, hash: u64) u32 {
            // Above the tag, below the directory's bits.
            return hashing.reduce(@truncate(hash >> 7), self.groups);
        }

        inline fn next(self: Self, group: u32) u32 {
            return if (group + 1 == self.groups) 0 else group + 1;
        }
    };
}

inline fn tag(hash: u64) u8 {
    return @truncate(hash & 0x7f);
}

inline fn equal(control: Control, byte: u8) Mask {
    return @bitCast(control == @as(Control, @splat(byte)));
}

comptime {
    // Tag, group and directory read different bits of the hash.
    assert(7 + 32 + @as(u32, constants.directory_bits_max) <= 64);
}

test groupsFor {
    try std.testing.expectEqual(1, groupsFor(0));
    try std.testing.expectEqual(1, groupsFor(11));
    try std.testing.expectEqual(2, groupsFor(12));
    for (1..4000) |live| {
        const room = groupsFor(@intCast(live)) * constants.group_used_max;
        try std.testing.expect(room > live);
    }
}

test "a tombstone is left only where a probe may pass" {
    const entry = @import("entry.zig");
    var budget: budgeting.Budget = .{ .gpa = std.testing.allocator, .bytes_max = 1 << 20 };
    var segment = try Segment(entry.DigestEntry).create(&budget, .{ .groups = 2, .depth = 0, .filter = true });
    defer segment.destroy(&budget);
    // All of one group: the 17th goes to the other.
    var found: u32 = 0;
    for (0..17) |index| {
        const claimed = segment.claim(0);
        claimed.* = .{ .key = @splat(@intCast(index)), .value = @splat(0) };
    }
    segment.release(0, segment.find(0, &@splat(3)).?.slot);
    try std.testing.expectEqual(1, segment.header().tombstones);
    segment.release(0, segment.find(0, &@splat(16)).?.slot);
    try std.testing.expectEqual(1, segment.header().tombstones);
    for (0..17) |index| found += @intFromBool(segment.find(0, &@splat(@intCast(index))) != null);
    try std.testing.expectEqual(15, found);
    _ = segment.claim(0);
    try std.testing.expectEqual(0, segment.header().tombstones);
    try std.testing.expectEqual(16, segment.header().live);
}
