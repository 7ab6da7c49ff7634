/* Abuses the border of layer 2's pools: what is wrong must be a status, and leave outputs and pools as they were. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mfn/dsr.h"

enum { DIMS = 8 };

static int failures = 0;

#define CHECK(condition)                                                         \
    do {                                                                         \
        if (!(condition)) {                                                      \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);      \
            failures++;                                                          \
        }                                                                        \
    } while (0)

static struct mfn_dsr_options well_options(void) {
    struct mfn_dsr_options options = MFN_DSR_OPTIONS_INIT;
    options.dims = DIMS;
    return options;
}

static void vector_of(uint64_t id, float *vector) {
    for (uint64_t at = 0; at < DIMS; at++) {
        id = id * 6364136223846793005u + 1442695040888963407u;
        vector[at] = (float)(int32_t)(uint32_t)(id >> 32) / 2147483648.0f;
    }
}

static void nothing_at_all(void) {
    struct mfn_dsr_pool_options options = MFN_DSR_POOL_OPTIONS_INIT;
    struct mfn_dsr_options well = well_options();
    struct mfn_dsr_pool_stats stats = {.wells = 77};
    const float vector[DIMS] = {1};
    size_t count = 77;
    CHECK(mfn_dsr_pools_new(NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pool_set(NULL, 1, &options, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pool_drop(NULL, 1) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pool_stats_read(NULL, 1, &stats) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pool_well_new(NULL, 1, 1, &well, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pool_well_drop(NULL, 1, 1) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pool_insert(NULL, 1, 1, 1, vector, DIMS, 0, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pool_touch(NULL, 1, 1, 1, 0) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pool_remove(NULL, 1, 1, 1) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pool_expire(NULL, 1, 1, 1, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pool_search(NULL, 1, 1, vector, DIMS, 0, -1, 0, NULL, &count) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pools_snapshot(NULL, NULL, 0, &count) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pools_restore(NULL, 0, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(count == 77 && stats.wells == 77);
    mfn_dsr_pools_free(NULL);
}

static void wrong_arguments(struct mfn_dsr_pools *pools) {
    struct mfn_dsr_pool_options options = MFN_DSR_POOL_OPTIONS_INIT;
    struct mfn_dsr_options well = well_options();
    struct mfn_dsr_applied applied = {.existed = 77};
    float vector[DIMS];
    vector_of(1, vector);
    CHECK(mfn_dsr_pool_set(pools, 1, NULL, &applied) == MFN_INVALID_ARGUMENT);
    options.struct_size = 4;
    CHECK(mfn_dsr_pool_set(pools, 1, &options, &applied) == MFN_INVALID_ARGUMENT);
    options.struct_size = UINT32_MAX;
    CHECK(mfn_dsr_pool_set(pools, 1, &options, &applied) == MFN_INVALID_ARGUMENT);
    options.struct_size = sizeof options;
    options.reserved[6] = 1;
    CHECK(mfn_dsr_pool_set(pools, 1, &options, &applied) == MFN_INVALID_ARGUMENT);
    options.reserved[6] = 0;
    CHECK(mfn_dsr_pool_well_new(pools, 1, 1, &well, &applied) == MFN_NOT_FOUND);
    CHECK(mfn_dsr_pool_insert(pools, 1, 1, 1, vector, DIMS, 0, &applied) == MFN_NOT_FOUND);
    CHECK(mfn_dsr_pool_drop(pools, 1) == MFN_NOT_FOUND && mfn_dsr_pool_well_drop(pools, 1, 1) == MFN_NOT_FOUND);
    CHECK(mfn_dsr_pool_expire(pools, 1, 1, 1, &applied) == MFN_NOT_FOUND);
    CHECK(applied.existed == 77);
    char text[200];
    CHECK(mfn_dsr_last_error(text, sizeof text, NULL) == MFN_OK && strlen(text) > 5);

    options.bytes_max = 1;
    CHECK(mfn_dsr_pool_set(pools, 1, &options, &applied) == MFN_OK && applied.existed == 0);
    CHECK(mfn_dsr_pool_well_new(pools, 1, 1, &well, NULL) == MFN_LIMIT);
    options.bytes_max = UINT64_MAX;
    CHECK(mfn_dsr_pool_set(pools, 1, &options, &applied) == MFN_OK && applied.existed == 1);
    CHECK(mfn_dsr_pool_well_new(pools, 1, 1, &well, &applied) == MFN_OK && applied.existed == 0);
    CHECK(mfn_dsr_pool_well_new(pools, 1, 1, &well, &applied) == MFN_OK && applied.existed == 1);
    well.seed = 9;
    CHECK(mfn_dsr_pool_well_new(pools, 1, 1, &well, &applied) == MFN_ALREADY_EXISTS);
    CHECK(mfn_dsr_pool_well_new(pools, 1, 2, NULL, &applied) == MFN_INVALID_ARGUMENT);

    const float bad[4][DIMS] = {{0}, {NAN, 1}, {1, INFINITY}, {-INFINITY}};
    struct mfn_dsr_match matches[4];
    size_t found = 77;
    for (int at = 0; at < 4; at++) {
        CHECK(mfn_dsr_pool_insert(pools, 1, 1, 1, bad[at], DIMS, 0, NULL) == MFN_INVALID_ARGUMENT);
        CHECK(mfn_dsr_pool_search(pools, 1, 1, bad[at], DIMS, 4, -1, 0, matches, &found) == MFN_INVALID_ARGUMENT);
    }
    CHECK(mfn_dsr_pool_insert(pools, 1, 1, 1, vector, SIZE_MAX, 0, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pool_insert(pools, 1, 1, 1, vector, DIMS - 1, 0, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pool_insert(pools, 1, 1, 1, NULL, DIMS, 0, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pool_search(pools, 1, 1, vector, DIMS, SIZE_MAX, -1, 0, matches, &found) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pool_search(pools, 1, 1, vector, DIMS, 4, NAN, 0, matches, &found) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pool_search(pools, 1, 1, vector, DIMS, 4, -1, 0, NULL, &found) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pool_search(pools, 1, 1, vector, DIMS, 4, -1, 0, matches, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pool_search(pools, 1, 7, vector, DIMS, 4, -1, 0, matches, &found) == MFN_NOT_FOUND && found == 77);
    struct mfn_dsr_explanation why;
    CHECK(mfn_dsr_pool_explain(pools, 1, 1, vector, DIMS, 1, &why) == MFN_NOT_FOUND);
    CHECK(mfn_dsr_pool_explain(pools, 1, 1, vector, DIMS, 1, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pool_touch(pools, 1, 1, 1, 0) == MFN_NOT_FOUND && mfn_dsr_pool_remove(pools, 1, 1, 1) == MFN_NOT_FOUND);
    CHECK(mfn_dsr_pool_drop(pools, 1) == MFN_OK);
}

/* What a budget holds, and what time lets go. */
static void budgets_hold(struct mfn_dsr_pools *pools) {
    struct mfn_dsr_pool_options options = MFN_DSR_POOL_OPTIONS_INIT;
    struct mfn_dsr_options well = well_options();
    struct mfn_dsr_pool_stats stats;
    struct mfn_dsr_applied applied;
    float vector[DIMS];
    options.bytes_max = 128 << 10;
    options.ttl = 1000000;
    CHECK(mfn_dsr_pool_set(pools, 2, &options, NULL) == MFN_OK);
    CHECK(mfn_dsr_pool_well_new(pools, 2, 0, &well, NULL) == MFN_OK);
    uint64_t evicted = 0;
    for (uint32_t id = 0; id < 10000; id++) {
        vector_of(id, vector);
        CHECK(mfn_dsr_pool_insert(pools, 2, 0, id, vector, DIMS, id, &applied) == MFN_OK && applied.existed == 0);
        evicted += applied.evicted;
        CHECK(mfn_dsr_pool_stats_read(pools, 2, &stats) == MFN_OK && stats.bytes <= stats.bytes_max);
        CHECK(stats.entries + evicted == (uint64_t)id + 1);
    }
    CHECK(evicted > 0 && stats.evicted == evicted && stats.wells == 1 && stats.bytes_max == 128 << 10);
    CHECK(mfn_dsr_pool_stats_read(pools, 3, &stats) == MFN_NOT_FOUND);
    CHECK(mfn_dsr_pool_stats_read(pools, 2, NULL) == MFN_INVALID_ARGUMENT);
    struct mfn_dsr_match best;
    size_t found = 0;
    CHECK(mfn_dsr_pool_search(pools, 2, 0, vector, DIMS, 1, 0.9f, 0, &best, &found) == MFN_OK && found == 1 && best.id == 9999);
    CHECK(mfn_dsr_pool_search(pools, 2, 0, vector, DIMS, 1, 0.9f, UINT32_MAX, &best, &found) == MFN_OK && found == 0);
    struct mfn_dsr_explanation why;
    CHECK(mfn_dsr_pool_explain(pools, 2, 0, vector, DIMS, 9999, &why) == MFN_OK && why.similarity > 0.99f);
    CHECK(mfn_dsr_pool_touch(pools, 2, 0, 9999, 10000) == MFN_OK);
    CHECK(mfn_dsr_pool_expire(pools, 2, 1009999, UINT32_MAX, &applied) == MFN_OK && applied.expired > 0);
    CHECK(mfn_dsr_pool_stats_read(pools, 2, &stats) == MFN_OK && stats.entries == 1);
    CHECK(mfn_dsr_pool_remove(pools, 2, 0, 9999) == MFN_OK);
    CHECK(mfn_dsr_pool_well_drop(pools, 2, 0) == MFN_OK && mfn_dsr_pool_well_drop(pools, 2, 0) == MFN_NOT_FOUND);

    options.refuses = 1;
    CHECK(mfn_dsr_pool_set(pools, 2, &options, NULL) == MFN_OK);
    CHECK(mfn_dsr_pool_well_new(pools, 2, 0, &well, NULL) == MFN_OK);
    int32_t status = MFN_OK;
    uint64_t taken = 0;
    for (; status == MFN_OK && taken < 100000; taken++) {
        vector_of(taken, vector);
        status = mfn_dsr_pool_insert(pools, 2, 0, taken, vector, DIMS, 0, NULL);
    }
    CHECK(status == MFN_LIMIT);
    CHECK(mfn_dsr_pool_stats_read(pools, 2, &stats) == MFN_OK && stats.entries == taken - 1 && stats.bytes <= stats.bytes_max);
}

static void snapshots_are_checked(const struct mfn_dsr_pools *pools) {
    size_t needed = 0, again = 0;
    CHECK(mfn_dsr_pools_snapshot(pools, NULL, 0, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pools_snapshot(pools, NULL, 1, &needed) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pools_snapshot(pools, NULL, 0, &needed) == MFN_NO_SPACE && needed > 0);
    uint8_t *bytes = malloc(needed);
    if (bytes == NULL) {
        exit(1);
    }
    CHECK(mfn_dsr_pools_snapshot(pools, bytes, needed - 1, &again) == MFN_NO_SPACE && again == needed);
    CHECK(mfn_dsr_pools_snapshot(pools, bytes, needed, &again) == MFN_OK);
    struct mfn_dsr_pools *other = NULL;
    for (size_t at = 0; at < needed; at += 1 + needed / 100) {
        bytes[at] ^= 0x40;
        CHECK(mfn_dsr_pools_restore(bytes, needed, &other) == MFN_CORRUPT);
        bytes[at] ^= 0x40;
        CHECK(mfn_dsr_pools_restore(bytes, at, &other) == MFN_CORRUPT);
    }
    CHECK(mfn_dsr_pools_restore(NULL, 4, &other) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pools_restore(bytes, SIZE_MAX, &other) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_pools_restore(NULL, 0, &other) == MFN_CORRUPT);
    CHECK(other == NULL);
    CHECK(mfn_dsr_pools_restore(bytes, needed, &other) == MFN_OK);
    struct mfn_dsr_pool_stats first, second;
    CHECK(mfn_dsr_pool_stats_read(pools, 2, &first) == MFN_OK && mfn_dsr_pool_stats_read(other, 2, &second) == MFN_OK);
    CHECK(memcmp(&first, &second, sizeof first) == 0 && first.entries > 0);
    mfn_dsr_pools_free(other);
    free(bytes);
}

int main(void) {
    CHECK(mfn_dsr_abi_version() >> 16 == MFN_DSR_ABI_VERSION >> 16);
    struct mfn_dsr_pools *pools = NULL;
    nothing_at_all();
    if (mfn_dsr_pools_new(&pools) != MFN_OK) {
        return 1;
    }
    wrong_arguments(pools);
    budgets_hold(pools);
    snapshots_are_checked(pools);
    mfn_dsr_pools_free(pools);
    return failures == 0 ? 0 : 1;
}
