/* Numbers of the optimizer that change while a job trains: for all keys or for
 * one, however it is cut, through kills. */
#include "tests/integration/worker_fixture.h"

#define ROUNDS 40
#define MANY 3000

/* --- Steps ---------------------------------------------------------------- */

static const struct kvw_key big = {"big", 0}, small = {"7", 0};

static void begin(const char *params)
{
    init_all(big, BIG, 0);
    init_all(small, 10, 0);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", params));
    fill(g[0], BIG, 1);
    fill(g[1], BIG, 1);
}

static void train(struct kvw_key key, size_t count)
{
    for (unsigned rank = 0; rank < c.workers; rank++) {
        push(rank, key, g[rank], count);
        pull(rank, key, w[rank], count);
    }
    wait_all();
}

static void expect_trained(struct kvw_key key, size_t count, float value)
{
    train(key, count);
    for (unsigned rank = 0; rank < c.workers; rank++) {
        expect_all(w[rank], count, value);
    }
}

static void set(unsigned rank, const struct kvw_key *key, const char *name,
                double value, uint64_t round)
{
    expect_ok(c.kv[rank], kvw_set_hyper(c.kv[rank], key, name, value, round));
}

/* --- Tests ---------------------------------------------------------------- */

static void test_a_key_has_its_own_numbers_in_all_its_slices(void **state)
{
    (void)state;
    begin("lr=1");
    set(1, &big, "lr_mult", 4, 0);
    set(0, NULL, "lr", 0.5, 2);
    set(1, NULL, "lr", 0.5, 2); /* All may say it. */
    expect_trained(big, BIG, -8);
    expect_trained(small, 10, -2);
    expect_trained(small, 10, -3);
    expect_trained(big, BIG, -12);
}

/* From this worker's next push on, though the others' are there already. */
static void test_the_next_round_is_that_of_the_next_push(void **state)
{
    (void)state;
    begin("lr=1");
    expect_trained(big, BIG, -2);
    push(1, big, g[1], BIG);
    set(0, NULL, "lr", 2, 0);
    push(0, big, g[0], BIG);
    pull(0, big, w[0], BIG);
    wait_all();
    expect_all(w[0], BIG, -6);
}

static void test_rounds_that_are_past_are_refused(void **state)
{
    struct kvw *kv = c.kv[0];
    struct kvw_key unknown = kvw_str("unknown");

    (void)state;
    begin("lr=1");
    train(big, BIG);
    train(big, BIG);
    expect_error(kv, kvw_set_hyper(kv, &big, "lr", 2, 2), KVW_EINVAL, "'big'",
                 "from round 2", "rank 0 has pushed round 2", NULL);
    expect_error(kv, kvw_set_hyper(kv, NULL, "lr", 2, 1), KVW_EINVAL, "'big'",
                 "from round 1", NULL);
    expect_error(kv, kvw_set_hyper(kv, &unknown, "lr", 2, 0), KVW_ENOTFOUND,
                 "'unknown'", NULL);
    expect_error(kv, kvw_set_hyper(kv, &big, "lr_mult", -2, 0), KVW_EINVAL,
                 "'big'", "server", "from 0 to", NULL);
    expect_trained(big, BIG, -6);
    set(0, &small, "lr", 2, 1);
    expect_trained(small, 10, -4);
}

static void test_rounds_are_those_of_a_keys_last_life(void **state)
{
    struct kvw *kv = c.kv[0];

    (void)state;
    begin("lr=1");
    train(big, BIG);
    expect_ok(kv, kvw_delete(kv, &big, 1));
    init_all(big, BIG, 0);
    set(0, &big, "lr_mult", 2, 2);
    set(1, NULL, "lr", 4, 3);
    expect_trained(big, BIG, -2);
    expect_trained(big, BIG, -6);
    expect_error(kv, kvw_set_hyper(kv, &big, "lr", 2, 2), KVW_EINVAL, "'big'",
                 "from round 2", "rank 0 has pushed round 2;", NULL);
    expect_trained(big, BIG, -22);
}

static void test_async_counts_updates(void **state)
{
    (void)state;
    begin("lr=1");
    set(0, &small, "lr", 8, 3);
    train(small, 10); /* Two updates: one of each rank. */
    train(small, 10);
    train(small, 10);
    pull(0, small, w[0], 10);
    wait_all();
    expect_all(w[0], 10, -34);
}

/* The rate of each round is announced some rounds before, and a server dies
 * every now and then. */
static void test_kills_change_no_bit(void **state)
{
    float right = 0;

    (void)state;
    begin("lr=1");
    for (unsigned round = 1; round <= ROUNDS; round++) {
        for (unsigned rank = 0; rank < 2; rank++) {
            set(rank, NULL, "lr", round % 3 + 1, round + 4);
            set(rank, &big, "lr_mult", round % 2 + 1, round + 2);
        }
        if (round % 4 == 0) {
            cluster_kill(&c, round % 8 / 4);
            cluster_restart(&c, round % 8 / 4);
        }
        right -= (round > 4 ? (float)((round - 4) % 3 + 1) : 1) *
                 (round > 2 ? (float)((round - 2) % 2 + 1) : 1) * 2;
        expect_trained(big, BIG, right);
    }
}

static void test_many_keys_have_a_multiplier_each(void **state)
{
    static struct kvw_tensor t[MANY];
    static struct kvw_item items[MANY];
    static struct kvw_key keys[MANY];
    static struct kvw_hyper changes[MANY];
    struct kvw *kv = c.kv[0];

    (void)state;
    fill(w[0], MANY * 4, 0);
    fill(g[0], MANY * 4, 1);
    for (int i = 0; i < MANY; i++) {
        keys[i] = kvw_int(i);
        t[i] = kvw_f32(w[0] + 4 * i, 4);
        items[i] = (struct kvw_item){keys[i], &t[i], 1};
        changes[i] = (struct kvw_hyper){&keys[i], "lr_mult", i % 300, 0};
    }
    expect_ok(kv, kvw_init(kv, items, MANY));
    expect_ok(kv, kvw_set_optimizer(kv, "sgd", "lr=1"));
    expect_ok(kv, kvw_set_hypers(kv, changes, MANY));
    for (int i = 0; i < MANY; i++) {
        t[i].data = g[0] + 4 * i;
    }
    expect_ok(kv, kvw_push(kv, items, MANY, NULL, NULL));
    expect_ok(kv, kvw_wait_all(kv, KVW_FOREVER));
    for (int i = 0; i < MANY; i++) {
        t[i].data = w[0] + 4 * i;
    }
    expect_ok(kv, kvw_pull(kv, items, MANY, NULL, NULL));
    expect_ok(kv, kvw_wait_all(kv, KVW_FOREVER));
    for (int i = 0; i < MANY; i++) {
        expect_all(w[0] + 4 * i, 4, 0 - (float)(i % 300));
    }
}

/* --- One that not all can set --------------------------------------------- */

static int64_t number;

static struct kvw_item counter(void)
{
    static struct kvw_tensor t = {&number, KVW_I64, 1, {1}, KVW_DENSE, NULL, 0};

    return item(kvw_str("counter"), &t);
}

/* Returns when its server has it: what is sent later is answered later. */
static void push_counter(unsigned rank)
{
    struct kvw_item i = counter();
    uint64_t before = stats_of(rank).bytes_sent, version;

    expect_ok(c.kv[rank], kvw_push(c.kv[rank], &i, 1, NULL, NULL));
    while (stats_of(rank).bytes_sent == before) {
    }
    expect_ok(c.kv[rank], kvw_get_version(c.kv[rank], i.key, &version));
}

/* Integers have an open round on one shard. The others could set it. */
static void
test_an_optimizer_that_one_shard_refuses_is_set_on_none(void **state)
{
    struct kvw_item i = counter();

    (void)state;
    init_all(big, BIG, 0);
    for (unsigned rank = 0; rank < 2; rank++) {
        expect_ok(c.kv[rank], kvw_init(c.kv[rank], &i, 1));
    }
    fill(g[0], BIG, 1);
    fill(g[1], BIG, 1);
    push_counter(0);
    expect_error(c.kv[1], kvw_set_optimizer(c.kv[1], "sgd", "lr=1"), KVW_EBUSY,
                 "i64", "sgd", NULL);
    push_counter(1);
    expect_trained(big, BIG, 2); /* The sum. */
    expect_ok(c.kv[1], kvw_set_optimizer(c.kv[1], "sgd", "lr=1"));
    expect_trained(big, BIG, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_key_has_its_own_numbers_in_all_its_slices, set_up),
        TEST(test_the_next_round_is_that_of_the_next_push, set_up),
        TEST(test_rounds_that_are_past_are_refused, set_up),
        TEST(test_rounds_are_those_of_a_keys_last_life, set_up),
        TEST(test_async_counts_updates, set_up_async),
        TEST(test_kills_change_no_bit, set_up),
        TEST(test_many_keys_have_a_multiplier_each, set_up_alone),
        TEST(test_an_optimizer_that_one_shard_refuses_is_set_on_none, set_up),
    };

    return cmocka_run_group_tests_name("worker_hyper", tests, NULL, NULL);
}
