//! Records of flows in pools: who has seen this key, how large it was, how long that holds, and where to ask next.
//!
//! A pool is a table of its own with a budget of its own. One that evicts never refuses a record for want of
//! space: it keeps a generalised clock (Corbató's, with counts; Smith 1978) over its entries. A record
//! starts with its priority as heat and gains by being read; the hand takes one from each entry that
//! it passes and evicts the first that is expired or has none. Time is an argument, in nanoseconds.
//!
//! `get` and `route` may run beside one thread that changes things, except for making and dropping pools.

const std = @import("std");
const assert = std.debug.assert;
const budgeting = @import("budget.zig");
const constants = @import("constants.zig");
const entries = @import("entry.zig");
const tables = @import("table.zig");
const Seeds = @import("hash.zig").Seeds;

const Digest = entries.Digest;

pub const priority_max: u8 = 7;
/// What a read adds to the priority.
const heat_of_a_read: u8 = 2;

/// What is known of a key. C: struct mfn_ifr_flow.
pub const FlowRecord = extern struct {
    key: Digest align(16),
    /// Bytes of what the key stands for.
    size: u64,
    created_ns: u64,
    updated_ns: u64,
    /// 0: never.
    expires_ns: u64,
    /// The caller's: where it lies, whom it belongs to.
    reference: u64,
    component: u16,
    kind: u16,
    /// 0 to 7; the higher, the longer it stays.
    priority: u8,
    /// Zero outside; how warm it is inside of a pool.
    heat: u8 = 0,
    reserved: [2]u8 = .{ 0, 0 },

    pub const Query = *const Digest;
    pub const Answer = FlowRecord;

    comptime {
        assert(@sizeOf(FlowRecord) == 80);
        assert(@offsetOf(FlowRecord, "size") == 32);
        assert(@offsetOf(FlowRecord, "reference") == 64);
        assert(@offsetOf(FlowRecord, "component") == 72);
        assert(@offsetOf(FlowRecord, "priority") == 76);
    }

    pub inline fn hashStored(record: *const FlowRecord, seeds: *const Seeds) u64 {
        return seeds.digest(&record.key);
    }

    pub inline fn matches(record: *const FlowRecord, query: Query, _: u64) bool {
        return entries.keyEquals(&record.key, query);
    }

    pub inline fn answer(record: *const FlowRecord) FlowRecord {
        @setRuntimeSafety(false);
        var words: [10]u64 = undefined;
        const from: *const [10]u64 = @ptrCast(record);
        inline for (&words, from) |*word, *each| word.* = @atomicLoad(u64, each, .monotonic);
        return @bitCast(words);
    }

    /// A hint: a reader that the writer overtook may warm another entry, which is as harmless.
    pub inline fn touch(record: *FlowRecord) void {
        @setRuntimeSafety(false);
        const wanted = (@atomicLoad(u8, &record.priority, .monotonic) & priority_max) + heat_of_a_read;
        if (@atomicLoad(u8, &record.heat, .monotonic) >= wanted) return;
        @atomicStore(u8, &record.heat, wanted, .monotonic);
    }

    pub fn isExpired(record: *const FlowRecord, now_ns: u64) bool {
        return record.expires_ns != 0 and record.expires_ns <= now_ns;
    }
};

/// A time that does not come.
pub const never = std.math.maxInt(u64);

/// Layers behind this one.
pub const Layer = enum(u32) { none = 0, similarity = 2, association = 3, prediction = 4 };

pub const Outcome = enum(u32) {
    /// The record of this key in this pool.
    found_exact = 0,
    /// A record of this key, but expired, or in another pool.
    found_partial = 1,
    /// Not here; ask the next layer.
    route_to_layers = 2,
};

/// C: struct mfn_ifr_decision.
pub const RoutingDecision = extern struct {
    outcome: u32,
    /// Where to ask next; none for an exact find.
    next_layer: u32,
    /// 0 to 1. Exact: 1. Partial: 1 for a live record; for an expired one, the share that its life has of the time since it
    /// began. Route: how often the next layer had an answer for this kind of key.
    confidence: f32,
    reserved: u32 = 0,
    /// All zero when there is none.
    record: FlowRecord,

    comptime {
        assert(@sizeOf(RoutingDecision) == 96);
    }
};

pub const PoolOptions = struct {
    /// At least `constants.pool_bytes_min`.
    bytes_max: u64,
    /// Makes room by eviction; else a record that does not fit is refused.
    evicts: bool,
};

pub const Error = budgeting.Error || error{ NoPool, PoolExists, BadRecord };

pub const PoolStats = struct { records: u64, bytes: u64, bytes_max: u64, evictions: u64, expirations: u64 };

const Pool = struct {
    id: u32,
    evicts: bool,
    budget: budgeting.Budget,
    table: Table,
    /// Evicting keeps to so many, so that the table fits the budget however it is just split.
    records_max: u64,
    hand: Hand = .{},
    /// No record is due before that; a record is due when it may be swept out.
    due_ns: u64 = never,
    sweep: Sweep = .{},
    evictions: u64 = 0,
    expirations: u64 = 0,

    const Table = tables.Table(FlowRecord);
    const Hand = struct { index: usize = 0, number: u32 = 0 };
    /// Where a sweep over all records is, as a hash, since segments split under it; and when the first of those that it left
    /// is due.
    const Sweep = struct { hash: u64 = 0, due_ns: u64 = never };

    /// When a record may be swept out. A pool that evicts makes room when it must, so it keeps what has expired as a hint for
    /// as long as it lived: its confidence is a half by then. What a pool that refuses keeps is refused to others.
    fn dueOf(pool: *const Pool, record: *const FlowRecord) u64 {
        if (record.expires_ns == 0) return never;
        return if (pool.evicts) record.expires_ns +| (record.expires_ns -| record.updated_ns) else record.expires_ns;
    }

    fn note(pool: *Pool, record: *const FlowRecord) void {
        const due_ns = pool.dueOf(record);
        pool.due_ns = @min(pool.due_ns, due_ns);
        pool.sweep.due_ns = @min(pool.sweep.due_ns, due_ns);
    }

    /// Sweeps one segment, or as much of it as `gone` has room for.
    fn sweepSegment(pool: *Pool, flows: *Flows, now_ns: u64) void {
        var number: u32 = 0;
        while (true) {
            const directory = pool.table.newest.raw;
            const window = directory.windows[directory.indexOf(pool.sweep.hash)];
            if (number >= window.live) break;
            const record = Table.Segment.at(window, number);
            const due_ns = pool.dueOf(record);
            if (due_ns > now_ns) {
                pool.sweep.due_ns = @min(pool.sweep.due_ns, due_ns);
                number += 1;
                continue;
            }
            // The same segment again, next time.
            if (flows.gone_count == Flows.gone_max) return;
            // The last record of the segment comes to this place.
            pool.take(flows, record, now_ns);
        }
        const directory = pool.table.newest.raw;
        const index = directory.indexOf(pool.sweep.hash);
        const span = directory.spanOf(directory.windows[index].depth);
        const next = std.mem.alignBackward(usize, index, span) + span;
        if (next < directory.windows.len) {
            // The directory goes by the first bits, and has two places at least, since there is a next one.
            const bits: u32 = std.math.log2_int(usize, directory.windows.len);
            pool.sweep.hash = @as(u64, next) << @intCast(64 - bits);
            return;
        }
        pool.due_ns = pool.sweep.due_ns;
        pool.sweep = .{};
    }

    /// The next entry in the order of the hash, from the end on to the beginning.
    fn advance(pool: *Pool) ?*FlowRecord {
        const directory = pool.table.newest.raw;
        for (0..directory.windows.len + 1) |_| {
            if (pool.hand.index >= directory.windows.len) pool.hand = .{};
            const window = directory.windows[pool.hand.index];
            if (pool.hand.number < window.live) {
                pool.hand.number += 1;
                return Table.Segment.at(window, pool.hand.number - 1);
            }
            pool.hand = .{ .index = pool.hand.index + directory.spanOf(window.depth), .number = 0 };
        }
        return null;
    }

    /// Evicts one record, after a look at a bounded number. False: there is none.
    fn evict(pool: *Pool, flows: *Flows, now_ns: u64) bool {
        var coldest: ?*FlowRecord = null;
        for (0..constants.eviction_looks_max) |_| {
            const record = pool.advance() orelse return false;
            const heat = @atomicLoad(u8, &record.heat, .monotonic);
            if (record.isExpired(now_ns) or heat == 0) {
                coldest = record;
                break;
            }
            @atomicStore(u8, &record.heat, heat - 1, .monotonic);
            if (coldest == null or heat - 1 < coldest.?.heat) coldest = record;
        }
        pool.take(flows, coldest orelse return false, now_ns);
        return true;
    }

    fn take(pool: *Pool, flows: *Flows, record: *const FlowRecord, now_ns: u64) void {
        const seeds = &flows.seeds;
        const key = record.key;
        if (flows.gone_count < Flows.gone_max) {
            flows.gone[flows.gone_count] = key;
            flows.gone_count += 1;
        }
        if (record.isExpired(now_ns)) pool.expirations += 1 else pool.evictions += 1;
        const gone = pool.table.remove(&pool.budget, seeds, seeds.digest(&key), &key);
        assert(gone != null);
    }

    /// Evicts one of the records that share a segment with a hash: its page has room then.
    fn evictNear(pool: *Pool, flows: *Flows, hash: u64, now_ns: u64) bool {
        const window = pool.table.newest.raw.windows[pool.table.newest.raw.indexOf(hash)];
        if (window.live == 0) return false;
        // From a place that the hash chooses: the first ones are the oldest.
        const start = (hash >> 20) % window.live;
        var coldest = Table.Segment.at(window, @intCast(start));
        for (0..@min(window.live, constants.eviction_looks_max)) |step| {
            const record = Table.Segment.at(window, @intCast((start + step) % window.live));
            if (record.isExpired(now_ns)) {
                coldest = record;
                break;
            }
            if (record.heat < coldest.heat) coldest = record;
        }
        pool.take(flows, coldest, now_ns);
        return true;
    }
};

pub const Flows = struct {
    gpa: std.mem.Allocator,
    seeds: Seeds,
    pools: [constants.pools_max]?*Pool = @splat(null),
    /// Answers and questions by kind and layer.
    outcomes: [constants.kinds_learned][3]Tally = @splat(@splat(.{})),
    /// Keys that the last `put` evicted, or `expire` took out, but for what came after `gone_max`.
    gone: [gone_max]Digest = undefined,
    gone_count: usize = 0,

    /// What one `put` evicts at most, and as many looks of one `expire` have room.
    pub const gone_max = constants.eviction_tries_max + 1;

    pub const Tally = struct { found: u32 = 0, asked: u32 = 0 };

    pub fn init(gpa: std.mem.Allocator, hash_key: *const [constants.hash_key_bytes]u8) Flows {
        return .{ .gpa = gpa, .seeds = .init(hash_key) };
    }

    pub fn deinit(flows: *Flows) void {
        for (flows.pools) |each| if (each) |pool| flows.free(pool);
        flows.* = undefined;
    }

    fn free(flows: *Flows, pool: *Pool) void {
        pool.table.deinit(&pool.budget);
        assert(pool.budget.bytes == @sizeOf(Pool));
        flows.gpa.destroy(pool);
    }

    /// Makes a pool. error.Limit: the budget is too small, or there are as many pools as may be.
    pub fn addPool(flows: *Flows, id: u32, options: PoolOptions) Error!void {
        if (flows.find(id) != null) return error.PoolExists;
        if (options.bytes_max < constants.pool_bytes_min) return error.Limit;
        const slot = for (&flows.pools) |*each| {
            if (each.* == null) break each;
        } else return error.Limit;
        const pool = try flows.gpa.create(Pool);
        errdefer flows.gpa.destroy(pool);
        var budget: budgeting.Budget = .{ .gpa = flows.gpa, .bytes_max = options.bytes_max, .bytes = @sizeOf(Pool) };
        const table = try Pool.Table.init(&budget);
        pool.* = .{
            .id = id,
            .evicts = options.evicts,
            .budget = budget,
            .table = table,
            .records_max = (options.bytes_max - constants.pool_bytes_min / 2) / constants.flow_bytes_most,
        };
        slot.* = pool;
    }

    pub fn dropPool(flows: *Flows, id: u32) Error!void {
        for (&flows.pools) |*each| {
            const pool = each.* orelse continue;
            if (pool.id != id) continue;
            each.* = null;
            return flows.free(pool);
        }
        return error.NoPool;
    }

    fn find(flows: *const Flows, id: u32) ?*Pool {
        for (flows.pools) |each| if (each) |pool| {
            if (pool.id == id) return pool;
        };
        return null;
    }

    /// Sets a record and gives the one that it replaced. On an error nothing changed, but that an evicting
    /// pool may have evicted.
    pub fn put(flows: *Flows, pool_id: u32, record: *const FlowRecord, now_ns: u64) Error!?FlowRecord {
        if (record.priority > priority_max) return error.BadRecord;
        if (record.heat != 0 or record.reserved[0] != 0 or record.reserved[1] != 0) return error.BadRecord;
        const pool = flows.find(pool_id) orelse return error.NoPool;
        const hash = flows.seeds.digest(&record.key);
        flows.gone_count = 0;
        var new = record.*;
        if (pool.table.get(hash, &record.key)) |entry| {
            var old = entry.*;
            new.heat = @max(old.heat, record.priority);
            pool.table.replace(hash, entry, &new);
            pool.note(&new);
            old.heat = 0;
            return old;
        }
        new.heat = record.priority;
        if (pool.evicts and pool.table.live.raw >= pool.records_max) _ = pool.evict(flows, now_ns);
        for (0..constants.eviction_tries_max) |_| {
            if (pool.table.add(&pool.budget, &flows.seeds, hash, &new)) |_| {
                pool.note(&new);
                return null;
            } else |err| switch (err) {
                error.Limit => if (!pool.evicts) return err,
                error.OutOfMemory => return err,
            }
            // A page more for this segment does not fit: one of its records goes, or any.
            if (!pool.evictNear(flows, hash, now_ns) and !pool.evict(flows, now_ns)) break;
        }
        return error.Limit;
    }

    /// The live record of a key. Warms it.
    pub fn get(flows: *const Flows, pool_id: u32, key: *const Digest, now_ns: u64) ?FlowRecord {
        const pool = flows.find(pool_id) orelse return null;
        const record = flows.peek(pool, key) orelse return null;
        return if (record.isExpired(now_ns)) null else record;
    }

    fn peek(flows: *const Flows, pool: *Pool, key: *const Digest) ?FlowRecord {
        const hash = flows.seeds.digest(key);
        var record = pool.table.read(hash, key) orelse return null;
        pool.table.touch(hash, key);
        record.heat = 0;
        return record;
    }

    pub fn remove(flows: *Flows, pool_id: u32, key: *const Digest) ?FlowRecord {
        const pool = flows.find(pool_id) orelse return null;
        var record = pool.table.remove(&pool.budget, &flows.seeds, flows.seeds.digest(key), key) orelse return null;
        record.heat = 0;
        return record;
    }

    /// Removes what has expired among the next so many records; gives how many went.
    pub fn expire(flows: *Flows, pool_id: u32, now_ns: u64, looks: u64) Error!u64 {
        const pool = flows.find(pool_id) orelse return error.NoPool;
        const before = pool.expirations;
        flows.gone_count = 0;
        for (0..@min(looks, pool.table.live.raw)) |_| {
            const record = pool.advance() orelse break;
            if (!record.isExpired(now_ns)) continue;
            // The last record of the segment comes to this place: the hand looks here again.
            pool.hand.number -= 1;
            pool.take(flows, record, now_ns);
        }
        return pool.expirations - before;
    }

    /// When the first record of the pool of a slot may be swept out, or before; `never` without any.
    pub fn dueNs(flows: *const Flows, slot: usize) u64 {
        return (flows.pools[slot] orelse return never).due_ns;
    }

    /// Takes a step of the sweep over the pool of a slot, if one is due: one segment, and at most `gone_max` records. Gives
    /// how many went; they are in `gone`.
    pub fn sweep(flows: *Flows, slot: usize, now_ns: u64) u64 {
        flows.gone_count = 0;
        const pool = flows.pools[slot] orelse return 0;
        if (pool.due_ns > now_ns) return 0;
        pool.sweepSegment(flows, now_ns);
        return flows.gone_count;
    }

    /// Whether a pool has as many records as fit however its table is split; a refusing pool may take a few more.
    pub fn isFull(flows: *const Flows, pool_id: u32) bool {
        const pool = flows.find(pool_id) orelse return false;
        return pool.table.live.raw >= pool.records_max;
    }

    pub fn refuses(flows: *const Flows, pool_id: u32) bool {
        const pool = flows.find(pool_id) orelse return false;
        return !pool.evicts;
    }

    /// The record of a key, expired or not, and no warmer for it. For the writer.
    pub fn look(flows: *const Flows, pool_id: u32, key: *const Digest) ?FlowRecord {
        const pool = flows.find(pool_id) orelse return null;
        var record = (pool.table.get(flows.seeds.digest(key), key) orelse return null).*;
        record.heat = 0;
        return record;
    }

    pub const PoolAbout = struct { id: u32, bytes_max: u64, evicts: bool };

    /// The pool of a slot below `constants.pools_max`, if there is one.
    pub fn poolAt(flows: *const Flows, slot: usize) ?PoolAbout {
        const pool = flows.pools[slot] orelse return null;
        return .{ .id = pool.id, .bytes_max = pool.budget.bytes_max, .evicts = pool.evicts };
    }

    /// All records of the pool of a slot, their heat in them. Nothing changes meanwhile.
    pub fn iterate(flows: *const Flows, slot: usize) ?Pool.Table.Iterator {
        return (flows.pools[slot] orelse return null).table.iterate();
    }

    pub fn stats(flows: *const Flows, pool_id: u32) Error!PoolStats {
        const pool = flows.find(pool_id) orelse return error.NoPool;
        return .{
            .records = pool.table.live.raw,
            .bytes = pool.budget.bytes,
            .bytes_max = pool.budget.bytes_max,
            .evictions = pool.evictions,
            .expirations = pool.expirations,
        };
    }

    /// What to do about a key of some kind: use the record that is here, or ask elsewhere.
    pub fn route(flows: *const Flows, pool_id: u32, key: *const Digest, kind: u16, now_ns: u64) RoutingDecision {
        const next = flows.bestLayer(kind);
        var partial: ?FlowRecord = null;
        if (flows.find(pool_id)) |pool| if (flows.peek(pool, key)) |record| {
            if (!record.isExpired(now_ns)) return decide(.found_exact, .none, 1, record);
            partial = record;
        };
        for (flows.pools) |each| {
            const pool = each orelse continue;
            if (pool.id == pool_id) continue;
            const record = flows.peek(pool, key) orelse continue;
            if (!record.isExpired(now_ns)) return decide(.found_partial, next.layer, 1, record);
            if (partial == null or record.expires_ns > partial.?.expires_ns) partial = record;
        }
        if (partial) |record| return decide(.found_partial, next.layer, freshness(&record, now_ns), record);
        return decide(.route_to_layers, next.layer, next.share, std.mem.zeroes(FlowRecord));
    }

    fn decide(outcome: Outcome, layer: Layer, confidence: f32, record: FlowRecord) RoutingDecision {
        return .{
            .outcome = @intFromEnum(outcome),
            .next_layer = @intFromEnum(layer),
            .confidence = confidence,
            .record = record,
        };
    }

    fn freshness(record: *const FlowRecord, now_ns: u64) f32 {
        const life: f64 = @floatFromInt(record.expires_ns -| record.updated_ns);
        const past: f64 = @floatFromInt(now_ns -| record.expires_ns);
        return if (life + past == 0) 0 else @floatCast(life / (life + past));
    }

    /// Tells how a layer fared that was asked for a key of some kind.
    pub fn learn(flows: *Flows, kind: u16, layer: Layer, found: bool) void {
        if (layer == .none) return;
        const tally = &flows.outcomes[kind % constants.kinds_learned][@intFromEnum(layer) - 2];
        var asked = tally.asked + 1;
        var hits = tally.found + @intFromBool(found);
        if (asked >= constants.outcomes_remembered) {
            // The past fades by half.
            asked /= 2;
            hits /= 2;
        }
        @atomicStore(u32, &tally.asked, asked, .monotonic);
        @atomicStore(u32, &tally.found, hits, .monotonic);
    }

    /// The layer that answered most often, by Laplace's rule; the earlier one among equals, as it is cheaper.
    fn bestLayer(flows: *const Flows, kind: u16) struct { layer: Layer, share: f32 } {
        var best: Layer = .none;
        var most: f32 = -1;
        for (&flows.outcomes[kind % constants.kinds_learned], 2..) |*tally, number| {
            const asked: f32 = @floatFromInt(@atomicLoad(u32, &tally.asked, .monotonic));
            const found: f32 = @floatFromInt(@atomicLoad(u32, &tally.found, .monotonic));
            // The two counts may be of different moments.
            const share = @min(1, (found + 1) / (asked + 2));
            if (share <= most) continue;
            most = share;
            best = @enumFromInt(number);
        }
        return .{ .layer = best, .share = most };
    }

    pub fn abandon(flows: *Flows) void {
        for (flows.pools) |each| if (each) |pool| pool.table.abandon();
    }
};
