/* Calls of several threads on one store that cross each other, one case at a
 * time; test_worker_threads has any of them at random. */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>

#include "tests/integration/worker_fixture.h"

/* --- Steps ---------------------------------------------------------------- */

/* A call of another thread, and what came of it. */
struct call {
    pthread_t thread;
    struct kvw *kv;
    int (*make)(struct kvw *kv, const void *arg);
    const void *arg;
    int status;
    char text[512];
};

static void *make_call(void *arg)
{
    struct call *call = arg;

    call->status = call->make(call->kv, call->arg);
    snprintf(call->text, sizeof call->text, "%s", kvw_error(call->kv));
    return NULL;
}

static void start(struct call *call, unsigned rank,
                  int (*make)(struct kvw *kv, const void *arg), const void *arg)
{
    *call = (struct call){.kv = c.kv[rank], .make = make, .arg = arg};
    KV_CHECK(pthread_create(&call->thread, NULL, make_call, call) == 0);
}

static void expect_came(struct call *call, int status, const char *word)
{
    KV_CHECK(pthread_join(call->thread, NULL) == 0);
    if (call->status != status) {
        fail_msg("%s instead of %s: %s", kvw_strstatus(call->status),
                 kvw_strstatus(status), call->text);
    }
    expect_text(call->text, word);
}

/* A key of 3 elements. */
static int registers(struct kvw *kv, const void *name)
{
    float ones[3] = {1, 1, 1};
    struct kvw_tensor t = kvw_f32(ones, 3);
    struct kvw_item i = item(kvw_str(name), &t);

    return kvw_init(kv, &i, 1);
}

/* These two in one call. */
static int registers_old_and_new(struct kvw *kv, const void *unused)
{
    float ones[3] = {1, 1, 1};
    struct kvw_tensor t = kvw_f32(ones, 3);
    struct kvw_item items[] = {item(kvw_str("old"), &t),
                               item(kvw_str("new"), &t)};

    (void)unused;
    return kvw_init(kv, items, 2);
}

static int joins(struct kvw *kv, const void *unused)
{
    (void)unused;
    return kvw_join(kv);
}

static int comes_late(struct kvw *kv, const void *unused)
{
    (void)unused;
    return kvw_barrier(kv, 100);
}

static int arrives(struct kvw *kv, const void *unused)
{
    (void)unused;
    return kvw_barrier(kv, PATIENCE);
}

static int halves(struct kvw *kv, const void *name)
{
    struct kvw_key key = kvw_str(name);

    return kvw_set_hyper(kv, &key, "lr_mult", 0.5, 0);
}

/* Something of this rank is under way, and stays so for a while. */
static void await_call(unsigned rank)
{
    time_t end = time(NULL) + PATIENCE / 1000;
    int status;

    do {
        status = kvw_wait_all(c.kv[rank], 50);
    } while (status == KVW_OK && time(NULL) < end);
    expect_error(c.kv[rank], status, KVW_ETIMEOUT, NULL);
}

static void register_at(unsigned rank, const char *name)
{
    expect_ok(c.kv[rank], registers(c.kv[rank], name));
}

static void push_wait(unsigned rank, const char *name, float value)
{
    fill(g[rank], 3, value);
    push(rank, kvw_str(name), g[rank], 3);
    expect_ok(c.kv[rank], kvw_wait_all(c.kv[rank], PATIENCE));
}

/* --- Registering ---------------------------------------------------------- */

static void test_of_two_who_register_a_key_one_has_done_it(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        struct call calls[2];
        char name[16];
        int first;

        snprintf(name, sizeof name, "w%d", i);
        for (int n = 0; n < 2; n++) {
            start(&calls[n], 1, registers, name);
        }
        await_call(1); /* For rank 0's value. */
        register_at(0, name);
        KV_CHECK(pthread_join(calls[0].thread, NULL) == 0);
        first = calls[0].status == KVW_OK ? 0 : 1;
        expect_came(&calls[1], first == 0 ? KVW_EEXIST : KVW_OK, "");
        assert_int_equal(calls[0].status, first == 0 ? KVW_OK : KVW_EEXIST);
        push(0, kvw_str(name), g[0], 3);
        push_wait(1, name, 1);
    }
}

/* Rank 1 comes back when its calls are answered that were made before, and
 * registers keys meanwhile. */
static void test_what_is_registered_while_a_rank_comes_back_counts(void **state)
{
    struct call first, back, second;
    struct kvw_tensor t = kvw_f32(w[1], 3);
    struct kvw_item i = item(kvw_str("p"), &t);
    struct kvw_op *op;
    int status = KVW_OK;

    (void)state;
    register_at(0, "p");
    register_at(1, "p");
    register_at(0, "old");
    expect_ok(c.kv[1], kvw_leave(c.kv[1]));
    start(&first, 1, registers, "early");
    await_call(1);
    start(&back, 1, joins, NULL);
    while (status == KVW_OK) { /* Pulls wait once it is about to be back. */
        expect_ok(c.kv[1], kvw_pull(c.kv[1], &i, 1, NULL, &op));
        do {
            status = kvw_wait(c.kv[1], op, 100);
        } while (status == KVW_ETIMEOUT &&
                 strstr(kvw_error(c.kv[1]), "joining waits") == NULL);
    }
    expect_error(c.kv[1], status, KVW_ETIMEOUT, "joining waits for calls",
                 "keys are being registered", "rank 0's values", NULL);
    start(&second, 1, registers_old_and_new, NULL);
    await_call(1);
    push_wait(0, "old", 1);
    register_at(0, "early");
    expect_came(&back, KVW_OK, "");
    register_at(0, "new");
    expect_came(&first, KVW_OK, "");
    expect_came(&second, KVW_OK, "");
    expect_ok(c.kv[1], kvw_wait(c.kv[1], op, PATIENCE));
    fill(g[0], 3, 1);
    push(0, kvw_str("old"), g[0], 3);
    push_wait(1, "old", 2);
    wait_all();
    pull(0, kvw_str("old"), w[0], 3);
    wait_all();
    expect_all(w[0], 3, 3);
}

/* --- Members -------------------------------------------------------------- */

static atomic_bool over;
static atomic_uint added; /* By pushes that were done. */

static void push_one(unsigned rank)
{
    float one = 1;
    struct kvw_tensor t = kvw_f32(&one, 1);
    struct kvw_item i = item(kvw_str("w"), &t);
    struct kvw_op *op;
    int status;

    KV_CHECK(kvw_push(c.kv[rank], &i, 1, NULL, &op) == KVW_OK);
    status = kvw_wait(c.kv[rank], op, PATIENCE);
    KV_CHECK(status == KVW_OK || (status == KVW_EINVAL && rank == 1));
    atomic_fetch_add(&added, status == KVW_OK);
}

static void *comes_and_goes(void *unused)
{
    (void)unused;
    for (int n = 0; n < 300; n++) {
        KV_CHECK(kvw_leave(c.kv[1]) == KVW_OK);
        KV_CHECK(kvw_join(c.kv[1]) == KVW_OK);
        push_one(1); /* Unless others have left meanwhile. */
    }
    return NULL;
}

static void *pushes_ones(void *unused)
{
    (void)unused;
    while (!atomic_load(&over)) {
        push_one(0);
    }
    return NULL;
}

static void test_threads_that_come_and_go_at_a_time_lose_nothing(void **state)
{
    pthread_t thread[4], other;

    (void)state;
    init_all(kvw_str("w"), 1, 0);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "accumulate", NULL));
    atomic_store(&over, false);
    KV_CHECK(pthread_create(&other, NULL, pushes_ones, NULL) == 0);
    for (int n = 0; n < 4; n++) {
        KV_CHECK(pthread_create(&thread[n], NULL, comes_and_goes, NULL) == 0);
    }
    for (int n = 0; n < 4; n++) {
        KV_CHECK(pthread_join(thread[n], NULL) == 0);
    }
    expect_ok(c.kv[1], kvw_leave(c.kv[1]));
    atomic_store(&over, true);
    KV_CHECK(pthread_join(other, NULL) == 0);
    pull(0, kvw_str("w"), w[0], 1);
    wait_all();
    expect_all(w[0], 1, (float)atomic_load(&added));
}

/* --- Numbers -------------------------------------------------------------- */

/* Slices of it are on server 1, which answers late. */
static void test_a_number_of_a_key_that_goes_meanwhile(void **state)
{
    const struct kvw_key key = kvw_str("large");
    struct call call;

    (void)state;
    init_all(key, BIG, 0);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", NULL));
    expect_ok(c.kv[1], kvw_delete(c.kv[1], &key, 1));
    cluster_pause(&c, 1);
    start(&call, 0, halves, key.name);
    await_call(0);
    expect_ok(c.kv[0], kvw_delete(c.kv[0], &key, 1)); /* What it has of it. */
    KV_CHECK(kill(c.pid[1], SIGCONT) == 0);
    expect_came(&call, KVW_ENOTFOUND, key.name);
}

/* --- Barriers and the end ------------------------------------------------- */

static void come_late_twice(void)
{
    struct call calls[2];

    for (int n = 0; n < 2; n++) {
        start(&calls[n], 0, comes_late, NULL);
    }
    for (int n = 0; n < 2; n++) {
        expect_came(&calls[n], KVW_ETIMEOUT, "barrier 1");
    }
}

static void test_barriers_of_two_threads_that_nobody_comes_to(void **state)
{
    (void)state;
    come_late_twice();
    cluster_close(&c, 0);
}

/* Its next two calls are those of before. */
static void test_barriers_of_two_threads_that_others_come_to(void **state)
{
    struct call call;

    (void)state;
    come_late_twice();
    start(&call, 1, arrives, NULL);
    expect_ok(c.kv[0], kvw_barrier(c.kv[0], PATIENCE));
    expect_came(&call, KVW_OK, "");
    start(&call, 1, arrives, NULL);
    expect_ok(c.kv[0], kvw_barrier(c.kv[0], PATIENCE));
    expect_came(&call, KVW_OK, "");
    expect_error(c.kv[0], kvw_barrier(c.kv[0], 50), KVW_ETIMEOUT, "barrier 3",
                 NULL);
}

static atomic_bool closing;
static sem_t pushed;

/* A pull, whose callback makes the next, until the store has been closing for a
 * while; then a push, which nobody else takes part in. */
static void next_in_chain(void *left, int status, const char *error)
{
    struct kvw_tensor t = kvw_f32(w[0], 3);
    struct kvw_item i = item(kvw_str("w"), &t);
    struct kvw_call call = {.done = next_in_chain, .arg = left};

    (void)error;
    if (status != KVW_OK) {
        return;
    }
    *(int *)left -= atomic_load(&closing);
    if (*(int *)left > 0) {
        KV_CHECK(kvw_pull(c.kv[0], &i, 1, &call, NULL) == KVW_OK);
        return;
    }
    KV_CHECK(kvw_push(c.kv[0], &i, 1, &call, NULL) == KVW_OK);
    sem_post(&pushed);
}

static void *close_0(void *unused)
{
    (void)unused;
    atomic_store(&closing, true);
    kvw_close(c.kv[0]);
    return NULL;
}

static void test_closing_while_callbacks_still_push(void **state)
{
    int left = 1000;
    pthread_t thread;

    (void)state;
    KV_CHECK(sem_init(&pushed, 0, 0) == 0);
    register_at(0, "w");
    register_at(1, "w");
    expect_ok(c.kv[0], kvw_set_barrier_before_exit(c.kv[0], 1));
    next_in_chain(&left, KVW_OK, "");
    KV_CHECK(pthread_create(&thread, NULL, close_0, NULL) == 0);
    KV_CHECK(sem_wait(&pushed) == 0);
    expect_ok(c.kv[1], kvw_barrier(c.kv[1], PATIENCE));
    KV_CHECK(pthread_join(thread, NULL) == 0);
    c.kv[0] = NULL;
}

/* --- Callbacks without end ------------------------------------------------ */

struct chain {
    struct kvw *kv;
    const char *key;
    int expected;
};

/* A pull, whose callback makes the next. */
static void goes_round(void *arg, int status, const char *error)
{
    const struct chain *chain = arg;
    struct kvw_tensor t = kvw_f32(w[0], 3);
    struct kvw_item i = item(kvw_str(chain->key), &t);
    struct kvw_call call = {.done = goes_round, .arg = arg};

    (void)error;
    if (status == chain->expected) {
        status = kvw_pull(chain->kv, &i, 1, &call, NULL);
        KV_CHECK(status == KVW_OK || status == KVW_ECANCELED);
    }
}

/* Others' calls are done meanwhile. */
static void expect_attention(struct kvw *kv)
{
    struct kvw_tensor t = kvw_f32(g[0], 3);
    struct kvw_item i = item(kvw_str("w"), &t);
    struct kvw_op *op;

    for (int n = 0; n < 10; n++) {
        expect_ok(kv, kvw_pull(kv, &i, 1, NULL, &op));
        expect_ok(kv, kvw_wait(kv, op, PATIENCE));
    }
}

static void test_callbacks_of_a_local_store_keep_nobody_out(void **unused)
{
    struct chain chain = {.key = "w", .expected = KVW_OK};

    (void)unused;
    KV_CHECK(kvw_open(&chain.kv, "local", NULL) == KVW_OK);
    expect_ok(chain.kv, registers(chain.kv, "w"));
    goes_round(&chain, KVW_OK, "");
    expect_attention(chain.kv);
    kvw_close(chain.kv);
}

static void test_callbacks_of_errors_do_not_keep_others_out(void **state)
{
    struct chain chain = {c.kv[0], "unknown", KVW_ENOTFOUND};

    (void)state;
    register_at(0, "w");
    goes_round(&chain, KVW_ENOTFOUND, "");
    expect_attention(c.kv[0]);
    cluster_close(&c, 0);
}

static void test_closing_while_callbacks_go_on(void **unused)
{
    struct chain chain = {.key = "w", .expected = KVW_OK};

    (void)unused;
    for (int n = 0; n < 20; n++) {
        KV_CHECK(kvw_open(&chain.kv, "local", NULL) == KVW_OK);
        expect_ok(chain.kv, registers(chain.kv, "w"));
        goes_round(&chain, KVW_OK, "");
        kvw_close(chain.kv);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_of_two_who_register_a_key_one_has_done_it, set_up),
        TEST(test_what_is_registered_while_a_rank_comes_back_counts, set_up),
        TEST(test_threads_that_come_and_go_at_a_time_lose_nothing, set_up),
        TEST(test_a_number_of_a_key_that_goes_meanwhile, set_up),
        TEST(test_barriers_of_two_threads_that_nobody_comes_to, set_up),
        TEST(test_barriers_of_two_threads_that_others_come_to, set_up),
        TEST(test_closing_while_callbacks_still_push, set_up),
        cmocka_unit_test(test_callbacks_of_a_local_store_keep_nobody_out),
        TEST(test_callbacks_of_errors_do_not_keep_others_out, set_up),
        cmocka_unit_test(test_closing_while_callbacks_go_on),
    };

    return cmocka_run_group_tests_name("worker crossing", tests, NULL, NULL);
}
