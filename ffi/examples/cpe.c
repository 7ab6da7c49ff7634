/* Learns a routine, says what comes next and why, forecasts a round-trip time, and survives a restart. */
#include <stdio.h>
#include <stdlib.h>

#include "mfn/cpe.h"

enum { POOL = 1, STREAM = 1, SERIES = 2, LANE = 0, EVENTS = 600 };

static int fail(const char *what, int32_t status) {
    fprintf(stderr, "cpe: %s: %s\n", what, mfn_status_text(status));
    return 1;
}

/* A day's round: four steps in order, the last one by turns; one step every 30 seconds. */
static uint64_t step(int number) {
    static const uint64_t ROUND[] = {10, 20, 30, 40, 10, 20, 30, 50};
    return ROUND[number % 8];
}

static int predict(struct mfn_cpe *cpe, uint64_t now) {
    struct mfn_cpe_item items[3];
    size_t count = 0;
    struct mfn_cpe_prediction rest = {.struct_size = sizeof rest};
    int32_t status = mfn_cpe_predict(cpe, POOL, STREAM, LANE, now, items, 3, &count, &rest);
    if (status != MFN_OK) {
        return fail("predicting", status);
    }
    for (size_t at = 0; at < count; at++) {
        printf("next: %llu with %.3f\n", (unsigned long long)items[at].symbol, items[at].probability);
    }
    printf("never seen: %.3f; in %.0f seconds\n", rest.unseen, rest.wait_mean);
    if (count == 0) {
        return 1;
    }
    struct mfn_cpe_explanation why = {.struct_size = sizeof why};
    status = mfn_cpe_explain(cpe, POOL, STREAM, LANE, items[0].symbol, &why);
    if (status != MFN_OK) {
        return fail("explaining", status);
    }
    for (size_t expert = 0; expert < MFN_CPE_EXPERTS; expert++) {
        if (why.weights[expert] > 0.01) {
            printf("  %s says %.3f, weight %.2f\n", mfn_cpe_expert_name(expert), why.votes[expert], why.weights[expert]);
        }
    }
    return 0;
}

static int forecast(struct mfn_cpe *cpe) {
    for (int number = 0; number < 200; number++) {
        double value = 20.0 + number * 7919 % 11 * 0.3 + (number >= 150 ? 15.0 : 0.0);
        struct mfn_cpe_sampled did = {.struct_size = sizeof did};
        int32_t status = mfn_cpe_sample(cpe, POOL, SERIES, LANE, (uint64_t)number * 10, value, &did);
        if (status != MFN_OK) {
            return fail("sampling", status);
        }
        if (did.flags & MFN_CPE_CHANGED) {
            printf("level: %.0f ms to %.0f ms, %llu samples ago\n", did.from, did.to, (unsigned long long)did.samples_ago);
        }
    }
    struct mfn_cpe_forecast ahead = {.struct_size = sizeof ahead};
    int32_t status = mfn_cpe_forecast_read(cpe, POOL, SERIES, LANE, &ahead);
    if (status != MFN_OK) {
        return fail("forecasting", status);
    }
    printf("next sample: half below %.1f ms, 9 of 10 below %.1f ms\n", ahead.quantiles[0][0], ahead.quantiles[0][1]);
    return 0;
}

/* Writes everything down, starts anew from that, and asks again. */
static int restart(struct mfn_cpe **cpe) {
    size_t needed = 0;
    int32_t status = mfn_cpe_snapshot(*cpe, NULL, 0, &needed);
    uint8_t *bytes = status == MFN_NO_SPACE ? malloc(needed) : NULL;
    if (bytes == NULL) {
        return fail("asking for the size", status);
    }
    status = mfn_cpe_snapshot(*cpe, bytes, needed, &needed);
    mfn_cpe_free(*cpe);
    *cpe = NULL;
    if (status == MFN_OK) {
        status = mfn_cpe_restore(bytes, needed, cpe);
    }
    /* What is cut off is refused. */
    struct mfn_cpe *none = NULL;
    int refused = mfn_cpe_restore(bytes, needed / 2, &none) == MFN_BAD_BODY && none == NULL;
    free(bytes);
    if (status != MFN_OK || !refused) {
        return fail("restarting", status);
    }
    printf("restarted from a snapshot\n");
    return 0;
}

int main(void) {
    struct mfn_cpe *cpe = NULL;
    int32_t status = mfn_cpe_new(&cpe);
    if (status != MFN_OK) {
        return fail("making an engine", status);
    }
    struct mfn_cpe_pool_options options = {.struct_size = sizeof options, .stream_bytes_max = 1u << 20, .change_min = 2.0};
    status = mfn_cpe_pool_set(cpe, POOL, &options);
    for (int number = 0; number < EVENTS && status == MFN_OK; number++) {
        status = mfn_cpe_observe(cpe, POOL, STREAM, LANE, step(number), (uint64_t)number * 30);
    }
    int code = status == MFN_OK ? 0 : fail("learning", status);
    const uint64_t now = (uint64_t)(EVENTS - 1) * 30;
    code = code || predict(cpe, now) || forecast(cpe) || restart(&cpe) || predict(cpe, now);
    struct mfn_cpe_scores scores = {.struct_size = sizeof scores};
    if (code == 0 && mfn_cpe_scores_read(cpe, POOL, STREAM, &scores) == MFN_OK) {
        printf("%llu of %llu right, %.2f bits per event\n", (unsigned long long)scores.hits_at_1,
               (unsigned long long)scores.events, scores.log_loss_bits / (double)scores.events);
    }
    mfn_cpe_free(cpe);
    return code;
}
