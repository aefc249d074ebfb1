/* Every optimizer against its formula in double, over MXNet's own grid of
 * options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/optim_grid.h"

#define STEPS 5

struct fixture {
    uint64_t chance;
    struct value v;
    struct reference_weight right[60];
};

static struct fixture fixture;

static int set_up(void **state)
{
    fixture.chance = chance_seed();
    *state = &fixture;
    return 0;
}

/* --- Steps ---------------------------------------------------------------- */

static double state_of(const struct reference_weight *r, unsigned slot)
{
    return slot == 0 ? r->a : slot == 1 ? r->b : r->c;
}

static void expect_close(struct fixture *f, const char *name,
                         const char *params)
{
    const struct value *v = &f->v;

    for (size_t i = 0; i < v->count; i++) {
        struct reference_weight *r = &f->right[i];
        float got = v->weight[v->live][i];

        if (r->unsure) {
            r->w = (double)got;
        }
        if (!is_close(got, r->w)) {
            fail_msg("%s %s, update %g: [%zu] is %.9g, not %.9g", name, params,
                     r->t, i, (double)got, r->w);
        }
        for (unsigned s = 0; s < slots_of(&v->spec); s++) {
            float state = v->slot[v->live][s][i];

            if (!is_close(state, state_of(r, s))) {
                fail_msg("%s %s, update %g: state %u of [%zu] is %.9g, "
                         "not %.9g",
                         name, params, r->t, s, i, (double)state,
                         state_of(r, s));
            }
        }
    }
}

/* Gradients are not near 0, where the quotients of adam's family jump. */
static void expect_like_reference(struct fixture *f, const char *name,
                                  const char *params)
{
    struct hyper h = hyper_of(&f->v.spec);
    reference_fn step = reference_of(name);
    struct value *v = &f->v;

    memset(f->right, 0, sizeof f->right);
    for (size_t i = 0; i < v->count; i++) {
        v->weight[0][i] = some_number(&f->chance, 0, 0.5);
        f->right[i].w = (double)v->weight[0][i];
    }
    for (int t = 1; t <= STEPS; t++) {
        float gradient[60];

        for (size_t i = 0; i < v->count; i++) {
            gradient[i] = some_number(&f->chance, 0.5, 1);
            f->right[i].t = t;
            step(&f->right[i], (double)gradient[i], &h);
        }
        update(v, gradient, v->count);
        expect_close(f, name, params);
    }
}

static void expect_like_reference_on_grid(struct fixture *f, const char *name,
                                          const char *params)
{
    for (size_t i = 0; i < GRID; i++) {
        char text[GRID_TEXT_MAX];

        grid_text(text, name, params, i);
        start(&f->v, name, text, grid_shape(i).rows * grid_shape(i).length);
        expect_like_reference(f, name, text);
    }
}

/* --- Tests ---------------------------------------------------------------- */

/* These look at more than one weight at a time, or roll dice. */
static bool is_checked_elsewhere(const char *name)
{
    static const char *const names[] = {"groupadagrad", "lamb", "lans", "lars",
                                        "sgld"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void test_no_optimizer_is_without_a_formula(void **state)
{
    char names[KV_OPTIM_ERROR_MAX], *rest = names;

    (void)state;
    kv_optim_names(names, sizeof names);
    for (char *name; (name = strtok_r(rest, ", ", &rest)) != NULL;) {
        bool tried = false;

        for (size_t k = 0; k < RECIPE_COUNT; k++) {
            tried = tried || strcmp(recipes[k].name, name) == 0;
        }
        if ((!tried || reference_of(name) == NULL) &&
            !is_checked_elsewhere(name)) {
            fail_msg("%s: to be added to recipes and references", name);
        }
    }
}

static void test_every_mix_of_options_follows_the_formula(void **state)
{
    for (size_t k = 0; k < RECIPE_COUNT; k++) {
        expect_like_reference_on_grid(*state, recipes[k].name,
                                      recipes[k].params);
    }
}

static void test_every_parameter_is_where_the_formula_has_it(void **state)
{
    for (size_t k = 0; k < OPTION_COUNT; k++) {
        expect_like_reference_on_grid(*state, options[k].name,
                                      options[k].params);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_optimizer_is_without_a_formula),
        cmocka_unit_test(test_every_mix_of_options_follows_the_formula),
        cmocka_unit_test(test_every_parameter_is_where_the_formula_has_it),
    };

    return cmocka_run_group_tests_name("optim_reference", tests, set_up, NULL);
}
