//! The ifr service: requests of the local wire to the table, and what changes to the journal.

const std = @import("std");
const bodies = @import("body.zig");
const connections = @import("ipc/connection.zig");
const protocol = @import("gen/protocol.zig");
const root = @import("root.zig");
const serving = @import("ipc/server.zig");
const sys = @import("ipc/sys.zig");

const Answer = connections.Answer;
const Call = connections.Call;
const Reply = connections.Reply;
const method = protocol.method.ifr;

pub const Service = struct {
    ifr: *root.Ifr,
    /// What the socket counts; set once it serves.
    socket: ?*const connections.Stats = null,

    pub fn init(ifr: *root.Ifr) Service {
        return .{ .ifr = ifr };
    }

    const Error = bodies.Error || root.Error || error{ FrameTooLarge, NoMethod };

    pub fn call(service: *Service, request: *const Call, reply: *Reply) Answer {
        service.answer(request, reply) catch |err| return .{ .failed = failure(err) };
        return .now;
    }

    fn answer(service: *Service, request: *const Call, reply: *Reply) Error!void {
        if (request.content_type != .fixed and request.content_type != .none) return error.BadBody;
        return switch (request.method) {
            method.stats => service.stats(reply),
            method.get => service.get(request.body, reply),
            method.put => service.put(request.body, reply),
            method.remove => service.remove(request.body, reply),
            method.get_many => service.getMany(request.body, reply),
            method.put_many => service.putMany(request.body, reply),
            method.remove_many => service.removeMany(request.body, reply),
            method.may_contain => service.mayContain(request.body, reply),
            else => error.NoMethod,
        };
    }

    fn stats(service: *Service, reply: *Reply) Error!void {
        const table = service.ifr.stats();
        const socket: connections.Stats = if (service.socket) |counted| counted.* else .{};
        const body = try reply.body(.fixed, bodies.Stats.body_bytes);
        (bodies.Stats{
            .digest_entries = table.digest_entries,
            .bytes_entries = table.bytes_entries,
            .bytes = table.bytes,
            .bytes_max = table.bytes_max,
            .capacity = table.capacity,
            .segments = table.segments,
            .filter_bytes = table.filter_bytes,
            .filter_homeless = table.filter_homeless,
            .requests = socket.requests,
            .errors = socket.errors,
            .connections = socket.connections,
            .generation = 0,
            .log_bytes = 0,
            .snapshot_bytes = 0,
            .syncs = 0,
        }).write(body[0..bodies.Stats.body_bytes]);
    }

    fn replyValue(reply: *Reply, value: ?root.Value) Error!void {
        const found = value orelse return;
        (try reply.body(.fixed, bodies.value_bytes))[0..bodies.value_bytes].* = found;
    }

    fn get(service: *Service, body: []const u8, reply: *Reply) Error!void {
        const one = try bodies.decodeKey(body);
        const found = switch (one.key) {
            .digest => |key| service.ifr.get(key),
            .bytes => |key| service.ifr.getBytes(key),
        };
        try replyValue(reply, if (found) |value| value.* else null);
    }

    fn put(service: *Service, body: []const u8, reply: *Reply) Error!void {
        const one = try bodies.decodePut(body);
        try replyValue(reply, try service.insert(one.key, one.value.?));
    }

    fn insert(service: *Service, key: bodies.Key, value: *const root.Value) root.Error!?root.Value {
        return switch (key) {
            .digest => |digest| service.ifr.insert(digest, value),
            .bytes => |bytes| service.ifr.insertBytes(bytes, value),
        };
    }

    fn remove(service: *Service, body: []const u8, reply: *Reply) Error!void {
        const one = try bodies.decodeKey(body);
        try replyValue(reply, service.take(one.key));
    }

    fn take(service: *Service, key: bodies.Key) ?root.Value {
        return switch (key) {
            .digest => |digest| service.ifr.remove(digest),
            .bytes => |bytes| service.ifr.removeBytes(bytes),
        };
    }

    fn getMany(service: *Service, body: []const u8, reply: *Reply) Error!void {
        const batch = try bodies.Batch.decode(body, .{ .with_values = false });
        const memory = try reply.body(.fixed, bodies.Found.bytes(batch.count, .{ .with_values = true }));
        var found: bodies.Found = .init(memory, batch.count);
        const values = found.values();
        @memset(std.mem.sliceAsBytes(values), 0);
        switch (batch.kind) {
            .digest => {
                var is_here: [bodies.batch_keys_max]u8 = undefined;
                _ = service.ifr.getMany(batch.digests(), values, is_here[0..batch.count]);
                for (is_here[0..batch.count], 0..) |here, index| {
                    if (here != 0) found.set(index);
                }
            },
            .bytes => {
                var items = batch.iterate();
                var index: usize = 0;
                while (items.next()) |item| : (index += 1) {
                    values[index] = (service.ifr.getBytes(item.key.bytes) orelse continue).*;
                    found.set(index);
                }
            },
        }
        found.finish();
    }

    fn putMany(service: *Service, body: []const u8, reply: *Reply) Error!void {
        const batch = try bodies.Batch.decode(body, .{ .with_values = true });
        const memory = try reply.body(.fixed, bodies.Done.bytes);
        var done: bodies.Done = .{ .done = 0, .replaced = 0, .status = 0 };
        var items = batch.iterate();
        while (items.next()) |item| {
            const replaced = service.insert(item.key, item.value.?) catch |err| {
                done.status = @intFromEnum(failure(err).status);
                break;
            };
            done.done += 1;
            done.replaced += @intFromBool(replaced != null);
        }
        done.write(memory[0..bodies.Done.bytes]);
    }

    fn removeMany(service: *Service, body: []const u8, reply: *Reply) Error!void {
        const batch = try bodies.Batch.decode(body, .{ .with_values = false });
        var found: bodies.Found = .init(
            try reply.body(.fixed, bodies.Found.bytes(batch.count, .{ .with_values = false })),
            batch.count,
        );
        var items = batch.iterate();
        var index: usize = 0;
        while (items.next()) |item| : (index += 1) {
            if (service.take(item.key) != null) found.set(index);
        }
        found.finish();
    }

    fn mayContain(service: *Service, body: []const u8, reply: *Reply) Error!void {
        const batch = try bodies.Batch.decode(body, .{ .with_values = false });
        // The table answers this for digests; bytes would need a second look at what `get_many` tells for sure.
        if (batch.kind != .digest) return error.BadBody;
        var found: bodies.Found = .init(
            try reply.body(.fixed, bodies.Found.bytes(batch.count, .{ .with_values = false })),
            batch.count,
        );
        for (batch.digests(), 0..) |*key, index| {
            if (service.ifr.mayContain(key)) found.set(index);
        }
        found.finish();
    }

    pub fn isReady(_: *const Service) bool {
        return true;
    }

    pub fn endTurn(_: *Service) void {}

    pub fn released(_: *Service, _: connections.Gate) serving.Released {
        return .{ .number = 0 };
    }

    pub fn woken(_: *Service, _: sys.Fd) void {}

    pub fn isBroken(_: *const Service) bool {
        return false;
    }

    /// What an error is on the wire.
    fn failure(err: Error) connections.Failure {
        return switch (err) {
            error.BadBody => .{ .status = .bad_body, .text = "the body is not laid out as this method's; see docs/PROTOCOL.md" },
            error.BatchSize => .{ .status = .limit, .text = std.fmt.comptimePrint("a batch has 1 to {d} keys", .{bodies.batch_keys_max}) },
            error.KeyTooLong => .{ .status = .limit, .text = std.fmt.comptimePrint("a byte key has at most {d} bytes", .{root.constants.key_bytes_max}) },
            error.NoPool => .{ .status = .not_found, .text = "there is no such pool; pool 0 is always there" },
            error.NoMethod => .{ .status = .unsupported, .text = "the ifr service has no such method" },
            error.Limit => .{ .status = .limit, .text = "the table is full; remove entries or start ifrd with a larger --bytes-max" },
            error.OutOfMemory => .{ .status = .out_of_memory, .text = "no memory; try again later" },
            error.FrameTooLarge => .{ .status = .frame_too_large, .text = "the answer is too long; ask for less at once" },
        };
    }
};
