//! The root of the C archive: the only file that exports symbols, and the panic handler.

const std = @import("std");
const ifr = @import("c/ifr.zig");

/// A broken invariant cannot be unwound out of Zig: it is reported, and the process aborts.
pub const panic = std.debug.FullPanic(report);

/// C: mfn_ifr_panic_reporter
const Reporter = *const fn (message: [*]const u8, message_bytes: usize) callconv(.c) void;

var reporter: std.atomic.Value(?Reporter) = .init(null);

fn setPanicReporter(given: ?Reporter) callconv(.c) void {
    reporter.store(given, .release);
}

fn report(message: []const u8, _: ?usize) noreturn {
    @branchHint(.cold);
    // Taken away first: a reporter that breaks the same invariant does not recurse.
    if (reporter.swap(null, .acquire)) |call| {
        call(message.ptr, message.len);
    } else {
        const prefix = "mfn_ifr: broken invariant: ";
        // Nothing is left to do about an error.
        _ = std.c.write(2, prefix, prefix.len);
        _ = std.c.write(2, message.ptr, message.len);
        _ = std.c.write(2, "\n", 1);
    }
    std.c.abort();
}

comptime {
    @export(&ifr.abiVersion, .{ .name = "mfn_ifr_abi_version" });
    @export(&ifr.new, .{ .name = "mfn_ifr_new" });
    @export(&ifr.free, .{ .name = "mfn_ifr_free" });
    @export(&ifr.insert, .{ .name = "mfn_ifr_insert" });
    @export(&ifr.insertBytes, .{ .name = "mfn_ifr_insert_bytes" });
    @export(&ifr.get, .{ .name = "mfn_ifr_get" });
    @export(&ifr.getBytes, .{ .name = "mfn_ifr_get_bytes" });
    @export(&ifr.getMany, .{ .name = "mfn_ifr_get_many" });
    @export(&ifr.remove, .{ .name = "mfn_ifr_remove" });
    @export(&ifr.removeBytes, .{ .name = "mfn_ifr_remove_bytes" });
    @export(&ifr.mayContain, .{ .name = "mfn_ifr_may_contain" });
    @export(&ifr.forEach, .{ .name = "mfn_ifr_for_each" });
    @export(&ifr.forEachBytes, .{ .name = "mfn_ifr_for_each_bytes" });
    @export(&ifr.stats, .{ .name = "mfn_ifr_stats_read" });
    @export(&setPanicReporter, .{ .name = "mfn_ifr_set_panic_reporter" });
}
