//! The ifr service: requests of the local wire to the table, and what changes to the journal. A change in the journal is
//! its method and the body of the request, cut to what was done; the snapshot holds bodies of put_many.

const std = @import("std");
const bodies = @import("body.zig");
const changing = @import("snapshot_changes.zig");
const connections = @import("ipc/connection.zig");
const flow_bodies = @import("flow_body.zig");
const flowing = @import("flow.zig");
const journaling = @import("journal.zig");
const protocol = @import("gen/protocol.zig");
const root = @import("root.zig");
const serving = @import("ipc/server.zig");
const sys = @import("ipc/sys.zig");
const valuing = @import("value_pools.zig");

const Answer = connections.Answer;
const Call = connections.Call;
const Reply = connections.Reply;
const method = protocol.method.ifr;

pub const Service = struct {
    tables: valuing.Tables,
    flows: *flowing.Flows,
    journal: *journaling.Journal,
    /// What the budgets of all pools may come to, and what they do.
    pools_bytes_max: u64,
    pools_bytes: u64 = 0,
    pools: u32 = 0,
    records: u64 = 0,
    /// What the socket counts; set once it serves.
    socket: ?*const connections.Stats = null,
    /// Keys that get and get_many looked up, and how many of them were here.
    looked: u64 = 0,
    found: u64 = 0,
    /// The pool that is swept next, and when, by the monotonic clock.
    swept: usize = 0,
    sweep_ns: u64 = flowing.never,
    /// Of the change that the call under way has made.
    ticket: ?connections.Ticket = null,

    /// The journal is opened with this as its context, then.
    pub fn init(ifr: *root.Ifr, flows: *flowing.Flows, journal: *journaling.Journal, pools_bytes_max: u64) Service {
        const tables: valuing.Tables = .init(flows.gpa, ifr, &flows.seeds.sip);
        return .{ .tables = tables, .flows = flows, .journal = journal, .pools_bytes_max = pools_bytes_max };
    }

    pub fn deinit(service: *Service) void {
        service.tables.deinit();
    }

    const Error = bodies.Error || valuing.Error || flowing.Error || error{ FrameTooLarge, NoMethod, NoSpace, Io, NoSnapshot, PoolsFull };

    pub fn call(service: *Service, request: *const Call, reply: *Reply) Answer {
        service.ticket = null;
        service.answer(request, reply) catch |err| return .{ .failed = failure(err) };
        return if (service.ticket) |ticket| .{ .held = ticket } else .now;
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
            method.snapshot => service.snapshot(),
            method.pool_add => service.poolAdd(request.body, reply),
            method.pool_drop => service.poolDrop(request.body, reply),
            method.pool_stats => service.poolStats(request.body, reply),
            method.flow_put => service.flowPut(request.body, reply),
            method.flow_get => service.flowGet(request.body, reply),
            method.flow_remove => service.flowRemove(request.body, reply),
            method.flow_expire => service.flowExpire(request.body, reply),
            method.flow_route => service.flowRoute(request.body, reply),
            method.flow_learn => service.flowLearn(request.body, reply),
            method.pools => service.allPools(reply),
            else => error.NoMethod,
        };
    }

    const change_head_bytes = changing.head_bytes;

    fn reserve(service: *Service, body: []const u8) Error!void {
        return service.journal.reserve(change_head_bytes + body.len);
    }

    /// The change was made: the answer waits until the journal has it.
    fn changed(service: *Service, number: u16, parts: [2][]const u8) void {
        var head: [change_head_bytes]u8 = @splat(0);
        std.mem.writeInt(u16, head[0..2], number, .little);
        const change = service.journal.append(&.{ &head, parts[0], parts[1] });
        service.ticket = .{ .gate = .durable, .number = change };
    }

    fn stats(service: *Service, reply: *Reply) Error!void {
        const table = service.tables.first.ifr.stats();
        const held = service.heldByPools();
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
            .generation = service.journal.files.generation,
            .log_bytes = service.journal.files.log_bytes,
            .snapshot_bytes = service.journal.files.snapshot_bytes,
            .syncs = service.journal.syncs,
            .looked = service.looked,
            .found = service.found,
            .pools = service.pools,
            .records = service.records,
            .pools_bytes = held.bytes,
            .pools_bytes_max = held.bytes_max,
            .evictions = held.evictions,
            .expirations = held.expirations,
        }).write(body[0..bodies.Stats.body_bytes]);
    }

    fn replyValue(reply: *Reply, value: ?root.Value) Error!void {
        const found = value orelse return;
        (try reply.body(.fixed, bodies.value_bytes))[0..bodies.value_bytes].* = found;
    }

    fn get(service: *Service, body: []const u8, reply: *Reply) Error!void {
        const one = try bodies.decodeKey(body);
        const found = (try service.tables.find(one.pool_id)).get(one.key);
        service.looked += 1;
        if (found != null) service.found += 1;
        try replyValue(reply, found);
    }

    fn put(service: *Service, body: []const u8, reply: *Reply) Error!void {
        const one = try bodies.decodePut(body);
        const table = try service.tables.find(one.pool_id);
        try service.reserve(body);
        const room = try reply.body(.fixed, bodies.value_bytes);
        const replaced = try service.tables.insert(table, one.key, one.value.?);
        service.changed(method.put, .{ body, &.{} });
        if (replaced) |value| {
            room[0..bodies.value_bytes].* = value;
        } else reply.noBody();
    }

    fn remove(service: *Service, body: []const u8, reply: *Reply) Error!void {
        const one = try bodies.decodeKey(body);
        const table = try service.tables.find(one.pool_id);
        try service.reserve(body);
        const room = try reply.body(.fixed, bodies.value_bytes);
        const removed = service.tables.remove(table, one.key) orelse return reply.noBody();
        service.changed(method.remove, .{ body, &.{} });
        room[0..bodies.value_bytes].* = removed;
    }

    fn getMany(service: *Service, body: []const u8, reply: *Reply) Error!void {
        const batch = try bodies.Batch.decode(body, .{ .with_values = false });
        const ifr = (try service.tables.find(batch.pool_id)).ifr;
        const memory = try reply.body(.fixed, bodies.Found.bytes(batch.count, .{ .with_values = true }));
        var found: bodies.Found = .init(memory, batch.count);
        const values = found.values();
        @memset(std.mem.sliceAsBytes(values), 0);
        switch (batch.kind) {
            .digest => {
                var is_here: [bodies.batch_keys_max]u8 = undefined;
                _ = ifr.getMany(batch.digests(), values, is_here[0..batch.count]);
                for (is_here[0..batch.count], 0..) |here, index| {
                    if (here != 0) found.set(index);
                }
            },
            .bytes => {
                var items = batch.iterate();
                var index: usize = 0;
                while (items.next()) |item| : (index += 1) {
                    values[index] = (ifr.getBytes(item.key.bytes) orelse continue).*;
                    found.set(index);
                }
            },
        }
        service.looked += batch.count;
        service.found += found.found;
        found.finish();
    }

    fn putMany(service: *Service, body: []const u8, reply: *Reply) Error!void {
        const batch = try bodies.Batch.decode(body, .{ .with_values = true });
        const table = try service.tables.find(batch.pool_id);
        try service.reserve(body);
        const memory = try reply.body(.fixed, bodies.Done.bytes);
        const done, const items_bytes = service.insertAll(table, &batch);
        done.write(memory[0..bodies.Done.bytes]);
        if (done.done == 0) return;
        // The journal gets what was done and nothing else.
        var head: [bodies.batch_head_bytes]u8 = body[0..bodies.batch_head_bytes].*;
        bodies.writeBatchHead(&head, batch.pool_id, batch.kind, done.done);
        service.changed(method.put_many, .{ &head, batch.items[0..items_bytes] });
    }

    /// How far it came, and how many bytes of the items that was.
    fn insertAll(service: *Service, table: *valuing.Table, batch: *const bodies.Batch) struct { bodies.Done, usize } {
        var done: bodies.Done = .{ .done = 0, .replaced = 0, .status = 0 };
        var items = batch.iterate();
        var items_bytes: usize = 0;
        while (items.next()) |item| {
            const replaced = service.tables.insert(table, item.key, item.value.?) catch |err| {
                done.status = @intFromEnum(failure(err).status);
                break;
            };
            done.done += 1;
            done.replaced += @intFromBool(replaced != null);
            items_bytes = batch.items.len - items.rest.len;
        }
        return .{ done, items_bytes };
    }

    fn removeMany(service: *Service, body: []const u8, reply: *Reply) Error!void {
        const batch = try bodies.Batch.decode(body, .{ .with_values = false });
        const table = try service.tables.find(batch.pool_id);
        try service.reserve(body);
        var found: bodies.Found = .init(
            try reply.body(.fixed, bodies.Found.bytes(batch.count, .{ .with_values = false })),
            batch.count,
        );
        var items = batch.iterate();
        var index: usize = 0;
        while (items.next()) |item| : (index += 1) {
            if (service.tables.remove(table, item.key) != null) found.set(index);
        }
        found.finish();
        // Removing again what was not here changes nothing.
        if (found.found > 0) service.changed(method.remove_many, .{ body, &.{} });
    }

    fn mayContain(service: *Service, body: []const u8, reply: *Reply) Error!void {
        const batch = try bodies.Batch.decode(body, .{ .with_values = false });
        // The table answers this for digests; bytes would need a second look at what `get_many` tells for sure.
        if (batch.kind != .digest) return error.BadBody;
        const ifr = (try service.tables.find(batch.pool_id)).ifr;
        var found: bodies.Found = .init(
            try reply.body(.fixed, bodies.Found.bytes(batch.count, .{ .with_values = false })),
            batch.count,
        );
        for (batch.digests(), 0..) |*key, index| {
            if (ifr.mayContain(key)) found.set(index);
        }
        found.finish();
    }

    fn snapshot(service: *Service) Error!void {
        const number = service.journal.startSnapshot(service, writeAll) catch return error.NoSnapshot;
        service.ticket = .{ .gate = .snapshot, .number = number };
    }

    // Pools of records.

    fn poolAdd(service: *Service, body: []const u8, reply: *Reply) Error!void {
        const pool = try flow_bodies.Pool.decode(body);
        try service.reserve(body);
        try service.makePool(pool);
        service.changed(method.pool_add, .{ body, &.{} });
        reply.noBody();
    }

    fn makePool(service: *Service, pool: flow_bodies.Pool) Error!void {
        // Pool 0 is always there, and what holds values has no number of what holds records.
        if (!std.meta.isError(service.tables.find(pool.pool_id)) or !std.meta.isError(service.flows.stats(pool.pool_id))) return error.PoolExists;
        if (service.pools == root.constants.pools_max) return error.Limit;
        if (pool.bytes_max > service.pools_bytes_max -| service.pools_bytes) return error.PoolsFull;
        if (pool.values) {
            try service.tables.add(pool.pool_id, pool.bytes_max);
        } else {
            try service.flows.addPool(pool.pool_id, .{ .bytes_max = pool.bytes_max, .evicts = pool.evicts });
        }
        service.pools_bytes += pool.bytes_max;
        service.pools += 1;
    }

    fn poolDrop(service: *Service, body: []const u8, reply: *Reply) Error!void {
        const pool_id = try flow_bodies.Pool.decodeId(body);
        try service.reserve(body);
        try service.losePool(pool_id);
        service.changed(method.pool_drop, .{ body, &.{} });
        reply.noBody();
    }

    fn losePool(service: *Service, pool_id: u32) Error!void {
        const held = try service.heldBy(pool_id);
        if (std.meta.isError(service.flows.dropPool(pool_id))) {
            try service.tables.drop(pool_id);
        } else {
            service.records -= held.records;
        }
        service.pools_bytes -= held.bytes_max;
        service.pools -= 1;
    }

    /// Of a pool of either kind that somebody made.
    fn heldBy(service: *Service, pool_id: u32) Error!flowing.PoolStats {
        if (service.flows.stats(pool_id)) |held| return held else |_| {}
        if (pool_id == 0) return error.NoPool;
        return (try service.tables.find(pool_id)).stats();
    }

    fn poolStats(service: *Service, body: []const u8, reply: *Reply) Error!void {
        const held = try service.heldBy(try flow_bodies.Pool.decodeId(body));
        (try reply.body(.fixed, flow_bodies.stats_bytes))[0..flow_bodies.stats_bytes].* = flow_bodies.encodeStats(held);
    }

    /// What all pools hold together.
    fn heldByPools(service: *Service) flowing.PoolStats {
        var all = std.mem.zeroes(flowing.PoolStats);
        for (0..2 * root.constants.pools_max) |slot| {
            const pool = service.poolAt(slot) orelse continue;
            const held = service.heldBy(pool.pool_id) catch continue;
            inline for (std.meta.fields(flowing.PoolStats)) |field| @field(all, field.name) +|= @field(held, field.name);
        }
        return all;
    }

    fn allPools(service: *Service, reply: *Reply) Error!void {
        const entry_bytes = flow_bodies.Pool.bytes + flow_bodies.stats_bytes;
        const memory = try reply.body(.fixed, 8 + service.pools * entry_bytes);
        std.mem.writeInt(u32, memory[0..4], service.pools, .little);
        std.mem.writeInt(u32, memory[4..8], entry_bytes, .little);
        var rest = memory[8..];
        for (0..2 * root.constants.pools_max) |slot| {
            const pool = service.poolAt(slot) orelse continue;
            rest[0..flow_bodies.Pool.bytes].* = pool.encode();
            rest[flow_bodies.Pool.bytes..][0..flow_bodies.stats_bytes].* = flow_bodies.encodeStats(try service.heldBy(pool.pool_id));
            rest = rest[entry_bytes..];
        }
    }

    /// The pool of a slot: those of records, then those of values.
    fn poolAt(service: *Service, slot: usize) ?flow_bodies.Pool {
        if (slot < root.constants.pools_max) {
            const about = service.flows.poolAt(slot) orelse return null;
            return .{ .pool_id = about.id, .evicts = about.evicts, .bytes_max = about.bytes_max };
        }
        const table = service.tables.at(slot - root.constants.pools_max) orelse return null;
        return .{ .pool_id = table.pool_id, .evicts = false, .values = true, .bytes_max = table.ifr.budget.bytes_max };
    }

    fn replyRecord(reply: *Reply, record: ?flowing.FlowRecord) Error!void {
        if (record) |*found| {
            flow_bodies.encodeRecord(found, (try reply.body(.fixed, flow_bodies.record_bytes))[0..flow_bodies.record_bytes]);
        } else reply.noBody();
    }

    fn flowPut(service: *Service, body: []const u8, reply: *Reply) Error!void {
        var one = try flow_bodies.Put.decode(body);
        const now_ns = sys.wallNs();
        const old = service.flows.look(one.pool_id, &one.record.key);
        one.settle(if (old) |*before| before else null, now_ns);
        try service.journal.reserve(change_head_bytes + flow_bodies.Put.bytes + gone_bytes_max);
        const room = try reply.body(.fixed, flow_bodies.record_bytes);
        const replaced = service.putRecord(&one, now_ns) catch |err| {
            // What an evicting pool lost before it gave up.
            if (service.flows.gone_count > 0) service.wentFrom(one.pool_id);
            return err;
        };
        // The journal gets what the pool evicted as well: evicting again might choose others.
        service.changed(method.flow_put, .{ &one.encode(), service.gone() });
        if (replaced) |*record| {
            flow_bodies.encodeRecord(record, room[0..flow_bodies.record_bytes]);
        } else reply.noBody();
    }

    const gone_bytes_max = flowing.Flows.gone_max * bodies.digest_bytes;

    /// Keys that went with the last change of a pool.
    fn gone(service: *const Service) []const u8 {
        return std.mem.sliceAsBytes(service.flows.gone[0..service.flows.gone_count]);
    }

    fn putRecord(service: *Service, one: *const flow_bodies.Put, now_ns: u64) Error!?flowing.FlowRecord {
        service.flows.gone_count = 0;
        const before = try service.flows.stats(one.pool_id);
        // A refusing pool keeps to what fits however its table is split: it is split otherwise after each start.
        if (service.flows.isFull(one.pool_id) and service.flows.refuses(one.pool_id) and
            service.flows.look(one.pool_id, &one.record.key) == null) return error.PoolFull;
        defer service.records = service.records - before.records + service.recordsOf(one.pool_id);
        return service.flows.put(one.pool_id, &one.record, now_ns) catch |err| if (err == error.Limit) error.PoolFull else err;
    }

    fn recordsOf(service: *const Service, pool_id: u32) u64 {
        return (service.flows.stats(pool_id) catch return 0).records;
    }

    /// The change of an expiry, or of an eviction that came to nothing else.
    fn wentFrom(service: *Service, pool_id: u32) void {
        var head: [8]u8 = @splat(0);
        std.mem.writeInt(u32, head[0..4], pool_id, .little);
        service.changed(method.flow_expire, .{ &head, service.gone() });
    }

    fn flowGet(service: *Service, body: []const u8, reply: *Reply) Error!void {
        const one = try flow_bodies.Key.decode(body);
        _ = try service.flows.stats(one.pool_id);
        const record = service.flows.get(one.pool_id, one.key, sys.wallNs());
        service.looked += 1;
        service.found += @intFromBool(record != null);
        try replyRecord(reply, record);
    }

    fn flowRemove(service: *Service, body: []const u8, reply: *Reply) Error!void {
        const one = try flow_bodies.Key.decode(body);
        _ = try service.flows.stats(one.pool_id);
        try service.reserve(body);
        const room = try reply.body(.fixed, flow_bodies.record_bytes);
        const record = service.flows.remove(one.pool_id, one.key) orelse return reply.noBody();
        service.records -= 1;
        service.changed(method.flow_remove, .{ body, &.{} });
        flow_bodies.encodeRecord(&record, room[0..flow_bodies.record_bytes]);
    }

    fn flowExpire(service: *Service, body: []const u8, reply: *Reply) Error!void {
        const asked = try flow_bodies.Expire.decode(body);
        const memory = try reply.body(.fixed, bodies.Done.bytes);
        var done: bodies.Done = .{ .done = 0, .replaced = 0, .status = 0 };
        while (done.done < asked.looks) {
            const looks = @min(asked.looks - done.done, flowing.Flows.gone_max);
            try service.journal.reserve(change_head_bytes + 8 + gone_bytes_max);
            const removed = try service.flows.expire(asked.pool_id, sys.wallNs(), looks);
            done.done += @intCast(looks);
            done.replaced += @intCast(removed);
            service.records -= removed;
            if (removed > 0) service.wentFrom(asked.pool_id);
        }
        done.write(memory[0..bodies.Done.bytes]);
    }

    fn flowRoute(service: *Service, body: []const u8, reply: *Reply) Error!void {
        const one = try flow_bodies.Route.decode(body);
        _ = try service.flows.stats(one.pool_id);
        const decision = service.flows.route(one.pool_id, one.key, one.kind, sys.wallNs());
        const room = try reply.body(.fixed, flow_bodies.decision_bytes);
        flow_bodies.encodeDecision(&decision, room[0..flow_bodies.decision_bytes]);
    }

    fn flowLearn(service: *Service, body: []const u8, reply: *Reply) Error!void {
        const one = try flow_bodies.Learn.decode(body);
        try service.reserve(body);
        service.flows.learn(one.kind, one.layer, one.found);
        service.changed(method.flow_learn, .{ body, &.{} });
        reply.noBody();
    }

    // What the journal asks for.

    /// Makes the changes of a payload again.
    pub fn replay(service: *Service, payload: []const u8) error{ BadPayload, Limit, OutOfMemory }!void {
        var rest = payload;
        while (rest.len > 0) {
            if (rest.len < 4) return error.BadPayload;
            const length = std.mem.readInt(u32, rest[0..4], .little);
            if (length > rest.len - 4 or length < change_head_bytes) return error.BadPayload;
            const change = rest[4..][0..length];
            rest = rest[4 + length ..];
            service.replayOne(std.mem.readInt(u16, change[0..2], .little), change[change_head_bytes..]) catch |err| return switch (err) {
                error.Limit, error.PoolFull, error.PoolsFull => error.Limit,
                error.OutOfMemory => error.OutOfMemory,
                else => error.BadPayload,
            };
        }
    }

    fn replayOne(service: *Service, number: u16, body: []const u8) Error!void {
        switch (number) {
            method.put => {
                const one = try bodies.decodePut(body);
                _ = try service.tables.insert(try service.tables.find(one.pool_id), one.key, one.value.?);
            },
            method.remove => {
                const one = try bodies.decodeKey(body);
                _ = service.tables.remove(try service.tables.find(one.pool_id), one.key);
            },
            method.put_many => {
                const batch = try bodies.Batch.decode(body, .{ .with_values = true });
                var items = batch.iterate();
                const table = try service.tables.find(batch.pool_id);
                while (items.next()) |item| _ = try service.tables.insert(table, item.key, item.value.?);
            },
            method.remove_many => {
                const batch = try bodies.Batch.decode(body, .{ .with_values = false });
                var items = batch.iterate();
                const table = try service.tables.find(batch.pool_id);
                while (items.next()) |item| _ = service.tables.remove(table, item.key);
            },
            method.pool_add => try service.makePool(try flow_bodies.Pool.decode(body)),
            method.pool_drop => try service.losePool(try flow_bodies.Pool.decodeId(body)),
            method.flow_put => {
                if (body.len < flow_bodies.Put.bytes) return error.BadBody;
                const one = try flow_bodies.Put.decode(body[0..flow_bodies.Put.bytes]);
                try service.forget(one.pool_id, body[flow_bodies.Put.bytes..]);
                _ = try service.putRecord(&one, sys.wallNs());
            },
            method.flow_remove => {
                const one = try flow_bodies.Key.decode(body);
                if (service.flows.remove(one.pool_id, one.key) != null) service.records -= 1;
            },
            method.flow_expire => {
                if (body.len < 8) return error.BadBody;
                try service.forget(std.mem.readInt(u32, body[0..4], .little), body[8..]);
            },
            method.flow_learn => {
                const one = try flow_bodies.Learn.decode(body);
                service.flows.learn(one.kind, one.layer, one.found);
            },
            change_outcomes => try flow_bodies.decodeOutcomes(service.flows, body),
            else => return error.NoMethod,
        }
    }

    /// No method: what the layers were asked and answered, at the time of a snapshot.
    const change_outcomes: u16 = 0xffff;

    /// Removes keys that stand one behind the other.
    fn forget(service: *Service, pool_id: u32, keys: []const u8) Error!void {
        if (keys.len % bodies.digest_bytes != 0) return error.BadBody;
        for (std.mem.bytesAsSlice(root.Digest, keys)) |*key| {
            if (service.flows.remove(pool_id, key) != null) service.records -= 1;
        }
    }

    /// Writes all entries, in the copy of the process.
    fn writeAll(service: *Service, writer: *journaling.SnapshotWriter) sys.Error!void {
        try writeTable(&service.tables.first, writer);
        for (0..root.constants.pools_max) |slot| {
            const pool = service.poolAt(root.constants.pools_max + slot) orelse continue;
            var changes: changing.Changes = .{ .writer = writer };
            try changes.add(method.pool_add, &pool.encode());
            try changes.flush();
            try writeTable(service.tables.at(slot).?, writer);
        }
        try service.writePools(writer);
    }

    fn writeTable(table: *const valuing.Table, writer: *journaling.SnapshotWriter) sys.Error!void {
        var batch: changing.Batch = .{ .writer = writer, .pool_id = table.pool_id, .kind = .digest };
        var digests = table.ifr.iterate();
        while (digests.next()) |entry| try batch.add(&entry.value, &entry.key);
        try batch.flush();
        batch.kind = .bytes;
        var byte_keys = table.ifr.iterateBytes();
        while (byte_keys.next()) |entry| try batch.add(&entry.value, entry.slice());
        try batch.flush();
    }

    /// The pools of records, each before what it holds, and what was learned.
    fn writePools(service: *Service, writer: *journaling.SnapshotWriter) sys.Error!void {
        var changes: changing.Changes = .{ .writer = writer };
        for (0..root.constants.pools_max) |slot| {
            const pool = service.poolAt(slot) orelse continue;
            try changes.add(method.pool_add, &pool.encode());
            var records = service.flows.iterate(slot).?;
            while (records.next()) |record| {
                const one: flow_bodies.Put = .{ .pool_id = pool.pool_id, .ttl_ns = 0, .record = record.* };
                try changes.add(method.flow_put, &one.encode());
            }
        }
        var outcomes: [flow_bodies.outcomes_bytes]u8 = undefined;
        flow_bodies.encodeOutcomes(service.flows, &outcomes);
        try changes.add(change_outcomes, &outcomes);
        try changes.flush();
    }

    /// What a snapshot of all entries takes.
    fn liveBytes(service: *const Service) u64 {
        const per_bytes_key = bodies.value_bytes + 4;
        const per_digest = bodies.value_bytes + bodies.digest_bytes;
        const per_pool = 4 + change_head_bytes + flow_bodies.Pool.bytes;
        const per_record = 4 + change_head_bytes + flow_bodies.Put.bytes;
        const held = &service.tables.held;
        return held.digests * per_digest + held.byte_keys * per_bytes_key + held.key_bytes +
            service.pools * per_pool + service.records * per_record;
    }

    // What the server asks for.

    pub fn isReady(service: *const Service) bool {
        return service.journal.isReady();
    }

    /// When there is something to do without a request, by the monotonic clock.
    pub fn timerNs(service: *const Service) u64 {
        return service.sweep_ns;
    }

    /// Takes a bounded step in sweeping out what has expired, if it is time, and says when the next one is.
    fn sweep(service: *Service) void {
        const now_ns = sys.wallNs();
        var due_ns: u64 = flowing.never;
        for (0..root.constants.pools_max) |slot| due_ns = @min(due_ns, service.flows.dueNs(slot));
        const until_due = due_ns -| now_ns;
        const clock_ns = sys.monotonicNs();
        if (due_ns == flowing.never) {
            service.sweep_ns = flowing.never;
            return;
        }
        if (until_due > 0) {
            // The machine's clock may be set: it is looked at again.
            service.sweep_ns = clock_ns + @min(@max(until_due, sweep_pause_ns), sweep_look_ns);
            return;
        }
        if (service.sweep_ns != flowing.never and clock_ns < service.sweep_ns) return;
        service.sweep_ns = clock_ns + sweep_pause_ns;
        if (!service.journal.isReady()) return;
        service.journal.reserve(change_head_bytes + 8 + gone_bytes_max) catch {
            service.sweep_ns = clock_ns + sweep_look_ns;
            return;
        };
        for (0..root.constants.pools_max) |_| {
            service.swept = (service.swept + 1) % root.constants.pools_max;
            if (service.flows.dueNs(service.swept) <= now_ns) break;
        }
        const about = service.flows.poolAt(service.swept) orelse return;
        const gone_now = service.flows.sweep(service.swept, now_ns);
        service.records -= gone_now;
        if (gone_now > 0) service.wentFrom(about.id);
    }

    /// Between two steps, so that sweeping a full pool leaves the thread to requests; and the longest wait for a step.
    const sweep_pause_ns = std.time.ns_per_ms;
    const sweep_look_ns = 10 * std.time.ns_per_s;

    pub fn endTurn(service: *Service) void {
        service.sweep();
        service.journal.commit();
        if (!service.journal.wantsSnapshot(service.liveBytes())) return;
        // It says itself why it could not; the next turn tries again, so the log must grow first.
        _ = service.journal.startSnapshot(service, writeAll) catch |err| service.journal.postpone(err);
    }

    pub fn released(service: *Service, gate: connections.Gate) serving.Released {
        return switch (gate) {
            .durable => .{ .number = service.journal.durable },
            .snapshot => .{
                .number = service.journal.snapshots_ended,
                .failure = if (service.journal.snapshot_failed) failure(error.NoSnapshot) else null,
            },
        };
    }

    pub fn woken(service: *Service, _: sys.Fd) void {
        service.journal.progress();
    }

    pub fn isBroken(service: *const Service) bool {
        return service.journal.broken;
    }

    /// What an error is on the wire.
    fn failure(err: Error) connections.Failure {
        return switch (err) {
            error.BadBody => .{ .status = .bad_body, .text = "the body is not laid out as this method's; see docs/PROTOCOL.md" },
            error.BatchSize => .{ .status = .limit, .text = std.fmt.comptimePrint("a batch has 1 to {d} keys", .{bodies.batch_keys_max}) },
            error.KeyTooLong => .{ .status = .limit, .text = std.fmt.comptimePrint("a byte key has at most {d} bytes", .{root.constants.key_bytes_max}) },
            error.NoPool => .{ .status = .not_found, .text = "there is no such pool of what the method is about, values or records; pool 0 of values is always there" },
            error.PoolExists => .{ .status = .already_exists, .text = "there is such a pool; pool 0 is always there" },
            error.BadRecord => .{ .status = .invalid_argument, .text = "a priority is 0 to 7" },
            error.PoolFull => .{ .status = .limit, .text = "the pool is full; remove something, or make a pool of records that evicts" },
            error.PoolsFull => .{ .status = .limit, .text = "the pools would have more than ifrd's --pools-bytes-max" },
            error.NoMethod => .{ .status = .unsupported, .text = "the ifr service has no such method" },
            error.Limit => .{ .status = .limit, .text = "the table is full, there are too many pools, or a budget is under 1 MiB; remove some, or start ifrd with a larger --bytes-max" },
            error.OutOfMemory => .{ .status = .out_of_memory, .text = "no memory; try again later" },
            error.NoSpace => .{ .status = .quota, .text = "the disk is full; free some room" },
            error.Io => .{ .status = .io, .text = "the log cannot grow; see the log lines of ifrd" },
            error.NoSnapshot => .{ .status = .io, .text = "no snapshot could be written; see the log lines of ifrd" },
            error.FrameTooLarge => .{ .status = .frame_too_large, .text = "the answer is too long; ask for less at once" },
        };
    }
};
