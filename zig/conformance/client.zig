//! The client of the conformance tests in Zig: commands on standard input, one answer each on standard output, as
//! integration/conformance/README.md has them.

const std = @import("std");
const local = @import("local");
const records = @import("records.zig");
const protocol = local.protocol;
const sys = local.sys;
const wire = local.wire;

const gpa = std.heap.smp_allocator;

pub fn main() !u8 {
    var state: State = .{};
    var in: std.ArrayList(u8) = .empty;
    while (true) {
        while (std.mem.indexOfScalar(u8, in.items, '\n')) |end| {
            state.out.clearRetainingCapacity();
            state.obey(in.items[0..end]) catch |err| try state.say("failed {s}", .{@errorName(err)});
            try state.out.append(gpa, '\n');
            try sys.writeAll(1, state.out.items);
            in.replaceRangeAssumeCapacity(0, end + 1, &.{});
        }
        try in.ensureUnusedCapacity(gpa, 64 << 10);
        const count = try sys.read(0, in.unusedCapacitySlice());
        if (count == 0) return 0;
        in.items.len += count;
    }
}

const State = struct {
    door: Door = .none,
    calls: std.StringHashMapUnmanaged(Call) = .empty,
    out: std.ArrayList(u8) = .empty,
    flows: ?local.flows.FlowClient = null,

    /// Where calls go.
    const Door = union(enum) { none, client: local.Client, pool: local.Pool };

    /// One under way, or how it ended.
    const Call = union(enum) { id: u64, pooled: local.pools.Call, over: protocol.Status };

    fn say(state: *State, comptime format: []const u8, values: anytype) !void {
        try state.out.print(gpa, format, values);
    }

    fn obey(state: *State, line: []const u8) !void {
        var words = std.mem.tokenizeScalar(u8, line, ' ');
        const name = words.next() orelse return error.NoCommand;
        const Command = enum { vectors, connect, pool, flows, records, start, item, wait, cancel, close };
        switch (std.meta.stringToEnum(Command, name) orelse return error.NoSuchCommand) {
            .vectors => try state.vectors(words.next().?),
            .connect => try state.connect(words.next().?, try number(u64, words.next())),
            .pool => {
                state.hangUp();
                state.door = .{ .pool = try local.Pool.init(gpa, words.next().?, .{ .service = .state }) };
                try state.say("ok", .{});
            },
            .flows => {
                if (state.flows) |*before| before.deinit();
                state.flows = try .init(gpa, words.next().?, .{});
                try state.say("ok", .{});
            },
            .records => try records.obey(gpa, &state.out, if (state.flows) |*client| client else null, &words),
            .start => {
                const tag = try gpa.dupe(u8, words.next().?);
                const body = try unhex(words.buffer, &words);
                const ms = try number(u64, words.next());
                const credit = try number(u32, words.next());
                try state.calls.put(gpa, tag, state.start(body, ms, credit));
                try state.say("ok", .{});
            },
            .item => try state.item(words.next().?, .any),
            .wait => try state.item(words.next().?, .end),
            .cancel => {
                const call = state.calls.getPtr(words.next().?).?;
                switch (call.*) {
                    .id => |id| try state.door.client.cancel(id),
                    .pooled => |*pooled| try state.door.pool.cancel(pooled),
                    .over => {},
                }
                if (call.* != .over) call.* = .{ .over = .cancelled };
                try state.say("ok", .{});
            },
            .close => {
                state.hangUp();
                try state.say("ok", .{});
            },
        }
    }

    const Asked = struct { method: u16, content_type: protocol.ContentType, body: []u8 };

    fn unhex(_: []const u8, words: *std.mem.TokenIterator(u8, .scalar)) !Asked {
        const method = try number(u16, words.next());
        const content_type: protocol.ContentType = @enumFromInt(try number(u8, words.next()));
        return .{ .method = method, .content_type = content_type, .body = try bytesOf(words.next().?) };
    }

    fn connect(state: *State, path: []const u8, ms: u64) !void {
        state.hangUp();
        var refusal: local.Refusal = .{};
        const client = local.Client.connect(gpa, path, .{
            .service = .state,
            .timeout_ns = ms * std.time.ns_per_ms,
            .refusal = &refusal,
        }) catch |err| {
            const status: protocol.Status = switch (err) {
                error.Refused => if (refusal.status == .ok) .@"unreachable" else refusal.status,
                error.Deadline => .deadline,
                else => .@"unreachable",
            };
            return state.say("failed {d} {s}: {s}", .{ @intFromEnum(status), @errorName(err), refusal.text[0..refusal.text_bytes] });
        };
        state.door = .{ .client = client };
        try state.say("ok", .{});
    }

    fn hangUp(state: *State) void {
        switch (state.door) {
            .none => {},
            .client => |*client| client.close(),
            .pool => |*pool| pool.deinit(),
        }
        state.door = .none;
    }

    fn statusOf(err: anyerror) protocol.Status {
        return switch (err) {
            error.Deadline => .deadline,
            error.Busy => .busy,
            error.FrameTooLarge => .frame_too_large,
            error.Unreachable => .@"unreachable",
            error.CircuitOpen => .circuit_open,
            else => .closed,
        };
    }

    fn start(state: *State, asked: Asked, ms: u64, credit: u32) Call {
        defer gpa.free(asked.body);
        const request: local.Request = .{
            .method = asked.method,
            .content_type = asked.content_type,
            .body = asked.body,
            .deadline_ns = if (ms == 0) 0 else local.deadlineIn(ms * std.time.ns_per_ms),
            .credit = credit,
        };
        // What cannot be sent now goes out while something is waited for.
        const soon = local.deadlineIn(std.time.ns_per_s);
        switch (state.door) {
            .none => return .{ .over = .closed },
            .client => |*client| {
                const id = client.start(request) catch |err| return .{ .over = statusOf(err) };
                client.flush(soon) catch {};
                return .{ .id = id };
            },
            .pool => |*pool| {
                const call = pool.start(request) catch |err| return .{ .over = statusOf(err) };
                pool.flush(soon) catch {};
                return .{ .pooled = call };
            },
        }
    }

    fn item(state: *State, tag: []const u8, wanted: enum { any, end }) !void {
        const call = state.calls.getPtr(tag) orelse return error.NoSuchCall;
        if (call.* == .over) return state.say("end {d} 4 -", .{@intFromEnum(call.over)});
        while (true) {
            const next = switch (call.*) {
                .id => |id| state.door.client.item(id),
                .pooled => |*pooled| state.door.pool.item(pooled),
                .over => unreachable,
            };
            const found = next catch |err| {
                call.* = .{ .over = statusOf(err) };
                return state.say("end {d} 4 -", .{@intFromEnum(call.over)});
            };
            switch (found) {
                .event => |event| if (wanted == .any) {
                    try state.say("event {d} ", .{@intFromEnum(event.content_type)});
                    return state.hex(event.body);
                },
                .end => |answer| {
                    call.* = .{ .over = answer.status };
                    try state.say("end {d} {d} ", .{ @intFromEnum(answer.status), @intFromEnum(answer.content_type) });
                    return state.hex(answer.body);
                },
            }
        }
    }

    fn hex(state: *State, body: []const u8) !void {
        if (body.len == 0) return state.out.append(gpa, '-');
        try state.say("{x}", .{body});
    }

    /// Reads all golden vectors and writes the good ones again.
    fn vectors(state: *State, path: []const u8) !void {
        const place = try gpa.dupeZ(u8, path);
        defer gpa.free(place);
        const fd = try sys.open(place, .{ .CLOEXEC = true }, 0);
        defer sys.close(fd);
        const lines = try sys.map(fd, (try sys.statFd(fd)).size);
        defer sys.unmap(lines);
        var good: usize = 0;
        var bad: usize = 0;
        var rest = std.mem.tokenizeScalar(u8, lines, '\n');
        while (rest.next()) |line| {
            if (line[0] == '#') continue;
            var words = std.mem.tokenizeScalar(u8, line, ' ');
            const name = words.next().?;
            const status = try number(i32, words.next());
            const bytes = try bytesOf(words.next().?);
            defer gpa.free(bytes);
            const frame = wire.decode(bytes) catch |err| {
                if (status != @intFromEnum(wire.statusOf(err))) return state.say("failed {s}", .{name});
                bad += 1;
                continue;
            };
            var again: std.ArrayList(u8) = .empty;
            defer again.deinit(gpa);
            try wire.encode(gpa, &again, frame.header, frame.tlvs.area, frame.body);
            if (status != 0 or !std.mem.eql(u8, bytes, again.items)) return state.say("failed {s}", .{name});
            good += 1;
        }
        try state.say("vectors {d} {d}", .{ good, bad });
    }
};

fn number(comptime Int: type, text: ?[]const u8) !Int {
    return std.fmt.parseInt(Int, text orelse return error.NoNumber, 10);
}

fn bytesOf(text: []const u8) ![]u8 {
    if (std.mem.eql(u8, text, "-")) return gpa.alloc(u8, 0);
    const bytes = try gpa.alloc(u8, text.len / 2);
    errdefer gpa.free(bytes);
    _ = try std.fmt.hexToBytes(bytes, text);
    return bytes;
}
