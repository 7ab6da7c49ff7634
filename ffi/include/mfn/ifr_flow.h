/* Pools of records and of values of ifrd, asked over its socket: budgets, times to live, and where to ask next. Header only, C11
 * and C++17.
 *
 * The records are those of mfn/ifr.h, whose functions keep pools in the process; the calls are those of mfn/client.h. The
 * bodies are written and read in place: docs/PROTOCOL.md, "Bodies of ifr".
 *
 * Functions that return int32_t give MFN_OK or an error of mfn/status.h; outputs are written on success only. An error of the
 * call or of the daemon has its text in mfn_last_error; MFN_BAD_BODY of an answer that is not laid out as its method's has none.
 * Nothing is allocated here. All functions may run at the same time, from any threads. */
#ifndef MFN_IFR_FLOW_H
#define MFN_IFR_FLOW_H

#include "client.h"
#include "ifr.h"
#include "ifr_body.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MFN_IFR_FLOW_RECORD_BYTES 80u
#define MFN_IFR_FLOW_DECISION_BYTES 96u
#define MFN_IFR_FLOW_POOL_BYTES 16u
#define MFN_IFR_FLOW_PUT_BYTES 96u
#define MFN_IFR_FLOW_KEY_BYTES 40u
#define MFN_IFR_FLOW_STATS_BYTES 40u
#define MFN_IFR_FLOW_EXPIRED_BYTES 16u
/* Of an IfrPools, as it is known here. */
#define MFN_IFR_FLOW_POOL_ENTRY_BYTES 56u
/* A flag of a pool of ifrd beside MFN_IFR_POOL_REFUSES, which goes with it: it holds keys with values in place of records. */
#define MFN_IFR_POOL_VALUES 2u
#define MFN_IFR_PRIORITY_MAX 7u

/* Who is asked, and for how long each call may take; 0 waits without end. */
struct mfn_ifr_flow_client {
    const struct mfn_pool *pool; /* To MFN_SERVICE_IFR. The caller's; it lives as long as calls do. */
    uint64_t timeout_ms;
};

/* ---- Bodies ---- */

static inline void mfn_ifr_flow_put_u64(uint8_t *at, uint64_t number) {
    mfn_ifr_body_put_u32(at, (uint32_t)number);
    mfn_ifr_body_put_u32(at + 4, (uint32_t)(number >> 32));
}

static inline void mfn_ifr_flow_put_u16(uint8_t *at, uint16_t number) {
    at[0] = (uint8_t)number;
    at[1] = (uint8_t)(number >> 8);
}

/* Writes an IfrPool. `flags`: 0, MFN_IFR_POOL_REFUSES, or that and MFN_IFR_POOL_VALUES. */
static inline void mfn_ifr_flow_write_pool(uint8_t body[MFN_IFR_FLOW_POOL_BYTES], uint32_t pool_id, uint32_t flags,
                                           uint64_t bytes_max) {
    mfn_ifr_body_put_u32(body, pool_id);
    mfn_ifr_body_put_u32(body + 4, flags);
    mfn_ifr_flow_put_u64(body + 8, bytes_max);
}

/* Writes an IfrRecord; heat and reserved go as zeros. */
static inline void mfn_ifr_flow_write_record(uint8_t body[MFN_IFR_FLOW_RECORD_BYTES], const struct mfn_ifr_flow *record) {
    memcpy(body, record->key, sizeof record->key);
    mfn_ifr_flow_put_u64(body + 32, record->size);
    mfn_ifr_flow_put_u64(body + 40, record->created_ns);
    mfn_ifr_flow_put_u64(body + 48, record->updated_ns);
    mfn_ifr_flow_put_u64(body + 56, record->expires_ns);
    mfn_ifr_flow_put_u64(body + 64, record->reference);
    mfn_ifr_flow_put_u16(body + 72, record->component);
    mfn_ifr_flow_put_u16(body + 74, record->kind);
    body[76] = record->priority;
    memset(body + 77, 0, 3);
}

/* Reads an IfrRecord. Returns MFN_OK or MFN_BAD_BODY. */
static inline int32_t mfn_ifr_flow_read_record(const uint8_t *body, size_t bytes, struct mfn_ifr_flow *record) {
    if (bytes != MFN_IFR_FLOW_RECORD_BYTES || body[76] > MFN_IFR_PRIORITY_MAX || (body[77] | body[78] | body[79]) != 0) {
        return MFN_BAD_BODY;
    }
    memset(record, 0, sizeof *record);
    memcpy(record->key, body, sizeof record->key);
    record->size = mfn_wire_u64(body + 32);
    record->created_ns = mfn_wire_u64(body + 40);
    record->updated_ns = mfn_wire_u64(body + 48);
    record->expires_ns = mfn_wire_u64(body + 56);
    record->reference = mfn_wire_u64(body + 64);
    record->component = mfn_wire_u16(body + 72);
    record->kind = mfn_wire_u16(body + 74);
    record->priority = body[76];
    return MFN_OK;
}

/* Writes an IfrFlowPut. A ttl_ns that is not 0 replaces expires_ns, counted from when the daemon takes it. */
static inline void mfn_ifr_flow_write_put(uint8_t body[MFN_IFR_FLOW_PUT_BYTES], uint32_t pool_id, uint64_t ttl_ns,
                                          const struct mfn_ifr_flow *record) {
    mfn_ifr_body_put_u32(body, pool_id);
    mfn_ifr_body_put_u32(body + 4, 0);
    mfn_ifr_flow_put_u64(body + 8, ttl_ns);
    mfn_ifr_flow_write_record(body + 16, record);
}

/* Writes the body of flow_get and flow_remove. */
static inline void mfn_ifr_flow_write_key(uint8_t body[MFN_IFR_FLOW_KEY_BYTES], uint32_t pool_id,
                                          const uint8_t key[MFN_IFR_BODY_DIGEST_BYTES]) {
    memcpy(mfn_ifr_body_head(body, pool_id, MFN_IFR_KEY_DIGEST), key, MFN_IFR_BODY_DIGEST_BYTES);
}

/* Writes an IfrExpire: 1 to 4,096 looks. */
static inline void mfn_ifr_flow_write_expire(uint8_t body[8], uint32_t pool_id, uint32_t looks) {
    mfn_ifr_body_put_u32(body, pool_id);
    mfn_ifr_body_put_u32(body + 4, looks);
}

/* Writes an IfrRoute. */
static inline void mfn_ifr_flow_write_route(uint8_t body[MFN_IFR_FLOW_KEY_BYTES], uint32_t pool_id, uint16_t kind,
                                            const uint8_t key[MFN_IFR_BODY_DIGEST_BYTES]) {
    mfn_ifr_body_put_u32(body, pool_id);
    mfn_ifr_body_put_u32(body + 4, kind);
    memcpy(body + 8, key, MFN_IFR_BODY_DIGEST_BYTES);
}

/* Writes an IfrLearn. `layer`: MFN_IFR_LAYER_* but none. */
static inline void mfn_ifr_flow_write_learn(uint8_t body[8], uint16_t kind, uint8_t layer, int found) {
    memset(body, 0, 8);
    mfn_ifr_flow_put_u16(body, kind);
    body[2] = layer;
    body[3] = found != 0;
}

/* Reads an IfrDecision. Returns MFN_OK or MFN_BAD_BODY. */
static inline int32_t mfn_ifr_flow_read_decision(const uint8_t *body, size_t bytes, struct mfn_ifr_decision *decision) {
    static const uint8_t none[MFN_IFR_FLOW_RECORD_BYTES] = {0};
    struct mfn_ifr_decision found;
    if (bytes != MFN_IFR_FLOW_DECISION_BYTES || mfn_wire_u32(body + 12) != 0 ||
        mfn_ifr_flow_read_record(body + 16, bytes - 16, &found.record) != MFN_OK) {
        return MFN_BAD_BODY;
    }
    found.outcome = mfn_wire_u32(body);
    found.next_layer = mfn_wire_u32(body + 4);
    found.reserved = 0;
    uint32_t bits = mfn_wire_u32(body + 8);
    memcpy(&found.confidence, &bits, sizeof bits);
    int is_layer = found.next_layer >= MFN_IFR_LAYER_SIMILARITY && found.next_layer <= MFN_IFR_LAYER_PREDICTION;
    int is_whole = 0;
    switch (found.outcome) {
        case MFN_IFR_FOUND_EXACT:
            is_whole = found.next_layer == MFN_IFR_LAYER_NONE;
            break;
        case MFN_IFR_FOUND_PARTIAL:
            is_whole = is_layer;
            break;
        case MFN_IFR_ROUTE_TO_LAYERS:
            is_whole = is_layer && memcmp(body + 16, none, sizeof none) == 0;
            break;
        default:
            break;
    }
    /* What is no number is not in between. */
    if (!is_whole || !(found.confidence >= 0 && found.confidence <= 1)) {
        return MFN_BAD_BODY;
    }
    *decision = found;
    return MFN_OK;
}

/* Reads an IfrPoolStats and skips what a later version appends. Returns MFN_OK or MFN_BAD_BODY. */
static inline int32_t mfn_ifr_flow_read_stats(const uint8_t *body, size_t bytes, struct mfn_ifr_pool_stats *stats) {
    if (bytes < MFN_IFR_FLOW_STATS_BYTES) {
        return MFN_BAD_BODY;
    }
    memset(stats, 0, sizeof *stats);
    stats->struct_size = sizeof *stats;
    stats->records = mfn_wire_u64(body);
    stats->bytes = mfn_wire_u64(body + 8);
    stats->bytes_max = mfn_wire_u64(body + 16);
    stats->evictions = mfn_wire_u64(body + 24);
    stats->expirations = mfn_wire_u64(body + 32);
    return MFN_OK;
}

/* A pool and what it holds. */
struct mfn_ifr_flow_pool {
    uint32_t pool_id;
    uint32_t flags; /* As mfn_ifr_flow_write_pool takes them. */
    uint64_t bytes_max;
    struct mfn_ifr_pool_stats stats;
};

/* Reads how many pools an IfrPools tells of, and how many bytes it has for each. Returns MFN_OK or MFN_BAD_BODY. */
static inline int32_t mfn_ifr_flow_read_pools(const uint8_t *body, size_t bytes, uint32_t *count, uint32_t *entry_bytes) {
    if (bytes < 8 || mfn_wire_u32(body + 4) < MFN_IFR_FLOW_POOL_ENTRY_BYTES ||
        bytes - 8 != (uint64_t)mfn_wire_u32(body) * mfn_wire_u32(body + 4)) {
        return MFN_BAD_BODY;
    }
    *count = mfn_wire_u32(body);
    *entry_bytes = mfn_wire_u32(body + 4);
    return MFN_OK;
}

/* Reads the pool that begins at `entry` and skips what a later version appends. Returns MFN_OK or MFN_BAD_BODY. */
static inline int32_t mfn_ifr_flow_read_pool(const uint8_t *entry, uint32_t entry_bytes, struct mfn_ifr_flow_pool *pool) {
    uint32_t flags = mfn_wire_u32(entry + 4);
    if (flags > MFN_IFR_POOL_REFUSES && flags != (MFN_IFR_POOL_REFUSES | MFN_IFR_POOL_VALUES)) {
        return MFN_BAD_BODY;
    }
    pool->pool_id = mfn_wire_u32(entry);
    pool->flags = flags;
    pool->bytes_max = mfn_wire_u64(entry + 8);
    return mfn_ifr_flow_read_stats(entry + MFN_IFR_FLOW_POOL_BYTES, entry_bytes - MFN_IFR_FLOW_POOL_BYTES, &pool->stats);
}

/* Reads how many records were looked at, and how many of them taken out. Returns MFN_OK or MFN_BAD_BODY. */
static inline int32_t mfn_ifr_flow_read_expired(const uint8_t *body, size_t bytes, uint32_t *looked, uint32_t *expired) {
    if (bytes != MFN_IFR_FLOW_EXPIRED_BYTES || mfn_wire_u64(body + 8) != 0 ||
        mfn_wire_u32(body + 4) > mfn_wire_u32(body)) {
        return MFN_BAD_BODY;
    }
    *looked = mfn_wire_u32(body);
    *expired = mfn_wire_u32(body + 4);
    return MFN_OK;
}

/* ---- Calls. Errors beside those named: those of mfn_pool_call, and MFN_BAD_BODY. ---- */

/* Makes a call. On MFN_OK *reply is the caller's, who frees it. */
static inline int32_t mfn_ifr_flow_call(const struct mfn_ifr_flow_client *client, uint16_t method, const uint8_t *body,
                                        size_t bytes, struct mfn_reply **reply) {
    return mfn_pool_call(client->pool, 0, method, MFN_CONTENT_TYPE_FIXED, body, bytes, client->timeout_ms, reply);
}

/* Makes a call whose answer says nothing. */
static inline int32_t mfn_ifr_flow_tell(const struct mfn_ifr_flow_client *client, uint16_t method, const uint8_t *body,
                                        size_t bytes) {
    struct mfn_reply *reply = NULL;
    int32_t status = mfn_ifr_flow_call(client, method, body, bytes, &reply);
    if (status == MFN_OK) {
        mfn_reply_free(reply);
    }
    return status;
}

/* Makes a call whose answer is a record, or none: *found says which. Both may be NULL. */
static inline int32_t mfn_ifr_flow_ask(const struct mfn_ifr_flow_client *client, uint16_t method, const uint8_t *body,
                                       size_t bytes, struct mfn_ifr_flow *record, uint8_t *found) {
    struct mfn_reply *reply = NULL;
    int32_t status = mfn_ifr_flow_call(client, method, body, bytes, &reply);
    if (status != MFN_OK) {
        return status;
    }
    size_t length = 0;
    const uint8_t *answer = mfn_reply_body(reply, &length);
    struct mfn_ifr_flow read;
    if (length > 0) {
        status = mfn_ifr_flow_read_record(answer, length, &read);
    }
    mfn_reply_free(reply);
    if (status == MFN_OK && found) {
        *found = length > 0;
    }
    if (status == MFN_OK && record && length > 0) {
        *record = read;
    }
    return status;
}

/* Makes a pool of at most bytes_max bytes, at least MFN_IFR_POOL_BYTES_MIN. `flags`: as mfn_ifr_flow_write_pool.
 * Errors: MFN_ALREADY_EXISTS; MFN_LIMIT for a budget that is too small, a pool too many, or over the daemon's own budget. */
static inline int32_t mfn_ifr_flow_pool_add(const struct mfn_ifr_flow_client *client, uint32_t pool_id, uint32_t flags,
                                            uint64_t bytes_max) {
    uint8_t body[MFN_IFR_FLOW_POOL_BYTES];
    mfn_ifr_flow_write_pool(body, pool_id, flags, bytes_max);
    return mfn_ifr_flow_tell(client, MFN_METHOD_IFR_POOL_ADD, body, sizeof body);
}

/* Forgets a pool with all that it holds. Errors: MFN_NOT_FOUND. */
static inline int32_t mfn_ifr_flow_pool_drop(const struct mfn_ifr_flow_client *client, uint32_t pool_id) {
    uint8_t body[MFN_IFR_FLOW_POOL_BYTES];
    mfn_ifr_flow_write_pool(body, pool_id, 0, 0);
    return mfn_ifr_flow_tell(client, MFN_METHOD_IFR_POOL_DROP, body, sizeof body);
}

/* Reads what a pool holds. Errors: MFN_NOT_FOUND. */
static inline int32_t mfn_ifr_flow_pool_stats(const struct mfn_ifr_flow_client *client, uint32_t pool_id,
                                              struct mfn_ifr_pool_stats *stats) {
    uint8_t body[MFN_IFR_FLOW_POOL_BYTES];
    mfn_ifr_flow_write_pool(body, pool_id, 0, 0);
    struct mfn_reply *reply = NULL;
    int32_t status = mfn_ifr_flow_call(client, MFN_METHOD_IFR_POOL_STATS, body, sizeof body, &reply);
    if (status == MFN_OK) {
        size_t length = 0;
        const uint8_t *answer = mfn_reply_body(reply, &length);
        status = mfn_ifr_flow_read_stats(answer, length, stats);
        mfn_reply_free(reply);
    }
    return status;
}

/* Reads what every pool holds, in no order: at most `room` of them go to `pools`; *count becomes how many there are. More than
 * `room`: call again with more. */
static inline int32_t mfn_ifr_flow_pools(const struct mfn_ifr_flow_client *client, struct mfn_ifr_flow_pool *pools, size_t room,
                                         uint32_t *count) {
    struct mfn_reply *reply = NULL;
    int32_t status = mfn_ifr_flow_call(client, MFN_METHOD_IFR_POOLS, NULL, 0, &reply);
    if (status != MFN_OK) {
        return status;
    }
    size_t length = 0;
    const uint8_t *answer = mfn_reply_body(reply, &length);
    uint32_t found = 0, entry_bytes = 0;
    status = mfn_ifr_flow_read_pools(answer, length, &found, &entry_bytes);
    for (size_t at = 0; status == MFN_OK && at < found && at < room; at++) {
        status = mfn_ifr_flow_read_pool(answer + 8 + at * entry_bytes, entry_bytes, pools + at);
    }
    mfn_reply_free(reply);
    if (status == MFN_OK) {
        *count = found;
    }
    return status;
}

/* Makes a call about a key in a pool of values. `kind`: MFN_IFR_KEY_*; a key of MFN_IFR_KEY_DIGEST has 32 bytes, another at most
 * MFN_WIRE_IFR_KEY_BYTES_MAX. `put`: 16 bytes for a put, else NULL. *found says whether there was a value, which `value` becomes;
 * both may be NULL. `body` has room for 24 bytes and the key. */
static inline int32_t mfn_ifr_value_ask(const struct mfn_ifr_flow_client *client, uint16_t method, uint8_t *body,
                                        uint32_t pool_id, uint8_t kind, const uint8_t *key, size_t key_bytes,
                                        const uint8_t *put, uint8_t *value, uint8_t *found) {
    uint8_t *at = mfn_ifr_body_head(body, pool_id, kind);
    if (put) {
        memcpy(at, put, MFN_IFR_BODY_VALUE_BYTES);
        at += MFN_IFR_BODY_VALUE_BYTES;
    }
    if (key_bytes > 0) {
        memcpy(at, key, key_bytes);
        at += key_bytes;
    }
    struct mfn_reply *reply = NULL;
    int32_t status = mfn_ifr_flow_call(client, method, body, (size_t)(at - body), &reply);
    if (status != MFN_OK) {
        return status;
    }
    size_t length = 0;
    const uint8_t *answer = mfn_reply_body(reply, &length);
    if (length != 0 && length != MFN_IFR_BODY_VALUE_BYTES) {
        status = MFN_BAD_BODY;
    } else {
        if (found) {
            *found = length > 0;
        }
        if (value && length > 0) {
            memcpy(value, answer, MFN_IFR_BODY_VALUE_BYTES);
        }
    }
    mfn_reply_free(reply);
    return status;
}

/* Reads the value of a digest in a pool of values; *found says whether there is one. Errors: MFN_NOT_FOUND without such a pool.
 * For byte keys: mfn_ifr_value_ask. */
static inline int32_t mfn_ifr_value_get(const struct mfn_ifr_flow_client *client, uint32_t pool_id, const uint8_t *key,
                                        uint8_t *value, uint8_t *found) {
    uint8_t body[MFN_IFR_FLOW_KEY_BYTES];
    return mfn_ifr_value_ask(client, MFN_METHOD_IFR_GET, body, pool_id, MFN_IFR_KEY_DIGEST, key, MFN_IFR_BODY_DIGEST_BYTES, NULL,
                             value, found);
}

/* Sets the value of a digest; *replaced says whether there was one, which `old` becomes; both may be NULL. Errors: as
 * mfn_ifr_value_get, and MFN_LIMIT from a pool that is full. */
static inline int32_t mfn_ifr_value_put(const struct mfn_ifr_flow_client *client, uint32_t pool_id, const uint8_t *key,
                                        const uint8_t *value, uint8_t *old, uint8_t *replaced) {
    uint8_t body[MFN_IFR_FLOW_KEY_BYTES + MFN_IFR_BODY_VALUE_BYTES];
    return mfn_ifr_value_ask(client, MFN_METHOD_IFR_PUT, body, pool_id, MFN_IFR_KEY_DIGEST, key, MFN_IFR_BODY_DIGEST_BYTES, value,
                             old, replaced);
}

/* Forgets a digest, whose value `old` becomes, if *found. Errors: as mfn_ifr_value_get. */
static inline int32_t mfn_ifr_value_remove(const struct mfn_ifr_flow_client *client, uint32_t pool_id, const uint8_t *key,
                                           uint8_t *old, uint8_t *found) {
    uint8_t body[MFN_IFR_FLOW_KEY_BYTES];
    return mfn_ifr_value_ask(client, MFN_METHOD_IFR_REMOVE, body, pool_id, MFN_IFR_KEY_DIGEST, key, MFN_IFR_BODY_DIGEST_BYTES,
                             NULL, old, found);
}

/* Sets the record of a digest, which lives for ttl_ns from now on, or, if that is 0, until its expires_ns. *replaced says
 * whether there was one, which *old becomes; both may be NULL. Errors: MFN_NOT_FOUND without such a pool; MFN_LIMIT from one
 * that refuses; MFN_INVALID_ARGUMENT for a priority over 7. */
static inline int32_t mfn_ifr_flow_put(const struct mfn_ifr_flow_client *client, uint32_t pool_id, uint64_t ttl_ns,
                                       const struct mfn_ifr_flow *record, struct mfn_ifr_flow *old, uint8_t *replaced) {
    uint8_t body[MFN_IFR_FLOW_PUT_BYTES];
    mfn_ifr_flow_write_put(body, pool_id, ttl_ns, record);
    return mfn_ifr_flow_ask(client, MFN_METHOD_IFR_FLOW_PUT, body, sizeof body, old, replaced);
}

/* Reads the live record of a digest, which keeps it longer. *found says whether there is one. Errors: MFN_NOT_FOUND without
 * such a pool. */
static inline int32_t mfn_ifr_flow_get(const struct mfn_ifr_flow_client *client, uint32_t pool_id, const uint8_t *key,
                                       struct mfn_ifr_flow *record, uint8_t *found) {
    uint8_t body[MFN_IFR_FLOW_KEY_BYTES];
    mfn_ifr_flow_write_key(body, pool_id, key);
    return mfn_ifr_flow_ask(client, MFN_METHOD_IFR_FLOW_GET, body, sizeof body, record, found);
}

/* Forgets a digest, whose record *old becomes, expired or not, if *found. Errors: MFN_NOT_FOUND without such a pool. */
static inline int32_t mfn_ifr_flow_remove(const struct mfn_ifr_flow_client *client, uint32_t pool_id, const uint8_t *key,
                                          struct mfn_ifr_flow *old, uint8_t *found) {
    uint8_t body[MFN_IFR_FLOW_KEY_BYTES];
    mfn_ifr_flow_write_key(body, pool_id, key);
    return mfn_ifr_flow_ask(client, MFN_METHOD_IFR_FLOW_REMOVE, body, sizeof body, old, found);
}

/* Takes out what has expired among the next `looks` records of a pool, 1 to 4,096; *expired becomes how many. The next call
 * goes on from there. Errors: MFN_NOT_FOUND; MFN_LIMIT for another number of looks. */
static inline int32_t mfn_ifr_flow_expire(const struct mfn_ifr_flow_client *client, uint32_t pool_id, uint32_t looks,
                                          uint32_t *expired) {
    uint8_t body[8];
    mfn_ifr_flow_write_expire(body, pool_id, looks);
    struct mfn_reply *reply = NULL;
    int32_t status = mfn_ifr_flow_call(client, MFN_METHOD_IFR_FLOW_EXPIRE, body, sizeof body, &reply);
    if (status == MFN_OK) {
        size_t length = 0;
        const uint8_t *answer = mfn_reply_body(reply, &length);
        uint32_t looked;
        status = mfn_ifr_flow_read_expired(answer, length, &looked, expired);
        mfn_reply_free(reply);
    }
    return status;
}

/* Says what to do about a key of some kind: use the record that is here, or ask a layer. Errors: MFN_NOT_FOUND without such a
 * pool. */
static inline int32_t mfn_ifr_flow_route(const struct mfn_ifr_flow_client *client, uint32_t pool_id, const uint8_t *key,
                                         uint16_t kind, struct mfn_ifr_decision *decision) {
    uint8_t body[MFN_IFR_FLOW_KEY_BYTES];
    mfn_ifr_flow_write_route(body, pool_id, kind, key);
    struct mfn_reply *reply = NULL;
    int32_t status = mfn_ifr_flow_call(client, MFN_METHOD_IFR_FLOW_ROUTE, body, sizeof body, &reply);
    if (status == MFN_OK) {
        size_t length = 0;
        const uint8_t *answer = mfn_reply_body(reply, &length);
        status = mfn_ifr_flow_read_decision(answer, length, decision);
        mfn_reply_free(reply);
    }
    return status;
}

/* Tells whether a layer that was asked for a key of some kind had an answer. `layer`: MFN_IFR_LAYER_* but none. */
static inline int32_t mfn_ifr_flow_learn(const struct mfn_ifr_flow_client *client, uint16_t kind, uint8_t layer, int found) {
    uint8_t body[8];
    mfn_ifr_flow_write_learn(body, kind, layer, found);
    return mfn_ifr_flow_tell(client, MFN_METHOD_IFR_FLOW_LEARN, body, sizeof body);
}

#ifdef __cplusplus
}
#endif

#endif
