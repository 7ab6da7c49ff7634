//! The root of the C archive: the only file that exports functions.

const std = @import("std");
const flow = @import("c/flow.zig");
const guard = @import("c/guard.zig");
const ifr = @import("c/ifr.zig");

/// A broken invariant becomes a status.
pub const panic = std.debug.FullPanic(guard.panicked);

fn exportGuarded(comptime body: anytype, comptime name: []const u8, comptime poison: guard.Poison) void {
    @export(guard.of(body, poison), .{ .name = name });
}

comptime {
    @export(&ifr.abiVersion, .{ .name = "mfn_ifr_abi_version" });
    // These two cannot panic.
    @export(&ifr.get, .{ .name = "mfn_ifr_get" });
    @export(&ifr.mayContain, .{ .name = "mfn_ifr_may_contain" });
    exportGuarded(ifr.len, "mfn_ifr_len", .first_argument);
    exportGuarded(ifr.new, "mfn_ifr_new", .nothing);
    exportGuarded(ifr.free, "mfn_ifr_free", .first_argument);
    exportGuarded(ifr.insert, "mfn_ifr_insert", .first_argument);
    exportGuarded(ifr.insertBytes, "mfn_ifr_insert_bytes", .first_argument);
    exportGuarded(ifr.getBytes, "mfn_ifr_get_bytes", .first_argument);
    exportGuarded(ifr.getMany, "mfn_ifr_get_many", .first_argument);
    exportGuarded(ifr.view, "mfn_ifr_view_read", .first_argument);
    exportGuarded(ifr.remove, "mfn_ifr_remove", .first_argument);
    exportGuarded(ifr.removeBytes, "mfn_ifr_remove_bytes", .first_argument);
    exportGuarded(ifr.forEach, "mfn_ifr_for_each", .first_argument);
    exportGuarded(ifr.forEachBytes, "mfn_ifr_for_each_bytes", .first_argument);
    exportGuarded(ifr.stats, "mfn_ifr_stats_read", .first_argument);
    exportGuarded(flow.new, "mfn_ifr_flows_new", .nothing);
    exportGuarded(flow.free, "mfn_ifr_flows_free", .first_argument);
    exportGuarded(flow.addPool, "mfn_ifr_flows_add_pool", .first_argument);
    exportGuarded(flow.dropPool, "mfn_ifr_flows_drop_pool", .first_argument);
    exportGuarded(flow.put, "mfn_ifr_flows_put", .first_argument);
    exportGuarded(flow.get, "mfn_ifr_flows_get", .first_argument);
    exportGuarded(flow.remove, "mfn_ifr_flows_remove", .first_argument);
    exportGuarded(flow.expire, "mfn_ifr_flows_expire", .first_argument);
    exportGuarded(flow.route, "mfn_ifr_flows_route", .first_argument);
    exportGuarded(flow.learn, "mfn_ifr_flows_learn", .first_argument);
    exportGuarded(flow.poolStats, "mfn_ifr_flows_pool_stats", .first_argument);
    exportGuarded(flow.summaryBytes, "mfn_ifr_summary_bytes", .nothing);
    exportGuarded(flow.summaryBuild, "mfn_ifr_summary_build", .nothing);
    exportGuarded(flow.summaryMayContain, "mfn_ifr_summary_may_contain", .nothing);
    exportGuarded(flow.filterNew, "mfn_ifr_filter_new", .nothing);
    exportGuarded(flow.filterFree, "mfn_ifr_filter_free", .first_argument);
    exportGuarded(flow.filterInsert, "mfn_ifr_filter_insert", .first_argument);
    exportGuarded(flow.filterRemove, "mfn_ifr_filter_remove", .first_argument);
    exportGuarded(flow.filterMayContain, "mfn_ifr_filter_may_contain", .first_argument);
    exportGuarded(flow.filterBytes, "mfn_ifr_filter_bytes", .first_argument);
    @export(&guard.setReporter, .{ .name = "mfn_ifr_set_panic_reporter" });
}
