//! Rows of `bench-ifr`.

use crate::record::{BenchError, Ctx};

pub(crate) fn run(_ctx: &mut Ctx) -> Result<(), BenchError> {
    Err(BenchError::new("bench-ifr is not here yet"))
}
