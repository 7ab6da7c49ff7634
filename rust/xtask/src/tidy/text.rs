//! Rules on what files say.

use std::collections::BTreeMap;

use super::{File, Problem, Tree};

const CODE: &[&str] = &["rs", "zig", "go", "c", "h", "py", "toml", "proto", "sh"];

/// Longest file of code, in lines.
const LINES_MAX: usize = 700;

/// Files that may be longer, and why.
const LONG: &[(&str, &str)] = &[];

/// Crates whose borders are unsafe by nature. Everybody else forbids unsafe code.
const UNSAFE_CRATES: &[&str] = &[
    "rust/ifr-sys",
    "rust/ifr",
    "rust/alm-sys",
    "rust/alm",
    "rust/capi",
    "rust/dsr",
    "rust/fuzz",
    "rust/local",
    // An allocator that counts.
    "integration/bench",
];

/// What stands for unfinished work. Split, so that this file passes its own rule.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
];

/// Starts of paths that exist on one machine only.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
    concat!("/ho", "me/"),
    concat!("/tmp/", "target"),
    concat!("/tmp/", "tools"),
];

/// Spellings that are not ours, and ours.
const SPELLINGS: &[(&str, &str)] = &[
    (concat!("neigh", "bor"), "neighbour"),
    (concat!("multi", "hash"), "block id"),
];

pub(super) fn unfinished(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.with_extension(CODE) {
        for (number, line) in file.lines() {
            for word in UNFINISHED {
                if has_word(line, word) {
                    let text = format!("finish it or open an issue; {word} may not be merged");
                    problems.push(Problem::at(&file.path, number, text));
                }
            }
        }
    }
    problems
}

pub(super) fn machine_paths(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in &tree.files {
        for (number, line) in file.lines() {
            for path in MACHINE_PATHS {
                // Behind a name it is a path of the tree; at the start of a word it is a machine's.
                let stands_alone = line.match_indices(path).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}~".contains(c))
                });
                if stands_alone {
                    let text = format!("{path}… is a path of one machine");
                    problems.push(Problem::at(&file.path, number, text));
                }
            }
        }
    }
    problems
}

/// Parts of host names and addresses that only resolve on somebody's own network.
const PRIVATE_HOSTS: &[&str] = &[
    concat!(".inter", "nal/"),
    concat!(".co", "rp/"),
    concat!("//192", ".168."),
    concat!("//10", ".0."),
];

pub(super) fn private_hosts(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in &tree.files {
        for (number, line) in file.lines() {
            for host in PRIVATE_HOSTS.iter().filter(|host| line.contains(**host)) {
                let text = format!("{host} is on one network only: name a public host");
                problems.push(Problem::at(&file.path, number, text));
            }
        }
    }
    problems
}

pub(super) fn length(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.with_extension(&["rs", "zig", "go", "c", "h", "py", "sh"]) {
        let lines = file.lines().count();
        let listed = LONG.iter().any(|(path, _)| *path == file.path);
        if lines > LINES_MAX && !listed && !file.is_generated() {
            let text = format!("{lines} lines, more than {LINES_MAX}; cut it by interface");
            problems.push(Problem::at(&file.path, 0, text));
        }
        if listed && lines <= LINES_MAX {
            let text = "short again: take it off the list in tidy/text.rs";
            problems.push(Problem::at(&file.path, 0, text));
        }
    }
    problems
}

pub(super) fn silences(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.with_extension(&["rs"]).filter(|f| !f.is_generated()) {
        for (number, line) in file.lines() {
            let line = line.trim_start();
            if line.starts_with("#[allow(") || line.starts_with("#![allow(") {
                let text = "write #[expect(…, reason = \"…\")]: it goes away when it is not needed";
                problems.push(Problem::at(&file.path, number, text));
            }
            if line.starts_with("#[ignore]") {
                let text = "write #[ignore = \"why\"]: no test is skipped silently";
                problems.push(Problem::at(&file.path, number, text));
            }
        }
    }
    problems
}

pub(super) fn unsafe_code(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.with_extension(&["rs"]) {
        let Some((package, target)) = file.path.rsplit_once("/src/") else {
            continue;
        };
        let top = target == "lib.rs" || target == "main.rs";
        if !top || UNSAFE_CRATES.contains(&package) {
            continue;
        }
        if !file
            .lines()
            .any(|(_, line)| line.trim() == "#![forbid(unsafe_code)]")
        {
            let text = "starts without #![forbid(unsafe_code)]";
            problems.push(Problem::at(&file.path, 1, text));
        }
    }
    problems
}

pub(super) fn spelling(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.with_extension(&["rs", "zig", "go", "c", "h", "toml", "proto", "md"]) {
        for (number, line) in file.lines() {
            let lower = line.to_lowercase();
            for (other, ours) in SPELLINGS {
                if lower.contains(other) {
                    let text = format!("{other}… is spelt {ours} here");
                    problems.push(Problem::at(&file.path, number, text));
                }
            }
        }
    }
    problems
}

pub(super) fn links(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.with_extension(&["md"]) {
        let mut in_code = false;
        for (number, line) in file.lines() {
            if line.trim_start().starts_with("```") {
                in_code = !in_code;
            }
            if in_code {
                continue;
            }
            for target in targets(line) {
                if !leads_somewhere(tree, file, target) {
                    let text = format!("the link to {target} leads nowhere");
                    problems.push(Problem::at(&file.path, number, text));
                }
            }
        }
    }
    problems
}

/// The targets of the `[text](target)` links of a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

/// Whether a link leads out of the tree, or to a file or directory in it.
fn leads_somewhere(tree: &Tree, from: &File, target: &str) -> bool {
    let target = target.split('#').next().unwrap_or_default();
    if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
        return true;
    }
    let mut parts: Vec<&str> = from.path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return false;
                }
            }
            name => parts.push(name),
        }
    }
    let path = parts.join("/");
    let directory = format!("{path}/");
    path.is_empty()
        || tree
            .files
            .iter()
            .any(|file| file.path == path || file.path.starts_with(&directory))
}

pub(super) fn records(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for file in &tree.files {
        let Some(name) = file.path.strip_prefix("docs/adr/") else {
            continue;
        };
        let number = name.split('-').next().unwrap_or_default();
        if number.len() != 4 || !number.bytes().all(|b| b.is_ascii_digit()) {
            if name != "README.md" {
                problems.push(Problem::at(&file.path, 0, "name it NNNN-title.md"));
            }
            continue;
        }
        if let Some(other) = seen.insert(number, &file.path) {
            let text = format!("{other} has the same number");
            problems.push(Problem::at(&file.path, 0, text));
        }
        if !file.lines().any(|(_, line)| line.starts_with("Status: ")) {
            let text = "a line `Status: accepted.` or the like is missing";
            problems.push(Problem::at(&file.path, 0, text));
        }
    }
    problems
}

/// Whether `word` stands in `line` and is not a part of a longer word.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let part = |c: char| c.is_alphanumeric() || c == '_';
        let after = line[at + word.len()..].chars().next();
        !line[..at].ends_with(part) && (word.ends_with('(') || !after.is_some_and(part))
    })
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
    fn unfinished_finds_words_not_parts() {
        let bad = format!("ok\n// {}: later\n", UNFINISHED[0]);
        let fine = format!("let {}S = 1;", UNFINISHED[0]);
        let call = format!("fn f() {{ {}) }}", UNFINISHED[3]);
        let files = [
            ("a.rs", bad.as_str()),
            ("b.go", &fine),
            ("c.md", &bad),
            ("d.rs", &call),
        ];
        assert_eq!(found(unfinished, &files), ["a.rs:2", "d.rs:1"]);
    }

    #[test]
    fn machine_paths_are_found_and_relative_ones_are_not() {
        let bad = format!("cd {}x", MACHINE_PATHS[1]);
        let fine = format!("a{}x and ~{}", MACHINE_PATHS[1], MACHINE_PATHS[3]);
        assert_eq!(
            found(machine_paths, &[("a.md", &bad), ("b.md", &fine)]),
            ["a.md:1"]
        );
    }

    #[test]
    fn private_hosts_are_found() {
        let bad = format!("see http://wiki{}x", PRIVATE_HOSTS[0]);
        let fine = "see https://docs.rs/x and 2001:db8::7";
        assert_eq!(
            found(private_hosts, &[("a.md", &bad), ("b.md", fine)]),
            ["a.md:1"]
        );
    }

    #[test]
    fn length_counts_lines_of_hand_written_code() {
        let long = "x\n".repeat(LINES_MAX + 1);
        let generated = format!("// Generated by xtask gen.\n{long}");
        let files = [
            ("a.rs", long.as_str()),
            ("b.rs", &generated),
            ("c.json", &long),
        ];
        assert_eq!(found(length, &files), ["a.rs:0"]);
        assert!(found(length, &[("d.rs", &"x\n".repeat(LINES_MAX))]).is_empty());
    }

    #[test]
    fn silences_must_say_why() {
        let text = "#[expect(dead_code, reason = \"x\")]\n    #[allow(dead_code)]\n#[ignore]\n#[ignore = \"root\"]\n";
        assert_eq!(found(silences, &[("a.rs", text)]), ["a.rs:2", "a.rs:3"]);
    }

    #[test]
    fn unsafe_code_is_forbidden_by_default() {
        let files = [
            ("rust/a/src/lib.rs", "//! Doc.\n"),
            ("rust/b/src/lib.rs", "#![forbid(unsafe_code)]\n"),
            ("rust/ifr/src/lib.rs", ""),
            ("rust/a/src/part.rs", ""),
        ];
        assert_eq!(found(unsafe_code, &files), ["rust/a/src/lib.rs:1"]);
    }

    #[test]
    fn spelling_is_one() {
        let bad = format!("func {}s()", SPELLINGS[0].0);
        assert_eq!(
            found(spelling, &[("a.go", &bad), ("b.go", "neighbours")]),
            ["a.go:1"]
        );
    }

    #[test]
    fn links_are_followed() {
        let text = "[a](b.md) [c](../x/) [d](gone.md#part) [e](https://example.org) [f](#here)\n```\n[g](gone)\n```\n";
        let files = [("docs/a.md", text), ("docs/b.md", ""), ("x/y", "")];
        assert_eq!(found(links, &files), ["docs/a.md:1"]);
    }

    #[test]
    fn records_have_one_number_and_a_status() {
        let files = [
            ("docs/adr/0001-a.md", "Status: accepted.\n"),
            ("docs/adr/0001-b.md", "Status: accepted.\n"),
            ("docs/adr/0002-c.md", "# no status\n"),
            ("docs/adr/note.md", ""),
        ];
        let expected = [
            "docs/adr/0001-b.md:0",
            "docs/adr/0002-c.md:0",
            "docs/adr/note.md:0",
        ];
        assert_eq!(found(records, &files), expected);
    }
}
