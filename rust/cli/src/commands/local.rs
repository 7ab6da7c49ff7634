//! What needs no running node: init, id, up, doctor, completions.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::CommandFactory;
use hypermesh_node::{
    ComponentCommand, ComponentOptions, Config, Level, NodeDir, run, run_component, run_split,
};
use serde_json::json;

use crate::args::{Cli, Completions, Component, Up};
use crate::error::CliError;
use crate::output::{Output, table};

pub(crate) fn init(dir: &NodeDir, out: Output) -> Result<(), CliError> {
    let (id, new) = dir.init()?;
    out.remark(&if new {
        format!(
            "made a node in {}; `hypermesh up` runs it",
            dir.path().display()
        )
    } else {
        format!(
            "there is a node in {} already; nothing changed",
            dir.path().display()
        )
    });
    out.result(
        || id.to_string(),
        || json!({ "node_id": id.to_string(), "dir": dir.path(), "created": new }),
    )
}

pub(crate) fn id(dir: &NodeDir, out: Output) -> Result<(), CliError> {
    let id = hypermesh_node::node_id(&hypermesh_node::load_identity(&dir.identity())?);
    out.result(|| id.to_string(), || json!({ "node_id": id.to_string() }))
}

pub(crate) fn up(dir: &NodeDir, out: Output, arguments: Up) -> Result<(), CliError> {
    if arguments.init {
        dir.init()?;
    } else if !dir.is_initialised() {
        return Err(CliError::failed(format!(
            "there is no node in {}: run `hypermesh init{}` first, or add --init",
            dir.path().display(),
            crate::connect::dir_option(dir)
        )));
    }
    let command = if arguments.split {
        Some(component_command(dir, out, &arguments)?)
    } else {
        None
    };
    let config = prepared(dir, out, arguments)?;
    match command {
        None => run(dir, &config),
        Some(command) => run_split(dir, &config, &command),
    }
    .map_err(|error| CliError::failed(error.to_string()))
}

/// One component of `up --split`. Its parent reads how its start went from standard output.
pub(crate) fn component(dir: &NodeDir, out: Output, arguments: Component) -> Result<(), CliError> {
    let options = ComponentOptions {
        name: arguments.name,
        node: arguments.node,
        started: arguments.started,
        restarts: arguments.restarts,
    };
    let config = prepared(dir, out, arguments.up)?;
    let ran = run_component(dir, &config, &options);
    // Its log has the error, and so has the parent.
    ran.map_err(|_| CliError::said())
}

/// How the processes of the components are started: this program, with what `up` was told.
fn component_command(
    dir: &NodeDir,
    out: Output,
    arguments: &Up,
) -> Result<ComponentCommand, CliError> {
    let program = std::env::current_exe()
        .map_err(|error| CliError::failed(format!("cannot find this program: {error}")))?;
    let mut all: Vec<OsString> = vec!["--dir".into(), dir.path().into()];
    if out.quiet {
        all.push("--quiet".into());
    }
    all.push("component".into());
    for peer in &arguments.peer {
        all.extend(["--peer".into(), peer.to_string().into()]);
    }
    if let Some(format) = arguments.log_format {
        all.extend(["--log-format".into(), format.name().into()]);
    }
    if let Some(level) = &arguments.log_level {
        all.extend(["--log-level".into(), level.into()]);
    }
    Ok(ComponentCommand {
        program,
        arguments: all,
    })
}

/// The configuration with what was typed, and logs as both say.
fn prepared(dir: &NodeDir, out: Output, arguments: Up) -> Result<Config, CliError> {
    let mut config = Config::load(&dir.config())?;
    if !arguments.listen.is_empty() {
        config.listen = arguments.listen;
    }
    config.peers.extend(arguments.peer);
    if let Some(format) = arguments.log_format {
        config.log_format = format;
    }
    if let Some(level) = arguments.log_level {
        config.log_level = level;
    } else if out.quiet {
        config.log_level = "warn".into();
    }
    hypermesh_node::logs::init(config.log_format, &config.log_level).map_err(CliError::failed)?;
    Ok(config)
}

/// Makes the database of the store anew, when it has to be.
pub(crate) fn rebuild(dir: &NodeDir, out: Output) -> Result<(), CliError> {
    let report =
        hypermesh_node::rebuild_store(dir).map_err(|error| CliError::failed(error.to_string()))?;
    if let Some(aside) = &report.set_aside {
        out.remark(&format!("the damaged one is in {}", aside.display()));
    }
    if report.left_out > 0 {
        out.remark(&format!(
            "{} roots were left out: a node remembers no more",
            report.left_out
        ));
    }
    out.result(
        || {
            if report.needed {
                format!(
                    "made anew: {} whole roots, {} that lack blocks, all pinned; `hypermesh roots` lists them",
                    report.whole, report.partly
                )
            } else {
                "the database is well; nothing changed".into()
            }
        },
        || {
            json!({
                "rebuilt": report.needed,
                "whole_roots": report.whole,
                "partly_roots": report.partly,
                "left_out_roots": report.left_out,
                "set_aside": report.set_aside,
            })
        },
    )
}

/// Prints the findings; the exit status is 1 when something is broken.
pub(crate) fn doctor(dir: &NodeDir, out: Output) -> Result<ExitCode, CliError> {
    let findings = hypermesh_node::examine(dir);
    if out.json {
        for finding in &findings {
            out.result(String::new, || {
                json!({
                    "check": finding.check,
                    "level": finding.level.name(),
                    "text": finding.text,
                    "repair": finding.repair,
                })
            })?;
        }
    } else {
        let rows = findings
            .iter()
            .map(|finding| {
                vec![
                    finding.level.name().into(),
                    finding.check.into(),
                    finding.text.clone(),
                ]
            })
            .collect();
        let mut text = table(&["", "check", "finding"], &[], rows);
        for finding in findings.iter().filter(|finding| !finding.repair.is_empty()) {
            text.push_str(&format!(
                "\n{} ({}): {}",
                finding.check,
                finding.level.name(),
                finding.repair
            ));
        }
        out.result(|| text, serde_json::Value::default)?;
    }
    let worst = findings.iter().map(|finding| finding.level).max();
    Ok(ExitCode::from(u8::from(worst == Some(Level::Broken))))
}

pub(crate) fn completions(arguments: &Completions) {
    clap_complete::generate(
        arguments.shell,
        &mut Cli::command(),
        "hypermesh",
        &mut io::stdout().lock(),
    );
}
