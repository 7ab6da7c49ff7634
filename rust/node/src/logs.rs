//! Writes structured logs to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::LogFormat;
use crate::units::short;

/// Checks a filter such as `info` or `info,stoq=debug`.
///
/// # Errors
/// With what may be written instead.
pub fn check_level(text: &str) -> Result<(), String> {
    // The library takes a bare word that is no level for the name of a part of which everything is logged, and of all
    // else nothing: a misspelt level would mute the node.
    let misspelt = text
        .split(',')
        .map(str::trim)
        .any(|part| part.is_empty() || !part.contains('=') && part.parse::<LevelFilter>().is_err());
    if misspelt || EnvFilter::builder().parse(text).is_err() {
        return Err(format!(
            "'{}' is not a log level: write error, warn, info, debug or trace, or per part: info,stoq=debug",
            short(text)
        ));
    }
    Ok(())
}

/// Sends this process's log to standard error from now on.
///
/// # Errors
/// When the level is not one, or logs already go somewhere.
pub fn init(format: LogFormat, level: &str) -> Result<(), String> {
    check_level(level)?;
    // The agreement core tells each of its steps; whoever names it hears them.
    let quiet = if level.contains(CORE) {
        level.to_owned()
    } else {
        format!("{level},{CORE}=warn")
    };
    let filter = EnvFilter::new(quiet);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE);
    let result = match format {
        LogFormat::Human => builder
            .with_ansi(std::io::stderr().is_terminal())
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    result.map_err(|error| error.to_string())
}

/// What the agreement core calls itself.
const CORE: &str = "arc_malachitebft_core_consensus";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        for good in [
            "info",
            "off",
            "warn,stoq=debug",
            "DEBUG",
            "info,hypermesh_node=trace",
        ] {
            check_level(good).unwrap();
        }
        for bad in ["loud", "stoq", "", "info,loud", "lots=of=it"] {
            assert!(check_level(bad).is_err(), "{bad}");
        }
    }
}
