/**
 * optim_key_fixture - a key in training: slices that lie on several servers,
 * each with two halves that take turns, updated block by block.
 */
#ifndef KV_TESTS_UNIT_OPTIM_KEY_FIXTURE_H
#define KV_TESTS_UNIT_OPTIM_KEY_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/optim/optim.h"
#include "tests/unit/chance.h"

#define KEY_ROOM 8192

struct key {
    struct kv_optim_spec spec;
    struct kv_optim_scale scale;
    size_t count, row_length;
    size_t slice, block; /* Elements in each, but for the last. */
    uint64_t t;
    int live;
    bool stream, in_place;
    _Alignas(64) float weight[2][KEY_ROOM];
    float slot[2][KV_OPTIM_SLOTS_MAX][KEY_ROOM];
};

static inline struct kv_optim_spec key_spec(const char *name,
                                            const char *params)
{
    char error[KV_OPTIM_ERROR_MAX] = "";
    struct kv_optim_spec spec = {0};

    if (kv_optim_parse(name, params, &spec, error, sizeof error) != KV_OK) {
        fail_msg("%s", error);
    }
    return spec;
}

/* One slice, one block; `weight` NULL for zeros. */
static inline void key_start(struct key *k, const char *name,
                             const char *params, size_t count,
                             const float *weight)
{
    memset(k, 0, sizeof *k);
    k->spec = key_spec(name, params);
    k->scale = (struct kv_optim_scale){.lr_mult = 1, .wd_mult = 1};
    k->count = k->slice = k->block = count;
    if (weight != NULL) {
        memcpy(k->weight[0], weight, count * sizeof *weight);
    }
}

static inline const float *key_weight(const struct key *k)
{
    return k->weight[k->live];
}

static inline const float *key_slot(const struct key *k, unsigned slot)
{
    return k->slot[k->live][slot];
}

static inline size_t key_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The block that starts at `i` in a slice that ends at `end`. */
static inline struct kv_optim_args key_args(struct key *k, size_t i, size_t end,
                                            const float *gradient,
                                            const void *step)
{
    int from = k->live, to = k->in_place ? from : 1 - from;
    size_t at =
        k->spec.optim->rows && k->row_length > 1 ? i / k->row_length : i;
    struct kv_optim_args args = {
        .count = key_min(end - i, k->block),
        .weight = k->weight[from] + i,
        .new_weight = k->weight[to] + i,
        .gradient = gradient + i,
        .step = step,
        .stream = k->stream,
        .first = i,
        .row_length = k->row_length,
    };

    for (unsigned s = 0; s < k->spec.optim->slots(k->spec.params); s++) {
        args.slot[s] = k->slot[from][s] + at;
        args.new_slot[s] = k->slot[to][s] + at;
    }
    return args;
}

/* A block of the sums, measured in parts of k->block. */
static inline void key_block(struct key *k, size_t first, size_t end,
                             const float *gradient, unsigned pass, void *step,
                             double *sums)
{
    double block[KV_OPTIM_NORMS_MAX] = {0};

    for (size_t i = first; i < end; i += k->block) {
        struct kv_optim_args args = key_args(k, i, end, gradient, step);

        k->spec.optim->measure(&args, pass, block);
    }
    for (unsigned n = 0; n < KV_OPTIM_NORMS_MAX; n++) {
        sums[n] += block[n];
    }
}

/* What the servers add up between them in one pass. */
static inline void key_pass(struct key *k, const float *gradient, unsigned pass,
                            void *step)
{
    double total[KV_OPTIM_NORMS_MAX] = {0};

    for (size_t first = 0; first < k->count; first += k->slice) {
        size_t end = key_min(k->count, first + k->slice);
        double sums[KV_OPTIM_NORMS_MAX] = {0};

        for (size_t i = first; i < end; i += KV_OPTIM_BLOCK) {
            key_block(k, i, key_min(end, i + KV_OPTIM_BLOCK), gradient, pass,
                      step, sums);
        }
        for (unsigned n = 0; n < KV_OPTIM_NORMS_MAX; n++) {
            total[n] += sums[n];
        }
    }
    k->spec.optim->absorb(step, pass, total);
}

static inline void key_update(struct key *k, const float *gradient)
{
    unsigned char step[KV_OPTIM_STEP_MAX + 1];

    step[KV_OPTIM_STEP_MAX] = 0x5a;
    kv_optim_prepare(&k->spec, KV_F32, &k->scale, ++k->t, step);
    for (unsigned pass = 0; pass < k->spec.optim->passes; pass++) {
        key_pass(k, gradient, pass, step);
    }
    assert_int_equal(step[KV_OPTIM_STEP_MAX], 0x5a);
    for (size_t first = 0; first < k->count; first += k->slice) {
        size_t end = key_min(k->count, first + k->slice);

        for (size_t i = first; i < end; i += k->block) {
            struct kv_optim_args args = key_args(k, i, end, gradient, step);

            k->spec.optim->update(&args);
        }
    }
    k->live = k->in_place ? k->live : 1 - k->live;
}

static inline float key_chance(uint64_t *x)
{
    return (float)((double)chance(x, 1 << 24) / (1 << 23) - 1);
}

static inline void key_fill(uint64_t *x, float *to, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        to[i] = key_chance(x);
    }
}

static inline void key_expect(const float *got, const double *right,
                              size_t count, double tolerance, const char *what)
{
    for (size_t i = 0; i < count; i++) {
        double limit = tolerance * (1 + fabs(right[i]));

        if (!(fabs((double)got[i] - right[i]) <= limit)) {
            fail_msg("%s: [%zu] is %.9g, not %.9g", what, i, (double)got[i],
                     right[i]);
        }
    }
}

#endif
