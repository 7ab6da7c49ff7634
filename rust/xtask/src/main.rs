//! Generation and checks: constants, headers, bindings, tidy, licences.
fn main() {}
