/* libkvworker against real servers: waiting, threads, callbacks, priorities. */
#include <pthread.h>

#include "tests/integration/worker_fixture.h"

/* --- Waiting -------------------------------------------------------------- */

static void test_waiting_for_one_key_leaves_the_others(void **state)
{
    (void)state;
    init_all(kvw_int(1), 10, 0);
    init_all(kvw_int(2), 10, 0);
    push(0, kvw_int(1), g[0], 10); /* Needs rank 1, too. */
    pull(0, kvw_int(2), w[0], 10);
    expect_ok(c.kv[0], kvw_wait_key(c.kv[0], kvw_int(2), KVW_FOREVER));
    expect_ok(c.kv[0], kvw_wait_key(c.kv[0], kvw_int(3), KVW_FOREVER));
    expect_error(c.kv[0], kvw_wait_key(c.kv[0], kvw_int(1), 10), KVW_ETIMEOUT,
                 "key 1", "waiting for", NULL);
    push(1, kvw_int(1), g[1], 10);
    wait_all();
}

static void *barrier(void *arg)
{
    struct kvw *kv = arg;

    for (int i = 0; i < 50; i++) {
        KV_CHECK(kvw_barrier(kv, KVW_FOREVER) == KVW_OK);
    }
    return NULL;
}

static void test_a_barrier_waits_for_all_ranks(void **state)
{
    pthread_t thread;

    (void)state;
    expect_error(c.kv[0], kvw_barrier(c.kv[0], 50), KVW_ETIMEOUT, "barrier 1",
                 "rank 0 waits for the other workers", NULL);
    pthread_create(&thread, NULL, barrier, c.kv[1]);
    for (int i = 0; i < 50; i++) { /* The first goes on with the late one. */
        expect_ok(c.kv[0], kvw_barrier(c.kv[0], KVW_FOREVER));
    }
    pthread_join(thread, NULL);
    expect_error(c.kv[0], kvw_barrier(c.kv[0], 50), KVW_ETIMEOUT, "barrier 51",
                 NULL);
}

struct pusher {
    pthread_t thread;
    int64_t key;
    float value;
};

static void *push_alone(void *arg)
{
    struct pusher *p = arg;
    struct kvw_tensor t = kvw_f32(&p->value, 1);
    struct kvw_item i = item(kvw_int(p->key), &t);

    KV_CHECK(kvw_init(c.kv[0], &i, 1) == KVW_OK);
    for (int n = 0; n < 100; n++) {
        struct kvw_op *op;

        p->value = (float)(n * p->key);
        KV_CHECK(kvw_push(c.kv[0], &i, 1, NULL, &op) == KVW_OK);
        KV_CHECK(kvw_wait(c.kv[0], op, KVW_FOREVER) == KVW_OK);
        p->value = -1;
        KV_CHECK(kvw_pull(c.kv[0], &i, 1, NULL, NULL) == KVW_OK);
        KV_CHECK(kvw_wait_key(c.kv[0], kvw_int(p->key), -1) == KVW_OK);
        KV_CHECK(p->value == (float)(n * p->key));
    }
    return NULL;
}

static void test_threads_share_a_store(void **state)
{
    struct pusher pushers[6];

    (void)state;
    for (int i = 0; i < 6; i++) {
        pushers[i].key = i + 1;
        pthread_create(&pushers[i].thread, NULL, push_alone, &pushers[i]);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(pushers[i].thread, NULL);
    }
}

/* --- Callbacks ------------------------------------------------------------ */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int left;
    char order[8];
} seen = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, ""};

static int count_down(void)
{
    int left;

    pthread_mutex_lock(&seen.lock);
    left = --seen.left;
    pthread_cond_signal(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
    return left;
}

static void wait_for_callbacks(void)
{
    pthread_mutex_lock(&seen.lock);
    while (seen.left > 0) {
        pthread_cond_wait(&seen.changed, &seen.lock);
    }
    pthread_mutex_unlock(&seen.lock);
}

/* Each answer starts the next; each may call, but not wait. */
static void next_in_chain(void *arg, int status, const char *error)
{
    static struct kvw_tensor t;
    struct kvw_item i = {kvw_int(1), &t, 1};
    struct kvw_call call = {.done = next_in_chain, .arg = arg};
    int wrong = 0;

    t = kvw_f32(g[0], 1);
    wrong += status != KVW_OK || *error != '\0';
    wrong += kvw_wait_all(c.kv[0], 0) != KVW_EBUSY;
    wrong += kvw_barrier(c.kv[0], 0) != KVW_EBUSY;
    wrong += kvw_set_hyper(c.kv[0], NULL, "lr", 1, 0) != KVW_EBUSY;
    *(int *)arg += wrong;
    if (count_down() > 0) {
        KV_CHECK(kvw_pushpull(c.kv[0], &i, NULL, 1, &call, NULL) == KVW_OK);
    }
}

static void test_callbacks_start_operations_but_do_not_wait(void **state)
{
    struct kvw_tensor t = kvw_f32(g[0], 1);
    struct kvw_item i = {kvw_int(1), &t, 1};
    int wrong = 0;
    struct kvw_call call = {.done = next_in_chain, .arg = &wrong};

    (void)state;
    init_all(kvw_int(1), 1, 0);
    g[0][0] = 42;
    seen.left = 1000;
    expect_ok(c.kv[0], kvw_pushpull(c.kv[0], &i, NULL, 1, &call, NULL));
    wait_for_callbacks();
    wait_all();
    assert_int_equal(wrong, 0);
    assert_true(g[0][0] == 42);
}

static void note_order(void *arg, int status, const char *error)
{
    (void)status;
    (void)error;
    strcat(seen.order, arg);
    (void)count_down();
}

static void test_a_late_key_of_high_priority_overtakes(void **state)
{
    enum { HUGE_COUNT = 16 << 20 };
    float *huge = calloc(HUGE_COUNT, sizeof *huge);
    struct kvw_tensor big = kvw_f32(huge, HUGE_COUNT), small = kvw_f32(w[0], 4);
    struct kvw_item items[] = {{kvw_int(1), &big, 1}, {kvw_int(2), &small, 1}};
    struct kvw_call low = {.priority = -1, .done = note_order, .arg = "L"};
    struct kvw_call high = {.priority = 0, .done = note_order, .arg = "H"};

    (void)state;
    expect_ok(c.kv[0], kvw_init(c.kv[0], items, 2));
    seen.left = 2;
    seen.order[0] = '\0';
    expect_ok(c.kv[0], kvw_push(c.kv[0], &items[0], 1, &low, NULL));
    expect_ok(c.kv[0], kvw_push(c.kv[0], &items[1], 1, &high, NULL));
    wait_for_callbacks();
    wait_all();
    assert_string_equal(seen.order, "HL");
    free(huge);
}

static void test_the_steady_state_allocates_nothing(void **state)
{
    struct kvw_tensor big = kvw_f32(g[0], BIG), small = kvw_f32(w[0], 100);
    struct kvw_item items[] = {{kvw_str("big"), &big, 1},
                               {kvw_str("small"), &small, 1}};
    uint64_t before = 0;

    (void)state;
    expect_ok(c.kv[0], kvw_init(c.kv[0], items, 2));
    for (int i = 0; i < 60; i++) {
        struct kvw_call copy = {.flags = KVW_COPY};
        struct kvw_op *op;

        expect_ok(c.kv[0], kvw_push(c.kv[0], items, 2, &copy, NULL));
        expect_ok(c.kv[0], kvw_pull(c.kv[0], items, 2, NULL, NULL));
        expect_ok(c.kv[0], kvw_pushpull(c.kv[0], items, NULL, 2, NULL, &op));
        expect_ok(c.kv[0], kvw_wait(c.kv[0], op, KVW_FOREVER));
        expect_ok(c.kv[0], kvw_wait_all(c.kv[0], KVW_FOREVER));
        if (i == 20) {
            before = mem_allocations();
        }
    }
    assert_int_equal(mem_allocations(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_waiting_for_one_key_leaves_the_others, set_up),
        TEST(test_a_barrier_waits_for_all_ranks, set_up),
        TEST(test_threads_share_a_store, set_up_alone),
        TEST(test_callbacks_start_operations_but_do_not_wait, set_up_alone),
        TEST(test_a_late_key_of_high_priority_overtakes, set_up_alone),
        TEST(test_the_steady_state_allocates_nothing, set_up_alone),
    };

    return cmocka_run_group_tests_name("worker calls", tests, NULL, NULL);
}
