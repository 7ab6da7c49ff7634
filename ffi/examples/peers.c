/* Lists the peers of a running node through its transport socket.
 *
 *   peers DIR/run/hypermesh_transport.sock
 *
 * DIR is the node's directory. The answer is a protobuf message (PeerList of ffi/protocol/local.proto); the few lines
 * that read it here stand for a protobuf library. */
#include <stdio.h>
#include <string.h>

#include "mfn/client.h"
#include "mfn/protocol.h"

/* A run of protobuf bytes that is being read. */
struct reader {
    const uint8_t *at, *end;
};

/* One field: its number, and its number value or its bytes. */
struct field {
    uint64_t number;
    uint64_t value;
    struct reader bytes;
};

static int varint(struct reader *reader, uint64_t *value) {
    *value = 0;
    for (int shift = 0; shift < 64 && reader->at < reader->end; shift += 7) {
        uint8_t byte = *reader->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return 1;
        }
    }
    return 0;
}

/* Takes the next field; 0 at the end, -1 when the bytes are no message. */
static int next(struct reader *reader, struct field *field) {
    if (reader->at == reader->end) {
        return 0;
    }
    uint64_t key, length;
    if (!varint(reader, &key)) {
        return -1;
    }
    field->number = key >> 3;
    field->value = 0;
    field->bytes.at = field->bytes.end = NULL;
    switch (key & 7) {
    case 0:
        return varint(reader, &field->value) ? 1 : -1;
    case 2:
        if (!varint(reader, &length) || length > (uint64_t)(reader->end - reader->at)) {
            return -1;
        }
        field->bytes.at = reader->at;
        field->bytes.end = reader->at += length;
        return 1;
    default:
        return -1;
    }
}

/* Prints one Peer: 1 node_id, 2 addresses, 3 connected. */
static int print_peer(struct reader peer) {
    struct reader node = {NULL, NULL}, address = {NULL, NULL};
    struct field field;
    int connected = 0, more;
    while ((more = next(&peer, &field)) > 0) {
        if (field.number == 1) {
            node = field.bytes;
        } else if (field.number == 2 && !address.at) {
            address = field.bytes;
        } else if (field.number == 3) {
            connected = field.value != 0;
        }
    }
    printf("%.*s %s %.*s\n", (int)(node.end - node.at), node.at ? (const char *)node.at : "",
           connected ? "connected" : "away", (int)(address.end - address.at), address.at ? (const char *)address.at : "");
    return more;
}

static int fail(const char *what, int32_t status) {
    char text[1024] = "";
    mfn_last_error(text, sizeof text, NULL);
    fprintf(stderr, "peers: %s: %s (%s)\n", what, text, mfn_status_name(status));
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: peers SOCKET\n  SOCKET is run/hypermesh_transport.sock in a node's directory\n");
        return 2;
    }
    if (mfn_client_abi_version() >> 16 != MFN_CLIENT_ABI_VERSION >> 16) {
        fprintf(stderr, "peers: the library is of another version than the header\n");
        return 1;
    }
    struct mfn_client *client;
    int32_t status = mfn_client_connect(argv[1], MFN_SERVICE_TRANSPORT, 5000, &client);
    if (status != MFN_OK) {
        return fail("connecting", status);
    }
    struct mfn_reply *reply;
    status = mfn_client_call(client, 1, MFN_METHOD_TRANSPORT_PEERS, MFN_CONTENT_TYPE_NONE, NULL, 0, 5000, &reply);
    int code = 0;
    if (status == MFN_OK) {
        size_t bytes;
        const uint8_t *body = mfn_reply_body(reply, &bytes);
        struct reader list = {body, body + bytes};
        struct field field;
        int more;
        while ((more = next(&list, &field)) > 0) {
            if (field.number == 1 && print_peer(field.bytes) < 0) {
                more = -1;
                break;
            }
        }
        if (more < 0) {
            fprintf(stderr, "peers: the answer is not a list of peers\n");
            code = 1;
        }
        mfn_reply_free(reply);
    } else {
        code = fail("asking", status);
    }
    mfn_client_close(client);
    return code;
}
