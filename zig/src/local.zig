//! The local wire for Zig programs: a client that blocks, a pool of them with
//! circuit breakers, a server of one thread, and the frames under both; and pools of records of `ifrd`.
//!
//! `ipc/server.zig` says what a server's handler has; `zig/conformance` has a small program for each side.

pub const protocol = @import("gen/protocol.zig");
pub const wire = @import("wire.zig");
pub const Client = calling.Client;
pub const Refusal = calling.Refusal;
pub const Request = calling.Request;
pub const Pool = pools.Pool;
pub const pools = @import("ipc/pool.zig");
pub const breakers = @import("ipc/breaker.zig");
pub const deadlineIn = calling.deadlineIn;
pub const serving = @import("ipc/server.zig");
pub const connections = @import("ipc/connection.zig");
pub const sockets = @import("ipc/socket.zig");
pub const sys = @import("ipc/sys.zig");
pub const flows = @import("flow_client.zig");
pub const flow_bodies = @import("flow_body.zig");
pub const flow_answers = @import("flow_answer.zig");
pub const Log = @import("ipc/log.zig").Log;

const calling = @import("ipc/client.zig");
