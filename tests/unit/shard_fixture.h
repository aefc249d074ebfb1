/**
 * shard_fixture - a shard over an arena of its own, and what it answered.
 */
#ifndef KV_TESTS_UNIT_SHARD_FIXTURE_H
#define KV_TESTS_UNIT_SHARD_FIXTURE_H

#include "common/base/mem.h"
#include "proto/message.h"
#include "server/shard.h"
#include "tests/unit/arena_fixture.h"

#define SEEN_MAX 512
#define FIRST_FLOATS 4

/* One call of an event. */
struct seen {
    bool opened;  /* Else an answer... */
    bool reset;   /* Of what is opened. */
    bool norms;   /* ...or this... */
    bool skipped; /* ...or this. */
    struct shard_skip skip;
    uint32_t pass;
    double sums[KV_NORMS_MAX];
    uint32_t rank, slot;
    uint64_t round, request_id;
    enum kv_status status;
    bool pull;
    size_t size;
    float value[FIRST_FLOATS]; /* Of a pull: the first elements... */
    float last;                /* ...and the last, if it is f32. */
    char text[KV_TEXT_MAX + 1];
};

struct fixture {
    struct home home;
    struct bufpool pool;
    struct shard *shard;
    uint32_t workers;
    uint32_t policy;
    struct seen seen[SEEN_MAX];
    size_t seen_count, seen_next;
    size_t released; /* Calls. */
    size_t room;     /* Answers until every rank is full. */
    void
        *copy_to; /* What is pulled goes there as a whole, if it is not NULL. */
    char error[512];
};

/* --- Events: record, never assert ----------------------------------------- */

static inline struct seen *see(struct fixture *f)
{
    KV_CHECK(f->seen_count < SEEN_MAX);
    memset(&f->seen[f->seen_count], 0, sizeof f->seen[0]);
    return &f->seen[f->seen_count++];
}

/* A copy of what was pulled, to be freed. */
static inline void *answered_value(const struct fixture *f,
                                   const struct shard_answer *a)
{
    void *value = malloc(a->size);

    KV_CHECK(value != NULL);
    if (a->value != NULL) {
        memcpy(value, a->value, a->size);
    } else {
        shard_collect(f->shard, a, value);
    }
    return value;
}

static inline void on_answer(void *ctx, const struct shard_answer *a)
{
    struct fixture *f = ctx;
    struct seen *s = see(f);

    s->rank = a->rank;
    s->slot = a->slot;
    s->round = a->round;
    s->status = a->status;
    s->pull = a->pull;
    s->size = a->size;
    if (a->pull && a->status == KV_OK) {
        char *value = answered_value(f, a);

        memcpy(s->value, value,
               a->size < sizeof s->value ? a->size : sizeof s->value);
        if (a->size >= sizeof s->last) {
            memcpy(&s->last, value + a->size - sizeof s->last, sizeof s->last);
        }
        if (f->copy_to != NULL) {
            memcpy(f->copy_to, value, a->size);
        }
        free(value);
    }
    snprintf(s->text, sizeof s->text, "%s", a->text == NULL ? "" : a->text);
}

static inline void on_opened(void *ctx, uint32_t rank, uint64_t request_id,
                             enum kv_status status, const char *text,
                             uint32_t slot, uint64_t round, bool reset)
{
    struct seen *s = see(ctx);

    s->opened = true;
    s->rank = rank;
    s->request_id = request_id;
    s->status = status;
    s->slot = slot;
    s->round = round;
    snprintf(s->text, sizeof s->text, "%s", text == NULL ? "" : text);
    s->reset = reset;
}

static inline void on_skipped(void *ctx, uint32_t rank, uint32_t slot,
                              uint64_t round, const struct shard_skip *skip)
{
    struct seen *s = see(ctx);

    s->skipped = true;
    s->rank = rank;
    s->slot = slot;
    s->round = round;
    s->skip = *skip;
}

static inline void on_norms(void *ctx, uint32_t rank, uint32_t slot,
                            uint64_t round, uint32_t pass, const double *sums)
{
    struct seen *s = see(ctx);

    s->norms = true;
    s->rank = rank;
    s->slot = slot;
    s->round = round;
    s->pass = pass;
    memcpy(s->sums, sums, sizeof s->sums);
}

static inline void on_released(void *ctx, uint32_t rank)
{
    struct fixture *f = ctx;

    (void)rank;
    f->released++;
}

static inline bool is_full(void *ctx, uint32_t rank)
{
    const struct fixture *f = ctx;

    (void)rank;
    return f->seen_count >= f->room;
}

/* --- Life ----------------------------------------------------------------- */

static inline enum kv_status try_start(struct fixture *f)
{
    const struct shard_events events = {
        on_answer, on_opened, on_norms, on_skipped, on_released, is_full, f};

    return shard_new(f->home.arena, f->workers, &f->pool, &events, &f->shard,
                     f->error, sizeof f->error);
}

static inline void start(struct fixture *f)
{
    enum kv_status status = try_start(f);

    if (status != KV_OK) {
        fprintf(stderr, "%s\n", f->error);
    }
    KV_CHECK(status == KV_OK);
    KV_CHECK(shard_policy(f->shard, f->policy, 0, f->error, sizeof f->error) ==
             KV_OK);
}

static inline struct fixture *fixture_new(uint32_t workers, uint32_t policy)
{
    struct fixture *f = calloc(1, sizeof *f);

    KV_CHECK(f != NULL);
    home_make(&f->home);
    f->home.config.identity.workers = workers;
    f->workers = workers;
    f->policy = policy;
    f->room = SIZE_MAX;
    bufpool_init(&f->pool, (size_t)64 << 20);
    home_open(&f->home);
    start(f);
    return f;
}

static inline void fixture_free(struct fixture *f)
{
    if (f->shard != NULL) {
        shard_free(f->shard);
    }
    KV_CHECK(f->pool.out_count == 0);
    bufpool_fini(&f->pool);
    home_remove(&f->home);
    free(f);
}

/* The process dies and comes back: only the arena is left. */
static inline void crash(struct fixture *f)
{
    shard_free(f->shard);
    f->shard = NULL;
    home_drop(&f->home);
    home_open(&f->home);
    start(f);
}

/* --- Steps ---------------------------------------------------------------- */

static inline struct seen *next_seen(struct fixture *f)
{
    if (f->seen_next == f->seen_count) {
        fail_msg("no answer came");
    }
    return &f->seen[f->seen_next++];
}

static inline void expect_silence(struct fixture *f)
{
    if (f->seen_next < f->seen_count) {
        const struct seen *s = &f->seen[f->seen_next];

        fail_msg("unexpected: rank %u slot %u round %llu %s %s", s->rank,
                 s->slot, (unsigned long long)s->round, kv_strstatus(s->status),
                 s->text);
    }
    f->seen_next = 0;
    f->seen_count = 0;
}

static inline void expect_status(const struct seen *s, enum kv_status status)
{
    if (s->status != status) {
        fail_msg("%s (%s), not %s", kv_strstatus(s->status), s->text,
                 kv_strstatus(status));
    }
}

static inline void expect_text(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", text, part);
    }
}

static inline struct slice_desc f32_slice(uint32_t key_id, uint64_t count)
{
    struct slice_desc d = {key_id, 0, KV_F32, count, 0, 1, false, 0, 0};

    return d;
}

/* A slice of `count` f32, all `first`; returns its slot. */
static inline uint32_t create(struct fixture *f, uint32_t key_id,
                              uint64_t count, float first)
{
    struct slice_desc d = f32_slice(key_id, count);
    float *value = calloc(count, sizeof *value);
    const struct seen *s;

    for (uint64_t i = 0; i < count; i++) {
        value[i] = first;
    }
    shard_open(f->shard, 0, 1, &d, value, count * sizeof *value);
    free(value);
    s = next_seen(f);
    expect_status(s, KV_OK);
    return s->slot;
}

/* All elements are `g`; borrowed, as from a batch. */
static inline void push(struct fixture *f, uint32_t rank, uint32_t slot,
                        uint64_t round, uint64_t count, float g)
{
    float *gradient = calloc(count, sizeof *gradient);

    for (uint64_t i = 0; i < count; i++) {
        gradient[i] = g;
    }
    shard_push(f->shard, rank, slot, round, 0, gradient,
               count * sizeof *gradient, NULL);
    memset(gradient, 0xff, count * sizeof *gradient);
    free(gradient);
}

/* The same in a buffer of the pool, which the shard takes. */
static inline void push_buffer(struct fixture *f, uint32_t rank, uint32_t slot,
                               uint64_t round, uint64_t count, float g)
{
    struct buffer *b = bufpool_get(&f->pool, count * sizeof g);

    KV_CHECK(b != NULL);
    for (uint64_t i = 0; i < count; i++) {
        memcpy(b->data + i * sizeof g, &g, sizeof g);
    }
    shard_push(f->shard, rank, slot, round, 0, b->data, count * sizeof g, b);
}

static inline void expect_answer(struct fixture *f, bool pull, uint32_t rank,
                                 uint32_t slot, uint64_t round,
                                 enum kv_status status)
{
    const struct seen *s = next_seen(f);

    expect_status(s, status);
    assert_false(s->opened);
    assert_int_equal(s->pull, pull);
    assert_int_equal(s->rank, rank);
    assert_int_equal(s->slot, slot);
    assert_int_equal(s->round, round);
}

static inline void expect_ack(struct fixture *f, uint32_t rank, uint32_t slot,
                              uint64_t round)
{
    expect_answer(f, false, rank, slot, round, KV_OK);
}

static inline void expect_pulled(struct fixture *f, uint32_t rank,
                                 uint32_t slot, uint64_t round, float value)
{
    expect_answer(f, true, rank, slot, round, KV_OK);
    assert_memory_equal(&f->seen[f->seen_next - 1].value[0], &value,
                        sizeof value);
}

static inline void expect_refused(struct fixture *f, enum kv_status status,
                                  const char *why)
{
    const struct seen *s = next_seen(f);

    expect_status(s, status);
    expect_text(s->text, why);
    expect_silence(f);
}

/* What rank 0 reads now. */
static inline void expect_state(struct fixture *f, uint32_t slot, float value)
{
    shard_pull(f->shard, 0, slot, 0);
    expect_pulled(f, 0, slot, 0, value);
    expect_silence(f);
}

static inline void set_optimizer(struct fixture *f, const char *name,
                                 const char *params)
{
    struct kv_optim_spec spec;

    assert_int_equal(
        kv_optim_parse(name, params, &spec, f->error, sizeof f->error), KV_OK);
    assert_int_equal(
        shard_optimizer(f->shard, &spec, f->error, sizeof f->error), KV_OK);
}

/* --- Tests: each has a shard of its own ------------------------------------
 */

static inline int set_up_with(void **state, uint32_t workers, uint32_t policy)
{
    *state = fixture_new(workers, policy);
    return 0;
}

static inline int set_up_alone(void **state)
{
    return set_up_with(state, 1, KV_POLICY_SYNC);
}

static inline int set_up_pair(void **state)
{
    return set_up_with(state, 2, KV_POLICY_SYNC);
}

static inline int set_up_three(void **state)
{
    return set_up_with(state, 3, KV_POLICY_SYNC);
}

static inline int set_up_crowd(void **state)
{
    return set_up_with(state, 5, KV_POLICY_SYNC);
}

static inline int set_up_async(void **state)
{
    return set_up_with(state, 2, KV_POLICY_ASYNC);
}

static inline int set_up_three_async(void **state)
{
    return set_up_with(state, 3, KV_POLICY_ASYNC);
}

static inline int tear_down(void **state)
{
    fixture_free(*state);
    return 0;
}

#define TEST(name, how) cmocka_unit_test_setup_teardown(name, how, tear_down)

#endif
