/**
 * optim - how a weight moves when its gradient arrives.
 *
 * An optimizer is one file, rules/NAME.c; the folder is the registry. rule.h
 * tells how to add one. Arithmetic is f32 and MXNet 1.9's, in its rounding
 * order, and gives the same bits on every processor and however a value is cut
 * into blocks.
 *
 *     kv_optim_parse("sgd", "lr=0.1,momentum=0.9", &spec, ...)    once
 *     slots = spec.optim->slots(spec.params)       state arrays, zero at first
 *     kv_optim_prepare(&spec, t, step)                once an update of a slice
 *     spec.optim->update(&args)                    for each block of the slice
 *
 * An update is out of place: it reads the old weights and state and writes the
 * new ones elsewhere, so that an update cut short leaves no trace.
 *
 * Thread:  any. Nothing here has state.
 * Memory:  borrows. Allocates nothing. struct kv_optim and names are constants.
 * Result:  a bad name or number is KV_EINVAL with a sentence in `error` that
 *          says what would be right; outputs are then untouched.
 */
#ifndef KV_COMMON_OPTIM_OPTIM_H
#define KV_COMMON_OPTIM_OPTIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KV_OPTIM_SLOTS_MAX 3
#define KV_OPTIM_PARAMS_MAX 12
#define KV_OPTIM_STEP_MAX 64   /* Bytes; any alignment. */
#define KV_OPTIM_ERROR_MAX 512 /* A buffer for every sentence there is. */

/* Any number inside f32; the bounds that mean "no bound". */
#define KV_OPTIM_HUGE 1e30

struct kv_optim_param {
    const char *name;  /* MXNet's. */
    const char *alias; /* A second name, or NULL. */
    double initial;
    double min, max; /* Both allowed. */
};

/* When an update happens. */
struct kv_optim_now {
    uint64_t t;     /* Updates of this slice, with this one: 1 on the first. */
    bool fresh;     /* All state is still zero. */
    double last_lr; /* The learning rate of the update before, or this one's. */
};

/* One block of an update. Arrays hold `count` floats, aligned as floats are;
 * an output overlaps nothing. Slots beyond slots(params) are not looked at. */
struct kv_optim_args {
    size_t count;
    const float *weight;
    float *new_weight;
    const float *gradient; /* The sum over the ranks. */
    const float *slot[KV_OPTIM_SLOTS_MAX];
    float *new_slot[KV_OPTIM_SLOTS_MAX];
    const void *step; /* What prepare() made. */
    bool stream; /* Write past the caches: right if the value is larger than
                    those. Outputs should be at multiples of 64 bytes. */
};

struct kv_optim {
    const char *name;
    const struct kv_optim_param *params; /* Ends with a NULL name. */

    /* How many arrays of state each weight has, all zero before the first
     * update. Never more than KV_OPTIM_SLOTS_MAX. */
    unsigned (*slots)(const double *params);

    /* All that is the same for every weight, in double, into `step`, which has
     * KV_OPTIM_STEP_MAX bytes. */
    void (*prepare)(const double *params, const struct kv_optim_now *now,
                    void *step);

    void (*update)(const struct kv_optim_args *args);
};

/* An optimizer and its settings: plain data, copied by assignment. */
struct kv_optim_spec {
    const struct kv_optim *optim;
    double params[KV_OPTIM_PARAMS_MAX]; /* In the order of optim->params. */
};

/* NULL if there is none of that name. */
const struct kv_optim *kv_optim_find(const char *name);

/* All names as "adam, sgd" into buf, cut off at size, always terminated.
 * Returns the length that the whole list has. */
size_t kv_optim_names(char *buf, size_t size);

/* Rows that a row_sparse gradient does not have stay as they are, state
 * included; otherwise they count as rows of zeros. */
bool kv_optim_lazy(const struct kv_optim_spec *spec);

/* What update t of a slice needs, 1 being the first after its state was all
 * zero: KV_OPTIM_STEP_MAX bytes into `step`. */
void kv_optim_prepare(const struct kv_optim_spec *spec, uint64_t t, void *step);

/* By name or alias; -1 if there is none. */
int kv_optim_param_index(const struct kv_optim *optim, const char *name);

/* `params` is "lr=0.1,momentum=0.9", without spaces, or "" for the defaults;
 * each parameter at most once, by name or alias. */
KV_MUST_CHECK enum kv_status kv_optim_parse(const char *name,
                                            const char *params,
                                            struct kv_optim_spec *out,
                                            char *error, size_t error_size);

/* Choose a number before the first update: what parse does for each. */
KV_MUST_CHECK enum kv_status kv_optim_choose(struct kv_optim_spec *spec,
                                             const char *param, double value,
                                             char *error, size_t error_size);

/* Change a number while training. Refused if state would appear or vanish, as
 * with sgd's momentum from or to 0. */
KV_MUST_CHECK enum kv_status kv_optim_set(struct kv_optim_spec *spec,
                                          const char *param, double value,
                                          char *error, size_t error_size);

#ifdef __cplusplus
}
#endif

#endif
