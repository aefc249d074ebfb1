/* lars, lamb and lans in a local store: norms of the whole value. */
#include "tests/unit/local_fixture.h"
#include "tests/unit/optim_fixture.h"
#include "tests/unit/optim_norms_reference.h"

enum { STEPS = 6, LARGE = 300001, LONG = 64 };

/* (3,4,5), (10,4) and (7,) as MXNet's, and one of several blocks. */
static const struct shape {
    size_t rows, length;
} shapes[] = {{3, 20}, {10, 4}, {7, 1}, {100, 61}};

static uint64_t seed;
static struct whole right;
static float weight[WHOLE_MAX], gradient[WHOLE_MAX], pushed[WHOLE_MAX];
static unsigned char moves[WHOLE_MAX];
static int64_t rows[WHOLE_MAX];

/* --- Against the formula -------------------------------------------------- */

/* Half of the rows, or all of a dense gradient: into `pushed`. */
static uint64_t some_gradient(struct shape s, bool sparse)
{
    uint64_t count = 0;

    memset(moves, 0, sizeof moves);
    memset(gradient, 0, sizeof gradient);
    for (size_t row = 0; row < s.rows; row++) {
        size_t first = row * s.length;

        if (sparse && chance(&seed, 2) == 0) {
            continue;
        }
        some_numbers(&seed, gradient + first, s.length);
        memcpy(pushed + count * s.length, gradient + first,
               s.length * sizeof *pushed);
        memset(moves + first, 1, s.length);
        rows[count++] = (int64_t)row;
    }
    return count;
}

static void push_and_pull(struct kvw_item *push, struct kvw_item *pull)
{
    expect_ok(kvw_push(kv, push, 1, NULL, NULL));
    expect_ok(kvw_pull(kv, pull, 1, NULL, NULL));
    wait_all();
}

static void expect_close(const char *name, const char *params, double limit)
{
    for (size_t i = 0; i < right.count; i++) {
        double error = fabs((double)weight[i] - right.w[i]);

        if (!(error <= limit * (1 + fabs(right.w[i])))) {
            fail_msg("%s %s: after %g updates [%zu] is %.9g, not %.9g", name,
                     params, right.t, i, (double)weight[i], right.w[i]);
        }
    }
}

static void expect_like(const char *name, const char *params, struct shape s,
                        bool sparse)
{
    static int64_t keys;
    struct kv_optim_spec spec = parsed(name, params);
    struct kvw_tensor w = kvw_f32_rows(weight, NULL, s.rows, s.rows, s.length);
    struct kvw_tensor g = kvw_f32_rows(pushed, rows, 0, s.rows, s.length);
    struct kvw_item pull = {kvw_int(++keys), &w, 1};
    struct kvw_item push = {kvw_int(keys), &g, 1};

    if (!sparse) {
        w.storage = g.storage = KVW_DENSE;
        g.rows = NULL;
    }
    some_numbers(&seed, weight, s.rows * s.length);
    whole_start(&right, weight, s.rows * s.length);
    expect_ok(kvw_set_optimizer(kv, name, params));
    expect_ok(kvw_init(kv, &pull, 1));
    for (int step = 0; step < STEPS; step++) {
        g.row_count = some_gradient(s, sparse);
        push_and_pull(&push, &pull);
        whole_update(&right, &spec, gradient, moves);
        expect_close(name, params, whole_tolerance(name));
    }
}

static void test_every_mix_of_options_follows_the_formula(void **state)
{
    (void)state;
    for (size_t i = 0; i < WHOLE_GRID * 4; i++) {
        char params[160];
        const char *name = whole_grid(params, sizeof params, i / 4);

        expect_like(name, params, shapes[i % 4], false);
        expect_like(name, params, shapes[i % 4], true);
    }
}

/* Norms of all rows, though the others stay where they are; lars alone may
 * move them, too. */
static void test_rows_that_stay_count_in_lars_norms(void **state)
{
    static const char *const params[] = {
        "lr=2,eta=0.1,wd=0.05,momentum=0.9,lazy_update=0",
        "lr=2,eta=0.1,wd=0.05,lazy_update=0",
        "lr=2,eta=0.1,wd=0.05,momentum=0.9,lazy_update=1"};

    (void)state;
    for (size_t i = 0; i < 4 * 3; i++) {
        expect_like("lars", params[i % 3], shapes[i / 3], true);
    }
}

static void test_a_key_named_bias_has_no_ratio(void **state)
{
    static float one[LONG];
    struct kvw_tensor t = kvw_f32(one, LONG);
    struct kvw_item plain = {kvw_str("fc1_bias"), &t, 1};
    struct kvw_item other = {kvw_str("fc1_weight"), &t, 1};

    (void)state;
    fill(one, LONG, 1);
    expect_ok(kvw_set_optimizer(kv, "lars", "lr=0.5,eta=0.25"));
    expect_ok(kvw_init(kv, &plain, 1));
    expect_ok(kvw_init(kv, &other, 1));
    push_and_pull(&plain, &plain);
    expect_all(one, LONG, 0.5f);
    fill(one, LONG, 1);
    push_and_pull(&other, &other);
    expect_all(one, LONG, 1 - 0.125f);
}

/* --- Threads -------------------------------------------------------------- */

static float *large[3], *value;

static void train_large(const char *name, const char *params,
                        enum kvw_dtype dtype, const char *options, void *out)
{
    struct kvw_tensor g[2], w = {out, dtype, 1, {LARGE}, KVW_DENSE, NULL, 0};
    struct kvw_item push = {kvw_int(1), g, 2}, pull = {kvw_int(1), &w, 1};

    g[0] = g[1] = w;
    g[0].data = large[1];
    g[1].data = large[2];
    memcpy(out, large[0], LARGE * kv_dtype_size((enum kv_dtype)dtype));
    assert_int_equal(set_up_threads(options), 0);
    expect_ok(kvw_set_optimizer(kv, name, params));
    expect_ok(kvw_init(kv, &pull, 1));
    for (int step = 0; step < 3; step++) {
        push_and_pull(&push, &pull);
    }
    tear_down(NULL);
}

static void expect_same_for_all_threads(const char *name, const char *params,
                                        enum kvw_dtype dtype)
{
    size_t size = LARGE * kv_dtype_size((enum kv_dtype)dtype);
    float *one = malloc(LARGE * sizeof *one);

    train_large(name, params, dtype, "log=error,threads=1", one);
    train_large(name, params, dtype, "log=error,threads=3", value);
    if (memcmp(one, value, size) != 0) {
        fail_msg("%s %s: other bits with three threads", name, params);
    }
    assert_memory_not_equal(one, large[0], size);
    free(one);
}

static void test_any_number_of_threads_gives_the_same_bits(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        some_numbers(&seed, large[i], LARGE);
    }
    expect_same_for_all_threads("lars", "lr=1,wd=0.01,momentum=0.9", KVW_F32);
    expect_same_for_all_threads("lamb", "lr=0.1,wd=0.01", KVW_F32);
    expect_same_for_all_threads("lans", "lr=0.1,wd=0.01", KVW_F32);
    for (int i = 0; i < 3; i++) {
        memcpy(value, large[i], LARGE * sizeof *value);
        kv_from_f32(KV_F16, value, large[i], LARGE);
    }
    expect_same_for_all_threads("lans", "lr=0.1,wd=0.01", KVW_F16);
    expect_same_for_all_threads("lamb", "lr=0.1,multi_precision=1", KVW_F16);
}

static int set_up_large(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        large[i] = malloc(LARGE * sizeof(float));
    }
    value = malloc(LARGE * sizeof *value);
    return 0;
}

static int tear_down_large(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        free(large[i]);
    }
    free(value);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_every_mix_of_options_follows_the_formula),
        TEST(test_rows_that_stay_count_in_lars_norms),
        TEST(test_a_key_named_bias_has_no_ratio),
        cmocka_unit_test_setup_teardown(
            test_any_number_of_threads_gives_the_same_bits, set_up_large,
            tear_down_large),
    };

    seed = chance_seed();
    return cmocka_run_group_tests_name("local norms", tests, NULL, NULL);
}
