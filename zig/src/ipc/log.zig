//! Log lines on standard error: `time=… level=INFO msg="ifrd is up" socket=/run/…`, one write each.

const std = @import("std");
const sys = @import("sys.zig");

pub const Level = enum { DEBUG, INFO, WARN, ERROR };

pub const Log = struct {
    fd: sys.Fd = 2,
    least: Level = .INFO,
    /// Begin lines with the time; a program that reads them may have its own.
    with_time: bool = true,

    pub fn info(log: Log, message: []const u8, fields: anytype) void {
        log.line(.INFO, message, fields);
    }

    pub fn warn(log: Log, message: []const u8, fields: anytype) void {
        log.line(.WARN, message, fields);
    }

    pub fn err(log: Log, message: []const u8, fields: anytype) void {
        log.line(.ERROR, message, fields);
    }

    /// A line that does not fit is cut; one that cannot be written is lost: there is nowhere to say so.
    fn line(log: Log, level: Level, message: []const u8, fields: anytype) void {
        if (@intFromEnum(level) < @intFromEnum(log.least)) return;
        var memory: [line_bytes_max + 1]u8 = undefined;
        var out = std.Io.Writer.fixed(memory[0..line_bytes_max]);
        log.render(&out, level, message, fields) catch {};
        memory[out.end] = '\n';
        _ = sys.write(log.fd, memory[0 .. out.end + 1]) catch {};
    }

    fn render(log: Log, out: *std.Io.Writer, level: Level, message: []const u8, fields: anytype) std.Io.Writer.Error!void {
        if (log.with_time) {
            try out.writeAll("time=");
            try time(out, sys.wallNs());
            try out.writeByte(' ');
        }
        try out.print("level={s} msg=", .{@tagName(level)});
        try text(out, message);
        inline for (@typeInfo(@TypeOf(fields)).@"struct".fields) |field| {
            try out.print(" {s}=", .{field.name});
            const value = @field(fields, field.name);
            switch (@typeInfo(field.type)) {
                .int, .comptime_int => try out.print("{d}", .{value}),
                else => try text(out, value),
            }
        }
    }
};

/// Bare when it is one plain word, else quoted.
fn text(out: *std.Io.Writer, value: []const u8) std.Io.Writer.Error!void {
    const is_plain = for (value) |byte| {
        if (byte <= ' ' or byte >= 0x7f or byte == '"' or byte == '=') break false;
    } else value.len > 0;
    if (is_plain) return out.writeAll(value);
    try out.print("\"{f}\"", .{std.zig.fmtString(value)});
}

/// RFC 3339 in UTC, with milliseconds.
fn time(out: *std.Io.Writer, ns: u64) std.Io.Writer.Error!void {
    const seconds: std.time.epoch.EpochSeconds = .{ .secs = ns / std.time.ns_per_s };
    const day = seconds.getEpochDay().calculateYearDay();
    const month = day.calculateMonthDay();
    const clock = seconds.getDaySeconds();
    try out.print("{d:0>4}-{d:0>2}-{d:0>2}T{d:0>2}:{d:0>2}:{d:0>2}.{d:0>3}Z", .{
        day.year,                                    month.month.numeric(),      month.day_index + 1,
        clock.getHoursIntoDay(),                     clock.getMinutesIntoHour(), clock.getSecondsIntoMinute(),
        ns % std.time.ns_per_s / std.time.ns_per_ms,
    });
}

const line_bytes_max = 4096;

test time {
    var memory: [64]u8 = undefined;
    var out = std.Io.Writer.fixed(&memory);
    try time(&out, 1_700_000_000_123_456_789);
    try std.testing.expectEqualStrings("2023-11-14T22:13:20.123Z", out.buffered());
}
