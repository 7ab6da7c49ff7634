/* Look-ups of digests without a call, for loops that look up one key at a time. C11 and C++17, gcc and clang.
 *
 *     struct mfn_ifr_view view = MFN_IFR_VIEW_INIT;
 *     if (mfn_ifr_view_read(ifr, &view) != MFN_OK || view.layout != MFN_IFR_LAYOUT) return 1;
 *     int32_t status = mfn_ifr_get_inline(ifr, &view, key, value);
 *
 * Answers what mfn_ifr_get answers, beside a writer as well; only of a registry that MFN_PANIC has poisoned it may say
 * MFN_NOT_FOUND. Nearly always the cache line that the hash leads to decides, and the writer is elsewhere; else this calls
 * mfn_ifr_get. For many keys at once mfn_ifr_get_many is faster.
 *
 * The layout, MFN_IFR_LAYOUT 2; all numbers are little-endian, and nothing here is written by readers:
 * - The head's `way`, but for its low 6 bits, is the address of an array of places; the hash shifted right by these bits is an
 *   index of it. A place is the address of a segment, a multiple of 8192.
 * - A segment's entries begin 8192 bytes behind its place: 32 bytes of key, 16 of value. Its index lies before them, in lines of
 *   32 bytes: 8 tags, 8 links, 16 bits each. The line of a hash is at (hash << 5 & 0x1fe0 | floor), and the line with bit 5
 *   of that turned over, in the same cache line, is the next one of a probe.
 * - A tag is hash >> 16 | 0x8000 of an entry, 0 of a slot that was never full, or 1. A link is the place of the entry in
 *   units of 8 bytes behind the first. A line with a tag of 0 ends a probe.
 * - The hash: to each of the key's 16 signed words of 16 bits the secret word is added; the eight of the first half are multiplied
 *   by those of the second, and neighbours added, which makes four words of 32 bits, as pmaddwd does. The first two, low one
 *   first, are a word of 64 bits, the others the second. The first is multiplied by the exclusive or of both, and the halves of
 *   the product are combined by exclusive or.
 *
 * Order, beside a writer: the writer makes `sequence` odd before it changes anything but the adding of an entry, and even
 * again, with release, after. It writes an entry and its link before it stores the tag with release. A reader loads
 * the sequence with acquire, reads, and looks after a fence whether the sequence is still that: then all it read was whole.
 * Before it knows it may have read rubbish, but nothing outside of the registry's memory: segments are never
 * unmapped while the registry lives, and behind the last one lies as much as a link can name. Words are loaded as one: a writer's
 * store is seen whole or not at all. */
#ifndef MFN_IFR_INLINE_H
#define MFN_IFR_INLINE_H

#include <string.h>

#include "ifr.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__SSE2__)
typedef uint16_t mfn_ifr_inline_tags __attribute__((vector_size(16), may_alias));
typedef char mfn_ifr_inline_bytes __attribute__((vector_size(16)));
typedef short mfn_ifr_inline_words __attribute__((vector_size(16)));
typedef int mfn_ifr_inline_sums __attribute__((vector_size(16)));
#endif
__extension__ typedef unsigned __int128 mfn_ifr_inline_product;

/* A set of the slots of a line whose tag is `tag`: two bits each. */
static inline uint32_t mfn_ifr_inline_slots(const uint16_t *line, uint16_t tag) {
#if defined(__SSE2__)
    /* One load of aligned 16 bytes: no tag is torn, and x86-64 lets no later load pass it; the fence is for the compiler. */
    mfn_ifr_inline_tags tags = *(const mfn_ifr_inline_tags *)(const void *)line;
    __atomic_signal_fence(__ATOMIC_ACQUIRE);
    mfn_ifr_inline_tags wanted = {tag, tag, tag, tag, tag, tag, tag, tag};
    return (uint32_t)__builtin_ia32_pmovmskb128((mfn_ifr_inline_bytes)(tags == wanted));
#else
    uint32_t slots = 0;
    for (unsigned slot = 0; slot < 8; slot++) {
        if (__atomic_load_n(line + slot, __ATOMIC_ACQUIRE) == tag) slots |= 3u << (2 * slot);
    }
    return slots;
#endif
}

/* Loads `words` words of 8 bytes, each whole. */
static inline void mfn_ifr_inline_load(const uint8_t *from, uint64_t *to, unsigned words) {
    for (unsigned at = 0; at < words; at++) {
        to[at] = __atomic_load_n((const uint64_t *)(const void *)(from + 8 * at), __ATOMIC_RELAXED);
    }
}

static inline uint64_t mfn_ifr_inline_hash(const struct mfn_ifr_view *view, const uint8_t *key) {
    uint64_t sums[2];
#if defined(__SSE2__)
    mfn_ifr_inline_tags asked[2], secret[2];
    memcpy(asked, key, sizeof asked);
    memcpy(secret, view->hash_words, sizeof secret);
    asked[0] += secret[0];
    asked[1] += secret[1];
    mfn_ifr_inline_sums added = __builtin_ia32_pmaddwd128((mfn_ifr_inline_words)asked[0], (mfn_ifr_inline_words)asked[1]);
    memcpy(sums, &added, sizeof sums);
#else
    for (unsigned at = 0; at < 2; at++) {
        uint32_t added[2] = {0, 0};
        for (unsigned word = 0; word < 4; word++) {
            uint16_t left, right;
            memcpy(&left, key + 8 * at + 2 * word, 2);
            memcpy(&right, key + 16 + 8 * at + 2 * word, 2);
            left = (uint16_t)(left + view->hash_words[4 * at + word]);
            right = (uint16_t)(right + view->hash_words[8 + 4 * at + word]);
            added[word / 2] += (uint32_t)((int32_t)(int16_t)left * (int32_t)(int16_t)right);
        }
        sums[at] = (uint64_t)added[1] << 32 | added[0];
    }
#endif
    mfn_ifr_inline_product product = (mfn_ifr_inline_product)sums[0] * (sums[0] ^ sums[1]);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Reads the value of a digest into `value` (16 bytes). `view` is that of `ifr`, of this header's layout.
 * Returns: as mfn_ifr_get.
 * Thread: beside a writer. */
static inline int32_t mfn_ifr_get_inline(const struct mfn_ifr *ifr, const struct mfn_ifr_view *view, const uint8_t *key,
                                         uint8_t *value) {
    const struct mfn_ifr_head *head = view->head;
    uint64_t entered = __atomic_load_n(&head->sequence, __ATOMIC_ACQUIRE);
    if (entered % 2 != 0) return mfn_ifr_get(ifr, key, value);
    uint64_t hash = mfn_ifr_inline_hash(view, key);
    uint64_t way = __atomic_load_n(&head->way, __ATOMIC_ACQUIRE);
    uint64_t floor = __atomic_load_n(&head->floor, __ATOMIC_RELAXED);
    const uint64_t *places = (const uint64_t *)(uintptr_t)(way & ~(uint64_t)63);
    uint64_t place = __atomic_load_n(places + (hash >> (way & 63)), __ATOMIC_ACQUIRE);
    uint64_t address = place + ((hash << 5 & 0x1fe0) | floor);
    uint16_t tag = (uint16_t)(hash >> 16 | 0x8000);
    for (unsigned step = 0; step < 2; step++, address ^= 32) {
        const uint16_t *line = (const uint16_t *)(uintptr_t)address;
        for (uint32_t slots = mfn_ifr_inline_slots(line, tag); slots; slots &= slots - 1, slots &= slots - 1) {
            unsigned slot = (unsigned)__builtin_ctz(slots) / 2;
            uint64_t link = __atomic_load_n(line + 8 + slot, __ATOMIC_RELAXED);
            const uint8_t *entry = (const uint8_t *)(uintptr_t)(place + 8192 + link * 8);
            uint64_t found[6];
            mfn_ifr_inline_load(entry, found, 6);
            if (memcmp(found, key, MFN_IFR_DIGEST_BYTES) != 0) continue;
            __atomic_thread_fence(__ATOMIC_ACQUIRE);
            if (__atomic_load_n(&head->sequence, __ATOMIC_RELAXED) != entered) return mfn_ifr_get(ifr, key, value);
            memcpy(value, found + 4, MFN_IFR_VALUE_BYTES);
            return MFN_OK;
        }
        if (mfn_ifr_inline_slots(line, 0)) {
            __atomic_thread_fence(__ATOMIC_ACQUIRE);
            if (__atomic_load_n(&head->sequence, __ATOMIC_RELAXED) != entered) break;
            return MFN_NOT_FOUND;
        }
    }
    return mfn_ifr_get(ifr, key, value);
}

#ifdef __cplusplus
}
#endif

#endif
