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
        if (wanted > budget.bytes_max - budget.bytes) return error.Limit;
        const memory = try budget.gpa.alignedAlloc(T, alignment, count);
        budget.bytes += wanted;
        assert(budget.bytes <= budget.bytes_max);
        return memory;
    }

    pub fn free(budget: *Budget, memory: anytype) void {
        const bytes: u64 = std.mem.sliceAsBytes(memory).len;
        assert(bytes <= budget.bytes);
        budget.bytes -= bytes;
        budget.gpa.free(memory);
    }
};

test Budget {
    var budget: Budget = .{ .gpa = std.testing.allocator, .bytes_max = 100 };
    const memory = try budget.alloc(u64, .@"64", 10);
    try std.testing.expectEqual(80, budget.bytes);
    try std.testing.expectError(error.Limit, budget.alloc(u8, .@"1", 21));
    try std.testing.expectError(error.Limit, budget.alloc(u64, .@"1", std.math.maxInt(usize)));
    budget.free(memory);
    try std.testing.expectEqual(0, budget.bytes);
}
