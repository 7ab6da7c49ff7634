//! The few system calls of the sockets and the journal, with errors in place of numbers. Linux only: SO_PEERCRED and
//! epoll are.

const std = @import("std");
const linux = std.os.linux;

pub const Fd = linux.fd_t;
pub const E = linux.E;

/// Why a call failed, as far as anybody acts on it; the rest is `Io`, and `last` says which.
pub const Error = error{
    WouldBlock,
    /// No descriptors, or no memory for them.
    Exhausted,
    /// The disk or a quota is full.
    NoSpace,
    NotFound,
    Exists,
    Refused,
    Denied,
    /// The other side is gone.
    Gone,
    Unsupported,
    Io,
};

/// The number behind the last error of this thread, for messages.
pub threadlocal var last: E = .SUCCESS;

/// The value of a call, or its error. A signal is not told apart: who calls repeats what `retry` allows.
fn check(result: usize) Error!usize {
    const number = linux.errno(result);
    if (number == .SUCCESS) return result;
    last = number;
    return switch (number) {
        .AGAIN => error.WouldBlock,
        .MFILE, .NFILE, .NOMEM, .NOBUFS => error.Exhausted,
        .NOSPC, .DQUOT, .FBIG => error.NoSpace,
        .NOENT => error.NotFound,
        .EXIST, .ADDRINUSE => error.Exists,
        .CONNREFUSED => error.Refused,
        .ACCES, .PERM, .ROFS => error.Denied,
        .PIPE, .CONNRESET, .CONNABORTED, .NOTCONN => error.Gone,
        .OPNOTSUPP, .NOSYS => error.Unsupported,
        else => error.Io,
    };
}

/// Repeats a call that a signal ended.
inline fn retry(comptime call: anytype, args: anytype) Error!usize {
    while (true) {
        const result = @call(.auto, call, args);
        if (linux.errno(result) != .INTR) return check(result);
    }
}

/// Name of the last error, such as `NOSPC`.
pub fn lastName() []const u8 {
    return std.enums.tagName(E, last) orelse "unknown";
}

/// CLOCK_MONOTONIC: one clock for all processes of the machine.
pub fn monotonicNs() u64 {
    return clock(.MONOTONIC);
}

/// Nanoseconds since 1970, for log lines.
pub fn wallNs() u64 {
    return clock(.REALTIME);
}

fn clock(id: linux.clockid_t) u64 {
    var now: linux.timespec = undefined;
    // It fails for a bad address or an unknown clock only.
    _ = linux.clock_gettime(id, &now);
    return @as(u64, @intCast(now.sec)) * std.time.ns_per_s + @as(u64, @intCast(now.nsec));
}

pub fn random(bytes: []u8) Error!void {
    var filled: usize = 0;
    while (filled < bytes.len) {
        filled += try retry(linux.getrandom, .{ bytes[filled..].ptr, bytes.len - filled, 0 });
    }
}

pub fn close(fd: Fd) void {
    // What it reports is of no use: the descriptor is gone either way.
    _ = linux.close(fd);
}

pub fn read(fd: Fd, room: []u8) Error!usize {
    return retry(linux.read, .{ fd, room.ptr, room.len });
}

pub fn write(fd: Fd, bytes: []const u8) Error!usize {
    return retry(linux.write, .{ fd, bytes.ptr, bytes.len });
}

pub fn writeAll(fd: Fd, bytes: []const u8) Error!void {
    var done: usize = 0;
    while (done < bytes.len) done += try write(fd, bytes[done..]);
}

/// Two parts with one write, as far as the kernel goes along.
pub fn writeParts(fd: Fd, first: []const u8, second: []const u8) Error!void {
    const parts = [2]std.posix.iovec_const{
        .{ .base = first.ptr, .len = first.len },
        .{ .base = second.ptr, .len = second.len },
    };
    const done = try retry(linux.writev, .{ fd, @as([*]const std.posix.iovec_const, &parts), parts.len });
    if (done < first.len) try writeAll(fd, first[done..]);
    try writeAll(fd, second[done -| first.len..]);
}

/// Sends what the socket takes now; a lost other side is an error and no signal.
pub fn send(fd: Fd, bytes: []const u8) Error!usize {
    const flags = linux.MSG.DONTWAIT | linux.MSG.NOSIGNAL;
    return retry(linux.sendto, .{ fd, bytes.ptr, bytes.len, flags, null, 0 });
}

/// Receives what is there; `wait`: as long as the socket's own time limit allows.
pub fn receive(fd: Fd, room: []u8, options: struct { wait: bool }) Error!usize {
    const flags: u32 = if (options.wait) 0 else linux.MSG.DONTWAIT;
    return retry(linux.recvfrom, .{ fd, room.ptr, room.len, flags, null, null });
}

pub fn open(path: [*:0]const u8, flags: linux.O, mode: linux.mode_t) Error!Fd {
    return @intCast(try retry(linux.openat, .{ linux.AT.FDCWD, path, flags, mode }));
}

pub fn openAt(directory: Fd, path: [*:0]const u8, flags: linux.O, mode: linux.mode_t) Error!Fd {
    return @intCast(try retry(linux.openat, .{ directory, path, flags, mode }));
}

pub fn makeDirectory(path: [*:0]const u8, mode: linux.mode_t) Error!void {
    _ = try check(linux.mkdir(path, mode));
}

pub fn changeMode(path: [*:0]const u8, mode: linux.mode_t) Error!void {
    _ = try check(linux.chmod(path, mode));
}

pub fn unlink(path: [*:0]const u8) Error!void {
    _ = try check(linux.unlink(path));
}

pub fn unlinkAt(directory: Fd, path: [*:0]const u8) Error!void {
    _ = try check(linux.unlinkat(directory, path, 0));
}

pub fn renameAt(directory: Fd, old: [*:0]const u8, new: [*:0]const u8) Error!void {
    _ = try check(linux.renameat(directory, old, directory, new));
}

pub fn sync(fd: Fd) Error!void {
    _ = try retry(linux.fsync, .{fd});
}

pub fn syncData(fd: Fd) Error!void {
    _ = try retry(linux.fdatasync, .{fd});
}

pub fn truncate(fd: Fd, length: u64) Error!void {
    _ = try retry(linux.ftruncate, .{ fd, @as(i64, @intCast(length)) });
}

/// Makes sure that a file can grow to that length, without changing it.
pub fn reserve(fd: Fd, offset: u64, bytes: u64) Error!void {
    const keep_size = 1;
    _ = try retry(linux.fallocate, .{ fd, keep_size, @as(i64, @intCast(offset)), @as(i64, @intCast(bytes)) });
}

/// A whole file in memory, to read. It is not empty.
pub fn map(fd: Fd, size: usize) Error![]const u8 {
    const address_of = try check(linux.mmap(null, size, .{ .READ = true }, .{ .TYPE = .PRIVATE }, fd, 0));
    return @as([*]const u8, @ptrFromInt(address_of))[0..size];
}

pub fn unmap(bytes: []const u8) void {
    // It fails for memory that is not mapped only.
    _ = linux.munmap(bytes.ptr, bytes.len);
}

pub fn readAt(fd: Fd, room: []u8, offset: u64) Error!usize {
    return retry(linux.pread, .{ fd, room.ptr, room.len, @as(i64, @intCast(offset)) });
}

/// A copy of this process that has this one thread; null in the copy, which ends with it and holds none of its
/// descriptors but those given.
pub fn fork(kept: []const Fd) Error!?linux.pid_t {
    const parent = linux.getpid();
    const child = try check(linux.fork());
    if (child != 0) return @intCast(child);
    _ = linux.prctl(@intFromEnum(linux.PR.SET_PDEATHSIG), @intFromEnum(linux.SIG.KILL), 0, 0, 0);
    // It may have died before that was asked.
    if (linux.getppid() != parent) linux.exit_group(1);
    var from: Fd = 3;
    // In rising order: what lies between them is closed.
    for (kept) |fd| {
        if (fd > from) _ = linux.close_range(from, fd - 1, .{ .UNSHARE = false, .CLOEXEC = false });
        from = fd + 1;
    }
    _ = linux.close_range(from, std.math.maxInt(Fd), .{ .UNSHARE = false, .CLOEXEC = false });
    return null;
}

/// Ends a copy.
pub fn exit(status: u8) noreturn {
    linux.exit_group(status);
}

/// Waits for a copy to end and says whether it ended with status 0.
pub fn waitFor(child: linux.pid_t) Error!bool {
    var status: u32 = 0;
    _ = try retry(linux.waitpid, .{ child, &status, 0 });
    return linux.W.IFEXITED(status) and linux.W.EXITSTATUS(status) == 0;
}

/// What there is of a file or a path.
pub const Stat = struct {
    mode: u32,
    uid: u32,
    size: u64,

    pub fn is(stat: Stat, kind: u32) bool {
        return stat.mode & linux.S.IFMT == kind;
    }
};

/// Looks at a path, and not through a link at its end.
pub fn statPath(path: [*:0]const u8) Error!Stat {
    return statOf(linux.AT.FDCWD, path, linux.AT.SYMLINK_NOFOLLOW);
}

pub fn statFd(fd: Fd) Error!Stat {
    return statOf(fd, "", linux.AT.EMPTY_PATH);
}

fn statOf(fd: Fd, path: [*:0]const u8, flags: u32) Error!Stat {
    var found: linux.Statx = undefined;
    _ = try check(linux.statx(fd, path, flags, linux.STATX.BASIC_STATS, &found));
    return .{ .mode = found.mode, .uid = found.uid, .size = found.size };
}

/// Locks a file for this process alone; `WouldBlock` when another holds it on and on. A killed process may leave a copy of
/// itself that holds it too, for the moment until that one has closed it or is ended by the kernel.
pub fn lock(fd: Fd) Error!void {
    const exclusive_now = 2 | 4;
    const until = monotonicNs() + lock_patience_ns;
    while (true) {
        if (retry(linux.flock, .{ fd, exclusive_now })) |_| return else |err| {
            if (err != error.WouldBlock or monotonicNs() > until) return err;
        }
        // No event tells of a lock that was let go.
        const pause: linux.timespec = .{ .sec = 0, .nsec = 5 * std.time.ns_per_ms };
        _ = linux.nanosleep(&pause, null);
    }
}

const lock_patience_ns = std.time.ns_per_s;

/// Who is at the other end of a Unix socket, as the kernel knows it.
pub const Credentials = extern struct { pid: u32, uid: u32, gid: u32 };

pub fn peerCredentials(fd: Fd) Error!Credentials {
    var found: Credentials = undefined;
    var length: linux.socklen_t = @sizeOf(Credentials);
    _ = try check(linux.getsockopt(fd, linux.SOL.SOCKET, linux.SO.PEERCRED, std.mem.asBytes(&found).ptr, &length));
    return found;
}

/// How long a read or a write of a blocking socket waits before it is `WouldBlock`.
pub fn setTimeouts(fd: Fd, wait_ns: u64) Error!void {
    const wait: linux.timeval = .{
        .sec = @intCast(wait_ns / std.time.ns_per_s),
        .usec = @intCast(@max(1, wait_ns % std.time.ns_per_s / std.time.ns_per_us)),
    };
    for ([_]u32{ linux.SO.RCVTIMEO, linux.SO.SNDTIMEO }) |option| {
        _ = try check(linux.setsockopt(fd, linux.SOL.SOCKET, option, std.mem.asBytes(&wait).ptr, @sizeOf(linux.timeval)));
    }
}

/// The longest path that fits a socket's address with its closing zero.
pub const socket_path_bytes_max = 107;

fn address(path: []const u8) linux.sockaddr.un {
    std.debug.assert(path.len <= socket_path_bytes_max);
    var at: linux.sockaddr.un = .{ .family = linux.AF.UNIX, .path = @splat(0) };
    @memcpy(at.path[0..path.len], path);
    return at;
}

/// A Unix stream socket.
pub fn unixSocket(options: struct { blocking: bool }) Error!Fd {
    const flags: u32 = if (options.blocking) 0 else linux.SOCK.NONBLOCK;
    return @intCast(try check(linux.socket(linux.AF.UNIX, linux.SOCK.STREAM | linux.SOCK.CLOEXEC | flags, 0)));
}

pub fn bindAndListen(fd: Fd, path: []const u8, backlog: u32) Error!void {
    const at = address(path);
    _ = try check(linux.bind(fd, @ptrCast(&at), @sizeOf(linux.sockaddr.un)));
    _ = try check(linux.listen(fd, backlog));
}

pub fn connect(fd: Fd, path: []const u8) Error!void {
    const at = address(path);
    _ = try retry(linux.connect, .{ fd, &at, @sizeOf(linux.sockaddr.un) });
}

pub fn accept(fd: Fd) Error!Fd {
    const flags = linux.SOCK.NONBLOCK | linux.SOCK.CLOEXEC;
    return @intCast(try retry(linux.accept4, .{ fd, null, null, flags }));
}

/// A counter that other threads ring.
pub fn eventFd(options: struct { blocking: bool }) Error!Fd {
    const flags: u32 = if (options.blocking) 0 else linux.EFD.NONBLOCK;
    return @intCast(try check(linux.eventfd(0, linux.EFD.CLOEXEC | flags)));
}

pub fn ring(fd: Fd) void {
    const one: u64 = 1;
    // Full means that it has been rung.
    _ = write(fd, std.mem.asBytes(&one)) catch {};
}

pub fn clearRing(fd: Fd) void {
    var count: u64 = 0;
    // Empty means that nobody rang.
    _ = read(fd, std.mem.asBytes(&count)) catch {};
}

/// From now on these signals are not delivered, to this thread and those that it starts.
pub fn block(wanted: []const linux.SIG) Error!void {
    var set = linux.sigemptyset();
    for (wanted) |signal| linux.sigaddset(&set, signal);
    _ = try check(linux.sigprocmask(linux.SIG.BLOCK, &set, null));
}

/// Asks for so many descriptors, as far as the hard limit goes.
pub fn raiseDescriptors(wanted: u64) void {
    var limit: linux.rlimit = undefined;
    _ = check(linux.getrlimit(.NOFILE, &limit)) catch return;
    if (limit.cur >= wanted) return;
    limit.cur = @min(wanted, limit.max);
    // Without them, accepting says so in its time.
    _ = check(linux.setrlimit(.NOFILE, &limit)) catch {};
}

/// A descriptor from which these signals are read. Call it before any thread starts: one that does not block them would
/// be ended by them, and all with it.
pub fn signals(wanted: []const linux.SIG) Error!Fd {
    var set = linux.sigemptyset();
    for (wanted) |signal| linux.sigaddset(&set, signal);
    try block(wanted);
    return @intCast(try check(linux.signalfd(-1, &set, linux.SFD.CLOEXEC | linux.SFD.NONBLOCK)));
}

/// Waits for a socket at most so long. `false`: nothing came.
pub fn poll(fd: Fd, wanted: struct { read: bool = false, write: bool = false }, wait_ns: ?u64) Error!bool {
    var one = [1]linux.pollfd{.{
        .fd = fd,
        .events = (if (wanted.read) @as(i16, linux.POLL.IN) else 0) | (if (wanted.write) @as(i16, linux.POLL.OUT) else 0),
        .revents = 0,
    }};
    var wait: linux.timespec = .{
        .sec = @intCast((wait_ns orelse 0) / std.time.ns_per_s),
        .nsec = @intCast((wait_ns orelse 0) % std.time.ns_per_s),
    };
    const result = linux.ppoll(&one, 1, if (wait_ns == null) null else &wait, null);
    // A signal is a wake-up for nothing; who waits looks at the clock.
    if (linux.errno(result) == .INTR) return false;
    return try check(result) > 0;
}

/// An epoll set whose events carry one number.
pub const Poller = struct {
    fd: Fd,

    pub const Event = linux.epoll_event;

    pub fn init() Error!Poller {
        return .{ .fd = @intCast(try check(linux.epoll_create1(linux.EPOLL.CLOEXEC))) };
    }

    pub fn deinit(poller: Poller) void {
        close(poller.fd);
    }

    pub fn add(poller: Poller, fd: Fd, number: u64) Error!void {
        return poller.control(linux.EPOLL.CTL_ADD, fd, number, .{ .read = true });
    }

    pub const Interest = struct { read: bool = false, write: bool = false };

    pub fn change(poller: Poller, fd: Fd, number: u64, interest: Interest) Error!void {
        return poller.control(linux.EPOLL.CTL_MOD, fd, number, interest);
    }

    fn control(poller: Poller, operation: u32, fd: Fd, number: u64, interest: Interest) Error!void {
        const in: u32 = if (interest.read) linux.EPOLL.IN else 0;
        const out: u32 = if (interest.write) linux.EPOLL.OUT else 0;
        var event: Event = .{ .events = in | out, .data = .{ .u64 = number } };
        _ = try check(linux.epoll_ctl(poller.fd, operation, fd, &event));
    }

    /// Waits for events, at most so long; null waits without end.
    pub fn wait(poller: Poller, room: []Event, wait_ns: ?u64) Error![]Event {
        const wait_ms: i32 = if (wait_ns) |ns|
            @intCast(@min(std.math.divCeil(u64, ns, std.time.ns_per_ms) catch unreachable, std.math.maxInt(i32)))
        else
            -1;
        const result = linux.epoll_wait(poller.fd, room.ptr, @intCast(room.len), wait_ms);
        if (linux.errno(result) == .INTR) return room[0..0];
        return room[0..try check(result)];
    }
};
