/* mfn/ifr_inline.h beside mfn_ifr_get: the same answers while a registry grows, shrinks and grows again; then beside a
 * writer, where each value says which key it belongs to, so that a torn or misplaced read shows. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "mfn/ifr.h"
#include "mfn/ifr_inline.h"

#define CHECK(what)                                                               \
    do {                                                                          \
        if (!(what)) {                                                            \
            fprintf(stderr, "ifr_inline.c:%d: %s does not hold\n", __LINE__, #what); \
            return 1;                                                             \
        }                                                                         \
    } while (0)

#define KEYS 30000u
/* Keys below are here from the beginning to the end. */
#define CONSTANT 500u
#define ROUNDS 20u
#define READERS 2

static struct mfn_ifr *ifr;
static struct mfn_ifr_view view = MFN_IFR_VIEW_INIT;
static int stop;

static void key_of(uint64_t number, uint8_t key[32]) {
    memset(key, 0, 32);
    uint64_t word = number * 0x9e3779b97f4a7c15u;
    memcpy(key, &word, 8);
    memcpy(key + 24, &number, 8);
}

static int32_t put(uint64_t number, uint64_t version) {
    uint8_t key[32];
    uint64_t value[2] = {number << 16 | version, ~(number << 16 | version)};
    key_of(number, key);
    return mfn_ifr_insert(ifr, key, (const uint8_t *)value, NULL, NULL);
}

static int32_t take(uint64_t number) {
    uint8_t key[32];
    key_of(number, key);
    return mfn_ifr_remove(ifr, key, NULL);
}

/* Whether a look-up says what may be said: nothing, if the key may be absent, or its own value. */
static int right(uint64_t number, int present) {
    uint8_t key[32];
    uint64_t value[2] = {0, 0};
    key_of(number, key);
    int32_t status = mfn_ifr_get_inline(ifr, &view, key, (uint8_t *)value);
    if (status == MFN_NOT_FOUND) return !present;
    return status == MFN_OK && value[0] == ~value[1] && value[0] >> 16 == number;
}

static int same(uint64_t number) {
    uint8_t key[32], ours[16] = {0}, theirs[16] = {0};
    key_of(number, key);
    int32_t status = mfn_ifr_get_inline(ifr, &view, key, ours);
    return status == mfn_ifr_get(ifr, key, theirs) && memcmp(ours, theirs, 16) == 0;
}

static void *reader(void *failed) {
    uint64_t state = (uint64_t)(uintptr_t)failed | 1;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t number = state >> 33;
        if (!right(number % CONSTANT, 1) || !right(number % KEYS, 0)) {
            *(int *)failed = 1;
            break;
        }
    }
    return NULL;
}

int main(void) {
    struct mfn_ifr_options options = MFN_IFR_OPTIONS_INIT;
    options.bytes_max = 1u << 26;
    options.hash_key[5] = 7;
    CHECK(mfn_ifr_new(&options, &ifr) == MFN_OK);
    struct mfn_ifr_view small = {(uint32_t)sizeof small - 1, 0, NULL, {0}};
    CHECK(mfn_ifr_view_read(ifr, &small) == MFN_INVALID_ARGUMENT && small.head == NULL);
    CHECK(mfn_ifr_view_read(ifr, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_ifr_view_read(NULL, &view) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_ifr_view_read(ifr, &view) == MFN_OK && view.layout == MFN_IFR_LAYOUT);

    for (uint64_t number = 0; number < KEYS; number++) {
        /* The first ones at every size: the index of a small table has other lines. */
        if (number < 3000) {
            for (uint64_t other = 0; other < number + 2; other += number / 16 + 1) CHECK(same(other));
        }
        CHECK(put(number, 1) == MFN_OK);
    }
    for (uint64_t number = 0; number < 2 * KEYS; number++) CHECK(same(number));
    for (uint64_t number = CONSTANT; number < KEYS; number++) CHECK(take(number) == MFN_OK && same(number));

    pthread_t threads[READERS];
    int failed[READERS] = {0};
    for (int at = 0; at < READERS; at++) CHECK(pthread_create(&threads[at], NULL, reader, &failed[at]) == 0);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        for (uint64_t number = CONSTANT; number < KEYS; number++) CHECK(put(number, round) == MFN_OK);
        for (uint64_t number = 0; number < CONSTANT; number++) CHECK(put(number, round) == MFN_OK);
        for (uint64_t number = CONSTANT; number < KEYS; number++) CHECK(take(number) == MFN_OK);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int at = 0; at < READERS; at++) CHECK(pthread_join(threads[at], NULL) == 0);
    for (int at = 0; at < READERS; at++) CHECK(!failed[at]);
    mfn_ifr_free(ifr);
    return 0;
}
