/* Puts a key into a running ifrd and gets it back.
 *
 *   ifrd SOCKET
 *
 * SOCKET is what ifrd was given with --socket. The bodies have a fixed layout: mfn/ifr_body.h. */
#include <stdio.h>
#include <string.h>

#include "mfn/client.h"
#include "mfn/ifr_body.h"

static int fail(const char *what, int32_t status) {
    char text[1024] = "";
    mfn_last_error(text, sizeof text, NULL);
    fprintf(stderr, "ifrd: %s: %s (%s)\n", what, text, mfn_status_name(status));
    return 1;
}

static int32_t call(const struct mfn_client *client, uint16_t method, const uint8_t *body, size_t bytes,
                    struct mfn_reply **reply) {
    return mfn_client_call(client, 1, method, MFN_CONTENT_TYPE_FIXED, body, bytes, 5000, reply);
}

static int put(const struct mfn_client *client, uint8_t kind, const void *key, size_t key_bytes, const char *value) {
    uint8_t body[128];
    uint8_t *at = mfn_ifr_body_head(body, 0, kind);
    memcpy(at, value, MFN_IFR_BODY_VALUE_BYTES);
    at += MFN_IFR_BODY_VALUE_BYTES;
    memcpy(at, key, key_bytes);
    struct mfn_reply *reply;
    int32_t status = call(client, MFN_METHOD_IFR_PUT, body, (size_t)(at - body) + key_bytes, &reply);
    if (status != MFN_OK) {
        return fail("put", status);
    }
    mfn_reply_free(reply);
    return 0;
}

static int one_key(const struct mfn_client *client) {
    const char key[] = "route/7";
    if (put(client, MFN_IFR_KEY_BYTES, key, strlen(key), "by way of node 4") != 0) {
        return 1;
    }
    uint8_t body[64];
    uint8_t *at = mfn_ifr_body_head(body, 0, MFN_IFR_KEY_BYTES);
    memcpy(at, key, strlen(key));
    struct mfn_reply *reply;
    int32_t status = call(client, MFN_METHOD_IFR_GET, body, MFN_IFR_BODY_HEAD_BYTES + strlen(key), &reply);
    if (status != MFN_OK) {
        return fail("get", status);
    }
    size_t bytes;
    const uint8_t *value = mfn_reply_body(reply, &bytes);
    int is_there = bytes == MFN_IFR_BODY_VALUE_BYTES;
    printf("%s: %.*s\n", key, (int)bytes, is_there ? (const char *)value : "");
    mfn_reply_free(reply);
    return is_there ? 0 : 1;
}

static int many_digests(const struct mfn_client *client) {
    uint8_t digest[MFN_IFR_BODY_DIGEST_BYTES];
    memset(digest, 0x5a, sizeof digest);
    if (put(client, MFN_IFR_KEY_DIGEST, digest, sizeof digest, "segment 3, off 9") != 0) {
        return 1;
    }
    uint8_t body[MFN_IFR_BODY_BATCH_HEAD_BYTES + 2 * MFN_IFR_BODY_DIGEST_BYTES];
    uint8_t *at = mfn_ifr_body_batch(body, 0, MFN_IFR_KEY_DIGEST, 2);
    memcpy(at, digest, sizeof digest);
    memset(at + sizeof digest, 0, sizeof digest);
    struct mfn_reply *reply;
    int32_t status = call(client, MFN_METHOD_IFR_GET_MANY, body, sizeof body, &reply);
    if (status != MFN_OK) {
        return fail("get_many", status);
    }
    size_t bytes;
    const uint8_t *answer = mfn_reply_body(reply, &bytes);
    struct mfn_ifr_body_found found;
    status = mfn_ifr_body_read_found(answer, bytes, 2, 1, &found);
    int is_right = status == MFN_OK && mfn_ifr_body_is_found(&found, 0) && !mfn_ifr_body_is_found(&found, 1);
    if (is_right) {
        printf("%u of 2 digests: %.16s\n", found.found, (const char *)found.values);
    } else {
        fprintf(stderr, "ifrd: the answer is not the expected one\n");
    }
    mfn_reply_free(reply);
    return is_right ? 0 : 1;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: ifrd SOCKET\n  SOCKET is what ifrd was given with --socket\n");
        return 2;
    }
    if (mfn_client_abi_version() >> 16 != MFN_CLIENT_ABI_VERSION >> 16) {
        fprintf(stderr, "ifrd: the library is of another version than the header\n");
        return 1;
    }
    struct mfn_client *client;
    int32_t status = mfn_client_connect(argv[1], MFN_SERVICE_IFR, 5000, &client);
    if (status != MFN_OK) {
        return fail("connecting", status);
    }
    int code = one_key(client) != 0 || many_digests(client) != 0;
    mfn_client_close(client);
    return code;
}
