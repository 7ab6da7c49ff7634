//! Declares the C functions of layer 1 and links the Zig archive behind them.
//!
//! Generated from `ffi/include/mfn/ifr.h`, which says what each function does, owns and may run beside.
//! Use the crate `mfn-ifr`; nothing else depends on this one.
//!
//! ```
//! // SAFETY: takes and keeps nothing.
//! let version = unsafe { mfn_ifr_sys::mfn_ifr_abi_version() };
//! assert_eq!(version >> 16, mfn_ifr_sys::MFN_IFR_ABI_VERSION >> 16);
//! ```
#![no_std]

#[expect(non_camel_case_types, reason = "the names are those of the C header")]
#[expect(clippy::allow_attributes_without_reason, reason = "bindgen gives none")]
mod bindings;

pub use bindings::*;
