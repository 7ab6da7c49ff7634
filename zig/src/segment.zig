//! One segment of a table: dense entries, and an index of lines that says where in them a key is.
//!
//! An index line is one cache line of 16 slots: 16 tags of a byte, 16 links of two bytes. A tag is 7 bits
//! of the hash, or says that the slot is empty or a tombstone; a link is the entry's place and 5 more
//! bits of the hash. A probe starts at a line that the hash chooses and goes on until a line has an
//! empty slot. Entries lie without gaps in the order of their coming: a removal moves the last one
//! into the hole. So memory follows the entries closely, growth touches new pages and moves nothing,
//! and the 12 bits of hash in front of the entries are a filter that forgets.
//!
//! Beside the writer, readers run without locks. What orders them:
//! - An entry is written before its tag is stored with release; a reader loads tags with acquire.
//!   So an insert needs no more: a reader sees the whole entry or none.
//! - Everything else that changes (a value, a removal, a new index in place) happens between
//!   `Window.begin` and `end`, or in a window that no directory leads to. A reader takes the window's
//!   sequence before, and if it is odd or another one after, it has read rubbish and starts again.
//! - All words that both touch are loaded and stored atomically, relaxed but for the above, so
//!   rubbish is all that they can be; and every place that rubbish can name lies in the pool's memory.

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
const line_bytes = 64;
const Tags = @Vector(line_slots, u8);
const Mask = std.meta.Int(.unsigned, line_slots);

const tag_empty: u8 = 0;
const tag_tombstone: u8 = 1;

/// Entries that fit.
pub const entries_max = lines_max * constants.line_used_max;

const Line = extern struct {
    /// Tags of slots 0 to 7 and 8 to 15; slot 0 is the lowest byte.
    tags: [2]u64,
    /// Low 11 bits: the place; high 5: of the hash.
    links: [line_slots]u16,
    reserved: [16]u8,

    comptime {
        assert(@sizeOf(Line) == line_bytes);
        assert(entries_max <= place_mask + 1);
    }

    pub inline fn load(line: *const Line) Tags {
        @setRuntimeSafety(false);
        if (builtin.cpu.arch == .x86_64 and !builtin.sanitize_thread) {
            // One load of an aligned half line; x86-64 lets no later load pass it.
            const tags: *const volatile Tags = @ptrCast(@alignCast(&line.tags));
            defer windows.fenceLoads();
            return tags.*;
        }
        const words: @Vector(2, u64) = .{
            @atomicLoad(u64, &line.tags[0], .acquire),
            @atomicLoad(u64, &line.tags[1], .acquire),
        };
        return @bitCast(words);
    }

    inline fn linkAt(line: *const Line, slot: u32) u16 {
        @setRuntimeSafety(false);
        return @atomicLoad(u16, &line.links[slot], .monotonic);
    }

    fn set(line: *Line, slot: u32, tag: u8, new_link: u16) void {
        @atomicStore(u16, &line.links[slot], new_link, .monotonic);
        const word = &line.tags[slot / 8];
        const shift: u6 = @intCast(slot % 8 * 8);
        const kept = word.* & ~(@as(u64, 0xff) << shift);
        @atomicStore(u64, word, kept | @as(u64, tag) << shift, .release);
    }

    fn tagOf(line: *const Line, slot: u32) u8 {
        return @truncate(line.tags[slot / 8] >> @intCast(slot % 8 * 8));
    }
};

const place_mask: u16 = (1 << 11) - 1;

inline fn tagFor(hash: u64) u8 {
    return @as(u8, @truncate(hash)) | 0x80;
}

inline fn markFor(hash: u64) u16 {
    return @as(u16, @truncate(hash >> 7)) << 11;
}

inline fn equal(tags: Tags, byte: u8) Mask {
    return @bitCast(tags == @as(Tags, @splat(byte)));
}

/// What a look-up needs to know of a segment; lies in the directory. The address of its window, which
/// ends in zeros, and in their place the number of index lines less one, as a mask of line offsets.
pub const Place = struct {
    bits: u64,

    const mask: u64 = (lines_max - 1) * line_bytes;

    pub fn of(window: *const Window) Place {
        assert(std.math.isPowerOfTwo(window.lines));
        return .{ .bits = @intFromPtr(window.base) | (window.lines - 1) * line_bytes };
    }

    inline fn base(place: Place) u64 {
        @setRuntimeSafety(false);
        return place.bits & ~@as(u64, windows.base_alignment - 1);
    }

    inline fn lines(place: Place) u32 {
        @setRuntimeSafety(false);
        return @intCast((place.bits & mask) / line_bytes + 1);
    }

    pub inline fn firstOffset(place: Place, hash: u64) u64 {
        @setRuntimeSafety(false);
        // Above tag and mark, below the directory's bits.
        return (hash >> 6) & (place.bits & mask);
    }

    /// The index grows down from the entries, so that a small one shares its page with none of them but
    /// lies beside the first.
    pub inline fn lineAt(place: Place, offset: u64) *Line {
        @setRuntimeSafety(false);
        return @ptrFromInt(place.base() - offset + (lines_max - 1) * line_bytes);
    }

    inline fn next(place: Place, offset: u64) u64 {
        @setRuntimeSafety(false);
        return (offset + line_bytes) & (place.bits & mask);
    }
};

pub fn Segment(comptime Entry: type) type {
    const words = @divExact(@sizeOf(Entry), 8);
    const entries_at = lines_max * line_bytes;
    comptime assert(entries_at == windows.base_alignment);
    return struct {
        pub const window_bytes = std.mem.alignForward(usize, entries_at + entries_max * @sizeOf(Entry), windows.base_alignment);
        /// The largest place that a link can name lies so far behind the window's end.
        pub const slack_bytes = (@as(usize, place_mask) + 1) * @sizeOf(Entry);

        pub const Found = struct { entry: *Entry, line: *Line, slot: u32, number: u32 };

        pub inline fn at(window: *const Window, number: u32) *Entry {
            return entryOf(.of(window), number);
        }

        inline fn entryOf(place: Place, number: u64) *Entry {
            @setRuntimeSafety(false);
            return @ptrFromInt(place.base() + entries_at + number * @sizeOf(Entry));
        }

        /// Reads anything, rubbish included, and ends.
        pub inline fn find(place: Place, hash: u64, query: Entry.Query) ?Found {
            @setRuntimeSafety(false);
            var offset = place.firstOffset(hash);
            for (0..place.lines()) |_| {
                const line = place.lineAt(offset);
                const tags = line.load();
                var candidates = equal(tags, tagFor(hash));
                while (candidates != 0) : (candidates &= candidates - 1) {
                    const slot: u32 = @ctz(candidates);
                    const target = line.linkAt(slot);
                    if ((target ^ markFor(hash)) > place_mask) continue;
                    const number = target & place_mask;
                    const entry = entryOf(place, number);
                    if (entry.matches(query, hash)) {
                        return .{ .entry = entry, .line = line, .slot = slot, .number = number };
                    }
                }
                if (equal(tags, tag_empty) != 0) return null;
                offset = place.next(offset);
            }
            return null;
        }

        pub inline fn candidatesIn(tags: Tags, hash: u64) Mask {
            return equal(tags, tagFor(hash));
        }

        /// No key of the line goes on elsewhere.
        pub inline fn ends(tags: Tags) bool {
            return equal(tags, tag_empty) != 0;
        }

        /// The entry of the first candidate, if its mark agrees as well.
        pub inline fn entryIn(place: Place, line: *const Line, candidates: Mask, hash: u64) ?*const Entry {
            @setRuntimeSafety(false);
            const target = line.linkAt(@ctz(candidates));
            if ((target ^ markFor(hash)) > place_mask) return null;
            return entryOf(place, target & place_mask);
        }

        /// Whether some key with these 12 bits is here.
        pub inline fn mayContain(place: Place, hash: u64) bool {
            @setRuntimeSafety(false);
            var offset = place.firstOffset(hash);
            for (0..place.lines()) |_| {
                const line = place.lineAt(offset);
                const tags = line.load();
                var candidates = equal(tags, tagFor(hash));
                while (candidates != 0) : (candidates &= candidates - 1) {
                    if ((line.linkAt(@ctz(candidates)) ^ markFor(hash)) <= place_mask) return true;
                }
                if (equal(tags, tag_empty) != 0) return false;
                offset = place.next(offset);
            }
            return false;
        }

        /// A key of a batch on its way.
        pub const Aim = struct {
            hash: u64,
            place: Place,
            line: *const Line,
            /// Whether the first line does not decide.
            unsure: bool = false,
        };

        /// The entry that a batched key's line names, and brings it closer.
        pub inline fn aim(key: *Aim) ?*const Entry {
            @setRuntimeSafety(false);
            const tags = key.line.load();
            var candidates = candidatesIn(tags, key.hash);
            while (candidates != 0) : (candidates &= candidates - 1) {
                const entry = entryIn(key.place, key.line, candidates, key.hash) orelse continue;
                const bytes: [*]const u8 = @ptrCast(entry);
                @prefetch(bytes, .{});
                // Entries straddle lines.
                @prefetch(bytes + (@sizeOf(Entry) - 1), .{});
                return entry;
            }
            key.unsure = !ends(tags);
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
                const line = Place.of(window).lineAt(index * line_bytes);
                for (&line.tags) |*word| @atomicStore(u64, word, 0, .monotonic);
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

        /// The pages for one more entry.
        pub fn reserve(pool: *windows.Pool, budget: *budgeting.Budget, window: *Window) error{Limit}!void {
            try commit(pool, budget, window, window.lines, window.live + 1);
        }

        pub fn isFull(window: *const Window) bool {
            return window.live + window.tombstones >= window.lines * constants.line_used_max;
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

        /// Readers may look on, or the sequence is odd.
        pub inline fn store(entry: *Entry, new: *const Entry) void {
            const to: *[words]u64 = @ptrCast(entry);
            const from: *const [words]u64 = @ptrCast(new);
            inline for (to, from) |*word, value| @atomicStore(u64, word, value, .monotonic);
        }

        inline fn link(window: *Window, hash: u64, number: u16) void {
            const place: Place = .of(window);
            var offset = place.firstOffset(hash);
            for (0..window.lines) |_| {
                const line = place.lineAt(offset);
                const tags = line.load();
                const free = equal(tags, tag_empty) | equal(tags, tag_tombstone);
                if (free != 0) {
                    const slot: u32 = @ctz(free);
                    if (line.tagOf(slot) == tag_tombstone) window.tombstones -= 1;
                    return line.set(slot, tagFor(hash), markFor(hash) | number);
                }
                offset = place.next(offset);
            }
            unreachable; // Not full: fewer than 13 of 16 slots are used.
        }

        /// Takes an entry out. The last one moves to its place. Between `begin` and `end`.
        pub fn remove(window: *Window, seeds: *const Seeds, found: Found) void {
            // Probes stop at a line that has an empty slot, so one more in it changes no probe.
            if (equal(found.line.load(), tag_empty) != 0) {
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
            var offset = place.firstOffset(hash);
            for (0..window.lines) |_| {
                const line = place.lineAt(offset);
                const tags = line.load();
                var candidates = equal(tags, tagFor(hash));
                while (candidates != 0) : (candidates &= candidates - 1) {
                    const slot: u32 = @ctz(candidates);
                    if (line.linkAt(slot) != markFor(hash) | from) continue;
                    return @atomicStore(u16, &line.links[slot], markFor(hash) | to, .monotonic);
                }
                assert(equal(tags, tag_empty) == 0);
                offset = place.next(offset);
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
    // Tag and mark, line, and directory read different bits of the hash.
    assert(12 + 7 + @as(u32, constants.directory_bits_max) <= 64);
    assert(std.math.isPowerOfTwo(lines_max));
}

test "a tombstone is left only where a probe may pass, and the last entry fills the hole" {
    const entry = @import("entry.zig");
    const Digests = Segment(entry.DigestEntry);
    const testing = std.testing;
    var budget: budgeting.Budget = .{ .gpa = testing.allocator, .bytes_max = 1 << 20 };
    var pool: windows.Pool = .{ .window_bytes = Digests.window_bytes, .slack_bytes = Digests.slack_bytes };
    defer pool.deinit(&budget);
    const window = try pool.take(&budget);
    try Digests.create(&pool, &budget, window, .{ .lines = 2, .depth = 0, .live = 20 });
    const seeds = Seeds.init(&@splat(1));
    // Keys whose hashes all start at one line fill it; the 17th goes to the other.
    var keys: [17]entry.Digest = undefined;
    var count: usize = 0;
    var number: u64 = 0;
    while (count < keys.len) : (number += 1) {
        var key: entry.Digest = @splat(0);
        std.mem.writeInt(u64, key[0..8], number, .little);
        if (Place.of(window).firstOffset(seeds.digest(&key)) != 0) continue;
        keys[count] = key;
        _ = Digests.append(window, seeds.digest(&key), &.{ .key = key, .value = @splat(@intCast(count)) });
        count += 1;
    }
    const place = Place.of(window);
    for ([_]usize{ 3, 16 }) |index| {
        Digests.remove(window, &seeds, Digests.find(place, seeds.digest(&keys[index]), &keys[index]).?);
        try testing.expectEqual(1, window.tombstones);
    }
    for (keys, 0..) |key, index| {
        const found = Digests.find(place, seeds.digest(&key), &key);
        try testing.expectEqual(index != 3 and index != 16, found != null);
        if (found) |there| {
            try testing.expect(there.number < 15);
            try testing.expectEqual(@as(u8, @intCast(index)), there.entry.value[0]);
        }
    }
    try Digests.prepareIndex(&pool, &budget, window, 4);
    Digests.reindex(window, &seeds, 4);
    try testing.expectEqual(0, window.tombstones);
    for (keys, 0..) |key, index| {
        const found = Digests.find(.of(window), seeds.digest(&key), &key);
        try testing.expectEqual(index != 3 and index != 16, found != null);
    }
}
