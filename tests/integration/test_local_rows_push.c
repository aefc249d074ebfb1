/* What pushes of rows do in a local store. */
#include "tests/unit/local_rows_fixture.h"

/* --- What a push does ----------------------------------------------------- */

static void test_a_first_value_may_lack_rows(void **state)
{
    struct kvw_item item = {kvw_str("t"), tensors, 1};

    (void)state;
    PUT(0, 3, 2, 0);
    expect_ok(kvw_init(kv, &item, 1));
    EXPECT_TABLE(kvw_str("t"), 3, 0, 3, 0);
}

static void test_without_a_rule_rows_not_pushed_become_zero(void **state)
{
    (void)state;
    for (int s = KVW_DENSE; s <= KVW_ROW_SPARSE; s++) {
        init_table(kvw_int(s), (enum kvw_storage)s, 5);
        PUT(0, 2, 3, 1, 3); /* In any order, one of them twice. */
        push_rows(kvw_int(s), 1);
        EXPECT_TABLE(kvw_int(s), 0, 2, 0, 4);
        tensors[0].row_count = 0;
        push_rows(kvw_int(s), 1);
        EXPECT_TABLE(kvw_int(s), 0, 0, 0, 0);
    }
}

static void
test_lazy_momentum_stands_still_where_nothing_is_pushed(void **state)
{
    (void)state;
    init_table(kvw_str("t"), KVW_ROW_SPARSE, 0);
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1,momentum=0.5"));
    PUT(0, 4, 1, 2);
    push_rows(kvw_str("t"), 1);
    EXPECT_TABLE(kvw_str("t"), 0, -4, -4, 0);
    PUT(0, 4, 2);
    push_rows(kvw_str("t"), 1);
    EXPECT_TABLE(kvw_str("t"), 0, -4, -10, 0);
    PUT(0, 0, 1); /* The state of row 1 is from the first push. */
    push_rows(kvw_str("t"), 1);
    EXPECT_TABLE(kvw_str("t"), 0, -6, -10, 0);
}

static void test_an_optimizer_that_is_not_lazy_moves_all_rows(void **state)
{
    (void)state;
    init_table(kvw_str("t"), KVW_ROW_SPARSE, 0);
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1,momentum=0.5,lazy_update=0"));
    PUT(0, 4, 1, 2);
    push_rows(kvw_str("t"), 1);
    PUT(0, 4, 2);
    push_rows(kvw_str("t"), 1);
    EXPECT_TABLE(kvw_str("t"), 0, -6, -10, 0);
}

static void test_rows_are_a_dense_gradient_of_a_dense_value(void **state)
{
    (void)state;
    init_table(kvw_str("d"), KVW_DENSE, 0);
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1,momentum=0.5"));
    PUT(0, 4, 1);
    PUT(1, 2, 2, 1);
    push_rows(kvw_str("d"), 2);
    tensors[0].row_count = 0;
    push_rows(kvw_str("d"), 1);
    EXPECT_TABLE(kvw_str("d"), 0, -9, -3, 0);
}

static void test_a_dense_gradient_reaches_every_row(void **state)
{
    struct kvw_tensor t = whole(KVW_DENSE);
    struct kvw_item item = {kvw_str("t"), &t, 1};

    (void)state;
    init_table(kvw_str("t"), KVW_ROW_SPARSE, 3);
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1"));
    fill(table, ROWS * LENGTH, 1);
    expect_ok(kvw_push(kv, &item, 1, NULL, NULL));
    wait_all();
    EXPECT_TABLE(kvw_str("t"), 2, 2, 2, 2);
}

static void test_a_pushpull_brings_what_its_push_led_to(void **state)
{
    struct kvw_item item = {kvw_str("t"), tensors, 1}, two[2] = {item, item};

    (void)state;
    init_table(kvw_str("t"), KVW_ROW_SPARSE, 3);
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1"));
    PUT(0, 1, 1, 3);
    expect_ok(kvw_pushpull(kv, &item, NULL, 1, NULL, NULL));
    wait_all();
    expect_all(data[0], 2 * LENGTH, 2);
    expect_ok(kvw_pushpull(kv, two, NULL, 2, NULL, NULL));
    expect_error(kvw_wait_all(kv, KVW_FOREVER), KVW_EINVAL,
                 "'t' stands twice in one call", NULL);
    EXPECT_TABLE(kvw_str("t"), 3, 2, 3, 2);
}

/* --- Large tables --------------------------------------------------------- */

enum { MANY = 20000, WIDE = 100 }; /* Rows that straddle pieces and threads. */

static int64_t odd[MANY / 2];
static float large[MANY * WIDE], half[MANY / 2 * WIDE];

static void test_every_second_row_of_a_large_table_moves(void **state)
{
    struct kvw_tensor t[2] = {
        kvw_f32_rows(large, NULL, MANY, MANY, WIDE),
        kvw_f32_rows(half, odd, MANY / 2, MANY, WIDE),
    };
    struct kvw_item all = {kvw_int(1), &t[0], 1}, some = {kvw_int(1), &t[1], 1};

    (void)state;
    for (int i = 0; i < MANY / 2; i++) {
        odd[i] = 2 * i + 1;
        fill(half + (ptrdiff_t)i * WIDE, WIDE, (float)i);
    }
    fill(large, MANY * WIDE, 1);
    expect_ok(kvw_init(kv, &all, 1));
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1,momentum=0.5"));
    expect_ok(kvw_pushpull(kv, &some, NULL, 1, NULL, NULL));
    expect_ok(kvw_pull(kv, &all, 1, NULL, NULL));
    wait_all();
    for (int i = 0; i < MANY / 2; i++) {
        expect_all(half + (ptrdiff_t)i * WIDE, WIDE, 1 - (float)i);
        expect_all(large + (ptrdiff_t)2 * i * WIDE, WIDE, 1);
        expect_all(large + (2 * (ptrdiff_t)i + 1) * WIDE, WIDE, 1 - (float)i);
    }
}

/* Rows of a value, and a rule in f32 for them. */
static void test_halves_are_updated_by_rows(void **state)
{
    uint16_t all[ROWS] = {0x3c00, 0x3c00, 0x3c00, 0x3c00}, one = 0x3c00;
    int64_t row = 2;
    struct kvw_tensor t[2] = {
        {all, KVW_F16, 1, {ROWS}, KVW_ROW_SPARSE, NULL, ROWS},
        {&one, KVW_F16, 1, {ROWS}, KVW_ROW_SPARSE, &row, 1}};
    struct kvw_item whole_item = {kvw_int(1), &t[0], 1};
    struct kvw_item row_item = {kvw_int(1), &t[1], 1};

    (void)state;
    expect_ok(kvw_init(kv, &whole_item, 1));
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=2"));
    expect_ok(kvw_push(kv, &row_item, 1, NULL, NULL));
    expect_ok(kvw_pull(kv, &whole_item, 1, NULL, NULL));
    wait_all();
    assert_int_equal(all[1], 0x3c00);
    assert_int_equal(all[2], 0xbc00);
    assert_int_equal(all[3], 0x3c00);
}

/* --- Order ---------------------------------------------------------------- */

/* A call of higher priority passes others, but none that shares its key. */
static void test_rows_keep_their_place_behind_their_key(void **state)
{
    struct kvw_tensor t = kvw_f32_rows(large, NULL, MANY, MANY, WIDE);
    struct kvw_tensor pull = kvw_f32_rows(half, odd, 1, MANY, WIDE);
    struct kvw_item items[2] = {{kvw_int(1), &t, 1}, {kvw_int(2), &t, 1}};
    struct kvw_item item = {kvw_int(2), &pull, 1};
    struct kvw_call urgent = {.priority = 5};

    (void)state;
    fill(large, MANY * WIDE, 1);
    expect_ok(kvw_init(kv, items, 2));
    fill(large, MANY * WIDE, 2);
    odd[0] = MANY - 1;
    expect_ok(kvw_push(kv, items, 2, NULL, NULL));
    expect_ok(kvw_pull(kv, &item, 1, &urgent, NULL));
    wait_all();
    expect_all(half, WIDE, 2);
}

/* --- Updaters ------------------------------------------------------------- */

static struct kvw_tensor seen_received, seen_stored;
static int64_t seen_rows[SOME];
static float seen_data[SOME * LENGTH];

static void look(void *arg, struct kvw_key key,
                 const struct kvw_tensor *received,
                 const struct kvw_tensor *stored)
{
    float *value = stored->data;

    (void)arg;
    (void)key;
    seen_received = *received;
    seen_stored = *stored;
    if (received->rows != NULL) {
        memcpy(seen_rows, received->rows, received->row_count * 8);
        memcpy(seen_data, received->data,
               received->row_count * LENGTH * sizeof(float));
    }
    value[0] = 9;
}

static void test_an_updater_receives_the_rows_that_were_pushed(void **state)
{
    (void)state;
    expect_ok(kvw_set_updater(kv, look, NULL));
    for (int s = KVW_DENSE; s <= KVW_ROW_SPARSE; s++) {
        init_table(kvw_int(s), (enum kvw_storage)s, 5);
        PUT(0, 1, 3, 0);
        PUT(1, 2, 3);
        push_rows(kvw_int(s), 2);
        assert_int_equal(seen_received.storage, KVW_ROW_SPARSE);
        assert_int_equal(seen_received.row_count, 2);
        assert_int_equal(seen_received.shape[0], ROWS);
        assert_int_equal(seen_rows[0], 0);
        assert_int_equal(seen_rows[1], 3);
        expect_all(seen_data, LENGTH, 1);
        expect_all(seen_data + LENGTH, LENGTH, 3);
        assert_int_equal(seen_stored.storage, s);
    }
    pull_all_rows(kvw_int(KVW_ROW_SPARSE), 1);
    assert_true(data[0][0] == 9 && data[0][1] == 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_first_value_may_lack_rows),
        TEST(test_without_a_rule_rows_not_pushed_become_zero),
        TEST(test_lazy_momentum_stands_still_where_nothing_is_pushed),
        TEST(test_an_optimizer_that_is_not_lazy_moves_all_rows),
        TEST(test_rows_are_a_dense_gradient_of_a_dense_value),
        TEST(test_a_dense_gradient_reaches_every_row),
        TEST(test_a_pushpull_brings_what_its_push_led_to),
        TEST(test_every_second_row_of_a_large_table_moves),
        TEST(test_halves_are_updated_by_rows),
        TEST(test_rows_keep_their_place_behind_their_key),
        TEST(test_an_updater_receives_the_rows_that_were_pushed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
