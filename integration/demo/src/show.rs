//! Shows the demo: bars on a terminal, plain lines elsewhere, one table at the end.

use std::io::IsTerminal;
use std::time::Instant;

use comfy_table::{CellAlignment, Table, presets};
use hypermesh_testkit::{Node, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::{Named, served};

/// The display, and the rows of the closing table.
pub(crate) struct Show {
    bar: Option<ProgressBar>,
    rows: Vec<Vec<String>>,
}

impl Show {
    pub(crate) fn new() -> Show {
        let style = ProgressStyle::with_template(
            "  {msg:<14} [{bar:30}] {bytes:>10} of {total_bytes} {bytes_per_sec}",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = std::io::stderr()
            .is_terminal()
            .then(|| ProgressBar::new(0).with_style(style.progress_chars("=> ")));
        Show {
            bar,
            rows: Vec::new(),
        }
    }

    /// One plain line.
    pub(crate) fn say(&self, line: &str) {
        self.clear();
        println!("{line}");
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            bar.reset();
        }
    }

    /// Runs a long command to its end and shows how far it is; its result.
    pub(crate) fn run(
        &self,
        node: &Node,
        what: &str,
        arguments: &[&str],
        mut each: impl FnMut(&Value) -> Result<()>,
    ) -> Result<Value> {
        let mut job = node.job(arguments)?;
        while let Some(progress) = job.progress() {
            self.progress(what, &progress);
            each(&progress)?;
        }
        self.clear();
        job.finish()?
            .object()
            .map_err(|error| format!("{what}: {error}\n{}", node.log_end()))
    }

    pub(crate) fn progress(&self, what: &str, progress: &Value) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
            bar.set_length(progress["bytes_total"].as_u64().unwrap_or_default());
            bar.set_position(progress["bytes_done"].as_u64().unwrap_or_default());
        }
    }

    /// The row of a put.
    pub(crate) fn put(&mut self, what: &str, reply: &Value, start: Instant) {
        let number = |name: &str| reply[name].as_u64().unwrap_or_default();
        self.say(&format!(
            "{what}: {} files, {}, new to the store: {}",
            number("files"),
            size(number("content_bytes")),
            size(number("new_content_bytes"))
        ));
        self.row(
            what,
            number("content_bytes"),
            number("new_content_bytes"),
            None,
            String::new(),
            start,
        );
    }

    /// The row of a get: what each provider sent, and what went over the wire.
    pub(crate) fn got(
        &mut self,
        what: &str,
        reply: &Value,
        providers: &[Named<'_>],
        start: Instant,
    ) {
        let number = |name: &str| reply[name].as_u64().unwrap_or_default();
        let from: Vec<String> = providers
            .iter()
            .map(|(node, name)| (served(reply, node.id()), name))
            .filter(|(bytes, _)| *bytes > 0)
            .map(|(bytes, name)| format!("{name} {}", size(bytes)))
            .collect();
        let wire = number("wire_bytes");
        self.row(
            what,
            number("content_bytes"),
            number("fetched_content_bytes"),
            Some(wire),
            from.join(", "),
            start,
        );
    }

    fn row(
        &mut self,
        what: &str,
        tree: u64,
        new: u64,
        wire: Option<u64>,
        from: String,
        start: Instant,
    ) {
        self.rows.push(vec![
            what.to_owned(),
            size(tree),
            size(new),
            wire.map(size).unwrap_or_default(),
            from,
            format!("{:.1} s", start.elapsed().as_secs_f64()),
        ]);
    }

    /// The closing table.
    pub(crate) fn table(&self) {
        let mut table = Table::new();
        table.load_style(presets::ASCII_BORDERS_ONLY_CONDENSED);
        table.set_header(["step", "tree", "new content", "bytes moved", "from", "time"]);
        for row in &self.rows {
            table.add_row(row);
        }
        for column in [1, 2, 3, 5] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        println!("{table}");
    }
}

/// Bytes for a person.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {unit}")
    }
}
