#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>

#include "common/optim/optim.h"

/* --- Steps ---------------------------------------------------------------- */

static struct kv_schedule schedule(const char *params)
{
    char error[KV_OPTIM_ERROR_MAX] = "";
    struct kv_optim_spec spec;

    if (kv_optim_parse("sgd", params, &spec, error, sizeof error) != KV_OK) {
        fail_msg("%s", error);
    }
    return spec.schedule;
}

static void expect_rate(const struct kv_schedule *s, double base, uint64_t n,
                        double right)
{
    double rate = kv_schedule_lr(s, base, n);

    if (!(fabs(rate - right) <= 1e-12 * fabs(base))) {
        fail_msg("the rate of update %llu is %.17g, not %.17g",
                 (unsigned long long)n, rate, right);
    }
}

/* --- MXNet's way: an object that is asked about 1, 2, 3, ... -------------- */

struct stateful {
    struct kv_schedule s;
    double lr, count;
    unsigned index;
};

static double next_factor(struct stateful *o, double n)
{
    while (n > o->count + o->s.step[0]) {
        o->count += o->s.step[0];
        o->lr *= o->s.factor;
        o->lr = o->lr < o->s.stop_factor_lr ? o->s.stop_factor_lr : o->lr;
    }
    return o->lr;
}

static double next_multifactor(struct stateful *o, double n)
{
    while (o->index < o->s.step_count && n > o->s.step[o->index]) {
        o->lr *= o->s.factor;
        o->index++;
    }
    return o->lr;
}

static double next_curve(struct stateful *o, double base, double n)
{
    double span = o->s.max_update - o->s.warmup_steps;
    double way = (n - o->s.warmup_steps) / span;

    if (n <= o->s.max_update && o->s.kind == KV_SCHEDULE_POLY) {
        o->lr = o->s.final_lr + (base - o->s.final_lr) * pow(1 - way, o->s.pwr);
    } else if (n <= o->s.max_update) {
        o->lr = o->s.final_lr +
                (base - o->s.final_lr) * (1 + cos(acos(-1) * way)) / 2;
    }
    return o->lr;
}

static double next(struct stateful *o, double base, double n)
{
    if (n < o->s.warmup_steps && o->s.constant_warmup) {
        return o->s.warmup_begin_lr;
    }
    if (n < o->s.warmup_steps) {
        return o->s.warmup_begin_lr +
               (base - o->s.warmup_begin_lr) * n / o->s.warmup_steps;
    }
    switch (o->s.kind) {
    case KV_SCHEDULE_FACTOR:
        return next_factor(o, n);
    case KV_SCHEDULE_MULTIFACTOR:
        return next_multifactor(o, n);
    default:
        return next_curve(o, base, n);
    }
}

/* --- Tests ---------------------------------------------------------------- */

static void test_mxnets_own_examples(void **state)
{
    struct kv_schedule factor =
        schedule("lr=1,lr_scheduler=factor,step=100,factor=0.1,stop_factor_lr="
                 "1e-4,warmup_steps=20,warmup_begin_lr=0.1,"
                 "warmup_mode=constant");
    struct kv_schedule factors =
        schedule("lr=0.1,lr_scheduler=multifactor,step=15;25,factor=0.1,"
                 "warmup_steps=10,warmup_begin_lr=0.05");
    struct kv_schedule poly = schedule("lr=3,lr_scheduler=poly,max_update=1000,"
                                       "pwr=2,warmup_steps=100");
    struct kv_schedule cosine =
        schedule("lr=3,lr_scheduler=cosine,max_update=1000,final_lr=0.1");
    static const double of_factor[][2] = {
        {0, 0.1}, {10, 0.1}, {21, 1}, {101, 0.1}, {201, 0.01}, {1000, 1e-4}};
    static const double of_factors[][2] = {{0, 0.05},   {5, 0.075}, {15, 0.1},
                                           {16, 0.01},  {20, 0.01}, {26, 0.001},
                                           {100, 0.001}};

    (void)state;
    for (size_t i = 0; i < sizeof of_factor / sizeof *of_factor; i++) {
        expect_rate(&factor, 1, (uint64_t)of_factor[i][0], of_factor[i][1]);
    }
    for (size_t i = 0; i < sizeof of_factors / sizeof *of_factors; i++) {
        expect_rate(&factors, 0.1, (uint64_t)of_factors[i][0],
                    of_factors[i][1]);
    }
    expect_rate(&poly, 3, 0, 0);
    expect_rate(&poly, 3, 50, 1.5);
    expect_rate(&poly, 3, 100, 3);
    expect_rate(&poly, 3, 1000, 0);
    expect_rate(&cosine, 3, 0, 3);
    expect_rate(&cosine, 3, 1000, 0.1);
    assert_true(kv_schedule_lr(&cosine, 3, 500) > 1.5);
}

static void test_rates_are_those_of_mxnets_stateful_schedulers(void **state)
{
    static const char *const plans[] = {
        "lr=0.5,lr_scheduler=factor,step=1,factor=0.9,stop_factor_lr=0.01",
        "lr=0.5,lr_scheduler=factor,step=7,factor=0.5",
        "lr=0.5,lr_scheduler=factor,step=7,factor=0,stop_factor_lr=0",
        "lr=0.5,lr_scheduler=factor,step=7,factor=1,stop_factor_lr=0.7",
        "lr=0.5,lr_scheduler=factor,step=3,factor=0.8,warmup_steps=10",
        "lr=0.5,lr_scheduler=multifactor,step=1;2;30,factor=0.3",
        "lr=0.5,lr_scheduler=multifactor,step=5;20,factor=0.3,warmup_steps=9",
        "lr=0.5,lr_scheduler=poly,max_update=50,pwr=0.9,final_lr=0.1",
        "lr=0.5,lr_scheduler=poly,max_update=50,pwr=3,warmup_steps=11",
        "lr_scheduler=cosine,max_update=9,warmup_steps=5,warmup_mode=constant",
        "lr=0.5,lr_scheduler=poly,max_update=50,pwr=0",
        "lr=0.5,lr_scheduler=cosine,max_update=50,final_lr=0.6",
        "lr=0.5,lr_scheduler=cosine,max_update=50,warmup_steps=49",
    };

    (void)state;
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        struct stateful o = {.s = schedule(plans[i]), .lr = 0.5};

        for (uint64_t n = 1; n < 120; n++) {
            expect_rate(&o.s, 0.5, n, next(&o, 0.5, (double)n));
        }
    }
}

static void test_without_a_schedule_the_rate_is_the_base(void **state)
{
    struct kv_schedule none = schedule("lr=0.5");

    (void)state;
    assert_true(kv_schedule_lr(&none, 0.5, 1) == 0.5);
    assert_true(kv_schedule_lr(&none, 0.5, UINT64_C(1) << 40) == 0.5);
}

/* A closed form: a trillion updates of step 1 cost no more than one. */
static void test_the_last_update_of_all_has_a_rate(void **state)
{
    struct kv_schedule s = schedule("lr=1,lr_scheduler=factor,step=1,"
                                    "factor=0.999999999,stop_factor_lr=1e-8");

    (void)state;
    assert_true(kv_schedule_lr(&s, 1, (uint64_t)2e12) == 1e-8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mxnets_own_examples),
        cmocka_unit_test(test_rates_are_those_of_mxnets_stateful_schedulers),
        cmocka_unit_test(test_without_a_schedule_the_rate_is_the_base),
        cmocka_unit_test(test_the_last_update_of_all_has_a_rate),
    };

    return cmocka_run_group_tests_name("optim_schedule", tests, NULL, NULL);
}
