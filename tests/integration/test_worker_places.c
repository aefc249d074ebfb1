/* Servers that come back where another one was. */
#include "tests/integration/worker_fixture.h"

static const struct kvw_key key = {"w", 0};

static void start_round(void)
{
    for (unsigned rank = 0; rank < c.workers; rank++) {
        fill(g[rank], BIG, 1);
        push(rank, key, g[rank], BIG);
    }
}

/* For that long, one of three is missed. */
static void expect_to_wait(int64_t ms)
{
    expect_error(c.kv[0], kvw_wait_all(c.kv[0], ms), KVW_ETIMEOUT, "server 2",
                 NULL);
}

/* Server 1 has the port of server 2, which is away: who looks for that one
 * there leaves the other's links alone. */
static void test_who_looks_for_another_is_no_trouble(void **state)
{
    uint64_t reconnects;

    (void)state;
    init_all(key, BIG, 0);
    start_round();
    wait_all();
    cluster_kill(&c, 1);
    cluster_kill(&c, 2);
    c.port[1] = c.port[2];
    cluster_restart(&c, 1);
    start_round();
    expect_to_wait(3000);
    reconnects = stats_of(0).reconnects;
    expect_to_wait(3000);
    assert_int_equal(stats_of(0).reconnects, reconnects);
    c.port[2] = 0;
    cluster_restart(&c, 2);
    wait_all();
    for (unsigned rank = 0; rank < c.workers; rank++) {
        pull(rank, key, w[rank], BIG);
    }
    wait_all();
    expect_all(w[0], BIG, 2);
    expect_all(w[1], BIG, 2);
}

static int set_up_three(void **state)
{
    (void)state;
    c.extra = "--shards=1";
    return set_up_with(3, 2, "dist_sync");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_who_looks_for_another_is_no_trouble, set_up_three),
    };

    return cmocka_run_group_tests_name("worker places", tests, NULL, NULL);
}
