//! Prints results on standard output and remarks on standard error.
//!
//! Standard output carries what a script needs and nothing else. A reader that goes away (`hypermesh ls … | head`)
//! is not an error.

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use comfy_table::{CellAlignment, Table, presets};
use hypermesh_node::units::format_duration;
use serde_json::{Value, json};

use crate::error::CliError;

/// Where results and remarks go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
}

impl Output {
    /// A result: the JSON object with --json, else the text and a newline.
    pub(crate) fn result(
        &self,
        text: impl FnOnce() -> String,
        value: impl FnOnce() -> Value,
    ) -> Result<(), CliError> {
        let line = if self.json {
            value().to_string()
        } else {
            text()
        };
        self.bytes(format!("{line}\n").as_bytes())
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .map_err(CliError::from_stdout)
    }

    /// A remark for people; not a result.
    pub(crate) fn remark(&self, text: &str) {
        if !self.quiet && !self.json {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }
}

/// A table without lines, with a header and right-aligned numbers.
pub(crate) fn table(header: &[&str], right_aligned: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().map(|text| text.to_uppercase()));
    table.add_rows(rows);
    for column in right_aligned {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
        .lines()
        .map(|line| line.trim_end().to_string() + "\n")
        .collect::<String>()
        .trim_end()
        .to_string()
}

/// A name or path as JSON: text, and the exact bytes in hex when they are not UTF-8.
pub(crate) fn json_bytes(object: &mut Value, key: &str, bytes: &[u8]) {
    object[key] = json!(String::from_utf8_lossy(bytes));
    if std::str::from_utf8(bytes).is_err() {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        object[format!("{key}_hex")] = json!(hex);
    }
}

/// Bytes for a terminal: control characters and invalid UTF-8 are escaped, so that a name cannot move the cursor.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// How long ago a Unix time in nanoseconds was; empty for 0.
pub(crate) fn ago(unix_nanoseconds: u64) -> String {
    if unix_nanoseconds == 0 {
        return String::new();
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let passed = now.saturating_sub(Duration::from_nanos(unix_nanoseconds));
    format_duration(Duration::from_secs(passed.as_secs().max(1)))
}

/// A round trip for people; empty when not measured.
pub(crate) fn round_trip(nanoseconds: u64) -> String {
    if nanoseconds == 0 {
        String::new()
    } else {
        format_duration(Duration::from_nanos(nanoseconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_move_the_cursor() {
        assert_eq!(printable("grün".as_bytes()), "grün");
        assert_eq!(printable(b"a\x1b[2J\nb\xff"), "a\\u{1b}[2J\\nb\\xff");
    }

    #[test]
    fn odd_names_keep_their_bytes_in_json() {
        let mut object = json!({});
        json_bytes(&mut object, "path", b"plain");
        assert_eq!(object, json!({"path": "plain"}));
        json_bytes(&mut object, "path", b"a\xff");
        assert_eq!(object["path_hex"], json!("61ff"));
    }

    #[test]
    fn tables_have_no_trailing_blanks() {
        let text = table(
            &["name", "size"],
            &[1],
            vec![vec!["a".into(), "1".into()], vec!["b".into(), "10".into()]],
        );
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().all(|line| line == line.trim_end()), "{text:?}");
        assert!(
            text.starts_with(" NAME") || text.starts_with("NAME"),
            "{text:?}"
        );
    }
}
