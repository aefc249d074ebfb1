/* Row numbers as callers give them: any order, repeated, any integer type. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/chance.h"
#include "worker/rows.h"

#define LIMIT 5000
#define LENGTH 3
#define COUNT_MAX 3000

static void test_ascending_means_each_once_and_in_range(void **state)
{
    int64_t good[] = {0, 3, 9}, twice[] = {1, 1}, down[] = {2, 1};
    int64_t negative[] = {-1, 0};

    (void)state;
    assert_true(rows_ascending(good, 3, 10));
    assert_false(rows_ascending(good, 3, 9));
    assert_false(rows_ascending(twice, 2, 10));
    assert_false(rows_ascending(down, 2, 10));
    assert_false(rows_ascending(negative, 2, 10));
    assert_true(rows_ascending(NULL, 0, 10));
}

static void test_every_integer_type_is_read(void **state)
{
    uint8_t u8[] = {0, 200};
    int8_t i8[] = {5, 127};
    int32_t i32[] = {7, 1 << 20};
    int64_t i64[] = {9, INT64_C(1) << 40}, out[2];
    size_t bad = 0;

    (void)state;
    assert_int_equal(rows_read(KV_U8, u8, 2, 201, out, &bad), KV_OK);
    assert_int_equal(out[1], 200);
    assert_int_equal(rows_read(KV_I8, i8, 2, 128, out, &bad), KV_OK);
    assert_int_equal(out[0], 5);
    assert_int_equal(rows_read(KV_I32, i32, 2, INT64_MAX, out, &bad), KV_OK);
    assert_int_equal(out[1], 1 << 20);
    assert_int_equal(rows_read(KV_I64, i64, 2, INT64_MAX, out, &bad), KV_OK);
    assert_true(out[1] == INT64_C(1) << 40);
    assert_int_equal(rows_read(KV_F32, i32, 2, 10, out, &bad), KV_ENOTSUP);
}

static void test_a_row_out_of_range_is_pointed_at(void **state)
{
    int32_t rows[] = {3, 10, 4};
    int8_t negative[] = {3, 4, -1};
    int64_t out[3];
    size_t bad = 0;

    (void)state;
    assert_int_equal(rows_read(KV_I32, rows, 3, 10, out, &bad), KV_EINVAL);
    assert_int_equal(bad, 1);
    assert_int_equal(out[bad], 10);
    assert_int_equal(rows_read(KV_I8, negative, 3, 10, out, &bad), KV_EINVAL);
    assert_int_equal(bad, 2);
    assert_int_equal(out[bad], -1);
}

/* --- Merging, against a table of all rows ----------------------------------
 */

struct fixture {
    int64_t rows[2][COUNT_MAX];
    float data[2][COUNT_MAX][LENGTH];
    uint64_t of[2 * COUNT_MAX], spare[2 * COUNT_MAX];
    int64_t out[2 * COUNT_MAX];
    const void *from[2 * COUNT_MAX];
    float sums[2 * COUNT_MAX][LENGTH];
    /* The reference. */
    float table[LIMIT][LENGTH];
    bool there[LIMIT];
};

static void add(struct fixture *f, int64_t row, const float *data)
{
    for (int i = 0; i < LENGTH; i++) {
        f->table[row][i] = f->there[row] ? f->table[row][i] + data[i] : data[i];
    }
    f->there[row] = true;
}

static void expect_sums(const struct fixture *f, size_t unique, int64_t limit)
{
    assert_true(rows_ascending(f->out, unique, limit));
    for (size_t i = 0; i < unique; i++) {
        assert_true(f->there[f->out[i]]);
        assert_memory_equal(f->sums[i], f->table[f->out[i]], sizeof f->sums[i]);
    }
}

/* Rows that stand once are where they were; of the others each has a sum. */
static void expect_scattered(struct fixture *f, const struct rows_marks *marks,
                             const struct rows_part *parts, int64_t limit)
{
    float(*sums)[LENGTH] = calloc(marks->count / 2 + 1, sizeof *sums);
    size_t once = 0, unique = rows_sum(marks, parts, KV_F32, LENGTH, f->out,
                                       f->from, sums);

    for (size_t i = 0; i < unique; i++) {
        const float *row = f->from[i];

        once += row < sums[0] || row >= sums[marks->count / 2];
    }
    assert_true(unique - once <= marks->count - unique);
    rows_copy(f->from, unique, sizeof *sums, f->sums);
    expect_sums(f, unique, limit);
    free(sums);
}

static void play(struct fixture *f, uint64_t *x, int64_t limit)
{
    struct rows_part parts[2];
    struct rows_marks marks = {.of = f->of, .spare = f->spare};
    size_t unique, seen = 0;

    memset(f->there, 0, sizeof f->there);
    for (int p = 0; p < 2; p++) {
        uint32_t count = (uint32_t)chance(x, COUNT_MAX + 1);

        for (uint32_t i = 0; i < count; i++) {
            f->rows[p][i] = (int64_t)chance(x, (uint64_t)limit);
            for (int n = 0; n < LENGTH; n++) {
                f->data[p][i][n] = (float)chance(x, 1000) / 7;
            }
            add(f, f->rows[p][i], f->data[p][i]);
        }
        parts[p] = (struct rows_part){f->rows[p], f->data[p], count};
    }
    rows_sort(&marks, parts, 2);
    unique = rows_sum(&marks, parts, KV_F32, LENGTH, f->out, NULL, f->sums);
    expect_sums(f, unique, limit);
    expect_scattered(f, &marks, parts, limit);
    for (int64_t row = 0; row < limit; row++) {
        assert_int_equal(rows_below(f->out, unique, row), seen);
        seen += f->there[row];
    }
    assert_int_equal(seen, unique);
    assert_int_equal(rows_unique(&marks, f->out), unique);
    assert_true(rows_ascending(f->out, unique, limit));
}

static void test_rows_are_summed_in_the_order_given(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    uint64_t x = chance_seed();

    (void)state;
    for (int i = 0; i < 50; i++) {
        play(f, &x, i % 3 == 0 ? 7 : LIMIT); /* 7: hundreds of each. */
    }
    free(f);
}

static void test_large_numbers_are_sorted(void **state)
{
    const int64_t least = 3, large = INT64_C(1) << 40;
    int64_t rows[] = {large, least, large - 1, (INT64_C(1) << 61) - 1, least};
    int64_t sorted[] = {least, large - 1, large, (INT64_C(1) << 61) - 1},
            out[5];
    struct rows_part part = {rows, NULL, 5};
    uint64_t of[5], spare[5];
    struct rows_marks marks = {.of = of, .spare = spare};

    (void)state;
    rows_sort(&marks, &part, 1);
    assert_int_equal(rows_unique(&marks, out), 4);
    assert_memory_equal(out, sorted, sizeof sorted);
}

static void test_rows_and_places_share_a_word(void **state)
{
    (void)state;
    assert_true(rows_fit(UINT64_C(1) << 61, 8));
    assert_false(rows_fit((UINT64_C(1) << 61) + 1, 8));
    assert_false(rows_fit(UINT64_C(1) << 61, 9));
    assert_true(rows_fit(UINT64_C(1) << 40, 1 << 24));
    assert_true(rows_fit(1, 0));
    assert_true(rows_fit(UINT64_C(1) << 63, 1));
    assert_false(rows_fit(UINT64_MAX, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ascending_means_each_once_and_in_range),
        cmocka_unit_test(test_every_integer_type_is_read),
        cmocka_unit_test(test_a_row_out_of_range_is_pointed_at),
        cmocka_unit_test(test_rows_are_summed_in_the_order_given),
        cmocka_unit_test(test_large_numbers_are_sorted),
        cmocka_unit_test(test_rows_and_places_share_a_word),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
