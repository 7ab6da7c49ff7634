//! Measures the round trip of the Zig client to a running `ifrd`; prints the median in nanoseconds.
//!
//!   ifr-bench SOCKET ROUNDS

const std = @import("std");
const ifr = @import("ifr_client");

pub fn main(init: std.process.Init) !u8 {
    var arguments = std.process.Args.Iterator.init(init.minimal.args);
    _ = arguments.skip();
    const path = arguments.next() orelse return usage();
    const rounds = std.fmt.parseInt(usize, arguments.next() orelse return usage(), 10) catch return usage();
    if (rounds == 0) return usage();
    var client = try ifr.IfrClient.connect(init.gpa, path, .{});
    defer client.close();
    const times = try init.gpa.alloc(u64, rounds);
    defer init.gpa.free(times);
    var digest: ifr.Digest = undefined;
    for (times, 0..) |*time, number| {
        std.mem.writeInt(u256, &digest, number, .little);
        const start = ifr.monotonicNs();
        _ = try client.get(.{ .digest = &digest });
        time.* = ifr.monotonicNs() - start;
    }
    std.mem.sort(u64, times, {}, std.sort.asc(u64));
    var memory: [32]u8 = undefined;
    const text = try std.fmt.bufPrint(&memory, "{d}\n", .{times[rounds / 2]});
    _ = std.os.linux.write(1, text.ptr, text.len);
    return 0;
}

fn usage() u8 {
    std.debug.print("usage: ifr-bench SOCKET ROUNDS\n", .{});
    return 2;
}
