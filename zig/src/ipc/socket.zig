//! Binding, locking and checking of sockets: docs/PROTOCOL.md, "Sockets".

const std = @import("std");
const linux = std.os.linux;
const sys = @import("sys.zig");

pub const Error = sys.Error || error{
    /// More bytes than a socket's address holds.
    PathTooLong,
    /// Another process holds the lock.
    InUse,
    /// Something that is no socket of ours is in the way, or the directory is another user's.
    Unsafe,
};

/// Whether a user may talk to us: the one that we run as, and root.
pub fn isAllowed(uid: u32) bool {
    return uid == 0 or uid == linux.geteuid();
}

/// A listening socket and the lock that makes it ours.
pub const Bound = struct {
    listener: sys.Fd,
    lock: sys.Fd,
    path: [sys.socket_path_bytes_max:0]u8,

    /// Removes the socket; the lock goes last.
    pub fn close(bound: *Bound) void {
        // Somebody may have removed it already.
        sys.unlink(&bound.path) catch {};
        sys.close(bound.listener);
        sys.close(bound.lock);
        bound.* = undefined;
    }
};

/// Makes the directory, takes the lock, and replaces a stale socket. Until it is served, callers wait.
pub fn bind(path: []const u8, backlog: u32) Error!Bound {
    if (path.len > sys.socket_path_bytes_max or path.len == 0) return error.PathTooLong;
    var bound: Bound = .{ .listener = -1, .lock = -1, .path = @splat(0) };
    @memcpy(bound.path[0..path.len], path);
    if (std.fs.path.dirname(path)) |directory| try ensureDirectory(directory);

    var lock_path: [sys.socket_path_bytes_max + 5:0]u8 = @splat(0);
    @memcpy(lock_path[0..path.len], path);
    @memcpy(lock_path[path.len..][0..5], ".lock");
    bound.lock = try sys.open(&lock_path, .{ .ACCMODE = .WRONLY, .CREAT = true, .NOFOLLOW = true, .CLOEXEC = true }, 0o600);
    errdefer sys.close(bound.lock);
    sys.lock(bound.lock) catch |err| return if (err == error.WouldBlock) error.InUse else err;

    if (sys.statPath(&bound.path)) |there| {
        if (!there.is(linux.S.IFSOCK) or there.uid != linux.geteuid()) return error.Unsafe;
        // We hold the lock, so whoever bound it is gone.
        try sys.unlink(&bound.path);
    } else |err| if (err != error.NotFound) return err;
    bound.listener = try sys.unixSocket(.{ .blocking = false });
    errdefer sys.close(bound.listener);
    try sys.bindAndListen(bound.listener, path, backlog);
    // The directory has kept others out so far.
    try sys.changeMode(&bound.path, 0o600);
    return bound;
}

/// Makes the directory, its parents as well, or checks that the one there is ours and closed to others.
pub fn ensureDirectory(path: []const u8) Error!void {
    var buffer: [std.fs.max_path_bytes:0]u8 = undefined;
    if (path.len >= buffer.len) return error.PathTooLong;
    @memcpy(buffer[0..path.len], path);
    buffer[path.len] = 0;
    for (1..path.len + 1) |end| {
        if (end < path.len and path[end] != '/') continue;
        const kept = buffer[end];
        buffer[end] = 0;
        sys.makeDirectory(&buffer, 0o700) catch |err| if (err != error.Exists) return err;
        buffer[end] = kept;
    }
    const there = try sys.statPath(&buffer);
    if (!there.is(linux.S.IFDIR) or there.uid != linux.geteuid()) return error.Unsafe;
    // A directory that many share, such as /tmp, is not ours to close.
    if (there.mode & linux.S.ISVTX != 0) return error.Unsafe;
    if (there.mode & 0o077 != 0) try sys.changeMode(&buffer, 0o700);
}

/// Connects within that time to a socket whose server runs as our user or as root. The result blocks.
pub fn connect(path: []const u8, wait_ns: u64) Error!sys.Fd {
    if (path.len > sys.socket_path_bytes_max or path.len == 0) return error.PathTooLong;
    const fd = try sys.unixSocket(.{ .blocking = true });
    errdefer sys.close(fd);
    // A connect waits, while the server's queue is full, as long as a write would.
    try sys.setTimeouts(fd, @max(std.time.ns_per_ms, wait_ns));
    try sys.connect(fd, path);
    if (!isAllowed((try sys.peerCredentials(fd)).uid)) return error.Unsafe;
    return fd;
}
