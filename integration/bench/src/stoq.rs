//! Rows of `bench-stoq`.

use crate::record::{BenchError, Ctx};

pub(crate) fn run(_ctx: &mut Ctx) -> Result<(), BenchError> {
    Err(BenchError::new("bench-stoq is not here yet"))
}
