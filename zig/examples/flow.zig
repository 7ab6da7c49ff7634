//! Puts a record into a running `ifrd` and asks what to do about two keys.
//!
//!   ifr-flow-example SOCKET

const std = @import("std");
const flows = @import("flow_client");

const pool_id = 1;
const kind = 3;

pub fn main(init: std.process.Init) !u8 {
    var arguments = std.process.Args.Iterator.init(init.minimal.args);
    _ = arguments.skip();
    const path = arguments.next() orelse {
        std.debug.print("usage: ifr-flow-example SOCKET\n  SOCKET is what ifrd was given with --socket\n", .{});
        return 2;
    };
    var client = try flows.FlowClient.init(init.gpa, path, .{});
    defer client.deinit();
    run(&client) catch |err| {
        std.debug.print("ifr-flow-example: {s}: {s} {s}; is ifrd running there?\n", .{ path, @errorName(err), client.text });
        return 1;
    };
    return 0;
}

fn run(client: *flows.FlowClient) flows.Error!void {
    try client.poolAdd(.{ .pool_id = pool_id, .bytes_max = 8 << 20 });
    var record = std.mem.zeroes(flows.FlowRecord);
    record.key = @splat(0x5a);
    record.size = 4096;
    record.kind = kind;
    record.priority = 5;
    _ = try client.flowPut(pool_id, &record, std.time.ns_per_min);
    try client.flowLearn(kind, .association, true);
    const absent: flows.Digest = @splat(1);
    for ([_]*const flows.Digest{ &record.key, &absent }) |key| {
        const decision = try client.flowRoute(pool_id, key, kind);
        switch (@as(flows.Outcome, @enumFromInt(decision.outcome))) {
            .found_exact => std.debug.print("record: {d} bytes\n", .{decision.record.size}),
            .found_partial => std.debug.print("an old record: {d:.2}\n", .{decision.confidence}),
            .route_to_layers => std.debug.print("no record: ask layer {d}, {d:.2}\n", .{ decision.next_layer, decision.confidence }),
        }
    }
    const stats = try client.poolStats(pool_id);
    std.debug.print("{d} record in {d} bytes at most\n", .{ stats.records, stats.bytes_max });
    try client.poolDrop(pool_id);
}
