/* groupadagrad on slices: one number of state a row, whole rows at a time. */
#include <math.h>

#include "common/base/bytes.h"
#include "common/compute/dtype.h"
#include "tests/unit/chance.h"
#include "tests/unit/shard_fixture.h"

enum { COUNT_MAX = 30000, ROWS_MAX = 2000 };

static uint64_t seed;

/* What a slice should be, by the formula, in double. */
static struct table {
    size_t rows, width;
    double w[COUNT_MAX], h[ROWS_MAX];
} right;

static float gradient[COUNT_MAX], value[COUNT_MAX];
static uint16_t half[COUNT_MAX];

/* --- Steps ---------------------------------------------------------------- */

static void number(void)
{
    for (size_t i = 0; i < right.rows * right.width; i++) {
        gradient[i] = (float)chance(&seed, 4001) / 1000 - 2;
    }
    kv_from_f32(KV_F16, gradient, half, right.rows * right.width);
    kv_to_f32(KV_F16, half, gradient, right.rows * right.width);
}

/* The rows of `rows`, or all; their gradients lie one behind the other. */
static void apply(const uint32_t *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t row = rows == NULL ? i : rows[i];
        const float *g = gradient + i * right.width;
        double sum = 0;

        for (size_t n = 0; n < right.width; n++) {
            sum += pow((double)g[n], 2);
        }
        right.h[row] += sum / (double)right.width;
        for (size_t n = 0; n < right.width; n++) {
            right.w[row * right.width + n] -=
                0.1 * (double)g[n] / sqrt(right.h[row] + 1e-5);
        }
    }
}

static uint32_t open_table(struct fixture *f, uint32_t key_id,
                           enum kv_dtype dtype, size_t rows, size_t width,
                           bool sparse)
{
    struct slice_desc d = {key_id,
                           0,
                           dtype,
                           rows * width,
                           sparse ? width : 0,
                           1,
                           false,
                           sparse ? 0 : width,
                           0};
    const struct seen *s;

    memset(&right, 0, sizeof right);
    right.rows = rows;
    right.width = width;
    number();
    for (size_t i = 0; i < rows * width; i++) {
        right.w[i] = (double)gradient[i];
    }
    shard_open(f->shard, 0, 1, &d,
               dtype == KV_F32 ? (void *)gradient : (void *)half,
               rows * width * kv_dtype_size(dtype));
    s = next_seen(f);
    expect_status(s, KV_OK);
    expect_silence(f);
    return s->slot;
}

static void push_all(struct fixture *f, uint32_t slot, uint64_t round,
                     enum kv_dtype dtype)
{
    number();
    shard_push(f->shard, 0, slot, round, 0,
               dtype == KV_F32 ? (void *)gradient : (void *)half,
               right.rows * right.width * kv_dtype_size(dtype), NULL);
    expect_ack(f, 0, slot, round);
    apply(NULL, right.rows);
}

static void push_some(struct fixture *f, uint32_t slot, uint64_t round,
                      enum kv_dtype dtype)
{
    static unsigned char payload[12 + COUNT_MAX * 4];
    const uint32_t rows[] = {1, (uint32_t)right.rows - 1};
    size_t size = 2 * right.width * kv_dtype_size(dtype);

    number();
    bytes_put_u32(payload, 2);
    bytes_put_u32(payload + 4, rows[0]);
    bytes_put_u32(payload + 8, rows[1]);
    memcpy(payload + 12, dtype == KV_F32 ? (void *)gradient : (void *)half,
           size);
    shard_push_rows(f->shard, 0, slot, round, 0, payload, 12 + size, NULL);
    expect_ack(f, 0, slot, round);
    apply(rows, 2);
}

static void expect_right(struct fixture *f, uint32_t slot, enum kv_dtype dtype)
{
    double tolerance = dtype == KV_F32 ? 1e-5 : 2e-3;

    f->copy_to = dtype == KV_F32 ? (void *)value : (void *)half;
    shard_pull(f->shard, 0, slot, 0);
    f->copy_to = NULL;
    expect_status(next_seen(f), KV_OK);
    expect_silence(f);
    if (dtype != KV_F32) {
        kv_to_f32(dtype, half, value, right.rows * right.width);
    }
    for (size_t i = 0; i < right.rows * right.width; i++) {
        if (!(fabs((double)value[i] - right.w[i]) <=
              tolerance * (1 + fabs(right.w[i])))) {
            fail_msg("[%zu] is %.9g, not %.9g", i, (double)value[i],
                     right.w[i]);
        }
    }
}

/* --- Tests ---------------------------------------------------------------- */

static const struct {
    size_t rows, width; /* Long rows, short ones, and just a block. */
} shapes[] = {{3, 5003}, {1900, 3}, {7, 2048}, {9, 2049}, {1500, 1}};

static void test_each_row_has_its_own_rate_in_any_life(void **state)
{
    struct fixture *f = *state;

    set_optimizer(f, "groupadagrad", "lr=0.1,multi_precision=1");
    for (uint32_t i = 0; i < sizeof shapes / sizeof *shapes * 4; i++) {
        enum kv_dtype dtype = i % 2 == 0 ? KV_F32 : KV_F16;
        bool sparse = i / 2 % 2 == 1;
        uint32_t slot = open_table(f, i, dtype, shapes[i / 4].rows,
                                   shapes[i / 4].width, sparse);

        for (uint64_t round = 1; round <= 4; round++) {
            if (sparse && round > 1) {
                push_some(f, slot, round, dtype);
            } else {
                push_all(f, slot, round, dtype);
            }
            crash(f);
            expect_right(f, slot, dtype);
        }
    }
}

/* With no masters: the weights are rounded each time. */
static void test_halves_are_trained_without_a_master_too(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = open_table(f, 1, KV_F16, 4, 3000, false);

    set_optimizer(f, "groupadagrad", "lr=0.1");
    for (uint64_t round = 1; round <= 2; round++) {
        push_all(f, slot, round, KV_F16);
    }
    expect_right(f, slot, KV_F16);
}

static void test_there_is_one_number_of_state_a_row(void **state)
{
    struct shard_census c;
    struct fixture *f = *state;

    set_optimizer(f, "groupadagrad", "");
    open_table(f, 1, KV_F32, 7, 100, false);
    open_table(f, 2, KV_F32, 5, 100, true);
    shard_census(f->shard, &c);
    assert_int_equal(c.value_bytes, 12 * 100 * 4);
    assert_int_equal(c.state_bytes, 12 * 4);
}

static void test_rows_that_slices_cut_are_refused(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = create(f, 1, 64, 1);

    set_optimizer(f, "groupadagrad", "");
    push(f, 0, slot, 1, 64, 1);
    expect_refused(f, KV_ENOTSUP, "whose rows are cut, and groupadagrad");
    expect_state(f, slot, 1);
}

/* From rows of state to elements of state and back. */
static void test_another_optimizer_starts_with_fresh_state(void **state)
{
    struct fixture *f = *state;
    uint32_t dense = open_table(f, 1, KV_F32, 5, 30, false);
    uint32_t sparse = open_table(f, 2, KV_F32, 5, 30, true);

    for (uint64_t round = 1; round <= 6; round += 2) {
        set_optimizer(f, "groupadagrad", "lr=0.1");
        push_all(f, dense, round, KV_F32);
        push_all(f, sparse, round, KV_F32);
        crash(f);
        set_optimizer(f, "adam", "");
        push_all(f, dense, round + 1, KV_F32);
        push_some(f, sparse, round + 1, KV_F32);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_each_row_has_its_own_rate_in_any_life, set_up_alone),
        TEST(test_halves_are_trained_without_a_master_too, set_up_alone),
        TEST(test_there_is_one_number_of_state_a_row, set_up_alone),
        TEST(test_rows_that_slices_cut_are_refused, set_up_alone),
        TEST(test_another_optimizer_starts_with_fresh_state, set_up_alone),
    };

    seed = chance_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
