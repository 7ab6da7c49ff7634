//! Changes on their way into a snapshot of the ifr service, many in one record of the journal.

const std = @import("std");
const bodies = @import("body.zig");
const journaling = @import("journal.zig");
const protocol = @import("gen/protocol.zig");
const root = @import("root.zig");
const sys = @import("ipc/sys.zig");

const method = protocol.method.ifr;

/// Bytes before the body of a change: its method and two zeros.
pub const head_bytes = 4;

/// Entries on their way into a snapshot, as changes of put_many.
pub const Batch = struct {
    writer: *journaling.SnapshotWriter,
    pool_id: u32 = 0,
    kind: bodies.KeyKind,
    count: u32 = 0,
    filled: usize = lead_bytes,

    const lead_bytes = 4 + head_bytes + bodies.batch_head_bytes;

    pub fn add(batch: *Batch, value: *const root.Value, key: []const u8) sys.Error!void {
        const entry_bytes = value.len + 4 + key.len;
        if (batch.count == bodies.batch_keys_max or batch.writer.room.len - batch.filled < entry_bytes) try batch.flush();
        batch.put(value);
        if (batch.kind == .bytes) {
            var length: [4]u8 = undefined;
            std.mem.writeInt(u32, &length, @intCast(key.len), .little);
            batch.put(&length);
        }
        batch.put(key);
        batch.count += 1;
    }

    fn put(batch: *Batch, bytes: []const u8) void {
        @memcpy(batch.writer.room[batch.filled..][0..bytes.len], bytes);
        batch.filled += bytes.len;
    }

    pub fn flush(batch: *Batch) sys.Error!void {
        if (batch.count == 0) return;
        const room = batch.writer.room;
        std.mem.writeInt(u32, room[0..4], @intCast(batch.filled - 4), .little);
        @memset(room[4..8], 0);
        std.mem.writeInt(u16, room[4..6], method.put_many, .little);
        bodies.writeBatchHead(room[8..][0..bodies.batch_head_bytes], batch.pool_id, batch.kind, batch.count);
        try batch.writer.record(room[0..batch.filled]);
        batch.count = 0;
        batch.filled = lead_bytes;
    }
};

/// Changes on their way into a snapshot, many in one record.
pub const Changes = struct {
    writer: *journaling.SnapshotWriter,
    filled: usize = 0,

    const lead_bytes = 4 + head_bytes;

    pub fn add(changes: *Changes, number: u16, body: []const u8) sys.Error!void {
        if (changes.writer.room.len - changes.filled < lead_bytes + body.len) try changes.flush();
        const room = changes.writer.room[changes.filled..];
        std.mem.writeInt(u32, room[0..4], @intCast(head_bytes + body.len), .little);
        std.mem.writeInt(u16, room[4..6], number, .little);
        @memset(room[6..8], 0);
        @memcpy(room[lead_bytes..][0..body.len], body);
        changes.filled += lead_bytes + body.len;
    }

    pub fn flush(changes: *Changes) sys.Error!void {
        if (changes.filled == 0) return;
        try changes.writer.record(changes.writer.room[0..changes.filled]);
        changes.filled = 0;
    }
};
