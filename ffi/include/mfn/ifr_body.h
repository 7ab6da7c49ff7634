/* The fixed bodies of the ifr service, written and read in place: docs/PROTOCOL.md, "Bodies of ifr". Header only, C11 and
 * C++17. For use with mfn/client.h: a body made here, MFN_METHOD_IFR_* and MFN_CONTENT_TYPE_FIXED make a call.
 *
 * Nothing is allocated and nothing is kept. All functions are safe to call from any thread. */
#ifndef MFN_IFR_BODY_H
#define MFN_IFR_BODY_H

#include "wire.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MFN_IFR_BODY_DIGEST_BYTES 32u
#define MFN_IFR_BODY_VALUE_BYTES 16u
/* Pool, kind of key, zeros. */
#define MFN_IFR_BODY_HEAD_BYTES 8u
/* The same, the count of keys, zeros. */
#define MFN_IFR_BODY_BATCH_HEAD_BYTES 16u

static inline void mfn_ifr_body_put_u32(uint8_t *at, uint32_t number) {
    for (int byte = 0; byte < 4; byte++) {
        at[byte] = (uint8_t)(number >> (8 * byte));
    }
}

/* Writes the head of a body of one key. Kind is MFN_IFR_KEY_*. Returns where the key goes, and the value before it in a
 * put. */
static inline uint8_t *mfn_ifr_body_head(uint8_t *body, uint32_t pool_id, uint8_t kind) {
    memset(body, 0, MFN_IFR_BODY_HEAD_BYTES);
    mfn_ifr_body_put_u32(body, pool_id);
    body[4] = kind;
    return body + MFN_IFR_BODY_HEAD_BYTES;
}

/* Writes the head of a batch of 1 to MFN_WIRE_IFR_BATCH_KEYS_MAX keys. Returns where the first item goes. */
static inline uint8_t *mfn_ifr_body_batch(uint8_t *body, uint32_t pool_id, uint8_t kind, uint32_t count) {
    mfn_ifr_body_head(body, pool_id, kind);
    mfn_ifr_body_put_u32(body + 8, count);
    mfn_ifr_body_put_u32(body + 12, 0);
    return body + MFN_IFR_BODY_BATCH_HEAD_BYTES;
}

/* The answer to a batch of keys. */
struct mfn_ifr_body_found {
    uint32_t count;
    uint32_t found;
    const uint8_t *bits;
    /* 16 bytes per key, zeros where it is absent; NULL in answers without values. */
    const uint8_t *values;
};

/* Reads the answer to a batch of so many keys; with_values for get_many. Returns MFN_OK or MFN_BAD_BODY. */
static inline int32_t mfn_ifr_body_read_found(const uint8_t *body, size_t bytes, uint32_t count, int with_values,
                                              struct mfn_ifr_body_found *found) {
    size_t bits = ((size_t)count + 63) / 64 * 8;
    size_t values = with_values ? (size_t)count * MFN_IFR_BODY_VALUE_BYTES : 0;
    if (bytes != 8 + bits + values || mfn_wire_u32(body) != count) {
        return MFN_BAD_BODY;
    }
    found->count = count;
    found->found = mfn_wire_u32(body + 4);
    found->bits = body + 8;
    found->values = with_values ? body + 8 + bits : NULL;
    return MFN_OK;
}

/* Whether the key of that index was found. */
static inline int mfn_ifr_body_is_found(const struct mfn_ifr_body_found *found, uint32_t index) {
    return index < found->count && ((found->bits[index / 8] >> (index % 8)) & 1) != 0;
}

#ifdef __cplusplus
}
#endif

#endif
