/* A server that comes back without what it held, or to a root that knows
 * nothing of it: nobody goes on with half of the job's state. */
#include "tests/integration/worker_fixture.h"

static const struct kvw_key key = {"w", 0};

/* A job with a key on all shards, and no worker any more. */
static void train_and_close(void)
{
    init_all(key, BIG, 1);
    for (unsigned rank = 0; rank < 2; rank++) {
        push(rank, key, g[rank], BIG);
    }
    wait_all();
    for (unsigned rank = 0; rank < 2; rank++) {
        cluster_close(&c, rank);
    }
}

static void lose(unsigned index, const char *files)
{
    char command[96];

    cluster_kill(&c, index);
    snprintf(command, sizeof command, "rm %s/%u/%s", c.dir, index, files);
    KV_CHECK(system(command) == 0);
}

static void expect_lost(unsigned index)
{
    char server[32];

    snprintf(server, sizeof server, "server %u", index);
    assert_int_equal(cluster_try_open(&c, 0, "dist_sync", "timeout=20"),
                     KVW_EDATALOSS);
    expect_text(kvw_error(NULL), server);
    expect_text(kvw_error(NULL), "lost its state");
}

static void expect_in_log(unsigned index, const char *what)
{
    char command[128];

    snprintf(command, sizeof command, "grep -q '%s' %s/%u.log", what, c.dir,
             index);
    assert_int_equal(system(command), 0);
}

static void test_a_server_that_lost_all_is_not_taken_in(void **state)
{
    (void)state;
    train_and_close();
    lose(1, "*.arena");
    cluster_restart(&c, 1);
    expect_lost(1);
}

static void test_a_server_that_lost_a_shard_is_not_taken_in(void **state)
{
    (void)state;
    train_and_close();
    lose(1, "server-1-shard-1.arena");
    cluster_restart(&c, 1);
    expect_lost(1);
}

static void test_a_root_that_lost_a_shard_does_not_start(void **state)
{
    (void)state;
    train_and_close();
    lose(0, "server-0-shard-1.arena");
    assert_false(cluster_try_start(&c, 0));
    expect_in_log(0, "server 0 has come back without its state");
}

/* The other server's slices are of keys that the new root does not know. */
static void test_a_root_that_lost_all_takes_no_other_in(void **state)
{
    (void)state;
    train_and_close();
    lose(0, "*.arena");
    cluster_restart(&c, 0);
    assert_int_equal(cluster_try_open(&c, 0, "dist_sync", "timeout=3"),
                     KVW_ETIMEOUT);
    expect_text(kvw_error(NULL), "waits for server 1 (turned away) since");
}

static void test_nobody_is_let_in_before_the_root_knows(void **state)
{
    (void)state;
    init_all(key, BIG, 0);
    cluster_kill(&c, 1);
    cluster_pause(&c, 0);
    cluster_restart(&c, 1);
    for (unsigned rank = 0; rank < 2; rank++) {
        fill(g[rank], BIG, 1);
        push(rank, key, g[rank], BIG);
    }
    expect_error(c.kv[0], kvw_wait_all(c.kv[0], 3000), KVW_ETIMEOUT, "server 1",
                 "the root has not taken it in yet", NULL);
    KV_CHECK(kill(c.pid[0], SIGCONT) == 0);
    wait_all();
    pull(0, key, w[0], BIG);
    wait_all();
    expect_all(w[0], BIG, 2);
}

static void test_before_there_are_keys_nothing_is_lost(void **state)
{
    (void)state;
    cluster_close(&c, 0);
    cluster_close(&c, 1);
    lose(1, "*.arena");
    cluster_restart(&c, 1);
    for (unsigned rank = 0; rank < 2; rank++) {
        assert_int_equal(cluster_try_open(&c, rank, "dist_sync", NULL), KVW_OK);
    }
    init_all(key, BIG, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_server_that_lost_all_is_not_taken_in, set_up),
        TEST(test_a_server_that_lost_a_shard_is_not_taken_in, set_up),
        TEST(test_a_root_that_lost_a_shard_does_not_start, set_up),
        TEST(test_a_root_that_lost_all_takes_no_other_in, set_up),
        TEST(test_nobody_is_let_in_before_the_root_knows, set_up),
        TEST(test_before_there_are_keys_nothing_is_lost, set_up),
    };

    return cmocka_run_group_tests_name("worker state", tests, NULL, NULL);
}
