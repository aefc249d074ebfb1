/* What MXNet's own tests of a store in one process demand, with dense values:
 * tests/python/unittest/test_kvstore.py and test_kvstore_custom.py, each with
 * int keys and with string keys, and tests/nightly/test_kvstore.py. */
#include "tests/unit/local_fixture.h"

#include <math.h>

#include "tests/unit/chance.h"

enum { KEYS = 4 };

/* The same scenario by number and by name, each in a store of its own. */
static const struct kvw_key both[][KEYS] = {
    {{NULL, 3}, {NULL, 5}, {NULL, 7}, {NULL, 11}},
    {{"a", 0}, {"b", 0}, {"c", 0}, {"d", 0}},
};

#define EACH_KEY_KIND(keys)                                                    \
    for (const struct kvw_key *keys = both[0]; keys != NULL;                   \
         keys = keys == both[0] ? (another_store(), both[1]) : NULL)

static float data[KEYS][DEVICES_MAX][EACH];
static struct kvw_tensor tensors[KEYS][DEVICES_MAX];
static struct kvw_item items[KEYS];

/* (4,4) matrices, all elements `value`. */
static struct kvw_item *list(const struct kvw_key *keys, size_t count,
                             unsigned devices, float value)
{
    for (size_t k = 0; k < count; k++) {
        for (unsigned d = 0; d < devices; d++) {
            fill(data[k][d], EACH, value);
            tensors[k][d] = (struct kvw_tensor){data[k][d], KVW_F32, 2, {4, 4},
                                                KVW_DENSE,  NULL,    0};
        }
        items[k] = (struct kvw_item){keys[k], tensors[k], devices};
    }
    return items;
}

static void init_list(const struct kvw_key *keys, size_t count, float value)
{
    expect_ok(kvw_init(kv, list(keys, count, 1, value), count));
}

static void push_list(const struct kvw_key *keys, size_t count,
                      unsigned devices, float value)
{
    expect_ok(
        kvw_push(kv, list(keys, count, devices, value), count, NULL, NULL));
    wait_all();
}

static void expect_data(size_t count, unsigned devices, float value)
{
    for (size_t k = 0; k < count; k++) {
        for (unsigned d = 0; d < devices; d++) {
            expect_all(data[k][d], EACH, value);
        }
    }
}

static void expect_list(const struct kvw_key *keys, size_t count,
                        unsigned devices, float value)
{
    expect_ok(kvw_pull(kv, list(keys, count, devices, -1), count, NULL, NULL));
    wait_all();
    expect_data(count, devices, value);
}

/* --- test_kvstore.py
 * ------------------------------------------------------------------ */

static void test_a_push_of_ones_is_pulled_as_ones(void **state)
{
    (void)state;
    EACH_KEY_KIND(keys)
    {
        init_list(keys, 1, 0);
        push_list(keys, 1, 1, 1);
        expect_list(keys, 1, 1, 1);
    }
}

static void test_the_first_value_is_pulled_before_any_push(void **state)
{
    (void)state;
    EACH_KEY_KIND(keys)
    {
        init_list(keys, 1, 4);
        expect_list(keys, 1, 1, 4);
    }
}

static void test_a_list_of_keys_is_pushed_and_pulled(void **state)
{
    (void)state;
    EACH_KEY_KIND(keys)
    {
        init_list(keys, KEYS, 0);
        push_list(keys, KEYS, 1, 4);
        expect_list(keys, KEYS, 1, 4);
    }
}

static void test_a_key_may_be_new_after_a_push(void **state)
{
    (void)state;
    EACH_KEY_KIND(keys)
    {
        init_list(keys, 1, 0);
        push_list(keys, 1, 4, 1);
        expect_list(keys, 1, 1, 4);
        init_list(keys + 1, 1, 0);
        expect_list(keys + 1, 1, 1, 0);
    }
}

static void test_four_devices_are_summed_and_all_get_the_sum(void **state)
{
    (void)state;
    EACH_KEY_KIND(keys)
    {
        init_list(keys, KEYS, 0);
        push_list(keys, 1, 4, 1);
        expect_list(keys, 1, 4, 4);
        push_list(keys, KEYS, 4, 2);
        expect_list(keys, KEYS, 4, 8);
    }
}

static size_t named, numbered;

static void add(void *arg, struct kvw_key key,
                const struct kvw_tensor *received,
                const struct kvw_tensor *stored)
{
    float factor = *(const float *)arg;
    const float *in = received->data;
    float *value = stored->data;

    *(key.name != NULL ? &named : &numbered) += 1;
    for (size_t i = 0; i < EACH; i++) {
        value[i] += factor * in[i];
    }
}

static void test_an_updater_adds_what_it_receives(void **state)
{
    float factor = 1;

    (void)state;
    named = numbered = 0;
    EACH_KEY_KIND(keys)
    {
        init_list(keys, KEYS, 0);
        expect_ok(kvw_set_updater(kv, add, &factor));
        push_list(keys, 1, 4, 1);
        expect_list(keys, 1, 4, 4);
        for (int i = 0; i < 4; i++) {
            push_list(keys + 1, KEYS - 1, 4, 1);
        }
        expect_list(keys + 1, KEYS - 1, 4, 16);
    }
    assert_int_equal(named, 1 + 4 * 3);
    assert_int_equal(numbered, 1 + 4 * 3);
}

static void test_accumulate_is_that_updater_by_name(void **state)
{
    (void)state;
    EACH_KEY_KIND(keys)
    {
        expect_ok(kvw_set_optimizer(kv, "accumulate", ""));
        init_list(keys, KEYS, 0);
        for (int i = 0; i < 4; i++) {
            push_list(keys, KEYS, 4, 1);
        }
        expect_list(keys, KEYS, 4, 16);
    }
}

static void test_the_type_is_the_name_given(void **state)
{
    struct kvw *other;

    (void)state;
    expect_ok(kvw_open(&other, "local_allreduce_cpu", "log=error"));
    assert_string_equal(kvw_type(other), "local_allreduce_cpu");
    kvw_close(other);
}

static int try_pull(struct kvw_key key)
{
    struct kvw_op *op;

    expect_ok(kvw_pull(kv, list(&key, 1, 1, -1), 1, NULL, &op));
    return kvw_wait(kv, op, KVW_FOREVER);
}

/* A store has keys of one kind; who mixes 3 and "3" up is told. */
static void test_a_key_of_the_other_kind_is_refused(void **state)
{
    (void)state;
    init(kvw_int(3), 1);
    expect_error(try_init(kvw_str("3"), 1), KVW_EINVAL, "key '3'", "integers");
    expect_error(try_push(kvw_str("3"), 1, 1), KVW_ENOTFOUND, "key '3'", NULL);
    expect_error(try_pull(kvw_str("3")), KVW_ENOTFOUND, "key '3'", NULL);
    expect_pull(kvw_int(3), 1, 1);
    another_store();
    init(kvw_str("a"), 1);
    expect_error(try_init(kvw_int(0), 1), KVW_EINVAL, "key 0", "strings");
    expect_error(try_push(kvw_int(0), 1, 1), KVW_ENOTFOUND, "key 0", NULL);
    expect_error(try_pull(kvw_int(0)), KVW_ENOTFOUND, "key 0", NULL);
    expect_pull(kvw_str("a"), 1, 1);
}

static void test_a_key_cannot_be_initialized_twice(void **state)
{
    (void)state;
    EACH_KEY_KIND(keys)
    {
        const char *name = keys[0].name != NULL ? "key 'a'" : "key 3";

        init_list(keys, 1, 1);
        expect_error(kvw_init(kv, list(keys, 1, 1, 2), 1), KVW_EEXIST,
                     "duplicate init", name);
        expect_list(keys, 1, 1, 1);
    }
}

static void test_the_tutorial_gives_its_numbers(void **state)
{
    float factor = 2;

    (void)state;
    EACH_KEY_KIND(keys)
    {
        expect_ok(kvw_set_updater(kv, NULL, NULL));
        init_list(keys, 1, 2);
        expect_list(keys, 1, 1, 2);
        push_list(keys, 1, 1, 8);
        expect_list(keys, 1, 1, 8);
        push_list(keys, 1, 4, 1);
        expect_list(keys, 1, 1, 4);
        expect_ok(kvw_set_updater(kv, add, &factor));
        expect_list(keys, 1, 1, 4);
        push_list(keys, 1, 1, 1);
        expect_list(keys, 1, 1, 6);
        init_list(keys + 1, 3, 1);
        push_list(keys + 1, 3, 1, 1);
        expect_list(keys + 1, 3, 1, 3);
        push_list(keys + 1, 3, 4, 1);
        expect_list(keys + 1, 3, 1, 11);
    }
}

static void test_default_sgd_moves_zeros_by_a_hundredth(void **state)
{
    (void)state;
    EACH_KEY_KIND(keys)
    {
        expect_ok(kvw_set_optimizer(kv, "sgd", ""));
        init_list(keys, 1, 0);
        push_list(keys, 1, 1, 1);
        expect_list(keys, 1, 1, -0.01f);
    }
}

/* --- The nightly test ----------------------------------------------------- */

/* From four devices, of any numbers from -1 to 1; as if in double. */
static void push_at_random(uint64_t *seed, struct kvw_item *item,
                           const struct kvw_tensor *t, double *sum,
                           size_t count)
{
    for (unsigned d = 0; d < DEVICES_MAX; d++) {
        float *to = t[d].data;

        for (size_t i = 0; i < count; i++) {
            to[i] = (float)chance(seed, 1 << 24) / (1 << 23) - 1;
            sum[i] += 0.1 * (double)to[i];
        }
    }
    item->tensor_count = DEVICES_MAX;
    expect_ok(kvw_push(kv, item, 1, NULL, NULL));
    wait_all();
}

static double relative_error(const float *got, const double *right,
                             size_t count)
{
    double off = 0, size = 0;

    for (size_t i = 0; i < count; i++) {
        off += fabs((double)got[i] - right[i]);
        size += fabs(right[i]);
    }
    return off / size;
}

static void add_up_at_random(uint64_t *seed, struct kvw_key key, uint64_t width)
{
    size_t count = width * width;
    float *room = calloc(count * DEVICES_MAX, sizeof *room);
    double *sum = calloc(count, sizeof *sum);
    struct kvw_tensor t[DEVICES_MAX];
    struct kvw_item item = {key, t, 1};

    assert_true(room != NULL && sum != NULL);
    for (unsigned d = 0; d < DEVICES_MAX; d++) {
        t[d] = (struct kvw_tensor){room + d * count, KVW_F32, 2, {width, width},
                                   KVW_DENSE,        NULL,    0};
    }
    expect_ok(kvw_init(kv, &item, 1));
    for (int repeat = 0; repeat < 10; repeat++) {
        push_at_random(seed, &item, t, sum, count);
        expect_ok(kvw_pull(kv, &item, 1, NULL, NULL));
        wait_all();
        for (unsigned d = 0; d < DEVICES_MAX; d++) {
            assert_true(relative_error(t[d].data, sum, count) < 1e-6);
        }
    }
    free(room);
    free(sum);
}

static void test_sums_of_random_numbers_are_off_by_a_millionth(void **state)
{
    uint64_t seed = chance_seed();

    (void)state;
    expect_ok(kvw_set_optimizer(kv, "test", "rescale_grad=0.1"));
    add_up_at_random(&seed, kvw_int(3), 4);
    add_up_at_random(&seed, kvw_int(5), 100);
    add_up_at_random(&seed, kvw_int(7), 2000);
}

/* --- test_kvstore_custom.py
 * ------------------------------------------------------------------ */

static float out[KEYS][DEVICES_MAX][EACH];
static struct kvw_tensor out_tensors[KEYS][DEVICES_MAX];
static struct kvw_item outs[KEYS];

static void make_outs(const struct kvw_key *keys, unsigned devices)
{
    for (size_t k = 0; k < KEYS; k++) {
        for (unsigned d = 0; d < devices; d++) {
            fill(out[k][d], EACH, -1);
            out_tensors[k][d] = (struct kvw_tensor){
                out[k][d], KVW_F32, 2, {4, 4}, KVW_DENSE, NULL, 0};
        }
        outs[k] = (struct kvw_item){keys[k], out_tensors[k], devices};
    }
}

static void expect_outs(size_t count, unsigned devices, float value)
{
    for (size_t k = 0; k < count; k++) {
        for (unsigned d = 0; d < devices; d++) {
            expect_all(out[k][d], EACH, value);
        }
    }
}

static void test_broadcast_fills_one_out_or_several_of_each_key(void **state)
{
    (void)state;
    EACH_KEY_KIND(keys)
    {
        make_outs(keys, 3);
        outs[0].tensor_count = 1;
        expect_ok(kvw_broadcast(kv, list(keys, 1, 1, 1), outs, 1));
        expect_outs(1, 1, 1);
        expect_ok(kvw_broadcast(kv, list(keys + 1, 3, 1, 1), outs + 1, 3));
        for (size_t k = 1; k < KEYS; k++) {
            for (unsigned d = 0; d < 3; d++) {
                expect_all(out[k][d], EACH, 1);
            }
        }
    }
}

static void test_pushpull_sums_into_outs_or_in_place(void **state)
{
    (void)state;
    EACH_KEY_KIND(keys)
    {
        init_list(keys, KEYS, 0);
        make_outs(keys, 4);
        expect_ok(kvw_pushpull(kv, list(keys, 1, 4, 1), outs, 1, NULL, NULL));
        wait_all();
        expect_outs(1, 4, 4);
        expect_ok(kvw_pushpull(kv, list(keys, 1, 4, 1), NULL, 1, NULL, NULL));
        wait_all();
        expect_data(1, 4, 4);
        expect_ok(
            kvw_pushpull(kv, list(keys, KEYS, 4, 2), outs, KEYS, NULL, NULL));
        wait_all();
        expect_outs(KEYS, 4, 8);
        expect_ok(
            kvw_pushpull(kv, list(keys, KEYS, 4, 2), NULL, KEYS, NULL, NULL));
        wait_all();
        expect_data(KEYS, 4, 8);
    }
}

static void test_repeated_pushpulls_do_not_add_up(void **state)
{
    (void)state;
    EACH_KEY_KIND(keys)
    {
        init_list(keys, 1, 0);
        for (int i = 0; i < 3; i++) {
            expect_ok(
                kvw_pushpull(kv, list(keys, 1, 2, 1), NULL, 1, NULL, NULL));
            wait_all();
            expect_data(1, 2, 2);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_push_of_ones_is_pulled_as_ones),
        TEST(test_the_first_value_is_pulled_before_any_push),
        TEST(test_a_list_of_keys_is_pushed_and_pulled),
        TEST(test_a_key_may_be_new_after_a_push),
        TEST(test_four_devices_are_summed_and_all_get_the_sum),
        TEST(test_an_updater_adds_what_it_receives),
        TEST(test_accumulate_is_that_updater_by_name),
        TEST(test_the_type_is_the_name_given),
        TEST(test_a_key_of_the_other_kind_is_refused),
        TEST(test_a_key_cannot_be_initialized_twice),
        TEST(test_the_tutorial_gives_its_numbers),
        TEST(test_default_sgd_moves_zeros_by_a_hundredth),
        TEST(test_sums_of_random_numbers_are_off_by_a_millionth),
        TEST(test_broadcast_fills_one_out_or_several_of_each_key),
        TEST(test_pushpull_sums_into_outs_or_in_place),
        TEST(test_repeated_pushpulls_do_not_add_up),
    };

    return cmocka_run_group_tests_name("local conformance", tests, NULL, NULL);
}
