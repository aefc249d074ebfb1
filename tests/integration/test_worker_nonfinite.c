/* Gradients that are not finite, over real servers: what is told to whom. */
#include <math.h>

#include "tests/integration/worker_fixture.h"

#define KEY kvw_str("w")

/* Rank 1's first element is `odd`. */
static void round_with(float odd, size_t count)
{
    for (unsigned rank = 0; rank < 2; rank++) {
        fill(g[rank], count, 1);
    }
    g[1][0] = odd;
    push(1, KEY, g[1], count);
    push(0, KEY, g[0], count);
}

static void pull_and_expect(float first, float last, size_t count)
{
    for (unsigned rank = 0; rank < 2; rank++) {
        pull(rank, KEY, w[rank], count);
        expect_ok(c.kv[rank], kvw_wait_key(c.kv[rank], KEY, KVW_FOREVER));
        assert_true(w[rank][0] == first);
        assert_true(w[rank][count - 1] == last);
    }
}

static void start(const char *params, size_t count)
{
    init_all(KEY, count, 8);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", params));
}

static void test_skip_counts_and_goes_on(void **state)
{
    (void)state;
    start("lr=1", 100);
    round_with(NAN, 100);
    pull_and_expect(8, 8, 100);
    assert_int_equal(stats_of(0).skipped, 1);
    assert_int_equal(stats_of(1).skipped, 1);
    round_with(1, 100);
    pull_and_expect(6, 6, 100);
    assert_int_equal(stats_of(0).skipped, 1);
}

/* Slices are committed one by one: the others have their round. */
static void test_of_a_key_of_many_slices_one_is_left_out(void **state)
{
    (void)state;
    start("lr=1", BIG);
    round_with(INFINITY, BIG);
    pull_and_expect(8, 6, BIG);
    assert_int_equal(stats_of(0).skipped, 1);
}

/* But where they depend on each other, all of them are. */
static void test_with_norms_all_slices_are_left_out(void **state)
{
    (void)state;
    init_all(KEY, BIG, 8);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "lamb", "lr=1"));
    round_with(INFINITY, BIG);
    pull_and_expect(8, 8, BIG);
    assert_true(stats_of(0).skipped > 1);
}

static void test_error_names_the_key_the_round_and_who(void **state)
{
    (void)state;
    start("lr=1,nonfinite=error", 100);
    round_with(1, 100);
    wait_all();
    round_with(NAN, 100);
    for (unsigned rank = 0; rank < 2; rank++) {
        expect_error(c.kv[rank], kvw_wait_all(c.kv[rank], KVW_FOREVER),
                     KVW_ENONFINITE,
                     rank == 0 ? "rank 0: " : "rank 1: ", "key 'w' round 2",
                     "rank 1 pushed", NULL);
    }
    pull_and_expect(6, 6, 100);
    round_with(1, 100);
    wait_all();
    pull_and_expect(4, 4, 100);
}

static void test_of_a_key_in_slices_those_without_it_move(void **state)
{
    (void)state;
    start("lr=1,nonfinite=error", BIG);
    round_with(NAN, BIG);
    for (unsigned rank = 0; rank < 2; rank++) {
        expect_error(c.kv[rank], kvw_wait_all(c.kv[rank], KVW_FOREVER),
                     KVW_ENONFINITE, "key 'w' round 1", "in elements 0 to ",
                     NULL);
    }
    pull_and_expect(8, 6, BIG);
}

static void test_a_pushpull_fails_and_has_the_value(void **state)
{
    struct kvw_tensor in[2], out[2];
    struct kvw_item push[2], pull[2];

    (void)state;
    start("lr=1,nonfinite=error", 100);
    for (unsigned rank = 0; rank < 2; rank++) {
        fill(g[rank], 100, rank == 0 ? NAN : 1);
        in[rank] = kvw_f32(g[rank], 100);
        out[rank] = kvw_f32(w[rank], 100);
        push[rank] = item(KEY, &in[rank]);
        pull[rank] = item(KEY, &out[rank]);
        fill(w[rank], 100, 0);
        expect_ok(c.kv[rank], kvw_pushpull(c.kv[rank], &push[rank], &pull[rank],
                                           1, NULL, NULL));
    }
    for (unsigned rank = 0; rank < 2; rank++) {
        expect_error(c.kv[rank], kvw_wait_all(c.kv[rank], KVW_FOREVER),
                     KVW_ENONFINITE, "rank 0 pushed", NULL);
        expect_all(w[rank], 100, 8);
    }
}

static void test_async_only_the_pusher_is_told(void **state)
{
    (void)state;
    start("lr=1,nonfinite=error", 100);
    round_with(NAN, 100);
    expect_error(c.kv[1], kvw_wait_all(c.kv[1], KVW_FOREVER), KVW_ENONFINITE,
                 "key 'w' round 1", "rank 1 pushed", NULL);
    expect_ok(c.kv[0], kvw_wait_all(c.kv[0], KVW_FOREVER));
    pull_and_expect(7, 7, 100);
}

/* 7e4 is no f16. */
static void test_what_a_codec_makes_infinite_is_found(void **state)
{
    (void)state;
    start("lr=1,nonfinite=error", 100);
    for (unsigned rank = 0; rank < 2; rank++) {
        expect_ok(c.kv[rank],
                  kvw_set_gradient_compression(c.kv[rank], "type=fp16"));
    }
    round_with(7e4f, 100);
    expect_error(c.kv[0], kvw_wait_all(c.kv[0], KVW_FOREVER), KVW_ENONFINITE,
                 "rank 1 pushed", NULL);
    expect_error(c.kv[1], kvw_wait_all(c.kv[1], KVW_FOREVER), KVW_ENONFINITE,
                 "rank 1 pushed", NULL);
    pull_and_expect(8, 8, 100);
}

static void test_an_unknown_word_lists_the_known(void **state)
{
    (void)state;
    expect_error(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", "nonfinite=ignore"),
                 KVW_EINVAL, "nonfinite", "skip, error or allow", "ignore",
                 NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_skip_counts_and_goes_on, set_up),
        TEST(test_of_a_key_of_many_slices_one_is_left_out, set_up),
        TEST(test_with_norms_all_slices_are_left_out, set_up),
        TEST(test_error_names_the_key_the_round_and_who, set_up),
        TEST(test_of_a_key_in_slices_those_without_it_move, set_up),
        TEST(test_a_pushpull_fails_and_has_the_value, set_up),
        TEST(test_async_only_the_pusher_is_told, set_up_async),
        TEST(test_what_a_codec_makes_infinite_is_found, set_up),
        TEST(test_an_unknown_word_lists_the_known, set_up_alone),
    };

    return cmocka_run_group_tests_name("worker nonfinite", tests, NULL, NULL);
}
