/* A local store: gradients that are not finite. */
#include <math.h>

#include "tests/unit/local_fixture.h"

#define LARGE 100000 /* More than a piece. */

static float w[LARGE], g[LARGE];

static uint64_t skipped(void)
{
    struct kvw_stats s;

    expect_ok(kvw_get_stats(kv, &s, sizeof s));
    return s.skipped;
}

static void test_skip_leaves_all_of_the_value(void **state)
{
    struct kvw_tensor wt = kvw_f32(w, LARGE), gt = kvw_f32(g, LARGE);
    struct kvw_item pull = {kvw_str("w"), &wt, 1},
                    push = {kvw_str("w"), &gt, 1};
    static const size_t places[] = {0, 511, 512, LARGE / 2, LARGE - 1};

    (void)state;
    fill(w, LARGE, 8);
    expect_ok(kvw_init(kv, &pull, 1));
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1,momentum=0.5"));
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        fill(g, LARGE, 1);
        g[places[i]] = NAN;
        expect_ok(kvw_pushpull(kv, &push, &pull, 1, NULL, NULL));
        wait_all();
        expect_all(w, LARGE, 8);
        assert_int_equal(skipped(), i + 1);
    }
    fill(g, LARGE, 1);
    expect_ok(kvw_pushpull(kv, &push, &pull, 1, NULL, NULL));
    wait_all();
    expect_all(w, LARGE, 7);
}

static void test_error_fails_the_push(void **state)
{
    (void)state;
    init(kvw_str("w"), 8);
    expect_ok(kvw_set_optimizer(kv, "adam", "nonfinite=error"));
    expect_error(try_push(kvw_str("w"), 1, INFINITY), KVW_ENONFINITE,
                 "key 'w' round 1", "not finite");
    expect_pull(kvw_str("w"), 1, 8);
    /* Each is, their sum is not. */
    expect_error(try_push(kvw_str("w"), 2, 3e38f), KVW_ENONFINITE, "round 2",
                 NULL);
    expect_pull(kvw_str("w"), 1, 8);
}

static void test_allow_and_no_optimizer_let_it_pass(void **state)
{
    float data[EACH];
    struct kvw_tensor t = kvw_f32(data, EACH);
    struct kvw_item item = {kvw_str("w"), &t, 1};

    (void)state;
    init(kvw_str("w"), 8);
    push(kvw_str("w"), 1, INFINITY);
    expect_pull(kvw_str("w"), 1, INFINITY);
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1,nonfinite=allow"));
    push(kvw_str("w"), 1, NAN);
    expect_ok(kvw_pull(kv, &item, 1, NULL, NULL));
    wait_all();
    assert_true(isnan(data[0]));
    assert_int_equal(skipped(), 0);
}

static void test_accumulated_doubles(void **state)
{
    double data[3] = {1, 2, 3}, more[3] = {1, NAN, 1};
    struct kvw_tensor t = {data, KVW_F64, 1, {3}, KVW_DENSE, NULL, 0};
    struct kvw_tensor u = {more, KVW_F64, 1, {3}, KVW_DENSE, NULL, 0};
    struct kvw_item pull = {kvw_int(1), &t, 1}, push = {kvw_int(1), &u, 1};

    (void)state;
    expect_ok(kvw_init(kv, &pull, 1));
    expect_ok(kvw_set_optimizer(kv, "accumulate", ""));
    expect_ok(kvw_pushpull(kv, &push, &pull, 1, NULL, NULL));
    wait_all();
    assert_true(data[0] == 1 && data[1] == 2 && data[2] == 3);
}

/* Lazily, or as the gradient that they stand for. */
static void expect_rows_left_out(const char *params)
{
    float table[8] = {8, 8, 8, 8, 8, 8, 8, 8}, rows[4] = {1, 1, 1, -INFINITY};
    int64_t numbers[2] = {1, 3};
    struct kvw_tensor whole = kvw_f32_rows(table, NULL, 4, 4, 2);
    struct kvw_tensor some = kvw_f32_rows(rows, numbers, 2, 4, 2);
    struct kvw_item pull = {kvw_str(params), &whole, 1};
    struct kvw_item push = {kvw_str(params), &some, 1};

    expect_ok(kvw_init(kv, &pull, 1));
    expect_ok(kvw_set_optimizer(kv, "sgd", params));
    expect_ok(kvw_push(kv, &push, 1, NULL, NULL));
    expect_ok(kvw_pull(kv, &pull, 1, NULL, NULL));
    wait_all();
    expect_all(table, 8, 8);
    rows[3] = 1;
    expect_ok(kvw_push(kv, &push, 1, NULL, NULL));
    expect_ok(kvw_pull(kv, &pull, 1, NULL, NULL));
    wait_all();
    assert_true(table[2] == 7 && table[7] == 7 && table[0] == 8);
}

static void test_rows(void **state)
{
    (void)state;
    expect_rows_left_out("lr=1");
    expect_rows_left_out("lr=1,lazy_update=0");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_skip_leaves_all_of_the_value),
        TEST(test_error_fails_the_push),
        TEST(test_allow_and_no_optimizer_let_it_pass),
        TEST(test_accumulated_doubles),
        TEST(test_rows),
    };

    return cmocka_run_group_tests_name("local nonfinite", tests, NULL, NULL);
}
