/**
 * shard_pair_fixture - a table and a dense value that get the same, under rules
 * that need norms of the whole key.
 */
#ifndef KV_TESTS_UNIT_SHARD_PAIR_FIXTURE_H
#define KV_TESTS_UNIT_SHARD_PAIR_FIXTURE_H

#include "common/base/bytes.h"
#include "common/compute/dtype.h"
#include "tests/unit/chance.h"
#include "tests/unit/optim_norms_reference.h"
#include "tests/unit/shard_fixture.h"

enum { RANKS = 2, ROUNDS = 4, COUNT_MAX = WHOLE_MAX };

/* Short rows, long ones, and those whose parts begin inside a codec's group. */
static const struct form {
    size_t rows, length;
} forms[] = {{3, 20}, {700, 3}, {7, 1}, {31, 64}, {4, 2048}, {3, 2700}};

#define FORMS (sizeof forms / sizeof *forms)

/* A table, and a dense value that gets the same. */
struct pair {
    struct form form;
    enum kv_dtype dtype;
    bool halved; /* They are slice 0 of 2: the shard asks for totals. */
    uint32_t id, slot[2];
};

static uint64_t seed;
static float gradient[RANKS][COUNT_MAX], sum[COUNT_MAX], first[COUNT_MAX];
static unsigned char chosen[RANKS][COUNT_MAX], moves[COUNT_MAX];
static unsigned char value[2][COUNT_MAX * 4], narrow[COUNT_MAX * 4];
static unsigned char payload[4 + COUNT_MAX * 8];
static float seen_value[COUNT_MAX];
static struct whole right;

/* --- Seeing all of a value ------------------------------------------------ */

static inline size_t count_of(const struct pair *p)
{
    return p->form.rows * p->form.length;
}

static inline const void *encoded(const struct pair *p, const float *from)
{
    kv_from_f32(p->dtype, from, narrow, count_of(p));
    return narrow;
}

/* Made, or found again; `from` are the first weights. */
static inline void open_pair(struct fixture *f, struct pair *p,
                             const float *from)
{
    for (uint32_t dense = 0; dense < 2; dense++) {
        struct slice_desc d = {2 * p->id + dense,
                               0,
                               p->dtype,
                               count_of(p),
                               dense == 0 ? p->form.length : 0,
                               p->halved ? 2 : 1,
                               false,
                               0,
                               0};
        const struct seen *s;

        shard_open(f->shard, 0, 1, &d, encoded(p, from),
                   count_of(p) * kv_dtype_size(p->dtype));
        s = next_seen(f);
        expect_status(s, KV_OK);
        p->slot[dense] = s->slot;
    }
    expect_silence(f);
}

static inline void next_life(struct fixture *f, struct pair *p)
{
    crash(f);
    if (p != NULL) {
        open_pair(f, p, first);
    }
}

static inline int set_up_tables_with(void **state, uint32_t policy)
{
    struct fixture *f = fixture_new(RANKS, policy);

    next_life(f, NULL);
    *state = f;
    return 0;
}

static inline int set_up_tables(void **state)
{
    return set_up_tables_with(state, KV_POLICY_SYNC);
}

static inline int set_up_tables_async(void **state)
{
    return set_up_tables_with(state, KV_POLICY_ASYNC);
}

/* --- A round -------------------------------------------------------------- */

/* Of each rank some rows, or none; never 0, whose sign a sum of zeros loses. */
static inline void choose_gradients(const struct pair *p)
{
    size_t length = p->form.length;

    memset(moves, 0, sizeof moves);
    memset(sum, 0, sizeof sum);
    for (unsigned rank = 0; rank < RANKS; rank++) {
        memset(gradient[rank], 0, sizeof gradient[rank]);
        for (size_t row = 0; row < p->form.rows; row++) {
            chosen[rank][row] = chance(&seed, 3) == 0;
            for (size_t i = row * length;
                 chosen[rank][row] != 0 && i < (row + 1) * length; i++) {
                gradient[rank][i] = (float)(chance(&seed, 4000) + 1) / 2000;
                moves[i] = 1;
            }
        }
        encoded(p, gradient[rank]);
        kv_to_f32(p->dtype, narrow, gradient[rank], count_of(p));
        for (size_t i = 0; i < count_of(p); i++) {
            sum[i] += gradient[rank][i];
        }
    }
}

static inline void push_rows(struct fixture *f, const struct pair *p,
                             uint32_t rank, uint64_t round)
{
    size_t unit = kv_dtype_size(p->dtype) * p->form.length;
    const unsigned char *from = encoded(p, gradient[rank]);
    unsigned char *at = payload + 4;
    uint32_t count = 0;

    for (uint32_t row = 0; row < p->form.rows; row++) {
        if (chosen[rank][row] != 0) {
            bytes_put_u32(at, row);
            at += 4;
            count++;
        }
    }
    bytes_put_u32(payload, count);
    for (uint32_t row = 0; row < p->form.rows; row++) {
        if (chosen[rank][row] != 0) {
            memcpy(at, from + row * unit, unit);
            at += unit;
        }
    }
    shard_push_rows(f->shard, rank, p->slot[0], round, 0, payload,
                    (size_t)(at - payload), NULL);
    memset(payload, 0xff, sizeof payload);
}

static inline void push_dense(struct fixture *f, const struct pair *p,
                              uint32_t rank, uint64_t round)
{
    shard_push(f->shard, rank, p->slot[1], round, 0, encoded(p, gradient[rank]),
               count_of(p) * kv_dtype_size(p->dtype), NULL);
    memset(narrow, 0xff, sizeof narrow);
}

static inline void push_all(struct fixture *f, const struct pair *p, bool dense,
                            uint64_t round)
{
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        if (dense) {
            push_dense(f, p, rank, round);
        } else {
            push_rows(f, p, rank, round);
        }
    }
}

/* What the shard has measured, of either; the other slice is all zeros, so that
 * the sums are the totals. */
static inline void expect_measured(struct fixture *f, const struct pair *p,
                                   bool dense, unsigned passes, uint64_t round,
                                   double sums[][KV_NORMS_MAX])
{
    for (unsigned pass = 0; pass < passes; pass++) {
        for (uint32_t rank = 0; rank < RANKS; rank++) {
            const struct seen *s = next_seen(f);

            assert_true(s->norms);
            assert_int_equal(s->pass, pass);
            assert_int_equal(s->round, round);
            memcpy(sums[pass], s->sums, sizeof s->sums);
        }
        shard_totals(f->shard, 0, p->slot[dense], round, pass, sums[pass]);
    }
}

/* With a kill before the totals are there, now and then. */
static inline void one_round(struct fixture *f, struct pair *p,
                             const struct kv_optim_spec *spec, uint64_t round)
{
    double sums[2][KV_PASSES_MAX][KV_NORMS_MAX] = {{{0}}};

    choose_gradients(p);
    if (p->halved && chance(&seed, 3) == 0) {
        push_all(f, p, false, round);
        f->seen_next = f->seen_count = 0;
        next_life(f, p);
    }
    for (unsigned dense = 0; dense < 2; dense++) {
        push_all(f, p, dense == 1, round);
        if (p->halved) {
            expect_measured(f, p, dense == 1, spec->optim->passes, round,
                            sums[dense]);
        }
        for (uint32_t rank = 0; rank < RANKS; rank++) {
            expect_ack(f, rank, p->slot[dense], round);
        }
        expect_silence(f);
    }
    if (!kv_optim_lazy(spec)) {
        assert_memory_equal(sums[0], sums[1], sizeof sums[0]);
    }
    if (chance(&seed, 3) == 0) {
        next_life(f, p);
    }
}

static inline void pull_both(struct fixture *f, const struct pair *p)
{
    for (unsigned dense = 0; dense < 2; dense++) {
        f->copy_to = value[dense];
        shard_pull(f->shard, 0, p->slot[dense], 0);
        f->copy_to = NULL;
        expect_status(next_seen(f), KV_OK);
        expect_silence(f);
    }
    kv_to_f32(p->dtype, value[0], seen_value, count_of(p));
}

/* --- A training ----------------------------------------------------------- */

static inline struct kv_optim_spec set(struct fixture *f, const char *name,
                                       const char *params)
{
    struct kv_optim_spec spec;

    set_optimizer(f, name, params);
    assert_int_equal(
        kv_optim_parse(name, params, &spec, f->error, sizeof f->error), KV_OK);
    return spec;
}

static inline void begin(struct fixture *f, struct pair *p)
{
    static uint32_t ids;

    p->id = ids++;
    for (size_t i = 0; i < count_of(p); i++) {
        first[i] = (float)chance(&seed, 2001) / 1000 - 1;
    }
    encoded(p, first);
    kv_to_f32(p->dtype, narrow, first, count_of(p));
    whole_start(&right, first, count_of(p));
    open_pair(f, p, first);
}

#endif
