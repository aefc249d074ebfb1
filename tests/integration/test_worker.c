/* libkvworker against real servers: what each operation does. */
#include "common/compute/dtype.h"
#include "tests/integration/worker_fixture.h"

static void test_the_job_is_what_the_servers_say(void **state)
{
    (void)state;
    for (unsigned r = 0; r < 2; r++) {
        assert_int_equal(kvw_rank(c.kv[r]), r);
        assert_int_equal(kvw_num_workers(c.kv[r]), 2);
        assert_int_equal(kvw_num_servers(c.kv[r]), 2);
        assert_string_equal(kvw_type(c.kv[r]), "dist_sync");
    }
}

/* --- Rounds --------------------------------------------------------------- */

static void test_sgd_moves_the_weights_by_the_sum_of_the_ranks(void **state)
{
    struct kvw_key key = kvw_str("w");

    (void)state;
    init_all(key, BIG, 100);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", "lr=0.5"));
    for (int round = 1; round <= 4; round++) {
        for (unsigned rank = 0; rank < 2; rank++) {
            fill(g[rank], BIG, (float)(rank + 1));
            push(rank, key, g[rank], BIG);
            pull(rank, key, w[rank], BIG);
        }
        wait_all();
        expect_all(w[0], BIG, 100 - 1.5f * (float)round);
        expect_all(w[1], BIG, 100 - 1.5f * (float)round);
    }
}

static void test_a_schedule_is_kept_by_the_servers(void **state)
{
    static const float rate[] = {1, 1, 0.5f, 0.5f, 0.25f};
    float value = 0;

    (void)state;
    init_all(kvw_int(7), BIG, 0);
    expect_ok(c.kv[0],
              kvw_set_optimizer(c.kv[0], "sgd",
                                "lr=1,lr_scheduler=factor,step=2,factor=0.5"));
    for (int round = 0; round < 5; round++) {
        for (unsigned rank = 0; rank < 2; rank++) {
            fill(g[rank], BIG, 0.5f);
            push(rank, kvw_int(7), g[rank], BIG);
            pull(rank, kvw_int(7), w[rank], BIG);
        }
        if (round == 2) {
            cluster_kill(&c, 1);
            cluster_restart(&c, 1);
        }
        wait_all();
        value -= rate[round];
        expect_all(w[0], BIG, value);
    }
}

static void test_without_an_optimizer_the_sum_becomes_the_value(void **state)
{
    (void)state;
    init_all(kvw_int(7), 10, 5);
    for (unsigned rank = 0; rank < 2; rank++) {
        fill(g[rank], 10, (float)(rank + 3));
        push(rank, kvw_int(7), g[rank], 10);
        pull(rank, kvw_int(7), w[rank], 10);
    }
    wait_all();
    expect_all(w[0], 10, 7);
    expect_all(w[1], 10, 7);
}

static void test_a_pull_before_any_push_gets_the_value_of_rank_0(void **state)
{
    (void)state;
    fill(w[0], 10, 1);
    fill(w[1], 10, 2);
    init(0, kvw_int(7), w[0], 10);
    init(1, kvw_int(7), w[1], 10);
    pull(1, kvw_int(7), w[1], 10);
    wait_all();
    expect_all(w[1], 10, 1);
}

static void test_a_second_push_belongs_to_the_next_round(void **state)
{
    (void)state;
    init_all(kvw_int(1), 4, 0);
    fill(g[0], 4, 1);
    fill(g[0] + 4, 4, 10);
    push(0, kvw_int(1), g[0], 4);
    push(0, kvw_int(1), g[0] + 4, 4);
    pull(0, kvw_int(1), w[0], 4);
    fill(g[1], 4, 2);
    fill(g[1] + 4, 4, 20);
    push(1, kvw_int(1), g[1], 4);
    pull(1, kvw_int(1), w[1], 4);
    push(1, kvw_int(1), g[1] + 4, 4);
    wait_all();
    expect_all(w[0], 4, 30);
    expect_all(w[1], 4, 3);
}

static void test_the_live_learning_rate_keeps_the_momentum(void **state)
{
    (void)state;
    init_all(kvw_int(1), 4, 0);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", "lr=1,momentum=0.5"));
    fill(g[0], 4, 1);
    push(0, kvw_int(1), g[0], 4);
    expect_ok(c.kv[0], kvw_set_hyper(c.kv[0], NULL, "lr", 2, 0)); /* Waits. */
    push(0, kvw_int(1), g[0], 4);
    pull(0, kvw_int(1), w[0], 4);
    wait_all();
    expect_all(w[0], 4, -1 - 2.5f);
}

static void test_async_applies_each_push_exactly_once(void **state)
{
    (void)state;
    init_all(kvw_str("w"), BIG, 0);
    expect_ok(c.kv[1], kvw_set_optimizer(c.kv[1], "sgd", "lr=1"));
    fill(g[0], BIG, 1);
    for (int i = 0; i < 20; i++) {
        push(0, kvw_str("w"), g[0], BIG);
        push(1, kvw_str("w"), g[0], BIG);
    }
    wait_all();
    pull(0, kvw_str("w"), w[0], BIG);
    wait_all();
    expect_all(w[0], BIG, -40);
}

/* --- Shapes of a call ----------------------------------------------------- */

enum { MANY = 3000, EACH = 8 };

static void test_thousands_of_small_keys_travel_in_one_call(void **state)
{
    static struct kvw_tensor tensors[2][MANY];
    static struct kvw_item items[2][MANY];
    static char names[MANY][24];

    (void)state;
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "layer%d", i);
        for (unsigned r = 0; r < 2; r++) {
            tensors[r][i] = kvw_f32(&w[r][i * EACH], EACH);
            items[r][i] = item(kvw_str(names[i]), &tensors[r][i]);
        }
    }
    for (unsigned r = 0; r < 2; r++) {
        expect_ok(c.kv[r], kvw_init(c.kv[r], items[r], MANY));
        for (int i = 0; i < MANY * EACH; i++) {
            w[r][i] = (float)(i * (int)(r + 1));
        }
        expect_ok(c.kv[r],
                  kvw_pushpull(c.kv[r], items[r], NULL, MANY, NULL, NULL));
    }
    wait_all();
    for (int i = 0; i < MANY * EACH; i++) {
        assert_true(w[0][i] == (float)(3 * i) && w[1][i] == (float)(3 * i));
    }
}

static void test_per_device_tensors_are_summed_and_all_filled(void **state)
{
    struct kvw_tensor in[3], out[2];
    struct kvw_item pushed = {kvw_str("w"), in, 3};
    struct kvw_item pulled = {kvw_str("w"), out, 2};
    size_t count = BIG / 3;

    (void)state;
    init_all(kvw_str("w"), count, 0);
    for (size_t i = 0; i < 3; i++) {
        fill(g[0] + i * count, count, (float)(i + 1));
        in[i] = kvw_f32(g[0] + i * count, count);
    }
    out[0] = kvw_f32(w[0], count);
    out[1] = kvw_f32(w[0] + count, count);
    expect_ok(c.kv[0], kvw_pushpull(c.kv[0], &pushed, &pulled, 1, NULL, NULL));
    wait_all();
    expect_all(w[0], 2 * count, 6);
    expect_all(g[0], count, 1); /* Inputs stay as they were. */
}

static void test_broadcast_gives_everyone_the_value_of_rank_0(void **state)
{
    (void)state;
    for (unsigned rank = 0; rank < 2; rank++) {
        struct kvw_tensor t = kvw_f32(w[rank], BIG);
        struct kvw_item i = item(kvw_int(3), &t);

        fill(w[rank], BIG, (float)(rank + 1));
        expect_ok(c.kv[rank], kvw_broadcast(c.kv[rank], &i, NULL, 1));
        expect_all(w[rank], BIG, 1);
    }
}

static void test_a_broadcast_with_a_wrong_out_registers_nothing(void **state)
{
    float in[4] = {1, 2, 3, 4}, out[5];
    struct kvw_tensor from = kvw_f32(in, 4), small = kvw_f32(out, 4);
    struct kvw_tensor large = kvw_f32(out, 5);
    struct kvw_item i = item(kvw_str("b"), &from);
    struct kvw_item other = item(kvw_str("c"), &small);
    struct kvw_item wrong = item(kvw_str("b"), &large);
    struct kvw_item right = item(kvw_str("b"), &small);

    (void)state;
    assert_int_equal(kvw_broadcast(c.kv[0], &i, &other, 1), KVW_EINVAL);
    assert_int_equal(kvw_broadcast(c.kv[0], &i, &wrong, 1), KVW_EMISMATCH);
    assert_non_null(strstr(kvw_error(c.kv[0]), "key 'b'"));
    assert_non_null(strstr(kvw_error(c.kv[0]), "f32 (5)"));
    assert_int_equal(kvw_broadcast(c.kv[0], NULL, &right, 1), KVW_EINVAL);
    expect_ok(c.kv[0], kvw_broadcast(c.kv[0], &i, &right, 1));
    assert_memory_equal(out, in, sizeof in);
}

static void test_half_precision_is_summed_in_single(void **state)
{
    static const enum kvw_dtype dtypes[] = {KVW_F16, KVW_BF16};

    (void)state;
    for (int d = 0; d < 2; d++) {
        uint16_t half[6];
        const float values[] = {1.5f, -2, 0.25f, 4, 8, -16};
        float sum[6];
        struct kvw_tensor t = {half, dtypes[d], 2, {2, 3}, KVW_DENSE, NULL, 0};
        struct kvw_item i = item(kvw_int(d), &t);

        kv_from_f32((enum kv_dtype)dtypes[d], values, half, 6);
        expect_ok(c.kv[0], kvw_init(c.kv[0], &i, 1));
        expect_ok(c.kv[1], kvw_init(c.kv[1], &i, 1));
        for (unsigned r = 0; r < 2; r++) {
            struct kvw_call copy = {.flags = KVW_COPY};

            expect_ok(c.kv[r], kvw_push(c.kv[r], &i, 1, &copy, NULL));
        }
        expect_ok(c.kv[0], kvw_pull(c.kv[0], &i, 1, NULL, NULL));
        wait_all();
        kv_to_f32((enum kv_dtype)dtypes[d], half, sum, 6);
        for (int n = 0; n < 6; n++) {
            assert_true(sum[n] == 2 * values[n]);
        }
    }
}

static void test_a_copied_tensor_is_free_at_return(void **state)
{
    struct kvw_call copy = {.flags = KVW_COPY};
    struct kvw_tensor t = kvw_f32(g[0], BIG);
    struct kvw_item i = item(kvw_str("w"), &t);

    (void)state;
    init_all(kvw_str("w"), BIG, 0);
    for (int round = 1; round <= 5; round++) {
        fill(g[0], BIG, (float)round);
        expect_ok(c.kv[0], kvw_push(c.kv[0], &i, 1, &copy, NULL));
        fill(g[0], BIG, -1);
        pull(0, kvw_str("w"), w[0], BIG);
        wait_all();
        expect_all(w[0], BIG, (float)round);
    }
}

static void test_fp16_compression_halves_what_is_sent(void **state)
{
    struct kvw_stats before, after;

    (void)state;
    init_all(kvw_str("w"), BIG, 0);
    expect_ok(c.kv[0], kvw_set_gradient_compression(c.kv[0], "type=fp16"));
    fill(g[0], BIG, 0.333251953125f); /* Exact in fp16. */
    g[0][1] = 1.0f / 3;               /* Not exact. */
    expect_ok(c.kv[0], kvw_get_stats(c.kv[0], &before, sizeof before));
    push(0, kvw_str("w"), g[0], BIG);
    pull(0, kvw_str("w"), w[0], BIG);
    wait_all();
    expect_ok(c.kv[0], kvw_get_stats(c.kv[0], &after, sizeof after));
    expect_all(w[0], BIG, 0.333251953125f);
    assert_in_range(after.bytes_sent - before.bytes_sent, 2 * BIG,
                    2 * BIG + 4096);
    assert_in_range(after.bytes_received - before.bytes_received, 4 * BIG,
                    4 * BIG + 4096);
    assert_int_equal(after.pushes - before.pushes, 3);
    assert_int_equal(after.pulls - before.pulls, 3);
    assert_int_equal(after.reconnects, 0);
    assert_int_equal(after.resent, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_job_is_what_the_servers_say, set_up),
        TEST(test_sgd_moves_the_weights_by_the_sum_of_the_ranks, set_up),
        TEST(test_a_schedule_is_kept_by_the_servers, set_up),
        TEST(test_without_an_optimizer_the_sum_becomes_the_value, set_up),
        TEST(test_a_pull_before_any_push_gets_the_value_of_rank_0, set_up),
        TEST(test_a_second_push_belongs_to_the_next_round, set_up),
        TEST(test_the_live_learning_rate_keeps_the_momentum, set_up_alone),
        TEST(test_async_applies_each_push_exactly_once, set_up_async),
        TEST(test_thousands_of_small_keys_travel_in_one_call, set_up),
        TEST(test_per_device_tensors_are_summed_and_all_filled, set_up_alone),
        TEST(test_broadcast_gives_everyone_the_value_of_rank_0, set_up),
        TEST(test_a_broadcast_with_a_wrong_out_registers_nothing, set_up),
        TEST(test_half_precision_is_summed_in_single, set_up),
        TEST(test_a_copied_tensor_is_free_at_return, set_up_alone),
        TEST(test_fp16_compression_halves_what_is_sent, set_up_alone),
    };

    return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
