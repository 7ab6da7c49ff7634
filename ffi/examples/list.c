/* Lists what is below a root in a running node, as a stream: each entry is an event, at most 64 of them are under way.
 *
 *   list DIR/run/hypermesh_state.sock ROOT
 *
 * DIR is the node's directory, ROOT what `hypermesh put` printed. Request and events are protobuf messages (ListRequest and
 * Entry of ffi/protocol/local.proto); the few lines that write and read them here stand for a protobuf library. */
#include <stdio.h>
#include <string.h>

#include "mfn/client.h"
#include "mfn/protocol.h"

#define TIMEOUT_MS 60000
#define CREDIT 64

static int fail(const char *what, int32_t status) {
    char text[512] = "";
    mfn_last_error(text, sizeof text, NULL);
    fprintf(stderr, "list: %s: %s: %s\n", what, mfn_status_name(status), text);
    return 1;
}

/* ListRequest {root: 1, recursive: 3}; its length, or 0 when the root is too long. */
static size_t request(const char *root, uint8_t body[130]) {
    size_t length = strlen(root);
    if (length > 120) {
        return 0;
    }
    body[0] = 1 << 3 | 2;
    body[1] = (uint8_t)length;
    memcpy(body + 2, root, length);
    body[2 + length] = 3 << 3;
    body[3 + length] = 1;
    return 4 + length;
}

/* Prints field 1 of an Entry: its path. */
static void print_path(const uint8_t *body, size_t bytes) {
    size_t at = 1, length = 0;
    if (bytes == 0 || body[0] != (1 << 3 | 2)) {
        puts(".");
        return;
    }
    for (int shift = 0; at < bytes && shift < 28; shift += 7) {
        uint8_t byte = body[at++];
        length |= (size_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            break;
        }
    }
    printf("%.*s\n", (int)(length <= bytes - at ? length : bytes - at), body + at);
}

static int take(struct mfn_stream *stream) {
    for (;;) {
        struct mfn_reply *item;
        uint8_t is_end;
        int32_t status = mfn_stream_next(stream, &item, &is_end);
        if (status != MFN_OK) {
            return fail("listing", status);
        }
        if (!is_end) {
            size_t bytes;
            const uint8_t *body = mfn_reply_body(item, &bytes);
            print_path(body, bytes);
        }
        mfn_reply_free(item);
        if (is_end) {
            return 0;
        }
    }
}

int main(int argc, char **argv) {
    uint8_t body[130];
    size_t bytes = argc == 3 ? request(argv[2], body) : 0;
    if (bytes == 0) {
        fprintf(stderr, "usage: list SOCKET ROOT\n  SOCKET is run/hypermesh_state.sock in a node's directory\n");
        return 2;
    }
    struct mfn_client *client;
    int32_t status = mfn_client_connect(argv[1], MFN_SERVICE_STATE, 5000, &client);
    if (status != MFN_OK) {
        return fail("connecting", status);
    }
    struct mfn_stream *stream;
    status = mfn_client_stream(client, 1, MFN_METHOD_STATE_LIST, MFN_CONTENT_TYPE_PROTOBUF, body, bytes, TIMEOUT_MS, CREDIT,
                               &stream);
    int code = status == MFN_OK ? take(stream) : fail("asking", status);
    if (status == MFN_OK) {
        mfn_stream_close(stream);
    }
    mfn_client_close(client);
    return code;
}
