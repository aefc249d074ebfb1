/* What an optimizer promises beyond its formula. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/optim_fixture.h"

#define COUNT 100

static struct value a, b;

/* --- Steps ---------------------------------------------------------------- */

/* The weight after one gradient, from 0. */
static float step_of(const char *name, const char *params, float gradient)
{
    start(&a, name, params, 1);
    update(&a, &gradient, 1);
    return a.weight[1][0];
}

static void expect_same_training(void)
{
    uint64_t x = chance_seed();

    for (int t = 0; t < 3; t++) {
        float gradient[COUNT];

        some_numbers(&x, gradient, COUNT);
        update(&a, gradient, COUNT);
        update(&b, gradient, COUNT);
        assert_memory_equal(a.weight, b.weight, sizeof a.weight);
    }
}

/* --- Tests ---------------------------------------------------------------- */

static void test_signsgd_is_signum_without_momentum(void **state)
{
    (void)state;
    start(&a, "signsgd", "lr=0.1,wd=0.01", COUNT);
    start(&b, "signum", "lr=0.1,wd=0.01,momentum=0", COUNT);
    assert_int_equal(slots_of(&a.spec), 0);
    expect_same_training();
}

static void test_nag_without_momentum_is_sgd(void **state)
{
    (void)state;
    start(&a, "nag", "lr=0.1,wd=0.01,clip_gradient=0.5", COUNT);
    start(&b, "sgd", "lr=0.1,wd=0.01,clip_gradient=0.5", COUNT);
    expect_same_training();
}

static void test_signsgd_sees_only_the_sign_of_a_gradient(void **state)
{
    (void)state;
    assert_true(step_of("signsgd", "lr=0.5", 7) == -0.5f);
    assert_true(step_of("signsgd", "lr=0.5", -1e-30f) == 0.5f);
    assert_true(step_of("signsgd", "lr=0.5", 0) == 0);
    assert_true(step_of("signsgd", "lr=0.5,rescale_grad=1e-20", 1e-30f) ==
                -0.5f);
    assert_true(step_of("signsgd", "lr=0.5,clip_gradient=0.01", 7) == -0.5f);
    assert_true(step_of("signsgd", "lr=0.5,rescale_grad=-2", 7) == 0.5f);
    assert_true(step_of("signsgd", "lr=0.5,rescale_grad=0", 7) == 0);
}

static void test_ftrl_keeps_a_weight_at_0_until_it_matters(void **state)
{
    (void)state;
    assert_true(step_of("ftrl", "lamda1=0.5", 0.4f) == 0);
    assert_true(step_of("ftrl", "lamda1=0.5", -0.5f) == 0);
    assert_true(step_of("ftrl", "lamda1=0.5", 0.6f) < 0);
    assert_true(step_of("ftrl", "lamda1=0.5", -0.6f) > 0);
    assert_true(step_of("ftrl", "lamda1=0,beta=0", 0) == 0);
}

/* Then the variance is 0, and in f32 often a little less. */
static void test_centered_rmsprop_survives_a_constant_gradient(void **state)
{
    float gradient[COUNT];

    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        gradient[i] = 1000 + (float)i;
    }
    start(&a, "rmsprop", "centered=1,lr=1e-9", COUNT);
    for (int t = 0; t < 300; t++) {
        update(&a, gradient, COUNT);
    }
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(isfinite(a.weight[a.live][i]));
    }
}

/* With the longest warm-up there can be, and the slowest decay after it. */
static void test_nadam_prepares_a_late_update_as_fast_as_an_early_one(void **s)
{
    static const char *const params[] = {
        "beta1=0.9999999,schedule_decay=0",
        "beta1=0.9999999,schedule_decay=1e-9",
        "beta1=0.9999999,schedule_decay=0.3",
        "beta1=0.9999999,schedule_decay=1e30",
    };
    const float gradient = 1;

    (void)s;
    for (size_t i = 0; i < sizeof params / sizeof *params; i++) {
        start(&a, "nadam", params[i], 1);
        a.t = UINT64_C(1) << 40;
        update(&a, &gradient, 1);
        assert_true(isfinite(a.weight[1][0]) && a.weight[1][0] < 0);
    }
}

/* Momentum is then beta1 for ever, and no average is biased any more. */
static void test_nadam_ends_its_warm_up(void **state)
{
    const float gradient = 0.5f;
    double m = 0.1 * 0.5, v = 0.001 * 0.25;
    double right = -0.1 * (0.1 * 0.5 + 0.9 * m) / sqrt(v);

    (void)state;
    start(&a, "nadam", "lr=0.1", 1);
    a.t = 1000000000;
    update(&a, &gradient, 1);
    assert_true(fabs((double)a.weight[1][0] - right) < 1e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signsgd_is_signum_without_momentum),
        cmocka_unit_test(test_nag_without_momentum_is_sgd),
        cmocka_unit_test(test_signsgd_sees_only_the_sign_of_a_gradient),
        cmocka_unit_test(test_ftrl_keeps_a_weight_at_0_until_it_matters),
        cmocka_unit_test(test_centered_rmsprop_survives_a_constant_gradient),
        cmocka_unit_test(
            test_nadam_prepares_a_late_update_as_fast_as_an_early_one),
        cmocka_unit_test(test_nadam_ends_its_warm_up),
    };

    return cmocka_run_group_tests_name("optim_rules", tests, NULL, NULL);
}
