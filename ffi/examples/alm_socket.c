/* Tells layer 3 what is used together, and asks it what goes with one of the keys.
 *
 *   alm_socket DIR/mfn_alm.sock
 *
 * The messages are protobuf (AlmGroup, AlmPredictRequest and AlmPredictions of ffi/protocol/local.proto); the few lines that
 * write and read them here stand for a protobuf library. All texts are shorter than 128 bytes, so that a length is one byte. */
#include <stdio.h>
#include <string.h>

#include "mfn/client.h"
#include "mfn/protocol.h"

/* Appends field 1, bytes. */
static size_t put(uint8_t *out, size_t at, const char *text) {
    size_t bytes = strlen(text);
    out[at] = 1 << 3 | 2;
    out[at + 1] = (uint8_t)bytes;
    memcpy(out + at + 2, text, bytes);
    return at + 2 + bytes;
}

static int fail(const char *what, int32_t status) {
    char text[1024] = "";
    mfn_last_error(text, sizeof text, NULL);
    fprintf(stderr, "alm: %s: %s (%s)\n", what, text, mfn_status_name(status));
    return 1;
}

static int32_t ask(struct mfn_client *client, uint16_t method, const uint8_t *body, size_t bytes, struct mfn_reply **reply) {
    return mfn_client_call(client, 1, method, MFN_CONTENT_TYPE_PROTOBUF, body, bytes, 5000, reply);
}

/* Prints the key of the first AlmPrediction: field 1 of field 1. */
static void print_first(const uint8_t *body, size_t bytes) {
    if (bytes < 4 || body[0] != (1 << 3 | 2) || body[2] != (1 << 3 | 2) || (size_t)body[3] + 4 > bytes) {
        printf("nothing is known\n");
        return;
    }
    printf("%.*s\n", body[3], (const char *)body + 4);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: alm_socket SOCKET\n");
        return 2;
    }
    struct mfn_client *client;
    int32_t status = mfn_client_connect(argv[1], MFN_SERVICE_ALM, 5000, &client);
    if (status != MFN_OK) {
        return fail("connecting", status);
    }
    uint8_t body[256];
    struct mfn_reply *reply;
    size_t bytes = put(body, put(body, 0, "parse.c"), "parse.h");
    for (int times = 0; times < 3 && status == MFN_OK; times++) {
        status = ask(client, MFN_METHOD_ALM_OBSERVE, body, bytes, &reply);
        if (status == MFN_OK) {
            mfn_reply_free(reply);
        }
    }
    if (status == MFN_OK) {
        status = ask(client, MFN_METHOD_ALM_PREDICT, body, put(body, 0, "parse.c"), &reply);
    }
    int code = 0;
    if (status == MFN_OK) {
        const uint8_t *answer = mfn_reply_body(reply, &bytes);
        print_first(answer, bytes);
        mfn_reply_free(reply);
    } else {
        code = fail("asking", status);
    }
    mfn_client_close(client);
    return code;
}
