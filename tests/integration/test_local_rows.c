/* What MXNet's own tests of a store in one process demand of row_sparse values,
 * tests/python/unittest/test_kvstore.py, with int keys and with string keys;
 * and what is refused. */
#include "tests/unit/chance.h"
#include "tests/unit/local_rows_fixture.h"

static const struct kvw_key both[] = {{NULL, 3}, {"a", 0}};

#define EACH_KEY_KIND(key)                                                     \
    for (const struct kvw_key *key = both; key != NULL;                        \
         key = key == both ? (another_store(), both + 1) : NULL)

/* --- MXNet's -------------------------------------------------------------- */

static void test_rows_of_ones_are_pulled_from_a_dense_value(void **state)
{
    (void)state;
    EACH_KEY_KIND(key)
    {
        init_table(*key, KVW_DENSE, 0);
        PUT(0, 1, 0, 1, 2, 3);
        push_rows(*key, 1);
        EXPECT_TABLE(*key, 1, 1, 1, 1);
    }
}

static void test_rows_of_four_devices_come_to_their_dense_sum(void **state)
{
    const float sum[ROWS] = {1 + 8, 0, 1 + 2 + 4, 2 + 4 + 8};

    (void)state;
    EACH_KEY_KIND(key)
    {
        init_table(*key, KVW_ROW_SPARSE, 5);
        PUT(0, 1, 0, 2);
        PUT(1, 2, 2, 3);
        PUT(2, 4, 3, 2);
        PUT(3, 8, 0, 3);
        push_rows(*key, 4);
        expect_table(*key, sum);
        pull_all_rows(*key, 4);
        for (int i = 0; i < 4; i++) {
            for (int row = 0; row < ROWS; row++) {
                expect_all(data[i] + (ptrdiff_t)row * LENGTH, LENGTH, sum[row]);
            }
        }
    }
}

/* Each of four devices has some rows, each with a number of its own. */
static void test_random_rows_come_to_their_dense_sum(void **state)
{
    uint64_t seed = chance_seed();

    (void)state;
    EACH_KEY_KIND(key)
    {
        init_table(*key, KVW_ROW_SPARSE, 0);
        for (int repeat = 0; repeat < 50; repeat++) {
            float sum[ROWS] = {0};

            for (unsigned device = 0; device < DEVICES_MAX; device++) {
                int64_t some[ROWS];
                uint64_t count = 0;
                float value = (float)chance(&seed, 100);

                for (int64_t row = 0; row < ROWS; row++) {
                    if (chance(&seed, 2) == 0) {
                        some[count++] = row;
                        sum[row] += value;
                    }
                }
                put(device, some, count, value);
            }
            push_rows(*key, DEVICES_MAX);
            expect_table(*key, sum);
            pull_all_rows(*key, DEVICES_MAX);
            for (int i = 0; i < DEVICES_MAX * ROWS; i++) {
                expect_all(data[i / ROWS] + (ptrdiff_t)(i % ROWS) * LENGTH,
                           LENGTH, sum[i % ROWS]);
            }
        }
    }
}

/* MXNet's row numbers were f32 once, and those lose the last ones. */
static void test_rows_with_large_numbers_are_all_there(void **state)
{
    enum { MANY = 793470 };
    float *ones = calloc(MANY, sizeof *ones);
    int64_t *numbers = calloc(MANY, sizeof *numbers);
    struct kvw_row_ids ids = {numbers, KVW_I64, MANY};
    struct kvw_tensor t = kvw_f32_rows(ones, NULL, MANY, MANY, 1);
    struct kvw_item item = {kvw_int(99), &t, 1};
    struct kvw_row_pull pull = {kvw_int(99), &t, 1, &ids, 1};

    (void)state;
    assert_true(ones != NULL && numbers != NULL);
    for (int64_t row = 0; row < MANY; row++) {
        numbers[row] = row;
    }
    fill(ones, MANY, 1);
    expect_ok(kvw_init(kv, &item, 1));
    fill(ones, MANY, -1);
    t.rows = numbers;
    expect_ok(kvw_row_sparse_pull(kv, &pull, 1, NULL, NULL));
    wait_all();
    assert_int_equal(t.row_count, MANY);
    assert_int_equal(numbers[MANY - 1], MANY - 1);
    expect_all(ones, MANY, 1);
    free(ones);
    free(numbers);
}

static void test_rows_of_a_key_of_the_other_kind_are_not_there(void **state)
{
    int64_t id = 0;
    struct kvw_row_ids list = {&id, KVW_I64, 1};

    (void)state;
    EACH_KEY_KIND(key)
    {
        struct kvw_key other = key->name == NULL ? kvw_str("3") : kvw_int(0);
        struct kvw_row_pull pull = {other, tensors, 1, &list, 1};
        struct kvw_op *op;

        init_table(*key, KVW_ROW_SPARSE, 4);
        PUT(0, -1, 0);
        expect_ok(kvw_row_sparse_pull(kv, &pull, 1, NULL, &op));
        expect_error(kvw_wait(kv, op, KVW_FOREVER), KVW_ENOTFOUND,
                     key->name == NULL ? "key '3'" : "key 0", NULL);
    }
}

/* `sorted` are the numbers of `ids`, each once and ascending. */
static void expect_ids(struct kvw_key key, const int32_t *ids, uint64_t count,
                       unsigned outs, const int64_t *sorted, uint64_t unique)
{
    struct kvw_row_ids list = {ids, KVW_I32, count};
    struct kvw_row_pull pull = {key, tensors, outs, &list, 1};

    for (unsigned i = 0; i < outs; i++) {
        tensors[i] = kvw_f32_rows(data[i], rows[i], SOME, ROWS, LENGTH);
        fill(data[i], SOME * LENGTH, -7);
    }
    expect_ok(kvw_row_sparse_pull(kv, &pull, 1, NULL, NULL));
    wait_all();
    for (unsigned i = 0; i < outs; i++) {
        assert_int_equal(tensors[i].row_count, unique);
        assert_memory_equal(rows[i], sorted, unique * sizeof *sorted);
        for (uint64_t n = 0; n < unique; n++) {
            expect_all(data[i] + n * LENGTH, LENGTH, (float)sorted[n] + 1);
        }
        expect_all(data[i] + unique * LENGTH, (SOME - unique) * LENGTH, -7);
    }
}

static void test_the_rows_that_ids_name_are_pulled(void **state)
{
    (void)state;
    EACH_KEY_KIND(key)
    {
        struct kvw_tensor t = whole(KVW_ROW_SPARSE);
        struct kvw_item item = {*key, &t, 1};

        for (int row = 0; row < ROWS; row++) {
            fill(table + (ptrdiff_t)row * LENGTH, LENGTH, (float)row + 1);
        }
        expect_ok(kvw_init(kv, &item, 1));
        for (unsigned outs = 1; outs <= 4; outs += 3) {
            expect_ids(*key, (int32_t[]){0, 2}, 2, outs, (int64_t[]){0, 2}, 2);
            expect_ids(*key, (int32_t[]){2, 2}, 2, outs, (int64_t[]){2}, 1);
            expect_ids(*key, (int32_t[]){1, 0}, 2, outs, (int64_t[]){0, 1}, 2);
            expect_ids(*key, NULL, 0, outs, NULL, 0);
        }
    }
}

static void test_row_sparse_outs_can_be_left_alone(void **state)
{
    struct kvw_call ignore = {.flags = KVW_IGNORE_SPARSE};
    float other[EACH];
    struct kvw_tensor t[2] = {whole(KVW_ROW_SPARSE), kvw_f32(other, EACH)};

    (void)state;
    EACH_KEY_KIND(key)
    {
        struct kvw_key dense = key->name == NULL ? kvw_int(9) : kvw_str("nine");
        struct kvw_item items[2] = {{*key, &t[0], 1}, {dense, &t[1], 1}};

        init(dense, 6);
        init_table(*key, KVW_ROW_SPARSE, 4);
        fill(table, ROWS * LENGTH, 8);
        fill(other, EACH, 8);
        expect_ok(kvw_pull(kv, items, 1, &ignore, NULL));
        wait_all();
        expect_all(table, ROWS * LENGTH, 8);
        expect_ok(kvw_pull(kv, items, 2, &ignore, NULL));
        wait_all();
        expect_all(table, ROWS * LENGTH, 8);
        expect_all(other, EACH, 6);
        expect_ok(kvw_pull(kv, items, 1, NULL, NULL));
        wait_all();
        expect_all(table, ROWS * LENGTH, 4);
    }
}

static void test_a_broadcast_into_another_table_registers_nothing(void **state)
{
    struct kvw_tensor from = whole(KVW_ROW_SPARSE), out = whole(KVW_ROW_SPARSE);
    struct kvw_item in = {kvw_str("t"), &from, 1};
    struct kvw_item wrong = {kvw_str("t"), &out, 1};

    (void)state;
    out.shape[0]++;
    expect_error(kvw_broadcast(kv, &in, &wrong, 1), KVW_EMISMATCH, "key 't'",
                 "its out");
    out.shape[0]--;
    expect_ok(kvw_broadcast(kv, &in, &wrong, 1));
}

static void test_rows_are_not_pulled_into_a_dense_tensor(void **state)
{
    int64_t id = 0;
    struct kvw_row_ids list = {&id, KVW_I64, 1};
    struct kvw_tensor t = whole(KVW_DENSE);

    (void)state;
    EACH_KEY_KIND(key)
    {
        struct kvw_row_pull pull = {*key, &t, 1, &list, 1};

        init_table(*key, KVW_ROW_SPARSE, 4);
        expect_error(kvw_row_sparse_pull(kv, &pull, 1, NULL, NULL), KVW_EINVAL,
                     "is row_sparse", NULL);
    }
}

static void test_two_whole_pushes_of_ones_are_twos(void **state)
{
    (void)state;
    EACH_KEY_KIND(key)
    {
        init_table(*key, KVW_ROW_SPARSE, 1);
        PUT(0, 1, 0, 1, 2, 3);
        PUT(1, 1, 0, 1, 2, 3);
        push_rows(*key, 2);
        for (int64_t id = 0; id < ROWS; id++) {
            struct kvw_row_ids list = {&id, KVW_I64, 1};
            struct kvw_row_pull pull = {*key, tensors, 1, &list, 1};

            PUT(0, -1, 0);
            expect_ok(kvw_row_sparse_pull(kv, &pull, 1, NULL, NULL));
            wait_all();
            assert_int_equal(rows[0][0], id);
            expect_all(data[0], LENGTH, 2);
        }
    }
}

/* --- Bad input ------------------------------------------------------------ */

static void test_a_row_that_is_none_is_named(void **state)
{
    struct kvw_item item = {kvw_str("t"), tensors, 1};

    (void)state;
    init_table(kvw_str("t"), KVW_ROW_SPARSE, 1);
    PUT(0, 1, 1, ROWS);
    expect_error(kvw_push(kv, &item, 1, NULL, NULL), KVW_EINVAL,
                 "key 't': row 4 (number 1 of 2) is not one of its 4 rows",
                 NULL);
    PUT(0, 1, -1);
    expect_error(kvw_push(kv, &item, 1, NULL, NULL), KVW_EINVAL, "row -1",
                 NULL);
    EXPECT_TABLE(kvw_str("t"), 1, 1, 1, 1);
}

static void test_rows_need_a_key_that_has_them(void **state)
{
    struct kvw_item items[2] = {{kvw_str("t"), tensors, 1},
                                {kvw_str("d"), tensors, 1}};
    struct kvw_op *op;

    (void)state;
    init_table(kvw_str("t"), KVW_ROW_SPARSE, 1);
    init_table(kvw_str("d"), KVW_DENSE, 1);
    PUT(0, 1, 2);
    expect_ok(kvw_pull(kv, items, 2, NULL, &op));
    expect_error(kvw_wait(kv, op, KVW_FOREVER), KVW_EMISMATCH, "key 'd'",
                 "registered as a dense one");
    items[1].key = kvw_str("nobody");
    expect_ok(kvw_push(kv, items, 2, NULL, &op));
    expect_error(kvw_wait(kv, op, KVW_FOREVER), KVW_ENOTFOUND, "'nobody'",
                 NULL);
    tensors[0].shape[1] = 2;
    expect_ok(kvw_push(kv, items, 1, NULL, &op));
    expect_error(kvw_wait(kv, op, KVW_FOREVER), KVW_EMISMATCH, "(4,2)",
                 "(4,4)");
    EXPECT_TABLE(kvw_str("t"), 1, 1, 1, 1); /* By none of these. */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_rows_of_ones_are_pulled_from_a_dense_value),
        TEST(test_rows_of_four_devices_come_to_their_dense_sum),
        TEST(test_random_rows_come_to_their_dense_sum),
        TEST(test_rows_with_large_numbers_are_all_there),
        TEST(test_rows_of_a_key_of_the_other_kind_are_not_there),
        TEST(test_the_rows_that_ids_name_are_pulled),
        TEST(test_row_sparse_outs_can_be_left_alone),
        TEST(test_a_broadcast_into_another_table_registers_nothing),
        TEST(test_rows_are_not_pulled_into_a_dense_tensor),
        TEST(test_two_whole_pushes_of_ones_are_twos),
        TEST(test_a_row_that_is_none_is_named),
        TEST(test_rows_need_a_key_that_has_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
