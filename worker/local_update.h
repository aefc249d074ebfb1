/**
 * local_update - a rule's update of whole values, on a team.
 *
 * However the pieces of a value are dealt out, the bits are the same.
 *
 * Thread:  the lane's, with kv_flush_denormals() in force.
 * Memory:  borrows.
 */
#ifndef KV_WORKER_LOCAL_UPDATE_H
#define KV_WORKER_LOCAL_UPDATE_H

#include "common/optim/optim.h"
#include "worker/local_math.h"

/* One update of a value in place: the gradient is the sum of the inputs. With
 * rows, that of these rows, and the others and their state stay as they are. */
struct local_update {
    enum kv_dtype dtype; /* One that kv_optim_takes(). */
    size_t count;        /* Elements of each input. */
    struct local_rows rows;
    void *weights;
    float *master;      /* Of f16 and bf16 weights; NULL: there is none. */
    void *const *slots; /* As many as `slot_count`: floats, or doubles. */
    unsigned slot_count;
    const void *const *inputs;
    size_t input_count;
    size_t width; /* Of a row. */
    void *room;   /* local_update_room() bytes; NULL: that is 0. */
    const struct kv_optim *optim;
    const void *step; /* From kv_optim_prepare(). */
    uint64_t number;  /* Of the value's first element, for sgld's noise. */
};

/* A pass over all of a value before its update: the inputs are of all of it,
 * and u->rows is not looked at. The KV_OPTIM_NORMS_MAX sums are those of a
 * server that has the value in one slice. */
void local_measure(struct team *team, const struct local_update *u,
                   unsigned pass, double *total);

void local_update(struct team *team, const struct local_update *u);

/* Is the gradient finite? u->rows is not looked at: all of the inputs are. */
bool local_gradient_is_finite(struct team *team, const struct local_update *u);

/* Bytes at `room` that updates of so many elements from so many inputs need,
 * and passes before them. */
size_t local_update_room(const struct kv_optim *optim, enum kv_dtype dtype,
                         size_t count, size_t input_count);

#endif
