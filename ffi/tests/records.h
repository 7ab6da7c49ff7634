/* The commands of conformance.c about pools of records: the words of integration/conformance/README.md. */
#ifndef MFN_TESTS_RECORDS_H
#define MFN_TESTS_RECORDS_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mfn/ifr_flow.h"

#define PATIENCE_MS 10000
#define RECORD_WORDS 9

static uint64_t records_number(const char *word) { return strtoull(word, NULL, 10); }

static size_t records_unhex(const char *text, uint8_t *bytes, size_t room) {
    size_t count = strcmp(text, "-") == 0 ? 0 : strlen(text) / 2;
    if (count > room) {
        abort();
    }
    for (size_t at = 0; at < count; at++) {
        char digits[3] = {text[2 * at], text[2 * at + 1], 0};
        bytes[at] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return count;
}

static struct mfn_ifr_flow records_of(char **words) {
    struct mfn_ifr_flow record;
    memset(&record, 0, sizeof record);
    records_unhex(words[0], record.key, sizeof record.key);
    record.size = records_number(words[1]);
    record.created_ns = records_number(words[2]);
    record.updated_ns = records_number(words[3]);
    record.expires_ns = records_number(words[4]);
    record.reference = records_number(words[5]);
    record.component = (uint16_t)records_number(words[6]);
    record.kind = (uint16_t)records_number(words[7]);
    record.priority = (uint8_t)records_number(words[8]);
    return record;
}

static void records_hex(char *out, const uint8_t *bytes, size_t count) {
    for (size_t at = 0; at < count; at++) {
        snprintf(out + 2 * at, 3, "%02x", bytes[at]);
    }
}

static void records_words(char out[400], const struct mfn_ifr_flow *record) {
    char key[2 * MFN_IFR_DIGEST_BYTES + 1];
    records_hex(key, record->key, sizeof record->key);
    snprintf(out, 400, "%s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %u %u %u", key, record->size,
             record->created_ns, record->updated_ns, record->expires_ns, record->reference, record->component, record->kind,
             record->priority);
}

static uint32_t records_bits(float confidence) {
    uint32_t bits;
    memcpy(&bits, &confidence, sizeof bits);
    return bits;
}

static void records_found(const struct mfn_ifr_flow *record, uint8_t found) {
    char text[400];
    if (!found) {
        puts("none");
        return;
    }
    records_words(text, record);
    printf("record %s\n", text);
}

static void records_valued(const uint8_t value[16], uint8_t found) {
    char text[33];
    if (!found) {
        puts("none");
        return;
    }
    records_hex(text, value, 16);
    printf("value %s\n", text);
}

#define RECORDS_POOLS_MAX 8

static int records_by_id(const void *left, const void *right) {
    uint32_t one = ((const struct mfn_ifr_flow_pool *)left)->pool_id;
    uint32_t other = ((const struct mfn_ifr_flow_pool *)right)->pool_id;
    return (one > other) - (one < other);
}

/* In the order of their numbers. */
static void records_pools(struct mfn_ifr_flow_pool *pools, size_t count, char out[600]) {
    size_t used = 0;
    qsort(pools, count, sizeof *pools, records_by_id);
    out[0] = 0;
    for (size_t at = 0; at < count && used < 600; at++) {
        const struct mfn_ifr_pool_stats *stats = &pools[at].stats;
        used += (size_t)snprintf(out + used, 600 - used,
                                 "%s%u %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, at > 0 ? " " : "",
                                 pools[at].pool_id, pools[at].flags, pools[at].bytes_max, stats->records, stats->bytes,
                                 stats->bytes_max, stats->evictions, stats->expirations);
    }
}

/* put, get or remove of a key in a pool of values: POOL KIND KEY [VALUE]. */
static int32_t records_value(const struct mfn_ifr_flow_client *client, const char *verb, char **words, size_t count) {
    uint8_t key[256], body[24 + 256], given[16], value[16], found = 0;
    size_t key_bytes = records_unhex(words[2], key, sizeof key);
    uint32_t pool_id = (uint32_t)records_number(words[0]);
    uint8_t kind = (uint8_t)records_number(words[1]);
    int is_put = strcmp(verb, "value_put") == 0 && count == 4;
    int is_get = strcmp(verb, "value_get") == 0;
    int32_t status;
    if (is_put) {
        records_unhex(words[3], given, sizeof given);
    }
    if (kind == MFN_IFR_KEY_DIGEST && is_put) {
        status = mfn_ifr_value_put(client, pool_id, key, given, value, &found);
    } else if (kind == MFN_IFR_KEY_DIGEST) {
        status = is_get ? mfn_ifr_value_get(client, pool_id, key, value, &found)
                        : mfn_ifr_value_remove(client, pool_id, key, value, &found);
    } else {
        uint16_t method = is_put ? MFN_METHOD_IFR_PUT : is_get ? MFN_METHOD_IFR_GET : MFN_METHOD_IFR_REMOVE;
        status = mfn_ifr_value_ask(client, method, body, pool_id, kind, key, key_bytes, is_put ? given : NULL, value, &found);
    }
    if (status == MFN_OK) {
        records_valued(value, found);
    }
    return status;
}

static void records_decided(const struct mfn_ifr_decision *decision) {
    char text[400];
    uint32_t confidence = records_bits(decision->confidence);
    records_words(text, &decision->record);
    if (decision->outcome == MFN_IFR_FOUND_EXACT) {
        printf("exact %s\n", text);
    } else if (decision->outcome == MFN_IFR_FOUND_PARTIAL) {
        printf("partial %u %u %s\n", decision->next_layer, confidence, text);
    } else {
        printf("route %u %u\n", decision->next_layer, confidence);
    }
}

static void records_fill(const struct mfn_ifr_flow_client *client, uint32_t pool_id, uint64_t count) {
    struct mfn_ifr_flow record;
    memset(&record, 0, sizeof record);
    for (uint64_t number = 0; number < count; number++) {
        mfn_ifr_flow_put_u64(record.key, number);
        int32_t status = mfn_ifr_flow_put(client, pool_id, 0, &record, NULL, NULL);
        if (status != MFN_OK) {
            printf("filled %" PRIu64 " %d\n", number, status);
            return;
        }
    }
    printf("filled %" PRIu64 " 0\n", count);
}

static int32_t records_raw(const struct mfn_ifr_flow_client *client, uint16_t method, const char *hex) {
    uint8_t body[1024];
    size_t bytes = records_unhex(hex, body, sizeof body);
    struct mfn_reply *reply = NULL;
    int32_t status = mfn_ifr_flow_call(client, method, body, bytes, &reply);
    if (status == MFN_OK) {
        size_t length = 0;
        const uint8_t *answer = mfn_reply_body(reply, &length);
        printf("body %s", length == 0 ? "-" : "");
        for (size_t at = 0; at < length; at++) {
            printf("%02x", answer[at]);
        }
        putchar('\n');
        mfn_reply_free(reply);
    }
    return status;
}

/* A command that prints its own answer, or fails. */
static int32_t records_obey(const struct mfn_ifr_flow_client *client, const char *verb, char **words, size_t count) {
    struct mfn_ifr_flow record;
    uint8_t found = 0;
    uint8_t key[MFN_IFR_DIGEST_BYTES] = {0};
    int32_t status = MFN_INVALID_ARGUMENT;
    uint32_t pool_id = count > 0 ? (uint32_t)records_number(words[0]) : 0;
    int is_key = strcmp(verb, "get") == 0 || strcmp(verb, "remove") == 0 || strcmp(verb, "route") == 0;
    if (is_key && count > 1) {
        records_unhex(words[1], key, sizeof key);
    }
    if (strncmp(verb, "value_", 6) == 0 && count >= 3) {
        return records_value(client, verb, words, count);
    }
    if (strcmp(verb, "pools") == 0) {
        struct mfn_ifr_flow_pool pools[RECORDS_POOLS_MAX];
        uint32_t pools_count = 0;
        char text[600];
        status = mfn_ifr_flow_pools(client, pools, RECORDS_POOLS_MAX, &pools_count);
        if (status == MFN_OK) {
            records_pools(pools, pools_count < RECORDS_POOLS_MAX ? pools_count : RECORDS_POOLS_MAX, text);
            printf("pools %u %s\n", pools_count, text);
        }
        return status;
    }
    if (strcmp(verb, "pool_add") == 0 && count == 3) {
        status = mfn_ifr_flow_pool_add(client, pool_id, (uint32_t)records_number(words[1]), records_number(words[2]));
    } else if (strcmp(verb, "pool_drop") == 0 && count == 1) {
        status = mfn_ifr_flow_pool_drop(client, pool_id);
    } else if (strcmp(verb, "learn") == 0 && count == 3) {
        status = mfn_ifr_flow_learn(client, (uint16_t)pool_id, (uint8_t)records_number(words[1]), words[2][0] == '1');
    } else if (strcmp(verb, "pool_stats") == 0 && count == 1) {
        struct mfn_ifr_pool_stats stats;
        status = mfn_ifr_flow_pool_stats(client, pool_id, &stats);
        if (status == MFN_OK) {
            printf("stats %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", stats.records, stats.bytes,
                   stats.bytes_max, stats.evictions, stats.expirations);
        }
        return status;
    } else if (strcmp(verb, "put") == 0 && count == 2 + RECORD_WORDS) {
        struct mfn_ifr_flow put = records_of(words + 2);
        status = mfn_ifr_flow_put(client, pool_id, records_number(words[1]), &put, &record, &found);
        if (status == MFN_OK) {
            records_found(&record, found);
        }
        return status;
    } else if (is_key && verb[0] == 'g' && count == 2) {
        status = mfn_ifr_flow_get(client, pool_id, key, &record, &found);
        if (status == MFN_OK) {
            records_found(&record, found);
        }
        return status;
    } else if (strcmp(verb, "remove") == 0 && count == 2) {
        status = mfn_ifr_flow_remove(client, pool_id, key, &record, &found);
        if (status == MFN_OK) {
            records_found(&record, found);
        }
        return status;
    } else if (strcmp(verb, "expire") == 0 && count == 2) {
        uint32_t expired;
        status = mfn_ifr_flow_expire(client, pool_id, (uint32_t)records_number(words[1]), &expired);
        if (status == MFN_OK) {
            printf("expired %u\n", expired);
        }
        return status;
    } else if (strcmp(verb, "route") == 0 && count == 3) {
        struct mfn_ifr_decision decision;
        status = mfn_ifr_flow_route(client, pool_id, key, (uint16_t)records_number(words[2]), &decision);
        if (status == MFN_OK) {
            records_decided(&decision);
        }
        return status;
    } else if (strcmp(verb, "fill") == 0 && count == 2) {
        records_fill(client, pool_id, records_number(words[1]));
        return MFN_OK;
    } else if (strcmp(verb, "raw") == 0 && count == 2) {
        return records_raw(client, (uint16_t)pool_id, words[1]);
    }
    if (status == MFN_OK) {
        puts("done");
    }
    return status;
}

/* What a good request is in bytes; 0: the body is an answer. */
static size_t records_written(const char *kind, char **fields, uint8_t *out) {
    uint32_t first = (uint32_t)records_number(fields[0]);
    uint8_t key[MFN_IFR_DIGEST_BYTES];
    if (strcmp(kind, "pool") == 0) {
        mfn_ifr_flow_write_pool(out, first, (uint32_t)records_number(fields[1]), records_number(fields[2]));
        return MFN_IFR_FLOW_POOL_BYTES;
    }
    if (strcmp(kind, "flow_put") == 0) {
        struct mfn_ifr_flow record = records_of(fields + 2);
        mfn_ifr_flow_write_put(out, first, records_number(fields[1]), &record);
        return MFN_IFR_FLOW_PUT_BYTES;
    }
    if (strcmp(kind, "flow_key") == 0) {
        records_unhex(fields[1], key, sizeof key);
        mfn_ifr_flow_write_key(out, first, key);
        return MFN_IFR_FLOW_KEY_BYTES;
    }
    if (strcmp(kind, "expire") == 0) {
        mfn_ifr_flow_write_expire(out, first, (uint32_t)records_number(fields[1]));
        return 8;
    }
    if (strcmp(kind, "flow_route") == 0) {
        records_unhex(fields[2], key, sizeof key);
        mfn_ifr_flow_write_route(out, first, (uint16_t)records_number(fields[1]), key);
        return MFN_IFR_FLOW_KEY_BYTES;
    }
    if (strcmp(kind, "learn") == 0) {
        mfn_ifr_flow_write_learn(out, (uint16_t)first, (uint8_t)records_number(fields[1]), fields[2][0] == '1');
        return 8;
    }
    return 0;
}

/* An answer in words. */
static int32_t records_read(const char *kind, const uint8_t *bytes, size_t count, char out[600]) {
    char text[400];
    int32_t status;
    if (strcmp(kind, "decision") == 0) {
        struct mfn_ifr_decision decision;
        status = mfn_ifr_flow_read_decision(bytes, count, &decision);
        if (status == MFN_OK) {
            records_words(text, &decision.record);
            snprintf(out, 600, "%u %u %u %s", decision.outcome, decision.next_layer, records_bits(decision.confidence), text);
        }
        return status;
    }
    if (strcmp(kind, "record") == 0) {
        struct mfn_ifr_flow record;
        status = mfn_ifr_flow_read_record(bytes, count, &record);
        if (status == MFN_OK) {
            records_words(out, &record);
        }
        return status;
    }
    if (strcmp(kind, "pool_stats") == 0) {
        struct mfn_ifr_pool_stats stats;
        status = mfn_ifr_flow_read_stats(bytes, count, &stats);
        if (status == MFN_OK) {
            snprintf(out, 600, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, stats.records, stats.bytes,
                     stats.bytes_max, stats.evictions, stats.expirations);
        }
        return status;
    }
    if (strcmp(kind, "pools") == 0) {
        struct mfn_ifr_flow_pool pools[RECORDS_POOLS_MAX];
        uint32_t pools_count = 0, entry_bytes = 0;
        status = mfn_ifr_flow_read_pools(bytes, count, &pools_count, &entry_bytes);
        for (size_t at = 0; status == MFN_OK && at < pools_count && at < RECORDS_POOLS_MAX; at++) {
            status = mfn_ifr_flow_read_pool(bytes + 8 + at * entry_bytes, entry_bytes, pools + at);
        }
        if (status == MFN_OK) {
            records_pools(pools, pools_count, out);
        }
        return status;
    }
    uint32_t looked, expired;
    status = mfn_ifr_flow_read_expired(bytes, count, &looked, &expired);
    if (status == MFN_OK) {
        snprintf(out, 600, "%u %u", looked, expired);
    }
    return status;
}

static int records_is_answer(const char *kind) {
    return strcmp(kind, "decision") == 0 || strcmp(kind, "record") == 0 || strcmp(kind, "pool_stats") == 0 ||
           strcmp(kind, "pools") == 0 || strcmp(kind, "expired") == 0;
}

/* Writes the requests of the golden vectors and reads the answers. */
static void records_vectors(const char *path) {
    char line[2048];
    FILE *file = fopen(path, "r");
    if (!file) {
        puts("failed no such file");
        return;
    }
    int good = 0, bad = 0, is_right = 1;
    while (is_right && fgets(line, sizeof line, file)) {
        if (line[0] == '#') {
            continue;
        }
        line[strcspn(line, "\n")] = 0;
        char *kind = strtok(line, " "), *name = strtok(NULL, " ");
        int is_good = strcmp(strtok(NULL, " "), "0") == 0;
        char *hex = strtok(NULL, " "), *rest = strtok(NULL, "");
        uint8_t bytes[512], again[512];
        size_t count = records_unhex(hex, bytes, sizeof bytes);
        if (records_is_answer(kind)) {
            char text[600] = "";
            is_right = (records_read(kind, bytes, count, text) == MFN_OK) == is_good && (!is_good || strcmp(text, rest) == 0);
        } else if (is_good) {
            char *fields[2 + RECORD_WORDS] = {NULL};
            size_t at = 0;
            for (char *word = strtok(rest, " "); word && at < 2 + RECORD_WORDS; word = strtok(NULL, " ")) {
                fields[at++] = word;
            }
            is_right = records_written(kind, fields, again) == count && memcmp(bytes, again, count) == 0;
        }
        *(is_good ? &good : &bad) += 1;
        if (!is_right) {
            printf("failed %s %s\n", kind, name);
        }
    }
    fclose(file);
    if (is_right) {
        printf("vectors %d %d\n", good, bad);
    }
}

#endif
