//! Snapshot and checksummed log of one service: docs/JOURNAL.md. What was acknowledged is there after a kill at any byte.
//!
//! The thread that serves appends changes and asks for `commit` once per turn. One record and one fdatasync cover all
//! changes that came while the last one ran (group commit: DeWitt et al., SIGMOD 1984); a thread of the journal waits for
//! the disk. A snapshot is written by a copy of the process (fork), which sees the table as it was at that moment; the
//! changes since then are copied behind it from the log, so nobody waits for it but the last step, for which changes are
//! kept back a few disk writes long. Look-ups never wait.
//!
//! All functions are for the serving thread.

const std = @import("std");
const files = @import("journal/files.zig");
const format = @import("journal/format.zig");
const sys = @import("ipc/sys.zig");
const Log = @import("ipc/log.zig").Log;
const snapshots = @import("journal/snapshot.zig");

pub const payload_bytes_max = format.payload_bytes_max;
pub const SnapshotWriter = snapshots.Writer;
pub const Error = files.Error;

pub const Durability = enum {
    /// A change is durable once the disk has it.
    sync,
    /// As soon as the kernel has it: a crash of the machine, not one of the process, may lose the newest.
    none,
};

pub const Options = struct {
    service: u8,
    durability: Durability,
    log: Log,
    /// A log is at least so long before a snapshot replaces it.
    compact_bytes_min: u64 = 16 << 20,
};

pub const Journal = struct {
    gpa: std.mem.Allocator,
    options: Options,
    files: files.Files,
    /// Payload of the next record.
    pending: std.ArrayList(u8) = .empty,
    /// Where it is cut, when one record does not hold it.
    cuts: std.ArrayList(usize) = .empty,
    /// Number of the last change that was appended.
    appended: u64 = 0,
    /// Of the last one that is durable.
    durable: u64 = 0,
    /// The file can grow to this length without asking the disk for more.
    reserved_bytes: u64 = 0,
    can_reserve: bool = true,
    syncs: u64 = 0,
    syncer: Syncer,
    /// Of the sync under way.
    syncing: ?u64 = null,
    snapshot: ?*snapshots.Snapshot = null,
    /// Snapshots that ended, well or not, and whether the last one did well.
    snapshots_ended: u64 = 0,
    snapshot_failed: bool = false,
    /// The log is this long before the next try, after one that failed.
    compact_after_bytes: u64 = 0,
    /// The disk failed in a way that leaves nothing certain.
    broken: bool = false,

    /// Opens the directory and replays it: `context.replay(payload) !void`, with `BadPayload` for one that makes no sense.
    /// The journal must not move afterwards.
    pub fn open(journal: *Journal, gpa: std.mem.Allocator, path: []const u8, options: Options, context: anytype) !void {
        journal.* = .{
            .gpa = gpa,
            .options = options,
            .files = try files.Files.open(gpa, path, options.service, options.log, context),
            .syncer = undefined,
        };
        errdefer journal.files.close();
        journal.reserved_bytes = journal.files.log_bytes;
        try journal.syncer.start();
    }

    /// Makes everything durable, waits for a snapshot under way, and closes.
    pub fn close(journal: *Journal) void {
        while (!journal.broken and (journal.pending.items.len > 0 or journal.syncing != null or journal.snapshot != null)) {
            journal.commit();
            if (journal.syncing == null and journal.snapshot == null) continue;
            _ = sys.poll(journal.bell(), .{ .read = true }, null) catch {};
            journal.progress();
        }
        // A broken disk may never answer: the threads end with the process.
        if (journal.broken) return;
        journal.syncer.stop();
        journal.files.close();
        journal.pending.deinit(journal.gpa);
        journal.cuts.deinit(journal.gpa);
        journal.* = undefined;
    }

    /// Readable when `progress` has something to do.
    pub fn bell(journal: *const Journal) sys.Fd {
        return journal.syncer.bell;
    }

    /// Whether another change is taken now. It bounds what waits for the disk.
    pub fn isReady(journal: *const Journal) bool {
        return journal.pending.items.len < pending_bytes_max;
    }

    /// Makes sure that memory and disk have room for a change of so many bytes. Before the change is made: after it, nothing
    /// but the end of the program could follow.
    pub fn reserve(journal: *Journal, bytes: usize) error{ NoSpace, Io, OutOfMemory }!void {
        try journal.pending.ensureUnusedCapacity(journal.gpa, bytes + 4);
        try journal.cuts.ensureUnusedCapacity(journal.gpa, 1);
        if (!journal.can_reserve) return;
        const wanted = journal.files.log_bytes + journal.pending.items.len + bytes + record_overhead_max;
        if (wanted <= journal.reserved_bytes) return;
        const least = wanted - journal.reserved_bytes;
        for ([_]u64{ @max(reserve_step_bytes, least), least }) |step| {
            if (sys.reserve(journal.files.log_fd, journal.reserved_bytes, step)) {
                journal.reserved_bytes += step;
                return;
            } else |err| switch (err) {
                // Perhaps there is room for less.
                error.NoSpace => {},
                // Not every file system can; a full disk then ends the program.
                error.Unsupported => {
                    journal.can_reserve = false;
                    return;
                },
                else => return error.Io,
            }
        }
        return error.NoSpace;
    }

    /// Appends one change, in parts that `reserve` made room for, and answers its number.
    pub fn append(journal: *Journal, parts: []const []const u8) u64 {
        var length: usize = 0;
        for (parts) |part| length += part.len;
        std.debug.assert(length + 4 <= payload_bytes_max);
        const last_cut = if (journal.cuts.items.len == 0) 0 else journal.cuts.items[journal.cuts.items.len - 1];
        if (journal.pending.items.len - last_cut + 4 + length > payload_bytes_max) {
            journal.cuts.appendAssumeCapacity(journal.pending.items.len);
        }
        std.mem.writeInt(u32, journal.pending.addManyAsArrayAssumeCapacity(4), @intCast(length), .little);
        for (parts) |part| journal.pending.appendSliceAssumeCapacity(part);
        journal.appended += 1;
        return journal.appended;
    }

    /// Writes what was appended and has the disk take it, unless that is under way already.
    pub fn commit(journal: *Journal) void {
        if (journal.pending.items.len == 0 or journal.syncing != null or journal.broken) return;
        if (journal.snapshot) |snapshot| if (!snapshot.allowsWrites()) return;
        journal.write() catch |err| return journal.breakDown("the log cannot be written", err);
        if (journal.options.durability == .none) {
            journal.durable = journal.appended;
            return;
        }
        journal.syncing = journal.appended;
        journal.syncer.sync(journal.files.log_fd);
    }

    fn write(journal: *Journal) sys.Error!void {
        var from: usize = 0;
        for (0..journal.cuts.items.len + 1) |index| {
            const to = if (index < journal.cuts.items.len) journal.cuts.items[index] else journal.pending.items.len;
            const payload = journal.pending.items[from..to];
            const head = format.recordHead(payload);
            try sys.writeParts(journal.files.log_fd, &head, payload);
            journal.files.log_bytes += head.len + payload.len;
            from = to;
        }
        journal.cuts.clearRetainingCapacity();
        if (journal.pending.capacity > pending_kept_bytes) {
            journal.pending.clearAndFree(journal.gpa);
        } else journal.pending.clearRetainingCapacity();
        if (journal.snapshot) |snapshot| snapshot.logGrew(journal.files.log_bytes);
    }

    /// Takes what the journal's threads have done.
    pub fn progress(journal: *Journal) void {
        sys.clearRing(journal.bell());
        if (journal.syncing) |number| if (journal.syncer.result()) |synced| {
            journal.syncing = null;
            // After an error nobody knows what the disk has (Rebello et al., "Can Applications Recover from fsync
            // Failures?", ATC 2020).
            synced catch |err| return journal.breakDown("the log cannot be made durable", err);
            journal.durable = number;
            journal.syncs += 1;
        };
        const snapshot = journal.snapshot orelse return;
        switch (snapshot.state()) {
            .writing, .finishing => {},
            // The last step needs a log that stands still.
            .waiting => if (journal.syncing == null) snapshot.finish(journal.files.log_bytes),
            .done => {
                const begun = snapshot.begun;
                const fork_us = snapshot.fork_ns / std.time.ns_per_us;
                sys.close(journal.files.log_fd);
                journal.files.log_fd = begun.log_fd;
                journal.files.generation += 1;
                journal.files.log_bytes = format.header_bytes;
                journal.files.snapshot_bytes = begun.snapshot_bytes;
                journal.reserved_bytes = format.header_bytes;
                journal.compact_after_bytes = 0;
                journal.endSnapshot(snapshot, false);
                journal.options.log.info("snapshot written", .{ .generation = journal.files.generation, .bytes = begun.snapshot_bytes, .fork_us = fork_us });
            },
            .failed => {
                journal.options.log.warn("no snapshot could be written; the log grows on", .{ .reason = snapshot.reason });
                journal.compact_after_bytes = 2 * journal.files.log_bytes;
                const is_fatal = snapshot.is_fatal;
                journal.endSnapshot(snapshot, true);
                if (is_fatal) journal.breakDown("no log could be begun behind the new snapshot", error.Io);
            },
        }
    }

    fn endSnapshot(journal: *Journal, snapshot: *snapshots.Snapshot, failed: bool) void {
        snapshot.end(journal.gpa);
        journal.snapshot = null;
        journal.snapshots_ended += 1;
        journal.snapshot_failed = failed;
    }

    /// Whether the log is long beside what is alive, so that a snapshot pays.
    pub fn wantsSnapshot(journal: *const Journal, live_bytes: u64) bool {
        const enough = @max(4 * live_bytes, journal.options.compact_bytes_min, journal.compact_after_bytes);
        return journal.snapshot == null and !journal.broken and journal.files.log_bytes > enough;
    }

    /// Begins a snapshot, unless one is under way: `write(context, *SnapshotWriter)` runs in a copy of the process and hands
    /// it the payloads. Answers the number that `snapshots_ended` has when it is on disk.
    pub fn startSnapshot(
        journal: *Journal,
        context: anytype,
        comptime writeAll: fn (@TypeOf(context), *SnapshotWriter) sys.Error!void,
    ) Error!u64 {
        if (journal.snapshot != null) return journal.snapshots_ended + 1;
        // What is pending is in the table already: the copy has it, and the log will say it again, which changes nothing.
        journal.snapshot = try snapshots.Snapshot.start(journal.gpa, .{
            .directory = journal.files.directory,
            .log_bytes = journal.files.log_bytes,
            .service = journal.options.service,
            .generation = journal.files.generation + 1,
            .bell = journal.bell(),
        }, context, writeAll);
        return journal.snapshots_ended + 1;
    }

    /// A snapshot could not be begun: not again before the log is twice as long.
    pub fn postpone(journal: *Journal, err: anyerror) void {
        journal.options.log.warn("no snapshot can be begun; the log grows on", .{ .@"error" = @errorName(err), .system = sys.lastName() });
        journal.compact_after_bytes = 2 * journal.files.log_bytes;
    }

    fn breakDown(journal: *Journal, message: []const u8, err: anyerror) void {
        journal.options.log.err(message, .{ .@"error" = @errorName(err), .system = sys.lastName() });
        journal.broken = true;
    }
};

/// Waits for the disk in a thread of its own.
const Syncer = struct {
    thread: std.Thread,
    /// Rung for the serving thread.
    bell: sys.Fd,
    /// Rung for this one.
    work: sys.Fd,
    fd: std.atomic.Value(sys.Fd) = .init(idle),
    outcome: std.atomic.Value(Outcome) = .init(.none),

    const Outcome = enum(u8) { none, synced, failed };
    const idle: sys.Fd = -1;
    const ending: sys.Fd = -2;

    fn start(syncer: *Syncer) Error!void {
        const bell = try sys.eventFd(.{ .blocking = false });
        errdefer sys.close(bell);
        const work = try sys.eventFd(.{ .blocking = true });
        errdefer sys.close(work);
        syncer.* = .{ .bell = bell, .work = work, .thread = undefined };
        syncer.thread = std.Thread.spawn(.{ .stack_size = thread_stack_bytes }, run, .{syncer}) catch return error.Exhausted;
    }

    fn stop(syncer: *Syncer) void {
        syncer.fd.store(ending, .release);
        sys.ring(syncer.work);
        syncer.thread.join();
        sys.close(syncer.work);
        sys.close(syncer.bell);
    }

    fn sync(syncer: *Syncer, fd: sys.Fd) void {
        syncer.fd.store(fd, .release);
        sys.ring(syncer.work);
    }

    fn result(syncer: *Syncer) ?sys.Error!void {
        return switch (syncer.outcome.swap(.none, .acq_rel)) {
            .none => null,
            .synced => {},
            .failed => error.Io,
        };
    }

    fn run(syncer: *Syncer) void {
        while (true) {
            sys.clearRing(syncer.work);
            switch (syncer.fd.swap(idle, .acq_rel)) {
                idle => continue,
                ending => return,
                else => |fd| {
                    const outcome: Outcome = if (sys.syncData(fd)) .synced else |_| .failed;
                    syncer.outcome.store(outcome, .release);
                    sys.ring(syncer.bell);
                },
            }
        }
    }
};

/// Bytes that may wait for the disk before no more changes are taken.
const pending_bytes_max = 4 << 20;
const pending_kept_bytes = 1 << 20;
const reserve_step_bytes = 1 << 20;
/// Heads of records and of the change, with room to spare.
const record_overhead_max = 256;
/// Reserved, not used: whoever links large thread-local data needs room for it.
const thread_stack_bytes = 1 << 20;
