/* Layer 3 in this process: tells it what is used together, asks what goes with a key, opens it again and asks once more.
 *
 * The messages are protobuf (AlmGroup, AlmPredictRequest and AlmPredictions of ffi/protocol/local.proto); the few lines that
 * write and read them here stand for a protobuf library. All texts are shorter than 128 bytes, so that a length is one byte. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mfn/alm.h"
#include "mfn/protocol.h"

/* Appends field 1, bytes. */
static size_t put(uint8_t *out, size_t at, const char *text) {
    size_t bytes = strlen(text);
    out[at] = 1 << 3 | 2;
    out[at + 1] = (uint8_t)bytes;
    memcpy(out + at + 2, text, bytes);
    return at + 2 + bytes;
}

static int fail(const char *what, int32_t status, const uint8_t *text, size_t bytes) {
    fprintf(stderr, "alm: %s: %.*s (%d)\n", what, (int)bytes, (const char *)text, status);
    return 1;
}

/* Asks what goes with parse.c and prints the first key: field 1 of field 1. */
static int ask(uint64_t handle) {
    uint8_t body[64], out[256];
    size_t bytes = 0, needed = 0;
    bytes = put(body, bytes, "parse.c");
    /* The size first: nothing fits into nothing. */
    int32_t status = mfn_alm_call(handle, MFN_METHOD_ALM_PREDICT, body, bytes, 5000, NULL, 0, &needed);
    if (status != MFN_NO_SPACE || needed > sizeof out) {
        return fail("the size of an answer", status, NULL, 0);
    }
    status = mfn_alm_call(handle, MFN_METHOD_ALM_PREDICT, body, bytes, 5000, out, sizeof out, &needed);
    if (status != MFN_OK) {
        return fail("asking", status, out, needed < sizeof out ? needed : sizeof out);
    }
    if (needed < 4 || (size_t)out[3] + 4 > needed) {
        return fail("the answer holds no key", MFN_OK, NULL, 0);
    }
    printf("%.*s\n", out[3], (const char *)out + 4);
    return strncmp((const char *)out + 4, "parse.h", 7) == 0 ? 0 : 1;
}

int main(void) {
    char directory[] = "/tmp/mfn-alm-XXXXXX";
    if (!mkdtemp(directory)) {
        perror("alm: mkdtemp");
        return 1;
    }
    uint64_t handle = 0;
    uint8_t body[64], out[256];
    size_t needed = 0;
    if (mfn_alm_abi_version() >> 16 != MFN_ALM_ABI_VERSION >> 16 || mfn_alm_open(NULL, 0, 0, &handle) != MFN_INVALID_ARGUMENT ||
        mfn_alm_open(directory, 4, 0, &handle) != MFN_INVALID_ARGUMENT || mfn_alm_close(1) != MFN_CLOSED ||
        mfn_alm_call(7, 1, NULL, 0, 0, NULL, 0, &needed) != MFN_CLOSED) {
        fprintf(stderr, "alm: what is wrong is not refused\n");
        return 1;
    }
    int32_t status = mfn_alm_open(directory, 0, 0, &handle);
    if (status != MFN_OK) {
        return fail("opening", status, NULL, 0);
    }
    size_t bytes = put(body, put(body, 0, "parse.c"), "parse.h");
    for (int times = 0; times < 3; times++) {
        status = mfn_alm_call(handle, MFN_METHOD_ALM_OBSERVE, body, bytes, 5000, out, sizeof out, &needed);
        if (status != MFN_OK) {
            return fail("observing", status, out, needed < sizeof out ? needed : sizeof out);
        }
    }
    body[1] = 0x7f; /* A length that lies. */
    status = mfn_alm_call(handle, MFN_METHOD_ALM_OBSERVE, body, bytes, 5000, out, sizeof out, &needed);
    if (status != MFN_BAD_BODY || needed == 0) {
        return fail("a body that lies was taken", status, NULL, 0);
    }
    int wrong = ask(handle);
    if (mfn_alm_close(handle) != MFN_OK || mfn_alm_close(handle) != MFN_CLOSED) {
        return fail("closing", status, NULL, 0);
    }
    status = mfn_alm_open(directory, MFN_ALM_DURABLE_NONE, 64u << 20, &handle);
    if (status != MFN_OK) {
        return fail("opening again", status, NULL, 0);
    }
    wrong |= ask(handle);
    mfn_alm_close(handle);
    char path[64];
    static const char *const names[] = {"snapshot", "log", "lock"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        remove(path);
    }
    remove(directory);
    return wrong;
}
