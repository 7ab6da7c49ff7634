// Generated from ffi/include/mfn/ifr.h (headers 82617acea86c6c2e4a14c0ff85e6fa9fee1dcfb8ad9dc8e28f2b9af85d015ebf) by `./make gen`; do not edit.
pub const MFN_IFR_ABI_VERSION: u32 = 65537;
pub const MFN_IFR_DIGEST_BYTES: u32 = 32;
pub const MFN_IFR_VALUE_BYTES: u32 = 16;
pub const MFN_IFR_KEY_BYTES_MAX: u32 = 65536;
pub const MFN_IFR_HASH_KEY_BYTES: u32 = 16;
pub const MFN_IFR_BYTES_MIN: u32 = 32768;
pub const MFN_IFR_NO_FILTER: u32 = 1;
pub const MFN_IFR_OPTIONS_SIZE_1_0: u32 = 32;
pub const MFN_IFR_STATS_SIZE_1_0: u32 = 72;
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
#[repr(C)]
#[derive(Debug)]
pub struct mfn_ifr {
    _unused: [u8; 0],
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mfn_ifr_options {
    pub struct_size: u32,
    pub flags: u32,
    pub bytes_max: u64,
    pub hash_key: [u8; 16usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of mfn_ifr_options"][::core::mem::size_of::<mfn_ifr_options>() - 32usize];
    ["Alignment of mfn_ifr_options"][::core::mem::align_of::<mfn_ifr_options>() - 8usize];
    ["Offset of field: mfn_ifr_options::struct_size"]
        [::core::mem::offset_of!(mfn_ifr_options, struct_size) - 0usize];
    ["Offset of field: mfn_ifr_options::flags"]
        [::core::mem::offset_of!(mfn_ifr_options, flags) - 4usize];
    ["Offset of field: mfn_ifr_options::bytes_max"]
        [::core::mem::offset_of!(mfn_ifr_options, bytes_max) - 8usize];
    ["Offset of field: mfn_ifr_options::hash_key"]
        [::core::mem::offset_of!(mfn_ifr_options, hash_key) - 16usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mfn_ifr_stats {
    pub struct_size: u32,
    pub reserved: u32,
    pub digest_entries: u64,
    pub bytes_entries: u64,
    pub bytes: u64,
    pub bytes_max: u64,
    pub capacity: u64,
    pub segments: u64,
    pub filter_bytes: u64,
    pub filter_homeless: u64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of mfn_ifr_stats"][::core::mem::size_of::<mfn_ifr_stats>() - 72usize];
    ["Alignment of mfn_ifr_stats"][::core::mem::align_of::<mfn_ifr_stats>() - 8usize];
    ["Offset of field: mfn_ifr_stats::struct_size"]
        [::core::mem::offset_of!(mfn_ifr_stats, struct_size) - 0usize];
    ["Offset of field: mfn_ifr_stats::reserved"]
        [::core::mem::offset_of!(mfn_ifr_stats, reserved) - 4usize];
    ["Offset of field: mfn_ifr_stats::digest_entries"]
        [::core::mem::offset_of!(mfn_ifr_stats, digest_entries) - 8usize];
    ["Offset of field: mfn_ifr_stats::bytes_entries"]
        [::core::mem::offset_of!(mfn_ifr_stats, bytes_entries) - 16usize];
    ["Offset of field: mfn_ifr_stats::bytes"]
        [::core::mem::offset_of!(mfn_ifr_stats, bytes) - 24usize];
    ["Offset of field: mfn_ifr_stats::bytes_max"]
        [::core::mem::offset_of!(mfn_ifr_stats, bytes_max) - 32usize];
    ["Offset of field: mfn_ifr_stats::capacity"]
        [::core::mem::offset_of!(mfn_ifr_stats, capacity) - 40usize];
    ["Offset of field: mfn_ifr_stats::segments"]
        [::core::mem::offset_of!(mfn_ifr_stats, segments) - 48usize];
    ["Offset of field: mfn_ifr_stats::filter_bytes"]
        [::core::mem::offset_of!(mfn_ifr_stats, filter_bytes) - 56usize];
    ["Offset of field: mfn_ifr_stats::filter_homeless"]
        [::core::mem::offset_of!(mfn_ifr_stats, filter_homeless) - 64usize];
};
pub type mfn_ifr_visit = ::core::option::Option<
    unsafe extern "C" fn(
        userdata: *mut ::core::ffi::c_void,
        key: *const u8,
        key_bytes: usize,
        value: *const u8,
    ) -> i32,
>;
pub type mfn_ifr_panic_reporter = ::core::option::Option<
    unsafe extern "C" fn(message: *const ::core::ffi::c_char, message_bytes: usize),
>;
unsafe extern "C" {
    pub fn mfn_ifr_abi_version() -> u32;
}
unsafe extern "C" {
    pub fn mfn_ifr_new(options: *const mfn_ifr_options, out: *mut *mut mfn_ifr) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_free(ifr: *mut mfn_ifr);
}
unsafe extern "C" {
    pub fn mfn_ifr_insert(
        ifr: *mut mfn_ifr,
        key: *const u8,
        value: *const u8,
        old: *mut u8,
        replaced: *mut u8,
    ) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_get(ifr: *const mfn_ifr, key: *const u8, value: *mut u8) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_get_many(
        ifr: *const mfn_ifr,
        keys: *const u8,
        count: usize,
        values: *mut u8,
        found: *mut u8,
        hits: *mut usize,
    ) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_remove(ifr: *mut mfn_ifr, key: *const u8, old: *mut u8) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_may_contain(ifr: *const mfn_ifr, key: *const u8, maybe: *mut u8) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_insert_bytes(
        ifr: *mut mfn_ifr,
        key: *const u8,
        key_bytes: usize,
        value: *const u8,
        old: *mut u8,
        replaced: *mut u8,
    ) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_get_bytes(
        ifr: *const mfn_ifr,
        key: *const u8,
        key_bytes: usize,
        value: *mut u8,
    ) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_remove_bytes(
        ifr: *mut mfn_ifr,
        key: *const u8,
        key_bytes: usize,
        old: *mut u8,
    ) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_for_each(
        ifr: *const mfn_ifr,
        userdata: *mut ::core::ffi::c_void,
        visit: mfn_ifr_visit,
    ) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_for_each_bytes(
        ifr: *const mfn_ifr,
        userdata: *mut ::core::ffi::c_void,
        visit: mfn_ifr_visit,
    ) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_len(ifr: *const mfn_ifr, entries: *mut u64) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_stats_read(ifr: *const mfn_ifr, stats: *mut mfn_ifr_stats) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_set_panic_reporter(reporter: mfn_ifr_panic_reporter);
}
