//! An exact-match table that grows in small steps.
//!
//! A directory, indexed by the top bits of the hash, leads to segments. A segment that fills up is
//! rebuilt a quarter larger, or split in two by the next bit of the hash once it is as large as a segment
//! may be. So one insert moves a bounded number of entries, however large the table is, and
//! memory follows the number of entries closely. (Extendible hashing; the segments are open-addressed.)

const std = @import("std");
const assert = std.debug.assert;
const budgeting = @import("budget.zig");
const constants = @import("constants.zig");
const segments = @import("segment.zig");
const Seeds = @import("hash.zig").Seeds;

const Budget = budgeting.Budget;
pub const Error = budgeting.Error;

pub fn Table(comptime Entry: type) type {
    return struct {
        /// Segments by the top `depth` bits of the hash; several indexes may lead to the same one.
        directory: []align(64) Segment,
        depth: u6,
        filter: bool,
        live: u64,
        segment_count: u64,

        const Self = @This();
        const Segment = segments.Segment(Entry);

        pub fn init(budget: *Budget, options: struct { filter: bool }) Error!Self {
            const directory = try budget.alloc(Segment, .@"64", 1);
            errdefer budget.free(directory);
            directory[0] = try .create(budget, .{ .groups = 1, .depth = 0, .filter = options.filter });
            return .{
                .directory = directory,
                .depth = 0,
                .filter = options.filter,
                .live = 0,
                .segment_count = 1,
            };
        }

        /// Frees all memory. What entries own is the caller's: see `iterate`.
        pub fn deinit(self: *Self, budget: *Budget) void {
            var index: usize = 0;
            while (index < self.directory.len) {
                const segment = self.directory[index];
                index += self.span(segment.header().depth);
                segment.destroy(budget);
            }
            budget.free(self.directory);
            self.* = undefined;
        }

        pub inline fn get(self: *const Self, hash: u64, query: Entry.Query) ?*Entry {
            const segment = self.directory[self.indexOf(hash)];
            if (!segment.mayContain(hash)) return null;
            const found = segment.find(hash, query) orelse return null;
            return found.entry;
        }

        /// What the filter says: false is sure.
        pub fn mayContain(self: *const Self, hash: u64) bool {
            return self.directory[self.indexOf(hash)].mayContain(hash);
        }

        /// Looks up a batch. Each pass over it brings the lines closer that the next one reads, so
        /// that their latencies overlap.
        pub fn getMany(
            self: *const Self,
            hashes: []const u64,
            queries: []const Entry.Query,
            found: []?*Entry,
        ) void {
            assert(hashes.len <= constants.batch_keys);
            assert(queries.len == hashes.len);
            assert(found.len == hashes.len);
            var batch: [constants.batch_keys]Segment = undefined;
            var alive: [constants.batch_keys]bool = undefined;
            for (hashes) |hash| @prefetch(&self.directory[self.indexOf(hash)], .{});
            for (hashes, 0..) |hash, index| {
                batch[index] = self.directory[self.indexOf(hash)];
                batch[index].prefetchFirst(hash);
            }
            if (self.filter) {
                for (hashes, 0..) |hash, index| {
                    alive[index] = batch[index].mayContain(hash);
                    if (alive[index]) batch[index].prefetchControl(hash);
                }
            } else {
                @memset(&alive, true);
            }
            for (hashes, 0..) |hash, index| {
                if (alive[index]) alive[index] = batch[index].prefetchEntry(hash);
            }
            for (hashes, queries, found, 0..) |hash, query, *slot, index| {
                slot.* = null;
                if (!alive[index]) continue;
                if (batch[index].find(hash, query)) |entry| slot.* = entry.entry;
            }
        }

        /// Takes a slot for a key that is not here; the caller fills it. An error changes nothing
        /// that a caller can see.
        pub fn add(self: *Self, budget: *Budget, seeds: *const Seeds, hash: u64) Error!*Entry {
            var index = self.indexOf(hash);
            // A split can put every entry on one side, with a chance of one in a great many.
            while (self.directory[index].isFull()) {
                try self.makeRoom(budget, seeds, index);
                index = self.indexOf(hash);
            }
            var segment = self.directory[index];
            const entry = segment.claim(hash);
            if (segment.filtered != self.directory[index].filtered) self.publish(index, segment);
            self.live += 1;
            return entry;
        }

        /// Removes a key and answers what its entry was.
        pub fn remove(
            self: *Self,
            budget: *Budget,
            seeds: *const Seeds,
            hash: u64,
            query: Entry.Query,
        ) ?Entry {
            const index = self.indexOf(hash);
            var segment = self.directory[index];
            const found = segment.find(hash, query) orelse return null;
            const entry = found.entry.*;
            segment.release(hash, found.slot);
            if (segment.filtered != self.directory[index].filtered) self.publish(index, segment);
            self.live -= 1;
            if (segment.isSparse()) {
                const groups = segments.groupsFor(segment.header().live);
                // Without memory for the smaller one the larger one serves.
                self.rebuild(budget, seeds, index, groups) catch |err| switch (err) {
                    error.Limit, error.OutOfMemory => {},
                };
            }
            return entry;
        }

        pub const Iterator = struct {
            table: *const Self,
            index: usize = 0,
            current: Segment.Iterator,

            pub fn next(iterator: *Iterator) ?*Entry {
                while (true) {
                    if (iterator.current.next()) |found| return found.entry;
                    const head = iterator.current.segment.header();
                    iterator.index += iterator.table.span(head.depth);
                    if (iterator.index >= iterator.table.directory.len) {
                        // Stays at the end.
                        iterator.index -= iterator.table.span(head.depth);
                        return null;
                    }
                    iterator.current = iterator.table.directory[iterator.index].iterate();
                }
            }
        };

        /// All entries, in no order. The table must not change meanwhile.
        pub fn iterate(self: *const Self) Iterator {
            return .{ .table = self, .current = self.directory[0].iterate() };
        }

        pub const Stats = struct { capacity: u64 = 0, filter_bytes: u64 = 0, homeless: u64 = 0 };

        /// Visits every segment.
        pub fn stats(self: *const Self) Stats {
            var sum: Stats = .{};
            var index: usize = 0;
            while (index < self.directory.len) {
                const segment = self.directory[index];
                index += self.span(segment.header().depth);
                sum.capacity += segment.usedMax();
                sum.filter_bytes += segment.filterBytes();
                sum.homeless += segment.header().homeless;
            }
            return sum;
        }

        inline fn indexOf(self: *const Self, hash: u64) usize {
            // In two steps: a shift by 64 does not exist.
            return @intCast((hash >> 1) >> (63 - self.depth));
        }

        /// Directory indexes that lead to one segment.
        fn span(self: *const Self, depth: u32) usize {
            assert(depth <= self.depth);
            return @as(usize, 1) << @intCast(self.depth - depth);
        }

        /// Lets every index of a segment's span lead to the given one.
        fn publish(self: *Self, index: usize, segment: Segment) void {
            const count = self.span(segment.header().depth);
            const start = std.mem.alignBackward(usize, index, count);
            @memset(self.directory[start..][0..count], segment);
        }

        fn makeRoom(self: *Self, budget: *Budget, seeds: *const Seeds, index: usize) Error!void {
            // One more is coming; tombstones go.
            const groups = segments.groupsFor(self.directory[index].header().live + 1);
            if (groups <= constants.segment_groups_max) {
                return self.rebuild(budget, seeds, index, groups);
            }
            return self.split(budget, seeds, index);
        }

        fn rebuild(
            self: *Self,
            budget: *Budget,
            seeds: *const Seeds,
            index: usize,
            groups: u32,
        ) Error!void {
            const old = self.directory[index];
            var new: Segment = try .create(budget, .{
                .groups = groups,
                .depth = old.header().depth,
                .filter = self.filter,
            });
            var entries = old.iterate();
            while (entries.next()) |found| {
                new.claim(found.entry.hashStored(seeds)).* = found.entry.*;
            }
            assert(new.header().live == old.header().live);
            self.publish(index, new);
            old.destroy(budget);
        }

        fn split(self: *Self, budget: *Budget, seeds: *const Seeds, index: usize) Error!void {
            const old = self.directory[index];
            const depth: u6 = @intCast(old.header().depth);
            if (depth == constants.directory_bits_max) return error.Limit;
            var counts: [2]u32 = .{ 0, 0 };
            var counting = old.iterate();
            while (counting.next()) |found| {
                counts[sideOf(found.entry.hashStored(seeds), depth)] += 1;
            }
            var new: [2]Segment = undefined;
            for (&new, counts, 0..) |*half, count, done| {
                errdefer if (done == 1) new[0].destroy(budget);
                half.* = try .create(budget, .{
                    // All on one side: as large as may be, and the next split parts them.
                    .groups = @min(segments.groupsFor(count), constants.segment_groups_max),
                    .depth = depth + 1,
                    .filter = self.filter,
                });
            }
            errdefer for (new) |half| half.destroy(budget);
            // After a doubling, twice the index is the first that leads here.
            var start = std.mem.alignBackward(usize, index, self.span(depth));
            if (depth == self.depth) {
                try self.doubleDirectory(budget);
                start *= 2;
            }
            var entries = old.iterate();
            while (entries.next()) |found| {
                const hash = found.entry.hashStored(seeds);
                new[sideOf(hash, depth)].claim(hash).* = found.entry.*;
            }
            const count = self.span(depth);
            assert(self.directory[start].base == old.base);
            @memset(self.directory[start..][0 .. count / 2], new[0]);
            @memset(self.directory[start + count / 2 ..][0 .. count / 2], new[1]);
            self.segment_count += 1;
            old.destroy(budget);
        }

        fn doubleDirectory(self: *Self, budget: *Budget) Error!void {
            const new = try budget.alloc(Segment, .@"64", self.directory.len * 2);
            for (self.directory, 0..) |segment, index| {
                new[index * 2] = segment;
                new[index * 2 + 1] = segment;
            }
            budget.free(self.directory);
            self.directory = new;
            self.depth += 1;
        }
    };
}

inline fn sideOf(hash: u64, depth: u6) u1 {
    return @truncate(hash >> (63 - depth));
}
