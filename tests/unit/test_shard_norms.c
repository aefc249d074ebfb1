/* lars, lamb and lans on tables: a row_sparse push stands for the dense
 * gradient whose other rows are zero, and norms are of all rows. */
#include "tests/unit/shard_pair_fixture.h"

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

/* Its rank may have missed them, and another slice may wait for the totals. A
 * key of one slice needs nobody. */
static void test_a_push_that_comes_again_has_its_sums_told_again(void **state)
{
    struct fixture *f = *state;
    struct kv_optim_spec spec = set(f, "lans", "lr=0.1");

    for (uint32_t halved = 0; halved < 2; halved++) {
        struct pair p = {
            .form = forms[0], .dtype = KV_F32, .halved = halved == 1};

        begin(f, &p);
        one_round(f, &p, &spec, 1);
        push_dense(f, &p, 0, 1);
        for (uint32_t pass = 0; halved == 1 && pass < 2; pass++) {
            const struct seen *s = next_seen(f);

            assert_true(s->norms);
            assert_int_equal(s->pass, pass);
        }
        expect_ack(f, 0, p.slot[1], 1);
        expect_silence(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_table_moves_as_the_dense_value_it_stands_for,
             set_up_tables),
        TEST(test_halves_with_and_without_masters_do_too, set_up_tables),
        TEST(test_lazy_lars_measures_all_rows_and_moves_the_pushed,
             set_up_tables),
        TEST(test_state_of_another_optimizer_is_not_measured, set_up_tables),
        TEST(test_each_push_is_measured_in_async, set_up_tables_async),
        TEST(test_a_push_that_comes_again_has_its_sums_told_again,
             set_up_tables),
    };

    seed = chance_seed();
    return cmocka_run_group_tests_name("shard norms", tests, NULL, NULL);
}
