/* Values that begin anew, with real servers, some of which are killed. */
#include "tests/integration/keys_fixture.h"

/* --- Resets --------------------------------------------------------------- */

/* What one rank of two does meanwhile. */
struct resetter {
    pthread_t thread;
    unsigned rank;
    struct kvw_item items[2];
    struct kvw_tensor tensors[2];
    size_t count;
    int status;
    char text[512];
};

static void *reset_now(void *arg)
{
    struct resetter *r = arg;

    r->status = kvw_reset(c.kv[r->rank], r->items, r->count);
    snprintf(r->text, sizeof r->text, "%s", kvw_error(c.kv[r->rank]));
    return NULL;
}

static void reset_start(struct resetter *r, unsigned rank, struct kvw_key key,
                        size_t count, float value)
{
    r->rank = rank;
    r->count = 1;
    fill(w[rank], count, value);
    r->tensors[0] = kvw_f32(w[rank], count);
    r->items[0] = item(key, &r->tensors[0]);
    pthread_create(&r->thread, NULL, reset_now, r);
}

static void reset_end(struct resetter *r)
{
    pthread_join(r->thread, NULL);
    if (r->status != KVW_OK) {
        fail_msg("rank %u: %s", r->rank, r->text);
    }
}

/* Rank 0's value counts. */
static void reset_all(struct kvw_key key, size_t count, float value)
{
    struct resetter r[2] = {{0}};

    for (unsigned rank = 0; rank < 2; rank++) {
        reset_start(&r[rank], rank, key, count, rank == 0 ? value : -12345.0f);
    }
    for (unsigned rank = 0; rank < 2; rank++) {
        reset_end(&r[rank]);
    }
}

static void test_a_reset_begins_anew_and_the_version_goes_on(void **state)
{
    static const size_t counts[] = {3, BIG};

    (void)state;
    for (int k = 0; k < 2; k++) {
        size_t count = counts[k];

        init_all(kvw_int(k), count, 8);
        expect_ok(c.kv[0],
                  kvw_set_optimizer(c.kv[0], "sgd", "lr=1,momentum=0.5"));
        round_of(kvw_int(k), count, 1); /* 8 - 2, momentum -2 */
        round_of(kvw_int(k), count, 1); /* 6 - 3, momentum -3 */
        expect_all(w[1], count, 3);
        reset_all(kvw_int(k), count, 100);
        assert_int_equal(version(1, kvw_int(k)), 3);
        pull(1, kvw_int(k), w[1], count);
        expect_ok(c.kv[1], kvw_wait_all(c.kv[1], KVW_FOREVER));
        expect_all(w[1], count, 100);
        round_of(kvw_int(k), count, 1); /* No momentum from before. */
        expect_all(w[0], count, 98);
        assert_int_equal(version(0, kvw_int(k)), 4);
    }
}

static void expect_near(const float *got, size_t count, float value)
{
    for (size_t i = 0; i < count; i++) {
        if (!(got[i] > value * 0.9999f && got[i] < value * 1.0001f)) {
            fail_msg("element %zu is %g instead of %g", i, (double)got[i],
                     (double)value);
        }
    }
}

/* Where all elements are alike, lamb moves them by lr of what they are: by the
 * norm of all slices, which the reset has changed. */
static void test_norms_are_of_the_value_that_a_key_was_reset_to(void **state)
{
    (void)state;
    init_all(kvw_str("w"), BIG, 8);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "lamb", "lr=0.25"));
    round_of(kvw_str("w"), BIG, 1);
    expect_near(w[1], BIG, 6);
    reset_all(kvw_str("w"), BIG, 100);
    round_of(kvw_str("w"), BIG, 1);
    expect_near(w[0], BIG, 75);
    assert_int_equal(version(1, kvw_str("w")), 3);
}

static void test_a_reset_is_in_order_with_pushes_and_pulls(void **state)
{
    struct resetter r = {0};

    (void)state;
    init_all(kvw_str("w"), 3, 0);
    for (unsigned rank = 0; rank < 2; rank++) {
        fill(g[rank], 3, 1);
        push(rank, kvw_str("w"), g[rank], 3);
    }
    pull(0, kvw_str("w"), g[0], 3); /* Of the round before. */
    reset_start(&r, 0, kvw_str("w"), 3, 50);
    expect_ok(c.kv[1], kvw_reset(c.kv[1], r.items, 1));
    pull(1, kvw_str("w"), g[1], 3);
    expect_ok(c.kv[1], kvw_wait_all(c.kv[1], KVW_FOREVER));
    reset_end(&r);
    expect_ok(c.kv[0], kvw_wait_all(c.kv[0], KVW_FOREVER));
    expect_all(g[0], 3, 2);
    expect_all(g[1], 3, 50);
}

static void test_who_pushes_into_a_reset_is_told_and_nobody_hangs(void **state)
{
    static const size_t counts[] = {3, BIG};
    struct resetter r = {0};

    (void)state;
    for (int k = 0; k < 2; k++) {
        struct kvw_tensor t = kvw_f32(g[1], counts[k]);
        struct kvw_item i = item(kvw_int(k), &t);
        struct kvw_op *op;

        init_all(kvw_int(k), counts[k], 7);
        round_of(kvw_int(k), counts[k], 1);
        expect_ok(c.kv[1], kvw_push(c.kv[1], &i, 1, NULL, &op));
        reset_start(&r, 0, kvw_int(k), counts[k], 50);
        expect_error(c.kv[1], kvw_wait(c.kv[1], op, KVW_FOREVER), KVW_EMISMATCH,
                     "round 2", "rank 0", "rank 1", "resets it",
                     "pushes a gradient", NULL);
        pthread_join(r.thread, NULL);
        assert_int_equal(r.status, KVW_EMISMATCH);
        expect_text(r.text, "round 2");
        pull(0, kvw_int(k), w[0], counts[k]); /* Nothing has changed. */
        expect_ok(c.kv[0], kvw_wait_all(c.kv[0], KVW_FOREVER));
        expect_all(w[0], counts[k], 2);
        reset_all(kvw_int(k), counts[k], 50);
        round_of(kvw_int(k), counts[k], 3);
        expect_all(w[1], counts[k], 6);
        assert_int_equal(version(1, kvw_int(k)), 3);
    }
}

static void test_async_a_reset_is_rank_0s(void **state)
{
    struct kvw_tensor t = kvw_f32(w[0], BIG);
    struct kvw_item i = item(kvw_str("w"), &t);

    (void)state;
    init_all(kvw_str("w"), BIG, 1);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", "lr=1"));
    round_of(kvw_str("w"), BIG, 1);
    fill(w[0], BIG, 30);
    expect_ok(c.kv[1], kvw_reset(c.kv[1], &i, 1)); /* Checks only. */
    expect_ok(c.kv[0], kvw_reset(c.kv[0], &i, 1));
    pull(1, kvw_str("w"), w[1], BIG);
    expect_ok(c.kv[1], kvw_wait_all(c.kv[1], KVW_FOREVER));
    expect_all(w[1], BIG, 30);
    assert_int_equal(version(1, kvw_str("w")), 3);
    round_of(kvw_str("w"), BIG, 1);
    pull(0, kvw_str("w"), w[0], BIG);
    expect_ok(c.kv[0], kvw_wait_all(c.kv[0], KVW_FOREVER));
    expect_all(w[0], BIG, 28);
}

static void test_a_row_sparse_key_is_reset_as_a_whole(void **state)
{
    static float table[2][8], got[2][8];
    static struct kvw_tensor t[2], out[2];
    struct resetter r[2] = {{0}};
    int64_t row = 2;

    (void)state;
    for (unsigned rank = 0; rank < 2; rank++) {
        t[rank] = kvw_f32_rows(table[rank], NULL, 4, 4, 2);
        out[rank] = kvw_f32_rows(got[rank], NULL, 4, 4, 2);
        fill(table[rank], 8, 1);
        r[rank].items[0] = item(kvw_str("table"), &t[rank]);
        expect_ok(c.kv[rank], kvw_init(c.kv[rank], r[rank].items, 1));
    }
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd",
                                         "lr=1,momentum=0.5,lazy_update=1"));
    for (unsigned rank = 0; rank < 2; rank++) {
        struct kvw_tensor some = kvw_f32_rows(g[rank], &row, 1, 4, 2);
        struct kvw_item i = item(kvw_str("table"), &some);

        fill(g[rank], 2, 1);
        expect_ok(c.kv[rank], kvw_push(c.kv[rank], &i, 1, NULL, NULL));
    }
    wait_all();
    for (unsigned rank = 0; rank < 2; rank++) {
        fill(table[rank], 8, rank == 0 ? 9 : -1);
        r[rank].rank = rank;
        r[rank].count = 1;
        pthread_create(&r[rank].thread, NULL, reset_now, &r[rank]);
    }
    reset_end(&r[0]);
    reset_end(&r[1]);
    for (unsigned rank = 0; rank < 2; rank++) {
        struct kvw_item i = item(kvw_str("table"), &out[rank]);

        expect_ok(c.kv[rank], kvw_pull(c.kv[rank], &i, 1, NULL, NULL));
    }
    wait_all();
    expect_all(got[1], 8, 9);
    assert_int_equal(version(0, kvw_str("table")), 2);
}

static void test_a_reset_of_what_is_not_registered(void **state)
{
    struct kvw_tensor t = kvw_f32(w[0], 3), longer = kvw_f32(w[0], 4);
    struct kvw_item i = item(kvw_str("w"), &t);
    struct kvw_item wrong = item(kvw_str("w"), &longer);

    (void)state;
    expect_error(c.kv[0], kvw_reset(c.kv[0], &i, 1), KVW_ENOTFOUND, "key 'w'",
                 NULL);
    init(0, kvw_str("w"), w[0], 3);
    expect_error(c.kv[0], kvw_reset(c.kv[0], &wrong, 1), KVW_EMISMATCH,
                 "key 'w'", "(3)", "(4)", NULL);
    expect_error(c.kv[0], kvw_reset(c.kv[0], NULL, 1), KVW_EINVAL, NULL);
    expect_ok(c.kv[0], kvw_reset(c.kv[0], &i, 1));
}

/* --- Kills ---------------------------------------------------------------- */

static void test_killed_servers_do_not_disturb_resets(void **state)
{
    struct killer k = {.over = false, .steps = 0};

    (void)state;
    init_all(kvw_str("w"), BIG, 0);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", "lr=1,momentum=0.5"));
    pthread_create(&k.thread, NULL, keep_killing, &k);
    for (int i = 0; i < 40; i++) {
        reset_all(kvw_str("w"), BIG, (float)i);
        round_of(kvw_str("w"), BIG, 1);
        atomic_fetch_add(&k.steps, 1);
        round_of(kvw_str("w"), BIG, 1);
        expect_all(w[1], BIG, (float)i - 5);
        atomic_fetch_add(&k.steps, 1);
    }
    atomic_store(&k.over, true);
    pthread_join(k.thread, NULL);
    assert_int_equal(version(0, kvw_str("w")), 120);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_reset_begins_anew_and_the_version_goes_on, set_up),
        TEST(test_norms_are_of_the_value_that_a_key_was_reset_to, set_up),
        TEST(test_a_reset_is_in_order_with_pushes_and_pulls, set_up),
        TEST(test_who_pushes_into_a_reset_is_told_and_nobody_hangs, set_up),
        TEST(test_async_a_reset_is_rank_0s, set_up_async),
        TEST(test_a_row_sparse_key_is_reset_as_a_whole, set_up),
        TEST(test_a_reset_of_what_is_not_registered, set_up_alone),
        TEST(test_killed_servers_do_not_disturb_resets, set_up),
    };

    return cmocka_run_group_tests_name("worker reset", tests, NULL, NULL);
}
