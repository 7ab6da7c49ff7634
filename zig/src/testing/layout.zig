//! The C header, translated, says the same as the Zig side: sizes, offsets, numbers, parameters.

const std = @import("std");
const c = @import("ifr_h");
const constants = @import("../constants.zig");
const flow = @import("../c/flow.zig");
const ifr = @import("../c/ifr.zig");
const root = @import("../root.zig");
const Status = @import("../gen/protocol.zig").Status;

const expectEqual = std.testing.expectEqual;

fn expectSameLayout(comptime Ours: type, comptime Header: type) !void {
    try expectEqual(@sizeOf(Header), @sizeOf(Ours));
    try expectEqual(@alignOf(Header), @alignOf(Ours));
    const ours = @typeInfo(Ours).@"struct".fields;
    const header = @typeInfo(Header).@"struct".fields;
    try expectEqual(header.len, ours.len);
    inline for (ours, header) |our, their| {
        try std.testing.expectEqualStrings(their.name, our.name);
        try expectEqual(@offsetOf(Header, their.name), @offsetOf(Ours, our.name));
        try expectEqual(@sizeOf(their.type), @sizeOf(our.type));
    }
}

test "structs" {
    try expectSameLayout(ifr.Options, c.struct_mfn_ifr_options);
    try expectSameLayout(ifr.Stats, c.struct_mfn_ifr_stats);
    try expectSameLayout(ifr.View, c.struct_mfn_ifr_view);
    try expectSameLayout(root.Head, c.struct_mfn_ifr_head);
    try expectEqual(c.MFN_IFR_LAYOUT, root.head_layout);
}

/// Ours is aligned to more, and the border takes it at any address.
fn expectSameFields(comptime Ours: type, comptime Header: type) !void {
    try expectEqual(@sizeOf(Header), @sizeOf(Ours));
    const ours = @typeInfo(Ours).@"struct".fields;
    const header = @typeInfo(Header).@"struct".fields;
    try expectEqual(header.len, ours.len);
    inline for (ours, header) |our, their| {
        try std.testing.expectEqualStrings(their.name, our.name);
        try expectEqual(@offsetOf(Header, their.name), @offsetOf(Ours, our.name));
        try expectEqual(@sizeOf(their.type), @sizeOf(our.type));
    }
}

test "records" {
    try expectSameFields(root.FlowRecord, c.struct_mfn_ifr_flow);
    try expectSameFields(root.RoutingDecision, c.struct_mfn_ifr_decision);
    try expectSameLayout(flow.PoolStats, c.struct_mfn_ifr_pool_stats);
    try expectEqual(c.MFN_IFR_POOLS_MAX, constants.pools_max);
    try expectEqual(c.MFN_IFR_POOL_BYTES_MIN, constants.pool_bytes_min);
    try expectEqual(c.MFN_IFR_POOL_REFUSES, flow.flag_refuses);
    try expectEqual(c.MFN_IFR_FOUND_EXACT, @intFromEnum(root.flow.Outcome.found_exact));
    try expectEqual(c.MFN_IFR_FOUND_PARTIAL, @intFromEnum(root.flow.Outcome.found_partial));
    try expectEqual(c.MFN_IFR_ROUTE_TO_LAYERS, @intFromEnum(root.flow.Outcome.route_to_layers));
    try expectEqual(c.MFN_IFR_LAYER_NONE, @intFromEnum(root.flow.Layer.none));
    try expectEqual(c.MFN_IFR_LAYER_SIMILARITY, @intFromEnum(root.flow.Layer.similarity));
    try expectEqual(c.MFN_IFR_LAYER_ASSOCIATION, @intFromEnum(root.flow.Layer.association));
    try expectEqual(c.MFN_IFR_LAYER_PREDICTION, @intFromEnum(root.flow.Layer.prediction));
    try expectSameFunction(flow.new, c.mfn_ifr_flows_new);
    try expectSameFunction(flow.addPool, c.mfn_ifr_flows_add_pool);
    try expectSameFunction(flow.dropPool, c.mfn_ifr_flows_drop_pool);
    try expectSameFunction(flow.put, c.mfn_ifr_flows_put);
    try expectSameFunction(flow.get, c.mfn_ifr_flows_get);
    try expectSameFunction(flow.remove, c.mfn_ifr_flows_remove);
    try expectSameFunction(flow.expire, c.mfn_ifr_flows_expire);
    try expectSameFunction(flow.route, c.mfn_ifr_flows_route);
    try expectSameFunction(flow.learn, c.mfn_ifr_flows_learn);
    try expectSameFunction(flow.poolStats, c.mfn_ifr_flows_pool_stats);
    try expectSameFunction(flow.summaryBytes, c.mfn_ifr_summary_bytes);
    try expectSameFunction(flow.summaryBuild, c.mfn_ifr_summary_build);
    try expectSameFunction(flow.summaryMayContain, c.mfn_ifr_summary_may_contain);
    try expectSameFunction(flow.filterNew, c.mfn_ifr_filter_new);
    try expectSameFunction(flow.filterInsert, c.mfn_ifr_filter_insert);
    try expectSameFunction(flow.filterRemove, c.mfn_ifr_filter_remove);
    try expectSameFunction(flow.filterMayContain, c.mfn_ifr_filter_may_contain);
    try expectSameFunction(flow.filterBytes, c.mfn_ifr_filter_bytes);
}

test "numbers" {
    try expectEqual(c.MFN_IFR_ABI_VERSION, ifr.version);
    try expectEqual(c.MFN_IFR_NO_FILTER, ifr.flag_no_filter);
    try expectEqual(c.MFN_IFR_OPTIONS_SIZE_1_0, ifr.options_size_min);
    try expectEqual(c.MFN_IFR_STATS_SIZE_1_0, ifr.stats_size_min);
    try expectEqual(c.MFN_IFR_DIGEST_BYTES, constants.digest_bytes);
    try expectEqual(c.MFN_IFR_VALUE_BYTES, constants.value_bytes);
    try expectEqual(c.MFN_IFR_KEY_BYTES_MAX, constants.key_bytes_max);
    try expectEqual(c.MFN_IFR_HASH_KEY_BYTES, constants.hash_key_bytes);
    try expectEqual(c.MFN_IFR_BYTES_MIN, constants.bytes_min);
    inline for (.{
        .{ c.MFN_OK, Status.ok },
        .{ c.MFN_INVALID_ARGUMENT, Status.invalid_argument },
        .{ c.MFN_NOT_FOUND, Status.not_found },
        .{ c.MFN_LIMIT, Status.limit },
        .{ c.MFN_OUT_OF_MEMORY, Status.out_of_memory },
        .{ c.MFN_CANCELLED, Status.cancelled },
    }) |pair| {
        try expectEqual(pair[0], @intFromEnum(pair[1]));
    }
}

/// Parameters and result agree in number and in size; C pointers and ours differ in type, not in form.
fn expectSameFunction(comptime ours: anytype, comptime header: anytype) !void {
    const our = @typeInfo(@TypeOf(ours)).@"fn";
    const their = @typeInfo(@TypeOf(header)).@"fn";
    try expectEqual(their.params.len, our.params.len);
    inline for (our.params, their.params) |our_param, their_param| {
        try expectEqual(@sizeOf(their_param.type.?), @sizeOf(our_param.type.?));
        try expectEqual(isPointer(their_param.type.?), isPointer(our_param.type.?));
    }
    try expectEqual(their.return_type.?, our.return_type.?);
}

fn isPointer(comptime T: type) bool {
    return switch (@typeInfo(T)) {
        .pointer => true,
        .optional => |optional| isPointer(optional.child),
        else => false,
    };
}

test "functions" {
    try expectSameFunction(ifr.abiVersion, c.mfn_ifr_abi_version);
    try expectSameFunction(ifr.new, c.mfn_ifr_new);
    try expectSameFunction(ifr.free, c.mfn_ifr_free);
    try expectSameFunction(ifr.insert, c.mfn_ifr_insert);
    try expectSameFunction(ifr.insertBytes, c.mfn_ifr_insert_bytes);
    try expectSameFunction(ifr.get, c.mfn_ifr_get);
    try expectSameFunction(ifr.getBytes, c.mfn_ifr_get_bytes);
    try expectSameFunction(ifr.getMany, c.mfn_ifr_get_many);
    try expectSameFunction(ifr.remove, c.mfn_ifr_remove);
    try expectSameFunction(ifr.removeBytes, c.mfn_ifr_remove_bytes);
    try expectSameFunction(ifr.mayContain, c.mfn_ifr_may_contain);
    try expectSameFunction(ifr.forEach, c.mfn_ifr_for_each);
    try expectSameFunction(ifr.forEachBytes, c.mfn_ifr_for_each_bytes);
    try expectSameFunction(ifr.len, c.mfn_ifr_len);
    try expectSameFunction(ifr.stats, c.mfn_ifr_stats_read);
}
