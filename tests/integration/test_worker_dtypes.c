/* Values of every dtype on servers: dense ones in several slices, tables, and
 * lists of tensors; two workers that see the same. */
#include "tests/integration/worker_fixture.h"

#include <math.h>

#include "common/compute/dtype.h"

enum { BYTES = BIG * 4, ROWS = 50, LENGTH = 6 };

static const enum kvw_dtype dtypes[] = {KVW_F64, KVW_I64, KVW_I32,
                                        KVW_I8,  KVW_U8,  KVW_F32};

#define DTYPES (sizeof dtypes / sizeof *dtypes)

/* --- Numbers -------------------------------------------------------------- */

static size_t size_of(enum kvw_dtype dtype)
{
    return kv_dtype_size((enum kv_dtype)dtype);
}

static void put(enum kvw_dtype dtype, void *to, size_t i, int64_t value)
{
    char *at = (char *)to + i * size_of(dtype);
    double wide = (double)value;
    float single = (float)value;

    /* Little-endian: a narrow integer is the low bytes of a wide one. */
    memcpy(at,
           dtype == KVW_F64   ? (void *)&wide
           : dtype == KVW_F32 ? (void *)&single
                              : (void *)&value,
           size_of(dtype));
}

/* What f32 cannot hold, where the dtype can. */
static int64_t number(enum kvw_dtype dtype, size_t i, int64_t times)
{
    bool large = dtype == KVW_F64 || dtype == KVW_I64;

    return ((large ? (int64_t)1 << 40 : 0) + (int64_t)(i % 1000)) * times;
}

static void number_all(enum kvw_dtype dtype, void *to, size_t count,
                       int64_t times)
{
    for (size_t i = 0; i < count; i++) {
        put(dtype, to, i, number(dtype, i, times));
    }
}

/* --- Dense ---------------------------------------------------------------- */

static size_t count_of(enum kvw_dtype dtype)
{
    return BYTES / size_of(dtype);
}

static struct kvw_tensor dense(enum kvw_dtype dtype, void *data)
{
    struct kvw_tensor t = {data,      dtype, 1, {count_of(dtype)},
                           KVW_DENSE, NULL,  0};

    return t;
}

/* Rank 1 pushes two tensors, so that the worker sums, too. */
static void push_times(enum kvw_dtype dtype, struct kvw_key key)
{
    struct kvw_tensor one = dense(dtype, g[0]);
    struct kvw_tensor two[] = {dense(dtype, g[1]), dense(dtype, g[0])};
    struct kvw_item alone = item(key, &one), pair = {key, two, 2};

    number_all(dtype, g[0], count_of(dtype), 1);
    number_all(dtype, g[1], count_of(dtype), 5);
    expect_ok(c.kv[0], kvw_push(c.kv[0], &alone, 1, NULL, NULL));
    expect_ok(c.kv[1], kvw_push(c.kv[1], &pair, 1, NULL, NULL));
    wait_all();
}

static void expect_times(enum kvw_dtype dtype, struct kvw_key key,
                         int64_t times)
{
    number_all(dtype, g[0], count_of(dtype), times);
    for (unsigned rank = 0; rank < 2; rank++) {
        struct kvw_tensor t = dense(dtype, w[rank]);
        struct kvw_item i = item(key, &t);

        memset(w[rank], 0x55, BYTES);
        expect_ok(c.kv[rank], kvw_pull(c.kv[rank], &i, 1, NULL, NULL));
        expect_ok(c.kv[rank], kvw_wait_all(c.kv[rank], KVW_FOREVER));
        assert_memory_equal(w[rank], g[0], BYTES);
    }
}

static void init_times(enum kvw_dtype dtype, struct kvw_key key, int64_t times)
{
    struct kvw_tensor t = dense(dtype, w[0]);
    struct kvw_item i = item(key, &t);

    number_all(dtype, w[0], count_of(dtype), times);
    for (unsigned rank = 0; rank < 2; rank++) {
        expect_ok(c.kv[rank], kvw_init(c.kv[rank], &i, 1));
    }
}

static void test_sums_of_every_dtype_are_exact_or_wrap_around(void **state)
{
    (void)state;
    for (size_t d = 0; d < DTYPES; d++) {
        struct kvw_key key = kvw_int((int64_t)d);

        init_times(dtypes[d], key, 3);
        expect_times(dtypes[d], key, 3);
        push_times(dtypes[d], key);
        expect_times(dtypes[d], key, 7);
    }
}

static void test_accumulate_goes_on_after_a_kill(void **state)
{
    (void)state;
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "accumulate", ""));
    for (size_t d = 0; d < DTYPES; d++) {
        init_times(dtypes[d], kvw_int((int64_t)d), 3);
        push_times(dtypes[d], kvw_int((int64_t)d));
    }
    cluster_kill(&c, 1);
    cluster_restart(&c, 1);
    for (size_t d = 0; d < DTYPES; d++) {
        push_times(dtypes[d], kvw_int((int64_t)d));
        expect_times(dtypes[d], kvw_int((int64_t)d), 17);
    }
}

static void test_an_optimizer_refuses_integers_and_changes_none(void **state)
{
    struct kvw_key key = kvw_str("counts");
    struct kvw_tensor t = dense(KVW_I64, w[0]);
    struct kvw_item i = item(key, &t);

    (void)state;
    init_times(KVW_I64, key, 3);
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "adam", ""));
    for (unsigned rank = 0; rank < 2; rank++) {
        expect_ok(c.kv[rank], kvw_push(c.kv[rank], &i, 1, NULL, NULL));
        expect_error(c.kv[rank], kvw_wait_all(c.kv[rank], KVW_FOREVER),
                     KVW_ENOTSUP, "counts", "i64", "adam", NULL);
    }
    expect_times(KVW_I64, key, 3);
}

/* --- Masters -------------------------------------------------------------- */

enum { STEPS = 6, WIDTH = 300 };

/* How a key is trained. */
struct training {
    enum kvw_dtype dtype;
    const char *optimizer, *params;
    int64_t key;
};

/* As many as have room. */
static size_t trained(enum kvw_dtype dtype)
{
    return dtype == KVW_F64 ? BIG / 2 : BIG;
}

/* Numbers for rank or device `from`, small ones among them. */
static struct kvw_tensor numbers(enum kvw_dtype dtype, void *data,
                                 unsigned from, unsigned step)
{
    size_t count = trained(dtype);
    struct kvw_tensor t = {data,      dtype, 2, {count / WIDTH, WIDTH},
                           KVW_DENSE, NULL,  0};
    static float wide[BIG];
    double *doubles = data;

    for (size_t i = 0; i < count; i++) {
        uint32_t salt = (uint32_t)i * 2654435761u + from * 977 + step * 131;

        wide[i] = ((float)(salt % 20011) / 20011 - 0.5f) *
                  (salt % 3 == 0 ? 1e-3f : 1);
        if (dtype == KVW_F64) {
            doubles[i] = (double)wide[i] / 3; /* Not a number of f32. */
        }
    }
    if (dtype != KVW_F64) {
        kv_from_f32((enum kv_dtype)dtype, wide, data, count);
    }
    return t;
}

/* Two devices of one process are summed like two ranks. */
static void train_locally(const struct training *how, void *out)
{
    struct kvw *local;
    struct kvw_tensor t = numbers(how->dtype, out, 7, 0);
    struct kvw_item value = {kvw_int(how->key), &t, 1};

    assert_int_equal(kvw_open(&local, "local", "log=error"), KVW_OK);
    expect_ok(local, kvw_set_optimizer(local, how->optimizer, how->params));
    expect_ok(local, kvw_init(local, &value, 1));
    for (unsigned step = 0; step < STEPS; step++) {
        struct kvw_tensor two[] = {numbers(how->dtype, g[0], 0, step),
                                   numbers(how->dtype, g[1], 1, step)};
        struct kvw_item grads = {kvw_int(how->key), two, 2};

        expect_ok(local, kvw_push(local, &grads, 1, NULL, NULL));
        expect_ok(local, kvw_wait_all(local, KVW_FOREVER));
    }
    expect_ok(local, kvw_pull(local, &value, 1, NULL, NULL));
    expect_ok(local, kvw_wait_all(local, KVW_FOREVER));
    kvw_close(local);
}

static void train_on_servers(const struct training *how, void *out)
{
    struct kvw_tensor t = numbers(how->dtype, out, 7, 0);
    struct kvw_item value = {kvw_int(how->key), &t, 1};

    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], how->optimizer, how->params));
    expect_ok(c.kv[0], kvw_init(c.kv[0], &value, 1));
    expect_ok(c.kv[1], kvw_init(c.kv[1], &value, 1));
    for (unsigned step = 0; step < STEPS; step++) {
        for (unsigned rank = 0; rank < 2; rank++) {
            struct kvw_tensor one = numbers(how->dtype, g[rank], rank, step);
            struct kvw_item grad = {kvw_int(how->key), &one, 1};

            expect_ok(c.kv[rank], kvw_push(c.kv[rank], &grad, 1, NULL, NULL));
        }
        if (step % 2 == 1) {
            cluster_kill(&c, step % 4 / 2);
            cluster_restart(&c, step % 4 / 2);
        }
        wait_all();
    }
    expect_ok(c.kv[0], kvw_pull(c.kv[0], &value, 1, NULL, NULL));
    wait_all();
}

static void expect_same_here_and_there(const struct training *how)
{
    train_locally(how, w[1]);
    train_on_servers(how, w[0]);
    assert_memory_equal(w[0], w[1], trained(how->dtype) * size_of(how->dtype));
}

static void test_masters_live_through_kills_to_the_same_bits(void **state)
{
    const struct training bare = {KVW_F16, "adam", "lr=0.01", 0};
    const struct training how = {KVW_F16, "adam", "lr=0.01,multi_precision=1",
                                 0};

    (void)state;
    train_locally(&bare, w[0]);
    train_locally(&how, w[1]);
    assert_memory_not_equal(w[0], w[1], BIG * 2);
    expect_same_here_and_there(&how);
}

/* A matrix of three slices, which hold whole rows. */
static void test_state_by_rows_has_the_same_bits_here_and_there(void **state)
{
    const struct training how = {KVW_F32, "groupadagrad", "lr=0.1", 0};

    (void)state;
    expect_same_here_and_there(&how);
}

static void test_state_by_rows_has_masters_too(void **state)
{
    const struct training how = {KVW_BF16, "groupadagrad",
                                 "lr=0.1,multi_precision=1", 0};

    (void)state;
    expect_same_here_and_there(&how);
}

static void test_f64_lives_through_kills_to_the_same_bits(void **state)
{
    const struct training hows[] = {
        {KVW_F64, "sgd", "lr=0.01,momentum=0.9,wd=0.01", 0},
        {KVW_F64, "adam", "lr=0.01", 1},
        {KVW_F64, "groupadagrad", "lr=0.1", 2},
    };

    (void)state;
    for (size_t i = 0; i < sizeof hows / sizeof *hows; i++) {
        expect_same_here_and_there(&hows[i]);
    }
}

/* Norms of several slices are added up in another order. */
static void test_norms_of_f64_are_close(void **state)
{
    const struct training how = {KVW_F64, "lamb", "lr=0.01,wd=0.01", 0};
    const double *there = (const void *)w[0], *here = (const void *)w[1];

    (void)state;
    train_locally(&how, w[1]);
    train_on_servers(&how, w[0]);
    for (size_t i = 0; i < trained(KVW_F64); i++) {
        assert_true(fabs(there[i] - here[i]) < 1e-13);
    }
}

/* --- Tables --------------------------------------------------------------- */

static struct kvw_tensor rows(enum kvw_dtype dtype, void *data, int64_t *ids,
                              uint64_t count)
{
    struct kvw_tensor t = {data,           dtype, 2,    {ROWS, LENGTH},
                           KVW_ROW_SPARSE, ids,   count};

    return t;
}

/* Row 7 stands twice in what one rank pushes, and is pushed by both. */
static void test_rows_of_every_dtype_are_summed(void **state)
{
    int64_t ids[] = {7, 3, 7};

    (void)state;
    expect_ok(c.kv[0], kvw_set_optimizer(c.kv[0], "accumulate", ""));
    for (size_t d = 0; d < DTYPES; d++) {
        struct kvw_key key = kvw_int((int64_t)d);
        struct kvw_tensor all = rows(dtypes[d], w[0], NULL, ROWS);
        struct kvw_tensor some = rows(dtypes[d], g[0], ids, 3);
        struct kvw_item table = item(key, &all), push = item(key, &some);
        size_t unit = size_of(dtypes[d]);

        number_all(dtypes[d], w[0], (size_t)ROWS * LENGTH, 1);
        for (size_t n = 0; n < 3 * LENGTH; n++) {
            put(dtypes[d], g[0], n, 1);
        }
        for (unsigned rank = 0; rank < 2; rank++) {
            expect_ok(c.kv[rank], kvw_init(c.kv[rank], &table, 1));
        }
        for (unsigned rank = 0; rank < 2; rank++) {
            expect_ok(c.kv[rank], kvw_push(c.kv[rank], &push, 1, NULL, NULL));
        }
        wait_all();
        memset(w[0], 0x55, ROWS * LENGTH * unit);
        expect_ok(c.kv[0], kvw_pull(c.kv[0], &table, 1, NULL, NULL));
        wait_all();
        number_all(dtypes[d], g[1], (size_t)ROWS * LENGTH, 1);
        for (size_t n = 0; n < LENGTH; n++) {
            size_t three = 3 * LENGTH + n, seven = 7 * LENGTH + n;

            put(dtypes[d], g[1], three, number(dtypes[d], three, 1) + 2);
            put(dtypes[d], g[1], seven, number(dtypes[d], seven, 1) + 4);
        }
        assert_memory_equal(w[0], g[1], ROWS * LENGTH * unit);
    }
}

static void expect_same_bits(const void *a, const void *b, size_t size,
                             const char *optimizer)
{
    if (memcmp(a, b, size) != 0) {
        fail_msg("%s: rows of f64 differ from dense ones", optimizer);
    }
}

/* All rows of a table, in any order, against a dense value of the same f64. */
static void train_both(struct kvw *kv, const char *optimizer,
                       const char *params, struct kvw_key table_key,
                       struct kvw_key dense_key)
{
    static double values[2][ROWS * LENGTH], grads[2][ROWS * LENGTH];
    static int64_t ids[ROWS];
    struct kvw_tensor table = rows(KVW_F64, values[0], NULL, ROWS);
    struct kvw_tensor whole = {values[1], KVW_F64, 2, {ROWS, LENGTH},
                               KVW_DENSE, NULL,    0};
    struct kvw_tensor some = rows(KVW_F64, grads[0], ids, ROWS);
    struct kvw_tensor all = {grads[1],  KVW_F64, 2, {ROWS, LENGTH},
                             KVW_DENSE, NULL,    0};
    struct kvw_item v[] = {item(table_key, &table), item(dense_key, &whole)};
    struct kvw_item d[] = {item(table_key, &some), item(dense_key, &all)};

    for (size_t i = 0; i < ROWS * LENGTH; i++) {
        values[0][i] = values[1][i] = (double)(i % 7 + 1) / 3;
    }
    expect_ok(kv, kvw_set_optimizer(kv, optimizer, params));
    expect_ok(kv, kvw_init(kv, v, 2));
    for (size_t step = 0; step < STEPS; step++) {
        for (size_t r = 0; r < ROWS; r++) {
            ids[r] = (int64_t)(r * 7 + 3) % ROWS;
            for (size_t n = 0; n < LENGTH; n++) {
                grads[0][r * LENGTH + n] = (double)(r * 5 + n + step + 1) / 7;
                grads[1][(size_t)ids[r] * LENGTH + n] =
                    grads[0][r * LENGTH + n];
            }
        }
        expect_ok(kv, kvw_push(kv, d, 2, NULL, NULL));
        expect_ok(kv, kvw_wait_all(kv, KVW_FOREVER));
    }
    memset(values, 0, sizeof values);
    expect_ok(kv, kvw_pull(kv, v, 2, NULL, NULL));
    expect_ok(kv, kvw_wait_all(kv, KVW_FOREVER));
    expect_same_bits(values[0], values[1], sizeof values[0], optimizer);
    assert_true((double)(float)values[0][5] != values[0][5]);
}

static void test_rows_of_f64_are_trained_like_dense_values(void **state)
{
    static const char *const rules[][2] = {
        {"sgd", "lr=0.1,momentum=0.9"},
        {"adam", "lr=0.01"},
        {"adagrad", "lr=0.1"},
        {"groupadagrad", "lr=0.1"},
        {"lamb", "lr=0.01"},
        {"lars", "lr=1,momentum=0.9"},
    };
    struct kvw *local;

    (void)state;
    assert_int_equal(kvw_open(&local, "local", "log=error"), KVW_OK);
    for (int64_t i = 0; i < (int64_t)(sizeof rules / sizeof *rules); i++) {
        train_both(local, rules[i][0], rules[i][1], kvw_int(2 * i),
                   kvw_int(2 * i + 1));
        train_both(c.kv[0], rules[i][0], rules[i][1], kvw_int(2 * i),
                   kvw_int(2 * i + 1));
    }
    kvw_close(local);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_sums_of_every_dtype_are_exact_or_wrap_around, set_up),
        TEST(test_accumulate_goes_on_after_a_kill, set_up),
        TEST(test_an_optimizer_refuses_integers_and_changes_none, set_up),
        TEST(test_masters_live_through_kills_to_the_same_bits, set_up),
        TEST(test_state_by_rows_has_the_same_bits_here_and_there, set_up),
        TEST(test_state_by_rows_has_masters_too, set_up),
        TEST(test_f64_lives_through_kills_to_the_same_bits, set_up),
        TEST(test_norms_of_f64_are_close, set_up),
        TEST(test_rows_of_every_dtype_are_summed, set_up),
        TEST(test_rows_of_f64_are_trained_like_dense_values, set_up_alone),
    };

    return cmocka_run_group_tests_name("worker dtypes", tests, NULL, NULL);
}
