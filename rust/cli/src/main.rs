//! Runs the `hypermesh` command: one binary that is the node and the tool to talk to it.
//!
//! - `args`: what can be typed.
//! - `commands`: one function per subcommand; those that talk to a node do so through its sockets only.
//! - `output`: standard output carries results, standard error everything else.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod connect;
mod error;
mod output;
mod progress;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    let json = cli.global.json;
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => {
            if !error.silent {
                // Nobody is left to tell when standard error is closed.
                let _ = writeln!(std::io::stderr().lock(), "{}", error.line(json));
            }
            error.exit_code()
        }
    }
}
