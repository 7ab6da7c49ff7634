/* Reads the golden vectors of the local wire (integration/vectors/wire.txt, named by the first argument) with the header
 * alone, and feeds every cut and every flipped bit of them to the decoder. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "mfn/wire.h"

static int nibble(int letter) {
    return letter >= 'a' ? letter - 'a' + 10 : letter - '0';
}

static int agrees(const struct mfn_wire_frame *frame, const char *fields) {
    unsigned kind, service, content_type, method, flags, credit;
    int32_t status;
    uint64_t id, deadline;
    size_t body;
    int count = sscanf(fields, "%u %u %u %u %u %" SCNd32 " %" SCNu64 " %" SCNu64 " %u %zu", &kind, &service, &content_type,
                       &method, &flags, &status, &id, &deadline, &credit, &body);
    return count == 10 && frame->kind == kind && frame->service == service && frame->content_type == content_type &&
           frame->method == method && frame->flags == flags && frame->status == status && frame->request_id == id &&
           frame->deadline_ns == deadline && frame->credit == credit && frame->body_bytes == body;
}

/* An exact heap copy, so that a sanitizer sees a read of one byte too many. */
static int32_t decode_copy(const uint8_t *bytes, size_t count, struct mfn_wire_frame *frame) {
    uint8_t *copy = malloc(count ? count : 1);
    if (!copy) {
        abort();
    }
    memcpy(copy, bytes, count);
    int32_t status = mfn_wire_decode(copy, count, frame);
    free(copy);
    return status;
}

int main(int argc, char **argv) {
    static char line[1 << 18];
    static uint8_t bytes[1 << 17];
    FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
    if (!file) {
        fprintf(stderr, "usage: wire VECTORS\n");
        return 2;
    }
    int good = 0, bad = 0, failed = 0;
    while (fgets(line, sizeof line, file)) {
        if (line[0] == '#') {
            continue;
        }
        char *name = strtok(line, " ");
        char *status_text = strtok(NULL, " ");
        char *hex = strtok(NULL, " \n");
        char *fields = strtok(NULL, "\n");
        if (!name || !status_text || !hex) {
            fprintf(stderr, "a line is cut short\n");
            return 1;
        }
        size_t count = strcmp(hex, "-") == 0 ? 0 : strlen(hex) / 2;
        for (size_t at = 0; at < count; at++) {
            bytes[at] = (uint8_t)(nibble(hex[2 * at]) << 4 | nibble(hex[2 * at + 1]));
        }
        int32_t expected = (int32_t)strtol(status_text, NULL, 10);
        struct mfn_wire_frame frame;
        int32_t status = mfn_wire_decode(bytes, count, &frame);
        if (status != expected || (status == MFN_OK && (!fields || !agrees(&frame, fields)))) {
            fprintf(stderr, "%s: %s, expected %s\n", name, mfn_status_name(status),
                    mfn_status_name(expected));
            failed++;
        }
        *(expected == MFN_OK ? &good : &bad) += 1;
        for (size_t at = 0; at < count && count < 512; at++) {
            decode_copy(bytes, at, &frame);
            for (int bit = 0; bit < 8; bit++) {
                bytes[at] ^= (uint8_t)(1 << bit);
                decode_copy(bytes, count, &frame);
                bytes[at] ^= (uint8_t)(1 << bit);
            }
        }
    }
    fclose(file);
    printf("wire: %d vectors agree, %d of them negative; %d do not\n", good + bad - failed, bad, failed);
    return failed || good < 50 || bad < 100;
}
