#include "tests/unit/optim_grid.h"
#include "tests/unit/optim_key_fixture.h"

#include <stdlib.h>

#include "common/optim/noise.h"

#define SAMPLES (1 << 18)
#define FAR ((uint64_t)NOISE_BLOCK << 32) /* Its block has a second word. */

static uint64_t numbers;
static struct key a, b;
static float samples[SAMPLES], others[SAMPLES];
static const float zeros[KEY_ROOM];

/* --- Steps ---------------------------------------------------------------- */

/* The noise alone: gradient 0 on weights of 0 with lr 1. */
static void draw(const char *params, uint64_t key, uint64_t t, uint64_t first,
                 float *out, size_t count)
{
    struct kv_optim_spec spec = key_spec("sgld", params);
    struct kv_optim_scale scale = {.lr_mult = 1, .wd_mult = 1, .key = key};
    unsigned char step[KV_OPTIM_STEP_MAX];

    kv_optim_prepare(&spec, KV_F32, &scale, t, step);
    for (size_t i = 0; i < count; i += KEY_ROOM) {
        struct kv_optim_args args = {.count = key_min(count - i, KEY_ROOM),
                                     .weight = zeros,
                                     .new_weight = out + i,
                                     .gradient = zeros,
                                     .step = step,
                                     .first = first + i};

        spec.optim->update(&args);
    }
}

static double moment(const float *x, size_t count, int power)
{
    double sum = 0;

    for (size_t i = 0; i < count; i++) {
        sum += pow((double)x[i], power);
    }
    return sum / (double)count;
}

static double correlation(const float *x, const float *y, size_t count)
{
    double sum = 0;

    for (size_t i = 0; i < count; i++) {
        sum += (double)x[i] * (double)y[i];
    }
    return sum / (double)count;
}

static int by_size(const void *x, const void *y)
{
    float p = *(const float *)x, q = *(const float *)y;

    return (p > q) - (p < q);
}

/* --- Tests ---------------------------------------------------------------- */

/* From the generator's authors: all zeros, all ones, digits of pi. */
static void test_words_are_threefrys(void **state)
{
    static const uint32_t known[][6] = {
        {0, 0, 0, 0, 0x6b200159, 0x99ba4efe},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x1cb996fc,
         0xbb002be7},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xc4923a9c,
         0x483df7a0},
    };

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct noise_words counter = {known[i][0], known[i][1]};
        struct noise_words key = {known[i][2], known[i][3]};
        struct noise_words x = noise_words(key, counter);

        assert_int_equal(x.a, known[i][4]);
        assert_int_equal(x.b, known[i][5]);
    }
}

/* u is 2^31 less the word's bits but the highest, and never even. */
static void expect_radius(uint32_t word)
{
    double u = (double)(0x80000000 - ((word & 0x7fffffff) | 1));
    double square = -2 * log(u * 0x1p-31);
    double radius = (double)noise_radius(word) * (double)NOISE_UNIT;
    double error = fabs(radius * radius - square);

    if (!(error < 3e-5 * fmax(square, 0.6)) ||
        (radius < 0) != (word >= 0x80000000)) {
        fail_msg("word %08x: %.9g squared is not %.9g", word, radius, square);
    }
}

/* All orders of magnitude, the ends, and what rounds up to a power of two; one
 * that is no number would make the weight none. */
static void test_radiuses_are_roots_of_logarithms(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 1 << 16; i++) {
        expect_radius(i);
        expect_radius(i << 16);
        expect_radius(0x7fffffff - i);
        expect_radius(0x7fffffff - (i << 15));
        expect_radius(0xffffffff - i);
    }
    for (int bit = 0; bit < 32; bit++) {
        for (uint32_t i = 0; i < 256; i++) {
            expect_radius((UINT32_C(1) << bit) + i - 128);
        }
    }
}

static void test_angles_are_sines_and_cosines(void **state)
{
    (void)state;
    for (int i = 0; i <= 1 << 16; i++) {
        float x = (float)i * 0x1p-17f, sine, cosine, back, same;
        double turn = acos(-1) * (double)x;

        noise_angle(x, &sine, &cosine);
        noise_angle(-x, &back, &same);
        assert_true(fabs((double)sine - sin(turn)) < 9e-6);
        assert_true(fabs((double)cosine - cos(turn)) < 9e-6);
        assert_true(back == -sine && same == cosine);
    }
}

/* A normal variate's n-th moment has a known spread; five of those. */
static void test_moments_are_those_of_the_normal_distribution(void **state)
{
    double root = sqrt(SAMPLES);

    (void)state;
    draw("lr=1", 0, 1, 0, samples, SAMPLES);
    assert_true(fabs(moment(samples, SAMPLES, 1)) < 5 * 1 / root);
    assert_true(fabs(moment(samples, SAMPLES, 2) - 1) < 5 * sqrt(2) / root);
    assert_true(fabs(moment(samples, SAMPLES, 3)) < 5 * sqrt(15) / root);
    assert_true(fabs(moment(samples, SAMPLES, 4) - 3) < 5 * sqrt(96) / root);
}

static void test_tails_are_as_heavy_as_they_should_be(void **state)
{
    (void)state;
    draw("lr=1", 1, 1, 0, samples, SAMPLES);
    for (int far = 1; far <= 4; far++) {
        double expected = SAMPLES * erfc(far / sqrt(2)) / 2;
        double above = 0, below = 0;

        for (size_t i = 0; i < SAMPLES; i++) {
            above += (double)samples[i] > far ? 1 : 0;
            below += (double)samples[i] < -far ? 1 : 0;
        }
        assert_true(fabs(above - expected) < 5 * sqrt(expected));
        assert_true(fabs(below - expected) < 5 * sqrt(expected));
    }
}

/* Kolmogorov and Smirnov: one fair sample in 3000 is further away. */
static void test_the_whole_distribution_is_normal(void **state)
{
    double worst = 0;

    (void)state;
    draw("lr=1", 2, 1, 0, samples, SAMPLES);
    qsort(samples, SAMPLES, sizeof *samples, by_size);
    for (size_t i = 0; i < SAMPLES; i++) {
        double right = erfc(-(double)samples[i] / sqrt(2)) / 2;

        worst = fmax(worst, fabs((double)i / SAMPLES - right));
        worst = fmax(worst, fabs((double)(i + 1) / SAMPLES - right));
    }
    assert_true(worst * sqrt(SAMPLES) < 2.1);
    assert_true(worst > 0);
}

static void test_no_two_updates_keys_or_seeds_share_noise(void **state)
{
    static const struct {
        const char *params;
        uint64_t key, t, first;
    } other[] = {
        {"lr=1", 0, 2, 0},        {"lr=1", 1, 1, 0},
        {"lr=1,seed=1", 0, 1, 0}, {"lr=1", 0, 1, 1},
        {"lr=1", 0, 1, SAMPLES},  {"lr=1", 0, 1, UINT64_C(1) << 32},
        {"lr=1", 0, 1, FAR},      {"lr=1", UINT64_C(1) << 32, 1, 0},
    };

    (void)state;
    draw("lr=1", 0, 1, 0, samples, SAMPLES);
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        draw(other[i].params, other[i].key, other[i].t, other[i].first, others,
             SAMPLES);
        assert_true(fabs(correlation(samples, others, SAMPLES)) <
                    5 / sqrt(SAMPLES));
    }
}

/* A block's places: neither their noise nor how large it is goes together. */
static void test_no_two_places_of_a_block_share_noise(void **state)
{
    const size_t blocks = SAMPLES / NOISE_BLOCK;

    (void)state;
    draw("lr=1", 3, 1, 0, samples, SAMPLES);
    for (size_t i = 0; i < SAMPLES; i++) { /* Each place's samples together. */
        others[i % NOISE_BLOCK * blocks + i / NOISE_BLOCK] = samples[i];
    }
    for (int power = 1; power <= 2; power++) {
        for (size_t i = 0; i < NOISE_BLOCK; i++) {
            for (size_t j = 0; j < i; j++) {
                double both = correlation(others + i * blocks,
                                          others + j * blocks, blocks);

                assert_true(fabs(both) < 6 * power / sqrt((double)blocks));
            }
        }
        for (size_t i = 0; i < SAMPLES; i++) { /* Of variance 2. */
            others[i] = others[i] * others[i] - 1;
        }
    }
}

/* What this file, without vectors, makes of the same formula. */
static void test_vectors_give_the_bits_of_one_at_a_time(void **state)
{
    static const uint64_t firsts[] = {0, 1000, FAR - 100};
    const double zero = 0;
    uint64_t seed;

    (void)state;
    memcpy(&seed, &zero, sizeof seed);
    for (size_t i = 0; i < 3; i++) {
        struct noise_words key = noise_key(seed, 7, 3);
        float block[NOISE_BLOCK];

        draw("lr=1", 7, 3, firsts[i], samples, 4000);
        for (size_t j = 0; j < 4000; j++) {
            uint64_t at = firsts[i] + j, number = at / NOISE_BLOCK;
            struct noise_words index = {(uint32_t)number,
                                        (uint32_t)(number >> 32)};

            noise_block(noise_words(key, index), 1, 0, NOISE_HALF, block);
            assert_true(samples[j] == block[at % NOISE_BLOCK]);
        }
    }
}

static void test_cuts_of_any_size_give_the_bits_of_the_whole(void **state)
{
    static const size_t blocks[] = {1, 3, 64, 1000, 4096};

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        key_start(&a, "sgld", "lr=0.1,wd=0.1,clip_gradient=0.5", 7000, samples);
        key_start(&b, "sgld", "lr=0.1,wd=0.1,clip_gradient=0.5", 7000, samples);
        b.slice = 1920;
        b.block = blocks[i];
        b.stream = i % 2 == 0;
        for (int t = 0; t < 3; t++) {
            key_update(&a, others);
            key_update(&b, others);
        }
        assert_memory_equal(a.weight, b.weight, sizeof a.weight);
    }
}

/* Of all bits, as every build has made them: who trains on goes on alike. */
static void test_a_seeds_noise_is_for_ever(void **state)
{
    uint64_t sum = 0xcbf29ce484222325; /* FNV-1a, over words. */

    (void)state;
    draw("lr=0.1,seed=3", 5, 2, FAR - 1000, samples, 5000);
    for (size_t i = 0; i < 5000; i++) {
        uint32_t bits;

        memcpy(&bits, &samples[i], sizeof bits);
        sum = (sum ^ bits) * 0x100000001b3;
    }
    assert_int_equal(sum, 0x50c22916bc26d5dd);
}

static void test_a_rate_of_zero_moves_nothing(void **state)
{
    static const char *const params[] = {
        "lr=0", "lr=0,clip_gradient=0.5,wd=0.1",
        "lr=1,clip_gradient=1,lr_scheduler=poly,max_update=1"};
    static float weight[300], gradient[300];

    (void)state;
    for (size_t i = 0; i < 300; i++) {
        weight[i] = (float)i - 150;
    }
    for (size_t i = 0; i < 3; i++) {
        gradient[7] = i == 0 ? 3 : INFINITY; /* One that is clipped. */
        key_start(&a, "sgld", params[i], 300, weight);
        a.t = 5;
        key_update(&a, gradient);
        assert_memory_equal(key_weight(&a), weight, sizeof weight);
    }
}

static void test_half_a_step_and_the_rates_root_of_noise(void **state)
{
    static const float gradient = 8, weight = 2;

    (void)state;
    key_start(&a, "sgld", "lr=0.25,wd=0.5,rescale_grad=0.5,clip_gradient=3", 1,
              &weight);
    draw("lr=1", 0, 1, 0, samples, 1);
    key_update(&a, &gradient);
    /* 2 - 0.125 * (3 + 0.5 * 2) + 0.5 * noise */
    assert_true(fabsf(*key_weight(&a) - (1.5f + 0.5f * samples[0])) < 1e-6f);
}

/* --- Tests: half a step of sgd, over MXNet's grid --------------------------
 */

/* With the same noise, drawn alone, each update is the formula in double. */
static void expect_formula(const char *params, size_t count)
{
    struct kv_optim_spec spec = key_spec("sgld", params);
    struct hyper h = hyper_of(&spec);
    float gradient[GRID_COUNT_MAX];
    double right[GRID_COUNT_MAX];

    key_fill(&numbers, others, count);
    key_start(&a, "sgld", params, count, others);
    for (size_t i = 0; i < count; i++) {
        right[i] = (double)others[i];
    }
    for (uint64_t t = 1; t <= 5; t++) {
        key_fill(&numbers, gradient, count);
        draw("lr=1", 0, t, 0, samples, count);
        key_update(&a, gradient);
        for (size_t i = 0; i < count; i++) {
            right[i] -= h.lr / 2 * before(right[i], (double)gradient[i], &h);
            right[i] += sqrt(h.lr) * (double)samples[i];
        }
        key_expect(key_weight(&a), right, count, 2e-6, params);
    }
}

static void test_every_mix_of_options_follows_the_formula(void **state)
{
    (void)state;
    for (size_t i = 0; i < GRID; i++) {
        struct grid_shape shape = grid_shape(i);
        char params[GRID_TEXT_MAX];

        grid_text(params, "sgld", "", i);
        expect_formula(params, shape.rows * shape.length);
    }
}

/* --- Tests: where many steps lead ------------------------------------------
 */

/* A weight's distribution after each step: f32 weights that began alike. */
struct walk {
    double mean, variance;
};

static void step_all(const struct kv_optim_spec *spec, uint64_t t)
{
    unsigned char step[KV_OPTIM_STEP_MAX];

    kv_optim_prepare(spec, KV_F32, NULL, t, step);
    for (size_t i = 0; i < SAMPLES; i += KEY_ROOM) {
        struct kv_optim_args args = {.count = KEY_ROOM,
                                     .weight = samples + i,
                                     .new_weight = samples + i,
                                     .gradient = others + i,
                                     .step = step,
                                     .first = i};

        spec->optim->update(&args);
    }
}

/* Five standard errors, and f32's. */
static void expect_walk(const struct walk *right, const char *params,
                        uint64_t t)
{
    double mean = moment(samples, SAMPLES, 1);
    double variance = moment(samples, SAMPLES, 2) - mean * mean;

    if (fabs(mean - right->mean) > 5 * sqrt(right->variance / SAMPLES) + 1e-6 ||
        fabs(variance / right->variance - 1) > 5 * sqrt(2.0 / SAMPLES) + 1e-5) {
        fail_msg("%s, update %d: %.6f with variance %.6f, not %.6f with %.6f",
                 params, (int)t, mean, variance, right->mean, right->variance);
    }
}

/* w - lr/2 (c + wd w) + noise of variance lr: mean and variance follow. */
static void expect_distribution(const char *params)
{
    struct kv_optim_spec spec = key_spec("sgld", params);
    struct walk right = {.mean = 2};

    for (size_t i = 0; i < SAMPLES; i++) {
        samples[i] = 2;
    }
    for (uint64_t t = 1; t <= 12; t++) {
        float gradient = key_chance(&numbers);
        struct hyper h = hyper_of(&spec);
        double keep;

        h.lr = kv_schedule_lr(&spec.schedule, h.lr, t);
        keep = 1 - h.lr / 2 * h.wd;
        for (size_t i = 0; i < SAMPLES; i++) {
            others[i] = gradient;
        }
        step_all(&spec, t);
        right.mean = keep * right.mean - h.lr / 2 * plain((double)gradient, &h);
        right.variance = keep * keep * right.variance + h.lr;
        expect_walk(&right, params, t);
    }
}

static void test_mean_and_variance_follow_the_steps(void **state)
{
    static const char *const params[] = {
        "lr=0.1",
        "lr=0.01,wd=0.07",
        "lr=0.5,wd=1,rescale_grad=0.8",
        "lr=1,wd=1.5,clip_gradient=0.4",
        "lr=0.25,seed=7,wd=0.5,lr_scheduler=multifactor,step=3;8,factor=0.25",
        "lr=0.3,seed=-1,clip_gradient=0.05,lr_scheduler=poly,max_update=20",
    };

    (void)state;
    for (size_t i = 0; i < sizeof params / sizeof *params; i++) {
        expect_distribution(params[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_are_threefrys),
        cmocka_unit_test(test_radiuses_are_roots_of_logarithms),
        cmocka_unit_test(test_angles_are_sines_and_cosines),
        cmocka_unit_test(test_moments_are_those_of_the_normal_distribution),
        cmocka_unit_test(test_tails_are_as_heavy_as_they_should_be),
        cmocka_unit_test(test_the_whole_distribution_is_normal),
        cmocka_unit_test(test_no_two_updates_keys_or_seeds_share_noise),
        cmocka_unit_test(test_no_two_places_of_a_block_share_noise),
        cmocka_unit_test(test_vectors_give_the_bits_of_one_at_a_time),
        cmocka_unit_test(test_cuts_of_any_size_give_the_bits_of_the_whole),
        cmocka_unit_test(test_a_seeds_noise_is_for_ever),
        cmocka_unit_test(test_a_rate_of_zero_moves_nothing),
        cmocka_unit_test(test_half_a_step_and_the_rates_root_of_noise),
        cmocka_unit_test(test_every_mix_of_options_follows_the_formula),
        cmocka_unit_test(test_mean_and_variance_follow_the_steps),
    };

    numbers = chance_seed();

    return cmocka_run_group_tests_name("optim_noise", tests, NULL, NULL);
}
