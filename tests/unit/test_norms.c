/* norms: what slices tell is added up once, in their order, whenever it comes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/fakes/fault_mem.h"
#include "worker/norms.h"

#define SLICES 3

static int set_up(void **state)
{
    *state = norms_new(SLICES);
    return *state == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    norms_free(*state);
    return 0;
}

static enum norms_next tell(struct norms *n, uint32_t index, uint32_t pass,
                            double x)
{
    const double sum[KV_NORMS_MAX] = {x, 2 * x, 3 * x};

    return norms_tell(n, index, pass, sum);
}

static enum norms_next over(struct norms *n, uint32_t index, uint32_t pass,
                            bool expected)
{
    bool told;
    enum norms_next next = norms_close(n, index, pass, &told);

    assert_int_equal(told, expected);
    return next;
}

static void expect_totals(const struct norms *n, uint32_t pass, double x)
{
    for (unsigned i = 0; i < KV_NORMS_MAX; i++) {
        assert_true(norms_totals(n, pass)[i] == (i + 1) * x);
    }
}

static void test_the_last_slice_sets_all_going(void **state)
{
    struct norms *n = *state;

    assert_int_equal(tell(n, 2, 0, 1), NORMS_NONE);
    assert_int_equal(tell(n, 0, 0, 2), NORMS_NONE);
    assert_int_equal(tell(n, 1, 0, 4), NORMS_ALL);
    expect_totals(n, 0, 7);
}

static void test_passes_are_apart(void **state)
{
    struct norms *n = *state;

    for (uint32_t i = 0; i < SLICES; i++) {
        tell(n, i, 0, 1);
    }
    assert_int_equal(tell(n, 0, 1, 10), NORMS_NONE);
    assert_int_equal(tell(n, 1, 1, 20), NORMS_NONE);
    assert_int_equal(tell(n, 2, 1, 30), NORMS_ALL);
    expect_totals(n, 0, 3);
    expect_totals(n, 1, 60);
}

/* 2^53 + 1 is no double: the order shows. */
static void test_sums_are_added_in_the_order_of_the_slices(void **state)
{
    const double large = 9007199254740992.0;
    struct norms *n = *state;

    tell(n, 2, 0, -large);
    tell(n, 1, 0, 1);
    assert_int_equal(tell(n, 0, 0, large), NORMS_ALL);
    assert_true(norms_totals(n, 0)[0] == large + 1 - large);
    assert_true(norms_totals(n, 0)[0] == 0);
}

static void test_who_tells_again_gets_the_totals_alone(void **state)
{
    struct norms *n = *state;

    tell(n, 0, 0, 1);
    assert_int_equal(tell(n, 0, 0, 1), NORMS_NONE); /* Others are missing. */
    tell(n, 1, 0, 1);
    assert_int_equal(tell(n, 2, 0, 1), NORMS_ALL);
    assert_int_equal(tell(n, 1, 0, 1), NORMS_ONE);
    expect_totals(n, 0, 3);
}

static void test_the_newest_sums_count(void **state)
{
    struct norms *n = *state;

    tell(n, 0, 0, 1);
    tell(n, 0, 0, 5);
    tell(n, 1, 0, 1);
    tell(n, 2, 0, 1);
    expect_totals(n, 0, 7);
    assert_int_equal(tell(n, 1, 0, 3), NORMS_ONE);
    expect_totals(n, 0, 9);
}

static void test_a_slice_that_never_tells_counts_as_zeros(void **state)
{
    struct norms *n = *state;

    assert_int_equal(over(n, 1, 0, false), NORMS_NONE);
    assert_int_equal(tell(n, 0, 0, 1), NORMS_NONE);
    assert_int_equal(tell(n, 2, 0, 1), NORMS_ALL);
    expect_totals(n, 0, 2);
    assert_int_equal(tell(n, 0, 1, 1), NORMS_NONE);
    assert_int_equal(tell(n, 2, 1, 1), NORMS_NONE);
    assert_int_equal(over(n, 1, 1, false), NORMS_ALL); /* The last to end. */
    expect_totals(n, 1, 2);
}

static void test_a_slice_that_has_told_may_end_at_any_time(void **state)
{
    struct norms *n = *state;

    tell(n, 0, 0, 1);
    tell(n, 1, 0, 1);
    assert_int_equal(over(n, 0, 0, true), NORMS_NONE);
    assert_int_equal(tell(n, 2, 0, 1), NORMS_ALL);
    expect_totals(n, 0, 3);
    assert_int_equal(over(n, 2, 0, true), NORMS_NONE);
}

static void test_without_memory_there_are_none(void **state)
{
    size_t before = fault_mem_live();

    (void)state;
    fault_mem_fail(1);
    assert_null(norms_new(SLICES));
    fault_mem_fail(0);
    assert_int_equal(fault_mem_live(), before);
    norms_free(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_last_slice_sets_all_going),
        TEST(test_passes_are_apart),
        TEST(test_sums_are_added_in_the_order_of_the_slices),
        TEST(test_who_tells_again_gets_the_totals_alone),
        TEST(test_the_newest_sums_count),
        TEST(test_a_slice_that_never_tells_counts_as_zeros),
        TEST(test_a_slice_that_has_told_may_end_at_any_time),
        TEST(test_without_memory_there_are_none),
    };

    return cmocka_run_group_tests_name("norms", tests, NULL, NULL);
}
