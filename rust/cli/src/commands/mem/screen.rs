//! `mem top`: the live view.

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use hypermesh_node::units::format_size;
use mfn_memory::facade::LayerId;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};
use ratatui::{DefaultTerminal, Frame};

use super::Context;
use super::sample::{HEADER, RIGHT, Sample, Watch};
use crate::args::MemTop;
use crate::error::CliError;

/// Rates that the curves show, one per interval.
const HISTORY: usize = 240;
/// How long a key may wait to be seen.
const KEY_WAIT: Duration = Duration::from_millis(50);

pub(super) async fn top(context: &Context, arguments: &MemTop) -> Result<(), CliError> {
    let mut watch = Watch::open(context).await?;
    let first = watch.sample(context).await?;
    let live = !arguments.once && !context.out.json && io::stdout().is_terminal();
    if !live {
        tokio::time::sleep(arguments.every).await;
        let second = watch.sample(context).await?;
        return context
            .out
            .result(|| second.text(Some(&first)), || second.json(Some(&first)));
    }
    let mut terminal = ratatui::try_init()
        .map_err(|error| CliError::failed(format!("the terminal cannot be drawn on: {error}")))?;
    let done = follow(context, &mut terminal, watch, first, arguments.every).await;
    ratatui::restore();
    done
}

/// What is drawn.
struct View {
    before: Option<Sample>,
    now: Sample,
    rates: [VecDeque<u64>; 4],
    every: Duration,
}

impl View {
    fn take(&mut self, sample: Sample) {
        for layer in LayerId::ALL {
            let rates = &mut self.rates[layer.index()];
            let rate = sample.rate(Some(&self.now), layer).unwrap_or_default();
            rates.push_back(rate.round() as u64);
            if rates.len() > HISTORY {
                rates.pop_front();
            }
        }
        self.before = Some(std::mem::replace(&mut self.now, sample));
    }
}

async fn follow(
    context: &Context,
    terminal: &mut DefaultTerminal,
    mut watch: Watch,
    first: Sample,
    every: Duration,
) -> Result<(), CliError> {
    let mut view = View {
        before: None,
        now: first,
        rates: Default::default(),
        every,
    };
    let failed = |error: io::Error| CliError::failed(format!("the terminal failed: {error}"));
    let mut next = Instant::now() + every;
    loop {
        terminal.draw(|frame| draw(frame, &view)).map_err(failed)?;
        while Instant::now() < next {
            let left = next.saturating_duration_since(Instant::now());
            // Nothing else runs beside this that a short wait could hold up but the sockets' own tasks.
            if event::poll(left.min(KEY_WAIT)).map_err(failed)? {
                match event::read().map_err(failed)? {
                    Event::Key(key) if key.kind == KeyEventKind::Press => {
                        let ends = matches!(key.code, KeyCode::Char('q') | KeyCode::Esc);
                        let interrupts = key.code == KeyCode::Char('c')
                            && key.modifiers.contains(KeyModifiers::CONTROL);
                        if ends || interrupts {
                            return Ok(());
                        }
                    }
                    Event::Resize(..) => {
                        terminal.draw(|frame| draw(frame, &view)).map_err(failed)?;
                    }
                    _ => {}
                }
            }
            tokio::task::yield_now().await;
        }
        view.take(watch.sample(context).await?);
        next = Instant::now() + every;
    }
}

fn draw(frame: &mut Frame<'_>, view: &View) {
    let remarks = view.now.remarks();
    let [title, rows, notes, curves, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(LayerId::ALL.len() as u16 + 2),
        Constraint::Length(remarks.len() as u16),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let node = format_size(view.now.node_bytes);
    frame.render_widget(
        Line::from(format!("memory of the node, {node} resident"))
            .style(Style::new().add_modifier(Modifier::BOLD)),
        title,
    );
    frame.render_widget(layers(view), rows);
    frame.render_widget(
        Paragraph::new(Text::from(remarks.join("\n"))).style(Style::new().fg(Color::Yellow)),
        notes,
    );
    draw_curves(frame, view, curves);
    let every = hypermesh_node::units::format_duration(view.every);
    frame.render_widget(Line::from(format!("every {every} · q ends")).dim(), foot);
}

fn layers(view: &View) -> Table<'static> {
    let aligned = |(column, text): (usize, String)| {
        let alignment = if RIGHT.contains(&column) {
            Alignment::Right
        } else {
            Alignment::Left
        };
        Cell::from(Text::from(text).alignment(alignment))
    };
    let header = HEADER.iter().map(|name| name.to_uppercase()).enumerate();
    let header = Row::new(header.map(aligned)).style(Style::new().add_modifier(Modifier::BOLD));
    let rows = view.now.rows(view.before.as_ref());
    let styled = rows
        .into_iter()
        .zip(&view.now.layers)
        .map(|(cells, layer)| {
            let colour = match layer.state.as_str() {
                "in use" => Color::Reset,
                "absent" => Color::DarkGray,
                _ => Color::Red,
            };
            Row::new(cells.into_iter().enumerate().map(aligned)).style(Style::new().fg(colour))
        });
    let widths = [5, 7, 9, 9, 10, 7, 8, 10, 22, 10].map(Constraint::Length);
    Table::new(styled, widths).header(header)
}

/// Calls per second of each layer over time, the newest at the right.
fn draw_curves(frame: &mut Frame<'_>, view: &View, area: Rect) {
    if area.height < 3 {
        return;
    }
    let areas: [Rect; 4] = Layout::horizontal([Constraint::Fill(1); 4]).areas(area);
    for (layer, area) in LayerId::ALL.into_iter().zip(areas) {
        let rates = &view.rates[layer.index()];
        let wide = usize::from(area.width.saturating_sub(2));
        let newest: Vec<u64> = rates
            .iter()
            .skip(rates.len().saturating_sub(wide))
            .copied()
            .collect();
        let most = newest.iter().max().copied().unwrap_or_default();
        let block = Block::bordered().title(format!("{} calls/s, most {most}", layer.name()));
        frame.render_widget(Sparkline::default().block(block).data(newest), area);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::mem::sample::LayerSample;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn sample(calls: u64) -> Sample {
        let layer = LayerSample {
            state: "in use".into(),
            calls: Some(calls),
            ..LayerSample::default()
        };
        let mut layers = [(); 4].map(|()| layer.clone());
        layers[2].state = "absent".into();
        layers[2].detail = "almd was not found".into();
        let at = Instant::now();
        Sample {
            at,
            layers,
            pools: Vec::new(),
            node_bytes: 1 << 20,
        }
    }

    #[test]
    fn any_size_of_a_terminal_is_drawn_on() {
        let mut view = View {
            before: None,
            now: sample(0),
            rates: Default::default(),
            every: Duration::from_secs(1),
        };
        for round in 0..HISTORY as u64 + 10 {
            view.take(sample(round * round));
        }
        assert!(view.rates.iter().all(|rates| rates.len() == HISTORY));
        for (width, height) in [(1, 1), (20, 5), (80, 24), (120, 40)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw(frame, &view)).unwrap();
            if width >= 80 {
                let screen = terminal.backend().to_string();
                for wanted in [
                    "CALLS/S",
                    "ifr",
                    "alm is absent: almd was not found",
                    "q ends",
                ] {
                    assert!(screen.contains(wanted), "{screen}");
                }
            }
        }
    }
}
