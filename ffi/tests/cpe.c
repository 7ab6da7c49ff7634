/* Tries the border of layer 4: wrong arguments, short structs, hostile values, damaged snapshots. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mfn/cpe.h"

#define CHECK(what)                                                                                                    \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            fprintf(stderr, "line %d: %s does not hold\n", __LINE__, #what);                                           \
            return 1;                                                                                                  \
        }                                                                                                              \
    } while (0)

static int nothing_at_all(void) {
    size_t count = 0;
    CHECK(mfn_cpe_new(NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_cpe_observe(NULL, 0, 0, 0, 0, 0) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_cpe_sample(NULL, 0, 0, 0, 0, 1.0, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_cpe_predict(NULL, 0, 0, 0, 0, NULL, 0, &count, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_cpe_snapshot(NULL, NULL, 0, &count) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_cpe_restore(NULL, 0, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_cpe_expert_name(MFN_CPE_EXPERTS) == NULL && mfn_cpe_expert_name(SIZE_MAX) == NULL);
    mfn_cpe_free(NULL);
    CHECK(mfn_cpe_abi_version() >> 16 == MFN_CPE_ABI_VERSION >> 16);
    return 0;
}

static int wrong_arguments(struct mfn_cpe *cpe) {
    struct mfn_cpe_item items[100];
    size_t count = 7;
    CHECK(mfn_cpe_predict(cpe, 1, 1, 0, 0, items, 100, &count, NULL) == MFN_NOT_FOUND && count == 7);
    struct mfn_cpe_pool_options options = {.struct_size = 4};
    CHECK(mfn_cpe_pool_set(cpe, 1, &options) == MFN_INVALID_ARGUMENT);
    options.struct_size = sizeof options + 1;
    CHECK(mfn_cpe_pool_set(cpe, 1, &options) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_cpe_pool_set(cpe, 1, NULL) == MFN_INVALID_ARGUMENT);
    options.struct_size = sizeof options;
    options.claim_min = NAN;
    CHECK(mfn_cpe_pool_set(cpe, 1, &options) == MFN_INVALID_ARGUMENT);
    options.claim_min = 0;
    options.stream_bytes_max = UINT64_MAX;
    CHECK(mfn_cpe_pool_set(cpe, 1, &options) == MFN_INVALID_ARGUMENT);
    options.stream_bytes_max = 1u << 20;
    options.bytes_max = 1;
    CHECK(mfn_cpe_pool_set(cpe, 1, &options) == MFN_NO_SPACE);
    options.bytes_max = 8u << 20;
    CHECK(mfn_cpe_pool_set(cpe, 1, &options) == MFN_OK);
    /* Options of an older, shorter header. */
    options.struct_size = 16;
    CHECK(mfn_cpe_pool_set(cpe, 2, &options) == MFN_NO_SPACE);
    options.bytes_max = 64u << 20;
    CHECK(mfn_cpe_pool_set(cpe, 2, &options) == MFN_OK);
    return 0;
}

static int hostile_values(struct mfn_cpe *cpe) {
    struct mfn_cpe_item items[100];
    size_t count = 0;
    for (uint64_t number = 0; number < 3000; number++) {
        /* Never the same twice; time jumps to and fro. */
        CHECK(mfn_cpe_observe(cpe, 1, 1, (uint32_t)(number * 2654435761u), number * 0x9E3779B97F4A7C15u, UINT64_MAX / (number + 1)) == MFN_OK);
        CHECK(mfn_cpe_predict(cpe, 1, 1, (uint32_t)number, 0, items, 100, &count, NULL) == MFN_OK);
        CHECK(count <= MFN_CPE_ITEMS_MAX);
    }
    CHECK(mfn_cpe_predict(cpe, 1, 1, 0, 0, NULL, 1, &count, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_cpe_predict(cpe, 1, 1, 0, 0, NULL, 0, &count, NULL) == MFN_OK && count == 0);
    struct mfn_cpe_prediction rest = {.struct_size = 0};
    CHECK(mfn_cpe_predict(cpe, 1, 1, 0, 0, items, 100, &count, &rest) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_cpe_sample(cpe, 1, 2, 0, 5, NAN, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_cpe_sample(cpe, 1, 2, 0, 5, INFINITY, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_cpe_sample(cpe, 1, 2, 0, 5, 1.0, NULL) == MFN_OK);
    CHECK(mfn_cpe_sample(cpe, 1, 2, 0, 4, 1.0, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_cpe_sample(cpe, 1, 1, 0, 5, 1.0, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_cpe_observe(cpe, 1, 2, 0, 5, 1) == MFN_INVALID_ARGUMENT);
    struct mfn_cpe_forecast forecast = {.struct_size = sizeof forecast};
    CHECK(mfn_cpe_forecast_read(cpe, 1, 2, 9, &forecast) == MFN_NOT_FOUND);
    CHECK(mfn_cpe_forecast_read(cpe, 1, 2, 0, &forecast) == MFN_OK && fabs(forecast.quantiles[0][0] - 1.0) < 1e-9);
    /* As much as there is room for says the caller; no more than MFN_CPE_ITEMS_MAX are written. */
    CHECK(mfn_cpe_predict(cpe, 1, 1, 0, UINT64_MAX, items, SIZE_MAX, &count, NULL) == MFN_OK && count <= MFN_CPE_ITEMS_MAX);
    CHECK(mfn_cpe_predict(cpe, 1, 1, 0, 0, items, 100, NULL, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_cpe_predict(cpe, UINT32_MAX, UINT64_MAX, UINT32_MAX, 0, items, 100, &count, NULL) == MFN_NOT_FOUND);
    struct mfn_cpe_explanation why = {.struct_size = sizeof why};
    CHECK(mfn_cpe_explain(cpe, 1, 1, 0, 1, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_cpe_explain(cpe, 1, 2, 0, 1, &why) == MFN_INVALID_ARGUMENT); /* a series */
    CHECK(mfn_cpe_explain(cpe, 1, 99, 0, 1, &why) == MFN_NOT_FOUND);
    CHECK(mfn_cpe_explain(cpe, 1, 1, UINT32_MAX, UINT64_MAX, &why) == MFN_OK && why.proposed <= 1);
    struct mfn_cpe_scores scores = {.struct_size = UINT32_MAX};
    CHECK(mfn_cpe_scores_read(cpe, 1, 1, &scores) == MFN_INVALID_ARGUMENT && mfn_cpe_scores_read(cpe, 1, 1, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_cpe_scores_read(NULL, 1, 1, &scores) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_cpe_forecast_read(cpe, 1, 2, 0, NULL) == MFN_INVALID_ARGUMENT && mfn_cpe_forecast_read(cpe, 1, 1, 0, &forecast) == MFN_INVALID_ARGUMENT);
    struct mfn_cpe_sampled sampled = {.struct_size = 4};
    CHECK(mfn_cpe_sample(cpe, 1, 2, 0, UINT64_MAX, -0.0, &sampled) == MFN_INVALID_ARGUMENT);
    sampled.struct_size = sizeof sampled;
    CHECK(mfn_cpe_sample(cpe, 1, 2, 0, UINT64_MAX, 1.7976931348623157e308, &sampled) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_cpe_sample(cpe, 1, 2, 0, UINT64_MAX, 1e150, &sampled) == MFN_OK);
    CHECK(mfn_cpe_sample(cpe, 1, 2, 0, UINT64_MAX, -1e150, NULL) == MFN_OK);
    CHECK(mfn_cpe_forecast_read(cpe, 1, 2, 0, &forecast) == MFN_OK && isfinite(forecast.quantiles[3][2]));
    CHECK(mfn_cpe_expire(NULL, 1) == MFN_INVALID_ARGUMENT && mfn_cpe_forget(NULL, 1, 1) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_cpe_expire(cpe, UINT64_MAX) == MFN_OK);
    struct mfn_cpe_pool_options options = {.struct_size = sizeof options, .repeats_are_stale = 2};
    CHECK(mfn_cpe_pool_set(cpe, 7, &options) == MFN_INVALID_ARGUMENT);
    options.repeats_are_stale = 0;
    const double levels[] = {NAN, -1, INFINITY};
    for (int at = 0; at < 3; at++) {
        options.change_min = levels[at];
        CHECK(mfn_cpe_pool_set(cpe, 7, &options) == MFN_INVALID_ARGUMENT);
    }
    CHECK(mfn_cpe_restore((const uint8_t *)items, SIZE_MAX, NULL) == MFN_INVALID_ARGUMENT);
    struct mfn_cpe *none = NULL;
    CHECK(mfn_cpe_restore((const uint8_t *)items, SIZE_MAX, &none) == MFN_INVALID_ARGUMENT && none == NULL);
    CHECK(mfn_cpe_restore(NULL, 8, &none) == MFN_INVALID_ARGUMENT && mfn_cpe_restore(NULL, 0, &none) == MFN_BAD_BODY && none == NULL);
    CHECK(mfn_cpe_forget(cpe, 1, 2) == MFN_OK && mfn_cpe_forget(cpe, 1, 2) == MFN_NOT_FOUND);
    return 0;
}

static int pools_have_budgets(struct mfn_cpe *cpe) {
    struct mfn_cpe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK(mfn_cpe_pool_stats_read(cpe, 9, &stats) == MFN_NOT_FOUND && mfn_cpe_pool_drop(cpe, 9) == MFN_NOT_FOUND);
    CHECK(mfn_cpe_pool_stats_read(cpe, 1, NULL) == MFN_INVALID_ARGUMENT && mfn_cpe_pool_drop(NULL, 1) == MFN_INVALID_ARGUMENT);
    stats.struct_size = 4;
    CHECK(mfn_cpe_pool_stats_read(cpe, 1, &stats) == MFN_INVALID_ARGUMENT);
    struct mfn_cpe_pool_options options = {.struct_size = sizeof options, .bytes_max = 2u << 20, .stream_bytes_max = 1u << 18};
    CHECK(mfn_cpe_pool_set(cpe, 9, &options) == MFN_OK);
    uint64_t series = 0;
    for (uint64_t stream = 0; stream < 64; stream++) {
        for (uint64_t event = 0; event < 300; event++) {
            CHECK(mfn_cpe_observe(cpe, 9, stream, 0, event * 0x9E3779B97F4A7C15u, event) == MFN_OK);
        }
        CHECK(mfn_cpe_sample(cpe, 9, 1000 + stream, 0, 5, 1.0, NULL) == MFN_OK);
        series++;
        stats.struct_size = sizeof stats;
        CHECK(mfn_cpe_pool_stats_read(cpe, 9, &stats) == MFN_OK && stats.bytes <= stats.bytes_max && stats.bytes > 0);
        CHECK(stats.streams + stats.series + stats.evicted == stream + 1 + series);
    }
    CHECK(stats.evicted > 0 && stats.bytes_max == 2u << 20 && stats.streams > 0);
    /* As much as an older, shorter struct has room for. */
    stats.struct_size = 16;
    stats.series = 77;
    CHECK(mfn_cpe_pool_stats_read(cpe, 9, &stats) == MFN_OK && stats.streams > 0 && stats.series == 77);
    CHECK(mfn_cpe_pool_drop(cpe, 9) == MFN_OK && mfn_cpe_forget(cpe, 9, 63) == MFN_NOT_FOUND);
    return 0;
}

static int damaged_snapshots(struct mfn_cpe *cpe) {
    size_t needed = 0;
    CHECK(mfn_cpe_snapshot(cpe, NULL, 0, &needed) == MFN_NO_SPACE && needed > 0);
    uint8_t *bytes = malloc(needed), *copy = malloc(needed);
    CHECK(bytes != NULL && copy != NULL && mfn_cpe_snapshot(cpe, bytes, needed, &needed) == MFN_OK);
    uint32_t lot = 20;
    for (int round = 0; round < 200; round++) {
        memcpy(copy, bytes, needed);
        lot = lot * 1664525u + 1013904223u;
        copy[(size_t)lot % needed] ^= (uint8_t)(1u << (lot >> 29));
        struct mfn_cpe *made = NULL;
        int32_t status = mfn_cpe_restore(copy, needed, &made);
        CHECK((status == MFN_OK) == (made != NULL) && (status == MFN_OK || status == MFN_BAD_BODY));
        if (made != NULL) {
            CHECK(mfn_cpe_observe(made, 1, 1, 0, 1, 1) == MFN_OK);
        }
        mfn_cpe_free(made);
    }
    free(bytes);
    free(copy);
    return 0;
}

int main(void) {
    if (nothing_at_all() != 0) {
        return 1;
    }
    struct mfn_cpe *cpe = NULL;
    CHECK(mfn_cpe_new(&cpe) == MFN_OK);
    int code = wrong_arguments(cpe) || hostile_values(cpe) || pools_have_budgets(cpe) || damaged_snapshots(cpe);
    mfn_cpe_free(cpe);
    printf("cpe: %s\n", code ? "failed" : "ok");
    return code;
}
