/**
 * shard_state - what a value carries besides its weights, and where.
 *
 * Behind the weights of a dense slice, or of one row of a table, lie the f32
 * master of f16 and bf16 weights, if there is one, and the optimizer's arrays.
 * Which of them there are is the value's form; how long they are, its shape.
 *
 * Thread:  pure.
 */
#ifndef KV_SERVER_SHARD_STATE_H
#define KV_SERVER_SHARD_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/optim/optim.h"

/* In the arena, in a value's head. */
struct state_form {
    uint8_t slots; /* The optimizer's arrays... */
    bool by_row;   /* ...which hold one element a row. */
    bool master;
    uint8_t unused;
};

/* Elements that lie together. */
struct state_shape {
    size_t count;
    size_t width; /* Of a row; 0: they are not whole rows. */
    size_t align; /* Of each array. */
    enum kv_dtype dtype;
};

static inline size_t state_aligned(size_t size, size_t align)
{
    return (size + align - 1) & ~(align - 1);
}

/* Bytes of an element of state. */
static inline size_t state_unit(const struct state_shape *p)
{
    return kv_dtype_size(kv_optim_real(p->dtype));
}

/* Bytes of the weights, of a master, and of a slot. */
static inline size_t state_weights(const struct state_shape *p)
{
    return state_aligned(p->count * kv_dtype_size(p->dtype), p->align);
}

static inline size_t state_master_size(const struct state_shape *p,
                                       struct state_form form)
{
    return form.master ? state_aligned(p->count * sizeof(float), p->align) : 0;
}

/* Elements of a slot. */
static inline size_t state_length(const struct state_shape *p,
                                  struct state_form form)
{
    if (!form.by_row) {
        return p->count;
    }
    return p->width == 0 ? 0 : p->count / p->width;
}

static inline size_t state_slot_size(const struct state_shape *p,
                                     struct state_form form)
{
    return state_aligned(state_length(p, form) * state_unit(p), p->align);
}

/* Bytes of all, weights included. */
static inline size_t state_size(const struct state_shape *p,
                                struct state_form form)
{
    return state_weights(p) + state_master_size(p, form) +
           form.slots * state_slot_size(p, form);
}

/* Where it has one. */
static inline float *state_master(const struct state_shape *p,
                                  const void *weights)
{
    return (float *)(void *)((char *)(uintptr_t)weights + state_weights(p));
}

/* Its elements from number `first` on: floats, or doubles with f64 weights. */
static inline void *state_slot(const struct state_shape *p,
                               struct state_form form, const void *weights,
                               unsigned index, size_t first)
{
    return (char *)(uintptr_t)weights + state_weights(p) +
           state_master_size(p, form) + index * state_slot_size(p, form) +
           first * state_unit(p);
}

static inline struct state_form state_form(const struct kv_optim_spec *spec,
                                           enum kv_dtype dtype)
{
    struct state_form form = {0};

    if (spec->optim != NULL && kv_optim_takes(spec->optim, dtype)) {
        form.slots = (uint8_t)spec->optim->slots(spec->params);
        form.by_row = spec->optim->rows;
        form.master = kv_optim_master(spec, dtype);
    }
    return form;
}

#endif
