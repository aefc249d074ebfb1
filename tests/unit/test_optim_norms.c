#include "golden.h"
#include "tests/unit/optim_key_fixture.h"
#include "tests/unit/optim_norms_reference.h"

#define COUNT_MAX 5000

struct fixture {
    uint64_t chance;
    struct key a, b;
    float weight[COUNT_MAX], gradient[COUNT_MAX];
    double w[COUNT_MAX];
    struct whole whole;
};

static struct fixture fixture;

static int set_up(void **state)
{
    fixture.chance = chance_seed();
    *state = &fixture;
    return 0;
}

/* --- MXNet's numbers ------------------------------------------------------ */

static void test_three_updates_give_mxnets_numbers(void **state)
{
    struct fixture *f = *state;
    struct key *k = &f->a;
    size_t seen = 0;

    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        const struct golden *g = &goldens[i];

        if (key_spec(g->name, "").optim->passes == 0) {
            continue; /* test_optim_golden.c has these. */
        }
        key_start(k, g->name, g->params, 4, golden_start);
        assert_int_equal(k->spec.optim->slots(k->spec.params), g->slots);
        for (int t = 0; t < 3; t++) {
            key_update(k, golden_gradient[t]);
            key_expect(key_weight(k), g->weight[t], 4, 1e-6, g->label);
        }
        for (unsigned s = 0; s < g->slots; s++) {
            key_expect(key_slot(k, s), g->slot[s], 4, 1e-8, g->label);
        }
        seen++;
    }
    assert_int_equal(seen, 4);
}

/* --- The papers' formulas, in double -------------------------------------- */

/* Six updates of a key, in slices if it is large, against the formula over the
 * whole. */
static void expect_like(struct fixture *f, const char *name, const char *params,
                        size_t count)
{
    struct key *k = &f->a;

    key_fill(&f->chance, f->weight, count);
    key_start(k, name, params, count, f->weight);
    whole_start(&f->whole, f->weight, count);
    k->slice = 192;
    k->block = 64;
    for (int t = 0; t < 6; t++) {
        key_fill(&f->chance, f->gradient, k->count);
        key_update(k, f->gradient);
        whole_update(&f->whole, &k->spec, f->gradient, NULL);
        key_expect(key_weight(k), f->whole.w, k->count, whole_tolerance(name),
                   params);
    }
}

/* On MXNet's shapes, and one that is cut. */
static void test_every_mix_of_options_follows_the_formula(void **state)
{
    static const size_t counts[] = {60, 40, 7, 420};

    for (size_t i = 0; i < WHOLE_GRID; i++) {
        char params[160];
        const char *name = whole_grid(params, sizeof params, i);

        for (size_t c = 0; c < 4; c++) {
            expect_like(*state, name, params, counts[c]);
        }
    }
}

/* --- Whole keys ----------------------------------------------------------- */

static const char *const recipes[][2] = {
    {"lars", "lr=1,eta=0.1,wd=0.01,momentum=0.9"},
    {"lars", "lr=1,eta=0.1,wd=0.01,clip_gradient=0.5"},
    {"lamb", "lr=0.1,wd=0.01,clip_gradient=0.5"},
    {"lans", "lr=0.1,wd=0.01"},
};

#define RECIPES (sizeof recipes / sizeof *recipes)

static void start_both(struct fixture *f, const char *const *recipe,
                       size_t count)
{
    key_fill(&f->chance, f->weight, count);
    key_start(&f->a, recipe[0], recipe[1], count, f->weight);
    key_start(&f->b, recipe[0], recipe[1], count, f->weight);
}

static void update_both(struct fixture *f, int times)
{
    for (int t = 0; t < times; t++) {
        key_fill(&f->chance, f->gradient, f->a.count);
        key_update(&f->a, f->gradient);
        key_update(&f->b, f->gradient);
    }
}

static void expect_same_bits(const struct fixture *f)
{
    assert_memory_equal(f->a.weight, f->b.weight, sizeof f->a.weight);
    assert_memory_equal(f->a.slot, f->b.slot, sizeof f->a.slot);
}

static void test_blocks_of_whole_chunks_give_the_bits_of_the_slice(void **state)
{
    static const size_t blocks[] = {64, 128, 1024, 4096};
    struct fixture *f = *state;

    for (size_t i = 0; i < RECIPES * 4; i++) {
        start_both(f, recipes[i / 4], 4999);
        f->a.slice = f->b.slice = 1920;
        f->a.block = blocks[i % 4];
        f->b.block = 4999;
        f->b.stream = i % 2 == 0;
        update_both(f, 4);
        expect_same_bits(f);
    }
}

/* The norms are the key's, not the slice's: where the cut lies matters to no
 * more than the last bits of a sum in double. */
static void test_a_key_in_several_slices_moves_like_a_whole_one(void **state)
{
    static const size_t slices[] = {2560, 768};
    struct fixture *f = *state;

    for (size_t i = 0; i < RECIPES * 2; i++) {
        start_both(f, recipes[i / 2], 4999);
        f->b.slice = slices[i % 2];
        for (int t = 0; t < 4; t++) {
            update_both(f, 1);
            for (size_t j = 0; j < f->a.count; j++) {
                f->w[j] = (double)key_weight(&f->a)[j];
            }
            key_expect(key_weight(&f->b), f->w, f->a.count, 1e-6,
                       recipes[i / 2][0]);
        }
    }
}

static void test_sums_of_other_cuts_differ_by_less_than_is_promised(void **s)
{
    struct fixture *f = *s;
    struct kv_optim_spec spec = key_spec("lars", "");
    unsigned char step[KV_OPTIM_STEP_MAX];
    size_t count = 4999;

    kv_optim_prepare(&spec, KV_F32, NULL, 1, step);
    for (size_t slice = 64; slice <= count; slice *= 2) {
        double whole[KV_OPTIM_NORMS_MAX] = {0}, total = 0;
        size_t additions = count / 64 + 1 + count / slice;
        struct kv_optim_args args = {.count = count,
                                     .weight = f->weight,
                                     .gradient = f->weight,
                                     .step = step};

        key_fill(&f->chance, f->weight, count);
        spec.optim->measure(&args, 0, whole);
        for (size_t i = 0; i < count; i += slice) {
            double sums[KV_OPTIM_NORMS_MAX] = {0};

            args.count = key_min(slice, count - i);
            args.weight = args.gradient = f->weight + i;
            spec.optim->measure(&args, 0, sums);
            total += sums[0];
        }
        assert_true(fabs(total - whole[0]) <=
                    (double)additions * 0x1p-52 * whole[0]);
        for (size_t i = 0; i < count; i++) {
            f->w[i] = (double)f->weight[i];
        }
        assert_true(fabs(sqrt(whole[0]) / whole_length(f->w, count) - 1) <
                    1e-14);
    }
}

static void test_measuring_writes_nothing(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < RECIPES; i++) {
        unsigned char step[KV_OPTIM_STEP_MAX];
        double sums[KV_OPTIM_NORMS_MAX] = {0};
        struct kv_optim_args args;

        start_both(f, recipes[i], 200);
        kv_optim_prepare(&f->a.spec, KV_F32, NULL, 1, step);
        args = key_args(&f->a, 0, 200, f->weight, step);
        f->a.spec.optim->measure(&args, 0, sums);
        expect_same_bits(f);
        assert_true(sums[0] > 0);
    }
}

static void test_zero_weights_or_gradients_leave_no_nan(void **state)
{
    static const float zero[70], one[70] = {1};
    struct fixture *f = *state;

    for (size_t i = 0; i < RECIPES; i++) {
        key_start(&f->a, recipes[i][0], recipes[i][1], 70, zero);
        key_update(&f->a, zero);
        assert_memory_equal(key_weight(&f->a), zero, sizeof zero);
        key_update(&f->a, one);
        assert_true(key_weight(&f->a)[0] < 0 && key_weight(&f->a)[1] == 0);
        key_update(&f->a, zero);
        assert_true(isfinite(key_weight(&f->a)[0]));
    }
}

static void test_a_nan_gradient_shows(void **state)
{
    static const float gradient[70] = {1, NAN}, one[70] = {1, 1, 1};
    struct fixture *f = *state;

    for (size_t i = 0; i < RECIPES; i++) {
        key_start(&f->a, recipes[i][0], recipes[i][1], 70, one);
        key_update(&f->a, gradient);
        assert_true(isnan(key_weight(&f->a)[1]));
    }
}

/* --- Their own parameters ------------------------------------------------- */

static void test_lars_scales_a_plain_key_like_sgd(void **state)
{
    struct fixture *f = *state;

    key_fill(&f->chance, f->weight, 100);
    key_start(&f->a, "lars", "lr=0.1,wd=0.1,momentum=0.5", 100, f->weight);
    key_start(&f->b, "sgd", "lr=0.1,wd=0.1,momentum=0.5", 100, f->weight);
    f->a.scale.plain = true;
    update_both(f, 3);
    expect_same_bits(f);
}

/* lr 1, then 0.5: the velocity is halved on the way. */
static void test_lars_velocity_turns_with_the_learning_rate(void **state)
{
    static const float one = 1, zero = 0;
    static const char plan[] = "lr=1,momentum=0.5,lr_scheduler=multifactor,"
                               "step=1,factor=0.5,momentum_correction=";
    struct fixture *f = *state;
    char params[128];

    for (int corrected = 0; corrected < 2; corrected++) {
        snprintf(params, sizeof params, "%s%d", plan, corrected);
        key_start(&f->a, "lars", params, 1, &one);
        f->a.scale.plain = true;
        key_update(&f->a, &one);
        assert_true(*key_slot(&f->a, 0) == -1);
        key_update(&f->a, &zero);
        assert_true(*key_slot(&f->a, 0) == (corrected ? -0.25f : -0.5f));
        key_update(&f->a, &zero);
        assert_true(*key_slot(&f->a, 0) == (corrected ? -0.125f : -0.25f));
    }
}

/* One weight of 4: the step has the weight's norm, and lr of that is moved. */
static void test_bounds_hold_the_weights_norm(void **state)
{
    static const float four = 4, one = 1;
    static const char *const params[] = {"", ",upper_bound=2", ",lower_bound=8",
                                         ",lower_bound=1,upper_bound=5"};
    static const float right[] = {3, 3.5f, 2, 3};
    struct fixture *f = *state;

    for (size_t i = 0; i < 4; i++) {
        char text[64];

        snprintf(text, sizeof text, "lr=0.25%s", params[i]);
        key_start(&f->a, "lamb", text, 1, &four);
        key_update(&f->a, &one);
        assert_true(fabsf(*key_weight(&f->a) - right[i]) < 1e-5f);
        key_start(&f->a, "lans", text, 1, &four);
        key_update(&f->a, &one);
        assert_true(fabsf(*key_weight(&f->a) - right[i]) < 1e-5f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_updates_give_mxnets_numbers),
        cmocka_unit_test(test_every_mix_of_options_follows_the_formula),
        cmocka_unit_test(
            test_blocks_of_whole_chunks_give_the_bits_of_the_slice),
        cmocka_unit_test(test_a_key_in_several_slices_moves_like_a_whole_one),
        cmocka_unit_test(
            test_sums_of_other_cuts_differ_by_less_than_is_promised),
        cmocka_unit_test(test_measuring_writes_nothing),
        cmocka_unit_test(test_zero_weights_or_gradients_leave_no_nan),
        cmocka_unit_test(test_a_nan_gradient_shows),
        cmocka_unit_test(test_lars_scales_a_plain_key_like_sgd),
        cmocka_unit_test(test_lars_velocity_turns_with_the_learning_rate),
        cmocka_unit_test(test_bounds_hold_the_weights_norm),
    };

    return cmocka_run_group_tests_name("optim_norms", tests, set_up, NULL);
}
