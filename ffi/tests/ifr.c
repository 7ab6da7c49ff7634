/* Layer 1 from C as it should not be called: a handle whose memory somebody wrote over. The archive finds the broken
 * invariant, says so, returns MFN_PANIC, and the process goes on with its other handles. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mfn/ifr.h"

#define CHECK(what)                                                        \
    do {                                                                   \
        if (!(what)) {                                                     \
            fprintf(stderr, "ifr.c:%d: %s does not hold\n", __LINE__, #what); \
            return 1;                                                      \
        }                                                                  \
    } while (0)

/* Unlikely to lie in a handle by chance. */
#define BYTES_MAX 0x2345678u

/* Memory that is no handle. */
static uint64_t other_memory[64];

static unsigned reports;
static char last[256];

static void listen(const char *message, size_t message_bytes) {
    reports++;
    size_t bytes = message_bytes < sizeof last - 1 ? message_bytes : sizeof last - 1;
    memcpy(last, message, bytes);
    last[bytes] = 0;
}

static struct mfn_ifr *make(void) {
    struct mfn_ifr_options options = MFN_IFR_OPTIONS_INIT;
    options.bytes_max = BYTES_MAX;
    options.hash_key[3] = 9;
    struct mfn_ifr *ifr = NULL;
    return mfn_ifr_new(&options, &ifr) == MFN_OK ? ifr : NULL;
}

static int32_t put(struct mfn_ifr *ifr, unsigned number) {
    uint8_t key[MFN_IFR_DIGEST_BYTES] = {0}, value[MFN_IFR_VALUE_BYTES] = {0};
    memcpy(key, &number, sizeof number);
    return mfn_ifr_insert(ifr, key, value, NULL, NULL);
}

/* Sets the limit of the budget to 0, which is less than what is held: the next allocation finds that. */
static int damage(struct mfn_ifr *ifr) {
    uint8_t *bytes = (uint8_t *)ifr;
    for (size_t at = 0; at < 896; at += 8) {
        uint64_t word;
        memcpy(&word, bytes + at, 8);
        if (word == BYTES_MAX) {
            memset(bytes + at, 0, 8);
            return 1;
        }
    }
    return 0;
}

/* Inserts until something else than MFN_OK comes back. */
static int32_t put_until_refused(struct mfn_ifr *ifr, unsigned from) {
    int32_t status = MFN_OK;
    for (unsigned number = from; status == MFN_OK && number < from + 1000000; number++) {
        status = put(ifr, number);
    }
    return status;
}

struct walk {
    struct mfn_ifr *broken;
    unsigned visits;
    int32_t status;
};

static int32_t visit(void *userdata, const uint8_t *key, size_t key_bytes, const uint8_t *value) {
    (void)key, (void)key_bytes, (void)value;
    struct walk *walk = userdata;
    walk->visits++;
    walk->status = put_until_refused(walk->broken, 0);
    return 0;
}

/* Records, summaries and filters with arguments that a caller should not give. */
static int abuse(void) {
    static const uint8_t none[MFN_IFR_HASH_KEY_BYTES], secret[MFN_IFR_HASH_KEY_BYTES] = {1};
    struct mfn_ifr_flows *flows = NULL;
    CHECK(mfn_ifr_flows_new(none, &flows) == MFN_INVALID_ARGUMENT && flows == NULL);
    CHECK(mfn_ifr_flows_new(secret, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_ifr_flows_new(secret, &flows) == MFN_OK);
    CHECK(mfn_ifr_flows_add_pool(flows, 1, MFN_IFR_POOL_BYTES_MIN - 1, 0) == MFN_LIMIT);
    CHECK(mfn_ifr_flows_add_pool(flows, 1, MFN_IFR_POOL_BYTES_MIN, 2) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_ifr_flows_add_pool(flows, 1, MFN_IFR_POOL_BYTES_MIN, 0) == MFN_OK);
    CHECK(mfn_ifr_flows_add_pool(flows, 1, MFN_IFR_POOL_BYTES_MIN, 0) == MFN_ALREADY_EXISTS);
    struct mfn_ifr_flow record = {.key = {5}, .size = 9, .expires_ns = 100, .priority = 8};
    CHECK(mfn_ifr_flows_put(flows, 1, &record, 1, NULL, NULL) == MFN_INVALID_ARGUMENT);
    record.priority = 7;
    record.reserved[1] = 1;
    CHECK(mfn_ifr_flows_put(flows, 1, &record, 1, NULL, NULL) == MFN_INVALID_ARGUMENT);
    record.reserved[1] = 0;
    CHECK(mfn_ifr_flows_put(flows, 2, &record, 1, NULL, NULL) == MFN_NOT_FOUND);
    CHECK(mfn_ifr_flows_put(flows, 1, NULL, 1, NULL, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_ifr_flows_put(flows, 1, &record, 1, NULL, NULL) == MFN_OK);
    struct mfn_ifr_flow found;
    CHECK(mfn_ifr_flows_get(flows, 1, record.key, 99, &found) == MFN_OK && memcmp(&found, &record, sizeof found) == 0);
    CHECK(mfn_ifr_flows_get(flows, 1, record.key, 100, &found) == MFN_NOT_FOUND);
    CHECK(mfn_ifr_flows_get(flows, 1, NULL, 99, &found) == MFN_INVALID_ARGUMENT);
    struct mfn_ifr_decision decision;
    CHECK(mfn_ifr_flows_route(flows, 1, record.key, 65536, 99, &decision) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_ifr_flows_route(flows, 1, record.key, 3, 99, &decision) == MFN_OK);
    CHECK(decision.outcome == MFN_IFR_FOUND_EXACT && decision.record.size == 9);
    CHECK(mfn_ifr_flows_learn(flows, 3, 1, 1) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_ifr_flows_learn(flows, 3, MFN_IFR_LAYER_NONE, 1) == MFN_INVALID_ARGUMENT);
    struct mfn_ifr_pool_stats stats = {.struct_size = sizeof stats - 1};
    CHECK(mfn_ifr_flows_pool_stats(flows, 1, &stats) == MFN_INVALID_ARGUMENT);
    stats.struct_size = sizeof stats;
    CHECK(mfn_ifr_flows_pool_stats(flows, 1, &stats) == MFN_OK && stats.records == 1);
    uint64_t removed = 0;
    CHECK(mfn_ifr_flows_expire(flows, 1, UINT64_MAX, UINT64_MAX, &removed) == MFN_OK && removed == 1);
    CHECK(mfn_ifr_flows_get((struct mfn_ifr_flows *)other_memory, 1, record.key, 1, &found) == MFN_INVALID_ARGUMENT);
    mfn_ifr_flows_free(flows);
    mfn_ifr_flows_free(NULL);

    uint8_t bytes[256], maybe = 9;
    size_t written = 0;
    CHECK(mfn_ifr_summary_build(record.key, 1, 1, bytes, 10, &written) == MFN_NO_SPACE && written > 24);
    CHECK(mfn_ifr_summary_build(NULL, 1, 1, bytes, sizeof bytes, &written) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_ifr_summary_build(record.key, 1, 1, bytes, sizeof bytes, &written) == MFN_OK);
    CHECK(mfn_ifr_summary_may_contain(bytes, written, record.key, &maybe) == MFN_OK && maybe == 1);
    for (size_t length = 0; length < written; length++) {
        CHECK(mfn_ifr_summary_may_contain(bytes, length, record.key, &maybe) == MFN_CORRUPT);
    }
    uint64_t needed;
    CHECK(mfn_ifr_summary_bytes(UINT64_MAX, &needed) == MFN_LIMIT);

    struct mfn_ifr_filter *filter = NULL;
    CHECK(mfn_ifr_filter_new(UINT64_MAX, secret, &filter) == MFN_LIMIT && filter == NULL);
    CHECK(mfn_ifr_filter_new(1, secret, &filter) == MFN_OK);
    CHECK(mfn_ifr_filter_insert(filter, record.key) == MFN_OK);
    CHECK(mfn_ifr_filter_insert(filter, record.key) == MFN_LIMIT);
    CHECK(mfn_ifr_filter_may_contain(filter, record.key, &maybe) == MFN_OK && maybe == 1);
    CHECK(mfn_ifr_filter_remove(filter, record.key) == MFN_OK);
    CHECK(mfn_ifr_filter_remove(filter, record.key) == MFN_NOT_FOUND);
    CHECK(mfn_ifr_filter_insert(NULL, record.key) == MFN_INVALID_ARGUMENT);
    mfn_ifr_filter_free(filter);
    return 0;
}

/* Keys without end, lengths that cannot be, and places that are not there. */
static int hostile_keys(void) {
    struct mfn_ifr *ifr = make();
    CHECK(ifr != NULL);
    uint8_t value[MFN_IFR_VALUE_BYTES] = {7}, old[MFN_IFR_VALUE_BYTES], replaced = 9, maybe = 9;
    size_t hits = 77, huge_bytes = 64 << 20;
    uint8_t *huge = calloc(1, huge_bytes);
    CHECK(huge != NULL);
    const size_t lengths[] = {MFN_IFR_KEY_BYTES_MAX + 1, huge_bytes, SIZE_MAX / 2, SIZE_MAX};
    for (size_t at = 0; at < sizeof lengths / sizeof lengths[0]; at++) {
        CHECK(mfn_ifr_insert_bytes(ifr, huge, lengths[at], value, old, &replaced) == MFN_INVALID_ARGUMENT);
        CHECK(mfn_ifr_get_bytes(ifr, huge, lengths[at], old) == MFN_INVALID_ARGUMENT);
        CHECK(mfn_ifr_remove_bytes(ifr, huge, lengths[at], old) == MFN_INVALID_ARGUMENT);
    }
    CHECK(mfn_ifr_insert_bytes(ifr, huge, MFN_IFR_KEY_BYTES_MAX, value, old, &replaced) == MFN_OK && replaced == 0);
    CHECK(mfn_ifr_get_bytes(ifr, huge, MFN_IFR_KEY_BYTES_MAX, old) == MFN_OK && old[0] == 7);
    CHECK(mfn_ifr_insert_bytes(ifr, NULL, 1, value, NULL, NULL) == MFN_INVALID_ARGUMENT);
    const size_t counts[] = {SIZE_MAX, SIZE_MAX / 16, SIZE_MAX / 32 + 1};
    for (size_t at = 0; at < 3; at++) {
        CHECK(mfn_ifr_get_many(ifr, huge, counts[at], value, &maybe, &hits) == MFN_INVALID_ARGUMENT);
    }
    CHECK(mfn_ifr_get_many(ifr, NULL, 1, value, &maybe, &hits) == MFN_INVALID_ARGUMENT && hits == 77 && maybe == 9);
    free(huge);
    /* Keys as long as they may be fill the budget, and then are refused; the first is there. */
    uint8_t *key = malloc(MFN_IFR_KEY_BYTES_MAX);
    CHECK(key != NULL);
    memset(key, 0, MFN_IFR_KEY_BYTES_MAX);
    int32_t status = MFN_OK;
    for (unsigned number = 1; status == MFN_OK && number < 100000; number++) {
        memcpy(key, &number, sizeof number);
        status = mfn_ifr_insert_bytes(ifr, key, MFN_IFR_KEY_BYTES_MAX, value, NULL, NULL);
    }
    CHECK(status == MFN_LIMIT);
    memset(key, 0, MFN_IFR_KEY_BYTES_MAX);
    CHECK(mfn_ifr_get_bytes(ifr, key, MFN_IFR_KEY_BYTES_MAX, old) == MFN_OK);
    free(key);
    struct mfn_ifr_view view = {.struct_size = 4};
    CHECK(mfn_ifr_view_read(ifr, &view) == MFN_INVALID_ARGUMENT && mfn_ifr_view_read(ifr, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_ifr_view_read(NULL, &view) == MFN_INVALID_ARGUMENT && mfn_ifr_len(ifr, NULL) == MFN_INVALID_ARGUMENT);
    mfn_ifr_free(ifr);

    static const uint8_t secret[MFN_IFR_HASH_KEY_BYTES] = {1}, digest[MFN_IFR_DIGEST_BYTES] = {5};
    struct mfn_ifr_flows *flows = NULL;
    struct mfn_ifr_flow record;
    CHECK(mfn_ifr_flows_new(NULL, &flows) == MFN_INVALID_ARGUMENT && mfn_ifr_flows_new(secret, &flows) == MFN_OK);
    CHECK(mfn_ifr_flows_add_pool(flows, 1, UINT64_MAX, 0) != MFN_PANIC);
    CHECK(mfn_ifr_flows_drop_pool(flows, 9) == MFN_NOT_FOUND && mfn_ifr_flows_drop_pool(NULL, 1) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_ifr_flows_remove(flows, 9, digest, &record) == MFN_NOT_FOUND);
    CHECK(mfn_ifr_flows_remove(flows, 1, NULL, &record) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_ifr_flows_route(flows, 1, digest, 1, UINT64_MAX, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_ifr_flows_expire(flows, 1, 1, UINT64_MAX, NULL) == MFN_OK && mfn_ifr_flows_expire(flows, 9, 1, 1, NULL) == MFN_NOT_FOUND);
    CHECK(mfn_ifr_flows_pool_stats(flows, 1, NULL) == MFN_INVALID_ARGUMENT);
    mfn_ifr_flows_free(flows);
    size_t written = 77;
    CHECK(mfn_ifr_summary_build(digest, UINT64_MAX, 1, old, sizeof old, &written) == MFN_LIMIT);
    CHECK(mfn_ifr_summary_build(digest, 1, 1, NULL, 4096, &written) == MFN_INVALID_ARGUMENT && written == 77);
    CHECK(mfn_ifr_summary_may_contain(NULL, 10, digest, &maybe) == MFN_INVALID_ARGUMENT && maybe == 9);
    CHECK(mfn_ifr_summary_bytes(1, NULL) == MFN_INVALID_ARGUMENT);
    return 0;
}

int main(void) {
    mfn_ifr_set_panic_reporter(listen);
    /* Static: what a poisoned handle leaks is still reachable at the end, so a leak checker counts nothing else. */
    static struct mfn_ifr *broken, *whole, *other;
    broken = make(), whole = make(), other = make();
    CHECK(broken && whole && other);
    CHECK(put(whole, 1) == MFN_OK && put(whole, 2) == MFN_OK);
    CHECK(damage(broken));
    CHECK(put_until_refused(broken, 0) == MFN_PANIC);
    CHECK(reports == 1 && last[0] != 0);

    uint8_t key[MFN_IFR_DIGEST_BYTES] = {0}, value[MFN_IFR_VALUE_BYTES], maybe;
    struct mfn_ifr_stats stats = MFN_IFR_STATS_INIT;
    uint64_t entries;
    size_t hits;
    CHECK(put(broken, 1) == MFN_PANIC);
    CHECK(mfn_ifr_get(broken, key, value) == MFN_PANIC);
    CHECK(mfn_ifr_get_many(broken, key, 1, value, &maybe, &hits) == MFN_PANIC);
    CHECK(mfn_ifr_remove(broken, key, NULL) == MFN_PANIC);
    CHECK(mfn_ifr_may_contain(broken, key, &maybe) == MFN_PANIC);
    CHECK(mfn_ifr_insert_bytes(broken, key, 1, value, NULL, NULL) == MFN_PANIC);
    CHECK(mfn_ifr_get_bytes(broken, key, 1, value) == MFN_PANIC);
    CHECK(mfn_ifr_remove_bytes(broken, key, 1, NULL) == MFN_PANIC);
    CHECK(mfn_ifr_for_each(broken, NULL, visit) == MFN_PANIC);
    CHECK(mfn_ifr_for_each_bytes(broken, NULL, visit) == MFN_PANIC);
    CHECK(mfn_ifr_stats_read(broken, &stats) == MFN_PANIC);
    CHECK(mfn_ifr_len(broken, &entries) == MFN_PANIC);
    mfn_ifr_free(broken);
    CHECK(reports == 1);

    /* Other handles serve, and a panic below a visitor ends where it happened. */
    CHECK(mfn_ifr_len(whole, &entries) == MFN_OK && entries == 2);
    struct walk walk = {other, 0, MFN_OK};
    CHECK(damage(other));
    CHECK(mfn_ifr_for_each(whole, &walk, visit) == MFN_OK);
    CHECK(walk.visits == 2 && walk.status == MFN_PANIC);
    walk.broken = whole;
    walk.visits = 0;
    CHECK(damage(whole));
    CHECK(mfn_ifr_for_each(whole, &walk, visit) == MFN_PANIC);
    CHECK(walk.visits == 1 && reports == 3);

    CHECK(abuse() == 0 && hostile_keys() == 0);
    struct mfn_ifr *fresh = make();
    CHECK(fresh && put_until_refused(fresh, 0) == MFN_LIMIT);
    mfn_ifr_free(fresh);
    mfn_ifr_free(NULL);
    printf("ifr: %u broken invariants became statuses, \"%s\" among them\n", reports, last);
    return 0;
}
