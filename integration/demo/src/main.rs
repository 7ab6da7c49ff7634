//! The demo: three nodes move a real directory.
fn main() {}
