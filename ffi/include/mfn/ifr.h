/* Layer 1, the Immediate Flow Registry: an exact-match table in memory. Implemented in zig/, C11 and C++17.
 *
 * A handle maps 32-byte digests to 16-byte values, and, in a second table, byte keys of up to 64 KiB to 16-byte
 * values. The index in front of the entries is an updatable filter as well: it denies 99.5 % of what is not here without
 * a look at an entry. Memory is bounded.
 *
 * Threads: one thread at a time may call functions that take a `struct mfn_ifr *`. Beside it, any number of threads may
 * call those whose comment says "beside a writer": they take no lock, see an entry whole or not at all, and see what a
 * call before them did if something ordered the two. Functions that take a `const struct mfn_ifr *` and whose comment
 * says "with other readers" may run at the same time as each other and as those, but not beside a writer. Any thread may
 * call. Different handles are independent.
 *
 * Errors: functions return MFN_OK or an error of mfn/status.h, any of them MFN_PANIC (see below); outputs are written on
 * success only. MFN_INVALID_ARGUMENT answers a NULL that is not allowed, and memory that is not a live handle as far as
 * that can be seen.
 *
 * Broken invariants: the archive checks its own arithmetic and indexes. A check that fails is a bug of the archive, or
 * of who wrote over its memory; no argument leads there, as all are checked first. The message goes to the reporter, the
 * function returns MFN_PANIC, and the handle is poisoned: every later call of it returns MFN_PANIC, and mfn_ifr_free
 * leaves its memory allocated, because nobody can say what of it is whole. Other handles go on. (Linux on x86-64 and
 * AArch64; elsewhere, and when the reporter itself breaks an invariant, the process aborts.) Memory that a pointer
 * claims to have and has not is, as always in C, undefined. */
#ifndef MFN_IFR_H
#define MFN_IFR_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Major version in the high 16 bits, minor in the low ones. */
#define MFN_IFR_ABI_VERSION 0x00010002u

#define MFN_IFR_DIGEST_BYTES 32u      /* A digest key. */
#define MFN_IFR_VALUE_BYTES 16u       /* A value. */
#define MFN_IFR_KEY_BYTES_MAX 65536u  /* The longest byte key. */
#define MFN_IFR_HASH_KEY_BYTES 16u    /* The secret of the hash. */
#define MFN_IFR_BYTES_MIN 32768u      /* The smallest bytes_max. */

/* A flag of mfn_ifr_options, accepted and without effect since 1.1: the index is the filter. */
#define MFN_IFR_NO_FILTER 1u

/* A registry. Owned by whoever made it; see mfn_ifr_free. */
struct mfn_ifr;

/* How to make a registry. Start from MFN_IFR_OPTIONS_INIT. */
struct mfn_ifr_options {
    /* sizeof(struct mfn_ifr_options) of the caller. Bytes beyond the fields that the library knows must be 0. */
    uint32_t struct_size;
    /* MFN_IFR_NO_FILTER or 0; other bits are refused. */
    uint32_t flags;
    /* At most so many bytes are held at any moment: tables, keys and filter. At least MFN_IFR_BYTES_MIN. */
    uint64_t bytes_max;
    /* Random bytes that are kept secret: who knows them can choose keys that collide. All zero is refused. */
    uint8_t hash_key[MFN_IFR_HASH_KEY_BYTES];
};

#define MFN_IFR_OPTIONS_SIZE_1_0 32u
#define MFN_IFR_OPTIONS_INIT {(uint32_t)sizeof(struct mfn_ifr_options), 0, 0, {0}}

/* What a registry holds. Start from MFN_IFR_STATS_INIT. */
struct mfn_ifr_stats {
    /* sizeof(struct mfn_ifr_stats) of the caller. */
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t digest_entries;
    uint64_t bytes_entries;
    /* Bytes held now, allocator overhead not counted. */
    uint64_t bytes;
    uint64_t bytes_max;
    /* Entries that fit before some part of a table is rebuilt or split. */
    uint64_t capacity;
    uint64_t segments;
    /* Of `bytes`, the index in front of the entries, which is the filter. */
    uint64_t filter_bytes;
    /* Always 0 since 1.1. */
    uint64_t filter_homeless;
};

#define MFN_IFR_STATS_SIZE_1_0 72u
#define MFN_IFR_STATS_INIT {(uint32_t)sizeof(struct mfn_ifr_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0}

/* Called for an entry. `key` and `value` are borrowed until it returns. It may look up in the same handle; it must not
 * change it, nor leave by longjmp or an exception. Anything but 0 ends the iteration. */
typedef int32_t (*mfn_ifr_visit)(void *userdata, const uint8_t *key, size_t key_bytes, const uint8_t *value);

/* Called on the thread that found the broken invariant, before the function that it was in returns MFN_PANIC. `message`
 * is UTF-8 without a NUL, borrowed until it returns. It must not leave by longjmp or an exception. */
typedef void (*mfn_ifr_panic_reporter)(const char *message, size_t message_bytes);

/* The library's MFN_IFR_ABI_VERSION. Use it only if the major version is the header's.
 * Thread: any. */
uint32_t mfn_ifr_abi_version(void);

/* Makes an empty registry.
 * Returns: MFN_OK; MFN_INVALID_ARGUMENT; MFN_LIMIT if bytes_max is too small; MFN_OUT_OF_MEMORY.
 * Ownership: *out is owned by the caller, who gives it to mfn_ifr_free. `options` is borrowed until the return.
 * Thread: any. */
int32_t mfn_ifr_new(const struct mfn_ifr_options *options, struct mfn_ifr **out);

/* Frees a registry. NULL does nothing. Twice is a bug of the caller.
 * Thread: none other uses the handle. */
void mfn_ifr_free(struct mfn_ifr *ifr);

/* Sets the value of a digest. `old` (16 bytes, may be NULL) receives the value that was replaced, if there was one;
 * `replaced` (may be NULL) receives 1 or 0.
 * Returns: MFN_OK; MFN_INVALID_ARGUMENT; MFN_LIMIT if bytes_max would be exceeded; MFN_OUT_OF_MEMORY. After an error
 * the registry holds what it held.
 * Ownership: key (32 bytes) and value (16 bytes) are copied.
 * Thread: alone with the handle. */
int32_t mfn_ifr_insert(struct mfn_ifr *ifr, const uint8_t *key, const uint8_t *value, uint8_t *old, uint8_t *replaced);

/* Reads the value of a digest into `value` (16 bytes).
 * Returns: MFN_OK; MFN_NOT_FOUND; MFN_INVALID_ARGUMENT.
 * Thread: beside a writer. */
int32_t mfn_ifr_get(const struct mfn_ifr *ifr, const uint8_t *key, uint8_t *value);

/* What a look-up without a call goes by: see mfn/ifr_inline.h, which reads it. The words are another thread's to change. */
struct mfn_ifr_head {
    /* Even: what lies behind is whole. Changes with every change but the adding of an entry. */
    uint64_t sequence;
    /* The address of the places of segments, a multiple of 64, and in its low 6 bits the shift that makes an index of a hash. */
    uint64_t way;
    /* Where in a segment the index begins: the bits that the offsets of its lines have in common. */
    uint64_t floor;
};

/* Leads to the head of a registry, as long as that lives. Holds the secret of the hash: keep it where you keep that. */
struct mfn_ifr_view {
    /* sizeof(struct mfn_ifr_view) of the caller. */
    uint32_t struct_size;
    /* MFN_IFR_LAYOUT of the library. */
    uint32_t layout;
    const struct mfn_ifr_head *head;
    uint16_t hash_words[16];
};

/* The layout that mfn/ifr_inline.h of this version reads. */
#define MFN_IFR_LAYOUT 2u
#define MFN_IFR_VIEW_INIT {(uint32_t)sizeof(struct mfn_ifr_view), 0, 0, {0}}

/* Writes the view of a registry. It stays the same until mfn_ifr_free; after a broken invariant it leads to nothing.
 * Returns: MFN_OK; MFN_INVALID_ARGUMENT.
 * Ownership: what the view leads to is the registry's.
 * Thread: beside a writer. Since 1.2. */
int32_t mfn_ifr_view_read(const struct mfn_ifr *ifr, struct mfn_ifr_view *view);

/* Looks up `count` digests that lie one after the other in `keys`; waits for memory overlap. found[i] becomes 1 or 0;
 * values + 16 * i receives a value that was found and is left alone otherwise. `hits` (may be NULL) receives how many
 * were found. With a count of 0 the arrays may be NULL.
 * Returns: MFN_OK, whatever was found; MFN_INVALID_ARGUMENT.
 * Thread: beside a writer. */
int32_t mfn_ifr_get_many(const struct mfn_ifr *ifr, const uint8_t *keys, size_t count, uint8_t *values, uint8_t *found,
                         size_t *hits);

/* Forgets a digest. `old` (16 bytes, may be NULL) receives its value.
 * Returns: MFN_OK; MFN_NOT_FOUND; MFN_INVALID_ARGUMENT.
 * Thread: alone with the handle. */
int32_t mfn_ifr_remove(struct mfn_ifr *ifr, const uint8_t *key, uint8_t *old);

/* Asks only the index. *maybe becomes 0: surely not here; 1: perhaps, wrong for at most 0.5 % of what is not here.
 * Returns: MFN_OK; MFN_INVALID_ARGUMENT.
 * Thread: beside a writer. */
int32_t mfn_ifr_may_contain(const struct mfn_ifr *ifr, const uint8_t *key, uint8_t *maybe);

/* As mfn_ifr_insert, for a byte key, which is copied. A key of 0 bytes is a key; `key` may then be NULL.
 * Returns: as mfn_ifr_insert; MFN_INVALID_ARGUMENT also for a key longer than MFN_IFR_KEY_BYTES_MAX.
 * Thread: alone with the handle. */
int32_t mfn_ifr_insert_bytes(struct mfn_ifr *ifr, const uint8_t *key, size_t key_bytes, const uint8_t *value,
                             uint8_t *old, uint8_t *replaced);

/* As mfn_ifr_get, for a byte key.
 * Returns: as mfn_ifr_get; MFN_INVALID_ARGUMENT also for a key longer than MFN_IFR_KEY_BYTES_MAX.
 * Thread: with other readers. */
int32_t mfn_ifr_get_bytes(const struct mfn_ifr *ifr, const uint8_t *key, size_t key_bytes, uint8_t *value);

/* As mfn_ifr_remove, for a byte key.
 * Returns: as mfn_ifr_remove; MFN_INVALID_ARGUMENT also for a key longer than MFN_IFR_KEY_BYTES_MAX.
 * Thread: alone with the handle. */
int32_t mfn_ifr_remove_bytes(struct mfn_ifr *ifr, const uint8_t *key, size_t key_bytes, uint8_t *old);

/* Calls `visit` for every digest, in no order. If a call that `visit` makes returns MFN_PANIC, so does this one, and
 * `visit` is not called again.
 * Returns: MFN_OK; MFN_CANCELLED if `visit` ended it; MFN_INVALID_ARGUMENT.
 * Thread: with other readers. `visit` runs on the calling thread. */
int32_t mfn_ifr_for_each(const struct mfn_ifr *ifr, void *userdata, mfn_ifr_visit visit);

/* Calls `visit` for every byte key, in no order.
 * Returns: as mfn_ifr_for_each.
 * Thread: with other readers. `visit` runs on the calling thread. */
int32_t mfn_ifr_for_each_bytes(const struct mfn_ifr *ifr, void *userdata, mfn_ifr_visit visit);

/* Writes the number of entries of both kinds.
 * Returns: MFN_OK; MFN_INVALID_ARGUMENT.
 * Thread: beside a writer. Since 1.1. */
int32_t mfn_ifr_len(const struct mfn_ifr *ifr, uint64_t *entries);

/* Reads the statistics into a struct whose struct_size is set. Visits every segment: some nanoseconds per thousand
 * entries.
 * Returns: MFN_OK; MFN_INVALID_ARGUMENT.
 * Thread: with other readers. */
int32_t mfn_ifr_stats_read(const struct mfn_ifr *ifr, struct mfn_ifr_stats *stats);

/* ---- Records of flows, in pools. Since 1.1. ---- */

/* What is known of a key. All offsets are multiples of the field's size; 80 bytes. */
struct mfn_ifr_flow {
    uint8_t key[MFN_IFR_DIGEST_BYTES];
    uint64_t size;       /* Bytes of what the key stands for. */
    uint64_t created_ns; /* Times are nanoseconds of any one clock of the caller's. */
    uint64_t updated_ns;
    uint64_t expires_ns; /* 0: never. */
    uint64_t reference;  /* The caller's. */
    uint16_t component;  /* The caller's numbers. */
    uint16_t kind;
    uint8_t priority; /* 0 to 7; the higher, the longer it stays when others must go. */
    uint8_t heat;     /* 0. */
    uint8_t reserved[2]; /* 0. */
};

#define MFN_IFR_FOUND_EXACT 0u     /* The live record of the key in that pool. */
#define MFN_IFR_FOUND_PARTIAL 1u   /* A record of the key, but expired or in another pool. */
#define MFN_IFR_ROUTE_TO_LAYERS 2u /* Not here. */

/* Layers: where to ask next. */
#define MFN_IFR_LAYER_NONE 0u
#define MFN_IFR_LAYER_SIMILARITY 2u
#define MFN_IFR_LAYER_ASSOCIATION 3u
#define MFN_IFR_LAYER_PREDICTION 4u

/* What to do about a key. 96 bytes. */
struct mfn_ifr_decision {
    uint32_t outcome;
    uint32_t next_layer; /* MFN_IFR_LAYER_NONE for an exact find. */
    /* 0 to 1. Exact: 1. Partial: 1 for a live record, for an expired one its life over the time since it began. Route: how
     * often the next layer had an answer for this kind of key, as mfn_ifr_flows_learn was told. */
    float confidence;
    uint32_t reserved;
    struct mfn_ifr_flow record; /* All zero when there is none. */
};

/* What a pool holds. Set struct_size before the call. */
struct mfn_ifr_pool_stats {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t records;
    uint64_t bytes;
    uint64_t bytes_max;
    uint64_t evictions;
    uint64_t expirations;
};

#define MFN_IFR_POOLS_MAX 256u
#define MFN_IFR_POOL_BYTES_MIN 1048576u
/* A flag of a pool: refuses what does not fit, instead of evicting. */
#define MFN_IFR_POOL_REFUSES 1u

/* Pools of records. */
struct mfn_ifr_flows;

/* Makes a set of pools without any. `hash_key`: 16 random, secret bytes; all zero is refused.
 * Returns: MFN_OK; MFN_INVALID_ARGUMENT; MFN_OUT_OF_MEMORY.
 * Ownership: *out is the caller's, who gives it to mfn_ifr_flows_free.
 * Thread: any. */
int32_t mfn_ifr_flows_new(const uint8_t *hash_key, struct mfn_ifr_flows **out);

/* Frees all pools. NULL does nothing.
 * Thread: none other uses the handle. */
void mfn_ifr_flows_free(struct mfn_ifr_flows *flows);

/* Makes a pool of at most bytes_max bytes, at least MFN_IFR_POOL_BYTES_MIN. `flags`: MFN_IFR_POOL_REFUSES or 0.
 * Returns: MFN_OK; MFN_ALREADY_EXISTS; MFN_LIMIT for a budget that is too small or a pool too many; MFN_OUT_OF_MEMORY;
 * MFN_INVALID_ARGUMENT.
 * Thread: alone with the handle, readers included. */
int32_t mfn_ifr_flows_add_pool(struct mfn_ifr_flows *flows, uint32_t pool_id, uint64_t bytes_max, uint32_t flags);

/* Forgets a pool with all its records.
 * Returns: MFN_OK; MFN_NOT_FOUND; MFN_INVALID_ARGUMENT.
 * Thread: alone with the handle, readers included. */
int32_t mfn_ifr_flows_drop_pool(struct mfn_ifr_flows *flows, uint32_t pool_id);

/* Sets a record. A pool that evicts makes room by taking out expired records and cold ones, of low priority and long not
 * read, and has room always. `old` and `replaced` (may be NULL) as in mfn_ifr_insert.
 * Returns: MFN_OK; MFN_NOT_FOUND without such a pool; MFN_INVALID_ARGUMENT also for a priority over 7; MFN_LIMIT from a pool
 * that refuses; MFN_OUT_OF_MEMORY.
 * Thread: one at a time, beside readers. */
int32_t mfn_ifr_flows_put(struct mfn_ifr_flows *flows, uint32_t pool_id, const struct mfn_ifr_flow *record,
                          uint64_t now_ns, struct mfn_ifr_flow *old, uint8_t *replaced);

/* Reads the live record of a key, and warms it.
 * Returns: MFN_OK; MFN_NOT_FOUND; MFN_INVALID_ARGUMENT.
 * Thread: beside a writer. */
int32_t mfn_ifr_flows_get(const struct mfn_ifr_flows *flows, uint32_t pool_id, const uint8_t *key, uint64_t now_ns,
                          struct mfn_ifr_flow *record);

/* Forgets a key, expired or not. `old` may be NULL.
 * Returns: MFN_OK; MFN_NOT_FOUND; MFN_INVALID_ARGUMENT.
 * Thread: one at a time, beside readers. */
int32_t mfn_ifr_flows_remove(struct mfn_ifr_flows *flows, uint32_t pool_id, const uint8_t *key,
                             struct mfn_ifr_flow *old);

/* Takes out what has expired among the next `looks` records of a pool, in a circle.
 * Returns: MFN_OK; MFN_NOT_FOUND without such a pool; MFN_INVALID_ARGUMENT.
 * Thread: one at a time, beside readers. */
int32_t mfn_ifr_flows_expire(struct mfn_ifr_flows *flows, uint32_t pool_id, uint64_t now_ns, uint64_t looks,
                             uint64_t *removed);

/* Decides about a key of some kind (at most 65,535).
 * Returns: MFN_OK; MFN_INVALID_ARGUMENT.
 * Thread: beside a writer. */
int32_t mfn_ifr_flows_route(const struct mfn_ifr_flows *flows, uint32_t pool_id, const uint8_t *key, uint32_t kind,
                            uint64_t now_ns, struct mfn_ifr_decision *decision);

/* Tells whether a layer that was asked for a key of some kind had an answer.
 * Returns: MFN_OK; MFN_INVALID_ARGUMENT.
 * Thread: one at a time, beside readers. */
int32_t mfn_ifr_flows_learn(struct mfn_ifr_flows *flows, uint32_t kind, uint32_t layer, uint32_t found);

/* Reads what a pool holds.
 * Returns: MFN_OK; MFN_NOT_FOUND without such a pool; MFN_INVALID_ARGUMENT.
 * Thread: with other readers. */
int32_t mfn_ifr_flows_pool_stats(const struct mfn_ifr_flows *flows, uint32_t pool_id,
                                 struct mfn_ifr_pool_stats *stats);

/* ---- Summaries: which digests do I have, to give away. Immutable, 9 bits a key, 0.39 % false positives. Since 1.1. ---- */

/* The bytes that a summary of so many digests takes at most.
 * Returns: MFN_OK; MFN_LIMIT beyond 2^31; MFN_INVALID_ARGUMENT.
 * Thread: any. */
int32_t mfn_ifr_summary_bytes(uint64_t count, uint64_t *bytes);

/* Writes the summary of `count` digests, one after the other in `keys`; repeated ones are allowed. They must be digests:
 * their first eight bytes stand for them. The same digests and seed give the same bytes. *written becomes the length.
 * Returns: MFN_OK; MFN_NO_SPACE, and *written the bytes needed; MFN_LIMIT; MFN_OUT_OF_MEMORY; MFN_INVALID_ARGUMENT.
 * Thread: any. */
int32_t mfn_ifr_summary_build(const uint8_t *keys, size_t count, uint64_t seed, uint8_t *out, size_t capacity,
                              size_t *written);

/* Asks a summary, which may be a stranger's: the bytes are checked. *maybe becomes 0: surely not; 1: perhaps.
 * Returns: MFN_OK; MFN_CORRUPT for bytes that are no summary; MFN_INVALID_ARGUMENT.
 * Thread: any. */
int32_t mfn_ifr_summary_may_contain(const uint8_t *bytes, size_t length, const uint8_t *key, uint8_t *maybe);

/* ---- Filters of fixed capacity that forget: 11.7 bits a key, 0.37 % false positives. Since 1.1. ---- */

struct mfn_ifr_filter;

/* Makes an empty filter for so many digests. `hash_key` as in mfn_ifr_flows_new.
 * Returns: MFN_OK; MFN_LIMIT beyond 2^32; MFN_OUT_OF_MEMORY; MFN_INVALID_ARGUMENT.
 * Ownership: *out is the caller's, who gives it to mfn_ifr_filter_free.
 * Thread: any. */
int32_t mfn_ifr_filter_new(uint64_t capacity, const uint8_t *hash_key, struct mfn_ifr_filter **out);

/* Thread: none other uses the handle. */
void mfn_ifr_filter_free(struct mfn_ifr_filter *filter);

/* Adds a digest. One that is added twice must be removed twice.
 * Returns: MFN_OK; MFN_LIMIT when it is full; MFN_INVALID_ARGUMENT.
 * Thread: alone with the handle. */
int32_t mfn_ifr_filter_insert(struct mfn_ifr_filter *filter, const uint8_t *key);

/* Removes a digest that was added; removing another one may make the filter deny what was added.
 * Returns: MFN_OK; MFN_NOT_FOUND; MFN_INVALID_ARGUMENT.
 * Thread: alone with the handle. */
int32_t mfn_ifr_filter_remove(struct mfn_ifr_filter *filter, const uint8_t *key);

/* *maybe becomes 0: surely not; 1: perhaps.
 * Returns: MFN_OK; MFN_INVALID_ARGUMENT.
 * Thread: with other readers. */
int32_t mfn_ifr_filter_may_contain(const struct mfn_ifr_filter *filter, const uint8_t *key, uint8_t *maybe);

/* The bytes that a filter takes.
 * Returns: MFN_OK; MFN_INVALID_ARGUMENT.
 * Thread: with other readers. */
int32_t mfn_ifr_filter_bytes(const struct mfn_ifr_filter *filter, uint64_t *bytes);

/* Sets who is told of a broken invariant, for the whole process; NULL brings back the message on standard error.
 * Thread: any. */
void mfn_ifr_set_panic_reporter(mfn_ifr_panic_reporter reporter);

#ifdef __cplusplus
}
#endif

#endif
