/* Abuses the border of layer 3: arguments that are wrong, bodies that lie, keys without end, directories that are damaged. What is
 * wrong must be a status, leave the outputs as they were, and the memory as it was. */
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mfn/alm.h"
#include "mfn/protocol.h"

#define CHECK(what)                                                                                                    \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            fprintf(stderr, "line %d: %s does not hold\n", __LINE__, #what);                                           \
            return 1;                                                                                                  \
        }                                                                                                              \
    } while (0)

enum { HUGE_BYTES = 64 << 20, WITHIN_MS = 20000 };

/* A message that is being written; it has room for what the tests write. */
struct message {
    uint8_t bytes[4096];
    size_t length;
};

static void varint(struct message *out, uint64_t number) {
    for (; number > 127; number >>= 7) {
        out->bytes[out->length++] = (uint8_t)(number | 128);
    }
    out->bytes[out->length++] = (uint8_t)number;
}

static void number(struct message *out, unsigned field, uint64_t value) {
    varint(out, field << 3);
    varint(out, value);
}

static void text(struct message *out, unsigned field, const void *bytes, size_t length) {
    varint(out, field << 3 | 2);
    varint(out, length);
    memcpy(out->bytes + out->length, bytes, length);
    out->length += length;
}

static void real(struct message *out, unsigned field, double value) {
    varint(out, field << 3 | 1);
    memcpy(out->bytes + out->length, &value, sizeof value);
    out->length += sizeof value;
}

static struct message link_of(const char *from, const char *to, double strength) {
    struct message edge = {.length = 0}, all = {.length = 0};
    text(&edge, 1, from, strlen(from));
    text(&edge, 2, to, strlen(to));
    real(&edge, 3, strength);
    text(&all, 1, edge.bytes, edge.length);
    return all;
}

static int32_t call(uint64_t handle, uint16_t method, const uint8_t *body, size_t bytes) {
    uint8_t out[4096];
    size_t needed = 0;
    return mfn_alm_call(handle, method, body, bytes, WITHIN_MS, out, sizeof out, &needed);
}

static int32_t send_message(uint64_t handle, uint16_t method, const struct message *message) {
    return call(handle, method, message->bytes, message->length);
}

static int nothing_at_all(const char *directory) {
    uint64_t handle = 77;
    size_t needed = 77;
    uint8_t out[16] = {7};
    CHECK(mfn_alm_open(NULL, 0, 0, &handle) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_alm_open(directory, 0, 0, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_alm_open(directory, UINT32_MAX, 0, &handle) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_alm_open(directory, 0, 1, &handle) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_alm_open("/dev/null/below-a-file", 0, 0, &handle) == MFN_IO);
    CHECK(mfn_alm_call(0, 1, NULL, 0, 0, out, sizeof out, &needed) == MFN_CLOSED);
    CHECK(mfn_alm_call(UINT64_MAX, 1, NULL, 0, 0, out, sizeof out, &needed) == MFN_CLOSED);
    CHECK(mfn_alm_close(0) == MFN_CLOSED && mfn_alm_close(UINT64_MAX) == MFN_CLOSED);
    CHECK(handle == 77 && needed == 77 && out[0] == 7);
    return 0;
}

static int wrong_arguments(uint64_t handle, const char *directory) {
    uint8_t body[8] = {0}, out[16] = {7};
    size_t needed = 77;
    uint64_t second = 77;
    CHECK(mfn_alm_call(handle, 1, body, 0, 0, out, sizeof out, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_alm_call(handle, 1, NULL, 8, 0, out, sizeof out, &needed) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_alm_call(handle, 1, body, sizeof body, 0, NULL, 16, &needed) == MFN_INVALID_ARGUMENT);
    /* Lengths that cannot be are refused before a byte is read. */
    CHECK(mfn_alm_call(handle, 1, body, SIZE_MAX, 0, out, sizeof out, &needed) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_alm_call(handle, 1, body, HUGE_BYTES, 0, out, sizeof out, &needed) == MFN_INVALID_ARGUMENT);
    CHECK(needed == 77 && out[0] == 7);
    CHECK(mfn_alm_call(handle, 0, NULL, 0, 0, out, sizeof out, &needed) == MFN_UNSUPPORTED && needed > 0);
    CHECK(mfn_alm_call(handle, UINT16_MAX, NULL, 0, 0, NULL, 0, &needed) == MFN_UNSUPPORTED && needed > 0);
    CHECK(mfn_alm_call(handle, MFN_METHOD_ALM_STATS, NULL, 0, UINT64_MAX, NULL, 0, &needed) == MFN_NO_SPACE);
    /* One directory is open once. */
    CHECK(mfn_alm_open(directory, 0, 0, &second) == MFN_IO && second == 77);
    return 0;
}

/* What is no number, keys without end, and counts without end. */
static int hostile_values(uint64_t handle) {
    const double wrong[] = {NAN, INFINITY, -INFINITY, -1.0, 0.0, 1.5};
    struct message message;
    for (size_t at = 0; at < sizeof wrong / sizeof wrong[0]; at++) {
        message = link_of("a", "b", wrong[at]);
        int32_t status = send_message(handle, MFN_METHOD_ALM_ADD, &message);
        CHECK(status == MFN_INVALID_ARGUMENT);
    }
    message = link_of("", "b", 0.5);
    CHECK(send_message(handle, MFN_METHOD_ALM_ADD, &message) == MFN_INVALID_ARGUMENT);

    /* A key that is longer than a key may be, and one that a frame would not even hold. */
    uint8_t *huge = malloc(HUGE_BYTES);
    CHECK(huge != NULL);
    memset(huge, 'x', HUGE_BYTES);
    struct message head = {.length = 0};
    size_t key_bytes = 8 << 20;
    varint(&head, 1 << 3 | 2);
    varint(&head, key_bytes);
    memcpy(huge, head.bytes, head.length);
    int32_t long_key = call(handle, MFN_METHOD_ALM_PREDICT, huge, head.length + key_bytes);
    int32_t longer = call(handle, MFN_METHOD_ALM_OBSERVE, huge, HUGE_BYTES);
    int32_t observed = call(handle, MFN_METHOD_ALM_OBSERVE, huge, head.length + key_bytes);
    free(huge);
    CHECK(longer == MFN_INVALID_ARGUMENT);
    CHECK(long_key == MFN_INVALID_ARGUMENT || long_key == MFN_NOT_FOUND || long_key == MFN_OK);
    CHECK(observed == MFN_INVALID_ARGUMENT || observed == MFN_LIMIT);

    message = link_of("a", "b", 0.5);
    CHECK(send_message(handle, MFN_METHOD_ALM_ADD, &message) == MFN_OK);
    const uint16_t asked[] = {MFN_METHOD_ALM_NEIGHBOURS, MFN_METHOD_ALM_ASSOCIATES, MFN_METHOD_ALM_PREDICT};
    for (size_t at = 0; at < 3; at++) {
        message.length = 0;
        text(&message, 1, "a", 1);
        number(&message, 2, UINT32_MAX);
        int32_t status = send_message(handle, asked[at], &message);
        CHECK(status == MFN_OK || status == MFN_INVALID_ARGUMENT || status == MFN_LIMIT);
    }
    message.length = 0;
    text(&message, 1, "a", 1);
    text(&message, 2, "b", 1);
    CHECK(send_message(handle, MFN_METHOD_ALM_BEST_PATH, &message) == MFN_OK);
    number(&message, 3, UINT32_MAX);
    CHECK(send_message(handle, MFN_METHOD_ALM_BEST_PATH, &message) == MFN_INVALID_ARGUMENT);
    number(&message, 3, 0);
    number(&message, 6, UINT32_MAX);
    CHECK(send_message(handle, MFN_METHOD_ALM_BEST_PATHS, &message) == MFN_INVALID_ARGUMENT);
    for (size_t at = 0; at < 3; at++) {
        message.length = 0;
        text(&message, 1, "a", 1);
        real(&message, 6, wrong[at]);
        real(&message, 7, wrong[at]);
        CHECK(send_message(handle, MFN_METHOD_ALM_ASSOCIATES, &message) == MFN_INVALID_ARGUMENT);
    }
    /* A pool that is not there, and one beyond all numbers of pools. */
    message.length = 0;
    text(&message, 1, "a", 1);
    number(&message, 3, UINT64_MAX);
    int32_t status = send_message(handle, MFN_METHOD_ALM_NEIGHBOURS, &message);
    CHECK(status == MFN_NOT_FOUND || status == MFN_INVALID_ARGUMENT);
    return 0;
}

/* Noise at every method: a status each time, and the link that was there is there. */
static int noise(uint64_t handle) {
    uint64_t state = 20260104;
    uint8_t body[64];
    for (int round = 0; round < 4000; round++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        /* All questions, and changes that cannot be meant. */
        uint16_t method = (uint16_t)(1 + (state >> 33) % 16);
        if (method == MFN_METHOD_ALM_SNAPSHOT || method == MFN_METHOD_ALM_POOL_DROP) {
            continue;
        }
        size_t length = (state >> 40) % sizeof body;
        uint64_t fill = state;
        for (size_t at = 0; at < length; at++) {
            fill = fill * 6364136223846793005u + 1442695040888963407u;
            /* Small tags and lengths reach deeper than noise does. */
            body[at] = (uint8_t)(fill >> 56) & (at % 2 == 0 ? 0x3f : 0x0f);
        }
        int32_t status = call(handle, method, body, length);
        CHECK(status <= 0 && status != MFN_PANIC && status != MFN_INTERNAL && status != MFN_CLOSED);
    }
    struct message message = {.length = 0};
    text(&message, 1, "a", 1);
    text(&message, 2, "b", 1);
    CHECK(send_message(handle, MFN_METHOD_ALM_BEST_PATH, &message) == MFN_OK);
    return 0;
}

static void *ask_until_closed(void *argument) {
    uint64_t handle = *(const uint64_t *)argument;
    int32_t status = MFN_OK;
    while (status == MFN_OK || status == MFN_NO_SPACE) {
        status = call(handle, MFN_METHOD_ALM_STATS, NULL, 0);
    }
    return status == MFN_CLOSED ? NULL : argument;
}

/* Closed under callers: each hears it, and it is closed once. */
static int closed_while_asked(const char *directory) {
    uint64_t handle = 0;
    CHECK(mfn_alm_open(directory, MFN_ALM_DURABLE_NONE, 0, &handle) == MFN_OK);
    pthread_t threads[4];
    void *wrong[4];
    for (int at = 0; at < 4; at++) {
        CHECK(pthread_create(&threads[at], NULL, ask_until_closed, &handle) == 0);
    }
    CHECK(call(handle, MFN_METHOD_ALM_STATS, NULL, 0) == MFN_OK);
    CHECK(mfn_alm_close(handle) == MFN_OK && mfn_alm_close(handle) == MFN_CLOSED);
    for (int at = 0; at < 4; at++) {
        CHECK(pthread_join(threads[at], &wrong[at]) == 0 && wrong[at] == NULL);
    }
    return 0;
}

/* Damages each file of the directory; how many there were. */
static int damage(const char *directory, const char *name) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    struct stat found;
    if (stat(path, &found) != 0 || found.st_size < 16) {
        return 0;
    }
    int fd = open(path, O_RDWR);
    uint8_t byte = 0;
    if (fd < 0 || pread(fd, &byte, 1, found.st_size / 2) != 1) {
        return 0;
    }
    byte ^= 0x40;
    ssize_t written = pwrite(fd, &byte, 1, found.st_size / 2);
    return close(fd) == 0 && written == 1;
}

static int damaged_directories(const char *directory) {
    uint64_t handle = 77;
    /* Its snapshot was written by a clean end. */
    CHECK(damage(directory, "snapshot") == 1);
    CHECK(mfn_alm_open(directory, 0, 0, &handle) == MFN_CORRUPT && handle == 77);
    CHECK(mfn_alm_open(directory, MFN_ALM_SET_ASIDE, 0, &handle) == MFN_OK);
    struct message message = {.length = 0};
    text(&message, 1, "a", 1);
    text(&message, 2, "b", 1);
    CHECK(send_message(handle, MFN_METHOD_ALM_BEST_PATH, &message) == MFN_NOT_FOUND);
    CHECK(mfn_alm_close(handle) == MFN_OK);
    return 0;
}

int main(void) {
    char directory[] = "/tmp/mfn-alm-XXXXXX", inner[64];
    if (!mkdtemp(directory)) {
        perror("alm: mkdtemp");
        return 1;
    }
    snprintf(inner, sizeof inner, "%s/links", directory);
    CHECK(mfn_alm_abi_version() >> 16 == MFN_ALM_ABI_VERSION >> 16);
    CHECK(nothing_at_all(inner) == 0);
    uint64_t handle = 0;
    CHECK(mfn_alm_open(inner, 0, 0, &handle) == MFN_OK);
    int code = wrong_arguments(handle, inner) || hostile_values(handle) || noise(handle);
    CHECK(mfn_alm_close(handle) == MFN_OK);
    code = code || closed_while_asked(inner) || damaged_directories(inner);
    char command[96];
    snprintf(command, sizeof command, "rm -r '%s'", directory);
    if (system(command) != 0) {
        code = 1;
    }
    printf("alm: %s\n", code ? "failed" : "ok");
    return code;
}
