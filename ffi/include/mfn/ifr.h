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
#define MFN_IFR_ABI_VERSION 0x00010001u

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

/* Sets who is told of a broken invariant, for the whole process; NULL brings back the message on standard error.
 * Thread: any. */
void mfn_ifr_set_panic_reporter(mfn_ifr_panic_reporter reporter);

#ifdef __cplusplus
}
#endif

#endif
