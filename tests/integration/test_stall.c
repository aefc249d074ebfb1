#include "tests/integration/cluster.h"

#include <pthread.h>

/* Slices of 512 KiB, in all more than three times what a link may hold: ranks
 * that come from both ends do not meet. */
#define KEYS 80
#define COUNT (128 << 10)

static struct cluster c;
static float value[2][KEYS][COUNT];

static int set_up(void **state)
{
    (void)state;
    c.extra = "--shards=1";
    cluster_start(&c, 1, 2);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    cluster_stop(&c);
    return 0;
}

/* --- Steps ---------------------------------------------------------------- */

struct init {
    pthread_t thread;
    int rank, status;
};

static void *init_all(void *arg)
{
    struct init *i = arg;

    for (int k = 0; k < KEYS && i->status == KVW_OK; k++) {
        struct kvw_tensor t = kvw_f32(value[i->rank][k], COUNT);
        struct kvw_item item = {kvw_int(k), &t, 1};

        i->status = kvw_init(c.kv[i->rank], &item, 1);
    }
    return NULL;
}

static void open_both(void)
{
    struct init init[2] = {{.rank = 0}, {.rank = 1}};

    cluster_open(&c, 0, "dist_sync");
    cluster_open(&c, 1, "dist_sync");
    for (int i = 0; i < 2; i++) {
        KV_CHECK(pthread_create(&init[i].thread, NULL, init_all, &init[i]) ==
                 0);
    }
    for (int i = 0; i < 2; i++) {
        KV_CHECK(pthread_join(init[i].thread, NULL) == 0);
        assert_int_equal(init[i].status, KVW_OK);
    }
}

static void push(int rank, int key, float x)
{
    struct kvw_tensor t = kvw_f32(value[rank][key], COUNT);
    struct kvw_item item = {kvw_int(key), &t, 1};

    for (size_t i = 0; i < COUNT; i++) {
        value[rank][key][i] = x;
    }
    assert_int_equal(kvw_push(c.kv[rank], &item, 1, NULL, NULL), KVW_OK);
}

/* --- Tests ---------------------------------------------------------------- */

static void test_ranks_that_push_in_opposite_orders_do_not_block(void **state)
{
    struct kvw_tensor t = kvw_f32(value[0][0], COUNT);

    (void)state;
    open_both();
    for (int k = 0; k < KEYS; k++) {
        push(0, k, (float)k);
        push(1, KEYS - 1 - k, 1000);
    }
    assert_int_equal(kvw_wait_all(c.kv[0], 60000), KVW_OK);
    assert_int_equal(kvw_wait_all(c.kv[1], 60000), KVW_OK);
    for (int k = 0; k < KEYS; k++) {
        struct kvw_item item = {kvw_int(k), &t, 1};

        assert_int_equal(kvw_pull(c.kv[0], &item, 1, NULL, NULL), KVW_OK);
        assert_int_equal(kvw_wait_all(c.kv[0], 60000), KVW_OK);
        assert_true(value[0][0][COUNT - 1] == 1000 + (float)k);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_ranks_that_push_in_opposite_orders_do_not_block),
    };

    return cmocka_run_group_tests_name("stall", tests, NULL, NULL);
}
