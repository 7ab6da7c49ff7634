//! Benchmarks beside peers; rows and generated tables.
fn main() {}
