/* Every optimizer against its formula in double, over MXNet's own grid of
 * options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/optim_reference.h"

#define STEPS 5

struct reference {
    const char *name;
    reference_fn step;
};

static const struct reference references[] = {
    {"accumulate", reference_accumulate},
    {"adabelief", reference_adabelief},
    {"adadelta", reference_adadelta},
    {"adagrad", reference_adagrad},
    {"adam", reference_adam},
    {"adamax", reference_adamax},
    {"adamw", reference_adamw},
    {"dcasgd", reference_dcasgd},
    {"ftml", reference_ftml},
    {"ftrl", reference_ftrl},
    {"lion", reference_lion},
    {"nadam", reference_nadam},
    {"nag", reference_nag},
    {"rmsprop", reference_rmsprop},
    {"sgd", reference_sgd},
    {"signsgd", reference_signum},
    {"signum", reference_signum},
    {"test", reference_test},
};

#define REFERENCE_COUNT (sizeof references / sizeof *references)

/* Options that the recipes leave at their defaults: far from those, so that a
 * number in the wrong place shows. */
static const struct optim_recipe options[] = {
    {"adabelief", "beta1=0.5,beta2=0.6,epsilon=0.1"},
    {"adabelief", "correct_bias=0"},
    {"adadelta", "rho=0.5,epsilon=0.1"},
    {"adagrad", "eps=0.1"},
    {"adam", "beta1=0.5,beta2=0.6,epsilon=0.1"},
    {"adamax", "beta1=0.5,beta2=0.6"},
    {"adamw", "beta1=0.5,beta2=0.6,epsilon=0.1"},
    {"adamw", "correct_bias=0"},
    {"dcasgd", "momentum=0.5,lamda=2"},
    {"ftml", "beta1=0.3,beta2=0.7,epsilon=0.1"},
    {"ftrl", "lamda1=0.3,beta=0.25"},
    {"lion", "beta1=0.3,beta2=0.7"},
    {"nadam", "beta1=0.5,beta2=0.6,epsilon=0.1,schedule_decay=2"},
    {"rmsprop", "gamma1=0.5,epsilon=0.1"},
    {"rmsprop", "centered=1,gamma1=0.5,gamma2=0.3,epsilon=0.1"},
    {"rmsprop", "clip_weights=0.25"},
    {"rmsprop", "centered=1,clip_weights=0.25"},
    {"signum", "momentum=0.5,wd_lh=0.2"},
    {"signum", "momentum=0,wd_lh=0.2"},
};

#define OPTION_COUNT (sizeof options / sizeof *options)

/* (3,4,5), (10,4) and (7,). */
static const size_t counts[] = {60, 40, 7};

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

static reference_fn reference_of(const char *name)
{
    for (size_t i = 0; i < REFERENCE_COUNT; i++) {
        if (strcmp(references[i].name, name) == 0) {
            return references[i].step;
        }
    }
    return NULL;
}

/* A parameter of the grid, for those that have it. */
static void choose_if_any(struct value *v, const char *name, double number)
{
    if (has_param(&v->spec, name)) {
        choose(v, name, number);
    }
}

/* As close as MXNet's own tests of its adam demand. */
static bool is_close(float got, double right)
{
    return fabs((double)got - right) <= 1e-4 * fabs(right) + 2e-5;
}

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
    static const double clips[] = {-1, 0.4, 0.5};
    static const double rescales[] = {1, 0.14, 0.8};
    static const double decays[] = {0, 0.03, 0.05, 0.07};

    for (size_t i = 0; i < (size_t)3 * 3 * 4 * 3; i++) {
        start(&f->v, name, params, counts[i % 3]);
        choose_if_any(&f->v, "learning_rate", 0.1);
        choose_if_any(&f->v, "clip_gradient", clips[i / 3 % 3]);
        choose_if_any(&f->v, "rescale_grad", rescales[i / 9 % 3]);
        choose_if_any(&f->v, "wd", decays[i / 27]);
        expect_like_reference(f, name, params);
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
