//! Exports what is written in Rust to C: the client of the local sockets (`ffi/include/mfn/client.h`) and layer 2
//! (`ffi/include/mfn/dsr.h`).
//!
//! The only Rust archive of a process. Headers are generated from this source by `./make gen`.
#![expect(
    unsafe_code,
    reason = "pointers of C callers are checked and dereferenced here"
)]

pub mod client;
pub mod dsr;
mod guard;
