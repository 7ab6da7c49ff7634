/* Layer 4: predicts the next symbol of streams and the next values of series. Implemented in rust/capi; C11 and C++17.
 *
 * Generated from rust/capi/src/cpe.rs and cpe_pools.rs by `./make gen`; do not edit.
 *
 * Functions that return int32_t give MFN_OK or an error of mfn/status.h; outputs are written on success only, except
 * `needed`. Structs that are filled start with struct_size, which the caller sets; a shorter one gets what fits.
 * docs/memory/CPE.md has the idea and a tutorial. */

#ifndef MFN_CPE_H
#define MFN_CPE_H

#include <stddef.h>
#include <stdint.h>
#include "status.h"

/*
 Major version in the high 16 bits, minor in the low ones.
 */
#define MFN_CPE_ABI_VERSION 65537

/*
 Most items of one prediction; a larger capacity is not filled.
 */
#define MFN_CPE_ITEMS_MAX 52

/*
 Experts of the panel, and the places of their names: mfn_cpe_expert_name.
 */
#define MFN_CPE_EXPERTS 9

/*
 Horizons of a series: 1, 4, 16 and 64 samples.
 */
#define MFN_CPE_HORIZONS 4

/*
 Quantiles of a forecast: 0.5, 0.9 and 0.99.
 */
#define MFN_CPE_QUANTILES 3

/*
 The prediction is not sure enough to be a claim.
 */
#define MFN_CPE_SILENT 1

/*
 The sample repeats the one before and was not learned.
 */
#define MFN_CPE_STALE 1

/*
 The sample came after a gap.
 */
#define MFN_CPE_GAP 2

/*
 The series has left its level.
 */
#define MFN_CPE_CHANGED 4

/*
 The new level is one that was known.
 */
#define MFN_CPE_RETURNED 8

/*
 Pools of streams and series. Made by mfn_cpe_new or mfn_cpe_restore, freed by mfn_cpe_free.

 Threads: one at a time per handle, any thread. After MFN_PANIC only mfn_cpe_free may follow.
 */
struct mfn_cpe;

/*
 A symbol that may come next.
 */
struct mfn_cpe_item {
  uint64_t symbol;
  double probability;
};

/*
 What else a prediction says. The probabilities of all items, other and unseen add up to 1.
 */
struct mfn_cpe_prediction {
  uint32_t struct_size;
  /*
   MFN_CPE_SILENT or 0.
   */
  uint32_t flags;
  /*
   Probability of a known symbol that is not among the items.
   */
  double other;
  /*
   Probability of a symbol that was never seen and is not among the items.
   */
  double unseen;
  /*
   Mean and 0.9 quantile of the time until the next event, in the caller's unit; negative while unknown.
   */
  double wait_mean;
  double wait_p90;
};

/*
 Why a symbol has its probability: the experts' votes and weights, by number.
 */
struct mfn_cpe_explanation {
  uint32_t struct_size;
  /*
   1 when some source proposed the symbol; votes are 0 otherwise.
   */
  uint32_t proposed;
  double probability;
  double votes[MFN_CPE_EXPERTS];
  double weights[MFN_CPE_EXPERTS];
};

/*
 What a stream has scored so far, each event predicted before it was learned.
 */
struct mfn_cpe_scores {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t events;
  uint64_t hits_at_1;
  uint64_t hits_at_5;
  uint64_t none;
  uint64_t unseen;
  uint64_t silent;
  uint64_t backwards;
  /*
   Sums over all events.
   */
  double log_loss_bits;
  double brier;
  /*
   0 is perfect.
   */
  double calibration_error;
  /*
   How many bits log_loss_bits may exceed that of the best expert by.
   */
  double regret_bound_bits;
  /*
   Bytes that the stream holds.
   */
  uint64_t bytes;
};

/*
 What a sample did.
 */
struct mfn_cpe_sampled {
  uint32_t struct_size;
  /*
   MFN_CPE_STALE, MFN_CPE_GAP, MFN_CPE_CHANGED, MFN_CPE_RETURNED.
   */
  uint32_t flags;
  /*
   Medians of the level that was left and of the samples since; with MFN_CPE_CHANGED only.
   */
  double from;
  double to;
  /*
   How many samples ago the change was.
   */
  uint64_t samples_ago;
};

/*
 What a lane of a series will be.
 */
struct mfn_cpe_forecast {
  uint32_t struct_size;
  uint32_t reserved;
  /*
   Samples ahead, by horizon.
   */
  uint64_t samples_ahead[MFN_CPE_HORIZONS];
  /*
   Values by horizon and quantile.
   */
  double quantiles[MFN_CPE_HORIZONS][MFN_CPE_QUANTILES];
};

/*
 Limits of a pool. Set struct_size to sizeof(struct mfn_cpe_pool_options); a field that is 0 has the default named.
 */
struct mfn_cpe_pool_options {
  uint32_t struct_size;
  /*
   1 when a sample that repeats the one before is stale.
   */
  uint32_t repeats_are_stale;
  /*
   Bytes of all members together; 0: 256 MiB.
   */
  uint64_t bytes_max;
  /*
   Time after its last write at which mfn_cpe_expire forgets a member; 0: never.
   */
  uint64_t ttl;
  /*
   Bytes of each stream, at least 256 KiB; 0: 16 MiB.
   */
  uint64_t stream_bytes_max;
  /*
   Lanes of each stream and series; 0: 64.
   */
  uint32_t lanes_max;
  /*
   A prediction is silent when its first item is less likely, 0 to 1.
   */
  float claim_min;
  /*
   The least change of level that counts, in the unit of the samples.
   */
  double change_min;
};

/*
 What a pool holds.
 */
struct mfn_cpe_pool_stats {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t streams;
  uint64_t series;
  /*
   Bytes of all members, and the most that they may be.
   */
  uint64_t bytes;
  uint64_t bytes_max;
  /*
   Members that gave way since the pool was made.
   */
  uint64_t evicted;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 The version of this header that the library was built with. Compare its high 16 bits with MFN_CPE_ABI_VERSION.
 */
uint32_t mfn_cpe_abi_version(void);

/*
 Makes an empty engine. On MFN_OK *cpe is a handle that the caller owns.

 # Safety
 `cpe` points to a place for one pointer.
 */
int32_t mfn_cpe_new(struct mfn_cpe **cpe);

/*
 Frees an engine. NULL is allowed.

 # Safety
 `cpe` is a live handle or NULL; it is dead afterwards.
 */
void mfn_cpe_free(struct mfn_cpe *cpe);

/*
 Learns that a symbol came next in a lane of a stream, at a time in any unit. Stream and pool are made when they are
 not there. MFN_INVALID_ARGUMENT: the number belongs to a series.

 # Safety
 `cpe` is a live handle.
 */
int32_t mfn_cpe_observe(struct mfn_cpe *cpe,
                        uint32_t pool,
                        uint64_t stream,
                        uint32_t lane,
                        uint64_t symbol,
                        uint64_t time);

/*
 What may come next in a lane of a stream, asked at a time: at most `capacity` items, the likeliest first.

 *count becomes how many there are. prediction may be NULL. MFN_NOT_FOUND: there is no such stream.

 # Safety
 `cpe` is a live handle; `items` points to `capacity` items, or is NULL when that is 0; `count` points to a place for
 a length; `prediction` points to a struct whose struct_size is set, or is NULL.
 */
int32_t mfn_cpe_predict(struct mfn_cpe *cpe,
                        uint32_t pool,
                        uint64_t stream,
                        uint32_t lane,
                        uint64_t now,
                        struct mfn_cpe_item *items,
                        size_t capacity,
                        size_t *count,
                        struct mfn_cpe_prediction *prediction);

/*
 Why a symbol has its probability in a lane. MFN_NOT_FOUND: there is no such stream.

 # Safety
 `cpe` is a live handle; `explanation` points to a struct whose struct_size is set.
 */
int32_t mfn_cpe_explain(struct mfn_cpe *cpe,
                        uint32_t pool,
                        uint64_t stream,
                        uint32_t lane,
                        uint64_t symbol,
                        struct mfn_cpe_explanation *explanation);

/*
 The name of an expert of the panel, static; NULL for a number that is none.
 */
const char *mfn_cpe_expert_name(size_t expert);

/*
 What a stream has scored. MFN_NOT_FOUND: there is no such stream.

 # Safety
 `cpe` is a live handle; `scores` points to a struct whose struct_size is set.
 */
int32_t mfn_cpe_scores_read(struct mfn_cpe *cpe, uint32_t pool, uint64_t stream, struct mfn_cpe_scores *scores);

/*
 Takes in a sample of a lane of a series at a time. Series and pool are made when they are not there.

 sampled may be NULL. MFN_INVALID_ARGUMENT: the value is not finite or beyond 1e150 either way, the time is before the
 lane's last one, or the number belongs to a stream; nothing has changed then.

 # Safety
 `cpe` is a live handle; `sampled` points to a struct whose struct_size is set, or is NULL.
 */
int32_t mfn_cpe_sample(struct mfn_cpe *cpe,
                       uint32_t pool,
                       uint64_t series,
                       uint32_t lane,
                       uint64_t time,
                       double value,
                       struct mfn_cpe_sampled *sampled);

/*
 What a lane of a series will be. MFN_NOT_FOUND: there is no such series, or its lane has no samples.

 # Safety
 `cpe` is a live handle; `forecast` points to a struct whose struct_size is set.
 */
int32_t mfn_cpe_forecast_read(struct mfn_cpe *cpe,
                              uint32_t pool,
                              uint64_t series,
                              uint32_t lane,
                              struct mfn_cpe_forecast *forecast);

/*
 Forgets a stream or series. MFN_NOT_FOUND: there is none.

 # Safety
 `cpe` is a live handle.
 */
int32_t mfn_cpe_forget(struct mfn_cpe *cpe, uint32_t pool, uint64_t id);

/*
 Forgets every member that was not written to for longer than its pool's ttl.

 # Safety
 `cpe` is a live handle.
 */
int32_t mfn_cpe_expire(struct mfn_cpe *cpe, uint64_t now);

/*
 Copies the whole state into a buffer; the caller adds a checksum to what it stores.

 *needed becomes the room that it takes. MFN_NO_SPACE: the buffer is smaller; nothing was copied. NULL and 0 ask for
 the size.

 # Safety
 `cpe` is a live handle; `buffer` points to `capacity` bytes, or is NULL when that is 0; `needed` points to a place
 for a length.
 */
int32_t mfn_cpe_snapshot(struct mfn_cpe *cpe, uint8_t *buffer, size_t capacity, size_t *needed);

/*
 Makes an engine of a snapshot. On MFN_OK *cpe is a handle that the caller owns. MFN_BAD_BODY: the bytes are damaged,
 cut off, or of another version.

 # Safety
 `bytes` points to `count` bytes, or is NULL when that is 0; `cpe` points to a place for one pointer.
 */
int32_t mfn_cpe_restore(const uint8_t *bytes, size_t count, struct mfn_cpe **cpe);

/*
 Makes a pool, or gives one new limits. MFN_INVALID_ARGUMENT: a limit is out of its range. MFN_NO_SPACE: a stream
 does not fit, or there are too many pools.

 # Safety
 `cpe` is a live handle; `options` points to options whose struct_size is set.
 */
int32_t mfn_cpe_pool_set(struct mfn_cpe *cpe, uint32_t pool, const struct mfn_cpe_pool_options *options);

/*
 Forgets a pool with all its members. MFN_NOT_FOUND: there is none of that number.

 # Safety
 `cpe` is a live handle.
 */
int32_t mfn_cpe_pool_drop(struct mfn_cpe *cpe, uint32_t pool);

/*
 What a pool holds. MFN_NOT_FOUND: there is none of that number.

 # Safety
 `cpe` is a live handle; `stats` points to a struct whose struct_size is set.
 */
int32_t mfn_cpe_pool_stats_read(struct mfn_cpe *cpe, uint32_t pool, struct mfn_cpe_pool_stats *stats);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MFN_CPE_H */
