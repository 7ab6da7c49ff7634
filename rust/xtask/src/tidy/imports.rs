//! Rules on what sources import: the borders between languages, and between pure and impure code.

use super::{File, Problem, Tree};

/// Sources of sans-IO crates.
const SANS_IO: &[&str] = &[
    "rust/id/src/",
    "rust/wire/src/",
    "rust/stoq-proto/src/",
    "rust/dsr/src/",
    "rust/routing/src/",
];

/// Names that do I/O, read a clock or draw randomness.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::os::",
    "std::process",
    "std::thread",
    "std::env",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "Instant::now",
    "SystemTime::now",
    "getrandom::",
    "rand::rng",
    "thread_rng",
    "tokio::",
];

/// What the command may take from the node crate: starting one, and the files of its directory.
const NODE_DOORS: &[&str] = &[
    "ComponentCommand",
    "ComponentOptions",
    "Config",
    "ConfigError",
    "DirError",
    "IdentityError",
    "Level",
    "LogFormat",
    "Node",
    "NodeDir",
    "NodeError",
    "NodeOptions",
    "PeerAddress",
    "examine",
    "rebuild_store",
    "load_identity",
    "logs",
    "node_id",
    "parse_socket_address",
    "run",
    "run_component",
    "run_split",
    "units",
];

/// C headers of the standard and of POSIX that ours may include.
const C_STANDARD: &[&str] = &["stdint.h", "stddef.h", "stdbool.h", "string.h", "limits.h"];

/// Go packages that open the C border.
const CGO: &[&str] = &["go/cmd/libalm/"];

pub(super) fn sans_io(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in sources(tree, "rs", SANS_IO) {
        for (number, line) in product_lines(file) {
            for name in IMPURE.iter().filter(|name| line.contains(**name)) {
                let text = format!("{name} in a sans-IO crate: take it as an argument");
                problems.push(Problem::at(&file.path, number, text));
            }
        }
    }
    problems
}

pub(super) fn command(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in sources(tree, "rs", &["rust/cli/src/"]) {
        for (number, line) in product_lines(file) {
            if line.contains("voice::") {
                let text =
                    "voice is for programs that test what liars can do: no command may have it";
                problems.push(Problem::at(&file.path, number, text));
            }
            for name in after_all(line, "hypermesh_node::") {
                for part in name.split(',').map(str::trim) {
                    let door = part.split("::").next().unwrap_or_default();
                    if !door.is_empty() && !NODE_DOORS.contains(&door) {
                        let text = format!(
                            "hypermesh_node::{door}: the command asks a node through its sockets"
                        );
                        problems.push(Problem::at(&file.path, number, text));
                    }
                }
            }
        }
    }
    problems
}

pub(super) fn go(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in sources(tree, "go", &["go/"]) {
        for (number, line) in file.lines() {
            let line = line.trim();
            if (line == "import \"C\"" || line == "\"C\"")
                && !CGO.iter().any(|start| file.path.starts_with(start))
            {
                let text = "cgo belongs to cmd/libalm; meet the rest at a socket";
                problems.push(Problem::at(&file.path, number, text));
            }
            if line.starts_with("//go:embed") && line.contains("..") {
                problems.push(Problem::at(&file.path, number, "embeds from outside go/"));
            }
        }
        let pure = file.path.starts_with("go/internal/graph/") && !file.path.ends_with("_test.go");
        for (number, line) in file.lines().filter(|_| pure) {
            let import = line.trim().trim_start_matches("import ");
            if ["\"net\"", "\"os\"", "\"math/rand\"", "\"net/http\""].contains(&import)
                || line.contains("time.Now(")
            {
                let text = "the graph is pure: time, randomness and I/O are arguments";
                problems.push(Problem::at(&file.path, number, text));
            }
        }
    }
    problems
}

pub(super) fn zig(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in sources(tree, "zig", &["zig/src/"]) {
        // How many directories below zig/src/ the file stands: that many `..` stay inside.
        let depth = file.path.matches('/').count().saturating_sub(2);
        for (number, line) in file.lines() {
            for builtin in ["@import(\"", "@embedFile(\""] {
                for target in after_all(line, builtin) {
                    if target.matches("../").count() > depth || target.starts_with('/') {
                        let text = format!("imports {target} from outside zig/src");
                        problems.push(Problem::at(&file.path, number, text));
                    }
                }
            }
            if line.contains("@cImport(") {
                let text = "@cImport is gone in the next Zig: use addTranslateC in build.zig";
                problems.push(Problem::at(&file.path, number, text));
            }
            if line.contains("@export(") && !file.path.ends_with("lib_c.zig") {
                problems.push(Problem::at(&file.path, number, "only lib_c.zig exports"));
            }
        }
    }
    problems
}

pub(super) fn c(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in sources(tree, "h", &["ffi/include/"]) {
        for (number, line) in file.lines() {
            let Some(include) = line.trim().strip_prefix("#include") else {
                continue;
            };
            let name = include.trim().trim_matches(['<', '>', '"']);
            let sibling =
                include.contains('"') && tree.get(&format!("ffi/include/mfn/{name}")).is_some();
            if !C_STANDARD.contains(&name) && !name.starts_with("mfn/") && !sibling {
                let text = format!("includes {name}: only standard headers and mfn/ ones");
                problems.push(Problem::at(&file.path, number, text));
            }
        }
    }
    problems
}

/// Files of one extension below one of these directories.
fn sources<'a>(
    tree: &'a Tree,
    extension: &'a str,
    below: &'a [&str],
) -> impl Iterator<Item = &'a File> {
    tree.files.iter().filter(move |file| {
        file.extension() == extension && below.iter().any(|start| file.path.starts_with(start))
    })
}

/// Lines before the unit tests, comments left out.
fn product_lines(file: &File) -> impl Iterator<Item = (usize, &str)> {
    file.lines()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// What follows each `start` in the line, up to the first character that cannot belong to it. A `{a, b}` list of a
/// `use` is given whole, without its braces.
fn after_all<'a>(line: &'a str, start: &str) -> Vec<&'a str> {
    line.match_indices(start)
        .map(|(at, _)| {
            let rest = &line[at + start.len()..];
            if let Some(list) = rest.strip_prefix('{') {
                return list.split('}').next().unwrap_or_default();
            }
            let end = rest.find(|c: char| !(c.is_alphanumeric() || "_:./-".contains(c)));
            &rest[..end.unwrap_or(rest.len())]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rule: super::super::Rule, files: &[(&str, &str)]) -> Vec<String> {
        rule(&Tree::of(files))
            .iter()
            .map(|problem| format!("{}:{}", problem.place, problem.line))
            .collect()
    }

    #[test]
    fn sans_io_sources_stay_pure_but_for_tests() {
        let text = "// std::fs is banned\nuse std::fs;\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        let files = [("rust/wire/src/a.rs", text), ("rust/local/src/a.rs", text)];
        assert_eq!(found(sans_io, &files), ["rust/wire/src/a.rs:2"]);
    }

    #[test]
    fn command_takes_only_doors_from_the_node() {
        let text = "use hypermesh_node::{Node, NodeOptions};\nuse hypermesh_node::store::Store;\nlet x = hypermesh_node::Config::default();\nvoice::start()\n";
        assert_eq!(
            found(command, &[("rust/cli/src/a.rs", text)]),
            ["rust/cli/src/a.rs:2", "rust/cli/src/a.rs:4"]
        );
    }

    #[test]
    fn go_has_one_cgo_door_and_a_pure_graph() {
        let files = [
            ("go/cmd/almd/main.go", "import \"C\"\n"),
            ("go/cmd/libalm/main.go", "import \"C\"\n"),
            ("go/internal/graph/g.go", "x := time.Now()\n"),
            ("go/internal/graph/g_test.go", "x := time.Now()\n"),
            ("go/internal/ipc/v.go", "//go:embed ../../../integration\n"),
        ];
        let expected = [
            "go/cmd/almd/main.go:1",
            "go/internal/graph/g.go:1",
            "go/internal/ipc/v.go:1",
        ];
        assert_eq!(found(go, &files), expected);
    }

    #[test]
    fn zig_stays_below_its_root() {
        let files = [
            ("zig/src/a.zig", "const x = @import(\"../../ffi/x.zig\");\n"),
            (
                "zig/src/c/ifr.zig",
                "const x = @import(\"../root.zig\");\n_ = @export(f, .{});\n",
            ),
        ];
        assert_eq!(
            found(zig, &files),
            ["zig/src/a.zig:1", "zig/src/c/ifr.zig:2"]
        );
    }

    #[test]
    fn c_headers_include_little() {
        let text = "#include <stdint.h>\n#include \"mfn/status.h\"\n#include <sys/socket.h>\n";
        assert_eq!(
            found(c, &[("ffi/include/mfn/a.h", text)]),
            ["ffi/include/mfn/a.h:3"]
        );
    }
}
