// Generated from ffi/include/mfn/ifr.h (headers 0e1d3661e2c4826f0130da885e6c72b615eaa6d338268d9b3800d54f8198adbe) by `./make gen`; do not edit.
pub const MFN_IFR_ABI_VERSION: u32 = 65538;
pub const MFN_IFR_DIGEST_BYTES: u32 = 32;
pub const MFN_IFR_VALUE_BYTES: u32 = 16;
pub const MFN_IFR_KEY_BYTES_MAX: u32 = 65536;
pub const MFN_IFR_HASH_KEY_BYTES: u32 = 16;
pub const MFN_IFR_BYTES_MIN: u32 = 32768;
pub const MFN_IFR_NO_FILTER: u32 = 1;
pub const MFN_IFR_OPTIONS_SIZE_1_0: u32 = 32;
pub const MFN_IFR_STATS_SIZE_1_0: u32 = 72;
pub const MFN_IFR_LAYOUT: u32 = 2;
pub const MFN_IFR_FOUND_EXACT: u32 = 0;
pub const MFN_IFR_FOUND_PARTIAL: u32 = 1;
pub const MFN_IFR_ROUTE_TO_LAYERS: u32 = 2;
pub const MFN_IFR_LAYER_NONE: u32 = 0;
pub const MFN_IFR_LAYER_SIMILARITY: u32 = 2;
pub const MFN_IFR_LAYER_ASSOCIATION: u32 = 3;
pub const MFN_IFR_LAYER_PREDICTION: u32 = 4;
pub const MFN_IFR_POOLS_MAX: u32 = 256;
pub const MFN_IFR_POOL_BYTES_MIN: u32 = 1048576;
pub const MFN_IFR_POOL_REFUSES: u32 = 1;
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
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mfn_ifr_head {
    pub sequence: u64,
    pub way: u64,
    pub floor: u64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of mfn_ifr_head"][::core::mem::size_of::<mfn_ifr_head>() - 24usize];
    ["Alignment of mfn_ifr_head"][::core::mem::align_of::<mfn_ifr_head>() - 8usize];
    ["Offset of field: mfn_ifr_head::sequence"]
        [::core::mem::offset_of!(mfn_ifr_head, sequence) - 0usize];
    ["Offset of field: mfn_ifr_head::way"][::core::mem::offset_of!(mfn_ifr_head, way) - 8usize];
    ["Offset of field: mfn_ifr_head::floor"]
        [::core::mem::offset_of!(mfn_ifr_head, floor) - 16usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mfn_ifr_view {
    pub struct_size: u32,
    pub layout: u32,
    pub head: *const mfn_ifr_head,
    pub hash_words: [u16; 16usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of mfn_ifr_view"][::core::mem::size_of::<mfn_ifr_view>() - 48usize];
    ["Alignment of mfn_ifr_view"][::core::mem::align_of::<mfn_ifr_view>() - 8usize];
    ["Offset of field: mfn_ifr_view::struct_size"]
        [::core::mem::offset_of!(mfn_ifr_view, struct_size) - 0usize];
    ["Offset of field: mfn_ifr_view::layout"]
        [::core::mem::offset_of!(mfn_ifr_view, layout) - 4usize];
    ["Offset of field: mfn_ifr_view::head"][::core::mem::offset_of!(mfn_ifr_view, head) - 8usize];
    ["Offset of field: mfn_ifr_view::hash_words"]
        [::core::mem::offset_of!(mfn_ifr_view, hash_words) - 16usize];
};
unsafe extern "C" {
    pub fn mfn_ifr_view_read(ifr: *const mfn_ifr, view: *mut mfn_ifr_view) -> i32;
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
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mfn_ifr_flow {
    pub key: [u8; 32usize],
    pub size: u64,
    pub created_ns: u64,
    pub updated_ns: u64,
    pub expires_ns: u64,
    pub reference: u64,
    pub component: u16,
    pub kind: u16,
    pub priority: u8,
    pub heat: u8,
    pub reserved: [u8; 2usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of mfn_ifr_flow"][::core::mem::size_of::<mfn_ifr_flow>() - 80usize];
    ["Alignment of mfn_ifr_flow"][::core::mem::align_of::<mfn_ifr_flow>() - 8usize];
    ["Offset of field: mfn_ifr_flow::key"][::core::mem::offset_of!(mfn_ifr_flow, key) - 0usize];
    ["Offset of field: mfn_ifr_flow::size"][::core::mem::offset_of!(mfn_ifr_flow, size) - 32usize];
    ["Offset of field: mfn_ifr_flow::created_ns"]
        [::core::mem::offset_of!(mfn_ifr_flow, created_ns) - 40usize];
    ["Offset of field: mfn_ifr_flow::updated_ns"]
        [::core::mem::offset_of!(mfn_ifr_flow, updated_ns) - 48usize];
    ["Offset of field: mfn_ifr_flow::expires_ns"]
        [::core::mem::offset_of!(mfn_ifr_flow, expires_ns) - 56usize];
    ["Offset of field: mfn_ifr_flow::reference"]
        [::core::mem::offset_of!(mfn_ifr_flow, reference) - 64usize];
    ["Offset of field: mfn_ifr_flow::component"]
        [::core::mem::offset_of!(mfn_ifr_flow, component) - 72usize];
    ["Offset of field: mfn_ifr_flow::kind"][::core::mem::offset_of!(mfn_ifr_flow, kind) - 74usize];
    ["Offset of field: mfn_ifr_flow::priority"]
        [::core::mem::offset_of!(mfn_ifr_flow, priority) - 76usize];
    ["Offset of field: mfn_ifr_flow::heat"][::core::mem::offset_of!(mfn_ifr_flow, heat) - 77usize];
    ["Offset of field: mfn_ifr_flow::reserved"]
        [::core::mem::offset_of!(mfn_ifr_flow, reserved) - 78usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mfn_ifr_decision {
    pub outcome: u32,
    pub next_layer: u32,
    pub confidence: f32,
    pub reserved: u32,
    pub record: mfn_ifr_flow,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of mfn_ifr_decision"][::core::mem::size_of::<mfn_ifr_decision>() - 96usize];
    ["Alignment of mfn_ifr_decision"][::core::mem::align_of::<mfn_ifr_decision>() - 8usize];
    ["Offset of field: mfn_ifr_decision::outcome"]
        [::core::mem::offset_of!(mfn_ifr_decision, outcome) - 0usize];
    ["Offset of field: mfn_ifr_decision::next_layer"]
        [::core::mem::offset_of!(mfn_ifr_decision, next_layer) - 4usize];
    ["Offset of field: mfn_ifr_decision::confidence"]
        [::core::mem::offset_of!(mfn_ifr_decision, confidence) - 8usize];
    ["Offset of field: mfn_ifr_decision::reserved"]
        [::core::mem::offset_of!(mfn_ifr_decision, reserved) - 12usize];
    ["Offset of field: mfn_ifr_decision::record"]
        [::core::mem::offset_of!(mfn_ifr_decision, record) - 16usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mfn_ifr_pool_stats {
    pub struct_size: u32,
    pub reserved: u32,
    pub records: u64,
    pub bytes: u64,
    pub bytes_max: u64,
    pub evictions: u64,
    pub expirations: u64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of mfn_ifr_pool_stats"][::core::mem::size_of::<mfn_ifr_pool_stats>() - 48usize];
    ["Alignment of mfn_ifr_pool_stats"][::core::mem::align_of::<mfn_ifr_pool_stats>() - 8usize];
    ["Offset of field: mfn_ifr_pool_stats::struct_size"]
        [::core::mem::offset_of!(mfn_ifr_pool_stats, struct_size) - 0usize];
    ["Offset of field: mfn_ifr_pool_stats::reserved"]
        [::core::mem::offset_of!(mfn_ifr_pool_stats, reserved) - 4usize];
    ["Offset of field: mfn_ifr_pool_stats::records"]
        [::core::mem::offset_of!(mfn_ifr_pool_stats, records) - 8usize];
    ["Offset of field: mfn_ifr_pool_stats::bytes"]
        [::core::mem::offset_of!(mfn_ifr_pool_stats, bytes) - 16usize];
    ["Offset of field: mfn_ifr_pool_stats::bytes_max"]
        [::core::mem::offset_of!(mfn_ifr_pool_stats, bytes_max) - 24usize];
    ["Offset of field: mfn_ifr_pool_stats::evictions"]
        [::core::mem::offset_of!(mfn_ifr_pool_stats, evictions) - 32usize];
    ["Offset of field: mfn_ifr_pool_stats::expirations"]
        [::core::mem::offset_of!(mfn_ifr_pool_stats, expirations) - 40usize];
};
#[repr(C)]
#[derive(Debug)]
pub struct mfn_ifr_flows {
    _unused: [u8; 0],
}
unsafe extern "C" {
    pub fn mfn_ifr_flows_new(hash_key: *const u8, out: *mut *mut mfn_ifr_flows) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_flows_free(flows: *mut mfn_ifr_flows);
}
unsafe extern "C" {
    pub fn mfn_ifr_flows_add_pool(
        flows: *mut mfn_ifr_flows,
        pool_id: u32,
        bytes_max: u64,
        flags: u32,
    ) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_flows_drop_pool(flows: *mut mfn_ifr_flows, pool_id: u32) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_flows_put(
        flows: *mut mfn_ifr_flows,
        pool_id: u32,
        record: *const mfn_ifr_flow,
        now_ns: u64,
        old: *mut mfn_ifr_flow,
        replaced: *mut u8,
    ) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_flows_get(
        flows: *const mfn_ifr_flows,
        pool_id: u32,
        key: *const u8,
        now_ns: u64,
        record: *mut mfn_ifr_flow,
    ) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_flows_remove(
        flows: *mut mfn_ifr_flows,
        pool_id: u32,
        key: *const u8,
        old: *mut mfn_ifr_flow,
    ) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_flows_expire(
        flows: *mut mfn_ifr_flows,
        pool_id: u32,
        now_ns: u64,
        looks: u64,
        removed: *mut u64,
    ) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_flows_route(
        flows: *const mfn_ifr_flows,
        pool_id: u32,
        key: *const u8,
        kind: u32,
        now_ns: u64,
        decision: *mut mfn_ifr_decision,
    ) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_flows_learn(flows: *mut mfn_ifr_flows, kind: u32, layer: u32, found: u32)
    -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_flows_pool_stats(
        flows: *const mfn_ifr_flows,
        pool_id: u32,
        stats: *mut mfn_ifr_pool_stats,
    ) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_summary_bytes(count: u64, bytes: *mut u64) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_summary_build(
        keys: *const u8,
        count: usize,
        seed: u64,
        out: *mut u8,
        capacity: usize,
        written: *mut usize,
    ) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_summary_may_contain(
        bytes: *const u8,
        length: usize,
        key: *const u8,
        maybe: *mut u8,
    ) -> i32;
}
#[repr(C)]
#[derive(Debug)]
pub struct mfn_ifr_filter {
    _unused: [u8; 0],
}
unsafe extern "C" {
    pub fn mfn_ifr_filter_new(
        capacity: u64,
        hash_key: *const u8,
        out: *mut *mut mfn_ifr_filter,
    ) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_filter_free(filter: *mut mfn_ifr_filter);
}
unsafe extern "C" {
    pub fn mfn_ifr_filter_insert(filter: *mut mfn_ifr_filter, key: *const u8) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_filter_remove(filter: *mut mfn_ifr_filter, key: *const u8) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_filter_may_contain(
        filter: *const mfn_ifr_filter,
        key: *const u8,
        maybe: *mut u8,
    ) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_filter_bytes(filter: *const mfn_ifr_filter, bytes: *mut u64) -> i32;
}
unsafe extern "C" {
    pub fn mfn_ifr_set_panic_reporter(reporter: mfn_ifr_panic_reporter);
}
