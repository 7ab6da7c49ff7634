//! Where segments live: windows of address space, of one size, whose pages come into being when touched.
//!
//! A window is never given back before the pool ends, only its pages are. So a reader that was
//! overtaken by the writer may still read from a window that serves another segment by now, or that
//! reads as zeros: it gets rubbish, which the segment's sequence tells it, and no fault.

const std = @import("std");
const builtin = @import("builtin");
const assert = std.debug.assert;
const budgeting = @import("budget.zig");
const constants = @import("constants.zig");

const page_bytes = constants.page_bytes;
/// So that the low bits of a base can carry the number of index lines.
pub const base_alignment = 2 * page_bytes;
const alignment: std.mem.Alignment = .fromByteUnits(base_alignment);

/// What stays true of a window through all its lives. Lies outside of it, so that the sequence
/// survives the pages.
pub const Window = struct {
    /// Even: the contents are whole. Changed: they are others than before. Never goes back.
    sequence: Sequence align(std.atomic.cache_line) = .{},
    base: [*]align(base_alignment) u8,
    /// Pages in use, from and to; what lies between is counted in the budget.
    page_first: u16 = 0,
    page_end: u16 = 0,
    /// Of the segment that lives here: slots in use, lines of its index, bits of the hash that its
    /// keys share.
    live: u32 = 0,
    tombstones: u32 = 0,
    lines: u32 = 0,
    depth: u32 = 0,
    next_free: ?*Window = null,

    fn bytes(window: *const Window) u64 {
        return @as(u64, window.page_end - window.page_first) * page_bytes;
    }
};

/// Says whether what lies behind it is whole, and whether it is still what it was. One writer.
pub const Sequence = extern struct {
    value: std.atomic.Value(u64) = .init(0),

    /// Between `begin` and `end` nothing is whole.
    pub inline fn begin(sequence: *Sequence) void {
        const now = sequence.value.raw;
        assert(now % 2 == 0);
        sequence.value.store(now + 1, .monotonic);
        // The stores that follow must not become visible before this one.
        fence();
    }

    pub inline fn end(sequence: *Sequence) void {
        const now = sequence.value.raw;
        assert(now % 2 == 1);
        sequence.value.store(now + 1, .release);
    }

    /// For `stillAt`. Odd: not whole.
    pub inline fn enter(sequence: *const Sequence) u64 {
        return sequence.value.load(.acquire);
    }

    /// Whether all that was read since `enter` was whole.
    pub inline fn stillAt(sequence: *const Sequence, entered: u64) bool {
        fenceLoads();
        return sequence.value.load(.monotonic) == entered;
    }
};

/// Orders stores before it against stores after it. On x86-64 the processor does that by itself and
/// only the compiler has to be told.
pub inline fn fence() void {
    switch (builtin.cpu.arch) {
        .x86_64 => asm volatile ("" ::: .{ .memory = true }),
        .aarch64 => asm volatile ("dmb ish" ::: .{ .memory = true }),
        else => @compileError("say how this processor orders stores"),
    }
}

/// Orders loads before it against loads after it.
pub inline fn fenceLoads() void {
    switch (builtin.cpu.arch) {
        .x86_64 => asm volatile ("" ::: .{ .memory = true }),
        .aarch64 => asm volatile ("dmb ishld" ::: .{ .memory = true }),
        else => @compileError("say how this processor orders loads"),
    }
}

/// Windows of one size.
pub const Pool = struct {
    window_bytes: usize,
    /// Readers may run over the end of a window by so much.
    slack_bytes: usize,
    chunks: ?*Chunk = null,
    chunk_windows: u32 = 1,
    free: ?*Window = null,
    /// The last one that was freed keeps its pages: a split frees one and takes two.
    warm: ?*Window = null,

    const Chunk = struct {
        next: ?*Chunk,
        memory: []align(base_alignment) u8,
        windows: []Window,
    };

    pub fn deinit(pool: *Pool, budget: *budgeting.Budget) void {
        var next = pool.chunks;
        while (next) |chunk| {
            next = chunk.next;
            for (chunk.windows) |*window| budget.give(window.bytes());
            budget.gpa.rawFree(chunk.memory, alignment, @returnAddress());
            budget.free(chunk.windows);
            budget.destroy(chunk);
        }
        pool.* = undefined;
    }

    /// A window none of whose pages need be there.
    pub fn take(pool: *Pool, budget: *budgeting.Budget) budgeting.Error!*Window {
        if (pool.warm) |window| {
            pool.warm = null;
            return window;
        }
        if (pool.free == null) try pool.addChunk(budget);
        const window = pool.free.?;
        pool.free = window.next_free;
        window.next_free = null;
        return window;
    }

    /// Counts the pages of a window from one byte to another. What is there already stays.
    pub fn commit(_: *Pool, budget: *budgeting.Budget, window: *Window, from: usize, to: usize) error{Limit}!void {
        const first: u16 = @intCast(from / page_bytes);
        const end: u16 = @intCast((to + page_bytes - 1) / page_bytes);
        if (window.page_end == window.page_first) {
            try budget.take(@as(u64, end - first) * page_bytes);
            window.page_first = first;
            window.page_end = end;
            return;
        }
        const new_first = @min(first, window.page_first);
        const new_end = @max(end, window.page_end);
        const pages = (window.page_first - new_first) + (new_end - window.page_end);
        if (pages == 0) return;
        try budget.take(@as(u64, pages) * page_bytes);
        window.page_first = new_first;
        window.page_end = new_end;
    }

    /// As `commit`, for a new life of the window: pages behind what is needed now go back.
    pub fn fit(pool: *Pool, budget: *budgeting.Budget, window: *Window, from: usize, to: usize) error{Limit}!void {
        const end: u16 = @intCast((to + page_bytes - 1) / page_bytes);
        if (window.page_end > end) {
            discard(budget, window, @max(end, window.page_first), window.page_end);
            window.page_end = @max(end, window.page_first);
        }
        try pool.commit(budget, window, from, to);
    }

    fn discard(budget: *budgeting.Budget, window: *Window, first: u16, end: u16) void {
        const bytes = @as(usize, end - first) * page_bytes;
        if (bytes == 0) return;
        if (builtin.os.tag == .linux) {
            const start = window.base + @as(usize, first) * page_bytes;
            // Advice: the pages stay ours either way, and read as zeros or as they were.
            std.posix.madvise(@alignCast(start), bytes, std.os.linux.MADV.DONTNEED) catch {};
        }
        budget.give(bytes);
    }

    pub fn put(pool: *Pool, budget: *budgeting.Budget, window: *Window) void {
        window.sequence.begin();
        window.sequence.end();
        if (pool.warm) |colder| pool.cool(budget, colder);
        pool.warm = window;
    }

    /// Gives back what only saves time later.
    pub fn trim(pool: *Pool, budget: *budgeting.Budget) bool {
        const window = pool.warm orelse return false;
        pool.warm = null;
        pool.cool(budget, window);
        return true;
    }

    fn cool(pool: *Pool, budget: *budgeting.Budget, window: *Window) void {
        discard(budget, window, window.page_first, window.page_end);
        window.page_first = 0;
        window.page_end = 0;
        window.next_free = pool.free;
        pool.free = window;
    }

    fn addChunk(pool: *Pool, budget: *budgeting.Budget) budgeting.Error!void {
        const count = pool.chunk_windows;
        const chunk = try budget.create(Chunk);
        errdefer budget.destroy(chunk);
        const windows = try budget.alloc(Window, .of(Window), count);
        errdefer budget.free(windows);
        const bytes = count * pool.window_bytes + pool.slack_bytes;
        // Past the interface's own filling with a pattern, which would touch every page.
        const memory = budget.gpa.rawAlloc(bytes, alignment, @returnAddress()) orelse return error.OutOfMemory;
        chunk.* = .{ .next = pool.chunks, .memory = @alignCast(memory[0..bytes]), .windows = windows };
        pool.chunks = chunk;
        for (windows, 0..) |*window, index| {
            window.* = .{ .base = @alignCast(memory + index * pool.window_bytes), .next_free = pool.free };
            pool.free = window;
        }
        pool.chunk_windows = @min(count * 2, constants.chunk_windows_max);
    }
};
