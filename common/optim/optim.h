/**
 * optim - how a weight moves when its gradient arrives.
 *
 * An optimizer is one file, rules/NAME.c; the folder is the registry. rule.h
 * tells how to add one. Arithmetic is f32, f64 for f64 weights, and
 * MXNet 1.9's, in its rounding order (lans is from 2.0), and gives the same
 * bits on every processor and however a slice is cut into blocks.
 *
 *     kv_optim_parse("sgd", "lr=0.1,momentum=0.9", &spec, ...)    once
 *     slots = spec.optim->slots(spec.params)       state arrays, zero at first
 *     kv_optim_prepare(&spec, dtype, &scale, t, step)  once an update of a
 * slice spec.optim->update(&args)                    for each block of the
 * slice
 *
 * An update is out of place: it reads the old weights and state and writes the
 * new ones elsewhere, so that an update cut short leaves no trace. It may also
 * be in place, array by array: each element is read before it is written.
 *
 * Norms. lars, lamb and lans weigh a whole key: optim->passes is not 0. Between
 * prepare and update, for pass 0, 1, ...
 *
 *     sums = {0}, then measure(&args, pass, sums) for each KV_OPTIM_BLOCK
 *         elements of a slice, the first block at its beginning; a block may be
 *         measured in parts, in order, all but the last of whole chunks
 *     a slice's = the sums of its blocks, added in order
 *     total = the sums of all slices of the key, added in the slices' order
 *     absorb(step, pass, total)                    on each slice's step
 *
 * Sums are double, of squares that are exact. Blocks may be measured anywhere
 * and in any order; the bits are the same. How a key is cut into slices changes
 * them: a total then differs by less than 2 * (chunks + slices) * 2^-53 of
 * itself, 2e-12 for a key of 2 MB, which moves a ratio by at most one last bit
 * of f32, and hardly ever that. The same cut always gives the same bits.
 *
 * Rows. With spec.lazy_update only rows that have a gradient are updated, by
 * kv_optim_update_rows() if all weights lie together, and each array of state;
 * weights and state of the others stay as they are. Without it the others have
 * a gradient of 0. Measure sees all elements either way. groupadagrad's state
 * is one float a row: optim->rows.
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
#include "common/compute/dtype.h"
#include "common/compute/vector.h"
#include "common/optim/schedule.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KV_OPTIM_SLOTS_MAX 3
#define KV_OPTIM_PARAMS_MAX 12
#define KV_OPTIM_NORMS_MAX 3  /* Measured in one pass. */
#define KV_OPTIM_CHUNK 64     /* Elements whose squares are summed as one. */
#define KV_OPTIM_BLOCK 2048   /* Elements whose chunks' sums are added first. */
#define KV_OPTIM_STEP_MAX 192 /* Bytes; any alignment. */
#define KV_OPTIM_ERROR_MAX 512 /* A buffer for every sentence there is. */
#define KV_OPTIM_TEXT_MAX 1024 /* A buffer for all settings as text. */

/* Any number inside f32; the bounds that mean "no bound". */
#define KV_OPTIM_HUGE 1e30

struct kv_optim_param {
    const char *name;  /* MXNet's. */
    const char *alias; /* A second name, or NULL. */
    double initial;
    double min, max; /* Both allowed. */
};

/* When an update happens, and to whom. */
struct kv_optim_now {
    uint64_t t;     /* begin_num_update and the updates of this slice, with
                       this one. */
    bool fresh;     /* All state is still zero. */
    double last_lr; /* The learning rate of the update before, or this one's. */
    bool plain;     /* As in struct kv_optim_scale. */
    uint64_t key;
};

/* What is a key's own. */
struct kv_optim_scale {
    double lr_mult, wd_mult; /* Times learning rate and weight decay. */
    bool plain;   /* lars: no trust ratio. MXNet: if the key's name ends in
                     gamma, beta or bias. */
    uint64_t key; /* A number that no other key has: sgld's noise. */
};

/* One block of an update. Arrays hold `count` floats, or doubles for a rule of
 * f64, aligned as those are; an output is the input of the same name, or
 * overlaps nothing. Slots beyond slots(params) are not looked at. */
struct kv_optim_args {
    size_t count;
    const void *weight;
    void *new_weight;
    const void *gradient; /* The sum over the ranks; of any alignment. */
    const void *slot[KV_OPTIM_SLOTS_MAX];
    void *new_slot[KV_OPTIM_SLOTS_MAX];
    const void *step; /* What prepare() made. */
    bool stream;    /* Write past the caches: right if the value is larger than
                       those. Outputs should be at multiples of 64 bytes. */
    uint64_t first; /* sgld: which element of the whole key comes first. */
    size_t row_length; /* Elements; looked at if state is by rows. `count` is a
                          multiple of it; slots hold one float a row. 0 is 1. */
};

/* What becomes of an update whose gradient is not finite: it is left out; that,
 * and who pushed is told by an error; it is done. */
enum kv_nonfinite { KV_NONFINITE_SKIP, KV_NONFINITE_ERROR, KV_NONFINITE_ALLOW };

enum kv_optim_lazy {
    KV_OPTIM_LAZY_NEVER,
    KV_OPTIM_LAZY_ALWAYS,
    KV_OPTIM_LAZY_CHOICE, /* What lazy_update says; 1 unless chosen. */
};

struct kv_optim {
    const char *name;
    const struct kv_optim *f64;          /* The same rule in f64. */
    const struct kv_optim_param *params; /* Ends with a NULL name. */
    enum kv_optim_lazy lazy;
    bool rows;       /* Slots hold one float a row. */
    bool adds;       /* All it does is weight + gradient. */
    unsigned passes; /* Of measure() before each update; see above. */

    /* How many arrays of state each weight has, all zero before the first
     * update. Never more than KV_OPTIM_SLOTS_MAX. */
    unsigned (*slots)(const double *params);

    /* All that is the same for every weight, in double, into `step`, which has
     * KV_OPTIM_STEP_MAX bytes. */
    void (*prepare)(const double *params, const struct kv_optim_now *now,
                    void *step);

    /* Adds the block's to `sums`; writes nothing else. */
    void (*measure)(const struct kv_optim_args *args, unsigned pass,
                    double *sums);
    void (*absorb)(void *step, unsigned pass, const double *total);

    void (*update)(const struct kv_optim_args *args);
};

/* An optimizer and its settings: plain data, copied by assignment. Those behind
 * params[] are common to all optimizers; flags are 0 or 1. */
struct kv_optim_spec {
    const struct kv_optim *optim;
    double params[KV_OPTIM_PARAMS_MAX]; /* In the order of optim->params. */
    double begin_num_update;            /* Updates made elsewhere before. */
    double multi_precision; /* f16 and bf16 weights have an f32 master. */
    double lazy_update;
    double nonfinite; /* enum kv_nonfinite, for who calls: rules do not look. */
    struct kv_schedule schedule; /* Of the learning rate, which is its base. */
};

/* In small or capital letters, as MXNet does it; NULL if there is none. */
const struct kv_optim *kv_optim_find(const char *name);

/* All names as "adam, sgd" into buf, cut off at size, always terminated.
 * Returns the length that the whole list has. */
size_t kv_optim_names(char *buf, size_t size);

/* Are values of this dtype computed by rules? f32, f16 and bf16 in f32, and f64
 * in f64. */
static inline bool kv_optim_computes(enum kv_dtype dtype)
{
    return dtype == KV_F64 || kv_dtype_in_f32(dtype);
}

/* What they are computed in, and the rule for that; its steps are of that kind,
 * too. */
static inline enum kv_dtype kv_optim_real(enum kv_dtype dtype)
{
    return dtype == KV_F64 ? KV_F64 : KV_F32;
}

static inline const struct kv_optim *kv_optim_for(const struct kv_optim *optim,
                                                  enum kv_dtype dtype)
{
    return dtype == KV_F64 ? optim->f64 : optim;
}

/* Does it train values of this dtype? Those that rules compute; one that only
 * adds does all, and leaves those others to who calls it (kv_sum()). */
bool kv_optim_takes(const struct kv_optim *optim, enum kv_dtype dtype);

/* Do weights of this dtype have a master? With multi_precision, f16 and bf16:
 * the rule works on a copy of them in f32, of which they are the rounded value.
 * It begins as the weights, with the other state. */
bool kv_optim_master(const struct kv_optim_spec *spec, enum kv_dtype dtype);

/* Is the gradient of every update to be looked at? */
static inline bool kv_optim_guards(const struct kv_optim_spec *spec)
{
    return spec->nonfinite != (double)KV_NONFINITE_ALLOW;
}

/* Rows that a row_sparse gradient does not have stay as they are, state
 * included; otherwise they count as rows of zeros. */
bool kv_optim_lazy(const struct kv_optim_spec *spec);

/* What update t of a slice needs, 1 being the first after its state was all
 * zero: KV_OPTIM_STEP_MAX bytes into `step`. `scale` NULL is 1, 1, false, 0.
 * For weights of this dtype. */
void kv_optim_prepare(const struct kv_optim_spec *spec, enum kv_dtype dtype,
                      const struct kv_optim_scale *scale, uint64_t t,
                      void *step);

/* Update some rows of a slice of f32, with one prepared step: `slice` describes
 * all of it, but for `gradient`, which holds row_count rows, one after the
 * other, and `count`, which is not looked at; a slot that is not there is NULL.
 * rows[] are numbers in the slice, in any order, each once. */
void kv_optim_update_rows(const struct kv_optim *optim,
                          const struct kv_optim_args *slice,
                          const int64_t *rows, size_t row_count);

/* In params[], by name or alias; -1 if there is none, as for common ones. */
int kv_optim_param_index(const struct kv_optim *optim, const char *name);

/* `params` is "lr=0.1,momentum=0.9", without spaces and in any order, or "" for
 * the defaults; each at most once, by name or alias. Common to all optimizers:
 *
 *     begin_num_update, multi_precision, lazy_update
 *     nonfinite=skip, error or allow
 *     lr_scheduler=factor        step, factor, stop_factor_lr
 *     lr_scheduler=multifactor   step=15;25, factor
 *     lr_scheduler=poly          max_update, pwr, final_lr
 *     lr_scheduler=cosine        max_update, final_lr
 *     any of these               warmup_steps, warmup_begin_lr,
 *                                warmup_mode=linear or constant */
KV_MUST_CHECK enum kv_status kv_optim_parse(const char *name,
                                            const char *params,
                                            struct kv_optim_spec *out,
                                            char *error, size_t error_size);

/* All settings as text that kv_optim_parse(spec->optim->name, ...) turns into
 * the same bits; of two equal ones the same text. At most KV_OPTIM_TEXT_MAX
 * bytes with the end. Returns the length, as snprintf() does. */
size_t kv_optim_format(const struct kv_optim_spec *spec, char *buf,
                       size_t size);

/* Choose a number before the first update: what parse does for each. */
KV_MUST_CHECK enum kv_status kv_optim_choose(struct kv_optim_spec *spec,
                                             const char *param, double value,
                                             char *error, size_t error_size);

/* Change a number while training, a schedule's too; `step` becomes a list of
 * one. Refused if state would appear or vanish, as with sgd's momentum from or
 * to 0. */
KV_MUST_CHECK enum kv_status kv_optim_set(struct kv_optim_spec *spec,
                                          const char *param, double value,
                                          char *error, size_t error_size);

#ifdef __cplusplus
}
#endif

#endif
