/* Puts a record into a running ifrd and asks what to do about two keys.
 *
 *   ifr_flow SOCKET
 *
 * SOCKET is what ifrd was given with --socket. */
#include <stdio.h>
#include <string.h>

#include "mfn/client.h"
#include "mfn/ifr_flow.h"

#define POOL 1
#define KIND 3

static int fail(const char *what, int32_t status) {
    char text[1024] = "";
    mfn_last_error(text, sizeof text, NULL);
    fprintf(stderr, "ifr_flow: %s: %s (%s)\n", what, text, mfn_status_name(status));
    return 1;
}

static int route(const struct mfn_ifr_flow_client *client, const uint8_t *key) {
    struct mfn_ifr_decision decision;
    int32_t status = mfn_ifr_flow_route(client, POOL, key, KIND, &decision);
    if (status != MFN_OK) {
        return fail("flow_route", status);
    }
    switch (decision.outcome) {
        case MFN_IFR_FOUND_EXACT:
            printf("record: %llu bytes\n", (unsigned long long)decision.record.size);
            break;
        case MFN_IFR_FOUND_PARTIAL:
            printf("an old record: %.2f\n", (double)decision.confidence);
            break;
        default:
            printf("no record: ask layer %u, %.2f\n", decision.next_layer, (double)decision.confidence);
    }
    return 0;
}

static int run(const struct mfn_ifr_flow_client *client) {
    int32_t status = mfn_ifr_flow_pool_add(client, POOL, 0, 8 << 20);
    if (status != MFN_OK) {
        return fail("pool_add", status);
    }
    struct mfn_ifr_flow record = {.size = 4096, .kind = KIND, .priority = 5};
    memset(record.key, 0x5a, sizeof record.key);
    const uint64_t a_minute_ns = 60000000000u;
    status = mfn_ifr_flow_put(client, POOL, a_minute_ns, &record, NULL, NULL);
    if (status != MFN_OK) {
        return fail("flow_put", status);
    }
    status = mfn_ifr_flow_learn(client, KIND, MFN_IFR_LAYER_ASSOCIATION, 1);
    if (status != MFN_OK) {
        return fail("flow_learn", status);
    }
    const uint8_t absent[MFN_IFR_DIGEST_BYTES] = {1};
    if (route(client, record.key) != 0 || route(client, absent) != 0) {
        return 1;
    }
    struct mfn_ifr_pool_stats stats;
    status = mfn_ifr_flow_pool_stats(client, POOL, &stats);
    if (status != MFN_OK) {
        return fail("pool_stats", status);
    }
    printf("%llu record in %llu bytes at most\n", (unsigned long long)stats.records, (unsigned long long)stats.bytes_max);
    status = mfn_ifr_flow_pool_drop(client, POOL);
    return status == MFN_OK ? 0 : fail("pool_drop", status);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: ifr_flow SOCKET\n  SOCKET is what ifrd was given with --socket\n");
        return 2;
    }
    if (mfn_client_abi_version() >> 16 != MFN_CLIENT_ABI_VERSION >> 16) {
        fprintf(stderr, "ifr_flow: the library is of another version than the header\n");
        return 1;
    }
    struct mfn_pool *pool;
    int32_t status = mfn_pool_new(argv[1], MFN_SERVICE_IFR, 2, 5000, &pool);
    if (status != MFN_OK) {
        return fail("the path", status);
    }
    const struct mfn_ifr_flow_client client = {pool, 5000};
    int code = run(&client);
    mfn_pool_close(pool);
    return code;
}
