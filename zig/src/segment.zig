//! One segment of a table: dense entries, and an index of lines that says where in them a key is.
//!
//! An index line is half a cache line: 8 tags and 8 links, two bytes each. A tag is 15 bits of the hash, or says that
//! the slot is empty or a tombstone; a link is the entry's place, counted in units of 8 bytes. A probe starts at a line that the hash chooses, goes to
//! its neighbour in the same cache line, then to the next pair, and ends at a line that has an empty slot. Entries
//! lie without gaps in the order of their coming: a removal moves the last one into the hole. So memory follows the
//! entries closely, growth touches new pages and moves nothing, and the 15 bits of hash in front of the entries are a
//! filter that forgets.
//!
//! Beside the writer, readers run without locks. What orders them:
//! - An entry is written before its tag is stored with release; a reader loads tags with acquire.
//!   So an insert needs no more: a reader sees the whole entry or none.
//! - Everything else that changes (a value, a removal, a new index in place) happens between
//!   `Window.begin` and `end`, or in a window that no directory leads to. A reader takes the window's
//!   sequence before, and if it is odd or another one after, it has read rubbish and starts again.
//! - All words that both touch are loaded and stored atomically, relaxed but for the above, so
//!   rubbish is all that they can be; and every place that rubbish can name lies in the pool's memory.
//!
//! `ffi/include/mfn/ifr_inline.h` and `rust/ifr/src/head.rs` read this layout as well: `head_layout` in `table.zig` is its version.

const std = @import("std");
const builtin = @import("builtin");
const assert = std.debug.assert;
const budgeting = @import("budget.zig");
const constants = @import("constants.zig");
const windows = @import("window.zig");
const Seeds = @import("hash.zig").Seeds;

const Window = windows.Window;

const line_slots = constants.line_slots;
const lines_max = constants.segment_lines_max;
pub const line_bytes = 32;
const line_bits = 5;
const Tags = @Vector(line_slots, u16);
const Mask = std.meta.Int(.unsigned, line_slots);

/// A hash's bits, from the top: the directory's, the tag's, the line's.
const tag_shift: u32 = 16;
const tag_empty: u16 = 0;
const tag_tombstone: u16 = 1;

/// Entries that fit.
pub const entries_max = lines_max / 2 * constants.lines_used_max;

pub const Line = extern struct {
    tags: [line_slots]u16 align(16),
    links: [line_slots]u16,

    comptime {
        assert(@sizeOf(Line) == line_bytes);
    }

    pub inline fn load(line: *const Line) Tags {
        @setRuntimeSafety(false);
        if (builtin.cpu.arch == .x86_64 and !builtin.sanitize_thread) {
            // One load of an aligned half line; x86-64 lets no later load pass it.
            const tags: *const volatile Tags = @ptrCast(&line.tags);
            defer windows.fenceLoads();
            return tags.*;
        }
        var tags: Tags = undefined;
        inline for (0..line_slots) |slot| tags[slot] = @atomicLoad(u16, &line.tags[slot], .acquire);
        return tags;
    }

    inline fn linkAt(line: *const Line, slot: u32) u16 {
        @setRuntimeSafety(false);
        return @atomicLoad(u16, &line.links[slot], .monotonic);
    }

    inline fn set(line: *Line, slot: u32, tag: u16, new_link: u16) void {
        @atomicStore(u16, &line.links[slot], new_link, .monotonic);
        @atomicStore(u16, &line.tags[slot], tag, .release);
    }
};

inline fn tagFor(hash: u64) u16 {
    return @as(u16, @truncate(hash >> tag_shift)) | 0x8000;
}

/// Which half of a segment of that depth a hash belongs to when it is split.
pub inline fn sideOf(hash: u64, depth: u6) u1 {
    return @truncate(hash >> (63 - depth));
}

inline fn equal(tags: Tags, tag: u16) Mask {
    return @bitCast(tags == @as(Tags, @splat(tag)));
}

/// What a look-up needs to know of a segment; lies in the directory. The address of its window.
pub const Place = struct {
    bits: u64,

    pub inline fn of(window: *const Window) Place {
        return .{ .bits = @intFromPtr(window.base) };
    }

    pub inline fn lineAt(place: Place, offset: u64) *Line {
        @setRuntimeSafety(false);
        return @ptrFromInt(place.bits + offset);
    }
};

/// Where in a window the lines of an index are. A small index ends where the entries begin, so that it shares its page
/// with none of them but lies beside the first: the offset of its first line has all the bits that its offsets have in
/// common. One for all segments of a table: only the first one, as long as it is alone, has fewer lines than the most.
pub const Offsets = struct {
    floor: u64,

    const mask: u64 = windows.base_alignment - line_bytes;

    pub inline fn of(lines: u32) Offsets {
        assert(std.math.isPowerOfTwo(lines));
        assert(lines >= 2);
        return .{ .floor = windows.base_alignment - lines * line_bytes };
    }

    pub inline fn first(offsets: Offsets, hash: u64) u64 {
        @setRuntimeSafety(false);
        return hash << line_bits & mask | offsets.floor;
    }

    pub inline fn count(offsets: Offsets) u64 {
        @setRuntimeSafety(false);
        return (windows.base_alignment - offsets.floor) / line_bytes;
    }

    /// The line after the given one, the `step`th of a probe: its neighbour, or the next pair.
    inline fn next(offsets: Offsets, offset: u64, step: u64) u64 {
        @setRuntimeSafety(false);
        const neighbour = offset ^ line_bytes;
        return if (step % 2 == 0) neighbour else (neighbour + 2 * line_bytes) & mask | offsets.floor;
    }
};

pub fn Segment(comptime Entry: type) type {
    const words = @divExact(@sizeOf(Entry), 8);
    const entries_at = lines_max * line_bytes;
    comptime assert(entries_at == windows.base_alignment);
    return struct {
        pub const window_bytes = std.mem.alignForward(usize, entries_at + entries_max * @sizeOf(Entry), windows.base_alignment);
        /// What a link counts in, and how many of them an entry takes. An address has room for a factor of 8 and costs nothing more.
        const unit: usize = 8;
        const units: u16 = @divExact(@sizeOf(Entry), unit);
        /// The last entry that any link can name lies so far behind the window's end.
        pub const slack_bytes = (@as(usize, std.math.maxInt(u16)) + 1) * unit + @sizeOf(Entry);
        comptime {
            assert(entries_max * units <= std.math.maxInt(u16));
        }

        pub const Found = struct { entry: *Entry, line: *Line, slot: u32, number: u32 };

        pub inline fn at(window: *const Window, number: u32) *Entry {
            return entryOf(.of(window), number);
        }

        inline fn entryOf(place: Place, number: u64) *Entry {
            @setRuntimeSafety(false);
            return @ptrFromInt(place.bits + entries_at + number * @sizeOf(Entry));
        }

        inline fn entryAt(place: Place, link_to: u64) *Entry {
            @setRuntimeSafety(false);
            return @ptrFromInt(place.bits + entries_at + link_to * unit);
        }

        /// Reads anything, rubbish included, and ends.
        pub inline fn find(place: Place, offsets: Offsets, hash: u64, query: Entry.Query) ?Found {
            const sought = seek(place, offsets, hash, query);
            const entry = sought.entry orelse return null;
            return .{ .entry = entry, .line = sought.line.?, .slot = sought.slot, .number = sought.link / units };
        }

        /// Where a probe ended: at the key's entry, else at an empty slot where the key would go, else nowhere: no line.
        /// Not a union, which would be put together in memory for each insert.
        pub const Sought = struct { entry: ?*Entry, line: ?*Line, slot: u32, link: u32 };

        /// As `find`, and says where the probe ended.
        pub inline fn seek(place: Place, offsets: Offsets, hash: u64, query: Entry.Query) Sought {
            @setRuntimeSafety(false);
            var offset = offsets.first(hash);
            for (0..offsets.count()) |step| {
                const line = place.lineAt(offset);
                const tags = line.load();
                var candidates = candidatesIn(tags, hash);
                while (candidates != 0) : (candidates &= candidates - 1) {
                    const slot: u32 = @ctz(candidates);
                    const to = line.linkAt(slot);
                    const entry = entryAt(place, to);
                    if (entry.matches(query, hash)) return .{ .entry = entry, .line = line, .slot = slot, .link = to };
                }
                const empty = equal(tags, tag_empty);
                if (empty != 0) return .{ .entry = null, .line = line, .slot = @ctz(empty), .link = 0 };
                offset = offsets.next(offset, step);
            }
            return .{ .entry = null, .line = null, .slot = 0, .link = 0 };
        }

        pub inline fn candidatesIn(tags: Tags, hash: u64) Mask {
            return equal(tags, tagFor(hash));
        }

        /// No key of the line goes on elsewhere.
        pub inline fn ends(tags: Tags) bool {
            return equal(tags, tag_empty) != 0;
        }

        /// The entry of the first candidate.
        pub inline fn entryIn(place: Place, line: *const Line, candidates: Mask) *const Entry {
            @setRuntimeSafety(false);
            return entryAt(place, line.linkAt(@ctz(candidates)));
        }

        /// Whether some key with these 15 bits is here.
        pub inline fn mayContain(place: Place, offsets: Offsets, hash: u64) bool {
            @setRuntimeSafety(false);
            var offset = offsets.first(hash);
            for (0..offsets.count()) |step| {
                const tags = place.lineAt(offset).load();
                if (candidatesIn(tags, hash) != 0) return true;
                if (ends(tags)) return false;
                offset = offsets.next(offset, step);
            }
            return false;
        }

        /// A key of a batch on its way.
        pub const Aim = struct {
            hash: u64,
            place: Place,
            line: *const Line,
            /// Whether the cache line does not decide.
            unsure: bool = false,
        };

        /// The entry that a batched key's line or its neighbour names, and brings it closer.
        pub inline fn aim(key: *Aim) ?*const Entry {
            @setRuntimeSafety(false);
            inline for (0..2) |_| {
                const tags = key.line.load();
                const candidates = candidatesIn(tags, key.hash);
                if (candidates != 0) {
                    const entry = entryIn(key.place, key.line, candidates);
                    const bytes: [*]const u8 = @ptrCast(entry);
                    @prefetch(bytes, .{});
                    // Entries straddle lines.
                    @prefetch(bytes + (@sizeOf(Entry) - 1), .{});
                    return entry;
                }
                if (ends(tags)) return null;
                key.line = @ptrFromInt(@intFromPtr(key.line) ^ line_bytes);
            }
            key.unsure = true;
            return null;
        }

        /// Makes a taken window an empty segment that has room for so many entries at once.
        pub fn create(
            pool: *windows.Pool,
            budget: *budgeting.Budget,
            window: *Window,
            options: struct { lines: u32, depth: u32, live: u32 },
        ) error{Limit}!void {
            assert(options.lines > 0);
            assert(options.lines <= lines_max);
            const from = entries_at - options.lines * line_bytes;
            try pool.fit(budget, window, from, entries_at + options.live * @sizeOf(Entry));
            window.lines = options.lines;
            window.depth = options.depth;
            window.live = 0;
            clearIndex(window);
        }

        fn commit(pool: *windows.Pool, budget: *budgeting.Budget, window: *Window, lines: u32, live: u32) error{Limit}!void {
            try pool.commit(budget, window, entries_at - lines * line_bytes, entries_at + live * @sizeOf(Entry));
        }

        fn clearIndex(window: *Window) void {
            for (0..window.lines) |index| {
                const line = Place.of(window).lineAt(Offsets.of(window.lines).floor + index * line_bytes);
                const halves: *[2]u64 = @ptrCast(&line.tags);
                for (halves) |*half| @atomicStore(u64, half, 0, .monotonic);
            }
            window.tombstones = 0;
        }

        /// Gives pages back that removals have emptied.
        pub fn trim(pool: *windows.Pool, budget: *budgeting.Budget, window: *Window) void {
            const from = entries_at - window.lines * line_bytes;
            const to = entries_at + (window.live + constants.removals_before_trim) * @sizeOf(Entry);
            if (window.page_end * constants.page_bytes <= to) return;
            pool.fit(budget, window, from, to) catch unreachable; // Takes nothing.
        }

        /// Whether one more entry needs no page: mostly the last page has room.
        pub inline fn hasPages(window: *const Window) bool {
            @setRuntimeSafety(false);
            const end = entries_at + (@as(usize, window.live) + 1) * @sizeOf(Entry);
            return end <= @as(usize, window.page_end) * constants.page_bytes;
        }

        /// The pages for one more entry.
        pub inline fn reserve(pool: *windows.Pool, budget: *budgeting.Budget, window: *Window) error{Limit}!void {
            if (hasPages(window)) return;
            try commit(pool, budget, window, window.lines, window.live + 1);
        }

        pub inline fn isFull(window: *const Window) bool {
            @setRuntimeSafety(false);
            return window.live + window.tombstones >= window.lines / 2 * constants.lines_used_max;
        }

        /// Adds an entry whose key is not here. The segment is not full and the pages are reserved.
        pub fn append(window: *Window, hash: u64, new: *const Entry) *Entry {
            assert(!isFull(window));
            assert(window.live < entries_max);
            const entry = at(window, window.live);
            store(entry, new);
            link(window, hash, @intCast(window.live));
            window.live += 1;
            return entry;
        }

        /// As `append`, for whoever has just looked and found no key but that slot. Nothing has changed since.
        pub inline fn appendAt(window: *Window, line: *Line, slot: u32, hash: u64, new: *const Entry) void {
            const number = window.live;
            assert(number < entries_max);
            store(at(window, number), new);
            line.set(slot, tagFor(hash), @as(u16, @intCast(number)) * units);
            window.live = number + 1;
        }

        /// Deals all entries of a segment out to two empty ones, which nobody is led to yet and which have room, by one bit of the
        /// hash of each. All but nothing of the time of a table that grows: no entry is checked for what holds for all of them.
        pub fn deal(from: *const Window, hashes: *const [entries_max]u64, depth: u6, to: [2]*Window) void {
            assert(from.live <= entries_max);
            for (to) |window| {
                assert(window.live == 0 and window.tombstones == 0 and window.lines == lines_max);
            }
            @setRuntimeSafety(false);
            const offsets: Offsets = .of(lines_max);
            const places: [2]Place = .{ .of(to[0]), .of(to[1]) };
            var counts: [2]u32 = .{ 0, 0 };
            for (0..from.live) |number| {
                const hash = hashes[number];
                const side = sideOf(hash, depth);
                const place = places[side];
                var offset = offsets.first(hash);
                // Ends: both together hold what one index of that size held.
                var step: u64 = 0;
                const line, const empty = while (true) : (step += 1) {
                    const line = place.lineAt(offset);
                    const empty = equal(line.load(), tag_empty);
                    if (empty != 0) break .{ line, empty };
                    offset = offsets.next(offset, step);
                };
                store(entryOf(place, counts[side]), entryOf(.of(from), number));
                line.set(@ctz(empty), tagFor(hash), @as(u16, @intCast(counts[side])) * units);
                counts[side] += 1;
            }
            for (to, counts) |window, count| window.live = count;
        }

        /// Readers may look on, or the sequence is odd.
        pub inline fn store(entry: *Entry, new: *const Entry) void {
            if (builtin.cpu.arch == .x86_64 and !builtin.sanitize_thread and @alignOf(Entry) % 16 == 0) {
                // Aligned, so that no word of them is seen in part.
                const Part = @Vector(16, u8);
                const parts = @divExact(@sizeOf(Entry), @sizeOf(Part));
                const to: *volatile [parts]Part = @ptrCast(entry);
                const from: *const [parts]Part = @ptrCast(new);
                inline for (to, from) |*part, value| part.* = value;
                return;
            }
            const to: *[words]u64 = @ptrCast(entry);
            const from: *const [words]u64 = @ptrCast(new);
            inline for (to, from) |*word, value| @atomicStore(u64, word, value, .monotonic);
        }

        inline fn link(window: *Window, hash: u64, number: u16) void {
            const place: Place = .of(window);
            const offsets: Offsets = .of(window.lines);
            var offset = offsets.first(hash);
            for (0..window.lines) |step| {
                const line = place.lineAt(offset);
                const tags = line.load();
                const free = equal(tags, tag_empty) | equal(tags, tag_tombstone);
                if (free != 0) {
                    const slot: u32 = @ctz(free);
                    if (line.tags[slot] == tag_tombstone) window.tombstones -= 1;
                    return line.set(slot, tagFor(hash), number * units);
                }
                offset = offsets.next(offset, step);
            }
            unreachable; // Not full: fewer than 13 of 16 slots are used.
        }

        /// Takes an entry out. The last one moves to its place. Between `begin` and `end`.
        pub fn remove(window: *Window, seeds: *const Seeds, found: Found) void {
            // Probes stop at a line that has an empty slot, so one more in it changes no probe.
            if (ends(found.line.load())) {
                found.line.set(found.slot, tag_empty, 0);
            } else {
                found.line.set(found.slot, tag_tombstone, 0);
                window.tombstones += 1;
            }
            const last = window.live - 1;
            if (found.number != last) {
                const moved = at(window, last);
                relink(window, moved.hashStored(seeds), @intCast(last), @intCast(found.number));
                store(found.entry, moved);
            }
            window.live = last;
        }

        fn relink(window: *Window, hash: u64, from: u16, to: u16) void {
            const place: Place = .of(window);
            const offsets: Offsets = .of(window.lines);
            var offset = offsets.first(hash);
            for (0..window.lines) |step| {
                const line = place.lineAt(offset);
                const tags = line.load();
                var candidates = candidatesIn(tags, hash);
                while (candidates != 0) : (candidates &= candidates - 1) {
                    const slot: u32 = @ctz(candidates);
                    if (line.linkAt(slot) != from * units) continue;
                    return @atomicStore(u16, &line.links[slot], to * units, .monotonic);
                }
                assert(!ends(tags));
                offset = offsets.next(offset, step);
            }
            unreachable; // Every entry has a slot.
        }

        /// Writes the index anew in place: more lines, or fewer tombstones. `prepareIndex` comes before.
        pub fn reindex(window: *Window, seeds: *const Seeds, lines: u32) void {
            assert(lines >= window.lines);
            window.lines = lines;
            clearIndex(window);
            for (0..window.live) |number| {
                link(window, at(window, @intCast(number)).hashStored(seeds), @intCast(number));
            }
        }

        pub fn prepareIndex(pool: *windows.Pool, budget: *budgeting.Budget, window: *Window, lines: u32) error{Limit}!void {
            try commit(pool, budget, window, lines, window.live);
        }

        /// Bytes of the index: what stands in front of the entries.
        pub fn indexBytes(window: *const Window) u64 {
            return @as(u64, window.lines) * line_bytes;
        }
    };
}

comptime {
    // Tag, line, and directory read different bits of the hash.
    assert(std.math.log2_int(u32, lines_max) <= tag_shift);
    assert(tag_shift + 15 + constants.directory_bits_max <= 64);
    assert(std.math.isPowerOfTwo(lines_max));
    assert(1 << line_bits == line_bytes);
    assert(constants.segment_lines_min >= 2);
}

test "a tombstone is left only where a probe may pass, and the last entry fills the hole" {
    const entry = @import("entry.zig");
    const Digests = Segment(entry.DigestEntry);
    const testing = std.testing;
    var budget: budgeting.Budget = .{ .gpa = testing.allocator, .bytes_max = 1 << 20 };
    var pool: windows.Pool = .{ .window_bytes = Digests.window_bytes, .slack_bytes = Digests.slack_bytes };
    defer pool.deinit(&budget);
    const window = try pool.take(&budget);
    try Digests.create(&pool, &budget, window, .{ .lines = 4, .depth = 0, .live = 20 });
    const seeds = Seeds.init(&@splat(1));
    // Keys whose hashes all start at one line fill it and its neighbour; the 17th goes to the next pair.
    var keys: [17]entry.Digest = undefined;
    var count: usize = 0;
    var number: u64 = 0;
    while (count < keys.len) : (number += 1) {
        var key: entry.Digest = @splat(0);
        std.mem.writeInt(u64, key[0..8], number, .little);
        if (Offsets.of(4).first(seeds.digest(&key)) != Offsets.of(4).floor + line_bytes) continue;
        keys[count] = key;
        _ = Digests.append(window, seeds.digest(&key), &.{ .key = key, .value = @splat(@intCast(count)) });
        count += 1;
    }
    const place = Place.of(window);
    for ([_]usize{ 3, 16 }) |index| {
        Digests.remove(window, &seeds, Digests.find(place, .of(4), seeds.digest(&keys[index]), &keys[index]).?);
        try testing.expectEqual(1, window.tombstones);
    }
    for (keys, 0..) |key, index| {
        const found = Digests.find(place, .of(4), seeds.digest(&key), &key);
        try testing.expectEqual(index != 3 and index != 16, found != null);
        if (found) |there| {
            try testing.expect(there.number < 15);
            try testing.expectEqual(@as(u8, @intCast(index)), there.entry.value[0]);
        }
    }
    try Digests.prepareIndex(&pool, &budget, window, 8);
    Digests.reindex(window, &seeds, 8);
    try testing.expectEqual(0, window.tombstones);
    for (keys, 0..) |key, index| {
        const found = Digests.find(.of(window), .of(8), seeds.digest(&key), &key);
        try testing.expectEqual(index != 3 and index != 16, found != null);
    }
}
