//! Shows how far a long job is, on standard error: a bar for people, JSON lines for programs.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use hypermesh_node::units::format_size;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mfn_wire::pb;
use serde_json::json;

use crate::args::{Global, ProgressMode};

/// The display of one job.
#[derive(Debug)]
pub(crate) struct Progress {
    display: Display,
    last: pb::Progress,
}

#[derive(Debug)]
enum Display {
    Bar(ProgressBar),
    Json,
    None,
}

impl Progress {
    /// What the options ask for.
    pub(crate) fn new(global: &Global) -> Self {
        let bar = || {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            bar.enable_steady_tick(Duration::from_millis(200));
            Display::Bar(bar)
        };
        let display = match global.progress {
            ProgressMode::Json => Display::Json,
            ProgressMode::None => Display::None,
            ProgressMode::Bar => bar(),
            ProgressMode::Auto if global.quiet || global.json || !io::stderr().is_terminal() => {
                Display::None
            }
            ProgressMode::Auto => bar(),
        };
        Self {
            display,
            last: pb::Progress::default(),
        }
    }

    /// How many progress events the node may send ahead; 0 when nobody looks at them.
    pub(crate) fn credit(&self) -> u32 {
        match self.display {
            Display::None => 0,
            _ => EVENTS_AHEAD,
        }
    }

    pub(crate) fn update(&mut self, progress: pb::Progress) {
        match &self.display {
            Display::None => {}
            Display::Json => {
                let line = json_line(&progress);
                let _ = writeln!(io::stderr().lock(), "{line}");
            }
            Display::Bar(bar) => {
                if progress.phase != self.last.phase
                    || progress.bytes_total != self.last.bytes_total
                {
                    bar.set_style(style(&progress));
                    if progress.bytes_total > 0 {
                        bar.set_length(progress.bytes_total);
                    }
                }
                bar.set_position(progress.bytes_done);
                bar.set_message(message(&progress));
            }
        }
        self.last = progress;
    }

    /// Takes the display away; what was last known is returned.
    pub(crate) fn finish(self) -> pb::Progress {
        if let Display::Bar(bar) = self.display {
            bar.finish_and_clear();
        }
        self.last
    }
}

/// The display of something that is counted; several threads may count.
#[derive(Debug)]
pub(crate) struct Counted(Option<ProgressBar>);

impl Counted {
    pub(crate) fn new(global: &Global, count: u64, what: &str) -> Self {
        let shown = match global.progress {
            ProgressMode::Json | ProgressMode::None => false,
            ProgressMode::Bar => true,
            ProgressMode::Auto => !global.quiet && !global.json && io::stderr().is_terminal(),
        };
        let template = format!("{{spinner}} [{{bar:30}}] {{pos}}/{{len}} {what} {{eta}}");
        let style = ProgressStyle::with_template(&template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        Self(shown.then(|| {
            let target = ProgressDrawTarget::stderr_with_hz(10);
            ProgressBar::with_draw_target(Some(count), target).with_style(style)
        }))
    }

    pub(crate) fn one(&self) {
        if let Some(bar) = &self.0 {
            bar.inc(1);
        }
    }

    /// Takes the display away.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}

fn style(progress: &pb::Progress) -> ProgressStyle {
    let template = if progress.bytes_total > 0 {
        "{spinner} {msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}"
    } else {
        "{spinner} {msg} {bytes}"
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

fn message(progress: &pb::Progress) -> String {
    let what = match progress.phase.as_str() {
        "scan" => "looking",
        "store" => "storing",
        "plan" => "asking peers",
        "fetch" => "fetching",
        "extract" => "writing",
        "mark" => "marking",
        "sweep" => "sweeping",
        "check" => "checking",
        other => other,
    };
    let mut text = what.to_string();
    if progress.items_total > 0 {
        text.push_str(&format!(
            " {}/{}",
            progress.items_done, progress.items_total
        ));
    } else if progress.items_done > 0 {
        text.push_str(&format!(" {}", progress.items_done));
    }
    for provider in progress
        .providers
        .iter()
        .filter(|provider| provider.bytes > 0)
        .take(4)
    {
        let short: String = provider.node_id.chars().take(9).collect();
        text.push_str(&format!(" {short}…:{}", format_size(provider.bytes)));
    }
    text
}

fn json_line(progress: &pb::Progress) -> serde_json::Value {
    json!({
        "event": "progress",
        "phase": progress.phase,
        "bytes_done": progress.bytes_done,
        "bytes_total": progress.bytes_total,
        "items_done": progress.items_done,
        "items_total": progress.items_total,
        "delta_blocks": progress.delta_blocks,
        "delta_bytes": progress.delta_bytes,
        "providers": progress.providers.iter().map(provider_json).collect::<Vec<_>>(),
    })
}

/// One provider's part, as events and results show it.
pub(crate) fn provider_json(provider: &pb::ProviderBytes) -> serde_json::Value {
    json!({
        "node_id": provider.node_id,
        "bytes": provider.bytes,
        "blocks": provider.blocks,
        "state": provider.state,
    })
}

/// Events in flight before the display must have taken one.
const EVENTS_AHEAD: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_the_bytes_of_each_provider() {
        let progress = pb::Progress {
            phase: "fetch".into(),
            bytes_done: 5,
            bytes_total: 10,
            providers: vec![pb::ProviderBytes {
                node_id: "hm1abc".into(),
                bytes: 5,
                blocks: 1,
                state: "active".into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let line = json_line(&progress);
        assert_eq!(line["event"], "progress");
        assert_eq!(line["providers"][0]["bytes"], 5);
        assert_eq!(line["providers"][0]["node_id"], "hm1abc");
        assert!(message(&progress).contains("hm1abc"));
    }
}
