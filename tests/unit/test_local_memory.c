/* A local store without memory: calls fail and change nothing, or are done; and
 * what runs in a circle asks for none. */
#include "tests/unit/local_fixture.h"

#include "common/base/mem.h"
#include "tests/fakes/fault_mem.h"

static int tear_down_and_count(void **state)
{
    tear_down(state);
    if (fault_mem_live() != 0) {
        print_error("%zu pieces of memory are still there\n", fault_mem_live());
        return -1;
    }
    return 0;
}

static int set_up_nothing(void **state)
{
    (void)state;
    return 0;
}

static void test_opening_needs_memory_but_loses_none(void **state)
{
    unsigned n = 1;

    (void)state;
    for (int status = KVW_ENOMEM; status != KVW_OK; n++) {
        fault_mem_fail(n);
        status = kvw_open(&kv, "local", "log=error,threads=2");
        fault_mem_fail(0);
        assert_true(status == KVW_OK || status == KVW_ENOMEM);
        assert_true(status == KVW_OK || fault_mem_live() == 0);
    }
    assert_true(n > 4);
}

static void test_an_init_without_memory_can_be_repeated(void **state)
{
    float data[2][EACH] = {{1}, {2}};
    struct kvw_tensor t[] = {kvw_f32(data[0], EACH), kvw_f32(data[1], EACH)};
    int failures = 0;

    (void)state;
    for (int n = 1; n < 30; n++) {
        struct kvw_item items[] = {{kvw_int(n), &t[0], 1},
                                   {kvw_int(n + 1000), &t[1], 1}};
        int status;

        fault_mem_fail((unsigned)n);
        status = kvw_init(kv, items, 2);
        fault_mem_fail(0);
        if (status != KVW_OK) {
            failures++;
            expect_error(status, KVW_ENOMEM, NULL, NULL);
            expect_ok(kvw_init(kv, items, 2));
        }
    }
    assert_true(failures > 3); /* Keys lie in blocks. */
}

static void test_a_push_without_memory_changes_nothing(void **state)
{
    float one[EACH], got[2][EACH];
    struct kvw_tensor t = kvw_f32(one, EACH);
    struct kvw_tensor o[] = {kvw_f32(got[0], EACH), kvw_f32(got[1], EACH)};
    struct kvw_item both[] = {{kvw_int(1), &t, 1}, {kvw_int(2), &t, 1}};
    struct kvw_item outs[] = {{kvw_int(1), &o[0], 1}, {kvw_int(2), &o[1], 1}};
    int failures = 0;

    (void)state;
    init(kvw_int(1), 0);
    init(kvw_int(2), 0);
    fill(one, EACH, 1);
    for (int status = KVW_ENOMEM; status != KVW_OK;) {
        expect_ok(kvw_pull(kv, outs, 2, NULL, NULL)); /* Ops are there. */
        wait_all();
        expect_all(got[0], EACH, 0);
        expect_all(got[1], EACH, 0);
        expect_ok(kvw_set_optimizer(kv, "adam", "lr=1,beta1=0,beta2=0"));
        fault_mem_fail((unsigned)++failures);
        status = kvw_push(kv, both, 2, NULL, NULL);
        status = status == KVW_OK ? kvw_wait_all(kv, KVW_FOREVER) : status;
        fault_mem_fail(0);
    }
    assert_true(failures > 3);
    expect_pull(kvw_int(2), 1, -1);
}

static void test_steps_in_a_circle_allocate_nothing(void **state)
{
    float one[2][EACH] = {{1}, {1}}, got[EACH];
    struct kvw_tensor t[] = {kvw_f32(one[0], EACH), kvw_f32(one[1], EACH)};
    struct kvw_tensor o = kvw_f32(got, EACH);
    struct kvw_item item = {kvw_str("w"), t, 2}, out = {kvw_str("w"), &o, 1};
    struct kvw_call copy = {.flags = KVW_COPY};
    uint64_t before = 0;

    (void)state;
    init(kvw_str("w"), 0);
    expect_ok(kvw_set_optimizer(kv, "adam", ""));
    for (int i = 0; i < 20; i++) {
        before = i == 10 ? mem_allocations() : before;
        expect_ok(kvw_push(kv, &item, 1, &copy, NULL));
        expect_ok(kvw_pull(kv, &out, 1, NULL, NULL));
        wait_all();
    }
    assert_int_equal(mem_allocations(), before);
}

#define LEAN(name, how)                                                        \
    cmocka_unit_test_setup_teardown(name, how, tear_down_and_count)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LEAN(test_opening_needs_memory_but_loses_none, set_up_nothing),
        LEAN(test_an_init_without_memory_can_be_repeated, set_up),
        LEAN(test_a_push_without_memory_changes_nothing, set_up),
        LEAN(test_steps_in_a_circle_allocate_nothing, set_up),
    };

    return cmocka_run_group_tests_name("local memory", tests, NULL, NULL);
}
