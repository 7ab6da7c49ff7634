//! Serves one socket: one thread, one epoll set. A connection's turn is one large read, all its whole frames, and one
//! write. A slow reader fills its bounded outbox and is then not read.
//!
//! Beside what `connection.zig` asks of a handler, a server's has
//!   `endTurn(*Handler) void`                   after all frames of a turn, before the wait,
//!   `released(*Handler, Gate) Released`        how far the answers of a gate may go out,
//!   `woken(*Handler, Fd) void`                 a descriptor given to `watch` is readable,
//!   `timerNs(*const Handler) u64`              when it wants a turn without a request, if it has that,
//!   `isBroken(*const Handler) bool`            it cannot go on; the server ends with `Broken`,
//! and, if some of its answers are streams,
//!   `resumed(*Handler) bool`                   whether streams that had nothing may have something since the last time.

const std = @import("std");
const linux = std.os.linux;
const connections = @import("connection.zig");
const protocol = @import("../gen/protocol.zig");
const sockets = @import("socket.zig");
const sys = @import("sys.zig");
const wire = @import("../wire.zig");
const Log = @import("log.zig").Log;

pub const Config = connections.Config;
pub const Gate = connections.Gate;

/// How far a gate's answers may go out. With a failure they say that instead.
pub const Released = struct { number: u64, failure: ?connections.Failure = null };

pub const Error = sys.Error || error{
    OutOfMemory,
    /// The handler cannot go on.
    Broken,
};

pub fn Server(comptime Handler: type) type {
    return struct {
        gpa: std.mem.Allocator,
        config: Config,
        handler: *Handler,
        log: Log,
        bound: *sockets.Bound,
        poller: sys.Poller,
        signals: sys.Fd,
        /// Given up for a moment when there are no others, so that who connects can be told.
        reserve: sys.Fd,
        stats: connections.Stats = .{},
        peers: std.ArrayList(?*Peer) = .empty,
        free: std.ArrayList(u32) = .empty,
        /// Rises with each connection: events of a closed one are told from those of its successor.
        generation: u32 = 0,
        partial_bytes: u64 = 0,
        /// No timer ends before this.
        timer_ns: u64 = never,
        drain_ns: u64 = never,
        accept_again_ns: u64 = never,
        accept_pause_ns: u64 = accept_pause_min_ns,
        stopping: bool = false,
        released: std.EnumArray(Gate, u64) = .initFill(0),
        room: []u8,

        const Self = @This();
        const Connection = connections.Connection(Handler);
        const never = Connection.never;

        const Peer = struct {
            fd: sys.Fd,
            number: u64,
            connection: Connection,
            /// Bytes that arrived and are not handed over: part of a frame, or frames that wait for room.
            rest: std.ArrayList(u8) = .empty,
            hello_by_ns: u64,
            /// The socket takes nothing now.
            is_blocked: bool = false,
            /// Requests wait for room; what arrives is not read.
            is_held_up: bool = false,
            /// Its streams have more; others have their turn first.
            is_streaming: bool = false,
            interest: sys.Poller.Interest = .{ .read = true },
        };

        /// The socket is bound already, and `signals` gives SIGTERM and SIGINT; the server closes neither.
        pub fn init(
            gpa: std.mem.Allocator,
            config: Config,
            bound: *sockets.Bound,
            signals: sys.Fd,
            handler: *Handler,
            log: Log,
        ) Error!Self {
            const poller = try sys.Poller.init();
            errdefer poller.deinit();
            try poller.add(signals, number_signals);
            try poller.add(bound.listener, number_listener);
            return .{
                .gpa = gpa,
                .config = config,
                .handler = handler,
                .log = log,
                .bound = bound,
                .poller = poller,
                .signals = signals,
                .reserve = openReserve(),
                .room = try gpa.alloc(u8, room_bytes),
            };
        }

        pub fn deinit(self: *Self) void {
            for (self.peers.items) |slot| if (slot) |peer| self.close(peer);
            self.peers.deinit(self.gpa);
            self.free.deinit(self.gpa);
            if (self.reserve >= 0) sys.close(self.reserve);
            self.poller.deinit();
            self.gpa.free(self.room);
            self.* = undefined;
        }

        /// Calls the handler's `woken` whenever the descriptor is readable.
        pub fn watch(self: *Self, fd: sys.Fd) Error!void {
            return self.poller.add(fd, number_watched | @as(u64, @intCast(fd)));
        }

        /// Ends like a SIGTERM when this descriptor does: with the program that started us.
        pub fn endWith(self: *Self, fd: sys.Fd) Error!void {
            return self.poller.add(fd, number_lifeline | @as(u64, @intCast(fd)));
        }

        /// Serves until SIGTERM or SIGINT, then lets accepted calls end within the drain's time. A second signal ends it
        /// at once.
        pub fn run(self: *Self) Error!void {
            defer self.cutOffAll();
            var events: [events_per_turn]sys.Poller.Event = undefined;
            while (!self.isDrained()) {
                const now = sys.monotonicNs();
                const own: u64 = if (@hasDecl(Handler, "timerNs")) self.handler.timerNs() else never;
                const timer = @min(self.timer_ns, self.drain_ns, self.accept_again_ns, own);
                const wait: ?u64 = if (timer == never) null else timer -| now;
                // After the others of the turn: a place that was left just now is free then.
                var to_accept = false;
                for (try self.poller.wait(&events, wait)) |event| {
                    const number = event.data.u64;
                    if (number == number_listener) {
                        to_accept = true;
                    } else if (number == number_signals) {
                        if (self.signalled()) return;
                    } else if (number & number_lifeline == number_lifeline) {
                        self.lifeline(@intCast(number & fd_mask));
                    } else if (number & number_watched != 0) {
                        self.handler.woken(@intCast(number & fd_mask));
                    } else if (self.peerOf(number)) |peer| {
                        // Nothing can be said to who is gone; without reading, only this tells.
                        const is_gone = event.events & (linux.EPOLL.HUP | linux.EPOLL.ERR) != 0;
                        if (is_gone and !peer.interest.read) {
                            self.close(peer);
                            continue;
                        }
                        peer.is_blocked = false;
                        self.turn(peer, .read);
                    }
                }
                if (to_accept and !self.stopping) self.acceptAll();
                self.handler.endTurn();
                self.releaseAll();
                self.resumeAll();
                if (self.handler.isBroken()) return error.Broken;
                self.timers(sys.monotonicNs());
            }
        }

        fn isDrained(self: *const Self) bool {
            return self.stopping and (self.stats.connections == 0 or sys.monotonicNs() >= self.drain_ns);
        }

        fn cutOffAll(self: *Self) void {
            for (self.peers.items) |slot| {
                const peer = slot orelse continue;
                peer.connection.cutOff();
                // What the socket does not take now is lost with the connection.
                _ = self.flush(peer);
            }
        }

        fn signalled(self: *Self) bool {
            var info: linux.signalfd_siginfo = undefined;
            _ = sys.read(self.signals, std.mem.asBytes(&info)) catch return false;
            if (self.stopping) return true;
            self.stop();
            return false;
        }

        fn lifeline(self: *Self, fd: sys.Fd) void {
            var thrown_away: [512]u8 = undefined;
            const count = sys.read(fd, &thrown_away) catch |err| switch (err) {
                error.WouldBlock => return,
                else => 0,
            };
            if (count > 0) return;
            self.poller.change(fd, 0, .{}) catch {};
            if (!self.stopping) self.stop();
        }

        fn stop(self: *Self) void {
            self.stopping = true;
            self.drain_ns = sys.monotonicNs() + self.config.limits.drain_timeout_ns;
            self.accept_again_ns = never;
            self.listen(false);
            for (self.peers.items) |slot| {
                const peer = slot orelse continue;
                peer.connection.stop();
                self.turn(peer, .keep);
            }
        }

        fn peerOf(self: *Self, number: u64) ?*Peer {
            const index: u32 = @truncate(number);
            const peer = self.peers.items[index] orelse return null;
            return if (peer.number == number) peer else null;
        }

        // Accepting.

        fn acceptAll(self: *Self) void {
            for (0..accepts_per_turn) |number| {
                // Who left before a caller came is seen out before that one is turned away: the first of a turn comes
                // behind all that the wait told of, a later one may not.
                if (number > 0 and self.isFull()) return;
                const fd = sys.accept(self.bound.listener) catch |err| switch (err) {
                    error.WouldBlock => return,
                    error.Gone => continue,
                    else => return self.cannotAccept(),
                };
                self.accept_pause_ns = accept_pause_min_ns;
                self.admit(fd);
            }
        }

        /// No descriptors: one caller is told with the reserved one; without it the listener rests.
        fn cannotAccept(self: *Self) void {
            const reason = sys.lastName();
            if (self.reserve >= 0) {
                sys.close(self.reserve);
                self.reserve = -1;
                if (sys.accept(self.bound.listener)) |fd| {
                    self.turnAway(fd, .busy, "no more descriptors here; close a connection and try again");
                } else |_| {}
                self.reserve = openReserve();
            }
            self.log.warn("cannot accept", .{ .reason = reason, .again_in_ms = self.accept_pause_ns / std.time.ns_per_ms });
            self.listen(false);
            self.accept_again_ns = sys.monotonicNs() + self.accept_pause_ns;
            self.accept_pause_ns = @min(2 * self.accept_pause_ns, accept_pause_max_ns);
        }

        fn listen(self: *Self, on: bool) void {
            // It fails for a descriptor that is not in the set, which is there from init to deinit.
            self.poller.change(self.bound.listener, number_listener, .{ .read = on }) catch {};
        }

        fn admit(self: *Self, fd: sys.Fd) void {
            const credentials = sys.peerCredentials(fd) catch {
                return self.turnAway(fd, .denied, "the kernel does not say who connects");
            };
            if (!sockets.isAllowed(credentials.uid)) {
                self.log.warn("refused another user", .{ .uid = credentials.uid, .pid = credentials.pid });
                return self.turnAway(fd, .denied, "this socket serves another user");
            }
            if (self.isFull()) {
                return self.turnAway(fd, .busy, "all connections of this socket are taken; close one and try again");
            }
            const peer = self.newPeer(fd, credentials) catch {
                return self.turnAway(fd, .busy, "no memory for a connection; try again later");
            };
            self.stats.connections += 1;
            self.stats.accepted += 1;
            peer.connection.start();
            self.setTimer(peer.hello_by_ns);
            self.turn(peer, .keep);
        }

        fn isFull(self: *const Self) bool {
            return self.stats.connections >= self.config.limits.connections_max;
        }

        fn newPeer(self: *Self, fd: sys.Fd, credentials: sys.Credentials) Error!*Peer {
            const index: u32 = self.free.pop() orelse index: {
                try self.free.ensureTotalCapacity(self.gpa, self.peers.items.len + 1);
                try self.peers.append(self.gpa, null);
                break :index @intCast(self.peers.items.len - 1);
            };
            errdefer self.free.appendAssumeCapacity(index);
            const peer = try self.gpa.create(Peer);
            errdefer self.gpa.destroy(peer);
            self.generation = (self.generation + 1) & generation_mask;
            peer.* = .{
                .fd = fd,
                .number = @as(u64, self.generation) << 32 | index,
                .hello_by_ns = sys.monotonicNs() + self.config.limits.hello_timeout_ns,
                .connection = .{
                    .gpa = self.gpa,
                    .config = &self.config,
                    .stats = &self.stats,
                    .handler = self.handler,
                    .peer = credentials,
                },
            };
            try self.poller.add(fd, peer.number);
            self.peers.items[index] = peer;
            return peer;
        }

        fn turnAway(self: *Self, fd: sys.Fd, status: protocol.Status, text: []const u8) void {
            self.stats.denied += 1;
            const header: wire.Header = .{
                .kind = .@"error",
                .service = self.config.service,
                .content_type = .text,
                .status = @intFromEnum(status),
            };
            var memory: [512]u8 = undefined;
            var fixed = std.heap.FixedBufferAllocator.init(&memory);
            var out: std.ArrayList(u8) = .empty;
            if (wire.encode(fixed.allocator(), &out, header, &.{}, text)) {
                // A fresh socket takes so little; a caller that is gone needs no reason.
                _ = sys.send(fd, out.items) catch {};
            } else |_| {}
            sys.close(fd);
        }

        fn close(self: *Self, peer: *Peer) void {
            const index: u32 = @truncate(peer.number);
            self.partial_bytes -= counted(peer.rest.items.len);
            sys.close(peer.fd);
            peer.connection.deinit();
            peer.rest.deinit(self.gpa);
            self.gpa.destroy(peer);
            self.peers.items[index] = null;
            self.free.appendAssumeCapacity(index);
            self.stats.connections -= 1;
            if (self.accept_again_ns != never) {
                // A descriptor is free again.
                self.accept_again_ns = 0;
            }
        }

        // A connection's turn.

        /// Hands over what is there, writes, and closes what has ended.
        fn turn(self: *Self, peer: *Peer, what: enum { read, keep }) void {
            var is_open = true;
            if (what == .read and !peer.is_held_up and peer.interest.read) is_open = self.readSome(peer);
            var portions: usize = 0;
            while (true) {
                if (peer.is_held_up) self.handOverRest(peer);
                peer.is_streaming = !peer.is_blocked and peer.connection.pump();
                portions += 1;
                is_open = self.flush(peer) and is_open;
                // What was written may have made room for what waits.
                const takes_more = peer.is_held_up and !peer.connection.isHeldUp();
                const gives_more = peer.is_streaming and portions < portions_per_turn;
                if (!is_open or peer.is_blocked or (!takes_more and !gives_more)) break;
            }
            if (is_open and self.stopping and !peer.connection.ended and peer.connection.isIdle()) {
                peer.connection.farewell();
                is_open = self.flush(peer);
            }
            if (!is_open or peer.connection.ended) return self.close(peer);
            self.setInterest(peer);
            self.setTimer(peer.connection.nextDeadline());
        }

        /// Reads once into the shared room, behind what was left, and hands over. `false`: the other side is gone.
        fn readSome(self: *Self, peer: *Peer) bool {
            const rest = peer.rest.items.len;
            if (rest > self.room.len / 2) return self.readLong(peer);
            @memcpy(self.room[0..rest], peer.rest.items);
            const count = sys.receive(peer.fd, self.room[rest..], .{ .wait = false }) catch |err| return err == error.WouldBlock;
            const all = self.room[0 .. rest + count];
            const used = peer.connection.receive(all, sys.monotonicNs());
            self.keepRest(peer, all[used..]);
            return count > 0;
        }

        /// The same for a frame that is longer than the shared room: its own memory grows as its bytes arrive.
        fn readLong(self: *Self, peer: *Peer) bool {
            const before = peer.rest.items.len;
            peer.rest.ensureUnusedCapacity(self.gpa, self.room.len) catch return false;
            const count = sys.receive(peer.fd, peer.rest.unusedCapacitySlice(), .{ .wait = false }) catch |err| return err == error.WouldBlock;
            peer.rest.items.len += count;
            self.countRest(peer, before);
            self.handOverRest(peer);
            return count > 0;
        }

        fn keepRest(self: *Self, peer: *Peer, bytes: []const u8) void {
            const before = peer.rest.items.len;
            peer.rest.clearRetainingCapacity();
            if (bytes.len > 0) {
                peer.rest.appendSlice(self.gpa, bytes) catch peer.connection.refuse(.out_of_memory, "no memory for a frame; try again later");
            } else if (peer.rest.capacity > rest_kept_bytes) peer.rest.clearAndFree(self.gpa);
            self.countRest(peer, before);
            peer.is_held_up = bytes.len > 0 and peer.connection.isHeldUp();
        }

        fn handOverRest(self: *Self, peer: *Peer) void {
            const before = peer.rest.items.len;
            const used = peer.connection.receive(peer.rest.items, sys.monotonicNs());
            peer.rest.replaceRangeAssumeCapacity(0, used, &.{});
            if (peer.rest.items.len == 0 and peer.rest.capacity > rest_kept_bytes) peer.rest.clearAndFree(self.gpa);
            self.countRest(peer, before);
            peer.is_held_up = peer.rest.items.len > 0 and peer.connection.isHeldUp();
        }

        /// Counts unfinished bytes over all connections; who makes them too many is let go.
        fn countRest(self: *Self, peer: *Peer, before: usize) void {
            self.partial_bytes = self.partial_bytes - counted(before) + counted(peer.rest.items.len);
            if (self.partial_bytes > self.config.limits.partial_bytes_max and peer.rest.items.len > before and !peer.connection.ended) {
                peer.connection.refuse(.busy, "too many bytes of unfinished frames; send fewer at once");
            }
        }

        /// What a connection may keep unasked is not counted: the connections are.
        fn counted(bytes: usize) u64 {
            return if (bytes <= rest_kept_bytes) 0 else bytes;
        }

        /// Sends what the socket takes. `false`: the other side is gone.
        fn flush(_: *Self, peer: *Peer) bool {
            while (!peer.is_blocked) {
                const bytes = peer.connection.output();
                if (bytes.len == 0) break;
                const sent = sys.send(peer.fd, bytes) catch |err| {
                    if (err != error.WouldBlock) return false;
                    peer.is_blocked = true;
                    break;
                };
                peer.connection.written(sent);
                // A short count says that it is full; asking again would only hear so.
                if (sent < bytes.len) peer.is_blocked = true;
            }
            return true;
        }

        fn setInterest(self: *Self, peer: *Peer) void {
            const wanted: sys.Poller.Interest = .{
                .read = !peer.is_held_up and !peer.connection.isHeldUp(),
                .write = peer.is_blocked or peer.is_streaming,
            };
            if (std.meta.eql(wanted, peer.interest)) return;
            peer.interest = wanted;
            // It fails for a descriptor that is not in the set, which is there until it is closed.
            self.poller.change(peer.fd, peer.number, wanted) catch {};
        }

        /// Sends the answers whose tickets the handler has released since.
        fn releaseAll(self: *Self) void {
            for (std.enums.values(Gate)) |gate| {
                const now = self.handler.released(gate);
                if (now.number == self.released.get(gate)) continue;
                self.released.set(gate, now.number);
                for (self.peers.items) |slot| {
                    const peer = slot orelse continue;
                    peer.connection.release(gate, now.number, now.failure);
                    self.turn(peer, .keep);
                }
            }
        }

        /// Asks streams that waited for the handler.
        fn resumeAll(self: *Self) void {
            if (comptime !@hasDecl(Handler, "resumed")) return;
            if (!self.handler.resumed()) return;
            for (self.peers.items) |slot| {
                const peer = slot orelse continue;
                peer.connection.@"resume"();
                self.turn(peer, .keep);
            }
        }

        // Time.

        fn setTimer(self: *Self, at_ns: u64) void {
            self.timer_ns = @min(self.timer_ns, at_ns);
        }

        fn timers(self: *Self, now_ns: u64) void {
            if (now_ns >= self.accept_again_ns) {
                self.accept_again_ns = never;
                self.listen(true);
            }
            if (now_ns < self.timer_ns) return;
            self.timer_ns = never;
            for (self.peers.items) |slot| {
                const peer = slot orelse continue;
                if (!peer.connection.greeted and !peer.connection.ended) {
                    if (now_ns >= peer.hello_by_ns) {
                        peer.connection.refuse(.deadline, "no HELLO arrived in time; send it first");
                    } else self.setTimer(peer.hello_by_ns);
                }
                peer.connection.expire(now_ns);
                self.turn(peer, .keep);
            }
        }
    };
}

/// Held so that a caller can be told when there are no descriptors; -1 when there is none.
fn openReserve() sys.Fd {
    return sys.open("/dev/null", .{ .CLOEXEC = true }, 0) catch -1;
}

const number_listener: u64 = 1 << 63;
const number_signals: u64 = 1 << 62;
const number_watched: u64 = 1 << 61;
const number_lifeline: u64 = 1 << 60 | number_watched;
const generation_mask: u32 = (1 << 28) - 1;
const fd_mask: u64 = std.math.maxInt(u31);

/// Where bytes of all connections are read: the kernel's buffer of a Unix socket, and a frame before them.
const room_bytes = 512 << 10;
/// Memory for unfinished frames that an idle connection may keep.
const rest_kept_bytes = 16 << 10;
const events_per_turn = 64;
/// Portions of streamed events that one connection sends before others have their turn.
const portions_per_turn = 8;
const accepts_per_turn = 64;
const accept_pause_min_ns = 5 * std.time.ns_per_ms;
const accept_pause_max_ns = std.time.ns_per_s;
