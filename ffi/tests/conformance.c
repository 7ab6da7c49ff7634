/* The client of the conformance tests in C: commands on standard input, one answer each on standard output, as
 * integration/conformance/README.md has them. It wants an argument, so that it is not run by accident:
 *
 *   conformance serve-stdin */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mfn/client.h"
#include "mfn/protocol.h"
#include "mfn/wire.h"
#include "records.h"

#define CALLS_MAX 4096
#define LINE_BYTES_MAX (40 << 20)

/* A call under way: a thread that waits for its answer, or a stream. */
struct call {
    char name[64];
    const struct mfn_client *client;
    const struct mfn_pool *pool;
    uint64_t tag;
    uint16_t method;
    uint8_t content_type;
    uint8_t *body;
    size_t body_bytes;
    uint64_t ms;
    pthread_t thread;
    int has_thread, is_over;
    atomic_int is_done;
    struct mfn_stream *stream;
    int32_t status;
    char text[256];
    struct mfn_reply *reply;
};

static struct call calls[CALLS_MAX];
static size_t calls_count;
/* One of the two, or neither. */
static struct mfn_client *client;
static struct mfn_pool *pool;
/* To ifrd, or none. */
static struct mfn_pool *flows;

static int nibble(char letter) {
    return letter >= 'a' ? letter - 'a' + 10 : letter - '0';
}

/* Bytes on the heap, one more than there are: an empty body is no NULL. */
static uint8_t *unhex(const char *text, size_t *bytes) {
    *bytes = strcmp(text, "-") == 0 ? 0 : strlen(text) / 2;
    uint8_t *body = malloc(*bytes + 1);
    if (!body) {
        abort();
    }
    for (size_t at = 0; at < *bytes; at++) {
        body[at] = (uint8_t)(nibble(text[2 * at]) << 4 | nibble(text[2 * at + 1]));
    }
    return body;
}

static void print_hex(const uint8_t *bytes, size_t count) {
    static const char digits[] = "0123456789abcdef";
    if (count == 0) {
        putchar('-');
    }
    for (size_t at = 0; at < count; at++) {
        putchar(digits[bytes[at] >> 4]);
        putchar(digits[bytes[at] & 15]);
    }
    putchar('\n');
}

static void print_reply(const char *what, const struct mfn_reply *reply) {
    size_t bytes;
    const uint8_t *body = mfn_reply_body(reply, &bytes);
    printf("%s %u ", what, mfn_reply_content_type(reply));
    print_hex(body, bytes);
}

static void *run(void *argument) {
    struct call *call = argument;
    if (call->pool) {
        call->status = mfn_pool_call(call->pool, call->tag, call->method, call->content_type, call->body, call->body_bytes,
                                     call->ms, &call->reply);
    } else {
        call->status = mfn_client_call(call->client, call->tag, call->method, call->content_type, call->body,
                                       call->body_bytes, call->ms, &call->reply);
    }
    mfn_last_error(call->text, sizeof call->text, NULL);
    atomic_store(&call->is_done, 1);
    return NULL;
}

static struct call *find(const char *name) {
    for (size_t at = calls_count; at > 0; at--) {
        if (strcmp(calls[at - 1].name, name) == 0) {
            return &calls[at - 1];
        }
    }
    fprintf(stderr, "no call %s\n", name);
    exit(1);
}

static void start(char **words) {
    if (calls_count == CALLS_MAX) {
        fprintf(stderr, "too many calls\n");
        exit(1);
    }
    struct call *call = &calls[calls_count++];
    snprintf(call->name, sizeof call->name, "%s", words[1]);
    call->client = client;
    call->pool = pool;
    call->tag = calls_count;
    call->method = (uint16_t)atoi(words[2]);
    call->content_type = (uint8_t)atoi(words[3]);
    call->body = unhex(words[4], &call->body_bytes);
    call->ms = strtoull(words[5], NULL, 10);
    uint32_t credit = (uint32_t)strtoul(words[6], NULL, 10);
    if (credit == 0) {
        call->has_thread = pthread_create(&call->thread, NULL, run, call) == 0;
    } else if (pool) {
        call->status = mfn_pool_stream(pool, call->tag, call->method, call->content_type, call->body, call->body_bytes,
                                       call->ms, credit, &call->stream);
    } else {
        call->status = mfn_client_stream(client, call->tag, call->method, call->content_type, call->body, call->body_bytes,
                                         call->ms, credit, &call->stream);
    }
    if (credit != 0) {
        call->is_over = call->status != MFN_OK;
        mfn_last_error(call->text, sizeof call->text, NULL);
    }
    puts("ok");
}

static void print_end(struct call *call) {
    if (call->status == MFN_OK && call->reply) {
        print_reply("end 0", call->reply);
        return;
    }
    printf("end %d %d ", call->status, MFN_CONTENT_TYPE_TEXT);
    print_hex((const uint8_t *)call->text, strlen(call->text));
}

/* Prints the next event, or the end; only the end if `skip`. */
static void item(struct call *call, int skip) {
    if (call->has_thread) {
        pthread_join(call->thread, NULL);
        call->has_thread = 0;
        call->is_over = 1;
    }
    while (!call->is_over) {
        struct mfn_reply *next;
        uint8_t is_end;
        call->status = mfn_stream_next(call->stream, &next, &is_end);
        call->is_over = call->status != MFN_OK || is_end;
        if (call->status != MFN_OK) {
            mfn_last_error(call->text, sizeof call->text, NULL);
        } else if (is_end) {
            call->reply = next;
        } else {
            if (!skip) {
                print_reply("event", next);
            }
            mfn_reply_free(next);
            if (!skip) {
                return;
            }
        }
    }
    print_end(call);
}

static int32_t try_cancel(const struct call *call) {
    return call->pool ? mfn_pool_cancel(call->pool, call->tag) : mfn_client_cancel(call->client, call->tag);
}

static void cancel(struct call *call) {
    while (try_cancel(call) == MFN_NOT_FOUND && call->has_thread && !atomic_load(&call->is_done)) {
        /* Its thread has not sent it yet. */
    }
    puts("ok");
}

static void hang_up(void) {
    for (size_t at = 0; at < calls_count; at++) {
        if (calls[at].has_thread) {
            try_cancel(&calls[at]);
            pthread_join(calls[at].thread, NULL);
        }
        mfn_stream_close(calls[at].stream);
        mfn_reply_free(calls[at].reply);
        free(calls[at].body);
    }
    memset(calls, 0, sizeof calls);
    calls_count = 0;
    mfn_client_close(client);
    mfn_pool_close(pool);
    mfn_pool_close(flows);
    client = NULL;
    pool = NULL;
    flows = NULL;
}

static void vectors(const char *path) {
    static char line[1 << 18];
    FILE *file = fopen(path, "r");
    if (!file) {
        puts("failed no such file");
        return;
    }
    int good = 0, bad = 0;
    while (fgets(line, sizeof line, file)) {
        if (line[0] == '#') {
            continue;
        }
        char *name = strtok(line, " "), *status = strtok(NULL, " "), *hex = strtok(NULL, " \n");
        size_t bytes;
        uint8_t *body = unhex(hex, &bytes);
        struct mfn_wire_frame frame;
        int32_t found = mfn_wire_decode(body, bytes, &frame);
        free(body);
        if (found != atoi(status)) {
            printf("failed %s: %d\n", name, found);
            fclose(file);
            return;
        }
        *(found == MFN_OK ? &good : &bad) += 1;
    }
    fclose(file);
    printf("vectors %d %d\n", good, bad);
}

static void records(char **words, size_t count) {
    if (strcmp(words[1], "vectors") == 0 && count == 3) {
        records_vectors(words[2]);
        return;
    }
    const struct mfn_ifr_flow_client asked = {flows, PATIENCE_MS};
    int32_t status = records_obey(&asked, words[1], words + 2, count - 2);
    if (status != MFN_OK) {
        char text[256] = "";
        mfn_last_error(text, sizeof text, NULL);
        printf("failed %d %s\n", status, text);
    }
}

static void obey(char *line) {
    char *words[16] = {NULL};
    size_t count = 0;
    for (char *word = strtok(line, " \n"); word && count < 16; word = strtok(NULL, " \n")) {
        words[count++] = word;
    }
    if (count == 0) {
        puts("failed no command");
    } else if (strcmp(words[0], "vectors") == 0 && count == 2) {
        vectors(words[1]);
    } else if (strcmp(words[0], "connect") == 0 && count == 3) {
        hang_up();
        int32_t status = mfn_client_connect(words[1], MFN_SERVICE_STATE, strtoull(words[2], NULL, 10), &client);
        if (status == MFN_OK) {
            puts("ok");
        } else {
            char text[256] = "";
            mfn_last_error(text, sizeof text, NULL);
            printf("failed %d %s\n", status, text);
        }
    } else if (strcmp(words[0], "pool") == 0 && count == 2) {
        hang_up();
        int32_t status = mfn_pool_new(words[1], MFN_SERVICE_STATE, 2, 5000, &pool);
        printf(status == MFN_OK ? "ok\n" : "failed %d\n", status);
    } else if (strcmp(words[0], "start") == 0 && count == 7) {
        start(words);
    } else if (strcmp(words[0], "item") == 0 && count == 2) {
        item(find(words[1]), 0);
    } else if (strcmp(words[0], "wait") == 0 && count == 2) {
        item(find(words[1]), 1);
    } else if (strcmp(words[0], "cancel") == 0 && count == 2) {
        cancel(find(words[1]));
    } else if (strcmp(words[0], "flows") == 0 && count == 2) {
        hang_up();
        int32_t status = mfn_pool_new(words[1], MFN_SERVICE_IFR, 2, 5000, &flows);
        printf(status == MFN_OK ? "ok\n" : "failed %d\n", status);
    } else if (strcmp(words[0], "records") == 0 && count > 1) {
        records(words, count);
    } else if (strcmp(words[0], "close") == 0) {
        hang_up();
        puts("ok");
    } else {
        printf("failed no command %s\n", words[0]);
    }
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc != 2 || strcmp(argv[1], "serve-stdin") != 0) {
        fprintf(stderr, "usage: conformance serve-stdin\n");
        return 2;
    }
    char *line = malloc(LINE_BYTES_MAX);
    if (!line) {
        return 1;
    }
    while (fgets(line, LINE_BYTES_MAX, stdin)) {
        obey(line);
    }
    hang_up();
    free(line);
    return 0;
}
