//! Turns a panic into a status: every exported function is entered through a recovery point.
//!
//! `of(body)` is a function of the C ABI that stores the callee-saved registers on the stack, makes that
//! frame the thread's recovery point and calls `body` with the arguments as they came. A panic below
//! reports its message, poisons the handle that the frame names, gives the frame's registers back and
//! returns MFN_PANIC to the caller of the frame. The way in costs a dozen stores and no system call.
//!
//! What makes the jump sound: between a recovery point and a panic there are only our own frames. None
//! of them holds a lock, and none is unwound, so what a panicking function held is lost: the handle
//! answers MFN_PANIC from then on, and freeing it leaks. A visitor of the caller runs above a recovery
//! point; what it calls here has a recovery point of its own, and it must not jump over ours.

const std = @import("std");
const builtin = @import("builtin");
const Status = @import("../gen/protocol.zig").Status;

/// Elsewhere a broken invariant aborts, as there is no recovery point to go back to.
pub const recovers = builtin.os.tag == .linux and switch (builtin.cpu.arch) {
    .x86_64, .aarch64 => true,
    else => false,
};

/// Whose handle is poisoned.
pub const Poison = enum {
    /// The first argument is a `struct mfn_ifr *`.
    first_argument,
    /// No handle is known yet.
    nothing,
};

/// What a recovery point leaves on the stack, lowest address first.
const Frame = switch (builtin.cpu.arch) {
    .aarch64 => extern struct {
        below: ?*Frame,
        handle: ?*anyopaque,
        saved: [20]u64,
    },
    else => extern struct {
        below: ?*Frame,
        handle: ?*anyopaque,
        /// r15 r14 r13 r12 rbx rbp, then the return address.
        saved: [7]u64,
    },
};

/// The thread's innermost recovery point. A symbol, because the code below names it.
export threadlocal var mfn_ifr_guard_top: ?*Frame = null;
threadlocal var reporting: bool = false;

/// C: mfn_ifr_panic_reporter
pub const Reporter = *const fn (message: [*]const u8, message_bytes: usize) callconv(.c) void;

var reporter: std.atomic.Value(?Reporter) = .init(null);

pub fn setReporter(given: ?Reporter) callconv(.c) void {
    reporter.store(given, .release);
}

/// `body` behind a recovery point. The type says nothing: C knows it by its header.
pub fn of(comptime body: anytype, comptime poison: Poison) *const Code(body) {
    if (!recovers) return &body;
    const arguments = @typeInfo(@TypeOf(body)).@"fn".params.len;
    // More would lie on the stack, which the frame moves.
    comptime std.debug.assert(arguments <= 6);
    const Stub = struct {
        // Not noreturn: callers inside Zig would take what follows their call for dead code.
        fn enter() callconv(.naked) void {
            switch (builtin.cpu.arch) {
                .aarch64 => asm volatile (
                    \\ stp x29, x30, [sp, #-160]!
                    \\ mov x29, sp
                    \\ stp x27, x28, [sp, #16]
                    \\ stp x25, x26, [sp, #32]
                    \\ stp x23, x24, [sp, #48]
                    \\ stp x21, x22, [sp, #64]
                    \\ stp x19, x20, [sp, #80]
                    \\ stp d8, d9, [sp, #96]
                    \\ stp d10, d11, [sp, #112]
                    \\ stp d12, d13, [sp, #128]
                    \\ stp d14, d15, [sp, #144]
                    \\ mrs x9, tpidr_el0
                    \\ adrp x10, :gottprel:mfn_ifr_guard_top
                    \\ ldr x10, [x10, :gottprel_lo12:mfn_ifr_guard_top]
                    \\ ldr x11, [x9, x10]
                ++ "\n stp x11, " ++ (if (poison == .nothing) "xzr" else "x0") ++ ", [sp, #-16]!\n" ++
                    \\ mov x11, sp
                    \\ str x11, [x9, x10]
                    \\ bl %[body]
                    \\ ldr x11, [sp], #16
                    \\ mrs x9, tpidr_el0
                    \\ adrp x10, :gottprel:mfn_ifr_guard_top
                    \\ ldr x10, [x10, :gottprel_lo12:mfn_ifr_guard_top]
                    \\ str x11, [x9, x10]
                    \\ ldp x29, x30, [sp], #160
                    \\ ret
                    :
                    : [body] "X" (&body),
                ),
                else => asm volatile ("pushq %%rbp\n" ++
                        \\ pushq %%rbx
                        \\ pushq %%r12
                        \\ pushq %%r13
                        \\ pushq %%r14
                        \\ pushq %%r15
                    ++ "\n pushq " ++ (if (poison == .nothing) "$0" else "%%rdi") ++ "\n" ++
                        \\ movq mfn_ifr_guard_top@GOTTPOFF(%%rip), %%rax
                        \\ pushq %%fs:(%%rax)
                        \\ movq %%rsp, %%fs:(%%rax)
                        \\ subq $8, %%rsp
                        \\ callq %[body:P]
                        \\ movq 8(%%rsp), %%rcx
                        \\ movq mfn_ifr_guard_top@GOTTPOFF(%%rip), %%rdx
                        \\ movq %%rcx, %%fs:(%%rdx)
                        \\ addq $72, %%rsp
                        \\ retq
                    :
                    : [body] "X" (&body),
                ),
            }
        }
    };
    return &Stub.enter;
}

fn Code(comptime body: anytype) type {
    return if (recovers) fn () callconv(.naked) void else @TypeOf(body);
}

/// The handler of every panic of the archive.
pub fn panicked(message: []const u8, _: ?usize) noreturn {
    @branchHint(.cold);
    // A reporter that panics here is given up, together with the process.
    if (!recovers or reporting) {
        write("mfn_ifr: broken invariant, no way back: ", message);
        std.c.abort();
    }
    reporting = true;
    if (reporter.load(.acquire)) |call| {
        call(message.ptr, message.len);
    } else {
        write("mfn_ifr: broken invariant: ", message);
    }
    reporting = false;
    const frame = mfn_ifr_guard_top orelse std.c.abort();
    if (frame.handle) |handle| @import("handle.zig").poison(handle);
    mfn_ifr_guard_top = frame.below;
    leave(frame);
}

fn leave(frame: *Frame) noreturn {
    const status: i32 = @intFromEnum(Status.panic);
    switch (builtin.cpu.arch) {
        .aarch64 => asm volatile (
            \\ add sp, %[saved], #0
            \\ ldp x27, x28, [sp, #16]
            \\ ldp x25, x26, [sp, #32]
            \\ ldp x23, x24, [sp, #48]
            \\ ldp x21, x22, [sp, #64]
            \\ ldp x19, x20, [sp, #80]
            \\ ldp d8, d9, [sp, #96]
            \\ ldp d10, d11, [sp, #112]
            \\ ldp d12, d13, [sp, #128]
            \\ ldp d14, d15, [sp, #144]
            \\ mov w0, %[status:w]
            \\ ldp x29, x30, [sp], #160
            \\ ret
            :
            : [saved] "{x1}" (&frame.saved),
              [status] "{x2}" (status),
        ),
        else => asm volatile (
            \\ movq %%rcx, %%rsp
            \\ popq %%r15
            \\ popq %%r14
            \\ popq %%r13
            \\ popq %%r12
            \\ popq %%rbx
            \\ popq %%rbp
            \\ retq
            :
            : [saved] "{rcx}" (&frame.saved),
              [status] "{eax}" (status),
        ),
    }
    unreachable;
}

fn write(prefix: []const u8, message: []const u8) void {
    // Nothing is left to do about an error.
    _ = std.c.write(2, prefix.ptr, prefix.len);
    _ = std.c.write(2, message.ptr, message.len);
    _ = std.c.write(2, "\n", 1);
}

comptime {
    if (recovers) {
        std.debug.assert(@sizeOf(Frame) == if (builtin.cpu.arch == .aarch64) 176 else 72);
    }
}
