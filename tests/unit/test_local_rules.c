/* A local store: what a push makes of a value. */
#include "tests/unit/local_fixture.h"

#include "common/compute/dtype.h"

/* --- Without a rule ------------------------------------------------------- */

static void test_the_sum_of_a_push_becomes_the_value(void **state)
{
    (void)state;
    init(kvw_str("w"), 100);
    push(kvw_str("w"), 4, 2);
    expect_pull(kvw_str("w"), 1, 8);
    push(kvw_str("w"), 1, 3);
    expect_pull(kvw_str("w"), 2, 3);
}

/* (1e8 - 1e8) + 1, not 1e8 + (-1e8 + 1). */
static void test_tensors_are_added_from_left_to_right(void **state)
{
    float data[] = {1e8f, -1e8f, 1, 0};
    struct kvw_tensor t[] = {kvw_f32(data, 1), kvw_f32(data + 1, 1),
                             kvw_f32(data + 2, 1)};
    struct kvw_tensor out = kvw_f32(data + 3, 1);
    struct kvw_item items[] = {{kvw_int(1), t, 3}},
                    outs[] = {{kvw_int(1), &out, 1}};

    (void)state;
    expect_ok(kvw_init(kv, outs, 1));
    expect_ok(kvw_pushpull(kv, items, outs, 1, NULL, NULL));
    wait_all();
    assert_true(data[3] == 1);
}

/* Two tensors of `dtype` are summed into a third. */
static void expect_sum(enum kvw_dtype dtype, void *a, void *b, void *out,
                       const void *right, size_t size)
{
    struct kvw_tensor t[] = {{a, dtype, 1, {2}, KVW_DENSE, NULL, 0},
                             {b, dtype, 1, {2}, KVW_DENSE, NULL, 0}};
    struct kvw_tensor o = {out, dtype, 1, {2}, KVW_DENSE, NULL, 0};
    struct kvw_item in = {kvw_int((int64_t)dtype), t, 2};
    struct kvw_item to = {kvw_int((int64_t)dtype), &o, 1};

    expect_ok(kvw_broadcast(kv, &to, NULL, 1));
    expect_ok(kvw_pushpull(kv, &in, &to, 1, NULL, NULL));
    wait_all();
    assert_memory_equal(out, right, size);
}

static void test_every_dtype_is_summed_in_itself(void **state)
{
    double d[][2] = {
        {1, 1e300}, {0x1p-52, 1e300}, {0, 0}, {1 + 0x1p-52, 2e300}};
    int64_t l[][2] = {
        {1ll << 53, INT64_MAX}, {1, 1}, {0, 0}, {(1ll << 53) + 1, INT64_MIN}};
    int32_t i[][2] = {
        {1 << 24, INT32_MAX}, {1, 1}, {0, 0}, {(1 << 24) + 1, INT32_MIN}};
    int8_t c[][2] = {{100, -100}, {100, 1}, {0, 0}, {-56, -99}};
    uint8_t u[][2] = {{200, 1}, {100, 2}, {0, 0}, {44, 3}};
    uint16_t h[][2] = {{0x3c00, 0}, {0x4000, 0}, {0, 0}, {0x4200, 0}};
    uint16_t b[][2] = {{0x3f80, 0}, {0x4000, 0}, {0, 0}, {0x4040, 0}};

    (void)state;
    expect_sum(KVW_F64, d[0], d[1], d[2], d[3], sizeof d[0]);
    expect_sum(KVW_I64, l[0], l[1], l[2], l[3], sizeof l[0]);
    expect_sum(KVW_I32, i[0], i[1], i[2], i[3], sizeof i[0]);
    expect_sum(KVW_I8, c[0], c[1], c[2], c[3], sizeof c[0]);
    expect_sum(KVW_U8, u[0], u[1], u[2], u[3], sizeof u[0]);
    expect_sum(KVW_F16, h[0], h[1], h[2], h[3], sizeof h[0]);
    expect_sum(KVW_BF16, b[0], b[1], b[2], b[3], sizeof b[0]);
}

/* --- Optimizers ----------------------------------------------------------- */

static void test_sgd_with_momentum_remembers_each_key_apart(void **state)
{
    (void)state;
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1,momentum=0.5"));
    init(kvw_int(1), 0);
    init(kvw_int(2), 0);
    push(kvw_int(1), 2, 1); /* -2 */
    push(kvw_int(1), 1, 0); /* -1 more */
    push(kvw_int(2), 1, 4);
    expect_pull(kvw_int(1), 1, -3);
    expect_pull(kvw_int(2), 1, -4);
}

static void test_the_rate_changes_and_the_momentum_stays(void **state)
{
    (void)state;
    init(kvw_int(1), 0);
    expect_error(kvw_set_hyper(kv, NULL, "lr", 2, 0), KVW_EINVAL, "lr",
                 "optimizer");
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1,momentum=0.5"));
    push(kvw_int(1), 1, 1);
    expect_ok(kvw_set_hyper(kv, NULL, "lr", 2, 0));
    push(kvw_int(1), 1, 1);
    expect_pull(kvw_int(1), 1, -1 - 2.5f);
    expect_error(kvw_set_hyper(kv, NULL, "momentum", 0, 0), KVW_EINVAL,
                 "momentum", NULL);
}

static void push_and_expect(struct kvw_key key, float value)
{
    push(key, 1, 1);
    expect_pull(key, 1, value);
}

static void test_numbers_change_from_a_round_on(void **state)
{
    const struct kvw_key one = kvw_str("one"), two = kvw_str("two"),
                         three = kvw_str("three");

    (void)state;
    init(one, 0);
    init(two, 0);
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1"));
    expect_ok(kvw_set_hyper(kv, NULL, "lr", 8, 3));
    expect_ok(kvw_set_hyper(kv, NULL, "lr", 2, 2));
    expect_ok(kvw_set_hyper(kv, &two, "lr_mult", 4, 2));
    push_and_expect(one, -1);
    push_and_expect(one, -3);
    push_and_expect(one, -11);
    push_and_expect(two, -1);
    push_and_expect(two, -9);
    push_and_expect(two, -41);
    expect_ok(kvw_set_hyper(kv, &two, "lr", 0.5, 0));
    expect_ok(kvw_set_hyper(kv, NULL, "lr", 1, 0));
    push_and_expect(one, -12);
    push_and_expect(two, -43);
    expect_error(kvw_set_hyper(kv, &two, "lr", 1, 4), KVW_EINVAL, "'two'",
                 "4 were pushed");
    expect_error(kvw_set_hyper(kv, NULL, "lr", 1, 2), KVW_EINVAL, "round 2",
                 "4 were pushed");
    expect_error(kvw_set_hyper(kv, &three, "lr", 1, 0), KVW_ENOTFOUND,
                 "key 'three'", NULL);
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1"));
    push_and_expect(two, -45); /* The same changes nothing. */
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1,lr_scheduler=factor,step=9"));
    push_and_expect(two, -46);
}

static void test_many_numbers_change_at_once(void **state)
{
    const struct kvw_key one = kvw_str("one"), two = kvw_str("two");
    const struct kvw_hyper changes[] = {
        {&one, "lr_mult", 2, 0}, {&two, "lr_mult", 4, 0}, {NULL, "lr", 2, 0}};

    (void)state;
    init(one, 0);
    init(two, 0);
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1"));
    expect_ok(kvw_set_hypers(kv, changes, 3));
    push_and_expect(one, -4);
    push_and_expect(two, -8);
}

static void
test_the_same_optimizer_again_keeps_state_another_begins_anew(void **state)
{
    (void)state;
    init(kvw_int(1), 0);
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1,momentum=0.5"));
    push(kvw_int(1), 1, 1);
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1,momentum=0.5"));
    push(kvw_int(1), 1, 0);
    expect_pull(kvw_int(1), 1, -1.5f);
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1,momentum=0.25"));
    push(kvw_int(1), 1, 0);
    expect_pull(kvw_int(1), 1, -1.5f);
}

/* sgld's noise on a gradient of 0, of which no two elements share any. */
static void test_keys_do_not_share_noise(void **state)
{
    float noise[2][EACH] = {{0}}, zero[EACH] = {0};

    (void)state;
    expect_ok(kvw_set_optimizer(kv, "sgld", "lr=1"));
    for (int k = 0; k < 2; k++) {
        struct kvw_tensor out = kvw_f32(noise[k], EACH);
        struct kvw_tensor g = kvw_f32(zero, EACH);
        struct kvw_item value = {kvw_int(k), &out, 1};
        struct kvw_item grad = {kvw_int(k), &g, 1};

        expect_ok(kvw_init(kv, &value, 1));
        expect_ok(kvw_pushpull(kv, &grad, &value, 1, NULL, NULL));
        wait_all();
    }
    for (int i = 0; i < EACH * EACH; i++) {
        assert_true(noise[0][i / EACH] != noise[1][i % EACH]);
        assert_true(noise[0][i / EACH] != 0);
    }
}

static void test_another_schedule_is_another_optimizer(void **state)
{
    (void)state;
    init(kvw_int(1), 0);
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1"));
    push(kvw_int(1), 1, 1);
    expect_ok(kvw_set_optimizer(kv, "sgd",
                                "lr=1,lr_scheduler=multifactor,step=1,"
                                "factor=0.5"));
    push(kvw_int(1), 1, 1);
    push(kvw_int(1), 1, 1); /* After one step, at half the rate. */
    expect_pull(kvw_int(1), 1, -2.5f);
}

static void test_accumulate_adds_every_push(void **state)
{
    (void)state;
    init(kvw_int(1), 10);
    expect_ok(kvw_set_optimizer(kv, "accumulate", ""));
    push(kvw_int(1), 3, 1);
    push(kvw_int(1), 1, 0.5f);
    expect_pull(kvw_int(1), 1, 13.5f);
    expect_error(kvw_set_optimizer(kv, "accumulate", "lr=1"), KVW_EINVAL,
                 "accumulate", "lr");
}

/* Longer than a piece that one thread does. */
static void test_accumulate_adds_to_every_dtype(void **state)
{
    enum { COUNT = 100003 };
    static const enum kvw_dtype dtypes[] = {KVW_F64, KVW_I64, KVW_I32, KVW_U8};
    static unsigned char value[COUNT * 8], gradient[COUNT * 8];

    (void)state;
    expect_ok(kvw_set_optimizer(kv, "accumulate", ""));
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        size_t unit = kv_dtype_size((enum kv_dtype)dtypes[d]);
        struct kvw_tensor w = {value,     dtypes[d], 1, {COUNT},
                               KVW_DENSE, NULL,      0};
        struct kvw_tensor g[] = {
            {gradient, dtypes[d], 1, {COUNT}, KVW_DENSE, NULL, 0},
            {gradient, dtypes[d], 1, {COUNT}, KVW_DENSE, NULL, 0}};
        struct kvw_item item = {kvw_int((int64_t)d), &w, 1};
        struct kvw_item push_two = {kvw_int((int64_t)d), g, 2};

        memset(value, 0, sizeof value);
        memset(gradient, 0, sizeof gradient);
        for (size_t i = 0; i < COUNT; i++) {
            int64_t number = (int64_t)(i % 100);
            double wide = (double)number;

            memcpy(gradient + i * unit,
                   dtypes[d] == KVW_F64 ? (void *)&wide : (void *)&number,
                   unit);
        }
        expect_ok(kvw_init(kv, &item, 1));
        expect_ok(kvw_push(kv, &push_two, 1, NULL, NULL));
        expect_ok(kvw_pull(kv, &item, 1, NULL, NULL));
        wait_all();
        for (size_t i = 0; i < COUNT; i++) {
            int64_t number = (int64_t)(2 * (i % 100));
            double wide = (double)number;

            assert_memory_equal(
                value + i * unit,
                dtypes[d] == KVW_F64 ? (void *)&wide : (void *)&number, unit);
        }
    }
}

/* 2048 + 1 is 2048 in f16; summed in f32 the two halves count. */
static void test_narrow_gradients_are_summed_in_f32(void **state)
{
    uint16_t weight = 0x6800, one = 0x3c00; /* 2048, 1 */
    struct kvw_tensor w = {&weight, KVW_F16, 1, {1}, KVW_DENSE, NULL, 0};
    struct kvw_tensor g[] = {{&one, KVW_F16, 1, {1}, KVW_DENSE, NULL, 0},
                             {&one, KVW_F16, 1, {1}, KVW_DENSE, NULL, 0}};
    struct kvw_item value = {kvw_int(1), &w, 1}, push_two = {kvw_int(1), g, 2};

    (void)state;
    expect_ok(kvw_init(kv, &value, 1));
    expect_ok(kvw_set_optimizer(kv, "accumulate", ""));
    expect_ok(kvw_pushpull(kv, &push_two, &value, 1, NULL, NULL));
    wait_all();
    assert_int_equal(weight, 0x6801); /* 2050 */
}

static void
test_an_optimizer_refuses_integers_by_name_and_changes_none(void **state)
{
    static const enum kvw_dtype wrong[] = {KVW_I32, KVW_I64, KVW_I8, KVW_U8};
    static const char *const names[] = {"i", "l", "b", "u"};

    (void)state;
    init(kvw_str("w"), 1);
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1"));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int64_t data = 3;
        float one[EACH];
        struct kvw_tensor f = kvw_f32(one, EACH);
        struct kvw_tensor t = {&data, wrong[i], 1, {1}, KVW_DENSE, NULL, 0};
        struct kvw_item items[] = {{kvw_str("w"), &f, 1},
                                   {kvw_str(names[i]), &t, 1}};

        fill(one, EACH, 1);
        expect_ok(kvw_init(kv, items + 1, 1));
        expect_ok(kvw_push(kv, items, 2, NULL, NULL));
        expect_error(kvw_wait_all(kv, KVW_FOREVER), KVW_ENOTSUP, "sgd",
                     kv_dtype_name((enum kv_dtype)wrong[i]));
        expect_pull(kvw_str("w"), 1, 1); /* Not even the right one. */
    }
}

/* --- Updaters ------------------------------------------------------------- */

struct seen {
    char names[64];
    size_t calls;
};

/* stored = 2 stored + received */
static void double_and_add(void *arg, struct kvw_key key,
                           const struct kvw_tensor *received,
                           const struct kvw_tensor *stored)
{
    struct seen *s = arg;
    size_t used = strlen(s->names);
    const float *in = received->data;
    float *value = stored->data;

    if (key.name != NULL) {
        snprintf(s->names + used, sizeof s->names - used, "%s ", key.name);
    } else {
        snprintf(s->names + used, sizeof s->names - used, "%lld ",
                 (long long)key.number);
    }
    for (uint64_t i = 0; i < stored->shape[0]; i++) {
        value[i] = 2 * value[i] + in[i];
    }
    s->calls += received->dtype == KVW_F32 && stored->dims == 1 &&
                received->shape[0] == EACH;
}

static void test_an_updater_gets_key_sum_and_value(void **state)
{
    struct seen s = {.calls = 0};

    (void)state;
    init(kvw_str("w"), 10);
    expect_ok(kvw_set_updater(kv, double_and_add, &s));
    push(kvw_str("w"), 3, 1);
    expect_pull(kvw_str("w"), 1, 23);
    another_store();
    init(kvw_int(-7), 20);
    expect_ok(kvw_set_updater(kv, double_and_add, &s));
    push(kvw_int(-7), 1, 5);
    expect_pull(kvw_int(-7), 1, 45);
    assert_string_equal(s.names, "w -7 ");
    assert_int_equal(s.calls, 2);
}

static void test_updater_and_optimizer_replace_each_other(void **state)
{
    struct seen s = {.calls = 0};

    (void)state;
    init(kvw_int(1), 1);
    expect_ok(kvw_set_updater(kv, double_and_add, &s));
    push(kvw_int(1), 1, 1); /* 3 */
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1"));
    push(kvw_int(1), 1, 1); /* 2 */
    expect_pull(kvw_int(1), 1, 2);
    expect_ok(kvw_set_updater(kv, double_and_add, &s));
    push(kvw_int(1), 1, 1); /* 5 */
    expect_pull(kvw_int(1), 1, 5);
    expect_ok(kvw_set_updater(kv, NULL, NULL));
    push(kvw_int(1), 1, 1);
    expect_pull(kvw_int(1), 1, 1);
}

/* A push that has begun before keeps the rule of its time. */
static void test_a_new_rule_waits_for_the_pushes_before_it(void **state)
{
    static float data[EACH];
    struct kvw_tensor t = kvw_f32(data, EACH);
    struct kvw_item item = {kvw_int(1), &t, 1};

    (void)state;
    init(kvw_int(1), 0);
    expect_ok(kvw_set_optimizer(kv, "accumulate", ""));
    fill(data, EACH, 1);
    for (int i = 0; i < 50; i++) {
        struct kvw_call call = {.priority = i % 3 - 1};

        expect_ok(kvw_push(kv, &item, 1, &call, NULL));
    }
    expect_ok(kvw_set_optimizer(kv, "sgd", "lr=1"));
    expect_pull(kvw_int(1), 1, 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_numbers_change_from_a_round_on),
        TEST(test_many_numbers_change_at_once),
        TEST(test_the_sum_of_a_push_becomes_the_value),
        TEST(test_tensors_are_added_from_left_to_right),
        TEST(test_every_dtype_is_summed_in_itself),
        TEST(test_sgd_with_momentum_remembers_each_key_apart),
        TEST(test_the_rate_changes_and_the_momentum_stays),
        TEST(test_the_same_optimizer_again_keeps_state_another_begins_anew),
        TEST(test_keys_do_not_share_noise),
        TEST(test_another_schedule_is_another_optimizer),
        TEST(test_accumulate_adds_every_push),
        TEST(test_accumulate_adds_to_every_dtype),
        TEST(test_narrow_gradients_are_summed_in_f32),
        TEST(test_an_optimizer_refuses_integers_by_name_and_changes_none),
        TEST(test_an_updater_gets_key_sum_and_value),
        TEST(test_updater_and_optimizer_replace_each_other),
        TEST(test_a_new_rule_waits_for_the_pushes_before_it),
    };

    return cmocka_run_group_tests_name("local rules", tests, NULL, NULL);
}
