/* Two tenants in one process: each has a pool with a budget of its own, and the one that fills its pool loses its oldest. */
#include <stdio.h>

#include "mfn/dsr.h"

enum { DIMS = 16, WELL = 0, QUIET = 1, BUSY = 2 };

static uint64_t state = 7;

/* A vector of a seeded stream, so that every run prints the same. */
static void draw(float *vector) {
    for (int at = 0; at < DIMS; at++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        vector[at] = (float)(int32_t)(uint32_t)(state >> 32) / 2147483648.0f;
    }
}

static int fail(const char *what, int32_t status) {
    char text[256] = "";
    mfn_dsr_last_error(text, sizeof text, NULL);
    fprintf(stderr, "dsr_pools: %s: %s: %s\n", what, mfn_status_text(status), text);
    return 1;
}

static int32_t tenant(struct mfn_dsr_pools *pools, uint32_t pool) {
    struct mfn_dsr_pool_options limits = MFN_DSR_POOL_OPTIONS_INIT;
    limits.bytes_max = 256 << 10;
    int32_t status = mfn_dsr_pool_set(pools, pool, &limits, NULL);
    struct mfn_dsr_options options = MFN_DSR_OPTIONS_INIT;
    options.dims = DIMS;
    return status == MFN_OK ? mfn_dsr_pool_well_new(pools, pool, WELL, &options, NULL) : status;
}

static int run(struct mfn_dsr_pools *pools) {
    int32_t status = tenant(pools, QUIET);
    if (status == MFN_OK) {
        status = tenant(pools, BUSY);
    }
    float kept[DIMS], vector[DIMS];
    draw(kept);
    if (status == MFN_OK) {
        status = mfn_dsr_pool_insert(pools, QUIET, WELL, 1, kept, DIMS, 0, NULL);
    }
    for (uint32_t id = 0; id < 20000 && status == MFN_OK; id++) {
        draw(vector);
        status = mfn_dsr_pool_insert(pools, BUSY, WELL, id, vector, DIMS, id, NULL);
    }
    if (status != MFN_OK) {
        return fail("filling the pools", status);
    }
    struct mfn_dsr_pool_stats quiet, busy;
    struct mfn_dsr_match best;
    size_t found = 0;
    if ((status = mfn_dsr_pool_stats_read(pools, QUIET, &quiet)) != MFN_OK ||
        (status = mfn_dsr_pool_stats_read(pools, BUSY, &busy)) != MFN_OK ||
        (status = mfn_dsr_pool_search(pools, QUIET, WELL, kept, DIMS, 1, 0.9f, 0, &best, &found)) != MFN_OK) {
        return fail("asking", status);
    }
    printf("busy: %llu entries in %llu of %llu bytes, %llu gave way; quiet: %llu, %s\n", (unsigned long long)busy.entries,
           (unsigned long long)busy.bytes, (unsigned long long)busy.bytes_max, (unsigned long long)busy.evicted,
           (unsigned long long)quiet.entries, found == 1 && best.id == 1 ? "still found" : "lost");
    return found == 1 && quiet.evicted == 0 && busy.evicted > 0 && busy.bytes <= busy.bytes_max ? 0 : 1;
}

int main(void) {
    struct mfn_dsr_pools *pools = NULL;
    int32_t status = mfn_dsr_pools_new(&pools);
    if (status != MFN_OK) {
        return fail("making pools", status);
    }
    int code = run(pools);
    mfn_dsr_pools_free(pools);
    return code;
}
