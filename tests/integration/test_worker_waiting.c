/* Who waits knows for whom, within a few seconds. */
#include <poll.h>
#include <pthread.h>

#include "tests/integration/worker_fixture.h"

static const struct kvw_key key = {"w", 0};

static int set_up_half(void **state)
{
    (void)state;
    cluster_no_environment();
    c.extra = "--servers=2";
    cluster_start(&c, 1, 1);
    c.extra = NULL;
    return 0;
}

static void test_a_barrier_names_the_ranks_that_are_missing(void **state)
{
    (void)state;
    expect_error(c.kv[0], kvw_barrier(c.kv[0], 3000), KVW_ETIMEOUT,
                 "barrier 1: rank 0 waits for rank 1", NULL);
    assert_null(strstr(kvw_error(c.kv[0]), "connected"));
}

static void *init_rank_1(void *unused)
{
    (void)unused;
    init(1, key, w[1], 10);
    return NULL;
}

/* Registering has no deadline of its own: it is the log that tells. */
static void test_a_key_names_rank_0_that_must_register_it(void **state)
{
    pthread_t thread;
    char text[4096] = "";
    size_t used = 0;
    int ends[2], real = dup(STDERR_FILENO);

    (void)state;
    cluster_close(&c, 1);
    assert_int_equal(cluster_try_open(&c, 1, "dist_sync", "log=warn"), KVW_OK);
    KV_CHECK(pipe2(ends, O_CLOEXEC) == 0);
    KV_CHECK(dup2(ends[1], STDERR_FILENO) >= 0);
    KV_CHECK(pthread_create(&thread, NULL, init_rank_1, NULL) == 0);
    while (strstr(text, "key 'w': rank 1 waits for rank 0, ") == NULL) {
        struct pollfd readable = {ends[0], POLLIN, 0};
        ssize_t n = poll(&readable, 1, PATIENCE) <= 0
                        ? 0
                        : read(ends[0], text + used, sizeof text - 1 - used);

        KV_CHECK(n > 0);
        used += (size_t)n;
    }
    KV_CHECK(dup2(real, STDERR_FILENO) >= 0);
    assert_null(strstr(text, "server 0"));
    init(0, key, w[0], 10);
    KV_CHECK(pthread_join(thread, NULL) == 0);
    close(real);
    close(ends[0]);
    close(ends[1]);
}

static void test_a_round_names_the_rank_that_has_not_pushed(void **state)
{
    (void)state;
    init_all(key, 10, 0);
    push(0, key, g[0], 10);
    expect_error(c.kv[0], kvw_wait_all(c.kv[0], 3000), KVW_ETIMEOUT,
                 "key 'w' round 1: waiting for rank 1", NULL);
    push(1, key, g[1], 10);
    wait_all();
}

static void test_the_start_names_the_server_that_is_missing(void **state)
{
    (void)state;
    assert_int_equal(cluster_try_open(&c, 0, "dist_sync", "timeout=3"),
                     KVW_ETIMEOUT);
    expect_text(kvw_error(NULL), "waits for server 1 since");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_barrier_names_the_ranks_that_are_missing, set_up),
        TEST(test_a_key_names_rank_0_that_must_register_it, set_up),
        TEST(test_a_round_names_the_rank_that_has_not_pushed, set_up),
        TEST(test_the_start_names_the_server_that_is_missing, set_up_half),
    };

    return cmocka_run_group_tests_name("worker waiting", tests, NULL, NULL);
}
