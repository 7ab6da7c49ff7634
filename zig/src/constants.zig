//! Every size and bound of the table, in one place.

/// A digest key, such as a BLAKE3 hash.
pub const digest_bytes: u32 = 32;
/// A value; its meaning is the caller's.
pub const value_bytes: u32 = 16;
/// Longest key of the byte-key table.
pub const key_bytes_max: u32 = 64 * 1024;
/// The secret that hashes are keyed with.
pub const hash_key_bytes: u32 = 16;

/// Slots whose control bytes are compared at once: one SSE or NEON register.
pub const group_slots: u32 = 16;
/// Full slots and tombstones of a group before its segment is rebuilt: 7/8 of the slots.
pub const group_used_max: u32 = 14;
/// A rebuilt segment gets a group for so many entries of ten: a load of 0.7.
pub const group_live_tenths: u32 = 112;
/// A segment that would need more groups is split. Bounds the work of one insert: at most
/// `segment_groups_max * group_used_max` entries move.
pub const segment_groups_max: u32 = 128;
/// Bits of the hash that choose a segment. 2^24 segments hold about 2 * 10^10 entries.
pub const directory_bits_max: u6 = 24;

/// Buckets of the filter per group of slots, each of five 12-bit fingerprints.
pub const filter_group_buckets: u32 = 3;
/// Fingerprints that one insert into the filter may move.
pub const filter_moves_max: u32 = 128;

/// Keys that a batched look-up keeps in flight.
pub const batch_keys: u32 = 32;

/// The least budget: an empty handle with both of its tables.
pub const bytes_min: u64 = 16 * 1024;
