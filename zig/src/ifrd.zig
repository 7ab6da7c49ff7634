//! The daemon of layer 1: command line, log lines, exit status. 0: it ended as asked; 1: it cannot go on; 2: the command
//! line is wrong.

const std = @import("std");
const protocol = @import("gen/protocol.zig");
const root = @import("root.zig");
const serving = @import("ipc/server.zig");
const sockets = @import("ipc/socket.zig");
const sys = @import("ipc/sys.zig");
const Journal = @import("journal.zig").Journal;
const Durability = @import("journal.zig").Durability;
const Log = @import("ipc/log.zig").Log;
const Service = @import("service.zig").Service;

const version = "0.1.0";

const usage =
    \\ifrd keeps exact keys and their 16-byte values in memory and answers on a Unix socket:
    \\digests of 32 bytes, and byte keys of any form; and records of digests in pools. Layer 1 of the Memory Flow Network.
    \\
    \\usage: ifrd --socket PATH --dir DIR [options]
    \\
    \\  To try it:
    \\    ifrd --socket /tmp/ifr/mfn_ifr.sock --dir /tmp/ifr
    \\
    \\The local wire that it speaks is described in docs/PROTOCOL.md, its files in docs/JOURNAL.md.
    \\It ends when told to (SIGTERM, SIGINT), after the requests that it has taken.
    \\
    \\options:
    \\  --socket PATH          path of the socket, at most 107 bytes
    \\  --dir DIR              directory of the snapshot and the log
    \\  --bytes-max N          most memory of the table, with K, M or G for 2^10, 2^20 or 2^30 (default 1G)
    \\  --pools-bytes-max N    most memory that the budgets of all pools of records may come to (default 256M)
    \\  --durability sync      answer a change when the disk has it (default)
    \\  --durability none      answer when the kernel has it; a crash of the machine may lose the newest changes
    \\  --connections-max N    most connections at once (default 1024)
    \\  --exit-on-stdin-eof    end when standard input does: with the program that started it
    \\  --log-time BOOL        begin log lines with the time (default true)
    \\  --version              print the version
    \\  --help                 print this
    \\
;

const Options = struct {
    socket: []const u8 = "",
    directory: []const u8 = "",
    bytes_max: u64 = 1 << 30,
    pools_bytes_max: u64 = 256 << 20,
    durability: Durability = .sync,
    connections_max: u32 = 1024,
    exit_on_stdin_eof: bool = false,
    log_time: bool = true,
};

/// What the command line asks for.
const Asked = union(enum) { serve: Options, help, version, wrong: []const u8 };

pub fn main(init: std.process.Init.Minimal) u8 {
    var memory: [8 << 10]u8 = undefined;
    var arguments = std.process.Args.Iterator.init(init.args);
    _ = arguments.skip();
    const options = switch (parse(&arguments, &memory)) {
        .help => return print(1, usage, 0),
        .version => return print(1, "ifrd " ++ version ++ "\n", 0),
        .wrong => |text| {
            _ = print(2, "ifrd: ", 2);
            _ = print(2, text, 2);
            return print(2, "; see ifrd --help\n", 2);
        },
        .serve => |options| options,
    };
    const log: Log = .{ .with_time = options.log_time };
    run(options, log) catch |err| {
        log.err("ifrd cannot go on", .{ .@"error" = @errorName(err), .system = sys.lastName(), .socket = options.socket, .repair = repair(err) });
        return 1;
    };
    return 0;
}

fn print(fd: sys.Fd, text: []const u8, status: u8) u8 {
    // There is nowhere to say that it failed.
    sys.writeAll(fd, text) catch {};
    return status;
}

fn parse(arguments: *std.process.Args.Iterator, memory: []u8) Asked {
    var options: Options = .{};
    while (arguments.next()) |argument| {
        var name: []const u8 = argument;
        var given: ?[]const u8 = null;
        if (std.mem.indexOfScalar(u8, argument, '=')) |at| {
            name = argument[0..at];
            given = argument[at + 1 ..];
        }
        if (is(name, "--help") or is(name, "-h")) return .help;
        if (is(name, "--version")) return .version;
        if (is(name, "--exit-on-stdin-eof") and given == null) {
            options.exit_on_stdin_eof = true;
            continue;
        }
        const known = for (with_value) |option| {
            if (is(name, option)) break true;
        } else false;
        if (!known) return wrong(memory, "'{s}' is not an option", .{argument});
        const value = given orelse arguments.next() orelse return wrong(memory, "{s} wants a value", .{name});
        if (!set(&options, name, value)) return wrong(memory, "'{s}' is no value of {s}", .{ value, name });
    }
    if (options.socket.len == 0 or options.directory.len == 0) return .{ .wrong = "--socket and --dir are needed" };
    return .{ .serve = options };
}

const with_value = [_][]const u8{ "--socket", "--dir", "--bytes-max", "--pools-bytes-max", "--durability", "--connections-max", "--log-time" };

fn set(options: *Options, name: []const u8, value: []const u8) bool {
    if (is(name, "--socket")) options.socket = value;
    if (is(name, "--dir")) options.directory = value;
    if (is(name, "--bytes-max")) options.bytes_max = size(value) orelse return false;
    if (is(name, "--pools-bytes-max")) options.pools_bytes_max = size(value) orelse return false;
    if (is(name, "--durability")) options.durability = std.meta.stringToEnum(Durability, value) orelse return false;
    if (is(name, "--connections-max")) {
        options.connections_max = std.fmt.parseInt(u32, value, 10) catch return false;
        if (options.connections_max == 0) return false;
    }
    if (is(name, "--log-time")) {
        if (!is(value, "true") and !is(value, "false")) return false;
        options.log_time = is(value, "true");
    }
    return true;
}

/// A number of bytes, such as `64M`.
fn size(text: []const u8) ?u64 {
    if (text.len == 0) return null;
    const shift: u6 = switch (text[text.len - 1]) {
        'K', 'k' => 10,
        'M', 'm' => 20,
        'G', 'g' => 30,
        else => 0,
    };
    const digits = if (shift == 0) text else text[0 .. text.len - 1];
    const number = std.fmt.parseInt(u64, digits, 10) catch return null;
    return std.math.shlExact(u64, number, shift) catch null;
}

fn is(a: []const u8, b: []const u8) bool {
    return std.mem.eql(u8, a, b);
}

fn wrong(memory: []u8, comptime format: []const u8, values: anytype) Asked {
    return .{ .wrong = std.fmt.bufPrint(memory, format, values) catch "an argument is too long" };
}

const gpa = std.heap.smp_allocator;

fn run(options: Options, log: Log) !void {
    sys.raiseDescriptors(@as(u64, options.connections_max) + descriptors_own);
    // A file that may not grow is an error of its write, and no end.
    try sys.block(&.{.XFSZ});
    const signals = try sys.signals(&.{ .TERM, .INT });
    defer sys.close(signals);
    var hash_key: [root.constants.hash_key_bytes]u8 = undefined;
    try sys.random(&hash_key);
    var ifr = try root.Ifr.init(gpa, .{ .bytes_max = options.bytes_max, .hash_key = hash_key, .filter = true });
    defer ifr.deinit();
    var flows = root.Flows.init(gpa, &hash_key);
    defer flows.deinit();
    var bound = try sockets.bind(options.socket, listen_backlog);
    defer bound.close();
    var journal: Journal = undefined;
    var service: Service = .init(&ifr, &flows, &journal, options.pools_bytes_max);
    defer service.deinit();
    try journal.open(gpa, options.directory, .{
        .service = @intFromEnum(protocol.Service.ifr),
        .durability = options.durability,
        .log = log,
    }, &service);
    defer journal.close();
    var server: serving.Server(Service) = try .init(gpa, .{
        .service = .ifr,
        .software = "ifrd/" ++ version,
        .limits = .{ .connections_max = options.connections_max },
    }, &bound, signals, &service, log);
    defer server.deinit();
    service.socket = &server.stats;
    try server.watch(journal.bell());
    if (options.exit_on_stdin_eof) try server.endWith(0);
    const held = ifr.stats();
    log.info("ifrd is up", .{
        .socket = options.socket,
        .entries = held.digest_entries + held.bytes_entries,
        .bytes = held.bytes,
        .bytes_max = options.bytes_max,
        .durability = @tagName(options.durability),
    });
    try server.run();
    log.info("ifrd ends", .{ .requests = server.stats.requests });
}

/// What helps against an error.
fn repair(err: anyerror) []const u8 {
    return switch (err) {
        error.InUse => "another process serves the socket; stop that one first",
        error.Unsafe => "something that is not ours is in the way, or the directory is shared; choose one of our own",
        error.PathTooLong => "choose a path of at most 107 bytes",
        error.Limit => "give a larger --bytes-max, or --pools-bytes-max",
        error.DirectoryInUse => "another ifrd uses the directory; stop that one first",
        error.Corrupt => "see the log line before this one",
        error.NoSpace => "free some room on the disk",
        error.Denied => "choose a directory that this user may write",
        else => "see the error",
    };
}

const listen_backlog = 1024;
/// Descriptors that are no connections.
const descriptors_own = 32;
