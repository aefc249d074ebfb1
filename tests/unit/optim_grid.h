/**
 * optim_grid - which formula is whose, and MXNet's own grid of options.
 *
 * Its tests of optimizers go through shapes, clip_gradient, rescale_grad and
 * wd; momentum is among the recipes. `options` are parameters that the recipes
 * leave at their defaults: far from those, so that a number in the wrong place
 * shows.
 */
#ifndef KV_TESTS_UNIT_OPTIM_GRID_H
#define KV_TESTS_UNIT_OPTIM_GRID_H

#include "tests/unit/optim_reference.h"

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

/* (3,4,5), (10,4) and (7,), as tables. */
static const struct grid_shape {
    size_t rows, length;
} grid_shapes[] = {{3, 20}, {10, 4}, {7, 1}};

#define GRID ((size_t)3 * 3 * 3 * 4)
#define GRID_TEXT_MAX 192
#define GRID_COUNT_MAX 60

static inline struct grid_shape grid_shape(size_t i)
{
    return grid_shapes[i % 3];
}

static inline reference_fn reference_of(const char *name)
{
    for (size_t i = 0; i < REFERENCE_COUNT; i++) {
        if (strcmp(references[i].name, name) == 0) {
            return references[i].step;
        }
    }
    return NULL;
}

/* A parameter, for those that have it and take this number. */
static inline void grid_choose(char *text, const struct kv_optim_spec *spec,
                               const char *name, double number)
{
    int i = kv_optim_param_index(spec->optim, name);
    size_t used = strlen(text);

    if (i >= 0 && number <= spec->optim->params[i].max) {
        snprintf(text + used, GRID_TEXT_MAX - used, "%s%s=%g",
                 used > 0 ? "," : "", name, number);
    }
}

/* The recipe's parameters and those of point `i`. */
static inline void grid_text(char *text, const char *name, const char *params,
                             size_t i)
{
    static const double clips[] = {-1, 0.4, 0.5};
    static const double rescales[] = {1, 0.14, 0.8};
    static const double decays[] = {0, 0.03, 0.05, 0.07};
    struct kv_optim_spec spec = parsed(name, params);

    snprintf(text, GRID_TEXT_MAX, "%s", params);
    grid_choose(text, &spec, "learning_rate", 0.1);
    grid_choose(text, &spec, "clip_gradient", clips[i / 3 % 3]);
    grid_choose(text, &spec, "rescale_grad", rescales[i / 9 % 3]);
    grid_choose(text, &spec, "wd", decays[i / 27]);
}

/* As close as MXNet's own tests of its adam demand. */
static inline bool is_close(float got, double right)
{
    return fabs((double)got - right) <= 1e-4 * fabs(right) + 2e-5;
}

#endif
