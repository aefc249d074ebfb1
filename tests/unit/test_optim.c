#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/optim_fixture.h"

struct fixture {
    uint64_t chance;
    struct value a, b;
    struct value before;
    float gradient[COUNT_MAX];
};

static struct fixture fixture;

static int set_up(void **state)
{
    fixture.chance = chance_seed();
    *state = &fixture;
    return 0;
}

/* A value and its gradient, begun anew. */
static void start_some(struct fixture *f, const struct optim_recipe *recipe,
                       size_t count)
{
    start(&f->a, recipe->name, recipe->params, count);
    some_numbers(&f->chance, f->a.weight[0], count);
    some_numbers(&f->chance, f->gradient, count);
}

/* --- Tests: arithmetic ------------------------------------------------------
 */

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
    some_numbers(&f->chance, f->gradient, 1000);
    some_numbers(&f->chance, f->a.weight[0], 1000);
    some_numbers(&f->chance, f->b.slot[0][0], 1000);
    memcpy(f->b.weight[0], f->a.weight[0], sizeof f->a.weight[0]);
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

static void test_a_nan_gradient_reaches_the_weight(void **state)
{
    static const float gradient[] = {NAN, 1};
    struct fixture *f = *state;

    for (size_t k = 0; k < RECIPE_COUNT; k++) {
        start(&f->a, recipes[k].name, recipes[k].params, 2);
        if (has_param(&f->a.spec, "clip_gradient")) {
            choose(&f->a, "clip_gradient", 0.5);
        }
        if (has_param(&f->a.spec, "clip_weights")) {
            choose(&f->a, "clip_weights", 0.5);
        }
        update(&f->a, gradient, 2);
        assert_true(isnan(f->a.weight[1][0]) && !isnan(f->a.weight[1][1]));
    }
}

static void test_an_infinite_gradient_is_clipped(void **state)
{
    static const float gradient[] = {INFINITY, -INFINITY, 1, -1};
    struct fixture *f = *state;

    for (size_t k = 0; k < RECIPE_COUNT; k++) {
        start(&f->a, recipes[k].name, recipes[k].params, 4);
        if (!has_param(&f->a.spec, "clip_gradient")) {
            continue;
        }
        choose(&f->a, "clip_gradient", 0.5);
        update(&f->a, gradient, 4);
        assert_true(f->a.weight[1][0] == f->a.weight[1][2]);
        assert_true(f->a.weight[1][1] == f->a.weight[1][3]);
    }
}

/* ftrl forgets what it began with, and ftml divides by what it multiplied. */
static void test_a_gradient_that_is_always_zero_moves_nothing(void **state)
{
    static const float zero[3];
    static const float weights[3] = {0, 3, -0.7f};
    struct fixture *f = *state;

    for (size_t k = 0; k < RECIPE_COUNT; k++) {
        bool forgets = strcmp(recipes[k].name, "ftrl") == 0;
        bool rounds = strcmp(recipes[k].name, "ftml") == 0;

        start(&f->a, recipes[k].name, recipes[k].params, 3);
        memcpy(f->a.weight[0], weights, sizeof weights);
        for (int t = 0; t < 3; t++) {
            update(&f->a, zero, 3);
        }
        for (size_t i = 0; i < 3; i++) {
            float wish = forgets ? 0 : weights[i];

            assert_true(fabsf(f->a.weight[f->a.live][i] - wish) <=
                        (rounds ? 1e-6f : 0));
        }
    }
}

/* --- Tests: blocks and halves ------------------------------------------------
 */

/* Three updates of the whole, and the same in blocks. */
static void expect_same_bits(struct fixture *f,
                             const struct optim_recipe *recipe, size_t block,
                             bool stream)
{
    start_some(f, recipe, COUNT_MAX);
    f->b = f->a;
    f->b.stream = stream;
    for (int t = 0; t < 3; t++) {
        update(&f->a, f->gradient, COUNT_MAX);
        update(&f->b, f->gradient, block);
    }
    f->b.stream = false;
    assert_memory_equal(&f->a, &f->b, sizeof f->a);
}

static void test_blocks_of_any_size_give_the_bits_of_the_whole(void **state)
{
    static const size_t blocks[] = {1, 3, 8, 64, 1000, 4096};

    for (size_t k = 0; k < RECIPE_COUNT; k++) {
        for (size_t i = 0; i < 6; i++) {
            expect_same_bits(*state, &recipes[k], blocks[i], false);
        }
    }
}

static void test_writing_past_the_caches_gives_the_same_bits(void **state)
{
    static const size_t blocks[] = {1, 31, 32, 64, 100, 4096};

    for (size_t k = 0; k < RECIPE_COUNT; k++) {
        for (size_t i = 0; i < 6; i++) {
            expect_same_bits(*state, &recipes[k], blocks[i], true);
        }
    }
}

static void test_an_update_writes_the_other_half_and_nothing_else(void **state)
{
    struct fixture *f = *state;

    for (size_t k = 0; k < RECIPE_COUNT; k++) {
        size_t count = 77 + k;

        start_some(f, &recipes[k], count);
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
        cmocka_unit_test(test_sgd_clips_the_gradient_and_adam_the_decayed_one),
        cmocka_unit_test(test_sgd_rounds_where_mxnet_1_9_rounds),
        cmocka_unit_test(test_a_clip_of_zero_or_less_is_off),
        cmocka_unit_test(test_a_nan_gradient_reaches_the_weight),
        cmocka_unit_test(test_an_infinite_gradient_is_clipped),
        cmocka_unit_test(test_a_gradient_that_is_always_zero_moves_nothing),
        cmocka_unit_test(test_blocks_of_any_size_give_the_bits_of_the_whole),
        cmocka_unit_test(test_writing_past_the_caches_gives_the_same_bits),
        cmocka_unit_test(test_an_update_writes_the_other_half_and_nothing_else),
    };

    return cmocka_run_group_tests_name("optim", tests, set_up, NULL);
}
