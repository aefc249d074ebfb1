/* What MXNet's formulas give for three updates: golden.json. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "golden.h"
#include "tests/unit/optim_fixture.h"

#define GOLDEN_COUNT (sizeof goldens / sizeof *goldens)
#define WIDTH (sizeof golden_start / sizeof *golden_start)
#define STEPS (sizeof golden_gradient / sizeof *golden_gradient)

static struct value value;

/* The numbers are rounded to 1e-9, and 1 - 0.999 is 5e-5 off in f32, as it is
 * in MXNet. Where that comes to 0/0 we have some number. */
static void expect_close(const float *got, const double *right, double least,
                         const char *label)
{
    for (size_t i = 0; i < WIDTH; i++) {
        double limit = 1e-6 * fabs(right[i]) + least;

        if (isnan(right[i]) ? isnan(got[i])
                            : !(fabs((double)got[i] - right[i]) <= limit)) {
            fail_msg("%s: [%zu] is %.9g, not %.9g", label, i, (double)got[i],
                     right[i]);
        }
    }
}

/* These need to know the whole value, which an update here does not:
 * test_optim_norms.c. */
static bool looks_at_all(const char *name)
{
    return kv_optim_find(name)->passes > 0;
}

static void test_three_updates_give_mxnet_1_9s_numbers(void **state)
{
    size_t seen = 0;

    (void)state;
    for (size_t k = 0; k < GOLDEN_COUNT; k++) {
        const struct golden *g = &goldens[k];

        if (looks_at_all(g->name)) {
            continue;
        }
        start(&value, g->name, g->params, WIDTH);
        assert_int_equal(slots_of(&value.spec), g->slots);
        memcpy(value.weight[0], golden_start, sizeof golden_start);
        for (size_t t = 0; t < STEPS; t++) {
            update(&value, golden_gradient[t], WIDTH);
            expect_close(value.weight[value.live], g->weight[t], 1e-6,
                         g->label);
        }
        for (unsigned s = 0; s < g->slots; s++) {
            expect_close(value.slot[value.live][s], g->slot[s], 5e-9, g->label);
        }
        seen++;
    }
    assert_int_equal(seen, 17); /* Of 21. */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_updates_give_mxnet_1_9s_numbers),
    };

    return cmocka_run_group_tests_name("optim_golden", tests, NULL, NULL);
}
