//! Writes structured logs to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::LogFormat;
use crate::units::short;

/// Checks a filter such as `info` or `info,stoq=debug`.
///
/// # Errors
/// With what may be written instead.
pub fn check_level(text: &str) -> Result<(), String> {
    EnvFilter::builder().parse(text).map(|_| ()).map_err(|_| {
        format!(
            "'{}' is not a log level: write error, warn, info, debug or trace, or per part: info,stoq=debug",
            short(text)
        )
    })
}

/// Sends this process's log to standard error from now on.
///
/// # Errors
/// When the level is not one, or logs already go somewhere.
pub fn init(format: LogFormat, level: &str) -> Result<(), String> {
    check_level(level)?;
    let filter = EnvFilter::new(level);
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
