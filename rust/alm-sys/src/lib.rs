//! Declares the C functions of layer 3 and, with the feature `archive`, links the Go archive behind them.
//!
//! Generated from `ffi/include/mfn/alm.h`, which says what each function does, owns and may run beside.
//! Use the crate `mfn-alm` with its feature `embedded-alm`; nothing else depends on this one.
//!
//! ```
//! // 1.0: what the archive answers must have the same high 16 bits.
//! assert_eq!(mfn_alm_sys::MFN_ALM_ABI_VERSION >> 16, 1);
//! ```
#![no_std]

#[expect(clippy::allow_attributes_without_reason, reason = "bindgen gives none")]
mod bindings;

pub use bindings::*;
