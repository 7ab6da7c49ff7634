//! One snapshot on its way to disk: a copy of the process writes the table, a thread waits for it, adds what the log got
//! meanwhile, and puts both files in their places.

const std = @import("std");
const linux = std.os.linux;
const files = @import("files.zig");
const format = @import("format.zig");
const sys = @import("../ipc/sys.zig");

/// Where the copy of the process writes.
pub const Writer = struct {
    fd: sys.Fd,
    /// Room for payloads, made before the copy: none is made in it.
    room: []u8,

    pub fn record(writer: *Writer, payload: []const u8) sys.Error!void {
        try sys.writeParts(writer.fd, &format.recordHead(payload), payload);
    }
};

pub const Snapshot = struct {
    about: About,
    child: linux.pid_t,
    fd: sys.Fd,
    room: []u8,
    thread: std.Thread,
    /// How long everybody waited for the copy.
    fork_ns: u64,
    /// How long the log is now.
    log_bytes: std.atomic.Value(u64),
    step: std.atomic.Value(State) = .init(.writing),
    /// Rung when the last step may be taken.
    go: sys.Fd,
    /// Why it failed, once it has.
    reason: []const u8 = "",
    /// The new snapshot is in its place, and no log is.
    is_fatal: bool = false,
    /// Once it is done.
    begun: struct { log_fd: sys.Fd, snapshot_bytes: u64 } = undefined,

    pub const About = struct {
        directory: sys.Fd,
        /// Length of the log when the copy is made: what is behind is not in the copy.
        log_bytes: u64,
        service: u8,
        /// Of the snapshot.
        generation: u64,
        bell: sys.Fd,
    };

    pub const State = enum(u8) { writing, waiting, finishing, done, failed };

    pub fn start(
        gpa: std.mem.Allocator,
        about: About,
        context: anytype,
        comptime writeAll: fn (@TypeOf(context), *Writer) sys.Error!void,
    ) files.Error!*Snapshot {
        const snapshot = try gpa.create(Snapshot);
        errdefer gpa.destroy(snapshot);
        const room = try gpa.alloc(u8, room_bytes);
        errdefer gpa.free(room);
        const go = try sys.eventFd(.{ .blocking = true });
        errdefer sys.close(go);
        const flags: linux.O = .{ .ACCMODE = .RDWR, .CREAT = true, .TRUNC = true, .APPEND = true, .CLOEXEC = true };
        const fd = try sys.openAt(about.directory, "snapshot.tmp", flags, 0o600);
        errdefer sys.close(fd);
        const header: format.Header = .{ .kind = .snapshot, .service = about.service, .generation = about.generation };
        try sys.writeAll(fd, &header.encode());
        const before = sys.monotonicNs();
        const child = try sys.fork(&.{fd}) orelse {
            var writer: Writer = .{ .fd = fd, .room = room };
            writeAll(context, &writer) catch sys.exit(1);
            sys.exit(0);
        };
        snapshot.* = .{
            .about = about,
            .child = child,
            .fd = fd,
            .room = room,
            .thread = undefined,
            .log_bytes = .init(about.log_bytes),
            .fork_ns = sys.monotonicNs() - before,
            .go = go,
        };
        snapshot.thread = std.Thread.spawn(.{ .stack_size = thread_stack_bytes }, run, .{snapshot}) catch {
            _ = linux.kill(child, .KILL);
            _ = sys.waitFor(child) catch {};
            return error.Exhausted;
        };
        return snapshot;
    }

    /// After `done` or `failed`.
    pub fn end(snapshot: *Snapshot, gpa: std.mem.Allocator) void {
        snapshot.thread.join();
        sys.close(snapshot.fd);
        sys.close(snapshot.go);
        gpa.free(snapshot.room);
        gpa.destroy(snapshot);
    }

    pub fn state(snapshot: *const Snapshot) State {
        return snapshot.step.load(.acquire);
    }

    /// Whether the log may still grow. From the last step on it stands still, until the serving thread has taken the new one
    /// over: what went into the old one then would be lost with it.
    pub fn allowsWrites(snapshot: *const Snapshot) bool {
        return switch (snapshot.state()) {
            .writing, .waiting => true,
            .finishing, .done, .failed => false,
        };
    }

    pub fn logGrew(snapshot: *Snapshot, bytes: u64) void {
        snapshot.log_bytes.store(bytes, .release);
    }

    /// Lets the last step go, in `waiting`. The log stands still from now on.
    pub fn finish(snapshot: *Snapshot, log_bytes: u64) void {
        snapshot.logGrew(log_bytes);
        snapshot.step.store(.finishing, .release);
        sys.ring(snapshot.go);
    }

    fn run(snapshot: *Snapshot) void {
        snapshot.work() catch |err| {
            snapshot.reason = @errorName(err);
            if (!snapshot.is_fatal) sys.unlinkAt(snapshot.about.directory, "snapshot.tmp") catch {};
            snapshot.tell(.failed);
            return;
        };
        snapshot.tell(.done);
    }

    fn tell(snapshot: *Snapshot, state_now: State) void {
        snapshot.step.store(state_now, .release);
        sys.ring(snapshot.about.bell);
    }

    const Error = sys.Error || error{CopyFailed};

    fn work(snapshot: *Snapshot) Error!void {
        if (!try sys.waitFor(snapshot.child)) return error.CopyFailed;
        const log_fd = try sys.openAt(snapshot.about.directory, "log", .{ .CLOEXEC = true }, 0);
        defer sys.close(log_fd);
        var copied = snapshot.about.log_bytes;
        // Each round copies what came during the last one; the last step should have little left.
        for (0..rounds_max) |_| {
            const until = snapshot.log_bytes.load(.acquire);
            const step = until - copied;
            try snapshot.copy(log_fd, &copied, until);
            try sys.syncData(snapshot.fd);
            if (step < small_bytes) break;
        }
        snapshot.tell(.waiting);
        sys.clearRing(snapshot.go);
        try snapshot.copy(log_fd, &copied, snapshot.log_bytes.load(.acquire));
        try sys.writeAll(snapshot.fd, &format.recordHead(&.{}));
        try sys.sync(snapshot.fd);
        const directory = snapshot.about.directory;
        try sys.renameAt(directory, "snapshot.tmp", "snapshot");
        snapshot.is_fatal = true;
        try sys.sync(directory);
        snapshot.begun = .{
            .snapshot_bytes = (try sys.statFd(snapshot.fd)).size,
            .log_fd = try files.beginLog(directory, snapshot.about.service, snapshot.about.generation),
        };
    }

    /// Appends whole records of the log as they are.
    fn copy(snapshot: *Snapshot, log_fd: sys.Fd, copied: *u64, until: u64) Error!void {
        while (copied.* < until) {
            const room = snapshot.room[0..@min(snapshot.room.len, until - copied.*)];
            const count = try sys.readAt(log_fd, room, copied.*);
            if (count == 0) return error.Io;
            try sys.writeAll(snapshot.fd, room[0..count]);
            copied.* += count;
        }
    }
};

const room_bytes = 1 << 20;
const rounds_max = 8;
const small_bytes = 1 << 20;
/// Reserved, not used: whoever links large thread-local data needs room for it.
const thread_stack_bytes = 1 << 20;
