/**
 * optim_fixture - values being trained, and every optimizer to train them with.
 *
 * Like the server, a value has two halves that take turns: an update reads one
 * and writes the other.
 */
#ifndef KV_TESTS_UNIT_OPTIM_FIXTURE_H
#define KV_TESTS_UNIT_OPTIM_FIXTURE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/optim/optim.h"
#include "tests/unit/chance.h"

#define COUNT_MAX 4099
#define ROOM 4160 /* Keeps arrays at cache lines, and has something behind. */

struct value {
    struct kv_optim_spec spec;
    size_t count;
    uint64_t t;
    int live;
    bool stream;
    _Alignas(64) float weight[2][ROOM];
    float slot[2][KV_OPTIM_SLOTS_MAX][ROOM];
};

/* Those that treat each weight alone, in every shape their state can have. */
struct optim_recipe {
    const char *name, *params;
};

static const struct optim_recipe recipes[] = {
    {"accumulate", ""},
    {"adabelief", ""},
    {"adadelta", ""},
    {"adagrad", ""},
    {"adam", ""},
    {"adamax", ""},
    {"adamw", ""},
    {"dcasgd", ""},
    {"dcasgd", "momentum=0.9"},
    {"ftml", ""},
    {"ftrl", ""},
    {"lion", ""},
    {"nadam", ""},
    {"nag", ""},
    {"nag", "momentum=0.9"},
    {"rmsprop", ""},
    {"rmsprop", "centered=1"},
    {"sgd", ""},
    {"sgd", "momentum=0.9"},
    {"signsgd", ""},
    {"signsgd", "momentum=0.9"},
    {"signum", ""},
    {"signum", "momentum=0"},
    {"test", ""},
};

#define RECIPE_COUNT (sizeof recipes / sizeof *recipes)

static inline struct kv_optim_spec parsed(const char *name, const char *params)
{
    char error[KV_OPTIM_ERROR_MAX] = "";
    struct kv_optim_spec spec = {0};

    if (kv_optim_parse(name, params, &spec, error, sizeof error) != KV_OK) {
        fail_msg("%s", error);
    }
    return spec;
}

static inline unsigned slots_of(const struct kv_optim_spec *spec)
{
    return spec->optim->slots(spec->params);
}

static inline bool has_param(const struct kv_optim_spec *spec, const char *name)
{
    return kv_optim_param_index(spec->optim, name) >= 0;
}

static inline double param(const struct kv_optim_spec *spec, const char *name)
{
    assert_true(has_param(spec, name));
    return spec->params[kv_optim_param_index(spec->optim, name)];
}

/* Change a parameter of a value just begun. */
static inline void choose(struct value *v, const char *name, double number)
{
    char error[KV_OPTIM_ERROR_MAX] = "";

    if (kv_optim_choose(&v->spec, name, number, error, sizeof error) != KV_OK) {
        fail_msg("%s", error);
    }
}

static inline void start(struct value *v, const char *name, const char *params,
                         size_t count)
{
    memset(v, 0, sizeof *v);
    v->spec = parsed(name, params);
    v->count = count;
}

/* From the live half into the other, `block` weights at a time. */
static inline void update(struct value *v, const float *gradient, size_t block)
{
    const struct kv_optim *optim = v->spec.optim;
    unsigned char step[KV_OPTIM_STEP_MAX + 1];
    int from = v->live, to = 1 - v->live;

    step[KV_OPTIM_STEP_MAX] = 0x5a;
    kv_optim_prepare(&v->spec, KV_F32, NULL, ++v->t, step);
    assert_int_equal(step[KV_OPTIM_STEP_MAX], 0x5a);
    for (size_t i = 0; i < v->count; i += block) {
        struct kv_optim_args args = {
            .count = v->count - i < block ? v->count - i : block,
            .weight = v->weight[from] + i,
            .new_weight = v->weight[to] + i,
            .gradient = gradient + i,
            .step = step,
            .stream = v->stream,
        };

        for (unsigned s = 0; s < slots_of(&v->spec); s++) {
            args.slot[s] = v->slot[from][s] + i;
            args.new_slot[s] = v->slot[to][s] + i;
        }
        optim->update(&args);
    }
    v->live = to;
}

/* From `low` to `high`, of either sign. */
static inline float some_number(uint64_t *x, double low, double high)
{
    double size = low + (high - low) * (double)chance(x, 1 << 24) / (1 << 24);

    return (float)(chance(x, 2) == 0 ? size : -size);
}

static inline void some_numbers(uint64_t *x, float *to, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        to[i] = some_number(x, 0, 1);
    }
}

#endif
