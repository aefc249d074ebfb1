/**
 * session_fixture - sessions of two ranks with one shard, and what they sent.
 */
#ifndef KV_TESTS_UNIT_SESSION_FIXTURE_H
#define KV_TESTS_UNIT_SESSION_FIXTURE_H

#include "common/base/mem.h"
#include "server/session.h"
#include "tests/unit/arena_fixture.h"

#define RANKS 2
#define SENT_MAX 2048
#define LARGE (KV_DIRECT_MIN / 4) /* Elements: of one that travels alone. */

struct sent {
    enum message_kind kind;
    uint32_t rank; /* Whose session sent it. */
    uint64_t request_id;
    struct run runs[KV_BATCH_RUNS_MAX];
    uint32_t run_count;
    const void *payload; /* As it was given. */
    size_t size;
    float first;
    void *block;
    struct buffer *buffer;
    enum kv_status status;
    bool about_slot, pull;
    char text[KV_TEXT_MAX + 1];
    uint32_t slot, listed, missing_count, left;
    uint64_t round;
};

struct fixture;

struct side {
    struct fixture *f;
    uint32_t rank;
};

struct fixture {
    struct home home;
    struct bufpool pool;
    struct shard *shard;
    struct session session[RANKS];
    struct session_io io[RANKS];
    struct side side[RANKS];
    struct sent *sent;
    size_t sent_count, sent_next;
    char error[512];
};

/* --- Around the session --------------------------------------------------- */

static inline void on_send(void *ctx, const struct message *m,
                           uint64_t request_id, const void *payload,
                           size_t size, void *block, struct buffer *buffer)
{
    const struct side *side = ctx;
    struct sent *s = &side->f->sent[side->f->sent_count++];

    KV_CHECK(side->f->sent_count < SENT_MAX);
    memset(s, 0, sizeof *s);
    s->kind = m->kind;
    s->rank = side->rank;
    s->request_id = request_id;
    s->payload = payload;
    s->size = size;
    s->block = block;
    s->buffer = buffer;
    if (size >= sizeof s->first) {
        memcpy(&s->first, payload, sizeof s->first);
    }
    if (m->kind == MESSAGE_ANSWER || m->kind == MESSAGE_AGAIN ||
        m->kind == MESSAGE_ROUNDS) {
        s->run_count = m->batch.run_count;
        memcpy(s->runs, m->batch.runs, s->run_count * sizeof s->runs[0]);
    } else if (m->kind == MESSAGE_ERROR) {
        s->status = m->error.status;
        s->about_slot = m->error.about_slot;
        s->pull = m->error.pull;
        s->slot = m->error.slot;
        s->round = m->error.round;
        snprintf(s->text, sizeof s->text, "%s", m->error.text);
    } else if (m->kind == MESSAGE_OPENED) {
        s->slot = m->opened.slot;
        s->round = m->opened.round;
    } else if (m->kind == MESSAGE_STALLED) {
        s->listed = m->stalled.listed;
        s->missing_count = m->stalled.missing_count;
        s->left = m->stalled.left;
    }
}

static inline void on_answer(void *ctx, const struct shard_answer *a)
{
    struct fixture *f = ctx;

    session_answer(&f->session[a->rank], a);
}

static inline void on_opened(void *ctx, uint32_t rank, uint64_t request_id,
                             enum kv_status status, const char *text,
                             uint32_t slot, uint64_t round, bool reset)
{
    struct fixture *f = ctx;

    session_opened(&f->session[rank], request_id, status, text, slot, round,
                   reset);
}

static inline void on_skipped(void *ctx, uint32_t rank, uint32_t slot,
                              uint64_t round, const struct shard_skip *skip)
{
    struct fixture *f = ctx;

    session_skipped(&f->session[rank], slot, round, skip);
}

static inline void on_norms(void *ctx, uint32_t rank, uint32_t slot,
                            uint64_t round, uint32_t pass, const double *sums)
{
    struct fixture *f = ctx;

    session_norms(&f->session[rank], slot, round, pass, sums);
}

static inline void on_released(void *ctx, uint32_t rank)
{
    (void)ctx;
    (void)rank;
}

static inline bool is_full(void *ctx, uint32_t rank)
{
    (void)ctx;
    (void)rank;
    return false;
}

static inline int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    const struct shard_events events = {
        on_answer, on_opened, on_norms, on_skipped, on_released, is_full, f};

    KV_CHECK(f != NULL);
    f->sent = calloc(SENT_MAX, sizeof *f->sent);
    KV_CHECK(f->sent != NULL);
    home_make(&f->home);
    f->home.config.dir = NULL;
    home_open(&f->home);
    bufpool_init(&f->pool, (size_t)256 << 20);
    KV_CHECK(shard_new(f->home.arena, RANKS, &f->pool, &events, &f->shard,
                       f->error, sizeof f->error) == KV_OK);
    KV_CHECK(shard_policy(f->shard, KV_POLICY_SYNC, 0, f->error,
                          sizeof f->error) == KV_OK);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        f->side[rank] = (struct side){f, rank};
        f->io[rank] = (struct session_io){on_send, &f->side[rank]};
        session_init(&f->session[rank], f->shard, f->home.arena, &f->pool, rank,
                     &f->io[rank]);
    }
    *state = f;
    return 0;
}

/* The link has sent everything. */
static inline void let_go(struct fixture *f)
{
    for (size_t i = 0; i < f->sent_count; i++) {
        if (f->sent[i].block != NULL) {
            arena_release(f->home.arena, f->sent[i].block);
        }
        bufpool_put(&f->pool, f->sent[i].buffer);
    }
    f->sent_count = 0;
    f->sent_next = 0;
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;

    let_go(f);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        session_fini(&f->session[rank]);
    }
    shard_free(f->shard);
    KV_CHECK(f->pool.out_count == 0);
    bufpool_fini(&f->pool);
    home_remove(&f->home);
    free(f->sent);
    free(f);
    return 0;
}

/* --- Steps ---------------------------------------------------------------- */

#define FED_MS 1000 /* The time of all that is fed. */

/* What a link does with a frame; KV_EAGAIN leaves it where it is. */
static inline enum kv_status feed(struct fixture *f, uint32_t rank,
                                  uint64_t request_id, const struct message *m,
                                  const void *payload, size_t size)
{
    struct session *s = &f->session[rank];
    void *sink = NULL;
    enum kv_status status = session_head(s, m, size, &sink);

    if (status != KV_OK) {
        return status;
    }
    if (sink != NULL && payload != NULL) {
        memcpy(sink, payload, size);
    }
    return session_frame(s, request_id, m, sink != NULL ? sink : payload, size,
                         FED_MS);
}

static inline void flush(struct fixture *f)
{
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        session_flush(&f->session[rank]);
        assert_false(session_dirty(&f->session[rank]));
    }
}

static inline struct sent *next_sent(struct fixture *f, enum message_kind kind,
                                     uint32_t rank)
{
    struct sent *s = &f->sent[f->sent_next++];

    if (f->sent_next > f->sent_count) {
        fail_msg("nothing more was sent");
    }
    assert_string_equal(message_kind_name(s->kind), message_kind_name(kind));
    assert_int_equal(s->rank, rank);
    return s;
}

static inline void expect_silence(struct fixture *f)
{
    assert_int_equal(f->sent_next, f->sent_count);
    let_go(f);
}

static inline void expect_run(const struct sent *s, uint32_t index,
                              uint32_t slot, uint32_t count, uint64_t round,
                              uint32_t size)
{
    assert_true(index < s->run_count);
    assert_int_equal(s->runs[index].slot, slot);
    assert_int_equal(s->runs[index].count, count);
    assert_int_equal(s->runs[index].round, round);
    assert_int_equal(s->runs[index].size, size);
}

static inline void create(struct fixture *f, uint32_t key_id, uint32_t count)
{
    struct message m = {.kind = MESSAGE_OPEN};
    float *value = calloc(count, sizeof *value);

    m.open.key_id = key_id;
    m.open.count = count;
    m.open.slices = 1;
    assert_int_equal(feed(f, 0, 7, &m, value, count * sizeof *value), KV_OK);
    free(value);
    assert_int_equal(next_sent(f, MESSAGE_OPENED, 0)->request_id, 7);
    expect_silence(f);
}

static inline void create_many(struct fixture *f, uint32_t slices,
                               uint32_t count)
{
    for (uint32_t i = 0; i < slices; i++) {
        create(f, i, count);
    }
}

/* A batch of one run, every element `g`. */
static inline enum kv_status push(struct fixture *f, uint32_t rank,
                                  uint32_t slot, uint32_t slices,
                                  uint64_t round, uint32_t count, float g)
{
    static float bytes[KV_PAYLOAD_MAX / sizeof(float)];
    struct run run = {slot, slices, round, count * (uint32_t)sizeof g};
    struct message m = {.kind = MESSAGE_PUSH};

    for (size_t i = 0; i < (size_t)slices * count; i++) {
        bytes[i] = g;
    }
    m.batch.runs = &run;
    m.batch.run_count = 1;
    return feed(f, rank, 0, &m, bytes, (size_t)slices * count * sizeof g);
}

static inline void pull(struct fixture *f, uint32_t rank, uint32_t slot,
                        uint32_t slices, uint64_t round)
{
    struct run run = {slot, slices, round, 0};
    struct message m = {.kind = MESSAGE_PULL};

    m.batch.runs = &run;
    m.batch.run_count = 1;
    assert_int_equal(feed(f, rank, 0, &m, NULL, 0), KV_OK);
}

static inline void expect_broken(struct fixture *f, uint32_t rank,
                                 uint64_t request_id, const struct message *m,
                                 size_t size, const char *why)
{
    static const char bytes[1 << 20];
    enum kv_status status = feed(f, rank, request_id, m, bytes, size);

    assert_string_equal(kv_strstatus(status), kv_strstatus(KV_EPROTO));
    assert_string_equal(f->session[rank].text, why);
    expect_silence(f);
}

#endif
