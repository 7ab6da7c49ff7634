//! A name of `constants.toml` is the same word in Rust, Zig, Go and C, whatever its case.

use std::collections::BTreeSet;

use super::{Problem, Tree};

const SOURCE: &str = "ffi/protocol/constants.toml";

/// Where the generator writes, per language: a file or a directory.
const GENERATED: &[(&str, &str)] = &[
    ("Rust", "rust/wire/src/constants.rs"),
    ("Zig", "zig/src/gen/"),
    ("Go", "go/internal/protocol/gen.go"),
    ("C", "ffi/include/mfn/"),
];

/// Tables of `constants.toml` whose keys are names.
const TABLES: &[&str] = &[
    "limits",
    "kind",
    "service",
    "content_type",
    "flag",
    "tlv",
    "feature",
    "status",
];

pub(super) fn shared(tree: &Tree) -> Vec<Problem> {
    let Some(text) = tree.get(SOURCE).and_then(|file| file.text()) else {
        return Vec::new();
    };
    let names = match names(text) {
        Ok(names) => names,
        Err(problem) => return vec![Problem::at(SOURCE, 0, problem)],
    };
    let mut problems = Vec::new();
    for (language, place) in GENERATED {
        let mut folded = String::new();
        for file in &tree.files {
            if file.path == *place || (place.ends_with('/') && file.path.starts_with(place)) {
                folded.push_str(&fold(file.text().unwrap_or_default()));
            }
        }
        for name in &names {
            if !folded.contains(&fold(name)) {
                let text =
                    format!("{name} is missing in {language} ({place}): run `cargo make gen`");
                problems.push(Problem::at(SOURCE, 0, text));
            }
        }
    }
    problems
}

/// Every name of the constants; methods without their service.
fn names(text: &str) -> Result<BTreeSet<String>, String> {
    let value: toml::Table = toml::from_str(text).map_err(|e| e.to_string())?;
    let keys = |table: Option<&toml::Value>| -> Vec<String> {
        table
            .and_then(toml::Value::as_table)
            .map(|table| table.keys().cloned().collect())
            .unwrap_or_default()
    };
    let mut names = BTreeSet::new();
    for table in TABLES {
        names.extend(keys(value.get(*table)));
    }
    for service in keys(value.get("method")) {
        let methods = value.get("method").and_then(|method| method.get(&service));
        names.extend(keys(methods));
    }
    Ok(names)
}

/// Lower case, no underscores: `BAD_FLAGS`, `bad_flags` and `BadFlags` are one name.
fn fold(text: &str) -> String {
    text.chars()
        .filter(|c| *c != '_')
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_name_is_found_per_language() {
        let constants = "[kind]\nhello = { value = 1 }\n[status.BAD_FLAGS]\nvalue = -1\n[method.state]\nput = 1\n";
        let tree = Tree::of(&[
            (SOURCE, constants),
            ("rust/wire/src/constants.rs", "Hello BadFlags PUT"),
            ("zig/src/gen/protocol.zig", "hello bad_flags put"),
            (
                "go/internal/protocol/gen.go",
                "KindHello StatusBadFlags MethodStatePut",
            ),
            (
                "ffi/include/mfn/status.h",
                "MFN_KIND_HELLO MFN_METHOD_STATE_PUT",
            ),
        ]);
        let texts: Vec<String> = shared(&tree).into_iter().map(|p| p.text).collect();
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].starts_with("BAD_FLAGS is missing in C"));
    }

    #[test]
    fn a_broken_source_is_a_problem() {
        let tree = Tree::of(&[(SOURCE, "[kind")]);
        assert_eq!(shared(&tree).len(), 1);
    }
}
