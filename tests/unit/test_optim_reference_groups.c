/* groupadagrad, whose state is one number a row, against its formula in double
 * over MXNet's own grid of options: the rule itself, and in a local store on
 * dense values and on rows. */
#include "tests/unit/local_fixture.h"
#include "tests/unit/optim_grid.h"

#define STEPS 5
#define ROWS_MAX 10

static uint64_t seed;

static const char *const recipes_of_groups[] = {"", "eps=0.1", "eps=1e-30"};

#define GROUP_RECIPES (sizeof recipes_of_groups / sizeof *recipes_of_groups)

/* --- The formula ---------------------------------------------------------- */

struct groups {
    struct grid_shape shape;
    double w[GRID_COUNT_MAX], h[ROWS_MAX];
    float weight[GRID_COUNT_MAX], gradient[GRID_COUNT_MAX];
    bool pushed[ROWS_MAX];
};

static size_t count_of(const struct groups *g)
{
    return g->shape.rows * g->shape.length;
}

static void begin(struct groups *g, struct grid_shape shape)
{
    memset(g, 0, sizeof *g);
    g->shape = shape;
    for (size_t i = 0; i < count_of(g); i++) {
        g->weight[i] = some_number(&seed, 0, 0.5);
        g->w[i] = (double)g->weight[i];
    }
}

/* h += mean of G * G over the row; w -= lr * G / root of (h + eps) */
static void move_row(struct groups *g, size_t row, const struct hyper *h)
{
    size_t first = row * g->shape.length, end = first + g->shape.length;
    double sum = 0;

    for (size_t i = first; i < end; i++) {
        sum += pow(plain((double)g->gradient[i], h), 2);
    }
    g->h[row] += sum / (double)g->shape.length;
    for (size_t i = first; i < end; i++) {
        g->w[i] -=
            h->lr * plain((double)g->gradient[i], h) / sqrt(g->h[row] + h->eps);
    }
}

/* A gradient of all rows, or of those chosen by chance. */
static void move(struct groups *g, const struct kv_optim_spec *spec, bool all)
{
    struct hyper h = hyper_of(spec);

    for (size_t row = 0; row < g->shape.rows; row++) {
        float *to = g->gradient + row * g->shape.length;

        g->pushed[row] = all || chance(&seed, 2) == 0;
        for (size_t i = 0; i < g->shape.length; i++) {
            to[i] = some_number(&seed, 0.1, 1);
        }
        if (g->pushed[row]) {
            move_row(g, row, &h);
        }
    }
}

static void expect_close(const float *got, const double *expected, size_t count,
                         const char *params, const char *what, int step)
{
    for (size_t i = 0; i < count; i++) {
        if (!is_close(got[i], expected[i])) {
            fail_msg("%s, update %d: %s [%zu] is %.9g, not %.9g", params, step,
                     what, i, (double)got[i], expected[i]);
        }
    }
}

/* --- The rule ------------------------------------------------------------- */

static void expect_rule(const char *params, struct grid_shape shape)
{
    struct kv_optim_spec spec = parsed("groupadagrad", params);
    unsigned char update[KV_OPTIM_STEP_MAX];
    float state[ROWS_MAX] = {0};
    struct groups g;

    begin(&g, shape);
    for (int step = 1; step <= STEPS; step++) {
        struct kv_optim_args args = {.count = count_of(&g),
                                     .weight = g.weight,
                                     .new_weight = g.weight,
                                     .gradient = g.gradient,
                                     .slot = {state},
                                     .new_slot = {state},
                                     .step = update,
                                     .row_length = shape.length};

        move(&g, &spec, true);
        kv_optim_prepare(&spec, KV_F32, NULL, (uint64_t)step, update);
        spec.optim->update(&args);
        expect_close(g.weight, g.w, count_of(&g), params, "weight", step);
        expect_close(state, g.h, shape.rows, params, "state", step);
    }
}

/* --- A store -------------------------------------------------------------- */

static uint64_t pack(const struct groups *g, int64_t *rows, float *to)
{
    size_t length = g->shape.length;
    uint64_t count = 0;

    for (size_t row = 0; row < g->shape.rows; row++) {
        if (g->pushed[row]) {
            memcpy(to + count * length, g->gradient + row * length,
                   length * sizeof *to);
            rows[count++] = (int64_t)row;
        }
    }
    return count;
}

static void expect_store(const char *params, struct grid_shape shape,
                         enum kvw_storage storage)
{
    static int64_t keys;
    struct kv_optim_spec spec = parsed("groupadagrad", params);
    float packed[GRID_COUNT_MAX];
    int64_t rows[ROWS_MAX];
    struct groups g;
    struct kvw_tensor w =
        kvw_f32_rows(g.weight, NULL, shape.rows, shape.rows, shape.length);
    struct kvw_tensor t =
        kvw_f32_rows(packed, rows, 0, shape.rows, shape.length);
    struct kvw_item value = {kvw_int(++keys), &w, 1}, grad = {value.key, &t, 1};

    w.storage = t.storage = storage;
    t.rows = storage == KVW_DENSE ? NULL : rows;
    begin(&g, shape);
    expect_ok(kvw_set_optimizer(kv, "groupadagrad", params));
    expect_ok(kvw_init(kv, &value, 1));
    for (int step = 1; step <= STEPS; step++) {
        move(&g, &spec, storage == KVW_DENSE);
        t.row_count = pack(&g, rows, packed);
        expect_ok(kvw_pushpull(kv, &grad, &value, 1, NULL, NULL));
        wait_all();
        expect_close(g.weight, g.w, count_of(&g), params, "weight", step);
    }
}

/* --- Tests ---------------------------------------------------------------- */

/* It has neither momentum nor weight decay. */
static void each_point(void (*expect)(const char *params,
                                      struct grid_shape shape))
{
    for (size_t i = 0; i < GROUP_RECIPES * 3 * 3 * 3; i++) {
        char text[GRID_TEXT_MAX];

        grid_text(text, "groupadagrad", recipes_of_groups[i / 27], i % 27);
        assert_null(strstr(text, "wd=0."));
        expect(text, grid_shape(i % 27));
    }
}

static void expect_dense(const char *params, struct grid_shape shape)
{
    expect_store(params, shape, KVW_DENSE);
}

static void expect_rows(const char *params, struct grid_shape shape)
{
    expect_store(params, shape, KVW_ROW_SPARSE);
}

static void test_the_rule_follows_its_formula(void **state)
{
    (void)state;
    each_point(expect_rule);
}

static void test_a_dense_value_follows_the_formula(void **state)
{
    (void)state;
    each_point(expect_dense);
}

static void test_rows_follow_it_and_the_others_stay(void **state)
{
    (void)state;
    each_point(expect_rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_rule_follows_its_formula),
        TEST(test_a_dense_value_follows_the_formula),
        TEST(test_rows_follow_it_and_the_others_stay),
    };

    seed = chance_seed();
    return cmocka_run_group_tests_name("optim_reference_groups", tests, NULL,
                                       NULL);
}
