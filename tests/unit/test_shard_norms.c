/* lars, lamb and lans on tables: a row_sparse push stands for the dense
 * gradient whose other rows are zero, and norms are of all rows. */
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

static void *copy_to;

static void on_pulled(void *ctx, const struct shard_answer *a)
{
    if (a->pull && a->value != NULL && copy_to != NULL) {
        memcpy(copy_to, a->value, a->size);
    }
    on_answer(ctx, a);
}

static size_t count_of(const struct pair *p)
{
    return p->form.rows * p->form.length;
}

static const void *encoded(const struct pair *p, const float *from)
{
    kv_from_f32(p->dtype, from, narrow, count_of(p));
    return narrow;
}

/* Made, or found again; `from` are the first weights. */
static void open_pair(struct fixture *f, struct pair *p, const float *from)
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

static void next_life(struct fixture *f, struct pair *p)
{
    const struct shard_events events = {on_pulled,  on_opened,   on_norms,
                                        on_skipped, on_released, f};

    shard_free(f->shard);
    home_drop(&f->home);
    home_open(&f->home);
    KV_CHECK(shard_new(f->home.arena, f->workers, &f->pool, &events, &f->shard,
                       f->error, sizeof f->error) == KV_OK);
    KV_CHECK(shard_policy(f->shard, f->policy, 0, f->error, sizeof f->error) ==
             KV_OK);
    if (p != NULL) {
        open_pair(f, p, first);
    }
}

static int set_up_policy(void **state, uint32_t policy)
{
    struct fixture *f = fixture_new(RANKS, policy);

    next_life(f, NULL);
    *state = f;
    return 0;
}

static int set_up(void **state)
{
    return set_up_policy(state, KV_POLICY_SYNC);
}

static int set_up_async(void **state)
{
    return set_up_policy(state, KV_POLICY_ASYNC);
}

static int tear_down(void **state)
{
    fixture_free(*state);
    return 0;
}

/* --- A round -------------------------------------------------------------- */

/* Of each rank some rows, or none; never 0, whose sign a sum of zeros loses. */
static void choose_gradients(const struct pair *p)
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

static void push_rows(struct fixture *f, const struct pair *p, uint32_t rank,
                      uint64_t round)
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
                    (size_t)(at - payload), NULL, f->now_ms);
    memset(payload, 0xff, sizeof payload);
}

static void push_dense(struct fixture *f, const struct pair *p, uint32_t rank,
                       uint64_t round)
{
    shard_push(f->shard, rank, p->slot[1], round, 0, encoded(p, gradient[rank]),
               count_of(p) * kv_dtype_size(p->dtype), NULL, f->now_ms);
    memset(narrow, 0xff, sizeof narrow);
}

static void push_all(struct fixture *f, const struct pair *p, bool dense,
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
static void expect_measured(struct fixture *f, const struct pair *p, bool dense,
                            unsigned passes, uint64_t round,
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
static void one_round(struct fixture *f, struct pair *p,
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

static void pull_both(struct fixture *f, const struct pair *p)
{
    for (unsigned dense = 0; dense < 2; dense++) {
        copy_to = value[dense];
        shard_pull(f->shard, 0, p->slot[dense], 0);
        copy_to = NULL;
        expect_status(next_seen(f), KV_OK);
        expect_silence(f);
    }
    kv_to_f32(p->dtype, value[0], seen_value, count_of(p));
}

static void expect_right(const struct pair *p, const struct kv_optim_spec *spec,
                         const char *params, uint64_t round)
{
    double limit =
        p->dtype == KV_F32 ? whole_tolerance(spec->optim->name) : 2e-3;

    for (size_t i = 0; i < count_of(p); i++) {
        double error = fabs((double)seen_value[i] - right.w[i]);

        if (!(error <= limit * (1 + fabs(right.w[i])))) {
            fail_msg("%s %s, rows of %zu: after round %llu [%zu] is %.9g, not "
                     "%.9g",
                     spec->optim->name, params, p->form.length,
                     (unsigned long long)round, i, (double)seen_value[i],
                     right.w[i]);
        }
    }
}

/* --- Tests ---------------------------------------------------------------- */

static struct kv_optim_spec set(struct fixture *f, const char *name,
                                const char *params)
{
    struct kv_optim_spec spec;

    set_optimizer(f, name, params);
    assert_int_equal(
        kv_optim_parse(name, params, &spec, f->error, sizeof f->error), KV_OK);
    return spec;
}

static void begin(struct fixture *f, struct pair *p)
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

/* A pair under one optimizer: the table against the formula, and, unless only
 * pushed rows move, against the dense value, bit for bit. */
static void train(struct fixture *f, const char *name, const char *params,
                  struct pair p)
{
    struct kv_optim_spec spec = set(f, name, params);
    size_t size = count_of(&p) * kv_dtype_size(p.dtype);

    begin(f, &p);
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        one_round(f, &p, &spec, round);
        whole_update(&right, &spec, sum, moves);
        pull_both(f, &p);
        expect_right(&p, &spec, params, round);
        if (!kv_optim_lazy(&spec) && memcmp(value[0], value[1], size) != 0) {
            fail_msg("%s %s, rows of %zu: not the bits of a dense value", name,
                     params, p.form.length);
        }
    }
}

static void test_a_table_moves_as_the_dense_value_it_stands_for(void **state)
{
    for (size_t i = 0; i < WHOLE_GRID; i++) {
        char params[192];
        const char *name = whole_grid(params, 160, i);

        if (strcmp(name, "lars") == 0) {
            strcat(params, ",lazy_update=0");
        }
        train(*state, name, params,
              (struct pair){.form = forms[i / 4 % FORMS],
                            .dtype = KV_F32,
                            .halved = i / 24 % 2 == 1});
    }
}

static void test_halves_with_and_without_masters_do_too(void **state)
{
    static const char *const recipes[][2] = {
        {"lamb", "lr=0.1,wd=0.03,multi_precision=1"},
        {"lamb", "lr=0.1"},
        {"lans", "lr=0.1,multi_precision=1"},
        {"lars", "lr=2,eta=0.1,momentum=0.9,lazy_update=0,multi_precision=1"},
    };

    for (size_t i = 0; i < 4 * FORMS; i++) {
        train(*state, recipes[i % 4][0], recipes[i % 4][1],
              (struct pair){
                  .form = forms[i / 4], .dtype = KV_F16, .halved = i % 2 == 1});
    }
}

/* As MXNet's: the ratio is of all rows, and only those pushed move. */
static void test_lazy_lars_measures_all_rows_and_moves_the_pushed(void **state)
{
    static const char *const params[] = {"lr=2,eta=0.1,wd=0.05,momentum=0.9",
                                         "lr=2,eta=0.1,wd=0.05"};

    for (size_t i = 0; i < 4 * FORMS; i++) {
        train(*state, "lars", params[i % 2],
              (struct pair){.form = forms[i / 4],
                            .dtype = KV_F32,
                            .halved = i / 2 % 2 == 1});
    }
}

/* Another optimizer begins anew: what state there was counts as none. */
static void test_state_of_another_optimizer_is_not_measured(void **state)
{
    struct fixture *f = *state;
    struct pair p = {.form = {5, 100}, .dtype = KV_F32};
    struct kv_optim_spec spec = set(f, "adam", "lr=0.1");

    begin(f, &p);
    choose_gradients(&p);
    push_all(f, &p, false, 1);
    push_all(f, &p, true, 1);
    f->seen_next = f->seen_count = 0;
    pull_both(f, &p);
    whole_start(&right, seen_value, count_of(&p));
    spec = set(f, "lamb", "lr=0.1");
    for (uint64_t round = 2; round <= ROUNDS; round++) {
        one_round(f, &p, &spec, round);
        whole_update(&right, &spec, sum, moves);
        pull_both(f, &p);
        expect_right(&p, &spec, "", round);
    }
}

/* --- What a rank holds ------------------------------------------------------
 */

static struct pair halved(struct fixture *f, size_t length)
{
    struct pair p = {.form = {4, length}, .dtype = KV_F32, .halved = true};

    (void)set(f, "lamb", "lr=0.1");
    begin(f, &p);
    choose_gradients(&p);
    return p;
}

/* All slices of a key must come before one is committed: those that wait for
 * that do not count, or a rank would be stopped on the way. */
static void test_what_is_measured_does_not_count_as_held(void **state)
{
    static const size_t lengths[] = {10, 2000}; /* Side by side, and alone. */
    struct fixture *f = *state;

    for (size_t i = 0; i < 2; i++) {
        struct pair p = halved(f, lengths[i]);

        push_dense(f, &p, 0, 1);
        assert_true(shard_held(f->shard, 0) >= count_of(&p) * 4);
        push_dense(f, &p, 1, 1);
        assert_int_equal(shard_held(f->shard, 0), 0);
        assert_int_equal(shard_held(f->shard, 1), 0);
        push_rows(f, &p, 0, 1); /* Where those lie, another comes to lie. */
        assert_true(shard_held(f->shard, 0) > 0);
        shard_forget(f->shard, 0);
        assert_int_equal(shard_held(f->shard, 0), 0);
        assert_true(shard_held(f->shard, 1) >= count_of(&p) * 4);
        push_dense(f, &p, 0, 1); /* Again, after a reconnect. */
        assert_int_equal(shard_held(f->shard, 1), 0);
        shard_forget(f->shard, 0);
        shard_forget(f->shard, 1);
        assert_int_equal(shard_held(f->shard, 1), 0);
        f->seen_next = f->seen_count = 0;
    }
}

static void on_wait(void *ctx, uint32_t rank, uint32_t slot, uint64_t round,
                    uint64_t since_ms, const uint32_t *missing, uint32_t count)
{
    int *waits = ctx;

    (void)slot;
    (void)round;
    (void)since_ms;
    (void)missing;
    waits[rank] = (int)count;
}

/* A rank with such a round waits, and for nobody here; with another, too, it
 * waits for those who lack in that. */
static void test_who_is_measured_waits_for_nobody_here(void **state)
{
    struct fixture *f = *state;
    struct pair p = halved(f, 10);
    int waits[RANKS] = {-1, -1};

    push_dense(f, &p, 0, 1);
    push_dense(f, &p, 1, 1);
    shard_stalls(f->shard, f->now_ms, 0, on_wait, waits);
    assert_true(waits[0] == 0 && waits[1] == 0);
    push_rows(f, &p, 1, 1);
    shard_stalls(f->shard, f->now_ms, 0, on_wait, waits);
    assert_true(waits[0] == 0 && waits[1] == 1);
    shard_forget(f->shard, 0);
    shard_forget(f->shard, 1);
    f->seen_next = f->seen_count = 0;
}

/* In async each push is a round, of a key that has one slice. */
static void test_each_push_is_measured_in_async(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < FORMS; i++) {
        struct pair p = {.form = forms[i], .dtype = KV_F32};
        struct kv_optim_spec spec = set(f, "lans", "lr=0.1,wd=0.03");

        begin(f, &p);
        for (uint64_t round = 1; round <= ROUNDS; round++) {
            choose_gradients(&p);
            for (uint32_t rank = 0; rank < RANKS; rank++) {
                push_rows(f, &p, rank, round);
                push_dense(f, &p, rank, round);
                expect_ack(f, rank, p.slot[0], round);
                expect_ack(f, rank, p.slot[1], round);
                expect_silence(f);
                whole_update(&right, &spec, gradient[rank], NULL);
            }
            pull_both(f, &p);
            expect_right(&p, &spec, "in async", round);
            assert_memory_equal(value[0], value[1],
                                count_of(&p) * sizeof(float));
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_table_moves_as_the_dense_value_it_stands_for),
        TEST(test_halves_with_and_without_masters_do_too),
        TEST(test_lazy_lars_measures_all_rows_and_moves_the_pushed),
        TEST(test_state_of_another_optimizer_is_not_measured),
        TEST(test_what_is_measured_does_not_count_as_held),
        TEST(test_who_is_measured_waits_for_nobody_here),
        cmocka_unit_test_setup_teardown(test_each_push_is_measured_in_async,
                                        set_up_async, tear_down),
    };

    seed = chance_seed();
    return cmocka_run_group_tests_name("shard norms", tests, NULL, NULL);
}
