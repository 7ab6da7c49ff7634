//! An exact-match table that grows in small steps, read without locks beside one writer.
//!
//! A directory, indexed by the top bits of the hash, leads to segments. A segment that is full is split in
//! two by the next bit of the hash, so one insert moves a bounded number of entries, however large
//! the table is. (Extendible hashing; `segment.zig` says what a segment is and what orders its readers.)
//!
//! A reader takes the table's sequence, finds its way through the directory, and looks whether the sequence
//! is still the same. It changes with every value that is replaced, every removal, and whenever the directory leads
//! elsewhere; adding an entry does not touch it. A reader that failed so, because the writer was busy just
//! then, goes by the sequence of one window instead, which only what happens there disturbs: window,
//! sequence, then whether the directory still leads there. The writer publishes a new place before
//! the old window's sequence moves on; so if the place is the same, the sequence is of a time when
//! the window served it. Old directories stay until the end, as readers may still be in them; all
//! together they are no larger than the last one.

const std = @import("std");
const assert = std.debug.assert;
const budgeting = @import("budget.zig");
const constants = @import("constants.zig");
const segments = @import("segment.zig");
const windows = @import("window.zig");
const Seeds = @import("hash.zig").Seeds;

const Budget = budgeting.Budget;
const Offsets = segments.Offsets;
const Place = segments.Place;
const Window = windows.Window;
pub const Error = budgeting.Error;

/// Places by the top `depth` bits of the hash; several indexes may lead to the same one.
const Directory = struct {
    older: ?*Directory,
    depth: u6,
    places: []align(places_alignment) Place,
    windows: []*Window,

    const places_alignment = 64;
    const depth_min = 1;

    pub inline fn indexOf(directory: *const Directory, hash: u64) usize {
        return Way.of(directory).indexOf(hash);
    }

    fn window(directory: *const Directory, hash: u64) *Window {
        return directory.windows[directory.indexOf(hash)];
    }

    /// Directory indexes that lead to one segment.
    pub fn spanOf(directory: *const Directory, depth: u32) usize {
        assert(depth <= directory.depth);
        return @as(usize, 1) << @intCast(directory.depth - depth);
    }

    fn spanAt(directory: *const Directory, hash: u64, depth: u32) struct { start: usize, count: usize } {
        const count = directory.spanOf(depth);
        return .{ .start = std.mem.alignBackward(usize, directory.indexOf(hash), count), .count = count };
    }
};

/// What a look-up needs to know of a directory, in one word: the address of its places, and in the zeros at the end of
/// it the shift that makes an index of a hash.
const Way = struct {
    bits: u64,

    fn of(directory: *const Directory) Way {
        // A shift by 64 does not exist.
        assert(directory.depth >= Directory.depth_min);
        return .{ .bits = @intFromPtr(directory.places.ptr) | (64 - @as(u64, directory.depth)) };
    }

    inline fn indexOf(way: Way, hash: u64) usize {
        return @intCast(hash >> @as(u6, @truncate(way.bits)));
    }

    inline fn place(way: Way, hash: u64) *const Place {
        @setRuntimeSafety(false);
        const places: [*]const Place = @ptrFromInt(way.bits & ~@as(u64, Directory.places_alignment - 1));
        return &places[way.indexOf(hash)];
    }

    inline fn go(way: Way, hash: u64) Place {
        return .{ .bits = @atomicLoad(u64, &way.place(hash).bits, .acquire) };
    }
};

/// What a reader goes by. Also the header's `struct mfn_ifr_head`.
pub const Head = extern struct {
    sequence: windows.Sequence = .{},
    way: std.atomic.Value(u64),
    floor: std.atomic.Value(u64),

    inline fn offsets(head: *const Head) Offsets {
        return .{ .floor = head.floor.load(.monotonic) };
    }
};

/// Changes whenever a reader of the header's would go astray: head, way, place, line, entry or hash.
pub const head_layout: u32 = 2;

/// Where the way leads once nobody knows what of a table is whole: to an index without a key.
const Nowhere = struct {
    // Variables, so that they lie where memory is zero and takes no room in a file.
    var lines: [windows.base_alignment]u8 align(windows.base_alignment) = @splat(0);
    var places: [2]*align(windows.base_alignment) [windows.base_alignment]u8 align(Directory.places_alignment) = @splat(&lines);

    fn way() Way {
        return .{ .bits = @intFromPtr(&places) | 63 };
    }
};

pub fn Table(comptime Entry: type) type {
    return struct {
        /// What readers read: changes seldom.
        head: Head align(std.atomic.cache_line),
        /// Set when the writer will never finish what it began: readers that wait for it give up.
        abandoned: std.atomic.Value(bool),
        newest: std.atomic.Value(*Directory),
        /// What the writer writes all the time.
        live: std.atomic.Value(u64) align(std.atomic.cache_line),
        segment_count: u64,
        pool: windows.Pool,

        const Self = @This();
        pub const Segment = segments.Segment(Entry);

        pub fn init(budget: *Budget) Error!Self {
            var pool: windows.Pool = .{ .window_bytes = Segment.window_bytes, .slack_bytes = Segment.slack_bytes };
            errdefer pool.deinit(budget);
            const window = try pool.take(budget);
            try Segment.create(&pool, budget, window, .{
                .lines = constants.segment_lines_min,
                .depth = 0,
                .live = 1,
            });
            const directory = try createDirectory(budget, null, Directory.depth_min);
            @memset(directory.places, .of(window));
            @memset(directory.windows, window);
            return .{
                .head = .{
                    .way = .init(Way.of(directory).bits),
                    .floor = .init(Offsets.of(constants.segment_lines_min).floor),
                },
                .abandoned = .init(false),
                .newest = .init(directory),
                .live = .init(0),
                .segment_count = 1,
                .pool = pool,
            };
        }

        fn createDirectory(budget: *Budget, older: ?*Directory, depth: u6) Error!*Directory {
            const directory = try budget.create(Directory);
            errdefer budget.destroy(directory);
            const places = try budget.alloc(Place, .fromByteUnits(Directory.places_alignment), @as(usize, 1) << depth);
            errdefer budget.free(places);
            const windows_of = try budget.alloc(*Window, .of(*Window), @as(usize, 1) << depth);
            directory.* = .{ .older = older, .depth = depth, .places = places, .windows = windows_of };
            return directory;
        }

        /// Frees all memory. What entries own is the caller's: see `iterate`.
        pub fn deinit(self: *Self, budget: *Budget) void {
            var next: ?*Directory = self.newest.raw;
            while (next) |directory| {
                next = directory.older;
                budget.free(directory.places);
                budget.free(directory.windows);
                budget.destroy(directory);
            }
            self.pool.deinit(budget);
            self.* = undefined;
        }

        /// For whoever has the table to itself, or is its writer.
        pub inline fn get(self: *const Self, hash: u64, query: Entry.Query) ?*Entry {
            const way: Way = .{ .bits = self.head.way.raw };
            const found = Segment.find(way.go(hash), self.head.offsets(), hash, query) orelse return null;
            return found.entry;
        }

        pub const Glance = enum { found, missing, unsure };

        /// Beside the writer: the answer, if the first cache line decides and the writer is elsewhere. Nearly
        /// always so; this much is worth being inline. It cannot panic.
        pub inline fn glance(self: *const Self, hash: u64, query: Entry.Query, answer: *Entry.Answer) Glance {
            @setRuntimeSafety(false);
            const entered = self.head.sequence.enter();
            if (entered % 2 != 0) return .unsure;
            const way: Way = .{ .bits = self.head.way.load(.acquire) };
            const place = way.go(hash);
            var offset = self.head.offsets().first(hash);
            inline for (0..2) |_| {
                const line = place.lineAt(offset);
                const tags = line.load();
                var candidates = Segment.candidatesIn(tags, hash);
                while (candidates != 0) : (candidates &= candidates - 1) {
                    const entry = Segment.entryIn(place, line, candidates);
                    if (!entry.matches(query, hash)) continue;
                    const copy = entry.answer();
                    if (!self.head.sequence.stillAt(entered)) return .unsure;
                    answer.* = copy;
                    return .found;
                }
                if (Segment.ends(tags)) return if (self.head.sequence.stillAt(entered)) .missing else .unsure;
                offset ^= segments.line_bytes;
            }
            return .unsure;
        }

        /// Beside the writer: a copy of what the entry answers. Null also when the writer is gone.
        pub inline fn read(self: *const Self, hash: u64, query: Entry.Query) ?Entry.Answer {
            var answer: Entry.Answer = undefined;
            return switch (self.glance(hash, query, &answer)) {
                .found => answer,
                .missing => null,
                .unsure => self.readSlowly(hash, query),
            };
        }

        pub noinline fn readSlowly(self: *const Self, hash: u64, query: Entry.Query) ?Entry.Answer {
            @branchHint(.cold);
            @setRuntimeSafety(false);
            var tries: u32 = 0;
            while (true) {
                if (self.enter(hash)) |ticket| {
                    const answer = if (Segment.find(ticket.place, self.head.offsets(), hash, query)) |found| found.entry.answer() else null;
                    if (ticket.window.sequence.stillAt(ticket.entered)) return answer;
                }
                if (!self.again(&tries)) return null;
            }
        }

        const Ticket = struct { place: Place, window: *const Window, entered: u64 };

        /// A place whose window's sequence is of a time when it was the hash's. Null: a writer is there.
        fn enter(self: *const Self, hash: u64) ?Ticket {
            @setRuntimeSafety(false);
            const directory = self.newest.load(.acquire);
            const index = directory.indexOf(hash);
            const window = @atomicLoad(*Window, &directory.windows.ptr[index], .acquire);
            const place: Place = .{ .bits = @atomicLoad(u64, &directory.places.ptr[index].bits, .acquire) };
            const entered = window.sequence.enter();
            if (entered % 2 != 0) return null;
            if (@atomicLoad(*Window, &directory.windows.ptr[index], .acquire) != window) return null;
            if (@atomicLoad(u64, &directory.places.ptr[index].bits, .acquire) != place.bits) return null;
            if (self.newest.load(.acquire) != directory) return null;
            return .{ .place = place, .window = window, .entered = entered };
        }

        /// Waits a little for the writer. False: it will not come back.
        fn again(self: *const Self, tries: *u32) bool {
            @branchHint(.cold);
            @setRuntimeSafety(false);
            tries.* +%= 1;
            if (tries.* % constants.retries_before_yield != 0) {
                std.atomic.spinLoopHint();
                return true;
            }
            if (self.abandoned.load(.monotonic)) return false;
            std.Thread.yield() catch {};
            return true;
        }

        /// Tells an entry that it was read. Beside the writer, and only a hint: if the writer was faster, it
        /// is another entry that hears of it, or none.
        pub fn touch(self: *const Self, hash: u64, query: Entry.Query) void {
            @setRuntimeSafety(false);
            const way: Way = .{ .bits = self.head.way.load(.acquire) };
            const found = Segment.find(way.go(hash), self.head.offsets(), hash, query) orelse return;
            found.entry.touch();
        }

        /// Lets readers go that wait for a writer that broke off, and leads those that do not look at the sequence to nothing:
        /// by the way, and by the places of the newest directory for those who remember the way between changes.
        pub fn abandon(self: *Self) void {
            for (self.newest.load(.acquire).places) |*place| {
                @atomicStore(u64, &place.bits, @intFromPtr(&Nowhere.lines), .release);
            }
            self.head.way.store(Nowhere.way().bits, .release);
            self.abandoned.store(true, .monotonic);
        }

        /// What the index says without the entry: false is sure. Beside the writer.
        pub fn mayContain(self: *const Self, hash: u64) bool {
            @setRuntimeSafety(false);
            const entered = self.head.sequence.enter();
            const way: Way = .{ .bits = self.head.way.load(.acquire) };
            if (entered % 2 == 0) {
                const maybe = Segment.mayContain(way.go(hash), self.head.offsets(), hash);
                if (self.head.sequence.stillAt(entered)) return maybe;
            }
            var tries: u32 = 0;
            while (true) {
                if (self.enter(hash)) |ticket| {
                    const maybe = Segment.mayContain(ticket.place, self.head.offsets(), hash);
                    if (ticket.window.sequence.stillAt(ticket.entered)) return maybe;
                }
                if (!self.again(&tries)) return true;
            }
        }

        /// Looks up many keys beside the writer, in a pipeline: while one key's entry is compared, the next
        /// ones' entries and the lines of those after them are on their way from memory. Writes the
        /// answers of keys that are here and a flag for each; gives how many are here.
        pub fn readMany(
            self: *const Self,
            seeds: *const Seeds,
            queries: []const std.meta.Child(Entry.Query),
            answers: [*]Entry.Answer,
            found: [*]u8,
        ) usize {
            @setRuntimeSafety(false);
            const ahead_line = constants.batch_lines_ahead;
            const ahead_entry = constants.batch_entries_ahead;
            const ring = 64;
            comptime assert(ahead_line + ahead_entry < ring);
            var lines: [ring]Aim = undefined;
            var aimed: [ring]?*const Entry = undefined;
            const entered = self.head.sequence.enter();
            const way: Way = .{ .bits = self.head.way.load(.acquire) };
            const offsets = self.head.offsets();
            var unsure: u64 = 0;
            var hits: u64 = 0;
            const count = if (entered % 2 == 0) queries.len else 0;
            for (0..count + ahead_line + ahead_entry) |step| {
                if (step < count) {
                    const hash = seeds.digest(&queries[step]);
                    const place = way.go(hash);
                    const line = place.lineAt(offsets.first(hash));
                    @prefetch(line, .{});
                    lines[step % ring] = .{ .hash = hash, .place = place, .line = line };
                }
                const second = step -% ahead_line;
                if (second < count) aimed[second % ring] = Segment.aim(&lines[second % ring]);
                const third = second -% ahead_entry;
                if (third < count) {
                    const flag: u8 = if (aimed[third % ring]) |entry| hit: {
                        if (!entry.matches(&queries[third], 0)) break :hit flag_unsure;
                        answers[third] = entry.answer();
                        break :hit 1;
                    } else if (lines[third % ring].unsure) flag_unsure else 0;
                    found[third] = flag;
                    hits += flag & 1;
                    unsure += flag >> 1;
                }
            }
            if (entered % 2 == 0 and self.head.sequence.stillAt(entered) and unsure == 0) return hits;
            // The writer came by, or some keys do not lie where keys mostly lie.
            const all = entered % 2 != 0 or !self.head.sequence.stillAt(entered);
            if (all) hits = 0;
            for (queries, 0..) |*query, index| {
                if (!all and found[index] != flag_unsure) continue;
                found[index] = 0;
                answers[index] = self.readSlowly(seeds.digest(query), query) orelse continue;
                found[index] = 1;
                hits += 1;
            }
            return hits;
        }

        const flag_unsure: u8 = 2;
        const Aim = Segment.Aim;

        /// Replaces an entry's contents; key and hash stay.
        pub fn replace(self: *Self, hash: u64, entry: *Entry, new: *const Entry) void {
            const window = self.newest.raw.window(hash);
            self.begin(window);
            Segment.store(entry, new);
            self.end(window);
        }

        inline fn begin(self: *Self, window: *Window) void {
            self.head.sequence.begin();
            window.sequence.begin();
        }

        inline fn end(self: *Self, window: *Window) void {
            window.sequence.end();
            self.head.sequence.end();
        }

        /// Adds an entry whose key is not here. An error changes nothing that a caller can see.
        /// Not inline: what it needs to split a segment would be prepared for each insert that has room.
        pub noinline fn add(self: *Self, budget: *Budget, seeds: *const Seeds, hash: u64, new: *const Entry) Error!*Entry {
            var window = self.newest.raw.window(hash);
            // A split can put every entry on one side, with a chance of one in a great many.
            while (Segment.isFull(window)) {
                try self.makeRoom(budget, seeds, hash);
                window = self.newest.raw.window(hash);
            }
            Segment.reserve(&self.pool, budget, window) catch |err| {
                if (!self.pool.trim(budget)) return err;
                try Segment.reserve(&self.pool, budget, window);
            };
            const entry = Segment.append(window, hash, new);
            self.live.store(self.live.raw + 1, .monotonic);
            return entry;
        }

        /// Adds an entry, or gives the one that its key has already. An error changes nothing that a caller can see.
        pub inline fn addUnlessThere(
            self: *Self,
            budget: *Budget,
            seeds: *const Seeds,
            hash: u64,
            query: Entry.Query,
            new: *const Entry,
        ) Error!?*Entry {
            const way: Way = .{ .bits = self.head.way.raw };
            const sought = Segment.seek(way.go(hash), self.head.offsets(), hash, query);
            if (sought.entry) |entry| return entry;
            if (sought.line) |line| {
                // The writer's way leads to the newest directory, and has the shift ready.
                const window = self.newest.raw.windows.ptr[way.indexOf(hash)];
                // A tombstone on the way would rather be used, and a segment without room changes first.
                if (window.tombstones == 0 and !Segment.isFull(window) and Segment.hasPages(window)) {
                    Segment.appendAt(window, line, sought.slot, hash, new);
                    self.live.store(self.live.raw + 1, .monotonic);
                    return null;
                }
            }
            _ = try self.add(budget, seeds, hash, new);
            return null;
        }

        /// Removes a key and answers what its entry was.
        pub fn remove(self: *Self, budget: *Budget, seeds: *const Seeds, hash: u64, query: Entry.Query) ?Entry {
            const window = self.newest.raw.window(hash);
            const found = Segment.find(.of(window), .of(window.lines), hash, query) orelse return null;
            const entry = found.entry.*;
            self.begin(window);
            Segment.remove(window, seeds, found);
            self.end(window);
            self.live.store(self.live.raw - 1, .monotonic);
            if (window.live % constants.removals_before_trim == 0) {
                Segment.trim(&self.pool, budget, window);
            }
            if (window.live < constants.merged_entries_max / 2) {
                // Without memory for the merged one the two serve.
                self.merge(budget, seeds, hash) catch |err| switch (err) {
                    error.Limit, error.OutOfMemory => {},
                };
            }
            return entry;
        }

        pub const Iterator = struct {
            directory: *const Directory,
            index: usize = 0,
            number: u32 = 0,

            pub fn next(iterator: *Iterator) ?*Entry {
                while (iterator.index < iterator.directory.windows.len) {
                    const window = iterator.directory.windows[iterator.index];
                    if (iterator.number < window.live) {
                        iterator.number += 1;
                        return Segment.at(window, iterator.number - 1);
                    }
                    iterator.number = 0;
                    iterator.index += iterator.directory.spanOf(window.depth);
                }
                return null;
            }
        };

        /// All entries, in no order. The table must not change meanwhile.
        pub fn iterate(self: *const Self) Iterator {
            return .{ .directory = self.newest.raw };
        }

        pub const Stats = struct { capacity: u64 = 0, index_bytes: u64 = 0 };

        /// Visits every segment. The table must not change meanwhile.
        pub fn stats(self: *const Self) Stats {
            var sum: Stats = .{};
            const directory = self.newest.raw;
            var index: usize = 0;
            while (index < directory.windows.len) {
                const window = directory.windows[index];
                index += directory.spanOf(window.depth);
                sum.capacity += window.lines / 2 * constants.lines_used_max;
                sum.index_bytes += Segment.indexBytes(window);
            }
            return sum;
        }

        /// Lets part of a span lead to the given window. Between `begin` and `end` of the table's sequence.
        fn publish(directory: *Directory, start: usize, count: usize, window: *Window) void {
            const place: Place = .of(window);
            for (directory.windows[start..][0..count], directory.places[start..][0..count]) |*to, *bits| {
                // The window's contents before what leads to it.
                @atomicStore(*Window, to, window, .release);
                @atomicStore(u64, &bits.bits, place.bits, .release);
            }
        }

        fn makeRoom(self: *Self, budget: *Budget, seeds: *const Seeds, hash: u64) Error!void {
            const window = self.newest.raw.window(hash);
            const lines_max = constants.segment_lines_max;
            if (window.tombstones > window.live / 8 or window.lines < lines_max) {
                const grows = window.tombstones <= window.live / 8;
                const lines = if (grows) @min(window.lines * 2, lines_max) else window.lines;
                try Segment.prepareIndex(&self.pool, budget, window, lines);
                self.begin(window);
                defer self.end(window);
                Segment.reindex(window, seeds, lines);
                self.head.floor.store(Offsets.of(lines).floor, .monotonic);
                const span = self.newest.raw.spanAt(hash, window.depth);
                return publish(self.newest.raw, span.start, span.count, window);
            }
            return self.split(budget, seeds, hash);
        }

        fn split(self: *Self, budget: *Budget, seeds: *const Seeds, hash: u64) Error!void {
            const old = self.newest.raw.window(hash);
            const depth: u6 = @intCast(old.depth);
            if (depth == constants.directory_bits_max) return error.Limit;
            var hashes: [segments.entries_max]u64 = undefined;
            var counts: [2]u32 = .{ 0, 0 };
            for (hashes[0..old.live], 0..) |*each, place| {
                each.* = Segment.at(old, @intCast(place)).hashStored(seeds);
                counts[segments.sideOf(each.*, depth)] += 1;
            }
            if (depth == self.newest.raw.depth) try self.doubleDirectory(budget);
            var new: [2]*Window = undefined;
            for (&new, counts, 0..) |*half, count, done| {
                errdefer for (new[0..done]) |made| self.pool.put(budget, made);
                half.* = try self.pool.take(budget);
                errdefer self.pool.put(budget, half.*);
                try Segment.create(&self.pool, budget, half.*, .{
                    .lines = constants.segment_lines_max,
                    .depth = depth + 1,
                    .live = count,
                });
            }
            Segment.deal(old, &hashes, depth, new);
            const directory = self.newest.raw;
            const span = directory.spanAt(hash, depth);
            assert(directory.windows[span.start] == old);
            self.head.sequence.begin();
            publish(directory, span.start, span.count / 2, new[0]);
            publish(directory, span.start + span.count / 2, span.count / 2, new[1]);
            self.head.sequence.end();
            self.segment_count += 1;
            self.pool.put(budget, old);
        }

        /// Makes one of a small segment and its sibling, if that is as small.
        fn merge(self: *Self, budget: *Budget, seeds: *const Seeds, hash: u64) Error!void {
            const one = self.newest.raw.window(hash);
            if (one.depth == 0) return;
            const depth: u6 = @intCast(one.depth - 1);
            const directory = self.newest.raw;
            const span = directory.spanAt(hash, depth);
            const old: [2]*Window = .{ directory.windows[span.start], directory.windows[span.start + span.count / 2] };
            if (old[0].depth != old[1].depth) return;
            if (old[0].live + old[1].live > constants.merged_entries_max) return;
            const new = try self.pool.take(budget);
            errdefer self.pool.put(budget, new);
            try Segment.create(&self.pool, budget, new, .{
                .lines = constants.segment_lines_max,
                .depth = depth,
                .live = old[0].live + old[1].live,
            });
            for (old) |window| {
                for (0..window.live) |place| {
                    const entry = Segment.at(window, @intCast(place));
                    _ = Segment.append(new, entry.hashStored(seeds), entry);
                }
            }
            self.head.sequence.begin();
            publish(directory, span.start, span.count, new);
            self.head.sequence.end();
            self.segment_count -= 1;
            for (old) |window| self.pool.put(budget, window);
            // A table that shrinks needs no spare window.
            _ = self.pool.trim(budget);
        }

        fn doubleDirectory(self: *Self, budget: *Budget) Error!void {
            const old = self.newest.raw;
            const new = try createDirectory(budget, old, old.depth + 1);
            for (old.places, old.windows, 0..) |place, window, index| {
                @memset(new.places[index * 2 ..][0..2], place);
                @memset(new.windows[index * 2 ..][0..2], window);
            }
            self.head.sequence.begin();
            self.head.way.store(Way.of(new).bits, .release);
            self.newest.store(new, .release);
            self.head.sequence.end();
        }
    };
}
