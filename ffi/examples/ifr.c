/* Remembers digests in layer 1, finds them, forgets one, and says what it holds. */
#include <stdio.h>
#include <string.h>

#include "mfn/ifr.h"

/* A real program takes this from getrandom(2): whoever knows it can choose keys that collide. */
static const uint8_t SECRET[MFN_IFR_HASH_KEY_BYTES] = {7, 1, 8, 2, 8, 1, 8, 2, 8, 4, 5, 9, 0, 4, 5, 2};

static int fail(const char *what, int32_t status) {
    fprintf(stderr, "ifr: %s: %s\n", what, mfn_status_text(status));
    return 1;
}

int main(void) {
    struct mfn_ifr_options options = MFN_IFR_OPTIONS_INIT;
    options.bytes_max = 1u << 20;
    memcpy(options.hash_key, SECRET, sizeof SECRET);
    struct mfn_ifr *ifr = NULL;
    int32_t status = mfn_ifr_new(&options, &ifr);
    if (status != MFN_OK) {
        return fail("making a registry", status);
    }
    int code = 0;
    uint8_t key[MFN_IFR_DIGEST_BYTES] = {0}, value[MFN_IFR_VALUE_BYTES] = {0};
    for (int number = 0; number < 1000 && code == 0; number++) {
        key[0] = (uint8_t)number;
        key[1] = (uint8_t)(number >> 8);
        value[0] = (uint8_t)(number % 251);
        status = mfn_ifr_insert(ifr, key, value, NULL, NULL);
        if (status != MFN_OK) {
            code = fail("inserting", status);
        }
    }
    if (code == 0 && (mfn_ifr_get(ifr, key, value) != MFN_OK || value[0] != 999 % 251)) {
        code = fail("finding the last one", MFN_NOT_FOUND);
    }
    if (code == 0 && (mfn_ifr_remove(ifr, key, NULL) != MFN_OK || mfn_ifr_get(ifr, key, value) != MFN_NOT_FOUND)) {
        code = fail("forgetting the last one", MFN_INTERNAL);
    }
    struct mfn_ifr_stats stats = MFN_IFR_STATS_INIT;
    if (code == 0 && mfn_ifr_stats_read(ifr, &stats) == MFN_OK) {
        printf("ifr: %llu entries in %llu bytes\n", (unsigned long long)stats.digest_entries, (unsigned long long)stats.bytes);
    }
    mfn_ifr_free(ifr);
    return code;
}
