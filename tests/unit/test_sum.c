#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "common/compute/sum.h"
#include "tests/unit/chance.h"

#define INPUTS_MAX 17
#define COUNT_MAX 2500
#define SPARE 64 /* Bytes around an array. */

static const size_t counts[] = {0,   1,   2,   7,    8,    31,  64,
                                511, 512, 513, 1023, 1024, 2500};
static const enum kv_dtype dtypes[] = {KV_F32, KV_F16, KV_BF16};

struct fixture {
    uint64_t chance;
    uint8_t in[INPUTS_MAX][COUNT_MAX * 4 + SPARE];
    const void *inputs[INPUTS_MAX];
    uint8_t out[COUNT_MAX * 4 + 2 * SPARE];
    float sum[COUNT_MAX];
    float right[COUNT_MAX];
};

static struct fixture fixture;

static int set_up(void **state)
{
    fixture.chance = chance_seed();
    *state = &fixture;
    return 0;
}

/* --- Steps ---------------------------------------------------------------- */

/* Magnitudes from 2^-12 to 2^11, so that the order of additions matters. */
static float some_number(uint64_t *x)
{
    double mantissa = (double)chance(x, 1 << 24) / (1 << 24) + 1;
    double signed_mantissa = chance(x, 2) != 0 ? mantissa : -mantissa;

    return (float)ldexp(signed_mantissa, (int)chance(x, 24) - 12);
}

/* Inputs at any address; `right` is the fold of what they hold. */
static void fill(struct fixture *f, enum kv_dtype dtype, size_t n, size_t count)
{
    for (size_t k = 0; k < n; k++) {
        uint8_t *at = f->in[k] + chance(&f->chance, 8);

        f->inputs[k] = at;
        for (size_t i = 0; i < count; i++) {
            float number = some_number(&f->chance);
            uint8_t *element = at + i * kv_dtype_size(dtype);
            volatile float sum; /* One addition at a time. */

            kv_from_f32(dtype, &number, element, 1);
            kv_to_f32(dtype, element, &number, 1);
            sum = k == 0 ? number : f->right[i] + number;
            f->right[i] = sum;
        }
    }
}

static void expect_sum(struct fixture *f, enum kv_dtype dtype, size_t n,
                       size_t count, void *out)
{
    static uint8_t right[COUNT_MAX * 4];
    size_t size = count * kv_dtype_size(dtype);
    uint8_t after = ((uint8_t *)out)[size];

    kv_from_f32(dtype, f->right, right, count);
    kv_sum(dtype, out, f->inputs, n, count);
    assert_memory_equal(out, right, size);
    assert_int_equal(((uint8_t *)out)[size], after);
}

/* --- Tests ---------------------------------------------------------------- */

static void test_a_sum_is_the_fold_from_left_to_right(void **state)
{
    struct fixture *f = *state;

    for (size_t d = 0; d < 3; d++) {
        for (size_t n = 1; n <= INPUTS_MAX; n++) {
            for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
                fill(f, dtypes[d], n, counts[c]);
                kv_sum_f32(dtypes[d], f->sum, f->inputs, n, counts[c]);
                assert_memory_equal(f->sum, f->right, counts[c] * 4);
                expect_sum(f, dtypes[d], n, counts[c],
                           f->out + chance(&f->chance, 8));
            }
        }
    }
}

static void test_a_sum_may_replace_its_first_input(void **state)
{
    struct fixture *f = *state;

    for (size_t d = 0; d < 3; d++) {
        for (size_t n = 1; n <= INPUTS_MAX; n++) {
            fill(f, dtypes[d], n, 1234);
            expect_sum(f, dtypes[d], n, 1234, (void *)(uintptr_t)f->inputs[0]);
        }
    }
}

static void test_a_range_sums_to_the_same_bits_as_the_whole(void **state)
{
    struct fixture *f = *state;

    for (size_t d = 0; d < 3; d++) {
        for (size_t n = 1; n <= INPUTS_MAX; n++) {
            size_t first = 0;

            fill(f, dtypes[d], n, COUNT_MAX);
            while (first < COUNT_MAX) {
                size_t left = COUNT_MAX - first;
                size_t count = 1 + chance(&f->chance, left);

                kv_sum_range(dtypes[d], f->sum, f->inputs, n, first, count);
                assert_memory_equal(f->sum, f->right + first, count * 4);
                first += count;
            }
        }
    }
}

static void test_narrow_sums_are_rounded_once_so_small_ones_count(void **state)
{
    const uint16_t large = 0x6800, one = 0x3c00; /* 2048, 1 */
    const void *inputs[17] = {&large};
    uint16_t out;

    (void)state;
    for (int i = 1; i < 17; i++) {
        inputs[i] = &one;
    }
    kv_sum(KV_F16, &out, inputs, 17, 1);
    assert_int_equal(out, 0x6808); /* 2064; rounding each gives 2048. */
}

/* --- Formats that are added in themselves --------------------------------- */

/* 3 + 5 ... in each format, and what no f32 can hold. */
static void expect_own(enum kv_dtype dtype, const void *a, const void *b,
                       const void *right, size_t count)
{
    const void *inputs[] = {a, b};
    uint8_t out[64], streamed[64];
    size_t size = count * kv_dtype_size(dtype);

    kv_sum(dtype, out, inputs, 2, count);
    assert_memory_equal(out, right, size);
    kv_sum_part(dtype, streamed, inputs, 2, 0, count, true);
    assert_memory_equal(streamed, right, size);
}

static void test_integers_are_added_exactly_and_wrap_around(void **state)
{
    static const uint8_t u8[][2] = {{200, 1}, {100, 2}, {44, 3}};
    static const int8_t i8[][2] = {{127, -100}, {1, -100}, {-128, 56}};
    static const int32_t i32[][2] = {
        {16777217, INT32_MAX}, {2, 1}, {16777219, INT32_MIN}};
    static const int64_t i64[][2] = {
        {9007199254740993, INT64_MIN}, {2, -1}, {9007199254740995, INT64_MAX}};

    (void)state;
    expect_own(KV_U8, u8[0], u8[1], u8[2], 2);
    expect_own(KV_I8, i8[0], i8[1], i8[2], 2);
    expect_own(KV_I32, i32[0], i32[1], i32[2], 2);
    expect_own(KV_I64, i64[0], i64[1], i64[2], 2);
}

static void test_f64_keeps_what_f32_would_lose(void **state)
{
    static const double f64[][2] = {
        {1, 1e300}, {0x1p-52, 1e300}, {1 + 0x1p-52, 2e300}};

    (void)state;
    expect_own(KV_F64, f64[0], f64[1], f64[2], 2);
}

/* Twelve inputs: more than one loop takes at a time. */
static void test_long_arrays_of_bytes_are_added_whole(void **state)
{
    struct fixture *f = *state;

    for (size_t k = 0; k < 12; k++) {
        f->inputs[k] = f->in[k] + k;
        memset(f->in[k] + k, (int)(k * 30), COUNT_MAX);
    }
    kv_sum(KV_U8, f->out, f->inputs, 12, COUNT_MAX);
    for (size_t i = 0; i < COUNT_MAX; i++) {
        assert_int_equal(f->out[i], (30 * 66) % 256);
    }
}

/* --- Past the caches ------------------------------------------------------ */

static void test_a_part_is_the_same_streamed_or_not_to_any_address(void **state)
{
    struct fixture *f = *state;
    uint8_t right[COUNT_MAX * 4];

    for (size_t d = 0; d < 3; d++) {
        size_t unit = kv_dtype_size(dtypes[d]);

        for (size_t n = 1; n <= INPUTS_MAX; n++) {
            size_t first = chance(&f->chance, COUNT_MAX);
            size_t count = 1 + chance(&f->chance, COUNT_MAX - first);
            uint8_t *out = f->out + chance(&f->chance, SPARE);

            fill(f, dtypes[d], n, COUNT_MAX);
            kv_from_f32(dtypes[d], f->right + first, right, count);
            out[count * unit] = 77;
            kv_sum_part(dtypes[d], out, f->inputs, n, first, count,
                        chance(&f->chance, 2) != 0);
            assert_memory_equal(out, right, count * unit);
            assert_int_equal(out[count * unit], 77);
        }
    }
}

static void test_infinities_and_nans_are_not_hidden(void **state)
{
    const float a[] = {INFINITY, INFINITY, NAN, 3e38f};
    const float b[] = {1, -INFINITY, 1, 3e38f};
    const void *inputs[] = {a, b};
    float out[4];

    (void)state;
    kv_sum_f32(KV_F32, out, inputs, 2, 4);
    assert_true(isinf(out[0]) && isnan(out[1]));
    assert_true(isnan(out[2]) && isinf(out[3]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_sum_is_the_fold_from_left_to_right),
        cmocka_unit_test(test_a_sum_may_replace_its_first_input),
        cmocka_unit_test(test_a_range_sums_to_the_same_bits_as_the_whole),
        cmocka_unit_test(test_narrow_sums_are_rounded_once_so_small_ones_count),
        cmocka_unit_test(test_integers_are_added_exactly_and_wrap_around),
        cmocka_unit_test(test_f64_keeps_what_f32_would_lose),
        cmocka_unit_test(test_long_arrays_of_bytes_are_added_whole),
        cmocka_unit_test(
            test_a_part_is_the_same_streamed_or_not_to_any_address),
        cmocka_unit_test(test_infinities_and_nans_are_not_hidden),
    };

    return cmocka_run_group_tests_name("sum", tests, set_up, NULL);
}
