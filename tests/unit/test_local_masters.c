/* f32 masters in a local store: f16 and bf16 weights that do not lose what is
 * too small for them. */
#include "tests/unit/local_fixture.h"
#include "tests/unit/optim_fixture.h"

enum { ROWS = 11, LENGTH = 700, COUNT = ROWS * LENGTH, STEPS = 6 };

static const enum kvw_dtype narrow[] = {KVW_F16, KVW_BF16};

static float wide_gradient[COUNT], wide_value[COUNT];
static uint16_t gradient[COUNT], value[COUNT], right[COUNT];
static uint64_t seed;

/* --- Steps ---------------------------------------------------------------- */

static struct kvw_tensor table(enum kvw_dtype dtype, enum kvw_storage storage,
                               void *data)
{
    struct kvw_tensor t = {data, dtype, 2, {ROWS, LENGTH}, storage, NULL, ROWS};

    return t;
}

static void set(const struct optim_recipe *r, const char *more)
{
    char params[256];

    snprintf(params, sizeof params, "%s%s%s", r->params,
             r->params[0] == '\0' ? "" : ",", more);
    expect_ok(kvw_set_optimizer(kv, r->name, params));
}

/* Numbers that the narrow dtype has, too. */
static void number(enum kvw_dtype dtype, float *wide, uint16_t *to)
{
    some_numbers(&seed, wide, COUNT);
    kv_from_f32((enum kv_dtype)dtype, wide, to, COUNT);
    kv_to_f32((enum kv_dtype)dtype, to, wide, COUNT);
}

static void push_tensor(struct kvw_key key, const struct kvw_tensor *t)
{
    struct kvw_item i = {key, t, 1};

    expect_ok(kvw_push(kv, &i, 1, NULL, NULL));
    wait_all();
}

static void pull_tensor(struct kvw_key key, const struct kvw_tensor *t)
{
    struct kvw_item i = {key, t, 1};

    expect_ok(kvw_pull(kv, &i, 1, NULL, NULL));
    wait_all();
}

static void init_tensor(struct kvw_key key, const struct kvw_tensor *t)
{
    struct kvw_item i = {key, t, 1};

    expect_ok(kvw_init(kv, &i, 1));
}

/* A narrow key with masters beside an f32 key that gets the same. */
static void expect_the_same(const struct optim_recipe *r, enum kvw_dtype dtype,
                            enum kvw_storage storage, int64_t key)
{
    struct kvw_tensor w = table(dtype, storage, value);
    struct kvw_tensor g = table(dtype, storage, gradient);
    struct kvw_tensor wide_w = table(KVW_F32, storage, wide_value);
    struct kvw_tensor wide_g = table(KVW_F32, storage, wide_gradient);
    int64_t rows[] = {2, 3, 10};

    set(r, "multi_precision=1");
    number(dtype, wide_value, value);
    init_tensor(kvw_int(key), &w);
    init_tensor(kvw_int(key + 1), &wide_w);
    for (int step = 0; step < STEPS; step++) {
        number(dtype, wide_gradient, gradient);
        if (storage == KVW_ROW_SPARSE && step > 1) {
            g.rows = wide_g.rows = rows;
            g.row_count = wide_g.row_count = 3;
        }
        push_tensor(kvw_int(key), &g);
        push_tensor(kvw_int(key + 1), &wide_g);
        pull_tensor(kvw_int(key), &w);
        pull_tensor(kvw_int(key + 1), &wide_w);
        kv_from_f32((enum kv_dtype)dtype, wide_value, right, COUNT);
        if (memcmp(value, right, sizeof value) != 0) {
            fail_msg("%s %s: step %d differs from f32", r->name, r->params,
                     step);
        }
    }
}

/* --- Tests ---------------------------------------------------------------- */

static void test_a_master_is_trained_as_f32_by_every_optimizer(void **state)
{
    (void)state;
    for (size_t i = 0; i < RECIPE_COUNT; i++) {
        int64_t key = (int64_t)i * 8;

        expect_the_same(&recipes[i], narrow[i % 2], KVW_DENSE, key);
        expect_the_same(&recipes[i], narrow[(i + 1) % 2], KVW_ROW_SPARSE,
                        key + 2);
    }
}

static void test_a_master_is_trained_as_f32_with_state_by_rows(void **state)
{
    const struct optim_recipe r = {"groupadagrad", "lr=0.1"};

    (void)state;
    for (int64_t d = 0; d < 2; d++) {
        expect_the_same(&r, narrow[d], KVW_DENSE, d * 8);
        expect_the_same(&r, narrow[d], KVW_ROW_SPARSE, d * 8 + 2);
    }
}

/* 1 - 2^-13 is 1 in f16. */
static float descend(const char *params, int64_t key)
{
    uint16_t one = 0x3c00, tiny = 0x0800; /* 1, 2^-13 */
    struct kvw_tensor w = {&one, KVW_F16, 1, {1}, KVW_DENSE, NULL, 0};
    struct kvw_tensor g = {&tiny, KVW_F16, 1, {1}, KVW_DENSE, NULL, 0};
    float result;

    expect_ok(kvw_set_optimizer(kv, "sgd", params));
    init_tensor(kvw_int(key), &w);
    for (int i = 0; i < 4096; i++) {
        push_tensor(kvw_int(key), &g);
    }
    pull_tensor(kvw_int(key), &w);
    kv_to_f32(KV_F16, &one, &result, 1);
    return result;
}

static void test_thousands_of_tiny_updates_count_with_a_master(void **state)
{
    (void)state;
    assert_true(descend("lr=1", 1) == 1);
    assert_true(descend("lr=1,multi_precision=1", 2) == 0.5f);
}

static void test_f32_values_have_no_use_for_a_master(void **state)
{
    (void)state;
    init(kvw_int(1), 1);
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1,multi_precision=1"));
    push(kvw_int(1), 2, 1);
    expect_pull(kvw_int(1), 1, -1);
}

/* The value is what it was; what only the master knew is gone. */
static void test_a_master_goes_and_comes_with_the_optimizer(void **state)
{
    uint16_t one = 0x3c00, tiny = 0x0800;
    struct kvw_tensor w = {&one, KVW_F16, 1, {1}, KVW_DENSE, NULL, 0};
    struct kvw_tensor g = {&tiny, KVW_F16, 1, {1}, KVW_DENSE, NULL, 0};

    (void)state;
    init_tensor(kvw_int(1), &w);
    for (int turn = 0; turn < 3; turn++) {
        expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1,multi_precision=1"));
        push_tensor(kvw_int(1), &g);
        push_tensor(kvw_int(1), &g);
        pull_tensor(kvw_int(1), &w);
        assert_int_equal(one, 0x3c00);
        expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1"));
        push_tensor(kvw_int(1), &g);
    }
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1,multi_precision=1"));
    for (int i = 0; i < 8; i++) { /* 2^-10, two units of f16 below 1. */
        push_tensor(kvw_int(1), &g);
    }
    pull_tensor(kvw_int(1), &w);
    assert_int_equal(one, 0x3bfe);
    expect_error(kvw_set_hyper(kv, NULL, "multi_precision", 0, 0), KVW_EINVAL,
                 "multi_precision", "state");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_master_is_trained_as_f32_by_every_optimizer),
        TEST(test_a_master_is_trained_as_f32_with_state_by_rows),
        TEST(test_thousands_of_tiny_updates_count_with_a_master),
        TEST(test_f32_values_have_no_use_for_a_master),
        TEST(test_a_master_goes_and_comes_with_the_optimizer),
    };

    seed = chance_seed();
    return cmocka_run_group_tests_name("local masters", tests, NULL, NULL);
}
