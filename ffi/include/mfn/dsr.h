/* Layer 2, the Dynamic Similarity Reservoir: similar vectors, and novelty. Implemented in rust/dsr; C11 and C++17.
 *
 * Generated from rust/capi/src/dsr.rs and dsr_pools.rs by `./make gen`; do not edit.
 *
 * Functions that return int32_t give MFN_OK or an error of mfn/status.h; outputs are written on success only, but for
 * lengths that say what is needed, and mfn_dsr_last_error has the text of the last error of the calling thread. */

#ifndef MFN_DSR_H
#define MFN_DSR_H

#include <stddef.h>
#include <stdint.h>
#include "status.h"

/*
 Major version in the high 16 bits, minor in the low ones.
 */
#define MFN_DSR_ABI_VERSION 65537

/*
 The longest vector, in numbers.
 */
#define MFN_DSR_DIMS_MAX 4096

/*
 The most results of one search.
 */
#define MFN_DSR_K_MAX 16384

/*
 A precision: one byte per number.
 */
#define MFN_DSR_PRECISION_BYTES 0

/*
 A precision: four bytes per number.
 */
#define MFN_DSR_PRECISION_FLOATS 1

/*
 No neuron: in mfn_dsr_explanation.
 */
#define MFN_DSR_NONE UINT32_MAX

/*
 A threshold of novelty. Made by mfn_dsr_detector_new, freed by mfn_dsr_detector_free. Any thread may use it.
 */
struct mfn_dsr_detector;

/*
 Pools of wells. Made by mfn_dsr_pools_new or mfn_dsr_pools_restore, freed by mfn_dsr_pools_free. A pool has a number, and
 in it each well.

 Time is the caller's, in any unit that is that of ttl; it does not run backwards: an earlier one counts as the latest of
 the pool. Of entries that must give way, those go first that were not inserted or touched for longest.

 Threads: functions that take a `const struct mfn_dsr_pools *` may run at the same time as each other; one that takes
 `struct mfn_dsr_pools *` must have the handle to itself. Any thread may call.
 */
struct mfn_dsr_pools;

/*
 Vectors under ids. Made by mfn_dsr_well_new or mfn_dsr_well_restore, freed by mfn_dsr_well_free.

 Threads: functions that take a `const struct mfn_dsr_well *` may run at the same time as each other; one that takes
 `struct mfn_dsr_well *` must have the handle to itself. Any thread may call.
 */
struct mfn_dsr_well;

/*
 How to make a well. Start from MFN_DSR_OPTIONS_INIT and set dims.
 */
struct mfn_dsr_options {
  /*
   sizeof(struct mfn_dsr_options) of the caller.
   */
  uint32_t struct_size;
  /*
   Numbers of every vector, 1 to MFN_DSR_DIMS_MAX.
   */
  uint32_t dims;
  /*
   The seed of all that is drawn: the same calls with the same seed make the same well.
   */
  uint64_t seed;
  /*
   Recall of the ten nearest that approximate answers aim at, .5 to .999; 0 is .95.
   */
  float recall;
  /*
   MFN_DSR_PRECISION_*.
   */
  uint8_t precision;
  /*
   Not 0: compare with every entry, always.
   */
  uint8_t exact;
  /*
   Must be 0.
   */
  uint8_t reserved[2];
};

/*
 One entry that is like the query.
 */
struct mfn_dsr_match {
  /*
   The entry.
   */
  uint64_t id;
  /*
   Its cosine with the query, -1 to 1.
   */
  float similarity;
  /*
   0.
   */
  uint32_t reserved;
};

/*
 Why an entry is, or is not, among what a search finds.
 */
struct mfn_dsr_explanation {
  /*
   The exact cosine of query and entry.
   */
  float similarity;
  /*
   Neurons that fired for the query; 0 while answers are exact.
   */
  uint32_t fired;
  /*
   Of those, how many fire for the entry as well.
   */
  uint32_t overlap;
  /*
   The neuron that owns the entry, or MFN_DSR_NONE.
   */
  uint32_t owner;
  /*
   The owner's place in the firing order, from 0, or MFN_DSR_NONE: it did not fire and the search missed the entry.
   */
  uint32_t owner_fired;
  /*
   1: the entry was compared exactly.
   */
  uint32_t compared;
};

/*
 What a well holds.
 */
struct mfn_dsr_stats {
  /*
   Entries.
   */
  uint64_t entries;
  /*
   Bytes held, room for growth included.
   */
  uint64_t bytes;
  /*
   Neurons that compete; 0 while answers are exact.
   */
  uint64_t neurons;
  /*
   Neurons whose members a search looks at.
   */
  uint64_t winners;
  /*
   Candidates that a search for ten compares exactly.
   */
  uint64_t refine;
  /*
   Recall that the last calibration measured.
   */
  float recall;
  /*
   0.
   */
  uint32_t reserved;
};

/*
 What a detector says of a vector.
 */
struct mfn_dsr_verdict {
  /*
   The share of normal vectors that score as high or higher.
   */
  double p_value;
  /*
   One minus the mean similarity to the nearest entries.
   */
  float score;
  /*
   1: the score is above the threshold.
   */
  uint32_t novel;
};

/*
 What a pool may hold. Start from MFN_DSR_POOL_OPTIONS_INIT: 64 MiB, for ever, and the oldest give way.
 */
struct mfn_dsr_pool_options {
  /*
   sizeof(struct mfn_dsr_pool_options) of the caller.
   */
  uint32_t struct_size;
  /*
   How long an unused entry stays; 0: for ever.
   */
  uint32_t ttl;
  /*
   Bytes of all wells of the pool together.
   */
  uint64_t bytes_max;
  /*
   Not 0: what has no room is refused with MFN_LIMIT, and nothing gives way.
   */
  uint8_t refuses;
  /*
   Must be 0.
   */
  uint8_t reserved[7];
};

/*
 What a change did.
 */
struct mfn_dsr_applied {
  /*
   Entries that gave way to it.
   */
  uint64_t evicted;
  /*
   Entries that had expired and went.
   */
  uint64_t expired;
  /*
   1: what it names was there before.
   */
  uint32_t existed;
  /*
   0.
   */
  uint32_t reserved;
};

/*
 What a pool holds.
 */
struct mfn_dsr_pool_stats {
  /*
   Its wells, and the entries of all of them.
   */
  uint64_t wells;
  uint64_t entries;
  /*
   Bytes of all wells, and the most that they may be.
   */
  uint64_t bytes;
  uint64_t bytes_max;
  /*
   Entries that ever gave way, and that ever expired.
   */
  uint64_t evicted;
  uint64_t expired;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 The version of this header that the library was built with. Compare its high 16 bits with MFN_DSR_ABI_VERSION.
 */
uint32_t mfn_dsr_abi_version(void);

/*
 Makes an empty well. On MFN_OK *well is a handle that the caller owns.

 # Safety
 `options` points to options of at least the size that they say; `well` points to a place for one pointer.
 */
int32_t mfn_dsr_well_new(const struct mfn_dsr_options *options, struct mfn_dsr_well **well);

/*
 Frees a well. NULL is allowed.

 # Safety
 `well` is a live handle or NULL; it is dead afterwards.
 */
void mfn_dsr_well_free(struct mfn_dsr_well *well);

/*
 Adds a vector of dims numbers, or replaces the one of that id; *replaced becomes 1 or 0, NULL is allowed there.

 Errors: MFN_INVALID_ARGUMENT for another length than the well's, NaN, infinities and vectors of length zero.

 # Safety
 `well` is a live handle; `vector` points to `dims` numbers; `replaced` points to a place for a byte, or is NULL.
 */
int32_t mfn_dsr_insert(struct mfn_dsr_well *well, uint64_t id, const float *vector, size_t dims, uint8_t *replaced);

/*
 Removes an entry. MFN_NOT_FOUND: there is none of that id.

 # Safety
 `well` is a live handle.
 */
int32_t mfn_dsr_remove(struct mfn_dsr_well *well, uint64_t id);

/*
 The k entries most like a vector whose cosine is at least `least`, best first; -1 takes all.

 `matches` has room for k; *found becomes how many were written. At most MFN_DSR_K_MAX.

 # Safety
 `well` is a live handle; `vector` points to `dims` numbers; `matches` points to room for `k`; `found` points to a
 place for a count.
 */
int32_t mfn_dsr_search(const struct mfn_dsr_well *well,
                       const float *vector,
                       size_t dims,
                       size_t k,
                       float least,
                       struct mfn_dsr_match *matches,
                       size_t *found);

/*
 Says how a search for the vector would come to the entry, or why it would miss it. MFN_NOT_FOUND: no such entry.

 # Safety
 `well` is a live handle; `vector` points to `dims` numbers; `explanation` points to a place for one.
 */
int32_t mfn_dsr_explain(const struct mfn_dsr_well *well,
                        const float *vector,
                        size_t dims,
                        uint64_t id,
                        struct mfn_dsr_explanation *explanation);

/*
 The winner code of a vector: the first `winners` neurons that fire, in order. *fired becomes how many were written:
 fewer where there are fewer, none while answers are exact.

 # Safety
 `well` is a live handle; `vector` points to `dims` numbers; `neurons` points to room for `winners`; `fired` points
 to a place for a count.
 */
int32_t mfn_dsr_fire(const struct mfn_dsr_well *well,
                     const float *vector,
                     size_t dims,
                     size_t winners,
                     uint16_t *neurons,
                     size_t *fired);

/*
 What a well holds.

 # Safety
 `well` is a live handle; `stats` points to a place for one.
 */
int32_t mfn_dsr_stats_read(const struct mfn_dsr_well *well, struct mfn_dsr_stats *stats);

/*
 Copies all that the well holds and has learned. *needed becomes the room that it takes.

 MFN_NO_SPACE: the buffer is smaller; nothing was copied. NULL with capacity 0 asks for the size.

 # Safety
 `well` is a live handle; `buffer` points to `capacity` bytes, or is NULL when that is 0; `needed` points to a place
 for a length.
 */
int32_t mfn_dsr_snapshot(const struct mfn_dsr_well *well, uint8_t *buffer, size_t capacity, size_t *needed);

/*
 The well of a snapshot, which may come from anyone. On MFN_OK *well is a handle that the caller owns.

 Errors: MFN_CORRUPT for bytes that are no snapshot or contradict themselves.

 # Safety
 `bytes` points to `length` bytes, or is NULL when that is 0; `well` points to a place for one pointer.
 */
int32_t mfn_dsr_well_restore(const uint8_t *bytes, size_t length, struct mfn_dsr_well **well);

/*
 Takes a threshold of novelty from `count` held-out normal vectors that are not in the well, row after row.

 A normal vector is then called novel with probability at most `rate`; at least 1 / rate - 1 vectors are needed, else
 MFN_NOT_READY. The score is one minus the mean similarity to the `neighbours` nearest entries; 0 is 1. On MFN_OK *detector is
 a handle that the caller owns.

 # Safety
 `well` is a live handle; `vectors` points to `count * dims` numbers; `detector` points to a place for one pointer.
 */
int32_t mfn_dsr_detector_new(const struct mfn_dsr_well *well,
                             const float *vectors,
                             size_t count,
                             size_t dims,
                             size_t neighbours,
                             double rate,
                             struct mfn_dsr_detector **detector);

/*
 Judges a vector against the well that the detector was made with.

 # Safety
 `detector` and `well` are live handles; `vector` points to `dims` numbers; `verdict` points to a place for one.
 */
int32_t mfn_dsr_judge(const struct mfn_dsr_detector *detector,
                      const struct mfn_dsr_well *well,
                      const float *vector,
                      size_t dims,
                      struct mfn_dsr_verdict *verdict);

/*
 Frees a detector. NULL is allowed.

 # Safety
 `detector` is a live handle or NULL; it is dead afterwards.
 */
void mfn_dsr_detector_free(struct mfn_dsr_detector *detector);

/*
 Copies the text of this thread's last error, with a closing zero byte; empty after a success.

 *needed becomes the room that it takes. MFN_NO_SPACE: the buffer is smaller; nothing was copied.

 # Safety
 `buffer` points to `capacity` bytes, or is NULL when that is 0; `needed` points to a place for a length, or is NULL.
 */
int32_t mfn_dsr_last_error(char *buffer, size_t capacity, size_t *needed);

/*
 Makes a registry without any pool. On MFN_OK *pools is a handle that the caller owns.

 # Safety
 `pools` points to a place for one pointer.
 */
int32_t mfn_dsr_pools_new(struct mfn_dsr_pools **pools);

/*
 Frees a registry with all that is in it. NULL is allowed.

 # Safety
 `pools` is a live handle or NULL; it is dead afterwards.
 */
void mfn_dsr_pools_free(struct mfn_dsr_pools *pools);

/*
 Makes a pool, or gives one new limits, to which its entries may give way. `applied` may be NULL.

 # Safety
 `pools` is a live handle; `options` points to options of at least the size that they say; `applied` points to a place for
 one, or is NULL.
 */
int32_t mfn_dsr_pool_set(struct mfn_dsr_pools *pools,
                         uint32_t pool,
                         const struct mfn_dsr_pool_options *options,
                         struct mfn_dsr_applied *applied);

/*
 Removes a pool with all its wells. MFN_NOT_FOUND: there is none of that number.

 # Safety
 `pools` is a live handle.
 */
int32_t mfn_dsr_pool_drop(struct mfn_dsr_pools *pools, uint32_t pool);

/*
 What a pool holds. MFN_NOT_FOUND: there is none of that number.

 # Safety
 `pools` is a live handle; `stats` points to a place for one.
 */
int32_t mfn_dsr_pool_stats_read(const struct mfn_dsr_pools *pools, uint32_t pool, struct mfn_dsr_pool_stats *stats);

/*
 Makes an empty well in a pool; nothing happens when it is there with the same options. `applied` may be NULL.

 Errors: MFN_NOT_FOUND (no such pool), MFN_ALREADY_EXISTS (it is there with other options), MFN_LIMIT (the pool is too
 small for it).

 # Safety
 `pools` is a live handle; `options` points to options of at least the size that they say; `applied` points to a place for
 one, or is NULL.
 */
int32_t mfn_dsr_pool_well_new(struct mfn_dsr_pools *pools,
                              uint32_t pool,
                              uint32_t well,
                              const struct mfn_dsr_options *options,
                              struct mfn_dsr_applied *applied);

/*
 Removes a well with all its entries. MFN_NOT_FOUND: there is none of that number.

 # Safety
 `pools` is a live handle.
 */
int32_t mfn_dsr_pool_well_drop(struct mfn_dsr_pools *pools, uint32_t pool, uint32_t well);

/*
 Adds a vector of dims numbers to a well, or replaces the one of that id. `applied` may be NULL.

 Errors: MFN_NOT_FOUND (no such well), MFN_LIMIT (no room in a pool that refuses), and those of mfn_dsr_insert.

 # Safety
 `pools` is a live handle; `vector` points to `dims` numbers; `applied` points to a place for one, or is NULL.
 */
int32_t mfn_dsr_pool_insert(struct mfn_dsr_pools *pools,
                            uint32_t pool,
                            uint32_t well,
                            uint64_t id,
                            const float *vector,
                            size_t dims,
                            uint32_t now,
                            struct mfn_dsr_applied *applied);

/*
 Says that an entry was used: it expires and gives way later. MFN_NOT_FOUND: it is not there, or has expired.

 # Safety
 `pools` is a live handle.
 */
int32_t mfn_dsr_pool_touch(struct mfn_dsr_pools *pools, uint32_t pool, uint32_t well, uint64_t id, uint32_t now);

/*
 Removes an entry. MFN_NOT_FOUND: there is none of that id.

 # Safety
 `pools` is a live handle.
 */
int32_t mfn_dsr_pool_remove(struct mfn_dsr_pools *pools, uint32_t pool, uint32_t well, uint64_t id);

/*
 Lets time pass: looks at up to `most` places of each well of a pool for entries that have expired. `applied` may be NULL.

 # Safety
 `pools` is a live handle; `applied` points to a place for one, or is NULL.
 */
int32_t mfn_dsr_pool_expire(struct mfn_dsr_pools *pools,
                            uint32_t pool,
                            uint32_t now,
                            uint32_t most,
                            struct mfn_dsr_applied *applied);

/*
 As mfn_dsr_search, in a well of a pool, among the entries that have not expired.

 # Safety
 `pools` is a live handle; `vector` points to `dims` numbers; `matches` points to room for `k`; `found` points to a place
 for a count.
 */
int32_t mfn_dsr_pool_search(const struct mfn_dsr_pools *pools,
                            uint32_t pool,
                            uint32_t well,
                            const float *vector,
                            size_t dims,
                            size_t k,
                            float least,
                            uint32_t now,
                            struct mfn_dsr_match *matches,
                            size_t *found);

/*
 As mfn_dsr_explain, in a well of a pool.

 # Safety
 `pools` is a live handle; `vector` points to `dims` numbers; `explanation` points to a place for one.
 */
int32_t mfn_dsr_pool_explain(const struct mfn_dsr_pools *pools,
                             uint32_t pool,
                             uint32_t well,
                             const float *vector,
                             size_t dims,
                             uint64_t id,
                             struct mfn_dsr_explanation *explanation);

/*
 As mfn_dsr_snapshot, of all pools and wells.

 # Safety
 `pools` is a live handle; `buffer` points to `capacity` bytes, or is NULL when that is 0; `needed` points to a place for a
 length.
 */
int32_t mfn_dsr_pools_snapshot(const struct mfn_dsr_pools *pools,
                               uint8_t *buffer,
                               size_t capacity,
                               size_t *needed);

/*
 The pools of a snapshot, which may come from anyone. On MFN_OK *pools is a handle that the caller owns.

 Errors: MFN_CORRUPT for bytes that are no snapshot or contradict themselves.

 # Safety
 `bytes` points to `length` bytes, or is NULL when that is 0; `pools` points to a place for one pointer.
 */
int32_t mfn_dsr_pools_restore(const uint8_t *bytes, size_t length, struct mfn_dsr_pools **pools);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MFN_DSR_H */

#define MFN_DSR_OPTIONS_INIT {(uint32_t)sizeof(struct mfn_dsr_options), 0, 1, 0, MFN_DSR_PRECISION_BYTES, 0, {0, 0}}
#define MFN_DSR_POOL_OPTIONS_INIT {(uint32_t)sizeof(struct mfn_dsr_pool_options), 0, (uint64_t)64 << 20, 0, {0}}
