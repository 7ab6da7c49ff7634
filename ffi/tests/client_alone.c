/* Abuses the border of the socket client without a node: arguments that are wrong, paths that nobody serves, and servers of this
 * program's own that say nothing, say noise, or lie about lengths. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "mfn/client.h"
#include "mfn/protocol.h"
#include "mfn/wire.h"

#define CHECK(what)                                                                                                    \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            char said[1024] = "";                                                                                      \
            mfn_last_error(said, sizeof said, NULL);                                                                   \
            fprintf(stderr, "line %d: %s does not hold (%s)\n", __LINE__, #what, said);                                \
            return 1;                                                                                                  \
        }                                                                                                              \
    } while (0)

enum { HUGE_BYTES = 64 << 20 };

/* A socket whose callers all hear the same bytes after their own HELLO came. */
struct server {
    char path[64];
    int listener;
    const uint8_t *says;
    size_t bytes;
    /* Whether it hangs up then. */
    int ends;
    int open[64];
    int count;
    pthread_t thread;
};

static void *serve(void *argument) {
    struct server *server = argument;
    for (int fd; (fd = accept(server->listener, NULL, NULL)) >= 0;) {
        uint8_t heard[4096];
        if (read(fd, heard, sizeof heard) > 0 && server->bytes > 0 &&
            send(fd, server->says, server->bytes, MSG_NOSIGNAL) < 0) {
            /* It has heard enough. */
        }
        if (server->ends || server->count == 64) {
            close(fd);
        } else {
            server->open[server->count++] = fd;
        }
    }
    return NULL;
}

static int start(struct server *server, const void *says, size_t bytes, int ends) {
    memset(server, 0, sizeof *server);
    server->says = says;
    server->bytes = bytes;
    server->ends = ends;
    snprintf(server->path, sizeof server->path, "/tmp/mfn-client-XXXXXX");
    CHECK(mkdtemp(server->path) != NULL);
    strcat(server->path, "/s.sock");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, server->path, strlen(server->path) + 1);
    server->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(server->listener >= 0 && bind(server->listener, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(server->listener, 16) == 0 && pthread_create(&server->thread, NULL, serve, server) == 0);
    return 0;
}

static int stop(struct server *server) {
    shutdown(server->listener, SHUT_RDWR);
    CHECK(pthread_join(server->thread, NULL) == 0);
    close(server->listener);
    for (int at = 0; at < server->count; at++) {
        close(server->open[at]);
    }
    unlink(server->path);
    *strrchr(server->path, '/') = 0;
    rmdir(server->path);
    return 0;
}

static int nothing_at_all(void) {
    struct mfn_client *client = NULL;
    struct mfn_pool *pool = NULL;
    struct mfn_stream *stream = NULL;
    struct mfn_reply *reply = NULL;
    uint8_t is_end = 7;
    char path[300];
    memset(path, 'x', sizeof path);
    path[sizeof path - 1] = 0;
    CHECK(mfn_client_connect(NULL, MFN_SERVICE_STATE, 1, &client) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_client_connect(path, MFN_SERVICE_STATE, 1, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_client_connect(path, MFN_SERVICE_STATE, 1, &client) < 0);
    CHECK(mfn_client_connect("", MFN_SERVICE_STATE, UINT64_MAX, &client) < 0);
    CHECK(mfn_client_connect("/nowhere", 0, 1, &client) == MFN_BAD_SERVICE);
    CHECK(mfn_client_connect("/nowhere", MFN_SERVICE_STATE, UINT64_MAX, &client) == MFN_UNREACHABLE);
    CHECK(mfn_client_call(NULL, 1, 1, 0, NULL, 0, 1, &reply) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_client_stream(NULL, 1, 1, 0, NULL, 0, 1, 1, &stream) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_client_cancel(NULL, 1) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_pool_new(NULL, MFN_SERVICE_STATE, 1, 1, &pool) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_pool_new("/nowhere", MFN_SERVICE_STATE, 1, 1, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_pool_new("/nowhere", UINT8_MAX, 1, 1, &pool) == MFN_BAD_SERVICE);
    CHECK(mfn_pool_call(NULL, 1, 1, 0, NULL, 0, 1, &reply) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_pool_stream(NULL, 1, 1, 0, NULL, 0, 1, 1, &stream) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_pool_cancel(NULL, 1) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_stream_next(NULL, &reply, &is_end) == MFN_INVALID_ARGUMENT);
    CHECK(client == NULL && pool == NULL && stream == NULL && reply == NULL && is_end == 7);
    mfn_client_close(NULL);
    mfn_pool_close(NULL);
    mfn_stream_close(NULL);
    mfn_reply_free(NULL);
    CHECK(mfn_reply_body(NULL, NULL) == NULL && mfn_reply_content_type(NULL) == 0);
    CHECK(mfn_last_error(NULL, 0, NULL) == MFN_NO_SPACE);
    CHECK(mfn_client_abi_version() >> 16 == MFN_CLIENT_ABI_VERSION >> 16);
    return 0;
}

/* A pool to a path that nobody serves says so at once, also with the largest numbers. */
static int nobody_serves(void) {
    struct mfn_pool *pool = NULL;
    struct mfn_reply *reply = NULL;
    struct mfn_stream *stream = NULL;
    const uint8_t one = 1;
    CHECK(mfn_pool_new("/nowhere/s.sock", MFN_SERVICE_STATE, UINT32_MAX, UINT64_MAX, &pool) == MFN_OK);
    for (int round = 0; round < 50; round++) {
        int32_t status = mfn_pool_call(pool, 1, 1, 0, NULL, 0, UINT64_MAX, &reply);
        CHECK(status == MFN_UNREACHABLE || (round > 0 && status == MFN_CIRCUIT_OPEN));
        status = mfn_pool_stream(pool, 1, 1, 0, NULL, 0, 1000, UINT32_MAX, &stream);
        CHECK(status == MFN_UNREACHABLE || status == MFN_CIRCUIT_OPEN);
    }
    /* Lengths that cannot be are refused before a byte is read. */
    CHECK(mfn_pool_call(pool, 1, 1, MFN_CONTENT_TYPE_BYTES, &one, SIZE_MAX, 1, &reply) == MFN_FRAME_TOO_LARGE);
    CHECK(mfn_pool_call(pool, 1, 1, MFN_CONTENT_TYPE_BYTES, &one, HUGE_BYTES, 1, &reply) == MFN_FRAME_TOO_LARGE);
    CHECK(mfn_pool_call(pool, 1, 1, MFN_CONTENT_TYPE_BYTES, NULL, 1, 1, &reply) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_pool_call(pool, 1, 1, UINT8_MAX, &one, 1, 1, &reply) == MFN_BAD_CONTENT_TYPE);
    CHECK(mfn_pool_call(pool, 1, 1, 0, NULL, 0, 1, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_pool_stream(pool, 1, 1, 0, NULL, 0, 1, 1, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_pool_cancel(pool, 1) == MFN_NOT_FOUND);
    CHECK(reply == NULL && stream == NULL);
    mfn_pool_close(pool);
    return 0;
}

/* A HELLO of service state, as it stands on the wire. */
static size_t hello(uint8_t *out) {
    memset(out, 0, 60);
    out[0] = 56;
    out[4] = 1;
    out[5] = 1;
    out[6] = MFN_SERVICE_STATE;
    return 60;
}

static int32_t greeted_by(const void *says, size_t bytes, int ends, uint64_t within_ms) {
    struct server server;
    struct mfn_client *client = NULL;
    if (start(&server, says, bytes, ends) != 0) {
        return 1;
    }
    int32_t status = mfn_client_connect(server.path, MFN_SERVICE_STATE, within_ms, &client);
    mfn_client_close(client);
    return stop(&server) == 0 ? status : 1;
}

static int servers_that_lie(void) {
    uint8_t frame[256];
    memset(frame, 0xff, sizeof frame);
    CHECK(greeted_by(frame, sizeof frame, 0, 20000) < 0); /* a frame of 4 GiB */
    memset(frame, 0, sizeof frame);
    CHECK(greeted_by(frame, sizeof frame, 0, 20000) < 0); /* one that ends before its header */
    CHECK(greeted_by(NULL, 0, 1, 20000) < 0);
    CHECK(greeted_by(NULL, 0, 0, 20) < 0); /* silence */
    size_t bytes = hello(frame);
    CHECK(greeted_by(frame, bytes - 1, 1, 20000) < 0);
    frame[4] = 9;
    CHECK(greeted_by(frame, bytes, 0, 20000) == MFN_BAD_VERSION);
    hello(frame);
    frame[6] = MFN_SERVICE_IFR;
    CHECK(greeted_by(frame, bytes, 0, 20000) < 0);
    hello(frame);
    CHECK(greeted_by(frame, bytes, 0, 20000) == MFN_OK);

    /* After a good HELLO: noise ends the call and the connection; silence ends it by its deadline. */
    struct server server;
    struct mfn_client *client = NULL;
    struct mfn_reply *reply = NULL;
    memset(frame + bytes, 0xff, 8);
    CHECK(start(&server, frame, bytes + 8, 0) == 0);
    /* It may have come with the HELLO. */
    int32_t status = mfn_client_connect(server.path, MFN_SERVICE_STATE, 20000, &client);
    CHECK(status == MFN_OK || status == MFN_FRAME_TOO_LARGE);
    if (status == MFN_OK) {
        CHECK(mfn_client_call(client, 1, 1, 0, NULL, 0, 20000, &reply) == MFN_CLOSED);
        CHECK(mfn_client_call(client, 1, 1, 0, NULL, 0, 20000, &reply) == MFN_CLOSED);
    }
    mfn_client_close(client);
    CHECK(stop(&server) == 0);
    client = NULL;
    CHECK(start(&server, frame, bytes, 0) == 0);
    CHECK(mfn_client_connect(server.path, MFN_SERVICE_STATE, 20000, &client) == MFN_OK);
    CHECK(mfn_client_call(client, 1, 1, 0, NULL, 0, 20, &reply) == MFN_DEADLINE);
    struct mfn_stream *stream = NULL;
    uint8_t is_end = 7;
    CHECK(mfn_client_stream(client, 1, 1, 0, NULL, 0, 20, 0, &stream) == MFN_OK);
    CHECK(mfn_stream_next(stream, NULL, &is_end) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_stream_next(stream, &reply, NULL) == MFN_INVALID_ARGUMENT);
    CHECK(mfn_stream_next(stream, &reply, &is_end) == MFN_DEADLINE && is_end == 7);
    CHECK(mfn_stream_next(stream, &reply, &is_end) == MFN_NOT_FOUND);
    mfn_stream_close(stream);
    CHECK(reply == NULL);
    mfn_client_close(client);
    return stop(&server);
}

/* Noise of chance in place of a HELLO, and after it: an error each time. */
static int noise(void) {
    uint64_t state = 20260105;
    for (int round = 0; round < 60; round++) {
        uint8_t frame[200];
        size_t start_at = round % 2 == 0 ? 0 : hello(frame);
        for (size_t at = start_at; at < sizeof frame; at++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            frame[at] = (uint8_t)(state >> 56);
        }
        struct server server;
        struct mfn_client *client = NULL;
        struct mfn_reply *reply = NULL;
        CHECK(start(&server, frame, sizeof frame, 1) == 0);
        int32_t status = mfn_client_connect(server.path, MFN_SERVICE_STATE, 20000, &client);
        if (status == MFN_OK) {
            status = mfn_client_call(client, 1, 1, 0, NULL, 0, 20000, &reply);
        }
        CHECK(status < 0 && status != MFN_PANIC && reply == NULL);
        mfn_client_close(client);
        CHECK(stop(&server) == 0);
    }
    return 0;
}

int main(void) {
    int code = nothing_at_all() || nobody_serves() || servers_that_lie() || noise();
    printf("client alone: %s\n", code ? "failed" : "ok");
    return code;
}
