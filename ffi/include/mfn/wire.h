/* Reads frames of the local wire; the specification is docs/PROTOCOL.md. Header only, C11 and C++17.
 *
 * Nothing is allocated and nothing is kept: a frame points into the bytes that it was read from. All functions are safe
 * to call from any thread and on any bytes. */
#ifndef MFN_WIRE_H
#define MFN_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "protocol.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One decoded frame. */
struct mfn_wire_frame {
    uint8_t kind;
    uint8_t service;
    uint8_t content_type;
    uint16_t method;
    /* MFN_FLAG_*; MFN_FLAG_TLV stays set. */
    uint16_t flags;
    int32_t status;
    uint64_t request_id;
    /* CLOCK_MONOTONIC nanoseconds; 0 is none. */
    uint64_t deadline_ns;
    uint8_t trace_id[16];
    uint8_t span_id[8];
    uint32_t credit;
    /* The TLV area without its length; NULL if there is none. Walk it with mfn_wire_next_tlv. */
    const uint8_t *tlv;
    size_t tlv_bytes;
    const uint8_t *body;
    size_t body_bytes;
};

/* One entry of a TLV area. */
struct mfn_wire_tlv {
    uint16_t type;
    uint16_t value_bytes;
    const uint8_t *value;
};

static inline uint16_t mfn_wire_u16(const uint8_t *at) { return (uint16_t)(at[0] | (at[1] << 8)); }

static inline uint32_t mfn_wire_u32(const uint8_t *at) {
    return (uint32_t)mfn_wire_u16(at) | ((uint32_t)mfn_wire_u16(at + 2) << 16);
}

static inline uint64_t mfn_wire_u64(const uint8_t *at) {
    return (uint64_t)mfn_wire_u32(at) | ((uint64_t)mfn_wire_u32(at + 4) << 32);
}

/* Takes the next entry off an area that mfn_wire_decode has checked. Returns 1, or 0 at the end. */
static inline int mfn_wire_next_tlv(const uint8_t **area, size_t *bytes, struct mfn_wire_tlv *entry) {
    if (*bytes < 4 || *bytes - 4 < mfn_wire_u16(*area + 2)) {
        return 0;
    }
    entry->type = mfn_wire_u16(*area);
    entry->value_bytes = mfn_wire_u16(*area + 2);
    entry->value = *area + 4;
    *area += 4 + (size_t)entry->value_bytes;
    *bytes -= 4 + (size_t)entry->value_bytes;
    return 1;
}

/* Whether the bytes are UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF. */
static inline int mfn_wire_is_utf8(const uint8_t *text, size_t bytes) {
    size_t at = 0;
    while (at < bytes) {
        uint8_t first = text[at];
        size_t more;
        uint8_t low = 0x80, high = 0xbf;
        if (first < 0x80) {
            at += 1;
            continue;
        } else if (first >= 0xc2 && first <= 0xdf) {
            more = 1;
        } else if (first >= 0xe0 && first <= 0xef) {
            more = 2;
            low = first == 0xe0 ? 0xa0 : 0x80;
            high = first == 0xed ? 0x9f : 0xbf;
        } else if (first >= 0xf0 && first <= 0xf4) {
            more = 3;
            low = first == 0xf0 ? 0x90 : 0x80;
            high = first == 0xf4 ? 0x8f : 0xbf;
        } else {
            return 0;
        }
        if (bytes - at <= more || text[at + 1] < low || text[at + 1] > high) {
            return 0;
        }
        for (size_t next = 2; next <= more; next++) {
            if ((text[at + next] & 0xc0) != 0x80) {
                return 0;
            }
        }
        at += 1 + more;
    }
    return 1;
}

/* How many bytes the frame at the start of a buffer takes, its length prefix included: MFN_OK and *total. *total is 0
 * while fewer than 4 bytes are there. An error: close the connection. */
static inline int32_t mfn_wire_frame_length(const uint8_t *bytes, size_t count, size_t *total) {
    *total = 0;
    if (count < MFN_WIRE_LENGTH_BYTES) {
        return MFN_OK;
    }
    uint32_t length = mfn_wire_u32(bytes);
    if (length > MFN_WIRE_FRAME_BYTES_MAX) {
        return MFN_FRAME_TOO_LARGE;
    }
    if (length < MFN_WIRE_HEADER_BYTES) {
        return MFN_FRAME_SHORT;
    }
    *total = MFN_WIRE_LENGTH_BYTES + (size_t)length;
    return MFN_OK;
}

/* The rules between the fields of a header. */
static inline int32_t mfn_wire_check_header(const struct mfn_wire_frame *frame) {
    int is_error = frame->kind == MFN_KIND_ERROR;
    if (is_error != (frame->status < 0) || frame->status > 0) {
        return MFN_BAD_STATUS;
    }
    int of_connection = frame->kind == MFN_KIND_HELLO || frame->kind == MFN_KIND_GOAWAY;
    if (!is_error && of_connection != (frame->request_id == 0)) {
        return MFN_BAD_REQUEST_ID;
    }
    int may_have = frame->kind == MFN_KIND_REQUEST || frame->kind == MFN_KIND_CREDIT;
    if (frame->credit > (may_have ? MFN_WIRE_CREDIT_MAX : 0) || (frame->kind == MFN_KIND_CREDIT && frame->credit == 0)) {
        return MFN_BAD_CREDIT;
    }
    return MFN_OK;
}

/* Checks that entries fill the area and that known ones have their form; *texts says whether texts are UTF-8. */
static inline int32_t mfn_wire_check_tlv(const uint8_t *area, size_t bytes, int *texts) {
    struct mfn_wire_tlv entry;
    while (mfn_wire_next_tlv(&area, &bytes, &entry)) {
        if ((entry.type == MFN_TLV_FEATURES && entry.value_bytes != 8) ||
            (entry.type == MFN_TLV_LIMITS && entry.value_bytes != 12)) {
            return MFN_BAD_TLV;
        }
        if (entry.type == MFN_TLV_SOFTWARE && !mfn_wire_is_utf8(entry.value, entry.value_bytes)) {
            *texts = 0;
        }
    }
    return bytes == 0 ? MFN_OK : MFN_BAD_TLV;
}

/* Reads one whole frame, its length prefix included; nothing may follow it. On an error *frame is not to be used. */
static inline int32_t mfn_wire_decode(const uint8_t *bytes, size_t count, struct mfn_wire_frame *frame) {
    size_t total;
    int32_t status = mfn_wire_frame_length(bytes, count, &total);
    if (status != MFN_OK) {
        return status;
    }
    if (total == 0) {
        return MFN_FRAME_SHORT;
    }
    if (count != total) {
        return MFN_FRAME_LENGTH;
    }
    const uint8_t *at = bytes + MFN_WIRE_LENGTH_BYTES;
    memset(frame, 0, sizeof *frame);
    frame->kind = at[1];
    frame->service = at[2];
    frame->content_type = at[3];
    frame->method = mfn_wire_u16(at + 4);
    frame->flags = mfn_wire_u16(at + 6);
    frame->status = (int32_t)mfn_wire_u32(at + 8);
    frame->request_id = mfn_wire_u64(at + 12);
    frame->deadline_ns = mfn_wire_u64(at + 20);
    memcpy(frame->trace_id, at + 28, sizeof frame->trace_id);
    memcpy(frame->span_id, at + 44, sizeof frame->span_id);
    frame->credit = mfn_wire_u32(at + 52);
    frame->body = at + MFN_WIRE_HEADER_BYTES;
    frame->body_bytes = count - MFN_WIRE_LENGTH_BYTES - MFN_WIRE_HEADER_BYTES;
    if (at[0] != MFN_WIRE_VERSION) {
        return MFN_BAD_VERSION;
    }
    if (frame->kind < MFN_KIND_HELLO || frame->kind > MFN_KIND_GOAWAY) {
        return MFN_BAD_KIND;
    }
    if (frame->service < MFN_SERVICE_TRANSPORT || frame->service > MFN_SERVICE_CPE) {
        return MFN_BAD_SERVICE;
    }
    if (frame->content_type > MFN_CONTENT_TYPE_TEXT) {
        return MFN_BAD_CONTENT_TYPE;
    }
    if ((frame->flags & ~(MFN_FLAG_TLV | MFN_FLAG_SAMPLED)) != 0) {
        return MFN_BAD_FLAGS;
    }
    status = mfn_wire_check_header(frame);
    if (status != MFN_OK) {
        return status;
    }
    int texts = 1;
    if (frame->flags & MFN_FLAG_TLV) {
        size_t area = frame->body_bytes < 4 ? SIZE_MAX : mfn_wire_u32(frame->body);
        if (frame->body_bytes < 4 || area > MFN_WIRE_TLV_AREA_BYTES_MAX || area > frame->body_bytes - 4) {
            return MFN_BAD_TLV;
        }
        frame->tlv = frame->body + 4;
        frame->tlv_bytes = area;
        frame->body += 4 + area;
        frame->body_bytes -= 4 + area;
        status = mfn_wire_check_tlv(frame->tlv, frame->tlv_bytes, &texts);
        if (status != MFN_OK) {
            return status;
        }
    }
    if (frame->content_type == MFN_CONTENT_TYPE_NONE && frame->body_bytes != 0) {
        return MFN_BAD_CONTENT_TYPE;
    }
    if (!texts || (frame->content_type == MFN_CONTENT_TYPE_TEXT && !mfn_wire_is_utf8(frame->body, frame->body_bytes))) {
        return MFN_BAD_UTF8;
    }
    return MFN_OK;
}

#ifdef __cplusplus
}
#endif

#endif
