//! Counts every byte that a handle holds and refuses what would exceed its limit.

const std = @import("std");
const assert = std.debug.assert;

pub const Error = error{ Limit, OutOfMemory };

/// One handle's memory. Old and new are both counted while one replaces the other, so the limit
/// holds at every moment. Allocator overhead is not seen.
pub const Budget = struct {
    gpa: std.mem.Allocator,
    bytes: u64 = 0,
    bytes_max: u64,

    pub fn alloc(
        budget: *Budget,
        comptime T: type,
        comptime alignment: std.mem.Alignment,
        count: usize,
    ) Error![]align(alignment.toByteUnits()) T {
        const wanted = std.math.mul(u64, count, @sizeOf(T)) catch return error.Limit;
        try budget.take(wanted);
        errdefer budget.give(wanted);
        return try budget.gpa.alignedAlloc(T, alignment, count);
    }

    pub fn free(budget: *Budget, memory: anytype) void {
        budget.give(std.mem.sliceAsBytes(memory).len);
        budget.gpa.free(memory);
    }

    pub fn create(budget: *Budget, comptime T: type) Error!*T {
        try budget.take(@sizeOf(T));
        errdefer budget.give(@sizeOf(T));
        return try budget.gpa.create(T);
    }

    pub fn destroy(budget: *Budget, item: anytype) void {
        budget.give(@sizeOf(@TypeOf(item.*)));
        budget.gpa.destroy(item);
    }

    /// Counts memory that is had in another way.
    pub fn take(budget: *Budget, bytes: u64) error{Limit}!void {
        if (bytes > budget.bytes_max - budget.bytes) return error.Limit;
        budget.bytes += bytes;
        assert(budget.bytes <= budget.bytes_max);
    }

    pub fn give(budget: *Budget, bytes: u64) void {
        assert(bytes <= budget.bytes);
        budget.bytes -= bytes;
    }
};

test Budget {
    var budget: Budget = .{ .gpa = std.testing.allocator, .bytes_max = 100 };
    const memory = try budget.alloc(u64, .@"64", 10);
    try std.testing.expectEqual(80, budget.bytes);
    try std.testing.expectError(error.Limit, budget.alloc(u8, .@"1", 21));
    try std.testing.expectError(error.Limit, budget.alloc(u64, .@"1", std.math.maxInt(usize)));
    try budget.take(20);
    try std.testing.expectError(error.Limit, budget.take(1));
    budget.give(20);
    budget.free(memory);
    try std.testing.expectEqual(0, budget.bytes);
}
