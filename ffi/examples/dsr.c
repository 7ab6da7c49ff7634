/* Puts seeded vectors into a well, finds what is like a query, says why, and calls a stranger novel. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "mfn/dsr.h"

enum { DIMS = 16, ENTRIES = 3000, HELD_OUT = 400 };

static uint64_t state = 7;

/* A number between -1 and 1: a seeded stream, so that every run prints the same. */
static float draw(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(uint32_t)(state >> 32) / 2147483648.0f;
}

/* A vector near one of 20 directions. */
static void normal(float *vector) {
    uint64_t kept = state;
    uint64_t centre = 1000 + (kept >> 33) % 20;
    state = centre * 0x9e3779b97f4a7c15u;
    for (int at = 0; at < DIMS; at++) {
        vector[at] = draw();
    }
    state = kept;
    for (int at = 0; at < DIMS; at++) {
        vector[at] += 0.4f * draw();
    }
}

static int fail(const char *what, int32_t status) {
    char text[256] = "";
    mfn_dsr_last_error(text, sizeof text, NULL);
    fprintf(stderr, "dsr: %s: %s: %s\n", what, mfn_status_text(status), text);
    return 1;
}

static int search(const struct mfn_dsr_well *well, const float *query) {
    struct mfn_dsr_match matches[3];
    size_t found = 0;
    int32_t status = mfn_dsr_search(well, query, DIMS, 3, 0.5f, matches, &found);
    if (status != MFN_OK) {
        return fail("searching", status);
    }
    for (size_t at = 0; at < found; at++) {
        struct mfn_dsr_explanation why;
        status = mfn_dsr_explain(well, query, DIMS, matches[at].id, &why);
        if (status != MFN_OK) {
            return fail("explaining", status);
        }
        printf("entry %llu, similarity %.3f: its neuron fired as number %u of %u, codes overlap in %u\n",
               (unsigned long long)matches[at].id, (double)matches[at].similarity, why.owner_fired + 1, why.fired,
               why.overlap);
    }
    return found == 3 ? 0 : 1;
}

static int novelty(const struct mfn_dsr_well *well, const float *known) {
    float *held_out = malloc(HELD_OUT * DIMS * sizeof *held_out);
    if (held_out == NULL) {
        return fail("allocating", MFN_OUT_OF_MEMORY);
    }
    for (int at = 0; at < HELD_OUT; at++) {
        normal(held_out + at * DIMS);
    }
    struct mfn_dsr_detector *detector = NULL;
    int32_t status = mfn_dsr_detector_new(well, held_out, HELD_OUT, DIMS, 5, 0.02, &detector);
    free(held_out);
    if (status != MFN_OK) {
        return fail("calibrating", status);
    }
    float strange[DIMS];
    for (int at = 0; at < DIMS; at++) {
        strange[at] = draw();
    }
    struct mfn_dsr_verdict first = {0}, second = {0};
    status = mfn_dsr_judge(detector, well, known, DIMS, &first);
    if (status == MFN_OK) {
        status = mfn_dsr_judge(detector, well, strange, DIMS, &second);
    }
    mfn_dsr_detector_free(detector);
    if (status != MFN_OK) {
        return fail("judging", status);
    }
    printf("a normal vector: novel %u; a stranger: novel %u, p %.4f\n", first.novel, second.novel, second.p_value);
    return first.novel == 0 && second.novel == 1 ? 0 : 1;
}

/* A copy by snapshot answers as the well does. */
static int copy(const struct mfn_dsr_well *well) {
    size_t needed = 0;
    if (mfn_dsr_snapshot(well, NULL, 0, &needed) != MFN_NO_SPACE) {
        return fail("asking for the size", MFN_INTERNAL);
    }
    uint8_t *bytes = malloc(needed);
    if (bytes == NULL) {
        return fail("allocating", MFN_OUT_OF_MEMORY);
    }
    struct mfn_dsr_well *other = NULL;
    int32_t status = mfn_dsr_snapshot(well, bytes, needed, &needed);
    if (status == MFN_OK) {
        status = mfn_dsr_well_restore(bytes, needed, &other);
    }
    free(bytes);
    if (status != MFN_OK) {
        return fail("restoring", status);
    }
    struct mfn_dsr_stats stats;
    status = mfn_dsr_stats_read(other, &stats);
    if (status == MFN_OK) {
        printf("restored: %llu entries, %llu bytes each, %llu neurons\n", (unsigned long long)stats.entries,
               (unsigned long long)(stats.bytes / stats.entries), (unsigned long long)stats.neurons);
    }
    mfn_dsr_well_free(other);
    return status == MFN_OK ? 0 : 1;
}

int main(void) {
    struct mfn_dsr_options options = MFN_DSR_OPTIONS_INIT;
    options.dims = DIMS;
    struct mfn_dsr_well *well = NULL;
    int32_t status = mfn_dsr_well_new(&options, &well);
    if (status != MFN_OK) {
        return fail("making a well", status);
    }
    float vector[DIMS];
    for (uint64_t id = 0; id < ENTRIES && status == MFN_OK; id++) {
        normal(vector);
        status = mfn_dsr_insert(well, id, vector, DIMS, NULL);
    }
    int code = status == MFN_OK ? 0 : fail("inserting", status);
    normal(vector);
    if (code == 0) {
        code = search(well, vector);
    }
    if (code == 0) {
        code = novelty(well, vector);
    }
    if (code == 0) {
        code = copy(well);
    }
    mfn_dsr_well_free(well);
    return code;
}
