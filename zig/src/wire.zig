//! Reads and writes frames of the local wire: docs/PROTOCOL.md. No I/O; decoding allocates nothing.

const std = @import("std");
const protocol = @import("gen/protocol.zig");

const length_bytes = protocol.limits.length_bytes;
const header_bytes = protocol.limits.header_bytes;
const known_flags = protocol.flag.tlv | protocol.flag.sampled;

/// The first rule that some bytes break.
pub const Error = error{
    FrameShort,
    FrameTooLarge,
    FrameLength,
    BadVersion,
    BadKind,
    BadService,
    BadContentType,
    BadFlags,
    BadStatus,
    BadRequestId,
    BadCredit,
    BadTlv,
    BadUtf8,
};

/// The status that says the same on the wire.
pub fn statusOf(err: Error) protocol.Status {
    return switch (err) {
        error.FrameShort => .frame_short,
        error.FrameTooLarge => .frame_too_large,
        error.FrameLength => .frame_length,
        error.BadVersion => .bad_version,
        error.BadKind => .bad_kind,
        error.BadService => .bad_service,
        error.BadContentType => .bad_content_type,
        error.BadFlags => .bad_flags,
        error.BadStatus => .bad_status,
        error.BadRequestId => .bad_request_id,
        error.BadCredit => .bad_credit,
        error.BadTlv => .bad_tlv,
        error.BadUtf8 => .bad_utf8,
    };
}

/// The same in words, for an error frame.
pub fn textOf(err: Error) []const u8 {
    return switch (err) {
        error.BadVersion => std.fmt.comptimePrint("the frame is not of version {d} of the wire; update the older program", .{protocol.version}),
        else => @errorName(err),
    };
}

/// The fixed fields of a frame.
pub const Header = struct {
    kind: protocol.Kind,
    service: protocol.Service,
    content_type: protocol.ContentType = .none,
    method: u16 = 0,
    /// `protocol.flag`; the TLV flag is set as the area is there.
    flags: u16 = 0,
    /// Negative in an error, else 0.
    status: i32 = 0,
    request_id: u64 = 0,
    /// CLOCK_MONOTONIC nanoseconds; 0 is none.
    deadline_ns: u64 = 0,
    trace_id: [16]u8 = @splat(0),
    span_id: [8]u8 = @splat(0),
    credit: u32 = 0,
};

/// One entry between header and body.
pub const Tlv = struct { type: u16, value: []const u8 };

/// Walks the entries of an area that was checked.
pub const Tlvs = struct {
    area: []const u8,

    pub fn next(self: *Tlvs) ?Tlv {
        if (self.area.len < 4) return null;
        const size = std.mem.readInt(u16, self.area[2..4], .little);
        if (self.area.len - 4 < size) return null;
        defer self.area = self.area[4 + @as(usize, size) ..];
        return .{ .type = std.mem.readInt(u16, self.area[0..2], .little), .value = self.area[4..][0..size] };
    }
};

/// A whole frame; `tlvs` and `body` point into the bytes that it was decoded from.
pub const Frame = struct { header: Header, tlvs: Tlvs, body: []const u8 };

/// How many bytes the frame at the start of a buffer takes, its length prefix included; null while fewer than four are
/// there. After an error no later byte of the stream can be trusted.
pub fn frameLength(bytes: []const u8) Error!?usize {
    if (bytes.len < length_bytes) return null;
    const length = std.mem.readInt(u32, bytes[0..4], .little);
    if (length > protocol.limits.frame_bytes_max) return error.FrameTooLarge;
    if (length < header_bytes) return error.FrameShort;
    return length_bytes + @as(usize, length);
}

fn known(comptime Enum: type, number: u8) ?Enum {
    inline for (@typeInfo(Enum).@"enum".fields) |field| {
        if (field.value == number) return @enumFromInt(field.value);
    }
    return null;
}

/// Decodes one whole frame, its length prefix included; nothing may follow it. The order of the checks is part of the
/// specification.
pub fn decode(bytes: []const u8) Error!Frame {
    const total = try frameLength(bytes) orelse return error.FrameShort;
    if (bytes.len != total) return error.FrameLength;
    const fixed = bytes[length_bytes..][0..header_bytes];
    if (fixed[0] != protocol.version) return error.BadVersion;
    const kind = known(protocol.Kind, fixed[1]) orelse return error.BadKind;
    const service = known(protocol.Service, fixed[2]) orelse return error.BadService;
    const content_type = known(protocol.ContentType, fixed[3]) orelse return error.BadContentType;
    const header: Header = .{
        .kind = kind,
        .service = service,
        .content_type = content_type,
        .method = std.mem.readInt(u16, fixed[4..6], .little),
        .flags = std.mem.readInt(u16, fixed[6..8], .little),
        .status = std.mem.readInt(i32, fixed[8..12], .little),
        .request_id = std.mem.readInt(u64, fixed[12..20], .little),
        .deadline_ns = std.mem.readInt(u64, fixed[20..28], .little),
        .trace_id = fixed[28..44].*,
        .span_id = fixed[44..52].*,
        .credit = std.mem.readInt(u32, fixed[52..56], .little),
    };
    if (header.flags & ~@as(u16, known_flags) != 0) return error.BadFlags;
    try checkHeader(header);
    var frame: Frame = .{ .header = header, .tlvs = .{ .area = &.{} }, .body = bytes[length_bytes + header_bytes ..] };
    if (header.flags & protocol.flag.tlv != 0) {
        if (frame.body.len < 4) return error.BadTlv;
        const area = std.mem.readInt(u32, frame.body[0..4], .little);
        if (area > protocol.limits.tlv_area_bytes_max or area > frame.body.len - 4) return error.BadTlv;
        frame.tlvs.area = frame.body[4..][0..area];
        frame.body = frame.body[4 + @as(usize, area) ..];
        try checkTlvs(frame.tlvs);
    }
    if (content_type == .none and frame.body.len > 0) return error.BadContentType;
    if (content_type == .text and !std.unicode.utf8ValidateSlice(frame.body)) return error.BadUtf8;
    var entries = frame.tlvs;
    while (entries.next()) |entry| {
        if (entry.type == protocol.tlv.software and !std.unicode.utf8ValidateSlice(entry.value)) return error.BadUtf8;
    }
    return frame;
}

/// The rules between fields.
fn checkHeader(header: Header) Error!void {
    const is_error = header.kind == .@"error";
    if (is_error != (header.status < 0) or header.status > 0) return error.BadStatus;
    const of_connection = header.kind == .hello or header.kind == .goaway;
    if (!is_error and of_connection != (header.request_id == 0)) return error.BadRequestId;
    const most: u32 = if (header.kind == .request or header.kind == .credit) protocol.limits.credit_max else 0;
    if (header.credit > most or (header.kind == .credit and header.credit == 0)) return error.BadCredit;
}

/// Entries fill the area, and known ones have their form.
fn checkTlvs(tlvs: Tlvs) Error!void {
    var entries = tlvs;
    while (entries.next()) |entry| {
        const fits = switch (entry.type) {
            protocol.tlv.features => entry.value.len == 8,
            protocol.tlv.limits => entry.value.len == 12,
            else => true,
        };
        if (!fits) return error.BadTlv;
    }
    if (entries.area.len != 0) return error.BadTlv;
}

/// Appends a whole frame; `area` holds encoded entries and is empty when there are none. What `decode` would refuse is
/// refused, and nothing is appended then.
pub fn encode(
    allocator: std.mem.Allocator,
    out: *std.ArrayList(u8),
    header: Header,
    area: []const u8,
    body: []const u8,
) (Error || std.mem.Allocator.Error)!void {
    const start = out.items.len;
    errdefer out.shrinkRetainingCapacity(start);
    const has_area = area.len > 0 or header.flags & protocol.flag.tlv != 0;
    const length = header_bytes + (if (has_area) 4 + area.len else 0) + body.len;
    if (length > protocol.limits.frame_bytes_max) return error.FrameTooLarge;
    const flags = if (has_area) header.flags | protocol.flag.tlv else header.flags;
    const fixed = try out.addManyAsArray(allocator, head_bytes);
    writeHead(fixed, header, flags, @intCast(length));
    if (has_area) {
        var size: [4]u8 = undefined;
        std.mem.writeInt(u32, &size, @intCast(area.len), .little);
        try out.appendSlice(allocator, &size);
        try out.appendSlice(allocator, area);
    }
    try out.appendSlice(allocator, body);
    _ = try decode(out.items[start..]);
}

/// Length prefix and header together.
pub const head_bytes = length_bytes + header_bytes;

/// Writes length prefix and header where a body already stands. Nothing is checked: for who makes headers that are right
/// by construction.
pub fn writeHead(fixed: *[head_bytes]u8, header: Header, flags: u16, length: u32) void {
    std.mem.writeInt(u32, fixed[0..4], length, .little);
    fixed[4..8].* = .{ protocol.version, @intFromEnum(header.kind), @intFromEnum(header.service), @intFromEnum(header.content_type) };
    std.mem.writeInt(u16, fixed[8..10], header.method, .little);
    std.mem.writeInt(u16, fixed[10..12], flags, .little);
    std.mem.writeInt(i32, fixed[12..16], header.status, .little);
    std.mem.writeInt(u64, fixed[16..24], header.request_id, .little);
    std.mem.writeInt(u64, fixed[24..32], header.deadline_ns, .little);
    fixed[32..48].* = header.trace_id;
    fixed[48..56].* = header.span_id;
    std.mem.writeInt(u32, fixed[56..60], header.credit, .little);
}

/// What one side says of itself in HELLO.
pub const Hello = struct {
    features: u64 = 0,
    frame_bytes_max: u32 = protocol.limits.frame_bytes_max,
    requests_in_flight_max: u32 = 0,
    connections_max: u32 = 0,
    software: []const u8 = "",

    /// Reads the entries that are there; the rest keeps its default.
    pub fn of(entries: Tlvs) Hello {
        var hello: Hello = .{};
        var rest = entries;
        while (rest.next()) |entry| switch (entry.type) {
            protocol.tlv.features => hello.features = std.mem.readInt(u64, entry.value[0..8], .little),
            protocol.tlv.limits => {
                hello.frame_bytes_max = std.mem.readInt(u32, entry.value[0..4], .little);
                hello.requests_in_flight_max = std.mem.readInt(u32, entry.value[4..8], .little);
                hello.connections_max = std.mem.readInt(u32, entry.value[8..12], .little);
            },
            protocol.tlv.software => hello.software = entry.value,
            else => {},
        };
        return hello;
    }

    /// The longest frame to send to who says this. An error always fits.
    pub fn frameBytesMax(hello: Hello) u32 {
        const limit = protocol.limits.frame_bytes_max;
        return if (hello.frame_bytes_max == 0) limit else std.math.clamp(hello.frame_bytes_max, frame_bytes_least, limit);
    }

    /// Most requests to have in flight with who says this.
    pub fn inFlightMax(hello: Hello) u32 {
        const limit = protocol.limits.requests_in_flight_max;
        return if (hello.requests_in_flight_max == 0) limit else @min(hello.requests_in_flight_max, limit);
    }

    /// Appends the HELLO of that service; a name of more than 255 bytes is cut.
    pub fn append(
        hello: Hello,
        allocator: std.mem.Allocator,
        out: *std.ArrayList(u8),
        service: protocol.Service,
    ) (Error || std.mem.Allocator.Error)!void {
        const software = hello.software[0..@min(hello.software.len, 255)];
        var area: [4 + 8 + 4 + 12 + 4 + 255]u8 = undefined;
        var at: usize = 0;
        var features: [8]u8 = undefined;
        std.mem.writeInt(u64, &features, hello.features, .little);
        var limits: [12]u8 = undefined;
        std.mem.writeInt(u32, limits[0..4], hello.frame_bytes_max, .little);
        std.mem.writeInt(u32, limits[4..8], hello.requests_in_flight_max, .little);
        std.mem.writeInt(u32, limits[8..12], hello.connections_max, .little);
        for ([_]Tlv{
            .{ .type = protocol.tlv.features, .value = &features },
            .{ .type = protocol.tlv.limits, .value = &limits },
            .{ .type = protocol.tlv.software, .value = software },
        }) |entry| {
            std.mem.writeInt(u16, area[at..][0..2], entry.type, .little);
            std.mem.writeInt(u16, area[at + 2 ..][0..2], @intCast(entry.value.len), .little);
            @memcpy(area[at + 4 ..][0..entry.value.len], entry.value);
            at += 4 + entry.value.len;
        }
        try encode(allocator, out, .{ .kind = .hello, .service = service }, area[0..at], &.{});
    }
};

/// Less cannot be announced: what ends a connection must fit.
const frame_bytes_least = 8 << 10;
