// Generated from ffi/include/mfn/alm.h (headers f0423342f4ebde92ede5ac85f5667f48b280fc35a98effaf973b5eaf3e5e5479) by `./make gen`; do not edit.
pub const MFN_ALM_ABI_VERSION: u32 = 65536;
pub const MFN_ALM_DURABLE_NONE: u32 = 1;
pub const MFN_ALM_SET_ASIDE: u32 = 2;
pub mod mfn_status {
    #[allow(unused_imports)]
    use super::*;
    pub type Type = ::core::ffi::c_int;
    pub const MFN_OK: Type = 0;
    pub const MFN_INVALID_ARGUMENT: Type = -1;
    pub const MFN_NOT_FOUND: Type = -2;
    pub const MFN_ALREADY_EXISTS: Type = -3;
    pub const MFN_NO_SPACE: Type = -4;
    pub const MFN_LIMIT: Type = -5;
    pub const MFN_OUT_OF_MEMORY: Type = -6;
    pub const MFN_UNSUPPORTED: Type = -7;
    pub const MFN_CANCELLED: Type = -8;
    pub const MFN_DEADLINE: Type = -9;
    pub const MFN_BUSY: Type = -10;
    pub const MFN_CLOSED: Type = -11;
    pub const MFN_DENIED: Type = -12;
    pub const MFN_NOT_READY: Type = -13;
    pub const MFN_IO: Type = -14;
    pub const MFN_CORRUPT: Type = -15;
    pub const MFN_UNREACHABLE: Type = -16;
    pub const MFN_QUOTA: Type = -17;
    pub const MFN_CONFLICT: Type = -18;
    pub const MFN_CIRCUIT_OPEN: Type = -30;
    pub const MFN_PANIC: Type = -98;
    pub const MFN_INTERNAL: Type = -99;
    pub const MFN_FRAME_SHORT: Type = -100;
    pub const MFN_FRAME_TOO_LARGE: Type = -101;
    pub const MFN_FRAME_LENGTH: Type = -102;
    pub const MFN_BAD_VERSION: Type = -103;
    pub const MFN_BAD_KIND: Type = -104;
    pub const MFN_BAD_SERVICE: Type = -105;
    pub const MFN_BAD_CONTENT_TYPE: Type = -106;
    pub const MFN_BAD_FLAGS: Type = -107;
    pub const MFN_BAD_STATUS: Type = -108;
    pub const MFN_BAD_REQUEST_ID: Type = -109;
    pub const MFN_BAD_CREDIT: Type = -110;
    pub const MFN_BAD_TLV: Type = -111;
    pub const MFN_BAD_UTF8: Type = -112;
    pub const MFN_BAD_BODY: Type = -113;
    pub const MFN_UNEXPECTED_FRAME: Type = -114;
}
unsafe extern "C" {
    pub fn mfn_alm_abi_version() -> u32;
}
unsafe extern "C" {
    pub fn mfn_alm_open(
        directory: *const ::core::ffi::c_char,
        flags: u32,
        bytes_max: u64,
        handle: *mut u64,
    ) -> i32;
}
unsafe extern "C" {
    pub fn mfn_alm_call(
        handle: u64,
        method: u16,
        body: *const u8,
        body_bytes: usize,
        timeout_ms: u64,
        out: *mut u8,
        capacity: usize,
        needed: *mut usize,
    ) -> i32;
}
unsafe extern "C" {
    pub fn mfn_alm_close(handle: u64) -> i32;
}
