/* A worker that dies between the commits of a push: some slices of the key have
 * it, others have not. Its next life takes part in the rounds that are open,
 * and in no other. */
#include <time.h>

#include "tests/integration/life_fixture.h"

static const struct kvw_key torn = {"torn", 0}, calm = {"calm", 0};

static void gradients(unsigned rank, unsigned round)
{
    for (size_t i = 0; i < BIG; i++) {
        g[rank][i] = (float)((i * (7 + rank) + round) % 13) * 0.25f - 1.5f;
    }
}

static void init_keys(unsigned rank)
{
    fill(w[rank], BIG, 0.5f);
    init(rank, torn, w[rank], BIG);
    init(rank, calm, w[rank], BIG);
}

/* --- The life that ends ----------------------------------------------------
 */

/* Some slices of its push are committed. */
static void until_a_slice_has_it(unsigned rank)
{
    struct kvw_stats stats = {0};

    while (stats.pushes == 0) {
        struct timespec moment = {0, 1000000};

        (void)nanosleep(&moment, NULL);
        expect_ok(c.kv[rank], kvw_get_stats(c.kv[rank], &stats, sizeof stats));
    }
}

/* What this program is when it is to die as rank 1. */
_Noreturn static void be_rank_1(const char *kind, char *port)
{
    c.port[0] = atoi(port);
    cluster_open(&c, 1, kind);
    init_keys(1);
    tell(STDOUT_FILENO);
    hear(STDIN_FILENO);
    gradients(1, 1);
    push(1, torn, g[1], BIG);
    until_a_slice_has_it(1);
    tell(STDOUT_FILENO);
    for (;;) {
        pause();
    }
}

/* Rank 1 dies, and with it all that server 1 knew of its push. */
static void tear(const struct life *life)
{
    hear(life->out);
    cluster_pause(&c, 1);
    gradients(0, 1);
    push(0, torn, g[0], BIG);
    tell(life->in);
    hear(life->out);
    end(life);
    cluster_kill(&c, 1);
    cluster_restart(&c, 1);
}

/* --- The next one ----------------------------------------------------------
 */

static void push_all(struct kvw_key key, unsigned round)
{
    for (unsigned rank = 0; rank < 2; rank++) {
        gradients(rank, round);
        push(rank, key, g[rank], BIG);
    }
    wait_all();
}

static void expect_version(struct kvw_key key, uint64_t right)
{
    uint64_t version;

    expect_ok(c.kv[0], kvw_get_version(c.kv[0], key, &version));
    assert_int_equal(version, right);
}

/* The same bits as the key has that no life was lost on. */
static void expect_alike(uint64_t rounds)
{
    for (unsigned rank = 0; rank < 2; rank++) {
        pull(0, rank == 0 ? torn : calm, w[rank], BIG);
    }
    wait_all();
    assert_memory_equal(w[0], w[1], sizeof w[0]);
    expect_version(torn, rounds);
    expect_version(calm, rounds);
}

static void lose_a_life(const char *kind, const char *optimizer,
                        const char *params)
{
    struct life life;

    cluster_open(&c, 0, kind);
    life = start_rank_1(kind);
    init_keys(0);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], optimizer, params));
    tear(&life);
    cluster_open(&c, 1, kind);
    init_keys(1);
    gradients(1, 1);
    push(1, torn, g[1], BIG);
    wait_all();
}

static void test_the_next_life_is_in_the_same_rounds_of_all_slices(void **state)
{
    (void)state;
    lose_a_life("dist_sync", "sgd", "lr=0.1,momentum=0.9");
    push_all(calm, 1);
    expect_alike(1);
    push_all(torn, 2);
    push_all(calm, 2);
    expect_alike(2);
}

/* Sums of whole numbers: any order gives the same. */
static void test_no_slice_has_an_async_push_twice(void **state)
{
    (void)state;
    lose_a_life("dist_async", "sgd", "lr=1");
    push_all(calm, 1);
    expect_alike(2);
}

static int set_up_servers(void **state)
{
    (void)state;
    cluster_no_environment();
    cluster_start(&c, 2, 2);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_next_life_is_in_the_same_rounds_of_all_slices,
             set_up_servers),
        TEST(test_no_slice_has_an_async_push_twice, set_up_servers),
    };

    if (argc == 3) {
        be_rank_1(argv[1], argv[2]);
    }
    return cmocka_run_group_tests_name("worker lives", tests, NULL, NULL);
}
