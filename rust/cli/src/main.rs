//! The hypermesh command.
fn main() {}
