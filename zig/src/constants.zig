//! Every size and bound of the table, in one place.

/// A digest key, such as a BLAKE3 hash.
pub const digest_bytes: u32 = 32;
/// A value; its meaning is the caller's.
pub const value_bytes: u32 = 16;
/// Longest key of the byte-key table.
pub const key_bytes_max: u32 = 64 * 1024;
/// The secret that hashes are keyed with.
pub const hash_key_bytes: u32 = 16;

/// Slots of an index line, whose tags are compared at once: one SSE or NEON register. Two lines share a cache line.
pub const line_slots: u32 = 8;
/// Full slots and tombstones per two lines before a segment is indexed anew or split: a load of 0.81.
pub const lines_used_max: u32 = 13;
/// A segment that would need more lines is split. Bounds the work of one insert: at most
/// `segment_lines_max * lines_used_max / 2` = 1,664 entries move.
/// A power of two, as every number of lines.
pub const segment_lines_max: u32 = 256;
/// Lines of the first segment, which grows by doubling before it is split.
pub const segment_lines_min: u32 = 4;
/// Two segments that are siblings and hold together at most so many entries become one.
pub const merged_entries_max: u32 = segment_lines_max * lines_used_max / 4;
/// Pages that removals emptied are given back every so many.
pub const removals_before_trim: u32 = 128;
/// Bits of the hash that choose a segment. 2^24 segments hold about 2 * 10^10 entries.
pub const directory_bits_max: u6 = 24;

/// What memory is counted in: the smallest page of the systems that we run on.
pub const page_bytes: u32 = 4096;
/// Windows of address space that are taken at once, at most: about 5 MB.
pub const chunk_windows_max: u32 = 64;

/// A batched look-up asks for a key's index line so many keys before it reads it,
pub const batch_lines_ahead: u32 = 24;
/// and for its entry so many keys before it compares it.
pub const batch_entries_ahead: u32 = 36;
/// A reader that meets a writer so often in a row lets other threads run.
pub const retries_before_yield: u32 = 64;

/// The least budget: an empty handle with both of its tables.
pub const bytes_min: u64 = 32 * 1024;

/// Keys of a filter, at most: its buckets are counted in 32 bits.
pub const filter_keys_max: u64 = 1 << 32;
/// Buckets of a filter beyond its load.
pub const filter_buckets_spare: u32 = 16;
/// Fingerprints that one insert into a filter may move.
pub const filter_moves_max: u32 = 500;

/// Keys of a summary, at most.
pub const summary_keys_max: u64 = 1 << 31;
/// Seeds that building a summary tries: each fails with a chance of a few in a hundred.
pub const summary_tries_max: u32 = 64;

/// Pools of records.
pub const pools_max: u32 = 256;
/// The least budget of a pool.
pub const pool_bytes_min: u64 = 1 << 20;
/// What a record takes at most, at any number of them beyond the least budget's half: 80 bytes of its own, 10 of
/// index, pages that are not full, its share of the directory.
pub const flow_bytes_most: u64 = 104;
/// The same of a digest with its value: 48 bytes of its own; and of a byte key with its value, 40, beside the key's own bytes.
pub const value_bytes_most: u64 = 72;
pub const key_value_bytes_most: u64 = 64;
/// Records that one eviction looks at.
pub const eviction_looks_max: u32 = 64;
/// Evictions for one record that does not fit.
pub const eviction_tries_max: u32 = 64;
/// Kinds of keys whose outcomes are counted apart; kinds that are equal modulo this share.
pub const kinds_learned: u32 = 64;
/// Questions to a layer before the older half of what they taught is forgotten.
pub const outcomes_remembered: u32 = 1 << 12;
