/* Leaving the rounds and coming back, over real servers: the same bits, however
 * uneven the batches are and whatever happens to servers. */
#include <pthread.h>
#include <stdatomic.h>

#include "tests/integration/worker_fixture.h"

#define COUNT 40000 /* Elements: of one slice. */

enum { EPOCHS = 3, BATCHES = 4 };

static const struct kvw_key key = {"w", 0};

static void push_all(unsigned rank, size_t count, float gradient)
{
    fill(g[rank], count, gradient);
    push(rank, key, g[rank], count);
}

static void wait_for(unsigned rank)
{
    expect_ok(c.kv[rank], kvw_wait_all(c.kv[rank], PATIENCE));
}

static void expect_pulled(unsigned rank, size_t count, float value)
{
    pull(rank, key, w[rank], count);
    wait_for(rank);
    expect_all(w[rank], count, value);
}

/* Rank 1 in a thread, where it may have to wait for rank 0. */
static void *leaves(void *arg)
{
    (void)arg;
    return (void *)(intptr_t)kvw_leave(c.kv[1]);
}

static void expect_left(pthread_t thread)
{
    void *status = NULL;

    KV_CHECK(pthread_join(thread, &status) == 0);
    assert_int_equal((intptr_t)status, KVW_OK);
}

/* --- Leaving -------------------------------------------------------------- */

static void test_others_go_on_without_who_has_left(void **unused)
{
    pthread_t thread;

    (void)unused;
    init_all(key, BIG, 0);
    push_all(1, BIG, 1);
    KV_CHECK(pthread_create(&thread, NULL, leaves, NULL) == 0);
    push_all(0, BIG, 10); /* The round that both are in. */
    wait_for(0);
    expect_left(thread);
    expect_pulled(0, BIG, 11);
    for (int i = 0; i < 3; i++) {
        push_all(0, BIG, 20);
        wait_for(0);
    }
    expect_pulled(0, BIG, 20);
    expect_pulled(1, BIG, 20); /* It may still look. */
}

static void test_leaving_waits_for_pushes_and_says_for_whom(void **unused)
{
    pthread_t thread;

    (void)unused;
    init_all(key, COUNT, 0);
    push_all(1, COUNT, 1);
    KV_CHECK(pthread_create(&thread, NULL, leaves, NULL) == 0);
    expect_error(c.kv[1], kvw_wait_all(c.kv[1], 100), KVW_ETIMEOUT, "key 'w'",
                 NULL);
    push_all(0, COUNT, 2);
    expect_left(thread);
    expect_pulled(0, COUNT, 3);
}

static void test_a_push_after_leaving_is_refused(void **unused)
{
    struct kvw_tensor t = kvw_f32(g[1], COUNT);
    struct kvw_item i = item(key, &t);

    (void)unused;
    init_all(key, COUNT, 0);
    expect_ok(c.kv[1], kvw_leave(c.kv[1]));
    expect_ok(c.kv[1], kvw_push(c.kv[1], &i, 1, NULL, NULL));
    expect_error(c.kv[1], kvw_wait_all(c.kv[1], PATIENCE), KVW_EINVAL, "rank 1",
                 "kvw_join", NULL);
    push_all(0, COUNT, 2);
    wait_for(0);
    expect_ok(c.kv[1], kvw_join(c.kv[1]));
    push_all(0, COUNT, 2);
    push_all(1, COUNT, 3);
    wait_all();
    expect_pulled(1, COUNT, 5);
}

static void test_keys_registered_later_have_the_same_members(void **unused)
{
    (void)unused;
    expect_ok(c.kv[1], kvw_leave(c.kv[1]));
    init_all(key, BIG, 0);
    push_all(0, BIG, 3);
    wait_for(0);
    expect_pulled(1, BIG, 3);
    expect_ok(c.kv[1], kvw_join(c.kv[1]));
    push_all(0, BIG, 4);
    push_all(1, BIG, 5);
    wait_all();
    expect_pulled(0, BIG, 9);
}

static void test_when_all_have_left_nothing_waits(void **unused)
{
    (void)unused;
    init_all(key, COUNT, 7);
    expect_ok(c.kv[0], kvw_leave(c.kv[0]));
    expect_ok(c.kv[1], kvw_leave(c.kv[1]));
    expect_pulled(0, COUNT, 7);
    expect_ok(c.kv[0], kvw_join(c.kv[0]));
    push_all(0, COUNT, 8);
    wait_for(0);
    expect_pulled(1, COUNT, 8);
}

static void test_only_members_measure_norms(void **unused)
{
    (void)unused;
    init_all(key, BIG, 1);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "lamb", "lr=0.1"));
    expect_ok(c.kv[1], kvw_leave(c.kv[1]));
    push_all(0, BIG, 2);
    wait_for(0);
    expect_ok(c.kv[1], kvw_join(c.kv[1]));
    push_all(0, BIG, 2);
    push_all(1, BIG, 2);
    wait_all();
    pull(0, key, w[0], BIG);
    wait_for(0);
    assert_true(w[0][0] < 1 && w[0][0] == w[0][BIG - 1]);
}

static atomic_bool joined;

/* Rank 1, in several threads at once, until it has come back. */
static void *pulls(void *arg)
{
    struct kvw_tensor t = kvw_f32(arg, COUNT);
    struct kvw_item i = item(key, &t);

    while (!atomic_load(&joined)) {
        struct kvw_op *op;

        KV_CHECK(kvw_pull(c.kv[1], &i, 1, NULL, &op) == KVW_OK);
        KV_CHECK(kvw_wait(c.kv[1], op, PATIENCE) == KVW_OK);
    }
    return NULL;
}

/* What begins in the middle of it is neither lost nor stuck; and the first push
 * after it counts, in whatever order the calls of threads were made. */
static void test_pulls_while_a_rank_comes_back_are_answered(void **unused)
{
    (void)unused;
    init_all(key, COUNT, 0);
    for (int i = 1; i <= 200; i++) {
        pthread_t pulling[3];

        expect_ok(c.kv[1], kvw_leave(c.kv[1]));
        push_all(0, COUNT, (float)i);
        wait_for(0);
        atomic_store(&joined, false);
        for (int n = 0; n < 3; n++) {
            KV_CHECK(pthread_create(&pulling[n], NULL, pulls,
                                    w[1] + n * COUNT) == 0);
        }
        expect_ok(c.kv[1], kvw_join(c.kv[1]));
        atomic_store(&joined, true);
        for (int n = 0; n < 3; n++) {
            KV_CHECK(pthread_join(pulling[n], NULL) == 0);
        }
        wait_for(1);
        push_all(0, COUNT, 1);
        push_all(1, COUNT, 2);
        wait_all();
        expect_pulled(1, COUNT, 3);
    }
}

static void test_row_sparse_rounds_close_without_who_has_left(void **unused)
{
    int64_t row = 3;
    struct kvw_tensor table = kvw_f32(w[0], COUNT);
    struct kvw_tensor rows = kvw_f32_rows(g[0], &row, 1, 100, 4);
    struct kvw_item first = item(key, &table), i = item(key, &rows);

    (void)unused;
    table = kvw_f32_rows(w[0], NULL, 100, 100, 4);
    fill(w[0], 400, 1);
    expect_ok(c.kv[0], kvw_init(c.kv[0], &first, 1));
    expect_ok(c.kv[1], kvw_init(c.kv[1], &first, 1));
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", "lr=1"));
    expect_ok(c.kv[1], kvw_leave(c.kv[1]));
    fill(g[0], 4, 0.5f);
    expect_ok(c.kv[0], kvw_push(c.kv[0], &i, 1, NULL, NULL));
    wait_for(0);
    table.data = w[1];
    expect_ok(c.kv[1], kvw_pull(c.kv[1], &first, 1, NULL, NULL));
    wait_for(1);
    expect_all(w[1], 12, 1);
    expect_all(w[1] + 12, 4, 0.5f);
}

/* --- The end -------------------------------------------------------------- */

static void test_nobody_waits_for_a_worker_that_closed(void **unused)
{
    (void)unused;
    init_all(key, BIG, 0);
    push_all(0, BIG, 1);
    push_all(1, BIG, 2);
    wait_all();
    push_all(0, BIG, 4);
    cluster_close(&c, 1);
    wait_for(0);
    expect_pulled(0, BIG, 4);
}

static void test_a_new_life_of_the_rank_is_a_member(void **unused)
{
    (void)unused;
    init_all(key, COUNT, 0);
    cluster_close(&c, 1);
    push_all(0, COUNT, 1);
    wait_for(0);
    cluster_open(&c, 1, "dist_sync");
    init(1, key, w[1], COUNT);
    push_all(0, COUNT, 2);
    expect_error(c.kv[0], kvw_wait_all(c.kv[0], 100), KVW_ETIMEOUT, NULL);
    push_all(1, COUNT, 3);
    wait_all();
    expect_pulled(0, COUNT, 5);
}

/* --- Epochs of uneven batches --------------------------------------------- */

struct worker {
    pthread_t thread;
    unsigned rank;
    int status;
};

static int batch(unsigned rank, unsigned number)
{
    struct kvw_tensor gradient = kvw_f32(g[rank], COUNT);
    struct kvw_tensor weights = kvw_f32(w[rank], COUNT);
    struct kvw_item in = {key, &gradient, 1}, out = {key, &weights, 1};

    for (size_t i = 0; i < COUNT; i++) {
        g[rank][i] = w[rank][i] * 0.3f +
                     (float)((i * 7 + number * 5 + rank * 3) % 13) * 0.1f -
                     0.6f;
    }
    kvw_pushpull(c.kv[rank], &in, &out, 1, NULL, NULL);
    return kvw_wait_all(c.kv[rank], PATIENCE);
}

static int end_of_epoch(struct kvw *kv)
{
    int status = kvw_leave(kv);

    status = status == KVW_OK ? kvw_barrier(kv, PATIENCE) : status;
    status = status == KVW_OK ? kvw_join(kv) : status;
    return status == KVW_OK ? kvw_barrier(kv, PATIENCE) : status;
}

/* Rank 0 has one batch in the first epoch, rank 1 in the second, and so on. */
static void *work(void *arg)
{
    struct worker *me = arg;

    for (unsigned epoch = 0; epoch < EPOCHS && me->status == KVW_OK; epoch++) {
        unsigned batches = epoch % 2 == me->rank ? 1 : BATCHES;

        for (unsigned i = 0; i < batches && me->status == KVW_OK; i++) {
            me->status = batch(me->rank, epoch * BATCHES + i);
        }
        if (me->status == KVW_OK) {
            me->status = end_of_epoch(c.kv[me->rank]);
        }
    }
    return NULL;
}

static void train(float *result, int kills)
{
    struct worker workers[2] = {{.rank = 0}, {.rank = 1}};

    set_up_with(2, 2, "dist_sync");
    init_all(key, COUNT, 0.5f);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", "lr=.1,momentum=.9"));
    expect_ok(c.kv[1], kvw_set_optimizer(c.kv[1], "sgd", "lr=.1,momentum=.9"));
    for (int i = 0; i < 2; i++) {
        KV_CHECK(pthread_create(&workers[i].thread, NULL, work, &workers[i]) ==
                 0);
    }
    for (int i = 0; i < kills; i++) {
        cluster_kill(&c, (unsigned)i % 2);
        cluster_restart(&c, (unsigned)i % 2);
    }
    for (int i = 0; i < 2; i++) {
        KV_CHECK(pthread_join(workers[i].thread, NULL) == 0);
        expect_ok(c.kv[i], workers[i].status);
    }
    pull(0, key, result, COUNT);
    wait_for(0);
    cluster_stop(&c);
}

static void test_uneven_epochs_give_the_same_bits_in_spite_of_kills(void **u)
{
    static float calm[COUNT], rough[COUNT];

    (void)u;
    train(calm, 0);
    train(rough, 20);
    assert_memory_equal(calm, rough, sizeof calm);
}

/* --- Kinds without rounds ------------------------------------------------- */

static void test_async_has_nothing_to_leave(void **unused)
{
    (void)unused;
    init_all(key, COUNT, 0);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", "lr=1"));
    expect_ok(c.kv[1], kvw_leave(c.kv[1]));
    push_all(1, COUNT, -1);
    wait_for(1);
    expect_ok(c.kv[1], kvw_join(c.kv[1]));
    expect_pulled(1, COUNT, 1);
}

static void test_local_has_nothing_to_leave(void **unused)
{
    struct kvw *kv = NULL;

    (void)unused;
    assert_int_equal(kvw_open(&kv, "local", NULL), KVW_OK);
    expect_ok(kv, kvw_leave(kv));
    expect_ok(kv, kvw_join(kv));
    kvw_close(kv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_others_go_on_without_who_has_left, set_up),
        TEST(test_leaving_waits_for_pushes_and_says_for_whom, set_up),
        TEST(test_a_push_after_leaving_is_refused, set_up),
        TEST(test_keys_registered_later_have_the_same_members, set_up),
        TEST(test_when_all_have_left_nothing_waits, set_up),
        TEST(test_only_members_measure_norms, set_up),
        TEST(test_pulls_while_a_rank_comes_back_are_answered, set_up),
        TEST(test_row_sparse_rounds_close_without_who_has_left, set_up),
        TEST(test_nobody_waits_for_a_worker_that_closed, set_up),
        TEST(test_a_new_life_of_the_rank_is_a_member, set_up),
        cmocka_unit_test(
            test_uneven_epochs_give_the_same_bits_in_spite_of_kills),
        TEST(test_async_has_nothing_to_leave, set_up_async),
        cmocka_unit_test(test_local_has_nothing_to_leave),
    };

    return cmocka_run_group_tests_name("worker members", tests, NULL, NULL);
}
