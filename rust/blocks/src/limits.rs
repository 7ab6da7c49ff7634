//! Every bound of this crate, in one place.

/// Longest block, and so the longest chunk and manifest block.
pub const BLOCK_BYTES_MAX: usize = 256 * 1024;
/// Shortest chunk but for the last of a run of data.
pub const CHUNK_BYTES_MIN: usize = 16 * 1024;
/// Chunk size that the cut rule aims at.
pub const CHUNK_BYTES_AVERAGE: usize = 64 * 1024;
/// Longest chunk.
pub const CHUNK_BYTES_MAX: usize = BLOCK_BYTES_MAX;
/// Zeros become a hole when they fill an aligned stretch of this many bytes.
pub const HOLE_GRAIN_BYTES: usize = 64 * 1024;

/// Entries of an index block: no cut before the least, always one at the most.
pub const INDEX_ENTRIES_MIN: usize = 16;
/// One index entry in this many ends its block, on average.
pub const INDEX_ENTRIES_AVERAGE: u64 = 64;
/// Most entries of an index block.
pub const INDEX_ENTRIES_MAX: usize = 256;
/// Most levels of index blocks above the leaves: 16^12 chunks even if every block is the shortest.
pub const INDEX_DEPTH_MAX: u8 = 12;

/// Entries of a directory block: no cut before the least, always one at the most.
pub const DIRECTORY_ENTRIES_MIN: usize = 8;
/// One directory entry in this many ends its block, on average.
pub const DIRECTORY_ENTRIES_AVERAGE: u64 = 32;
/// Most entries of a directory block.
pub const DIRECTORY_ENTRIES_MAX: usize = 128;
/// A directory block ends before the entry that would make it longer than this.
pub const DIRECTORY_BYTES_TARGET_MAX: usize = 64 * 1024;

/// Longest file name, as on Linux.
pub const NAME_BYTES_MAX: usize = 255;
/// Longest symlink target, as on Linux.
pub const TARGET_BYTES_MAX: usize = 4_095;
/// Deepest nesting of directories below a root; an open directory handle is held per level.
pub const TREE_DEPTH_MAX: usize = 256;
/// Permission bits that are kept. Set-uid, set-gid and sticky bits are dropped by `put` and refused
/// by every decoder: content from another machine must not gain its reader's rights.
pub const MODE_MASK: u16 = 0o777;

/// A segment is full at this length, unless the store's options say otherwise.
pub const SEGMENT_BYTES_DEFAULT: u64 = 128 * 1024 * 1024;
/// Offsets in a segment are 32 bits wide.
pub const SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Segment files that are held open for reading at once.
pub const SEGMENT_HANDLES_MAX: usize = 128;
/// Bytes appended without a commit before `put` and `gc` make one.
pub const COMMIT_BYTES: u64 = 32 * 1024 * 1024;
/// Free space below which nothing is appended, so that the metadata can still be committed.
/// A disk smaller than 32 times this keeps a 32nd of itself free.
pub const DISK_RESERVE_BYTES: u64 = 16 * 1024 * 1024;
/// Memory of the metadata database's page cache.
pub const META_CACHE_BYTES: usize = 8 * 1024 * 1024;
/// Most bytes of a root's source note.
pub const SOURCE_BYTES_MAX: usize = 4_096;
/// Most roots that a store remembers.
pub const ROOTS_MAX: usize = 65_536;

/// Deltas that a block may stand on: a delta, a delta against that one, and no more.
pub const DELTA_DEPTH_MAX: usize = 2;
/// Records that a read follows from a delta to a whole block. More than the writer makes, since a base
/// that was damaged and stored again may be a delta itself by then.
pub const DELTA_CHAIN_MAX: usize = 16;
/// Blocks shorter than this are never deltas nor bases: a record's header would outweigh the saving.
pub const DELTA_BLOCK_BYTES_MIN: usize = 512;
/// A base is at most this many times as long as the block that is put against it.
pub const DELTA_BASE_RATIO_MAX: u32 = 8;
/// Bytes of bases that one thread of a put holds at a time.
pub const DELTA_BASES_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Most memory of the sketches by which a base is found.
pub const SKETCHES_BYTES_MAX_DEFAULT: u64 = 64 * 1024 * 1024;
/// Sketches that wait in memory for the next commit of the metadata.
pub const SKETCHES_UNSAVED_MAX: usize = 4_096;
/// Sketches of one row of the metadata database.
pub const SKETCHES_PER_ROW: usize = 512;

/// Blocks of older trees with which one wanted block is compared, and so the bases named for it.
pub const COUNTERPARTS_MAX: usize = 4;
/// Roots among which the older trees are chosen.
pub const COUNTERPART_ROOTS_MAX: usize = 64;
/// Manifest blocks of older trees that are read beside one new manifest block.
pub const COUNTERPART_READS_MAX: usize = 16;
/// Those of each older tree while it is not decided which of them is the right one.
pub const COUNTERPART_TOP_READS_MAX: usize = 4;
/// Blocks of older trees that one closure reads, and so many more for each manifest block of its own:
/// two versions have about as many.
pub const COUNTERPART_READS_START: usize = 4_096;
pub const COUNTERPART_READS_EACH: usize = 4;
/// Parts of older trees that are compared with those of one new index block.
pub const COUNTERPART_PARTS_MAX: usize = 4_096;
/// Blocks shorter than this travel whole: the base's id would outweigh the saving.
pub const TRAVEL_DELTA_BYTES_MIN: u32 = 128;

/// Blocks that a closure has asked for and not been given.
pub const CLOSURE_OUTSTANDING_MAX: usize = 8_192;
/// Manifest blocks of one root: enough for a hundred million files.
pub const CLOSURE_MANIFESTS_MAX: usize = 1 << 22;

/// Times a file is read again because it changed while it was read.
pub const CHANGED_RETRIES_MAX: usize = 3;
/// Skipped paths that a report names; it counts them all.
pub const SKIPPED_NAMED_MAX: usize = 1_000;
/// Reads of one block that follow it to a new place while segments are compacted.
pub const MOVED_RETRIES_MAX: usize = 8;
/// Segments that are checked or compacted with one look through the index.
pub const SEGMENTS_AT_ONCE: usize = 16;
