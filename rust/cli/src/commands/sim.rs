//! `hypermesh sim`: meshes in virtual time, retold for people and for programs.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hypermesh_node::units::format_duration;
use hypermesh_sim::{
    Delays, Happened, ROUNDS_MAX, Random, Report, Scenario, Schedule, Violation, retell, run,
};
use serde_json::{Value, json};

use crate::args::{Global, Sim};
use crate::error::CliError;
use crate::output::{Output, table};
use crate::progress::Counted;

/// Longest file of delays.
const DELAYS_BYTES_MAX: u64 = 64 << 20;
/// Events that a summary tells, at most.
const TOLD_MAX: usize = 40;

pub(crate) fn sim(out: Output, global: &Global, arguments: &Sim) -> Result<ExitCode, CliError> {
    let delays = arguments.delays.as_ref().map(read_delays).transpose()?;
    match (arguments.seeds, arguments.twins) {
        (_, Some(count)) => twins(out, global, count),
        (Some(count), None) => many(out, global, arguments, (count, delays.as_ref())),
        (None, None) => one(out, arguments, delays.as_ref()),
    }
}

fn read_delays(path: &std::path::PathBuf) -> Result<Delays, CliError> {
    let failed = |error: String| CliError::failed(format!("{}: {error}", path.display()));
    let length = std::fs::metadata(path)
        .map_err(|error| failed(error.to_string()))?
        .len();
    if length > DELAYS_BYTES_MAX {
        return Err(failed(format!(
            "{length} bytes are more than {DELAYS_BYTES_MAX}"
        )));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    Delays::parse(&text).map_err(|error| failed(error.to_string()))
}

/// What a seed makes, over measured delays where there are some.
fn scenario(seed: u64, ledger: bool, delays: Option<&Delays>) -> Scenario {
    let scenario = match ledger {
        true => Scenario::ledger(seed),
        false => Scenario::of(seed),
    };
    match delays {
        Some(delays) => scenario.over(delays, &mut Random::new(seed, 4)),
        None => scenario,
    }
}

fn quiet(arguments: &Sim) -> Result<Scenario, CliError> {
    let least = 3 * arguments.behaviour.len() as u64 + 1;
    let nodes = arguments.nodes.unwrap_or(least.max(4));
    if nodes < least {
        return Err(CliError::usage(format!(
            "of {nodes} nodes {} may lie: for {} it takes {least} (--nodes {least})",
            (nodes - 1) / 3,
            arguments.behaviour.len()
        )));
    }
    let mut scenario = Scenario::quiet(arguments.seed, nodes as usize);
    if nodes == 1 {
        // Alone it decides as often as somebody asks.
        scenario.gaps = 50_000_000;
    }
    for (node, behaviour) in scenario.nodes.iter_mut().rev().zip(&arguments.behaviour) {
        *node = Some(*behaviour);
    }
    Ok(scenario)
}

fn one(out: Output, arguments: &Sim, delays: Option<&Delays>) -> Result<ExitCode, CliError> {
    let scenario = if let Some(schedule) = &arguments.schedule {
        Scenario::twins(schedule.clone())
    } else if arguments.nodes.is_some() || !arguments.behaviour.is_empty() {
        let quiet = quiet(arguments)?;
        match delays {
            Some(delays) => quiet.over(delays, &mut Random::new(arguments.seed, 4)),
            None => quiet,
        }
    } else {
        scenario(arguments.seed, arguments.ledger, delays)
    };
    let (mut told, mut failed, mut left) = (Vec::new(), None, 0u64);
    let result = retell(&scenario, |time, happened| {
        let line = format!("{:>12.3} ms  {happened}", time as f64 / 1e6);
        if (arguments.trace || out.json) && failed.is_none() {
            failed = out.result(|| line, || event_json(time, happened)).err();
        } else if !matches!(
            happened,
            Happened::Hears { .. }
                | Happened::Proposes { .. }
                | Happened::Submits { .. }
                | Happened::Decides { .. }
        ) {
            if told.len() < TOLD_MAX {
                told.push(line);
            } else {
                left += 1;
            }
        }
    });
    if let Some(failed) = failed {
        return Err(failed);
    }
    out.result(
        || summary(&scenario, &told, left, &result),
        || summary_json(&scenario, &result),
    )?;
    Ok(ExitCode::from(u8::from(result.is_err())))
}

fn event_json(time: u64, happened: &Happened<'_>) -> Value {
    json!({
        "event": happened.name(),
        "time_ns": time,
        "node": happened.node(),
        "other": happened.other(),
        "height": happened.height(),
        "text": happened.to_string(),
    })
}

fn kinds(scenario: &Scenario) -> Vec<String> {
    let kind = |node: &Option<hypermesh_sim::Behaviour>| {
        node.map_or("honest", hypermesh_sim::Behaviour::name)
            .to_owned()
    };
    scenario.nodes.iter().map(kind).collect()
}

fn summary_json(scenario: &Scenario, result: &Result<Report, Violation>) -> Value {
    let mut value = json!({
        "event": "summary",
        "seed": scenario.seed,
        "nodes": kinds(scenario),
        "heals_ns": scenario.heals,
        "violation": result.as_ref().err().map(ToString::to_string),
    });
    if let Ok(report) = result {
        let trace: String = report
            .trace
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        value["heights"] = json!([report.heights.0, report.heights.1]);
        value["first_round"] = json!(report.first_round);
        value["time_ns"] = json!(report.time);
        value["messages"] = json!(report.messages);
        value["transactions"] = json!(report.transactions);
        value["proved"] = json!(report.proved);
        value["faults"] = json!(report.faults);
        value["rare"] = json!(report.rare);
        value["trace"] = json!(trace);
    }
    value
}

/// One run for people.
fn summary(
    scenario: &Scenario,
    told: &[String],
    left: u64,
    result: &Result<Report, Violation>,
) -> String {
    let ms = |nanoseconds: u64| format_duration(Duration::from_nanos(nanoseconds));
    let proved = |node: usize| match result {
        Ok(report) if report.proved.contains(&node) => "yes".to_string(),
        _ => String::new(),
    };
    let rows = kinds(scenario).into_iter().enumerate().map(|(node, kind)| {
        vec![
            node.to_string(),
            kind,
            proved(node),
            format!("{:+}", scenario.clocks[node]),
        ]
    });
    let mut text = table(
        &["node", "is", "proved", "clock ‰"],
        &[0, 3],
        rows.collect(),
    );
    let _ = write!(
        text,
        "\n\nuntil all heals, after {}: {:.1} % of the messages lost, {:.1} % twice, {} more on the way",
        ms(scenario.heals),
        scenario.loss * 100.0,
        scenario.twice * 100.0,
        ms(scenario.jitter + scenario.storm)
    );
    if let Some(snare) = scenario.snare {
        let _ = write!(
            text,
            "\nin round {} only {} hears what decides",
            snare.round, snare.only
        );
    }
    text.push('\n');
    for line in told {
        let _ = write!(text, "\n{line}");
    }
    if left > 0 {
        let _ = write!(text, "\n{left} more of these; --trace shows all");
    }
    match result {
        Ok(report) => {
            let _ = write!(
                text,
                "\n\nheld: {} to {} heights decided, {} of them in the first round, in {} of virtual time with {} messages",
                report.heights.0,
                report.heights.1,
                report.first_round,
                ms(report.time),
                report.messages
            );
            if report.transactions > 0 {
                let _ = write!(text, "; {} transactions decided", report.transactions);
            }
        }
        Err(violation) => {
            let _ = write!(text, "\n\nBROKEN: {violation}");
        }
    }
    text
}

/// Many seeds on all cores.
fn many(
    out: Output,
    global: &Global,
    arguments: &Sim,
    (count, delays): (u64, Option<&Delays>),
) -> Result<ExitCode, CliError> {
    let (from, ledger) = (arguments.seed, arguments.ledger);
    let broken = run_all(global, (count, "seeds"), |at| {
        run(&scenario(from.saturating_add(at), ledger, delays)).err()
    });
    for (at, violation) in &broken {
        let seed = from.saturating_add(*at);
        out.result(
            || format!("seed {seed}: {violation}"),
            || json!({ "event": "violation", "seed": seed, "text": violation.to_string() }),
        )?;
    }
    out.result(
        || {
            format!(
                "{} of {count} seeds from {from} on broke a rule",
                broken.len()
            )
        },
        || json!({ "event": "summary", "seed": from, "seeds": count, "broken": broken.len() }),
    )?;
    Ok(ExitCode::from(u8::from(!broken.is_empty())))
}

/// Rounds of which all schedules are tried.
const ROUNDS_WHOLE: u32 = 2;

/// All schedules of few rounds, and so many of each number of more, on all cores.
fn twins(out: Output, global: &Global, count: u64) -> Result<ExitCode, CliError> {
    let mut schedules: Vec<(u32, u64)> = Vec::new();
    for rounds in 1..=ROUNDS_MAX {
        let tried = schedules.len();
        if rounds <= ROUNDS_WHOLE {
            schedules.extend(Schedule::all(rounds).map(|number| (rounds, number)));
        } else {
            schedules.extend(Schedule::some(rounds, count).map(|number| (rounds, number)));
        }
        let (tried, different) = (schedules.len() - tried, Schedule::different(rounds));
        out.result(
            || format!("{rounds} rounds: {tried} of {different} schedules that differ"),
            || json!({ "event": "schedules", "rounds": rounds, "tried": tried, "different": different }),
        )?;
    }
    let broken = run_all(global, (schedules.len() as u64, "schedules"), |at| {
        let (rounds, number) = schedules[at as usize];
        run(&Scenario::twins(Schedule::of(number, rounds))).err()
    });
    for (at, violation) in &broken {
        let (rounds, number) = schedules[*at as usize];
        out.result(
            || format!("schedule {rounds}:{number}: {violation}"),
            || json!({ "event": "violation", "schedule": format!("{rounds}:{number}"), "text": violation.to_string() }),
        )?;
    }
    out.result(
        || {
            format!(
                "{} of {} schedules broke a rule",
                broken.len(),
                schedules.len()
            )
        },
        || json!({ "event": "summary", "schedules": schedules.len(), "broken": broken.len() }),
    )?;
    Ok(ExitCode::from(u8::from(!broken.is_empty())))
}

/// Runs so many on all cores. Answers those that broke a rule, and how.
fn run_all(
    global: &Global,
    (count, what): (u64, &'static str),
    run: impl Fn(u64) -> Option<Violation> + Sync,
) -> Vec<(u64, Violation)> {
    let (next, broken) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let progress = Counted::new(global, count, what);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        return;
                    }
                    if let Some(violation) = run(at) {
                        let mut broken = broken.lock().unwrap_or_else(|held| held.into_inner());
                        broken.push((at, violation));
                    }
                    progress.one();
                }
            });
        }
    });
    progress.finish();
    let mut broken = broken.into_inner().unwrap_or_else(|held| held.into_inner());
    broken.sort_by_key(|(at, _)| *at);
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    fn typed(arguments: &[&str]) -> Result<Sim, clap::Error> {
        let all = ["hypermesh", "sim"].iter().chain(arguments);
        match Cli::try_parse_from(all)?.command {
            Command::Sim(sim) => Ok(sim),
            _ => unreachable!("sim was typed"),
        }
    }

    #[test]
    fn a_mesh_of_ones_choice_has_its_liars_last() {
        let sim = typed(&[
            "--nodes",
            "7",
            "--behaviour",
            "split-votes",
            "--behaviour",
            "twins",
        ]);
        let scenario = quiet(&sim.unwrap()).unwrap();
        let kinds = kinds(&scenario);
        assert_eq!(kinds[..5], ["honest"; 5]);
        assert_eq!(kinds[5..], ["twins", "split-votes"]);
        let few = typed(&["--nodes", "3", "--behaviour", "silent"]).unwrap();
        assert!(quiet(&few).unwrap_err().text.contains("--nodes 4"));
        assert!(
            typed(&["--behaviour", "kind"])
                .unwrap_err()
                .to_string()
                .contains("split-votes")
        );
        assert!(typed(&["--nodes", "17"]).is_err());
        assert!(typed(&["--ledger", "--seeds", "3"]).unwrap().ledger);
        assert!(typed(&["--ledger", "--nodes", "4"]).is_err());
        assert!(typed(&["--seeds", "3", "--trace"]).is_err());
        assert_eq!(typed(&["--twins"]).unwrap().twins, Some(1000));
        assert_eq!(typed(&["--twins", "7"]).unwrap().twins, Some(7));
        let retold = typed(&["--schedule", "2:26895", "--trace"]).unwrap();
        assert_eq!(retold.schedule, Some(Schedule::of(26_895, 2)));
        for bad in ["2", "0:1", "8:1", "2:26896", "1:x"] {
            assert!(typed(&["--schedule", bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_run_is_told_to_people_and_to_programs() {
        let mut scenario = Scenario::quiet(3, 4);
        scenario.nodes[3] = Some(hypermesh_sim::Behaviour::DoubleVotes);
        let (mut names, mut told) = (std::collections::BTreeSet::new(), Vec::new());
        let result = retell(&scenario, |time, happened| {
            names.insert(event_json(time, happened)["event"].to_string());
            told.push(happened.to_string());
        });
        for name in ["start", "message", "proposal", "decision", "proof", "heal"] {
            assert!(names.contains(&format!("\"{name}\"")), "{name}: {names:?}");
        }
        let text = summary(&scenario, &told[..4], 9, &result);
        for part in ["double-votes", "yes", "held:", "9 more"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let value = summary_json(&scenario, &result);
        assert_eq!(value["proved"], json!([3]));
        let mut names = std::collections::BTreeSet::new();
        let registry = super::scenario(1, true, None);
        let result = retell(&registry, |time, happened| {
            names.insert(event_json(time, happened)["event"].to_string());
        });
        assert!(names.contains("\"transaction\""), "{names:?}");
        assert!(summary(&registry, &[], 0, &result).contains("transactions decided"));
        let broken = summary_json(&scenario, &Err(Violation("two decisions".into())));
        assert_eq!(broken["violation"], "two decisions");
    }
}
