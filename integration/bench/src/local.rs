//! Rows of `bench-local`.

use std::process::ExitCode;

use crate::record::{BenchError, Ctx};

pub(crate) fn run(_ctx: &mut Ctx) -> Result<(), BenchError> {
    Err(BenchError::new("bench-local is not here yet"))
}

/// Runs as a second process of this benchmark when the arguments say so.
pub(crate) fn child(_arguments: &[String]) -> Option<ExitCode> {
    None
}
