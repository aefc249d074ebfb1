/* libkvworker without memory: each call fails with a status and nothing lost,
 * or does its work all the same. */
#include "tests/fakes/fault_mem.h"
#include "tests/integration/worker_fixture.h"

enum { CALLS_MAX = 400 };

static int set_up_server(void **state)
{
    (void)state;
    cluster_no_environment();
    cluster_start(&c, 1, 1);
    return 0;
}

static int tear_down_and_count(void **state)
{
    tear_down(state);
    if (fault_mem_live() != 0) {
        print_error("%zu pieces of memory are still there\n", fault_mem_live());
        return -1;
    }
    return 0;
}

static void expect_no_memory(const struct kvw *kv, int status)
{
    if (status != KVW_OK && status != KVW_ENOMEM) {
        fail_msg("%s: %s", kvw_strstatus(status), kvw_error(kv));
    }
}

static void test_opening_needs_memory_but_loses_none(void **state)
{
    unsigned failed = 0;

    (void)state;
    for (unsigned n = 1; n < CALLS_MAX && failed + 100 > n; n++) {
        int status;

        fault_mem_fail(n);
        status = cluster_try_open(&c, 0, "dist_sync", "timeout=20");
        fault_mem_fail(0);
        expect_no_memory(NULL, status);
        if (status != KVW_OK) {
            failed = n;
        } else {
            cluster_close(&c, 0);
        }
    }
    assert_true(failed > 5);
}

static void test_a_key_can_be_registered_once_memory_is_back(void **state)
{
    int failures = 0;

    (void)state;
    cluster_open(&c, 0, "dist_sync");
    for (int n = 1; n < 60; n++) {
        struct kvw_tensor t = kvw_f32(w[0], 10);
        struct kvw_item i = item(kvw_int(n), &t);
        int status;

        fault_mem_fail((unsigned)n);
        status = kvw_init(c.kv[0], &i, 1);
        fault_mem_fail(0);
        expect_no_memory(c.kv[0], status);
        if (status == KVW_ENOMEM) {
            failures++;
            status = kvw_init(c.kv[0], &i, 1);
            expect_ok(c.kv[0], status);
        }
        fill(g[0], 10, (float)n);
        push(0, kvw_int(n), g[0], 10);
        pull(0, kvw_int(n), w[0], 10);
        wait_all();
        expect_all(w[0], 10, (float)n);
    }
    assert_true(failures > 3);
}

static void test_operations_fail_or_are_done(void **state)
{
    (void)state;
    cluster_open(&c, 0, "dist_sync");
    init_all(kvw_str("w"), BIG, 0);
    for (unsigned n = 1; n < 30; n++) {
        struct kvw_call copy = {.flags = KVW_COPY};
        struct kvw_tensor t[2] = {kvw_f32(g[0], BIG), kvw_f32(g[1], BIG)};
        struct kvw_item i = {kvw_str("w"), t, 2};
        struct kvw_op *op;
        int status;

        fill(g[0], BIG, (float)n);
        fill(g[1], BIG, 1);
        fault_mem_fail(n);
        status = kvw_pushpull(c.kv[0], &i, NULL, 1, &copy, &op);
        if (status == KVW_OK) {
            status = kvw_wait(c.kv[0], op, KVW_FOREVER);
        }
        fault_mem_fail(0);
        expect_no_memory(c.kv[0], status);
        if (status == KVW_OK) {
            expect_all(g[0], BIG, (float)n + 1);
            expect_all(g[1], BIG, (float)n + 1);
        }
    }
}

static void test_commands_fail_or_are_done(void **state)
{
    (void)state;
    cluster_open(&c, 0, "dist_sync");
    for (unsigned n = 1; n < 10; n++) {
        fault_mem_fail(n);
        expect_no_memory(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", "lr=1"));
        fault_mem_fail(n);
        expect_no_memory(c.kv[0], kvw_barrier(c.kv[0], KVW_FOREVER));
        fault_mem_fail(0);
    }
}

#define LEAN(name, how)                                                        \
    cmocka_unit_test_setup_teardown(name, how, tear_down_and_count)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LEAN(test_opening_needs_memory_but_loses_none, set_up_server),
        LEAN(test_a_key_can_be_registered_once_memory_is_back, set_up_server),
        LEAN(test_operations_fail_or_are_done, set_up_server),
        LEAN(test_commands_fail_or_are_done, set_up_server),
    };

    return cmocka_run_group_tests_name("worker memory", tests, NULL, NULL);
}
