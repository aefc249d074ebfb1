/**
 * courier_fixture - a courier with a few slices, and the server's part played
 * by the test.
 */
#ifndef KV_TESTS_UNIT_COURIER_FIXTURE_H
#define KV_TESTS_UNIT_COURIER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "worker/courier.h"

#define SLICES 8
#define FRAMES 64
#define SMALL 16                  /* Elements. */
#define LARGE (KV_DIRECT_MIN / 2) /* Elements: travels alone, even as fp16. */
#define PARTS 256
#define ROOM ((size_t)1 << 30)

struct frame {
    enum message_kind kind;
    struct run runs[KV_BATCH_RUNS_MAX];
    uint32_t run_count, codec;
    uint64_t request_id;
    const void *payload; /* As it was given. */
    size_t size;
    float first; /* Of the payload. */
};

struct fixture {
    struct bufpool buffers;
    struct courier *courier;
    struct slice slices[SLICES]; /* The last one is large. */
    struct slice extra;
    struct frame frames[FRAMES];
    size_t frame_count, seen;
    bool refuse_frames;
    struct part parts[PARTS]; /* Outlive the test's body. */
    size_t part_count;
    struct request requests[3];
    struct part *done[FRAMES];
    size_t done_count;
    enum kv_status done_status;
    char done_text[64];
    uint64_t done_version;
    struct part *submit_when_done;
    size_t stalled, replies;
    const struct slice *asked;       /* Whose norms came last. */
    const struct slice *skipped;     /* The last that was... */
    const struct part *skipped_part; /* ...by this push. */
    const struct slice *refused[FRAMES];
    size_t refused_count;
    enum kv_status reply_status;
    enum message_kind reply_kind;
};

/* --- The other side ------------------------------------------------------ */

static inline bool on_send(void *ctx, const struct message *m,
                           uint64_t request_id, const void *payload,
                           size_t size, struct buffer *buffer)
{
    struct fixture *f = ctx;
    struct frame *frame = &f->frames[f->frame_count % FRAMES];

    if (!f->refuse_frames) {
        frame->kind = m->kind;
        frame->request_id = request_id;
        frame->payload = payload;
        frame->size = size;
        frame->run_count = 0;
        if (m->kind == MESSAGE_PUSH || m->kind == MESSAGE_PULL) {
            frame->run_count = m->batch.run_count;
            frame->codec = m->batch.codec;
            memcpy(frame->runs, m->batch.runs,
                   m->batch.run_count * sizeof(struct run));
        }
        if (size >= sizeof frame->first) {
            memcpy(&frame->first, payload, sizeof frame->first);
        }
        f->frame_count++;
    }
    bufpool_put(&f->buffers, buffer);
    return !f->refuse_frames;
}

static inline void on_part_done(void *ctx, struct part *p,
                                enum kv_status status, const char *text,
                                uint64_t round)
{
    struct fixture *f = ctx;

    f->done[f->done_count++ % FRAMES] = p;
    f->done_status = status;
    f->done_version = round;
    strncpy(f->done_text, text, sizeof f->done_text - 1);
    if (f->submit_when_done != NULL) {
        struct part *next = f->submit_when_done;

        f->submit_when_done = NULL;
        courier_submit(f->courier, next);
    }
}

static inline void on_stalled(void *ctx, const struct slice *slice,
                              const struct message *m)
{
    struct fixture *f = ctx;

    f->stalled += slice == &f->slices[m->stalled.slot];
}

static inline void on_slice_refused(void *ctx, struct part *p,
                                    const struct slice *slice,
                                    enum kv_status status, const char *text)
{
    struct fixture *f = ctx;

    (void)p;
    (void)status;
    (void)text;
    f->refused[f->refused_count++ % FRAMES] = slice;
}

static inline void on_skipped(void *ctx, struct part *p,
                              const struct slice *slice,
                              const struct message *m)
{
    struct fixture *f = ctx;

    (void)m;
    f->skipped_part = p;
    f->skipped = slice;
}

static inline void on_norms(void *ctx, const struct slice *slice,
                            const struct message *m)
{
    struct fixture *f = ctx;

    (void)m;
    f->asked = slice;
}

static inline void on_reply(struct request *r, enum kv_status status,
                            const char *text, const struct message *reply,
                            const void *payload, size_t payload_size)
{
    struct fixture *f = r->owner;

    (void)text;
    (void)payload;
    (void)payload_size;
    f->replies++;
    f->reply_status = status;
    f->reply_kind = reply == NULL ? MESSAGE_NONE : reply->kind;
}

static inline int set_up(void **state)
{
    struct fixture *f = mem_zalloc(1, sizeof *f);
    struct courier_io io = {on_send,    on_part_done, on_slice_refused,
                            on_skipped, on_stalled,   on_norms,
                            f};

    bufpool_init(&f->buffers, (size_t)8 << 20);
    if (courier_init(&f->courier, &io, &f->buffers) != KV_OK) {
        return -1;
    }
    for (uint32_t i = 0; i < SLICES; i++) {
        f->slices[i].slot = i;
        f->slices[i].dtype = KV_F32;
        f->slices[i].count = i == SLICES - 1 ? LARGE : SMALL;
        if (courier_add_slice(f->courier, &f->slices[i]) != KV_OK) {
            return -1;
        }
    }
    courier_up(f->courier);
    *state = f;
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;

    courier_down(f->courier);
    courier_fail(f->courier, KV_ECANCELED, "closing");
    courier_free(f->courier);
    bufpool_fini(&f->buffers); /* Checks that all buffers are back. */
    mem_free(f);
    return 0;
}

/* --- Steps ---------------------------------------------------------------- */

static float tensor[2][LARGE], value[LARGE];
static const void *const inputs[2] = {tensor[0], tensor[1]};
static void *const outs[1] = {value};

static inline struct part *next_part(struct fixture *f, uint32_t slot)
{
    struct part *p = &f->parts[f->part_count++ % PARTS];

    *p = (struct part){.slice = &f->slices[slot]};
    return p;
}

static inline struct part *push(struct fixture *f, uint32_t slot, int priority,
                                unsigned input_count)
{
    struct part *p = next_part(f, slot);

    p->priority = priority;
    p->inputs = inputs;
    p->input_count = input_count;
    courier_submit(f->courier, p);
    return p;
}

static inline struct part *pull(struct fixture *f, uint32_t slot)
{
    struct part *p = next_part(f, slot);

    p->pull = true;
    p->outs = outs;
    courier_submit(f->courier, p);
    return p;
}

static inline struct request *request(struct fixture *f, size_t i)
{
    struct request *r = &f->requests[i];

    r->message.kind = MESSAGE_HYPER;
    r->done = on_reply;
    r->owner = f;
    courier_request(f->courier, r);
    return r;
}

static inline void pump(struct fixture *f)
{
    (void)courier_pump(f->courier, ROOM, 1);
}

static inline void reconnect(struct fixture *f)
{
    courier_down(f->courier);
    courier_up(f->courier);
    f->seen = f->frame_count;
}

static inline enum kv_status answer_frame(struct fixture *f, struct message *m,
                                          const void *payload, size_t size)
{
    void *sink = NULL;
    enum kv_status status = courier_head(f->courier, m, size, &sink);

    if (status != KV_OK) {
        return status;
    }
    if (sink != NULL) {
        memcpy(sink, payload, size);
        payload = sink;
    }
    return courier_frame(f->courier, 0, m, payload, size);
}

static inline enum kv_status answer(struct fixture *f, uint32_t slot,
                                    uint64_t round, const void *payload,
                                    size_t size)
{
    struct run run = {slot, 1, round, (uint32_t)size};
    struct message m = {.kind = MESSAGE_ANSWER, .batch = {&run, 1, 0}};

    return answer_frame(f, &m, payload, size);
}

static inline void committed(struct fixture *f, uint32_t slot, uint64_t round)
{
    assert_int_equal(answer(f, slot, round, NULL, 0), KV_OK);
}

static inline enum kv_status again(struct fixture *f, uint32_t slot,
                                   uint64_t round)
{
    struct run run = {slot, 1, round, 0};
    struct message m = {.kind = MESSAGE_AGAIN, .batch = {&run, 1, 0}};

    return courier_frame(f->courier, 0, &m, NULL, 0);
}

static inline enum kv_status refuse(struct fixture *f, uint32_t slot,
                                    uint64_t round, bool is_pull)
{
    struct message m = {.kind = MESSAGE_ERROR};

    m.error.status = KV_ENOSPC;
    m.error.text = "no room";
    m.error.about_slot = true;
    m.error.slot = slot;
    m.error.round = round;
    m.error.pull = is_pull;
    return courier_frame(f->courier, 0, &m, NULL, 0);
}

/* The next frame carries just this slice. */
static inline const struct frame *expect_one(struct fixture *f,
                                             enum message_kind kind,
                                             uint32_t slot, uint64_t round)
{
    const struct frame *frame = &f->frames[f->seen];

    assert_true(f->seen < f->frame_count);
    f->seen++;
    assert_int_equal(frame->kind, kind);
    assert_int_equal(frame->run_count, 1);
    assert_int_equal(frame->runs[0].slot, slot);
    assert_int_equal(frame->runs[0].count, 1);
    assert_int_equal(frame->runs[0].round, round);
    return frame;
}

static inline void expect_no_more(struct fixture *f)
{
    assert_int_equal(f->seen, f->frame_count);
}

static inline void expect_done(struct fixture *f, size_t count,
                               struct part *last, enum kv_status status)
{
    assert_int_equal(f->done_count, count);
    assert_ptr_equal(f->done[count - 1], last);
    assert_string_equal(kv_strstatus(f->done_status), kv_strstatus(status));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
