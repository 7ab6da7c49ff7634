//! `xtask licences`: every crate that is linked offers a licence that is compatible with ours.

use std::path::Path;

use cargo_metadata::MetadataCommand;

use crate::Outcome;

/// Permissive licences that ask for no more than a notice.
const ALLOWED: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "CC0-1.0",
    "Unlicense",
    "BSL-1.0",
    "Unicode-3.0",
    "CDLA-Permissive-2.0",
];

/// Exceptions that only widen a permissive licence.
const EXCEPTIONS: &[&str] = &["LLVM-exception"];

/// Tools that run while we develop and are linked into nothing that we hand out.
const TOOLS: &[(&str, &str)] = &[
    ("cbindgen", "MPL-2.0"),
    ("libfuzzer-sys", "(MIT OR Apache-2.0) AND NCSA"),
];

/// Checks the packages of `Cargo.lock`.
pub(crate) fn run(root: &Path) -> Outcome {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .other_options(vec!["--locked".to_owned()])
        .exec()?;
    let mut bad = 0;
    for package in &metadata.packages {
        let problem = match package.license.as_deref() {
            None => Some("names no licence".to_owned()),
            Some(expression) if allowed(expression) => None,
            Some(expression) if TOOLS.contains(&(package.name.as_str(), expression)) => None,
            Some(expression) => Some(format!("offers '{expression}' only")),
        };
        if let Some(problem) = problem {
            bad += 1;
            eprintln!("licences: {} {}: {problem}", package.name, package.version);
        }
    }
    if bad > 0 {
        return Err(format!(
            "{bad} licences are not on the list: use other crates, or extend rust/xtask/src/licences.rs with a reason"
        )
        .into());
    }
    println!(
        "licences: {} packages, all allowed",
        metadata.packages.len()
    );
    Ok(())
}

/// Whether an SPDX expression can be met with allowed licences alone.
fn allowed(expression: &str) -> bool {
    // The old form `MIT/Apache-2.0` means a choice.
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut tokens = spaced.split_whitespace().peekable();
    let met = any(&mut tokens, 0);
    met == Some(true) && tokens.peek().is_none()
}

/// Nesting deeper than this is no licence that anyone wrote.
const DEPTH_MAX: usize = 16;

type Tokens<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(tokens: &mut Tokens<'_>, depth: usize) -> Option<bool> {
    let mut met = all(tokens, depth)?;
    while tokens.next_if_eq(&"OR").is_some() {
        met |= all(tokens, depth)?;
    }
    Some(met)
}

fn all(tokens: &mut Tokens<'_>, depth: usize) -> Option<bool> {
    let mut met = one(tokens, depth)?;
    while tokens.next_if_eq(&"AND").is_some() {
        met &= one(tokens, depth)?;
    }
    Some(met)
}

fn one(tokens: &mut Tokens<'_>, depth: usize) -> Option<bool> {
    let name = tokens.next()?;
    if name == "(" {
        if depth == DEPTH_MAX {
            return None;
        }
        let met = any(tokens, depth + 1)?;
        return (tokens.next()? == ")").then_some(met);
    }
    let mut met = ALLOWED.contains(&name);
    if tokens.next_if_eq(&"WITH").is_some() {
        met &= EXCEPTIONS.contains(&tokens.next()?);
    }
    Some(met)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_met_by_choice() {
        for good in [
            "MIT",
            "MIT OR GPL-3.0-only",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "MIT/GPL-2.0",
        ] {
            assert!(allowed(good), "{good}");
        }
        for bad in [
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "MIT WITH Other-exception",
            "(MIT",
            "MIT OR",
            "",
            "MIT MIT",
        ] {
            assert!(!allowed(bad), "{bad}");
        }
        assert!(!allowed(&"(".repeat(1_000_000)));
    }
}
