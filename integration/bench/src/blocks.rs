//! Rows of `bench-blocks`.

use crate::record::{BenchError, Ctx};

pub(crate) fn run(_ctx: &mut Ctx) -> Result<(), BenchError> {
    Err(BenchError::new("bench-blocks is not here yet"))
}
