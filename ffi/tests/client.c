/* Tries the C client against a running node: good calls, wrong ones, cancellation from another thread.
 *
 *   client DIR/run/hypermesh_transport.sock */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "mfn/client.h"
#include "mfn/protocol.h"

#define CHECK(what)                                                                                                    \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            char text[1024] = "";                                                                                      \
            mfn_last_error(text, sizeof text, NULL);                                                                   \
            fprintf(stderr, "line %d: %s does not hold (%s)\n", __LINE__, #what, text);                                \
            return 1;                                                                                                  \
        }                                                                                                              \
    } while (0)

/* Set when the canceller has met a call, whether that call noticed or not. */
static atomic_int met;

/* Cancels tag 7 until a call with it is in flight. */
static void *canceller(void *client) {
    while (mfn_client_cancel(client, 7) == MFN_NOT_FOUND) {
    }
    atomic_store(&met, 1);
    return NULL;
}

static int wrong_arguments(const char *path) {
    struct mfn_client *client = NULL;
    size_t needed = 0;
    CHECK(mfn_client_connect(NULL, MFN_SERVICE_TRANSPORT, 100, &client) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_client_connect(path, MFN_SERVICE_TRANSPORT, 100, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_client_connect(path, 99, 100, &client) == MFN_BAD_SERVICE);
    CHECK(mfn_last_error(NULL, 0, &needed) == MFN_NO_SPACE && needed > 1);
    char small[4] = "abc";
    CHECK(mfn_last_error(small, 2, &needed) == MFN_NO_SPACE && strcmp(small, "abc") == 0);
    CHECK(mfn_client_connect("/nowhere/s.sock", MFN_SERVICE_TRANSPORT, 100, &client) == MFN_UNREACHABLE);
    CHECK(mfn_client_connect(path, MFN_SERVICE_STATE, 1000, &client) == MFN_UNEXPECTED_FRAME);
    CHECK(client == NULL);
    mfn_client_close(NULL);
    mfn_reply_free(NULL);
    CHECK(mfn_reply_body(NULL, &needed) == NULL && needed == 0 && mfn_reply_content_type(NULL) == 0);
    return 0;
}

static int calls(struct mfn_client *client) {
    struct mfn_reply *reply = NULL;
    size_t bytes = 0;
    CHECK(mfn_client_call(client, 1, MFN_METHOD_TRANSPORT_STATUS, MFN_CONTENT_TYPE_NONE, NULL, 0, 5000, &reply) == MFN_OK);
    CHECK(mfn_reply_content_type(reply) == MFN_CONTENT_TYPE_PROTOBUF && mfn_reply_body(reply, &bytes) && bytes > 0);
    mfn_reply_free(reply);
    reply = NULL;
    CHECK(mfn_client_call(client, 1, 999, MFN_CONTENT_TYPE_NONE, NULL, 0, 5000, &reply) == MFN_UNSUPPORTED);
    const uint8_t rubbish[] = {0xff, 0xff};
    CHECK(mfn_client_call(client, 1, MFN_METHOD_TRANSPORT_JOIN, MFN_CONTENT_TYPE_PROTOBUF, rubbish, sizeof rubbish, 5000,
                          &reply) == MFN_BAD_BODY);
    CHECK(mfn_client_call(client, 1, 1, 99, NULL, 0, 5000, &reply) == MFN_BAD_CONTENT_TYPE);
    CHECK(mfn_client_call(client, 1, 1, 0, NULL, 1, 5000, &reply) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_client_cancel(client, 7) == MFN_NOT_FOUND);
    CHECK(reply == NULL);
    return 0;
}

/* A call that is cancelled as soon as it is in flight: it may still win the race, then it is tried again. */
static int cancellation(struct mfn_client *client) {
    int32_t status = MFN_OK;
    for (int round = 0; round < 1000 && status == MFN_OK; round++) {
        pthread_t thread;
        atomic_store(&met, 0);
        CHECK(pthread_create(&thread, NULL, canceller, client) == 0);
        while (status == MFN_OK && !atomic_load(&met)) {
            struct mfn_reply *reply = NULL;
            status = mfn_client_call(client, 7, MFN_METHOD_TRANSPORT_STATUS, MFN_CONTENT_TYPE_NONE, NULL, 0, 5000, &reply);
            mfn_reply_free(reply);
        }
        CHECK(pthread_join(thread, NULL) == 0);
    }
    CHECK(status == MFN_CANCELLED);
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: client SOCKET\n");
        return 2;
    }
    if (wrong_arguments(argv[1]) != 0) {
        return 1;
    }
    struct mfn_client *client = NULL;
    CHECK(mfn_client_connect(argv[1], MFN_SERVICE_TRANSPORT, 5000, &client) == MFN_OK);
    int code = calls(client) || cancellation(client);
    mfn_client_close(client);
    printf("client: %s\n", code ? "failed" : "ok");
    return code;
}
