/* clock: monotonic, and both units agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/clock.h"

static void test_time_does_not_run_backwards(void **state)
{
    uint64_t last = clock_ns();

    (void)state;
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_ns();

        assert_true(now >= last);
        last = now;
    }
}

static void test_both_units_agree(void **state)
{
    uint64_t before = clock_ns() / 1000000;
    uint64_t now = clock_ms();
    uint64_t after = clock_ns() / 1000000;

    (void)state;
    assert_in_range(now, before, after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time_does_not_run_backwards),
        cmocka_unit_test(test_both_units_agree),
    };

    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
