/* Abuses the border of layer 2: what is wrong must be a status, and leave outputs and well as they were. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mfn/dsr.h"

static int failures = 0;

#define CHECK(condition)                                                         \
    do {                                                                         \
        if (!(condition)) {                                                      \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);      \
            failures++;                                                          \
        }                                                                        \
    } while (0)

static void options_are_checked(void) {
    struct mfn_dsr_well *well = NULL;
    struct mfn_dsr_options options = MFN_DSR_OPTIONS_INIT;
    CHECK(mfn_dsr_well_new(&options, &well) == MFN_INVALID_ARGUMENT); /* dims 0 */
    options.dims = MFN_DSR_DIMS_MAX + 1;
    CHECK(mfn_dsr_well_new(&options, &well) == MFN_INVALID_ARGUMENT);
    options.dims = 4;
    options.precision = 9;
    CHECK(mfn_dsr_well_new(&options, &well) == MFN_INVALID_ARGUMENT);
    options.precision = MFN_DSR_PRECISION_FLOATS;
    options.reserved[1] = 1;
    CHECK(mfn_dsr_well_new(&options, &well) == MFN_INVALID_ARGUMENT);
    options.reserved[1] = 0;
    options.recall = NAN;
    CHECK(mfn_dsr_well_new(&options, &well) == MFN_INVALID_ARGUMENT);
    options.recall = 0.9f;
    options.struct_size--;
    CHECK(mfn_dsr_well_new(&options, &well) == MFN_INVALID_ARGUMENT);
    options.struct_size++;
    CHECK(mfn_dsr_well_new(NULL, &well) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_well_new(&options, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(well == NULL);
    mfn_dsr_well_free(NULL);
    mfn_dsr_detector_free(NULL);
}

static void vectors_are_checked(struct mfn_dsr_well *well) {
    const float good[4] = {1, 2, 3, 4};
    const float bad[4][4] = {{0, 0, 0, 0}, {NAN, 1, 1, 1}, {1, INFINITY, 1, 1}, {1, 1, 1, -INFINITY}};
    struct mfn_dsr_match matches[4];
    size_t found = 77;
    uint8_t replaced = 9;
    for (int at = 0; at < 4; at++) {
        CHECK(mfn_dsr_insert(well, 1, bad[at], 4, &replaced) == MFN_INVALID_ARGUMENT);
        CHECK(mfn_dsr_search(well, bad[at], 4, 4, -1, matches, &found) == MFN_INVALID_ARGUMENT);
    }
    CHECK(mfn_dsr_insert(well, 1, good, 3, &replaced) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_insert(well, 1, good, SIZE_MAX, &replaced) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_insert(well, 1, NULL, 4, &replaced) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_insert(NULL, 1, good, 4, &replaced) == MFN_INVALID_ARGUMENT);
    CHECK(replaced == 9 && found == 77);
    char text[200];
    CHECK(mfn_dsr_last_error(text, sizeof text, NULL) == MFN_OK && strlen(text) > 5);

    CHECK(mfn_dsr_insert(well, 1, good, 4, &replaced) == MFN_OK && replaced == 0);
    CHECK(mfn_dsr_insert(well, 1, good, 4, &replaced) == MFN_OK && replaced == 1);
    CHECK(mfn_dsr_insert(well, 2, good, 4, NULL) == MFN_OK);
    CHECK(mfn_dsr_search(well, good, 4, SIZE_MAX, -1, matches, &found) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_search(well, good, 4, 4, NAN, matches, &found) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_search(well, good, 4, 4, -1, NULL, &found) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_search(well, good, 4, 4, -1, matches, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_search(well, good, 4, 0, -1, NULL, &found) == MFN_OK && found == 0);
    CHECK(mfn_dsr_search(well, good, 4, 4, 0.999f, matches, &found) == MFN_OK && found == 2);
    CHECK(matches[0].id == 1 && matches[1].id == 2 && matches[0].similarity > 0.999f);
    CHECK(mfn_dsr_remove(well, 2) == MFN_OK);
    CHECK(mfn_dsr_remove(well, 2) == MFN_NOT_FOUND);
    struct mfn_dsr_explanation why;
    CHECK(mfn_dsr_explain(well, good, 4, 2, &why) == MFN_NOT_FOUND);
    CHECK(mfn_dsr_explain(well, good, 4, 1, &why) == MFN_OK && why.owner == MFN_DSR_NONE && why.compared == 1);
    size_t fired = 5;
    CHECK(mfn_dsr_fire(well, good, 4, 3, NULL, &fired) == MFN_INVALID_ARGUMENT && fired == 5);
    uint16_t neurons[3];
    CHECK(mfn_dsr_fire(well, good, 4, 3, neurons, &fired) == MFN_OK && fired == 0);
    CHECK(mfn_dsr_fire(well, good, 4, SIZE_MAX, neurons, &fired) == MFN_OK && fired == 0);
    CHECK(mfn_dsr_fire(well, bad[1], 4, 3, neurons, &fired) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_explain(well, bad[2], 4, 1, &why) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_explain(well, good, SIZE_MAX, 1, &why) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_explain(well, good, 4, 1, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_explain(NULL, good, 4, 1, &why) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_stats_read(well, NULL) == MFN_INVALID_ARGUMENT && mfn_dsr_stats_read(NULL, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_remove(NULL, 1) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_snapshot(NULL, NULL, 0, &found) == MFN_INVALID_ARGUMENT);
    struct mfn_dsr_detector *detector = NULL;
    CHECK(mfn_dsr_detector_new(NULL, good, 1, 4, 1, 0.5, &detector) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_detector_new(well, NULL, 1, 4, 1, 0.5, &detector) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_detector_new(well, good, 1, 4, 1, 0.5, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_detector_new(well, good, 1, SIZE_MAX, 1, 0.5, &detector) == MFN_INVALID_ARGUMENT);
    /* Counts of rows whose bytes would not fit a number. */
    CHECK(mfn_dsr_detector_new(well, good, SIZE_MAX / 16 + 2, 4, 1, 0.5, &detector) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_detector_new(well, good, 1, 4, SIZE_MAX, 0.5, &detector) == MFN_INVALID_ARGUMENT);
    const double rates[] = {0, 1, -1, 2, INFINITY};
    for (size_t at = 0; at < sizeof rates / sizeof rates[0]; at++) {
        CHECK(mfn_dsr_detector_new(well, good, 1, 4, 1, rates[at], &detector) != MFN_OK);
    }
    struct mfn_dsr_verdict verdict = {.novel = 77};
    CHECK(mfn_dsr_judge(NULL, well, good, 4, &verdict) == MFN_INVALID_ARGUMENT && verdict.novel == 77);
    /* Of none it is the nearest. */
    CHECK(mfn_dsr_detector_new(well, good, 1, 4, 0, 0.5, &detector) == MFN_OK);
    CHECK(mfn_dsr_judge(detector, NULL, good, 4, &verdict) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_judge(detector, well, good, 4, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_judge(detector, well, bad[1], 4, &verdict) == MFN_INVALID_ARGUMENT && verdict.novel == 77);
    CHECK(mfn_dsr_judge(detector, well, good, 4, &verdict) == MFN_OK && verdict.novel == 0);
    mfn_dsr_detector_free(detector);
    detector = NULL;
    CHECK(mfn_dsr_detector_new(well, good, 1, 4, 1, 0.01, &detector) == MFN_NOT_READY);
    CHECK(mfn_dsr_detector_new(well, good, 1, 4, 1, NAN, &detector) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_detector_new(well, good, SIZE_MAX, 4, 1, 0.5, &detector) == MFN_INVALID_ARGUMENT);
    CHECK(detector == NULL);
}

static void snapshots_are_checked(const struct mfn_dsr_well *well) {
    size_t needed = 0;
    CHECK(mfn_dsr_snapshot(well, NULL, 0, &needed) == MFN_NO_SPACE && needed > 0);
    uint8_t *bytes = malloc(needed);
    if (bytes == NULL) {
        exit(1);
    }
    size_t again = 0;
    CHECK(mfn_dsr_snapshot(well, bytes, needed - 1, &again) == MFN_NO_SPACE && again == needed);
    CHECK(mfn_dsr_snapshot(well, bytes, needed, &again) == MFN_OK);
    struct mfn_dsr_well *other = NULL;
    for (size_t at = 0; at < needed; at += 1 + needed / 200) {
        bytes[at] ^= 0x40;
        CHECK(mfn_dsr_well_restore(bytes, needed, &other) == MFN_CORRUPT);
        bytes[at] ^= 0x40;
        CHECK(mfn_dsr_well_restore(bytes, at, &other) == MFN_CORRUPT);
    }
    CHECK(mfn_dsr_well_restore(NULL, 4, &other) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_dsr_well_restore(NULL, 0, &other) == MFN_CORRUPT);
    CHECK(other == NULL);
    CHECK(mfn_dsr_well_restore(bytes, needed, &other) == MFN_OK);
    struct mfn_dsr_stats stats;
    CHECK(mfn_dsr_stats_read(other, &stats) == MFN_OK && stats.entries == 1);
    mfn_dsr_well_free(other);
    free(bytes);
}

int main(void) {
    CHECK(mfn_dsr_abi_version() >> 16 == MFN_DSR_ABI_VERSION >> 16);
    options_are_checked();
    struct mfn_dsr_options options = MFN_DSR_OPTIONS_INIT;
    options.dims = 4;
    struct mfn_dsr_well *well = NULL;
    if (mfn_dsr_well_new(&options, &well) != MFN_OK) {
        return 1;
    }
    vectors_are_checked(well);
    snapshots_are_checked(well);
    mfn_dsr_well_free(well);
    return failures == 0 ? 0 : 1;
}
