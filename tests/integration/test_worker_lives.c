/* A worker that dies between the commits of a push: some slices of the key have
 * it, others have not. Its next life takes part in the rounds that are open,
 * and in no other. */
#include <pthread.h>

#include "tests/integration/life_fixture.h"

#define RULE "lr=0.5,momentum=0.9"

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
    while (stats_of(rank).pushes == 0) {
    }
}

static void reset(unsigned rank)
{
    struct kvw_tensor t = kvw_f32(w[rank], BIG);
    struct kvw_item i = item(torn, &t);

    fill(w[rank], BIG, 7);
    expect_ok(c.kv[rank], kvw_reset(c.kv[rank], &i, 1));
}

static void *reset_in_thread(void *rank)
{
    reset(*(unsigned *)rank);
    return NULL;
}

/* What this program is when it is to die. */
_Noreturn static void be_a_life(char **argv)
{
    unsigned rank = open_life(argv);
    pthread_t thread;

    init_keys(rank);
    if (rank == 0) {
        expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", RULE));
    }
    tell(STDOUT_FILENO);
    hear(STDIN_FILENO);
    if (strcmp(argv[4], "resets") == 0) {
        KV_CHECK(pthread_create(&thread, NULL, reset_in_thread, &rank) == 0);
    } else {
        gradients(rank, 1);
        push(rank, torn, g[rank], BIG);
    }
    until_a_slice_has_it(rank);
    tell(STDOUT_FILENO);
    for (;;) {
        pause();
    }
}

/* It is ready, and dies when server 0 has its push, and with it all that server
 * 1 knew of that. */
static void tear(const struct life *life)
{
    cluster_pause(&c, 1);
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

/* Rank 0 here, and rank 1 in its first life. */
static struct life open_both(const char *kind, const char *params,
                             const char *what)
{
    struct life life;

    cluster_open(&c, 0, kind);
    life = start_life(1, kind, what);
    init_keys(0);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", params));
    hear(life.out);
    return life;
}

/* Rank 1 is in its second life, rank 0 has pushed round 1. */
static void lose_rank_1(const char *kind, const char *params)
{
    struct life life = open_both(kind, params, "pushes");

    gradients(0, 1);
    push(0, torn, g[0], BIG);
    tear(&life);
    cluster_open(&c, 1, kind);
    init_keys(1);
}

/* The job's only rank is in its second life. */
static void lose_rank_0(const char *kind)
{
    struct life life = start_life(0, kind, "pushes");

    hear(life.out);
    tear(&life);
    cluster_open(&c, 0, kind);
    init_keys(0);
}

static void push_again(unsigned rank)
{
    gradients(rank, 1);
    push(rank, torn, g[rank], BIG);
    wait_all();
}

static void test_the_next_life_is_in_the_same_rounds_of_all_slices(void **state)
{
    (void)state;
    lose_rank_1("dist_sync", RULE);
    push_again(1);
    push_all(calm, 1);
    expect_alike(1);
    push_all(torn, 2);
    push_all(calm, 2);
    expect_alike(2);
}

/* With what rank 1 pushed in both of its lives, or in the second alone. */
static void expect_one_or_both(void)
{
    size_t one = 0, both = 0;

    gradients(0, 1);
    gradients(1, 1);
    for (size_t i = 0; i < BIG; i++) {
        float alone = 0.5f - g[0][i] - g[1][i];

        one += w[0][i] == alone;
        both += w[0][i] == alone - g[1][i];
    }
    assert_true(one > BIG / 10 && both > BIG / 10);
    assert_true(one + both >= BIG); /* Some gradients are 0. */
}

static void test_no_slice_misses_an_async_push_of_the_next_life(void **state)
{
    (void)state;
    lose_rank_1("dist_async", "lr=1");
    push_again(1);
    pull(0, torn, w[0], BIG);
    wait_all();
    expect_one_or_both();
}

static void test_a_member_that_joins_stays_in_its_rounds(void **state)
{
    (void)state;
    lose_rank_1("dist_sync", RULE);
    expect_ok(c.kv[1], kvw_join(c.kv[1]));
    push_again(1);
    push_all(calm, 1);
    expect_alike(1);
}

/* Half of the key had the push, and no part of it has it now. */
static void reset_all_slices(const char *kind)
{
    lose_rank_0(kind);
    reset(0);
    fill(w[0], BIG, 0);
    pull(0, torn, w[0], BIG);
    wait_all();
    expect_all(w[0], BIG, 7);
    fill(g[0], BIG, 1);
    push(0, torn, g[0], BIG); /* Without momentum from before. */
    pull(0, torn, w[0], BIG);
    wait_all();
    expect_all(w[0], BIG, 7 - 0.5f);
}

static void test_a_reset_reaches_all_slices(void **state)
{
    (void)state;
    reset_all_slices("dist_sync");
}

static void test_an_async_reset_reaches_all_slices(void **state)
{
    (void)state;
    reset_all_slices("dist_async");
}

/* The other rank has not died, and is in the reset that rank 1 does again:
 * once, or it would be alone in the next one. */
static void test_a_torn_reset_is_completed(void **state)
{
    static unsigned zero;
    struct life life = open_both("dist_sync", "lr=1", "resets");
    pthread_t thread;

    (void)state;
    KV_CHECK(pthread_create(&thread, NULL, reset_in_thread, &zero) == 0);
    tear(&life);
    cluster_open(&c, 1, "dist_sync");
    init_keys(1);
    reset(1);
    KV_CHECK(pthread_join(thread, NULL) == 0);
    push_all(torn, 2);
    pull(0, torn, w[0], BIG);
    wait_all();
    for (size_t i = 0; i < BIG; i++) {
        assert_true(w[0][i] == 7 - g[0][i] - g[1][i]);
    }
    expect_version(torn, 2);
}

static void test_a_setting_for_a_round_that_a_slice_has_is_refused(void **state)
{
    (void)state;
    lose_rank_0("dist_sync");
    expect_error(c.kv[0], kvw_set_hyper(c.kv[0], &torn, "lr", 0, 1), KVW_EINVAL,
                 "key 'torn'", "has pushed round 1", NULL);
    push_again(0);
    gradients(0, 1);
    push(0, calm, g[0], BIG);
    wait_all();
    expect_alike(1);
}

static int set_up_workers(unsigned workers)
{
    cluster_no_environment();
    cluster_start(&c, 2, workers);
    return 0;
}

static int set_up_one(void **state)
{
    (void)state;
    return set_up_workers(1);
}

static int set_up_two(void **state)
{
    (void)state;
    return set_up_workers(2);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_next_life_is_in_the_same_rounds_of_all_slices,
             set_up_two),
        TEST(test_no_slice_misses_an_async_push_of_the_next_life, set_up_two),
        TEST(test_a_member_that_joins_stays_in_its_rounds, set_up_two),
        TEST(test_a_reset_reaches_all_slices, set_up_one),
        TEST(test_an_async_reset_reaches_all_slices, set_up_one),
        TEST(test_a_torn_reset_is_completed, set_up_two),
        TEST(test_a_setting_for_a_round_that_a_slice_has_is_refused,
             set_up_one),
    };

    if (argc > 1) {
        be_a_life(argv);
    }
    return cmocka_run_group_tests_name("worker lives", tests, NULL, NULL);
}
