#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/retry.h"

static void expect_between(struct retry *r, uint64_t least_ms, uint64_t most_ms)
{
    uint64_t wait_ms = retry_next_ms(r);

    assert_in_range(wait_ms, least_ms, most_ms);
}

static void test_waits_double_up_to_the_bound(void **state)
{
    struct retry r;

    (void)state;
    retry_init(&r, 1);
    for (uint64_t wait_ms = RETRY_MIN_MS; wait_ms < RETRY_MAX_MS;
         wait_ms *= 2) {
        expect_between(&r, wait_ms / 2, wait_ms);
    }
    for (int i = 0; i < 100; i++) {
        expect_between(&r, RETRY_MAX_MS / 2, RETRY_MAX_MS);
    }
}

static void test_after_a_working_connection_the_first_is_at_once(void **state)
{
    struct retry r;

    (void)state;
    retry_init(&r, 2);
    for (int i = 0; i < 10; i++) {
        (void)retry_next_ms(&r);
    }
    retry_worked(&r);
    expect_between(&r, 0, 0);
    expect_between(&r, RETRY_MIN_MS / 2, RETRY_MIN_MS);
    expect_between(&r, RETRY_MIN_MS, 2 * RETRY_MIN_MS);
}

static void test_the_same_seed_waits_the_same(void **state)
{
    struct retry a, b, other;
    unsigned differ = 0;

    (void)state;
    retry_init(&a, 3);
    retry_init(&b, 3);
    retry_init(&other, 4);
    for (int i = 0; i < 50; i++) {
        uint64_t wait_ms = retry_next_ms(&a);

        assert_int_equal(wait_ms, retry_next_ms(&b));
        differ += wait_ms != retry_next_ms(&other);
    }
    assert_true(differ > 25);
}

static void test_waits_spread_over_the_allowed_half(void **state)
{
    unsigned low = 0, high = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 1000; seed++) {
        struct retry r;

        retry_init(&r, seed);
        if (retry_next_ms(&r) < RETRY_MIN_MS * 3 / 4) {
            low++;
        } else {
            high++;
        }
    }
    assert_in_range(low, 350, 650);
    assert_in_range(high, 350, 650);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits_double_up_to_the_bound),
        cmocka_unit_test(test_after_a_working_connection_the_first_is_at_once),
        cmocka_unit_test(test_the_same_seed_waits_the_same),
        cmocka_unit_test(test_waits_spread_over_the_allowed_half),
    };

    return cmocka_run_group_tests_name("retry", tests, NULL, NULL);
}
