/* Layer 1 from C as it should not be called: a handle whose memory somebody wrote over. The archive finds the broken
 * invariant, says so, returns MFN_PANIC, and the process goes on with its other handles. */
#include <stdio.h>
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
    for (size_t at = 0; at < 760; at += 8) {
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

    struct mfn_ifr *fresh = make();
    CHECK(fresh && put_until_refused(fresh, 0) == MFN_LIMIT);
    mfn_ifr_free(fresh);
    mfn_ifr_free(NULL);
    printf("ifr: %u broken invariants became statuses, \"%s\" among them\n", reports, last);
    return 0;
}
