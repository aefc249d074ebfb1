/* Every optimizer on f64 weights, against its formula in double: the same to
 * almost the last bit, where f32 is only close. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/optim_grid.h"
#include "tests/unit/optim_norms_reference.h"

#define STEPS 5
#define COUNT 60
#define LENGTH 20 /* Of a row. */

/* Rounding in another order, made larger by differences. */
#define TOLERANCE 1e-11

struct wide {
    struct kv_optim_spec spec;
    double weight[COUNT], slot[KV_OPTIM_SLOTS_MAX][COUNT];
    double t;
};

static uint64_t numbers;
static struct wide wide;
static struct whole whole;
static struct reference_weight right[COUNT];

/* --- Steps ---------------------------------------------------------------- */

static void wide_start(const char *name, const char *params)
{
    memset(&wide, 0, sizeof wide);
    wide.spec = parsed(name, params);
    for (size_t i = 0; i < COUNT; i++) {
        wide.weight[i] = (double)some_number(&numbers, 0, 0.5);
    }
}

static struct kv_optim_args args_of(struct wide *v, const float *gradient,
                                    double *copied, const void *step)
{
    struct kv_optim_args args = {.count = COUNT,
                                 .weight = v->weight,
                                 .new_weight = v->weight,
                                 .gradient = copied,
                                 .step = step,
                                 .row_length = LENGTH};

    for (size_t i = 0; i < COUNT; i++) {
        copied[i] = (double)gradient[i];
    }
    for (unsigned s = 0; s < v->spec.optim->slots(v->spec.params); s++) {
        args.slot[s] = args.new_slot[s] = v->slot[s];
    }
    return args;
}

static void wide_update(struct wide *v, const float *gradient)
{
    const struct kv_optim *optim = kv_optim_for(v->spec.optim, KV_F64);
    unsigned char step[KV_OPTIM_STEP_MAX + 1];
    double copied[COUNT];
    struct kv_optim_args args = args_of(v, gradient, copied, step);

    step[KV_OPTIM_STEP_MAX] = 0x5a;
    kv_optim_prepare(&v->spec, KV_F64, NULL, (uint64_t)++v->t, step);
    for (unsigned pass = 0; pass < optim->passes; pass++) {
        double sums[KV_OPTIM_NORMS_MAX] = {0};

        optim->measure(&args, pass, sums);
        optim->absorb(step, pass, sums);
    }
    optim->update(&args);
    assert_int_equal(step[KV_OPTIM_STEP_MAX], 0x5a);
}

static void expect_near(const char *name, const char *params, size_t i,
                        double got, double expected, double tolerance)
{
    if (!(fabs(got - expected) <= tolerance * (1 + fabs(expected)))) {
        fail_msg("%s %s, update %g: [%zu] is %.17g, not %.17g", name, params,
                 wide.t, i, got, expected);
    }
}

static void some_gradient(float *gradient)
{
    for (size_t i = 0; i < COUNT; i++) {
        gradient[i] = some_number(&numbers, 0.5, 1);
    }
}

/* --- Weight by weight ----------------------------------------------------- */

static void expect_like_reference(const char *name, const char *params)
{
    struct hyper h = hyper_of(&wide.spec);

    memset(right, 0, sizeof right);
    for (size_t i = 0; i < COUNT; i++) {
        right[i].w = wide.weight[i];
    }
    for (int t = 1; t <= STEPS; t++) {
        float gradient[COUNT];

        some_gradient(gradient);
        wide_update(&wide, gradient);
        for (size_t i = 0; i < COUNT; i++) {
            right[i].t = t;
            reference_of(name)(&right[i], (double)gradient[i], &h);
            if (right[i].unsure) {
                right[i].w = wide.weight[i];
            }
            expect_near(name, params, i, wide.weight[i], right[i].w, TOLERANCE);
        }
    }
}

static void expect_on_grid(const struct optim_recipe *recipe)
{
    for (size_t i = 0; i < GRID; i++) {
        char text[GRID_TEXT_MAX];

        grid_text(text, recipe->name, recipe->params, i);
        wide_start(recipe->name, text);
        expect_like_reference(recipe->name, text);
    }
}

static void test_every_mix_of_options_follows_the_formula(void **state)
{
    (void)state;
    for (size_t k = 0; k < RECIPE_COUNT; k++) {
        expect_on_grid(&recipes[k]);
    }
    for (size_t k = 0; k < OPTION_COUNT; k++) {
        expect_on_grid(&options[k]);
    }
}

/* --- By norms ------------------------------------------------------------- */

static void expect_like_whole(const char *name, const char *params)
{
    wide_start(name, params);
    memset(&whole, 0, sizeof whole);
    whole.count = COUNT;
    memcpy(whole.w, wide.weight, sizeof wide.weight);
    for (int t = 1; t <= STEPS; t++) {
        float gradient[COUNT];

        some_gradient(gradient);
        wide_update(&wide, gradient);
        whole_update(&whole, &wide.spec, gradient, NULL);
        for (size_t i = 0; i < COUNT; i++) {
            expect_near(name, params, i, wide.weight[i], whole.w[i], TOLERANCE);
        }
    }
}

static void test_norms_are_as_exact(void **state)
{
    (void)state;
    for (size_t i = 0; i < WHOLE_GRID; i++) {
        char params[128];
        const char *name = whole_grid(params, sizeof params, i);

        expect_like_whole(name, params);
    }
}

/* --- The others: as f32 is ------------------------------------------------ */

struct narrow {
    float weight[COUNT], slot[COUNT];
};

static void narrow_update(struct narrow *n, const float *gradient)
{
    unsigned char step[KV_OPTIM_STEP_MAX];
    struct kv_optim_args args = {.count = COUNT,
                                 .weight = n->weight,
                                 .new_weight = n->weight,
                                 .gradient = gradient,
                                 .slot = {n->slot},
                                 .new_slot = {n->slot},
                                 .step = step,
                                 .row_length = LENGTH};

    kv_optim_prepare(&wide.spec, KV_F32, NULL, (uint64_t)wide.t, step);
    wide.spec.optim->update(&args);
}

static void expect_like_f32(const char *name, const char *params)
{
    struct narrow n = {{0}, {0}};

    wide_start(name, params);
    for (size_t i = 0; i < COUNT; i++) {
        n.weight[i] = (float)wide.weight[i];
        wide.weight[i] = (double)n.weight[i];
    }
    for (int t = 1; t <= STEPS; t++) {
        float gradient[COUNT];

        some_gradient(gradient);
        wide_update(&wide, gradient);
        narrow_update(&n, gradient);
    }
    for (size_t i = 0; i < COUNT; i++) {
        expect_near(name, params, i, (double)n.weight[i], wide.weight[i], 1e-5);
    }
}

static void test_rows_are_those_of_f32(void **state)
{
    (void)state;
    expect_like_f32("groupadagrad", "lr=0.1,clip_gradient=0.7");
}

/* --- Noise ---------------------------------------------------------------- */

#define NOISY 600 /* Several blocks, and pieces of some at both ends. */

static void noisy_update(const struct kv_optim_spec *spec, enum kv_dtype dtype,
                         const void *gradient, void *weight)
{
    unsigned char step[KV_OPTIM_STEP_MAX];
    struct kv_optim_args args = {.count = NOISY,
                                 .weight = weight,
                                 .new_weight = weight,
                                 .gradient = gradient,
                                 .step = step,
                                 .first = 100};

    kv_optim_prepare(spec, dtype, NULL, 3, step);
    kv_optim_for(spec->optim, dtype)->update(&args);
}

/* f32 weights of 0 without a gradient become the noise itself. */
static void expect_f32s_noise(const char *params)
{
    struct kv_optim_spec spec = parsed("sgld", params);
    struct hyper h = hyper_of(&spec);
    float noise[NOISY] = {0}, none[NOISY] = {0};
    double gradient[NOISY], weight[NOISY], expected[NOISY];

    noisy_update(&spec, KV_F32, none, noise);
    for (size_t i = 0; i < NOISY; i++) {
        gradient[i] = (double)some_number(&numbers, 0.5, 1) / 3;
        weight[i] = (double)some_number(&numbers, 0, 0.5) / 3;
        expected[i] = weight[i] - h.lr / 2 * before(weight[i], gradient[i], &h);
        expected[i] += (double)noise[i];
    }
    noisy_update(&spec, KV_F64, gradient, weight);
    for (size_t i = 0; i < NOISY; i++) {
        expect_near("sgld", params, i, weight[i], expected[i], TOLERANCE);
    }
}

static void test_noise_is_that_of_f32_and_all_else_is_double(void **state)
{
    (void)state;
    expect_f32s_noise("lr=0.1,seed=3");
    expect_f32s_noise("lr=0.1,wd=0.1,rescale_grad=0.3");
    expect_f32s_noise("lr=0.3,wd=0.7,rescale_grad=1.7,clip_gradient=0.1");
}

/* What f32 cannot tell apart. */
static void test_small_steps_are_not_lost(void **state)
{
    float gradient[COUNT];

    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        gradient[i] = 1;
    }
    wide_start("sgd", "lr=1e-12");
    memset(wide.weight, 0, sizeof wide.weight);
    wide.weight[0] = 1;
    wide_update(&wide, gradient);
    assert_true(wide.weight[0] < 1);
    assert_true(fabs(wide.weight[0] + 1e-12 - 1) < 1e-15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_mix_of_options_follows_the_formula),
        cmocka_unit_test(test_norms_are_as_exact),
        cmocka_unit_test(test_rows_are_those_of_f32),
        cmocka_unit_test(test_noise_is_that_of_f32_and_all_else_is_double),
        cmocka_unit_test(test_small_steps_are_not_lost),
    };

    numbers = chance_seed();
    return cmocka_run_group_tests_name("optim_f64", tests, NULL, NULL);
}
