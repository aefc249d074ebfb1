/* libkvworker when servers are killed and connections cut: nobody notices,
 * no push is lost or applied twice, and whoever waits can learn for whom. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "common/base/clock.h"
#include "tests/integration/cluster.h"

enum { BIG = 400000, SMALL = 100, KEYS = 3, ROUNDS = 40 };

static struct cluster c;
static float w[2][KEYS][BIG], g[2][KEYS][BIG];
static const size_t counts[KEYS] = {BIG, SMALL, BIG / 2};

static int set_up_kind(unsigned servers, unsigned workers, const char *kind)
{
    cluster_no_environment();
    cluster_start(&c, servers, workers);
    cluster_open_all(&c, kind);
    return 0;
}

static int set_up_two(void **state)
{
    (void)state;
    return set_up_kind(2, 2, "dist_sync");
}

static int set_up_async(void **state)
{
    (void)state;
    return set_up_kind(2, 2, "dist_async");
}

static int set_up_alone(void **state)
{
    (void)state;
    return set_up_kind(1, 1, "dist_sync");
}

static int tear_down(void **state)
{
    (void)state;
    cluster_stop(&c);
    c.extra = NULL;
    return 0;
}

/* --- A job of integers, so that each right answer is exact ---------------- */

static void init_rank(unsigned rank)
{
    struct kvw_tensor t[KEYS];
    struct kvw_item items[KEYS];

    for (int k = 0; k < KEYS; k++) {
        fill(w[rank][k], counts[k], 0);
        t[k] = kvw_f32(w[rank][k], counts[k]);
        items[k] = (struct kvw_item){kvw_int(k), &t[k], 1};
    }
    expect_ok(c.kv[rank], kvw_init(c.kv[rank], items, KEYS));
}

static void init_job(const char *params)
{
    for (unsigned rank = 0; rank < c.workers; rank++) {
        init_rank(rank);
    }
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", params));
}

/* What rank pushes to key k in that round. */
static float gradient(unsigned rank, int k, int round)
{
    return (float)((round * 7 + k * 3) % 5 + (int)rank + 1);
}

static void start_round(unsigned rank, int round)
{
    struct kvw_tensor gt[KEYS], wt[KEYS];
    struct kvw_item in[KEYS], out[KEYS];

    for (int k = 0; k < KEYS; k++) {
        fill(g[rank][k], counts[k], gradient(rank, k, round));
        gt[k] = kvw_f32(g[rank][k], counts[k]);
        wt[k] = kvw_f32(w[rank][k], counts[k]);
        in[k] = (struct kvw_item){kvw_int(k), &gt[k], 1};
        out[k] = (struct kvw_item){kvw_int(k), &wt[k], 1};
    }
    expect_ok(c.kv[rank], kvw_pushpull(c.kv[rank], in, out, KEYS, NULL, NULL));
}

static void expect_weights(int rounds)
{
    for (int k = 0; k < KEYS; k++) {
        float expected = 0;

        for (int round = 0; round < rounds; round++) {
            for (unsigned rank = 0; rank < c.workers; rank++) {
                expected -= gradient(rank, k, round);
            }
        }
        for (unsigned rank = 0; rank < c.workers; rank++) {
            expect_all(w[rank][k], counts[k], expected);
        }
    }
}

/* --- Whatever happens meanwhile ------------------------------------------- */

/* Some microseconds, different each time, so that faults hit every stage. */
static void drift(int time)
{
    struct timespec pause = {0, time * 7919 % 31 * 100000};

    nanosleep(&pause, NULL);
}

static void wait_all(void)
{
    for (unsigned rank = 0; rank < c.workers; rank++) {
        expect_ok(c.kv[rank], kvw_wait_all(c.kv[rank], KVW_FOREVER));
    }
}

/* Within the round, between its halves, and between rounds. */
static void train_through(void (*make_trouble)(int time))
{
    for (int round = 0; round < ROUNDS; round++) {
        for (unsigned rank = 0; rank < c.workers; rank++) {
            start_round(rank, round);
            if ((unsigned)round % 3 == rank) {
                drift(round);
                make_trouble(round);
            }
        }
        wait_all();
        if (round % 3 == 2) {
            make_trouble(round);
        }
    }
}

static void kill_one(int time)
{
    unsigned index = (unsigned)time % c.servers;

    cluster_kill(&c, index);
    cluster_restart(&c, index);
}

static void cut_some(int time)
{
    (void)cluster_cut(c.port[(unsigned)time % c.servers]);
}

static uint64_t reconnects(unsigned rank)
{
    struct kvw_stats s;

    expect_ok(c.kv[rank], kvw_get_stats(c.kv[rank], &s, sizeof s));
    return s.reconnects;
}

static void test_killed_servers_change_no_bit(void **state)
{
    (void)state;
    init_job("lr=1");
    train_through(kill_one);
    expect_weights(ROUNDS);
    assert_true(reconnects(0) > 0);
}

/* The kernel gives a server that asks for any port one that is free, hardly
 * ever the last one's. Server 0 is where its workers were told. */
static void move_one(int time)
{
    if (time % 20 == 2) { /* A worker takes its time to ask. */
        cluster_kill(&c, 1);
        c.port[1] = 0;
        cluster_restart(&c, 1);
    }
}

static void test_a_server_that_comes_back_elsewhere_is_found(void **state)
{
    (void)state;
    init_job("lr=1");
    train_through(move_one);
    expect_weights(ROUNDS);
}

/* A server of the same job by name, but not the one that was there. */
static void test_who_has_taken_the_port_is_not_the_server(void **state)
{
    static struct cluster other;

    (void)state;
    init_job("lr=1");
    cluster_kill(&c, 1);
    cluster_start(&other, 1, 2);
    cluster_kill(&other, 0);
    other.port[0] = c.port[1];
    cluster_restart(&other, 0);
    for (unsigned rank = 0; rank < c.workers; rank++) {
        start_round(rank, 0);
    }
    expect_error(c.kv[0], kvw_wait_all(c.kv[0], 1000), KVW_ETIMEOUT,
                 "server 0 answers there", NULL);
    c.port[1] = 0;
    cluster_restart(&c, 1);
    wait_all();
    expect_weights(1);
    cluster_stop(&other);
}

static void test_cut_connections_change_no_bit(void **state)
{
    (void)state;
    init_job("lr=1");
    train_through(cut_some);
    expect_weights(ROUNDS);
    assert_true(reconnects(0) > 0);
}

static void test_async_pushes_are_applied_once_through_kills(void **state)
{
    (void)state;
    init_job("lr=1");
    train_through(kill_one);
    for (unsigned rank = 0; rank < 2; rank++) {
        for (int k = 0; k < KEYS; k++) {
            struct kvw_tensor t = kvw_f32(w[rank][k], counts[k]);
            struct kvw_item out = {kvw_int(k), &t, 1};

            expect_ok(c.kv[rank], kvw_pull(c.kv[rank], &out, 1, NULL, NULL));
        }
    }
    wait_all();
    expect_weights(ROUNDS);
}

struct killer {
    pthread_t thread;
    atomic_bool over;
};

static void *keep_killing(void *arg)
{
    struct killer *k = arg;

    for (int time = 0; !atomic_load(&k->over); time++) {
        struct timespec pause = {0, 150000000};

        kill_one(time);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static void test_everything_else_survives_kills_too(void **state)
{
    struct killer k = {.over = false};

    (void)state;
    pthread_create(&k.thread, NULL, keep_killing, &k);
    init_job("lr=1");
    for (int i = 0; i < 2000; i++) {
        expect_ok(c.kv[0], kvw_barrier(c.kv[0], KVW_FOREVER));
        expect_ok(c.kv[0], kvw_set_hyper(c.kv[0], NULL, "lr", i + 1, 0));
    }
    atomic_store(&k.over, true);
    pthread_join(k.thread, NULL);
    expect_ok(c.kv[0], kvw_set_hyper(c.kv[0], NULL, "lr", 1, 0));
    start_round(0, 0);
    wait_all();
    expect_weights(1);
}

/* --- Whom one waits for --------------------------------------------------- */

static void test_a_timeout_names_the_server_that_is_gone(void **state)
{
    char port[32];

    (void)state;
    init_job("lr=1");
    snprintf(port, sizeof port, "server 0 (127.0.0.1:%d)", c.port[0]);
    cluster_kill(&c, 0);
    start_round(0, 0);
    expect_error(c.kv[0], kvw_wait_all(c.kv[0], 300), KVW_ETIMEOUT, "key 0",
                 port, "not reachable since", "refused", NULL);
    expect_error(c.kv[0], kvw_barrier(c.kv[0], 100), KVW_ETIMEOUT, "barrier 1",
                 port, NULL);
    cluster_restart(&c, 0);
    expect_ok(c.kv[0], kvw_wait_all(c.kv[0], KVW_FOREVER));
    expect_ok(c.kv[0], kvw_barrier(c.kv[0], KVW_FOREVER));
    expect_weights(1);
}

/* What this program is when it is to die as a worker. */
static int be_a_worker(char *root, char *incarnation)
{
    char options[128];
    struct kvw *kv;

    snprintf(options, sizeof options, "root=%s,rank=1,incarnation=%s", root,
             incarnation);
    if (kvw_open(&kv, "dist_sync", options) != KVW_OK ||
        write(STDOUT_FILENO, "", 1) != 1) {
        return 1;
    }
    for (;;) {
        pause();
    }
}

/* A process that is rank 1, and is killed once it has joined. */
static void die_as_rank_1(void)
{
    char root[32], incarnation[32], ready;
    char *argv[] = {"worker", root, incarnation, NULL};
    int ends[2];
    pid_t pid;

    snprintf(root, sizeof root, "127.0.0.1:%d", c.port[0]);
    snprintf(incarnation, sizeof incarnation, "%llu",
             (unsigned long long)UINT64_MAX / 4);
    KV_CHECK(pipe2(ends, O_CLOEXEC) == 0);
    pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execv("/proc/self/exe", argv);
        _exit(127);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &ready, 1), 1);
    close(ends[0]);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void test_a_timeout_names_the_rank_that_is_gone(void **state)
{
    uint64_t deadline = clock_ms() + 30000;
    const char *next = "incarnation=9223372036854775807";

    (void)state;
    init_job("lr=1");
    cluster_close(&c, 1); /* It left: nobody would wait for it. */
    die_as_rank_1();
    start_round(0, 0);
    do {
        expect_error(c.kv[0], kvw_wait_all(c.kv[0], 200), KVW_ETIMEOUT, "key",
                     NULL);
    } while (strstr(kvw_error(c.kv[0]), "rank 1") == NULL &&
             clock_ms() < deadline);
    expect_text(kvw_error(c.kv[0]), "round 1: waiting for rank 1");
    expect_text(kvw_error(c.kv[0]), "not connected");
    /* It comes back, in its next life, and the round goes on. */
    assert_int_equal(cluster_try_open(&c, 1, "dist_sync", next), KVW_OK);
    init_rank(1);
    start_round(1, 0);
    expect_ok(c.kv[0], kvw_wait_all(c.kv[0], KVW_FOREVER));
    expect_ok(c.kv[1], kvw_wait_all(c.kv[1], KVW_FOREVER));
    expect_weights(1);
}

static void test_an_operation_may_be_waited_for_in_steps(void **state)
{
    struct kvw_tensor t = kvw_f32(g[0][1], SMALL);
    struct kvw_item i = {kvw_int(1), &t, 1};
    struct kvw_op *op;

    (void)state;
    init_job("lr=1");
    expect_ok(c.kv[0], kvw_push(c.kv[0], &i, 1, NULL, &op));
    expect_error(c.kv[0], kvw_wait(c.kv[0], op, 0), KVW_ETIMEOUT, "not done",
                 NULL);
    expect_error(c.kv[0], kvw_wait(c.kv[0], op, 50), KVW_ETIMEOUT, "key 1",
                 "waiting for server", NULL);
    expect_ok(c.kv[1], kvw_push(c.kv[1], &i, 1, NULL, NULL));
    expect_ok(c.kv[0], kvw_wait(c.kv[0], op, KVW_FOREVER));
    expect_ok(c.kv[1], kvw_wait_all(c.kv[1], KVW_FOREVER));
}

/* --- For good ------------------------------------------------------------- */

static void test_a_server_without_its_state_ends_what_is_waiting(void **state)
{
    char command[96];

    (void)state;
    init_job("lr=1");
    cluster_kill(&c, 0);
    start_round(0, 0);
    snprintf(command, sizeof command, "rm -rf %s/0", c.dir);
    assert_int_equal(system(command), 0);
    cluster_restart(&c, 0);
    expect_error(c.kv[0], kvw_wait_all(c.kv[0], KVW_FOREVER), KVW_EDATALOSS,
                 "key", "rank 0", "server 0", "without its state", NULL);
    start_round(0, 1); /* And what comes later. */
    expect_error(c.kv[0], kvw_wait_all(c.kv[0], KVW_FOREVER), KVW_EDATALOSS,
                 "without its state", NULL);
}

static void test_a_newer_life_takes_over_from_the_older(void **state)
{
    struct kvw *older = c.kv[0];

    (void)state;
    init_job("lr=1");
    cluster_open(&c, 0, "dist_sync");
    init_rank(0);
    start_round(0, 0);
    expect_ok(c.kv[0], kvw_wait_all(c.kv[0], KVW_FOREVER));
    expect_weights(1);
    (void)cluster_cut(c.port[0]); /* Both; only one may come back. */
    start_round(0, 1);
    expect_ok(c.kv[0], kvw_wait_all(c.kv[0], KVW_FOREVER));
    expect_error(older, kvw_barrier(older, 10000), KVW_ESTALE, "server 0",
                 NULL);
    kvw_close(older);
    expect_weights(2);
}

static void test_closing_waits_for_what_was_pushed(void **state)
{
    (void)state;
    init_job("lr=1");
    start_round(0, 0);
    cluster_close(&c, 0); /* Committed, or it would not be alone. */
    cluster_open(&c, 0, "dist_sync");
    init_rank(0);
    start_round(0, 1);
    expect_ok(c.kv[0], kvw_wait_all(c.kv[0], KVW_FOREVER));
    expect_weights(2);
}

#define TEST(name, how) cmocka_unit_test_setup_teardown(name, how, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_killed_servers_change_no_bit, set_up_two),
        TEST(test_a_server_that_comes_back_elsewhere_is_found, set_up_two),
        TEST(test_who_has_taken_the_port_is_not_the_server, set_up_two),
        TEST(test_cut_connections_change_no_bit, set_up_two),
        TEST(test_async_pushes_are_applied_once_through_kills, set_up_async),
        TEST(test_everything_else_survives_kills_too, set_up_alone),
        TEST(test_a_timeout_names_the_server_that_is_gone, set_up_alone),
        TEST(test_a_timeout_names_the_rank_that_is_gone, set_up_two),
        TEST(test_an_operation_may_be_waited_for_in_steps, set_up_two),
        TEST(test_a_server_without_its_state_ends_what_is_waiting,
             set_up_alone),
        TEST(test_a_newer_life_takes_over_from_the_older, set_up_alone),
        TEST(test_closing_waits_for_what_was_pushed, set_up_alone),
    };

    if (argc == 3) {
        return be_a_worker(argv[1], argv[2]);
    }
    return cmocka_run_group_tests_name("worker faults", tests, NULL, NULL);
}
