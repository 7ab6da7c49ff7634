//! The root of the tests.

test {
    _ = @import("hash.zig");
    _ = @import("budget.zig");
    _ = @import("segment.zig");
    _ = @import("window.zig");
    _ = @import("table.zig");
    _ = @import("filter.zig");
    _ = @import("summary.zig");
    _ = @import("root.zig");
    _ = @import("wire.zig");
    _ = @import("body.zig");
    _ = @import("ipc/connection.zig");
    _ = @import("journal/crc32.zig");
    _ = @import("journal/format.zig");
    _ = @import("journal.zig");
    _ = @import("flow_body.zig");
    _ = @import("flow_answer.zig");
    _ = @import("service.zig");
    _ = @import("value_pools.zig");
    _ = @import("ipc/log.zig");
    _ = @import("testing/vectors.zig");
    _ = @import("testing/breaker.zig");
    _ = @import("testing/pool.zig");
    _ = @import("testing/bodies.zig");
    _ = @import("testing/connection.zig");
    _ = @import("testing/journal.zig");
    _ = @import("testing/model.zig");
    _ = @import("testing/layout.zig");
    _ = @import("testing/border.zig");
    _ = @import("testing/guard.zig");
    _ = @import("testing/flows.zig");
    _ = @import("testing/readers.zig");
    _ = @import("testing/fuzz.zig");
}
