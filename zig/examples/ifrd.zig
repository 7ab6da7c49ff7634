//! Puts a key into a running `ifrd` and gets it back.
//!
//!   ifr-example SOCKET

const std = @import("std");
const ifr = @import("ifr_client");

pub fn main(init: std.process.Init) !u8 {
    var arguments = std.process.Args.Iterator.init(init.minimal.args);
    _ = arguments.skip();
    const path = arguments.next() orelse {
        std.debug.print("usage: ifr-example SOCKET\n  SOCKET is what ifrd was given with --socket\n", .{});
        return 2;
    };
    var client = ifr.IfrClient.connect(init.gpa, path, .{}) catch |err| {
        std.debug.print("ifr-example: {s}: {s}; is ifrd running there?\n", .{ path, @errorName(err) });
        return 1;
    };
    defer client.close();

    _ = try client.put(.{ .bytes = "route/7" }, "by way of node 4");
    const found = try client.get(.{ .bytes = "route/7" }) orelse return 1;
    std.debug.print("route/7: {s}\n", .{&found});

    var digest: ifr.Digest = undefined;
    std.crypto.hash.Blake3.hash("a block", &digest, .{});
    _ = try client.put(.{ .digest = &digest }, "segment 3, off 9");
    var values: [2]ifr.Value = undefined;
    var is_here: [2]bool = undefined;
    const count = try client.getMany(&.{ digest, @splat(0) }, &values, &is_here);
    std.debug.print("{d} of 2 digests: {s}\n", .{ count, &values[0] });
    _ = try client.remove(.{ .bytes = "route/7" });
    return 0;
}
