//! The typed client of `ifrd`: keys and values in place of frames. It blocks; one thread per client.
//!
//! ```zig
//! var client = try IfrClient.connect(gpa, "/run/user/1000/hypermesh/mfn_ifr.sock", .{});
//! defer client.close();
//! _ = try client.put(.{ .digest = &digest }, &value);
//! const found = try client.get(.{ .digest = &digest });
//! ```

const std = @import("std");
const bodies = @import("body.zig");
const calling = @import("ipc/client.zig");
const protocol = @import("gen/protocol.zig");

pub const monotonicNs = @import("ipc/sys.zig").monotonicNs;
pub const Key = bodies.Key;
pub const Value = [bodies.value_bytes]u8;
pub const Digest = [bodies.digest_bytes]u8;
pub const keys_max = bodies.batch_keys_max;

pub const Error = calling.Error || error{
    /// The server answered with an error: `status` and `text` say which.
    Failed,
    /// The answer is not laid out as this method's.
    BadBody,
};

pub const IfrClient = struct {
    client: calling.Client,
    /// For each call.
    timeout_ns: u64,
    pool_id: u32,
    status: protocol.Status = .ok,
    body: std.ArrayList(u8) = .empty,
    /// The text of the last answer that was an error; lives until the next call.
    text: []const u8 = "",

    pub const Options = struct {
        /// For the connect, and for each call.
        timeout_ns: u64 = 5 * std.time.ns_per_s,
        /// Of values: 0 is always there, others are made with `FlowClient.poolAdd`.
        pool_id: u32 = 0,
    };

    pub fn connect(gpa: std.mem.Allocator, path: []const u8, options: Options) Error!IfrClient {
        const client = try calling.Client.connect(gpa, path, .{ .service = .ifr, .timeout_ns = options.timeout_ns });
        return .{ .client = client, .timeout_ns = options.timeout_ns, .pool_id = options.pool_id };
    }

    pub fn close(ifr: *IfrClient) void {
        ifr.body.deinit(ifr.client.gpa);
        ifr.client.close();
        ifr.* = undefined;
    }

    /// The value of a key.
    pub fn get(ifr: *IfrClient, key: Key) Error!?Value {
        return ifr.one(protocol.method.ifr.get, key, null);
    }

    /// Sets a value and answers the one that it replaced. When this returns, the server's journal has it.
    pub fn put(ifr: *IfrClient, key: Key, value: *const Value) Error!?Value {
        return ifr.one(protocol.method.ifr.put, key, value);
    }

    /// Removes a key and answers its value.
    pub fn remove(ifr: *IfrClient, key: Key) Error!?Value {
        return ifr.one(protocol.method.ifr.remove, key, null);
    }

    fn one(ifr: *IfrClient, method: u16, key: Key, value: ?*const Value) Error!?Value {
        const gpa = ifr.client.gpa;
        ifr.body.clearRetainingCapacity();
        bodies.writeHead(try ifr.body.addManyAsArray(gpa, bodies.head_bytes), ifr.pool_id, key);
        if (value) |bytes| try ifr.body.appendSlice(gpa, bytes);
        try ifr.body.appendSlice(gpa, switch (key) {
            .digest => |digest| digest,
            .bytes => |bytes| bytes,
        });
        const answer = try ifr.call(method);
        return switch (answer.len) {
            0 => null,
            bodies.value_bytes => answer[0..bodies.value_bytes].*,
            else => error.BadBody,
        };
    }

    /// Looks many digests up in one request, at most `keys_max`; answers how many were found. Values of keys that are
    /// not there are zeros.
    pub fn getMany(ifr: *IfrClient, keys: []const Digest, values: []Value, found: []bool) Error!u32 {
        std.debug.assert(keys.len == values.len and keys.len == found.len);
        const count: u32 = @intCast(keys.len);
        const gpa = ifr.client.gpa;
        ifr.body.clearRetainingCapacity();
        bodies.writeBatchHead(try ifr.body.addManyAsArray(gpa, bodies.batch_head_bytes), ifr.pool_id, .digest, count);
        try ifr.body.appendSlice(gpa, std.mem.sliceAsBytes(keys));
        const answer = try ifr.call(protocol.method.ifr.get_many);
        if (answer.len != bodies.Found.bytes(count, .{ .with_values = true })) return error.BadBody;
        const bits = answer[bodies.head_bytes..];
        for (found, 0..) |*is_here, index| is_here.* = bits[index / 8] >> @intCast(index % 8) & 1 != 0;
        @memcpy(std.mem.sliceAsBytes(values), answer[answer.len - count * bodies.value_bytes ..]);
        return std.mem.readInt(u32, answer[4..8], .little);
    }

    fn call(ifr: *IfrClient, method: u16) Error![]const u8 {
        const answer = try ifr.client.call(.{
            .method = method,
            .content_type = .fixed,
            .body = ifr.body.items,
            .deadline_ns = calling.deadlineIn(ifr.timeout_ns),
        });
        ifr.status = answer.status;
        if (answer.status == .ok) return answer.body;
        ifr.text = answer.body;
        return error.Failed;
    }
};
