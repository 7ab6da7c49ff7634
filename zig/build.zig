//! Builds the IFR archive (`zig build`), its daemon (`zig build daemon`), and runs its tests (`zig build test --summary all`).

const std = @import("std");
const builtin = @import("builtin");

/// The compiler that this tree is written for; `.ci/zig.txt` pins the same one.
const zig_version = std.SemanticVersion{ .major = 0, .minor = 16, .patch = 0 };

comptime {
    if (builtin.zig_version.order(zig_version) != .eq) {
        @compileError("this tree needs zig 0.16.0: run ./make setup, or set ZIG");
    }
}

pub fn build(b: *std.Build) void {
    // The archive is linked into programs that run on other machines: no features of this one's CPU.
    const target = b.standardTargetOptions(.{ .default_target = .{ .cpu_model = .baseline } });
    const optimize = b.option(
        std.builtin.OptimizeMode,
        "optimize",
        "Safety and speed of the archive (default: ReleaseSafe)",
    ) orelse .ReleaseSafe;

    const archive = b.addLibrary(.{
        .name = "mfn_ifr",
        .linkage = .static,
        .root_module = b.createModule(.{
            .root_source_file = b.path("src/lib_c.zig"),
            .target = target,
            .optimize = optimize,
            .pic = true,
            .link_libc = true,
            // The probe is a symbol that only Zig's own linker step brings.
            .stack_check = false,
            // No array on a stack is written at an index that a caller gives.
            .stack_protector = false,
            .omit_frame_pointer = false,
        }),
    });
    b.installArtifact(archive);

    const daemon = b.addExecutable(.{
        .name = "ifrd",
        .root_module = b.createModule(.{
            .root_source_file = b.path("src/ifrd.zig"),
            .target = target,
            .optimize = optimize,
            .strip = true,
        }),
    });
    const programs = b.step("daemon", "ifrd, and the programs that ask it");
    programs.dependOn(&b.addInstallArtifact(daemon, .{}).step);

    for ([_][3][]const u8{
        .{ "ifr-example", "examples/ifrd.zig", "ifr_client" },
        .{ "ifr-flow-example", "examples/flow.zig", "flow_client" },
        .{ "ifr-bench", "examples/bench.zig", "ifr_client" },
    }) |program| {
        const root = b.path(b.fmt("src/{s}.zig", .{program[2]}));
        const client = b.createModule(.{ .root_source_file = root, .target = target, .optimize = optimize });
        const example = b.addExecutable(.{
            .name = program[0],
            .root_module = b.createModule(.{
                .root_source_file = b.path(program[1]),
                .target = target,
                .optimize = optimize,
                .strip = true,
                .imports = &.{.{ .name = program[2], .module = client }},
            }),
        });
        programs.dependOn(&b.addInstallArtifact(example, .{}).step);
    }

    const local = b.createModule(.{ .root_source_file = b.path("src/local.zig"), .target = target, .optimize = optimize });
    const conformance = b.step("conformance", "The server and the client of the conformance tests");
    for ([_][2][]const u8{
        .{ "conformance-zig-server", "conformance/server.zig" },
        .{ "conformance-zig-client", "conformance/client.zig" },
    }) |program| {
        const side = b.addExecutable(.{
            .name = program[0],
            .root_module = b.createModule(.{
                .root_source_file = b.path(program[1]),
                .target = target,
                .optimize = optimize,
                .imports = &.{.{ .name = "local", .module = local }},
            }),
        });
        conformance.dependOn(&b.addInstallArtifact(side, .{ .dest_dir = .{ .override = .{ .custom = "conformance" } } }).step);
    }

    const header = b.addTranslateC(.{
        .root_source_file = b.path("../ffi/include/mfn/ifr.h"),
        .target = target,
        .optimize = optimize,
    });
    header.addIncludePath(b.path("../ffi/include"));

    const filters = b.option([]const []const u8, "test-filter", "Run only tests whose name holds this") orelse &.{};
    const tsan = b.option(bool, "tsan", "Run the tests under the thread sanitizer") orelse false;
    // What `--fuzz` needs of the compiler: instrumentation by LLVM, no error traces.
    const fuzz = b.option(bool, "fuzz", "Build the tests for --fuzz") orelse false;
    const unit_tests = b.addTest(.{
        .filters = filters,
        .use_llvm = if (fuzz) true else null,
        .root_module = b.createModule(.{
            .root_source_file = b.path("src/tests.zig"),
            .target = target,
            // Debug would be slow and ReleaseSafe is what ships.
            .optimize = optimize,
            .link_libc = true,
            .sanitize_thread = tsan,
            .error_tracing = if (fuzz) false else null,
            .imports = &.{.{ .name = "ifr_h", .module = header.createModule() }},
        }),
    });
    for ([_][2][]const u8{
        .{ "vectors", "../integration/vectors/wire.txt" },
        .{ "canary", "../integration/vectors/canary.json" },
        .{ "breaker_traces", "../integration/vectors/breaker.txt" },
        .{ "breaker_canary", "../integration/vectors/breaker_canary.txt" },
        .{ "ifr_vectors", "../integration/vectors/ifr.txt" },
        .{ "ifr_flow_vectors", "../integration/vectors/ifr_flows.txt" },
        .{ "summaries", "../integration/vectors/ifr/summary.json" },
    }) |file| {
        unit_tests.root_module.addAnonymousImport(file[0], .{ .root_source_file = b.path(file[1]) });
    }
    const run = b.addRunArtifact(unit_tests);
    if (b.args) |args| run.addArgs(args);
    b.step("test", "Unit, property and layout tests").dependOn(&run.step);
}
