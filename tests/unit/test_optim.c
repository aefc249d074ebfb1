#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/optim/optim.h"
#include "tests/unit/chance.h"

#define COUNT_MAX 4099
#define ROOM 4160 /* Keeps arrays at cache lines, and has something behind. */
#define STEPS_MAX 10

/* A value being trained: two halves that take turns, as on the server. */
struct value {
    struct kv_optim_spec spec;
    size_t count;
    uint64_t t;
    int live;
    bool stream;
    _Alignas(64) float weight[2][ROOM];
    float slot[2][KV_OPTIM_SLOTS_MAX][ROOM];
};

struct fixture {
    uint64_t chance;
    struct value a, b;
    struct value before;
    float gradient[COUNT_MAX];
    double weight[COUNT_MAX]; /* The reference's. */
    double state[2][COUNT_MAX];
};

static struct fixture fixture;

static int set_up(void **state)
{
    fixture.chance = chance_seed();
    *state = &fixture;
    return 0;
}

/* --- Steps ---------------------------------------------------------------- */

static struct kv_optim_spec parsed(const char *name, const char *params)
{
    char error[KV_OPTIM_ERROR_MAX] = "";
    struct kv_optim_spec spec = {0};

    if (kv_optim_parse(name, params, &spec, error, sizeof error) != KV_OK) {
        fail_msg("%s", error);
    }
    return spec;
}

static void start(struct value *v, const char *name, const char *params,
                  size_t count)
{
    memset(v, 0, sizeof *v);
    v->spec = parsed(name, params);
    v->count = count;
}

static unsigned slots_of(const struct kv_optim_spec *spec)
{
    return spec->optim->slots(spec->params);
}

static double param(const struct kv_optim_spec *spec, const char *name)
{
    return spec->params[kv_optim_param_index(spec->optim, name)];
}

/* From the live half into the other, `block` weights at a time. */
static void update(struct value *v, const float *gradient, size_t block)
{
    const struct kv_optim *optim = v->spec.optim;
    unsigned char step[KV_OPTIM_STEP_MAX + 1];
    int from = v->live, to = 1 - v->live;

    step[KV_OPTIM_STEP_MAX] = 0x5a;
    kv_optim_prepare(&v->spec, ++v->t, step);
    assert_int_equal(step[KV_OPTIM_STEP_MAX], 0x5a);
    for (size_t i = 0; i < v->count; i += block) {
        struct kv_optim_args args = {
            .count = v->count - i < block ? v->count - i : block,
            .weight = v->weight[from] + i,
            .new_weight = v->weight[to] + i,
            .gradient = gradient + i,
            .step = step,
            .stream = v->stream,
        };

        for (unsigned s = 0; s < slots_of(&v->spec); s++) {
            args.slot[s] = v->slot[from][s] + i;
            args.new_slot[s] = v->slot[to][s] + i;
        }
        optim->update(&args);
    }
    v->live = to;
}

static void expect_close(const float *got, const double *right, size_t count,
                         double tolerance, const char *what)
{
    for (size_t i = 0; i < count; i++) {
        double limit = tolerance * (1 + fabs(right[i]));

        if (!(fabs((double)got[i] - right[i]) <= limit)) {
            fail_msg("%s: [%zu] is %.9g, not %.9g", what, i, (double)got[i],
                     right[i]);
        }
    }
}

static float some_number(struct fixture *f)
{
    return (float)((double)chance(&f->chance, 1 << 24) / (1 << 23) - 1);
}

static void some_gradient(struct fixture *f)
{
    for (size_t i = 0; i < COUNT_MAX; i++) {
        f->gradient[i] = some_number(f);
    }
}

static void some_weights(struct fixture *f, struct value *v)
{
    for (size_t i = 0; i < v->count; i++) {
        v->weight[v->live][i] = some_number(f);
        f->weight[i] = (double)v->weight[v->live][i];
    }
    memset(f->state, 0, sizeof f->state);
}

/* --- Reference: the textbook's order, in double -----------------------------
 */

static double clip(double g, double limit)
{
    return limit <= 0 ? g : fmin(fmax(g, -limit), limit);
}

static void reference_sgd(struct fixture *f, const struct kv_optim_spec *s,
                          size_t i)
{
    double g = clip(param(s, "rescale_grad") * (double)f->gradient[i],
                    param(s, "clip_gradient"));
    double move = -param(s, "lr") * (g + param(s, "wd") * f->weight[i]);

    f->state[0][i] = param(s, "momentum") * f->state[0][i] + move;
    f->weight[i] += f->state[0][i];
}

static void reference_adam(struct fixture *f, const struct kv_optim_spec *s,
                           uint64_t t, size_t i)
{
    double beta1 = param(s, "beta1"), beta2 = param(s, "beta2");
    double lr = param(s, "lr") * sqrt(1 - pow(beta2, (double)t)) /
                (1 - pow(beta1, (double)t));
    double g = clip(param(s, "rescale_grad") * (double)f->gradient[i] +
                        param(s, "wd") * f->weight[i],
                    param(s, "clip_gradient"));

    f->state[0][i] += (1 - beta1) * (g - f->state[0][i]);
    f->state[1][i] += (1 - beta2) * (g * g - f->state[1][i]);
    f->weight[i] -=
        lr * f->state[0][i] / (sqrt(f->state[1][i]) + param(s, "epsilon"));
}

/* Ten updates against the reference. f32 rounds some ten times an update, each
 * 6e-8 of the value; adam's quotient enlarges that where G is near 0. */
static void expect_like_reference(struct fixture *f, const char *name,
                                  const char *params, double tolerance)
{
    struct value *v = &f->a;

    start(v, name, params, 700);
    some_weights(f, v);
    for (uint64_t t = 1; t <= STEPS_MAX; t++) {
        some_gradient(f);
        update(v, f->gradient, 256);
        for (size_t i = 0; i < v->count; i++) {
            if (strcmp(name, "sgd") == 0) {
                reference_sgd(f, &v->spec, i);
            } else {
                reference_adam(f, &v->spec, t, i);
            }
        }
        expect_close(v->weight[v->live], f->weight, v->count, tolerance,
                     params);
    }
}

/* --- Tests: arithmetic ------------------------------------------------------
 */

struct golden {
    const char *name, *params;
    double weight[3][4];
    double slot[2][4];
};

static const float golden_start[4] = {1, -2, 0.5f, 0};
static const float golden_gradient[3][4] = {
    {0.1f, -0.2f, 0.3f, 0}, {0.4f, 0.5f, -0.6f, 0.7f}, {-0.1f, 0, 0.9f, -0.8f}};

static const struct golden goldens[] = {
    {"sgd",
     "lr=0.1,wd=0.01,rescale_grad=0.5,clip_gradient=0.2",
     {{0.994, -1.988, 0.4845, 0},
      {0.973006, -2.006012, 0.5040155, -0.02},
      {0.977032994, -2.004005988, 0.483511484, 2e-05}},
     {{0}}},
    {"sgd",
     "learning_rate=0.1,momentum=0.9,wd=0.01,rescale_grad=0.5,"
     "clip_gradient=0.2",
     {{0.994, -1.988, 0.4845, 0},
      {0.967606, -1.995212, 0.4900655, -0.02},
      {0.947883794, -1.999707588, 0.474584385, -0.01798}},
     {{-0.019722206, -0.004495588, -0.015481115, 0.00202}}},
    {"adam",
     "lr=0.1,beta1=0.9,beta2=0.999,epsilon=1e-8,wd=0.01,rescale_grad=0.5,"
     "clip_gradient=0.2",
     {{0.900000527, -1.900000264, 0.400000204, 0},
      {0.809477193, -1.929356344, 0.417795874, -0.074413565},
      {0.75344803, -1.946701729, 0.388955499, -0.069895346}},
     {{0.018669477, 0.006350644, 0.014555, -0.002},
      {4.5309e-05, 5.4703e-05, 0.000103937, 7.996e-05}}},
};

static void test_three_updates_give_mxnet_1_9s_numbers(void **state)
{
    struct fixture *f = *state;
    struct value *v = &f->a;

    for (size_t k = 0; k < sizeof goldens / sizeof *goldens; k++) {
        const struct golden *g = &goldens[k];

        start(v, g->name, g->params, 4);
        memcpy(v->weight[v->live], golden_start, sizeof golden_start);
        for (int t = 0; t < 3; t++) {
            update(v, golden_gradient[t], 4);
            expect_close(v->weight[v->live], g->weight[t], 4, 1e-6, g->name);
        }
        for (unsigned s = 0; s < slots_of(&v->spec); s++) {
            expect_close(v->slot[v->live][s], g->slot[s], 4, 1e-8, "state");
        }
    }
}

static void test_every_mix_of_options_follows_the_formula(void **state)
{
    static const char *const first[] = {"", "momentum=0.9,"};
    static const char *const clips[] = {"", ",clip_gradient=0.4",
                                        ",clip_gradient=0.5"};
    static const double rescales[] = {1, 0.14, 0.8}, decays[] = {0, 0.03, 0.07};
    struct fixture *f = *state;

    for (size_t i = 0; i < 3 * 3 * 3; i++) {
        char params[128];

        for (size_t m = 0; m < 2; m++) {
            snprintf(params, sizeof params, "%slr=0.1,rescale_grad=%g,wd=%g%s",
                     first[m], rescales[i % 3], decays[i / 3 % 3],
                     clips[i / 9]);
            expect_like_reference(f, "sgd", params, 1e-6);
        }
        snprintf(params, sizeof params, "lr=0.01,rescale_grad=%g,wd=%g%s",
                 rescales[i % 3], decays[i / 3 % 3], clips[i / 9]);
        expect_like_reference(f, "adam", params, 2e-5);
    }
}

/* Weight decay is outside sgd's clip and inside adam's. */
static void test_sgd_clips_the_gradient_and_adam_the_decayed_one(void **state)
{
    static const float zero = 0;
    struct fixture *f = *state;

    start(&f->a, "sgd", "lr=0.5,wd=1,clip_gradient=0.125", 1);
    f->a.weight[0][0] = 8;
    update(&f->a, &zero, 1);
    assert_true(f->a.weight[1][0] == 4);

    start(&f->a, "adam", "wd=1,beta1=0.5,clip_gradient=0.125", 1);
    f->a.weight[0][0] = 8;
    update(&f->a, &zero, 1);
    assert_true(f->a.slot[1][0][0] == 0.0625f);
}

static void test_sgd_rounds_where_mxnet_1_9_rounds(void **state)
{
    volatile float lr = 0.1f, wd = 0.03f, mu = 0.9f, c = 0.4f;
    volatile float lr_wd = lr * wd, keep = 1 - lr_wd;
    struct fixture *f = *state;

    start(&f->a, "sgd", "lr=0.1,wd=0.03,clip_gradient=0.4", 1000);
    start(&f->b, "sgd", "lr=0.1,wd=0.03,clip_gradient=0.4,momentum=0.9", 1000);
    some_gradient(f);
    for (size_t i = 0; i < 1000; i++) {
        f->a.weight[0][i] = f->b.weight[0][i] = some_number(f);
        f->b.slot[0][0][i] = some_number(f);
    }
    update(&f->a, f->gradient, 1000);
    update(&f->b, f->gradient, 1000);
    for (size_t i = 0; i < 1000; i++) {
        volatile float g = fminf(fmaxf(f->gradient[i], -c), c), move = lr * g;
        volatile float kept = keep * f->a.weight[0][i];
        volatile float plain = kept - move;
        volatile float coast = mu * f->b.slot[0][0][i];
        volatile float decay = lr_wd * f->b.weight[0][i];
        volatile float less = coast - decay, velocity = less - move;
        volatile float moved = f->b.weight[0][i] + velocity;

        assert_true(f->a.weight[1][i] == plain);
        assert_true(f->b.slot[1][0][i] == velocity);
        assert_true(f->b.weight[1][i] == moved);
    }
}

static void test_a_clip_of_zero_or_less_is_off(void **state)
{
    static const float gradient = 100;
    static const char *const params[] = {"lr=1", "lr=1,clip_gradient=0",
                                         "lr=1,clip_gradient=-1"};
    struct fixture *f = *state;

    for (size_t i = 0; i < 3; i++) {
        start(&f->a, "sgd", params[i], 1);
        update(&f->a, &gradient, 1);
        assert_true(f->a.weight[1][0] == -100);
    }
}

static void test_a_nan_gradient_shows_and_an_infinite_one_is_clipped(void **s)
{
    static const float gradient[] = {NAN, INFINITY, -INFINITY, 1};
    static const char *const names[] = {"sgd", "adam"};
    struct fixture *f = *s;

    for (size_t k = 0; k < 2; k++) {
        start(&f->a, names[k], "lr=1,clip_gradient=0.5", 4);
        update(&f->a, gradient, 4);
        assert_true(isnan(f->a.weight[1][0]));
        assert_true(f->a.weight[1][1] == f->a.weight[1][3]);
        assert_true(f->a.weight[1][2] == -f->a.weight[1][3]);
    }
}

static void test_a_gradient_that_is_always_zero_moves_nothing(void **state)
{
    static const float zero[4];
    struct fixture *f = *state;

    start(&f->a, "adam", "epsilon=1e-30", 4);
    f->a.weight[0][1] = 3;
    update(&f->a, zero, 4);
    update(&f->a, zero, 4);
    assert_true(f->a.weight[0][0] == 0 && f->a.weight[0][1] == 3);
}

/* --- Tests: blocks and halves ------------------------------------------------
 */

static const char *const recipes[][2] = {
    {"sgd", "lr=0.1,wd=0.01,clip_gradient=0.5"},
    {"sgd", "lr=0.1,wd=0.01,momentum=0.9,rescale_grad=0.25"},
    {"adam", "lr=0.01,wd=0.01,clip_gradient=0.5"},
};

static void test_blocks_of_any_size_give_the_bits_of_the_whole(void **state)
{
    static const size_t blocks[] = {1, 3, 8, 64, 1000, 4096};
    struct fixture *f = *state;

    for (size_t k = 0; k < 3 * 6; k++) {
        const char *const *recipe = recipes[k % 3];

        start(&f->a, recipe[0], recipe[1], COUNT_MAX);
        some_weights(f, &f->a);
        f->b = f->a;
        for (int t = 0; t < 4; t++) {
            some_gradient(f);
            update(&f->a, f->gradient, COUNT_MAX);
            update(&f->b, f->gradient, blocks[k / 3]);
        }
        assert_memory_equal(&f->a, &f->b, sizeof f->a);
    }
}

static void test_writing_past_the_caches_gives_the_same_bits(void **state)
{
    static const size_t blocks[] = {1, 31, 32, 64, 100, 4096};
    struct fixture *f = *state;

    for (size_t k = 0; k < 3 * 6; k++) {
        const char *const *recipe = recipes[k % 3];

        start(&f->a, recipe[0], recipe[1], COUNT_MAX);
        some_weights(f, &f->a);
        f->b = f->a;
        f->b.stream = true;
        for (int t = 0; t < 4; t++) {
            some_gradient(f);
            update(&f->a, f->gradient, COUNT_MAX);
            update(&f->b, f->gradient, blocks[k / 3]);
        }
        f->b.stream = false;
        assert_memory_equal(&f->a, &f->b, sizeof f->a);
    }
}

static void test_an_update_writes_the_other_half_and_nothing_else(void **state)
{
    struct fixture *f = *state;

    for (size_t k = 0; k < 3; k++) {
        size_t count = 77 + k;

        start(&f->a, recipes[k][0], recipes[k][1], count);
        some_weights(f, &f->a);
        some_gradient(f);
        update(&f->a, f->gradient, count);
        memset(f->a.weight[0] + count, 0x77, 4);
        f->before = f->a;
        update(&f->a, f->gradient, count);

        assert_memory_equal(f->a.weight[1], f->before.weight[1],
                            sizeof f->a.weight[1]);
        assert_memory_equal(f->a.slot[1], f->before.slot[1],
                            sizeof f->a.slot[1]);
        assert_memory_equal(f->a.weight[0] + count, f->before.weight[0] + count,
                            4);
        for (unsigned s = slots_of(&f->a.spec); s < KV_OPTIM_SLOTS_MAX; s++) {
            assert_memory_equal(f->a.slot[0][s], f->before.slot[0][s],
                                sizeof f->a.slot[0][s]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_updates_give_mxnet_1_9s_numbers),
        cmocka_unit_test(test_every_mix_of_options_follows_the_formula),
        cmocka_unit_test(test_sgd_clips_the_gradient_and_adam_the_decayed_one),
        cmocka_unit_test(test_sgd_rounds_where_mxnet_1_9_rounds),
        cmocka_unit_test(test_a_clip_of_zero_or_less_is_off),
        cmocka_unit_test(
            test_a_nan_gradient_shows_and_an_infinite_one_is_clipped),
        cmocka_unit_test(test_a_gradient_that_is_always_zero_moves_nothing),
        cmocka_unit_test(test_blocks_of_any_size_give_the_bits_of_the_whole),
        cmocka_unit_test(test_writing_past_the_caches_gives_the_same_bits),
        cmocka_unit_test(test_an_update_writes_the_other_half_and_nothing_else),
    };

    return cmocka_run_group_tests_name("optim", tests, set_up, NULL);
}
