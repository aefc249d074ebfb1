#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/policy.h"

static void test_policies_are_found_by_id(void **state)
{
    (void)state;
    assert_string_equal(policy_by_id(KV_POLICY_SYNC)->name, "sync");
    assert_string_equal(policy_by_id(KV_POLICY_ASYNC)->name, "async");
    assert_null(policy_by_id(0));
    assert_null(policy_by_id(77));
}

static void test_sync_closes_when_every_rank_has_pushed(void **state)
{
    const struct policy *p = policy_by_id(KV_POLICY_SYNC);
    struct policy_view v = {.round = 4, .workers = 3, .arrived = 2};

    (void)state;
    assert_false(p->per_rank);
    assert_false(p->closes(&v));
    v.arrived = 3;
    assert_true(p->closes(&v));
}

static void test_sync_counts_the_rounds_of_the_slice(void **state)
{
    const struct policy *p = policy_by_id(KV_POLICY_SYNC);
    struct policy_view v = {.round = 4, .workers = 3};

    (void)state;
    assert_int_equal(p->committed(&v, 2), 4);
    assert_true(p->readable(&v, 2, 4));
    assert_false(p->readable(&v, 2, 5));
}

static void test_async_closes_with_any_push(void **state)
{
    const struct policy *p = policy_by_id(KV_POLICY_ASYNC);
    struct policy_view v = {.workers = 3, .arrived = 1};

    (void)state;
    assert_true(p->per_rank);
    assert_true(p->closes(&v));
}

static void test_async_counts_each_rank_by_itself(void **state)
{
    const struct policy *p = policy_by_id(KV_POLICY_ASYNC);
    const uint64_t seq[3] = {7, 0, 2};
    struct policy_view v = {.round = 9, .seq = seq, .workers = 3};

    (void)state;
    assert_int_equal(p->committed(&v, 0), 7);
    assert_int_equal(p->committed(&v, 1), 0);
    assert_true(p->readable(&v, 2, 2));
    assert_false(p->readable(&v, 2, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policies_are_found_by_id),
        cmocka_unit_test(test_sync_closes_when_every_rank_has_pushed),
        cmocka_unit_test(test_sync_counts_the_rounds_of_the_slice),
        cmocka_unit_test(test_async_closes_with_any_push),
        cmocka_unit_test(test_async_counts_each_rank_by_itself),
    };

    return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
