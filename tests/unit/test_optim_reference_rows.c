/* Every optimizer on rows of a table, in a local store, against its formula in
 * double, over MXNet's own grid of options: rows that a gradient lacks stay as
 * they are, or count as rows of zeros. */
#include "tests/unit/local_fixture.h"
#include "tests/unit/optim_grid.h"

#define STEPS 5

struct table {
    struct grid_shape shape;
    struct kvw_key key;
    struct reference_weight right[GRID_COUNT_MAX];
    float data[GRID_COUNT_MAX];
    int64_t rows[10];
    uint64_t row_count;
    bool pushed[10];
};

static uint64_t seed;

/* --- Steps ---------------------------------------------------------------- */

static struct kvw_tensor rows_of(struct table *t)
{
    return kvw_f32_rows(t->data, t->rows, t->row_count, t->shape.rows,
                        t->shape.length);
}

static void init_table(struct table *t)
{
    struct kvw_tensor all = kvw_f32_rows(t->data, NULL, t->shape.rows,
                                         t->shape.rows, t->shape.length);
    struct kvw_item item = {t->key, &all, 1};

    for (size_t i = 0; i < t->shape.rows * t->shape.length; i++) {
        t->data[i] = some_number(&seed, 0, 0.5);
        t->right[i].w = (double)t->data[i];
    }
    expect_ok(kvw_init(kv, &item, 1));
}

/* MXNet's sparse kernels. */
static const struct {
    const char *name;
    bool chosen;
} sparse[] = {
    {"adagrad", false}, {"adam", true}, {"ftrl", false}, {"sgd", true}};

static bool may_choose(const char *name)
{
    for (size_t i = 0; i < sizeof sparse / sizeof *sparse; i++) {
        if (strcmp(sparse[i].name, name) == 0) {
            return sparse[i].chosen;
        }
    }
    return false;
}

static bool is_lazy(const struct kv_optim_spec *spec)
{
    for (size_t i = 0; i < sizeof sparse / sizeof *sparse; i++) {
        if (strcmp(sparse[i].name, spec->optim->name) == 0) {
            return !sparse[i].chosen || spec->lazy_update == 1;
        }
    }
    return false;
}

/* Each row or not; the formula sees zeros where there is none. */
static void push_some_rows(struct table *t, const struct kv_optim_spec *spec,
                           double step)
{
    struct hyper h = hyper_of(spec);
    struct kvw_tensor rows;
    struct kvw_item item = {t->key, &rows, 1};
    size_t length = t->shape.length;

    t->row_count = 0;
    for (size_t row = 0; row < t->shape.rows; row++) {
        float *gradient = t->data + t->row_count * length;

        t->pushed[row] = chance(&seed, 2) == 0;
        if (t->pushed[row]) {
            t->rows[t->row_count++] = (int64_t)row;
        } else if (is_lazy(spec)) {
            continue;
        }
        for (size_t i = 0; i < length; i++) {
            struct reference_weight *r = &t->right[row * length + i];
            float g = t->pushed[row] ? some_number(&seed, 0.5, 1) : 0;

            r->t = step;
            reference_of(spec->optim->name)(r, (double)g, &h);
            if (t->pushed[row]) {
                gradient[i] = g;
            }
        }
    }
    rows = rows_of(t);
    expect_ok(kvw_push(kv, &item, 1, NULL, NULL));
    wait_all();
}

static void expect_table(struct table *t, const char *name, const char *params,
                         double step)
{
    struct kvw_tensor all = kvw_f32_rows(t->data, NULL, t->shape.rows,
                                         t->shape.rows, t->shape.length);
    struct kvw_item item = {t->key, &all, 1};

    expect_ok(kvw_pull(kv, &item, 1, NULL, NULL));
    wait_all();
    for (size_t i = 0; i < t->shape.rows * t->shape.length; i++) {
        size_t row = i / t->shape.length;

        if (t->right[i].unsure) {
            t->right[i].w = (double)t->data[i];
        }
        if (!is_close(t->data[i], t->right[i].w)) {
            fail_msg("%s %s, update %g: [%zu] of row %zu, %s, is %.9g, not "
                     "%.9g",
                     name, params, step, i % t->shape.length, row,
                     t->pushed[row] ? "pushed" : "not pushed",
                     (double)t->data[i], t->right[i].w);
        }
    }
}

static void expect_like_reference(const char *name, const char *params,
                                  struct grid_shape shape)
{
    static int64_t tables;
    struct table t = {.shape = shape, .key = kvw_int(tables++)};
    struct kv_optim_spec spec = parsed(name, params);

    expect_ok(kvw_set_optimizer(kv, name, params));
    init_table(&t);
    for (int step = 1; step <= STEPS; step++) {
        push_some_rows(&t, &spec, step);
        expect_table(&t, name, params, step);
    }
}

/* Where it can be chosen, lazy and not. */
static void expect_like_reference_on_grid(const char *name, const char *params)
{
    size_t ways = may_choose(name) ? 2 : 1;

    for (size_t i = 0; i < GRID * ways; i++) {
        char text[GRID_TEXT_MAX];

        grid_text(text, name, params, i % GRID);
        if (ways == 2) {
            size_t used = strlen(text);

            snprintf(text + used, sizeof text - used, ",lazy_update=%d",
                     i < GRID);
        }
        expect_like_reference(name, text, grid_shape(i));
    }
}

/* --- Tests ---------------------------------------------------------------- */

static void test_every_mix_of_options_follows_the_formula(void **state)
{
    (void)state;
    for (size_t k = 0; k < RECIPE_COUNT; k++) {
        expect_like_reference_on_grid(recipes[k].name, recipes[k].params);
    }
}

static void test_every_parameter_is_where_the_formula_has_it(void **state)
{
    (void)state;
    for (size_t k = 0; k < OPTION_COUNT; k++) {
        expect_like_reference_on_grid(options[k].name, options[k].params);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_every_mix_of_options_follows_the_formula),
        TEST(test_every_parameter_is_where_the_formula_has_it),
    };

    seed = chance_seed();
    return cmocka_run_group_tests_name("optim_reference_rows", tests, NULL,
                                       NULL);
}
