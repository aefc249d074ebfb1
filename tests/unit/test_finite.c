#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/compute/denormals.h"
#include "common/compute/finite.h"

#define COUNT 77

struct form {
    enum kv_dtype dtype;
    unsigned fraction, bits; /* Of an element: its fraction; all. */
};

static const struct form forms[] = {
    {KV_F32, 23, 32}, {KV_F64, 52, 64}, {KV_F16, 10, 16}, {KV_BF16, 7, 16}};

static uint64_t ones(unsigned count)
{
    return (UINT64_C(1) << count) - 1;
}

/* One of these bits among elements that are as large as they can be, at any
 * place of any alignment. */
static bool is_finite(const struct form *f, uint64_t bits, int place, int shift)
{
    unsigned char x[COUNT * 8 + 8];
    size_t size = f->bits / 8;
    uint64_t largest = ones(f->bits - 1) - (UINT64_C(1) << f->fraction);

    for (int i = 0; i < COUNT; i++) {
        memcpy(x + shift + (size_t)i * size, i == place ? &bits : &largest,
               size);
    }
    return kv_finite(f->dtype, x + shift, COUNT);
}

static void test_what_is_not_a_number_is_found_everywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        const struct form *f = &forms[i];
        uint64_t infinite = ones(f->bits - 1) & ~ones(f->fraction);
        uint64_t sign = UINT64_C(1) << (f->bits - 1);

        for (int place = 0; place < COUNT; place++) {
            int shift = place % 8;

            assert_false(is_finite(f, infinite, place, shift));
            assert_false(is_finite(f, infinite | sign, place, shift));
            assert_false(is_finite(f, infinite | 1, place, shift));
            assert_false(is_finite(f, ones(f->bits - 1), place, shift));
            assert_false(is_finite(f, ones(f->bits - 1) | sign, place, shift));
        }
    }
}

static void test_numbers_are_finite_however_large_or_small(void **state)
{
    (void)state;
    kv_flush_denormals();
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        const struct form *f = &forms[i];
        uint64_t sign = UINT64_C(1) << (f->bits - 1);
        uint64_t largest = ones(f->bits - 1) - (UINT64_C(1) << f->fraction);

        for (int place = 0; place < COUNT; place++) {
            assert_true(is_finite(f, 0, place, 0));
            assert_true(is_finite(f, sign, place, 0));
            assert_true(is_finite(f, 1, place, 0)); /* A denormal. */
            assert_true(is_finite(f, largest | sign, place, 0));
        }
    }
}

static void test_integers_are_finite(void **state)
{
    uint64_t x[4] = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};

    (void)state;
    assert_true(kv_finite(KV_I64, x, 4));
    assert_true(kv_finite(KV_U8, x, 32));
}

static void test_nothing_is_finite(void **state)
{
    float x = NAN;

    (void)state;
    assert_true(kv_finite(KV_F32, &x, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_not_a_number_is_found_everywhere),
        cmocka_unit_test(test_numbers_are_finite_however_large_or_small),
        cmocka_unit_test(test_integers_are_finite),
        cmocka_unit_test(test_nothing_is_finite),
    };

    return cmocka_run_group_tests_name("finite", tests, NULL, NULL);
}
