//! `xtask ffi build|test`: headers alone, and the C programs of `ffi/`.
//!
//! Each header compiles alone as C11 and as C++17. Each program of `ffi/tests` and `ffi/examples` compiles with the
//! archives that its includes name; `test` runs it under the address and undefined-behaviour sanitizers.
//! `xtask ffi program SOURCE` compiles one as `test` does, for who runs it with arguments of its own.
//! `xtask ffi library` makes one shared library of the archives in Rust and Zig, for languages that load one, and another of
//! layer 3 in Go.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::test::Totals;

/// Warnings are errors, as they are for a user who compiles that way.
const STRICT: &[&str] = &["-Wall", "-Wextra", "-Werror", "-Iffi/include"];

/// A sanitizer's finding ends the program with this, and no program uses it itself.
const FOUND: i32 = 99;

/// Arguments of the programs that want some, by file.
const ARGUMENTS: &[(&str, &[&str])] = &[("ffi/tests/wire.c", &["integration/vectors/wire.txt"])];

/// Programs that talk to a running node, or to ifrd. Alone they must say how they are used, with status 1 or 2; with a node they
/// are run by `integration/tests`.
const NEED_A_NODE: &[&str] = &[
    "ffi/examples/alm_socket.c",
    "ffi/examples/ifr_flow.c",
    "ffi/examples/ifrd.c",
    "ffi/examples/list.c",
    "ffi/examples/peers.c",
    "ffi/tests/client.c",
    "ffi/tests/conformance.c",
];

/// The layers in Rust and Zig, for languages that load a shared library.
const LIBRARY: &str = "libmfn.so";

/// Layer 3, which brings the Go runtime.
const GO_LIBRARY: &str = "libmfn_alm.so";

/// What is compiled, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Build,
    Test,
}

/// Runs `build` or `test`.
pub(crate) fn run(root: &Path, args: &[String]) -> Outcome {
    let mode = match args.first().map(String::as_str) {
        Some("build") => Mode::Build,
        Some("test") => Mode::Test,
        Some("library") => {
            library(root, &target(root), Mode::Test)?;
            go_library(root, &place(&target(root), Mode::Test)?)?;
            return Ok(());
        }
        Some("program") => {
            let source = args.get(1).ok_or("ffi: program SOURCE")?;
            let target = target(root);
            let out = place(&target, Mode::Test)?;
            program(root, &target, &out, source, Mode::Test)?;
            return Ok(());
        }
        _ => return Err("ffi: build, test, program or library".into()),
    };
    let target = target(root);
    let out = place(&target, mode)?;
    let mut totals = Totals::default();
    let mut count = |name: &str, result: Result<(), String>| match result {
        Ok(()) => {
            totals.passed += 1;
            println!("ok     {name}");
        }
        Err(problem) => {
            totals.failed += 1;
            println!("FAILED {name}\n{problem}");
        }
    };
    if mode == Mode::Test {
        for header in files(root, "ffi/include/mfn", "h")? {
            for (compiler, language, standard) in [("cc", "c", "c11"), ("c++", "c++", "c++17")] {
                let name = format!("{header} as {standard}");
                count(
                    &name,
                    header_alone(root, &header, compiler, language, standard),
                );
            }
        }
    }
    for directory in ["ffi/tests", "ffi/examples"] {
        if mode == Mode::Build && directory == "ffi/tests" {
            continue;
        }
        for source in files(root, directory, "c")? {
            // The Go archive takes as long as all else; who wants it builds it.
            if mode == Mode::Build && source == "ffi/examples/alm.c" {
                continue;
            }
            let built = program(root, &target, &out, &source, mode);
            match (built, mode) {
                (Ok(binary), Mode::Test) => count(&source, execute(root, &source, &binary)),
                (Ok(_), Mode::Build) => count(&source, Ok(())),
                (Err(problem), _) => count(&source, Err(problem)),
            }
        }
    }
    if mode == Mode::Build {
        count(LIBRARY, library(root, &target, mode));
    }
    println!("{}", totals.line());
    if totals.failed > 0 {
        return Err("C border: see above".into());
    }
    Ok(())
}

/// Where programs are put.
fn place(target: &Path, mode: Mode) -> std::io::Result<PathBuf> {
    let out = target.join(if mode == Mode::Build {
        "release/ffi"
    } else {
        "debug/ffi"
    });
    std::fs::create_dir_all(&out)?;
    Ok(out)
}

fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// Files of one extension in a directory, from the root, in order; none where it does not exist.
fn files(root: &Path, directory: &str, extension: &str) -> std::io::Result<Vec<String>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(root.join(directory)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == extension)
            && let Some(name) = path.file_name().and_then(|name| name.to_str())
        {
            found.push(format!("{directory}/{name}"));
        }
    }
    found.sort();
    Ok(found)
}

fn header_alone(
    root: &Path,
    header: &str,
    compiler: &str,
    language: &str,
    standard: &str,
) -> Result<(), String> {
    let own = root.join(header);
    let mut command = Command::new(compiler);
    command
        .current_dir(root)
        .arg(format!("-std={standard}"))
        .args(STRICT)
        // An empty file that includes it: what a header gives only to its own main file would not count.
        .args(["-fsyntax-only", "-include"])
        .arg(own)
        .args(["-x", language, "/dev/null"]);
    finish(command, compiler)
}

/// Compiles one program and returns it.
fn program(
    root: &Path,
    target: &Path,
    out: &Path,
    source: &str,
    mode: Mode,
) -> Result<PathBuf, String> {
    let text = std::fs::read_to_string(root.join(source)).map_err(|e| format!("{source}: {e}"))?;
    let name = source.trim_end_matches(".c").replace('/', "-");
    let binary = out.join(name);
    let mut command = Command::new("cc");
    command
        .current_dir(root)
        .arg("-std=c11")
        .args(STRICT)
        .arg("-D_POSIX_C_SOURCE=200809L")
        .arg(source)
        .arg("-o")
        .arg(&binary);
    match mode {
        Mode::Build => command.args(["-O2"]),
        Mode::Test => command.args([
            "-g",
            "-O1",
            "-fsanitize=address,undefined",
            "-fno-sanitize-recover=all",
            "-fno-omit-frame-pointer",
        ]),
    };
    if text.contains("mfn/ifr.h") {
        command.arg(zig_archive(root)?);
    }
    if ["mfn/client.h", "mfn/dsr.h", "mfn/cpe.h"]
        .iter()
        .any(|header| text.contains(header))
    {
        command.arg(rust_archive(root, target, mode)?);
    }
    if text.contains("mfn/alm.h") {
        command.arg(go_archive(root, target)?);
    }
    command.args(["-lpthread", "-ldl", "-lm"]);
    finish(command, "cc").map(|()| binary)
}

/// Builds the Zig archive, which does nothing when it is up to date.
fn zig_archive(root: &Path) -> Result<PathBuf, String> {
    let mut command = Command::new(crate::tools::zig(root));
    command.current_dir(root.join("zig")).arg("build");
    finish(command, "zig")?;
    Ok(root.join("zig/zig-out/lib/libmfn_ifr.a"))
}

/// Builds the Go archive, which does nothing when it is up to date. Its own header stays beside it, unused.
fn go_archive(root: &Path, target: &Path) -> Result<PathBuf, String> {
    let archive = target.join("go/libmfn_alm.a");
    let mut command = Command::new("go");
    command
        .current_dir(root.join("go"))
        .args([
            "build",
            "-trimpath",
            "-tags",
            "libalm",
            "-buildmode=c-archive",
            "-o",
        ])
        .arg(&archive)
        .arg("./cmd/libalm");
    finish(command, "go")?;
    Ok(archive)
}

/// Builds layer 3 as a shared library. Its packages are compiled as for the archive. Go's own header is not for users.
fn go_library(root: &Path, out: &Path) -> Result<(), String> {
    let library = out.join(GO_LIBRARY);
    let mut command = Command::new("go");
    command
        .current_dir(root.join("go"))
        .args([
            "build",
            "-trimpath",
            "-tags",
            "libalm",
            "-buildmode=c-shared",
            "-o",
        ])
        .arg(&library)
        .arg("./cmd/libalm");
    finish(command, "go")?;
    let header = library.with_extension("h");
    std::fs::remove_file(&header).map_err(|e| format!("{}: {e}", header.display()))
}

/// Builds the archive of what is written in Rust.
fn rust_archive(root: &Path, target: &Path, mode: Mode) -> Result<PathBuf, String> {
    let mut command = Command::new("cargo");
    command
        .current_dir(root)
        .args(["build", "--quiet", "--locked", "-p", "mfn-capi"]);
    let profile = if mode == Mode::Build {
        "release"
    } else {
        "debug"
    };
    if mode == Mode::Build {
        command.arg("--release");
    }
    finish(command, "cargo")?;
    Ok(target.join(profile).join("libmfn_capi.a"))
}

/// Links the archives into one shared library, beside the programs.
fn library(root: &Path, target: &Path, mode: Mode) -> Result<(), String> {
    let archives = [zig_archive(root)?, rust_archive(root, target, mode)?];
    let out = archives[1].with_file_name("ffi");
    std::fs::create_dir_all(&out).map_err(|e| format!("{}: {e}", out.display()))?;
    let mut command = Command::new("cc");
    command
        .args(["-shared", "-o"])
        .arg(out.join(LIBRARY))
        // Nothing in it refers to the exports, so without this all of them would be left out.
        .arg("-Wl,--whole-archive")
        .args(archives)
        .args([
            "-Wl,--no-whole-archive",
            "-lpthread",
            "-ldl",
            "-lm",
            "-lgcc_s",
        ]);
    finish(command, "cc")
}

fn execute(root: &Path, source: &str, binary: &Path) -> Result<(), String> {
    let arguments = ARGUMENTS
        .iter()
        .find(|(name, _)| *name == source)
        .map_or(&[][..], |(_, arguments)| arguments);
    let output = Command::new(binary)
        .current_dir(root)
        .args(arguments)
        .env("ASAN_OPTIONS", format!("exitcode={FOUND}"))
        .env(
            "UBSAN_OPTIONS",
            format!("exitcode={FOUND}:print_stacktrace=1"),
        )
        .output()
        .map_err(|e| format!("{}: {e}", binary.display()))?;
    let alone = NEED_A_NODE.contains(&source);
    let fine = match output.status.code() {
        Some(0) => true,
        Some(code) => alone && code < FOUND,
        None => false,
    };
    if fine {
        return Ok(());
    }
    Err(format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

fn finish(mut command: Command, name: &str) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{name}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{name}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_needs_another_is_found() {
        let root = crate::root();
        let own = std::env::temp_dir().join(format!("xtask-ffi-{}.h", std::process::id()));
        std::fs::write(&own, "static inline uint32_t f(void) { return 1; }\n").unwrap();
        let path = own.to_string_lossy().into_owned();
        assert!(header_alone(&root, &path, "cc", "c", "c11").is_err());
        std::fs::write(
            &own,
            "#include <stdint.h>\nstatic inline uint32_t f(void) { return 1; }\n",
        )
        .unwrap();
        let fine = header_alone(&root, &path, "cc", "c", "c11");
        std::fs::remove_file(&own).unwrap();
        fine.unwrap();
    }

    #[test]
    fn a_missing_directory_has_no_files() {
        assert!(files(&crate::root(), "ffi/none", "c").unwrap().is_empty());
    }
}
