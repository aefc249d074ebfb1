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
    struct rows_entry entries[2 * COUNT_MAX], spare[2 * COUNT_MAX];
    int64_t out[2 * COUNT_MAX];
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

static void play(struct fixture *f, uint64_t *x, int64_t limit)
{
    struct rows_part parts[2];
    size_t total = 0, unique, seen = 0;
    struct rows_entry *sorted;

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
        total += count;
    }
    rows_list(parts, 2, f->entries);
    sorted = rows_sort(f->entries, f->spare, total);
    unique = rows_sum(sorted, total, parts, KV_F32, LENGTH, f->out, f->sums);
    assert_true(rows_ascending(f->out, unique, limit));
    for (size_t i = 0; i < unique; i++) {
        assert_true(f->there[f->out[i]]);
        assert_memory_equal(f->sums[i], f->table[f->out[i]], sizeof f->sums[i]);
    }
    for (int64_t row = 0; row < limit; row++) {
        assert_int_equal(rows_below(f->out, unique, row), seen);
        seen += f->there[row];
    }
    assert_int_equal(seen, unique);
    assert_int_equal(rows_unique(sorted, total, f->out), unique);
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
    struct rows_entry e[] = {{INT64_C(1) << 40, 0, 0},
                             {3, 0, 1},
                             {(INT64_C(1) << 40) - 1, 0, 2},
                             {INT64_MAX, 0, 3},
                             {3, 0, 4}};
    struct rows_entry spare[5], *sorted = rows_sort(e, spare, 5);
    uint32_t order[] = {1, 4, 2, 0, 3};

    (void)state;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(sorted[i].at, order[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ascending_means_each_once_and_in_range),
        cmocka_unit_test(test_every_integer_type_is_read),
        cmocka_unit_test(test_a_row_out_of_range_is_pointed_at),
        cmocka_unit_test(test_rows_are_summed_in_the_order_given),
        cmocka_unit_test(test_large_numbers_are_sorted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
