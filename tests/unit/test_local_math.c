/* local_math: large values, piece by piece on a team, to the same bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/compute/denormals.h"
#include "common/compute/sum.h"
#include "tests/unit/chance.h"
#include "worker/local_update.h"

enum { INPUTS = 3, SLOTS = 2 };

/* Odd, many pieces, and large enough to be written past the caches. */
static const size_t counts[] = {1, 511, 16384, 16385, 300001, 4200001};

struct fixture {
    struct team *team;
    size_t count;
    float *inputs[INPUTS];
    float *out, *right;
};

static struct fixture f;

static int set_up(void **state)
{
    size_t most = counts[sizeof counts / sizeof *counts - 1];
    uint64_t x = chance_seed();

    (void)state;
    kv_flush_denormals();
    for (int k = 0; k < INPUTS; k++) {
        f.inputs[k] = malloc(most * sizeof(float));
        for (size_t i = 0; i < most; i++) {
            f.inputs[k][i] = (float)chance(&x, 1 << 24) / (float)(k + 3);
        }
    }
    f.out = malloc((most + 1) * sizeof(float));
    f.right = malloc((most + 32) * sizeof(float));
    return team_new(&f.team, 3) == KV_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    team_free(f.team);
    for (int k = 0; k < INPUTS; k++) {
        free(f.inputs[k]);
    }
    free(f.out);
    free(f.right);
    return 0;
}

static const void *const *inputs(void)
{
    return (const void *const *)f.inputs;
}

/* What is behind the result must stay. */
static void expect_right(size_t size)
{
    unsigned char *end = (unsigned char *)f.out + size;

    assert_memory_equal(f.out, f.right, size);
    assert_int_equal(*end, 99);
}

static void mark_end(size_t size)
{
    ((unsigned char *)f.out)[size] = 99;
}

static void test_a_sum_has_the_bits_of_one_thread(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        mark_end(counts[c] * 4);
        kv_sum(KV_F32, f.right, inputs(), INPUTS, counts[c]);
        local_sum(f.team, KV_F32, counts[c], f.out, inputs(), INPUTS);
        expect_right(counts[c] * 4);
    }
}

static void test_narrow_sums_are_the_same_too(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        mark_end(counts[c] * 2);
        kv_sum(KV_BF16, f.right, inputs(), INPUTS, counts[c]);
        local_sum(f.team, KV_BF16, counts[c], f.out, inputs(), INPUTS);
        expect_right(counts[c] * 2);
    }
}

/* To addresses that share no cache line's start. */
static void test_a_copy_reaches_every_byte_of_every_tensor(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        size_t size = counts[c] * 4 - 3;
        void *outs[] = {f.out, (char *)f.right + 1};

        mark_end(size);
        local_copy(f.team, size, f.inputs[0], outs, 2);
        assert_memory_equal(outs[1], f.inputs[0], size);
        memcpy(f.right, f.inputs[0], size);
        expect_right(size);
    }
}

/* In place, twice; against the whole value at once, out of place. */
static void test_an_update_has_the_bits_of_the_rule_itself(void **state)
{
    size_t count = 300001;
    float *sum = malloc(count * sizeof *sum);
    float *slot[2][SLOTS], *weight[2] = {f.out, f.right};
    unsigned char step[KV_OPTIM_STEP_MAX];
    struct kv_optim_spec spec;
    char error[KV_OPTIM_ERROR_MAX];

    (void)state;
    assert_int_equal(kv_optim_parse("adam", "lr=0.1", &spec, error, 1), KV_OK);
    for (int side = 0; side < 2; side++) {
        memcpy(weight[side], f.inputs[2], count * sizeof(float));
        for (int s = 0; s < SLOTS; s++) {
            slot[side][s] = calloc(count, sizeof(float));
        }
    }
    kv_sum(KV_F32, sum, inputs(), INPUTS, count);
    mark_end(count * 4);
    for (uint64_t t = 1; t <= 2; t++) {
        struct local_update u = {.dtype = KV_F32,
                                 .count = count,
                                 .weights = f.out,
                                 .slots = (void *const *)slot[0],
                                 .slot_count = SLOTS,
                                 .inputs = inputs(),
                                 .input_count = INPUTS,
                                 .optim = spec.optim,
                                 .step = step};
        struct kv_optim_args args = {.count = count,
                                     .weight = f.right,
                                     .new_weight = f.right,
                                     .gradient = sum,
                                     .step = step};

        for (int s = 0; s < SLOTS; s++) {
            args.slot[s] = args.new_slot[s] = slot[1][s];
        }
        kv_optim_prepare(&spec, KV_F32, NULL, t, step);
        local_update(f.team, &u);
        spec.optim->update(&args);
        expect_right(count * 4);
    }
    for (int s = 0; s < SLOTS; s++) {
        assert_memory_equal(slot[0][s], slot[1][s], count * sizeof(float));
        free(slot[0][s]);
        free(slot[1][s]);
    }
    free(sum);
}

/* Every third row of a table, against the rule on each of them. */
static void expect_rows(const struct kv_optim_spec *spec, size_t length)
{
    size_t rows = 300000 / length, count = (rows + 2) / 3;
    size_t state = spec->optim->rows ? 1 : length;
    float *slot[2] = {calloc(rows * state, 4), calloc(rows * state, 4)};
    int64_t *numbers = calloc(count, sizeof *numbers);
    unsigned char step[KV_OPTIM_STEP_MAX];
    struct local_update u = {.dtype = KV_F32,
                             .count = count * length,
                             .rows = {numbers, count, length},
                             .weights = f.out,
                             .slots = (void *const *)slot,
                             .slot_count = 1,
                             .inputs = inputs(),
                             .input_count = 1,
                             .width = length,
                             .optim = spec->optim,
                             .step = step};

    memcpy(f.out, f.inputs[2], rows * length * 4);
    memcpy(f.right, f.inputs[2], rows * length * 4);
    mark_end(rows * length * 4);
    kv_optim_prepare(spec, KV_F32, NULL, 1, step);
    for (size_t i = 0; i < count; i++) {
        float *weight = f.right + 3 * i * length;
        float *own = slot[1] + 3 * i * state;
        struct kv_optim_args args = {.count = length,
                                     .weight = weight,
                                     .new_weight = weight,
                                     .gradient = f.inputs[0] + i * length,
                                     .slot = {own},
                                     .new_slot = {own},
                                     .step = step,
                                     .row_length = length};

        numbers[i] = (int64_t)(3 * i);
        spec->optim->update(&args);
    }
    local_update(f.team, &u);
    expect_right(rows * length * 4);
    assert_memory_equal(slot[0], slot[1], rows * state * 4);
    free(slot[0]);
    free(slot[1]);
    free(numbers);
}

static void test_rows_have_the_bits_of_the_rule_itself(void **state)
{
    static const size_t lengths[] = {1, 3, 64, 700, 30000};
    struct kv_optim_spec spec;
    char error[KV_OPTIM_ERROR_MAX];

    (void)state;
    for (size_t i = 0; i < 2 * sizeof lengths / sizeof *lengths; i++) {
        assert_int_equal(kv_optim_parse(i % 2 == 0 ? "adagrad" : "groupadagrad",
                                        "lr=0.1", &spec, error, sizeof error),
                         KV_OK);
        expect_rows(&spec, lengths[i / 2]);
    }
}

/* As optim.h says: by block, and the blocks in order. */
static void sums_of(const struct kv_optim *optim, const void *step,
                    const float *gradient, size_t count, unsigned pass,
                    double *total)
{
    memset(total, 0, KV_OPTIM_NORMS_MAX * sizeof *total);
    for (size_t i = 0; i < count; i += KV_OPTIM_BLOCK) {
        double block[KV_OPTIM_NORMS_MAX] = {0};
        struct kv_optim_args args = {.count = KV_OPTIM_BLOCK,
                                     .weight = f.inputs[2] + i,
                                     .gradient = gradient + i,
                                     .slot = {f.inputs[0] + i, f.inputs[1] + i},
                                     .step = step};

        args.count = count - i < KV_OPTIM_BLOCK ? count - i : KV_OPTIM_BLOCK;
        optim->measure(&args, pass, block);
        for (unsigned n = 0; n < KV_OPTIM_NORMS_MAX; n++) {
            total[n] += block[n];
        }
    }
}

static void test_norms_are_summed_as_on_a_server(void **state)
{
    size_t most = counts[sizeof counts / sizeof *counts - 1];
    double total[KV_OPTIM_NORMS_MAX], expected[KV_OPTIM_NORMS_MAX];
    unsigned char step[KV_OPTIM_STEP_MAX];
    struct kv_optim_spec spec;
    char error[KV_OPTIM_ERROR_MAX];

    (void)state;
    assert_int_equal(kv_optim_parse("lans", "lr=0.1", &spec, error, 1), KV_OK);
    kv_optim_prepare(&spec, KV_F32, NULL, 1, step);
    kv_sum(KV_F32, f.out, inputs(), INPUTS, most);
    for (size_t c = 0; c < 2 * sizeof counts / sizeof *counts; c++) {
        size_t count = counts[c / 2];
        struct local_update u = {.dtype = KV_F32,
                                 .count = count,
                                 .weights = f.inputs[2],
                                 .slots = (void *const *)f.inputs,
                                 .slot_count = SLOTS,
                                 .inputs = inputs(),
                                 .input_count = INPUTS,
                                 .room = f.right,
                                 .optim = spec.optim,
                                 .step = step};

        assert_true(local_update_room(spec.optim, KV_F32, count, INPUTS) <=
                    (count + 24) * sizeof(float));
        local_measure(f.team, &u, c % 2, total);
        sums_of(spec.optim, step, f.out, count, c % 2, expected);
        assert_memory_equal(total, expected, sizeof total);
        assert_true(total[0] > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_sum_has_the_bits_of_one_thread),
        cmocka_unit_test(test_narrow_sums_are_the_same_too),
        cmocka_unit_test(test_a_copy_reaches_every_byte_of_every_tensor),
        cmocka_unit_test(test_an_update_has_the_bits_of_the_rule_itself),
        cmocka_unit_test(test_rows_have_the_bits_of_the_rule_itself),
        cmocka_unit_test(test_norms_are_summed_as_on_a_server),
    };

    return cmocka_run_group_tests_name("local math", tests, set_up, tear_down);
}
