/* row_sparse values: rows pushed and pulled through real servers. */
#include "tests/integration/worker_fixture.h"

enum {
    ROWS = 300000, /* More than two slices of LENGTH floats. */
    LENGTH = 8,
    SOME = 64
};

static float *table;
static int64_t rows[2][SOME];

static struct kvw_tensor whole(void)
{
    return kvw_f32_rows(table, NULL, ROWS, ROWS, LENGTH);
}

static struct kvw_tensor some(unsigned rank, uint64_t count)
{
    return kvw_f32_rows(g[rank], rows[rank], count, ROWS, LENGTH);
}

/* Every row is `first` on the servers. */
static void init_table(const char *name, float first)
{
    struct kvw_tensor t = whole();
    struct kvw_item item = {kvw_str(name), &t, 1};

    for (int i = 0; i < ROWS * LENGTH; i++) {
        table[i] = first;
    }
    expect_ok(c.kv[0], kvw_init(c.kv[0], &item, 1));
    expect_ok(c.kv[1], kvw_init(c.kv[1], &item, 1));
}

static void push_row(unsigned rank, const char *name, int64_t row,
                     float gradient)
{
    struct kvw_tensor t = some(rank, 1);
    struct kvw_item item = {kvw_str(name), &t, 1};

    rows[rank][0] = row;
    fill(g[rank], LENGTH, gradient);
    expect_ok(c.kv[rank], kvw_push(c.kv[rank], &item, 1, NULL, NULL));
}

static void push_nothing(unsigned rank, const char *name)
{
    struct kvw_tensor t = kvw_f32_rows(NULL, NULL, 0, ROWS, LENGTH);
    struct kvw_item item = {kvw_str(name), &t, 1};

    expect_ok(c.kv[rank], kvw_push(c.kv[rank], &item, 1, NULL, NULL));
}

static void expect_row(unsigned rank, const char *name, int64_t row,
                       float value)
{
    struct kvw_tensor t =
        kvw_f32_rows(w[rank], &rows[rank][SOME - 1], 1, ROWS, LENGTH);
    struct kvw_item item = {kvw_str(name), &t, 1};

    rows[rank][SOME - 1] = row;
    fill(w[rank], LENGTH, -12345);
    expect_ok(c.kv[rank], kvw_pull(c.kv[rank], &item, 1, NULL, NULL));
    expect_ok(c.kv[rank], kvw_wait_all(c.kv[rank], 60000));
    expect_all(w[rank], LENGTH, value);
}

/* --- Rounds --------------------------------------------------------------- */

static void test_rows_of_both_ranks_are_summed(void **state)
{
    (void)state;
    init_table("t", 1);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", "lr=1"));
    push_row(0, "t", 5, 1);
    push_row(1, "t", 5, 2);
    wait_all();
    expect_row(0, "t", 5, -2);
    expect_row(1, "t", 4, 1);
    push_row(0, "t", 0, 1);
    push_row(1, "t", ROWS - 1, 2); /* Another slice, on another shard. */
    wait_all();
    expect_row(1, "t", 0, 0);
    expect_row(0, "t", ROWS - 1, -1);
    expect_row(0, "t", 5, -2);
}

static void test_a_pull_sees_the_round_of_the_push_before_it(void **state)
{
    struct kvw_tensor t = some(0, 1);
    struct kvw_item item = {kvw_str("t"), &t, 1};

    (void)state;
    init_table("t", 0);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", "lr=1"));
    push_row(0, "t", 77, 1);
    expect_ok(c.kv[0], kvw_pull(c.kv[0], &item, 1, NULL, NULL));
    push_row(1, "t", 77, 10);
    wait_all();
    expect_all(g[0], LENGTH, -11);
}

static void test_rows_that_stand_twice_are_summed(void **state)
{
    struct kvw_tensor lists[2] = {some(0, 3), some(1, 2)};
    struct kvw_item item = {kvw_str("t"), lists, 2};

    (void)state;
    init_table("t", 0);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", "lr=1"));
    memcpy(rows[0], (int64_t[]){200000, 3, 200000}, 3 * sizeof(int64_t));
    memcpy(rows[1], (int64_t[]){4, 3}, 2 * sizeof(int64_t));
    fill(g[0], 3 * LENGTH, 1);
    fill(g[1], 2 * LENGTH, 10);
    expect_ok(c.kv[0], kvw_push(c.kv[0], &item, 1, NULL, NULL));
    push_nothing(1, "t");
    wait_all();
    expect_row(0, "t", 200000, -2);
    expect_row(0, "t", 3, -11);
    expect_row(0, "t", 4, -10);
    expect_row(0, "t", 5, 0);
}

/* More than one codec's blocks of them, which lie anywhere. */
static void test_rows_in_any_order_are_compressed(void **state)
{
    static float gradient[SOME * LENGTH];
    struct kvw_tensor t = kvw_f32_rows(gradient, rows[0], SOME, ROWS, LENGTH);
    struct kvw_item item = {kvw_str("t"), &t, 1};

    (void)state;
    init_table("t", 0);
    expect_ok(c.kv[0], kvw_set_gradient_compression(c.kv[0], "type=fp16"));
    expect_ok(c.kv[1], kvw_set_gradient_compression(c.kv[1], "type=fp16"));
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", "lr=1"));
    for (int i = 0; i < SOME; i++) { /* Each row but the last two once. */
        rows[0][i] = (int64_t)(SOME - 2 - (i < SOME - 1 ? i : 0)) * 4000;
        fill(gradient + i * LENGTH, LENGTH, 1 + (float)i / 64 + 1e-6f);
    }
    expect_ok(c.kv[0], kvw_push(c.kv[0], &item, 1, NULL, NULL));
    push_nothing(1, "t");
    wait_all();
    expect_row(0, "t", (SOME - 2) * 4000, -1 - (1 + (SOME - 1) / 64.0f));
    for (int i = 1; i < SOME - 1; i++) {
        expect_row(1, "t", (int64_t)(SOME - 2 - i) * 4000, -1 - (float)i / 64);
    }
}

static void test_a_copied_push_is_free_at_return(void **state)
{
    struct kvw_tensor t = some(0, 2);
    struct kvw_item item = {kvw_str("t"), &t, 1};
    struct kvw_call call = {.flags = KVW_COPY};

    (void)state;
    init_table("t", 0);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", "lr=1"));
    memcpy(rows[0], (int64_t[]){7, 8}, 2 * sizeof(int64_t));
    fill(g[0], 2 * LENGTH, 1);
    expect_ok(c.kv[0], kvw_push(c.kv[0], &item, 1, &call, NULL));
    memset(rows[0], 0xff, sizeof rows[0]);
    memset(g[0], 0xff, sizeof g[0]);
    push_nothing(1, "t");
    wait_all();
    expect_row(0, "t", 7, -1);
    expect_row(0, "t", 8, -1);
}

/* --- Dense and row_sparse ------------------------------------------------- */

static void test_a_dense_gradient_reaches_every_row(void **state)
{
    struct kvw_tensor t = kvw_f32(table, 0);
    struct kvw_item item = {kvw_str("t"), &t, 1};

    (void)state;
    init_table("t", 1);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", "lr=1"));
    t = whole();
    t.storage = KVW_DENSE;
    expect_ok(c.kv[0], kvw_push(c.kv[0], &item, 1, NULL, NULL));
    push_row(1, "t", 9, 5);
    wait_all();
    expect_row(0, "t", 0, 0);
    expect_row(0, "t", 9, -5);
    expect_row(0, "t", ROWS - 1, 0);
}

static void test_rows_reach_a_dense_value(void **state)
{
    struct kvw_tensor value = {w[0], KVW_F32, 2, {10, 4}, KVW_DENSE, NULL, 0};
    struct kvw_tensor gradient = {g[0],           KVW_F32, 2, {10, 4},
                                  KVW_ROW_SPARSE, rows[0], 2};
    struct kvw_item items[] = {{kvw_str("d"), &value, 1},
                               {kvw_str("d"), &gradient, 1}};

    (void)state;
    fill(w[0], 40, 1);
    expect_ok(c.kv[0], kvw_init(c.kv[0], &items[0], 1));
    expect_ok(c.kv[1], kvw_init(c.kv[1], &items[0], 1));
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", "lr=1"));
    memcpy(rows[0], (int64_t[]){9, 2}, 2 * sizeof(int64_t));
    fill(g[0], 8, 3);
    expect_ok(c.kv[0], kvw_push(c.kv[0], &items[1], 1, NULL, NULL));
    expect_ok(c.kv[1], kvw_push(c.kv[1], &items[1], 1, NULL, NULL));
    expect_ok(c.kv[0], kvw_pull(c.kv[0], &items[0], 1, NULL, NULL));
    wait_all();
    expect_all(w[0], 8, 1);
    expect_all(w[0] + 8, 4, -5);
    expect_all(w[0] + 12, 24, 1);
    expect_all(w[0] + 36, 4, -5);
}

static void test_a_plain_pull_brings_the_table(void **state)
{
    struct kvw_tensor t = whole();
    struct kvw_item item = {kvw_str("t"), &t, 1};
    struct kvw_call ignore = {.flags = KVW_IGNORE_SPARSE};

    (void)state;
    init_table("t", 4);
    memset(table, 0, (size_t)ROWS * LENGTH * sizeof *table);
    expect_ok(c.kv[1], kvw_pull(c.kv[1], &item, 1, &ignore, NULL));
    wait_all();
    expect_all(table, (size_t)ROWS * LENGTH, 0);
    expect_ok(c.kv[1], kvw_pull(c.kv[1], &item, 1, NULL, NULL));
    wait_all();
    expect_all(table, (size_t)ROWS * LENGTH, 4);
}

/* --- Ids ------------------------------------------------------------------ */

static void test_ids_come_in_any_order_and_type(void **state)
{
    int32_t ids[] = {250000, 3, 250000, 100, 3};
    struct kvw_row_ids list = {ids, KVW_I32, 5};
    struct kvw_tensor outs[2] = {some(0, SOME), some(1, SOME)};
    struct kvw_row_pull pull = {kvw_str("t"), outs, 2, &list, 1};

    (void)state;
    init_table("t", 6);
    expect_ok(c.kv[0], kvw_row_sparse_pull(c.kv[0], &pull, 1, NULL, NULL));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(outs[i].row_count, 3);
        assert_int_equal(rows[i][0], 3);
        assert_int_equal(rows[i][1], 100);
        assert_int_equal(rows[i][2], 250000);
    }
    wait_all();
    expect_all(g[0], 3 * LENGTH, 6);
    expect_all(g[1], 3 * LENGTH, 6);
}

static void test_each_out_may_have_ids_of_its_own(void **state)
{
    uint8_t few[] = {9};
    int64_t many[] = {ROWS - 1, 0};
    struct kvw_row_ids lists[] = {{few, KVW_U8, 1}, {many, KVW_I64, 2}};
    struct kvw_tensor outs[2] = {some(0, SOME), some(1, SOME)};
    struct kvw_row_pull pull = {kvw_str("t"), outs, 2, lists, 2};

    (void)state;
    init_table("t", 6);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", "lr=1"));
    push_row(0, "t", 9, 1);
    push_nothing(1, "t");
    wait_all();
    expect_ok(c.kv[0], kvw_row_sparse_pull(c.kv[0], &pull, 1, NULL, NULL));
    wait_all();
    assert_int_equal(outs[0].row_count, 1);
    expect_all(g[0], LENGTH, 5);
    assert_int_equal(outs[1].row_count, 2);
    expect_all(g[1], 2 * LENGTH, 6);
}

static void test_no_ids_are_no_rows(void **state)
{
    struct kvw_row_ids none = {NULL, KVW_I64, 0};
    struct kvw_tensor out = some(0, SOME);
    struct kvw_row_pull pull = {kvw_str("t"), &out, 1, &none, 1};
    struct kvw_op *op;

    (void)state;
    init_table("t", 6);
    expect_ok(c.kv[0], kvw_row_sparse_pull(c.kv[0], &pull, 1, NULL, &op));
    assert_int_equal(out.row_count, 0);
    expect_ok(c.kv[0], kvw_wait(c.kv[0], op, 60000));
}

/* --- Bad input ------------------------------------------------------------ */

static void test_a_row_that_is_none_is_named(void **state)
{
    int32_t id = ROWS;
    struct kvw_row_ids list = {&id, KVW_I32, 1}, floats = {&id, KVW_F32, 1};
    struct kvw_tensor t = some(0, 2);
    struct kvw_item item = {kvw_str("t"), &t, 1};
    struct kvw_row_pull pull = {kvw_str("t"), &t, 1, &list, 1};

    (void)state;
    init_table("t", 1);
    memcpy(rows[0], (int64_t[]){1, -1}, 2 * sizeof(int64_t));
    expect_error(c.kv[0], kvw_push(c.kv[0], &item, 1, NULL, NULL), KVW_EINVAL,
                 "key 't': row -1 (number 1 of 2) is not one of its 300000",
                 NULL);
    expect_error(c.kv[0], kvw_row_sparse_pull(c.kv[0], &pull, 1, NULL, NULL),
                 KVW_EINVAL,
                 "id 300000 (number 0) is not one of its 300000 rows", NULL);
    pull.ids = &floats;
    expect_error(c.kv[0], kvw_row_sparse_pull(c.kv[0], &pull, 1, NULL, NULL),
                 KVW_EINVAL, "floats", NULL);
    t.row_count = 0;
    id = 5;
    pull.ids = &list;
    expect_error(c.kv[0], kvw_row_sparse_pull(c.kv[0], &pull, 1, NULL, NULL),
                 KVW_EINVAL, "room for 0", NULL);
}

static void test_rows_of_a_dense_value_cannot_be_pulled(void **state)
{
    struct kvw_tensor value = {w[0], KVW_F32, 2, {10, 4}, KVW_DENSE, NULL, 0};
    struct kvw_tensor out = {g[0],           KVW_F32, 2, {10, 4},
                             KVW_ROW_SPARSE, rows[0], 1};
    struct kvw_item items[] = {{kvw_str("d"), &value, 1},
                               {kvw_str("d"), &out, 1}};
    struct kvw_op *op;

    (void)state;
    expect_ok(c.kv[0], kvw_init(c.kv[0], &items[0], 1));
    rows[0][0] = 3;
    expect_ok(c.kv[0], kvw_pull(c.kv[0], &items[1], 1, NULL, &op));
    expect_error(c.kv[0], kvw_wait(c.kv[0], op, 60000), KVW_EMISMATCH, "dense",
                 NULL);
    items[1].key = kvw_str("nobody");
    expect_ok(c.kv[0], kvw_pull(c.kv[0], &items[1], 1, NULL, &op));
    expect_error(c.kv[0], kvw_wait(c.kv[0], op, 60000), KVW_ENOTFOUND, "nobody",
                 NULL);
}

static void test_ranks_agree_about_the_storage(void **state)
{
    struct kvw_tensor value = {w[0], KVW_F32, 2, {10, 4}, KVW_DENSE, NULL, 0};
    struct kvw_item item = {kvw_str("d"), &value, 1};

    (void)state;
    expect_ok(c.kv[0], kvw_init(c.kv[0], &item, 1));
    value.storage = KVW_ROW_SPARSE;
    value.row_count = 10;
    assert_int_equal(kvw_init(c.kv[1], &item, 1), KVW_EMISMATCH);
    assert_non_null(strstr(kvw_error(c.kv[1]), "row_sparse"));
}

/* --- Faults --------------------------------------------------------------- */

static void test_killed_servers_lose_no_row(void **state)
{
    (void)state;
    init_table("t", 0);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "sgd", "lr=1"));
    for (int i = 0; i < 20; i++) {
        push_row(0, "t", 100 + i, 1);
        push_row(1, "t", 100 + i, 1);
        if (i % 5 == 0) {
            cluster_kill(&c, (unsigned)i / 5 % 2);
            cluster_restart(&c, (unsigned)i / 5 % 2);
        }
        wait_all();
    }
    for (int i = 0; i < 20; i++) {
        expect_row(0, "t", 100 + i, -2);
    }
}

static int set_up_table(void **state)
{
    table = calloc((size_t)ROWS * LENGTH, sizeof *table);
    return table == NULL ? -1 : set_up(state);
}

static int tear_down_table(void **state)
{
    int result = tear_down(state);

    free(table);
    return result;
}

#define ROWS_TEST(name)                                                        \
    cmocka_unit_test_setup_teardown(name, set_up_table, tear_down_table)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROWS_TEST(test_rows_of_both_ranks_are_summed),
        ROWS_TEST(test_a_pull_sees_the_round_of_the_push_before_it),
        ROWS_TEST(test_rows_that_stand_twice_are_summed),
        ROWS_TEST(test_rows_in_any_order_are_compressed),
        ROWS_TEST(test_a_copied_push_is_free_at_return),
        ROWS_TEST(test_a_dense_gradient_reaches_every_row),
        ROWS_TEST(test_rows_reach_a_dense_value),
        ROWS_TEST(test_a_plain_pull_brings_the_table),
        ROWS_TEST(test_ids_come_in_any_order_and_type),
        ROWS_TEST(test_each_out_may_have_ids_of_its_own),
        ROWS_TEST(test_no_ids_are_no_rows),
        ROWS_TEST(test_a_row_that_is_none_is_named),
        ROWS_TEST(test_rows_of_a_dense_value_cannot_be_pulled),
        ROWS_TEST(test_ranks_agree_about_the_storage),
        ROWS_TEST(test_killed_servers_lose_no_row),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
