//! The directory of a journal: what is in it after any crash, and how it comes to the newest state that was acknowledged.

const std = @import("std");
const linux = std.os.linux;
const format = @import("format.zig");
const sockets = @import("../ipc/socket.zig");
const sys = @import("../ipc/sys.zig");
const Log = @import("../ipc/log.zig").Log;

pub const Error = sockets.Error || error{
    OutOfMemory,
    /// Stored bytes do not match their checksum; a log line names file and offset.
    Corrupt,
    /// Another process uses the directory.
    DirectoryInUse,
};

/// An open journal directory that this process alone uses, and its log, ready for more.
pub const Files = struct {
    directory: sys.Fd,
    lock: sys.Fd,
    log_fd: sys.Fd,
    generation: u64,
    log_bytes: u64,
    /// 0: there is none.
    snapshot_bytes: u64,

    pub fn close(files: *Files) void {
        sys.close(files.log_fd);
        sys.close(files.lock);
        sys.close(files.directory);
        files.* = undefined;
    }

    /// Opens or makes the directory and hands every payload that was kept to `context.replay(payload)`, snapshot first.
    pub fn open(gpa: std.mem.Allocator, path: []const u8, service: u8, log: Log, context: anytype) !Files {
        try sockets.ensureDirectory(path);
        var name: [std.fs.max_path_bytes:0]u8 = undefined;
        @memcpy(name[0..path.len], path);
        name[path.len] = 0;
        const directory = try sys.open(&name, .{ .DIRECTORY = true, .CLOEXEC = true }, 0);
        errdefer sys.close(directory);
        const lock = try sys.openAt(directory, "lock", .{ .ACCMODE = .WRONLY, .CREAT = true, .NOFOLLOW = true, .CLOEXEC = true }, 0o600);
        errdefer sys.close(lock);
        sys.lock(lock) catch |err| return if (err == error.WouldBlock) error.DirectoryInUse else err;
        // What a crash left half written.
        for ([_][*:0]const u8{ "snapshot.tmp", "log.tmp" }) |left| {
            sys.unlinkAt(directory, left) catch |err| if (err != error.NotFound) return err;
        }
        var files: Files = .{
            .directory = directory,
            .lock = lock,
            .log_fd = -1,
            .generation = 0,
            .log_bytes = 0,
            .snapshot_bytes = 0,
        };
        const reader: Reader = .{ .gpa = gpa, .directory = directory, .service = service, .log = log, .path = path };
        if (try reader.snapshot(context)) |found| {
            files.generation = found.generation;
            files.snapshot_bytes = found.bytes;
        }
        if (try reader.replayLog(files.generation, context)) |found| {
            files.log_fd = found.fd;
            files.log_bytes = found.bytes;
        } else {
            files.log_fd = try beginLog(directory, service, files.generation);
            files.log_bytes = format.header_bytes;
        }
        return files;
    }
};

/// Makes the empty log of a generation in place of the one that is there.
pub fn beginLog(directory: sys.Fd, service: u8, generation: u64) sys.Error!sys.Fd {
    const flags: linux.O = .{ .ACCMODE = .RDWR, .CREAT = true, .TRUNC = true, .APPEND = true, .CLOEXEC = true };
    const fd = try sys.openAt(directory, "log.tmp", flags, 0o600);
    errdefer sys.close(fd);
    try sys.writeAll(fd, &(format.Header{ .kind = .log, .service = service, .generation = generation }).encode());
    try sys.sync(fd);
    try sys.renameAt(directory, "log.tmp", "log");
    try sys.sync(directory);
    return fd;
}

const Reader = struct {
    gpa: std.mem.Allocator,
    directory: sys.Fd,
    service: u8,
    log: Log,
    path: []const u8,

    fn corrupt(reader: Reader, file: []const u8, offset: usize, reason: []const u8) error{Corrupt} {
        reader.log.err("stored data is damaged", .{
            .directory = reader.path,
            .file = file,
            .offset = offset,
            .reason = reason,
            .repair = "restore the directory from a copy; or move it away and start empty",
        });
        return error.Corrupt;
    }

    /// Hands the snapshot over; null when there is none.
    fn snapshot(reader: Reader, context: anytype) !?struct { generation: u64, bytes: u64 } {
        const fd = sys.openAt(reader.directory, "snapshot", .{ .NOFOLLOW = true, .CLOEXEC = true }, 0) catch |err|
            return if (err == error.NotFound) null else err;
        defer sys.close(fd);
        const mapped = try Mapped.of(fd);
        defer mapped.unmap();
        const header = format.Header.decode(mapped.bytes, .snapshot, reader.service) catch
            return reader.corrupt("snapshot", 0, "the header does not verify");
        var records: format.Records = .{ .bytes = mapped.bytes };
        while (true) switch (records.next()) {
            .payload => |payload| try reader.replay("snapshot", records.at, payload, context),
            .end => break,
            .none => return reader.corrupt("snapshot", records.at, "its end is missing"),
            .bad => return reader.corrupt("snapshot", records.at, "a record does not verify"),
        };
        if (records.at != mapped.bytes.len) return reader.corrupt("snapshot", records.at, "bytes follow its end");
        return .{ .generation = header.generation, .bytes = mapped.bytes.len };
    }

    /// Hands the log of that generation over and cuts a torn tail off; null when a new one must begin.
    fn replayLog(reader: Reader, generation: u64, context: anytype) !?struct { fd: sys.Fd, bytes: u64 } {
        const fd = sys.openAt(reader.directory, "log", .{ .ACCMODE = .RDWR, .APPEND = true, .NOFOLLOW = true, .CLOEXEC = true }, 0) catch |err|
            return if (err == error.NotFound) null else err;
        errdefer sys.close(fd);
        const mapped = try Mapped.of(fd);
        defer mapped.unmap();
        const header = format.Header.decode(mapped.bytes, .log, reader.service) catch
            return reader.corrupt("log", 0, "the header does not verify");
        if (header.generation > generation) return reader.corrupt("log", 8, "it is newer than the snapshot");
        if (header.generation < generation) {
            // Its content is in the snapshot: a crash came between the two renames.
            try sys.unlinkAt(reader.directory, "log");
            sys.close(fd);
            return null;
        }
        var records: format.Records = .{ .bytes = mapped.bytes };
        while (true) switch (records.next()) {
            .payload => |payload| try reader.replay("log", records.at, payload, context),
            .none => break,
            .end, .bad => {
                try reader.cutTail(fd, mapped.bytes, records.at);
                break;
            },
        };
        return .{ .fd = fd, .bytes = records.at };
    }

    fn cutTail(reader: Reader, fd: sys.Fd, bytes: []const u8, at: usize) !void {
        switch (try format.judgeTail(reader.gpa, bytes, at)) {
            .torn => {},
            .damaged => |offset| {
                reader.log.err("a record that verifies follows one that does not", .{ .offset = offset });
                return reader.corrupt("log", at, "a record does not verify");
            },
            .too_long => return reader.corrupt("log", at, "nothing verifies from here on"),
        }
        reader.log.warn("the log ends in the middle of a write, which was never acknowledged; it is cut off", .{
            .directory = reader.path,
            .offset = at,
            .bytes = bytes.len - at,
        });
        try sys.truncate(fd, at);
        try sys.syncData(fd);
    }

    /// A payload that verifies and makes no sense was written by another program, or by a later version.
    fn replay(reader: Reader, file: []const u8, end: usize, payload: []const u8, context: anytype) !void {
        context.replay(payload) catch |err| switch (err) {
            error.BadPayload => return reader.corrupt(file, end - payload.len, "a record holds something that this version does not know"),
            else => |other| return other,
        };
    }
};

/// A file in memory.
const Mapped = struct {
    bytes: []const u8,

    fn of(fd: sys.Fd) sys.Error!Mapped {
        const size: usize = @intCast((try sys.statFd(fd)).size);
        // Nothing can be mapped of an empty file.
        if (size == 0) return .{ .bytes = &.{} };
        return .{ .bytes = try sys.map(fd, size) };
    }

    fn unmap(mapped: Mapped) void {
        if (mapped.bytes.len > 0) sys.unmap(mapped.bytes);
    }
};
