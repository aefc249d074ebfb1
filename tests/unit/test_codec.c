#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "common/codec/codec.h"
#include "common/compute/sum.h"
#include "tests/unit/chance.h"

#define COUNT 5000
#define INPUTS_MAX 9

struct fixture {
    uint64_t chance;
    const struct kv_codec *none, *fp16;
    float gradient[COUNT];
    uint8_t encoded[INPUTS_MAX][COUNT * 4 + 8];
    const struct kv_codec *codecs[INPUTS_MAX];
    const void *inputs[INPUTS_MAX];
    float decoded[INPUTS_MAX][COUNT];
    float out[COUNT + 1];
    float right[COUNT];
};

static struct fixture fixture;

static int set_up(void **state)
{
    struct fixture *f = &fixture;

    f->chance = chance_seed();
    f->none = kv_codec_find("none");
    f->fp16 = kv_codec_find("fp16");
    *state = f;
    return f->none == NULL || f->fp16 == NULL;
}

/* --- A packed codec: int8, in steps of 1/16 ---------------------------------
 */

static bool packed_accepts(enum kv_dtype dtype)
{
    return dtype == KV_F32;
}

static size_t packed_size(enum kv_dtype dtype, size_t count)
{
    (void)dtype;
    return count;
}

static int packed_plain(enum kv_dtype dtype)
{
    (void)dtype;
    return KV_CODEC_PACKED;
}

static void packed_encode(enum kv_dtype dtype, const void *in, size_t count,
                          void *out)
{
    (void)dtype;
    for (size_t i = 0; i < count; i++) {
        ((int8_t *)out)[i] = (int8_t)(((const float *)in)[i] * 16);
    }
}

static void packed_decode(enum kv_dtype dtype, const void *in, size_t first,
                          size_t count, float *out)
{
    (void)dtype;
    for (size_t i = 0; i < count; i++) {
        out[i] = (float)((const int8_t *)in)[first + i] / 16;
    }
}

static const struct kv_codec packed = {
    "packed",     250,           packed_accepts, packed_size,
    packed_plain, packed_encode, packed_decode,
};

/* --- Steps ---------------------------------------------------------------- */

static void fill_gradient(struct fixture *f)
{
    for (size_t i = 0; i < COUNT; i++) {
        f->gradient[i] = (float)chance(&f->chance, 1 << 20) / (1 << 17) - 4;
    }
}

/* Encodes a new gradient at any address. */
static void add_input(struct fixture *f, size_t k, const struct kv_codec *codec,
                      enum kv_dtype dtype)
{
    static uint8_t typed[COUNT * 4];
    uint8_t *at = f->encoded[k] + chance(&f->chance, 8);

    fill_gradient(f);
    kv_from_f32(dtype, f->gradient, typed, COUNT);
    codec->encode(dtype, typed, COUNT, at);
    codec->decode(dtype, at, 0, COUNT, f->decoded[k]);
    f->codecs[k] = codec;
    f->inputs[k] = at;
}

/* In one piece and in pieces: the fold of the decoded inputs. */
static void expect_sum(struct fixture *f, size_t n, enum kv_dtype dtype)
{
    const void *decoded[INPUTS_MAX];

    for (size_t k = 0; k < n; k++) {
        decoded[k] = f->decoded[k];
    }
    kv_sum_f32(KV_F32, f->right, decoded, n, COUNT);
    kv_codec_sum(f->codecs, f->inputs, n, dtype, 0, COUNT, f->out);
    assert_memory_equal(f->out, f->right, sizeof f->right);
    for (size_t first = 0; first < COUNT; first += 17 * KV_CODEC_GRAIN) {
        size_t rest = COUNT - first;
        size_t count = rest < 17 * KV_CODEC_GRAIN ? rest : 17 * KV_CODEC_GRAIN;

        f->out[count] = 12345;
        kv_codec_sum(f->codecs, f->inputs, n, dtype, first, count, f->out);
        assert_memory_equal(f->out, f->right + first, count * 4);
        assert_true(f->out[count] == 12345);
    }
}

/* --- Tests ---------------------------------------------------------------- */

static void test_codecs_are_found_by_name_and_by_wire_number(void **state)
{
    struct fixture *f = *state;
    char names[64];

    assert_int_equal(f->none->id, 0);
    assert_int_equal(f->fp16->id, 1);
    assert_ptr_equal(kv_codec_by_id(0), f->none);
    assert_ptr_equal(kv_codec_by_id(1), f->fp16);
    assert_null(kv_codec_find("None"));
    assert_null(kv_codec_find(""));
    assert_null(kv_codec_by_id(249));
    assert_true(kv_codec_names(names, sizeof names) < sizeof names);
    assert_non_null(strstr(names, "fp16"));
    assert_non_null(strstr(names, "none"));
    assert_true(kv_codec_names(names, 4) > 4);
    assert_int_equal(strlen(names), 3);
}

/* What codec.h asks of one: numbers that do not move, and no surprise in size,
 * in how it is cut, or the second time. */
static void expect_contract(struct fixture *f, const struct kv_codec *c,
                            enum kv_dtype dtype)
{
    static uint8_t typed[COUNT * 4], again[COUNT * 4 + 8];
    size_t size = c->encoded_size(dtype, COUNT);

    assert_int_equal(c->encoded_size(dtype, 0), 0);
    assert_true(size <= sizeof again);
    add_input(f, 0, c, dtype);
    for (size_t at = 0; at < COUNT; at += 7 * KV_CODEC_GRAIN) {
        size_t count = COUNT - at < 100 ? COUNT - at : 100;

        assert_true(c->encoded_size(dtype, at) <= size);
        c->decode(dtype, f->inputs[0], at, count, f->out);
        assert_memory_equal(f->out, f->decoded[0] + at, count * 4);
    }
    kv_from_f32(dtype, f->gradient, typed, COUNT);
    memset(again, 0xa5, sizeof again);
    c->encode(dtype, typed, COUNT, again);
    assert_memory_equal(again, f->inputs[0], size);
    assert_true(size == sizeof again || again[size] == 0xa5);
    for (size_t k = 1; k < 4; k++) {
        add_input(f, k, k == 2 ? f->none : c, dtype);
    }
    expect_sum(f, 4, dtype);
}

static void test_every_codec_in_the_folder_keeps_the_contract(void **state)
{
    static const enum kv_dtype dtypes[] = {KV_F32, KV_F16, KV_BF16};
    struct fixture *f = *state;
    char names[1024], *rest = names, *name;
    size_t count = 0;

    assert_true(kv_codec_names(names, sizeof names) < sizeof names);
    while ((name = strsep(&rest, ", ")) != NULL) {
        const struct kv_codec *c = *name != '\0' ? kv_codec_find(name) : NULL;

        if (c != NULL) {
            assert_ptr_equal(kv_codec_by_id(c->id), c); /* No other has it. */
            for (size_t d = 0; d < 3; d++) {
                if (c->accepts(dtypes[d])) {
                    expect_contract(f, c, dtypes[d]);
                }
            }
            count++;
        }
    }
    assert_true(count >= 2);
}

static void test_none_keeps_every_bit_of_every_stored_format(void **state)
{
    static const enum kv_dtype dtypes[] = {KV_F32, KV_F16, KV_BF16};
    static uint8_t in[COUNT * 4], wire[COUNT * 4], out[COUNT * 4 + 1];
    struct fixture *f = *state;

    fill_gradient(f);
    for (size_t d = 0; d < 3; d++) {
        size_t size = f->none->encoded_size(dtypes[d], COUNT);

        assert_true(f->none->accepts(dtypes[d]));
        assert_int_equal(size, COUNT * kv_dtype_size(dtypes[d]));
        kv_from_f32(dtypes[d], f->gradient, in, COUNT);
        f->none->encode(dtypes[d], in, COUNT, wire);
        assert_memory_equal(wire, in, size);
        kv_codec_decode(f->none, dtypes[d], wire, COUNT, out + 1);
        assert_memory_equal(out + 1, in, size);
    }
}

/* Two inputs, cut where nothing divides it: nothing is lost to f32. */
static void test_sums_in_their_own_dtype_are_exact_or_wrap_around(void **state)
{
    static const int64_t l[] = {(1ll << 53) + 1, INT64_MAX, -5},
                         one[] = {1, 1, 1};
    static const double d[] = {1, 1e300, -2}, e[] = {0x1p-52, 1e300, 0.5};
    static const uint16_t h[] = {0x6800, 0x3c00, 0}; /* 2048, 1, 0 */
    struct fixture *f = *state;
    int64_t sum[3];
    double wide[3];
    uint16_t narrow[3];

    for (size_t i = 0; i < 3; i++) {
        f->codecs[i] = f->none;
        f->inputs[i] = h;
    }
    kv_codec_sum_own(f->codecs, f->inputs, 3, KV_F16, 0, 3, narrow);
    assert_int_equal(narrow[0], 0x6e00); /* 6144 */
    assert_int_equal(narrow[1], 0x4200); /* 3 */
    f->inputs[0] = l;
    f->inputs[1] = one;
    kv_codec_sum_own(f->codecs, f->inputs, 2, KV_I64, 0, 3, sum);
    assert_true(sum[0] == (1ll << 53) + 2);
    assert_true(sum[1] == INT64_MIN);
    assert_true(sum[2] == -4);
    f->inputs[0] = d;
    f->inputs[1] = e;
    kv_codec_sum_own(f->codecs, f->inputs, 2, KV_F64, 0, 3, wide);
    assert_true(wide[0] == 1 + 0x1p-52);
    assert_true(wide[1] == 2e300);
    assert_true(wide[2] == -1.5);
    f->inputs[0] = &f->encoded[0][1]; /* At any address. */
    memcpy(&f->encoded[0][1], l, sizeof l);
    kv_codec_sum_own(f->codecs, f->inputs, 1, KV_I64, 0, 3, sum);
    assert_memory_equal(sum, l, sizeof l);
}

/* Whatever the numbers: an encoded integer comes back as it was. */
static void test_none_keeps_every_bit_of_what_is_not_in_f32(void **state)
{
    static const enum kv_dtype dtypes[] = {KV_F64, KV_I64, KV_I32, KV_I8,
                                           KV_U8};
    static uint8_t in[COUNT], wire[COUNT], out[COUNT];
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT; i++) {
        in[i] = (uint8_t)chance(&f->chance, 256);
    }
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        size_t count = COUNT / kv_dtype_size(dtypes[d]);

        assert_true(f->none->accepts(dtypes[d]));
        assert_false(f->fp16->accepts(dtypes[d]));
        f->none->encode(dtypes[d], in, count, wire);
        kv_codec_decode(f->none, dtypes[d], wire, count, out);
        assert_memory_equal(out, in, count * kv_dtype_size(dtypes[d]));
    }
}

static void test_fp16_halves_the_bytes_of_f32_and_takes_only_that(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(f->fp16->encoded_size(KV_F32, 1000), 2000);
    assert_true(f->fp16->accepts(KV_F32));
    assert_false(f->fp16->accepts(KV_F16));
    assert_false(f->fp16->accepts(KV_BF16));
}

static void test_fp16_comes_back_within_half_a_unit(void **state)
{
    static uint16_t wire[COUNT];
    struct fixture *f = *state;

    fill_gradient(f);
    f->fp16->encode(KV_F32, f->gradient, COUNT, wire);
    kv_codec_decode(f->fp16, KV_F32, wire, COUNT, f->out);
    for (size_t i = 0; i < COUNT; i++) {
        float lost = fabsf(f->out[i] - f->gradient[i]);

        assert_true(lost <= fabsf(f->gradient[i]) / 2048 + 3e-8f);
    }
    /* What came back is exact, so a second time loses nothing. */
    memcpy(f->right, f->out, sizeof f->right);
    f->fp16->encode(KV_F32, f->out, COUNT, wire);
    kv_codec_decode(f->fp16, KV_F32, wire, COUNT, f->out);
    assert_memory_equal(f->out, f->right, sizeof f->right);
}

static void test_fp16_shows_overflow_and_nan_instead_of_hiding_them(void **s)
{
    static const float in[] = {65504, 65536, -1e30f, INFINITY, NAN, 1e-9f};
    struct fixture *f = *s;
    uint16_t wire[6];
    float out[6];

    f->fp16->encode(KV_F32, in, 6, wire);
    f->fp16->decode(KV_F32, wire, 0, 6, out);
    assert_true(out[0] == 65504 && out[1] == INFINITY && out[2] == -INFINITY);
    assert_true(out[3] == INFINITY && isnan(out[4]) && out[5] == 0);
}

static void test_decoding_may_start_at_any_grain(void **state)
{
    static const enum kv_dtype dtype = KV_F32;
    struct fixture *f = *state;

    add_input(f, 0, f->none, dtype);
    add_input(f, 1, f->fp16, dtype);
    for (size_t k = 0; k < 2; k++) {
        for (size_t i = 0; i < COUNT; i += KV_CODEC_GRAIN) {
            f->codecs[k]->decode(dtype, f->inputs[k], i, 3, f->out);
            assert_memory_equal(f->out, f->decoded[k] + i, 3 * 4);
        }
    }
}

static void test_a_sum_of_encoded_inputs_is_the_fold_of_decoded(void **state)
{
    struct fixture *f = *state;
    const struct kv_codec *codecs[] = {f->none, f->fp16, &packed};

    for (size_t c = 0; c < 3; c++) {
        for (size_t n = 1; n <= INPUTS_MAX; n++) {
            add_input(f, n - 1, codecs[c], KV_F32);
            expect_sum(f, n, KV_F32);
        }
    }
}

static void test_each_rank_may_use_its_own_codec(void **state)
{
    struct fixture *f = *state;
    const struct kv_codec *codecs[] = {f->none, f->fp16, &packed};

    for (size_t n = 1; n <= INPUTS_MAX; n++) {
        add_input(f, n - 1, codecs[chance(&f->chance, 3)], KV_F32);
        expect_sum(f, n, KV_F32);
    }
}

static void test_narrow_tensors_are_summed_in_f32(void **state)
{
    struct fixture *f = *state;

    for (size_t n = 1; n <= INPUTS_MAX; n++) {
        add_input(f, n - 1, f->none, KV_F16);
        expect_sum(f, n, KV_F16);
    }
    for (size_t n = 1; n <= INPUTS_MAX; n++) {
        add_input(f, n - 1, f->none, KV_BF16);
        expect_sum(f, n, KV_BF16);
    }
}

static void test_one_plain_f32_input_is_not_copied(void **state)
{
    struct fixture *f = *state;
    const void *input = f->gradient;
    const void *odd = f->encoded[0] + 1;

    fill_gradient(f);
    assert_ptr_equal(
        kv_codec_sum_view(&f->none, &input, 1, KV_F32, 128, 64, f->out),
        f->gradient + 128);

    memcpy(f->encoded[0] + 1, f->gradient, sizeof f->gradient);
    assert_ptr_equal(
        kv_codec_sum_view(&f->none, &odd, 1, KV_F32, 128, 64, f->out),
        f->encoded[0] + 1 + 128 * 4); /* Nor if it is not aligned. */
}

static void test_what_has_to_be_computed_goes_to_the_output(void **state)
{
    struct fixture *f = *state;

    add_input(f, 0, f->fp16, KV_F32);
    assert_ptr_equal(
        kv_codec_sum_view(f->codecs, f->inputs, 1, KV_F32, 64, 64, f->out),
        f->out);
    assert_memory_equal(f->out, f->decoded[0] + 64, 64 * 4);
    add_input(f, 1, f->none, KV_F32);
    assert_ptr_equal(
        kv_codec_sum_view(f->codecs, f->inputs, 2, KV_F32, 64, 64, f->out),
        f->out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codecs_are_found_by_name_and_by_wire_number),
        cmocka_unit_test(test_every_codec_in_the_folder_keeps_the_contract),
        cmocka_unit_test(test_none_keeps_every_bit_of_every_stored_format),
        cmocka_unit_test(test_none_keeps_every_bit_of_what_is_not_in_f32),
        cmocka_unit_test(test_sums_in_their_own_dtype_are_exact_or_wrap_around),
        cmocka_unit_test(test_fp16_halves_the_bytes_of_f32_and_takes_only_that),
        cmocka_unit_test(test_fp16_comes_back_within_half_a_unit),
        cmocka_unit_test(
            test_fp16_shows_overflow_and_nan_instead_of_hiding_them),
        cmocka_unit_test(test_decoding_may_start_at_any_grain),
        cmocka_unit_test(test_a_sum_of_encoded_inputs_is_the_fold_of_decoded),
        cmocka_unit_test(test_each_rank_may_use_its_own_codec),
        cmocka_unit_test(test_narrow_tensors_are_summed_in_f32),
        cmocka_unit_test(test_one_plain_f32_input_is_not_copied),
        cmocka_unit_test(test_what_has_to_be_computed_goes_to_the_output),
    };

    return cmocka_run_group_tests_name("codec", tests, set_up, NULL);
}
