//! Exports what is written in Rust to C: the client of the local sockets (`ffi/include/mfn/client.h`), layer 2,
//! similarity (`ffi/include/mfn/dsr.h`), and layer 4, prediction (`ffi/include/mfn/cpe.h`).
//!
//! The only Rust archive of a process. Headers are generated from this source by `./make gen`.
#![expect(
    unsafe_code,
    reason = "pointers of C callers are checked and dereferenced here"
)]

pub mod client;
pub mod cpe;
pub mod cpe_pools;
pub mod dsr;
pub mod dsr_pools;
mod guard;
