/**
 * frame_fixture - a reader, a stream of frames to feed it in any pieces, and
 * a record of what it said.
 */
#ifndef KV_TESTS_UNIT_FRAME_FIXTURE_H
#define KV_TESTS_UNIT_FRAME_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "proto/frame.h"

#define STREAM_MAX ((size_t)6 << 20)
#define EVENTS_MAX 4096

/* What the reader said: one number an event, of all that it was given. */
struct trace {
    size_t count;
    uint64_t event[EVENTS_MAX];
};

struct fixture {
    struct frame_reader reader;
    struct trace trace;
    unsigned char *stream, *sink;
    size_t size; /* Of the stream. */
    unsigned heads, frames;
    unsigned block;             /* Heads to be put off before one passes. */
    enum kv_status head_status; /* What on_head says else. */
    enum kv_status frame_status;
    bool never_sink;
};

static inline uint64_t hash(uint64_t h, const void *data, size_t size)
{
    const unsigned char *p = data;

    for (size_t i = 0; i < size; i++) {
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    }
    return h;
}

static inline void record(struct fixture *f, char what,
                          const struct frame_head *head, const void *meta,
                          const void *payload)
{
    uint64_t h = hash(UINT64_C(0xcbf29ce484222325), &what, 1);

    h = hash(h, &head->request_id, sizeof head->request_id);
    h = hash(h, &head->flags, sizeof head->flags);
    h = hash(h, meta, head->meta_size);
    if (payload != NULL) {
        h = hash(h, payload, head->payload_size);
    }
    if (f->trace.count < EVENTS_MAX) {
        f->trace.event[f->trace.count++] = h;
    }
}

/* Odd request ids are given a sink. */
static inline enum kv_status on_head(void *ctx, const struct frame_head *head,
                                     const void *meta, void **sink)
{
    struct fixture *f = ctx;

    f->heads++;
    if (f->block > 0) {
        f->block--;
        return KV_EAGAIN;
    }
    record(f, 'h', head, meta, NULL);
    if (head->request_id % 2 == 1 && !f->never_sink) {
        *sink = f->sink;
    }
    return f->head_status;
}

static inline enum kv_status on_frame(void *ctx, const struct frame_head *head,
                                      const void *meta, const void *payload)
{
    struct fixture *f = ctx;

    f->frames++;
    record(f, 'f', head, meta, payload);
    return f->frame_status;
}

static inline int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    *state = f;
    f->stream = malloc(STREAM_MAX);
    f->sink = malloc(KV_PAYLOAD_MAX);
    return frame_reader_init(&f->reader, f, on_head, on_frame);
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;

    frame_reader_fini(&f->reader);
    free(f->stream);
    free(f->sink);
    free(f);
    return 0;
}

/* --- Steps --------------------------------------------------------------- */

static uint64_t random_state;

static inline uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static inline void seed_from(uint64_t seed)
{
    print_message("seed %llu\n", (unsigned long long)seed);
    random_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

/* Put a frame at the end of the stream; its offset. */
static inline size_t add(struct fixture *f, uint64_t id, size_t meta_size,
                         size_t payload_size, bool checksum)
{
    unsigned char *at = f->stream + f->size;
    unsigned char *payload = at + FRAME_PREFIX_SIZE + meta_size;

    for (size_t i = 0; i < meta_size + payload_size; i++) {
        at[FRAME_PREFIX_SIZE + i] = (unsigned char)(id * 31 + i * 7 + i / 251);
    }
    frame_seal(at, id, meta_size, payload, payload_size, checksum);
    f->size += FRAME_PREFIX_SIZE + meta_size + payload_size;
    return (size_t)(at - f->stream);
}

/* As much of `data` as the reader takes, at most `most` bytes. */
static inline size_t feed_some(struct fixture *f, const unsigned char *data,
                               size_t most, enum kv_status *status)
{
    size_t want;
    unsigned char *to = frame_reader_want(&f->reader, &want);
    size_t size = want < most ? want : most;

    memcpy(to, data, size);
    *status = frame_reader_fed(&f->reader, size);
    return size;
}

/* The stream in pieces of `piece` bytes, or random ones when it is 0. */
static inline enum kv_status feed(struct fixture *f, size_t piece)
{
    enum kv_status status = KV_OK;
    size_t at = 0;

    while (at < f->size && status == KV_OK) {
        size_t most = piece;

        if (piece == 0) {
            most = (size_t)1 << (random_next() % 20);
            most = 1 + random_next() % most;
        }
        most = most < f->size - at ? most : f->size - at;
        at += feed_some(f, f->stream + at, most, &status);
    }
    return status;
}

static inline void restart(struct fixture *f)
{
    frame_reader_fini(&f->reader);
    assert_int_equal(frame_reader_init(&f->reader, f, on_head, on_frame),
                     KV_OK);
    f->trace.count = 0;
    f->heads = 0;
    f->frames = 0;
}

static inline void expect_trace(const struct fixture *f,
                                const struct trace *expected)
{
    assert_int_equal(f->trace.count, expected->count);
    assert_memory_equal(f->trace.event, expected->event,
                        expected->count * sizeof expected->event[0]);
    assert_false(frame_reader_midway(&f->reader));
}

static inline void expect_status(enum kv_status status, enum kv_status expected)
{
    assert_string_equal(kv_strstatus(status), kv_strstatus(expected));
}

#endif
