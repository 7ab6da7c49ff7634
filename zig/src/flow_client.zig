//! The typed client of `ifrd` for pools of records and of values, over few connections with a circuit breaker for each method. It blocks;
//! one thread per client.
//!
//! ```zig
//! var client = try FlowClient.init(gpa, "/run/user/1000/hypermesh/mfn_ifr.sock", .{});
//! defer client.deinit();
//! try client.poolAdd(.{ .pool_id = 1, .bytes_max = 8 << 20 });
//! _ = try client.flowPut(1, &.{ .key = digest, .size = 4096, … }, std.time.ns_per_min);
//! const decision = try client.flowRoute(1, &digest, 3);
//! ```

const std = @import("std");
const answers = @import("flow_answer.zig");
const bodies = @import("body.zig");
const calling = @import("ipc/client.zig");
const flow = @import("flow.zig");
const flow_bodies = @import("flow_body.zig");
const pools = @import("ipc/pool.zig");
const protocol = @import("gen/protocol.zig");

pub const Digest = [bodies.digest_bytes]u8;
pub const FlowRecord = flow.FlowRecord;
pub const Layer = flow.Layer;
pub const Outcome = flow.Outcome;
pub const Key = bodies.Key;
pub const Pool = flow_bodies.Pool;
pub const Pools = answers.Pools;
pub const PoolStats = flow.PoolStats;
pub const RoutingDecision = flow.RoutingDecision;
pub const Value = [bodies.value_bytes]u8;
pub const key_bytes_max = protocol.limits.ifr_key_bytes_max;

pub const Error = pools.Error || error{
    /// The daemon answered with an error: `status` and `text` say which.
    Failed,
    /// The answer is not laid out as this method's.
    BadBody,
};

pub const FlowClient = struct {
    pool: pools.Pool,
    /// For each call.
    timeout_ns: u64,
    status: protocol.Status = .ok,
    /// The text of the last answer that was an error; lives until the next call.
    text: []const u8 = "",

    pub const Options = struct {
        /// For a connect, and for each call.
        timeout_ns: u64 = 5 * std.time.ns_per_s,
    };

    /// A client without connections: calls make them.
    pub fn init(gpa: std.mem.Allocator, path: []const u8, options: Options) Error!FlowClient {
        const pool = try pools.Pool.init(gpa, path, .{ .service = .ifr, .timeout_ns = options.timeout_ns });
        return .{ .pool = pool, .timeout_ns = options.timeout_ns };
    }

    pub fn deinit(client: *FlowClient) void {
        client.pool.deinit();
        client.* = undefined;
    }

    /// Makes a pool: of records, or of values.
    pub fn poolAdd(client: *FlowClient, pool: Pool) Error!void {
        _ = try client.call(protocol.method.ifr.pool_add, &pool.encode());
    }

    /// Forgets a pool with all that it holds.
    pub fn poolDrop(client: *FlowClient, pool_id: u32) Error!void {
        _ = try client.call(protocol.method.ifr.pool_drop, &(Pool{ .pool_id = pool_id }).encode());
    }

    /// What a pool holds.
    pub fn poolStats(client: *FlowClient, pool_id: u32) Error!PoolStats {
        return answers.decodeStats(try client.call(protocol.method.ifr.pool_stats, &(Pool{ .pool_id = pool_id }).encode()));
    }

    /// Every pool and what it holds, in no order; lives until the next call.
    pub fn allPools(client: *FlowClient) Error!Pools {
        return Pools.decode(try client.call(protocol.method.ifr.pools, &.{}));
    }

    /// The value of a key in a pool of values.
    pub fn valueGet(client: *FlowClient, pool_id: u32, key: Key) Error!?Value {
        return client.ofKey(protocol.method.ifr.get, pool_id, key, null);
    }

    /// Sets a value and answers the one that it replaced.
    pub fn valuePut(client: *FlowClient, pool_id: u32, key: Key, value: *const Value) Error!?Value {
        return client.ofKey(protocol.method.ifr.put, pool_id, key, value);
    }

    /// Forgets a key and answers its value.
    pub fn valueRemove(client: *FlowClient, pool_id: u32, key: Key) Error!?Value {
        return client.ofKey(protocol.method.ifr.remove, pool_id, key, null);
    }

    fn ofKey(client: *FlowClient, method: u16, pool_id: u32, key: Key, value: ?*const Value) Error!?Value {
        const bytes: []const u8 = switch (key) {
            .digest => |digest| digest,
            .bytes => |bytes| bytes,
        };
        const gpa = client.pool.gpa;
        const lead = bodies.head_bytes + if (value == null) 0 else bodies.value_bytes;
        const body = try gpa.alloc(u8, lead + bytes.len);
        defer gpa.free(body);
        bodies.writeHead(body[0..bodies.head_bytes], pool_id, key);
        if (value) |given| body[bodies.head_bytes..][0..bodies.value_bytes].* = given.*;
        @memcpy(body[lead..], bytes);
        return answers.decodeValue(try client.call(method, body));
    }

    /// Sets the record of a digest and answers the one that it replaced. It lives for `ttl_ns` from now on, or, if that is
    /// 0, until its `expires_ns`.
    pub fn flowPut(client: *FlowClient, pool_id: u32, record: *const FlowRecord, ttl_ns: u64) Error!?FlowRecord {
        const put: flow_bodies.Put = .{ .pool_id = pool_id, .ttl_ns = ttl_ns, .record = record.* };
        return answers.decodeRecord(try client.call(protocol.method.ifr.flow_put, &put.encode()));
    }

    /// The live record of a digest; that it was read keeps it longer.
    pub fn flowGet(client: *FlowClient, pool_id: u32, key: *const Digest) Error!?FlowRecord {
        const body = (flow_bodies.Key{ .pool_id = pool_id, .key = key }).encode();
        return answers.decodeRecord(try client.call(protocol.method.ifr.flow_get, &body));
    }

    /// Forgets a digest and answers its record, expired or not.
    pub fn flowRemove(client: *FlowClient, pool_id: u32, key: *const Digest) Error!?FlowRecord {
        const body = (flow_bodies.Key{ .pool_id = pool_id, .key = key }).encode();
        return answers.decodeRecord(try client.call(protocol.method.ifr.flow_remove, &body));
    }

    /// Takes out what has expired among the next `looks` records of a pool, 1 to 4,096, and says how many. The next call
    /// goes on from there.
    pub fn flowExpire(client: *FlowClient, pool_id: u32, looks: u32) Error!u32 {
        const answer = try client.call(protocol.method.ifr.flow_expire, &answers.encodeExpire(pool_id, looks));
        return (try answers.decodeExpired(answer)).expired;
    }

    /// What to do about a key of some kind: use the record that is here, or ask a layer.
    pub fn flowRoute(client: *FlowClient, pool_id: u32, key: *const Digest, kind: u16) Error!RoutingDecision {
        const answer = try client.call(protocol.method.ifr.flow_route, &answers.encodeRoute(pool_id, kind, key));
        return answers.decodeDecision(answer);
    }

    /// Tells whether a layer that was asked for a key of some kind had an answer.
    pub fn flowLearn(client: *FlowClient, kind: u16, layer: Layer, found: bool) Error!void {
        _ = try client.call(protocol.method.ifr.flow_learn, &answers.encodeLearn(kind, layer, found));
    }

    /// Asks any method with a body of one's own making. The answer lives until the next call.
    pub fn call(client: *FlowClient, method: u16, body: []const u8) Error![]const u8 {
        const answer = try client.pool.call(.{
            .method = method,
            .content_type = .fixed,
            .body = body,
            .deadline_ns = calling.deadlineIn(client.timeout_ns),
        });
        client.status = answer.status;
        if (answer.status == .ok) return answer.body;
        client.text = answer.body;
        return error.Failed;
    }
};
