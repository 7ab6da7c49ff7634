//! Rows of `bench-local`.

use std::process::ExitCode;

use crate::peers::unix;
use crate::record::{BenchError, Ctx};

pub(crate) fn run(_ctx: &mut Ctx) -> Result<(), BenchError> {
    Err(BenchError::new("bench-local is not here yet"))
}

/// Runs as a second process of this benchmark when the arguments say so.
pub(crate) fn child(arguments: &[String]) -> Option<ExitCode> {
    match arguments {
        [word, path, bytes] if word == unix::CHILD => Some(unix::serve(path, bytes)),
        _ => None,
    }
}
