#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "common/compute/denormals.h"
#include "common/compute/dtype.h"
#include "tests/unit/chance.h"

#define HALVES 65536
#define PART 7 /* Too few for the processor's own conversion. */

/* --- An independent reference, by arithmetic in double ----------------------
 */

struct format {
    enum kv_dtype dtype;
    int mantissa_bits;
    int exponent_min; /* Of the smallest normal number. */
    int exponent_max;
    uint16_t infinity;
};

static const struct format f16 = {KV_F16, 10, -14, 15, 0x7c00};
static const struct format bf16 = {KV_BF16, 7, -126, 127, 0x7f80};

static uint32_t bits_of(float f)
{
    uint32_t u;

    memcpy(&u, &f, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float f;

    memcpy(&f, &u, sizeof f);
    return f;
}

static int is_nan16(const struct format *f, uint16_t half)
{
    return (half & 0x7fff) > f->infinity;
}

static uint32_t widen(const struct format *f, uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    int exponent = (half & 0x7fff) >> f->mantissa_bits;
    int mantissa = half & ((1 << f->mantissa_bits) - 1);
    double value;

    if ((half & 0x7fff) >= f->infinity) {
        return sign | 0x7f800000 |
               (uint32_t)mantissa << (23 - f->mantissa_bits);
    }
    value = exponent == 0
                ? ldexp(mantissa, f->exponent_min - f->mantissa_bits)
                : ldexp(mantissa + (1 << f->mantissa_bits),
                        f->exponent_min + exponent - 1 - f->mantissa_bits);
    return sign | bits_of((float)value);
}

static uint16_t narrow(const struct format *f, float in)
{
    uint32_t u = bits_of(in);
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    uint32_t payload = (u & 0x7fffff) >> (23 - f->mantissa_bits);
    uint32_t quiet = 1u << (f->mantissa_bits - 1);
    double value = fabs((double)in);
    int exponent;
    double units;

    if (isnan(in)) {
        return (uint16_t)(sign | f->infinity | quiet | payload);
    }
    if (isinf(in)) {
        return (uint16_t)(sign | f->infinity);
    }
    exponent = value > 0 ? ilogb(value) : f->exponent_min;
    exponent = exponent < f->exponent_min ? f->exponent_min : exponent;
    /* rint() rounds halves to even, as is asked for. */
    units = rint(ldexp(value, f->mantissa_bits - exponent));
    units += ldexp(exponent - f->exponent_min, f->mantissa_bits);
    return (uint16_t)(sign |
                      (units < f->infinity ? (unsigned)units : f->infinity));
}

/* --- Steps ---------------------------------------------------------------- */

static void expect_narrow(const struct format *f, const float *in, size_t count)
{
    static uint16_t whole[HALVES], parts[HALVES];

    assert_true(count <= HALVES);
    kv_from_f32(f->dtype, in, whole, count);
    for (size_t i = 0; i < count; i += PART) {
        size_t n = count - i < PART ? count - i : PART;

        kv_from_f32(f->dtype, in + i, parts + i, n);
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t right = narrow(f, in[i]);

        if (whole[i] != right || parts[i] != right) {
            fail_msg("%s of %a (%08x): 0x%04x at once, 0x%04x in parts, not "
                     "0x%04x",
                     kv_dtype_name(f->dtype), (double)in[i], bits_of(in[i]),
                     whole[i], parts[i], right);
        }
    }
}

static void expect_widen_all(const struct format *f)
{
    static uint16_t in[HALVES];
    static float whole[HALVES], parts[HALVES];

    for (unsigned i = 0; i < HALVES; i++) {
        in[i] = (uint16_t)i;
    }
    kv_to_f32(f->dtype, in, whole, HALVES);
    for (size_t i = 0; i < HALVES; i += PART) {
        size_t n = HALVES - i < PART ? HALVES - i : PART;

        kv_to_f32(f->dtype, in + i, parts + i, n);
    }
    for (unsigned i = 0; i < HALVES; i++) {
        uint32_t right = widen(f, in[i]);

        if (is_nan16(f, in[i])) {
            assert_true(isnan(whole[i]) && isnan(parts[i]));
            right |= bits_of(whole[i]) & 0x00400000; /* Quiet or as it was. */
        }
        assert_int_equal(bits_of(whole[i]), right);
        assert_int_equal(bits_of(parts[i]), right);
    }
}

/* The floats around each half and around each midpoint between two. */
static void expect_narrow_all_boundaries(const struct format *f)
{
    static float in[HALVES];

    for (int off_by = -1; off_by <= 1; off_by++) {
        for (uint32_t middle = 0; middle < 2; middle++) {
            for (uint32_t i = 0; i < HALVES; i++) {
                double low = (double)float_of(widen(f, (uint16_t)i));
                double high = (double)float_of(widen(f, (uint16_t)(i + 1)));
                float at = (float)(middle ? (low + high) / 2 : low);

                in[i] = float_of(bits_of(at) + (uint32_t)off_by);
            }
            expect_narrow(f, in, HALVES);
        }
    }
}

static void expect_narrow_random(const struct format *f, unsigned rounds)
{
    static float in[HALVES];
    uint64_t x = chance_seed();

    for (unsigned round = 0; round < rounds; round++) {
        for (size_t i = 0; i < HALVES; i++) {
            in[i] = float_of((uint32_t)chance(&x, UINT64_C(1) << 32));
        }
        expect_narrow(f, in, HALVES);
    }
}

/* --- Tests ---------------------------------------------------------------- */

static void test_formats_have_mxnets_numbers_and_their_sizes(void **state)
{
    static const struct {
        int number;
        const char *name;
        size_t size;
        int in_f32;
    } right[] = {
        {0, "f32", 4, 1}, {1, "f64", 8, 0},   {2, "f16", 2, 1},
        {3, "u8", 1, 0},  {4, "i32", 4, 0},   {5, "i8", 1, 0},
        {6, "i64", 8, 0}, {12, "bf16", 2, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        enum kv_dtype dtype = (enum kv_dtype)right[i].number;

        assert_true(kv_dtype_known(right[i].number));
        assert_string_equal(kv_dtype_name(dtype), right[i].name);
        assert_int_equal(kv_dtype_size(dtype), right[i].size);
        assert_int_equal(kv_dtype_in_f32(dtype), right[i].in_f32);
    }
}

static void test_a_number_without_a_format_is_unknown(void **state)
{
    static const int wrong[] = {-1, 7, 8, 9, 10, 11, 13, 1 << 30};

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_false(kv_dtype_known(wrong[i]));
    }
    assert_false(kv_dtype_in_f32((enum kv_dtype)7));
    assert_int_equal(kv_dtype_size((enum kv_dtype)7), 0);
    assert_string_equal(kv_dtype_name((enum kv_dtype)7), "unknown");
}

static void test_every_half_becomes_the_float_it_stands_for(void **state)
{
    (void)state;
    expect_widen_all(&f16);
    expect_widen_all(&bf16);
}

static void test_floats_round_to_the_nearest_half_and_ties_to_even(void **state)
{
    (void)state;
    expect_narrow_all_boundaries(&f16);
    expect_narrow_all_boundaries(&bf16);
}

static void test_any_float_rounds_as_arithmetic_says(void **state)
{
    (void)state;
    expect_narrow_random(&f16, 20);
    expect_narrow_random(&bf16, 20);
}

static void test_what_is_too_large_becomes_infinite(void **state)
{
    static const float in[] = {65504, 65519.996f, 65520, -65520, INFINITY};
    static const uint16_t right[] = {0x7bff, 0x7bff, 0x7c00, 0xfc00, 0x7c00};
    uint16_t out[5];

    (void)state;
    kv_from_f32(KV_F16, in, out, 5);
    assert_memory_equal(out, right, sizeof out);
}

static void test_a_nan_stays_a_nan_even_if_its_payload_is_low(void **state)
{
    const float in[] = {float_of(0x7f800001), float_of(0xff800001), NAN};
    uint16_t out[3];

    (void)state;
    kv_from_f32(KV_F16, in, out, 3);
    assert_int_equal(out[0], 0x7e00);
    assert_int_equal(out[1], 0xfe00);
    assert_true(is_nan16(&f16, out[2]));
    kv_from_f32(KV_BF16, in, out, 3);
    assert_int_equal(out[0], 0x7fc0);
    assert_int_equal(out[1], 0xffc0);
    assert_true(is_nan16(&bf16, out[2]));
}

static void test_f32_is_copied_bit_for_bit(void **state)
{
    const float in[] = {float_of(0x7f800001), -0.0f, float_of(1), INFINITY};
    float out[4];

    (void)state;
    kv_to_f32(KV_F32, in, out, 4);
    assert_memory_equal(out, in, sizeof in);
    kv_from_f32(KV_F32, out, out, 4);
    assert_memory_equal(out, in, sizeof in);
}

static void test_buffers_may_begin_anywhere(void **state)
{
    uint8_t halves[2 * 100 + 1];
    float in[100], out[100];

    (void)state;
    for (int i = 0; i < 100; i++) {
        in[i] = (float)i;
    }
    kv_from_f32(KV_F16, in, halves + 1, 100);
    kv_to_f32(KV_F16, halves + 1, out, 100);
    assert_memory_equal(out, in, sizeof in);
    kv_from_f32(KV_BF16, in, halves + 1, 100);
    kv_to_f32(KV_BF16, halves + 1, out, 100);
    assert_memory_equal(out, in, sizeof in);
}

struct conversions {
    uint16_t in[0x0400 + PART]; /* All subnormal halves, and 0. */
    float wide[0x0400 + PART];
    uint16_t back[0x0400 + PART];
    float product;
};

static void *convert_flushing(void *arg)
{
    volatile float tiny = 1e-30f;
    struct conversions *c = arg;

    kv_flush_denormals();
    c->product = tiny * 1e-10f;
    kv_to_f32(KV_F16, c->in, c->wide, 0x0400 + PART);
    kv_from_f32(KV_F16, c->wide, c->back, 0x0400 + PART);
    return NULL;
}

static void test_flushing_denormals_leaves_halves_alone(void **state)
{
    static struct conversions c;
    pthread_t thread; /* The mode would stay with this one. */

    (void)state;
    for (unsigned i = 0; i < 0x0400 + PART; i++) {
        c.in[i] = (uint16_t)i;
    }
    assert_int_equal(pthread_create(&thread, NULL, convert_flushing, &c), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
#if defined(__x86_64__) || defined(__aarch64__)
    assert_true(c.product == 0);
#endif
    for (unsigned i = 0; i < 0x0400 + PART; i++) {
        assert_int_equal(bits_of(c.wide[i]), widen(&f16, c.in[i]));
    }
    assert_memory_equal(c.back, c.in, sizeof c.in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats_have_mxnets_numbers_and_their_sizes),
        cmocka_unit_test(test_a_number_without_a_format_is_unknown),
        cmocka_unit_test(test_every_half_becomes_the_float_it_stands_for),
        cmocka_unit_test(
            test_floats_round_to_the_nearest_half_and_ties_to_even),
        cmocka_unit_test(test_any_float_rounds_as_arithmetic_says),
        cmocka_unit_test(test_what_is_too_large_becomes_infinite),
        cmocka_unit_test(test_a_nan_stays_a_nan_even_if_its_payload_is_low),
        cmocka_unit_test(test_f32_is_copied_bit_for_bit),
        cmocka_unit_test(test_buffers_may_begin_anywhere),
        cmocka_unit_test(test_flushing_denormals_leaves_halves_alone),
    };

    return cmocka_run_group_tests_name("dtype", tests, NULL, NULL);
}
